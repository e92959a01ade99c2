"""The lower bound F3: arithmetic only, rounded in the safe direction, and never above a planted number of points."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mtpfast import CandidatePool, FeatureSpace, max_loss_difference
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.bounds import lower_bound
from mtpfast.training.victim import refit

sizes = st.floats(0.0, 1e6, allow_subnormal=False)


def f3(conv, J_target, J_theta, max_difference, theta, target, gap=0.0, n_terms=1):
    """The package's bound, its numbers taken from plain NumPy."""
    return lower_bound(
        J_target,
        J_theta,
        max_difference,
        penalty_theta=ref.penalty(conv, theta),
        penalty_target=ref.penalty(conv, target),
        k_per_point=conv.alpha or 0.0,
        gap=gap,
        n_terms=n_terms,
    )


# ---------------------------------------------------------------- arithmetic


@given(
    J_target=sizes,
    J_theta=sizes,
    D=st.floats(-10.0, 1e4, allow_subnormal=False),
    pen=st.tuples(sizes, sizes),
    alpha=st.one_of(st.just(0.0), st.floats(1e-6, 1.0)),
    gap=st.one_of(st.just(0.0), st.floats(0.0, 10.0, allow_subnormal=False)),
    n_terms=st.integers(1, 10**6),
)
@settings(max_examples=300)
def test_rounding_never_lifts_the_bound_above_exact_arithmetic(J_target, J_theta, D, pen, alpha, gap, n_terms):
    """value <= F3 in rational arithmetic and n_poison <= its ceiling; "trivial" where F3 says nothing.

    A numerator that is positive over a denominator that is not means that no number is enough, so there any
    bound is true.
    """
    bound = lower_bound(J_target, J_theta, D, pen[0], pen[1], alpha, gap, n_terms)
    numerator = Fraction(J_target) - Fraction(J_theta) - Fraction(gap)
    denominator = Fraction(D) + Fraction(alpha) / 2 * (Fraction(pen[0]) - Fraction(pen[1]))
    assert isinstance(bound.n_poison, int)
    # a part in 1e8 is given away: a target is itself rounded; 2**63 - 1 says that no number is known to suffice
    expected = math.ceil(max(0.0, bound.value * (1 - 1e-8) - 1e-9)) if bound.value < 2.0**63 else 2**63 - 1
    assert bound.n_poison == expected
    if numerator > 0 and denominator <= 0:
        return
    if numerator <= 0:
        assert (bound.value, bound.n_poison, bound.status) == (0.0, 0, "trivial")
        return
    exact = numerator / denominator
    assert 0 <= Fraction(bound.value) <= exact
    assert bound.n_poison <= math.ceil(exact)
    # nor does it give away more than rounding: n_terms sums of the size of J, a few operations on the penalties
    slack_num = 4 * (n_terms + 16) * ref.EPS * (J_target + J_theta + gap)
    slack_den = 64 * ref.EPS * (abs(D) + alpha * (pen[0] + pen[1]))
    weakest = (numerator - Fraction(slack_num)) / (denominator + Fraction(slack_den))
    assert Fraction(bound.value) >= min(weakest, Fraction(sys.float_info.max)) * (1 - Fraction(1, 10**12))


def test_a_bound_beyond_the_largest_float_stays_a_number():
    """14 / 7e-308 = 2e308 points would suffice: inf, "no number of points suffices", would be false."""
    value = lower_bound(14.0, 0.0, 7e-308).value
    assert 1e308 < value < math.inf
    assert Fraction(value) <= Fraction(14) / Fraction(7e-308)


def test_the_bound_rounds_up_and_a_whole_number_stays():
    """10 / 0.8 = 12.5 needs 13 points; 10 / 2 = 5 needs 5, not 6."""
    assert lower_bound(30.0, 20.0, 0.8).n_poison == 13
    assert lower_bound(30.0, 20.0, 2.0).n_poison == 5
    assert lower_bound(30.0, 20.0, 0.8).status == "proved"


def test_the_gap_of_the_target_is_subtracted_first():
    """A target that misses its own optimum by g: P(theta_p) <= P(theta) + g, so the numerator loses g."""
    assert_allclose(lower_bound(30.0, 20.0, 1.0, gap=4.0).value, 6.0, rtol=1e-12)  # one subtraction, one division
    assert lower_bound(30.0, 20.0, 1.0, gap=11.0).status == "trivial"


def test_a_larger_maximum_never_gives_a_larger_bound():
    values = [lower_bound(30.0, 20.0, D, 1.0, 2.0, 0.1).value for D in (0.3, 0.5, 1.0, 10.0, np.inf)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0.0


# ---------------------------------------------------------------- planted targets


def planted(rng, loss, conv, n_clean, d, n_plant, n_distinct):
    """Clean data, n_plant chosen points of the unit box, and the model trained on both: the target."""
    X = rng.random((n_clean, d))
    y = np.where(X @ rng.normal(size=d) + 0.3 * rng.normal(size=n_clean) > 0.0, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    points = np.where(rng.random((n_distinct, d)) < 0.5, 0.0, rng.random((n_distinct, d)))
    labels = np.where(rng.random(n_distinct) < 0.5, 1.0, -1.0)
    rows = rng.integers(n_distinct, size=n_plant)
    X_all, y_all = np.vstack([X, points[rows]]), np.append(y, labels[rows])
    return X, y, points, labels, rows, refit(X_all, y_all, make_objective(loss, **conv._asdict()), tol=1e-9)


@pytest.mark.parametrize("conv", ref.CONVENTIONS, ids=ref.convention_id)
@pytest.mark.parametrize("loss", ref.LOSSES)
@given(seed=st.integers(0, 10**6), n_plant=st.integers(1, 40))
@settings(max_examples=8)
def test_lower_bound_never_exceeds_planted_size(loss, conv, seed, n_plant):
    """Theorem (F3): n planted points induce the target, so no bound for it, at any theta, is above n."""
    rng = np.random.default_rng(seed)
    X, y, points, labels, rows, fit = planted(rng, loss, conv, 40, 3, n_plant, 4)
    target = fit.theta
    objective = make_objective(loss, **conv._asdict())
    J_target = ref.objective(loss, conv, target, X, y)
    clean = refit(X, y, objective).theta
    half = rows[: n_plant // 2]
    halfway = refit(np.vstack([X, points[half]]), np.append(y, labels[half]), objective).theta
    random = target + 0.3 * rng.normal(size=4) * np.append(np.ones(3), float(conv.fit_intercept))
    for theta in (clean, halfway, 0.5 * (clean + target), target + 0.01 * (clean - target), random):
        for space in (FeatureSpace(), CandidatePool(points, labels), CandidatePool(points)):
            D = max_loss_difference(theta, target, space, loss=loss).upper_bound
            J_theta = ref.objective(loss, conv, theta, X, y)
            bound = f3(conv, J_target, J_theta, D, theta, target, gap=fit.gap, n_terms=len(y))
            assert bound.n_poison <= n_plant


def nearby(loss, conv):
    """One candidate point planted n = 30 times, and the model for 29.5 copies of it.

    The penalty is strong and the candidate near the origin, so that weights and intercept both move and
    every part of the regulariser counts.
    """
    rng = np.random.default_rng(0)
    n = 100
    X = rng.normal(size=(n, 3)) + 0.5
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.5 * rng.normal(size=n) > 0.5, 1.0, -1.0)
    x, label = np.array([[0.1, 0.5, 0.5]]), np.array([-1.0])
    objective = make_objective(loss, **conv._asdict())
    X_all, y_all = np.vstack([X, x]), np.append(y, label)
    fit, near = (refit(X_all, y_all, objective, sample_weight=np.append(np.ones(n), c), tol=1e-9) for c in (30.0, 29.5))
    return X, y, x[0], label[0], near.theta, fit


def regulariser_variants(loss, conv, X, y, x, label, theta, fit):
    """(the right bound, {what is wrong: the bound with that mistake})."""
    target = fit.theta
    D = max_loss_difference(theta, target, CandidatePool(x[None, :], [label]), loss=loss).upper_bound

    def bound(J_conv=conv, total_weight=None, per_point=conv, J_loss=loss, difference=D):
        J_target, J_theta = (ref.objective(J_loss, J_conv, t, X, y, total_weight=total_weight) for t in (target, theta))
        return f3(per_point, J_target, J_theta, difference, theta, target, gap=fit.gap, n_terms=len(y)).value

    wrong = {"no penalty in J": bound(J_conv=conv._replace(alpha=1e-300, C=None))}
    if conv.alpha is not None:
        wrong["no alpha term in the denominator"] = bound(per_point=conv._replace(alpha=None, C=1.0))
        wrong["k counts the poison rows"] = bound(total_weight=len(y) + 30)
    else:
        wrong["alpha term in the C convention"] = bound(per_point=conv._replace(alpha=0.05, C=None))
    if conv.fit_intercept:
        other = conv._replace(penalize_intercept=not conv.penalize_intercept)
        wrong["intercept penalised the other way"] = bound(J_conv=other, per_point=other)
    if loss != "hinge":
        D_hinge = ref.difference("hinge", theta, target, x, label)
        wrong["hinge loss in place of the victim's"] = bound(J_loss="hinge", difference=D_hinge)
    return bound(), wrong


@pytest.mark.parametrize("conv", ref.CONVENTIONS, ids=ref.convention_id)
@pytest.mark.parametrize("loss", ref.LOSSES)
def test_one_candidate_and_a_nearby_model_make_the_bound_tight(loss, conv):
    """Theorem: with one candidate of loss g and theta optimal for J + s g, F3 at theta is at least s.

    J(theta) + s g(theta) <= J(theta_p) + s g(theta_p), so [J(theta_p) - J(theta)] / [g(theta) - g(theta_p)]
    >= s = n - 1/2; and it is at most n: rounded up it **is** n.  Every wrong regulariser leaves that window.
    """
    conv = conv._replace(alpha=0.5) if conv.alpha is not None else conv._replace(C=0.025)
    right, wrong = regulariser_variants(loss, conv, *nearby(loss, conv))
    assert 29.5 - 1e-5 <= right <= 30.0  # 1e-5: two refits to 1e-9, over a difference of the models near 1e-2
    for mistake, value in wrong.items():
        assert not 29.5 - 1e-5 <= value <= 30.0, mistake
