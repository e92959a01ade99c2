"""Attacks side by side, under one judge."""

from __future__ import annotations

import math
import platform
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .arrays.checks import check_count, check_sample_weight, check_X
from .arrays.labels import Classes
from .arrays.rows import merge, stack
from .arrays.sweeps import sweep
from .attacks.baselines.names import BASELINES
from .attacks.damage import damage_curve
from .attacks.damage_question import points_of_budget
from .attacks.online import poison
from .losses.objective import Objective, make_objective
from .minimum.minimum import minimum_poisoning
from .question import ask
from .results.comparison import Comparison
from .results.result import PoisoningResult
from .targets.models import binary_linear_model
from .verification.judge import judge
from .verification.retrain import Training, retrain

__all__ = ["compare"]


OWN = ("poison", "minimum", "damage")
DRAW_NOTHING = {"poison", "minimum", "kkt", "min_max", "influence"}  # one run stands for all seeds
NEED_TARGET = {"poison", "minimum", "kkt", "gradient_canceling"}


def compare(
    methods,
    X,
    y,
    *,
    target=None,
    budgets,
    eval_sets: Mapping | None = None,
    aim: str | None = None,
    loss="hinge",
    alpha: float | None = None,
    C: float | None = None,
    fit_intercept: bool = True,
    penalize_intercept: bool = True,
    class_weight=None,
    count_rows: bool = False,
    feasible_set=None,
    sample_weight=None,
    sanitizers: Mapping | None = None,
    n_seeds: int = 1,
    random_state: int = 0,
    n_jobs: int | None = None,
    judge_tol: float = 1e-6,
    verbose: int = 0,
    callback=None,
) -> Comparison:
    """Run attacks on one victim, and measure what each really does.

    Every method gets the same clean rows, victim, feasible set, target and budgets. What it returns is judged apart
    from it (:func:`mtpfast.verification.judge`): scikit-learn retrains the victim on clean rows and points, and the
    distance, the loss difference and the accuracies are those of that model.

    Parameters
    ----------
    methods : list, or mapping of str to method
        Each a name: "poison" (Algorithm 1), "minimum", "damage", or one of :data:`mtpfast.attacks.baselines.BASELINES`;
        a pair (name, options); or a function ``f(X, y, *, budget, target, random_state, **victim)`` that returns a
        PoisoningResult or (points, labels[, counts]), for labels -1 and +1.
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Two labels; the smaller is -1 for the methods.
    target : fitted linear classifier, TargetModel or (coef, intercept), optional
        What "poison", "minimum", "kkt" and "gradient_canceling" aim at.
    budgets : sequence of int or float
        Points, or below 1 shares of the clean rows.
    eval_sets : mapping of str to (X, y), optional
        Where accuracies are measured besides the training rows.
    aim : str, optional
        The evaluation set that attacks on predictions are aimed at; the training rows by default.
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows, feasible_set, sample_weight
        The victim and its points, as in :func:`mtpfast.poison`.
    sanitizers : mapping of str to sanitiser, optional
        Each a function ``(X, y) -> mask of the rows that stay``, an object with such a ``keep(X, y)``, or a pair
        (object, share) for ``keep(X, y, share=share)`` (:mod:`mtpfast.defences`). It sees the poisoned table, its rows
        shuffled; the victim is trained on what stays.
    n_seeds : int
        Runs of every method that draws something, with ``random_state``, ``random_state + 1``, ...
    random_state : int
    n_jobs : int, optional
        Workers, a task for every method and seed: joblib's, whose ``parallel_config`` chooses a backend (loky, dask,
        ray).
    judge_tol : float
        scikit-learn's ``tol`` for the judge.
    verbose : int
        1: a line to the standard error for every method that is done.
    callback : callable, optional
        ``callback(n_done, n_all, method)`` after every method.

    Returns
    -------
    Comparison
        The same seeds give the same numbers (but seconds), whatever the order of the methods and ``n_jobs``. A Ctrl-C
        keeps the methods that are done.

    Notes
    -----
    "poison" runs once, to the largest budget, and is cut at the others; "damage" goes from budget to budget, and its
    seconds are those of all up to there. A method that raises ValueError is recorded as "failed" with the message.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast import compare
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> runs = compare(["label_flip", "min_max"], X, y, budgets=[1, 2], C=1.0)
    >>> [(row["method"], row["n_points"]) for row in runs.rows]
    [('clean', 0), ('label_flip', 1), ('label_flip', 2), ('min_max', 1), ('min_max', 2)]
    """
    rows, d = check_X(X), np.shape(X)[1]
    classes = Classes.of(y, rows.shape[0])
    signs = classes.signs(y)
    seeds = [random_state + i for i in range(check_count(n_seeds, "n_seeds"))]
    if class_weight is not None and not isinstance(class_weight, str):
        class_weight = {int(classes.signs([label])[0]): weight for label, weight in dict(class_weight).items()}
    victim = {
        "loss": loss, "alpha": alpha, "C": C, "fit_intercept": fit_intercept,
        "penalize_intercept": penalize_intercept, "class_weight": class_weight, "count_rows": count_rows,
    }  # fmt: skip
    objective = make_objective(**victim)
    theta = None if target is None else binary_linear_model(target, d, classes.values)
    space = feasible_set if feasible_set is None else feasible_set.bind(classes=classes.values)
    weight = check_sample_weight(sample_weight, rows.shape[0])
    space = ask(rows, signs, weight, np.zeros(d + 1) if theta is None else theta, objective, space, 0.0).feasible_set
    sets = {"train": (rows, signs)}
    for name, (Z, z) in dict(eval_sets or {}).items():
        if name == "train":
            raise ValueError("eval_sets must not be named 'train': the training rows are measured anyway")
        Z = check_X(Z, f"X of eval_sets[{name!r}]", d)
        sets[name] = Z, classes.signs(z, f"y of eval_sets[{name!r}]", Z.shape[0])
    if aim is not None and aim not in sets:
        raise ValueError(f"aim must be one of {', '.join(map(repr, sets))}, got {aim!r}")
    sizes = sorted({points_of_budget(budget, rows.shape[0]) for budget in budgets})
    if sizes and sizes[0] < 1:
        raise ValueError("budgets must be at least one point: the clean victim is measured anyway")
    case = _Case(
        rows, signs, weight, objective, victim, space, theta, sets, aim, dict(sanitizers or {}), sizes, judge_tol
    )
    jobs = [(name, method, seed) for name, method in _named(methods) for seed in _seeds_of(method, seeds)]
    for name, (kind, _), _ in jobs:
        if kind in NEED_TARGET and theta is None:
            raise ValueError(f"target must be given: {name} aims at a model")
    found = _run([("clean", ("clean", {}), seeds[0]), *jobs], case, n_jobs, verbose, callback)
    about = {
        "n_rows": rows.shape[0], "n_features": d, "victim": repr(objective), "feasible_set": repr(space)[:200],
        "seeds": seeds, "budgets": sizes, "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip
    table = [row for row, _ in found]
    arrays = {f"{i}/{name}": value for i, (_, parts) in enumerate(found) for name, value in parts.items()}
    return Comparison(tuple(table), arrays, about)


class _Case(NamedTuple):
    """What every method is given, and measured by."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    objective: Objective
    victim: dict
    space: Any
    target: np.ndarray | None
    sets: dict
    aim: str | None
    sanitizers: dict
    budgets: list
    judge_tol: float


def _named(methods):
    """``[(what tables call it, (name or function, options))]``."""
    if isinstance(methods, str) or callable(methods):
        methods = [methods]
    pairs = methods.items() if isinstance(methods, Mapping) else ((None, method) for method in methods)
    out = []
    for name, method in pairs:
        kind, options = method if isinstance(method, tuple) else (method, {})
        if not callable(kind) and kind not in (*OWN, *BASELINES):
            known = ", ".join(map(repr, (*OWN, *BASELINES)))
            raise ValueError(f"methods must hold functions, or names among {known}; got {kind!r}")
        label = getattr(kind, "__name__", type(kind).__name__) if callable(kind) else kind
        label += f"({', '.join(f'{k}={v!r}' for k, v in options.items())})" if options else ""
        out.append((label if name is None else name, (kind, dict(options))))
    if len({name for name, _ in out}) < len(out):
        raise ValueError("methods must differ, in name or options")
    return out


def _seeds_of(method, seeds):
    kind, _ = method
    return seeds[:1] if not callable(kind) and kind in DRAW_NOTHING else seeds


def _run(jobs, case, n_jobs, verbose, callback):
    done = []
    try:
        for job, rows in zip(jobs, sweep(_job, jobs, case, n_jobs), strict=True):
            done.append(rows)
            if verbose:
                sys.stderr.write(f"compare: {job[0]}, seed {job[2]} ({len(done)} of {len(jobs)})\n")
            if callback is not None:
                callback(len(done), len(jobs), job[0])
    except KeyboardInterrupt:
        if not done:
            raise
        warnings.warn(f"interrupted: {len(done)} of {len(jobs)} runs are kept", stacklevel=3)
    return [row for rows in done for row in rows]


def _job(name, method, seed, case: _Case):
    """All rows of one method and seed: ``[(row, arrays)]``."""
    kind, options = method
    out = []
    if kind == "clean":
        return _measured(case, {"method": "clean", "budget": 0, "seed": seed}, _Points.none(case.X), 0.0)
    for budget, found, seconds in _attacked(kind, options, seed, case):
        head = {"method": name, "budget": budget, "seed": seed}
        if isinstance(found, ValueError):
            row = {"sanitizer": "none", "n_points": 0, "status": "failed", "message": str(found), "seconds": seconds}
            out.append((head | row, {}))
        else:
            out += _measured(case, head, found, seconds)
    return out


class _Points(NamedTuple):
    """What a method returned: distinct points with counts, and the model that it claims."""

    points: Any
    labels: np.ndarray
    counts: np.ndarray
    theta: np.ndarray | None
    status: str
    message: str

    @classmethod
    def none(cls, X):
        return cls(np.zeros((0, X.shape[1])), np.zeros(0), np.zeros(0, dtype=int), None, "budget", "no poison")

    @classmethod
    def of(cls, found, d):
        if isinstance(found, PoisoningResult):
            theta = None if np.any(np.isnan(found.theta)) else found.theta
            points = found.points
            return cls(points, found.labels, found.counts, theta, found.status, found.message)
        if not isinstance(found, (tuple, list)) or len(found) not in (2, 3):
            raise ValueError(f"a method must return (points, labels) or a PoisoningResult, got {type(found).__name__}")
        points, labels, *counts = found
        points = points if sp.issparse(points) else np.asarray(points, dtype=float)
        points = np.zeros((0, d)) if points.shape[0] == 0 else points
        if points.shape[1:] != (d,) or np.shape(labels) != points.shape[:1]:
            raise ValueError(f"a method must return points of shape (n_points, {d}) and a label each, got shapes "
                             f"{points.shape} and {np.shape(labels)}")  # fmt: skip
        merged = merge(points, np.asarray(labels, dtype=float), *counts)
        rows = [x.toarray().ravel() if sp.issparse(x) else x for x, _, _ in merged]
        return cls(
            np.array(rows).reshape(-1, d),
            np.array([label for _, label, _ in merged]),
            np.array([n for _, _, n in merged], dtype=int),
            None,
            "budget",
            "",
        )


def _attacked(kind, options, seed, case):
    """``(budget, points or error, CPU seconds)`` for every budget."""
    X, y, d = case.X, case.y, case.X.shape[1]
    common = {"feasible_set": case.space, "sample_weight": case.weight, **case.victim}
    aimed = {}
    if case.aim not in (None, "train"):
        aimed = dict(zip(("X_eval", "y_eval"), case.sets[case.aim], strict=True))
    begin = time.process_time()
    try:
        if kind == "poison":
            yield from _cut(options, case, common, begin)
            return
        if kind == "damage":
            results = damage_curve(X, y, budgets=case.budgets, **{"random_state": seed, **aimed, **common, **options})
            seconds = time.process_time() - begin
            for budget, result in zip(case.budgets, results, strict=True):
                yield budget, _Points.of(result, d), seconds
            return
    except ValueError as error:
        for budget in case.budgets:
            yield budget, error, math.nan
        return
    for budget in case.budgets:
        begin = time.process_time()
        try:
            if kind == "minimum":
                found = minimum_poisoning(X, y, case.target, max_points=budget, **common, **options)
            elif callable(kind):
                own = {"target": case.target, "random_state": seed, **common, **options}
                found = kind(X, y, budget=budget, **own)
            else:
                own = {"target": case.target, "random_state": seed, **aimed, **common, **options}
                found = BASELINES[kind](X, y, budget=budget, **own)
            found = _Points.of(found, d)
        except ValueError as error:
            found = error
        yield budget, found, time.process_time() - begin


def _cut(options, case, common, begin):
    """Algorithm 1, once, and its prefixes."""
    clock = {}

    def watch(state):
        clock[int(state["n_points"])] = time.process_time() - begin
        return False

    own = {"max_points": case.budgets[-1], "callback": watch, **common, **options}
    result = poison(case.X, case.y, case.target, **own)
    total = time.process_time() - begin
    for budget in case.budgets:
        known = [n for n in clock if n >= budget]
        yield budget, _Points.of(result.at_budget(budget), case.X.shape[1]), clock[min(known)] if known else total


def _measured(case, head, found: _Points, seconds):
    """The rows of one attack: without sanitiser, and with each."""
    measured = judge(
        case.objective, case.X, case.y, found.points, found.labels, found.counts, case.space, case.target,
        case.weight, tol=case.judge_tol,
    )  # fmt: skip
    row = head | {
        "sanitizer": "none",
        "n_points": measured.n_points,
        "n_distinct": len(found.labels),
        "feasible": measured.feasible,
        "distance": measured.distance,
        "loss_difference": measured.loss_difference,
        "off": math.nan if found.theta is None else float(np.linalg.norm(found.theta - measured.theta)),
        "clean_loss": measured.clean_loss,
        "objective": measured.clean_loss + measured.poison_loss + measured.penalty,
        **_accuracies(case, measured.theta),
        "removed": 0,
        "seconds": seconds,
        "status": found.status,
        "message": found.message,
    }
    points = found.points.toarray() if sp.issparse(found.points) else found.points
    out = [(row, {"points": points, "labels": found.labels, "counts": found.counts, "theta": measured.theta})]
    return out + [_sanitized(case, row, found, name, how) for name, how in case.sanitizers.items()]


def _accuracies(case, theta):
    return {
        f"accuracy_{name}": float(np.mean((X @ theta[:-1] + theta[-1] > 0) == (y > 0)))
        for name, (X, y) in case.sets.items()
    }


def _sanitized(case, row, found, name, how):
    """The row of a table that a sanitiser has cleaned: every copy is a row of its own there."""
    order = np.repeat(np.arange(len(found.labels)), found.counts)
    X, y = stack(case.X, found.points[order]), np.append(case.y, found.labels[order])
    weight = None if case.weight is None else np.append(case.weight, np.ones(len(order)))
    dealt = np.random.default_rng(row["seed"]).permutation(len(y))
    how, share = how if isinstance(how, tuple) else (how, None)
    keep = how.keep if hasattr(how, "keep") else how
    mask = keep(X[dealt], y[dealt]) if share is None else keep(X[dealt], y[dealt], share=share)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != y.shape:
        raise TypeError(f"sanitizers[{name!r}] must return a boolean mask of {len(y)} rows, got {mask.dtype}")
    kept = np.sort(dealt[mask])
    training = Training.of(case.objective, X[kept], y[kept], None if weight is None else weight[kept])
    theta = retrain(training, case.judge_tol)
    n = int(np.sum(kept >= len(case.y)))
    more = {"sanitizer": name, "n_points": n, "removed": len(case.y) - (len(kept) - n)}
    missing = dict.fromkeys(("loss_difference", "off", "clean_loss", "objective"), math.nan)
    distance = math.nan if case.target is None else float(np.linalg.norm(theta - case.target))
    return row | missing | more | {"distance": distance, **_accuracies(case, theta)}, {"theta": theta}
