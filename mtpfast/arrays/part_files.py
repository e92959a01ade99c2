"""Rows in files: npy, npz, Parquet and CSV, a block of rows at a time, each file in whatever process reads it."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .layout import Layout, Piece
from .parts import LocalParts

__all__ = ["FileParts", "is_paths"]


BLOCK = 2**16  # rows of a table that are read at once
EMPTY = "{} is empty: not even a head names its columns"


def is_paths(X) -> bool:
    """Whether X is a path or a list of them."""
    return _is_path(X) or (isinstance(X, (list, tuple)) and len(X) > 0 and all(map(_is_path, X)))


def _is_path(x):
    return isinstance(x, (str, os.PathLike))


def _paths(X, name):
    """The files that a path, one with ``*``, or a list of paths names, sorted where there is a ``*``."""
    paths = []
    for entry in [X] if _is_path(X) else X:
        entry = os.fspath(entry)
        found = sorted(glob.glob(entry)) if "*" in entry else [entry]
        paths += found
        for path in found or [entry]:
            if os.path.isdir(path):
                raise IsADirectoryError(
                    f"{name}: {path} is a folder, expected files: {os.path.join(path, '*.parquet')}"
                )
            if not os.path.isfile(path):
                raise FileNotFoundError(f"{name}: there is no file {path}")
    return paths


@dataclass(frozen=True)
class _File:
    """One file, and what stands beside it: called, it yields its rows."""

    path: str
    layout: Layout
    rows: int | None
    y: Any = None  # npy: a path, or an array
    weight: Any = None

    @property
    def kind(self) -> str:
        return self.path.rpartition(".")[2].lower()

    def __call__(self):
        yield from _READERS[self.kind](self)

    def piece(self, start, X, y=None, weight=None):
        return Piece(f"{self.path}, rows from {start}", X, y, weight)

    @property
    def needed(self):
        """The columns to read; None for all, so that others are seen."""
        layout = self.layout
        if layout.only or layout.columns is None:
            return None
        return [*layout.columns, *(c for c in (layout.label, layout.weight) if c is not None)]


def _array(path):
    return np.load(path, mmap_mode="r")


def _read_npy(file: _File):
    X = _array(file.path)
    y, weight = (_array(v) if _is_path(v) else v for v in (file.y, file.weight))
    step = file.rows or max(1, len(X))
    for i in range(0, len(X), step):
        yield file.piece(i, X[i : i + step], *(v if v is None else v[i : i + step] for v in (y, weight)))


def _read_npz(file: _File):
    with np.load(file.path) as arrays:
        names = {"X": "X", "y": file.layout.label or "y", "weight": file.layout.weight}
        missing = [name for name in names.values() if name is not None and name not in arrays]
        if missing:
            raise ValueError(f"{file.path}: array {missing[0]!r} is missing, there are {arrays.files}")
        yield file.piece(0, *(None if name is None else arrays[name] for name in names.values()))


def _read_parquet(file: _File):
    import pyarrow.parquet as pq

    start = 0
    with pq.ParquetFile(file.path) as table:
        needed = file.needed
        names = table.schema_arrow.names
        if needed is not None:  # what is missing is told of a table that lacks it
            needed = [name for name in needed if name in names]
        for batch in table.iter_batches(batch_size=file.rows or BLOCK, columns=needed):
            yield file.piece(start, batch)
            start += batch.num_rows


def _read_csv(file: _File):
    import pandas as pd

    start = 0
    try:
        with pd.read_csv(file.path, chunksize=file.rows or BLOCK) as table:
            for frame in table:
                # of a head alone pandas makes columns of objects
                yield file.piece(start, frame if len(frame) else frame.astype(_no_numbers(frame, file.layout)))
                start += len(frame)
    except pd.errors.EmptyDataError:
        raise ValueError(EMPTY.format(file.path)) from None


def _no_numbers(frame, layout):
    """The dtypes of the features of a table without rows, where numbers are expected."""
    if layout.raw or layout.transform is not None:
        return {}
    return {name: float for name in frame.columns if name != layout.label}


_READERS = {"npy": _read_npy, "npz": _read_npz, "parquet": _read_parquet, "csv": _read_csv}


def _names(path, kind):
    """The columns of a table, from its head."""
    if kind == "parquet":
        import pyarrow.parquet as pq

        return tuple(pq.read_schema(path).names)
    import pandas as pd

    try:
        return tuple(pd.read_csv(path, nrows=0).columns)
    except pd.errors.EmptyDataError:
        raise ValueError(EMPTY.format(path)) from None


class FileParts(LocalParts):
    """Files of one kind, each a part that is read a block at a time."""

    def __init__(self, X, y, weight, *, rows, layout: Layout, memory_limit, n_jobs):
        self.paths = _paths(X, "X")
        if not self.paths:
            raise FileNotFoundError(f"X: no file is named {X!r}")
        kinds = {Path(path).suffix.lower().lstrip(".") for path in self.paths}
        if len(kinds) > 1 or not kinds <= set(_READERS):
            raise ValueError(f"X must be files of one kind, one of {list(_READERS)}, got {sorted(kinds)}")
        self.kind, self.rows = kinds.pop(), rows
        if self.kind in ("parquet", "csv"):
            if layout.columns is None:
                names = _names(self.paths[0], self.kind)
                features = tuple(n for n in names if n not in (layout.label, layout.weight))
                layout = replace(layout, columns=features, only=True)
            # a block of text without a fraction reads as whole numbers: dtypes of csv say nothing
            layout = replace(layout, strict=self.kind != "csv")
        super().__init__(layout, memory_limit, n_jobs)
        self.y, self.weight = self._beside(y, "y"), self._beside(weight, "sample_weight")

    def _beside(self, values, name):
        """Labels or weights that are not in the files themselves: one entry for each file."""
        if values is None or (isinstance(values, str) and self.kind != "npy"):
            return [None] * len(self.paths)
        if self.kind != "npy":
            raise ValueError(f"{name} must be the name of a column (npz: of an array) of the files, got {values!r:.50}")
        if is_paths(values):
            paths = _paths(values, name)
            if len(paths) != len(self.paths):
                raise ValueError(f"{name} has {len(paths)} files, X has {len(self.paths)}")
            return paths
        values, ends = np.asarray(values), np.cumsum([0, *self.lengths])
        if values.shape != (ends[-1],):
            raise ValueError(f"{name} has shape {values.shape}, the files of X have {ends[-1]} rows")
        return [values[a:b] for a, b in pairwise(ends)]

    @cached_property
    def lengths(self) -> list | None:
        """Rows of every file, where its head says it."""
        if self.kind == "npy":
            return [len(_array(path)) for path in self.paths]
        if self.kind == "parquet":
            import pyarrow.parquet as pq

            return [pq.read_metadata(path).num_rows for path in self.paths]
        return None

    @cached_property
    def n_rows(self):
        return super().n_rows if self.lengths is None else int(sum(self.lengths))

    def sources(self):
        beside = zip(self.paths, self.y, self.weight, strict=True)
        return [_File(path, self.layout, self.rows, y, weight) for path, y, weight in beside]
