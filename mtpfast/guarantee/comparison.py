"""Comparison models that lose less to the points that may come than the clean victim does.

Equation (4) of ``proofs/pointwise.py`` is concave in the comparison model too, once its clean loss is counted. A model
costs a read of the clean data per step, so that a few rows alike share one. The rows' multipliers move with it (L-BFGS,
all cases at once, the least of them softened), and lines are added where the minimum then is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

from mtpfast.arrays.parts import RowParts
from mtpfast.losses.objective import Objective
from mtpfast.proofs.clean_pass import blocks
from mtpfast.proofs.pointwise import can_branch, cases_of

from .search import N_LINES, Bundle, Soft

__all__ = ["compared", "ways_of"]


ALIKE, PER_READ = 8, 150_000  # rows that share a model: so many, or one for so many entries of X
BOTH = 500_000  # entries of X: where a read costs no more, parts and the whole are both tried
NARROWER = 1.7  # parts are of equal width in this root of the distance from one half
WHITE = 3.0  # the unit of the model's whitened variables, per root of m
ROUNDS, ROUNDS_PARTS = 3, 2  # of new lines: for all ratios, and for each of several parts
STEPS, MOST_STEPS = 20, 60  # of L-BFGS between them, at least and at most
TAIL = 0.06  # of the gain: where the last ten steps had no more, L-BFGS is stopped
WARM, COOLING = 2e-3, 0.75  # the temperature of a minimum over points, as a share of m, and what it falls by
ROUND = 0.02  # the temperature of the least case, as a share of m, and at first the width of the hinge's kink
LOOSE = 2.0  # cases that allow so many times the points of the one that allows least stay as they are for a round
POLISH, POLISH_PARTS = 8, 3  # rounds of the first search, at the model found: for all ratios, and for each of several


def compared(bundle, branches=1) -> list[tuple]:
    """``(rows, bundles)`` for groups of rows: a bundle, with a comparison model of its own, for every part of the
    ratios of the labels."""
    search = bundle.search
    ways = ways_of(search, branches)
    ratio = np.array([case.ratio for case in search.cases])[np.argmin(bundle.m, axis=1)]
    order = np.lexsort((bundle.m.min(axis=1), ratio))
    size = search.X.shape[0] * search.X.shape[1]
    n_alike = int(np.clip(size / PER_READ, ALIKE, max(ALIKE, len(order))))
    groups = np.array_split(order, max(1, round(len(order) / n_alike))) if len(order) else []
    return [(rows, in_turn(bundle, rows, way)) for rows in groups for way in ways]


def ways_of(search, branches) -> list:
    """The ways to cover all ratios of the labels that are tried: by one part or by several, or both where a read costs
    little."""
    whole, several = [(0.0, 1.0)], list(pairwise(ends_of_parts(branches)))
    if branches == 1 or not can_branch(search.objective, search.hulls):
        return [whole]
    return [whole, several] if search.X.shape[0] * search.X.shape[1] <= BOTH else [several]


def in_turn(bundle, rows, way) -> list:
    """The bundles of the parts of a way, of those first that hold most ratios near one half: what the others prove
    beyond them is of no account."""
    found, goal = [], np.full(len(rows), np.inf)
    for ratios in sorted(way, key=lambda ratios: abs(sum(ratios) - 1.0)):
        found.append(Shared(bundle, rows, ratios).run(goal))
        goal = np.minimum(goal, found[-1].count + 1.0)
    return found


@dataclass(frozen=True)
class Smoothed:
    """The clean loss at theta, the hinge's kink smoothed over ``width``, and its gradient."""

    objective: Objective
    theta: np.ndarray
    width: float

    def __call__(self, X, y, weights):
        """Of rows with what they weigh, in the precision of X."""
        loss, one, theta = self.objective.loss, self.objective.one, self.theta
        margin = y * (X @ theta[:-1].astype(X.dtype) + one * theta[-1])
        if loss.smooth:
            value, slope = loss.value(margin), -loss.derivative(margin)
        else:
            slope = np.clip((1.0 - margin) / self.width + 0.5, 0.0, 1.0)
            value = np.where(slope < 1.0, 0.5 * self.width * slope * slope, 1.0 - margin)
        pull = weights * slope * y
        return float(weights @ value), -np.append(pull.astype(X.dtype) @ X, one * pull.sum())

    def of_part(self, X, y, sample_weight):
        """Of one part, in blocks."""
        value, gradient = 0.0, np.zeros(len(self.theta))
        for _, rows, labels, own in blocks(X, y, sample_weight):
            weights = self.objective.weights(labels, own)
            more = self(rows, labels, np.ones(len(labels)) if weights is None else weights)
            value, gradient = _added((value, gradient), more)
        return value, gradient


def _added(a, b):
    return a[0] + b[0], a[1] + b[1]


def ends_of_parts(n_parts) -> list:
    """The ends of so many parts of the ratios, narrower where both labels pull alike: the attacks that bind do so."""
    at = np.linspace(-1.0, 1.0, n_parts + 1)
    return (0.5 + 0.5 * np.sign(at) * np.abs(at) ** NARROWER).tolist()


class Shared:
    """A comparison model, and the multipliers of the rows that share it."""

    def __init__(self, bundle, rows, ratios=(0.0, 1.0)):
        self.narrow, self.whiten = bundle.search.narrow, bundle.search.whiten  # before the copy: once for all
        self.search = copy.copy(bundle.search)
        self.search.ratios = ratios
        self.search.cases = cases_of(self.search.objective, self.search.hulls, self.search.theta, ratios)
        self.bundle = _part(bundle, rows, self.search)
        self.theta = self.search.theta.copy()
        objective, y = self.search.objective, self.search.y
        if y is not None:
            weights = objective.weights(y, self.search.sample_weight)
            self.weights = np.ones(len(y)) if weights is None else weights

    def run(self, goal=np.inf) -> Bundle:
        """The bundle of the rows, settled, at the model found; sooner where all have their goal."""
        bundle, everyone = self.bundle, np.arange(len(self.bundle.a))
        is_whole = self.search.ratios == (0.0, 1.0)
        for turn in range(ROUNDS if is_whole else ROUNDS_PARTS):
            if turn and np.all(bundle.m.min(axis=1) >= goal):
                break
            self.moved(turn)
            rows = everyone[bundle.n_lines < N_LINES]
            if len(rows):
                bundle.add(rows, self._where(rows, turn))
        self._compare(self.theta)
        done = np.all(bundle.m.min(axis=1) >= goal)
        for _ in range(0 if done else POLISH if is_whole else POLISH_PARTS):
            rows = everyone[bundle.n_lines < N_LINES]
            if len(rows):
                self.search.look_closer(bundle, rows)
        bundle.first = tuple(part.copy() for part in bundle.multipliers)
        bundle.settle()
        return bundle

    def _compare(self, theta):
        """Make theta the comparison model: its loss, its cases, and the numbers of points that the rows then have."""
        search, bundle = self.search, self.bundle
        own = search.lines_at(theta[None], compared=(0,))
        search.theta, search.loss = theta, float(own.loss[0])
        search.cases = cases_of(search.objective, search.hulls, theta, search.ratios)
        bundle.comparison = bundle.n_models
        bundle.models.append(theta[None])
        bundle.lines.append(own)
        bundle.n_models += 1
        for j in range(len(search.cases)):
            bundle.grow(np.arange(len(bundle.a)), j)

    def _heat(self, turn):
        return WARM * COOLING**turn * np.maximum(self.bundle.m.min(axis=1), 1.0)

    def _soft(self, m, cases):
        bundle = self.bundle
        of = self.search.cases
        return [Soft(self.search, of[j], bundle.a, m, bundle.centre[:, j], bundle.pi[:, j]) for j in cases]

    def _where(self, rows, turn):
        """Where the binding case of every row has its minimum."""
        bundle = self.bundle
        m, heat = np.maximum(bundle.m.min(axis=1), 0.5), self._heat(turn)
        value, mean = [], []
        for j, soft in enumerate(self._soft(m, range(len(self.search.cases)))):
            soft.at(*bundle.mixed(np.arange(len(m)), bundle.mu[:, j]), bundle.tau[:, j], bundle.lam[:, j], heat)
            value.append(soft.value)
            mean.append(soft.mean)
            bundle.centre[:, j] = soft.mean[:, -1]
        return np.array(mean)[np.argmin(value, axis=0), np.arange(len(m))][rows]

    def _loss(self, theta, width):
        """The clean loss, the hinge's kink smoothed, and its gradient."""
        search, asked = self.search, Smoothed(self.search.objective, theta, width)
        if isinstance(search.X, RowParts):
            return search.X.map_reduce(asked.of_part, _added)
        return asked(self.narrow, search.y, self.weights)

    def moved(self, turn):
        """The model after L-BFGS over model and multipliers; then the numbers of points that they allow.

        The model's variables are whitened: where the penalty is weak, its second derivative has a condition of 1e5 and
        more. Those of a mixture are divided by their sum: sums above 1, at whatever price, would buy loss for nothing.
        """
        search, bundle = self.search, self.bundle
        cases = np.flatnonzero((bundle.m <= LOOSE * bundle.m.min(axis=1)[:, None] + 1.0).any(axis=0))
        K, J, T, P, D = len(bundle.a), len(cases), int(bundle.n_lines.max()), bundle.pi.shape[2], len(self.theta)
        m = np.maximum(bundle.m.min(axis=1), 0.5)
        heat, width = self._heat(turn), ROUND * 0.7**turn + 1e-3
        softs, scale = self._soft(m, cases), m[:, None]
        have = (np.arange(T) < bundle.n_lines[:, None])[:, None]
        c, p = bundle.c[:, :T], bundle.p[:, :T]
        unit = max(1.0, float(np.median(bundle.tau)))
        whiten = sp.identity(D) if self.whiten is None else WHITE * np.sqrt(float(np.median(m))) * self.whiten
        has_margin = [soft.case.has_margin for soft in softs]
        some = np.array([len(soft.limits) for soft in softs])
        ends = np.cumsum([D, K * J * T, K * J, K * J, K * J * P])

        def apart(v):
            away, mu, tau, lam, pi = np.split(v, ends[:-1])
            mu = mu.reshape(K, J, T)
            total = np.maximum(mu.sum(axis=2, keepdims=True), 1e-12)
            tau, lam = unit * tau.reshape(K, J), lam.reshape(K, J)
            return self.theta + away @ whiten, mu / total, total, tau, lam, pi.reshape(K, J, P)

        def function(v):
            theta, mu, sums, tau, lam, pi = apart(v)
            search.theta = theta
            loss, by_theta = self._loss(theta, width)
            values, parts = np.empty((K, J)), []
            for j, soft in enumerate(softs):
                soft.theta, soft.loss, soft.pi = theta, loss, pi[:, j]
                mixed = np.einsum("kt,kt->k", mu[:, j], c), np.matmul(mu[:, j, None], p)[:, 0]
                soft.at(*mixed, tau[:, j], lam[:, j], heat)
                values[:, j] = soft.value
                parts.append((soft, soft.mean))
            fall = -values / (ROUND * scale)
            top = fall.max(axis=1, keepdims=True)
            share = np.exp(fall - top)
            total = share.sum(axis=1, keepdims=True)
            least = -ROUND * float((np.log(total) + top).sum())
            share /= total * scale
            by_theta = -share.sum() * by_theta
            by_mu, by_tau, by_lam, by_pi = np.empty((K, J, T)), np.empty((K, J)), np.empty((K, J)), np.zeros((K, J, P))
            for j, (soft, mean) in enumerate(parts):
                part = share[:, j, None]
                by_theta += (part * (soft.M * soft.z - soft.k * search.R * mean)).sum(axis=0)
                by_mu[:, j] = part * (c - np.matmul(p, mean[:, :, None])[:, :, 0])
                by_tau[:, j] = share[:, j] * np.einsum("kd,kd->k", bundle.a, mean)
                by_lam[:, j] = share[:, j] * (soft.pushed - soft.M[:, 0] * soft.kappa) if has_margin[j] else 0.0
                by_pi[:, j, : some[j]] = part * (soft.z @ soft.planes.T - soft.limits)
            by_mu = (by_mu - (mu * by_mu).sum(axis=2, keepdims=True)) / sums
            gradient = whiten @ by_theta, np.where(have, by_mu, 0.0), unit * by_tau, by_lam, by_pi
            return -least, -np.concatenate([part.ravel() for part in gradient])

        start = [part[:, cases] for part in (bundle.mu[:, :, :T], bundle.tau / unit, bundle.lam, bundle.pi)]
        bounds = [(None, None)] * D + [(0.0, 1.0)] * (K * J * T) + [(0.0, None)] * (K * J * (2 + P))
        start = np.concatenate([np.zeros(D), *(part.ravel() for part in start)])
        values = [function(start)[0]]

        def enough(intermediate_result):
            values.append(intermediate_result.fun)
            if len(values) > STEPS and values[-11] - values[-1] < TAIL * (values[0] - values[-1]):
                raise StopIteration

        way = {"method": "L-BFGS-B", "options": {"maxiter": MOST_STEPS}, "callback": enough}
        with np.errstate(over="ignore", invalid="ignore"):  # in single precision, where margins are squared
            found = minimize(function, start, jac=True, bounds=bounds, **way).x
        found = found if np.isfinite(found).all() else start
        self.theta, mu, _, bundle.tau[:, cases], bundle.lam[:, cases], bundle.pi[:, cases] = apart(found)
        bundle.mu[:, cases, :T] = mu
        search.theta, search.loss = self.theta, self._loss(self.theta, 1e-9)[0]
        search.cases = cases_of(search.objective, search.hulls, self.theta, search.ratios)
        before = bundle.m.min(axis=1)
        for j in range(len(search.cases)):
            bundle.grow(np.arange(K), j)
        bundle.m = np.where((bundle.m.min(axis=1) < before)[:, None], before[:, None], bundle.m)
        return self.theta


def _part(bundle, rows, search) -> Bundle:
    """Some rows of a bundle, with the lines that they use."""
    part = copy.copy(bundle)
    part.search, part.a = search, bundle.a[rows]
    use = bundle.mu[rows].max(axis=1)
    order = np.argsort(-use, axis=1, kind="stable")
    kept = min(N_LINES - ROUNDS - POLISH, max(1, int((use > 0.0).sum(axis=1).max())))
    order = order[:, :kept]
    at = rows[:, None], order
    part.c, part.p = np.zeros((len(rows), N_LINES)), np.zeros((len(rows), N_LINES, bundle.p.shape[2]))
    part.index = np.zeros((len(rows), N_LINES), dtype=np.intp)
    part.mu = np.zeros((len(rows), bundle.mu.shape[1], N_LINES))
    part.c[:, :kept], part.p[:, :kept], part.index[:, :kept] = bundle.c[at], bundle.p[at], bundle.index[at]
    part.mu[:, :, :kept] = np.take_along_axis(bundle.mu[rows], order[:, None], axis=2)
    part.n_lines = np.full(len(rows), kept)
    for name in ("tau", "lam", "pi", "m", "rounds", "stale", "seen", "centre"):
        setattr(part, name, getattr(bundle, name)[rows].copy())
    part.rounds = np.maximum(part.rounds, 4)
    part.models, part.lines = list(bundle.models), list(bundle.lines)
    return part
