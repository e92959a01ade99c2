"""Rows of dense and sparse matrices: stacked, and read a slice at a time."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

__all__ = ["slices", "stack"]


#: A loss without a compiled kernel is evaluated so many rows at a time.
SLICE = 512


def slices(start, stop, size):
    return (slice(i, min(i + size, stop)) for i in range(start, stop, size))


def stack(X, added):
    if sp.issparse(X) or sp.issparse(added):
        return sp.vstack([sp.csr_matrix(X), sp.csr_matrix(added)], format="csr")
    return np.vstack([X, added])
