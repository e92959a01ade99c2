"""The search for what proves most: a bundle method over many rows at a time.

Equation (4) of ``proofs/pointwise.py`` is concave in the mixture of lines, tau, lam and pi. For every row and case it
is maximised by Newton's method with a logarithmic barrier, the minimum over the points softened by the same
temperature; its mean minimiser theta is where the next line touches the clean loss. The number m of points grows to
where (4) is 0, and all begins again, for the case of the row that allows least. Nothing here is believed: what comes
out is evaluated by the proof's own arithmetic.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property

import numpy as np

from mtpfast import _master
from mtpfast.arrays.parts import RowParts
from mtpfast.proofs.clean_pass import amount_of
from mtpfast.proofs.hulls import planes_of
from mtpfast.proofs.lines import Lines, lines_of
from mtpfast.proofs.pointwise import Case

from .nearest import look_nearest, whitened
from .newton import newton

__all__ = ["Bundle", "Search", "Soft"]


N_LINES = 32  # per row
FIRST, FEW = 10, 2  # of them at the clean victim, models that prove more come after; few where parts are to come
SMALL, OFF = 200, 5.0  # ``nearest`` is for models of so few entries, or a last line above the mixture by so much of m
MOST = 8.0  # points per clean row that anything is proved of
NEAR = 1.25  # cases that allow so much more than the one that allows least are looked at with it
WEAK = 0.05  # of k: how a free intercept is held near the last minimiser's, while a search goes on
REACH = 100.0  # times the scale of scores: models farther off are of no use
PATIENCE, FEW_CASES = 4, 5  # lines that bring nothing before a row is left; half as many where cases are many
WIDTH = 0.02  # of margins over which the slopes of the hinge's lines fall: see ``nearest``
NONE, NEVER = np.empty(0, dtype=np.intp), np.empty(0, dtype=np.uint8)
HOT, COLD = 3e-3, 2e-4  # temperatures, as shares of the right side of (1)


class Soft:
    """Equation (4) of some rows of one case, at one choice of multipliers, with its minimiser."""

    def __init__(self, search, case: Case, a, m, centre, pi):
        self.case, self.hull, self.a, self.m = case, case.hull, a, m
        self.theta, self.R, self.pi = search.theta, search.R, pi
        some = len(self.hull.limits) if case.weight > 0.0 else 0
        self.planes, self.limits = self.hull.planes[:some], self.hull.limits[:some]
        self.k = np.repeat((search.k + case.k_unit * m)[:, None], a.shape[1], axis=1)
        self.is_free, self.centre, self.interval = search.objective.is_free, centre, None
        if self.is_free:
            self.k[:, -1] *= WEAK
        self.M = (m * case.weight)[:, None]
        self.kappa = case.kappa if case.has_margin else 0.0
        self.push_off, self.push_on = self.M * self.hull.lower, self.M * self.hull.upper
        self.loss, self.offset = search.loss, 0.0

    def at(self, c, p, tau, lam, heat=None):
        """Set ``value``, ``off`` and ``on`` (the minimisers theta of both ends) and ``share`` (of the upper end).

        The half-space is ``a . theta <= offset``. A free intercept is at either end of ``interval``; where there is
        none near ``centre``, or without heat left out by the multiplier ``tau`` that this takes.
        """
        rest = 1.0 - lam
        exact = self.is_free and heat is None and self.interval is None
        if exact:
            tau = self.a[:, -1] * (p[:, -1] + self.push_on[:, -1] * rest)
        q = tau[:, None] * self.a - p - self.k * (self.R * self.theta)
        ends = []
        for end, push, z in ((0, self.push_off, self.hull.lower), (1, self.push_on, self.hull.upper)):
            theta, value = np.empty_like(q), np.empty_like(q)
            _master.ends(q, push, rest, self.k, self.theta, theta, value)
            if len(self.limits):
                value += (self.pi[:, : len(self.limits)] @ self.planes) * z
            if exact:
                theta[:, -1], value[:, -1] = 0.0, push[:, -1] * self.theta[-1]
            elif self.interval is not None:
                value[:, -1] = push[:, -1] * self.theta[-1] - 2.0 * self.k[:, -1] * theta[:, -1] * self.interval[end]
                theta[:, -1] = self.interval[end]
            elif self.is_free:
                value[:, -1] -= 2.0 * self.k[:, -1] * theta[:, -1] * self.centre
                theta[:, -1] += self.centre
            ends.append((theta, value))
        (self.off, low), (self.on, high) = ends
        if heat is None:
            least, self.share = self.hull.least(low, high)
            self.share = self.share.astype(float)
        else:
            least, self.share = _softened(self.hull, low, high, heat)
        self.value = c - self.loss - self.M[:, 0] * lam * self.kappa + least
        self.value -= self.pi[:, : len(self.limits)] @ self.limits
        self.tau, self.value = tau, self.value - tau * self.offset
        if exact:
            self.value = np.where(tau >= 0.0, self.value, np.minimum(self.value, 0.0) - self.loss * np.abs(tau) - 1e-9)
        return self

    @property
    def mean(self):
        """The minimiser theta."""
        return self.off + self.share * (self.on - self.off)

    @property
    def z(self):
        """The signed points at the minimiser, in the mean."""
        return self.hull.lower + self.share * (self.hull.upper - self.hull.lower)

    @property
    def pushed(self):
        """``M z . theta`` at the minimiser."""
        return (self.push_off * self.off * (1.0 - self.share) + self.push_on * self.on * self.share).sum(axis=1)

    def growth(self, lam):
        """How ``value`` changes with m, the multipliers staying what they are."""
        theta, hull, case = self.mean, self.hull, self.case
        penalty = (theta * theta) @ self.R - theta @ (self.R * self.theta)
        product = ((1.0 - self.share) * hull.lower * self.off + self.share * hull.upper * self.on).sum(axis=1)
        side = lam * self.kappa + (1.0 - lam) * product - self.z @ self.theta
        change = case.k_unit * penalty - case.weight * side
        if self.is_free:
            along = self.a[:, -1] * hull.lower[-1] * (1.0 - lam) * case.weight
            change += along * np.einsum("ij,ij->i", self.a, theta)
        return change


def _softened(hull, low, high, heat):
    """``least`` with the minimum over the levels of a group softened: ``-heat log sum exp(-value / heat)``."""
    share = np.empty_like(low)
    groups = (NONE, NONE, NEVER) if hull.order is None else (hull.order, hull.starts, hull.exactly.view(np.uint8))
    return _master.softened(low, high, np.ascontiguousarray(heat), *groups, share), share


class Search:
    """The clean victim, the points, and the lines that all rows share.

    Parameters
    ----------
    X, y, objective, sample_weight
        The clean data.
    theta : ndarray of shape (d + 1,)
        The clean victim.
    hulls : dict of label to Hull
    cases : list of Case
    first : Lines
        Of theta alone, with the slopes that its margin rows have.
    """

    def __init__(self, X, y, objective, sample_weight, theta, hulls, cases, first: Lines):
        self.X, self.y, self.objective, self.sample_weight = X, y, objective, sample_weight
        self.theta, self.hulls, self.cases, self.first = theta, hulls, cases, first
        self.ratios, self.width = (0.0, 1.0), 0.0 if objective.loss.smooth else WIDTH
        self.R = objective.R(len(theta) - 1)
        self.k = objective.k(amount_of(X, y, objective, sample_weight))
        self.loss = float(first.loss[0])
        self.most = MOST * X.shape[0]

    def lines_at(self, models, compared=()) -> Lines:
        """The lines of models found."""
        own = self.X, self.y, self.objective, self.sample_weight
        return lines_of(models, *own, compared=compared, widths=np.full(len(models), self.width))

    @cached_property
    def narrow(self):
        """X in single precision: what is only searched needs no more. Rows in parts as they are."""
        if isinstance(self.X, RowParts):
            return self.X
        top = max(abs(self.X.max()), abs(self.X.min()))
        return self.X.astype(np.float32 if top < 1e30 else np.float64)

    def run(self, a, in_parts=False):
        """Multipliers for rows ``a`` (K, d + 1): a :class:`Bundle`. ``in_parts``: proofs by parts are to come."""
        bundle, is_small = Bundle(self, a), len(self.theta) <= SMALL
        has_nearest = is_small and not isinstance(self.X, RowParts)
        n_first = FEW if in_parts and has_nearest else FIRST
        for _ in range(4 * N_LINES):
            rows = np.flatnonzero(bundle.open() & (bundle.n_lines < n_first))
            if not len(rows):
                break
            self.look_closer(bundle, rows)
        far = bundle.gap > OFF * np.maximum(bundle.m.min(axis=1), 1.0)
        look_nearest(self, bundle, np.flatnonzero(is_small | far))
        bundle.settle()
        return bundle

    def within_reach(self, models):
        """Models whose scores of points of the feasible set are beyond REACH times the scale of the clean victim's: as
        far on the way to them."""
        ends = np.abs([end for hull in self.hulls.values() for end in (hull.lower, hull.upper)]).max(axis=0)
        reach, far = REACH * (1.0 + float(ends @ np.abs(self.theta))), np.abs(models - self.theta) @ ends
        return self.theta + np.minimum(1.0, reach / np.maximum(far, reach))[:, None] * (models - self.theta)

    @cached_property
    def whiten(self):
        """See :func:`mtpfast.guarantee.nearest.whitened`."""
        return whitened(self)

    def look_closer(self, bundle, rows):
        """A line where the case that allows least has its minimum, and better multipliers with it."""
        binding = np.argmin(bundle.m[rows], axis=1)
        touched = np.empty((len(rows), len(self.theta)))
        for j in np.unique(binding):
            here = binding == j
            touched[here] = bundle.minimiser(rows[here], j)
        bundle.add(rows, touched)
        bundle.gap[rows] = bundle.above_mixture(rows, binding, touched)
        self.better(bundle, rows, binding)

    def better(self, bundle, rows, binding):
        """Better multipliers, where lines were added, of the cases that allow least."""
        near = bundle.m[rows] <= NEAR * bundle.m[rows].min(axis=1)[:, None] + 0.1
        near[np.arange(len(rows)), binding] = True
        for j in np.flatnonzero(near.any(axis=0)):
            bundle.improve(rows[near[:, j]], j)
        bundle.look(rows)


class Bundle:
    """Lines, mixtures and multipliers of some rows, and the number of points that each case allows."""

    def __init__(self, search: Search, a):
        self.search, self.a = search, a
        K, D, J = len(a), a.shape[1], len(search.cases)
        self.n_lines = np.ones(K, dtype=np.intp)
        self.c, self.p = np.zeros((K, N_LINES)), np.zeros((K, N_LINES, D))
        self.c[:, 0], self.p[:, 0] = search.first.c[0], search.first.p[0]
        self.index = np.zeros((K, N_LINES), dtype=np.intp)  # among the models
        self.models, self.lines = [search.theta[None]], [search.first]
        self.n_models, self.comparison = 1, 0
        self.mu = np.zeros((K, J, N_LINES))
        self.mu[:, :, 0] = 1.0
        away = np.maximum(a @ search.theta, 0.0) / np.maximum((a * a).sum(axis=1), 1e-300)
        self.tau = np.repeat(2.0 * search.k * away[:, None], J, axis=1)
        self.lam = np.tile([0.5 if case.has_margin else 0.0 for case in search.cases], (K, 1))
        self.pi = np.zeros((K, J, planes_of(search.hulls)))
        self.m = np.zeros((K, J))
        self.rounds = np.zeros((K, J), dtype=np.intp)
        self.gap = np.full(K, np.inf)
        self.stale, self.seen = np.zeros(K, dtype=np.intp), np.zeros(K)
        self.centre = np.full((K, J), search.theta[-1])
        everyone = np.arange(K)
        if search.objective.is_free:
            self._begin_free(everyone)
        self.first = self.mu.copy(), self.tau.copy(), self.lam.copy(), self.pi.copy()
        for j in range(J):
            self.grow(everyone, j)

    @property
    def multipliers(self):
        return self.mu, self.tau, self.lam, self.pi

    def open(self):
        """The rows that may still gain."""
        least = self.m.min(axis=1)
        patience = PATIENCE if len(self.search.cases) <= FEW_CASES else PATIENCE // 2
        return (self.n_lines < N_LINES) & (self.stale < patience) & (least < self.search.most)

    def _soft(self, rows, j, m=None):
        m = np.maximum(self.m[rows, j] if m is None else m, 0.0)
        return Soft(self.search, self.search.cases[j], self.a[rows], m, self.centre[rows, j], self.pi[rows, j])

    def mixed(self, rows, mu):
        T = mu.shape[1]
        p = np.array([own @ self.p[row, :T] for row, own in zip(rows, mu, strict=True)])
        return np.sum(mu * self.c[rows, :T], axis=1), p.reshape(len(rows), self.p.shape[2])

    def _heat(self, rows, j):
        case = self.search.cases[j]
        share = np.maximum(HOT * 0.5 ** self.rounds[rows, j], COLD)
        return share * np.maximum(self.m[rows, j], 1.0) * max(case.weight, 1e-3 if case.is_none else 0.1)

    def softened(self, rows, j, heat=None):
        """(4) of a case at the multipliers of these rows, the minimum over the points softened."""
        mixed, tau = self.mixed(rows, self.mu[rows, j]), np.maximum(self.tau[rows, j], 0.0)
        heat = self._heat(rows, j) if heat is None else heat
        return self._soft(rows, j).at(*mixed, tau, self.lam[rows, j], heat)

    def minimiser(self, rows, j, heat=None):
        """Where the next lines touch."""
        mean, search = self.softened(rows, j, heat).mean, self.search
        if search.objective.is_free:  # no penalty holds the intercept, and lines that touch too far off overflow
            mean = search.within_reach(mean)
        self.centre[rows, j] = mean[:, -1]
        return mean

    def _begin_free(self, rows):
        """Lines on the edge of the half-space, and with them a proof of no points, the same for all cases."""
        J = len(self.search.cases)
        edge = np.repeat(self.search.theta[None], len(rows), axis=0)
        edge[:, -1] -= self.a[:, -1] * (self.a @ self.search.theta)
        j, none = J - 1, np.zeros(len(rows))
        for turn in range(4):
            self.add(rows, edge)
            heat = np.full(len(rows), 1e-3 * 0.1**turn * (1e-3 + abs(self.search.loss)))
            self._maximised(rows, j, self.mu[rows, j], self.tau[rows, j], self.lam[rows, j], none, heat)
            edge = self.minimiser(rows, j, heat)
        self.mu[:], self.tau[:] = self.mu[:, J - 1 :], self.tau[:, J - 1 :]
        self.centre[:] = self.centre[:, J - 1 :]

    def above_mixture(self, rows, cases, models):
        """How far the last line of every row is above the mixture of a case, at a model."""
        at = self.n_lines[rows] - 1
        own = [mu @ (c - p @ model) for mu, c, p, model in zip(
            self.mu[rows, cases], self.c[rows], self.p[rows], models, strict=True)]  # fmt: skip
        return self.c[rows, at] - np.einsum("ij,ij->i", self.p[rows, at], models) - own

    def add(self, rows, models):
        search = self.search
        lines = search.lines_at(models)
        at = self.n_lines[rows]
        self.c[rows, at], self.p[rows, at] = lines.c, lines.p
        self.index[rows, at] = self.n_models + np.arange(len(rows))
        self.models.append(models)
        self.lines.append(lines)
        self.n_models += len(rows)
        self.n_lines[rows] += 1

    def joined(self, used) -> Lines:
        """The lines of the models numbered so."""
        names = "c", "p", "error", "loss"
        parts = {name: np.concatenate([getattr(lines, name) for lines in self.lines])[used] for name in names}
        return self.search.first._replace(**parts)

    def improve(self, rows, j):
        """Maximise (4) over mixture, tau, lam and pi, and let m grow."""
        with self.kept_where_better(rows, j):
            own = (part[rows, j] for part in self.multipliers[:3])
            self._maximised(rows, j, *own, np.maximum(self.m[rows, j], 0.0))
        self.rounds[rows, j] += 1

    @contextmanager
    def kept_where_better(self, rows, j):
        """What changes the multipliers of a case: where they then prove less, they become again what they were."""
        before = self.m[rows, j].copy()
        kept = tuple(part[rows, j].copy() for part in self.multipliers)
        yield
        self.grow(rows, j)
        worse = self.m[rows, j] < before
        back = rows[worse]
        for part, old in zip(self.multipliers, kept, strict=True):
            part[back, j] = old[worse]
        self.m[back, j] = before[worse]

    def begin_plain(self, rows, tau):
        """Try the last line alone with ``lam = 1``: the plain bound, where the line touches at the nearest model."""
        alone = np.zeros((len(rows), N_LINES))
        alone[np.arange(len(rows)), self.n_lines[rows] - 1] = 1.0
        for j, case in enumerate(self.search.cases):
            if case.has_margin or case.weight == 0.0:
                with self.kept_where_better(rows, j):
                    self.mu[rows, j], self.tau[rows, j], self.lam[rows, j] = alone, tau, case.has_margin

    def _maximised(self, rows, j, mu, tau, lam, m, heat=None):
        """Newton's method for m points, from these multipliers."""
        T = int(self.n_lines[rows].max())
        new = np.arange(T) == self.n_lines[rows, None] - 1
        have = np.arange(T) < self.n_lines[rows, None]
        mu = mu[:, :T] * (0.9 / mu.sum(axis=1))[:, None]
        mu = np.where(have, np.maximum(np.where(new, 0.08, mu), 1e-4), 1e-12)
        tau = np.maximum(tau, 1e-6)
        lam = np.maximum(lam, 1e-6) if self.search.cases[j].has_margin else lam
        soft, heat = self._soft(rows, j, m), self._heat(rows, j) if heat is None else heat
        mu, tau, lam, pi = newton(soft, self.c[rows, :T], self.p[rows, :T], self.a[rows], mu, tau, lam, heat)
        self.pi[rows, j, : pi.shape[1]] = pi
        mu = np.where(mu > 1e-6, mu, 0.0)
        self.mu[rows, j, :T], self.tau[rows, j], self.lam[rows, j] = mu / mu.sum(axis=1)[:, None], tau, lam

    def pushes(self, is_convex):
        """For every row a list of (point, label, share): what pushes hardest where the case that allows least nearly
        breaks. Of convex sets, the mean of all that push there; of others, one of them."""
        found = [[] for _ in self.a]
        binding = np.argmin(self.m, axis=1)
        for j in np.unique(binding):
            rows, case = np.flatnonzero(binding == j), self.search.cases[j]
            heat = self._heat(rows, j) if is_convex else None
            soft = self._soft(rows, j)
            soft.at(*self.mixed(rows, self.mu[rows, j]), self.tau[rows, j], self.lam[rows, j], heat)
            for label, part in ((1.0, case.ratio), (-1.0, 1.0 - case.ratio)):
                if part == 0.0:
                    continue
                hull = self.search.hulls[label]
                off, on = hull.lower, hull.upper
                if part < 1.0:  # in a sum of boxes a coordinate is on at the upper end of both
                    off, on = np.minimum(off, on), np.maximum(off, on)
                points = label * (off + soft.share * (on - off))[:, :-1]
                for row, point in zip(rows, points, strict=True):
                    found[row].append((point, label, part))
        return found

    def settle(self):
        """Find for every case what proves the whole number of points that all cases of its row allow, or a little less.

        What proves most may prove nothing for fewer points; what the search began with proves none at least, and all
        numbers up to its own.
        """
        self.count = np.floor(np.minimum(self.m.min(axis=1), 2.0**53))
        rows = np.flatnonzero(self.count >= 0.0)
        for _ in range(3):
            rows = rows[~self._settled(rows)]
            self.count[rows] = np.maximum(self.count[rows] - 1.0, 0.0)
        self.give_up(rows)

    def give_up(self, rows):
        """Claim no more for some rows than that no points at all flip them."""
        self.count[rows] = np.minimum(self.count[rows], 0.0)
        for part, first in zip(self.multipliers, self.first, strict=True):
            part[rows] = first[rows]

    def _settled(self, rows):
        """Whether every case proves ``count``, after what can be done."""
        firm = 1e-10 * (1.0 + abs(self.search.loss))
        settled = np.ones(len(rows), dtype=bool)
        for j in range(self.m.shape[1]):
            wrong = rows[self._value(rows, j) <= firm]
            kept = tuple(part[wrong, j].copy() for part in self.multipliers)
            for part, first in zip(self.multipliers, self.first, strict=True):
                part[wrong, j] = first[wrong, j]
            still = self._value(wrong, j) <= firm
            wrong, kept = wrong[still], [part[still] for part in kept]
            if len(wrong):
                self.pi[wrong, j] = kept[3]
                self._maximised(wrong, j, *kept[:3], self.count[wrong])
                settled &= ~np.isin(rows, wrong[self._value(wrong, j) <= firm])
        return settled

    def _value(self, rows, j):
        soft = self._soft(rows, j, self.count[rows])
        return soft.at(*self.mixed(rows, self.mu[rows, j]), self.tau[rows, j], self.lam[rows, j]).value

    def look(self, rows):
        """Count how often in a row a line has brought a row nothing."""
        least = self.m[rows].min(axis=1)
        gained = (least > self.seen[rows] * 1.003 + 0.02) | (self.n_lines[rows] < 6)
        self.seen[rows] = np.where(gained, least, self.seen[rows])
        self.stale[rows] = np.where(gained, 0, self.stale[rows] + 1)

    def grow(self, rows, j):
        """The largest m that the multipliers prove: (4) is concave in m, so Newton's method comes down to its zero."""
        case = self.search.cases[j]
        mixed, tau, lam = self.mixed(rows, self.mu[rows, j]), self.tau[rows, j], self.lam[rows, j]
        m = np.maximum(self.m[rows, j], 0.0)
        if case.is_none:
            positive = self._soft(rows, j).at(*mixed, tau, lam).value > 0.0
            self.m[rows, j] = np.where(positive, self.search.most, -1.0)
            return
        tiny = 1e-10 * abs(self.search.loss) + 1e-300
        most = np.full(len(rows), self.search.most)
        if self.search.objective.is_free:  # where tau falls with m, it must not fall below 0
            along = self.a[rows, -1] * case.hull.lower[-1] * (1.0 - lam) * case.weight
            room = self.a[rows, -1] * mixed[1][:, -1] / np.where(along < 0.0, -along, 1.0)
            most = np.where(along < 0.0, np.clip(room * (1.0 - 1e-9), 0.0, most), most)
        m, going = np.minimum(m, most), np.arange(len(rows))
        for _ in range(60):
            at, own = m[going], lam[going]
            soft = self._soft(rows[going], j, at).at(mixed[0][going], mixed[1][going], tau[going], own)
            falls = soft.growth(own)
            down = falls < 0.0
            near = down & (soft.value > -tiny) & (soft.value < 1e-4 * np.abs(falls) * np.maximum(at, 1e-3))
            to = np.where(down, at - soft.value / np.where(down, falls, -1.0), most[going])
            m[going] = np.where(near, at, np.clip(to, 0.0, most[going]))
            if not len(going := going[m[going] != at]):
                break
        m *= 1.0 - 1e-9
        proved = self._soft(rows, j, m).at(*mixed, tau, lam).value > -tiny
        none = self._soft(rows, j, 0.0 * m).at(*mixed, tau, lam).value > 0.0
        self.m[rows, j] = np.where(proved, m, np.where(none, 0.0, -1.0))
