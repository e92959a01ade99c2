"""The fractional minimum for the hinge on boxes of many features, without the coordinates."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from mtpfast.question import Setting

from .branch import MOST_SOLVED
from .highs import solve_lp
from .hinge import PINNED, HingeProgram, merge_rows
from .lp import widen
from .solution import Place, Solution

__all__ = ["WideHingeProgram"]


WIDE = 5000  # features from which on the hinge's program is written without the coordinates
ROOMS = (0.25, 0.1, 0.03, 0.01, 1e-3, 1e-5, 0.0)  # that its points may have below the margin
MOST_CUTS = 3000  # of its rows that are put to use at a time


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
        self.free = merge_rows(setting.clean)
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

    def solve(self) -> Solution | None:
        """As :meth:`HingeProgram.solve`."""
        res = self._solve()
        if res is None:
            return None
        y, v, at = -res.ineqlin.marginals, np.zeros(self.d + 1), 0
        for side, used in self.used.items():
            j = np.flatnonzero(used)
            v[j] -= side * y[at : at + len(j)]
            at += len(j)
        v -= np.array([q for _, q in self.cuts]).T @ y[at:]
        v[-1] = v[-1] - float(res.eqlin.marginals[0]) if self.one else 0.0
        return Solution(float(res.fun), v, counts=res.x[:3], weights=self.setting.weights * res.x[:2])

    def farkas(self):
        """As :meth:`HingeProgram.farkas`, from that program."""
        return HingeProgram(self.setting).farkas()

    def slopes(self):
        """As :meth:`HingeProgram.slopes`."""
        return HingeProgram.slopes(self)

    def pins(self, counts):
        """As :meth:`HingeProgram.pins`."""
        return HingeProgram.pins(self, counts)

    def whole(self, total, pinned=False):
        """As :meth:`HingeProgram.whole`, the totals one after the other from the least."""
        limits = []
        if pinned:
            left, right = self.slopes()
            more = np.append(self.setting.weights * [1.0, -1.0], [0.0, 0.0])
            limits = [(more, right - PINNED), (-more, -left - PINNED)]
            if np.all(self.setting.weights == 1.0) and math.ceil(left + PINNED) > math.floor(right - PINNED):
                return None, True  # N+ - N- lies between
        self.limits, self.solves = limits, MOST_SOLVED  # that may still be made
        fewest = self._solve()
        found = None
        if fewest is not None:
            each = np.array([1.0, 1.0, 1.0, 0.0])
            for n in range(math.ceil(fewest.fun - 1e-6), total + 1):
                self.limits = [*limits, (each, n), (-each, -n)]
                found = self._with_total(n)
                if found is not None or self.solves <= 0:
                    break
        self.limits = []
        return found, self.solves > 0

    def _with_total(self, n):
        """Whole ``(N+, N-, N0)`` of that sum, or None: two of them are free, and what each can be is an interval."""
        low, top = self.low.copy(), self.top.copy()
        for plus in self._interval(0, low, top):
            low[0] = top[0] = plus
            for minus in self._interval(1, low, top):
                return np.array([plus, minus, n - plus - minus])
            if self.solves <= 0:
                break
        return None

    def _interval(self, j, low, top):
        """The whole numbers that the j-th count can be, those in the middle first."""
        ends = []
        for sign in (1.0, -1.0):
            cost = np.zeros(len(self.cost))
            cost[j] = sign
            self.solves -= 1
            res = self._solve(low, top, cost)
            if res is None:
                return []
            ends.append(sign * res.fun)
        first, last = math.ceil(ends[0] - 1e-7), math.floor(ends[1] + 1e-7)
        return sorted(range(max(first, 0), last + 1), key=lambda value: abs(value - 0.5 * (ends[0] + ends[1])))

    def place(self, counts):
        """The values of the rows on the margin for these counts (:class:`Place` without sums), or None.

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
        return None if res is None else Place(None, np.clip(res.x[4:], 0.0, 1.0), room)
