"""The search along the frontier in NumPy, for any loss."""

from __future__ import annotations

import heapq
from itertools import count, pairwise

import numpy as np

from mtpfast.arrays.rounding import EPS

from .difference import rounding_of

__all__ = ["along_frontier", "branch_and_bound"]


def along_frontier(theta, theta_target, lower, upper, rest, y, loss):
    """The search for a loss that has no compiled twin: intervals with a chord-and-tangent bound.

    On an edge u and v are linear in t, so phi(u) lies below its chord and phi(v) above its
    tangents; the intervals whose bound does not beat the best value are dropped, the rest halved.
    """
    a, p = y * theta[:-1], y * theta_target[:-1]
    size = np.append(np.maximum(np.abs(lower), np.abs(upper)) + (upper - lower), 1.0)
    noise = [(2 * len(theta) + 6) * EPS * float(np.abs(t) @ size) for t in (theta, theta_target)]
    width = upper - lower
    moves_u, moves_v = (np.abs(t[:-1]) * width > n for t, n in zip((theta, theta_target), noise, strict=True))
    x = np.where(moves_u, np.where(a > 0, lower, upper), np.where(moves_v, np.where(p > 0, upper, lower), rest))
    flips = np.flatnonzero(moves_u & moves_v & (np.sign(a) == np.sign(p)))
    ratio = np.abs(p[flips]) / np.abs(a[flips])
    order = np.lexsort((flips, -ratio))
    flips, ratio = flips[order], ratio[order]
    du, dv = np.abs(a[flips]) * width[flips], np.abs(p[flips]) * width[flips]
    u = np.cumsum(np.append(a @ x + y * theta[-1], du))
    v = np.cumsum(np.append(p @ x + y * theta_target[-1], dv))
    if len(flips) == 0:
        value = float(loss.value(u[0]) - loss.value(v[0]))
        best, bound, edge, t = value, value, 0, 0.0
    else:
        edges = np.arange(len(flips))
        left = np.stack([u[:-1], v[:-1], edges, np.zeros(len(flips))], axis=1)
        right = np.stack([u[1:], v[1:], edges, np.ones(len(flips))], axis=1)
        best, bound, edge, t = _bisect(left, right, loss)
    out = x.copy()
    # edges of one slope are followed in the order of the features, as in _search.pyx
    if len(flips):
        tied = np.abs(ratio - ratio[edge]) <= (1e-11 + noise[0] / du + noise[1] / dv) * ratio[edge]
        first, last = edge, edge + 1
        while first > 0 and tied[first - 1]:
            first -= 1
        while last < len(flips) and tied[last]:
            last += 1
        way = float(np.sum(dv[first:edge])) + t * dv[edge]
        here = first + np.argsort(flips[first:last], kind="stable")
        flips[first:last], dv[first:last] = flips[here], dv[here]
        edge = first
        while edge < last - 1 and way > dv[edge] + noise[1]:
            way, edge = way - dv[edge], edge + 1
        if last - first > 1:
            t = 0.0 if way <= noise[1] else (1.0 if way >= dv[edge] - noise[1] else way / dv[edge])
    crossed = flips[:edge]
    out[crossed] = np.where(x[crossed] == lower[crossed], upper[crossed], lower[crossed])
    if len(flips):
        j = flips[edge]
        t = _settled(a @ out + y * theta[-1], p @ out + y * theta_target[-1], abs(a[j] * width[j]), dv[edge], t, loss)
        out[j] = np.clip(x[j] + t * (lower[j] + upper[j] - 2 * x[j]), lower[j], upper[j])
    value = float(loss.value(a @ out + y * theta[-1]) - loss.value(p @ out + y * theta_target[-1]))
    return out, value, max(bound, value) + rounding_of(theta, theta_target, size, loss, best)


def _settled(u, v, du, dv, t, loss):
    """The place on an edge that stands for a maximum near t: the coarsest binary fraction that costs nothing to speak
    of."""

    def value(t):
        return float(loss.value(np.array(u + t * du)) - loss.value(np.array(v + t * dv)))

    def uphill(t):
        return float(loss.derivative(np.array(u + t * du)) * du - loss.derivative(np.array(v + t * dv)) * dv)

    low, high = max(0.0, t - 1e-4), min(1.0, t + 1e-4)
    if not 0.0 < t < 1.0 or not (uphill(low) > 0.0 > uphill(high)):
        return t
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if uphill(middle) > 0.0 else (low, middle)
    t = 0.5 * (low + high)
    best = value(t)
    least = best - 1e-11 * abs(best) - 1e-14 * float(loss.value(np.array(u + t * du)))
    for bits in range(12, 41, 4):
        place = round(t * 2**bits) / 2**bits
        if value(place) >= least:
            return place
    return t


def _bisect(left, right, loss):
    best, where = -np.inf, None
    bound = -np.inf
    for _ in range(60):
        f_left = loss.value(left[:, 0]) - loss.value(left[:, 1])
        f_right = loss.value(right[:, 0]) - loss.value(right[:, 1])
        for f, ends in ((f_left, left), (f_right, right)):
            i = int(np.argmax(f))
            if f[i] > best:
                best, where = float(f[i]), ends[i]
        # phi(u) <= chord; phi(v) >= the tangents at both ends, which cross at s
        chord0, chord1 = loss.value(left[:, 0]), loss.value(right[:, 0])
        dv = right[:, 1] - left[:, 1]
        v0, v1 = loss.value(left[:, 1]), loss.value(right[:, 1])
        g0, g1 = loss.derivative(left[:, 1]) * dv, loss.derivative(right[:, 1]) * dv
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.clip(np.where(g1 > g0, (v0 - v1 + g1) / (g1 - g0), 0.5), 0.0, 1.0)
        at_cross = chord0 + s * (chord1 - chord0) - np.maximum(v0 + s * g0, v1 - (1 - s) * g1)
        upper = np.maximum(np.maximum(f_left, f_right), at_cross)
        tol = 1e-10 * abs(best) + 4 * EPS * (np.abs(chord0) + np.abs(v0))
        alive = upper > best + tol
        if np.any(~alive):
            bound = max(bound, float(np.max(upper[~alive])))
        if not np.any(alive):
            break
        left, right, upper = left[alive], right[alive], upper[alive]
        if len(left) > 100_000:  # a flat maximum: stop here, the bound tells the truth
            break
        middle = 0.5 * (left + right)
        middle[:, 2] = left[:, 2]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    else:
        upper = np.maximum(upper, best)
    if np.any(alive):
        bound = max(bound, float(np.max(upper)))
    return best, max(bound, best), int(where[2]), float(where[3])


def branch_and_bound(theta, theta_target, region, rest, y, loss, known, max_nodes):
    """A mixed space for a loss that has no compiled twin: split where the relaxation is fractional.

    Best bound first. A part of the region is a box (with its lattices) and a run of levels for
    every group; each is searched along the frontier of its hull.
    """
    a, p = y * theta[:-1], y * theta_target[:-1]
    groups = [_levels_by_score(group, a, p) for group in region.groups]
    pinned = region.step > 0.0
    for group in region.groups:
        pinned[group.columns] = True
    best, x, bound, nodes = -np.inf, None, -np.inf, 0
    parts, ties = [], count()
    queue = [(region.lower, region.upper, tuple((0, len(columns)) for columns, _, _ in groups))]
    while queue:
        for part in queue:
            above, points, halves = _relaxation(theta, theta_target, region, groups, part, y, loss)
            heapq.heappush(parts, (-above, next(ties), halves))
            for point in points:
                lower, upper = (np.where(pinned, point, end) for end in (region.lower, region.upper))
                at_rest = np.clip(rest, lower, upper)
                found, value, _ = along_frontier(theta, theta_target, lower, upper, at_rest, y, loss)
                if value > best:
                    best, x = value, found
        target = max(best, known)
        u, v = (y * (x @ t[:-1] + t[-1]) for t in (theta, theta_target))
        close = 3e-10 * abs(target) + 1e-14 * float(loss.value(u) + loss.value(v)) + 8 * EPS
        queue = []
        while parts and not queue:
            above, _, queue = heapq.heappop(parts)
            if -above <= target + close or nodes >= max_nodes or not queue:
                bound = max(bound, -above)
            if -above <= target + close or nodes >= max_nodes:  # no other part has a larger bound
                queue = []
                break
        nodes += len(queue)
    size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)) + (region.upper - region.lower), 1.0)
    return x, best, float(max(bound, best)) + rounding_of(theta, theta_target, size, loss, best), nodes


def _levels_by_score(group, a, p):
    """The levels of a group that no other one dominates: (column or -1, u, v), u and v rising."""
    width = group.on - group.off
    column, u, v = group.columns, a[group.columns] * width, p[group.columns] * width
    if not group.exactly:
        column, u, v = np.append(-1, column), np.append(0.0, u), np.append(0.0, v)
    order = np.lexsort((column, -v, u))
    column, u, v = column[order], u[order], v[order]
    keep = v > np.concatenate(([-np.inf], np.maximum.accumulate(v)[:-1]))
    return column[keep], u[keep], v[keep]


def _relaxation(theta, theta_target, region, groups, part, y, loss):
    """The bound of a part, points of the region near its maximum, and the halves to look at next."""
    lower, upper, runs = part
    a, p = y * theta[:-1], y * theta_target[:-1]
    single = np.ones(len(a), dtype=bool)
    x = np.where(a > 0, lower, np.where(a < 0, upper, np.where(p > 0, upper, lower)))
    for group in region.groups:
        single[group.columns] = False
        x[group.columns] = group.off
    flips = np.flatnonzero(single & (np.sign(a) * np.sign(p) > 0) & (upper > lower))
    width = upper[flips] - lower[flips]
    # (slope, du, dv, coordinate or -1 - group, levels at both ends)
    edges = [
        (abs(p[j] / a[j]), abs(a[j]) * w, abs(p[j]) * w, j, 0, 1) for j, w in zip(flips.tolist(), width, strict=True)
    ]
    at = []
    u0, v0 = float(a @ x) + y * theta[-1], float(p @ x) + y * theta_target[-1]
    for g, ((_, u, v), (first, stop)) in enumerate(zip(groups, runs, strict=True)):
        at.append(first)
        u0, v0 = u0 + u[first], v0 + v[first]
        edges += [
            ((v[k] - v[i]) / (u[k] - u[i]), u[k] - u[i], v[k] - v[i], -1 - g, i, k) for i, k in _hull(u, v, first, stop)
        ]
    edges.sort(key=lambda edge: (-edge[0], edge[3:]))
    if edges:
        du, dv = (np.array([edge[i] for edge in edges]) for i in (1, 2))
        u, v = u0 + np.append(0.0, np.cumsum(du)), v0 + np.append(0.0, np.cumsum(dv))
        number, zero = np.arange(len(edges)), np.zeros(len(edges))
        left, right = (
            np.stack([u[:-1], v[:-1], number, zero], axis=1),
            np.stack([u[1:], v[1:], number, zero + 1], axis=1),
        )
        _, bound, edge, t = _bisect(left, right, loss)
    else:
        bound, edge, t = float(loss.value(u0) - loss.value(v0)), 0, 0.0
    for _, _, _, j, _, k in edges[:edge] + (edges[edge : edge + 1] if t == 1.0 else []):
        if j >= 0:
            x[j] = lower[j] + upper[j] - x[j] if region.step[j] == 0.0 else (upper[j] if x[j] == lower[j] else lower[j])
        else:
            at[-1 - j] = k

    def point(x, at):
        x = x.copy()
        for (columns, _, _), level, group in zip(groups, at, region.groups, strict=True):
            x[group.columns[group.columns == columns[level]]] = group.on[group.columns == columns[level]]
        return x

    if not 0.0 < t < 1.0:
        return bound, [point(x, at)], []
    j, i, k = edges[edge][3:]
    if j < 0:
        g = -1 - j
        halves = [
            (lower, upper, (*runs[:g], run, *runs[g + 1 :])) for run in ((runs[g][0], i + 1), (i + 1, runs[g][1]))
        ]
        return bound, [point(x, [*at[:g], level, *at[g + 1 :]]) for level in (i, k)], halves
    if region.step[j] == 0.0:
        return bound, [point(x, at)], []
    origin, step = region.origin[j], region.step[j]
    first, last = (np.rint((end[j] - origin) / step) for end in (lower, upper))
    middle = (x[j] + t * (lower[j] + upper[j] - 2 * x[j]) - origin) / step
    below = np.clip(np.floor(middle), first, last - 1)
    points, halves = [], []
    for number, side in ((below, upper), (below + 1, lower)):
        value = float(np.clip(origin + number * step, lower[j], upper[j]))
        x, side = x.copy(), side.copy()
        x[j] = side[j] = value
        points.append(point(x, at))
        halves.append((lower, side, runs) if number == below else (side, upper, runs))
    return bound, points, halves


def _hull(u, v, first, stop):
    """The edges (i, k) of the upper hull of the points first, ..., stop - 1, u and v rising."""
    corners = [first]
    for k in range(first + 1, stop):
        while len(corners) > 1:
            h, i = corners[-2:]
            if (v[i] - v[h]) * (u[k] - u[i]) > (v[k] - v[i]) * (u[i] - u[h]):
                break
            corners.pop()
        corners.append(k)
    return list(pairwise(corners))
