"""The oracle over spaces with lattices and groups: the maximum over points that could exist, globally.

Three independent answers: every discrete point written out and scored (reference.pool_scan); every discrete
assignment with the edges of the continuous box that is left (reference.oracle_edges); and, for the hinge loss,
scipy.optimize.milp. ``reference.rounding`` bounds what float64 does to a loss difference; 1e-9 relative is what
the oracle promises.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import Bounds, LinearConstraint, milp

from mtpfast import FeatureSpace, _core, _search, max_loss_difference
from mtpfast.losses.margin import LOSSES, Loss
from mtpfast.verification.maximum import attained_and_proved

RTOL = 1e-9
ATOL = 1e-12  # where the maximum is (nearly) 0; far below any tolerance of an attack


@dataclass
class Mixed:
    """A space as its rules, from which FeatureSpace and the independent answers are made."""

    lower: np.ndarray
    upper: np.ndarray
    lattice: dict = field(default_factory=dict)  # column -> (origin, step)
    one_hot: list = field(default_factory=list)
    at_most_one: list = field(default_factory=list)

    def space(self, **rules):
        return FeatureSpace(
            self.lower, self.upper, lattice=self.lattice, one_hot=self.one_hot, at_most_one=self.at_most_one, **rules
        )

    @property
    def groups(self):
        return [(np.sort(g), True) for g in self.one_hot] + [(np.sort(g), False) for g in self.at_most_one]

    def values(self, j):
        origin, step = self.lattice[j]
        first, last = round((self.lower[j] - origin) / step), round((self.upper[j] - origin) / step)
        return [origin + k * step for k in range(first, last + 1)]

    def discrete(self):
        """The columns ruled, and for each lattice or group its (columns, array of values)."""
        parts = [(np.array([j]), np.array(self.values(j))[:, None]) for j in sorted(self.lattice)]
        for columns, exactly in self.groups:
            values = np.tile(self.lower[columns], (len(columns), 1))
            np.fill_diagonal(values, self.upper[columns])
            parts.append((columns, values if exactly else np.vstack([values, self.lower[columns]])))
        return parts

    def points(self):
        """Every discrete assignment, (n, d), the continuous columns at their lower bounds."""
        parts = self.discrete()
        X = np.tile(self.lower, (int(np.prod([len(values) for _, values in parts])), 1))
        picks = np.indices([len(values) for _, values in parts]).reshape(len(parts), -1)
        for (columns, values), pick in zip(parts, picks, strict=True):
            X[:, columns] = values[pick]
        return X

    def holds(self, x):
        """Whether a point is in, by the rules themselves."""
        ok = np.all((x >= self.lower) & (x <= self.upper))
        for columns, values in self.discrete():
            ok &= np.min(np.max(np.abs(values - x[columns]), axis=1)) <= 1e-12 * (1.0 + np.max(np.abs(values)))
        return bool(ok)


def roughness(loss, theta, target, lower, upper):
    """What rounding, and the 1e-14 of the losses that the searches allow themselves, make at most."""
    far = np.maximum(np.abs(lower), np.abs(upper))
    size = [float(np.abs(t) @ np.append(far, 1.0)) for t in (theta, target)]
    return 16.0 * ref.rounding(loss, theta, target, far) + 4e-14 * sum(float(ref.phi(loss, -s)) for s in size)


def check(diff, loss, theta, target, mixed, best=None):
    """What every answer must satisfy by itself, and beside the maximum ``best`` found otherwise."""
    assert mixed.holds(diff.x)
    slack = roughness(loss, theta, target, mixed.lower, mixed.upper)
    attained = ref.difference(loss, theta, target, diff.x, diff.y)
    assert_allclose(diff.value, attained, rtol=RTOL, atol=ref.rounding(loss, theta, target, diff.x))
    assert 0.0 <= diff.upper_bound - diff.value <= RTOL * abs(diff.value) + ATOL + slack
    if best is not None:
        assert diff.upper_bound >= best - slack
        assert abs(diff.value - best) <= RTOL * abs(best) + ATOL + slack


def every_assignment(loss, theta, target, mixed):
    """The maximum over all edges of the box that each discrete assignment leaves."""
    free = np.setdiff1d(np.arange(len(mixed.lower)), ruled_columns(mixed))
    best = -np.inf
    for point in mixed.points():
        point[free] = 0.0
        left = [np.append(t[free], t[:-1] @ point + t[-1]) for t in (theta, target)]
        if len(free):
            best = max(best, ref.oracle_edges(loss, *left, mixed.lower[free], mixed.upper[free]).value)
        else:
            best = max(best, *(ref.difference(loss, theta, target, point, y) for y in (-1.0, 1.0)))
    return best


def best_points(loss, theta, target, mixed):
    """{label: the maximum over its points}, all scored once, where every column is discrete."""
    X = mixed.points()
    u, v = ref.scores(theta, X), ref.scores(target, X)
    return {y: float(np.max(ref.phi(loss, y * u) - ref.phi(loss, y * v))) for y in (-1.0, 1.0)}


def ruled_columns(mixed):
    return np.concatenate([columns for columns, _ in mixed.discrete()] or [[]]).astype(int)


def random_models(rng, d, kind):
    """Far, near, parallel, shrunk, with equal gains everywhere, and rounded (ties everywhere)."""
    target = rng.choice([1.0, 3.0, 8.0]) * rng.normal(size=d + 1) / np.sqrt(d)
    noise = rng.normal(size=d + 1) / np.sqrt(d)
    if kind == "far":
        return 3.0 * noise, target
    if kind == "near":
        return target + rng.choice([1e-4, 0.02]) * noise, target
    if kind == "parallel":
        return rng.choice([0.5, 0.9, 1.1]) * target, target
    if kind == "shrunk":
        return 0.9 * target + 1e-4 * noise, target
    if kind == "equal gains":
        return target - 0.01 * np.sign(target), target
    return np.round(5.0 * (target + noise)) / 5.0, np.round(5.0 * target) / 5.0


KINDS = ("far", "near", "parallel", "shrunk", "equal gains", "rounded")


def random_mixed(rng, most_points, n_continuous=0):
    """Lattices with odd origins and steps, groups with odd off and on values, in a random order of columns."""
    lower, upper, lattice, groups = [], [], {}, []
    size = 1
    while True:
        n = 2 if not lower else int(rng.choice([2, 2, 3, 5, 20, 200]))
        grouped, exactly = rng.random() < 0.4, rng.random() < 0.5
        if size * (n + 1) > most_points:
            break
        if grouped and n > 2:
            groups.append((list(range(len(lower), len(lower) + n)), exactly))
            off = np.zeros(n) if rng.random() < 0.5 else rng.normal(size=n)
            lower += off.tolist()
            upper += (off + (1.0 if rng.random() < 0.5 else 0.1 + rng.random(n))).tolist()
            size *= n + (not exactly)
        else:
            step = float(rng.choice([1.0, 0.5, 1.0 / 73.0, 0.01 + rng.random()]))
            origin = float(rng.normal() * rng.integers(2))
            first = int(rng.integers(-3, 4))
            lattice[len(lower)] = (origin, step)
            lower.append(origin + first * step)
            upper.append(origin + (first + n - 1) * step)
            size *= n
    side = rng.normal(size=n_continuous) * rng.integers(2)
    lower = np.array(lower + side.tolist())
    upper = np.array(upper + (side + rng.random(n_continuous) * rng.choice([0.01, 1.0])).tolist())
    order = rng.permutation(len(lower))
    place = np.argsort(order)
    return Mixed(
        lower[order],
        upper[order],
        {int(place[j]): rule for j, rule in lattice.items()},
        [place[g].tolist() for g, exactly in groups if exactly],
        [place[g].tolist() for g, exactly in groups if not exactly],
    )


def adult(binary=False):
    """The shape of Adult: 4 numbers, six groups of columns of which one level has none, one binary column."""
    groups = [range(4, 12), range(12, 27), range(27, 33), range(33, 47), range(47, 52), range(52, 56)]
    columns = range(4, 57) if binary else [56]
    return Mixed(
        np.zeros(57), np.ones(57), dict.fromkeys(columns, (0.0, 1.0)), [], [] if binary else [list(g) for g in groups]
    )


def hinge_by_milp(theta, target, mixed, y):
    """max of 1 - u - t over the points, t >= 0, t >= 1 - v; and of -t, for which the largest v is enough.

    Variables: the discrete columns as whole numbers from 0. HiGHS is right to 1e-6 in every row and in the
    objective, so both are magnified by 1000 and the answer is its whole numbers with the edges that these leave.
    """
    d, big = len(mixed.lower), 1000.0
    base, scale = mixed.lower.copy(), np.ones(d)
    high, whole = mixed.upper - mixed.lower, np.zeros(d)
    for j, (_, step) in mixed.lattice.items():
        scale[j], high[j], whole[j] = step, len(mixed.values(j)) - 1, 1
    rows, least = [], []
    for columns, exactly in mixed.groups:
        scale[columns], high[columns], whole[columns] = high[columns], 1.0, 1
        rows.append(np.append(np.isin(np.arange(d), columns), 0.0))
        least.append(float(exactly))
    a, p = y * theta[:-1], y * target[:-1]
    v0 = p @ base + y * target[-1]
    A = np.vstack([np.append(big * p * scale, 1.0), *rows])
    found = milp(
        np.append(big * a * scale, 1.0),
        constraints=LinearConstraint(A, [big * (1.0 - v0), *least], [np.inf] + [1.0] * len(rows)),
        integrality=np.append(whole, 0),
        bounds=Bounds(np.zeros(d + 1), np.append(high, np.inf)),
        options={"mip_rel_gap": 0.0},
    )
    assert found.success, found.message
    x = base + scale * np.where(whole > 0, np.rint(found.x[:-1]), found.x[:-1])
    assert Mixed.holds(mixed, np.clip(x, mixed.lower, mixed.upper))
    lower, upper = (np.where(whole > 0, x, end) for end in (mixed.lower, mixed.upper))
    first = max(
        1.0 - u - ref.phi("hinge", v) for u, v in hinge_corners(a, p, lower, upper, y * theta[-1], y * target[-1])
    )
    gain = [max(p[c] @ row for row in values) for c, values in mixed.discrete()]
    free = np.setdiff1d(np.arange(d), ruled_columns(mixed))
    most_v = y * target[-1] + sum(gain) + np.maximum(p * mixed.lower, p * mixed.upper)[free].sum()
    return max(first, -float(ref.phi("hinge", most_v)))


def hinge_corners(a, p, lower, upper, a0, p0):
    """The vertices of the frontier of a box, and the point of each edge where v = 1."""
    x = np.where(a > 0, lower, np.where(a < 0, upper, np.where(p > 0, upper, lower)))
    u, v = a @ x + a0, p @ x + p0
    yield u, v
    for j in sorted(np.flatnonzero((a * p > 0) & (upper > lower)), key=lambda j: -abs(p[j] / a[j])):
        du, dv = abs(a[j]) * (upper[j] - lower[j]), abs(p[j]) * (upper[j] - lower[j])
        if v < 1.0 < v + dv:
            yield u + du * (1.0 - v) / dv, 1.0
        u, v = u + du, v + dv
        yield u, v


# ---------------------------------------------------------------- against independent answers


@pytest.mark.parametrize("loss", ref.LOSSES)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), n_continuous=st.integers(0, 2))
@settings(max_examples=60)
def test_global_maximum_over_a_small_mixed_space(loss, seed, kind, n_continuous):
    """Every discrete assignment, with all edges of the continuous box that is left."""
    rng = np.random.default_rng(seed)
    mixed = random_mixed(rng, 40, n_continuous)
    theta, target = random_models(rng, len(mixed.lower), kind)
    diff = max_loss_difference(theta, target, mixed.space(), loss=loss)
    check(diff, loss, theta, target, mixed, every_assignment(loss, theta, target, mixed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ref.LOSSES)
def test_global_maximum_over_all_points_of_a_discrete_space(loss, kind):
    """Up to 60,000 points, all scored. Only with parallel models and the like are there many nodes."""
    rng = np.random.default_rng([9, KINDS.index(kind)])
    nodes = 0
    for _ in range(25):
        mixed = random_mixed(rng, 60_000)
        theta, target = random_models(rng, len(mixed.lower), kind)
        best = best_points(loss, theta, target, mixed)
        for y in (-1.0, 1.0):
            diff = max_loss_difference(theta, target, mixed.space(labels=[y]), loss=loss)
            check(diff, loss, theta, target, mixed, best[y])
        diff = max_loss_difference(theta, target, mixed.space(), loss=loss)
        check(diff, loss, theta, target, mixed, max(best.values()))
        nodes += diff.nodes
    if kind == "parallel":
        assert nodes > 1000  # else this tested the relaxation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ref.LOSSES)
def test_global_maximum_over_long_lattices(loss, kind):
    """One to three lattices of 17 to 60 values, beside some binary columns and one group: all points scored."""
    rng = np.random.default_rng([26, KINDS.index(kind)])
    for i in range(150 if kind == "parallel" else 40):
        n_long, n_binary = (1, 1, 2, 3)[i % 4], int(rng.integers(4))
        last = rng.integers(17, (300, 60, 20)[n_long - 1], size=n_long)
        step = np.append(rng.choice([1.0, 10.0, 30.0], size=n_long) / last, rng.choice([0.5, 1.0], size=n_binary))
        upper = np.concatenate([step * np.append(last, np.ones(n_binary)), np.ones(4)])
        lattice = {j: (0.0, float(step[j])) for j in range(n_long + n_binary)}
        mixed = Mixed(np.zeros(len(upper)), upper, lattice, [], [list(range(len(step), len(upper)))])
        theta, target = random_models(rng, len(upper), kind)
        best = best_points(loss, theta, target, mixed)
        for y in (-1.0, 1.0):
            diff = max_loss_difference(theta, target, mixed.space(labels=[y]), loss=loss)
            check(diff, loss, theta, target, mixed, best[y])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["small", "adult", "adult, binary"])
def test_hinge_maximum_is_that_of_the_mixed_integer_program(shape, kind):
    """180 cases of both labels against scipy.optimize.milp."""
    rng = np.random.default_rng([10, KINDS.index(kind)])
    for i in range(10):
        n_continuous = 1 + i % 4
        mixed = random_mixed(rng, 10_000, n_continuous) if shape == "small" else adult(shape == "adult, binary")
        theta, target = random_models(rng, len(mixed.lower), kind)
        for y in (-1.0, 1.0):
            diff = max_loss_difference(theta, target, mixed.space(labels=[y]))
            assert diff.y == y
            check(diff, "hinge", theta, target, mixed, hinge_by_milp(theta, target, mixed, y))


def test_a_long_lattice_that_is_the_last_to_be_set():
    """The first of its levels tried was better than all before it, and the best was further on."""
    target = np.array([-1.7906, -1.67492, -0.86813, 0.91562, 7.86469, -1.57476, -5.72311, -1.78438, -4.42])
    lower = np.array([-2.0 / 300.0, -0.66246543, 0.32943063, -2.5324158, 0.95926152, -0.02498801, -0.02208538, 1.0])
    lattice = {0: (0.0, 1.0 / 300.0), 6: (0.97791462, 0.5), 7: (0.0, 1.0)}
    lower[6] = lattice[6][0] - 2 * 0.5
    upper = lower + np.array([299.0 / 300.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0])
    mixed = Mixed(lower, upper, lattice, [], [[1, 2, 3, 4, 5]])
    for loss in ref.LOSSES:
        for factor in np.linspace(0.4, 0.95, 40):
            theta = factor * target
            best = best_points(loss, theta, target, mixed)
            for y in (-1.0, 1.0):
                diff = max_loss_difference(theta, target, mixed.space(labels=[y]), loss=loss)
                check(diff, loss, theta, target, mixed, best[y])


# ---------------------------------------------------------------- the node limit


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_the_bound_tells_the_truth_when_the_nodes_run_out(loss):
    """Any node limit: a point of the space, and the maximum between its value and the bound."""
    rng = np.random.default_rng(11)
    loose = 0
    for i in range(60):
        mixed = random_mixed(rng, 20_000)
        theta, target = random_models(rng, len(mixed.lower), ("parallel", "equal gains")[i % 2])
        best = ref.pool_scan(loss, theta, target, mixed.points())[2]
        slack = roughness(loss, theta, target, mixed.lower, mixed.upper)
        whole = max_loss_difference(theta, target, mixed.space(), loss=loss, max_nodes=10**6)
        previous = np.inf
        for limit in (0, 1, 10, 100):
            diff = max_loss_difference(theta, target, mixed.space(), loss=loss, max_nodes=limit)
            assert mixed.holds(diff.x)
            assert diff.nodes <= 2 * limit  # for each label
            assert diff.value <= best + RTOL * abs(best) + slack
            assert diff.upper_bound >= max(best - slack, diff.value)
            assert diff.upper_bound <= previous + RTOL * abs(best) + ATOL + slack  # more nodes, no worse a bound
            previous = diff.upper_bound
            loose += diff.upper_bound > diff.value + RTOL * abs(best) + ATOL + slack
        check(whole, loss, theta, target, mixed, best)
    assert loose > 20


def test_a_bad_node_limit_is_refused():
    for limit in (-1, 1.5, "many"):
        with pytest.raises((TypeError, ValueError), match="max_nodes"):
            max_loss_difference(np.ones(3), np.ones(3), FeatureSpace(integer=[0]), max_nodes=limit)


# ---------------------------------------------------------------- larger spaces


@pytest.mark.parametrize("loss", ref.LOSSES)
@pytest.mark.parametrize("n_binary", [1500, 3000])
def test_thousands_of_features(loss, n_binary):
    """Proved to 1e-9, below the maximum over the hull, and no single change of a column improves it."""
    rng = np.random.default_rng([12, n_binary])
    d = 3000
    mixed = Mixed(np.zeros(d), np.ones(d), dict.fromkeys(range(n_binary), (0.0, 1.0)))
    for kind in ("far", "near"):
        theta, target = random_models(rng, d, kind)
        diff = max_loss_difference(theta, target, mixed.space(), loss=loss)
        check(diff, loss, theta, target, mixed)
        hull = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
        slack = roughness(loss, theta, target, mixed.lower, mixed.upper)
        assert diff.value <= hull.upper_bound + slack
        step = diff.y * (1.0 - 2.0 * diff.x[:n_binary])
        u, v = (diff.y * (t[:-1] @ diff.x + t[-1]) for t in (theta, target))
        flipped = ref.phi(loss, u + step * theta[:n_binary]) - ref.phi(loss, v + step * target[:n_binary])
        assert flipped.max() <= diff.value * (1.0 + RTOL) + ATOL + slack


def test_many_levels_are_not_looked_at_one_by_one():
    """A lattice of a million values beside others: the maximum of the box to the step, in no time."""
    rng = np.random.default_rng(13)
    step = 1e-6
    for loss in ref.LOSSES:
        for _ in range(20):
            theta, target = random_models(rng, 6, "far")
            space = FeatureSpace(0.0, 1.0, lattice=dict.fromkeys(range(6), (0.0, step)))
            diff = max_loss_difference(theta, target, space, loss=loss)
            hull = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
            assert space.contains(diff.x[None])[0]
            assert diff.value <= hull.upper_bound
            # rounding every coordinate to the lattice moves a score by less than |theta| step
            u, v = (diff.y * (t[:-1] @ diff.x + t[-1]) for t in (theta, target))
            steep = max(abs(float(ref.dphi(loss, m - 0.1))) for m in (u, v))
            cost = steep * step * (np.abs(theta).sum() + np.abs(target).sum())
            assert diff.upper_bound >= hull.value - cost


@pytest.mark.parametrize("exactly", [False, True])
def test_a_group_of_thousands_of_levels(exactly):
    """One group is a pool: every level scored."""
    rng = np.random.default_rng(14)
    d = 4000
    mixed = Mixed(np.zeros(d), np.ones(d), {}, *(([range(d)], []) if exactly else ([], [range(d)])))
    theta, target = random_models(rng, d, "far")
    theta, target = 30.0 * theta, 30.0 * target
    space = mixed.space()
    X = np.eye(d) if exactly else np.vstack([np.eye(d), np.zeros(d)])
    for loss in ref.LOSSES:
        diff = max_loss_difference(theta, target, space, loss=loss)
        best = ref.pool_scan(loss, theta, target, X)[2]
        assert space.contains(diff.x[None])[0]
        assert_allclose(diff.value, best, rtol=RTOL)
        assert_allclose(diff.upper_bound, best, rtol=RTOL)


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_labels_and_bounds_of_their_own(loss):
    """One label only; and bounds for each label: the larger of the two maxima."""
    rng = np.random.default_rng(15)
    for kind in KINDS:
        low, high = random_mixed(rng, 200, 2), None
        theta, target = random_models(rng, len(low.lower), kind)
        shift = np.where(np.isin(np.arange(len(low.lower)), list(low.lattice)), 0.0, 0.25)
        high = Mixed(
            low.lower + shift,
            low.upper + shift,
            {j: (origin + shift[j], step) for j, (origin, step) in low.lattice.items()},
            low.one_hot,
            low.at_most_one,
        )
        single = {
            y: max_loss_difference(theta, target, mixed.space(labels=[y]), loss=loss)
            for y, mixed in ((1.0, low), (-1.0, high))
        }
        for y, mixed in ((1.0, low), (-1.0, high)):
            assert single[y].y == y
            check(single[y], loss, theta, target, mixed)
        space = FeatureSpace(
            {-1: high.lower, 1: low.lower},
            {-1: high.upper, 1: low.upper},
            lattice=low.lattice,
            one_hot=low.one_hot,
            at_most_one=low.at_most_one,
        )
        both = max_loss_difference(theta, target, space, loss=loss)
        best = max(single.values(), key=lambda diff: diff.value)
        slack = roughness(loss, theta, target, low.lower, high.upper)
        assert_allclose(both.value, best.value, rtol=RTOL, atol=ATOL + slack)
        assert_allclose(both.upper_bound, best.upper_bound, rtol=RTOL, atol=ATOL + slack)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_pinned_features_and_levels(loss):
    """Pinning is a rule like any other: the same as the space that has no other choice."""
    rng = np.random.default_rng(16)
    for _ in range(20):
        theta, target = random_models(rng, 9, "far")
        rules = {"one_hot": [[0, 1, 2], [3, 4, 5]], "integer": [6, 7]}
        pinned = FeatureSpace(0.0, 1.0, **rules, fixed={1: 0.0, 4: 1.0, 6: 1.0})
        diff = max_loss_difference(theta, target, pinned, loss=loss)
        assert diff.x[1] == 0.0
        assert_array_equal(diff.x[3:7], [0.0, 1.0, 0.0, 1.0])
        mixed = Mixed(
            np.array([0.0, 0, 0, 0, 1, 0, 1, 0, 0]),
            np.array([1.0, 0, 1, 0, 1, 0, 1, 1, 1]),
            {7: (0.0, 1.0)},
            [[0, 2]],
        )
        check(diff, loss, theta, target, mixed, every_assignment(loss, theta, target, mixed))


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_every_further_rule_lowers_the_maximum(loss):
    """Box, then binary columns, then groups that leave a level out, then groups without it."""
    rng = np.random.default_rng(17)
    groups = [[0, 1, 2, 3], [4, 5, 6]]
    for kind in KINDS:
        theta, target = random_models(rng, 12, kind)
        spaces = [
            FeatureSpace(),
            FeatureSpace(integer=range(9)),
            FeatureSpace(at_most_one=groups, integer=[7, 8]),
            FeatureSpace(one_hot=groups, integer=[7, 8]),
        ]
        found = [max_loss_difference(theta, target, space, loss=loss) for space in spaces]
        for wide, narrow in itertools.pairwise(found):
            assert narrow.value <= wide.upper_bound


def test_a_box_is_searched_as_before_bit_for_bit():
    """No lattice and no group, whatever else the space says: the kernel of the box, label by label."""
    rng = np.random.default_rng(18)
    for loss in ref.LOSSES:
        lower = {-1: rng.normal(size=20), 1: rng.normal(size=20)}
        upper = {y: low + rng.random(20) for y, low in lower.items()}
        theta, target = rng.normal(size=(2, 21))
        diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
        found = {}
        for y in (1, -1):
            x = np.empty(20)
            kernel = _core.KERNELS[loss]
            value, bound = _search.box_loss_difference(kernel, theta, target, lower[y], upper[y], lower[y], float(y), x)
            found[y] = value, bound, x
        assert diff.value == max(found[1][0], found[-1][0])
        assert diff.upper_bound == max(found[1][1], found[-1][1])
        assert_array_equal(diff.x, found[int(diff.y)][2])
        assert diff.nodes == 0


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_the_same_input_gives_the_same_bits(loss):
    rng = np.random.default_rng(19)
    for kind in ("rounded", "parallel"):
        mixed = random_mixed(rng, 10_000, 2)
        theta, target = random_models(rng, len(mixed.lower), kind)
        a = max_loss_difference(theta, target, mixed.space(), loss=loss)
        b = max_loss_difference(theta, target, mixed.space(), loss=loss)
        assert_array_equal(a.x, b.x)
        assert a[1:] == b[1:]


# ---------------------------------------------------------------- points follow the data, not noise


def test_weights_that_are_zero_but_for_rounding_decide_nothing():
    """A column or level that neither model looks at: the value nearest 0, no level, or the lowest one."""
    rng = np.random.default_rng(20)
    rules = {"integer": [0, 1], "at_most_one": [[2, 3, 4]], "one_hot": [[5, 6, 7]]}
    space = FeatureSpace([-3.0, 2.0] + [0.0] * 8, [4.0, 5.0] + [1.0] * 8, **rules)
    for loss in ref.LOSSES:
        for _ in range(20):
            theta, target = rng.normal(size=(2, 11))
            theta[:8], target[:8] = 1e-17 * rng.normal(size=(2, 8))
            diff = max_loss_difference(theta, target, space, loss=loss)
            assert_array_equal(diff.x[:8], [0.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
            assert diff.upper_bound - diff.value <= RTOL * abs(diff.value) + 1e-12  # and the cost of it is in the bound


def test_levels_that_are_equal_but_for_rounding_give_the_lowest_column():
    rng = np.random.default_rng(21)
    space = FeatureSpace(0.0, 1.0, one_hot=[range(5)])
    for loss in ref.LOSSES:
        for _ in range(20):
            theta, target = rng.normal(size=(2, 8))
            theta[:5] = 0.3 * (1.0 + 2e-16 * rng.integers(-1, 2, size=5))
            target[:5] = -0.7 * (1.0 + 2e-16 * rng.integers(-1, 2, size=5))
            assert_array_equal(max_loss_difference(theta, target, space, loss=loss).x[:5], [1.0, 0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_equal_models_differ_nowhere(loss):
    """theta = theta_p: every point ties, and no node is spent on them."""
    for theta in (np.zeros(58), np.random.default_rng(22).normal(size=58)):
        for mixed in (adult(), adult(binary=True)):
            diff = max_loss_difference(theta, theta, mixed.space(), loss=loss)
            check(diff, loss, theta, theta, mixed)
            assert diff.value == 0.0
            assert diff.nodes == 0


# ---------------------------------------------------------------- values as they are


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_bounds_that_are_lattice_values_but_for_their_last_digits_are_handed_out_as_they_are(loss):
    """What a scaler makes of an integer column: 0.7 is the 7 * 0.1 that is meant."""
    rng = np.random.default_rng(23)
    upper = 0.7
    assert upper != 7 * 0.1
    space = FeatureSpace(0.0, upper, lattice=dict.fromkeys(range(4), (0.0, 0.1)))
    for _ in range(20):
        theta, target = rng.normal(size=(2, 5))
        diff = max_loss_difference(theta, target, space, loss=loss)
        assert space.contains(diff.x[None])[0]
        assert set(diff.x.tolist()) <= {*(k * 0.1 for k in range(7)), upper}


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_the_point_handed_out_is_that_of_the_record(loss):
    """`canonical` has the last word; the value is that of its point, the bound stays above it."""
    rng = np.random.default_rng(24)

    def canonical(points):
        return points * (1.0 + 2.0**-52)

    for mixed in (random_mixed(rng, 500, 2), Mixed(np.zeros(9), np.ones(9))):
        theta, target = random_models(rng, len(mixed.lower), "far")
        plain = max_loss_difference(theta, target, mixed.space(), loss=loss)
        diff = max_loss_difference(theta, target, mixed.space()._with_canonical(canonical), loss=loss)
        assert_array_equal(diff.x, canonical(plain.x))
        assert diff.y == plain.y
        assert_allclose(diff.value, ref.difference(loss, theta, target, diff.x, diff.y), rtol=1e-13, atol=1e-14)
        assert diff.upper_bound >= max(diff.value, plain.upper_bound)
        assert_allclose(diff.upper_bound, plain.upper_bound, rtol=RTOL)


# ---------------------------------------------------------------- custom losses


class Renamed(Loss):
    """A built-in loss under another name: no compiled twin."""

    def __init__(self, name):
        self.name, self._loss = "my " + name, LOSSES[name]
        self.lipschitz, self.smooth = self._loss.lipschitz, self._loss.smooth

    def value(self, margin):
        return self._loss.value(margin)

    def derivative(self, margin):
        return self._loss.derivative(margin)

    def second_derivative(self, margin):
        return self._loss.second_derivative(margin)


@pytest.mark.parametrize("loss", ref.LOSSES)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS[:4]))
@settings(max_examples=25)
def test_a_loss_without_a_compiled_twin_finds_the_same(loss, seed, kind):
    """Two searches that share nothing but the edges of a box."""
    rng = np.random.default_rng(seed)
    mixed = random_mixed(rng, 1000, int(rng.integers(3)))
    theta, target = random_models(rng, len(mixed.lower), kind)
    compiled = max_loss_difference(theta, target, mixed.space(), loss=loss)
    diff = max_loss_difference(theta, target, mixed.space(), loss=Renamed(loss), max_nodes=100)
    slack = roughness(loss, theta, target, mixed.lower, mixed.upper)
    assert mixed.holds(diff.x)
    assert_allclose(
        diff.value,
        ref.difference(loss, theta, target, diff.x, diff.y),
        rtol=RTOL,
        atol=ref.rounding(loss, theta, target, diff.x),
    )
    close = RTOL * abs(compiled.value) + ATOL + slack
    assert diff.value <= compiled.value + close
    assert diff.upper_bound >= max(diff.value, compiled.value - close)
    if diff.nodes < 100:
        assert diff.upper_bound - diff.value <= close
        assert diff.value >= compiled.value - close


def test_a_custom_loss_that_runs_out_of_nodes_says_so():
    rng = np.random.default_rng(25)
    target = rng.normal(size=41)
    space = FeatureSpace(integer=range(40))
    diff = max_loss_difference(0.9 * target, target, space, loss=Renamed("hinge"), max_nodes=5)
    compiled = max_loss_difference(0.9 * target, target, space, loss="hinge")
    assert diff.upper_bound >= compiled.value
    assert diff.value <= compiled.upper_bound
    assert diff.upper_bound > diff.value * (1.0 + 1e-6)


@pytest.mark.parametrize("steps", [100, 1000, 58680])
def test_the_check_of_a_result_finds_the_maximum_over_fine_lattices_too(steps):
    """Two models that all but agree on a lattice: a mixed-integer solver drops slopes of 1e-7 a step."""
    lower = [-1.62321107, -1.89825816, 0, 0, 0, 0, 0, 0]
    width = 58680 * 5.78853404e-05
    upper = [lower[0] + width, 3.1860862, 1, 1, 1, 1, 1, 1]
    theta = np.array([0.04586448471956639, -0.2196172906192577, 0, 0, 0, 0, 0.1, 0.1, 0.2])
    target = np.array(
        [0.04586298809841547, -0.21961729061925783, -0.00184, 0.01376, -0.06, -0.0618, 0.12, 0.06, 0.1319]
    )
    space = FeatureSpace(lower, upper, lattice={0: (lower[0], width / steps)}, integer=[2], at_most_one=[[3, 4, 5]])
    found = max_loss_difference(theta, target, space)
    assert space.contains(found.x[None, :]).all()
    attained, proved = attained_and_proved(theta, target, space, LOSSES["hinge"])
    # both claim the global maximum, to their tolerances of 1e-9 and 1e-8
    assert_allclose(attained, found.value, rtol=0, atol=2e-8)
    assert proved >= found.value - 1e-12
