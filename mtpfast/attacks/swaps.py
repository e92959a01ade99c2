"""The search of damage over points that do not merge: whole records, documents, and candidates of a pool.

The mean of two records is no record, so the points stay apart, each with a whole count, and a step moves copies: from
the points that pull least along ``v`` to those that pull most, so many that the aimed rows' margins move by delta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .ascent import Ascent, pulls

__all__ = ["Atoms", "PoolSwaps", "RecordSwaps", "best_record"]


#: How many distinct records one step may bring in.
AT_ONCE = 1


@dataclass
class Atoms:
    """Distinct points, and how often each is used."""

    points: list
    labels: list
    counts: list

    def copy(self):
        return Atoms(list(self.points), list(self.labels), list(self.counts))


def best_record(region, y, theta, v, loss):
    """The point of the region, of those where its hull has vertices on the frontier, that pulls most along v.

    ``(x, s(m) y v . x~)``; None where none pulls.
    """
    A, a0, P, p0 = y * theta[:-1], y * theta[-1], y * v[:-1], y * v[-1]
    m, p, slopes = region.frontier(A, a0, P, p0)
    values = np.where(pulls(loss, m) > 0.0, pulls(loss, m) * p, -np.inf)
    best = int(np.argmax(values))
    if values[best] == -np.inf:
        return None
    if not len(slopes):
        slope = 0.0
    elif best == 0:
        slope = slopes[0] + 1.0 + abs(slopes[0])
    elif best == len(slopes):
        slope = slopes[-1] - 1.0 - abs(slopes[-1])
    else:  # between the edges that meet there
        slope = 0.5 * (slopes[best - 1] + slopes[best])
    found = None
    for s in (slope, slopes[best - 1] - 1e-9 * (1.0 + abs(slope)) if best else slope):
        x = region.linear_argmax(P - s * A)
        margin = float(A @ x) + a0
        value = float(pulls(loss, margin)) * (float(P @ x) + p0)
        if pulls(loss, margin) > 0.0 and (found is None or value > found[1]):
            found = x, value
    return found


class RecordSwaps(Ascent):
    """Points of regions, each kept as it is."""

    def start(self):
        return Atoms([], [], [])

    def adopt(self, points, labels, counts):
        return Atoms(list(points), list(labels), list(counts))

    def scaled(self, state, factor):
        counts = np.array(state.counts, dtype=float)
        wanted = counts * factor
        whole = np.floor(wanted).astype(int)
        left = min(self.budget, round(float(wanted.sum()))) - int(whole.sum())
        order = np.argsort(-(wanted - whole), kind="stable")
        whole[order[: max(0, left)]] += 1
        return _without_zeros(Atoms(list(state.points), list(state.labels), whole.tolist()))

    def whole(self, state):
        return list(state.points), list(state.labels), list(state.counts)

    def _step(self, state, theta, v, delta):
        best = None
        for y, region in self.regions.items():
            found = best_record(region, y, theta, v, self.loss)
            if found is not None and (best is None or self.weight_of(y) * found[1] > best[2]):
                best = found[0], y, self.weight_of(y) * found[1]
        if best is None:
            return None
        x, y, value = best
        scores, pull = self._worth(state, theta, v)
        change = self.budget * self._signed(x, y, theta) - pull
        copies = self._copies(change, delta)
        take_worst(state, scores, value, copies, self.budget)
        add(state, x, y, min(copies, self.budget - sum(state.counts)))
        return copies / self.budget

    def _signed(self, x, y, theta):
        """``c s y x~`` of one point."""
        s = self.weight_of(y) * self._pull(y, x, theta) * y
        return np.append(s * x, s if self.objective.fit_intercept else 0.0)

    def _worth(self, state, theta, v):
        """What each copy pulls along v, and the whole pull."""
        if not state.points:
            return np.empty(0), np.zeros(len(theta))
        X, y = np.array(state.points), np.array(state.labels)
        c = np.where(y > 0, *(self.weight_of(label) for label in (1.0, -1.0)))
        s = c * pulls(self.loss, y * (X @ theta[:-1] + theta[-1])) * y
        n = np.array(state.counts) * s
        total = np.append(n @ X, n.sum() if self.objective.fit_intercept else 0.0)
        return s * (X @ v[:-1] + v[-1]), total

    def _copies(self, change, delta):
        """How many copies to move, where moving all of them would change the pull so."""
        share = self._share(change, delta)
        copies = max(1, round(share * self.budget))
        return copies


def take_worst(state, scores, value, copies, budget):
    """Take copies away until there is room for so many: those of the least score first, none above ``value``."""
    room = budget - sum(state.counts)
    for i in np.argsort(scores, kind="stable"):
        if room >= copies or scores[i] >= value:
            break
        taken = min(state.counts[i], copies - room)
        state.counts[i] -= taken
        room += taken
    _without_zeros(state)


def _without_zeros(state):
    keep = [i for i, n in enumerate(state.counts) if n > 0]
    for name in ("points", "labels", "counts"):
        setattr(state, name, [getattr(state, name)[i] for i in keep])
    return state


def add(state, x, y, copies):
    """So many more copies of a point."""
    if copies <= 0:
        return
    for i, known in enumerate(state.points):
        if state.labels[i] == y and np.array_equal(known, x):
            state.counts[i] += copies
            return
    state.points.append(x)
    state.labels.append(y)
    state.counts.append(copies)


@dataclass
class Chosen:
    """How often each candidate of a pool is used, with the label +1 and with -1: int array of shape (2, n)."""

    counts: np.ndarray

    def copy(self):
        return Chosen(self.counts.copy())


class PoolSwaps(RecordSwaps):
    """Candidates of a pool, each at most ``max_repeats`` times with each of its labels."""

    def __init__(self, victim, sensitivity, pool, aim, budget, watch):
        super().__init__(victim, sensitivity, {}, aim, budget, watch)
        self.pool, self.X, signs = pool, pool.X, pool.signs()
        n = self.X.shape[0]
        self.allowed = np.ones((2, n), dtype=bool)
        if signs is not None:
            self.allowed = np.array([signs > 0, signs < 0])
        self.cap = np.where(self.allowed, budget if pool.max_repeats is None else pool.max_repeats, 0)
        self.signs = np.array([[1.0], [-1.0]])

    def start(self):
        return Chosen(np.zeros(self.cap.shape, dtype=int))

    def adopt(self, points, labels, counts):
        state, points = self.start(), np.array(points)
        rows_equal = self.pool.rows_equal(sp.csr_matrix(points) if sp.issparse(self.X) else points)
        for rows, y, n in zip(rows_equal, labels, counts, strict=True):
            for row in rows:
                taken = min(n, self.cap[0 if y > 0 else 1, row] - state.counts[0 if y > 0 else 1, row])
                state.counts[0 if y > 0 else 1, row] += taken
                n -= taken
        return state

    def scaled(self, state, factor):
        wanted = np.minimum(state.counts * factor, self.cap)
        counts = np.floor(wanted).astype(int)
        left = min(self.budget, round(float(wanted.sum()))) - int(counts.sum())
        order = np.argsort(-(wanted - counts), axis=None, kind="stable")[: max(0, left)]
        counts.flat[order] += (counts < self.cap).flat[order]
        return Chosen(counts)

    def whole(self, state):
        label, rows = np.nonzero(state.counts)
        X = self.X[rows]
        X = X.toarray() if sp.issparse(X) else X
        return list(X), np.where(label == 0, 1.0, -1.0).tolist(), state.counts[label, rows].tolist()

    def _step(self, state, theta, v, delta):
        weights = np.array([[self.weight_of(1.0)], [self.weight_of(-1.0)]])
        s = weights * pulls(self.loss, self.signs * (self.X @ theta[:-1] + theta[-1])) * self.signs
        scores = np.where(self.allowed, s * (self.X @ v[:-1] + v[-1]), -np.inf)
        order = np.argsort(-scores, axis=None, kind="stable")
        order = order[scores.flat[order] > 0.0]
        ideal = np.zeros(self.cap.shape, dtype=int)  # the best candidates, as often as they may be used
        room = np.cumsum(self.cap.flat[order])
        used = np.clip(self.budget - (room - self.cap.flat[order]), 0, self.cap.flat[order])
        ideal.flat[order] = used
        change = ((ideal - state.counts) * s).sum(axis=0)
        change = np.append(self.X.T @ change, change.sum() if self.objective.fit_intercept else 0.0)
        copies = self._copies(change, delta)
        # from the worst that are not among the best, to the best that are not used yet
        spare, wanted = np.maximum(state.counts - ideal, 0), np.maximum(ideal - state.counts, 0)
        free = self.budget - int(state.counts.sum())
        give = _first(wanted, order, min(copies, int(wanted.sum())))
        worst = np.argsort(np.where(spare > 0, scores, np.inf), axis=None, kind="stable")
        take = _first(spare, worst, max(0, min(int(give.sum()) - free, int(spare.sum()))))
        state.counts += give - take
        over = int(state.counts.sum()) - self.budget
        if over > 0:
            state.counts -= _first(give, order[::-1], over)
        return copies / self.budget


def _first(counts, order, total):
    """``total`` of the counts, in this order."""
    out = np.zeros(counts.shape, dtype=int)
    there = counts.flat[order]
    out.flat[order] = np.clip(total - (np.cumsum(there) - there), 0, there)
    return out
