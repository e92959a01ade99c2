"""What every sanitiser is: it scores the rows of a table, and removes the most suspicious of them before training."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone

from mtpfast.arrays.checks import check_number, check_X
from mtpfast.arrays.labels import plain
from mtpfast.spaces.specs import names_of_columns

__all__ = ["Defence", "check_share", "is_fitted_table", "read_rows", "row_norms", "select"]

BLOCK = 2048  # rows of a sparse matrix are made dense so many at a time


class Defence(BaseEstimator):
    r"""A sanitiser: it removes rows before training.

    .. math:: \text{kept} = \{i : \text{score}_i \text{ is not among the } \mathrm{round}(\text{share} \cdot n)
              \text{ largest}\}

    Of rows with the same score the later one goes first, so that the order of the rows is part of the question:
    :func:`mtpfast.defences.evaluate` puts the poison in random places. A subclass defines :meth:`fit` and
    :meth:`scores`; with a verdict of its own, without a share to be told, also :meth:`verdict`.

    Attributes
    ----------
    ranks : bool
        Whether it has scores; if not, :meth:`keep` gives its verdict whatever the share.
    decides : bool
        Whether it has a verdict of its own.
    per_share : bool
        Whether the scores depend on the share that is removed.
    by_rules : bool
        Whether it goes by rules of records, which are in the terms of the preprocessing fitted to the clean table.

    Notes
    -----
    X is an array, a CSR matrix, or a data frame of numbers: of a table of records, what the victim's preprocessing
    makes of it. y holds a label for every row.
    """

    ranks, decides, per_share, by_rules = True, False, False, False

    @property
    def name(self) -> str:
        """What tables of results call it."""
        return type(self).__name__

    def fit(self, X, y):
        """Learn what is usual of a table, poisoned or not.

        Parameters
        ----------
        X : array-like, CSR matrix or DataFrame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        self
        """
        raise NotImplementedError(f"{type(self).__name__} must define fit(X, y)")

    def scores(self, X, y) -> np.ndarray:
        """How suspicious every row is, the larger the more: ndarray of shape (n_samples,)."""
        raise NotImplementedError(f"{type(self).__name__} must define scores(X, y), or set ranks to False")

    def verdict(self, X, y) -> np.ndarray:
        """Which rows of the table that it was fitted to it keeps, by a rule of its own: booleans."""
        raise ValueError(f"share must be given: {type(self).__name__} has no rule of its own for how much to remove")

    def keep(self, X, y, share=None) -> np.ndarray:
        """Fit a copy to this table, as a sanitiser is used, and say which rows it keeps.

        Parameters
        ----------
        X, y
            As in :meth:`fit`.
        share : float, optional
            The share of the rows to remove, at least 0 and below 1: exactly ``round(share n)`` of them. None: by the
            sanitiser's own rule, where it has one.

        Returns
        -------
        ndarray of bool, shape (n_samples,)
            True for rows that stay.
        """
        share = check_share(share)
        fitted = clone(self).fit(X, y)
        if share is None or not self.ranks:
            return fitted.verdict(X, y)
        return select(fitted.scores(X, y), share)

    def space(self, X, y, share=0.05):
        """What passes, as a feasible set of an attack.

        Parameters
        ----------
        X, y
            The table that the sanitiser is fitted to.
        share : float, default=0.05
            The share of its rows that it removes.

        Returns
        -------
        space
            The points whose score is at most the largest that stays: but for ties it holds exactly the rows that
            :meth:`keep` keeps. ``Intersection([feasible_set, space])`` is what an attacker has who must pass.
        """
        raise TypeError(f"what {type(self).__name__} lets pass is no feasible set that attacks can search")

    def _threshold(self, X, y, share):
        """The largest score that stays; ``-inf`` without rows."""
        share = check_share(share)
        if share is None:
            raise ValueError(f"share must be given: {type(self).__name__} removes the most distant rows")
        scores = self.scores(X, y)
        return float(np.max(scores[select(scores, share)], initial=-math.inf))


def check_share(share):
    """A share of rows to remove, below 1; None stays None."""
    if share is None:
        return None
    share = check_number(share, "share")
    if share >= 1.0:
        raise ValueError(f"share must be at least 0 and below 1, got {share!r}")
    return share


def select(scores, share) -> np.ndarray:
    """The mask that removes the ``round(share n)`` largest scores; of equal ones the later row."""
    scores = np.asarray(scores, dtype=float)
    if np.any(np.isnan(scores)):
        raise ValueError(f"scores must be numbers, got NaN in row {int(np.argmax(np.isnan(scores)))}")
    n_removed = round(share * len(scores))
    kept = np.ones(len(scores), dtype=bool)
    order = np.lexsort((np.arange(len(scores)), scores))
    kept[order[len(scores) - n_removed :]] = False
    return kept


def read_rows(X, y):
    """``(X, y, names)``: float64 rows, labels, and the names of the columns where X has them."""
    names = names_of_columns(X)
    X, y = check_X(X), np.asarray(y)
    if y.shape != (X.shape[0],):
        raise ValueError(f"y must have shape ({X.shape[0]},), one label per row of X, got {y.shape}")
    return X, y, names


def labels_of(y):
    """The labels that occur, as Python's own values."""
    return [plain(label) for label in np.unique(y)]


def row_norms(X, center=None) -> np.ndarray:
    """``|x - center|`` for every row, from differences, sparse rows a block at a time."""
    if not sp.issparse(X):
        return np.linalg.norm(X if center is None else X - center, axis=1)
    blocks = [row_norms(X[i : i + BLOCK].toarray(), center) for i in range(0, X.shape[0], BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def is_fitted_table(X, fitted) -> bool:
    """Whether X is the matrix that was fitted: then every row is its own nearest neighbour."""
    if X is fitted:
        return True
    if X.shape != fitted.shape or sp.issparse(X) != sp.issparse(fitted):
        return False
    return (X != fitted).nnz == 0 if sp.issparse(X) else np.array_equal(X, fitted)
