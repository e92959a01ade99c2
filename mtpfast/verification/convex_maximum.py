r"""The largest loss difference over a convex region, apart from ``oracle/`` and from the region's own methods.

Of the region nothing is read but its description: bounds, planes, balls. The maximum of ``q . x`` is bounded by the
Lagrangian in which the ball stands squared,

.. math:: \max_x q \cdot x \le \min_{\lambda \ge 0,\, \mu \ge 0} \; \sum_i \lambda_i b_i + \frac{\mu}{2} r^2
          + \sum_j \max_{l_j \le x_j \le u_j} \bigl( (q - \textstyle\sum_i \lambda_i a_i)_j x_j
          - \frac{\mu}{2} (x_j - c_j)^2 \bigr),

every multiplier by a root of the constraint that belongs to it; without a ball by a linear program.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq, linprog

from mtpfast.arrays.streams import quietly

from .layers import Layers

__all__ = ["Image", "between_lines", "largest_in_convex"]


LINES = 200  # supporting lines of the image, at most
GRID = 257  # places of a chord at which the loss difference is looked at


def largest_in_convex(region, a, p, loss):
    """``(attained, proved)``: the largest ``phi(u) - phi(v)`` on chords between points of the region, and below its
    supporting lines."""
    return between_lines(Image(region, a, p, loss))


def between_lines(image):
    """``(attained, proved)`` of an image: between chords and supporting lines."""
    first, last = image.line(1.0, 0.0), image.line(0.0, 1.0)
    image.ends = -first[2], last[2]  # what is proved: where the lines touch is a solver's, and a little off
    cells = [(image.corner(first, last), first, last)]
    attained, closed = image.on_chord(first, last), -math.inf
    for _ in range(LINES):
        k = max(range(len(cells)), key=lambda i: cells[i][0], default=-1)
        if k < 0 or cells[k][0] <= max(closed, attained + 1e-10 * max(1.0, abs(attained))):
            break
        most, left, right = cells.pop(k)
        du, dv = right[3] - left[3], right[4] - left[4]
        length = math.hypot(du, dv)
        if length <= 1e-13 * (abs(left[3]) + abs(right[4])):
            closed = max(closed, most)
            continue
        new = image.line(dv / length, du / length)
        attained = max(attained, image.on_chord(left, new), image.on_chord(new, right))
        if not left[3] < new[3] < right[3]:  # nothing lies further beyond the chord, so that it touches in its middle
            new = (*new[:3], 0.5 * (left[3] + right[3]), 0.5 * (left[4] + right[4]))
            closed = max(closed, min(most, max(image.corner(left, new), image.corner(new, right))))
            continue
        cells += [(image.corner(left, new), left, new), (image.corner(new, right), new, right)]
    return attained, max([attained, closed, *(most for most, *_ in cells)])


class Image:
    """The region as it appears under the two scores. A line is (alpha, beta, height, u, v): ``-alpha u + beta v`` is at
    most ``height``, and about that at (u, v)."""

    def __init__(self, region, a, p, loss):
        self.region, self.a, self.p, self.loss = region, a, p, loss
        self.ends = -math.inf, math.inf

    def largest(self, q):
        """``(bound, x)``: see :func:`_largest`."""
        return _largest(self.region, q)

    def line(self, alpha, beta):
        top, x = self.largest(beta * self.p[:-1] - alpha * self.a[:-1])
        u, v = float(self.a[:-1] @ x + self.a[-1]), float(self.p[:-1] @ x + self.p[-1])
        return alpha, beta, top + beta * float(self.p[-1]) - alpha * float(self.a[-1]), u, v

    def on_chord(self, left, right):
        """The best value at places of a chord."""
        low, high = 0.0, 1.0
        best = -math.inf
        for _ in range(4):
            share = np.linspace(low, high, GRID)
            u, v = left[3] + share * (right[3] - left[3]), left[4] + share * (right[4] - left[4])
            values = self.loss.value(u) - self.loss.value(v)
            k = int(np.argmax(values))
            best = max(best, float(values[k]))
            low, high = share[max(k - 1, 0)], share[min(k + 1, GRID - 1)]
        return best

    def corner(self, left, right):
        """A bound of what lies below two lines, between the points where they touch."""
        determinant = left[0] * right[1] - right[0] * left[1]
        if determinant <= 1e-14:
            u, v = left[3], right[4]
        else:
            u = (left[1] * right[2] - right[1] * left[2]) / determinant
            v = (left[0] * right[2] - right[0] * left[2]) / determinant
            u, v = max(min(u, right[3]), self.ends[0]), min(max(v, left[4]), self.ends[1])
        # a touching point may be short of its line by rounding: start from the line
        return max(self.on(self._lifted(left), (u, v)), self.on((u, v), self._lifted(right)))

    @staticmethod
    def _lifted(line):
        alpha, beta, height, u, v = line
        beyond = max(0.0, height - (beta * v - alpha * u)) / (alpha * alpha + beta * beta)
        return u - alpha * beyond, v + beta * beyond

    def on(self, first, last):
        """A bound of the loss difference on a segment."""
        (u1, v1), (u2, v2) = first, last
        ends = self.loss.value(np.array([min(u1, u2), u1, u2])), self.loss.value(np.array([max(v1, v2), v1, v2]))
        if not (u2 > u1 and v2 > v1):
            return float(ends[0][0] - ends[1][0])
        search = Layers(self.loss, 1e-10)
        search.attained = float(np.max(ends[0][1:] - ends[1][1:]))
        most = search.on_edges(*(np.array([end]) for end in (u1, u2, v1, v2)), np.zeros(1))
        return max(search.attained, float(most[0]))


def _largest(region, q):
    """``(bound, x)``: no point of the region has a larger ``q . x``, and one that has it, but for rounding."""
    top = float(np.max(np.abs(q), initial=0.0))
    if top == 0.0:
        return 0.0, _within(region, q, len(region.planes))[1]
    bound, x = _by_program(region, q / top) if region.planes and not region.balls else (math.inf, None)
    if x is None:
        bound, x = _within(region, q / top, len(region.planes))
    return bound * top, x


def _by_program(region, q):
    """Without a ball: a linear program, and the bound that its multipliers prove. x is None where it finds none."""
    lower, width = region.lower, region.upper - region.lower
    A, b = (np.array(part) for part in zip(*region.planes, strict=True))
    size = np.maximum(np.max(np.abs(A * width), axis=1), 1e-300)[:, None]
    unit = max(float(np.max(np.abs(q * width))), 1e-300)
    heights, most = (b - A @ lower) / size[:, 0], {"maxiter": 1000 + 100 * A.size}
    result = quietly(linprog, -q * width / unit, A * width / size, heights, bounds=(0.0, 1.0), options=most)
    if result.status != 0:
        return math.inf, None
    multipliers = np.maximum(0.0, -result.ineqlin.marginals) * unit / size[:, 0]
    rest = q - multipliers @ A
    bound = float(multipliers @ b) + float(np.sum(np.maximum(rest * lower, rest * region.upper)))
    return bound + _rounding(region, np.abs(q) + multipliers @ np.abs(A), multipliers @ np.abs(b)), (
        lower + width * np.clip(result.x, 0.0, 1.0)
    )


def _rounding(region, coefficients, constant):
    """What rounding makes of a sum with terms of these sizes."""
    far = np.maximum(np.abs(region.lower), np.abs(region.upper))
    return (len(far) + 16) * 2.0**-52 * (float(coefficients @ far) + constant)


def _within(region, q, n):
    """The same over the first n planes, one multiplier inside the other."""
    if n == 0:
        return _largest_on_ball(region, q)
    a, b = region.planes[n - 1]
    room = _rounding(region, np.abs(a), abs(b))
    top, x = _within(region, q, n - 1)
    if float(a @ x) <= b + room or not np.any(a):
        return top, x
    points = {}

    def excess(multiplier):
        bound, point = _within(region, q - multiplier * a, n - 1)
        bound += multiplier * b + _rounding(region, np.abs(q) + multiplier * np.abs(a), multiplier * abs(b))
        points[multiplier] = bound, point
        return float(a @ point) - b - room

    high = max(float(np.max(np.abs(q))) / float(np.max(np.abs(a))), 1e-300)
    for _ in range(60):
        if excess(high) <= 0.0:
            break
        high *= 4.0
    else:
        return min(bound for bound, _ in points.values()), points[high / 4.0][1]
    points[0.0] = top, x
    brentq(excess, 0.0, high, xtol=1e-300, rtol=1e-15, maxiter=200, disp=False)
    bound = min(bound for bound, _ in points.values())
    beyond = {m: float(a @ point) - b - room for m, (_, point) in points.items()}
    left = max(m for m, e in beyond.items() if e > 0.0)
    right = min(m for m, e in beyond.items() if e <= 0.0)
    share = beyond[left] / (beyond[left] - beyond[right])
    return bound, (1.0 - share) * points[left][1] + share * points[right][1]


def _largest_on_ball(region, q):
    corner = np.where(q > 0.0, region.upper, region.lower)
    if not region.balls:
        return float(np.sum(q * corner)), corner
    ((center, radius),) = region.balls
    corner = np.where(q == 0.0, np.clip(center, region.lower, region.upper), corner)
    if float(np.linalg.norm(corner - center)) <= radius or not np.any(q):
        return float(np.sum(q * corner)), corner

    top = float(np.max(np.abs(q)))
    q = q / top

    def at(log_mu):
        return np.clip(center + q * math.exp(-log_mu), region.lower, region.upper)

    def beyond(log_mu):
        return float(np.linalg.norm(at(log_mu) - center)) - radius

    low, high = -40.0, 40.0 - math.log(max(radius, 1e-12))
    if beyond(low) <= 0.0 or beyond(high) >= 0.0:  # it touches, or is a point
        x = at(low if beyond(low) <= 0.0 else high)
        return top * (float(np.sum(q * corner)) if radius > 0.0 else float(q @ x)), x
    log_mu = brentq(beyond, low, high, xtol=1e-300, rtol=1e-15, maxiter=200, disp=False)
    x, mu = at(log_mu), math.exp(log_mu)
    return top * (float(q @ x) + 0.5 * mu * (radius * radius - float((x - center) @ (x - center)))), x
