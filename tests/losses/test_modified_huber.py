"""A new loss in one file: modified Huber on the margin, ``max(0, 1 - m)^2`` for ``m >= -1`` and ``-4 m`` below.

docs/add_a_loss.md shows the same loss; tests/test_docs.py runs the page."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtpfast import FeatureSpace, make_target
from mtpfast.attacks.online import poison
from mtpfast.losses.custom import custom
from mtpfast.minimum.minimum import minimum_poisoning

BOX = FeatureSpace(-2.0, 4.0)


def value(m):
    return max(0.0, 1.0 - m) ** 2 if m >= -1.0 else -4.0 * m


def derivative(m):
    return -2.0 * max(0.0, 1.0 - m) if m >= -1.0 else -4.0


def second_derivative(m):
    return 2.0 if -1.0 <= m < 1.0 else 0.0


@pytest.fixture(scope="module")
def loss():
    return custom(value, derivative, second_derivative, name="modified_huber")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    y = np.where(X @ [2.0, -1.0] + 0.3 * rng.normal(size=60) > 0.0, 1.0, -1.0)
    y[:6] *= -1.0  # rows far on the wrong side
    return 2.0 * X, y


def test_it_has_all_that_the_minimum_needs(loss):
    """1 / s is 1/4 up to margin -1, then 1 / (2 (1 - m)): convex, with zero loss from margin 1 on."""
    assert loss.missing() == ""
    assert loss.zero_from == 1.0
    assert loss.tangent(-3.0) == (0.25, 0.0)
    assert_allclose(loss.tangent(0.0), (0.5, 0.5))  # exact but for the rounding of one quotient
    assert_allclose(loss.margin_of(1.0), 0.5, rtol=1e-15)
    assert loss.margin_of(4.1) == -np.inf


@pytest.mark.parametrize("kind", [{"alpha": 0.1}, {"C": 1.0}], ids=["alpha", "C"])
def test_its_minimum_is_reached_and_proved(loss, rows, kind):
    """The least whole number: one point fewer is excluded by a certificate that a pass over the data confirms."""
    target = make_target(*rows, quantiles=[0.2], repeats=[2], goal=0, loss=loss, **kind)
    found = minimum_poisoning(*rows, target, loss=loss, feasible_set=BOX, **kind)
    assert found.status == "reached"
    assert found.certificate.check(*rows).n_poison == found.lower_bound <= found.n_points <= found.lower_bound + 1
    assert found.verify(*rows).ok
    online = poison(*rows, target, loss=loss, feasible_set=BOX, tol=0.0, max_points=found.lower_bound, **kind)
    assert online.status == "budget"
    assert online.loss_difference > found.loss_difference


@pytest.mark.parametrize("quantile, below", [(0.3, False), (0.2, True)])
def test_it_is_the_squared_hinge_but_for_margins_below_minus_one(loss, rows, quantile, below):
    """Equal functions on all margins that occur, equal minimum; rows further out pull with 4, not with 2 (1 - m)."""
    target = make_target(*rows, quantiles=[quantile], repeats=[2], goal=0, loss=loss, C=1.0)
    own, other = (
        minimum_poisoning(*rows, target, loss=kind, feasible_set=BOX, C=1.0) for kind in (loss, "squared_hinge")
    )
    margins = rows[1] * (rows[0] @ target.coef_.ravel() + target.intercept_)
    assert (np.min(margins) < -1.0) == below
    fewest = own.history["minimum"][0], other.history["minimum"][0]
    if below:
        assert abs(fewest[0] - fewest[1]) > 0.1
    else:
        assert_allclose(*fewest, rtol=1e-7)  # of programs that are cut to 1e-9
        assert own.n_points == other.n_points
