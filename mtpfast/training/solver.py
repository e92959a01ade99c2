"""What both solvers do alike: the model, its proved gap, and when that is small enough."""

from __future__ import annotations

import math
import warnings

from sklearn.exceptions import ConvergenceWarning

from .training_set import TrainingSet

__all__ = ["Solver"]


class Solver:
    """A model of a training set.

    A subclass has ``solve(theta)`` (with all rows there are), ``add(index, new, count)`` (after a point was placed),
    ``audit()`` (the whole state anew), ``check()`` (whether a full pass finds it right), ``clean_loss()`` and
    ``resolution()`` (a gap that rounding alone would explain).

    Attributes
    ----------
    theta : ndarray of shape (n_features + 1,)
        The current model; a new array after every change.
    gap : float
        Its proved duality gap.
    n_iter, n_repairs : int
        The effort, and how often an audit found something to mend.
    """

    def __init__(self, training: TrainingSet, tol: float):
        self.training, self.tol = training, tol
        self.theta, self.gap = None, math.inf
        self.n_iter = self.n_repairs = 0

    def size(self) -> float:
        """How large a change of the model counts as 1: by its own size, and by what moves a margin by 1.

        With ``m = max(|w| max |x|, |b|)``, the size of its scores: ``max(min(1, m) / max |x|, |w|)`` for the weights
        and ``max(min(1, m), |b|)`` for the intercept, the smaller of both. In other units of the features the weights
        are larger or smaller, and so is this; beside a model of zero no change is small, and only what float64 can
        tell ends its training.
        """
        w, b, unit = self.theta[:-1], abs(float(self.theta[-1])), self.training.unit
        length = math.sqrt(w @ w)
        scores = min(1.0, max(length / unit, b))
        of_weights = max(unit * scores, length)
        return min(of_weights, max(scores, b)) if self.training.objective.fit_intercept else of_weights

    def is_tight(self) -> bool:
        """Whether the gap is as small as ``tol`` asks, or as float64 can tell."""
        asked = 0.5 * self.training.k * (self.tol * self.size()) ** 2
        return self.gap <= asked or self.gap <= self.resolution()

    def warn_if_loose(self) -> None:
        k = self.training.k
        if not self.is_tight() and math.sqrt(2 * self.gap / k) > 1e-6 * self.size():
            warnings.warn(
                f"the refit stopped at a duality gap of {self.gap:.2g}: the model is proved to within "
                f"{math.sqrt(2 * self.gap / k):.2g} of the optimum, tol asks for {self.tol:g}",
                ConvergenceWarning,
                stacklevel=3,
            )
