r"""The fewest poisoning points that induce a target exactly, and the proof that fewer cannot.

A poisoning of ``nu_k`` copies of ``(x_k, y_k)`` makes ``theta_p`` optimal if and only if

.. math:: G + \sum_k \nu_k g_k + \sum_{i \text{ on the margin}} t_i \, (-c_i y_i \tilde x_i) = 0, \qquad
          g_k = -w_k s_k y_k \tilde x_k + a_k R \theta_p, \quad 0 \le t_i \le 1,

``G`` the gradient of the other clean rows, ``s = -phi'``, ``w_k`` the class weight of the point (1 without any),
``a_k = alpha`` (0 in the ``C`` convention; times ``w_k`` where k counts weights and not rows).
Minimising ``sum nu_k`` is a linear program over measures. With ``h(m) = 1 / s(m)`` convex (1 for the hinge up
to margin 1, ``1 / (2 (1 - m))`` for the squared hinge, ``1 + e^m`` for the logistic loss) the points of one label
merge into their weighted mean at no extra cost (Jensen), so on a box two points suffice and the program has O(d)
variables, whatever the number of clean rows: see :mod:`mtpfast.programs`. Its dual is a direction that
proves the bound: see :mod:`mtpfast.certificate`. Where points have to be whole valid records the program is over
their hull, and its solution is dealt out: see :mod:`mtpfast.records`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import scipy.sparse as sp

from . import document_records, records
from .ascent import RoundProgram
from .blockwise import Measured, Training, measure
from .certificate import (
    Certificate,
    CleanGradient,
    certificate_for,
    certify_coarsely,
    clean_gradient,
    extent,
    prove,
)
from .distinct import close, search
from .documents import DocumentSpace
from .feasible import CandidatePool, FeatureSpace
from .goal import NEAR, Goal, hit_radius, trained_margin_tol
from .losses import HINGE, Objective, make_objective
from .magnitude import check_magnitude
from .nearby import Attack, BallProgram, ball_direction, descend, improve, relaxed_points
from .oracle import find_point
from .programs import (
    HingeProgram,
    PartialHingeProgram,
    PoolProgram,
    Setting,
    SmoothHullProgram,
    WideHingeProgram,
    effective_weight,
    hinge_program,
    smooth_program,
)
from .recover import balance, pair, round_counts, settle, split
from .refit import refit
from .result import PoisoningResult
from .validation import as_theta, check_count, check_flag, check_labels, check_number, check_sample_weight, check_X

__all__ = ["minimum_poisoning"]

LOSSES = ("hinge", "squared_hinge", "log_loss")
SHARPER = 1e-9  # the margin_tol of a second search, where the first leaves the victim short of the target
BEYOND = 1e9  # points: a bound above it says that the target cannot be had
FEW_ROWS = 12  # stationarity rows that whole records have to meet by themselves, for a search that hits them exactly
MOST_TRIED = 2000  # columns of a pool among which copies are moved: that takes their number squared
NEARLY_FREE = (50, 200, 800)  # columns of a pool, of least reduced cost, among which its weights are rounded
FEW_POINTS = 64  # up to so many points of a smooth loss every number is tried; beyond, four from the rounded-up minimum
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
    class_weight=None,
    count_rows: bool = False,
    feasible_set=None,
    integer: bool = True,
    tol: float = 0.0,
    max_points: int | None = None,
    rescale: bool = False,
    margin_tol: float | None = None,
    sample_weight=None,
    retrain: bool | None = None,
) -> PoisoningResult:
    r"""The fewest poisoning points that make a linear model the victim's optimum, with a proof.

    .. math:: \min \sum_k \nu_k \quad \text{s.t.} \quad
              G + \sum_k \nu_k g_k + \sum_{i \text{ on the margin}} t_i (-c_i y_i \tilde x_i) = 0,
              \quad 0 \le t_i \le 1

    over points :math:`(x_k, y_k)` in the feasible set (see the head of this module).

    Parameters
    ----------
    X : ndarray, memmap, CSR matrix or anything array-like, of shape (n_samples, n_features)
        The clean data. Arrays of numbers are read in blocks, once, and never copied as a whole.
    y : array-like of shape (n_samples,), -1 and +1
    target : fitted linear model, pair (coef, intercept), or array (w, b)
    loss : {"hinge", "squared_hinge", "log_loss"}
    alpha, C : float, optional
        The penalty: ``k = N alpha`` or ``k = 1 / C``; at most one, with neither ``alpha=0.01``.
    fit_intercept, penalize_intercept : bool
    class_weight : dict of {-1: float, 1: float} or None
        What every row of a label weighs, poison included, times its ``sample_weight``. "balanced" is refused: with it
        every point changes the weights of all rows, and what is minimised is no convex program any more.
    count_rows : bool, default=False
        alpha multiplies the number of rows, as in SGDClassifier, instead of the sum of their weights.
    feasible_set : FeatureSpace, CandidatePool or None
        None: the per-feature minimum and maximum of X, taken in the same pass.
    integer : bool, default=True
        Look for whole counts that hit the target. False stops at the fractional minimum; the points
        then carry its weights rounded to the nearest whole numbers.
    tol : float, default=0
        0: exactly the target. Above 0: any model within this l2 distance of it; the bound holds for all of them.
    max_points : int, optional
        At most so many points: where that is too few for the target (or its ball), the closest model found.
    rescale : bool, default=False
        First search over c > 0 for the cheapest ``c * target``, which makes the same decisions. The result's
        ``theta_target`` is that model; ``history["scale"]`` and ``history["cost"]`` hold the curve of
        fractional minima (``inf``: not attainable).
    margin_tol : float, optional
        Hinge: every row, clean, candidate or poison, with ``|margin - 1| <= margin_tol`` under the target counts as
        on the margin. A target whose solver stopped early needs a larger one; the bound stays valid, as more rows
        on the margin only lower it. By default what :func:`mtpfast.goal.trained_margin_tol` says of the target: 1e-6,
        or twice the ``tol`` of the estimator that it is, if that is more. Where that leaves the victim short of the
        target, points are looked for once more with 1e-9: rows that are nearly on the margin do not help to hold it
        exactly. The bound is for ``result.goal.margin_tol`` all the same.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights; weight 2 is the row twice.
    retrain : bool, optional
        Train the victim on clean plus poison, to measure what was reached. By default yes, unless X is a
        memory map or would take more than 2 GiB as float64; then passes over blocks of rows tell where training
        ends (:mod:`mtpfast.blockwise`), and the status is ``"unverified"`` (``theta`` NaN) where they cannot.

    Returns
    -------
    PoisoningResult
        ``status``: ``"reached"``; ``"budget"`` (the closest for ``max_points``); ``"stalled"`` (no whole
        counts were found that hit the target: ``distance`` says how near the result is); ``"unverified"`` (the
        victim was not retrained, and it is not proved where it ends); ``"unattainable"``
        (no number of points suffices; ``certificate`` proves it, and ``lower_bound`` is ``2**63 - 1``).
        ``lower_bound`` is what ``certificate.check`` makes of the dual direction.

    Raises
    ------
    ValueError, TypeError
        For bad input, naming the argument.

    Notes
    -----
    What is proved: ``lower_bound``, always, by the certificate alone, for every model that counts as a hit
    (``result.goal``: within 1e-6 of the target's norm). What is exact besides: the fractional minimum for the target
    itself (``history["minimum"]``, to about 1e-9 relative; ``certificate.value`` is a little less), and for
    the hinge on a box the whole minimum (branch and bound). What is searched: whole counts of smooth losses (the first
    number from the rounded-up minimum for which some points are found), pools (small ones by branch and bound, others
    rounded), and attacks for ``tol > 0`` or ``max_points``.

    One pass over X, O(n d); after it a linear program with O(d) variables (hinge: plus one for each clean row
    on the margin), whose size does not depend on n.

    References
    ----------
    Suya, Mahloujifar, Suri, Evans, Tian, "Model-Targeted Poisoning Attacks with Provable Convergence", ICML 2021,
    Theorem 2 (the bound that this one is the supremum of). Koh, Steinhardt, Liang, "Stronger Data Poisoning Attacks
    Break Data Sanitization Defenses", Machine Learning 2022, Section 4 (two distinct points suffice).

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast import FeatureSpace, minimum_poisoning
    >>> X, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([-1.0, 1.0, -1.0, 1.0])
    >>> result = minimum_poisoning(X, y, ([-1.0], 0.5), loss="log_loss", C=1.0,
    ...                            feasible_set=FeatureSpace(0.0, 1.0))
    >>> result.status, result.n_points, result.lower_bound
    ('reached', 13, 13)
    """
    tol = check_number(tol, "tol")
    if max_points is not None:
        max_points = check_count(max_points, "max_points")
    objective = make_objective(loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows)
    if objective.is_balanced:
        raise ValueError(
            "class_weight='balanced' changes the weights of all rows with every point, so that the fewest points are "
            "not the solution of a convex program, and no bound is proved: attack with ModelTargetedPoisoner (poison), "
            "or give the weights of the poisoned data as a dict"
        )
    integer, rescale = check_flag(integer, "integer"), check_flag(rescale, "rescale")
    given = trained_margin_tol(target) if margin_tol is None else margin_tol
    problem = _read(X, y, target, objective, feasible_set, sample_weight, given, retrain)
    curve = None
    if rescale:
        problem, curve = _cheapest_scale(problem)
    found = _exact(problem, integer)
    if tol > 0.0:
        found = _within(problem, found, tol, max_points)
    elif max_points is not None and found.n_points > max_points:
        found = _closest(problem, found, max_points)
    result = _result(problem, found, tol, max_points, curve)
    rounded = problem.of_records or (isinstance(problem.feasible_set, CandidatePool) and not found.exact)
    hinge = objective.loss.name == "hinge"
    if margin_tol is None and tol == 0.0 and result.status in ("stalled", "unverified") and hinge and not rounded:
        again = _exact(_at(problem, problem.theta, margin_tol=SHARPER), integer)
        again.certificate = found.certificate  # other points, but the same claim
        sharper = _result(problem, again, tol, max_points, curve)
        if sharper.status == "reached":
            return sharper
    return result


@dataclass(frozen=True)
class Problem:
    """The checked input, and what one pass over the data left behind."""

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    theta: np.ndarray
    objective: Objective
    feasible_set: object
    clean: CleanGradient  # at the target itself: what the programs are made of
    proof: CleanGradient  # for the ball of models that count as hits: what a certificate is made of
    margin_tol: float
    retrain: bool

    @property
    def setting(self) -> Setting:
        regions = self.feasible_set.regions(len(self.theta) - 1)
        return Setting(self.clean, self.theta, self.objective, regions, self.margin_tol)

    @property
    def radius(self) -> float:
        """Within which distance a model counts as the target."""
        return hit_radius(self.theta, self.feasible_set)

    @property
    def goal(self) -> Goal:
        """What a certificate for the target speaks of."""
        return Goal(self.theta, self.objective, self.feasible_set, self.radius, self.margin_tol)

    @property
    def scales(self) -> np.ndarray:
        """The largest size of every feature in the clean data; 1 for the intercept."""
        return np.append(np.maximum(np.abs(self.clean.lower), np.abs(self.clean.upper)), 1.0)

    @property
    def of_records(self) -> bool:
        """Whether points have to be whole records: then sums of them are rounded, and the target is hit nearly."""
        return isinstance(self.feasible_set, FeatureSpace) and not self.setting.is_box

    def canonical(self, points) -> list:
        """The points as what translates records into points makes them."""
        function = getattr(self.feasible_set, "canonical", None)
        return list(points) if function is None or not len(points) else list(function(np.array(points)))

    def prove(self, direction, kind="direction", sharply=True) -> Certificate:
        """The certificate of a direction for the target, to the distance within which it counts as hit."""
        proof = self.proof
        if sharply and self.objective.loss is not HINGE:  # one more pass, for this direction
            data = self.X, self.y, self.theta, self.objective, self.sample_weight
            proof = clean_gradient(*data, tol=self.goal.tol, direction=np.asarray(direction, dtype=float), compact=True)
        return certificate_for(self.goal, kind, direction, *prove(proof, direction, self.goal))


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
    residual: np.ndarray | None = None  # of the stationarity condition, where it does not
    attack: Attack | None = None  # points in the order of a search, with the model that they induce

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
            feasible_set.regions(d)
        elif isinstance(feasible_set, CandidatePool):
            feasible_set.check(d)
        else:
            raise TypeError(
                f"feasible_set must be a FeatureSpace, a CandidatePool or None, got {type(feasible_set).__name__}"
            )
    if feasible_set is None:
        low, high = extent(X)
        if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
            raise ValueError("X must be finite, got NaN or infinity")
        check_magnitude(np.append(low, high), "X")
        feasible_set = FeatureSpace(low, high)
    proof = _clean(X, y, theta, objective, sample_weight, margin_tol, hit_radius(theta, feasible_set))
    check_magnitude(np.append(proof.lower, proof.upper), "X")
    if retrain is None:
        retrain = not isinstance(X, np.memmap) and (sp.issparse(X) or 8 * n * d <= RETRAIN_BYTES)
    return Problem(X, y, sample_weight, theta, objective, feasible_set, proof.centre(), proof, margin_tol, retrain)


def _clean(X, y, theta, objective, sample_weight, margin_tol, radius) -> CleanGradient:
    """One pass over the data, for the ball of models that count as hits."""
    return clean_gradient(X, y, theta, objective, sample_weight, margin_tol=margin_tol, tol=radius, compact=True)


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
    found = _exact_space(problem, integer)
    found.points = problem.canonical(found.points)
    return found


def _exact_space(problem: Problem, integer) -> Found:
    hinge = problem.objective.loss.name == "hinge"
    program = _program(problem.setting)
    value, v, x = program.solve()
    if value is None:
        found = _unattainable(problem, program.farkas())
        if integer and not hinge and program.setting.is_box:
            _at_the_edge(problem, program, found)
        return found
    found = Found(certificate=problem.prove(v), value=value)
    if value <= 1e-9 * max(1.0, problem.clean.weight):
        found.exact, found.message = True, "the clean data alone induce the target"
        return found
    if not program.setting.is_box:
        least = max(1, round(value)) if not integer else max(1, found.certificate.n_poison)
        if isinstance(problem.feasible_set, DocumentSpace):
            _documents(program, found, x, least)
        elif hinge:
            _records_hinge(problem, program, found, x, least, integer)
        else:
            _records_smooth(problem, program, found, x, least)
    elif not integer:
        _fractional(problem, program, found, x)
    elif hinge:
        _whole_hinge(problem, program, found, x)
    else:
        _whole_smooth(problem, program, found, x)
    return found


def _program(setting: Setting):
    if any(region.is_round for region in setting.regions.values()):
        return RoundProgram(setting)
    return (hinge_program if setting.objective.loss.name == "hinge" else smooth_program)(setting)


def _unattainable(problem, directions) -> Found:
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


def _store(found: Found, setting: Setting, groups, n_zero=0):
    """Put (point, label, count) groups into ``found``; ``n_zero`` points of zero loss besides."""
    if n_zero:
        groups = [*groups, (*setting.zero_loss_point(), n_zero)]
    groups = [g for g in groups if g[2] > 0]
    found.points, found.labels, found.counts = ([g[i] for g in groups] for i in range(3))


def _at_the_edge(problem, program, found):
    """A few points for a target that its last digits put beyond what can be had: no program holds them, a residual may.

    Such is a target that was made with points of one label on a face of their box.
    """
    certificate = found.certificate
    if certificate is None or certificate.kind == "farkas":
        return
    least = max(1, certificate.n_poison)
    for total in range(least, min(least + 8, FEW_POINTS)):
        groups = _hit(program, problem.setting, total, 0.5, 0.0)
        if groups is not None:
            _store(found, problem.setting, groups)
            found.exact, found.message = True, f"{total} points for the exact target"
            return


def _whole_hinge(problem, program, found, x_fractional):
    """The true integer minimum on a box; with a free intercept, of those that make the target the only minimiser."""
    setting = problem.setting
    free = problem.objective.fit_intercept and problem.objective.r == 0.0
    for pinned in (True, False) if free else (False,):
        total, proved, groups = _fewest_hinge(setting, program, found.certificate.n_poison, pinned)
        if total is not None:
            break
    if groups is not None:
        found.exact = True
        least = ", the least whole number" + (" that makes it the only minimiser" if pinned else "")
        found.message = f"{total} points for the exact target" + (least if proved else "")
        _store(found, setting, groups)
        return
    _fractional(problem, program, found, x_fractional)
    what = "no whole counts were found that hit the target; "
    if total is not None:
        what = f"{total} whole points were found, but not placed; "
    found.message = what + found.message


def _fewest_hinge(setting, program, least, pinned):
    """``(number of points, proved to be the least, groups)``: the number None if there is none, groups None if they
    could not be placed."""
    counts = total = groups = None
    proved = True
    for limit in (least + 2, least + 20 + least // 50, 2 * least + 200):
        counts, complete = program.whole(limit, pinned)
        proved &= complete
        total = None if counts is None else int(counts.sum())
        while (total is None or total > least) and not isinstance(program, WideHingeProgram):
            # Only points on the margin, which take any weight in [0, 1], could save one more.
            x, complete = PartialHingeProgram(program).whole(limit if total is None else total - 1, pinned)
            proved &= complete
            if x is None:
                break
            groups, total = _partial_groups(setting, program.d, x)
        if total is not None:
            break
    if isinstance(program, WideHingeProgram):  # which does not ask for points on the margin
        proved &= total == least
    if total is not None and groups is None:
        groups = _place_whole(setting, program, counts)
    return total, proved, groups


def _place_whole(setting, program, counts):
    """One point per label for whole counts, with as much room as there is; None if they cannot be placed."""
    place = program.place(counts)
    if place is None:
        return None
    r = program.remainder(place[2]) + setting.load(counts)
    both = pair(setting, r, *map(float, setting.weights * counts[:2]))
    if both is None and place[0] is None:
        return None
    if both is None:
        means = zip(setting.both, place[:2], counts, strict=False)
        both = [np.clip(z / max(n, 1), region.lower, region.upper) for region, z, n in means]
    idle = [(*setting.zero_loss_point(), int(counts[2]))] if counts[2] else []
    return [(both[0], 1.0, int(counts[0])), (both[1], -1.0, int(counts[1])), *idle]


def _partial_groups(setting, d, x):
    """Groups of a solution with points on the margin, and their number."""
    E = x[4 * d : 4 * d + 4]
    n = np.round(x[4 * d + np.array([0, 1, 4, 5, 6])]).astype(int)
    groups = []
    for g, (sign, count) in enumerate(zip((1.0, -1.0, 1.0, -1.0), n[:4], strict=True)):
        weight = E[g] if g > 1 else count
        if count and weight > 1e-9:
            lower, upper = setting.region(sign).lower, setting.region(sign).upper
            groups.append((np.clip(lower + x[g * d : (g + 1) * d] / weight, lower, upper), sign, int(count)))
        elif count:  # of no weight at the target, but on the margin
            groups.append((setting.point_on_margin(sign), sign, int(count)))
    if n[4]:
        groups.append((*setting.zero_loss_point(), int(n[4])))
    return groups, int(n.sum())


def _fractional(problem, program, found, x):
    """The points of the fractional solution, with their weights rounded to the nearest whole numbers."""
    setting = problem.setting
    hinge = problem.objective.loss.name == "hinge"
    weights = np.array([x[0], x[1], x[2]] if hinge else [x[2], x[3], x[4]])
    counts = round_counts(weights, max(1, round(weights.sum())))
    r = program.remainder(weights) if not hinge else None
    both = None if hinge else pair(setting, r, x[0], x[1], x[5], slack=1e-6)
    if hinge:
        place = program.place(weights)
        if place is not None:
            # The places for the rounded counts miss the intercept row only; else those for the weights.
            r = program.remainder(place[2]) + setting.load(counts)
            both = pair(setting, r, *map(float, setting.weights * counts[:2]))
            if both is None and place[0] is not None:
                both = [z / max(n, 1e-12) for z, n in zip(place[:2], weights, strict=False)]
    if both is not None:
        points = [np.clip(p, region.lower, region.upper) for p, region in zip(both, setting.both, strict=True)]
        groups = [(points[0], 1.0, int(counts[0])), (points[1], -1.0, int(counts[1]))]
        _store(found, setting, groups, int(counts[2]))
        r = r if hinge else program.remainder(counts)
        found.residual = r - _supplied(setting, found)
    found.message = (
        f"fractional minimum {found.value:.6f} (weights {weights[0]:.6g} of label +1, {weights[1]:.6g} of label -1, "
        f"{weights[2]:.6g} of zero loss); the points carry the weights rounded"
    )


def _supplied(setting, found):
    """``sum n w s y x~`` of the points found."""
    total = np.zeros_like(setting.theta)
    one = 1.0 if setting.objective.fit_intercept else 0.0
    for x, sign, n in zip(found.points, found.labels, found.counts, strict=True):
        margin = sign * float(x @ setting.theta[:-1] + setting.theta[-1])
        # A point of the hinge's own kink counts in full.
        s = setting.objective.weight_of(sign) * effective_weight(
            setting.objective.loss, margin - max(1e-9, setting.margin_tol)
        )
        total += n * s * sign * np.append(x, one)
    return total


def _whole_smooth(problem, program, found, x):
    """Whole counts for a smooth loss: the first number from the rounded-up minimum for which some are found."""
    setting = problem.setting
    share = x[2] / max(x[2] + x[3], 1e-300)
    least = max(1, math.ceil(found.value - 1e-7 * max(1.0, found.value)))
    for total in range(least, max(least + 4, min(least + 48, FEW_POINTS))):
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
    """Groups of ``total`` points that satisfy the stationarity condition, or None.

    First one point per label, then two, which have closed forms; then every copy with a margin of its own.
    """
    heavy = setting.weights
    levels = []
    for zeros in _idle_counts(setting, total, idle):
        active = total - zeros
        guess = share * active
        splits = sorted(range(active + 1), key=lambda n: abs(n - guess))[: 400 if active < 10_000 else 100]
        if setting.idle_labels:
            splits = [0 if 0 in setting.idle_labels else active]
        levels.append((zeros, [(program.remainder((n, active - n, zeros)), n, active - n) for n in splits]))
    near = [math.floor(idle * total), math.ceil(idle * total)]
    for zeros, splits in levels:
        if zeros not in near:
            continue
        extra = [(*setting.zero_loss_point(), zeros)] if zeros else []
        for r, n_plus, n_minus in splits:
            if n_plus == 0 or n_minus == 0:
                continue
            for E, F in balance(setting, r, heavy[0] * n_plus, heavy[1] * n_minus):
                M = E * program.margin_of(heavy[0] * n_plus, E)
                both = pair(setting, r, E, F, M)
                if both is None:
                    continue
                groups = close(setting, r, [(both[0], 1.0, n_plus), (both[1], -1.0, n_minus), *extra])
                if groups is not None:
                    return groups
        for r, n_plus, n_minus in splits[:12]:
            groups = _spread(program, setting, n_plus, n_minus, zeros)
            if groups is not None:
                groups = close(setting, r, groups + extra)
            if groups is not None:
                return groups
    for zeros, splits in levels:
        groups = search(setting, splits)
        if groups is not None:
            return groups + ([(*setting.zero_loss_point(), zeros)] if zeros else [])
    return None


def _idle_counts(setting, total, idle):
    """How many of ``total`` points may have zero loss, the likeliest number first."""
    if setting.a == 0.0 or not setting.has_zero_loss:
        return [0]
    return sorted(range(total + 1), key=lambda n: abs(n - idle * total))[:12]


def _spread(program, setting, n_plus, n_minus, zeros):
    """As :func:`_hit` for one split, with up to two margins per label."""
    value, _, x = program.solve(fixed=(n_plus, n_minus, zeros))
    if value is None:
        return None
    r = program.remainder((n_plus, n_minus, zeros))
    both = pair(setting, r, x[0], x[1], x[5], slack=1e-8)
    if both is None:
        return None
    groups = []
    for point, sign, E, n in zip(both, (1.0, -1.0), x[:2], (n_plus, n_minus), strict=True):
        if n == 0:
            continue
        part = split(setting, sign, point, float(E) / setting.objective.weight_of(sign), n)
        if part is None:
            return None
        groups += part
    return groups


def _records_hinge(problem, program, found, x, least, integer):
    """Whole valid records for the hinge: the sums of a solution over the hull, rounded and dealt out.

    Where a label's records cannot all have zero or positive loss, the mean of their margins is lowered and the program
    solved again, at the price of more points.
    """
    setting = problem.setting
    best = None
    for _ in range(4):
        found_sums = _rounded(setting, program, x, least, integer)
        if found_sums is None:
            break
        counts, sums, t, room = found_sums
        rows = [
            records.deal(setting, sign, z, n, 1.0 - 1e-3 * max(room, 1e-6))
            for sign, z, n in zip((1.0, -1.0), sums, counts, strict=False)
        ]
        over = [
            float(np.max(sign * (X @ setting.theta[:-1] + setting.theta[-1]), initial=-np.inf)) - 1.0 - 1e-9
            for sign, X in zip((1.0, -1.0), rows, strict=True)
        ]
        if best is None or max(over) <= 0.0:
            best = rows, counts, t
        if max(over) <= 0.0:
            break
        below = [b + max(0.5 * o, 0.02) * (o > 0.0) for b, o in zip(program.below, over, strict=True)]
        program = HingeProgram(setting, below)
        value, _, x = program.solve()
        if value is None:
            break
        least = max(least, math.ceil(value - 1e-7 * value))
    if best is None:
        found.message = "the solver found no whole records"
        return
    rows, counts, t = best
    points = records.merge(np.vstack(rows), np.repeat([1.0, -1.0], counts[:2]))
    _store(found, setting, list(zip(*points, strict=True)), int(counts[2]))
    found.residual = program.remainder(t) + setting.load(counts) - _supplied(setting, found)
    found.exact = bool(np.linalg.norm(found.residual) <= 1e-9 * (1.0 + np.linalg.norm(setting.clean.gradient)))
    found.message = f"{found.n_points} whole valid records"


def _documents(program, found, x, least):
    """So many whole documents whose rows average to a solution over their convex set."""
    setting = program.setting
    hinge = setting.objective.loss.name == "hinge"
    counts = round_counts(x[:3] if hinge else x[2:5], least)
    means = program.means
    if hinge:  # the same with whole counts, and with as much room to the margin as there is
        place = program.place(counts, elastic=True)
        if place is not None:
            means = [z / n if n else None for z, n in zip(place[:2], counts, strict=False)]
    groups = []
    for sign, region, mean, n in zip((1.0, -1.0), setting.both, means, counts, strict=False):
        if mean is None or n == 0:
            continue
        limit = 1.0 - sign * setting.theta[-1] if hinge else None
        rows = document_records.write(region, mean, int(n), sign * setting.theta[:-1], limit)
        groups += [(row, sign, count) for row, count in zip(*document_records.merge(rows), strict=True)]
    if counts[2]:
        point, sign = setting.zero_loss_point()
        groups.append((sp.csr_matrix(point), sign, int(counts[2])))
    found.points, found.labels, found.counts = ([group[i] for group in groups] for i in range(3))
    found.message = f"{found.n_points} whole documents"


def _rounded(setting, program, x, total, integer):
    """``(counts, sums, t, room)`` of so many records near a solution x of the hinge's program, or None.

    ``integer``: up to three more, where these can hit the target exactly.
    """
    slack = program.free
    held = len(setting.theta) - sum(records.continuous(setting.both[0]) | records.continuous(setting.both[1]))
    whole = None
    if integer and held - slack.shape[1] <= FEW_ROWS:  # few rows that rounding misses: perhaps it need not
        whole = program.whole_levels(total + 3)
    if whole is not None:
        counts, sums = whole
        room = 0.0
    else:
        counts = round_counts(x, total)
        place = program.place(counts, elastic=True)
        if place is None:
            return None
        t, room = place[2:]
        slack = slack[:, np.flatnonzero((t > 0.02) & (t < 0.98))].toarray()
        sums = records.round_sums(setting, place[:2], counts[:2], slack, program.below)
    masks = [~records.continuous(region) for region in setting.both]
    again = program.place(counts, pinned=list(zip(masks, sums, strict=True)), elastic=True)
    if again is not None:
        sums, t, room = again[:2], again[2], max(room, again[3])
    return counts, sums, t, room


def _records_smooth(problem, program, found, x, least):
    """Whole valid records for a smooth loss: dealt out for the counts of a solution, then moved."""
    setting = problem.setting
    share, idle = x[2] / max(x[2] + x[3], 1e-300), x[4] / found.value
    scale = 1.0 + float(np.linalg.norm(setting.clean.gradient))
    best = None
    for total in (least, least + 1):
        zeros = round(idle * total)
        n_plus = round(share * (total - zeros))
        counts = n_plus, total - zeros - n_plus
        value, _, columns = program.solve(fixed=(*counts, zeros), elastic=1e-3)
        if value is None:
            continue
        # Where the stationarity rows cannot be met with these counts (elastic), as nearly as can be had.
        sums = [n * mean for n, mean in zip(counts, _means(program, columns), strict=True)]
        weights = [E / max(n, 1) for E, n in zip(columns[:2], counts, strict=True)]
        sums = records.round_sums(setting, sums, counts, weights=weights)
        rows = [records.deal(setting, sign, z, n) for sign, z, n in zip((1.0, -1.0), sums, counts, strict=True)]
        X, signs = np.vstack(rows), np.repeat([1.0, -1.0], counts)
        rho = records.tune(setting, X, signs, zeros, rounds=400 if best is None else 0, steps=30 if best is None else 8)
        found.exact = bool(np.linalg.norm(rho) <= 1e-9 * scale)
        if best is None or found.exact:
            best = rho, X, signs, zeros
        if found.exact:
            break
    if best is None:
        found.message = "the solver found no whole records"
        return
    found.residual, X, signs, zeros = best
    _store(found, setting, list(zip(*records.merge(X, signs), strict=True)), zeros)
    found.message = f"{found.n_points} whole valid records"


def _means(program, x):
    """The two points of a solution of a smooth program."""
    setting, E = program.setting, x[:2]
    if isinstance(program, SmoothHullProgram):
        z = np.split(x[6:], 2)
    else:
        both = pair(setting, x[6:], *E, x[5], slack=math.inf)  # the rounding that follows is far coarser
        z = [weight * point for weight, point in zip(E, both, strict=True)]
    return [
        np.clip(zeta / max(weight, 1e-300), region.lower, region.upper)
        for zeta, weight, region in zip(z, E, setting.both, strict=True)
    ]


def _pool_program(problem: Problem):
    return PoolProgram(problem.clean, problem.theta, problem.objective, problem.feasible_set, problem.margin_tol)


def _exact_pool(problem: Problem, integer=True) -> Found:
    """A finite pool: the fractional minimum, and whole counts near it."""
    program = _pool_program(problem)
    value, v, chosen, weights, _ = program.solve()
    if value is None:
        return _unattainable(problem, [v])
    found = Found(certificate=problem.prove(v), value=value)
    if value <= 1e-9 * max(1.0, problem.clean.weight):
        found.exact, found.message = True, "the clean data alone induce the target"
        return found
    counts = program.whole(math.ceil(1.1 * value) + 2) if integer else None
    if counts is not None:
        found.exact = True
        found.message = f"{int(counts.sum())} points for the exact target"
    else:
        total = max(1, math.ceil(value - 1e-7 * value) if integer else round(value))
        counts = _round_pool(program, v, chosen, weights, total)
        found.message = (
            f"the {int(counts.sum())} points carry the weights of the fractional minimum {value:.6f}, rounded"
        )
    found.residual = program.residual(counts)
    rows, found.labels, found.counts = program.deal(counts)
    X = problem.feasible_set.X
    found.points = [X[i] for i in rows] if sp.issparse(X) else list(X[rows])
    return found


def _round_pool(program: PoolProgram, v, chosen, weights, total):
    """Whole counts, one per column, near the weights of a solution: what is fractional is rounded, and copies move
    between these columns and others of (nearly) no reduced cost. A search, from a few choices of the others."""
    full = np.zeros(len(program.index))
    full[chosen] = weights
    whole = np.rint(full)
    fractional = np.abs(full - whole) > 1e-7 * max(1.0, float(full.max()))
    cheapest = np.argsort(np.abs(program.price(v) - 1.0), kind="stable")
    free = program.free.toarray()
    best = math.inf, None
    for others in NEARLY_FREE:
        tried = fractional.copy()
        tried[cheapest[:others]] = True
        tried[program.twins[:, 1]] = False  # what is on the kink stays split as it is
        tried = np.flatnonzero(tried)
        top = program.top[tried]
        shared = np.isin(program.twins[:, 0], tried)
        top[np.searchsorted(tried, program.twins[shared, 0])] -= whole[program.twins[shared, 1]]
        rest = whole.copy()
        rest[tried] = 0.0
        target = -program.clean.gradient - program.total(rest)
        counts = np.minimum(round_counts(full[tried], total - rest.sum()), top).astype(int)
        rounds = 10 if len(tried) <= MOST_TRIED else 0
        counts, length = settle(program.columns(tried).toarray(), target, counts, free, top, rounds)
        if length < best[0]:
            rest[tried] = counts
            best = length, rest.astype(int)
    return best[1]


# -- another scale, a tolerance, a budget -----------------------------------------------------


def _at(problem: Problem, theta, tol=0.0, margin_tol=None) -> Problem:
    """The same question for another model, or with the clean rows seen from a whole ball."""
    margin_tol = problem.margin_tol if margin_tol is None else margin_tol
    data = problem.X, problem.y, theta, problem.objective, problem.sample_weight
    if tol > 0.0:
        clean = proof = clean_gradient(*data, margin_tol=margin_tol, tol=tol)
    else:
        proof = _clean(*data, margin_tol, hit_radius(theta, problem.feasible_set))
        clean = proof.centre()
    return replace(problem, theta=theta, clean=clean, proof=proof, margin_tol=margin_tol)


def _cost(problem: Problem) -> float:
    """The fractional minimum; inf where the target is not attainable."""
    if isinstance(problem.feasible_set, CandidatePool):
        value = _pool_program(problem).solve()[0]
    else:
        value = _program(problem.setting).solve()[0]
    return math.inf if value is None else value


def _cheapest_scale(problem: Problem):
    """The problem for the cheapest ``c * target`` found, and the curve ``(c, cost)``.

    A grid of c from 1/8 to 8, then two refinements around the best: the cost is not convex in c (for the hinge
    it jumps down where rows lie on the margin, as they do at c = 1 for a trained target), so this is a search.
    """
    seen = {1.0: _cost(problem)}

    def look(scales):
        for c in scales:
            if float(c) not in seen:
                seen[float(c)] = _cost(_at(problem, float(c) * problem.theta))

    look(np.geomspace(0.125, 8.0, 25))
    width = 8.0 ** (1.0 / 12.0)
    for _ in range(2):
        best = min(seen, key=seen.get)
        look(best * np.geomspace(1.0 / width, width, 9))
        width **= 0.25
    best = min(seen, key=seen.get)
    scales = np.array(sorted(seen))
    curve = {"scale": scales, "cost": np.array([seen[c] for c in scales])}
    return problem if best == 1.0 else _at(problem, best * problem.theta), curve


def _data(problem: Problem):
    """Clean data as the victim takes them."""
    X = problem.X if sp.issparse(problem.X) else np.ascontiguousarray(problem.X, dtype=float)
    return X, np.asarray(problem.y, dtype=float), problem.sample_weight


def _ball_certificate(problem: Problem, exact: Found, tol) -> Certificate:
    """The best bound found for every model within ``tol``."""
    theta, objective = problem.theta, problem.objective
    tol = max(tol, problem.radius)  # what counts as a hit of any tolerance
    goal = replace(problem.goal, tol=tol)
    starts = []
    if exact.certificate is not None:
        starts.append(exact.certificate.direction)
    box = not isinstance(problem.feasible_set, (CandidatePool, DocumentSpace))
    if problem.retrain:
        ball = _at(problem, theta, tol)

        def clean_at(v):
            return ball.clean

        if objective.loss.name == "hinge" and box:
            v = BallProgram(ball.setting, tol).solve()[1]
            if v is not None:
                starts.insert(0, v)
        fit = _train(problem, [], [], [])
        if np.linalg.norm(fit.theta - theta) > tol:
            starts.append(fit.theta - theta)
    else:

        def clean_at(v):
            return clean_gradient(
                problem.X,
                problem.y,
                theta,
                objective,
                problem.sample_weight,
                margin_tol=problem.margin_tol,
                tol=tol,
                direction=v,
            )

    starts = [v for v in starts if np.any(v)]
    _, v = ball_direction(clean_at, goal, starts)
    if v is None:
        v = np.ones_like(theta)
    value, rounding = prove(clean_at(v), v, goal)
    return certificate_for(goal, "farkas" if math.isinf(value) else "direction", v, value, rounding)


def _take(found: Found, attack: Attack, message) -> Found:
    found.points, found.labels, found.counts = list(attack.points), list(attack.labels), list(attack.counts)
    found.attack, found.exact, found.message = attack, False, message
    return found


def _as_attack(problem: Problem, found: Found) -> Attack | None:
    """The points of ``found``, retrained."""
    if not found.points:
        return None
    fit = _train(problem, found.points, found.labels, found.counts)
    return Attack(found.points, np.array(found.labels), found.counts, fit.theta, problem.theta, fit.gap)


def _relaxed(problem: Problem, radius):
    """Points of the relaxed program for a ball, or None (hinge on a space only)."""
    if problem.objective.loss.name != "hinge" or isinstance(problem.feasible_set, (CandidatePool, DocumentSpace)):
        return None
    groups = relaxed_points(_at(problem, problem.theta, float(radius)).setting, float(radius))
    if not groups:
        return groups
    points, labels, counts = zip(*groups, strict=True)
    return list(zip(problem.canonical(points), labels, counts, strict=True))


def _parts(exact: Found):
    """Parts of the exact solution, each a start for a search."""
    counts = np.array(exact.counts)
    if not len(counts):
        return
    for share in (0.25, 0.5, 0.75, 0.9, 1.0):
        # of many records with a few copies each, every so manieth
        part = np.floor(share * counts) if len(counts) < 10 else np.diff(np.floor(share * np.cumsum(counts)), prepend=0)
        groups = zip(exact.points, exact.labels, part.astype(int).tolist(), strict=True)
        yield [(_row(x), sign, count) for x, sign, count in groups if count]


def _row(x):
    return x.toarray().ravel() if sp.issparse(x) else x


def _within(problem: Problem, exact: Found, tol, max_points) -> Found:
    """A bound for every model within ``tol`` of the target, and as few points as were found for one of them."""
    certificate = _ball_certificate(problem, exact, tol)
    if certificate.kind == "farkas":
        return Found(certificate=certificate, message=f"no poisoning induces a model within {tol:g} of the target")
    found = replace(exact, certificate=certificate)
    if _fit_is_near(problem, tol):
        found.points, found.labels, found.counts, found.exact = [], [], [], False
        found.message = f"the clean data alone induce a model within {tol:g} of the target"
        return found
    if not problem.retrain:
        found.message += "; X is too large for the search within the tolerance"
        return found
    search = _Search(problem, tol, max_points or max(2000, 20 * certificate.n_poison))
    first = _as_attack(problem, exact)
    search.take(first)
    if problem.of_records and first is not None:  # records hit any other model as nearly as this one, or so
        search.stray = 1.5 * first.distance
    search.take(search.slide(problem.theta))
    radii = {}
    for radius in tol * np.array([1.0, 0.7, 0.5, 0.35, 0.25, 0.15]):
        radii[radius] = search.descend(_relaxed(problem, radius))
    for width in (0.18, 0.09):  # the number of points jumps with the radius: look on both sides of the best
        centre = min(radii, key=radii.get)
        for radius in (centre * (1 - width), centre * (1 + width)):
            radii[radius] = search.descend(_relaxed(problem, radius))
    for start in _parts(exact):
        search.descend(start)
    if search.best is None and max_points is None:
        search.limit = max(search.limit, 20_000)
    search.descend([])  # Algorithm 1 itself: what is found never needs more points
    best, nearest = search.best, search.nearest
    if best is None:
        return _take(found, nearest, f"nearest model found, for l2 distance {tol:g}")
    search.take(improve(*search.shared, best, tol))
    search.take(search.slide(search.best.theta))
    best = search.best
    return _take(
        found, best, f"{best.n_points} points for l2 distance {tol:g}; {certificate.n_poison} proved necessary"
    )


def _slide(problem: Problem, start, radius, steps=12) -> Attack | None:
    """The exact minimum for the model ``start`` in the ball, or for a cheaper one near it.

    The cost of ``theta`` is ``-G(theta).v`` for the normalised dual direction v, and ``G`` is the gradient of a convex
    function: moving along v lowers the cost. Steps along v, back into the ball each time, while that pays.
    """
    if isinstance(problem.feasible_set, CandidatePool) or not radius > 0.0:
        return None
    best = _at(problem, start, margin_tol=1e-7)
    least, v, _ = _program(best.setting).solve()
    if least is None:
        return None
    step = radius
    for _ in range(steps):
        moved = best.theta + step * v / np.linalg.norm(v) - problem.theta
        moved *= min(1.0, radius / np.linalg.norm(moved))
        there = _at(problem, problem.theta + moved, margin_tol=1e-7)
        value, direction, _ = _program(there.setting).solve()
        if value is not None and value < least * (1.0 - 1e-6):
            best, least, v = there, value, direction
        else:
            step *= 0.4
            if step < 1e-3 * radius:
                break
    found = _exact(best)
    if not found.points:
        return None
    fit = _train(best, found.points, found.labels, found.counts)
    return Attack(found.points, np.array(found.labels), found.counts, fit.theta, problem.theta, fit.gap)


class _Search:
    """Searches for as few points as come within ``tol``, each cut off where it could not win."""

    def __init__(self, problem: Problem, tol, limit):
        self.problem = problem
        self.shared = _data(problem), problem.theta, problem.objective, problem.feasible_set
        self.tol, self.limit = tol, limit
        self.stray = 0.0  # how far from a model the records for it end up
        self.best = self.nearest = None

    def slide(self, start) -> Attack | None:
        return _slide(self.problem, start, self.tol * (1.0 - 1e-6) - self.stray)

    def take(self, attack: Attack | None):
        if attack is None or attack.n_points > self.limit:
            return  # no fewer than the best
        if self.nearest is None or attack.distance < self.nearest.distance:
            self.nearest = attack
        if attack.distance <= self.tol:
            self.best, self.limit = attack, attack.n_points - 1

    def descend(self, start) -> float:
        """How many points this start led to (a guess beyond the limit where it was cut off)."""
        if start is None:
            return math.inf
        size = sum(count for *_, count in start)
        if size > self.limit:
            return math.inf
        # A little past the best: the exact minimum for the model found may still be smaller than it.
        limit = self.limit
        if self.best is not None and start:
            limit += 2 + self.limit // 32
        attack = descend(*self.shared, start, self.tol, limit)
        self.take(attack)
        if self.tol and attack.distance <= self.tol:
            self.take(self.slide(attack.theta))
        return attack.n_points * max(1.0, attack.distance / self.tol) if self.tol else attack.distance


def _fit_is_near(problem: Problem, tol) -> bool:
    """Whether the clean victim itself is within ``tol`` of the target."""
    fit = _train(problem, [], [], [])
    return fit is not None and float(np.linalg.norm(fit.theta - problem.theta)) <= tol


def _closest(problem: Problem, exact: Found, max_points) -> Found:
    """The nearest model found with at most ``max_points`` points; the bound is that of the exact target."""
    if not problem.retrain:
        exact.message += f"; X is too large for the search with {max_points} points"
        return exact
    reach = float(np.linalg.norm(_train(problem, [], [], []).theta - problem.theta))
    search = _Search(problem, 0.0, max_points)
    for radius in reach * np.geomspace(0.3, 1e-3, 10):
        search.descend(_relaxed(problem, radius))
    for start in (*_parts(exact), []):
        search.descend(start)
    return _take(replace(exact), search.nearest, f"the nearest model found with at most {max_points} points")


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
    objective = problem.objective
    weight = np.ones(problem.X.shape[0]) if problem.sample_weight is None else problem.sample_weight
    weight = np.concatenate([weight, np.asarray(counts, dtype=float)])
    amount = objective.amount(problem.y, problem.sample_weight)
    amount += sum(n * objective.per_point(label) for label, n in zip(labels, counts, strict=True))
    # from scratch: a start at the target would prove nothing about where training ends
    return refit(X, y, objective, weight, amount, tol=1e-9)


def _measure(problem, found) -> Measured | None:
    """Where training ends on clean plus poison, from passes over blocks of rows; None where that is not known."""
    objective, labels, counts = problem.objective, np.asarray(found.labels, float), np.asarray(found.counts, float)
    amount = objective.amount(problem.y, problem.sample_weight)
    amount += sum(n * objective.per_point(label) for label, n in zip(labels, counts, strict=True))
    points = _matrix(problem, found.points)
    training = Training(problem.X, problem.y, problem.sample_weight, points, labels, counts, objective, amount)
    return measure(training, problem.theta, problem.margin_tol)


def _size(problem: Problem, theta) -> float:
    """How large a model is, in its own units: a distance is small or large beside this."""
    return float(np.linalg.norm(theta))


def _is_hit(problem: Problem, theta, error=0.0) -> bool:
    """Whether a model is the target, to :data:`NEAR`: of the target's size, and of its scores.

    The scores are what decides where features have other units than the intercept: with ``s_j`` the largest size of
    feature j in the data, the change of a score is at most ``sum_j s_j |dw_j| + |db|``. A change of 1e-10 of the unit
    margin is rounding.
    """
    target, scales = problem.theta, problem.scales
    change = float(np.linalg.norm(scales * (theta - target))) + error * float(np.max(scales))
    near = float(np.linalg.norm(theta - target)) + error <= NEAR * _size(problem, target)
    return change <= 1e-10 or (near and change <= NEAR * float(np.linalg.norm(scales * target)))


def _result(problem: Problem, found: Found, tol=0.0, max_points=None, curve=None) -> PoisoningResult:
    """Retrain, measure, and say what happened."""
    theta_p, objective = problem.theta, problem.objective
    certificate = found.certificate
    farkas = certificate is not None and certificate.kind == "farkas"
    fit = found.attack or _train(problem, found.points, found.labels, found.counts)
    message, error = found.message, 0.0
    theta, gap = np.full_like(theta_p, math.nan), math.nan
    if fit is not None:
        theta, gap = fit.theta, fit.gap
    elif not farkas:
        measured = _measure(problem, found)
        if measured is not None and measured.error <= NEAR * _size(problem, theta_p):
            theta, error = measured
            message += f"; not retrained: the victim's model is proved to be within {error:.2g} of this one"
    unknown = not np.all(np.isfinite(theta))
    distance = float(np.linalg.norm(theta - theta_p))
    difference = highest = math.nan
    if not unknown:
        weights = objective.class_weight
        worst = find_point(theta, theta_p, problem.feasible_set, objective.loss, weights=weights)
        difference, highest = worst.value, worst.upper_bound
    if farkas:
        status = "unattainable"
    elif unknown:
        status = "unverified"
        message += "; not retrained, and no proof of where training ends: pass retrain=True to measure it"
    elif distance + error <= tol or _is_hit(problem, theta, error):
        status = "reached"
    else:
        status = "budget" if max_points is not None and found.n_points <= max_points else "stalled"
        near = "whole records come only so near: " if problem.of_records and status == "stalled" else ""
        message += f"; {near}its distance is {distance:.3g}"
        if found.exact and objective.r == 0.0 and objective.fit_intercept and objective.loss.name == "hinge":
            message += " (the target is a minimiser, but with a free intercept not the only one)"
    lower = 0 if certificate is None else certificate.n_poison
    counts = np.asarray(found.counts, dtype=int)
    history = {
        "n_points": np.array([found.n_points]),
        "loss_difference": np.array([difference]),
        "loss_difference_upper_bound": np.array([highest]),
        "distance": np.array([distance]),
        "lower_bound": np.array([math.nan if certificate is None else certificate.value]),
        "minimum": np.array([math.nan if found.value is None else found.value]),
        "gap": np.array([gap]),
    }
    history.update(curve or {})
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
        loss_difference_upper_bound=highest,
        tol=tol,
        stop="distance" if tol > 0.0 else "exact",
        history=history,
        feasible_set=problem.feasible_set,
        classes=np.array([-1.0, 1.0]),
        n_clean=problem.X.shape[0],
        clean_weight=problem.clean.weight,
        certificate=certificate,
        goal=problem.goal if certificate is None else certificate.goal,
        message=message,
    )
