"""What every attack is asked: clean data, victim, target and feasible set, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from .arrays.checks import as_theta, check_labels, check_number, check_sample_weight, check_X
from .arrays.magnitude import check_magnitude
from .losses.objective import Objective
from .proofs.certificate import Certificate, certificate_for, prove
from .proofs.clean_pass import CleanGradient, clean_gradient, extent
from .proofs.goal import Goal, hit_radius
from .spaces.base import as_space, is_convex
from .spaces.features import FeatureSpace

__all__ = ["Problem", "Setting", "moved_to", "read_question"]


RETRAIN_BYTES = 2**31  # up to this size of X as float64 the victim is retrained on clean plus poison
KINK = 1e-12  # a candidate of a pool this near to margin 1 lies on the kink of the hinge


@dataclass(frozen=True)
class Problem:
    """The checked input, and what one pass over the data left behind."""

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    theta: np.ndarray
    objective: Objective
    feasible_set: object
    clean: CleanGradient  # at the target itself: what the programs are made of
    proof: CleanGradient  # for the ball of models that count as hits: what a certificate is made of
    margin_tol: float
    retrain: bool

    @property
    def setting(self) -> Setting:
        regions = self.feasible_set.regions(len(self.theta) - 1)
        return Setting(self.clean, self.theta, self.objective, regions, self.margin_tol)

    @property
    def radius(self) -> float:
        """Within which distance a model counts as the target."""
        return hit_radius(self.theta, self.feasible_set)

    @property
    def goal(self) -> Goal:
        """What a certificate for the target speaks of."""
        return Goal(self.theta, self.objective, self.feasible_set, self.radius, self.margin_tol)

    @property
    def scales(self) -> np.ndarray:
        """The largest size of every feature in the clean data; 1 for the intercept."""
        return np.append(np.maximum(np.abs(self.clean.lower), np.abs(self.clean.upper)), 1.0)

    @property
    def of_records(self) -> bool:
        """Whether points have to be whole records: then sums of them are rounded, and the target is hit nearly."""
        space = self.feasible_set
        return not space.is_finite and not is_convex(space, len(self.theta) - 1)

    def canonical(self, points) -> list:
        """The points as what translates records into points makes them."""
        function = self.feasible_set.canonical
        return list(points) if function is None or not len(points) else list(function(np.array(points)))

    def prove(self, direction, kind="direction", sharply=True) -> Certificate:
        """The certificate of a direction for the target, to the distance within which it counts as hit."""
        proof = self.proof
        if sharply and not self.objective.loss.kinked:  # one more pass, for this direction
            data = self.X, self.y, self.theta, self.objective, self.sample_weight
            proof = clean_gradient(*data, tol=self.goal.tol, direction=np.asarray(direction, dtype=float), compact=True)
        return certificate_for(self.goal, kind, direction, *prove(proof, direction, self.goal))


def read_question(X, y, target, objective, feasible_set, sample_weight, margin_tol, retrain) -> Problem:
    """Check the input and pass over the data once."""
    X = _rows(X)
    n, d = X.shape
    y = np.asarray(y) if np.size(y) > 10**6 else check_labels(y, n)
    if y.shape != (n,):
        raise ValueError(f"y has {y.shape} labels, X has {n} rows")
    sample_weight = check_sample_weight(sample_weight, n)
    theta = as_theta(target, d)
    if not objective.fit_intercept and theta[-1] != 0.0:
        raise ValueError(f"target has intercept {theta[-1]:g}, expected 0 with fit_intercept=False")
    margin_tol = check_number(margin_tol, "margin_tol")
    if feasible_set is not None:
        as_space(feasible_set).check(d)
    if feasible_set is None:
        low, high = extent(X)
        if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
            raise ValueError("X must be finite, got NaN or infinity")
        check_magnitude(np.append(low, high), "X")
        feasible_set = FeatureSpace(low, high)
    missing = objective.loss.missing()
    if missing and not feasible_set.is_finite:
        raise ValueError(
            f"loss {objective.loss.name!r} lacks {missing}: the minimum over a space rests on it; poison(), training "
            f"and the minimum over a CandidatePool need value and derivative only"
        )
    proof = _clean(X, y, theta, objective, sample_weight, margin_tol, hit_radius(theta, feasible_set))
    check_magnitude(np.append(proof.lower, proof.upper), "X")
    if retrain is None:
        retrain = not isinstance(X, np.memmap) and (sp.issparse(X) or 8 * n * d <= RETRAIN_BYTES)
    return Problem(X, y, sample_weight, theta, objective, feasible_set, proof.centre(), proof, margin_tol, retrain)


def _clean(X, y, theta, objective, sample_weight, margin_tol, radius) -> CleanGradient:
    """One pass over the data, for the ball of models that count as hits."""
    return clean_gradient(X, y, theta, objective, sample_weight, margin_tol=margin_tol, tol=radius, compact=True)


def _rows(X):
    """X as something :func:`clean_gradient` reads block by block: never copied if it is an array of numbers."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub" and X.shape[0] > 0 and X.shape[1] > 0:
        return X
    return check_X(X)


def moved_to(problem: Problem, theta, tol=0.0, margin_tol=None) -> Problem:
    """The same question for another model, or with the clean rows seen from a whole ball."""
    margin_tol = problem.margin_tol if margin_tol is None else margin_tol
    data = problem.X, problem.y, theta, problem.objective, problem.sample_weight
    if tol > 0.0:
        clean = proof = clean_gradient(*data, margin_tol=margin_tol, tol=tol)
    else:
        proof = _clean(*data, margin_tol, hit_radius(theta, problem.feasible_set))
        clean = proof.centre()
    return replace(problem, theta=theta, clean=clean, proof=proof, margin_tol=margin_tol)


@dataclass(frozen=True)
class Setting:
    """One question: this target, after this much clean data, with points in these regions.

    ``regions``: one for each label that points may carry, as ``FeatureSpace.regions`` gives them.
    ``margin_tol``: a point this near to margin 1 counts as on the kink of the hinge, as a clean row does.
    """

    clean: CleanGradient
    theta: np.ndarray
    objective: Objective
    regions: dict
    margin_tol: float = KINK

    def region(self, sign: float):
        """The region of a label; of the other one where points may not carry this one (they then have weight 0)."""
        return self.regions[sign if sign in self.regions else -sign]

    @property
    def both(self) -> tuple:
        """The regions of label +1 and label -1."""
        return self.region(1.0), self.region(-1.0)

    @property
    def is_convex(self) -> bool:
        """Whether every point of the hulls may be used, so that whole points need no rounding."""
        return all(region.is_convex for region in self.regions.values())

    @property
    def idle_labels(self) -> list[int]:
        """0 for the label +1, 1 for the label -1, where points may not carry it."""
        return [i for i, sign in enumerate((1.0, -1.0)) if sign not in self.regions]

    @property
    def a(self) -> float:
        """What one more unit of N adds to k."""
        return self.objective.k_per_point

    @property
    def pull(self) -> np.ndarray:
        """``a R theta``: what one more unit of N adds to the stationarity rows through the penalty."""
        return self.a * self.objective.R(len(self.theta) - 1) * self.theta

    @cached_property
    def weights(self) -> np.ndarray:
        """What a point weighs, of label +1 and of label -1."""
        return np.array([self.objective.weight_of(sign) for sign in (1.0, -1.0)])

    @cached_property
    def pulls(self) -> np.ndarray:
        """What a point adds to the stationarity rows through the penalty: (d + 1, 3), of label +1, of label -1 and of
        zero loss."""
        return self.pull[:, None] * self.units

    @cached_property
    def units(self) -> np.ndarray:
        """What a point adds to N, of label +1, of label -1 and of zero loss."""
        return np.array([self.objective.per_point(sign) for sign in (1.0, -1.0, self.zero_loss_label)])

    def load(self, counts) -> np.ndarray:
        """What so many points (of label +1, of label -1, of zero loss) add to the stationarity rows that way."""
        return self.pulls @ np.asarray(counts, dtype=float)[:3]

    @property
    def weighs_labels(self) -> bool:
        """Whether a point of some label counts for more or less than a row of weight 1."""
        return bool(np.any(self.weights != 1.0))

    def margin_range(self, sign: float) -> tuple[float, float]:
        """Least and largest margin of a point of that label."""
        region, w, b = self.region(sign), sign * self.theta[:-1], sign * self.theta[-1]
        return -region.linear_maximum(-w, -b)[0], region.linear_maximum(w, b)[0]

    @property
    def has_zero_loss(self) -> bool:
        """Whether some point has zero loss, so that it adds nothing but weight."""
        top = max(self.margin_range(sign)[1] for sign in self.regions)
        return top >= self.objective.loss.zero_from - self._zero_loss_tol

    @property
    def _zero_loss_tol(self):
        return self.margin_tol if self.objective.loss.kinked else KINK

    def on_margin(self, sign: float) -> float | None:
        """The margin nearest to 1 that a point of that label has, where it counts as 1; else None.

        It is 1 itself but where the margins of a box end within rounding of it: at a support vector in a corner.
        """
        low, high = self.margin_range(sign)
        nearest = min(max(1.0, low), high)
        return nearest if abs(nearest - 1.0) <= self.margin_tol else None

    def point_on_margin(self, sign: float):
        """A point of that margin, on the way from the least to the largest."""
        region, w = self.region(sign), sign * self.theta[:-1]
        near, far = region.linear_argmax(-w), region.linear_argmax(w)
        low, high = self.margin_range(sign)
        share = (self.on_margin(sign) - low) / (high - low) if high > low else 0.0
        return near + share * (far - near)

    @cached_property
    def zero_loss_label(self) -> float:
        """The label of points of zero loss: where N counts weights, the heavier of those that have one."""
        top = {sign: self.margin_range(sign)[1] for sign in self.regions}
        least = self.objective.loss.zero_from - self._zero_loss_tol
        return max(top, key=lambda sign: (self.objective.per_point(sign) * (top[sign] >= least), top[sign]))

    def zero_loss_point(self, sign=None):
        """The point of the largest margin (of a label, if one is given), and its label."""
        sign = self.zero_loss_label if sign is None else sign
        return self.regions[sign].linear_argmax(sign * self.theta[:-1]), sign
