"""The search for damage, from several starts and from one budget to the next."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_generator
from mtpfast.spaces.base import is_convex
from mtpfast.training.moving import MovingVictim
from mtpfast.training.victim import Fit

from .ascent import MOMENTUM, Ascent, Schedule
from .sensitivity import KinkedSensitivity, SmoothSensitivity
from .swaps import PoolSwaps, RecordSwaps

__all__ = ["Kept", "Search", "Stopped"]


SEARCH_TOL = 1e-4  # of trainings on the way
TOL = 1e-9  # of those that are measured
NEAR = 0.5  # of the trainings of a start, from what was found for another budget
FIRST = 0.5  # of them, towards the training rows where others are aimed at
MOST_FLIPPED = 1000  # rows whose labels a start turns

# The phases of a start: the share of its trainings, and the first and last beta and delta in units of the typical
# margin. beta is the sharpness of the stand-in, delta by how much one of a training's INNER steps moves the margins.
PHASES = (
    (0.15, (3.0, 4.0), (0.045, 0.0045)),
    (0.4, (4.0, 13.0), (0.0045, 9e-4)),
    (0.3, (13.0, 40.0), (0.0015, 2.2e-4)),
    (0.15, (40.0, 70.0), (4.5e-4, 9e-5)),
)
# While U rises a step may grow by this factor: in the first phase, in the others, and where how far it goes is asked.
REACH, GROWTH, FAR = 30.0, 1.0, 30.0
AGAIN = (
    (0.1, (6.0, 8.0), (0.015, 0.003)),
    (0.3, (8.0, 13.0), (0.003, 9e-4)),
    *PHASES[2:],
)  # from points that were found for something near
KICK = (
    (0.4, (20.0, 28.0), (9e-4, 6e-4)),
    (0.6, (28.0, 80.0), (6e-4, 1e-4)),
)  # from the best so far, a little way off and back
KICKED, FIRM = 0.25, 0.96  # of the trainings of a start, and the momentum


class Kept(NamedTuple):
    """Points that were found, whole, and what the metric is with them: roughly, or by ``fit``, trained to the end."""

    points: list
    labels: list
    counts: list
    value: float
    fit: Fit | None = None


class Stopped(Exception):
    """The callback, a limit or the user ended the search."""


class Enough(Exception):
    """The goal is met."""


class Search:
    """The search for one question, at one budget after the other.

    Parameters
    ----------
    question : DamageQuestion
    n_starts, max_iter : int
    random_state : int, Generator or None
    callback, time_limit, verbose
        As in :func:`damage`.
    """

    def __init__(self, question, n_starts, max_iter, random_state, callback=None, time_limit=None, verbose=0):
        self.question, self.n_starts, self.max_iter = question, n_starts, max_iter
        self.random_state, self.rng = random_state, check_generator(random_state)
        self.callback, self.verbose, self.time_limit = callback, verbose, time_limit
        self.status, self.message, self.n_iter = "budget", "", 0
        self.end = None if time_limit is None else time.monotonic() + time_limit
        self._last_line = time.monotonic()
        q = question
        tol = SEARCH_TOL if q.objective.loss.smooth else 1e-8
        self.victim = MovingVictim(q.X, q.y, q.objective, q.sample_weight, tol=tol)
        self.clean_theta = self.victim.theta.copy()
        clean = q.aim.value(self.clean_theta)
        if not math.isfinite(clean):
            raise ValueError(f"metric {q.aim.metric.name!r} must be a finite number, of the clean model it is {clean}")
        q.measure(self.clean_theta)  # what cannot be measured is told before the search
        trained, solver = self.victim.victim, self.victim.victim._solver
        enough = max(0.5 * trained.k * (TOL * trained.size()) ** 2, solver.resolution())  # as of the hinge's minimiser
        self.clean_model = Fit(self.clean_theta, trained.gap, trained.n_iter) if trained.gap <= enough else None
        if q.objective.loss.smooth:
            self.sensitivity = SmoothSensitivity(self.victim)
        else:
            weight = np.ones(len(q.y)) if q.sample_weight is None else q.sample_weight
            self.sensitivity = KinkedSensitivity(q.X, q.y, weight, q.objective)
        self.best, self.best_value, self.budget = None, -math.inf, 0
        self.growth = GROWTH
        self.goal = None  # a run ends as soon as the metric reaches it

    @property
    def limits(self):
        """What another search of the same question is made of."""
        names = ("n_starts", "max_iter", "random_state", "callback", "time_limit", "verbose")
        return {name: getattr(self, name) for name in names}

    def told(self, n_done, n, result) -> bool:
        """Tell how far a sweep is; whether the callback ends it."""
        value = result.damage.after["aimed"]
        if self.verbose:
            sys.stderr.write(f"budget {n_done} of {n}: {result.damage.metric} {value:.4g}\n")
        state = {"n_done": n_done, "n": n, "n_points": result.n_points, "value": value}
        if self.callback is None or not self.callback(state):
            return False
        self.message = f"stopped by the callback after {n_done} of {n} budgets"
        return True

    def interrupted(self):
        """The user has ended the search."""
        self.status, self.message = "interrupted", "interrupted; the best points found so far are kept"

    def mover(self, aim, budget):
        """What moves the points of this feasible set."""
        space = self.question.feasible_set
        common = (aim, budget, self._watch)
        if space.is_finite:
            return PoolSwaps(self.victim, self.sensitivity, space, *common)
        d = self.question.X.shape[1]
        regions = space.regions(d)
        kind = Ascent if is_convex(space, d) and space.canonical is None else RecordSwaps
        return kind(self.victim, self.sensitivity, regions, *common)

    def _watch(self, state, theta, margins):
        aim = self.aim
        self.n_iter += 1
        value = aim.metric(aim.y, margins, aim.weight)
        if value > self.phase_value:
            self.phase_value, self.phase_best = value, state.copy()
        if aim is not self.question.aim:  # what moves other rows may do more than was found for those aimed at
            aim = self.question.aim
            value = aim.metric(aim.y, aim.rough_margins(theta), aim.weight)
        if value > self.best_value:
            self.best_value, self.best = value, state.copy()
            if self.goal is not None and value >= self.goal and aim.value(theta) >= self.goal:
                raise Enough
        if self.verbose and time.monotonic() - self._last_line >= 1.0:
            self._last_line = time.monotonic()
            sys.stderr.write(f"step {self.n_iter}, {self.budget} points: {aim.metric.name} {self.best_value:.4g}\n")
        if self.callback is not None:
            told = {
                "n_iter": self.n_iter,
                "budget": self.budget,
                "value": value,
                "best": self.best_value,
                "theta": theta,
            }
            if self.callback(told):
                self.message = f"stopped by the callback after {self.n_iter} steps"
                raise Stopped
        if self.end is not None and time.monotonic() >= self.end:
            self.message = f"stopped after time_limit={self.time_limit:g} s: another run need not find the same"
            raise Stopped
        return False

    def _phase(self, mover, state, steps, beta, delta, growth, momentum, best):
        """Run, and return the best state met, or the last."""
        sharpness, length = self.scale
        self.phase_value, self.phase_best = -math.inf, state
        beta, delta = tuple(b / sharpness for b in beta), tuple(d * length for d in delta)
        schedule = Schedule(steps, beta, delta, growth, momentum)
        state = state.copy()
        mover.run(state, schedule)
        return self.phase_best if best else state

    def _anneal(self, aim, state, steps, phases=PHASES, share=None, growth=GROWTH, first=REACH, momentum=MOMENTUM):
        """The phases, each from the best state of the one before; ``share``: other weights of the rows in the first."""
        mover, self.aim = self.mover(aim, self.budget), aim
        margins = aim.margins(self.clean_theta)
        self.scale = float(np.sqrt(np.mean(margins**2))) or 1.0, aim.typical(margins) or 1.0
        state = mover.start() if state is None else state
        for number, (part, beta, delta) in enumerate(phases):
            mover.aim = aim if share is None or number else aim.shared_by(share)
            steps_of, grows = max(2, round(part * steps)), growth if number else first
            state = self._phase(mover, state, steps_of, beta, delta, grows, momentum, number > 0)
        return state

    def run(self, budget, kept=None, steps=None):
        """Search at a budget, from scratch or from what was found at another. The best is kept: :meth:`found`."""
        self.budget, self.best, self.best_value = budget, None, -math.inf
        with contextlib.suppress(Enough):
            self._run(budget, kept, self.max_iter if steps is None else steps)

    def _run(self, budget, kept, steps):
        question, aim = self.question, self.question.aim
        if budget == 0:
            return
        if kept is not None and sum(kept.counts):  # no points are no start: there is nothing to scale
            mover = self.mover(aim, budget)
            state = mover.adopt(kept.points, kept.labels, kept.counts)
            state = mover.scaled(state, budget / sum(kept.counts))
            self._anneal(aim, state, round(NEAR * steps), AGAIN, growth=4.0)
            return
        state = None
        if question.training_aim is not None:  # what moves the training rows moves others, too
            state = self._anneal(question.training_aim, None, round(FIRST * steps), growth=self.growth)
        self._anneal(aim, state, steps, PHASES if state is None else AGAIN, growth=self.growth)
        for start in range(1, self.n_starts):  # from the best so far, and first towards other rows
            share = self._shares(aim, start)
            self._anneal(aim, self.best, round(KICKED * steps), KICK, share, first=GROWTH, momentum=FIRM)
        flipped = None if self.goal is None else self._flipped(aim)
        if flipped is not None:
            self._anneal(aim, flipped, steps, AGAIN)

    def _flipped(self, aim):
        """The rows aimed at with their labels turned, those that are nearly wrong first: copies make a group wrong."""
        order = np.argsort(aim.margins(self.clean_theta), kind="stable")[: min(self.budget, MOST_FLIPPED)]
        rows, labels = aim.X[order], -aim.y[order]
        keep = np.flatnonzero(self.question.feasible_set.contains(rows, labels))
        if not len(keep):
            return None
        rows, mover = rows[keep], self.mover(aim, self.budget)
        state = mover.adopt(rows.toarray() if sp.issparse(rows) else rows, labels[keep].tolist(), [1] * len(keep))
        return mover.scaled(state, self.budget / len(keep))

    def _shares(self, aim, start):
        """Weights of the rows in a start's first phase: one label before the other, then at random."""
        if start in (1, 2) and len(np.unique(aim.y)) == 2:
            weight = np.where((aim.y > 0) == (start == 1), 3.0, 1.0)
        else:
            weight = self.rng.exponential(size=len(aim.y))
        return aim.share * weight / float(aim.share @ weight)

    def found(self):
        """The best points of the last run."""
        if self.best is None:
            return None
        return Kept(*self.mover(self.question.aim, self.budget).whole(self.best), self.best_value)

    def adopt(self, result):
        """What a result found, as the start of a run; what the metric is with it, this victim has to be trained for."""
        points = result.points.toarray() if sp.issparse(result.points) else np.array(result.points)
        return Kept(list(points), result.labels.tolist(), result.counts.tolist(), math.nan)
