"""A victim whose poisoning points may be replaced, all of them, at every step."""

from __future__ import annotations

import numpy as np

from .added_rows import AddedRows
from .hinge import HingeSolver
from .victim import Victim

__all__ = ["MovingVictim"]


#: After this many replacements the whole state is recomputed.
AUDIT_EVERY = 128


class MovingVictim:
    """The victim trained on the clean rows and on points that change from step to step.

    A :class:`Victim` only takes points in. A search moves its points: two rows replaced, and the weights of all shifted
    at once, move the model little, so the solver goes on from where it is.

    Parameters
    ----------
    X, y, objective, sample_weight, theta0, tol
        As in :class:`Victim`.

    Attributes
    ----------
    theta : ndarray of shape (n_features + 1,)
        The current model.
    """

    def __init__(self, X, y, objective, sample_weight=None, theta0=None, tol=1e-8):
        self.victim = victim = Victim(X, y, objective, sample_weight=sample_weight, theta0=theta0, tol=tol)
        self.clean_k, self.clean_totals = victim.k, None if victim._totals is None else victim._totals.copy()
        # dense rows next to sparse ones, too: they are few, and written over in place
        victim._rows = AddedRows(victim.n_features, False)
        if isinstance(victim._solver, HingeSolver):
            victim._rows.before_growing = victim._solver._detach
        self._slots = {}  # (point, label) -> row
        self._free = []  # rows of weight 0
        self._steps = 0

    @property
    def theta(self):
        return self.victim.theta

    @property
    def k(self):
        return self.victim.k

    def place(self, points, labels, counts):
        """Let these be the poisoning points, in place of all there were, and train. Returns theta.

        Parameters
        ----------
        points : sequence of ndarray of shape (n_features,)
        labels : sequence of float, -1. or +1.
        counts : sequence of float
            0 is no point at all.
        """
        victim, rows = self.victim, self.victim._rows
        wanted = {}
        for x, y, count in zip(points, labels, counts, strict=True):
            x = np.ascontiguousarray(x, dtype=np.float64).ravel() + 0.0
            key = x.tobytes(), float(y)
            wanted[key] = (x, wanted.get(key, (x, 0.0))[1] + float(count))
        wanted = {key: value for key, value in wanted.items() if value[1] > 0.0}
        before = rows.count.rows.copy()
        leaving = [key for key in self._slots if key not in wanted]
        taken = {}
        for key, (x, count) in wanted.items():
            slot = self._slots.get(key)
            if slot is None:
                slot = self._take_slot(x, key[1])
            taken[key] = slot
            rows.count.block[slot] = count
        for key in leaving:
            slot = self._slots[key]
            rows.count.block[slot] = 0.0
            self._free.append(slot)
        self._slots = taken
        k_before, victim.k = victim.k, self.clean_k
        for (_, y), (_, count) in wanted.items():
            victim.k += victim.objective.k_of_point(y) * count
        change = rows.count.rows.copy()
        change[: len(before)] -= before
        self._train(change, victim.k - k_before, wanted)
        return victim.theta

    def _take_slot(self, x, y):
        """A row for a new point: one that is free, or one more."""
        victim, rows, solver = self.victim, self.victim._rows, self.victim._solver
        hinge = isinstance(solver, HingeSolver)
        if self._free:
            slot = self._free.pop()
            rows.data.block[slot], rows.y.block[slot] = x, y
            if hinge:
                solver._attach()
                solver.core.renew(victim.X.shape[0] + slot, y)
            else:
                solver.added_norm.rows[slot] = np.sqrt(x @ x + 1.0)
            return slot
        slot = rows.append(x, y)
        if hinge:
            solver._attach()
            solver.core.append(y)
        else:
            solver._prepare()
        return slot

    def _train(self, change, change_of_k, wanted):
        victim, solver = self.victim, self.victim._solver
        self._steps += 1
        if victim.objective.is_balanced:  # every row weighs something else now
            victim._totals = self.clean_totals.copy()
            for (_, y), (_, count) in wanted.items():
                victim._totals[1 if y > 0 else 0] += count
            victim._weigh()
            solver.solve(victim.theta)
        elif isinstance(solver, HingeSolver):
            weight = np.where(victim.added_y > 0, *(victim.settled.weight_of(y) for y in (1.0, -1.0)))
            moved = np.flatnonzero(change)
            if len(moved) or change_of_k:
                outcome = solver.core.shift_weights(
                    moved + victim.X.shape[0], change[moved] * weight[moved], change_of_k
                )
                solver._read(solver.core.gap())
                if outcome != 0 or not victim.is_tight() or self._steps % AUDIT_EVERY == 0:
                    solver.audit()
        elif self._steps % AUDIT_EVERY == 0:
            solver.solve()
        else:  # the sums over the clean rows at the current model are known
            solver._prepare()
            at = solver.at
            solver._move(solver._state(at.theta, at.clean, solver._sums_added(at.theta, 0, victim.n_distinct)))
            solver._newton()
