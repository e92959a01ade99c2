"""The one objective that a victim minimises: summed loss plus an l2 penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from mtpfast.arrays.magnitude import check_magnitude
from mtpfast.arrays.rows import scores

from .margin import HINGE, Loss, class_weights, get_loss, no_impostor

__all__ = ["Objective", "make_objective"]


@dataclass(frozen=True)
class Objective:
    """The victim's training objective (see the head of this module).

    ``k(amount)`` and ``r`` name the regulariser; ``theta`` is always ``(w, b)`` in one array of length
    ``n_features + 1``. Every ``sample_weight`` below is the user's: the class weights come on top of it here.

    Attributes
    ----------
    class_weight : (float, float), "balanced" or None
        Of the labels -1 and +1; None: 1 for both.
    count_rows : bool
        What ``alpha`` multiplies, and "balanced" counts: rows, instead of their weights.
    """

    loss: Loss
    alpha: float | None = None
    C: float | None = None
    fit_intercept: bool = True
    penalize_intercept: bool = True
    class_weight: tuple[float, float] | str | None = None
    count_rows: bool = False

    def __post_init__(self):
        no_impostor(self.loss)
        if self.loss.kinked and self.loss is not HINGE:  # it would be trained, and proved, as the hinge is
            raise ValueError(f"loss {self.loss!r} must be smooth: of losses with a kink only the hinge is known")
        if (self.alpha is None) == (self.C is None):
            raise ValueError(f"one of alpha and C must be given, got alpha={self.alpha!r} and C={self.C!r}")
        for name, value in (("alpha", self.alpha), ("C", self.C)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value!r}")

    @property
    def r(self) -> float:
        """Weight of ``b^2`` in the penalty: 1 if the intercept is penalised, else 0."""
        return 1.0 if self.fit_intercept and self.penalize_intercept else 0.0

    @property
    def one(self) -> float:
        """The last entry of ``x~ = (x, one)``: 1, or 0 without an intercept."""
        return 1.0 if self.fit_intercept else 0.0

    def R(self, n_features: int) -> np.ndarray:
        """The diagonal of R: 1 for every weight, :attr:`r` for the intercept."""
        return np.append(np.ones(n_features), self.r)

    @property
    def is_free(self) -> bool:
        """Whether there is an intercept that the penalty leaves out."""
        return self.fit_intercept and not self.penalize_intercept

    @property
    def k_per_point(self) -> float:
        """How much one more unit of N adds to ``k``: ``alpha``, or 0 in the ``C`` convention."""
        return 0.0 if self.alpha is None else self.alpha

    @property
    def is_balanced(self) -> bool:
        """Whether the class weights depend on how many rows there are of each class."""
        return self.class_weight == "balanced"

    def k(self, amount: float) -> float:
        """Weight of the penalty when N is ``amount``."""
        return 1.0 / self.C if self.alpha is None else self.alpha * amount

    # -- weights ------------------------------------------------------------------------------

    def weight_of(self, label: float) -> float:
        """``c`` of a poisoning point of that label."""
        if self.class_weight is None:
            return 1.0
        if self.is_balanced:
            raise ValueError("class_weight='balanced' is not a number before the rows are counted: settle it first")
        return self.class_weight[1 if label > 0 else 0]

    def per_point(self, label: float) -> float:
        """What a poisoning point of that label adds to N."""
        return 1.0 if self.count_rows or self.is_balanced else self.weight_of(label)

    def k_of_point(self, label: float) -> float:
        """What a poisoning point of that label adds to ``k``."""
        return self.k_per_point * self.per_point(label)

    def class_totals(self, y, sample_weight=None) -> np.ndarray:
        """``(n_-1, n_+1)`` as "balanced" counts them: rows, or their sample weights."""
        positive = np.asarray(y) > 0
        if sample_weight is None or self.count_rows:
            return np.array([np.count_nonzero(~positive), np.count_nonzero(positive)], dtype=float)
        return np.array([np.sum(sample_weight[~positive]), np.sum(sample_weight[positive])])

    def settled(self, totals) -> Objective:
        """The objective with the class weights that "balanced" stands for, ``(n_-1, n_+1)`` rows counted."""
        if not self.is_balanced:
            return self
        weights = tuple(float(sum(totals)) / (2.0 * float(n)) for n in totals)
        return replace(self, class_weight=weights)

    def weights(self, y, sample_weight=None) -> np.ndarray | None:
        """``c_i`` of these rows, "balanced" over them; None where all are 1."""
        if self.class_weight is None:
            return sample_weight
        own = self.settled(self.class_totals(y, sample_weight)) if self.is_balanced else self
        minus, plus = own.class_weight
        own = np.where(np.asarray(y) > 0, plus, minus)
        return own if sample_weight is None else own * sample_weight

    def amount(self, y, sample_weight=None) -> float:
        """N of these rows: what ``k`` is a function of."""
        c = None if self.count_rows else self.weights(y, sample_weight)
        return float(len(y)) if c is None else float(np.sum(c))

    # -- the sum ------------------------------------------------------------------------------

    def penalty(self, theta) -> float:
        """``theta' R theta``."""
        w, b = theta[:-1], float(theta[-1])
        return float(w @ w) + self.r * b * b

    def margins(self, theta, X, y) -> np.ndarray:
        """``y_i * (w . x_i + b)`` for every row of a dense or sparse X."""
        return y * (scores(X, theta[:-1]) + theta[-1])

    def value(self, theta, X, y, sample_weight=None, total_weight=None) -> float:
        """The objective at theta; ``total_weight`` (default: the rows' own) is the N that sets ``k``."""
        losses = self.loss.value(self.margins(theta, X, y))
        c = self.weights(y, sample_weight)
        summed = float(np.sum(losses)) if c is None else float(np.dot(c, losses))
        k = self.k(self.amount(y, sample_weight) if total_weight is None else total_weight)
        return summed + 0.5 * k * self.penalty(theta)


def make_objective(
    loss="hinge",
    alpha=None,
    C=None,
    fit_intercept=True,
    penalize_intercept=True,
    class_weight=None,
    count_rows=False,
) -> Objective:
    """An :class:`Objective` from the parameters that users give.

    At most one of ``alpha`` and ``C`` may be given; with neither, ``alpha=0.01``. ``class_weight``: a dict with keys
    -1 and +1 (one that is missing has weight 1), "balanced" or None.
    """
    if alpha is not None and C is not None:
        raise ValueError(f"at most one of alpha and C may be given, got alpha={alpha!r} and C={C!r}")
    if alpha is None and C is None:
        alpha = 0.01
    for name, value in (
        ("fit_intercept", fit_intercept),
        ("penalize_intercept", penalize_intercept),
        ("count_rows", count_rows),
    ):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    for name, value in (("alpha", alpha), ("C", C)):
        if value is None:
            continue
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
            raise TypeError(f"{name} must be a positive number, got {value!r}")
        check_magnitude(value, name)
    return Objective(
        get_loss(loss),
        None if alpha is None else float(alpha),
        None if C is None else float(C),
        bool(fit_intercept),
        bool(penalize_intercept),
        class_weights(class_weight),
        bool(count_rows),
    )
