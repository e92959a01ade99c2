"""Attacks on the prediction of one row: found, not proved to be the fewest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from mtpfast.training.victim import Victim

__all__ = ["Flip", "Flips"]


FIRM = 1e-7  # of the scale of a score: a row this far beyond 0 is flipped for any trainer
ON_MARGIN = 1e-7  # a point this near to margin 1 pulls
WIDTH = 0.1  # rows of the hinge so near to margin 1 bend the way that a move of the model takes
MOVES = 8  # of an attack from one mixture of points to the next
FEW = 0.15  # of the points are the first of another label
STEP = 0.35  # how much of the points a move replaces, at first


class Flip(NamedTuple):
    """Points that flip a row: distinct points, their labels and counts."""

    points: np.ndarray
    labels: np.ndarray
    counts: np.ndarray

    @property
    def n_points(self) -> int:
        return int(np.sum(self.counts))


class Flips:
    """Attacks on a row, with one victim that is trained on; called again, it goes back to the clean rows.

    The first attack is copies of one point: the row itself with the other label, where that is in the feasible set.
    Then (``moves``) the mixture changes at a fixed number of points: a part of it gives way to the point with the
    steepest effect on the row's score at the model just trained (``max -l v . x~``, v the derivative of the score after
    the victim's own reaction, subject to a margin of at most 1 when the model has given way), the score falls below 0,
    and the number of points shrinks until it is 0 again. Where the set is convex, points of a label are replaced by
    their mean: it pulls as they do where all of them pull, and also where some had a margin above 1 and pulled no more.

    Parameters
    ----------
    X, y, objective, sample_weight, theta
        The clean data, and the clean victim.
    feasible_set : FeatureSpace or CandidatePool
        With the labels -1. and +1.
    most : int
        Points.
    moves : int
    """

    def __init__(self, X, y, objective, sample_weight, theta, feasible_set, most, moves=MOVES):
        cap = feasible_set.max_repeats
        self.X, self.y, self.objective, self.sample_weight = X, y, objective, sample_weight
        self.theta, self.most, self.moves = theta, most if cap is None else min(cap, most), moves
        self.feasible_set = feasible_set
        self.is_smooth, self.victim, self.there = objective.loss.smooth, None, {}
        self.one = 1.0 if objective.fit_intercept else 0.0

    def __call__(self, x, sign, bound) -> Flip | None:
        """The fewest points found that flip the row; ``bound``: fewer than so many cannot."""
        low, best = max(1, bound), None
        try:
            if self.victim is not None:
                self._train((), (), ())
            for point, label in self._candidates(x, sign):
                most = self.most if best is None else best.n_points - 1
                found = self._fewest(np.array([point]), np.array([label]), np.ones(1), x, sign, low, most)
                best = best if found is None else found
            if best is not None and self.moves and self.feasible_set.max_repeats is None:
                best = self._moved(best, x, sign, low)
        except BaseException:
            self.victim, self.there = None, {}
            raise
        return best

    def _candidates(self, x, sign):
        """The row itself with the other label, or what comes nearest to it."""
        space = self.feasible_set
        for label in (-sign, sign):
            if not space.is_finite:
                region = space.regions(len(x)).get(label)
                if region is not None:
                    own = label == -sign and bool(region.contains(x[None])[0])
                    yield (x if own else region.linear_argmax(-sign * label * x)), label
                    if own:
                        return
            else:
                best = self._of_pool(label, -sign * label * np.append(x, self.one), None)
                if best is not None:
                    yield best, label

    def _of_pool(self, label, u, theta, limit=1.0):
        """The candidate of a label with the largest ``u . x~``, of a margin of at most ``limit`` if theta is given."""
        space = self.feasible_set
        signs = space.signs()
        may = np.arange(space.X.shape[0]) if signs is None else np.flatnonzero(signs == label)
        if theta is not None and len(may):
            may = may[label * (space.X[may] @ theta[:-1] + theta[-1]) <= limit]
        if not len(may):
            return None
        row = space.X[may[np.argmax(space.X[may] @ u[:-1])]]
        return row.toarray().ravel() if sp.issparse(row) else row

    # -- counts ------------------------------------------------------------------------------------

    def _score(self, points, labels, counts, x, sign):
        """The row's score after training, its sign positive where it is not flipped: of all models that are optimal the
        one with the largest."""
        theta = self._train(points, labels, counts)
        if self.objective.is_free and not self.is_smooth:
            theta = np.append(theta[:-1], self._last_intercept(theta, points, labels, counts, sign))
        scale = FIRM * (1.0 + float(np.abs(x) @ np.abs(self.theta[:-1])) + abs(self.theta[-1]))
        return sign * float(x @ theta[:-1] + theta[-1]) + scale

    def _last_intercept(self, theta, points, labels, counts, sign):
        """The end of the optimal intercepts of the hinge, free, in the direction of ``sign``.

        At given weights w the loss is piecewise linear in b: it bends at ``y_i - w . x_i``. Where the slope to the
        right of b (for ``sign`` -1: the left) is 0, as many rows pull b up as down, and all b up to the next bend do.
        """
        X, w = np.array(points, dtype=float).reshape(-1, len(theta) - 1), theta[:-1]
        y = np.concatenate([self.y, np.asarray(labels, dtype=float)])
        weight = np.concatenate([self.victim.weight, [self.objective.weight_of(label) for label in labels] * counts])
        bend = sign * (y - np.concatenate([self.X @ w, X @ w]))
        b, side = sign * theta[-1], sign * y
        near = FIRM * (1.0 + np.abs(bend))
        down = (side > 0.0) & (bend > b + near)  # these want b larger,
        up = (side < 0.0) & (bend <= b + near)  # and these smaller
        if weight[up].sum() - weight[down].sum() > FIRM * weight.sum():
            return theta[-1]
        beyond = bend[bend > b + near]
        return sign * (beyond.min() if len(beyond) else np.inf)

    def _fewest(self, points, labels, share, x, sign, low, high, guess=None) -> Flip | None:
        """The least number in [low, high] of points in these shares that flips the row: bisection on the line between
        known scores."""
        if high < low:
            return None
        start = sign * float(x @ self.theta[:-1] + self.theta[-1])
        below, above = (0, start), None
        count = min(max(low, 2 * low) if guess is None else max(low, guess), high)
        for _ in range(40):
            counts = _dealt(share, count)
            at = self._score(points, labels, counts, x, sign)
            if at < 0.0:
                above, found = (count, at), Flip(points, labels, counts)
            else:
                below = (count, at)
            if above is None:
                if count == high:
                    return None
                fall = (start - at) / count
                to = count + 1.1 * at / fall if fall > 0.0 else 4 * count
                count = int(min(high, max(count + 1, min(to, 4 * count))))
                continue
            if above[0] - below[0] <= 1 or above[0] <= low:
                break
            part = below[1] / (below[1] - above[1])
            count = int(min(max(np.ceil(below[0] + part * (above[0] - below[0])), below[0] + 1), above[0] - 1))
        return found if above else None

    # -- mixtures ----------------------------------------------------------------------------------

    def _moved(self, best, x, sign, low):
        """Moves from a mixture to the next, while they pay. Of convex sets every label has one point, the mean."""
        mixture, n, step = (list(best.points), list(best.labels), best.counts.astype(float)), best.n_points, STEP
        score = self._score(*_distinct(*mixture[:2], _dealt(mixture[2], n)), x, sign)
        steps, theta = None, None
        for _ in range(self.moves if n > low else 0):
            if steps is None:
                theta = self.victim.theta.copy()
                answer = self._answers(theta)
            if not steps:
                steps = self._steepest(x, sign, mixture, theta, answer, step)
                if not steps:
                    break
            point, label = steps.pop(0)
            trial = self._with(*mixture[:2], mixture[2] * (1.0 - step), point, label, step * n)
            to = self._score(*_distinct(*trial[:2], _dealt(trial[2], n)), x, sign)
            if to < score:
                mixture, score, steps, step = trial, to, None, min(STEP, 1.5 * step)
            elif not steps:
                step *= 0.4
                if step < 0.03:
                    break
        points, labels, counts = mixture
        start = sign * float(x @ self.theta[:-1] + self.theta[-1])
        guess = int(np.ceil(n * start / (start - score)))
        found = self._fewest(np.array(points), np.array(labels), counts, x, sign, low, n - 1, guess)
        if found is None:
            return best
        keep = found.counts > 0
        return Flip(found.points[keep], found.labels[keep], found.counts[keep])

    def _region(self, label):
        return self.feasible_set.regions(len(self.theta) - 1).get(label)

    def _with(self, points, labels, counts, point, label, count):
        """The mixture with so many points more; where the set is convex, in the mean of their label."""
        region = None if self.feasible_set.is_finite else self._region(label)
        if region is not None and region.is_convex and label in labels:
            i = labels.index(label)
            mean = (counts[i] * points[i] + count * point) / (counts[i] + count)
            points, counts = list(points), counts.copy()
            points[i], counts[i] = np.clip(mean, region.lower, region.upper), counts[i] + count
            return points, labels, counts
        return [*points, point], [*labels, label], np.append(counts, count)

    def _steepest(self, x, sign, mixture, theta, answer, step):
        """Of each label the point that moves the row's score most where it takes that share, the best first."""
        (points, labels, counts), one, found = mixture, self.one, []
        v = answer(sign * np.append(x, one))
        Z = np.array(labels)[:, None] * np.column_stack([points, np.full(len(points), one)])
        pull = counts @ Z
        for label in (1.0, -1.0):
            w, limit = theta, 1.0
            if not self.is_smooth:  # the model gives way, so that margins rise with the points
                own = counts * (np.array(labels) == label)
                first = None if own.any() or step > FEW else self._best_point(label, -label * v, label * w, limit)
                if not own.any() and first is None:
                    continue
                back = answer(label * np.append(first, one) if first is not None else own @ Z / own.sum())
                w, limit = w + step * counts.sum() * back, limit + step * float(pull @ back)
            point = self._best_point(label, -label * v, label * w, limit)
            if point is None:
                continue
            margin = label * (point @ theta[:-1] + theta[-1])
            pulls = self.objective.weight_of(label) * self.objective.loss.pull(margin - ON_MARGIN)
            found.append((-label * pulls * (point @ v[:-1] + one * v[-1]), point, label))
        found.sort(key=lambda entry: -entry[0])
        return [entry[1:] for entry in found if entry[0] > 0.0]

    def _best_point(self, label, u, w, limit):
        """Of a label, about the largest ``u . x~`` subject to ``w . x~ <= limit`` (smooth: the largest pull of it)."""
        if self.feasible_set.is_finite:
            return self._of_pool(label, u, label * w, limit)
        region = self._region(label)
        if region is None:
            return None

        def at(gamma):
            point = region.linear_argmax(u[:-1] - gamma * w[:-1])
            return point, float(point @ w[:-1] + w[-1])

        size = np.linalg.norm(u[:-1]) / max(np.linalg.norm(w[:-1]), 1e-300)
        if self.is_smooth:  # a few points of the frontier: the pull falls with the margin
            tried = [at(gamma * size) for gamma in (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)]
            value = [self.objective.loss.pull(m) * (p @ u[:-1] + self.one * u[-1]) for p, m in tried]
            return tried[int(np.argmax(value))][0]
        far, margin = at(0.0)
        if margin <= limit:
            return far
        low, high = 0.0, max(size, 1e-12)
        for _ in range(60):
            near, near_margin = at(high)
            if near_margin <= limit:
                break
            low, high = high, 4.0 * high
        else:
            return None
        for _ in range(30):
            mid = 0.5 * (low + high)
            point, at_mid = at(mid)
            if at_mid <= limit:
                high, near, near_margin = mid, point, at_mid
            else:
                low, far, margin = mid, point, at_mid
        if region.is_convex and margin > near_margin:
            return near + (1.0 - 1e-9) * (limit - near_margin) / (margin - near_margin) * (far - near)
        return near

    def _answers(self, theta):
        """What pulls at the model change it by: a function that multiplies by the inverse Hessian (of the hinge,
        smoothed). The score ``a . theta`` then changes by the pull times the function's value at a."""
        objective, k = self.objective, self.victim.k
        R = objective.R(len(theta) - 1)
        ridge = k * np.where(R > 0.0, R, 1e-3)
        margin = self.y * (self.X @ theta[:-1] + theta[-1])
        if self.is_smooth:
            added = self.victim.added_X, self.victim.added_y, self.victim.added_weight
            own = added[1] * (added[0] @ theta[:-1] + theta[-1])
            bend = objective.loss.second_derivative(margin) * self.victim.weight
            bend = np.append(bend, objective.loss.second_derivative(own) * added[2])
        else:  # margins of points are a constraint of their own
            bend = np.where(np.abs(margin - 1.0) <= WIDTH, self.victim.weight / (2.0 * WIDTH), 0.0)
        near = np.flatnonzero(bend > 0.0)
        bend = bend[near]
        if not len(near):
            return lambda a: a / ridge
        clean = near[near < len(margin)]
        rows = [part.toarray() if sp.issparse(part) else part for part in
                (self.X[clean], *([added[0][near[len(clean) :] - len(margin)]] if self.is_smooth else []))]  # fmt: skip
        Z = np.column_stack([np.vstack(rows), np.full(len(near), self.one)])
        if len(near) > len(theta):
            factor = cho_factor((Z * bend[:, None]).T @ Z + np.diag(ridge))
            return lambda a: cho_solve(factor, a)
        scaled = Z / ridge
        factor = cho_factor(scaled @ Z.T + np.diag(1.0 / bend))
        return lambda a: (a - Z.T @ cho_solve(factor, scaled @ a)) / ridge

    # -- the victim --------------------------------------------------------------------------------

    def _train(self, points, labels, counts):
        """The victim with exactly these points."""
        wanted = {}
        for point, label, count in zip(points, labels, counts, strict=True):
            key = point.tobytes(), float(label)
            wanted[key] = (point, wanted.get(key, (point, 0))[1] + int(count))
        if self.victim is None or self.is_smooth:
            theta = self.theta if self.victim is None else self.victim.theta
            self.victim = Victim(self.X, self.y, self.objective, sample_weight=self.sample_weight, theta0=theta)
            self.there = {}
        if self.is_smooth:
            few = [(point, key[1], count) for key, (point, count) in wanted.items() if count > 0]
            if few:
                self.victim.add_many(*zip(*few, strict=True))
            return self.victim.theta
        changes = {key: count for key, (_, count) in wanted.items()}
        for key, (point, count) in self.there.items():
            changes[key] = changes.get(key, 0) - count
            wanted.setdefault(key, (point, 0))
        for key, change in sorted(changes.items(), key=lambda entry: entry[1]):
            if change:
                self.victim.add(wanted[key][0], key[1], change)
        self.there = {key: entry for key, entry in wanted.items() if entry[1]}
        return self.victim.theta


def _dealt(share, count):
    """So many points in these shares, whole."""
    exact = np.asarray(share) / np.sum(share) * count
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rest = count - counts.sum()
    if rest > 0:
        counts[np.argsort(counts - exact)[:rest]] += 1
    return counts


def _distinct(points, labels, counts):
    """Points that are there, and their labels and counts."""
    keep = np.flatnonzero(counts)
    return [points[i] for i in keep], [labels[i] for i in keep], counts[keep]
