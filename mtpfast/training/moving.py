"""A victim whose poisoning points may be replaced, all of them, at every step."""

from __future__ import annotations

import numpy as np

from .added_rows import AddedRows
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
        self.training, self._solver = victim.training, victim._solver
        training = self.training
        self.clean_k, self.clean_totals = training.k, None if training.totals is None else training.totals.copy()
        # dense rows next to sparse ones, too: they are few, and written over in place
        reader, training.rows = training.rows.reader, AddedRows(training.n_features, False)
        training.rows.reader = reader
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
        training, rows = self.training, self.training.rows
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
        k_before, training.k = training.k, self.clean_k
        for (_, y), (_, count) in wanted.items():
            training.k += training.objective.k_of_point(y) * count
        change = rows.count.rows.copy()
        change[: len(before)] -= before
        self._train(change, training.k - k_before, wanted)
        return self.theta

    def _take_slot(self, x, y):
        """A row for a new point: one that is free, or one more."""
        rows = self.training.rows
        if self._free:
            slot = self._free.pop()
            rows.data.block[slot], rows.y.block[slot] = x, y
        else:
            slot = rows.append(x, y)
        self._solver.take_in(slot)
        return slot

    def _train(self, change, change_of_k, wanted):
        training, solver = self.training, self._solver
        self._steps += 1
        if training.objective.is_balanced:  # every row weighs something else now
            training.totals = self.clean_totals.copy()
            for (_, y), (_, count) in wanted.items():
                training.totals[1 if y > 0 else 0] += count
            training.weigh()
            solver.solve(self.theta)
            return
        solver.shift(change, change_of_k, audit=self._steps % AUDIT_EVERY == 0)
