"""What a user says about features: which ones are meant, and the rules for one label in normal form.

A *specification* of features is an index, a slice, a boolean mask, a name, or a sequence of indices
and names. It is kept as plain values (int, slice, boolean array, str, tuple of int and str) and
resolved once the number of features and their names are known; a contradiction is told by the
argument it stands in and the feature it concerns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from numbers import Integral

import numpy as np

from .magnitude import check_magnitude
from .region import LATTICE_TOL, Group, Region, lattice_tolerance

__all__ = [
    "SHOWN",
    "Features",
    "broken_rule",
    "check_order",
    "is_named",
    "normal_form",
    "plain",
    "read_bound",
    "read_groups",
    "read_lattice",
    "read_names",
    "read_pins",
    "read_spec",
    "show_spec",
    "text",
    "with_indices",
]

SHOWN = 6  # how many features a message or a repr lists


# -- reading --------------------------------------------------------------------------------------


def read_spec(spec, argument):
    """A specification of features as an int, a str, a slice, a boolean array or a tuple of int and str."""
    if isinstance(spec, slice):
        ends = (spec.start, spec.stop, spec.step)
        if all(end is None or isinstance(end, Integral) for end in ends):
            return slice(*(None if end is None else int(end) for end in ends))
    elif _is_feature(spec):
        return plain(spec)
    elif isinstance(spec, Iterable) and not isinstance(spec, (Mapping, bytes)):
        items = list(spec)
        if items and all(isinstance(item, (bool, np.bool_)) for item in items):
            return _read_only(np.array(items, dtype=bool))
        if all(map(_is_feature, items)):
            return tuple(map(plain, items))
    raise TypeError(f"{argument}: features are an index, a slice, a mask, a name or a sequence of these, got {spec!r}")


def read_groups(value, argument):
    """A sequence of specifications, one for each group."""
    if value is None:
        return ()
    if isinstance(value, (str, slice, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a list of groups, each several features, got {value!r}")
    specs = []
    for i, spec in enumerate(value):
        if _is_feature(spec) or isinstance(spec, (bool, np.bool_)):
            raise TypeError(f"{argument} must be a list of groups, each several features, got the group {spec!r}")
        specs.append(read_spec(spec, f"{argument}[{i}]"))
    return tuple(specs)


def read_lattice(value):
    """Pairs (specification, (origin, step))."""
    pairs = []
    for spec, item in _pairs(value, "lattice"):
        try:
            origin, step = (float(part) for part in item)
        except (TypeError, ValueError):
            raise TypeError(
                f"lattice must map features to (origin, step), got {item!r} for {show_spec(spec)}"
            ) from None
        if not (np.isfinite(origin) and np.isfinite(step) and step > 0.0):
            raise ValueError(
                f"lattice must have a finite origin and a finite step above 0, got {(origin, step)} "
                f"for {show_spec(spec)}"
            )
        pairs.append((spec, (origin, step)))
    return tuple(pairs)


def read_pins(value):
    """Pairs (specification, number or read-only vector)."""
    pairs = []
    for spec, item in _pairs(value, "fixed"):
        try:
            pin = np.array(item, dtype=float)
        except (TypeError, ValueError):
            raise TypeError(f"fixed must map features to numbers, got {item!r} for {show_spec(spec)}") from None
        if pin.ndim > 1 or not np.all(np.isfinite(pin)):
            raise ValueError(
                f"fixed must map features to a finite number, or to one each, got {item!r} for {show_spec(spec)}"
            )
        pairs.append((spec, float(pin) if pin.ndim == 0 else _read_only(pin)))
    return tuple(pairs)


def _pairs(value, argument):
    """(specification, value) pairs of a mapping, or of a sequence of pairs: a list or a mask is no key."""
    if value is None:
        return []
    try:
        pairs = [(spec, item) for spec, item in (value.items() if isinstance(value, Mapping) else value)]
    except (TypeError, ValueError):
        raise TypeError(f"{argument} must map features to values, or be a sequence of pairs, got {value!r}") from None
    return [(read_spec(spec, argument), item) for spec, item in pairs]


def read_names(names):
    """The names of all features as a tuple, or None."""
    if names is None:
        return None
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"names must be strings, got {name!r}")
    names = tuple(map(str, names))
    if len(set(names)) < len(names):
        seen = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise ValueError(f"names must differ, got {twice!r} twice")
    return names


def read_bound(value, argument):
    """A finite bound: a float, or a read-only vector with one number per feature."""
    try:
        bound = np.array(value, dtype=float)  # a copy: the caller may change the original
    except (TypeError, ValueError):
        raise TypeError(f"{argument} must be a number or one number per feature, got {value!r}") from None
    if bound.ndim > 1:
        raise ValueError(f"{argument} must be a number or one number per feature, got shape {bound.shape}")
    bad = ~np.isfinite(bound.ravel())
    if np.any(bad):
        at = f" at feature {np.argmax(bad)}" if bound.ndim else ""
        raise ValueError(
            f"{argument} must be finite (the maximum over an unbounded set is infinite), "
            f"got {bound.ravel()[bad][0]:g}{at}"
        )
    check_magnitude(bound, argument)
    return float(bound) if bound.ndim == 0 else _read_only(bound)


def check_order(lower, upper, names=None):
    """Raise unless ``lower <= upper``; either may be a number or a vector."""
    try:
        low, high = np.broadcast_arrays(lower, upper)
    except ValueError:
        raise ValueError(f"lower and upper disagree: {np.size(lower)} and {np.size(upper)} features") from None
    wrong = np.ravel(low > high)
    if np.any(wrong):
        j = int(np.argmax(wrong))
        name = f" ({names[j]!r})" if names is not None and np.ndim(low) and j < len(names) else ""
        raise ValueError(f"lower > upper at feature {j}{name}: {np.ravel(low)[j]:g} > {np.ravel(high)[j]:g}")


def _is_feature(item):
    return isinstance(item, (str, Integral)) and not isinstance(item, (bool, np.bool_))


# -- resolving ------------------------------------------------------------------------------------


class Features:
    """So many features, with or without names."""

    def __init__(self, n: int, names: tuple[str, ...] | None = None):
        if names is not None and len(names) != n:
            raise ValueError(f"feasible_set has {len(names)} names, expected {n}, one for each feature")
        self.n, self.names = n, names

    @cached_property
    def _position(self):
        return None if self.names is None else {name: j for j, name in enumerate(self.names)}

    def columns(self, spec, argument) -> np.ndarray:
        """The indices that a specification means, in its order."""
        if isinstance(spec, slice):
            return np.arange(*spec.indices(self.n))
        if isinstance(spec, np.ndarray):
            if len(spec) != self.n:
                raise ValueError(f"{argument} has a mask of {len(spec)} features, expected {self.n}")
            return np.flatnonzero(spec)
        columns = []
        for item in with_indices(spec if isinstance(spec, tuple) else (spec,), self._position, argument):
            if isinstance(item, str):
                raise ValueError(f"{argument} names feature {item!r}, but the names of the features are not known")
            if not -self.n <= item < self.n:
                raise ValueError(f"{argument} has feature {item}, out of range for {self.n} features")
            columns.append(item % self.n)
        if len(set(columns)) < len(columns):
            twice = max(columns, key=columns.count)
            raise ValueError(f"{argument} lists {self.name(twice)} twice")
        return np.array(columns, dtype=np.intp)

    def name(self, j) -> str:
        """A feature in words."""
        return f"feature {j}" if self.names is None else f"feature {j} ({self.names[j]!r})"

    def several(self, columns) -> str:
        """The first few of several features."""
        shown = [str(j) if self.names is None else repr(self.names[j]) for j in list(columns)[:SHOWN]]
        return ", ".join([*shown, "..."] if len(columns) > SHOWN else shown)


def is_named(spec) -> bool:
    """Whether a specification uses names."""
    return isinstance(spec, str) or (isinstance(spec, tuple) and any(isinstance(item, str) for item in spec))


def with_indices(spec, position, argument):
    """The specification with an index for every name; names stay if ``position`` is None."""
    if position is None or not is_named(spec):
        return spec
    if isinstance(spec, tuple):
        return tuple(with_indices(item, position, argument) for item in spec)
    if spec not in position:
        known = ", ".join(map(repr, list(position)[:SHOWN])) + (", ..." if len(position) > SHOWN else "")
        raise ValueError(f"{argument} names feature {spec!r}, which is none of {known}")
    return position[spec]


# -- the normal form ------------------------------------------------------------------------------


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
            kept.append(Group(*map(_read_only, (left, *ends)), exactly))
    draft.settle_pins()
    kept.sort(key=lambda group: group.columns[0])
    return draft.region(kept)


class _Draft:
    """Bounds and lattices of every feature while the rules are worked into them, one after the other."""

    def __init__(self, features, lower, upper):
        self.features = features
        self.lower, self.upper = (np.array(np.broadcast_to(bound, features.n)) for bound in (lower, upper))
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
        return _kind(self.origin[j], self.step[j])


# -- in words -------------------------------------------------------------------------------------


def broken_rule(region: Region, x, features: Features) -> str:
    """The first rule of the region that a point breaks; "" if it is inside."""
    allowed = region.each_allowed(x)
    if not np.all(allowed):
        j = int(np.argmin(allowed))
        return f"{features.name(j)} is {text(x[j])}, {_broken_by_value(region, j, x[j])}"
    for group in region.groups:
        on = group.columns[np.abs(x[group.columns] - group.on) <= region.tolerance[group.columns]]
        if len(on) > 1:
            return f"features {features.several(on)} are on, one level of their group at most may be"
        if group.exactly and len(on) == 0:
            return f"none of the features {features.several(group.columns)} is on, one level of the group must be"
    return ""


def _broken_by_value(region, j, value):
    low, high = region.lower[j], region.upper[j]
    if low == high:
        return f"pinned to {text(low)}"
    if any(j in group.columns for group in region.groups):
        return f"a level is {text(low)} (off) or {text(high)} (on)"
    if value < low - region.tolerance[j]:
        return f"below its lower bound {text(low)}"
    if value > high + region.tolerance[j]:
        return f"above its upper bound {text(high)}"
    if abs(high - low - region.step[j]) <= region.tolerance[j]:
        return f"neither {text(low)} nor {text(high)}"
    return f"not {_kind(region.origin[j], region.step[j], one=True)}"


def _kind(origin, step, one=False) -> str:
    """The values of a lattice in words."""
    if step == 1.0 and origin == np.rint(origin):
        return "a whole number" if one else "whole numbers"
    return f"{'one of' if one else 'values'} {text(origin)} + k * {text(step)}"


def text(value) -> str:
    """The shortest decimal that reads back as the number."""
    return repr(float(value)).removesuffix(".0")


def show_spec(spec) -> str:
    """A specification of features, short."""
    if isinstance(spec, np.ndarray):
        return f"<mask: {int(spec.sum())} of {len(spec)} features>"
    if not isinstance(spec, tuple):
        return repr(spec)
    if len(spec) <= SHOWN:
        return repr(list(spec))
    return f"<{len(spec)} features: {', '.join(map(repr, spec[:3]))}, ...>"


def plain(value):
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _read_only(array):
    array.flags.writeable = False
    return array
