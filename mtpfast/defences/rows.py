"""Sanitisers of practice that look at rows one by one: repeats, validity, tails of columns, isolation."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn import ensemble

from mtpfast.arrays.checks import check_count
from mtpfast.arrays.rows import row_groups
from mtpfast.spaces.base import as_space
from mtpfast.spaces.features import FeatureSpace

from .base import Defence, read_rows

__all__ = ["ECOD", "IsolationForest", "RepeatedRows", "Validity"]


class RepeatedRows(Defence):
    """Rows that occur more than once.

    The score is how often a row occurs, whatever its label. By its own rule the first ``max_repeats`` of equal rows
    stay; with a share to remove, the most repeated rows go, all of them alike.

    Parameters
    ----------
    max_repeats : int, default=1
        How often a row may occur.
    decimals : int, optional
        Rows that are equal when rounded to so many decimals count as equal; by default, equal to the last digit.

    Notes
    -----
    Whether a row repeats is no matter of where it lies. An attack passes by ``CandidatePool(..., max_repeats=r)``, or
    by :meth:`mtpfast.PoisoningResult.spread`, which takes repeats apart afterwards. O(n d).

    Examples
    --------
    >>> from mtpfast.defences import RepeatedRows
    >>> X, y = [[1.0], [2.0], [1.0], [3.0], [1.0004]], [0, 0, 0, 1, 1]
    >>> RepeatedRows().keep(X, y)
    array([ True,  True, False,  True,  True])
    >>> RepeatedRows(decimals=3).keep(X, y)
    array([ True,  True, False,  True, False])
    """

    decides = True

    def __init__(self, max_repeats=1, decimals=None):
        self.max_repeats = max_repeats
        self.decimals = decimals

    @property
    def name(self):
        """Exact and rounded repeats have names of their own."""
        return type(self).__name__ + ("" if self.decimals is None else f"(decimals={self.decimals})")

    def fit(self, X, y):
        """See :meth:`Defence.fit`: what repeats is seen in the rows that are scored."""
        check_count(self.max_repeats, "max_repeats")
        read_rows(X, y)
        return self

    def scores(self, X, y):
        """How often the row occurs in X; see :meth:`Defence.scores`."""
        group = row_groups(read_rows(X, y)[0], self.decimals)
        return np.bincount(group)[group].astype(float)

    def verdict(self, X, y):
        """The first ``max_repeats`` of equal rows; see :meth:`Defence.verdict`."""
        group = row_groups(read_rows(X, y)[0], self.decimals)
        order = np.argsort(group, kind="stable")
        first = np.searchsorted(group[order], group[order])
        nth = np.empty(len(group), dtype=np.intp)
        nth[order] = np.arange(len(group)) - first
        return nth < self.max_repeats

    def space(self, X, y, share=None):
        """There is none; see the notes above."""
        raise TypeError(
            f"RepeatedRows forbids no point by itself: CandidatePool(..., max_repeats={self.max_repeats}) limits how "
            f"often a candidate is used, and PoisoningResult.spread() takes repeats apart"
        )


class Validity(Defence):
    """Rows that could not exist: outside a space of valid records.

    The score is 1 for a row that breaks a rule of the space and 0 for others; by its own rule, all of the former go.

    Parameters
    ----------
    valid : FeatureSpace or another space, optional
        What may exist. By default what the fitted table shows: the range of every column, whole numbers where it has
        no others, two values where it has but two (:meth:`mtpfast.FeatureSpace.from_data`). Fitted to a poisoned
        table that finds nothing: give the rules of the data.

    Examples
    --------
    >>> from mtpfast import FeatureSpace
    >>> from mtpfast.defences import Validity
    >>> X, y = [[20.0, 0.0], [30.0, 1.0], [38.5, 0.4]], [0, 1, 1]
    >>> ages = Validity(FeatureSpace([17, 0], [90, 1], integer=[0, 1]))
    >>> ages.keep(X, y)
    array([ True,  True, False])
    >>> ages.why_not(X, y)
    ['', '', 'feature 0 is 38.5, not a whole number']
    """

    decides = by_rules = True

    def __init__(self, valid=None):
        self.valid = valid

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        self.space_ = FeatureSpace.from_data(X) if self.valid is None else as_space(self.valid)
        self.space_.check(np.shape(X)[1])
        return self

    def scores(self, X, y):
        """1 where the row breaks a rule; see :meth:`Defence.scores`."""
        X, y, _ = read_rows(X, y)
        return (~self.space_.contains(X, y)).astype(float)

    def verdict(self, X, y):
        """The rows that break no rule; see :meth:`Defence.verdict`."""
        return self.scores(X, y) == 0.0

    def why_not(self, X, y) -> list[str]:
        """The first rule that every row breaks; "" for valid rows."""
        return (self if self.valid is None else self.fit(X, y)).space_.why_not(*read_rows(X, y)[:2])

    def space(self, X, y, share=None):
        """The space of valid records; the share does not matter."""
        return Validity(self.valid).fit(X, y).space_


class ECOD(Defence):
    r"""Far out in the tails of the columns.

    .. math:: \text{score}(x) = \max\Big(\sum_j -\log F_j(x_j),\; \sum_j -\log \bar F_j(x_j),\;
              \sum_j \text{that of both in whose direction column } j \text{ is skewed}\Big)

    with F the share of the table at most, and F-bar the share at least, as large. A column that is skewed to the left
    (of negative skewness) is judged by its left tail.

    Notes
    -----
    A row beyond all of the fitted table counts as the outermost of it. O(n d log n), a column at a time.

    References
    ----------
    Li, Zhao, Hu, Botta, Ionescu, Chen, "ECOD: unsupervised outlier detection using empirical cumulative distribution
    functions", IEEE TKDE 2022, algorithm 1.

    Examples
    --------
    >>> from mtpfast.defences import ECOD
    >>> X = [[0.1, 0.5], [0.2, 0.4], [0.3, 0.6], [9.0, 8.0], [0.25, 0.55]]
    >>> ECOD().keep(X, [0, 0, 0, 1, 1], share=0.2)
    array([ True,  True,  True, False,  True])
    """

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        self._table = X.tocsc() if sp.issparse(X) else X
        return self

    def scores(self, X, y):
        """The largest of the three sums; see :meth:`Defence.scores`."""
        X, _, _ = read_rows(X, y)
        if X.shape[1] != self._table.shape[1]:
            raise ValueError(f"X has {X.shape[1]} features, expected {self._table.shape[1]}")
        n = self._table.shape[0]
        X = X.tocsc() if sp.issparse(X) else X
        sums = np.zeros((3, X.shape[0]))
        for j in range(X.shape[1]):
            known, x = np.sort(_column(self._table, j)), _column(X, j)
            left = -np.log(np.maximum(np.searchsorted(known, x, "right"), 1) / n)
            right = -np.log(np.maximum(n - np.searchsorted(known, x, "left"), 1) / n)
            sums += (left, right, left if _skewness(known) < 0.0 else right)
        return sums.max(axis=0)


def _column(X, j):
    return X[:, [j]].toarray().ravel() if sp.issparse(X) else X[:, j]


def _skewness(x):
    """The third moment about the mean, whose sign is all that counts."""
    apart = x - np.mean(x)
    return float(np.mean(apart**3))


class IsolationForest(Defence):
    """Soon alone in random cuts: scikit-learn's IsolationForest.

    Parameters
    ----------
    n_estimators : int, default=100
        Trees.
    random_state : int, RandomState or None, default=0
        What it removes depends much on it: judge it by several.

    References
    ----------
    Liu, Ting, Zhou, "Isolation forest", ICDM 2008.

    Examples
    --------
    >>> from mtpfast.defences import IsolationForest
    >>> X = [[0.0], [0.1], [0.2], [7.0], [0.3], [0.4]]
    >>> IsolationForest().keep(X, [0, 0, 0, 1, 1, 1], share=1 / 6)
    array([ True,  True,  True, False,  True,  True])
    """

    def __init__(self, n_estimators=100, random_state=0):
        self.n_estimators = n_estimators
        self.random_state = random_state

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        trees = check_count(self.n_estimators, "n_estimators")
        self._model = ensemble.IsolationForest(n_estimators=trees, random_state=self.random_state).fit(X)
        return self

    def scores(self, X, y):
        """Minus the mean depth, normalised; see :meth:`Defence.scores`."""
        return -self._model.score_samples(read_rows(X, y)[0])
