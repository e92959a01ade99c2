r"""What can so many points do? The search for the most damage at a budget.

.. math:: \max_{(x_j, y_j) \in F, \; j \le B} \; M\Big( \arg\min_\theta \sum_i c_i \varphi(y_i \theta \cdot \tilde x_i)
          + \sum_{j \le B} c_j \varphi(y_j \theta \cdot \tilde x_j) + \tfrac{k}{2} \theta^\top R \theta \Big)

with M a metric on the rows aimed at. It is a search: what it finds is trained to the end and measured, and nothing is
claimed of what it does not find. See :mod:`mtpfast.attacks.ascent` for how it moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_count, check_number
from mtpfast.arrays.sweeps import sweep
from mtpfast.losses.objective import make_objective
from mtpfast.results.damage import Damage
from mtpfast.results.result import PoisoningResult
from mtpfast.training.victim import refit

from .damage_question import points_of_budget, read_damage_question
from .damage_search import TOL, Kept, Search, Stopped

__all__ = ["curve_of", "damage", "damage_curve", "finish", "runs", "search_for", "settle", "with_model"]


def damage(X, y, *, budget=0.03, start: PoisoningResult | None = None, **options) -> PoisoningResult:
    r"""The most damage found with so many points.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,), -1 and +1
    budget : int or float
        Points, or below 1 a share of the clean rows.
    start : PoisoningResult, optional
        Go on from these points instead of from scratch.
    metric : {"error", "false_negative_rate", "false_positive_rate", "hinge", "squared_hinge", "log_loss"} or callable
        See :func:`mtpfast.attacks.aim.get_metric`.
    X_eval, y_eval : optional
        The rows aimed at; the training rows by default.
    mask : array-like of bool, optional
        Which of the rows aimed at count: a subgroup.
    eval_sets : mapping of str to (X, y), optional
        Where the damage is measured besides.
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows, feasible_set, sample_weight
        The victim and its points, as in :func:`mtpfast.poison`.
    n_starts, max_iter : int
        Starts of the search, and trainings of the victim in the first; see :class:`mtpfast.DamagePoisoner`.
    random_state : int, numpy Generator or None
    callback : callable, optional
        Called after every training with a dict (``n_iter``, ``budget``, ``value``, ``best``, ``theta``); True stops.
    time_limit : float, optional
        Seconds: what is found then depends on the machine, and the result says so.

    Returns
    -------
    PoisoningResult
        ``theta_target`` is the model itself, ``damage`` the metric before and after, from retraining to the end.

    Notes
    -----
    Ten steps cost one warm training of the victim, and each of them two reads of the rows near the boundary and one
    sort of the features.
    """
    search = _search(X, y, options)
    return runs(search, [points_of_budget(budget, search.question.X.shape[0])], start)[0]


def damage_curve(
    X, y, *, budgets, start: PoisoningResult | None = None, n_jobs=None, **options
) -> list[PoisoningResult]:
    """:func:`damage` at every budget, never worse at a larger one, in the order given.

    The smallest budget is searched from scratch, the others go on from their neighbour below for the steps of one
    start. With ``n_jobs``, each is searched from scratch (or ``start``) as a task of its own. Where the points of a
    smaller budget do more, these are kept.
    """
    search = _search(X, y, options)
    return curve_of(search, budgets, start, n_jobs)


def curve_of(search, budgets, start=None, n_jobs=None) -> list[PoisoningResult]:
    """The results of a search at these budgets, in their order."""
    n = search.question.X.shape[0]
    budgets = list(budgets) if isinstance(budgets, Iterable) and not isinstance(budgets, str) else [budgets]
    sizes = [points_of_budget(budget, n) for budget in budgets]
    rising = sorted(set(sizes))
    results = runs(search, rising, start) if n_jobs is None else _apart(search, rising, start, n_jobs)
    found = dict(zip(rising, results, strict=True))
    return [found[size] for size in sizes]


def _apart(search, budgets, start, n_jobs) -> list[PoisoningResult]:
    """Every budget, rising, as a task of its own; what is left when the callback ends them keeps the points so far."""
    limits = search.limits | {"callback": None, "verbose": 0}
    tasks = sweep(_task, [(budget,) for budget in budgets], (search.question, limits, start), n_jobs)
    results = []
    try:
        for result in tasks:
            best = results[-1] if results else None
            if best is not None and best.damage.after["aimed"] > result.damage.after["aimed"]:
                result = finish(search, budgets[len(results)], with_model(search.question, search.adopt(best)))
            results.append(result)
            if search.told(len(results), len(budgets), result):
                break
    except KeyboardInterrupt:
        if not results:
            raise
        search.interrupted()
    tasks.close()
    for budget in budgets[len(results) :]:
        results.append(finish(search, budget, with_model(search.question, search.adopt(results[-1]))))
    return results


def _task(budget, shared):
    question, limits, start = shared
    return runs(search_for(question, **limits), [budget], start)[0]


VICTIM = ("loss", "alpha", "C", "fit_intercept", "penalize_intercept", "class_weight", "count_rows")
LIMITS = {"n_starts": 6, "max_iter": 120, "random_state": 0, "callback": None, "time_limit": None, "verbose": 0}


def _search(X, y, options):
    """What :func:`damage` is asked, from its options."""
    limits = {name: options.pop(name, default) for name, default in LIMITS.items()}
    objective = make_objective(**{name: options.pop(name) for name in VICTIM if name in options})
    return search_for(read_damage_question(X, y, objective, **options), **limits)


def search_for(question, *, n_starts, max_iter, random_state, callback, time_limit, verbose) -> Search:
    """The search, its limits checked."""
    n_starts, max_iter = check_count(n_starts, "n_starts"), check_count(max_iter, "max_iter", low=2)
    if time_limit is not None:
        time_limit = check_number(time_limit, "time_limit", strict=True)
    return Search(question, n_starts, max_iter, random_state, callback, time_limit, verbose)


def runs(search, budgets, start=None) -> list[PoisoningResult]:
    """Every budget, rising; a stop ends the search, and what is left keeps the points found so far."""
    known, results, stopped = [], [], False
    if start is not None:
        known.append(with_model(search.question, search.adopt(start)))
    for budget in budgets:
        best = max((kept for kept in known if sum(kept.counts) <= budget), key=lambda kept: kept.value, default=None)
        if not stopped:
            try:
                search.run(budget, known[-1] if known and best is None else best)
            except Stopped:
                stopped = True
            except KeyboardInterrupt:
                if search.best is None and best is None:
                    raise
                stopped = True
                search.interrupted()
            if search.best is not None and (best is None or search.best_value > best.value):
                found = search.found()
                found = settle(search, found) if found.labels else None
                if found is not None and (best is None or found.value > best.value):  # trained to the end, that is
                    best = found
                    known.append(found)
        results.append(finish(search, budget, best))
        stopped = stopped or search.status == "interrupted"
    return results


def settle(search, kept) -> Kept:
    """:func:`with_model`; an interrupt does not lose what the search has found, for what is left is a training."""
    try:
        return with_model(search.question, kept)
    except KeyboardInterrupt:
        search.interrupted()
        return with_model(search.question, kept)


def with_model(question, kept) -> Kept:
    """The points, the model that training on them returns, and what the metric is with that."""
    if kept.fit is not None:
        return kept
    points = np.array(kept.points, dtype=float).reshape(len(kept.labels), question.X.shape[1])
    fit = train(question, points, kept.labels, kept.counts)
    return kept._replace(value=question.aim.value(fit.theta), fit=fit)


def finish(search, budget, kept) -> PoisoningResult:
    """:func:`conclude`; an interrupt does not lose what the search has found, for what is left is two trainings."""
    try:
        return conclude(search, budget, kept)
    except KeyboardInterrupt:
        search.interrupted()
        return conclude(search, budget, kept)


def conclude(search, budget, kept) -> PoisoningResult:
    """Train on the points from scratch, to the end, and measure: the result."""
    q = search.question
    if search.clean_model is None:  # from the search's own, which is nearly there
        search.clean_model = refit(q.X, q.y, q.objective, q.sample_weight, theta0=search.clean_theta, tol=TOL)
    clean = search.clean_model
    kept = None if kept is None else with_model(q, kept)
    if kept is None or kept.value < q.aim.value(clean.theta):  # no points do more
        kept = Kept([], [], [], math.nan, clean)
    points, labels, counts, _, fit = kept
    points = np.array(points, dtype=float).reshape(len(labels), q.X.shape[1])
    name = q.aim.metric.name
    measured = q.measure(clean.theta), q.measure(fit.theta)
    found = Damage(name, *measured, search.time_limit, rows=q.rows, clean=clean.theta.copy())
    counts = np.asarray(counts, dtype=int)
    n = int(counts.sum())
    space = q.feasible_set
    message = (
        f"{name} {found.before['aimed']:.4g} -> {found.after['aimed']:.4g} on the rows aimed at with {n} points of "
        f"{budget} allowed: found, not proved to be the most"
    )
    if search.message:
        message += f"; {search.message}"
    history = {
        "n_points": np.array([n]),
        "loss_difference": np.array([0.0]),
        "distance": np.array([0.0]),
        "gap": np.array([fit.gap]),
        "loss_difference_upper_bound": np.array([0.0]),
    }
    weight = q.objective.weights(q.y, q.sample_weight)
    sparse = space.is_finite and sp.issparse(space.X)
    return PoisoningResult(
        points=sp.csr_matrix(points) if sparse else points,
        labels=np.asarray(labels, dtype=float),
        sequence=np.repeat(np.arange(len(counts)), counts),
        theta=fit.theta,
        theta_target=fit.theta.copy(),
        objective=q.objective,
        status=search.status,
        lower_bound=0,
        loss_difference=0.0,
        loss_difference_upper_bound=0.0,
        tol=0.0,
        stop="exact",
        history=history,
        feasible_set=space,
        classes=np.array([-1.0, 1.0]),
        n_clean=q.X.shape[0],
        clean_weight=float(q.X.shape[0]) if weight is None else float(np.sum(weight)),
        message=message,
        damage=found,
    )


def train(q, points, labels, counts):
    """The victim on clean rows and points, from scratch."""
    X = sp.vstack([q.X, sp.csr_matrix(points)], format="csr") if sp.issparse(q.X) else np.vstack([q.X, points])
    y = np.concatenate([q.y, labels])
    weight = np.ones(len(q.y)) if q.sample_weight is None else q.sample_weight
    counts = np.asarray(counts, dtype=float)
    amount = q.objective.amount(q.y, q.sample_weight)
    amount += sum(n * q.objective.per_point(label) for label, n in zip(labels, counts, strict=True))
    objective = q.objective
    if objective.is_balanced:
        totals = objective.class_totals(q.y, q.sample_weight)
        totals += [counts[np.asarray(labels) < 0].sum(), counts[np.asarray(labels) > 0].sum()]
        objective = objective.settled(totals)
    return refit(X, y, objective, np.concatenate([weight, counts]), amount, tol=TOL)
