"""The fewest points found that bring a metric to a goal."""

from __future__ import annotations

import numpy as np

from mtpfast.minimum.minimum import minimum_poisoning
from mtpfast.results.result import PoisoningResult

from .damage import finish, settle, with_model
from .damage_search import FAR, Search, Stopped

__all__ = ["cheapest_of"]


FIRST = 0.005  # the share of the clean rows that is tried first
FINE = 0.01  # how near, relative, the budgets come on which the search ends
NEARLY = 1 / 16  # by how much, relative, the budget of a start that falls short is raised first


def cheapest_of(search: Search, goal, start: PoisoningResult | None = None, most=None) -> PoisoningResult:
    """The fewest points found whose metric on the rows aimed at is at least ``goal``.

    Budgets are doubled until the goal is met, from half a percent of the rows on, each searched from scratch; then
    halved in between, each going on from the nearest one that met it. A start that falls short is searched at its own
    budget, and then at budgets a little above, the steps doubled, each going on from the nearest. A search ends as soon
    as it meets the goal. Then the exact minimum of the model so found, and of its cheapest multiple, which makes the
    same decisions: whichever is less. Where a budget does not do from scratch, the rows aimed at with their labels
    turned are one start more.
    ``most``: the largest budget that is tried, by default as many points as there are clean rows.

    Raises
    ------
    ValueError
        If no points were found that meet the goal. What was stopped (by the callback, a limit, an interrupt) keeps the
        nearest, and the message says so.
    """
    question = search.question
    n = question.X.shape[0]
    most = n if most is None else most
    if question.aim.metric.counts_wrong and goal > 1.0:
        raise ValueError(f"goal must be at most 1, for {question.aim.metric.name} is a share of rows, got {goal:g}")
    if question.aim.value(search.clean_theta) >= goal:
        return finish(search, 0, None)
    search.goal, search.growth = goal, FAR  # far first: how far is what is asked
    best = None if start is None else with_model(question, search.adopt(start))
    low, high = 0, None
    if best is not None and best.value >= goal:
        high = int(sum(best.counts))
    nearest, own = best, 0 if best is None else int(sum(best.counts))
    step = max(1, round(NEARLY * own))
    try:
        while high is None:  # until the goal is met
            if not own:
                budget = 2 * low if low else max(1, round(FIRST * n))
            elif not low:
                budget = own
            else:
                budget, step = low + step, 2 * step
            budget = min(most, budget)
            found = _at(search, budget, nearest if own else None)
            if own and budget == most and not (found is not None and found.value >= goal):
                found = _at(search, budget, None)  # there may be a way that does not lead from the start
            if found is not None and (nearest is None or found.value > nearest.value):
                nearest = found
            if found is not None and found.value >= goal:
                best, high = found, budget
            elif budget == most:
                raise ValueError(
                    f"goal={goal:g} is not met: with {most} points {question.aim.metric.name} "
                    f"{nearest.value if nearest else 0.0:.4g} was the most that was found"
                )
            else:
                low = budget
        while high - low > max(1, FINE * high):
            budget = (low + high) // 2
            found = _at(search, budget, best)
            if found is not None and found.value >= goal:
                best, high = found, int(sum(found.counts))
            else:
                low = budget
    except (Stopped, KeyboardInterrupt) as stop:
        if isinstance(stop, KeyboardInterrupt):
            search.interrupted()
        if best is None or best.value < goal:  # the nearest to it is kept
            found = [kept for kept in (nearest, search.found()) if kept is not None]
            if not found:
                if isinstance(stop, KeyboardInterrupt):
                    raise
                raise ValueError(f"goal={goal:g} is not met so far: {search.message}") from None
            best = settle(search, max(found, key=lambda kept: kept.value))
            if best.value < goal:
                search.message += f", with which goal={goal:g} is not met"
    finally:
        search.goal = None
    budget = int(sum(best.counts))
    try:
        best = _priced(search, best, goal)
    except KeyboardInterrupt:
        search.interrupted()
    return finish(search, budget, best)


def _at(search, budget, kept):
    """What was found; what meets the goal does so when trained to the end."""
    search.run(budget, kept)
    found = search.found()
    return with_model(search.question, found) if found is not None and found.value >= search.goal else found


def _priced(search, best, goal):
    """The points, or those of the exact minimum of their model, whichever are fewer and meet the goal when trained."""
    q = search.question
    if q.objective.is_balanced or search.message:  # it was stopped
        return best
    best = with_model(q, best)
    theta = best.fit.theta
    for rescale in (False, True):
        try:
            fewest = minimum_poisoning(
                q.X,
                q.y,
                theta,
                loss=q.objective.loss,
                alpha=q.objective.alpha,
                C=q.objective.C,
                fit_intercept=q.objective.fit_intercept,
                penalize_intercept=q.objective.penalize_intercept,
                class_weight=_as_dict(q.objective.class_weight),
                count_rows=q.objective.count_rows,
                feasible_set=q.feasible_set,
                sample_weight=q.sample_weight,
                rescale=rescale,
            )
        except ValueError:  # a loss that does not tell what the program needs
            return best
        if not np.all(np.isfinite(fewest.theta)) or not 0 < fewest.n_points < sum(best.counts):
            continue
        if q.aim.value(fewest.theta) >= goal:
            trained = with_model(q, search.adopt(fewest))
            best = trained if trained.value >= goal else best
    return best


def _as_dict(weights):
    return None if weights is None else {-1: weights[0], 1: weights[1]}
