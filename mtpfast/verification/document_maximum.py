"""The largest loss difference over documents: of whole counts by mixed-integer programs, under a norm by their hull."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from mtpfast.arrays.streams import quietly

from .layers import Layers

__all__ = ["largest_of_counts", "largest_of_documents"]


NODES, PROGRAMS = 20_000, 60  # of the mixed-integer solver, for one maximum: what is left open shows in its bound
UNITS = 1e5  # of the objective handed to the mixed-integer solver, which drops slopes below 1e-7


def largest_of_counts(region, a, p, loss, tol=1e-8):
    """``max phi(u) - phi(v)`` over documents of whole counts, by mixed-integer programs.

    -phi(v) is concave: it lies below its tangents. phi(u) is convex: for u in an interval it lies below its
    chord. With both the maximum over the documents with u in that interval is a linear program over whole
    variables. Where its answer is not tight enough, the tangent at its v is added, and the interval is split at
    its u; until both meet, or ``PROGRAMS`` programs or ``NODES`` nodes are spent.
    """
    high = region.max_count
    U, V, low = region.idf * a[:-1], region.idf * p[:-1], np.zeros(len(high))
    u_ends, v_ends = (
        [base + float(np.sum(np.minimum(0.0, c * high))), base + float(np.sum(np.maximum(0.0, c * high)))]
        for base, c in ((a[-1], U), (p[-1], V))
    )
    t_low, t_high = -loss.value(np.array(v_ends))  # the variable that stands for -phi(v)
    tangents = np.linspace(*v_ends, 9).tolist()
    kinks = [1.0] if u_ends[0] < 1.0 < u_ends[1] else []
    attained = finished = better = -math.inf
    open_parts = [(math.inf, part) for part in pairwise([u_ends[0], *kinks, u_ends[1]])]
    nodes, programs = NODES, PROGRAMS
    dropped = 1e-7 / UNITS * float(np.sum(high))  # by the solver's tolerance of a reduced cost
    while open_parts and nodes > 0 and programs > 0:
        open_parts.sort()
        known, (left, right) = open_parts.pop()
        phi_left, phi_right = float(loss.value(np.array(left))), float(loss.value(np.array(right)))
        slope = (phi_right - phi_left) / (right - left) if right > left else 0.0
        start = phi_left + slope * (a[-1] - left)
        at = np.array(tangents)
        value, rate = loss.value(at), loss.derivative(at)  # t <= -phi(s) - phi'(s) (v - s)
        cuts = sp.csr_matrix(np.column_stack([rate[:, None] * V[None, :], np.ones(len(at))]))
        constraints = [
            LinearConstraint(cuts, -np.inf, -value - rate * (p[-1] - at)),
            LinearConstraint(np.append(U, 0.0)[None, :], left - a[-1], right - a[-1]),
            LinearConstraint(np.append(slope * U, 1.0)[None, :], better - start, np.inf),
            LinearConstraint(np.append(np.ones(len(U)), 0.0)[None, :], region.min_length, region.max_length),
        ]
        answer = quietly(
            milp,
            -UNITS * np.append(slope * U, 1.0),
            integrality=np.append(np.ones(len(U)), 0),
            bounds=Bounds(np.append(low, t_low), np.append(high, t_high)),
            constraints=constraints,
            options={"mip_rel_gap": 1e-9, "node_limit": max(1, min(1000, nodes))},
        )
        nodes, programs = nodes - (answer.mip_node_count or 0), programs - 1
        if answer.status == 2:  # no document with its u here is better than the best one known
            finished = max(finished, better)
            continue
        if answer.x is None:  # given up: what was known of the piece stands
            finished = max(finished, known)
            continue
        q = np.rint(answer.x[:-1])
        bound = min(known, start - float(answer.mip_dual_bound) / UNITS + dropped)
        u, v = a[-1] + float(U @ q), p[-1] + float(V @ q)
        attained = max(attained, float(loss.value(np.array(u)) - loss.value(np.array(v))))
        better = attained + tol * max(1.0, abs(attained))
        # The hinge is linear on either side of its kink, and so are its tangents: nothing is left to split.
        narrow = right - left <= 1e-6 * (u_ends[1] - u_ends[0])
        if loss.kinked or narrow or bound <= better:
            finished = max(finished, bound)
            continue
        tangents.append(v)
        margin = 0.01 * (right - left)
        middle = min(max(u, left + margin), right - margin)
        open_parts += [(bound, (left, middle)), (bound, (middle, right))]
    return attained, max([finished, attained, *(bound for bound, _ in open_parts)])


def largest_of_documents(region, a, p, loss):
    """What documents under a norm attain, at one found, and what the hull of their images (u, v) allows.

    The lower right of that hull lies between its supporting lines and the chords of the documents that touch them.
    The largest value on the lines is the bound; where it is, the line parallel to the chord is drawn. Where documents
    are few, all are looked at.
    """
    hull = _DocumentHull(region, a, p, loss)
    lines = [hull.line(1.0, 0.0), hull.line(0.0, 1.0)]
    closed = -math.inf
    cells = [(hull.corner(*lines), *lines)]
    for _ in range(300):
        k = max(range(len(cells)), key=lambda i: cells[i][0], default=-1)
        if k < 0 or cells[k][0] <= closed:
            break
        above, left, right = cells.pop(k)
        du, dv = right.u - left.u, right.v - left.v
        length = math.hypot(du, dv)
        new = hull.line(dv / length, du / length) if length > 0.0 else left
        beyond = new.height - (dv * -left.u + du * left.v) / length if length > 0.0 else 0.0
        if length == 0.0 or beyond <= 1e-10 * (abs(left.u) + abs(right.v) + length) or not left.u < new.u < right.u:
            # Nothing lies further than that beyond the chord.
            shift_u, shift_v = (max(0.0, beyond) * part / length if length > 0.0 else 0.0 for part in (dv, du))
            chord = (left.u - shift_u, left.v + shift_v), (right.u - shift_u, right.v + shift_v)
            closed = max(closed, min(above, hull.on(*chord)))
        else:
            cells += [(hull.corner(left, new), left, new), (hull.corner(new, right), new, right)]
    proved = max([closed, *(above for above, *_ in cells)])
    attained = hull.climb()
    if proved > attained + 1e-9 * max(1.0, abs(attained)):
        every = _all_documents(region)
        if every is not None:
            proved = attained = max(attained, float(np.max(hull.values(every))))
    return attained, max(attained, proved)


class _Line(NamedTuple):
    """``-alpha u + beta v <= height`` of every document; (u, v) is on it: a document's, or next to that of one."""

    alpha: float
    beta: float
    height: float
    u: float
    v: float


class _DocumentHull:
    """The documents of a region as they appear under the two scores."""

    def __init__(self, region, a, p, loss):
        self.region, self.a, self.p, self.loss = region, a, p, loss
        self.value, self.counts = -math.inf, None  # of the best document met
        self.ends = [math.inf, -math.inf]  # the least u, the largest v

    def values(self, counts):
        """The loss difference of documents: ndarray of shape (n,)."""
        rows = counts * self.region.idf
        size = rows.sum(axis=1) if self.region.norm == "l1" else np.linalg.norm(rows, axis=1)
        rows /= np.where(size > 0.0, size, 1.0)[:, None]
        u, v = rows @ self.a[:-1] + self.a[-1], rows @ self.p[:-1] + self.p[-1]
        return self.loss.value(u) - self.loss.value(v)

    def line(self, alpha, beta):
        top, counts = _best_of_normed(self.region, beta * self.p[:-1] - alpha * self.a[:-1])
        value = float(self.values(counts[None])[0])
        if value > self.value:
            self.value, self.counts = value, counts
        row = counts * self.region.idf
        size = row.sum() if self.region.norm == "l1" else np.linalg.norm(row)
        row = row / size if size > 0.0 else row
        u, v = float(row @ self.a[:-1] + self.a[-1]), float(row @ self.p[:-1] + self.p[-1])
        height = top + beta * float(self.p[-1]) - alpha * float(self.a[-1])
        beyond = max(0.0, height - (beta * v - alpha * u))
        line = _Line(alpha, beta, height, u - alpha * beyond, v + beta * beyond)
        self.ends = [min(self.ends[0], line.u), max(self.ends[1], line.v)]
        return line

    def corner(self, left, right):
        """A bound of what lies between two touching points: on both lines, to where they meet."""
        determinant = left.alpha * right.beta - right.alpha * left.beta
        if determinant <= 1e-14:
            u, v = left.u, right.v
        else:
            u = (left.beta * right.height - right.beta * left.height) / determinant
            v = (left.alpha * right.height - right.alpha * left.height) / determinant
            u, v = max(min(u, right.u), self.ends[0]), min(max(v, left.v), self.ends[1])
        return max(self.on((left.u, left.v), (u, v)), self.on((u, v), (right.u, right.v)))

    def on(self, first, last):
        """A bound of the loss difference on a segment."""
        search = Layers(self.loss, 1e-10)
        (u1, v1), (u2, v2) = first, last
        ends = self.loss.value(np.array([min(u1, u2), u1, u2])), self.loss.value(np.array([max(v1, v2), v1, v2]))
        if not (u2 > u1 and v2 > v1):
            return float(ends[0][0] - ends[1][0])
        search.attained = float(np.max(ends[0][1:] - ends[1][1:]))
        most = search.on_edges(*(np.array([end]) for end in (u1, u2, v1, v2)), np.zeros(1))
        return max(search.attained, float(most[0]))

    def climb(self):
        """The best document met, one word more or fewer as long as that pays: its loss difference."""
        region, few = self.region, np.argsort(-np.abs(self.a[:-1]) - np.abs(self.p[:-1]), kind="stable")[:300]
        for _ in range(50):
            words = np.union1d(few, np.flatnonzero(self.counts))
            tried = np.repeat(self.counts[None], 2 * len(words), axis=0)
            tried[np.arange(len(words)), words] += 1.0
            tried[len(words) + np.arange(len(words)), words] -= 1.0
            length = tried.sum(axis=1)
            kept = np.all((tried >= 0.0) & (tried <= region.max_count), axis=1)
            tried = tried[kept & (length >= region.min_length) & (length <= region.max_length)]
            values = self.values(tried)
            if not np.max(values, initial=-math.inf) > self.value:
                break
            self.value, self.counts = float(np.max(values)), tried[np.argmax(values)]
        return self.value


def _best_of_normed(region, pull):
    """``(top, counts)``: a bound of ``pull . x`` over the documents of a norm, and one that attains it or nearly.

    With l1 a document of one word is best. With l2 it is the largest ``G / sqrt(W)``, G = sum g_j c_j and
    W = sum w_j c_j^2, g = pull idf, w = idf^2. For every mu the best ``G - mu W`` takes the uses of words that gain
    most: the k-th of word j gains ``g_j - mu w_j (2 k - 1)``. As mu falls from the rate of one use,
    ``g_j / w_j (2 k - 1)``, to the next, these documents follow each other, and one of them is the best of all: where
    G <= t sqrt(W) is a convex set of (G, W), it holds for all documents if it does for these. Once the length
    limit binds they are found piece by piece; between two values of mu the square of the largest, the best
    ``4 mu (G - mu W)``, lies below that of the chord.
    """
    counts, usable = np.zeros(len(pull)), region.max_count > 0.0
    j = int(np.argmax(np.where(usable, pull, -math.inf)))
    if pull[j] <= 0.0 or region.norm == "l1":
        counts[j] = 1.0 if region.min_length or pull[j] > 0.0 else 0.0
        return float(pull[j] * counts[j]), counts
    often = np.where(usable & (pull > 0.0), np.minimum(region.max_count, region.max_length), 0.0).astype(int)
    ball = float(np.linalg.norm(pull[usable & (pull > 0.0)]))
    if often.sum() > 1_000_000:
        counts[j] = 1.0
        return ball, counts
    word = np.repeat(np.arange(len(pull)), often)
    odd = 2.0 * (np.arange(len(word)) - np.repeat(np.cumsum(often) - often, often)) + 1.0
    gain, weight = (pull * region.idf)[word], region.idf[word] ** 2 * odd
    most = region.max_length
    order = np.argsort(-gain / weight, kind="stable")
    first = order[:most]
    G, W = np.cumsum(gain[first]), np.cumsum(weight[first])
    n = int(np.argmax(G / np.sqrt(W)))
    best, chosen = float(G[n] / math.sqrt(W[n])), first[: n + 1]
    top = best
    if len(order) > most:
        mu = float((gain / weight)[first[-1]])
        parts = [(0.0, float(np.sum(np.sort(gain)[-most:])), mu, float(G[-1] - mu * W[-1]))]
        for left in range(200, -1, -1):
            if not parts:
                break
            low, F_low, high, F_high = parts.pop()
            slope = (F_high - F_low) / (high - low)
            at = min(max(0.5 * (low - F_low / slope), low), high) if slope < 0.0 else high
            square = 4.0 * at * (F_low + slope * (at - low))
            if square <= best * best * (1.0 + 1e-9) or not left or not low < at < high:
                top = max(top, math.sqrt(max(0.0, square)))
                continue
            worth = gain - at * weight
            uses = np.argsort(-worth, kind="stable")[:most]
            uses = uses[worth[uses] > 0.0]
            found = float(np.sum(gain[uses])) / math.sqrt(float(np.sum(weight[uses])))
            if found > best:
                best, chosen = found, uses
            value = float(np.sum(worth[uses]))
            parts += [(low, F_low, at, value), (at, value, high, F_high)]
        top = max([top, *(ball for _ in parts)])
    np.add.at(counts, word[chosen], 1.0)
    return max(best, min(top, ball)), counts


def _all_documents(region, limit=2_500_000):
    """The counts of every document, or None where a table of them has more than ``limit`` entries."""
    counts = np.zeros((1, len(region.idf)))
    for j in np.flatnonzero(region.max_count > 0.0):
        more = [counts]
        for k in range(1, int(region.max_count[j]) + 1):
            again = counts[counts.sum(axis=1) + k <= region.max_length].copy()
            if not len(again):
                break
            again[:, j] = k
            more.append(again)
        if sum(map(len, more)) * len(region.idf) > limit:
            return None
        counts = np.concatenate(more)
    return counts[counts.sum(axis=1) >= region.min_length]
