"""The attacks of the literature by their names."""

from __future__ import annotations

from mtpfast.results.result import PoisoningResult

from .beta import beta
from .gradient_ascent import gradient_ascent
from .gradient_canceling import gradient_canceling
from .influence import influence
from .kkt import kkt
from .label_flip import label_flip
from .min_max import min_max

__all__ = ["BASELINES", "baseline"]


BASELINES = {
    function.__name__: function
    for function in (beta, gradient_ascent, gradient_canceling, influence, kkt, label_flip, min_max)
}


def baseline(name, X, y, *, budget=0.03, **options) -> PoisoningResult:
    """An attack of the literature by its name.

    Parameters
    ----------
    name : {"beta", "gradient_ascent", "gradient_canceling", "influence", "kkt", "label_flip", "min_max"}
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,), -1 and +1
    budget : int or float
        Points that are added, or below 1 a share of the clean rows; fewer where ``max_repeats`` of a pool ends them.
    target : pair (coef, intercept), array (w, b) or fitted linear model, optional
        What "kkt" and "gradient_canceling" aim at. For the others, what the result's distance is measured from.
    loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows, feasible_set, sample_weight
        The victim and its points, as in :func:`mtpfast.poison`.
    X_eval, y_eval, mask, metric, eval_sets
        The rows aimed at, and what the result's ``damage`` measures there, as in
        :func:`mtpfast.attacks.damage.damage`. Attacks that need a derivative raise the victim's own mean loss on them.
    random_state : int, numpy Generator or None, default=0
    callback : callable, optional
        Called after every step with a dict (``method``, ``n_iter``, ``budget``, ``value``, and CPU ``seconds``); True
        stops, as Ctrl-C does, and the best points so far are the result.
    verbose : int, default=0
        1: a line to the standard error every second, with the CPU seconds so far.
    **options
        The method's own.

    Returns
    -------
    PoisoningResult
        ``damage`` is the metric before and after, from exact trainings. ``lower_bound`` is 0: nothing is proved of how
        many points are needed.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import baseline
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> baseline("label_flip", X, y, budget=2, rule="random", C=1.0).n_points
    2
    """
    if name not in BASELINES:
        raise ValueError(f"name must be one of {', '.join(map(repr, BASELINES))}, got {name!r}")
    return BASELINES[name](X, y, budget=budget, **options)
