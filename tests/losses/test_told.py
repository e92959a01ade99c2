"""What a loss tells the rest of the package: each closed form is what the three equations imply."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mtpfast.losses.margin import HINGE, LOG_LOSS, SQUARED_HINGE, Loss
from mtpfast.losses.objective import make_objective

BUILT_IN = [HINGE, SQUARED_HINGE, LOG_LOSS]
SMOOTH = [SQUARED_HINGE, LOG_LOSS]
UNIT = 2.0**-53
near = st.floats(-20.0, 20.0)


class Equations(Loss):
    """A built-in loss of which only the three equations are told."""

    convex_inverse = True

    def __init__(self, loss):
        self.name, self._loss, self.zero_from = "equations of " + loss.name, loss, loss.zero_from

    def value(self, margin):
        return self._loss.value(margin)

    def derivative(self, margin):
        return self._loss.derivative(margin)

    def second_derivative(self, margin):
        return self._loss.second_derivative(margin)


def by_name(loss):
    return loss.name


@pytest.mark.parametrize("loss", BUILT_IN, ids=by_name)
@given(m=near)
@settings(max_examples=50)
def test_the_value_and_the_pull_of_one_margin(loss, m):
    """at(m) = phi(m) and s = -phi'(m); on its kink the hinge pulls in full."""
    # 1e-14: the same equation with another order of roundings
    assert_allclose(loss.at(m), loss.value(m), rtol=1e-14, atol=0.0)
    assert_allclose(loss.pull(m), -loss.derivative(m) if m != 1.0 else 1.0 * loss.kinked, rtol=1e-14, atol=0.0)
    assert loss.pull(m) <= loss.lipschitz
    assert (loss.pull(m) > 0.0) == (m < loss.zero_from or (loss.kinked and m == 1.0))


def test_on_its_kink_the_hinge_pulls_in_full():
    assert [HINGE.pull(np.nextafter(1.0, side)) for side in (0.0, 2.0)] == [1.0, 0.0]
    assert HINGE.pull(1.0) == 1.0


@pytest.mark.parametrize("loss", SMOOTH, ids=by_name)
@given(m=st.floats(-15.0, 0.999))
@settings(max_examples=50)
def test_margin_of_is_the_inverse_of_the_pull(loss, m):
    """s(margin_of(s)) = s, in closed form and by Newton's method from the equations alone."""
    s = loss.pull(m)
    for told in (loss, Equations(loss)):
        # the pull of a margin is told to a unit of the margin times |s'| / s <= 1 / (1 - m) or 1
        assert_allclose(loss.pull(told.margin_of(s)), s, rtol=1e-11, atol=1e-15)
    assert LOG_LOSS.margin_of(1.0) == Equations(LOG_LOSS).margin_of(1.0 + 1e-9) == -math.inf


@pytest.mark.parametrize("loss", SMOOTH, ids=by_name)
@given(m=st.floats(-15.0, 0.99), other=st.floats(-30.0, 0.99))
@settings(max_examples=100)
def test_a_tangent_lies_below_the_inverse_pull_to_its_rounding(loss, m, other):
    """c + kappa m' <= 1 / s(m'), touching it at m: the line that certificates lean on, to tangent_units of 2^-53."""
    c, kappa = loss.tangent(m)
    doubt = loss.tangent_units * UNIT * (abs(c + kappa * m) + kappa * (1.0 + abs(m)))
    # 8 units of 1 / s: of evaluating it here, and of the line itself at the other margin
    room = doubt + 8 * UNIT * (1.0 / loss.pull(other) + abs(c) + kappa * abs(other))
    assert c + kappa * other <= 1.0 / loss.pull(other) + room
    assert_allclose(c + kappa * m, 1.0 / loss.pull(m), rtol=1e-12, atol=1e-14 * kappa * (1.0 + abs(m)))
    plain = Equations(loss).tangent(m)
    # 1 - s cancels where s is near 1: absolute rounding of 1
    assert_allclose(plain, (c, kappa), rtol=1e-12, atol=1e-14 * (1.0 + abs(m)))
    assert math.isinf(Equations(loss).tangent_units)


@pytest.mark.parametrize("loss", BUILT_IN, ids=by_name)
@given(level=st.floats(-8.0, 8.0), slope=st.floats(0.01, 10.0))
@settings(max_examples=50, deadline=None)
def test_best_margin_is_where_pull_times_a_line_is_largest(loss, level, slope):
    """max_m s(m) (level + slope m), against a dense grid; and by halving from the equations alone."""
    if math.isfinite(loss.zero_from):
        level = max(level, 0.01 - slope)  # positive just below margin 1
    grid = np.append(np.linspace(-900.0, 40.0, 20_001), 1.0)
    most = np.max((1.0 * (grid <= 1.0) if loss.kinked else -loss.derivative(grid)) * (level + slope * grid))
    for told in (loss,) if loss.kinked else (loss, Equations(loss)):
        m = told.best_margin(level, slope)
        if told is not loss and m <= -700.0:
            continue  # further out the equations are not asked
        assert loss.pull(m) * (level + slope * m) >= most * (1.0 - 1e-9) - 1e-9  # no less than on the grid


@pytest.mark.parametrize("loss", BUILT_IN, ids=by_name)
@given(st.tuples(near, near), st.tuples(st.floats(-8.0, 8.0), st.floats(-8.0, 8.0)))
@settings(max_examples=100)
def test_among_its_crests_the_loss_difference_is_largest(loss, first, way):
    """max over t in [0, 1] of phi(u(t)) - phi(v(t)) is attained at a share that the loss names."""
    way = tuple(map(abs, way))  # the frontier rises in both scores
    last = first[0] + way[0], first[1] + way[1]
    t = np.linspace(0.0, 1.0, 2001)

    def difference(t):
        return loss.value(first[0] + t * way[0]) - loss.value(first[1] + t * way[1])

    named = [share for share in loss.crests(first, last) if 0.0 <= share <= 1.0]
    size = 1.0 + abs(loss.at(first[0])) + abs(loss.at(first[1]))
    assert np.max(difference(np.array(named))) >= np.max(difference(t)) - 1e-12 * size
    assert Equations(loss).crests(first, last) is None


@pytest.mark.parametrize("loss", SMOOTH, ids=by_name)
@given(m=near, reach=st.floats(1e-6, 3.0), share=st.floats(-1.0, 1.0))
@settings(max_examples=100)
def test_bend_error_bounds_the_rest_of_taylors_formula(loss, m, reach, share):
    """|s(m + t) - s(m) + phi''(m) t| <= bend_error for |t| <= reach."""
    t = share * reach
    rest = abs(loss.pull(m + t) - loss.pull(m) + float(loss.second_derivative(m)) * t)
    assert rest <= float(loss.bend_error(m, reach)) + 1e-14 * (1.0 + abs(m))
    assert Equations(loss).bend_error(m, reach) is None


def test_only_the_hinge_may_have_a_kink():
    """What is not smooth would be trained and proved as the hinge is."""

    class Steep(Equations):
        smooth = False

    with pytest.raises(ValueError, match="must be smooth: of losses with a kink only the hinge is known"):
        make_objective(Steep(HINGE), C=1.0)
    assert make_objective("hinge", C=1.0).loss.kinked


def test_a_class_of_ones_own_survives_pickle_and_copy():
    """Only the built-in losses are one object each; any other is what its class and its attributes are."""
    own = Equations(SQUARED_HINGE)
    for twin in (pickle.loads(pickle.dumps(own)), copy.deepcopy(own)):
        assert (twin.name, twin.zero_from, twin.at(0.0)) == (own.name, 1.0, 1.0)
    assert pickle.loads(pickle.dumps(SQUARED_HINGE)) is copy.deepcopy(SQUARED_HINGE) is SQUARED_HINGE


def test_what_the_minimum_lacks_is_named():
    assert [loss.missing() for loss in BUILT_IN] == ["", "", ""]
    silent = Equations(LOG_LOSS)
    silent.convex_inverse = False
    assert silent.missing() == "a convex 1 / pull (convex_inverse)"
