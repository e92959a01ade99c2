"""The document of largest loss difference: an outline of what documents can reach, then words.

A document enters through ``u = y theta . x~`` and ``v = y theta_target . x~``; the loss difference
``phi(u) - phi(v)`` falls in u and rises in v. So only the lower right of the image of the documents'
hull counts (see ``spaces/documents.py``), and of that only where it can still beat the best document known:
the outline is drawn between supporting lines, each from one linear maximisation over the documents, and
refined there. Its maximum is the bound, its vertices are documents. The best of them are improved word by
word; without a norm a search over the words that hardly matter for the supporting line at the maximum
(their *reduced costs*) closes the rest. Where there are few documents, all are looked at.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mtpfast.losses.margin import HINGE, LOG_LOSS, SQUARED_HINGE, Loss
from mtpfast.spaces.document_region import DocumentRegion

__all__ = ["NEAR", "find_document"]


MAX_CALLS = 200  # supporting lines per label
NEAR = 48  # words that a local search adds or takes away
FEW = 24  # more, that pay most on their own
ROUNDS = 60  # of it, at most
STARTS = 2  # documents that it starts from, at most; without a norm another search follows, and one suffices
UNIT = 2.0**-53


def find_document(theta, theta_target, region: DocumentRegion, y, loss: Loss, known=-math.inf, max_nodes=20_000):
    """The document of one label with the largest loss difference.

    Parameters
    ----------
    known : float
        What another label has reached: nothing below it need be found.
    max_nodes : int
        How many documents the search over words may look at.

    Returns
    -------
    x : ndarray of shape (d,)
        Its row.
    value, upper_bound : float
        No document exceeds ``max(known, upper_bound)``.
    nodes : int
    """
    problem = _Problem(theta, theta_target, region, y, loss)
    outline = _Outline(problem, known)
    counts, value, tried = None, -math.inf, set()
    for start in _starts(problem, outline):
        if start.tobytes() in tried:
            continue
        tried.add(start.tobytes())
        beaten = outline.upper <= known  # whatever this label has, the other has more
        better, reached = (start, problem.value_of(start)) if beaten else _improve(problem, outline, start)
        if counts is None or reached > value + problem.tie(value):
            counts, value = better, reached
        if len(tried) == (1 if region.norm is None else STARTS) or max(
            value, known
        ) >= outline.upper - problem.tolerance(value):
            break
    outline.refine(max(value, known))
    bound, nodes = outline.upper, 0
    if region.norm is None and bound > max(value, known) + problem.tolerance(value):
        search = _WordSearch(problem, outline, max_nodes)
        counts, value, bound = search.close(counts, value, known)
        nodes = search.nodes
    if bound > max(value, known) + problem.tolerance(value):
        every = region.every(max_nodes)
        if every is not None:
            every, rows = every
            nodes += len(every)
            values = problem.differences(rows @ problem.A + problem.a0, rows @ problem.P + problem.p0)
            bound = float(np.max(values))
            counts = every[int(np.argmax(values >= bound - problem.tie(bound)))]
    x = region.row(region.shortest(counts))
    value = problem.difference(*(y * (float(t[:-1] @ x) + t[-1]) for t in (theta, theta_target)))
    return x, value, max(bound, value) + problem.rounding(), nodes


def _by_value(pair):
    """The largest value first; of those that are equal to 11 digits, the first."""
    return -float(f"{pair[0]:.11g}")


def _starts(problem, outline):
    """Documents to start from: the best known, then the two ends of the chord below the maximum of the outline."""
    cell = max(outline.cells, key=lambda cell: cell.above)
    yield min(_candidates(problem, outline), key=_by_value)[1]
    yield from (cell.left.counts, cell.right.counts)


def _candidates(problem, outline):
    """``(value, counts)`` of documents, one of which is near the maximum of the outline."""
    region = problem.region
    cell = max(outline.cells, key=lambda cell: cell.above)
    _, t = problem.edge(cell.left.point, cell.right.point)
    mixture = (1.0 - t) * cell.left.at + t * cell.right.at
    for support in outline.supports:
        yield support.value, support.counts
    between = [region.nearest_counts(mixture * region.idf if region.norm is None else mixture)]
    if region.norm == "l1":
        between += _two_words(region, mixture)
    for counts in between:
        yield problem.value_of(counts), counts


def _two_words(region, mixture):
    """Documents of the two words of an edge, of every length, in proportions next to the mixture's."""
    words = np.flatnonzero(mixture > 0.0)
    if len(words) != 2:
        return
    i, j = words
    first = np.arange(0, int(min(region.max_length, region.max_count[i])) + 1)
    ratio = (mixture[j] / region.idf[j]) / (mixture[i] / region.idf[i])
    for second in (np.floor(first * ratio), np.ceil(first * ratio)):
        fits = (second <= region.max_count[j]) & (first + second <= region.max_length) & (first + second > 0)
        if not np.any(fits):
            continue
        shares = second[fits] * region.idf[j] / (first[fits] * region.idf[i] + second[fits] * region.idf[j])
        target = mixture[j] / (mixture[i] + mixture[j])
        for side in (shares <= target, shares >= target):  # the value peaks at the target, or next to it
            if np.any(side):
                k = np.flatnonzero(side)[np.argmin(np.abs(shares[side] - target))]
                counts = np.zeros(len(mixture))
                counts[i], counts[j] = first[fits][k], second[fits][k]
                yield counts


def _improve(problem, outline, counts):
    """Add, take away or exchange one word at a time while that pays: ``(counts, value)``.

    Looked at are the words that matter least for the supporting line, and those that pay most on their own.
    """
    region, counts = problem.region, counts.copy()
    is_near = np.zeros(len(counts), dtype=bool)
    is_near[_near_words(problem, outline, counts)] = True
    idf, limit = region.idf, region.max_count
    a, p = problem.A * idf, problem.P * idf
    value = problem.value_of(counts)
    for _ in range(ROUNDS):
        length, own = counts.sum(), counts * idf
        u, v = float(problem.A @ own), float(problem.P @ own)
        used = np.flatnonzero(counts > 0.0)
        room = np.flatnonzero(counts < limit)
        # What one use more, or one less, adds to u and v, and to the sum or the square that the norm is of.
        more, less = (a[room], p[room]), (-a[used], -p[used])
        size = more_size = less_size = None
        if region.norm == "l1":
            size, more_size, less_size = float(own.sum()), idf[room], -idf[used]
        elif region.norm == "l2":
            size, square = float(own @ own), idf * idf
            more_size, less_size = (
                square[room] * (2.0 * counts[room] + 1.0),
                square[used] * (1.0 - 2.0 * counts[used]),
            )
        alone = _changed(problem, u, v, size, *more, more_size), _changed(problem, u, v, size, *less, less_size)
        adds, takes = (
            np.union1d(np.flatnonzero(is_near[words]), _largest(gain, FEW, problem.tie(value)))
            for words, gain in zip((room, used), alone, strict=True)
        )
        both = _changed(
            problem,
            u,
            v,
            size,
            less[0][takes, None] + more[0][adds],
            less[1][takes, None] + more[1][adds],
            None if size is None else less_size[takes, None] + more_size[adds],
        )
        # A word exchanged for itself is no change.
        both[used[takes][:, None] == room[adds]] = -np.inf
        add, take = alone
        add = add if length < region.max_length else add[:0]
        take = take if length > region.min_length else take[:0]
        tie = problem.tie(value)
        best = max(float(np.max(part, initial=-np.inf)) for part in (add, take, both))
        if not best > value + tie:
            break
        if np.any(add >= best - tie):
            counts[room[np.argmax(add >= best - tie)]] += 1.0
        elif np.any(take >= best - tie):
            counts[used[np.argmax(take >= best - tie)]] -= 1.0
        else:
            i, j = np.unravel_index(int(np.argmax(both >= best - tie)), both.shape)
            counts[used[takes[i]]] -= 1.0
            counts[room[adds[j]]] += 1.0
        value = problem.value_of(counts)
    return counts, value


def _changed(problem, u, v, size, du, dv, more):
    """The loss difference of documents whose scores (without the intercept and before the norm) and size change so."""
    if size is None:
        return problem.differences(u + du + problem.a0, v + dv + problem.p0)
    norm = size + more if problem.region.norm == "l1" else np.sqrt(np.maximum(size + more, 0.0))
    empty = norm <= 1e-12 * (1.0 + size)
    norm = np.where(empty, 1.0, norm)
    new_u, new_v = np.where(empty, 0.0, (u + du) / norm), np.where(empty, 0.0, (v + dv) / norm)
    return problem.differences(new_u + problem.a0, new_v + problem.p0)


def _largest(values, some, tie):
    """The places of so many values, of those that are equal (up to ties) at the limit the first."""
    if some >= len(values):
        return np.arange(len(values))
    limit = np.partition(values, len(values) - some)[len(values) - some]
    return np.append(np.flatnonzero(values > limit + tie), np.flatnonzero(np.abs(values - limit) <= tie)[:some])


def _near_words(problem, outline, counts):
    """The words that matter least for the supporting line at the maximum: those worth exchanging."""
    region = problem.region
    alpha, beta = outline.normal()
    usable = region.max_count > 0.0
    if region.norm is None:
        cost = np.abs(_reduced_costs(problem, alpha, beta)[0])
    else:
        gains = beta * problem.q_v - alpha * problem.q_u
        if region.norm == "l1":
            cost = -gains
        else:
            # What one use more, or one less, does to G - mu W at the document's own mu = G / 2 W.
            g, w = gains * region.idf, region.idf * region.idf
            W = float(w @ (counts * counts))
            mu = float(g @ counts) / (2.0 * W) if W > 0.0 else 0.0
            add, take = np.abs(g - mu * w * (2.0 * counts + 1.0)), np.abs(g - mu * w * (2.0 * counts - 1.0))
            cost = np.where(counts > 0.0, np.minimum(add, take), add)
    cost = np.where(usable, cost, np.inf)
    some = min(NEAR, int(usable.sum()))
    return np.sort(np.argpartition(cost, some - 1)[:some]) if some else np.empty(0, dtype=np.intp)


def _reduced_costs(problem, alpha, beta):
    """``(r, price, base)``: what a word is worth for a supporting line, less the price of its place.

    Every document with counts c has ``-alpha u + beta v`` at least ``sum_j r_j (base_j - c_j)`` and
    ``price`` per place (left empty, or beyond the least length) below the supporting line.
    """
    region = problem.region
    gains = beta * problem.q_v - alpha * problem.q_u
    base = region.extreme(gains)
    length = base.sum()
    price = 0.0
    used, room = base > 0.0, base < region.max_count
    last = float(np.min(gains[used], initial=np.inf))
    best = float(np.max(gains[room], initial=-np.inf))  # of what could be added
    if length >= region.max_length and best > 0.0:
        price = max(0.0, 0.5 * (last + best))
    elif region.min_length and length <= region.min_length and last < 0.0:
        price = 0.5 * (last + best) if np.isfinite(best) else last
        price = min(0.0, price)
    return gains - price, price, base


class _WordSearch:
    """All documents that could beat the best one known, by what they lose against a supporting line."""

    def __init__(self, problem, outline, max_nodes):
        self.problem, self.outline, self.max_nodes, self.nodes = problem, outline, max_nodes, 0

    def close(self, counts, value, known):
        """``(counts, value, bound)``: the best document found, and what no document exceeds."""
        problem, outline = self.problem, self.outline
        least = max(value, known)
        live = [cell for cell in outline.cells if cell.above > least]
        u_range = min(cell.left.point[0] for cell in live), max(cell.right.point[0] for cell in live)
        bound = outline.upper
        supports = {(s.alpha, s.beta): s for cell in live for s in (cell.left, cell.right)}
        normals = [(s.alpha, s.beta) for s in supports.values()] + [outline.chord_normal(cell) for cell in live[:4]]
        lines = [(self._largest(normal, 0.0, u_range), normal) for normal in normals]
        _, normal = min(lines)
        budget = self._budget(normal, u_range, least)
        r, price, base = _reduced_costs(problem, *normal)
        for share in (1 / 64, 1 / 8, 1.0):
            found = self._enumerate(r, price, base, share * budget)
            if found is None:
                break
            if found[1] > value:
                counts, value = found
            bound = min(bound, max(value, self._largest(normal, share * budget, u_range)))
            if bound <= max(value, known) + problem.tolerance(value):
                break
            if value > least:
                least = value
                budget = min(budget, self._budget(normal, u_range, least))
        else:
            bound = min(bound, max(value, known))
        return counts, value, bound

    def _largest(self, normal, loss, u_range):
        """The largest difference of a point that lies ``loss`` or more below the supporting line."""
        problem = self.problem
        alpha, beta = normal
        height = self.outline.height(normal) - loss
        low, high = u_range
        top = self.outline.v_top
        if beta <= 0.0:
            low = max(low, -height / alpha)
            return problem.difference(low, top) if low <= high else -math.inf
        v_low, v_high = (height + alpha * low) / beta, (height + alpha * high) / beta
        if v_low >= top:
            return problem.difference(low, top)
        if v_high > top:
            high, v_high = (beta * top - height) / alpha, top
        return problem.edge((low, v_low), (high, v_high))[0]

    def _budget(self, normal, u_range, least):
        """So far below the supporting line nothing beats ``least``."""
        low, high = 0.0, 1.0
        while self._largest(normal, high, u_range) > least and high < 1e12:
            low, high = high, 2.0 * high
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._largest(normal, middle, u_range) > least else (low, middle)
            if high - low <= 1e-2 * high:  # more than is needed costs little, and proves the same
                break
        return high

    def _enumerate(self, r, price, base, budget):
        """The best document that loses at most ``budget``, or None if there are too many of them.

        Word by word, the dearest first: states are (loss, words more or fewer, u, v).
        """
        problem, region = self.problem, self.problem.region
        slack = 1e-12 * (1.0 + budget)
        words = np.flatnonzero((np.abs(r) <= budget + slack) & (region.max_count > 0.0))
        if len(words) > 200:
            return None
        words = words[np.argsort(-np.abs(r[words]), kind="stable")]
        length = base.sum()
        least, most = region.min_length - length, region.max_length - length
        if price > 0.0:
            least = max(least, -(budget + slack) / price)
        elif price < 0.0:
            most = min(most, -(budget + slack) / price)
        ranges = []
        for j in words:
            far = np.inf if r[j] == 0.0 else math.floor((budget + slack) / abs(r[j]))
            # A word of positive worth is used to the full, one of negative worth not at all: but for rounding.
            ranges.append(np.arange(max(-base[j], -far), min(region.max_count[j] - base[j], far) + 1.0))
        fewer = np.append(np.cumsum([k[0] for k in ranges][::-1])[::-1], 0.0)
        more = np.append(np.cumsum([k[-1] for k in ranges][::-1])[::-1], 0.0)
        cost, change = np.zeros(1), np.zeros(1)
        u = np.array([float(problem.q_u @ base) + problem.a0])
        v = np.array([float(problem.q_v @ base) + problem.p0])
        parents = []
        for n, (j, k) in enumerate(zip(words, ranges, strict=True)):
            new_cost = cost[:, None] + np.abs(r[j] * k)[None, :]
            new_change = change[:, None] + k[None, :]
            ok = (
                (new_cost <= budget + slack) & (new_change + fewer[n + 1] <= most) & (new_change + more[n + 1] >= least)
            )
            parent, step = np.nonzero(ok)
            self.nodes += len(parent)
            if self.nodes > self.max_nodes:
                return None
            cost, change = new_cost[ok], new_change[ok]
            u, v = u[parent] + problem.q_u[j] * k[step], v[parent] + problem.q_v[j] * k[step]
            parents.append((j, parent, k[step]))
        if not len(u):
            return base, -math.inf
        values = problem.differences(u, v)
        at = int(np.argmax(values >= np.max(values) - problem.tie(np.max(values))))
        counts, value = base.copy(), float(values[at])
        for j, parent, step in reversed(parents):
            counts[j] += step[at]
            at = int(parent[at])
        return counts, value


class _Problem:
    """Scores, their difference, and its maximum along a segment, for one label."""

    def __init__(self, theta, theta_target, region, y, loss):
        self.region, self.loss, self.theta, self.theta_target = region, loss, theta, theta_target
        self.y = y
        self.a0, self.p0 = y * theta[-1], y * theta_target[-1]
        self.scale = region.idf if region.norm is None else np.ones(len(theta) - 1)
        # per unit of what region.extreme returns; then per unit of a row
        (self.q_u, lost_u), (self.q_v, lost_v) = (self._told_apart(t) for t in (theta, theta_target))
        self.q_u, self.q_v, self.lost = y * self.q_u, y * self.q_v, (lost_u, lost_v)
        self.A, self.P = self.q_u / self.scale, self.q_v / self.scale  # u and v
        self.phi = _SCALAR.get(loss) or (lambda m: float(loss.value(np.array(m))))
        self.edge = {HINGE: self._hinge_edge, LOG_LOSS: self._log_edge, SQUARED_HINGE: self._square_edge}.get(
            loss, self._any_edge
        )

    def _told_apart(self, theta):
        """The weights that rounding alone tells apart made equal, and what that can change a score by at most.

        Words that move the score by no more than its rounding error do not move it at all; of equal ones
        the first are used, whatever the last digits are.
        """
        region, values = self.region, theta[:-1] * self.scale
        size = region.linear_maximum(np.abs(theta[:-1]), abs(theta[-1]))[0]
        noise = (2 * len(theta) + 6) * 2.0 * UNIT * size / (region.max_length if region.norm is None else 1.0)
        values[np.abs(values) <= noise] = 0.0
        order = np.argsort(values, kind="stable")
        apart = np.diff(values[order], prepend=-np.inf) > noise
        values[order] = values[order][np.maximum.accumulate(np.where(apart, np.arange(len(order)), 0))]
        lost = region.linear_maximum(np.abs(values / self.scale - theta[:-1]))[0]
        return values, max(0.0, lost)

    def difference(self, u, v):
        return self.phi(u) - self.phi(v)

    def differences(self, u, v):
        return self.loss.value(u) - self.loss.value(v)

    def value_of(self, counts):
        x = self.region.row(counts)
        return self.difference(float(self.A @ x) + self.a0, float(self.P @ x) + self.p0)

    def tolerance(self, value):
        return 1e-10 * max(1.0, abs(value))

    def tie(self, value):
        """Values that differ by no more are equal."""
        return 1e-12 * max(1.0, abs(value))

    def exact(self, x):
        return self.difference(float(self.A @ x) + self.a0, float(self.P @ x) + self.p0)

    def rounding(self):
        """What rounding may hide in the value and the bound: two scores, each a sum of d + 1 products."""
        error, total = (4 * len(self.A) + 64) * UNIT, 0.0
        for t, lost in zip((self.theta, self.theta_target), self.lost, strict=True):
            size = self.region.linear_maximum(np.abs(t[:-1]), abs(t[-1]))[0]
            steep = self.loss.lipschitz
            steep = steep if math.isfinite(steep) else -float(self.loss.derivative(np.array(-size)))
            total += (error * size + lost) * steep
        return total

    # -- the maximum along a segment, u and v rising from the first point to the second ---------

    def _at(self, first, last, shares):
        best = -math.inf, 0.0
        for t in shares:
            if 0.0 <= t <= 1.0:
                u, v = first[0] + t * (last[0] - first[0]), first[1] + t * (last[1] - first[1])
                best = max(best, (self.difference(u, v), t))
        return best

    def _hinge_edge(self, first, last):
        return self._at(first, last, (0.0, 1.0, _share(first[0], last[0], 1.0), _share(first[1], last[1], 1.0)))

    def _square_edge(self, first, last):
        du, dv = last[0] - first[0], last[1] - first[1]
        # Where both are below 1, (1 - u) du = (1 - v) dv; where only one is, the value is monotone.
        stationary = (
            ((1.0 - first[0]) * du - (1.0 - first[1]) * dv) / (du * du - dv * dv) if abs(du) != abs(dv) else -1.0
        )
        kinks = _share(first[0], last[0], 1.0), _share(first[1], last[1], 1.0)
        return self._at(first, last, (0.0, 1.0, *kinks, stationary))

    def _log_edge(self, first, last):
        (u, v), du, dv = first, last[0] - first[0], last[1] - first[1]
        if du <= 0.0 or dv <= 0.0:
            return self._at(first, last, (0.0, 1.0))
        log_ratio = math.log(dv) - math.log(du)

        def uphill(t):  # s(v) dv - s(u) du, by its sign: falls, or rises, on either side of v = u
            return log_ratio + _softplus(u + t * du) - _softplus(v + t * dv)

        crossing = (v - u) / (du - dv) if du != dv else -1.0  # (1 + e^u) dv - (1 + e^v) du turns where u = v
        cuts = [0.0, crossing, 1.0] if 0.0 < crossing < 1.0 else [0.0, 1.0]
        roots = []
        for left, right in pairwise(cuts):
            low, high = uphill(left), uphill(right)
            if low * high < 0.0:
                roots.append(_root(uphill, left, right, low, high))
        return self._at(first, last, (*cuts, *roots))

    def _any_edge(self, first, last, pieces=64):
        """Of a loss known by its values only: ``phi(u)`` lies below its chords, ``phi(v)`` above its tangents."""
        t = np.linspace(0.0, 1.0, pieces + 1)
        above, best, at = -math.inf, -math.inf, 0.0
        for _ in range(40):
            u, v = first[0] + t * (last[0] - first[0]), first[1] + t * (last[1] - first[1])
            here = self.differences(u, v)
            k = int(np.argmax(here))
            if here[k] > best:
                best, at = float(here[k]), float(t[k])
            high, dv = self.loss.value(u), np.diff(v)
            low, rate = self.loss.value(v), self.loss.derivative(v)
            with np.errstate(divide="ignore", invalid="ignore"):
                s = (low[1:] - low[:-1] - rate[1:] * dv) / ((rate[:-1] - rate[1:]) * dv)
            s = np.where(np.isfinite(s), np.clip(s, 0.0, 1.0), 0.5)
            tangents = np.maximum(low[:-1] + s * rate[:-1] * dv, low[1:] - (1.0 - s) * rate[1:] * dv)
            most = np.maximum(high[:-1] + s * np.diff(high) - tangents, np.maximum(here[:-1], here[1:]))
            above = float(np.max(most))
            open_ = np.flatnonzero(most > best + 0.1 * self.tolerance(best))
            if len(open_) == 0 or len(open_) > 4 * pieces:
                break
            t = np.unique(np.concatenate([t[open_], t[open_ + 1], 0.5 * (t[open_] + t[open_ + 1])]))
        return max(above, best), at


def _share(first, last, value):
    return (value - first) / (last - first) if last != first else -1.0


def _root(function, a, b, f_a, f_b):
    """Where a function of opposite signs at a and b is zero: false position, the end that stays weighing half."""
    for _ in range(60):
        c = b - f_b * (b - a) / (f_b - f_a)
        if not min(a, b) < c < max(a, b):
            c = 0.5 * (a + b)
        f_c = function(c)
        if f_c * f_b < 0.0:
            a, f_a = b, f_b
        else:
            f_a *= 0.5
        b, f_b = c, f_c
        if f_c == 0.0 or abs(b - a) <= 1e-15:
            break
    return b


def _softplus(m):
    return m + math.log1p(math.exp(-m)) if m > 0.0 else math.log1p(math.exp(m))


_SCALAR = {
    HINGE: lambda m: max(0.0, 1.0 - m),
    SQUARED_HINGE: lambda m: max(0.0, 1.0 - m) ** 2,
    LOG_LOSS: lambda m: _softplus(-m),
}


class _Support(NamedTuple):
    """All documents have ``-alpha u + beta v <= height``, with equality at ``point``."""

    alpha: float
    beta: float
    height: float
    point: tuple[float, float]
    value: float  # the loss difference of a document there, or next to it
    at: np.ndarray  # its counts without a norm, its row with one
    counts: np.ndarray  # with l1 1 for its word


class _Cell(NamedTuple):
    """What lies between two neighbouring points of the outline: at most ``above`` of loss difference."""

    above: float
    left: _Support
    right: _Support
    closed: bool  # nothing lies beyond the chord


class _Outline:
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
            return _Support(alpha, beta, own, (u, v), problem.difference(u, v), at, at)
        # Where the search stopped short the line lies beyond the document: it is touched above it.
        beyond = max(0.0, height + beta * problem.p0 - alpha * problem.a0 - own)
        touch = u - alpha * beyond, v + beta * beyond
        return _Support(alpha, beta, own + beyond, touch, problem.difference(u, v), at, counts)

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
        return _Cell(above, left, right, beyond is not None)

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
