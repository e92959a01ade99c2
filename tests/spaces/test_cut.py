"""Whole records inside a ball and slabs: every point and bound beside all records listed."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from mtpfast import (
    Ball,
    DamagePoisoner,
    FeatureSpace,
    Intersection,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    Slab,
    max_loss_difference,
)
from mtpfast.defences import Sphere
from mtpfast.losses.margin import get_loss
from mtpfast.verification.maximum import attained_and_proved

LOSSES = ("hinge", "squared_hinge", "log_loss")
UPPER = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 2.0, 1.0])
RECORDS = FeatureSpace(0.0, UPPER, integer=[5, 6, 7, 8], one_hot=[[0, 1, 2]], at_most_one=[[3, 4]])


def every_record():
    """All 432 of them."""
    levels, others = np.eye(3), ([0, 0], [1, 0], [0, 1])
    numbers = list(itertools.product((0, 1), (0, 1, 2, 3), (0, 1, 2), (0, 1)))
    return np.array([[*a, *b, *c] for a in levels for b in others for c in numbers], dtype=float)


ALL = every_record()


def cut(rng, n_slabs, records=RECORDS, with_ball=True):
    """The records in a ball around a center that need be no record, and in slabs."""
    center = rng.random(9) * UPPER
    parts = [records] + with_ball * [Ball(center, 1.3 + rng.random())]
    for _ in range(n_slabs):
        a = rng.normal(size=9)
        parts.append(Slab(a, a @ center - 1.5, a @ center + 0.5))
    return Intersection(parts)


@pytest.mark.parametrize("n_slabs", [0, 1, 2])
def test_no_record_that_passes_beats_the_dual_bound_and_what_is_found_passes(n_slabs):
    """The Lagrangian of any multipliers is an upper bound; a record found is one of those that pass."""
    rng = np.random.default_rng(n_slabs)
    gaps, exact = [], 0
    for k in range(12):
        space = cut(rng, n_slabs, with_ball=k % 4 > 0 or n_slabs == 0)
        region = space.regions(9)[1.0]
        inside = region.contains(ALL)
        rule = np.ones(len(ALL), dtype=bool)
        for part in space.spaces[1:]:
            rule &= part.region_of(None, 9).contains(ALL) if isinstance(part, Ball) else (
                (part.low <= ALL @ part.normal) & (ALL @ part.normal <= part.high)
            )  # fmt: skip
        assert inside.tolist() == rule.tolist()
        assert [reason == "" for reason in space.why_not(ALL)] == inside.tolist()
        for _ in range(8):
            q = rng.normal(size=9)
            best = float(np.max(ALL[inside] @ q))
            value, error = region.linear_maximum(q, 0.25)
            assert best + 0.25 <= value + error
            assert error <= 1e-7  # a value of a lattice may be off by 1e-9 of a step
            x = region.linear_argmax(q)
            assert any(np.array_equal(x, record) for record in ALL[inside])
            for a, b in region.planes:
                assert np.max(ALL[inside] @ a) <= b + 1e-12
            gaps.append(value - 0.25 - best)
            exact += float(x @ q) >= best - 1e-12
            most = region.records.linear_maximum(q)[0]
            assert value <= most + 0.25 + 1e-12 * (1.0 + abs(most))
    assert np.mean(gaps) <= 0.8  # of coefficients of size 1; without the cut it is about 2
    assert exact >= 0.6 * len(gaps)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_oracle_and_verify_bound_all_records_and_find_some(loss):
    """The largest loss difference of all records lies between what is found and what is proved, by both methods."""
    rng, phi = np.random.default_rng(3), get_loss(loss).value
    found_of_best = []
    for k in range(6):
        space = cut(rng, k % 3)
        inside = ALL[space.contains(ALL)]
        models = 1.2 * rng.normal(size=(2, 10))
        scores = [inside @ model[:-1] + model[-1] for model in models]
        best = max(float(np.max(phi(y * scores[0]) - phi(y * scores[1]))) for y in (1.0, -1.0))
        found = max_loss_difference(*models, space, loss=loss)
        assert any(np.array_equal(found.x, record) for record in inside)
        assert found.value <= best + 1e-12 * (1.0 + abs(best))
        assert best <= found.upper_bound
        attained, proved = attained_and_proved(*models, space.bind(), get_loss(loss))
        assert attained <= best + 1e-12 * (1.0 + abs(best))
        assert best <= proved
        assert_allclose(proved, found.upper_bound, rtol=1e-5, atol=1e-5)  # cutting planes beside false position
        found_of_best.append(found.value >= best - 1e-9 * (1.0 + abs(best)))
    assert np.mean(found_of_best) >= 0.7


def test_rules_that_say_nothing_leave_the_records_as_they_are():
    """A ball around everything, a slab that touches nothing: region and exact maximum are the records' own."""
    everything = [Ball(UPPER / 2, 10.0), Slab(np.ones(9), -1.0, 20.0)]
    for parts in (everything, everything[:1], everything[1:]):
        region = Intersection([RECORDS, *parts]).regions(9)[1.0]
        assert region == RECORDS.regions(9)[1.0]
    models = np.random.default_rng(0).normal(size=(2, 10))
    found, same = (max_loss_difference(*models, space) for space in (Intersection([RECORDS, *everything]), RECORDS))
    assert (found.value, found.upper_bound) == (same.value, same.upper_bound)


def test_bounds_are_no_worse_than_without_the_cut_where_only_its_edge_is_left():
    """A ball whose sphere, a slab whose plane the only records touch: the best multiplier is at infinity or nowhere."""
    rng = np.random.default_rng(8)
    lattice = FeatureSpace([-0.1, 0.3], [0.2, 1.2], lattice={0: (-0.1, 0.1), 1: (0.3, 0.3)})
    own = np.array([[-0.1 + 0.1 * i, 0.3 + 0.3 * j] for i in range(4) for j in range(4)])
    for k in range(20):
        x, a = own[rng.integers(16)], rng.normal(size=2)
        edge = np.sort(own @ a)[0]
        cuts = [Ball(x, 1e-9), Slab(a, -np.inf, edge), Slab(a, edge, edge)][: 1 + k % 3]
        space = Intersection([lattice, *(cuts[:1] if k % 2 else cuts[1:] or cuts[:1])])
        region = space.regions(2)[1.0]
        inside = own[region.contains(own)]
        for q in rng.normal(size=(4, 2)):
            value, error = region.linear_maximum(q)
            assert np.max(inside @ q) <= value + error
            assert value + error <= np.max(own @ q) + 1e-6  # 1e-9 of room, times multipliers of at most a thousand


@pytest.mark.parametrize("seed", [0, 35, 122, 144])
def test_what_verify_proves_is_not_below_a_record_found(seed):
    """Where a line touches is a linear program's mixture, a little off: what bounds is the line, beyond that too."""
    rng = np.random.default_rng(seed)
    records = FeatureSpace([-0.2, 0.5], [0.1, 3.0], lattice={0: (-0.2, 0.1)})
    a = rng.normal(size=2)
    center = np.array([-0.2 + 0.1 * rng.integers(4), rng.uniform(0.5, 3)]) + 0.3 * rng.normal(size=2)
    space = Intersection([records, Ball(center, 2.0), Slab(a, -np.inf, a @ center)])
    models = rng.normal(size=(2, 3))
    found = max_loss_difference(*models, space)
    attained, proved = attained_and_proved(*models, space.bind(), get_loss("hinge"))
    assert found.value <= proved * (1.0 + 1e-14)  # two sums of three terms
    assert attained <= found.upper_bound


def test_a_slab_of_columns_that_are_zero_is_no_rule():
    """``0 <= 0`` holds: the bound that verify makes is that of the other rules."""
    records = FeatureSpace([0.0, 0.0], [0.0, 3.0], integer=[0, 1])
    space = Intersection([records, Ball([0.0, 1.0], 1.2), Slab([1.0, 0.0], 0.0, 0.0)])
    models = np.array([[0.3, 1.0, 0.1], [-0.2, -1.0, 0.4]])
    found = max_loss_difference(*models, space, loss="log_loss")
    attained, proved = attained_and_proved(*models, space.bind(), get_loss("log_loss"))
    assert attained == found.value
    assert found.value <= proved <= found.upper_bound + 1e-6


def test_continuous_features_are_best_for_the_record_they_belong_to():
    """With the other features of the answer pinned, what remains is convex: no point of it does better."""
    rng = np.random.default_rng(5)
    records = FeatureSpace(0.0, UPPER, integer=[5, 6], one_hot=[[0, 1, 2]], at_most_one=[[3, 4]])
    for k in range(10):
        space = cut(rng, k % 2, records)
        region, q = space.regions(9)[1.0], rng.normal(size=9)
        x = region.linear_argmax(q)
        assert space.contains(x[None])[0]
        value, error = region.linear_maximum(q)
        assert float(q @ x) <= value + error
        pins = {j: float(x[j]) for j in range(7)}
        rest = Intersection([FeatureSpace(0.0, UPPER, fixed=pins), *space.spaces[1:]]).regions(9)[1.0]
        assert_allclose(float(q @ x), rest.linear_maximum(q)[0], rtol=0, atol=1e-9)  # |x| below 4, 9 terms
        models = rng.normal(size=(2, 10))
        found = max_loss_difference(*models, space, loss="log_loss")
        assert space.contains(found.x[None])[0]
        assert found.value <= found.upper_bound


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_planted_records_bound_the_bound_and_everything_verifies(loss, tmp_path):
    """Training on clean rows and eight records inside gives a target; no bound is above eight."""
    rng = np.random.default_rng(2)
    X = ALL[rng.integers(len(ALL), size=70)]
    y = np.where(X @ [1.0, 0.5, -0.4, 0.3, 0.2, -0.2, 0.3, -0.1, 0.2] + 0.2 * rng.normal(size=70) > 0.6, 1, -1)
    slabs = [Slab.from_data(X, y, quantile=0.8)] if loss == "hinge" else []
    space = Intersection([RECORDS, Ball.from_data(X, y, quantile=0.7), *slabs])
    inside = ALL[space.contains(ALL, 1)]
    planted = inside[rng.integers(len(inside), size=8)]
    asked = {"loss": loss, "alpha": 0.05, "feasible_set": space}
    victim = ModelTargetedPoisoner(**asked).fit(np.vstack([X, planted]), np.append(y, np.ones(8, dtype=int)))
    target = victim.coef_, victim.intercept_
    exact = MinimumPoisoner(**asked).fit(X, y).attack(target)
    assert 1 <= exact.lower_bound <= 8
    assert "give tol" in exact.message
    near = MinimumPoisoner(**asked, tol=0.2).fit(X, y).attack(target)
    assert near.status == "reached"
    assert near.lower_bound <= near.n_points
    steps = ModelTargetedPoisoner(**asked, max_points=12, tol=0.0).fit(X, y).attack(target)
    harm = DamagePoisoner(**asked, budget=5, n_starts=1, max_iter=5).fit(X, y).attack()
    for result in (exact, near, steps, harm):
        assert space.contains(result.X_poison, result.y_poison).all()
        assert result.verify(X, y).ok
    assert harm.n_points > 0
    near.save(tmp_path / "near.npz")
    again = PoisoningResult.load(tmp_path / "near.npz")
    assert again.feasible_set == near.feasible_set
    assert again.verify(X, y).ok
    kept = DamagePoisoner(**asked).fit(X, y).certify(X[:2], y[:2], budgets=[1], attack=True)
    assert np.all(kept.lower_bound <= kept.upper_bound)


def test_records_of_a_pipeline_pass_the_sphere_of_its_rows():
    """A raw table: what is inserted are records, and the rows that the pipeline makes of them lie in the ball."""
    rng = np.random.default_rng(7)
    n = 120
    table = pd.DataFrame(
        {"age": rng.integers(18, 70, n), "job": rng.choice(["a", "b", "c"], n), "rate": rng.random(n).round(3)}
    )
    score = table["age"] / 50 + table["rate"] + (table["job"] == "a") + 0.3 * rng.normal(size=n)
    y = np.where(score > 1.8, "yes", "no")
    steps = make_column_transformer((MinMaxScaler(), ["age", "rate"]), (OneHotEncoder(), ["job"]))
    pipeline = make_pipeline(steps, LogisticRegression()).fit(table, y)
    rows = pd.DataFrame(pipeline[:-1].transform(table), columns=pipeline[:-1].get_feature_names_out())
    ball = Sphere().space(rows, y, share=0.3)
    search = DamagePoisoner.from_estimator(pipeline, feasible_set=ball, budget=6, n_starts=1, max_iter=5)
    result = search.fit(table, y).attack()
    assert result.n_points > 0
    assert ball.contains(pipeline[:-1].transform(result.records), result.labels).all()
    assert set(result.records["job"]) <= set("abc")
    assert result.verify(table, y).ok


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Intersection([RECORDS, Ball(np.full(9, 0.5), 0.7)]), "the ball leaves no record: the nearest is 1"),
        (lambda: Intersection([RECORDS, FeatureSpace(0.0, 0.9)]), "have bounds in a box|has bounds in a box"),
        (lambda: Intersection([RECORDS, RECORDS]), "one space of whole records at most"),
        (lambda: Intersection([FeatureSpace(0.0, 1.0, tied=[(0, [0.0, 1.0])]), Ball([0.5], 1.0)]), "rows of a table"),
        (
            lambda: Intersection([FeatureSpace(0.0, 1.0, integer=[0, 1]), Slab([1.0, 1.0], 0.25, 0.75)]),
            "no record was found",
        ),
    ],
)
def test_what_leaves_no_record_is_named(make, message):
    space = make()
    with pytest.raises(ValueError, match=message):
        space.check(9 if space.spaces[0] is RECORDS else len(getattr(space.spaces[1], "normal", [0])))


def test_records_taken_apart_stay_inside():
    """Moves that sum to zero are kept only where both records pass: six records, four copies of each."""
    rng = np.random.default_rng(4)
    X = ALL[rng.integers(len(ALL), size=60)]
    y = np.where(X[:, 5] + 0.4 * X[:, 6] > 0.9, 1, -1)
    space = Intersection([RECORDS, Ball.from_data(X, y, quantile=0.9)])
    found = DamagePoisoner(alpha=0.05, feasible_set=space, budget=1, n_starts=1, max_iter=2).fit(X, y).attack()
    may = ALL[space.contains(ALL, np.ones(len(ALL), dtype=int))]
    chosen = may[rng.permutation(len(may))[:6]]
    rows, labels = np.vstack([X, np.repeat(chosen, 4, axis=0)]), np.append(y, np.ones(24, dtype=int))
    victim = ModelTargetedPoisoner(alpha=0.05).fit(rows, labels)
    theta = np.append(victim.coef_, victim.intercept_)
    planted = dataclasses.replace(
        found, points=chosen, labels=np.ones(6, dtype=int), sequence=np.repeat(np.arange(6), 4), damage=None,
        theta=theta, theta_target=theta,
    )  # fmt: skip
    apart = planted.spread()
    assert len(apart.points) > len(planted.points)
    assert_allclose(apart.X_poison.sum(axis=0), planted.X_poison.sum(axis=0), rtol=0, atol=1e-12)  # sums of 24 terms
    assert space.contains(apart.X_poison, apart.y_poison).all()
    assert apart.verify(X, y).ok
