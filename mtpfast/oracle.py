"""Where a poisoning point hurts most: the point of largest loss difference.

    maximise over (x, y) in F    phi(y theta . x~)  -  phi(y theta_target . x~)

The loss difference sees a point only through two numbers, ``u = y theta . x~`` and
``v = y theta_target . x~``; it falls in u and rises in v. So its maximum over a box lies on the
lower-right frontier of the image of the box under ``x -> (u, v)``, a polygon of at most d edges
that sorting the ratios ``theta_target[j] / theta[j]`` lays bare. The search along it is global,
for every margin loss, without a solver and without restarts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from . import _core
from .document_search import find_document
from .documents import DocumentSpace
from .feasible import CandidatePool, FeatureSpace
from .losses import Loss, get_loss
from .validation import as_theta

__all__ = ["LossDifference", "max_loss_difference"]


class LossDifference(NamedTuple):
    """The point of largest loss difference.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
    y : float
        The label, -1. or +1.
    value : float
        The loss difference at (x, y).
    upper_bound : float
        Proved: no feasible point exceeds it. It is ``value`` plus what rounding (and, for smooth
        losses, the last 1e-10 of the search) may hide.
    """

    x: np.ndarray
    y: float
    value: float
    upper_bound: float


def max_loss_difference(theta, theta_target, feasible_set, loss="hinge") -> LossDifference:
    r"""The feasible point where the model is worst compared with the target.

    .. math:: \max_{(x, y) \in F} \; \varphi(y\, \theta \cdot \tilde x) - \varphi(y\, \theta_p \cdot \tilde x)

    Parameters
    ----------
    theta, theta_target : pair (coef, intercept), array (w, b), or fitted linear model
        The current and the target model.
    feasible_set : FeatureSpace or CandidatePool
    loss : {"hinge", "squared_hinge", "log_loss"} or Loss

    Returns
    -------
    LossDifference
        The global maximum, to 1e-10 relative; ``upper_bound`` is proved.

    Raises
    ------
    ValueError
        If the models and the feasible set have different numbers of features.

    Notes
    -----
    O(d log d) for a box, one read of the candidates for a pool. Ties go to the label +1 and to
    the first row. Step 4 of Algorithm 1 in Suya et al., "Model-Targeted Poisoning Attacks with
    Provable Convergence", ICML 2021.

    Examples
    --------
    >>> from mtpfast import FeatureSpace, max_loss_difference
    >>> diff = max_loss_difference(([1.0, 0.0], 0.0), ([0.0, 1.0], 0.0), FeatureSpace(0.0, 1.0))
    >>> diff.x, diff.y, diff.value
    (array([0., 1.]), 1.0, 1.0)
    """
    loss = get_loss(loss)
    theta = as_theta(theta, name="theta")
    theta_target = as_theta(theta_target, theta.size - 1, name="theta_target")
    return find_point(theta, theta_target, feasible_set, loss)


def find_point(theta, theta_target, feasible_set, loss: Loss) -> LossDifference:
    """:func:`max_loss_difference` for arguments that have been checked already."""
    if isinstance(feasible_set, DocumentSpace):
        return _over_documents(theta, theta_target, feasible_set, loss)
    if isinstance(feasible_set, FeatureSpace):
        return _over_box(theta, theta_target, *feasible_set.bounds(theta.size - 1), loss)
    if isinstance(feasible_set, CandidatePool):
        feasible_set.check(theta.size - 1)
        return _over_pool(theta, theta_target, feasible_set, loss)
    raise TypeError(f"feasible_set must be a FeatureSpace or a CandidatePool, got {type(feasible_set).__name__}")


def _over_box(theta, theta_target, lower, upper, loss):
    best = None
    bound = -np.inf
    for y in (1.0, -1.0):
        if loss.name in _core.KERNELS:
            x = np.empty_like(lower)
            value, label_bound = _core.box_loss_difference(
                _core.KERNELS[loss.name], theta, theta_target, lower, upper, y, x
            )
        else:
            x, value, label_bound = _along_frontier(theta, theta_target, lower, upper, y, loss)
        bound = max(bound, label_bound)
        if best is None or value > best.value:
            best = LossDifference(x, y, value, np.nan)
    return best._replace(upper_bound=bound)


def _over_documents(theta, theta_target, space, loss):
    best, bound = None, -np.inf
    for y, region in space.regions(theta.size - 1).items():
        known = -np.inf if best is None else best.value
        x, value, label_bound, _ = find_document(theta, theta_target, region, y, loss, known)
        bound = max(bound, label_bound)
        if best is None or value > best.value:
            best = LossDifference(x, y, value, np.nan)
    return best._replace(upper_bound=bound)


def _over_pool(theta, theta_target, pool, loss):
    signs = pool.signs()
    if loss.name in _core.KERNELS:
        kernel = _core.KERNELS[loss.name]
        labels = np.empty(0) if signs is None else signs
        if sp.issparse(pool.X):
            row, y, value = _core.pool_loss_difference_csr(
                kernel, theta, theta_target, pool.X.data, pool.X.indices, pool.X.indptr, labels
            )
        else:
            row, y, value = _core.pool_loss_difference(kernel, theta, theta_target, pool.X, labels)
    else:
        scores, target_scores = (pool.X @ t[:-1] + t[-1] for t in (theta, theta_target))
        found = []
        for y in (1.0, -1.0):
            difference = loss.value(y * scores) - loss.value(y * target_scores)
            if signs is not None:
                difference[signs != y] = -np.inf
            row = int(np.argmax(difference))
            found.append((difference[row], -row, y))
        value, row, y = max(found)
        row = -row
    x = pool.X[row].toarray().ravel() if sp.issparse(pool.X) else pool.X[row].copy()
    value = float(value)
    return LossDifference(x, y, value, value + _rounding(theta, theta_target, pool.largest(), loss, value))


def _rounding(theta, theta_target, size, loss, value):
    """What rounding may hide: two scores of d + 1 products, each at most ``|theta| . size`` large."""
    error = (2 * theta.size + 6) * np.finfo(float).eps
    total = 0.0
    for t in (theta, theta_target):
        score = float(np.abs(t) @ size)
        steepest = -float(loss.derivative(-score)) if not np.isfinite(loss.lipschitz) else loss.lipschitz
        total += steepest * error * score
    return total + 8 * np.finfo(float).eps * abs(value)


def _along_frontier(theta, theta_target, lower, upper, y, loss):
    """The search for a loss that has no compiled twin: intervals with a chord-and-tangent bound.

    On an edge u and v are linear in t, so phi(u) lies below its chord and phi(v) above its
    tangents; the intervals whose bound does not beat the best value are dropped, the rest halved.
    """
    a, p = y * theta[:-1], y * theta_target[:-1]
    x = np.where(a > 0, lower, np.where(a < 0, upper, np.where(p > 0, upper, lower)))
    flips = np.flatnonzero((np.sign(a) * np.sign(p) > 0) & (upper > lower))
    flips = flips[np.lexsort((flips, -np.abs(p[flips]) / np.abs(a[flips])))]
    width = upper[flips] - lower[flips]
    u = np.cumsum(np.append(a @ x + y * theta[-1], np.abs(a[flips]) * width))
    v = np.cumsum(np.append(p @ x + y * theta_target[-1], np.abs(p[flips]) * width))
    if len(flips) == 0:
        value = float(loss.value(u[0]) - loss.value(v[0]))
        best, bound, edge, t = value, value, 0, 0.0
    else:
        edges = np.arange(len(flips))
        left = np.stack([u[:-1], v[:-1], edges, np.zeros(len(flips))], axis=1)
        right = np.stack([u[1:], v[1:], edges, np.ones(len(flips))], axis=1)
        best, bound, edge, t = _bisect(left, right, loss)
    out = x.copy()
    crossed = flips[:edge]
    out[crossed] = np.where(x[crossed] == lower[crossed], upper[crossed], lower[crossed])
    if len(flips):
        j = flips[edge]
        out[j] = np.clip(x[j] + t * (lower[j] + upper[j] - 2 * x[j]), lower[j], upper[j])
    value = float(loss.value(a @ out + y * theta[-1]) - loss.value(p @ out + y * theta_target[-1]))
    size = np.append(np.maximum(np.abs(lower), np.abs(upper)) + (upper - lower), 1.0)
    return out, value, max(bound, value) + _rounding(theta, theta_target, size, loss, best)


def _bisect(left, right, loss):
    best, where = -np.inf, None
    bound = -np.inf
    for _ in range(60):
        f_left = loss.value(left[:, 0]) - loss.value(left[:, 1])
        f_right = loss.value(right[:, 0]) - loss.value(right[:, 1])
        for f, ends in ((f_left, left), (f_right, right)):
            i = int(np.argmax(f))
            if f[i] > best:
                best, where = float(f[i]), ends[i]
        # phi(u) <= chord; phi(v) >= the tangents at both ends, which cross at s
        chord0, chord1 = loss.value(left[:, 0]), loss.value(right[:, 0])
        dv = right[:, 1] - left[:, 1]
        v0, v1 = loss.value(left[:, 1]), loss.value(right[:, 1])
        g0, g1 = loss.derivative(left[:, 1]) * dv, loss.derivative(right[:, 1]) * dv
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.clip(np.where(g1 > g0, (v0 - v1 + g1) / (g1 - g0), 0.5), 0.0, 1.0)
        at_cross = chord0 + s * (chord1 - chord0) - np.maximum(v0 + s * g0, v1 - (1 - s) * g1)
        upper = np.maximum(np.maximum(f_left, f_right), at_cross)
        tol = 1e-10 * abs(best) + 4 * np.finfo(float).eps * (np.abs(chord0) + np.abs(v0))
        alive = upper > best + tol
        if np.any(~alive):
            bound = max(bound, float(np.max(upper[~alive])))
        if not np.any(alive):
            break
        left, right, upper = left[alive], right[alive], upper[alive]
        if len(left) > 100_000:  # a flat maximum: stop here, the bound tells the truth
            break
        middle = 0.5 * (left + right)
        middle[:, 2] = left[:, 2]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    else:
        upper = np.maximum(upper, best)
    if np.any(alive):
        bound = max(bound, float(np.max(upper)))
    return best, max(bound, best), int(where[2]), float(where[3])
