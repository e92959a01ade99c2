"""The judge of the benchmarks: ``mtpfast.verification.judge``, in the benchmarks' terms; and bounds by hand.

Given clean data, a target and the points that a method returned, it retrains the victim from scratch with
scikit-learn, and maximises the loss difference by other methods than the oracle's. The bounds are recomputed in plain
NumPy from the equations (tests/reference.py).
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
import numpy as np
import reference as ref

from mtpfast import FeatureSpace
from mtpfast.losses.objective import make_objective
from mtpfast.verification.judge import Judgement
from mtpfast.verification.judge import judge as package_judge
from mtpfast.verification.retrain import Training
from mtpfast.verification.retrain import retrain as package_retrain


def objective_of(loss, conv):
    """A victim of reference.py as one of the package."""
    return make_objective(loss, conv.alpha, conv.C, conv.fit_intercept, conv.penalize_intercept)


def retrain(loss, conv, X, y, weight=None, tol=1e-10):
    """The victim by scikit-learn: (w, b) to about 1e-8."""
    weight = np.ones(len(y)) if weight is None else weight
    return package_retrain(Training.of(objective_of(loss, conv), X, y, weight), tol)


def judge(loss, conv, X, y, target, points, labels, counts, lower=0.0, upper=1.0, tol=1e-10) -> Judgement:
    """Retrain on clean + poison (distinct points with their counts) and measure."""
    space = FeatureSpace(lower, upper)
    return package_judge(objective_of(loss, conv), X, y, points, labels, counts, space, target, tol=tol)


def papers_bound(loss, conv, X, y, theta, target, lower=0.0, upper=1.0) -> float:
    """F3 at one model, with the victim's own loss; J on the clean rows alone."""
    D = ref.oracle_frontier(loss, theta, target, lower, upper).value
    J = [ref.objective(loss, conv, t, X, y) for t in (target, theta)]
    bound = ref.lower_bound(conv, *J, D, theta, target)
    return 0.0 if bound is None else float(bound)


def certified_bound(loss, conv, X, y, target, direction, lower=0.0, upper=1.0, margin_tol=1e-6) -> float:
    """F4: what a direction v proves for reaching the target exactly, a real number.

        N >= (-G.v - sum over clean rows on the margin of max(0, -y x~.v)) / max_F v.g,

    G = sum_i -s_i y_i x~_i + k_n R theta_p, g = -s y x~ + alpha R theta_p, s = -phi'(margin under the target).
    Not rounded safely: it is compared with a claim, it does not make one.
    """
    n, v = len(y), np.asarray(direction, dtype=float)
    margin, slope = y * ref.scores(target, X), y * ref.scores(v, X)
    R_target = np.append(target[:-1], conv.r * target[-1])
    s = -ref.dphi(loss, margin)
    on = np.zeros(n, dtype=bool)
    if loss == "hinge":
        on = np.abs(margin - 1.0) <= margin_tol
        s = np.where(on, 0.0, s)
    numerator = s @ slope - conv.k(n) * (R_target @ v) - np.maximum(0.0, -slope[on]).sum()
    constant = (conv.alpha or 0.0) * (R_target @ v)
    denominator = _largest_pull(loss, v, target, lower, upper) + constant
    if denominator <= 0.0:
        return np.inf if numerator > 0.0 else 0.0
    return max(0.0, numerator / denominator)


def _largest_pull(loss, v, target, lower, upper) -> float:
    """max over the box and both labels of -s(m) u, u = y v.x~, m = y target.x~: along the lower-left frontier of
    (u, m), for s falls in m; 0 is always allowed where a margin beyond every bound is (a row of zero loss)."""
    d = len(v) - 1
    lower, upper = (np.broadcast_to(np.asarray(a, dtype=float), (d,)) for a in (lower, upper))
    best = -np.inf
    for y in (-1.0, 1.0):
        V = ref.frontier(v, -target, lower, upper, y)
        u, m = y * ref.scores(v, V), y * ref.scores(target, V)
        if loss == "hinge":  # s = 1 up to margin 1, so: vertices below it and the crossing; beyond it 0
            best = max(best, *np.where(m <= 1.0, -u, -np.inf))
            highest = np.where(y * target[:-1] > 0, upper, lower)
            if y * (highest @ target[:-1] + target[-1]) >= 1.0:
                best = max(best, 0.0)
            for i in np.flatnonzero((m[:-1] - 1.0) * (m[1:] - 1.0) < 0.0):
                t = (1.0 - m[i]) / (m[i + 1] - m[i])
                best = max(best, -(u[i] + t * (u[i + 1] - u[i])))
            continue
        t = np.linspace(0.0, 1.0, 65)
        for i in range(len(u) - 1):
            centre, width = 0.5, 0.5
            while width > 1e-9:
                grid = np.clip(centre + width * (2.0 * t - 1.0), 0.0, 1.0)
                value = ref.dphi(loss, m[i] + grid * (m[i + 1] - m[i])) * (u[i] + grid * (u[i + 1] - u[i]))
                centre = grid[value.argmax()]
                best = max(best, value.max())
                width /= 16.0
                if value.max() < best - 0.1 * abs(best):
                    break
        best = max(best, *(ref.dphi(loss, m) * u))
    return float(best)
