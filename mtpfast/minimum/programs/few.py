r"""Linear programs of a few columns and any number of rows, solved and solved again after rows were added.

.. math:: \min c \cdot x \quad \text{s.t.} \quad A x \le b, \; E x = f, \; l \le x

with c >= 0, and 0 where a column has no lower end. The dual simplex method over active rows (as many as there are
columns) begins where the columns lie on their ends: there every multiplier is the cost of its column, so no first phase
is needed, and after more rows it goes on where it was. One exchange is a product with A and a system of as many
equations as columns, so programs of six columns take a fraction of a millisecond.

An answer is given only where it is one: no row is violated by more than HiGHS would let through, and the multipliers
have the right signs and add up to the cost. Where that is not so there is none, and the caller asks HiGHS.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FewColumns"]


FEASIBLE, ROUNDING = 1e-10, 1e-13  # of a row whose largest entry is 1; and in units of the largest column
STEEP = 1e-9  # what an exchange needs of the row that enters, in units of the one that leaves
EXCHANGES = 300  # in one solution: more are a sign of going round
FAR = 1e12  # the ends of columns without any: a solution that needs them is none


class FewColumns:
    """Such a program, without rows at first. ``low``: -inf for a column without a lower end, whose cost must be 0."""

    def __init__(self, cost, low):
        n = len(cost)
        self.cost = np.asarray(cost, dtype=float)
        ends = np.where(np.isfinite(low), low, -FAR)
        self.far = np.flatnonzero(~np.isfinite(low))
        self.rows, self.right, self.units = -np.eye(n), -ends, np.ones(n)
        self.active = np.arange(n)

    def add(self, rows, right):
        """Rows ``rows x <= right``. Where one has nothing but zeros it must hold."""
        rows, right = np.atleast_2d(np.asarray(rows, dtype=float)), np.atleast_1d(np.asarray(right, dtype=float))
        if not len(right):
            return
        units = np.max(np.abs(rows), axis=1)
        units[units == 0.0] = 1.0
        self.rows = np.concatenate([self.rows, rows / units[:, None]])
        self.right = np.concatenate([self.right, right / units])
        self.units = np.concatenate([self.units, units])

    def solve(self):
        """``(x, multipliers of all rows added so far, >= 0)``; None where this method finds none."""
        rows, right, active = self.rows, self.right, self.active.copy()
        try:
            for _ in range(EXCHANGES):
                inverse = np.linalg.inv(rows[active])
                x, y = inverse @ right[active], -self.cost @ inverse
                over = rows @ x - right
                over[active] = 0.0
                worst = int(np.argmax(over))
                if not over[worst] > FEASIBLE + ROUNDING * float(np.max(np.abs(x))):
                    return self._answer(x, y, active)
                along = rows[worst] @ inverse  # the row that enters, as a sum of active ones
                can = np.flatnonzero(along > STEEP)
                if not len(can):
                    return None
                ratio = np.maximum(y[can], 0.0) / along[can]
                nearest = can[ratio <= ratio.min() * (1.0 + 1e-12)]
                active[nearest[np.argmax(along[nearest])]] = worst
        except np.linalg.LinAlgError:
            pass
        return None

    def _answer(self, x, y, active):
        n = len(self.cost)
        off = np.max(np.abs(y @ self.rows[active] + self.cost))
        if not (np.min(y) >= -FEASIBLE and off <= FEASIBLE) or np.isin(active, self.far).any():
            return None
        self.active = active
        multipliers = np.zeros(len(self.right))
        multipliers[active] = np.maximum(y, 0.0)
        return x, (multipliers / self.units)[n:]
