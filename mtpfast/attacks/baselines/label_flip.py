"""Clean rows with the other label."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.checks import check_count
from mtpfast.results.result import PoisoningResult

from .task import Task, read_task

__all__ = ["label_flip"]


RULES = ("random", "margin", "loss", "alfa")


def label_flip(X, y, *, budget=0.03, rule="margin", max_iter=20, **options) -> PoisoningResult:
    r"""Add clean rows with the other label.

    Of the rows ``(x_i, -y_i)`` that the feasible set holds, each once; where the budget is larger than their number,
    all of them again.

    Parameters
    ----------
    X, y, budget, options
        As in :func:`mtpfast.attacks.baselines.baseline`.
    rule : {"random", "margin", "loss", "alfa"}
        Which rows. "random": uniformly. "margin": of the least ``|y_i theta . x~_i|`` under the clean model, nearest to
        its boundary. "loss": of the largest loss ``phi(-y_i theta . x~_i)`` once flipped. "alfa": the attack of Xiao,
        Xiao and Eckert, which alternates between training and choosing the flips of largest
        ``phi(-y_i theta_clean . x~_i) - phi(-y_i theta . x~_i)``.
    max_iter : int
        "alfa": rounds of training and choice.

    Returns
    -------
    PoisoningResult

    Notes
    -----
    Left open or different in the papers: they *replace* labels, here the flipped rows are *added* (the threat model of
    this package). ALFA's linear program over the flips (one cost for all, so many at most) is solved by sorting, which
    is exact; it stops when it chooses the same flips again, and the choice of largest validation loss is kept. Rows of
    equal scores are taken in their order.

    Complexity: one training (a few for "alfa"), one read of the rows each.

    References
    ----------
    Xiao, Xiao, Eckert, "Adversarial label flips attack on support vector machines", ECAI 2012, Algorithm 1.
    Biggio, Nelson, Laskov, "Support vector machines under adversarial label noise", ACML 2011 (random, nearest and
    farthest first).

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.baselines import label_flip
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = label_flip(X, y, budget=1, rule="loss", C=1.0)
    >>> result.points, result.labels
    (array([[3.]]), array([-1.]))
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}")
    max_iter = check_count(max_iter, "max_iter")
    task = read_task(X, y, budget, f"label_flip ({rule})", **options)
    return task.run(lambda: _alfa(task, max_iter) if rule == "alfa" else _once(task, rule))


def _once(task: Task, rule):
    rows, labels = task.flips()
    if rule == "random":
        order = task.rng.permutation(len(rows))
    else:
        margin = labels * (task.X[rows] @ task.clean[:-1] + task.clean[-1])
        order = np.argsort(np.abs(margin) if rule == "margin" else margin, kind="stable")
    _keep(task, rows, labels, order)
    task.step(0.0)


def _keep(task, rows, labels, order):
    """The first of this order, as many as the budget allows; returns which they are."""
    repeats = np.zeros(len(rows), dtype=np.intp)
    full, left = divmod(task.budget, len(rows))
    if task.space.max_repeats is not None:
        full, left = (full, left) if full < task.space.max_repeats else (task.space.max_repeats, 0)
    repeats[:] = full
    repeats[order[:left]] += 1
    used = order[repeats[order] > 0]
    task.keep([task.row(rows[i]) for i in used], labels[used], repeats[used])
    return used


def _alfa(task, max_iter):
    rows, labels = task.flips()
    loss, flipped = task.objective.loss, task.X[rows]

    def losses(theta):
        return loss.value(labels * (flipped @ theta[:-1] + theta[-1]))

    before, victim, aim = losses(task.clean), task.moving(), task.loss_aim
    best, best_value, seen, theta = None, -np.inf, set(), task.clean
    for number in range(max_iter):
        # the first choice: no model is tainted yet, and every flip gains what it costs the clean one
        gain = before - (losses(theta) if number else 0.0)
        used = _keep(task, rows, labels, np.argsort(-gain, kind="stable"))
        key = np.sort(used).tobytes()
        theta = victim.place(*task.kept)
        value = aim.value(theta)
        if value > best_value:
            best, best_value = task.kept, value
        task.kept = best
        task.step(best_value)
        if key in seen:
            break
        seen.add(key)
