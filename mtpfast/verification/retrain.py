"""The victim trained again by scikit-learn or SciPy."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import linprog, minimize
from scipy.sparse.linalg import LinearOperator, cg

from mtpfast.arrays.streams import quietly
from mtpfast.losses.margin import HINGE, LOG_LOSS, SQUARED_HINGE

if TYPE_CHECKING:
    from mtpfast.losses.objective import Objective

__all__ = ["Proof", "Training", "descend", "prove", "reference_fit", "retrain", "row_norms"]


WORK = 4e8  # multiplications that a solver may take: a second or so
AGREE = 1e-6  # two accurate models of one data set, relative to max(1, |theta|)


class Training(NamedTuple):
    """What the victim is trained on: distinct rows, signs, sample weights (of all copies of a row together), what rows
    weigh, the weight of the penalty, and what a row of each label weighs, -1 and +1 (None: 1)."""

    objective: Objective
    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    c: np.ndarray
    k: float
    class_weight: tuple[float, float] | None

    @classmethod
    def of(cls, objective, X, y, weight=None, copies=None) -> Training:
        """``copies``: how many rows each row stands for, each with its ``weight``; None: one.

        Copies pull alike, so a row that weighs as much as all of them has the same minimiser. What depends on the
        number of rows (``alpha`` times rows, "balanced") is counted over the copies.
        """
        all_y, all_weight = y, weight
        if copies is not None:
            all_y, all_weight = np.repeat(y, copies), None if weight is None else np.repeat(weight, copies)
            weight = copies * (1.0 if weight is None else weight)
        own = objective.settled(objective.class_totals(all_y, all_weight))
        c = own.weights(y, weight)
        k = objective.k(objective.amount(all_y, all_weight))
        return cls(objective, X, y, weight, np.ones(len(y)) if c is None else c, k, own.class_weight)

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


class Proof(NamedTuple):
    """What is proved of a model ``(w, b)``; ``(w*, b*)`` is any minimiser.

    ``|w - w*| <= error`` (of all of ``(w, b)``, where the intercept is penalised), ``low <= b* <= high`` for
    a free intercept, and no model has an objective below ``least``.
    """

    error: float
    low: float
    high: float
    least: float

    def moved_to(self, model, theta) -> Proof:
        """What is proved of theta by this proof for another model."""
        apart = float(np.linalg.norm(model - theta))
        return self._replace(error=self.error + apart)

    def with_(self, other) -> Proof:
        """What both prove together."""
        return Proof(
            min(self.error, other.error),
            max(self.low, other.low),
            min(self.high, other.high),
            max(self.least, other.least),
        )


def prove(training, theta, target) -> Proof:
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
    enough = 0.1 * AGREE * float(max(np.linalg.norm(theta), np.linalg.norm(target)))
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
    kinked = training.objective.loss.kinked
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
    excess = 0.0
    if loss.kinked:
        excess = max(0.0, float(np.sum(training.c * np.maximum(0.0, 1.0 - margin) - pulls * (1.0 - margin))))
    if not training.free:
        size = float(np.linalg.norm(training.subgradient(theta, pulls)))
        return Proof(_root(k, size, excess), -math.inf, math.inf, value - excess - size**2 / (2 * k))
    pulls = pulls.copy()
    inner = np.flatnonzero((pulls > 0.0) & (pulls < training.c))
    if loss.kinked and len(inner):  # so that the last entry is 0, to the last digit
        j = inner[np.argmin(np.abs(pulls[inner] / training.c[inner] - 0.5))]
        pulls[j] = np.clip(pulls[j] + training.y[j] * training.subgradient(theta, pulls)[-1], 0.0, training.c[j])
    g = training.subgradient(theta, pulls)
    size, tilt = float(np.linalg.norm(g[:-1])), abs(float(g[-1]))
    scores = training.X @ theta[:-1]
    norms = row_norms(training.X)
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
    return Proof(error, low, high, value - excess - lean - size**2 / (2 * k))


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


def row_norms(X):
    """|x| of every row."""
    squares = X.multiply(X).sum(axis=1) if sp.issparse(X) else np.einsum("ij,ij->i", X, X)
    return np.sqrt(np.asarray(squares, dtype=float).ravel())


def _pulls(training, theta):
    """Values of ``alpha`` to prove with, one after the other: what each row pulls with at theta."""
    loss = training.objective.loss
    margin = training.objective.margins(theta, training.X, training.y)
    if not loss.kinked:
        yield -training.c * loss.derivative(margin)
        return
    size = np.maximum(1.0, row_norms(training.X) * float(np.linalg.norm(theta[:-1])))
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
    answer = quietly(
        linprog,
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


def reference_fit(training):
    """``(theta, solver, finished)``: the victim trained by somebody else's code, within ``WORK``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    objective, X, y, weight, _, k, _ = training
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
        return descend(training, np.zeros(d + 1)), "scipy.optimize.minimize", True
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


def retrain(training, tol=1e-6):
    """The victim from scratch, by scikit-learn's own trainer of this loss, to its ``tol`` and without a limit of work.

    LinearSVC, SVC (hinge, free intercept), LogisticRegression (a penalised intercept is a column of ones there, for
    LIBLINEAR's logistic regression stops early); L-BFGS on the objective where scikit-learn has no such trainer.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    objective, X, y, weight, _, k, _ = training
    loss, common = objective.loss, {"C": 1.0 / k, "random_state": 0, "tol": tol}
    if training.class_weight is not None:
        common["class_weight"] = dict(zip((-1.0, 1.0), training.class_weight, strict=True))
    if loss in (HINGE, SQUARED_HINGE) and not training.free:
        model = LinearSVC(
            loss=loss.name, dual=loss.kinked, fit_intercept=objective.fit_intercept, max_iter=10_000_000, **common
        )
    elif loss is HINGE:
        model = SVC(kernel="linear", cache_size=500, **common)
    elif loss is LOG_LOSS:
        if not training.free:
            ones = np.full((len(y), 1), float(objective.fit_intercept))
            X = sp.hstack([X, ones], format="csr") if sp.issparse(X) else np.hstack([X, ones])
        solver = "lbfgs" if sp.issparse(X) and X.shape[1] > 3000 else "newton-cholesky"
        model = LogisticRegression(fit_intercept=training.free, solver=solver, max_iter=10_000, **common)
    else:
        return descend(training, np.zeros(X.shape[1] + 1))
    model.fit(X, y, sample_weight=weight)
    coef = model.coef_.toarray() if sp.issparse(model.coef_) else model.coef_
    if loss is LOG_LOSS and not training.free:
        return coef.ravel()
    return np.append(coef.ravel(), model.intercept_ if objective.fit_intercept else 0.0)


def descend(training, start):
    """L-BFGS on the objective itself, from ``start``: a model that is no worse. The hinge is rounded off, ever less."""
    objective, X, y, _, c, k, _ = training
    R = objective.R(len(start) - 1)
    free = np.append(np.ones(len(start) - 1), float(objective.fit_intercept))
    total, loss = float(c.sum()), objective.loss
    nnz = X.nnz if sp.issparse(X) else X.size
    best, least = start, training.value(start)
    for width in (0.0,) if not loss.kinked else (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):

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
