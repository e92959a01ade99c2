"""An independent check of everything that a result claims.

Nothing here calls the compiled core, the refit or the oracle: the victim is retrained by
scikit-learn, and loss differences are maximised in plain NumPy by another method than the
oracle's where there is one (for the hinge loss on a box, the dual of the linear program; where
features are whole or levels, SciPy's mixed-integer solver).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, lsq_linear, milp, minimize, minimize_scalar

from .frames import column_names
from .steps import to_matrix
from .texts import TextCodec, as_raw, codec_of
from .validation import check_sample_weight, check_X

if TYPE_CHECKING:
    from .result import PoisoningResult

__all__ = ["Check", "RefittedPipeline", "VerificationError", "VerificationReport", "verify"]

NEVER = 2**63 - 1  # what a certificate says for "no number of points suffices"
NODES = 20_000  # of the mixed-integer solver, for one maximum: what is left open then shows in its bound
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
    """One claim: what the result says, what was found, by how much they may differ."""

    name: str
    claimed: float
    found: float
    allowance: float
    passed: bool


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

    Attributes
    ----------
    solver : str
        The independent solver that retrained the victim.
    theta : ndarray of shape (n_features + 1,)
        The model it found.
    distance, loss_difference : float
        Of that model to the target.
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
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def __repr__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = [f"VerificationReport: {'ok' if self.ok else 'FAILED'}, retrained with {self.solver}"]
        lines.append(f"  {'':{width}}  {'claimed':>14}  {'found':>14}  {'allowance':>9}")
        for check in self.checks:
            lines.append(
                f"  {check.name:{width}}  {check.claimed:14.8g}  {check.found:14.8g}  "
                f"{check.allowance:9.1e}  {'ok' if check.passed else 'FAILED'}"
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
    result: PoisoningResult, X, y, sample_weight=None, *, refit_preprocessing=False, preprocessing=None
) -> VerificationReport:
    """Check every claim of ``result``; see :meth:`PoisoningResult.verify`."""
    d = result.theta.size - 1
    _same_columns(result, X)
    table = codec = None
    if result.records is not None:
        preprocessing = result.preprocessing if preprocessing is None else preprocessing
        if preprocessing is None:
            raise ValueError(
                "the attack was on raw records, and this result was loaded without what the victim does to them: "
                "hand it in as preprocessing=..."
            )
        table = as_raw(preprocessing, X)
        codec = codec_of(preprocessing, table)
        X = to_matrix(preprocessing.transform(table))
    elif refit_preprocessing or preprocessing is not None:
        raise ValueError("preprocessing: the attack was not on raw records, its victim has none")
    X = check_X(X, n_features=d)
    signs = _signs(y, result.classes, X.shape[0])
    weight = check_sample_weight(sample_weight, X.shape[0])
    own = result.objective.weights(signs, weight)
    total = float(X.shape[0]) if own is None else float(own.sum())
    if X.shape[0] != result.n_clean:
        raise ValueError(f"X has {X.shape[0]} rows, the attack was on {result.n_clean}")
    if abs(total - result.clean_weight) > 1e-9 * total:
        raise ValueError(f"sample_weight sums to {total:g}, in the attack it was {result.clean_weight:g}")

    objective, points = result.objective, result.points
    point_signs = _signs(result.labels, result.classes, points.shape[0], "labels")
    counts = result.counts
    checks: list[Check] = []

    def check(name, claimed, found, allowance, passed):
        checks.append(Check(name, float(claimed), float(found), float(allowance), bool(passed)))

    # Every point where it may lie, as often as it may, and the row of its record.
    grain = np.zeros(d)  # how far a record's row may be from the point that the search had in mind
    if codec is not None and not hasattr(result.feasible_set, "X"):
        grain = codec.rounding
    inside = _inside(result.feasible_set, points, point_signs, result.classes, grain)
    n_outside = int(np.sum(counts[~inside]))
    check("points outside the feasible set", 0, n_outside, 0, n_outside == 0)
    if getattr(result.feasible_set, "max_repeats", None) is not None:
        n_over = _used_too_often(result.feasible_set, points, point_signs, counts, result.classes)
        check("points beyond max_repeats", 0, n_over, 0, n_over == 0)
    if codec is not None:
        moved = sp.csr_matrix(sp.csr_matrix(codec.encode(result.records)) != sp.csr_matrix(points))
        n_moved = int(np.sum(counts[moved.getnnz(axis=1) > 0]))
        check("records that are mapped elsewhere", 0, n_moved, 0, n_moved == 0)

    # The model, retrained on the expanded rows.
    added, added_signs = points[result.sequence], point_signs[result.sequence]
    X_all = _stack(X, added)
    y_all = np.concatenate([signs, added_signs])
    weight_all = None if weight is None else np.concatenate([weight, np.ones(len(added_signs))])
    theta, solver = _retrain(objective, X_all, y_all, weight_all)
    k = objective.k(objective.amount(y_all, weight_all))
    # What a row of each label weighs now, -1 and +1 ("balanced" counts the poison, too); None: 1.
    labels_weigh = objective.settled(objective.class_totals(y_all, weight_all)).class_weight
    ours = objective.value(result.theta, X_all, y_all, weight_all)
    reference = objective.value(theta, X_all, y_all, weight_all)
    scale = max(1.0, float(np.linalg.norm(result.theta)))
    free = objective.fit_intercept and not objective.penalize_intercept
    rounding = 1e-9 * max(1.0, abs(ours))
    check("objective (summed)", ours, reference, rounding, ours <= reference + rounding)
    allowance = _AGREE * scale + math.sqrt(2.0 * max(0.0, reference - ours) / k)
    if allowance > 1e-3 * scale and objective.loss.name == "hinge":
        # The reference solver gave up too early to say much: let the dual problem speak instead.
        c = objective.weights(y_all, weight_all)
        error = math.sqrt(2.0 * _hinge_gap(objective, X_all, y_all, c, k, result.theta) / k)
        check("the model's own error, by its duality gap", 0, error, 1e-3 * scale, error <= 1e-3 * scale)
    else:
        check("reference solver's own error", 0, allowance, 1e-3 * scale, allowance <= 1e-3 * scale)
    apart = theta - result.theta
    if free:
        # The free intercept is not strongly convex, and for the hinge loss need not be unique:
        # the objective above says whether it is optimal, the norm is taken of the weights.
        apart = apart[:-1]
    difference = float(np.linalg.norm(apart))
    check("l2 distance to the retrained model", 0, difference, allowance, difference <= allowance)

    # Distance and loss difference, of the claimed model, and then of the retrained one.
    moved = float(np.linalg.norm(theta - result.theta))
    distance = float(np.linalg.norm(theta - result.theta_target))
    room = allowance + (moved if free else 0.0)
    check("distance to the target", result.distance, distance, room, abs(distance - result.distance) <= room)

    space = _bound(result)

    def largest(model):
        """The largest loss difference, a bound of it, and what the rounding of records may take from it."""
        attained, proved = _attained_and_proved(model, result.theta_target, space, objective.loss, labels_weigh)
        blur = 0.0
        if np.any(grain):
            size = np.append(np.max(np.abs(space.bounds(d)), axis=0), 1.0)
            for theta in (model, result.theta_target):
                steep = -float(objective.loss.derivative(np.array(-np.abs(theta) @ size)))
                blur += steep * float(np.abs(theta[:-1]) @ grain)
        return attained, proved, blur * max(1.0, *(labels_weigh or (1.0,)))

    (found, highest, blur), (found_reference, *_) = largest(result.theta), largest(theta)
    claimed = result.loss_difference
    slack = 1e-7 * max(1.0, abs(found))
    if not math.isnan(claimed):
        unknown = slack + blur + (highest - found)  # as far as the maximum is known here
        check("loss difference", claimed, found, unknown, found - unknown <= claimed <= highest + slack)

    # What the status says.
    if result.status == "reached" and result.stop == "loss_difference":
        slack += blur + abs(found_reference - found)
        passed = found_reference <= result.tol + slack
        check("reached: loss difference <= tol", result.tol, found_reference, slack, passed)
    elif result.status == "reached":
        check("reached: distance <= tol", result.tol, distance, room, distance <= result.tol + room)

    # The bound, from the certificate alone: it must speak of this problem, and prove what is claimed.
    proved = 0
    if result.certificate is not None:
        foreign = _foreign(result)
        check("certificate of another problem", 0, foreign, 0, not foreign)
        proved = result.certificate.check(X, signs, sample_weight=weight).n_poison
    elif result.lower_bound > 0 and result.path is not None:
        proved = _theorem_2(result, X, signs, weight, lambda model: largest(model)[1])
    check("lower bound", result.lower_bound, proved, 0, result.lower_bound <= proved)
    if result.status == "unattainable":
        check("unattainable: points needed", NEVER, proved, 0, proved >= NEVER)

    refitted = None
    if refit_preprocessing:
        refitted = _refit_pipeline(result, preprocessing, codec, table, y, X, signs, weight_all, theta, space)
    report = VerificationReport(solver, theta, distance, found_reference, int(proved), tuple(checks), refitted)
    if not report.ok:
        failures = "; ".join(
            f"{c.name}: claimed {c.claimed:.8g}, found {c.found:.8g} (allowance {c.allowance:.1e})"
            for c in report.failed
        )
        raise VerificationError(f"the result does not hold: {failures}", report)
    return report


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
    if not hasattr(X, "columns"):
        return
    names = result.feature_names if result.records is None else column_names(result.records)
    if names is not None and list(X.columns) != list(names):
        raise ValueError(f"X has columns {list(X.columns)[:5]}, the attack was on {list(names)[:5]} (in that order)")


def _bound(result):
    """The feasible set of a result, its labels as -1. and +1."""
    return result.feasible_set.bind(result.feature_names, result.classes)


def _refit_pipeline(result, preprocessing, codec, table, y, X, signs, weight, theta, space):
    """Train preprocessing and victim on the poisoned table, and compare with ``theta`` on the clean rows."""
    from sklearn.base import clone

    poisoned, y_poisoned, mask = result.poisoned(table, y)
    refitted = clone(preprocessing).fit(poisoned, y_poisoned)
    rows = check_X(to_matrix(refitted.transform(poisoned)), "the refitted preprocessing's rows")
    all_signs = _signs(y_poisoned, result.classes, len(mask))
    again, _ = _retrain(result.objective, rows, all_signs, weight)
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

    labels_weigh = result.objective.settled(result.objective.class_totals(all_signs, weight)).class_weight

    def largest(model):
        return _attained_and_proved(model, result.theta_target, space, result.objective.loss, labels_weigh)[0]

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
    """Whether the certificate is about another target, objective or feasible set than the result."""
    certificate, own = result.certificate, result.feasible_set
    space = certificate.feasible_set
    if certificate.objective != result.objective or type(space) is not type(own):
        return True
    if not np.array_equal(certificate.theta_target, result.theta_target):
        return True
    if not hasattr(own, "X"):
        d = result.theta.size - 1
        return space.regions(d) != _bound(result).regions(d)
    # Inside a certificate labels are -1. and +1., as below the estimators.
    labels, own_labels = _pool_signs(space, np.array([-1.0, 1.0])), _pool_signs(own, result.classes)
    if space.X.shape != own.X.shape or (labels is None) != (own_labels is None):
        return True
    if labels is not None and not np.array_equal(labels, own_labels):
        return True
    return bool(abs(space.X - own.X).max() > 0)


# -- retraining -------------------------------------------------------------------------------


def _retrain(objective, X, y, weight):
    """``(theta, solver)``: the victim trained by somebody else's code."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    k, loss, d = objective.k(objective.amount(y, weight)), objective.loss.name, X.shape[1]
    common = {"C": 1.0 / k, "random_state": 0}
    if objective.class_weight is not None:
        minus, plus = objective.settled(objective.class_totals(y, weight)).class_weight
        common["class_weight"] = {-1.0: minus, 1.0: plus}
    bias = {"fit_intercept": objective.fit_intercept}
    penalized = objective.penalize_intercept or not objective.fit_intercept
    if loss == "hinge" and penalized:
        model = LinearSVC(loss="hinge", tol=1e-10, max_iter=100_000, **bias, **common)
    elif loss == "squared_hinge" and penalized:
        model = LinearSVC(dual=False, tol=1e-10, max_iter=10_000, **bias, **common)
    elif loss == "hinge":
        model = SVC(kernel="linear", tol=1e-9, cache_size=500, **common)
    elif loss == "log_loss" and penalized:
        model = LogisticRegression(solver="liblinear", tol=1e-10, max_iter=10_000, **bias, **common)
    elif loss == "log_loss" and d <= 2000 and not sp.issparse(X):
        model = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000, **common)
    elif loss == "log_loss":
        model = LogisticRegression(solver="lbfgs", tol=1e-12, max_iter=100_000, **common)
    else:
        return _minimize(objective, X, y, weight, np.zeros(d + 1)), "scipy.optimize.minimize"
    with warnings.catch_warnings():
        # An unfinished reference shows in its objective, which the comparison takes into account.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, sample_weight=weight)
    coef = model.coef_.toarray() if sp.issparse(model.coef_) else model.coef_
    theta = np.append(coef.ravel(), model.intercept_ if objective.fit_intercept else 0.0)
    name = f"sklearn {type(model).__name__}"
    if loss == "log_loss":
        name += f"({model.solver})"
    if loss != "hinge":  # liblinear's primal solvers stop early on the gradient: finish the job
        theta = _minimize(objective, X, y, weight, theta)
    return theta, name


def _hinge_gap(objective, X, y, weight, k, theta):
    """A duality gap of theta for the hinge loss, by bounded least squares.

    With ``a_i = y_i x~_i``, ``alpha_i = c_i`` below the margin and 0 above it, the ``alpha_i`` on it are
    chosen in [0, c_i] so that ``k R theta - sum alpha_i a_i`` is least. The gap is then that residual's
    ``|.|^2 / 2k`` (for a free intercept its part there times b) plus what each row adds.
    """
    c = np.ones(len(y)) if weight is None else weight
    margin = objective.margins(theta, X, y)
    on = np.flatnonzero((np.abs(margin - 1.0) <= 1e-7) & (c > 0))
    alpha = np.where(margin < 1.0, c, 0.0)
    alpha[on] = 0.0
    one = float(objective.fit_intercept)
    signed = y * alpha
    force = np.append(k * theta[:-1] - X.T @ signed, k * objective.r * theta[-1] - one * signed.sum())
    if len(on):
        rows = X[on].toarray() if sp.issparse(X) else X[on]
        A = np.vstack([(y[on, None] * rows).T, one * y[None, on]])
        alpha[on] = np.clip(lsq_linear(A, force, (0.0, c[on]), tol=1e-14).x, 0.0, c[on])
        force -= A @ alpha[on]
    slack = 1.0 - margin
    rows_gap = float(np.sum(c * np.maximum(0.0, slack) - alpha * slack))
    if one and not objective.penalize_intercept:
        return max(0.0, rows_gap) + float(force[:-1] @ force[:-1]) / (2 * k) + abs(force[-1] * theta[-1])
    return max(0.0, rows_gap) + float(force @ force) / (2 * k)


def _minimize(objective, X, y, weight, start):
    """L-BFGS on the objective itself, from ``start``."""
    k, loss = objective.k(objective.amount(y, weight)), objective.loss
    c = objective.weights(y, weight)
    c = np.ones(len(y)) if c is None else c
    total = float(c.sum())
    R = np.append(np.ones(len(start) - 1), objective.r)
    free = np.append(np.ones(len(start) - 1), float(objective.fit_intercept))

    def value_and_gradient(theta):
        margin = y * (X @ theta[:-1] + theta[-1])
        pull = c * loss.derivative(margin) * y
        value = float(c @ loss.value(margin)) + 0.5 * k * float(R @ theta**2)
        gradient = np.append(X.T @ pull, pull.sum()) + k * R * theta
        return value / total, free * gradient / total

    options = {"maxiter": 20_000, "maxfun": 40_000, "maxcor": 30, "ftol": 0.0, "gtol": 1e-13}
    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    return found if value_and_gradient(found)[0] <= value_and_gradient(start)[0] else start


# -- the largest loss difference, once more ---------------------------------------------------


def max_loss_difference(theta, theta_target, feasible_set, loss, classes, weights=None) -> float:
    """The maximum over the feasible set of ``phi(y theta . x~) - phi(y theta_target . x~)``.

    Written apart from ``oracle.py`` and in plain NumPy. Exact up to rounding for a pool and for the
    hinge loss on a box; for other losses on a box a scan of the frontier, refined where it peaks;
    for a space of whole numbers and levels a branch and bound with SciPy's mixed-integer solver. ``weights``: what
    the two labels weigh.
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
    if not region.is_box:
        return _largest_in_mixed(region, a, p, loss)
    best = _largest_in_box(a, p, region.lower, region.upper, loss)
    return best, best


def _largest_in_box(a, p, lower, upper, loss):
    if loss.name == "hinge":
        return _hinge_on_box(a, p, lower, upper)
    return _smooth_on_box(a, p, lower, upper, loss)


def _largest_in_mixed(region, a, p, loss, tol=1e-8):
    """``max phi(u) - phi(v)`` over whole numbers and levels, by mixed-integer programs.

    -phi(v) is concave: it lies below its tangents. phi(u) is convex: for u in an interval it lies below its
    chord. With both the maximum over the points with u in that interval is a linear program over
    whole and continuous variables. Where its answer is not tight enough, the tangent at its v is
    added, and the interval is split at its u; until both meet, or ``NODES`` nodes are spent.
    """
    base, columns, low, high, whole, rules = _variables(region)
    move = sp.csr_matrix(columns)
    U, V = move.T @ a[:-1], move.T @ p[:-1]
    u0, v0 = float(a[:-1] @ base) + a[-1], float(p[:-1] @ base) + p[-1]
    u_ends = [u0 + float(np.sum(np.minimum(U * low, U * high))), u0 + float(np.sum(np.maximum(U * low, U * high)))]
    v_ends = [v0 + float(np.sum(np.minimum(V * low, V * high))), v0 + float(np.sum(np.maximum(V * low, V * high)))]
    t_low, t_high = -loss.value(np.array(v_ends))  # the variable that stands for -phi(v)
    tangents = np.linspace(*v_ends, 9).tolist()
    kinks = [1.0] if u_ends[0] < 1.0 < u_ends[1] else []
    attained = finished = better = -math.inf
    integrality = np.append(whole, 0)
    open_parts = [(math.inf, part) for part in pairwise([u_ends[0], *kinks, u_ends[1]])]
    nodes = NODES
    dropped = 1e-7 / UNITS * float(np.sum(high - low))  # by the solver's tolerance of a reduced cost
    while open_parts and nodes > 0:
        open_parts.sort()
        known, (left, right) = open_parts.pop()
        phi_left, phi_right = float(loss.value(np.array(left))), float(loss.value(np.array(right)))
        slope = (phi_right - phi_left) / (right - left) if right > left else 0.0
        start = phi_left + slope * (u0 - left)
        at = np.array(tangents)
        value, rate = loss.value(at), loss.derivative(at)  # t <= -phi(s) - phi'(s) (v - s)
        cuts = sp.csr_matrix(np.column_stack([rate[:, None] * V[None, :], np.ones(len(at))]))
        constraints = [
            LinearConstraint(cuts, -np.inf, -value - rate * (v0 - at)),
            LinearConstraint(np.append(U, 0.0)[None, :], left - u0, right - u0),
            LinearConstraint(np.append(slope * U, 1.0)[None, :], better - start, np.inf),
            *(LinearConstraint(np.append(row, 0.0)[None, :], first, last) for row, first, last in rules),
        ]
        answer = milp(
            -UNITS * np.append(slope * U, 1.0),
            integrality=integrality,
            bounds=Bounds(np.append(low, t_low), np.append(high, t_high)),
            constraints=constraints,
            options={"mip_rel_gap": 1e-9, "node_limit": max(1, min(1000, nodes))},
        )
        nodes -= answer.mip_node_count or 0
        if answer.status == 2:  # no point with its u here is better than the best one known
            finished = max(finished, better)
            continue
        if answer.x is None:  # given up: what was known of the piece stands
            finished = max(finished, known)
            continue
        q = np.where(whole > 0, np.rint(answer.x[:-1]), answer.x[:-1])
        bound = min(known, start - float(answer.mip_dual_bound) / UNITS + dropped)
        attained = max(attained, _polished(q, whole, low, high, a, p, base, move, loss))
        better = attained + tol * max(1.0, abs(attained))
        u, v = u0 + float(U @ q), v0 + float(V @ q)
        # The hinge is linear on either side of its kink, and so are its tangents: nothing is left to split.
        narrow = right - left <= 1e-6 * (u_ends[1] - u_ends[0])
        if loss.name == "hinge" or narrow or bound <= better:
            finished = max(finished, bound)
            continue
        tangents.append(v)
        margin = 0.01 * (right - left)
        middle = min(max(u, left + margin), right - margin)
        open_parts += [(bound, (left, middle)), (bound, (middle, right))]
    return attained, max([finished, attained, *(bound for bound, _ in open_parts)])


def _polished(q, whole, low, high, a, p, base, move, loss):
    """The best value with the whole variables as they are, and the continuous ones free."""
    fixed = np.where(whole > 0, q, 0.0)
    free = np.flatnonzero(whole == 0)
    start = base + move @ fixed
    ends = start + move[:, free] @ low[free], start + move[:, free] @ high[free]
    box = np.minimum(*ends), np.maximum(*ends)
    return _largest_in_box(a, p, *box, loss)


def _variables(region):
    """x = base + columns q: a variable per free number (whole on a lattice) and per level, and the groups' rules.

    Of documents without a norm: a variable per word, and their length.
    """
    d = len(region.lower)
    if hasattr(region, "max_length"):
        rules = [(np.ones(d), region.min_length, region.max_length)]
        return np.zeros(d), sp.diags_array(region.idf, format="csr"), np.zeros(d), region.max_count, np.ones(d), rules
    base = region.lower.copy()
    entries, high, whole, rules = [], [], [], []
    grouped = np.zeros(d, dtype=bool)
    for group in region.groups:
        grouped[group.columns] = True
    for j in np.flatnonzero((region.upper > region.lower) & ~grouped):
        step = region.step[j]
        entries.append((j, step if step > 0 else region.upper[j] - region.lower[j]))
        high.append(np.rint((region.upper[j] - region.lower[j]) / step) if step > 0 else 1.0)
        whole.append(1 if step > 0 else 0)
    for group in region.groups:
        base[group.columns] = group.off
        first = len(entries)
        for j, width in zip(group.columns, group.on - group.off, strict=True):
            entries.append((j, width))
            high.append(1.0)
            whole.append(1)
        rules.append((first, len(entries), 1.0 if group.exactly else 0.0))
    n = len(entries)
    columns = sp.csr_matrix(([width for _, width in entries], ([j for j, _ in entries], range(n))), shape=(d, n))
    rows = []
    for first, last, least in rules:
        row = np.zeros(n)
        row[first:last] = 1.0
        rows.append((row, least, 1.0))
    return base, columns, np.zeros(n), np.array(high), np.array(whole), rows


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


def _smooth_on_box(a, p, lower, upper, loss):
    """``max phi(u) - phi(v)`` along the frontier from the least u to the largest v.

    The frontier of ``x -> (u, v)`` over a box is a polyline: start at the least u (where u does not
    care, v chooses) and move one feature after the other, by the ratio of what u pays to what v
    gains. Every edge is scanned, and the best ones are searched.
    """
    w, q, span = a[:-1], p[:-1], upper - lower
    x = np.where(w == 0, np.where(q > 0, upper, lower), np.where(w > 0, lower, upper))
    conflict = (w * q > 0) & (span > 0)
    du, dv = (np.abs(part[conflict]) * span[conflict] for part in (w, q))
    order = np.argsort(du / dv, kind="stable")
    u = a[-1] + float(w @ x) + np.concatenate([[0.0], np.cumsum(du[order])])
    v = p[-1] + float(q @ x) + np.concatenate([[0.0], np.cumsum(dv[order])])
    best = float(np.max(loss.value(u) - loss.value(v)))
    s = np.linspace(0.0, 1.0, 33)
    on_edge = [part[:-1, None] + s * np.diff(part)[:, None] for part in (u, v)]
    scan = loss.value(on_edge[0]) - loss.value(on_edge[1])
    for edge in np.argsort(-np.max(scan, axis=1, initial=-math.inf))[:20]:
        at = int(np.argmax(scan[edge]))

        def fall(t, edge=edge):
            return float(
                loss.value(v[edge] + t * (v[edge + 1] - v[edge])) - loss.value(u[edge] + t * (u[edge + 1] - u[edge]))
            )

        around = (s[max(0, at - 1)], s[min(32, at + 1)])
        peak = minimize_scalar(fall, bounds=around, method="bounded", options={"xatol": 1e-12})
        best = max(best, float(scan[edge, at]), -float(peak.fun))
    return best


def _largest_of_documents(region, a, p, loss):
    """What documents under a norm attain, at one found by rounding, and what their convex set allows.

    As above for u in an interval, with the chord of phi(u); a tangent of -phi(v) of slope r leaves the
    linear function ``slope a + r p``, largest on the simplex (the ball) at its best words. The bound is
    the least over r, and every r proves it.
    """
    usable, ends = region.max_count > 0, []

    def best(pull):
        """The largest ``pull . x`` on the convex set, and where."""
        gain = np.where(usable, pull, -math.inf)
        x = np.zeros(len(pull))
        if np.max(gain) <= 0.0:
            if region.min_length == 0:
                return 0.0, x
            x[np.argmax(gain)] = 1.0
        elif region.norm == "l1":
            x[np.argmax(gain)] = 1.0
        else:
            x = np.maximum(gain, 0.0)
            x = x / np.linalg.norm(x)
        return float(pull @ x), x

    def at_document(x):
        """The loss difference at a document near to x."""
        share = x / region.idf
        counts = np.minimum(np.floor(region.max_length * share / max(share.sum(), 1e-300)), region.max_count)
        row = counts * region.idf
        if not row.any():
            return -math.inf if region.min_length else float(loss.value(a[-1:])[0] - loss.value(p[-1:])[0])
        row = row / (row.sum() if region.norm == "l1" else np.linalg.norm(row))
        u, v = row @ a[:-1] + a[-1], row @ p[:-1] + p[-1]
        return float(loss.value(np.array([u]))[0] - loss.value(np.array([v]))[0])

    for theta in (a, p):
        ends.append((theta[-1] - best(-theta[:-1])[0], theta[-1] + best(theta[:-1])[0]))
    (u_low, u_high), (v_low, v_high) = ends
    attained = max(at_document(best(pull)[1]) for pull in (-a[:-1], p[:-1]))
    kinks = [1.0] if u_low < 1.0 < u_high else []
    knots = np.unique(np.concatenate([np.linspace(u_low, u_high, 65), kinks]))
    proved = -math.inf
    for left, right in pairwise(knots):
        phi_left, phi_right = (float(loss.value(np.array(t))) for t in (left, right))
        slope = (phi_right - phi_left) / (right - left)

        def above(s, slope=slope, left=left, phi_left=phi_left):
            rate = -float(loss.derivative(np.array(s)))
            top, x = best(slope * a[:-1] + rate * p[:-1])
            start = phi_left + slope * (a[-1] - left) - float(loss.value(np.array(s))) + rate * (p[-1] - s)
            return start + top, x

        tries = [*np.linspace(v_low, v_high, 17), 1.0 - 1e-9, 1.0 + 1e-9]
        values = [above(s) for s in tries]
        attained = max([attained, *(at_document(x) for _, x in values)])
        proved = max(proved, min(value for value, _ in values))
    return attained, max(attained, proved)


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
