"""What an attack on the predictions is to raise: a metric on the rows aimed at, and a smooth stand-in for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rows import rough_product
from mtpfast.losses.margin import LOSSES

__all__ = ["Aim", "METRICS", "Metric", "get_metric"]


FELT = 9.0  # beta |m| of a row that U still feels: its slope is 5e-4 of the largest
FEW, MOST = 50, 0.6  # so few rows near the boundary say too little, and so large a share of them costs as much as all


@dataclass(frozen=True)
class Metric:
    """A weighted mean over rows of a function of their margin ``m = y (w . x + b)``.

    Attributes
    ----------
    name : str
    label : float or None
        The rows that count: those of this label; None for all.
    value, derivative : callable of a margin, or None
        None: a row counts 1 if it is predicted wrongly and 0 if not, and its stand-in is ``sigma(-beta m)``.
    whole : callable of (y, margin, sample_weight), or None
        In place of a mean over rows.
    """

    name: str
    label: float | None = None
    value: Callable | None = None
    derivative: Callable | None = None
    whole: Callable | None = None

    @property
    def counts_wrong(self) -> bool:
        """Whether it is the share of wrong predictions."""
        return self.value is None and self.whole is None

    def __call__(self, y, margin, weight) -> float:
        """The metric of rows with these labels (-1. or +1.), margins and weights."""
        if self.whole is not None:
            return float(self.whole(y, margin, weight))
        values = _wrong(y, margin) if self.value is None else self.value(margin)
        total = float(np.sum(weight))
        return float(np.dot(values, weight)) / total if total > 0.0 else 0.0


def _wrong(y, margin):
    """1 where a row is predicted wrongly: the label +1 is predicted where the score is above 0."""
    return ((margin <= 0.0) & ((margin < 0.0) | (y > 0))).astype(float)


METRICS = {
    "error": Metric("error"),
    "false_negative_rate": Metric("false_negative_rate", label=1.0),
    "false_positive_rate": Metric("false_positive_rate", label=-1.0),
    **{name: Metric(name, value=loss.value, derivative=loss.derivative) for name, loss in LOSSES.items()},
}


def get_metric(metric) -> Metric:
    """The metric of that name, or one around a callable ``metric(y, margin, sample_weight)``.

    The callable's rows are those aimed at, with labels -1. and +1.; the larger, the better for the attack. Where it has
    an attribute ``derivative``, a callable of the same arguments that returns ``d metric / d margin`` for every row,
    the search follows that; elsewhere it follows the error, and only keeps the best model by the metric itself.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str) and metric in METRICS:
        return METRICS[metric]
    if callable(metric):
        return Metric(getattr(metric, "__name__", type(metric).__name__), whole=metric)
    raise ValueError(f"metric must be one of {', '.join(map(repr, METRICS))} or a callable, got {metric!r}")


class Aim:
    """A metric on given rows.

    ``U(theta) = mean sigma(-beta m)`` stands in for the metrics that count wrong predictions, with
    ``dU/dtheta = -mean beta sigma (1 - sigma) y x~``; losses stand for themselves.

    Parameters
    ----------
    metric : Metric
    X : ndarray or CSR matrix of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,), -1. and +1.
    sample_weight : ndarray of shape (n_rows,), optional
    """

    def __init__(self, metric: Metric, X, y, sample_weight=None):
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        if metric.label is not None:
            keep = np.flatnonzero(y == metric.label)
            if not len(keep):
                which = "positive" if metric.label > 0 else "negative"
                raise ValueError(f"metric {metric.name!r} is of the rows of the {which} class, and none is aimed at")
            X, y, weight = X[keep], y[keep], weight[keep]
        self.metric, self.X, self.y, self.weight = metric, X, y, weight
        self.share = weight / weight.sum()
        # the search needs few digits, and half the bytes
        self._rows = X if sp.issparse(X) else np.asarray(X, dtype=np.float32)

    def margins(self, theta) -> np.ndarray:
        """``y (w . x + b)`` of the rows, in double precision."""
        return self.y * (self.X @ theta[:-1] + theta[-1])

    def value(self, theta) -> float:
        """The metric itself."""
        return self.metric(self.y, self.margins(theta), self.weight)

    def rough_margins(self, theta) -> np.ndarray:
        """The margins to 1e-6 or so of their size: for steps of a search."""
        return self.y * (rough_product(self._rows, theta[:-1]) + theta[-1])

    def near(self, margins, beta) -> Aim:
        """The rows that U still feels at this sharpness, as an aim of their own: rows ``which`` of this one."""
        part, n = copy.copy(self), len(self.y)
        part.which = np.flatnonzero(np.abs(margins) * beta < FELT) if self.metric.counts_wrong else np.arange(n)
        if not FEW < len(part.which) < MOST * n:
            part.which = np.arange(n)
            return part
        part.y, part.weight, part.share = self.y[part.which], self.weight[part.which], self.share[part.which]
        part.X = part._rows = self._rows[part.which]
        return part

    def shared_by(self, share) -> Aim:
        """The same rows, each with such a share in U."""
        other = copy.copy(self)
        other.share = share
        return other

    def typical(self, values) -> float:
        """The size of values, one for each row: their median, which a few long rows do not move.

        The root of the mean square where half of them are 0.
        """
        middle = float(np.median(np.abs(values)))
        return middle if middle > 0.0 else float(np.sqrt(np.dot(self.share, values * values)))

    def slopes(self, margin, beta) -> tuple[float, np.ndarray]:
        """U and ``dU / d margin`` at these margins."""
        metric = self.metric
        if metric.derivative is not None:
            return float(self.share @ metric.value(margin)), self.share * metric.derivative(margin)
        if metric.whole is not None and hasattr(metric.whole, "derivative"):
            return metric(self.y, margin, self.weight), metric.whole.derivative(self.y, margin, self.weight)
        z = np.clip(beta * margin, -500.0, 500.0)
        s = 1.0 / (1.0 + np.exp(z))
        return float(self.share @ s), -beta * self.share * s * (1.0 - s)

    def gradient(self, slopes) -> np.ndarray:
        """``dU / d theta`` from what :meth:`slopes` returns."""
        pull = slopes * self.y
        out = np.empty(self.X.shape[1] + 1)
        out[:-1] = rough_product(self._rows.T, pull)
        out[-1] = pull.sum()
        return out
