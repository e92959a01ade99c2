"""The hinge refit around its compiled solver."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import scipy.sparse as sp

from mtpfast import _hinge
from mtpfast.arrays.maps import is_map_of_singles, let_go, map_of
from mtpfast.arrays.rows import every

from .smoothed import ABOVE, Rows, cost_of_step, near_minimiser
from .solver import Solver
from .training_set import TrainingSet

__all__ = ["HingeSolver"]


#: So many principal directions of the rows say how far theta has gone.
DIRECTIONS = 8
#: A solve that looks at more rows than so many steps of Newton's method would cost is led by these.
LONG = 5
#: A first model of rows in a file is that of so many of them.
SAMPLE = 100_000


def metric_of(X, intercept):
    """``(directions, along, across)`` for ``_hinge.HingeSolver``: how long a change of theta is, seen from the rows.

    Any metric will do. The best for rows of second moments M is the root of M; taken here are its
    principal directions, roughly, and its diagonal for what is at right angles to them.
    """
    n, d = X.shape
    rows = every(X, max(1, n // 2000))
    m = rows.shape[0]

    def moments(V):
        """M V, the intercept's 1 appended to every row."""
        scores = rows @ V[:-1] + V[-1] * intercept
        return np.vstack([rows.T @ scores, intercept * scores.sum(axis=0)]) / m

    directions = np.random.default_rng(0).standard_normal((d + 1, min(DIRECTIONS, d)))
    for _ in range(4):
        directions = np.linalg.qr(moments(directions))[0]
    squares = rows.multiply(rows).sum(axis=0) if sp.issparse(rows) else np.einsum("ij,ij->j", rows, rows)
    diagonal = np.append(np.asarray(squares).ravel() / m, float(intercept))
    image = moments(directions)
    values, turn = np.linalg.eigh(directions.T @ image)
    directions = directions @ turn
    rest = np.maximum(diagonal - np.einsum("ij,ij->i", directions, directions * values), 0.0)
    largest = max(diagonal.max(), values.max()) or 1.0
    along = np.sqrt(np.maximum(values, 0.0) + 1e-4 * largest)
    across = np.sqrt(rest + 1e-3 * max(rest.max(), 1e-6 * largest))
    return np.ascontiguousarray(directions.T), along, across


class HingeSolver(Solver):
    """Hands the work to ``_hinge.HingeSolver`` and repairs what its checks find."""

    def __init__(self, training: TrainingSet, tol, theta0):
        super().__init__(training, tol)
        self.theta0, objective = theta0, training.objective
        self.core = _hinge.HingeSolver(
            training.X,
            np.ascontiguousarray(training.y, dtype=np.float64),
            objective.fit_intercept,
            objective.penalize_intercept,
            metric_of(training.X, objective.fit_intercept),
            None if map_of(training.X) is None else partial(let_go, training.X),
        )
        training.rows.reader = self.core.set_added
        self.long = False  # whether the last solve was led
        self._told = np.zeros(0)  # the weights of the added rows, for :meth:`shift`

    def solve(self, theta=None):
        """From ``theta`` (or theta0, or from scratch), with all points added so far."""
        training, core = self.training, self.core
        training.rows.show()
        for y in training.added_y[core.n_rows - training.n_clean :]:
            core.append(y)
        core.set_weights(np.concatenate([training.weight, training.added_weight]), training.k)
        self._told = np.array(training.added_weight)
        if theta is None:
            theta, self.theta0 = self.theta0, None
        if theta is None and is_map_of_singles(training.X):
            theta = self._of_a_sample()
        if theta is None:
            self.n_iter += core.descend(1e-3, 100)
        self._led(partial(core.start, theta))
        self.audit()
        self.warn_if_loose()

    def _led(self, move):
        """What a ``move`` of the core gives; None where it got long, and was led (:meth:`_lead`)."""
        core = self.core
        if map_of(self.training.X) is None:  # a file is read as seldom as can be
            core.most_looks = LONG * cost_of_step(core.n_rows, self.training.n_features)
        try:
            outcome = move()
        finally:
            core.most_looks = 0
        self.long = core.too_far
        if not self.long:
            return outcome
        theta = np.empty(self.training.n_features + 1)
        core.theta(theta)
        self._lead(theta)
        return None

    def _lead(self, theta):
        """Let the core go on from a model near its end, which is looked for from theta."""
        core, training, objective = self.core, self.training, self.training.objective
        n = training.n_weighed
        rows = [Rows(training.X if n == training.n_clean else training.X[:n], training.y[:n], training.weight[:n])]
        if training.n_added:
            rows.append(Rows(training.added_X, training.added_y, training.added_weight))
        theta, sides = near_minimiser(rows, core.k * objective.R(training.n_features), objective.one, theta)
        if sides is not None:
            sides = np.insert(sides, n, np.full(training.n_clean - n, ABOVE, dtype=np.int8))
        core.start(theta, sides)

    def _of_a_sample(self):
        """The model of evenly spaced rows; None where that would be most of them."""
        training, objective = self.training, self.training.objective
        step = training.n_clean // SAMPLE
        if step < 2:
            return None
        X, weight = every(training.X, step), training.weight[::step].copy()
        y = np.ascontiguousarray(training.y[::step], dtype=np.float64)
        metric = metric_of(X, objective.fit_intercept)
        core = _hinge.HingeSolver(X, y, objective.fit_intercept, objective.penalize_intercept, metric)
        for label in (-1.0, 1.0):
            weight[y == label] *= training.weight[training.y == label].sum() / weight[y == label].sum()
        core.set_weights(weight, training.k)
        core.descend(1e-3, 100)
        core.start()
        theta = np.empty(training.n_features + 1)
        core.theta(theta)
        return theta

    def reweigh(self, theta, near=None, enough=-math.inf):
        """The weights of the clean rows, and k, are others; without theta the rows on the margin stay there first.
        Where the last training was led this one is, at once: from theta or ``near``."""
        if theta is None or self.long:
            self.core.set_weights(self.training.weight, self.training.k)
            if self.long:
                found = self._lead(next(given for given in (theta, near, self.theta) if given is not None))
            else:
                self.core.enough = enough
                try:
                    found = self._led(self.core.audit)
                finally:
                    self.core.enough = -math.inf
            if self.core.reached:
                self._read(found[0])
                return
            if found is not None:
                self._read(found[0])
            if found is None or not self.is_tight():
                self.audit()
            if self.is_tight():
                return
        self.solve(self.theta if theta is None else theta)

    def add(self, index, new, count):
        training, core = self.training, self.core
        training.rows.show()
        label = training.rows.y.block[index]
        if new:
            core.append(label)
        weight = count * training.settled.weight_of(label)
        outcome = self._led(partial(core.raise_weight, training.n_clean + index, weight, training.k - core.k))
        self.n_iter += 1
        self._moved(outcome)

    def take_in(self, index):
        """A point was placed in a row of its own, new or of weight 0; its weight is told by :meth:`shift`."""
        training, core = self.training, self.core
        training.rows.show()
        label = training.rows.y.block[index]
        if training.n_clean + index == core.n_rows:
            core.append(label)
        else:
            core.renew(training.n_clean + index, label)

    def shift(self, change, change_of_k, audit=False):
        """The counts of the added rows, and k, have changed by so much."""
        training, moved = self.training, np.flatnonzero(change)
        if len(moved) or change_of_k:
            # what the core holds, to the last digit: fractions that come and go must leave exactly nothing
            told = np.append(self._told, np.zeros(training.n_added - len(self._told)))
            more = training.added_weight[moved] - told[moved]
            told[moved] += more
            self._told = told
            training.rows.show()
            shift = partial(self.core.shift_weights, moved + training.n_clean, more, change_of_k)
            self._moved(self._led(shift), audit)

    def _moved(self, outcome, audit=False):
        self._read(self.core.gap())
        if outcome != 0 or audit or not self.is_tight():
            self.audit()

    def audit(self):
        self.training.rows.show()
        for _ in range(3):
            gap, wrong = self.core.audit()
            self._read(gap)
            if wrong:
                self.n_repairs += 1
            if self.is_tight():
                break
        return gap

    def check(self):
        """Whether a full pass finds all as it should be; the gap is then the true one."""
        self.training.rows.show()
        self.gap, wrong = self.core.check()
        return not wrong and self.is_tight()

    def _read(self, gap):
        theta = np.empty(self.training.n_features + 1)
        self.core.theta(theta)
        self.theta, self.gap = theta, gap

    def clean_loss(self):
        return self.core.clean_loss()

    def resolution(self):
        return self.core.resolution()
