"""Algorithm 1 as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mtpfast.attacks.online import run
from mtpfast.results.result import PoisoningResult

from .base import Poisoner
from .samplers import target_of

__all__ = ["ModelTargetedPoisoner"]


class ModelTargetedPoisoner(Poisoner):
    r"""Algorithm 1: poisoning points, one by one, until the victim learns the target.

    The victim trains on the clean rows and the poisoning points,

    .. math:: \theta_t = \arg\min_\theta \sum_i c_i \varphi(y_i \theta \cdot \tilde x_i)
              + \frac{k}{2} \theta^\top R \theta,

    and the next point is where its loss exceeds the target's most,

    .. math:: (x_t, y_t) = \arg\max_{(x, y) \in F} \varphi(y \theta_t \cdot \tilde x)
              - \varphi(y \theta_p \cdot \tilde x).

    Parameters
    ----------
    loss : {"hinge", "squared_hinge", "log_loss"} or Loss, default="hinge"
        The victim's loss; :func:`mtpfast.losses.custom` makes others.
    alpha : float, optional
        Mean loss plus ``alpha / 2`` times the squared norm: k is alpha times the number of rows,
        poison included, as in SGDClassifier and in the paper. 0.01 where C is not given either.
    C : float, optional
        Summed loss: k is 1 / C whatever the number of rows, as in LinearSVC and
        LogisticRegression. At most one of alpha and C is given.
    fit_intercept : bool, default=True
    penalize_intercept : bool, default=True
        Whether the penalty includes the intercept, as in LIBLINEAR.
    class_weight : dict of label to float, "balanced" or None
        As in scikit-learn's classifiers: a row of label y, clean or poison, counts as ``class_weight[y]`` rows (1
        for a label that the dict leaves out). D is then the largest weighted loss difference, ``class_weight[y]``
        times the one above. With "balanced", ``n / (2 n_y)`` over clean rows and poison, every point added changes
        the weights of all rows: the victim is trained on the new weights each time, and no lower bound is proved.
    count_rows : bool, default=False
        alpha multiplies, and "balanced" counts, rows as they are, not the sum of their weights: so do
        SGDClassifier and, for "balanced", SVC.
    feasible_set : FeatureSpace or CandidatePool, optional
        Where a poisoning point may lie; by default between the minimum and maximum of every
        feature in the clean data. With ``preprocessing``, its features are the transformed ones,
        by number or by ``get_feature_names_out``; by default, every row that a record can have
        (see :class:`mtpfast.preprocessing.tables.RecordCodec`), and a FeatureSpace given takes away from that. Where
        a :class:`PenaltyScaler` comes last, its features are those before the scaling, and so are candidates.
        For texts, a :class:`DocumentSpace` sets the length of the documents and how often they may
        use a word; by default, no document is longer than the longest text (see
        :class:`mtpfast.preprocessing.texts.TextCodec`).
    stop : {"loss_difference", "distance"}, default="loss_difference"
        What must fall to ``tol``: the largest loss difference over the feasible set, or the l2
        distance of (w, b) to the target.
    tol : float, default=0.01
    max_points : int, optional
        Stop, with status "budget", after so many points.
    repeats : int, default=1
        Copies of the point added in each step.
    margin_tol : float, optional
        Hinge: rows whose margin under the target is this near to 1 may count as on the margin, in the bound; by default
        1e-6, or twice the ``tol`` of the fitted estimator that is the target, if that is more.
    verbose : int, default=0
    preprocessing : transformer, optional
        What the victim does to raw records before it is trained: a ColumnTransformer, a Pipeline or
        one step that can be traced back to records (:class:`mtpfast.preprocessing.tables.RecordCodec` has
        the list); or, for texts, a CountVectorizer or TfidfVectorizer of single words. A fitted
        one is used as it is, another is fitted to the clean table. ``fit``, ``predict`` and
        ``attack`` then take, and the result gives, raw records.
    target : TargetModel or (coef, intercept), optional
        What :meth:`attack` aims at where it is given none, and :meth:`fit_resample` always.
    rules : mapping, optional
        With a preprocessing: what inserted records may hold in raw columns, besides what the table allows. A value, a
        range ``(low, high)``, a list of levels, or "unchanged" for a column; under ``"y"`` the label, or labels, of the
        records: ``{"month": "may", "age": (18, 60), "y": "no"}``. See :class:`mtpfast.spaces.rules.Rules`.
    keep_path : bool or int, default=True
        Which of the models visited the result keeps in ``path``, at ``8 (n_features + 1)`` bytes each: all; every k-th;
        or, with False, none on the way. The clean model, the last, and the one that proves most are kept in any case,
        and the history is whole. ``at_budget`` and curves on other rows can only look at what is kept. Where a bound is
        looked for at models between as well (pools with ``max_repeats``, documents), it may be lower with fewer.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features)
    intercept_ : ndarray of shape (1,)
        The clean victim.
    classes_ : ndarray of shape (2,)
    dual_gap_ : float
        Proved: the summed objective at the clean victim exceeds its minimum by no more.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        Only where X had names for its columns. With ``preprocessing``, these are the raw columns.
    preprocessing_ : fitted transformer or None

    See Also
    --------
    MinimumPoisoner : the fewest points, with the proof.
    poison : the same attack as a function.

    References
    ----------
    Algorithm 1 of Suya, Mahloujifar, Suri, Evans, Tian, "Model-Targeted Poisoning Attacks with
    Provable Convergence", ICML 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import minmax_scale
    >>> from mtpfast import ModelTargetedPoisoner, make_target
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = minmax_scale(X).clip(0, 1)
    >>> target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.05)
    >>> result = ModelTargetedPoisoner(tol=0.05).fit(X, y).attack(target)
    >>> result.status, bool(result.loss_difference <= 0.05)
    ('reached', True)
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
        stop="loss_difference",
        tol=0.01,
        max_points=None,
        repeats=1,
        margin_tol=None,
        verbose=0,
        preprocessing=None,
        target=None,
        rules=None,
        keep_path=True,
    ):
        self.loss = loss
        self.alpha = alpha
        self.C = C
        self.fit_intercept = fit_intercept
        self.penalize_intercept = penalize_intercept
        self.class_weight = class_weight
        self.count_rows = count_rows
        self.feasible_set = feasible_set
        self.stop = stop
        self.tol = tol
        self.max_points = max_points
        self.repeats = repeats
        self.margin_tol = margin_tol
        self.verbose = verbose
        self.preprocessing = preprocessing
        self.target = target
        self.rules = rules
        self.keep_path = keep_path

    def attack(
        self,
        target=None,
        *,
        resume: PoisoningResult | None = None,
        callback: Callable[[dict], bool | None] | None = None,
        eval_sets: Mapping | None = None,
        checkpoint=None,
    ) -> PoisoningResult:
        """Poison the data given to :meth:`fit` until the victim is close to the target.

        Parameters
        ----------
        target : TargetModel, fitted linear classifier, or (coef, intercept)
            By default the parameter ``target``. From :func:`make_target`; or LinearSVC, LogisticRegression,
            SGDClassifier, RidgeClassifier, Perceptron, with the victim's labels and columns; or two arrays. With
            ``preprocessing``, a model of the transformed rows, or a Pipeline with that preprocessing.
        resume : PoisoningResult, optional
            Go on from this attack on the same data and target.
        callback : callable, optional
            Called after each step with a dict of what the history records; returning True stops
            the attack with status "budget".
        eval_sets : mapping of str to (X, y), optional
            The history then holds ``accuracy_<name>`` of every model visited. With
            ``preprocessing``, tables of raw records.
        checkpoint : path, optional
            As in :func:`mtpfast.poison`: a file with which a killed attack ends as it would have ended.

        Returns
        -------
        PoisoningResult
            In the labels and columns of the data given to fit.
        """
        result = run(
            self._question(target_of(self, target)),
            stop=self.stop,
            tol=self.tol,
            max_points=self.max_points,
            repeats=self.repeats,
            eval_sets=self._evaluation_sets(eval_sets),
            callback=callback,
            resume=None if resume is None else self._in_signs(resume),
            theta0=np.append(self.coef_, self.intercept_),
            verbose=self.verbose,
            checkpoint=checkpoint,
            keep_path=self.keep_path,
        )
        return self._in_user_terms(result)
