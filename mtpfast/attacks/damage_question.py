"""What a search for damage is asked: clean data, victim, feasible set and the rows aimed at, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mtpfast.arrays.checks import check_labels, check_X
from mtpfast.losses.objective import Objective
from mtpfast.question import evaluation_sets, read_question

from .aim import Aim, get_metric

__all__ = ["DamageQuestion", "points_of_budget", "read_damage_question"]


def points_of_budget(budget, n_rows) -> int:
    """So many points: a whole number of them, or a share of the clean rows if it is a float below 1."""
    if isinstance(budget, (bool, np.bool_)) or not isinstance(budget, (int, float, np.integer, np.floating)):
        raise TypeError(f"budget must be a number of points or a share of the clean rows, got {budget!r}")
    if isinstance(budget, (float, np.floating)) and not (math.isfinite(budget) and budget >= 0.0):
        raise ValueError(f"budget must be at least 0 and finite, got {budget!r}")
    if isinstance(budget, (float, np.floating)) and budget < 1.0:
        return int(budget * n_rows + 1e-9)
    if budget < 0 or budget != int(budget):
        raise ValueError(f"budget must be a whole number of points or a share below 1, got {budget!r}")
    return int(budget)


@dataclass
class DamageQuestion:
    """Clean data, victim, feasible set, and the rows aimed at.

    Attributes
    ----------
    X, y, sample_weight
        The clean rows, labels -1. and +1.
    objective : Objective
    feasible_set : Space
        With the labels -1. and +1.
    aim : Aim
    training_aim : Aim or None
        The same metric on the training rows, where the rows aimed at are others.
    eval_sets : dict of str to (X, whether y is +1)
    rows : ndarray of bool or None
        Which clean rows are aimed at, where that says all of what is measured: see :class:`Damage`.
    """

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    objective: Objective
    feasible_set: object
    aim: Aim
    training_aim: Aim | None
    eval_sets: dict
    rows: np.ndarray | None = None

    def measure(self, theta) -> dict:
        """The metric of a model on the rows aimed at and on every evaluation set."""
        metric, values = self.aim.metric, {"aimed": self.aim.value(theta)}
        for name, (X, positive) in self.eval_sets.items():
            y = np.where(positive, 1.0, -1.0)
            keep = np.ones(len(y), bool) if metric.label is None else y == metric.label
            margins = (y * (X @ theta[:-1] + theta[-1]))[keep]
            values[name] = metric(y[keep], margins, np.ones(len(margins))) if len(margins) else math.nan
        return values


def read_damage_question(
    X,
    y,
    objective: Objective,
    feasible_set=None,
    sample_weight=None,
    *,
    metric="error",
    X_eval=None,
    y_eval=None,
    mask=None,
    eval_sets=None,
) -> DamageQuestion:
    """The question in what users hand in, labels as -1 and +1."""
    X = check_X(X)
    asked = read_question(X, y, np.zeros(X.shape[1] + 1), objective, feasible_set, sample_weight, 0.0)
    X, y, weight = asked.X, asked.y, asked.sample_weight
    if (X_eval is None) != (y_eval is None):
        raise ValueError("X_eval and y_eval must be given together")
    metric, rows, labels, own = get_metric(metric), X, y, weight
    if X_eval is not None:
        rows, own = check_X(X_eval, "X_eval", X.shape[1]), None
        labels = check_labels(y_eval, rows.shape[0], "y_eval", "X_eval", both=False)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (rows.shape[0],):
            raise ValueError(
                f"mask must be a boolean array of shape ({rows.shape[0]},), got {mask.dtype} of shape {mask.shape}"
            )
        if not mask.any():
            raise ValueError("mask selects no row")
        keep = np.flatnonzero(mask)
        rows, labels, own = rows[keep], labels[keep], None if own is None else own[keep]
    if isinstance(eval_sets, Mapping) and "aimed" in eval_sets:
        raise ValueError("eval_sets: the name 'aimed' is that of the rows aimed at, give another")
    sets = evaluation_sets(
        eval_sets,
        lambda Z, name: check_X(Z, name, X.shape[1]),
        lambda z, name, n: check_labels(z, n, name, name.replace("y of", "X of"), both=False),
    )
    training = Aim(metric, X, y, weight) if X_eval is not None and mask is None else None
    aimed = None
    if X_eval is None and metric.whole is None:
        aimed = np.ones(len(y), dtype=bool) if mask is None else mask.copy()
    aim = Aim(metric, rows, labels, own)
    return DamageQuestion(X, y, weight, objective, asked.feasible_set, aim, training, sets, aimed)
