"""Target models: what the attacker wants the victim to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mtpfast.arrays.checks import check_count, check_flag, check_number, check_sample_weight, check_X
from mtpfast.arrays.frames import column_names, is_frame
from mtpfast.arrays.labels import Classes
from mtpfast.losses.margin import class_weights
from mtpfast.losses.objective import Objective, make_objective
from mtpfast.preprocessing.steps import to_matrix
from mtpfast.training.victim import refit

from .tapes import Candidates, Tapes, TargetCandidate, below, predict
from .told import Told

__all__ = [
    "QUANTILES",
    "QUANTILES_SUBPOPULATION",
    "REPEATS",
    "REPEATS_SUBPOPULATION",
    "TargetCandidate",
    "TargetModel",
    "make_target",
]


# The tapes of the paper's experiments: indiscriminate attacks, and attacks on a subpopulation.
QUANTILES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60)

REPEATS = (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 50, 60)
QUANTILES_SUBPOPULATION = (0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.80, 1.00)
REPEATS_SUBPOPULATION = (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 80, 100)


@dataclass(frozen=True)
class TargetModel:
    """The target that :func:`make_target` chose.

    Attributes
    ----------
    coef_, intercept_ : ndarray of shape (1, n_features) and (1,)
    error : float
        Share of the evaluation rows that it gets wrong.
    n_flips : int
        Label flips behind it, repeats included: an attack of that size, found without any search. With
        ``method="damage"`` the points that the search found.
    quantile, repeats, clean_objective
        As in :class:`mtpfast.targets.TargetCandidate`.
    goal : float
        The error that was asked for.
    classes_ : ndarray of shape (2,)
        The labels that stand for -1 and +1.
    candidates : sequence of TargetCandidate
        The models of all pairs, in the order of the tapes. Those that could not be the target are trained when the
        first is read.
    objective : Objective or None
        What its victim minimised: an attack on another victim refuses it.
    comparison : dict of str to number, or None
        What :meth:`ModelTargetedPoisoner.make_target` measured with ``compare=True``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mtpfast import make_target
    >>> X, y = load_iris(return_X_y=True)
    >>> target = make_target(X[:100], y[:100], quantiles=[0.2], repeats=[2, 8], goal=0.1)
    >>> target.n_flips, [candidate.n_flips for candidate in target.candidates]
    (160, [40, 160])
    """

    coef_: np.ndarray = field(repr=False, compare=False)
    intercept_: np.ndarray = field(repr=False, compare=False)
    error: float
    n_flips: int
    quantile: float
    repeats: int
    clean_objective: float
    goal: float
    classes_: np.ndarray = field(compare=False)
    candidates: Sequence[TargetCandidate] = field(repr=False, compare=False)
    objective: Objective | None = field(default=None, repr=False, compare=False)
    comparison: dict | None = field(default=None, compare=False)


def make_target(
    X,
    y,
    X_flip=None,
    y_flip=None,
    *,
    method: str = "label_flip",
    quantiles=None,
    repeats=None,
    goal: float = 0.10,
    mask=None,
    improved: bool = False,
    X_eval=None,
    y_eval=None,
    loss="hinge",
    alpha: float | None = None,
    C: float | None = None,
    fit_intercept: bool = True,
    penalize_intercept: bool = True,
    class_weight=None,
    count_rows: bool = False,
    sample_weight=None,
    tol: float = 1e-8,
    preprocessing=None,
    feasible_set=None,
    random_state=0,
    n_jobs: int | None = None,
    callback=None,
    verbose: int = 0,
) -> TargetModel:
    r"""A target model by label flipping, as in the paper's experiments.

    For every quantile q and every number of repeats r, the rows of ``X_flip`` whose margin under
    the clean model lies below the q-quantile are added to the clean data with their labels
    flipped, r times each, and the victim is retrained:

    .. math:: \theta_{q, r} = \arg\min_\theta \sum_i \varphi(y_i \theta \cdot \tilde x_i)
              + r \sum_{j : m_j < Q_q} \varphi(-y_j \theta \cdot \tilde x_j)
              + \frac{k}{2} \theta^\top R \theta

    Of the models with an error of at least ``goal``, the target is the one with the lowest
    regularised loss on the clean data: the one that the clean data resists least.

    Parameters
    ----------
    X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        The clean data, with two classes of any kind.
    X_flip, y_flip : of shape (n_flip, n_features) and (n_flip,), optional
        The rows whose flipped copies are added; by default X and y.
    method : {"label_flip", "damage"}
        "damage": the model of the fewest points found that have the error asked for
        (:meth:`DamagePoisoner.cheapest`); no row is flipped, and X_flip, y_flip are the rows that the error is measured
        on.
    quantiles : sequence of float in (0, 1], optional
    repeats : sequence of int, optional
        The tapes, of ``method="label_flip"``. By default those of the paper: ``QUANTILES`` and ``REPEATS``, or, with a
        mask, ``QUANTILES_SUBPOPULATION`` and ``REPEATS_SUBPOPULATION``.
    goal : float in [0, 1], default=0.10
        Least error of the target on the evaluation rows.
    mask : array-like of bool, shape (n_flip,), optional
        The subpopulation: only these rows of ``X_flip`` are flipped and evaluated.
    improved : bool, default=False
        Recompute the margins with the model trained last, instead of the clean model: the tapes
        then build on each other.
    X_eval, y_eval : of shape (n_eval, n_features) and (n_eval,), optional
        The rows on which the error is measured; by default the rows that may be flipped.
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows
        The victim, as in :class:`ModelTargetedPoisoner`: a flipped row weighs as much as its new label does.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the clean rows.
    tol : float, default=1e-8
        Accuracy of every training, see :func:`mtpfast.training.refit`.
    feasible_set : FeatureSpace or CandidatePool, optional
        Of ``method="damage"``: where its points may lie.
    random_state : int, numpy Generator or None, default=0
        Of ``method="damage"``.
    n_jobs : int, optional
        Of the tapes. None: one model after the other, each training started from the one before. A number: joblib's, a
        task for every quantile, started from the clean model; the backend is that of ``joblib.parallel_config`` (loky,
        threading, dask, ray), the models are the same for any backend and number, and those of None to ``tol``. Not
        with ``improved``, whose tapes build on each other.
    callback : callable, optional
        Told after every pair of the tapes (with ``n_jobs``, every quantile) a dict (``n_done``, ``n``, and of the
        models trained so far the last one's ``error`` and the largest, ``best``); returning True ends the search there.
        With ``method="damage"`` what :meth:`DamagePoisoner.cheapest` tells.
    verbose : int, default=0
        1: a line a second to the standard error.
    preprocessing : fitted transformer, optional
        What the victim does to raw records (an attacker's ``preprocessing_``): X, X_flip and X_eval
        are then tables of raw records, and the target is a model of the transformed rows.

    Returns
    -------
    TargetModel
        ``coef_``, ``intercept_``, ``error``, ``n_flips``, and all ``candidates``.

    Raises
    ------
    ValueError
        If no candidate has the error asked for, or an argument is out of range.
    KeyboardInterrupt
        Ctrl-C, where no model so far has the error asked for; otherwise the target is the best of those.

    Notes
    -----
    One training per pair of the tapes that may be the target, each started from the one before: the weights of one
    set of rows are changed in place. More repeats never lower the clean objective, so once a model of a quantile has
    the error asked for, or a larger objective than the best so far, those of more repeats are left out (not with
    ``improved`` or ``class_weight="balanced"``), and so is one whose training, not yet at its end, proves that its
    objective would be larger. They are trained when ``candidates`` is read, from the same arrays,
    which must not have been changed. Repeats are weights of one row, so memory does not grow with them. No input is
    changed. That a target exists says nothing of its cost; the number of points it needs is what
    :func:`minimum_poisoning` proves.

    References
    ----------
    Section 6 of Suya, Mahloujifar, Suri, Evans, Tian, "Model-Targeted Poisoning Attacks with
    Provable Convergence", ICML 2021; Koh, Steinhardt, Liang, "Stronger Data Poisoning Attacks
    Break Data Sanitization Defenses", arXiv:1811.00741.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mtpfast import make_target
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> target = make_target(X / 16, y, quantiles=[0.2, 0.4], repeats=[2, 5], goal=0.1, alpha=0.09)
    >>> target.error >= 0.1, len(target.candidates), target.coef_.shape
    (True, 4, (1, 64))
    """
    if method not in ("label_flip", "damage"):
        raise ValueError(f"method must be 'label_flip' or 'damage', got {method!r}")
    objective = make_objective(loss, alpha, C, fit_intercept, penalize_intercept, None, count_rows)
    if preprocessing is not None:
        X, X_flip, X_eval = (
            None if part is None else to_matrix(preprocessing.transform(part)) for part in (X, X_flip, X_eval)
        )
    names, X = column_names(X) if is_frame(X) else None, check_X(X)
    classes = Classes.of(y, X.shape[0])
    signs = classes.signs(y)
    objective = replace(objective, class_weight=class_weights(class_weight, classes.values))
    weight = check_sample_weight(sample_weight, X.shape[0])
    if (X_flip is None) != (y_flip is None):
        raise ValueError("X_flip and y_flip must be given together")
    if (X_eval is None) != (y_eval is None):
        raise ValueError("X_eval and y_eval must be given together")
    if X_flip is None:
        X_rows, y_rows = X, signs
    else:
        X_rows, y_rows = _rows(X_flip, y_flip, "X_flip", "y_flip", X.shape[1], classes, names)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (X_rows.shape[0],):
            raise ValueError(
                f"mask must be a boolean array of shape ({X_rows.shape[0]},), got {mask.dtype} of shape {mask.shape}"
            )
        if not mask.any():
            raise ValueError("mask selects no row")
        X_rows, y_rows = X_rows[np.flatnonzero(mask)], y_rows[mask]
    if X_eval is None:
        X_goal, y_goal = X_rows, y_rows
    else:
        X_goal, y_goal = _rows(X_eval, y_eval, "X_eval", "y_eval", X.shape[1], classes, names)
    of_tapes = {"quantiles": quantiles, "repeats": repeats, "improved": improved or None, "n_jobs": n_jobs}
    if method == "damage" and (given := [name for name, value in of_tapes.items() if value is not None]):
        raise ValueError(f"{given[0]} is of method='label_flip': a search for damage flips no row")
    subpopulation = mask is not None
    quantiles = _tape(quantiles, "quantiles", QUANTILES_SUBPOPULATION if subpopulation else QUANTILES, check_number)
    if any(not 0 < q <= 1 for q in quantiles):
        raise ValueError(f"quantiles must lie in (0, 1], got {quantiles}")
    repeats = _tape(repeats, "repeats", REPEATS_SUBPOPULATION if subpopulation else REPEATS, check_count)
    goal = check_number(goal, "goal")
    improved, tol = check_flag(improved, "improved"), check_number(tol, "tol", strict=True)
    if improved and n_jobs is not None:
        raise ValueError(f"n_jobs must be None with improved=True, whose tapes build on each other, got {n_jobs!r}")
    if goal > 1:
        raise ValueError(f"goal must lie in [0, 1], got {goal:g}")
    if method == "damage":
        rows = X, signs, objective, weight, X_goal, y_goal
        limits = {"random_state": random_state, "callback": callback, "verbose": verbose}
        return _by_damage(*rows, classes.values, goal, feasible_set, limits)

    clean = refit(X, signs, objective, sample_weight=weight, tol=tol).theta
    margin = objective.margins(clean, X_rows, y_rows)
    if not improved:  # rows that no quantile reaches need not be carried along; the others as quantiles reach them
        reach = np.argsort(margin, kind="stable")[: np.count_nonzero(below(margin, max(quantiles)))]
        X_rows, y_rows, margin_rows = X_rows[reach], y_rows[reach], margin[reach]
    else:
        margin_rows = margin
    tapes = Tapes(
        X, signs, weight, objective, X_rows, y_rows, X_goal, y_goal, clean, margin, margin_rows,
        quantiles, repeats, improved, goal, tol, n_jobs,
    )  # fmt: skip
    found = []
    with Told(len(quantiles) * len(repeats), goal, found, callback, verbose) as told:
        told.collect(tapes.search())

    candidates = [candidate for candidate in found if candidate is not None]
    good = [candidate for candidate in candidates if candidate.error >= goal]
    if not good:
        best = max(candidates, key=lambda candidate: candidate.error)
        raise ValueError(
            f"goal={goal:g} is not met: the largest error among {len(candidates)} candidates is {best.error:.4f} "
            f"(quantile {best.quantile:g}, {best.repeats} repeats); extend quantiles or repeats, or lower the goal"
        )
    chosen = min(good, key=lambda candidate: candidate.clean_objective)
    return TargetModel(
        coef_=chosen.coef_,
        intercept_=chosen.intercept_,
        error=chosen.error,
        n_flips=chosen.n_flips,
        quantile=chosen.quantile,
        repeats=chosen.repeats,
        clean_objective=chosen.clean_objective,
        goal=goal,
        classes_=classes.values,
        candidates=Candidates(found, tapes),
        objective=objective,
    )


def _by_damage(X, y, objective, weight, X_goal, y_goal, classes, goal, feasible_set, limits):
    """The model of the fewest points found with that error."""
    from mtpfast.attacks.cheapest import cheapest_of
    from mtpfast.attacks.damage import LIMITS, search_for
    from mtpfast.attacks.damage_question import read_damage_question

    rows = {} if X_goal is X and weight is None else {"X_eval": X_goal, "y_eval": y_goal}
    space = None if feasible_set is None else feasible_set.bind(None, classes)
    question = read_damage_question(X, y, objective, space, weight, **rows)
    search = search_for(question, **LIMITS | limits)
    found = cheapest_of(search, goal)
    theta = found.theta
    error = float(np.mean(predict(theta, X_goal) != y_goal))
    if search.message and error < goal:  # it was stopped
        if search.status == "interrupted":
            raise KeyboardInterrupt
        raise ValueError(f"goal={goal:g} is not met so far, the largest error is {error:.4f}: {search.message}")
    return TargetModel(
        coef_=theta[None, :-1].copy(),
        intercept_=theta[-1:].copy(),
        error=error,
        n_flips=found.n_points,
        quantile=0.0,
        repeats=0,
        clean_objective=objective.value(theta, X, y, weight),
        goal=goal,
        classes_=classes,
        candidates=(),
        objective=objective,
    )


def _rows(X, y, X_name, y_name, n_features, classes, names):
    """Rows of the same kind as the clean data, with labels as -1. and +1."""
    own = column_names(X) if is_frame(X) else None
    if names is not None and own is not None and own != names:
        raise ValueError(f"{X_name} has columns {own[:5]}, X has {names[:5]}")
    X = check_X(X, X_name, n_features)
    return X, classes.signs(y, y_name, X.shape[0])


def _tape(values, name, default, check):
    if values is None:
        return list(default)
    values = [values] if np.ndim(values) == 0 else list(values)
    if not values:
        raise ValueError(f"{name} must not be empty")
    return [check(value, name) for value in values]
