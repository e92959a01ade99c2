"""Whole points from effective weights: the stationarity condition is met to rounding, inside the box."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq

from mtpfast import FeatureSpace
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
    points = rng.uniform(0.2, 0.8, (2, d))
    top = max(s * (x @ theta[:-1] + theta[-1]) for x, s in zip(points, (1.0, -1.0), strict=True))
    theta *= 0.9 / max(top, 0.9)  # both points have loss
    X, y = rng.random((6, d)), np.array([1.0, -1.0] * 3)
    setting = Setting(clean_gradient(X, y, theta, objective), theta, objective, FeatureSpace(0.0, 1.0).regions(d))
    margins = [s * (x @ theta[:-1] + theta[-1]) for x, s in zip(points, (1.0, -1.0), strict=True)]
    weights = [n * objective.loss.pull(m) for n, m in zip((n_plus, n_minus), margins, strict=True)]
    r = weights[0] * np.append(points[0], 1.0) - weights[1] * np.append(points[1], 1.0)
    return setting, margins, weights, r


def residual(setting, r, groups):
    total = np.zeros_like(r)
    for x, sign, n in groups:
        s = setting.objective.loss.pull(sign * (x @ setting.theta[:-1] + setting.theta[-1]))
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
    roots = balance(setting, r, n_plus, n_minus)
    # At the top of the concave function two roots meet, where they are only determined to the root of the rounding.
    assert min(abs(E - weights[0]) for E, _ in roots) <= 1e-6 * (1 + weights[0])
    E, F = min(roots, key=lambda root: abs(root[0] - weights[0]))
    assert_allclose(E - F, r[-1], atol=1e-9 * (1 + E))
    margin_of = setting.objective.loss.margin_of
    product = E * margin_of(E / n_plus) + F * margin_of(F / n_minus)
    assert_allclose(product, setting.theta @ r, atol=1e-7 * (1 + E + F))


@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.sampled_from(["squared_hinge", "log_loss"]),
    st.integers(2, 60),
    st.floats(-2.0, 0.5),
    st.floats(0.05, 0.45),
)
def test_split_finds_two_margins_where_there_are_any(seed, loss, n, margin, share):
    """Copies at two margins with the effective weight and the weighted mean of the one point: such are planted here.

    With ``n s(m) > E`` there are always some near by, as ``1 / s`` is strictly convex; the box sets how far.
    """
    setting, *_ = planted(seed, loss, n, 1)
    theta, phi = setting.theta.copy(), setting.objective.loss
    x = np.random.default_rng(seed).uniform(0.3, 0.7, 5)
    theta[-1] = margin - x @ theta[:-1]
    setting = replace(setting, theta=theta)

    def s(m):
        return -float(phi.derivative(np.array(m)))

    # n - n // 2 copies further up by ``a``, the others further down by the c that keeps the centre.
    step = np.sign(theta[:-1]) * np.minimum(x, 1.0 - x)
    rise = float(theta[:-1] @ step)
    low, high = n // 2, n - n // 2
    a = share * min(1.0, (1.0 - margin) / rise)
    c = brentq(lambda c: low * s(margin - c * rise) * c - high * s(margin + a * rise) * a, 0.0, 1.0, xtol=1e-15)
    E = low * s(margin - c * rise) + high * s(margin + a * rise)
    assert E < n * s(margin)
    groups = split(setting, 1.0, x, E, n)
    assert groups is not None
    assert len(groups) == 2
    assert sum(count for *_, count in groups) == n
    assert_allclose(residual(setting, E * np.append(x, 1.0), groups), 0.0, atol=1e-10 * n)  # two bisections
    assert all(np.all((p >= 0) & (p <= 1)) for p, *_ in groups)


def test_split_refuses_more_weight_than_there_is():
    setting, *_ = planted(0, "log_loss", 3, 1)
    x = np.full(5, 0.5)
    E = 3 * setting.objective.loss.pull(x @ setting.theta[:-1] + setting.theta[-1])
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
