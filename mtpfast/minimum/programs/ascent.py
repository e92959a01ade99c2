r"""A direction whose bound for a ball is nearly the largest, where the program of the ball is large (hinge on boxes).

The bound that a direction v proves is a quotient (:mod:`mtpfast.proofs.certificate`), over the free clean rows
``z_i = y_i x~_i`` and the corners of a box:

.. math:: \frac{-G \cdot v - \sum_i c_i \max(0, -z_i \cdot v) - k\,\mathrm{tol}\,|R v|}
               {\max_y \min_{\lambda \ge 0}\; w_y \max_x [-y v \cdot \tilde x + \lambda_y (1 - m_y(x))]
                + a_y (R v \cdot \theta + \mathrm{tol}\,|R v|)}

with ``m_y(x)`` a linear function below the margins that a point can have in the ball. It is quasi-concave. Each
``max(0, a)`` becomes ``(a + sqrt(a^2 + mu^2)) / 2``, the maximum over the labels the logarithm of a sum of
exponentials, and L-BFGS climbs for falling mu. A pass over the free rows costs O(entries); the program of
:mod:`mtpfast.minimum.programs.ball` has a column for each of them. When mu is small, the rows far from 0 are linear,
and stay so as long as none of them is found on the other side. What a direction proves is for the certificate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

from mtpfast.question import Setting

__all__ = ["BallAscent", "fewest_entries"]


#: (mu in units of the mean size of what it smoothes, evaluations, and in the same units from where on a row is held to
#: stay on its side of 0)
SMOOTH = (1.0, 60, None), (0.3, 60, None), (0.1, 60, None), (0.03, 400, 0.6), (0.01, 400, 0.25), (0.003, 400, 0.12)
AGAIN = 2  # so often where rows did not stay
OPTIONS = {"maxiter": 300, "maxcor": 30, "ftol": 1e-7, "gtol": 1e-12}
DENSE = 0.3  # share of entries above which rows are held dense
LABELS = 0.02  # of the denominator: the smoothing of its maximum over the labels, at mu = 1


class _Part(NamedTuple):
    """Free rows ``z_i``, also as columns, their weights, and the gradient of all other rows."""

    rows: object
    columns: object
    weights: np.ndarray
    gradient: np.ndarray


class BallAscent:
    """The quotient for a ball of radius ``tol``, of a setting whose clean rows are seen from the ball."""

    def __init__(self, setting: Setting, tol: float):
        clean, objective, theta = setting.clean, setting.objective, setting.theta
        self.tol, self.theta, self.one, self.clean = tol, theta, objective.one, clean
        self.ridge = objective.R(len(theta) - 1)
        rows = sp.hstack([sp.csr_matrix(clean.free_rows), np.full((len(clean.free_labels), 1), float(self.one))])
        self.rows = fewest_entries(sp.diags(clean.free_labels) @ rows)
        self.columns = self.rows.T.tocsr() if sp.issparse(self.rows) else self.rows.T
        self.labels = []
        for sign, region in setting.regions.items():
            # |x~|^2 <= q(x), linear on the box; |x~| is below the tangent of its root at a size that rows have
            slope, level = region.lower + region.upper, self.one - float(region.lower @ region.upper)
            size = max(1e-12, 0.5 * (region.linear_maximum(slope, level)[0] - region.linear_maximum(-slope, -level)[0]))
            c = 0.5 * tol / math.sqrt(size)
            margin = np.append(sign * theta[:-1] - c * slope, sign * theta[-1] - c * (size + level))
            self.labels.append((sign, region.lower, region.upper - region.lower, margin))
        self.weights = np.array([objective.weight_of(sign) for sign in setting.regions])
        self.loads = np.append([objective.k_of_point(sign) for sign in setting.regions], setting.a)

    def direction(self, start) -> np.ndarray:
        """The direction at the end of the ascent from another one, or from the first for which the quotient is one."""
        d, sizes = len(self.theta), (1e-9, 1e-9, 1e-9)
        for v in (start, -self.theta, -self.clean.gradient):
            x = np.append(v, np.zeros(len(self.labels)))
            if np.any(v) and math.isfinite(self._quotient(x / np.max(np.abs(v)), *sizes)[0]):
                break
        else:
            return np.asarray(start, dtype=float)
        intercept = (None, None) if self.one else (0.0, 0.0)
        bounds = [(None, None)] * (d - 1) + [intercept] + [(0.0, None)] * len(self.labels)
        for mu, most, far in SMOOTH:
            x = x / np.max(np.abs(x[:d]))
            slopes = self.rows @ x[:d]
            mean, options = np.mean(np.abs(slopes)), OPTIONS | {"maxfun": most}
            sizes = mu * mean, mu * np.mean(np.abs(x[:d])), mu * LABELS
            for _ in range(1 + AGAIN):
                part = self._whole if far is None else self._part(slopes, far * mean)
                x = minimize(self._quotient, x, (*sizes, part), "L-BFGS-B", jac=True, bounds=bounds, options=options).x
                if far is None:
                    break
                before, slopes = slopes, self.rows @ x[:d]
                if not np.any((np.abs(before) > far * mean) & (before * slopes < 0.0)):
                    break
        return x[:d]

    @property
    def _whole(self):
        return _Part(self.rows, self.columns, self.clean.free_weights, self.clean.gradient)

    def _part(self, slopes, far):
        """The rows within ``far`` of 0; beyond it ``max(0, a)`` is 0 or a."""
        near, weights = np.flatnonzero(np.abs(slopes) <= far), self.clean.free_weights
        rows = self.rows[near]
        columns = rows.T.tocsr() if sp.issparse(rows) else rows.T
        turned = self.columns @ np.where(slopes < -far, weights, 0.0)
        return _Part(rows, columns, weights[near], self.clean.gradient - turned)

    def _quotient(self, x, of_rows, of_corners, of_labels, part=None):
        """Minus the smoothed quotient, and its gradient."""
        part, d = part or self._whole, len(self.theta)
        v, lam, clean = x[:d], x[d:], self.clean
        length, Rv = float(np.linalg.norm(self.ridge * v)), self.ridge * v
        turn = self.ridge * Rv / length if length > 0.0 else np.zeros(d)
        loss, pull = _smoothed(-(part.rows @ v), of_rows)
        above = -float(part.gradient @ v) - float(part.weights @ loss) - clean.k * self.tol * length
        above_slope = part.columns @ (part.weights * pull) - part.gradient - clean.k * self.tol * turn
        load, load_slope = float(Rv @ self.theta) + self.tol * length, self.ridge * self.theta + self.tol * turn
        parts, slopes = [], []
        for y, (sign, lower, width, margin) in enumerate(self.labels):
            push = -sign * v - lam[y] * margin
            corner, share = _smoothed(push[:-1] * width, of_corners)
            at = np.append(lower + share * width, self.one)  # the corner, or between corners
            value = corner.sum() + float(push[:-1] @ lower) - sign * self.one * v[-1] + lam[y] * (1.0 - margin[-1])
            parts.append(self.weights[y] * value + self.loads[y] * load)
            slope = np.zeros(len(x))
            slope[:d] = -sign * self.weights[y] * at + self.loads[y] * load_slope
            slope[d + y] = self.weights[y] * (1.0 - margin[-1] - float(margin[:-1] @ at[:-1]))
            slopes.append(slope)
        parts.append(self.loads[-1] * load)  # a point of zero loss
        slopes.append(np.append(self.loads[-1] * load_slope, np.zeros(len(lam))))
        most, parts = max(parts), np.array(parts)
        unit = of_labels * max(abs(most), 1e-300)
        share = np.exp((parts - most) / unit)
        below = most + unit * math.log(share.sum())
        if not below > 0.0:
            return math.inf, np.zeros_like(x)
        below_slope = (share / share.sum()) @ np.array(slopes)
        return -above / below, (above / below * below_slope - np.append(above_slope, np.zeros(len(lam)))) / below


def fewest_entries(X):
    """The same rows, dense or CSR, as products with them take less."""
    n_nonzero = X.nnz if sp.issparse(X) else np.count_nonzero(X)
    if n_nonzero <= DENSE * X.shape[0] * X.shape[1]:
        return sp.csr_matrix(X)
    return X.toarray() if sp.issparse(X) else X


def _smoothed(a, mu):
    """A convex function a little above ``max(0, a)``, and its slope."""
    root = np.sqrt(a * a + mu * mu)
    return 0.5 * (a + root), 0.5 * (1.0 + a / root)
