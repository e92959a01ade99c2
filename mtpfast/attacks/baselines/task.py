"""What every baseline is asked, and its last step: exact training on its points, and what that does."""

from __future__ import annotations

import inspect
import sys
import time
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import as_theta, check_generator
from mtpfast.arrays.rows import merge, stack
from mtpfast.attacks.aim import Aim, Metric
from mtpfast.attacks.damage_question import points_of_budget, read_damage_question
from mtpfast.losses.objective import make_objective
from mtpfast.oracle.search import find_point
from mtpfast.proofs.goal import hit_radius
from mtpfast.results.damage import Damage
from mtpfast.results.result import PoisoningResult
from mtpfast.spaces.base import is_convex
from mtpfast.training.moving import MovingVictim
from mtpfast.training.victim import refit

__all__ = ["OPTIONS", "Stopped", "Task", "read_task", "shared_out"]


TOL = 1e-9  # of the trainings that are measured
VICTIM = ("loss", "alpha", "C", "fit_intercept", "penalize_intercept", "class_weight", "count_rows")
WATCH = {"random_state": 0, "callback": None, "verbose": 0}
OPTIONS = {"target", *VICTIM, *WATCH, *inspect.signature(read_damage_question).parameters} - {"X", "y", "objective"}


class Stopped(Exception):
    """The callback ended the search."""


def read_task(X, y, budget, method, target=None, **options) -> Task:
    """The task in what users hand in: the options of the victim, of the feasible set and of the rows aimed at."""
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"{method} takes no option {name!r}")
    watch = {name: options.pop(name, default) for name, default in WATCH.items()}
    if watch["callback"] is not None and not callable(watch["callback"]):
        raise TypeError(f"callback must be callable, got {type(watch['callback']).__name__}")
    objective = make_objective(**{name: options.pop(name) for name in VICTIM if name in options})
    question = read_damage_question(X, y, objective, **options)
    return Task(question, points_of_budget(budget, question.X.shape[0]), method, target, **watch)


def shared_out(shares, total) -> np.ndarray:
    """Whole counts of this total in these shares: rounded down, and what is left goes to the largest remainders."""
    shares = np.asarray(shares, dtype=float)
    exact = total * shares / shares.sum()
    counts = np.floor(exact + 1e-9).astype(np.intp)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


class Task:
    """Clean data, victim, feasible set, rows aimed at, budget; and the best points that were kept.

    A method is a function without arguments that calls :meth:`step` once per training, and :meth:`keep` with what it
    would return if it were stopped there; :meth:`run` does the rest.
    """

    def __init__(self, question, budget, method, target=None, *, random_state=0, callback=None, verbose=0):
        self.question, self.budget, self.method = question, budget, method
        self.X, self.y, self.objective, self.space = question.X, question.y, question.objective, question.feasible_set
        self.d = self.X.shape[1]
        self.weight = np.ones(len(self.y)) if question.sample_weight is None else question.sample_weight
        self.target = None if target is None else as_theta(target, self.d)
        if self.target is not None and not self.objective.fit_intercept and self.target[-1] != 0.0:
            raise ValueError(f"target must have intercept 0 with fit_intercept=False, got {self.target[-1]:g}")
        self.rng = check_generator(random_state)
        self.callback, self.verbose, self._last_line = callback, verbose, time.monotonic()
        self._begin = time.process_time()
        self.n_iter, self.kept, self.status, self.notes, self.extra = 0, None, "budget", [], {}

    # -- what methods ask ---------------------------------------------------------------------

    @cached_property
    def clean(self) -> np.ndarray:
        """The clean victim."""
        return self.train([], [], []).theta

    @cached_property
    def regions(self) -> dict:
        """The region of every label that points may carry."""
        return self.space.regions(self.d)

    @cached_property
    def loss_aim(self) -> Aim:
        """The victim's mean loss on the rows aimed at: what bilevel attacks raise."""
        loss, aim = self.objective.loss, self.question.aim
        return Aim(Metric("validation loss", value=loss.value, derivative=loss.derivative), aim.X, aim.y, aim.weight)

    def need_target(self):
        if self.target is None:
            raise ValueError(f"target must be given: {self.method} aims at a model")

    def need_hull(self):
        """Only sets all of whose hull may be used."""
        if not is_convex(self.space, self.d):
            raise ValueError(
                f"feasible_set must be convex (a box, ball, slab, ...): {self.method} moves points by small steps, and "
                f"{type(self.space).__name__} here holds records, documents or candidates"
            )

    def need_regions(self):
        if self.space.is_finite:
            raise ValueError(f"feasible_set must not be a list of candidates: {self.method} moves its points")

    def need_settled(self):
        if self.objective.is_balanced:
            raise ValueError(f"class_weight='balanced' is not for {self.method}: give the weights as a dict")

    def moving(self, tol=1e-8) -> MovingVictim:
        """A victim whose points may all be replaced."""
        return MovingVictim(self.X, self.y, self.objective, self.question.sample_weight, tol=tol)

    def flips(self):
        """``(rows, labels)``: every clean row that may be added with the label that it does not have."""
        labels = -self.y
        rows = np.flatnonzero(self.contains(self.X, labels))
        if not len(rows):
            raise ValueError("feasible_set holds no clean row with the other label")
        return rows, labels[rows]

    def contains(self, X, labels) -> np.ndarray:
        """Which rows may be points with these labels."""
        return np.asarray(self.space.contains(X, labels), dtype=bool)

    def row(self, i) -> np.ndarray:
        """A clean row, dense."""
        return self.X[[i]].toarray().ravel() if sp.issparse(self.X) else np.array(self.X[i])

    def within_supply(self, points, labels, counts) -> np.ndarray:
        """These counts, as far as the candidates of a pool with ``max_repeats`` go; equal candidates add up."""
        cap = self.space.max_repeats
        if cap is None or not len(counts):
            return counts
        signs = self.space.signs()
        equal = zip(self.space.rows_equal(points), labels, strict=True)
        allowed = [cap * sum(signs is None or signs[row] == label for row in rows) for rows, label in equal]
        return np.minimum(counts, allowed)

    def canonical(self, points) -> np.ndarray:
        points = np.asarray(points, dtype=float).reshape(-1, self.d)
        function = self.space.canonical
        return points if function is None or not len(points) else np.asarray(function(points))

    # -- the clock and the end ----------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """CPU seconds since the search was asked for."""
        return time.process_time() - self._begin

    def step(self, value, **more):
        """Tell the caller how far the method is; raises :class:`Stopped` where the callback says so."""
        self.n_iter += 1
        if self.verbose and time.monotonic() - self._last_line >= 1.0:
            self._last_line = time.monotonic()
            sys.stderr.write(f"{self.method}, step {self.n_iter}, {self.seconds:.1f} CPU s: {value:.4g}\n")
        told = {"method": self.method, "n_iter": self.n_iter, "budget": self.budget, "value": float(value)}
        if self.callback is not None and self.callback({**told, "seconds": self.seconds, **more}):
            self.notes.append(f"stopped by the callback after {self.n_iter} steps")
            raise Stopped

    def keep(self, points, labels, counts):
        """What the method would return if it were stopped now."""
        self.kept = list(points), list(labels), list(counts)

    def train(self, points, labels, counts):
        """The victim on clean rows and points, from scratch: a Fit."""
        q, objective = self.question, self.objective
        if not len(labels):
            return refit(q.X, q.y, objective, q.sample_weight, tol=TOL)
        labels, counts = np.asarray(labels, dtype=float), np.asarray(counts, dtype=float)
        amount = objective.amount(q.y, q.sample_weight)
        amount += sum(n * objective.per_point(label) for label, n in zip(labels, counts, strict=True))
        if objective.is_balanced:
            totals = objective.class_totals(q.y, q.sample_weight)
            objective = objective.settled(totals + _counted(labels, counts))
        X = stack(q.X, np.array(points).reshape(-1, self.d))
        return refit(X, np.append(q.y, labels), objective, np.append(self.weight, counts), amount, tol=TOL)

    def run(self, search) -> PoisoningResult:
        """The method, until it ends or is stopped; then the last step."""
        try:
            if self.budget:
                search()
        except Stopped:
            pass
        except KeyboardInterrupt:
            if self.kept is None:
                raise
            self.status = "interrupted"
            self.notes.append("interrupted; the points found so far are kept")
        return self._conclude(*(self.kept or ([], [], [])))

    def _conclude(self, points, labels, counts) -> PoisoningResult:
        used = [i for i, n in enumerate(counts) if n > 0]
        points = self.canonical([points[i] for i in used])
        merged = merge(points, [labels[i] for i in used], [counts[i] for i in used])
        points = np.array([x for x, _, _ in merged]).reshape(-1, self.d)
        labels = np.array([y for _, y, _ in merged], dtype=float)
        asked = np.array([n for _, _, n in merged], dtype=np.intp)
        counts = self.within_supply(points, labels, asked)
        if np.any(counts < asked):
            self.notes.append(f"{np.sum(asked - counts)} more than max_repeats of the candidates allows are left out")
        fit, q, objective = self.train(points, labels, counts), self.question, self.objective
        name, theta, target = q.aim.metric.name, fit.theta, self.target
        damage = Damage(name, q.measure(self.clean), q.measure(theta), rows=q.rows, clean=self.clean.copy())
        n, difference, bound = int(counts.sum()), 0.0, 0.0
        message = f"{self.method}: {n} points, {name} {damage.before['aimed']:.4g} -> {damage.found:.4g}"
        message += " on the rows aimed at"
        if target is not None:
            found = find_point(theta, target, self.space, objective.loss, weights=self._class_weight(labels, counts))
            difference, bound = found.value, found.upper_bound
            distance = float(np.linalg.norm(theta - target))
            message += f", distance {distance:.4g} to the target"
            if self.status == "budget" and distance <= hit_radius(target, self.space, objective.fit_intercept):
                self.status = "reached"
        message = "; ".join([message, *self.notes])
        own = objective.weights(self.y, q.sample_weight)
        columns = {
            "n_points": n,
            "loss_difference": difference,
            "distance": 0.0 if target is None else distance,
            "gap": fit.gap,
            "loss_difference_upper_bound": bound,
            **self.extra,
        }
        return PoisoningResult(
            points=sp.csr_matrix(points) if self.space.is_finite and sp.issparse(self.space.X) else points,
            labels=labels,
            sequence=np.repeat(np.arange(len(counts)), counts),
            theta=theta,
            theta_target=theta.copy() if target is None else target,
            objective=objective,
            status=self.status,
            lower_bound=0,
            loss_difference=difference,
            loss_difference_upper_bound=bound,
            tol=0.0,
            stop="exact",
            history={column: np.array([value]) for column, value in columns.items()},
            feasible_set=self.space,
            classes=np.array([-1.0, 1.0]),
            n_clean=self.X.shape[0],
            clean_weight=float(self.X.shape[0]) if own is None else float(np.sum(own)),
            message=message,
            damage=damage,
        )

    def _class_weight(self, labels, counts):
        totals = None
        if self.objective.is_balanced:
            totals = self.objective.class_totals(self.y, self.question.sample_weight)
            totals = totals + _counted(labels, counts)
        return self.objective.settled(totals).class_weight


def _counted(labels, counts):
    """How many points there are of the label -1 and +1."""
    return np.array([counts[labels < 0].sum(), counts[labels > 0].sum()], dtype=float)
