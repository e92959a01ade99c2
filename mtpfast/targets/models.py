"""Linear models as targets: any fitted estimator, or a pair (coef, intercept)."""

from __future__ import annotations

import inspect

import numpy as np
import scipy.sparse as sp
from sklearn.utils.class_weight import compute_class_weight

from mtpfast.arrays.checks import as_theta

__all__ = ["binary_linear_model", "training_of"]


# Whether "balanced" counts sample weights, where scikit-learn's estimators hand them on: since version 1.7.
_BALANCED_BY_WEIGHT = "sample_weight" in inspect.signature(compute_class_weight).parameters


def _inner_of(estimator) -> str | None:
    """Which estimator to pass in place of one that is wrapped around it."""
    kind = type(estimator).__name__
    if hasattr(estimator, "Cs"):
        return "LogisticRegression with the C that it chose (its C_[0])"
    if hasattr(estimator, "param_grid") or hasattr(estimator, "param_distributions"):
        fitted = "its best_estimator_" if hasattr(estimator, "best_estimator_") else "best_estimator_ once it is fitted"
        return f"{fitted}, the victim that the search ends with"
    if kind == "CalibratedClassifierCV":
        return (
            "its parameter estimator: calibration changes the probabilities that come out, and is no part of the "
            "training (with ensemble=True there is a victim per fold, calibrated_classifiers_[i].estimator)"
        )
    if hasattr(getattr(estimator, "estimator", None), "fit"):
        fitted = " (fitted: its estimator_)" if hasattr(estimator, "estimator_") else ""
        return f"its parameter estimator{fitted}"
    if hasattr(estimator, "estimators"):
        return "one of its estimators"
    return None


def training_of(estimator) -> dict:
    """The parameters of an attacker whose victim is trained as a scikit-learn estimator is."""
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.svm import SVC, LinearSVC

    kind = type(estimator).__name__
    if isinstance(estimator, type):
        raise TypeError(f"estimator is the class {estimator.__name__}, expected an instance of it")
    if not isinstance(estimator, (LinearSVC, SVC, LogisticRegression, SGDClassifier)) or hasattr(estimator, "Cs"):
        inner = _inner_of(estimator)
        raise TypeError(
            f"estimator is a {kind}, expected LinearSVC, SVC(kernel='linear'), LogisticRegression or SGDClassifier: "
            f"the victim must minimise a hinge, squared hinge or log loss with an l2 penalty"
            + (f". Pass {inner}" if inner else "")
        )
    params = estimator.get_params(deep=False)
    weighted = {} if params["class_weight"] is None else {"class_weight": params["class_weight"]}
    if weighted.get("class_weight") == "balanced" and (isinstance(estimator, SVC) or not _BALANCED_BY_WEIGHT):
        weighted["count_rows"] = True

    def must(name, expected, got):
        raise ValueError(f"{kind} has {name}={got!r}, expected {expected}")

    if isinstance(estimator, SVC):
        if params["kernel"] != "linear":
            must("kernel", "'linear'", params["kernel"])
        return {"loss": "hinge", "C": params["C"], "penalize_intercept": False, **weighted}
    # Versions differ in how they say "l2": penalty="l2", or penalty="deprecated" with l1_ratio 0.
    penalty = params.get("penalty", "l2")
    if penalty not in ("l2", "deprecated") or (penalty == "deprecated" and params.get("l1_ratio") not in (None, 0)):
        if penalty == "deprecated":
            must("l1_ratio", "0, an l2 penalty", params["l1_ratio"])
        must("penalty", "'l2'", penalty)
    if params.get("intercept_scaling", 1) != 1 and params["fit_intercept"]:
        must(
            "intercept_scaling",
            "1: elsewhere the intercept has a penalty of its own",
            params["intercept_scaling"],
        )
    taken = {"fit_intercept": params["fit_intercept"]}
    if isinstance(estimator, LinearSVC):
        if params["multi_class"] != "ovr":
            must("multi_class", "'ovr'", params["multi_class"])
        taken |= {"loss": params["loss"], "C": params["C"]}
    elif isinstance(estimator, LogisticRegression):
        if not np.isfinite(params["C"]):
            must("C", "a finite number: without a penalty the model need not be unique", params["C"])
        taken |= {"loss": "log_loss", "C": params["C"], "penalize_intercept": params["solver"] == "liblinear"}
    else:
        if params["loss"] not in ("hinge", "squared_hinge", "log_loss"):
            must("loss", "'hinge', 'squared_hinge' or 'log_loss'", params["loss"])
        taken |= {"loss": params["loss"], "alpha": params["alpha"], "penalize_intercept": False, "count_rows": True}
    return weighted | taken


def binary_linear_model(model, n_features: int, classes=None, feature_names=None, name: str = "target") -> np.ndarray:
    """``theta`` of a target, after checking that it is one binary linear model of these data.

    Parameters
    ----------
    model : TargetModel, fitted scikit-learn classifier, or (coef, intercept)
    n_features : int
    classes : ndarray of shape (2,), optional
        The victim's labels. A model that carries labels of its own must have the same, in order.
    feature_names : ndarray of str, optional
        The victim's columns. A model that carries names of its own must have the same, in order.

    Returns
    -------
    theta : ndarray of shape (n_features + 1,)
    """
    from sklearn.base import BaseEstimator, is_classifier
    from sklearn.exceptions import NotFittedError

    if hasattr(model, "steps"):
        raise TypeError(
            f"{name} is a Pipeline, expected a linear model of the features that the victim is trained on: "
            f"fit the attacker to the data as the pipeline transforms it, and pass the pipeline's last step"
        )
    kind = type(model).__name__
    if isinstance(model, type):
        raise TypeError(f"{name} is the class {model.__name__}, expected a fitted instance of it")
    if isinstance(model, BaseEstimator):
        if not is_classifier(model):
            raise TypeError(f"{name} is a {kind}, expected a binary linear classifier")
        if not hasattr(model, "classes_"):
            raise NotFittedError(f"{name} is a {kind} that is not fitted, expected a fitted linear classifier")
        if len(model.classes_) != 2:
            raise ValueError(f"{name} is a {kind} of {len(model.classes_)} classes, expected a binary one")
        try:
            coef, intercept = model.coef_, model.intercept_
        except AttributeError:
            raise TypeError(f"{name} is a {kind} without coef_ and intercept_, expected a linear classifier") from None
        coef = coef.toarray() if sp.issparse(coef) else coef
        model_theta = as_theta((coef, np.ravel(intercept)[:1] if np.size(intercept) else 0.0), n_features, name)
    else:
        model_theta = as_theta(model, n_features, name)
    own = getattr(model, "classes_", None)
    if classes is not None and own is not None and not np.array_equal(np.asarray(own), np.asarray(classes)):
        raise ValueError(
            f"{name} was trained with labels {np.asarray(own).tolist()}, the victim with "
            f"{np.asarray(classes).tolist()}: they must be the same, and in the same order (the second is positive)"
        )
    own = getattr(model, "feature_names_in_", None)
    if feature_names is not None and own is not None and not np.array_equal(own, feature_names):
        odd = [f"{b!r} where the victim has {a!r}" for a, b in zip(feature_names, own, strict=False) if a != b]
        raise ValueError(f"{name} was trained on other columns than the victim: {odd[0]}")
    return model_theta
