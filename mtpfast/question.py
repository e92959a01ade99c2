"""What every attack is asked: clean data, victim, target and feasible set, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from .arrays.checks import as_theta, check_labels, check_number, check_sample_weight, check_X
from .arrays.in_parts import as_parts
from .arrays.magnitude import check_magnitude
from .arrays.maps import is_map_of_singles
from .arrays.parts import RowParts, width
from .losses.objective import Objective
from .proofs.certificate import Certificate, certificate_for, prove
from .proofs.clean_pass import CleanGradient, clean_gradient, extent
from .proofs.goal import Goal, hit_radius, trained_margin_tol
from .spaces.base import as_space, is_convex
from .spaces.features import FeatureSpace

__all__ = ["Problem", "Question", "Setting", "ask", "evaluation_sets", "largest_sizes", "moved_to", "read_question"]


RETRAIN_BYTES = 2**31  # up to this size of X as float64 the victim is retrained on clean plus poison
KINK = 1e-12  # a candidate of a pool this near to margin 1 lies on the kink of the hinge


@dataclass(frozen=True)
class Question:
    """What every attack is asked, checked once: clean data, and the goal.

    Attributes
    ----------
    X : ndarray, memmap or CSR matrix of shape (n_samples, n_features), or RowParts
        As :func:`mtpfast.arrays.checks.check_X` leaves it; for what reads X in blocks, any array of numbers, or rows in
        parts, which bring their labels and weights.
    y : ndarray of shape (n_samples,), or None
        -1. and +1.
    sample_weight : ndarray of shape (n_samples,) or None
    goal : Goal
        Target, victim's objective, feasible set, and the tolerances within which a model and a margin count as the
        target's.
    """

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    goal: Goal

    @property
    def theta(self) -> np.ndarray:
        """The target, ``(w, b)``."""
        return self.goal.theta_target

    @property
    def objective(self) -> Objective:
        """The victim's."""
        return self.goal.objective

    @property
    def feasible_set(self):
        """Where points may lie, with the labels -1. and +1."""
        return self.goal.feasible_set

    @property
    def margin_tol(self) -> float:
        """Rows this near to the kink of the hinge count as on it."""
        return self.goal.margin_tol

    @property
    def radius(self) -> float:
        """Within which distance a model counts as the target."""
        return self.goal.tol

    def clean_gradient(self, tol=None, direction=None, compact=None) -> CleanGradient:
        """One pass over the clean rows at the target: for the ball of models that count as hits, or of radius tol."""
        return clean_gradient(
            self.X,
            self.y,
            self.theta,
            self.objective,
            self.sample_weight,
            margin_tol=self.goal.margin_tol,
            tol=self.goal.tol if tol is None else tol,
            direction=direction,
            compact=tol is None if compact is None else compact,
        )


def read_question(
    X,
    y,
    target,
    objective: Objective,
    feasible_set=None,
    sample_weight=None,
    margin_tol=None,
    *,
    in_blocks=False,
    by_rows=False,
) -> Question:
    """The question in what users hand in.

    ``in_blocks``: X stays as it is if it is an array of numbers, or in parts. ``by_rows``: if it is a memory map of
    float32 rows.
    """
    parts = as_parts(X, y, sample_weight) if in_blocks else None
    if parts is not None:
        return ask(parts, None, None, target, objective, feasible_set, margin_tol)
    if by_rows and is_map_of_singles(X) and X.size:
        check_magnitude(np.append(*extent(X)), "X")
    else:
        X = _rows(X) if in_blocks else check_X(X)
    n = X.shape[0]
    y = np.asarray(y) if in_blocks and np.size(y) > 10**6 else check_labels(y, n)
    if y.shape != (n,):
        raise ValueError(f"y has {y.shape} labels, X has {n} rows")
    return ask(X, y, check_sample_weight(sample_weight, n), target, objective, feasible_set, margin_tol)


def ask(X, y, sample_weight, target, objective: Objective, feasible_set=None, margin_tol=None) -> Question:
    """The question about clean data that are checked already."""
    d = width(X)
    theta = as_theta(target, d)
    if not objective.fit_intercept and theta[-1] != 0.0:
        raise ValueError(f"target must have intercept 0 with fit_intercept=False, got {theta[-1]:g}")
    if feasible_set is None:
        feasible_set = _box_around(X)
    as_space(feasible_set).check(d)
    if margin_tol is None:
        margin_tol = trained_margin_tol(target, lambda: largest_sizes(X, feasible_set))
    margin_tol = check_number(margin_tol, "margin_tol")
    return Question(
        X,
        y,
        sample_weight,
        Goal(theta, objective, feasible_set, hit_radius(theta, feasible_set, objective.fit_intercept), margin_tol),
    )


def largest_sizes(X, feasible_set):
    """The largest size of every feature, in the clean rows and where points may lie."""
    own = np.max(np.abs(extent(X)), axis=0)
    if feasible_set.is_finite:
        return np.maximum(own, feasible_set.largest()[:-1])
    regions = feasible_set.regions(len(own)).values()
    return np.max([own, *(np.abs(end) for region in regions for end in (region.lower, region.upper))], axis=0)


def _box_around(X):
    """Between the minimum and the maximum of every feature."""
    low, high = extent(X)
    check_magnitude(np.append(low, high), "X")
    return FeatureSpace(low, high)


def _rows(X):
    """X as something :func:`clean_gradient` reads block by block: never copied if it is an array of numbers."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub" and X.shape[0] > 0 and X.shape[1] > 0:
        return X
    return check_X(X)


def evaluation_sets(eval_sets, rows, signs) -> dict:
    """``name -> (X, whether y is +1)``, checked; ``rows(X, name)`` and ``signs(y, name, n_rows)`` read the parts."""
    if eval_sets is None:
        return {}
    if not isinstance(eval_sets, Mapping):
        raise TypeError(f"eval_sets must map names to pairs (X, y), got {type(eval_sets).__name__}")
    checked = {}
    for name, pair in eval_sets.items():
        where = f"eval_sets[{name!r}]"
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"{where} must be a pair (X, y), got {type(pair).__name__}")
        X = rows(pair[0], f"X of {where}")
        checked[name] = X, signs(pair[1], f"y of {where}", X.shape[0]) > 0
    return checked


@dataclass(frozen=True)
class Problem(Question):
    """A question about the exact minimum, and what one pass over the data left behind."""

    clean: CleanGradient  # at the target itself: what the programs are made of
    proof: CleanGradient  # for the ball of models that count as hits: what a certificate is made of
    retrain: bool

    @classmethod
    def of(cls, question: Question, retrain: bool | None = None) -> Problem:
        """Pass over the data once."""
        objective, X = question.objective, question.X
        missing = objective.loss.missing()
        if missing and not question.feasible_set.is_finite:
            raise ValueError(
                f"loss {objective.loss.name!r} lacks {missing}: the minimum over a space rests on it; poison(), "
                f"training and the minimum over a CandidatePool need value and derivative only"
            )
        if objective.is_balanced:
            raise ValueError(
                "class_weight='balanced' changes the weights of all rows with every point, so that the fewest points "
                "are not the solution of a convex program, and no bound is proved: attack with ModelTargetedPoisoner "
                "(poison), or give the weights of the poisoned data as a dict"
            )
        proof = question.clean_gradient()
        check_magnitude(np.append(proof.lower, proof.upper), "X")
        if isinstance(X, RowParts):
            if retrain:
                raise ValueError("retrain=True takes rows that are held in memory, got X in parts")
            if proof.weight == 0.0:
                raise ValueError("sample_weight must not be zero everywhere")
            retrain = False
        if retrain is None:
            held = sp.issparse(X) or 8 * X.shape[0] * X.shape[1] <= RETRAIN_BYTES
            retrain = not isinstance(X, np.memmap) and held
        asked = question.X, question.y, question.sample_weight, question.goal
        return cls(*asked, proof.centre(), proof, retrain)

    @property
    def amount(self) -> float:
        """N of the clean rows: what k is a function of."""
        if self.y is None:
            return float(self.clean.n_rows) if self.objective.count_rows else self.clean.weight
        return self.objective.amount(self.y, self.sample_weight)

    @property
    def setting(self) -> Setting:
        regions = self.feasible_set.regions(len(self.theta) - 1)
        return Setting(self.clean, self.theta, self.objective, regions, self.margin_tol)

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
            proof = self.clean_gradient(direction=np.asarray(direction, dtype=float))
        return certificate_for(self.goal, kind, direction, *prove(proof, direction, self.goal))


def moved_to(problem: Problem, theta, tol=0.0, margin_tol=None) -> Problem:
    """The same question for another model, or with the clean rows seen from a whole ball."""
    margin_tol = problem.margin_tol if margin_tol is None else margin_tol
    radius = hit_radius(theta, problem.feasible_set, problem.objective.fit_intercept)
    moved = replace(problem, goal=replace(problem.goal, theta_target=theta, tol=radius, margin_tol=margin_tol))
    if tol > 0.0:
        clean = proof = moved.clean_gradient(tol)
    else:
        proof = moved.clean_gradient()
        clean = proof.centre()
    return replace(moved, clean=clean, proof=proof)


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
    def is_box(self) -> bool:
        """Whether the regions are boxes."""
        return all(region.is_box for region in self.regions.values())

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
