"""A space of one's own: what docs/add_a_space.md says is true. tests/test_docs.py runs the page."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mtpfast import Ball, FeatureSpace, Intersection, max_loss_difference
from mtpfast.spaces.labelled import KINDS, LabelledSpace


@pytest.fixture
def no_new_kinds():
    """Classes that a test defines are forgotten after it."""
    known = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(known)


def test_a_class_may_not_take_the_name_of_a_space_of_the_package(no_new_kinds):
    """A saved result names the class: it would be loaded as another."""
    with pytest.raises(TypeError, match="Ball is the name of a space of mtpfast"):
        type("Ball", (LabelledSpace,), {"__module__": "elsewhere"})


def test_a_space_without_a_region_says_so(no_new_kinds):
    class Nothing(LabelledSpace):
        pass

    with pytest.raises(NotImplementedError, match="Nothing must define region_of"):
        Nothing().regions(2)


@pytest.mark.parametrize(
    ("space", "name", "value"),
    [
        (FeatureSpace(0.0, 1.0), "upper", 3.0),
        (FeatureSpace(0.0, [1.0, 2.0]), "lower", {-1: -1.0, 1: 0.5}),
        (FeatureSpace(0.0, 1.0), "labels", (-1,)),
        (Ball(np.zeros(2), 1.0), "radius", 2.5),
    ],
)
def test_an_attribute_that_is_set_changes_the_regions(space, name, value):
    """The regions are kept between calls, and are always those of the present attributes."""
    models = np.array([[1.0, -2.0, 0.1], [2.0, 0.5, 0.3]])
    before = max_loss_difference(*models, space)
    assert max_loss_difference(*models, space).value == before.value
    arguments = {argument: getattr(space, argument) for argument in space.arguments}
    setattr(space, name, value)
    after = max_loss_difference(*models, space)
    fresh = max_loss_difference(*models, type(space)(**arguments | {name: value}))
    assert_array_equal(after.x, fresh.x)
    assert (after.value, after.y) == (fresh.value, fresh.y)
    assert (after.value, after.y) != (before.value, before.y)


def test_an_attribute_of_a_part_changes_the_regions_of_the_intersection():
    ball, models = Ball(np.zeros(2), 1.0), np.array([[1.0, -2.0, 0.1], [2.0, 0.5, 0.3]])
    space = Intersection([Intersection([ball]), FeatureSpace(-2.0, 2.0)])
    assert max_loss_difference(*models, space).value == max_loss_difference(*models, space).value
    ball.radius = 1.5
    fresh = Intersection([Ball(np.zeros(2), 1.5), FeatureSpace(-2.0, 2.0)])
    assert max_loss_difference(*models, space).value == max_loss_difference(*models, fresh).value


def test_what_a_caller_does_to_the_regions_stays_with_the_caller():
    space = FeatureSpace(0.0, 1.0)
    space.regions(3).clear()
    assert list(space.regions(3)) == [1.0, -1.0]
