r"""How many insertions provably cannot flip one prediction of a model as it is trained.

Signed rows ``z = y x~``, ``s = -phi'``, ``L`` the summed loss of the clean rows, ``J_m = L + (k_m / 2) theta' R theta``
with ``k_m`` the weight of the penalty after m insertions, ``theta_c`` any comparison model: the clean victim, or one
that loses less to the points that may come, the same in all cases of a row. The prediction of a row is
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

**Parts.** One comparison model has to do for every mixture of the labels. Of the hinge (one interval, ``s`` from 0 to
1) a proof may speak of a part of them. Let ``t_l`` be the sum of the slopes s of the points of label l, at most their
number ``m_l``, and r the share of ``t_+`` in ``t_+ + t_-``. By the steps to (2), without its maximum as ``s >= 0``, the
right side of (1) is at most

.. math:: \sum_l t_l w_l [\lambda + h_l((1 - \lambda) \theta - \theta_c)],

and ``Q_m`` less that is affine in ``(t_+, t_-, m_+, m_-)``. Those with ``r_0 <= r <= r_1``, ``0 <= t_l <= m_l`` and
``m_+ + m_- <= m`` are mixtures of five: ``t_+ = m_+ = r_i m`` and ``t_- = m_- = (1 - r_i) m`` for both ends, no pull
and all m points of one label or of the other, and nothing. So (3) need hold in these cases alone. The first two have
the support function of a sum of sets, ``r_i w_+ h_+ + (1 - r_i) w_- h_-``, and the penalty of that mixture. The sum of
two boxes is a box, and (4) below stays as it is. A row is proved by parts that cover all r from 0 to 1, each with its
own comparison model; one part from 0 to 1 has the cases of (3).

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

from mtpfast.arrays.checks import check_sample_weight
from mtpfast.arrays.frozen import freeze_arrays
from mtpfast.arrays.in_parts import as_parts
from mtpfast.arrays.magnitude import check_magnitude
from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.margin import LOSSES
from mtpfast.losses.objective import Objective

from .clean_pass import amount_of, slope_above
from .hulls import Hull, hulls_of, planes_of
from .lines import TINY, Lines, gap_of, lines_of, rounding_of_k, widths_of

__all__ = [
    "TRAINED",
    "Case",
    "Pointwise",
    "PointwiseCheck",
    "can_branch",
    "cases_of",
    "check_arrays",
    "intercept_end",
    "least",
    "refusal",
]


#: A clean victim's objective is above its minimum by this share at most.
TRAINED = 1e-7
#: Ends of the intervals of slopes of a smooth loss, as shares of the largest.
SLOPE_ENDS = (0.4, 0.5, 0.58, 0.65, 0.71, 0.77, 0.83, 0.9, 1.0)


class Case(NamedTuple):
    """What (3) has to hold for: points that pull by at most ``weight z`` each, z of the hull.

    ``kappa``: the largest margin at which they do (infinity where none is known), ``k_unit``: what each adds to the
    weight of the penalty. ``weight = 0``: the right side 0, with the penalty of m such points. ``ratio``: the share of
    them that has the label +1.
    """

    hull: Hull
    weight: float
    kappa: float
    k_unit: float
    ratio: float

    @property
    def has_margin(self) -> bool:
        """Whether ``lam`` may be above 0."""
        return self.weight > 0.0 and self.kappa < np.inf

    @property
    def is_none(self) -> bool:
        """Whether m is of no account: no points."""
        return self.weight == 0.0 and self.k_unit == 0.0


def refusal(objective: Objective) -> str:
    """Why no bound can be proved for a victim; "" where one can."""
    if objective.loss not in LOSSES.values():
        return f"loss {objective.loss.name!r} is not built in: its conjugate is not known"
    if objective.is_balanced:
        return "class_weight='balanced' changes the weights of all rows with every point"
    return ""


def can_branch(objective: Objective, hulls: dict) -> bool:
    """Whether (3) is known for a part of the ratios of the labels: the hinge, and boxes of both labels."""
    return not objective.loss.smooth and len(hulls) == 2 and all(hull.is_box for hull in hulls.values())


def cases_of(objective: Objective, hulls: dict, theta, ratios=(0.0, 1.0)) -> list[Case]:
    """Every case that (3) needs, for points of which a share in ``ratios`` has the label +1.

    Those of right side 0 come last: one for every weight above 0 that a point may add to the penalty, and one for none.
    """
    found = []
    units = {label: objective.k_of_point(label) for label in hulls}
    weights = {label: objective.weight_of(label) for label in hulls}
    for label, hull in hulls.items():
        own = weights[label], units[label], 0.5 * (1.0 + label)
        if not objective.loss.smooth:
            found.append(Case(hull, own[0], 1.0, *own[1:]))
            continue
        least = -hull.largest(-theta)
        top = float(slope_above(objective.loss, least))
        ends = [share * top for share in SLOPE_ENDS]
        found.append(Case(hull, own[0] * ends[0], np.inf, *own[1:]))
        for low, high in pairwise(ends):
            kappa = objective.loss.margin_of(low)
            found.append(Case(hull, own[0] * high, kappa + 16 * UNIT * (1.0 + abs(kappa)), *own[1:]))
    if can_branch(objective, hulls):
        found = [_mixed(*found, ratio) if 0.0 < ratio < 1.0 else found[int(ratio)] for ratio in ratios]
    first = next(iter(hulls))
    zero = {unit: label for label, unit in units.items()}
    found += [Case(hulls[label], 0.0, np.inf, unit, 0.5 * (1.0 + label)) for unit, label in sorted(zero.items())
              if unit > 0.0]  # fmt: skip
    return [*found, Case(hulls[first], 0.0, np.inf, 0.0, 0.5 * (1.0 + first))]


def _mixed(minus: Case, plus: Case, ratio: float) -> Case:
    """The case of points of which exactly this share has the label +1."""
    share, rest = ratio * plus.weight, (1.0 - ratio) * minus.weight
    hull = plus.hull.mixed(share, minus.hull, rest)
    kappa = (share * plus.kappa + rest * minus.kappa) * (1.0 + 8 * UNIT)
    return Case(hull, 1.0, kappa, ratio * plus.k_unit + (1.0 - ratio) * minus.k_unit, ratio)


# -- the certificate ---------------------------------------------------------------------------------


def check_arrays(owner, numbers, whole) -> None:
    """Raise ValueError where fields are no arrays of doubles (the precision that rounding is bounded for), or of whole
    numbers."""
    for name in (*numbers, *whole):
        values = getattr(owner, name)
        if not isinstance(values, np.ndarray):
            raise ValueError(f"{name} must be an array, got {type(values).__name__}")
        if not values.ndim:
            raise ValueError(f"{name} must have a dimension, got a number")
        if name in whole and values.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold whole numbers, got dtype {values.dtype}")
        if name in numbers and (values.dtype.kind, values.dtype.itemsize) != ("f", 8):
            raise ValueError(f"{name} must hold floats of 64 bits, got dtype {values.dtype}")


def _is_amount(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value < np.inf


class PointwiseCheck(NamedTuple):
    """What a check proved: ``lower_bound`` per row, 0 where nothing; and ``gap``, the share by which the clean
    objective at ``theta`` is above its minimum, at most."""

    lower_bound: np.ndarray
    gap: float


@dataclass(frozen=True, eq=False)
class Pointwise:
    """Slopes, tau and lam for every row and case, and all that is needed to check them but the clean data.

    Attributes
    ----------
    theta : ndarray of shape (n_features + 1,)
        The clean victim.
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
    part_row : ndarray of int, shape (n_parts,)
        The row of every part of the proof, growing. The parts of a row cover all ratios of the labels.
    part_bound : ndarray of int, shape (n_parts,)
        What the part proves: its row's ``lower_bound``, or more.
    ratios : ndarray of shape (n_parts, 2)
        It is of attacks whose pulls have a share in this interval of label +1.
    comparison : ndarray of int, shape (n_parts,)
        The number of each part's comparison model among ``models``.
    weight_of, weight_model, weight : ndarray of shape (n_weights,)
        The mixtures of lines: entry i gives the line of ``weight_model[i]`` that weight in the proof numbered
        ``weight_of[i]``, which is (number of the part) * (number of cases) + (case number).
    tau, lam : ndarray of shape (n_parts, n_cases)
        ``tau`` is not read where the intercept is free.
    pi : ndarray of shape (n_parts, n_cases, n_planes)
    margin_rows, margin_slopes : ndarray of uint64, and of float
        Clean rows on the margin of ``theta``, by their digests (:func:`mtpfast.arrays.rows.digests`), and their slopes.
    width : float
        Of the hinge: over margins of this width around 1 the slopes of all lines but the first fall from 1 to 0.
    """

    theta: np.ndarray
    objective: Objective
    feasible_set: object
    rows: object
    signs: np.ndarray
    lower_bound: np.ndarray
    models: np.ndarray
    part_row: np.ndarray
    part_bound: np.ndarray
    ratios: np.ndarray
    comparison: np.ndarray
    weight_of: np.ndarray
    weight_model: np.ndarray
    weight: np.ndarray
    tau: np.ndarray
    lam: np.ndarray
    pi: np.ndarray
    margin_rows: np.ndarray
    margin_slopes: np.ndarray
    width: float = 0.0

    def __post_init__(self):
        freeze_arrays(self)

    def validate(self) -> None:
        """Raise ValueError, naming the field, where this cannot be a certificate."""
        numbers = ("theta", "signs", "models", "ratios", "weight", "tau", "lam", "pi", "margin_slopes")
        whole = ("lower_bound", "part_bound", "part_row", "comparison", "weight_of", "weight_model", "margin_rows")
        check_arrays(self, numbers, whole)
        if not (isinstance(self.rows, np.ndarray) or sp.issparse(self.rows)) or self.rows.dtype != np.float64:
            raise ValueError(f"rows must be an array or CSR of floats of 64 bits, got {self.rows!r:.80}")
        if not _is_amount(self.width):
            raise ValueError(f"width must be at least 0 and finite, got {self.width!r}")
        if not hasattr(self.feasible_set, "is_finite"):
            raise ValueError(f"feasible_set must be one, got {type(self.feasible_set).__name__}")
        check_magnitude(self.rows, "rows")
        if not isinstance(self.objective, Objective):
            raise ValueError(f"objective must be one, got {type(self.objective).__name__}")
        if reason := refusal(self.objective):
            raise ValueError(reason)
        if not all(_is_amount(value or 0.0) for value in (self.objective.alpha, self.objective.C)):
            raise ValueError(f"objective must have a float for alpha or C, got {self.objective!r}")
        own = self.objective.class_weight
        if own is not None and not (np.shape(own) == (2,) and all(_is_amount(value) for value in own)):
            raise ValueError(f"objective must have finite class weights, at least 0, got {own!r}")
        if len(np.shape(self.rows)) != 2:
            raise ValueError(f"rows must have two dimensions, got shape {np.shape(self.rows)}")
        (n, d), N = self.rows.shape, len(self.part_row)
        hulls = hulls_of(self.feasible_set, d, self.objective)
        J, P = len(cases_of(self.objective, hulls, np.zeros(d + 1))), planes_of(hulls)
        shapes = {
            "weight": (self.weight.size,), "margin_rows": (self.margin_rows.size,),
            "theta": (d + 1,), "signs": (n,), "lower_bound": (n,), "models": (max(1, len(self.models)), d + 1),
            "part_row": (N,), "part_bound": (N,), "ratios": (N, 2), "comparison": (N,), "tau": (N, J), "lam": (N, J),
            "pi": (N, J, P), "weight_of": self.weight.shape, "weight_model": self.weight.shape,
            "margin_slopes": self.margin_rows.shape,
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")
        for name in ("theta", "models", "ratios", "weight", "tau", "lam", "pi", "margin_slopes"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be finite, got NaN or infinity")
        for name in ("weight", "tau", "lam", "pi", "lower_bound", "part_bound", "margin_slopes"):
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
        low, high = self.ratios.T
        if not np.all((low >= 0.0) & (low <= high) & (high <= 1.0)):
            raise ValueError("ratios must be intervals between 0 and 1")
        if not can_branch(self.objective, hulls) and not np.all(self.ratios == (0.0, 1.0)):
            raise ValueError("ratios must be 0 to 1 for this loss and these points")
        ends = {
            "part_row": (self.part_row, n),
            "weight_of": (self.weight_of, N * J),
            "weight_model": (self.weight_model, len(self.models)),
            "comparison": (self.comparison, len(self.models)),
        }
        for name, (values, end) in ends.items():
            if len(values) and not 0 <= values.min() <= values.max() < end:
                raise ValueError(f"{name} must hold whole numbers from 0 to {end - 1}")
        if self.margin_rows.dtype != np.uint64:
            raise ValueError(f"margin_rows must hold digests of 64 bits, got dtype {self.margin_rows.dtype}")
        if np.any(self.part_row[1:] < self.part_row[:-1]):
            raise ValueError("part_row must grow")

    def check(self, X, y, sample_weight=None) -> PointwiseCheck:
        """Prove every row again, and the gap of theta: one pass over the clean data, then (4) for every row and case.

        O(n_samples n_features n_models) for the pass, and O(n_features) for every row, case and line after it.
        """
        parts = as_parts(X, y, sample_weight)
        if parts is not None:
            X, y, sample_weight = parts, None, None
        else:
            X, y = X.tocsr() if sp.issparse(X) else np.asanyarray(X), np.asarray(y)
        self.validate()
        if len(X.shape) != 2 or X.shape[1] != len(self.theta) - 1:
            raise ValueError(f"X has shape {X.shape}, expected (n_samples, {len(self.theta) - 1})")
        if parts is None:
            if np.shape(y) != (X.shape[0],):
                raise ValueError(f"y has {np.size(y)} labels, X has {X.shape[0]} rows")
            if not np.all(np.abs(y) == 1.0):
                raise ValueError("y must hold -1 and +1 only")
            sample_weight = check_sample_weight(sample_weight, X.shape[0])
        own = sample_weight, self.margin_rows, self.margin_slopes, np.union1d(self.comparison, [0])
        lines = lines_of(self.models, X, y, self.objective, *own, widths_of(len(self.models), self.width))
        amount = amount_of(X, y, self.objective, sample_weight)
        return PointwiseCheck(self.proved(lines, amount), gap_of(self.theta, lines, self.objective, amount))

    def proved(self, lines: Lines, amount: float) -> np.ndarray:
        """``lower_bound`` where (4) is above 0 in every case of parts that cover all ratios, else 0."""
        return np.where(self._covered(self.holding(lines, amount)), self.lower_bound, 0)

    def holding(self, lines: Lines, amount: float) -> np.ndarray:
        """Which parts prove what is claimed of them, and no less than their rows claim."""
        N, J = self.tau.shape
        objective = self.objective
        mixed = sp.csr_matrix((self.weight, (self.weight_of, self.weight_model)), shape=(N * J, len(self.models)))
        hulls = hulls_of(self.feasible_set, len(self.theta) - 1, objective)
        claim = self.lower_bound[self.part_row]
        holds = (claim > 0) & (self.part_bound >= claim)
        step = max(1, 2**20 // (8 * len(self.theta)))
        alike = np.column_stack([self.comparison, self.ratios])
        for number, low, high in np.unique(alike[holds], axis=0):
            own = np.flatnonzero(holds & (alike == (number, low, high)).all(axis=1))
            model, loss = self.models[int(number)], lines.loss[int(number)]
            for j, case in enumerate(cases_of(objective, hulls, model, (low, high))):
                for parts in (own[at : at + step] for at in range(0, len(own), step)):
                    rows = self.part_row[parts]
                    block = self.rows[rows]
                    block = block.toarray() if sp.issparse(block) else block
                    a = self.signs[rows, None] * np.column_stack([block, np.full(len(rows), objective.one)])
                    m = (self.part_bound[parts] - 1).astype(float)
                    multipliers = mixed[parts * J + j], self.tau[parts, j], self.lam[parts, j], self.pi[parts, j]
                    holds[parts] &= least(objective, lines, amount, case, model, loss, m, a, 0.0, *multipliers) > 0.0
        return holds

    def _covered(self, holds):
        """The rows whose parts all hold, and join from ratio 0 to 1."""
        row, (low, high) = self.part_row, self.ratios.T
        begins = np.append(True, row[1:] != row[:-1])[: len(row)]
        ends = np.append(begins[1:], True)[: len(row)]
        joins = low == np.where(begins, 0.0, np.append(0.0, high[:-1])[: len(row)])
        broken = ~(holds & joins & (~ends | (high == 1.0)))
        covered = np.zeros(len(self.lower_bound), dtype=bool)
        covered[row] = True
        covered[row[broken]] = False
        return covered


def least(objective, lines, amount, case, theta, loss, m, a, a_error, mixed, tau, lam, pi, intercept=None):
    """(4), rounded down, for K directions ``a`` (K, d + 1), known to ``a_error``, and numbers of points ``m``.

    That is a number which ``Q_m`` less the right side of (1) plus ``tau a . theta`` exceeds everywhere, in this case:
    no model that m points of the case induce has a smaller ``tau a . theta``. ``theta``, ``loss``: the comparison model
    and the clean loss there, rounded up. ``mixed``: sparse (K, number of lines). ``-inf`` where nothing is proved.
    ``intercept``: the two ends between which a free intercept is known to be; tau is the given one then.
    """
    hull = case.hull
    k = (objective.k(amount) + m * case.k_unit)[:, None]
    k_error = rounding_of_k(objective, len(theta) - 1, lines.n_rows)
    M = (m * case.weight * (1.0 + 4 * UNIT))[:, None]
    tau = tau[:, None]
    lam = lam[:, None] if case.has_margin else np.zeros((len(a), 1))
    mixed = _lowered(mixed)
    size_c, size_p = mixed @ np.abs(lines.c), mixed @ np.abs(lines.p)
    c, p = mixed @ lines.c, mixed @ lines.p
    several = gamma(mixed.shape[1] + 8)
    penalty = k * objective.R(len(theta) - 1) * theta
    doubt_b = np.zeros((len(a), 1))
    if objective.is_free and intercept is None:
        pull_b, doubt_b = _pull_of_intercept(lines, hull, M, lam, mixed)
        tau = a[:, -1:] * pull_b
    q = tau * a - p - penalty
    q_error = mixed @ lines.error + several * size_p + (8 * UNIT + k_error) * np.abs(penalty)
    q_error += 8 * UNIT * (np.abs(tau * a) + np.abs(p) + np.abs(q)) + doubt_b * np.abs(a) * (1.0 + 8 * UNIT)
    q_error += tau * a_error * (1.0 + 8 * UNIT)
    pi = pi[:, : len(hull.limits)]
    tilt, limit = pi @ hull.planes, pi @ hull.limits
    size_tilt, size_limit = pi @ np.abs(hull.planes), pi @ np.abs(hull.limits)
    ends, most = [], 0.0
    for x in (hull.lower, hull.upper):
        push = M * x
        r = q - push * (1.0 - lam)
        r_high = np.abs(r) + q_error + 8 * UNIT * (np.abs(r) + np.abs(push * (1.0 - lam)))
        square = r_high * (r_high / (4.0 * k)) * (1.0 + 16 * UNIT + k_error)
        if objective.is_free:
            square[:, -1] = 0.0
            if intercept is not None:  # r b over the interval, r known to what r_high adds
                low, high = intercept
                square[:, -1] = np.maximum(-r[:, -1] * low, -r[:, -1] * high)
                square[:, -1] += (r_high[:, -1] - np.abs(r[:, -1])) * max(abs(low), abs(high)) * (1.0 + 8 * UNIT)
        line = push * theta + tilt * x
        ends.append(line - square)
        most = np.maximum(most, np.abs(push * theta) + size_tilt * np.abs(x) + np.abs(square))
    lowest, _ = hull.least(*ends)
    kinked = (M * lam)[:, 0] * (case.kappa if case.has_margin else 0.0)
    value = c - loss - kinked - limit + lowest
    size = size_limit + size_c + abs(loss) + np.abs(kinked) + 3.0 * np.sum(most, axis=1)
    value = value - (several + gamma(2 * len(theta) + len(hull.limits) + 32)) * size
    # what over- or underflowed, or has no penalty, proves nothing: infinity is no bound, and NaN compares as one likes
    sure = ((tau - doubt_b)[:, 0] >= 0.0) & np.isfinite(value) & (k > 0.0)[:, 0] & np.isfinite(4.0 * k)[:, 0]
    sure &= size > TINY
    return np.where(sure, value, -np.inf)


def intercept_end(objective, lines, amount, case, theta, loss, m, mixed, lam, pi, side):
    """A bound of a free intercept b in a case's level set, rounded outward: from below (side 1.), or above (-1.).

    There ``P b`` is at least (4) at ``tau = 0`` without the intercept's term, ``P = p_b + M l (1 - lam)``: a bound from
    below where ``P > 0``, from above where ``P < 0``; infinite elsewhere.
    """
    a = np.zeros((1, len(theta)))
    a[0, -1] = side
    at = np.array([m]), a, 0.0, mixed, np.zeros(1), np.array([lam]), pi[None]
    value = float(least(objective, lines, amount, case, theta, loss, *at)[0])
    M = np.array([[m * case.weight * (1.0 + 4 * UNIT)]])
    lam = np.array([[lam if case.has_margin else 0.0]])
    pull, doubt = (float(part[0, 0]) for part in _pull_of_intercept(lines, case.hull, M, lam, _lowered(mixed)))
    size = abs(pull)
    if not np.isfinite(value) or not size > doubt:
        return -side * np.inf
    end = value / (size - doubt if value < 0.0 else size + doubt)
    return side * (end - 8 * UNIT * abs(end))


def _lowered(mixed):
    """The mixtures, those of a total above 1 brought down to it."""
    total = np.asarray(mixed.sum(axis=1)).ravel()
    return sp.diags(np.minimum(1.0, (1.0 - gamma(mixed.shape[1] + 8)) / np.maximum(total, 1e-300))) @ mixed


def _pull_of_intercept(lines, hull, M, lam, mixed):
    """``p_b + M l (1 - lam)``, what a free intercept is pulled by, and how far that may be off: (K, 1) each."""
    p, push = mixed @ lines.p[:, -1:], M * hull.lower[-1] * (1.0 - lam)
    size = mixed @ np.abs(lines.p[:, -1:]) + np.abs(push)
    width = M * (hull.upper[-1] - hull.lower[-1]) * np.abs(1.0 - lam)
    several = gamma(mixed.shape[1] + 8)
    doubt = (mixed @ lines.error[:, -1:] + (several + 16 * UNIT) * size + width) * (1.0 + 8 * UNIT)
    return p + push, doubt
