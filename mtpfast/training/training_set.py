"""What a victim is trained on: clean rows, added points, what each of them weighs, and the penalty."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.maps import let_go
from mtpfast.arrays.rows import SLICE, in_doubles, slices
from mtpfast.losses.objective import Objective

from .added_rows import AddedRows

__all__ = ["TrainingSet", "squares"]


class TrainingSet:
    """Clean rows, kept by reference, and points that are added to them.

    Attributes
    ----------
    X, y, objective, sample_weight
        The clean rows and the victim's objective.
    rows : AddedRows
        The distinct added points and their counts.
    k : float
        Weight of the penalty, clean and added rows together.
    settled : Objective
        The objective with the class weights that "balanced" stands for now.
    weight : ndarray of shape (n_rows,)
        What the clean rows weigh.
    n_weighed : int
        The clean rows up to the last that weighs something: those behind need not be read.
    unit : float
        ``1 / max |x|`` over the clean rows: weights of this length move a margin by 1.
    """

    def __init__(self, X, y, objective: Objective, sample_weight=None, total_weight=None):
        self.X, self.y = X, y
        self.sparse, self.n_features = sp.issparse(X), X.shape[1]
        self.renew(objective, sample_weight, total_weight)
        self.unit = _unit(X)
        self._index = {1.0: {}, -1.0: {}}  # per label: what stands for a point, and its row
        self.rows = AddedRows(self.n_features, self.sparse, may_be_corners=objective.loss.kinked)

    @property
    def n_clean(self) -> int:
        return self.X.shape[0]

    @property
    def n_added(self) -> int:
        """Distinct added points."""
        return self.rows.n

    @property
    def added_X(self):
        """The distinct added points, one row each: CSR where X is, else a view."""
        points = self.rows.matrix()
        return sp.csr_matrix(points) if self.sparse and not sp.issparse(points) else points

    @property
    def added_y(self) -> np.ndarray:
        return self.rows.y.rows

    @property
    def added_count(self) -> np.ndarray:
        return self.rows.count.rows

    @property
    def added_weight(self) -> np.ndarray:
        """What the distinct added points weigh with their copies."""
        count = self.added_count
        weights = self.settled.class_weight
        return count if weights is None else count * np.where(self.added_y > 0, weights[1], weights[0])

    def renew(self, objective, sample_weight, total_weight):
        """The same rows, of which none is added, under another objective or with other weights."""
        self.objective, self.sample_weight = objective, sample_weight
        self.k = objective.k(objective.amount(self.y, sample_weight) if total_weight is None else total_weight)
        self.totals = objective.class_totals(self.y, sample_weight) if objective.is_balanced else None
        self.weigh()

    def weigh(self):
        """The class weights, and the weights of the clean rows: "balanced" changes both with every added point."""
        self.settled = self.objective.settled(self.totals)
        weight = self.settled.weights(self.y, self.sample_weight)
        self.weight = np.ones(len(self.y)) if weight is None else weight
        self.n_weighed = len(self.y) - int(np.argmax(self.weight[::-1] != 0.0))

    def place(self, x, y, count):
        """Count a point among the distinct ones: (index, whether it is new)."""
        x = np.ascontiguousarray(x, dtype=np.float64).ravel()
        # 256 bits stand for the point itself, which is kept once; + 0.0 turns -0. into 0.
        key, known = hashlib.blake2b(x + 0.0, digest_size=32).digest(), self._index[y]
        index = known.get(key)
        new = index is None
        if new:
            index = known[key] = self.rows.append(x, y)
        self.rows.count.block[index] += count
        self.k += self.objective.k_of_point(y) * count
        if self.objective.is_balanced:
            self.totals[1 if y > 0 else 0] += count
        return index, new


def squares(X, axis):
    """Sums of the squares of the entries of a small dense or CSR block."""
    if sp.issparse(X):
        return np.asarray(X.multiply(X).sum(axis=axis)).ravel()
    return np.einsum("ij,ij->j" if axis == 0 else "ij,ij->i", X, X)


def _unit(X):
    """``1 / max |x|`` over the rows, 1 if all are zero: weights of this length move a margin by 1."""
    largest = 0.0
    for i, rows in enumerate(slices(0, X.shape[0], SLICE)):
        largest = max(largest, float(np.max(squares(in_doubles(X[rows]), axis=1))))
        if i % 256 == 255:
            let_go(X)
    return 1.0 / math.sqrt(largest) if largest > 0.0 else 1.0
