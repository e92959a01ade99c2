"""Which program and which way to whole points belong to what a region offers: the one table.

A program is chosen by what describes the hull (see :class:`mtpfast.spaces.base.Region`) and by the loss; the way from
its solution to whole points by whether every point of the hull may be used.

=====================  =========================================  ======================================
set                    fractional minimum                         whole points
=====================  =========================================  ======================================
candidates             ``programs.pool``                          ``whole.pool``
boxes                  hinge: ``programs.hinge``, and beyond      ``whole.box_counts``: every point of a
                       `WIDE` features ``programs.wide``; smooth  box may be used
                       losses: ``programs.smooth``
groups, planes         hinge: ``programs.hinge``; smooth losses:  ``whole.dealt``: whole records or
                       ``programs.hull``                          documents with these sums
slabs, a ball          as for planes, by ``programs.cone``        hinge without a ball: as for boxes; else
                       where there is a ball                      ``whole.convex``
part of a ball         ``programs.round``                         ``whole.dealt``
(documents with l2)
tables of rows         as for groups, on the range of every       none for the target itself; Algorithm 1
                       column: a bound                            within a tolerance
records in a ball or   as for groups and a ball: a bound          the same
slabs
=====================  =========================================  ======================================
"""

from __future__ import annotations

from dataclasses import replace

from mtpfast.question import Problem, Setting

from .found import Found
from .programs.hinge import HingeProgram
from .programs.hull import SmoothHullProgram
from .programs.narrow import NarrowHingeProgram
from .programs.round import RoundProgram
from .programs.smooth import SmoothProgram
from .programs.solution import Solution
from .programs.wide import WIDE, WideHingeProgram
from .whole.box_counts import at_the_edge, fractional_points, whole_hinge, whole_smooth
from .whole.convex import whole_convex_hinge, whole_convex_smooth
from .whole.dealt import deal_documents, records_hinge, records_smooth
from .whole.pool import exact_pool, pool_program

__all__ = [
    "has_ball_program",
    "is_one_by_one",
    "is_rounded",
    "minimum_over_pool",
    "place_at_the_edge",
    "place_whole",
    "price_program",
    "program_for",
    "program_of",
]


ONE_BY_ONE = {
    "tied": "records that take rows of a table are looked for one by one, within a tolerance only: give tol",
    "cut": "records inside a ball or slabs are looked for one by one, within a tolerance only: give tol",
}  # by the kind of a region


def _offers(setting: Setting, name) -> bool:
    """Whether some region has any of ``groups``, ``planes``, ``balls``, or is ``is_round``."""
    return any(getattr(region, name) for region in setting.regions.values())


def program_of(problem: Problem):
    """The program of the fractional minimum."""
    return pool_program(problem) if problem.feasible_set.is_finite else program_for(problem.setting)


def program_for(setting: Setting):
    """The program over the hulls of regions."""
    if _offers(setting, "is_round"):
        return RoundProgram(setting)
    tied = any(_offers(setting, name) for name in ("groups", "planes", "balls"))
    if not setting.objective.loss.kinked:
        return (SmoothHullProgram if tied else SmoothProgram)(setting)
    return HingeProgram(setting) if tied or len(setting.theta) <= WIDE else WideHingeProgram(setting)


def price_program(setting: Setting):
    """A program of the fractional minimum whose solution need not say where the points lie."""
    if setting.is_box and setting.objective.loss.kinked and not len(setting.clean.free_labels):
        return NarrowHingeProgram(setting)
    return program_for(setting)


def minimum_over_pool(problem: Problem, integer) -> Found | None:
    """The fewest candidates; None where the set is no list of candidates."""
    return exact_pool(problem, integer) if problem.feasible_set.is_finite else None


def place_whole(problem: Problem, program, found: Found, solution: Solution, integer) -> Found:
    """``found`` with whole points near a solution of the program over regions."""
    setting, hinge = program.setting, program.setting.objective.loss.kinked
    if not setting.is_convex:
        least = max(1, round(found.value)) if not integer else max(1, found.certificate.n_poison)
        for region in setting.regions.values():
            if region.kind in ONE_BY_ONE:
                return replace(found, message=f"{least:,} records at least; {ONE_BY_ONE[region.kind]}")
        if all(region.kind == "documents" for region in setting.regions.values()):
            return deal_documents(program, found, solution, least)
        if hinge:
            return records_hinge(problem, program, found, solution, least, integer)
        return records_smooth(problem, program, found, solution, least)
    if not integer:
        return fractional_points(problem, program, found, solution)
    if hinge:
        way = whole_convex_hinge if _offers(setting, "balls") else whole_hinge
    else:
        way = whole_smooth if setting.is_box else whole_convex_smooth
    return way(problem, program, found, solution)


def place_at_the_edge(problem: Problem, program, found: Found) -> Found:
    """``found`` with whole points for a target that is beyond what programs solve, by rounding, if there are any."""
    if program.setting.is_box and not program.setting.objective.loss.kinked:
        return at_the_edge(problem, program, found)
    return found


def is_one_by_one(setting: Setting) -> bool:
    """Whether no program places whole points: Algorithm 1 looks for them, within a tolerance."""
    return any(region.kind in ONE_BY_ONE for region in setting.regions.values())


def is_rounded(problem: Problem, found: Found) -> bool:
    """Whether whole points come from rounding, so that they hit the target nearly only."""
    return problem.of_records or (problem.feasible_set.is_finite and not found.exact)


def has_ball_program(problem: Problem) -> bool:
    """Whether the relaxed program for a ball of models (``programs.ball``) is there for the set and the loss."""
    if problem.feasible_set.is_finite or not problem.objective.loss.kinked:
        return False
    return all(region.kind in ("box", "records") for region in problem.setting.regions.values())
