r"""The largest loss difference of records inside a ball and slabs, apart from ``oracle/`` and the region's own methods.

Of the region nothing is read but its description: bounds, lattices, groups, slabs, ball. With the rules as
``g_i(x) <= 0`` the bound is the Lagrangian's,

.. math:: \max_x q \cdot x \le D(\lambda) = \max_{x \in R} \bigl( q \cdot x - \textstyle\sum_i \lambda_i g_i(x) \bigr),
          \qquad \lambda \ge 0,

every feature and group by the values that it can take; its least value by cutting planes, a linear program of as many
variables as there are rules, whose multipliers mix the records into a point that keeps them on average.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linprog

from mtpfast.arrays.streams import quietly

from .convex_maximum import Image, between_lines

__all__ = ["largest_in_cut"]


CUTS = 60
FAR = 1e4  # multipliers are no larger, in units of the largest coefficient and rule


def largest_in_cut(region, a, p, loss):
    """``(attained, proved)``: the largest ``phi(u) - phi(v)`` of the records that were met and pass, and a bound."""
    image = _Image(region, a, p, loss)
    proved = between_lines(image)[1]
    attained = max([-math.inf, *image.values])
    return attained, max(proved, attained)


class _Image(Image):
    """As of a convex region, whose points are mixtures of records."""

    def __init__(self, region, a, p, loss):
        super().__init__(region, a, p, loss)
        self.values = []

    def largest(self, q):
        bound, mixture, records = _largest(self.region, q)
        u, v = (records @ model[:-1] + model[-1] for model in (self.a, self.p))
        self.values += (self.loss.value(u) - self.loss.value(v)).tolist()
        return bound, mixture


def _largest(region, q):
    """``(bound, mixture, records)``: no record inside has a larger ``q . x``; the mixture of records that has as much
    and keeps the rules on average; the records that were met and keep them."""
    rules = _rules(region)
    unit = max(float(np.max(np.abs(q), initial=0.0)), 1e-300)
    bound, x = _dual(region, q, rules, np.zeros(len(rules)))
    records, excess = [x], [_excess(x, rules)]
    sizes = np.array([rule[-1] for rule in rules])
    mixture = x
    for _ in range(CUTS if len(rules) else 0):
        X = np.array(records)
        # the least t and multipliers with t >= q . x - multipliers . g(x) at the records met
        A = np.column_stack([-np.array(excess) / sizes, -np.ones(len(X))])
        limits = [(0.0, FAR)] * len(rules) + [(None, None)]
        program = quietly(linprog, np.append(np.zeros(len(rules)), 1.0), A, -(X @ q) / unit, bounds=limits)
        if program.status != 0:
            break
        weights = np.maximum(0.0, -program.ineqlin.marginals)
        mixture = weights @ X / max(float(weights.sum()), 1e-300)
        value, x = _dual(region, q, rules, np.maximum(0.0, program.x[:-1]) * unit / sizes)
        bound = min(bound, value)
        if value <= program.x[-1] * unit + 1e-10 * unit * float(np.max(np.abs(X)) + 1.0):
            break
        records.append(x)
        excess.append(_excess(x, rules))
    inside = np.all(np.array(excess).reshape(len(records), -1) <= 0.0, axis=1)
    return bound, mixture, np.array(records)[inside]


def _rules(region):
    """Rules ``a . x + mu |x - c|^2 <= b`` as (a, mu, c, b, size), without those that are ``0 <= 0``."""
    zero, far = np.zeros(len(region.lower)), np.maximum(np.abs(region.lower), np.abs(region.upper))
    rules = []
    for a, low, high in region.slabs:
        for sign, end in ((1.0, high), (-1.0, -low)):
            if math.isfinite(end):
                rules.append((sign * a, 0.0, zero, end, float(np.abs(a) @ far) + abs(end)))
    for center, radius in region.balls:
        size = float(np.sum((far + np.abs(center)) ** 2)) + radius * radius
        rules.append((zero, 1.0, center, radius * radius, size))
    return [rule for rule in rules if rule[-1] > 0.0]


def _excess(x, rules):
    return [float(a @ x) + mu * float((x - center) @ (x - center)) - b for a, mu, center, b, _ in rules]


def _dual(region, q, rules, multipliers):
    """``D``, rounded up, and the record where it is attained."""
    rest, constant, mu, center, terms = q.copy(), 0.0, 0.0, np.zeros(len(q)), 0.0
    for (a, round_, c, b, size), t in zip(rules, multipliers, strict=True):
        rest, constant, terms = rest - t * a, constant + t * b, terms + t * size
        if round_:
            mu, center = t, c

    def worth(x):
        return rest * x - mu * (x - center) ** 2

    x = np.where(rest > 0.0, region.upper, region.lower)
    if mu > 0.0:
        x = np.clip(center + rest / (2.0 * mu), region.lower, region.upper)
        j = np.flatnonzero(region.step > 0.0)
        below = region.origin[j] + np.floor((x[j] - region.origin[j]) / region.step[j]) * region.step[j]
        pair = [x.copy(), x.copy()]
        pair[0][j], pair[1][j] = (np.clip(v, region.lower[j], region.upper[j]) for v in (below, below + region.step[j]))
        x = np.where(worth(pair[0]) >= worth(pair[1]), *pair)
    for group in region.groups:
        columns = group.columns
        gains = rest[columns] * (group.on - group.off)
        gains -= mu * ((group.on - center[columns]) ** 2 - (group.off - center[columns]) ** 2)
        x[columns] = group.off
        best = int(np.argmax(gains))
        if group.exactly or gains[best] > 0.0:
            x[columns[best]] = group.on[best]
    terms += float(np.abs(q) @ np.maximum(np.abs(region.lower), np.abs(region.upper)))
    return float(np.sum(worth(x))) + constant + (len(x) + 16) * 2.0**-51 * terms, x
