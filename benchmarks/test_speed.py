"""Kernels under pytest-benchmark, each beside what it replaces, in one run on one thread.

    pytest benchmarks/test_speed.py --benchmark-enable -s

Without --benchmark-enable (as in continuous integration) every case runs once, as a test of itself.
"""

import environment

# isort: split
import time

import numpy as np
import pytest
import reference as ref
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from mtpfast import CandidatePool, FeatureSpace, max_loss_difference
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import Victim


@pytest.fixture(scope="module", autouse=True)
def _headline():
    print("\n" + environment.headline())


def models(d, near):
    """Two linear models; near: as late in an attack, else as at its start."""
    rng = np.random.default_rng([d, near])
    target = rng.normal(size=d + 1) / np.sqrt(d)
    return (
        target + 0.02 * rng.normal(size=d + 1) / np.sqrt(d) if near else rng.normal(size=d + 1) / np.sqrt(d)
    ), target


def linear_programs(theta, target, lower, upper):
    """The two LPs per label that replace the oracle for the hinge loss: first loss active or not.

    max_x  1 - y theta.x~ - t   and   max_x  -t     subject to   t >= 0,  t >= 1 - y theta_p.x~,  x in the box
    """
    d = len(theta) - 1
    bounds = np.column_stack([np.append(lower, 0.0), np.append(upper, np.inf)])
    best = -np.inf
    for y in (-1.0, 1.0):
        A, b = np.append(-y * target[:-1], -1.0)[None, :], [y * target[-1] - 1.0]
        for c, constant in ((np.append(y * theta[:-1], 1.0), 1.0 - y * theta[-1]), (np.eye(d + 1)[-1], 0.0)):
            best = max(best, constant - linprog(c, A_ub=A, b_ub=b, bounds=bounds, method="highs").fun)
    return best


# Adult: four numbers, six groups of columns of which one level has no column, one binary column.
ADULT_GROUPS = [range(4, 12), range(12, 27), range(27, 33), range(33, 47), range(47, 52), range(52, 56)]


def mixed_integer_programs(theta, target, groups, integer):
    """The program per label that replaces the oracle over records, all columns in [0, 1].

    max_x  1 - y theta.x~ - t    subject to   t >= 0,  t >= 1 - y theta_p.x~,  at most one of each group,
    x whole where `integer`; where it is below 0, the largest y theta_p.x~ decides (a sum, left out here).
    """
    d = len(theta) - 1
    integrality = np.append(np.isin(np.arange(d), integer).astype(float), 0.0)
    rows = [np.append(np.isin(np.arange(d), group).astype(float), 0.0) for group in groups]
    bounds = Bounds(np.zeros(d + 1), np.append(np.ones(d), np.inf))
    best = 0.0
    for y in (-1.0, 1.0):
        A = np.array([np.append(y * target[:-1], 1.0), *rows])
        limits = LinearConstraint(A, [1.0 - y * target[-1]] + [-np.inf] * len(rows), [np.inf] + [1.0] * len(rows))
        cost = np.append(y * theta[:-1], 1.0)
        best = max(
            best, 1.0 - y * theta[-1] - milp(cost, constraints=limits, integrality=integrality, bounds=bounds).fun
        )
    return best


def median_seconds(function, rounds):
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


@pytest.mark.parametrize("near", [False, True], ids=["far", "near"])
@pytest.mark.parametrize("d", [57, 784, 2048])
def test_hinge_oracle_against_the_linear_programs(benchmark, d, near):
    """The same maximum, and the ratio of the medians in extra_info (200 or more asked for at d = 784)."""
    theta, target = models(d, near)
    lower, upper = np.zeros(d), np.ones(d)
    space = FeatureSpace(lower, upper)
    diff = benchmark(max_loss_difference, theta, target, space, loss="hinge")
    value = linear_programs(theta, target, lower, upper)
    np.testing.assert_allclose(diff.value, value, atol=1e-6)  # HiGHS is feasible to 1e-7 per constraint
    if benchmark.enabled:
        lp = median_seconds(lambda: linear_programs(theta, target, lower, upper), 11)
        ratio = lp / benchmark.stats.stats.median
        benchmark.extra_info |= {"lp_seconds": lp, "ratio": ratio, **environment.describe()}
        ours = 1e6 * benchmark.stats.stats.median
        print(f"\nhinge oracle, d = {d}, near = {near}: {ours:.1f} us, LPs {1e3 * lp:.2f} ms, ratio {ratio:.0f}")


@pytest.mark.parametrize("near", [False, True], ids=["far", "near"])
@pytest.mark.parametrize("shape", ["groups", "binary"])
def test_oracle_over_records_against_the_mixed_integer_programs(benchmark, shape, near):
    """Adult's shape: the same maximum over 60 pairs of models, and the ratio of the medians (50 asked for)."""
    groups = ADULT_GROUPS if shape == "groups" else []
    integer = range(4, 57)
    space = FeatureSpace(integer=integer, at_most_one=groups)
    rng = np.random.default_rng([57, near])
    pairs = []
    for _ in range(60 if benchmark.enabled else 3):
        target = 3.0 * rng.normal(size=58) / np.sqrt(57)
        other = rng.normal(size=58) / np.sqrt(57)
        pairs.append((target + 0.02 * other if near else 3.0 * other, target))
    turn = iter(range(10**9))

    def search():
        return max_loss_difference(*pairs[next(turn) % len(pairs)], space, loss="hinge")

    benchmark.pedantic(search, rounds=1200 if benchmark.enabled else 3, iterations=1, warmup_rounds=60)
    seconds, nodes = [], []
    for theta, target in pairs:
        diff = max_loss_difference(theta, target, space, loss="hinge")
        start = time.perf_counter()
        value = mixed_integer_programs(theta, target, groups, integer)
        seconds.append(time.perf_counter() - start)
        nodes.append(diff.nodes)
        np.testing.assert_allclose(diff.value, value, atol=1e-5)  # HiGHS: 1e-6 per row and on the objective
    if benchmark.enabled:
        programs, ours = float(np.median(seconds)), benchmark.stats.stats.median
        benchmark.extra_info |= {"milp_seconds": programs, "ratio": programs / ours, **environment.describe()}
        print(
            f"\nhinge oracle over records, {shape}, near = {near}: {1e6 * ours:.1f} us, at most {max(nodes)} nodes; "
            f"MILPs {1e3 * programs:.2f} ms, ratio {programs / ours:.0f}"
        )


@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
@pytest.mark.parametrize("d", [57, 784, 2048])
def test_smooth_oracle(benchmark, d, loss):
    theta, target = models(d, True)
    space = FeatureSpace(np.zeros(d), np.ones(d))
    diff = benchmark(max_loss_difference, theta, target, space, loss=loss)
    assert diff.value >= ref.oracle_frontier(loss, theta, target, 0.0, 1.0).value - 1e-9


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_pool_scan_against_one_read_of_the_pool(benchmark, loss):
    """Two products with every row, against numpy's sum of the same array; ratio in extra_info."""
    rng = np.random.default_rng(0)
    rows = 200_000 if benchmark.enabled else 2_000
    X = rng.random((rows, 57))
    pool = CandidatePool(X)
    theta, target = rng.normal(size=(2, 58))
    diff = benchmark(max_loss_difference, theta, target, pool, loss=loss)
    np.testing.assert_allclose(diff.value, ref.pool_scan(loss, theta, target, X)[2], rtol=1e-10)
    if benchmark.enabled:
        read = median_seconds(pool.X.sum, 11)
        ratio = benchmark.stats.stats.median / read
        benchmark.extra_info |= {"sum_seconds": read, "ratio": ratio, **environment.describe()}
        ours = 1e3 * benchmark.stats.stats.median
        print(f"\npool scan, {loss}, {rows:,} x 57: {ours:.2f} ms, numpy sum {1e3 * read:.2f} ms, ratio {ratio:.2f}")


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_one_more_point(benchmark, loss):
    """A refit after one point, 10,000 x 57 (the victim grows by one row a round)."""
    rng = np.random.default_rng(0)
    n = 10_000 if benchmark.enabled else 500
    X = rng.random((n, 57))
    y = np.where(X @ rng.normal(size=57) + rng.normal(size=n) > 0, 1.0, -1.0)
    victim = Victim(X, y, make_objective(loss, alpha=0.01))
    points = rng.integers(0, 2, size=(64, 57)).astype(float)
    turn = iter(range(10**9))

    def add():
        i = next(turn) % 64
        victim.add(points[i], 1.0 if i % 2 else -1.0)

    benchmark.pedantic(add, rounds=200 if benchmark.enabled else 3, iterations=1, warmup_rounds=5)
    assert victim.gap >= 0.0
