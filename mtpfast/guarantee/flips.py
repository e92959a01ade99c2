"""Attacks on the prediction of one row: found, not proved to be the fewest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.training.victim import Victim

__all__ = ["Flip", "Flips"]


FIRM = 1e-7  # of the scale of a score: a row this far beyond 0 is flipped for any trainer


class Flip(NamedTuple):
    """Points that flip a row: distinct points, their labels and counts."""

    points: np.ndarray
    labels: np.ndarray
    counts: np.ndarray

    @property
    def n_points(self) -> int:
        return int(np.sum(self.counts))


class Flips:
    """Attacks by copies of one point, on row after row, with one victim that is trained on.

    Parameters
    ----------
    X, y, objective, sample_weight, theta
        The clean data, and the clean victim.
    feasible_set : FeatureSpace or CandidatePool
        With the labels -1. and +1.
    most : int
        Points.
    """

    def __init__(self, X, y, objective, sample_weight, theta, feasible_set, most):
        cap = feasible_set.max_repeats
        self.data, self.theta, self.most = (X, y, objective), theta, most if cap is None else min(cap, most)
        self.sample_weight, self.feasible_set = sample_weight, feasible_set
        self.is_smooth, self.victim = objective.loss.smooth, None

    def __call__(self, x, sign, bound, hint=None) -> Flip | None:
        """The fewest copies that flip the row, of the points tried; ``bound``: fewer than so many cannot.

        ``hint``: one more point and its label.
        """
        best, most = None, self.most
        for point, label in [*self._candidates(x, sign), *([hint] if hint else [])]:
            count = self._fewest(point, label, x, sign, max(1, bound), most)
            if count is not None:
                best, most = Flip(np.array([point]), np.array([label]), np.array([count])), count - 1
            if most < max(1, bound):
                break
        return best

    def _candidates(self, x, sign):
        """The row itself with the other label, or what comes nearest to that."""
        space = self.feasible_set
        if space.is_finite:
            signs = space.signs()
            score = np.asarray(space.X @ x)
            for label in (-sign, sign):
                may = np.arange(len(score)) if signs is None else np.flatnonzero(signs == label)
                if len(may):
                    row = space.X[may[np.argmax(-sign * label * score[may])]]
                    yield (row.toarray().ravel() if sp.issparse(row) else row), label
            return
        regions = space.regions(len(x))
        for label in (-sign, sign):
            region = regions.get(label)
            if region is not None:
                own = label == -sign and bool(region.contains(x[None])[0])
                yield (x if own else region.linear_argmax(-sign * label * x)), label
                if own:
                    return

    def _fewest(self, point, label, x, sign, low, high):
        """The least count in [low, high] that flips the row, by bisection on the line between known scores."""
        scale = FIRM * (1.0 + float(np.abs(x) @ np.abs(self.theta[:-1])) + abs(self.theta[-1]))
        start = sign * (x @ self.theta[:-1] + self.theta[-1])
        with _Copies(self, point, label) as copies:

            def score(count):
                theta = copies.model(count)
                return sign * float(x @ theta[:-1] + theta[-1]) + scale

            below, above = (0, start), None
            count = min(max(low, 2 * low), high)
            for _ in range(40):
                at = score(count)
                if at < 0.0:
                    above = (count, at)
                else:
                    below = (count, at)
                if above is None:
                    if count == high:
                        return None
                    fall = (start - at) / count
                    guess = count + 1.1 * at / fall if fall > 0.0 else 4 * count
                    count = int(min(high, max(count + 1, min(guess, 4 * count))))
                    continue
                if above[0] - below[0] <= 1 or above[0] <= low:
                    return above[0]
                share = below[1] / (below[1] - above[1])
                count = below[0] + share * (above[0] - below[0])
                count = int(min(max(np.ceil(count), below[0] + 1), above[0] - 1))
            return above[0] if above else None


class _Copies:
    """The victim with so many copies of one point, and without them afterwards."""

    def __init__(self, flips: Flips, point, label):
        self.flips, self.point, self.label, self.count = flips, point, label, 0

    def __enter__(self):
        X, y, objective = self.flips.data
        if self.flips.victim is None or objective.loss.smooth:
            self.flips.victim = Victim(X, y, objective, sample_weight=self.flips.sample_weight, theta0=self.flips.theta)
        return self

    def model(self, count):
        if self.flips.is_smooth and count < self.count:
            X, y, objective = self.flips.data
            theta = self.flips.victim.theta
            self.flips.victim = Victim(X, y, objective, sample_weight=self.flips.sample_weight, theta0=theta)
            self.count = 0
        if count != self.count:
            self.flips.victim.add(self.point, self.label, count - self.count)
            self.count = count
        return self.flips.victim.theta

    def __exit__(self, *error):
        if error[0] is not None or self.flips.is_smooth:
            self.flips.victim = None
        elif self.count:
            self.flips.victim.add(self.point, self.label, -self.count)
