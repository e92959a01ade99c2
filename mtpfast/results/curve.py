"""How metrics change with the number of points."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin

from mtpfast.arrays.checks import check_X
from mtpfast.preprocessing.steps import to_matrix

from .models import entries_of, kept_entry

__all__ = ["LinearModel", "curve"]


class LinearModel(ClassifierMixin, BaseEstimator):
    """A trained linear model as a scikit-learn classifier: what scorers ask of one."""

    def __init__(self, coef, intercept, classes, preprocessing=None):
        self.coef, self.intercept, self.classes, self.preprocessing = coef, intercept, classes, preprocessing
        self.coef_, self.intercept_, self.classes_ = np.atleast_2d(coef), np.atleast_1d(intercept), np.asarray(classes)

    def fit(self, X, y):
        """The model is there already."""
        return self

    def decision_function(self, X):
        """``w . x + b``"""
        X = X if self.preprocessing is None else to_matrix(self.preprocessing.transform(X))
        return check_X(X, n_features=self.coef_.shape[1]) @ self.coef_[0] + self.intercept_[0]

    def predict(self, X):
        """The larger label where the score is above 0."""
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def curve(result, budgets=None, scorers=None, X=None, y=None, groups=None):
    """See :meth:`mtpfast.PoisoningResult.curve`."""
    import pandas as pd
    from sklearn.metrics import get_scorer

    if (X is None) != (y is None):
        raise ValueError("X and y must be given together")
    sizes = np.asarray(result.history.get("n_points", ()))
    entries = entries_of(result)
    if entries is None:
        sizes = np.array([result.n_points])
    last = np.append(sizes[1:] != sizes[:-1], True)  # of models of one size the last counts
    which = np.flatnonzero(last)
    if X is not None and budgets is None and entries is not None:
        which = which[np.isin(which, entries)]
    if budgets is not None:
        budgets = np.sort(np.atleast_1d(np.asarray(budgets)))
        if not np.array_equal(budgets, np.floor(budgets)):
            raise ValueError(f"budgets must be whole numbers of points, got {budgets.tolist()}")
        if np.any(budgets < sizes[which[0]]):
            raise ValueError(f"budgets must be at least {sizes[which[0]]}, the first model's points, got {budgets[0]}")
        which = which[np.searchsorted(sizes[which], budgets, side="right") - 1]
    columns = {"n_points": sizes[which] if budgets is None else budgets}
    for name, values in result.history.items():
        if name != "n_points" and len(np.atleast_1d(values)) == len(sizes):
            columns[name] = np.atleast_1d(values)[which]
    if X is not None:
        models = result.theta[None]
        if entries is not None:
            models = [result.path[kept_entry(entries, entry, sizes, "budgets")] for entry in which]
        named = _scorers("accuracy" if scorers is None else scorers)
        rows = {"": slice(None)} | {f" of {name}": np.asarray(mask) for name, mask in (groups or {}).items()}
        for suffix, mask in rows.items():
            part, labels = _take(X, mask), np.asarray(y)[mask]
            for name, scorer in named.items():
                scorer = get_scorer(scorer) if isinstance(scorer, str) else scorer
                columns[name + suffix] = [
                    float(scorer(LinearModel(t[:-1], t[-1], result.classes, result.preprocessing), part, labels))
                    for t in models
                ]
    elif scorers is not None or groups is not None:
        raise ValueError("scorers and groups need the rows to score: pass X and y")
    return pd.DataFrame(columns).set_index("n_points")


def _scorers(scorers):
    """By their names: of a string, a callable, several of these, or a mapping."""
    if isinstance(scorers, dict):
        return scorers
    scorers = scorers if isinstance(scorers, (list, tuple)) else [scorers]
    return {one if isinstance(one, str) else getattr(one, "__name__", str(one)): one for one in scorers}


def _take(X, mask):
    if isinstance(mask, slice):
        return X
    rows = np.flatnonzero(mask) if np.asarray(mask).dtype == bool else np.asarray(mask)
    return X.iloc[rows] if hasattr(X, "iloc") else (X if sp.issparse(X) else np.asarray(X))[rows]
