"""Which rows an audit asks a guarantee for, and what it may say of all of them."""

from __future__ import annotations

import math

import numpy as np

from .question import take

__all__ = ["fewer_than", "guarantee_of", "looked_at", "share_proved"]


PROBE = 64  # rows that tell whether more are of use


def guarantee_of(question, attacker, prove, callback, n_jobs):
    """Lower bounds of the rows that the metric counts, those of the largest clean margins first.

    ``prove``: True for all of them, or the most. Then ``PROBE`` rows come first, and the others only where they can add
    something: where some row takes more records than the smallest budget, for then the curve gains; or where a row
    takes two at least, for the goal: it needs so many rows that those left cannot reach it alone. A row that is not
    looked at counts as one that nothing is proved of.
    """
    q, n = question, int(question.counted.sum())
    which = np.flatnonzero(q.counted)
    rows, labels = take(q.measured.X, which), np.asarray(q.measured.y)[which]
    margin = np.where(labels == q.classes[1], 1.0, -1.0) * attacker.decision_function(rows)
    order = np.argsort(-margin, kind="stable")
    budgets = [count for _, count in q.budgets]

    def certified(n_rows, joint=None):
        return attacker.certify(
            rows, labels, rows=order[:n_rows], budgets=budgets, attack=False, joint=joint, callback=callback,
            n_jobs=n_jobs, outside="allow",
        )  # fmt: skip

    if prove is True:
        return certified(n)
    most = min(prove, n)
    if most <= PROBE:
        return certified(most)
    first = certified(PROBE, joint=False)
    largest = int(first.lower_bound.max())
    if largest > budgets[0]:
        wanted, joint = most, None
    else:  # no budget is below the bound of any row
        wanted, joint = n - _fewest_wrong(n, q.goal) + 1 if q.goal is not None and largest >= 2 else 0, False
    if not PROBE < wanted <= most or looked_at(first) < PROBE:
        return first
    return max(first, certified(wanted, joint), key=looked_at)  # interrupted, it may know less


def looked_at(guarantee) -> int:
    """Of how many rows it is known how many records flip them at least, 0 where they are wrong already."""
    return int(np.sum(guarantee.status != "interrupted"))


def share_proved(guarantee, n: int, k: int) -> float:
    """No k records have more of n rows wrong, those that the guarantee lacks counted as wrong."""
    known = len(guarantee.status)
    return (guarantee.certified_error(k) * known + (n - known)) / n


def fewer_than(bounds, goal: float, n: int | None = None) -> int:
    """The least number of records that the bounds do not exclude: fewer bring no share of ``goal`` of the rows wrong.

    ``bounds[i]`` records at least flip row i, so that k records have at most ``#{i: bounds[i] <= k}`` rows wrong; of
    the rows beyond these, n in all, nothing is known.
    """
    n = len(bounds) if n is None else n
    known = np.concatenate([np.zeros(n - len(bounds), dtype=np.int64), np.asarray(bounds)])
    return int(np.sort(known)[_fewest_wrong(n, goal) - 1])


def _fewest_wrong(n, goal) -> int:
    """The least m with m / n >= goal."""
    need = max(1, math.ceil(goal * n))
    while need > 1 and (need - 1) / n >= goal:
        need -= 1
    while need / n < goal:
        need += 1
    return need
