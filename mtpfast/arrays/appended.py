"""Rows and labels below a user's own table: of its kind, names and dtypes wherever these can hold them."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp

from .frames import (
    all_real,
    as_floats,
    column_names,
    column_of,
    columns_of,
    frame_of,
    is_frame,
    is_missing,
    kind_of,
    library_of,
    library_of_column,
    native_columns,
    native_of,
)

__all__ = ["append", "append_labels"]


def append(table, rows, name: str = "X", warn: bool = True, stacklevel: int = 3):
    """A table with rows below it: of the table's kind, names and dtypes, wherever these can hold the rows.

    Parameters
    ----------
    table : data frame, array, sparse matrix; or texts (list, array, Series)
        Not changed. Its own rows stay as they are.
    rows : ndarray or sparse matrix of numbers, table of records, or array of texts
        With the columns of ``table``.
    name : str
        What the warning calls the table.
    warn : bool
        Whether to say which columns become float64, because a row has a number there that their dtype cannot hold.
    stacklevel : int
        Of that warning.

    Notes
    -----
    New labels of rows go on from the largest where these are numbers or times, by one unit; are ``"poison_0"``,
    ``"poison_1"``, ... where they are anything else; and leave out what is taken. Where they have several levels,
    the first one gets the new label.
    """
    library = library_of(table)
    if len(getattr(rows, "shape", (0,))) == 1:
        return _append_texts(table, rows)
    if library is not None:
        result, promoted = _append_frame(table, rows)
    elif sp.issparse(table):
        result, promoted = _append_sparse(table, sp.csr_matrix(rows))
    else:
        result, promoted = _append_array(np.asarray(table), rows)
    if promoted and warn:
        few = ", ".join(f"{key!r} ({dtype})" for key, dtype in promoted[:5])
        more = f" and {len(promoted) - 5} more" if len(promoted) > 5 else ""
        warnings.warn(
            f"{name}: the dtypes of columns {few}{more} cannot hold the poisoning points as they are; there the table "
            f"becomes float64. FeatureSpace.from_data(X) as feasible_set keeps whole numbers whole",
            stacklevel=stacklevel,
        )
    return result


def append_labels(y, labels):
    """Labels with others after them, of the kind and dtype of ``y`` where these can hold them."""
    labels = np.asarray(labels)
    if hasattr(y, "iloc") or library_of_column(y):
        added = _exactly(labels, y)
        if added is not None:
            return _joined(y, added)
        if library_of_column(y):
            raise ValueError(f"y of dtype {getattr(y, 'dtype', None) or y.type} cannot hold {labels.tolist()[0]!r}")
        import pandas as pd

        return _joined(y, pd.Series(labels.tolist()))
    y = np.asarray(y)
    if y.dtype.kind in "biuf" and labels.dtype.kind in "biuf":
        cast = _cast(labels, y.dtype)
        labels = cast if np.array_equal(cast, labels) else labels
    return np.concatenate([y, labels.astype(np.result_type(y, labels), copy=False)])


def _append_texts(texts, added):
    if hasattr(texts, "iloc") or library_of_column(texts):
        return append_labels(texts, added)
    return np.concatenate([texts, added]) if isinstance(texts, np.ndarray) else [*texts, *added]


def _cast(numbers, dtype):
    """Numbers in another dtype; what it cannot hold comes out as something else, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        return numbers.astype(dtype, copy=False)


def _append_array(X, rows):
    if is_frame(rows):
        rows = np.stack([np.asarray(column, dtype=object) for column in columns_of(rows)], axis=1)
    elif sp.issparse(rows):
        rows = rows.toarray()
    if X.dtype.kind == "O" and rows.dtype.kind != "O":
        columns = [_like_objects(rows[:, j], X[:, j]) for j in range(X.shape[1])]
        return np.concatenate([X, np.stack(columns, axis=1)]), []
    if X.dtype.kind not in "biuf" or rows.dtype.kind not in "biuf":
        return np.concatenate([X, rows]), []
    cast = _cast(rows, X.dtype)
    lost = np.flatnonzero(np.any(cast != rows, axis=0))
    if len(lost):
        cast = rows.astype(np.result_type(X.dtype, np.float64))
    return np.concatenate([X, cast]), [(int(j), X.dtype) for j in lost]


def _append_sparse(X, rows):
    cast = _cast(rows.data, X.dtype)
    lost = np.unique(rows.indices[cast != rows.data])
    if len(lost):
        cast = rows.data.astype(np.result_type(X.dtype, np.float64))
    kind = sp.csr_matrix if isinstance(X, sp.spmatrix) else sp.csr_array
    result = sp.vstack([X, kind((cast, rows.indices, rows.indptr), shape=rows.shape)], format=X.format)
    if X.format in ("csr", "csc"):
        result.indices = result.indices.astype(X.indices.dtype, copy=False)
        result.indptr = result.indptr.astype(X.indptr.dtype, copy=False)
    return result, [(int(j), X.dtype) for j in lost]


def _append_frame(table, rows):
    """The frame with rows below, and the columns (name, dtype) that became float64 for it."""
    if library_of(table) == "pandas" and isinstance(rows, np.ndarray) and rows.dtype.kind in "biuf":
        dtypes = set(table.dtypes)  # of one dtype, a wide frame takes the rows at once
        if len(dtypes) == 1 and getattr(dtype := dtypes.pop(), "kind", "O") in "biuf" and isinstance(dtype, np.dtype):
            cast = _cast(rows, dtype)
            if np.array_equal(cast, rows):
                import pandas as pd

                frame = pd.DataFrame(cast, columns=table.columns, index=_new_labels(table.index, len(rows)))
                return _with_rows(table, frame), []
    natives, promoted = native_columns(table), []
    added = []
    for j, column in enumerate(_columns_to_add(rows)):
        new = _exactly(column, natives[j])
        if new is None:
            values = column_of(column)
            if kind_of(values) not in "biuf":
                key, dtype = column_names(table)[j], _dtype_of(natives[j])
                raise ValueError(f"X: column {key!r} of dtype {dtype} cannot hold what the attack puts there")
            promoted.append((column_names(table)[j], _dtype_of(natives[j])))
            natives[j] = _as_float64(natives[j])
            new = _exactly(as_floats(values), natives[j])
        added.append(new)
    if library_of(table) != "pandas":
        return frame_of(table, [_joined(old, new) for old, new in zip(natives, added, strict=True)]), promoted
    import pandas as pd

    if promoted:
        table = _pandas_frame(natives, table)
    frame = _pandas_frame(added, table, _new_labels(table.index, rows.shape[0]))
    return _with_rows(table, frame), promoted


def _with_rows(table, frame):
    import pandas as pd

    result = pd.concat([table, frame]) if len(frame) else table.copy()
    result.attrs = dict(table.attrs)
    return result


def _pandas_frame(columns, like, index=None):
    """Series as the columns of a DataFrame with the column labels, and by default the row labels, of ``like``."""
    import pandas as pd

    index = like.index if index is None else index
    frame = pd.DataFrame({j: column.array for j, column in enumerate(columns)}, index=index)
    frame.columns = like.columns
    return frame


def _columns_to_add(rows):
    """The columns of rows, one at a time."""
    if is_frame(rows):
        yield from native_columns(rows)
    elif sp.issparse(rows):
        rows = sp.csc_matrix(rows)
        for j in range(rows.shape[1]):
            yield rows[:, [j]].toarray().ravel()
    else:
        yield from rows.T


def _dtype_of(native):
    return native.type if library_of_column(native) == "pyarrow" else native.dtype


def _exactly(column, like):
    """A column, native or not, in the dtype of the native column ``like``; None where that cannot hold it."""
    if type(column) is type(like) and _dtype_of(column) == _dtype_of(like):
        return column
    column = column_of(column)
    values = column if isinstance(column, np.ndarray) else np.array(column.tolist(), dtype=object)
    if values.dtype.kind == "O" and len(values) and all_real(values):
        values = np.array(values.tolist())
    try:
        new = _typed_exactly(values, like)
        if new is None:
            return None
        back = column_of(new)
        if values.dtype.kind in "biuf":
            same = np.array_equal(as_floats(back), values.astype(np.float64), equal_nan=True)
        else:
            pairs = zip(back.tolist(), values.tolist(), strict=True)
            same = all(a == b or (is_missing(a) and is_missing(b)) for a, b in pairs)
    except Exception:  # each library has errors of its own for a value that a dtype cannot hold
        return None
    return new if same else None


def _typed_exactly(values, like):
    if library_of_column(like):
        return native_of(values, like)
    import pandas as pd

    dtype = like.dtype
    numbers = values.dtype.kind in "biuf"
    if numbers and hasattr(dtype, "categories"):
        return pd.Series(pd.Categorical.from_codes(_codes(values, dtype.categories), dtype=dtype))
    if numbers and type(dtype).__name__ == "SparseDtype":
        return pd.Series(pd.arrays.SparseArray(_cast(values, dtype.subtype), dtype=dtype))
    if numbers and isinstance(dtype, np.dtype):
        return pd.Series(_like_objects(values, like) if dtype.kind == "O" else _cast(values, dtype), dtype=dtype)
    if numbers and getattr(dtype, "kind", "O") in "biu":
        cast = _cast(values, np.dtype(bool) if dtype.kind == "b" else np.dtype(np.int64))
        if not np.array_equal(cast, values):
            return None
        values = cast
    return pd.Series(pd.array(values if numbers else values.tolist(), dtype=dtype))


def _codes(numbers, categories):
    """The categories that numbers are equal to; an error where there is none."""
    known = {float(category): code for code, category in enumerate(categories.tolist())}
    return np.array([known[number] for number in numbers.tolist()], dtype=np.intp)


def _like_objects(numbers, like):
    """Numbers as objects of the one type that a column of objects has, where that can hold them; else as floats."""
    kinds = {type(value) for value in like.tolist()}
    kind = kinds.pop() if len(kinds) == 1 else float
    column = np.empty(len(numbers), dtype=object)
    for i, number in enumerate(numbers.tolist()):
        try:
            value = kind(number)
        except (TypeError, ValueError, OverflowError):
            value = number
        column[i] = value if value == number else number
    return column


def _as_float64(native):
    library = library_of_column(native)
    if library == "polars":
        import polars as pl

        return native.cast(pl.Float64)
    if library == "pyarrow":
        import pyarrow as pa

        return native.cast(pa.float64())
    dtype = native.dtype
    if type(dtype).__name__ == "SparseDtype":
        return native.astype(type(dtype)(np.float64, float(dtype.fill_value)))
    if type(dtype).__name__ == "ArrowDtype":
        return native.astype("double[pyarrow]")
    return native.astype("Float64" if hasattr(dtype, "numpy_dtype") and not isinstance(dtype, np.dtype) else np.float64)


def _joined(old, new):
    """A native column with another of its dtype after it."""
    library = library_of_column(old)
    if library == "polars":
        return old.clone().append(new.alias(old.name))
    if library == "pyarrow":
        import pyarrow as pa

        chunks = [*getattr(old, "chunks", [old]), *getattr(new, "chunks", [new])]
        return pa.chunked_array(chunks, type=old.type)
    import pandas as pd

    if len(new) == 0:
        return old.copy()
    new = new.set_axis(_new_labels(old.index, len(new))).rename(old.name)
    return pd.concat([old, new])


def _new_labels(index, n):
    """Labels for n new rows, none of which an index has; see :func:`append`."""
    import pandas as pd

    if isinstance(index, pd.RangeIndex):
        step = abs(index.step)
        start = max(index[0], index[-1]) + step if len(index) else index.start
        return pd.RangeIndex(start, start + n * step, step, name=index.name)
    if isinstance(index, pd.MultiIndex):
        levels = [index.get_level_values(i) for i in range(index.nlevels)]
        last = np.full(n, len(index) - 1)
        return pd.MultiIndex.from_arrays([_new_labels(levels[0], n), *(level.take(last) for level in levels[1:])])
    if n == 0:
        return index[:0]
    present = index.dropna()
    whole = pd.api.types.is_integer_dtype(index.dtype)
    if len(present) and (whole or pd.api.types.is_float_dtype(index.dtype)):
        top = int(present.max()) if whole else int(np.floor(present.max()))
        if top + n < (2**63 if whole else 2**53):
            new = pd.Index(np.arange(top + 1, top + n + 1), name=index.name)
            cast = new.astype(index.dtype)
            return cast if cast[-1] == top + n else new
    if len(present) and isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        steps = pd.to_timedelta(np.arange(1, n + 1), unit=index.unit)
        return (present.max() + steps).as_unit(index.unit).rename(index.name)
    if len(present) and isinstance(index, pd.PeriodIndex):
        return pd.PeriodIndex([present.max() + i for i in range(1, n + 1)], dtype=index.dtype, name=index.name)
    taken, labels, i = set(map(str, present)), [], 0
    while len(labels) < n:
        if f"poison_{i}" not in taken:
            labels.append(f"poison_{i}")
        i += 1
    new = pd.Index(labels, name=index.name)
    return new.astype(index.dtype) if pd.api.types.is_string_dtype(index.dtype) else new.astype(object)
