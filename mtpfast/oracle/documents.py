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

import numpy as np

from mtpfast.arrays.rounding import UNIT
from mtpfast.losses.margin import Loss
from mtpfast.spaces.document_region import DocumentRegion

from .outline import Outline
from .words import WordSearch, improve

__all__ = ["find_document"]


STARTS = 2  # documents that it starts from, at most; without a norm another search follows, and one suffices


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
    outline = Outline(problem, known)
    counts, value, tried = None, -math.inf, set()
    for start in _starts(problem, outline):
        if start.tobytes() in tried:
            continue
        tried.add(start.tobytes())
        beaten = outline.upper <= known  # whatever this label has, the other has more
        better, reached = (start, problem.value_of(start)) if beaten else improve(problem, outline, start)
        if counts is None or reached > value + problem.tie(value):
            counts, value = better, reached
        if len(tried) == (1 if region.norm is None else STARTS) or max(
            value, known
        ) >= outline.upper - problem.tolerance(value):
            break
    outline.refine(max(value, known))
    bound, nodes = outline.upper, 0
    if region.norm is None and bound > max(value, known) + problem.tolerance(value):
        search = WordSearch(problem, outline, max_nodes)
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
        self.phi = loss.at

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

    def edge(self, first, last):
        """``(value, share of the way)``: the value a bound of the maximum, attained where the loss knows its crests."""
        shares = self.loss.crests(first, last)
        if shares is None:
            return self._search(first, last)
        best = -math.inf, 0.0
        for t in shares:
            if 0.0 <= t <= 1.0:
                u, v = first[0] + t * (last[0] - first[0]), first[1] + t * (last[1] - first[1])
                best = max(best, (self.difference(u, v), t))
        return best

    def _search(self, first, last, pieces=64):
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
