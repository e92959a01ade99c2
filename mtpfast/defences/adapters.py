"""Other libraries' outlier detectors and samplers, and functions, as sanitisers."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone

from .base import Defence, read_rows

__all__ = ["Detector", "Rule", "Sampler", "as_defence"]


def as_defence(obj) -> Defence:
    """Anything that removes rows as a :class:`Defence`.

    Parameters
    ----------
    obj : Defence, outlier detector, sampler or callable
        A Defence is itself. An outlier detector has ``fit_predict(X)`` with values 1 (stays) and -1, as scikit-learn's
        have; where it can score rows (``score_samples``, ``decision_function`` or, after fitting,
        ``negative_outlier_factor_``) a share can be removed as well. A sampler has ``fit_resample(X, y)`` and
        ``sample_indices_``, as imbalanced-learn's have that take rows away. A callable of (X, y) returns a boolean
        mask of the rows that stay.

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.covariance import EllipticEnvelope
    >>> from mtpfast.defences import as_defence
    >>> def small(X, y):
    ...     return X[:, 0] < 5.0
    >>> as_defence(small).keep(np.array([[1.0], [9.0]]), [0, 1])
    array([ True, False])
    >>> as_defence(EllipticEnvelope(random_state=0)).name
    'EllipticEnvelope'
    """
    if isinstance(obj, type):
        raise TypeError(f"a defence must be an instance, got the class {obj.__name__}")
    needed = ("fit", "scores", "keep", "ranks", "decides", "per_share", "name")
    if all(hasattr(obj, name) for name in needed):
        return obj
    if hasattr(obj, "fit_resample"):
        return Sampler(obj)
    if hasattr(obj, "fit_predict"):
        return Detector(obj)
    if callable(obj):
        return Rule(obj)
    raise TypeError(
        f"a defence must be a Defence, an outlier detector (fit_predict), a sampler (fit_resample) or a callable of "
        f"(X, y), got {type(obj).__name__}"
    )


class _Adapter(Defence):
    ranks, decides = False, True


class Detector(_Adapter):
    """An outlier detector of scikit-learn.

    Parameters
    ----------
    detector : estimator
        With ``fit_predict(X)``, 1 for rows that stay and -1 for others.
    """

    def __init__(self, detector):
        self.detector = detector

    @property
    def name(self):
        """The detector's class."""
        return type(self.detector).__name__

    @property
    def ranks(self):
        """Whether the detector can score the rows that it was fitted to."""
        own = ("score_samples", "decision_function", "negative_outlier_factor_")
        return any(hasattr(self.detector, name) for name in own) or type(self.detector).__name__ == "LocalOutlierFactor"

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        self._model = clone(self.detector)
        told = np.asarray(self._model.fit_predict(X))
        if told.shape != (X.shape[0],) or not np.all(np.isin(told, (-1, 1))):
            raise TypeError(
                f"{self.name}.fit_predict must return 1 or -1 for every row, as outlier detectors do, got "
                f"{np.unique(told)[:5].tolist()}"
            )
        self._kept = told == 1
        return self

    def scores(self, X, y):
        """Minus what the detector says of how usual the rows are."""
        X, _, _ = read_rows(X, y)
        for name in ("score_samples", "decision_function"):
            if hasattr(self._model, name):
                return -np.asarray(getattr(self._model, name)(X), dtype=float).ravel()
        if hasattr(self._model, "negative_outlier_factor_"):
            return -self._model.negative_outlier_factor_
        return super().scores(X, y)

    def verdict(self, X, y):
        """The rows that the detector calls 1."""
        return self._kept


class Sampler(_Adapter):
    """A sampler of imbalanced-learn that takes rows away.

    Parameters
    ----------
    sampler : estimator
        With ``fit_resample(X, y)`` and, after it, ``sample_indices_``.
    """

    def __init__(self, sampler):
        self.sampler = sampler

    @property
    def name(self):
        """The sampler's class."""
        return type(self.sampler).__name__

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, y, _ = read_rows(X, y)
        sampler = clone(self.sampler)
        sampler.fit_resample(X, y)
        rows = getattr(sampler, "sample_indices_", None)
        if rows is None:
            raise TypeError(f"{self.name} does not say which rows it keeps (sample_indices_): it is no defence")
        self._kept = np.isin(np.arange(X.shape[0]), rows)
        return self

    def verdict(self, X, y):
        """The rows that the sampler keeps."""
        return self._kept


class Rule(_Adapter):
    """A function of (X, y).

    Parameters
    ----------
    rule : callable
        Returns a boolean mask of the rows that stay.
    """

    def __init__(self, rule):
        self.rule = rule

    @property
    def name(self):
        """The function's name."""
        return getattr(self.rule, "__name__", type(self.rule).__name__)

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, y, _ = read_rows(X, y)
        kept = np.asarray(self.rule(X, y))
        if kept.dtype != bool or kept.shape != (X.shape[0],):
            raise TypeError(
                f"{self.name} must return {X.shape[0]} booleans, one per row of X, got {kept.dtype} of shape "
                f"{kept.shape}"
            )
        self._kept = kept
        return self

    def verdict(self, X, y):
        """The rows that the function keeps."""
        return self._kept
