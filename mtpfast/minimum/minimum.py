r"""The fewest poisoning points that induce a target exactly, and the proof that fewer cannot.

A poisoning of ``nu_k`` copies of ``(x_k, y_k)`` makes ``theta_p`` optimal if and only if

.. math:: G + \sum_k \nu_k g_k + \sum_{i \text{ on the margin}} t_i \, (-c_i y_i \tilde x_i) = 0, \qquad
          g_k = -w_k s_k y_k \tilde x_k + a_k R \theta_p, \quad 0 \le t_i \le 1,

``G`` the gradient of the other clean rows, ``s = -phi'``, ``w_k`` the class weight of the point (1 without any),
``a_k = alpha`` (0 in the ``C`` convention; times ``w_k`` where k counts weights and not rows).
Minimising ``sum nu_k`` is a linear program over measures. With ``h(m) = 1 / s(m)`` convex (1 for the hinge up
to margin 1, ``1 / (2 (1 - m))`` for the squared hinge, ``1 + e^m`` for the logistic loss) the points of one label
merge into their weighted mean at no extra cost (Jensen), so on a box two points suffice and the program has O(d)
variables, whatever the number of clean rows: see :mod:`mtpfast.minimum.programs.lp`. Its dual is a direction that
proves the bound: see :mod:`mtpfast.proofs.certificate`. Where points have to be whole valid records the program is over
their hull, and its solution is dealt out: see :mod:`mtpfast.minimum.whole.records`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mtpfast.arrays.checks import check_count, check_flag, check_number
from mtpfast.arrays.parts import RowParts
from mtpfast.arrays.sweeps import sweep
from mtpfast.losses.objective import make_objective
from mtpfast.oracle.search import find_point
from mtpfast.proofs.goal import NEAR, is_same
from mtpfast.question import Problem, Question, moved_to, read_question
from mtpfast.results.result import PoisoningResult

from .exact import cheapest_scale, exact_minimum
from .found import Found, measure_reached, point_matrix, retrain_victim
from .plan import is_rounded
from .within import INTERRUPTED, Trained, closest_model, within_ball

__all__ = ["minimum_poisoning"]


SHARPER = 1e-9  # the margin_tol of a second search, where the first leaves the victim short of the target


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
    X : ndarray, memmap, CSR matrix or anything array-like, of shape (n_samples, n_features), or rows in parts
        The clean data. Arrays of numbers are read in blocks, once, and never copied as a whole. Rows that do not fit
        into memory: what :func:`mtpfast.in_parts` returns, or a collection of Dask with its labels.
    y : array-like of shape (n_samples,), -1 and +1
        None for rows in parts, which bring labels and weights.
    target : fitted linear model, pair (coef, intercept), or array (w, b)
    loss : {"hinge", "squared_hinge", "log_loss"} or Loss
        Over a space, one of one's own (:func:`mtpfast.losses.custom`) needs a second derivative and a convex
        ``-1 / phi'``; ``loss.missing()`` says which of them it lacks. A pool takes any.
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
        on the margin only lower it. By default 1e-6, or twice the ``tol`` of the fitted estimator that is the target,
        if that is more. Where that leaves the victim short of the target, points are looked for once more with 1e-9:
        rows that are nearly on the margin do not help to hold it exactly. The bound is for ``result.goal.margin_tol``
        all the same.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights; weight 2 is the row twice.
    retrain : bool, optional
        Train the victim on clean plus poison, to measure what was reached. By default yes, unless X comes in parts, is
        a memory map or would take more than 2 GiB as float64; then passes over blocks of rows tell where training
        ends (``mtpfast.minimum.blockwise``), and the status is ``"unverified"`` (``theta`` NaN) where they cannot.

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
    objective = make_objective(loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows)
    question = read_question(X, y, target, objective, feasible_set, sample_weight, margin_tol, in_blocks=True)
    options = {"integer": integer, "max_points": max_points, "rescale": rescale, "retrain": retrain}
    return tradeoff(question, [tol], sharper=margin_tol is None, **options)[0]


def tradeoff(
    question: Question, tols, *, integer, max_points, rescale, retrain=None, sharper, n_jobs=None, callback=None
) -> list:
    """:func:`minimum_poisoning` for a checked question and several ``tol``; what they share is solved once.

    ``sharper``: whether points may be looked for once more with a ``margin_tol`` of 1e-9. ``n_jobs``: joblib's,
    a task for each ``tol``; one after the other where there is a ``callback``.
    """
    tols = [check_number(tol, "tol") for tol in tols]
    max_points = None if max_points is None else check_count(max_points, "max_points")
    integer, rescale = check_flag(integer, "integer"), check_flag(rescale, "rescale")
    problem, curve = Problem.of(question, retrain), None
    if rescale:
        problem, curve = cheapest_scale(problem)
    found = exact_minimum(problem, integer)
    several = len(tols) > 1 and max(tols) > 0.0
    options = max_points, curve, integer, sharper, Trained.of(problem, found) if several else None
    if len(tols) == 1 or callback is not None:
        tasks = (_near(problem, found, tol, *options, callback) for tol in tols)
    else:
        tasks = sweep(_task, [(tol,) for tol in tols], (problem, found, *options), n_jobs)
    results = []
    try:
        for result in tasks:
            results.append(result)
            if INTERRUPTED in result.message:
                break
    except KeyboardInterrupt:
        if max_points is not None and found.n_points > max_points:
            raise
    tasks.close()
    # ended by the user: what is left keeps the points for the target itself, of which nothing is proved here
    kept, left = replace(found, certificate=None, interrupted=True, message=INTERRUPTED), tols[len(results) :]
    if left:  # trained once for all of them
        kept = replace(kept, attack=found.attack or retrain_victim(problem, found.points, found.labels, found.counts))
    return results + [_result(problem, kept, tol, max_points, curve) for tol in left]


def _task(tol, shared):
    problem, found, *options = shared
    return _near(problem, found, tol, *options)


def _near(
    problem: Problem, exact: Found, tol, max_points, curve, integer, sharper, trained=None, callback=None
) -> PoisoningResult:
    """The result for one ``tol``, from the exact minimum."""
    found = exact
    if tol > 0.0:
        found = within_ball(problem, exact, tol, max_points, callback, trained)
    elif max_points is not None and exact.n_points > max_points:
        found = closest_model(problem, exact, max_points, callback)
    result = _result(problem, found, tol, max_points, curve)
    hinge = problem.objective.loss.kinked
    short = tol == 0.0 and result.status in ("stalled", "unverified")
    if sharper and short and hinge and not is_rounded(problem, found):
        again = exact_minimum(moved_to(problem, problem.theta, margin_tol=SHARPER), integer)
        again = replace(again, certificate=found.certificate)  # other points, but the same claim
        again = _result(problem, again, tol, max_points, curve)
        if again.status == "reached":
            return again
    return result


def _result(problem: Problem, found: Found, tol=0.0, max_points=None, curve=None) -> PoisoningResult:
    """Retrain, measure, and say what happened."""
    theta_p, objective = problem.theta, problem.objective
    certificate = found.certificate
    farkas = certificate is not None and certificate.kind == "farkas"
    fit = found.attack or retrain_victim(problem, found.points, found.labels, found.counts)
    message, error = found.message, 0.0
    theta, gap = np.full_like(theta_p, math.nan), math.nan
    if fit is not None:
        theta, gap = fit.theta, fit.gap
    elif not farkas:
        measured = measure_reached(problem, found)
        if measured is not None and measured.error <= NEAR * float(np.linalg.norm(theta_p)):
            theta, error = measured.theta, measured.error
            how = "retrained by passes: its weights are" if measured.trained else "not retrained: the victim's model is"
            message += f"; {how} proved to be within {error:.2g} of this one"
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
        message += "; not retrained, and no proof of where training ends"
        message += "" if isinstance(problem.X, RowParts) else ": pass retrain=True to measure it"
    elif distance + error <= tol or is_same(theta, theta_p, problem.scales, error):
        status = "reached"
    elif found.interrupted:
        status = "interrupted"
    else:
        status = "budget" if max_points is not None and found.n_points <= max_points else "stalled"
        near = "whole records come only so near: " if problem.of_records and status == "stalled" else ""
        message += f"; {near}its distance is {distance:.3g}"
        if found.exact and objective.r == 0.0 and objective.fit_intercept and objective.loss.kinked:
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
        points=point_matrix(problem, found.points),
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
        n_clean=problem.clean.n_rows,
        clean_weight=problem.clean.weight,
        certificate=certificate,
        goal=problem.goal if certificate is None else certificate.goal,
        message=message,
    )
