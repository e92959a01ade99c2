r"""The trained model, found or proved from passes over blocks of rows: for data too large to be held as float64.

The victim's objective is ``F(theta) = L(theta) + (k / 2) theta' R theta``. Let ``g`` be an eps-subgradient of ``L`` at
``theta`` and ``rho = g + k R theta``. Where every weight is penalised F is k-strongly convex: its minimiser
``theta*`` obeys ``F(theta*) >= F(theta) + rho . D - eps + (k / 2) |D|^2`` and ``F(theta) >= F(theta*) +
(k / 2) |D|^2`` with ``D = theta* - theta``; together

.. math:: |D| \le \frac{|\rho| + \sqrt{|\rho|^2 + 4 k \epsilon}}{2 k}.                                          (1)

Smooth losses: ``eps = 0``, and Newton's method in blocks makes ``rho`` small. Hinge: a row on its margin may pull
with any share t in [0, 1] of its weight c, at ``eps = c ((1 - t) max(0, 1 - m) + t max(0, m - 1))``; the shares are
those that leave the least ``rho``, and theta moves (by next to nothing) so that the rows with a share strictly between
lie on the margin. Where that proves too little of rows in parts, the hinge is trained by
:mod:`mtpfast.minimum.near_rows`. All sums but those of a training come with the bound of their rounding (see
:mod:`mtpfast.proofs.certificate`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.parts import RowParts, over, width
from mtpfast.arrays.rounding import gamma
from mtpfast.losses.objective import Objective
from mtpfast.minimum.programs.highs import solve_lp
from mtpfast.proofs.clean_pass import amount_of, blocks, check_finite, clean_gradient, extent_of_block
from mtpfast.proofs.goal import NEAR
from mtpfast.training.victim import Fit

from .near_rows import fit_by_passes

__all__ = ["Measured", "Training", "measure", "train"]


DENSE_HESSIAN = 2500  # features up to which Newton's equations are formed
MOST_SHARES = 4 * 10**7  # entries of the rows on the margin, held dense
MOST_PASSES = 60
SETTLED = 1e-9  # relative: Newton's method stops, or need not begin, so near to the minimiser
BETWEEN = 1e-9  # a share this near to 0 or 1 is 0 or 1


class Measured(NamedTuple):
    """A model, and how far at most the minimiser is from it. ``trained``: it was found, and not only looked at."""

    theta: np.ndarray
    error: float
    trained: bool = False


class Training(NamedTuple):
    """Clean rows and poison: what the victim is trained on. ``amount`` sets k."""

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    points: object
    labels: np.ndarray
    counts: np.ndarray
    objective: Objective
    amount: float

    @property
    def k(self):
        return self.objective.k(self.amount)

    @property
    def ridge(self):
        """``k R``, a vector."""
        return self.k * self.objective.R(width(self.X))

    @property
    def point_weights(self):
        return np.array(
            [n * self.objective.weight_of(label) for n, label in zip(self.counts, self.labels, strict=True)]
        )


def measure(training: Training, theta, margin_tol) -> Measured | None:
    """Where training ends, from a start at ``theta``; None where neither a proof nor a fit can be had. The hinge is
    trained by passes for rows in parts only.

    Complexity: passes over the data in blocks; O(d^2) memory (smooth losses, up to :data:`DENSE_HESSIAN` features) or
    that of the rows on the margin (hinge).
    """
    free = training.objective.fit_intercept and training.objective.r == 0.0
    # with a free intercept (1) says nothing of it
    measured, step = (None, None) if free else _prove(training, theta, margin_tol)
    if not training.objective.loss.kinked:
        close = measured is not None and measured.error <= SETTLED * float(np.linalg.norm(theta))
        return measured if close or width(training.X) > DENSE_HESSIAN else _newton(training, theta)
    if step is not None and np.any(step):
        closer, _ = _prove(training, theta + step, margin_tol)
        if closer is not None and (measured is None or closer.error < measured.error):
            measured = closer
    told = measured is not None and measured.error <= NEAR * float(np.linalg.norm(theta))
    if told or not isinstance(training.X, RowParts):  # other rows are trained on in memory, where that is asked for
        return measured
    fit = fit_by_passes(training)
    # of a free intercept nothing is proved, here as in memory
    return Measured(fit.theta, math.sqrt(2.0 * fit.gap / training.k), trained=True)


def train(X, objective: Objective) -> Fit | None:
    """The victim of rows in parts, a pass for each model looked at: the hinge's by :func:`fit_by_passes`, that of a
    smooth loss by Newton's method from 0, and without a proof of its gap.

    None for a smooth loss and more than :data:`DENSE_HESSIAN` features, and where Newton's method does not converge.
    """
    d = width(X)
    smooth = not objective.loss.kinked
    if objective.is_balanced or (smooth and (d > DENSE_HESSIAN or objective.loss.missing())):
        return None
    nothing = np.empty((0, d)), np.empty(0), np.empty(0)
    training = Training(X, None, None, *nothing, objective, amount_of(X, None, objective))
    if not smooth:
        return fit_by_passes(training)
    found = _newton(training, np.zeros(d + 1))
    return None if found is None else Fit(found.theta, math.nan, 0)


def _prove(training: Training, theta, margin_tol):
    """(1) at one model, and the step that puts the rows with a share between 0 and 1 on the margin (hinge)."""
    objective, k = training.objective, training.k
    d = len(theta) - 1
    clean = clean_gradient(training.X, training.y, theta, objective, training.sample_weight, margin_tol=margin_tol)
    one = objective.one
    P, labels, c = sp.csr_matrix(training.points), training.labels, training.point_weights
    rows = sp.hstack([P, np.full((P.shape[0], 1), one)]).tocsr()
    margin, blur = _margins(rows, labels, theta)
    loss = objective.loss
    step = None
    if not loss.kinked:
        s = -loss.derivative(margin)
        doubt = np.maximum(-loss.derivative(margin - blur) - s, s + loss.derivative(margin + blur)) + 4e-16 * s
        on = np.zeros(len(labels), dtype=bool)
    else:
        on = np.abs(margin - 1.0) <= margin_tol + blur
        s, doubt = np.where(on | (margin > 1.0), 0.0, 1.0), np.zeros(len(labels))
    rest = clean.gradient + training.ridge * theta * (1.0 - clean.k / k) - rows.T @ (c * s * labels)
    size = abs(rows).T @ (c * s) + 2.0 * np.abs(training.ridge * theta) + np.abs(clean.gradient)
    error = clean.error + gamma(len(labels) + 16) * size + abs(rows).T @ (c * doubt)
    eps = 0.0
    if loss.kinked:
        free = clean.free_rows
        free = sp.hstack([sp.csr_matrix(free), np.full((free.shape[0], 1), one)]).tocsr()
        free = sp.vstack([free, rows[on]]).tocsr()
        signs, most = np.append(clean.free_labels, labels[on]), np.append(clean.free_weights, c[on])
        margin, blur = _margins(free, signs, theta)
        signed = sp.diags(signs) @ free
        t = _shares(sp.diags(most) @ signed, rest)
        if t is None:
            return None, None
        rest = rest - signed.T @ (most * t)
        error = error + gamma(len(t) + 16) * (abs(signed).T @ (most * t) + np.abs(rest))
        eps = float(
            most @ ((1.0 - t) * np.maximum(0.0, 1.0 - margin + blur) + t * np.maximum(0.0, margin - 1.0 + blur))
        )
        held = np.flatnonzero((t > BETWEEN) & (t < 1.0 - BETWEEN))
        step = np.zeros(d + 1)
        if len(held):
            A = signed[held].toarray()
            step = np.linalg.lstsq(A, 1.0 - margin[held], rcond=1e-10)[0]
    length = float(np.linalg.norm(rest)) + float(np.linalg.norm(error))
    return Measured(theta, (length + math.sqrt(length * length + 4.0 * k * eps)) / (2.0 * k)), step


def _margins(rows, labels, theta):
    """Margins of rows that end in the 1 of the intercept, and the bound of their rounding."""
    margin = labels * (rows @ theta)
    return margin, gamma(len(theta) + 4) * (abs(rows) @ np.abs(theta) + 1.0)


def _shares(pulls, rest):
    """t in [0, 1] that leave the least sum of ``|rest - pulls' t|``; None where the rows are too many.

    A linear program: at a vertex no more shares lie strictly between 0 and 1 than there are features.
    """
    m = pulls.shape[0]
    if not m:
        return np.zeros(0)
    used = np.flatnonzero(pulls.getnnz(axis=0))
    if m * len(used) > MOST_SHARES:
        return None
    A, b = pulls[:, used].T.tocsr(), rest[used]
    size = max(float(np.max(np.abs(b), initial=0.0)), np.finfo(float).tiny)
    cost = np.append(np.zeros(m), np.ones(2 * len(used)))
    left = sp.identity(len(used), format="csr") * size  # what is left over, in units of its largest entry
    bounds = np.column_stack([np.zeros(len(cost)), np.append(np.ones(m), np.full(2 * len(used), np.inf))])
    res = solve_lp(cost, None, None, sp.hstack([A, left, -left], format="csr"), b, bounds)
    if res.x is None:
        return None
    t = np.clip(res.x[:m], 0.0, 1.0)
    t[t <= 1e-7], t[t >= 1.0 - 1e-7] = 0.0, 1.0
    held = np.flatnonzero((t > 0.0) & (t < 1.0))
    if len(held):  # to the last digits
        t[held] += np.linalg.lstsq(A[:, held].toarray(), b - A @ t, rcond=1e-12)[0]
    return np.clip(t, 0.0, 1.0)


def _newton(training: Training, theta):
    """Newton's method, one pass for each model looked at; None where it does not converge."""
    value, gradient, hessian = _pass(training, theta)
    last = math.inf
    for _ in range(MOST_PASSES):
        step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        if not training.objective.fit_intercept:
            step[-1] = 0.0
        length, size = float(np.linalg.norm(step)), float(np.linalg.norm(theta))
        if length <= SETTLED * size or (length <= 1e-7 * size and length >= 0.5 * last):
            theta = theta + step  # the last step is a hundred times smaller than what it is compared with
            return Measured(theta, length)
        last, slope, t = length, float(gradient @ step), 1.0
        while True:
            there = _pass(training, theta + t * step)
            if there[0] <= value + 1e-4 * t * slope + 1e-14 * abs(value) or t < 1e-10:
                break
            t *= 0.5
        theta = theta + t * step
        value, gradient, hessian = there
    return None


def _pass(training: Training, theta):
    """(value, gradient, Hessian) of the objective of a smooth loss."""
    objective, ridge = training.objective, training.ridge
    sums = over(training.X, training.y, training.sample_weight, _Sums(objective, theta), _added)
    if len(training.labels):
        points = _LossSums(theta, objective)
        points.add(training.points, training.labels, training.point_weights)
        sums = _added(sums, points.sums)
    value, gradient, hessian = sums
    if not objective.one:
        hessian[-1, -1] = 1.0
    return value + 0.5 * float(ridge @ theta**2), gradient + ridge * theta, hessian + np.diag(ridge)


def _added(a, b):
    return tuple(x + y for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class _Sums:
    """(value, gradient, Hessian) of the summed loss over some of the clean rows: of any part of them."""

    objective: Objective
    theta: np.ndarray

    def __call__(self, X, y, sample_weight):
        sums = _LossSums(self.theta, self.objective)
        for _, rows, labels, own in blocks(X, y, sample_weight):
            check_finite(*extent_of_block(rows))
            c = self.objective.weights(labels, own)
            sums.add(rows, labels, np.ones(len(labels)) if c is None else c)
        return sums.sums


class _LossSums:
    """The sums, block by block."""

    def __init__(self, theta, objective):
        n = len(theta)
        self.theta, self.loss, self.one = theta, objective.loss, objective.one
        self.value, self.gradient, self.hessian = 0.0, np.zeros(n), np.zeros((n, n))

    @property
    def sums(self):
        return self.value, self.gradient, self.hessian

    def add(self, rows, labels, c):
        loss, one, gradient, hessian = self.loss, self.one, self.gradient, self.hessian
        margin = labels * (rows @ self.theta[:-1] + self.theta[-1])
        self.value += float(c @ loss.value(margin))
        pull, bend = c * loss.derivative(margin) * labels, c * loss.second_derivative(margin)
        gradient[:-1] += rows.T @ pull
        gradient[-1] += one * pull.sum()
        weighted = sp.diags(bend) @ rows if sp.issparse(rows) else bend[:, None] * rows
        square = weighted.T @ rows
        hessian[:-1, :-1] += square.toarray() if sp.issparse(square) else square
        across = one * np.asarray(weighted.sum(axis=0)).ravel()
        hessian[:-1, -1] += across
        hessian[-1, :-1] += across
        hessian[-1, -1] += one * bend.sum()
