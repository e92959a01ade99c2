r"""Least squares over a polyhedron: a primal-dual interior-point method.

.. math:: \min \tfrac12 |A u - a|^2 \quad \text{s.t.} \quad l \le u \le h, \quad C u \le d, \quad E u = e

Mehrotra's predictor and corrector; the linear systems are of the smaller of both sizes, of A or of u. Columns of A
with one entry (the coordinates of a point) cost next to nothing.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

__all__ = ["least_squares"]


STEPS = 80
ENOUGH = 1e-17  # of the duality gap, relative to |a|^2
INSIDE = 0.99  # of the way to the nearest bound


def least_squares(A, a, low, high, C=None, d=None, E=None, e=None) -> np.ndarray:
    """A minimiser, to about 1e-8 of ``|a|`` in ``A u``; every bound holds to rounding, rows to the last step taken.

    Columns whose bounds are equal stay there. Where the rows contradict the bounds, the last iterate is returned: the
    caller looks at what it is worth.
    """
    n = A.shape[1]
    C, d = (np.zeros((0, n)), np.zeros(0)) if C is None else (C, d)
    E, e = (np.zeros((0, n)), np.zeros(0)) if E is None else (E, e)
    free = high > low
    u = np.array(low, dtype=float)
    if not free.any():
        return u
    fixed = ~free
    a, d, e = a - A[:, fixed] @ u[fixed], d - C[:, fixed] @ u[fixed], e - E[:, fixed] @ u[fixed]
    keep = np.any(E[:, free] != 0.0, axis=1)
    scale = float(np.linalg.norm(a)) or 1.0
    problem = _Problem(A[:, free] / scale, a / scale, low[free], high[free], C[:, free], d, E[keep][:, free], e[keep])
    with np.errstate(all="ignore"):  # where the rows contradict the bounds it diverges, and stops
        u[free] = problem.solve()
    return np.clip(u, low, high)


class _Matrix:
    """A matrix of which many columns have one entry only."""

    def __init__(self, A):
        entries = np.count_nonzero(A, axis=0)
        self.shape, self.one, self.more = A.shape, np.flatnonzero(entries <= 1), np.flatnonzero(entries > 1)
        self.row = np.argmax(A[:, self.one] != 0.0, axis=0)
        self.entry, self.rest = A[self.row, self.one], np.ascontiguousarray(A[:, self.more])

    def at(self, u):
        """``A u``."""
        return self.rest @ u[self.more] + self._by_row(self.entry * u[self.one])

    def back(self, v):
        """``A' v``."""
        out = np.empty(self.shape[1])
        out[self.one], out[self.more] = self.entry * v[self.row], v @ self.rest
        return out

    def inner(self, D):
        """``A D^-1 A'`` of a diagonal."""
        out = (self.rest / D[self.more]) @ self.rest.T
        out[np.diag_indices(len(out))] += self._by_row(self.entry**2 / D[self.one])
        return out

    def outer(self):
        """``A' A``."""
        A = np.zeros(self.shape)
        A[self.row, self.one], A[:, self.more] = self.entry, self.rest
        return A.T @ A

    def _by_row(self, values):
        return np.bincount(self.row, values, minlength=self.shape[0])


class _Problem:
    def __init__(self, A, a, low, high, C, d, E, e):
        self.A, self.a, self.low, self.high, self.C, self.d, self.E, self.e = _Matrix(A), a, low, high, C, d, E, e
        self.is_wide = A.shape[0] + len(C) < A.shape[1]
        self.outer = None if self.is_wide else self.A.outer()

    def solve(self):
        A, C, E = self.A, self.C, self.E
        u = 0.5 * (self.low + self.high)
        s = np.maximum(self.d - C @ u, 0.1 * (1.0 + np.abs(self.d)))
        width = self.high - self.low
        start = max(1e-3, float(np.mean(np.abs(A.back(A.at(u) - self.a)) * width)))
        p, q, z = start / (0.5 * width), start / (0.5 * width), start / s
        y = np.zeros(len(self.e))
        total = 2 * len(u) + len(s)
        best, least = u, np.inf  # close to the end rounding can send the last steps astray
        for _ in range(STEPS):
            down, up = u - self.low, self.high - u
            gradient = A.back(A.at(u) - self.a) - p + q + C.T @ z + E.T @ y
            r_s, r_e = C @ u + s - self.d, E @ u - self.e
            mu = (down @ p + up @ q + s @ z) / total
            off = max(float(np.abs(r_s).max(initial=0.0)), float(np.abs(r_e).max(initial=0.0)))
            merit = mu * total + off + float(np.abs(gradient).max())
            if merit < least:
                best, least = u, merit
            if mu * total <= ENOUGH and off <= 1e-11 and float(np.abs(gradient).max()) <= 1e-9:
                break
            if not self._factor(p / down + q / up, z / s):
                break
            step = self._direction(gradient, r_s, r_e, u, s, p, q, z, down, up, down * p, up * q, s * z)
            primal, dual = _reach(step, down, up, s, p, q, z)
            du, ds, dp, dq, dz, _ = step
            after = ((down + primal * du) @ (p + dual * dp) + (up - primal * du) @ (q + dual * dq)) + (
                s + primal * ds
            ) @ (z + dual * dz)
            sigma = (max(after, 0.0) / (mu * total)) ** 3
            target = sigma * mu
            step = self._direction(
                gradient, r_s, r_e, u, s, p, q, z, down, up,
                down * p + du * dp - target, up * q - du * dq - target, s * z + ds * dz - target,
            )  # fmt: skip
            primal, dual = (min(1.0, INSIDE * t) for t in _reach(step, down, up, s, p, q, z))
            du, ds, dp, dq, dz, dy = step
            length = min(primal, dual)  # one length: the objective is quadratic
            if not np.all(np.isfinite(du)) or length < 1e-13:
                break
            u, s, p, q, z, y = (
                old + length * new for old, new in ((u, du), (s, ds), (p, dp), (q, dq), (z, dz), (y, dy))
            )
        return best

    def _factor(self, D, ratio):
        """``A'A + C' ratio C + D``, or for a wide matrix ``I + B D^-1 B'``, B: A and the scaled rows of C."""
        self.D, self.ratio, self.scaled = D, ratio, np.sqrt(ratio)[:, None] * self.C
        try:
            if self.is_wide:
                m, rows = self.A.shape[0], self.scaled / D
                inner = np.empty((m + len(rows), m + len(rows)))
                inner[:m, :m], inner[m:, m:] = self.A.inner(D), rows @ self.scaled.T
                for i, row in enumerate(rows, m):
                    inner[:m, i] = inner[i, :m] = self.A.at(row)
                inner[np.diag_indices(len(inner))] += 1.0
                self.factor = cho_factor(inner, check_finite=False)
            else:
                whole = self.outer + self.scaled.T @ self.scaled
                whole[np.diag_indices(len(whole))] += D
                self.factor = cho_factor(whole, check_finite=False)
            if len(self.e):
                self.HE = np.column_stack([self._solve(row) for row in self.E])
                S = self.E @ self.HE
                S[np.diag_indices(len(S))] += 1e-14 * np.trace(S) / len(S)
                self.S = cho_factor(S, check_finite=False)
        except (np.linalg.LinAlgError, ValueError):
            return False
        return True

    def _once(self, v):
        if not self.is_wide:
            return cho_solve(self.factor, v, check_finite=False)
        scaled, m = v / self.D, self.A.shape[0]
        w = cho_solve(self.factor, np.append(self.A.at(scaled), self.scaled @ scaled), check_finite=False)
        return scaled - (self.A.back(w[:m]) + w[m:] @ self.scaled) / self.D

    def _solve(self, v):
        """``(D + B'B)^-1 v``, refined once."""
        x = self._once(v)
        whole = self.D * x + self.A.back(self.A.at(x)) + (self.scaled @ x) @ self.scaled
        return x + self._once(v - whole)

    def _direction(self, gradient, r_s, r_e, u, s, p, q, z, down, up, c_p, c_q, c_z):
        """The Newton step for ``down p = .., up q = .., s z = ..``, whose residuals are the last three."""
        ratio = z / s
        right = -gradient - c_p / down + c_q / up - self.C.T @ (ratio * r_s - c_z / s)
        du = self._solve(right)
        dy = np.zeros(len(self.e))
        if len(self.e):
            dy = cho_solve(self.S, self.E @ du + r_e, check_finite=False)
            du = du - self.HE @ dy
        ds = -r_s - self.C @ du
        return du, ds, (-c_p - p * du) / down, (-c_q + q * du) / up, (-c_z - z * ds) / s, dy


def _reach(step, down, up, s, p, q, z):
    """How far primal and dual variables may go until one is zero, at most 1."""
    du, ds, dp, dq, dz, _ = step

    def ratio(value, change):
        falling = change < 0.0
        return float(np.min(-value[falling] / change[falling], initial=1.0))

    return min(ratio(down, du), ratio(up, -du), ratio(s, ds)), min(ratio(p, dp), ratio(q, dq), ratio(z, dz))
