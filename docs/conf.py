"""The documentation: ``pip install ".[docs]"``, then ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import importlib
import inspect
import pydoc
import re
from pathlib import Path

import mtpfast

project, author, release = "mtpfast", "the authors of mtpfast", mtpfast.__version__
copyright = author
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "_templates"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
html_extra_path = ["audit_german.html"]  # a report as `mtpfast audit` writes it
html_theme, html_title = "furo", f"mtpfast {release}"
pygments_style = "friendly"
nitpicky = True  # a reference to what does not exist is a fault

# The reference is written from the docstrings: every module that api.md lists is a page, each of its public names
# another. A name that the package itself exports stands there and nowhere else.
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
templates_path = ["_templates"]
numpydoc_show_class_members = False  # the class's page has them all


def documented(listed):
    """The classes and functions of ``__all__`` that have their page under a module."""
    module = importlib.import_module(listed)
    for name in module.__all__:
        value = getattr(module, name)
        at_top = module is not mtpfast and value is getattr(mtpfast, name, None)
        if not at_top and (inspect.isclass(value) or inspect.isroutine(value)):
            yield name


PAGE = Path(__file__).with_name("api.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^   (mtpfast[\w.]*)$", PAGE, re.MULTILINE)
autosummary_context = {"documented": {listed: sorted(documented(listed)) for listed in LISTED}}


NOISE = ("get_metadata_routing", "set_fit_request", "set_output", "set_score_request")


def is_noise(app, what, name, value, skip, options):
    """Fields of named tuples without a word of their own, and what scikit-learn's classes have beside."""
    alias = (getattr(value, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias or name in NOISE else None


def without_page(app, env, node, text):
    """The text of a reference to what exists but has no page."""
    module, owner = node.get("py:module") or "mtpfast", node.get("py:class") or ""
    for place in ("", f"{module}.", f"{module}.{owner}."):
        if pydoc.locate(place + node["reftarget"]) is not None:
            return text
    return None


def setup(app):
    app.connect("autodoc-skip-member", is_noise)
    app.connect("missing-reference", without_page)
