r"""Cheaper models near a target: down the fractional minimum as a function of the model, inside a ball.

The least number of points for a model theta is ``N(theta) = min sum nu_k`` subject to ``F(theta, nu) = 0``, F the
gradient of the victim's objective with the poison. By the envelope theorem

.. math:: \nabla N(\theta) = -H v,

H the Hessian of that objective and v the multipliers of ``F = 0``, the direction that proves N: so H v is the way down.
The hinge has no Hessian, but rows that turn: a step ``tau v / |v|`` moves the margin of row z by ``tau v.z / |v|``, and
it turns where that is more than ``|m - 1|``. With ``width`` such steps for tau, the rows that turn give the average of
H along the way: up to a factor ``sum of sign(v.z) c z``. With ``width = 0`` only the penalty is left, and the way is v,
on which every row on the margin turns to the side that pays.

What is found is a model and its fractional minimum: found, not proved to be the least in the ball. One step costs a
pass over the data and one program without a ball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mtpfast.question import Problem

from .plan import is_one_by_one, price_program
from .programs.ascent import fewest_entries
from .programs.solution import Solution

__all__ = ["Slide", "can_slide"]


STEPS, SHORTER, SHORTEST = 40, 0.4, 1e-3  # a step that does not pay is taken shorter, down to a share of the radius
PAYS, HARDLY = 1e-6, 1e-4  # relative: what is saved by a step that counts, and by one after which steps are shorter
WIDTHS = (0.0, 3.0)
#: Where the number of points is given: the first radius as a share of the way to the clean model, by how much it grows,
#: and how often one is looked for between two, until a model takes this share of the points.
FIRST, GROWTH, TRIES, ENOUGH = 0.01, 2.0, 4, 0.97
ON_MARGIN = 1e-7  # a clean row so near to the kink of the hinge is on it


def can_slide(problem: Problem) -> bool:
    """Whether a program says what models near the target cost."""
    return not (problem.feasible_set.is_finite or is_one_by_one(problem.setting))


@dataclass(frozen=True, eq=False)
class Model:
    """A model, the program's solution for it (None: not attainable), and the margins of the clean rows."""

    theta: np.ndarray
    margins: np.ndarray
    solution: Solution | None

    @property
    def value(self) -> float:
        return math.inf if self.solution is None else self.solution.value


class Slide:
    """Models within ``radius`` of a problem's target. ``tell`` is called before every step; ``rows``: those of X as
    products with them take least, if they are known."""

    def __init__(self, problem: Problem, radius, tell=lambda: None, rows=None):
        self.problem, self.radius, self.target, self.tell = problem, radius, problem.theta, tell
        objective = problem.objective
        weights = objective.weights(problem.y, problem.sample_weight)
        self.X = fewest_entries(problem.X) if rows is None else rows
        self.signed = problem.y if weights is None else weights * problem.y  # c_i y_i
        self.ridge = objective.R(len(problem.theta) - 1)
        self.setting = problem.setting
        self.starts = {}  # models at which a search began

    def start(self, theta) -> Model:
        """:meth:`look`, at most once for a model."""
        key = theta.tobytes()
        if key not in self.starts:
            self.starts[key] = self.look(theta)
        return self.starts[key]

    def look(self, theta) -> Model:
        """What a model costs."""
        problem, loss = self.problem, self.problem.objective.loss
        y, c, clean = problem.y, np.abs(self.signed), problem.clean
        margins = y * (self.X @ theta[:-1] + theta[-1])
        on = np.flatnonzero(np.abs(margins - 1.0) <= ON_MARGIN) if loss.kinked else np.empty(0, dtype=np.intp)
        pull = -loss.derivative(margins)
        pull[on] = 0.0
        seen = replace(
            clean, gradient=clean.k * self.ridge * theta - self._sum(pull * self.signed), error=np.zeros_like(theta),
            free_rows=problem.X[on], free_labels=y[on], free_weights=c[on], free_slopes=np.full(len(on), np.nan),
        )  # fmt: skip
        return Model(theta, margins, price_program(replace(self.setting, clean=seen, theta=theta)).solve())

    def _sum(self, weights):
        """``sum_i weights_i x~_i``."""
        return np.append(weights @ self.X, self.problem.objective.one * weights.sum())

    def way(self, model: Model, width, v=None) -> np.ndarray:
        """The unit vector along H v, v the model's own or another direction; along v where H v is 0 (0 for v = 0)."""
        objective, loss = self.problem.objective, self.problem.objective.loss
        v = model.solution.direction if v is None else v
        slope = self.X @ v[:-1] + v[-1]  # y z.v
        along = (self.problem.clean.k + self.setting.a * model.value) * self.ridge * v
        if not loss.kinked:
            along = along + self._sum(np.abs(self.signed) * loss.second_derivative(model.margins) * slope)
            for sign, mean, count in zip((1.0, -1.0), model.solution.means, model.solution.counts, strict=False):
                if mean is not None:
                    x = np.append(mean, objective.one)
                    bend = loss.second_derivative(np.array([sign * float(x @ model.theta)]))[0]
                    along = along + objective.weight_of(sign) * count * bend * float(x @ v) * x
        else:
            tau, size = width * self.radius, float(np.linalg.norm(v))
            turning = np.abs(model.margins - 1.0) * size <= tau * np.abs(slope)
            if tau > 0.0:
                along = along + self._sum(turning * np.abs(self.signed) * np.sign(slope)) * (0.5 * size / tau)
        length = float(np.linalg.norm(along)) or float(np.linalg.norm(v)) or 1.0
        return (along if np.any(along) else v) / length

    def down(self, start, width) -> Model:
        """From a model to cheaper ones, back into the ball after each step, while that pays."""
        best, step = self.start(self.inside(start)), self.radius
        for _ in range(STEPS):
            if best.solution is None or not best.value > 0.0:
                break
            self.tell()
            there = self.look(self.inside(best.theta + step * self.way(best, width)))
            saved = 1.0 - there.value / best.value
            if saved > PAYS:
                best = there
            if not saved > HARDLY:
                step *= SHORTER
                if step < SHORTEST * self.radius:
                    break
        return best

    def inside(self, theta):
        """The nearest model in the ball."""
        away = theta - self.target
        return self.target + away * (self.radius / max(self.radius, float(np.linalg.norm(away))))

    def models(self, direction):
        """The models found from the target and, for the hinge, from the edge of the ball, the cheapest first.

        ``direction``: one that proves a bound for the whole ball.
        """
        first, starts = self.start(self.inside(self.target)), []
        if self.problem.objective.loss.kinked and first.solution is not None and first.value > 0.0:
            starts = [self.target + self.radius * self.way(first, WIDTHS[-1], direction)]
        return self.below(self.target, *starts)

    def below(self, *starts):
        """The models found from some, by every width, the cheapest first."""
        widths = WIDTHS if self.problem.objective.loss.kinked else WIDTHS[:1]
        found = [self.down(start, width) for start in starts for width in widths]
        return sorted((model for model in found if model.solution is not None), key=lambda model: model.value)

    def nearest(self, most, reach):
        """Models that cost at most ``most``, the nearest first; ``reach``: as far away is one that costs nothing.

        The radius grows until there is one, and then it is one of a straight line between the radii known (in the
        logarithm). Each search begins at the model found for the radius before.
        """
        known, theta, radius = [], self.target, FIRST * reach

        def ask():
            self.radius = radius
            found = self.below(theta)
            known.append((radius, found[0].value if found else math.inf, found[0] if found else None))
            known.sort(key=lambda each: each[0])
            return known[-1]

        while True:
            _, value, model = ask()
            if value <= most or radius >= reach:
                break
            theta, radius = (self.target if model is None else model.theta), GROWTH * radius
        for _ in range(TRIES):
            enough = next((i for i, each in enumerate(known) if each[1] <= most), 0)
            if not enough or known[enough][1] > ENOUGH * most or math.isinf(known[enough - 1][1]):
                break
            (left, more, model), (right, fewer, _) = known[enough - 1 : enough + 1]
            share = (more - 0.5 * (1.0 + ENOUGH) * most) / (more - fewer)
            theta, radius = model.theta, left * (right / left) ** share
            ask()
        return [model for _, value, model in known if value <= most]
