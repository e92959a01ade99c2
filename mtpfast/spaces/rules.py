"""Rules on the columns of a table that inserted records keep, by the names of the columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frames import take
from mtpfast.arrays.labels import plain

__all__ = ["UNCHANGED", "Range", "Rules", "rules_of_columns"]


UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Range:
    """Numbers from ``lower`` to ``upper``: a float dtype, "whole", or "two" (the ends alone)."""

    kind: Any
    lower: float
    upper: float


class Rules:
    """What records may hold in raw columns, over what the table allows anyway.

    Parameters
    ----------
    rules : mapping of column to rule
        A value: every record holds it. A tuple ``(low, high)`` of two numbers, or of a number and None: a range, its
        ends included. A list or set: the allowed levels. "unchanged": the columns that say so agree, together, with
        some row of the table (a level of that name is given as a list of one). The key ``"y"`` (where no column has
        that name) names the label, or the labels, of the records.
    columns : list
        The columns of the table.

    Attributes
    ----------
    labels : list or None
        The labels that records may carry.
    unchanged : list
        The columns that agree, together, with some row of the table.

    Raises
    ------
    ValueError
        For a column that is not there, and for a rule that leaves nothing of what the table allows.

    Examples
    --------
    >>> from mtpfast.spaces.rules import Rules
    >>> rules = Rules({"month": "may", "age": (18, 60), "y": "no"}, ["age", "month"])
    >>> rules.labels, rules.keeps("age", 61), rules.keeps("month", "may")
    (['no'], False, True)
    """

    def __init__(self, rules: Mapping | None, columns):
        self.rules: dict[Any, Any] = {}
        self.labels, self.unchanged = None, []
        if rules is None:
            return
        if not isinstance(rules, Mapping):
            raise TypeError(f"rules must be a mapping of columns to rules, got {type(rules).__name__}")
        for name, rule in rules.items():
            if name not in columns:
                if name != "y":
                    known = ", ".join(map(repr, columns[:8])) + (", ..." if len(columns) > 8 else "")
                    raise ValueError(f"rules: there is no column {name!r}; the columns are {known}")
                self.labels = list(rule) if isinstance(rule, (list, set, frozenset, tuple)) else [rule]
                if not self.labels:
                    raise ValueError("rules: y must hold a label at least")
                continue
            if isinstance(rule, str) and rule == UNCHANGED:
                self.unchanged.append(name)
            else:
                self.rules[name] = _read(name, rule)

    def __bool__(self) -> bool:
        return bool(self.rules) or bool(self.unchanged) or self.labels is not None

    def keeps(self, name, value) -> bool:
        """Whether a record may hold this value."""
        rule = self.rules.get(name)
        if rule is None:
            return True
        if isinstance(rule, tuple):
            return isinstance(value, (Real, np.number)) and bool(rule[0] <= value <= rule[1])
        return any(value == one for one in rule)

    def rows(self, name, values) -> np.ndarray:
        """Which entries of a column keep its rule: boolean array."""
        return np.array([self.keeps(name, value) for value in values.tolist()], dtype=bool)

    def range(self, name, numbers):
        """A range of numbers, narrowed: None stays None."""
        rule = self.rules.get(name)
        if rule is None or numbers is None:
            return numbers
        ends = f"the table's range, {numbers.lower:g} to {numbers.upper:g}"
        low, high = rule if isinstance(rule, tuple) else (-math.inf, math.inf)
        if isinstance(rule, list):
            low, high = _consecutive(name, rule, numbers)
        if numbers.kind == "two":
            kept = [end for end in (numbers.lower, numbers.upper) if low <= end <= high]
            kept = [end for end in kept if self.keeps(name, end)]
            if not kept:
                raise ValueError(
                    f"rules: column {name!r} is {numbers.lower:g} or {numbers.upper:g}, the rule has neither"
                )
            return replace(numbers, lower=kept[0], upper=kept[-1])
        low, high = max(low, numbers.lower), min(high, numbers.upper)
        if numbers.kind == "whole":
            low, high = math.ceil(low), math.floor(high)
        else:
            low, high = _inside(low, numbers.kind, 1), _inside(high, numbers.kind, -1)
        if not low <= high:
            raise ValueError(f"rules: column {name!r}: the rule {_shown(rule)} leaves nothing of {ends}")
        return replace(numbers, lower=float(low), upper=float(high))

    def levels(self, name, values, n_allowed, weights):
        """``(values, n_allowed, weights)`` of a column of levels, without those that the rule leaves out."""
        if name not in self.rules:
            return values, n_allowed, weights
        kept = self.rows(name, take(values, np.arange(n_allowed)))
        if not kept.any():
            known = [plain(value) for value in take(values, np.arange(min(n_allowed, 6))).tolist()]
            rule = _shown(self.rules[name])
            raise ValueError(f"rules: column {name!r} has no level that keeps the rule {rule}; it has {known}")
        rows = np.append(np.flatnonzero(kept), np.arange(n_allowed, len(values))).astype(np.intp)
        return take(values, rows), int(kept.sum()), np.asarray(weights)[rows]


def rules_of_columns(rules, X, low, high, space):
    """``(low, high, space)``: bounds of numbers and the other arguments of a feature space, with rules on its columns.

    X is an array or a CSR matrix of numbers; ``space["names"]`` names its columns, or they go by number.
    """
    names = space.get("names")
    names = list(range(X.shape[1])) if names is None else list(names)
    rules, low, high = Rules(rules, names), np.array(low), np.array(high)
    for name in rules.rules:
        j = names.index(name)
        column = X[:, [j]].toarray().ravel() if sp.issparse(X) else X[:, j]
        kind = np.dtype(np.float64)
        if np.all(column == np.rint(column)):
            kind = "whole"
        elif np.all((column == low[j]) | (column == high[j])):
            kind = "two"
        kept = rules.range(name, Range(kind, float(low[j]), float(high[j])))
        low[j], high[j] = kept.lower, kept.upper
    if rules.unchanged:
        columns = [names.index(name) for name in rules.unchanged]
        rows = X[:, columns].toarray() if sp.issparse(X) else X[:, columns]
        space = space | {"tied": [*space.get("tied", ()), (columns, np.unique(rows, axis=0))]}
    if rules.labels is not None:
        if space.get("labels") is not None:
            raise ValueError(f"rules name the labels {rules.labels}, and labels={list(space['labels'])}: leave one out")
        space = space | {"labels": rules.labels}
    return low, high, space


def _read(name, rule):
    """A rule as a range (tuple) or a list of values."""
    if isinstance(rule, tuple):
        ends = [(-math.inf, math.inf)[i] if end is None else end for i, end in enumerate(rule)]
        if len(ends) != 2 or any(isinstance(e, bool) or not isinstance(e, (Real, np.number)) for e in ends):
            raise ValueError(
                f"rules: column {name!r}: a range is two numbers (or None), got {rule!r}; levels are a list"
            )
        if not ends[0] <= ends[1]:
            raise ValueError(f"rules: column {name!r}: the range {rule!r} is empty")
        return tuple(float(end) for end in ends)
    if isinstance(rule, (list, set, frozenset, np.ndarray)):
        values = [plain(value) for value in rule]
        if not values:
            raise ValueError(f"rules: column {name!r}: no level is allowed")
        return values
    return [plain(rule)]


def _consecutive(name, values, numbers):
    """The range of a list of numbers for a column that is used as numbers."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"rules: column {name!r} is used as numbers, got {value!r}")
    low, high = float(min(values)), float(max(values))
    if numbers.kind == "two" or low == high:
        if numbers.kind == "whole" and low != round(low):
            raise ValueError(f"rules: column {name!r} holds whole numbers, got {low:g}")
        if numbers.kind != "two" and not numbers.lower <= low <= numbers.upper:
            ends = f"the table's range, {numbers.lower:g} to {numbers.upper:g}"
            raise ValueError(f"rules: column {name!r}: {low:g} is not within {ends}")
        return low, high
    if numbers.kind != "whole" or sorted(set(values)) != list(range(int(low), int(high) + 1)):
        raise ValueError(
            f"rules: column {name!r} is used as numbers: a value or a range (low, high) was expected, got the levels "
            f"{values[:6]}"
        )
    return low, high


def _inside(end, dtype, direction):
    """The float of this dtype that is nearest to an end of a range, inside it."""
    dtype = np.dtype(dtype).type
    near = dtype(end)
    if (near < end) if direction > 0 else (near > end):
        near = np.nextafter(near, dtype(direction * np.inf))
    return float(near)


def _shown(rule):
    return f"{rule[0]:g} to {rule[1]:g}" if isinstance(rule, tuple) else f"{rule[:6]}"
