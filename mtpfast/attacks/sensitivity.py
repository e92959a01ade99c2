"""How the model moves with the pull of the poison: the inverse Hessian of the victim, smoothed where it has kinks."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsymv

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
        w = theta[:-1].astype(self._rows.dtype)
        return self.y * (np.asarray(self._rows @ w, dtype=float) + theta[-1])

    def look(self, theta, k, margins, points, labels, weights, width):
        """Take in the model: ``margins`` of the clean rows, the points and what they weigh."""
        self.inverse = 1.0 / (k * self.penalty)
        near = np.flatnonzero((np.abs(margins - 1.0) <= width) & (self.weight > 0.0))
        Z = self.X[near]
        Z = Z.toarray() if sp.issparse(Z) else Z
        on = [i for i, x in enumerate(points) if abs(labels[i] * (x @ theta[:-1] + theta[-1]) - 1.0) <= width]
        on = [i for i in on if weights[i] > 0.0]
        Z = np.vstack([Z, *(points[i][None] for i in on)]) if on else Z
        c = np.concatenate([self.weight[near], [weights[i] for i in on]])
        self.Z, self.factor = np.hstack([Z, np.ones((len(Z), 1))]), None
        m, d = self.Z.shape
        if not m:
            return
        if m <= d:
            inner = (self.Z * self.inverse) @ self.Z.T
            inner[np.diag_indices(m)] += 2.0 * width / c
        else:
            scaled = self.Z * np.sqrt(c / (2.0 * width))[:, None]
            inner = scaled.T @ scaled
            if not np.isfinite(self.penalty[-1]):
                inner[-1] = inner[:, -1] = 0.0
            inner[np.diag_indices(d)] += np.where(np.isfinite(self.penalty), k * self.penalty, 1.0)
        self.factor = cho_factor(inner, overwrite_a=True, check_finite=False)

    def apply(self, vector):
        """``H^-1 vector``."""
        out = self.inverse * vector
        if self.factor is None:
            return out
        if len(self.Z) <= self.Z.shape[1]:
            return out - self.inverse * (self.Z.T @ cho_solve(self.factor, self.Z @ out, check_finite=False))
        out = cho_solve(self.factor, np.where(self.inverse > 0.0, vector, 0.0), check_finite=False)
        return np.where(self.inverse > 0.0, out, 0.0)


class SmoothSensitivity:
    """Smooth losses: the inverse of the Hessian that the solver keeps; conjugate gradients where it keeps none."""

    def __init__(self, victim):
        self.victim = victim  # a MovingVictim
        self._last = {}

    def look(self):
        """Take in the model as the solver has it."""
        solver = self.victim.victim._solver
        if solver.inverse is None:
            solver._refactor(solver.at)
        self._product = None

    def apply(self, vector, name=None):
        """``H^-1 vector``; ``name``: of a vector that changes little from step to step."""
        solver = self.victim.victim._solver
        if solver.direct:
            out = dsymv(1.0, solver.inverse, vector)
        else:
            out = solver.inverse_product(vector, self._last.get(name))
            self._last[name] = out
        if not self.victim.victim.objective.fit_intercept:
            out[-1] = 0.0
        return out
