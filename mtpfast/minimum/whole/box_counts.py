"""Whole counts on a box, from the fractional minimum."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mtpfast.minimum.found import with_points
from mtpfast.minimum.programs.highs import SOLVED
from mtpfast.minimum.programs.hinge import PartialHingeProgram
from mtpfast.minimum.programs.wide import WideHingeProgram
from mtpfast.proofs.bounds import whole

from .box import balance, pair, split
from .counts import round_counts
from .distinct import close, search

__all__ = [
    "at_the_edge",
    "fractional_points",
    "idle_counts",
    "partial_groups",
    "supplied",
    "whole_hinge",
    "whole_smooth",
]


FEW_POINTS = 64  # up to so many points of a smooth loss every number is tried; beyond, four from the rounded-up minimum


def at_the_edge(problem, program, found):
    """A few points for a target that its last digits put beyond what can be had: no program holds them, a residual may.

    Such is a target that was made with points of one label on a face of their box.
    """
    certificate = found.certificate
    if certificate is None or certificate.kind == "farkas":
        return found
    least = max(1, certificate.n_poison)
    for total in range(least, min(least + 8, FEW_POINTS)):
        groups = _hit(program, problem.setting, total, 0.5, 0.0)
        if groups is not None:
            return with_points(
                found, problem.setting, groups, exact=True, message=f"{total} points for the exact target"
            )
    return found


def whole_hinge(problem, program, found, solution):
    """The true integer minimum on a box; with a free intercept, of those that make the target the only minimiser."""
    setting = problem.setting
    free = problem.objective.fit_intercept and problem.objective.r == 0.0
    for pinned in (True, False) if free else (False,):
        total, proved, groups = _fewest_hinge(setting, program, found.certificate.n_poison, solution.counts, pinned)
        if total is not None:
            break
    if groups is not None:
        least = ", the least whole number" + (" that makes it the only minimiser" if pinned else "")
        message = f"{total} points for the exact target" + (least if proved else "")
        return with_points(found, setting, groups, exact=True, message=message)
    found = fractional_points(problem, program, found, solution)
    what = "no whole counts were found that hit the target; "
    if total is not None:
        what = f"{total} whole points were found, but not placed; "
    return replace(found, message=what + found.message)


def _fewest_hinge(setting, program, least, fractional, pinned):
    """``(number of points, proved to be the least, groups)``: the number None if there is none, groups None if they
    could not be placed."""
    if len(setting.clean.free_labels) > len(setting.theta):  # so many rows on the margin mostly leave room for any
        counts = round_counts(fractional, least)
        if counts.sum() == least and (not pinned or program.pins(counts)):
            groups = _place_whole(setting, program, counts)
            if groups is not None:
                return least, True, groups
    counts = total = groups = None
    proved = True
    for limit in (least + 2, least + 20 + least // 50, 2 * least + 200):
        counts, complete = program.whole(limit, pinned)
        proved &= complete
        total = None if counts is None else int(counts.sum())
        while (total is None or total > least) and not isinstance(program, WideHingeProgram):
            # Only points on the margin, which take any weight in [0, 1], could save one more.
            x, complete = PartialHingeProgram(program).whole(limit if total is None else total - 1, pinned)
            proved &= complete
            if x is None:
                break
            groups, total = partial_groups(setting, program.d, x)
        if total is not None:
            break
    if isinstance(program, WideHingeProgram):  # which does not ask for points on the margin
        proved &= total == least
    if total is not None and groups is None:
        groups = _place_whole(setting, program, counts)
    return total, proved, groups


def _place_whole(setting, program, counts):
    """One point per label for whole counts, with as much room as there is; None if they cannot be placed."""
    place = program.place(counts)
    if place is None:
        return None
    r = program.remainder(place.t) + setting.load(counts)
    both = pair(setting, r, *map(float, setting.weights * counts[:2])) if setting.is_box else None
    if both is None and place.sums is None:
        return None
    if both is None:
        means = zip(setting.both, place.sums, counts, strict=False)
        both = [region.into(z / max(n, 1)) for region, z, n in means]
    idle = [(*setting.zero_loss_point(), int(counts[2]))] if counts[2] else []
    return [(both[0], 1.0, int(counts[0])), (both[1], -1.0, int(counts[1])), *idle]


def partial_groups(setting, d, x):
    """Groups of a solution with points on the margin, and their number."""
    E = x[4 * d : 4 * d + 4]
    n = np.round(x[4 * d + np.array([0, 1, 4, 5, 6])]).astype(int)
    groups = []
    for g, (sign, count) in enumerate(zip((1.0, -1.0, 1.0, -1.0), n[:4], strict=True)):
        weight = E[g] if g > 1 else count
        if count and weight > 1e-9:
            region = setting.region(sign)
            groups.append((region.into(region.lower + x[g * d : (g + 1) * d] / weight), sign, int(count)))
        elif count:  # of no weight at the target, but on the margin
            groups.append((setting.point_on_margin(sign), sign, int(count)))
    if n[4]:
        groups.append((*setting.zero_loss_point(), int(n[4])))
    return groups, int(n.sum())


def fractional_points(problem, program, found, solution):
    """The points of the fractional solution, with their weights rounded to the nearest whole numbers."""
    setting, weights = problem.setting, solution.counts
    counts = round_counts(weights, max(1, round(weights.sum())))
    message = (
        f"fractional minimum {found.value:.6f} (weights {weights[0]:.6g} of label +1, {weights[1]:.6g} of label -1, "
        f"{weights[2]:.6g} of zero loss); the points carry the weights rounded"
    )
    both = None
    if not setting.is_box:
        means = zip(setting.both, (1.0, -1.0), solution.means, counts, strict=False)
        groups = [(region.into(mean), sign, int(n)) for region, sign, mean, n in means if mean is not None]
        return with_points(found, setting, groups, int(counts[2]), message=message)
    if not problem.objective.loss.kinked:
        both = pair(setting, program.remainder(weights), *solution.weights, solution.product, slack=1e-6)
        r = program.remainder(counts)
    elif (place := program.place(weights)) is not None:
        # The places for the rounded counts miss the intercept row only; else those for the weights.
        r = program.remainder(place.t) + setting.load(counts)
        both = pair(setting, r, *map(float, setting.weights * counts[:2]))
        if both is None and place.sums is not None:
            both = [z / max(n, 1e-12) for z, n in zip(place.sums, weights, strict=False)]
    if both is None:
        return replace(found, message=message)
    points = [np.clip(p, region.lower, region.upper) for p, region in zip(both, setting.both, strict=True)]
    groups = [(points[0], 1.0, int(counts[0])), (points[1], -1.0, int(counts[1]))]
    found = with_points(found, setting, groups, int(counts[2]), message=message)
    return replace(found, residual=r - supplied(setting, found))


def supplied(setting, found):
    """``sum n w s y x~`` of the points found."""
    total = np.zeros_like(setting.theta)
    one = setting.objective.one
    for x, sign, n in zip(found.points, found.labels, found.counts, strict=True):
        margin = sign * float(x @ setting.theta[:-1] + setting.theta[-1])
        # A point of the hinge's own kink counts in full.
        beside = max(1e-9, setting.margin_tol)
        s = setting.objective.weight_of(sign) * setting.objective.loss.pull(margin - beside)
        total += n * s * sign * np.append(x, one)
    return total


def whole_smooth(problem, program, found, solution):
    """Whole counts for a smooth loss: the first number from the rounded-up minimum for which some are found."""
    setting, counts = problem.setting, solution.counts
    share = counts[0] / max(counts[0] + counts[1], 1e-300)
    least = max(1, whole(found.value, SOLVED))
    for total in range(least, max(least + 4, min(least + 48, FEW_POINTS))):
        groups = _hit(program, setting, total, share, counts[2] / found.value)
        if groups is not None:
            message = f"{total} points for the exact target"
            if total > found.certificate.n_poison:
                message += f"; {found.certificate.n_poison} are proved necessary"
            return with_points(found, setting, groups, exact=True, message=message)
    found = fractional_points(problem, program, found, solution)
    return replace(found, message="no whole counts were found that hit the target; " + found.message)


def _hit(program, setting, total, share, idle):
    """Groups of ``total`` points that satisfy the stationarity condition, or None.

    First one point per label, then two, which have closed forms; then every copy with a margin of its own.
    """
    heavy = setting.weights
    levels = []
    for zeros in idle_counts(setting, total, idle):
        active = total - zeros
        guess = share * active
        splits = sorted(range(active + 1), key=lambda n: abs(n - guess))[: 400 if active < 10_000 else 100]
        if setting.idle_labels:
            splits = [0 if 0 in setting.idle_labels else active]
        levels.append((zeros, [(program.remainder((n, active - n, zeros)), n, active - n) for n in splits]))
    near = [math.floor(idle * total), math.ceil(idle * total)]
    for zeros, splits in levels:
        if zeros not in near:
            continue
        extra = [(*setting.zero_loss_point(), zeros)] if zeros else []
        for r, n_plus, n_minus in splits:
            if n_plus == 0 or n_minus == 0:
                continue
            for E, F in balance(setting, r, heavy[0] * n_plus, heavy[1] * n_minus):
                M = E * program.margin_of(heavy[0] * n_plus, E)
                both = pair(setting, r, E, F, M)
                if both is None:
                    continue
                groups = close(setting, r, [(both[0], 1.0, n_plus), (both[1], -1.0, n_minus), *extra])
                if groups is not None:
                    return groups
        for r, n_plus, n_minus in splits[:12]:
            groups = _spread(program, setting, n_plus, n_minus, zeros)
            if groups is not None:
                groups = close(setting, r, groups + extra)
            if groups is not None:
                return groups
    for zeros, splits in levels:
        groups = search(setting, splits)
        if groups is not None:
            return groups + ([(*setting.zero_loss_point(), zeros)] if zeros else [])
    return None


def idle_counts(setting, total, idle):
    """How many of ``total`` points may have zero loss, the likeliest number first."""
    if setting.a == 0.0 or not setting.has_zero_loss:
        return [0]
    return sorted(range(total + 1), key=lambda n: abs(n - idle * total))[:12]


def _spread(program, setting, n_plus, n_minus, zeros):
    """As :func:`_hit` for one split, with up to two margins per label."""
    solution = program.solve(fixed=(n_plus, n_minus, zeros))
    if solution is None:
        return None
    r = program.remainder((n_plus, n_minus, zeros))
    both = pair(setting, r, *solution.weights, solution.product, slack=1e-8)
    if both is None:
        return None
    groups = []
    for point, sign, E, n in zip(both, (1.0, -1.0), solution.weights, (n_plus, n_minus), strict=True):
        if n == 0:
            continue
        part = split(setting, sign, point, float(E) / setting.objective.weight_of(sign), n)
        if part is None:
            return None
        groups += part
    return groups
