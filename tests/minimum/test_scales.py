"""Programs in any units: what features are measured in changes neither counts nor hits, and HiGHS stays silent."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog

from mtpfast import FeatureSpace, minimum_poisoning, poison
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.programs.highs import equilibrium, solve_lp, solve_milp
from mtpfast.training.victim import refit


def planted(seed, scale, loss, n=25, d=3, k=4):
    """Clean rows in [0, scale]^d, and the model that k corners more induce."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.where(X @ rng.normal(size=d) > 0.2, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    corners, labels = rng.integers(0, 2, (k, d)).astype(float), rng.choice([-1.0, 1.0], k)
    objective = make_objective(loss, C=1.0 / scale**2)
    rows = np.vstack([X, corners]) * scale
    return X * scale, y, refit(rows, np.append(y, labels), objective, tol=1e-13).theta


@pytest.mark.parametrize("seed", [0, 2, 4])
@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_small_features_do_not_stall(loss, scale, seed):
    """The model of k planted corners is reached by at most k points whatever the unit of the features: HiGHS drops
    entries below 1e-9, and Newton's equations know the features by their own size."""
    X, y, target = planted(seed, scale, loss)
    result = minimum_poisoning(X, y, target, loss=loss, feasible_set=FeatureSpace(0.0, scale), C=1.0 / scale**2)
    assert result.status == "reached"
    assert result.lower_bound <= result.n_points <= 4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a gap proves little with so small a k
@pytest.mark.parametrize("seed", range(3))
def test_newton_survives_features_of_uneven_scale(seed):
    """Clean rows of 1e-6 beside points that reach 1, next to no penalty, a free intercept: the gradient of a model far
    off may be small there. After the last point the objective is what a refit from zero finds."""
    rng = np.random.default_rng(seed)
    X = 1e-6 * rng.random((30, 5))
    y = np.where(1e6 * X @ rng.normal(size=5) + 0.3 * rng.normal(size=30) > 0.2, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    kind = {"loss": "log_loss", "alpha": 3e-14, "penalize_intercept": False}
    objective = make_objective(**kind)
    target = refit(np.vstack([X, [1e-6, 1.0, 0.0, 0.0, 0.0]]), np.append(y, 1.0), objective, tol=1e-12).theta
    space = FeatureSpace(0.0, [1e-6, 1.0, 1.0, 1.0, 1e-6])
    result = poison(X, y, target, feasible_set=space, max_points=15, tol=1e-6, **kind)
    rows, labels = np.vstack([X, result.points]), np.append(y, result.labels)
    weight = np.append(np.ones(30), result.counts)
    cold = refit(rows, labels, objective, sample_weight=weight, tol=1e-10)
    here = objective.value(np.append(result.coef_, result.intercept_), rows, labels, weight)
    assert_allclose(here, objective.value(cold.theta, rows, labels, weight), rtol=1e-7)  # so little penalty: values


@pytest.mark.parametrize("seed", range(5))
def test_equilibrium_changes_no_solution(seed):
    """Rows and columns in other units, powers of two: solution and multipliers are those of the program as it was,
    where HiGHS reads it right (here, entries of order 1)."""
    rng = np.random.default_rng(seed)
    A_ub, A_eq, x = rng.normal(size=(6, 8)), rng.normal(size=(2, 8)), rng.random(8)
    b_ub, b_eq, cost, bounds = A_ub @ x + 0.1, A_eq @ x, rng.random(8), np.tile([0.0, 1.0], (8, 1))
    plain = linprog(cost, A_ub, b_ub, A_eq, b_eq, bounds, method="highs")
    unit, rows, more = 10.0 ** rng.integers(-12, 3, 8), 10.0 ** rng.integers(-9, 3, 6), 10.0 ** rng.integers(-9, 3, 2)
    found = solve_lp(
        cost / unit,
        A_ub * rows[:, None] / unit,
        b_ub * rows,
        sp.csr_matrix(A_eq * more[:, None] / unit),
        b_eq * more,
        bounds * unit[:, None],
    )
    assert found.status == 0
    assert_allclose(found.fun, plain.fun, rtol=1e-7)  # HiGHS is asked for 1e-10 in other units
    assert_allclose(found.x / unit, plain.x, atol=1e-6)
    assert_allclose(found.ineqlin.marginals * rows, plain.ineqlin.marginals, atol=1e-6)
    assert_allclose(found.eqlin.marginals * more, plain.eqlin.marginals, atol=1e-6)


def test_equilibrium_leaves_order_one_alone_and_whole_numbers_whole():
    assert equilibrium([sp.identity(3), None], np.zeros(3, dtype=bool)) is None
    (rows,), unit = equilibrium([sp.csr_matrix([[1.0, 1e-10], [3.0, 0.0]])], np.array([True, False]))
    assert unit[0] == 1.0
    assert_array_equal(np.log2(np.append(rows, unit)) % 1.0, 0.0)


def test_milp_says_when_an_entry_was_taken_for_zero():
    """x >= 1e-10 n is no row to HiGHS beside x <= 1: what it finds is then no proof."""
    rows = [(np.array([[1.0, -1e-10], [1.0, 1.0]]), np.array([0.0, -np.inf]), np.array([np.inf, 2.0]))]
    x, complete = solve_milp(np.array([1.0, -1.0]), [1, 1], np.zeros(2), np.full(2, 5.0), rows)
    assert x is not None
    assert not complete
    rows = [(np.array([[1.0, -0.5], [1.0, 1.0]]), np.array([0.0, -np.inf]), np.array([np.inf, 2.0]))]
    x, complete = solve_milp(np.array([1.0, -1.0]), [1, 1], np.zeros(2), np.full(2, 5.0), rows)
    assert complete
    assert float(x[1] - x[0]) == 0.0


@pytest.mark.parametrize("unit", [1.0, 1e-8, 1e-150, 1e12])
def test_milp_does_not_depend_on_the_unit_of_the_costs(unit):
    """To HiGHS 1.12 costs of 1e-8 are below its tolerances: of a knapsack worth 6.6 it found 0.75, "optimal"."""
    rng = np.random.default_rng(0)
    A = rng.random((20, 30))
    cost, rows = -rng.random(30), [(A, np.full(20, -np.inf), A.sum(axis=1) / 3)]
    plain, _ = solve_milp(cost, np.ones(30), np.zeros(30), np.ones(30), rows)
    x, complete = solve_milp(cost * unit, np.ones(30), np.zeros(30), np.ones(30), rows)
    assert complete
    assert_allclose(cost @ x, cost @ plain, rtol=1e-7)  # costs of another unit round otherwise


def test_nothing_is_printed_to_the_standard_output(capfd):
    """Below Python, too: HiGHS 1.12 has a line that no option turns off (these problems make it print)."""
    for seed in range(6):
        X, y, target = planted(seed, 1e8, "hinge")
        minimum_poisoning(X, y, target, loss="hinge", feasible_set=FeatureSpace(0.0, 1e8), C=1e-16)
    assert capfd.readouterr().out == ""
