"""Poison that looks like one class and is labelled as the other: combinations of prototypes, without any training."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_count
from mtpfast.results.result import PoisoningResult

from .task import Task, read_task, shared_out

__all__ = ["beta"]


SAMPLE = 1000  # rows of a class that its density is estimated from, at most


def beta(X, y, *, budget=0.03, n_distinct=10, n_prototypes=15, max_iter=50, **options) -> PoisoningResult:
    r"""Convex combinations of prototypes that are most likely under the other class.

    .. math:: \max_{\beta \in \Delta} \frac{1}{n} \sum_i \exp\Big(-\frac{|\psi(\beta) - x_i|^2}{2 h^2}\Big),
              \qquad \psi(\beta) = \sum_j \beta_j p_j

    over the rows ``x_i`` of one class, with prototypes ``p_j`` drawn from it; the point gets the other label.

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`.
    n_distinct : int
        Distinct points, each with fresh prototypes; half of them for each label that points may carry.
    n_prototypes : int
    max_iter : int
        Steps for each point.

    Returns
    -------
    PoisoningResult

    Notes
    -----
    Left open or different in the paper: coefficients are convex (there they are free, and the point is projected),
    which keeps points in any convex set that holds the rows; a step is one of conditional gradient, from prototype
    to prototype, of length ``2 / (t + 2)``, and the best point met is kept; h is the mean distance between rows of the
    class (as there); at most 1,000 rows of it, drawn at random, are looked at; both classes are attacked. In
    sets that are not convex, or do not hold the combination, the prototype nearest to it is used.

    No victim is trained, O(n_distinct max_iter 1000 d).

    References
    ----------
    Cina, Vascon, Demontis, Biggio, Roli, Pelillo, "The hammer and the nut: is bilevel optimization really needed to
    poison linear classifiers?", IJCNN 2021, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import beta
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> beta(X, y, budget=2, n_distinct=2, C=1.0).n_points
    2
    """
    n_distinct, max_iter = check_count(n_distinct, "n_distinct"), check_count(max_iter, "max_iter")
    n_prototypes = check_count(n_prototypes, "n_prototypes")
    task = read_task(X, y, budget, "beta", **options)
    return task.run(lambda: _search(task, n_distinct, n_prototypes, max_iter))


def _search(task: Task, n_distinct, n_prototypes, max_iter):
    rows, own = task.flips()
    labels = np.unique(own)
    n = min(n_distinct, task.budget)
    points, chosen, classes = [], [], {}
    for label in labels:
        classes[label] = _Density(task, rows[own == label])
    for i in range(n):
        label = float(labels[i % len(labels)])
        points.append(classes[label].point(n_prototypes, max_iter, label))
        chosen.append(label)
        task.keep(points, chosen, shared_out(np.ones(len(points)), task.budget))
        task.step(float(i + 1))


class _Density:
    """How likely a point is under one class: a mean of Gaussians around its rows."""

    def __init__(self, task, rows):
        self.task, self.rows = task, rows
        sample = rows if len(rows) <= SAMPLE else task.rng.choice(rows, SAMPLE, replace=False)
        X = task.X[sample]
        self.sample = X.toarray() if sp.issparse(X) else np.array(X)
        self.squares = np.einsum("ij,ij->i", self.sample, self.sample)
        apart = self.squares[:, None] + self.squares - 2.0 * self.sample @ self.sample.T
        self.h2 = max(float(np.sqrt(np.maximum(apart, 0.0)).mean()) ** 2, 1e-300)

    def _weights(self, x):
        apart = np.maximum(self.squares - 2.0 * self.sample @ x + float(x @ x), 0.0)
        return np.exp(-apart / (2.0 * self.h2))

    def point(self, n_prototypes, max_iter, label):
        task = self.task
        chosen = task.rng.choice(self.rows, min(n_prototypes, len(self.rows)), replace=False)
        P = task.X[chosen]
        P = P.toarray() if sp.issparse(P) else np.array(P)
        x = P.mean(axis=0)
        best, most = x, float(self._weights(x).mean())
        for t in range(max_iter):
            weights = self._weights(x)
            uphill = weights @ self.sample - weights.sum() * x
            x = x + 2.0 / (t + 3.0) * (P[int(np.argmax(P @ uphill))] - x)
            value = float(self._weights(x).mean())
            if value > most:
                best, most = x, value
        if not task.space.is_finite and task.regions[label].is_convex:
            best = task.regions[label].into(best)
        if task.contains(best[None], np.array([label]))[0]:
            return best
        return P[int(np.argmin(np.linalg.norm(P - best, axis=1)))]
