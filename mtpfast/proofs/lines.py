"""Lines below the summed loss of the clean rows, in one pass over them, with bounds of their rounding errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mtpfast.arrays.parts import over
from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.arrays.rows import digests
from mtpfast.losses.objective import Objective

from .clean_pass import blocks, check_finite, extent_of_block

__all__ = ["TINY", "Lines", "LinesPass", "gap_of", "lines_of", "rounding_of_k", "widths_of"]


#: So many lines at a time.
MODELS = 256
#: Rows so near to the margin of the first model (times 1 + |b|) are looked up among those whose slopes are given.
NEAR = 1e-5
#: Of the bound of a free intercept at the minimum.
ROUNDS = 8
#: Where all terms are smaller, what underflows may be more than what rounds.
TINY = 1e-150


class Lines(NamedTuple):
    """``L(theta) >= c - p . theta``, one per model; ``error`` per entry of p, ``c`` rounded down.

    ``loss``: L at the models that were ``compared``, rounded up, and infinity at the others.
    """

    c: np.ndarray  # (T,)
    p: np.ndarray  # (T, d + 1)
    error: np.ndarray  # (T, d + 1)
    loss: np.ndarray  # (T,)
    n_rows: int
    weight: np.ndarray  # (2,) of all clean rows of the labels -1 and +1, rounded down
    far: np.ndarray  # (d + 1,) the largest entry in size of each column
    slack: float  # L less the first line at its model, rounded up; infinity where that is not compared


def lines_of(
    models, X, y, objective: Objective, sample_weight=None, rows=(), slopes=(), compared=(0,), widths=None
) -> Lines:
    """The tangent of the clean loss at every model, in one pass; of those ``compared`` also the loss itself.

    ``rows``, ``slopes``: clean rows, by their digests, whose slope in the first line is given, as the hinge leaves it
    open on the margin. ``widths``, one for each model: the hinge's slope falls from 1 to 0 over margins of that width
    around 1, where it is above 0. Any slopes make a line; these nearly touch where the model is the least of something,
    and rows lie on 1. X may be rows in parts (``y`` and ``sample_weight`` None).
    """
    order = np.argsort(rows)
    given = np.asarray(rows, dtype=np.uint64)[order], np.asarray(slopes, dtype=float)[order]
    widths = np.zeros(len(models)) if widths is None else np.asarray(widths, dtype=float)
    asked = LinesPass(np.asarray(models), objective, np.asarray(compared, dtype=np.intp), *given, widths)
    return asked.finish(over(X, y, sample_weight, asked, asked.merge))


def rounding_of_k(objective: Objective, n_features, n_rows) -> float:
    """The relative error of the penalty's weight, as ``objective.k`` computes it of so many rows."""
    return gamma(n_features + 9) if objective.count_rows else gamma(2 * n_rows + 8)


def gap_of(theta, lines: Lines, objective: Objective, amount) -> float:
    r"""How far ``J(theta) = L(theta) + (k / 2) theta' R theta`` may be above ``min J``, as a share of it, rounded up.

    theta is where the first line touches, but for a ``slack``: ``L(m) >= L(theta) - slack - p . (m - theta)`` for all
    models m. With ``g = k R theta - p``

    .. math:: J(\theta) - \min J \le slack + \frac{1}{2 k} g^\top R g + |p_b| (|b| + B),

    the last term for a free intercept b, which is at most B in size at the minimum: with ``s = -phi'(0)``, ``n_l`` the
    weight of the rows of label l and X no less than the norm of any row, ``n_l s (B - |w| X) <= J(theta)`` for one of
    the labels, and w is no further from theta's than the root of 2 / k times the gap. The gap is J(theta) at most, and
    then what this gives, round after round. The share is of what the line proves of ``J(theta)`` from below.
    """
    d, free, lightest = len(theta) - 1, objective.is_free, float(lines.weight.min())
    k, R = float(objective.k(amount)), objective.R(d)
    if not k > 0.0 or (free and not lightest > 0.0):  # no penalty; or the objective falls for ever
        return np.inf
    k_error = rounding_of_k(objective, d, lines.n_rows)
    size, p = k * R * np.abs(theta), np.abs(lines.p[0])
    g = np.abs(k * R * theta - lines.p[0]) + lines.error[0] + (k_error + 8 * UNIT) * size + 8 * UNIT * p
    known = lines.slack + float(g @ (R * (g / (2.0 * k))))
    slope, far = -float(objective.loss.derivative(np.zeros(1))[0]), float(np.linalg.norm(lines.far))
    value = gap = float(lines.loss[0]) + 0.5 * float(np.abs(theta) @ size)
    for _ in range(ROUNDS if free else 1):
        reach = float(np.linalg.norm(theta[:-1]) + np.sqrt(2.0 * gap / k))
        most = abs(theta[-1]) + value / (slope * lightest) + reach * far if free else 0.0
        gap = (known + float(g[-1]) * most) * (1.0 + gamma(3 * d + 64) + 2.0 * k_error)
    doubt = lines.error[0] + gamma(d + 8) * (p + size) + k_error * size
    least = float(lines.c[0] - lines.p[0] @ theta + 0.5 * size @ np.abs(theta) - doubt @ np.abs(theta))
    least -= 8 * UNIT * (value + abs(least))
    return gap / least if least > TINY and np.isfinite(gap) else np.inf


def widths_of(n_models, width) -> np.ndarray:
    """Of the lines of a certificate: 0 for the first, at the clean victim, and ``width`` for all others."""
    return np.where(np.arange(n_models) > 0, width, 0.0)


class LinesSums(NamedTuple):
    """What :class:`LinesPass` makes of some of the rows: sums over them, and how many blocks were added up.

    ``pull``, ``terms``, ``doubt`` bound the rounding of ``p``, ``c`` and ``total``; ``far`` are the largest entries;
    ``slack`` is what the first line lacks of the loss at its own model, row by row.
    """

    c: np.ndarray
    p: np.ndarray
    pull: np.ndarray
    terms: np.ndarray
    far: np.ndarray
    total: np.ndarray
    doubt: np.ndarray
    slack: float
    weight: np.ndarray
    n_rows: int
    n_blocks: int


@dataclass(frozen=True, eq=False)
class LinesPass:
    """The lines at ``models``: sums of any part of the rows, merged in any grouping, and finished.

    A sum of n terms in whatever order errs by ``gamma(n - 1)`` times the sum of their sizes at most: a merge is one
    addition more, which ``finish`` counts as one block more.
    """

    models: np.ndarray
    objective: Objective
    compared: np.ndarray
    rows: np.ndarray  # growing
    slopes: np.ndarray
    widths: np.ndarray

    def _given(self, block, labels, margin):
        """Rows of the block whose slope in the first line is given, and these slopes."""
        if not len(self.rows):
            return [], []
        near = np.flatnonzero(np.abs(margin - 1.0) <= NEAR * (1.0 + abs(self.models[0, -1])))
        found = digests(block[near], labels[near])
        place = np.minimum(np.searchsorted(self.rows, found), len(self.rows) - 1)
        known = self.rows[place] == found
        return near[known], self.slopes[place[known]]

    def __call__(self, X, y, sample_weight=None) -> LinesSums:
        models, objective, compared = self.models, self.objective, self.compared
        loss, (n, d) = objective.loss, X.shape
        one = objective.one
        T = len(models)
        c, p, pull, terms = np.zeros(T), np.zeros((T, d + 1)), np.zeros(T), np.zeros(T)
        far = np.zeros(d + 1)
        total, doubt, weight = np.zeros(len(compared)), np.zeros(len(compared)), np.zeros(2)
        slack = 0.0 if 0 in compared else np.inf
        W, b = np.ascontiguousarray(models[:, :-1].T), one * models[:, -1]
        size_w, size_b = np.abs(W[:, compared]), np.abs(b[compared])
        n_blocks = 0
        for _, block, labels, own in blocks(X, y, sample_weight):
            n_blocks += 1
            weights = objective.weights(labels, own)
            weights = np.ones(len(labels)) if weights is None else weights
            low, high = extent_of_block(block)
            check_finite(low, high)
            far[:-1] = np.maximum(far[:-1], np.maximum(-low, high))
            size = abs(block) if len(compared) else None
            weight += np.bincount(labels > 0.0, weights, 2)
            own_part = compared // MODELS
            for few in range(0, T, MODELS):
                part = slice(few, few + MODELS)
                margin = np.asarray(block @ W[:, part])
                margin += b[part]
                margin *= labels[:, None]
                s = self._slopes(margin, self.widths[part])
                here = np.flatnonzero(own_part == few // MODELS)
                if len(here):
                    at = margin[:, compared[here] - few]
                    reach = gamma(d + 4) * (np.asarray(size @ size_w[:, here]) + size_b[here]) + 2 * UNIT * np.abs(at)
                    highest = loss.value(at - reach)
                    total[here] += weights @ highest
                    doubt[here] += weights @ (highest + 1.0)
                if few == 0:
                    rows, slopes = self._given(block, labels, margin[:, 0])
                    s[rows, 0] = slopes
                offset = loss.offset(s)
                if few == 0 and slack < np.inf:
                    own = int(np.flatnonzero(compared[here] == 0)[0])
                    slack += float(weights @ self._slack(at[:, own], reach[:, own], s[:, 0], offset[:, 0]))
                c[part] += weights @ offset
                terms[part] += weights @ (np.abs(offset) + 2.0 * s)
                s *= weights[:, None]
                pull[part] += s.sum(axis=0)
                s *= labels[:, None]
                p[part, :-1] += np.asarray((block.T @ s).T)
                p[part, -1] += one * s.sum(axis=0)
        return LinesSums(c, p, pull, terms, far, total, doubt, slack, weight, n, n_blocks)

    def _slopes(self, margin, widths):
        """Slopes of rows (margins (n, T)) in lines of these widths."""
        s = -self.objective.loss.derivative(margin)
        if not self.objective.loss.smooth:
            wide = np.flatnonzero(widths > 0.0)
            s[:, wide] = np.clip((1.0 - margin[:, wide]) / widths[wide] + 0.5, 0.0, 1.0)
        return s

    def _slack(self, margin, reach, s, offset):
        """``phi(m) + s m - offset`` of rows, which is convex in m, at most for all m within ``reach`` of a margin."""
        loss, ends = self.objective.loss, (margin - reach, margin + reach)
        value = np.max([loss.value(end) + s * end for end in ends], axis=0)
        size = loss.value(ends[0]) + np.abs(offset) + s * (2.0 + np.abs(margin) + reach)
        return np.maximum(0.0, value - offset) + 40 * UNIT * size

    def merge(self, a: LinesSums, b: LinesSums) -> LinesSums:
        """The sums over the rows of both."""
        added = {name: getattr(a, name) + getattr(b, name) for name in LinesSums._fields if name != "far"}
        return LinesSums(**added | {"far": np.maximum(a.far, b.far), "n_blocks": a.n_blocks + b.n_blocks + 1})

    def finish(self, sums: LinesSums) -> Lines:
        """The lines, rounded the safe way."""
        several = sums.n_rows + sums.n_blocks
        far = np.append(sums.far[:-1], self.objective.one)
        error = gamma(several + 8) * 1.01 * sums.pull[:, None] * far
        losses = np.full(len(self.models), np.inf)
        losses[self.compared] = sums.total + gamma(several + 40) * sums.doubt
        c = sums.c - gamma(several + 40) * sums.terms
        weight, slack = sums.weight * (1.0 - gamma(several + 40)), sums.slack * (1.0 + gamma(several + 40))
        return Lines(c, sums.p, error, losses, sums.n_rows, weight, far, slack)
