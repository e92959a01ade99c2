"""The fractional minimum for the hinge on boxes where no clean row is on the margin: four columns, whatever d is."""

from __future__ import annotations

import numpy as np

from mtpfast.question import Setting

from .few import FewColumns
from .hinge import HingeProgram
from .solution import Solution

__all__ = ["NarrowHingeProgram"]


ROUNDS = 200  # of rows that the last solution violates
ENOUGH = 1e-9  # relative to the number of points: a row that is violated by less is held


class NarrowHingeProgram:
    """:class:`HingeProgram` with the coordinates eliminated, as in :class:`mtpfast.minimum.programs.wide`: the columns
    are ``N+, N-, N0, M+``, and the rows ``coef . (N+, N-, N0, M+) + q . r <= 0`` with ``r = G + pulls . N``.

    Its solution says what the points supply together, and not where they lie.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.few = few = FewColumns([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, -np.inf])
        d, G, pulls = len(setting.theta) - 1, setting.clean.gradient, setting.pulls
        (plus, minus), (a, b) = setting.both, setting.weights
        none = list(setting.idle_labels)
        if setting.a == 0.0 or not setting.has_zero_loss:
            none.append(2)
        few.add(np.eye(4)[none], np.zeros(len(none)))
        self.n_before = len(none)
        if setting.objective.fit_intercept:
            row = np.append(np.array([a, -b, 0.0]) - pulls[-1], 0.0)
            few.add([row, -row], [G[-1], -G[-1]])
            self.n_before += 2
        # r_j <= E+ u+_j - E- l-_j and r_j >= E+ l+_j - E- u-_j
        box = np.zeros((2 * d, 4))
        box[:d, 0], box[:d, 1] = -a * plus.upper, b * minus.lower
        box[d:, 0], box[d:, 1] = a * plus.lower, -b * minus.upper
        box[:d, :3] += pulls[:d]
        box[d:, :3] -= pulls[:d]
        few.add(box, np.append(-G[:d], G[:d]))
        self.q = []
        kinks = [max(1.0, setting.on_margin(sign) or 1.0) for sign in (1.0, -1.0)]
        self._add([-a * kinks[0], 0.0, 0.0, 1.0], np.zeros(d + 1))
        self._add([0.0, -b * kinks[1], 0.0, -1.0], setting.theta)  # M- = theta.r - M+

    def _add(self, coef, q):
        row = np.array(coef)
        row[:3] += q @ self.setting.pulls
        self.few.add(row, -float(q @ self.setting.clean.gradient))
        self.q.append(q)

    def solve(self) -> Solution | None:
        """The fractional minimum; None where the program is infeasible."""
        for _ in range(ROUNDS):
            found = self.few.solve()
            if found is None:
                break
            x, y = found
            if not self._cut(x):
                return Solution(float(x[:3].sum()), self._direction(y), x[:3], self.setting.weights * x[:2])
        return HingeProgram(self.setting).solve()

    def _cut(self, x):
        """Rows that x violates: M+ lies between the sums of the intervals' ends."""
        setting = self.setting
        w, b = setting.theta[:-1], setting.theta[-1]
        (plus, minus), r = setting.both, setting.clean.gradient[:-1] + setting.pulls[:-1] @ x[:3]
        (E, F), room, more = setting.weights * x[:2], ENOUGH * max(1.0, x[0] + x[1]), False
        for side in (1.0, -1.0):
            from_below = side * w > 0
            own, other = np.where(from_below, plus.lower, plus.upper), np.where(from_below, minus.lower, minus.upper)
            far = r + F * other
            take = np.where(from_below, far > E * own, far < E * own)
            if side * (float(w @ np.where(take, far, E * own)) + b * E - x[3]) > room:
                on = side * np.array([float((own * w)[~take].sum()) + b, float((other * w)[take].sum())])
                self._add(np.append(on * setting.weights, [0.0, -side]), np.append(side * w * take, 0.0))
                more = True
        return more

    def _direction(self, y):
        d, at = len(self.setting.theta) - 1, self.n_before
        v = -np.array(self.q).T @ y[at + 2 * d :]
        v[:d] -= y[at : at + d] - y[at + d : at + 2 * d]
        # the two rows of the intercept: a N+ - b N- <= r and >= r
        v[d] = v[d] + y[at - 2] - y[at - 1] if self.setting.objective.fit_intercept else 0.0
        return v
