"""Rows in parts from whatever holds them: arrays, files, collections of Dask and Spark."""

from __future__ import annotations

import numpy as np

from .labels import plain
from .layout import Layout
from .part_engines import DaskParts, SparkParts
from .part_files import FileParts, is_paths
from .parts import MEMORY_LIMIT, ArrayParts, RowParts

__all__ = ["as_parts", "in_parts"]


def as_parts(X, y=None, sample_weight=None) -> RowParts | None:
    """Rows in parts, where X is that, or a collection of Dask or Spark; None for what is held in memory."""
    if isinstance(X, RowParts):
        for name, values in (("y", y), ("sample_weight", sample_weight)):
            if values is not None:
                raise ValueError(f"{name} must be None: rows in parts bring their own, which in_parts takes")
        return X
    engine = _engine(X)
    return None if engine is None else in_parts(X, y, sample_weight)


def _engine(X):
    """Whose collection X is, "dask" or "spark"; None for others."""
    library = type(X).__module__.split(".")[0]
    if library in ("dask", "dask_expr") and hasattr(X, "to_delayed"):
        return "dask"
    return "spark" if library == "pyspark" and hasattr(X, "mapInArrow") else None


def in_parts(
    X,
    y=None,
    sample_weight=None,
    *,
    columns=None,
    classes=(-1, 1),
    transform=None,
    rows: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
    n_jobs: int | None = None,
) -> RowParts:
    """Rows that need not fit into memory, for :func:`minimum_poisoning`, ``MinimumPoisoner`` and ``certificate.check``.

    Parameters
    ----------
    X : array, memory map, CSR matrix, path or list of paths, ``dask.array``, ``dask.dataframe`` or Spark DataFrame
        Paths: files that end in npy, npz (arrays ``X``, ``y``), parquet or csv; a path may hold ``*``.
    y : str, array-like, or list of paths
        A name: the column (npz: the array) that holds the labels. Else one label per row, of Dask too; for npy files a
        list of files.
    sample_weight : str or array-like, optional
        The same for weights.
    columns : list of str, optional
        The features among the columns of a table; all but labels and weights by default, and then a part with other
        columns is refused.
    classes : pair, default=(-1, 1)
        The labels that stand for -1 and +1.
    transform : fitted transformer, optional
        Applied to the columns of each part, as a pandas DataFrame, where the part is.
    rows : int, optional
        Rows of a part of an array, or that are read at once of a file.
    memory_limit : int, default=2**30
        Bytes of rows on the margin of a target that a pass may bring back.
    n_jobs : int, optional
        For arrays and files: joblib's, which ``joblib.parallel_config`` sets too.

    Returns
    -------
    RowParts

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast import FeatureSpace, in_parts, minimum_poisoning
    >>> X, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([-1, 1, -1, 1])
    >>> rows = in_parts(X, y, rows=3)
    >>> [part.X.shape for part in rows.parts()]
    [(3, 1), (1, 1)]
    >>> result = minimum_poisoning(rows, None, ([-1.0], 0.5), loss="log_loss", C=1.0,
    ...                            feasible_set=FeatureSpace(0.0, 1.0))
    >>> result.status, result.n_points, result.lower_bound
    ('reached', 13, 13)
    """
    classes = None if classes is None else tuple(map(plain, classes))
    if classes is not None and (len(classes) != 2 or classes[0] == classes[1]):
        raise ValueError(f"classes must be two labels, got {classes!r}")
    if rows is not None and (not isinstance(rows, (int, np.integer)) or rows < 1):
        raise ValueError(f"rows must be a whole number, at least 1, got {rows!r}")
    label, weight = (values if isinstance(values, str) else None for values in (y, sample_weight))
    given = None if columns is None else tuple(columns)
    layout = Layout(label, weight, given, False, classes, transform)
    engine = _engine(X)
    if engine is not None:
        return {"dask": DaskParts, "spark": SparkParts}[engine](X, y, sample_weight, layout, memory_limit)
    if is_paths(X):
        return FileParts(X, y, sample_weight, rows=rows, layout=layout, memory_limit=memory_limit, n_jobs=n_jobs)
    return ArrayParts(X, y, sample_weight, rows=rows, layout=layout, memory_limit=memory_limit, n_jobs=n_jobs)
