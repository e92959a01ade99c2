"""Documents of counts as a region: hull, frontier, membership."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frozen import freeze
from mtpfast.arrays.rounding import gamma

from .frontier import supported_frontier
from .region import LATTICE_TOL
from .specs import Features

__all__ = ["DocumentRegion"]


FRONTIER = 400  # vertices of a frontier at most; more would not move a bound by 1e-5
USES = 1_000_000  # uses of words, over all words, up to which the best document under "l2" is found exactly
TRIES = 1_000_000  # uses looked at per such search where the length limits the document


@dataclass(frozen=True, eq=False)
class DocumentRegion:
    """The documents in normal form, and what a linear function can reach on their convex set.

    Attributes
    ----------
    max_count, idf : ndarray of shape (d,)
    max_length, min_length : int
    norm : None, "l1" or "l2"
    lower, upper : ndarray of shape (d,)
        Outer bounds of the rows.
    """

    max_count: np.ndarray
    idf: np.ndarray
    max_length: int
    min_length: int
    norm: str | None

    kind = "documents"
    groups = balls = ()
    is_box = is_convex = False
    at_rest = None

    def __post_init__(self):
        for name in ("max_count", "idf"):
            freeze(self, name, getattr(self, name))

    @cached_property
    def lower(self) -> np.ndarray:
        return np.zeros(len(self.idf))

    @cached_property
    def upper(self) -> np.ndarray:
        return self.max_count * self.idf if self.norm is None else np.minimum(self.max_count, 1.0)

    @property
    def is_round(self) -> bool:
        """Whether no planes bound the convex set: it is part of a ball."""
        return self.norm == "l2"

    @cached_property
    def planes(self) -> tuple:
        """Pairs (coefficients, limit): besides its bounds the convex set is where ``coefficients . x <= limit``.

        With "l2" that would take one for every direction, see ``is_round``.
        """
        if self.norm == "l2":
            return ()
        ones = 1.0 / self.idf if self.norm is None else np.ones(len(self.idf))
        most = self.max_length if self.norm is None else 1
        at_least = ((-ones, -float(self.min_length)),) if self.min_length else ()
        return ((ones, float(most)), *at_least)

    @cached_property
    def _usable(self) -> np.ndarray:
        return self.max_count > 0.0

    @cached_property
    def _some(self) -> int:
        """So many words always suffice to fill a document."""
        enough = np.cumsum(np.sort(self.max_count[self._usable])) >= self.max_length
        return int(np.argmax(enough)) + 1 if np.any(enough) else int(self._usable.sum())

    def row(self, counts, columns=slice(None)) -> np.ndarray:
        """The features of one document, its words in increasing order, as scikit-learn computes them."""
        x = np.asarray(counts, dtype=float) * self.idf[columns]
        if self.norm is None or not x.any():
            return x
        # One addition after the other, as scikit-learn's loop: np.sum would add in another order.
        total = np.cumsum(x if self.norm == "l1" else x * x)[-1]
        return x / (total if self.norm == "l1" else math.sqrt(total))

    def shortest(self, counts) -> np.ndarray:
        """The counts of the shortest document with the same row."""
        if self.norm is None or not counts.any():
            return counts
        return counts / np.gcd.reduce(counts.astype(np.int64))

    # -- linear functions ---------------------------------------------------------------------

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None) -> tuple[float, float]:
        """The maximum of ``coefficients . x + constant`` over the convex set, and a bound of its rounding
        error; see :meth:`Region.linear_maximum`. O(d), and a sort of the words of one document."""
        sizes = np.abs(coefficients) if sizes is None else sizes
        size = abs(constant) if size is None else size
        d = len(coefficients)
        if self.norm is None:
            value = self._greedy(coefficients * self.idf)[0]
            most = self._greedy(sizes * self.idf)[0]
        else:
            value = self._top(coefficients)
            usable = sizes[self._usable]
            most = float(np.max(usable, initial=0.0)) if self.norm == "l1" else float(np.linalg.norm(usable))
        error = gamma(d + 16)
        return value + constant, error * (most + size) * (1.0 + error)

    def _top(self, coefficients):
        """The largest ``coefficients . x`` over the simplex or the part of the ball."""
        usable = coefficients[self._usable]
        largest = float(np.max(usable, initial=-math.inf))
        if largest <= 0.0:  # a document of one word, or none
            return 0.0 if self.min_length == 0 else largest
        return largest if self.norm == "l1" else float(np.linalg.norm(np.maximum(usable, 0.0)))

    def _greedy(self, gains):
        """``(value, words, counts)``: the best document for so much per word, without a norm."""
        words = self._best_words(gains)
        gain, room = gains[words], np.cumsum(self.max_count[words])
        taken = np.minimum(room, self.max_length)
        # Words that cost something are used only as far as the document would be too short without them.
        costly = gain <= 0.0
        if np.any(costly):
            taken[costly] = np.minimum(taken[costly], max(self.min_length, self._before(taken, costly)))
        counts = np.diff(taken, prepend=0.0)
        return float(np.sum(counts * gain)), words, counts

    @staticmethod
    def _before(taken, costly):
        first = int(np.argmax(costly))
        return taken[first - 1] if first else 0.0

    def _best_words(self, gains):
        """Words by falling gain, as many as a document can need."""
        gains = np.where(self._usable, gains, -np.inf)
        d, some = len(gains), self._some
        if some < d:
            words = np.argpartition(-gains, some - 1)[:some]
            return words[np.argsort(-gains[words], kind="stable")]
        return np.argsort(-gains, kind="stable")[: int(self._usable.sum())]

    def extreme(self, gains) -> np.ndarray:
        """The point of the convex set where ``gains`` is largest; without a norm in counts, gains per count.

        With "l2", of the ball: see :meth:`best_document`."""
        if self.norm is not None:
            return self.hull_argmax(gains)
        counts = np.zeros(len(gains))
        _, words, taken = self._greedy(gains)
        counts[words] = taken
        return counts

    @cached_property
    def _uses(self):
        """``(word, odd)``: a row for the k-th use of every word, with ``odd = 2k - 1``; None if they are too many."""
        often = np.where(self._usable, np.minimum(self.max_count, self.max_length), 0.0).astype(np.int64)
        total = int(often.sum())
        if total > USES:
            return None
        word = np.repeat(np.arange(len(often)), often)
        first = np.repeat(np.cumsum(often) - often, often)
        return word, 2.0 * (np.arange(total) - first) + 1.0

    def best_document(self, coefficients) -> tuple[float, np.ndarray]:
        """``(bound, counts)``: no document has a larger ``coefficients . x``, and one that attains it. With "l2" only.

        Equal up to rounding, but where the length limit binds (1e-9, or what ``TRIES`` leave) or there
        are more than ``USES`` uses of words. O(m) for m uses, and a sort of those that pay.
        """
        counts = np.zeros(len(coefficients))
        usable = np.where(self._usable, coefficients, -np.inf)
        best = int(np.argmax(usable))
        if usable[best] <= 0.0:  # one word: |x| = 1 and x >= 0 say sum x >= 1
            counts[best] = float(self.min_length > 0)
            return float(usable[best]) if self.min_length else 0.0, counts
        ball = self._top(coefficients)
        if self._uses is None:
            counts = self.nearest_counts(self.hull_argmax(coefficients))
            return ball, counts
        word, odd = self._uses
        rate = (coefficients / self.idf)[word] / odd  # the mu at which a use pays
        pays = np.flatnonzero(rate > 0.0)
        rate, word, odd = rate[pays], word[pays], odd[pays]
        gain, weight = (coefficients * self.idf)[word], (self.idf * self.idf)[word] * odd
        total = float(np.sum(gain))
        some = 256
        while True:  # the uses that pay first, as many as are needed
            some = min(some, len(rate))
            top = np.argpartition(-rate, some - 1)[:some] if some < len(rate) else np.arange(some)
            top = top[np.argsort(-rate[top], kind="stable")]
            G, W = np.cumsum(gain[top][: self.max_length]), np.cumsum(weight[top][: self.max_length])
            value = G / np.sqrt(W)
            n = int(np.argmax(value))
            best, last = float(value[n]), len(G) - 1
            mu = float(rate[top[last]])
            # Below mu, F is at most its chord from mu to 0.
            enough = _above(0.0, total, mu, float(G[last] - mu * W[last]))[1] <= best * best
            if enough or some == len(rate) or some >= self.max_length:
                break
            some *= 8
        counts = np.bincount(word[top[: n + 1]], minlength=len(counts)).astype(float)
        if enough or len(rate) <= self.max_length:
            return best, counts
        # Below mu the length limit binds: chords of F, and a value more where one is too high.
        F0 = float(np.sum(np.partition(gain, -self.max_length)[-self.max_length :]))
        parts = [((0.0, F0, math.nan), (mu, float(G[last] - mu * W[last]), float(W[last])))]
        bound, tries = best, min(64, TRIES // len(rate))
        while parts:
            low, high = parts.pop()
            at, above = _above(*low[:2], *high[:2])
            if above <= best * best * (1.0 + 1e-9) or tries == 0 or not low[0] < at < high[0]:
                bound = max(bound, math.sqrt(above))
                continue
            if above <= best * best * 1.001 and low[2] > high[2]:  # where the lines of the two documents meet
                meet = (low[1] + low[0] * low[2] - high[1] - high[0] * high[2]) / (low[2] - high[2])
                at = meet if low[0] < meet < high[0] else at
            tries -= 1
            worth = gain - at * weight
            chosen = np.argpartition(-worth, self.max_length - 1)[: self.max_length]
            chosen = chosen[worth[chosen] > 0.0]
            G1, W1 = float(np.sum(gain[chosen])), float(np.sum(weight[chosen]))
            if G1 / math.sqrt(W1) > best:
                best = G1 / math.sqrt(W1)
                counts = np.bincount(word[chosen], minlength=len(counts)).astype(float)
            new = at, G1 - at * W1, W1
            if low[2] > high[2] and new[1] <= (high[1] + (high[0] - at) * high[2]) * (1.0 + 1e-15):
                continue  # on the line of the document above, and of the one below: there is none between
            parts += [(low, new), (new, high)]
        return min(max(bound, best), max(ball, best)), counts

    def hull_argmax(self, coefficients) -> np.ndarray:
        """A point of the convex set at which ``coefficients . x`` is largest; no row of a document with "l2"."""
        x = np.zeros(len(coefficients))
        if self.norm is None:
            _, words, counts = self._greedy(coefficients * self.idf)
            x[words] = counts * self.idf[words]
            return x
        usable = np.where(self._usable, coefficients, -np.inf)
        best = int(np.argmax(usable))
        if usable[best] <= 0.0:
            x[best] = float(self.min_length > 0)
        elif self.norm == "l1":
            x[best] = 1.0
        else:
            x = np.where(self._usable, np.maximum(coefficients, 0.0), 0.0)
            x /= np.linalg.norm(x)
        return x

    def smooth_maximum(self, coefficients, smoothing) -> tuple[float, np.ndarray]:
        """On the part of the ball, ``sqrt(|c_+|^2 + smoothing^2)`` for the maximum ``|c_+|``, and its gradient, a point
        of the ball. Where no coefficient is positive the maximum has a kink, and many points attain it."""
        positive = np.where(self._usable, np.maximum(coefficients, 0.0), 0.0)
        size = math.hypot(float(np.linalg.norm(positive)), smoothing)
        return size, positive / size

    def linear_argmax(self, coefficients) -> np.ndarray:
        """The row of a document at which ``coefficients . x`` is largest; with "l2", of one near it."""
        point = self.hull_argmax(coefficients)
        return self.row(self.shortest(self.nearest_counts(point))) if self.norm == "l2" else point

    def frontier(self, A, a0, P, p0, uphill=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The upper frontier of ``(m, p) = (A . x + a0, P . x + p0)``; see :meth:`Region.frontier`.

        At most 400 vertices: see :func:`mtpfast.spaces.frontier.supported_frontier`.
        """
        return supported_frontier(self.hull_argmax, A, a0, P, p0, FRONTIER)

    # -- documents ----------------------------------------------------------------------------

    def every(self, most: int) -> tuple[np.ndarray, np.ndarray] | None:
        """``(counts, rows)`` of all documents, each of shape (n, d), their rows up to rounding; None where
        n exceeds ``most``, or n d 25 times that."""
        if most not in self._every:
            counts = self._all_counts(min(most, 25 * most // max(1, len(self.idf))))
            self._every[most] = counts if counts is None else (counts, self._rows(counts))
        return self._every[most]

    @cached_property
    def _every(self):
        return {}

    def _all_counts(self, most):
        usable = np.flatnonzero(self._usable)
        ways = np.zeros(self.max_length + 1)  # documents of the words so far, by length
        ways[0] = 1.0
        for j in usable:
            sums, often = np.cumsum(ways), int(self.max_count[j]) + 1
            ways = sums.copy()
            ways[often:] -= sums[: len(sums) - often]
            if ways.sum() > most:
                return None
        counts, length = np.zeros((1, 0)), np.zeros(1)
        for j in usable:
            often = np.arange(self.max_count[j] + 1.0)
            parent, times = np.nonzero(length[:, None] + often[None, :] <= self.max_length)
            counts = np.column_stack([counts[parent], often[times]])
            length = length[parent] + often[times]
        kept = length >= self.min_length
        full = np.zeros((int(kept.sum()), len(self.idf)))
        full[:, usable] = counts[kept]
        return full

    def _rows(self, counts):
        rows = counts * self.idf
        if self.norm is not None:
            size = rows.sum(axis=1) if self.norm == "l1" else np.sqrt(np.einsum("ij,ij->i", rows, rows))
            rows /= np.where(size > 0.0, size, 1.0)[:, None]
        return rows

    def nearest_counts(self, x) -> np.ndarray:
        """Counts of a document near a point of the convex set: ndarray of shape (d,)."""
        shares = np.where(self._usable, np.maximum(x, 0.0), 0.0) / self.idf
        if self.norm is None:
            return self._fit(np.minimum(np.rint(shares), self.max_count), shares)
        shares[shares < 1e-12 * np.max(shares, initial=0.0)] = 0.0  # no document is long enough for these
        if not shares.any():
            return self._fit(np.zeros(len(shares)), shares)
        # As long as may be: the longer, the nearer to the point's direction.
        low, high = 0.0, 2.0 * (self.max_length + len(shares)) / float(np.min(shares[shares > 0.0]))
        for _ in range(80):
            middle = 0.5 * (low + high)
            fits = np.minimum(np.rint(middle * shares), self.max_count).sum() <= self.max_length
            low, high = (middle, high) if fits else (low, middle)
        return self._fit(np.minimum(np.rint(low * shares), self.max_count), shares)

    def _fit(self, counts, shares):
        """Take words away, or add some, until the length is allowed."""
        length = int(counts.sum())
        while length > self.max_length:
            over = np.flatnonzero(counts > 0.0)
            j = over[np.argmax((counts - shares)[over])]
            counts[j] -= 1.0
            length -= 1
        while length < self.min_length:
            room = np.flatnonzero(counts < self.max_count)
            j = room[np.argmax((shares - counts)[room])]
            counts[j] += 1.0
            length += 1
        return counts

    def counts_of(self, values, columns):
        """The counts of a row's stored values, or None if it is not one of a document."""
        present = values != 0.0
        counts = np.zeros(len(values))
        ratio = values[present] / self.idf[columns[present]]
        limit = self.max_count[columns[present]]
        if not len(ratio):
            return counts if self.min_length == 0 else None
        if np.any(ratio < 0.0) or not np.all(np.isfinite(ratio)):
            return None
        most = 1
        if self.norm is not None:  # the least count is 1, 2, ..., at most what leaves room for the others
            total = values.sum() if self.norm == "l1" else math.sqrt(float(values @ values))
            if abs(total - 1.0) > LATTICE_TOL:
                return None
            most = int(min(self.max_length * ratio.min() / ratio.sum() * (1.0 + LATTICE_TOL), limit.max()))
            ratio = ratio / ratio.min()
        chunk = max(1, 100_000 // len(ratio))
        for first in range(1, most + 1, chunk):
            multiples = np.arange(first, min(first + chunk, most + 1))[:, None] * ratio
            whole = np.rint(multiples)
            fits = np.all(np.abs(multiples - whole) <= LATTICE_TOL * np.maximum(1.0, whole), axis=1)
            fits &= np.all((whole >= 1.0) & (whole <= limit), axis=1)
            length = whole.sum(axis=1)
            fits &= (length <= self.max_length) & (length >= self.min_length)
            if np.any(fits):
                counts[present] = whole[np.argmax(fits)]
                return counts
        return None

    def contains(self, X) -> np.ndarray:
        """For every row of X (an array or a canonical CSR matrix), whether it is the row of a document."""
        X = sp.csr_matrix(X)
        ends = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        return np.array([self.counts_of(X.data[a:b], X.indices[a:b]) is not None for a, b in ends], dtype=bool)

    def broken_rule(self, x, features: Features) -> str:
        """The first rule that a row outside breaks."""

        def word(j):
            return features.name(j).replace("feature", "word", 1)

        bad = ~np.isfinite(x) | (x < 0.0)
        if np.any(bad):
            j = int(np.argmax(bad))
            return f"{word(j)} is {x[j]:g}, a document has no such count"
        unusable = (x > 0.0) & ~self._usable
        if np.any(unusable):
            return f"{word(int(np.argmax(unusable)))} is excluded, its max_count is 0"
        if self.norm is not None:
            total = x.sum() if self.norm == "l1" else float(np.linalg.norm(x))
            if total == 0.0:
                return "the document is empty, min_length is 1"
            if abs(total - 1.0) > LATTICE_TOL:
                return f"its {self.norm} norm is {total:g}, not 1"
            return f"no document of at most {self.max_length} words has these proportions"
        counts = x / self.idf
        off = np.abs(counts - np.rint(counts)) > LATTICE_TOL * np.maximum(1.0, counts)
        if np.any(off):
            j = int(np.argmax(off))
            return f"{word(j)} is used {counts[j]:g} times, not a whole number"
        counts = np.rint(counts)
        over = counts > self.max_count
        if np.any(over):
            j = int(np.argmax(over))
            return f"{word(j)} is used {counts[j]:g} times, max_count is {self.max_count[j]:g}"
        length = counts.sum()
        if length > self.max_length:
            return f"the document has {length:g} words, max_length is {self.max_length}"
        return f"the document has {length:g} words, min_length is {self.min_length}"

    def __eq__(self, other) -> bool:
        if not isinstance(other, DocumentRegion):
            return NotImplemented
        same = (self.max_length, self.min_length, self.norm) == (other.max_length, other.min_length, other.norm)
        return same and np.array_equal(self.max_count, other.max_count) and np.array_equal(self.idf, other.idf)

    __hash__ = None


def _above(mu, F, mu_end, F_end):
    """``(mu, 4 mu F(mu))`` where that is largest between two mu, with the chord of the two values for F."""
    slope = (F_end - F) / (mu_end - mu) if mu_end > mu else 0.0
    start = F - slope * mu
    at = min(max(-start / (2.0 * slope), mu), mu_end) if slope < 0.0 else mu_end
    return at, 4.0 * at * (start + slope * at)
