"""Tangents of ``h = 1 / s`` at a margin."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["first_margins", "tangent_of"]


SPAN = 12.0  # margins further out than this hardly pay: ``s`` is 1 to 1e-5 below, or 1e-5 above


def tangent_of(loss, margin):
    """``(c, kappa)``: the tangent ``c + kappa m <= h(m)`` of ``h = 1 / s`` at one margin."""
    if loss.name == "log_loss":
        kappa = math.exp(min(margin, 500.0))
        return 1.0 + kappa * (1.0 - margin), kappa
    gap = max(1.0 - margin, 1e-9)
    return 1.0 / gap - 0.5 / gap**2, 0.5 / gap**2


def first_margins(setting, sign):
    """Where the tangents of ``h`` are taken at first."""
    low, high = setting.margin_range(sign)
    if setting.objective.loss.name == "squared_hinge":
        high = min(high, 0.95)
    low, high = max(low, -SPAN), min(high, SPAN)
    return np.linspace(min(low, high), high, 6)
