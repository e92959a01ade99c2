"""The fewest points found for any model within a distance of the target, and the bound for all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.oracle.supply import Supply
from mtpfast.proofs.certificate import certificate_for, prove, prove_from
from mtpfast.question import Problem, moved_to
from mtpfast.training.victim import Fit, Victim

from .begun import Begun
from .directions import ball_direction
from .exact import exact_minimum
from .found import Attack, Found, dense_row, point_matrix, retrain_victim, training_data
from .plan import has_ball_program
from .programs.ascent import BallAscent, fewest_entries
from .programs.ball import BallProgram
from .slide import ON_MARGIN, Slide, can_slide
from .whole import record_sums, records

__all__ = ["Trained", "closest_model", "descend", "improve", "within_ball"]


#: Where the number of points is given: the first ball, as a share of the way to the target; how much larger the second
#: may be; the sizes of starts as shares of that number, at most, and what share of them a radius is meant for; and how
#: often one is looked for between two.
FIRST_RADIUS, GROWTH, SIZES, AIM, TRIES = 0.01, 4.0, (0.99, 0.85), 0.975, 2
COARSE = 3  # planes of a ball where its program is only a start
WHOLE_NUMBER = 1e-6  # a fractional minimum is at most a whole number up to this
WHOLE = 1.0  # points that whole counts take more than the fractional minimum, or so

#: A number of points is near enough to its bound above this share of it. Else relaxed points, at these shares of the
#: radius, and Algorithm 1 are starts, too; on boxes, above so many entries of free rows, an ascent takes the place of
#: the relaxed program, and Algorithm 1 is the only other start.
NEAR_BOUND, SHARES, LARGE = 0.8, (0.5, 0.35, 0.25, 0.15), 3 * 10**6
#: Up to so many entries of X the nearest model for a number of points is looked for by the slide, too.
SMALL = 2 * 10**6

INTERRUPTED = "interrupted; the best points found so far are kept"


def _ball_certificate(problem: Problem, exact: Found, tol, clean, more=()):
    """The best bound found for every model within ``tol``, and the solution of the relaxed program if it was solved.

    ``clean``: the clean victim. ``more``: directions that may prove much.
    """
    theta = problem.theta
    tol = max(tol, problem.radius)  # what counts as a hit of any tolerance
    goal = replace(problem.goal, tol=tol)
    starts, solution, large = list(more), None, False
    if exact.certificate is not None:
        starts.append(exact.certificate.direction)
    if problem.retrain and problem.objective.loss.kinked:
        ball = moved_to(problem, theta, tol)

        def value_of(v):
            return prove(ball.clean, v, goal)

        if has_ball_program(problem):
            large = problem.setting.is_box and ball.clean.free_rows.shape[0] * len(theta) > LARGE
            if not large:
                solution = BallProgram(ball.setting, tol).solve()
            elif starts:
                starts.insert(0, BallAscent(ball.setting, tol).direction(starts[0]))
        if solution is not None:
            starts.insert(0, solution.direction)
    else:

        def value_of(v):
            return prove(problem.clean_gradient(tol, v, compact=True), v, goal)

    if clean is not None and np.linalg.norm(clean.theta - theta) > tol:
        starts.append(clean.theta - theta)
    v = ball_direction(value_of, [v for v in starts if np.any(v)], between=not large)
    if v is None:
        v = np.ones_like(theta)
    value, rounding = prove_from(problem.X, problem.y, problem.sample_weight, v, goal)
    return certificate_for(goal, "farkas" if math.isinf(value) else "direction", v, value, rounding), solution


def _take(found: Found, attack: Attack, message) -> Found:
    return replace(
        found,
        points=list(attack.points),
        labels=list(attack.labels),
        counts=list(attack.counts),
        attack=attack,
        exact=False,
        message=message,
    )


def _as_attack(problem: Problem, found: Found) -> Attack | None:
    """The points of ``found``, retrained."""
    if not found.points:
        return None
    fit = retrain_victim(problem, found.points, found.labels, found.counts)
    return Attack(found.points, np.array(found.labels), found.counts, fit.theta, problem.theta, fit.gap)


def _program(problem: Problem, radius):
    """The solution of the relaxed program for a ball, or None (hinge on a space only)."""
    if not has_ball_program(problem):
        return None
    return BallProgram(moved_to(problem, problem.theta, float(radius)).setting, float(radius), COARSE).solve()


def _whole_points(problem: Problem, solution):
    """The points of a relaxed program, whole: [(x, label, count)]; None where there is no solution."""
    if solution is None:
        return None
    setting, means = problem.setting, solution.means
    whole = [round(n) for n in solution.counts[:2]]
    if not setting.is_convex:
        nothing = np.zeros(len(setting.theta) - 1)
        sums = [nothing if mean is None else n * mean for mean, n in zip(means, whole, strict=True)]
        groups = records.of_sums(setting, record_sums.round_sums(setting, sums, whole), whole)
    else:
        groups = []
        for mean, sign, n in zip(means, (1.0, -1.0), whole, strict=True):
            if n > 0:
                region = setting.region(sign)
                groups.append((np.clip(mean, region.lower, region.upper), sign, n))
    if not groups:
        return groups
    points, labels, counts = zip(*groups, strict=True)
    return list(zip(problem.canonical(points), labels, counts, strict=True))


def _parts(exact: Found):
    """Parts of the exact solution, each a start for a search."""
    counts = np.array(exact.counts)
    if not len(counts):
        return
    for share in (0.25, 0.5, 0.75, 0.9, 1.0):
        # Of many records with a few copies each, a share of the records; else a share of the copies of each.
        part = np.floor(share * counts) if len(counts) < 10 else np.diff(np.floor(share * np.cumsum(counts)), prepend=0)
        groups = zip(exact.points, exact.labels, part.astype(int).tolist(), strict=True)
        yield [(dense_row(x), sign, count) for x, sign, count in groups if count]


def within_ball(
    problem: Problem, exact: Found, tol, max_points, callback=None, trained: Trained | None = None
) -> Found:
    """A bound for every model within ``tol`` of the target, and as few points as were found for one of them."""
    trained, models = trained or Trained.of(problem, exact), []
    if problem.retrain and not problem.objective.loss.kinked and can_slide(problem) and problem.setting.is_convex:
        models = Slide(problem, tol * (1.0 - 1e-6)).below(problem.theta)
    directions = [model.solution.direction for model in models]
    certificate, solution = _ball_certificate(problem, exact, tol, trained.clean, directions)
    if certificate.kind == "farkas":
        return Found(certificate=certificate, message=f"no poisoning induces a model within {tol:g} of the target")
    found = replace(exact, certificate=certificate)
    if trained.clean is not None and float(np.linalg.norm(trained.clean.theta - problem.theta)) <= tol:
        message = f"the clean data alone induce a model within {tol:g} of the target"
        return replace(found, points=[], labels=[], counts=[], exact=False, message=message)
    if not problem.retrain:
        return replace(found, message=f"{found.message}; X is too large for the search within the tolerance")
    limit = max_points or max(2000, 20 * certificate.n_poison)
    search = _Search(problem, tol, limit, trained.clean, callback, certificate, models)
    try:
        _look_for(search, problem, exact, trained.exact, tol, max_points, solution)
    except KeyboardInterrupt:
        kept = search.best or search.nearest
        if kept is None:
            raise
        return replace(_take(found, kept, INTERRUPTED), interrupted=True)
    best = search.best
    if best is None:
        return _take(found, search.nearest, f"nearest model found, for l2 distance {tol:g}")
    return _take(
        found, best, f"{best.n_points} points for l2 distance {tol:g}; {certificate.n_poison} proved necessary"
    )


def _look_for(search, problem: Problem, exact: Found, first: Attack | None, tol, max_points, solution):
    """Searches from the exact minimum, from cheaper models near the target, from relaxed points and from nothing."""

    def of_radius(radius):
        return search.descend(_whole_points(problem, _program(problem, radius)))

    search.take(first)
    if problem.of_records and first is not None:  # records hit any other model as nearly as this one, or so
        search.stray = 1.5 * first.distance
    if search.slides:
        search.take(search.slide())
        if search.is_settled:
            return
        if search.best is not None and search.best is not first:
            if solution is not None:  # where the relaxed program was not too large, smaller balls' are not
                search.descend(_whole_points(problem, solution))
                for share in SHARES:
                    of_radius(share * tol)
            search.descend([])  # Algorithm 1 itself: what is found never needs more points
            return
    else:
        search.take(search.slide(problem.theta))
    radii = {tol: search.descend(_whole_points(problem, solution))}
    for radius in tol * np.array([0.7, 0.5, 0.35, 0.25, 0.15]):
        radii[radius] = of_radius(radius)
    for width in (0.18, 0.09):  # the number of points jumps with the radius: look on both sides of the best
        centre = min(radii, key=radii.get)
        for radius in (centre * (1 - width), centre * (1 + width)):
            radii[radius] = of_radius(radius)
    for start in _parts(exact):
        search.descend(start)
    if search.best is None and max_points is None:
        search.limit = max(search.limit, 20_000)
    search.descend([])  # Algorithm 1 itself: what is found never needs more points
    if search.best is not None:
        search.take(improve(*search.shared, search.best, tol))
        search.take(search.slide(search.best.theta))


def _placed(problem: Problem, models) -> Attack | None:
    """Whole points for the first of some models that has any."""
    for model in models:
        there = moved_to(problem, model.theta, margin_tol=ON_MARGIN)
        found = exact_minimum(there)
        if found.points:
            fit = retrain_victim(there, found.points, found.labels, found.counts)
            return Attack(found.points, np.array(found.labels), found.counts, fit.theta, problem.theta, fit.gap)
    return None


class Trained(NamedTuple):
    """Trained once for all tolerances: the clean victim, and the one of the points for the target itself, if any."""

    clean: Fit | None
    exact: Attack | None

    @classmethod
    def of(cls, problem: Problem, exact: Found):
        """Those of a problem; no clean victim where the data are too large."""
        return cls(retrain_victim(problem, [], [], []), _as_attack(problem, exact) if problem.retrain else None)


class _Search:
    """Searches for as few points as come within ``tol``, each cut off where it could not win."""

    def __init__(self, problem, tol, limit, clean: Fit, callback=None, certificate=None, models=()):
        self.problem, self.callback, self.certificate, self.models = problem, callback, certificate, models
        self.shared = training_data(problem), problem.theta, problem.objective, problem.feasible_set
        self.clean = clean
        self.tol, self.limit = tol, limit
        self.stray = 0.0  # how far from a model the records for it end up
        self.best = self.nearest = None
        # whole points of a convex set hit the model that they are meant for
        self.slides = can_slide(problem) and problem.setting.is_convex

    @cached_property
    def rows(self):
        """The clean rows as a slide reads them."""
        return fewest_entries(self.problem.X)

    @property
    def is_settled(self) -> bool:
        """Whether what is found is near to what is proved."""
        return self.best is not None and self.certificate.n_poison >= NEAR_BOUND * self.best.n_points

    def slide(self, start=None) -> Attack | None:
        """Points for the cheapest model found on the ways down from a model; without one, from the target and the edge
        of the ball."""
        radius = self.tol * (1.0 - 1e-6) - self.stray
        if not can_slide(self.problem) or not radius > 0.0:
            return None
        way = Slide(self.problem, radius, lambda: self.take(None), self.rows)
        if start is None:
            models = self.models or way.models(self.certificate.direction)
            far = bool(models) and self.certificate.n_poison < NEAR_BOUND * models[0].value
            if far and self.problem.objective.loss.kinked:  # ways of the other width go on from there
                models = sorted([*way.below(models[0].theta), *models], key=lambda model: model.value)
        else:
            models = way.below(start) if self.slides else [way.down(start, 0.0)]
        models = [model for model in models if model.solution is not None]
        if self.best is not None and self.slides:  # what is placed takes no fewer points than the program
            models = [model for model in models if model.value <= self.limit + WHOLE_NUMBER]
        return _placed(self.problem, models)

    def take(self, attack: Attack | None):
        if attack is not None and attack.n_points <= self.limit:
            self._keep(attack)
        if self.callback is not None:
            kept = self.best or self.nearest
            told = {"n_points": None, "distance": None}
            if kept is not None:
                told = {"n_points": kept.n_points, "distance": kept.distance}
            if self.callback(told):
                raise KeyboardInterrupt

    def _keep(self, attack: Attack):
        if self.nearest is None or attack.distance < self.nearest.distance:
            self.nearest = attack
        if attack.distance <= self.tol:
            self.best, self.limit = attack, attack.n_points - 1

    def descend(self, start) -> float:
        """How many points this start led to (a guess beyond the limit where it was cut off)."""
        if start is None:
            return math.inf
        size = sum(count for *_, count in start)
        if size > self.limit:
            return math.inf
        # A little past the best: the exact minimum for the model found may still be smaller than it.
        limit = self.limit
        if self.best is not None and start:
            limit += 2 + self.limit // 32
        attack = descend(*self.shared, start, self.tol, limit, certificate=self.certificate, clean=self.clean)
        self.take(attack)
        if self.tol and (self.slides or attack.distance <= self.tol):
            self.take(self.slide(attack.theta))
        return attack.n_points * max(1.0, attack.distance / self.tol) if self.tol else attack.distance


def closest_model(problem: Problem, exact: Found, max_points, callback=None) -> Found:
    """The nearest model found with at most ``max_points`` points; the bound is that of the exact target."""
    if not problem.retrain:
        return replace(exact, message=f"{exact.message}; X is too large for the search with {max_points} points")
    clean = retrain_victim(problem, [], [], [])
    reach = float(np.linalg.norm(clean.theta - problem.theta))
    search = _Search(problem, 0.0, max_points, clean, callback)
    search.nearest = Attack([], np.empty(0), [], clean.theta, problem.theta, clean.gap)  # no points are allowed, too
    try:
        if search.slides and reach > 0.0 and problem.X.shape[0] * len(problem.theta) <= SMALL:
            slide = Slide(problem, reach, lambda: search.take(None), search.rows)
            for model in slide.nearest(max_points - WHOLE, reach):
                attack = _placed(problem, [model])
                search.take(attack)
                if attack is not None and attack.n_points <= max_points:
                    break
        for start in (*_nearly(problem, exact, reach, max_points), *_parts(exact), []):
            search.descend(start)
    except KeyboardInterrupt:
        return replace(_take(exact, search.nearest, INTERRUPTED), interrupted=True)
    return _take(exact, search.nearest, f"the nearest model found with at most {max_points} points")


def _nearly(problem: Problem, exact: Found, reach, most):
    """Points of relaxed programs, as many as may be used and somewhat fewer: the search places the rest.

    The wider the ball, the fewer they are, and the larger the program. So the radius grows along straight lines through
    what is known (at first from the minimum for the target itself; then in the logarithm), at most to the double, until
    they are few enough, and from there it is one of a straight line between the radii known, for every size.
    """
    known = []  # (log radius, points of the program, the start), by radius

    def ask(radius):
        solution = _program(problem, radius)
        n = math.inf if solution is None else float(np.sum(solution.counts))
        known.append((math.log(radius), n, _whole_points(problem, solution)))
        known.sort(key=lambda each: each[0])

    def further(wanted):
        """The radius at which there are so many, as far as is known."""
        last, n, _ = known[-1]
        if len(known) > 1:
            before, more, _ = known[-2]
            step = (last - before) * (n - wanted) / (more - n) if n < more else math.inf
            return math.exp(last + min(math.log(2.0), step))
        if exact.value is None or not n < exact.value:
            return 2.0 * math.exp(last)
        return math.exp(last) * min(GROWTH, (exact.value - wanted) / (exact.value - n))

    if not has_ball_program(problem) or not reach > 0.0:
        return
    ask(FIRST_RADIUS * reach)
    for size in SIZES:
        wanted, tries = size * most, TRIES
        while True:
            above = [each for each in known if wanted < each[1] < math.inf]
            below = [each for each in known if each[1] <= wanted]
            if not below:
                if known[-1][0] >= math.log(reach):
                    break
                ask(further(AIM * wanted))
                continue
            if not above or not tries or below[0][1] > 0.95 * wanted:
                break
            (left, more, _), (right, fewer, _) = above[-1], below[0]
            ask(math.exp(left + (right - left) * (more - AIM * wanted) / (more - fewer)))
            tries -= 1
    for _, _, start in known:
        if start:
            yield start


def descend(
    data, theta_target, objective, feasible_set, start, tol, limit, tol_refit=1e-8, certificate=None, clean=None
):
    """Algorithm 1 from any start: add the point of largest loss difference until the model is within ``tol``.

    ``start``: [(x, label, count)]. Stops at ``limit`` points, and where a ``certificate`` for ``tol`` proves that more
    than those are needed. ``clean``: the clean victim, if it is known. Returns the nearest :class:`Attack` met.
    """
    X, y, weight = data
    victim, supply = (
        Victim(X, y, objective, weight, theta0=theta_target if clean is None else clean.theta, tol=tol_refit),
        Supply(feasible_set, X, theta_target),
    )
    if start:
        groups = list(zip(*start, strict=True))
        supply.use(*groups)
        victim.add_many(*groups)
    least, best = math.inf, None
    n = int(sum(count for _, _, count in start))
    begun = Begun(None if start else certificate)
    while True:
        distance = float(np.linalg.norm(victim.theta - theta_target))
        if distance < least:
            least, best = distance, (victim.added_count.copy(), victim.theta.copy(), victim.gap)
        if distance <= tol or n >= limit:
            break
        worst = supply.find(victim.theta, theta_target, objective.loss, victim.settled.class_weight)[1]
        if worst is None or worst.value <= 0.0:
            break
        supply.take(1)
        victim.add(worst.x, worst.y)
        n += 1
        if begun.add(worst.x, worst.y) and begun.n_points > limit:
            break
    counts, theta, gap = best
    kept = np.flatnonzero(counts > 0)
    rows = victim.added_X[kept]
    points = [rows[i] for i in range(len(kept))] if sp.issparse(rows) else [row.copy() for row in rows]
    labels, counts = victim.added_y[kept].copy(), np.round(counts[kept]).astype(int)
    return Attack(points, labels, counts, theta, theta_target, gap)


def improve(data, theta_target, objective, feasible_set, attack, tol, rounds=12):
    """Fewer points for the same ball: drop the points of least loss difference, then repair by Algorithm 1."""
    stale = 0
    share = 0.3
    for _ in range(rounds):
        order = np.argsort(_differences(attack, theta_target, objective), kind="stable")
        keep = attack.counts.copy()
        drop = max(2, int(share * attack.n_points))
        for i in order:
            take = min(keep[i], drop)
            keep[i] -= take
            drop -= take
        start = [(p, s, int(c)) for p, s, c in zip(attack.points, attack.labels, keep, strict=True) if c > 0]
        limit = attack.n_points - 1
        found = descend(data, theta_target, objective, feasible_set, start, tol, limit)
        if found.distance <= tol and found.n_points < attack.n_points:
            attack, stale = found, 0
        else:
            stale += 1
            share *= 0.5
            if share * attack.n_points < 2 or stale > 4:
                break
    return attack


def _differences(attack, theta_target, objective):
    """Loss difference at each distinct point."""
    P = point_matrix(attack, attack.points)
    at = objective.loss.value(objective.margins(attack.theta, P, attack.labels))
    difference = at - objective.loss.value(objective.margins(theta_target, P, attack.labels))
    weights = objective.weights(attack.labels)
    return difference if weights is None else weights * difference
