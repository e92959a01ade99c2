"""Whole valid records: what is dealt out is valid, adds up, and the bound over the hull is one for records.

The second formulation lists every record of a small space and solves the linear program over measures on them.
"""

import itertools
import math

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog
from test_minimum import measure_program, train

from mtpfast import FeatureSpace, minimum_poisoning
from mtpfast.attacks.online import poison
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.programs.hull import SmoothHullProgram
from mtpfast.minimum.programs.smooth import SmoothProgram
from mtpfast.minimum.whole.record_sums import continuous, round_sums
from mtpfast.minimum.whole.record_tune import residual, tune
from mtpfast.minimum.whole.records import deal
from mtpfast.proofs.certificate import bound
from mtpfast.proofs.clean_pass import clean_gradient
from mtpfast.proofs.poison_maximum import poison_maximum
from mtpfast.question import Setting

seeds = st.integers(0, 2**32 - 1)
losses = st.sampled_from(["hinge", "squared_hinge", "log_loss"])
loose_refits = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -- spaces and their records -----------------------------------------------------------------


def small_space(rng, free=0, labels=None):
    """A group of three levels, scaled; a lattice of three values; a binary column; ``free`` continuous columns."""
    low, high = np.r_[-0.5, 0.0, -1.0, -0.4, 0.0, np.zeros(free)], np.r_[1.5, 1.0, 0.5, 0.8, 1.0, np.ones(free)]
    rules = {"lattice": {3: (-0.4, 0.6)}, "integer": [4], "labels": labels}
    rules["one_hot" if rng.random() < 0.5 else "at_most_one"] = [[0, 1, 2]]
    if rng.random() < 0.5:  # one value fewer for the label -1
        other = high.copy()
        other[3] = 0.5
        return FeatureSpace(low, {1.0: high, -1.0: other}, **rules)
    return FeatureSpace(low, high, **rules)


def every_record(space, d, sign):
    """All records of one label: products of values, thrown away where the space says no."""
    if sign not in space.regions(d):
        return np.empty((0, d))
    region = space.regions(d)[sign]
    values = []
    for j in range(d):
        if region.step[j]:
            values.append(np.arange(region.lower[j], region.upper[j] + 1e-9, region.step[j]))
        else:
            values.append(np.unique([region.lower[j], region.upper[j]]))
    rows = np.array(list(itertools.product(*values)))
    return rows[space.contains(rows, sign)]


def all_records(space, d):
    parts = [every_record(space, d, sign) for sign in (1.0, -1.0)]
    return np.vstack(parts), np.repeat([1.0, -1.0], [len(p) for p in parts])


def problem(seed, labels=None, loss="hinge", scale=1.0, free=0):
    rng = np.random.default_rng(seed)
    space = small_space(rng, free, labels)
    d = 5 + free
    rows, signs = all_records(space, d)
    X = rows[rng.integers(0, len(rows), 40)] + 0.0
    y = np.where(rng.random(40) < 0.5, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    penalty = {"alpha": 0.05} if rng.random() < 0.5 else {"C": 1.0}
    objective = make_objective(loss, penalize_intercept=bool(rng.random() < 0.7), **penalty)
    # near a model that some records induce, so that most of these targets can be had
    extra = rng.integers(0, len(rows), 4)
    kind = {"penalize": objective.penalize_intercept, **penalty}
    weight = np.r_[np.ones(40), rng.integers(1, 9, 4)]
    theta = scale * train(np.vstack([X, rows[extra]]), np.r_[y, signs[extra]], loss, weight=weight, **kind)
    return X, y, theta, objective, space, rows, signs


# -- certificates over the hull ---------------------------------------------------------------


def best_of_mixtures(v, theta, objective, rows, signs):
    """``max v.g`` of the hinge over mixtures of records of one label with a mean margin of at most 1, by an LP."""
    best = -np.inf
    for sign in (1.0, -1.0):
        mine = rows[signs == sign]
        if not len(mine):
            continue
        margin = sign * (mine @ theta[:-1] + theta[-1])
        p = -sign * (mine @ v[:-1] + v[-1])
        if margin.min() <= 1.0:
            found = linprog(-p, A_ub=margin[None], b_ub=[1.0], A_eq=np.ones((1, len(mine))), b_eq=[1.0])
            best = max(best, -found.fun)
        if margin.max() >= 1.0:
            best = max(best, 0.0)
    return best + objective.k_per_point * float(v[:-1] @ theta[:-1] + objective.r * v[-1] * theta[-1])


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([None, [1.0], [-1.0]]))
def test_the_maximum_over_the_hull_is_that_over_mixtures_of_records(seed, labels):
    """F1 on the hull of the records of each label that is allowed, against a linear program over all of them."""
    rng = np.random.default_rng(seed)
    space = small_space(rng, labels=labels)
    rows, signs = all_records(space, 5)
    theta, v = rng.normal(size=(2, 6))
    objective = make_objective("hinge", alpha=0.1)
    value, error = poison_maximum(v, theta, objective, space)
    assert_allclose(value, best_of_mixtures(v, theta, objective, rows, signs), atol=1e-7)  # the LP's tolerance
    assert error < 1e-12


@settings(max_examples=60, deadline=None)
@given(seeds, losses, st.sampled_from([None, [1.0], [-1.0]]), st.sampled_from([0.0, 0.05]))
def test_no_record_is_above_the_maximum(seed, loss, labels, tol):
    """``v.g`` of every record, under every model of the ball, is at most what the certificate counts with."""
    rng = np.random.default_rng(seed)
    space = small_space(rng, labels=labels)
    rows, signs = all_records(space, 5)
    theta, v, shift = rng.normal(size=(3, 6))
    objective = make_objective(loss, alpha=0.1)
    value, error = poison_maximum(v, theta, objective, space, tol)
    model = theta + tol * shift / np.linalg.norm(shift)
    margin = signs * (rows @ model[:-1] + model[-1])
    s = (margin <= 1.0) * 1.0 if loss == "hinge" else -objective.loss.derivative(margin)
    g = s * -signs * (rows @ v[:-1] + v[-1]) + 0.1 * float(v @ model)
    assert np.max(g) <= value + error


# -- the bound --------------------------------------------------------------------------------


@loose_refits
@settings(max_examples=40, deadline=None)
@given(seeds, losses, st.sampled_from([None, [1.0], [-1.0]]))
def test_the_bound_is_at_most_the_program_over_all_records(seed, loss, labels):
    """Records are in their hull; and for the hinge, where every record has loss, there is nothing else in it."""
    X, y, theta, objective, space, rows, signs = problem(seed, labels, loss, scale=0.4)
    expected = measure_program(X, y, theta, objective, rows, signs)
    result = minimum_poisoning(X, y, theta, loss=objective.loss, feasible_set=space, **penalty(objective))
    if expected is None:
        assert result.status in ("unattainable", "stalled")  # mixtures may do what records cannot
    else:
        assert result.certificate.value <= expected * (1.0 + 1e-7) + 1e-7  # two solvers' tolerances
    margin = signs * (rows @ theta[:-1] + theta[-1])
    if loss == "hinge" and np.all(margin < 1.0):
        if expected is None:
            assert result.status == "unattainable"
        else:
            assert_allclose(result.certificate.value, expected, rtol=1e-6, atol=1e-6)
    if result.status == "unattainable":
        assert result.certificate.check(X, y).value == math.inf
    assert_valid(space, result)


def penalty(objective):
    return {"alpha": objective.alpha, "C": objective.C, "penalize_intercept": objective.penalize_intercept}


def assert_valid(space, result):
    assert np.all(space.contains(result.points, result.labels))


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("labels", [None, [1.0]])
@pytest.mark.parametrize("seed", range(4))
def test_lower_bound_never_exceeds_planted_records(loss, labels, seed):
    """Train on clean rows plus n records: no bound may exceed n,"""
    rng = np.random.default_rng(seed)
    space = small_space(rng, labels=labels)
    rows, signs = all_records(space, 5)
    X, y = rows[rng.integers(0, len(rows), 60)], np.where(rng.random(60) < 0.5, 1.0, -1.0)
    planted = rng.integers(0, len(rows), 2)
    weight = np.r_[np.ones(60), 7, 5]
    theta = train(np.vstack([X, rows[planted]]), np.r_[y, signs[planted]], loss, alpha=0.05, weight=weight)
    result = minimum_poisoning(X, y, theta, loss=loss, alpha=0.05, feasible_set=space, margin_tol=1e-5)
    assert result.lower_bound <= 12
    assert result.certificate.check(X, y).holds
    assert_valid(space, result)


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]), st.booleans())
def test_two_programs_for_smooth_losses_agree(seed, loss, alpha):
    """On boxes the coordinates can be eliminated; with them, the program has the same value."""
    rng = np.random.default_rng(seed)
    d = 3
    objective = make_objective(loss, **({"alpha": 0.05} if alpha else {"C": 1.0}))
    X, y = rng.random((30, d)), np.where(rng.random(30) < 0.5, 1.0, -1.0)
    theta = 0.3 * rng.normal(size=d + 1)
    high = {1.0: np.ones(d), -1.0: np.full(d, 0.7)}
    regions = FeatureSpace(0.0, high).regions(d)
    setting = Setting(clean_gradient(X, y, theta, objective), theta, objective, regions)
    one, two = SmoothProgram(setting).solve(), SmoothHullProgram(setting).solve()
    if one is None:
        assert two is None
        return
    assert_allclose(two.value, one.value, rtol=1e-6, atol=1e-6)  # tangents to 1e-9, and two solutions
    space = FeatureSpace(0.0, high)
    proved = [bound(setting.clean, each.direction, theta, objective, space)[0] for each in (one, two)]
    assert_allclose(proved, one.value, rtol=1e-5, atol=1e-5)


@loose_refits
@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]))
def test_the_certificate_proves_the_value_over_the_hull(seed, loss):
    """Strong duality on a space with groups: the certified value is that of the program."""
    X, y, theta, objective, space, _, _ = problem(seed, loss=loss)
    setting = Setting(clean_gradient(X, y, theta, objective), theta, objective, space.regions(5))
    solution = SmoothHullProgram(setting).solve()
    if solution is None or solution.value < 1e-3:
        return  # nothing to prove; unattainable targets have a test of their own
    proved = bound(setting.clean, solution.direction, theta, objective, space)[0]
    assert_allclose(proved, solution.value, rtol=1e-5)  # of the solver's multipliers


def test_a_label_that_is_not_allowed_is_not_used_and_costs():
    """Fewer points are possible with both labels; with one only, the other appears nowhere."""
    X, y, theta, objective, space, rows, signs = problem(5)
    both = minimum_poisoning(X, y, theta, feasible_set=space, **penalty(objective))
    for label in (1.0, -1.0):
        one = small_space(np.random.default_rng(5), labels=[label])
        result = minimum_poisoning(X, y, theta, feasible_set=one, **penalty(objective))
        assert result.lower_bound >= both.lower_bound
        assert np.all(result.labels == label)
        expected = measure_program(X, y, theta, objective, rows[signs == label], signs[signs == label])
        if result.status == "unattainable":
            assert expected is None
            assert result.certificate.check(X, y).value == math.inf


# -- records ----------------------------------------------------------------------------------


def setting_of(space, d, theta, loss="hinge", n=30):
    rng = np.random.default_rng(0)
    objective = make_objective(loss, C=1.0)
    X, y = rng.random((n, d)), np.where(rng.random(n) < 0.5, 1.0, -1.0)
    return Setting(clean_gradient(X, y, theta, objective), theta, objective, space.regions(d))


def random_sums(rng, space, d, counts):
    """Sums of mixtures of records."""
    sums = []
    for sign, n in zip((1.0, -1.0), counts, strict=True):
        rows = every_record(space, d, sign)
        sums.append(n * rng.dirichlet(np.ones(len(rows))) @ rows)
    return sums


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 40), st.integers(0, 40), st.sampled_from([0, 2]))
def test_what_is_dealt_out_is_valid_and_adds_up(seed, n_plus, n_minus, free):
    """Whole levels, the sums asked for, every record in its region."""
    rng = np.random.default_rng(seed)
    space, d, counts = small_space(rng, free), 5 + free, (n_plus, n_minus)
    theta = rng.normal(size=d + 1)
    setting = setting_of(space, d, theta)
    wanted = random_sums(rng, space, d, counts)
    sums = round_sums(setting, wanted, counts)
    for sign, region, want, total, n in zip((1.0, -1.0), setting.both, wanted, sums, counts, strict=True):
        for limit in (None, np.inf, 1.0):
            X = deal(setting, sign, total, n, limit)
            assert X.shape == (n, d)
            assert np.all(space.contains(X, sign))
            assert_allclose(X.sum(axis=0), total, atol=1e-9 * max(1, n))  # n additions, and a bisection
        # Rounding moves no sum by more than the levels of a column or two, and no continuous one at all.
        assert np.all(np.abs(total - want) <= 3.0 * (region.upper - region.lower) + 1e-9)
        free_columns = continuous(region)
        assert_allclose(total[free_columns], want[free_columns], atol=1e-9 * max(1, n))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_rounding_is_at_least_as_good_as_the_nearest_whole_numbers(seed):
    """Moves are made only while they shorten the residual at right angles to the slack."""
    rng = np.random.default_rng(seed)
    d, counts = 6, (30, 11)
    space = FeatureSpace(0.0, 3.0, integer=range(d))
    setting = setting_of(space, d, 0.01 * rng.normal(size=d + 1))
    sums = [rng.uniform(5, 25, d), rng.uniform(1, 10, d)]
    slack = rng.normal(size=(d + 1, 2))
    q, _ = np.linalg.qr(slack[:-1])

    def missed(found):
        change = (found[0] - sums[0]) - (found[1] - sums[1])
        return np.linalg.norm(change - q @ (q.T @ change))

    assert missed(round_sums(setting, sums, counts, slack)) <= missed([np.round(z) for z in sums]) + 1e-9
    ups = itertools.product((0, 1), repeat=d)
    best = min(missed([np.floor(sums[0]) + np.array(up), np.round(sums[1])]) for up in ups)
    assert missed(round_sums(setting, sums, counts, slack)) <= 2.0 * best + 0.5  # a local search, not far off


def test_margins_are_balanced():
    """Greedy dealing and swaps keep the margins of hundreds of records within the reach of the last few columns,
    and far nearer than chance does; mixing (no limit) costs a little of that."""
    rng = np.random.default_rng(1)
    d, n = 20, 300
    theta = rng.normal(size=d + 1)
    setting = setting_of(FeatureSpace(0.0, 1.0, integer=range(d)), d, theta)
    total = np.round(n * rng.uniform(0.05, 0.95, d))
    loose, tight = deal(setting, 1.0, total, n), deal(setting, 1.0, total, n, limit=-np.inf)
    parts = [X @ theta[:-1] for X in (loose, tight, rng.permuted(tight, axis=0))]
    least = np.sort(np.abs(theta[:-1]))[:4].sum()
    assert np.ptp(parts[1]) <= least
    assert np.std(parts[0]) <= 0.1 * np.std(parts[2])
    assert np.std(parts[1]) <= 0.05 * np.std(parts[2])


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]))
def test_tuning_reaches_every_row_with_continuous_columns(seed, loss):
    """Records of two levels and continuous columns: (1) is met to rounding, and every record stays valid."""
    rng = np.random.default_rng(seed)
    d, n = 6, 120
    space = FeatureSpace(0.0, 1.0, integer=[0, 1])
    theta = 0.2 * rng.normal(size=d + 1)
    setting = setting_of(space, d, theta, loss)
    X = rng.uniform(0.2, 0.8, (n, d))
    X[:, :2] = rng.random((n, 2)) < 0.5
    signs = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    rho, s = residual(setting, X, signs)
    # A gradient that other records of this kind cancel: what is missed is a small part of what they supply.
    shift = 0.02 * (s * signs) @ np.c_[X, np.ones(n)] + 0.2 * rng.normal(size=d + 1)
    setting.clean.gradient[:] += shift - rho
    tuned = X.copy()
    left = tune(setting, tuned, signs)
    assert_allclose(left, residual(setting, tuned, signs)[0], atol=1e-12)
    assert np.all(space.contains(tuned))
    assert np.linalg.norm(left) <= 1e-9


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]))
def test_tuning_whole_records_only_shortens_the_residual(seed, loss):
    """Without continuous columns one level of one record changes at a time: valid, and never worse."""
    rng = np.random.default_rng(seed)
    space = small_space(rng)
    theta = 0.5 * rng.normal(size=6)
    setting = setting_of(space, 5, theta, loss)
    rows, signs = all_records(space, 5)
    chosen = rng.integers(0, len(rows), 25)
    X, signs = rows[chosen].copy(), signs[chosen]
    before = np.linalg.norm(residual(setting, X, signs)[0])
    after = np.linalg.norm(tune(setting, X, signs))
    assert np.all(space.contains(X, signs))
    assert after <= before
    # No single change that is left helps: every other record in every place.
    for i in range(len(X)):
        for other in every_record(space, 5, signs[i]):
            if np.sum(np.abs(other - X[i]) > 1e-9) == 1:
                trial = X.copy()
                trial[i] = other
                steps = np.abs(other - X[i]).max() <= 0.6 + 1e-9 or np.abs(other - X[i])[:3].any()
                if steps:
                    assert np.linalg.norm(residual(setting, trial, signs)[0]) >= after - 1e-9


def test_residual_is_equation_one():
    """Against the sum over single records."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=4)
    setting = setting_of(FeatureSpace(0.0, 1.0), 3, theta, "log_loss")
    X, signs = rng.random((7, 3)), np.where(rng.random(7) < 0.5, 1.0, -1.0)
    expected = setting.clean.gradient + 9 * setting.pull
    for x, sign in zip(X, signs, strict=True):
        s = setting.objective.loss.pull(sign * (x @ theta[:-1] + theta[-1]))
        expected = expected - s * sign * np.append(x, 1.0)
    assert_allclose(residual(setting, X, signs, n_zero=2)[0], expected, atol=1e-12)


# -- end to end -------------------------------------------------------------------------------


def coded(X, levels):
    """The digits' pixels cut at levels, one column for each but the lowest: groups of which one at most is on."""
    on = (X[:, :, None] >= levels) & (X[:, :, None] < np.append(levels[1:], 2.0))
    return on.reshape(len(X), -1) * 1.0


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_the_cheapest_attack_is_made_of_valid_records(digits, loss):
    """As many records as the bound says, each with one level per group at most, and a model next to the target."""
    X, y = digits
    X = coded(X[:, 8:40], np.array([0.3, 0.8]))
    space = FeatureSpace(0.0, 1.0, at_most_one=[[j, j + 1] for j in range(0, X.shape[1], 2)])
    margin = y * (X @ (theta := train(X, y, loss, alpha=0.09))[:-1] + theta[-1])
    low = np.flatnonzero(margin < np.quantile(margin, 0.2))
    weight = np.r_[np.ones(len(y)), np.full(len(low), 3.0)]
    target = train(np.vstack([X, X[low]]), np.r_[y, -y[low]], loss, alpha=0.09, weight=weight)
    result = minimum_poisoning(X, y, target, loss=loss, alpha=0.09, feasible_set=space)
    assert_valid(space, result)
    assert result.lower_bound <= result.n_points <= result.lower_bound + 1
    assert 0 < result.n_points <= 3 * len(low)
    X_mod, y_mod, _ = result.poisoned(X, y)
    induced = reference.refit(loss, reference.Convention(alpha=0.09), X_mod, y_mod)
    assert_allclose(induced, result.theta, atol=1e-6)  # precision of two retrainings
    # Every sum is rounded by half a record or less, and the objective is k-strongly convex; s is at most 1 (2 (1 - m)).
    most = max(1.0, 2.0 * (1.0 - np.min(result.labels * (result.points @ target[:-1] + target[-1]))))
    assert result.distance <= 0.5 * (1.0 if loss != "squared_hinge" else most) * np.sqrt(len(target)) / (
        0.09 * len(y_mod)
    )
    assert result.certificate.check(X, y).holds


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_within_a_tolerance_and_on_a_budget(loss):
    """The ball's bound is at most the exact one, every point is a record, and what is reached is in the ball."""
    X, y, theta, objective, space, _, _ = problem({"hinge": 11, "log_loss": 8}[loss], loss=loss)
    asked = {"loss": loss, "feasible_set": space, **penalty(objective)}
    exact = minimum_poisoning(X, y, theta, **asked)
    assert exact.n_points > 4
    for tol in (0.05, 0.3):
        result = minimum_poisoning(X, y, theta, tol=tol, **asked)
        assert_valid(space, result)
        assert result.certificate.value <= exact.certificate.value * (1.0 + 1e-9)
        assert result.certificate.check(X, y).holds
        assert (result.status == "reached") == (result.distance <= tol)
        assert result.lower_bound <= result.n_points or result.status != "reached"
    assert result.status == "reached"
    few = minimum_poisoning(X, y, theta, max_points=3, **asked)
    assert_valid(space, few)
    assert few.n_points <= 3
    assert few.status == "budget"
    assert few.lower_bound == exact.lower_bound


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_ball_bound_never_exceeds_planted_records(loss):
    """A model in the ball that records induce: the bound for the whole ball is at most their number."""
    for seed in range(2):
        rng = np.random.default_rng(seed)
        space = small_space(rng)
        rows, signs = all_records(space, 5)
        X, y = rows[rng.integers(0, len(rows), 60)], np.where(rng.random(60) < 0.5, 1.0, -1.0)
        planted = rng.integers(0, len(rows))
        rows, labels = np.vstack([X, rows[planted]]), np.append(y, signs[planted])
        induced = train(rows, labels, loss, alpha=0.05, weight=np.append(np.ones(60), 8.0))
        shift = rng.normal(size=6)
        for tol in (1e-4, 1e-2, 0.1):
            theta = induced + shift * tol * (1.0 - 1e-6) / np.linalg.norm(shift)
            result = minimum_poisoning(X, y, theta, loss=loss, alpha=0.05, feasible_set=space, tol=tol, max_points=8)
            assert result.lower_bound <= 8
            assert_valid(space, result)


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_other_ways_to_ask(loss):
    """Another scale costs no more; without whole numbers asked for, the points are records all the same."""
    X, y, theta, objective, space, _, _ = problem(2, loss=loss)
    asked = {"loss": loss, "feasible_set": space, **penalty(objective)}
    plain = minimum_poisoning(X, y, theta, **asked)
    scaled = minimum_poisoning(X, y, theta, rescale=True, **asked)
    assert scaled.certificate.value <= plain.certificate.value * (1.0 + 1e-9)
    nearest = minimum_poisoning(X, y, theta, integer=False, **asked)
    assert nearest.n_points == max(1, round(plain.certificate.value))
    for result in (plain, scaled, nearest):
        assert_valid(space, result)


def test_a_target_that_records_induce_is_hit_by_no_more_of_them():
    """Hinge, few columns: whole levels that add up exactly are found wherever there are some."""
    hit = 0
    for seed in range(12):
        X, y, theta, objective, space, rows, signs = problem(seed)
        result = minimum_poisoning(X, y, theta, feasible_set=space, **penalty(objective))
        if result.status != "reached":
            continue  # more than rounding is lost where margins cannot be balanced
        hit += 1
        assert result.distance < 1e-8
        assert result.n_points <= 4 * 8  # planted: four records, each up to eight times
        if result.n_points:
            expected = measure_program(X, y, theta, objective, rows, signs)
            assert result.n_points >= math.ceil(expected * (1.0 - 1e-6) - 1e-6)
    assert hit >= 8


def test_points_are_those_that_records_become():
    """What turns points into those of records is applied before the victim is trained."""
    X, y, theta, objective, space, _, _ = problem(2)
    shifted = space._with_canonical(lambda points: points + 1e-12)
    plain = minimum_poisoning(X, y, theta, feasible_set=space, **penalty(objective))
    result = minimum_poisoning(X, y, theta, feasible_set=shifted, **penalty(objective))
    assert np.array_equal(result.points, plain.points + 1e-12)
    for more in ({"tol": 0.3}, {"max_points": 3}):
        result = minimum_poisoning(X, y, theta, feasible_set=shifted, **penalty(objective), **more)
        assert result.n_points > 0
        assert_allclose(result.points - np.round(result.points, 1), 1e-12, atol=1e-15)  # every level has one digit


def test_continuous_columns_let_a_smooth_loss_hit_the_target():
    """With room in continuous columns the stationarity rows are met exactly, at the rounded-up bound or one above."""
    rng = np.random.default_rng(3)
    X = np.c_[rng.random((200, 4)), rng.random((200, 2)) < 0.4]
    y = np.where(X @ [1.0, -1.0, 0.5, 0.0, 0.3, -0.2] + 0.4 * rng.normal(size=200) > 0.3, 1.0, -1.0)
    theta = train(X, y, "log_loss", alpha=0.05)
    margin = y * (X @ theta[:-1] + theta[-1])
    low = np.flatnonzero(margin < np.quantile(margin, 0.2))
    weight = np.r_[np.ones(200), np.full(len(low), 3.0)]
    target = train(np.vstack([X, X[low]]), np.r_[y, -y[low]], "log_loss", alpha=0.05, weight=weight)
    space = FeatureSpace(0.0, 1.0, integer=[4, 5])
    result = minimum_poisoning(X, y, target, loss="log_loss", alpha=0.05, feasible_set=space)
    assert result.status == "reached"
    assert result.distance < 1e-7
    assert result.n_points <= result.lower_bound + 1
    assert_valid(space, result)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_algorithm_1_claims_no_more_than_its_certificate_proves(loss):
    """The search over records may prove a little more than the hull does; what is claimed is what can be checked."""
    for seed in range(6, 12):
        X, y, theta, objective, space, _, _ = problem(seed, loss=loss)
        result = poison(X, y, theta, loss=loss, feasible_set=space, tol=1e-3, max_points=40, **penalty(objective))
        assert_valid(space, result)
        assert result.certificate.kind == "model"
        assert result.lower_bound == result.certificate.n_poison
        assert result.certificate.check(X, y).holds


@pytest.mark.parametrize("seed", range(4))
def test_no_prefix_of_an_attack_with_records_claims_more_than_its_certificate_proves(seed):
    """A certificate is checked over the hull; the history's bound knows the records themselves."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.random((60, 5)))
    y = np.where(X @ rng.normal(size=5) + 0.3 * rng.normal(size=60) > 0.2, 1.0, -1.0)
    space = FeatureSpace(0.0, 1.0, integer=range(5))
    target = np.append(rng.normal(size=5), 0.1)
    attack = poison(X, y, target, alpha=0.05, feasible_set=space, max_points=15, tol=0.0)
    for k in range(1, 15):
        prefix = attack.at_budget(k)
        if prefix.certificate is not None:
            assert prefix.lower_bound <= prefix.certificate.check(X, y).n_poison
