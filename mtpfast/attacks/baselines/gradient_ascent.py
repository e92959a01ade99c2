"""Points that climb along the derivative of the victim's loss through its own training."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.checks import check_count, check_number
from mtpfast.results.result import PoisoningResult

from .bilevel import Bilevel
from .task import Task, read_task, shared_out

__all__ = ["gradient_ascent"]


def gradient_ascent(
    X, y, *, budget=0.03, n_distinct=4, n_starts=2, max_iter=25, step=0.1, order="joint", **options
) -> PoisoningResult:
    r"""Move points uphill: the attack of Biggio et al. on the SVM, and of Demontis et al. on logistic regression.

    .. math:: x \leftarrow \Pi_F\big(x + \eta\, \nabla_x L(\theta(x)) / |\nabla_x L|\big), \qquad
              \nabla_x L = \Big(\frac{d \theta}{d x}\Big)^\top \nabla_\theta L

    L: the victim's mean loss on the rows aimed at, ``theta(x)`` its exact optimum, and the derivative the implicit one
    (:mod:`mtpfast.attacks.baselines.implicit`).

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`.
    n_distinct : int
        Distinct points; the budget is shared out among them evenly.
    n_starts : int
        The best of so many starts is kept.
    max_iter : int
        Steps: of every point, one after the other; of all, jointly.
    step : float
        The first step length, in units of the diagonal of the feasible box.
    order : {"joint", "sequential"}
        Whether all points move at once, or each is placed and moved while those before it stay.

    Returns
    -------
    PoisoningResult

    Notes
    -----
    Left open or different in the papers: starts are random clean rows with the other label; a step that does not raise
    L is halved, and one that does makes the next longer by half. On a box steps are projected; in other convex sets
    a step goes as far towards the point that is best along the derivative (conditional gradient); among records
    it goes there. A point that the hinge has on its margin moves as Biggio et al. derive, with its own multiplier.

    A step costs one warm training, and one linear system: O(n d^2) for smooth losses, the rows on the margin for the
    hinge.

    References
    ----------
    Biggio, Nelson, Laskov, "Poisoning attacks against support vector machines", ICML 2012, Algorithm 1.
    Demontis et al., "Why do adversarial attacks transfer?", USENIX Security 2019, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import gradient_ascent
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = gradient_ascent(X, y, budget=2, n_distinct=1, loss="log_loss", C=1.0)
    >>> result.n_points, len(result.points)
    (2, 1)
    """
    if order not in ("joint", "sequential"):
        raise ValueError(f"order must be 'joint' or 'sequential', got {order!r}")
    n_distinct, n_starts = check_count(n_distinct, "n_distinct"), check_count(n_starts, "n_starts")
    max_iter, step = check_count(max_iter, "max_iter"), check_number(step, "step", strict=True)
    task = read_task(X, y, budget, f"gradient_ascent ({order})", **options)
    task.need_settled()
    task.need_regions()
    return task.run(lambda: _search(task, n_distinct, n_starts, max_iter, step, order))


def _search(task: Task, n_distinct, n_starts, max_iter, step, order):
    rows, labels = task.flips()
    n = min(n_distinct, task.budget)
    counts, bilevel = shared_out(np.ones(n), task.budget), Bilevel(task)
    for start in range(n_starts):
        chosen = task.rng.choice(len(rows), n, replace=n > len(rows))
        for m in [n] if order == "joint" else range(1, n + 1):  # so many points are there, those before them stay
            earlier = [] if order == "joint" else bilevel.points[: m - 1]
            points = [*earlier, *(task.row(rows[i]) for i in chosen[len(earlier) : m])]
            bilevel.place(points, labels[chosen[:m]], counts[:m])
            first, whole = start == 0, m == n  # of the first start also what is not all there is kept
            if first or (whole and bilevel.value > bilevel.best):
                bilevel.keep()
            bilevel.climb(range(len(earlier), m), max_iter, step, keep=first or whole)
