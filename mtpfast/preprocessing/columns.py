"""Columns of a table and the features that they become, there and back."""

from __future__ import annotations

from numbers import Real

import numpy as np

from mtpfast.arrays.frames import (
    all_real,
    as_floats,
    concat,
    counts_of,
    holds,
    is_missing,
    kind_of,
    levels_of,
    missing_in,
    numpy_dtype_of,
    take,
    typed,
)
from mtpfast.spaces.rules import Range
from mtpfast.spaces.tied import Table

__all__ = ["LevelsColumn", "MappedColumn", "NumberColumn", "NumbersColumn", "TiedColumns"]


_INVERSE = {np.add: np.subtract, np.subtract: np.add, np.multiply: np.divide, np.divide: np.multiply}
_GRID = 1025  # places at which the inverse of a map is bracketed, and its slope looked at
_LISTED = 5_000  # whole numbers between two ends that are listed; of more only those in the table are
_STEPS = 16  # neighbouring floats that are tried for the one that is mapped to a given number


class NumberColumn:
    """A raw column: its name and its values, a Series or an array, and what its own library has for them."""

    def __init__(self, name, values, native):
        self.name, self.values, self.native = name, values, native
        self.missing = missing_in(values)

    def python_type(self):
        """The one type of the values in a column of objects; float where there are several."""
        if kind_of(self.values) != "O":
            return float
        types = {type(value) for value in take(self.values, np.flatnonzero(~self.missing)).tolist()}
        return types.pop() if len(types) == 1 else float

    def usual(self, rows=None):
        """One typical value (of these rows), as a native column of length 1."""
        present = np.flatnonzero(~self.missing) if rows is None else rows
        if not len(present):
            return take(self.native, np.zeros(1, dtype=np.intp))
        values = take(self.values, present)
        if kind_of(values) in "iuf":
            at = np.argsort(as_floats(values), kind="stable")[(len(values) - 1) // 2]
        else:
            try:
                counts = counts_of(values)
                at = values.tolist().index(max(counts, key=counts.get))
            except TypeError:  # not hashable
                at = 0
        return take(self.native, present[[at]])

    def numbers(self, origin) -> Range | None:
        """The range of a column that the steps treat as numbers; None where it has no value."""
        kind = kind_of(self.values)
        if kind not in "biufO" or (kind == "O" and not all_real(take(self.values, np.flatnonzero(~self.missing)))):
            raise TypeError(
                f"column {self.name!r} of dtype {self.values.dtype} is used as numbers, expected numbers or an "
                f"encoder: its values cannot be written back"
            )
        values = as_floats(self.values)
        present = values[np.isfinite(values)]
        markers = [float(m) for m in origin.markers if isinstance(m, (Real, np.number)) and m == m]
        present = present[~np.isin(present, markers)]
        if not len(present):
            return None
        lower, upper = float(present.min()), float(present.max())
        for marker in markers:
            if lower < marker < upper:
                raise TypeError(
                    f"column {self.name!r}: SimpleImputer has missing_values={marker:g}, which lies between its other "
                    f"values, {lower:g} and {upper:g}; a range without it is not a range"
                )
        if kind not in "iu" and np.all((present == lower) | (present == upper)):
            return Range("two", lower, upper)
        if np.all(present == np.rint(present)):
            if max(-lower, upper) > 2**53:
                raise TypeError(f"column {self.name!r} has whole numbers beyond 2**53, which float64 cannot tell apart")
            return Range("whole", lower, upper)
        return Range(numpy_dtype_of(self.values) if kind == "f" else np.dtype(np.float64), lower, upper)

    def listed(self, numbers: Range):
        """``(numbers, counts)``: those of a range that are told apart by what becomes of them, and how often each is
        in the table. Whole numbers of a range that is not too long, the two ends, or what the table has."""
        values = as_floats(self.values)
        inside, counts = np.unique(
            values[np.isfinite(values) & (values >= numbers.lower) & (values <= numbers.upper)], return_counts=True
        )
        if numbers.kind == "two":
            known = np.unique([numbers.lower, numbers.upper])
        elif numbers.kind == "whole" and numbers.upper - numbers.lower < _LISTED:
            known = np.arange(numbers.lower, numbers.upper + 1.0)
        else:
            known = inside
        times = np.zeros(len(known))
        times[np.searchsorted(known, inside[np.isin(inside, known)])] = counts[np.isin(inside, known)]
        return known, times

    def categories(self, origin):
        """``(values, n_allowed, counts)``: values that the encoder knows, the excluded ones last."""
        counts = counts_of(take(self.values, np.flatnonzero(~self.missing)))
        markers = [m for m in origin.markers if not is_missing(m)]
        allowed, fillers, levels = [], [], levels_of(self.native)
        known = sorted(counts) if origin.binned else np.asarray(origin.categories).tolist()
        for category in known:
            if is_missing(category) or category in markers or not holds(self.values, category):
                continue
            if levels is not None and category not in levels:
                continue
            filler = category not in counts and any(category == filler for filler in origin.fillers)
            (fillers if filler else allowed).append(category)
        missing = self.values[self.missing][:1] if self.missing.any() else None
        blank = len(origin.fillers) > 0 or any(map(is_missing, known))
        excluded = typed(fillers, self.values) if missing is None else missing if blank else None
        values = typed(allowed, self.values)
        weights = [counts.get(value, 0) for value in allowed]
        if not allowed:
            if excluded is None or not len(excluded):
                raise TypeError(f"column {self.name!r}: none of the encoder's categories can be held by its dtype")
            return excluded, len(excluded), np.ones(len(excluded))
        if excluded is not None and len(excluded):
            values = concat([values, excluded])
        return values, len(allowed), np.append(np.array(weights, dtype=float), np.zeros(len(values) - len(allowed)))


class LevelsColumn:
    """A column of categories: a table of the rows that they are mapped to."""

    def __init__(self, source, columns, values, n_allowed, weights):
        self.source, self.columns = source, np.asarray(columns, dtype=np.intp)
        self.values, self._n_allowed, self._weights = values, n_allowed, weights

    def fill(self, table) -> bool:
        """Take the categories' rows; keep one category per row, and those that must be left out, out.

        False where the rows are neither a one-hot group nor evenly spaced codes: see :meth:`tied`.
        """
        allowed = np.arange(len(table)) < self._n_allowed
        return self._read(table, allowed) or (len(self.columns) == 1 and self._read(table, allowed | True))

    def tied(self, table) -> TiedColumns:
        """The same categories as a list of rows; of equal rows the most frequent category stands for all."""
        rows = np.argsort(-self._weights[: self._n_allowed], kind="stable")
        column = TiedColumns([self.source], self.columns, [take(self.values, rows)])
        column.fill(table[rows])
        return column

    def _read(self, table, allowed):
        rows = np.flatnonzero(allowed)
        rows = rows[np.argsort(-self._weights[rows], kind="stable")]  # the most frequent stands for equal ones
        distinct, first = np.unique(table[rows], axis=0, return_index=True)
        rows = rows[first]
        low, high = distinct.min(axis=0), distinct.max(axis=0)
        varying = np.flatnonzero(high > low)
        default, step, chosen = None, 0.0, np.zeros(1, dtype=np.intp)
        if len(varying) == 1:
            codes = distinct[:, varying[0]]
            step = (codes[-1] - codes[0]) / (len(codes) - 1)
            if np.any(np.abs(np.diff(codes) - step) > 1e-9 * step):
                return False
            chosen = np.arange(len(codes))
        elif len(varying) > 1:
            on = distinct[:, varying] == high[varying]
            if np.any((distinct[:, varying] != low[varying]) & ~on) or np.any(on.sum(axis=1) > 1):
                return False
            chosen = np.argmax(on, axis=0)  # the level that switches each column on
            plain = np.flatnonzero(~on.any(axis=1))
            default = int(plain[0]) if len(plain) else None
        self.values, self.table = take(self.values, rows), distinct
        self.varying, self.default, self.step, self._chosen = varying, default, step, chosen
        self._low, self._span = low[varying], high[varying] - low[varying]
        self._weights = self._weights[rows]
        return True

    def codes(self, points):
        """Row of ``values`` and ``table`` that is nearest to each point."""
        if len(self.varying) == 0:
            return np.zeros(len(points), dtype=np.intp)
        height = (points[:, self.columns[self.varying]] - self._low) / self._span
        if len(self.varying) == 1:
            last = len(self.table) - 1
            return np.clip(np.rint(height[:, 0] * last), 0, last).astype(np.intp)
        best = np.argmax(height, axis=1)
        codes = self._chosen[best]
        if self.default is not None:
            codes = np.where(height[np.arange(len(points)), best] < 0.5, self.default, codes)
        return codes


class TiedColumns:
    """Columns whose values come together from a list of records, and the rows of features that these are mapped to.

    ``values``: of every source the values of these records, the ones that stand for equal rows first.
    """

    def __init__(self, sources, columns, values):
        self.sources, self.columns = list(sources), np.asarray(columns, dtype=np.intp)
        self.values = values

    def fill(self, rows):
        """Take the features of the records, of equal ones the first."""
        if not len(self.columns):  # dropped by the preprocessing: any of the records will do
            rows, first = rows[:1], np.zeros(1, dtype=np.intp)
        else:
            rows, first = np.unique(rows, axis=0, return_index=True)
        self.values = [take(values, first) for values in self.values]
        self.table = Table(np.arange(len(self.columns)), rows)

    def codes(self, points):
        """Row of ``values`` and of the table that is nearest to each point."""
        return self.table.nearest(points[:, self.columns])


class NumbersColumn:
    """Columns of numbers that go through the same steps, each with parameters of its own."""

    def __init__(self, kind, entries):
        self.kind = kind
        self.sources = np.array([entry[0] for entry in entries], dtype=np.intp)
        self.columns = np.array([entry[1] for entry in entries], dtype=np.intp)
        programs = [entry[2] for entry in entries]
        self._program = [
            (step.dtype, step.ufunc, np.array([program[i].number for program in programs]))
            for i, step in enumerate(programs[0])
        ]
        self.lower = np.array([entry[3].lower for entry in entries])
        self.upper = np.array([entry[3].upper for entry in entries])
        if any(ufunc in (np.maximum, np.minimum) for _, ufunc, _ in self._program):
            self._narrow()
        first, last = self.forward(np.stack([self.lower, self.upper]))
        self._rises = last >= first
        self.low, self.high = np.minimum(first, last), np.maximum(first, last)
        self._at_low = np.where(self._rises, self.lower, self.upper)
        self._at_high = np.where(self._rises, self.upper, self.lower)

    def _narrow(self):
        """Leave out what clipping maps to the same number as the end of its range."""
        ends = np.stack([self.lower, self.upper])
        image = self.forward(ends)
        if self.kind == "two":
            inner = np.where(image[0] == image[1], ends[:1], ends)
        else:
            eps = max(np.finfo(dtype).eps for dtype, _, _ in self._program)
            room = 1e3 * eps * np.maximum(np.max(np.abs(ends), axis=0), ends[1] - ends[0])
            inner = self._backward(image)
            inner = np.where(np.abs(inner - ends) <= room, ends, inner)
            if self.kind == "whole":
                inner = np.stack([np.ceil(inner[0] - room), np.floor(inner[1] + room)])
            inner = np.where(inner[0] > inner[1], ends[:1], inner)  # all of it is clipped to one end
        self.lower, self.upper = np.clip(inner, *ends)

    def forward(self, raw, which=slice(None)):
        """The features, as the steps compute them; ``which`` column each number belongs to."""
        x = np.array(raw, dtype=np.float64)
        for dtype, ufunc, numbers in self._program:
            x = x.astype(dtype, copy=False)
            ufunc(x, numbers[which], out=x, casting="same_kind")
        return x.astype(np.float64, copy=False)

    def _backward(self, x, which=slice(None)):
        x = np.array(x, dtype=np.float64)
        for _, ufunc, numbers in reversed(self._program):
            if ufunc in _INVERSE:
                _INVERSE[ufunc](x, numbers[which], out=x)
        return x

    def raw(self, points):
        """The numbers whose features are nearest to the points', as float64."""
        features = points[:, self.columns]
        if self.kind == "two":
            return np.where(features - self.low > 0.5 * (self.high - self.low), self._at_high, self._at_low)
        raw = np.clip(self._backward(features), self.lower, self.upper)
        if self.kind == "whole":
            return np.rint(raw)
        raw = np.clip(raw.astype(self.kind).astype(np.float64), self.lower, self.upper)
        raw = np.where(features <= self.low, self._at_low, np.where(features >= self.high, self._at_high, raw))
        row, which = np.nonzero((self.forward(raw) != features) & (features > self.low) & (features < self.high))
        if len(row):
            raw[row, which] = self._search(raw[row, which], features[row, which], which)
        return raw

    def step(self):
        """The step of the lattice that the features lie on; 0 where there is none, or none to speak of."""
        if self.kind not in ("whole", "two"):
            return np.zeros(len(self.columns))
        step = self._slope() * (1.0 if self.kind == "whole" else self.upper - self.lower)
        # So many values that rounding blurs them are a range, whose records are whole all the same.
        return np.where(self.rounding() < step, step, 0.0)

    def rounding(self):
        """How far the features of ``raw(p)`` may be from p, for p in the space of records."""
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        if self.kind == "two":
            return np.zeros(len(self.columns))
        if self.kind == "whole":  # off the lattice through the ends
            raw = np.rint(np.linspace(self.lower, self.upper, 1025))
            line = self.forward(self._at_low[None]) + self._slope() * np.abs(raw - self._at_low)
            off = 2.0 * np.max(np.abs(self.forward(raw) - line), axis=0)
            return np.where(off + 4e-15 * size < 0.1 * self._slope(), off, self._slope())
        eps = max(np.finfo(dtype).eps for dtype in (self.kind, *(dtype for dtype, _, _ in self._program)))
        return 8.0 * eps * (size + self._slope() * np.maximum(np.abs(self.lower), np.abs(self.upper)))

    def _slope(self):
        return (self.high - self.low) / np.where(self.upper > self.lower, self.upper - self.lower, 1.0)

    def _search(self, raw, features, which):
        """The neighbouring float that is mapped nearest to the feature, hence to it where any is."""
        found = self.forward(raw, which)
        best, error = raw, np.abs(found - features)
        up = (found < features) == self._rises[which]
        end = np.where(up, self.upper[which], self.lower[which]).astype(self.kind)
        at = raw.astype(self.kind)
        for _ in range(_STEPS):
            at = np.nextafter(at, end)
            off = np.abs(self.forward(at, which) - features)
            best, error = np.where(off < error, at.astype(np.float64), best), np.minimum(off, error)
            if not np.any(error):
                break
        return best


class MappedColumn:
    """A column of floats whose steps have a monotone map among them; the members are those of :class:`NumbersColumn`.

    Forward is what the steps compute; back is a bisection of the floats between two ends.
    """

    def __init__(self, source, feature, program, numbers: Range, known, name):
        self.kind, self._program = numbers.kind, program
        self.sources, self.columns = np.array([source], dtype=np.intp), np.array([feature], dtype=np.intp)
        self.lower, self.upper = np.array([numbers.lower]), np.array([numbers.upper])
        near = (numbers.upper - numbers.lower) * np.logspace(-18, -1, 137)  # maps are steepest at the ends
        known = known[:: max(1, len(known) // (4 * _GRID))]  # and bend at quantiles of the table
        grid = np.linspace(numbers.lower, numbers.upper, _GRID)
        places = np.concatenate([grid, known, numbers.lower + near, numbers.upper - near])
        places = places.astype(self.kind).astype(np.float64)
        self._places = np.unique(np.clip(places, numbers.lower, numbers.upper))
        images = self.forward(self._places[:, None])[:, 0]
        self._sign = 1.0 if images[-1] >= images[0] else -1.0
        self._images = self._sign * images
        blur = 1e-12 * (1.0 + np.abs(images[1:]))
        if not np.all(np.isfinite(images)) or np.any(np.diff(self._images) < -blur):
            raise TypeError(
                f"column {name!r}: a step maps its range, {numbers.lower:g} to {numbers.upper:g}, to numbers that are "
                f"not finite or not monotone: its values cannot be written back"
            )
        self._images = np.maximum.accumulate(self._images)
        self.low, self.high = np.array([images.min()]), np.array([images.max()])

    def forward(self, raw):
        """The features (n, 1) of raw numbers (n, 1), as the steps compute them."""
        x = np.array(raw, dtype=np.float64)[:, 0]
        with np.errstate(all="ignore"):
            for step in self._program:
                x = x.astype(step.dtype, copy=False)
                x = step(x) if step.ufunc is None else step.ufunc(x, step.number, out=x.copy(), casting="same_kind")
        return x.astype(np.float64)[:, None]

    def raw(self, points):
        """The numbers (n, 1) whose features are nearest to the points'."""
        features = self._sign * np.clip(points[:, self.columns[0]], self.low[0], self.high[0])
        right = np.clip(np.searchsorted(self._images, features, side="right"), 1, len(self._places) - 1)
        low, high = self._places[right - 1].astype(self.kind), self._places[right].astype(self.kind)
        for _ in range(80):
            middle = (0.5 * (low.astype(np.float64) + high)).astype(self.kind)
            if np.all((middle <= low) | (middle >= high)):
                break
            below = self._sign * self.forward(middle[:, None])[:, 0] <= features
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        best, off = low, np.abs(self._sign * self.forward(low[:, None])[:, 0] - features)
        for at in self._neighbours(low, high):
            other = np.abs(self._sign * self.forward(at[:, None])[:, 0] - features)
            best, off = np.where(other < off, at, best), np.minimum(other, off)
            if not np.any(off):
                break
        return best.astype(np.float64)[:, None]

    def _neighbours(self, low, high):
        """The floats at and around two neighbours, nearest first, within the range: computed maps waver."""
        lower, upper = (end.astype(self.kind) for end in (self.lower, self.upper))
        for _ in range(_STEPS // 2):
            yield high
            low, high = np.nextafter(low, lower), np.nextafter(high, upper)
            yield low

    def step(self):
        """No lattice."""
        return np.zeros(1)

    def rounding(self):
        """How far the features of ``raw(p)`` may be from p: what the next float changes, where it changes most."""
        here, ends = self._places.astype(self.kind), (self.lower, self.upper)
        beside = [self.forward(np.nextafter(here, end.astype(self.kind))[:, None]) for end in ends]
        jump = np.abs(np.array(beside) - self.forward(here[:, None]))
        size = max(abs(self.low[0]), abs(self.high[0]))
        return np.array([4.0 * float(np.max(jump)) + 8.0 * np.finfo(np.float64).eps * size])
