"""Linear models as targets: any fitted estimator, or a pair (coef, intercept)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import as_theta

from .files.model import ModelFile
from .fitted import fitted_model

__all__ = ["binary_linear_model", "is_trained", "rescaled"]


def binary_linear_model(model, n_features: int, classes=None, feature_names=None, name: str = "target") -> np.ndarray:
    """``theta`` of a target, after checking that it is one binary linear model of these data.

    Parameters
    ----------
    model : TargetModel, ModelFile, fitted linear classifier, or (coef, intercept)
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
    if hasattr(model, "intercept_") or not isinstance(model, BaseEstimator):
        found = fitted_model(model)
        model = model if found is None else found
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


def is_trained(model) -> bool:
    """Whether a target is what a trainer or a file holds, and not a pair or a target that was made here."""
    from sklearn.base import BaseEstimator

    return isinstance(model, (BaseEstimator, ModelFile)) or fitted_model(model) is not None


def rescaled(model, scale, classes=None, feature_names=None) -> ModelFile:
    """A trained model of x as a model of ``z = x / scale``: ``w . x = (scale w) . z``; margins are the same."""
    theta = binary_linear_model(model, len(scale), classes, feature_names)
    found = model if isinstance(model, ModelFile) else fitted_model(model)
    rounding = np.zeros(len(theta)) if found is None else found.rounding
    return ModelFile(
        coef_=scale * theta[None, :-1],
        intercept_=theta[-1:],
        classes_=np.asarray(classes),
        written_as=type(model).__name__,
        rounding=np.append(scale, 1.0) * rounding,
        tol=None if hasattr(model, "preprocessing_") else getattr(model, "tol", None),  # an attacker's is another
    )
