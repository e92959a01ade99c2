"""Sanitisers that train a classifier and distrust the rows that it gets wrong."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from mtpfast.arrays.checks import check_count
from mtpfast.arrays.labels import Classes
from mtpfast.arrays.rows import row_groups
from mtpfast.losses.objective import Objective, make_objective
from mtpfast.training.victim import refit

from .base import Defence, check_share, read_rows, select

__all__ = ["IteratedLoss", "LabelQuality", "Loss"]

DIGITS = 6  # decimals of a margin that a training settles


def _train(victim, X, y, theta0=None):
    """A function of (X, y) to how wrong the trained model has every row, and theta if it is the package's own."""
    victim = make_objective() if victim is None else victim
    if not isinstance(victim, Objective):
        model = clone(victim).fit(X, y)
        return lambda X, y: _wrongness(model, X, y), None
    classes = Classes.of(y, X.shape[0])
    theta = refit(X, classes.signs(y), victim, theta0=theta0).theta
    # To the accuracy of a training: support vectors, whose margins are 1 but for rounding, tie.
    return lambda X, y: -np.round(victim.margins(theta, X, classes.signs(y)), DIGITS), theta


def _wrongness(model, X, y, outputs=None):
    """Falls with the margin of the given label: ``-y f(x)`` of two classes, ``1 - p_y`` of others."""
    classes = model.classes_
    column = np.searchsorted(classes, y)
    if len(classes) == 2 and hasattr(model, "decision_function"):
        return np.where(column == 1, -1.0, 1.0) * model.decision_function(X)
    if not hasattr(model, "predict_proba"):
        raise TypeError(f"victim must have decision_function or predict_proba, {type(model).__name__} has neither")
    return 1.0 - model.predict_proba(X)[np.arange(len(y)), column]


class Loss(Defence):
    r"""Large loss under a model trained on the table itself.

    .. math:: \text{score}(x, y) = -y f(x), \qquad f \text{ trained on } (X, y)

    A margin loss falls with the margin, so that the margin ranks rows as the loss does, and tells rows of loss 0 apart.

    Parameters
    ----------
    victim : Objective or classifier, optional
        What is trained: :func:`mtpfast.losses.objective.make_objective` makes an Objective; of a classifier of
        scikit-learn, a copy. By default a linear SVM with C = 1.

    References
    ----------
    Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses", section 3.

    Examples
    --------
    >>> from mtpfast.defences import Loss
    >>> X = [[0.0], [0.1], [0.2], [1.1], [1.0], [0.9], [0.8], [0.0]]
    >>> Loss().keep(X, [0, 0, 0, 0, 1, 1, 1, 1], share=0.25)
    array([ True,  True,  True, False,  True,  True,  True, False])
    """

    def __init__(self, victim=None):
        self.victim = victim

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, y, _ = read_rows(X, y)
        self._wrong, _ = _train(self.victim, X, y)
        return self

    def scores(self, X, y):
        """``-y f(x)``; see :meth:`Defence.scores`."""
        X, y, _ = read_rows(X, y)
        return self._wrong(X, y)


class IteratedLoss(Loss):
    """Large loss under a model trained on the rows with the least loss: TRIM.

    From the model of all rows on: the rows of least loss are kept, the model is trained on them, and so on until they
    are the same rows.

    Parameters
    ----------
    victim : Objective or classifier, optional
        As in :class:`Loss`.
    share : float, default=0.05
        The share that is left out where :meth:`fit` is called; :meth:`keep` takes its own.
    max_iter : int, default=20
        Trainings.

    References
    ----------
    Jagielski, Oprea, Biggio, Liu, Nita-Rotaru, Li, "Manipulating machine learning: poisoning attacks and
    countermeasures for regression learning", IEEE S&P 2018, algorithm 2 (there from random rows), for a margin loss.

    Examples
    --------
    >>> from mtpfast.defences import IteratedLoss
    >>> X = [[0.0], [0.1], [0.2], [1.1], [1.0], [0.9], [0.8], [0.0]]
    >>> IteratedLoss().keep(X, [0, 0, 0, 0, 1, 1, 1, 1], share=0.25)
    array([ True,  True,  True, False,  True,  True,  True, False])
    """

    per_share = True

    def __init__(self, victim=None, share=0.05, max_iter=20):
        super().__init__(victim)
        self.share = share
        self.max_iter = max_iter

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, y, _ = read_rows(X, y)
        share = check_share(self.share)
        self._wrong, theta = _train(self.victim, X, y)
        kept = np.ones(len(y), dtype=bool)
        for _ in range(check_count(self.max_iter, "max_iter") - 1):
            before, kept = kept, select(self._wrong(X, y), share)
            if np.array_equal(kept, before) or len(np.unique(y[kept])) < len(np.unique(y)):
                break
            self._wrong, theta = _train(self.victim, X[kept], y[kept], theta)
        return self

    def keep(self, X, y, share=None):
        """See :meth:`Defence.keep`."""
        if check_share(share) is None:
            return self.verdict(X, y)
        fitted = clone(self).set_params(share=share).fit(X, y)
        return select(fitted.scores(X, y), share)


class LabelQuality(Defence):
    r"""A label that a model trained on other rows finds unlikely.

    .. math:: \text{score}(x_i, y_i) = -y_i f_{-i}(x_i), \qquad f_{-i} \text{ trained without the fold of row } i

    The folds are shuffled, and equal rows (whatever their labels) lie in one fold: otherwise copies vouch for one
    another, or rows inserted at the end make up a fold of their own.

    Parameters
    ----------
    estimator : classifier, optional
        Trained on each part; LogisticRegression by default.
    n_splits : int, default=5
        Folds.
    random_state : int, numpy Generator or RandomState, default=0
        Of the folds.

    References
    ----------
    Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 2021, section 3,
    for out-of-fold probabilities of the given label ("self-confidence").

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.defences import LabelQuality
    >>> X, y = np.arange(40.0)[:, None] / 40.0, np.repeat([0, 1], 20)
    >>> y[3] = 1
    >>> np.flatnonzero(~LabelQuality().keep(X, y, share=1 / 40))
    array([3])
    """

    def __init__(self, estimator=None, n_splits=5, random_state=0):
        self.estimator = estimator
        self.n_splits = n_splits
        self.random_state = random_state

    def folds(self, X) -> np.ndarray:
        """The fold of every row, from 0: the largest groups of equal rows first, each into the fold with the fewest."""
        rng = self.random_state
        if not isinstance(rng, np.random.RandomState):
            rng = np.random.default_rng(rng)
        n_splits = check_count(self.n_splits, "n_splits", 2)
        group = row_groups(X)
        sizes = np.bincount(group)
        if len(sizes) < n_splits:
            raise ValueError(f"X must hold {n_splits} distinct rows at least, one per fold, got {len(sizes)}")
        shuffled = rng.permutation(len(sizes))
        fold_of, held = np.empty(len(sizes), dtype=np.intp), np.zeros(n_splits, dtype=np.intp)
        for g in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
            fold_of[g] = np.argmin(held)
            held[fold_of[g]] += sizes[g]
        return fold_of[group]

    def fit(self, X, y):
        """See :meth:`Defence.fit`: there is nothing to learn before the rows are scored."""
        read_rows(X, y)
        return self

    def scores(self, X, y):
        """``-y f(x)``, or ``1 - p_y`` of a model without decision_function, out of fold."""
        X, y, _ = read_rows(X, y)
        model = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        folds = self.folds(X)
        classes = np.unique(y)
        for fold in np.unique(folds):
            if len(np.unique(y[folds != fold])) < len(classes):
                raise ValueError(f"y has a label that only occurs in fold {fold}: fewer n_splits, or more rows")
        margin = len(classes) == 2 and hasattr(model, "decision_function")
        method = "decision_function" if margin else "predict_proba"
        if not hasattr(model, method):
            raise TypeError(f"estimator must have {method}, {type(model).__name__} has not")
        told = cross_val_predict(model, X, y, cv=PredefinedSplit(folds), method=method)
        column = np.searchsorted(classes, y)
        return np.where(column == 1, -told, told) if margin else 1.0 - told[np.arange(len(y)), column]
