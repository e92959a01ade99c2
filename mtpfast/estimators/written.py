"""Points of an attack written as raw records, and what these are mapped to."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rows import slices

__all__ = ["as_records"]


#: Points are compared with their records so many entries at a time.
BLOCK = 2**20


def as_records(points, codec, write):
    """(records, the points that they are mapped to: those given, or a rounding away from them).

    ``write`` makes records of points; ``codec`` maps them back.
    """
    records = write(points)
    encoded = codec.encode(records)
    for part in slices(0, points.shape[0], max(1, BLOCK // max(1, points.shape[1]))):
        _check(encoded[part], points[part], codec.rounding, part.start)
    return records, sp.csr_matrix(encoded) if sp.issparse(points) else encoded


def _check(encoded, points, rounding, start):
    off = sp.coo_matrix(encoded - points)
    feature = off.col
    size = abs(sp.csr_matrix(encoded))[off.row, feature] if off.nnz else np.empty((1, 0))
    far = np.abs(off.data) > 2.0 * rounding[feature] + 1e-8 * np.maximum(1.0, np.ravel(size))
    if np.any(far):
        row, feature = off.row[far][0], feature[far][0]
        raise RuntimeError(
            f"point {start + row} of the attack is not the row of a record: feature {feature} is "
            f"{points[row, feature]:g}, in the nearest record {encoded[row, feature]:g}"
        )
