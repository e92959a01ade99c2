r"""The minimum where the hull is round, as that of documents with an l2 norm: ascent of the bound itself.

A linear program would need a plane for every direction of a ball. The bound, on the other hand,

.. math:: B(v) = \frac{-G \cdot v - \sum_i c_i \max(0, -y_i \tilde x_i \cdot v)}{\max_F v \cdot g},

is quasi-concave in the direction v, and its gradient is one maximisation over the hull away. Per label the maximum
over F of ``s(m) p`` (see :mod:`mtpfast.proofs.certificate`) is the least D with

.. math:: W(\sigma) := \max_x \; (P - \sigma A) \cdot x + p_0 - \sigma a_0 \; \le \; D \, h^*(\sigma / D)

for some slope ``sigma >= 0``, h* from the tangents of ``h = 1 / s``; the slopes are variables like v. What is not
smooth (the rows on the margin, the larger of the two labels, the tip of the norm) is smoothed, less and less. Any v
proves its bound, so none of this needs to be exact; at the maximum, the points where ``max_F v.g`` is attained are the
means of the poisoning.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from scipy.optimize import lsq_linear, minimize

from mtpfast.question import Setting

from .solution import Solution

__all__ = ["RoundProgram"]


SMOOTHING = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)


class RoundProgram:
    """As :class:`mtpfast.minimum.programs.hinge.HingeProgram`, for the hulls that are round."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.d = len(setting.theta) - 1
        clean = setting.clean
        self.signs = list(setting.regions)
        labels = clean.free_labels
        ones = np.full((len(labels), 1), setting.objective.one)
        self.rows = (-sp.diags(labels) @ sp.hstack([sp.csr_matrix(clean.free_rows), sp.csr_matrix(ones)])).tocsr()
        self.weights = clean.free_weights

    def solve(self) -> Solution | None:
        """The bound that was reached, and what attains it; None where it grows without end."""
        size = self.d + 1
        p = np.append(self._start(), np.full(len(self.signs), 1e-3))
        bounds = [(None, None)] * self.d + [(None, None) if self.setting.objective.fit_intercept else (0.0, 0.0)]
        bounds += [(0.0, None)] * len(self.signs)
        if not self.setting.objective.fit_intercept:
            p[self.d] = 0.0
        for smoothing in SMOOTHING:
            p /= max(float(np.max(np.abs(p[:size]))), 1e-300)
            options = {"maxiter": 1000, "maxfun": 1200, "maxcor": 30}
            p = minimize(self._cost, p, (smoothing,), "L-BFGS-B", jac=True, bounds=bounds, options=options).x
        self._best = p[:size]
        cost, _, parts = self._parts(p, SMOOTHING[-1])
        if not math.isfinite(cost):
            return None
        value = math.exp(-cost)
        counts, weights, means = np.zeros(3), np.zeros(2), [None, None]
        for share, sign, point in parts:
            y = 0 if sign > 0 else 1
            counts[y], means[y] = share * value, point
            margin = sign * (float(self.setting.theta[:-1] @ point) + self.setting.theta[-1])
            slope = -float(self.setting.objective.loss.derivative(np.array(margin)))
            weights[y] = counts[y] * self.setting.weights[y] * slope
        return Solution(value, self._best, counts, weights, tuple(means))

    def _start(self):
        """The direction against the shortest gradient that the clean rows can have: its numerator is positive."""
        gradient = self.setting.clean.gradient
        if not len(self.weights):
            return -gradient
        columns = (sp.diags(self.weights) @ self.rows).T
        return -(gradient + columns @ lsq_linear(columns, -gradient, (0.0, 1.0), lsmr_tol="auto").x)

    def farkas(self):
        """Directions that may prove infeasibility."""
        yield self._best

    def place(self, counts, elastic=False):
        """Nothing better than the means is known."""
        return None

    # -- the bound and its gradient -----------------------------------------------------------

    def _cost(self, p, smoothing):
        cost, gradient, _ = self._parts(p, smoothing)
        return (cost, gradient) if math.isfinite(cost) else (1e6, np.zeros(len(p)))

    def _parts(self, p, smoothing):
        """``log(max_F v.g) - log(numerator)``, its gradient, and (share, sign, point) of every label."""
        v, slopes = p[: self.d + 1], p[self.d + 1 :]
        clean = self.setting.clean
        numerator, on_numerator = -float(clean.gradient @ v), -clean.gradient
        if len(self.weights):
            push = (self.rows @ v) / smoothing
            numerator -= smoothing * float(self.weights @ np.logaddexp(0.0, push))
            on_numerator = on_numerator - self.rows.T @ (self.weights * _sigmoid(push))
        widths, gradients, points = [], [], []
        for k, sign in enumerate(self.signs):
            width, gradient, point = self._label(sign, v, slopes[k], smoothing)
            full = np.zeros(len(p))
            full[: self.d + 1], full[self.d + 1 + k] = gradient[:-1], gradient[-1]
            widths.append(width)
            gradients.append(full)
            points.append(point)
        widths = np.array(widths)
        high = float(np.max(widths))
        shares = np.exp((widths - high) / smoothing)
        denominator = high + smoothing * math.log(float(shares.sum()))
        shares /= shares.sum()
        if numerator <= 0.0 or denominator <= 0.0:
            return math.inf, None, ()
        gradient = np.tensordot(shares, gradients, 1) / denominator
        gradient[: self.d + 1] -= on_numerator / numerator
        return math.log(denominator) - math.log(numerator), gradient, list(zip(shares, self.signs, points, strict=True))

    def _label(self, sign, v, slope, smoothing):
        """The largest ``v.g`` of a label, as far as this slope tells; its gradient in (v, slope); the point."""
        region, theta = self.setting.region(sign), self.setting.theta
        one = self.setting.objective.one
        support, x = region.smooth_maximum(-sign * (v[:-1] + slope * theta[:-1]), smoothing)
        support -= sign * (one * v[-1] + slope * theta[-1])
        width, on_support, on_slope = self._width(support, slope)
        gradient = np.empty(self.d + 2)
        gradient[:-2], gradient[-2] = -sign * on_support * x, -sign * one * on_support
        gradient[-1] = on_slope - on_support * sign * (float(theta[:-1] @ x) + theta[-1])
        # with what the label weighs, and what the point adds to the penalty
        weight, pull = self.setting.objective.weight_of(sign), self.setting.pulls[:, 0 if sign > 0 else 1]
        gradient *= weight
        gradient[:-1] += pull
        return weight * width + float(pull @ v), gradient, x

    def _width(self, support, slope):
        """D for a support W and a slope sigma, and its derivatives by both.

        ``W <= D h*(sigma / D)`` says ``W + sigma m <= D h(m)`` for every m: the least D is the largest
        ``s(m) (W + sigma m)``, and that varies with W and sigma as if m did not.
        """
        loss, slope = self.setting.objective.loss, max(slope, 1e-12)
        margin = loss.best_margin(support, slope)
        s = loss.pull(margin)
        return s * (support + slope * margin), s, s * margin


def _sigmoid(m):
    return 0.5 * (1.0 + np.tanh(0.5 * m))
