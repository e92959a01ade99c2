"""Whole points of a smooth loss in boxes, each with a margin of its own.

For points with labels ``y_j``, class weights ``c_j`` and ``n_j`` copies the stationarity condition is, with
``s = -phi'`` and a known ``r``,

    F(x_1, x_2, ...) = sum_j n_j c_j s(m_j) y_j x~_j - r = 0,    m_j = y_j theta.x~_j,    x_j in the box of its label:

``d + 1`` equations (``d`` without an intercept) in ``d`` unknowns per distinct point. Points of one label merge into
one at no extra *cost* (Jensen), but to spend exactly N copies they may need three and more margins, some of them at
the ends of the range, and then nothing but corners and faces of the boxes will do. :func:`search` solves the equations
as they stand: Gauss-Newton steps of least length that stop at the boxes, from starts in a fixed order. That none of
them arrives proves nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mtpfast.arrays.rows import merge
from mtpfast.question import Setting

from .counts import exchange, round_counts

__all__ = ["Equations", "close", "search", "solve"]


STEPS = 60  # of one start: one that arrives does so in about ten, or by a constant factor a step
PATIENCE = 6  # steps in which the square of the residual halves at least
CLOSE = 1e-12  # residual at which the steps end, relative to r
HIT = 1e-9  # residual that counts as none: the distance of the model that it leaves is of that order
ALONE = 48  # up to so many copies each is a point of its own
CORNERS = 14  # corners of a box among which copies are dealt for a start, besides the two of extreme margin
BETWEEN = 6  # and so many points between two of them
DIRECT = 64  # equations up to which a step is solved directly, beyond by conjugate gradients
FIRST = 3  # starts for every split of the copies
KEPT, LATER, MOVED = 4, 24, 16  # then for the splits that came nearest: new starts, and some next to the nearest miss
SPLITS = 24  # splits that are tried
WORK = 40_000  # starts times unknowns for one number of points; 6 starts at least


class State(NamedTuple):
    """``F`` at some points, and what its derivative ``weight_j I + bend_j x~_j w^T`` is made of."""

    F: np.ndarray
    weight: np.ndarray  # n c s y
    bend: np.ndarray  # n c s'
    lifted: np.ndarray  # x~

    @property
    def cost(self):
        return float(self.F @ self.F)


class Equations:
    """``F`` for given labels and copies, and its steps."""

    def __init__(self, setting: Setting, r, labels, copies):
        self.loss, self.theta = setting.objective.loss, setting.theta
        self.labels, self.copies = np.asarray(labels, dtype=float), np.asarray(copies, dtype=float)
        self.weights = self.copies * [setting.objective.weight_of(sign) for sign in self.labels]
        d = len(self.theta) - 1
        self.rows = d + int(setting.objective.fit_intercept)
        self.r = r[: self.rows]
        self.scale = 1e-3 + float(np.max(np.abs(self.r)))
        self.lower = np.array([setting.region(sign).lower for sign in self.labels]).reshape(-1, d)
        self.upper = np.array([setting.region(sign).upper for sign in self.labels]).reshape(-1, d)
        rises = self.labels[:, None] * self.theta[:-1] > 0.0
        self.least = np.where(rises, self.lower, self.upper)  # the corners of least and of largest margin
        self.most = np.where(rises, self.upper, self.lower)

    def margins(self, X):
        return self.labels * (X @ self.theta[:-1] + self.theta[-1])

    def at(self, X) -> State:
        margin = self.margins(X)
        weight = -self.weights * self.labels * self.loss.derivative(margin)
        lifted = np.ones((len(X), self.rows))
        lifted[:, : X.shape[1]] = X
        return State(weight @ lifted - self.r, weight, -self.weights * self.loss.second_derivative(margin), lifted)

    def step(self, X, state: State, mu):
        """The least step with ``F + J step = 0``, as far as the boxes and ``mu`` (Levenberg, Marquardt) let it.

        Coordinates that would leave their interval stop at its end, and the others make up for them.
        """
        F, weight, bend, lifted = state
        w, d = self.theta[:-1], X.shape[1]
        step, free, rest = np.zeros_like(X), self.upper > self.lower, F
        for _ in range(8):
            multipliers = self._multipliers(free, rest, state, mu)
            move = free * (weight[:, None] * multipliers[:d] + (bend * (lifted @ multipliers))[:, None] * w)
            ends = np.clip(X + move, self.lower, self.upper)
            out = free & (ends != X + move)
            if not out.any():
                step += move
                break
            step += np.where(out, ends - X, 0.0)
            free &= ~out
            rest = F + (bend * (step @ w)) @ lifted
            rest[:d] += weight @ step
        return self._short_of_zero_loss(X, step)

    def _multipliers(self, free, rest, state, mu):
        """``-(J J^T + mu)^-1 rest`` over the free coordinates: a diagonal and two columns per point."""
        _, weight, bend, lifted = state
        own = np.zeros_like(lifted)
        d = free.shape[1]
        own[:, :d] = free * self.theta[:-1]
        diagonal = np.full(self.rows, mu)
        diagonal[:d] += weight**2 @ free
        cross, square = weight * bend, bend**2 * np.einsum("ij,ij->i", own, own)
        if self.rows <= DIRECT:
            one_side = (lifted * cross[:, None]).T @ own
            K = one_side + one_side.T + (lifted * square[:, None]).T @ lifted + np.diag(diagonal)
            try:
                return np.linalg.solve(K, -rest)
            except np.linalg.LinAlgError:
                return np.zeros(self.rows)

        def product(v):
            along = lifted @ v
            return diagonal * v + (cross * (own @ v) + square * along) @ lifted + (cross * along) @ own

        scale = diagonal + 2.0 * cross @ (own * lifted) + square @ lifted**2
        return _conjugate_gradients(product, -rest, np.where(scale > 0.0, scale, 1.0), 4 * len(lifted) + 20)

    def _short_of_zero_loss(self, X, step):
        """The step, short of the margin of zero loss: a point beyond it has no slope that leads back."""
        if math.isinf(self.loss.zero_from):
            return step
        room = np.maximum(0.0, 0.9 * (self.loss.zero_from - self.margins(X)))
        rise = self.labels * (step @ self.theta[:-1])
        return step * np.where(rise > room, room / np.where(rise > room, rise, 1.0), 1.0)[:, None]

    def with_loss(self, X):
        """X with every point moved below the margin of zero loss where the box allows it."""
        if math.isinf(self.loss.zero_from):
            return X
        margin, least = self.margins(X), self.margins(self.least)
        top = least + 0.98 * (self.loss.zero_from - least)
        share = np.where(margin > top, (top - least) / np.where(margin > least, margin - least, 1.0), 1.0)
        return self.least + np.clip(share, 0.0, 1.0)[:, None] * (X - self.least)


def _conjugate_gradients(product, b, scale, rounds):
    """The solution of ``K v = b``, K positive definite, with a diagonal as preconditioner."""
    v, rest = np.zeros_like(b), b.copy()
    ahead = rest / scale
    along, size = ahead, float(rest @ ahead)
    aim = 1e-26 * size
    for _ in range(rounds):
        if not size > aim:
            break
        image = product(along)
        bend = float(along @ image)
        if not bend > 0.0:
            break
        v, rest = v + size / bend * along, rest - size / bend * image
        ahead = rest / scale
        before, size = size, float(rest @ ahead)
        along = ahead + size / before * along
    return v


def solve(equations: Equations, X):
    """``(X, residual)``: from X to where ``F = 0``, inside the boxes, or to where the steps end."""
    X = np.clip(equations.with_loss(X), equations.lower, equations.upper)
    state = equations.at(X)
    aim, mu = (CLOSE * equations.scale) ** 2, 1e-6
    before = np.inf
    for turn in range(STEPS):
        if state.cost <= aim or mu > 1e6:
            break
        if turn % PATIENCE == PATIENCE - 1:
            if state.cost > 0.5 * before:
                break
            before = state.cost
        step = equations.step(X, state, mu * state.cost**0.5)
        trial = np.clip(X + step, equations.lower, equations.upper)
        there = equations.at(trial)
        if there.cost >= state.cost:
            mu *= 10.0
            continue
        X, state, mu = trial, there, max(1e-12, 0.2 * mu)
    return X, state.cost**0.5


def close(setting: Setting, r, groups):
    """Groups (point, label, count) that supply r to rounding, from groups that do so nearly; or None."""
    points, labels, copies = zip(*groups, strict=True)
    equations = Equations(setting, r, labels, copies)
    X = np.array(points, dtype=float)
    if equations.at(X).cost ** 0.5 > CLOSE * equations.scale:
        zero = equations.margins(X) >= equations.loss.zero_from
        some = Equations(setting, r, equations.labels[~zero], equations.copies[~zero])
        X[~zero] = solve(some, X[~zero])[0]
    if equations.at(X).cost ** 0.5 > HIT * equations.scale:
        return None
    return merge(X, labels, copies)


def search(setting: Setting, splits):
    """Groups of points that supply r, for one of the splits (r, n+, n-); None where none were found."""
    rng = np.random.default_rng(0)
    splits = [split for split in splits if sum(split[1:]) and _may_supply(setting, *split)][:SPLITS]
    if not splits:
        return None
    unknowns = len(setting.theta) * max(min(sum(split[1:]), ALONE) for split in splits)
    left = max(6, WORK // unknowns)
    best = {}
    order = [(i, turn) for i in range(len(splits)) for turn in range(FIRST)]
    while order and left > 0:
        i, turn = order.pop(0)
        left -= 1
        start = _start(setting, *splits[i], turn, rng)
        if turn >= FIRST and (turn - FIRST) % (LATER + MOVED) >= LATER:
            start = _moved(best[i], start, rng)
        equations, X = start
        X, residual = solve(equations, X)
        if residual <= HIT * equations.scale:
            return merge(X, equations.labels, equations.copies)
        if i not in best or residual < best[i][2]:
            best[i] = equations, X, residual
        if not order and turn < FIRST:
            nearest = sorted(best, key=lambda i: best[i][2])[:KEPT]
            later = (LATER + MOVED) * max(1, KEPT // len(nearest))
            order = [(i, FIRST + turn) for turn in range(later) for i in nearest]
    return None


def _may_supply(setting, r, n_plus, n_minus):
    """False where an interval says that so many copies cannot supply a row of r, or its product with theta."""
    loss, low, high = setting.objective.loss, np.zeros(len(r) + 1), np.zeros(len(r) + 1)
    for sign, n in ((1.0, n_plus), (-1.0, n_minus)):
        if not n:
            continue
        region = setting.region(sign)
        margins = np.linspace(*setting.margin_range(sign), 65)
        weight = -setting.objective.weight_of(sign) * loss.derivative(margins)
        ends = np.append(sign * region.lower, sign), np.append(sign * region.upper, sign)
        products = np.outer(weight[[0, -1]], ends[0]), np.outer(weight[[0, -1]], ends[1])
        low[:-1] += n * np.min(products, axis=(0, 1))
        high[:-1] += n * np.max(products, axis=(0, 1))
        # weight * margin between two margins of the grid: at most the weight of one times the margin of the other
        outer = np.array([weight[:-1] * margins[1:], weight[1:] * margins[:-1], weight[1:] * margins[1:]])
        outer = np.append(outer, (weight * margins)[None, :-1], axis=0)
        low[-1] += n * np.min(outer)
        high[-1] += n * np.max(outer)
    wanted = np.append(r, float(setting.theta @ r))
    if not setting.objective.fit_intercept:
        low[-2], high[-2] = -np.inf, np.inf
    room = 1e-9 * (1.0 + np.abs(wanted))
    return bool(np.all((low - room <= wanted) & (wanted <= high + room)))


def _moved(nearest, other, rng):
    """The nearest miss so far with one point moved to where some point of another start is."""
    equations, X, _ = nearest
    i = rng.integers(len(X))
    places = other[1][other[0].labels == equations.labels[i]]
    X = X.copy()
    if len(places):
        X[i] = places[rng.integers(len(places))]
    return equations, X


def _start(setting, r, n_plus, n_minus, turn, rng):
    """``(equations, X)``: one start."""
    if turn % 3 == 2:
        X, labels, copies = _at_corners(setting, r, n_plus, n_minus, rng)
        equations = Equations(setting, r, labels, copies)
    else:
        copies, labels = [], []
        for sign, n in ((1.0, n_plus), (-1.0, n_minus)):
            own = _portions(n, turn)
            copies += own
            labels += [sign] * len(own)
        equations = Equations(setting, r, labels, copies)
        if turn % 3 == 0:  # on the way from the least to the largest margin
            share = rng.random((len(labels), 1))
            X = equations.least + share * (equations.most - equations.least)
        else:
            X = equations.lower + rng.random(equations.lower.shape) * (equations.upper - equations.lower)
    return equations, X


def _portions(n, turn):
    """n copies as so many distinct points: one each, or some halves of what is left (in turn of equal size)."""
    if n <= ALONE // 2:
        return [1] * n
    if turn % 2:
        return [len(part) for part in np.array_split(np.empty(n), 6)]
    parts = []
    while n > 1 and len(parts) < 5:
        parts.append(n - n // 2)
        n //= 2
    return [*parts, n]


def _at_corners(setting, r, n_plus, n_minus, rng):
    """``(X, labels, copies)``: copies dealt out to some corners of the boxes, so that they supply nearly r."""
    points, labels, counts = [], [], []
    for sign, n in ((1.0, n_plus), (-1.0, n_minus)):
        if not n:
            continue
        box = Equations(setting, r, [sign], [1])
        up = rng.random((CORNERS, len(setting.theta) - 1)) < rng.random((CORNERS, 1))
        corners = np.unique(np.vstack([box.least, box.most, np.where(up, box.most, box.least)]), axis=0)
        between = rng.random((BETWEEN, 1))
        one, other = corners[rng.integers(len(corners), size=(2, BETWEEN))]
        corners = np.vstack([corners, one + between * (other - one)])
        points.append(corners)
        labels.append(np.full(len(corners), sign))
        if n <= ALONE:
            counts.append(np.bincount(rng.integers(len(corners), size=n), minlength=len(corners)))
        else:
            counts.append(round_counts(n * rng.dirichlet(np.full(len(corners), 0.3)), n))
    points, labels, counts = np.vstack(points), np.concatenate(labels), np.concatenate(counts)
    all_of_them = Equations(setting, r, labels, np.ones(len(labels)))
    state = all_of_them.at(points)
    columns = (state.weight[:, None] * state.lifted).T
    heavy = 100.0 * all_of_them.scale  # the split stays
    counts = exchange(
        np.vstack([columns, heavy * (labels > 0)]), np.append(all_of_them.r, heavy * n_plus), counts, rounds=400
    )
    used = np.flatnonzero(counts)
    if n_plus + n_minus <= ALONE:
        used = np.repeat(used, counts[used])
        return points[used], labels[used], np.ones(len(used), dtype=int)
    # one copy of each corner apart from the others
    single, copies = used[counts[used] > 1], counts[used] - (counts[used] > 1)
    used = np.append(used, single)
    return points[used], labels[used], np.append(copies, np.ones(len(single), dtype=int))
