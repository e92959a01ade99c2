r"""The attack of largest loss, and the certificate that no attack has a larger one.

.. math:: \max_{D_p} \min_\theta J(\theta; D_c \cup D_p) \;\le\; \min_\theta \Big[ J(\theta; D_c)
          + B \max_{(x, y) \in F} c_y \varphi(y\, \theta \cdot \tilde x) \Big]

with J the victim's objective, the penalty for all rows included. Both sides are equal where points may have fractional
weights: the left side is then concave in them, and its derivative is each point's loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtpfast.arrays.checks import check_count, check_number
from mtpfast.arrays.rounding import gamma
from mtpfast.results.result import PoisoningResult

from .task import Task, read_task, shared_out

__all__ = ["Saddle", "loss_bound", "min_max"]


TRIALS = 12  # of the length of a step, at most
NO_MORE = 1e-3  # of the derivative at the start of a step: it ends where so little is left


class Saddle(NamedTuple):
    """The worst points for one model.

    Attributes
    ----------
    upper_bound : float
        Proved, rounded up: the objective of no victim of at most so many points exceeds it, hence neither does its
        clean loss plus penalty.
    points : list of (x, y, value)
        For every label a feasible point of largest loss, and that loss times what the label weighs.
    """

    upper_bound: float
    points: list


def min_max(X, y, *, budget=0.03, max_iter=300, gap=1e-3, **options) -> PoisoningResult:
    """The points under which the victim's training loss is largest.

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`.
    max_iter : int
        Steps; each takes a few trainings of the victim.
    gap : float
        Stops where the bound is proved to exceed the loss under the (fractional) points by no more than this share.

    Returns
    -------
    PoisoningResult
        ``history["upper_bound"]``: the certified bound of the victim's objective (summed losses of clean rows and
        points, plus penalty) for any attack with as many points; ``history["saddle_value"]``: what the points reach
        before they are rounded to whole counts.

    Notes
    -----
    Left open or different in the paper: it plays online gradient descent against the point of largest loss, and takes
    the last points as the attack. Here the victim is trained exactly at every step, and weight moves from the point
    that costs the victim least to the one that costs it most, as far as the loss rises (pairwise Frank-Wolfe, with the
    derivative at hand: the difference of both losses). The bound is that of the paper at the best model met; the
    penalty is the victim's own, in place of a ball of models. In the ``alpha`` convention it counts the points. Counts
    are rounded to whole points at the end.

    A step costs one sort-free read of the features for the worst point, O(d), and warm trainings.

    References
    ----------
    Steinhardt, Koh, Liang, "Certified defenses for data poisoning attacks", NeurIPS 2017, Algorithm 1 and section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import min_max
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = min_max(X, y, budget=2, C=1.0)
    >>> bool(result.history["saddle_value"][0] <= result.history["upper_bound"][0])
    True
    """
    max_iter, gap = check_count(max_iter, "max_iter"), check_number(gap, "gap")
    task = read_task(X, y, budget, "min_max", **options)
    task.need_settled()
    return task.run(lambda: _search(task, max_iter, gap))


def loss_bound(task: Task, theta) -> Saddle:
    """What one model proves, and the points that hurt it most: O(n d)."""
    loss, w, b = task.objective.loss, theta[:-1], float(theta[-1])
    found, worst = [], 0.0
    for label, (x, least) in _lowest_margins(task, w, b).items():
        weight = task.objective.weight_of(label)
        worst = max(worst, weight * loss.at(least))
        value = weight * loss.at(label * (float(x @ w) + b))
        found.append((x, label, value))
    own = task.objective.weights(task.y, task.question.sample_weight)
    losses = loss.value(task.objective.margins(theta, task.X, task.y))
    clean = float(losses.sum()) if own is None else float(own @ losses)
    k = task.objective.k(task.objective.amount(task.y, task.question.sample_weight))
    k += task.budget * max(task.objective.k_of_point(label) for label in (-1.0, 1.0))
    total = clean + task.budget * worst + 0.5 * k * task.objective.penalty(theta)
    # each margin is off by gamma (|w| . |x| + |b|), which the loss passes on by its steepest slope
    reach = float(np.abs(w) @ _largest(task)) + abs(b)
    amount = float(len(task.y) if own is None else np.sum(own)) + task.budget
    steepest = -float(loss.derivative(np.array(-(reach + 1.0))))
    error = gamma(task.d + 8) * steepest * (1.0 + reach) * amount + gamma(len(task.y) + task.d + 8) * total
    return Saddle(float(np.nextafter(total + error, np.inf)), found)


def _largest(task):
    size = abs(task.X).max(axis=0)
    return size.toarray().ravel() if hasattr(size, "toarray") else np.asarray(size)


def _lowest_margins(task, w, b):
    """Label to (the point of the least margin, a margin that none is below)."""
    if task.space.is_finite:
        pool, signs, out = task.space, task.space.signs(), {}
        scores = np.asarray(pool.X @ w).ravel() + b
        room = gamma(task.d + 4) * (float(np.abs(w) @ pool.largest()[:-1]) + abs(b))
        for label in (1.0, -1.0):
            margin = np.where(np.ones(len(scores), bool) if signs is None else signs == label, label * scores, np.inf)
            if np.isfinite(margin.min()):
                i = int(np.argmin(margin))
                x = pool.X[[i]].toarray().ravel() if hasattr(pool.X, "toarray") else np.array(pool.X[i])
                out[label] = x, float(margin[i]) - room
        return out
    out = {}
    for label, region in task.regions.items():
        value, error = region.linear_maximum(-label * w, -label * b)
        x = task.canonical(region.linear_argmax(-label * w))[0]
        out[label] = x, -(value + error)
    return out


def _search(task, max_iter, gap):
    play, bound = _Play(task), np.inf
    for number in range(max_iter):
        saddle = loss_bound(task, play.theta)
        bound = min(bound, saddle.upper_bound)
        if number:
            value = play.value()
            task.extra = {"upper_bound": bound, "saddle_value": value}
            task.keep(*play.whole())
            task.step(value, upper_bound=bound)
            if bound - value <= gap * abs(bound):
                break
        x, label, _ = max(saddle.points, key=lambda point: point[2])
        if not play.towards(x, label):
            break
    task.notes.append(f"no attack with as many points has an objective above {bound:.6g}")


class _Play:
    """Points with shares of the budget, and the victim trained on them."""

    def __init__(self, task):
        self.task, self.loss = task, task.objective.loss
        self.victim = task.moving(1e-10)
        self.points, self.labels, self.shares, self._index = [], [], np.zeros(0), {}
        self.moved = 1.0  # the weight that the last step has moved
        self.theta = self.victim.theta

    def _take_in(self, x, label):
        key = (x + 0.0).tobytes(), label
        if key not in self._index:
            self._index[key] = len(self.points)
            self.points.append(x)
            self.labels.append(label)
            self.shares = np.append(self.shares, 0.0)
        return self._index[key]

    def _train(self, shares):
        used = np.flatnonzero(shares)
        points, labels = [self.points[i] for i in used], [self.labels[i] for i in used]
        return self.victim.place(points, labels, self.task.budget * shares[used])

    def cost(self, i, theta):
        """What a point costs the victim."""
        label = self.labels[i]
        margin = label * (float(self.points[i] @ theta[:-1]) + theta[-1])
        return self.task.objective.weight_of(label) * self.loss.at(margin)

    def towards(self, x, label) -> bool:
        """Move weight to this point, from the one that costs least, as far as the victim's loss rises."""
        to = self._take_in(x, label)
        used = np.flatnonzero(self.shares)
        if not len(used):
            self.shares[to] = 1.0
            self.theta = self._train(self.shares)
            return True
        origin = used[np.argmin([self.cost(i, self.theta) for i in used])]
        first = self.cost(to, self.theta) - self.cost(origin, self.theta)
        if origin == to or first <= 0.0:
            return False
        whole = self.shares[origin]
        part = min(1.0, 2.0 * self.moved / whole)  # a step is about as long as the one before: far jumps cost much
        low, high = (0.0, first), None  # parts with the derivative there: it falls, and the step ends where it is 0
        for _ in range(TRIALS):
            trial = self.shares.copy()
            trial[origin] = (1.0 - part) * whole
            trial[to] += part * whole
            theta = self._train(trial)
            slope = self.cost(to, theta) - self.cost(origin, theta)
            if abs(slope) <= NO_MORE * first or (part == 1.0 and slope > 0.0):
                break
            if slope > 0.0 and high is None:
                low, part = (part, slope), min(1.0, 4.0 * part)
                continue
            if slope > 0.0:  # a secant, the end that stays away halved (Illinois)
                low, high = (part, slope), (high[0], 0.5 * high[1])
            else:
                low, high = (low if high is None else (low[0], 0.5 * low[1])), (part, slope)
            part = low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])
        self.moved = max(part * whole, 1e-6)
        self.shares, self.theta = trial, theta
        return True

    def whole(self):
        """(points, labels, whole counts)."""
        return self.points, self.labels, shared_out(self.shares, self.task.budget)

    def value(self):
        """The victim's objective with the points as they are."""
        task, objective, theta = self.task, self.task.objective, self.theta
        own = objective.weights(task.y, task.question.sample_weight)
        losses = self.loss.value(objective.margins(theta, task.X, task.y))
        total = float(losses.sum()) if own is None else float(own @ losses)
        k = objective.k(objective.amount(task.y, task.question.sample_weight))
        for i in np.flatnonzero(self.shares):
            n = task.budget * self.shares[i]
            total += n * self.cost(i, theta)
            k += n * objective.k_of_point(self.labels[i])
        return total + 0.5 * k * objective.penalty(theta)
