"""Tables as users have them: data frames of pandas, polars and pyarrow, arrays, sparse matrices; and their columns.

The one place that knows one kind of table from another. A *column* is a pandas Series or a one-dimensional
array; a *native* column is what its own library makes of it (a polars Series, a pyarrow ChunkedArray, or a
column). A library is loaded only where a table of its own is at hand.
"""

from __future__ import annotations

from collections import Counter
from numbers import Real

import numpy as np
import scipy.sparse as sp

__all__ = [
    "all_real",
    "as_floats",
    "as_table",
    "as_texts",
    "assemble",
    "column_names",
    "column_of",
    "columns_of",
    "concat",
    "counts_of",
    "emptied",
    "frame_of",
    "holds",
    "is_frame",
    "is_missing",
    "kind_of",
    "levels_of",
    "library_of",
    "library_of_column",
    "missing_in",
    "native_columns",
    "native_of",
    "numpy_dtype_of",
    "reordered",
    "select",
    "take",
    "take_records",
    "typed",
]


def as_texts(X, name: str = "X"):
    """Raw texts: a list, an array or a Series of strings, as an array of objects."""
    if isinstance(X, (str, bytes)):
        raise TypeError(f"{name} is one string, expected a list, an array or a Series of them")
    if sp.issparse(X) or is_frame(X):
        raise TypeError(f"{name} is a {type(X).__name__}, expected a list, an array or a Series of strings")
    X = list(X)
    if not X:
        raise ValueError(f"{name} has no texts")
    texts = np.empty(len(X), dtype=object)
    texts[:] = X
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name} must hold strings, got {text!r} in row {i}")
    return texts


def library_of(X) -> str | None:
    """ "pandas", "polars" or "pyarrow" where X is a data frame of theirs; None for anything else."""
    for kind in type(X).__mro__:
        if (kind.__module__.partition(".")[0], kind.__name__) in (("polars", "DataFrame"), ("pyarrow", "Table")):
            return kind.__module__.partition(".")[0]
    return "pandas" if hasattr(type(X), "columns") and hasattr(type(X), "iloc") else None


def is_frame(X) -> bool:
    """Whether a table is a data frame."""
    return library_of(X) is not None


def as_table(X, name: str = "X"):
    """A raw table: a data frame as it is, anything else as a two-dimensional array."""
    if sp.issparse(X):
        raise TypeError(f"{name} is a sparse matrix, expected a raw table: a DataFrame or an array, as of toarray()")
    if is_frame(X):
        names = column_names(X)
        if len(set(names)) < len(names):
            twice = next(key for key, count in Counter(names).items() if count > 1)
            raise ValueError(f"{name} has more than one column {twice!r}")
    elif hasattr(type(X), "columns"):
        raise TypeError(
            f"{name} is a {type(X).__module__.partition('.')[0]} {type(X).__name__}, expected a data frame of pandas, "
            f"polars or pyarrow, or an array"
        )
    else:
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"{name} must be a table of rows and columns, got shape {X.shape}")
    if X.shape[0] == 0:
        raise ValueError(f"{name} has no rows")
    return X


def take_records(table, rows):
    """Some rows of a table, renumbered from 0."""
    taken = reordered(table, rows)
    return taken.reset_index(drop=True) if library_of(table) == "pandas" else taken


def reordered(table, rows):
    """Some rows of a table, of texts or of labels, in a given order; row labels go with their rows."""
    if hasattr(table, "iloc"):
        return table.iloc[rows]
    if isinstance(table, (list, tuple)):
        return type(table)([table[i] for i in rows])
    if sp.issparse(table):
        return table.tocsr()[rows].asformat(table.format)
    return table.take(rows) if library_of_column(table) == "pyarrow" else table[rows]


def emptied(table):
    """A data frame without its rows: its kind, columns and dtypes."""
    library = library_of(table)
    if library == "pandas":
        return table.iloc[:0].reset_index(drop=True).copy()
    return table.clear() if library == "polars" else table.schema.empty_table()


def column_names(table) -> list:
    """The names of a table's columns, or their numbers."""
    if not is_frame(table):
        return list(range(table.shape[1]))
    return list(table.column_names if library_of(table) == "pyarrow" else table.columns)


def native_columns(table) -> list:
    """The columns of a table as its own library has them."""
    library = library_of(table)
    if library == "pandas":
        return [table.iloc[:, j].reset_index(drop=True) for j in range(table.shape[1])]
    if library == "polars":
        return table.get_columns()
    return table.columns if library == "pyarrow" else [table[:, j] for j in range(table.shape[1])]


def columns_of(table) -> list:
    """The columns of a table."""
    return [column_of(native) for native in native_columns(table)]


def levels_of(native) -> list | None:
    """The only values that a native column can hold, where a column made of it does not say so; else None."""
    if library_of_column(native) == "polars" and hasattr(native.dtype, "categories"):
        levels = native.dtype.categories
        return levels.to_list() if hasattr(levels, "to_list") else None
    return None


def select(table, at):
    """The columns of a table with the given numbers."""
    library = library_of(table)
    if library == "pandas":
        return table.iloc[:, at]
    if library == "pyarrow":
        return table.select(at)
    if sp.issparse(table):
        return sp.csc_matrix(table)[:, at].tocsr()
    return table[:, at]


def assemble(like, columns, n):
    """A table of n rows of the kind of ``like``, from columns or native columns that its dtypes can hold."""
    library = library_of(like)
    if library is None:
        records = np.empty((n, len(columns)), dtype=like.dtype)
        for j, column in enumerate(columns):
            records[:, j] = column
        return records
    if library == "pandas":
        import pandas as pd

        series = [pd.Series(column, copy=False).reset_index(drop=True) for column in columns]
        frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=range(n))
        frame.columns = like.columns
        return frame
    pairs = zip(columns, native_columns(like), strict=True)
    made = [native_of(column, empty) if isinstance(column, np.ndarray) else column for column, empty in pairs]
    return frame_of(like, made)


def frame_of(like, natives):
    """A frame of polars or pyarrow with the column names of ``like``."""
    if library_of(like) == "polars":
        import polars as pl

        return pl.DataFrame([native.alias(name) for native, name in zip(natives, like.columns, strict=True)])
    import pyarrow as pa

    fields = [field.with_type(native.type) for field, native in zip(like.schema, natives, strict=True)]
    return pa.Table.from_arrays(natives, schema=pa.schema(fields, metadata=like.schema.metadata))


def library_of_column(native):
    library = type(native).__module__.partition(".")[0]
    return library if library in ("polars", "pyarrow") else None


def column_of(native):
    """A native column as a column: of polars' and pyarrow's values, an array."""
    library = library_of_column(native)
    if library is None:
        return native
    # NumPy's view of nested values has more dimensions, and that of a dictionary a value where one is missing.
    whole = native.dtype.is_nested() if library == "polars" else hasattr(native.type, "value_type")
    if not whole:
        return native.to_numpy()
    column = np.empty(len(native), dtype=object)
    for i, value in enumerate(native.to_list() if library == "polars" else native.to_pylist()):
        column[i] = value
    return column


def native_of(column, like):
    """An array as a native column of the dtype of ``like``; what it cannot hold is an error of its library."""
    objects = column.tolist() if column.dtype.kind in "OUS" else None
    if library_of_column(like) == "polars":
        import polars as pl

        if objects is not None:
            return pl.Series(objects, dtype=like.dtype, strict=True)
        series = pl.Series(np.ascontiguousarray(column))
        if column.dtype.kind == "f" and not like.dtype.is_float():
            series = series.fill_nan(None)
        return series.cast(like.dtype)
    import pyarrow as pa

    if objects is not None:
        return pa.chunked_array([pa.array(objects, type=like.type, from_pandas=True)], type=like.type)
    return pa.chunked_array([pa.array(column, from_pandas=True).cast(like.type)], type=like.type)


def _is_series(column):
    return hasattr(column, "iloc")


def take(column, rows):
    """Some values of a column, native or not."""
    taken = reordered(column, rows)
    return taken.reset_index(drop=True) if _is_series(column) else taken


def concat(columns):
    """Columns of one dtype, one after the other."""
    if not _is_series(columns[0]):
        return np.concatenate(columns)
    import pandas as pd

    return pd.concat(columns, ignore_index=True)


def numpy_dtype_of(column):
    """The NumPy dtype behind a column's, nullable ones included."""
    dtype = column.dtype
    return dtype if isinstance(dtype, np.dtype) else getattr(dtype, "numpy_dtype", np.dtype(object))


def kind_of(column):
    """NumPy's letter for the kind of a column, "C" for pandas' categories and "U" for text."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return dtype.kind
    if hasattr(dtype, "categories"):
        return "C"
    return getattr(dtype, "kind", "O") if hasattr(dtype, "numpy_dtype") else "U"


def is_missing(value) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    return value is None or (isinstance(value, (float, np.floating)) and value != value) or repr(value) == "<NA>"


def missing_in(column) -> np.ndarray:
    """Which values of a column are missing."""
    if _is_series(column):
        return column.isna().to_numpy()
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind == "O":
        return np.array([is_missing(value) for value in column], dtype=bool)
    return np.zeros(len(column), dtype=bool)


def all_real(column) -> bool:
    """Whether every value of a column of objects is a number."""
    return all(isinstance(value, (Real, np.number, np.bool_)) for value in column)


def as_floats(column):
    """A column as float64, NaN where a value is missing."""
    if _is_series(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype.kind == "O":
        return np.array([np.nan if is_missing(value) else value for value in column], dtype=np.float64)
    return column.astype(np.float64)


def counts_of(column) -> dict:
    """How often each value that is not missing occurs, in an order that is always the same."""
    if _is_series(column):
        counts = column.value_counts(sort=False)
        return {value: n for value, n in zip(counts.index.tolist(), counts.tolist(), strict=True) if n}
    return dict(Counter(column.tolist()))


def holds(column, value):
    """Whether a column's dtype can hold a value as it is."""
    dtype = column.dtype
    if hasattr(dtype, "categories"):
        return value in dtype.categories
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return True
    try:
        return bool(typed([value], column).tolist()[0] == value)
    except (TypeError, ValueError, OverflowError):
        return False


def typed(values, like):
    """A column of the dtype of ``like``."""
    if _is_series(like):
        import pandas as pd

        return pd.Series(values, dtype=like.dtype)
    column = np.empty(len(values), dtype=like.dtype)
    column[:] = values
    return column
