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
from itertools import pairwise
from numbers import Real

import numpy as np

from mtpfast.arrays.magnitude import check_magnitude

__all__ = [
    "HINGE",
    "LOG_LOSS",
    "LOSSES",
    "Loss",
    "SQUARED_HINGE",
    "class_weights",
    "get_loss",
    "no_impostor",
]


FAR = 700.0  # no margin further out is looked at: the exponential of a larger number is none


class Loss(ABC):
    """A convex, non-increasing, non-negative margin loss ``phi``.

    A loss of three equations (``value``, ``derivative``, ``second_derivative``) can be trained, attacked by Algorithm 1
    and checked. All else that the package asks of a loss is below, and follows from these; where a closed form is
    quicker or sharper a class may say so. In all that follows ``s = -phi'`` is the *pull* of a row: how hard it
    pushes the model towards its label.

    Attributes
    ----------
    name : str
        ``"hinge"``, ``"squared_hinge"``, ``"log_loss"``, or the name of a custom loss.
    lipschitz : float
        ``sup s``; ``inf`` where there is none, or where it is not known.
    smooth : bool
        Whether ``phi`` is differentiable everywhere. The hinge is not, and nothing but the hinge may say so.
    zero_from : float
        The margin from which ``s = 0``: a point there adds nothing but its weight. ``inf`` if there is none.
    convex_inverse : bool
        Whether ``1 / s`` is convex below ``zero_from``. Then two points of one label merge into one at no extra cost
        (Jensen), which the minimum over a space rests on.
    tangent_units : float
        Rounding: the line ``c + kappa m`` that :meth:`tangent` returns exceeds ``1 / s`` by at most so many units of
        2^-53 times ``1 / s + kappa (1 + |m|)``. ``inf`` where nobody has proved that; proofs then do without it.
    """

    name: str
    lipschitz: float = math.inf
    smooth: bool = True
    zero_from: float = math.inf
    convex_inverse: bool = False
    tangent_units: float = math.inf

    # -- the equations -------------------------------------------------------------------------

    @abstractmethod
    def value(self, margin) -> np.ndarray:
        """``phi(margin)``, elementwise."""

    @abstractmethod
    def derivative(self, margin) -> np.ndarray:
        """``phi'(margin) <= 0``, elementwise; one subgradient where ``phi`` has a kink."""

    @abstractmethod
    def second_derivative(self, margin) -> np.ndarray:
        """``phi''(margin) >= 0``, elementwise."""

    # -- what follows from them ----------------------------------------------------------------

    @property
    def kinked(self) -> bool:
        """Whether ``phi`` is the hinge: ``s = 1`` below margin 1, 0 above it, and any number in [0, 1] on it."""
        return not self.smooth

    def missing(self) -> str:
        """What the minimum over a space lacks in this loss; "" where it can be computed."""
        return "" if self.kinked or self.convex_inverse else "a convex 1 / pull (convex_inverse)"

    def at(self, margin: float) -> float:
        """``phi`` at one margin."""
        return float(self.value(np.array(margin)))

    def pull(self, margin: float) -> float:
        """``s = -phi'`` at one margin; the largest of them where ``phi`` has a kink."""
        return -float(self.derivative(np.array(margin)))

    def margin_of(self, s: float) -> float:
        """The margin at which a smooth loss has the pull s; ``-inf`` where it never pulls so hard.

        Here by Newton's method, for ``log s`` or for s, between margins that enclose the answer.
        """
        low, high = -FAR, min(self.zero_from, FAR)
        if self.pull(low) < s:
            return -math.inf
        m = min(0.0, high - 1.0)
        for turn in range(200):
            here, bend = self.pull(m), float(self.second_derivative(np.array(m)))
            low, high = (m, high) if here >= s else (low, m)
            steps = [0.5 * (low + high) - m]
            if here > 0.0 and bend > 0.0:
                steps = [here / bend * math.log(here / s), (here - s) / bend, *steps]
                if abs(steps[0]) <= 4e-16 * (1.0 + abs(m) + here / bend):
                    return m + steps[0]
            inside = [step for step in steps if low < m + step < high]
            if not inside:
                return low
            m += inside[-1 if turn > 12 and turn % 2 else 0]
        return m

    def tangent(self, margin: float) -> tuple[float, float]:
        """``(c, kappa)``: the tangent ``c + kappa m`` of ``h = 1 / s`` at one margin, ``kappa = phi'' / s^2``.

        It is taken just below ``zero_from``, where h is infinite, at the latest. With a convex h it lies below h.
        """
        margin = min(max(margin, -FAR), FAR, self.zero_from - 1e-9)
        s = self.pull(margin)
        kappa = float(self.second_derivative(np.array(margin))) / s / s
        return 1.0 / s - kappa * margin, kappa

    def best_margin(self, level: float, slope: float) -> float:
        """The margin m at which ``s(m) (level + slope m)`` is largest, for ``slope > 0`` and a convex ``h = 1 / s``.

        The line has to be positive somewhere below ``zero_from``. Its quotient with h has one hill there, and climbs
        while ``slope h > line h'``.
        """
        low = max(-level / slope, -FAR)
        top = min(self.zero_from, FAR)

        def climbs(m):
            c, kappa = self.tangent(m)
            return slope * (c + kappa * m) > kappa * (level + slope * m)

        if low >= top:
            return top
        high = min(low + 1.0, top)
        while high < top and climbs(high):
            high = min(low + 2.0 * (high - low), top)
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if climbs(middle) else (low, middle)
        return 0.5 * (low + high)

    def crests(self, first, last) -> tuple[float, ...] | None:
        """Shares t of the way from ``(u, v) = first`` to ``last`` among which ``phi(u) - phi(v)`` is largest in [0, 1].

        Shares outside [0, 1] do not count. None where no equation gives them: then the way is searched.
        """
        return None

    def bend_error(self, margin, reach) -> np.ndarray | None:
        """A bound of ``|s(m + t) - s(m) + phi''(m) t|`` for ``|t| <= reach``, elementwise; None: not known."""
        return None

    def shrinkage(self, margin) -> np.ndarray:
        """What shrinking a dual variable costs: ``c`` with ``phi(m) + phi*(-s) + s m <= t^2 c`` for every t in [0, 1].

        This is what one row adds to the duality gap when its dual variable is not ``-phi'(m)`` but
        ``s = (1 - t) * -phi'(m)``. By convexity of the conjugate and ``phi >= 0`` it is also at most
        ``t phi(m)``; a loss without a known conjugate has only that, so ``c`` is infinite.
        """
        return np.full_like(np.asarray(margin, dtype=float), np.inf)

    def offset(self, slope) -> np.ndarray:
        """``-phi*(-slope)``: the largest number with ``phi(m) >= offset - slope m`` for all m, elementwise.

        For every slope that ``-phi'`` takes, to 16 units of rounding of the terms.
        """
        raise NotImplementedError(f"the conjugate of loss {self.name!r} is not known")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class BuiltIn(Loss):
    """A loss that there is once: what was pickled compares equal."""

    def __reduce__(self):
        return get_loss, (self.name,)


class Hinge(BuiltIn):
    """``phi(m) = max(0, 1 - m)``, the loss of the linear SVM."""

    name = "hinge"
    lipschitz = 1.0
    smooth = False
    zero_from = 1.0
    convex_inverse = True

    def value(self, margin):
        return np.maximum(0.0, 1.0 - np.asarray(margin, dtype=float))

    def derivative(self, margin):
        return np.where(np.asarray(margin, dtype=float) < 1.0, -1.0, 0.0)

    def second_derivative(self, margin):
        return np.zeros_like(np.asarray(margin, dtype=float))

    def at(self, margin):
        return max(0.0, 1.0 - margin)

    def pull(self, margin):
        return 1.0 if margin <= 1.0 else 0.0

    def best_margin(self, level, slope):
        return 1.0

    def crests(self, first, last):
        return 0.0, 1.0, _share(first[0], last[0], 1.0), _share(first[1], last[1], 1.0)

    def offset(self, slope):
        return np.asarray(slope, dtype=float)


class SquaredHinge(BuiltIn):
    """``phi(m) = max(0, 1 - m)^2``, with ``s = 2 (1 - m)`` and ``h = 1 / (2 (1 - m))`` below margin 1."""

    name = "squared_hinge"
    zero_from = 1.0
    convex_inverse = True
    tangent_units = 16

    def value(self, margin):
        return np.maximum(0.0, 1.0 - np.asarray(margin, dtype=float)) ** 2

    def derivative(self, margin):
        return -2.0 * np.maximum(0.0, 1.0 - np.asarray(margin, dtype=float))

    def second_derivative(self, margin):
        return np.where(np.asarray(margin, dtype=float) < 1.0, 2.0, 0.0)

    def at(self, margin):
        return max(0.0, 1.0 - margin) ** 2

    def pull(self, margin):
        return 2.0 * max(0.0, 1.0 - margin)

    def margin_of(self, s):
        return 1.0 - 0.5 * s

    def tangent(self, margin):
        gap = max(1.0 - margin, 1e-9)
        return 1.0 / gap - 0.5 / gap**2, 0.5 / gap**2

    def best_margin(self, level, slope):
        # (1 - m) (level + slope m) is a parabola
        return min(1.0, 0.5 - 0.5 * level / slope)

    def crests(self, first, last):
        du, dv = last[0] - first[0], last[1] - first[1]
        # Where both are below 1, (1 - u) du = (1 - v) dv; where only one is, the value is monotone.
        stationary = -1.0
        if abs(du) != abs(dv):  # one quotient after the other: a square may underflow
            stationary = ((1.0 - first[0]) * du - (1.0 - first[1]) * dv) / (du - dv) / (du + dv)
        return 0.0, 1.0, _share(first[0], last[0], 1.0), _share(first[1], last[1], 1.0), stationary

    def bend_error(self, margin, reach):
        # s is linear but for its kink at 1
        return np.where(np.abs(margin - 1.0) <= reach, 2.0 * reach, 0.0)

    def shrinkage(self, margin):
        # phi*(-s) = -s + s^2 / 4, so the sum is (2 (1 - m) - s)^2 / 4 with s = 2 (1 - t) (1 - m).
        return self.value(margin)

    def offset(self, slope):
        slope = np.asarray(slope, dtype=float)
        return slope - 0.25 * slope * slope


class LogLoss(BuiltIn):
    """``phi(m) = log(1 + exp(-m))``, the loss of logistic regression: ``s = 1 / (1 + e^m)`` and ``h = 1 + e^m``."""

    name = "log_loss"
    lipschitz = 1.0
    convex_inverse = True
    tangent_units = 16

    def value(self, margin):
        return np.logaddexp(0.0, -np.asarray(margin, dtype=float))

    def derivative(self, margin):
        return -_sigmoid(-np.asarray(margin, dtype=float))

    def second_derivative(self, margin):
        s = _sigmoid(-np.asarray(margin, dtype=float))
        return s * (1.0 - s)

    def at(self, margin):
        return _softplus(-margin)

    def pull(self, margin):
        return 1.0 / (1.0 + math.exp(margin)) if margin < FAR else 0.0

    def margin_of(self, s):
        return math.log((1.0 - s) / s) if s < 1.0 else -math.inf

    def tangent(self, margin):
        kappa = math.exp(min(margin, 500.0))
        return 1.0 + kappa * (1.0 - margin), kappa

    def best_margin(self, level, slope):
        # The largest product D has level = D + slope - slope log(slope / D), at m = log(slope / D). In z = log D the
        # right side is convex and rises, so Newton's method falls from the right.
        low, high = -745.0, min(709.0, math.log(max(abs(level), slope, 1e-300)) + 1.0)
        z = high
        for _ in range(100):
            D = math.exp(z)
            step = (D + slope - slope * (math.log(slope) - z) - level) / (D + slope)
            z = max(low, z - step)
            if abs(step) <= 1e-14 * (1.0 + abs(z)):
                break
        return math.log(slope) - z

    def crests(self, first, last):
        (u, v), du, dv = first, last[0] - first[0], last[1] - first[1]
        if du <= 0.0 or dv <= 0.0:
            return 0.0, 1.0
        log_ratio = math.log(dv) - math.log(du)

        def uphill(t):  # s(v) dv - s(u) du, by its sign: falls, or rises, on either side of v = u
            return log_ratio + _softplus(u + t * du) - _softplus(v + t * dv)

        crossing = (v - u) / (du - dv) if du != dv else -1.0  # (1 + e^u) dv - (1 + e^v) du turns where u = v
        cuts = [0.0, crossing, 1.0] if 0.0 < crossing < 1.0 else [0.0, 1.0]
        roots = []
        for left, right in pairwise(cuts):
            low, high = uphill(left), uphill(right)
            if low * high < 0.0:
                roots.append(_root(uphill, left, right, low, high))
        return (*cuts, *roots)

    def bend_error(self, margin, reach):
        # |s''| = s (1 - s) |1 - 2 s| is at most 1 / (6 sqrt 3) < 1 / 10, and exp(-|m|)
        nearest = np.maximum(np.abs(margin) - reach, 0.0)
        return 0.5 * reach * reach * np.minimum(0.1, np.exp(-nearest))

    def shrinkage(self, margin):
        # The sum is the Kullback-Leibler divergence of Bernoulli(s) from Bernoulli(p), p = -phi'(m),
        # which is at most that of chi^2, (s - p)^2 / (p (1 - p)) = t^2 p / (1 - p).
        with np.errstate(over="ignore"):
            return np.exp(-np.asarray(margin, dtype=float))

    def offset(self, slope):
        slope = np.asarray(slope, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 = 0
            entropy = -slope * np.log(slope) - (1.0 - slope) * np.log1p(-slope)
        return np.where((slope > 0.0) & (slope < 1.0), entropy, 0.0)


def _sigmoid(z):
    """``1 / (1 + exp(-z))`` without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _softplus(m):
    """``log(1 + exp(m))`` of one number."""
    return m + math.log1p(math.exp(-m)) if m > 0.0 else math.log1p(math.exp(m))


def _share(first, last, value):
    """Where between two numbers a value lies; -1 if they are equal."""
    return (value - first) / (last - first) if last != first else -1.0


def _root(function, a, b, f_a, f_b):
    """Where a function of opposite signs at a and b is zero: false position, the end that stays weighing half."""
    for _ in range(60):
        c = b - f_b * (b - a) / (f_b - f_a)
        if not min(a, b) < c < max(a, b):
            c = 0.5 * (a + b)
        f_c = function(c)
        if f_c * f_b < 0.0:
            a, f_a = b, f_b
        else:
            f_a *= 0.5
        b, f_b = c, f_c
        if f_c == 0.0 or abs(b - a) <= 1e-15:
            break
    return b


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

    Kernels and files tell the built-in losses apart from all others, and trust them.
    """
    if not isinstance(getattr(loss, "name", None), str):
        raise ValueError(f"loss of the class {type(loss).__name__} lacks its name, a string")
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
        check_magnitude(weight, f"class_weight[{label!r}]")
    pair = tuple(float(class_weight.get(label, 1.0)) for label in known)
    return None if pair == (1.0, 1.0) else pair
