"""Tables of raw records, as users have them: pandas DataFrames and arrays, and columns of these.

A column is a Series or a one-dimensional array. pandas is loaded only where a DataFrame is made.
"""

from __future__ import annotations

from collections import Counter
from numbers import Real

import numpy as np
import scipy.sparse as sp

__all__ = [
    "all_real",
    "append_records",
    "as_floats",
    "as_table",
    "column_names",
    "columns_of",
    "concat",
    "counts_of",
    "decode_table",
    "encode_table",
    "holds",
    "is_frame",
    "is_missing",
    "kind_of",
    "missing_in",
    "numpy_dtype_of",
    "take",
    "take_records",
    "typed",
]


def as_table(X, name: str = "X"):
    """A raw table: a pandas DataFrame as it is, anything else as a two-dimensional array."""
    if sp.issparse(X):
        raise TypeError(f"{name} is a sparse matrix, expected a raw table: a DataFrame or an array")
    if is_frame(X):
        if not X.columns.is_unique:
            twice = X.columns[X.columns.duplicated()][0]
            raise ValueError(f"{name} has more than one column {twice!r}")
    elif hasattr(X, "columns"):
        raise TypeError(f"{name} is a {type(X).__module__} table, expected a pandas DataFrame or an array")
    else:
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"{name} must be a table of rows and columns, got shape {X.shape}")
    if X.shape[0] == 0:
        raise ValueError(f"{name} has no rows")
    return X


def take_records(table, rows):
    """Some rows of a table, renumbered from 0."""
    return table.iloc[rows].reset_index(drop=True) if is_frame(table) else table[rows]


def append_records(table, records):
    """A table with records below it, of the table's kind and dtypes; or texts with texts after them."""
    if np.ndim(records) == 1 and not isinstance(table, np.ndarray):
        if not hasattr(table, "iloc"):
            return [*table, *records]
        import pandas as pd

        added = pd.Series(list(records), dtype=table.dtype, name=table.name)
        return pd.concat([table, added], ignore_index=True) if len(added) else table.reset_index(drop=True)
    if not is_frame(table):
        return np.concatenate([np.asarray(table), records])
    import pandas as pd

    if len(records) == 0:
        return table.reset_index(drop=True)
    return pd.concat([table, records], ignore_index=True)


def column_names(table) -> list:
    """The names of a table's columns, or their numbers."""
    return list(table.columns) if is_frame(table) else list(range(table.shape[1]))


def is_frame(X) -> bool:
    """Whether a table is a DataFrame."""
    return hasattr(X, "columns") and hasattr(X, "iloc")


def columns_of(table) -> list:
    """The columns of a table."""
    if is_frame(table):
        return [table.iloc[:, j].reset_index(drop=True) for j in range(table.shape[1])]
    return [table[:, j] for j in range(table.shape[1])]


def _is_series(column):
    return hasattr(column, "iloc")


def take(column, rows):
    """Some values of a column."""
    return column.iloc[rows].reset_index(drop=True) if _is_series(column) else column[rows]


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


# -- files ------------------------------------------------------------------------------------


def encode_table(table) -> dict:
    """A table as strings, numbers and arrays, none of which needs a pickle; see :func:`decode_table`."""
    names = column_names(table)
    for name in names:
        if type(name) not in (str, int):
            raise TypeError(f"column {name!r} cannot be saved: expected a name that is a string or an integer")
    columns = [_encode_column(column, name) for name, column in zip(names, columns_of(table), strict=True)]
    return {"frame": is_frame(table), "names": names, "n": len(table), "columns": columns}


def decode_table(parts: dict):
    """The table that :func:`encode_table` took apart, with its dtypes."""
    columns = [_decode_column(part) for part in parts["columns"]]
    if parts["frame"]:
        import pandas as pd

        series = (
            pd.Series(c, dtype=object if getattr(c, "dtype", None) == np.dtype(object) else None) for c in columns
        )
        frame = pd.DataFrame(dict(enumerate(series)), index=range(parts["n"]))
        frame.columns = parts["names"]
        return frame
    table = np.empty((parts["n"], len(columns)), dtype=object)
    for j, column in enumerate(columns):
        table[:, j] = column
    return table


def _encode_column(column, name):
    dtype = column.dtype
    if hasattr(dtype, "categories"):
        categories = _encode_column(dtype.categories.to_series(), name)
        return {"codes": column.cat.codes.to_numpy(), "categories": categories, "ordered": bool(dtype.ordered)}
    missing = missing_in(column)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufM":
        return {"values": np.asarray(column)}
    if hasattr(dtype, "numpy_dtype"):
        filled = column.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return {"values": filled, "missing": missing, "dtype": str(dtype)}
    values = np.array(column.tolist(), dtype=object)
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        if len(values) and all(type(value) is str and not value.endswith("\0") for value in values):
            return {"text": values.astype(str), "dtype": "object"}
        if all(value is None or type(value) in (str, bool, int, float) for value in values):
            return {"objects": values}
    elif hasattr(dtype, "storage"):
        values[missing] = ""
        return {"text": values.astype(str), "missing": missing, "storage": dtype.storage, "nan": _is_nan_string(dtype)}
    raise TypeError(f"column {name!r} of dtype {dtype} cannot be saved")


def _decode_column(part):
    if "objects" in part:
        return part["objects"]
    if "codes" in part:
        import pandas as pd

        categories = pd.Index(_decode_column(part["categories"]))
        return pd.Categorical.from_codes(part["codes"], categories=categories, ordered=part["ordered"])
    if "storage" in part:
        import pandas as pd

        values = part["text"].astype(object)
        values[part["missing"]] = None
        return pd.array(values, dtype="str" if part["nan"] else pd.StringDtype(part["storage"]))
    if "missing" in part:
        import pandas as pd

        values = pd.array(part["values"], dtype=part["dtype"])
        values[part["missing"]] = pd.NA
        return values
    return part["text"].astype(object) if "text" in part else part["values"]


def _is_nan_string(dtype):
    """Whether a dtype of text is pandas' "str", whose missing value is NaN."""
    value = getattr(dtype, "na_value", None)
    return isinstance(value, float)
