"""What both estimators share: the clean victim, and the way from the user's labels and columns to signs and back."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, check_X_y, validate_data

from mtpfast.arrays.checks import check_count, check_flag, check_sample_weight, check_X, refuse_parts
from mtpfast.arrays.frames import emptied, is_frame, take_records
from mtpfast.arrays.labels import Classes
from mtpfast.arrays.magnitude import check_magnitude
from mtpfast.guarantee.per_row import certify, check_rows, told
from mtpfast.guarantee.ranges import check_range, refuses
from mtpfast.losses.margin import class_weights
from mtpfast.losses.objective import make_objective
from mtpfast.preprocessing.codecs import as_raw, codec_of
from mtpfast.preprocessing.penalty import penalty_of
from mtpfast.preprocessing.steps import is_fitted, to_matrix
from mtpfast.proofs.goal import MARGIN_TOL, trained_margin_tol
from mtpfast.question import Question, ask, evaluation_sets, largest_sizes
from mtpfast.results.guarantee import SHARES, Guarantee, budgets_of
from mtpfast.results.packed import replaced
from mtpfast.results.result import PoisoningResult
from mtpfast.results.stored import is_stored_as_text
from mtpfast.spaces.base import as_space
from mtpfast.spaces.features import FeatureSpace
from mtpfast.targets.models import binary_linear_model
from mtpfast.targets.trainers import training_of, unwrapped
from mtpfast.training.victim import refit

from .aims import MakesTargets, in_victims_features, refuse_another_victim
from .samplers import Samples
from .written import as_records

__all__ = ["Poisoner"]


_ROWS = {"accept_sparse": "csr", "dtype": np.float64, "order": "C"}


class Poisoner(MakesTargets, Samples, ClassifierMixin, BaseEstimator):
    """The clean victim, and what both attacks share: it is a linear classifier like any other."""

    def fit(self, X, y=None, sample_weight=None):
        """Train the clean victim.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
            Kept by reference for :meth:`attack` where it is a C-contiguous float64 array or a CSR
            matrix already, and converted once otherwise. Never changed. With ``preprocessing``, a
            table of raw records, a DataFrame or an array; or texts, a list of strings. Data frames are those of
            pandas, polars and pyarrow. A warning names columns of objects of which :meth:`PoisoningResult.save` can
            only keep the text.
        y : array-like of shape (n_samples,)
            Two classes; the larger label is the positive one.
        sample_weight : array-like of shape (n_samples,), optional
            Row i counts as ``sample_weight[i]`` rows (with ``count_rows``, alpha still sees one).

        Returns
        -------
        self
        """
        refuse_parts(X, "X")
        objective = self._objective()
        codec = sample = preprocessing = frame = None
        if self.preprocessing is None:
            self._refuse_rules_without_records()
            frame = emptied(X) if is_frame(X) else None
            X, y = validate_data(self, X, y, **_ROWS)
        else:
            table = as_raw(self.preprocessing, X)
            if len(table.shape) == 2:
                validate_data(self, table, skip_check_array=True)
            preprocessing = self._fitted_preprocessing(table, y)
            X, y = check_X_y(to_matrix(preprocessing.transform(table)), y, estimator=self, **_ROWS)
            codec = codec_of(preprocessing, table, self.rules)
            if len(table.shape) == 2:
                _tell_of_text([name for name, values in codec.values().items() if is_stored_as_text(values)])
            rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), 1000)).astype(np.intp))
            sample = take_records(table, rows)
        X = check_X(X)  # CSR rows sorted and without duplicate entries
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(f"y must hold two classes, got one class: {classes.tolist()[0]!r}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            present = np.unique(y[sample_weight > 0])
            if len(present) < 2:
                raise ValueError(
                    f"y must hold two classes of positive weight, got {len(present)}: {present.tolist()} "
                    f"(sample_weight is zero on the other class)"
                )
            sample_weight = check_sample_weight(sample_weight, X.shape[0])
        signs = Classes(classes).signs(y)
        objective = dataclasses.replace(objective, class_weight=class_weights(self.class_weight, classes))
        trained = refit(X, signs, objective, sample_weight=sample_weight)
        self.classes_ = classes
        self.coef_, self.intercept_ = trained.theta[None, :-1].copy(), trained.theta[-1:].copy()
        self.dual_gap_ = float(trained.gap)
        self.n_iter_ = int(trained.n_iter)
        self._X, self._signs, self._sample_weight, self._read_pool = X, signs, sample_weight, None
        self.preprocessing_, self._codec, self._sample, self._frame = preprocessing, codec, sample, frame
        return self

    def _refuse_rules_without_records(self):
        if self.rules is not None and self.preprocessing is None:
            raise ValueError("rules speak of raw columns and need a preprocessing: use feasible_set without one")

    def _fitted_preprocessing(self, table, y):
        given = self.preprocessing
        if isinstance(given, type) or not (hasattr(given, "fit") and hasattr(given, "transform")):
            raise TypeError(f"preprocessing must be a transformer, a Pipeline of them, or None, got {given!r}")
        _refuse_samplers(given)
        if is_fitted(given):
            return copy.deepcopy(given)
        before, scaler = penalty_of(given)
        if scaler is None or before is None or not is_fitted(before):
            return clone(given).fit(table, y)
        before = copy.deepcopy(before)  # fitted steps stay as they are
        return Pipeline([*before.steps, (given.steps[-1][0], clone(scaler).fit(before.transform(table)))])

    def _features(self, X):
        """What the victim sees of X."""
        if self.preprocessing_ is None:
            return validate_data(self, X, reset=False, **_ROWS)
        table = as_raw(self.preprocessing_, X)
        if len(table.shape) == 2:
            validate_data(self, table, reset=False, skip_check_array=True)
        return check_array(to_matrix(self.preprocessing_.transform(table)), estimator=self, **_ROWS)

    def _check_trained(self):
        check_is_fitted(self)
        if not hasattr(self, "coef_"):
            raise NotFittedError(
                "the victim of rows in parts was not trained, so that nothing is predicted or certified: the hinge is, "
                "and smooth losses up to 2,500 features"
            )

    @property
    def _names(self):
        """Names of the features that the victim sees, or None."""
        if self._codec is not None:
            return None if self._codec.names is None else np.array(self._codec.names, dtype=object)
        return getattr(self, "feature_names_in_", None)

    def decision_function(self, X):
        """``w . x + b`` under the clean victim: ndarray of shape (n_samples,)."""
        self._check_trained()
        return self._features(X) @ self.coef_[0] + self.intercept_[0]

    def predict(self, X):
        """The clean victim's labels: ndarray of shape (n_samples,)."""
        scores = self.decision_function(X)
        return self._classes.labels(scores)

    def certify(
        self,
        X_eval,
        y_eval=None,
        *,
        budgets=SHARES,
        attack=None,
        joint=None,
        branches=None,
        outside=None,
        rows=None,
        n_jobs=None,
        verbose=0,
        callback=None,
    ) -> Guarantee:
        """How few insertions could flip each prediction of the clean victim: proved, and found.

        Parameters
        ----------
        X_eval : array-like, sparse matrix or table of shape (n_rows, n_features)
        y_eval : array-like of shape (n_rows,), optional
            What the rows should be. A row that the clean victim has wrong already is flipped by 0 points. By default
            the *predictions* are what is protected.
        budgets : sequence of int or float
            Numbers of points, or shares of the clean rows, that summaries report.
        attack : bool, optional
            Whether to look for attacks on every row as well; by default where the clean rows are in memory. On rows in
            parts True is refused (every attack is many retrainings), and ``upper_bound`` stays unknown.
        joint : bool, optional
            Whether to bound what one attack does to all rows at once and to the clean rows, at the budgets
            (``certified_error``, ``certified_loss``); by default where there are 20 rows or more.
        branches : int, optional
            Parts of the ratios of the labels that an attacker may use, each with a proof of its own, where the loss is
            the hinge and the points of both labels are a box. By default 4, and 2 where the clean rows have two million
            entries or more, or came in parts: the time grows with it.
        outside : {"refuse", "allow"}, optional
            Of rows with a feature outside the range that clean rows and ``feasible_set`` span (as far again, where none
            is given), often for another scale. The theorem asks for no range: "allow" certifies them. By default a
            ValueError, but for raw records (``preprocessing``), and where the clean rows came in parts.
        rows : array-like of int, or mask of shape (n_rows,), optional
            Only these rows.
        n_jobs : int, optional
            joblib's: threads, or the backend that ``joblib.parallel_config`` chooses (loky, dask, ray); a task for the
            bounds of up to 64 rows, and one for every attack. The numbers are the same for any of them.
        verbose : int, default=0
            1: a line to the standard error after every batch of bounds, every attack and every budget's joint bounds.
        callback : callable, optional
            ``callback(n_done, n_steps, seconds)``, as often: a step is the bound of a row, the attack on it, or the
            joint bounds of a budget, in this order. A KeyboardInterrupt, there or anywhere, ends the search and keeps
            what is done.

        Returns
        -------
        Guarantee

        Raises
        ------
        ValueError
            Where no bound can be proved, with the reason; for rows or labels that do not fit the victim.
        TypeError
            For a flag, a budget or a callback that is none.
        MemoryError
            Where the clean rows on the margin of the victim, in parts, take more than their ``memory_limit``.
        """
        self._check_trained()
        X = self._features(X_eval)
        scores = X @ self.coef_[0] + self.intercept_[0]
        labels = self._classes.labels(scores) if y_eval is None else np.asarray(y_eval)
        if labels.shape != (X.shape[0],):
            raise ValueError(f"y_eval must have shape ({X.shape[0]},), one label per row, got {labels.shape}")
        chosen = np.arange(X.shape[0]) if rows is None else check_rows(rows, X.shape[0])
        if refuses(outside, self.preprocessing_):
            names = None if self.preprocessing_ is not None else getattr(self, "feature_names_in_", None)
            check_range(X[chosen], chosen, self._X, self._feasible_set(), names, given=self.feasible_set is not None)
        check_magnitude(X, "X_eval")
        branches = None if branches is None else check_count(branches, "branches")
        attack = None if attack is None else check_flag(attack, "attack")
        joint = None if joint is None else check_flag(joint, "joint")
        theta = np.append(self.coef_[0], self.intercept_)
        objective = dataclasses.replace(self._objective(), class_weight=class_weights(self.class_weight, self.classes_))
        guarantee = certify(
            self._X, self._signs, theta, objective, self._feasible_set(), X[chosen],
            self._to_signs(labels[chosen], "y_eval"), sample_weight=self._sample_weight,
            budgets=budgets_of(budgets, self._X.shape[0]), attack=attack, joint=joint, branches=branches, n_jobs=n_jobs,
            progress=told(callback, verbose),
        )  # fmt: skip
        records = None if self._codec is None else self._codec.decode(guarantee.points)
        return dataclasses.replace(
            guarantee, labels=labels[chosen], row=chosen, classes=self.classes_, records=records,
            attack_label=self._classes.labels(guarantee.attack_label), preprocessing=self.preprocessing_,
        )  # fmt: skip

    @classmethod
    def from_estimator(cls, estimator, **params):
        """An attacker on a victim trained as this estimator is.

        Parameters
        ----------
        estimator : LinearSVC, SVC(kernel="linear"), LogisticRegression, SGDClassifier, Pipeline, or a trainer of
            scikit-learn-intelex, glum, liblinear, skglm, snapml, Spark ML, statsmodels or XGBoost
            (``docs/victims.md``: what each minimises, and what is refused).
            Or a fitted search over their parameters (its best estimator), or CalibratedClassifierCV (its estimator,
            trained on all rows). Fitted or not. Its loss, its C or alpha, its class weights, and what it does with
            the intercept are taken over. The steps of a Pipeline before such a last one become ``preprocessing``:
            fitted ones are used as they are.

            ===================  ==============================  ============  ====================
            estimator            loss                            penalty       intercept
            ===================  ==============================  ============  ====================
            LinearSVC            hinge, squared hinge            ``C``         penalised
            SVC(linear)          hinge                           ``C``         free
            LogisticRegression   log loss                        ``C``         free; penalised with
                                                                               solver="liblinear"
            SGDClassifier        hinge, squared hinge, log loss  ``alpha``     free
            ===================  ==============================  ============  ====================

            SGDClassifier multiplies alpha by the number of rows whatever they weigh, and both it and SVC count rows
            for ``class_weight="balanced"``: ``count_rows=True``. For LinearSVC and LogisticRegression "balanced"
            counts sample weights (since scikit-learn 1.7, and rows before).
        **params
            Everything else that the attacker takes (``feasible_set``, ``tol``, ...).

        Returns
        -------
        attacker
            Not fitted.

        Raises
        ------
        TypeError, ValueError
            If the estimator does not minimise a margin loss with an l2 penalty.

        Examples
        --------
        >>> from sklearn.svm import LinearSVC
        >>> from mtpfast import ModelTargetedPoisoner
        >>> ModelTargetedPoisoner.from_estimator(LinearSVC(C=0.5, loss="hinge"), tol=0.05)
        ModelTargetedPoisoner(C=0.5, tol=0.05)

        A Pipeline is attacked through its table: what comes out are raw records.

        >>> import numpy as np, pandas as pd
        >>> from sklearn.compose import make_column_transformer
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
        >>> table = pd.DataFrame({"age": [20, 30, 60, 40], "work": ["state", "private", "private", "state"]})
        >>> first = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"]))
        >>> pipeline = make_pipeline(first, LinearSVC(loss="hinge"))
        >>> attacker = ModelTargetedPoisoner.from_estimator(pipeline, max_points=2).fit(table, [0, 0, 1, 1])
        >>> attacker.attack((-attacker.coef_, -attacker.intercept_)).X_poison.dtypes.equals(table.dtypes)
        True
        """
        estimator = unwrapped(estimator)
        steps, last = [], estimator
        _refuse_samplers(estimator)
        while isinstance(last, Pipeline):
            steps, last = [*steps, *last.steps[:-1]], unwrapped(last.steps[-1][1])
        taken = training_of(last, **params)
        scaler = taken.pop("penalty", None)
        if scaler is not None:
            first = None if steps else params.pop("preprocessing", None)  # what was given comes before the scaling
            steps = steps if first is None else getattr(first, "steps", [("preprocessing", first)])
            steps = [*steps, ("penalty", scaler)]
        if len(steps) > 1:
            plain = scaler is None and type(estimator) is Pipeline
            plain = plain and not isinstance(estimator.steps[-1][1], Pipeline)
            taken["preprocessing"] = estimator[:-1] if plain else Pipeline(_renamed(steps))
        elif steps and steps[0][1] not in (None, "passthrough"):
            taken["preprocessing"] = steps[0][1]
        clash = sorted(set(taken) & set(params))
        if clash:
            raise ValueError(f"{', '.join(clash)}: taken over from {type(estimator).__name__}, and given once more")
        return cls(**taken, **params)

    def _objective(self):
        """Without the class weights, which need the classes."""
        return make_objective(
            self.loss, self.alpha, self.C, self.fit_intercept, self.penalize_intercept, None, self.count_rows
        )

    def _question(self, target) -> Question:
        """What both attacks are asked, in the terms of the layers below; data and feasible set are checked already."""
        check_is_fitted(self)
        theta = binary_linear_model(self._in_own_features(target), self._width, self.classes_, self._names)
        objective = dataclasses.replace(self._objective(), class_weight=class_weights(self.class_weight, self.classes_))
        refuse_another_victim(target, objective)
        margin_tol = self._kink_width(target)
        return ask(self._X, self._signs, self._sample_weight, theta, objective, self._feasible_set(), margin_tol)

    def _kink_width(self, target):
        """``margin_tol``: what was given, else what the target was trained to or its file keeps, if not closely."""
        if self.margin_tol is not None:
            return self.margin_tol
        own = self._in_own_features(target)
        trained = trained_margin_tol(own, lambda: largest_sizes(self._X, self._feasible_set()))
        return None if trained <= MARGIN_TOL else trained

    def _in_own_features(self, target):
        return in_victims_features(target, self.preprocessing_, self._sample, self.classes_, self._names)

    def _feasible_set(self):
        """The feasible set, checked: features by number, labels as -1. and +1."""
        space = self._own_feasible_set()
        if space is None:
            return self._box()
        space = space.bind(self._names, self.classes_)
        space.check(self._width)
        return space

    def _box(self):
        """The box around the data."""
        return FeatureSpace.from_data(self._X, integer=None)

    @property
    def _width(self) -> int:
        """The number of features that the victim sees."""
        return self.coef_.shape[1]

    def _own_feasible_set(self):
        """The feasible set in the user's terms: what was given, or what records can be; None for neither."""
        space = self.feasible_set
        if space is None:
            return None if self._codec is None else self._codec.space
        scaler = penalty_of(self.preprocessing_)[1]
        if as_space(space).is_finite:
            raw = getattr(space, "is_raw", None)
            if self._codec is not None and raw is not None and raw(getattr(self._codec, "columns", None)):
                return self._read_candidates(space)
            space.check(self._width)
            space = space if scaler is None else space.scaled(scaler.scale_, self._names)
            if self._codec is not None and not np.all(known := self._codec.has(space.X)):
                raise ValueError(f"feasible_set: row {int(np.argmin(known))} of X_cand is not the row of any record")
        elif self._codec is not None:
            can = scaler is not None and hasattr(space, "scaled")  # the codec refuses others by name
            if scaler is not None and hasattr(space, "rules_of"):
                raise TypeError(
                    "feasible_set must be a FeatureSpace where a scaler of the pipeline is part of the penalty: "
                    f"in the units of the rows a {type(space).__name__} is another set"
                )
            return self._codec.narrow(space.scaled(scaler.scale_, self._names) if can else space)
        return space

    def _read_candidates(self, pool):
        """A pool of raw rows as the victim sees them, read once for every fit."""
        if self._read_pool is None or self._read_pool[0] is not pool:
            self._read_pool = pool, pool.through(self._features)
        return self._read_pool[1]

    @property
    def _classes(self) -> Classes:
        return Classes(self.classes_)

    def _to_signs(self, y, name):
        return self._classes.signs(y, name)

    def _in_user_terms(self, result: PoisoningResult) -> PoisoningResult:
        """The result with the labels and columns of the data given to fit, and with raw records."""
        own = self._own_feasible_set()
        space = result.feasible_set if own is None else own
        records = {}
        if self._codec is not None:
            is_pool_of_records = own is not self.feasible_set and getattr(own, "raw", None) is not None
            write = own.records if is_pool_of_records else self._codec.decode
            written, points = as_records(result.points, self._codec, write)
            records = {"points": points, "records": written, "preprocessing": self.preprocessing_}
        return replaced(
            result,
            labels=self._classes.labels(result.labels),
            feasible_set=space,
            classes=self.classes_,
            feature_names=self._names,
            table=self._frame,
            **records,
        )

    def _in_signs(self, result: PoisoningResult) -> PoisoningResult:
        """The reverse, for a result that an attack goes on from."""
        if not isinstance(result, PoisoningResult):
            raise TypeError(f"resume must be a PoisoningResult, got {type(result).__name__}")
        if not np.array_equal(result.classes, self.classes_):
            raise ValueError(
                f"resume has labels {result.classes.tolist()}, the victim was trained with {self.classes_.tolist()}"
            )
        signs = self._to_signs(result.labels, "resume.labels")
        own = self._own_feasible_set()
        own = self._feasible_set() if own is None else own
        if result.feasible_set != own:
            raise ValueError(f"resume has feasible_set {result.feasible_set!r}, this attack has {own!r}")
        classes = np.array([-1.0, 1.0])
        return replaced(result, labels=signs, classes=classes, feasible_set=self._feasible_set())

    def _evaluation_sets(self, eval_sets):
        """``name -> (X, whether y is the larger label)``, checked."""
        return evaluation_sets(eval_sets, lambda rows, _: self._features(rows), self._classes.signs)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = True
        return tags


def _tell_of_text(names):
    if names:
        few = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        warnings.warn(
            f"X: columns {few} hold objects of which a file can only keep the text: a result's save writes them as "
            f"str(value), and load gives these strings",
            stacklevel=3,
        )


def _renamed(steps):
    """Steps of pipelines within pipelines, whose names may be the same, as those of one."""
    names = [name for name, _ in steps]
    return [(name if names.count(name) == 1 else f"{name}-{i}", step) for i, (name, step) in enumerate(steps)]


def _refuse_samplers(estimator, path=()):
    """Raise if a step of a Pipeline, or of one inside it, changes which rows the victim is trained on."""
    if hasattr(estimator, "fit_resample") and not hasattr(estimator, "steps"):
        where = f"step {' > '.join(map(repr, path))}" if path else "estimator"
        raise TypeError(
            f"{where} is a {type(estimator).__name__}, a sampler: it makes or removes rows while the victim is "
            f"trained, so the victim's rows are not those of the table. Resample the table before, and pass a Pipeline "
            f"without it"
        )
    parts = getattr(estimator, "steps", None) or getattr(estimator, "transformers", None) or ()
    for name, step, *_ in parts if isinstance(parts, (list, tuple)) else ():
        _refuse_samplers(step, (*path, name))
