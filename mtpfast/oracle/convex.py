"""The point of largest loss difference in a convex region, from linear maximisations over it.

The image of the region under ``x -> (u, v)`` is convex, and every point of it is the image of a point of the region: on
a chord between the images of two points lie the images of their mixtures. So the outline between supporting lines
(``outline.py``) gives both: the best place on a chord is attained, the best place below the lines is an upper bound.
On an arc the gap falls fourfold with every line that is asked for next to the maximum.
"""

from __future__ import annotations

import math

import numpy as np

from .difference import LossDifference, above, rounding_of, weight_of
from .documents import _Problem
from .outline import Outline, Support

__all__ = ["ConvexOutline", "Image", "largest_in", "over_convex"]


def over_convex(theta, theta_target, space, regions, loss, max_nodes, effort, rest, weights):
    """The maximum over the regions of both labels; ``max_nodes``, ``effort`` and ``rest`` are for other searches."""
    best, bound = None, -np.inf
    for y, region in regions.items():
        weight = weight_of(weights, y)
        known = -np.inf if best is None else best.value / weight
        x, value, label_bound = largest_in(theta, theta_target, region, y, loss, known)
        value *= weight
        bound = max(bound, above(label_bound, weight))
        # what rounding makes of equal values is far below this
        if best is None or value > best.value + 1e-12 * (1.0 + abs(best.value)):
            best = LossDifference(x, y, value, np.nan)
    return best._replace(upper_bound=max(bound, best.value))


def largest_in(theta, theta_target, region, y, loss, known):
    """``(x, value, bound)`` of one convex region."""
    problem = Image(theta, theta_target, region, y, loss)
    outline = ConvexOutline(problem, known)
    found = []
    for cell in outline.cells:
        inner, share = problem.edge(cell.left.point, cell.right.point)
        found.append((inner, -len(found), share, cell))
    _, _, share, cell = max(found)
    x = region.into((1.0 - share) * cell.left.at + share * cell.right.at)
    u, v = (y * (float(t[:-1] @ x) + t[-1]) for t in (theta, theta_target))
    value = problem.difference(u, v)
    size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
    return x, value, max(outline.upper, value) + 2.0 * rounding_of(theta, theta_target, size, loss, value)


class Image(_Problem):
    """Scores, their difference, and its maximum along a segment, for one label."""

    def __init__(self, theta, theta_target, region, y, loss):
        self.region, self.loss = region, loss
        self.q_u, self.q_v = y * theta[:-1], y * theta_target[:-1]
        self.a0, self.p0 = y * theta[-1], y * theta_target[-1]
        self.phi = loss.at


class ConvexOutline(Outline):
    """The outline of the image of a convex region."""

    def _touching(self, gains):
        return self.problem.region.linear_argmax(gains)

    def _support(self, alpha, beta):
        """A supporting line, and a point of the region on it, or so near that rounding alone is between."""
        self.calls += 1
        problem, region = self.problem, self.problem.region
        at = self._touching(beta * problem.q_v - alpha * problem.q_u)
        u, v = float(problem.q_u @ at) + problem.a0, float(problem.q_v @ at) + problem.p0
        height, error = region.linear_maximum(
            beta * problem.q_v - alpha * problem.q_u,
            beta * problem.p0 - alpha * problem.a0,
            abs(beta) * np.abs(problem.q_v) + abs(alpha) * np.abs(problem.q_u),
            abs(beta * problem.p0) + abs(alpha * problem.a0),
        )
        beyond = max(0.0, height + error - (beta * v - alpha * u))
        length = math.hypot(alpha, beta)
        point = u - alpha * beyond / length**2, v + beta * beyond / length**2
        return Support(alpha, beta, height + error, point, problem.difference(u, v), at, at)
