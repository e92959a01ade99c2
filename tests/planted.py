"""Problems with a planted answer: a victim trained on clean rows plus ``k`` chosen points. No exact minimum is above k.

Not a test by itself: ``planted(seed, loss)`` is used by the tests of whole counts.
"""

import itertools
from typing import NamedTuple

import numpy as np

from mtpfast import FeatureSpace
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

INTERCEPTS = {
    "penalised": {},
    "free": {"penalize_intercept": False},
    "absent": {"fit_intercept": False},
}


class Planted(NamedTuple):
    """Clean data, the model that they and the plant induce, and what was planted."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    feasible_set: FeatureSpace
    kind: dict  # loss, penalty and intercept, as ``minimum_poisoning`` takes them
    points: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    about: str

    @property
    def k(self):
        return int(self.counts.sum())


def _plant(rng, place, lower, upper):
    """A point in a corner, on a face (some coordinates at an end) or inside of the box."""
    share = rng.random(len(lower))
    if place == "corner":
        share = np.round(share)
    elif place == "face":
        at_end = rng.random(len(lower)) < 0.5
        at_end[rng.integers(len(lower))] = True
        share = np.where(at_end, np.round(share), share)
    return lower + share * (upper - lower)


def planted(seed, loss):
    """One problem: d in 1..5, 4 to 40 clean rows, 1 to 6 distinct points, at most 6 copies of one, any convention.

    Corner, face and inner points and mixtures, one label (the other allowed or not) or both, ``alpha`` and ``C`` over
    two decades, the intercept penalised, free or absent, one box or a box for each label, class weights now
    and then. A plant that leaves the victim more than one optimum (hinge, free intercept) induces no model; then the
    next one is drawn.
    """
    for attempt in itertools.count():
        problem = _draw(np.random.default_rng([seed, attempt, len(loss)]), loss)
        if _has_one_optimum(problem):
            return problem


def _has_one_optimum(problem):
    """False if the objective is flat in a free intercept: its slope on one side of the optimum is 0."""
    if problem.kind["loss"] != "hinge" or problem.kind.get("penalize_intercept", True):
        return True
    X, y = np.vstack([problem.X, problem.points]), np.append(problem.y, problem.labels)
    weight = np.append(np.ones(len(problem.y)), problem.counts)
    weight[y > 0] *= problem.kind.get("class_weight", {}).get(1, 1.0)
    margin = y * (X @ problem.theta[:-1] + problem.theta[-1])
    on, below = np.abs(margin - 1.0) <= 1e-9, margin < 1.0 - 1e-9
    slope = -weight[below] @ y[below]
    return slope - weight[on & (y > 0)].sum() < -1e-9 and slope + weight[on & (y < 0)].sum() > 1e-9


def _draw(rng, loss):
    d, n = int(rng.integers(1, 6)), int(rng.integers(4, 41))
    boxes = {1.0: (np.zeros(d), np.ones(d))}
    boxes[-1.0] = boxes[1.0]
    two_boxes = rng.random() < 0.25
    if two_boxes:
        for sign in boxes:
            lower = rng.uniform(-0.5, 0.5, d)
            boxes[sign] = lower, lower + rng.uniform(0.2, 1.5, d)
    X, y = rng.random((n, d)), np.where(rng.random(n) < 0.5, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    distinct = int(rng.integers(1, 7))
    repeated = rng.random() < 0.4
    counts = rng.integers(1, 7, distinct) if repeated else np.ones(distinct, dtype=int)
    places = rng.choice(["corner", "face", "inside", "mixed"])
    labels = np.where(rng.random(distinct) < 0.5, 1.0, -1.0)
    which = rng.choice(["both", "one", "only"])
    if which != "both":
        labels[:] = labels[0]
    points = np.array(
        [
            _plant(rng, rng.choice(["corner", "face", "inside"]) if places == "mixed" else places, *boxes[sign])
            for sign in labels
        ]
    )
    intercept = str(rng.choice(list(INTERCEPTS)))
    penalty = (
        {"alpha": float(10 ** rng.uniform(-2.5, -0.5))}
        if rng.random() < 0.5
        else {"C": float(10 ** rng.uniform(-1, 1))}
    )
    kind = {"loss": loss, **penalty, **INTERCEPTS[intercept]}
    if rng.random() < 0.15:
        kind |= {"class_weight": {1: float(rng.uniform(0.5, 2.0))}, "count_rows": bool(rng.random() < 0.5)}
    fit = refit(
        np.vstack([X, np.repeat(points, counts, axis=0)]),
        np.append(y, np.repeat(labels, counts)),
        make_objective(**kind),
        tol=1e-14,
    )
    allowed = [int(labels[0])] if which == "only" else [-1, 1]
    if two_boxes:
        lower, upper = ({sign: boxes[sign][end] for sign in allowed} for end in (0, 1))
        space = FeatureSpace(lower, upper, labels=allowed)
    else:
        space = FeatureSpace(*boxes[1.0], labels=allowed)
    about = f"{places} {which} {intercept} {next(iter(penalty))} d={d} {'repeated' if repeated else 'distinct'}"
    about += " weighted" * ("class_weight" in kind)
    return Planted(X, y, fit.theta, space, kind, points, labels, counts, about)
