"""What is compared: each method takes clean data and a target, and returns points; objective.py judges them."""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads)

# isort: split
import time

import numpy as np
import scipy.sparse as sp

from mtpfast import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, max_loss_difference

BOX = FeatureSpace(0.0, 1.0)


def victim_options(conv):
    return {
        "alpha": conv.alpha,
        "C": conv.C,
        "fit_intercept": conv.fit_intercept,
        "penalize_intercept": conv.penalize_intercept,
    }


def pair(theta):
    return theta[:-1], theta[-1]


class Clock:
    """A callback that notes when every model was there; ``seconds[i]`` belongs to the i-th model visited."""

    def __init__(self, limit=None):
        self.start, self.seconds, self.limit = time.perf_counter(), [], limit

    def __call__(self, state):
        self.seconds.append(time.perf_counter() - self.start)
        return self.limit is not None and self.seconds[-1] > self.limit

    def per_step(self, first=0, last=None):
        steps = np.diff(self.seconds)[first:last]
        return float(steps.mean()) if len(steps) else float("nan")


def algorithm_1(loss, conv, X, y, target, tol, max_points=None, **options):
    """The attack of mtpfast: (result, seconds of the attack alone, clock). The clean victim is fitted before."""
    attacker = ModelTargetedPoisoner(
        loss=loss, feasible_set=BOX, tol=tol, max_points=max_points, **victim_options(conv)
    ).fit(X, y)
    clock = Clock(options.pop("limit", None))
    result = attacker.attack(pair(target), callback=clock, **options)
    return result, time.perf_counter() - clock.start, clock


def minimum(loss, conv, X, y, target, tol=0.0):
    """The exact minimum: (result, seconds)."""
    attacker = MinimumPoisoner(loss=loss, feasible_set=BOX, tol=tol, **victim_options(conv)).fit(X, y)
    start = time.perf_counter()
    result = attacker.attack(pair(target))
    return result, time.perf_counter() - start


class PlainLoop:
    """Algorithm 1 as it is usually written: scikit-learn trains from scratch on clean + poison at every step.

    The oracle is mtpfast's own, so that only the refits differ. Rows are kept in one growing block (CSR: stacked
    at every step, which is the smaller part there).
    """

    def __init__(self, loss, conv, X, y, target, tol=1e-8, room=4096, solver="newton-cholesky"):
        self.loss, self.conv, self.target, self.tol, self.solver = loss, conv, target, tol, solver
        self.n, self.n_points, self.y = len(y), 0, np.append(y, np.empty(room))
        self.sparse = sp.issparse(X)
        self.clean = X
        if self.sparse:
            self.poison = []
        else:  # log loss: the penalised intercept is a column of ones
            width = X.shape[1] + (loss == "log_loss")
            self.rows = np.ones((self.n + room, width))
            self.rows[: self.n, : X.shape[1]] = X
        self.model = None

    def refit(self):
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC

        n = self.n + self.n_points
        C = 1.0 / self.conv.k(n)
        if self.sparse:
            rows = sp.vstack([self.clean, *self.poison], format="csr") if self.poison else self.clean
        else:
            rows = self.rows[:n]
        if self.loss == "hinge":
            options = {"tol": self.tol, "max_iter": 10_000_000, "random_state": 0}
            model = LinearSVC(loss="hinge", C=C, **options).fit(rows, self.y[:n])
            return np.append(model.coef_, model.intercept_)
        if self.sparse:
            raise ValueError("X must be dense for log loss: the plain loop adds a column of ones to it")
        if self.model is None:
            options = {"tol": self.tol, "max_iter": 10_000, "fit_intercept": False}
            self.model = LogisticRegression(solver=self.solver, warm_start=True, **options)
        self.model.C = C
        return self.model.fit(rows, self.y[:n]).coef_.ravel().copy()

    def add(self, x, label):
        if self.sparse:
            self.poison.append(sp.csr_matrix(x[None, :]))
        else:
            self.rows[self.n + self.n_points, : len(x)] = x
        self.y[self.n + self.n_points] = label
        self.n_points += 1

    def run(self, max_points, stop=0.0, points=None):
        """Up to max_points steps, or to D <= stop; ``points`` (X, y): replay these instead of the oracle's.

        Returns seconds per model (cumulative), loss differences, and the points with their labels.
        """
        start, seconds, differences, X_poison, y_poison = time.perf_counter(), [], [], [], []
        while True:
            theta = self.refit()
            diff = max_loss_difference(theta, self.target, BOX, loss=self.loss)
            seconds.append(time.perf_counter() - start)
            differences.append(diff.value)
            if diff.value <= stop or self.n_points >= max_points:
                break
            t = self.n_points
            x, label = (diff.x, diff.y) if points is None else (points[0][t], points[1][t])
            self.add(x, label)
            X_poison.append(x)
            y_poison.append(label)
        return np.array(seconds), np.array(differences), np.array(X_poison), np.array(y_poison)
