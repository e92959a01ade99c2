"""Targets made for an attacker's own victim, and the refusal of those made for another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from mtpfast.arrays.checks import refuse_parts
from mtpfast.attacks.damage import LIMITS, runs, search_for
from mtpfast.attacks.damage_question import read_damage_question
from mtpfast.minimum.minimum import minimum_poisoning
from mtpfast.preprocessing.penalty import penalty_of
from mtpfast.preprocessing.steps import is_fitted, to_matrix
from mtpfast.targets.flips import TargetModel, make_target
from mtpfast.targets.models import is_trained, rescaled

__all__ = ["MakesTargets", "in_victims_features", "refuse_another_victim"]


#: What of a victim a target must share with it.
SHARED = ("loss", "alpha", "C", "fit_intercept", "penalize_intercept", "class_weight")


def refuse_another_victim(target, objective) -> None:
    """ValueError, naming both values, where a target was made for another victim than this one.

    Its price would be that of a model that this victim hardly learns. To ask for it all the same, pass
    ``(target.coef_, target.intercept_)``.
    """
    own = getattr(target, "objective", None)
    own = own if hasattr(own, "penalize_intercept") else None  # XGBoost's models have a word of that name
    for name in SHARED if own is not None else ():
        theirs, ours = getattr(own, name), getattr(objective, name)
        if theirs != ours:
            raise ValueError(
                f"target was made with {name}={getattr(theirs, 'name', theirs)!r}, the attacker has "
                f"{name}={getattr(ours, 'name', ours)!r}: use attacker.make_target(...), or pass "
                f"(target.coef_, target.intercept_) to attack that model all the same"
            )


def in_victims_features(target, preprocessing, sample, classes, names=None):
    """A target as a model of what the victim sees, after its ``preprocessing``; ``sample``: some raw rows.

    Of a Pipeline the last step, if the steps before it are the victim's own; of another attacker its victim, by the
    same rule. What a trainer or a file holds is a model of the features before a :class:`PenaltyScaler`, named
    ``names``. Others as they are.
    """
    is_pipeline, first = hasattr(target, "steps"), getattr(target, "preprocessing_", None)
    model, (before, scaler) = target, penalty_of(preprocessing)
    if is_pipeline and preprocessing is not None:
        model, first = target.steps[-1][1], target[:-1] if len(target.steps) > 1 else None
        if (before is not None and first is None) or not is_fitted(first):
            raise ValueError("target is a Pipeline without fitted steps before its last, the victim has preprocessing")
    if first is None:
        own = scaler is None or not is_trained(model)
        return model if own else rescaled(model, scaler.scale_, classes, names)
    earlier, other = penalty_of(first)
    if preprocessing is None:
        return target if other is None or earlier is not None else rescaled(target, 1.0 / other.scale_, classes, names)
    kind = "a Pipeline" if is_pipeline else f"a {type(target).__name__}"
    names = names if is_pipeline else None  # an attacker has those of its table, and the same rows say the same
    apart = _apart(first, preprocessing, sample)
    if apart is None:
        return model if is_pipeline else rescaled(model, np.ones(model.coef_.shape[1]), classes)
    weighted = (scaler, other) != (None, None) and (earlier is not None or before is None)
    if weighted and _apart(earlier, before, sample) is None:
        scales = [1.0 if part is None else part.scale_ for part in (scaler, other)]
        return rescaled(model, scales[0] / scales[1], classes, names)
    raise ValueError(
        f"target is {kind} whose preprocessing is not the victim's: it maps the same records to {apart}; pass one "
        f"that shares the fitted preprocessing_, or (coef, intercept) of the features that the victim sees"
    )


def _apart(other, own, sample):
    """How two preprocessings differ on some records, in words; None where they do not, column by column."""
    own, other = (to_matrix(sample if part is None else part.transform(sample)) for part in (own, other))
    if own.shape != other.shape:
        return f"{other.shape[1]} columns, not {own.shape[1]}"
    apart, size = (_largest(rows) for rows in (own - other, own))
    if np.all(apart <= 1e-9 * size + 1e-14 * max(1.0, np.max(size))):
        return None
    return f"rows {np.max(apart):.2g} apart"


def _largest(rows):
    """The largest size in each column."""
    largest = abs(rows).max(axis=0)
    return np.ravel(largest.toarray() if sp.issparse(largest) else largest)


class MakesTargets:
    """What an attacker knows of its victim, handed to :func:`make_target`."""

    def make_target(self, X_flip=None, y_flip=None, *, compare=False, **options) -> TargetModel:
        """A target for this attacker's victim: :func:`mtpfast.make_target` on the data given to fit.

        Parameters
        ----------
        X_flip, y_flip : optional
            As in :func:`mtpfast.make_target`.
        compare : bool, default=False
            Whether to measure the target, in ``target.comparison``: ``points_behind`` (flips, or points found),
            ``minimum`` and ``lower_bound`` (what :class:`MinimumPoisoner` needs for it, and proves), and
            ``damage_at_the_same_budget``, the error that a search finds with as many points as are behind it.
        **options
            Everything else that :func:`mtpfast.make_target` takes and that is not the victim's: ``method``, ``goal``,
            ``mask``, ``quantiles``, ``repeats``, ``improved``, ``X_eval``, ``y_eval``, ``tol``, ``random_state``.

        Returns
        -------
        TargetModel

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from mtpfast import MinimumPoisoner
        >>> X, y = load_digits(n_class=2, return_X_y=True)
        >>> attacker = MinimumPoisoner(alpha=0.09).fit(X / 16, y)
        >>> target = attacker.make_target(goal=0.1, quantiles=[0.2], repeats=[5])
        >>> attacker.attack(target).status
        'reached'
        """
        check_is_fitted(self)
        refuse_parts(self._X, "the X of fit")
        own = ("loss", "alpha", "C", "fit_intercept", "penalize_intercept", "class_weight", "count_rows")
        taken = sorted({*own, "sample_weight", "preprocessing", "feasible_set"} & set(options))
        if taken:
            raise ValueError(f"{', '.join(taken)}: taken over from the attacker, and given once more")
        victim = {name: getattr(self, name) for name in own}
        features = {"X_flip": X_flip, "X_eval": options.pop("X_eval", None)}
        features = {name: None if rows is None else self._features(rows) for name, rows in features.items()}
        labels = self._classes.labels(self._signs)
        if options.get("method") == "damage":
            own = self._own_feasible_set()
            victim["feasible_set"] = own if own is None else own.bind(self._names)
        target = make_target(
            self._X, labels, y_flip=y_flip, **features, **victim, sample_weight=self._sample_weight, **options
        )
        return replace(target, comparison=self._compared(target, features, y_flip, options)) if compare else target

    def _compared(self, target, features, y_flip, options):
        """What is behind a target, what it needs, and what as many points can do."""
        objective, space = target.objective, self._feasible_set()
        theta = np.append(target.coef_, target.intercept_)
        victim = {name: getattr(objective, name) for name in SHARED[:-1]} | {"count_rows": objective.count_rows}
        weights = objective.class_weight
        weights = {-1: weights[0], 1: weights[1]} if isinstance(weights, tuple) else weights
        told = {"points_behind": target.n_flips}
        shared = {"feasible_set": space, "sample_weight": self._sample_weight}
        if not objective.is_balanced:
            fewest = minimum_poisoning(self._X, self._signs, theta, class_weight=weights, **victim, **shared)
            told |= {"minimum": fewest.n_points, "lower_bound": fewest.lower_bound}
        rows = {"mask": options.get("mask")}
        for part, labels in (("X_eval", options.get("y_eval")), ("X_flip", y_flip)):
            if features[part] is not None:
                rows |= {"X_eval": features[part], "y_eval": self._to_signs(labels, "y")}
                rows |= {"mask": None} if part == "X_eval" else {}
                break
        question = read_damage_question(self._X, self._signs, objective, space, self._sample_weight, **rows)
        search = search_for(question, **LIMITS | {"n_starts": 1})
        damage = runs(search, [target.n_flips])[0].damage.found
        if options.get("method") == "damage":  # as many points were found to do this
            damage = max(damage, question.aim.value(theta))
        told["damage_at_the_same_budget"] = damage
        return told
