"""The largest loss difference found: where, how much, and at most how much."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtpfast.arrays.rounding import EPS

__all__ = ["LossDifference", "above", "better", "rounding_of", "weight_of"]


class LossDifference(NamedTuple):
    """The point of largest loss difference.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
    y : float
        The label, -1. or +1.
    value : float
        The loss difference at (x, y).
    upper_bound : float
        Proved: no feasible point exceeds it. It is ``value`` plus what rounding (and, for smooth
        losses and mixed spaces, the last 1e-10 of the search) may hide; more only where the branch
        and bound ran out of nodes, or documents with a norm are too many to look at each.
    nodes : int
        What the branch and bound took: 0 on a box or a pool, and where the relaxation decided.
    """

    x: np.ndarray
    y: float
    value: float
    upper_bound: float
    nodes: int = 0


def weight_of(weights, label):
    """What a label weighs: ``weights`` holds those of -1 and +1."""
    return 1.0 if weights is None else weights[1 if label > 0 else 0]


def above(bound, weight):
    """``weight * bound`` rounded up."""
    return bound if weight == 1.0 else float(np.nextafter(weight * bound, np.inf))


def better(value, known, theta, theta_target, region, loss, weight=1.0) -> bool:
    """Whether a value is larger than the one known by more than rounding may make of equal ones."""
    if not 0.0 < value - known <= 1e-6 * (1.0 + abs(known)):
        return value > known
    size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
    return value - known > max(1.0, weight) * rounding_of(theta, theta_target, size, loss, value) + 1e-14


def rounding_of(theta, theta_target, size, loss, value):
    """What rounding may hide: two scores of d + 1 products, each at most ``|theta| . size`` large."""
    error = (2 * theta.size + 6) * EPS
    total = 0.0
    for t in (theta, theta_target):
        score = float(np.abs(t) @ size)
        steepest = -float(loss.derivative(-score)) if not np.isfinite(loss.lipschitz) else loss.lipschitz
        total += steepest * error * score
    return total + 8 * EPS * abs(value)
