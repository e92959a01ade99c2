"""How the model moves with the pull of the poison: the inverse Hessian of the victim, smoothed where it has kinks."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsymv

from mtpfast.arrays.rows import rough_product

__all__ = ["KinkedSensitivity", "SmoothSensitivity"]


FREE = 1e-3  # what stands for the penalty of a free intercept, in units of k


class KinkedSensitivity:
    """The hinge: with Z the rows within ``width`` of the margin, ``H = k R + Z' C Z / (2 width)``.

    ``H^-1 = (1/k) (R^-1 - R^-1 Z' (Z R^-1 Z' + 2 width k C^-1)^-1 Z R^-1)``: rows on the margin hold the model where it
    is. Whichever of the two systems is smaller is solved.
    """

    def __init__(self, X, y, weight, objective):
        self.X, self.y, self.weight, self.objective = X, y, weight, objective
        self._rows = X if sp.issparse(X) else np.asarray(X, dtype=np.float32)
        self.penalty = np.ones(X.shape[1] + 1)
        self.penalty[-1] = 1.0 if objective.r else FREE
        if not objective.fit_intercept:
            self.penalty[-1] = np.inf

    def rough_margins(self, theta):
        """The margins of the clean rows, to 1e-6 or so."""
        return self.y * (rough_product(self._rows, theta[:-1]) + theta[-1])

    def look(self, theta, k, margins, points, labels, weights, width):
        """Take in the model: ``margins`` of the clean rows, the points and what they weigh."""
        self.inverse = 1.0 / (k * self.penalty)
        near = np.flatnonzero((np.abs(margins - 1.0) <= width) & (self.weight > 0.0))
        on = [i for i, x in enumerate(points) if abs(labels[i] * (x @ theta[:-1] + theta[-1]) - 1.0) <= width]
        on = [i for i in on if weights[i] > 0.0]
        c = np.concatenate([self.weight[near], [weights[i] for i in on]])
        m, d = len(c), len(theta) - 1
        self.n_rows, self.few = min(m, d), m <= d
        self.Z = Rows(self.X, near, np.array([points[i] for i in on]).reshape(len(on), d))
        self.factor = None
        if not m:
            return
        if self.few:
            inner = self.Z.products() / k
            inner += self.inverse[-1]
            inner[np.diag_indices(m)] += 2.0 * width / c
        else:
            inner = self.Z.moments(c / (2.0 * width))
            if not np.isfinite(self.penalty[-1]):
                inner[-1] = inner[:, -1] = 0.0
            inner[np.diag_indices(d + 1)] += np.where(np.isfinite(self.penalty), k * self.penalty, 1.0)
        self.factor = cho_factor(inner, overwrite_a=True, check_finite=False)

    def apply(self, vector):
        """``H^-1 vector``."""
        out = self.inverse * vector
        if self.factor is None:
            return out
        if self.few:
            return out - self.inverse * self.Z.pull(cho_solve(self.factor, self.Z.scores(out), check_finite=False))
        out = cho_solve(self.factor, np.where(self.inverse > 0.0, vector, 0.0), check_finite=False)
        return np.where(self.inverse > 0.0, out, 0.0)


class Rows:
    """The rows ``near`` of X, dense or CSR, above a few dense ones, each with a 1 for the intercept at its end."""

    def __init__(self, X, near, added):
        if sp.issparse(X):
            self.parts = [X[near], added]
            return
        joined = np.empty((len(near) + len(added), X.shape[1]))
        np.take(X, near, axis=0, out=joined[: len(near)])
        joined[len(near) :] = added
        self.parts = [joined]

    def scores(self, theta):
        """``Z theta``"""
        return np.concatenate([part @ theta[:-1] for part in self.parts]) + theta[-1]

    def pull(self, a):
        """``Z' a``"""
        out, at = np.append(np.zeros(self.parts[0].shape[1]), a.sum()), 0
        for part in self.parts:
            out[:-1] += part.T @ a[at : at + part.shape[0]]
            at += part.shape[0]
        return out

    def products(self):
        """``Z Z'`` without the intercept."""
        first, *rest = self.parts
        inner = first @ first.T
        if not rest:
            return inner
        across = first @ rest[0].T
        return np.block([[inner.toarray(), across], [across.T, rest[0] @ rest[0].T]])

    def moments(self, c):
        """``Z' diag(c) Z``"""
        Z = np.vstack([part.toarray() if sp.issparse(part) else part for part in self.parts])
        Z = np.hstack([Z, np.ones((len(Z), 1))]) * np.sqrt(c)[:, None]
        return Z.T @ Z


class SmoothSensitivity:
    """Smooth losses: the inverse of the Hessian that the solver keeps; conjugate gradients where it keeps none."""

    def __init__(self, victim):
        self.victim = victim  # a MovingVictim

    def look(self):
        """Take in the model as the solver has it."""
        solver, intercept = self.victim.victim._solver, self.victim.victim.objective.fit_intercept
        if solver.inverse is None:
            solver._refactor(solver.at)
        if not solver.direct:
            theta = solver.at.theta
            self.blocks = [(X, X.T, solver._curvature(theta, X, y, weight)) for X, y, weight in solver._rows()]
            diagonal = solver.ridge.copy()
            for X, _, h in self.blocks:
                squared = X.multiply(X) if sp.issparse(X) else X * X
                diagonal[:-1] += squared.T @ h
                diagonal[-1] += h.sum() if intercept else 0.0
            self.diagonal = np.where(diagonal > 0.0, diagonal, 1.0)

    def apply(self, vector):
        """``H^-1 vector``, to 3e-2 or so of its length where that takes conjugate gradients."""
        victim = self.victim.victim
        if not victim.objective.fit_intercept:
            vector = np.append(vector[:-1], 0.0)
        solver = victim._solver
        return dsymv(1.0, solver.inverse, vector) if solver.direct else self._solve(vector)

    def _product(self, p):
        victim = self.victim.victim
        intercept, out = victim.objective.fit_intercept, victim._solver.ridge * p
        for X, X_T, h in self.blocks:
            z = h * (X @ p[:-1] + (p[-1] if intercept else 0.0))
            out[:-1] += X_T @ z
            out[-1] += z.sum() if intercept else 0.0
        return out

    def _solve(self, vector, steps=60):
        """Conjugate gradients, preconditioned by the diagonal of H."""
        p, residual = np.zeros_like(vector), vector.copy()
        z = residual / self.diagonal
        direction, rho = z.copy(), float(residual @ z)
        enough = 1e-3 * rho
        for _ in range(steps):
            if rho <= enough:
                break
            image = self._product(direction)
            length = rho / float(direction @ image)
            p += length * direction
            residual -= length * image
            z = residual / self.diagonal
            rho, old = float(residual @ z), rho
            direction = z + (rho / old) * direction
        return p
