"""The attacks of the literature the plain way: scikit-learn's trainings from scratch, methods as published, no core."""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
import numpy as np
import reference as ref

from mtpfast.arrays.rows import stack
from mtpfast.attacks.baselines.task import Stopped
from mtpfast.losses.objective import make_objective
from mtpfast.verification.retrain import Training, retrain

TOL = 1e-6  # scikit-learn's


class PlainVictim:
    """Every placement trains from scratch by scikit-learn; the search is stopped after so many."""

    def __init__(self, task, most=np.inf):
        self.task, self.most, self.n = task, most, -1
        self.place([], [], [])

    def place(self, points, labels, counts):
        if self.n >= self.most:
            raise Stopped
        self.n += 1
        task, objective = self.task, self.task.objective
        X, y, weight = task.X, task.y, np.ones(len(task.y))
        if len(labels):
            X, y = stack(X, np.array(points).reshape(-1, task.d)), np.append(y, labels)
            weight = np.append(weight, counts)
        training = Training.of(objective, X, y, weight)
        self.k, self.theta = training.k, retrain(training, TOL)
        return self.theta


class Victim:
    """A victim in [0, 1] with the penalty alpha, trained by scikit-learn, and the right side of stationarity."""

    def __init__(self, data, loss, alpha):
        self.X, self.y, self.loss, self.alpha = data.X_train, data.y_train, loss, alpha
        self.objective, self.n = make_objective(loss, alpha=alpha), 0

    def train(self, points, labels, counts):
        self.n += 1
        X, y = stack(self.X, np.array(points).reshape(-1, self.X.shape[1])), np.append(self.y, labels)
        return retrain(Training.of(self.objective, X, y, np.append(np.ones(len(self.y)), counts)), TOL)

    def right(self, target, n_points):
        """What the points must pull with so that the target is stationary, rows on the margin of the hinge left out."""
        margin = self.y * ref.scores(target, self.X)
        pull = ref.dphi(self.loss, margin) * self.y
        return np.append(self.X.T @ pull, pull.sum()) + self.alpha * (len(self.y) + n_points) * target


def label_flip(victim, n, rule="margin"):
    """One training, one sort."""
    theta = victim.train(np.zeros((0, victim.X.shape[1])), [], [])
    margin = -victim.y * ref.scores(theta, victim.X)
    rows = np.argsort(np.abs(margin) if rule == "margin" else margin, kind="stable")[:n]
    return victim.X[rows], -victim.y[rows], np.ones(n)


def beta(victim, n, n_distinct=10, n_prototypes=15, max_iter=50, step=0.1, seed=0):
    """Cina et al.: free coefficients, a density over all rows of the class, normalised gradient steps, projection."""
    rng, points, labels = np.random.default_rng(seed), [], []
    for i in range(n_distinct):
        label = 1.0 if i % 2 else -1.0
        rows = victim.X[victim.y == -label]
        sample = rows[rng.choice(len(rows), min(len(rows), 200), replace=False)]
        h2 = float(np.mean(np.linalg.norm(sample[:, None] - sample, axis=2))) ** 2
        P = rows[rng.choice(len(rows), n_prototypes, replace=False)]
        b = np.full(n_prototypes, 1.0 / n_prototypes)
        for _ in range(max_iter):
            away = rows - b @ P
            weights = np.exp(-np.einsum("ij,ij->i", away, away) / (2.0 * h2))
            slope = P @ (weights @ away)
            b = b + step * slope / max(np.linalg.norm(slope), 1e-300)
        points.append(np.clip(b @ P, 0.0, 1.0))
        labels.append(label)
    return np.array(points), np.array(labels), shared(n, n_distinct)


def shared(n, parts):
    counts = np.full(parts, n // parts)
    counts[: n % parts] += 1
    return counts


def kkt(victim, target, n, splits):
    """Koh et al., hinge: a quadratic program for every split, by cvxpy as in their code, and a training of each."""
    import cvxpy as cp

    right, d, best = victim.right(target, n), len(target) - 1, (np.inf,)
    for plus in splits:
        counts, x, pull, room = {1.0: plus, -1.0: n - plus}, {}, right, []
        for label in (1.0, -1.0):
            if counts[label]:
                x[label] = cp.Variable(d)
                pull = pull - label * counts[label] * cp.hstack([x[label], 1.0])
                room += [x[label] >= 0.0, x[label] <= 1.0, label * (x[label] @ target[:-1] + target[-1]) <= 1.0]
        cp.Problem(cp.Minimize(cp.sum_squares(pull)), room).solve(solver="CLARABEL")
        points = np.array([np.clip(v.value, 0.0, 1.0) for v in x.values()])
        theta = victim.train(points, list(x), [counts[label] for label in x])
        off = float(np.linalg.norm(theta - target))
        if off < best[0]:
            best = off, points, np.array(list(x)), np.array([counts[label] for label in x])
    return best[1:]


def gradient_canceling(victim, target, n, splits, n_distinct=20, max_iter=200, step=0.1, seed=0):
    """Lu et al., smooth losses: projected gradient descent on the squared sum of gradients, normalised steps."""
    right, rng, best = victim.right(target, n), np.random.default_rng(seed), (np.inf,)
    for plus in splits:
        labels = np.append(np.ones(n_distinct // 2), -np.ones(n_distinct - n_distinct // 2))
        counts = np.append(shared(plus, n_distinct // 2), shared(n - plus, n_distinct - n_distinct // 2))
        X = victim.X[rng.choice(len(victim.X), n_distinct)].copy()
        for i in range(max_iter):
            margin = labels * ref.scores(target, X)
            s = -ref.dphi(victim.loss, margin)
            bend = np.exp(-np.logaddexp(0.0, margin) - np.logaddexp(0.0, -margin))  # phi'' of the log loss
            pull = counts * s * labels
            off = right - np.append(X.T @ pull, pull.sum())
            along = ref.scores(off, X)
            slope = (counts * bend * along)[:, None] * target[:-1] - pull[:, None] * off[:-1]
            length = step * (1.0 - i / max_iter) / max(float(np.linalg.norm(slope, axis=1).max()), 1e-300)
            X = np.clip(X - length * slope, 0.0, 1.0)
        theta = victim.train(X, labels, counts)
        off = float(np.linalg.norm(theta - target))
        if off < best[0]:
            best = off, X, labels, counts
    return best[1:]
