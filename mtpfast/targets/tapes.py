r"""The models of the tapes: which of them can be the target, and the others when somebody asks for them.

Label flips are a penalty. With F the clean objective and G what one copy of the flipped rows adds (its part of the
penalty included), the model of r copies minimises :math:`F + r G`. From the two inequalities that say so of r < s,

.. math:: F(\theta_r) \le F(\theta_s), \qquad G(\theta_r) \ge G(\theta_s)

(Luenberger and Ye, "Linear and Nonlinear Programming", section 13.1, Lemma 1). The target is the model of least F whose
error is large enough: so once one of a quantile has that error, or an F above the least found, no larger number of
repeats of the same quantile can be it. Nor need a model be trained to its end for that. With V_r the least of
:math:`F + r G`, and any model at which that is no more than v,

.. math:: F(\theta_r) \ge (r V_s - s V_r) / (r - s) \ge (r V_s - s v) / (r - s),

as :math:`V_s \le F(\theta_r) + s G(\theta_r)`, where :math:`r G(\theta_r) = V_r - F(\theta_r)`. Neither where class
weights follow the counts ("balanced"), nor where the rows that are flipped follow the model (``improved``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mtpfast.arrays.rows import stack
from mtpfast.arrays.sweeps import sweep
from mtpfast.losses.objective import Objective
from mtpfast.training.victim import Victim

__all__ = ["Candidates", "TargetCandidate", "Tapes", "below", "predict"]


#: So many models of a quantile say where its next one is looked for.
POINTS = 4
#: More than what rounding does to a sum over all rows, as a share of it.
ROOM = 1e-9


@dataclass(frozen=True)
class TargetCandidate:
    """One model that :func:`mtpfast.make_target` considered. It can be attacked like any target.

    Attributes
    ----------
    quantile, repeats
        The rows below this quantile of the margin were flipped, and added this often.
    error : float
        Share of the evaluation rows that the model gets wrong.
    n_flips : int
        Rows added, repeats included.
    clean_objective : float
        The victim's summed objective on the clean rows alone.
    coef_, intercept_ : ndarray of shape (1, n_features) and (1,)
    """

    quantile: float
    repeats: int
    error: float
    n_flips: int
    clean_objective: float
    coef_: np.ndarray = field(repr=False, compare=False)
    intercept_: np.ndarray = field(repr=False, compare=False)


class Candidates(Sequence):
    """The models of the pairs of the tapes, in their order; those that could not be the target are trained when the
    first of all is read. Pickled, it is a tuple of all of them."""

    def __init__(self, found, tapes):
        self._found, self._tapes = list(found), tapes

    def _all(self):
        if self._tapes is not None:
            self._found, self._tapes = self._tapes.completed(self._found), None
        return self._found

    def __len__(self):
        return len(self._found)

    def __getitem__(self, index):
        found = self._all()[index]
        return tuple(found) if isinstance(index, slice) else found

    def __reduce__(self):
        return tuple, (self._all(),)

    def __repr__(self):
        return f"<{len(self)} models of the tapes>"


class Tapes(NamedTuple):
    """What every pair of the tapes is trained on, and measured by."""

    X: Any
    signs: np.ndarray
    weight: np.ndarray | None
    objective: Objective
    X_rows: Any
    y_rows: np.ndarray
    X_goal: Any
    y_goal: np.ndarray
    clean: np.ndarray
    margin: np.ndarray
    margin_rows: np.ndarray
    quantiles: list
    repeats: list
    improved: bool
    goal: float
    tol: float
    n_jobs: int | None
    stacked: Any = None  # X and X_rows in one matrix

    def ready(self):
        """With the rows of both in one matrix: the clean ones and those to flip."""
        return self if self.stacked is not None else self._replace(stacked=stack(self.X, self.X_rows))

    def search(self):
        """Groups of models, in the order of the tapes; None stands for one that cannot be the target."""
        if self.n_jobs is None:
            rows = [(q, self.repeats, {}) for q in self.quantiles]
            yield from ([model] for model in self.ready().models(rows, not self.objective.is_balanced))
        else:
            yield from sweep(_searched, [(q,) for q in self.quantiles], self.ready(), self.n_jobs)

    def completed(self, found):
        """The same with every model that was left out, each row of the tapes from its last one on."""
        found, n, rows = list(found), len(self.repeats), []
        if all(model is not None for model in found):
            return found
        for i, q in enumerate(self.quantiles):
            row = found[i * n : (i + 1) * n]
            missing = [j for j, model in enumerate(row) if model is None]
            if missing:
                known = {model.repeats: np.append(model.coef_, model.intercept_) for model in row if model is not None}
                rows.append((i * n + np.array(missing), (q, [self.repeats[j] for j in missing], known)))
        if self.n_jobs is None:
            trained = self.ready().models([row for _, row in rows], False)
        else:
            groups = sweep(_trained, [(row,) for _, row in rows], self.ready(), self.n_jobs)
            trained = (model for group in groups for model in group)
        for place in np.concatenate([places for places, _ in rows]):
            found[place] = next(trained)
        return found

    def models(self, rows, leave_out):
        """The model of every pair of the rows ``(quantile, repeats, theta by repeats known of this quantile)``, each
        training started from those before; where that may be done, None for those that cannot be the target."""
        signs, weight, objective = self.signs, self.weight, self.objective
        margin, margin_rows = self.margin, self.margin_rows
        y_all = np.concatenate([signs, -self.y_rows])
        clean_weight = np.ones(len(signs)) if weight is None else weight
        trained, first, least = None, self.clean, math.inf
        leave_out = leave_out and not self.improved
        for q, repeats, known in rows:
            ended, begun = math.inf, False  # the repeats from which on no model of this row can be the target
            costs, begin, known = {}, list(known.values())[-1] if known else first, known or {0: self.clean}
            for r in repeats:
                if r >= ended:
                    yield None
                    continue
                flipped = below(margin, q, margin_rows)
                copies = np.concatenate([np.zeros(len(signs)), r * flipped])
                weight_all = np.concatenate([clean_weight, np.zeros(len(flipped))]) + copies
                # A weight of r stands for r rows of weight 1 here.
                totals = np.array([copies @ (y_all < 0), copies @ (y_all > 0)]) + objective.class_totals(signs, weight)
                victim = objective.settled(totals)
                amount = objective.amount(signs, weight)
                amount += sum(float(copies @ (y_all == y)) * objective.per_point(y) for y in (-1.0, 1.0))
                if trained is None:
                    trained = Victim(self.stacked, y_all, victim, weight_all, amount, theta0=begin, tol=self.tol)
                else:  # a few more rows of small weight move a model less than the fall of large weights to small ones
                    near = None if self.improved else ahead(known, r)
                    again = begun or self.improved
                    change = victim, weight_all, amount, None if again else begin, near if again else None
                    enough = beyond(costs, r, least) if leave_out else -math.inf
                    trained.reweigh(*change, enough - ROOM * abs(enough))
                    if enough > -math.inf and not trained.is_tight():
                        if victim.value(trained.theta, self.stacked, y_all, weight_all, amount) <= enough:
                            ended = r
                            yield None
                            continue
                        trained.reweigh(*change)
                theta = known[r] = trained.theta
                costs[r] = trained.value() - trained.gap
                first = first if begun else theta
                begun = True
                model = TargetCandidate(
                    quantile=float(q),
                    repeats=int(r),
                    error=float(np.mean(predict(theta, self.X_goal) != self.y_goal)),
                    n_flips=int(r) * int(flipped.sum()),
                    clean_objective=objective.value(theta, self.X, signs, weight),
                    coef_=theta[None, :-1].copy(),
                    intercept_=theta[-1:].copy(),
                )
                if leave_out and (model.error >= self.goal or model.clean_objective >= least):
                    ended = min(ended, r)
                    least = min(least, model.clean_objective)
                yield model
                if self.improved:
                    margin = margin_rows = objective.margins(theta, self.X_rows, self.y_rows)


def _searched(q, tapes: Tapes):
    return list(tapes.models([(q, tapes.repeats, {})], not tapes.objective.is_balanced))


def _trained(row, tapes: Tapes):
    return list(tapes.models([row], False))


def below(margin, quantile, rows=None):
    """Which rows have a margin below that quantile of ``margin``; all of them at quantile 1."""
    rows = margin if rows is None else rows
    if quantile >= 1:
        return np.ones(len(rows), dtype=bool)
    return rows < np.quantile(margin, quantile)


def beyond(costs, repeats, least):
    """The value of :math:`F + r G` at any model that proves a clean objective of ``least`` for the model of so many
    repeats, by V of those of fewer; with room for rounding."""
    fewer = max((s for s in costs if s < repeats), default=0)
    if not fewer or least == math.inf:
        return -math.inf
    value = (repeats * costs[fewer] - (repeats - fewer) * least) / fewer
    return value - ROOM * repeats / fewer * abs(costs[fewer])


def ahead(known, repeats):
    """The model of so many repeats, or where it is thought to be, from the last few: a polynomial in r / (r + 10), as
    the model moves with r while r is small, and with 1 / r once the flipped rows outweigh the clean ones."""
    if repeats in known:
        return known[repeats]
    last = [(r / (r + 10.0), theta) for r, theta in known.items()][-POINTS:]
    at, found = repeats / (repeats + 10.0), 0.0
    for u, theta in last:
        found = found + math.prod((at - v) / (u - v) for v, _ in last if v != u) * theta
    return found


def predict(theta, X):
    return np.where(X @ theta[:-1] + theta[-1] > 0, 1.0, -1.0)
