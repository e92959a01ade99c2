"""The fractional minimum for smooth losses on hulls of records."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from mtpfast.question import Setting

from .cone import solve_hull
from .kelley import TangentProgram
from .lp import count_columns, hull_rows, margin_rows, mean_points, stationarity_rows, widen
from .solution import Solution
from .tangents import first_margins

__all__ = ["SmoothHullProgram"]


class SmoothHullProgram(TangentProgram):
    """A smooth loss with a convex ``h = 1 / s`` on regions with groups, where no clean row is free.

    Columns: the points' coordinates above the lower bound, times their weight (d per label), then ``E+, E-, N+,
    N-, N0``, then ``M_y = E_y m_y``; a linear program with tangents of ``h``, which see ``(E_y, N_y, M_y)`` only, cut
    where the last solution violates them (Kelley). A tangent is a row of three entries, a round all of the program
    anew: many tangents and few rounds.
    """

    n_first, n_between = 48, 12

    def __init__(self, setting: Setting):
        self.setting = setting
        self.loss = setting.objective.loss
        self.d = d = len(setting.theta) - 1
        inside, exactly = hull_rows(setting)
        n = 2 * d + 7
        stationarity = widen(stationarity_rows(setting), n)
        self.n_stationarity = rows = stationarity.shape[0]
        weights = count_columns(setting.pulls[:rows], 2 * d + 2, n)
        products = np.hstack([margin_rows(setting), np.zeros((2, 3)), -np.identity(2)])
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
            if math.isfinite(self.loss.zero_from):  # beyond it, no weight can be had
                row = np.zeros(n)
                row[2 * d + 5 + y], row[2 * d + y] = 1.0, -self.loss.zero_from
                self.cuts.append(row)
            for margin in first_margins(setting, sign, self.n_first):
                self._add_tangent(y, float(margin))

    def _add_tangent(self, y, margin):
        constant, kappa = self.loss.tangent(margin)
        row = np.zeros(len(self.top))
        row[2 * self.d + np.array([y, 2 + y, 5 + y])] = constant, -self.setting.weights[y], kappa
        self.cuts.append(row / max(1.0, kappa, abs(constant)))

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
        return solve_hull(self.setting, cost, A_ub.tocsr(), b_ub, A_eq.tocsr(), self.b_eq, bounds)

    def _read(self, res):
        return np.split(res.x[2 * self.d : 2 * self.d + 7], [2, 5])

    def _cut(self, res):
        """There are no rows but the tangents."""
        return 0.0

    def _solution(self, res):
        weights, counts, products = self._read(res)
        v = res.eqlin.marginals[: self.n_stationarity]
        return Solution(
            float(res.fun),
            v if self.setting.objective.fit_intercept else np.append(v, 0.0),
            counts=counts,
            weights=weights,
            means=mean_points(self.setting, res.x, self.d),
            product=float(products[0]),
        )
