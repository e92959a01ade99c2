"""The claims of a result, one function each."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from mtpfast.proofs.bounds import NEVER
from mtpfast.proofs.goal import is_same
from mtpfast.spaces.base import is_convex

from . import metrics
from .audit import is_foreign
from .membership import inside_set, used_too_often
from .report import Check
from .retrain import AGREE

__all__ = []


def _count_outside(audit):
    """Every point lies where it may."""
    result = audit.result
    inside = inside_set(result.feasible_set, result.points, audit.point_signs, result.classes, audit.grain)
    return _none_may("points outside the feasible set", np.sum(audit.counts[~inside]))


def _count_repeats(audit):
    """No candidate of a pool is used more often than it may be."""
    result = audit.result
    if result.feasible_set.max_repeats is None:
        return None
    over = used_too_often(result.feasible_set, result.points, audit.point_signs, audit.counts, result.classes)
    return _none_may("points beyond max_repeats", over)


def _count_records(audit):
    """The preprocessing maps every record to exactly its point."""
    if audit.codec is None:
        return None
    points = sp.csr_matrix(audit.result.points)
    moved = sp.csr_matrix(sp.csr_matrix(audit.codec.encode(audit.result.records)) != points)
    return _none_may("records that are mapped elsewhere", np.sum(audit.counts[moved.getnnz(axis=1) > 0]))


def _objective(audit):
    """No model has a lower objective than the claimed one: none that was retrained, and provably none at all."""
    name, rounding = "objective (summed)", 1e-9 * max(audit.value, 1e-300) + audit.blur
    reference = audit.training.value(audit.reference[0])
    if audit.value > reference + rounding:
        return Check(name, audit.value, reference, rounding, False)
    least = audit.proof.least
    return Check(name, audit.value, least, rounding, True if audit.value <= least + rounding else None)


def _model(audit):
    """Training returns the claimed model."""
    name, allowance = "l2 distance to the retrained model", AGREE * audit.scale
    if audit.model_error <= allowance:
        return Check(name, 0.0, audit.model_error, allowance, True)
    if audit.model_off > allowance:
        return Check(name, 0.0, audit.model_off, allowance, False)
    return Check(name, 0.0, audit.model_error, allowance, None)


def _distance(audit):
    """The claimed distance is that of the claimed model."""
    result = audit.result
    distance = float(np.linalg.norm(result.theta - result.theta_target))
    rounding = 1e-12 * audit.scale
    return Check(
        "distance to the target", result.distance, distance, rounding, abs(distance - result.distance) <= rounding
    )


def _loss_difference(audit):
    """The largest loss difference of the claimed model lies between the claimed value and its claimed bound.

    Only a search over records or documents may be short of it, and then by what its history says too.
    """
    result = audit.result
    claimed, (attained, proved, blur) = float(result.loss_difference), audit.maximum
    if math.isnan(claimed):
        return None
    upper, space = float(result.loss_difference_upper_bound), audit.space
    room = 1e-7 * max(1.0, abs(attained)) + blur
    upper = claimed if math.isnan(upper) else upper
    exact = space.is_finite or is_convex(space, audit.X.shape[1])
    exact = exact or float(result.history["loss_difference"][-1]) != claimed
    passed = attained - room <= (min(claimed, upper) if exact else upper) and claimed <= min(upper, proved) + room
    if passed and proved > upper + room and proved - attained > 1e-5 * max(1.0, abs(attained)) + blur:
        passed = None
    return Check("loss difference", claimed, attained, room + max(0.0, upper - claimed), passed)


def _reached(audit):
    """A model that is "reached" is as near to the target as it says."""
    result = audit.result
    if result.status != "reached":
        return None
    if result.stop == "loss_difference":
        attained, proved, blur = audit.maximum
        room = 1e-7 * max(1.0, abs(attained)) + blur
        passed = False if attained > result.tol + room else (True if proved <= result.tol + room else None)
        return Check("reached: loss difference <= tol", result.tol, attained, room, passed)
    distance, room = float(np.linalg.norm(result.theta - result.theta_target)), AGREE * audit.scale
    passed = distance <= result.tol + room or is_same(result.theta, result.theta_target, audit.sizes)
    return Check("reached: distance <= tol", result.tol, distance, room, passed)


def _certificate(audit):
    """The certificate speaks of this problem."""
    if audit.result.certificate is None:
        return None
    foreign = is_foreign(audit.result)
    return Check("certificate of another problem", 0.0, float(foreign), 0.0, not foreign)


def _certificate_holds(audit):
    """The certificate claims no more than its own check finds."""
    if audit.result.certificate is None:
        return None
    checked = audit.checked  # first: what cannot be a certificate claims nothing
    claimed = float(audit.result.certificate.n_poison)
    return Check("certificate: points claimed", claimed, float(checked.n_poison), 0.0, checked.holds)


def _lower_bound(audit):
    """The certificate proves the claimed bound."""
    claimed, proved = float(audit.result.lower_bound), float(audit.proved)
    return Check("lower bound", claimed, proved, 0.0, audit.result.lower_bound <= audit.proved)


def _unattainable(audit):
    """No number of points suffices where the result says so."""
    if audit.result.status != "unattainable":
        return None
    return Check("unattainable: points needed", float(NEVER), float(audit.proved), 0.0, audit.proved >= NEVER)


def _damage(audit, when, measure):
    damage = audit.result.damage
    if damage is None or damage.rows is None:
        return None
    claimed, (low, high) = float(getattr(damage, when)["aimed"]), measure(audit)
    room = 0.5 * (high - low) + 1e-12 * max(1.0, abs(claimed))
    middle = claimed if math.isinf(high) else 0.5 * (low + high)
    # a claim among what it may be is right, unless that is next to everything
    passed, wide = abs(claimed - middle) <= room, room > 0.01 * max(1.0, abs(claimed))
    return Check(f"damage: {damage.metric} {when}", claimed, middle, room, None if passed and wide else passed)


def _damage_before(audit):
    """The clean victim has the metric that damage starts from, on the clean rows aimed at."""
    return _damage(audit, "before", metrics.before)


def _damage_after(audit):
    """The claimed model has the metric that damage ends at."""
    return _damage(audit, "after", metrics.after)


def _none_may(name, n):
    return Check(name, 0.0, float(n), 0.0, bool(n == 0))


CLAIMS = (
    _count_outside,
    _count_repeats,
    _count_records,
    _objective,
    _model,
    _distance,
    _loss_difference,
    _reached,
    _certificate,
    _certificate_holds,
    _lower_bound,
    _unattainable,
    _damage_before,
    _damage_after,
)


#: What a result that is "unverified" does not claim.
OF_THE_MODEL = (_objective, _model, _distance, _loss_difference)
