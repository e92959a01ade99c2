"""Whole records and documents dealt out from the fractional minimum over their hull."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rows import merge
from mtpfast.minimum.found import with_points
from mtpfast.minimum.programs.highs import SOLVED
from mtpfast.minimum.programs.hinge import HingeProgram
from mtpfast.proofs.bounds import whole

from . import documents, record_sums, record_tune, records
from .box import pair
from .box_counts import supplied
from .counts import round_counts

__all__ = ["deal_documents", "records_hinge", "records_smooth"]


NO_RECORDS = "the solver found no whole records"
FEW_ROWS = 12  # stationarity rows that whole records have to meet by themselves, for a search that hits them exactly


def records_hinge(problem, program, found, solution, least, integer):
    """Whole valid records for the hinge: the sums of a solution over the hull, rounded and dealt out.

    Where a label's records cannot all have zero or positive loss, the mean of their margins is lowered and the program
    solved again, at the price of more points.
    """
    setting = problem.setting
    best = None
    for _ in range(4):
        found_sums = _rounded(setting, program, solution.counts, least, integer)
        if found_sums is None:
            break
        counts, sums, t, room = found_sums
        rows = [
            records.deal(setting, sign, z, n, 1.0 - 1e-3 * max(room, 1e-6))
            for sign, z, n in zip((1.0, -1.0), sums, counts, strict=False)
        ]
        over = [
            float(np.max(sign * (X @ setting.theta[:-1] + setting.theta[-1]), initial=-np.inf)) - 1.0 - 1e-9
            for sign, X in zip((1.0, -1.0), rows, strict=True)
        ]
        if best is None or max(over) <= 0.0:
            best = rows, counts, t
        if max(over) <= 0.0:
            break
        below = [b + max(0.5 * o, 0.02) * (o > 0.0) for b, o in zip(program.below, over, strict=True)]
        program = HingeProgram(setting, below)
        solution = program.solve()
        if solution is None:
            break
        least = max(least, whole(solution.value, SOLVED))
    if best is None:
        return replace(found, message=NO_RECORDS)
    rows, counts, t = best
    groups = merge(np.vstack(rows), np.repeat([1.0, -1.0], counts[:2]))
    found = with_points(found, setting, groups, int(counts[2]))
    rest = program.remainder(t) + setting.load(counts) - supplied(setting, found)
    exact = bool(np.linalg.norm(rest) <= 1e-9 * (1.0 + np.linalg.norm(setting.clean.gradient)))
    return replace(found, residual=rest, exact=exact, message=f"{found.n_points} whole valid records")


def deal_documents(program, found, solution, least):
    """So many whole documents whose rows average to a solution over their convex set."""
    setting = program.setting
    hinge = setting.objective.loss.kinked
    counts = round_counts(solution.counts, least)
    means = solution.means
    if hinge:  # the same with whole counts, and with as much room to the margin as there is
        place = program.place(counts, elastic=True)
        if place is not None:
            means = [z / n if n else None for z, n in zip(place.sums, counts, strict=False)]
    groups = []
    for sign, region, mean, n in zip((1.0, -1.0), setting.both, means, counts, strict=False):
        if mean is None or n == 0:
            continue
        limit = 1.0 - sign * setting.theta[-1] if hinge else None
        rows = documents.write(region, mean, int(n), sign * setting.theta[:-1], limit)
        groups += merge(rows, np.full(rows.shape[0], sign))
    if counts[2]:
        point, sign = setting.zero_loss_point()
        groups.append((sp.csr_matrix(point), sign, int(counts[2])))
    found = with_points(found, setting, groups)
    return replace(found, message=f"{found.n_points} whole documents")


def _rounded(setting, program, fractional, total, integer):
    """``(counts, sums, t, room)`` of so many records near fractional counts of the hinge's program, or None.

    ``integer``: up to three more, where these can hit the target exactly.
    """
    slack = program.free
    held = len(setting.theta) - sum(record_sums.continuous(setting.both[0]) | record_sums.continuous(setting.both[1]))
    masks = [~record_sums.continuous(region) for region in setting.both]

    def pinned(counts, sums):
        return program.place(counts, pinned=list(zip(masks, sums, strict=True)), elastic=True)

    if integer and held - slack.shape[1] <= FEW_ROWS:  # few rows that rounding misses: perhaps it need not
        whole = program.whole_levels(total + 3)
        place = None if whole is None else pinned(*whole)
        if place is not None:
            return whole[0], place.sums, place.t, max(0.0, place.room)
    counts = round_counts(fractional, total)
    place = program.place(counts, elastic=True)
    if place is None:
        return None
    t, room = place.t, place.room
    slack = slack[:, np.flatnonzero((t > 0.02) & (t < 0.98))].toarray()
    sums = record_sums.round_sums(setting, place.sums, counts[:2], slack, program.below)
    again = pinned(counts, sums)
    if again is not None:
        sums, t, room = again.sums, again.t, max(room, again.room)
    return counts, sums, t, room


def records_smooth(problem, program, found, solution, least):
    """Whole valid records for a smooth loss: dealt out for the counts of a solution, then moved."""
    setting = problem.setting
    plus, minus, zero = solution.counts
    share, idle = plus / max(plus + minus, 1e-300), zero / found.value
    scale = 1.0 + float(np.linalg.norm(setting.clean.gradient))
    best = None
    for total in (least, least + 1):
        zeros = round(idle * total)
        n_plus = round(share * (total - zeros))
        counts = n_plus, total - zeros - n_plus
        near = program.solve(fixed=(*counts, zeros), elastic=1e-3)
        if near is None:
            continue
        # Where the stationarity rows cannot be met with these counts (elastic), as nearly as can be had.
        sums = [n * mean for n, mean in zip(counts, _means(setting, near), strict=True)]
        weights = [E / max(n, 1) for E, n in zip(near.weights, counts, strict=True)]
        sums = record_sums.round_sums(setting, sums, counts, weights=weights)
        rows = [records.deal(setting, sign, z, n) for sign, z, n in zip((1.0, -1.0), sums, counts, strict=True)]
        X, signs = np.vstack(rows), np.repeat([1.0, -1.0], counts)
        rho = record_tune.tune(
            setting, X, signs, zeros, rounds=400 if best is None else 0, steps=30 if best is None else 8
        )
        exact = bool(np.linalg.norm(rho) <= 1e-9 * scale)
        if best is None or exact:
            best = rho, X, signs, zeros, exact
        if exact:
            break
    if best is None:
        return replace(found, message=NO_RECORDS)
    rho, X, signs, zeros, exact = best
    found = with_points(found, setting, merge(X, signs), zeros, residual=rho, exact=exact)
    return replace(found, message=f"{found.n_points} whole valid records")


def _means(setting, solution):
    """The two points of a solution of a smooth program, each in its box."""
    means = solution.means
    if solution.supply is not None:  # the rounding that follows is far coarser than the slack
        means = pair(setting, solution.supply, *solution.weights, solution.product, slack=math.inf)
    return [
        np.clip(mean if mean is not None and weight > 0.0 else 0.0, region.lower, region.upper)
        for mean, weight, region in zip(means, solution.weights, setting.both, strict=True)
    ]
