"""Records of a user's table, and the rows that a preprocessing makes of them: there and back.

A poisoning point is found among the rows that the victim is trained on. It can be inserted into
the user's table only if some record is mapped to exactly that row. Every step known here maps one
raw column to columns of its own, so the rows that records can have are a product over the raw
columns: an interval, a lattice or two values for a number, a one-hot group or a list of codes for
a category.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frames import (
    as_floats,
    as_table,
    assemble,
    column_names,
    columns_of,
    emptied,
    is_frame,
    kind_of,
    native_columns,
    numpy_dtype_of,
    take,
    take_records,
    typed,
)
from mtpfast.spaces.features import FeatureSpace
from mtpfast.spaces.intersection import Intersection
from mtpfast.spaces.rules import Rules

from .columns import LevelsColumn, MappedColumn, NumberColumn, NumbersColumn, TiedColumns
from .narrowed import Narrowed
from .steps import Cell, Origin, is_fitted, names_out, to_matrix, trace

__all__ = ["RecordCodec"]


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
        A ColumnTransformer, a Pipeline or one step of OneHotEncoder, OrdinalEncoder, TargetEncoder (as it was fitted),
        KBinsDiscretizer, MinMaxScaler, StandardScaler, RobustScaler, MaxAbsScaler, PowerTransformer,
        QuantileTransformer, FunctionTransformer of a function in :data:`mtpfast.preprocessing.steps.MONOTONE`,
        SimpleImputer and the selectors of sklearn.feature_selection; a vectorizer of one column of texts beside other
        columns; 'passthrough' and 'drop' where those stand.
    X : DataFrame or array-like of shape (n_samples, n_columns)
        The raw table; not kept.
    rules : mapping, optional
        What records may hold in raw columns besides: see :class:`mtpfast.spaces.rules.Rules`.

    Attributes
    ----------
    space : FeatureSpace
        The rows that records can have. A number lies between the least and the largest of its
        column in X; integers stay whole (a lattice after scaling), and so do floats that all are;
        booleans, and floats of two values, take these two; other floats are continuous. A category
        is one that the encoder knows and the column's dtype can hold; a bin stands for the value of the
        table that most rows have in it.
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
    code in the middle of its range. A number that a map bends (PowerTransformer, ...) takes what it takes without one:
    floats a range, and whole numbers these values; where the map jumps, or more whole numbers lie in the range than can
    be listed, those of the table. A column of texts takes the texts of the table. A column that the preprocessing
    drops gets its median (numbers) or its most frequent value. Categories that share one column (``min_frequency``)
    are written as the most frequent of them. Codes that are not evenly spaced (TargetEncoder's), and columns that rules
    leave unchanged, take the rows of a table: of records that have the same row the first is written.

    ``encode`` calls the transformer. ``canonical`` repeats its arithmetic step by step, which is
    compared with it bit for bit on X here, and costs microseconds per column.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
    >>> from mtpfast.preprocessing.tables import RecordCodec
    >>> table = pd.DataFrame({"age": [20, 30, 60], "work": ["state", "private", "private"]})
    >>> transformer = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"])).fit(table)
    >>> codec = RecordCodec(transformer, table)
    >>> codec.decode([[0.376, 0.0, 1.0]])
       age   work
    0   35  state
    >>> codec.canonical([[0.376, 0.0, 1.0]])
    array([[0.375, 0.   , 1.   ]])
    """

    def __init__(self, transformer, X, rules=None):
        X = as_table(X)
        if not is_fitted(transformer):
            raise TypeError(f"transformer is a {type(transformer).__name__} that is not fitted")
        self._transformer = transformer
        self._frame = emptied(X) if is_frame(X) else np.empty((0, X.shape[1]), dtype=X.dtype)
        self.columns = column_names(X)
        self.rules = Rules(rules, self.columns)
        parts = zip(self.columns, columns_of(X), native_columns(X), strict=True)
        raw = [NumberColumn(name, column, native) for name, column, native in parts]
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
        for tied in self._tied:
            codes = tied.codes(points)
            for j, values in zip(tied.sources, tied.values, strict=True):
                columns[j] = take(values, codes)
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
        for tied in self._tied:
            rows[:, tied.columns] = tied.table.rows[tied.codes(points)]
        return rows

    def has(self, points) -> np.ndarray:
        """For every point, whether it is the row of a record, bit for bit: boolean array of shape (n_points,)."""
        return np.all(self.canonical(points) == self._points(points), axis=1)

    def values(self) -> dict:
        """For every column that does not hold numbers of the attack: the values that records have there."""
        every = {**self._constant, **{levels.source: levels.values for levels in self._levels}}
        for tied in self._tied:
            every |= dict(zip(tied.sources, tied.values, strict=True))
        return {self.columns[j]: every[j] for j in sorted(every)}

    def probes(self):
        """Records that tell all models apart that records can tell apart: one, and one per other end or level."""
        region = self.space.region_of(None, self.n_features)
        base = region.linear_argmax(np.zeros(self.n_features))
        points = [base]
        grouped = np.zeros(self.n_features, dtype=bool)
        for tied in self._tied:
            grouped[tied.columns] = True
            for row in tied.table.rows:
                points.append(base.copy())
                points[-1][tied.columns] = row
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

    def narrow(self, given) -> FeatureSpace | Intersection:
        """The rows of records that also lie in another space.

        Parameters
        ----------
        given : FeatureSpace, Ball, Slab or Intersection of such
            Its features are those of ``space``. Bounds (on numbers) and pinned numbers are moved to the
            nearest row of a record, which is a rounding away.

        Raises
        ------
        ValueError
            If nothing is left, or its lattices and groups contradict those of the records.
        """
        if hasattr(given, "rules_of"):  # a ball, slabs: records inside them
            labels = self._labels_within(given.labels)
            return Intersection([self.space, given.bind(self.names)], labels=labels, names=self.names)
        if not isinstance(given, FeatureSpace):
            raise TypeError(
                f"feasible_set must be a FeatureSpace, a Ball or a Slab where the victim reads records, got {given!r}"
            )
        given = given.bind(self.names)
        given.bounds(self.n_features)  # a space that does not fit is refused in its own words
        rules = Narrowed(self, given)
        space = FeatureSpace(
            rules.of_each_label(given.lower, rules.lower),
            rules.of_each_label(given.upper, rules.upper),
            lattice=rules.lattice(),
            one_hot=rules.groups(True),
            at_most_one=rules.groups(False),
            fixed=rules.fixed(),
            tied=(*self.space.tied, *given.tied),
            labels=self._labels_within(given.labels),
            names=self.names,
        )
        return space._with_canonical(self.canonical, self.rounding)

    def _labels_within(self, given):
        own = self.rules.labels
        if own is None or given is None:
            return given if own is None else own
        both = [label for label in own if label in given]
        if not both:
            raise ValueError(f"rules allow the labels {own}, feasible_set {list(given)}: none is left")
        return both

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
        self._constant, self._levels, self._tied, blocks, mapped = {}, [], [], {}, []
        features = [[] for _ in raw]
        for feature, cell in enumerate(cells):
            features[cell.source].append(feature)
        unchanged = [j for j, column in enumerate(raw) if column.name in self.rules.unchanged]
        if unchanged:
            self._tied.append(self._of_the_table(raw, unchanged, [k for j in unchanged for k in features[j]]))
        for j, (column, origin) in enumerate(zip(raw, origins, strict=True)):
            if j in unchanged:
                continue
            if not features[j] and origin.categories is None:
                self._constant[j] = column.usual(self._kept_rows(column))
            elif not features[j]:  # an encoder of one category that has no column
                values, n_allowed, weights = self.rules.levels(column.name, *column.categories(origin))
                self._constant[j] = take(values, [int(np.argmax(weights[:n_allowed]))])
            elif origin.categories is not None:
                levels = self.rules.levels(column.name, *column.categories(origin))
                self._levels.append(LevelsColumn(j, features[j], *levels))
            else:
                numbers = self.rules.range(column.name, column.numbers(origin))
                if numbers is None:  # no value at all: the record has none either
                    self._levels.append(LevelsColumn(j, features[j], column.values[:1], 1, np.ones(1)))
                    continue
                (feature,) = features[j]
                program = cells[feature].program
                maps = [step for step in program if step.ufunc is None]
                if maps and (numbers.kind in ("whole", "two") or any(step.jumps for step in maps)):
                    known, times = column.listed(numbers)
                    self._levels.append(LevelsColumn(j, [feature], self._numbers_of(known, j), len(known), times))
                    continue
                if maps:
                    mapped.append(MappedColumn(j, feature, program, numbers, column.listed(numbers)[0], column.name))
                    continue
                signature = tuple((step.dtype, step.ufunc, step.number.dtype) for step in program)
                blocks.setdefault((signature, numbers.kind), []).append((j, feature, program, numbers))
        self._numbers = [NumbersColumn(kind, entries) for (_, kind), entries in blocks.items()] + mapped
        self._fill_tables()

    def _kept_rows(self, column):
        """The entries of a dropped column that keep its rule; None where it has none."""
        if column.name not in self.rules.rules:
            return None
        rows = np.flatnonzero(self.rules.rows(column.name, column.values) & ~column.missing)
        if not len(rows):
            raise ValueError(f"rules: no value of column {column.name!r} in the table keeps the rule")
        return rows

    def _of_the_table(self, raw, sources, columns) -> TiedColumns:
        """Columns that agree, together, with a row of the table in which none of them is missing."""
        there = np.flatnonzero(~np.any([raw[j].missing for j in sources], axis=0))
        if not len(there):
            names = ", ".join(repr(raw[j].name) for j in sources)
            raise ValueError(f"rules: no row of the table has a value in all of the unchanged columns {names}")
        return TiedColumns(sources, columns, [take(raw[j].values, there) for j in sources])

    def _fill_tables(self):
        """The rows of every category, as the transformer makes them: one call for all columns."""
        sizes = [len(levels.values) for levels in self._levels] + [len(tied.values[0]) for tied in self._tied]
        if not sizes:
            return
        n = max(sizes)
        columns: list[Any] = [None] * len(self.columns)
        for block in self._numbers:
            for j, low in zip(block.sources, block.lower, strict=True):
                columns[j] = self._numbers_of(np.full(n, low), j)
        for levels in self._levels:
            columns[levels.source] = take(levels.values, np.arange(n) % len(levels.values))
        for tied in self._tied:
            for j, values in zip(tied.sources, tied.values, strict=True):
                columns[j] = take(values, np.arange(n) % len(values))
        for j, value in self._constant.items():
            columns[j] = take(value, np.zeros(n, dtype=np.intp))
        rows = self.encode(assemble(self._frame, columns, n))
        for tied in self._tied:
            tied.fill(rows[: len(tied.values[0])][:, tied.columns])
        for levels in list(self._levels):
            table = rows[: len(levels.values)][:, levels.columns]
            if not np.all(np.isfinite(table)):
                at = take(levels.values, [int(np.argmin(np.all(np.isfinite(table), axis=1)))]).tolist()[0]
                raise TypeError(
                    f"column {self.columns[levels.source]!r}: its steps map {at!r} to a number that is not finite"
                )
            if not levels.fill(table):
                self._levels.remove(levels)
                self._tied.append(levels.tied(table))

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
        tables = []
        for tied in self._tied:
            if len(tied.columns):
                lower[tied.columns], upper[tied.columns] = tied.table.rows.min(axis=0), tied.table.rows.max(axis=0)
                tables.append((tied.columns.tolist(), tied.table.rows))
        space = FeatureSpace(
            lower,
            upper,
            lattice=lattice or None,
            one_hot=one_hot,
            at_most_one=at_most_one,
            tied=tables,
            labels=self.rules.labels,
            names=self.names,
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
