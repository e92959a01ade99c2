"""The fewest points for exactly the target, and for the cheapest multiple of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mtpfast.question import Problem, moved_to

from .found import BEYOND, Found, unattainable
from .plan import minimum_over_pool, place_at_the_edge, place_whole, program_for, program_of

__all__ = ["cheapest_scale", "exact_minimum"]


def exact_minimum(problem: Problem, integer=True) -> Found:
    """The fewest points for the target itself."""
    found = minimum_over_pool(problem, integer)
    if found is None:
        found = _exact_space(problem, integer)
        found = replace(found, points=problem.canonical(found.points))
    if found.n_points <= BEYOND:
        return found
    message = f"the target takes {found.n_points:.3g} points, too many to list"
    return replace(found, points=[], labels=[], counts=[], exact=False, residual=None, message=message)


def _exact_space(problem: Problem, integer) -> Found:
    program = program_for(problem.setting)
    solution = program.solve()
    if solution is None:
        found = unattainable(problem, program.farkas())
        return place_at_the_edge(problem, program, found) if integer else found
    found = Found(certificate=problem.prove(solution.direction), value=solution.value)
    if solution.value <= 1e-9 * max(1.0, problem.clean.weight):
        return replace(found, exact=True, message="the clean data alone induce the target")
    return place_whole(problem, program, found, solution, integer)


def _cost(problem: Problem) -> float:
    """The fractional minimum; inf where the target is not attainable."""
    solution = program_of(problem).solve()
    return math.inf if solution is None else solution.value


def cheapest_scale(problem: Problem):
    """The problem for the cheapest ``c * target`` found, and the curve ``(c, cost)``.

    A grid of c from 1/8 to 8, then two refinements around the best: the cost is not convex in c (for the hinge
    it jumps down where rows lie on the margin, as they do at c = 1 for a trained target), so this is a search.
    """
    seen = {1.0: _cost(problem)}

    def look(scales):
        for c in scales:
            if float(c) not in seen:
                seen[float(c)] = _cost(moved_to(problem, float(c) * problem.theta))

    look(np.geomspace(0.125, 8.0, 25))
    width = 8.0 ** (1.0 / 12.0)
    for _ in range(2):
        best = min(seen, key=seen.get)
        look(best * np.geomspace(1.0 / width, width, 9))
        width **= 0.25
    best = min(seen, key=seen.get)
    scales = np.array(sorted(seen))
    curve = {"scale": scales, "cost": np.array([seen[c] for c in scales])}
    return problem if best == 1.0 else moved_to(problem, best * problem.theta), curve
