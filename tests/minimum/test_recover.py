"""Whole points from effective weights: the stationarity condition is met to rounding, inside the box."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mtpfast import FeatureSpace
from mtpfast.losses.margin import effective_weight, inverse_slope
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.whole.box import balance, pair, split
from mtpfast.minimum.whole.counts import exchange, round_counts
from mtpfast.proofs.clean_pass import clean_gradient
from mtpfast.question import Setting

seeds = st.integers(0, 2**32 - 1)


def planted(seed, loss, n_plus, n_minus, fit_intercept=True):
    """A setting, the points x+ and x-, their margins and weights, and the r that they supply."""
    rng = np.random.default_rng(seed)
    d = 5
    theta = rng.normal(size=d + 1)
    theta[-1] *= fit_intercept
    objective = make_objective(loss, C=1.0, fit_intercept=fit_intercept)
    X, y = rng.random((6, d)), np.array([1.0, -1.0] * 3)
    setting = Setting(clean_gradient(X, y, theta, objective), theta, objective, FeatureSpace(0.0, 1.0).regions(d))
    points = rng.uniform(0.2, 0.8, (2, d))
    margins = [s * (x @ theta[:-1] + theta[-1]) for x, s in zip(points, (1.0, -1.0), strict=True)]
    weights = [n * effective_weight(objective.loss, m) for n, m in zip((n_plus, n_minus), margins, strict=True)]
    r = weights[0] * np.append(points[0], 1.0) - weights[1] * np.append(points[1], 1.0)
    return setting, margins, weights, r


def residual(setting, r, groups):
    total = np.zeros_like(r)
    for x, sign, n in groups:
        s = effective_weight(setting.objective.loss, sign * (x @ setting.theta[:-1] + setting.theta[-1]))
        total += n * s * sign * np.append(x, 1.0)
    return total - r


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_pair_places_both_points(seed):
    """Equation (1) of recover.py, and the margin asked for, in closed form."""
    setting, margins, (E, F), r = planted(seed, "log_loss", 7, 5)
    x_plus, x_minus = pair(setting, r, E, F, E * margins[0])
    assert np.all((x_plus >= 0) & (x_plus <= 1) & (x_minus >= 0) & (x_minus <= 1))
    assert_allclose(E * x_plus - F * x_minus, r[:-1], atol=1e-12 * (E + F))  # rounding of a few operations
    assert_allclose(x_plus @ setting.theta[:-1] + setting.theta[-1], margins[0], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]), st.integers(1, 40), st.integers(1, 40))
def test_balance_finds_the_planted_weights(seed, loss, n_plus, n_minus):
    """Two equations in two margins: the planted solution is among the roots."""
    setting, _, weights, r = planted(seed, loss, n_plus, n_minus)
    if min(weights) <= 1e-6:
        return  # a point of zero loss carries no equation
    roots = balance(setting, r, n_plus, n_minus)
    # At the top of the concave function two roots meet, where they are only determined to the root of the rounding.
    assert min(abs(E - weights[0]) for E, _ in roots) <= 1e-6 * (1 + weights[0])
    E, F = min(roots, key=lambda root: abs(root[0] - weights[0]))
    assert_allclose(E - F, r[-1], atol=1e-9 * (1 + E))
    product = E * inverse_slope(setting.objective.loss, E / n_plus) + F * inverse_slope(
        setting.objective.loss, F / n_minus
    )
    assert_allclose(product, setting.theta @ r, atol=1e-7 * (1 + E + F))


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]), st.integers(2, 60), st.floats(0.0, 0.02))
def test_split_keeps_weight_and_centre(seed, loss, n, excess):
    """Copies at two margins: the effective weight and the weighted mean are those of the one point."""
    setting, *_ = planted(seed, loss, n, 1)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.3, 0.7, 5)
    margin = x @ setting.theta[:-1] + setting.theta[-1]
    E = n * effective_weight(setting.objective.loss, margin) * (1 - excess)
    if E <= 1e-6:
        return
    groups = split(setting, 1.0, x, E, n)
    if groups is None:
        # The concave side of s has no room for less weight: Jensen goes the other way there.
        assert excess > 0
        return
    assert sum(count for *_, count in groups) == n
    assert_allclose(residual(setting, E * np.append(x, 1.0), groups), 0.0, atol=1e-10 * n)  # two bisections
    assert all(np.all((p >= 0) & (p <= 1)) for p, *_ in groups)


def test_split_refuses_more_weight_than_there_is():
    setting, *_ = planted(0, "log_loss", 3, 1)
    x = np.full(5, 0.5)
    E = 3 * effective_weight(setting.objective.loss, x @ setting.theta[:-1] + setting.theta[-1])
    assert split(setting, 1.0, x, E * 1.01, 3) is None
    assert split(setting, 1.0, x, E, 3) == [(x, 1.0, 3)]


@pytest.mark.parametrize("total", [6, 7, 10])
def test_round_counts(total):
    """Largest remainders: the total asked for, and no count below its weight's floor."""
    weights = np.array([2.5, 0.2, 3.3])
    counts = round_counts(weights, total)
    assert counts.sum() == total
    assert np.all(counts >= np.floor(weights))


def test_pair_says_where_the_box_is_too_small():
    setting, margins, (E, F), r = planted(3, "log_loss", 7, 5)
    assert pair(setting, r + 100.0, E, F, E * margins[0]) is None
    assert pair(setting, r, E, F, E * (margins[0] + 100.0)) is None


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_exchange_only_shortens_the_residual(seed):
    """Same total, no negative count, and a residual (at right angles to the slack) that is not longer."""
    rng = np.random.default_rng(seed)
    columns, weights = rng.normal(size=(4, 9)), rng.exponential(size=9) * 3
    counts = round_counts(weights, int(np.ceil(weights.sum())))
    slack = rng.normal(size=(4, 1))
    better = exchange(columns, columns @ weights, counts, slack)
    assert better.sum() == counts.sum()
    assert np.all(better >= 0)
    q = slack[:, 0] / np.linalg.norm(slack)
    across = np.eye(4) - np.outer(q, q)
    before, after = (np.linalg.norm(across @ columns @ (c - weights)) for c in (counts, better))
    assert after <= before + 1e-12
