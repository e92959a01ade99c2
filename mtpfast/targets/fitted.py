"""Fitted models of other packages as targets: recognised by name, none is imported."""

from __future__ import annotations

import json

import numpy as np

from .files.boosted import read_gblinear
from .files.model import ModelFile, model_of, oriented
from .trainers import recognised

__all__ = ["fitted_model"]


def fitted_model(model) -> ModelFile | None:
    """The model in a fitted object whose ``coef_`` and ``intercept_`` are missing, or say something else.

    None for every other object. snapml's intercept_ lacks its scaling, XGBoost's its base_score; statsmodels has the
    constant column among the others; LIBLINEAR's weights are of the label that it names first.
    """
    name = recognised(model) or f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}"
    reader = READERS.get(name)
    return None if reader is None else reader(model)


def _snapml(model):
    scaling = model.intercept_scaling if model.fit_intercept else 0.0
    intercept = float(np.ravel(model.intercept_)[0]) * scaling if model.fit_intercept else 0.0
    return model_of(model.coef_, intercept, model.classes_, "snapml")


def _glum(model):
    return model_of(model.coef_, model.intercept_, np.array([0, 1]), "glum")


def _statsmodels(model):
    params, at = np.asarray(model.params, dtype=float), model.model.data.const_idx
    if at is None:
        return model_of(params, 0.0, np.array([0, 1]), "statsmodels")
    return model_of(np.delete(params, at), params[at], np.array([0, 1]), "statsmodels")


def _liblinear(model):
    labels = [model.label[i] for i in range(model.nr_class)]
    if len(labels) != 2:
        raise ValueError(f"target is a model of LIBLINEAR with {len(labels)} classes, expected 2")
    weights, intercept = model.get_decfun(0)
    theta, classes = oriented(np.append(weights, intercept), *labels)
    return model_of(theta[:-1], theta[-1], classes, "LIBLINEAR")


def _spark(model):
    return model_of(model.coefficients.toArray(), model.intercept, np.array([0.0, 1.0]), "Spark ML")


def _xgboost(model):
    return read_gblinear(json.loads(bytes(model.get_booster().save_raw("json"))))


READERS = {
    "snapml.SupportVectorMachine": _snapml,
    "snapml.LogisticRegression": _snapml,
    "glum.GeneralizedLinearRegressor": _glum,
    "glum.GeneralizedLinearRegressorCV": _glum,
    "statsmodels.RegularizedResults": _statsmodels,
    "statsmodels.RegularizedResultsWrapper": _statsmodels,
    "liblinear.model": _liblinear,
    "pyspark.LinearSVCModel": _spark,
    "pyspark.LogisticRegressionModel": _spark,
    "xgboost.XGBClassifier": _xgboost,
}
