"""The outline of what documents reach: the lower right of the image (u, v) of their hull, between supporting lines."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Outline"]


MAX_CALLS = 200  # supporting lines per label


class Support(NamedTuple):
    """All documents have ``-alpha u + beta v <= height``, with equality at ``point``."""

    alpha: float
    beta: float
    height: float
    point: tuple[float, float]
    value: float  # the loss difference of a document there, or next to it
    at: np.ndarray  # its counts without a norm, its row with one
    counts: np.ndarray  # with l1 1 for its word


class Cell(NamedTuple):
    """What lies between two neighbouring points of the outline: at most ``above`` of loss difference."""

    above: float
    left: Support
    right: Support
    closed: bool  # nothing lies beyond the chord


class Outline:
    """The lower right of the image of the convex set, between supporting lines."""

    def __init__(self, problem, known):
        self.problem, self.calls, self._heights = problem, 0, {}
        first, last = self._support(1.0, 0.0), self._support(0.0, 1.0)
        self.v_top = last.point[1]
        self.supports = [first, last]
        self.cells = [self._cell(first, last)]
        self.refine(known)

    def _support(self, alpha, beta):
        self.calls += 1
        problem, region = self.problem, self.problem.region
        gains = beta * problem.q_v - alpha * problem.q_u
        if region.norm == "l2":
            height, counts = region.best_document(gains)
            at = region.row(counts)
        else:
            at = region.extreme(gains)
        u, v = float(problem.q_u @ at) + problem.a0, float(problem.q_v @ at) + problem.p0
        own = beta * v - alpha * u
        if region.norm != "l2":
            return Support(alpha, beta, own, (u, v), problem.difference(u, v), at, at)
        # Where the search stopped short the line lies beyond the document: it is touched above it.
        beyond = max(0.0, height + beta * problem.p0 - alpha * problem.a0 - own)
        touch = u - alpha * beyond, v + beta * beyond
        return Support(alpha, beta, own + beyond, touch, problem.difference(u, v), at, counts)

    def _cell(self, left, right, beyond=None):
        """What lies between two supports; ``beyond``: no more than that far beyond their chord."""
        edge = self.problem.edge
        corner = _meet(left, right, self.supports[0].point[0], self.v_top)
        above = max(edge(left.point, corner)[0], edge(corner, right.point)[0])
        if beyond is not None:
            alpha, beta = self.chord_normal_of(left, right)
            (u, v), (u_end, v_end) = left.point, right.point
            first, last = (u - alpha * beyond, v + beta * beyond), (u_end - alpha * beyond, v_end + beta * beyond)
            above = min(above, edge(first, last)[0])
        return Cell(above, left, right, beyond is not None)

    def chord_normal(self, cell):
        return self.chord_normal_of(cell.left, cell.right)

    @staticmethod
    def chord_normal_of(left, right):
        du, dv = (b - a for a, b in zip(left.point, right.point, strict=True))
        length = math.hypot(du, dv)
        return (dv / length, du / length) if length > 0.0 else (left.alpha, left.beta)

    def normal(self):
        """Of a supporting line near the maximum."""
        return self.chord_normal(max(self.cells, key=lambda cell: cell.above))

    def height(self, normal):
        """Of the supporting line with this normal."""
        if normal not in self._heights:
            self._heights[normal] = self._support(*normal).height
        return self._heights[normal]

    @property
    def upper(self):
        """No point of the convex set exceeds this."""
        return max(cell.above for cell in self.cells)

    def refine(self, known):
        """Ask for supporting lines where the outline may still beat ``known`` and is not tight."""
        problem = self.problem
        while self.calls < MAX_CALLS:
            k = max(range(len(self.cells)), key=lambda i: self.cells[i].above)
            cell = self.cells[k]
            inner, _ = problem.edge(cell.left.point, cell.right.point)
            room = problem.tolerance(inner)
            if cell.closed or cell.above <= max(known, inner) + room:
                return
            du, dv = (b - a for a, b in zip(cell.left.point, cell.right.point, strict=True))
            length = math.hypot(du, dv)
            if length == 0.0:
                return
            new = self._support(dv / length, du / length)
            self.supports.append(new)
            chord = (cell.left.point[1] * du - cell.left.point[0] * dv) / length
            inside = cell.left.point[0] < new.point[0] < cell.right.point[0]
            if new.height <= chord + 1e-14 * (abs(chord) + length) or not inside:
                self.cells[k] = self._cell(cell.left, cell.right, max(0.0, new.height - chord))
            else:
                self.cells[k : k + 1] = [self._cell(cell.left, new), self._cell(new, cell.right)]


def _meet(left, right, u_least, v_most):
    """Where two supporting lines meet: no further to the upper left than the first and the last line."""
    determinant = left.alpha * right.beta - right.alpha * left.beta
    if determinant <= 1e-15:
        return left.point[0], right.point[1]
    v = (left.alpha * right.height - right.alpha * left.height) / determinant
    minus_u = (right.beta * left.height - left.beta * right.height) / determinant
    return max(min(-minus_u, right.point[0]), u_least), min(max(v, left.point[1]), v_most)
