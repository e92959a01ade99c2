"""The search for damage as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mtpfast.arrays.checks import check_number
from mtpfast.attacks.cheapest import cheapest_of
from mtpfast.attacks.damage import curve_of, runs, search_for
from mtpfast.attacks.damage_question import points_of_budget, read_damage_question
from mtpfast.guarantee.goal import GoalBound, bound_of_goal, rows_to_look_at
from mtpfast.losses.margin import class_weights
from mtpfast.results.result import PoisoningResult

from .base import Poisoner

__all__ = ["DamagePoisoner"]


class DamagePoisoner(Poisoner):
    r"""What so many points can do to the predictions: a search for the most damage at a budget.

    .. math:: \max_{(x_j, y_j) \in F, \; j \le B} \; M\Big( \arg\min_\theta \sum_i c_i \varphi(y_i \theta \cdot
              \tilde x_i) + \sum_{j \le B} c_j \varphi(y_j \theta \cdot \tilde x_j)
              + \frac{k}{2} \theta^\top R \theta \Big)

    with M a metric on the rows aimed at. What is found is trained to the end and measured: it is *found*, not proved to
    be the most.

    Parameters
    ----------
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows, feasible_set
        The victim and its points, as in :class:`ModelTargetedPoisoner`.
    budget : int or float, default=0.03
        Points, or below 1 a share of the clean rows (rounded down).
    metric : str or callable, default="error"
        ``"error"``, ``"false_negative_rate"`` and ``"false_positive_rate"`` (the share of wrong predictions among the
        rows aimed at, or among those of the positive and of the negative class), ``"hinge"``, ``"squared_hinge"`` and
        ``"log_loss"`` (the mean loss), or a function ``metric(y, margin, sample_weight)`` of labels -1 and +1, margins
        ``y (w . x + b)`` and weights, the larger the better for the attack. The search follows the error where the
        function has no attribute ``derivative`` (of the same arguments, ``d metric / d margin`` for every row).
    n_starts : int, default=6
        Starts of the search: the first from scratch, or from what is found for the training rows where others are aimed
        at (in half of ``max_iter`` trainings); each of the others from the best points so far, a little way off,
        towards rows that weigh differently (one class more than the other, then weights drawn at random), and back, in
        a quarter of ``max_iter`` trainings.
    max_iter : int, default=120
        Trainings of the victim in the first start.
    random_state : int, numpy Generator or None, default=0
    time_limit : float, optional
        Stop after so many seconds. What is found then depends on the machine; ``result.damage`` and the message say so.
    verbose : int, default=0
    preprocessing : transformer, optional
    rules : mapping, optional
        As in :class:`ModelTargetedPoisoner`.

    Attributes
    ----------
    coef_, intercept_, classes_, dual_gap_, n_iter_, n_features_in_, feature_names_in_, preprocessing_
        As in :class:`ModelTargetedPoisoner`: the clean victim.

    See Also
    --------
    MinimumPoisoner : the fewest points for a given model, with the proof.

    Notes
    -----
    The model depends on the poison only through its pull ``p = sum_j c_j s(m_j) y_j x~_j``, s = -phi', and moves by
    ``H^-1 dp``, H the Hessian of the victim's objective (of the hinge: smoothed near the margin). A step moves the
    points towards those that pull most along ``H^-1 dU/dtheta``, U a smooth stand-in for the metric; from one training
    to the next there are ten such steps, in which the model is taken to follow the pull in a straight line; see
    ``mtpfast.attacks.ascent``. On a box two distinct points suffice; whole records, documents and candidates of a
    pool stay apart.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mtpfast import DamagePoisoner
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> attacker = DamagePoisoner(alpha=0.09, budget=20, n_starts=1, max_iter=40).fit(X / 16, y)
    >>> result = attacker.attack()
    >>> result.n_points, result.damage.before["aimed"] < result.damage.after["aimed"]
    (20, True)
    """

    def __init__(
        self,
        loss="hinge",
        alpha=None,
        C=None,
        fit_intercept=True,
        penalize_intercept=True,
        class_weight=None,
        count_rows=False,
        feasible_set=None,
        budget=0.03,
        metric="error",
        n_starts=6,
        max_iter=120,
        random_state=0,
        time_limit=None,
        verbose=0,
        preprocessing=None,
        rules=None,
    ):
        self.loss = loss
        self.alpha = alpha
        self.C = C
        self.fit_intercept = fit_intercept
        self.penalize_intercept = penalize_intercept
        self.class_weight = class_weight
        self.count_rows = count_rows
        self.feasible_set = feasible_set
        self.budget = budget
        self.metric = metric
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.random_state = random_state
        self.time_limit = time_limit
        self.verbose = verbose
        self.preprocessing = preprocessing
        self.rules = rules

    def attack(
        self,
        X_eval=None,
        y_eval=None,
        mask=None,
        *,
        eval_sets: Mapping | None = None,
        resume: PoisoningResult | None = None,
        callback: Callable[[dict], bool | None] | None = None,
    ) -> PoisoningResult:
        """The most damage found with the budget.

        Parameters
        ----------
        X_eval, y_eval : of shape (n_eval, n_features) and (n_eval,), optional
            The rows aimed at; by default the training rows, the attacker's fair view.
        mask : array-like of bool, optional
            Which of the rows aimed at count: a subgroup.
        eval_sets : mapping of str to (X, y), optional
            Other rows on which the damage is measured.
        resume : PoisoningResult, optional
            Go on from the points of this result.
        callback : callable, optional
            Called after every training with a dict (``n_iter``, ``budget``, ``value``, ``best``, ``theta``); returning
            True ends the search, and the best points so far are kept. So does an interrupt (Ctrl-C), with status
            "interrupted".

        Returns
        -------
        PoisoningResult
            In the labels and columns of the data given to fit. ``damage`` holds the metric before and after;
            ``theta_target`` is the induced model itself.
        """
        search = self._search(X_eval, y_eval, mask, eval_sets, callback)
        budget = points_of_budget(self.budget, self._X.shape[0])
        return self._in_user_terms(runs(search, [budget], self._resumed(resume))[0])

    def curve(
        self, budgets, X_eval=None, y_eval=None, mask=None, *, eval_sets=None, resume=None, n_jobs=None, callback=None
    ) -> list[PoisoningResult]:
        """The most damage found at every budget; never worse at a larger one.

        Parameters
        ----------
        budgets : sequence of int or float
            Instead of the parameter ``budget``.
        X_eval, y_eval, mask, eval_sets, resume
            As in :meth:`attack`.
        n_jobs : int, optional
            None: one budget after the other, each from its neighbour below, for half the steps of a start. A number:
            joblib's, a task for every budget, which is searched from scratch; the backend is that of
            ``joblib.parallel_config`` (loky, threading, dask, ray), and the results are the same for any backend and
            number.
        callback : callable, optional
            As in :meth:`attack`. With ``n_jobs`` told after every budget (``n_done``, ``n``, ``n_points``, ``value``).

        Returns
        -------
        list of PoisoningResult
            In the order of the budgets. Where nothing better was found, the points of the smaller budget.
        """
        search = self._search(X_eval, y_eval, mask, eval_sets, callback)
        return [self._in_user_terms(result) for result in curve_of(search, budgets, self._resumed(resume), n_jobs)]

    def cheapest(
        self, goal, X_eval=None, y_eval=None, mask=None, *, prove=100, eval_sets=None, resume=None, callback=None
    ) -> PoisoningResult:
        """The fewest points found with a metric of at least ``goal`` on the rows aimed at.

        Parameters
        ----------
        goal : float
            Of the parameter ``metric``; the parameter ``budget`` does not count.
        prove : bool or int, default=100
            Of how many rows aimed at to ask for a guarantee (:meth:`certify`), those with the largest margins. An
            attack that has a share g of the rows wrong needs as many points as the m-th smallest of their lower bounds,
            m the number of rows that must be wrong; rows that are not looked at count 0, so that a small share of many
            rows takes nearly all of them. True: all; False: none. ``result.damage.proved`` and the message tell the
            number; 0, and why, where nothing is proved: of a mean loss or a callable, for example.
        X_eval, y_eval, mask, eval_sets, resume, callback
            As in :meth:`attack`.

        Returns
        -------
        PoisoningResult
            Trained to the end; fewer points may do. Budgets are tried by doubling and halving, and the exact minimum
            (:class:`MinimumPoisoner`) of the model found, and of its cheapest multiple, is taken where it is less.

        Raises
        ------
        ValueError
            If no points were found that meet the goal, at most as many as there are clean rows. After an interrupt
            the nearest to it is returned, with status "interrupted" and nothing proved.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from mtpfast import DamagePoisoner
        >>> X, y = load_digits(n_class=2, return_X_y=True)
        >>> attacker = DamagePoisoner(alpha=0.09, n_starts=1, max_iter=100).fit(X / 16, y)
        >>> result = attacker.cheapest(0.10)
        >>> result.damage.found >= 0.10, result.n_points < 80
        (True, True)
        >>> result = attacker.cheapest(1.0, mask=y == 1)
        >>> 1 < result.damage.proved <= result.n_points
        True
        """
        goal = check_number(goal, "goal")
        search = self._search(X_eval, y_eval, mask, eval_sets, callback)
        most = rows_to_look_at(prove, len(search.question.aim.y))
        result = self._in_user_terms(cheapest_of(search, goal, self._resumed(resume)))
        if search.message:
            bound = GoalBound(0, "nothing proved: it was stopped")
        else:
            bound = self._proved(search.question, goal, most)
        said = f"proved: fewer than {bound.n_points} cannot" if bound.n_points else bound.reason
        message = f"found: {result.n_points} points; {said}; {result.message}"
        damage = dataclasses.replace(result.damage, goal=goal, proved=bound.n_points)
        return dataclasses.replace(result, damage=damage, message=message)

    def _proved(self, question, goal, most) -> GoalBound:
        """What the guarantees of the rows aimed at prove of a goal."""
        aim = question.aim
        if not aim.metric.counts_wrong:
            return GoalBound(0, f"nothing proved: {aim.metric.name} is no share of wrong predictions")
        if most == 0:
            return GoalBound(0, "nothing proved: prove=0")
        theta = np.append(self.coef_[0], self.intercept_)
        return bound_of_goal(
            question.X, question.y, theta, question.objective, question.feasible_set, aim.X, aim.y, aim.weight, goal,
            most, question.sample_weight,
        )  # fmt: skip

    def _resumed(self, resume):
        return None if resume is None else self._in_signs(resume)

    def _search(self, X_eval, y_eval, mask, eval_sets, callback):
        """The search, in the terms of the layers below."""
        check_is_fitted(self)
        if (X_eval is None) != (y_eval is None):
            raise ValueError("X_eval and y_eval must be given together")
        if X_eval is not None:
            X_eval, y_eval = self._features(X_eval), self._to_signs(y_eval, "y_eval")
        sets = self._evaluation_sets(eval_sets)
        question = read_damage_question(
            self._X,
            self._signs,
            self._weighted_objective(),
            self._feasible_set(),
            self._sample_weight,
            metric=self.metric,
            X_eval=X_eval,
            y_eval=y_eval,
            mask=mask,
            eval_sets={name: (X, np.where(positive, 1.0, -1.0)) for name, (X, positive) in sets.items()},
        )
        return search_for(
            question,
            n_starts=self.n_starts,
            max_iter=self.max_iter,
            random_state=self.random_state,
            callback=callback,
            time_limit=self.time_limit,
            verbose=self.verbose,
        )

    def _weighted_objective(self):
        return dataclasses.replace(self._objective(), class_weight=class_weights(self.class_weight, self.classes_))
