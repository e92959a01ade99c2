"""The candidate of largest loss difference: one read of the pool."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast import _core
from mtpfast.arrays.threads import in_chunks
from mtpfast.kernels import kernel_of

from .difference import LossDifference, rounding_of, weight_of

__all__ = ["over_pool", "scan_pool"]


def over_pool(theta, theta_target, pool, loss, weights):
    found = scan_pool(theta, theta_target, pool, loss, weights=weights)
    return max(filter(None, found), key=lambda best: best[2].value)[2]


def scan_pool(theta, theta_target, pool, loss, spent=None, weights=None):
    """(row, label, LossDifference) of the largest loss difference in one read of the pool, or None: first of the
    candidates that are left, then of those that are used up (``spent``: 1 per row for +1, 2 for -1, 3 for both)."""
    signs = pool.signs()
    kernel, size = kernel_of(loss), pool.largest()
    heaviest = max(1.0, *(weights or (1.0,)))
    tie = heaviest * rounding_of(theta, theta_target, size, loss, 0.0)
    if weights is None and kernel is not None:
        labels = np.empty(0) if signs is None else signs
        spent = np.empty(0, np.uint8) if spent is None else spent

        def of_chunk(i, j):
            rows = pool.X if (i, j) == (0, pool.X.shape[0]) else pool.X[i:j]
            found = _core.pool_loss_difference(kernel, theta, theta_target, rows, labels[i:j], spent[i:j], tie)
            return [(i + row, y, value) for row, y, value in found]

        parts = [_first_best(part, tie) for part in zip(*in_chunks(of_chunk, 0, pool.X.shape[0]), strict=True)]
    else:
        parts = _scan_by_array(theta, theta_target, pool.X, signs, loss, spent, tie, weights)
    found = []
    for row, y, value in parts:
        if value == -np.inf:
            found.append(None)
            continue
        x = pool.X[row].toarray().ravel() if sp.issparse(pool.X) else pool.X[row].copy()
        value = float(value)
        # a later row may be better by `tie`, once more for what rounding makes of either
        error = tie + heaviest * rounding_of(theta, theta_target, size, loss, value)
        found.append((row, y, LossDifference(x, y, value, value + error)))
    return found


def _first_best(found, tie):
    """Of candidates in order the best, by which a later one must be better by ``tie``."""
    best = found[0]
    for one in found[1:]:
        best = one if one[2] > best[2] + tie else best
    return best


def _scan_by_array(theta, theta_target, X, signs, loss, spent, tie, weights):
    """The scan for a loss that has no compiled twin, and for labels that weigh differently."""
    scores, target_scores = (X @ t[:-1] + t[-1] for t in (theta, theta_target))
    differences, left = [], []
    for y, bit in ((1.0, 1), (-1.0, 2)):
        difference = weight_of(weights, y) * (loss.value(y * scores) - loss.value(y * target_scores))
        if signs is not None:
            difference[signs != y] = -np.inf
        differences.append(difference)
        left.append(np.ones(len(scores), bool) if spent is None else (spent & bit) == 0)
    differences, left = np.array(differences).T, np.array(left).T
    best = []
    for mine in (left, ~left):
        here = np.where(mine, differences, -np.inf)
        row, k = divmod(int(np.argmax(here.ravel() >= np.max(here) - tie)), 2)
        best.append((row, (1.0, -1.0)[k], here[row, k]))
    return best
