r"""The hinge's victim, trained on rows that are read by passes: those near the margin are held, the others summed up.

At models ``theta_1 .. theta_j`` split the clean rows by their margins. Those nearest to 1 at ``theta_j`` are held. The
others are put together with those of the same label that lie on the same side of the margin at all j models; of such a
group g remain its weight ``W_g`` and its weighted mean ``z_g`` of ``z = y x~``. The reduced objective

.. math:: F_j(\theta) = \sum_{\text{held}} c_i \varphi(\theta \cdot z_i) + \sum_g W_g \varphi(\theta \cdot z_g)
          + \tfrac{k}{2} \theta^\top R \theta \le F(\theta)  (1)

is nowhere more than the victim's own, as ``phi`` is convex, and equal to it wherever no group lies on both sides of the
margin: at each of the models, and around ``theta_j``. Its minimiser is found in memory, with a proved gap, and is the
next model. There, with ``u_g`` and ``v_g`` the sums of ``c (m - 1)`` over the rows of g above the margin and of
``c (1 - m)`` over those below,

.. math:: F - \min F \le F - F_j + \text{gap} = \sum_g \min(u_g, v_g) + \text{gap},  (2)

which is 0 but for the gap as soon as no group is cut by the margin. The first model is that of a sample.
"""

from __future__ import annotations

import math
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from mtpfast.arrays.parts import over
from mtpfast.losses.objective import Objective
from mtpfast.proofs.clean_pass import blocks, check_finite, extent_of_block
from mtpfast.training.victim import Fit, refit

__all__ = ["fit_by_passes"]


HELD_BYTES = 2**27  # of rows near the margin, at most
FILLED = 0.6  # the share of them that is aimed at
SAMPLE = 50_000  # rows of the first model
KNOWN, GROUP_BYTES = 8, 2**24  # models by which rows are put into groups, whose means take so many bytes
MOST_PASSES = 40
TOL, NOISE = 1e-9, 1e-14  # enough: a gap of k |tol theta|^2 / 2, or of this share of F
TIES = 1e-12  # rows that are equally near to the margin are told apart by so much


def fit_by_passes(training) -> Fit:
    """The hinge's victim of a :class:`mtpfast.minimum.blockwise.Training`; ``n_iter`` is the number of passes.

    Complexity: two to ten passes as a rule, O(n d) each, and the memory of the rows held.
    """
    n, d = training.X.shape
    theta, delta, passes = np.zeros(d + 1), math.inf, 1
    if 8 * n * (d + 1) > HELD_BYTES:
        theta, delta, passes = *_of_a_sample(training, n), 2
    known = min(KNOWN, max(1, int(math.log2(max(2.0, GROUP_BYTES / (8 * (d + 1)))))))
    models, best, done = theta[None], None, False
    near = _read(training, NearPass(training.objective, models, delta))
    while not done and passes < MOST_PASSES:
        fit, value = _solved(training, near, models[-1])
        if near.delta == math.inf:
            return fit._replace(n_iter=passes)
        models = np.vstack([models[-known:], fit.theta])
        near = _read(training, NearPass(training.objective, models, near.next_delta(), near.delta, known))
        passes += 1
        cut = float(near.cut.min(axis=1).sum())
        fit = fit._replace(gap=fit.gap + cut)
        best = fit if best is None or fit.gap < best.gap else best
        enough = max(0.5 * training.k * TOL**2 * float(fit.theta @ fit.theta), NOISE * value)
        done = cut == 0.0 or fit.gap <= enough
    if not done:
        message = f"the hinge was not trained to the end: after {passes} passes its duality gap is {best.gap:.2g}"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)
    return best._replace(n_iter=passes)


def _read(training, asked):
    return over(training.X, training.y, training.sample_weight, asked, asked.merge)


def _of_a_sample(training, n):
    """The model of a sample, and the ``delta`` that holds as many rows as may be held there."""
    found, weight = _read(training, SamplePass(training.objective, n))
    sample, d = [], training.X.shape[1]
    for label, of_all in zip((-1.0, 1.0), weight, strict=True):
        own = [block.some(block.y == label) for block in found]
        taken = sum(block.c.sum() for block in own)
        sample += [block._replace(c=block.c * (of_all / taken)) for block in own if taken > 0.0]
    theta = np.zeros(d + 1)
    if not sample:
        return theta, math.inf
    theta = _solved(training, Near.of(d, tuple(sample)), theta)[0].theta
    away = np.concatenate([
        np.abs(_margins(theta[None], block.X, block.y)[:, 0] - 1.0) + _apart(block.X) for block in sample
    ])  # fmt: skip
    share = FILLED * HELD_BYTES * len(away) / (n * max(1, sum(_bytes(block.X) for block in sample)))
    return theta, float(np.quantile(away, share)) if share < 1.0 else math.inf


def _solved(training, near, theta):
    """The minimiser of the reduced objective, from ``theta`` on, and the objective there."""
    rows = [block.X for block in near.held]
    code, total = near.code[near.total[:, -1] > 0.0], near.total[near.total[:, -1] > 0.0]
    more = [total[:, :-1] / total[:, -1:], training.points]
    more = [part.toarray() if sp.issparse(part) else np.asarray(part) for part in more]
    if rows and sp.issparse(rows[0]):
        X = sp.vstack([*rows, *map(sp.csr_matrix, more)], format="csr")
    else:
        X = np.ascontiguousarray(np.vstack([*rows, *more]))
    y = np.concatenate([*(block.y for block in near.held), _label(code), training.labels])
    c = np.concatenate([*(block.c for block in near.held), total[:, -1], training.point_weights])
    objective = replace(training.objective, class_weight=None)
    fit = refit(X, y, objective, c, training.amount, theta0=theta if np.any(theta) else None, tol=TOL)
    return fit, objective.value(fit.theta, X, y, c, training.amount)


# -- a pass ------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Some rows, what they weigh, how far they are from the margin, and the codes of their groups."""

    X: object
    c: np.ndarray
    away: np.ndarray
    code: np.ndarray

    def some(self, mask) -> Block:
        rows = np.flatnonzero(mask)
        return Block(*(part[rows] for part in self))

    @property
    def y(self):
        return _label(self.code)


@dataclass(frozen=True)
class Near:
    """What a pass leaves of some rows: those with ``away < delta``, and sums over the others.

    ``code`` (G,) names the groups, twice the sides of the margin as bits plus 1 for the label +1; ``total`` (G, d + 1)
    holds the sums of ``c x`` and of ``c``. ``cut_code``, ``cut``: the groups of the last pass, and of each the sums of
    ``c (m - 1)`` and ``c (1 - m)`` over the rows above and below the margin now. ``n_bytes``: of the rows held.
    """

    held: tuple
    delta: float
    code: np.ndarray
    total: np.ndarray
    cut_code: np.ndarray
    cut: np.ndarray
    n_bytes: int

    @classmethod
    def of(cls, d, held=(), delta=math.inf, cut=()) -> Near:
        nothing = np.zeros(0, dtype=np.int64), np.zeros((0, 2))
        n_bytes = sum(_bytes(block.X) for block in held)
        return cls(held, delta, nothing[0], np.zeros((0, d + 1)), *(cut or nothing), n_bytes)

    def within(self, delta) -> Near:
        """The same for a smaller ``delta``."""
        held, groups = [], [(self.code, self.total)]
        for block in self.held:
            near = block.away < delta
            if not np.all(near):
                far = block.some(~near)
                groups.append(_sums(far.code, far.c, far.X))
            if np.any(near):
                held.append(block.some(near))  # a copy: the rows of a block are there until the next
        code, total = _added(*groups)
        n_bytes = sum(_bytes(block.X) for block in held)
        return replace(self, held=tuple(held), delta=delta, code=code, total=total, n_bytes=n_bytes)

    def next_delta(self) -> float:
        """That holds as many rows as may be held, where they lie as densely as here."""
        return self.delta * min(10.0, FILLED * HELD_BYTES / max(1, self.n_bytes))


@dataclass(frozen=True)
class NearPass:
    """The split by the sides at ``models``, the rows nearest to the margin of the last of them held.

    ``before``: the ``delta`` of the pass before, whose groups were by all but the last model. ``known``: by so many
    models, the last, are the groups now.
    """

    objective: Objective
    models: np.ndarray
    delta: float
    before: float | None = None
    known: int = 1

    def __call__(self, X, y, sample_weight=None) -> Near:
        nothing = Near.of(X.shape[1], delta=self.delta)
        return reduce(self.merge, (self._of(*block[1:]) for block in blocks(X, y, sample_weight)), nothing)

    def _of(self, X, y, own) -> Near:
        check_finite(*extent_of_block(X))
        c, margins, cut = _weights(self.objective, y, own), _margins(self.models, X, y), ()
        ahead, apart = margins[:, -1] - 1.0, _apart(X)
        if self.before is not None:
            far = np.flatnonzero(np.abs(margins[:, -2] - 1.0) + apart >= self.before)
            sides = np.column_stack([np.maximum(0.0, ahead[far]), np.maximum(0.0, -ahead[far])])
            cut = _added((_code(margins[far, :-1], y[far]), c[far, None] * sides))
        block = Block(X, c, np.abs(ahead) + apart, _code(margins[:, -self.known :], y))
        return Near.of(X.shape[1], (block,), cut=cut).within(self.delta)

    @staticmethod
    def merge(a: Near, b: Near) -> Near:
        """Of the rows of both; with a smaller ``delta`` where they take too many bytes."""
        merged = Near(
            a.held + b.held, min(a.delta, b.delta), *_added((a.code, a.total), (b.code, b.total)),
            *_added((a.cut_code, a.cut), (b.cut_code, b.cut)), a.n_bytes + b.n_bytes,
        )  # fmt: skip
        if merged.n_bytes > HELD_BYTES:
            away = np.concatenate([block.away for block in merged.held])
            kept = int(FILLED * HELD_BYTES / merged.n_bytes * len(away))
            return merged.within(float(np.partition(away, kept)[kept]))
        return merged.within(merged.delta) if a.delta != b.delta else merged


@dataclass(frozen=True)
class SamplePass:
    """Some of the rows, each taken with the same chance, and ``weight`` (2,): what all rows of each label weigh.

    Which are taken depends on the rows of a part alone.
    """

    objective: Objective
    n_rows: int

    def __call__(self, X, y, sample_weight=None):
        found, weight = [], np.zeros(2)
        for _, rows, labels, own in blocks(X, y, sample_weight):
            check_finite(*extent_of_block(rows))
            c = _weights(self.objective, labels, own)
            weight += c @ (labels < 0), c @ (labels > 0)
            share = min(SAMPLE, FILLED * HELD_BYTES * len(labels) / max(1, _bytes(rows))) / self.n_rows
            first = rows[:1].toarray() if sp.issparse(rows) else rows[:1]
            taken = np.random.default_rng(zlib.crc32(first.tobytes())).random(len(labels)) < share
            found.append(Block(rows, c, c, _code(np.ones((len(labels), 0)), labels)).some(taken))
        return tuple(found), weight

    @staticmethod
    def merge(a, b):
        return a[0] + b[0], a[1] + b[1]


def _code(margins, y):
    """The group of a row: on which side of each margin it lies, and its label."""
    return (margins < 1.0) @ (2 << np.arange(margins.shape[1])) + (y > 0)


def _label(code):
    return code % 2 * 2.0 - 1.0


def _sums(code, c, X):
    """The groups there are, and of each the sums of ``c x`` and of ``c``."""
    found, place = np.unique(code, return_inverse=True)
    each = sp.csr_matrix((c, (place, np.arange(len(c)))), shape=(len(found), len(c)))
    total = each @ X
    return found, np.column_stack([total.toarray() if sp.issparse(total) else total, np.bincount(place, c)])


def _added(*groups):
    """Sums over groups, those of one code added up."""
    codes, sums = zip(*groups, strict=True)
    found, place = np.unique(np.concatenate(codes), return_inverse=True)
    total = np.zeros((len(found), sums[0].shape[1]))
    np.add.at(total, place, np.concatenate(sums))
    return found, total


def _apart(X):
    """What tells rows that are equally far from the margin apart, by their entries."""
    return TIES * (1e3 * (X @ np.cos(np.arange(X.shape[1]))) % 1.0)


def _weights(objective, y, own):
    c = objective.weights(y, own)
    return np.ones(len(y)) if c is None else c


def _margins(models, X, y):
    return y[:, None] * (X @ models[:, :-1].T + models[:, -1])


def _bytes(X):
    return X.data.nbytes + X.indices.nbytes if sp.issparse(X) else X.nbytes
