"""Where the tangents of ``h = 1 / s`` are taken at first."""

from __future__ import annotations

import numpy as np

__all__ = ["first_margins"]


SPAN = 12.0  # margins further out than this hardly pay: ``s`` is 1 to 1e-5 below, or 1e-5 above


def first_margins(setting, sign, n=6):
    """So many margins that points of a label can have, short of where h is infinite."""
    low, high = setting.margin_range(sign)
    low, high = max(low, -SPAN), min(high, SPAN, setting.objective.loss.zero_from - 0.05)
    return np.linspace(min(low, high), high, n)
