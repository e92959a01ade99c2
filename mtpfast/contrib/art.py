"""The attack as one of the Adversarial Robustness Toolbox (ART).

``PoisoningAttackModelTargeted`` is a class of ART's, made when it is first asked for: this module loads without ART.
"""

from __future__ import annotations

import numpy as np

from mtpfast.estimators import MinimumPoisoner, ModelTargetedPoisoner
from mtpfast.spaces.features import FeatureSpace

ATTACKS = {"algorithm_1": ModelTargetedPoisoner, "minimum": MinimumPoisoner}


def __getattr__(name):
    if name != "PoisoningAttackModelTargeted":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _make()
    return globals()[name]


def _plain_labels(y):
    """Labels 0, 1, ... of one-hot rows or of a column; plain labels as they are."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        return y.ravel()
    if y.ndim == 2 and y.shape[1] == 2:
        return np.argmax(y, axis=1)
    if y.ndim == 1:
        return y
    raise ValueError(f"y must hold labels of shape (n,), or one-hot rows of shape (n, 2), got shape {y.shape}")


def _make():
    try:
        from art.attacks.attack import PoisoningAttackWhiteBox
        from art.estimators.classification.scikitlearn import ScikitlearnClassifier
    except ImportError as error:
        raise ImportError(
            "PoisoningAttackModelTargeted needs ART: pip install adversarial-robustness-toolbox"
        ) from error

    class PoisoningAttackModelTargeted(PoisoningAttackWhiteBox):
        """Model-targeted poisoning of a linear classifier (Suya et al., ICML 2021), or with the fewest points.

        Parameters
        ----------
        classifier : ScikitlearnClassifier
            Around LinearSVC, SVC(kernel="linear"), LogisticRegression or SGDClassifier: the victim, with its loss,
            penalty and intercept. Its ``clip_values`` bound every feature of the points; without them, the
            training data do. It must not preprocess.
        target : fitted linear classifier, TargetModel or (coef, intercept)
            The model that training should return, for labels in the victim's order.
        attack : {"algorithm_1", "minimum"}
        max_points : int, optional
        verbose : int
        **options
            Of :class:`mtpfast.ModelTargetedPoisoner` or :class:`mtpfast.MinimumPoisoner`.

        Attributes
        ----------
        result : PoisoningResult
            Of the last call of :meth:`poison`.

        Examples
        --------
        ``PoisoningAttackModelTargeted(ScikitlearnSVC(svc), target).poison(x_train, y_train)`` returns the points and
        their labels.
        """

        attack_params = (*PoisoningAttackWhiteBox.attack_params, "target", "attack", "max_points", "verbose", "options")
        _estimator_requirements = (ScikitlearnClassifier,)

        def __init__(self, classifier, target, attack="algorithm_1", max_points=None, verbose=0, **options):
            super().__init__(classifier=classifier)
            self.target, self.attack, self.max_points = target, attack, max_points
            self.verbose, self.options, self.result = verbose, options, None
            self._check_params()

        def _check_params(self):
            if self.attack not in ATTACKS:
                raise ValueError(f"attack must be one of {', '.join(map(repr, ATTACKS))}, got {self.attack!r}")

        def poison(self, x, y=None, **kwargs):
            """Points that poison the training set.

            Parameters
            ----------
            x : ndarray of shape (n_samples, n_features)
                The clean training data (not starts of the points, as of other attacks).
            y : ndarray of shape (n_samples,) or (n_samples, 2)
                Their labels, plain or one-hot.
            **kwargs
                Of the attack: ``callback``, ``eval_sets``.

            Returns
            -------
            x_poison, y_poison : ndarray
                The points, every copy, and their labels in the form of y.
            """
            if y is None:
                raise ValueError("y must be given: the labels of the clean training data x")
            self._refuse_preprocessing(np.asarray(x))
            clip, options = self.estimator.clip_values, dict(self.options)
            if clip is not None and "feasible_set" not in options:
                options["feasible_set"] = FeatureSpace(*(np.broadcast_to(end, np.shape(x)[1:]) for end in clip))
            if self.attack == "algorithm_1":
                options["verbose"] = self.verbose
            attacker = ATTACKS[self.attack].from_estimator(self.estimator.model, max_points=self.max_points, **options)
            labels = _plain_labels(y)
            self.result = attacker.fit(x, labels).attack(self.target, **kwargs)
            x_poison, y_poison = np.asarray(self.result.X_poison, dtype=np.asarray(x).dtype), self.result.y_poison
            if np.ndim(y) == 2 and np.shape(y)[1] == 2:
                return x_poison, np.eye(2, dtype=np.asarray(y).dtype)[np.asarray(y_poison, dtype=int)]
            return x_poison, y_poison.reshape(-1, *np.shape(y)[1:])

        def _refuse_preprocessing(self, x):
            """Points are found on x as it is: a victim that is trained on other numbers is another one."""
            apply = getattr(self.estimator, "_apply_preprocessing", None)
            seen = x if apply is None else np.asarray(apply(x, None, fit=True)[0])
            # ART converts to single precision
            if seen.shape != x.shape or np.any(np.abs(seen - x) > 1e-6 * (1.0 + np.abs(x))):
                raise ValueError("classifier must have no preprocessing; hand in x as its model sees it")

    PoisoningAttackModelTargeted.__module__ = __name__
    return PoisoningAttackModelTargeted
