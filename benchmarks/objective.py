"""The judge: believes no method.

Given clean data, a target and the points that a method returned, it retrains the victim from scratch with
scikit-learn, and recomputes the loss difference, the distance and the bounds in plain NumPy from the equations
(tests/reference.py).  Nothing of mtpfast is imported.
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
from typing import NamedTuple

import numpy as np
import reference as ref
import scipy.sparse as sp


class Judgement(NamedTuple):
    n_points: int
    feasible: bool  # every point inside the box
    theta: np.ndarray  # the victim retrained from scratch
    distance: float  # l2 distance of (w, b) to the target
    loss_difference: float  # max over the box and both labels


def retrain(loss, conv, X, y, weight=None, tol=1e-10):
    """The victim by scikit-learn: (w, b) to about 1e-8.

    Hinge: LinearSVC. Log loss with a penalised intercept: LogisticRegression on (x, 1) without intercept, for
    LIBLINEAR's own logistic regression stops early.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    weight = np.ones(len(y)) if weight is None else weight
    C = 1.0 / conv.k(weight.sum())
    if loss in ("hinge", "squared_hinge"):
        if conv.fit_intercept and not conv.penalize_intercept:
            raise ValueError("penalize_intercept must be True: the benchmarks penalise it, as the paper does")
        options = {"tol": tol, "max_iter": 10_000_000, "random_state": 0, "fit_intercept": conv.fit_intercept}
        model = LinearSVC(loss=loss, C=C, **options).fit(X, y, sample_weight=weight)
        return np.append(model.coef_.ravel(), np.ravel(model.intercept_)[0] if conv.fit_intercept else 0.0)
    ones = np.full((len(y), 1), float(conv.fit_intercept))
    A = sp.hstack([X, ones], format="csr") if sp.issparse(X) else np.hstack([X, ones])
    if conv.fit_intercept and not conv.penalize_intercept:
        raise ValueError("penalize_intercept must be True: the benchmarks penalise it, as the paper does")
    solver = "lbfgs" if sp.issparse(X) and X.shape[1] > 3000 else "newton-cholesky"
    model = LogisticRegression(C=C, fit_intercept=False, solver=solver, tol=tol, max_iter=10_000)
    return model.fit(A, y, sample_weight=weight).coef_.ravel()


def judge(loss, conv, X, y, target, points, labels, counts, lower=0.0, upper=1.0) -> Judgement:
    """Retrain on clean + poison (distinct points with their counts) and measure."""
    points = points.toarray() if sp.issparse(points) else np.asarray(points, dtype=float)
    weight = np.append(np.ones(len(y)), np.asarray(counts, dtype=float))
    X_all = sp.vstack([X, sp.csr_matrix(points)], format="csr") if sp.issparse(X) else np.vstack([X, points])
    theta = retrain(loss, conv, X_all, np.append(y, labels), weight)
    difference = ref.oracle_frontier(loss, theta, target, lower, upper).value
    inside = bool(np.all(points >= lower) and np.all(points <= upper))
    return Judgement(int(np.sum(counts)), inside, theta, float(np.linalg.norm(theta - target)), difference)


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
