"""The margin losses and the one statement of the objective."""

import copy
import pickle

import numpy as np
import pytest
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mtpfast import FeatureSpace, losses, max_loss_difference
from mtpfast.kernels import kernel_of
from mtpfast.losses.custom import custom
from mtpfast.losses.margin import LOG_LOSS, LOSSES, get_loss
from mtpfast.losses.objective import Objective, make_objective

MARGINS = np.concatenate([np.linspace(-6.0, 6.0, 241), [-1e3, -50.0, 50.0, 1e3, 1e8, -1e8]])
margins = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize("name", ref.LOSSES)
def test_value_and_derivative_are_the_equations(name):
    """max(0, 1 - m), max(0, 1 - m)^2, log(1 + exp(-m)), and their derivatives."""
    loss = losses.get_loss(name)
    assert loss.name == name
    # 1e-14: a few roundings of one exponential and one logarithm
    assert_allclose(loss.value(MARGINS), ref.phi(name, MARGINS), rtol=1e-14, atol=0.0)
    assert_allclose(loss.derivative(MARGINS), ref.dphi(name, MARGINS), rtol=1e-13, atol=0.0)
    # s (1 - s) cancels where s is near 1: absolute rounding of one, which is nothing to a Hessian
    assert_allclose(loss.second_derivative(MARGINS), ref.d2phi(name, MARGINS), rtol=1e-12, atol=ref.EPS)


def test_log_loss_keeps_its_relative_accuracy_far_from_zero():
    """log(1 + exp(-m)) is exp(-m) (1 + O(exp(-m))) for large m, -m + O(exp(m)) for large -m; no overflow."""
    loss = losses.get_loss("log_loss")
    m = np.array([40.0, 100.0, 700.0])
    # 1e-13: exp(-40) relative to 1 is below 1e-17, and exp is good to an ulp or two
    assert_allclose(loss.value(m), np.exp(-m), rtol=1e-13)
    assert_allclose(loss.derivative(m), -np.exp(-m), rtol=1e-13)
    assert_array_equal(loss.value(-m), m)
    assert_array_equal(loss.derivative(np.array([-1e6])), [-1.0])
    assert_array_equal(loss.value(np.array([1e6])), [0.0])


def test_hinge_derivative_is_minus_one_strictly_below_the_margin_and_zero_on_it():
    """s = 1 below margin 1, 0 above; on it the convention of the interface is 0."""
    loss = losses.get_loss("hinge")
    m = np.array([np.nextafter(1.0, 0.0), 1.0, np.nextafter(1.0, 2.0)])
    assert_array_equal(loss.derivative(m), [-1.0, 0.0, 0.0])


@pytest.mark.parametrize("name", ref.LOSSES)
@given(a=margins, b=margins)
@settings(max_examples=50)
def test_losses_are_convex_and_never_increase(name, a, b):
    """phi((a + b) / 2) <= (phi(a) + phi(b)) / 2, and a <= b implies phi(a) >= phi(b)."""
    loss = losses.get_loss(name)
    fa, fm, fb = loss.value(np.array([a, 0.5 * (a + b), b]))
    slack = 8.0 * ref.EPS * (fa + fb)  # rounding of three values
    assert fm <= 0.5 * (fa + fb) + slack
    assert (fa >= fb) if a <= b else (fb >= fa)


@pytest.mark.parametrize("name", ref.LOSSES)
@given(m=st.floats(-30.0, 30.0))
@settings(max_examples=50)
def test_derivative_is_the_slope_of_the_value(name, m):
    """A chord of a convex function has a slope between the derivatives at its two ends."""
    loss = losses.get_loss(name)
    h = 1e-3
    f0, f1 = loss.value(np.array([m, m + h]))
    g0, g1 = loss.derivative(np.array([m, m + h]))
    slack = 8.0 * ref.EPS * max(1.0, f0) / h  # rounding of the two values, over h
    assert g0 - slack <= (f1 - f0) / h <= g1 + slack


@pytest.mark.parametrize("name", ref.LOSSES)
def test_lipschitz_bounds_every_derivative(name):
    """lipschitz = sup |phi'|: 1 for hinge and log loss, infinite for the squared hinge."""
    loss = losses.get_loss(name)
    assert loss.lipschitz == (np.inf if name == "squared_hinge" else 1.0)
    assert np.all(np.abs(loss.derivative(MARGINS)) <= loss.lipschitz)


def test_get_loss_names_the_choices_and_passes_instances_through():
    with pytest.raises(ValueError, match=r"hinge.*squared_hinge.*log_loss"):
        losses.get_loss("logistic")
    loss = losses.get_loss("log_loss")
    assert losses.get_loss(loss) is loss
    with pytest.raises((ValueError, TypeError)):
        losses.get_loss(3)


@pytest.mark.parametrize("name", ref.LOSSES)
def test_losses_survive_pickle_and_copy(name):
    loss = losses.get_loss(name)
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert twin.name == name
        assert_array_equal(twin.value(MARGINS), loss.value(MARGINS))


def half_squared_hinge(m):
    return 0.5 * (1.0 - m) ** 2 if m < 1.0 else 0.0


def half_squared_hinge_derivative(m):
    return m - 1.0 if m < 1.0 else 0.0


def test_custom_loss_is_vectorised_and_pickles():
    """custom(value, derivative) builds a loss out of scalar functions, vectorised with or without numba."""
    loss = losses.custom(half_squared_hinge, half_squared_hinge_derivative, name="half_squared_hinge")
    m = np.linspace(-3.0, 3.0, 25)
    for twin in (loss, losses.get_loss(loss), pickle.loads(pickle.dumps(loss))):
        assert twin.name == "half_squared_hinge"
        assert_allclose(twin.value(m), 0.5 * ref.phi("squared_hinge", m), rtol=1e-14)  # one product
        assert_allclose(twin.derivative(m), 0.5 * ref.dphi("squared_hinge", m), rtol=1e-14)


# ---------------------------------------------------------------- the objective


@pytest.mark.parametrize("conv", ref.CONVENTIONS, ids=ref.convention_id)
@pytest.mark.parametrize("name", ref.LOSSES)
def test_objective_is_the_equation_of_section_1(name, conv):
    """P = sum_i c_i phi(y_i theta.x~_i) + (k/2) theta'R theta, k = N alpha or 1/C, r = 1 iff penalised."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 4)), np.where(rng.random(30) < 0.4, 1.0, -1.0)
    theta, c = rng.normal(size=5), rng.random(30) * 3.0
    if not conv.fit_intercept:
        theta[-1] = 0.0
    obj = losses.make_objective(name, **conv._asdict())
    assert obj.r == conv.r
    assert obj.k_per_point == (conv.alpha or 0.0)
    # 1e-13 everywhere below: sums of 30 rounded terms
    assert_allclose(obj.k(41.5), conv.k(41.5), rtol=1e-15)
    assert_allclose(obj.penalty(theta), ref.penalty(conv, theta), rtol=1e-13)
    assert_allclose(obj.margins(theta, X, y), y * ref.scores(theta, X), rtol=1e-12, atol=1e-14)
    assert_allclose(obj.value(theta, X, y), ref.objective(name, conv, theta, X, y), rtol=1e-13)
    weighted = ref.objective(name, conv, theta, X, y, weight=c)
    assert_allclose(obj.value(theta, X, y, sample_weight=c), weighted, rtol=1e-13)
    total = ref.objective(name, conv, theta, X, y, total_weight=77.0)
    assert_allclose(obj.value(theta, X, y, total_weight=77.0), total, rtol=1e-13)


@pytest.mark.parametrize("name", ref.LOSSES)
def test_objective_counts_a_row_of_weight_two_as_two_rows(name):
    rng = np.random.default_rng(2)
    X, y, theta = rng.normal(size=(9, 2)), np.array([1.0, -1.0, 1.0] * 3), rng.normal(size=3)
    twice = np.array([1, 2, 1, 3, 1, 0, 1, 1, 2])
    obj = losses.make_objective(name, alpha=0.3)
    repeated = obj.value(theta, np.repeat(X, twice, axis=0), np.repeat(y, twice))
    assert_allclose(obj.value(theta, X, y, sample_weight=twice.astype(float)), repeated, rtol=1e-14)


def test_make_objective_takes_at_most_one_of_alpha_and_C():
    """Neither: alpha = 0.01; both, or one that is not positive: ValueError that names it."""
    obj = losses.make_objective()
    assert (obj.alpha, obj.C, obj.loss.name) == (0.01, None, "hinge")
    assert losses.make_objective(C=2.0).alpha is None
    with pytest.raises(ValueError, match=r"alpha.*C"):
        losses.make_objective(alpha=0.1, C=1.0)
    for name in ("alpha", "C"):
        for bad in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=name):
                losses.make_objective(**{name: bad})


def test_an_absent_intercept_is_not_penalised():
    obj = losses.make_objective("hinge", C=1.0, fit_intercept=False, penalize_intercept=True)
    assert obj.r == 0.0


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "log_loss"])
def test_no_other_loss_bears_the_name_of_a_built_in_one(name):
    """A loss called "hinge" is the hinge: kernels, bounds and files may trust the name and the object alike."""

    class Impostor(type(LOG_LOSS)):
        pass

    Impostor.name = name
    with pytest.raises(ValueError, match="name must not be that of a built-in loss"):
        custom(lambda m: np.exp(-m), lambda m: -np.exp(-m), name=name)
    for make in (get_loss, Objective, make_objective):
        with pytest.raises(ValueError, match="must not bear the name of a built-in loss"):
            make(Impostor())
    assert get_loss(name) is LOSSES[name]
    assert pickle.loads(pickle.dumps(get_loss(name))) is get_loss(name)


def test_only_the_very_loss_has_its_compiled_twin():
    """Kernels are paired with losses by identity: a function that differs from a built-in one is not run as that."""
    double = custom(lambda m: 2.0 * max(0.0, 1.0 - m) ** 2, lambda m: -4.0 * max(0.0, 1.0 - m), name="Squared_hinge")
    assert kernel_of(double) is None
    assert len({type(kernel_of(loss)) for loss in LOSSES.values()}) == 3
    models = np.array([1.0, 0.0]), np.array([-1.0, 0.5])
    space = FeatureSpace(0.0, 1.0)
    plain = max_loss_difference(*models, space, loss="squared_hinge").value
    assert max_loss_difference(*models, space, loss=double).value == pytest.approx(2.0 * plain, rel=1e-12)
