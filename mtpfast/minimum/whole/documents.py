"""Whole documents whose rows add up to what a program asks for.

A solution over the convex set of documents (see ``spaces/documents.py``) says what the rows of a label
average to: x. Here n documents are written whose rows come near to adding up to n x, with nearly the
same margin each.

Without a norm the sums are rounded to whole words, and the words dealt out: every document gets as
many of each word as any other, or one more or fewer, and is as long, within one word. So no document
breaks a limit that the mean keeps. With a norm one document is written after the other, from what the
rows so far fall short of; where the mean is shorter than 1 (l2), each document takes up some of the
words only, in turn.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.spaces.document_region import DocumentRegion

__all__ = ["write"]


SWAPS = 400  # of words between two documents, to level their margins


def write(region: DocumentRegion, mean, n: int, weights, limit=None) -> sp.csr_matrix:
    """The rows of n documents with about this mean: CSR matrix of shape (n, d).

    Parameters
    ----------
    mean : ndarray of shape (d,)
        A point of the convex set.
    weights : ndarray of shape (d,)
        The margin is ``weights . x`` and a constant.
    limit : float, optional
        Level the margins (less that constant) only as far as needed for none to be above it.

    Complexity: O(d n log n) without a norm, O(d n) with one, times a search for the length.
    """
    d = len(mean)
    if n == 0:
        return sp.csr_matrix((0, d))
    if region.norm is None:
        sums = _round(region, np.clip(mean, 0.0, region.upper) / region.idf * n, n)
        counts = _deal(sums, n, weights * region.idf)
        _level(region, counts, weights * region.idf, limit)
    else:
        counts = _diffuse(region, np.maximum(mean, 0.0), n, weights, np.inf if limit is None else limit)
    rows = sp.csr_matrix(counts)
    for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        rows.data[a:b] = region.row(region.shortest(rows.data[a:b]), rows.indices[a:b])
    return rows


def _round(region, sums, n):
    """Whole sums near ``sums`` that n documents can have."""
    whole = np.rint(sums)
    for least, step in ((whole.sum() > n * region.max_length, -1.0), (whole.sum() < n * region.min_length, 1.0)):
        if not least:
            continue
        surplus = int(abs(whole.sum() - n * (region.max_length if step < 0.0 else region.min_length)))
        while surplus:  # where rounding went the wrong way, the furthest first
            open_ = np.flatnonzero(whole > 0.0 if step < 0.0 else whole < n * region.max_count)
            order = open_[np.argsort(step * (whole - sums)[open_], kind="stable")][:surplus]
            whole[order] += step
            surplus -= len(order)
    return whole


def _deal(sums, n, worth):
    """Counts of n documents with these sums: (n, d). Words that move the margin most go first, and among the
    shortest documents to those whose margin they level."""
    base, rest = np.divmod(sums, n)
    counts = np.repeat(base[None, :], n, axis=0)
    length, margin = np.zeros(n), np.zeros(n)
    dealt = np.flatnonzero(rest > 0.0)
    for j in dealt[np.argsort(-np.abs(worth[dealt]), kind="stable")]:
        chosen = np.lexsort((np.sign(worth[j]) * margin, length))[: int(rest[j])]
        counts[chosen, j] += 1.0
        length[chosen] += 1.0
        margin[chosen] += worth[j]
    return counts


def _level(region, counts, worth, limit):
    """Exchange words between the documents of the largest and the least margin, until all are below the limit (or
    as long as it helps)."""
    margin = counts @ worth
    for _ in range(SWAPS):
        i, k = int(np.argmax(margin)), int(np.argmin(margin))
        if i == k or (limit is not None and margin[i] <= limit):
            return
        gives = np.flatnonzero((counts[i] > 0.0) & (counts[k] < region.max_count))
        takes = np.flatnonzero((counts[k] > 0.0) & (counts[i] < region.max_count))
        if not len(gives) or not len(takes):
            return
        half = 0.5 * (margin[i] - margin[k])
        move = worth[gives][:, None] - worth[takes][None, :]
        a, b = np.unravel_index(int(np.argmin(np.abs(move - half))), move.shape)
        if not 0.0 < move[a, b] < 2.0 * half or half <= 1e-9 * (1.0 + np.abs(margin[i])):
            return
        j, m = gives[a], takes[b]
        counts[i, j], counts[i, m] = counts[i, j] - 1.0, counts[i, m] + 1.0
        counts[k, j], counts[k, m] = counts[k, j] + 1.0, counts[k, m] - 1.0
        margin[i] -= move[a, b]
        margin[k] += move[a, b]


def _diffuse(region, mean, n, weights, limit):
    """Counts of n documents whose rows add up to about n times the mean, each taking over what was missed."""
    used = np.flatnonzero(mean > 0.0)
    counts = np.zeros((n, len(mean)))
    if not len(used):
        return counts
    part = DocumentRegion(region.max_count[used], region.idf[used], region.max_length, region.min_length, region.norm)
    share, missing = mean[used], np.zeros(len(used))
    mass = float(share @ share)
    for i in range(n):
        missing += share
        wanted = np.maximum(missing, 0.0)
        if region.norm == "l2" and mass < 1.0:
            # Words in turn, with ``mass`` of the squared length: they then appear in so many documents, and heavier.
            turn = np.argsort(-missing / share, kind="stable")
            enough = int(np.searchsorted(np.cumsum(share[turn] ** 2), mass * mass)) + 1
            wanted[turn[enough:]] = 0.0
        own = part.nearest_counts(wanted)
        if not own.any():
            own[np.argmax(missing)] = 1.0
        _lower(part, own, weights[used], limit)
        counts[i, used] = own
        missing -= part.row(own)
    return counts


def _lower(region, counts, weights, limit):
    """Add or take away single words until ``weights . row`` is at most the limit, or cannot be lowered."""
    margin = float(weights @ region.row(counts))
    step = 1e-9 * (1.0 + abs(limit))
    while margin > limit:
        own, length = counts * region.idf, counts.sum()
        top = float(weights @ own)
        found = []
        for change, allowed in (
            (1.0, (counts < region.max_count) & (length < region.max_length)),
            (-1.0, (counts > 0.0) & (length > max(1, region.min_length))),
        ):
            add = change * region.idf
            if region.norm == "l1":
                size = own.sum() + add
            else:
                size = np.sqrt(np.maximum(own @ own + 2.0 * own * add + add * add, 0.0))
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(np.where(allowed & (size > 0.0), (top + weights * add) / size, np.inf))
        reached = np.concatenate(found)
        within = reached <= limit - step
        # The least change that suffices; where one word does not, the one that lowers it most.
        k = int(np.argmax(np.where(within, reached, -np.inf))) if within.any() else int(np.argmin(reached))
        if not reached[k] < margin:
            return
        counts[k % len(counts)] += 1.0 if k < len(counts) else -1.0
        margin = float(reached[k])
