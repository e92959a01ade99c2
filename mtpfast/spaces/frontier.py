"""The upper frontier of the image of a convex set in the plane, from linear maximisations over the set."""

from __future__ import annotations

import heapq
import math
from bisect import bisect

import numpy as np

__all__ = ["supported_frontier"]


BISECTIONS = 60  # of the slope, where a place on the frontier is looked for
NEAR = 1e-7  # of the width of the frontier: vertices are no nearer to one another


def supported_frontier(argmax, A, a0, P, p0, most, uphill=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices ``(m, p)`` of the frontier of ``(A . x + a0, P . x + p0)``, and the slopes between them.

    Every chord is asked for the point furthest beyond it, the one with the most room first, until none is left or
    ``most`` are found. Between them the frontier lies above the chords.

    Parameters
    ----------
    argmax : callable
        From coefficients (d,) to a point of the set where they are largest.
    uphill : callable, optional
        ``uphill(m, p, slope)``: whether what is sought lies to the right of a point of the frontier with that slope.
        Then there are vertices next to it, as near as slopes between them mean anything.
    """

    def vertex(a, p):
        x = argmax(a * A + p * P)
        return float(A @ x) + a0, float(P @ x) + p0

    left, right = vertex(-1.0, 0.0), vertex(1.0, 0.0)
    scale = max(float(np.max(np.abs(A), initial=0.0)), 1e-300), max(float(np.max(np.abs(P), initial=0.0)), 1e-300)
    for a in (-1.0, 1.0):  # of the points of least (largest) m the one of largest p, as far as can be told
        m, p = vertex(a / scale[0], 1e-9 / scale[1])
        if a < 0.0 and m <= left[0] + 1e-12 * (1.0 + abs(left[0])) and p > left[1]:
            left = m, p
        if a > 0.0 and m >= right[0] - 1e-12 * (1.0 + abs(right[0])) and p > right[1]:
            right = m, p
    if not right[0] > left[0]:
        top = max(left, right, key=lambda point: point[1])
        return np.array([top[0]]), np.array([top[1]]), np.empty(0)
    found, queue = [left, right], [(-math.inf, left, right)]
    while queue and len(found) < most:
        _, left, right = heapq.heappop(queue)
        width, height = right[0] - left[0], right[1] - left[1]
        norm = math.hypot(width, height)
        point = vertex(-height / norm, width / norm)
        beyond = ((point[1] - left[1]) * width - (point[0] - left[0]) * height) / norm
        if beyond > 1e-13 * (1.0 + abs(left[1]) + abs(right[1])) and left[0] < point[0] < right[0]:
            found.append(point)
            heapq.heappush(queue, (-beyond, left, point))
            heapq.heappush(queue, (-beyond, point, right))
    m, p, slopes = _concave(*np.array(sorted(found)).T)
    if uphill is not None and queue and len(slopes):
        return _concave(*np.array(sorted([*found, *_next_to(vertex, m, p, slopes, uphill)])).T)
    return m, p, slopes


def _next_to(vertex, m, p, slopes, uphill):
    """More vertices, next to where ``uphill`` turns, by bisection of the angle of the supporting line."""
    right = next((i for i in range(len(slopes)) if not uphill(m[i], p[i], slopes[i])), len(slopes))
    low = math.pi / 2 if right == 0 else math.atan(slopes[right - 1])  # the angle falls along the frontier
    high = -math.pi / 2 if right >= len(slopes) - 1 else math.atan(slopes[min(right + 1, len(slopes) - 1)])
    ends = [-math.inf, math.inf]  # the nearest vertices on both sides
    known, apart, more = m.tolist(), NEAR * (m[-1] - m[0]), []
    for _ in range(BISECTIONS):
        mid = 0.5 * (low + high)
        if not high < mid < low:
            break
        point = vertex(-math.sin(mid), math.cos(mid))
        at = bisect(known, point[0])
        if all(abs(point[0] - other) > apart for other in known[max(at - 1, 0) : at + 1]):
            known.insert(at, point[0])  # the slope between nearer ones would be rounding
            more.append(point)
        rises = uphill(*point, math.tan(mid))
        low, high = (mid, high) if rises else (low, mid)
        ends[0 if rises else 1] = point[0]
        if ends[1] - ends[0] <= apart:
            break
    return more


def _concave(m, p):
    """Points by increasing m without those below the chord of others: (m, p, slopes)."""
    keep = []
    for i in range(len(m)):
        if keep and m[i] == m[keep[-1]]:
            if p[i] <= p[keep[-1]]:
                continue
            keep.pop()
        while len(keep) > 1:
            a, b = keep[-2:]
            if (p[b] - p[a]) * (m[i] - m[a]) > (p[i] - p[a]) * (m[b] - m[a]):
                break
            keep.pop()
        keep.append(i)
    m, p = m[keep], p[keep]
    return m, p, np.diff(p) / np.diff(m)
