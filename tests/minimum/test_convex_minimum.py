"""The fewest points in balls, slabs and their intersections with a box."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from mtpfast import (
    Ball,
    FeatureSpace,
    Intersection,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    Slab,
    minimum_poisoning,
    poison,
)
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.programs.cone import BallCone, solve_cone
from mtpfast.training.victim import refit
from mtpfast.verification import VerificationError

LOSSES = ("hinge", "squared_hinge", "log_loss")
ALPHA = 0.05


def clean_data(seed, d=2, n=60):
    rng = np.random.default_rng(seed)
    y = np.repeat([-1.0, 1.0], n // 2)
    apart = rng.normal(1.0, 0.3, size=d)
    return np.clip(0.5 + 0.12 * y[:, None] * apart + 0.15 * rng.normal(size=(n, d)), 0.0, 1.0), y, rng


def space_of(kind, X, y):
    ball, slab = Ball.from_data(X, y, quantile=0.9), Slab.from_data(X, y, quantile=0.9)
    parts = {"ball": [ball], "slab": [slab], "both": [ball, slab]}[kind]
    return Intersection([FeatureSpace(0.0, 1.0), *parts])


def planted(seed, kind, loss, C=None):
    """Clean data, a space, and the model of the data with so many points of the space added."""
    X, y, rng = clean_data(seed)
    space = space_of(kind, X, y)
    regions, away = space.regions(X.shape[1]), X[y < 0].mean(axis=0) - X[y > 0].mean(axis=0)
    counts = rng.integers(3, 9, size=2)
    noise = [0.3 * np.linalg.norm(away) * rng.normal(size=len(away)) for _ in range(2)]
    points = [regions[sign].linear_argmax(sign * away + e) for sign, e in zip((1.0, -1.0), noise, strict=True)]
    rows = np.vstack([X, np.repeat(points, counts, axis=0)])
    labels = np.concatenate([y, np.repeat([1.0, -1.0], counts)])
    objective = make_objective(loss, None if C else ALPHA, C, True, True)
    target = refit(rows, labels, objective, np.ones(len(labels)), float(len(labels)), tol=1e-12).theta
    return X, y, space, target, int(counts.sum())


@pytest.mark.parametrize(
    "seed, kind, loss",
    [
        *((0, "slab", loss) for loss in LOSSES),
        (4, "ball", "hinge"),
        (0, "ball", "squared_hinge"),
        (4, "both", "hinge"),
        (4, "both", "log_loss"),
    ],
)
def test_a_planted_attack_is_recovered_with_no_more_points(seed, kind, loss):
    """The planted points are a poisoning, so no bound exceeds their number, and one point per label suffices: as few
    are found. The certificate is checked in plain NumPy, the result by ``verify``."""
    X, y, space, target, n = planted(seed, kind, loss)
    result = minimum_poisoning(X, y, target, loss=loss, alpha=ALPHA, feasible_set=space)
    assert result.status == "reached"
    assert result.lower_bound <= result.n_points <= n
    assert np.all(space.contains(result.points, result.labels))
    check = result.certificate.check(X, y)
    assert check.holds
    assert check.n_poison == result.lower_bound
    # the direction proves the program's own value, for all that counts as a hit: 1e-6 of the target, and of a margin
    minimum = float(result.history["minimum"][0])
    assert minimum * (1.0 - 1e-4) <= check.value <= minimum * (1.0 + 1e-9)
    assert result.verify(X, y).ok


@pytest.mark.parametrize("kind, loss", [("slab", "log_loss"), ("ball", "squared_hinge"), ("both", "hinge")])
def test_summed_losses_and_the_fractional_minimum(kind, loss):
    X, y, space, target, n = planted(2, kind, loss, C=1.0)
    result = minimum_poisoning(X, y, target, loss=loss, C=1.0, feasible_set=space, integer=False)
    assert result.history["minimum"][0] <= n * (1.0 + 1e-7)
    assert result.lower_bound <= n
    assert np.all(space.contains(result.points, result.labels))


def test_less_room_never_makes_an_attack_cheaper():
    """A subset of the feasible set has fewer poisonings."""
    X, y, space, target, _ = planted(0, "both", "log_loss")
    box, ball = space.spaces[0], Intersection(space.spaces[:2])
    values = [
        minimum_poisoning(X, y, target, loss="log_loss", alpha=ALPHA, feasible_set=each).history["minimum"][0]
        for each in (box, ball, space)
    ]
    assert values[0] <= values[1] * (1.0 + 1e-7)
    assert values[1] <= values[2] * (1.0 + 1e-7)


def test_rules_that_cut_nothing_off_change_nothing():
    """A box in a ball and a slab that hold it is the box: the program of the box gives the same minimum."""
    X, y, _, target, _ = planted(0, "both", "squared_hinge")
    wide = Intersection([FeatureSpace(0.0, 1.0), Ball(np.full(2, 0.5), 3.0), Slab(np.ones(2), -1.0, 4.0)])
    values = [
        minimum_poisoning(X, y, target, loss="squared_hinge", alpha=ALPHA, feasible_set=each).history["minimum"][0]
        for each in (FeatureSpace(0.0, 1.0), wide)
    ]
    assert_allclose(values[1], values[0], rtol=1e-6)  # the tolerance of the two programs' cuts


def test_a_set_too_small_for_the_target_is_proved_so():
    X, y, _, target, _ = planted(0, "both", "hinge")
    tiny = Ball({1.0: X[y > 0].mean(axis=0), -1.0: X[y < 0].mean(axis=0)}, 1e-3)
    result = minimum_poisoning(X, y, target, loss="hinge", alpha=ALPHA, feasible_set=tiny)
    assert result.status == "unattainable"
    assert np.isinf(result.certificate.check(X, y).value)


def test_a_certificate_that_claims_more_or_speaks_of_a_smaller_set_fails():
    X, y, space, target, _ = planted(4, "ball", "log_loss")
    result = minimum_poisoning(X, y, target, loss="log_loss", alpha=ALPHA, feasible_set=space)
    more = dataclasses.replace(result.certificate, value=result.certificate.value + 1.0)
    assert not more.check(X, y).holds
    part = space.spaces[1]
    smaller = Intersection([space.spaces[0], Ball(part.center, {k: 0.5 * r for k, r in part.radius.items()})])
    foreign = dataclasses.replace(result.certificate, feasible_set=smaller)
    forged = dataclasses.replace(result, certificate=foreign)
    with pytest.raises(VerificationError):
        forged.verify(X, y)
    moved = dataclasses.replace(result, points=result.points + 0.5)
    with pytest.raises(VerificationError):
        moved.verify(X, y)


@pytest.mark.parametrize("kind, loss", [("slab", "hinge"), ("ball", "squared_hinge"), ("both", "log_loss")])
def test_algorithm_1_stays_inside_and_never_beats_the_minimum(kind, loss):
    X, y, space, target, _ = planted(4, kind, loss)
    options = {"loss": loss, "alpha": ALPHA, "feasible_set": space}
    attack = poison(X, y, target, tol=0.02, max_points=12, **options)
    assert np.all(space.contains(attack.points, attack.labels))
    assert attack.verify(X, y).ok
    least = minimum_poisoning(X, y, target, **options)
    assert attack.lower_bound <= least.n_points


def test_the_estimators_take_such_a_set_in_the_labels_of_the_user(tmp_path):
    X, y, _ = clean_data(1)
    names = np.where(y > 0, "spam", "ham")
    space = Intersection([FeatureSpace(0.0, 1.0), Ball.from_data(X, names), Slab.from_data(X, names)])
    attacker = ModelTargetedPoisoner("log_loss", alpha=ALPHA, feasible_set=space, max_points=5).fit(X, names)
    target = (attacker.coef_ * 0.5, attacker.intercept_)
    result = attacker.attack(target)
    assert np.all(space.contains(result.X_poison, result.y_poison))
    assert result.verify(X, names).ok
    result.save(tmp_path / "result.npz")
    again = PoisoningResult.load(tmp_path / "result.npz")
    assert again.feasible_set == space
    assert again.verify(X, names).ok
    only = Intersection(space.spaces, labels=["ham"])
    least = MinimumPoisoner("hinge", alpha=ALPHA, feasible_set=only, integer=False).fit(X, names).attack(target)
    assert set(least.y_poison) <= {"ham"}


def test_the_cone_solver_agrees_with_highs_and_with_the_ball_in_closed_form():
    """A linear program without cones by HiGHS; ``max q . z`` over a ball is ``q . c + r |q|``. 1e-8: its own stop."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        A, G, x = rng.normal(size=(3, 8)), rng.normal(size=(12, 8)), rng.random(8)
        cost, b, h = rng.normal(size=8), A @ x, G @ x + rng.random(12)
        bounds = np.column_stack([np.zeros(8), np.full(8, 2.0)])
        own, other = solve_cone(cost, G, h, A, b, bounds, []), linprog(cost, G, h, A, b, bounds)
        assert own.status == 0
        assert_allclose(own.fun, other.fun, rtol=1e-8, atol=1e-8)
        q, center, radius = rng.normal(size=4), rng.normal(size=4), 0.1 + rng.random()
        free = np.column_stack([np.full(5, -np.inf), np.full(5, np.inf)])
        ball = BallCone(np.arange(4), 4, -center, radius)
        row = np.array([[0.0, 0.0, 0.0, 0.0, 1.0]])
        found = solve_cone(np.append(-q, 0.0), np.zeros((0, 5)), np.zeros(0), row, [1.0], free, [ball])
        assert_allclose(-found.fun, q @ center + radius * np.linalg.norm(q), rtol=1e-8, atol=1e-8)
    infeasible = solve_cone(np.ones(2), np.array([[1.0, 1.0]]), [-1.0], None, None, [(0.0, 5.0)] * 2, [])
    assert infeasible.status == 2


@pytest.mark.parametrize("seed", range(3))
def test_verify_agrees_on_a_slab_without_width(seed):
    """low = high: two planes that touch are one slab to the check, so no rounding takes a point off it."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((40, 3)), np.where(rng.random(40) < 0.5, 1.0, -1.0)
    slab = Slab([0.6, -0.8, 0.5], 0.2, 0.2, lower=0.0, upper=1.0)
    target = rng.normal(size=4)
    for loss in ("hinge", "squared_hinge", "log_loss"):
        result = poison(X, y, (target[:-1], target[-1]), loss=loss, C=1.0, feasible_set=slab, max_points=5)
        assert not result.verify(X, y).failed
