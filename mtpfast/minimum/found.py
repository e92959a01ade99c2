"""What a search came up with: points, counts and the model that they induce."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rows import stack
from mtpfast.proofs.certificate import Certificate, certify_coarsely
from mtpfast.question import Problem, Setting
from mtpfast.training.victim import refit

from .blockwise import Measured, Training, measure

__all__ = [
    "Attack",
    "Found",
    "dense_row",
    "measure_reached",
    "point_matrix",
    "retrain_victim",
    "training_data",
    "unattainable",
    "with_points",
]


BEYOND = 1e9  # points: a bound above it says that the target cannot be had


@dataclass(frozen=True, eq=False)
class Found:
    """What the search came up with: distinct points, their labels and counts, and what is proved."""

    points: list = field(default_factory=list)
    labels: list = field(default_factory=list)
    counts: list = field(default_factory=list)
    certificate: Certificate | None = None
    value: float | None = None  # the fractional minimum; None if there is none
    message: str = ""
    exact: bool = False  # the stationarity condition holds to rounding
    residual: np.ndarray | None = None  # of the stationarity condition, where it does not
    attack: Attack | None = None  # points in the order of a search, with the model that they induce
    interrupted: bool = False  # by Ctrl-C or a callback: fewer may have been found otherwise

    @property
    def n_points(self) -> int:
        return int(sum(self.counts))


def unattainable(problem, directions) -> Found:
    """The proof that no number of points suffices, or the largest number that is proved not to."""
    best = coarse = None
    for v in chain(directions, [-problem.theta]):  # the last: nothing pulls a model beyond a certain length
        top = float(np.max(np.abs(v)))
        for candidate in (v, np.where(np.abs(v) > 1e-9 * top, v, 0.0)):
            if not np.any(candidate):
                continue
            certificate = problem.prove(candidate, sharply=False)
            if best is None or certificate.value > best.value:
                best = certificate
        if best is not None and best.value > BEYOND:
            certificate = certify_coarsely(problem.goal, best.direction, problem.X, problem.y, problem.sample_weight)
            if math.isinf(certificate.value):
                best = certificate if not math.isinf(best.value) else best
                best = replace(best, kind="farkas")
                return Found(certificate=best, message="no poisoning in the feasible set induces the target")
            if coarse is None or certificate.value > coarse.value:
                coarse = certificate
            best = None
    if coarse is not None:
        message = (
            f"the target is beyond what any number of points induces, by less than a trainer may have left it off; "
            f"the bound is for distance {coarse.tol:.3g}"
        )
        return Found(certificate=coarse, message=message)
    message = "the target appears not to be attainable (or its program is too ill-conditioned for the solver)"
    if best is not None:
        message += f"; proved is only that {best.value:.6g} points do not suffice"
    return Found(certificate=best, message=message)


def with_points(found: Found, setting: Setting, groups, n_zero=0, **more) -> Found:
    """``found`` with these groups (point, label, count), ``n_zero`` points of zero loss, and the fields of ``more``."""
    if n_zero:
        groups = [*groups, (*setting.zero_loss_point(), n_zero)]
    groups = [g for g in groups if g[2] > 0]
    points, labels, counts = ([g[i] for g in groups] for i in range(3))
    return replace(found, points=points, labels=labels, counts=counts, **more)


def training_data(problem: Problem):
    """Clean data as the victim takes them."""
    X = problem.X if sp.issparse(problem.X) else np.ascontiguousarray(problem.X, dtype=float)
    return X, np.asarray(problem.y, dtype=float), problem.sample_weight


def dense_row(x):
    return x.toarray().ravel() if sp.issparse(x) else x


def point_matrix(problem, points):
    """Distinct points as one matrix of the kind of the pool (or dense)."""
    d = len(problem.theta) - 1  # of a problem, or of whatever else has a model
    if points and sp.issparse(points[0]):
        return sp.vstack(points, format="csr")
    return np.array(points, dtype=float).reshape(len(points), d)


def retrain_victim(problem, points, labels, counts):
    """The model that clean plus poison induces, or None if the data are too large to be held as float64."""
    if not problem.retrain:
        return None
    X, y, weight = training_data(problem)
    if len(labels):
        X = stack(X, point_matrix(problem, points))
        y = np.concatenate([y, labels])
    objective = problem.objective
    weight = np.ones(problem.X.shape[0]) if weight is None else weight
    weight = np.concatenate([weight, np.asarray(counts, dtype=float)])
    amount = problem.amount
    amount += sum(n * objective.per_point(label) for label, n in zip(labels, counts, strict=True))
    # from scratch: a start at the target would prove nothing about where training ends
    return refit(X, y, objective, weight, amount, tol=1e-9)


def measure_reached(problem, found) -> Measured | None:
    """Where training ends on clean plus poison, from passes over blocks of rows; None where that is not known."""
    objective, labels, counts = problem.objective, np.asarray(found.labels, float), np.asarray(found.counts, float)
    amount = problem.amount
    amount += sum(n * objective.per_point(label) for label, n in zip(labels, counts, strict=True))
    points = point_matrix(problem, found.points)
    training = Training(problem.X, problem.y, problem.sample_weight, points, labels, counts, objective, amount)
    return measure(training, problem.theta, problem.margin_tol)


class Attack:
    """Points found so far, the model they induce, and how far it is from the target."""

    def __init__(self, points, labels, counts, theta, theta_target, gap):
        self.points, self.labels, self.counts = points, labels, np.asarray(counts, dtype=int)
        self.theta, self.gap = theta, gap
        self.distance = float(np.linalg.norm(theta - theta_target))

    @property
    def n_points(self):
        return int(self.counts.sum())
