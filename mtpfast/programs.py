"""The convex programs behind the exact minimum, for HiGHS.

The points of one label merge into one at no extra cost (Jensen; see :mod:`mtpfast.minimum`), so a
poisoning of a convex set is two points with effective weights ``E_y`` and counts ``N_y``. With
``r = G + R theta (a+ N+ + a- N- + a0 N0)`` the program is

    min  N+ + N- + N0    s.t.   E+ x~+ - E- x~-  =  r + (rows on the margin),
                                x_y in the hull of label y,     w_y N_y >= E_y h(m_y),  h = 1 / s,

``m_y`` the margin of the point of label y under the target, ``w_y`` what one weighs (its class weight), ``a_y`` what it
adds to k, ``N0`` the points of zero loss, which only weigh in through the penalty (``alpha`` convention). Nothing
here depends on the number of clean rows.

The hull of a region is its box, and for every group of columns of which one (or at most one) is on, with
``zeta = E (x - off)``:  ``sum_j zeta_j / (on_j - off_j) = E`` (or ``<= E``). Where records must be whole its
value is a bound: the merged point is a mean of records, and to find the records is for :mod:`mtpfast.records`.

Every program returns the multipliers of the stationarity rows as a direction ``v``: the proof. What
``v`` proves is for :mod:`mtpfast.certificate` to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, linprog, lsq_linear, milp

from .certificate import CleanGradient
from .goal import hit_radius
from .losses import Objective

__all__ = [
    "HingeProgram",
    "PoolProgram",
    "Setting",
    "WideHingeProgram",
    "SmoothHullProgram",
    "SmoothProgram",
    "effective_weight",
    "hinge_program",
    "inverse_slope",
    "smooth_program",
]

TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
SPAN = 12.0  # margins further out than this hardly pay: ``s`` is 1 to 1e-5 below, or 1e-5 above
EXACT_MILP = {"mip_rel_gap": 0.0, "node_limit": 10_000}  # nodes, not seconds: the same call, the same answer
MOST_SOLVED = 400  # linear programs of one search for many whole numbers
MOST_READ = 4 * 10**6  # entries of their rows, all together
WIDE = 5000  # features from which on the hinge's program is written without the coordinates
ROOMS = (0.25, 0.1, 0.03, 0.01, 1e-3, 1e-5, 0.0)  # that its points may have below the margin
MOST_CUTS = 3000  # of its rows that are put to use at a time
SMALL_POOL = 300  # columns up to which whole counts are looked for by branch and bound
KINK = 1e-12  # a candidate of a pool this near to margin 1 lies on the kink of the hinge
PINNED = 1e-3  # slope on both sides of the target that makes a free intercept the only one that is optimal


@dataclass(frozen=True)
class Setting:
    """One question: this target, after this much clean data, with points in these regions.

    ``regions``: one for each label that points may carry, as ``FeatureSpace.regions`` gives them.
    ``margin_tol``: a point this near to margin 1 counts as on the kink of the hinge, as a clean row does.
    """

    clean: CleanGradient
    theta: np.ndarray
    objective: Objective
    regions: dict
    margin_tol: float = KINK

    def region(self, sign: float):
        """The region of a label; of the other one where points may not carry this one (they then have weight 0)."""
        return self.regions[sign if sign in self.regions else -sign]

    @property
    def both(self) -> tuple:
        """The regions of label +1 and label -1."""
        return self.region(1.0), self.region(-1.0)

    @property
    def is_box(self) -> bool:
        """Whether every point of the boxes may be used, so that whole points need no rounding."""
        return all(region.is_box for region in self.regions.values())

    @property
    def idle_labels(self) -> list[int]:
        """0 for the label +1, 1 for the label -1, where points may not carry it."""
        return [i for i, sign in enumerate((1.0, -1.0)) if sign not in self.regions]

    @property
    def a(self) -> float:
        """What one more unit of N adds to k."""
        return self.objective.k_per_point

    @property
    def pull(self) -> np.ndarray:
        """``a R theta``: what one more unit of N adds to the stationarity rows through the penalty."""
        R = np.ones(len(self.theta))
        R[-1] = self.objective.r
        return self.a * R * self.theta

    @cached_property
    def weights(self) -> np.ndarray:
        """What a point weighs, of label +1 and of label -1."""
        return np.array([self.objective.weight_of(sign) for sign in (1.0, -1.0)])

    @cached_property
    def pulls(self) -> np.ndarray:
        """What a point adds to the stationarity rows through the penalty: (d + 1, 3), of label +1, of label -1 and of
        zero loss."""
        return self.pull[:, None] * self.units

    @cached_property
    def units(self) -> np.ndarray:
        """What a point adds to N, of label +1, of label -1 and of zero loss."""
        return np.array([self.objective.per_point(sign) for sign in (1.0, -1.0, self.zero_loss_label)])

    def load(self, counts) -> np.ndarray:
        """What so many points (of label +1, of label -1, of zero loss) add to the stationarity rows that way."""
        return self.pulls @ np.asarray(counts, dtype=float)[:3]

    @property
    def weighs_labels(self) -> bool:
        """Whether a point of some label counts for more or less than a row of weight 1."""
        return bool(np.any(self.weights != 1.0))

    def margin_range(self, sign: float) -> tuple[float, float]:
        """Least and largest margin of a point of that label."""
        region, w, b = self.region(sign), sign * self.theta[:-1], sign * self.theta[-1]
        return -region.linear_maximum(-w, -b)[0], region.linear_maximum(w, b)[0]

    @property
    def has_zero_loss(self) -> bool:
        """Whether some point has zero loss, so that it adds nothing but weight."""
        if self.objective.loss.name == "log_loss":
            return False
        return max(self.margin_range(sign)[1] for sign in self.regions) >= 1.0 - self._zero_loss_tol

    @property
    def _zero_loss_tol(self):
        return self.margin_tol if self.objective.loss.name == "hinge" else KINK

    def on_margin(self, sign: float) -> float | None:
        """The margin nearest to 1 that a point of that label has, where it counts as 1; else None.

        It is 1 itself but where the margins of a box end within rounding of it: at a support vector in a corner.
        """
        low, high = self.margin_range(sign)
        nearest = min(max(1.0, low), high)
        return nearest if abs(nearest - 1.0) <= self.margin_tol else None

    def point_on_margin(self, sign: float):
        """A point of that margin, on the way from the least to the largest."""
        region, w = self.region(sign), sign * self.theta[:-1]
        near, far = region.linear_argmax(-w), region.linear_argmax(w)
        low, high = self.margin_range(sign)
        share = (self.on_margin(sign) - low) / (high - low) if high > low else 0.0
        return near + share * (far - near)

    @cached_property
    def zero_loss_label(self) -> float:
        """The label of points of zero loss: where N counts weights, the heavier of those that have one."""
        top = {sign: self.margin_range(sign)[1] for sign in self.regions}
        tol = self._zero_loss_tol
        return max(top, key=lambda sign: (self.objective.per_point(sign) * (top[sign] >= 1.0 - tol), top[sign]))

    def zero_loss_point(self, sign=None):
        """The point of the largest margin (of a label, if one is given), and its label."""
        sign = self.zero_loss_label if sign is None else sign
        return self.regions[sign].linear_argmax(sign * self.theta[:-1]), sign


def effective_weight(loss, margin: float) -> float:
    """``s = -phi'`` at one margin."""
    if loss.name == "log_loss":
        return 1.0 / (1.0 + math.exp(margin)) if margin < 700 else 0.0
    if loss.name == "squared_hinge":
        return 2.0 * max(0.0, 1.0 - margin)
    return 1.0 if margin <= 1.0 else 0.0


def inverse_slope(loss, s: float) -> float:
    """The margin at which a smooth loss has ``-phi' = s``."""
    if loss.name == "log_loss":
        return math.log((1.0 - s) / s) if s < 1.0 else -math.inf
    return 1.0 - 0.5 * s


def _tangent(loss, margin):
    """``(c, kappa)``: the tangent ``c + kappa m <= h(m)`` of ``h = 1 / s`` at one margin."""
    if loss.name == "log_loss":
        kappa = math.exp(min(margin, 500.0))
        return 1.0 + kappa * (1.0 - margin), kappa
    gap = max(1.0 - margin, 1e-9)
    return 1.0 / gap - 0.5 / gap**2, 0.5 / gap**2


def solve_lp(cost, A_ub, b_ub, A_eq, b_eq, bounds) -> OptimizeResult:
    """An LP by HiGHS; other settings where the first give up. Status 4: all of them did."""
    for method, options in (
        ("highs", TIGHT),
        ("highs", TIGHT | {"presolve": False}),
        ("highs", {}),
        ("highs-ipm", {}),
    ):
        res = linprog(cost, A_ub, b_ub, A_eq, b_eq, bounds=bounds, method=method, options=options)
        if res.status in (0, 2, 3):
            break
    return res


def whole_numbers(cost, A_ub, b_ub, A_eq, b_eq, top, whole, at_most):
    """x >= 0, whole where ``whole`` says so, of the least ``cost @ x`` found, at most ``at_most``, or None.

    ``cost`` is 1 on some of the whole numbers and 0 elsewhere. Branch and bound, depth first, towards the nearer whole
    number of what is furthest from one. It ends by a count of linear programs (:data:`MOST_SOLVED`, fewer where they
    are large), never by the clock: the same call has the same answer on every machine. (HiGHS's own search may stay in
    its first node for minutes where no whole numbers meet the equations, whatever its limit of nodes.)
    """
    entries = A_eq.nnz + (0 if A_ub is None else A_ub.nnz) + len(cost)
    best, least = None, at_most + 1
    stack = [(0.0, np.zeros_like(top), np.where(cost > 0.0, np.minimum(top, at_most), top))]
    dive = True
    for _ in range(min(MOST_SOLVED, MOST_READ // entries)):
        if not stack:
            break
        # down one branch to its end, then on from the least bound that is open
        at = -1 if dive else min(range(len(stack)), key=lambda i: stack[i][0])
        _, low, high = stack.pop(at)
        dive = False
        res = linprog(cost, A_ub, b_ub, A_eq, b_eq, bounds=np.column_stack([low, high]), method="highs-ds")
        if res.status != 0 or math.ceil(res.fun - 1e-6) >= least:
            continue
        off = np.where(whole, np.abs(res.x - np.round(res.x)), 0.0)
        j = int(np.argmax(off))
        if off[j] <= 1e-6:
            best, least = np.where(whole, np.round(res.x), res.x), round(res.fun)
            continue
        below, above = high.copy(), low.copy()
        below[j], above[j] = math.floor(res.x[j]), math.ceil(res.x[j])
        dive, parts = True, [(res.fun, low, below), (res.fun, above, high)]
        stack += parts if res.x[j] - below[j] > 0.5 else parts[::-1]  # the nearer one is looked at first
    return best


def _inside(setting: Setting):
    """``(A_ub, A_eq)`` over ``(zeta+, zeta-, E+, E-)``: with ``A_ub . <= 0`` and ``A_eq . = 0`` the points lie in
    their hulls."""
    d = len(setting.theta) - 1
    width = np.zeros((2 * d, 2))
    plain = np.ones(2 * d, dtype=bool)
    group_rows = {True: [], False: []}
    for y, region in enumerate(setting.both):
        width[y * d : (y + 1) * d, y] = region.lower - region.upper
        for group in region.groups:
            plain[y * d + group.columns] = False
            row = np.zeros(2 * d + 2)
            row[y * d + group.columns] = 1.0 / (group.on - group.off)
            row[2 * d + y] = -1.0
            group_rows[group.exactly].append(sp.csr_matrix(row))
        for coefficients, limit in region.planes:
            row = np.zeros(2 * d + 2)
            row[y * d : (y + 1) * d] = coefficients
            row[2 * d + y] = float(coefficients @ region.lower) - limit
            group_rows[False].append(sp.csr_matrix(row))
    box = sp.hstack([sp.identity(2 * d, format="csr")[plain], sp.csr_matrix(width[plain])])
    A_ub = sp.vstack([box, *group_rows[False]])
    A_eq = sp.vstack(group_rows[True]) if group_rows[True] else sp.csr_matrix((0, 2 * d + 2))
    return A_ub.tocsr(), A_eq.tocsr()


def _means(setting, columns, d):
    """The two points of a solution; None for a label without weight."""
    means = []
    for y, region in enumerate(setting.both):
        weight = columns[2 * d + y]
        means.append(region.lower + columns[y * d : (y + 1) * d] / weight if weight > 1e-9 else None)
    return means


def _stationarity(setting: Setting):
    """``-E+ x~+ + E- x~-`` over ``(zeta+, zeta-, E+, E-)``: (d + 1) rows, d without an intercept."""
    d = len(setting.theta) - 1
    plus, minus = setting.both
    head = np.zeros((d + 1, 2))
    head[:d, 0], head[:d, 1] = -plus.lower, minus.lower
    head[d, 0], head[d, 1] = -1.0, 1.0
    eye = sp.identity(d, format="csr")
    coordinates = sp.vstack([sp.hstack([-eye, eye]), sp.csr_matrix((1, 2 * d))])
    return sp.hstack([coordinates, sp.csr_matrix(head)]).tocsr()[: d + int(setting.objective.fit_intercept)]


def _margins(setting: Setting):
    """``E_y m_y`` over ``(zeta+, zeta-, E+, E-)``: (2, 2 d + 2)."""
    w, b = setting.theta[:-1], setting.theta[-1]
    d = len(w)
    rows = np.zeros((2, 2 * d + 2))
    for y, (sign, region) in enumerate(zip((1.0, -1.0), setting.both, strict=True)):
        rows[y, y * d : (y + 1) * d] = sign * w
        rows[y, 2 * d + y] = sign * (w @ region.lower + b)
    return rows


def _count_columns(pulls, start, n):
    """``pulls`` in the three columns from ``start``, those of the counts: n columns, zero elsewhere."""
    rows, after = pulls.shape[0], n - start - 3
    return sp.hstack([sp.csr_matrix((rows, start)), sp.csr_matrix(pulls), sp.csr_matrix((rows, after))]).tocsr()


def widen(A, n):
    """A with zero columns appended, n in all."""
    return sp.hstack([A, sp.csr_matrix((A.shape[0], n - A.shape[1]))]).tocsr()


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
        self.free, self.group = _merge_rows(clean)
        m = self.free.shape[1]
        A_ub, A_eq = _inside(setting)
        heavy = sp.diags(np.append(np.repeat(setting.weights, d), setting.weights))
        stationarity = widen(_stationarity(setting) @ heavy, 2 * d + 3)
        self.n_stationarity = rows = stationarity.shape[0]
        weights = _count_columns(setting.pulls[:rows], 2 * d, 2 * d + 3)
        margins = _margins(setting)
        for y, sign in enumerate((1.0, -1.0)):
            margins[y, 2 * d + y] -= max(1.0, setting.on_margin(sign) or 1.0) - below[y]
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

    def solve(self):
        """(value, v, counts): the fractional minimum, its direction, (E+, E-, N0); value None if infeasible."""
        bounds = np.column_stack([np.zeros_like(self.top), self.top])
        res = solve_lp(self.cost, self.A_ub, self.b_ub, self.A_eq, self.b_eq, bounds)
        if res.status != 0:
            return None, None, None
        self.means = _means(self.setting, res.x, self.d)
        return float(res.fun), self._direction(res), res.x[2 * self.d : 2 * self.d + 3]

    def farkas(self):
        """Directions that may prove infeasibility, most robust first: the stationarity rows made elastic.

        A reward for every point makes the direction strictly negative on all of them where that can be had.
        """
        n_eq = self.n_stationarity
        scale = max(1.0, float(np.max(np.abs(self.b_eq))))
        A_eq = self._elastic()
        A_ub = sp.hstack([self.A_ub, sp.csr_matrix((self.A_ub.shape[0], 2 * n_eq))]).tocsr()
        top = np.concatenate([self.top, np.full(2 * n_eq, np.inf)])
        bounds = np.column_stack([np.zeros_like(top), top])
        for reward in (1e-2, 1e-4, 1e-6, 1e-8, 0.0):
            cost = np.concatenate([-reward * self.cost, np.ones(2 * n_eq)])
            res = solve_lp(cost, A_ub, self.b_ub, A_eq, self.b_eq / scale, bounds)
            if res.status == 0:
                yield self._direction(res)

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
        constraints = [
            LinearConstraint(self.A_eq, self.b_eq, self.b_eq),
            LinearConstraint(self.A_ub, -np.inf, self.b_ub),
            LinearConstraint(self.cost[None, :], -np.inf, total),
        ]
        if pinned:
            left, right = self.slopes()
            counts = np.zeros((1, len(self.cost)))
            counts[0, 2 * self.d : 2 * self.d + 2] = self.setting.weights * [1.0, -1.0]
            constraints.append(LinearConstraint(counts, left + PINNED, right - PINNED))
        integrality = np.zeros(len(self.cost))
        integrality[2 * self.d : 2 * self.d + 3] = 1
        res = milp(
            self.cost,
            integrality=integrality,
            bounds=Bounds(np.zeros_like(self.top), self.top),
            constraints=constraints,
            options=EXACT_MILP,
        )
        counts = None if res.x is None else np.round(res.x[2 * self.d : 2 * self.d + 3]).astype(int)
        return counts, res.status in (0, 2)

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
        """Where the points may lie for given whole counts: ``(z+, z-, t, room)`` with the most room, or None.

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
        res = solve_lp(cost, A_ub, b_ub, A_eq, self.b_eq, np.column_stack([low, top]))
        if res.status != 0:
            return None
        z = [res.x[y * d : (y + 1) * d] + lower[y] for y in (0, 1)]
        return z[0], z[1], np.clip(res.x[2 * d + 3 : n_col], 0.0, 1.0), float(res.x[n_col])

    def remainder(self, t):
        """``r``: what the poison has to supply when the rows on the margin take the values ``t``."""
        return self.setting.clean.gradient + self.free @ t


class WideHingeProgram:
    """The hinge loss on boxes of many features: :class:`HingeProgram` with the coordinates eliminated.

    As in :class:`SmoothProgram` each coordinate leaves one interval, and the margins see the points only through
    ``M+ = E+ m+``. What remains are the columns ``N+, N-, N0, M+`` and one t for every clean row on the margin, and
    rows ``coef . (N+, N-, N0, M+) + q . r <= 0`` with ``r = G + pulls . N + free t``: of the 2 d of them that are known
    beforehand only those that a solution violated are ever handed to the solver.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.d = d = len(setting.theta) - 1
        self.one = setting.objective.fit_intercept
        self.free, _ = _merge_rows(setting.clean)
        self.rows = self.free.tocsr()
        self.top = np.concatenate([[np.inf] * 4, np.ones(self.free.shape[1])])
        if not setting.has_zero_loss or setting.a == 0.0:
            self.top[2] = 0.0
        for y in setting.idle_labels:
            self.top[y] = 0.0
        self.low = np.zeros(len(self.top))
        self.low[3] = -np.inf
        self.cost = np.concatenate([np.ones(3), np.zeros(len(self.top) - 3)])
        self.used = {1.0: np.zeros(d, dtype=bool), -1.0: np.zeros(d, dtype=bool)}  # upper and lower ends in use
        heavy = setting.weights
        self.cuts = [(np.array([-heavy[0], 0.0, 0.0, 1.0]), np.zeros(d + 1))]
        self.cuts.append((np.array([0.0, -heavy[1], 0.0, -1.0]), setting.theta.copy()))
        self.limits = []  # further rows ``coef . (N+, N-, N0, M+) <= right``

    def remainder(self, t):
        """``r`` without what the points add through the penalty; see :meth:`HingeProgram.remainder`."""
        return self.setting.clean.gradient + self.free @ t

    def _box(self, side):
        """Coefficients of ``(N+, N-)`` in ``side * r_j <= ...``, for all j."""
        (plus, minus), (a, b) = self.setting.both, self.setting.weights
        ends = (-plus.upper, minus.lower) if side > 0 else (plus.lower, -minus.upper)
        return a * ends[0], b * ends[1]

    def _program(self):
        """``(A_ub, b_ub, A_eq, b_eq)`` of the rows in use."""
        setting, G = self.setting, self.setting.clean.gradient
        blocks, right = [], []
        for side, used in self.used.items():
            j = np.flatnonzero(used)
            on_plus, on_minus = self._box(side)
            head = np.zeros((len(j), 4))
            head[:, 0], head[:, 1] = on_plus[j], on_minus[j]
            head[:, :3] += side * setting.pulls[j]
            blocks.append(sp.hstack([sp.csr_matrix(head), side * self.rows[j]]))
            right.append(-side * G[j])
        coef, q = (np.array(part) for part in zip(*self.cuts, strict=True))
        coef[:, :3] += q @ setting.pulls
        blocks.append(sp.hstack([sp.csr_matrix(coef), sp.csr_matrix((self.free.T @ q.T).T)]))
        right.append(-(q @ G))
        if self.limits:
            coef, limit = (np.array(part) for part in zip(*self.limits, strict=True))
            blocks.append(widen(sp.csr_matrix(coef), len(self.top)))
            right.append(limit)
        A_eq = b_eq = None
        if self.one:
            head = np.array([[setting.weights[0], -setting.weights[1], 0.0, 0.0]])
            head[0, :3] -= setting.pulls[-1]
            A_eq, b_eq = sp.hstack([sp.csr_matrix(head), -self.rows[-1:]]).tocsr(), G[-1:]
        return sp.vstack(blocks).tocsr(), np.concatenate(right), A_eq, b_eq

    def _solve(self, low=None, top=None, cost=None, most=100):
        """The solution with all rows, or None: solve, add what is violated, again."""
        low, top = self.low if low is None else low, self.top if top is None else top
        bounds, cost = np.column_stack([low, top]), self.cost if cost is None else cost
        for _ in range(most):
            res = solve_lp(cost, *self._program(), bounds)
            if res.status != 0 or not self._cut(res.x):
                return res if res.status == 0 else None
        return None

    def _cut(self, x):
        """Put the rows that x violates to use; whether there are any."""
        setting = self.setting
        r = self.remainder(x[4:]) + setting.pulls @ x[:3]
        E, F = setting.weights * x[:2]
        room, more = 1e-9 * max(1.0, x[0] + x[1]), False
        for side, used in self.used.items():
            on_plus, on_minus = self._box(side)
            over = side * r[:-1] + on_plus * x[0] + on_minus * x[1]
            worst = np.flatnonzero((over > room) & ~used)
            worst = worst[np.argsort(-over[worst], kind="stable")[:MOST_CUTS]]
            used[worst] = True
            more |= bool(len(worst))
        w, b = setting.theta[:-1], setting.theta[-1]
        plus, minus = setting.both
        for side in (1.0, -1.0):  # M+ lies between the sums of the intervals' ends, as in SmoothProgram
            from_below = side * w > 0
            own, other = np.where(from_below, plus.lower, plus.upper), np.where(from_below, minus.lower, minus.upper)
            far = r[:-1] + F * other
            take = np.where(from_below, far > E * own, far < E * own)
            if side * (float(w @ np.where(take, far, E * own)) + b * E - x[3]) > room:
                on = side * np.array([float((own * w)[~take].sum()) + b, float((other * w)[take].sum())])
                self.cuts.append((np.append(on * setting.weights, [0.0, -side]), np.append(side * w * take, 0.0)))
                more = True
        return more

    def solve(self):
        """As :meth:`HingeProgram.solve`."""
        res = self._solve()
        if res is None:
            return None, None, None
        y, v, at = -res.ineqlin.marginals, np.zeros(self.d + 1), 0
        for side, used in self.used.items():
            j = np.flatnonzero(used)
            v[j] -= side * y[at : at + len(j)]
            at += len(j)
        v -= np.array([q for _, q in self.cuts]).T @ y[at:]
        v[-1] = v[-1] - float(res.eqlin.marginals[0]) if self.one else 0.0
        return float(res.fun), v, res.x[:3]

    def farkas(self):
        """As :meth:`HingeProgram.farkas`, from that program."""
        return HingeProgram(self.setting).farkas()

    def slopes(self):
        """As :meth:`HingeProgram.slopes`."""
        return HingeProgram.slopes(self)

    def whole(self, total, pinned=False):
        """As :meth:`HingeProgram.whole`: depth first over the three counts."""
        if pinned:
            left, right = self.slopes()
            more = np.append(self.setting.weights * [1.0, -1.0], [0.0, 0.0])
            self.limits = [(more, right - PINNED), (-more, -left - PINNED)]
        found = self._fewest(total)
        self.limits = []
        return found

    def _fewest(self, total):
        best, least = None, total + 1
        stack = [(self.low, np.append(np.minimum(self.top[:3], total), self.top[3:]))]
        for _ in range(MOST_SOLVED):
            if not stack:
                break
            low, top = stack.pop()
            res = self._solve(low, top)
            if res is None or math.ceil(res.fun - 1e-6) >= least:
                continue
            off = np.abs(res.x[:3] - np.round(res.x[:3]))
            j = int(np.argmax(off))
            if off[j] <= 1e-7:
                best, least = np.round(res.x[:3]).astype(int), round(res.fun)
                continue
            below, above = top.copy(), low.copy()
            below[j], above[j] = math.floor(res.x[j]), math.ceil(res.x[j])
            parts = [(low, below), (above, top)]
            stack += parts if res.x[j] - below[j] > 0.5 else parts[::-1]
        return best, not stack

    def place(self, counts):
        """``(None, None, t, room)``: the values of the rows on the margin for these counts, or None.

        ``room`` as in :meth:`HingeProgram.place`, the largest of a few.
        """
        low, top, closest, res = self.low.copy(), self.top.copy(), self.cuts[:2], None
        low[:3] = top[:3] = counts
        for room in ROOMS:
            low[4:], top[4:] = room, 1.0 - room
            below = np.array([1.0 - room, 1.0 - room, 1.0, 1.0])  # margins up to 1 - room
            self.cuts[:2] = [(below * coef, q) for coef, q in closest]
            res = self._solve(low, top)
            if res is not None:
                break
        self.cuts[:2] = closest
        return None if res is None else (None, None, np.clip(res.x[4:], 0.0, 1.0), room)


def hinge_program(setting: Setting):
    """The program for the hinge: with the coordinates eliminated where they are many and nothing ties them."""
    tied = any(region.groups or region.planes for region in setting.regions.values())
    return HingeProgram(setting) if tied or len(setting.theta) <= WIDE else WideHingeProgram(setting)


def _merge_rows(clean: CleanGradient):
    """The columns ``-c_i y_i x~_i`` of the free rows, equal rows merged: (d + 1, m) CSC, and the group of each."""
    rows, labels, weights = clean.free_rows, clean.free_labels, clean.free_weights
    n, d = rows.shape
    ones = np.ones((n, 1))
    group = np.arange(n)
    if sp.issparse(rows):
        columns = sp.hstack([rows, sp.csr_matrix(ones)]).T.tocsc()
        return columns @ sp.diags(-weights * labels), group
    signed = labels[:, None] * np.concatenate([rows, ones], axis=1) if n else np.empty((0, d + 1))
    if n > 64:
        signed, group = np.unique(signed, axis=0, return_inverse=True)
        group = np.ravel(group)
        weights = np.bincount(group, weights)
    return sp.csc_matrix((-weights[:, None] * signed).T), group


class PartialHingeProgram:
    """On boxes: as :class:`HingeProgram` with whole counts, and per label one more point *on* the margin.

    Such a point takes any effective weight in [0, 1], so with it the MILP covers every set of points
    there is; asked only where :class:`HingeProgram` leaves a gap above the rounded-up bound.
    """

    def __init__(self, program: HingeProgram):
        self.program = program
        setting, d = program.setting, program.d
        theta = setting.theta
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
        inside = sp.hstack([sp.identity(4 * d), sp.csr_matrix(width), sp.csr_matrix((4 * d, m))])
        rest = np.zeros((6, 4 * d + 7 + m))
        self.kinks = [setting.on_margin(sign) if sign in setting.regions else None for sign in signs[:2]]
        for g, (sign, region) in enumerate(zip(signs, regions, strict=True)):
            rest[g, g * d : (g + 1) * d] = sign * theta[:-1]
            kink = self.kinks[g % 2] or 1.0
            rest[g, 4 * d + g] = sign * (theta[:-1] @ region.lower + theta[-1]) - (kink if g > 1 else max(1.0, kink))
        for g in (2, 3):
            rest[2 + g, 4 * d + g], rest[2 + g, 4 * d + 2 + g] = 1.0, -1.0
        self.A_ub = sp.vstack([inside, sp.csr_matrix(rest)]).tocsr()
        self.low = np.concatenate([np.full(4 * d + 2, -np.inf), np.zeros(2), np.full(2, -np.inf)])
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
            return None, True  # no point of the box lies on the margin
        constraints = [
            LinearConstraint(self.A_eq, self.b_eq, self.b_eq),
            LinearConstraint(self.A_ub, self.low, 0.0),
            LinearConstraint(self.cost[None, :], -np.inf, total),
        ]
        top = self.top.copy()
        if pinned:
            left, right = self.program.slopes()
            counts = np.zeros((2, len(self.cost)))
            plus, minus = self.program.setting.weights
            counts[:, 4 * d : 4 * d + 2] = plus, -minus
            counts[0, 4 * d + 4], counts[1, 4 * d + 5] = plus, -minus
            constraints.append(LinearConstraint(counts, [left + PINNED, -np.inf], [np.inf, right - PINNED]))
            many = 4 * d + np.array([4, 5])
            top[many[top[many] > 0.0]] = np.inf  # one more on the margin is enough for stationarity, not to pin
        integrality = np.zeros(len(self.cost))
        integrality[4 * d + np.array([0, 1, 4, 5, 6])] = 1
        res = milp(
            self.cost,
            integrality=integrality,
            bounds=Bounds(np.zeros_like(top), top),
            constraints=constraints,
            options=EXACT_MILP,
        )
        return res.x, res.status in (0, 2)


def _first_margins(setting, sign):
    """Where the tangents of ``h`` are taken at first."""
    low, high = setting.margin_range(sign)
    if setting.objective.loss.name == "squared_hinge":
        high = min(high, 0.95)
    low, high = max(low, -SPAN), min(high, SPAN)
    return np.linspace(min(low, high), high, 6)


class SmoothProgram:
    """Squared hinge and logistic loss on boxes, where no clean row is free.

    The coordinates can be eliminated. ``z_- = z_+ - r`` leaves one interval per coordinate of
    ``z_+ = E+ x+``, and the constraints on margins see ``z_+`` only through ``w.z_+``, which takes every value
    between the sums of the intervals' ends. What remains is convex in ``E+, E-, N+, N-, N0`` and
    ``M+ = E+ m+`` (``M- = theta.r - M+``), six variables whatever d is: a linear program with tangents of
    ``h`` and of the two sums, cut where the last solution violates them (Kelley).

    Every row is ``coef . (E+, E-, N+, N-, N0, M+) + q . r <= 0``; so ``v = -sum_rows multiplier * q``.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        theta = setting.theta
        self.d = d = len(theta) - 1
        self.loss = setting.objective.loss
        plus, minus = setting.both
        pulls, G = setting.pulls[:d], setting.clean.gradient[:d]
        # r_j <= E+ u+_j - E- l-_j and r_j >= E+ l+_j - E- u-_j, with r_j = G_j + pulls_j . (N+, N-, N0).
        self.box = np.zeros((2 * d, 6))
        self.box[:d, 0], self.box[:d, 1], self.box[:d, 2:5] = -plus.upper, minus.lower, pulls
        self.box[d:, 0], self.box[d:, 1], self.box[d:, 2:5] = plus.lower, -minus.upper, -pulls
        self.box_rhs = np.concatenate([-G, G])
        self.coef, self.q = [], []
        self.top = np.array([np.inf, np.inf, np.inf, np.inf, 0.0, np.inf])
        if setting.has_zero_loss and setting.a > 0.0:
            self.top[4] = np.inf
        for y in setting.idle_labels:
            self.top[[y, 2 + y]] = 0.0
        for sign in (1.0, -1.0):
            if self.loss.name == "squared_hinge":
                self._add([-1.0, 0, 0, 0, 0, 1.0] if sign > 0 else [0, -1.0, 0, 0, 0, -1.0], 0.0 if sign > 0 else 1.0)
            for margin in _first_margins(setting, sign):
                self._add_tangent(sign, float(margin))

    def _add(self, coef, kappa=0.0, q=None):
        self.coef.append(np.asarray(coef, dtype=float))
        self.q.append(kappa * self.setting.theta if q is None else q)

    def _add_tangent(self, sign, margin):
        constant, kappa = _tangent(self.loss, margin)
        scale = 1.0 / max(1.0, kappa, abs(constant))
        plus, minus = self.setting.weights
        if sign > 0:
            self._add(scale * np.array([constant, 0, -plus, 0, 0, kappa]))
        else:
            self._add(scale * np.array([0, constant, 0, -minus, 0, -kappa]), scale * kappa)

    def remainder(self, counts):
        """``r`` for so many points, ``(N+, N-, N0)``."""
        return self.setting.clean.gradient + self.setting.load(counts)

    def _add_ends(self, x, r):
        """Cuts for ``M+`` below and above the range of ``w.z_+ + b E+``; returns the violation."""
        s = self.setting
        w, b = s.theta[:-1], s.theta[-1]
        plus, minus = s.both
        E, F, M = x[0], x[1], x[5]
        r = r[:-1]
        worst = 0.0
        for side in (1.0, -1.0):  # side 1: M+ >= sum of the lower ends, side -1: M+ <= sum of the upper ends
            from_below = side * w > 0
            own = np.where(from_below, E * plus.lower, E * plus.upper)
            other = np.where(from_below, r + F * minus.lower, r + F * minus.upper)
            use_other = np.where(from_below, other > own, other < own)
            total = float(w @ np.where(use_other, other, own))
            violation = side * (total + b * E - M)
            worst = max(worst, violation)
            if violation > 1e-12 * max(1.0, abs(M)):
                own_ends = np.where(from_below, plus.lower, plus.upper) * w
                other_ends = np.where(from_below, minus.lower, minus.upper) * w
                q = np.append(side * np.where(use_other, w, 0.0), 0.0)
                on_E = side * (float(own_ends[~use_other].sum()) + b)
                self._add([on_E, side * float(other_ends[use_other].sum()), 0, 0, 0, -side], q=q)
        return worst

    def _lp(self, fixed=None, elastic=None):
        """The LP of the rows so far. ``fixed``: (N+, N-, N0) given, most effective weight.

        ``elastic``: the residual in the 1-norm, less a reward per point (``fixed``: per effective weight)."""
        s, d = self.setting, self.d
        q = np.array(self.q)
        cuts = np.array(self.coef)
        if fixed is not None:
            cuts[:, 2:4] *= 1.0 - 1e-7  # a hair of slack, which two margins per label can spend exactly
        cuts[:, 2:5] += q @ s.pulls
        A_ub = np.vstack([self.box, cuts])
        b_ub = np.concatenate([self.box_rhs, -(q @ s.clean.gradient)])
        A_eq, b_eq = None, None
        if s.objective.fit_intercept:
            A_eq = np.array([[1.0, -1.0, *-s.pulls[-1], 0.0]])
            b_eq = s.clean.gradient[-1:]
        low, top = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -np.inf]), self.top.copy()
        on_weights, on_counts = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
        cost = on_counts
        if fixed is not None:
            low[2:5] = top[2:5] = fixed
            cost = -on_weights  # the least slack in N >= E h(m)
        if elastic is not None:
            # r + delta in place of r: delta_j in columns of its own, and 1 per unit.
            q_box = sp.vstack([sp.identity(d), -sp.identity(d)])
            q_all = sp.vstack([sp.hstack([q_box, sp.csr_matrix((2 * d, 1))]), sp.csr_matrix(q)])
            A_ub = sp.hstack([sp.csr_matrix(A_ub), q_all, -q_all]).tocsr()
            if A_eq is not None:
                bottom = np.zeros((1, d + 1))
                bottom[0, d] = -1.0
                A_eq = np.hstack([A_eq, bottom, -bottom])
            # without a penalty that grows, copies without weight would earn the reward for nothing
            reward = on_counts if s.a > 0.0 and fixed is None else on_weights
            cost = np.concatenate([-elastic * reward, np.ones(2 * d + 2)])
            low = np.concatenate([low, np.zeros(2 * d + 2)])
            top = np.concatenate([top, np.full(2 * d + 2, np.inf)])
            if not s.objective.fit_intercept:
                top[6 + d] = top[6 + 2 * d + 1] = 0.0
        return solve_lp(cost, A_ub, b_ub, A_eq, b_eq, np.column_stack([low, top]))

    def _direction(self, res):
        d = self.d
        y = -res.ineqlin.marginals  # multipliers >= 0
        v = -np.array(self.q[: len(y) - 2 * d]).T @ y[2 * d :]
        v[:d] -= y[:d] - y[d : 2 * d]
        v[d] = 0.0 if not self.setting.objective.fit_intercept else v[d] - float(res.eqlin.marginals[0])
        return v

    def solve(self, fixed=None, elastic=None, max_cuts=60):
        """(value, v, x): the fractional minimum, its direction, ``x = (E+, E-, N+, N-, N0, M+, r)``.

        ``value`` is None if the program is infeasible. ``r`` (d + 1 entries) is what the two points supply.
        """
        memory = {1.0: [], -1.0: []}
        for _ in range(max_cuts):
            res = self._lp(fixed, elastic)
            if res.status != 0:
                return None, None, None
            x = res.x[:6]
            r = self.remainder(x[2:5])
            if elastic is not None:
                r = r + res.x[6 : 7 + self.d] - res.x[7 + self.d :]
            worst = self._add_ends(x, r)
            scale = max(1.0, x[2] + x[3])
            margins = self.margins(x, r)
            weighed = self.setting.weights * x[2:4]
            for sign, margin, E, N in zip((1.0, -1.0), margins, x[:2], weighed, strict=True):
                if E <= 1e-11 * scale:
                    continue
                constant, kappa = _tangent(self.loss, margin)
                gap = E * (constant + kappa * margin) - N
                worst = max(worst, gap)
                if gap > 1e-12 * scale:
                    self._add_tangent(sign, margin)
                    memory[sign].append(margin)
                    if len(memory[sign]) > 1:  # solutions jump from side to side of the optimum: cut between, too
                        self._add_tangent(sign, 0.5 * (memory[sign][-1] + memory[sign][-2]))
            if worst <= 1e-9 * scale:
                break
        return float(res.fun), self._direction(res), np.concatenate([x, r])

    def margins(self, x, r):
        """The margins of the two points."""
        total = float(self.setting.theta @ r)
        return x[5] / max(x[0], 1e-300), (total - x[5]) / max(x[1], 1e-300)

    def margin_of(self, n, E):
        """The margin at which rows of weight n have effective weight E."""
        return inverse_slope(self.loss, E / n)

    def farkas(self):
        """Directions that may prove infeasibility, most robust first."""
        for reward in (1e-2, 1e-4, 1e-6, 1e-8, 0.0):
            value, v, _ = self.solve(elastic=reward)
            if value is not None:
                yield v


class SmoothHullProgram:
    """Squared hinge and logistic loss on regions with groups, where no clean row is free.

    Columns: the points' coordinates above the lower bound, times their weight (d per label), then ``E+, E-, N+,
    N-, N0``, then ``M_y = E_y m_y``; a linear program with tangents of ``h``, which see ``(E_y, N_y, M_y)`` only, cut
    where the last solution violates them (Kelley).
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.loss = setting.objective.loss
        self.d = d = len(setting.theta) - 1
        inside, exactly = _inside(setting)
        n = 2 * d + 7
        stationarity = widen(_stationarity(setting), n)
        self.n_stationarity = rows = stationarity.shape[0]
        weights = _count_columns(setting.pulls[:rows], 2 * d + 2, n)
        products = np.hstack([_margins(setting), np.zeros((2, 3)), -np.identity(2)])
        self.A_eq = sp.vstack([stationarity + weights, widen(exactly, n), sp.csr_matrix(products)]).tocsr()
        self.b_eq = np.concatenate([-setting.clean.gradient[:rows], np.zeros(exactly.shape[0] + 2)])
        self.inside = widen(inside, n)
        self.cuts = []
        self.top = np.full(n, np.inf)
        if not setting.has_zero_loss or setting.a == 0.0:
            self.top[2 * d + 4] = 0.0
        for y in setting.idle_labels:
            self.top[[2 * d + y, 2 * d + 2 + y]] = 0.0
        for y, sign in enumerate((1.0, -1.0)):
            if self.loss.name == "squared_hinge":  # the margin is at most 1
                row = np.zeros(n)
                row[2 * d + 5 + y], row[2 * d + y] = 1.0, -1.0
                self.cuts.append(row)
            for margin in _first_margins(setting, sign):
                self._add_tangent(y, float(margin))

    def _add_tangent(self, y, margin):
        constant, kappa = _tangent(self.loss, margin)
        row = np.zeros(len(self.top))
        row[2 * self.d + np.array([y, 2 + y, 5 + y])] = constant, -self.setting.weights[y], kappa
        self.cuts.append(row / max(1.0, kappa, abs(constant)))

    def remainder(self, counts):
        """``r`` for so many points, ``(N+, N-, N0)``."""
        return self.setting.clean.gradient + self.setting.load(counts)

    def _lp(self, fixed=None, elastic=None):
        """The LP of the rows so far; see :meth:`SmoothProgram._lp`."""
        d, n = self.d, len(self.top)
        counts = slice(2 * d + 2, 2 * d + 5)
        cuts = np.array(self.cuts)
        low, top = np.zeros(n), self.top.copy()
        low[2 * d + 5 :] = -np.inf
        on_weights, on_counts = np.zeros(n), np.zeros(n)
        on_weights[2 * d : 2 * d + 2] = on_counts[counts] = 1.0
        cost = on_counts
        if fixed is not None:
            cuts[:, counts] *= 1.0 - 1e-7
            low[counts] = top[counts] = fixed
            cost = -on_weights
        A_ub, A_eq = sp.vstack([self.inside, sp.csr_matrix(cuts)]), self.A_eq
        if elastic is not None:
            k = self.n_stationarity
            eye = sp.identity(A_eq.shape[0], format="csr")[:, :k]
            A_eq, A_ub = sp.hstack([A_eq, eye, -eye]), widen(A_ub, n + 2 * k)
            reward = on_counts if self.setting.a > 0.0 and fixed is None else on_weights
            cost = np.concatenate([-elastic * reward, np.ones(2 * k)])
            low, top = np.append(low, np.zeros(2 * k)), np.append(top, np.full(2 * k, np.inf))
        b_ub, bounds = np.zeros(A_ub.shape[0]), np.column_stack([low, top])
        return solve_lp(cost, A_ub.tocsr(), b_ub, A_eq.tocsr(), self.b_eq, bounds)

    def solve(self, fixed=None, elastic=None, max_cuts=60):
        """As :meth:`SmoothProgram.solve`, with ``x = (E+, E-, N+, N-, N0, M+, z+, z-)``."""
        d = self.d
        memory = [], []
        for _ in range(max_cuts):
            res = self._lp(fixed, elastic)
            if res.status != 0:
                return None, None, None
            columns = res.x[: len(self.top)]
            weights, counts, products = np.split(columns[2 * d :], [2, 5])
            scale = max(1.0, counts[0] + counts[1])
            worst = 0.0
            for y in (0, 1):
                if weights[y] <= 1e-11 * scale:
                    continue
                margin = float(products[y] / weights[y])
                constant, kappa = _tangent(self.loss, margin)
                gap = weights[y] * constant + kappa * products[y] - self.setting.weights[y] * counts[y]
                worst = max(worst, gap)
                if gap > 1e-12 * scale:
                    self._add_tangent(y, margin)
                    memory[y].append(margin)
                    if len(memory[y]) > 1:  # as in SmoothProgram, cut between the last two
                        self._add_tangent(y, 0.5 * sum(memory[y][-2:]))
            if worst <= 1e-9 * scale:
                break
        self.means = _means(self.setting, columns, d)
        v = res.eqlin.marginals[: self.n_stationarity]
        z = [columns[y * d : (y + 1) * d] + region.lower * weights[y] for y, region in enumerate(self.setting.both)]
        x = np.concatenate([weights, counts, products[:1], *z])
        return float(res.fun), v if self.setting.objective.fit_intercept else np.append(v, 0.0), x

    def farkas(self):
        """Directions that may prove infeasibility, most robust first."""
        for reward in (1e-2, 1e-4, 1e-6, 1e-8, 0.0):
            value, v, _ = self.solve(elastic=reward)
            if value is not None:
                yield v


def smooth_program(setting: Setting):
    """The program for a smooth loss: with the coordinates eliminated where there are no groups."""
    grouped = any(region.groups or region.planes for region in setting.regions.values())
    return (SmoothHullProgram if grouped else SmoothProgram)(setting)


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
        self.one = 1.0 if objective.fit_intercept else 0.0
        self.near = clean.k * hit_radius(theta, pool)  # residual of what counts as a hit
        self.X = pool.X
        signs = pool.signs()
        n = self.X.shape[0]
        index, label = np.tile(np.arange(n), 2), np.repeat([1.0, -1.0], n)
        if signs is not None:
            allowed = label == np.tile(signs, 2)
            index, label = index[allowed], label[allowed]
        margin = label * (self.X @ theta[:-1] + theta[-1])[index]
        loss, hinge = objective.loss, objective.loss.name == "hinge"
        # the rounding of the margin itself, as the certificate counts it
        blur = margin_tol + (self.d + 4) * np.finfo(float).eps * float(pool.largest() @ np.abs(theta))
        s = np.where(margin <= 1.0 + blur, 1.0, 0.0) if hinge else -loss.derivative(margin)
        R = np.ones(d + 1)
        R[-1] = objective.r
        self.pull = objective.k_per_point * R * theta  # of one more unit of N
        self.cap = math.inf if pool.max_repeats is None else float(pool.max_repeats)
        columns = np.flatnonzero(s > 0.0)
        self.index, self.label = index[columns], label[columns]
        self.s = s[columns] * self._of_labels(objective.weight_of, self.label)  # with the weight of the label
        self.top = np.full(len(columns), self.cap)
        self.twins = np.empty((0, 2), dtype=np.intp)  # pairs of columns that share the copies of one candidate
        self.idle = {}  # column -> (rows, labels) of the candidates of zero loss, the largest margin first
        if objective.k_per_point > 0.0 and loss.name != "log_loss":
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
        self.free, _ = _merge_rows(clean)

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

    def solve(self, batch=None):
        """(value, v, chosen, weights, t): value None if infeasible, v then a Farkas direction (a guess)."""
        n = len(self.index)
        if batch is None:  # where copies are limited many columns are needed
            batch = max(64, self.d // 2) if math.isinf(self.cap) else max(1000, 4 * self.d)
        keep = slice(None) if self.objective.fit_intercept else slice(0, self.d)
        b_eq = -self.clean.gradient[keep]
        chosen = np.arange(n) if n * (self.d + 1) <= 200_000 else np.unique(self.twins)
        scale = float(np.max(np.abs(b_eq))) or 1.0
        # First a residual is allowed, at a price of 1 per unit: against 0.1 per point, against less where some stays,
        # at last against nothing, which decides whether the target can be had. None: no residual.
        cost, nearly = 0.1, None
        while True:
            res, v, rest = self._master(chosen, keep, b_eq, cost)
            if v is None:
                return nearly or (None, np.zeros(self.d + 1), chosen, None, None)
            push, per_point = self.price(v), 1.0 if cost is None else cost
            if cost is not None and self._out_of_reach(v, push):
                return None, v, chosen, None, None
            gain = push - per_point
            gain[chosen] = -np.inf
            better = np.flatnonzero(gain > 1e-9 * (per_point or 1.0))
            if cost == 0.0 and rest <= 1e-9 * scale:
                cost = None
            elif len(better):
                chosen = np.concatenate([chosen, better[np.argsort(-gain[better])[:batch]]])
            elif cost == 0.0:
                return nearly or (None, v, chosen, None, None)
            else:
                k = len(chosen)
                t = res.x[k : k + self.free.shape[1]]
                found = float(res.x[:k].sum()), v / per_point, chosen, res.x[:k], t
                if cost is None or rest <= 1e-11 * scale:
                    return found
                if nearly is None and rest <= self.near:
                    nearly = found
                cost = {0.1: 0.001, 0.001: 0.0}[cost]

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
            rest = rest + free @ lsq_linear(free, -rest, (0.0, 1.0), tol=1e-12).x
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
