"""The fractional minimum for the hinge: a linear program; with whole counts, a mixed-integer one."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.proofs.clean_pass import CleanGradient
from mtpfast.question import Setting

from .branch import whole_numbers
from .cone import BallCone, solve_cone, solve_hull
from .highs import solve_milp
from .lp import count_columns, hull_rows, margin_rows, mean_points, stationarity_rows, widen
from .solution import Place, Solution, directions_against

__all__ = ["HingeProgram", "PartialHingeProgram", "merge_rows"]


HIT = 1e-8  # relative residual of rows that counts as none
PINNED = 1e-3  # slope on both sides of the target that makes a free intercept the only one that is optimal


class HingeProgram:
    """The hinge loss on convex regions: a linear program; with whole counts, a MILP.

    Columns: the points' coordinates above the lower bound, times their number (d per label), then the numbers
    ``N+, N-, N0`` (``E_y = w_y N_y``), then one ``t`` in [0, 1] for every clean row on the margin. The first
    ``n_stationarity`` equalities are the stationarity rows, the last two inequalities say that the margins are at most
    ``1 - below`` (the mean of records is kept below 1 where they cannot all be near it).
    """

    def __init__(self, setting: Setting, below=(0.0, 0.0)):
        self.setting, self.below = setting, below
        clean = setting.clean
        self.d = d = len(setting.theta) - 1
        self.one = setting.objective.fit_intercept
        self.free = merge_rows(clean)
        m = self.free.shape[1]
        A_ub, A_eq = hull_rows(setting)
        heavy = sp.diags(np.append(np.repeat(setting.weights, d), setting.weights))
        stationarity = widen(stationarity_rows(setting) @ heavy, 2 * d + 3)
        self.n_stationarity = rows = stationarity.shape[0]
        weights = count_columns(setting.pulls[:rows], 2 * d, 2 * d + 3)
        kinks = np.array([setting.on_margin(sign) or 1.0 for sign in (1.0, -1.0)])
        margins = margin_rows(setting, np.maximum(kinks, 1.0) - below)
        n = 2 * d + 3 + m
        top_rows = sp.hstack([stationarity + weights, self.free[:rows]])
        self.A_eq = sp.vstack([top_rows, widen(A_eq, n)]).tocsr()
        self.b_eq = np.concatenate([-clean.gradient[:rows], np.zeros(A_eq.shape[0])])
        self.A_ub = sp.vstack([widen(A_ub, n), widen(sp.csr_matrix(margins), n)]).tocsr()
        self.b_ub = np.zeros(self.A_ub.shape[0])
        self.cost = np.concatenate([np.zeros(2 * d), np.ones(3), np.zeros(m)])
        self.top = np.concatenate([np.full(2 * d + 3, np.inf), np.ones(m)])
        if not setting.has_zero_loss or setting.a == 0.0:
            self.top[2 * d + 2] = 0.0
        for y in setting.idle_labels:
            self.top[2 * d + y] = 0.0

    def solve(self) -> Solution | None:
        """The fractional minimum; None where the program is infeasible."""
        bounds = np.column_stack([np.zeros_like(self.top), self.top])
        res = solve_hull(self.setting, self.cost, self.A_ub, self.b_ub, self.A_eq, self.b_eq, bounds)
        if res.status != 0:
            return None
        counts = res.x[2 * self.d : 2 * self.d + 3]
        weights, means = self.setting.weights * counts[:2], mean_points(self.setting, res.x, self.d)
        return Solution(float(res.fun), self._direction(res), counts, weights, means)

    def farkas(self):
        """Directions that may prove infeasibility, most robust first."""
        n_eq = self.n_stationarity
        scale = max(1.0, float(np.max(np.abs(self.b_eq))))
        A_eq = self._elastic()
        A_ub = sp.hstack([self.A_ub, sp.csr_matrix((self.A_ub.shape[0], 2 * n_eq))]).tocsr()
        top = np.concatenate([self.top, np.full(2 * n_eq, np.inf)])
        bounds = np.column_stack([np.zeros_like(top), top])

        def direction(reward):
            cost = np.concatenate([-reward * self.cost, np.ones(2 * n_eq)])
            res = solve_hull(self.setting, cost, A_ub, self.b_ub, A_eq, self.b_eq / scale, bounds)
            return self._direction(res) if res.status == 0 else None

        return directions_against(direction)

    def _elastic(self):
        """The equalities with a column either way for the residual of every stationarity row."""
        eye = sp.identity(self.A_eq.shape[0], format="csr")[:, : self.n_stationarity]
        return sp.hstack([self.A_eq, eye, -eye]).tocsr()

    def _direction(self, res):
        v = res.eqlin.marginals[: self.n_stationarity]
        return v if self.one else np.append(v, 0.0)

    def whole(self, total, pinned=False):
        """``((n+, n-, n0), complete)``: the least sum, at most ``total``, for which the target is hit exactly.

        None in place of the counts if there is none; ``complete`` is False where the nodes ran out first. ``pinned``:
        the target is the only minimiser (see :meth:`slopes`).
        """
        if not self._may_be_whole(total):
            return None, True
        rows = [
            (self.A_eq, self.b_eq, self.b_eq),
            (self.A_ub, np.full_like(self.b_ub, -np.inf), self.b_ub),
            (self.cost[None, :], np.array([-np.inf]), np.array([float(total)])),
        ]
        if pinned:
            left, right = self.slopes()
            counts = np.zeros((1, len(self.cost)))
            counts[0, 2 * self.d : 2 * self.d + 2] = self.setting.weights * [1.0, -1.0]
            rows.append((counts, np.array([left + PINNED]), np.array([right - PINNED])))
        integrality = np.zeros(len(self.cost))
        integrality[2 * self.d : 2 * self.d + 3] = 1
        x, complete = solve_milp(self.cost, integrality, np.zeros_like(self.top), self.top, rows)
        return None if x is None else np.round(x[2 * self.d : 2 * self.d + 3]).astype(int), complete

    def slopes(self):
        """``(a, c)``: a free intercept is the only optimal one for the target's w if and only if, besides stationarity,
        ``a - M+ < N+ - N- < c + M-`` with points on the margin that weigh M+ and M-, and others that weigh N+ and N-.

        In the intercept alone the objective is piecewise linear: where points and clean rows on the margin take all of
        ``t`` in [0, 1], its slopes on both sides of the target's are ``c + M- - (N+ - N-)`` and ``a - M+ - (N+ - N-)``.
        """
        clean = self.setting.clean
        labels, weights = np.asarray(clean.free_labels), np.asarray(clean.free_weights)
        slope = float(clean.gradient[-1])
        return slope - float(weights[labels > 0].sum()), slope + float(weights[labels < 0].sum())

    def pins(self, counts) -> bool:
        """Whether the target is clearly the only minimiser with so many points, none of them on the margin."""
        left, right = self.slopes()
        more = float(self.setting.weights @ (np.asarray(counts[:2]) * [1.0, -1.0]))
        return left + PINNED <= more <= right - PINNED

    def whole_levels(self, total):
        """``((n+, n-, n0), (z+, z-))``: the fewest records, at most ``total``, whose levels add up to an exact hit.

        None if none are found (:func:`whole_numbers`). Columns of a lattice or a group count in steps from their lower
        bound; that records with these sums exist, all of them with loss, is for the dealing out to show.
        """
        if not self._may_be_whole(total):
            return None
        d = self.d
        scale, integrality = np.ones(len(self.cost)), np.zeros(len(self.cost))
        for y, region in enumerate(self.setting.both):
            step = region.step.copy()
            for group in region.groups:
                step[group.columns] = group.on - group.off
            whole = y * d + np.flatnonzero((step > 0.0) & (region.upper > region.lower))
            scale[whole], integrality[whole] = step[whole - y * d], 1
        integrality[2 * d : 2 * d + 3] = 1
        to_columns = sp.diags(scale)
        A_ub, A_eq = (self.A_ub @ to_columns).tocsr(), (self.A_eq @ to_columns).tocsr()
        x = whole_numbers(self.cost, A_ub, self.b_ub, A_eq, self.b_eq, self.top, integrality > 0, total)
        if x is None:
            return None
        counts = x[2 * d : 2 * d + 3].astype(int)
        x = scale * x
        return counts, [x[y * d : (y + 1) * d] + region.lower * counts[y] for y, region in enumerate(self.setting.both)]

    def _may_be_whole(self, total):
        """False if the intercept row alone rules out whole counts: without rows on the margin it says
        ``n+ - n- = G_b + a r b N``, whose right side is seldom whole."""
        if self.free.shape[1] or not self.one or self.setting.weighs_labels:
            return True
        N = np.arange(min(int(total), 10**6) + 1)
        right = self.setting.clean.gradient[-1] + self.setting.pull[-1] * N
        return bool(np.any(np.abs(right - np.round(right)) <= 1e-6))

    def place(self, counts, pinned=None, elastic=False):
        """Where the points may lie for given whole counts, with the most room (:class:`Place`), or None.

        ``room`` is how far the margins stay below 1 and the ``t`` inside (0, 1): it makes the induced
        model insensitive to rounding. ``pinned``: pairs (mask, z) for the two labels, coordinates that are given.
        ``elastic``: where the stationarity rows cannot be met, with the least residual (1-norm).
        """
        d, m = self.d, self.free.shape[1]
        n_col = len(self.cost)
        counts = np.asarray(counts, dtype=float)
        first = self.A_ub.shape[0] - 2
        A_ub = sp.hstack([self.A_ub, sp.csr_matrix((self.A_ub.shape[0], 1))]).tolil()
        A_ub[first, n_col], A_ub[first + 1, n_col] = counts[0], counts[1]
        A_ub = A_ub.tocsr()
        b_ub = self.b_ub
        if 0 < m <= 400:
            column = np.ones((m, 1))
            t = sp.hstack([sp.csr_matrix((m, n_col - m)), sp.identity(m)])
            A_ub = sp.vstack([A_ub, sp.hstack([t, column]), sp.hstack([-t, column])]).tocsr()
            b_ub = np.concatenate([b_ub, np.ones(m), np.zeros(m)])
        low, top = np.zeros(n_col + 1), np.append(self.top, 0.25)
        low[2 * d : 2 * d + 3] = top[2 * d : 2 * d + 3] = counts
        lower = [region.lower * counts[y] for y, region in enumerate(self.setting.both)]
        if pinned is not None:
            for y, (mask, z) in enumerate(pinned):
                where = y * d + np.flatnonzero(mask)
                low[where] = top[where] = np.maximum(0.0, (z - lower[y])[mask])
        cost = np.zeros(n_col + 1)
        cost[-1] = -1.0
        A_eq = widen(self.A_eq, n_col + 1)
        if elastic:
            k = self.n_stationarity
            A_eq = sp.hstack([A_eq, self._elastic()[:, n_col:]]).tocsr()
            A_ub = widen(A_ub, n_col + 1 + 2 * k)
            low, top = np.append(low, np.zeros(2 * k)), np.append(top, np.full(2 * k, np.inf))
            cost = np.append(cost, np.full(2 * k, 10.0))
        res = solve_hull(self.setting, cost, A_ub, b_ub, A_eq, self.b_eq, np.column_stack([low, top]))
        if res.status != 0:
            return None
        sums = tuple(res.x[y * d : (y + 1) * d] + lower[y] for y in (0, 1))
        return Place(sums, np.clip(res.x[2 * d + 3 : n_col], 0.0, 1.0), float(res.x[n_col]))

    def remainder(self, t):
        """``r``: what the poison has to supply when the rows on the margin take the values ``t``."""
        return self.setting.clean.gradient + self.free @ t


def merge_rows(clean: CleanGradient):
    """The columns ``-c_i y_i x~_i`` of the free rows, equal rows merged: (d + 1, m) CSC."""
    rows, labels, weights = clean.free_rows, clean.free_labels, clean.free_weights
    n, d = rows.shape
    ones = np.ones((n, 1))
    if sp.issparse(rows):
        columns = sp.hstack([rows, sp.csr_matrix(ones)]).T.tocsc()
        return columns @ sp.diags(-weights * labels)
    signed = labels[:, None] * np.concatenate([rows, ones], axis=1) if n else np.empty((0, d + 1))
    if n > 64:
        first = {}
        group = np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(signed + 0.0)])
        weights = np.bincount(group, weights)
        kept = np.fromiter(first.values(), int)
        signed, weights = signed[kept], weights[kept]
    return sp.csc_matrix((-weights[:, None] * signed).T)


class PartialHingeProgram:
    """On convex regions: as :class:`HingeProgram` with whole counts, and per label one more point *on* the margin.

    Such a point takes any effective weight in [0, 1], so with it the MILP covers every set of points
    there is; asked only where :class:`HingeProgram` leaves a gap above the rounded-up bound.
    """

    def __init__(self, program: HingeProgram):
        self.program = program
        setting, d = program.setting, program.d
        m = program.free.shape[1]
        # Columns: z of n+, n-, e+, e- (d each), then n+, n-, e+, e-, M+, M-, N0, then t.
        signs, regions = (1.0, -1.0, 1.0, -1.0), setting.both * 2
        head = np.zeros((d + 1, 7))
        weights = np.tile(setting.weights, 2)
        for g, (sign, region) in enumerate(zip(signs, regions, strict=True)):
            head[:d, g], head[d, g] = -sign * weights[g] * region.lower, -sign * weights[g]
        head[:, [0, 1, 4, 5, 6]] += setting.pulls[:, [0, 1, 0, 1, 2]]
        eye = sp.identity(d, format="csr")
        moves = [-sign * weight * eye for sign, weight in zip(signs, weights, strict=True)]
        coordinates = sp.vstack([sp.hstack(moves), sp.csr_matrix((1, 4 * d))])
        A_eq = sp.hstack([coordinates, sp.csr_matrix(head), program.free]).tocsr()
        self.A_eq = A_eq if program.one else A_eq[:d]
        self.b_eq = program.b_eq
        width = np.zeros((4 * d, 7))
        for g, region in enumerate(regions):
            width[g * d : (g + 1) * d, g] = region.lower - region.upper
        inside = [sp.hstack([sp.identity(4 * d), sp.csr_matrix(width), sp.csr_matrix((4 * d, m))])]
        self.balls = []
        for g, region in enumerate(regions):
            columns, weight = np.arange(g * d, (g + 1) * d), 4 * d + g
            for normal, limit in region.planes:
                row = np.zeros(4 * d + 7 + m)
                row[columns], row[weight] = normal, float(normal @ region.lower) - limit
                inside.append(sp.csr_matrix(row))
            self.balls += [BallCone(columns, weight, region.lower - center, r) for center, r in region.balls]
        rest = np.zeros((6, 4 * d + 7 + m))
        self.kinks = [setting.on_margin(sign) if sign in setting.regions else None for sign in signs[:2]]
        kinks = np.array([kink or 1.0 for kink in self.kinks])
        below, on = margin_rows(setting, np.maximum(kinks, 1.0)), margin_rows(setting, kinks)
        for first, margins in ((0, below), (2, on)):
            rest[first : first + 2, first * d : (first + 2) * d] = margins[:, : 2 * d]
            rest[first : first + 2, 4 * d + first : 4 * d + first + 2] = margins[:, 2 * d :]
        for g in (2, 3):
            rest[2 + g, 4 * d + g], rest[2 + g, 4 * d + 2 + g] = 1.0, -1.0
        self.A_ub = sp.vstack([*inside, sp.csr_matrix(rest)]).tocsr()
        self.low = np.concatenate([np.full(self.A_ub.shape[0] - 4, -np.inf), np.zeros(2), np.full(2, -np.inf)])
        self.cost = np.concatenate([np.zeros(4 * d), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0], np.zeros(m)])
        self.top = np.concatenate([np.full(4 * d + 4, np.inf), np.ones(2), [program.top[2 * d + 2]], np.ones(m)])
        for y in setting.idle_labels:
            self.top[4 * d + np.array([y, 2 + y, 4 + y])] = 0.0
        for y, kink in enumerate(self.kinks):
            if kink is None:
                self.top[4 * d + np.array([2 + y, 4 + y])] = 0.0

    def whole(self, total, pinned=False):
        """``(columns or None, complete)`` with at most ``total`` points: see :meth:`HingeProgram.whole`."""
        d = self.program.d
        if self.kinks == [None, None]:
            return None, True  # no point of the region lies on the margin
        rows = [
            (self.A_eq, self.b_eq, self.b_eq),
            (self.A_ub, self.low, np.zeros_like(self.low)),
            (self.cost[None, :], np.array([-np.inf]), np.array([float(total)])),
        ]
        top = self.top.copy()
        if pinned:
            left, right = self.program.slopes()
            counts = np.zeros((2, len(self.cost)))
            plus, minus = self.program.setting.weights
            counts[:, 4 * d : 4 * d + 2] = plus, -minus
            counts[0, 4 * d + 4], counts[1, 4 * d + 5] = plus, -minus
            rows.append((counts, np.array([left + PINNED, -np.inf]), np.array([np.inf, right - PINNED])))
            many = 4 * d + np.array([4, 5])
            top[many[top[many] > 0.0]] = np.inf  # one more on the margin is enough for stationarity, not to pin
        integrality = np.zeros(len(self.cost))
        integrality[4 * d + np.array([0, 1, 4, 5, 6])] = 1
        return solve_milp(self.cost, integrality, np.zeros_like(top), top, rows)

    def place(self, n_plus, n_minus, on_plus, on_minus, idle):
        """Columns for given whole counts, or None: where there are balls, for which no branch and bound is at hand."""
        d = self.program.d
        low, top = np.zeros(len(self.cost)), self.top.copy()
        whole = 4 * d + np.array([0, 1, 4, 5, 6])
        low[whole] = top[whole] = n_plus, n_minus, on_plus, on_minus, idle
        for g, count in enumerate((n_plus, n_minus, on_plus, on_minus)):
            if count == 0:
                top[4 * d + g] = 0.0
                top[g * d : (g + 1) * d] = 0.0
        equal = self.low == 0.0
        A_eq, A_ub = sp.vstack([self.A_eq, self.A_ub[equal]]).tocsr(), self.A_ub[~equal]
        b_eq, b_ub = np.concatenate([self.b_eq, np.zeros(int(equal.sum()))]), np.zeros(A_ub.shape[0])
        res = solve_cone(np.zeros_like(low), A_ub, b_ub, A_eq, b_eq, np.stack([low, top], axis=1), self.balls)
        if res.status != 0 or float(np.max(np.abs(A_eq @ res.x - b_eq))) > HIT * (1.0 + float(np.max(np.abs(b_eq)))):
            return None
        return res.x
