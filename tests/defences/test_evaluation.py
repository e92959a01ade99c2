"""The table of sanitisers: its numbers are those of a script that does the same by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from mtpfast import DamagePoisoner
from mtpfast.defences import ECOD, Loss, NearestNeighbors, RandomRemoval, RepeatedRows, Sphere, Validity, evaluate
from mtpfast.defences.evaluation import COLUMNS
from mtpfast.defences.poisoned_table import places_of
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=2, return_X_y=True)
    X = X / 16
    attacker = DamagePoisoner(alpha=0.09, budget=12, n_starts=1, max_iter=30).fit(X, y)
    return X, y, attacker.attack()


def test_every_row_is_what_a_script_finds(digits):
    """Refit, recall, loss of clean rows, distances and error of one sanitiser, done again by hand."""
    X, y, result = digits
    table = evaluate(result, X, y, defences=[Sphere()], shares=[0.05, "poison"], seeds=[4])
    frame = table.to_frame()
    assert list(frame.columns) == list(COLUMNS)
    X_mod, y_mod, poison = result.poisoned(X, y, shuffle=True, random_state=places_of(4))
    row = frame[(frame.defence == "Sphere") & (frame.rule == "share") & frame.poisoned].iloc[0]
    kept = Sphere().keep(X_mod, y_mod, 0.05)
    assert row.n_removed == round(0.05 * len(y_mod)) == np.count_nonzero(~kept)
    assert row.recall == np.mean(~kept[poison])
    assert row.clean_lost == np.mean(~kept[~poison])
    objective = make_objective("hinge", alpha=0.09)
    theta = refit(X_mod[kept], np.where(y_mod[kept] == 1, 1.0, -1.0), objective).theta
    clean = refit(X, np.where(y == 1, 1.0, -1.0), objective).theta
    # The same trainings on the same rows: equal but for the order of sums.
    np.testing.assert_allclose(row.distance_clean, np.linalg.norm(theta - clean), rtol=1e-9)
    np.testing.assert_allclose(row.distance_target, np.linalg.norm(theta - result.theta_target), rtol=1e-9)
    assert row.metric == np.mean((X @ theta[:-1] + theta[-1] > 0) != (y == 1))


def test_controls_stand_beside_every_table(digits):
    X, y, result = digits
    frame = evaluate(result, X, y, defences=[], shares=["poison"], seeds=2).to_frame()
    poisoned = frame[frame.poisoned]
    assert sorted(set(poisoned.defence)) == ["Oracle", "RandomRemoval", "none"]
    oracle = poisoned[poisoned.defence == "Oracle"]
    assert (oracle.recall == 1.0).all()
    assert (oracle.clean_lost == 0.0).all()
    # Without the poison the model is the clean one, to the accuracy of two trainings.
    assert oracle.distance_clean.max() < 1e-6
    none = poisoned[poisoned.defence == "none"]
    assert (none.recall == 0.0).all()
    np.testing.assert_allclose(none.metric, result.damage.after["aimed"], atol=1e-12)
    clean = frame[~frame.poisoned]
    assert clean.recall.isna().all()
    assert set(clean.defence) == {"none", "RandomRemoval"}


def test_random_removal_does_not_know_the_places(digits):
    """Of 100 seeds' removals of a tenth, the mean recall is a tenth: within 5 standard errors of 12 draws each."""
    X, y, result = digits
    poison = X[:12], 1 - y[:12]
    recalls = []
    for seed in range(100):
        order = places_of(seed).permutation(len(y) + 12)
        kept = RandomRemoval(seed).keep(np.zeros((len(order), 1)), order, 0.1)
        recalls.append(np.mean(~kept[order >= len(y)]))
    assert abs(np.mean(recalls) - 0.1) < 5 * 0.3 / np.sqrt(1200)
    table = evaluate(poison, X, y, estimator=result.objective, defences=[], shares=["poison"], seeds=3, clean=False)
    assert max(row["recall"] for row in table.rows if row["defence"] == "RandomRemoval") < 0.5


def test_raw_tables_are_judged_by_what_the_preprocessing_makes_of_them():
    """A Pipeline is fitted again to what is left of the poisoned table, and so are the defences."""
    rng = np.random.default_rng(0)
    n = 80
    X = pd.DataFrame({"age": rng.integers(20, 60, n), "work": rng.choice(["state", "private"], n)})
    y = np.where(X["age"] > 40, "yes", "no")
    first = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"]))
    pipeline = make_pipeline(first, LogisticRegression())
    poison = pd.DataFrame({"age": [500, 600], "work": ["state", "private"]}), np.array(["no", "no"])
    table = evaluate(
        poison, X, y, estimator=pipeline, defences=[ECOD(), Loss(), RepeatedRows()], shares=["poison"],
        aimed=(X["age"] < 30).to_numpy(), target=([[0.0, 0.0, 0.0]], [0.0]),
    )  # fmt: skip
    found = table.summary().set_index(["defence", "rule"])
    assert found.loc[("ECOD", "poison"), "recall"] == 1.0
    assert found.loc[("RepeatedRows", "own"), "recall"] == 0.0
    kept = ECOD().keep(np.zeros((1, 1)), [0], 0.0)
    assert kept.all()
    model = pipeline.fit(X, y)
    row = next(row for row in table.rows if row["defence"] == "Oracle")
    assert row["metric"] == np.mean(model.predict(X) != y)
    assert row["distance_clean"] < 1e-6
    coef = np.append(model[-1].coef_, model[-1].intercept_)
    np.testing.assert_allclose(row["distance_target"], np.linalg.norm(coef), rtol=1e-4)  # the trainer's tolerance
    assert "metric_aimed" in table.summary().columns


def test_rules_hold_where_the_scaler_is_fitted_again():
    """A record is valid or not whatever its neighbours are: ages 500 and 30.5 go, and no row of the clean table."""
    rng = np.random.default_rng(0)
    n = 80
    X = pd.DataFrame({"age": rng.integers(20, 60, n).astype(float), "work": rng.choice(["state", "private"], n)})
    y = np.where(X["age"] > 40, "yes", "no")
    first = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["work"]))
    pipeline = make_pipeline(first, LogisticRegression())
    ages = [500.0, 30.5, X["age"].min(), X["age"].max()]
    poison = pd.DataFrame({"age": ages, "work": ["state"] * 4}), np.array(["no"] * 4)
    space = DamagePoisoner.from_estimator(pipeline).fit(X, y)._own_feasible_set()
    for valid, recall in ((space, 0.5), (None, 0.25)):  # by default the ranges that the clean table shows
        found = evaluate(
            poison, X, y, estimator=pipeline, defences=[Validity(valid)] if valid else "default", shares=["poison"]
        ).summary().set_index(["defence", "rule"])  # fmt: skip
        assert found.loc[("Validity", "own"), "recall"] == recall
        assert found.loc[("Validity", "own"), "clean_lost"] == 0.0


def test_results_on_raw_tables_bring_their_preprocessing():
    rng = np.random.default_rng(0)
    n = 60
    X = pd.DataFrame({"age": rng.integers(20, 60, n), "work": rng.choice(["state", "private"], n)})
    y = np.where(X["age"] > 40, "yes", "no")
    first = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"]))
    attacker = DamagePoisoner(alpha=0.01, budget=4, n_starts=1, max_iter=10, preprocessing=first).fit(X, y)
    table = evaluate(attacker.attack(), X, y, defences="default", shares=["poison"], clean=False)
    found = table.summary().set_index(["defence", "rule"])
    assert found.loc[("Validity", "own"), "recall"] == 0.0  # the attack uses whole records
    assert found.loc[("none", "own"), "recall"] == 0.0


def test_the_cost_without_an_attack(digits):
    X, y, _ = digits
    table = evaluate(None, X, y, estimator=LogisticRegression(), defences=[NearestNeighbors()], shares=[0.1])
    assert {row["poisoned"] for row in table.rows} == {False}
    assert table.n_poison == 0
    assert len(table.summary()) == 3


def test_a_defence_that_fails_is_told_and_the_others_go_on(digits):
    X, y, result = digits

    def broken(X, y):
        raise ZeroDivisionError("no rows")

    with pytest.raises(ZeroDivisionError):
        evaluate(result, X, y, defences=[broken], shares=[0.1])
    table = evaluate(result, X, y, defences=[broken, Sphere()], shares=[0.1], errors="note")
    assert table.failures == {"broken": "ZeroDivisionError: no rows"}
    assert any(row["defence"] == "Sphere" for row in table.rows)


def test_the_callback_ends_it_and_what_is_done_is_kept(digits):
    X, y, result = digits
    seen = []

    def callback(row):
        seen.append(row)
        return len(seen) == 3

    table = evaluate(result, X, y, defences=[Sphere()], shares=[0.1], callback=callback)
    assert not table.finished
    assert list(table.rows) == seen
    assert len(seen) == 3


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"shares": ["all"]}, "shares"),
        ({"metric": "speed"}, "metric"),
        ({"aimed": [True]}, "aimed"),
        ({"defences": "none"}, "defences"),
        ({"X_test": [[0.0]]}, "together"),
        ({"attack": (np.zeros((2, 64)), [0])}, "estimator"),
        ({"attack": (np.zeros((2, 64)), [0]), "estimator": LogisticRegression()}, "labels y_poison"),
    ],
)
def test_errors_name_the_argument(digits, changed, message):
    X, y, result = digits
    arguments = {"attack": result, "X": X, "y": y} | changed
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate(**arguments)
