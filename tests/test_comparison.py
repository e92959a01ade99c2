"""compare: one judge for all, and the same numbers however it is run."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mtpfast import CandidatePool, Comparison, FeatureSpace, compare
from mtpfast.attacks.baselines import baseline
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


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"budgets": []}, "budgets must"),
        ({"y": [None, 1] * 25}, "y must hold labels of one kind"),
        ({"budgets": [0]}, "budgets must"),
        ({"budgets": None}, "budgets must"),
        ({"methods": None}, "methods must"),
        ({"methods": [("beta",)]}, "methods must"),
        ({"methods": [("beta", {"rule": "loss"})]}, "beta takes no option 'rule'"),
        ({"methods": [("poison", {"rule": "loss"})]}, "poison takes no option 'rule'"),
        ({"methods": [("damage", {"n_distinct": 1})]}, "damage takes no option 'n_distinct'"),
        ({"methods": [("beta", {"budget": 7})]}, "beta takes no option 'budget'"),
        ({"methods": {"clean": "beta"}}, "'clean' is the victim"),
        ({"eval_sets": [(np.ones((2, 3)), [1, -1])]}, "eval_sets must"),
        ({"eval_sets": {"test": np.ones((2, 3))}}, r"eval_sets\['test'\] must"),
        ({"eval_sets": {"test": (pd.DataFrame(np.ones((1, 3)), columns=list("cab")), [1])}}, "the columns of X"),
        ({"sanitizers": [len]}, "sanitizers must"),
        ({"sanitizers": {"one": "sphere"}}, r"sanitizers\['one'\] must"),
        ({"sanitizers": {"none": lambda X, y: y == y}}, r"sanitizers\['none'\] must"),
        ({"sanitizers": {"one": lambda X, y: y}}, r"sanitizers\['one'\] .*boolean mask"),
        ({"sanitizers": {"one": lambda X, y: y > 0}}, r"sanitizers\['one'\] fails on the clean rows"),
        ({"class_weight": {5: 2.0}}, "class_weight must"),
        ({"class_weight": [1.0, 2.0]}, "class_weight must"),
        ({"feasible_set": "box"}, "feasible_set must"),
        ({"random_state": None}, "random_state must"),
        ({"random_state": -1}, "random_state must"),
        ({"callback": 3}, "callback must"),
        ({"judge_tol": 0.0}, "judge_tol must"),
    ],
)
def test_an_argument_that_is_no_good_is_named_before_anything_runs(asked, named):
    X, y = table()
    asked = {"methods": ["beta"], "y": y, "budgets": [1], "target": np.zeros(4), **asked}
    with pytest.raises((TypeError, ValueError), match=named):
        compare(asked.pop("methods"), pd.DataFrame(X, columns=list("abc")), asked.pop("y"), C=1.0, **asked)


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


def returns(*found):
    return lambda X, y, **asked: found


def lies(**claims):
    """A method that returns a baseline's result with other claims."""
    return lambda X, y, *, budget, target, random_state, **victim: dataclasses.replace(
        baseline("label_flip", X, y, budget=budget, **victim), **claims
    )


def changes(X, y, **asked):
    X[:] = 0.0
    return X[:1], y[:1]


NO_TABLE = {
    "nan": returns(np.full((1, 3), np.nan), [1.0]),
    "infinite": returns(np.full((1, 3), np.inf), [1.0]),
    "words": returns([["a", "b", "c"]], [1.0]),
    "labels 0 and 1": returns(np.ones((2, 3)), [0, 1]),
    "labels nan": returns(np.ones((1, 3)), [np.nan]),
    "less than none": returns(np.ones((2, 3)), [1, 1], [-1, 2]),
    "parts of points": returns(np.ones((2, 3)), [1, 1], [0.5, 1.5]),
    "a count too few": returns(np.ones((2, 3)), [1, 1], [1]),
    "a count too many": returns(np.ones((2, 3)), [1, 1], [1, 1, 1]),
    "another width": lies(points=np.ones((1, 2))),
    "a short model": lies(theta=np.zeros(2)),
    "no model": lies(theta=None),
    "labels of a result": lies(labels=np.full(3, 7.0)),
    "points of a result": lies(points=np.full((3, 3), np.nan)),
    "a sequence": lies(sequence=np.array([0, 9])),
    "division": lambda X, y, **asked: 1 / 0,
    "no such option": lambda X, y: None,
    "changes the rows": changes,
}


def test_what_no_table_can_hold_is_a_failure_of_its_method_alone():
    """It is recorded with its reason; every other method has the numbers that it has without it."""
    X, y = table()
    before = X.copy()
    runs = compare(NO_TABLE | {"fair": "label_flip"}, X, y, budgets=[3], C=1.0)
    rows = {row["method"]: row for row in runs.rows}
    assert np.array_equal(X, before)
    for name in NO_TABLE:
        assert rows[name]["status"] == "failed", name
        assert rows[name]["message"], name
        assert f"\n{name}: " in runs.to_markdown()
    alone = compare({"fair": "label_flip"}, X, y, budgets=[3], C=1.0)
    assert without_seconds(alone) == [row for row in without_seconds(runs) if dict(row)["method"] in ("clean", "fair")]


def test_what_a_table_can_hold_is_measured_as_it_is():
    """More points than the budget are counted and not feasible; points of no copies are none; a model is not believed;
    sparse rows of any format are the rows that they are."""
    X, y = table()
    rows = np.array([[0.0, 0.25, 0.0], [0.5, 0.0, 0.0], [0.0, 0.25, 0.0]])
    methods = {
        "too many": returns(X[:4], np.ones(4)),
        "too many copies": returns(X[:1], [1.0], [50]),
        "no copies": returns(X[:2], [1.0, -1.0], [0, 3]),
        "nothing": returns([], []),
        "a lie": lies(theta=np.full(4, 9.0)),
        **{kind: returns(make(rows), [1, 1, 1]) for kind, make in
           {"csr": sp.csr_array, "csc": sp.csc_matrix, "coo": sp.coo_array, "frame": pd.DataFrame}.items()},
    }  # fmt: skip
    runs = compare(methods, X, y, budgets=[3], C=1.0, feasible_set=FeatureSpace(0.0, 1.0))
    shown = {r["method"]: (r["n_points"], r["n_distinct"], r["feasible"]) for r in runs.rows}
    assert shown["too many"] == (4, 4, False)
    assert shown["too many copies"] == (50, 1, False)
    assert "50 points for a budget of 3" in str(runs.to_frame()["message"].tolist())
    assert shown["no copies"] == (3, 1, True)
    assert shown["nothing"] == (0, 0, True)
    assert next(r["off"] for r in runs.rows if r["method"] == "a lie") > 1.0
    assert {shown[kind] for kind in ("csr", "csc", "coo", "frame")} == {(3, 2, True)}
    legend = {text.get_text() for text in runs.plot().axes[0].get_legend().get_texts()}
    assert {"too many (not feasible)", "nothing"} <= legend


@pytest.mark.parametrize("sparse", [False, True])
def test_the_packages_own_attacks_run_inside_a_method(sparse):
    """On the rows that it is handed, which it cannot change."""
    X, y = table()
    X = sp.csr_matrix(X) if sparse else X

    def own(name):
        return lambda X, y, *, budget, target, random_state, **victim: baseline(name, X, y, budget=budget, **victim)

    names = ("beta", "influence", "min_max", "label_flip")
    runs = compare({f"my {n}": own(n) for n in names} | {n: n for n in names}, X, y, budgets=[3], C=1.0)
    points = {row["method"]: runs.points[f"{i}/points"] for i, row in enumerate(runs.rows)}
    assert all(np.array_equal(points[f"my {name}"], points[name]) for name in names)


@pytest.mark.parametrize("method", ["gradient_ascent", "poison", "damage", "beta"])
def test_ctrl_c_within_a_method_ends_all_and_keeps_whole_budgets(method):
    """A search that was cut is compared with nothing, and no other method starts after it."""
    X, y = table()
    begun = []

    def cut(state):
        if state.get("budget") == 5 or state.get("n_points") == 4:
            raise KeyboardInterrupt

    def late(X, y, **asked):
        begun.append(1)
        return X[:1], y[:1]

    how = (method, {"callback": cut, **({"n_starts": 1, "max_iter": 3} if method == "damage" else {})})
    with pytest.warns(UserWarning, match="interrupted: 1 of 3 runs are kept"):
        runs = compare({"cut": how, "late": late}, X, y, budgets=[2, 5, 6], target=np.full(4, -9.0), C=1.0)
    kept = [row["budget"] for row in runs.rows if row["method"] == "cut"]
    assert kept == [2]
    assert not begun
    assert "interrupted" not in {row["status"] for row in runs.rows}


def test_true_from_the_callback_stops():
    X, y = table()
    runs = compare(["beta", "label_flip"], X, y, budgets=[2], C=1.0, callback=lambda done, of, name: done == 2)
    assert [row["method"] for row in runs.rows] == ["clean", "beta"]


def test_a_sanitizer_that_leaves_nothing_to_train_on_is_noted():
    X, y = table()

    def strict(X, y):
        return np.ones(len(y), bool) if len(y) == 50 else y > 0

    runs = compare(["label_flip"], X, y, budgets=[3], C=1.0, sanitizers={"strict": strict})
    assert [(row["sanitizer"], row["status"] == "failed") for row in runs.rows] == [
        ("none", False), ("strict", False), ("none", False), ("strict", True)]  # fmt: skip
    assert "label_flip with strict: " in runs.to_markdown()


def test_what_cannot_be_shown_is_named(tmp_path):
    X, y = table()
    runs = compare({"a|b": "label_flip"}, X, y, budgets=3, C=1.0)
    with pytest.raises(ValueError, match="no target"):
        runs.plot("distance")
    with pytest.raises(ValueError, match="what must be"):
        runs.plot("message")
    with pytest.raises(ValueError, match="sanitizer must be"):
        runs.plot(sanitizer="sphere")
    with pytest.raises(ValueError, match="columns must be"):
        runs.to_markdown(["beauty"])
    lines = runs.to_markdown(["method", "n_points"]).splitlines()
    assert [line.replace("\\|", "").count("|") for line in lines] == [3] * len(lines)
    runs.save(tmp_path / "runs")
    (tmp_path / "runs.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"written by Comparison\.save"):
        Comparison.load(tmp_path / "runs")


def test_features_of_a_data_frame_have_names():
    """A feasible set may speak of columns by name, as everywhere."""
    X, y = table()
    frame = pd.DataFrame(X, columns=list("abc"))
    named, numbered = (
        compare(["min_max"], frame, y, budgets=[4], C=1.0, feasible_set=FeatureSpace(0.0, 1.0, integer=[column]))
        for column in ("b", 1)
    )
    assert without_seconds(named) == without_seconds(numbered)
    assert set(named.points["1/points"][:, 1]) <= {0.0, 1.0}
