r"""How many insertions provably cannot flip one prediction of a model as it is trained.

Signed rows ``z = y x~``, ``s = -phi'``, ``L`` the summed loss of the clean rows, ``J_m = L + (k_m / 2) theta' R theta``
with ``k_m`` the weight of the penalty after m insertions, ``theta_c`` a comparison model. The prediction of a row is
flipped where ``a . theta <= 0``, ``a`` the row times its label: the half-space H.

**Every reachable model.** A model theta that m points induce has their pull ``p = sum w s z`` in the subdifferential of
``J_m`` at theta. ``J_m`` is ``k_m``-strongly convex in the norm of R, so

.. math:: Q_m(\theta) = L(\theta) - L(\theta_c) + k_m \theta^\top R (\theta - \theta_c)
          \le p \cdot (\theta - \theta_c) \le m \max(0, \max_z w\, s(\theta \cdot z)\, (\theta - \theta_c) \cdot z).

This is (1).

**The right side.** A point that pulls (``(theta - theta_c) . z > 0``) has ``s`` of at most that of the least margin
under ``theta_c``. Cut ``(0, s_top]`` into intervals ``(s_lo, sigma]``; in one of them the margin is at most kappa,
where ``s(kappa) = s_lo``. Then for every ``lam >= 0`` (0 for the first interval, whose margins know no end)

.. math:: s\, (\theta - \theta_c) \cdot z \le \max(0, \sigma [\lambda \kappa + h_l((1 - \lambda) \theta - \theta_c)]),

which is (2), ``h_l(u)`` the largest ``l u . x~`` over the points x of label l. The hinge has one interval,
``sigma = kappa = 1``.

**Certificate.** (1) contradicts (2) on all of H for m points if, for every label, interval, and for the right side 0,

.. math:: \min_{a \cdot \theta \le 0} Q_m(\theta) - M [\lambda \kappa + h_l((1 - \lambda) \theta - \theta_c)] > 0,
          \qquad M = m w_l \sigma.  (3)

For fixed theta, ``Q_m`` less the right side of (1) is affine in the numbers of points of both labels, so (3) at m
points of one label, at m of the other and at none proves it for every mixture of at most m.

**The minimum.** Any slopes ``t_i >= 0`` of the clean rows make a line below L, ``L(theta) >= c - p . theta`` with
``c = sum c_i offset(t_i)``, ``p = sum c_i t_i z_i``, where ``offset(t)`` is the largest number with
``phi(u) >= offset(t) - t u`` for all u. Any mixture of lines is one, and of any total up to 1, as ``L >= 0``. With
``tau >= 0`` for the half-space and ``q = tau a - p - k R theta_c`` the left side of (3) is at least

.. math:: c - L(\theta_c) - M \lambda \kappa + \min_x \sum_j M l x_j \theta_{c,j}
          - \frac{(q_j - M l x_j (1 - \lambda))^2}{4 k},  (4)

the minimum over the hull of the points: the best end of every coordinate, and the best level of every group. A plane
``u . x <= w`` of the hull (the length of a document, a slab) enters with a multiplier ``pi >= 0`` for ``u . x - w``. So
**every** choice of slopes, tau, lam and pi proves a number of points, whoever made it; the search only finds good ones.

**A free intercept** b is in (4) only as ``g b`` with ``g = tau a_b - p_b - M l (1 - lam)``: the minimum is finite where
``g = 0``, so that tau follows from the rest. In floating point it does by two proofs, of ``b >= 0`` with ``g >= 0`` and
of ``b <= 0`` with ``g <= 0``, whose tau differ by the rounding error of g; where there is no such ``tau >= 0``, nothing
is proved.

The check of a whole table of rows reads the clean data once. It uses NumPy alone, and each floating-point sum carries
the bound of its own rounding error (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frozen import freeze_arrays
from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.margin import LOSSES
from mtpfast.losses.objective import Objective

from .clean_pass import blocks, slope_above

__all__ = [
    "Case",
    "Hull",
    "Lines",
    "Pointwise",
    "PointwiseCheck",
    "cases_of",
    "hulls_of",
    "lines_of",
    "planes_of",
    "refusal",
]


#: Ends of the intervals of slopes of a smooth loss, as shares of the largest.
SLOPE_ENDS = (0.4, 0.5, 0.58, 0.65, 0.71, 0.77, 0.83, 0.9, 1.0)

#: So many lines at a time.
MODELS = 256


class Case(NamedTuple):
    """What (3) has to hold for: points of a label whose slope is at most ``sigma`` and whose margin at most ``kappa``.

    ``sigma = 0``: the right side 0, with the penalty of m such points (of none, if ``share`` is 0).
    """

    label: float
    sigma: float
    kappa: float
    share: float = 1.0

    @property
    def has_margin(self) -> bool:
        """Whether ``lam`` may be above 0."""
        return self.sigma > 0.0 and self.kappa < np.inf


def refusal(objective: Objective) -> str:
    """Why no bound can be proved for a victim; "" where one can."""
    if objective.loss not in LOSSES.values():
        return f"loss {objective.loss.name!r} is not built in: its conjugate is not known"
    if objective.is_balanced:
        return "class_weight='balanced' changes the weights of all rows with every point"
    return ""


def cases_of(objective: Objective, hulls: dict, theta) -> list[Case]:
    """Every case that (3) needs, the two of right side 0 last but for labels that add differently to the penalty."""
    found = []
    for label, hull in hulls.items():
        if not objective.loss.smooth:
            found.append(Case(label, 1.0, 1.0))
            continue
        least = -hull.largest(-label * theta)
        top = float(slope_above(objective.loss, least))
        ends = [share * top for share in SLOPE_ENDS]
        found.append(Case(label, ends[0], np.inf))
        for low, high in pairwise(ends):
            kappa = objective.loss.margin_of(low)
            found.append(Case(label, high, kappa + 16 * UNIT * (1.0 + abs(kappa))))
    units = {objective.k_of_point(label): label for label in hulls}
    found += [Case(label, 0.0, np.inf) for unit, label in sorted(units.items()) if unit > 0.0]
    return [*found, Case(next(iter(hulls)), 0.0, np.inf, 0.0)]


# -- the points -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hull:
    """A box with groups of columns of which one at most is on, the 1 of the intercept as its last coordinate.

    ``order``: the columns, group after group; ``starts``, ``group``: where each group begins there, and the group of
    every one; ``exactly``: whether a level must be on. A column in no group is a group of its own.
    """

    lower: np.ndarray
    upper: np.ndarray
    order: np.ndarray | None
    starts: np.ndarray
    group: np.ndarray
    exactly: np.ndarray
    planes: np.ndarray  # (P, d + 1): ``planes @ x~ <= limits``
    limits: np.ndarray

    @classmethod
    def of_region(cls, region, one: float) -> Hull:
        """The hull of what a region offers; the intercept's 1 is ``one`` (0 without an intercept)."""
        lower, upper = np.append(region.lower, one), np.append(region.upper, one)
        groups = region.groups
        number = np.arange(len(lower))
        exactly = np.zeros(len(lower), dtype=bool)
        for group in groups:
            number[group.columns] = group.columns[0]
            exactly[group.columns[0]] = group.exactly
            lower[group.columns], upper[group.columns] = group.off, group.on
        order = np.argsort(number, kind="stable")
        sorted_number = number[order]
        starts = np.flatnonzero(np.diff(sorted_number, prepend=-1))
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        planes = np.array([np.append(plane, 0.0) for plane, _ in region.planes]).reshape(-1, len(lower))
        limits = np.array([float(limit) for _, limit in region.planes])
        return cls(
            lower, upper, order if groups else None, starts, group, exactly[sorted_number[starts]], planes, limits
        )

    @classmethod
    def of_rows(cls, rows, one: float) -> Hull:
        """The box around some rows."""
        low, high = rows.min(axis=0), rows.max(axis=0)
        if sp.issparse(low):
            low, high = low.toarray().ravel(), high.toarray().ravel()
        d = len(low) + 1
        own = np.arange(d)
        nothing = np.zeros(d, dtype=bool), np.empty((0, d)), np.empty(0)
        return cls(np.append(low, one), np.append(high, one), None, own, own, *nothing)

    def least(self, off, on):
        """``min_x sum_j`` of ``off_j`` or ``on_j``, for arrays (..., d + 1): the minimum and where a column is on."""
        gain = on - off
        if self.order is None:
            chosen = gain < 0.0
            return np.sum(np.where(chosen, on, off), axis=-1), chosen
        gain = gain[..., self.order]
        best = np.minimum.reduceat(gain, self.starts, axis=-1)
        taken = self.exactly | (best < 0.0)
        chosen = np.empty(gain.shape, dtype=bool)
        first = (gain == best[..., self.group]) & taken[..., self.group]
        if np.any(np.add.reduceat(first.astype(np.intp), self.starts, axis=-1) > 1):  # equal levels: the first of them
            earlier = np.cumsum(first, axis=-1) - first
            at_start = earlier[..., self.starts]
            first &= earlier == at_start[..., self.group]
        chosen[..., self.order] = first
        return np.sum(off, axis=-1) + np.sum(np.where(taken, best, 0.0), axis=-1), chosen

    def largest(self, u) -> float:
        """No less than ``max_x u . x~``."""
        value = -self.least(-u * self.lower, -u * self.upper)[0]
        size = float(np.abs(u) @ np.maximum(np.abs(self.lower), np.abs(self.upper)))
        return float(value) + gamma(2 * len(u) + 8) * 2.0 * size


def hulls_of(feasible_set, d: int, objective: Objective) -> dict:
    """The hull of the points of every label that they may carry."""
    one = objective.one
    if not feasible_set.is_finite:
        return {label: Hull.of_region(region, one) for label, region in feasible_set.regions(d).items()}
    signs = feasible_set.signs()
    if signs is None:
        hull = Hull.of_rows(feasible_set.X, one)
        return {1.0: hull, -1.0: hull}
    return {
        label: Hull.of_rows(feasible_set.X[np.flatnonzero(signs == label)], one)
        for label in (1.0, -1.0)
        if np.any(signs == label)
    }


def planes_of(hulls: dict) -> int:
    """The largest number of planes that a hull has."""
    return max(len(hull.limits) for hull in hulls.values())


# -- lines below the clean loss ----------------------------------------------------------------------


class Lines(NamedTuple):
    """``L(theta) >= c - p . theta``, one per model; ``error`` per entry of p, ``c`` rounded down."""

    c: np.ndarray  # (T,)
    p: np.ndarray  # (T, d + 1)
    error: np.ndarray  # (T, d + 1)
    loss: float  # L at the first model, rounded up
    n_rows: int


def lines_of(models, X, y, objective: Objective, sample_weight=None, rows=(), slopes=()) -> Lines:
    """The tangent of the clean loss at every model, in one pass; of the first also the loss itself.

    ``rows``, ``slopes``: clean rows whose slope in the first line is given, as the hinge leaves it open on the margin.
    """
    loss, (n, d) = objective.loss, X.shape
    one = objective.one
    T = len(models)
    c, p, pull, terms = np.zeros(T), np.zeros((T, d + 1)), np.zeros(T), np.zeros(T)
    far = np.zeros(d + 1)
    total = doubt = 0.0
    given = np.full(n, np.nan)
    given[np.asarray(rows, dtype=np.intp)] = slopes
    W, b = np.ascontiguousarray(models[:, :-1].T), one * models[:, -1]
    size_w, size_b = np.abs(W[:, 0]), abs(b[0])
    n_blocks = 0
    for start, block, labels, own in blocks(X, y, sample_weight):
        n_blocks += 1
        weights = objective.weights(labels, own)
        weights = np.ones(len(labels)) if weights is None else weights
        size = abs(block)
        top = size.max(axis=0)
        far[:-1] = np.maximum(far[:-1], top.toarray().ravel() if sp.issparse(top) else top)
        open_ = given[start : start + len(labels)]
        known = ~np.isnan(open_)
        for few in range(0, T, MODELS):
            part = slice(few, few + MODELS)
            margin = np.asarray(block @ W[:, part])
            margin += b[part]
            margin *= labels[:, None]
            s = -loss.derivative(margin)
            if few == 0:
                reach = gamma(d + 4) * (size @ size_w + size_b) + 2 * UNIT * np.abs(margin[:, 0])
                highest = loss.value(margin[:, 0] - reach)
                total += float(weights @ highest)
                doubt += float(weights @ (highest + 1.0))
                s[known, 0] = open_[known]
            offset = loss.offset(s)
            c[part] += weights @ offset
            terms[part] += weights @ (np.abs(offset) + 2.0 * s)
            s *= weights[:, None]
            pull[part] += s.sum(axis=0)
            s *= labels[:, None]
            p[part, :-1] += np.asarray((block.T @ s).T)
            p[part, -1] += one * s.sum(axis=0)
    far[-1] = one
    error = gamma(n + n_blocks + 8) * 1.01 * pull[:, None] * far
    several = gamma(n + n_blocks + 40)
    return Lines(c - several * terms, p, error, total + several * doubt, n)


# -- the certificate ---------------------------------------------------------------------------------


class PointwiseCheck(NamedTuple):
    """What a check proved: ``lower_bound`` per row, 0 where nothing, and whether all that was claimed ``holds``."""

    lower_bound: np.ndarray
    holds: bool


@dataclass(frozen=True, eq=False)
class Pointwise:
    """Slopes, tau and lam for every row and case, and all that is needed to check them but the clean data.

    Attributes
    ----------
    theta : ndarray of shape (n_features + 1,)
        The comparison model, the clean victim's.
    objective : Objective
    feasible_set : FeatureSpace or CandidatePool
        With the labels -1. and +1.
    rows : ndarray or CSR of shape (n_rows, n_features)
    signs : ndarray of shape (n_rows,)
        The label that is protected.
    lower_bound : ndarray of int, shape (n_rows,)
        Fewer points do not flip the row; 0 where nothing is claimed.
    models : ndarray of shape (n_models, n_features + 1)
        Where the lines below the clean loss touch it; the first is ``theta``.
    weight_of, weight_model, weight : ndarray of shape (n_weights,)
        The mixtures of lines: entry i gives the line of ``weight_model[i]`` that weight in the proof numbered
        ``weight_of[i]``, which is (row number) * (number of cases) + (case number).
    tau, lam : ndarray of shape (n_rows, n_cases)
        ``tau`` is not read where the intercept is free.
    pi : ndarray of shape (n_rows, n_cases, n_planes)
    margin_rows, margin_slopes : ndarray
        Clean rows on the margin of ``theta``, and their slopes there.
    """

    theta: np.ndarray
    objective: Objective
    feasible_set: object
    rows: object
    signs: np.ndarray
    lower_bound: np.ndarray
    models: np.ndarray
    weight_of: np.ndarray
    weight_model: np.ndarray
    weight: np.ndarray
    tau: np.ndarray
    lam: np.ndarray
    pi: np.ndarray
    margin_rows: np.ndarray
    margin_slopes: np.ndarray

    def __post_init__(self):
        freeze_arrays(self)

    def cases(self) -> list[Case]:
        hulls = hulls_of(self.feasible_set, len(self.theta) - 1, self.objective)
        return cases_of(self.objective, hulls, self.theta)

    def validate(self, n_clean: int) -> None:
        """Raise ValueError, naming the field, where this cannot be a certificate."""
        n, d = self.rows.shape
        J = len(self.cases())
        P = planes_of(hulls_of(self.feasible_set, d, self.objective))
        shapes = {
            "theta": (d + 1,), "signs": (n,), "lower_bound": (n,), "models": (max(1, len(self.models)), d + 1),
            "tau": (n, J), "lam": (n, J), "pi": (n, J, P), "weight_of": self.weight.shape,
            "weight_model": self.weight.shape, "margin_slopes": self.margin_rows.shape,
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")
        for name in ("theta", "models", "weight", "tau", "lam", "pi", "margin_slopes"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be finite, got NaN or infinity")
        for name in ("weight", "tau", "lam", "pi", "lower_bound", "margin_slopes"):
            if np.any(getattr(self, name) < 0):
                raise ValueError(f"{name} must be at least 0, got {np.min(getattr(self, name))!r}")
        if not np.all(np.abs(self.signs) == 1.0):
            raise ValueError("signs must hold -1 and +1 only")
        if not np.array_equal(self.models[0], self.theta):
            raise ValueError("models must begin with theta")
        if self.objective.loss.smooth and len(self.margin_rows):
            raise ValueError("margin_rows must be empty for a smooth loss")
        if np.any(self.margin_slopes > 1.0):
            raise ValueError("margin_slopes must be at most 1")
        ends = {
            "weight_of": (self.weight_of, n * J),
            "weight_model": (self.weight_model, len(self.models)),
            "margin_rows": (self.margin_rows, n_clean),
        }
        for name, (values, end) in ends.items():
            if values.dtype.kind not in "iu" or (len(values) and not 0 <= values.min() <= values.max() < end):
                raise ValueError(f"{name} must hold whole numbers from 0 to {end - 1}")
        if refusal(self.objective):
            raise ValueError(refusal(self.objective))

    def check(self, X, y, sample_weight=None) -> PointwiseCheck:
        """Prove every row again: one pass over the clean data, then (4) for every row and case.

        O(n_samples n_features n_models) for the pass, and O(n_features) for every row, case and line after it.
        """
        X = X.tocsr() if sp.issparse(X) else np.asanyarray(X)
        self.validate(X.shape[0])
        if X.ndim != 2 or X.shape[1] != len(self.theta) - 1:
            raise ValueError(f"X has shape {X.shape}, expected (n_samples, {len(self.theta) - 1})")
        if len(y) != X.shape[0]:
            raise ValueError(f"y has {len(y)} labels, X has {X.shape[0]} rows")
        lines = lines_of(
            self.models, X, np.asarray(y), self.objective, sample_weight, self.margin_rows, self.margin_slopes
        )
        amount = float(X.shape[0]) if self.objective.count_rows else self.objective.amount(y, sample_weight)
        proved = self.proved(lines, amount)
        return PointwiseCheck(proved, bool(np.all(proved >= self.lower_bound)))

    def proved(self, lines: Lines, amount: float) -> np.ndarray:
        """``lower_bound`` where (4) is above 0 in every case, else 0."""
        n, J = self.tau.shape
        mixed = sp.csr_matrix((self.weight, (self.weight_of, self.weight_model)), shape=(n * J, len(self.models)))
        hulls = hulls_of(self.feasible_set, len(self.theta) - 1, self.objective)
        holds = self.lower_bound > 0
        step = max(1, 2**20 // (8 * len(self.theta)))
        for j, case in enumerate(cases_of(self.objective, hulls, self.theta)):
            for at in range(0, n, step):
                rows = np.arange(at, min(n, at + step))
                left = self._left_side(case, hulls[case.label], rows, mixed[rows * J + j], j, lines, amount)
                holds[rows] &= left > 0.0
        return np.where(holds, self.lower_bound, 0)

    def _left_side(self, case, hull, rows, mixed, j, lines, amount):
        """(4) for some rows, rounded down."""
        objective, theta = self.objective, self.theta
        one = objective.one
        block = self.rows[rows]
        block = block.toarray() if sp.issparse(block) else block
        a = self.signs[rows, None] * np.column_stack([block, np.full(len(rows), one)])
        m = case.share * np.maximum(self.lower_bound[rows] - 1, 0).astype(float)
        k = (objective.k(amount) + m * objective.k_of_point(case.label))[:, None]
        k_error = gamma(len(theta) + 8) if objective.count_rows else gamma(2 * lines.n_rows + 8)
        M = (m * (objective.weight_of(case.label) * case.sigma) * (1.0 + 4 * UNIT))[:, None]
        tau = self.tau[rows, j][:, None]
        lam = self.lam[rows, j][:, None] if case.has_margin else np.zeros((len(rows), 1))
        total = np.asarray(mixed.sum(axis=1)).ravel()
        mixed = sp.diags(np.minimum(1.0, (1.0 - gamma(mixed.shape[1] + 8)) / np.maximum(total, 1e-300))) @ mixed
        size_c, size_p = mixed @ np.abs(lines.c), mixed @ np.abs(lines.p)
        c, p = mixed @ lines.c, mixed @ lines.p
        several = gamma(mixed.shape[1] + 8)
        penalty = k * objective.R(len(theta) - 1) * theta
        push_b = M * (case.label * one) * (1.0 - lam)
        doubt_b = np.zeros((len(rows), 1))
        if objective.is_free:
            size_b = size_p[:, -1:] + np.abs(push_b)
            doubt_b = (mixed @ lines.error[:, -1:] + (several + 16 * UNIT) * size_b) * (1.0 + 8 * UNIT)
            tau = a[:, -1:] * (p[:, -1:] + push_b)
        q = tau * a - p - penalty
        q_error = mixed @ lines.error + several * size_p + (8 * UNIT + k_error) * np.abs(penalty)
        q_error += 8 * UNIT * (np.abs(tau * a) + np.abs(p) + np.abs(q)) + doubt_b * np.abs(a) * (1.0 + 8 * UNIT)
        pi = self.pi[rows, j, : len(hull.limits)]
        tilt, limit = pi @ hull.planes, pi @ hull.limits
        size_tilt, size_limit = pi @ np.abs(hull.planes), pi @ np.abs(hull.limits)
        ends, most = [], 0.0
        for x in (hull.lower, hull.upper):
            push = M * case.label * x
            r = q - push * (1.0 - lam)
            r_high = np.abs(r) + q_error + 8 * UNIT * (np.abs(r) + np.abs(push * (1.0 - lam)))
            square = r_high * r_high / (4.0 * k) * (1.0 + 16 * UNIT + k_error)
            if objective.is_free:
                square[:, -1] = 0.0
            line = push * theta + tilt * x
            ends.append(line - square)
            most = np.maximum(most, np.abs(push * theta) + size_tilt * np.abs(x) + square)
        least, _ = hull.least(*ends)
        kinked = (M * lam)[:, 0] * (case.kappa if case.has_margin else 0.0)
        value = c - lines.loss - kinked - limit + least
        size = size_limit + size_c + abs(lines.loss) + np.abs(kinked) + 3.0 * np.sum(most, axis=1)
        value = value - (several + gamma(2 * len(theta) + len(hull.limits) + 32)) * size
        return np.where((tau - doubt_b)[:, 0] >= 0.0, value, -np.inf)
