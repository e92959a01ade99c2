"""Whether points lie in the feasible set that they are claimed for."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.labels import Classes

__all__ = ["inside_set", "used_too_often"]


def inside_set(feasible_set, points, signs, classes, rounding):
    """Which distinct points lie in the feasible set: exactly, or for whole numbers and levels to 1e-9 of a step."""
    if feasible_set.is_finite:
        return _candidates(feasible_set, points, signs, classes) > 0
    inside = np.zeros(points.shape[0], dtype=bool)
    regions = feasible_set.bind(classes=classes).regions(points.shape[1])
    for i in range(points.shape[0]):
        row = points[i].toarray().ravel() if sp.issparse(points) else points[i]
        region = regions.get(float(signs[i]))
        inside[i] = region is not None and _in_region(region, row, rounding)
    return inside


def _in_region(region, x, rounding):
    if region.kind == "documents":
        return _is_document(region, x)
    if region.kind == "convex":
        return _in_convex(region, x)
    if region.kind == "cut":
        return _in_region(region.records, x, rounding) and _in_cut(region, x, rounding)
    if region.kind == "tied":
        rows = [table.rows - x[table.columns] for table in region.tables]
        if any(float(np.min(np.max(np.abs(off), axis=1))) > 0.0 for off in rows):
            return False
    span = region.upper - region.lower
    stepped = region.step > 0
    room = np.where(stepped, 1e-9 * region.step + 4e-15 * (np.abs(region.origin) + np.abs(x)) + rounding, 0.0)
    for group in region.groups:
        room[group.columns] = 1e-9 * span[group.columns]
    if np.any((x < region.lower - room) | (x > region.upper + room)):
        return False
    k = (x[stepped] - region.origin[stepped]) / region.step[stepped]
    if np.any(np.abs(k - np.rint(k)) * region.step[stepped] > room[stepped]):
        return False
    for group in region.groups:
        share = (x[group.columns] - group.off) / (group.on - group.off)
        n_on = np.sum(np.abs(share - 1.0) <= 1e-9)
        if n_on + np.sum(np.abs(share) <= 1e-9) < len(share) or n_on > 1 or (group.exactly and n_on == 0):
            return False
    return True


def _in_convex(region, x):
    """Whether x is within bounds, planes and balls: to what rounding does to sums of its length."""
    far, unit = np.maximum(np.abs(region.lower), np.abs(region.upper)), 4e-16 * (len(x) + 16)
    reach = max([0.0, *(float(np.max(np.abs(center))) + radius for center, radius in region.balls)])
    inside = np.all((x >= region.lower - 8e-16 * reach) & (x <= region.upper + 8e-16 * reach))
    for a, limit in region.planes:
        inside &= float(a @ x) <= limit + unit * float(np.abs(a) @ far)
    for center, radius in region.balls:
        room = unit * (radius + float(np.linalg.norm(far + np.abs(center))))
        inside &= float(np.linalg.norm(x - center)) <= radius + room
    return bool(inside)


def _in_cut(region, x, rounding):
    """Whether a record is between the planes and in the ball, to what rounding does to it and to sums of its length."""
    far, unit = np.maximum(np.abs(region.lower), np.abs(region.upper)), 4e-16 * (len(x) + 16)
    moved = region.tolerance + rounding
    inside = True
    for a, low, high in region.slabs:
        room = unit * float(np.abs(a) @ far) + float(np.abs(a) @ moved)
        inside &= low - room <= float(a @ x) <= high + room
    for center, radius in region.balls:
        room = unit * (radius + float(np.linalg.norm(far + np.abs(center)))) + float(np.linalg.norm(moved))
        inside &= float(np.linalg.norm(x - center)) <= radius + room
    return bool(inside)


def _is_document(region, x):
    """Whether x is the row of whole counts, so many in all: up to a factor where there is a norm."""
    scaled = x / region.idf
    used = scaled > 0
    if not used.any():
        return region.min_length == 0 and not x.any()
    if region.norm is not None and abs((x.sum() if region.norm == "l1" else np.linalg.norm(x)) - 1.0) > 1e-9:
        return False
    least = scaled[used].min()
    for rarest in range(1, region.max_length + 1):  # how often the rarest word is used, were the row not divided
        counts = scaled if region.norm is None else scaled * (rarest / least)
        whole = np.rint(counts)
        length = whole.sum()
        fits = region.min_length <= length <= region.max_length and np.all((whole >= 0) & (whole <= region.max_count))
        if fits and np.all(np.abs(counts - whole) <= 1e-9 * np.maximum(1.0, whole)):
            return True
        if region.norm is None:
            break
    return False


def _candidates(pool, points, signs, classes):
    """How many candidates of a pool equal each point and may carry its label."""
    X, labels = pool.X, _pool_signs(pool, classes)
    norms = np.asarray(abs(X).sum(axis=1)).ravel()
    equal = np.zeros(points.shape[0], dtype=np.intp)
    for i in range(points.shape[0]):
        row = points[i].toarray().ravel() if sp.issparse(points) else points[i]
        norm = np.sum(np.abs(row))
        for j in np.flatnonzero(np.abs(norms - norm) <= 1e-9 * norm):  # equal rows have equal norms
            candidate = X[[j]].toarray().ravel() if sp.issparse(X) else X[j]
            equal[i] += np.array_equal(candidate, row) and (labels is None or labels[j] == signs[i])
    return equal


def used_too_often(pool, points, signs, counts, classes):
    """How many points there are beyond what ``max_repeats`` allows."""
    allowed = pool.max_repeats * _candidates(pool, points, signs, classes)
    dense = points.toarray() if sp.issparse(points) else points
    _, which = np.unique(np.column_stack([dense, signs]) + 0.0, axis=0, return_inverse=True)
    used = np.bincount(which.ravel(), counts)
    most = np.zeros(len(used))
    np.maximum.at(most, which.ravel(), allowed)
    return int(np.sum(np.maximum(0, used - most)))


def _pool_signs(pool, classes):
    """The labels of a pool as -1. and +1., or None where either is allowed."""
    if pool.y is None:
        return None
    return Classes(classes).signs(pool.y, "y of the pool")
