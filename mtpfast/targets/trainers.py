"""What the trainers of linear models minimise, in the terms of one objective: recognised by name, none is imported.

The objective is ``sum_i c_i phi(m_i) + (k/2) (sum_j p_j w_j^2 + r b^2)``: each reader returns the parameters of an
attacker whose victim minimises what the trainer does, and refuses what has no such form, naming the parameter. Where a
penalty weight is neither 0 nor 1, these have a ``penalty``, the :class:`PenaltyScaler` in whose features they are.
"""

from __future__ import annotations

import inspect
import math
from numbers import Real

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from mtpfast.preprocessing.penalty import PenaltyScaler

__all__ = ["TRAINERS", "recognised", "training_of", "unwrapped"]


# Whether "balanced" counts sample weights, where scikit-learn's estimators hand them on: since version 1.7.
_BALANCED_BY_WEIGHT = "sample_weight" in inspect.signature(compute_class_weight).parameters


def recognised(estimator) -> str | None:
    """``package.Class`` of a trainer of the list, the first of the classes that it is derived from; else None."""
    for kind in type(estimator).__mro__:
        name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        if name in TRAINERS:
            return name
    return None


def training_of(estimator, **given) -> dict:
    """The parameters of an attacker whose victim is trained as this estimator is.

    ``given`` are parameters of the attacker; of them only what a trainer does not keep is read (the alpha of
    statsmodels, which is an argument of its fit).
    """
    if isinstance(estimator, type):
        raise TypeError(f"estimator is the class {estimator.__name__}, expected an instance of it")
    name = recognised(estimator)
    if name is None:
        inner = _inner_of(estimator)
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, expected LinearSVC, SVC(kernel='linear'), LogisticRegression, "
            f"SGDClassifier, or a trainer of glum, skglm, snapml, statsmodels, liblinear, Spark ML or XGBoost: the "
            f"victim must minimise a hinge, squared hinge or log loss with an l2 penalty"
            + (f". Pass {inner}" if inner else "")
        )
    return TRAINERS[name](estimator, given)


class _Params:
    """A trainer's parameters, and the refusal of a value: what was expected, and what came."""

    def __init__(self, estimator, params=None):
        self.kind = type(estimator).__name__
        self.params = estimator.get_params(deep=False) if params is None else params

    def __getitem__(self, name):
        return self.params[name]

    def refuse(self, name, expected, got=None):
        got = self.params.get(name) if got is None else got
        raise ValueError(f"{self.kind} has {name}={got!r}, expected {expected}")

    def must_be(self, name, *values, why=""):
        value = self.params.get(name, values[0])
        if not any(value is v or (np.ndim(value) == 0 and value == v) for v in values):
            self.refuse(name, " or ".join(map(repr, values)) + (f": {why}" if why else ""))

    def positive(self, name):
        value = self.params[name]
        if isinstance(value, bool) or not isinstance(value, (Real, np.number)) or not 0 < value < math.inf:
            self.refuse(name, "a positive and finite number: without a penalty the model need not be unique")
        return float(value)


def _weights(p, balanced_counts_rows=False):
    """The class weights of a scikit-learn classifier."""
    if p["class_weight"] is None:
        return {}
    rows = p["class_weight"] == "balanced" if isinstance(p["class_weight"], str) else False
    counted = {"count_rows": True} if rows and (balanced_counts_rows or not _BALANCED_BY_WEIGHT) else {}
    return {"class_weight": p["class_weight"], **counted}


def _l2(p):
    # Versions differ in how they say "l2": penalty="l2", or penalty="deprecated" with l1_ratio 0.
    penalty = p.params.get("penalty", "l2")
    if penalty == "deprecated" and p.params.get("l1_ratio") not in (None, 0):
        p.refuse("l1_ratio", "0, an l2 penalty")
    if penalty not in ("l2", "deprecated"):
        p.refuse("penalty", "'l2'")


def _weighted(common, factor=None, s=1.0, ddof=0):
    """The parameters of a victim with penalty weights ``factor``, and ``1 / s^2`` of the intercept."""
    if factor is None and s == 1.0:
        return common
    scaler = {"factor": factor} if factor is not None else {}
    scaler |= ({"intercept_scaling": s} if s != 1.0 else {}) | ({"ddof": ddof} if ddof else {})
    changed = {"C": common["C"] * s * s} if "C" in common else {"alpha": common["alpha"] / (s * s)}
    return {**common, **changed, "penalty": PenaltyScaler(**scaler)}


def _intercept_scaling(p, matters):
    """s, where there is an intercept that it scales."""
    return p.positive("intercept_scaling") if matters and "intercept_scaling" in p.params else 1.0


def _linear_svc(estimator, given):
    p = _Params(estimator)
    _l2(p)
    p.must_be("multi_class", "ovr")
    common = {**_weights(p), "fit_intercept": p["fit_intercept"], "loss": p["loss"], "C": p["C"]}
    return _weighted(common, s=_intercept_scaling(p, p["fit_intercept"]))


def _svc(estimator, given):
    p = _Params(estimator)
    p.must_be("kernel", "linear")
    return {"loss": "hinge", "C": p["C"], "penalize_intercept": False, **_weights(p, balanced_counts_rows=True)}


def _logistic(estimator, given, C=None):
    p = _Params(estimator)
    _l2(p)
    s = _intercept_scaling(p, p["fit_intercept"] and p["solver"] == "liblinear")
    C = p["C"] if C is None else C
    if not np.isfinite(C):
        p.refuse("C", "a finite number: without a penalty the model need not be unique")
    common = {"fit_intercept": p["fit_intercept"], "loss": "log_loss", "C": C}
    return _weighted({**_weights(p), **common, "penalize_intercept": p["solver"] == "liblinear"}, s=s)


def _logistic_cv(estimator, given):
    """The C that it chose: what comes out was trained once more with it, on all rows."""
    if not hasattr(estimator, "C_"):
        raise TypeError(
            "estimator is a LogisticRegressionCV that is not fitted, expected a fitted one: its C_ is the victim's C. "
            "Pass LogisticRegression with the C that it chose (its C_[0])"
        )
    p = _Params(estimator)
    p.must_be("refit", True, why="elsewhere the model is the mean of those of the folds, and minimises nothing")
    ratios = p.params.get("l1_ratios")
    if not (ratios is None or isinstance(ratios, str)) and any(ratio not in (None, 0) for ratio in ratios):
        p.refuse("l1_ratios", "those of an l2 penalty, 0 only")
    chosen = np.ravel(estimator.C_)
    if not np.all(chosen == chosen[0]):
        p.refuse("C_", "one C", chosen.tolist())
    return _logistic(estimator, given, float(chosen[0]))


def _sgd(estimator, given):
    p = _Params(estimator)
    _l2(p)
    if p["loss"] not in ("hinge", "squared_hinge", "log_loss"):
        p.refuse("loss", "'hinge', 'squared_hinge' or 'log_loss'")
    common = {"fit_intercept": p["fit_intercept"], "loss": p["loss"], "alpha": p["alpha"]}
    return {**_weights(p), **common, "penalize_intercept": False, "count_rows": True}


def _ridge(estimator, given):
    raise TypeError(
        f"estimator is a {type(estimator).__name__}, expected LinearSVC or LogisticRegression, ...: it fits labels of "
        f"-1 and +1 by least squares, a loss that also rises where a row is more right than it need be. No rule of a "
        f"margin loss holds for it"
    )


def _snapml(loss):
    def read(estimator, given):
        p = _Params(estimator)
        p.must_be("penalty", "l2")
        p.must_be("loss", "hinge", why="its other losses are not read")
        p.must_be("kernel", "linear")
        p.must_be("privacy", False, why="noise is added to what it minimises")
        p.must_be("normalize", False, why="rows are scaled before they are trained on")
        p.must_be("class_weight", None, why="how it weighs classes was not measured")
        common = {"loss": loss, "C": 1.0 / p.positive("regularizer"), "fit_intercept": bool(p["fit_intercept"])}
        return _weighted(common, s=_intercept_scaling(p, p["fit_intercept"]))

    return read


def _skglm(estimator, given):
    """No intercept, whatever its ``fit_intercept`` says."""
    return {"loss": "hinge", "C": _Params(estimator).positive("C"), "fit_intercept": False}


def _glum(estimator, given):
    p = _Params(estimator)
    family, link = p["family"], p["link"]
    if family != "binomial" and type(family).__name__ != "BinomialDistribution":
        p.refuse("family", "'binomial'")
    if link not in ("auto", "logit") and type(link).__name__ != "LogitLink":
        p.refuse("link", "'auto' or 'logit'")
    why = "constraints are not read"
    for name in ("A_ineq", "b_ineq", "lower_bounds", "upper_bounds", "monotonic_constraints", "formula"):
        p.must_be(name, None, why=why)
    p.must_be("alpha_search", False)
    factor = _glum_factor(p)
    if hasattr(estimator, "alpha_"):  # of a search
        p.params |= {"alpha": estimator.alpha_, "l1_ratio": estimator.l1_ratio_}
    elif "alpha" not in p.params:
        raise TypeError(f"estimator is a {p.kind} that is not fitted, expected a fitted one: alpha_ is the victim's")
    p.must_be("l1_ratio", 0, why="an l2 penalty")
    alpha = p.positive("alpha")
    common = {"loss": "log_loss", "alpha": alpha, "fit_intercept": p["fit_intercept"], "penalize_intercept": False}
    return _weighted(common, factor)


def _glum_factor(p):
    P2, scaled = p["P2"], bool(p["scale_predictors"])
    plain = isinstance(P2, str) and P2 == "identity"
    if plain:
        return "variance" if scaled else None
    if isinstance(P2, str) or np.ndim(P2) != 1:
        p.refuse("P2", "'identity' or a weight for each feature")
    if scaled:
        p.refuse("scale_predictors", "False beside a P2 of its own")
    return np.asarray(P2, dtype=float)


def _statsmodels(estimator, given):
    """``GLM(y, X, family=Binomial())``, to be fitted by ``fit_regularized(alpha=alpha, L1_wt=0)``."""
    model = getattr(estimator, "model", estimator)
    family = model.family
    p = _Params(model, {"family": type(family).__name__, "link": type(family.link).__name__})
    p.kind = "GLM"
    p.must_be("family", "Binomial")
    p.must_be("link", "Logit")
    for name in ("offset", "exposure"):
        if np.any(getattr(model, name, 0.0)):
            raise ValueError(f"GLM has {name}, expected none")
    if given.get("alpha") is None:
        raise ValueError(
            "GLM keeps no penalty, it is an argument of fit_regularized: hand it in as alpha=... (with L1_wt=0)"
        )
    constant = model.data.const_idx is not None
    # A constant column is one of the features to it, and is penalised like any other. It divides by rows.
    return {"loss": "log_loss", "fit_intercept": constant, "penalize_intercept": True, "count_rows": True}


# Of LIBLINEAR's solvers: the loss.
_SOLVERS = {0: "log_loss", 1: "squared_hinge", 2: "squared_hinge", 3: "hinge", 7: "log_loss"}


def _liblinear(estimator, given):
    """A model that was trained in this process, or a ``parameter``: a file does not keep C."""
    param = getattr(estimator, "param", estimator)
    p = _Params(estimator, {"solver_type": int(param.solver_type), "C": float(param.C)})
    if p["solver_type"] not in _SOLVERS:
        p.refuse("solver_type", "0, 1, 2, 3 or 7: two classes with an l2 penalty")
    if p["C"] == 0.0:
        p.refuse("C", "a positive number: a model from a file does not say with which C it was trained")
    bias = float(estimator.bias)
    if bias == 0:
        p.refuse("bias", "-1 or a positive number: a column of zeros is no intercept", bias)
    weights = {int(param.weight_label[i]): float(param.weight[i]) for i in range(param.nr_weight)}
    regularized = bool(getattr(param, "regularize_bias", 1))
    common = {
        "loss": _SOLVERS[p["solver_type"]],
        "C": p.positive("C"),
        "fit_intercept": bias > 0,
        **({"class_weight": weights} if weights else {}),
        **({} if regularized or bias < 0 else {"penalize_intercept": False}),
    }
    return _weighted(common, s=bias if bias > 0 and regularized else 1.0)


def _spark(loss):
    def read(estimator, given):
        params = {key.name: estimator.getOrDefault(key) for key in estimator.params if estimator.isDefined(key)}
        p = _Params(estimator, params)
        p.must_be("family", "auto", "binomial", why="with two rows of weights both are penalised")
        p.must_be("elasticNetParam", 0.0, why="an l2 penalty")
        if params.get("regParam") == 0:
            p.refuse("regParam", "a positive number: 0, its default, is no penalty, and the model need not be unique")
        for name in params:
            if "BoundsOn" in name:
                p.refuse(name, "none")
        common = {
            "loss": loss,
            "alpha": p.positive("regParam"),
            "fit_intercept": p["fitIntercept"],
            "penalize_intercept": False,
        }
        return _weighted(common, "variance" if p["standardization"] else None, ddof=1 if p["standardization"] else 0)

    return read


def _xgboost(estimator, given):
    p = _Params(estimator)
    p.must_be("booster", "gblinear", why="trees are no linear model")
    p.must_be("objective", "binary:logistic", "binary:logitraw", None)
    p.must_be("reg_alpha", 0, None, why="an l2 penalty")
    p.must_be("scale_pos_weight", 1, None, why="give class_weight to the attacker instead, and 1 here")
    p.must_be("reg_lambda", p["reg_lambda"] or "a positive number")
    return {"loss": "log_loss", "alpha": p.positive("reg_lambda"), "penalize_intercept": False}


def _dask(estimator, given):
    raise TypeError(
        f"estimator is a {type(estimator).__name__} of dask-ml, expected LogisticRegression of scikit-learn, ...: it "
        f"standardises its columns (normalize) and penalises the intercept of the centred ones, so what it minimises "
        f"depends on the poisoned table's own means and deviations"
    )


#: ``package.Class`` -> what reads it.
TRAINERS = {
    "sklearn.LinearSVC": _linear_svc,
    "sklearn.SVC": _svc,
    "sklearn.LogisticRegression": _logistic,
    "sklearn.LogisticRegressionCV": _logistic_cv,
    "sklearn.SGDClassifier": _sgd,
    "sklearn.RidgeClassifier": _ridge,
    "sklearn.RidgeClassifierCV": _ridge,
    "snapml.SupportVectorMachine": _snapml("hinge"),
    "snapml.LogisticRegression": _snapml("log_loss"),
    "skglm.LinearSVC": _skglm,
    "glum.GeneralizedLinearRegressor": _glum,
    "glum.GeneralizedLinearRegressorCV": _glum,
    "statsmodels.GLM": _statsmodels,
    "statsmodels.RegularizedResults": _statsmodels,
    "statsmodels.RegularizedResultsWrapper": _statsmodels,
    "liblinear.model": _liblinear,
    "liblinear.parameter": _liblinear,
    "pyspark.LinearSVC": _spark("hinge"),
    "pyspark.LogisticRegression": _spark("log_loss"),
    "xgboost.XGBClassifier": _xgboost,
    "dask_ml.LogisticRegression": _dask,
}


def unwrapped(estimator):
    """The victim inside a wrapper that changes nothing of how it is trained on all rows.

    Of a fitted search over parameters (GridSearchCV and its like, refit=True) the best estimator. Of
    CalibratedClassifierCV its ``estimator``: calibration changes the probabilities that come out; with ensemble=True
    scores are means over models of all rows but a fold, which this one, of all rows, stands for.
    """
    if hasattr(estimator, "best_estimator_") and _is_search(estimator):
        return unwrapped(estimator.best_estimator_)
    if type(estimator).__name__ == "CalibratedClassifierCV" and getattr(estimator, "estimator", None) is not None:
        return unwrapped(estimator.estimator)
    return estimator


def _is_search(estimator):
    return hasattr(estimator, "param_grid") or hasattr(estimator, "param_distributions")


def _inner_of(estimator) -> str | None:
    """Which estimator to pass in place of one that is wrapped around it."""
    if _is_search(estimator):
        return "the search once it is fitted, with refit=True: its best_estimator_ is the victim that it ends with"
    if hasattr(getattr(estimator, "estimator", None), "fit"):
        fitted = " (fitted: its estimator_)" if hasattr(estimator, "estimator_") else ""
        return f"its parameter estimator{fitted}"
    if hasattr(estimator, "estimators"):
        return "one of its estimators"
    return None
