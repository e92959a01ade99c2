"""Folders that Spark ML writes: linear models of two classes."""

from __future__ import annotations

import json
import math

import numpy as np

from .model import model_of

__all__ = ["read_spark"]


def read_spark(folder):
    """The model of a folder with ``metadata`` (JSON lines) and ``data`` (Parquet, one row).

    The row holds coefficients and intercept in full; the threshold stands in the metadata alone. For a
    LogisticRegressionModel it is one of probabilities, and becomes ``log(t / (1 - t))``.
    """
    meta = _metadata(folder / "metadata")
    kind = meta["class"].rpartition(".")[2]
    if kind not in READERS:
        raise ValueError(f"holds a {kind}, expected {' or '.join(READERS)}: save the last stage of a pipeline alone")
    row = _only_row(folder / "data")
    params = {**meta.get("defaultParamMap", {}), **meta.get("paramMap", {})}
    theta, threshold = READERS[kind](row, params)
    return model_of(
        theta[:-1], theta[-1], np.array([0.0, 1.0]), f"Spark {meta.get('sparkVersion')} {kind}", threshold=threshold,
        tol=None,
    )  # fmt: skip


def _metadata(folder):
    parts = [part for part in sorted(folder.glob("part-*")) if part.stat().st_size]
    if len(parts) != 1:
        raise ValueError(f"metadata has {len(parts)} parts, expected 1")
    return json.loads(parts[0].read_text(encoding="utf-8"))


def _only_row(folder):
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError('Spark ML folders are read with the package pyarrow: pip install "mtpfast[files]"') from None
    rows = [row for part in sorted(folder.glob("*.parquet")) for row in pyarrow.parquet.read_table(part).to_pylist()]
    if len(rows) != 1:
        raise ValueError(f"data has {len(rows)} rows, expected 1")
    return rows[0]


def _svc(row, params):
    return np.append(_vector(row["coefficients"]), row["intercept"]), float(params.get("threshold", 0.0))


def _logistic(row, params):
    if row["numClasses"] != 2:
        raise ValueError(f"{row['numClasses']} classes, expected 2")
    coef, intercept = _matrix(row["coefficientMatrix"]), _vector(row["interceptVector"])
    if row["isMultinomial"]:  # a row of scores per class
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    share = float(params.get("threshold", 0.5))
    if "thresholds" in params:  # the class of the largest probability over its threshold
        no, yes = params["thresholds"]
        share = 1.0 / (1.0 + no / yes)
    if not 0.0 < share < 1.0:
        raise ValueError(f"threshold {share:g}, expected a probability between 0 and 1")
    return np.append(coef[0], intercept[0]), math.log(share) - math.log1p(-share)


READERS = {"LinearSVCModel": _svc, "LogisticRegressionModel": _logistic}


def _vector(stored):
    if stored["type"] == 1:
        return np.array(stored["values"], dtype=float)
    dense = np.zeros(stored["size"])
    dense[stored["indices"]] = stored["values"]
    return dense


def _matrix(stored):
    shape, values = (stored["numRows"], stored["numCols"]), np.array(stored["values"], dtype=float)
    turned = bool(stored["isTransposed"])  # by rows; else by columns
    if stored["type"] == 1:
        return values.reshape(shape) if turned else values.reshape(shape[::-1]).T
    dense = np.zeros(shape if turned else shape[::-1])
    for i, (first, last) in enumerate(zip(stored["colPtrs"], stored["colPtrs"][1:], strict=False)):
        dense[i, stored["rowIndices"][first:last]] = values[first:last]
    return dense if turned else dense.T
