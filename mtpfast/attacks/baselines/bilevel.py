"""What bilevel attacks share: distinct points with counts, the exact victim, and its loss on the rows aimed at."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .implicit import Implicit
from .task import Task

__all__ = ["Bilevel"]


class Bilevel:
    """The victim's mean loss on the rows aimed at, as a function of the points.

    Attributes
    ----------
    points : ndarray of shape (n, d)
    labels, counts : ndarray of shape (n,)
    theta : ndarray
        The victim trained on clean rows and points.
    value : float
        Its mean loss on the rows aimed at.
    """

    def __init__(self, task: Task):
        task.need_settled()
        self.task, self.aim, self.victim = task, task.loss_aim, task.moving(1e-10)
        own = task.objective.weights(task.y, task.question.sample_weight)
        self.c = np.ones(len(task.y)) if own is None else own
        self.points, self.labels, self.counts = np.zeros((0, task.d)), np.zeros(0), np.zeros(0)
        self.theta, self.value = self.victim.theta, self.aim.value(self.victim.theta)
        self.best = -np.inf  # of what was kept last

    def place(self, points, labels, counts) -> float:
        """Train on these points; returns the loss aimed at."""
        self.points, self.labels, self.counts = np.array(points, dtype=float), np.array(labels), np.array(counts)
        self.theta = self.victim.place(self.points, self.labels, self.counts)
        self.value = self.aim.value(self.theta)
        return self.value

    def derivative(self) -> Implicit:
        """The implicit derivative of the loss aimed at."""
        aim, task = self.aim, self.task
        slopes = aim.share * aim.metric.derivative(aim.margins(self.theta)) * aim.y
        v = np.append(np.asarray(aim.X.T @ slopes).ravel(), slopes.sum())
        at = Implicit(
            task.objective, task.X, task.y, self.c, self.points, self.labels, self.counts, self.victim.k, self.theta
        )
        return at.look(v)

    def moved(self, x, label, direction, length):
        """A point of the region, from x along a direction: projected onto a box; else towards its farthest point."""
        region = self.task.regions[label]
        size = float(np.linalg.norm(direction))
        if size == 0.0:
            return x
        if region.is_box:
            return np.clip(x + (length / size) * direction, region.lower, region.upper)
        end = region.linear_argmax(direction)
        if not region.is_convex:
            return self.task.canonical(end)[0]
        away = float(np.linalg.norm(end - x))
        return region.into(x + min(1.0, length / away) * (end - x)) if away > 0.0 else x

    def length(self) -> float:
        """The diagonal of the smallest box around the points that may be."""
        return max(float(np.linalg.norm(region.upper - region.lower)) for region in self.task.regions.values())

    def climb(self, which, steps, first, sign=False, keep=True):
        """Move these points along the derivative while the loss rises; the step is halved where it does not.

        ``sign``: along the signs of the derivative (a step of the largest norm), as Koh and Liang do. ``keep``: what
        has a larger loss than what was kept last is kept at once, so that a search that is stopped has it.
        """
        length = first * self.length()
        least = 1e-3 * length
        for _ in range(steps):
            slopes = self.derivative().by_place()
            before, value = self.points.copy(), self.value
            while length >= least:
                trial = before.copy()
                for i in which:
                    direction = np.sign(slopes[i]) if sign else slopes[i]
                    trial[i] = self.moved(before[i], self.labels[i], direction, length)
                self.place(trial, self.labels, self.counts)
                if keep and self.value > max(value, self.best):
                    self.keep()
                self.task.step(self.value, theta=self.theta)
                if self.value > value:
                    break
                length *= 0.5
            else:
                self.place(before, self.labels, self.counts)
                return
            length *= 1.5

    def start_from(self, rows, labels, counts):
        """Place clean rows with these labels."""
        X = self.task.X[rows]
        self.place(X.toarray() if sp.issparse(X) else X, labels, counts)

    def keep(self):
        """These points are the result if the search is stopped now."""
        self.best = self.value
        self.task.keep(self.points, self.labels, self.counts)
