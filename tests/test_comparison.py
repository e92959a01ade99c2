"""compare: one judge for all, and the same numbers however it is run."""

import math

import numpy as np
import pytest

from mtpfast import CandidatePool, Comparison, FeatureSpace, compare
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit


def table(n=50, d=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    return np.clip(0.5 + 0.15 * y[:, None] * rng.random(d) + 0.2 * rng.normal(size=(n, d)), 0.0, 1.0), y


def target(X, y):
    rows = slice(0, 10)
    poisoned = np.vstack([X, np.repeat(X[rows], 3, axis=0)]), np.append(y, np.repeat(-y[rows], 3))
    return refit(*poisoned, make_objective("log_loss", alpha=0.02), tol=1e-12).theta


METHODS = [
    "poison",
    "minimum",
    ("damage", {"n_starts": 1, "max_iter": 20}),
    ("kkt", {"n_shares": 3, "refine": 0}),
    ("label_flip", {"rule": "random"}),
    "label_flip",
]
VICTIM = {"loss": "log_loss", "alpha": 0.02, "feasible_set": FeatureSpace(0.0, 1.0)}


def without_seconds(runs):
    return sorted(
        (tuple((k, v) for k, v in row.items() if k != "seconds" and v == v) for row in runs.rows),
        key=lambda r: str(r[:3]),
    )


@pytest.fixture(scope="module")
def runs():
    X, y = table()
    return compare(
        METHODS, X, y, target=target(X, y), budgets=[3, 6], n_seeds=2, eval_sets={"test": table(seed=1)}, **VICTIM
    )


def test_every_row_is_the_judges(runs):
    """Points within the budget and the set, and the model that the method claims is the one that trains."""
    X, y = table()
    objective = make_objective("log_loss", alpha=0.02)
    for i, row in enumerate(runs.rows):
        assert row["feasible"]
        assert row["n_points"] <= row["budget"]
        points, labels, counts, theta = (runs.points[f"{i}/{part}"] for part in ("points", "labels", "counts", "theta"))
        again = refit(np.vstack([X, points]), np.append(y, labels), objective, np.append(np.ones(50), counts)).theta
        # scikit-learn's tolerance
        np.testing.assert_allclose(theta, again, atol=1e-4)
        assert row["off"] < 1e-4 or math.isnan(row["off"])
        Z, z = table(seed=1)
        assert row["accuracy_test"] == np.mean((Z @ theta[:-1] + theta[-1] > 0) == (z > 0))
    seeds = {name: {row["seed"] for row in runs.rows if row["method"] == name} for name in ("poison", "label_flip")}
    assert seeds == {"poison": {0}, "label_flip": {0, 1}}
    nearest = {row["method"]: row["distance"] for row in runs.rows if row["budget"] == 6}
    assert nearest["minimum"] <= nearest["label_flip"]


def test_the_same_seeds_give_the_same_numbers_in_any_order_and_number_of_workers(runs):
    X, y = table()
    other = compare(
        METHODS[::-1], X, y, target=target(X, y), budgets=[6, 3], n_seeds=2, eval_sets={"test": table(seed=1)},
        n_jobs=2, **VICTIM,
    )  # fmt: skip
    assert without_seconds(other) == without_seconds(runs)


def test_saved_and_loaded_it_is_the_same(runs, tmp_path):
    runs.save(tmp_path / "runs.json")
    for name in ("runs", "runs.npz", "runs.json"):
        again = Comparison.load(tmp_path / name)
        assert str(again.rows) == str(runs.rows)
        assert again.points.keys() == runs.points.keys()
        assert all(np.array_equal(again.points[key], runs.points[key]) for key in runs.points)
    (tmp_path / "other.json").write_text('{"rows": []}')
    with pytest.raises(ValueError, match=r"written by Comparison\.save"):
        Comparison.load(tmp_path / "other.json")


def test_it_can_be_shown(runs):
    frame, text = runs.to_frame(), runs.to_markdown()
    assert len(frame) == len(runs.rows)
    assert text.count("\n") == len(runs.rows) + 2
    assert "accuracy_test" in text.splitlines()[0]
    for what in ("accuracy", "distance", "loss_difference"):
        axes = runs.plot(what).axes[0]
        shown = {label.get_text() for label in axes.get_legend().get_texts()}
        assert shown >= {"poison", "minimum", "label_flip"}
    with pytest.raises(ValueError, match="what must be"):
        runs.plot("beauty")


def cheat(X, y, *, budget, **_):
    """A method that leaves the set, for labels -1 and +1."""
    return np.full((budget, X.shape[1]), 7.0), np.ones(budget)


def keeps_small(X, y):
    return np.max(X, axis=1) <= 1.0


def test_who_leaves_the_set_is_told_and_who_refuses_is_noted_and_sanitizers_clean():
    X, y = table()
    runs = compare(
        [cheat, "kkt"], X, np.where(y > 0, "yes", "no"), budgets=[4], target=np.zeros(4), C=1.0,
        feasible_set=CandidatePool(X), sanitizers={"box": keeps_small},
    )  # fmt: skip
    by = {(row["method"], row["sanitizer"]): row for row in runs.rows}
    assert not by["cheat", "none"]["feasible"]
    assert by["cheat", "none"]["n_points"] == 4
    assert by["cheat", "box"]["n_points"] == by["cheat", "box"]["removed"] == 0
    assert by["cheat", "box"]["accuracy_train"] == by["clean", "none"]["accuracy_train"]
    assert by["kkt", "none"]["status"] == "failed"
    assert "kkt: feasible_set must be convex" in runs.to_markdown()


def test_what_cannot_be_compared_is_named():
    X, y = table()
    with pytest.raises(ValueError, match="methods must hold"):
        compare(["biggio"], X, y, budgets=[1])
    with pytest.raises(ValueError, match="methods must differ"):
        compare(["beta", "beta"], X, y, budgets=[1])
    with pytest.raises(ValueError, match="target must be given"):
        compare(["poison"], X, y, budgets=[1])
    with pytest.raises(ValueError, match="aim must be one of"):
        compare(["beta"], X, y, budgets=[1], aim="test")


def test_ctrl_c_keeps_what_is_done():
    X, y = table()

    def stop(done, of, method):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="2 of 3 runs are kept"):
        runs = compare(["beta", "label_flip"], X, y, budgets=[2], callback=stop)
    assert [row["method"] for row in runs.rows] == ["clean", "beta"]


@pytest.mark.parametrize("wrong", [None, (np.ones((2, 9)), np.ones(6)), (np.ones((2, 3)), [1.0])])
def test_a_method_that_returns_no_points_is_noted(wrong):
    """Rows of nine numbers are not three points of three features: its row says what was expected; the rest runs."""
    X, y = np.eye(6, 3), np.array([-1, 1] * 3)
    runs = compare({"odd": lambda X, y, **asked: wrong, "random": "label_flip"}, X, y, budgets=[1], C=1.0)
    odd, other = (next(row for row in runs.rows if row["method"] == name) for name in ("odd", "random"))
    assert odd["status"] == "failed"
    assert "a method must return" in odd["message"]
    assert other["status"] != "failed"
