"""A penalty weight for each feature, as a scaling of the features."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["PenaltyScaler", "penalty_of"]


class PenaltyScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Features in which a weighted penalty is a plain one.

    The victim that minimises ::

        sum_i c_i phi(y_i (w . x_i + b)) + (k / 2) (sum_j p_j w_j^2 + b^2 / s^2)

    minimises over ``u_j = s sqrt(p_j) w_j`` and the same b, with ``z_j = x_j / (s sqrt(p_j))``, ::

        sum_i c_i phi(y_i (u . z_i + b)) + (k / s^2) / 2 (|u|^2 + b^2).

    As the last step of a preprocessing it makes every attack, bound and check of this package one on such a victim:
    raw rows go in and come out, ``alpha`` or ``1 / C`` is divided by ``s^2``, and models and distances are those of z.
    With a free intercept, or none, s is 1. ``from_estimator`` adds it where a trainer has such a penalty.

    Parameters
    ----------
    factor : float or array-like of shape (n_features,) or "variance", default=1.0
        ``p_j > 0``. "variance": the columns' variances in the table that it is fitted to, as trainers have it that
        standardise (Spark's ``standardization``, glum's ``scale_predictors``); 1 for a constant column. The attack
        then knows the clean table's, and ``verify(refit_preprocessing=True)`` says what those of the poisoned one do.
    intercept_scaling : float, default=1.0
        s > 0, as in LinearSVC and LIBLINEAR's ``-B``.
    ddof : int, default=0
        Of the variance: its sum of squares is divided by ``n - ddof``.

    Attributes
    ----------
    scale_ : ndarray of shape (n_features,)
        ``s sqrt(p_j)``.

    Notes
    -----
    O(n d). A weight of 0 is no penalty at all and has no such z: it is refused.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.svm import LinearSVC
    >>> from mtpfast import MinimumPoisoner, PenaltyScaler
    >>> PenaltyScaler([1.0, 4.0]).fit_transform([[1.0, 1.0]])
    array([[1. , 0.5]])
    >>> MinimumPoisoner.from_estimator(LinearSVC(loss="hinge", C=1.0, intercept_scaling=2.0))
    MinimumPoisoner(C=4.0, preprocessing=PenaltyScaler(intercept_scaling=2.0))
    """

    def __init__(self, factor=1.0, intercept_scaling=1.0, ddof=0):
        self.factor = factor
        self.intercept_scaling = intercept_scaling
        self.ddof = ddof

    def fit(self, X, y=None):
        """Find the variances, where these are the factors; else only count the columns."""
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64)
        if _is_variance(self.factor):
            if not isinstance(self.ddof, Integral) or self.ddof < 0:
                raise ValueError(f"ddof must be a whole number, 0 or more, got {self.ddof!r}")
            deviation = StandardScaler(with_mean=False).fit(X).scale_
            scale = deviation * math.sqrt(X.shape[0] / max(1, X.shape[0] - self.ddof))
        else:
            scale = np.sqrt(_factors(self.factor, X.shape[1]))
        self.scale_ = np.broadcast_to(self._scaling() * scale, X.shape[1:]).copy()
        return self

    def transform(self, X):
        """``x_j / (s sqrt(p_j))``: an array, or a CSR matrix."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        if sp.issparse(X):
            return X @ sp.diags_array(1.0 / self.scale_)
        return X / self.scale_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _scaling(self):
        s = self.intercept_scaling
        if not isinstance(s, Real) or not 0 < s < math.inf:
            raise ValueError(f"intercept_scaling must be a positive and finite number, got {s!r}")
        return float(s)


def penalty_of(preprocessing):
    """``(before, scaler)``: the PenaltyScaler that ends a preprocessing, and what is before it; None for nothing."""
    if isinstance(preprocessing, PenaltyScaler):
        return None, preprocessing
    steps = getattr(preprocessing, "steps", None)
    if steps and isinstance(steps[-1][1], PenaltyScaler):
        return preprocessing[:-1], steps[-1][1]
    return preprocessing, None


def _is_variance(factor):
    if isinstance(factor, str) and factor != "variance":
        raise ValueError(f"factor must be numbers above 0 or 'variance', got {factor!r}")
    return isinstance(factor, str)


def _factors(factor, n_features):
    p = np.asarray(factor, dtype=float)
    if p.shape not in ((), (n_features,)):
        raise ValueError(f"factor must be a number or of shape ({n_features},), one for each feature, got {p.shape}")
    if not np.all((p > 0.0) & (p < np.inf)):
        j = int(np.argmin((np.atleast_1d(p) > 0.0) & (np.atleast_1d(p) < np.inf)))
        raise ValueError(f"factor must be positive and finite, got {np.atleast_1d(p)[j]:g} for feature {j}")
    return p
