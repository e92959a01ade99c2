"""A user's feature space taken away from what the table allows."""

from __future__ import annotations

import numpy as np

from mtpfast.spaces.specs import Features

__all__ = ["Narrowed"]


class Narrowed:
    """The rules of a space of records, with those of another space added."""

    def __init__(self, codec, given):
        self.codec, self.own, self.given, self.d = codec, codec.space, given, codec.n_features
        self.features = Features(self.d, codec.names)
        self.region = self.own.region_of(None, self.d)
        self.levels = np.zeros(self.d, dtype=bool)  # the columns of groups
        for group in self.region.groups:
            self.levels[group.columns] = True

    @staticmethod
    def of_each_label(bound, change):
        return {label: change(b) for label, b in bound.items()} if isinstance(bound, dict) else change(bound)

    def lower(self, bound):
        bound = np.broadcast_to(bound, self.d)
        on = np.flatnonzero(self.levels & (bound > self.own.lower + self.region.tolerance))
        if len(on):
            raise ValueError(f"lower excludes that {self.features.name(on[0])}, a level, is off: use fixed")
        return np.where(self.levels, self.own.lower, self.codec.round_floats(np.maximum(bound, self.own.lower)))

    def upper(self, bound):
        """A level is excluded by an upper bound below its on-value."""
        bound = np.broadcast_to(bound, self.d)
        excluded = bound < self.own.upper - self.region.tolerance
        levels = np.where(excluded, self.own.lower, self.own.upper)
        return np.where(self.levels, levels, self.codec.round_floats(np.minimum(bound, self.own.upper)))

    def lattice(self):
        """The records' own, and the other's for what is continuous in records."""
        origin, step = np.zeros((2, self.d))
        for spec, values in [(self.given.integer, (0.0, 1.0)), *self.given.lattice]:
            columns = self.features.columns(spec, "lattice")
            origin[columns], step[columns] = values
        first = np.where(self.levels, self.own.lower, self.region.origin)
        width = np.where(self.levels, self.own.upper - self.own.lower, self.region.step)
        lattice = list(self.own.lattice)
        for j in np.flatnonzero((step > 0.0) & (self.own.lower < self.own.upper)):
            if width[j] == 0.0:
                lattice.append((int(j), (origin[j], step[j])))
                continue
            whole = np.array([first[j] - origin[j], width[j]]) / step[j]
            if np.any(np.abs(whole - np.rint(whole)) > 1e-9 * np.maximum(1.0, np.abs(whole))):
                raise ValueError(f"{self.features.name(j)} takes other values in records than its lattice holds")
        return lattice

    def groups(self, exactly):
        """The records' own, and the other's unless they say the same."""
        argument = "one_hot" if exactly else "at_most_one"
        groups = list(getattr(self.own, argument))
        for spec in getattr(self.given, argument):
            columns = np.sort(self.features.columns(spec, argument))
            same = [group for group in self.region.groups if np.array_equal(group.columns, columns)]
            if not same or (exactly and not same[0].exactly):
                groups.append(columns.tolist())
        return groups

    def fixed(self):
        """Pinned values, moved by a rounding to the nearest that a record has."""
        region, pins = self.region, []
        for spec, value in self.given.fixed:
            for j, number in np.broadcast(self.features.columns(spec, "fixed"), value):
                moved = self.codec.round_floats(np.where(np.arange(self.d) == j, number, self.own.lower))[j]
                if region.step[j] > 0.0:
                    moved = region.origin[j] + np.rint((number - region.origin[j]) / region.step[j]) * region.step[j]
                near = abs(moved - number) <= region.tolerance[j] + self.codec.rounding[j]
                pins.append((int(j), moved if near else number))
        return pins
