"""The first points of an attack, as the attack of that size."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mtpfast.arrays.frames import take_records
from mtpfast.proofs.certificate import bound_along_path

from .models import entries_of, kept_entry

__all__ = ["prefix"]


def prefix(result, k: int):
    """The attack as it stood after k points; see :meth:`mtpfast.PoisoningResult.at_budget`."""
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    if k >= result.n_points:
        return result
    sizes = np.asarray(result.history.get("n_points", ()))
    entries = entries_of(result)
    if entries is None or not np.any(sizes <= k):
        raise ValueError(
            f"k must be {result.n_points} or more: this attack is not incremental, so it has no prefixes; got {k}"
        )
    # The last model of that size: a polish without a new point is part of it.
    last = int(np.flatnonzero(sizes <= k)[-1])
    size, kept = int(sizes[last]), kept_entry(entries, last, sizes, "k")
    history = {
        name: values[: last + 1] if len(values) == len(sizes) else values for name, values in result.history.items()
    }
    sequence = result.sequence[:size]
    used, sequence = np.unique(sequence, return_inverse=True)
    proved = history.get("loss_difference_upper_bound", [math.nan])  # NaN: of a file of an earlier version
    upper = float(proved[-1])
    path, theta = result.path[: kept + 1], result.path[kept]
    index = None if kept == last else entries[: kept + 1]
    measure = upper if result.stop == "loss_difference" else float(np.linalg.norm(theta - result.theta_target))
    return dataclasses.replace(
        result,
        points=result.points[used],
        labels=result.labels[used],
        records=None if result.records is None else take_records(result.records, used),
        sequence=sequence,
        theta=theta,
        path=path,
        path_index=index,
        history=history,
        loss_difference=float(history["loss_difference"][last]),
        loss_difference_upper_bound=upper,
        status="reached" if measure <= result.tol else "budget",
        message=f"the first {size} of {result.n_points} points",
        **_proved(result, path, history, index),
    )


def _proved(result, path, history, index):
    """The bound that the models of a prefix prove, and its certificate."""
    known = history.get("lower_bound")
    if known is None or result.goal is None or getattr(result.certificate, "kind", "model") != "model":
        return {}  # a bound that was proved apart from the path holds for the target as it is
    certificate, number = bound_along_path(result.goal, result.clean, path, known if index is None else known[index])
    return {"lower_bound": number, "certificate": certificate}
