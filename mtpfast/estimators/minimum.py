"""The exact minimum as a scikit-learn estimator."""

from __future__ import annotations

import copy
import dataclasses
import sys
import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data

from mtpfast.arrays.frames import take_records
from mtpfast.arrays.in_parts import as_parts
from mtpfast.arrays.parts import RowParts
from mtpfast.losses.margin import class_weights
from mtpfast.minimum.blockwise import train
from mtpfast.minimum.minimum import tradeoff
from mtpfast.preprocessing.codecs import codec_of
from mtpfast.preprocessing.digest import Matrix, digest, merge_digests
from mtpfast.preprocessing.steps import is_fitted
from mtpfast.proofs.clean_pass import extent
from mtpfast.results.result import PoisoningResult
from mtpfast.spaces.features import FeatureSpace
from mtpfast.spaces.rules import UNCHANGED

from .base import Poisoner
from .samplers import target_of

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
    rules : mapping, optional
        As in :class:`ModelTargetedPoisoner`.
    target : TargetModel or (coef, intercept), optional
        What :meth:`attack` aims at where it is given none, and :meth:`fit_resample` always.
    verbose : int, default=0
        1: a line to the standard error after every search, within a tolerance or ``max_points``.

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
        target=None,
        rules=None,
        verbose=0,
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
        self.target = target
        self.rules = rules
        self.verbose = verbose

    def fit(self, X, y=None, sample_weight=None):
        """Train the clean victim; rows in parts (:func:`mtpfast.in_parts`) are read by passes.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`ModelTargetedPoisoner.fit`. Rows in parts bring their labels and weights: y is None then; a
            collection of Dask is taken with its labels. With a fitted ``preprocessing``, parts of a raw table: what an
            attack returns are records.

        Returns
        -------
        self
            Of rows in parts a smooth loss is trained by Newton's method, a pass a step, up to 2,500 features. The
            hinge is trained by a few passes, of which each returns the rows nearest to the margin, 128 MiB at most,
            and sums over the others; ``dual_gap_`` is proved. ``class_weight="balanced"`` is not trained: there is no
            ``coef_`` then, and a warning says so. :meth:`attack` does not need it.
        """
        parts = as_parts(X, y, sample_weight)
        return super().fit(X, y, sample_weight) if parts is None else self._fit_parts(parts)

    def _fit_parts(self, parts: RowParts):
        self._refuse_rules_without_records()
        classes = (parts if self.preprocessing is None else parts.records()).found_classes()
        if len(classes) != 2:
            raise ValueError(f"y must hold two classes, got {len(classes)}: {classes[:5].tolist()}")
        weights = class_weights(self.class_weight, classes)
        objective = dataclasses.replace(self._objective(), class_weight=weights)
        for name in ("coef_", "intercept_", "dual_gap_", "n_iter_", "feature_names_in_"):
            vars(self).pop(name, None)
        self.classes_, self._X, self._signs, self._sample_weight = classes, parts.with_classes(classes), None, None
        self.preprocessing_ = self._codec = self._sample = self._frame = self._read_pool = None
        if self.preprocessing is not None:
            self._read_records(parts)
        else:
            self.n_features_in_, names = self._X.n_features, parts.feature_names
            if names is not None and all(isinstance(name, str) for name in names):
                self.feature_names_in_ = np.array(names, dtype=object)
        trained = train(self._X, objective)
        if trained is None:
            message = "the victim of rows in parts was not trained: there is no coef_, and nothing is predicted"
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
            return self
        self.coef_, self.intercept_ = trained.theta[None, :-1].copy(), trained.theta[-1:].copy()
        if objective.loss.kinked:
            self.dual_gap_, self.n_iter_ = trained.gap, trained.n_iter
        return self

    def _read_records(self, parts):
        """The codec, from a digest of the raw table, and the rows that the fitted preprocessing makes of its parts."""
        if not is_fitted(self.preprocessing):
            raise ValueError("preprocessing must be fitted where rows come in parts")
        if isinstance(self.rules, Mapping) and UNCHANGED in [rule for rule in self.rules.values() if type(rule) is str]:
            raise ValueError("rules: 'unchanged' needs every row of the table at hand, and rows come in parts")
        table = parts.records().map_reduce(digest, merge_digests)
        validate_data(self, table, skip_check_array=True)
        self.preprocessing_ = copy.deepcopy(self.preprocessing)
        self._codec = codec_of(self.preprocessing_, table, self.rules)
        self._sample = take_records(table, np.arange(min(len(table), 1000)))
        self._X = self._X.transformed(Matrix(self.preprocessing_))

    def _box(self):
        if not isinstance(self._X, RowParts):
            return super()._box()
        return FeatureSpace(*extent(self._X), names=self._names)

    @property
    def _width(self):
        return self._X.n_features if isinstance(self._X, RowParts) else super()._width

    def attack(self, target=None, *, callback=None) -> PoisoningResult:
        """The fewest points for the data given to :meth:`fit`.

        Parameters
        ----------
        target : TargetModel, fitted linear classifier, or (coef, intercept)
            As in :meth:`ModelTargetedPoisoner.attack`.
        callback : callable, optional
            Within a tolerance or ``max_points``, told after every search a dict of the best so far (``n_points``,
            ``distance``; None before there is one); returning True ends it as Ctrl-C does: what was found is kept, and
            what is proved stands.

        Returns
        -------
        PoisoningResult
            In the labels and columns of the data given to fit. ``status`` is "unattainable", with
            the proof in ``certificate``, where no number of points suffices.
        """
        return self._minima(target_of(self, target), [self.tol], callback=callback)[0]

    def tradeoff(self, target, tols, *, n_jobs=None, callback=None) -> list[PoisoningResult]:
        """How the number of points, and what is proved of it, fall with the tolerance.

        Parameters
        ----------
        target : TargetModel, fitted linear classifier, or (coef, intercept)
        tols : sequence of float
            l2 distances within which the model must come, in place of the parameter ``tol``.
        n_jobs : int, optional
            Workers, one task a tolerance; the results are the same for any number of them. The backend is that of
            ``joblib.parallel_config`` (loky, dask, ray).
        callback : callable, optional
            As in :meth:`attack`; the tolerances then come one after the other.

        Returns
        -------
        list of PoisoningResult
            One per tolerance, in the order given.
        """
        return self._minima(target, np.atleast_1d(tols).tolist(), n_jobs, callback)

    def _minima(self, target, tols, n_jobs=None, callback=None):
        results = tradeoff(
            self._question(target),
            tols,
            integer=self.integer,
            max_points=self.max_points,
            rescale=self.rescale,
            sharper=self._kink_width(target) is None,
            n_jobs=n_jobs,
            callback=_told(callback, self.verbose) if n_jobs is None else callback,
        )
        return [self._in_user_terms(result) for result in results]


def _told(callback, verbose):
    """What calls the callback, and writes a line to the standard error where ``verbose``."""
    if not verbose:
        return callback

    def told(state):
        points, distance = state["n_points"], state["distance"]
        found = "nothing yet" if points is None else f"{points:,} points at distance {distance:.4g}"
        sys.stderr.write(f"[minimum] best so far: {found}\n")
        return callback is not None and callback(state)

    return told
