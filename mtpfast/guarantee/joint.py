"""The search for the multipliers of the joint bounds: see ``proofs/joint.py``."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rounding import UNIT
from mtpfast.proofs.clean_pass import amount_of
from mtpfast.proofs.joint import SIDES, Joint, roles_of
from mtpfast.proofs.lines import lines_of, widths_of
from mtpfast.proofs.pointwise import Pointwise, cases_of

from .comparison import Shared
from .newton import newton
from .search import Bundle, Soft

__all__ = ["joint_of"]


NEAREST, OWN = 3, 3  # rows whose counts are nearest to a number of points, and lines of each
HEATS = (1e-3, 1e-4)  # temperatures, as shares of the number of points
ASIDE, LOW = 0.5, 4.0  # from the victim's free intercept: where the first lines that enclose it touch
FAR = 1e4  # from the victim, in its norms: where lines may touch
LINES = 2  # new lines for each of errors and loss
TRIALS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.8, 2.5)  # of the tau that were best were all quadratic
TURNS = 3  # of the weights of the rows


class Role(NamedTuple):
    """The multipliers of one proof."""

    mu: np.ndarray
    tau: float
    lam: float
    pi: np.ndarray


def joint_of(search, proof: Pointwise, counts, told) -> Joint | None:
    """Joint bounds at these numbers of points, growing from 1 on; None where there are none.

    ``told`` is called after every number. A KeyboardInterrupt keeps those that are done.
    """
    block = proof.rows.toarray() if sp.issparse(proof.rows) else proof.rows
    a = proof.signs[:, None] * np.column_stack([block, np.full(len(block), search.objective.one)])
    levels = []
    with suppress(KeyboardInterrupt):
        for count in counts:
            level = Level(search, proof, a, int(count))
            level.run()
            levels.append(level)
            told()
    if not levels:
        return None
    counts = counts[: len(levels)]
    J, P, n_models = len(search.cases), proof.pi.shape[2], 1
    models, weights, comparison = [search.theta[None]], [], []
    shape, roles = (len(counts), J, len(a)), roles_of(search.objective)
    lam, pi, eta = np.zeros((*shape[:2], roles)), np.zeros((*shape[:2], roles, P)), np.zeros(shape[:2])
    below, above, e = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for b, level in enumerate(levels):
        own = np.append(0, n_models + np.arange(len(level.models) - 1))  # the first line is the clean victim's
        models.append(level.models[1:])
        n_models += len(level.models) - 1
        comparison.append(own[[level.compared, level.robust]])
        below[b], above[b], e[b] = level.below, level.above, level.e
        for j in range(J):
            for role, found in enumerate(level.roles[j]):
                used = np.flatnonzero(found.mu)
                weights.append((np.full(len(used), (b * J + j) * roles + role), own[used], found.mu[used]))
                lam[b, j, role], pi[b, j, role, : len(found.pi)] = found.lam, found.pi
            eta[b, j] = level.roles[j][1].tau
    joined = [np.concatenate(part) for part in zip(*weights, strict=True)]
    B, n = len(counts), len(a)
    used, place = np.unique(np.concatenate([[0], np.ravel(comparison), joined[1]]), return_inverse=True)
    models, comparison, joined[1] = np.vstack(models)[used], place[1 : 1 + 2 * B].reshape(B, 2), place[1 + 2 * B :]
    nothing = np.full(B, n), np.full((B, n), -np.inf), np.full(B, np.inf), np.ones(B)
    made = Joint(counts, models, comparison, *joined, lam, pi, below, above, eta, e, *nothing)
    own = search.sample_weight, proof.margin_rows, proof.margin_slopes, np.unique(made.comparison)
    lines = lines_of(
        made.models, search.X, search.y, search.objective, *own, widths_of(len(made.models), proof.width)
    )
    amount = amount_of(search.X, search.y, search.objective, search.sample_weight)
    proved = made.proved(proof, proof.lower_bound, lines, amount)
    # A check elsewhere may add up in another order: what is claimed allows for that.
    slack = 1e-9 * (1.0 + np.abs(proved.score)), 1.0 + 1e-9
    with np.errstate(invalid="ignore"):
        score = proved.score - slack[0]
    error = np.minimum(1.0, proved.error * slack[1])
    return Joint(*(getattr(made, name) for name in FIELDS), proved.wrong, score, proved.loss * slack[1], error)


FIELDS = ("counts", "models", "comparison", "weight_of", "weight_model", "weight", "lam", "pi", "below", "above", "eta",
          "e")  # fmt: skip


class Level:
    """The level sets of one number of points, one a case, with a comparison model and lines of their own."""

    def __init__(self, search, proof, a, count):
        self.search, self.a, self.m, self.proof = copy.copy(search), a, float(count), proof
        self.alone = proof.lower_bound <= count
        models, compared = self._chosen(proof, count)
        self._read(models, compared)
        self.right, self.robust = a @ search.theta > 0.0, len(models)
        self.is_free, self.interval = search.objective.is_free, None
        self._compare(self.models[compared], float(self.loss))

    def _compare(self, theta, loss):
        """Make theta the comparison model."""
        self.cases = cases_of(self.search.objective, self.search.hulls, theta)
        self.search.cases, self.search.theta, self.search.loss = self.cases, theta, loss

    def _chosen(self, proof, count):
        """Models that the proofs of nearly so many points use, the clean victim first, and the comparison model."""
        J = proof.tau.shape[1]
        done = np.flatnonzero(proof.lower_bound > 0)
        apart = np.abs(np.log(np.maximum(proof.lower_bound[done], 1)) - np.log(count + 1.0))
        near = done[np.argsort(apart, kind="stable")[:NEAREST]]
        row = proof.part_row[proof.weight_of // J]
        chosen = [0, *(proof.comparison[proof.part_row == i][0] for i in near[:1])]
        compared = len(chosen) - 1
        for i in near:
            at = np.flatnonzero(row == i)
            chosen += proof.weight_model[at[np.argsort(-proof.weight[at], kind="stable")[:OWN]]].tolist()
        chosen = list(dict.fromkeys(chosen))
        return proof.models[chosen], min(compared, len(chosen) - 1)

    def _read(self, models, compared):
        search, proof = self.search, self.proof
        own = search.sample_weight, proof.margin_rows, proof.margin_slopes, (compared,)
        lines = lines_of(models, search.X, search.y, search.objective, *own, widths_of(len(models), proof.width))
        self.models, self.compared, self.loss = models, compared, lines.loss[compared]
        self.c, self.p = lines.c, lines.p

    def _add(self, theta):
        search = self.search
        lines = search.lines_at(theta[None])
        self.models = np.vstack([self.models, theta[None]])
        self.c, self.p = np.append(self.c, lines.c), np.vstack([self.p, lines.p])

    def _near(self, theta):
        """theta, or the model FAR out on the way to it: a line that touches farther out has no digits left."""
        middle = self.search.theta
        away, far = np.linalg.norm(theta - middle), FAR * (1.0 + np.linalg.norm(middle))
        if not np.isfinite(away):
            return middle
        return theta if away <= far else middle + (theta - middle) * (far / away)

    def _soft(self, j, a, pi=None):
        P = self.proof.pi.shape[2]
        pi = np.zeros((len(a), P)) if pi is None else np.tile(pi, (len(a), 1))
        m = np.full(len(a), self.m)
        soft = Soft(self.search, self.cases[j], a, m, np.zeros(len(a)), pi)
        soft.interval = self.interval
        return soft

    def _maximised(self, j, a, offset=0.0, price=0.0, start: Role | None = None):
        """``V(tau a) - tau offset - price sum(mu)`` at its largest: the multipliers, V, and the minimiser."""
        T, case = len(self.c), self.cases[j]
        mu, tau, lam, pi = start or Role(np.ones(T), self.search.k / max(1.0, float(a @ a)), 0.5, None)
        mu = np.append(mu, np.zeros(T - len(mu)))
        soft = self._soft(j, a[None], pi)
        soft.offset = offset
        lam = np.array([max(lam, 1e-3)]) if case.has_margin else np.zeros(1)
        mu, tau = 0.9 * np.maximum(mu / max(mu.sum(), 1e-300), 1e-3)[None], np.array([max(tau, 1e-9)])
        mu *= 0.95 / max(1.0, mu.sum())
        scale = max(self.m * max(case.weight, 0.1), 1e-3)
        for share in HEATS:
            mu, tau, lam, pi = newton(
                soft, self.c[None] - price, self.p[None], a[None], mu, tau, lam, np.array([share * scale])
            )
        mu = np.where(mu[0] > 1e-7, mu[0], 0.0)
        found = Role(mu, float(tau[0]), float(lam[0]) if case.has_margin else 0.0, pi[0])
        heat = np.array([HEATS[-1] * scale])
        mean = self._at(j, a[None], found, np.array([found.tau]), heat).mean[0]
        return found, float(self._at(j, a[None], found, np.array([found.tau])).value[0]), mean

    def _at(self, j, a, role: Role, tau, heat=None):
        soft, K = self._soft(j, a, role.pi if len(role.pi) else None), len(a)
        T = len(role.mu)  # lines may have been added since
        mixed = np.full(K, role.mu @ self.c[:T]), np.tile(role.mu @ self.p[:T], (K, 1))
        return soft.at(*mixed, tau, np.full(K, role.lam), heat)

    def run(self):
        nothing, J = np.zeros(self.a.shape[1]), len(self.cases)
        before = self.search.theta, self.search.loss
        robust = self._robust()
        enclosed = self._enclosed() if self.is_free else [()] * J
        if self.is_free and not np.all(np.isfinite(self.interval)):
            self.below = self.above = self.e = np.zeros((J, len(self.a)))
            self.roles = [[self._none()] * roles_of(self.search.objective)] * J
            return
        self._compare(*robust)
        loss = self._losses()
        self._compare(*before)
        scores = [self._maximised(j, nothing)[:2] for j in range(J)]
        ends = [self._scores(j, *found) for j, found in enumerate(scores)]
        self.below, self.above = (np.array([end[side][1] for end in ends]) for side in (0, 1))
        high = np.array([end[1][0] for end in ends])
        self.e, errors = np.zeros((J, len(self.a))), [None] * J
        first = None
        for j in range(J):
            self.e[j], errors[j] = self._errors(j, high[j], first)
        widened = [(scores[j][0], errors[j], loss[j], *enclosed[j]) for j in range(J)]
        T = len(self.c)
        self.roles = [[role._replace(mu=np.append(role.mu, np.zeros(T - len(role.mu)))) for role in roles]
                      for roles in widened]  # fmt: skip

    def _enclosed(self):
        """Multipliers that enclose a free intercept, of every case from below and from above; sets the interval."""
        J, e, nothing = len(self.cases), np.zeros(self.a.shape[1]), np.zeros(self.a.shape[1])
        e[-1], middle = 1.0, self.search.theta[-1]
        for step in (-LOW, -ASIDE, ASIDE, LOW):
            self._add(self.search.theta + step * e)
        found, bound = [[None] * len(SIDES) for _ in range(J)], np.full((J, len(SIDES)), -np.inf)
        for number, (_, side) in enumerate(SIDES):
            last, worst = None, range(J)
            for turn in range(LINES + 1):
                means = {}
                for j in worst:
                    last = found[j][number] or last
                    for trial in range(3):
                        known = np.isfinite(bound[j, number])
                        held = bound[j, number] if known else side * middle - LOW * 8.0**trial
                        self.interval = side * held, side * held
                        role, _, means[j] = self._maximised(j, nothing, start=last)
                        here = self._intercept(j, side * e, role)
                        if here > bound[j, number]:
                            last = role._replace(tau=1.0)
                            found[j][number], bound[j, number] = last, here
                        elif known:
                            break
                lowest = bound[:, number].min()
                if turn == LINES or not np.isfinite(lowest):
                    break
                self._add(self._near(means[min(means, key=lambda j: bound[j, number])]))
                worst = np.flatnonzero(bound[:, number] <= lowest + 0.1 * abs(lowest - side * middle))
        self.interval = float(bound[:, 0].min()), float(-bound[:, 1].min())
        return [[role or self._none() for role in roles] for roles in found]

    def _intercept(self, j, a, role):
        """The bound of ``a . theta``, a plus or minus the intercept's unit vector."""
        self.interval = None
        soft = self._at(j, a[None], role, np.zeros(1))
        tau, value = float(soft.tau[0]), float(soft.value[0])
        return value / tau if tau > 0.0 else -np.inf

    def _none(self):
        """Multipliers that prove nothing."""
        return Role(np.append(1.0, np.zeros(len(self.c) - 1)), 0.0, 0.0, np.zeros(0))

    def _robust(self):
        """A comparison model for the clean loss, and its loss: its line is added."""
        search, T = self.search, len(self.c)
        bundle = Bundle(search, np.zeros((1, self.a.shape[1])))
        price = 1.5 * (search.loss + 0.5 * self.m)
        bundle.c[0, :T], bundle.p[0, :T], bundle.n_lines[:] = self.c - price, self.p, T + 1
        bundle.mu[:, :, :T], bundle.mu[:, :, T] = 0.5 / T, 0.5  # the last line is the 0 that the loss is above
        bundle.m[:] = self.m
        shared = Shared(bundle, np.zeros(1, dtype=np.intp))
        theta = shared.moved(0)
        lines = search.lines_at(theta[None], compared=(0,))
        self._add(theta)
        return theta, float(lines.loss[0])

    def _losses(self):
        """Multipliers for the clean loss, case by case."""
        J, nothing = len(self.cases), np.zeros(self.a.shape[1])
        found, bound, worst = [None] * J, np.full(J, np.inf), 0
        for turn in range(LINES + 1):
            order = range(J) if turn == 0 else np.flatnonzero(bound >= 0.9 * bound.max())
            best = np.full(J, -np.inf)
            for j in order:
                price = bound[j] if np.isfinite(bound[j]) else 2.0 * self.search.loss
                for _ in range(2):
                    role, value, mean = self._maximised(j, nothing, price=price, start=found[j])
                    here = -value / max(1.0 - role.mu.sum(), 1e-9)
                    if here < bound[j] or found[j] is None:
                        found[j], bound[j] = role, here
                    if here > 0.999 * price:
                        break
                    price = here
                best[j] = bound[j]
                if j == int(np.argmax(best)):
                    worst = mean
            if turn < LINES:
                self._add(self._near(worst))
        return found

    def _scores(self, j, role, level):
        """For both sides the bound of every score, and its tau."""
        size = np.sqrt(np.maximum((self.a * self.a).sum(axis=1), 1e-300))
        k = self.search.k + self.m * self.cases[j].k_unit
        unit = np.sqrt(4.0 * k * max(-level, 1e-12 * (1.0 + abs(self.search.loss)))) / size
        found = []
        for sign in (1.0, -1.0):
            bound, tau = np.full(len(size), -np.inf), np.zeros(len(size))
            for trial in TRIALS:
                value = self._at(j, sign * self.a, role, trial * unit).value / (trial * unit)
                better = value > bound
                bound, tau = np.where(better, value, bound), np.where(better, trial * unit, tau)
            found.append((sign * bound, tau))
        return found

    def _errors(self, j, high, first):
        """Weights of the rows, and the multipliers of their sum."""
        room = 1.0 / np.maximum(high * (1.0 + 1e-9) + 16 * UNIT, 1e-300)
        may = self.alone & self.right & (high > 0.0)
        e, best = np.where(may, room, 0.0), (-np.inf, np.zeros(len(high)), None)
        role = first
        for turn in range(TURNS):
            T = e @ self.a
            if not np.any(T):
                break
            offset = 0.5 * float(T @ self.search.theta)
            for _ in range(2):
                role, value, mean = self._maximised(j, T, offset=offset, start=role)
                here = value / role.tau
                if abs(here - offset) <= 1e-3 * (1.0 + abs(here)):
                    break
                offset = here
            if here > best[0]:
                best = here, e, role
            if turn < TURNS - 1:
                self._add(self._near(mean))
                e = np.where(may & (self.a @ mean > 0.0), room, 0.5 * e)
        if best[2] is None or best[0] <= 0.0:
            return np.zeros(len(high)), self._none()
        return best[1], best[2]
