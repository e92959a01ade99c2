"""Tables in files without a pickle: taken apart into strings, numbers and arrays, and put together again."""

from __future__ import annotations

import datetime
import io
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np

from mtpfast.arrays.frames import column_names, columns_of, is_frame, library_of, missing_in

__all__ = ["decode_table", "encode_table", "is_stored_as_text"]


_NUMPY = "biufcmM"  # kinds of NumPy's dtypes whose values a file holds as they are


def encode_table(table) -> dict:
    """A table as strings, numbers and arrays, none of which needs a pickle; see :func:`decode_table`.

    What has no exact form there is written as text: see :func:`is_stored_as_text`.
    """
    library = library_of(table)
    if library in ("polars", "pyarrow"):
        return {"library": library, "ipc": _to_ipc(table, library)}
    names = [_told(name) for name in column_names(table)]
    columns = [_encode_column(column) for column in columns_of(table)]
    parts = {"frame": is_frame(table), "names": names, "n": len(table), "columns": columns}
    if is_frame(table):
        parts["names_of_levels"] = [_told(name) for name in table.columns.names]
        parts["levels"] = table.columns.nlevels
    return parts


def decode_table(parts: dict):
    """The table that :func:`encode_table` took apart, with its kind, its names and its dtypes."""
    if "ipc" in parts:
        return _from_ipc(parts["ipc"], parts["library"])
    columns = [_decode_column(part) for part in parts["columns"]]
    if not parts["frame"]:
        table = np.empty((parts["n"], len(columns)), dtype=object)
        for j, column in enumerate(columns):
            table[:, j] = column
        return table
    import pandas as pd

    series = (pd.Series(c, dtype=object if getattr(c, "dtype", None) == np.dtype(object) else None) for c in columns)
    frame = pd.DataFrame(dict(enumerate(series)), index=range(parts["n"]))
    names, levels = [_untold(name) for name in parts["names"]], parts.get("levels", 1)
    frame.columns = pd.MultiIndex.from_tuples(names) if levels > 1 else pd.Index(names, tupleize_cols=False)
    frame.columns.names = [_untold(name) for name in parts.get("names_of_levels", [None])]
    return frame


def is_stored_as_text(native) -> bool:
    """Whether a column, native or not, has values that :func:`encode_table` can only write as text."""
    if type(native).__module__.partition(".")[0] in ("polars", "pyarrow"):
        return not _has_ipc(native)
    return "as_text" in _encode_column(native)


def _to_ipc(table, library):
    file = io.BytesIO()
    if library == "polars":
        import polars as pl

        unfit = [column.name for column in table.get_columns() if not _has_ipc(column)]
        texts = [pl.Series(name, [None if v is None else str(v) for v in table[name]], pl.String) for name in unfit]
        table.with_columns(texts).write_ipc(file)
    else:
        import pyarrow as pa

        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def _from_ipc(values, library):
    file = io.BytesIO(np.asarray(values).tobytes())
    if library == "polars":
        import polars as pl

        return pl.read_ipc(file)
    import pyarrow as pa

    with pa.ipc.open_stream(file) as stream:
        return stream.read_all()


def _has_ipc(native):
    """Whether Arrow's format has the type of a native column: of polars' types, all but those of Python objects."""
    if not hasattr(native, "to_frame"):
        return True
    try:
        native.clear().to_frame().write_ipc(io.BytesIO())
    except Exception:  # polars has several errors for it
        return False
    return True


def _encode_column(column):
    dtype = column.dtype
    try:
        part = _exact_part(column, dtype)
        if part is not None and ("plain" in part or _decode_column(part).dtype == dtype):
            part.pop("plain", None)
            return part
    except Exception:  # a dtype or a value of another library, with errors of its own
        pass
    missing = missing_in(column)
    texts = ["" if gone else str(value) for value, gone in zip(column.tolist(), missing.tolist(), strict=True)]
    return {"objects": [None if gone else t for t, gone in zip(texts, missing, strict=True)], "as_text": True}


def _exact_part(column, dtype):
    """The column as parts of a file; errors of all kinds, or None, where there is no exact way."""
    if isinstance(dtype, np.dtype):
        if dtype.kind in _NUMPY:
            return {"values": np.asarray(column), "plain": True}
        values = column.tolist()
        if dtype.kind == "O" and values and all(type(v) is str and not v.endswith("\0") for v in values):
            return {"text": np.array(values, dtype=str), "dtype": "object", "plain": True}
        return {"objects": [_told(value) for value in values], "plain": True}
    kind = type(dtype).__name__
    if hasattr(dtype, "categories"):
        categories = _encode_column(dtype.categories.to_series())
        if "as_text" in categories:
            return None
        codes = column.cat.codes.to_numpy()
        return {"codes": codes, "categories": categories, "ordered": bool(dtype.ordered), "plain": True}
    if kind == "ArrowDtype":
        import pyarrow as pa

        return {"arrow": _to_ipc(pa.table({"0": column.array.__arrow_array__()}), "pyarrow")}
    missing = missing_in(column)
    if hasattr(dtype, "numpy_dtype"):
        filled = column.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return {"values": filled, "missing": missing, "dtype": str(dtype)}
    if hasattr(dtype, "storage"):
        values = np.array(column.tolist(), dtype=object)
        values[missing] = ""
        if any(value.endswith("\0") for value in values):  # which NumPy's text would lose
            return {"objects": [_told(value) for value in column.tolist()], "dtype": str(dtype)}
        return {"text": values.astype(str), "missing": missing, "storage": dtype.storage, "nan": _is_nan_string(dtype)}
    if kind == "SparseDtype":
        dense = {"values": np.asarray(column), "plain": True} if dtype.subtype.kind in _NUMPY else None
        return dense and {"sparse": dense, "subtype": dtype.subtype.str, "fill": _told(dtype.fill_value)}
    if kind == "DatetimeTZDtype":
        return {"utc": column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), "dtype": str(dtype)}
    return {"objects": [_told(value) for value in column.tolist()], "dtype": str(dtype)}


def _decode_column(part):
    if "values" in part and "missing" not in part:
        return part["values"]
    if "objects" in part and "dtype" not in part:
        column = np.empty(len(part["objects"]), dtype=object)
        column[:] = [_untold(value) for value in part["objects"]]
        return column
    if "text" in part and "storage" not in part:
        return part["text"].astype(object)
    import pandas as pd

    if "codes" in part:
        categories = pd.Index(_decode_column(part["categories"]), tupleize_cols=False)
        return pd.Categorical.from_codes(part["codes"], categories=categories, ordered=part["ordered"])
    if "arrow" in part:
        return pd.arrays.ArrowExtensionArray(_from_ipc(part["arrow"], "pyarrow").column(0))
    if "storage" in part:
        values = part["text"].astype(object)
        values[part["missing"]] = None
        return pd.array(values, dtype="str" if part["nan"] else pd.StringDtype(part["storage"]))
    if "sparse" in part:
        dtype = pd.SparseDtype(np.dtype(part["subtype"]), _untold(part["fill"]))
        return pd.arrays.SparseArray(_decode_column(part["sparse"]), dtype=dtype)
    if "utc" in part:
        return pd.Series(part["utc"]).dt.tz_localize("UTC").astype(part["dtype"]).array
    if "missing" in part:
        values = pd.array(part["values"], dtype=part["dtype"])
        values[part["missing"]] = pd.NA
        return values
    return pd.array([_untold(value) for value in part["objects"]], dtype=part["dtype"])


def _is_nan_string(dtype):
    """Whether a dtype of text is pandas' "str", whose missing value is NaN."""
    return isinstance(getattr(dtype, "na_value", None), float)


def _told(value):
    """A Python object as JSON has it; TypeError where there is no exact way."""
    kind = type(value)
    if value is None or kind in (str, bool, int, float):
        return value
    for name, (known, tell, _) in _VALUES.items():
        if kind is known or (known is np.generic and isinstance(value, known)):
            return {name: tell(value)}
    name = kind.__name__
    if kind.__module__.partition(".")[0] == "pandas" and name in _PANDAS:
        return {name: _PANDAS[name][0](value)}
    raise TypeError(f"{value!r} has no exact form in a file")


def _untold(value):
    if not isinstance(value, dict):
        return value
    ((name, told),) = value.items()
    return _VALUES[name][2](told) if name in _VALUES else _PANDAS[name][1](told)


def _tell_array_scalar(value):
    array = np.array([value])
    if array.dtype.kind not in _NUMPY + "SU":
        raise TypeError(f"{value!r} has no exact form in a file")
    return [array.dtype.str, array.tobytes().hex()]


def _tell_time(value):
    zone = value.tzinfo
    if zone is None or type(zone) is datetime.timezone:
        return [value.isoformat(), None, value.fold]
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return [value.replace(tzinfo=None).isoformat(), zone.key, value.fold]
    raise TypeError(f"{value!r} has no exact form in a file")


def _time(make):
    def untold(told):
        text, zone, fold = told
        value = make.fromisoformat(text).replace(fold=fold)
        return value if zone is None else value.replace(tzinfo=zoneinfo.ZoneInfo(zone))

    return untold


def _several(kind):
    return kind, lambda values: [_told(value) for value in values], lambda told: kind(_untold(v) for v in told)


# name: (type, how it is told, how it is made again)
_VALUES = {
    "numpy": (np.generic, _tell_array_scalar, lambda t: np.frombuffer(bytes.fromhex(t[1]), np.dtype(t[0]))[0]),
    "complex": (complex, lambda z: [z.real, z.imag], lambda t: complex(*t)),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "Decimal": (Decimal, str, Decimal),
    "Fraction": (Fraction, str, Fraction),
    "UUID": (uuid.UUID, str, uuid.UUID),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "datetime": (datetime.datetime, _tell_time, _time(datetime.datetime)),
    "time": (datetime.time, _tell_time, _time(datetime.time)),
    "timedelta": (
        datetime.timedelta,
        lambda d: [d.days, d.seconds, d.microseconds],
        lambda t: datetime.timedelta(*t),
    ),
    "tuple": _several(tuple),
    "list": _several(list),
    "set": _several(set),
    "frozenset": _several(frozenset),
    "dict": (
        dict,
        lambda d: [[_told(key), _told(value)] for key, value in d.items()],
        lambda t: {_untold(key): _untold(value) for key, value in t},
    ),
}


def _tell_timestamp(value):
    utc = value.to_datetime64()
    if value.tz is not None and _timestamp([int(utc.astype(np.int64)), value.unit, str(value.tz)]) != value:
        raise TypeError(f"{value!r} has no exact form in a file")
    return [int(utc.astype(np.int64)), value.unit, None if value.tz is None else str(value.tz)]


def _timestamp(told):
    import pandas as pd

    number, unit, zone = told
    value = pd.Timestamp(np.datetime64(number, unit))
    return value if zone is None else value.tz_localize("UTC").tz_convert(zone)


def _pandas(name, *args, **options):
    import pandas as pd

    return getattr(pd, name)(*args, **options)


def _constant(name):
    def untold(_):
        import pandas as pd

        return getattr(pd, name)

    return lambda _: None, untold


_PANDAS = {
    "NAType": _constant("NA"),
    "NaTType": _constant("NaT"),
    "Timestamp": (_tell_timestamp, _timestamp),
    "Timedelta": (
        lambda d: [int(d.to_timedelta64().astype(np.int64)), d.unit],
        lambda t: _pandas("Timedelta", np.timedelta64(*t)),
    ),
    "Period": (lambda p: [p.ordinal, p.freqstr], lambda t: _pandas("Period", ordinal=t[0], freq=t[1])),
    "Interval": (
        lambda i: [_told(i.left), _told(i.right), i.closed],
        lambda t: _pandas("Interval", _untold(t[0]), _untold(t[1]), t[2]),
    ),
}
