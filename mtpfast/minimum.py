r"""The fewest poisoning points that induce a target exactly, and the proof that fewer cannot.

A poisoning of ``nu_k`` copies of ``(x_k, y_k)`` makes ``theta_p`` optimal if and only if

.. math:: G + \sum_k \nu_k g_k + \sum_{i \text{ on the margin}} t_i \, (-c_i y_i \tilde x_i) = 0, \qquad
          g_k = -s_k y_k \tilde x_k + a R \theta_p, \quad 0 \le t_i \le 1,

``G`` the gradient of the other clean rows, ``s = -phi'``, ``a = alpha`` (0 in the ``C`` convention).
Minimising ``sum nu_k`` is a linear program over measures. With ``h(m) = 1 / s(m)`` convex (1 for the hinge up
to margin 1, ``1 / (2 (1 - m))`` for the squared hinge, ``1 + e^m`` for the logistic loss) the points of one label
merge into their weighted mean at no extra cost (Jensen), so on a box two points suffice and the program has O(d)
variables, whatever the number of clean rows: see :mod:`mtpfast.programs`. Its dual is a direction that
proves the bound: see :mod:`mtpfast.certificate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from .certificate import LARGEST, Certificate, CleanGradient, bound, clean_gradient, whole
from .feasible import CandidatePool, FeatureSpace
from .losses import Objective, make_objective
from .oracle import max_loss_difference
from .programs import HingeProgram, PartialHingeProgram, PoolProgram, Setting, SmoothProgram
from .recover import balance, pair, round_counts, split
from .refit import refit
from .result import PoisoningResult
from .validation import as_theta, check_count, check_labels, check_number, check_sample_weight, check_X

__all__ = ["minimum_poisoning"]

LOSSES = ("hinge", "squared_hinge", "log_loss")
EXACT = 1e-6  # relative l2 distance up to which the target counts as hit
RETRAIN_BYTES = 2**31  # up to this size of X as float64 the victim is retrained on clean plus poison


def minimum_poisoning(
    X,
    y,
    target,
    *,
    loss="hinge",
    alpha: float | None = None,
    C: float | None = None,
    fit_intercept: bool = True,
    penalize_intercept: bool = True,
    feasible_set=None,
    integer: bool = True,
    tol: float = 0.0,
    max_points: int | None = None,
    rescale: bool = False,
    margin_tol: float = 1e-6,
    sample_weight=None,
    retrain: bool | None = None,
) -> PoisoningResult:
    problem = _read(
        X,
        y,
        target,
        make_objective(loss, alpha, C, fit_intercept, penalize_intercept),
        feasible_set,
        sample_weight,
        margin_tol,
        retrain,
    )
    tol = check_number(tol, "tol")
    if max_points is not None:
        max_points = check_count(max_points, "max_points")
    found = _exact(problem, integer)
    return _result(problem, found)


@dataclass(frozen=True)
class Problem:
    """The checked input, and what one pass over the data left behind."""

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    theta: np.ndarray
    objective: Objective
    feasible_set: object
    clean: CleanGradient
    margin_tol: float
    retrain: bool

    @property
    def setting(self) -> Setting:
        lower, upper = self.feasible_set.bounds(len(self.theta) - 1)
        return Setting(self.clean, self.theta, self.objective, lower, upper)

    def prove(self, direction, kind="direction") -> Certificate:
        """The certificate of a direction for the exact target."""
        value, rounding = bound(self.clean, direction, self.theta, self.objective, self.feasible_set)
        return Certificate(
            kind,
            self.theta,
            self.objective,
            self.feasible_set,
            direction=direction,
            value=value,
            margin_tol=self.margin_tol,
            rounding=rounding,
        )


@dataclass
class Found:
    """What the search came up with: distinct points, their labels and counts, and what is proved."""

    points: list = field(default_factory=list)
    labels: list = field(default_factory=list)
    counts: list = field(default_factory=list)
    certificate: Certificate | None = None
    value: float | None = None  # the fractional minimum; None if there is none
    message: str = ""
    exact: bool = False  # the stationarity condition holds to rounding

    @property
    def n_points(self) -> int:
        return int(sum(self.counts))


def _read(X, y, target, objective, feasible_set, sample_weight, margin_tol, retrain) -> Problem:
    """Check the input and pass over the data once."""
    if objective.loss.name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))}, got {objective.loss.name!r}")
    X = _rows(X)
    n, d = X.shape
    y = np.asarray(y) if np.size(y) > 10**6 else check_labels(y, n)
    if y.shape != (n,):
        raise ValueError(f"y has {y.shape} labels, X has {n} rows")
    sample_weight = check_sample_weight(sample_weight, n)
    theta = as_theta(target, d)
    if not objective.fit_intercept and theta[-1] != 0.0:
        raise ValueError(f"target has intercept {theta[-1]:g}, expected 0 with fit_intercept=False")
    margin_tol = check_number(margin_tol, "margin_tol")
    if feasible_set is not None:
        if isinstance(feasible_set, FeatureSpace):
            feasible_set.bounds(d)
        elif isinstance(feasible_set, CandidatePool):
            feasible_set.check(d)
        else:
            raise TypeError(
                f"feasible_set must be a FeatureSpace, a CandidatePool or None, got {type(feasible_set).__name__}"
            )
    clean = clean_gradient(X, y, theta, objective, sample_weight, margin_tol=margin_tol)
    if feasible_set is None:
        feasible_set = FeatureSpace(clean.lower, clean.upper)
    if retrain is None:
        retrain = not isinstance(X, np.memmap) and (sp.issparse(X) or 8 * n * d <= RETRAIN_BYTES)
    return Problem(X, y, sample_weight, theta, objective, feasible_set, clean, margin_tol, retrain)


def _rows(X):
    """X as something :func:`clean_gradient` reads block by block: never copied if it is an array of numbers."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub" and X.shape[0] > 0 and X.shape[1] > 0:
        return X
    return check_X(X)


# -- the exact minimum ------------------------------------------------------------------------


def _exact(problem: Problem, integer=True) -> Found:
    """The fewest points for the target itself."""
    if isinstance(problem.feasible_set, CandidatePool):
        return _exact_pool(problem, integer)
    hinge = problem.objective.loss.name == "hinge"
    program = (HingeProgram if hinge else SmoothProgram)(problem.setting)
    value, v, x = program.solve()
    if value is None:
        return _unattainable(problem, program.farkas())
    found = Found(certificate=problem.prove(v), value=value)
    if value <= 1e-9 * max(1.0, problem.clean.weight):
        found.exact, found.message = True, "the clean data alone induce the target"
        return found
    if not integer:
        _fractional(problem, program, found, x)
    elif hinge:
        _whole_hinge(problem, program, found, x)
    else:
        _whole_smooth(problem, program, found, x)
    return found


def _unattainable(problem, directions) -> Found:
    """The proof that no number of points suffices, or the largest number that is proved not to."""
    best = None
    for v in directions:
        top = float(np.max(np.abs(v)))
        for candidate in (v, np.where(np.abs(v) > 1e-9 * top, v, 0.0)):
            if not np.any(candidate):
                continue
            certificate = problem.prove(candidate)
            if best is None or certificate.value > best.value:
                best = certificate
        if best is not None and math.isinf(best.value):
            best = replace(best, kind="farkas")
            return Found(certificate=best, message="no poisoning in the feasible set induces the target")
    message = "the target appears not to be attainable"
    if best is not None:
        message += f"; proved is only that {best.value:.6g} points do not suffice"
    return Found(certificate=best, message=message)


def _zero_loss_point(setting: Setting):
    """The point of the largest margin in the box, and its label."""
    sign = 1.0 if setting.margin_range(1.0)[1] >= setting.margin_range(-1.0)[1] else -1.0
    return np.where(sign * setting.theta[:-1] > 0, setting.upper, setting.lower), sign


def _store(found: Found, setting: Setting, groups, n_zero=0):
    """Put (point, label, count) groups into ``found``; ``n_zero`` points of zero loss besides."""
    if n_zero:
        groups = [*groups, (*_zero_loss_point(setting), n_zero)]
    groups = [g for g in groups if g[2] > 0]
    found.points, found.labels, found.counts = (list(column) for column in zip(*groups, strict=True))


def _whole_hinge(problem, program, found, x_fractional):
    """The true integer minimum on a box."""
    setting = problem.setting
    least = found.certificate.n_poison
    partial = None
    counts = total = None
    for limit in (least + 2, 2 * least + 20):
        counts = program.whole(limit)
        total = None if counts is None else int(counts.sum())
        while total is None or total > least:
            # Only points on the margin, which take any weight in [0, 1], could save one more.
            partial = partial or PartialHingeProgram(program)
            x = partial.whole(limit if total is None else total - 1)
            if x is None:
                break
            groups, total = _partial_groups(setting, program.d, x)
            _store(found, setting, groups)
            counts = None
        if total is not None:
            break
    if total is None:
        _fractional(problem, program, found, x_fractional)
        found.message = "no whole counts were found that hit the target; " + found.message
        return
    found.exact = True
    found.message = f"{total} points, the least whole number for the exact target"
    if counts is None:
        return
    place = program.place(counts)
    t = place[2] if place is not None else None
    both = None
    if t is not None:
        r = program.remainder(t) + total * setting.pull
        both = pair(setting, r, float(counts[0]), float(counts[1]))
        if both is None:
            both = [z / max(n, 1) for z, n in zip(place[:2], counts, strict=False)]
            both = [np.clip(x, setting.lower, setting.upper) for x in both]
    if both is None:
        found.exact, found.message = False, f"{total} whole points were found, but not placed"
        both = (setting.lower, setting.lower)
    _store(found, setting, [(both[0], 1.0, int(counts[0])), (both[1], -1.0, int(counts[1]))], int(counts[2]))


def _partial_groups(setting, d, x):
    """Groups of a solution with points on the margin, and their number."""
    E = x[4 * d : 4 * d + 4]
    n = np.round(x[4 * d + np.array([0, 1, 4, 5, 6])]).astype(int)
    groups = []
    for g, (sign, count) in enumerate(zip((1.0, -1.0, 1.0, -1.0), n[:4], strict=True)):
        weight = E[g] if g > 1 else count
        if count and weight > 1e-9:
            point = setting.lower + x[g * d : (g + 1) * d] / weight
            groups.append((np.clip(point, setting.lower, setting.upper), sign, int(count)))
        elif count:
            groups.append((*_zero_loss_point(setting), int(count)))
    if n[4]:
        groups.append((*_zero_loss_point(setting), int(n[4])))
    return groups, int(n.sum())


def _fractional(problem, program, found, x):
    """The points of the fractional solution, with their weights rounded to the nearest whole numbers."""
    setting = problem.setting
    hinge = problem.objective.loss.name == "hinge"
    weights = np.array([x[0], x[1], x[2]] if hinge else [x[2], x[3], x[4]])
    if hinge:
        place = program.place(weights)
        both = [z / max(n, 1e-12) for z, n in zip(place[:2], weights, strict=False)]
    else:
        both = pair(setting, program.remainder(weights.sum()), x[0], x[1], x[5], slack=1e-6)
    counts = round_counts(weights, round(weights.sum()))
    points = [np.clip(p, setting.lower, setting.upper) for p in both]
    _store(found, setting, [(points[0], 1.0, int(counts[0])), (points[1], -1.0, int(counts[1]))], int(counts[2]))
    found.message = (
        f"fractional minimum {found.value:.6f} (weights {weights[0]:.6g} of label +1, {weights[1]:.6g} of label -1, "
        f"{weights[2]:.6g} of zero loss); the points carry the weights rounded"
    )


def _whole_smooth(problem, program, found, x):
    """Whole counts for a smooth loss: at the rounded-up minimum where that can be had, else a point or two more."""
    setting = problem.setting
    share = x[2] / max(x[2] + x[3], 1e-300)
    least = max(1, math.ceil(found.value - 1e-7 * max(1.0, found.value)))
    for total in range(least, least + 4):
        groups = _hit(program, setting, total, share, x[4] / found.value)
        if groups is not None:
            _store(found, setting, groups)
            found.exact = True
            found.message = f"{total} points for the exact target"
            if total > found.certificate.n_poison:
                found.message += f"; {found.certificate.n_poison} are proved necessary"
            return
    _fractional(problem, program, found, x)
    found.message = "no whole counts were found that hit the target; " + found.message


def _hit(program, setting, total, share, idle):
    """Groups of ``total`` points that satisfy the stationarity condition, or None."""
    r = program.remainder(total)
    n_zero = round(idle * total)
    for zeros in dict.fromkeys((n_zero, math.floor(idle * total), math.ceil(idle * total))):
        active = total - zeros
        guess = share * active
        splits = sorted(range(active + 1), key=lambda n: abs(n - guess))[: 400 if active < 10_000 else 100]
        extra = [(*_zero_loss_point(setting), zeros)] if zeros else []
        for n_plus in splits:
            n_minus = active - n_plus
            if n_plus == 0 or n_minus == 0:
                continue
            for E, F in balance(setting, r, n_plus, n_minus):
                M = E * program.margin_of(n_plus, E)
                both = pair(setting, r, E, F, M)
                if both is not None:
                    return [(both[0], 1.0, n_plus), (both[1], -1.0, n_minus), *extra]
        for n_plus in splits[:12]:
            groups = _spread(program, setting, n_plus, active - n_plus, zeros)
            if groups is not None:
                return groups + extra
    return None


def _spread(program, setting, n_plus, n_minus, zeros):
    """As :func:`_hit` for one split, with up to two margins per label."""
    value, _, x = program.solve(fixed=(n_plus, n_minus, zeros))
    if value is None:
        return None
    r = program.remainder(n_plus + n_minus + zeros)
    both = pair(setting, r, x[0], x[1], x[5], slack=1e-8)
    if both is None:
        return None
    groups = []
    for point, sign, E, n in zip(both, (1.0, -1.0), x[:2], (n_plus, n_minus), strict=True):
        if n == 0:
            continue
        part = split(setting, sign, point, float(E), n)
        if part is None:
            return None
        groups += part
    return groups


def _exact_pool(problem: Problem, integer=True) -> Found:
    """A finite pool: the fractional minimum, and whole counts near it."""
    pool = problem.feasible_set
    program = PoolProgram(problem.clean, problem.theta, problem.objective, pool)
    value, v, chosen, weights = program.solve()
    if value is None:
        return _unattainable(problem, [v])
    found = Found(certificate=problem.prove(v), value=value)
    if value <= 1e-9 * max(1.0, problem.clean.weight):
        found.exact, found.message = True, "the clean data alone induce the target"
        return found
    used = weights > 1e-9 * value
    chosen, weights = chosen[used], weights[used]
    total = max(1, math.ceil(value - 1e-7 * value)) if integer else round(value)
    counts = round_counts(weights, total)
    kept = counts > 0
    rows = program.index[chosen[kept]]
    found.points = [pool.X[i] for i in rows] if sp.issparse(pool.X) else list(pool.X[rows])
    found.labels, found.counts = program.label[chosen[kept]].tolist(), counts[kept].tolist()
    found.message = f"the {int(counts.sum())} points carry the weights of the fractional minimum {value:.6f}, rounded"
    return found


# -- the result -------------------------------------------------------------------------------


def _matrix(problem, points):
    """Distinct points as one matrix of the kind of the pool (or dense)."""
    d = len(problem.theta) - 1
    if points and sp.issparse(points[0]):
        return sp.vstack(points, format="csr")
    return np.array(points, dtype=float).reshape(len(points), d)


def _train(problem, points, labels, counts):
    """The model that clean plus poison induces, or None if the data are too large to be held as float64."""
    if not problem.retrain:
        return None
    X = problem.X if sp.issparse(problem.X) else np.ascontiguousarray(problem.X, dtype=float)
    y = np.asarray(problem.y, dtype=float)
    if len(labels):
        extra = _matrix(problem, points)
        if sp.issparse(X):
            X = sp.vstack([X, sp.csr_matrix(extra)], format="csr")
        else:
            X = np.vstack([X, extra.toarray() if sp.issparse(extra) else extra])
        y = np.concatenate([y, labels])
    weight = np.ones(problem.X.shape[0]) if problem.sample_weight is None else problem.sample_weight
    weight = np.concatenate([weight, np.asarray(counts, dtype=float)])
    tol = 1e-9
    return refit(X, y, problem.objective, sample_weight=weight, theta0=problem.theta, tol=tol)


def _result(problem: Problem, found: Found) -> PoisoningResult:
    """Retrain, measure, and say what happened."""
    theta_p, objective = problem.theta, problem.objective
    certificate = found.certificate
    farkas = certificate is not None and certificate.kind == "farkas"
    fit = _train(problem, found.points, found.labels, found.counts)
    message = found.message
    if fit is not None:
        theta, gap = fit.theta, fit.gap
    elif found.exact:
        theta, gap = theta_p.copy(), math.nan
        message += "; not retrained: the stationarity condition holds to rounding"
    else:
        theta, gap = np.full_like(theta_p, math.nan), math.nan
        message += "; not retrained"
    distance = float(np.linalg.norm(theta - theta_p))
    if np.all(np.isfinite(theta)):
        difference = max_loss_difference(theta, theta_p, problem.feasible_set, objective.loss).value
    else:
        difference = math.nan
    near = EXACT * max(1.0, float(np.linalg.norm(theta_p)))
    if farkas:
        status = "unattainable"
    elif distance <= near:
        status = "reached"
    else:
        status = "stalled"
        message += f"; the nearest model reached is at distance {distance:.3g}"
    lower = 0 if certificate is None else certificate.n_poison
    counts = np.asarray(found.counts, dtype=int)
    history = {
        "n_points": np.array([found.n_points]),
        "loss_difference": np.array([difference]),
        "distance": np.array([distance]),
        "lower_bound": np.array([math.nan if certificate is None else certificate.value]),
        "gap": np.array([gap]),
    }
    return PoisoningResult(
        points=_matrix(problem, found.points),
        labels=np.asarray(found.labels, dtype=float),
        sequence=np.repeat(np.arange(len(counts)), counts),
        theta=theta,
        theta_target=theta_p,
        objective=objective,
        status=status,
        lower_bound=lower,
        loss_difference=difference,
        tol=0.0,
        stop="exact",
        history=history,
        feasible_set=problem.feasible_set,
        classes=np.array([-1.0, 1.0]),
        n_clean=problem.X.shape[0],
        clean_weight=problem.clean.weight,
        certificate=certificate,
        message=message,
    )
