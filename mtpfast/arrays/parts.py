"""Rows in parts: what is read a part at a time, on one machine or on many, and reduced to what is small.

A pass over rows is a sum, ``f(part 1) + ... + f(part p)`` for an associative ``+``: :meth:`RowParts.map_reduce`. Who
calls f where, and again after a failure, is the engine's business (joblib, Dask, Spark); here stand only what a part
is, what is refused, and the order of the sum, which depends on neither the engine nor its workers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from .labels import plain
from .layout import Join, Layout, Part, Piece, Reduced, Task

__all__ = ["ArrayParts", "Layout", "LocalParts", "Part", "Piece", "RowParts", "over", "width"]


MEMORY_LIMIT = 2**30  # bytes: what a pass may bring back of single rows
PLAIN = Layout()
TASKS = 128  # at most so many tasks are made of arrays and files: their number does not depend on that of the workers


class RowParts:
    """Rows in parts: ``n_rows``, ``n_features``, ``parts()`` and ``map_reduce(function, merge)``.

    What an engine adds is ``pieces()``, which yields the parts as they come, and ``_reduced(task, join)``: the join, in
    the order of the parts, of what the task makes of each.

    Attributes
    ----------
    layout : Layout
    memory_limit : int
        Bytes of single rows that a pass may bring back (those on the margin of a target).
    """

    memory_limit = MEMORY_LIMIT

    def __init__(self, layout: Layout = PLAIN, memory_limit=MEMORY_LIMIT):
        self.layout, self.memory_limit = layout, memory_limit

    def pieces(self) -> Iterator[Piece]:
        raise NotImplementedError(f"{type(self).__name__} must define pieces()")

    def _reduced(self, task: Task, join: Join) -> Reduced:
        raise NotImplementedError(f"{type(self).__name__} must define _reduced(task, join)")

    def parts(self) -> Iterator[Part]:
        """(X, y, weight) of every part, here, one at a time."""
        for piece in self.pieces():
            try:
                yield self.layout.part(piece)[0]
            except (ValueError, TypeError) as error:
                raise self.layout.blame(piece, error) from None

    def map_reduce(self, function, merge):
        """``merge`` over all parts, in their order, of ``function(X, y, weight)``.

        Parameters
        ----------
        function : callable
            Of the rows of one part; never of an empty one. It and what it returns must pickle.
        merge : callable
            Associative: which neighbours are merged first is the engine's choice.

        Raises
        ------
        ValueError, TypeError
            For a part with other columns or other dtypes than the first, a label that is neither of the two, or what
            the function refuses, naming the part.
        """
        join = Join(merge, self.layout.strict)
        width = vars(self).get("n_features")  # where it was asked for
        found = self._reduced(Task(self.layout, function, join, width), join)
        if found.columns is None:
            raise ValueError("X must have one row at least, got parts without any")
        return found.value

    @cached_property
    def n_rows(self) -> int:
        """By a pass where nothing says it."""
        return self.map_reduce(_n_rows, _plus)

    @cached_property
    def n_features(self) -> int:
        """The columns of the first part, after ``transform``."""
        if self.layout.columns is not None and self.layout.transform is None:
            return len(self.layout.columns)
        return next(self.parts()).X.shape[1]

    @property
    def feature_names(self) -> list | None:
        """The columns of a table, or what ``transform`` calls its own."""
        columns, transform = self.layout.columns, self.layout.transform
        if transform is None or columns is None:
            return None if columns is None else list(columns)
        return list(transform.get_feature_names_out())

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.n_features

    def records(self) -> RowParts:
        """The same rows as tables, a pandas DataFrame a part, before any ``transform``."""
        return self._with(raw=True, transform=None, classes=None)

    def transformed(self, transform) -> RowParts:
        """The same rows through a fitted transformer."""
        if self.layout.transform is not None:
            raise ValueError("transform was given to in_parts already")
        return self._with(transform=transform)

    def with_classes(self, classes) -> RowParts:
        """The same rows, with the two labels that stand for -1. and +1."""
        return self._with(classes=None if classes is None else tuple(map(plain, classes)))

    def found_classes(self) -> np.ndarray:
        """The labels that there are, sorted, by a pass; with more than two, the part that has another is named."""
        labels, counts = self.with_classes(None).map_reduce(_labels, _more_labels)
        if len(labels) > 2:
            usual = labels[np.sort(np.argsort(-counts, kind="stable")[:2])]
            self.with_classes(usual).map_reduce(_n_rows, _plus)
        return labels

    def _with(self, **changes) -> RowParts:
        other = copy.copy(self)
        other.layout = replace(self.layout, **changes)
        vars(other).pop("n_features", None)
        return other


def _n_rows(X, *_):
    return X.shape[0]


def _plus(a, b):
    return a + b


def _labels(X, y, _):
    found, counts = np.unique(y, return_counts=True)
    if len(found) > 100:
        raise ValueError(f"y must hold two classes, got {len(found)}")
    return found, counts


def _more_labels(a, b):
    found, place = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    return found, np.bincount(place, np.concatenate([a[1], b[1]]))


class LocalParts(RowParts):
    """Parts that any process of this machine, or of a cluster with the same disk, reads by itself: joblib's.

    ``sources()`` is a list of callables that yield pieces. ``joblib.parallel_config`` names the backend.
    """

    def __init__(self, layout, memory_limit, n_jobs):
        super().__init__(layout, memory_limit)
        self.n_jobs = n_jobs

    def sources(self) -> list:
        raise NotImplementedError(f"{type(self).__name__} must define sources()")

    def pieces(self):
        for source in self.sources():
            yield from source()

    def _reduced(self, task, join):
        from joblib import Parallel, delayed

        sources = self.sources()
        cuts = np.linspace(0, len(sources), min(TASKS, len(sources)) + 1).astype(int).tolist()
        groups = (sources[a:b] for a, b in pairwise(cuts))
        return join.all(Parallel(n_jobs=self.n_jobs)(delayed(_of_sources)(task, join, group) for group in groups))


def _of_sources(task, join, sources):
    return join.all(task(source()) for source in sources)


@dataclass(frozen=True)
class _Rows:
    """Rows ``start`` to ``start + len(X)`` of an array; a memory map goes to another process as its file's name."""

    start: int
    X: Any
    y: Any
    weight: Any

    def __call__(self):
        yield Piece(f"rows {self.start} to {self.start + self.X.shape[0] - 1}", self.X, self.y, self.weight)


class ArrayParts(LocalParts):
    """An array, memory map or CSR matrix, ``rows`` rows at a time (by default in as many parts as there are tasks)."""

    def __init__(self, X, y, weight=None, *, rows=None, layout=PLAIN, memory_limit=MEMORY_LIMIT, n_jobs=None):
        super().__init__(layout, memory_limit, n_jobs)
        self.X = X if sp.issparse(X) or isinstance(X, np.ndarray) else np.asarray(X)
        self.X = self.X.tocsr() if sp.issparse(self.X) else self.X
        if self.X.ndim != 2:
            raise ValueError(f"X must have two dimensions, got shape {self.X.shape}")
        n = self.X.shape[0]
        self.y, self.weight = np.asarray(y), None if weight is None else np.asarray(weight)
        for name, values in (("y", y), ("sample_weight", weight)):
            if isinstance(values, str):
                raise ValueError(f"{name} is a name, {values!r}: of rows in memory expected one value per row")
        for name, values in (("y", self.y), ("sample_weight", self.weight)):
            if values is not None and values.shape != (n,):
                raise ValueError(f"{name} has shape {values.shape}, X has {n} rows")
        self.rows = max(1, -(-n // TASKS)) if rows is None else rows

    @property
    def n_rows(self):
        return self.X.shape[0]

    def sources(self):
        return [
            _Rows(i, self.X[i : i + self.rows], self.y[i : i + self.rows], _slice(self.weight, i, self.rows))
            for i in range(0, self.n_rows, self.rows)
        ]


def _slice(values, start, size):
    return None if values is None else values[start : start + size]


def over(X, y, weight, function, merge):
    """``function(X, y, weight)`` of all rows: of those of every part, merged, where X comes in parts."""
    return X.map_reduce(function, merge) if isinstance(X, RowParts) else function(X, y, weight)


def width(X) -> int:
    """The number of features."""
    return X.n_features if isinstance(X, RowParts) else X.shape[1]
