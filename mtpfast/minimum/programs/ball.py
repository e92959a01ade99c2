r"""The target within a tolerance: what is proved for every model in a ball, and attacks that reach it.

**Below.** Any model within l2 distance ``tol`` of ``theta_p`` keeps each clean row with
``|m_i - 1| > tol |x~_i|`` on its side of the margin. Free the others (smooth losses: let ``s_i`` range over the
interval it can reach), allow poison margins up to ``1 + tol |x~|``, and a residual ``rho`` with
``|rho| <= k_N tol`` in the stationarity rows: the relaxed program is convex, and its dual direction proves its
value for the whole ball (:mod:`mtpfast.proofs.certificate`, with the term ``k tol |R v|``).

**Above.** The exact minimum of a model is a function of the model, and its gradient is known: the search slides down
it inside the ball (:mod:`mtpfast.minimum.slide`). Where what is found is not near what is proved,
more starts are tried: Algorithm 1 is the Frank-Wolfe method for the poison's total gradient, each point it adds is the
best vertex for the current model, so it can start anywhere: from points of the relaxed program, and from nothing (then
it is Algorithm 1, whose count is not exceeded; it ends early where the bound proves that it would be).
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from mtpfast.question import Setting

from .highs import solve_lp
from .hinge import HingeProgram
from .lp import mean_points, widen
from .solution import Solution

__all__ = ["BallProgram"]


class BallProgram:
    """The relaxed program of the hinge on convex regions, with the l2 ball as a tower of planes.

    ``|rho| <= r`` in D dimensions is a tree of D - 1 two-dimensional cones, each of them a polygon with
    ``2^(nu + 1)`` sides per half turn in ``2 nu`` rows (Ben-Tal and Nemirovski, Math. Oper. Res. 26, 2001, section 2);
    it contains the ball and exceeds it by a factor ``cos(pi / 2^(nu + 1))^-depth``. The certificate takes the
    ball itself.
    """

    def __init__(self, setting: Setting, tol: float, nu: int = 5):
        self.program = base = HingeProgram(setting)
        d, theta = base.d, setting.theta
        n, rows = base.A_eq.shape[1], base.A_eq.shape[0]
        penalised = np.flatnonzero(setting.objective.R(d)[: base.n_stationarity])
        D = len(penalised)
        rho = sp.csr_matrix((np.ones(D), (penalised, np.arange(D))), shape=(rows, D))
        tree = _Tower(n, D, nu)
        total = n + D + tree.n_columns
        self.A_eq = sp.vstack([widen(sp.hstack([base.A_eq, rho]), total), tree.equalities(total)]).tocsr()
        self.b_eq = np.concatenate([base.b_eq, np.zeros(self.A_eq.shape[0] - rows)])
        # Margins: y (w.z + b E) <= E + tol |x~| E, with |x~| below its tangents over the box around the hull.
        margins = []
        for row, (sign, region) in enumerate(zip((1.0, -1.0), setting.both, strict=True)):
            slope, level = region.lower + region.upper, 1.0 * base.one - float(region.lower @ region.upper)
            least, most = -region.linear_maximum(-slope, -level)[0], region.linear_maximum(slope, level)[0]
            for q0 in np.geomspace(max(least, 1e-3 * most, 1e-12), max(most, 1e-12), 9):
                c = 0.5 * tol / math.sqrt(q0)
                w, b = sign * theta[:-1] - c * slope, sign * theta[-1] - c * (q0 + level)
                line = np.zeros(total)
                line[row * d : (row + 1) * d] = w
                line[2 * d + row] = w @ region.lower + b - 1.0
                margins.append(line)
        radius = np.zeros(total)
        radius[tree.top] = 1.0
        radius[2 * d : 2 * d + 3] = -tol * setting.a * setting.units
        inside = widen(base.A_ub[:-2], total)
        self.A_ub = sp.vstack([inside, sp.csr_matrix(np.array(margins)), tree.inequalities(total), radius]).tocsr()
        self.b_ub = np.zeros(self.A_ub.shape[0])
        self.b_ub[-1] = tol * setting.clean.k
        low = np.zeros(total)
        low[n : n + D] = -np.inf
        self.bounds = np.column_stack([low, np.concatenate([base.top, np.full(total - n, np.inf)])])
        self.cost = np.concatenate([base.cost, np.zeros(total - n)])

    def solve(self) -> Solution | None:
        """The relaxed minimum; None where the program is infeasible."""
        base = self.program
        d = base.d
        res = solve_lp(self.cost, self.A_ub, self.b_ub, self.A_eq, self.b_eq, self.bounds)
        if res.status != 0:
            return None
        v = res.eqlin.marginals[: base.n_stationarity]
        counts = res.x[2 * d : 2 * d + 3]
        weights, means = base.setting.weights * counts[:2], mean_points(base.setting, res.x, d)
        return Solution(float(res.fun), v if base.one else np.append(v, 0.0), counts, weights, means)


class _Tower:
    """Rows and columns that bound the l2 norm of columns ``first .. first + D - 1`` by the column ``top``."""

    def __init__(self, first, D, nu):
        self.equal, self.below = [], []
        self._next = first + D
        level = [first + j for j in range(D)]
        while len(level) > 1:
            pairs = [self._cone(p, q, nu) for p, q in zip(level[::2], level[1::2], strict=False)]
            level = pairs + level[2 * len(pairs) :]
        if D == 1:
            top = self._column()
            self.below += [{first: 1.0, top: -1.0}, {first: -1.0, top: -1.0}]
            level = [top]
        self.top = level[0]
        self.n_columns = self._next - first - D

    def _column(self):
        self._next += 1
        return self._next - 1

    def _cone(self, p, q, nu):
        x, y = self._column(), self._column()
        self.below += [{p: 1.0, x: -1.0}, {p: -1.0, x: -1.0}, {q: 1.0, y: -1.0}, {q: -1.0, y: -1.0}]
        for j in range(1, nu + 1):
            cos, sin = math.cos(math.pi / 2 ** (j + 1)), math.sin(math.pi / 2 ** (j + 1))
            x2, y2 = self._column(), self._column()
            self.equal.append({x2: -1.0, x: cos, y: sin})
            self.below += [{x: -sin, y: cos, y2: -1.0}, {x: sin, y: -cos, y2: -1.0}]
            x, y = x2, y2
        r = self._column()
        self.below += [{x: 1.0, r: -1.0}, {y: 1.0, x: -math.tan(math.pi / 2 ** (nu + 1))}]
        return r

    def equalities(self, n):
        return _matrix_of(self.equal, n)

    def inequalities(self, n):
        return _matrix_of(self.below, n)


def _matrix_of(rows, n):
    entries = [(i, j, value) for i, row in enumerate(rows) for j, value in row.items()]
    if not entries:
        return sp.csr_matrix((0, n))
    i, j, value = zip(*entries, strict=True)
    return sp.csr_matrix((value, (i, j)), shape=(len(rows), n))
