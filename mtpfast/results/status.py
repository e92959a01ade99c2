"""The words that a result uses of itself: one list each."""

from __future__ import annotations

__all__ = ["MEASURES", "STATUSES", "STOPS"]


#: What ``tol`` may be compared with in Algorithm 1.
MEASURES = ("loss_difference", "distance")

#: The same for any attack: "exact" asks for the target itself.
STOPS = (*MEASURES, "exact")

#: How an attack ended, and what that says.
STATUSES = {
    "reached": "the measure is at most tol, as far as is proved",
    "budget": "max_points, or a callback, ended it before",
    "stalled": "nothing that was looked at comes nearer",
    "interrupted": "Ctrl-C: what was found so far",
    "unattainable": "no number of points suffices, as the certificate proves",
    "unverified": "where training ends is neither measured nor proved: theta is NaN",
}
