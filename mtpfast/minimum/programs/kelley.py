"""Cutting planes: a program over tangents of ``h = 1 / s``, cut where its last solution violates them (Kelley)."""

from __future__ import annotations

import numpy as np

from .solution import Solution, directions_against

__all__ = ["TangentProgram"]


MOST_CUTS = 60  # rounds of them


class TangentProgram:
    """A smooth loss, whose constraints ``w_y N_y >= E_y h(M_y / E_y)`` are replaced by tangents of h.

    A subclass has the rows. ``_lp(fixed, elastic)`` solves them; ``_read(res)`` gives ``(weights, counts, products)``
    of the solution; ``_cut(res)`` adds the other rows that it violates, and returns by how much;
    ``_add_tangent(y, margin)`` adds a tangent for label y (0 for +1, 1 for -1); ``_solution(res)`` puts the
    :class:`Solution` together. ``n_between``: so many tangents between the last two solutions of a label.
    """

    n_between = 1

    def remainder(self, counts):
        """``r`` for so many points, ``(N+, N-, N0)``."""
        return self.setting.clean.gradient + self.setting.load(counts)

    def margin_of(self, n, E):
        """The margin at which rows of weight n have effective weight E."""
        return self.loss.margin_of(E / n)

    def solve(self, fixed=None, elastic=None) -> Solution | None:
        """The fractional minimum; None where the program is infeasible.

        ``fixed``: ``(N+, N-, N0)`` are given, and the effective weight is the largest. ``elastic``: the least residual
        in the 1-norm, less so much per point.
        """
        memory = [], []
        for _ in range(MOST_CUTS):
            res = self._lp(fixed, elastic)
            if res.status != 0:
                return None
            weights, counts, products = self._read(res)
            worst, scale = self._cut(res), max(1.0, counts[0] + counts[1])
            for y in (0, 1):
                if weights[y] <= 1e-11 * scale:
                    continue
                margin = float(products[y] / weights[y])
                constant, kappa = self.loss.tangent(margin)
                gap = weights[y] * (constant + kappa * margin) - self.setting.weights[y] * counts[y]
                worst = max(worst, gap)
                if gap > 1e-12 * scale:
                    self._add_tangent(y, margin)
                    memory[y].append(margin)
                    if len(memory[y]) > 1:  # solutions jump from side to side of the optimum: cut between, too
                        for between in np.linspace(*memory[y][-2:], self.n_between + 2)[1:-1]:
                            self._add_tangent(y, float(between))
            if worst <= 1e-9 * scale:
                break
        return self._solution(res)

    def farkas(self):
        """Directions that may prove infeasibility, most robust first."""

        def direction(reward):
            solution = self.solve(elastic=reward)
            return None if solution is None else solution.direction

        return directions_against(direction)
