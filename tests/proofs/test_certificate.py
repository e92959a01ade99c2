"""Certificates: what is reported is never above what is proved, in exact arithmetic."""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mtpfast import CandidatePool, FeatureSpace
from mtpfast.losses.custom import custom
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.certificate import Certificate, bound
from mtpfast.proofs.clean_pass import clean_gradient
from mtpfast.proofs.poison_maximum import poison_maximum

seeds = st.integers(0, 2**32 - 1)


def hinge_problem(seed, n=12):
    """A small hinge problem with a direction; numbers with many bits, some margins near 1."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 4))
    lower, upper = -rng.random(d), rng.random(d)
    X = lower + (upper - lower) * rng.random((n, d))
    y = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    theta = rng.normal(size=d + 1) * 10.0 ** rng.integers(-1, 2)
    objective = make_objective("hinge", **({"alpha": 0.1} if seed % 2 else {"C": 2.0}))
    v = rng.normal(size=d + 1) * 10.0 ** rng.integers(-3, 4)
    return X, y, theta, objective, lower, upper, v


def exact_hinge_bound(X, y, theta, objective, lower, upper, v, margin_tol):
    """Equation (1) in rational arithmetic, rows within margin_tol of the kink with any s in [0, 1].

    None if the left maximum is not positive."""
    q = np.vectorize(Fraction, otypes=[object])
    X, y, theta, lower, upper, v = (q(a) for a in (X, y, theta, lower, upper, v))
    n, d = X.shape
    one, beside = Fraction(1), Fraction(margin_tol)
    pull = sum(a * b for a, b in zip(v, theta, strict=True))
    weight = Fraction(objective.alpha) * n if objective.alpha is not None else 1 / Fraction(objective.C)
    numerator = -weight * pull
    for x, label in zip(X, y, strict=True):
        margin = label * (sum(x * theta[:-1]) + theta[-1])
        push = label * (sum(x * v[:-1]) + v[-1])
        if abs(margin - one) <= beside:
            numerator -= max(Fraction(0), -push)
        elif margin < one:
            numerator += push
    best = None
    for corner in itertools.product(*zip(lower, upper, strict=True)):
        corner = np.array(corner, dtype=object)
        points = [corner]
        for j in range(d):
            if theta[j] != 0 and corner[j] == lower[j]:
                for margin in (one + beside, -one - beside):
                    t = (margin - sum(corner * theta[:-1]) - theta[-1]) / theta[j]
                    if 0 < t < upper[j] - lower[j]:
                        moved = corner.copy()
                        moved[j] += t
                        points.append(moved)
        for x in points:
            for label in (1, -1):
                margin = label * (sum(x * theta[:-1]) + theta[-1])
                if margin <= one + beside:
                    value = -label * (sum(x * v[:-1]) + v[-1])
                    best = value if best is None else max(best, value)
                if margin >= one - beside:
                    best = Fraction(0) if best is None else max(best, Fraction(0))
    best += (Fraction(objective.alpha) if objective.alpha is not None else 0) * pull
    if numerator <= 0:
        return Fraction(0)
    return numerator / best if best > 0 else None


@settings(max_examples=150, deadline=None)
@given(seeds, st.sampled_from([0.0, 1e-9, 0.3]))
def test_never_above_the_exact_value(seed, margin_tol):
    """The derived rounding margin: at most the rational value, and within 1e-9 of it (d and n are small)."""
    X, y, theta, objective, lower, upper, v = hinge_problem(seed)
    certificate = Certificate(
        "direction", theta, objective, FeatureSpace(lower, upper), direction=v, margin_tol=margin_tol
    )
    found = certificate.check(X, y).value
    exact = exact_hinge_bound(X, y, theta, objective, lower, upper, v, margin_tol)
    if exact is None:
        assert found == math.inf or found > 1e9
        return
    assert Fraction(found) <= exact
    assert found >= float(exact) * (1 - 1e-9) - 1e-9


@settings(max_examples=100, deadline=None)
@given(seeds, st.sampled_from(["hinge", "squared_hinge", "log_loss"]), st.booleans(), st.booleans())
def test_maximum_over_the_box_is_an_upper_bound_and_tight(seed, loss, alpha, fit_intercept):
    """F1: value + error is never below a point of the box, and a fine grid comes near it."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 3))
    objective = make_objective(loss, fit_intercept=fit_intercept, **({"alpha": 0.2} if alpha else {"C": 1.0}))
    theta, v = rng.normal(size=(2, d + 1)) * rng.choice([0.5, 3.0])
    if not fit_intercept:
        theta[-1] = v[-1] = 0.0
    lower, upper = -rng.random(d), rng.random(d)
    value, error = poison_maximum(v, theta, objective, FeatureSpace(lower, upper))
    axes = [np.linspace(a, b, 81) for a, b in zip(lower, upper, strict=True)]
    points = np.array(list(itertools.product(*axes)))
    best = -np.inf
    for label in (1.0, -1.0):
        s = slope(objective, label * (points @ theta[:-1] + theta[-1]))
        best = max(best, float(np.max(s * -label * (points @ v[:-1] + v[-1]))))
    best += objective.k_per_point * float(v[:-1] @ theta[:-1] + objective.r * v[-1] * theta[-1])
    assert best <= value + error
    # The grid misses the maximum by at most its mesh times the slopes involved.
    mesh = float(np.max(upper - lower)) / 80
    assert value - best <= 3 * mesh * (1 + np.abs(theta).sum()) * np.abs(v).sum() * (1 + np.abs(theta).sum())
    pool_value, pool_error = poison_maximum(v, theta, objective, CandidatePool(points))
    assert_allclose(pool_value, best, atol=1e-12 + pool_error)  # the same points, summed in another order
    assert pool_value + pool_error >= best


def slope(objective, margin):
    """``s = -phi'``; 1 on the kink of the hinge."""
    return 1.0 * (margin <= 1.0) if objective.loss.name == "hinge" else -objective.loss.derivative(margin)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["squared_hinge", "log_loss"]))
def test_any_direction_is_beaten_by_any_attack(seed, loss):
    """Weak duality: points that make theta optimal are at least as many as any direction says."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((20, 2)), np.where(rng.random(20) < 0.5, 1.0, -1.0)
    objective = make_objective(loss, C=1.0)
    theta = rng.normal(size=3)
    # Five points chosen freely, and a clean gradient that they cancel.
    points, labels = rng.random((5, 2)), np.where(rng.random(5) < 0.5, 1.0, -1.0)
    margin = labels * (points @ theta[:-1] + theta[-1])
    g = (objective.loss.derivative(margin) * labels)[:, None] * np.c_[points, np.ones(5)]
    clean = clean_gradient(X, y, theta, objective)
    arranged = dataclasses.replace(clean, gradient=-g.sum(axis=0), error=np.zeros(3))
    for v in rng.normal(size=(20, 3)):
        assert bound(arranged, v, theta, objective, FeatureSpace(0.0, 1.0))[0] <= 5


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("tol", [0.0, 0.05])
def test_blocks_rows_and_formats_agree(monkeypatch, cancer, loss, tol):
    X, y = cancer
    rng = np.random.default_rng(1)
    theta, v, weight = rng.normal(size=31), rng.normal(size=31), rng.integers(1, 3, 569).astype(float)
    v = v - 5 * theta
    certificate = Certificate(
        "direction", theta, make_objective(loss, C=0.1), FeatureSpace(0.0, 1.0), direction=v, tol=tol
    )
    whole = certificate.check(X, y, weight)
    assert_allclose(certificate.check(sp.csr_matrix(X), y, weight).value, whole.value, rtol=1e-9)
    repeated = np.repeat(np.arange(569), weight.astype(int))
    assert_allclose(certificate.check(X[repeated], y[repeated]).value, whole.value, rtol=1e-9)
    monkeypatch.setattr("mtpfast.proofs.clean_pass.BLOCK_BYTES", 8 * 30 * 40)
    assert_allclose(certificate.check(X, y, weight).value, whole.value, rtol=1e-9)  # other orders of sums
    assert whole.value > 0


def test_more_tolerance_proves_less(cancer):
    X, y = cancer
    rng = np.random.default_rng(1)
    theta = rng.normal(size=31)
    v = rng.normal(size=31) - 5 * theta
    base = Certificate("direction", theta, make_objective("hinge", C=0.1), FeatureSpace(0.0, 1.0), direction=v)
    for name in ("tol", "margin_tol"):
        values = [dataclasses.replace(base, **{name: t}).check(X, y).value for t in (0.0, 1e-3, 1e-2, 1e-1)]
        assert values[0] > 0
        assert all(b <= a for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_a_direction_proves_no_less_than_no_direction(loss, size):
    """The pass that check makes knows the direction: ``|G.v|`` moves by less in the ball than ``error.|v|`` says.

    Features of 1e6 push margins so far that ``s`` is next to 0 and its slope as small, which Taylor's remainder must
    know: a bound of it for all margins alike proved less than the intervals of the rows did.
    """
    objective = make_objective(loss, alpha=0.01)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, y = size * rng.normal(size=(8, 4)), rng.choice([-1.0, 1.0], 8)
        theta, v = rng.normal(size=5) * rng.choice([1.0, 30.0]) / size, rng.normal(size=5)
        tol = 1e-5 * np.linalg.norm(theta)
        rough, sharp = (
            clean_gradient(X, y, theta, objective, tol=tol, compact=True, **known) for known in ({}, {"direction": v})
        )
        moves = rough.error @ np.abs(v)
        assert sharp.slack + sharp.slack_error + sharp.error @ np.abs(v) <= moves * (1.0 + 1e-9)


def test_a_claim_above_the_proof_does_not_hold(cancer):
    X, y = cancer
    rng = np.random.default_rng(1)
    theta = rng.normal(size=31)
    certificate = Certificate(
        "direction", theta, make_objective(C=0.1), FeatureSpace(0.0, 1.0), direction=rng.normal(size=31) - 5 * theta
    )
    proved = certificate.check(X, y).value
    assert dataclasses.replace(certificate, value=proved).check(X, y).holds
    assert not dataclasses.replace(certificate, value=proved + 1).check(X, y).holds


def test_a_model_is_a_direction():
    """F4: by convexity the direction ``theta - theta_target`` proves what Theorem 2 proves at theta, or more."""
    rng = np.random.default_rng(0)
    X, y = rng.random((30, 3)), np.where(rng.random(30) < 0.5, 1.0, -1.0)
    target, theta = rng.normal(size=(2, 4))
    kind = {"objective": make_objective(alpha=0.1), "feasible_set": FeatureSpace(0.0, 1.0)}
    model = Certificate("model", target, theta=theta, **kind)
    direction = Certificate("direction", target, direction=theta - target, **kind)
    assert model.check(X, y) == direction.check(X, y)
    assert np.array_equal(dataclasses.replace(model, theta=target + 1.0).direction, (target + 1.0) - target)


def test_a_custom_loss_is_bounded_by_intervals():
    """No formula for 1 / s is needed: s falls, and the frontier lies below its tangents."""
    exponential = custom(lambda m: np.exp(-m), lambda m: -np.exp(-m), name="exponential")
    theta, v = np.array([1.0, 0.2]), np.array([0.7, -0.1])
    value, error = poison_maximum(v, theta, make_objective(exponential, C=1.0), FeatureSpace(-1.0, 1.0))
    x = np.linspace(-1, 1, 20001)
    best = max(float(np.max(np.exp(-y * (x + 0.2)) * -y * (0.7 * x - 0.1))) for y in (1.0, -1.0))
    assert best <= value + error <= best * 1.01


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "guess"}, "kind"),
        ({"direction": None}, "direction"),
        ({"direction": np.ones(3)}, "direction"),
        ({"theta": np.ones(2)}, "theta"),
    ],
)
def test_bad_certificates(change, match):
    arguments = {"kind": "direction", "direction": np.ones(2), **change}
    with pytest.raises(ValueError, match=match):
        Certificate(
            theta_target=np.ones(2), objective=make_objective(), feasible_set=FeatureSpace(0.0, 1.0), **arguments
        )


def test_check_names_what_does_not_fit():
    certificate = Certificate("direction", np.ones(3), make_objective(), FeatureSpace(0.0, 1.0), direction=np.ones(3))
    with pytest.raises(ValueError, match="X has shape"):
        certificate.check(np.ones((2, 5)), np.ones(2))
    with pytest.raises(ValueError, match="y has 3 labels"):
        certificate.check(np.ones((2, 2)), np.ones(3))
