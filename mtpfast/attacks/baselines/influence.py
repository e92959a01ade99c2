"""Copies of clean rows of largest influence, and small moves of them along it."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.checks import check_count, check_number
from mtpfast.results.result import PoisoningResult

from .bilevel import Bilevel
from .task import Task, read_task, shared_out

__all__ = ["influence"]


def influence(X, y, *, budget=0.03, n_distinct=5, max_iter=20, step=0.02, **options) -> PoisoningResult:
    r"""Influence functions: which row, added once more, raises the victim's loss most, and where to move it.

    .. math:: I(x, y) = -\nabla_\theta L^\top H^{-1} \big(c\, \varphi'(y\, \theta \cdot \tilde x)\, y\, \tilde x
              + \dot k R \theta\big), \qquad I_{pert} = -\nabla_\theta L^\top H^{-1}\, \nabla_x \nabla_\theta \varphi

    L: the victim's mean loss on the rows aimed at; H the exact Hessian of its objective (for the hinge: the one within
    the rows on the margin); ``k'`` what one point adds to k.

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`.
    n_distinct : int
        Rows that are chosen, one after the other, each with its share of the budget and an exact training after it.
    max_iter : int
        Moves of all of them after that: ``x + step sign(I_pert)``, into the feasible set. 0: copies of clean rows.
    step : float
        The first step length, in units of the diagonal of the feasible box.

    Returns
    -------
    PoisoningResult

    Notes
    -----
    Left open or different in the paper: it replaces the pixels of training images; here rows are added. Candidates are
    the clean rows with either label, as far as the feasible set holds them. A move that does not raise L is halved. In
    sets that are no box a move goes towards the point that is best along ``I_pert``.

    Complexity: n_distinct + max_iter warm trainings and linear systems, and as many reads of the rows.

    References
    ----------
    Koh, Liang, "Understanding black-box predictions via influence functions", ICML 2017, equations (2), (5) and
    section 5.2; Koh, Steinhardt, Liang, "Stronger data poisoning attacks break data sanitization defenses",
    section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import influence
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = influence(X, y, budget=1, max_iter=0, loss="log_loss", C=1.0)
    >>> result.n_points, bool(np.isin(result.points, X).all())
    (1, True)
    """
    n_distinct, max_iter = check_count(n_distinct, "n_distinct"), check_count(max_iter, "max_iter", low=0)
    step = check_number(step, "step", strict=True)
    task = read_task(X, y, budget, "influence", **options)
    task.need_settled()
    if max_iter:
        task.need_regions()
    return task.run(lambda: _search(task, n_distinct, max_iter, step))


def _search(task: Task, n_distinct, max_iter, step):
    bilevel, n = Bilevel(task), min(n_distinct, task.budget)
    allowed = {label: task.contains(task.X, np.full(len(task.y), label)) for label in (1.0, -1.0)}
    counts, chosen, cap = shared_out(np.ones(n), task.budget), [], task.space.max_repeats
    if cap is not None:
        counts = np.minimum(counts, cap)
    for _ in range(n):
        at = bilevel.derivative()
        best = max(
            (float(scores[i]), -i, label)
            for label, inside in allowed.items()
            for scores in [np.where(inside, at.by_weight(task.X, np.full(len(task.y), label)), -np.inf)]
            for i in [int(np.argmax(scores))]
        )
        if not best[0] > 0.0:
            break
        chosen.append((-best[1], best[2]))
        if cap is not None:
            allowed[best[2]][-best[1]] = False
        rows, labels = [i for i, _ in chosen], [label for _, label in chosen]
        bilevel.start_from(rows, labels, counts[: len(chosen)])
        bilevel.keep()
        task.step(bilevel.value, theta=bilevel.theta)
    if chosen and max_iter:
        bilevel.climb(range(len(chosen)), max_iter, step, sign=True)
