"""XGBoost's linear booster, in its JSON."""

from __future__ import annotations

import math

import numpy as np

from .model import FLOAT32, model_of

__all__ = ["read_gblinear"]

# What base_score is: a probability, or with "binary:logitraw" a margin.
OBJECTIVES = {"binary:logistic": "probability", "reg:logistic": "probability", "binary:logitraw": "margin"}


def read_gblinear(tree):
    """The model of the JSON that ``Booster.save_model("model.json")`` writes: ``w . x + bias + logit(base_score)``.

    With the objective "binary:logitraw" base_score is added as it is.
    """
    learner = tree["learner"]
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    if booster["name"] != "gblinear":
        raise ValueError(f"booster {booster['name']!r}, expected 'gblinear': trees are no linear model")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r}, expected one of {', '.join(OBJECTIVES)}")
    param = learner["learner_model_param"]
    d = int(param["num_feature"])
    weights = np.array(booster["model"]["weights"], dtype=np.float32)  # its JSON has nine digits of them
    if weights.shape != (d + 1,):
        raise ValueError(f"{weights.size} weights, expected {d + 1}: one per feature and a bias (one margin per row)")
    # A number, or since version 3.1 a list of one, both in a string.
    base = np.float64(np.float32(param["base_score"].strip().strip("[]")))
    if OBJECTIVES[objective] == "margin":
        start, error = float(base), abs(float(base))
    elif 0.0 < base < 1.0:
        start = math.log(base) - math.log1p(-base)
        error = abs(start) + 1.0 / (1.0 - float(base))  # of a logarithm in float32, and of the probability
    else:
        raise ValueError(f"base_score {base:g}, expected a probability between 0 and 1")
    names = learner.get("feature_names") or None
    theta = np.append(weights[:-1].astype(float), float(weights[-1]) + start)
    rounding = FLOAT32 * np.append(np.abs(theta[:-1]), abs(float(weights[-1])) + error)
    return model_of(
        theta[:-1],
        theta[-1],
        np.array([0, 1]),
        f"XGBoost gblinear {objective}, float32",
        rounding,
        feature_names_in_=None if names is None else np.array(names, dtype=object),
    )
