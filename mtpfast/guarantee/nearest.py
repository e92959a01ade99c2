"""Models of a half-space where one line below the clean loss proves nearly all that a mixture of many could.

Equation (4) of ``proofs/pointwise.py`` is a dual problem, and where the penalty is weak, cutting planes need more lines
for it than a row has. With ``lam = 1`` its primal is

    min L(theta) + k theta' R (theta - theta_c)   over   a . theta = 0,

a training with one equality: Newton's method takes about ten looks at the clean data. The line that touches the clean
loss at its model theta_H has the slopes that are dual to it, of the hinge once its kink is smoothed over a small width.
It proves the plain bound, of the hinge ``(J(theta_H) - J*) / (1 + h(-theta_c))``; with other lines, lam and comparison
models, more.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from mtpfast.arrays.parts import RowParts

__all__ = ["look_nearest", "whitened"]


BEFORE = 0.1  # the first width of the smoothed kink
STEPS = 30  # of Newton's method for each width
SOME, ENOUGH = 1e-3, 1e-4  # of tau times the score, which is about what the flip costs: a step that brings less is
# the last of a width, and of all
AGAIN = 0.3  # a factor serves again where the last step left no more than this share of what was to be had
BROAD, LARGE = 0.3, 3000  # the width of the kink whose second derivative whitens, and what is not factored


def look_nearest(search, bundle, rows):
    """A line where the clean loss itself is least on the edge of the half-space, for the case that allows least."""
    if not len(rows) or isinstance(search.X, RowParts):
        return
    clean, binding = Nearest(search), np.argmin(bundle.m[rows], axis=1)
    models, tau = np.empty((len(rows), len(search.theta))), np.empty(len(rows))
    for j in np.unique(binding):
        here = np.flatnonzero(binding == j)
        soft = bundle.softened(rows[here], j)
        linear = -soft.k * search.R * search.theta  # M is 0 in the plain bound
        if soft.is_free:
            linear[:, -1] -= 2.0 * soft.k[:, -1] * soft.centre
        for i, *own in zip(here, soft.a, soft.k, linear, soft.mean, strict=True):
            models[i], tau[i] = clean.nearest(*own)
    bundle.add(rows, models)
    bundle.begin_plain(rows, tau)
    search.better(bundle, rows, binding)


def whitened(search):
    """A matrix W with ``W H W' = 1`` of a second derivative H of the clean objective, the hinge's kink smoothed.

    None where the rows come in parts, or H is too LARGE.
    """
    if isinstance(search.X, RowParts) or len(search.theta) > LARGE:
        return None
    clean = Nearest(search)
    _, bend = clean.slopes(clean.margins(search.theta), BROAD)
    Z = clean.scaled(np.flatnonzero(bend > 0.0), bend)
    H = (Z.T @ Z).astype(float)
    ridge = 2.0 * search.k * np.maximum(search.R, 1e-3) + 1e-6 * np.trace(H) / len(H)
    return solve_triangular(np.linalg.cholesky(H + np.diag(ridge)), np.eye(len(H)), lower=True)


class Nearest:
    """The clean data, ready for Newton's method."""

    def __init__(self, search):
        self.X, self.y, self.loss, self.one = search.narrow, search.y, search.objective.loss, search.objective.one
        self.widths = (0.0,) if self.loss.smooth else (BEFORE, search.width)
        weights = search.objective.weights(search.y, search.sample_weight)
        self.weights = np.ones(len(self.y)) if weights is None else weights
        self.theta, self.factor = search.theta, None

    @np.errstate(over="ignore", invalid="ignore")
    def nearest(self, a, k, linear, theta):
        """The least of ``L(theta) + k theta^2 + linear . theta`` on ``a . theta = 0``, from this model; and its tau."""
        length, score = max(float(a @ a), 1e-300), abs(float(a @ self.theta))
        theta = theta - a * (a @ theta) / length
        margin = self.margins(theta)
        for width in self.widths:
            before = np.inf
            for _ in range(STEPS):
                s, bend = self.slopes(margin, width)
                gradient = 2.0 * k * theta + linear - self._pull(s)
                if not np.isfinite(gradient).all():  # squared margins overflow: the clean victim's line again
                    return self.theta, 0.0
                step, tau = self._step(a, 2.0 * k, gradient, bend)
                gain = -float(gradient @ step)
                if not gain > (ENOUGH if width == self.widths[-1] else SOME) * abs(tau) * score:
                    break
                if gain > AGAIN * before:
                    self.factor = None
                before, along = gain, self.margins(step)
                far = self._length(margin, along, width, 2.0 * k * theta + linear, 2.0 * k, step)
                theta, margin = theta + far * step, margin + far * along
        s, _ = self.slopes(margin, self.widths[-1])
        return theta, max(0.0, -float(a @ (2.0 * k * theta + linear - self._pull(s))) / length)

    def margins(self, theta):
        return self.y * (self.X @ theta[:-1].astype(self.X.dtype) + self.one * theta[-1])

    def slopes(self, margin, width):
        """Slopes of rows, and how fast they fall."""
        if self.loss.smooth:
            return -self.loss.derivative(margin), self.loss.second_derivative(margin)
        s = np.clip((1.0 - margin) / width + 0.5, 0.0, 1.0)
        return s, np.where((s > 0.0) & (s < 1.0), 1.0 / width, 0.0)

    def scaled(self, rows, bend):
        """Some rows, scaled: the product of this matrix with itself is their second derivative."""
        X = self.X[rows].toarray() if sp.issparse(self.X) else self.X[rows]
        Z = np.column_stack([X, np.full(len(rows), self.one, dtype=X.dtype)])
        return Z * np.sqrt(self.weights[rows] * bend[rows])[:, None].astype(Z.dtype)

    def _pull(self, s):
        own = self.weights * s * self.y
        return np.append(own.astype(self.X.dtype) @ self.X, self.one * own.sum())

    def _step(self, a, ridge, gradient, bend):
        """Newton's, along the edge, and its multiplier; of a smooth loss with an older factor, while that does."""
        if self.factor is None or not self.loss.smooth:
            self.factor = self._factored(np.maximum(ridge, 1e-6 * ridge.max()), bend)
        back = self.factor(np.column_stack([gradient, a]))
        tau = -float(a @ back[:, 0]) / max(float(a @ back[:, 1]), 1e-300)
        return -back[:, 0] - tau * back[:, 1], tau

    def _factored(self, ridge, bend):
        """What multiplies by the inverse of the second derivative."""
        near, D = np.flatnonzero(bend > 0.0), len(ridge)
        Z = self.scaled(near, bend)
        if len(near) >= D:
            H = (Z.T @ Z).astype(float)
            H[np.arange(D), np.arange(D)] += ridge + 1e-6 * np.trace(H) / D
            factor = cho_factor(H)
            return lambda b: cho_solve(factor, b)
        over = Z / ridge
        factor = cho_factor(over @ Z.T + np.eye(len(near)))
        return lambda b: (b - Z.T @ cho_solve(factor, over @ b)) / ridge[:, None]

    def _length(self, margin, along, width, tilt, curve, step):
        """Where the derivative along a step is nearly 0: bisection of (0, 2) from 1."""
        flat, bent = float(tilt @ step), float(curve @ (step * step))

        def slope(t):
            s, _ = self.slopes(margin + t * along, width)
            return flat + bent * t - float(self.weights @ (s * along))

        begin, low, high, t = abs(slope(0.0)), 0.0, 2.0, 1.0
        for _ in range(10):
            at = slope(t)
            if abs(at) <= 0.3 * begin:
                break
            low, high = (t, high) if at < 0.0 else (low, t)
            t = 0.5 * (low + high)
        return t
