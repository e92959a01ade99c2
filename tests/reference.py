"""The equations of mtpfast in plain NumPy and SciPy: slow, short, and written without looking at the package.

Everything here is an independent specification.  Nothing is imported from mtpfast.

Notation: rows ``x~ = (x, 1)``, ``theta = (w, b)`` of shape (d + 1,), labels -1. / +1., margin
``y theta.x~``, ``R = diag(1, ..., 1, r)``, and the victim's objective

    P(theta) = sum_i c_i phi(y_i theta.x~_i) + (k / 2) theta' R theta,

where ``k = N alpha`` (N = total weight of clean and poison rows) in the alpha convention, ``k = 1 / C``
in the C convention, and ``r`` is 1 if the intercept is penalised, else 0.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse as sp

LOSSES = ("hinge", "squared_hinge", "log_loss")
EPS = np.finfo(float).eps


# ---------------------------------------------------------------- losses


def phi(loss, m):
    """Margin loss: max(0, 1 - m), max(0, 1 - m)^2 (no factor 1/2, as in LIBLINEAR), log(1 + exp(-m))."""
    m = np.asarray(m, dtype=float)
    if loss == "hinge":
        return np.maximum(0.0, 1.0 - m)
    if loss == "squared_hinge":
        return np.maximum(0.0, 1.0 - m) ** 2
    if loss == "log_loss":
        return np.logaddexp(0.0, -m)
    raise ValueError(loss)


def dphi(loss, m):
    """Derivative of the margin loss; at the kink of the hinge the right derivative, 0."""
    m = np.asarray(m, dtype=float)
    if loss == "hinge":
        return np.where(m < 1.0, -1.0, 0.0)
    if loss == "squared_hinge":
        return -2.0 * np.maximum(0.0, 1.0 - m)
    if loss == "log_loss":
        return -np.exp(-np.logaddexp(0.0, m))
    raise ValueError(loss)


def d2phi(loss, m):
    """Second derivative where it exists (0 for the hinge)."""
    m = np.asarray(m, dtype=float)
    if loss == "hinge":
        return np.zeros_like(m)
    if loss == "squared_hinge":
        return np.where(m < 1.0, 2.0, 0.0)
    if loss == "log_loss":
        return np.exp(-np.logaddexp(0.0, m) - np.logaddexp(0.0, -m))
    raise ValueError(loss)


# ---------------------------------------------------------------- the objective, its dual and the gap


class Convention(NamedTuple):
    """How the victim is regularised: exactly one of alpha and C is given."""

    alpha: float | None = None
    C: float | None = None
    fit_intercept: bool = True
    penalize_intercept: bool = True

    @property
    def r(self):
        return 1.0 if self.fit_intercept and self.penalize_intercept else 0.0

    def k(self, total_weight):
        return total_weight * self.alpha if self.alpha is not None else 1.0 / self.C


#: every convention of victim, once each
CONVENTIONS = tuple(
    Convention(alpha=alpha, C=C, fit_intercept=fit, penalize_intercept=pen)
    for alpha, C in ((0.05, None), (None, 0.7))
    for fit, pen in ((True, True), (True, False), (False, True))
)


def convention_id(conv):
    size = f"alpha={conv.alpha}" if conv.alpha is not None else f"C={conv.C}"
    intercept = "none" if not conv.fit_intercept else ("penalised" if conv.penalize_intercept else "free")
    return f"{size}-intercept_{intercept}"


def scores(theta, X):
    """theta . x~ for every row."""
    return np.asarray(X @ theta[:-1]).ravel() + theta[-1]


def penalty(conv, theta):
    """theta' R theta."""
    return float(theta[:-1] @ theta[:-1] + conv.r * theta[-1] ** 2)


def objective(loss, conv, theta, X, y, weight=None, total_weight=None):
    """P(theta); ``total_weight`` overrides the number of rows that k counts."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    total = weight.sum() if total_weight is None else total_weight
    return float(weight @ phi(loss, y * scores(theta, X)) + 0.5 * conv.k(total) * penalty(conv, theta))


def dual_objective(loss, conv, s, X, y, weight=None):
    """D(s) <= min P for every s in [0, 1]^n (squared hinge: s >= 0), a_i = c_i s_i:

        D = sum_i -c_i phi*(-s_i) - |R^(-1/2) Z|^2 / (2 k),   Z = sum_i a_i y_i x~_i,

    valid with a free intercept only if sum_i a_i y_i = 0 (the caller sees to that).
    """
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    k = conv.k(weight.sum())
    if loss == "hinge":
        conjugate = -s
    elif loss == "squared_hinge":
        conjugate = -s + s**2 / 4.0
    else:
        from scipy.special import xlog1py, xlogy

        conjugate = xlogy(s, s) + xlog1py(1.0 - s, -s)
    a = weight * s * y
    z = np.asarray(X.T @ a).ravel()
    norm = z @ z + (a.sum() ** 2 if conv.r else 0.0)
    return float(-(weight @ conjugate) - norm / (2.0 * k))


# ---------------------------------------------------------------- refits by independent solvers


def refit(loss, conv, X, y, weight=None, total_weight=None, theta0=None):
    """argmin P by a solver that shares nothing with the package.

    Hinge: LIBLINEAR's dual coordinate descent (intercept penalised or absent) or LIBSVM (free
    intercept), then the linear system of the rows on the margin; others: damped Newton to rounding.
    """
    X = X.toarray() if sp.issparse(X) else np.asarray(X, dtype=float)
    y = np.asarray(y, dtype=float)
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    k = conv.k(weight.sum() if total_weight is None else total_weight)
    keep = weight > 0
    X, y, weight = X[keep], y[keep], weight[keep]
    if loss == "hinge":
        return _refit_hinge(conv, X, y, weight, k)
    return _refit_newton(loss, conv, X, y, weight, k, theta0)


def _refit_newton(loss, conv, X, y, weight, k, theta0=None):
    n, d = X.shape
    A = np.column_stack([X, np.ones(n) if conv.fit_intercept else np.zeros(n)])
    R = np.append(np.ones(d), conv.r)
    theta = np.zeros(d + 1) if theta0 is None else np.array(theta0, dtype=float)

    def value(t):
        return weight @ phi(loss, y * (A @ t)) + 0.5 * k * (R * t) @ t

    current = value(theta)
    for _ in range(500):
        m = y * (A @ theta)
        grad = A.T @ (weight * dphi(loss, m) * y) + k * R * theta
        H = (A.T * (weight * d2phi(loss, m))) @ A + k * np.diag(R)
        if not conv.fit_intercept or H[-1, -1] == 0.0:
            H[-1, -1] += max(k, 1e-8)
        step = -np.linalg.solve(H, grad)
        slope = grad @ step
        t = 1.0
        while t > 1e-12:
            trial = value(theta + t * step)
            if trial <= current + 1e-4 * t * slope:
                break
            t *= 0.5
        else:
            break
        theta = theta + t * step
        done = np.abs(t * step).max() <= 1e-15 * max(1.0, np.abs(theta).max())
        current = trial
        if done:
            break
    if not conv.fit_intercept:
        theta[-1] = 0.0
    return theta


def _refit_hinge(conv, X, y, weight, k):
    from sklearn.svm import SVC, LinearSVC

    C = 1.0 / k
    if conv.fit_intercept and not conv.penalize_intercept:
        est = SVC(kernel="linear", C=C, tol=1e-6, cache_size=500).fit(X, y, sample_weight=weight)
    else:
        options = {"tol": 1e-9, "max_iter": 10_000_000, "random_state": 0}
        est = LinearSVC(loss="hinge", C=C, fit_intercept=conv.fit_intercept, **options)
        est.fit(X, y, sample_weight=weight)
    theta = np.append(est.coef_.ravel(), np.ravel(est.intercept_)[0] if conv.fit_intercept else 0.0)

    def value(t):
        return objective("hinge", ref_conv, t, X, y, weight, total_weight=1.0)

    ref_conv = conv._replace(alpha=k, C=None)
    candidates = [theta, *(_polish(conv, X, y, weight, k, theta, eps) for eps in (1e-8, 1e-6, 1e-5, 1e-4, 1e-3))]
    return min(candidates, key=value)


def _polish(conv, X, y, weight, k, theta, eps):
    """The optimum if the rows within eps of the margin are on it and the others stay on their side.

    k R theta = sum_below c_i y_i x~_i + sum_on a_i y_i x~_i and margin_i = 1 for the rows on it: a linear
    system in (theta, a), solved by least squares because duplicates make it singular.
    """
    d = X.shape[1]
    A = y[:, None] * np.column_stack([X, np.full(len(y), float(conv.fit_intercept))])
    m = A @ theta
    on = np.abs(m - 1.0) <= eps
    below = (m < 1.0) & ~on
    rows = np.unique(A[on], axis=0)
    size = d + 1
    K = np.zeros((size + len(rows), size + len(rows)))
    K[:size, :size] = k * np.diag(np.append(np.ones(d), conv.r))
    K[:size, size:] = -rows.T
    K[size:, :size] = rows
    if not conv.fit_intercept:
        K[d, d] = 1.0
    rhs = np.append(A[below].T @ weight[below], np.ones(len(rows)))
    solution = np.linalg.lstsq(K, rhs, rcond=1e-12)[0][:size]
    if not conv.fit_intercept:
        solution[-1] = 0.0
    return solution


# ---------------------------------------------------------------- the oracle


class Maximum(NamedTuple):
    x: np.ndarray
    y: float
    value: float


def difference(loss, theta, target, x, y):
    """phi(y theta.x~) - phi(y target.x~) at one point, margins summed by math.fsum."""
    u = math.fsum([*(np.asarray(x) * theta[:-1]), theta[-1]]) * y
    v = math.fsum([*(np.asarray(x) * target[:-1]), target[-1]]) * y
    return float(phi(loss, u) - phi(loss, v))


def rounding(loss, theta, target, x):
    """What float64 can do to ``difference`` at x.

    Every term of a dot product of d + 1 terms is rounded at most d + 3 times, and the loss magnifies a
    change of its margin by at most |phi'|.
    """
    x1 = np.append(np.abs(x), 1.0)
    error = (len(x1) + 3) * EPS
    total = 0.0
    for t in (theta, target):
        size = float(np.abs(t) @ x1)
        slope = 2.0 * (1.0 + size) if loss == "squared_hinge" else 1.0
        total += slope * error * (1.0 + size)
    return total


def oracle_lp(theta, target, lower, upper):
    """Hinge loss on a box by linear programming (HiGHS), two LPs for every label:

        max_x max(0, 1 - u) - max(0, 1 - v) = max( max_x 1 - u - t,  max_x -t ),   t >= 0, t >= 1 - v.

    The first term is a maximum of two affine functions, so its maximum is the larger of two maxima;
    the second is concave, and t is its epigraph.
    """
    d = len(theta) - 1
    best = None
    for y in (-1.0, 1.0):
        w, b, wp, bp = y * theta[:-1], y * theta[-1], y * target[:-1], y * target[-1]
        A = np.append(-wp, -1.0)[None, :]  # 1 - v <= t
        bounds = [*zip(lower, upper, strict=True), (0.0, None)]
        for slope, constant in ((w, 1.0 - b), (np.zeros(d), 0.0)):
            res = scipy.optimize.linprog(np.append(slope, 1.0), A_ub=A, b_ub=[bp - 1.0], bounds=bounds, method="highs")
            assert res.status == 0, res.message
            value = constant - res.fun
            if best is None or value > best.value:
                best = Maximum(res.x[:-1], y, float(value))
    return best


def _edge_maximum(loss, u0, u1, v0, v1):
    """(value, t) of max over t in [0, 1] of phi(u0 + t (u1 - u0)) - phi(v0 + t (v1 - v0)), edge by edge."""
    u0, u1, v0, v1 = (np.asarray(a, dtype=float)[:, None] for a in (u0, u1, v0, v1))
    du, dv = u1 - u0, v1 - v0

    def f(t):
        return phi(loss, u0 + t * du) - phi(loss, v0 + t * dv)

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        candidates = [np.zeros_like(u0), np.ones_like(u0), (1.0 - u0) / du, (1.0 - v0) / dv]
        if loss == "squared_hinge":
            # both losses active: (1 - u0 - t du)^2 - (1 - v0 - t dv)^2 is quadratic in t
            candidates.append((du * (1.0 - u0) - dv * (1.0 - v0)) / (du**2 - dv**2))
    t = np.concatenate(candidates, axis=1)
    t = np.where(np.isfinite(t), np.clip(t, 0.0, 1.0), 0.0)
    if loss == "log_loss":
        t = np.concatenate([t, np.broadcast_to(np.linspace(0.0, 1.0, 401), (len(u0), 401))], axis=1)
    values = f(t)
    best = values.argmax(axis=1)
    rows = np.arange(len(t))
    t_best, f_best = t[rows, best], values[rows, best]
    if loss == "log_loss":  # zoom around the best grid point
        width = 1.0 / 200.0
        while width > 1e-10:
            local = np.clip(t_best[:, None] + np.linspace(-width, width, 41), 0.0, 1.0)
            values = f(local)
            best = values.argmax(axis=1)
            better = values[rows, best] > f_best
            t_best = np.where(better, local[rows, best], t_best)
            f_best = np.where(better, values[rows, best], f_best)
            width /= 10.0
    return f_best, t_best


def oracle_edges(loss, theta, target, lower, upper):
    """The global maximum on a box by enumeration of **all** its d 2^(d-1) edges.

    The maximum lies on the frontier of the image of F in the plane of the two scores, and every
    boundary edge of that zonogon is the image of edges of the box.
    """
    lower, upper = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    d = len(lower)
    assert d <= 12
    best = Maximum(lower, 1.0, -np.inf)
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=d)))
    V = lower + corners * (upper - lower)
    for y in (-1.0, 1.0):
        u, v = y * scores(theta, V), y * scores(target, V)
        for j in range(d):
            at_lower = np.flatnonzero(corners[:, j] == 0.0)
            at_upper = at_lower + 2 ** (d - 1 - j)
            value, t = _edge_maximum(loss, u[at_lower], u[at_upper], v[at_lower], v[at_upper])
            i = int(value.argmax())
            if value[i] > best.value:
                x = V[at_lower[i]].copy()
                x[j] = lower[j] + t[i] * (upper[j] - lower[j])
                best = Maximum(x, y, float(value[i]))
    return best


def frontier(theta, target, lower, upper, y):
    """Vertices (m, d) of the lower-right frontier of {(u, v)}, from argmin u to argmax v.

    By the definition: the minimisers over the box of lam u - (1 - lam) v for lam between its breakpoints.
    """
    a, p = y * theta[:-1], y * target[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        breaks = p / (a + p)  # lam a_j = (1 - lam) p_j
    inside = np.isfinite(breaks) & (breaks > 0.0) & (breaks < 1.0)
    breaks = np.unique(np.concatenate([[0.0, 1.0], breaks[inside]]))
    lams = np.concatenate([[1.0], ((breaks[1:] + breaks[:-1]) / 2.0)[::-1], [0.0]])
    slope = np.outer(lams, a) - np.outer(1.0 - lams, p)
    # ties at the two ends are broken by the other score
    slope[0] = np.where(slope[0] == 0.0, -p, slope[0])
    slope[-1] = np.where(slope[-1] == 0.0, a, slope[-1])
    return np.where(slope > 0.0, lower, upper)


def oracle_frontier(loss, theta, target, lower, upper):
    """The global maximum on a box of any dimension by scanning every frontier edge of either label."""
    lower = np.broadcast_to(np.asarray(lower, dtype=float), (len(theta) - 1,))
    upper = np.broadcast_to(np.asarray(upper, dtype=float), (len(theta) - 1,))
    best = Maximum(lower, 1.0, -np.inf)
    for y in (-1.0, 1.0):
        V = frontier(theta, target, lower, upper, y)
        u, v = y * scores(theta, V), y * scores(target, V)
        value, t = _edge_maximum(loss, u[:-1], u[1:], v[:-1], v[1:])
        i = int(value.argmax())
        if value[i] > best.value:
            best = Maximum(V[i] + t[i] * (V[i + 1] - V[i]), y, float(value[i]))
    return best


def pool_scan(loss, theta, target, X, y=None):
    """max over the rows of a pool, either label where y is None: (row, label, value), the first best row."""
    best = (-1, 1.0, -np.inf)
    for label in (-1.0, 1.0):
        value = phi(loss, label * scores(theta, X)) - phi(loss, label * scores(target, X))
        if y is not None:
            value = np.where(np.asarray(y) == label, value, -np.inf)
        i = int(value.argmax())
        if value[i] > best[2]:
            best = (i, label, float(value[i]))
    return best


# ---------------------------------------------------------------- F3


def exact_penalty(conv, theta):
    """theta' R theta without rounding."""
    squares = [Fraction(float(t)) ** 2 for t in (theta if conv.r else theta[:-1])]
    return sum(squares, Fraction(0))


def lower_bound(conv, J_target, J_theta, max_difference, theta, target, gap=0.0):
    """F3 in exact rational arithmetic, as a Fraction; None where numerator or denominator is not positive.

        N >= [J(theta_p) - J(theta) - gap] / [max_difference + (alpha/2) (theta'R theta - theta_p'R theta_p)]

    (the last term in the alpha convention only; ``gap`` is the suboptimality allowed to the target).
    """
    numerator = Fraction(J_target) - Fraction(J_theta) - Fraction(gap)
    denominator = Fraction(max_difference)
    if conv.alpha is not None:
        denominator += Fraction(conv.alpha) / 2 * (exact_penalty(conv, theta) - exact_penalty(conv, target))
    if numerator <= 0 or denominator <= 0:
        return None
    return numerator / denominator


def path_bound(loss, conv, thetas, target, X, y, lower, upper):
    """The paper's bound along a path of models: the largest F3 over them, J on the clean rows alone.

    Models that are the target up to rounding are left out: there F3 is 0 / 0.
    """
    J_target = objective(loss, conv, target, X, y)
    best = 0.0
    for theta in thetas:
        if np.linalg.norm(theta - target) <= 1e-9 * np.linalg.norm(target):
            continue
        D = oracle_frontier(loss, theta, target, lower, upper).value
        bound = lower_bound(conv, J_target, objective(loss, conv, theta, X, y), D, theta, target)
        if bound is not None:
            best = max(best, float(bound))
    return best


# ---------------------------------------------------------------- Algorithm 1


class Run(NamedTuple):
    X_poison: np.ndarray
    y_poison: np.ndarray
    thetas: list
    differences: list


def algorithm_1(loss, conv, X, y, target, lower, upper, tol, max_points):
    """F2 as a plain loop: refit from scratch, add the point of maximum loss difference, until D <= tol."""
    X_poison, y_poison, thetas, differences = [], [], [], []
    while True:
        X_all = np.vstack([X, *X_poison]) if X_poison else X
        y_all = np.append(y, y_poison)
        theta = refit(loss, conv, X_all, y_all)
        best = oracle_frontier(loss, theta, target, lower, upper)
        thetas.append(theta)
        differences.append(best.value)
        if best.value <= tol or len(X_poison) >= max_points:
            break
        X_poison.append(best.x[None, :])
        y_poison.append(best.y)
    d = X.shape[1]
    return Run(np.vstack(X_poison) if X_poison else np.empty((0, d)), np.array(y_poison), thetas, differences)


# ---------------------------------------------------------------- targets with known figures


def flip_target(loss, conv, X, y, quantile=0.2, repeats=5):
    """(theta, n_flips): rows below the quantile of the clean margin, flipped, repeated, added; retrained."""
    clean = refit(loss, conv, X, y)
    margin = y * scores(clean, X)
    rows = np.flatnonzero(margin < np.quantile(margin, quantile))
    X_all = np.vstack([X, np.repeat(X[rows], repeats, axis=0)])
    y_all = np.append(y, np.repeat(-y[rows], repeats))
    return refit(loss, conv, X_all, y_all), repeats * len(rows)


def digits_1_vs_7():
    """1 is +1, 7 is -1; pixels / 16."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    rows = (y == 1) | (y == 7)
    return X[rows] / 16.0, np.where(y[rows] == 1, 1.0, -1.0)


def breast_cancer():
    """Min-max scaled to [0, 1]."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0))
    return np.clip(X, 0.0, 1.0), np.where(y == 1, 1.0, -1.0)
