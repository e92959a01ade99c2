"""Two distinct points that make a target stationary, or as nearly as they can."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import least_squares as solve_equations
from scipy.optimize import minimize

from mtpfast.arrays.checks import check_count
from mtpfast.results.result import PoisoningResult

from .least_squares import least_squares
from .task import Task, read_task

__all__ = ["Stationarity", "kkt"]


MARGIN_TOL = 1e-6  # clean rows of the hinge this near to margin 1 are on it
SOLVED = 1e-9  # a residual that needs no better
STARTS = ((0.0, 0.0), (0.9, 0.9), (-1.0, 0.5), (0.5, -1.0))  # margins of both points


def kkt(X, y, *, budget=0.03, n_shares=11, refine=40, **options) -> PoisoningResult:
    r"""The KKT attack: two points, one for each label, of least stationarity residual at the target.

    .. math:: \min_{x_+, x_-} \Big| G + k R \theta_p - \sum_{y = \pm 1} n_y c_y\, s(m_y)\, y\, \tilde x_y
              - \sum_{i \text{ on the margin}} t_i y_i \tilde x_i \Big|, \qquad m_y = y\, \theta_p \cdot \tilde x_y

    with G the gradient of the clean loss at the target and ``s = -phi'``; for the hinge ``m_y <= 1`` and s = 1.

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`, with ``target``.
    n_shares : int
        Splits of the budget between the labels that are tried first, evenly spaced.
    refine : int
        Further splits, between the neighbours of the best: an interval is halved at each. For smooth losses also the
        number of pairs of margins that are tried at the best split, where the equations have no solution there.

    Returns
    -------
    PoisoningResult
        ``history["residual"]``: the residual divided by k. If the penalty holds all of theta, the victim is no
        farther from the target.

    Notes
    -----
    Left open or different in the paper. The original keeps one-hot equalities and leaves out the row of the intercept;
    here the feasible set is the one that every attack has, and the intercept's row is in the objective. Clean rows on
    the margin of the hinge take the ``t_i`` in [0, c_i] that suit best (the paper fixes a subgradient). At a split of
    the hinge the problem is a convex least-squares problem, solved by an interior-point method, and the best residual
    is convex in the split, so that whole splits are searched to the best one. For smooth losses the margins are
    solved for first: the row of the intercept and the product with ``w`` are two equations in them; what
    is left is the same least-squares problem. Where they have no solution, margins are searched (Nelder-Mead).

    Complexity: one read of the rows; per split about 30 factorisations of order min(d, 2 d + rows on the margin).

    References
    ----------
    Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses", Machine Learning 2022,
    section 4.3 (the attack) and 4.1.1 (two distinct points).

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import kkt
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = kkt(X, y, budget=4, target=([0.1], 0.0), C=1.0)
    >>> len(result.points) <= 2
    True
    """
    n_shares, refine = check_count(n_shares, "n_shares", low=2), check_count(refine, "refine", low=0)
    task = read_task(X, y, budget, "kkt", **options)
    task.need_target()
    task.need_settled()
    task.need_hull()
    return task.run(lambda: _search(task, n_shares, refine))


def _search(task: Task, n_shares, refine):
    stationarity = Stationarity(task)
    known, best = {}, [np.inf]

    def residual(plus, tries=0):
        if plus not in known or tries:
            known[plus], points, labels, counts = stationarity.solve(plus, task.budget - plus, tries)
            if known[plus] < best[0]:
                best[0] = known[plus]
                task.extra = {"residual": best[0]}
                task.keep(points, labels, counts)
            task.step(best[0], split=plus)
        return known[plus]

    ends = (0 if -1.0 in task.regions else task.budget, task.budget if 1.0 in task.regions else 0)
    tried = sorted({round(plus) for plus in np.linspace(*ends, n_shares)})
    for plus in tried:
        residual(plus)
    for _ in range(refine):
        if best[0] <= SOLVED:
            break
        order = sorted(known)
        at = order.index(min(order, key=known.get))
        gaps = [(order[i + 1] - order[i], i) for i in (at - 1, at) if 0 <= i < len(order) - 1]
        width, i = max(gaps, default=(1, 0))
        if width <= 1:
            break
        residual((order[i] + order[i + 1]) // 2)
    if refine and best[0] > SOLVED and not task.objective.loss.kinked:
        residual(min(known, key=known.get), refine)


class Stationarity:
    """The residual of two points at the target, as a least-squares problem in them.

    Unknowns: the coordinates of the point of every label that has copies, then the ``t_i`` of the rows on the margin.
    """

    def __init__(self, task: Task):
        self.task, self.objective, self.loss = task, task.objective, task.objective.loss
        self.theta = theta = task.target
        X, y, objective = task.X, task.y, task.objective
        own = objective.weights(y, task.question.sample_weight)
        c = np.ones(len(y)) if own is None else own
        margins = objective.margins(theta, X, y)
        pulls = -c * np.asarray(self.loss.derivative(margins))
        self.on = np.zeros(0, dtype=int)
        if self.loss.kinked:
            self.on = np.flatnonzero((np.abs(margins - 1.0) <= MARGIN_TOL) & (c > 0.0))
            pulls = np.where(margins < 1.0, c, 0.0)
            pulls[self.on] = 0.0
        self.gradient = -np.append(X.T @ (pulls * y), objective.one * float(pulls @ y))
        rows = X[self.on].toarray() if sp.issparse(X) else X[self.on]
        self.rows = y[self.on, None] * np.column_stack([rows, np.full(len(rows), objective.one)])
        self.t_high = c[self.on]
        self.k = objective.k(objective.amount(y, task.question.sample_weight))
        self.R = objective.R(task.d)

    def solve(self, plus, minus, tries=0):
        """``(residual / k, points, labels, counts)`` at this split."""
        objective, counts = self.objective, {1.0: plus, -1.0: minus}
        labels = [label for label in (1.0, -1.0) if counts[label] > 0]
        k = self.k + sum(counts[label] * objective.k_of_point(label) for label in labels)
        right = self.gradient + k * self.R * self.theta
        weights = {label: counts[label] * objective.weight_of(label) for label in labels}
        if self.loss.kinked:
            value, points = self._least(labels, weights, right, None)
        else:
            value, points = self._smooth(labels, weights, right, k, tries)
        return value / k, points, labels, [counts[label] for label in labels]

    def _least(self, labels, pulls, right, margins):
        """The least residual with these pulls, and the points; ``margins``: of the points, or at most 1."""
        task, d, w, b = self.task, self.task.d, self.theta[:-1], float(self.theta[-1])
        n = len(labels) * d + len(self.on)
        A, low, high = np.zeros((d + 1, n)), np.zeros(n), np.zeros(n)
        C, limits, E, values = [], [], [], []
        a = -right.copy()
        for number, label in enumerate(labels):
            columns, region = np.arange(number * d, (number + 1) * d), task.regions[label]
            A[np.arange(d), columns] = -label * pulls[label]
            a[-1] += self.objective.one * label * pulls[label]
            low[columns], high[columns] = region.lower, region.upper
            row = np.zeros(n)
            row[columns] = label * w
            if margins is None:
                C.append(row)
                limits.append(1.0 - label * b)
            else:
                E.append(row)
                values.append(margins[label] - label * b)
            for normal, limit in region.planes:
                row = np.zeros(n)
                row[columns] = normal
                C.append(row)
                limits.append(limit)
        A[:, len(labels) * d :] = -self.rows.T
        high[len(labels) * d :] = self.t_high
        if not self.objective.fit_intercept:
            A, a = A[:-1], a[:-1]
        rows = (np.array(M).reshape(-1, n) for M in (C, E))
        (C, E), limits, values = rows, np.array(limits), np.array(values)
        u = least_squares(A, a, low, high, C, limits, E, values)
        points = []
        for number, label in enumerate(labels):
            x = task.regions[label].into(u[number * d : (number + 1) * d])
            u[number * d : (number + 1) * d] = x
            points.append(x)
        off = float(np.linalg.norm(A @ u - a))
        if margins is not None:  # what rows were missed counts: the pulls belong to the margins
            off = self._true(labels, pulls, right, points)
        elif len(C) and np.any(C @ u > limits + 1e-7 * (1.0 + np.abs(limits))):
            off = np.inf
        return off, points

    def _true(self, labels, pulls, right, points):
        """The residual of smooth losses with the pulls that the points have."""
        off = right.copy()
        for label, x in zip(labels, points, strict=True):
            s = self._full[label] * self.loss.pull(label * (float(x @ self.theta[:-1]) + self.theta[-1]))
            off -= s * label * np.append(x, self.objective.one)
        return float(np.linalg.norm(off if self.objective.fit_intercept else off[:-1]))

    def _smooth(self, labels, weights, right, k, tries):
        self._full, task = weights, self.task
        w, b, one = self.theta[:-1], float(self.theta[-1]), self.objective.one
        ranges = []
        for label in labels:
            region = task.regions[label]
            ends = [region.linear_maximum(sign * label * w, sign * label * b)[0] for sign in (-1.0, 1.0)]
            ranges.append((-ends[0], ends[1]))
        low, high = np.array(ranges).T
        high = np.maximum(high, low + 1e-9)

        def equations(m):
            """The intercept's row, and the product with w: both 0 where the points cancel the rest."""
            E = [weights[label] * self.loss.pull(float(margin)) for label, margin in zip(labels, m, strict=True)]
            first = one * (right[-1] - sum(e * label for e, label in zip(E, labels, strict=True)))
            second = float(right[:-1] @ w) - sum(
                e * (margin - label * b) for e, label, margin in zip(E, labels, m, strict=True)
            )
            return np.array([first, second]) / k

        def least(m):
            m = np.clip(m, low, high)
            pulls = {label: weights[label] * self.loss.pull(float(v)) for label, v in zip(labels, m, strict=True)}
            return self._least(labels, pulls, right, dict(zip(labels, m, strict=True)))

        best, points, at, seen = np.inf, None, None, []
        for start in STARTS:
            begin = np.clip(np.array(start)[: len(labels)], low + 1e-3 * (high - low), high - 1e-3 * (high - low))
            m = solve_equations(equations, begin, bounds=(low, high), xtol=1e-15, ftol=1e-15, gtol=1e-15).x
            if any(np.linalg.norm(m - other) <= 1e-6 for other in seen):
                continue
            seen.append(m)
            value, found = least(m)
            if value < best:
                best, points, at = value, found, m
            if best <= SOLVED * k:
                return best, points
        if tries:
            answer = minimize(
                lambda m: least(m)[0], at, method="Nelder-Mead", options={"maxfev": tries, "xatol": 1e-7, "fatol": 0.0}
            )
            value, found = least(answer.x)
            if value < best:
                best, points = value, found
        return best, points
