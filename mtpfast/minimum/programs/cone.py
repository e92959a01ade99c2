r"""Linear programs with second-order cones: a primal-dual interior-point method.

.. math:: \min c \cdot x \quad \text{s.t.} \quad A x = b, \quad G x + s = h, \quad
          s \in K = \mathbb{R}_+^l \times Q_1 \times \dots \times Q_p, \qquad
          Q = \{(t, u) : \lVert u \rVert \le t\}

A ball turns into a cone when multiplied by the weight of its points: ``|z - E c| <= r E``. The search direction is
that of Nesterov and Todd, predicted and corrected (Mehrotra); see Andersen, Dahl, Liu, Vandenberghe, "Interior-point
methods for large-scale cone programming", in *Optimization for Machine Learning*, MIT Press 2011, sections 1.3 and 1.4.
What it returns is a search's result: certificates look at the direction alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.optimize import OptimizeResult

from .highs import solve_lp

__all__ = ["BallCone", "solve_cone", "solve_hull"]


STEPS = 100
GAP, RESIDUAL = 1e-10, 1e-9  # relative, at which the steps end
ENOUGH = 1e-6  # that count as solved where the steps come to nothing more


class BallCone(NamedTuple):
    """``|x[columns] + x[weight] offset| <= x[weight] radius``."""

    columns: np.ndarray
    weight: int
    offset: np.ndarray
    radius: float

    def rows(self, n):
        """``-s`` over n columns: s = (radius E, z + E offset) is in the cone."""
        k = len(self.columns)
        data = np.concatenate([[-self.radius], -self.offset, -np.ones(k)])
        i = np.concatenate([[0], np.arange(1, k + 1), np.arange(1, k + 1)])
        j = np.concatenate([np.full(k + 1, self.weight), self.columns])
        return sp.csr_matrix((data, (i, j)), shape=(k + 1, n))


def solve_hull(setting, cost, A_ub, b_ub, A_eq, b_eq, bounds) -> OptimizeResult:
    """A program whose columns begin with ``(zeta+, zeta-, E+, E-)`` of :func:`mtpfast.minimum.programs.lp.hull_rows`:
    by HiGHS; where a region has a ball, with its cone."""
    d = len(setting.theta) - 1
    balls = [
        BallCone(np.arange(y * d, (y + 1) * d), 2 * d + y, region.lower - center, radius)
        for y, region in enumerate(setting.both)
        for center, radius in region.balls
    ]
    if not balls:
        return solve_lp(cost, A_ub, b_ub, A_eq, b_eq, bounds)
    bounds = np.array(bounds, dtype=float)
    for y, region in enumerate(setting.both):  # what cannot move has no inside
        idle = bounds[2 * d + y, 1] == 0.0
        still = y * d + np.flatnonzero((region.lower == region.upper) | idle)
        bounds[still] = 0.0
    return solve_cone(cost, A_ub, b_ub, A_eq, b_eq, bounds, balls)


def solve_cone(cost, A_ub, b_ub, A_eq, b_eq, bounds, balls) -> OptimizeResult:
    """As :func:`mtpfast.minimum.programs.highs.solve_lp`, with balls: status 0 (solved) or 2 (no solution, or none
    found); ``x``, ``fun`` and ``eqlin.marginals`` with HiGHS's signs.

    An interior-point method needs an inside: columns whose bounds are equal are put in, rows without any other are
    left out, and two inequalities that make an equality become one."""
    n = len(cost)
    low, top = np.array(bounds, dtype=float).T
    fixed = low == top
    free = np.flatnonzero(~fixed)
    x0 = np.where(fixed, low, 0.0)
    A_ub, A_eq = sp.csr_matrix(A_ub), sp.csr_matrix(A_eq) if A_eq is not None else sp.csr_matrix((0, n))
    b_eq = np.zeros(0) if b_eq is None else np.asarray(b_eq, dtype=float)
    lows, tops = (np.flatnonzero(np.isfinite(end[free])) for end in (low, top))
    eye = sp.identity(len(free), format="csr")
    cones = [
        ball.rows(n) for ball in balls if ball.radius > 0.0 and (low[ball.weight] < top[ball.weight] or x0[ball.weight])
    ]
    rest = np.asarray(b_ub, dtype=float) - A_ub @ x0
    kept, twins = _sorted(A_ub[:, free].tocsr(), rest)
    G = sp.vstack([A_ub[kept][:, free], -eye[lows], eye[tops], *(cone[:, free] for cone in cones)]).tocsr()
    h = np.concatenate([rest[kept], -low[free][lows], top[free][tops], *(-(cone @ x0) for cone in cones)])
    sizes = [cone.shape[0] for cone in cones]
    A = sp.vstack([A_eq[:, free], A_ub[twins][:, free]]).tocsr()
    b = np.concatenate([b_eq - A_eq @ x0, rest[twins]])
    unit = max(1.0, float(np.max(np.abs(b), initial=0.0)))  # counts and sums grow with the data
    result = OptimizeResult(status=2)
    with np.errstate(all="ignore"):  # where it diverges there is no solution, and it stops
        found = _Solver(np.asarray(cost)[free], G, h / unit, A, b / unit, sizes).solve()
    if found is None:
        return result
    x, y = found
    result.x = x0.copy()
    result.x[free] = unit * x
    result.status, result.fun = 0, float(np.asarray(cost) @ result.x)
    result.eqlin = OptimizeResult(marginals=-y[: len(b_eq)])
    return result


def _sorted(A, b):
    """(rows that stay inequalities, rows that are equalities: each the first of two opposite ones)."""
    seen, kept, twins = {}, [], []
    for i in range(A.shape[0]):
        part = slice(A.indptr[i], A.indptr[i + 1])
        used = A.data[part] != 0.0
        if not np.any(used):
            continue
        j, values = A.indices[part][used], A.data[part][used]
        order = np.argsort(j)
        j, values = j[order], values[order]
        other = seen.pop((j.tobytes(), (-values).tobytes()), None)
        if other is not None and abs(b[i] + b[other]) <= 1e-14 * (1.0 + abs(b[i])):
            kept.remove(other)
            twins.append(other)
            continue
        seen[j.tobytes(), values.tobytes()] = i
        kept.append(i)
    return np.array(kept, dtype=int), np.array(twins, dtype=int)


class _Scaling:
    """The Nesterov-Todd scaling of a pair (s, z): a symmetric W with ``W z = W^-1 s = l``."""

    def __init__(self, s, z, linear, sizes):
        self.linear, self.sizes = linear, sizes
        self.w = np.sqrt(s[:linear] / z[:linear])
        self.etas, self.bars = [], []
        at = linear
        for size in sizes:
            one, two = s[at : at + size], z[at : at + size]
            root_s, root_z = _length(one), _length(two)
            one, two = one / root_s, two / root_z
            gamma = math.sqrt(0.5 * (1.0 + float(one @ two)))
            bar = one.copy()
            bar[0] += two[0]
            bar[1:] -= two[1:]
            self.bars.append(bar / (2.0 * gamma))
            self.etas.append(math.sqrt(root_s / root_z))
            at += size

    def times(self, v):
        """``W v``."""
        out, at = np.empty_like(v), self.linear
        out[:at] = self.w * v[:at]
        for size, eta, bar in zip(self.sizes, self.etas, self.bars, strict=True):
            part = v[at : at + size]
            tail = float(bar[1:] @ part[1:])
            out[at] = eta * (bar[0] * part[0] + tail)
            out[at + 1 : at + size] = eta * (part[1:] + (part[0] + tail / (1.0 + bar[0])) * bar[1:])
            at += size
        return out

    def divided(self, v):
        """``W^-1 v``."""
        out, at = np.empty_like(v), self.linear
        out[:at] = v[:at] / self.w
        for size, eta, bar in zip(self.sizes, self.etas, self.bars, strict=True):
            part = v[at : at + size]
            tail = float(bar[1:] @ part[1:])
            out[at] = (bar[0] * part[0] - tail) / eta
            out[at + 1 : at + size] = (part[1:] + (-part[0] + tail / (1.0 + bar[0])) * bar[1:]) / eta
            at += size
        return out

    def normal_matrix(self, G):
        """``G^T W^-2 G``, dense."""
        top = G[: self.linear]
        out = (top.T @ sp.diags(1.0 / self.w**2) @ top).toarray()
        at = self.linear
        for size, eta, bar in zip(self.sizes, self.etas, self.bars, strict=True):
            part = G[at : at + size]
            signed = bar.copy()
            signed[1:] *= -1.0
            along = np.asarray(part.T @ signed).ravel()
            ends = np.asarray(part[0].todense()).ravel()
            # W^-2 = (2 (J bar)(J bar)^T - J) / eta^2
            out += (2.0 * np.outer(along, along) + (part.T @ part).toarray() - 2.0 * np.outer(ends, ends)) / eta**2
            at += size
        return out


def _length(v):
    """``sqrt(v_0^2 - |v_1|^2)`` of a vector inside the cone."""
    tail = float(np.linalg.norm(v[1:]))
    return math.sqrt(max((v[0] - tail) * (v[0] + tail), 1e-300))


class _Solver:
    def __init__(self, c, G, h, A, b, sizes):
        self.c, self.G, self.h, self.A, self.b, self.sizes = c, G, h, A, b, sizes
        self.linear = G.shape[0] - sum(sizes)
        self.degree = self.linear + len(sizes)
        self.dense_A = A.toarray()
        self.e = np.ones(G.shape[0])
        at = self.linear
        for size in sizes:
            self.e[at + 1 : at + size] = 0.0
            at += size

    def solve(self):
        """(x, y), or None where there is no solution or none was found."""
        c, G, h, A, b = self.c, self.G, self.h, self.A, self.b
        self._factor(None)
        x, y, z = self._kkt(np.zeros(len(c)), b, h)
        s = self._inside(-z)
        _, y, z = self._kkt(-c, np.zeros(len(b)), np.zeros(len(h)))
        z = self._inside(z)
        size_b, size_c = max(1.0, float(np.linalg.norm(np.append(b, h)))), max(1.0, float(np.linalg.norm(c)))
        best, kept = math.inf, None
        for _ in range(STEPS):
            r_x, r_y, r_z = A.T @ y + G.T @ z + c, A @ x - b, G @ x + s - h
            gap, primal = float(s @ z), float(c @ x)
            dual = -float(b @ y) - float(h @ z)
            miss = max(float(np.linalg.norm(np.append(r_y, r_z))) / size_b, float(np.linalg.norm(r_x)) / size_c)
            relative = gap / max(1e-3, abs(primal), abs(dual))
            merit = max(miss / RESIDUAL, relative / GAP)
            if merit < best:
                best, kept = merit, (x, y)
            if merit <= 1.0:
                break
            ray = -float(b @ y) - float(h @ z)
            if ray > 0.0 and float(np.linalg.norm(A.T @ y + G.T @ z)) <= 1e-9 * ray and miss > RESIDUAL:
                return None  # a proof that there is none
            if not (self._is_inside(s) and self._is_inside(z)):  # by rounding, where it diverges
                break
            scaling = _Scaling(s, z, self.linear, self.sizes)
            lam = scaling.times(z)
            if not self._factor(scaling):
                break
            mu = gap / self.degree
            step = self._direction(scaling, lam, r_x, r_y, r_z, self._product(lam, lam), 1.0)
            reach = min(1.0, self._reach(lam, step[3]), self._reach(lam, step[4]))
            sigma = (1.0 - reach) ** 3
            corrected = self._product(lam, lam) + self._product(step[3], step[4]) - sigma * mu * self.e
            dx, dy, dz, ds_scaled, dz_scaled = self._direction(scaling, lam, r_x, r_y, r_z, corrected, 1.0 - sigma)
            reach = min(1.0, 0.99 * min(self._reach(lam, ds_scaled), self._reach(lam, dz_scaled)))
            if not np.all(np.isfinite(dx)) or reach < 1e-12:
                break
            x, y, z, s = x + reach * dx, y + reach * dy, z + reach * dz, s + reach * scaling.times(ds_scaled)
        return kept if best <= ENOUGH / RESIDUAL else None

    def _direction(self, scaling, lam, r_x, r_y, r_z, complementarity, share):
        """(dx, dy, dz, W^-1 ds, W dz) of the linearised conditions."""
        d_s = -self._quotient(lam, complementarity)
        dx, dy, dz = self._kkt(-share * r_x, -share * r_y, -share * r_z - scaling.times(d_s))
        dz_scaled = scaling.times(dz)
        return dx, dy, dz, d_s - dz_scaled, dz_scaled

    def _factor(self, scaling):
        self.scaling = scaling
        H = scaling.normal_matrix(self.G) if scaling is not None else (self.G.T @ self.G).toarray()
        diagonal = np.abs(np.diag(H))
        H[np.diag_indices_from(H)] += 1e-13 * diagonal + 1e-14 * float(np.max(diagonal, initial=1.0)) * 1e-3
        try:
            self.H = scipy.linalg.cho_factor(H, check_finite=False)
            if len(self.b):
                self.HA = scipy.linalg.cho_solve(self.H, self.dense_A.T, check_finite=False)
                S = self.dense_A @ self.HA
                S[np.diag_indices_from(S)] += 1e-14 * (np.trace(S) / len(S) + np.diag(S))
                self.S = scipy.linalg.cho_factor(S, check_finite=False)
        except (np.linalg.LinAlgError, ValueError):
            return False
        return True

    def _kkt(self, f, g, k):
        """``A^T y + G^T z = f, A x = g, G x - W^2 z = k``, refined."""
        x, y, z = self._kkt_once(f, g, k)
        for _ in range(2):
            back = z if self.scaling is None else self.scaling.times(self.scaling.times(z))
            more = self._kkt_once(f - self.A.T @ y - self.G.T @ z, g - self.A @ x, k - self.G @ x + back)
            x, y, z = (part + extra for part, extra in zip((x, y, z), more, strict=True))
        return x, y, z

    def _kkt_once(self, f, g, k):
        def weighed(v):
            return v if self.scaling is None else self.scaling.divided(self.scaling.divided(v))

        right = f + self.G.T @ weighed(k)
        x = scipy.linalg.cho_solve(self.H, right, check_finite=False)
        y = np.zeros(0)
        if len(self.b):
            y = scipy.linalg.cho_solve(self.S, self.dense_A @ x - g, check_finite=False)
            x = x - self.HA @ y
        return x, y, weighed(self.G @ x - k)

    # -- the algebra of the cones -------------------------------------------------------------

    def _parts(self):
        at = self.linear
        for size in self.sizes:
            yield slice(at, at + size)
            at += size

    def _inside(self, v):
        """The vector, moved along e until it is well inside."""
        least = float(np.min(v[: self.linear], initial=math.inf))
        for part in self._parts():
            least = min(least, float(v[part][0] - np.linalg.norm(v[part][1:])))
        size = max(1.0, float(np.linalg.norm(v)) / math.sqrt(len(v)))
        return v if least > 1e-8 * size else v + (size - least) * self.e

    def _is_inside(self, v):
        if not np.all(np.isfinite(v)) or np.max(v) > 1e100 or not np.all(v[: self.linear] > 0.0):
            return False
        return all(v[part][0] > np.linalg.norm(v[part][1:]) for part in self._parts())

    def _product(self, u, v):
        out = u * v
        for part in self._parts():
            one, two = u[part], v[part]
            out[part] = np.append(one @ two, one[0] * two[1:] + two[0] * one[1:])
        return out

    def _quotient(self, u, v):
        """w with ``product(u, w) = v``."""
        out = np.empty_like(v)
        out[: self.linear] = v[: self.linear] / u[: self.linear]
        for part in self._parts():
            one, two = u[part], v[part]
            det = _length(one) ** 2
            first = (one[0] * two[0] - one[1:] @ two[1:]) / det
            out[part] = np.append(first, (two[1:] - first * one[1:]) / one[0])
        return out

    def _reach(self, lam, d):
        """The largest step along d (scaled) that stays in the cone."""
        falling = d[: self.linear] < 0.0
        most = float(np.min(-lam[: self.linear][falling] / d[: self.linear][falling], initial=math.inf))
        for part in self._parts():
            one, two = lam[part], d[part]
            a = two[0] ** 2 - float(two[1:] @ two[1:])
            b = one[0] * two[0] - float(one[1:] @ two[1:])
            c = _length(one) ** 2
            root = b * b - a * c
            if root >= 0.0:
                # roots of a t^2 + 2 b t + c; the least positive one
                q = -(b + math.copysign(math.sqrt(root), b))
                ends = [t for t in ((q / a) if a else math.inf, (c / q) if q else math.inf) if t > 0.0]
                most = min([most, *ends])
            if two[0] < 0.0:
                most = min(most, -one[0] / two[0])
        return most
