"""A clean table, the poison among its rows, and the victim that is trained on what is left."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from mtpfast.arrays.appended import append, append_labels
from mtpfast.arrays.checks import as_theta, check_X
from mtpfast.arrays.frames import is_frame, reordered
from mtpfast.arrays.labels import Classes
from mtpfast.losses.objective import Objective
from mtpfast.preprocessing.codecs import codec_of
from mtpfast.preprocessing.steps import to_matrix
from mtpfast.spaces.base import as_space
from mtpfast.spaces.features import FeatureSpace
from mtpfast.training.victim import refit

__all__ = ["PoisonedTable", "places_of"]


class Mixed(NamedTuple):
    """A table: raw rows, labels, what the preprocessing, fitted to them, makes of the rows, and which are poison."""

    X: Any
    y: Any
    Z: Any
    poison: np.ndarray


class PoisonedTable:
    """What :func:`mtpfast.defences.evaluate` is asked, checked once.

    Parameters
    ----------
    attack, X, y, X_test, y_test, estimator, target, valid
        As there.

    Attributes
    ----------
    clean : Mixed
        The table without poison.
    victim : Objective or classifier
        What is trained on encoded rows, for the sanitisers that train something.
    valid : space or None
        Which records may exist, as the clean table's preprocessing encodes them (see :meth:`seen_by`).
    """

    def __init__(self, attack, X, y, X_test=None, y_test=None, estimator=None, target=None, valid=None):
        self.attack = attack
        self._X, self._y = X, y
        labels = np.asarray(y)
        self.n_clean = len(labels)
        is_result = hasattr(attack, "poisoned") and hasattr(attack, "objective")
        objective = attack.objective if is_result else None
        if isinstance(estimator, Objective):
            estimator, objective = None, estimator
        if estimator is None and objective is None:
            raise ValueError("estimator must be given where attack is no PoisoningResult: it is what is retrained")
        if estimator is not None and not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
            raise TypeError(
                f"estimator must be a classifier, a Pipeline or an Objective, got {type(estimator).__name__}"
            )
        self.estimator, self.objective = estimator, objective
        self._frozen = attack.preprocessing if is_result else None
        if attack is None or is_result:
            self.n_poison = 0 if attack is None else attack.n_points
        else:
            self.n_poison = self._read_pair(attack)
        known = attack.classes if is_result else np.unique(labels)
        self.classes = Classes(known).values if is_result else Classes.of(labels, self.n_clean).values
        Classes(self.classes).signs(labels, "y")
        if (X_test is None) != (y_test is None):
            raise ValueError("X_test and y_test must be given together")
        self._X_test = X if X_test is None else X_test
        self.y_test = labels if y_test is None else np.asarray(y_test)
        self._first = self._fitted_first(X, y)
        self._Z_test = self._encode(self._X_test) if estimator is None else None
        self.clean = Mixed(X, y, self._encode(X), np.zeros(self.n_clean, dtype=bool))
        self.victim = objective if estimator is None else _last_step(estimator)
        self.valid = self._valid_records(valid)
        self._clean_theta = self.theta(self.train(self.clean, ~self.clean.poison))
        self._target = as_theta(target) if target is not None else attack.theta_target if is_result else None

    def mixed(self, seed) -> Mixed:
        """The table with the poison in random places; clean rows keep their order."""
        places = places_of(seed)
        if hasattr(self.attack, "poisoned"):
            X, y, poison = self.attack.poisoned(self._X, self._y, shuffle=True, random_state=places)
        else:
            X_poison, y_poison = self.attack
            n, m = self.n_clean, self.n_poison
            order = places.permutation(n + m)
            order[order < n] = np.arange(n)
            X = reordered(append(self._X, X_poison if is_frame(X_poison) else np.asarray(X_poison)), order)
            y, poison = reordered(append_labels(self._y, np.asarray(y_poison)), order), order >= n
        return Mixed(X, y, self._encode(X, self._fitted_first(X, y)), poison)

    def seen_by(self, defence, mixed: Mixed):
        """The rows as a defence is to judge them.

        Rules are in the terms of the clean table's preprocessing: a scaler that is fitted again moves every row, and a
        rule for ages, encoded, would hold for none of them. All else sees the preprocessing fitted to these rows.
        """
        return self._encode(mixed.X) if getattr(defence, "by_rules", False) else mixed.Z

    # -- the victim ---------------------------------------------------------------------------

    def train(self, mixed, kept):
        """The victim, trained on the rows that are kept: theta, or a fitted copy of the estimator."""
        if self.estimator is None:
            return refit(mixed.Z[kept], self._signs(mixed.y)[kept], self.objective).theta
        rows = np.flatnonzero(kept)
        return clone(self.estimator).fit(reordered(mixed.X, rows), reordered(mixed.y, rows))

    def predict(self, model):
        """The labels that a trained model gives the test rows."""
        if self.estimator is None:
            return Classes(self.classes).labels(self._Z_test @ model[:-1] + model[-1])
        return np.asarray(model.predict(self._X_test))

    def theta(self, model):
        """``(w, b)`` of a trained model; None where it is not linear."""
        if self.estimator is None:
            return model
        last = _last_step(model)
        coef = getattr(last, "coef_", None)
        if coef is None or np.ndim(coef) != 2 or np.shape(coef)[0] != 1:
            return None
        return np.append(np.ravel(coef), np.ravel(last.intercept_))

    def distances(self, model):
        """To the clean model and to the target; NaN where there is none to compare."""
        theta = self.theta(model)
        return tuple(
            math.nan if theta is None or other is None or len(other) != len(theta)
            else float(np.linalg.norm(theta - other))
            for other in (self._clean_theta, self._target)
        )  # fmt: skip

    # -- rows ---------------------------------------------------------------------------------

    def _signs(self, y):
        return Classes(self.classes).signs(np.asarray(y))

    def _fitted_first(self, X, y):
        """The preprocessing: that of the result as it is, or the estimator's, fitted to these rows; None for none."""
        if self.estimator is None:
            return self._frozen
        if len(getattr(self.estimator, "steps", ())) < 2:
            return None
        return clone(self.estimator[:-1]).fit(X, y)

    def _encode(self, X, first=None):
        """What a preprocessing, by default the clean table's, makes of raw rows."""
        first = self._first if first is None else first
        return check_X(X if first is None else to_matrix(first.transform(X)))

    def _valid_records(self, valid):
        """What records can be, in encoded terms: of a preprocessing that is known, else what the clean table shows."""
        if valid is not None:
            return as_space(valid)
        if self._frozen is not None and self.estimator is None:
            return codec_of(self._frozen, self._X).space
        return FeatureSpace.from_data(self.clean.Z)

    def _read_pair(self, attack):
        """The number of rows of (X_poison, y_poison)."""
        if not isinstance(attack, tuple) or len(attack) != 2:
            raise TypeError(
                f"attack must be a PoisoningResult, a pair (X_poison, y_poison) or None, got {type(attack).__name__}"
            )
        X_poison, y_poison = attack
        n = len(np.asarray(y_poison))
        rows = X_poison.shape[0] if hasattr(X_poison, "shape") else len(X_poison)
        if rows != n:
            raise ValueError(f"attack has {rows} rows X_poison and {n} labels y_poison")
        return n


def places_of(seed) -> np.random.Generator:
    """What deals out the places of the poison: other numbers than a sanitiser draws that is given the same seed."""
    return np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])


def _last_step(estimator):
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator
