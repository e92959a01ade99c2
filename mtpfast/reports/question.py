"""What an audit is asked, read and checked once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from .tables import missing_columns, one_line

__all__ = ["METRICS", "Measure", "Question", "read_question", "select", "take"]


METRICS = {
    "error": "error",
    "false_negative_rate": "false negative rate",
    "false_positive_rate": "false positive rate",
}
WIDER = {  # of whole numbers in a query: 100 + 100 is 200, and in int8 would wrap round
    f"{small}{bits}{kind}": f"{wide}64{kind}"
    for small, wide, kind in (
        ("int", "int", ""), ("uint", "int", ""), ("Int", "Int", ""), ("UInt", "Int", ""), ("int", "int", "[pyarrow]"),
        ("uint", "int", "[pyarrow]"),
    )
    for bits in (8, 16, 32)
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A share of wrong predictions: among how many rows, and its standard error sqrt(p (1 - p) / n)."""

    value: float
    n_rows: int

    @property
    def standard_error(self) -> float:
        return float(np.sqrt(self.value * (1.0 - self.value) / self.n_rows)) if self.n_rows else float("nan")


@dataclass
class Rows:
    """Rows on which a pipeline is measured, and which of them are aimed at."""

    X: Any
    y: np.ndarray
    aimed: np.ndarray


@dataclass
class Question:
    """Pipeline, table, rows aimed at, and what is asked of them.

    Attributes
    ----------
    pipeline : estimator
        Not fitted here; only clones of it are.
    X, y : DataFrame or ndarray, Series or ndarray
        The clean table as it was given.
    train, test : Rows
        ``test`` is None without a holdout.
    metric, goal : str, float or None
    where : str
        The group in words; "" for all rows.
    classes : ndarray of shape (2,)
    budgets : list of (int or float, int)
        As given, and as a number of records.
    """

    pipeline: Any
    X: Any
    y: Any
    train: Rows
    test: Rows | None
    metric: str
    goal: float | None
    where: str
    classes: np.ndarray
    budgets: list
    rules: Mapping | None
    label: str
    trainer_warnings: list

    @property
    def measured(self) -> Rows:
        """The rows on which the report's numbers are measured: the holdout, or the training rows."""
        return self.train if self.test is None else self.test

    @property
    def counted(self) -> np.ndarray:
        """Which of the measured rows the metric counts."""
        return self.measured.aimed & self._of_class(self.measured.y)

    def _of_class(self, y):
        if self.metric == "error":
            return np.ones(len(y), dtype=bool)
        return np.asarray(y) == self.classes[1 if self.metric == "false_negative_rate" else 0]

    def fit(self, X, y):
        """A clone of the user's pipeline, fitted; what its trainer warns of is kept, not shown."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = clone(self.pipeline).fit(X, y)
        for warning in caught:
            if issubclass(warning.category, ConvergenceWarning):
                self.trainer_warnings.append(one_line(warning.message))
        return fitted

    def measure(self, fitted, rows: Rows, everyone=False) -> Measure:
        """The metric of a fitted pipeline on the rows aimed at, or on all of them."""
        counted = self._of_class(rows.y) & (rows.aimed | everyone)
        which = np.flatnonzero(counted)
        if not len(which):
            return Measure(float("nan"), 0)
        predicted = np.asarray(fitted.predict(take(rows.X, which)))
        strange = ~np.isin(predicted, np.unique(np.asarray(rows.y)))
        if np.all(strange):
            raise ValueError(
                f"pipeline: its predictions are no labels: predict gives {predicted.ravel()[0]!r} where y has "
                f"{np.asarray(rows.y)[0]!r}; a regressor has no error rate, end the pipeline with a classifier"
            )
        wrong = predicted != np.asarray(rows.y)[which]
        return Measure(float(np.mean(wrong)), len(which))


def read_question(pipeline, X, y, X_test, y_test, *, goal, where, rules, budgets, metric) -> Question:
    """What a user handed in, checked; every ValueError is one line that names the argument."""
    if not hasattr(pipeline, "fit") or isinstance(pipeline, type):
        raise TypeError(f"pipeline must be a scikit-learn pipeline or estimator, got {pipeline!r}")
    X, labels = _read_rows(X, y, "X", "y")
    classes = np.unique(labels)
    if len(classes) != 2:
        shown = ", ".join(map(repr, classes[:5].tolist())) + (", ..." if len(classes) > 5 else "")
        raise ValueError(f"y must hold two labels, got {len(classes)}: {shown}")
    if hasattr(X, "columns") and (empty := missing_columns(X)):
        raise ValueError(f"column {empty[0]!r} has no value in any row: drop it")
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test must be given together")
    metric, goal = _read_goal(metric, goal)
    test = None
    if X_test is not None:
        X_test, test_labels = _read_rows(X_test, y_test, "X_test", "y_test")
        if odd := sorted(set(np.unique(test_labels).tolist()) - set(classes.tolist()), key=repr):
            raise ValueError(f"y_test holds the label {odd[0]!r}, y only {classes.tolist()}")
        if hasattr(X, "columns") and list(X_test.columns) != list(X.columns):
            other = [name for name in X.columns if name not in list(X_test.columns)]
            what = f"no column {other[0]!r}" if other else f"other columns: {list(X_test.columns)[:5]}"
            raise ValueError(f"X_test has {what}")
        test = Rows(X_test, test_labels, select(where, X_test, y_test, test_labels, "X_test", second=True))
    train = Rows(X, labels, select(where, X, y, labels, "X"))
    question = Question(
        pipeline, X, y, train, test, metric, goal, where if isinstance(where, str) else "", classes,
        read_budgets(budgets, len(labels)), rules, _label_of(X, y), [],
    )  # fmt: skip
    if where is not None and not isinstance(where, str):
        question.where = getattr(where, "__name__", "the rows given")
    for rows, name in ((train, "X"), (test, "X_test")):
        if rows is not None and not np.any(rows.aimed & question._of_class(rows.y)):
            raise ValueError(f"where selects no row of {name} that the {METRICS[metric]} counts")
    return question


def _read_rows(X, y, X_name, y_name):
    if not (hasattr(X, "iloc") and hasattr(X, "columns")):
        if hasattr(X, "to_pandas"):
            X = X.to_pandas()
        elif isinstance(X, (list, tuple, np.ndarray)):
            X = np.asarray(X)
        else:
            raise TypeError(f"{X_name} must be a DataFrame or an array, got {type(X).__name__}")
    if hasattr(X, "columns") and not X.columns.is_unique:
        raise ValueError(f"{X_name} has two columns named {X.columns[X.columns.duplicated()][0]!r}")
    labels = np.asarray(y)
    if X.ndim != 2 or labels.shape != (X.shape[0],):
        raise ValueError(
            f"{X_name} and {y_name} must have shapes (n, d) and (n,), got {tuple(X.shape)} and {labels.shape}"
        )
    if labels.dtype.kind == "f" and not np.all(np.isfinite(labels)):
        raise ValueError(f"{y_name} must not hold missing values")
    if labels.dtype.kind == "O":
        if any(value is None or value != value for value in labels):
            raise ValueError(f"{y_name} must not hold missing values")
        labels = np.array(labels.tolist())
    return X, labels


def _label_of(X, y) -> str:
    """What the labels are called in a table of records: as y is, with an underscore where a column is."""
    name = str(getattr(y, "name", None) or "y")
    while name in getattr(X, "columns", ()):
        name += "_"
    return name


def _read_goal(metric, goal):
    if goal is not None:
        if not isinstance(goal, Mapping) or len(goal) != 1:
            raise TypeError(f"goal must be a dict of one metric and its value, such as {{'error': 0.5}}, got {goal!r}")
        ((named, goal),) = goal.items()
        if metric not in ("error", named):
            raise ValueError(f"goal is of the metric {named!r}, metric={metric!r}: leave one out")
        metric = named
        if isinstance(goal, bool) or not isinstance(goal, Real) or not 0.0 < goal <= 1.0:
            raise ValueError(f"goal must be a share above 0 and at most 1, got {goal!r}")
        goal = float(goal)
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(map(repr, METRICS))}, got {metric!r}")
    return metric, goal


def read_budgets(budgets, n_rows) -> list:
    """``(as given, number of records)`` of every budget, the smallest first, none of them twice.

    Shares of less than one record are left out, unless there are no others.
    """
    read, small = {}, None
    for budget in [budgets] if isinstance(budgets, Real) else budgets:
        if isinstance(budget, bool) or not isinstance(budget, Real) or not 0.0 < float(budget) < float("inf"):
            raise ValueError(f"budgets must be numbers of records or shares of the rows below 1, got {budget!r}")
        if budget >= 1 and budget != int(budget):
            raise ValueError(f"budgets must be whole numbers of records or shares below 1, got {budget!r}")
        count = int(budget * n_rows + 1e-9) if budget < 1 else int(budget)
        if count == 0:
            small = budget
            continue
        read.setdefault(count, float(budget) if budget < 1 else int(budget))
    if not read and small is not None:
        raise ValueError(f"budget {small:g} of {n_rows} rows is less than one record")
    if not read:
        raise ValueError("budgets must hold one budget at least")
    return [(read[count], count) for count in sorted(read)]


def select(where, X, y, labels, name, second=False) -> np.ndarray:
    """Which rows a pandas query, a mask (of X, or a pair for X and X_test) or a function of (X, y) selects."""
    n = len(labels)
    if where is None:
        return np.ones(n, dtype=bool)
    if isinstance(where, str):
        chosen = _query(where, X, y, labels)
    elif callable(where):
        chosen = np.asarray(where(X, y))
    elif isinstance(where, tuple) and len(where) == 2 and np.ndim(where[0]) == 1:
        chosen = np.asarray(where[1 if second else 0])
    elif second:
        raise ValueError("where is a mask of X, and there is X_test: give a pair of masks, a query or a function")
    else:
        chosen = np.asarray(where)
    if chosen.dtype != bool or chosen.shape != (n,):
        raise ValueError(f"where must be a boolean mask of the {n} rows of {name}, got {chosen.dtype} {chosen.shape}")
    if not chosen.any():
        raise ValueError(f"where selects no row of {name}" + (f": {where}" if isinstance(where, str) else ""))
    return chosen


def _query(where, X, y, labels):
    import pandas as pd

    frame = X.reset_index(drop=True) if hasattr(X, "columns") else pd.DataFrame(X).add_prefix("x")
    for name in ("y", getattr(y, "name", None)):
        if name is not None and name not in frame.columns:
            frame = frame.assign(**{str(name): labels})
    frame = frame.assign(**{"__row": np.arange(len(frame))})
    frame = frame.astype({name: WIDER[str(own)] for name, own in frame.dtypes.items() if str(own) in WIDER})
    try:
        kept = frame.query(where, engine="python", local_dict={}, global_dict={})
        rows = kept["__row"].to_numpy()
    except Exception as error:  # pandas raises errors of many kinds, and Python's own, for a query that is none
        raise ValueError(
            f"where is no query on the columns: {where!r}: {type(error).__name__}: {one_line(error)}"
        ) from None
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[rows] = True
    return chosen


def take(X, rows):
    """These rows of a frame or an array."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]
