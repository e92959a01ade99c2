"""Whole points in convex regions that are no boxes: slabs, balls and their intersections.

Every point of such a region may be used, so that one point per label suffices, as on a box. For given whole counts a
program says where it may lie: for the hinge, that of the fractional minimum with the counts put in (and perhaps one
more point on the margin, which may take any weight in [0, 1]); for a smooth loss the margins follow from the counts
(:func:`mtpfast.minimum.whole.box.balance`), and with them everything is linear.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from mtpfast.minimum.found import with_points
from mtpfast.minimum.programs.cone import solve_hull
from mtpfast.minimum.programs.highs import SOLVED
from mtpfast.minimum.programs.hinge import PartialHingeProgram
from mtpfast.minimum.programs.lp import hull_rows, margin_rows, stationarity_rows, widen
from mtpfast.proofs.bounds import whole

from .box import balance
from .box_counts import fractional_points, idle_counts, partial_groups

__all__ = ["whole_convex_hinge", "whole_convex_smooth"]


MORE = 24  # points beyond the rounded-up minimum up to which whole counts are looked for
HIT = 1e-8  # relative residual of the stationarity rows that counts as none: a model is hit to 1e-6
SPLITS = 48  # ways to divide a number of points between the labels, the nearest to the fractional solution first


def whole_convex_hinge(problem, program, found, solution):
    """The first number from the rounded-up minimum for which whole counts are found that hit the target: where a ball
    leaves no linear program, and so no branch and bound (:func:`mtpfast.minimum.whole.box_counts.whole_hinge`)."""
    setting, fractional = problem.setting, solution.counts
    partial = PartialHingeProgram(program)
    least = max(1, found.certificate.n_poison)
    for total in range(least, least + MORE):
        groups = _placed(setting, program, fractional, total)
        groups = _placed_on_margin(setting, partial, fractional, total) if groups is None else groups
        if groups is not None:
            return with_points(found, setting, groups, exact=True, message=_message(found, total))
    return _rounded(problem, program, found, solution)


def _placed(setting, program, fractional, total):
    """One point per label for some way to divide so many points, or None."""
    for counts in _splits(setting, fractional, total):
        if not _balanced(setting, program, counts):
            continue
        place = program.place(counts, elastic=True)  # at the edge of what can be had no solution is inside
        if place is None:
            continue
        r = program.remainder(place.t) + setting.load(counts)
        heavy = setting.weights
        own = [heavy[y] * np.append(place.sums[y], counts[y] * setting.objective.one) for y in (0, 1)]
        rest = r * np.append(np.ones(len(r) - 1), setting.objective.one) - own[0] + own[1]
        if float(np.linalg.norm(rest)) <= HIT * (1.0 + float(np.linalg.norm(r))):
            both = zip(setting.both, (1.0, -1.0), place.sums, counts, strict=False)
            groups = [(region.into(z / n), sign, n) for region, sign, z, n in both if n]
            return groups + ([(*setting.zero_loss_point(), counts[2])] if counts[2] else [])
    return None


def _balanced(setting, program, counts, on=(0, 0)):
    """Whether the intercept row can hold: ``w+ n+ - w- n-`` is what clean rows and points on the margin leave."""
    if not setting.objective.fit_intercept:
        return True
    row = program.free[-1].toarray().ravel()
    base = float(setting.clean.gradient[-1] + setting.load(counts)[-1] + (setting.pulls[-1, :2] @ on))
    own = float(setting.weights[0] * counts[0] - setting.weights[1] * counts[1])
    least = base + float(np.minimum(row, 0.0).sum()) - setting.weights[0] * on[0]
    most = base + float(np.maximum(row, 0.0).sum()) + setting.weights[1] * on[1]
    room = 1e-9 * (1.0 + abs(base))
    return least - room <= own <= most + room


def _placed_on_margin(setting, partial, fractional, total):
    """The same with one point less that counts in full, and one on the margin, which takes any weight; or with two."""
    for on in ((1, 0), (0, 1), (1, 1)):
        if any(n and kink is None for n, kink in zip(on, partial.kinks, strict=True)) or sum(on) > total:
            continue
        for n_plus, n_minus, idle in _splits(setting, fractional, total - sum(on)):
            if not _balanced(setting, partial.program, (n_plus, n_minus, idle), on):
                continue
            columns = partial.place(n_plus, n_minus, *on, idle)
            if columns is not None:
                return partial_groups(setting, partial.program.d, columns)[0]
    return None


def whole_convex_smooth(problem, program, found, solution):
    """The first number from the rounded-up minimum for which whole counts and places are found that hit the target."""
    setting, heavy = problem.setting, problem.setting.weights
    least = max(1, whole(found.value, SOLVED))
    for total in range(least, least + MORE):
        for counts in _splits(setting, solution.counts, total):
            r = program.remainder(counts)
            n_plus, n_minus = float(heavy[0] * counts[0]), float(heavy[1] * counts[1])
            for E, F in _weights(setting, r, n_plus, n_minus):
                margin = problem.objective.loss.margin_of(E / n_plus) if E > 0.0 else 0.0
                both = pair_in_hulls(setting, r, E, F, E * margin)
                if both is not None:
                    groups = [(both[0], 1.0, counts[0]), (both[1], -1.0, counts[1])]
                    more = {"exact": True, "message": _message(found, total)}
                    return with_points(found, setting, groups, counts[2], **more)
    return _rounded(problem, program, found, solution)


def _weights(setting, r, n_plus, n_minus):
    """The effective weights (E+, E-) that whole counts can have; with points of one label it is the intercept row that
    says which, and the product with theta has to agree."""
    if n_plus > 0.0 and n_minus > 0.0:
        return balance(setting, r, n_plus, n_minus)
    n, E = max(n_plus, n_minus), float(r[-1]) * (1.0 if n_plus > 0.0 else -1.0)
    if not setting.objective.fit_intercept or n == 0.0 or not 0.0 < E < n * setting.objective.loss.lipschitz:
        return []
    total = float(setting.theta @ r)
    agrees = abs(E * setting.objective.loss.margin_of(E / n) - total) <= HIT * (1.0 + abs(total))
    return [(E, 0.0) if n_plus > 0.0 else (0.0, E)] if agrees else []


def pair_in_hulls(setting, r, E, F, M):
    """``(x+, x-)`` with ``E x+ - F x- = r`` and ``E m+ = M``, each in its region, or None: a linear program, with cones
    where regions have balls. The residual is minimised, as at the edge of what can be had no solution is inside."""
    d = len(setting.theta) - 1
    inside, exactly = hull_rows(setting)
    rows = sp.vstack([-stationarity_rows(setting)[:d], sp.csr_matrix(margin_rows(setting)[:1]), exactly]).tocsr()
    k = rows.shape[0]
    eye = sp.identity(k, format="csr")
    right = np.concatenate([r[:d], [M], np.zeros(exactly.shape[0])])
    low = np.concatenate([np.zeros(2 * d), [E, F], np.zeros(2 * k)])
    top = np.concatenate([np.full(2 * d, np.inf), [E, F], np.full(2 * k, np.inf)])
    cost, n = np.append(np.zeros(2 * d + 2), np.ones(2 * k)), 2 * d + 2 + 2 * k
    A_ub, A_eq = widen(inside, n), sp.hstack([rows, eye, -eye]).tocsr()
    res = solve_hull(setting, cost, A_ub, np.zeros(inside.shape[0]), A_eq, right, np.stack([low, top], axis=1))
    if res.status != 0 or res.fun > HIT * (1.0 + float(np.linalg.norm(r))):
        return None
    return [
        region.into(region.lower + (res.x[y * d : (y + 1) * d] / weight if weight > 0.0 else 0.0))
        for y, (region, weight) in enumerate(zip(setting.both, (E, F), strict=True))
    ]


def _splits(setting, fractional, total):
    """Counts (n+, n-, n0) with this total near fractional ones, the nearest first."""
    share = fractional * (total / max(float(np.sum(fractional)), 1e-300))
    found = []
    for zeros in idle_counts(setting, total, share[2] / max(total, 1)):
        middle = share[0] * (total - zeros) / max(share[0] + share[1], 1e-300)
        for n in range(max(0, math.floor(middle) - SPLITS), min(total - zeros, math.ceil(middle) + SPLITS) + 1):
            if not ({0, 1} & set(setting.idle_labels)) or n == (0 if 0 in setting.idle_labels else total - zeros):
                found.append((abs(n - middle) + abs(zeros - share[2]), (n, total - zeros - n, zeros)))
    return [counts for _, counts in sorted(found)[:SPLITS]]


def _message(found, total):
    message = f"{total} points for the exact target"
    if total > found.certificate.n_poison:
        message += f"; {found.certificate.n_poison} are proved necessary"
    return message


def _rounded(problem, program, found, solution):
    found = fractional_points(problem, program, found, solution)
    return replace(found, message="no whole counts were found that hit the target; " + found.message)
