"""One part of the rows: which of its columns are what, what of it is refused, and the sum over some parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .labels import plain
from .magnitude import check_magnitude

__all__ = ["Join", "Layout", "Part", "Piece", "Reduced", "Task"]


class Part(NamedTuple):
    """Some of the rows: an array or CSR matrix of numbers, the labels -1. and +1., and weights or None."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None


class Piece(NamedTuple):
    """A part as its engine hands it over: an array, a CSR matrix or a table, and what errors call it."""

    name: str
    X: Any
    y: Any = None
    weight: Any = None


class Reduced(NamedTuple):
    """What became of some of the parts: nothing yet (``columns`` None), or a value and what columns they have."""

    value: Any = None
    columns: tuple | None = None
    name: str = ""


@dataclass(frozen=True)
class Layout:
    """What the columns of a part are.

    Attributes
    ----------
    label, weight : str or None
        Columns of a table that hold the labels and the weights; None where they come beside it.
    columns : tuple of str or None
        The features, in this order; the first part's where None.
    only : bool
        Whether a table may hold other columns than these.
    classes : pair or None
        The labels that stand for -1. and +1.; None leaves labels as they are.
    transform : object with ``transform``, or None
        What makes features of the columns: a fitted scikit-learn transformer.
    raw : bool
        Whether X is the table itself, a pandas DataFrame, and y what stands there.
    strict : bool
        Whether the dtypes of a column must be those of the first part.
    """

    label: str | None = None
    weight: str | None = None
    columns: tuple | None = None
    only: bool = False
    classes: tuple | None = (-1, 1)
    transform: Any = None
    raw: bool = False
    strict: bool = True

    def part(self, piece: Piece) -> tuple[Part, tuple]:
        """The part in what an engine hands over, and its columns: (name, dtype) each."""
        X, y, weight, name = piece.X, piece.y, piece.weight, "y"
        if _is_table(X):
            get, names = _reader(X)
            self._check_names(names)
            if self.label is not None:
                y, name = get(self.label), f"column {self.label!r}"
            weight = get(self.weight) if self.weight is not None else weight
            features = self.columns or tuple(n for n in names if n not in (self.label, self.weight))
            X, columns = self._matrix(X, get, features)
        else:
            if not sp.issparse(X):
                X = np.asanyarray(X)
            if X.ndim != 2:
                raise ValueError(f"X must have two dimensions, got shape {X.shape}")
            columns = tuple((j, str(X.dtype)) for j in range(X.shape[1]))
            if self.raw:
                raise TypeError(f"X is a {type(X).__name__}, expected a table with named columns")
            if self.transform is not None:
                X = self._transformed(X)
        if not self.raw and X.dtype.kind not in "fiub":
            raise TypeError(f"X has dtype {X.dtype}, expected numbers")
        n = X.shape[0]
        if y is None:
            raise ValueError("y is missing: name the column of labels, or pass labels")
        return Part(X.tocsr() if sp.issparse(X) else X, self._signs(y, n, name), _weights(weight, n)), columns

    def _check_names(self, names):
        wanted = [*(self.columns or ()), *(c for c in (self.label, self.weight) if c is not None)]
        missing = [c for c in wanted if c not in names]
        if missing:
            raise ValueError(f"column {missing[0]!r} is missing, there are {list(names)[:10]}")
        other = [c for c in names if c not in wanted] if self.only else []
        if other:
            raise ValueError(f"column {other[0]!r} was not expected, expected are {wanted[:10]}")

    def _matrix(self, table, get, features):
        if self.transform is not None or self.raw:
            frame = (table if hasattr(table, "iloc") else table.to_pandas())[list(features)]
            columns = tuple((c, str(dtype)) for c, dtype in zip(features, frame.dtypes, strict=True))
            return (frame if self.raw else self._transformed(frame)), columns
        arrays = [get(name) for name in features]
        for name, array in zip(features, arrays, strict=True):
            if array.dtype.kind not in "fiub":
                raise TypeError(f"column {name!r} has dtype {array.dtype}, expected numbers")
        kinds = {array.dtype for array in arrays}
        kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.float64)
        columns = tuple((c, str(a.dtype)) for c, a in zip(features, arrays, strict=True))
        # columns stay columns, which passes do not mind
        if hasattr(table, "iloc"):
            X = table[list(features)].to_numpy()  # those of one kind that pandas holds together, without a copy
            if X.dtype == kind:
                return X, columns
        X = np.empty((len(arrays[0]), len(arrays)), dtype=kind, order="F")
        for j, array in enumerate(arrays):
            X[:, j] = array
        return X, columns

    def _transformed(self, records):
        X = self.transform.transform(records)
        return X.tocsr() if sp.issparse(X) else np.asarray(X, dtype=np.float64)

    def _signs(self, y, n, name):
        y = np.asarray(y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.shape != (n,):
            raise ValueError(f"{name} has shape {y.shape}, X has {n} rows")
        if self.classes is None:
            return y
        plus = y == self.classes[1]
        known = plus | (y == self.classes[0])
        if not np.all(known):
            i = int(np.argmin(known))
            raise ValueError(f"{name} must hold the labels {list(self.classes)}, got {plain(y[i])!r} in row {i}")
        return np.where(plus, 1.0, -1.0)

    def blame(self, piece: Piece, error: Exception) -> Exception:
        """The error with the name of the part and, where values are at fault, of the column."""
        text = str(error)
        if "in column " in text and self.columns is not None and self.transform is None:
            before, _, column = text.rpartition("in column ")
            text = f"{before}in column {self.columns[int(column)]!r}"
        return type(error)(f"{piece.name}: {text}")


def _weights(weight, n):
    if weight is None:
        return None
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}, X has {n} rows")
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise ValueError("sample_weight must be finite and non-negative")
    check_magnitude(weight, "sample_weight")
    return weight


def _is_table(X):
    return hasattr(X, "iloc") or (hasattr(X, "schema") and hasattr(X, "num_rows"))


def _reader(table):
    """``(column name -> array, names)`` of a pandas or pyarrow table."""
    if hasattr(table, "iloc"):
        return (lambda name: table[name].to_numpy()), tuple(table.columns)
    return (lambda name: table.column(name).to_numpy(zero_copy_only=False)), tuple(table.schema.names)


@dataclass(frozen=True)
class Task:
    """``function`` of the rows of each piece, joined: what an engine calls. ``width``: features that each must have."""

    layout: Layout
    function: Callable
    join: Join
    width: int | None = None

    def __call__(self, pieces) -> Reduced:
        return reduce(self.join, map(self.one, pieces), Reduced())

    def one(self, piece: Piece) -> Reduced:
        try:
            part, columns = self.layout.part(piece)
            if part.X.shape[0] == 0:
                return Reduced()
            if self.width not in (None, part.X.shape[1]):
                raise ValueError(f"there are {part.X.shape[1]} columns, in the first part {self.width}")
            return Reduced(self.function(*part), columns, piece.name)
        except (ValueError, TypeError) as error:
            raise self.layout.blame(piece, error) from None


@dataclass(frozen=True)
class Join:
    """``merge`` of two values, whose parts must have the same columns. Empty parts have none."""

    merge: Callable
    strict: bool = True

    def __call__(self, a: Reduced, b: Reduced) -> Reduced:
        if a.columns is None or b.columns is None:
            return b if a.columns is None else a
        if len(a.columns) != len(b.columns):
            raise ValueError(f"{b.name}: there are {len(b.columns)} columns, in {a.name} {len(a.columns)}")
        for (name, dtype), (other, found) in zip(a.columns, b.columns, strict=True):
            if name != other:
                raise ValueError(f"{b.name}: column {other!r} stands where {a.name} has {name!r}")
            if self.strict and dtype != found:
                raise ValueError(f"{b.name}: column {name!r} has dtype {found}, in {a.name} it has {dtype}")
        return Reduced(self.merge(a.value, b.value), a.columns, a.name)

    def all(self, values) -> Reduced:
        """From the first to the last."""
        return reduce(self, values, Reduced())
