"""Where a poisoning point may lie: a box of features, or the rows of a pool.

A feasible set is a set of points x for each label. The search over it lives in ``oracle.py``;
here is only what the set *is*.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .validation import check_labels, check_X

__all__ = ["CandidatePool", "FeatureSpace"]


class FeatureSpace:
    """A box: ``lower[j] <= x[j] <= upper[j]`` for every feature, for both labels.

    Parameters
    ----------
    lower, upper : float or array-like of shape (n_features,)
        Finite bounds, of either sign; ``lower == upper`` pins a feature.

    Examples
    --------
    >>> from mtpfast import FeatureSpace
    >>> FeatureSpace(0.0, [1.0, 2.0]).contains([[0.5, 1.5], [0.5, 2.5]])
    array([ True, False])
    """

    def __init__(self, lower=0.0, upper=1.0):
        self.lower, self.upper = _bound(lower, "lower"), _bound(upper, "upper")
        try:
            low, high = np.broadcast_arrays(self.lower, self.upper)
        except ValueError:
            raise ValueError(
                f"lower and upper disagree: {np.size(self.lower)} and {np.size(self.upper)} features"
            ) from None
        if np.any(low > high):
            j = int(np.argmax(np.ravel(low > high)))
            raise ValueError(f"lower > upper at feature {j}: {np.ravel(low)[j]:g} > {np.ravel(high)[j]:g}")

    @classmethod
    def from_data(cls, X) -> FeatureSpace:
        """The smallest box that holds every row of X."""
        X = check_X(X)
        if sp.issparse(X):
            return cls(X.min(axis=0).toarray().ravel(), X.max(axis=0).toarray().ravel())
        return cls(X.min(axis=0), X.max(axis=0))

    def bounds(self, n_features: int) -> tuple[np.ndarray, np.ndarray]:
        """``lower`` and ``upper`` as arrays of shape (n_features,)."""
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if np.ndim(bound) == 1 and len(bound) != n_features:
                raise ValueError(f"feasible_set has {len(bound)} features in {name}, expected {n_features}")
        return tuple(np.full(n_features, b) if np.ndim(b) == 0 else b for b in (self.lower, self.upper))

    def contains(self, X) -> np.ndarray:
        """For every row of X, whether it lies in the box: boolean array of shape (n_rows,)."""
        X = check_X(np.atleast_2d(X) if not sp.issparse(X) else X, min_rows=0)
        lower, upper = self.bounds(X.shape[1])
        if not sp.issparse(X):
            return np.all((X >= lower) & (X <= upper), axis=1)
        # An absent entry is a zero, so a row is inside iff its entries are and the box holds 0
        # wherever it has none.
        X = X.tocsr()
        bad = (X.data < lower[X.indices]) | (X.data > upper[X.indices])
        no_zero = (lower > 0) | (upper < 0)
        row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        n_bad = np.bincount(row, bad, X.shape[0])
        n_covered = np.bincount(row, no_zero[X.indices], X.shape[0])
        return (n_bad == 0) & (n_covered == no_zero.sum())

    def __eq__(self, other) -> bool:
        """Whether the bounds are the same; a number stands for a vector of equal entries."""
        if not isinstance(other, FeatureSpace):
            return NotImplemented
        sides = ((self.lower, other.lower), (self.upper, other.upper))
        return all(0 in (np.ndim(a), np.ndim(b)) or len(a) == len(b) for a, b in sides) and all(
            bool(np.all(a == b)) for a, b in sides
        )

    __hash__ = None

    def __repr__(self) -> str:
        return f"FeatureSpace(lower={_show(self.lower)}, upper={_show(self.upper)})"


class CandidatePool:
    """A finite set of candidate rows.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_candidates, n_features)
    y : array-like of shape (n_candidates,), optional
        The label of each candidate, in the labels of the training data; None allows either.

    Examples
    --------
    >>> from mtpfast import CandidatePool
    >>> CandidatePool([[0.0, 1.0], [1.0, 0.0]])
    CandidatePool(2 candidates, 2 features, either label)
    """

    def __init__(self, X, y=None):
        self.X = check_X(X, "X_cand")
        self.y = None
        self._largest = None
        if y is not None:
            self.y = np.asarray(y)
            if self.y.shape != (self.X.shape[0],):
                raise ValueError(f"y must have shape ({self.X.shape[0]},), one label per candidate, got {self.y.shape}")

    def signs(self) -> np.ndarray | None:
        """The labels as -1. and +1., or None where either is allowed."""
        return None if self.y is None else check_labels(self.y, self.X.shape[0], "y of the pool", "X_cand", both=False)

    def check(self, n_features: int) -> None:
        """Raise if the candidates have another number of features."""
        if self.X.shape[1] != n_features:
            raise ValueError(f"feasible_set has {self.X.shape[1]} features in X_cand, expected {n_features}")

    def largest(self) -> np.ndarray:
        """The largest |x~[j]| of every column, with the 1 of the intercept at the end."""
        if self._largest is None:
            ends = self.X.max(axis=0), -self.X.min(axis=0)
            size = np.maximum(*(end.toarray().ravel() if sp.issparse(end) else end for end in ends))
            self._largest = np.append(size, 1.0)
        return self._largest

    def contains(self, X) -> np.ndarray:
        """For every row of X, whether it equals a candidate: boolean array of shape (n_rows,)."""
        X = check_X(np.atleast_2d(X) if not sp.issparse(X) else X, n_features=self.X.shape[1], min_rows=0)
        known = set(_row_keys(self.X))
        return np.array([key in known for key in _row_keys(X)], dtype=bool)

    def __eq__(self, other) -> bool:
        """Whether the candidates and their labels are the same, in the same order."""
        if not isinstance(other, CandidatePool):
            return NotImplemented
        if self.X.shape != other.X.shape or not _same(self.y, other.y):
            return False
        if sp.issparse(self.X) or sp.issparse(other.X):
            return (sp.csr_matrix(self.X) != sp.csr_matrix(other.X)).nnz == 0
        return np.array_equal(self.X, other.X)

    __hash__ = None

    def __repr__(self) -> str:
        labels = "either label" if self.y is None else "labelled"
        return f"CandidatePool({self.X.shape[0]} candidates, {self.X.shape[1]} features, {labels})"


def _same(y, other):
    return y is other if y is None or other is None else np.array_equal(y, other)


def _row_keys(X):
    """A hashable value per row, equal for equal rows."""
    if not sp.issparse(X):
        return (row.tobytes() for row in X + 0.0)  # + 0.0 turns -0. into 0.
    X = X.copy()
    X.eliminate_zeros()
    ends = zip(X.indptr[:-1], X.indptr[1:], strict=True)
    return ((X.indices[a:b].tobytes(), X.data[a:b].tobytes()) for a, b in ends)


def _bound(value, name):
    try:
        bound = np.array(value, dtype=float)  # a copy: the caller may change the original
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number or one number per feature, got {value!r}") from None
    if bound.ndim > 1:
        raise ValueError(f"{name} must be a number or one number per feature, got shape {bound.shape}")
    if not np.all(np.isfinite(bound)):
        worst = bound.ravel()[~np.isfinite(bound.ravel())][0]
        raise ValueError(f"{name} must be finite (the maximum over an unbounded set is infinite), got {worst:g}")
    bound.flags.writeable = False
    return float(bound) if bound.ndim == 0 else bound


def _show(bound):
    if np.ndim(bound) == 0 or len(bound) <= 6:
        return np.array2string(np.asarray(bound), separator=", ") if np.ndim(bound) else f"{bound:g}"
    return f"<{len(bound)} values in [{np.min(bound):g}, {np.max(bound):g}]>"
