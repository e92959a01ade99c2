r"""How few insertions could make so large a share of given rows wrong: proved from the rows' own guarantees.

An attack with k points has only rows of ``lower_bound <= k`` wrong. If these weigh less than the share asked for, no
attack with k points, or fewer, reaches it:

.. math:: k^\star = \min \Big\{ k : \sum_{i \,:\, \text{lower\_bound}_i \le k} w_i \;\ge\; g \sum_i w_i \Big\}

is the m-th smallest bound where all rows weigh the same and m of them must be wrong; a row that is wrong already has
bound 0, and a row that was not looked at counts as if it had.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .per_row import certify

__all__ = ["GoalBound", "bound_of_goal", "fewest_of", "rows_to_look_at"]


ROUNDING = 1e-9  # relative: the share is a quotient of sums


class GoalBound(NamedTuple):
    """``n_points``: fewer cannot reach the goal, 0 where nothing is proved; ``reason`` says then why."""

    n_points: int
    reason: str


def fewest_of(lower_bound, weight, share) -> int:
    """The least k such that rows of ``lower_bound <= k`` weigh at least ``share`` of all.

    Parameters
    ----------
    lower_bound : ndarray of int64, shape (n_rows,)
        Fewer points than so many do not make the row wrong.
    weight : ndarray of shape (n_rows,), positive
    share : float, at most 1

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.guarantee.goal import fewest_of
    >>> fewest_of(np.array([5, 0, 9, 7]), np.ones(4), 0.5), fewest_of(np.array([5, 0, 9, 7]), np.ones(4), 0.51)
    (5, 7)
    """
    order = np.argsort(lower_bound, kind="stable")
    reached = np.cumsum(weight[order])
    needed = share * reached[-1] * (1.0 - ROUNDING)
    return int(lower_bound[order[min(np.searchsorted(reached, needed), len(order) - 1)]])


def bound_of_goal(X, y, theta, objective, feasible_set, rows, signs, weight, share, most, sample_weight=None):
    """Fewer points than this cannot make ``share`` of the rows, by weight, wrong.

    Parameters
    ----------
    X, y, theta, objective, feasible_set, rows, signs, sample_weight
        As in :func:`mtpfast.guarantee.per_row.certify`.
    weight : ndarray of shape (n_rows,)
    share : float
    most : int
        Certify at most so many rows: those whose clean margins are largest.

    Returns
    -------
    GoalBound
    """
    keep = np.flatnonzero(weight > 0.0)
    rows, signs, weight = rows[keep], signs[keep], weight[keep]
    margin = signs * (rows @ theta[:-1] + theta[-1])
    order = np.argsort(-margin, kind="stable")
    order = order[margin[order] > 0.0]
    # what is not certified must weigh less than the goal
    heavy = np.cumsum(weight[order])
    needed = int(np.searchsorted(heavy, weight.sum() * (1.0 - share) * (1.0 + ROUNDING), side="right")) + 1
    if needed > len(order):
        return GoalBound(0, "the clean model is that wrong already")
    if needed > most:
        return GoalBound(0, f"nothing proved: {needed} rows would have to be looked at, prove={most} allows fewer")
    chosen = order[:most]
    try:
        guarantee = certify(
            X,
            y,
            theta,
            objective,
            feasible_set,
            rows[chosen],
            signs[chosen],
            sample_weight=sample_weight,
            attack=False,
            joint=False,
        )
    except ValueError as error:  # a loss, weights or a space that no bound is known for
        return GoalBound(0, f"nothing proved: {error}")
    bound = np.zeros(len(keep), dtype=np.int64)
    bound[chosen] = guarantee.lower_bound
    found = fewest_of(bound, weight, share)
    return GoalBound(found, "" if found else "nothing proved of enough of the rows")


def rows_to_look_at(prove, n_rows) -> int:
    """``prove`` as the largest number of rows: True is all of them, False none."""
    if isinstance(prove, (bool, np.bool_)):
        return n_rows if prove else 0
    if not isinstance(prove, (int, np.integer)) or prove < 0:
        raise ValueError(f"prove must be True, False or a number of rows, got {prove!r}")
    return min(int(prove), n_rows)
