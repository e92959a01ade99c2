r"""What no single attack of m points does to many rows at once, or to the clean rows: the joint bounds.

Every model that at most m points induce lies, for one case of ``proofs/pointwise.py``, in the level set

.. math:: S = \{\theta : Q_m(\theta) \le M [\lambda \kappa + h_l((1 - \lambda) \theta - \theta_c)]\}

of that case: ``Q_m`` less the right side of (1) is affine in the numbers of points of both labels and at most 0, so
it is at most 0 at m points of one label, at m of the other or at none. Equation (4) gives for any direction t a
number V(t) with ``t . theta >= V(t)`` on S, since the left side of (3) is at most 0 there. What holds on S for every
case holds for every model within reach. Three things follow.

**Scores.** ``a . theta >= V(tau a) / tau`` and ``a . theta <= U = -V(-tau a) / tau`` for every ``tau > 0``.

**Errors.** For ``e >= 0`` with ``e U <= 1``

.. math:: [a \cdot \theta \le 0] \le 1 - e\, a \cdot \theta,

as the right side is at least 1 where ``a . theta <= 0``, and at least ``1 - e U >= 0`` elsewhere. Summed over N rows,
no more than ``N - V(eta T) / eta`` are wrong, ``T = sum e_i a_i``. Rows whose own count is above m are not among the N.

**The clean loss.** A mixture of lines of weights mu is at most ``sum(mu) L``, so that on S

.. math:: (1 - \sum \mu)\, L(\theta) \le -V(0),

and rows of the clean data that weigh more than ``L / phi(0)`` together are not all wrong. With no lines, the hinge and
``lam = 1`` this is the bound of Steinhardt, Koh and Liang (2017) at the comparison model, the penalty counted.

**A free intercept** b is in (4) only as ``g b``, ``g = t_b - P`` with ``P = p_b + M l (1 - lam)``. With ``t = 0`` and
without that term (4) is a number A with ``P b >= A`` on S: ``b >= A / P`` where P is positive, ``b <= A / P`` where it
is negative, so that multipliers of either kind enclose b. The intervals of all cases together hold the intercept of
every model within reach. In all other proofs the term is its minimum over their union, at one of its ends: any
multipliers prove something, and the best ones have ``g = 0``. P can be of either sign in the cases of the hinge, where
lam knows no end, and of the squared hinge, where the slopes of lines do not. In the first interval of slopes of the log
loss it is of the sign of l as soon as M outweighs the clean rows of label -l: then b has no end on S, and nothing is
proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_sample_weight
from mtpfast.arrays.frozen import freeze_arrays
from mtpfast.arrays.rounding import UNIT, gamma

from .clean_pass import amount_of
from .hulls import hulls_of, planes_of
from .lines import lines_of, widths_of
from .pointwise import cases_of, check_arrays, intercept_end, least

__all__ = ["Joint", "JointBounds", "SIDES", "roles_of"]


#: What the proofs of a case are for; the last two where the intercept is free, to enclose it.
ROLES = ("scores", "errors", "loss", "intercept from below", "intercept from above")
#: The number of the role that encloses a free intercept, and the side it is a bound from.
SIDES = ((3, 1.0), (4, -1.0))


def roles_of(objective) -> int:
    """So many proofs has a case."""
    return len(ROLES) if objective.is_free else 3


class JointBounds(NamedTuple):
    """What is proved for B numbers of points."""

    wrong: np.ndarray  # (B,) so many rows at most are wrong
    score: np.ndarray  # (B, n_rows) lower bounds of ``a . theta``
    loss: np.ndarray  # (B,) the mean loss of the clean rows is at most this
    error: np.ndarray  # (B,) and this share of them wrong, by weight


@dataclass(frozen=True, eq=False)
class Joint:
    """The multipliers of the joint bounds, and what they are said to prove.

    Attributes
    ----------
    counts : ndarray of int, shape (n_counts,)
        Numbers of points, growing.
    models : ndarray of shape (n_models, n_features + 1)
        Where the lines touch the clean loss; the first is the clean victim.
    comparison : ndarray of int, shape (n_counts, 2)
        The numbers of the comparison models, of scores and errors and of the loss.
    weight_of, weight_model, weight : ndarray of shape (n_weights,)
        The mixtures of lines, of the proof numbered ((number of the count) * n_cases + case) * n_roles + role.
    lam : ndarray of shape (n_counts, n_cases, n_roles)
    pi : ndarray of shape (n_counts, n_cases, n_roles, n_planes)
    below, above : ndarray of shape (n_counts, n_cases, n_rows)
        ``tau`` of the bounds of the scores.
    eta : ndarray of shape (n_counts, n_cases)
    e : ndarray of shape (n_counts, n_cases, n_rows)
    wrong, loss, error : ndarray of shape (n_counts,)
    score : ndarray of shape (n_counts, n_rows)
        The claims: see :class:`JointBounds`.
    """

    counts: np.ndarray
    models: np.ndarray
    comparison: np.ndarray
    weight_of: np.ndarray
    weight_model: np.ndarray
    weight: np.ndarray
    lam: np.ndarray
    pi: np.ndarray
    below: np.ndarray
    above: np.ndarray
    eta: np.ndarray
    e: np.ndarray
    wrong: np.ndarray
    score: np.ndarray
    loss: np.ndarray
    error: np.ndarray

    def __post_init__(self):
        freeze_arrays(self)

    def at(self, count: int) -> int | None:
        """The number of the least count that is no less than this one; None beyond the last."""
        b = int(np.searchsorted(self.counts, count))
        return b if b < len(self.counts) else None

    def validate(self, pointwise) -> None:
        """Raise ValueError, naming the field, where these cannot be joint bounds."""
        numbers = ("models", "weight", "lam", "pi", "below", "above", "eta", "e", "score", "loss", "error")
        check_arrays(self, numbers, ("counts", "wrong", "comparison", "weight_of", "weight_model"))
        n, d = pointwise.rows.shape
        objective = pointwise.objective
        hulls = hulls_of(pointwise.feasible_set, d, objective)
        B, J, P = len(self.counts), len(cases_of(objective, hulls, np.zeros(d + 1))), planes_of(hulls)
        roles = roles_of(objective)
        shapes = {
            "weight": (self.weight.size,),
            "counts": (B,), "models": (max(1, len(self.models)), d + 1), "comparison": (B, 2), "lam": (B, J, roles),
            "pi": (B, J, roles, P), "below": (B, J, n), "above": (B, J, n), "eta": (B, J), "e": (B, J, n),
            "wrong": (B,), "score": (B, n), "loss": (B,), "error": (B,), "weight_of": self.weight.shape,
            "weight_model": self.weight.shape,
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")
        for name in ("models", "weight", "lam", "pi", "below", "above", "eta", "e"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be finite, got NaN or infinity")
        for name in ("counts", "weight", "lam", "pi", "below", "above", "eta", "e", "loss", "error"):
            if not np.all(getattr(self, name) >= 0):
                raise ValueError(f"{name} must be at least 0, got {np.min(getattr(self, name))!r}")
        if not np.all(self.score < np.inf):
            raise ValueError("score must be finite or -infinity")
        if np.any(self.counts[1:] <= self.counts[:-1]):
            raise ValueError("counts must grow")
        ends = {
            "weight_of": (self.weight_of, roles * B * J),
            "weight_model": (self.weight_model, len(self.models)),
            "comparison": (self.comparison, len(self.models)),
        }
        for name, (values, end) in ends.items():
            if values.size and not 0 <= values.min() <= values.max() < end:
                raise ValueError(f"{name} must hold whole numbers from 0 to {end - 1}")

    def check(self, pointwise, lower_bound, X, y, sample_weight=None) -> bool:
        """Whether all that is claimed is proved: one pass over the clean data, then (4) for every count and case.

        ``lower_bound``: what is proved of every row on its own.
        """
        self.validate(pointwise)
        objective = pointwise.objective
        sample_weight = check_sample_weight(sample_weight, X.shape[0])
        own = sample_weight, pointwise.margin_rows, pointwise.margin_slopes, np.unique(self.comparison)
        if not np.array_equal(self.models[0], pointwise.theta):
            raise ValueError("models must begin with theta")
        own += (widths_of(len(self.models), pointwise.width),)
        lines = lines_of(self.models, X, None if y is None else np.asarray(y), objective, *own)
        amount = amount_of(X, y, objective, sample_weight)
        proved = self.proved(pointwise, lower_bound, lines, amount)
        return bool(
            np.all(self.wrong >= proved.wrong)
            and np.all(self.score <= proved.score)
            and np.all(self.loss >= proved.loss)
            and np.all(self.error >= proved.error)
        )

    def proved(self, pointwise, lower_bound, lines, amount) -> JointBounds:
        """What the multipliers prove, rounded the safe way."""
        objective = pointwise.objective
        n, d = pointwise.rows.shape
        (B, J), roles = self.eta.shape, roles_of(objective)
        hulls = hulls_of(pointwise.feasible_set, d, objective)
        shape = roles * B * J, len(self.models)
        mixed = sp.csr_matrix((self.weight, (self.weight_of, self.weight_model)), shape=shape)
        block = pointwise.rows.toarray() if sp.issparse(pointwise.rows) else pointwise.rows
        a = pointwise.signs[:, None] * np.column_stack([block, np.full(n, objective.one)])
        wrong, score, loss = np.zeros(B, dtype=np.int64), np.full((B, n), np.inf), np.zeros(B)
        for b in range(B):
            alone, intercept = np.asarray(lower_bound) <= self.counts[b], None
            for part, number in enumerate(self.comparison[b]):
                theta, top = self.models[number], lines.loss[number]
                proofs = [
                    Proof(self, objective, lines, amount, (case, theta, top), float(self.counts[b]), mixed, b, j)
                    for j, case in enumerate(cases_of(objective, hulls, theta))
                ]
                if part == 0 and objective.is_free:
                    ends = np.array([proof.intercept_ends() for proof in proofs])
                    intercept = float(ends[:, 0].min()), float(ends[:, 1].max())
                for proof in proofs:
                    proof.intercept = intercept
                    if part == 1:
                        loss[b] = np.maximum(loss[b], proof.loss())
                        continue
                    low, high = proof.scores(a)
                    score[b] = np.minimum(score[b], low)
                    wrong[b] = max(wrong[b], proof.errors(a, high, alone))
        zero = float(objective.loss.at(0.0)) * (1.0 - 8 * UNIT)
        weight = float(lines.weight.sum())
        mean = loss / weight * (1.0 + 4 * UNIT)
        mean[~((mean >= 0.0) & (0.0 < weight < np.inf))] = np.inf
        return JointBounds(wrong, score, mean, np.minimum(1.0, mean / zero * (1.0 + 4 * UNIT)))


class Proof:
    """The proofs of one count and one case. ``intercept``: the interval of a free one, once it is known."""

    def __init__(self, joint, objective, lines, amount, place, m, mixed, b, j):
        self.joint, self.place, self.m, self.b, self.j = joint, (objective, lines, amount, *place), m, b, j
        roles = roles_of(objective)
        self.mixed, self.intercept = mixed[(b * joint.eta.shape[1] + j) * roles + np.arange(roles)], None

    def least(self, role, a, a_error, tau):
        """V(tau a), rounded down."""
        if self.intercept is not None and not np.all(np.isfinite(self.intercept)):
            return np.full(len(a), -np.inf)
        K, lam, pi = len(a), self.joint.lam[self.b, self.j, role], self.joint.pi[self.b, self.j, role]
        mixed, alike = self.mixed[np.full(K, role)], (np.full(K, lam), np.tile(pi, (K, 1)))
        return least(*self.place, np.full(K, self.m), a, a_error, mixed, tau, *alike, self.intercept)

    def intercept_ends(self):
        """The interval of a free intercept on S."""
        lam, pi = self.joint.lam[self.b, self.j], self.joint.pi[self.b, self.j]
        return [
            intercept_end(*self.place, self.m, self.mixed[[role]], lam[role], pi[role], side) for role, side in SIDES
        ]

    def scores(self, a):
        """Bounds of every score from below and above."""
        ends = []
        for sign, tau in ((1.0, self.joint.below[self.b, self.j]), (-1.0, self.joint.above[self.b, self.j])):
            value = self.least(0, sign * a, 0.0, tau)
            value = np.where(tau > 0.0, value / np.where(tau > 0.0, tau, 1.0), -np.inf)
            value = value - 4 * UNIT * np.abs(value)
            ends.append(sign * np.where(np.isfinite(value), value, -np.inf))
        return ends

    def errors(self, a, high, alone) -> int:
        """So many rows at most are wrong."""
        n, eta = int(np.count_nonzero(alone)), float(self.joint.eta[self.b, self.j])
        with np.errstate(invalid="ignore"):
            fits = alone & (high > 0.0) & (self.joint.e[self.b, self.j] * high <= 1.0 - 4 * UNIT)
        e = np.where(fits, self.joint.e[self.b, self.j], 0.0)
        if eta == 0.0:
            return n
        error = gamma(len(e) + 4) * (e @ np.abs(a))
        right = float(self.least(1, (e @ a)[None], error[None], np.array([eta]))[0]) / eta
        right -= 4 * UNIT * abs(right)
        return int(max(0, min(n, np.floor(n - right + 4 * UNIT * (n + abs(right)))))) if np.isfinite(right) else n

    def loss(self) -> float:
        """The summed clean loss is at most this."""
        rest = 1.0 - float(self.mixed[2].sum()) * (1.0 + gamma(self.mixed.shape[1] + 8))
        nothing = np.zeros((1, len(self.place[4])))
        value = -float(self.least(2, nothing, 0.0, np.zeros(1))[0])
        if not (np.isfinite(value) and rest > 0.0):
            return np.inf
        return max(0.0, value) / rest * (1.0 + 8 * UNIT)
