"""An attack as a sampler of imbalanced-learn's kind: poison goes into the table where a pipeline resamples it."""

from __future__ import annotations

__all__ = ["Samples", "target_of"]


class Samples:
    """What every attacker offers a pipeline of samplers."""

    def fit_resample(self, X, y):
        """The table with the poison among its rows.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        X_resampled, y_resampled
            As :meth:`PoisoningResult.poisoned` returns them: the clean rows, then the points. The attack itself is
            ``result_``.

        Notes
        -----
        Attacks on a model take it from the parameter ``target``. A pipeline clones its steps, and a clone of an
        estimator is not fitted: pass ``(coef, intercept)`` or a :class:`TargetModel`.
        """
        self.fit(X, y)
        self.result_ = self.attack()
        return self.result_.poisoned(X, y)[:2]


def target_of(attacker, target):
    """The target that ``attack`` is given, or the attacker's own."""
    target = attacker.target if target is None else target
    if target is None:
        raise ValueError("target must be given, to attack() or as a parameter: the model that training should return")
    return target
