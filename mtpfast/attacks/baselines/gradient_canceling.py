"""Points whose gradients cancel that of the clean rows at a target."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from mtpfast.arrays.checks import as_theta, check_count, check_labels, check_number, check_X
from mtpfast.attacks.ascent import best_point
from mtpfast.losses.objective import make_objective
from mtpfast.results.result import PoisoningResult
from mtpfast.training.victim import refit

from .kkt import Stationarity
from .least_squares import least_squares
from .task import VICTIM, Task, read_task, shared_out

__all__ = ["grad_pc", "gradient_canceling"]


def gradient_canceling(X, y, *, budget=0.03, n_distinct=20, n_shares=5, max_iter=500, **options) -> PoisoningResult:
    r"""Gradient canceling: move points until their gradients sum to the opposite of that of the clean rows.

    .. math:: \min_{x_1, \dots, x_B \in F} \tfrac12 \Big| G + k R \theta_p
              - \sum_j c_{y_j} s(m_j)\, y_j\, \tilde x_j \Big|^2, \qquad m_j = y_j\, \theta_p \cdot \tilde x_j

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`, with ``target``; :func:`grad_pc` makes one as the authors do.
    n_distinct : int
        Distinct points; the budget is shared out among those of a label evenly.
    n_shares : int
        Splits of the budget between the labels that are tried, evenly spaced, each from random clean rows.
    max_iter : int
        Steps at each split.

    Returns
    -------
    PoisoningResult
        ``history["residual"]``: the residual divided by k.

    Notes
    -----
    Left open or different in the paper: the penalty is part of the gradient (there is none there), labels are split
    as ``n_shares`` says, and the best split is searched once more between its neighbours. For smooth losses on a
    box the steps are those of L-BFGS-B in the coordinates of all points, in place of projected gradient steps. For the
    hinge (whose pull is 1 up to margin 1, and no function of the coordinates there) and in other convex sets they are
    those of conditional gradient: the points of a label, kept where they pull, move towards the one that cancels most,
    by the exact line search; clean rows on the margin
    take what suits best, as in :func:`kkt`. Below a threshold of the budget no points cancel the gradient: the exact
    minimum (:func:`mtpfast.minimum_poisoning`).

    A step costs O(n_distinct d), or a sort of the features; clean rows are read once.

    References
    ----------
    Lu, Kamath, Yu, "Exploring the limits of model-targeted indiscriminate data poisoning attacks", ICML 2023,
    Algorithm 1 and section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import gradient_canceling
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = gradient_canceling(X, y, budget=4, target=([0.1], 0.0), loss="log_loss", C=1.0)
    >>> result.n_points
    4
    """
    n_distinct, max_iter = check_count(n_distinct, "n_distinct"), check_count(max_iter, "max_iter")
    n_shares = check_count(n_shares, "n_shares", low=2)
    task = read_task(X, y, budget, "gradient_canceling", **options)
    task.need_target()
    task.need_settled()
    task.need_hull()
    return task.run(lambda: _search(task, n_distinct, n_shares, max_iter))


def grad_pc(X, y, radius, *, max_iter=1, sample_weight=None, theta=None, **victim) -> np.ndarray:
    r"""A target by gradient-based parameter corruption: the clean model, moved uphill by ``radius``.

    .. math:: \theta_p = \theta + \epsilon\, \nabla L(\theta) / |\nabla L(\theta)|_2

    Parameters
    ----------
    X, y
        As in :func:`gradient_canceling`.
    radius : float
        l2 norm of the corruption, ``epsilon``.
    max_iter : int
        Steps, of equal length; the gradient is that of the model reached.
    sample_weight, theta : optional
        ``theta``: the model that is corrupted; the clean victim by default.
    **victim
        loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows.

    Returns
    -------
    ndarray of shape (n_features + 1,)

    Notes
    -----
    L is the summed loss of the clean rows, without the penalty. At the clean victim it is uphill to smaller models
    ever so slightly: ``nabla L = -k R theta`` there.

    References
    ----------
    Sun, Zhang, Ren, Luo, Li, "Exploring the vulnerability of deep neural networks: a study of parameter corruption",
    AAAI 2021; used by Lu, Kamath, Yu (2023), section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import grad_pc
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> float(np.linalg.norm(grad_pc(X, y, 0.5, theta=([1.0], -1.0), loss="log_loss") - [1.0, -1.0]).round(9))
    0.5
    """
    radius, max_iter = check_number(radius, "radius", strict=True), check_count(max_iter, "max_iter")
    unknown = sorted(set(victim) - set(VICTIM))
    if unknown:
        raise TypeError(f"grad_pc takes the victim's options, got {unknown[0]!r}")
    objective, X = make_objective(**victim), check_X(X)
    y = check_labels(y, X.shape[0])
    at = refit(X, y, objective, sample_weight).theta if theta is None else as_theta(theta, X.shape[1], "theta")
    c = objective.weights(y, sample_weight)
    for _ in range(max_iter):
        pull = np.asarray(objective.loss.derivative(objective.margins(at, X, y))) * y * (1.0 if c is None else c)
        gradient = np.append(X.T @ pull, objective.one * pull.sum())
        size = float(np.linalg.norm(gradient))
        if size == 0.0:
            raise ValueError("no row of X has a loss that could rise: the gradient is 0")
        at = at + radius / max_iter / size * gradient
    return at


def _search(task: Task, n_distinct, n_shares, max_iter):
    problem, known, best = Stationarity(task), {}, [np.inf]

    def residual(plus):
        if plus not in known:
            known[plus], points, labels, counts = _cancel(problem, plus, task.budget - plus, n_distinct, max_iter)
            if known[plus] < best[0]:
                best[0] = known[plus]
                task.extra = {"residual": best[0]}
                task.keep(points, labels, counts)
            task.step(best[0], split=plus)
        return known[plus]

    ends = (0 if -1.0 in task.regions else task.budget, task.budget if 1.0 in task.regions else 0)
    for plus in sorted({round(plus) for plus in np.linspace(*ends, n_shares)}):
        residual(plus)
    for _ in range(2 * n_shares):
        order = sorted(known)
        at = order.index(min(order, key=known.get))
        gaps = [(order[i + 1] - order[i], i) for i in (at - 1, at) if 0 <= i < len(order) - 1]
        width, i = max(gaps, default=(1, 0))
        if width <= 1 or best[0] <= 1e-9:
            break
        residual((order[i] + order[i + 1]) // 2)


def _cancel(problem, plus, minus, n_distinct, max_iter):
    """``(residual / k, points, labels, counts)`` at this split."""
    task, objective = problem.task, problem.objective
    labels, counts = [], []
    for label, total in ((1.0, plus), (-1.0, minus)):
        n = min(total, max(1, n_distinct // 2))
        if n:
            labels += [label] * n
            counts += shared_out(np.ones(n), total).tolist()
    labels, counts = np.array(labels), np.array(counts)
    weights = counts * np.array([objective.weight_of(label) for label in labels])
    k = problem.k + sum(n * objective.k_of_point(label) for label, n in zip(labels, counts, strict=True))
    right = problem.gradient + k * problem.R * problem.theta
    box = all(region.is_box for region in task.regions.values())
    cancel = _Smooth if box and not problem.loss.kinked else _Conditional
    points, value = cancel(problem, labels, weights, right).run(max_iter)
    return value / k, points, labels, counts


class _Smooth:
    """L-BFGS-B in the coordinates of all points."""

    def __init__(self, problem, labels, weights, right):
        self.problem, self.labels, self.weights, self.right = problem, labels, weights, right
        task = problem.task
        self.low = np.array([task.regions[label].lower for label in labels])
        self.high = np.array([task.regions[label].upper for label in labels])
        rows, flipped = task.flips()
        points = []
        for label in labels:
            own = rows[flipped == label]
            points.append(task.row(task.rng.choice(own if len(own) else rows)))
        self.points = np.clip(np.array(points), self.low, self.high)
        self.scale = float(np.linalg.norm(right)) or 1.0

    def _value(self, flat):
        loss, theta, one = self.problem.loss, self.problem.theta, self.problem.objective.one
        X = flat.reshape(self.points.shape)
        m = self.labels * (X @ theta[:-1] + theta[-1])
        s, bend = -np.asarray(loss.derivative(m)), np.asarray(loss.second_derivative(m))
        pull = self.weights * s * self.labels
        off = np.append(self.right[:-1] - X.T @ pull, one * (self.right[-1] - pull.sum())) / self.scale
        along = X @ off[:-1] + one * off[-1]
        slope = (self.weights * bend * along)[:, None] * theta[:-1] - pull[:, None] * off[:-1]
        return 0.5 * float(off @ off), (slope / self.scale).ravel()

    def run(self, max_iter):
        bounds = np.column_stack([self.low.ravel(), self.high.ravel()])
        options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "ftol": 0.0, "gtol": 1e-12, "maxcor": 20}
        answer = minimize(self._value, self.points.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        points = np.clip(answer.x.reshape(self.points.shape), self.low, self.high)
        return points, self.scale * np.sqrt(2.0 * self._value(points.ravel())[0])


class _Conditional:
    """Conditional gradient: one point moves at a time, towards the one of its region that cancels most."""

    def __init__(self, problem, labels, weights, right):
        self.problem, self.labels, self.weights, self.right = problem, labels, weights, right

    def _pull(self, i, x):
        label, theta = self.labels[i], self.problem.theta
        margin = label * (float(x @ theta[:-1]) + theta[-1])
        s = float(margin <= 1.0 + 1e-9) if self.problem.loss.kinked else self.problem.loss.pull(margin)
        return self.weights[i] * s * label * np.append(x, self.problem.objective.one)

    def run(self, max_iter):
        task, theta, loss = self.problem.task, self.problem.theta, self.problem.loss
        points, off = [], self.right.copy()
        for i, label in enumerate(self.labels):
            best = best_point(task.regions[label], label, theta, off, loss)
            if best is None:  # no point of this label pulls at all
                return [task.regions[y].linear_argmax(-y * theta[:-1]) for y in self.labels], np.inf
            points.append(best[0])
            off = off - self._pull(i, best[0])
        shared, rows = np.zeros(len(self.right)), self.problem.rows
        for number in range(max_iter):
            i = number % len(points)
            if len(rows) and number % (10 * len(points)) == 0:  # what the clean rows on the margin take over
                off = off + shared
                t = least_squares(rows.T, off, np.zeros(len(rows)), self.problem.t_high)
                shared = rows.T @ t
                off = off - shared
            label = self.labels[i]
            best = best_point(task.regions[label], label, theta, off + self._pull(i, points[i]), loss)
            own = best_point(task.regions[label], label, theta, off, loss)
            moved = 0.0
            for end in (own, best):
                if end is None:
                    continue
                change = self._pull(i, end[0]) - self._pull(i, points[i])
                size = float(change @ change)
                part = min(1.0, max(0.0, float(off @ change) / size)) if size > 0.0 else 0.0
                x = task.regions[label].into(points[i] + part * (end[0] - points[i]))
                after = off + self._pull(i, points[i]) - self._pull(i, x)
                if np.linalg.norm(after) < np.linalg.norm(off):
                    moved += float(np.linalg.norm(off) - np.linalg.norm(after))
                    points[i], off = x, after
            if np.linalg.norm(off) <= 1e-12:
                break
        return points, float(np.linalg.norm(off))
