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
from typing import TYPE_CHECKING

import numpy as np

from mtpfast.arrays.frames import column_names, is_frame
from mtpfast.arrays.frozen import read_only
from mtpfast.arrays.labels import plain
from mtpfast.arrays.magnitude import check_magnitude, is_moderate

if TYPE_CHECKING:
    from .base import Region

__all__ = [
    "Features",
    "SHOWN",
    "agreed",
    "broken_rule",
    "check_order",
    "is_named",
    "kind_of_values",
    "names_of_columns",
    "read_bound",
    "read_groups",
    "read_lattice",
    "read_names",
    "read_pins",
    "read_spec",
    "read_tied",
    "show_spec",
    "text",
    "with_indices",
]


SHOWN = 6  # how many features a message or a repr lists


def agreed(own, names):
    """The names of the features of a feasible set and of the data, which must agree where both have some."""
    if own is None or names is None or own == names:
        return own if names is None else names
    if len(own) != len(names):
        raise ValueError(f"feasible_set has {len(own)} names, the data has {len(names)} features")
    j = next(j for j, (mine, other) in enumerate(zip(own, names, strict=True)) if mine != other)
    raise ValueError(f"feature {j} is {own[j]!r} in feasible_set, {names[j]!r} in the data")


def names_of_columns(X):
    """The names of the columns of a data frame, if all are strings."""
    names = column_names(X) if is_frame(X) else [None]
    return tuple(map(str, names)) if all(isinstance(name, str) for name in names) else None


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
            return read_only(np.array(items, dtype=bool))
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
        pairs.append((spec, float(pin) if pin.ndim == 0 else read_only(pin)))
    return tuple(pairs)


def read_tied(value):
    """Pairs (specification, read-only rows of shape (m, g))."""
    pairs = []
    for spec, item in _pairs(value, "tied"):
        try:
            rows = np.array(item, dtype=float)
        except (TypeError, ValueError):
            raise TypeError(f"tied must map features to rows of numbers, got {item!r} for {show_spec(spec)}") from None
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or not rows.size or not np.all(np.isfinite(rows)):
            raise ValueError(
                f"tied must map features to rows of finite numbers, one for each feature, got shape {rows.shape} for "
                f"{show_spec(spec)}"
            )
        pairs.append((spec, read_only(rows)))
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
    if bound.ndim == 1 and (is_moderate(bound) or not bound.any()):
        return read_only(bound)
    bad = ~np.isfinite(bound.ravel())
    if np.any(bad):
        at = f" at feature {np.argmax(bad)}" if bound.ndim else ""
        raise ValueError(
            f"{argument} must be finite (the maximum over an unbounded set is infinite), "
            f"got {bound.ravel()[bad][0]:g}{at}"
        )
    check_magnitude(bound, argument)
    return float(bound) if bound.ndim == 0 else read_only(bound)


def check_order(lower, upper, names=None):
    """Raise unless ``lower <= upper``; either may be a number or a vector."""
    try:
        if np.less_equal(lower, upper).all():
            return
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
    return f"not {kind_of_values(region.origin[j], region.step[j], one=True)}"


def kind_of_values(origin, step, one=False) -> str:
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
