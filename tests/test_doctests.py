"""The examples in the docstrings of the installed modules, and in README.md, run as written."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import mtpfast

MODULES = ["mtpfast", *sorted(info.name for info in pkgutil.walk_packages(mtpfast.__path__, "mtpfast."))]
README = Path(__file__).resolve().parent.parent / "README.md"


def test_every_folder_is_walked():
    folders = {
        path.parent.relative_to(Path(mtpfast.__file__).parent) for path in Path(mtpfast.__file__).parent.rglob("*.py")
    }
    walked = {Path(*name.split(".")[1:]).parent for name in MODULES}
    assert folders <= walked | {Path(*name.split(".")[1:]) for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0


@pytest.mark.parametrize("name", mtpfast.__all__)
def test_every_public_name_has_an_example(name):
    """A module without examples passes the test above, whatever its docstrings say."""
    found = doctest.DocTestFinder(recurse=False).find(getattr(mtpfast, name), name)
    assert sum(len(test.examples) for test in found) > 1


@pytest.mark.parametrize("name", ["mtpfast.losses.custom", "mtpfast.proofs.bounds", "mtpfast.proofs.certificate"])
def test_the_other_documented_modules_have_examples(name):
    finder = doctest.DocTestFinder()
    assert any(found.examples for found in finder.find(importlib.import_module(name)))


def test_examples_of_the_readme():
    outcome = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0
    assert outcome.attempted > 0
