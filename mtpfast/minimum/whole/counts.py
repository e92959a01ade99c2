"""Whole counts near fractional weights."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.bounded import least_squares_in_unit

__all__ = ["exchange", "round_counts", "settle"]


def round_counts(weights, total):
    """Whole counts with the given total, nearest to the weights (largest remainders)."""
    weights = np.asarray(weights, dtype=float)
    counts = np.floor(weights + 1e-9).astype(int)
    short = int(total) - int(counts.sum())
    if short > 0:
        order = np.argsort(-(weights - counts), kind="stable")
        np.add.at(counts, order[np.arange(short) % len(order)], 1)
    return counts


def exchange(columns, target, counts, slack=None, top=None, rounds=2000):
    """Whole counts with the same total and a smaller residual ``columns @ counts - target``.

    Moves one copy from one column to another while that shortens the residual (2-norm). ``slack``: columns whose
    multiples are free to absorb residual (clean rows well inside the margin's interval); the residual is
    measured at right angles to them. ``top``: at most so many copies of each column. A local search: O(m^2 d) once,
    O(m^2) a move.
    """
    columns, target = np.asarray(columns, dtype=float), np.asarray(target, dtype=float)
    if slack is not None and slack.shape[1]:
        basis, scale, _ = np.linalg.svd(slack, full_matrices=False)
        basis = basis[:, scale > 1e-9 * scale[0]]
        columns, target = (part - basis @ (basis.T @ part) for part in (columns, target))
    gram = columns.T @ columns
    lengths = np.diag(gram)
    pair_cost = lengths[:, None] + lengths[None, :] - 2.0 * gram  # |column i - column j|^2
    counts = np.array(counts, dtype=int)
    top = np.full(len(counts), np.inf) if top is None else top
    slope = columns.T @ (columns @ counts - target)
    for _ in range(rounds):
        # Moving a copy from i to j changes the squared residual by 2 (slope_j - slope_i) + |column i - column j|^2.
        change = 2.0 * (slope[None, :] - slope[:, None]) + pair_cost
        change[counts == 0] = np.inf
        change[:, counts >= top] = np.inf
        i, j = np.unravel_index(int(np.argmin(change)), change.shape)
        if not change[i, j] < -1e-12 * (1.0 + lengths.max()):
            break
        counts[i] -= 1
        counts[j] += 1
        slope += gram[:, j] - gram[:, i]
    return counts


def settle(columns, target, counts, free, top=None, rounds=10):
    """:func:`exchange` where the residual is ``columns @ counts + free @ t - target`` for the best t in [0, 1].

    In turn: the best t for the counts, and better counts for that t, with multiples of the free columns that t leaves
    between its ends and, where that overshoots, without. Returns the counts and the residual's norm.
    """

    def best_t(counts):
        rest = target - columns @ counts
        t = least_squares_in_unit(free, rest)
        return t, float(np.linalg.norm(rest - free @ t))

    counts = np.array(counts, dtype=int)
    t, length = best_t(counts)
    for _ in range(rounds):
        inside = free[:, (t > 1e-6) & (t < 1.0 - 1e-6)]
        for slack in (inside, None) if inside.shape[1] else (None,):
            other = exchange(columns, target - free @ t, counts, slack, top)
            if np.array_equal(other, counts):
                continue
            moved, shorter = best_t(other)
            if shorter < length * (1.0 - 1e-9):
                counts, t, length = other, moved, shorter
                break
        else:
            break
    return counts, length
