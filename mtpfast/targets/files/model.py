"""A linear model as a file holds it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["FLOAT32", "ModelFile", "model_of", "oriented"]


#: The largest relative error of a number that was rounded to float32.
FLOAT32 = 2.0**-24


@dataclass(frozen=True)
class ModelFile:
    """A binary linear model that :func:`mtpfast.read_model` found in a file. It can be attacked like any target.

    The larger class is chosen where ``coef_ . x + intercept_ > threshold``.

    Attributes
    ----------
    coef_, intercept_ : ndarray of shape (1, n_features) and (1,)
        Their sign is that of ``classes_[1]``, whatever the file's is.
    classes_ : ndarray of shape (2,)
        The labels that stand for -1 and +1, in order.
    written_as : str
        The file's format, and what of it holds the model.
    rounding : ndarray of shape (n_features + 1,)
        How far each number of (coef, intercept) may be from the trainer's own, because of how the file keeps it: half a
        unit in the last place of float32, and 0 where every digit is kept.
    threshold : float
        The decision value at which the class changes; 0 but where the file says otherwise. It is no part of the
        training, so an attack aims at the model without it.
    tol : float or None
        The tolerance that the model was trained to, where the file says so.
    feature_names_in_ : ndarray of str or None
        The columns, where the file names them.

    Notes
    -----
    A row on the margin of the trained model is off that of the file's by as much as
    ``rounding[:-1] . |x| + rounding[-1]``. Attacks take twice the largest of these over the data and the feasible set
    as ``margin_tol``, where that is more than 1e-6; ``result.goal.margin_tol`` says what was taken.
    """

    coef_: np.ndarray
    intercept_: np.ndarray
    classes_: np.ndarray
    written_as: str
    rounding: np.ndarray = field(repr=False)
    threshold: float = 0.0
    tol: float | None = None
    feature_names_in_: np.ndarray | None = field(default=None, repr=False)

    def decision_function(self, X):
        """``w . x + b``: ndarray of shape (n_samples,)."""
        return X @ self.coef_[0] + self.intercept_[0]

    def predict(self, X):
        """The labels that the file's own reader gives: ndarray of shape (n_samples,)."""
        return self.classes_[(self.decision_function(X) > self.threshold).astype(np.intp)]


def model_of(coef, intercept, classes, written_as, rounding=None, **more) -> ModelFile:
    """A :class:`ModelFile`, checked: ``classes`` in order, and coef and intercept of the second."""
    coef, intercept = np.ravel(np.asarray(coef, dtype=float)), float(intercept)
    theta = np.append(coef, intercept)
    if len(coef) == 0:
        raise ValueError("a model without features")
    if not np.all(np.isfinite(theta)):
        raise ValueError("a model with NaN or infinite coefficients")
    rounding = np.zeros(len(theta)) if rounding is None else np.asarray(rounding, dtype=float)
    return ModelFile(coef[None], np.array([intercept]), np.asarray(classes), written_as, rounding, **more)


def oriented(theta, positive, negative):
    """``(theta, classes)`` with the classes in order; ``theta`` is given for the label ``positive``."""
    classes = np.unique(np.array([negative, positive]))
    if len(classes) != 2:
        raise ValueError(f"two labels that are the same, {positive!r} and {negative!r}")
    return (theta if classes[1] == positive else -theta), classes
