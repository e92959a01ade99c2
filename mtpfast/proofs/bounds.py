"""The lower bound of Suya et al.: arithmetic only, no search and no solver.

For **any** model theta, whatever its origin, no poisoning of fewer than

    N  >=  [ J(theta_target) - J(theta) ] / [ D + (k1 / 2) (theta' R theta - theta_target' R theta_target) ]

points induces ``theta_target`` exactly. ``J`` is the victim's objective on the clean rows alone,
``D`` an upper bound of the loss difference over the feasible set, ``k1`` what one more row adds to
k (alpha in the ``alpha`` convention, 0 in the ``C`` convention).
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

from mtpfast.arrays.rounding import EPS

__all__ = ["NEVER", "LowerBound", "lower_bound", "whole"]


NEVER = 2**63 - 1  # as a number of points: no number suffices


def whole(value: float, room: float = 1e-8) -> int:
    """``value`` rounded up, after giving away ``room`` of it: the one way from a bound to a number of points.

    The bound speaks of the target to its last bit, but a target is itself a rounded solution: one that n points
    induce may by its last digits ask for n + 1e-9 of them, and must not be said to need n + 1.
    """
    return NEVER if value >= 2.0**63 else max(0, math.ceil(value * (1.0 - room) - 1e-9))


class LowerBound(NamedTuple):
    """Result of :func:`lower_bound`.

    Attributes
    ----------
    value : float
        The bound before rounding up, lowered by what rounding errors may have added; 0 if trivial.
    n_poison : int
        ``whole(value)``: rounded up, after giving away 1e-8 of it.
    status : {"proved", "trivial"}
        "trivial" where numerator or denominator is not positive: such a theta proves nothing.
    """

    value: float
    n_poison: int
    status: str


def lower_bound(
    objective_target: float,
    objective_theta: float,
    max_difference: float,
    penalty_theta: float = 0.0,
    penalty_target: float = 0.0,
    k_per_point: float = 0.0,
    gap: float = 0.0,
    n_terms: int = 1,
) -> LowerBound:
    r"""Points that any poisoning needs to induce the target exactly.

    .. math:: N \ge \frac{J(\theta_p) - J(\theta) - g}
              {\max_F [\ell(\theta) - \ell(\theta_p)] + \frac{k_1}{2}(\theta^\top R \theta - \theta_p^\top R \theta_p)}

    Parameters
    ----------
    objective_target, objective_theta : float
        The victim's objective on the clean rows (k for the clean rows alone) at both models.
    max_difference : float
        An **upper bound** of the loss difference over the feasible set; where labels weigh differently, of the
        loss difference times the weight of the label.
    penalty_theta, penalty_target : float
        ``theta' R theta`` of both models.
    k_per_point : float
        ``alpha``, or 0 in the ``C`` convention. Where it depends on the label: the largest if the penalty of theta
        is above the target's, else the smallest.
    gap : float
        By how much the target may miss the optimum of the training set it came from (its own
        duality gap); subtracted from the numerator first.
    n_terms : int
        Number of summands behind each objective: the bound is lowered by the rounding error such
        a sum can carry.

    Returns
    -------
    LowerBound

    References
    ----------
    Theorem 2 (lower bound) in Suya et al., "Model-Targeted Poisoning Attacks with Provable
    Convergence", ICML 2021, written for the summed objective of ``losses/objective.py``.

    Examples
    --------
    >>> from mtpfast.proofs.bounds import lower_bound
    >>> lower_bound(30.0, 20.0, max_difference=0.8).n_poison
    13
    """
    # Pairwise sums of n non-negative terms of k products each are off by (log2 n + few) EPS; every
    # objective here is such a sum, of margins that carry an error of their own (callers count it
    # into n_terms).
    error = EPS * (math.log2(max(n_terms, 1)) + 8)
    numerator = objective_target - objective_theta - gap
    numerator -= error * (abs(objective_target) + abs(objective_theta))
    regularizer = 0.5 * k_per_point * (penalty_theta - penalty_target)
    denominator = max_difference + regularizer
    denominator += 8 * EPS * (abs(max_difference) + 0.5 * k_per_point * (penalty_theta + penalty_target))
    if not (math.isfinite(numerator) and math.isfinite(denominator)) or numerator <= 0 or denominator <= 0:
        return LowerBound(0.0, 0, "trivial")
    # A quotient too large for a float is still a number: inf would say that no number of points suffices.
    value = min(numerator / denominator, sys.float_info.max) * (1 - 2 * EPS)
    return LowerBound(value, whole(value), "proved")
