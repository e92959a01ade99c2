"""A pool of candidate rows."""

from __future__ import annotations

import copy

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_count, check_labels, check_X
from mtpfast.arrays.frames import column_names, columns_of, is_frame, kind_of, take_records
from mtpfast.arrays.labels import Classes, plain

from .specs import agreed, names_of_columns, read_names

__all__ = ["CandidatePool"]


class CandidatePool:
    """A finite set of candidate rows, each of which may be used so many times.

    A poisoning uses candidate i with label y ``nu_iy`` times, ``0 <= nu_iy <= max_repeats``. Equal
    candidates add up: a row that occurs twice may be used twice as often.

    Parameters
    ----------
    X : array-like, sparse matrix or DataFrame of shape (n_candidates, n_features)
        The names of a DataFrame must be those of the data. For an attacker with a preprocessing: rows as the victim
        sees them; or raw ones, a DataFrame with the columns of the raw table, or a list of texts.
    y : array-like of shape (n_candidates,), optional
        The label of each candidate, in the labels of the training data; None allows either.
    max_repeats : int, optional
        How often each candidate (with each of its labels) may be used; None: any number of times.

    Notes
    -----
    The loss-based distance is a maximum over all candidates, used up or not; ``max_repeats`` limits
    the points that can be added, and with that raises the lower bound on their number: see
    :func:`mtpfast.proofs.bound`.

    Examples
    --------
    >>> from mtpfast import CandidatePool
    >>> CandidatePool([[0.0, 1.0], [1.0, 0.0]])
    CandidatePool(2 candidates, 2 features, either label)

    Which copies of the training rows, with the wrong label and at most once each, would teach the
    target, and how few could ever do so:

    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import minmax_scale
    >>> from mtpfast import MinimumPoisoner, make_target
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = minmax_scale(X).clip(0, 1)
    >>> target = make_target(X, y, quantiles=[0.2], repeats=[1], goal=0.02, loss="log_loss", alpha=0.01)
    >>> flips = CandidatePool.label_flips(X, y)
    >>> result = MinimumPoisoner("log_loss", alpha=0.01, feasible_set=flips).fit(X, y).attack(target)
    >>> result.lower_bound <= target.n_flips
    True
    >>> int(result.counts.max())
    1
    """

    is_finite, canonical = True, None

    def __init__(self, X, y=None, max_repeats=None):
        self.raw = X if is_frame(X) or _are_texts(X) else None  # as they were given, where they may be raw
        self.X = None if self.raw is not None and not _are_numbers(X) else check_X(X, "X_cand")
        self.y, self.names = None, names_of_columns(X) if self.X is not None else None
        self.max_repeats = None if max_repeats is None else check_count(max_repeats, "max_repeats")
        self._largest = self._signs = None
        n = len(self)
        if y is not None:
            self.y = np.asarray(y)
            if self.y.shape != (n,):
                raise ValueError(f"y must have shape ({n},), one label per candidate, got {self.y.shape}")

    def __len__(self) -> int:
        """The number of candidates."""
        return self.X.shape[0] if self.X is not None else len(self.raw)

    def is_raw(self, columns) -> bool:
        """Whether the candidates are rows of a raw table with these columns; of texts for ``columns`` None."""
        if self.raw is None or not is_frame(self.raw):
            return self.raw is not None and columns is None
        return columns is not None and list(column_names(self.raw)) == list(columns)

    def through(self, encode) -> CandidatePool:
        """The same candidates as the victim sees them: ``encode`` makes its rows of the raw ones, which are kept."""
        other = copy.copy(self)
        other.X, other.names, other._largest = check_X(encode(self.raw), "X_cand"), None, None
        return other

    def scaled(self, scale, names=None) -> CandidatePool:
        """The same candidates as ``x / scale``, for ``scale`` of shape (n_features,); ``names`` as in :meth:`bind`."""
        other = self.bind(names)
        other = copy.copy(other) if other is self else other
        other.X = self.X @ sp.diags_array(1.0 / scale) if sp.issparse(self.X) else self.X / scale
        other.raw, other._largest = None, None
        return other

    def records(self, points):
        """The raw rows of the candidates that these points are, the first of equal ones."""
        return take_records(self.raw, np.array([rows[0] for rows in self.rows_equal(points)], dtype=np.intp))

    @classmethod
    def label_flips(cls, X, y, max_repeats=1) -> CandidatePool:
        """Every row of X with the other label: the pool of a label-flip attack.

        The points are added: a row that is used is in the poisoned data twice, once with each label.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of texts of shape (n_samples, n_features)
            Raw, where the attacker has a preprocessing: see :class:`CandidatePool`.
        y : array-like of shape (n_samples,)
            Two labels, any.
        max_repeats : int or None, default=1

        Examples
        --------
        >>> from mtpfast import CandidatePool
        >>> CandidatePool.label_flips([[0.0, 1.0], [1.0, 0.0]], ["spam", "ham"]).y.tolist()
        ['ham', 'spam']
        """
        y = np.asarray(y)
        if y.ndim != 1:
            raise ValueError(f"y must be one-dimensional, got shape {y.shape}")
        classes = np.unique(y)
        if len(classes) != 2:
            raise ValueError(f"y must hold two labels to flip, got {classes[:5].tolist()}")
        return cls(X, np.where(y == classes[0], classes[1], classes[0]), max_repeats)

    def bind(self, names=None, classes=None) -> CandidatePool:
        """The same pool with the labels -1. and +1., for the layers below.

        Parameters
        ----------
        names : sequence of str, optional
            The features of the data. They must be those of ``X``, if it was a DataFrame.
        classes : array-like of shape (2,), optional
            The labels that stand for -1 and +1.
        """
        agreed(self.names, read_names(names))
        if self.y is None or classes is None:
            return self
        bound = copy.copy(self)
        bound.y, bound._signs = Classes(np.asarray(classes)).signs(self.y, "y of the pool"), None
        return bound

    def signs(self) -> np.ndarray | None:
        """The labels as -1. and +1., or None where either is allowed."""
        if self._signs is None and self.y is not None:
            self._signs = check_labels(self.y, self.X.shape[0], "y of the pool", "X_cand", both=False)
        return self._signs

    def check(self, n_features: int) -> None:
        """Raise if the candidates have another number of features."""
        if self.X is None:
            raise ValueError(
                "feasible_set holds raw rows in X_cand, which are not those of the table that the victim's "
                "preprocessing reads; without a preprocessing rows must be numbers"
            )
        if self.X.shape[1] != n_features:
            raise ValueError(f"feasible_set has {self.X.shape[1]} features in X_cand, expected {n_features}")

    def largest(self) -> np.ndarray:
        """The largest ``|x~[j]|`` of every column, with the 1 of the intercept at the end."""
        if self._largest is None:
            ends = self.X.max(axis=0), -self.X.min(axis=0)
            size = np.maximum(*(end.toarray().ravel() if sp.issparse(end) else end for end in ends))
            self._largest = np.append(size, 1.0)
        return self._largest

    def rows_equal(self, X) -> list[np.ndarray]:
        """For every row of X the numbers of the candidates that equal it, in increasing order.

        O(n_candidates + n_rows) rows are read, none compared twice.
        """
        X = check_X(np.atleast_2d(X) if not sp.issparse(X) else X, n_features=self.X.shape[1], min_rows=0)
        if sp.issparse(X) != sp.issparse(self.X):
            X = X.toarray() if sp.issparse(X) else sp.csr_matrix(X)
        keys = list(_row_keys(X))
        found = {key: [] for key in keys}
        for i, key in enumerate(_row_keys(self.X)):
            if key in found:
                found[key].append(i)
        return [np.array(found[key], dtype=np.intp) for key in keys]

    def contains(self, X, y=None) -> np.ndarray:
        """For every row of X, whether it may be a poisoning point: boolean array of shape (n_rows,).

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_rows, n_features)
            A row must equal a candidate, value for value.
        y : label or array-like of shape (n_rows,), optional
            With which label; by default any of those that the candidate may carry.

        Notes
        -----
        It speaks of one point at a time: how often a point is used is for :meth:`PoisoningResult.verify`.
        """
        return np.array([reason == "" for reason in self.why_not(X, y)], dtype=bool)

    def why_not(self, X, y=None) -> list[str]:
        """For every row of X, why it is no poisoning point; "" for the rows that are candidates.

        Parameters
        ----------
        X, y
            As for :meth:`contains`.
        """
        agreed(self.names, names_of_columns(X))
        rows = self.rows_equal(X)
        y = np.full(len(rows), y) if np.ndim(y) == 0 and y is not None else y
        if y is not None and np.shape(y) != (len(rows),):
            raise ValueError(f"y must have shape ({len(rows)},), one label per row of X, got {np.shape(y)}")
        reasons = []
        for i, equal in enumerate(rows):
            carried = [] if self.y is None or y is None else np.unique(self.y[equal]).tolist()
            if not len(equal):
                reasons.append("no candidate equals this row")
            elif carried and y[i] not in carried:
                reasons.append(f"label {plain(y[i])!r} is not that of the candidate, {carried[0]!r}")
            else:
                reasons.append("")
        return reasons

    def __eq__(self, other) -> bool:
        """Whether the candidates and their labels are the same, in the same order."""
        if not isinstance(other, CandidatePool):
            return NotImplemented
        if self.X is None or other.X is None:
            return self is other
        if self.X.shape != other.X.shape or self.max_repeats != other.max_repeats or not _same(self.y, other.y):
            return False
        if sp.issparse(self.X) or sp.issparse(other.X):
            return (sp.csr_matrix(self.X) != sp.csr_matrix(other.X)).nnz == 0
        return np.array_equal(self.X, other.X)

    __hash__ = None

    def __repr__(self) -> str:
        labels = "either label" if self.y is None else "labelled"
        repeats = "" if self.max_repeats is None else f", each at most {self.max_repeats} times"
        width = f"{self.X.shape[1]} features" if self.X is not None else "raw"
        return f"CandidatePool({len(self)} candidates, {width}, {labels}{repeats})"


def _are_texts(X):
    return not hasattr(X, "ndim") and isinstance(X, (list, tuple)) and bool(X) and all(isinstance(x, str) for x in X)


def _are_numbers(X):
    return is_frame(X) and all(kind_of(column) in "biuf" for column in columns_of(X))


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
