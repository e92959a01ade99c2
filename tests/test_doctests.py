"""The examples in the docstrings of the installed modules, and in README.md, run as written."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import mtpfast

MODULES = ["mtpfast", *sorted(f"mtpfast.{info.name}" for info in pkgutil.iter_modules(mtpfast.__path__))]
README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0


def test_examples_of_the_readme():
    outcome = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0
    assert outcome.attempted > 0
