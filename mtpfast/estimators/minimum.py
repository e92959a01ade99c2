"""The exact minimum as a scikit-learn estimator."""

from __future__ import annotations

import numpy as np

from mtpfast.minimum.minimum import tradeoff
from mtpfast.results.result import PoisoningResult

from .base import Poisoner

__all__ = ["MinimumPoisoner"]


class MinimumPoisoner(Poisoner):
    r"""The fewest poisoning points that induce the target, with the proof that fewer cannot.

    .. math:: \min_{\nu \ge 0} \; \nu(F) \quad \text{such that} \quad
              \theta_p = \arg\min_\theta \sum_i c_i \varphi(y_i \theta \cdot \tilde x_i)
              + \int_F \varphi(y \theta \cdot \tilde x) \, d\nu + \frac{k}{2} \theta^\top R \theta

    Parameters
    ----------
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows, feasible_set
        As in :class:`ModelTargetedPoisoner`. ``class_weight="balanced"`` is refused by :meth:`attack`: the program
        of the minimum needs weights that do not depend on the number of points.
    integer : bool, default=True
        Look for whole counts that hit the target. False stops at the fractional minimum, which is
        ``certificate.value``; the points then carry its weights rounded to whole numbers.
    tol : float, default=0.0
        The model may lie within this l2 distance of the target; 0 asks for exactly the target.
    max_points : int, optional
        Return the closest model found for so many points.
    rescale : bool, default=False
        Also search over c > 0 for the cheapest ``c * target``, which makes the same decisions.
    margin_tol : float, optional
        Hinge loss: clean rows whose margin under the target is so near to 1 count as lying on it.
        Targets come from solvers that stop early; a larger value only lowers the bound. By default
        1e-6, and 1e-9 where that leaves the victim short of the target.
    preprocessing : transformer, optional
        As in :class:`ModelTargetedPoisoner`.

    Attributes
    ----------
    coef_, intercept_, classes_, dual_gap_, n_iter_, n_features_in_, feature_names_in_, preprocessing_
        As in :class:`ModelTargetedPoisoner`: the clean victim.

    See Also
    --------
    minimum_poisoning : the same as a function, with the mathematics and its references.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import minmax_scale
    >>> from mtpfast import MinimumPoisoner, make_target
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = minmax_scale(X).clip(0, 1)
    >>> target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.05, alpha=0.01)
    >>> result = MinimumPoisoner(alpha=0.01).fit(X, y).attack(target)
    >>> result.status, result.n_points, result.lower_bound
    ('reached', 52, 52)
    """

    def __init__(
        self,
        loss="hinge",
        alpha=None,
        C=None,
        fit_intercept=True,
        penalize_intercept=True,
        class_weight=None,
        count_rows=False,
        feasible_set=None,
        integer=True,
        tol=0.0,
        max_points=None,
        rescale=False,
        margin_tol=None,
        preprocessing=None,
    ):
        self.loss = loss
        self.alpha = alpha
        self.C = C
        self.fit_intercept = fit_intercept
        self.penalize_intercept = penalize_intercept
        self.class_weight = class_weight
        self.count_rows = count_rows
        self.feasible_set = feasible_set
        self.integer = integer
        self.tol = tol
        self.max_points = max_points
        self.rescale = rescale
        self.margin_tol = margin_tol
        self.preprocessing = preprocessing

    def attack(self, target) -> PoisoningResult:
        """The fewest points for the data given to :meth:`fit`.

        Parameters
        ----------
        target : TargetModel, fitted linear classifier, or (coef, intercept)
            As in :meth:`ModelTargetedPoisoner.attack`.

        Returns
        -------
        PoisoningResult
            In the labels and columns of the data given to fit. ``status`` is "unattainable", with
            the proof in ``certificate``, where no number of points suffices.
        """
        return self._minima(target, [self.tol])[0]

    def tradeoff(self, target, tols) -> list[PoisoningResult]:
        """How the number of points, and what is proved of it, fall with the tolerance.

        Parameters
        ----------
        target : TargetModel, fitted linear classifier, or (coef, intercept)
        tols : sequence of float
            l2 distances within which the model must come, in place of the parameter ``tol``.

        Returns
        -------
        list of PoisoningResult
            One per tolerance, in the order given.
        """
        return self._minima(target, np.atleast_1d(tols).tolist())

    def _minima(self, target, tols):
        results = tradeoff(
            self._question(target),
            tols,
            integer=self.integer,
            max_points=self.max_points,
            rescale=self.rescale,
            sharper=self._kink_width(target) is None,
        )
        return [self._in_user_terms(result) for result in results]
