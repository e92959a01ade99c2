"""The fractional minimum for smooth losses on boxes: tangents of ``1 / s``, coordinates eliminated."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from scipy.optimize import OptimizeResult

from mtpfast.question import Setting

from .few import FewColumns
from .highs import solve_lp
from .kelley import TangentProgram
from .solution import Solution
from .tangents import first_margins

__all__ = ["SmoothProgram"]


class SmoothProgram(TangentProgram):
    """A smooth loss with a convex ``h = 1 / s`` on boxes, where no clean row is free.

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
        self.few, self.n_told = None, 0  # the program without anything fixed, and how many of the cuts it knows
        self.top = np.array([np.inf, np.inf, np.inf, np.inf, 0.0, np.inf])
        if setting.has_zero_loss and setting.a > 0.0:
            self.top[4] = np.inf
        for y in setting.idle_labels:
            self.top[[y, 2 + y]] = 0.0
        for y, sign in enumerate((1.0, -1.0)):
            top = self.loss.zero_from
            if math.isfinite(top):  # beyond it, no weight can be had
                self._add([-top, 0, 0, 0, 0, 1.0] if sign > 0 else [0, -top, 0, 0, 0, -1.0], 0.0 if sign > 0 else 1.0)
            for margin in first_margins(setting, sign):
                self._add_tangent(y, float(margin))

    def _add(self, coef, kappa=0.0, q=None):
        self.coef.append(np.asarray(coef, dtype=float))
        self.q.append(kappa * self.setting.theta if q is None else q)

    def _add_tangent(self, y, margin):
        constant, kappa = self.loss.tangent(margin)
        scale = 1.0 / max(1.0, kappa, abs(constant))
        plus, minus = self.setting.weights
        if y == 0:
            self._add(scale * np.array([constant, 0, -plus, 0, 0, kappa]))
        else:
            self._add(scale * np.array([0, constant, 0, -minus, 0, -kappa]), scale * kappa)

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
        if fixed is None and elastic is None:
            res = self._solve_few()
            if res is not None:
                return res
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

    def _solve_few(self):
        """The same without HiGHS, from the solution before the last cuts; None where that does not succeed."""
        s = self.setting
        if self.few is None:
            low = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -np.inf])
            self.few = few = FewColumns(np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0]), low)
            capped = np.flatnonzero(np.isfinite(self.top))
            few.add(np.eye(6)[capped], self.top[capped])
            if s.objective.fit_intercept:
                row = np.array([1.0, -1.0, *-s.pulls[-1], 0.0])
                few.add([row, -row], [s.clean.gradient[-1], -s.clean.gradient[-1]])
            self.n_before = len(few.right) - 6
            few.add(self.box, self.box_rhs)
        if self.n_told < len(self.q):
            q, cuts = np.array(self.q[self.n_told :]), np.array(self.coef[self.n_told :])
            cuts[:, 2:5] += q @ s.pulls
            self.few.add(cuts, -(q @ s.clean.gradient))
            self.n_told = len(self.q)
        found = self.few.solve()
        if found is None:
            return None
        x, y = found
        both = y[self.n_before - 2 : self.n_before] if s.objective.fit_intercept else np.zeros(2)
        return OptimizeResult(
            status=0, x=x, fun=float(x[2:5].sum()),
            ineqlin=OptimizeResult(marginals=-y[self.n_before :]),
            eqlin=OptimizeResult(marginals=np.array([both[1] - both[0]])),
        )  # fmt: skip

    def _direction(self, res):
        d = self.d
        y = -res.ineqlin.marginals  # multipliers >= 0
        v = -np.array(self.q[: len(y) - 2 * d]).T @ y[2 * d :]
        v[:d] -= y[:d] - y[d : 2 * d]
        v[d] = 0.0 if not self.setting.objective.fit_intercept else v[d] - float(res.eqlin.marginals[0])
        return v

    def _read(self, res):
        """``M- = theta.r - M+``."""
        x = res.x
        total = float(self.setting.theta @ self._supply(res))
        return x[:2], x[2:5], (x[5], total - x[5])

    def _supply(self, res):
        """What the two points have to supply; with an elastic program, less what it leaves."""
        r = self.remainder(res.x[2:5])
        return r if len(res.x) == 6 else r + res.x[6 : 7 + self.d] - res.x[7 + self.d :]

    def _cut(self, res):
        return self._add_ends(res.x[:6], self._supply(res))

    def _solution(self, res):
        x = res.x
        return Solution(
            float(res.fun),
            self._direction(res),
            counts=x[2:5],
            weights=x[:2],
            product=float(x[5]),
            supply=self._supply(res),
        )
