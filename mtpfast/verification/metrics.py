"""The metrics of damage, measured again."""

from __future__ import annotations

import math

import numpy as np

from mtpfast.arrays.rounding import gamma
from mtpfast.losses.margin import LOSSES

from .retrain import Training, prove, row_norms

__all__ = ["after", "before"]


def after(audit):
    """``(low, high)`` of the claimed model's metric on the clean rows aimed at: its margins are known to rounding."""
    return _between(audit, audit.result.theta, 0.0, 0.0)


def before(audit):
    """``(low, high)`` of the clean victim's, as far as the model that is said to be it is proved to be it."""
    theta = audit.result.damage.clean
    training = Training.of(audit.objective, audit.X, audit.signs, audit.weight)
    proof, b = prove(training, theta, theta), float(theta[-1])
    off = max(proof.high - b, b - proof.low) if training.free else proof.error
    return _between(audit, theta, proof.error, off)


def _between(audit, theta, w_off, b_off):
    """Every metric falls as margins rise: its ends are those of all margins as high and as low as they may be."""
    damage = audit.result.damage
    keep = damage.rows.copy()
    if damage.metric in ("false_negative_rate", "false_positive_rate"):
        keep &= audit.signs == (1.0 if damage.metric == "false_negative_rate" else -1.0)
    X, y = audit.X[np.flatnonzero(keep)], audit.signs[keep]
    weight = np.ones(len(y)) if audit.weight is None else audit.weight[keep]
    norms, b = row_norms(X), abs(float(theta[-1]))
    reach = w_off * norms + b_off + gamma(len(theta) + 8) * (norms * float(np.linalg.norm(theta[:-1])) + b)
    if not np.all(np.isfinite(reach)):
        return -math.inf, math.inf
    margin = y * (X @ theta[:-1] + theta[-1])
    return tuple(_metric(damage.metric, y, margin + side * reach, weight) for side in (1.0, -1.0))


def _metric(name, y, margin, weight):
    if name in LOSSES:
        values = LOSSES[name].value(margin)
    else:  # a score of 0 is the negative class
        values = np.where(y > 0.0, margin <= 0.0, margin < 0.0).astype(float)
    return float(values @ weight) / float(weight.sum())
