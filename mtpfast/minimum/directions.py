"""Between directions whose bounds for a ball of models are known, one with a larger bound."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["ball_direction"]


#: Between two directions so many more are tried at most, while they may prove more by this share.
BETWEEN, GAINS = 24, 1e-5


def ball_direction(prove_for, starts, between=True):
    """Of directions, or of those ``between`` two of them, one with a large bound for a ball; None without any.

    ``prove_for(v)``: the bound that v proves, and what it is the quotient of (:class:`Rounding`): a concave and a
    convex function of v. So it is one hill, and between two directions, where often most of the way is, the values
    known bound the others: the search ends where these say that nothing is left to gain.
    """
    best = (0.0, None)

    def value(v):
        """(numerator, denominator) at v."""
        nonlocal best
        found, parts = prove_for(v)
        if best[1] is None or found > best[0]:
            best = (found, v.copy())
        size = float(np.max(np.abs(v)))  # the parts are those of v / size
        return size * parts.numerator, size * parts.denominator

    known = [(np.asarray(start, dtype=float), value(np.asarray(start, dtype=float))) for start in starts]
    first, v = best
    if first <= 0.0 or math.isinf(first) or not between:
        return v
    for other, parts in known:
        start = best[1]
        lengths = float(np.linalg.norm(start)), float(np.linalg.norm(other))
        one, two = start / lengths[0], other / lengths[1]
        if np.array_equal(start, other):
            continue
        seen = [(0.0, *value(one)), (1.0, *(part / lengths[1] for part in parts))]
        for _ in range(BETWEEN):
            t = _promising(seen, best[0] * (1.0 + GAINS))
            if t is None:
                break
            seen = sorted([*seen, (t, *value((1.0 - t) * one + t * two))])
            if math.isinf(best[0]):
                return best[1]
    return best[1]


def _promising(seen, least):
    """Where in [0, 1] a quotient could be largest, by its concave numerators and convex denominators at some places;
    None if it is nowhere above ``least``."""
    if len(seen) == 2:
        return 0.5
    t, numerators, denominators = np.array(seen).T
    slopes = np.diff(numerators) / np.diff(t), np.diff(denominators) / np.diff(t)
    top, place = least, None
    for i in range(len(t) - 1):  # beyond their ends the chords of the neighbours bound both
        at = np.linspace(t[i], t[i + 1], 33)[1:-1]
        above, below = np.full(len(at), np.inf), np.full(len(at), -np.inf)
        for j, k in ((i - 1, i), (i + 1, i + 1)):
            if 0 <= j < len(t) - 1:
                above = np.minimum(above, numerators[k] + slopes[0][j] * (at - t[k]))
                below = np.maximum(below, denominators[k] + slopes[1][j] * (at - t[k]))
        quotients = np.where(below > 0.0, above / np.where(below > 0.0, below, 1.0), np.where(above > 0.0, np.inf, 0.0))
        largest = int(np.argmax(quotients))
        if quotients[largest] > top:
            top, place = quotients[largest], at[largest]
            if math.isinf(top):
                place = 0.5 * (t[i] + t[i + 1])
    return place
