"""What a lower bound speaks of: one object, shared by a result and its certificate and compared as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from mtpfast.arrays.frozen import freeze
from mtpfast.losses.objective import Objective

__all__ = ["Goal", "MARGIN_TOL", "NEAR", "hit_radius", "is_same", "trained_margin_tol"]


NEAR = 1e-6  # relative l2 distance within which a target counts as hit
BLUR = 1e-15  # of a score
MARGIN_TOL = 1e-6  # rows this near to the kink of the hinge count as on it, unless the user says otherwise


def hit_radius(theta, feasible_set, fit_intercept=True) -> float:
    """The l2 distance within which ``theta`` counts as hit: a bound for the target holds for all models so near.

    ``1e-6 |S theta| / max S`` with ``S_j`` the largest size of feature j in the feasible set, 1 for the intercept, if
    there is one: the scores of a model so near differ by a part in 1e6, whatever the units of the features.
    """
    if not feasible_set.is_finite:
        regions = feasible_set.regions(len(theta) - 1).values()
        ends = [np.abs(end) for region in regions for end in (region.lower, region.upper)]
        size = np.append(np.max(ends, axis=0), 1.0)
    else:
        size = feasible_set.largest()
    if not fit_intercept:
        size = np.append(size[:-1], 0.0)
    largest = float(np.max(size)) or 1.0
    return NEAR * float(np.linalg.norm(size / largest * theta))


def is_same(theta, target, sizes, error=0.0) -> bool:
    """Whether ``theta``, known to within ``error``, is the target: to :data:`NEAR` of its size and of its scores.

    With ``s_j`` the largest size of feature j (``sizes``; 1 for the intercept) the scores are what decides where
    features have other units than the intercept: ``|S (theta - target)|`` beside ``|S target|``. A change of
    :data:`BLUR` is what rounding makes of a unit margin, and all that can be asked of a target of zero.
    """
    change = float(np.linalg.norm(sizes * (theta - target))) + error * float(np.max(sizes))
    near = float(np.linalg.norm(theta - target)) + error <= NEAR * float(np.linalg.norm(target))
    return change <= BLUR or (near and change <= NEAR * float(np.linalg.norm(sizes * target)))


def trained_margin_tol(target, sizes=None) -> float:
    """How far from the kink of the hinge rows on the margin of a target may lie; ``sizes()`` are the largest features.

    A model from a file says by how much the file may have rounded each of its numbers (``rounding``): rows on the
    margin of the trained model are off that of the file's by at most ``rounding . (sizes, 1)``, and twice that counts.
    What a solver was asked for cannot be read off a model, but off a fitted estimator: LIBLINEAR and LIBSVM keep
    ``w = sum a_i y_i x_i`` with feasible ``a`` exactly, and stop when the margins contradict ``a`` by less than their
    ``tol``. Twice that, as margins move once more after they were looked at; at least :data:`MARGIN_TOL`.
    """
    tol, rounding = getattr(target, "tol", None), getattr(target, "rounding", None)
    if not hasattr(target, "coef_") or isinstance(tol, bool) or not isinstance(tol, (Real, np.number)):
        tol = 0.0
    if rounding is not None and sizes is not None:
        tol += float(np.dot(rounding, np.append(sizes(), 1.0)))
    return float(min(1.0, max(MARGIN_TOL, 2.0 * tol)))


@dataclass(frozen=True, eq=False)
class Goal:
    """The question that a bound answers.

    How few points of ``feasible_set`` make the victim with this ``objective`` learn some model within l2
    distance ``tol`` of ``theta_target``, where every row (clean, candidate or poison) whose margin is within
    ``margin_tol`` of the kink of the hinge may count as on it?

    Attributes
    ----------
    theta_target : ndarray of shape (n_features + 1,)
        Finite.
    objective : Objective
    feasible_set : FeatureSpace or CandidatePool
        With the labels -1. and +1.
    tol : float
        Finite and at least 0.
    margin_tol : float
        Between 0 and 1.
    """

    theta_target: np.ndarray
    objective: Objective
    feasible_set: object
    tol: float = 0.0
    margin_tol: float = 0.0

    def __post_init__(self):
        freeze(self, "theta_target", self.theta_target)
        self.validate()

    def validate(self) -> None:
        """Raise ValueError, naming the field, if this is no question."""
        theta = self.theta_target
        if theta.ndim != 1 or len(theta) < 2 or not np.all(np.isfinite(theta)):
            raise ValueError(f"theta_target must be finite, of shape (n_features + 1,), got {theta!r:.80}")
        if not isinstance(self.objective, Objective):
            raise ValueError(f"objective must be an Objective, got {type(self.objective).__name__}")
        for name, most in (("tol", math.inf), ("margin_tol", 1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (Real, np.number)):
                raise ValueError(f"{name} must be a number, got {value!r}")
            if not (math.isfinite(value) and 0.0 <= value <= most):
                raise ValueError(f"{name} must be finite, at least 0 and at most {most:g}, got {value!r}")

    def differs(self, other: Goal) -> str:
        """The first field in which ``other`` asks another question; "" if it asks the same one."""
        if not np.array_equal(self.theta_target, other.theta_target):
            return "theta_target"
        if self.objective != other.objective:  # the losses by identity
            return "objective"
        own, others = self.feasible_set, other.feasible_set
        if type(own) is not type(others):
            return "feasible_set"
        if own is not others:
            d = len(self.theta_target) - 1
            same = own == others or (not own.is_finite and own.regions(d) == others.regions(d))
            if not same:
                return "feasible_set"
        return next((name for name in ("tol", "margin_tol") if getattr(self, name) != getattr(other, name)), "")

    def __eq__(self, other) -> bool:
        return isinstance(other, Goal) and not self.differs(other)

    __hash__ = None
