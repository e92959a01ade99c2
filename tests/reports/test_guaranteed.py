"""Of which rows an audit proves something, and what follows for all of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from mtpfast.reports import guaranteed
from mtpfast.reports.guaranteed import fewer_than, guarantee_of, looked_at, share_proved

N = 100
MARGIN = np.random.default_rng(0).permutation(np.linspace(-0.1, 1.0, N))  # of rows that should be "yes": nine are wrong


class Attacker:
    """Proves of a row the bound that it is given for it, and writes down what it is asked."""

    def __init__(self, bounds, stop_after=None):
        self.bounds, self.stop_after, self.asked = np.where(MARGIN > 0.0, bounds, 0), stop_after, []

    def decision_function(self, rows):
        return rows[:, 0]

    def certify(self, X, labels, *, rows, budgets, attack, joint, callback, n_jobs, outside):
        assert outside == "allow"  # a holdout has rows that no clean row is like
        self.asked.append((len(rows), joint))
        status = np.where(MARGIN[rows] > 0.0, "done", "wrong").astype("<U11")
        if self.stop_after is not None and len(self.asked) > self.stop_after:
            status[3:] = "interrupted"
        bounds = np.where(status == "done", self.bounds[rows], 0)
        share = lambda k: float(np.mean(bounds <= k))  # noqa: E731
        return SimpleNamespace(lower_bound=bounds, status=status, row=rows, certified_error=share)


def question(goal, budgets):
    rows = SimpleNamespace(X=MARGIN[:, None], y=np.full(N, "yes"))
    counted = np.ones(N, dtype=bool)
    return SimpleNamespace(
        counted=counted, measured=rows, classes=["no", "yes"], goal=goal, budgets=[(b, b) for b in budgets]
    )


def test_rows_left_out_count_as_wrong():
    """What some rows prove is never more than what all of them prove, for goals and for budgets; and the surest are."""
    bounds = np.random.default_rng(1).integers(1, 30, N)
    asked = question(0.5, [5])
    whole = guarantee_of(asked, Attacker(bounds), True, None, None)
    assert looked_at(whole) == N
    for most in (1, 30, 64):
        some = guarantee_of(asked, Attacker(bounds), most, None, None)
        assert set(some.row) == set(np.argsort(-MARGIN, kind="stable")[:most])
        padded = np.append(some.lower_bound, np.zeros(N - most))
        for goal in (0.05, 0.3, 0.5, 0.8, 1.0):
            assert fewer_than(some.lower_bound, goal, N) == fewer_than(padded, goal)
            assert fewer_than(some.lower_bound, goal, N) <= fewer_than(whole.lower_bound, goal)
        for budget in (1, 5, 40):
            assert share_proved(some, N, budget) == pytest.approx(np.mean(padded <= budget), rel=1e-12)
            assert share_proved(some, N, budget) >= share_proved(whole, N, budget) - 1e-12


@pytest.mark.parametrize(
    "bound, goal, budgets, most, asked",
    [
        (1, 0.5, [1, 8], 1000, [(20, False)]),  # nobody takes two records, or more than the smallest budget
        (4, None, [4], 1000, [(20, False)]),
        (4, 0.5, [4], 1000, [(20, False), (51, False)]),  # 50 others may be wrong, 51 must not all be
        (4, 0.9, [4], 1000, [(20, False)]),  # 11 rows do for that goal: the first 20 have them
        (4, 0.5, [4], 50, [(20, False)]),  # too few are allowed for the goal
        (5, 0.5, [4, 9], 1000, [(20, False), (100, None)]),  # the curve gains with every row
        (5, None, [4, 9], 70, [(20, False), (70, None)]),
        (5, None, [4, 9], 15, [(15, None)]),
        (1, 0.5, [8], True, [(100, None)]),  # all were asked for
    ],
)
def test_more_rows_are_looked_at_only_where_they_add_something(monkeypatch, bound, goal, budgets, most, asked):
    monkeypatch.setattr(guaranteed, "PROBE", 20)
    attacker = Attacker(np.full(N, bound))
    found = guarantee_of(question(goal, budgets), attacker, most, None, None)
    assert attacker.asked == asked
    if goal is not None and (most is True or most > 50):  # what is left out would not have said more of the goal
        assert fewer_than(found.lower_bound, goal, N) == fewer_than(attacker.bounds, goal) or bound == 1


def test_what_is_interrupted_keeps_what_came_first(monkeypatch):
    """A stop in the second round does not lose the first; one in the first asks for no more."""
    monkeypatch.setattr(guaranteed, "PROBE", 20)
    asked = question(0.5, [2])
    assert looked_at(guarantee_of(asked, Attacker(np.full(N, 7), stop_after=1), 1000, None, None)) == 20
    early = Attacker(np.full(N, 7), stop_after=0)
    assert looked_at(guarantee_of(asked, early, 1000, None, None)) == 3
    assert len(early.asked) == 1
