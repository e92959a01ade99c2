"""What a real trainer, at its own settings, does with the poisoned data."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.labels import Classes
from mtpfast.preprocessing.penalty import penalty_of

from .report import TrainedVictim
from .retrain import Training, descend, reference_fit
from .written import written_as

__all__ = ["train_again"]


SEEDS = (0, 1, 2, 3, 4)


def train_again(audit, estimator, pipeline, y) -> TrainedVictim:
    """Train ``estimator`` on the rows that the victim sees, or ``pipeline`` on the poisoned table, once per seed."""
    if estimator is not None and pipeline is not None:
        raise ValueError("estimator and pipeline: give one of them, the pipeline ends with an estimator of its own")
    if pipeline is not None and audit.codec is None:
        raise ValueError("pipeline: the attack was not on raw records; give its last step as estimator=...")
    given = estimator if pipeline is None else pipeline
    if isinstance(given, type) or not hasattr(given, "fit"):
        raise TypeError(f"{'pipeline' if estimator is None else 'estimator'} must have a fit, got {given!r}")
    theta, runs, warned = audit.result.theta, [], 0
    seeds = SEEDS if _seed_name(given) else (None,)
    for seed in seeds:
        model = _seeded(given, seed)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            runs.append(_on_rows(audit, model) if pipeline is None else _on_table(audit, model, y))
        warned += any("onverge" in f"{each.category.__name__} {each.message}" for each in told)
    target = audit.result.theta_target
    clean = _clean_model(audit)
    least = min(audit.proof.least, audit.value)
    return TrainedVictim(
        name=_name(given),
        seeds=seeds,
        distance=np.array([float(np.linalg.norm(model - target)) for model, _ in runs]),
        loss_difference=np.array([audit.largest(model).attained for model, _ in runs]),
        accuracy=np.array([accuracy for _, accuracy in runs]),
        excess=None
        if pipeline is not None
        else np.array([max(0.0, audit.training.value(model) - least) / abs(least) for model, _ in runs]),
        distance_exact=float(np.linalg.norm(theta - target)),
        loss_difference_exact=audit.maximum.attained,
        accuracy_exact=_accuracy(audit.X @ theta[:-1] + theta[-1], audit.signs),
        distance_clean=float(np.linalg.norm(clean - target)),
        warned=warned,
    )


def _on_rows(audit, model):
    """``(theta, accuracy)`` of a model that is trained on clean rows and points, as the victim sees them.

    A penalty that is not a plain one is the trainer's own affair: its rows are those before a PenaltyScaler.
    """
    X, signs, weight = audit.rows
    scaler = penalty_of(audit.preprocessing)[1]
    scale = np.ones(X.shape[1]) if scaler is None else scaler.scale_
    X = X if scaler is None else X @ sp.diags_array(scale)
    model.fit(X, Classes(audit.result.classes).labels(signs), **({} if weight is None else {"sample_weight": weight}))
    theta = _read(model, X) * np.append(scale, 1.0)
    return theta, _accuracy(audit.X @ theta[:-1] + theta[-1], audit.signs)


def _read(model, X):
    """``(w, b)`` by ``coef_`` and ``intercept_``, b by what it predicts with: snapml's intercept_ lacks a factor."""
    if not hasattr(model, "coef_"):
        raise TypeError(f"estimator is a {type(model).__name__} without coef_: what it learns cannot be read")
    coef = model.coef_.toarray() if sp.issparse(model.coef_) else np.asarray(model.coef_)
    intercept = np.ravel(getattr(model, "intercept_", 0.0))
    theta = np.append(np.ravel(coef).astype(float), float(intercept[0]) if intercept.size else 0.0)
    scores = _scores(model, X)
    known = np.isfinite(scores)
    if np.any(known):
        apart = (scores - X @ theta[:-1] - theta[-1])[known]
        near = 1e-4 * max(1.0, float(np.max(np.abs(scores[known]))))
        constant = float(np.median(apart))
        scaled = theta[-1] * getattr(model, "intercept_scaling", 1.0) - theta[-1]
        told = abs(constant - scaled) <= near or not hasattr(model, "decision_function")  # probabilities tell the rest
        if abs(constant) > near and told:
            theta[-1] += constant
            apart = apart - constant
        most = float(np.max(np.abs(apart)))
        if most > near:
            raise ValueError(
                f"estimator is a {type(model).__name__} whose decision values are up to {most:.2g} off "
                f"X @ coef_ + intercept_: it is no linear model of the rows, or keeps a part elsewhere"
            )
    return theta


def _scores(model, X):
    """Decision values, or the log odds of probabilities that are not too near to 0 or 1 to tell; NaN for others."""
    if hasattr(model, "decision_function"):
        return np.ravel(model.decision_function(X))
    scores = np.full(X.shape[0], np.nan)
    if hasattr(model, "predict_proba"):
        p = np.asarray(model.predict_proba(X), dtype=float)[:, -1]
        clear = (p > 0.01) & (p < 0.99)
        scores[clear] = np.log(p[clear] / (1.0 - p[clear]))
    return scores


def _on_table(audit, model, y):
    """``(theta, accuracy)`` of a pipeline that is trained on the poisoned table, written in the attack's features."""
    table, labels, _ = audit.result.poisoned(audit.table, y)
    model.fit(table, labels)
    theta = written_as(audit, _decision_of(model))
    right = Classes(audit.result.classes).signs(np.asarray(model.predict(audit.table)), "predictions") == audit.signs
    return theta, float(np.mean(right))


def _decision_of(model):
    """The decision values of a pipeline; of a calibrated one the mean of those inside, which calibration bends."""
    if hasattr(model, "decision_function"):
        return lambda records: np.ravel(model.decision_function(records))
    inner = [fold.estimator for fold in getattr(model, "calibrated_classifiers_", ())]
    if not inner or not all(hasattr(one, "decision_function") for one in inner):
        name = type(model).__name__
        raise TypeError(f"pipeline is a {name} without decision_function: what it learns cannot be read")
    return lambda records: np.mean([np.ravel(one.decision_function(records)) for one in inner], axis=0)


def _clean_model(audit):
    """The exact victim of the clean rows alone."""
    training = Training.of(audit.objective, audit.X, audit.signs, audit.weight)
    return descend(training, reference_fit(training)[0])


def _accuracy(scores, signs):
    return float(np.mean((scores > 0) == (signs > 0)))


def _seed_name(estimator):
    """The name of the seed's parameter, that of the last step in a pipeline; None without one."""
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    last = f"{estimator.steps[-1][0]}__random_state" if hasattr(estimator, "steps") else "random_state"
    return last if last in params else None


def _seeded(estimator, seed):
    from sklearn.base import clone

    model = clone(estimator) if hasattr(estimator, "get_params") else copy.deepcopy(estimator)
    return model if seed is None else model.set_params(**{_seed_name(estimator): seed})


def _name(estimator):
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    text = " ".join(repr(last).split())
    return text if len(text) <= 100 else type(last).__name__
