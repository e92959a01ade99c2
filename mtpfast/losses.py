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
of the three built-in losses are in ``_core.pyx``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from .magnitude import check_magnitude

__all__ = [
    "HINGE",
    "LOG_LOSS",
    "LOSSES",
    "SQUARED_HINGE",
    "Loss",
    "Objective",
    "class_weights",
    "custom",
    "get_loss",
    "make_objective",
]


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


class CustomLoss(Loss):
    """A loss given by the user's own functions; made by :func:`custom`."""

    def __init__(self, value, derivative, second_derivative=None, *, name="custom"):
        self._functions = (value, derivative, second_derivative)
        self.name = name
        self._value, self._derivative = _compiled(value), _compiled(derivative)
        self._second = None if second_derivative is None else _compiled(second_derivative)

    def value(self, margin):
        return np.asarray(self._value(np.asarray(margin, dtype=float)), dtype=float)

    def derivative(self, margin):
        return np.asarray(self._derivative(np.asarray(margin, dtype=float)), dtype=float)

    def second_derivative(self, margin):
        margin = np.asarray(margin, dtype=float)
        if self._second is not None:
            return np.asarray(self._second(margin), dtype=float)
        h = 1e-4  # only steers Newton's step; the gap, not this, decides when a refit is done
        return np.maximum(0.0, self.derivative(margin + h) - self.derivative(margin - h)) / (2 * h)

    def __repr__(self):
        value, derivative, second = self._functions
        return f"custom({value!r}, {derivative!r}, {second!r}, name={self.name!r})"

    def __reduce__(self):
        # Compiled functions do not pickle; the Python ones they came from do.
        return _rebuild_custom, (*self._functions, self.name)


def _rebuild_custom(value, derivative, second_derivative, name):
    return CustomLoss(value, derivative, second_derivative, name=name)


def _compiled(function):
    """The function for arrays: compiled by numba if it is there and can, else as it is or entry by entry."""
    try:
        import numba

        return numba.vectorize([numba.float64(numba.float64)])(function)
    except Exception:  # no numba, or something it cannot type: it says so with many classes of error
        pass
    try:
        if np.shape(function(np.zeros(3))) == (3,):
            return function
    except Exception:  # written for one number (a branch on the margin, say)
        pass
    return np.vectorize(function, otypes=[float])


def custom(
    value: Callable,
    derivative: Callable,
    second_derivative: Callable | None = None,
    *,
    name: str = "custom",
) -> Loss:
    """A loss of the user's own, usable wherever a loss is named.

    Parameters
    ----------
    value, derivative : callable
        ``phi`` and ``phi'``: elementwise functions of a float array of margins, or of one margin.
        ``phi`` must be convex, non-increasing and non-negative: every proof in the package leans
        on this. It is checked on a grid of margins in [-50, 50].
    second_derivative : callable, optional
        ``phi''``; a difference quotient of ``derivative`` stands in where it is not given.
    name : str
        Shown in representations and saved with results; not that of a built-in loss.

    Returns
    -------
    Loss

    Notes
    -----
    With numba installed the functions are compiled to ufuncs; without it they run as they are, or
    entry by entry (slowly) if they do not take arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.losses import custom
    >>> exponential = custom(lambda m: np.exp(-m), lambda m: -np.exp(-m), name="exponential")
    >>> float(exponential.value(0.0))
    1.0
    """
    if name in LOSSES:
        raise ValueError(f"name must not be that of a built-in loss ({', '.join(map(repr, LOSSES))}), got {name!r}")
    for label, function in (("value", value), ("derivative", derivative)):
        if not callable(function):
            raise TypeError(f"{label} must be a function of an array of margins, got {function!r}")
    loss = CustomLoss(value, derivative, second_derivative, name=name)
    grid = np.linspace(-50.0, 50.0, 2001)
    try:
        v, g = loss.value(grid), loss.derivative(grid)
    except Exception as error:
        raise ValueError(f"the functions of loss {name!r} failed on an array of margins: {error}") from error
    if v.shape != grid.shape or g.shape != grid.shape:
        raise ValueError(f"the functions of loss {name!r} must return one number per margin")
    scale = 1e-9 * (1.0 + np.abs(v))
    if not (np.all(np.isfinite(v)) and np.all(np.isfinite(g))):
        raise ValueError(f"loss {name!r} is not finite on [-50, 50]")
    if np.any(v < 0) or np.any(g > 1e-12) or np.any(np.diff(g) < -1e-9 * (1.0 + np.abs(g[1:]))):
        raise ValueError(f"loss {name!r} must be non-negative, non-increasing and convex; it is not on [-50, 50]")
    rise, step = np.diff(v), np.diff(grid)
    if np.any(rise < g[:-1] * step - scale[:-1]) or np.any(rise > g[1:] * step + scale[1:]):
        raise ValueError(f"the derivative of loss {name!r} does not belong to its value")
    return loss


def get_loss(loss) -> Loss:
    """The loss of that name, or the loss itself."""
    if isinstance(loss, Loss):
        return _no_impostor(loss)
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    choices = ", ".join(map(repr, LOSSES))
    raise ValueError(f"loss must be one of {choices} or a loss made by mtpfast.losses.custom, got {loss!r}")


def _no_impostor(loss: Loss) -> Loss:
    """The loss itself; ValueError if it bears the name of a built-in loss and is not that loss.

    Kernels, proofs and files tell the built-in losses apart from all others, and trust them.
    """
    if loss.name in LOSSES and LOSSES[loss.name] is not loss:
        raise ValueError(f"loss {loss!r} must not bear the name of a built-in loss, got name {loss.name!r}")
    return loss


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
        _no_impostor(self.loss)
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
        return y * (X @ theta[:-1] + theta[-1])

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
