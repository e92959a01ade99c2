"""The largest loss difference, by other methods than the oracle's."""

from __future__ import annotations

import math

import numpy as np

from .convex_maximum import largest_in_convex
from .cut_maximum import largest_in_cut
from .document_maximum import largest_of_counts, largest_of_documents
from .layers import largest_in_mixed

__all__ = ["attained_and_proved", "max_loss_difference"]


def max_loss_difference(theta, theta_target, feasible_set, loss, classes, weights=None) -> float:
    """The largest loss difference over the feasible set.

    ``max phi(y theta . x~) - phi(y theta_target . x~)``, written apart from ``oracle/`` and in plain NumPy: a scan of
    a pool, the dual of the linear program for the hinge loss on a box, layers of partial choices for other losses and
    spaces. ``weights``: what the two labels weigh.
    """
    return attained_and_proved(theta, theta_target, feasible_set.bind(classes=classes), loss, weights)[0]


def attained_and_proved(theta, theta_target, space, loss, weights=None):
    """The largest loss difference found at a point, and a bound of all: equal but for the solver's tolerance."""
    if np.array_equal(theta, theta_target):  # of one model, as of a search for damage: 0 at every point
        return 0.0, 0.0
    weigh = dict(zip((-1.0, 1.0), weights or (1.0, 1.0), strict=True))
    if space.is_finite:
        best, labels = -math.inf, space.signs()
        for sign in (-1.0, 1.0):
            allowed = slice(None) if labels is None else labels == sign
            u = sign * (space.X @ theta[:-1] + theta[-1])[allowed]
            v = sign * (space.X @ theta_target[:-1] + theta_target[-1])[allowed]
            best = max(best, weigh[sign] * float(np.max(loss.value(u) - loss.value(v), initial=-math.inf)))
        return best, best
    found = [
        [weigh[sign] * value for value in _largest_in(region, sign * theta, sign * theta_target, loss)]
        for sign, region in space.regions(theta.size - 1).items()
    ]
    return max(attained for attained, _ in found), max(proved for _, proved in found)


def _largest_in(region, a, p, loss):
    if getattr(region, "norm", None) is not None:
        return largest_of_documents(region, a, p, loss)
    if region.kind == "documents":
        return largest_of_counts(region, a, p, loss)
    if region.kind == "convex":
        return largest_in_convex(region, a, p, loss)
    if region.kind == "cut":
        return largest_in_cut(region, a, p, loss)
    if region.kind == "tied":  # a linear image of a region of groups
        a, p = (np.append(region.lift(model[:-1]), model[-1]) for model in (a, p))
        return largest_in_mixed(region.flat, a, p, loss)
    if region.is_box and loss.kinked:
        best = _hinge_on_box(a, p, region.lower, region.upper)
        return best, best
    return largest_in_mixed(region, a, p, loss)


def _hinge_on_box(a, p, lower, upper):
    """``max [1 - u]_+ - [1 - v]_+`` with ``u = a . x~``, ``v = p . x~`` over the box.

    ``(1 - u) - [1 - v]_+ = min(1 - u, v - u)`` is concave, so by the minimax theorem its maximum is
    ``min over 0 <= t <= 1 of (1 - t) + max_x (t p - a) . x~``: a convex function of one variable,
    piecewise linear with breakpoints ``a_j / p_j``. Where ``[1 - u]_+ = 0`` the best is
    ``-[1 - max v]_+``.
    """
    w, q = a[:-1], p[:-1]

    def dual(t):
        """Value, and slope to the right."""
        pull = t * q - w
        rises = (pull > 0) | ((pull == 0) & (q > 0))
        x = np.where(rises, upper, lower)
        return (1.0 - t) + t * p[-1] - a[-1] + float(pull @ x), p[-1] - 1.0 + float(q @ x)

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = w / q
    knots = np.unique(np.concatenate([[0.0, 1.0], ratio[(ratio > 0) & (ratio < 1)]]))
    first, last = 0, len(knots) - 1  # the minimum is at the first knot where the slope turns
    while first < last:
        middle = (first + last) // 2
        if dual(knots[middle])[1] >= 0:
            last = middle
        else:
            first = middle + 1
    concave = min(dual(t)[0] for t in knots[max(0, first - 1) : first + 2])
    v_max = p[-1] + float(np.sum(np.maximum(q * lower, q * upper)))
    return max(concave, -max(0.0, 1.0 - v_max))
