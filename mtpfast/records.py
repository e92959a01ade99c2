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

from .programs import Setting
from .recover import round_counts

MOVES = 600  # of the search for better sums
SWAPS = 1000, 64  # of levels between two records, and how many columns (groups) take part in them
PAIRS = 300_000  # records times columns that are looked at for one change
PRODUCTS = 4e7  # of a product of matrices in a step of Newton's method

__all__ = ["continuous", "deal", "merge", "of_sums", "residual", "round_sums", "tune"]


def continuous(region):
    """Mask of the columns that take any value between two bounds."""
    mask = (region.step == 0.0) & (region.upper > region.lower)
    for group in region.groups:
        mask[group.columns] = False
    return mask


def _lattice(region):
    """Indices of the columns of more than one whole multiple of a step."""
    return np.flatnonzero((region.step > 0.0) & (region.upper > region.lower))


def _value(region, j, k):
    """Column j, k steps above its lower bound: written as ``origin + whole * step``, so that whole numbers stay so."""
    start = np.round((region.lower[j] - region.origin[j]) / region.step[j])
    return np.clip(region.origin[j] + (start + k) * region.step[j], region.lower[j], region.upper[j])


# -- sums -------------------------------------------------------------------------------------


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
            j = _lattice(region)
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
            cap = n * (1.0 - below[y]) if setting.objective.loss.name == "hinge" else np.inf
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
            j = _lattice(region)
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


# -- records ----------------------------------------------------------------------------------


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
    for j in _lattice(region):
        steps = round((total[j] - n * region.lower[j]) / region.step[j])
        base, more = divmod(steps, n)
        values = np.array([_value(region, j, base), _value(region, j, base + 1)])
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


# -- smooth losses ----------------------------------------------------------------------------


def residual(setting: Setting, X, signs, n_zero=0):
    """What (1) misses with these records (rows, signs) and ``n_zero`` points of zero loss, no row on the margin:
    the residual, and the ``w s`` of every record."""
    n_plus = int(np.sum(signs > 0.0))
    total = setting.clean.gradient + setting.load((n_plus, len(X) - n_plus, n_zero))
    margin = signs * (X @ setting.theta[:-1] + setting.theta[-1])
    s = -setting.objective.loss.derivative(margin) * np.where(signs > 0.0, *setting.weights)
    one = 1.0 if setting.objective.fit_intercept else 0.0
    total[:-1] -= (s * signs) @ X
    total[-1] -= one * float(s @ signs)
    return total, s


def tune(setting: Setting, X, signs, n_zero=0, rounds=400, steps=30):
    """Move the records (in place) until (1) holds for a smooth loss; returns what it still misses.

    Continuous coordinates first: each changes its record's ``s``, so many of them reach every row of (1). What they
    cannot reach is searched for by changing one level of one record at a time. At most so many ``steps`` of the one
    and ``rounds`` of the other.

    Complexity: O(n d^2) a step, times the number of continuous columns; O(n d) a change.
    """
    rho = _newton(setting, X, signs, n_zero, steps)
    if rounds and np.linalg.norm(rho) > 1e-9 * (1.0 + np.linalg.norm(setting.clean.gradient)):
        _exchange(setting, X, signs, n_zero, rounds)
        rho = _newton(setting, X, signs, n_zero, steps)
    return rho


def _newton(setting, X, signs, n_zero, steps):
    """Levenberg and Marquardt over continuous coordinates, damped as much as pays, kept in their bounds."""
    theta, loss = setting.theta, setting.objective.loss
    one = 1.0 if setting.objective.fit_intercept else 0.0
    rho, s = residual(setting, X, signs, n_zero)
    masks = np.array([continuous(setting.region(sign)) for sign in (1.0, -1.0)])
    columns = np.flatnonzero(masks.any(axis=0))
    if not len(columns) or not len(X):
        return rho
    # So many coordinates as there is time for, at least four for every row: those that move the margin most.
    most = max(int(PRODUCTS / len(theta) ** 2), 4 * len(theta))
    columns = columns[np.argsort(-np.abs(theta[columns]), kind="stable")][: max(1, most // len(X))]
    mine = np.sort(np.random.default_rng(0).permutation(len(X))[:most])
    which = (signs[mine] < 0.0).astype(int)
    lower, upper = (
        np.array([getattr(region, side)[columns] for region in setting.both]) for side in ("lower", "upper")
    )
    lower, upper = lower[which], np.where(masks[:, columns], upper, lower)[which]
    at = np.ix_(mine, columns)
    X[at] = np.clip(X[at], lower, upper)
    length, damping = np.linalg.norm(rho), 1.0
    target = 1e-13 * (1.0 + np.abs(setting.clean.gradient).sum())
    for _ in range(steps):
        if length <= target or damping > 1e9:
            break
        bend = -_curvature(loss, signs[mine] * (X[mine] @ theta[:-1] + theta[-1]))
        bend *= np.where(signs[mine] > 0.0, *setting.weights)  # w ds / dm
        rows = np.column_stack([X[mine], np.full(len(mine), one)])
        # d (s y x~) / d x_j of every record, with y * y = 1, for one column after the other.
        blocks = np.array([(bend * theta[j])[:, None] * rows for j in columns])
        blocks[np.arange(len(columns)), :, columns] += (s * signs)[mine]
        here, best = X[at], None
        for step in _bounded_steps(blocks, rho, damping, (lower - here).T, (upper - here).T):
            X[at] = np.clip(here + step.T, lower, upper)
            trial = residual(setting, X, signs, n_zero)
            if best is None or np.linalg.norm(trial[0]) < best[0]:
                best = np.linalg.norm(trial[0]), X[at], trial
        if not best[0] < length:
            X[at] = here
            damping *= 1e3
            continue
        slow = best[0] > 0.98 * length
        length, X[at], (rho, s) = best
        damping = max(0.1 * damping, 1e-9)
        if slow:
            break
    return rho


def _bounded_steps(blocks, rho, damping, low, high, passes=4):
    """Solutions of ``sum_j blocks_j' step_j = rho`` between bounds, for a few dampings (from none to too much).

    What the bounds cut off is made up for by the coordinates that are left.
    """

    def spectrum(scale):
        gram = sum((block * square[:, None]).T @ block for block, square in zip(blocks, scale, strict=True))
        return np.linalg.eigh(gram)

    first = spectrum((high - low) ** 2)
    top = max(first[0][-1], 1e-300)
    for mu in (1e-8 * damping, 1e-6 * damping, 1e-4 * damping, 1e-2 * damping):
        (values, vectors), scale = first, (high - low) ** 2
        step, rest = np.zeros(scale.shape), rho
        for i in range(passes):
            if i:
                values, vectors = spectrum(scale)
            multiplier = vectors @ ((vectors.T @ rest) / (np.maximum(values, 0.0) + mu * top))
            new = step + scale * (blocks @ multiplier)
            inside = np.clip(new, low, high)
            rest = rest - np.einsum("jn,jnk->k", inside - step, blocks)
            step, cut = inside, inside != new
            if not cut.any():
                break
            scale = np.where(cut, 0.0, scale)
        yield step


def _curvature(loss, margin):
    """``phi''``, which is ``-ds / dm``."""
    if loss.name == "squared_hinge":
        return np.where(margin < 1.0, 2.0, 0.0)
    s = -loss.derivative(margin)
    return s * (1.0 - s)


def _exchange(setting, X, signs, n_zero, rounds):
    """Change one level of one record while that shortens the residual."""
    rho, s = residual(setting, X, signs, n_zero)
    one = 1.0 if setting.objective.fit_intercept else 0.0
    square = np.einsum("ij,ij->i", X, X) + one
    rng, most = np.random.default_rng(0), max(1, PAIRS // X.shape[1])
    for _ in range(rounds):
        best = (-1e-12 * float(rho @ rho), None)
        along = X @ rho[:-1] + one * rho[-1]
        for sign in setting.regions:
            region, mine = setting.region(sign), np.flatnonzero(signs == sign)
            if len(mine) > most:
                mine = rng.choice(mine, most, replace=False)
            if len(mine):
                found = _best_change(setting, region, sign, X, mine, rho, s, along, square)
                best = min(best, found, key=lambda change: change[0])
        if best[1] is None:
            break
        i, columns, values = best[1]
        X[i, columns] = values
        rho, s = residual(setting, X, signs, n_zero)
        square[i] = X[i] @ X[i] + one


def _best_change(setting, region, sign, X, mine, rho, s, along, square):
    """The best change of one level of one record: (change of the squared residual, (record, columns, values))."""
    loss, w = setting.objective.loss, sign * setting.theta[:-1]
    weight = setting.objective.weight_of(sign)
    margin = X[mine] @ w + sign * setting.theta[-1]

    def gain(rise, rho_change, x_change, change_square):
        """|rho - y (s' (x~ + D) - s x~)|^2 - |rho|^2 for changes D, from w.D, rho.D, x.D and D.D."""
        after = -weight * loss.derivative(margin[:, None] + rise)
        more = after - s[mine, None]
        return (
            -2.0 * sign * (more * along[mine, None] + after * rho_change)
            + more**2 * square[mine, None]
            + 2.0 * more * after * x_change
            + after**2 * change_square
        )

    best = (np.inf, None)
    j = _lattice(region)
    for up in (1.0, -1.0):
        if not len(j):
            break
        change = up * region.step[j]
        new = X[np.ix_(mine, j)] + change
        value = gain(w[j] * change, rho[j] * change, X[np.ix_(mine, j)] * change, change**2)
        value[(new < region.lower[j] - 0.5 * region.step[j]) | (new > region.upper[j] + 0.5 * region.step[j])] = np.inf
        i, k = np.unravel_index(int(np.argmin(value)), value.shape)
        if value[i, k] < best[0]:
            column = j[k]
            steps = round((X[mine[i], column] - region.lower[column]) / region.step[column] + up)
            best = float(value[i, k]), (mine[i], [column], [_value(region, column, steps)])
    for group in region.groups:
        columns = group.columns
        width = group.on - group.off
        part = X[np.ix_(mine, columns)]
        on = part > 0.5 * (group.on + group.off)
        has = on.any(axis=1)
        level = np.where(has, on.argmax(axis=1), 0)
        size = np.where(has, width[level], 0.0)

        def sums(a, b, size=size, level=level, width=width):
            """Coefficient a per column: what it gives for every change of level (b: of the level without column)."""
            out = -size * a[level]
            return out[:, None] + np.append(a * width, b)[None, :]

        x_at = -size * np.where(has, part[np.arange(len(mine)), level], 0.0)
        x_change = x_at[:, None] + np.append(group.off * width, 0.0)
        change_square = (size**2)[:, None] + np.append(width**2, 0.0)
        value = gain(sums(w[columns], 0.0), sums(rho[columns], 0.0), x_change, change_square)
        value[np.flatnonzero(has), level[has]] = np.inf  # no change at all
        if group.exactly:
            value[:, -1] = np.inf
        else:
            value[~has, -1] = np.inf
        i, k = np.unravel_index(int(np.argmin(value)), value.shape)
        if value[i, k] < best[0]:
            new = group.off.copy()
            if k < len(columns):
                new[k] = group.on[k]
            best = float(value[i, k]), (mine[i], columns, new)
    return best


def of_sums(setting: Setting, sums, counts, limit=np.inf):
    """Records of both labels with these sums: [(point, label, count)], equal records together."""
    rows = [deal(setting, sign, z, n, limit) for sign, z, n in zip((1.0, -1.0), sums, counts, strict=True)]
    return list(zip(*merge(np.vstack(rows), np.repeat([1.0, -1.0], counts)), strict=True))


def merge(X, signs):
    """Equal records together: (points, labels, counts), in the order in which they first come."""
    if not len(X):
        return [], [], []
    keys = np.column_stack([signs, X])
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    rows = first[order]
    return list(X[rows]), signs[rows].tolist(), counts[order].tolist()
