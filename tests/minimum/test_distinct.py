"""Whole points on boxes: planted answers, and the equations of points with margins of their own."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from planted import planted
from scipy.optimize import approx_fprime

from mtpfast import FeatureSpace, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.whole import distinct
from mtpfast.minimum.whole.distinct import Equations
from mtpfast.proofs.clean_pass import clean_gradient
from mtpfast.question import Setting
from mtpfast.training.victim import refit

LOSSES = ("hinge", "squared_hinge", "log_loss")
SMOOTH = LOSSES[1:]
# Each of these was "stalled", or above the plant, at one time: an intercept that nothing pins, many points on the
# margin, a face of the box, a plant of zero loss, copies at both ends of the margins.
HARD = {
    "hinge": (112, 291, 571, 1103),
    "squared_hinge": (515,),
    "log_loss": (3144, 3473, 4871, 6501),
}
loose_refits = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def the_minimum_is_at_most_the_plant(seed, loss):
    problem = planted(seed, loss)
    result = minimum_poisoning(problem.X, problem.y, problem.theta, feasible_set=problem.feasible_set, **problem.kind)
    assert result.status == "reached", (seed, problem.about, result.message)
    assert result.lower_bound <= result.n_points <= problem.k, (seed, problem.about)
    for x, label in zip(result.points, result.labels, strict=True):
        assert problem.feasible_set.contains(x[None], [label])


@loose_refits
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("loss", LOSSES)
def test_the_minimum_is_at_most_the_plant(loss, part):
    """k planted points induce the target, so that no minimum is above k, no bound is, and the target is reached."""
    for seed in range(part, 32, 4):
        the_minimum_is_at_most_the_plant(seed, loss)


@loose_refits
@pytest.mark.parametrize("loss, seed", [(loss, seed) for loss in LOSSES for seed in HARD[loss]])
def test_the_minimum_is_at_most_a_plant_that_is_hard_to_meet(loss, seed):
    """As above."""
    the_minimum_is_at_most_the_plant(seed, loss)


@loose_refits
def test_a_support_vector_in_a_corner_lies_on_the_margin():
    """Hinge: points in the corner of largest margin take any weight in [0, 1] where that margin is 1 to rounding."""
    on_margin = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X, y = rng.random((12, 2)), np.where(rng.random(12) < 0.5, 1.0, -1.0)
        y[:2] = 1.0, -1.0
        P, labels, counts = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([1.0, -1.0]), rng.integers(1, 4, 2)
        weight = np.append(np.ones(12), counts)
        victim = make_objective("hinge", alpha=0.1)
        theta = refit(np.vstack([X, P]), np.append(y, labels), victim, sample_weight=weight, tol=1e-13).theta
        w, b = theta[:-1], theta[-1]
        top = max(b + np.maximum(w, 0.0).sum(), -b - np.minimum(w, 0.0).sum())
        on_margin += abs(top - 1.0) <= 1e-12 and top != 1.0
        result = minimum_poisoning(X, y, theta, loss="hinge", alpha=0.1, feasible_set=FeatureSpace(0, 1))
        assert result.status == "reached"
        assert result.n_points <= counts.sum()
    assert on_margin >= 3  # the case that this is about does occur


@loose_refits
@pytest.mark.parametrize("seed", range(8))
def test_rounding_in_a_constant_target_decides_nothing(seed):
    """Hinge: a trained target that is constant has weights and margins with rounding, whose signs are noise.

    X and the plant are those of a case in which the program of the minimum was found infeasible.
    """
    rng = np.random.default_rng(1363)
    X, y = rng.random((12, 2)), np.where(rng.random(12) < 0.5, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    noise = np.random.default_rng(seed).normal(size=3) * [2e-16, 2e-16, 3e-16]
    target = np.array([0.0, 0.0, -1.0]) + noise
    result = minimum_poisoning(X, y, target, loss="hinge", alpha=0.1, feasible_set=FeatureSpace(0, 1))
    assert result.status == "reached"
    assert result.n_points == 2  # as for the target without noise


@loose_refits
def test_a_free_intercept_is_pinned():
    """Hinge: where fewer points make the target a minimiser among others, those are given that make it the only one."""
    X, y = np.array([[0.0], [0.2], [0.8], [1.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    theta = np.array([1.0, -0.5])  # all margins at most 1/2: one point more of each label never pins the intercept
    kind = {"loss": "hinge", "C": 1.0, "penalize_intercept": False}
    space = FeatureSpace(-1.0, 2.0)
    result = minimum_poisoning(X, y, theta, feasible_set=space, **kind)
    assert result.status == "reached"
    margin = result.labels * (result.points @ theta[:-1] + theta[-1])
    assert np.any(np.abs(margin - 1.0) <= 1e-9)
    assert result.n_points >= result.lower_bound


# -- the equations ----------------------------------------------------------------------------


def some_equations(seed, loss, d=4, n=5, fit_intercept=True):
    """Equations that the points returned solve."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=d + 1) / np.sqrt(d)
    theta[-1] *= fit_intercept
    objective = make_objective(loss, C=1.0, fit_intercept=fit_intercept)
    clean = clean_gradient(rng.random((6, d)), np.array([1.0, -1.0] * 3), theta, objective)
    lower = rng.normal(size=d)
    setting = Setting(clean, theta, objective, FeatureSpace(lower, lower + rng.random(d)).regions(d))
    labels, copies = rng.choice([-1.0, 1.0], n), rng.integers(1, 4, n)
    box = Equations(setting, np.zeros(d + 1), labels, copies)
    X = box.with_loss(box.lower + rng.random((n, d)) * (box.upper - box.lower))
    r = np.zeros(d + 1)
    r[: box.rows] = box.at(X).F
    return setting, r, Equations(setting, r, labels, copies), X


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SMOOTH), st.booleans())
def test_the_derivative_of_the_equations(seed, loss, fit_intercept):
    """``dF / dx_j = weight_j I + bend_j x~_j w^T``."""
    _, _, equations, X = some_equations(seed, loss, fit_intercept=fit_intercept)
    state, d = equations.at(X), X.shape[1]
    assert_allclose(state.F, 0.0, atol=1e-12 * (1.0 + equations.scale))
    for j, x in enumerate(X):

        def moved(x, j=j):
            return equations.at(np.where(np.arange(len(X))[:, None] == j, x, X)).F

        J = state.bend[j] * np.outer(state.lifted[j], equations.theta[:-1])
        J[:d] += state.weight[j] * np.eye(d)
        numeric = approx_fprime(x, moved, 1e-6)
        assert_allclose(J, numeric, atol=1e-4 * (1.0 + np.abs(J).max()))  # one-sided differences over 1e-6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SMOOTH))
def test_conjugate_gradients_give_the_same_step(seed, loss):
    """The step of many equations, solved without a matrix, is that of the matrix."""
    _, _, equations, X = some_equations(seed, loss, d=30, n=6)
    state = equations.at(equations.least)
    steps = []
    for direct in (10**9, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distinct, "DIRECT", direct)
            steps.append(equations._multipliers(np.ones_like(X, dtype=bool), state.F, state, 1e-3))
    # the matrix has a condition number of up to 1e6 here
    assert_allclose(*steps, rtol=1e-6, atol=1e-6 * np.abs(steps[0]).max())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SMOOTH), st.booleans(), st.sampled_from([1, 4, 80]))
def test_the_steps_arrive_inside_the_boxes(seed, loss, fit_intercept, d):
    """From near a solution :func:`solve` finds one; :func:`search` finds one by itself."""
    setting, r, equations, X = some_equations(seed, loss, d=d, fit_intercept=fit_intercept)
    rng = np.random.default_rng(seed)
    near = X + 0.01 * rng.normal(size=X.shape) * (equations.upper - equations.lower)
    found, residual = distinct.solve(equations, near)
    assert np.all((found >= equations.lower) & (found <= equations.upper))
    assert residual <= equations.at(np.clip(near, equations.lower, equations.upper)).cost ** 0.5 + 1e-12
    n_plus, n_minus = (int(equations.copies[equations.labels == sign].sum()) for sign in (1.0, -1.0))
    groups = distinct.search(setting, [(r, n_plus, n_minus)])
    assert groups is not None
    points, labels, copies = zip(*groups, strict=True)
    assert sum(copies) == n_plus + n_minus
    again = Equations(setting, r, labels, copies)
    assert again.at(np.array(points)).cost ** 0.5 <= 1e-9 * equations.scale
    assert np.all((again.lower <= points) & (points <= again.upper))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SMOOTH), st.booleans())
def test_intervals_never_rule_out_a_split_that_there_is(seed, loss, fit_intercept):
    """The sums of intervals hold every sum of points."""
    setting, r, equations, _ = some_equations(seed, loss, fit_intercept=fit_intercept)
    n_plus, n_minus = (int(equations.copies[equations.labels == sign].sum()) for sign in (1.0, -1.0))
    assert distinct._may_supply(setting, r, n_plus, n_minus)
    assert not distinct._may_supply(setting, r + 1e3, n_plus, n_minus)


@pytest.mark.parametrize("loss", SMOOTH)
def test_corners_of_both_ends_are_found(loss):
    """Copies in the corners of least and of largest margin alone: the sum has no other solution."""
    setting, *_ = some_equations(1, loss, d=3)
    for low, high in itertools.product((1, 3), (1, 5)):
        ends = Equations(setting, np.zeros(4), [1.0, 1.0], [low, high])
        corners = ends.with_loss(np.vstack([ends.least[0], ends.most[0]]))
        if not np.array_equal(corners, np.vstack([ends.least[0], ends.most[0]])):
            continue  # no loss in the corner of largest margin
        r = ends.at(corners).F
        groups = distinct.search(setting, [(r, low + high, 0)])
        assert groups is not None
        assert sum(count for *_, count in groups) == low + high


@pytest.mark.parametrize("loss", LOSSES)
def test_no_points_are_no_split(loss):
    """A split of nothing has no equations; asked for it, the search finds nothing (it once divided by their number)."""
    objective, theta = make_objective(loss, C=1.0), np.array([0.5, -0.5, 0.1])
    clean = clean_gradient(np.eye(2), np.array([1.0, -1.0]), theta, objective)
    setting = Setting(clean, theta, objective, FeatureSpace(np.zeros(2), np.ones(2)).regions(2))
    assert distinct.search(setting, [(np.zeros(3), 0, 0)]) is None
