"""An independent check of everything that a result claims.

Nothing here calls the compiled core, the refit or the oracle. A model is proved by the optimality conditions of the
victim's training problem, and the victim is retrained by scikit-learn. Loss differences are maximised in plain NumPy
by other methods than the oracle's (for the hinge loss on a box, the dual of the linear program; where features are
whole or levels, layers of partial choices; for documents, SciPy's mixed-integer solver).

Every solver has a limit, of iterations, nodes or work and never of time: what is not decided then is *undecided*.
"""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import Bounds, LinearConstraint, linprog, milp, minimize
from scipy.sparse.linalg import LinearOperator, cg

from .frames import column_names, is_frame
from .goal import Goal
from .losses import HINGE, LOG_LOSS, SQUARED_HINGE
from .steps import to_matrix
from .texts import TextCodec, as_raw, codec_of
from .validation import check_sample_weight, check_X

if TYPE_CHECKING:
    from .losses import Objective
    from .result import PoisoningResult

__all__ = ["Check", "RefittedPipeline", "VerificationError", "VerificationReport", "verify"]

NEVER = 2**63 - 1  # what a certificate says for "no number of points suffices"
WIDTH = 2_000  # nodes kept of a layer of partial choices
RANGES = 64  # into which a long lattice is cut
NODES, PROGRAMS = 20_000, 60  # of the mixed-integer solver, for one maximum: what is left open shows in its bound
WORK = 4e8  # multiplications that a solver may take: a second or so
UNITS = 1e5  # of the objective handed to the mixed-integer solver, which drops slopes below 1e-7
_AGREE = 1e-6  # two accurate models of one data set, relative to max(1, |theta|)


class VerificationError(RuntimeError):
    """A claim of a result did not survive its check.

    Attributes
    ----------
    report : VerificationReport
        Every check, the failed ones included.
    """

    def __init__(self, message: str, report: VerificationReport):
        super().__init__(message)
        self.report = report

    def __reduce__(self):
        return type(self), (self.args[0], self.report)


@dataclass(frozen=True)
class Check:
    """One claim: what the result says, what was found, by how much they may differ.

    ``passed`` is None where neither the claim nor its contrary could be shown within the limits of the solvers:
    *undecided*.
    """

    name: str
    claimed: float
    found: float
    allowance: float
    passed: bool | None

    @property
    def word(self) -> str:
        """ "ok", "FAILED" or "undecided"."""
        return "undecided" if self.passed is None else "ok" if self.passed else "FAILED"


@dataclass(frozen=True)
class RefittedPipeline:
    """The whole pipeline trained on the poisoned table, beside the victim with its preprocessing as it was.

    A preprocessing that is fitted once more sees the poison too: scales, levels and fillers may
    move, and with them what the same records mean. Figures ending in ``_before`` are of the retrained
    victim of the report, whose preprocessing is the attack's.

    Attributes
    ----------
    accuracy_before, accuracy : float
        Share of the clean table's rows that each labels right.
    changed : float
        Share of the clean rows on which the two differ.
    shift_mean, shift_max : float
        Mean and largest absolute difference of their decision values on the clean rows.
    distance_before, distance : float
        Least l2 norm of the difference to a target with the same decision values on records, both
        models written in the features of the attack. (Levels of which exactly one is on leave
        the weights some freedom, hence "least".)
    loss_difference_before, loss_difference : float
        Largest loss difference to the target over the feasible set.
    unexplained : float
        Largest absolute difference between the refitted pipeline's decision values on the clean
        rows and those of the model that stands for it in the features of the attack: rounding
        where every record keeps its meaning; more where missing or unknown values do not.
    """

    accuracy_before: float
    accuracy: float
    changed: float
    shift_mean: float
    shift_max: float
    distance_before: float
    distance: float
    loss_difference_before: float
    loss_difference: float
    unexplained: float


@dataclass(frozen=True, repr=False)
class VerificationReport:
    """What :meth:`PoisoningResult.verify` found.

    ``ok`` is True only if every claim was decided, and true. A claim that could be neither shown nor refuted within
    the limits of the solvers is in ``undecided``; it makes ``ok`` False and raises nothing.

    Attributes
    ----------
    solver : str
        The independent solver that retrained the victim; where it would take too long, that is said, and the
        result's model was checked by its optimality conditions alone (they are checked anyway).
    theta : ndarray of shape (n_features + 1,)
        The model it found, to the accuracy of that solver; the result's own where it found none.
    distance, loss_difference : float
        Of the result's model to the target, recomputed.
    lower_bound : int
        Recomputed from the certificate; 0 without one.
    checks : tuple of Check
    refitted : RefittedPipeline or None
        Where ``verify`` was asked to refit the preprocessing: what that changes.
    """

    solver: str
    theta: np.ndarray
    distance: float
    loss_difference: float
    lower_bound: int
    checks: tuple[Check, ...]
    refitted: RefittedPipeline | None = None

    @property
    def ok(self) -> bool:
        """Whether every claim was decided, and true. What is undecided is not ok; only what failed raises."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.passed is not None and not check.passed)

    @property
    def undecided(self) -> tuple[Check, ...]:
        """The checks that neither passed nor failed."""
        return tuple(check for check in self.checks if check.passed is None)

    def __repr__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        verdict = "FAILED" if self.failed else f"{len(self.undecided)} undecided" if self.undecided else "ok"
        lines = [f"VerificationReport: {verdict}, retrained with {self.solver}"]
        lines.append(f"  {'':{width}}  {'claimed':>14}  {'found':>14}  {'allowance':>9}")
        for check in self.checks:
            lines.append(
                f"  {check.name:{width}}  {check.claimed:14.8g}  {check.found:14.8g}  "
                f"{check.allowance:9.1e}  {check.word}"
            )
        if self.refitted is not None:
            again = self.refitted
            lines.append(f"  {'preprocessing refitted to the poisoned table':{width}}  {'before':>14}  {'after':>14}")
            for name, before, after in (
                ("accuracy on the clean table", again.accuracy_before, again.accuracy),
                ("distance to the target", again.distance_before, again.distance),
                ("loss difference", again.loss_difference_before, again.loss_difference),
            ):
                lines.append(f"  {name:{width}}  {before:14.8g}  {after:14.8g}")
            lines.append(f"  {'clean rows that change their label':{width}}  {'':14}  {again.changed:14.8g}")
        return "\n".join(lines)


def verify(
    result: PoisoningResult,
    X,
    y,
    sample_weight=None,
    *,
    refit_preprocessing=False,
    preprocessing=None,
    verbose=False,
) -> VerificationReport:
    """Check every claim of ``result``; see :meth:`PoisoningResult.verify`."""
    audit = _Audit(result, X, y, sample_weight, refit_preprocessing, preprocessing)
    checks = []
    for claim in CLAIMS:
        if result.status == "unverified" and claim in OF_THE_MODEL:
            continue
        check = claim(audit)
        if check is None:  # the result does not claim it
            continue
        checks.append(check)
        if verbose:
            sys.stderr.write(f"verify: {check.name}: {check.word}\n")
    refitted = _refit_pipeline(audit, y) if refit_preprocessing else None
    theta, solver = audit.retrained
    # A result that is "unverified" names no model: the report then speaks of the one that was retrained here.
    model, worst = (theta, audit.largest(theta)) if result.status == "unverified" else (result.theta, audit.maximum)
    distance = float(np.linalg.norm(model - result.theta_target))
    report = VerificationReport(solver, theta, distance, worst.attained, int(audit.proved), tuple(checks), refitted)
    if report.failed:
        failures = "; ".join(
            f"{c.name}: claimed {c.claimed:.8g}, found {c.found:.8g} (allowance {c.allowance:.1e})"
            for c in report.failed
        )
        raise VerificationError(f"the result does not hold: {failures}", report)
    return report


class _Maximum(NamedTuple):
    """The largest loss difference: at a point that was found, and proved for all; each true to ``blur``."""

    attained: float
    proved: float
    blur: float


class _Audit:
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
        self.signs = _signs(y, result.classes, X.shape[0])
        self.weight = check_sample_weight(sample_weight, X.shape[0])
        own = self.objective.weights(self.signs, self.weight)
        total = float(X.shape[0]) if own is None else float(own.sum())
        if X.shape[0] != result.n_clean:
            raise ValueError(f"X has {X.shape[0]} rows, the attack was on {result.n_clean}")
        if abs(total - result.clean_weight) > 1e-9 * total:
            raise ValueError(f"sample_weight sums to {total:g}, in the attack it was {result.clean_weight:g}")
        self.point_signs = _signs(result.labels, result.classes, result.points.shape[0], "labels")
        self.space = _bound(result)
        # How far a record's row may be from the point that the search had in mind.
        rounds = self.codec is not None and not hasattr(result.feasible_set, "X")
        self.grain = self.codec.rounding if rounds else np.zeros(d)
        # How large models are here: what is said of a distance is relative to it.
        self.scale = float(max(np.linalg.norm(result.theta), np.linalg.norm(result.theta_target)))

    @cached_property
    def training(self) -> _Training:
        """The expanded rows: clean and poison."""
        order = self.result.sequence
        X = _stack(self.X, self.result.points[order])
        y = np.concatenate([self.signs, self.point_signs[order]])
        weight = None if self.weight is None else np.concatenate([self.weight, np.ones(len(order))])
        return _Training.of(self.objective, X, y, weight)

    @cached_property
    def proof(self) -> _Proof:
        """How far the claimed model can be from the minimiser."""
        return _prove(self.training, self.result.theta, self.result.theta_target)

    @cached_property
    def value(self) -> float:
        """The objective at the claimed model."""
        return self.training.value(self.result.theta)

    @cached_property
    def reference(self) -> tuple[np.ndarray, str, bool]:
        """``(theta, solver, finished)``: the model of somebody else's solver."""
        return _retrain(self.training)

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
        better = min(training.value(each) for each in (self.reference[0], _descend(training, theta)))
        fall = self.value - better - 1e-13 * len(training.y) ** 0.5 * self.value
        return max(off, fall / g if fall > 0.0 else 0.0)

    @cached_property
    def maximum(self) -> _Maximum:
        """The largest loss difference of the claimed model."""
        return self.largest(self.result.theta)

    def largest(self, model) -> _Maximum:
        target, loss = self.result.theta_target, self.objective.loss
        weights = self.training.class_weight
        attained, proved = _attained_and_proved(model, target, self.space, loss, weights)
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


# -- the claims: each a function of the audit, None where the result does not make it -----------------


def _count_outside(audit):
    """Every point lies where it may."""
    result = audit.result
    inside = _inside(result.feasible_set, result.points, audit.point_signs, result.classes, audit.grain)
    return _none_may("points outside the feasible set", np.sum(audit.counts[~inside]))


def _count_repeats(audit):
    """No candidate of a pool is used more often than it may be."""
    result = audit.result
    if getattr(result.feasible_set, "max_repeats", None) is None:
        return None
    over = _used_too_often(result.feasible_set, result.points, audit.point_signs, audit.counts, result.classes)
    return _none_may("points beyond max_repeats", over)


def _count_records(audit):
    """The preprocessing maps every record to exactly its point."""
    if audit.codec is None:
        return None
    points = sp.csr_matrix(audit.result.points)
    moved = sp.csr_matrix(sp.csr_matrix(audit.codec.encode(audit.result.records)) != points)
    return _none_may("records that are mapped elsewhere", np.sum(audit.counts[moved.getnnz(axis=1) > 0]))


def _objective(audit):
    """No model has a lower objective than the claimed one: none that was retrained, and provably none at all."""
    name, rounding = "objective (summed)", 1e-9 * max(audit.value, 1e-300)
    reference = audit.training.value(audit.reference[0])
    if audit.value > reference + rounding:
        return Check(name, audit.value, reference, rounding, False)
    least = audit.proof.least
    return Check(name, audit.value, least, rounding, True if audit.value <= least + rounding else None)


def _model(audit):
    """Training returns the claimed model."""
    name, allowance = "l2 distance to the retrained model", _AGREE * audit.scale
    if audit.model_error <= allowance:
        return Check(name, 0.0, audit.model_error, allowance, True)
    if audit.model_off > allowance:
        return Check(name, 0.0, audit.model_off, allowance, False)
    return Check(name, 0.0, audit.model_error, allowance, None)


def _distance(audit):
    """The claimed distance is that of the claimed model."""
    result = audit.result
    distance = float(np.linalg.norm(result.theta - result.theta_target))
    rounding = 1e-12 * audit.scale
    return Check(
        "distance to the target", result.distance, distance, rounding, abs(distance - result.distance) <= rounding
    )


def _loss_difference(audit):
    """The largest loss difference of the claimed model lies between the claimed value and its claimed bound.

    Only a search over records or documents may be short of it, and then by what its history says too.
    """
    result = audit.result
    claimed, (attained, proved, blur) = float(result.loss_difference), audit.maximum
    if math.isnan(claimed):
        return None
    upper, space = float(result.loss_difference_upper_bound), result.feasible_set
    room = 1e-7 * max(1.0, abs(attained)) + blur
    upper = claimed if math.isnan(upper) else upper
    exact = hasattr(space, "X") or space.is_box or float(result.history["loss_difference"][-1]) != claimed
    passed = attained - room <= (min(claimed, upper) if exact else upper) and claimed <= min(upper, proved) + room
    if passed and proved > upper + room and proved - attained > 1e-5 * max(1.0, abs(attained)) + blur:
        passed = None
    return Check("loss difference", claimed, attained, room + max(0.0, upper - claimed), passed)


def _reached(audit):
    """A model that is "reached" is as near to the target as it says."""
    result = audit.result
    if result.status != "reached":
        return None
    if result.stop == "loss_difference":
        attained, proved, blur = audit.maximum
        room = 1e-7 * max(1.0, abs(attained)) + blur
        passed = False if attained > result.tol + room else (True if proved <= result.tol + room else None)
        return Check("reached: loss difference <= tol", result.tol, attained, room, passed)
    distance, room = float(np.linalg.norm(result.theta - result.theta_target)), _AGREE * audit.scale
    return Check("reached: distance <= tol", result.tol, distance, room, distance <= result.tol + room)


def _certificate(audit):
    """The certificate speaks of this problem."""
    if audit.result.certificate is None:
        return None
    foreign = _foreign(audit.result)
    return Check("certificate of another problem", 0.0, float(foreign), 0.0, not foreign)


def _certificate_holds(audit):
    """The certificate claims no more than its own check finds."""
    if audit.result.certificate is None:
        return None
    checked = audit.checked  # first: what cannot be a certificate claims nothing
    claimed = float(audit.result.certificate.n_poison)
    return Check("certificate: points claimed", claimed, float(checked.n_poison), 0.0, checked.holds)


def _lower_bound(audit):
    """The certificate proves the claimed bound."""
    claimed, proved = float(audit.result.lower_bound), float(audit.proved)
    return Check("lower bound", claimed, proved, 0.0, audit.result.lower_bound <= audit.proved)


def _unattainable(audit):
    """No number of points suffices where the result says so."""
    if audit.result.status != "unattainable":
        return None
    return Check("unattainable: points needed", float(NEVER), float(audit.proved), 0.0, audit.proved >= NEVER)


def _none_may(name, n):
    return Check(name, 0.0, float(n), 0.0, bool(n == 0))


CLAIMS = (
    _count_outside,
    _count_repeats,
    _count_records,
    _objective,
    _model,
    _distance,
    _loss_difference,
    _reached,
    _certificate,
    _certificate_holds,
    _lower_bound,
    _unattainable,
)


#: What a result that is "unverified" does not claim.
OF_THE_MODEL = (_objective, _model, _distance, _loss_difference)


def _theorem_2(result, X, signs, weight, largest):
    """The paper's bound at the model of the path where it is best: for losses without a certificate.

    ``N >= [J(theta_p) - J(theta)] / [D + (k_1 / 2) (theta' R theta - theta_p' R theta_p)]``, J on the
    clean rows alone, k_1 = alpha or 0.
    """
    objective, target = result.objective, result.theta_target
    theta = result.path[int(np.nanargmax(result.history["lower_bound"]))]
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


def _bound(result):
    """The feasible set of a result, its labels as -1. and +1."""
    return result.feasible_set.bind(result.feature_names, result.classes)


def _refit_pipeline(audit, y):
    """Train preprocessing and victim on the poisoned table, and compare with the victim on the clean rows."""
    from sklearn.base import clone

    result, codec, X, signs, theta = audit.result, audit.codec, audit.X, audit.signs, audit.result.theta
    poisoned, y_poisoned, mask = result.poisoned(audit.table, y)
    refitted = clone(audit.preprocessing).fit(poisoned, y_poisoned)
    rows = check_X(to_matrix(refitted.transform(poisoned)), "the refitted preprocessing's rows")
    all_signs = _signs(y_poisoned, result.classes, len(mask))
    training = _Training.of(result.objective, rows, all_signs, audit.training.weight)
    again = _descend(training, _retrain(training)[0])
    before, after = X @ theta[:-1] + theta[-1], rows[~mask] @ again[:-1] + again[-1]

    # The same model in the features of the attack: the nearest to the target that answers alike on records.
    probes = codec.probes()
    own = codec.encode(probes)
    B = check_X(to_matrix(refitted.transform(probes)))

    def written(answers):
        if isinstance(codec, TextCodec):
            return codec.model_of(answers, result.theta_target)
        A = np.column_stack([own, np.ones(len(probes))])
        return result.theta_target + np.linalg.lstsq(A, answers - A @ result.theta_target, rcond=None)[0]

    same, same_before = written(B @ again[:-1] + again[-1]), written(own @ theta[:-1] + theta[-1])

    def largest(model):
        return _attained_and_proved(
            model, result.theta_target, audit.space, result.objective.loss, training.class_weight
        )[0]

    return RefittedPipeline(
        accuracy_before=float(np.mean((before > 0) == (signs > 0))),
        accuracy=float(np.mean((after > 0) == (signs > 0))),
        changed=float(np.mean((before > 0) != (after > 0))),
        shift_mean=float(np.mean(np.abs(after - before))),
        shift_max=float(np.max(np.abs(after - before))),
        distance_before=float(np.linalg.norm(same_before - result.theta_target)),
        distance=float(np.linalg.norm(same - result.theta_target)),
        loss_difference_before=largest(theta),
        loss_difference=largest(same),
        unexplained=float(np.max(np.abs(X @ same[:-1] + same[-1] - after))),
    )


def _foreign(result):
    """Whether the certificate answers another question than the result asks: see :class:`mtpfast.goal.Goal`."""
    goal = result.goal
    if goal is None or goal.differs(result.certificate.goal):
        return True
    asked = Goal(result.theta_target, result.objective, _bound(result), goal.tol, goal.margin_tol)
    return bool(goal.differs(asked))


# -- how far a model is from the minimiser ----------------------------------------------------


class _Training(NamedTuple):
    """What the victim is trained on: rows, signs, sample weights, what rows weigh, the weight of the penalty."""

    objective: Objective
    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    c: np.ndarray
    k: float

    @classmethod
    def of(cls, objective, X, y, weight) -> _Training:
        c = objective.weights(y, weight)
        return cls(
            objective, X, y, weight, np.ones(len(y)) if c is None else c, objective.k(objective.amount(y, weight))
        )

    @property
    def class_weight(self):
        """What a row of each label weighs, -1 and +1 ("balanced" counts the poison, too); None: 1."""
        return self.objective.settled(self.objective.class_totals(self.y, self.weight)).class_weight

    @property
    def free(self):
        """Whether there is an intercept that is not penalised."""
        return self.objective.fit_intercept and not self.objective.penalize_intercept

    def value(self, theta):
        losses = self.objective.loss.value(self.objective.margins(theta, self.X, self.y))
        return float(self.c @ losses) + 0.5 * self.k * self.objective.penalty(theta)

    def subgradient(self, theta, pulls):
        """``k R theta - sum_i alpha_i y_i x~_i``, the last entry summed exactly and 0 without an intercept."""
        signed = self.y * pulls
        last = self.k * self.objective.r * theta[-1] - math.fsum(signed) if self.objective.fit_intercept else 0.0
        return np.append(self.k * theta[:-1] - self.X.T @ signed, last)


class _Proof(NamedTuple):
    """What is proved of a model ``(w, b)``; ``(w*, b*)`` is any minimiser.

    ``|w - w*| <= error`` (of all of ``(w, b)``, where the intercept is penalised), ``low <= b* <= high`` for
    a free intercept, and no model has an objective below ``least``.
    """

    error: float
    low: float
    high: float
    least: float

    def moved_to(self, model, theta) -> _Proof:
        """What is proved of theta by this proof for another model."""
        apart = float(np.linalg.norm(model - theta))
        return self._replace(error=self.error + apart)

    def with_(self, other) -> _Proof:
        """What both prove together."""
        return _Proof(
            min(self.error, other.error),
            max(self.low, other.low),
            min(self.high, other.high),
            max(self.least, other.least),
        )


def _prove(training, theta, target) -> _Proof:
    """How far the minimiser can be from theta, from a subgradient there: no training is believed, none is done.

    Let ``alpha_i`` lie in ``c_i`` times the values of ``-phi'``, ``e = sum_i c_i phi(m_i) + c_i phi*(-alpha_i / c_i) +
    alpha_i m_i >= 0`` and ``g = k R theta - sum_i alpha_i y_i x~_i``. By convexity, with ``D = theta* - theta``,

        F(theta*) >= F(theta) - e + g . D + (k/2) D' R D,      F(theta) >= F(theta*) + (k/2) D' R D,

    hence ``k D' R D <= |g| |D| + e``. For smooth losses ``alpha = -c phi'(m)`` and ``e = 0``; for the hinge the
    ``alpha_i`` of the rows on the margin are chosen so that g is least. A free intercept adds ``|g_b| |b* - b|``,
    and b* is where the monotone ``sum_i c_i y_i phi'(y_i (w*.x_i + b))`` changes its sign, with each ``w*.x_i``
    within ``error |x_i|`` of ``w.x_i``: the two bounds improve each other, from ``k |w*|^2 / 2 <= F(theta)`` on.

    The e of the hinge grows with what rows on the margin are off it, and its square root with the error. So
    where theta is not proved well, the proof is tried at models next to it, whose distance to theta is added: the
    target, and the nearest model that has those rows on the margin.
    """
    enough = 0.1 * _AGREE * float(max(np.linalg.norm(theta), np.linalg.norm(target)))
    best = None
    for model in _next_to(training, theta, target, enough):
        for pulls in _pulls(training, model):
            proof = _prove_with(training, model, pulls).moved_to(model, theta)
            best = proof if best is None else best.with_(proof)
            if best.error <= enough:
                return best
    return best


def _next_to(training, theta, target, near):
    """theta, and for the hinge models within ``near`` of it: the target first, which may be exact."""
    kinked = training.objective.loss is HINGE
    if kinked and 0.0 < np.linalg.norm(target - theta) <= near:
        yield target
    yield theta
    if not kinked:
        return
    rows, signs = training.X, training.y
    margin = training.objective.margins(theta, rows, signs)
    on = np.flatnonzero((np.abs(margin - 1.0) <= 1e-8) & (training.c > 0))
    if 0 < len(on) and min(len(on), rows.shape[1]) <= 1000 and len(on) * rows.shape[1] <= 1e6:
        A = signs[on, None] * _with_ones(rows[on], training.objective)
        model = theta - np.linalg.lstsq(A, margin[on] - 1.0, rcond=1e-10)[0]
        if np.linalg.norm(model - theta) <= near:
            yield model


def _with_ones(rows, objective):
    """Dense rows ``(x, 1)``, or ``(x, 0)`` without an intercept."""
    rows = rows.toarray() if sp.issparse(rows) else rows
    return np.column_stack([rows, np.full(len(rows), float(objective.fit_intercept))])


def _prove_with(training, theta, pulls):
    k, loss, margin = training.k, training.objective.loss, training.objective.margins(theta, training.X, training.y)
    value = training.value(theta)
    excess = (
        0.0 if loss is not HINGE else float(np.sum(training.c * np.maximum(0.0, 1.0 - margin) - pulls * (1.0 - margin)))
    )
    excess = max(0.0, excess)
    if not training.free:
        size = float(np.linalg.norm(training.subgradient(theta, pulls)))
        return _Proof(_root(k, size, excess), -math.inf, math.inf, value - excess - size**2 / (2 * k))
    pulls = pulls.copy()
    inner = np.flatnonzero((pulls > 0.0) & (pulls < training.c))
    if loss is HINGE and len(inner):  # so that the last entry is 0, to the last digit
        j = inner[np.argmin(np.abs(pulls[inner] / training.c[inner] - 0.5))]
        pulls[j] = np.clip(pulls[j] + training.y[j] * training.subgradient(theta, pulls)[-1], 0.0, training.c[j])
    g = training.subgradient(theta, pulls)
    size, tilt = float(np.linalg.norm(g[:-1])), abs(float(g[-1]))
    scores = training.X @ theta[:-1]
    norms = _row_norms(training.X)
    error = float(np.linalg.norm(theta[:-1])) + math.sqrt(2.0 * value / k)
    if tilt == 0.0:
        error = min(error, _root(k, size, excess))
    for _ in range(20):
        low, high = _intercepts(training, scores, error * norms, float(theta[-1]))
        reach = max(high - theta[-1], theta[-1] - low)
        lean = tilt * reach if tilt > 0.0 else 0.0
        smaller = _root(k, size, excess + lean)
        if not smaller < 0.7 * error:
            break
        error = smaller
    return _Proof(error, low, high, value - excess - lean - size**2 / (2 * k))


def _root(k, size, excess):
    """The largest t with ``k t^2 <= size t + excess``."""
    return (size + math.sqrt(size * size + 4.0 * k * excess)) / (2.0 * k)


def _intercepts(training, scores, reach, near):
    """``(low, high)`` around every intercept that is best for scores within ``reach`` of these."""
    loss, c, y = training.objective.loss, training.c, training.y

    def slope(b, side):
        terms = c * loss.derivative(y * (scores + side * reach + b))
        total = float(y @ terms)
        return total, 8e-16 * float(np.sum(np.abs(terms)))

    ends = []
    for way in (-1.0, 1.0):  # down to where the slope is surely negative, up to where it is surely positive

        def beyond(b, way=way):
            total, rounding = slope(b, -way)
            return way * total > rounding

        step, out = 1e-12 * max(1.0, abs(near)), None
        while step < 1e12 and out is None:
            if beyond(near + way * step):
                out = near + way * step
            else:
                step *= 8.0
        if out is None:
            ends.append(way * math.inf)
            continue
        inside = near + way * step / 8.0 if step > 1e-12 * max(1.0, abs(near)) else near
        for _ in range(12):
            middle = 0.5 * (inside + out)
            inside, out = (inside, middle) if beyond(middle) else (middle, out)
        ends.append(out)
    return ends[0], ends[1]


def _row_norms(X):
    squares = X.multiply(X).sum(axis=1) if sp.issparse(X) else np.einsum("ij,ij->i", X, X)
    return np.sqrt(np.asarray(squares, dtype=float).ravel())


def _pulls(training, theta):
    """Values of ``alpha`` to prove with, one after the other: what each row pulls with at theta."""
    loss = training.objective.loss
    margin = training.objective.margins(theta, training.X, training.y)
    if loss is not HINGE:
        yield -training.c * loss.derivative(margin)
        return
    size = np.maximum(1.0, _row_norms(training.X) * float(np.linalg.norm(theta[:-1])))
    seen = -1
    for near in (1e-12, 1e-10, 1e-8):  # a row counts as on the margin; what is wrong with that shows in e
        on = np.flatnonzero((np.abs(margin - 1.0) <= near * size) & (training.c > 0))
        if len(on) == seen:
            continue
        seen = len(on)
        pulls = np.where(margin < 1.0, training.c, 0.0)
        pulls[on] = 0.0
        if len(on):
            force = training.subgradient(theta, pulls)
            rows = training.X[on]
            last = np.full((len(on), 1), float(training.objective.fit_intercept))
            A = sp.hstack([rows, last], format="csr") if sp.issparse(rows) else np.hstack([rows, last])
            A = A.multiply(training.y[on, None]).tocsr() if sp.issparse(A) else training.y[on, None] * A
            pulls[on] = _balance(A, force, training.c[on])
        yield pulls


def _balance(A, force, c):
    """``alpha`` in [0, c] with ``A' alpha`` as near to ``force`` as is found: exactly, where there is one.

    First the point nearest to ``c / 2`` of ``{A' alpha = force, 0 <= alpha <= c}``: ``clip(c / 2 + A u, 0, c)`` for
    the u that maximises a concave function, by Newton steps. Where no such u is found, a vertex by HiGHS, from which
    the same Newton steps correct what HiGHS tolerates. Each has a limit; what is left over is the caller's to judge.
    """
    alpha = _project(A, force, c, 0.5 * c)
    scale = float(np.linalg.norm(force)) + float(abs(A).T.dot(c).max())
    if np.linalg.norm(force - A.T @ alpha) <= 1e-13 * scale:
        return alpha
    n, d = A.shape
    one, B = np.ones((d, 1)), sp.csr_matrix(A.T)
    answer = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=sp.vstack([sp.hstack([B, -one]), sp.hstack([-B, -one])]),
        b_ub=np.concatenate([force, -force]),
        bounds=[*((0.0, top) for top in c), (0.0, None)],
        method="highs",
        options={"maxiter": int(np.clip(10 * WORK / max(1, B.nnz), 100, 10**6))},
    )
    found = [alpha]
    if answer.x is not None and answer.status in (0, 1):
        vertex = np.clip(answer.x[:-1], 0.0, c)
        found += [vertex, _project(A, force, c, vertex)]
    return min(found, key=lambda each: np.linalg.norm(force - A.T @ each))


def _project(A, force, c, start, steps=60):
    """``clip(start + A u, 0, c)`` by Newton steps for ``A' clip(start + A u, 0, c) = force``, from u = 0."""
    z, alpha, u = start.copy(), start.copy(), np.zeros(A.shape[1])
    left = force - A.T @ alpha
    best, smallest, idle = alpha, float(np.linalg.norm(left)), 0
    exact = 1e-15 * (float(np.linalg.norm(force)) + float(np.max(abs(A).T @ c)))

    def dual(u, z, alpha):
        """Its gradient is ``force - A' alpha``."""
        return float(force @ u) - float(np.sum(alpha * (z - start) - 0.5 * (alpha - start) ** 2))

    merit = dual(u, z, alpha)
    for _ in range(steps):
        if smallest <= exact or idle == 10:
            break
        inner = (z > 0.0) & (z < c)
        move = _newton(A[inner] if np.any(inner) else A, left)
        shift, rise, t = A @ move, float(left @ move), 1.0
        for _ in range(30):
            z_new = z + t * shift
            alpha_new = np.clip(z_new, 0.0, c)
            merit_new = dual(u + t * move, z_new, alpha_new)
            if merit_new >= merit + 1e-4 * t * rise:
                break
            t *= 0.5
        z, alpha, u, merit = z_new, alpha_new, u + t * move, merit_new
        left = force - A.T @ alpha
        size = float(np.linalg.norm(left))
        idle = 0 if size < 0.5 * smallest else idle + 1
        if size < smallest:
            best, smallest = alpha, size
    return best


def _newton(J, left):
    """The least u with ``J' J u = left``, nearly: what is missing the next step makes up for."""
    narrow = min(J.shape)
    if narrow > 1000:
        product = LinearOperator((J.shape[1],) * 2, matvec=lambda u: J.T @ (J @ u), dtype=float)
        with np.errstate(all="ignore"):  # it divides by a residual of 0
            u = cg(product, left, rtol=1e-8, maxiter=300)[0]
        return u if np.all(np.isfinite(u)) else np.zeros(len(u))
    gram = J.T @ J if J.shape[1] <= J.shape[0] else J @ J.T
    gram = gram.toarray() if sp.issparse(gram) else gram
    gram[np.diag_indices(narrow)] += 1e-13 * max(float(np.trace(gram)), 1e-300)
    factor = cho_factor(gram)
    if J.shape[1] <= J.shape[0]:
        return cho_solve(factor, left)
    return J.T @ cho_solve(factor, cho_solve(factor, J @ left))


# -- retraining -------------------------------------------------------------------------------


def _retrain(training):
    """``(theta, solver, finished)``: the victim trained by somebody else's code, within ``WORK``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    objective, X, y, weight, _, k = training
    loss, (n, d) = objective.loss, X.shape
    nnz = X.nnz if sp.issparse(X) else np.count_nonzero(X)

    def limit(work, most):
        """So many iterations of so much work each."""
        return int(min(most, WORK / max(1.0, work)))

    common = {"C": 1.0 / k, "random_state": 0}
    if training.class_weight is not None:
        common["class_weight"] = dict(zip((-1.0, 1.0), training.class_weight, strict=True))
    bias = {"fit_intercept": objective.fit_intercept}
    smooth_passes, newton = 4.0 * (nnz + n), 0.2 * n * d * d  # BLAS does five products in the time of one
    if loss is HINGE and not training.free:
        model = LinearSVC(loss="hinge", tol=1e-10, max_iter=limit(nnz + n, 100_000), **bias, **common)
    elif loss is SQUARED_HINGE and not training.free:
        model = LinearSVC(dual=False, tol=1e-10, max_iter=limit(10 * smooth_passes, 10_000), **bias, **common)
    elif loss is HINGE and n * (nnz + n) <= WORK / 4:  # a kernel entry costs a row's product
        model = SVC(kernel="linear", tol=1e-9, cache_size=500, max_iter=limit(4 * n, 10**7), **common)
    elif loss is LOG_LOSS and not training.free:
        model = LogisticRegression(
            solver="liblinear", tol=1e-10, max_iter=limit(10 * smooth_passes, 10_000), **bias, **common
        )
    elif loss is LOG_LOSS and not sp.issparse(X) and limit(newton, 1000) >= 10:
        model = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=limit(newton, 1000), **common)
    elif loss is LOG_LOSS:
        model = LogisticRegression(solver="lbfgs", tol=1e-12, max_iter=limit(smooth_passes, 100_000), **common)
    elif loss is HINGE:
        return np.zeros(d + 1), "sklearn SVC would take too long", False
    else:
        return _descend(training, np.zeros(d + 1)), "scipy.optimize.minimize", True
    name = f"sklearn {type(model).__name__}"
    if loss is LOG_LOSS:
        name += f"({model.solver})"
    if model.max_iter < 5:
        return np.zeros(d + 1), f"{name} would take too long", False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, sample_weight=weight)
    coef = model.coef_.toarray() if sp.issparse(model.coef_) else model.coef_
    theta = np.append(coef.ravel(), model.intercept_ if objective.fit_intercept else 0.0)
    if np.max(model.n_iter_) >= model.max_iter:
        return theta, f"{name} stopped at its limit", False
    return theta, name, True


def _descend(training, start):
    """L-BFGS on the objective itself, from ``start``: a model that is no worse. The hinge is rounded off, ever less."""
    objective, X, y, _, c, k = training
    R = np.append(np.ones(len(start) - 1), objective.r)
    free = np.append(np.ones(len(start) - 1), float(objective.fit_intercept))
    total, loss = float(c.sum()), objective.loss
    nnz = X.nnz if sp.issparse(X) else X.size
    best, least = start, training.value(start)
    for width in (0.0,) if loss is not HINGE else (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):

        def value_and_gradient(theta, width=width):
            margin = y * (X @ theta[:-1] + theta[-1])
            if width == 0.0:
                losses, slopes = loss.value(margin), loss.derivative(margin)
            else:  # the hinge, with a parabola of that width in place of its kink
                short = 1.0 - margin
                slopes = -np.clip(short / width, 0.0, 1.0)
                losses = np.where(short > width, short - 0.5 * width, 0.5 * width * slopes**2)
            pull = c * slopes * y
            value = float(c @ losses) + 0.5 * k * float(R @ theta**2)
            gradient = np.append(X.T @ pull, pull.sum()) + k * R * theta
            return value / total, free * gradient / total

        steps = int(min(2_000, WORK / (4.0 * (nnz + len(y)))))
        options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 30, "ftol": 0.0, "gtol": 1e-13}
        start = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
        if training.value(start) < least:
            best, least = start, training.value(start)
    return best


# -- the largest loss difference, once more ---------------------------------------------------


def max_loss_difference(theta, theta_target, feasible_set, loss, classes, weights=None) -> float:
    """The maximum over the feasible set of ``phi(y theta . x~) - phi(y theta_target . x~)``.

    Written apart from ``oracle.py`` and in plain NumPy: a scan of a pool, the dual of the linear program for the
    hinge loss on a box, layers of partial choices for other losses and spaces. ``weights``: what the two
    labels weigh.
    """
    return _attained_and_proved(theta, theta_target, feasible_set.bind(classes=classes), loss, weights)[0]


def _attained_and_proved(theta, theta_target, space, loss, weights=None):
    """The largest loss difference found at a point, and a bound of all: equal but for the solver's tolerance."""
    weigh = dict(zip((-1.0, 1.0), weights or (1.0, 1.0), strict=True))
    if hasattr(space, "X"):
        best, labels = -math.inf, space.signs()
        for sign in (-1.0, 1.0):
            allowed = slice(None) if labels is None else labels == sign
            u = sign * (space.X @ theta[:-1] + theta[-1])[allowed]
            v = sign * (space.X @ theta_target[:-1] + theta_target[-1])[allowed]
            best = max(best, weigh[sign] * float(np.max(loss.value(u) - loss.value(v), initial=-math.inf)))
        return best, best
    found = [
        [weigh[sign] * value for value in _largest_in(region, sign * theta, sign * theta_target, loss)]
        for sign, region in space.regions(theta.size - 1).items()
    ]
    return max(attained for attained, _ in found), max(proved for _, proved in found)


def _largest_in(region, a, p, loss):
    if getattr(region, "norm", None) is not None:
        return _largest_of_documents(region, a, p, loss)
    if hasattr(region, "max_length"):
        return _largest_of_counts(region, a, p, loss)
    if region.is_box and loss is HINGE:
        best = _hinge_on_box(a, p, region.lower, region.upper)
        return best, best
    return _largest_in_mixed(region, a, p, loss)


def _largest_in_mixed(region, a, p, loss, tol=1e-9):
    """``max phi(u) - phi(v)`` over whole numbers, levels and continuous features, by layers of partial choices.

    A point is a choice per block: a level of a group, a whole number of steps of a lattice, a share of a
    continuous feature. Each choice adds to u and to v; less u and more v is better, so of every block only
    its frontier counts. A *node* has chosen for some blocks; what the others may add lies below the concave chain
    of their edges, steepest first, and every vertex of that chain is a point. Layer by layer one block is chosen,
    the one of the longest jump first (a long lattice in ranges that grow shorter). Nodes that another node
    dominates in (u, v) go, and so do those whose bound is not above the best point known; in the end only
    continuous features are left. At most ``WIDTH`` nodes are kept of a layer; the bounds of the others count.
    """
    search = _Layers(loss, tol)
    u, v, blocks = _blocks(region, a, p)
    u, v = np.array([u]), np.array([v])
    while True:
        u, v = search.prune(u, v, blocks)
        jumps = [block.jump for block in blocks]
        if not len(u) or max(jumps, default=0.0) == 0.0:
            break
        chosen = blocks.pop(int(np.argmax(jumps)))
        more_u, more_v, rest = chosen.choices()
        u, v = (u[:, None] + more_u).ravel(), (v[:, None] + more_v).ravel()
        blocks += [] if rest is None else [rest]
    return search.attained, max(search.attained, search.finished)


@dataclass(frozen=True)
class _Block:
    """What one choice adds to (u, v), from (0, 0) on, u and v rising: the options of a group, or a segment.

    ``steps`` is the number of steps of a segment, 0 where it is continuous, and None for a group.
    """

    u: np.ndarray
    v: np.ndarray
    steps: int | None

    @property
    def jump(self):
        """How far two neighbouring choices are apart; 0 where there is none left to make."""
        if self.steps == 0:
            return 0.0
        return float(np.max(np.diff(self.u) + np.diff(self.v))) / (self.steps or 1)

    def choices(self):
        """(u, v) of every option, and the block that is left of a lattice too long to be written out."""
        if self.steps is None:
            return self.u, self.v, None
        width = 0 if self.steps <= RANGES else -(-self.steps // RANGES)
        first = np.arange(self.steps + 1) if width == 0 else np.arange(0, self.steps, width)
        share = np.minimum(first, self.steps - width) / self.steps  # the last range overlaps: none is shorter
        part = width / self.steps
        rest = _Block(part * self.u, part * self.v, width) if width else None
        return share * self.u[-1], share * self.v[-1], rest

    def edges(self):
        """(rise of u, rise of v) along the upper hull, and the steps of each edge: 1 for two options of a group."""
        keep = [0]
        for i in range(1, len(self.u)):
            while len(keep) > 1:
                (i0, i1), (du, dv) = keep[-2:], (self.u[i] - self.u[keep[-2]], self.v[i] - self.v[keep[-2]])
                if (self.v[i1] - self.v[i0]) * du > dv * (self.u[i1] - self.u[i0]):
                    break
                keep.pop()
            keep.append(i)
        rise = np.diff(self.u[keep]), np.diff(self.v[keep])
        return *rise, np.full(len(keep) - 1, 1 if self.steps is None else self.steps)


def _blocks(region, a, p):
    """``(u, v, blocks)``: the point of least u (where u does not care, of largest v), and the choices from there."""
    w, q = a[:-1], p[:-1]
    grouped = np.zeros(len(w), dtype=bool)
    u, v, blocks = float(a[-1]), float(p[-1]), []
    for group in region.groups:
        grouped[group.columns] = True
        width = group.on - group.off
        us, vs = w[group.columns] * width, q[group.columns] * width
        if not group.exactly:
            us, vs = np.append(us, 0.0), np.append(vs, 0.0)
        u, v = u + float(w[group.columns] @ group.off), v + float(q[group.columns] @ group.off)
        order = np.lexsort((-vs, us))
        us, vs = us[order], vs[order]
        best = np.concatenate([[True], vs[1:] > np.maximum.accumulate(vs)[:-1]])
        us, vs = us[best], vs[best]
        u, v = u + us[0], v + vs[0]
        if len(us) > 1:
            blocks.append(_Block(us - us[0], vs - vs[0], None))
    span = region.upper - region.lower
    low = np.where(w == 0, q < 0, w > 0)  # whether the start is at the lower bound
    start = np.where(low | (span == 0), region.lower, region.upper)
    u, v = u + float(w[~grouped] @ start[~grouped]), v + float(q[~grouped] @ start[~grouped])
    for j in np.flatnonzero((w * q > 0) & (span > 0) & ~grouped):
        steps = int(np.rint(span[j] / region.step[j])) if region.step[j] > 0 else 0
        blocks.append(_Block(np.array([0.0, abs(w[j]) * span[j]]), np.array([0.0, abs(q[j]) * span[j]]), steps))
    return u, v, blocks


class _Layers:
    """The best point known (``attained``), and the largest bound of what was put aside (``finished``)."""

    def __init__(self, loss, tol):
        self.loss, self.tol = loss, tol
        self.attained = self.finished = -math.inf

    @property
    def enough(self):
        """What a bound must exceed to be worth a look."""
        return self.attained + self.tol * max(1.0, abs(self.attained))

    def difference(self, u, v):
        return self.loss.value(u) - self.loss.value(v)

    def prune(self, u, v, blocks):
        """The nodes of a layer that are worth a choice more; what their chains attain is noted."""
        order = np.lexsort((-v, u))
        u, v = u[order], v[order]
        best = np.concatenate([[True], v[1:] > np.maximum.accumulate(v)[:-1]])
        u, v = u[best], v[best]
        edges = [block.edges() for block in blocks] or [(np.zeros(0),) * 3]
        du, dv, steps = (np.concatenate(part) for part in zip(*edges, strict=True))
        order = np.argsort(-dv / du, kind="stable")
        steps = steps[order]
        U, V = (np.concatenate([[0.0], np.cumsum(part[order])]) for part in (du, dv))
        bounds, some = np.empty(len(u)), max(1, 100_000 // len(U))
        for first in range(0, len(u), some):
            part = slice(first, first + some)
            us, vs = u[part, None] + U, v[part, None] + V
            phi_u, phi_v = self.loss.value(us), self.loss.value(vs)
            bounds[part] = np.max(phi_u - phi_v, axis=1)
            self.attained = max(self.attained, float(np.max(bounds[part])))
            node, edge = np.nonzero(phi_u[:, :-1] - phi_v[:, 1:] > self.enough)
            if len(node):
                ends = us[node, edge], us[node, edge + 1], vs[node, edge], vs[node, edge + 1]
                np.maximum.at(bounds, first + node, self._on_edges(*ends, steps[edge]))
        order = np.argsort(-bounds, kind="stable")
        n_kept = min(WIDTH, int(np.sum(bounds > self.enough))) if np.any(steps) else 0
        if n_kept < len(order):
            self.finished = max(self.finished, float(bounds[order[n_kept]]))
        return u[order[:n_kept]], v[order[:n_kept]]

    def _on_edges(self, u1, u2, v1, v2, steps):
        """A bound for each edge, as good as it takes to tell; the points of it that may be had are tried.

        On a piece phi(u) lies below its chord and -phi(v) below the tangent at any s, the best of which is where
        both slopes cancel. A piece whose bound is too large is cut in eight; the first cuts are where u or v is 1,
        which makes the bound exact for the hinge.
        """
        loss, du, dv = self.loss, u2 - u1, v2 - v1
        most = np.full(len(u1), -math.inf)
        cuts = np.sort(np.clip(np.stack([(1.0 - u1) / du, (1.0 - v1) / dv]), 0.0, 1.0), axis=0)
        ends = np.vstack([np.zeros_like(du), cuts, np.ones_like(du)])
        owner = np.tile(np.arange(len(u1)), 3)
        left, right = ends[:-1].ravel(), ends[1:].ravel()
        owner, left, right = (part[right > left] for part in (owner, left, right))
        while len(owner):
            u_at, v_at, u_rise, v_rise = u1[owner], v1[owner], du[owner], dv[owner]
            phi = loss.value(u_at + left * u_rise)
            fall = loss.value(u_at + right * u_rise) - phi
            pull = v_rise * (right - left)
            low, high = np.zeros(len(owner)), np.ones(len(owner))
            for _ in range(25):
                middle = 0.5 * (low + high)
                up = fall - loss.derivative(v_at + (left + middle * (right - left)) * v_rise) * pull > 0.0
                low, high = np.where(up, middle, low), np.where(up, high, middle)
            share = 0.5 * (low + high)
            t = left + share * (right - left)
            s = v_at + t * v_rise
            value, slope = loss.value(s), loss.derivative(s) * pull
            bound = phi - value + np.maximum(slope * share, fall - slope * (1.0 - share))
            # Where u and v are near each other: phi(u) - phi(v) <= -phi'(u) (v - u), and -phi' falls.
            first, last = u_at + left * u_rise, u_at + right * u_rise
            lead = np.maximum(v_at + left * v_rise - first, v_at + right * v_rise - last)
            bound = np.minimum(bound, -loss.derivative(np.where(lead > 0.0, first, last)) * lead)
            n = steps[owner]
            for near in (np.floor, np.ceil):  # the points next to it
                at = np.where(n > 0, near(t * n) / np.maximum(n, 1), t)
                self.attained = max(
                    self.attained, float(np.max(self.difference(u_at + at * u_rise, v_at + at * v_rise)))
                )
            # An edge with a point of that much stays, whatever a closer look would say.
            hull = self.difference(u_at + t * u_rise, v_at + t * v_rise)
            stays = np.zeros(len(most), dtype=bool)
            stays[owner[hull > self.enough]] = True
            open_ = (bound > self.enough) & ~stays[owner] & (right - left > 1e-9)
            np.maximum.at(most, owner[~open_], bound[~open_])
            owner, left, right = owner[open_], left[open_], right[open_]
            ends = left + np.linspace(0.0, 1.0, 9)[:, None] * (right - left)
            owner, left, right = np.tile(owner, 8), ends[:-1].ravel(), ends[1:].ravel()
        return most


def _largest_of_counts(region, a, p, loss, tol=1e-8):
    """``max phi(u) - phi(v)`` over documents of whole counts, by mixed-integer programs.

    -phi(v) is concave: it lies below its tangents. phi(u) is convex: for u in an interval it lies below its
    chord. With both the maximum over the documents with u in that interval is a linear program over whole
    variables. Where its answer is not tight enough, the tangent at its v is added, and the interval is split at
    its u; until both meet, or ``PROGRAMS`` programs or ``NODES`` nodes are spent.
    """
    high = region.max_count
    U, V, low = region.idf * a[:-1], region.idf * p[:-1], np.zeros(len(high))
    u_ends, v_ends = (
        [base + float(np.sum(np.minimum(0.0, c * high))), base + float(np.sum(np.maximum(0.0, c * high)))]
        for base, c in ((a[-1], U), (p[-1], V))
    )
    t_low, t_high = -loss.value(np.array(v_ends))  # the variable that stands for -phi(v)
    tangents = np.linspace(*v_ends, 9).tolist()
    kinks = [1.0] if u_ends[0] < 1.0 < u_ends[1] else []
    attained = finished = better = -math.inf
    open_parts = [(math.inf, part) for part in pairwise([u_ends[0], *kinks, u_ends[1]])]
    nodes, programs = NODES, PROGRAMS
    dropped = 1e-7 / UNITS * float(np.sum(high))  # by the solver's tolerance of a reduced cost
    while open_parts and nodes > 0 and programs > 0:
        open_parts.sort()
        known, (left, right) = open_parts.pop()
        phi_left, phi_right = float(loss.value(np.array(left))), float(loss.value(np.array(right)))
        slope = (phi_right - phi_left) / (right - left) if right > left else 0.0
        start = phi_left + slope * (a[-1] - left)
        at = np.array(tangents)
        value, rate = loss.value(at), loss.derivative(at)  # t <= -phi(s) - phi'(s) (v - s)
        cuts = sp.csr_matrix(np.column_stack([rate[:, None] * V[None, :], np.ones(len(at))]))
        constraints = [
            LinearConstraint(cuts, -np.inf, -value - rate * (p[-1] - at)),
            LinearConstraint(np.append(U, 0.0)[None, :], left - a[-1], right - a[-1]),
            LinearConstraint(np.append(slope * U, 1.0)[None, :], better - start, np.inf),
            LinearConstraint(np.append(np.ones(len(U)), 0.0)[None, :], region.min_length, region.max_length),
        ]
        answer = milp(
            -UNITS * np.append(slope * U, 1.0),
            integrality=np.append(np.ones(len(U)), 0),
            bounds=Bounds(np.append(low, t_low), np.append(high, t_high)),
            constraints=constraints,
            options={"mip_rel_gap": 1e-9, "node_limit": max(1, min(1000, nodes))},
        )
        nodes, programs = nodes - (answer.mip_node_count or 0), programs - 1
        if answer.status == 2:  # no document with its u here is better than the best one known
            finished = max(finished, better)
            continue
        if answer.x is None:  # given up: what was known of the piece stands
            finished = max(finished, known)
            continue
        q = np.rint(answer.x[:-1])
        bound = min(known, start - float(answer.mip_dual_bound) / UNITS + dropped)
        u, v = a[-1] + float(U @ q), p[-1] + float(V @ q)
        attained = max(attained, float(loss.value(np.array(u)) - loss.value(np.array(v))))
        better = attained + tol * max(1.0, abs(attained))
        # The hinge is linear on either side of its kink, and so are its tangents: nothing is left to split.
        narrow = right - left <= 1e-6 * (u_ends[1] - u_ends[0])
        if loss is HINGE or narrow or bound <= better:
            finished = max(finished, bound)
            continue
        tangents.append(v)
        margin = 0.01 * (right - left)
        middle = min(max(u, left + margin), right - margin)
        open_parts += [(bound, (left, middle)), (bound, (middle, right))]
    return attained, max([finished, attained, *(bound for bound, _ in open_parts)])


def _hinge_on_box(a, p, lower, upper):
    """``max [1 - u]_+ - [1 - v]_+`` with ``u = a . x~``, ``v = p . x~`` over the box.

    ``(1 - u) - [1 - v]_+ = min(1 - u, v - u)`` is concave, so by the minimax theorem its maximum is
    ``min over 0 <= t <= 1 of (1 - t) + max_x (t p - a) . x~``: a convex function of one variable,
    piecewise linear with breakpoints ``a_j / p_j``. Where ``[1 - u]_+ = 0`` the best is
    ``-[1 - max v]_+``.
    """
    w, q = a[:-1], p[:-1]

    def dual(t):
        """Value, and slope to the right."""
        pull = t * q - w
        rises = (pull > 0) | ((pull == 0) & (q > 0))
        x = np.where(rises, upper, lower)
        return (1.0 - t) + t * p[-1] - a[-1] + float(pull @ x), p[-1] - 1.0 + float(q @ x)

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = w / q
    knots = np.unique(np.concatenate([[0.0, 1.0], ratio[(ratio > 0) & (ratio < 1)]]))
    first, last = 0, len(knots) - 1  # the minimum is at the first knot where the slope turns
    while first < last:
        middle = (first + last) // 2
        if dual(knots[middle])[1] >= 0:
            last = middle
        else:
            first = middle + 1
    concave = min(dual(t)[0] for t in knots[max(0, first - 1) : first + 2])
    v_max = p[-1] + float(np.sum(np.maximum(q * lower, q * upper)))
    return max(concave, -max(0.0, 1.0 - v_max))


def _largest_of_documents(region, a, p, loss):
    """What documents under a norm attain, at one found, and what the hull of their images (u, v) allows.

    The lower right of that hull lies between its supporting lines and the chords of the documents that touch them.
    The largest value on the lines is the bound; where it is, the line parallel to the chord is drawn. Where documents
    are few, all are looked at.
    """
    hull = _DocumentHull(region, a, p, loss)
    lines = [hull.line(1.0, 0.0), hull.line(0.0, 1.0)]
    closed = -math.inf
    cells = [(hull.corner(*lines), *lines)]
    for _ in range(300):
        k = max(range(len(cells)), key=lambda i: cells[i][0], default=-1)
        if k < 0 or cells[k][0] <= closed:
            break
        above, left, right = cells.pop(k)
        du, dv = right.u - left.u, right.v - left.v
        length = math.hypot(du, dv)
        new = hull.line(dv / length, du / length) if length > 0.0 else left
        beyond = new.height - (dv * -left.u + du * left.v) / length if length > 0.0 else 0.0
        if length == 0.0 or beyond <= 1e-10 * (abs(left.u) + abs(right.v) + length) or not left.u < new.u < right.u:
            # Nothing lies further than that beyond the chord.
            shift_u, shift_v = (max(0.0, beyond) * part / length if length > 0.0 else 0.0 for part in (dv, du))
            chord = (left.u - shift_u, left.v + shift_v), (right.u - shift_u, right.v + shift_v)
            closed = max(closed, min(above, hull.on(*chord)))
        else:
            cells += [(hull.corner(left, new), left, new), (hull.corner(new, right), new, right)]
    proved = max([closed, *(above for above, *_ in cells)])
    attained = hull.climb()
    if proved > attained + 1e-9 * max(1.0, abs(attained)):
        every = _all_documents(region)
        if every is not None:
            proved = attained = max(attained, float(np.max(hull.values(every))))
    return attained, max(attained, proved)


class _Line(NamedTuple):
    """``-alpha u + beta v <= height`` of every document; (u, v) lies on it, at a document or as good as that."""

    alpha: float
    beta: float
    height: float
    u: float
    v: float


class _DocumentHull:
    """The documents of a region as they appear under the two scores."""

    def __init__(self, region, a, p, loss):
        self.region, self.a, self.p, self.loss = region, a, p, loss
        self.value, self.counts = -math.inf, None  # of the best document met
        self.ends = [math.inf, -math.inf]  # the least u, the largest v

    def values(self, counts):
        """The loss difference of documents: ndarray of shape (n,)."""
        rows = counts * self.region.idf
        size = rows.sum(axis=1) if self.region.norm == "l1" else np.linalg.norm(rows, axis=1)
        rows /= np.where(size > 0.0, size, 1.0)[:, None]
        u, v = rows @ self.a[:-1] + self.a[-1], rows @ self.p[:-1] + self.p[-1]
        return self.loss.value(u) - self.loss.value(v)

    def line(self, alpha, beta):
        top, counts = _best_of_normed(self.region, beta * self.p[:-1] - alpha * self.a[:-1])
        value = float(self.values(counts[None])[0])
        if value > self.value:
            self.value, self.counts = value, counts
        row = counts * self.region.idf
        size = row.sum() if self.region.norm == "l1" else np.linalg.norm(row)
        row = row / size if size > 0.0 else row
        u, v = float(row @ self.a[:-1] + self.a[-1]), float(row @ self.p[:-1] + self.p[-1])
        height = top + beta * float(self.p[-1]) - alpha * float(self.a[-1])
        beyond = max(0.0, height - (beta * v - alpha * u))
        line = _Line(alpha, beta, height, u - alpha * beyond, v + beta * beyond)
        self.ends = [min(self.ends[0], line.u), max(self.ends[1], line.v)]
        return line

    def corner(self, left, right):
        """A bound of what lies between two touching points: on both lines, to where they meet."""
        determinant = left.alpha * right.beta - right.alpha * left.beta
        if determinant <= 1e-14:
            u, v = left.u, right.v
        else:
            u = (left.beta * right.height - right.beta * left.height) / determinant
            v = (left.alpha * right.height - right.alpha * left.height) / determinant
            u, v = max(min(u, right.u), self.ends[0]), min(max(v, left.v), self.ends[1])
        return max(self.on((left.u, left.v), (u, v)), self.on((u, v), (right.u, right.v)))

    def on(self, first, last):
        """A bound of the loss difference on a segment."""
        search = _Layers(self.loss, 1e-10)
        (u1, v1), (u2, v2) = first, last
        ends = self.loss.value(np.array([min(u1, u2), u1, u2])), self.loss.value(np.array([max(v1, v2), v1, v2]))
        if not (u2 > u1 and v2 > v1):
            return float(ends[0][0] - ends[1][0])
        search.attained = float(np.max(ends[0][1:] - ends[1][1:]))
        most = search._on_edges(*(np.array([end]) for end in (u1, u2, v1, v2)), np.zeros(1))
        return max(search.attained, float(most[0]))

    def climb(self):
        """The best document met, one word more or fewer as long as that pays: its loss difference."""
        region, few = self.region, np.argsort(-np.abs(self.a[:-1]) - np.abs(self.p[:-1]), kind="stable")[:300]
        for _ in range(50):
            words = np.union1d(few, np.flatnonzero(self.counts))
            tried = np.repeat(self.counts[None], 2 * len(words), axis=0)
            tried[np.arange(len(words)), words] += 1.0
            tried[len(words) + np.arange(len(words)), words] -= 1.0
            length = tried.sum(axis=1)
            kept = np.all((tried >= 0.0) & (tried <= region.max_count), axis=1)
            tried = tried[kept & (length >= region.min_length) & (length <= region.max_length)]
            values = self.values(tried)
            if not np.max(values, initial=-math.inf) > self.value:
                break
            self.value, self.counts = float(np.max(values)), tried[np.argmax(values)]
        return self.value


def _best_of_normed(region, pull):
    """``(top, counts)``: a bound of ``pull . x`` over the documents of a norm, and one that attains it or nearly.

    With l1 a document of one word is best. With l2 it is the largest ``G / sqrt(W)``, G = sum g_j c_j and
    W = sum w_j c_j^2, g = pull idf, w = idf^2. For every mu the best ``G - mu W`` takes the uses of words that gain
    most: the k-th of word j gains ``g_j - mu w_j (2 k - 1)``. As mu falls from the rate of one use,
    ``g_j / w_j (2 k - 1)``, to the next, these documents follow each other, and one of them is the best of all: where
    G <= t sqrt(W) is a convex set of (G, W), it holds for all documents if it does for these. Once the length
    limit binds they are found piece by piece; between two values of mu the square of the largest, the best
    ``4 mu (G - mu W)``, lies below that of the chord.
    """
    counts, usable = np.zeros(len(pull)), region.max_count > 0.0
    j = int(np.argmax(np.where(usable, pull, -math.inf)))
    if pull[j] <= 0.0 or region.norm == "l1":
        counts[j] = 1.0 if region.min_length or pull[j] > 0.0 else 0.0
        return float(pull[j] * counts[j]), counts
    often = np.where(usable & (pull > 0.0), np.minimum(region.max_count, region.max_length), 0.0).astype(int)
    ball = float(np.linalg.norm(pull[usable & (pull > 0.0)]))
    if often.sum() > 1_000_000:
        counts[j] = 1.0
        return ball, counts
    word = np.repeat(np.arange(len(pull)), often)
    odd = 2.0 * (np.arange(len(word)) - np.repeat(np.cumsum(often) - often, often)) + 1.0
    gain, weight = (pull * region.idf)[word], region.idf[word] ** 2 * odd
    most = region.max_length
    order = np.argsort(-gain / weight, kind="stable")
    first = order[:most]
    G, W = np.cumsum(gain[first]), np.cumsum(weight[first])
    n = int(np.argmax(G / np.sqrt(W)))
    best, chosen = float(G[n] / math.sqrt(W[n])), first[: n + 1]
    top = best
    if len(order) > most:
        mu = float((gain / weight)[first[-1]])
        parts = [(0.0, float(np.sum(np.sort(gain)[-most:])), mu, float(G[-1] - mu * W[-1]))]
        for left in range(200, -1, -1):
            if not parts:
                break
            low, F_low, high, F_high = parts.pop()
            slope = (F_high - F_low) / (high - low)
            at = min(max(0.5 * (low - F_low / slope), low), high) if slope < 0.0 else high
            square = 4.0 * at * (F_low + slope * (at - low))
            if square <= best * best * (1.0 + 1e-9) or not left or not low < at < high:
                top = max(top, math.sqrt(max(0.0, square)))
                continue
            worth = gain - at * weight
            uses = np.argsort(-worth, kind="stable")[:most]
            uses = uses[worth[uses] > 0.0]
            found = float(np.sum(gain[uses])) / math.sqrt(float(np.sum(weight[uses])))
            if found > best:
                best, chosen = found, uses
            value = float(np.sum(worth[uses]))
            parts += [(low, F_low, at, value), (at, value, high, F_high)]
        top = max([top, *(ball for _ in parts)])
    np.add.at(counts, word[chosen], 1.0)
    return max(best, min(top, ball)), counts


def _all_documents(region, limit=2_500_000):
    """The counts of every document, or None where a table of them has more than ``limit`` entries."""
    counts = np.zeros((1, len(region.idf)))
    for j in np.flatnonzero(region.max_count > 0.0):
        more = [counts]
        for k in range(1, int(region.max_count[j]) + 1):
            again = counts[counts.sum(axis=1) + k <= region.max_length].copy()
            if not len(again):
                break
            again[:, j] = k
            more.append(again)
        if sum(map(len, more)) * len(region.idf) > limit:
            return None
        counts = np.concatenate(more)
    return counts[counts.sum(axis=1) >= region.min_length]


# -- membership -------------------------------------------------------------------------------


def _inside(feasible_set, points, signs, classes, rounding):
    """Which distinct points lie in the feasible set: exactly, or for whole numbers and levels to 1e-9 of a step."""
    if hasattr(feasible_set, "X"):
        return _candidates(feasible_set, points, signs, classes) > 0
    inside = np.zeros(points.shape[0], dtype=bool)
    regions = feasible_set.bind(classes=classes).regions(points.shape[1])
    for i in range(points.shape[0]):
        row = points[i].toarray().ravel() if sp.issparse(points) else points[i]
        region = regions.get(float(signs[i]))
        inside[i] = region is not None and _in_region(region, row, rounding)
    return inside


def _in_region(region, x, rounding):
    if hasattr(region, "max_length"):
        return _is_document(region, x)
    span = region.upper - region.lower
    stepped = region.step > 0
    room = np.where(stepped, 1e-9 * region.step + 4e-15 * (np.abs(region.origin) + np.abs(x)) + rounding, 0.0)
    for group in region.groups:
        room[group.columns] = 1e-9 * span[group.columns]
    if np.any((x < region.lower - room) | (x > region.upper + room)):
        return False
    k = (x[stepped] - region.origin[stepped]) / region.step[stepped]
    if np.any(np.abs(k - np.rint(k)) * region.step[stepped] > room[stepped]):
        return False
    for group in region.groups:
        share = (x[group.columns] - group.off) / (group.on - group.off)
        n_on = np.sum(np.abs(share - 1.0) <= 1e-9)
        if n_on + np.sum(np.abs(share) <= 1e-9) < len(share) or n_on > 1 or (group.exactly and n_on == 0):
            return False
    return True


def _is_document(region, x):
    """Whether x is the row of whole counts, so many in all: up to a factor where there is a norm."""
    scaled = x / region.idf
    used = scaled > 0
    if not used.any():
        return region.min_length == 0 and not x.any()
    if region.norm is not None and abs((x.sum() if region.norm == "l1" else np.linalg.norm(x)) - 1.0) > 1e-9:
        return False
    least = scaled[used].min()
    for rarest in range(1, region.max_length + 1):  # how often the rarest word is used, were the row not divided
        counts = scaled if region.norm is None else scaled * (rarest / least)
        whole = np.rint(counts)
        length = whole.sum()
        fits = region.min_length <= length <= region.max_length and np.all((whole >= 0) & (whole <= region.max_count))
        if fits and np.all(np.abs(counts - whole) <= 1e-9 * np.maximum(1.0, whole)):
            return True
        if region.norm is None:
            break
    return False


def _candidates(pool, points, signs, classes):
    """How many candidates of a pool equal each point and may carry its label."""
    X, labels = pool.X, _pool_signs(pool, classes)
    norms = np.asarray(abs(X).sum(axis=1)).ravel()
    equal = np.zeros(points.shape[0], dtype=np.intp)
    for i in range(points.shape[0]):
        row = points[i].toarray().ravel() if sp.issparse(points) else points[i]
        norm = np.sum(np.abs(row))
        for j in np.flatnonzero(np.abs(norms - norm) <= 1e-9 * norm):  # equal rows have equal norms
            candidate = X[[j]].toarray().ravel() if sp.issparse(X) else X[j]
            equal[i] += np.array_equal(candidate, row) and (labels is None or labels[j] == signs[i])
    return equal


def _used_too_often(pool, points, signs, counts, classes):
    """How many points there are beyond what ``max_repeats`` allows."""
    allowed = pool.max_repeats * _candidates(pool, points, signs, classes)
    dense = points.toarray() if sp.issparse(points) else points
    _, which = np.unique(np.column_stack([dense, signs]) + 0.0, axis=0, return_inverse=True)
    used = np.bincount(which.ravel(), counts)
    most = np.zeros(len(used))
    np.maximum.at(most, which.ravel(), allowed)
    return int(np.sum(np.maximum(0, used - most)))


def _pool_signs(pool, classes):
    """The labels of a pool as -1. and +1., or None where either is allowed."""
    if pool.y is None:
        return None
    return _signs(pool.y, classes, len(pool.y), "y of the pool")


def _signs(y, classes, n_rows, name="y"):
    """Labels as -1. for ``classes[0]`` and +1. for ``classes[1]``."""
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise ValueError(f"{name} must have shape ({n_rows},), one label per row, got {y.shape}")
    known = np.isin(y, classes)
    if not np.all(known):
        raise ValueError(f"{name} must hold {np.asarray(classes).tolist()} only, got {y[~known].tolist()[0]!r}")
    return np.where(y == classes[1], 1.0, -1.0)


def _stack(X, added):
    if sp.issparse(X) or sp.issparse(added):
        return sp.vstack([sp.csr_matrix(X), sp.csr_matrix(added)], format="csr")
    return np.vstack([X, added])
