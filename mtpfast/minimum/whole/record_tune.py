"""Records moved and exchanged until their victim is nearest to the target."""

from __future__ import annotations

import numpy as np

from mtpfast.question import Setting

from .record_sums import continuous, lattice_of, level_value

__all__ = ["residual", "tune"]


PAIRS = 300_000  # records times columns that are looked at for one change
PRODUCTS = 4e7  # of a product of matrices in a step of Newton's method


def residual(setting: Setting, X, signs, n_zero=0):
    """What (1) misses with these records (rows, signs) and ``n_zero`` points of zero loss, no row on the margin:
    the residual, and the ``w s`` of every record."""
    n_plus = int(np.sum(signs > 0.0))
    total = setting.clean.gradient + setting.load((n_plus, len(X) - n_plus, n_zero))
    margin = signs * (X @ setting.theta[:-1] + setting.theta[-1])
    s = -setting.objective.loss.derivative(margin) * np.where(signs > 0.0, *setting.weights)
    one = setting.objective.one
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
    one = setting.objective.one
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
        bend = -loss.second_derivative(signs[mine] * (X[mine] @ theta[:-1] + theta[-1]))
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


def _exchange(setting, X, signs, n_zero, rounds):
    """Change one level of one record while that shortens the residual."""
    rho, s = residual(setting, X, signs, n_zero)
    one = setting.objective.one
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
    j = lattice_of(region)
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
            best = float(value[i, k]), (mine[i], [column], [level_value(region, column, steps)])
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
