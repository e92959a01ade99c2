"""keep_path: which of the models visited a result has. What it has not is named where it is asked for."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mtpfast import FeatureSpace, ModelTargetedPoisoner, PoisoningResult, poison
from mtpfast.attacks.kept import Path

rng = np.random.default_rng(3)
X = rng.random((60, 5))
y = np.where(X[:, 0] + 0.3 * rng.normal(size=60) > 0.5, 1.0, -1.0)
TARGET = ([-1.0, 0.5, 0.0, 0.2, -0.3], 0.4)
OPTIONS = {"alpha": 0.1, "feasible_set": FeatureSpace(0.0, 1.0), "tol": 0.0, "max_points": 30}


@pytest.fixture(scope="module")
def whole():
    return poison(X, y, TARGET, **OPTIONS)


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
@pytest.mark.parametrize("keep", [False, 1, 7, 100, np.int64(4)])
def test_nothing_but_the_path_depends_on_what_is_kept(loss, keep):
    """The clean model, every k-th, the last, and the one whose bound is best: those of the whole path."""
    whole = poison(X, y, TARGET, loss=loss, **OPTIONS)
    result = poison(X, y, TARGET, loss=loss, keep_path=keep, **OPTIONS)
    assert whole.path_index is None
    for name, values in whole.history.items():
        assert_array_equal(result.history[name], values)
    assert_array_equal(result.theta, whole.theta)
    assert_array_equal(result.points, whole.points)
    assert (result.lower_bound, result.status) == (whole.lower_bound, whole.status)
    if keep == 1:
        assert result.path_index is None
        return
    best = int(np.argmax(whole.history["lower_bound"]))
    kept = {0, best, 30} | (set() if keep is False else set(range(0, 31, keep)))
    assert result.path_index.tolist() == sorted(kept)
    assert_array_equal(result.path, whole.path[result.path_index])
    assert result.verify(X, y).ok


@pytest.mark.parametrize("keep", [0, -1])
def test_a_number_below_one_is_refused(keep):
    with pytest.raises(ValueError, match="keep_path must be at least 1"):
        poison(X, y, TARGET, keep_path=keep, **OPTIONS)


@pytest.mark.parametrize("keep", [1.5, None, "all"])
def test_what_is_no_number_is_refused(keep):
    with pytest.raises(TypeError, match="keep_path must be an integer"):
        poison(X, y, TARGET, keep_path=keep, **OPTIONS)


def test_prefixes_whose_model_was_kept_are_those_of_the_whole_attack(whole):
    result = poison(X, y, TARGET, keep_path=10, **OPTIONS)
    first, known = result.at_budget(20), whole.at_budget(20)
    assert_array_equal(first.theta, known.theta)
    assert_array_equal(first.X_poison, known.X_poison)
    assert first.lower_bound <= known.lower_bound
    assert_array_equal(first.path, whole.path[first.path_index])
    assert first.path_index[-1] == 20
    assert len(first.history["n_points"]) == 21
    assert first.verify(X, y).ok
    assert_array_equal(first.at_budget(10).theta, whole.path[10])
    with pytest.raises(ValueError, match=r"k: the model of 15 points was not kept \(keep_path .* are those of 0, .*10"):
        result.at_budget(15)


def test_a_curve_on_rows_has_the_models_there_are_and_names_those_there_are_not(whole):
    result = poison(X, y, TARGET, keep_path=10, **OPTIONS)
    of_all = whole.curve(X=X, y=y)
    frame = result.curve(X=X, y=y)
    assert frame.index.tolist() == result.path_index.tolist()
    assert_array_equal(frame["accuracy"], of_all["accuracy"][frame.index])
    assert len(result.curve()) == len(result.curve([3, 4])) + 29  # the history is whole
    assert_array_equal(result.curve([10, 20], X=X, y=y)["accuracy"], of_all["accuracy"][[10, 20]])
    with pytest.raises(ValueError, match="budgets: the model of 12 points was not kept"):
        result.curve([10, 12], X=X, y=y)


@pytest.mark.parametrize("first", [True, False, 4])
@pytest.mark.parametrize("then", [True, False, 4])
def test_an_attack_goes_on_from_any(whole, first, then):
    """What the first part did not keep stays unknown, and nothing else changes."""
    begun = poison(X, y, TARGET, keep_path=first, **OPTIONS | {"max_points": 18})
    result = poison(X, y, TARGET, keep_path=then, resume=begun, **OPTIONS)
    straight = poison(X, y, TARGET, resume=poison(X, y, TARGET, **OPTIONS | {"max_points": 18}), **OPTIONS)
    assert_array_equal(result.theta, straight.theta)
    assert_array_equal(result.history["lower_bound"], straight.history["lower_bound"])
    assert result.lower_bound == straight.lower_bound
    index = np.arange(31) if result.path_index is None else result.path_index
    assert_array_equal(result.path, straight.path[index])
    assert {0, 30, int(np.argmax(straight.history["lower_bound"]))} <= set(index.tolist())
    assert (result.path_index is None) == (first is True and then is True)


def test_a_checkpoint_keeps_what_the_attack_keeps(tmp_path):
    options = OPTIONS | {"max_points": 240, "keep_path": 60}
    result = poison(X, y, TARGET, checkpoint=tmp_path / "attack.npz", **options)
    assert {0, 60, 120, 180, 240} <= set(result.path_index.tolist())
    assert len(result.path_index) <= 6
    again = poison(X, y, TARGET, checkpoint=tmp_path / "attack.npz", **options)
    assert_array_equal(again.path, result.path)
    assert_array_equal(again.path_index, result.path_index)


def test_a_file_says_which_models_it_has(tmp_path):
    result = poison(X, y, TARGET, keep_path=7, **OPTIONS)
    result.save(tmp_path / "result.npz")
    loaded = PoisoningResult.load(tmp_path / "result.npz")
    assert_array_equal(loaded.path_index, result.path_index)
    assert_array_equal(loaded.path, result.path)
    assert_array_equal(loaded.at_budget(14).theta, result.at_budget(14).theta)


def rewritten(result, change, tmp_path):
    result.save(tmp_path / "result.npz")
    with np.load(tmp_path / "result.npz") as file:
        arrays = dict(file)
    document = json.loads(str(arrays["json"]))
    change(document["result"], arrays)
    arrays["json"] = np.array(json.dumps(document))
    np.savez(tmp_path / "result.npz", **arrays)
    return PoisoningResult.load(tmp_path / "result.npz")


def test_a_file_of_an_earlier_build_has_all_models(whole, tmp_path):
    loaded = rewritten(whole, lambda tree, _: tree.pop("path_index"), tmp_path)
    assert loaded.path_index is None
    assert_array_equal(loaded.path, whole.path)


@pytest.mark.parametrize("wrong", [lambda i: i[::-1], lambda i: i + 1, lambda i: i[:-1], lambda i: i * 1.0])
def test_a_file_whose_index_cannot_be_is_refused(wrong, tmp_path):
    def change(tree, arrays):
        name = tree["path_index"]["array"]
        arrays[name] = wrong(arrays[name])

    with pytest.raises(ValueError, match="'path_index'"):
        rewritten(poison(X, y, TARGET, keep_path=7, **OPTIONS), change, tmp_path)


def test_a_bound_without_a_certificate_is_checked_at_the_best_model_that_is_kept():
    result = poison(X, y, TARGET, keep_path=False, **OPTIONS)
    assert result.lower_bound > 0
    report = dataclasses.replace(result, certificate=None, goal=None).verify(X, y)
    assert report.ok


def test_points_spread_keep_the_last_model():
    result = poison(X, y, TARGET, keep_path=False, **OPTIONS).spread()
    assert result.path_index is None
    assert len(result.path) == len(result.history["n_points"]) == 1
    assert_array_equal(result.path[-1], result.theta)


def test_an_attack_that_is_interrupted_has_its_last_model():
    def watch(state):
        if state["n_points"] == 12:
            raise KeyboardInterrupt

    result = poison(X, y, TARGET, keep_path=False, callback=watch, **OPTIONS)
    assert result.status == "interrupted"
    assert result.n_points == 12
    assert result.path_index[-1] == 12
    assert result.verify(X, y).ok


def test_the_estimator_keeps_what_it_is_told(whole):
    attacker = ModelTargetedPoisoner(keep_path=7, **OPTIONS).fit(X, y)
    result = attacker.attack(TARGET)
    assert_array_equal(result.path_index, poison(X, y, TARGET, keep_path=7, **OPTIONS).path_index)
    assert "keep_path=7" in repr(attacker)


@pytest.mark.parametrize("every", [1, 3, False])
def test_a_model_taken_back_leaves_no_trace(every):
    """Whichever it was: one that is kept, the best, or none of these."""
    rng = np.random.default_rng(0)
    for n in range(1, 12):
        theta, claims = rng.random((n + 1, 4)), rng.random(n + 1)
        straight, path = Path(4, every), Path(4, every)
        for model, claim in zip(theta[:n], claims, strict=False):
            straight.append(model, claim)
            path.append(model, claim)
        path.append(theta[n], 2.0)
        path.take_back()
        straight.append(theta[n], claims[n])
        path.append(theta[n], claims[n])
        (rows, index), (known, of) = path.finish(), straight.finish()
        assert_array_equal(rows, known)
        assert_array_equal(rows, theta if of is None else theta[of])
        assert (index is None) == (of is None)
        assert of is None or index.tolist() == of.tolist()
        assert of is None or all(i < j for i, j in pairwise(of.tolist()))
