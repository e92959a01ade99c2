"""The record of large loss difference inside a ball and slabs, and a bound for all of them.

Supporting lines from the Lagrangian of the region (``spaces/cut.py``) bound the image of the records under (u, v) and
so the loss difference: **proved**. Of the records met on the way those of the largest loss difference are changed, one
level or some steps at a time, while they pass and gain; at last their continuous features, among themselves a convex
region, are set to the best of it: **found**. Between the two is what a knapsack leaves open.
"""

from __future__ import annotations

import numpy as np

from .convex import ConvexOutline, Image, largest_in
from .difference import LossDifference, above, rounding_of, weight_of

__all__ = ["over_cut"]


TRIED = 3  # records from which single changes start


def over_cut(theta, theta_target, space, regions, loss, max_nodes, effort, rest, weights):
    """The maximum over the regions of both labels; ``max_nodes`` and ``rest`` are for other searches."""
    best, bound = None, -np.inf
    for y, region in regions.items():
        weight = weight_of(weights, y)
        known = -np.inf if best is None else best.value / weight
        x, value, label_bound = _find(theta, theta_target, region, y, loss, known, effort * TRIED)
        value *= weight
        bound = max(bound, above(label_bound, weight))
        # what rounding makes of equal values is far below this
        if best is None or value > best.value + 1e-12 * (1.0 + abs(best.value)):
            best = LossDifference(x, y, value, np.nan)
    return best._replace(upper_bound=max(bound, best.value))


def _find(theta, theta_target, region, y, loss, known, tried):
    problem = Image(theta, theta_target, region, y, loss)
    outline = _CutOutline(problem, known)
    records = np.unique(np.concatenate(outline.met), axis=0)

    def scores(x):
        return x @ problem.q_u + problem.a0, x @ problem.q_v + problem.p0

    def gain(x, moves):
        u, v = scores(x)
        after = u + moves.change(problem.q_u), v + moves.change(problem.q_v)
        return problem.differences(*after) - problem.difference(u, v)

    values, best = problem.differences(*scores(records)), None
    for i in np.argsort(-values, kind="stable")[:tried]:
        x = region.climb(records[i], gain)
        x = region.polished(
            x,
            lambda part: largest_in(theta, theta_target, part, y, loss, known)[0],
            lambda x: problem.difference(*scores(x)),
        )
        value = problem.difference(*scores(x))
        if best is None or value > best[1] + 1e-12 * (1.0 + abs(best[1])):
            best = x, value
    x, value = best
    size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
    return x, value, max(outline.upper, value) + 2.0 * rounding_of(theta, theta_target, size, loss, value)


class _CutOutline(ConvexOutline):
    """The outline of the image of mixtures of records; ``met``: records inside that were seen."""

    def __init__(self, problem, known):
        self.met = []
        super().__init__(problem, known)

    def _touching(self, gains):
        region = self.problem.region
        at = region.relaxed(gains)
        self.met.append(region.met(gains))
        return at
