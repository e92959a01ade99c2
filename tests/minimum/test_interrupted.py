"""Long calls tell how far they are, and an end by the user keeps what there is, bound and all."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mtpfast import MinimumPoisoner, VerificationError, make_target


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
def test_a_sweep_of_tolerances_keeps_those_done_and_the_points_for_the_target(digits, how):
    """One result for every tolerance: those that were not come to have the exact points and claim no bound."""
    X, y = digits
    attacker = MinimumPoisoner(alpha=0.09).fit(X, y)
    target, seen = attacker.make_target(goal=0.1, quantiles=[0.2], repeats=[5]), []
    exact = attacker.attack(target)
    heard = []
    first = attacker.tradeoff(target, [0.05], callback=heard.append)[0]
    ended = attacker.tradeoff(target, [0.05, 0.02, 0.01], callback=stop_after(len(heard) + 2, seen, how))
    assert len(ended) == 3
    assert (ended[0].n_points, ended[0].lower_bound) == (first.n_points, first.lower_bound)
    assert ended[1].lower_bound > 0
    assert (ended[2].n_points, ended[2].lower_bound) == (exact.n_points, 0)
    assert all("interrupted" in result.message for result in ended[1:])
    assert all(result.verify(X, y).ok for result in ended)


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
    assert not report.interrupted


@pytest.mark.parametrize("how", ["True", "Ctrl-C"])
def test_verify_keeps_the_claims_that_were_checked(digits, how):
    """Ended after three claims: these, as in the whole report; it is not ok, and a claim that failed is still told."""
    X, y = digits
    attacker = MinimumPoisoner(alpha=0.09).fit(X, y)
    result = attacker.attack(attacker.make_target(goal=0.1, quantiles=[0.2], repeats=[5]))
    whole, ended = result.verify(X, y), result.verify(X, y, callback=stop_after(3, [], how))
    assert ended.interrupted
    assert not ended.ok
    assert ended.checks == whole.checks[:3]
    assert "as far as it went, 3 checks" in repr(ended)
    wrong = dataclasses.replace(result, theta=result.theta * 1.01)
    with pytest.raises(VerificationError) as told:
        wrong.verify(X, y, callback=stop_after(3, [], how))
    assert told.value.report.interrupted


@pytest.mark.parametrize("how", ["True", "Ctrl-C"])
def test_the_nearest_model_for_so_many_points_is_kept(digits, how, capsys):
    """max_points below the minimum: the searches are told of, and an end keeps the nearest model and the bound."""
    X, y = digits
    exact = MinimumPoisoner(alpha=0.09).fit(X, y)
    target = exact.make_target(goal=0.1, quantiles=[0.2], repeats=[5])
    allowed = exact.attack(target).n_points - 1
    attacker = MinimumPoisoner(alpha=0.09, max_points=allowed, verbose=1).fit(X, y)
    heard = []
    whole = attacker.attack(target, callback=heard.append)
    assert whole.status == "budget"
    assert len(heard) > 2
    assert capsys.readouterr().err.count("best so far") == len(heard)
    distances = [state["distance"] for state in heard if state["distance"] is not None]
    assert distances == sorted(distances, reverse=True)
    seen = []
    ended = attacker.attack(target, callback=stop_after(2, seen, how))
    assert len(seen) == 2
    assert ended.status == "interrupted"
    assert "interrupted" in ended.message
    assert ended.n_points <= allowed
    assert ended.lower_bound == whole.lower_bound
    assert ended.distance >= whole.distance
    assert ended.verify(X, y).ok


def test_a_target_by_damage_is_told_of(digits):
    """The search tells of its trainings; stopped before its goal is met, there is no target: Ctrl-C, or an error."""
    X, y = digits
    for how, error in (("Ctrl-C", KeyboardInterrupt), ("True", ValueError)):
        seen = []
        with pytest.raises(error):
            make_target(X[:80], y[:80], method="damage", goal=0.9, alpha=0.09, callback=stop_after(3, seen, how))
        assert [state["n_iter"] for state in seen] == [1, 2, 3]


@pytest.mark.parametrize(
    "name, value", [("quantiles", [0.1]), ("repeats", [2]), ("improved", True), ("n_jobs", 2)]
)
def test_a_target_by_damage_refuses_what_it_would_not_use(digits, name, value):
    with pytest.raises(ValueError, match=f"{name} is of method='label_flip'"):
        make_target(*digits, method="damage", **{name: value})
