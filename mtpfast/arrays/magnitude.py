"""How large numbers may be for what is computed from them to be a number: squares and products of four stay finite."""

from __future__ import annotations

import numpy as np

__all__ = ["LARGEST", "SMALLEST", "check_magnitude", "is_moderate"]


LARGEST, SMALLEST = 1e60, 1e-100


def is_moderate(vector) -> bool:
    """Whether the sum of squares shows a float64 vector to be finite and in range: ``max^2 <= sum <= n max^2``.

    One product, for what is called often. Of a vector at the ends of the range, or all zero, it does not tell.
    """
    return len(vector) * 10.0 * SMALLEST**2 <= float(np.vdot(vector, vector)) <= 0.1 * LARGEST**2


def check_magnitude(values, name):
    """Raise where the largest size among ``values`` (an array, a sparse matrix or a number) is out of range.

    All zero is in range; so are small numbers beside one that is not small.
    """
    values = getattr(values, "data", values) if hasattr(values, "indptr") else np.asarray(values)
    if not values.size:
        return
    largest = float(max(np.max(values), -np.min(values)))
    if largest > LARGEST or 0.0 < largest < SMALLEST:
        what = "large" if largest > LARGEST else "small"
        raise ValueError(
            f"{name} is too {what}: its largest absolute value is {largest:g}, expected 0 or a number "
            f"from {SMALLEST:g} to {LARGEST:g} (use other units)"
        )
