"""Long calls tell how far they are, and an end by the user keeps what there is, bound and all."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mtpfast import MinimumPoisoner, make_target


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=2, return_X_y=True)
    return X[:200] / 16, y[:200]


def stop_after(n, seen, how):
    def callback(state):
        seen.append(state)
        if len(seen) < n:
            return False
        if how == "Ctrl-C":
            raise KeyboardInterrupt
        return True

    return callback


@pytest.mark.parametrize("how", ["True", "Ctrl-C"])
def test_the_minimum_keeps_points_and_bound(digits, how):
    """Some searches in: the points are verified, the bound is that of the whole search."""
    X, y = digits
    attacker = MinimumPoisoner(alpha=0.09, tol=0.05).fit(X, y)
    target = attacker.make_target(goal=0.1, quantiles=[0.2], repeats=[5])
    whole, seen = attacker.attack(target), []
    ended = attacker.attack(target, callback=stop_after(2, seen, how))
    assert len(seen) == 2
    assert seen[-1]["n_points"] == ended.n_points >= whole.n_points
    assert "interrupted" in ended.message
    assert ended.lower_bound == whole.lower_bound
    assert ended.status == ("reached" if ended.distance <= 0.05 else "interrupted")
    assert ended.verify(X, y).ok
    heard = []
    assert attacker.attack(target, callback=heard.append).n_points == whole.n_points
    assert len(heard) > 5


@pytest.mark.parametrize("how", ["True", "Ctrl-C"])
def test_a_target_is_made_of_the_models_so_far(digits, how):
    X, y = digits
    tapes = {"quantiles": [0.1, 0.2], "repeats": [1, 5, 20], "alpha": 0.09}
    seen = []
    ended = make_target(X, y, goal=0.0, **tapes, callback=stop_after(3, seen, how))
    assert [state["n_done"] for state in seen] == [1, 2, 3]
    assert [state["n"] for state in seen] == [6, 6, 6]
    whole = make_target(X, y, goal=0.0, **tapes)
    assert len(ended.candidates) == 3
    for one, other in zip(ended.candidates, whole.candidates, strict=False):
        assert np.array_equal(one.coef_, other.coef_)
    with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else ValueError):
        make_target(X, y, goal=1.0, **tapes, callback=stop_after(2, [], how))


def test_verify_tells_of_every_claim(digits):
    X, y = digits
    attacker = MinimumPoisoner(alpha=0.09).fit(X, y)
    result, heard = attacker.attack(attacker.make_target(goal=0.1, quantiles=[0.2], repeats=[5])), []
    report = result.verify(X, y, callback=heard.append)
    assert [told["claim"] for told in heard] == [check.name for check in report.checks]
    with pytest.raises(KeyboardInterrupt):
        result.verify(X, y, callback=lambda told: True)
