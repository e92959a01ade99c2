"""The words of a document: exchanged one at a time while that pays, or searched by what they lose against a line."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["WordSearch", "improve"]


NEAR = 48  # words that a local search adds or takes away
FEW = 24  # more, that pay most on their own
ROUNDS = 60  # of it, at most


def improve(problem, outline, counts):
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


class WordSearch:
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
