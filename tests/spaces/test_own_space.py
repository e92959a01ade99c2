"""A space of one's own: what docs/add_a_space.md says is true."""

import re
from pathlib import Path

import pytest

from mtpfast.spaces.base import is_space
from mtpfast.spaces.labelled import KINDS, LabelledSpace

PAGE = Path(__file__).parents[2] / "docs" / "add_a_space.md"


@pytest.fixture
def no_new_kinds():
    """Classes that a test defines are forgotten after it."""
    known = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(known)


def test_the_page_runs_from_top_to_bottom(no_new_kinds):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert is_space(names["space"])
    assert names["attack"].n_points == 10


def test_a_class_may_not_take_the_name_of_a_space_of_the_package(no_new_kinds):
    """A saved result names the class: it would be loaded as another."""
    with pytest.raises(TypeError, match="Ball is the name of a space of mtpfast"):
        type("Ball", (LabelledSpace,), {"__module__": "elsewhere"})


def test_a_space_without_a_region_says_so(no_new_kinds):
    class Nothing(LabelledSpace):
        pass

    with pytest.raises(NotImplementedError, match="Nothing must define region_of"):
        Nothing().regions(2)
