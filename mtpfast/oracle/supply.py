"""What may still be added: candidates of a pool can run out."""

from __future__ import annotations

import numpy as np

from mtpfast.losses.margin import Loss

from .difference import LossDifference
from .pool import scan_pool
from .rest import resting_points
from .search import find_point

__all__ = ["Supply"]


class Supply:
    """What an attack may still add: a pool with ``max_repeats`` runs out, any other feasible set never does.

    The loss-based distance is a maximum over the feasible set, whatever has been used of it;
    ``max_repeats`` limits what may still be added. :meth:`find` says both, in one read of the pool.
    The clean rows X and the target, if given, say where features rest that move no score.
    """

    def __init__(self, feasible_set, X=None, theta_target=None):
        self.feasible_set = feasible_set
        self.rest = None
        self.cap = feasible_set.max_repeats
        self._found = self._regions = None
        if X is not None and not feasible_set.is_finite:
            self._regions = feasible_set.regions(X.shape[1])
            if all(region.at_rest is not None for region in self._regions.values()):
                self.rest = resting_points(self._regions, theta_target, X)
        if self.cap is not None:
            self._used = {}  # (row, label) -> copies
            self._spent = np.zeros(feasible_set.X.shape[0], dtype=np.uint8)

    def find(
        self, theta, theta_target, loss: Loss, weights=None, effort=1
    ) -> tuple[LossDifference, LossDifference | None]:
        """The largest loss difference of the whole feasible set, and of what is left of it (None: nothing).

        ``weights``: of the labels -1 and +1, None for 1. ``effort``: so many times the nodes."""
        if self.cap is None:
            if self._regions is None and not self.feasible_set.is_finite:
                self._regions = self.feasible_set.regions(theta.size - 1)
            known = {"regions": self._regions, "rest": self.rest, "weights": weights, "effort": effort}
            whole = find_point(theta, theta_target, self.feasible_set, loss, **known)
            return whole, whole
        self.feasible_set.check(theta.size - 1)
        parts = scan_pool(theta, theta_target, self.feasible_set, loss, self._spent, weights)
        whole = max(filter(None, parts), key=lambda best: best[2].value)[2]
        if parts[0] is None:
            self._found = None
            return whole, None
        *self._found, left = parts[0]
        return whole, left

    def take(self, count: int) -> int:
        """Use ``count`` copies of the point last found, or as many as there are: how many."""
        return count if self.cap is None else self._take(*self._found, count)

    def use(self, points, labels, counts) -> None:
        """Take note of points that are in use already: the first of equal candidates first, as :meth:`find` does."""
        if self.cap is None or not len(labels):
            return
        signs = self.feasible_set.signs()
        for rows, label, copies in zip(self.feasible_set.rows_equal(points), labels, counts, strict=True):
            left = int(copies)
            for row in rows:
                if left and (signs is None or signs[row] == label):
                    left -= self._take(int(row), float(label), left)
            if left:
                raise ValueError(
                    f"feasible_set has max_repeats={self.cap}, which is {left} too few for a point used {copies} times"
                )

    def _take(self, row, label, count):
        used = self._used.get((row, label), 0)
        count = min(count, self.cap - used)
        self._used[row, label] = used + count
        if used + count == self.cap:
            self._spent[row] |= 1 if label > 0 else 2
        return count
