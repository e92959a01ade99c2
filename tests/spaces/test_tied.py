"""Features that take, together, one row of a table: a linear image of records of groups."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mtpfast import (
    DamagePoisoner,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    max_loss_difference,
)

LOSSES = {
    "hinge": lambda m: np.maximum(0.0, 1.0 - m),
    "squared_hinge": lambda m: np.maximum(0.0, 1.0 - m) ** 2,
    "log_loss": lambda m: np.logaddexp(0.0, -m),
}
ROWS = np.array([[0.0, 1.0], [0.3, 0.2], [1.0, 0.7], [0.55, 0.0]])
CODES = np.array([-0.4, 0.1, 0.15, 2.0])


def space_of(**more):
    """Features 0 and 3 together, 1 alone, 2 whole, 4 and 5 levels."""
    upper = [1.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    return FeatureSpace(
        [0.0, -1.0, 0.0, 0.0, 0.0, 0.0], upper, integer=[2], one_hot=[[4, 5]], tied=[([3, 0], ROWS), (1, CODES)], **more
    )


def all_points():
    """Every point of the space."""
    levels = np.array([[1.0, 0.0], [0.0, 1.0]])
    return np.array(
        [
            [b, c, whole, a, *level]
            for (a, b), c, whole, level in itertools.product(ROWS, CODES, (0.0, 1.0, 2.0), levels)
        ]
    )


def test_points_are_the_product_of_the_tables_and_the_other_rules():
    space, points = space_of(), all_points()
    assert space.contains(points).all()
    moved = points + np.array([0.0, 0.0, 0.0, 1e-6, 0.0, 0.0])
    assert not space.contains(moved).any()
    swapped = points[:, [3, 1, 2, 0, 4, 5]]
    told = set(map(tuple, points))
    assert space.contains(swapped).tolist() == [tuple(row) in told for row in swapped]
    assert "together in none of the rows" in space.why_not([[0.0, -0.4, 0.0, 0.0, 1.0, 0.0]])[0]
    assert "none of the 4 values of its table" in space.why_not([[1.0, 0.5, 0.0, 0.0, 1.0, 0.0]])[0]
    assert "tied=[" in repr(space)


def test_support_functions_are_attained_and_never_beaten():
    points, region, rng = all_points(), space_of().regions(6)[1.0], np.random.default_rng(0)
    for _ in range(200):
        q = rng.normal(size=6)
        value, error = region.linear_maximum(q, 0.3)
        best = float(np.max(points @ q)) + 0.3
        assert abs(value - best) <= error <= 1e-12
        x = region.linear_argmax(q)
        assert any(np.array_equal(x, point) for point in points)
        assert_allclose(x @ q + 0.3, best, rtol=0, atol=1e-13)  # sums of six terms below 4


@pytest.mark.parametrize("loss", LOSSES)
def test_the_oracle_finds_the_best_of_all_points(loss):
    points, space, rng, phi = all_points(), space_of(), np.random.default_rng(1), LOSSES[loss]
    for _ in range(40):
        models = 1.5 * rng.normal(size=(2, 7))
        found = max_loss_difference(*models, space, loss=loss)
        scores = [points @ model[:-1] + model[-1] for model in models]
        best = max(float(np.max(phi(y * scores[0]) - phi(y * scores[1]))) for y in (1.0, -1.0))
        assert any(np.array_equal(found.x, point) for point in points)
        assert best <= found.upper_bound
        assert_allclose(found.value, best, rtol=1e-9, atol=1e-9)  # the search's own 3e-10
        assert found.upper_bound - found.value <= 1e-8 * (1.0 + abs(found.value))


@pytest.mark.parametrize("loss", LOSSES)
def test_planted_points_bound_the_bound_and_everything_verifies(loss, tmp_path):
    rng, points = np.random.default_rng(2), all_points()
    X = points[rng.integers(len(points), size=70)]
    y = np.where(X @ [1.0, 0.5, -0.4, 0.3, 0.2, -0.2] + 0.2 * rng.normal(size=70) > 0.1, 1, -1)
    planted = points[rng.integers(len(points), size=8)]
    asked = {"loss": loss, "alpha": 0.05, "feasible_set": space_of()}
    victim = ModelTargetedPoisoner(**asked).fit(np.vstack([X, planted]), np.append(y, np.ones(8, dtype=int)))
    target = victim.coef_, victim.intercept_
    exact = MinimumPoisoner(**asked).fit(X, y).attack(target)
    assert exact.lower_bound <= 8
    assert "give tol" in exact.message
    near = MinimumPoisoner(**asked, tol=0.1).fit(X, y).attack(target)
    assert near.status == "reached"
    assert near.lower_bound <= near.n_points
    harm = DamagePoisoner(**asked, budget=5, n_starts=1, max_iter=10).fit(X, y).attack()
    for result in (exact, near, harm):
        assert space_of().contains(result.X_poison, result.y_poison).all()
        assert result.verify(X, y).ok
    near.save(tmp_path / "near.npz")
    again = PoisoningResult.load(tmp_path / "near.npz")
    assert again.feasible_set == near.feasible_set
    assert again.verify(X, y).ok
    kept = DamagePoisoner(**asked).fit(X, y).certify(X[:10], y[:10], budgets=[1], attack=True)
    assert np.all(kept.lower_bound <= kept.upper_bound)


def test_records_with_tables_are_taken_apart():
    """Rows of tables, levels and steps are exchanged: distinct records with the same sums, and so the same model."""
    rng, points = np.random.default_rng(6), all_points()
    X = points[rng.integers(len(points), size=80)]
    y = np.where(X @ [1.0, 0.5, -0.4, 0.3, 0.2, -0.2] > 0.2, 1, -1)
    chosen = points[rng.integers(len(points), size=6)]
    pool = DamagePoisoner(alpha=0.05, feasible_set=space_of(), budget=12, n_starts=1, max_iter=4).fit(X, y).attack()
    result = dataclasses.replace(
        pool, points=chosen, labels=np.ones(6, dtype=int), sequence=np.repeat(np.arange(6), 4), damage=None
    )
    rows, labels = np.vstack([X, np.repeat(chosen, 4, axis=0)]), np.append(y, np.ones(24))
    victim = ModelTargetedPoisoner(alpha=0.05).fit(rows, labels)
    theta = np.append(victim.coef_, victim.intercept_)
    result = dataclasses.replace(result, theta=theta, theta_target=theta)
    apart = result.spread()
    assert len(apart.points) > 12
    assert space_of().contains(apart.X_poison, apart.y_poison).all()
    assert_allclose(apart.X_poison.sum(axis=0), result.X_poison.sum(axis=0), rtol=0, atol=1e-12)  # sums of 24 terms
    assert apart.verify(X, y).ok


def test_bounds_and_pins_leave_rows_out():
    space = FeatureSpace([0.2, 0.0], [1.0, 0.9], tied=[([0, 1], ROWS)], names=["a", "b"])
    assert space.contains(ROWS).tolist() == [False, True, True, True]
    pinned = FeatureSpace(0.0, 1.0, tied=[(["a", "b"], ROWS)], fixed={"b": 0.7}, names=["a", "b"])
    assert pinned.contains(ROWS).tolist() == [False, False, True, False]
    sides = FeatureSpace(0.0, {"no": 1.0, "yes": [1.0, 0.5]}, tied=[([0, 1], ROWS)])
    assert sides.contains(ROWS, "no").all()
    assert sides.contains(ROWS, "yes").tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match=r"tied\[0\]: no row of the table is within the bounds of 'a', 'b'"):
        FeatureSpace(0.9, 1.0, tied=[(["a", "b"], ROWS)], names=["a", "b"])
    with pytest.raises(ValueError, match=r"feature 1 is in tied\[0\] and in a lattice"):
        FeatureSpace(0.0, 3.0, integer=[1], tied=[([0, 1], ROWS)]).check(2)
    with pytest.raises(ValueError, match=r"rows of 2 values for 1 features"):
        FeatureSpace(0.0, 3.0, tied=[(0, ROWS)]).check(2)
    with pytest.raises(ValueError, match="rows of finite numbers"):
        FeatureSpace(0.0, 3.0, tied=[(0, [np.nan])])


@pytest.mark.parametrize(
    "rules, holds",
    [
        ({"age": (20, 40)}, lambda t: t["age"].between(20, 40)),
        ({"age": 30}, lambda t: t["age"] == 30),
        ({"flag": 2.5}, lambda t: t["flag"] == 2.5),
        ({"debt": (None, 0.0)}, lambda t: t["debt"] <= 0.0),
        ({"age": "unchanged", "debt": "unchanged"}, None),
    ],
)
def test_rules_by_the_names_of_the_columns(rules, holds):
    """``from_data`` with rules: of the rows of the table exactly those that keep them are points."""
    rng = np.random.default_rng(0)
    age = np.repeat([18, 25, 30, 39, 60], 8)
    table = pd.DataFrame({"age": age, "debt": rng.normal(size=40), "flag": rng.choice([0.0, 2.5], 40)})
    space = FeatureSpace.from_data(table, rules=rules | {"y": "no"})
    assert space.labels == ("no",)
    expected = np.ones(40, dtype=bool) if holds is None else holds(table).to_numpy()
    assert space.contains(table).tolist() == expected.tolist()
    if holds is None:
        mixed = table.assign(age=np.roll(table["age"], 8))
        assert not space.contains(mixed).any()
        assert space.contains(table.assign(flag=2.5 - table["flag"])).all()
    by_number = {list(table).index(name): rule for name, rule in rules.items()}
    assert FeatureSpace.from_data(table.to_numpy(), rules=by_number | {"y": "no"}) == space


def test_rules_of_a_table_that_leave_nothing_are_refused():
    table = pd.DataFrame({"age": [18, 25, 30], "debt": [0.5, 0.25, 1.5]})
    for rules, message in (
        ({"salary": 1}, "no column 'salary'"),
        ({"age": (70, 80)}, "leaves nothing of the table's range"),
        ({"debt": [0.25, 1.5]}, "a value or a range"),
    ):
        with pytest.raises(ValueError, match=message):
            FeatureSpace.from_data(table, rules=rules)
    with pytest.raises(ValueError, match="rules name the labels"):
        FeatureSpace.from_data(table, rules={"y": 1}, labels=[1])
