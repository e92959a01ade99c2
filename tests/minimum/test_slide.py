"""Cheaper models in a ball, the ascent of its bound, and what an attack needs that begins with given points."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtpfast import FeatureSpace, minimum_poisoning, poison
from mtpfast.losses.objective import make_objective
from mtpfast.minimum import within
from mtpfast.minimum.begun import AT_ONCE, Begun
from mtpfast.minimum.programs.ascent import BallAscent, fewest_entries
from mtpfast.minimum.programs.ball import BallProgram
from mtpfast.minimum.slide import Slide
from mtpfast.proofs.certificate import certificate_for, prove, prove_from
from mtpfast.question import Problem, moved_to, read_question
from mtpfast.training.victim import refit

BOX = FeatureSpace(0.0, 1.0)


def planted(loss, seed, n=120, d=4, n_points=40):
    """A problem whose target is induced by so many points, and those points."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.where((X - 0.5) @ rng.normal(size=d) > 0.1 * rng.normal(size=n), 1.0, -1.0)
    points, labels = rng.random((n_points, d)).round(), np.where(rng.random(n_points) < 0.5, 1.0, -1.0)
    objective = make_objective(loss, alpha=0.05)
    rows, signs = np.vstack([X, points]), np.append(y, labels)
    theta = refit(rows, signs, objective, np.ones(n + n_points), float(n + n_points), tol=1e-10).theta
    question = read_question(X, y, theta, objective, BOX, margin_tol=1e-6)
    return Problem.of(question), points, labels


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("seed", range(3))
def test_ways_down_end_in_the_ball_at_models_that_cost_no_more(loss, seed):
    """N falls along H v: every model found costs at most what its start does, and lies in the ball."""
    problem, *_ = planted(loss, seed)
    slide = Slide(problem, 0.02)
    first, found = slide.look(problem.theta), slide.models(problem.theta)
    assert found
    assert found[0].value < first.value
    for model in found:
        assert np.linalg.norm(model.theta - problem.theta) <= 0.02 * (1 + 1e-12)
    # the program of the model itself, from a pass with errors
    again = moved_to(problem, found[0].theta, margin_tol=1e-7)
    assert_allclose(minimum_of(again), found[0].value, rtol=1e-6)  # two orders of sums, one solver


def minimum_of(problem):
    result = minimum_poisoning(
        problem.X, problem.y, problem.theta, loss=problem.objective.loss.name, alpha=0.05, feasible_set=BOX,
        margin_tol=1e-7, integer=False,
    )  # fmt: skip
    return result.history["minimum"][0]


@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
@pytest.mark.parametrize("seed", range(2))
def test_the_way_of_a_smooth_loss_is_the_gradient(loss, seed):
    """dN / dtheta = -H v (envelope theorem), by central differences: N falls along it as fast as along any other."""
    problem, *_ = planted(loss, seed)
    slide = Slide(problem, 1.0)
    model = slide.look(problem.theta)
    way = slide.way(model, 0.0)
    h = 1e-4

    def slope(u):
        return (slide.look(problem.theta + h * u).value - slide.look(problem.theta - h * u).value) / (2.0 * h)

    gradient = np.array([slope(u) for u in np.eye(len(way))])
    # the program's tangents settle to 1e-7 of N, which h divides, and multipliers to less: the cosine, not each entry
    assert gradient @ way <= -0.95 * np.linalg.norm(gradient)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tol", [0.01, 0.05])
def test_the_ascent_proves_nearly_what_the_program_of_the_ball_does(seed, tol):
    """Never above the program's value, which is the maximum over all directions, and within 2 % of it."""
    problem, *_ = planted("hinge", seed)
    ball = moved_to(problem, problem.theta, tol)
    whole = BallProgram(ball.setting, tol).solve()
    start = moved_to(problem, problem.theta).prove(-problem.theta).direction
    goal = ball.goal.__class__(problem.theta, problem.objective, ball.feasible_set, tol, problem.margin_tol)
    value = prove(ball.clean, BallAscent(ball.setting, tol).direction(start), goal)[0]
    best = prove(ball.clean, whole.direction, goal)[0]
    # the tower of planes exceeds the ball by 5e-4 of its radius, and the certificate bounds margins a little wider
    assert value <= whole.value * 1.01 + 1e-6
    assert value >= 0.98 * best - 0.01


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("seed", range(4))
def test_what_an_attack_needs_that_begins_with_given_points_is_never_more_than_it_has(loss, seed):
    """The planted points in any order: after each of them the bound for the whole attack is at most their number."""
    tol = 1e-3
    problem, points, labels = planted(loss, seed, n_points=4 * AT_ONCE)
    goal = problem.goal.__class__(problem.theta, problem.objective, problem.feasible_set, tol, problem.margin_tol)
    start = problem.clean_gradient(tol, problem.theta, compact=True)
    for v in (-start.gradient, -problem.theta):
        certificate = certificate_for(goal, "direction", v, *prove_from(problem.X, problem.y, None, v, goal))
        begun, known = Begun(certificate), []
        for i in np.random.default_rng(seed).permutation(len(labels)):
            begun.add(points[i], labels[i])
            known.append(begun.n_points)
        assert max(known) <= len(labels)
        if certificate.value > 0.0:
            assert known[-1] >= certificate.n_poison  # the points cannot pull more than the most


def test_a_ball_of_a_smooth_loss_takes_the_better_of_two_proofs():
    """Taylor's formula or intervals of the slopes: the certificate's check proves what the search claimed."""
    problem, *_ = planted("log_loss", 0)
    X, y = problem.X, problem.y
    result = minimum_poisoning(X, y, problem.theta, loss="log_loss", alpha=0.05, feasible_set=BOX, tol=0.05)
    certificate = result.certificate
    assert certificate.check(X, y).holds
    values = [
        prove(problem.clean_gradient(0.05, certificate.direction, compact=compact), certificate.direction, result.goal)
        for compact in (True, False)
    ]
    assert certificate.value == max(value for value, _ in values)


def test_the_ascent_leaves_a_direction_of_which_it_knows_no_quotient():
    """What nothing pulls against, or no direction at all, is where it was or somewhere finite."""
    problem, *_ = planted("hinge", 0)
    ascent = BallAscent(moved_to(problem, problem.theta, 0.01).setting, 0.01)
    for start in (np.zeros(5), problem.theta, -problem.clean.gradient):
        assert np.all(np.isfinite(ascent.direction(start)))


def test_fewest_entries_keeps_every_entry():
    """Dense or CSR, the matrix is the same."""
    rng = np.random.default_rng(0)
    for share in (0.1, 0.9):
        X = rng.random((30, 7)) * (rng.random((30, 7)) < share)
        assert_allclose(fewest_entries(X) @ np.eye(7), X, rtol=0)


@pytest.mark.parametrize(("loss", "seed"), [("hinge", 0), ("log_loss", 1)])
def test_the_nearest_models_cost_what_is_given_at_most(loss, seed):
    """Nearer ones first; none costs more than the points that there are, and half of the target's minimum is enough."""
    problem, *_ = planted(loss, seed)
    slide = Slide(problem, 1.0)
    clean = refit(problem.X, problem.y, problem.objective, None, problem.amount, tol=1e-10).theta
    most, reach = 0.5 * slide.look(problem.theta).value, float(np.linalg.norm(clean - problem.theta))
    models = slide.nearest(most, reach)
    away = [float(np.linalg.norm(model.theta - problem.theta)) for model in models]
    assert models
    assert all(model.value <= most for model in models)
    assert away[0] == min(away)


def test_a_direction_of_the_intercept_alone_has_a_way():
    """A free intercept bends nothing: H v = 0 where no row turns, and the way is v; there is none for v = 0."""
    problem, *_ = planted("hinge", 0)
    free = make_objective("hinge", alpha=0.05, penalize_intercept=False)
    problem = Problem.of(read_question(problem.X, problem.y, problem.theta, free, BOX, margin_tol=1e-6))
    slide = Slide(problem, 1e-6)
    model, v = slide.look(problem.theta), np.array([0.0, 0.0, 0.0, 0.0, -2.0])
    assert_allclose(slide.way(model, 0.0, v), v / 2.0, rtol=0)
    assert_allclose(slide.way(model, 0.0, 0.0 * v), 0.0 * v, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_in_a_ball_is_never_more_than_algorithm_1_needs(seed, monkeypatch):
    """At any size: where the bound comes from an ascent, no relaxed program is a start, and Algorithm 1 still is."""
    problem, *_ = planted("hinge", seed)
    X, y, theta = problem.X, problem.y, problem.theta
    tol = 0.5 * float(np.linalg.norm(theta - refit(X, y, problem.objective, tol=1e-10).theta))
    whole = {"alpha": 0.05, "feasible_set": BOX, "tol": tol}
    plain = poison(X, y, (theta[:-1], theta[-1]), stop="distance", **whole)
    assert plain.status == "reached"
    monkeypatch.setattr(within, "LARGE", 0)
    monkeypatch.setattr(within, "SMALL", 0)
    found = minimum_poisoning(X, y, (theta[:-1], theta[-1]), **whole)
    assert found.status == "reached"
    assert found.lower_bound <= found.n_points <= plain.n_points
