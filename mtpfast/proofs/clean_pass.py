"""One pass over the clean rows: their gradient at the target, with its rounding error."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.magnitude import LARGEST, check_magnitude
from mtpfast.arrays.maps import let_go
from mtpfast.arrays.parts import RowParts, over
from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.objective import Objective

__all__ = [
    "CleanGradient",
    "CleanPass",
    "CleanSums",
    "blocks",
    "clean_gradient",
    "extent",
    "free_slack",
    "slope_above",
    "slope_below",
]


BLOCK_BYTES = 2**20  # a block of rows as float64, which a cache holds; a handful of such arrays live at a time


@dataclass(frozen=True)
class CleanGradient:
    """What one pass over the clean data leaves behind: the rest does not depend on their number.

    ``gradient`` (d + 1,) with an error bound per entry; the rows whose ``s`` is not determined, with
    the most each may weigh, and what ``s`` is at the centre of the ball (``free_slopes``: NaN for rows that are not
    determined there either); the box that holds the data.
    """

    gradient: np.ndarray
    error: np.ndarray
    free_rows: object  # (m, d) ndarray or CSR
    free_labels: np.ndarray
    free_weights: np.ndarray
    free_slopes: np.ndarray
    n_rows: int
    weight: float
    k: float
    lower: np.ndarray
    upper: np.ndarray
    one: float = 1.0  # 0 without an intercept
    slack: float = 0.0  # sum over free rows that were reduced against a direction instead of kept
    slack_error: float = 0.0

    def centre(self) -> CleanGradient:
        """The same seen from the centre of the ball: only what is not determined there stays free."""
        free = np.isnan(self.free_slopes)
        if np.all(free):
            return self
        active = np.where(free, 0.0, self.free_weights * self.free_slopes)
        gradient = self.gradient.copy()
        gradient[:-1] -= (active * self.free_labels) @ self.free_rows
        gradient[-1] -= float(self.one * (active @ self.free_labels))
        return replace(
            self,
            gradient=gradient,
            free_rows=self.free_rows[np.flatnonzero(free)],
            free_labels=self.free_labels[free],
            free_weights=self.free_weights[free],
            free_slopes=self.free_slopes[free],
        )


def blocks(X, y, sample_weight=None):
    """Yield (start, rows, labels, weights): float64 blocks of a dense array, memory map or CSR.

    The rows are there until the next block is: of what is converted, all blocks lie in one place, as Dask's workers
    give memory back at once, and pages that are new cost more than the pass.
    """
    n, step, doubles = X.shape[0], _block_rows(X), None
    for start in range(0, n, step):
        stop = min(n, start + step)
        rows = X if step == n else X[start:stop]
        if not sp.issparse(rows):
            rows = np.asarray(rows)
            if rows.dtype != np.float64:
                doubles = np.empty_like(rows, dtype=np.float64) if doubles is None else doubles
                np.copyto(doubles[: len(rows)], rows)
                rows = doubles[: len(rows)]
        elif rows.dtype != np.float64:
            rows = rows.astype(np.float64)
        labels = np.asarray(y[start:stop], dtype=np.float64)
        weights = None if sample_weight is None else np.asarray(sample_weight[start:stop], dtype=np.float64)
        yield start, rows, labels, weights
        if start // step % 64 == 63:
            let_go(X)


def _block_rows(X):
    """How many rows make a block."""
    n, d = X.shape
    row_bytes = 16.0 * X.nnz / max(1, n) if sp.issparse(X) else 8.0 * d
    return max(1, min(n, int(BLOCK_BYTES / max(8.0, row_bytes))))


def clean_gradient(
    X, y, theta, objective: Objective, sample_weight=None, *, margin_tol=0.0, tol=0.0, direction=None, compact=False
) -> CleanGradient:
    """The gradient of the clean objective at theta, in one blocked pass, with its rounding error.

    Parameters
    ----------
    X : ndarray, memmap or CSR of shape (n_samples, n_features); any float or integer dtype; or RowParts
        Read a block of rows at a time; a block is all that is ever converted to float64. Rows in parts
        (:mod:`mtpfast.arrays.parts`) bring their labels and weights: ``y`` and ``sample_weight`` are None then.
    y : array of shape (n_samples,), -1 and +1
    theta : ndarray of shape (n_features + 1,)
    margin_tol : float
        Hinge: rows with ``|margin - 1| <= margin_tol`` (plus ``tol |x~|``, plus the rounding error of
        the margin) are returned as free rows and are not in the gradient.
    tol : float
        Radius of the ball of models (see the head of this module).
    direction : ndarray of shape (n_features + 1,), optional
        Reduce the free rows to ``slack = sum c_i max(0, -y_i x~_i . v)`` instead of keeping them.
    compact : bool
        Smooth losses, of which every row has an interval of ``s`` in a ball: for small ``tol``. Without a direction the
        intervals go into ``error``, entry by entry, and no row is kept. With one, ``slack`` says how far ``G.v`` moves
        in the ball: ``tol |H v|`` with H the Hessian of the clean loss, and the remainder of Taylor's formula.

    Complexity: one pass, O(n d) time, O(block + free rows) memory.
    """
    asked = CleanPass(theta, objective, margin_tol, tol, direction, compact, getattr(X, "memory_limit", math.inf))
    return asked.finish(over(X, y, sample_weight, asked, asked.merge))


@dataclass(frozen=True)
class CleanSums:
    """What :class:`CleanPass` makes of some of the rows: the sums over them and, for each sum, what bounds its error.

    ``depth``: through so many additions, at most, a summand went from block to block. ``kept``: (rows, labels, weights,
    slopes) of the free rows, block by block. ``weight`` is exact beyond the sums of blocks. ``interval``: how far
    ``G.v`` moves where nothing is known of a row but the interval of its ``s``.
    """

    gradient: np.ndarray
    error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    kept: tuple
    sparse: bool
    n_rows: int
    depth: int
    weight: Fraction
    slack: float
    slack_error: float
    turn: np.ndarray  # H v
    turn_size: float
    remainder: float
    interval: float

    @property
    def n_free(self) -> int:
        return sum(len(labels) for _, labels, _, _ in self.kept)

    @property
    def free_bytes(self) -> int:
        return sum(_bytes(rows) for rows, _, _, _ in self.kept)


@dataclass(frozen=True)
class CleanPass:
    """What one pass over the clean rows is asked (:func:`clean_gradient`): of any part of them, merged, and finished.

    ``pass(X, y, weight)`` are the sums over some rows, :meth:`merge` those over more, in any grouping, and
    :meth:`finish` adds the penalty. With ``s = fl(a + b)`` an addition errs by ``u |s|`` at most, which merge adds to
    the errors that the parts have counted for themselves: whatever the parts, the sum is within its error.
    """

    theta: np.ndarray
    objective: Objective
    margin_tol: float = 0.0
    tol: float = 0.0
    direction: np.ndarray | None = None
    compact: bool = False
    memory_limit: float = math.inf  # bytes of free rows

    def __call__(self, X, y, sample_weight=None) -> CleanSums:
        objective, tol, direction, compact = self.objective, self.tol, self.direction, self.compact
        d = X.shape[1]
        loss = objective.loss
        w, b = self.theta[:-1], self.theta[-1]
        sparse = sp.issparse(X)
        hinge = loss.kinked
        if objective.is_balanced:
            raise ValueError("class_weight='balanced' changes with every point: no bound is proved for it")
        one = objective.one
        in_ball = tol > 0.0 and not compact
        G, Gerr = np.zeros(d + 1), np.zeros(d + 1)
        lower, upper = np.full(d, np.inf), np.full(d, -np.inf)
        kept = []
        weight = slack = slack_err = remainder = turn_abs = interval = 0.0
        turn = np.zeros(d + 1)  # H v
        n_blocks = -(-X.shape[0] // _block_rows(X))
        dot = gamma(d + 4)
        for _, rows, labels, own in blocks(X, y, sample_weight):
            if not np.all(np.abs(labels) == 1.0):
                raise ValueError(f"y must hold -1 and +1 only, got {labels[np.abs(labels) != 1.0][0]:g}")
            low, high = extent_of_block(rows)
            check_finite(low, high)
            if max(float(np.max(high)), -float(np.min(low))) > LARGEST:
                check_magnitude(np.append(low, high), "X")
            np.minimum(lower, low, out=lower)
            np.maximum(upper, high, out=upper)
            c = objective.weights(labels, own)
            size = rows if np.all(low >= 0) else abs(rows)  # |X|, for error bounds
            margin = labels * (rows @ w + b)
            error = dot * (size @ np.abs(w) + abs(b)) + 2 * UNIT * np.abs(margin - 1.0)
            reach = error
            if tol > 0.0:
                squares = rows.multiply(rows).sum(axis=1) if sparse else np.einsum("ij,ij->i", rows, rows)
                reach = error + tol * np.sqrt(np.asarray(squares).ravel() + one) * (1.0 + gamma(d + 6))
            if hinge:
                free = np.abs(margin - 1.0) <= reach + self.margin_tol
                s = np.where(free | (margin > 1.0), 0.0, 1.0)
                s_error = None
                free = np.flatnonzero(free)
                width = np.ones(len(free))
                near = np.abs(margin[free] - 1.0) <= error[free] + self.margin_tol
                slopes = np.where(near, np.nan, np.where(margin[free] > 1.0, 0.0, 1.0))
            else:
                taylor = compact and direction is not None
                s, s_high, s_error = _slopes(loss, margin, error if taylor else reach, in_ball)
                if taylor:
                    add, *sums = _turn(rows, labels, margin, reach, c, direction, loss, one)
                    turn_abs, remainder, interval = np.add((turn_abs, remainder, interval), sums).tolist()
                    turn = turn + add
                free = np.flatnonzero(s_high > s) if in_ball else np.empty(0, dtype=np.intp)
                width = (s_high - s)[free]
                slopes = np.full(len(free), np.nan)
            weights = np.ones(len(labels)) if c is None else c
            weight += float(len(labels)) if c is None else math.fsum(c)
            active = weights * s
            G[:-1] -= (active * labels) @ rows
            G[-1] -= one * float(np.dot(active, labels))
            # Products w u s y (c = w u) and y x, the sum inside the block, and one addition per block.
            doubt = gamma(len(labels) + n_blocks + 5) * active
            if s_error is not None:
                doubt = doubt + weights * s_error
            Gerr[:-1] += doubt @ size
            Gerr[-1] += one * float(np.sum(doubt))
            if len(free):
                c_free = weights[free] * width
                if direction is None:
                    kept.append((rows[free], labels[free], c_free, slopes))
                else:
                    add, add_err = free_slack(rows[free], labels[free], c_free, direction, one)
                    slack, slack_err = slack + add, slack_err + add_err + gamma(n_blocks) * add
        return self._within_limit(
            CleanSums(
                G, Gerr, lower, upper, tuple(kept), sparse, X.shape[0], n_blocks, Fraction(weight),
                slack, slack_err, turn, turn_abs, remainder, interval,
            )
        )  # fmt: skip

    def merge(self, a: CleanSums, b: CleanSums) -> CleanSums:
        """The sums over the rows of both."""
        if not a.n_rows or not b.n_rows:
            return a if a.n_rows else b
        gradient, slack = a.gradient + b.gradient, a.slack + b.slack
        more = 1.0 + 8 * UNIT  # two additions and two products of what is not negative
        merged = CleanSums(
            gradient=gradient,
            error=(a.error + b.error + UNIT * np.abs(gradient)) * more,
            lower=np.minimum(a.lower, b.lower),
            upper=np.maximum(a.upper, b.upper),
            kept=a.kept + b.kept,
            sparse=a.sparse or b.sparse,
            n_rows=a.n_rows + b.n_rows,
            depth=max(a.depth, b.depth),
            weight=a.weight + b.weight,
            slack=slack,
            slack_error=(a.slack_error + b.slack_error + UNIT * slack) * more,
            turn=a.turn + b.turn,  # these four: gamma(n_rows) covers any order of their additions
            turn_size=a.turn_size + b.turn_size,
            remainder=a.remainder + b.remainder,
            interval=a.interval + b.interval,
        )
        return self._within_limit(merged)

    def _within_limit(self, sums: CleanSums) -> CleanSums:
        if sums.kept and sums.free_bytes > self.memory_limit:
            raise MemoryError(
                f"{sums.n_free} rows and more lie within margin_tol={self.margin_tol:g} of the margin of the target "
                f"and take {sums.free_bytes} bytes, more than memory_limit={self.memory_limit:.0f}: pass a larger "
                f"memory_limit to in_parts, or a smaller margin_tol (the bound is then for the fewer rows so near)"
            )
        return sums

    def finish(self, sums: CleanSums) -> CleanGradient:
        """The gradient of the objective: with the penalty, whose k takes the weight of all rows."""
        objective, tol = self.objective, self.tol
        n, d, G = sums.n_rows, len(self.theta) - 1, sums.gradient
        if not n:
            raise ValueError("X must have one row at least, got none")
        slack, slack_err, weight = sums.slack, sums.slack_error, float(sums.weight)
        if self.compact and not objective.loss.kinked and self.direction is not None:
            slack = tol * float(np.linalg.norm(sums.turn)) + sums.remainder
            slack_err = gamma(n + 3 * d + 64) * (tol * sums.turn_size + sums.remainder)
            if sums.interval < slack:  # so that a direction never proves less than the gradient's errors did without it
                slack, slack_err = sums.interval, gamma(n + 3 * d + 64) * sums.interval
        k = objective.k(float(n) if objective.count_rows else weight)
        penalty = k * objective.R(d) * self.theta
        G = G + penalty
        Gerr = sums.error + (gamma(sums.depth + 7) * np.abs(penalty) + 2 * UNIT * np.abs(G))
        Gerr *= 1.0 + gamma(2 * n + d)  # the bound's own sums, all of non-negative terms
        if sums.kept:
            kept, *free = zip(*sums.kept, strict=True)
            free_rows = sp.vstack(kept, format="csr") if sums.sparse else np.concatenate(kept)
            free_y, free_c, free_s = map(np.concatenate, free)
        else:
            free_rows = sp.csr_matrix((0, d)) if sums.sparse else np.empty((0, d))
            free_y, free_c, free_s = np.empty(0), np.empty(0), np.empty(0)
        return CleanGradient(
            G, Gerr, free_rows, free_y, free_c, free_s, n, weight, k, sums.lower, sums.upper, objective.one, slack,
            slack_err,
        )  # fmt: skip


def _bytes(rows):
    return rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes if sp.issparse(rows) else rows.nbytes


def check_finite(low, high):
    """Raise where a column, from ``low`` to ``high``, holds NaN or infinity."""
    finite = np.isfinite(low) & np.isfinite(high)
    if np.all(finite):
        return
    column = int(np.argmin(finite))
    raise ValueError(f"X must be finite, got NaN or infinity in column {column}")


def extent(X):
    """Per-feature minimum and maximum, in one blocked pass."""
    return over(X, None, None, _extent_of, _wider)


def _extent_of(X, *_):
    n, d = X.shape
    ends = [extent_of_block(rows) for _, rows, _, _ in blocks(X, np.empty(n))]
    ends = ends or [(np.full(d, np.inf), np.full(d, -np.inf))]
    low, high = np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)
    if n:
        check_finite(low, high)
    return low, high


def _wider(a, b):
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])


def amount_of(X, y, objective: Objective, sample_weight=None) -> float:
    """N of the clean rows, what k is a function of; of rows in parts by a pass."""
    if isinstance(X, RowParts) and objective.count_rows:
        return float(X.n_rows)
    return float(over(X, y, sample_weight, _Amount(objective), operator.add))


@dataclass(frozen=True)
class _Amount:
    objective: Objective

    def __call__(self, _, y, sample_weight):
        return self.objective.amount(y, sample_weight)


def extent_of_block(rows):
    """Per-feature minimum and maximum of a block."""
    if sp.issparse(rows):
        return rows.min(axis=0).toarray().ravel(), rows.max(axis=0).toarray().ravel()
    return rows.min(axis=0), rows.max(axis=0)


def slope_above(loss, margin):
    """No less than ``s`` at any margin from ``margin`` on (16 units for evaluating ``phi'``)."""
    margin = np.asarray(margin, dtype=float)
    if loss.kinked:
        return np.where(margin <= 1.0, 1.0, 0.0)
    tiny = np.where(margin < loss.zero_from, 1e-300, 0.0)  # an exponential may underflow
    return -loss.derivative(margin) * (1.0 + 16 * UNIT) + tiny


def slope_below(loss, margin):
    """No more than ``s`` at any margin up to ``margin``."""
    margin = np.asarray(margin, dtype=float)
    if loss.kinked:
        return np.where(margin < 1.0, 1.0, 0.0)
    return np.maximum(0.0, -loss.derivative(margin) * (1.0 - 16 * UNIT) - 1e-300)


def _slopes(loss, margin, reach, in_ball):
    """``s`` of a smooth loss per row: (s, s_high, error of s).

    In a ball of models ``s`` and ``s_high`` enclose what the row can reach; else they are equal and the error
    covers how far the margin can be off (``reach``) and the rounding of ``phi'``.
    """
    if in_ball:
        return slope_below(loss, margin + reach), slope_above(loss, margin - reach), None
    s = -loss.derivative(margin)
    s_error = np.maximum(slope_above(loss, margin - reach) - s, s - slope_below(loss, margin + reach))
    return s, s, s_error


def _turn(rows, labels, margin, reach, weights, v, loss, one):
    """``(H v, sum c phi'' |x~| (|x~|.|v|), remainder, interval)`` of a block of rows.

    For ``|t| <= reach`` the remainder ``|s(m + t) - s(m) + phi''(m) t|`` is at most the loss's own ``bend_error``. The
    interval of ``s`` bounds it for any falling ``s``, and where that is the lesser; where nothing else is known the
    interval serves alone, with 0 for ``phi''``, as it does in the last sum.
    """
    squares = rows.multiply(rows).sum(axis=1) if sp.issparse(rows) else np.einsum("ij,ij->i", rows, rows)
    length = np.sqrt(np.asarray(squares).ravel() + one)
    push = labels * (rows @ v[:-1] + one * v[-1])
    size = abs(rows) @ np.abs(v[:-1]) + one * abs(v[-1])
    most = loss.bend_error(margin, reach)
    bend = np.zeros(len(margin)) if most is None else loss.second_derivative(margin)
    s = -loss.derivative(margin)
    interval = np.maximum(slope_above(loss, margin - reach) - s, s - slope_below(loss, margin + reach))
    off = interval if most is None else np.minimum(interval + bend * reach, most)
    c = 1.0 if weights is None else weights
    along = c * bend * push * labels
    turn = np.append(along @ rows, one * float(along.sum()))
    pushed = c * (np.abs(push) + 1e-12 * size)
    return turn, float(np.sum(c * bend * length * size)), float(pushed @ off), float(pushed @ interval)


def free_slack(rows, labels, weights, v, one):
    """``sum c_i max(0, -y_i x~_i . v)`` and a bound of its rounding error."""
    d = rows.shape[1]
    push = np.maximum(0.0, -labels * (rows @ v[:-1] + one * v[-1]))
    size = abs(rows) @ np.abs(v[:-1]) + one * abs(v[-1])
    total = float(np.dot(weights, push))
    error = gamma(d + 4) * float(np.dot(weights, size)) + gamma(len(labels) + 4) * total
    return total, error * (1.0 + gamma(len(labels) + d + 8))
