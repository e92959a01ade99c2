"""Tables read from files, and the pipeline that is built where none is given."""

from __future__ import annotations

import gzip
import os
import zlib

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

__all__ = ["VICTIMS", "missing_columns", "one_line", "read_table", "split_label", "usual_pipeline"]


LOOKED_AT = 2**16  # bytes of a file, for whether it is text
RARE = 0.01  # levels of less than this share of the rows go together

VICTIMS = {
    "linear_svc": lambda C, n, weight: LinearSVC(C=C, class_weight=weight),
    "logistic": lambda C, n, weight: LogisticRegression(C=C, class_weight=weight, max_iter=1000),
    "sgd": lambda C, n, weight: SGDClassifier(
        alpha=1.0 / (C * n), class_weight=weight, max_iter=1000, tol=1e-5, random_state=0
    ),
}


def read_table(path: str | os.PathLike):
    """A DataFrame from a CSV, TSV or Parquet file; CSV and TSV may be gzipped.

    The kind goes by the name: ``.csv``, ``.tsv`` (or ``.tab``), ``.parquet``, with or without ``.gz``. Floats of text
    are read to the nearest float64, so that what is written is what is read.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it holds no table: no rows, rows of different lengths, columns of one name, or bytes that are no text.
    """
    import pandas as pd

    name = os.fspath(path)
    plain = name.lower().removesuffix(".gz")
    try:
        if plain.endswith((".parquet", ".pq")):
            table = pd.read_parquet(path)
        elif plain.endswith((".csv", ".tsv", ".tab")):
            separator = "," if plain.endswith(".csv") else "\t"
            packed = "gzip" if name.lower().endswith(".gz") else None
            _refuse_binary(path, packed, name)
            options = {"sep": separator, "compression": packed, "index_col": False}
            _refuse_equal_names(pd.read_csv(path, header=None, nrows=1, dtype=str, **options), name)
            if int(pd.__version__.split(".")[0]) < 3:
                options["float_precision"] = "round_trip"  # what later versions do by default
            table = pd.read_csv(path, on_bad_lines="error", **options)
            _refuse_short_rows(path, separator, packed, name)
        else:
            raise ValueError(f"{name}: a name that ends in .csv, .tsv, .parquet, .csv.gz or .tsv.gz was expected")
    except ImportError as error:
        raise ValueError(f"{name}: pandas needs another package for this file: {error}") from None
    except (pd.errors.EmptyDataError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise ValueError(f"{name} holds no table: {one_line(error)}") from None
    except pd.errors.ParserError as error:
        raise ValueError(f"{name} has a row of another length: {one_line(error)}") from None
    if not len(table):
        raise ValueError(f"{name} holds no rows")
    return table


def one_line(error) -> str:
    """The first line of what an error says, with its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _refuse_binary(path, packed, name):
    """Zero bytes are in images, archives and UTF-16; in no text that is read here."""
    with gzip.open(path) if packed else open(path, "rb") as file:
        if b"\0" in file.read(LOOKED_AT):
            raise ValueError(f"{name} is no text in UTF-8: it holds zero bytes")


def _refuse_equal_names(header, name):
    names = header.iloc[0].tolist()
    twice = [one for i, one in enumerate(names) if one in names[:i]]
    if twice:
        raise ValueError(f"{name} has two columns named {twice[0]!r}")


def _refuse_short_rows(path, separator, packed, name):
    """pandas fills up rows that are too short, and with ``index_col=False`` cuts those too long: neither is right."""
    import csv

    with gzip.open(path, "rt", newline="") if packed else open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file, delimiter=separator)
        width = len(next(rows))
        for row in rows:
            if row and len(row) != width:
                raise ValueError(f"{name}, line {rows.line_num}: {len(row)} fields where the header has {width}")


def split_label(table, label: str, drop=()):
    """``(X, y)``: the table without its label, and without the columns to drop.

    Raises
    ------
    ValueError
        If a column is not there, or the label is missing in some row.
    """
    for name in (label, *drop):
        if name not in table.columns:
            known = ", ".join(map(repr, table.columns[:12])) + (", ..." if len(table.columns) > 12 else "")
            what = "label column" if name == label else "column to drop"
            raise ValueError(f"there is no {what} {name!r}; the columns are {known}")
    y = table[label]
    if y.isna().any():
        raise ValueError(f"the label {label!r} is missing in {int(y.isna().sum())} of {len(y)} rows")
    return table.drop(columns=[label, *drop]), y


def usual_pipeline(X, victim: str = "linear_svc", C: float = 1.0, class_weight=None) -> Pipeline:
    """What a practitioner builds: impute, scale, one-hot with rare levels together, then a linear model.

    Parameters
    ----------
    X : DataFrame
        Columns of numbers are imputed with the median and scaled; all others are levels, the missing ones the most
        frequent, and those of less than 1 % of the rows share a column.
    victim : {"linear_svc", "logistic", "sgd"}
    C : float
        Inverse penalty; SGDClassifier gets ``alpha = 1 / (C n)``.
    class_weight : None or "balanced"

    Examples
    --------
    >>> import pandas as pd
    >>> from mtpfast.reports.tables import usual_pipeline
    >>> table = pd.DataFrame({"age": [20.0, 31.5, 64.0], "work": ["state", "private", "private"]})
    >>> usual_pipeline(table, "logistic", C=0.1).steps[-1][1]
    LogisticRegression(C=0.1, max_iter=1000)
    """
    import pandas as pd

    kinds = {name: X[name].dtype for name in X.columns}
    truth = [name for name, dtype in kinds.items() if pd.api.types.is_bool_dtype(dtype)]
    numbers = [n for n, dtype in kinds.items() if pd.api.types.is_numeric_dtype(dtype) and n not in truth]
    levels = [name for name in kinds if name not in truth and name not in numbers]
    scaled = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    known = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE)
    coded = Pipeline([("impute", SimpleImputer(strategy="most_frequent")), ("encode", known)])
    parts = [
        ("numbers", scaled, numbers),
        ("levels", coded, levels),
        ("truth", OneHotEncoder(handle_unknown="ignore"), truth),
    ]
    columns = ColumnTransformer([part for part in parts if part[2]])
    return Pipeline([("columns", columns), ("model", VICTIMS[victim](C, len(X), class_weight))])


def missing_columns(X) -> list:
    """The columns without any value."""
    return [name for name in X.columns if bool(np.all(X[name].isna()))]
