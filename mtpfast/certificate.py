"""What a result proves, and the check of it that needs no solver.

Training on clean rows plus poison ends at ``theta_p`` exactly when

    G + sum_k g_k + sum_i t_i (-c_i y_i x~_i) = 0,        g_k = -w_k s_k y_k x~_k + a_k R theta_p,

with ``G`` the gradient of the clean rows whose ``s = -phi'`` is known, the last sum over the clean
rows that may lie on the margin of the hinge (``t_i`` in [0, 1]), ``w_k`` the class weight of the point's
label (1 without any) and ``a_k = alpha`` (0 in the ``C`` convention; times ``w_k`` where k counts weights, not rows).
Multiply by any direction ``v``: with N points,

    N * max_F v.g  >=  -G.v - sum_i c_i max(0, -y_i x~_i . v).                            (1)

So **every** direction proves a lower bound, and if the left maximum is not positive while the right
side is, no poisoning of any size reaches ``theta_p``. A certificate is such a direction. The check
evaluates (1) with one pass over the data and one maximum over the feasible set; it uses NumPy
alone, and every floating-point sum in it comes with the standard bound ``gamma_n * sum |terms|`` of
its own rounding error (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section
3.1), so that the number it reports is never above what it proves.

**A pool whose candidates can each be used so many times** (``max_repeats``) gives more than (1): then
N points push along v by at most ``f(N) = max { sum_k nu_k v.g_k : sum_k nu_k <= N, 0 <= nu_k <= max_repeats }``,
which the candidates of largest ``v.g_k`` attain, and the bound is the least N with

    f(N) >= -G.v - sum_i c_i max(0, -y_i x~_i . v);                                       (2)

if f never gets there, no poisoning reaches ``theta_p``. By duality the best direction makes it the value
of the linear program with ``nu_k <= max_repeats``.

**Rows that may lie on the margin.** A trainer leaves the rows on the margin of the hinge a little beside it. One
number, ``margin_tol``, says how far: every row, clean, candidate or poison, whose margin is within ``margin_tol`` of 1
may count with any ``s`` in [0, 1]. More of it only lowers the bound.

**Within a tolerance.** A bound for the target to its last bit would exclude attacks that count as hits, and a target
is itself a rounded solution; so what attacks report holds for the ball of the hit tolerance
(:func:`mtpfast.goal.hit_radius`) at least. For "some model within l2 distance ``tol`` of ``theta_p``" the same proof
holds with three changes: rows whose margin is within ``tol |x~_i|`` of the kink are free (for smooth
losses ``s_i`` ranges over an interval), poison margins move by up to ``tol |x~|``, and ``v.R theta``
differs from ``v.R theta_p`` by up to ``tol |R v|``, which costs ``k tol |R v|``.
"""

from __future__ import annotations

import heapq
import math
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from .bounds import whole
from .goal import Goal, hit_radius
from .losses import HINGE, LOG_LOSS, LOSSES, SQUARED_HINGE, Objective
from .magnitude import LARGEST, check_magnitude

__all__ = [
    "Certificate",
    "CertificateCheck",
    "CleanGradient",
    "Rounding",
    "bound",
    "bound_along_path",
    "clean_gradient",
    "extent",
    "prove",
]

UNIT = 2.0**-53  # unit roundoff of float64
SMALL_DRIFT = 1e-3  # of the margins of poison in a ball: up to here one line bounds them well enough
COARSE = (
    1e-3  # of the target's norm, and of a margin: "no number of points suffices" is said where this does not decide
)
BLOCK_BYTES = 2**20  # a block of rows as float64, which a cache holds; a handful of such arrays live at a time


def gamma(n: int) -> float:
    """``n u / (1 - n u)``: the relative error of any n-term sum or product, in any order."""
    return n * UNIT / (1.0 - n * UNIT)


class Rounding(NamedTuple):
    """How a bound was rounded: both parts of the quotient, and the error subtracted or added."""

    numerator: float
    numerator_error: float
    denominator: float
    denominator_error: float


class CertificateCheck(NamedTuple):
    """What a check proved.

    ``value``: no fewer points suffice (a real number, rounded down; ``inf`` if none do).
    ``n_poison``: the same as a whole number, rounded up; ``2**63 - 1`` for ``inf``.
    ``holds``: whether the certificate's own claim is not above it. ``rounding``: see there.
    """

    value: float
    n_poison: int
    holds: bool
    rounding: Rounding


@dataclass(frozen=True)
class Certificate:
    """A direction that proves how many points any attack needs, and everything needed to check it
    except the data.

    Attributes
    ----------
    kind : {"direction", "model", "farkas"}
        ``"direction"``: equation (1) of this module with ``direction``. ``"model"``: the same with the
        direction ``theta - theta_target``, for the model ``theta`` at which Theorem 2 of Suya et al. was
        evaluated; by convexity the direction proves at least as much as the model does.
        ``"farkas"``: the direction proves that no poisoning reaches the target.
    theta_target : ndarray of shape (n_features + 1,)
    objective : Objective
        The victim's.
    feasible_set : FeatureSpace or CandidatePool
        Explicit, even if the attack took it from the data.
    direction : ndarray of shape (n_features + 1,)
    theta : ndarray of shape (n_features + 1,) or None
        The model, for ``kind="model"``.
    value : float
        The bound as a real number, rounded down; ``inf`` for "no number of points suffices".
    tol : float
        The bound holds for every model within this l2 distance of ``theta_target``; 0: exactly that one.
    margin_tol : float
        Rows (clean, candidates, poison) this near to the margin of the hinge counted as lying on it, which only
        lowers the bound.
    rounding : Rounding or None
        How ``value`` was rounded.

    Raises
    ------
    ValueError
        When made or checked, for a field that no certificate can have: a NaN, a negative or infinite tolerance, a
        ``value`` that does not belong to its ``kind``.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.certificate import Certificate
    >>> from mtpfast.feasible import FeatureSpace
    >>> from mtpfast.losses import make_objective
    >>> X, y = np.array([[0.0], [1.0]]), np.array([-1.0, 1.0])
    >>> claim = Certificate("direction", np.array([-1.0, 0.5]), make_objective("hinge", C=1.0),
    ...                     FeatureSpace(0.0, 1.0), direction=np.array([2.0, -1.0]), value=4.49)
    >>> report = claim.check(X, y)
    >>> report.n_poison, report.holds
    (5, True)
    """

    kind: str
    theta_target: np.ndarray
    objective: Objective
    feasible_set: object
    direction: np.ndarray | None = None
    theta: np.ndarray | None = None
    value: float = 0.0
    tol: float = 0.0
    margin_tol: float = 0.0
    rounding: Rounding | None = None

    def __post_init__(self):
        if self.kind not in ("direction", "model", "farkas"):
            raise ValueError(f"kind must be 'direction', 'model' or 'farkas', got {self.kind!r}")
        if (self.theta is None) == (self.kind == "model"):
            raise ValueError(f"theta must be given for kind 'model' and no other, got kind {self.kind!r}")
        _freeze(self, "theta_target", np.asarray(self.theta_target))
        if self.kind == "model":
            _freeze(self, "theta", np.asarray(self.theta))
            if self.theta.shape != self.theta_target.shape:
                raise ValueError(f"theta has shape {self.theta.shape}, theta_target has {self.theta_target.shape}")
            _freeze(self, "direction", np.subtract(self.theta, self.theta_target))
        elif self.direction is None:
            raise ValueError(f"direction must be given for kind {self.kind!r}, got None")
        else:
            _freeze(self, "direction", np.asarray(self.direction))
        if self.rounding is not None:
            object.__setattr__(self, "rounding", Rounding(*self.rounding))
        self.validate()

    @property
    def goal(self) -> Goal:
        """What the bound speaks of."""
        return Goal(self.theta_target, self.objective, self.feasible_set, self.tol, self.margin_tol)

    def validate(self) -> None:
        """Raise ValueError, naming the field, if this cannot be a certificate."""
        goal = self.goal
        if self.direction.shape != goal.theta_target.shape:
            raise ValueError(f"direction has shape {self.direction.shape}, theta_target has {goal.theta_target.shape}")
        if not np.all(np.isfinite(self.direction)):
            raise ValueError("direction must be finite, got NaN or infinity")
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (Real, np.number)) or not value >= 0.0:
            raise ValueError(f"value must be a number, at least 0, got {value!r}")
        if self.kind == "farkas" and not math.isinf(value):
            raise ValueError(f"value must be inf for kind 'farkas', got {value!r}")

    @property
    def n_poison(self) -> int:
        """The bound as a whole number of points."""
        return whole(self.value)

    def check(self, X, y, sample_weight=None) -> CertificateCheck:
        """Recompute the bound from the direction alone.

        Parameters
        ----------
        X : ndarray, memmap or CSR of shape (n_samples, n_features)
            The clean data. Read in blocks, once.
        y : array of shape (n_samples,), -1 and +1
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        CertificateCheck
            ``value`` and ``n_poison`` are what these data and this direction prove; ``holds`` says
            whether the certificate claims no more.
        """
        self.validate()
        X = X if sp.issparse(X) else np.asanyarray(X)
        if X.ndim != 2 or X.shape[1] != len(self.theta_target) - 1:
            raise ValueError(f"X has shape {X.shape}, expected (n_samples, {len(self.theta_target) - 1})")
        if len(y) != X.shape[0]:
            raise ValueError(f"y has {len(y)} labels, X has {X.shape[0]} rows")
        clean = clean_gradient(
            X.tocsr() if sp.issparse(X) else X,
            np.asarray(y),
            self.theta_target,
            self.objective,
            sample_weight,
            margin_tol=self.margin_tol,
            tol=self.tol,
            direction=self.direction,
            compact=self.tol <= hit_radius(self.theta_target, self.feasible_set),
        )
        value, rounding = prove(clean, self.direction, self.goal)
        n_poison = whole(value)
        return CertificateCheck(value, n_poison, self.n_poison <= n_poison, rounding)


def _freeze(owner, name, array):
    """Set a field of a frozen object to a read-only float64 copy."""
    array = np.array(array, dtype=np.float64)
    array.flags.writeable = False
    object.__setattr__(owner, name, array)


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
    """Yield (start, rows, labels, weights): float64 blocks of a dense array, memory map or CSR."""
    n, step = X.shape[0], _block_rows(X)
    for start in range(0, n, step):
        stop = min(n, start + step)
        rows = X if step == n else X[start:stop]
        if not sp.issparse(rows):
            rows = np.asarray(rows, dtype=np.float64)
        elif rows.dtype != np.float64:
            rows = rows.astype(np.float64)
        labels = np.asarray(y[start:stop], dtype=np.float64)
        weights = None if sample_weight is None else np.asarray(sample_weight[start:stop], dtype=np.float64)
        yield start, rows, labels, weights


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
    X : ndarray, memmap or CSR of shape (n_samples, n_features); any float or integer dtype
        Read a block of rows at a time; a block is all that is ever converted to float64.
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
    n, d = X.shape
    loss = objective.loss
    w, b = theta[:-1], theta[-1]
    sparse = sp.issparse(X)
    hinge = loss is HINGE
    if objective.is_balanced:
        raise ValueError("class_weight='balanced' changes with every point: no bound is proved for it")
    one = 1.0 if objective.fit_intercept else 0.0
    in_ball = tol > 0.0 and not compact
    G, Gerr = np.zeros(d + 1), np.zeros(d + 1)
    lower, upper = np.full(d, np.inf), np.full(d, -np.inf)
    kept, kept_y, kept_c, kept_s = [], [], [], []
    weight = slack = slack_err = remainder = turn_abs = 0.0
    turn = np.zeros(d + 1)  # H v
    n_blocks = -(-n // _block_rows(X))
    dot = gamma(d + 4)
    for _, rows, labels, own in blocks(X, y, sample_weight):
        if not np.all(np.abs(labels) == 1.0):
            raise ValueError(f"y must hold -1 and +1 only, got {labels[np.abs(labels) != 1.0][0]:g}")
        low, high = _extent(rows)
        if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
            raise ValueError("X must be finite, got NaN or infinity")
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
            free = np.abs(margin - 1.0) <= reach + margin_tol
            s = np.where(free | (margin > 1.0), 0.0, 1.0)
            s_error = None
            free = np.flatnonzero(free)
            width = np.ones(len(free))
            near = np.abs(margin[free] - 1.0) <= error[free] + margin_tol
            slopes = np.where(near, np.nan, np.where(margin[free] > 1.0, 0.0, 1.0))
        else:
            taylor = compact and direction is not None
            s, s_high, s_error = _slopes(loss, margin, error if taylor else reach, in_ball)
            if taylor:
                add, add_abs, rest = _turn(rows, labels, margin, reach, c, direction, loss, one)
                turn, turn_abs, remainder = turn + add, turn_abs + add_abs, remainder + rest
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
                kept.append(rows[free])
                kept_y.append(labels[free])
                kept_c.append(c_free)
                kept_s.append(slopes)
            else:
                add, add_err = _slack(rows[free], labels[free], c_free, direction, one)
                slack, slack_err = slack + add, slack_err + add_err + gamma(n_blocks) * add
    if compact and not hinge and direction is not None:
        slack = tol * float(np.linalg.norm(turn)) + remainder
        slack_err = gamma(n + 3 * d + 64) * (tol * turn_abs + remainder)
    k = objective.k(float(n) if objective.count_rows else weight)
    penalty = k * _R(objective, d) * theta
    G += penalty
    Gerr += gamma(n_blocks + 7) * np.abs(penalty) + 2 * UNIT * np.abs(G)
    Gerr *= 1.0 + gamma(2 * n + d)  # the bound's own sums, all of non-negative terms
    if kept:
        free_rows = sp.vstack(kept, format="csr") if sparse else np.concatenate(kept)
        free_y, free_c, free_s = map(np.concatenate, (kept_y, kept_c, kept_s))
    else:
        free_rows = sp.csr_matrix((0, d)) if sparse else np.empty((0, d))
        free_y, free_c, free_s = np.empty(0), np.empty(0), np.empty(0)
    return CleanGradient(G, Gerr, free_rows, free_y, free_c, free_s, n, weight, k, lower, upper, one, slack, slack_err)


def _R(objective, d):
    """The diagonal of R."""
    R = np.ones(d + 1)
    R[-1] = objective.r
    return R


def extent(X):
    """Per-feature minimum and maximum, in one blocked pass."""
    ends = [_extent(rows) for _, rows, _, _ in blocks(X, np.empty(X.shape[0]))]
    return np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)


def _extent(rows):
    """Per-feature minimum and maximum of a block."""
    if sp.issparse(rows):
        return rows.min(axis=0).toarray().ravel(), rows.max(axis=0).toarray().ravel()
    return rows.min(axis=0), rows.max(axis=0)


def _slope_above(loss, margin):
    """No less than ``s`` at any margin from ``margin`` on (16 units for evaluating ``phi'``)."""
    margin = np.asarray(margin, dtype=float)
    if loss is HINGE:
        return np.where(margin <= 1.0, 1.0, 0.0)
    tiny = 0.0 if loss is SQUARED_HINGE else 1e-300  # an exponential may underflow
    return -loss.derivative(margin) * (1.0 + 16 * UNIT) + tiny


def _slope_below(loss, margin):
    """No more than ``s`` at any margin up to ``margin``."""
    margin = np.asarray(margin, dtype=float)
    if loss is HINGE:
        return np.where(margin < 1.0, 1.0, 0.0)
    return np.maximum(0.0, -loss.derivative(margin) * (1.0 - 16 * UNIT) - 1e-300)


def _slopes(loss, margin, reach, in_ball):
    """``s`` of a smooth loss per row: (s, s_high, error of s).

    In a ball of models ``s`` and ``s_high`` enclose what the row can reach; else they are equal and the error
    covers how far the margin can be off (``reach``) and the rounding of ``phi'``.
    """
    if in_ball:
        return _slope_below(loss, margin + reach), _slope_above(loss, margin - reach), None
    s = -loss.derivative(margin)
    s_error = np.maximum(_slope_above(loss, margin - reach) - s, s - _slope_below(loss, margin + reach))
    return s, s, s_error


def _turn(rows, labels, margin, reach, weights, v, loss, one):
    """``(H v, sum c phi'' |x~| (|x~|.|v|), remainder)`` of a block of rows.

    For ``|t| <= reach``: ``|s(m + t) - s(m) + phi''(m) t| <= reach^2 / 20`` for the logistic loss, whose third
    derivative is at most 1 / (6 sqrt 3) < 1 / 10; for the squared hinge it is 0, or at most ``2 reach`` where the kink
    is so near. The interval of ``s`` bounds it for any falling ``s``, and where that is the lesser.
    """
    squares = rows.multiply(rows).sum(axis=1) if sp.issparse(rows) else np.einsum("ij,ij->i", rows, rows)
    length = np.sqrt(np.asarray(squares).ravel() + one)
    push = labels * (rows @ v[:-1] + one * v[-1])
    size = abs(rows) @ np.abs(v[:-1]) + one * abs(v[-1])
    bend = loss.second_derivative(margin) if loss in (SQUARED_HINGE, LOG_LOSS) else np.zeros(len(margin))
    s = -loss.derivative(margin)
    off = np.maximum(_slope_above(loss, margin - reach) - s, s - _slope_below(loss, margin + reach)) + bend * reach
    if loss is LOG_LOSS:
        off = np.minimum(off, 0.05 * reach * reach)
    elif loss is SQUARED_HINGE:
        off = np.where(np.abs(margin - 1.0) <= reach, 2.0 * reach, 0.0)
    c = 1.0 if weights is None else weights
    along = c * bend * push * labels
    turn = np.append(along @ rows, one * float(along.sum()))
    return turn, float(np.sum(c * bend * length * size)), float(np.sum(c * off * (np.abs(push) + 1e-12 * size)))


def _slack(rows, labels, weights, v, one):
    """``sum c_i max(0, -y_i x~_i . v)`` and a bound of its rounding error."""
    d = rows.shape[1]
    push = np.maximum(0.0, -labels * (rows @ v[:-1] + one * v[-1]))
    size = abs(rows) @ np.abs(v[:-1]) + one * abs(v[-1])
    total = float(np.dot(weights, push))
    error = gamma(d + 4) * float(np.dot(weights, size)) + gamma(len(labels) + 4) * total
    return total, error * (1.0 + gamma(len(labels) + d + 8))


def prove(clean: CleanGradient, direction, goal: Goal):
    """:func:`bound` for what a goal says; ``clean`` must be of the same target, objective and tolerances."""
    return bound(
        clean, direction, goal.theta_target, goal.objective, goal.feasible_set, goal.tol, margin_tol=goal.margin_tol
    )


def certificate_for(goal: Goal, kind, direction, value, rounding) -> Certificate:
    """The certificate of a direction that answers ``goal``."""
    return Certificate(
        kind,
        goal.theta_target,
        goal.objective,
        goal.feasible_set,
        direction=direction,
        value=value,
        tol=goal.tol,
        margin_tol=goal.margin_tol,
        rounding=rounding,
    )


def certify_coarsely(goal: Goal, direction, X, y, sample_weight=None) -> Certificate:
    """What a direction proves for all that a trainer with its usual tolerance may have meant by the target.

    "No number of points suffices" is claimed where this says so too: a target made with every copy of a candidate, or
    with points in the corner of a box, lies at the edge of what can be reached, and by its last digits beyond it.
    """
    tol = COARSE * float(np.linalg.norm(goal.theta_target))
    goal = replace(goal, tol=tol, margin_tol=max(COARSE, goal.margin_tol))
    clean = clean_gradient(
        X,
        y,
        goal.theta_target,
        goal.objective,
        sample_weight,
        margin_tol=goal.margin_tol,
        tol=tol,
        direction=direction,
    )
    return certificate_for(goal, "direction", direction, *prove(clean, direction, goal))


def bound_along_path(goal: Goal, clean: CleanGradient | None, path, claims):
    """(certificate, whole number): the best that the models of a path prove, no more than Theorem 2 claims.

    ``claims``: Theorem 2 at every model; ``clean``: what one pass left behind, for this goal. A certificate looks at
    the hull of whole records and at all that counts as a hit, so it may prove less than is claimed; where copies are
    limited, of which Theorem 2 knows nothing, it proves more. Then models between are looked at too. There is no
    certificate where nothing is proved, nor for a loss that is not built in: its number is the lesser of both alike.
    """
    claims = np.where(np.isfinite(claims), claims, 0.0)
    best = int(np.argmax(claims))
    if clean is None or not claims[best] > 0.0:
        return None, 0
    capped = getattr(goal.feasible_set, "max_repeats", None) is not None
    most = math.inf if capped else float(claims[best])

    def look(model):
        value, rounding = prove(clean, np.subtract(path[model], goal.theta_target), goal)
        return min(value, most), -model, rounding

    found = [look(best)]
    if found[0][0] < most:
        found += [look(i) for i in sorted({*np.linspace(0, len(path) - 1, 9).astype(int).tolist()} - {best})]
    value, model, rounding = max(found, key=lambda entry: entry[:2])
    if not value > 0.0:
        return None, 0
    if goal.objective.loss not in LOSSES.values():
        return None, whole(value)
    certificate = Certificate(
        "model",
        goal.theta_target,
        goal.objective,
        goal.feasible_set,
        theta=path[-model],
        value=value,
        tol=goal.tol,
        margin_tol=goal.margin_tol,
        rounding=rounding,
    )
    return certificate, certificate.n_poison


def bound(clean: CleanGradient, direction, theta, objective: Objective, feasible_set, tol=0.0, *, margin_tol=0.0):
    """Equation (1) for one direction: (value, Rounding). ``value`` is never above what is proved.

    The direction may be any; ``value`` is 0 if it proves nothing and ``inf`` if it proves that no
    number of points suffices. Complexity: O((free rows) d + d log d), or one pass over the pool. For a
    pool with ``max_repeats`` it is equation (2), one pass and a sort; the denominator in ``Rounding`` is
    the largest ``v.g`` all the same.
    """
    d = len(theta) - 1
    one = 1.0 if objective.fit_intercept else 0.0
    v = np.array(direction, dtype=np.float64)
    scale = float(np.max(np.abs(v)))
    if not (math.isfinite(scale) and scale > 0.0):
        return 0.0, Rounding(0.0, 0.0, math.inf, 0.0)
    v = v / scale  # only a choice of units: the quotient does not see it
    if not objective.fit_intercept:
        v[-1] = 0.0
    slack, slack_error = clean.slack / scale, clean.slack_error / scale
    if len(clean.free_labels):
        more, more_error = _slack(clean.free_rows, clean.free_labels, clean.free_weights, v, one)
        slack, slack_error = slack + more, slack_error + more_error + 2 * UNIT * slack
    G = clean.gradient
    spread = clean.k * tol * float(np.linalg.norm(_R(objective, d) * v))
    numerator = -float(G @ v) - slack - spread
    error = float(clean.error @ np.abs(v)) + gamma(d + 8) * (float(np.abs(G) @ np.abs(v)) + slack + spread)
    error = (error + slack_error) * (1.0 + gamma(2 * d + 16))
    cap, gains = getattr(feasible_set, "max_repeats", None), None
    if cap is None:
        maximum, maximum_error = poison_maximum(v, theta, objective, feasible_set, tol, margin_tol=margin_tol)
    else:
        gains = _pool_gains(v, theta, objective, feasible_set, tol, margin_tol)
        maximum, maximum_error = float(gains.max()), 0.0
    rounding = Rounding(*map(float, (numerator, error, maximum, maximum_error)))
    proved, most = numerator - error, maximum + maximum_error
    if not proved > 0.0:
        return 0.0, rounding
    if most <= 0.0:
        return math.inf, rounding
    if gains is not None:
        return _least_number(gains, cap, proved), rounding
    return min(float(proved / most), sys.float_info.max) * (1.0 - 4 * UNIT), rounding


def _least_number(gains, cap, needed):
    """The least N with ``max { sum nu_k gains_k : sum nu_k <= N, 0 <= nu_k <= cap } >= needed``, rounded down.

    The largest gains first, each ``cap`` times; ``inf`` if all of them together do not get there.
    """
    if needed <= 0.0:
        return 0.0
    gains = np.sort(gains[gains > 0.0])[::-1]
    reach = cap * np.cumsum(gains) * (1.0 + gamma(len(gains) + 4))
    last = int(np.searchsorted(reach, needed))
    if last == len(gains):
        return math.inf
    before = reach[last - 1] if last else 0.0
    return float((cap * last + (needed - before) / gains[last]) * (1.0 - 4 * UNIT))


def poison_maximum(v, theta, objective: Objective, feasible_set, tol=0.0, *, margin_tol=0.0):
    """``max_F v.g`` over one poisoning point, as (value, error): value + error is an upper bound.

    Per label, ``v.g`` is the class weight times ``s p`` and what the point adds to the penalty.
    Space: per label the point only enters through ``p = -y v.x~`` and its margin ``m``; over the hull of the
    label's region the upper frontier of (m, p) is concave, and ``1 / s`` convex, so one line separates the
    frontier from the level curve of ``s p`` at the maximum. The line is found on the sorted frontier; the bound
    is then the maximum of one linear function over the hull, rigorous whatever line was found. Pool: a scan.
    """
    d = len(theta) - 1
    parts = []
    if hasattr(feasible_set, "regions"):
        for sign, region in feasible_set.regions(d).items():
            penalty, error = _penalty_of_point(sign, v, theta, objective, tol)
            push = _hull_maximum(sign, region, v, theta, objective, tol, margin_tol, penalty > -error)
            parts.append(_add(objective.weight_of(sign), push, penalty, error))
    else:
        for sign, pushes in _pool_pushes(v, theta, objective, feasible_set, tol, margin_tol):
            penalty = _penalty_of_point(sign, v, theta, objective, tol)
            parts.append(_add(objective.weight_of(sign), (float(np.max(pushes)), 0.0), *penalty))
    return max(parts, key=sum)


def _add(weight, push, penalty, error):
    """``weight * push + penalty`` with all errors, ``push`` a pair (value, error)."""
    value, push_error = push
    scaled = weight * value
    total = penalty + scaled
    product = 0.0 if weight == 1.0 else UNIT * abs(scaled)
    return total, (error + weight * push_error + product + 2 * UNIT * abs(total)) * (1.0 + 4 * UNIT)


def _penalty_of_point(sign, v, theta, objective, tol):
    """``a v.R theta``, what a point of that label adds to ``v.g`` through the penalty (its largest in a ball), and
    its error."""
    d = len(theta) - 1
    a = objective.k_of_point(sign)
    Rv = _R(objective, d) * v
    drift = a * tol * float(np.linalg.norm(Rv))
    error = gamma(d + 13) * (a * float(np.abs(Rv) @ np.abs(theta)) + drift) * (1.0 + gamma(2 * d))
    return a * float(Rv @ theta) + drift, error


def _pool_gains(v, theta, objective, pool, tol, margin_tol):
    """An upper bound of ``v.g`` for every candidate and label that it may carry."""
    parts = []
    for sign, pushes in _pool_pushes(v, theta, objective, pool, tol, margin_tol):
        penalty, error = _penalty_of_point(sign, v, theta, objective, tol)
        scaled = objective.weight_of(sign) * pushes
        total = penalty + scaled
        parts.append(total + (error + UNIT * np.abs(scaled) + 4 * UNIT * np.abs(total)) * (1.0 + 4 * UNIT))
    return np.concatenate(parts)


def _pool_pushes(v, theta, objective, pool, tol, margin_tol):
    """Per label, as pairs (label, array), an upper bound of ``s p`` for every candidate that may carry it."""
    loss, w, b = objective.loss, theta[:-1], theta[-1]
    one = 1.0 if objective.fit_intercept else 0.0
    X, signs = pool.X, pool.signs()
    d = X.shape[1]
    sparse = sp.issparse(X)
    size = abs(X)
    q, m = X @ v[:-1] + one * v[-1], X @ w + b
    q_error = gamma(d + 4) * (size @ np.abs(v[:-1]) + one * abs(v[-1]))
    reach = gamma(d + 4) * (size @ np.abs(w) + abs(b))
    if tol > 0.0:
        squares = X.multiply(X).sum(axis=1) if sparse else np.einsum("ij,ij->i", X, X)
        reach = reach + tol * np.sqrt(np.asarray(squares).ravel() + one) * (1.0 + gamma(d + 6))
    if loss is HINGE:
        reach = reach + margin_tol
    parts = []
    for sign in (1.0, -1.0):
        allowed = slice(None) if signs is None else signs == sign
        p, p_error, margin, r = (z[allowed] for z in (-sign * q, q_error, sign * m, reach))
        if len(p) == 0:
            continue
        top = p + p_error
        r = r + 2 * UNIT * np.abs(margin)
        s = np.where(top > 0.0, _slope_above(loss, margin - r), _slope_below(loss, margin + r))
        push = s * top
        parts.append((sign, push + 4 * UNIT * np.abs(push)))
    return parts


def _hull_maximum(sign, region, v, theta, objective, tol, margin_tol, sharp):
    """The largest ``s p`` over the hull of one label's region, as (value, error).

    ``sharp`` asks for the exact value where it is negative; otherwise 0 will do there.
    """
    loss, one = objective.loss, 1.0 if objective.fit_intercept else 0.0
    P, p0 = -sign * v[:-1], -sign * one * v[-1]
    A, a0 = sign * theta[:-1], sign * theta[-1]
    beside = margin_tol if loss is HINGE else 0.0  # how far from the kink a point may lie and count as on it
    shift, lines = beside, []
    if tol > 0.0:
        # |x~| <= sqrt(q(x)) <= (q0 + q(x)) / (2 sqrt(q0)), with the linear
        # q(x) = one + sum (l + u) x - l u, which is at least |x~|^2 in the box around the hull.
        lower, upper = region.lower, region.upper
        slope, level = lower + upper, one - float(lower @ upper)
        most, error = region.linear_maximum(slope, level)
        drift = tol * math.sqrt(max(0.0, most + error)) * (1.0 + 8 * UNIT)  # of any point's margin, in the whole ball
        shift += drift
        if drift > SMALL_DRIFT:
            least = -region.linear_maximum(-slope, -level)[0]
            for q0 in np.geomspace(max(least, 1e-3 * most, 1e-12), max(most, 1e-12), 9):
                c = 0.5 * tol / math.sqrt(q0)
                size = abs(a0) + beside + c * (q0 + one + float(np.abs(lower) @ np.abs(upper)))
                lines.append((A - c * slope, a0 - beside - c * (q0 + level), np.abs(A) + c * np.abs(slope), size))
    # Every line bounds the margins from below; the first, which is shifted alone, from above too.
    parts = [_separate(loss, region, P, p0, A, a0 - shift, np.abs(A), abs(a0) + shift, 2.0 * shift, sharp)]
    parts += [_separate(loss, region, P, p0, *line, math.inf, False) for line in lines]
    return min(parts, key=sum)


def _separate(loss, region, P, p0, A, a0, A_size, a0_size, wide, sharp):
    """Upper bound of ``s p(x)`` over the hull, with ``p(x) = P.x + p0`` and ``s`` at any margin between
    ``m(x) = A.x + a0`` and ``m(x) + wide``."""
    P_size = np.abs(P)
    m_low, m_low_error = region.linear_maximum(-A, -a0, A_size, a0_size)
    m_low = -m_low - m_low_error
    m_high = sum(region.linear_maximum(A, a0, A_size, a0_size))
    if loss is HINGE:
        if m_low > 1.0:
            return 0.0, 0.0  # every point has zero loss
        slope = 0.0
        if m_high > 1.0:
            m, _, slopes = region.frontier(A, a0, P, p0)
            edge = np.searchsorted(m, 1.0) - 1  # the edge that holds margin 1
            slope = max(0.0, float(slopes[min(max(edge, 0), len(slopes) - 1)])) if len(slopes) else 0.0
        best, error = region.linear_maximum(
            P - slope * A,
            p0 - slope * a0 + slope,
            P_size + slope * A_size,
            abs(p0) + slope * (a0_size + 1),
        )
        return (0.0, 0.0) if m_high + wide >= 1.0 and best + error < 0.0 else (best, error)
    m, p, slopes = region.frontier(A, a0, P, p0)
    if np.max(p) <= 0.0 and not sharp:
        best, error = region.linear_maximum(P, p0, P_size, abs(p0))
        most = max(0.0, best + error)
        return 0.0, most * float(_slope_above(loss, m_low))
    if np.max(p) <= 0.0 or loss not in (SQUARED_HINGE, LOG_LOSS):
        return _subdivide(loss, region, P, p0, A, a0, A_size, a0_size, m_low, m_high, wide)
    best, at = _best_on_frontier(loss, m, p, slopes)
    if best <= 0.0:
        return _subdivide(loss, region, P, p0, A, a0, A_size, a0_size, m_low, m_high, wide)
    # A tangent of h = 1/s with slope kappa: h(m) >= constant + kappa m, whatever kappa > 0 is.
    if loss is LOG_LOSS:
        kappa = math.exp(min(max(at, -700.0), 700.0))
        constant = 1.0 + kappa * (1.0 - math.log(kappa))
        doubt = 16 * UNIT * (1.0 + kappa * (1.0 + abs(math.log(kappa))))
    else:
        kappa = 0.5 / (1.0 - at) ** 2
        constant = math.sqrt(2.0 * kappa) - kappa
        doubt = 16 * UNIT * (math.sqrt(2.0 * kappa) + kappa)
    slope = best * kappa
    above, error = region.linear_maximum(
        P - slope * A,
        p0 - slope * a0 - best * constant,
        P_size + slope * A_size,
        abs(p0) + slope * a0_size + best * (abs(constant) + doubt / gamma(len(A) + 12)),
    )
    return best, max(0.0, above + error) * float(_slope_above(loss, m_low)) + 4 * UNIT * best


def _best_on_frontier(loss, m, p, slopes):
    """Largest ``s(m) p(m)`` along the frontier, and where (a search: nothing is proved here).

    ``p`` is concave and ``1 / s`` convex, so ``s p`` has one hill where ``p > 0``.
    """
    values = -loss.derivative(m) * p
    k = int(np.argmax(values))
    best, at = float(values[k]), float(m[k])
    for e in (k - 1, k):
        if not 0 <= e < len(slopes):
            continue
        low, high, sigma = float(m[e]), float(m[e + 1]), float(slopes[e])
        for _ in range(60):
            mid = 0.5 * (low + high)
            here = float(p[e]) + sigma * (mid - float(m[e]))
            if loss is LOG_LOSS:
                uphill = (
                    sigma * (1.0 + math.exp(-mid)) > here
                    if mid > 0
                    else sigma * (1.0 + math.exp(mid)) > here * math.exp(mid)
                )
            else:
                uphill = mid < 1.0 and sigma * (1.0 - mid) > here
            low, high = (mid, high) if uphill else (low, mid)
        mid = 0.5 * (low + high)
        value = float(-loss.derivative(mid)) * (float(p[e]) + sigma * (mid - float(m[e])))
        if value > best:
            best, at = value, mid
    return best, at


def _subdivide(loss, region, P, p0, A, a0, A_size, a0_size, m_low, m_high, wide, pieces=128):
    """Upper bound of ``s p`` for any falling ``s``, of either sign: intervals of the margin.

    On each, ``p`` lies below a line whose slope is that of the frontier there, and ``s`` between its
    values at the ends. The interval with the largest bound is cut again until it is short.
    """
    P_size = np.abs(P)

    def piece(low, high):
        mid = 0.5 * (low + high)
        edge = min(max(int(np.searchsorted(m, mid)) - 1, 0), len(slopes) - 1) if len(slopes) else -1
        slope = float(slopes[edge]) if edge >= 0 else 0.0
        top, error = region.linear_maximum(
            P - slope * A,
            p0 - slope * a0,
            P_size + abs(slope) * A_size,
            abs(p0) + abs(slope) * a0_size,
        )
        ends = top + error + slope * low, top + error + slope * high
        most = max(ends) + 4 * UNIT * (abs(top) + abs(slope) * max(abs(low), abs(high)))
        s = _slope_above(loss, low) if most > 0.0 else _slope_below(loss, high + wide)
        return float(s) * most

    m, _, slopes = region.frontier(A, a0, P, p0)
    grid = np.linspace(m_low, m_high, pieces + 1)
    heap = [(-piece(a, b), a, b) for a, b in pairwise(grid)]
    heapq.heapify(heap)
    for _ in range(4 * pieces):
        _, low, high = heap[0]
        mid = 0.5 * (low + high)
        if not low < mid < high:
            break
        heapq.heapreplace(heap, (-piece(low, mid), low, mid))
        heapq.heappush(heap, (-piece(mid, high), mid, high))
    return -heap[0][0], 0.0
