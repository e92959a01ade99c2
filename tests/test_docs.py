"""The pages of the documentation: their examples run as written, and they name every room."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import mtpfast
from mtpfast.preprocessing.steps import _KNOWN, MONOTONE
from mtpfast.spaces.labelled import KINDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page):
    """``(line, text)`` of every block of Python on a page."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)), found.group(1)) for found in BLOCK.finditer(text)]


@pytest.fixture
def no_new_kinds():
    """Spaces that a page defines are forgotten after it."""
    known = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(known)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_examples_of(page, no_new_kinds):
    """The blocks of a page, in order, in one namespace: a session prints what it says, a script raises nothing."""
    names = {"__name__": page.stem}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for line, text in blocks(page):
        if text.startswith(">>>"):
            session = doctest.DocTestParser().get_doctest(text, names, page.stem, str(page), line)
            session.globs = names  # its own would be a copy
            assert runner.run(session, clear_globs=False).failed == 0
        else:
            exec(compile("\n" * line + text, str(page), "exec"), names)


def test_links_lead_to_files_and_headings():
    """On GitHub as in the built pages: relative links of plain Markdown, and no role of Sphinx in a text."""
    for page in [*PAGES, ROOT / "README.md", ROOT / "findings" / "README.md", ROOT / "benchmarks" / "README.md"]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"\{[a-z:]+\}`", text), page
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link:
                continue
            name, _, heading = link.partition("#")
            other = page.parent / name if name else page
            assert other.exists(), (page, link)
            if heading:
                titles = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
                assert heading in slugs, (page, link)


def test_the_list_of_steps_names_every_step():
    """One list of the preprocessing that can be read, and it is that of the error which names what is known."""
    page = (ROOT / "docs" / "tutorial_table.md").read_text(encoding="utf-8")
    section = page.partition("### Steps that can be read")[2].partition("\n#")[0]
    names = re.findall(r"\b[A-Z]\w+(?:Encoder|Scaler|Discretizer|Transformer|Imputer)\b", _KNOWN)
    assert len(names) > 10
    for name in [*names, *(function.__name__ for function in MONOTONE)]:
        assert re.search(rf"\b{name}\b", section), name


def test_the_pages_that_teach_have_examples():
    taught = {page.stem for page in PAGES if len(blocks(page)) > 2}
    assert taught >= {"add_a_loss", "add_a_space", "tutorial_table", "tutorial_research"}


def test_the_reference_lists_every_folder_with_names_of_its_own():
    """A class or function in the ``__all__`` of a folder has a page: as a name of the package, or under its folder."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (mtpfast[\w.]*)$", page, re.MULTILINE)
    assert "mtpfast" in listed
    for info in pkgutil.iter_modules(mtpfast.__path__, "mtpfast."):
        own = set(getattr(importlib.import_module(info.name), "__all__", ())) - set(mtpfast.__all__)
        assert not (info.ispkg and own) or info.name in listed
