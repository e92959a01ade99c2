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
(:func:`mtpfast.proofs.goal.hit_radius`) at least. For "some model within l2 distance ``tol`` of ``theta_p``" the same
proof holds with three changes: rows whose margin is within ``tol |x~_i|`` of the kink are free (for smooth
losses ``s_i`` ranges over an interval), poison margins move by up to ``tol |x~|``, and ``v.R theta``
differs from ``v.R theta_p`` by up to ``tol |R v|``, which costs ``k tol |R v|``.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from numbers import Real
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frozen import freeze
from mtpfast.arrays.in_parts import as_parts
from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.objective import Objective

from .bounds import whole
from .clean_pass import CleanGradient, clean_gradient, free_slack
from .goal import Goal, hit_radius
from .poison_maximum import poison_maximum, pool_gains

__all__ = [
    "Certificate",
    "CertificateCheck",
    "Rounding",
    "bound",
    "bound_along_path",
    "certificate_for",
    "certify_coarsely",
    "prove",
    "prove_from",
]


COARSE = (
    1e-3  # of the target's norm, and of a margin: "no number of points suffices" is said where this does not decide
)


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
    >>> from mtpfast.proofs.certificate import Certificate
    >>> from mtpfast.spaces.features import FeatureSpace
    >>> from mtpfast.losses.objective import make_objective
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
        freeze(self, "theta_target", self.theta_target)
        if self.kind == "model":
            freeze(self, "theta", self.theta)
            if self.theta.shape != self.theta_target.shape:
                raise ValueError(f"theta has shape {self.theta.shape}, theta_target has {self.theta_target.shape}")
            freeze(self, "direction", np.subtract(self.theta, self.theta_target))
        elif self.direction is None:
            raise ValueError(f"direction must be given for kind {self.kind!r}, got None")
        else:
            freeze(self, "direction", self.direction)
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

    def check(self, X, y=None, sample_weight=None) -> CertificateCheck:
        """Recompute the bound from the direction alone.

        Parameters
        ----------
        X : ndarray, memmap or CSR of shape (n_samples, n_features), or rows in parts
            The clean data. Read in blocks, once.
        y : array of shape (n_samples,), -1 and +1
            None for rows in parts (:func:`mtpfast.in_parts`).
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        CertificateCheck
            ``value`` and ``n_poison`` are what these data and this direction prove; ``holds`` says
            whether the certificate claims no more.
        """
        self.validate()
        d, parts = len(self.theta_target) - 1, as_parts(X, y, sample_weight)
        if parts is not None:
            X, y, sample_weight = parts, None, None
            if X.n_features != d:
                raise ValueError(f"X has {X.n_features} features, expected {d}")
        else:
            if y is None:
                raise ValueError("y must be given, one label per row of X, got None")
            X, y = X.tocsr() if sp.issparse(X) else np.asanyarray(X), np.asarray(y)
            if X.ndim != 2 or X.shape[1] != d:
                raise ValueError(f"X has shape {X.shape}, expected (n_samples, {d})")
            if len(y) != X.shape[0]:
                raise ValueError(f"y has {len(y)} labels, X has {X.shape[0]} rows")
        value, rounding = prove_from(X, y, sample_weight, self.direction, self.goal)
        n_poison = whole(value)
        return CertificateCheck(value, n_poison, self.n_poison <= n_poison, rounding)


def prove(clean: CleanGradient, direction, goal: Goal):
    """:func:`bound` for what a goal says; ``clean`` must be of the same target, objective and tolerances."""
    return bound(
        clean, direction, goal.theta_target, goal.objective, goal.feasible_set, goal.tol, margin_tol=goal.margin_tol
    )


def prove_from(X, y, sample_weight, direction, goal: Goal):
    """:func:`bound` for a direction and a goal, from the data: one pass over them, two for a smooth loss in a ball.

    There the rows' slopes lie in intervals, or near their tangents (``compact`` of
    :func:`mtpfast.proofs.clean_pass.clean_gradient`), and either may prove more.
    """
    theta, objective, space = goal.theta_target, goal.objective, goal.feasible_set
    hit = goal.tol <= hit_radius(theta, space, objective.fit_intercept)
    found = []
    for compact in (True,) if hit or objective.loss.kinked else (True, False):
        clean = clean_gradient(
            X, y, theta, objective, sample_weight, margin_tol=goal.margin_tol, tol=goal.tol, direction=direction,
            compact=compact,
        )  # fmt: skip
        found.append(prove(clean, direction, goal))
    return max(found, key=lambda pair: pair[0])


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
    certificate where nothing is proved.
    """
    claims = np.where(np.isfinite(claims), claims, 0.0)
    best = int(np.argmax(claims))
    if clean is None or not claims[best] > 0.0:
        return None, 0
    capped = goal.feasible_set.max_repeats is not None
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
    one = objective.one
    v = np.array(direction, dtype=np.float64)
    scale = float(np.max(np.abs(v)))
    if not (math.isfinite(scale) and scale > 0.0):
        return 0.0, Rounding(0.0, 0.0, math.inf, 0.0)
    v = v / scale  # only a choice of units: the quotient does not see it
    if not objective.fit_intercept:
        v[-1] = 0.0
    slack, slack_error = clean.slack / scale, clean.slack_error / scale
    if len(clean.free_labels):
        more, more_error = free_slack(clean.free_rows, clean.free_labels, clean.free_weights, v, one)
        slack, slack_error = slack + more, slack_error + more_error + 2 * UNIT * slack
    G = clean.gradient
    spread = clean.k * tol * float(np.linalg.norm(objective.R(d) * v))
    numerator = -float(G @ v) - slack - spread
    error = float(clean.error @ np.abs(v)) + gamma(d + 8) * (float(np.abs(G) @ np.abs(v)) + slack + spread)
    error = (error + slack_error) * (1.0 + gamma(2 * d + 16))
    cap, gains = feasible_set.max_repeats, None
    if cap is None:
        maximum, maximum_error = poison_maximum(v, theta, objective, feasible_set, tol, margin_tol=margin_tol)
    else:
        gains = pool_gains(v, theta, objective, feasible_set, tol, margin_tol)
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
