"""Repeats taken apart: distinct points, the same pulls, the same model."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, minmax_scale

from mtpfast import (
    Ball,
    CandidatePool,
    DamagePoisoner,
    FeatureSpace,
    Intersection,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    Slab,
    make_target,
)
from mtpfast.arrays.rows import row_groups
from mtpfast.defences import RepeatedRows, SlabDefence, Sphere
from mtpfast.training.victim import refit

LOSSES = ("hinge", "squared_hinge", "log_loss")


@pytest.fixture(scope="module")
def data():
    X, y = load_breast_cancer(return_X_y=True)
    return minmax_scale(X[:, :8]).clip(0, 1), np.where(y == 1, "no", "yes")


def retrained(result, X, y):
    X_mod, y_mod, _ = result.poisoned(X, y)
    return refit(np.asarray(X_mod, dtype=float), np.where(y_mod == "yes", 1.0, -1.0), result.objective).theta


def sums(result):
    """``(n_y, sum of the rows)`` of each label."""
    return {
        label: (np.sum(result.y_poison == label), result.points[result.sequence][result.y_poison == label].sum(axis=0))
        for label in result.classes
    }


def check_spread(result, X, y, distinct=None):
    apart = result.spread()
    assert apart.n_points == result.n_points
    assert len(np.unique(row_groups(apart.points))) == len(apart.points) == (distinct or result.n_points)
    assert np.all(apart.feasible_set.contains(apart.points, apart.labels))
    for label, (n, total) in sums(result).items():
        assert sums(apart)[label][0] == n
        # sums of n rows of numbers up to 1
        np.testing.assert_allclose(sums(apart)[label][1], total, rtol=0, atol=1e-12 * (1 + n))
    # The same stationarity: the model moves by rounding, and by the tolerance of two trainings (1e-8 of its size).
    size = np.linalg.norm(result.theta)
    assert np.linalg.norm(retrained(apart, X, y) - retrained(result, X, y)) <= 1e-7 * size
    assert apart.lower_bound == result.lower_bound
    return apart


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["box", "sphere", "slab"])
def test_damage_comes_apart_into_distinct_points(data, loss, kind):
    """Also within the ball and the slab: the points of the search are no corners there."""
    X, y = data
    box = FeatureSpace.from_data(X, integer=None)
    space = {
        "box": box,
        "sphere": Intersection([box, Ball.from_data(X, y, quantile=0.95)]),
        "slab": Intersection([box, Slab.from_data(X, y, quantile=0.95)]),
    }[kind]
    attacker = DamagePoisoner(loss, alpha=0.01, feasible_set=space, budget=21, n_starts=1, max_iter=15).fit(X, y)
    result = attacker.attack()
    assert len(result.points) < result.n_points
    apart = check_spread(result, X, y)
    assert np.all(RepeatedRows().keep(apart.X_poison, apart.y_poison))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_minimum_stays_exact(data, loss):
    X, y = data
    target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.05, loss=loss, alpha=0.01)
    result = MinimumPoisoner(loss, alpha=0.01).fit(X, y).attack(target)
    assert result.status == "reached"
    assert len(result.points) <= 4
    apart = check_spread(result, X, y)
    assert apart.verify(X, y).ok
    assert f"{result.n_points} distinct points of {result.n_points}" in apart.message


def test_a_corner_comes_apart_with_another_point_and_not_alone():
    """Three copies of the corner and a point inside, hinge: both go towards one another. Without the point: none."""
    X, y = np.array([[0.1], [0.2], [0.8], [0.9]]), np.array(["no", "no", "yes", "yes"])
    attacker = ModelTargetedPoisoner(C=1.0, max_points=3, feasible_set=FeatureSpace(0.0, 1.0, labels=["yes"])).fit(X, y)
    result = attacker.attack((-attacker.coef_, -attacker.intercept_))
    assert result.points.tolist() == [[0.0]]
    result = dataclasses.replace(result, sequence=np.zeros(3, dtype=int), path=None)
    result = dataclasses.replace(result, theta=retrained(result, X, y))
    alone = check_spread(result, X, y, distinct=1)
    assert "2 could not be told apart" in alone.message
    inside = np.vstack([result.points, [[0.5]]])
    both = dataclasses.replace(
        result, points=inside, labels=np.repeat(result.labels, 2), sequence=np.array([0, 0, 0, 1]), path=None
    )
    both = dataclasses.replace(both, theta=retrained(both, X, y))
    check_spread(both, X, y)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_scale_says_how_far(data, scale):
    X, y = data
    result = DamagePoisoner(alpha=0.01, budget=21, n_starts=1, max_iter=15).fit(X, y).attack()
    apart = result.spread(scale=scale)
    assert len(apart.points) == 21
    far = np.abs(apart.points[apart.sequence] - result.points[result.sequence]).max()
    assert (far <= 1e-6) == (scale < 1.0)
    caught = RepeatedRows(decimals=3).keep(apart.X_poison, apart.y_poison)
    assert np.all(caught) == (scale == 1.0)
    assert np.all(RepeatedRows().keep(apart.X_poison, apart.y_poison))


def test_records_exchange_levels(data):
    """Whole numbers and one-hot levels: the sums of every column stay, and repeats grow fewer."""
    X, y = data
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, len(X))
    R = np.column_stack([np.round(10 * X[:, :4]) / 10, np.eye(3)[level]])
    space = FeatureSpace(0.0, 1.0, lattice=dict.fromkeys(range(4), (0.0, 0.1)), one_hot=[[4, 5, 6]])
    attacker = DamagePoisoner(alpha=0.05, feasible_set=space, budget=20, n_starts=1, max_iter=15).fit(R, y)
    result = attacker.attack()
    few = result.points[[0, -1]].copy()
    few[:, 0] = 0.5, 0.4
    few[:, 4:] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    few = dataclasses.replace(
        result, points=few, labels=np.repeat(result.labels[:1], 2), sequence=np.repeat([0, 1], 6), path=None
    )
    few = dataclasses.replace(few, theta=retrained(few, R, y))
    margins = np.where(few.labels == "yes", 1, -1) * (few.points @ few.theta[:-1] + few.theta[-1])
    assert np.all(margins < 1.0)
    check_spread(few, R, y, distinct=12)


def test_raw_records_come_apart_as_records():
    rng = np.random.default_rng(0)
    n = 120
    X = pd.DataFrame({"age": rng.integers(20, 60, n), "work": rng.choice(list("abc"), n), "gain": rng.random(n)})
    y = np.where(X["age"] + 10 * rng.standard_normal(n) > 40, "yes", "no")
    first = make_column_transformer((MinMaxScaler(), ["age", "gain"]), (OneHotEncoder(), ["work"]))
    attacker = DamagePoisoner(alpha=0.01, budget=10, n_starts=1, max_iter=15, preprocessing=first).fit(X, y)
    result = attacker.attack()
    one = dataclasses.replace(result, sequence=np.where(np.arange(10) < 8, 0, result.sequence), path=None)
    with pytest.raises(ValueError, match="clean table"):
        one.spread()
    apart = one.spread(X)
    assert len(apart.X_poison.drop_duplicates()) == len(apart.points) > len(np.unique(one.sequence))
    np.testing.assert_array_equal(np.asarray(first.fit(X).transform(apart.records)), apart.points)
    assert apart.X_poison["age"].sum() == one.X_poison["age"].sum()


def test_what_cannot_be_moved_is_named(data):
    X, y = data
    pool = CandidatePool.label_flips(X, y, max_repeats=None)
    result = DamagePoisoner(alpha=0.01, feasible_set=pool, budget=5, n_starts=1, max_iter=5).fit(X, y).attack()
    with pytest.raises(TypeError, match="max_repeats"):
        result.spread()
    free = DamagePoisoner(alpha=0.01, budget=5, n_starts=1, max_iter=5).fit(X, y).attack()
    with pytest.raises(ValueError, match="scale"):
        free.spread(scale=2.0)


def test_the_way_there_is_another_one(data):
    """Of Algorithm 1's path the last model stays, which the points still induce."""
    X, y = data
    target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.05, alpha=0.01)
    result = ModelTargetedPoisoner(alpha=0.01, max_points=8).fit(X, y).attack(target)
    apart = check_spread(result, X, y, distinct=len(result.spread().points))
    assert len(apart.path) == len(apart.history["n_points"]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert apart.verify(X, y).ok


@pytest.mark.parametrize("loss", ("hinge", "log_loss"))
@pytest.mark.parametrize("defences", [[Sphere()], [SlabDefence()]], ids=["sphere", "slab"])
def test_every_attack_runs_inside_what_passes(data, loss, defences):
    """Search, Algorithm 1 and the minimum: points inside, and kept by the sanitiser of the clean table."""
    X, y = data[0][:, :5], data[1]
    box = FeatureSpace.from_data(X, integer=None)
    space = Intersection([box, *(defence.space(X, y, 0.1) for defence in defences)])
    options = {"alpha": 0.01, "feasible_set": space}
    found = DamagePoisoner(loss, budget=8, n_starts=1, max_iter=5, **options).fit(X, y).attack()
    target = found.coef_, found.intercept_
    online = ModelTargetedPoisoner(loss, max_points=5, **options).fit(X, y).attack(target)
    least = MinimumPoisoner(loss, **options).fit(X, y).attack(target)
    assert least.status == "reached"
    assert least.lower_bound <= min(8, least.n_points)
    for result in (found, online, least):
        assert np.all(space.contains(result.points, result.labels))
        for defence in defences:
            fitted = defence.fit(X, y)
            kept = fitted.scores(X, y)[defence.keep(X, y, 0.1)].max()
            assert fitted.scores(result.points, result.labels).max() <= kept * (1 + 1e-9)  # rounding of norms
