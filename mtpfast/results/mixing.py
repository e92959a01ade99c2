"""The clean data with the points of a result among them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.appended import append, append_labels
from mtpfast.arrays.frames import column_names, is_frame, reordered

__all__ = ["in_columns", "mixed"]


def mixed(result, X, y, shuffle, random_state):
    """See :meth:`mtpfast.PoisoningResult.poisoned`."""
    labels = np.asarray(y)
    shape = X.shape if hasattr(X, "shape") else np.shape(X)
    expected = (result.theta.size - 1,) if result.records is None else result.records.shape[1:]
    if not shape or tuple(shape[1:]) != expected:
        raise ValueError(f"X must have shape ({', '.join(map(str, ('n_clean', *expected)))}), got {tuple(shape)}")
    if labels.shape != (shape[0],):
        raise ValueError(f"y must have shape ({shape[0]},), one label per row of X, got {labels.shape}")
    known = result.table if result.records is None else result.records
    if is_frame(X) and is_frame(known) and column_names(X) != (own := column_names(known)):
        raise ValueError(f"X has columns {column_names(X)[:5]}, the attack was on {own[:5]} (in that order)")
    n = shape[0]
    X_mod = append(X, result.points[result.sequence] if result.records is None else result.X_poison, stacklevel=4)
    y_mod = append_labels(y, result.y_poison)
    order = np.arange(n + result.n_points)
    if shuffle:
        order = _dealt(n, result.n_points, random_state)
        X_mod, y_mod = reordered(X_mod, order), reordered(y_mod, order)
    return X_mod, y_mod, order >= n


def in_columns(result, rows):
    """Points in the columns and dtypes of the clean data."""
    if result.table is not None:
        return append(result.table, rows, warn=False)
    if result.feature_names is None:
        return rows
    try:
        import pandas as pd
    except ImportError:  # named columns from another data frame library
        return rows
    if sp.issparse(rows):
        return pd.DataFrame.sparse.from_spmatrix(rows, columns=list(result.feature_names))
    return pd.DataFrame(rows, columns=list(result.feature_names))


def _dealt(n, m, random_state):
    """0, ..., n - 1 in this order, and n, ..., n + m - 1 in random order in random places among them."""
    rng = random_state
    if not isinstance(rng, np.random.RandomState):
        rng = np.random.default_rng(rng)
    order = rng.permutation(n + m)
    order[order < n] = np.arange(n)
    return order
