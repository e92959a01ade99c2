r"""How the exact victim moves with its points: the implicit derivative.

The victim solves ``k R theta = sum_i c_i s_i y_i x~_i`` (s = -phi'). If the right side changes by ``df``, then
``d theta = H^-1 df`` with

* smooth losses: ``H = sum_i c_i phi''(m_i) x~_i x~_i' + k R``;
* the hinge: rows on the margin stay on it, so that ``Z d theta = -dZ theta`` for them (rows ``z = y x~``), and what
  they pull with takes up the difference: a linear system with ``k R`` and Z.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

__all__ = ["Implicit"]


WIDE = 3000  # features: beyond that no Hessian is formed
ON_MARGIN = 1e-7  # rows this near to margin 1, in units of 1 + |w| |x|, are on it


class Implicit:
    """The derivative of ``v . theta`` at a trained victim.

    Parameters
    ----------
    objective : Objective
        Settled.
    X, y, c
        All clean rows, and what they weigh, class weights included.
    points, labels, counts
        The poison; counts without class weights.
    theta : ndarray of shape (n_features + 1,)
        The victim trained on all of them.
    """

    def __init__(self, objective, X, y, c, points, labels, counts, k, theta):
        self.objective, self.theta, self.loss = objective, theta, objective.loss
        self.X, self.y, self.c, self.k = X, y, c, k
        self.labels, self.counts = np.asarray(labels, dtype=float), np.asarray(counts, dtype=float)
        self.points = np.asarray(points, dtype=float).reshape(len(self.labels), len(theta) - 1)
        self.own = self.counts * np.array([objective.weight_of(label) for label in self.labels])
        self.margins = objective.margins(theta, X, y)
        self.point_margins = objective.margins(theta, self.points, self.labels)
        self.R = objective.R(len(theta) - 1)
        (self._look_kinked if self.loss.kinked else self._look_smooth)()

    # -- smooth losses ------------------------------------------------------------------------

    def _look_smooth(self):
        h = self.c * self.loss.second_derivative(self.margins)
        g = self.own * self.loss.second_derivative(self.point_margins)
        self.blocks = [(self.X, h), (self.points, g)]
        self.factor = None
        if len(self.theta) > WIDE:
            return
        H = np.diag(self.k * self.R)
        for X, weight in self.blocks:
            scaled = X.multiply(weight[:, None]).tocsr() if sp.issparse(X) else X * weight[:, None]
            inner = X.T @ scaled
            H[:-1, :-1] += inner.toarray() if sp.issparse(inner) else inner
            if self.objective.fit_intercept:
                sums = np.asarray(scaled.sum(axis=0)).ravel()
                H[-1, :-1] += sums
                H[:-1, -1] += sums
                H[-1, -1] += weight.sum()
        if not self.objective.fit_intercept:
            H[-1, -1] = 1.0
        self.factor = cho_factor(H, check_finite=False)

    def _product(self, p):
        one = self.objective.one
        out = self.k * self.R * p
        for X, weight in self.blocks:
            z = weight * (X @ p[:-1] + one * p[-1])
            out[:-1] += X.T @ z
            out[-1] += one * z.sum()
        return out if one else np.append(out[:-1], p[-1])

    # -- the hinge ----------------------------------------------------------------------------

    def _look_kinked(self):
        size = 1.0 + float(np.linalg.norm(self.theta[:-1]))
        near = np.flatnonzero((np.abs(self.margins - 1.0) <= ON_MARGIN * size) & (self.c > 0.0))
        self.on = np.flatnonzero((np.abs(self.point_margins - 1.0) <= ON_MARGIN * size) & (self.own > 0.0))
        rows = self.X[near].toarray() if sp.issparse(self.X) else self.X[near]
        signs = np.append(self.y[near], self.labels[self.on])
        rows = np.vstack([rows, self.points[self.on]])
        self.Z = signs[:, None] * np.column_stack([rows, np.full(len(rows), self.objective.one)])
        below = np.where(self.margins < 1.0, self.c, 0.0)
        below[near] = 0.0
        pulls = np.where(self.point_margins < 1.0, self.own, 0.0)
        pulls[self.on] = 0.0
        force = np.append(
            self.X.T @ (below * self.y) + self.points.T @ (pulls * self.labels),
            self.objective.one * (below @ self.y + pulls @ self.labels),
        )
        self.pulls = pulls
        if len(self.Z):
            tau = np.linalg.lstsq(self.Z.T, self.k * self.R * self.theta - force, rcond=None)[0]
            self.pulls[self.on] = np.clip(tau[len(near) :], 0.0, self.own[self.on])

    def _hold(self, v):
        """``(u, q)``: ``k R u = v - Z' q`` and ``Z u = 0``."""
        if not self.objective.is_free:
            inverse = 1.0 / (self.k * np.where(self.R > 0.0, self.R, 1.0))
            if not len(self.Z):
                return inverse * v, np.zeros(0)
            q = np.linalg.lstsq((self.Z * inverse) @ self.Z.T, self.Z @ (inverse * v), rcond=1e-12)[0]
            return inverse * (v - self.Z.T @ q), q
        n, m = len(v), len(self.Z)
        K = np.zeros((n + m, n + m))
        K[np.diag_indices(n)] = np.append(self.k * self.R, np.zeros(m))[:n]
        K[:n, n:], K[n:, :n] = self.Z.T, self.Z
        both = np.linalg.lstsq(K, np.append(v, np.zeros(m)), rcond=1e-12)[0]
        return both[:n], both[n:]

    # -- both ---------------------------------------------------------------------------------

    def look(self, v):
        """Take in the gradient ``v`` of what is to rise with respect to theta."""
        v = np.asarray(v, dtype=float) if self.objective.fit_intercept else np.append(v[:-1], 0.0)
        if self.loss.kinked:
            self.u, self.q = self._hold(v)
        elif self.factor is not None:
            self.u = cho_solve(self.factor, v, check_finite=False)
        else:
            n = len(v)
            self.u = cg(LinearOperator((n, n), matvec=self._product, dtype=float), v, rtol=1e-10, maxiter=2000)[0]
        return self

    def by_weight(self, X, labels) -> np.ndarray:
        """The derivative by the number of copies of every row of X with these labels, none of them there yet.

        ``u . (c s y x~ - d k R theta)``, ``u = H^-1 v``; of the hinge, s = 1 below margin 1, and 0 from it on.
        """
        labels = np.asarray(labels, dtype=float)
        margins = self.objective.margins(self.theta, X, labels)
        s = -np.asarray(self.loss.derivative(margins))
        c = np.where(labels > 0, self.objective.weight_of(1.0), self.objective.weight_of(-1.0))
        more = np.where(labels > 0, self.objective.k_of_point(1.0), self.objective.k_of_point(-1.0))
        pull = np.asarray(X @ self.u[:-1]).ravel() + self.objective.one * self.u[-1]
        return c * s * labels * pull - more * float((self.R * self.theta) @ self.u)

    def by_place(self) -> np.ndarray:
        """The derivative by the coordinates of every point, all of its copies moved: (n_points, n_features).

        ``n c (s y u_w - phi''(m) (u . x~) w)``; a point on the margin of the hinge that pulls with tau:
        ``y (tau u_w - q w)``, for it moves along the margin.
        """
        w, u = self.theta[:-1], self.u[:-1]
        if self.loss.kinked:
            out = (self.labels * self.pulls)[:, None] * u
            if len(self.on):
                q = self.q[len(self.q) - len(self.on) :]
                out[self.on] -= (self.labels[self.on] * q)[:, None] * w
            return out
        s = -np.asarray(self.loss.derivative(self.point_margins))
        along = self.points @ u + self.objective.one * self.u[-1]
        bend = np.asarray(self.loss.second_derivative(self.point_margins)) * along
        return self.own[:, None] * ((s * self.labels)[:, None] * u - bend[:, None] * w)
