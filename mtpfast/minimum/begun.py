"""How many points an attack needs that begins with given ones."""

from __future__ import annotations

import math

import numpy as np

from mtpfast.proofs.bounds import whole
from mtpfast.proofs.certificate import Certificate
from mtpfast.proofs.poison_maximum import pool_gains
from mtpfast.spaces.pool import CandidatePool

__all__ = ["Begun"]


AT_ONCE = 16  # points looked at together


class Begun:
    """The bound of a certificate for attacks that hold the points added so far.

    A direction v proves ``sum nu_k v.g_k >= b`` for every attack (b the numerator of its bound, for all models in its
    ball), with ``v.g_k <= D``. So an attack with the points ``g_1 .. g_j`` has at least

        j + (b - v.g_1 - ... - v.g_j) / D

    points in all, where every v.g_k is its largest in the ball.
    """

    def __init__(self, certificate: Certificate | None):
        self.goal = None
        self.waiting, self.n, self.left = [], 0, math.inf
        rounding = None if certificate is None else certificate.rounding
        if rounding is None or certificate.kind != "direction" or certificate.feasible_set.max_repeats is not None:
            return
        self.left, self.most = (
            rounding.numerator - rounding.numerator_error,
            rounding.denominator + rounding.denominator_error,
        )
        if self.left > 0.0 and 0.0 < self.most < math.inf:
            self.goal = certificate.goal
            v = certificate.direction / np.max(np.abs(certificate.direction))  # the unit of the certificate's numbers
            self.v = v if self.goal.objective.fit_intercept else np.append(v[:-1], 0.0)

    def add(self, x, label) -> bool:
        """Take note of one more point; True if something new is known."""
        if self.goal is None:
            return False
        self.waiting.append((np.array(x, dtype=float), label))
        if len(self.waiting) < AT_ONCE:
            return False
        points, labels = zip(*self.waiting, strict=True)
        goal, self.waiting = self.goal, []
        pool = CandidatePool(np.array(points), np.array(labels))
        gains = pool_gains(self.v, goal.theta_target, goal.objective, pool, goal.tol, goal.margin_tol)
        self.left -= float(gains.sum()) + 1e-12 * float(np.abs(gains).sum())
        self.n += len(gains)
        return True

    @property
    def n_points(self) -> int:
        """So many at least."""
        return 0 if self.goal is None else self.n + whole(max(0.0, self.left) / self.most)
