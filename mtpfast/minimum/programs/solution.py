"""What every program of the fractional minimum returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Place", "Solution", "directions_against"]


REWARDS = (1e-2, 1e-4, 1e-6, 1e-8, 0.0)  # for a point, against 1 per unit of residual


@dataclass(frozen=True, eq=False)
class Solution:
    """A fractional poisoning of least total count.

    Attributes
    ----------
    value : float
        The fractional minimum: the sum of the counts.
    direction : ndarray of shape (d + 1,)
        The multipliers v of the stationarity rows: what proves it, as far as it does.
    counts : ndarray of shape (3,)
        ``N+, N-, N0``: points of label +1, of label -1 and of zero loss. Of a pool: of every column.
    weights : ndarray of shape (2,) or None
        ``E+, E-``: the effective weights, the sums of ``w s`` of each label's points. None of a pool.
    means : tuple of two ndarrays of shape (d,), each or None
        The points of label +1 and -1; None for a label without weight, and where no coordinates are held.
    product : float
        ``M+ = E+ m+`` of a smooth loss; NaN where the program does not hold it.
    supply : ndarray of shape (d + 1,) or None
        What the two points supply of the stationarity rows, where no coordinates are held.
    """

    value: float
    direction: np.ndarray
    counts: np.ndarray
    weights: np.ndarray | None = None
    means: tuple = (None, None)
    product: float = math.nan
    supply: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Place:
    """Where the points of given whole counts may lie.

    ``sums``: the sum of each label's points, or None where no coordinates are held; ``t``: the values of the clean rows
    on the margin; ``room``: how far the margins stay below 1 and the t inside (0, 1).
    """

    sums: tuple | None
    t: np.ndarray
    room: float


def directions_against(elastic_direction):
    """Directions that may prove that a program is infeasible, most robust first.

    The stationarity rows are made elastic, at a price of 1 per unit of residual, against a reward for every point: that
    makes the direction strictly negative on all of them where this can be had. ``elastic_direction(reward)``: the
    multipliers, or None where the solver gave up.
    """
    for reward in REWARDS:
        direction = elastic_direction(reward)
        if direction is not None:
            yield direction
