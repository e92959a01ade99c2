"""Where a coordinate rests that moves no score."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

__all__ = ["resting_points"]


#: Of so many entries the most common one is counted, if there are more of evenly spaced rows.
COUNTED = 2**24
#: So many entries of columns are dense at a time.
PIECE = 2**16


def resting_points(regions, theta_target, X) -> dict[float, np.ndarray]:
    """Where the features stay that move neither score, for every label: at the most common value of the clean rows X,
    moved into the region.

    A feature without weight in the target may turn out to be such a one; the others are not looked at. A group rests
    at its most common level that is allowed. Of more than `COUNTED` entries, those of evenly spaced rows are counted.
    """
    weight = np.abs(theta_target[:-1])
    j = np.flatnonzero(weight <= 1e-8 * np.max(weight, initial=0.0))
    values = np.zeros(len(weight))
    values[j] = [_most_common(column) for columns in _in_pieces(X, j) for column in columns]
    return {
        y: region.resting(values, _columns(X, np.concatenate([group.columns for group in region.groups] or [j[:0]])))
        for y, region in regions.items()
    }


def _columns(X, j):
    """The columns j of X, each with all its entries, or those of evenly spaced rows where there are too many."""
    rows = _counted(X, len(j))[:, j]
    return (rows.toarray() if sp.issparse(rows) else np.asarray(rows)).T


def _counted(X, n):
    step = max(1, -(-X.shape[0] * n // COUNTED)) if n else X.shape[0]
    return X if step == 1 else X[::step]  # of a sparse X each slice is a copy


def _in_pieces(X, j):
    """What :func:`_columns` gives, `PIECE` entries at a time: dense columns can be many times a sparse X."""
    rows = _counted(X, len(j))
    if sp.issparse(rows):
        rows, j = rows[:, j].tocsc(), np.arange(len(j))
    size = max(1, PIECE // max(1, rows.shape[0]))
    return (_columns(rows, j[i : i + size]) for i in range(0, len(j), size))


def _most_common(column) -> float:
    """The value that occurs most often; of several, the least."""
    values, counts = np.unique(column, return_counts=True)
    return float(values[np.argmax(counts)]) if len(values) else 0.0
