"""What is proved beside the fewest points that were found for a goal."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mtpfast import DamagePoisoner
from mtpfast.attacks.damage_search import Search
from mtpfast.guarantee.goal import fewest_of

RNG = np.random.default_rng(0)


def digits():
    X, y = load_digits(n_class=2, return_X_y=True)
    return X / 16.0, y


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_m_wrong_rows_of_one_weight_need_the_mth_smallest_bound(m):
    bound = RNG.integers(0, 50, 8)
    assert fewest_of(bound, np.full(8, 0.7), m / 8) == np.sort(bound)[m - 1]


def test_rows_that_weigh_more_take_a_goal_with_fewer_bounds():
    """All subsets of rows that weigh the share: the least of their largest bounds."""
    for _ in range(20):
        bound, weight, share = RNG.integers(0, 9, 6), RNG.integers(1, 5, 6), RNG.random()
        subsets = (np.array([n >> i & 1 for i in range(6)], bool) for n in range(1, 64))
        least = min(bound[s].max() for s in subsets if weight[s].sum() >= share * weight.sum())
        assert fewest_of(bound, weight.astype(float), share) == least


def test_what_is_proved_of_a_goal_is_what_the_guarantees_of_its_rows_say():
    """All of a group wrong: the largest bound of its rows; a third of it: that of a third. Found is never below."""
    X, y = digits()
    group = np.zeros(len(y), bool)
    group[np.flatnonzero(y == 0)[:9]] = True
    attacker = DamagePoisoner(alpha=0.09, n_starts=1, max_iter=40).fit(X, y)
    bounds = np.sort(attacker.certify(X[group], y[group], attack=False).lower_bound)
    for goal, m in ((1.0, 9), (1 / 3, 3)):
        result = attacker.cheapest(goal, mask=group, prove=True)
        assert result.damage.proved == bounds[m - 1] > 0
        assert result.damage.goal == goal
        assert result.damage.proved <= result.n_points
        assert f"found: {result.n_points} points; proved: fewer than {bounds[m - 1]} cannot" in result.message


def test_what_nothing_is_proved_of_is_said():
    X, y = digits()
    attacker = DamagePoisoner(alpha=0.09, n_starts=1, max_iter=40).fit(X, y)
    few = attacker.cheapest(0.05, prove=20)
    assert few.damage.proved == 0
    assert "nothing proved: 343 rows would have to be looked at, prove=20 allows fewer" in few.message
    attacker.set_params(metric="hinge")
    clean = attacker.cheapest(0.0)
    assert (clean.n_points, clean.damage.proved) == (0, 0)
    assert "nothing proved: hinge is no share of wrong predictions" in clean.message
    with pytest.raises(ValueError, match="prove must be True, False or a number of rows"):
        attacker.cheapest(0.05, prove=-1)


def test_a_victim_of_balanced_classes_is_searched_and_nothing_is_proved():
    X, y = digits()
    attacker = DamagePoisoner(alpha=0.09, class_weight="balanced", n_starts=1, max_iter=40).fit(X, y)
    result = attacker.cheapest(1.0, mask=np.arange(len(y)) < 3)
    assert result.damage.found == 1.0
    assert result.damage.proved == 0
    assert "nothing proved: no guarantee can be proved" in result.message


@pytest.mark.parametrize("status", ["interrupted", "budget"])
def test_what_is_stopped_keeps_the_nearest_to_the_goal_and_proves_nothing(status):
    """By an interrupt or by the callback. Within a second: no proof is begun, and no search is lost."""
    X, y = digits()
    attacker = DamagePoisoner(alpha=0.09, n_starts=1, max_iter=40).fit(X, y)

    def stop(told):
        if told["n_iter"] == 150 and status == "interrupted":
            raise KeyboardInterrupt
        return told["n_iter"] == 150

    result = attacker.cheapest(1.0, callback=stop)
    assert result.status == status
    assert result.damage.before["aimed"] < result.damage.found < 1.0
    assert (result.damage.goal, result.damage.proved) == (1.0, 0)
    assert "goal=1 is not met" in result.message
    assert "nothing proved: it was stopped" in result.message


def test_a_goal_that_is_no_share_is_refused_at_once():
    X, y = digits()
    with pytest.raises(ValueError, match="goal must be at most 1, for error is a share of rows"):
        DamagePoisoner(alpha=0.09).fit(X, y).cheapest(1.5)


def test_a_goal_that_only_the_rough_model_of_the_search_meets_is_not_met(monkeypatch):
    """Whatever the search takes its points to do, those returned meet the goal when trained to the end."""
    X, y = digits()
    honest = Search.found
    monkeypatch.setattr(Search, "found", lambda search: (kept := honest(search)) and kept._replace(value=1.0))
    attacker = DamagePoisoner(alpha=0.09, n_starts=1, max_iter=20).fit(X, y)
    result = attacker.cheapest(0.02, prove=False)
    assert result.damage.found >= 0.02
