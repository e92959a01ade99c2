"""Lines below the summed loss of the clean rows, in one pass over them, with bounds of their rounding errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.objective import Objective

from .clean_pass import blocks

__all__ = ["Lines", "lines_of"]


#: So many lines at a time.
MODELS = 256


class Lines(NamedTuple):
    """``L(theta) >= c - p . theta``, one per model; ``error`` per entry of p, ``c`` rounded down.

    ``loss``: L at the models that were ``compared``, rounded up, and infinity at the others.
    """

    c: np.ndarray  # (T,)
    p: np.ndarray  # (T, d + 1)
    error: np.ndarray  # (T, d + 1)
    loss: np.ndarray  # (T,)
    n_rows: int
    weight: float = 0.0  # of all clean rows, rounded down


def lines_of(models, X, y, objective: Objective, sample_weight=None, rows=(), slopes=(), compared=(0,)) -> Lines:
    """The tangent of the clean loss at every model, in one pass; of those ``compared`` also the loss itself.

    ``rows``, ``slopes``: clean rows whose slope in the first line is given, as the hinge leaves it open on the margin.
    """
    loss, (n, d) = objective.loss, X.shape
    one = objective.one
    T = len(models)
    c, p, pull, terms = np.zeros(T), np.zeros((T, d + 1)), np.zeros(T), np.zeros(T)
    far = np.zeros(d + 1)
    compared = np.asarray(compared, dtype=np.intp)
    total, doubt, weight = np.zeros(len(compared)), np.zeros(len(compared)), 0.0
    given = np.full(n, np.nan)
    given[np.asarray(rows, dtype=np.intp)] = slopes
    W, b = np.ascontiguousarray(models[:, :-1].T), one * models[:, -1]
    size_w, size_b = np.abs(W[:, compared]), np.abs(b[compared])
    n_blocks = 0
    for start, block, labels, own in blocks(X, y, sample_weight):
        n_blocks += 1
        weights = objective.weights(labels, own)
        weights = np.ones(len(labels)) if weights is None else weights
        for top in (block.max(axis=0), -block.min(axis=0)):
            far[:-1] = np.maximum(far[:-1], top.toarray().ravel() if sp.issparse(top) else top)
        size = abs(block) if len(compared) else None
        weight += float(weights.sum())
        own_part = compared // MODELS
        open_ = given[start : start + len(labels)]
        known = ~np.isnan(open_)
        for few in range(0, T, MODELS):
            part = slice(few, few + MODELS)
            margin = np.asarray(block @ W[:, part])
            margin += b[part]
            margin *= labels[:, None]
            s = -loss.derivative(margin)
            here = np.flatnonzero(own_part == few // MODELS)
            if len(here):
                at = margin[:, compared[here] - few]
                reach = gamma(d + 4) * (np.asarray(size @ size_w[:, here]) + size_b[here]) + 2 * UNIT * np.abs(at)
                highest = loss.value(at - reach)
                total[here] += weights @ highest
                doubt[here] += weights @ (highest + 1.0)
            if few == 0:
                s[known, 0] = open_[known]
            offset = loss.offset(s)
            c[part] += weights @ offset
            terms[part] += weights @ (np.abs(offset) + 2.0 * s)
            s *= weights[:, None]
            pull[part] += s.sum(axis=0)
            s *= labels[:, None]
            p[part, :-1] += np.asarray((block.T @ s).T)
            p[part, -1] += one * s.sum(axis=0)
    far[-1] = one
    error = gamma(n + n_blocks + 8) * 1.01 * pull[:, None] * far
    several = gamma(n + n_blocks + 40)
    losses = np.full(T, np.inf)
    losses[compared] = total + several * doubt
    return Lines(c - several * terms, p, error, losses, n, weight * (1.0 - several))
