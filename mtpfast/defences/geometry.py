"""Sanitisers that measure distances: from a centre, along a line, from neighbours, from a subspace."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds
from sklearn import neighbors

from mtpfast.arrays.checks import check_count, check_number
from mtpfast.spaces.ball import Ball
from mtpfast.spaces.convex_space import mean_of
from mtpfast.spaces.slab import Slab

from .base import Defence, is_fitted_table, labels_of, read_rows, row_norms

__all__ = ["LocalOutlierFactor", "NearestNeighbors", "SVD", "Sphere", "SlabDefence"]

WIDE, FEW = 2000, 100  # SVD: of more columns than WIDE, at most FEW directions are kept by default


class _Centered(Defence):
    """Around the mean of every class."""

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, y, _ = read_rows(X, y)
        self.centers_ = {label: mean_of(X[y == label]) for label in labels_of(y)}
        return self

    def _parts(self, X, y):
        X, y, _ = read_rows(X, y)
        for label in labels_of(y):
            if label not in self.centers_:
                raise ValueError(f"y holds the label {label!r}, the table that was fitted {list(self.centers_)}")
            rows = np.flatnonzero(y == label)
            yield label, rows, X[rows]


class Sphere(_Centered):
    r"""Far from the mean of its class.

    .. math:: \text{score}(x, y) = \lVert x - \mu_y \rVert_2

    :meth:`space` is a :class:`mtpfast.Ball` for every label. O(n d).

    References
    ----------
    Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses", Machine Learning 2022,
    section 3 ("L2 defense"); Steinhardt, Koh, Liang, NeurIPS 2017, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.defences import Sphere
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [5.0, 5.0], [5.0, 6.0], [5.0, 5.5]])
    >>> Sphere().keep(X, [0, 0, 0, 1, 1, 1], share=1 / 6)
    array([ True,  True, False,  True,  True,  True])
    """

    def scores(self, X, y):
        """``|x - mu_y|``; see :meth:`Defence.scores`."""
        scores = np.zeros(len(y))
        for label, rows, part in self._parts(X, y):
            scores[rows] = row_norms(part, self.centers_[label])
        return scores

    def space(self, X, y, share=0.05):
        """A ball around the mean of every class; see :meth:`Defence.space`."""
        fitted = Sphere().fit(X, y)
        radius = fitted._threshold(X, y, share)
        return Ball(fitted.centers_, dict.fromkeys(fitted.centers_, radius), names=read_rows(X, y)[2])


class SlabDefence(_Centered):
    r"""Far from the mean of its class along the line between both means.

    .. math:: \text{score}(x, y) = |(\mu_+ - \mu_-) \cdot (x - \mu_y)|

    :meth:`space` is a :class:`mtpfast.Slab` for every label; it has no end in other directions, so that attacks need
    it in an :class:`mtpfast.Intersection`. O(n d).

    References
    ----------
    Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses", section 3; Steinhardt,
    Koh, Liang, NeurIPS 2017, section 3.

    Examples
    --------
    >>> from mtpfast.defences import SlabDefence
    >>> X = [[0.0, 7.0], [1.0, 0.0], [9.0, 2.0], [20.0, 5.0], [21.0, 1.0], [20.5, 3.0]]
    >>> SlabDefence().keep(X, [0, 0, 0, 1, 1, 1], share=1 / 6)
    array([ True,  True, False,  True,  True,  True])
    """

    def fit(self, X, y):
        """See :meth:`Defence.fit`; y must hold two labels."""
        super().fit(X, y)
        if len(self.centers_) != 2:
            raise ValueError(f"y must hold two labels: the slab lies along their means, got {list(self.centers_)}")
        first, second = self.centers_.values()
        self.normal_ = second - first
        return self

    def scores(self, X, y):
        """``|(mu_+ - mu_-) . (x - mu_y)|``; see :meth:`Defence.scores`."""
        scores = np.zeros(len(y))
        for label, rows, part in self._parts(X, y):
            scores[rows] = np.abs(np.asarray(part @ self.normal_).ravel() - self.centers_[label] @ self.normal_)
        return scores

    def space(self, X, y, share=0.05):
        """A slab around the mean of every class; see :meth:`Defence.space`."""
        fitted = SlabDefence().fit(X, y)
        half = fitted._threshold(X, y, share)
        middles = {label: float(center @ fitted.normal_) for label, center in fitted.centers_.items()}
        low, high = ({label: m + sign * half for label, m in middles.items()} for sign in (-1.0, 1.0))
        return Slab(fitted.normal_, low, high, names=read_rows(X, y)[2])


def _neighbors_of(n_neighbors, X) -> int:
    """So many, or all other rows of a smaller table."""
    k = min(check_count(n_neighbors, "n_neighbors"), X.shape[0] - 1)
    if k < 1:
        raise ValueError("X must hold two rows at least, got one")
    return k


class NearestNeighbors(Defence):
    r"""Far from its k-th nearest neighbour, whatever their labels.

    .. math:: \text{score}(x) = \min \{ r : \text{at least } k \text{ other rows lie within } r \text{ of } x \}

    Parameters
    ----------
    n_neighbors : int, default=5
        k; of a smaller table, all other rows.

    Notes
    -----
    A point with more than k copies has score 0: what is inserted often is never far from its like. O(n^2 d).

    References
    ----------
    Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses", section 3.

    Examples
    --------
    >>> from mtpfast.defences import NearestNeighbors
    >>> X = [[0.0], [0.1], [0.2], [7.0], [0.3], [0.4]]
    >>> NearestNeighbors(n_neighbors=2).keep(X, [0, 0, 0, 1, 1, 1], share=1 / 6)
    array([ True,  True,  True, False,  True,  True])
    """

    def __init__(self, n_neighbors=5):
        self.n_neighbors = n_neighbors

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        k = _neighbors_of(self.n_neighbors, X)
        self._rows, self._search = X, neighbors.NearestNeighbors(n_neighbors=k).fit(X)
        return self

    def scores(self, X, y):
        """The distance to the k-th nearest row, not counting a row of the fitted table itself."""
        X, _, _ = read_rows(X, y)
        distances, _ = self._search.kneighbors(None if is_fitted_table(X, self._rows) else X)
        return distances[:, -1]


class LocalOutlierFactor(Defence):
    """Less dense than its neighbours: scikit-learn's LocalOutlierFactor.

    Parameters
    ----------
    n_neighbors : int, default=20
        Of a smaller table, all other rows.

    Notes
    -----
    ``scores`` are of the table that was fitted only. Where a row has more than ``n_neighbors`` copies their density
    has no meaning, of which scikit-learn warns; that is what copies do to this sanitiser, and no warning is passed on.

    References
    ----------
    Breunig, Kriegel, Ng, Sander, "LOF: identifying density-based local outliers", SIGMOD 2000.

    Examples
    --------
    >>> from mtpfast.defences import LocalOutlierFactor
    >>> X = [[0.0], [0.1], [0.2], [7.0], [0.3], [0.4]]
    >>> LocalOutlierFactor(n_neighbors=2).keep(X, [0, 0, 0, 1, 1, 1], share=1 / 6)
    array([ True,  True,  True, False,  True,  True])
    """

    def __init__(self, n_neighbors=20):
        self.n_neighbors = n_neighbors

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        k = _neighbors_of(self.n_neighbors, X)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Duplicate values are leading", category=UserWarning)
            self._model = neighbors.LocalOutlierFactor(n_neighbors=k).fit(X)
        self._rows = X
        return self

    def scores(self, X, y):
        """The local outlier factor of the rows that were fitted; see :meth:`Defence.scores`."""
        X, _, _ = read_rows(X, y)
        if not is_fitted_table(X, self._rows):
            raise ValueError("X must be the table that was fitted: this factor is of its own rows only")
        return -self._model.negative_outlier_factor_


class SVD(Defence):
    r"""Far from the subspace of the largest singular vectors of the table.

    .. math:: \text{score}(x) = \lVert (I - V V^\top) x \rVert_2, \qquad V \text{ the first } k \text{ right singular
              vectors of } X

    Parameters
    ----------
    n_components : int, optional
        k. By default as many as leave at most ``left`` of the table; at most 100 where it has more than 2000 columns.
    left : float, default=0.05
        ``|X - X V V'|_F / |X|_F`` that may be left.

    Notes
    -----
    O(n d^2), or O(n d k) for a sparse table with few components.

    References
    ----------
    Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses", section 3, where k is
    the smallest number that leaves 5 %.

    Examples
    --------
    >>> from mtpfast.defences import SVD
    >>> X = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [2.0, 0.5], [4.0, 4.0]]
    >>> SVD(n_components=1).keep(X, [0, 0, 1, 1, 1], share=0.2)
    array([ True,  True,  True, False,  True])
    """

    def __init__(self, n_components=None, left=0.05):
        self.n_components = n_components
        self.left = left

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        left = check_number(self.left, "left")
        d = X.shape[1]
        k = None if self.n_components is None else min(check_count(self.n_components, "n_components"), d)
        if k is None and d > WIDE:
            k = FEW
        if k is not None and sp.issparse(X) and k < min(X.shape):
            self.components_ = svds(X, k, v0=np.ones(min(X.shape)), return_singular_vectors="vh")[2]
            return self
        gram = X.T @ X
        values, vectors = np.linalg.eigh(gram.toarray() if sp.issparse(gram) else gram)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        if k is None:
            rest = np.append(np.cumsum(values[::-1])[::-1], 0.0)  # rest[k]: what k directions leave of |X|_F^2
            k = int(np.argmax(rest <= left * left * rest[0]))
        self.components_ = np.ascontiguousarray(vectors[:, :k].T)
        return self

    def scores(self, X, y):
        """The distance to the subspace; see :meth:`Defence.scores`."""
        X, _, _ = read_rows(X, y)
        along = np.asarray(X @ self.components_.T)
        if not sp.issparse(X):
            return np.linalg.norm(X - along @ self.components_, axis=1)
        squares = np.asarray(X.multiply(X).sum(axis=1)).ravel()
        return np.sqrt(np.maximum(squares - np.sum(along * along, axis=1), 0.0))
