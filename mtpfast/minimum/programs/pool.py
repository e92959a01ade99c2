"""The fractional minimum over a pool of candidates: a column for every row and label."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.bounded import least_squares_in_unit
from mtpfast.arrays.rounding import EPS
from mtpfast.losses.objective import Objective
from mtpfast.proofs.clean_pass import CleanGradient
from mtpfast.proofs.goal import hit_radius

from .branch import whole_numbers
from .highs import solve_lp
from .hinge import merge_rows
from .solution import Solution

__all__ = ["PoolProgram"]


SMALL_POOL = 300  # columns up to which whole counts are looked for by branch and bound


class PoolProgram:
    """A finite pool: a linear program with one column per candidate and label, priced in as needed.

    ``nu_k <= max_repeats`` where the pool has that. Candidates of zero loss only add weight: they share one column (two
    where points of either label do not add the same to N), the last of ``index``. A candidate within ``margin_tol`` of
    the kink of the hinge counts with any s in [0, 1]: where its copies are limited and weight matters it has a second
    column with s = 0, and a row ``nu + nu' <= max_repeats``. A target that nothing hits to its last bit, though
    something comes so near that it counts as hit (one that was made with every copy there is, and rounded), is taken
    for attained.
    """

    def __init__(self, clean: CleanGradient, theta, objective: Objective, pool, margin_tol=0.0):
        self.clean, self.theta, self.objective = clean, theta, objective
        self.d = d = len(theta) - 1
        self.one = objective.one
        self.near = clean.k * hit_radius(theta, pool, objective.fit_intercept)  # residual of what counts as a hit
        self.X = pool.X
        signs = pool.signs()
        n = self.X.shape[0]
        index, label = np.tile(np.arange(n), 2), np.repeat([1.0, -1.0], n)
        if signs is not None:
            allowed = label == np.tile(signs, 2)
            index, label = index[allowed], label[allowed]
        margin = label * (self.X @ theta[:-1] + theta[-1])[index]
        loss, hinge = objective.loss, objective.loss.kinked
        # the rounding of the margin itself, as the certificate counts it
        blur = margin_tol + (self.d + 4) * EPS * float(pool.largest() @ np.abs(theta))
        s = np.where(margin <= 1.0 + blur, 1.0, 0.0) if hinge else -loss.derivative(margin)
        self.pull = objective.k_per_point * objective.R(d) * theta  # of one more unit of N
        self.cap = math.inf if pool.max_repeats is None else float(pool.max_repeats)
        columns = np.flatnonzero(s > 0.0)
        self.index, self.label = index[columns], label[columns]
        self.s = s[columns] * self._of_labels(objective.weight_of, self.label)  # with the weight of the label
        self.top = np.full(len(columns), self.cap)
        self.twins = np.empty((0, 2), dtype=np.intp)  # pairs of columns that share the copies of one candidate
        self.idle = {}  # column -> (rows, labels) of the candidates of zero loss, the largest margin first
        if objective.k_per_point > 0.0 and math.isfinite(loss.zero_from):
            kink = np.flatnonzero(np.abs(margin - 1.0) <= blur) if hinge else np.empty(0, dtype=np.intp)
            zero = s <= 0.0
            if math.isinf(self.cap):
                zero[kink] = True
            elif len(kink):
                first = np.searchsorted(columns, kink)
                self.twins = np.column_stack([first, len(self.index) + np.arange(len(kink))])
                self._append(index[kink], label[kink], self.cap)
            zero = np.flatnonzero(zero)
            if len(zero):
                zero = zero[np.argsort(-margin[zero], kind="stable")]
                unit = self._of_labels(objective.per_point, label[zero])
                for value in np.unique(unit):
                    mine = zero[unit == value]
                    self.idle[len(self.index)] = index[mine], label[mine]
                    self._append(index[mine[:1]], label[mine[:1]], self.cap * len(mine))
        self.unit = self._of_labels(objective.per_point, self.label)  # what a copy adds to N
        self.free = merge_rows(clean)

    @staticmethod
    def _of_labels(function, labels):
        """A function of the label, for every entry."""
        return np.where(labels > 0, function(1.0), function(-1.0))

    def _append(self, index, label, top):
        """More columns, with s = 0."""
        self.index, self.label = np.append(self.index, index), np.append(self.label, label)
        self.s = np.append(self.s, np.zeros(len(index)))
        self.top = np.append(self.top, np.full(len(index), top))

    def columns(self, chosen):
        """The columns ``g_k``: (d + 1, len(chosen)) CSC, dense where a point weighs in through the penalty."""
        bare = self._bare(chosen)
        return sp.csc_matrix(bare.toarray() + np.outer(self.pull, self.unit[chosen])) if np.any(self.pull) else bare

    def _bare(self, chosen):
        """The columns without their part in the penalty, ``g_k - a R theta``: as sparse as the candidates."""
        rows = self.X[self.index[chosen]]
        factor = -self.s[chosen] * self.label[chosen]
        top = (sp.diags(factor) @ rows).T if sp.issparse(rows) else sp.csr_matrix((factor[:, None] * rows).T)
        return sp.vstack([top, sp.csr_matrix(self.one * factor[None, :])]).tocsc()

    def total(self, counts):
        """``sum counts_k g_k``."""
        used = np.flatnonzero(counts)
        return self._bare(used) @ counts[used] + self.pull * float(self.unit[used] @ counts[used])

    def price(self, v):
        """``v.g_k`` for every column."""
        q = self.X @ v[:-1] + self.one * v[-1]
        return -self.s * self.label * q[self.index] + float(v @ self.pull) * self.unit

    def solve(self, batch=None) -> Solution | None:
        """The fractional minimum, with a count for every column; None where the program is infeasible."""
        n = len(self.index)
        if batch is None:  # where copies are limited many columns are needed
            batch = max(64, self.d // 2) if math.isinf(self.cap) else max(1000, 4 * self.d)
        keep = slice(None) if self.objective.fit_intercept else slice(0, self.d)
        b_eq = -self.clean.gradient[keep]
        chosen = np.arange(n) if n * (self.d + 1) <= 200_000 else np.unique(self.twins)
        scale = float(np.max(np.abs(b_eq))) or 1.0
        # First a residual is allowed, at a price of 1 per unit: against 0.1 per point, against less where some stays,
        # at last against nothing, which decides whether the target can be had. None: no residual.
        cost, nearly, self._against = 0.1, None, np.zeros(self.d + 1)
        while True:
            res, v, rest = self._master(chosen, keep, b_eq, cost)
            if v is None:
                return nearly
            push, per_point = self.price(v), 1.0 if cost is None else cost
            if cost is not None and self._out_of_reach(v, push):
                self._against = v
                return None
            gain = push - per_point
            gain[chosen] = -np.inf
            better = np.flatnonzero(gain > 1e-9 * (per_point or 1.0))
            if cost == 0.0 and rest <= 1e-9 * scale:
                cost = None
            elif len(better):
                chosen = np.concatenate([chosen, better[np.argsort(-gain[better])[:batch]]])
            elif cost == 0.0:
                self._against = v
                return nearly
            else:
                counts, k = np.zeros(n), len(chosen)
                counts[chosen] = res.x[:k]
                found = Solution(float(res.x[:k].sum()), v / per_point, counts)
                if cost is None or rest <= 1e-11 * scale:
                    return found
                if nearly is None and rest <= self.near:
                    nearly = found
                cost = {0.1: 0.001, 0.001: 0.0}[cost]

    def farkas(self):
        """The direction that may prove infeasibility (a guess), after :meth:`solve`."""
        yield self._against

    def _master(self, chosen, keep, b_eq, cost):
        """The program over some columns and a residual, at a price of 1 per unit and ``cost`` per point.

        Cost None: no residual, and 1 per point. Returns the solution, its v (None: there is none) and the residual's
        1-norm.
        """
        k, m, size = len(chosen), self.free.shape[1], len(b_eq)
        parts = [self._bare(chosen)[keep], self.free[keep]]
        prices = [np.full(k, 1.0 if cost is None else cost), np.zeros(m)]
        top = [self.top[chosen], np.ones(m)]
        if cost is not None:
            eye = sp.identity(size, format="csc")
            parts += [eye, -eye]
            prices, top = [*prices, np.ones(2 * size)], [*top, np.full(2 * size, np.inf)]
        A = sp.hstack(parts)
        if np.any(self.pull):  # a column and a row for what the points add to N keep the others sparse
            number = sp.csr_matrix(np.append(self.unit[chosen], np.zeros(A.shape[1] - k)))
            pull = sp.csr_matrix(np.append(self.pull[keep], -1.0)[:, None])
            A, b_eq = sp.hstack([sp.vstack([A, number]), pull]), np.append(b_eq, 0.0)
            prices, top = [*prices, np.zeros(1)], [*top, np.full(1, np.inf)]
        top = np.concatenate(top)
        bounds = np.column_stack([np.zeros_like(top), top])
        A_ub, b_ub = self._shared(chosen, len(top))
        res = solve_lp(np.concatenate(prices), A_ub, b_ub, A.tocsc(), b_eq, bounds)
        if res.status != 0:
            return res, None, math.inf
        v = res.eqlin.marginals[:size] if self.one else np.append(res.eqlin.marginals[:size], 0.0)
        return res, v, 0.0 if cost is None else float(res.x[k + m : k + m + 2 * size].sum())

    def whole(self, at_most):
        """Whole counts, one per column, that hit the target with the fewest points found; None if none are found.

        Branch and bound over all columns, for small pools only: the stationarity rows are as many equations, which
        whole counts of generic rows do not meet, and that is hard to prove.
        """
        n, m = len(self.index), self.free.shape[1]
        if n > SMALL_POOL:
            return None
        keep = slice(None) if self.objective.fit_intercept else slice(0, self.d)
        A, b = sp.hstack([self.columns(np.arange(n)), self.free]).tocsr()[keep], -self.clean.gradient[keep]
        top = np.concatenate([self.top, np.ones(m)])
        cost, whole = np.repeat([1.0, 0.0], [n, m]), np.repeat([True, False], [n, m])
        x = whole_numbers(cost, *self._shared(np.arange(n), n + m), A, b, top, whole, at_most)
        if x is None:
            return None
        counts = np.rint(x[:n]).astype(int)
        hit = np.linalg.norm(self.residual(counts)[keep]) <= 1e-7 * (1.0 + np.linalg.norm(b))
        return counts if hit else None

    def residual(self, counts):
        """The gradient at the target that these counts leave, for the best weights of the clean rows on the margin."""
        rest = self.clean.gradient + self.total(counts)
        if self.free.shape[1]:
            free = self.free.toarray()
            rest = rest + free @ least_squares_in_unit(free, -rest)
        return rest

    def deal(self, counts):
        """Counts per column as copies of candidates: (rows of the pool, labels, counts), the counts above 0."""
        given = {}
        for i in np.flatnonzero(counts):
            if i in self.idle:
                self._deal_idle(*self.idle[i], int(counts[i]), given)
            else:
                key = int(self.index[i]), float(self.label[i])
                given[key] = given.get(key, 0) + int(counts[i])
        rows, labels = (list(part) for part in zip(*given, strict=True)) if given else ([], [])
        return rows, labels, list(given.values())

    def _deal_idle(self, rows, labels, count, given):
        """So many copies of candidates of zero loss."""
        for row, label in zip(rows, labels, strict=True):
            some = int(min(count, self.cap))
            key = int(row), float(label)
            given[key] = given.get(key, 0) + some
            count -= some
            if not count:
                break

    def _out_of_reach(self, v, push):
        """Whether v tells the right side from all that the columns together can do (``push``: ``v.g`` of each)."""
        able = push > 0.0
        most = float(self.top[able] @ push[able]) + float(np.maximum(0.0, v @ self.free).sum())
        doubt = 2.0 * self.near * float(np.linalg.norm(v)) + 1e-7 * most
        return -float(self.clean.gradient @ v) > most + doubt

    def _shared(self, chosen, n):
        """The rows ``nu + nu' <= max_repeats`` of the candidates that have two columns, over n columns."""
        if not len(self.twins):
            return None, None
        place = np.empty(len(self.index), dtype=np.intp)
        place[chosen] = np.arange(len(chosen))
        pairs = place[self.twins]
        rows = np.repeat(np.arange(len(pairs)), 2)
        A = sp.csr_matrix((np.ones(pairs.size), (rows, pairs.ravel())), shape=(len(pairs), n))
        return A, np.full(len(pairs), self.cap)
