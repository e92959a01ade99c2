"""Whole valid records with given sums.

Where points have to be records (integer columns, one level per group) a program's solution says only what the
records of a label add up to: so many of them, so many with each level. Here such sums are rounded to whole levels
and *dealt out*: records are made whose levels, values and continuous coordinates have exactly these sums, each
record valid, and all of them with nearly the same margin under the target.

* :func:`round_sums` rounds the sums, so that the stationarity rows

      G + N a R theta + (rows on the margin) - sum_y y (sum_i s_i x~_i)  =  0                      (1)

  are missed by as little as may be, as far as rows on the margin and continuous coordinates cannot make up for it;
* :func:`deal` makes the records of one label, margins balanced (greedily, then by swaps between two records);
* :func:`tune` moves the records of a smooth loss until (1) holds: continuous coordinates by Newton's method, else
  one level of one record after the other.
"""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.rows import merge
from mtpfast.question import Setting

from .record_sums import continuous, lattice_of, level_value

__all__ = ["deal", "of_sums"]


SWAPS = 1000, 64  # of levels between two records, and how many columns (groups) take part in them


def deal(setting: Setting, sign, total, n, limit=None):
    """``n`` records of one label that add up to ``total`` (from :func:`round_sums`): ndarray of shape (n, d).

    Levels are dealt out column by column (group by group), those that move the margin most first, and the highest
    to the record whose margin is lowest so far; then swaps and continuous coordinates level what is left.

    Parameters
    ----------
    limit : float, optional
        Hinge: level the margins only as far as is needed for none to be above it. None: make them nearly equal, and
        mix the levels that do not matter for that at random, so that the records differ as much as may be.

    Complexity: O(d n log n), and O(n d) a swap.
    """
    region = setting.region(sign)
    w = sign * setting.theta[:-1]
    X = np.repeat(region.lower[None, :], n, axis=0)
    if n == 0:
        return X
    margin = np.zeros(n)
    units = sorted(_units(region, w, total, n), key=lambda unit: -np.ptp(unit.rise))
    rng, mix = np.random.default_rng(0), 0.02 * sum(np.ptp(unit.rise) for unit in units)
    for unit in units:
        order = np.argsort(margin, kind="stable")
        if limit is None:
            order = np.argsort(margin + mix * rng.random(n), kind="stable")
        best_first = np.argsort(-unit.rise, kind="stable")
        unit.write(X, order, best_first)
        margin[order] += unit.rise[best_first]
    free = np.flatnonzero(continuous(region))
    X[:, free] = total[free] / n
    np.clip(X, region.lower, region.upper, out=X)
    margin = X @ w + sign * setting.theta[-1]
    if limit is None or margin.max() > limit:
        wide = [unit.columns for unit in units if np.ptp(unit.rise) > 0.0]
        margin = _swap(X, w, margin, wide[: SWAPS[1]], limit)
    if len(free) and (limit is None or margin.max() > limit):
        _level(X, region, w, margin, free)
    return X


class _Unit:
    """Columns that are dealt out together: a group, or one column of a lattice. One item for each record."""

    def __init__(self, columns, items, rise, values=None, on=None):
        self.columns, self.items, self.rise = columns, items, rise
        self.values, self.on = values, on

    def write(self, X, order, chosen):
        items = self.items[chosen]
        if self.values is not None:
            X[order, self.columns[0]] = self.values[items]
        else:
            has = items >= 0
            X[order[has], self.columns[items[has]]] = self.on[items[has]]


def _units(region, w, total, n):
    for j in lattice_of(region):
        steps = round((total[j] - n * region.lower[j]) / region.step[j])
        base, more = divmod(steps, n)
        values = np.array([level_value(region, j, base), level_value(region, j, base + 1)])
        items = np.repeat([1, 0], [more, n - more])
        yield _Unit(np.array([j]), items, w[j] * region.step[j] * items, values=values)
    for group in region.groups:
        width = group.on - group.off
        level = np.round((total[group.columns] - n * group.off) / width).astype(int)
        items = np.append(np.repeat(np.arange(len(level)), level), np.full(n - level.sum(), -1))
        rise = np.where(items >= 0, (w[group.columns] * width)[items], 0.0)
        yield _Unit(group.columns, items, rise, on=group.on)


def _swap(X, w, margin, units, limit):
    """Swap the levels of two records while that brings the record furthest out (above ``limit``) nearer to the rest."""
    if not units or len(X) < 2:
        return margin
    parts = np.column_stack([X[:, columns] @ w[columns] for columns in units])
    mean = margin.mean()
    for _ in range(SWAPS[0] if limit is not None else SWAPS[0] // 10):
        i = int(np.argmax(margin if limit is not None else np.abs(margin - mean)))
        if limit is not None and margin[i] <= limit:
            break
        move = parts[i] - parts
        spread = (margin[i] - mean - move) ** 2 + ((margin - mean)[:, None] + move) ** 2
        gain = spread - ((margin[i] - mean) ** 2 + (margin - mean) ** 2)[:, None]
        k, u = np.unravel_index(int(np.argmin(gain)), gain.shape)
        if gain[k, u] >= -1e-6 * (margin[i] - mean) ** 2 or gain[k, u] >= -1e-12:
            break
        X[np.ix_([i, k], units[u])] = X[np.ix_([k, i], units[u])]
        parts[[i, k], u] = parts[[k, i], u]
        margin[i], margin[k] = margin[i] - move[k, u], margin[k] + move[k, u]
    return margin


def _level(X, region, w, margin, free):
    """Shift the continuous coordinates of the records, at the same sums, so that the margins meet."""
    for j in free[np.argsort(-np.abs(w[free]) * (region.upper - region.lower)[free], kind="stable")]:
        if w[j] == 0.0:
            return
        most = abs(w[j]) * (region.upper[j] - region.lower[j])
        left, right = margin.min() - most, margin.max() + most
        total, column = X[:, j].sum(), X[:, j].copy()
        for _ in range(100):  # the margin that the records are brought to: the sum rises (w > 0) or falls with it
            mid = 0.5 * (left + right)
            X[:, j] = np.clip(column + (mid - margin) / w[j], region.lower[j], region.upper[j])
            left, right = (mid, right) if (X[:, j].sum() < total) == (w[j] > 0.0) else (left, mid)
        margin += w[j] * (X[:, j] - column)


def of_sums(setting: Setting, sums, counts, limit=np.inf):
    """Records of both labels with these sums: [(point, label, count)], equal records together."""
    rows = [deal(setting, sign, z, n, limit) for sign, z, n in zip((1.0, -1.0), sums, counts, strict=True)]
    return merge(np.vstack(rows), np.repeat([1.0, -1.0], counts))
