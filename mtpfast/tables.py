"""Records of a user's table, and the rows that a preprocessing makes of them: there and back.

A poisoning point is found among the rows that the victim is trained on. It can be inserted into
the user's table only if some record is mapped to exactly that row. Every step known here maps one
raw column to columns of its own, so the rows that records can have are a product over the raw
columns: an interval, a lattice or two values for a number, a one-hot group or a list of codes for
a category.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from .feasible import FeatureSpace
from .frames import (
    all_real,
    as_floats,
    as_table,
    assemble,
    column_names,
    columns_of,
    concat,
    counts_of,
    emptied,
    holds,
    is_frame,
    is_missing,
    kind_of,
    levels_of,
    missing_in,
    native_columns,
    numpy_dtype_of,
    take,
    take_records,
    typed,
)
from .rules import Features
from .steps import Cell, Origin, is_fitted, names_out, to_matrix, trace

__all__ = ["RecordCodec"]

_INVERSE = {np.add: np.subtract, np.subtract: np.add, np.multiply: np.divide, np.divide: np.multiply}
_STEPS = 16  # neighbouring floats that are tried for the one that is mapped to a given number
_TRACED = 64  # rows that are taken through the steps one by one
_CHECKED = 20_000  # rows on which the arithmetic here is compared with the transformer's


class RecordCodec:
    """Raw records to the rows that a preprocessing makes of them, and back.

    With :math:`T` the fitted preprocessing, ``encode`` is :math:`T` and ``decode`` a right inverse
    on the rows that records can have,

    .. math:: T(\\mathrm{decode}(p)) = \\mathrm{canonical}(p), \\qquad
              |\\mathrm{canonical}(p) - p| \\le \\text{rounding} \\quad (p \\in \\mathtt{space}),

    and :math:`\\mathrm{canonical}(\\mathrm{canonical}(p)) = \\mathrm{canonical}(p)` bit for bit.

    Parameters
    ----------
    transformer : fitted transformer
        A ColumnTransformer, a Pipeline or one step of OneHotEncoder, OrdinalEncoder, MinMaxScaler,
        StandardScaler, MaxAbsScaler and SimpleImputer; 'passthrough' and 'drop' where those stand.
    X : DataFrame or array-like of shape (n_samples, n_columns)
        The raw table; not kept.

    Attributes
    ----------
    space : FeatureSpace
        The rows that records can have. A number lies between the least and the largest of its
        column in X; integers stay whole (a lattice after scaling), and so do floats that all are;
        booleans, and floats of two values, take these two; other floats are continuous. A category
        is one that the encoder knows and the column's dtype can hold.
    rounding : ndarray of shape (n_features,)
        How far ``canonical(p)`` may be from a point p of ``space``.
    names : list of str or None
        The transformer's ``get_feature_names_out()``.
    columns : list
        The raw columns' names, or their numbers.

    Raises
    ------
    TypeError
        For a step, or a use of one, that cannot be traced back to records. The message names it.

    Notes
    -----
    Records do not hold missing values, nor a filler that an imputer puts in their place and that X
    does not contain, except where nothing else is left: a column without any value, or an ordinal
    code in the middle of its range. A column that the preprocessing drops gets its median (numbers)
    or its most frequent value. Categories that share one column (``min_frequency``) are written as
    the most frequent of them.

    ``encode`` calls the transformer. ``canonical`` repeats its arithmetic step by step, which is
    compared with it bit for bit on X here, and costs microseconds per column.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
    >>> from mtpfast.tables import RecordCodec
    >>> table = pd.DataFrame({"age": [20, 30, 60], "work": ["state", "private", "private"]})
    >>> transformer = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"])).fit(table)
    >>> codec = RecordCodec(transformer, table)
    >>> codec.decode([[0.376, 0.0, 1.0]])
       age   work
    0   35  state
    >>> codec.canonical([[0.376, 0.0, 1.0]])
    array([[0.375, 0.   , 1.   ]])
    """

    def __init__(self, transformer, X):
        X = as_table(X)
        if not is_fitted(transformer):
            raise TypeError(f"transformer is a {type(transformer).__name__} that is not fitted")
        self._transformer = transformer
        self._frame = emptied(X) if is_frame(X) else np.empty((0, X.shape[1]), dtype=X.dtype)
        self.columns = column_names(X)
        parts = zip(self.columns, columns_of(X), native_columns(X), strict=True)
        raw = [_Column(name, column, native) for name, column, native in parts]
        origins = [Origin() for _ in raw]
        with warnings.catch_warnings():  # what a transformer has to say, it says when the user calls it
            warnings.simplefilter("ignore")
            few = take_records(X, np.arange(min(len(X), _TRACED)))
            _, cells = trace(transformer, few, [Cell(j) for j in range(len(raw))], origins, ())
        self.n_features = len(cells)
        self._read(raw, origins, cells)
        self._check(X)
        self.names = names_out(transformer)
        self.space = self._space()

    # -- there and back -----------------------------------------------------------------------

    def encode(self, records) -> np.ndarray:
        """What the transformer makes of records: ndarray of shape (n_records, n_features)."""
        if len(records) == 0:
            return np.empty((0, self.n_features))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = to_matrix(self._transformer.transform(records))
        return rows.toarray() if sp.issparse(rows) else rows

    def decode(self, points):
        """Records whose rows are ``canonical(points)``: a table of the kind and dtypes of X.

        Parameters
        ----------
        points : array-like or sparse matrix of shape (n_points, n_features)
            Rows of ``space``; others are moved to one.

        Returns
        -------
        records : DataFrame or ndarray of shape (n_points, n_columns)
        """
        points = self._points(points)
        n = len(points)
        columns: list[Any] = [None] * len(self.columns)
        for block in self._numbers:
            for j, column in zip(block.sources, block.raw(points).T, strict=True):
                columns[j] = self._numbers_of(column, j)
        for levels in self._levels:
            columns[levels.source] = take(levels.values, levels.codes(points))
        for j, value in self._constant.items():
            columns[j] = take(value, np.zeros(n, dtype=np.intp))
        return assemble(self._frame, columns, n)

    def canonical(self, points) -> np.ndarray:
        """``encode(decode(points))``, without making the records: ndarray of shape (n_points, n_features)."""
        points = self._points(points)
        rows = np.empty_like(points)
        for block in self._numbers:
            rows[:, block.columns] = block.forward(block.raw(points))
        for levels in self._levels:
            rows[:, levels.columns] = levels.table[levels.codes(points)]
        return rows

    def has(self, points) -> np.ndarray:
        """For every point, whether it is the row of a record, bit for bit: boolean array of shape (n_points,)."""
        return np.all(self.canonical(points) == self._points(points), axis=1)

    def values(self) -> dict:
        """For every column that does not hold numbers of the attack: the values that records have there."""
        every = {**self._constant, **{levels.source: levels.values for levels in self._levels}}
        return {self.columns[j]: every[j] for j in sorted(every)}

    def probes(self):
        """Records that tell all models apart that records can tell apart: one, and one per other end or level."""
        region = next(iter(self.space.regions(self.n_features).values()))
        base = region.linear_argmax(np.zeros(self.n_features))
        points = [base]
        grouped = np.zeros(self.n_features, dtype=bool)
        for group in region.groups:
            grouped[group.columns] = True
            for j, on in zip(group.columns, group.on, strict=True):
                points.append(base.copy())
                points[-1][group.columns] = group.off
                points[-1][j] = on
        for j in np.flatnonzero((region.lower < region.upper) & ~grouped):
            points.append(base.copy())
            points[-1][j] = region.upper[j] if base[j] < 0.5 * (region.lower[j] + region.upper[j]) else region.lower[j]
        return self.decode(np.array(points))

    def narrow(self, given: FeatureSpace) -> FeatureSpace:
        """The rows of records that also lie in another space.

        Parameters
        ----------
        given : FeatureSpace
            Its features are those of ``space``. Bounds (on numbers) and pinned numbers are moved to the
            nearest row of a record, which is a rounding away.

        Raises
        ------
        ValueError
            If nothing is left, or its lattices and groups contradict those of the records.
        """
        given = given.bind(self.names)
        given.bounds(self.n_features)  # a space that does not fit is refused in its own words
        rules = _Narrowed(self, given)
        space = FeatureSpace(
            rules.of_each_label(given.lower, rules.lower),
            rules.of_each_label(given.upper, rules.upper),
            lattice=rules.lattice(),
            one_hot=rules.groups(True),
            at_most_one=rules.groups(False),
            fixed=rules.fixed(),
            labels=given.labels,
            names=self.names,
        )
        return space._with_canonical(self.canonical, self.rounding)

    def round_floats(self, point):
        """A point with every continuous number moved to one that a record can have."""
        rounded = np.array(point, dtype=np.float64)
        for block in self._numbers:
            if block.kind not in ("whole", "two"):
                rounded[block.columns] = block.forward(block.raw(rounded[None]))[0]
        return rounded

    def __repr__(self) -> str:
        return f"<RecordCodec: {len(self.columns)} columns, {self.n_features} features, {self.space!r}>"

    # -- construction -------------------------------------------------------------------------

    def _read(self, raw, origins, cells):
        """What every raw column can be, and the features that it rules."""
        self._kinds = [column.python_type() for column in raw]
        self._empty = [column.values[:0] for column in raw]
        self._constant, self._levels, blocks = {}, [], {}
        features = [[] for _ in raw]
        for feature, cell in enumerate(cells):
            features[cell.source].append(feature)
        for j, (column, origin) in enumerate(zip(raw, origins, strict=True)):
            if not features[j] and origin.categories is None:
                self._constant[j] = column.usual()
            elif not features[j]:  # an encoder of one category that has no column
                values, n_allowed, weights = column.categories(origin)
                self._constant[j] = take(values, [int(np.argmax(weights[:n_allowed]))])
            elif origin.categories is not None:
                self._levels.append(_Levels(j, features[j], *column.categories(origin)))
            else:
                numbers = column.numbers(origin)
                if numbers is None:  # no value at all: the record has none either
                    self._levels.append(_Levels(j, features[j], column.values[:1], 1, np.ones(1)))
                    continue
                (feature,) = features[j]
                program = cells[feature].program
                signature = tuple((step.dtype, step.ufunc, step.number.dtype) for step in program)
                blocks.setdefault((signature, numbers.kind), []).append((j, feature, program, numbers))
        self._numbers = [_Numbers(kind, entries) for (_, kind), entries in blocks.items()]
        self._fill_tables()

    def _fill_tables(self):
        """The rows of every category, as the transformer makes them: one call for all columns."""
        if not self._levels:
            return
        n = max(len(levels.values) for levels in self._levels)
        columns: list[Any] = [None] * len(self.columns)
        for block in self._numbers:
            for j, low in zip(block.sources, block.lower, strict=True):
                columns[j] = self._numbers_of(np.full(n, low), j)
        for levels in self._levels:
            columns[levels.source] = take(levels.values, np.arange(n) % len(levels.values))
        for j, value in self._constant.items():
            columns[j] = take(value, np.zeros(n, dtype=np.intp))
        rows = self.encode(assemble(self._frame, columns, n))
        for levels in self._levels:
            levels.fill(rows[: len(levels.values)][:, levels.columns], self.columns[levels.source])

    def _check(self, X):
        """The arithmetic here against the transformer's, bit for bit, on rows of X."""
        rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), _CHECKED)).astype(np.intp))
        sample = take_records(X, rows)
        known = columns_of(sample)
        encoded = self.encode(sample)
        for block in self._numbers:
            values = np.stack([as_floats(known[j]) for j in block.sources], axis=1)
            given = np.isfinite(values) & (values >= block.lower) & (values <= block.upper)
            same = block.forward(np.where(given, values, block.lower)) == encoded[:, block.columns]
            wrong = np.flatnonzero(np.any(given & ~same, axis=0))
            if len(wrong):
                raise TypeError(
                    f"column {self.columns[block.sources[wrong[0]]]!r}: the transformer does not compute what the "
                    f"parameters of its steps say, so its rows cannot be traced back to records"
                )

    def _space(self):
        lower, upper = np.empty(self.n_features), np.empty(self.n_features)
        self.rounding = np.zeros(self.n_features)
        lattice, one_hot, at_most_one = {}, [], []
        for block in self._numbers:
            lower[block.columns], upper[block.columns] = block.low, block.high
            self.rounding[block.columns] = block.rounding()
            step = block.step()
            for i in np.flatnonzero(step > 0.0):
                lattice[int(block.columns[i])] = (block.low[i], step[i])
        for levels in self._levels:
            lower[levels.columns], upper[levels.columns] = levels.table.min(axis=0), levels.table.max(axis=0)
            varying = levels.columns[levels.varying]
            if len(varying) == 1:
                lattice[int(varying[0])] = (lower[varying[0]], levels.step)
            elif len(varying) > 1:
                (one_hot if levels.default is None else at_most_one).append(varying.tolist())
        space = FeatureSpace(
            lower, upper, lattice=lattice or None, one_hot=one_hot, at_most_one=at_most_one, names=self.names
        )
        return space._with_canonical(self.canonical, self.rounding)

    # -- tables -------------------------------------------------------------------------------

    def _points(self, points):
        if sp.issparse(points):
            points = points.toarray()
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.n_features:
            raise ValueError(f"points must have shape (n_points, {self.n_features}), got {points.shape}")
        return points

    def _numbers_of(self, numbers, j):
        """Numbers (float64) as values of column j."""
        like = self._empty[j]
        kind = kind_of(like)
        if kind == "O":
            return typed([self._kinds[j](number) for number in numbers.tolist()], like)
        return typed(numbers.astype(numpy_dtype_of(like)) if kind in "biu" else numbers, like)


class _Narrowed:
    """The rules of a space of records, with those of another space added."""

    def __init__(self, codec, given):
        self.codec, self.own, self.given, self.d = codec, codec.space, given, codec.n_features
        self.features = Features(self.d, codec.names)
        self.region = next(iter(self.own.regions(self.d).values()))
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


# -- what a raw column can be -----------------------------------------------------------------


@dataclass(frozen=True)
class _Range:
    """Numbers from ``lower`` to ``upper``: a float dtype, "whole", or "two" (the ends alone)."""

    kind: Any
    lower: float
    upper: float


class _Column:
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

    def usual(self):
        """One typical value, as a native column of length 1."""
        present = np.flatnonzero(~self.missing)
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

    def numbers(self, origin) -> _Range | None:
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
            return _Range("two", lower, upper)
        if np.all(present == np.rint(present)):
            if max(-lower, upper) > 2**53:
                raise TypeError(f"column {self.name!r} has whole numbers beyond 2**53, which float64 cannot tell apart")
            return _Range("whole", lower, upper)
        return _Range(numpy_dtype_of(self.values) if kind == "f" else np.dtype(np.float64), lower, upper)

    def categories(self, origin):
        """``(values, n_allowed, counts)``: values that the encoder knows, the excluded ones last."""
        counts = counts_of(take(self.values, np.flatnonzero(~self.missing)))
        markers = [m for m in origin.markers if not is_missing(m)]
        allowed, fillers, levels = [], [], levels_of(self.native)
        for category in np.asarray(origin.categories).tolist():
            if is_missing(category) or category in markers or not holds(self.values, category):
                continue
            if levels is not None and category not in levels:
                continue
            filler = category not in counts and any(category == filler for filler in origin.fillers)
            (fillers if filler else allowed).append(category)
        missing = self.values[self.missing][:1] if self.missing.any() else None
        blank = len(origin.fillers) > 0 or any(map(is_missing, np.asarray(origin.categories).tolist()))
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


# -- one raw column's part of a row -----------------------------------------------------------


class _Levels:
    """A column of categories: a table of the rows that they are mapped to."""

    def __init__(self, source, columns, values, n_allowed, weights):
        self.source, self.columns = source, np.asarray(columns, dtype=np.intp)
        self.values, self._n_allowed, self._weights = values, n_allowed, weights

    def fill(self, table, name):
        """Take the categories' rows; keep one category per row, and those that must be left out, out."""
        allowed = np.arange(len(table)) < self._n_allowed
        if not self._read(table, allowed) and not (len(self.columns) == 1 and self._read(table, allowed | True)):
            raise TypeError(
                f"column {name!r}: what its steps make of its categories is neither a one-hot group nor evenly "
                f"spaced codes"
            )

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


class _Numbers:
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
