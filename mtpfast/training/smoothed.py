"""A model near the minimiser of the hinge objective, by Newton's method on the hinge with its kink smoothed."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

__all__ = ["cost_of_step", "near_minimiser"]


#: The half-width of the kink: at first so many of the rows are in it, then so much of it remains from round to round,
#: until the rows in it are as many as can lie on a margin, and half as many again; or so many steps were made.
BEGIN, SHRINK, ENOUGH = 0.2, 0.4, 1.5
STEPS = 40
#: Rows are tied on the margin where a round leaves more than this share of them in the kink.
TIED = 0.9
#: A round ends where a step promises less than this share of what the smoothing is worth.
SMALL = 0.03


class Rows(NamedTuple):
    """Rows with their labels and weights."""

    X: object
    y: np.ndarray
    weight: np.ndarray


def cost_of_step(n: int, d: int) -> int:
    """What a step of :func:`near_minimiser` costs, in margins of single rows: two reads and a factor."""
    return 2 * n + 4 * d * d


def near_minimiser(rows: list[Rows], ridge, intercept: float, theta):
    r"""Nearly the least of ``theta' diag(ridge) theta / 2 + sum_i c_i max(0, 1 - m_i)``, from a model theta.

    ``m_i = y_i (w . x_i + intercept b)`` are the margins. The kink at ``m = 1`` is smoothed over ``|m - 1| <= h`` (the
    loss there is ``(1 + h - m)^2 / 4h``), and Newton's method with a line search finds the least, for one h after
    another. Nothing is proved of what comes out: it is where an exact method starts from.

    ``ridge`` of shape (d + 1,). O(n d + d^3) a step, 20 to 40 steps.
    """
    d = len(theta) - 1
    y, c = (np.concatenate([getattr(part, name) for part in rows]) for name in ("y", "weight"))
    starts = np.cumsum([0, *(len(part.y) for part in rows)])

    def scores(theta):
        return y * (np.concatenate([part.X @ theta[:-1] for part in rows]) + intercept * theta[-1])

    def pull(s):
        own = c * s * y
        parts = [own[i:j] @ part.X for part, i, j in zip(rows, starts[:-1], starts[1:], strict=True)]
        return np.append(np.sum(parts, axis=0), intercept * own.sum())

    def bent(inside):
        """The rows in the kink."""
        found = []
        for part, i, j in zip(rows, starts[:-1], starts[1:], strict=True):
            X = part.X[np.flatnonzero(inside[i:j])]
            found.append(X.toarray() if sp.issparse(X) else X)
        Z = np.vstack(found)
        return np.column_stack([Z, np.full(len(Z), intercept)])

    def slopes(margin, h):
        return np.clip((1.0 + h - margin) / (2.0 * h), 0.0, 1.0)

    margin, before = scores(theta), np.inf
    if c @ np.maximum(0.0, 1.0 - margin) + 0.5 * float(ridge @ theta**2) > c.sum():  # that of the model of zero
        theta, margin = np.zeros(d + 1), np.zeros(len(y))
    h = max(1.5 * float(np.quantile(np.abs(margin - 1.0), BEGIN)), 1e-9)
    for _ in range(STEPS):
        s = slopes(margin, h)
        inside = (s > 0.0) & (s < 1.0) & (c > 0.0)
        gradient = ridge * theta - pull(s)
        step = _newton(bent(inside), c[inside] / (2.0 * h), ridge, gradient)
        along, slope = scores(step), float(gradient @ step)
        if not slope < 0.0:
            break
        flat, curve = float(ridge * theta @ step), float(ridge * step @ step)
        pulled = partial(lambda m, r, h, t: slopes(m + t * r, h) @ (c * r), margin, along, h)
        t = _length(pulled, flat, curve, slope)
        theta, margin = theta + t * step, margin + t * along
        if -slope > SMALL * h * float(c[inside].sum()):
            continue
        left = np.count_nonzero(inside)
        if left <= ENOUGH * (d + 1) or left > TIED * before:
            break
        before, h = left, SHRINK * h
    return theta


def _newton(Z, curve, ridge, gradient):
    """``-H^-1 gradient``, H of unit diagonal first: features may be of very different scales."""
    H = (Z * curve[:, None]).T @ Z
    H[np.diag_indices_from(H)] += ridge
    unit = np.sqrt(np.diagonal(H))
    unit = 1.0 / np.where(unit > 0.0, unit, 1.0)
    H *= unit * unit[:, None]
    H[np.diag_indices_from(H)] += 1e-12
    return -unit * scipy.linalg.solve(H, unit * gradient, assume_a="pos")


def _length(pulled, flat, bent, slope):
    """Where the derivative along a step, ``flat + t bent - pulled(t)``, is nearly 0; 1 where it is near."""
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(30):
        at = flat + t * bent - pulled(t)
        if abs(at) <= 0.1 * abs(slope):
            break
        low, high = (t, high) if at < 0.0 else (low, t)
        t = 2.0 * t if high == np.inf else 0.5 * (low + high)
    return t
