"""The unit roundoff, and how far sums of floats may be off (Higham, 2002)."""

from __future__ import annotations

__all__ = ["EPS", "UNIT", "gamma"]


UNIT = 2.0**-53  # unit roundoff of float64
EPS = 2.0 * UNIT  # the distance from 1 to the next float64


def gamma(n: int) -> float:
    """``n u / (1 - n u)``: the relative error of any n-term sum or product, in any order."""
    return n * UNIT / (1.0 - n * UNIT)
