"""A region from the rules of a feature space: boxes, lattices, groups."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.frozen import read_only

from .region import LATTICE_TOL, Group, Region, lattice_tolerance
from .specs import Features, check_order, kind_of_values, show_spec, text

__all__ = ["normal_form"]


def normal_form(features: Features, lower, upper, integer, lattice, one_hot, at_most_one, fixed) -> Region:
    """The points that obey all rules of one label.

    ``lower`` and ``upper`` are numbers or vectors; the other rules as they were read. Raises
    ValueError, naming the feature, where rules contradict one another or leave no point.
    """
    check_order(lower, upper, features.names)
    for argument, bound in (("lower", lower), ("upper", upper)):
        if np.ndim(bound) == 1 and len(bound) != features.n:
            raise ValueError(f"feasible_set has {len(bound)} features in {argument}, expected {features.n}")
    draft = _Draft(features, lower, upper)
    if not (lattice or one_hot or at_most_one or fixed) and isinstance(integer, tuple) and not integer:
        return draft.region(())  # a box
    draft.put_on_lattices(integer, lattice)
    groups = draft.disjoint_groups(one_hot, at_most_one)
    draft.read_pins(fixed)
    for argument, columns, _ in groups:
        draft.check_levels(argument, columns)
    draft.tighten()
    kept = []
    for argument, columns, exactly in groups:
        left = draft.settle_group(argument, columns, exactly)
        if len(left):
            ends = draft.lower[left], draft.upper[left]
            kept.append(Group(*map(read_only, (left, *ends)), exactly))
    draft.settle_pins()
    kept.sort(key=lambda group: group.columns[0])
    return draft.region(kept)


class _Draft:
    """Bounds and lattices of every feature while the rules are worked into them, one after the other."""

    def __init__(self, features, lower, upper):
        self.features = features
        self.lower, self.upper = (np.array(b) if np.ndim(b) else np.full(features.n, b) for b in (lower, upper))
        self.origin, self.step, self.tolerance, self.value = np.zeros((4, features.n))
        self.pinned = np.zeros(features.n, dtype=bool)

    def put_on_lattices(self, integer, lattice):
        self.step[self.features.columns(integer, "integer")] = 1.0
        for spec, (origin, step) in lattice:
            columns = self.features.columns(spec, "lattice")
            twice = columns[self.step[columns] > 0.0]
            if len(twice):
                raise ValueError(f"{self.features.name(twice[0])} has two lattices, from integer and lattice")
            self.origin[columns], self.step[columns] = origin, step
        j = np.flatnonzero(self.step > 0.0)
        if not len(j):
            return
        self.tolerance[j] = lattice_tolerance(self.lower[j], self.upper[j], self.origin[j], self.step[j])
        coarse = j[self.tolerance[j] > 0.25 * self.step[j]]
        if len(coarse):
            i = coarse[0]
            raise ValueError(
                f"{self.features.name(i)} has a step of {self.step[i]:g}, too small to tell its values apart in "
                f"{self._interval(i)}"
            )

    def disjoint_groups(self, one_hot, at_most_one):
        """(argument, columns in increasing order, exactly) of every group."""
        owner, groups = {}, []
        for name, specs, exactly in (("one_hot", one_hot, True), ("at_most_one", at_most_one, False)):
            for i, spec in enumerate(specs):
                argument = f"{name}[{i}]"
                columns = self.features.columns(spec, argument)
                if len(columns) == 0:
                    raise ValueError(f"{argument} holds no feature")
                for j in columns.tolist():
                    if j in owner:
                        raise ValueError(f"{self.features.name(j)} is in {owner[j]} and in {argument}: groups overlap")
                    owner[j] = argument
                groups.append((argument, np.sort(columns), exactly))
        return groups

    def read_pins(self, fixed):
        for spec, value in fixed:
            columns = self.features.columns(spec, "fixed")
            if np.ndim(value) == 1 and len(value) != len(columns):
                raise ValueError(f"fixed has {len(value)} values for the {len(columns)} features {show_spec(spec)}")
            value = np.broadcast_to(value, len(columns))
            clash = self.pinned[columns] & (self.value[columns] != value)
            if np.any(clash):
                i = int(np.argmax(clash))
                raise ValueError(
                    f"{self.features.name(columns[i])} is pinned to {text(self.value[columns[i]])} "
                    f"and to {text(value[i])}"
                )
            self.pinned[columns], self.value[columns] = True, value

    def check_levels(self, argument, columns):
        """In a group the bounds are the two values: they have to be on the lattice, which then is done with."""
        for j in columns[self.step[columns] > 0.0]:
            ends = self.lower[j], self.upper[j]
            if any(abs(self._nearest(j, end) - end) > self.tolerance[j] for end in ends):
                raise ValueError(
                    f"{self.features.name(j)} takes {self._kind(j)} only, but as a level of {argument} it is "
                    f"{text(ends[0])} (off) or {text(ends[1])} (on)"
                )
        self.step[columns] = 0.0
        self.tolerance[columns] = LATTICE_TOL * (self.upper[columns] - self.lower[columns])

    def tighten(self):
        """Move the bounds to the outermost values of the lattice."""
        j = np.flatnonzero(self.step > 0.0)
        if not len(j):
            return
        origin, step, tolerance = self.origin[j], self.step[j], self.tolerance[j]
        first = np.ceil((self.lower[j] - origin - tolerance) / step)
        last = np.floor((self.upper[j] - origin + tolerance) / step)
        empty = j[first > last]
        if len(empty):
            i = empty[0]
            raise ValueError(f"{self.features.name(i)} takes {self._kind(i)} only, and none is in {self._interval(i)}")
        whole = (origin == 0.0) & (step == 1.0)
        for bound, k in ((self.lower, first), (self.upper, last)):
            value = origin + k * step + 0.0  # + 0.0 turns -0. into 0.
            # A bound that is a lattice value but for its last digits is the value meant; a whole number is exact.
            bound[j] = np.where(~whole & (np.abs(value - bound[j]) <= tolerance), bound[j], value)

    def settle_group(self, argument, columns, exactly):
        """Pin the columns that the other rules leave no choice; the rest, if it is still a group."""
        can_be_on = self.lower[columns] < self.upper[columns]
        forced = [j for j in columns[self.pinned[columns]] if self._is_pinned_on(j, argument)]
        if len(forced) > 1:
            raise ValueError(
                f"{self.features.name(forced[0])} and {self.features.name(forced[1])} are both pinned on, but one "
                f"level of {argument} at most can be"
            )
        left = columns[can_be_on & ~self.pinned[columns]]
        self.pinned[columns] = False  # from here on the bounds say it
        if exactly and not forced and len(left) <= 1:
            if len(left) == 0 and np.any(can_be_on):
                raise ValueError(
                    f"every level of {argument} is pinned off ({self.features.several(columns)}), "
                    f"but exactly one must be on"
                )
            forced = left.tolist()
        if forced:
            left = columns[:0]
        for j in columns:
            if j in forced:
                self.lower[j] = self.upper[j]
            elif j not in left:
                self.upper[j] = self.lower[j]
        if len(left) != 1:
            return left
        j = left[0]  # one level that may be on or off
        self.origin[j], self.step[j] = self.lower[j], self.upper[j] - self.lower[j]
        self.tolerance[j] = lattice_tolerance(self.lower[j], self.upper[j], self.origin[j], self.step[j])
        return left[:0]

    def _is_pinned_on(self, j, argument):
        off, on = (abs(self.value[j] - end[j]) <= self.tolerance[j] for end in (self.lower, self.upper))
        if not (off or on):
            raise ValueError(
                f"{self.features.name(j)} is pinned to {text(self.value[j])}, but as a level of {argument} it is "
                f"{text(self.lower[j])} (off) or {text(self.upper[j])} (on)"
            )
        return on and not off

    def settle_pins(self):
        """Pin the features outside groups."""
        for j in np.flatnonzero(self.pinned):
            value = self.value[j]
            if self.step[j] > 0.0:
                nearest = self._nearest(j, value)
                if abs(nearest - value) > self.tolerance[j]:
                    raise ValueError(
                        f"{self.features.name(j)} is pinned to {text(value)}, but takes {self._kind(j)} only"
                    )
                value = nearest if self.origin[j] == 0.0 and self.step[j] == 1.0 else value
            if not self.lower[j] - self.tolerance[j] <= value <= self.upper[j] + self.tolerance[j]:
                raise ValueError(
                    f"{self.features.name(j)} is pinned to {text(value)}, outside its bounds {self._interval(j)}"
                )
            self.lower[j] = self.upper[j] = min(max(value, self.lower[j]), self.upper[j])

    def region(self, groups):
        self.step[self.lower == self.upper] = 0.0
        self.origin[self.step == 0.0] = 0.0
        return Region(self.lower, self.upper, self.origin, self.step, tuple(groups), self.tolerance)

    def _nearest(self, j, value):
        return self.origin[j] + np.rint((value - self.origin[j]) / self.step[j]) * self.step[j]

    def _interval(self, j):
        return f"[{text(self.lower[j])}, {text(self.upper[j])}]"

    def _kind(self, j):
        return kind_of_values(self.origin[j], self.step[j])
