"""The hull of the signed points that an attacker may insert, as the proofs of a guarantee use it.

A point x of label l is ``z = l x~``, x with a 1 for the intercept, times its label: a box with groups and planes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.objective import Objective

__all__ = ["Hull", "hulls_of", "planes_of"]


@dataclass(frozen=True)
class Hull:
    """A box with groups of columns of which one at most is on, the intercept as its last coordinate.

    ``lower`` is where a column is off and ``upper`` where it is on: of a label -1 they are minus the ends of the box.

    ``order``: the columns, group after group; ``starts``, ``group``: where each group begins there, and the group of
    every one; ``exactly``: whether a level must be on. A column in no group is a group of its own.
    """

    lower: np.ndarray
    upper: np.ndarray
    order: np.ndarray | None
    starts: np.ndarray
    group: np.ndarray
    exactly: np.ndarray
    planes: np.ndarray  # (P, d + 1): ``planes @ z <= limits``
    limits: np.ndarray

    @classmethod
    def of_region(cls, region, label: float, one: float) -> Hull:
        """The hull of what a region offers; the intercept's 1 is ``one`` (0 without an intercept)."""
        lower, upper = np.append(region.lower, one), np.append(region.upper, one)
        groups = region.groups
        number = np.arange(len(lower))
        exactly = np.zeros(len(lower), dtype=bool)
        for group in groups:
            number[group.columns] = group.columns[0]
            exactly[group.columns[0]] = group.exactly
            lower[group.columns], upper[group.columns] = group.off, group.on
        order = np.argsort(number, kind="stable")
        sorted_number = number[order]
        starts = np.flatnonzero(np.diff(sorted_number, prepend=-1))
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        planes = np.array([np.append(plane, 0.0) for plane, _ in region.planes]).reshape(-1, len(lower))
        limits = np.array([float(limit) for _, limit in region.planes])
        taken = exactly[sorted_number[starts]]
        return cls(
            label * lower, label * upper, order if groups else None, starts, group, taken, label * planes, limits
        )

    @classmethod
    def of_rows(cls, rows, label: float, one: float) -> Hull:
        """The box around some rows."""
        low, high = rows.min(axis=0), rows.max(axis=0)
        if sp.issparse(low):
            low, high = low.toarray().ravel(), high.toarray().ravel()
        return cls.of_box(label * np.append(low, one), label * np.append(high, one))

    @classmethod
    def of_box(cls, lower, upper) -> Hull:
        """A box alone."""
        d = len(lower)
        own = np.arange(d)
        return cls(lower, upper, None, own, own, np.zeros(d, dtype=bool), np.empty((0, d)), np.empty(0))

    @property
    def is_box(self) -> bool:
        """Whether there are neither groups nor planes."""
        return self.order is None and not len(self.limits)

    def mixed(self, share: float, other: Hull, rest: float) -> Hull:
        """The box of ``share z + rest z'``, z of this box and z' of the other, rounded outward."""
        sides = []
        for hull, part in ((self, share), (other, rest)):
            ends = part * hull.lower, part * hull.upper
            sides.append((np.minimum(*ends), np.maximum(*ends)))
        (low, high), (other_low, other_high) = sides
        size = np.maximum(np.abs(low), np.abs(high)) + np.maximum(np.abs(other_low), np.abs(other_high))
        return Hull.of_box(low + other_low - 4 * UNIT * size, high + other_high + 4 * UNIT * size)

    def least(self, off, on):
        """``min_x sum_j`` of ``off_j`` or ``on_j``, for arrays (..., d + 1): the minimum and where a column is on."""
        gain = on - off
        if self.order is None:
            chosen = gain < 0.0
            return np.sum(np.where(chosen, on, off), axis=-1), chosen
        gain = gain[..., self.order]
        best = np.minimum.reduceat(gain, self.starts, axis=-1)
        taken = self.exactly | (best < 0.0)
        chosen = np.empty(gain.shape, dtype=bool)
        first = (gain == best[..., self.group]) & taken[..., self.group]
        if np.any(np.add.reduceat(first.astype(np.intp), self.starts, axis=-1) > 1):  # equal levels: the first of them
            earlier = np.cumsum(first, axis=-1) - first
            at_start = earlier[..., self.starts]
            first &= earlier == at_start[..., self.group]
        chosen[..., self.order] = first
        return np.sum(off, axis=-1) + np.sum(np.where(taken, best, 0.0), axis=-1), chosen

    def largest(self, u) -> float:
        """No less than ``max_z u . z``."""
        value = -self.least(-u * self.lower, -u * self.upper)[0]
        size = float(np.abs(u) @ np.maximum(np.abs(self.lower), np.abs(self.upper)))
        return float(value) + gamma(2 * len(u) + 8) * 2.0 * size


def hulls_of(feasible_set, d: int, objective: Objective) -> dict:
    """The hull of the signed points of every label that they may carry, -1 before +1."""
    one = objective.one
    if not feasible_set.is_finite:
        regions = feasible_set.regions(d)
        return {label: Hull.of_region(regions[label], label, one) for label in sorted(regions)}
    signs = feasible_set.signs()
    rows = {label: feasible_set.X if signs is None else feasible_set.X[np.flatnonzero(signs == label)]
            for label in (-1.0, 1.0)}  # fmt: skip
    return {label: Hull.of_rows(own, label, one) for label, own in rows.items() if own.shape[0]}


def planes_of(hulls: dict) -> int:
    """The largest number of planes that a hull has."""
    return max(len(hull.limits) for hull in hulls.values())
