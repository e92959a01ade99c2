"""Margin losses, and the one objective that everything else refers to.

The victim's training problem, written once:

    minimise over theta    sum_i c_i * phi(y_i theta . x~_i)  +  (k / 2) * theta' R theta

with rows ``x~ = (x, 1)``, ``theta = (w, b)``, row weights ``c_i`` (a row that occurs twice has
weight 2), ``R = diag(1, ..., 1, r)`` and

* ``c_i = class_weight[y_i] * sample_weight_i``: a poisoning point of label y has ``c = class_weight[y]``. With
  ``class_weight="balanced"`` that is ``n / (2 n_y)``, n and n_y counted over clean rows and poison, so that every
  added point changes the weights of all rows;
* ``k = alpha * N`` in the ``alpha`` convention (mean loss plus weight decay: the penalty grows with every poisoning
  point), or ``k = 1 / C`` in the ``C`` convention (summed loss: the penalty is fixed). N is ``sum_i c_i``, or with
  ``count_rows`` the number of rows whatever they weigh, as SGDClassifier has it;
* ``r = 1`` if the intercept is penalised like any other weight (LIBLINEAR, hence LinearSVC),
  ``r = 0`` if it is free (LogisticRegression with lbfgs, SGDClassifier). Without an intercept,
  ``b = 0`` throughout.

``phi`` is convex, non-increasing and non-negative. This module is plain NumPy; the compiled twins
of the three built-in losses are in ``_core.pxd``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Real

import numpy as np

__all__ = [
    "HINGE",
    "LOG_LOSS",
    "LOSSES",
    "Loss",
    "SQUARED_HINGE",
    "class_weights",
    "effective_weight",
    "get_loss",
    "inverse_slope",
    "no_impostor",
]


def effective_weight(loss, margin: float) -> float:
    """``s = -phi'`` at one margin."""
    if loss.name == "log_loss":
        return 1.0 / (1.0 + math.exp(margin)) if margin < 700 else 0.0
    if loss.name == "squared_hinge":
        return 2.0 * max(0.0, 1.0 - margin)
    return 1.0 if margin <= 1.0 else 0.0


def inverse_slope(loss, s: float) -> float:
    """The margin at which a smooth loss has ``-phi' = s``."""
    if loss.name == "log_loss":
        return math.log((1.0 - s) / s) if s < 1.0 else -math.inf
    return 1.0 - 0.5 * s


class Loss(ABC):
    """A convex, non-increasing, non-negative margin loss ``phi``.

    Attributes
    ----------
    name : str
        ``"hinge"``, ``"squared_hinge"``, ``"log_loss"``, or the name of a custom loss.
    lipschitz : float
        ``sup |phi'|``; ``inf`` where there is none.
    smooth : bool
        Whether ``phi`` is differentiable everywhere.
    """

    name: str
    lipschitz: float = math.inf
    smooth: bool = True

    @abstractmethod
    def value(self, margin) -> np.ndarray:
        """``phi(margin)``, elementwise."""

    @abstractmethod
    def derivative(self, margin) -> np.ndarray:
        """``phi'(margin) <= 0``, elementwise; one subgradient where ``phi`` has a kink."""

    @abstractmethod
    def second_derivative(self, margin) -> np.ndarray:
        """``phi''(margin) >= 0``, elementwise."""

    def shrinkage(self, margin) -> np.ndarray:
        """What shrinking a dual variable costs: ``c`` with ``phi(m) + phi*(-s) + s m <= t^2 c`` for every t in [0, 1].

        This is what one row adds to the duality gap when its dual variable is not ``-phi'(m)`` but
        ``s = (1 - t) * -phi'(m)``. By convexity of the conjugate and ``phi >= 0`` it is also at most
        ``t phi(m)``; a loss without a known conjugate has only that, so ``c`` is infinite.
        """
        return np.full_like(np.asarray(margin, dtype=float), np.inf)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __reduce__(self):
        # The built-in losses are one object each, so that what was pickled compares equal.
        return get_loss, (self.name,)


class Hinge(Loss):
    """``phi(m) = max(0, 1 - m)``, the loss of the linear SVM."""

    name = "hinge"
    lipschitz = 1.0
    smooth = False

    def value(self, margin):
        return np.maximum(0.0, 1.0 - np.asarray(margin, dtype=float))

    def derivative(self, margin):
        return np.where(np.asarray(margin, dtype=float) < 1.0, -1.0, 0.0)

    def second_derivative(self, margin):
        return np.zeros_like(np.asarray(margin, dtype=float))


class SquaredHinge(Loss):
    """``phi(m) = max(0, 1 - m)^2``."""

    name = "squared_hinge"

    def value(self, margin):
        return np.maximum(0.0, 1.0 - np.asarray(margin, dtype=float)) ** 2

    def derivative(self, margin):
        return -2.0 * np.maximum(0.0, 1.0 - np.asarray(margin, dtype=float))

    def second_derivative(self, margin):
        return np.where(np.asarray(margin, dtype=float) < 1.0, 2.0, 0.0)

    def shrinkage(self, margin):
        # phi*(-s) = -s + s^2 / 4, so the sum is (2 (1 - m) - s)^2 / 4 with s = 2 (1 - t) (1 - m).
        return self.value(margin)


class LogLoss(Loss):
    """``phi(m) = log(1 + exp(-m))``, the loss of logistic regression."""

    name = "log_loss"
    lipschitz = 1.0

    def value(self, margin):
        return np.logaddexp(0.0, -np.asarray(margin, dtype=float))

    def derivative(self, margin):
        return -_sigmoid(-np.asarray(margin, dtype=float))

    def second_derivative(self, margin):
        s = _sigmoid(-np.asarray(margin, dtype=float))
        return s * (1.0 - s)

    def shrinkage(self, margin):
        # The sum is the Kullback-Leibler divergence of Bernoulli(s) from Bernoulli(p), p = -phi'(m),
        # which is at most that of chi^2, (s - p)^2 / (p (1 - p)) = t^2 p / (1 - p).
        with np.errstate(over="ignore"):
            return np.exp(-np.asarray(margin, dtype=float))


def _sigmoid(z):
    """``1 / (1 + exp(-z))`` without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


HINGE = Hinge()
SQUARED_HINGE = SquaredHinge()
LOG_LOSS = LogLoss()
LOSSES = {loss.name: loss for loss in (HINGE, SQUARED_HINGE, LOG_LOSS)}


def get_loss(loss) -> Loss:
    """The loss of that name, or the loss itself."""
    if isinstance(loss, Loss):
        return no_impostor(loss)
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    choices = ", ".join(map(repr, LOSSES))
    raise ValueError(f"loss must be one of {choices} or a loss made by mtpfast.losses.custom, got {loss!r}")


def no_impostor(loss: Loss) -> Loss:
    """The loss itself; ValueError if it bears the name of a built-in loss and is not that loss.

    Kernels, proofs and files tell the built-in losses apart from all others, and trust them.
    """
    if loss.name in LOSSES and LOSSES[loss.name] is not loss:
        raise ValueError(f"loss {loss!r} must not bear the name of a built-in loss, got name {loss.name!r}")
    return loss


def class_weights(class_weight, classes=(-1, 1)) -> tuple[float, float] | str | None:
    """The weights of two classes as a pair, "balanced" or None (both are 1), from what users give.

    A dict need not name both classes, as in scikit-learn; one that is missing has weight 1.
    """
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    known = [label.item() if isinstance(label, np.generic) else label for label in classes]
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight must be a dict of labels to weights, 'balanced' or None, got {class_weight!r}")
    for label, weight in class_weight.items():
        if label not in known:
            raise ValueError(f"class_weight has the label {label!r}, the classes are {known}")
        if isinstance(weight, (bool, np.bool_)) or not isinstance(weight, (Real, np.number)):
            raise TypeError(f"class_weight[{label!r}] must be a positive number, got {weight!r}")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"class_weight[{label!r}] must be positive and finite, got {weight!r}")
    pair = tuple(float(class_weight.get(label, 1.0)) for label in known)
    return None if pair == (1.0, 1.0) else pair
