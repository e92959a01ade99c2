"""What the steps of a fitted preprocessing do to each column, one column of the table at a time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frames import column_names, columns_of, is_frame, is_missing, library_of, numpy_dtype_of, select

from .penalty import PenaltyScaler

__all__ = ["Cell", "Map", "Origin", "Step", "is_fitted", "is_vectorizer", "names_out", "to_matrix", "trace"]


_KNOWN = (
    "OneHotEncoder, OrdinalEncoder, TargetEncoder, KBinsDiscretizer, MinMaxScaler, StandardScaler, RobustScaler, "
    "MaxAbsScaler, PowerTransformer, QuantileTransformer, FunctionTransformer of a strictly monotone function of "
    "NumPy, SimpleImputer, the selectors of sklearn.feature_selection, the vectorizers of one column of texts, "
    "'passthrough' and 'drop', in a Pipeline or a ColumnTransformer"
)

#: Functions of one number that are strictly monotone wherever they are finite.
MONOTONE = (
    np.log1p, np.log, np.log2, np.log10, np.sqrt, np.cbrt, np.exp, np.exp2, np.expm1, np.arcsinh, np.sinh, np.arctan,
    np.tanh, np.negative,
)  # fmt: skip


@dataclass
class Origin:
    """What the steps say about the values of a raw column."""

    categories: Any = None  # of the encoder that it meets
    binned: bool = False  # or numbers that it sorts into bins: then the table's own values are its categories
    markers: list = field(default_factory=list)  # what an imputer takes for missing
    fillers: list = field(default_factory=list)  # what it writes instead


@dataclass(frozen=True)
class Step:
    """``x = ufunc(x, number)`` in the given dtype."""

    dtype: np.dtype
    ufunc: Any
    number: np.generic


@dataclass(frozen=True)
class Map:
    """``x = f(x)`` of one column, f monotone: that of a fitted transformer, or a function of NumPy.

    ``jumps``: whether f may leave out values between those that it takes.
    """

    dtype: np.dtype
    function: Any
    jumps: bool = False
    ufunc = None  # no step of arithmetic

    def __call__(self, x):
        return self.function(np.asarray(x, dtype=self.dtype))


@dataclass(frozen=True)
class _OneColumn:
    """What a transformer makes of one of its columns: the others stand at values of their own."""

    step: Any
    others: np.ndarray  # (n_columns,)
    column: int

    def __call__(self, x):
        rows = np.repeat(self.others[None].astype(x.dtype), len(x), axis=0)
        rows[:, self.column] = x
        with warnings.catch_warnings():  # it was fitted to a table with names, maybe
            warnings.simplefilter("ignore")
            return np.asarray(self.step.transform(rows))[:, self.column]


@dataclass(frozen=True)
class Cell:
    """One column on its way through the steps: where it comes from and what was done to it."""

    source: int
    program: tuple = ()  # of Step and Map
    encoded: bool = False
    is_text: bool = False


def trace(step, Z, cells, origins, path):
    """``(Z, cells)`` after a step. ``Z`` is a few rows of data, carried along for their type and dtype."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.feature_selection import SelectorMixin
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        KBinsDiscretizer,
        MaxAbsScaler,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        PowerTransformer,
        QuantileTransformer,
        RobustScaler,
        StandardScaler,
        TargetEncoder,
    )

    scalers = (MinMaxScaler, StandardScaler, RobustScaler, MaxAbsScaler, PenaltyScaler)
    kind, scales = type(step), type(step) in scalers
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return Z, cells
    if kind is Pipeline or (issubclass(kind, Pipeline) and kind.__module__.startswith("imblearn.")):
        for name, inner in step.steps:
            Z, cells = trace(inner, Z, cells, origins, (*path, name))
        return Z, cells
    if kind is ColumnTransformer:
        return _trace_columns(step, Z, cells, origins, path)
    if kind is FunctionTransformer and step.func is None:  # what a fitted 'passthrough' is
        return Z, cells
    if kind in (PowerTransformer, QuantileTransformer) or (kind is FunctionTransformer and _is_monotone(step)):
        return _trace_maps(step, Z, cells, path)
    if is_vectorizer(step) or (kind is TfidfTransformer and all(cell.is_text for cell in cells)):
        return _trace_texts(step, Z, cells, origins, path)
    if kind in (OneHotEncoder, OrdinalEncoder, TargetEncoder):
        cells = _trace_encoder(step, cells, origins, path)
    elif kind is SimpleImputer:
        cells = _trace_imputer(step, cells, origins, path)
    elif kind is KBinsDiscretizer:
        cells = _trace_bins(step, cells, origins)
    elif issubclass(kind, SelectorMixin) and kind.__module__.startswith("sklearn.feature_selection."):
        cells = [cells[i] for i in step.get_support(indices=True)]
    elif not scales:
        of = f" of {getattr(step.func, '__name__', step.func)}" if kind is FunctionTransformer else ""
        raise TypeError(
            f"{_where(path, step)}{of} cannot be traced back to records: known are {_KNOWN}. Transform the table "
            f"before, or attack the transformed rows"
        )
    before, Z = Z, step.transform(Z)
    if scales:
        dtype, done = dtype_of(Z), _arithmetic(step, before, Z, len(cells))
        cells = [
            replace(cell, program=cell.program + tuple(Step(dtype, ufunc, x[i]) for ufunc, x in done))
            for i, cell in enumerate(cells)
        ]
    if Z.shape[1] != len(cells):
        raise TypeError(f"{_where(path, step)} makes {Z.shape[1]} columns where {len(cells)} were expected")
    return Z, cells


def _is_monotone(step):
    return any(step.func is function for function in MONOTONE) and not step.kw_args


def _trace_maps(step, Z, cells, path):
    """Each column through a monotone function of its own."""
    if any(cell.encoded for cell in cells):
        raise TypeError(f"{_where(path, step)} follows an encoder: its levels are no numbers")
    dtype, made = dtype_of(Z), []
    own = [numpy_dtype_of(column) for column in columns_of(Z)] if is_frame(Z) else [dtype] * len(cells)
    others = None if hasattr(step, "func") else np.array(_first_row(Z), dtype=np.float64)
    for i in range(len(cells)):
        if others is None:
            made.append(Map(own[i], step.func))
            continue
        quantiles = getattr(step, "quantiles_", None)
        jumps = quantiles is not None and bool(np.any(np.diff(quantiles[:, i]) <= 0.0))
        made.append(Map(dtype, _OneColumn(step, others, i), jumps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Z = step.transform(Z)
    return Z, [Cell(cell.source, (*cell.program, map_), False) for cell, map_ in zip(cells, made, strict=True)]


def _trace_texts(step, Z, cells, origins, path):
    """The words of one column of texts, which takes the texts of the table."""
    if len({cell.source for cell in cells}) > 1 or any(cell.program for cell in cells):
        raise TypeError(f"{_where(path, step)} reads words of more than one column")
    source = cells[0].source
    if not cells[0].is_text:
        Z = columns_of(Z)[0]
        origins[source].categories, origins[source].binned = (), True
    Z = step.transform(Z)
    return Z, [Cell(source, (), True, True)] * Z.shape[1]


def is_vectorizer(step) -> bool:
    """Whether a step, fitted or not, is one of scikit-learn's vectorizers of texts."""
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    return isinstance(step, (CountVectorizer, HashingVectorizer))


def _trace_columns(step, Z, cells, origins, path):
    made, user = [], {}
    names = column_names(Z) if is_frame(Z) else None
    for name, inner, columns in step.transformers_:
        at = _positions(step, columns, Z, names)
        if (isinstance(inner, str) and inner == "drop") or len(at) == 0:
            continue
        for i in at:
            if i in user:
                label = repr(names[i]) if names else i
                raise TypeError(
                    f"{_where(path, step)}: column {label} feeds both {user[i]!r} and {name!r}; one record would have "
                    f"to answer for two features"
                )
            user[i] = name
        part, inner_cells = trace(inner, select(Z, at), [cells[i] for i in at], origins, (*path, name))
        weight = (step.transformer_weights or {}).get(name)
        if weight is not None:
            times = Step(dtype_of(part), np.multiply, np.asarray(weight, dtype=dtype_of(part))[()])
            inner_cells = [replace(cell, program=(*cell.program, times)) for cell in inner_cells]
        made += inner_cells
    return step.transform(Z), made


def _trace_encoder(step, cells, origins, path):
    made = []
    one_hot = type(step).__name__ == "OneHotEncoder"
    for i, cell in enumerate(cells):
        if cell.program and not cell.encoded:
            raise TypeError(f"{_where(path, step)} encodes numbers that an earlier step has scaled")
        width = 1
        if one_hot:
            rare = getattr(step, "infrequent_categories_", None)  # there only where the encoder looks for them
            rare = None if rare is None else rare[i]
            width = len(step.categories_[i]) - (0 if rare is None else len(rare) - 1)
            width -= step.drop_idx_ is not None and step.drop_idx_[i] is not None
        if not cell.encoded:
            origins[cell.source].categories = step.categories_[i]
        made += [Cell(cell.source, cell.program, True)] * int(width)
    return made


def _trace_bins(step, cells, origins):
    made = []
    for cell, n_bins in zip(cells, step.n_bins_, strict=True):
        if not cell.encoded:
            origins[cell.source].categories, origins[cell.source].binned = (), True
        made += [Cell(cell.source, cell.program, True)] * (1 if step.encode == "ordinal" else int(n_bins))
    return made


def _trace_imputer(step, cells, origins, path):
    if step.add_indicator:
        raise TypeError(f"{_where(path, step)} has add_indicator=True: its columns say what is missing in a record")
    kept = []
    for cell, filler in zip(cells, step.statistics_, strict=True):
        if not step.keep_empty_features and is_missing(filler):
            continue
        if cell.program and not is_missing(step.missing_values):
            raise TypeError(
                f"{_where(path, step)} has missing_values={step.missing_values!r} after a step that has scaled numbers"
            )
        if not cell.encoded:
            origins[cell.source].markers.append(step.missing_values)
            origins[cell.source].fillers.append(filler)
        kept.append(cell)
    return kept


def _arithmetic(step, before, after, n):
    """What a scaler does to its columns, in the order and the precision in which it does it."""
    name, sparse, dtype = type(step).__name__, sp.issparse(before), dtype_of(after)
    done, ends = [], (-1.0, 1.0)
    if name == "MinMaxScaler":
        done = [(np.multiply, step.scale_), (np.add, step.min_)]
        ends = step.feature_range
    elif name in ("MaxAbsScaler", "PenaltyScaler"):
        done = [(np.multiply, 1.0 / step.scale_) if sparse else (np.divide, step.scale_)]
    elif name == "RobustScaler" and sparse:
        done = [(np.multiply, 1.0 / step.scale_)] if step.with_scaling else []
    elif name == "RobustScaler":
        done = [(np.subtract, step.center_)] if step.with_centering else []
        done += [(np.divide, step.scale_)] if step.with_scaling else []
    elif sparse and step.with_std:
        done = [(np.multiply, 1 / step.scale_)]
    elif not sparse:
        done = [(np.subtract, step.mean_)] if step.with_mean else []
        done += [(np.divide, step.scale_)] if step.with_std else []
        rounded = [(ufunc, numbers.astype(dtype)) for ufunc, numbers in done]
        if np.array_equal(_run(rounded, before, dtype), np.asarray(after), equal_nan=True):
            done = rounded  # recent versions of scikit-learn round mean_ and scale_ to float32 where X is
    if getattr(step, "clip", False):
        low, high = (np.full(n, end, dtype=dtype) for end in ends)
        done += [(np.maximum, low), (np.minimum, high)]
    return done


def _first_row(Z):
    return [column[0] for column in columns_of(Z)] if is_frame(Z) else np.asarray(Z)[0]


def _run(done, before, dtype):
    x = np.array(before, dtype=dtype)
    for ufunc, numbers in done:
        ufunc(x, numbers, out=x, casting="same_kind")
    return x


def _positions(step, columns, Z, names):
    """The columns of Z that a ColumnTransformer hands to one of its parts."""
    own = list(getattr(step, "feature_names_in_", names or ()))  # the columns that it was fitted to
    number = {name: i for i, name in enumerate(own)}
    every = list(range(len(own) or Z.shape[1]))
    if isinstance(columns, slice) and isinstance(columns.start or columns.stop, str):
        first = 0 if columns.start is None else number[columns.start]
        last = len(own) if columns.stop is None else number[columns.stop] + 1
        at = every[slice(first, last, columns.step)]
    elif isinstance(columns, slice):
        at = every[columns]
    else:
        columns = [columns] if np.ndim(columns) == 0 else list(columns)
        if columns and all(isinstance(c, (bool, np.bool_)) for c in columns):
            columns = np.flatnonzero(columns).tolist()
        at = [number[c] if isinstance(c, str) else every[c] for c in columns]
    if names and own != names:  # the same columns in another order, or among others
        where = {name: i for i, name in enumerate(names)}
        at = [where[own[i]] for i in at]
    return at


def _where(path, step):
    name = type(step).__name__
    return f"step {' > '.join(map(repr, path))} ({name})" if path else name


def is_fitted(transformer) -> bool:
    """Whether every step of a transformer is fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if transformer is None or isinstance(transformer, str):
        return True
    if hasattr(transformer, "steps"):
        return all(is_fitted(step) for _, step in transformer.steps)
    try:
        check_is_fitted(transformer)
    except NotFittedError:
        return False
    return True


def names_out(transformer) -> list[str] | None:
    """The names of a transformer's columns, or None where it has none that tell them apart."""
    try:
        names = [str(name) for name in transformer.get_feature_names_out()]
    except (AttributeError, ValueError):  # no names, or ColumnTransformer's own complaint about equal ones
        return None
    return names if len(set(names)) == len(names) else None


def to_matrix(Z):
    """What a transformer returned, as the float64 array or CSR matrix that the victim is trained on."""
    if sp.issparse(Z):
        return sp.csr_matrix(Z).astype(np.float64)
    if library_of(Z) == "pandas" and hasattr(Z, "sparse") and all(_is_sparse_dtype(dtype) for dtype in Z.dtypes):
        return sp.csr_matrix(Z.sparse.to_coo()).astype(np.float64)
    return np.ascontiguousarray(Z, dtype=np.float64)


def dtype_of(Z):
    if library_of(Z) == "pandas":
        return np.result_type(*Z.dtypes)
    return np.asarray(Z).dtype if is_frame(Z) else Z.dtype


def _is_sparse_dtype(dtype):
    return type(dtype).__name__ == "SparseDtype"
