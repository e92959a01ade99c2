"""Balls, slabs and their intersections with a box: what a linear function reaches, who is inside, and the oracle."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from mtpfast import Ball, CandidatePool, DocumentSpace, FeatureSpace, Intersection, Slab, max_loss_difference
from mtpfast.losses.margin import get_loss
from mtpfast.spaces.convex import ConvexRegion
from mtpfast.verification.convex_maximum import _largest
from mtpfast.verification.maximum import attained_and_proved

LOSSES = ("hinge", "squared_hinge", "log_loss")


def random_region(rng, d, n_slabs=2):
    """A box, at times a ball and slabs, all around one point, so that none is empty."""
    middle = rng.normal(size=d)
    lower, upper = middle - rng.random(d), middle + rng.random(d)
    ball = None
    if rng.random() < 0.7:
        away = rng.normal(size=d) * rng.random()
        ball = middle + away, float(np.linalg.norm(away) * (1.0 + rng.random()) + 0.2 * rng.random())
    slabs = []
    for _ in range(rng.integers(0, n_slabs + 1)):
        a = rng.normal(size=d) * 10.0 ** rng.integers(-2, 3)
        size = float(np.linalg.norm(a))
        slabs.append((a, float(a @ middle) - size * rng.random() ** 3, float(a @ middle) + size * rng.random() ** 3))
    return ConvexRegion(lower, upper, slabs, ball)


def by_slsqp(region, f, gradient, rng, starts=12):
    """The largest f found by another solver from many starts, at points of the region."""
    rules = [{"type": "ineq", "fun": lambda x, a=a, b=b: b - a @ x, "jac": lambda x, a=a: -a} for a, b in region.planes]
    rules += [
        {"type": "ineq", "fun": lambda x, c=c, r=r: r * r - (x - c) @ (x - c), "jac": lambda x, c=c: 2.0 * (c - x)}
        for c, r in region.balls
    ]
    best, box = -np.inf, list(zip(region.lower, region.upper, strict=True))
    for _ in range(starts):
        start = region.linear_argmax(rng.normal(size=len(region.lower)))
        found = minimize(
            lambda x: -f(x),
            start,
            jac=lambda x: -gradient(x),
            method="SLSQP",
            bounds=box,
            constraints=rules,
            options={"ftol": 1e-13, "maxiter": 300},
        )
        for x in (start, region.into(found.x)):
            if region.contains(x[None])[0]:
                best = max(best, f(x))
    return best


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=60)
def test_the_dual_bound_meets_a_point_of_the_region(seed, d):
    """Strong duality: ``h(q)`` over multipliers is attained. 1e-11: of the sum of the terms, far above rounding."""
    rng = np.random.default_rng(seed)
    region = random_region(rng, d)
    for _ in range(3):
        q = rng.normal(size=d) * 10.0 ** rng.integers(-3, 4)
        q[rng.random(d) < 0.2] = 0.0
        value, error = region.linear_maximum(q)
        x = region.linear_argmax(q)
        size = float(np.abs(q) @ np.maximum(np.abs(region.lower), np.abs(region.upper)))
        assert region.contains(x[None])[0]
        assert q @ x <= value + error <= q @ x + 1e-11 * (size + 1e-12)
        assert error <= 1e-11 * (size + 1e-12)


@pytest.mark.parametrize("small", [1e-9, 1e-16, 1e-17, 1e-100])
def test_a_coefficient_next_to_0_moves_as_far_as_the_ball_leaves_room(small):
    """``max q . x`` over box and ball for ``q_0 -> 0+``: the other features lie in their corner, x_0 on the sphere. To
    1e-12: a square root of a difference of squares."""
    rng, center, radius = np.random.default_rng(0), np.array([0.3, 0.7, 0.4]), 0.7
    region = ConvexRegion(np.zeros(3), np.ones(3), ball=(center, radius))
    for sign in np.tile([1.0, -1.0], 40):
        x = region.linear_argmax(np.append(sign * small, 0.3 + rng.random(2)))
        assert_allclose(x, [0.3 + sign * np.sqrt(radius**2 - 0.3**2 - 0.6**2), 1.0, 1.0], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160])
def test_a_linear_maximum_is_homogeneous(scale):
    """``h(t q) = t h(q)`` for t > 0, wherever the squares of q end. To 1e-12: far above rounding."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        region, q = random_region(rng, 3), rng.normal(size=3)
        assert_allclose(sum(region.linear_maximum(scale * q)) / scale, sum(region.linear_maximum(q)), rtol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=15)
def test_no_point_that_another_solver_finds_beats_the_dual_bound(seed, d):
    """Weak duality, against SLSQP; and it comes as near as that solver can: 1e-6."""
    rng = np.random.default_rng(seed)
    region, q = random_region(rng, d), rng.normal(size=d)
    value, error = region.linear_maximum(q)
    best = by_slsqp(region, lambda x: float(q @ x), lambda x: q, rng)
    assert value + error - 1e-6 * (1.0 + abs(value)) <= best <= value + error


@pytest.mark.parametrize("q", [np.array([1.0, -2.0, 0.5]), np.zeros(3), np.array([0.0, 0.0, 1.0])])
def test_edges_of_the_rules_have_their_closed_forms(q):
    """Radius 0 is a point, a box inside a ball is the box, a ball inside a box is the ball, a thin slab is a plane."""
    one, center = np.ones(3), np.array([0.3, 0.4, 0.5])
    point = ConvexRegion(-one, one, ball=(center, 0.0))
    assert_allclose(point.linear_argmax(q), center, rtol=0.0, atol=0.0)  # exact: nothing moves
    assert_allclose(sum(point.linear_maximum(q)), q @ center, rtol=1e-13, atol=1e-13)
    box = ConvexRegion(-one, one, ball=(center, 5.0), slabs=[(one, -9.0, 9.0), (0.0 * one, -1.0, 1.0)])
    assert_allclose(sum(box.linear_maximum(q)), np.abs(q).sum(), rtol=1e-13, atol=1e-13)
    assert box.planes == ()
    ball = ConvexRegion(-9.0 * one, 9.0 * one, ball=(center, 2.0))
    assert_allclose(sum(ball.linear_maximum(q)), q @ center + 2.0 * np.linalg.norm(q), rtol=1e-13, atol=1e-13)
    thin = ConvexRegion(-one, one, slabs=[(one, 0.25, 0.25)])
    x = thin.linear_argmax(q)
    assert_allclose(x.sum(), 0.25, rtol=1e-14, atol=1e-15)
    assert q @ x <= sum(thin.linear_maximum(q)) <= q @ x + 1e-13


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Slab([1.0, 1.0], 2.0, 1.0), "low must be at most high, got 2 and 1"),
        (
            lambda: Slab([1.0, 1.0], 5.0, 6.0, lower=0.0, upper=1.0).check(2),
            "the slab leaves no point: a . x is between 0",
        ),
        (lambda: Slab([0.0, 0.0], 1.0, 2.0, lower=0.0, upper=1.0).check(2), "the slab leaves no point"),
        (lambda: Slab([1.0, 1.0], 0.0, 1.0).check(2), "not bounded: feature 0 has no bounds"),
        (lambda: Ball([5.0, 5.0], -1.0), "radius must be finite and at least 0"),
        (lambda: Ball([5.0, np.nan], 1.0), "center must be finite"),
        (lambda: Ball([5.0, 5.0], 1.0).check(3), "feasible_set has 2 features, expected 3"),
        (lambda: Intersection([FeatureSpace(), Ball([5.0, 5.0], 1.0)]).check(2), "the ball leaves no point"),
        (
            lambda: Intersection([FeatureSpace(), FeatureSpace(2.0, 3.0)]).check(2),
            "the bounds leave no point: feature 0",
        ),
        (lambda: Intersection([Ball([0.0], 1.0), Ball([0.5], 1.0)]).check(1), "one ball at most, got 2"),
        (
            lambda: Intersection([FeatureSpace(0, 1, tied=[(0, [0.0, 1.0])]), Ball([0.0], 1.0)]).check(1),
            "convex spaces and whole records: no documents",
        ),
        (lambda: Intersection([]), "spaces must hold one space at least"),
        (lambda: Intersection([Ball([0.0], 1.0, labels=[1]), Slab([1.0], labels=[-1])]), "spaces leave no label"),
        (lambda: Slab([1.0], {1: 0.0, -1: 0.0, 7: 0.0}, 1.0), "labels and low must name two labels at most"),
        (lambda: Ball({1: [0.0], -1: [0.0]}, {1: 1.0}).check(1), "radius is given for the labels [1], not for -1"),
    ],
)
def test_what_leaves_no_point_is_named(make, message):
    with pytest.raises(ValueError) as told:
        make()
    assert message in str(told.value)


@pytest.mark.parametrize("space", [CandidatePool([[0.0]]), DocumentSpace(3), "box"])
def test_only_spaces_of_convex_regions_intersect(space):
    with pytest.raises((TypeError, ValueError), match="convex"):
        Intersection([space]).check(1)


def test_contains_and_why_not_agree_and_read_sparse_rows():
    rng = np.random.default_rng(3)
    X, y = rng.random((60, 5)), np.repeat([-1, 1], 30)
    space = Intersection(
        [FeatureSpace(0.02, 0.98), Ball.from_data(X, y, quantile=0.8), Slab.from_data(X, y, quantile=0.5)]
    )
    inside = space.contains(X, y)
    assert 0 < inside.sum() < 60
    assert [reason == "" for reason in space.why_not(X, y)] == inside.tolist()
    assert space.contains(sp.csr_matrix(X), y).tolist() == inside.tolist()
    kinds = {reason.partition(" is ")[0].partition(" (")[0] for reason in space.why_not(X, y)}
    assert kinds >= {"", "it", "a . x"}


def test_spaces_around_the_classes_hold_the_share_of_rows_that_was_asked_for():
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(80, 3)), np.repeat(["ham", "spam"], 40)
    for kind in (Ball, Slab):
        rules = {"lower": -9.0, "upper": 9.0} if kind is Slab else {}
        assert np.all(kind.from_data(X, y, **rules).contains(X, y))
        for label in ("ham", "spam"):
            share = kind.from_data(sp.csr_matrix(X), y, quantile=0.75, **rules).contains(X, y)[y == label].mean()
            assert 0.75 <= share <= 0.8
    fixed = Slab.from_data(X, y, width=0.5)
    assert_allclose([fixed.high[label] - fixed.low[label] for label in ("ham", "spam")], 1.0, rtol=1e-12)
    assert Ball.from_data(X, radius=2.0).radius == 2.0


def test_a_space_is_rebuilt_by_its_arguments_and_bound_to_signs():
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(40, 3)), np.repeat(["ham", "spam"], 20)
    parts = [FeatureSpace(-4.0, 4.0), Ball.from_data(X, y), Slab.from_data(X, y, lower=-9.0, upper=9.0)]
    for space in (parts[1], parts[2], Intersection(parts), Intersection(parts, labels=["spam"])):
        rules = {name: getattr(space, name) for name in space.arguments}
        assert type(space)(**rules) == space
        bound = space.bind(names=["a", "b", "c"], classes=["ham", "spam"])
        assert bound.names == ("a", "b", "c")
        for sign, label in ((1.0, "spam"), (-1.0, "ham")):
            if space.labels is None:
                assert bound.contains(X, sign).tolist() == space.contains(X, label).tolist()
    assert Ball([0.0], 1.0) != Ball([0.0], 2.0)
    assert Ball([0.0], 1.0, labels=[1]) != Ball([0.0], 1.0)
    assert "Ball(center={'ham'" in repr(parts[1])


@pytest.mark.parametrize("loss", LOSSES)
@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=12)
def test_the_oracle_agrees_with_another_formulation_and_with_local_searches(loss, seed, d):
    """The outline between supporting lines, its squared Lagrangian twin in verification/, and SLSQP from many starts.
    1e-8: both outlines are drawn to 1e-10."""
    rng = np.random.default_rng(seed)
    parts, middle = [FeatureSpace(-1.0, 1.0)], np.clip(0.3 * rng.normal(size=d), -1.0, 1.0)  # which all parts hold
    if seed % 3:
        parts.append(Ball(middle, 0.5 + rng.random()))
    if seed % 2:
        a = rng.normal(size=d)
        parts.append(Slab(a, float(a @ middle) - 0.4, float(a @ middle) + 0.6))
    space = Intersection(parts)
    theta, target = 2.0 * rng.normal(size=d + 1), rng.normal(size=d + 1)
    found = max_loss_difference(theta, target, space, loss)
    room = 1e-8 * max(1.0, abs(found.value))
    assert space.contains(found.x[None], found.y)[0]
    assert found.value <= found.upper_bound <= found.value + room
    attained, proved = attained_and_proved(theta, target, space, get_loss(loss))
    assert attained - room <= found.value <= proved + room
    phi = get_loss(loss)
    for y, region in space.regions(d).items():

        def difference(x, y=y):
            u, v = y * (theta[:-1] @ x + theta[-1]), y * (target[:-1] @ x + target[-1])
            return float(phi.value(u) - phi.value(v))

        def gradient(x, y=y):
            u, v = y * (theta[:-1] @ x + theta[-1]), y * (target[:-1] @ x + target[-1])
            return y * (phi.derivative(u) * theta[:-1] - phi.derivative(v) * target[:-1])

        assert by_slsqp(region, difference, gradient, rng, starts=4) <= found.upper_bound


def test_the_oracle_closes_where_the_multiplier_of_a_slab_cancels_a_coefficient():
    """Value and bound meet (1e-9 of 1) on box, ball and slab, with models that are nearly multiples of its normal."""
    rng = np.random.default_rng(0)
    X = rng.random((60, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] > 0.2, 1.0, -1.0)
    parts = [Ball.from_data(X, y, quantile=0.9), Slab.from_data(X, y, quantile=0.9)]
    space = Intersection([FeatureSpace(0.0, 1.0), *parts])
    a = parts[1].normal
    for _ in range(20):
        theta, target = (np.append(t * a + 0.1 * rng.normal(size=3), 0.1 * rng.normal()) for t in (3.0, 2.0))
        found = max_loss_difference(theta, target, loss="log_loss", feasible_set=space)
        assert found.upper_bound - found.value <= 1e-9


@pytest.mark.parametrize("with_ball", [False, True])
@pytest.mark.parametrize("width", [0.0, 1e-9, 0.3])
def test_the_maximum_that_verify_finds_is_the_regions(width, with_ball):
    """Both duals are the maximum, on two slabs with and without an inside, for q of any size. 1e-9: of the sum of the
    terms, as the linear program gives it. No point of the region is beyond the bound."""
    rng = np.random.default_rng(3)
    middle = rng.random(4)
    normals = rng.normal(size=(1 if with_ball else 2, 4))
    slabs = [(a, float(a @ middle) - width, float(a @ middle) + width) for a in normals]
    region = ConvexRegion(np.zeros(4), np.ones(4), slabs, (middle + 0.1, 0.4) if with_ball else None)
    for scale in (1e-300, 1e-7, 1.0, 1e4):
        for _ in range(5):
            q = scale * rng.normal(size=4)
            bound, x = _largest(region, q)
            size = float(np.abs(q).sum())
            assert abs(bound - region.linear_maximum(q)[0]) <= 1e-9 * size
            assert abs(float(q @ x) - bound) <= 1e-9 * size
            assert float(q @ middle) <= bound
