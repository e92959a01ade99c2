"""What the claims of one result are checked against, computed once."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mtpfast.arrays.checks import check_sample_weight, check_X
from mtpfast.arrays.frames import column_names, is_frame
from mtpfast.arrays.labels import Classes
from mtpfast.arrays.rounding import gamma
from mtpfast.arrays.rows import stack
from mtpfast.preprocessing.codecs import as_raw, codec_of
from mtpfast.preprocessing.steps import to_matrix
from mtpfast.proofs.clean_pass import extent
from mtpfast.proofs.goal import Goal

from .maximum import attained_and_proved
from .retrain import Proof, Training, descend, prove, reference_fit

__all__ = ["Audit", "is_foreign"]


class _Maximum(NamedTuple):
    """The largest loss difference: at a point that was found, and proved for all; each true to ``blur``."""

    attained: float
    proved: float
    blur: float


class Audit:
    """A result beside the data that it is about, and what several claims need: each computed once, when asked for."""

    def __init__(self, result, X, y, sample_weight, refit_preprocessing, preprocessing):
        d = result.theta.size - 1
        _same_columns(result, X)
        self.result, self.objective, self.counts = result, result.objective, result.counts
        self.codec = self.table = None
        if result.records is not None:
            preprocessing = result.preprocessing if preprocessing is None else preprocessing
            if preprocessing is None:
                raise ValueError(
                    "the attack was on raw records, and this result was loaded without what the victim does to them: "
                    "hand it in as preprocessing=..."
                )
            self.table = as_raw(preprocessing, X)
            self.codec = codec_of(preprocessing, self.table)
            X = to_matrix(preprocessing.transform(self.table))
        elif refit_preprocessing or preprocessing is not None:
            raise ValueError("preprocessing: the attack was not on raw records, its victim has none")
        self.preprocessing = preprocessing
        self.X = X = check_X(X, n_features=d)
        self.signs = Classes(result.classes).signs(y, n_rows=X.shape[0])
        self.weight = check_sample_weight(sample_weight, X.shape[0])
        own = self.objective.weights(self.signs, self.weight)
        total = float(X.shape[0]) if own is None else float(own.sum())
        if X.shape[0] != result.n_clean:
            raise ValueError(f"X has {X.shape[0]} rows, the attack was on {result.n_clean}")
        if abs(total - result.clean_weight) > 1e-9 * total:
            raise ValueError(f"sample_weight sums to {total:g}, in the attack it was {result.clean_weight:g}")
        self.point_signs = Classes(result.classes).signs(result.labels, "labels", result.points.shape[0])
        self.space = _own_space(result)
        # How far a record's row may be from the point that the search chose.
        rounds = self.codec is not None and not result.feasible_set.is_finite
        self.grain = self.codec.rounding if rounds else np.zeros(d)
        # How large models are here: what is said of a distance is relative to it.
        self.scale = float(max(np.linalg.norm(result.theta), np.linalg.norm(result.theta_target)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """The largest size of every feature in the clean data; 1 for the intercept."""
        return np.append(np.max(np.abs(extent(self.X)), axis=0), 1.0)

    @cached_property
    def blur(self) -> float:
        """What rounding makes of a sum of losses: every margin is off by ``gamma (|w| . |x| + |b|)``, which the loss
        passes on by its steepest slope."""
        points = np.append(np.max(np.abs(extent(self.result.points)), axis=0), 1.0) if len(self.counts) else 0.0
        largest = float(np.maximum(self.sizes, points) @ np.abs(self.result.theta))
        slope = float(-self.objective.loss.derivative(np.array(-largest)))
        return gamma(len(self.sizes) + 8) * slope * (1.0 + largest) * float(np.sum(self.training.c))

    @cached_property
    def training(self) -> Training:
        """The clean rows, each once, and the points, as often as they are inserted."""
        used = np.flatnonzero(self.counts)
        X, y, weight = self._below(used)
        copies = np.concatenate([np.ones(len(self.signs), dtype=np.intp), self.counts[used]])
        return Training.of(self.objective, X, y, weight, copies)

    @property
    def rows(self):
        """``(X, signs, weights)`` of the poisoned table: a row for every copy."""
        return self._below(self.result.sequence)

    def _below(self, points):
        y = np.concatenate([self.signs, self.point_signs[points]])
        weight = None if self.weight is None else np.concatenate([self.weight, np.ones(len(points))])
        return stack(self.X, self.result.points[points]), y, weight

    @cached_property
    def proof(self) -> Proof:
        """How far the claimed model can be from the minimiser."""
        return prove(self.training, self.result.theta, self.result.theta_target)

    @cached_property
    def value(self) -> float:
        """The objective at the claimed model."""
        return self.training.value(self.result.theta)

    @cached_property
    def reference(self) -> tuple[np.ndarray, str, bool]:
        """``(theta, solver, finished)``: the model of somebody else's solver."""
        return reference_fit(self.training)

    @property
    def retrained(self) -> tuple[np.ndarray, str]:
        """``(theta, solver)``: that model, or the claimed one where the solver came to its limit."""
        theta, solver, finished = self.reference
        known = not finished and self.result.status != "unverified"
        return (theta, solver) if not known else (self.result.theta, f"nothing but the proof: {solver}")

    @cached_property
    def model_error(self) -> float:
        """The claimed model is no further than this from a minimiser.

        Where a free intercept is not unique, any that is optimal is right: the objective tells.
        """
        proof, b = self.proof, float(self.result.theta[-1])
        if not self.training.free:
            return proof.error
        optimal = self.value - proof.least <= 1e-12 * self.value
        off = max(0.0, b - proof.high, proof.low - b) if optimal else max(proof.high - b, b - proof.low)
        return math.hypot(proof.error, off)

    @cached_property
    def model_off(self) -> float:
        """The claimed model is at least so far from every minimiser; 0 where nothing is known.

        ``F(theta) - F(theta') <= g . (theta - theta*)`` for any theta' and any subgradient g at theta.
        """
        theta, training = self.result.theta, self.training
        proof, b = self.proof, float(theta[-1])
        off = max(0.0, b - proof.high, proof.low - b)
        pulls = -training.c * training.objective.loss.derivative(
            training.objective.margins(theta, training.X, training.y)
        )
        g = float(np.linalg.norm(training.subgradient(theta, pulls)))
        better = min(training.value(each) for each in (self.reference[0], descend(training, theta)))
        fall = self.value - better - 1e-13 * len(training.y) ** 0.5 * self.value
        return max(off, fall / g if fall > 0.0 else 0.0)

    @cached_property
    def maximum(self) -> _Maximum:
        """The largest loss difference of the claimed model."""
        return self.largest(self.result.theta)

    def largest(self, model) -> _Maximum:
        target, loss = self.result.theta_target, self.objective.loss
        weights = self.training.class_weight
        attained, proved = attained_and_proved(model, target, self.space, loss, weights)
        blur = 0.0
        if np.any(self.grain):
            size = np.append(np.max(np.abs(self.space.bounds(len(self.grain))), axis=0), 1.0)
            for theta in (model, target):
                steep = -float(loss.derivative(np.array(-np.abs(theta) @ size)))
                blur += steep * float(np.abs(theta[:-1]) @ self.grain)
        return _Maximum(attained, proved, blur * max(1.0, *(weights or (1.0,))))

    @cached_property
    def checked(self):
        """What the certificate proves on these data."""
        return self.result.certificate.check(self.X, self.signs, sample_weight=self.weight)

    @cached_property
    def proved(self) -> int:
        """The bound, recomputed: from the certificate alone, or from the paper's Theorem 2."""
        result = self.result
        if result.certificate is not None:
            return self.checked.n_poison
        if result.lower_bound > 0 and result.path is not None:
            return _theorem_2(result, self.X, self.signs, self.weight, lambda model: self.largest(model).proved)
        return 0


def _theorem_2(result, X, signs, weight, largest):
    """The paper's bound at the model of the path where it is best: for results without a certificate.

    ``N >= [J(theta_p) - J(theta)] / [D + (k_1 / 2) (theta' R theta - theta_p' R theta_p)]``, J on the
    clean rows alone, k_1 = alpha or 0.
    """
    objective, target = result.objective, result.theta_target
    claims = result.history["lower_bound"]
    theta = result.path[int(np.nanargmax(claims if result.path_index is None else claims[result.path_index]))]
    gain = objective.value(target, X, signs, weight) - objective.value(theta, X, signs, weight)
    penalty = objective.penalty(theta) - objective.penalty(target)
    per_point = [objective.k_of_point(label) for label in (-1.0, 1.0)]
    cost = largest(theta) + 0.5 * max(per_point[0] * penalty, per_point[1] * penalty)
    return math.ceil(gain / cost) if gain > 0 and cost > 0 else 0


def _same_columns(result, X):
    """Raise if X is a data frame with other columns than the one that was attacked."""
    if not is_frame(X):
        return
    known = result.table if result.records is None else result.records
    names = column_names(known) if is_frame(known) else result.feature_names if known is None else None
    if names is not None and column_names(X) != list(names):
        raise ValueError(f"X has columns {column_names(X)[:5]}, the attack was on {list(names)[:5]} (in that order)")


def _own_space(result):
    """The feasible set of a result, its labels as -1. and +1."""
    return result.feasible_set.bind(result.feature_names, result.classes)


def is_foreign(result):
    """Whether the certificate answers another question than the result asks: see :class:`mtpfast.proofs.goal.Goal`."""
    goal = result.goal
    if goal is None or goal.differs(result.certificate.goal):
        return True
    asked = Goal(result.theta_target, result.objective, _own_space(result), goal.tol, goal.margin_tol)
    return bool(goal.differs(asked))
