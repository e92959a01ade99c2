"""The hinge refit around its compiled solver."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast import _hinge

__all__ = ["HingeSolver"]


#: So many principal directions of the rows say how far theta has gone.
DIRECTIONS = 8


def metric_of(X, intercept):
    """``(directions, along, across)`` for ``_hinge.HingeSolver``: how long a change of theta is, seen from the rows.

    Any metric will do. The best for rows of second moments M is the root of M; taken here are its
    principal directions, roughly, and its diagonal for what is at right angles to them.
    """
    n, d = X.shape
    rows = X[:: max(1, n // 2000)]
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


class HingeSolver:
    """Hands the work to ``_hinge.HingeSolver`` and repairs what its checks find."""

    def __init__(self, victim, theta0):
        self.victim, self.theta0 = victim, theta0
        objective = victim.objective
        self.core = _hinge.HingeSolver(
            victim.X,
            np.ascontiguousarray(victim.y, dtype=np.float64),
            objective.fit_intercept,
            objective.penalize_intercept,
            metric_of(victim.X, objective.fit_intercept),
        )
        self.attached = False
        victim._rows.before_growing = self._detach

    def _attach(self):
        """Show the core the added rows, unless there are none or they are where it saw them last."""
        rows = self.victim._rows
        if not self.attached and rows.n:
            self.core.set_added(rows.block(), rows.n)
            self.attached = True

    def _detach(self):
        """The added rows are about to move: the core must not look at them."""
        self.core.set_added(np.empty((0, self.victim.n_features)), 0)
        self.attached = False

    def solve(self, theta=None):
        """From ``theta`` (or theta0, or from scratch), with all points added so far."""
        victim, core = self.victim, self.core
        self._attach()
        for y in victim.added_y[core.n_rows - victim.X.shape[0] :]:
            core.append(y)
        core.set_weights(np.concatenate([victim.weight, victim.added_weight]), victim.k)
        if theta is None:
            theta, self.theta0 = self.theta0, None
        if theta is None:
            victim.n_iter += core.descend(1e-3, 100)
        core.start(theta)
        self.audit()
        victim.warn_if_loose()

    def add(self, index, new, count):
        victim, core = self.victim, self.core
        row = victim.X.shape[0] + index
        self._attach()
        if new:
            core.append(victim._rows.y.block[index])
        weight = count * victim.settled.weight_of(victim._rows.y.block[index])
        outcome = core.raise_weight(row, weight, victim.k - core.k)
        victim.n_iter += 1
        self._read(core.gap())
        if outcome != 0 or not victim.is_tight():
            self.audit()

    def audit(self):
        victim = self.victim
        self._attach()
        for _ in range(3):
            gap, wrong = self.core.audit()
            self._read(gap)
            if wrong:
                victim.n_repairs += 1
            if victim.is_tight():
                break
        return gap

    def check(self):
        """Whether a full pass finds all as it should be; the gap is then the true one."""
        self._attach()
        gap, wrong = self.core.check()
        self.victim.gap = gap
        return not wrong and self.victim.is_tight()

    def _read(self, gap):
        theta = np.empty(self.victim.n_features + 1)
        self.core.theta(theta)
        self.victim.theta, self.victim.gap = theta, gap

    def clean_loss(self):
        return self.core.clean_loss()

    def resolution(self):
        return self.core.resolution()
