"""Rows that an engine holds: collections of Dask, and tables of Spark. The engine schedules, sends and retries."""

from __future__ import annotations

import pickle
import uuid
from dataclasses import dataclass, replace

import numpy as np

from .layout import Join, Layout, Piece, Task
from .parts import RowParts

__all__ = ["DaskParts", "SparkParts"]


FAN_IN = 8  # so many partial sums are merged by one task


class DaskParts(RowParts):
    """A ``dask.array`` (cut along its rows) or ``dask.dataframe``: a part is a block, a pass one graph."""

    def __init__(self, X, y, weight, layout: Layout, memory_limit):
        if hasattr(X, "chunks"):
            X = X.rechunk({1: -1}) if len(X.chunks[1]) > 1 else X
            self.blocks = X.to_delayed().ravel().tolist()
        else:
            if layout.columns is None:
                names = tuple(n for n in X.columns if n not in (layout.label, layout.weight))
                layout = replace(layout, columns=names, only=True)
            else:  # the others need not be read
                X = X[[*layout.columns, *(c for c in (layout.label, layout.weight) if c is not None)]]
            self.blocks = X.to_delayed()
        super().__init__(layout, memory_limit)
        rows = X.chunks[0] if hasattr(X, "chunks") else None
        self.y, self.weight = self._beside(y, "y", rows), self._beside(weight, "sample_weight", rows)

    def _beside(self, values, name, rows):
        """Labels or weights, cut as the rows are."""
        if values is None or isinstance(values, str):
            return [None] * len(self.blocks)
        if not hasattr(values, "to_delayed"):
            if rows is None or any(np.isnan(n) for n in rows):
                raise TypeError(f"{name} must be a column of the table, or a collection of Dask cut as it is")
            import dask.array as da

            values = da.from_array(np.asarray(values), chunks=(rows,))
        elif rows is not None and hasattr(values, "chunks") and not any(map(np.isnan, (*rows, *values.chunks[0]))):
            values = values.rechunk({0: rows})
        blocks = np.ravel(values.to_delayed()).tolist()
        if len(blocks) != len(self.blocks):
            raise ValueError(f"{name} has {len(blocks)} blocks, X has {len(self.blocks)}")
        return blocks

    def _named(self):
        for i, block in enumerate(zip(self.blocks, self.y, self.weight, strict=True)):
            yield f"part {i}", *block

    def pieces(self):
        import dask

        for name, *block in self._named():
            yield Piece(name, *dask.compute(*block))

    def _reduced(self, task, join):
        import dask

        one = dask.delayed(_One(task), pure=False, traverse=False)
        merge = dask.delayed(_All(join), pure=False, traverse=False)
        own = uuid.uuid4().hex  # what a worker died of is named by its part
        level = [one(name, *block, dask_key_name=f"{name} of pass-{own}") for name, *block in self._named()]
        while len(level) > 1:
            level = [merge(level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
        return level[0].compute()


@dataclass(frozen=True)
class _One:
    task: Task

    def __call__(self, name, X, y, weight):
        return self.task.one(Piece(name, X, y, weight))


@dataclass(frozen=True)
class _All:
    join: Join

    def __call__(self, values):
        return self.join.all(values)


class SparkParts(RowParts):
    """A Spark DataFrame: ``mapInArrow`` makes of every partition one partial sum, which the driver merges."""

    def __init__(self, X, y, weight, layout: Layout, memory_limit):
        for name, values in (("y", y), ("sample_weight", weight)):
            if not (isinstance(values, str) or (values is None and name == "sample_weight")):
                raise TypeError(f"{name} must be the name of a column of the table, got {type(values).__name__}")
        if layout.columns is None:
            names = tuple(n for n in X.columns if n not in (layout.label, layout.weight))
            layout = replace(layout, columns=names, only=True)
        else:
            X = X.select(*layout.columns, *(c for c in (layout.label, layout.weight) if c is not None))
        super().__init__(layout, memory_limit)
        self.table = X

    def pieces(self):
        import pandas as pd

        rows, names = [], list(self.table.columns)
        for row in self.table.toLocalIterator():
            rows.append(tuple(row))
            if len(rows) == 2**13:
                yield Piece("rows of the table", pd.DataFrame(rows, columns=names))
                rows = []
        if rows:
            yield Piece("rows of the table", pd.DataFrame(rows, columns=names))

    def _reduced(self, task, join):
        found = self.table.mapInArrow(_OfPartition(task), "part int, value binary").collect()
        return join.all(pickle.loads(row.value) for row in sorted(found, key=lambda row: row.part))


@dataclass(frozen=True)
class _OfPartition:
    task: Task

    def __call__(self, batches):
        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        part = context.partitionId() if context is not None else 0
        value = pickle.dumps(self.task(Piece(f"partition {part}", batch) for batch in batches))
        yield pa.RecordBatch.from_arrays(
            [pa.array([part], pa.int32()), pa.array([value], pa.binary())], names=["part", "value"]
        )
