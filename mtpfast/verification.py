"""An independent check of everything that a result claims.

Nothing here calls the compiled core, the refit or the oracle: the victim is retrained by
scikit-learn, and loss differences are maximised in plain NumPy by another method than the
oracle's where there is one (for the hinge loss on a box, the dual of the linear program).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.optimize import lsq_linear, minimize, minimize_scalar

from .validation import check_sample_weight, check_X

if TYPE_CHECKING:
    from .result import PoisoningResult

__all__ = ["Check", "VerificationError", "VerificationReport", "verify"]

NEVER = 2**63 - 1  # what a certificate says for "no number of points suffices"
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
    """

    solver: str
    theta: np.ndarray
    distance: float
    loss_difference: float
    lower_bound: int
    checks: tuple[Check, ...]

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
        return "\n".join(lines)


def verify(result: PoisoningResult, X, y, sample_weight=None) -> VerificationReport:
    """Check every claim of ``result``; see :meth:`PoisoningResult.verify`."""
    d = result.theta.size - 1
    if result.feature_names is not None and hasattr(X, "columns"):
        names = list(result.feature_names)
        if list(X.columns) != names:
            raise ValueError(f"X has columns {list(X.columns)[:5]}, the attack was on {names[:5]} (in that order)")
    X = check_X(X, n_features=d)
    signs = _signs(y, result.classes, X.shape[0])
    weight = check_sample_weight(sample_weight, X.shape[0])
    total = float(X.shape[0]) if weight is None else float(weight.sum())
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

    # Every point where it may lie.
    n_outside = int(np.sum(counts[~_inside(result.feasible_set, points, point_signs, result.classes)]))
    check("points outside the feasible set", 0, n_outside, 0, n_outside == 0)

    # The model, retrained on the expanded rows.
    added, added_signs = points[result.sequence], point_signs[result.sequence]
    X_all = _stack(X, added)
    y_all = np.concatenate([signs, added_signs])
    weight_all = None if weight is None else np.concatenate([weight, np.ones(len(added_signs))])
    theta, solver = _retrain(objective, X_all, y_all, weight_all)
    k = objective.k(total + result.n_points)
    ours = objective.value(result.theta, X_all, y_all, weight_all)
    reference = objective.value(theta, X_all, y_all, weight_all)
    scale = max(1.0, float(np.linalg.norm(result.theta)))
    free = objective.fit_intercept and not objective.penalize_intercept
    rounding = 1e-9 * max(1.0, abs(ours))
    check("objective (summed)", ours, reference, rounding, ours <= reference + rounding)
    allowance = _AGREE * scale + math.sqrt(2.0 * max(0.0, reference - ours) / k)
    if allowance > 1e-3 * scale and objective.loss.name == "hinge":
        # The reference solver gave up too early to say much: let the dual problem speak instead.
        error = math.sqrt(2.0 * _hinge_gap(objective, X_all, y_all, weight_all, k, result.theta) / k)
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

    def largest(model):
        return max_loss_difference(model, result.theta_target, result.feasible_set, objective.loss, result.classes)

    found, found_reference = largest(result.theta), largest(theta)
    claimed = result.loss_difference
    slack = 1e-7 * max(1.0, abs(found))
    if not math.isnan(claimed):
        check("loss difference", claimed, found, slack, abs(found - claimed) <= slack)

    # What the status says.
    if result.status == "reached" and result.stop == "loss_difference":
        slack += abs(found_reference - found)
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
        proved = _theorem_2(result, X, signs, weight, largest)
    check("lower bound", result.lower_bound, proved, 0, result.lower_bound <= proved)
    if result.status == "unattainable":
        check("unattainable: points needed", NEVER, proved, 0, proved >= NEVER)

    report = VerificationReport(solver, theta, distance, found_reference, int(proved), tuple(checks))
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
    cost = largest(theta) + 0.5 * objective.k_per_point * penalty
    return math.ceil(gain / cost) if gain > 0 and cost > 0 else 0


def _foreign(result):
    """Whether the certificate is about another target, objective or feasible set than the result."""
    certificate, own = result.certificate, result.feasible_set
    space = certificate.feasible_set
    if certificate.objective != result.objective or type(space) is not type(own):
        return True
    if not np.array_equal(certificate.theta_target, result.theta_target):
        return True
    if not hasattr(own, "X"):
        bounds = zip(space.bounds(result.theta.size - 1), own.bounds(result.theta.size - 1), strict=True)
        return not all(np.array_equal(a, b) for a, b in bounds)
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

    total = float(len(y)) if weight is None else float(weight.sum())
    k, loss, d = objective.k(total), objective.loss.name, X.shape[1]
    common = {"C": 1.0 / k, "random_state": 0}
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
    total = float(len(y)) if weight is None else float(weight.sum())
    k, loss = objective.k(total), objective.loss
    c = np.ones(len(y)) if weight is None else weight
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


def max_loss_difference(theta, theta_target, feasible_set, loss, classes) -> float:
    """The maximum over the feasible set of ``phi(y theta . x~) - phi(y theta_target . x~)``.

    Written apart from ``oracle.py`` and in plain NumPy. Exact up to rounding for a pool and for the
    hinge loss on a box; for other losses on a box a scan of the frontier, refined where it peaks.
    """
    best = -math.inf
    if hasattr(feasible_set, "X"):
        X, labels = feasible_set.X, _pool_signs(feasible_set, classes)
        for sign in (-1.0, 1.0):
            allowed = slice(None) if labels is None else labels == sign
            u = sign * (X @ theta[:-1] + theta[-1])[allowed]
            v = sign * (X @ theta_target[:-1] + theta_target[-1])[allowed]
            best = max(best, float(np.max(loss.value(u) - loss.value(v), initial=-math.inf)))
        return best
    lower, upper = feasible_set.bounds(theta.size - 1)
    for sign in (-1.0, 1.0):
        if loss.name == "hinge":
            best = max(best, _hinge_on_box(sign * theta, sign * theta_target, lower, upper))
        else:
            best = max(best, _smooth_on_box(sign * theta, sign * theta_target, lower, upper, loss))
    return best


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


# -- membership -------------------------------------------------------------------------------


def _inside(feasible_set, points, signs, classes):
    """Which distinct points lie in the feasible set, exactly."""
    inside = np.zeros(points.shape[0], dtype=bool)
    if hasattr(feasible_set, "X"):
        pool, labels = feasible_set.X, _pool_signs(feasible_set, classes)
        pool_norms = np.asarray(abs(pool).sum(axis=1)).ravel()
    else:
        lower, upper = feasible_set.bounds(points.shape[1])
    for i in range(points.shape[0]):
        row = points[i].toarray().ravel() if sp.issparse(points) else points[i]
        if not hasattr(feasible_set, "X"):
            inside[i] = np.all((row >= lower) & (row <= upper))
            continue
        norm = np.sum(np.abs(row))
        for j in np.flatnonzero(np.abs(pool_norms - norm) <= 1e-9 * norm):  # equal rows have equal norms
            candidate = pool[[j]].toarray().ravel() if sp.issparse(pool) else pool[j]
            if np.array_equal(candidate, row) and (labels is None or labels[j] == signs[i]):
                inside[i] = True
                break
    return inside


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
