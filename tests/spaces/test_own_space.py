"""A space of one's own: what docs/add_a_space.md says is true. tests/test_docs.py runs the page."""

import pytest

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
