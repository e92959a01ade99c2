"""Attacks side by side, under one judge."""

from __future__ import annotations

import inspect
import math
import platform
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .arrays.checks import check_count, check_number, check_sample_weight, check_X
from .arrays.labels import Classes
from .arrays.rows import merge, stack
from .arrays.sweeps import sweep
from .attacks.baselines.names import BASELINES
from .attacks.baselines.task import OPTIONS
from .attacks.damage import LIMITS, damage_curve
from .attacks.damage_question import points_of_budget
from .attacks.online import poison
from .losses.objective import Objective, make_objective
from .minimum.minimum import minimum_poisoning
from .question import ask, evaluation_sets
from .results.comparison import Comparison
from .results.result import PoisoningResult
from .spaces.base import as_space
from .spaces.specs import names_of_columns
from .targets.models import binary_linear_model
from .verification.judge import check_points, judge
from .verification.retrain import Training, retrain

__all__ = ["compare"]


OWN = {"poison": poison, "minimum": minimum_poisoning, "damage": damage_curve}
RESERVED = {"X", "y", "budget", "budgets"}  # what compare itself hands to every method
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
        PoisoningResult or (points, labels[, counts]), for labels -1 and +1. It gets arrays that it cannot change.
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Two labels; the smaller is -1 for the methods.
    target : fitted linear classifier, TargetModel or (coef, intercept), optional
        What "poison", "minimum", "kkt" and "gradient_canceling" aim at.
    budgets : int or float, or a sequence of them
        Points, at least one; or below 1 shares of the clean rows.
    eval_sets : mapping of str to (X, y), optional
        Where accuracies are measured besides the training rows.
    aim : str, optional
        The evaluation set that attacks on predictions are aimed at; the training rows by default.
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows, feasible_set, sample_weight
        The victim and its points, as in :func:`mtpfast.poison`.
    sanitizers : mapping of str to sanitiser, optional
        Each a function ``(X, y) -> mask of the rows that stay``, an object with such a ``keep(X, y)``, or a pair
        (object, share) for ``keep(X, y, share=share)`` (:mod:`mtpfast.defences`). It sees the poisoned table, its rows
        shuffled; the victim is trained on what stays. One that fails on the clean table raises; on a poisoned one (it
        may leave no row of a label) it is recorded as "failed".
    n_seeds : int
        Runs of every method that draws something, with ``random_state``, ``random_state + 1``, ...
    random_state : int, at least 0
    n_jobs : int, optional
        Workers, a task for every method and seed: joblib's, whose ``parallel_config`` chooses a backend (loky, dask,
        ray).
    judge_tol : float
        scikit-learn's ``tol`` for the judge.
    verbose : int
        1: a line to the standard error for every method that is done.
    callback : callable, optional
        ``callback(n_done, n_all, method)`` after every method; True stops.

    Returns
    -------
    Comparison
        The same seeds give the same numbers (but seconds), whatever the order of the methods and ``n_jobs``. A Ctrl-C
        ends all of it and keeps what is done: where methods run one after the other, also the budgets of the one that
        is cut.

    Notes
    -----
    "poison" runs once, to the largest budget, and is cut at the others; "damage" goes from budget to budget, and its
    seconds are those of all up to there. A method that raises an error, or returns what no table can hold (NaN, labels
    other than -1 and +1, parts of points), is recorded as "failed" with the message. More points than the budget are
    not feasible.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast import compare
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> runs = compare(["label_flip", "min_max"], X, y, budgets=[1, 2], C=1.0)
    >>> [(row["method"], row["n_points"]) for row in runs.rows]
    [('clean', 0), ('label_flip', 1), ('label_flip', 2), ('min_max', 1), ('min_max', 2)]
    """
    rows = check_X(X)
    d, names = rows.shape[1], names_of_columns(X)
    classes = Classes.of(y, rows.shape[0])
    signs = classes.signs(y)
    random_state, n_seeds = check_count(random_state, "random_state", low=0), check_count(n_seeds, "n_seeds")
    seeds = [random_state + i for i in range(n_seeds)]
    if isinstance(class_weight, Mapping):
        own = {int(classes.signs([label], "class_weight")[0]): weight for label, weight in class_weight.items()}
    victim = {
        "loss": loss, "alpha": alpha, "C": C, "fit_intercept": fit_intercept,
        "penalize_intercept": penalize_intercept, "count_rows": count_rows,
        "class_weight": own if isinstance(class_weight, Mapping) else class_weight,
    }  # fmt: skip
    objective = make_objective(**victim)
    theta = None if target is None else binary_linear_model(target, d, classes.values, names)
    space = feasible_set if feasible_set is None else as_space(feasible_set).bind(names, classes.values)
    weight = check_sample_weight(sample_weight, rows.shape[0])
    space = ask(rows, signs, weight, np.zeros(d + 1) if theta is None else theta, objective, space, 0.0).feasible_set
    if isinstance(eval_sets, Mapping) and "train" in eval_sets:
        raise ValueError("eval_sets must not be named 'train': the training rows are measured anyway")
    sets = {"train": (rows, signs)}
    read = evaluation_sets(eval_sets, lambda Z, name: _of_columns(Z, name, d, names), classes.signs)
    sets |= {name: (Z, np.where(positive, 1.0, -1.0)) for name, (Z, positive) in read.items()}
    if aim is not None and aim not in sets:
        raise ValueError(f"aim must be one of {', '.join(map(repr, sets))}, got {aim!r}")
    sizes = _sizes(budgets, rows.shape[0])
    judge_tol = check_number(judge_tol, "judge_tol", strict=True)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}")
    case = _Case(
        rows, signs, weight, objective, victim, space, theta, sets, aim, _checked(sanitizers), sizes, judge_tol
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


def _of_columns(Z, name, d, names):
    """Rows of an evaluation set; the columns of a data frame must be those of X."""
    own = names_of_columns(Z)
    if None not in (own, names) and own != names:
        raise ValueError(f"{name} must have the columns of X, {list(names)}, got {list(own)}")
    return check_X(Z, name, d)


def _sizes(budgets, n_rows):
    """The budgets as whole numbers of points, rising."""
    if isinstance(budgets, str) or not (np.iterable(budgets) or isinstance(budgets, (int, float, np.number))):
        raise TypeError(f"budgets must be numbers of points or shares of the clean rows, got {budgets!r}")
    sizes = sorted({points_of_budget(budget, n_rows) for budget in (budgets if np.iterable(budgets) else [budgets])})
    if not sizes or sizes[0] < 1:
        raise ValueError("budgets must hold one at least, each of one point at least: the clean victim is measured "
                         f"anyway; got {budgets!r} for {n_rows} rows")  # fmt: skip
    return sizes


def _checked(sanitizers):
    """``{name: (keep, options)}``."""
    if sanitizers is not None and not isinstance(sanitizers, Mapping):
        raise TypeError(f"sanitizers must map names to sanitisers, got {type(sanitizers).__name__}")
    out = {}
    for name, how in dict(sanitizers or {}).items():
        pair = isinstance(how, tuple) and len(how) == 2
        keep = getattr(how[0] if pair else how, "keep", None) or (None if pair else how)
        if name == "none" or not callable(keep):
            what = "'none' stands for no sanitiser" if name == "none" else f"got {how!r}"
            raise TypeError(f"sanitizers[{name!r}] must be a function (X, y) -> mask, an object with such a keep, "
                            f"or a pair (object, share), under a name of its own: {what}")  # fmt: skip
        out[name] = keep, {"share": how[1]} if pair else {}
    return out


def _named(methods):
    """``[(what tables call it, (name or function, options))]``."""
    if isinstance(methods, str) or callable(methods) or (isinstance(methods, tuple) and _is_pair(methods)):
        methods = [methods]
    if not np.iterable(methods):
        raise TypeError(f"methods must be a list, or map names to methods, got {type(methods).__name__}")
    pairs = methods.items() if isinstance(methods, Mapping) else ((None, method) for method in methods)
    out = []
    for name, method in pairs:
        kind, options = method if _is_pair(method) else (method, {})
        if not callable(kind) and not (isinstance(kind, str) and kind in {*OWN, *BASELINES}):
            known = ", ".join(map(repr, (*OWN, *BASELINES)))
            raise ValueError(f"methods must hold functions, names ({known}) or pairs (name, options), got {kind!r}")
        known = set(options) - RESERVED if callable(kind) else _options_of(kind)
        for option in options:
            if option not in known:
                raise TypeError(f"methods: {kind} takes no option {option!r} here")
        label = getattr(kind, "__name__", type(kind).__name__) if callable(kind) else kind
        label += f"({', '.join(f'{k}={v!r}' for k, v in options.items())})" if options else ""
        out.append((label if name is None else str(name), (kind, dict(options))))
    names = [name for name, _ in out]
    if len(set(names)) < len(out) or "clean" in names:
        raise ValueError("methods must differ, in name or options, and 'clean' is the victim without poison")
    return out


def _is_pair(method):
    return isinstance(method, tuple) and len(method) == 2 and isinstance(method[1], Mapping)


def _options_of(kind):
    """What a method of the package may be told."""
    known = set(inspect.signature((OWN | BASELINES)[kind]).parameters)
    if "options" in known:  # of the victim, of the rows aimed at and of the search
        known |= OPTIONS | (set(LIMITS) if kind == "damage" else set())
    return known - RESERVED - {"options"}


def _seeds_of(method, seeds):
    kind, _ = method
    return seeds[:1] if not callable(kind) and kind in DRAW_NOTHING else seeds


def _run(jobs, case, n_jobs, verbose, callback):
    rows, done = [], 0
    try:
        for job, (found, whole) in zip(jobs, sweep(_job, jobs, case, n_jobs), strict=True):
            rows += found
            if not whole:
                raise KeyboardInterrupt
            done += 1
            if verbose:
                sys.stderr.write(f"compare: {job[0]}, seed {job[2]} ({done} of {len(jobs)})\n")
            if callback is not None and callback(done, len(jobs), job[0]):
                break
    except KeyboardInterrupt:
        if not rows:
            raise
        warnings.warn(f"interrupted: {done} of {len(jobs)} runs are kept", stacklevel=3)
    return rows


def _job(name, method, seed, case: _Case):
    """All rows of one method and seed, ``[(row, arrays)]``, and whether a Ctrl-C did not cut it short."""
    kind, options = method
    out = []
    try:
        if kind == "clean":
            return _measured(case, {"method": "clean", "budget": 0, "seed": seed}, _Points.none(case.X), 0.0), True
        for budget, found, seconds in _attacked(kind, options, seed, case):
            head = {"method": name, "budget": budget, "seed": seed}
            if isinstance(found, _Points) and found.status == "interrupted":  # half a search is compared with nothing
                return out, False
            try:
                if isinstance(found, Exception):
                    raise found
                out += _measured(case, head, found, seconds)
            except Exception as error:
                out.append((_failed(head, error) | {"seconds": seconds}, {}))
    except KeyboardInterrupt:
        return out, False
    return out, True


def _failed(head, error, sanitizer="none"):
    """The row of what gave no numbers."""
    message = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return head | {"sanitizer": sanitizer, "n_points": 0, "status": "failed", "message": message}


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
        theta, status, message = None, "budget", ""
        if isinstance(found, PoisoningResult):
            status, message = found.status, found.message
            theta = np.asarray(found.theta, dtype=float)
            if theta.shape != (d + 1,):
                raise ValueError(f"a method must return a model of {d + 1} numbers, got shape {theta.shape}")
            theta = None if np.any(np.isnan(theta)) else theta
            found = found.points, found.labels, found.counts
        if not isinstance(found, (tuple, list)) or len(found) not in (2, 3):
            raise ValueError(f"a method must return (points, labels) or a PoisoningResult, got {type(found).__name__}")
        try:
            points, labels, counts = check_points(*found, n_features=d)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a method must return points, their labels and counts: {error}") from None
        merged = [(x, label, n) for x, label, n in merge(points, labels, counts) if n > 0]
        rows = [x for x, _, _ in merged]
        points = sp.vstack(rows, format="csr") if rows and sp.issparse(points) else np.array(rows).reshape(-1, d)
        labels = np.array([label for _, label, _ in merged])
        return cls(points, labels, np.array([n for _, _, n in merged], dtype=int), theta, status, message)


def _locked(X):
    """The same numbers, which a method cannot change."""
    if X is None:
        return None
    if sp.issparse(X):
        return sp.csr_matrix(tuple(map(_locked, (X.data, X.indices, X.indptr))), shape=X.shape)
    view = X.view()
    view.flags.writeable = False
    return view


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
    except Exception as error:
        for budget in case.budgets:
            yield budget, error, math.nan
        return
    for budget in case.budgets:
        begin = time.process_time()
        try:
            if kind == "minimum":
                found = minimum_poisoning(X, y, case.target, max_points=budget, **common, **options)
            elif callable(kind):
                own = common | {"target": _locked(case.target), "sample_weight": _locked(case.weight)}
                found = kind(_locked(X), _locked(y), budget=budget, **{**own, "random_state": seed, **options})
            else:
                own = {"target": case.target, "random_state": seed, **aimed, **common, **options}
                found = BASELINES[kind](X, y, budget=budget, **own)
            found = _Points.of(found, d)
        except Exception as error:
            found = error
        yield budget, found, time.process_time() - begin


def _cut(options, case, common, begin):
    """Algorithm 1, once, and its prefixes."""
    clock, told = {}, options.get("callback")

    def watch(state):
        clock[int(state["n_points"])] = time.process_time() - begin
        return told is not None and told(state)

    own = {"max_points": case.budgets[-1], **common, **options, "callback": watch}
    result = poison(case.X, case.y, case.target, **own)
    total = time.process_time() - begin
    for budget in case.budgets:
        known = [n for n in clock if n >= budget]
        yield budget, _Points.of(result.at_budget(budget), case.X.shape[1]), clock[min(known)] if known else total


def _measured(case, head, found: _Points, seconds):
    """The rows of one attack: without sanitiser, and with each."""
    budget, message = head["budget"], found.message
    measured = judge(
        case.objective, case.X, case.y, found.points, found.labels, found.counts, case.space, case.target,
        case.weight, tol=case.judge_tol,
    )  # fmt: skip
    if measured.n_points > budget:
        message = "; ".join(filter(None, [message, f"{measured.n_points} points for a budget of {budget}"]))
    row = head | {
        "sanitizer": "none",
        "n_points": measured.n_points,
        "n_distinct": len(found.labels),
        "feasible": measured.feasible and measured.n_points <= budget,
        "distance": measured.distance,
        "loss_difference": measured.loss_difference,
        "off": math.nan if found.theta is None else float(np.linalg.norm(found.theta - measured.theta)),
        "clean_loss": measured.clean_loss,
        "objective": measured.clean_loss + measured.poison_loss + measured.penalty,
        **_accuracies(case, measured.theta),
        "removed": 0,
        "seconds": seconds,
        "status": found.status,
        "message": message,
    }
    points = found.points.toarray() if sp.issparse(found.points) else found.points
    out = [(row, {"points": points, "labels": found.labels, "counts": found.counts, "theta": measured.theta})]
    for name, how in case.sanitizers.items():
        try:
            out.append(_sanitized(case, row, found, name, *how))
        except Exception as error:
            if head["method"] == "clean":
                raise ValueError(f"sanitizers[{name!r}] fails on the clean rows: {error}") from error
            out.append((_failed(head, error, name), {}))
    return out


def _accuracies(case, theta):
    return {
        f"accuracy_{name}": float(np.mean((X @ theta[:-1] + theta[-1] > 0) == (y > 0)))
        for name, (X, y) in case.sets.items()
    }


def _sanitized(case, row, found, name, keep, options):
    """The row of a table that a sanitiser has cleaned: every copy is a row of its own there."""
    order = np.repeat(np.arange(len(found.labels)), found.counts)
    X, y = stack(case.X, found.points[order]), np.append(case.y, found.labels[order])
    weight = None if case.weight is None else np.append(case.weight, np.ones(len(order)))
    dealt = np.random.default_rng(row["seed"]).permutation(len(y))
    mask = np.asarray(keep(X[dealt], y[dealt], **options))
    if mask.dtype != bool or mask.shape != y.shape:
        raise TypeError(f"sanitizers[{name!r}] must return a boolean mask of {len(y)} rows, got {mask.dtype} of shape "
                        f"{mask.shape}")  # fmt: skip
    kept = np.sort(dealt[mask])
    training = Training.of(case.objective, X[kept], y[kept], None if weight is None else weight[kept])
    theta = retrain(training, case.judge_tol)
    n = int(np.sum(kept >= len(case.y)))
    more = {"sanitizer": name, "n_points": n, "removed": len(case.y) - (len(kept) - n)}
    missing = dict.fromkeys(("loss_difference", "off", "clean_loss", "objective"), math.nan)
    distance = math.nan if case.target is None else float(np.linalg.norm(theta - case.target))
    return row | missing | more | {"distance": distance, **_accuracies(case, theta)}, {"theta": theta}
