"""Whole sums of levels for so many records."""

from __future__ import annotations

import numpy as np

from mtpfast.question import Setting

from .counts import round_counts

__all__ = ["continuous", "lattice_of", "level_value", "round_sums"]


MOVES = 600  # of the search for better sums


def continuous(region):
    """Mask of the columns that take any value between two bounds."""
    mask = (region.step == 0.0) & (region.upper > region.lower)
    for group in region.groups:
        mask[group.columns] = False
    return mask


def lattice_of(region):
    """Indices of the columns of more than one whole multiple of a step."""
    return np.flatnonzero((region.step > 0.0) & (region.upper > region.lower))


def level_value(region, j, k):
    """Column j, k steps above its lower bound: written as ``origin + whole * step``, so that whole numbers stay so."""
    start = np.round((region.lower[j] - region.origin[j]) / region.step[j])
    return np.clip(region.origin[j] + (start + k) * region.step[j], region.lower[j], region.upper[j])


def round_sums(setting: Setting, sums, counts, slack=None, below=(0.0, 0.0), weights=None):
    """Sums near ``sums`` that whole records can have, as a pair (label +1, label -1).

    Parameters
    ----------
    sums : pair of ndarray of shape (d,)
        What the records of each label should add up to.
    counts : pair of int
    slack : ndarray of shape (d + 1, m), optional
        Columns of (1) whose multiples are free to make up for rounding. The rows of continuous columns are free, too.
    below : pair of float
        Hinge: the mean margins stay at most ``1 - below`` where they are so before.
    weights : pair of float, optional
        ``w s`` of a record of each label; that of a record in the hinge's reach (s = 1) by default.

    Nearest whole numbers first; then single levels are moved while that shortens what (1) misses at right angles to
    the slack. Complexity: O(d m) once and O(d (m + levels)) a move.
    """
    weights = setting.weights if weights is None else weights
    table = _Levels(setting, sums, counts, below, weights)
    rows = ~(continuous(setting.both[0]) | continuous(setting.both[1]))
    basis = np.zeros((int(rows.sum()), 0))
    if slack is not None and slack.shape[1]:
        basis, scale, _ = np.linalg.svd(slack[:-1][rows], full_matrices=False)
        basis = basis[:, scale > 1e-9 * max(scale[0], 1e-300)] if len(scale) else basis
    at = np.cumsum(rows) - 1  # row of the residual for every discrete column
    rho = (weights[1] * (table.sums[1] - sums[1]) - weights[0] * (table.sums[0] - sums[0]))[rows]
    rho = rho - basis @ (basis.T @ rho)
    own = 1.0 - np.sum(basis * basis, axis=1)  # the squared length of a unit vector at right angles to the slack
    scale = float(np.max([1e-300, *(np.max(r.upper - r.lower) for r in setting.both)])) ** 2
    for _ in range(min(8 * len(rho) + 200, MOVES)):
        move = table.best(rho, basis, own, at)
        if move is None or move[0] >= -1e-9 * scale:
            break
        for y, j, change in move[1]:
            table.apply(y, j, change)
            rho[at[j]] += table.side[y] * change
        rho = rho - basis @ (basis.T @ rho)
    return table.sums


class _Levels:
    """The rounded sums, and the moves that they allow: one step of a lattice, one record from level to level."""

    def __init__(self, setting, sums, counts, below, weights):
        self.setting, self.counts = setting, counts
        self.side = -weights[0], weights[1]  # what one unit more of a sum adds to the residual
        self.sums = []
        self.theta = setting.theta[:-1]
        self.room = []
        for y, (region, z, n) in enumerate(zip(setting.both, sums, counts, strict=False)):
            z = np.clip(z, n * region.lower, n * region.upper)
            j = lattice_of(region)
            steps = np.round((z[j] - n * region.lower[j]) / region.step[j])
            z[j] = n * region.lower[j] + steps * region.step[j]
            for group in region.groups:
                width = group.on - group.off
                share = np.clip((z[group.columns] - n * group.off) / width, 0.0, n)
                whole = np.round(share)
                if group.exactly or whole.sum() > n:
                    share *= min(1.0, n / max(share.sum(), 1e-300))
                    whole = round_counts(share, n)
                z[group.columns] = n * group.off + whole * width
            self.sums.append(z)
            sign = -1.0 if y else 1.0
            cap = n * (1.0 - below[y]) if setting.objective.loss.kinked else np.inf
            self.room.append(cap - sign * (self.theta @ z + setting.theta[-1] * n))

    def apply(self, y, j, change):
        self.sums[y][j] += change
        self.room[y] -= (-1.0 if y else 1.0) * self.theta[j] * change

    def _may(self, y, change_of_margin):
        """Whether the sum of margins may change by so much."""
        return (change_of_margin <= 0.0) | (change_of_margin <= self.room[y])

    def best(self, rho, basis, own, at):
        """``(change of the squared residual, [(label, column, change)])`` of the best move, or None."""
        best = None
        for y, region in enumerate(self.setting.both):
            n, z = self.counts[y], self.sums[y]
            if n == 0:
                continue
            side, tilt = self.side[y], (-1.0 if y else 1.0) * self.theta
            j = lattice_of(region)
            if len(j):
                step = region.step[j]
                for up in (1.0, -1.0):
                    new = z[j] + up * step
                    inside = (new >= n * region.lower[j] - 0.5 * step) & (new <= n * region.upper[j] + 0.5 * step)
                    gain = 2.0 * side * up * step * rho[at[j]] + (side * step) ** 2 * own[at[j]]
                    gain[~(inside & self._may(y, tilt[j] * up * step))] = np.inf
                    i = int(np.argmin(gain))
                    if np.isfinite(gain[i]) and (best is None or gain[i] < best[0]):
                        best = float(gain[i]), [(y, int(j[i]), up * float(step[i]))]
            for group in region.groups:
                found = self._best_in_group(y, n, z, group, side, tilt, rho, basis, own, at)
                if found is not None and (best is None or found[0] < best[0]):
                    best = found
        return best

    def _best_in_group(self, y, n, z, group, side, tilt, rho, basis, own, at):
        j = group.columns
        width = group.on - group.off
        level = np.round((z[j] - n * group.off) / width)
        # One record more with a level, one less with another; or without any, where a record may have none.
        linear, square = 2.0 * side * width * rho[at[j]], (side * width) ** 2 * own[at[j]]
        raised, lowered = linear + square, -linear + square
        lowered[level <= 0] = np.inf
        rise = tilt[j] * width
        candidates = []
        if not group.exactly:
            free = n - level.sum() > 0.5
            up = np.where(free & self._may(y, rise), raised, np.inf)
            down = np.where(self._may(y, -rise), lowered, np.inf)
            i, k = int(np.argmin(up)), int(np.argmin(down))
            candidates += [(up[i], [(y, int(j[i]), width[i])]), (down[k], [(y, int(j[k]), -width[k])])]
        gets, loses = (np.argsort(gain, kind="stable")[:24] for gain in (raised, lowered))
        U = basis[at[j]]
        across = 2.0 * side**2 * np.outer(width[gets], width[loses]) * (U[gets] @ U[loses].T)
        change = raised[gets, None] + lowered[None, loses] + across
        change[gets[:, None] == loses[None, :]] = np.inf
        change[~self._may(y, rise[gets, None] - rise[None, loses])] = np.inf
        i, k = np.unravel_index(int(np.argmin(change)), change.shape)
        g, h = gets[i], loses[k]
        candidates.append((change[i, k], [(y, int(j[g]), width[g]), (y, int(j[h]), -width[h])]))
        gain, moves = min(candidates, key=lambda c: c[0])
        return (float(gain), moves) if np.isfinite(gain) else None
