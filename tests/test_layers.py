"""The import rules of the package, folder by folder, and its public names."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mtpfast
from mtpfast.losses.margin import LOSSES

PACKAGE = Path(mtpfast.__file__).parent
COMPILED = {info.name for info in pkgutil.iter_modules(mtpfast.__path__) if info.name.startswith("_")}

# A room (a folder, or a module beside the folders) imports only from the rooms named here, and from itself. Rooms
# stand from the ground up: each imports only rooms above it in this list, so that there is no circle.
ROOMS = {
    "arrays": set(),
    "losses": {"arrays"},
    "kernels": {"losses", "compiled"},
    "spaces": {"arrays"},
    "proofs": {"arrays", "losses", "spaces"},
    "training": {"arrays", "losses", "kernels", "compiled"},
    "oracle": {"arrays", "losses", "spaces", "kernels", "compiled"},
    "preprocessing": {"arrays", "spaces"},
    "targets": {"arrays", "losses", "training", "preprocessing"},
    "results": {"arrays", "losses", "spaces", "proofs", "preprocessing"},
    "question": {"arrays", "losses", "spaces", "proofs"},
    "minimum": {
        "arrays",
        "losses",
        "spaces",
        "proofs",
        "training",
        "oracle",
        "targets",
        "results",
        "question",
    },
    "attacks": {
        "arrays",
        "losses",
        "spaces",
        "proofs",
        "training",
        "oracle",
        "targets",
        "results",
        "question",
        "minimum",
    },
    "guarantee": {"compiled", "arrays", "losses", "spaces", "proofs", "training", "oracle", "results", "question"},
    "defences": {"arrays", "losses", "spaces", "training", "preprocessing"},
    "verification": {"arrays", "losses", "spaces", "proofs", "preprocessing", "results"},
    "estimators": {
        "arrays",
        "losses",
        "spaces",
        "proofs",
        "training",
        "oracle",
        "preprocessing",
        "targets",
        "results",
        "question",
        "minimum",
        "attacks",
        "guarantee",
    },
    "contrib": {"spaces", "estimators"},
    "comparison": {
        "arrays",
        "losses",
        "spaces",
        "question",
        "targets",
        "results",
        "minimum",
        "attacks",
        "verification",
    },
    "reports": {"mtpfast", "arrays", "preprocessing", "results", "defences"},
    "cli": {"mtpfast", "reports"},
    "mtpfast": set(),
}
# Doors: what a result (or make_target) offers and does not need in order to be one is imported when it is called.
DOORS = {("results", "verification"), ("targets", "attacks")}


def modules():
    """Every Python module of the package, by its dotted name below ``mtpfast``."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


def room(module):
    head = module.partition(".")[0]
    return "compiled" if head in COMPILED else head or "mtpfast"


def imports_of(module, *, when_called=True):
    """Modules of the package that a module imports, as dotted names below ``mtpfast``.

    Imports for type checkers only are left out; ``when_called=False`` leaves out those inside functions too.
    """
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not when_called
        if typing_only or inside:
            skipped |= {id(inner) for inner in ast.walk(node)}
    here = ("mtpfast", *(module.split(".") if module else ()))
    if path.name != "__init__.py":
        here = here[:-1]
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom):
            base = ".".join((*here[: len(here) - node.level + 1], *((node.module,) if node.module else ())))
            base = base if node.level else node.module
            if base.split(".")[0] == "mtpfast":
                for alias in node.names:
                    inner = f"{base}.{alias.name}".partition(".")[2]
                    known = inner in MODULES or inner.partition(".")[0] in COMPILED
                    found.add(inner if known else base.partition(".")[2])
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "mtpfast"}
    return found


def test_the_walk_finds_every_folder_and_every_import():
    assert {room(module) for module in MODULES} >= {"arrays", "losses", "spaces", "proofs", "minimum", "verification"}
    assert "arrays.rounding" in imports_of("proofs.certificate")
    assert room("_core") == "compiled"


@pytest.mark.parametrize("module", MODULES)
def test_each_room_imports_only_rooms_below_it(module):
    own = room(module)
    assert own in ROOMS, f"{module} stands in no room of the list"
    for other in imports_of(module):
        there = room(other)
        if there != own and (own, there) not in DOORS:
            assert there in ROOMS[own], f"{module} imports {other}"


def test_compiled_modules_import_compiled_ones_only():
    """Of the package they know nothing but one another, and in one direction."""
    order = ["_simd", "_core", "_search", "_rows", "_factor", "_due", "_near", "_hinge", "_master"]
    files = [path for kind in ("pyx", "pxd") for path in PACKAGE.glob(f"*.{kind}")]
    assert {path.stem for path in files} == set(order) >= COMPILED
    for path in files:
        text = path.read_text(encoding="utf-8")
        for source, names in re.findall(r"^(?:from +(\S+) +)?c?import +(.*)", text, flags=re.MULTILINE):
            inside = [name for name in (source, names) if name.startswith((".", "mtpfast"))]
            others = {name.removeprefix("mtpfast.") for name in inside}
            assert others <= set(order[: order.index(path.stem)]), f"{path.name} imports {others}"


def test_doors_are_opened_when_called_only():
    for module in MODULES:
        for other in imports_of(module, when_called=False):
            assert (room(module), room(other)) not in DOORS, f"{module} imports {other} when it is loaded"


def test_the_rooms_stand_one_above_the_other():
    """No circle: every room allows only rooms that stand before it in the list."""
    before = {"compiled", "mtpfast"}
    for name, allowed in ROOMS.items():
        assert allowed <= before, f"{name} allows {allowed - before}"
        before.add(name)


def test_no_module_imports_itself_in_a_circle():
    """The modules of the package have an order in which each imports only earlier ones, inside functions too: what
    imports when called hides no circle, but for the doors, which close some when the package is loaded no longer."""
    left = {}
    for module in MODULES:
        loaded, needs = imports_of(module, when_called=False), imports_of(module)
        left[module] = {m for m in needs if m in loaded or (room(module), room(m)) not in DOORS} & set(MODULES)
    while left:
        free = [module for module, needs in left.items() if not (needs - {module}) & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for module in free:
            del left[module]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_500_lines(module):
    """One subject a file: what is longer has two."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("own", ["proofs", "verification"])
def test_proofs_and_checks_know_neither_search_nor_solver(own):
    """A certificate that leans on what it certifies proves nothing."""
    reached = {module for module in MODULES if room(module) == own}
    new = set(reached)
    while new:
        new = {name for seen in new if seen in MODULES for name in imports_of(seen)} - reached
        reached |= new
    rooms = {room(module) for module in reached}
    assert not rooms & {
        "compiled",
        "kernels",
        "training",
        "oracle",
        "targets",
        "minimum",
        "attacks",
        "guarantee",
        "estimators",
    }


def test_every_public_name_is_there():
    for name in mtpfast.__all__:
        assert getattr(mtpfast, name).__module__.startswith("mtpfast.")
    assert set(mtpfast.__all__) <= set(dir(mtpfast))
    assert sorted(mtpfast.__all__) == list(mtpfast.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mtpfast.nothing


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_all_lists_what_is_there(module):
    loaded = importlib.import_module(f"mtpfast.{module}")
    assert all(hasattr(loaded, name) for name in getattr(loaded, "__all__", ()))


@pytest.mark.parametrize(
    "old, names",
    [
        ("attack", ["poison"]),
        ("bounds", ["lower_bound", "whole"]),
        ("certificate", ["Certificate", "CleanGradient", "bound", "clean_gradient", "poison_maximum"]),
        ("documents", ["DocumentSpace", "DocumentRegion"]),
        ("estimator", ["MinimumPoisoner", "ModelTargetedPoisoner"]),
        ("feasible", ["CandidatePool", "FeatureSpace"]),
        ("losses", ["HINGE", "LOSSES", "Loss", "Objective", "custom", "get_loss", "make_objective"]),
        ("minimum", ["minimum_poisoning"]),
        ("oracle", ["LossDifference", "max_loss_difference"]),
        ("refit", ["Fit", "Victim", "refit"]),
        ("region", ["Group", "Region"]),
        ("result", ["PoisoningResult"]),
        ("targets", ["QUANTILES", "REPEATS", "TargetCandidate", "TargetModel", "binary_linear_model", "make_target"]),
        ("verification", ["Check", "VerificationError", "VerificationReport", "verify"]),
    ],
)
def test_names_are_found_where_they_used_to_be(old, names):
    """What version 0.2 documented under a module's name is still imported from it."""
    loaded = importlib.import_module(f"mtpfast.{old}")
    assert all(getattr(loaded, name) is not None for name in names)


@pytest.mark.parametrize(
    "statement, forbidden",
    [
        ("import mtpfast", ["numba", "matplotlib", "pandas", "sklearn", "scipy", "numpy"]),
        ("from mtpfast import *", ["numba", "matplotlib"]),
    ],
)
def test_import_is_light(statement, forbidden):
    code = f"{statement}\nimport json, sys\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & set(forbidden)


def test_the_package_loads_pandas_only_where_a_data_frame_is_made():
    """scikit-learn itself may load pandas; no module here does so when it is imported."""
    for path in MODULES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = set()
        for node in tree.body:  # the top level only
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
        assert not names & {"pandas", "polars", "pyarrow", "matplotlib", "numba"}


# -- losses are an open axis -----------------------------------------------------------------------

BUILT_IN = set(LOSSES)
# Names of losses are read in what trainers say of themselves; nowhere else.
READ_NAMES = {"targets.trainers"}
# Built-in losses are told apart by identity where they are paired with what others have written for them.
PAIR_LOSSES = {"kernels": "their compiled twins", "verification.retrain": "scikit-learn's trainers"}


def names_compared(tree):
    """Names of built-in losses that decide something: in a comparison, a match, the keys of a dict, a subscript."""
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            parts = [case.pattern for case in node.cases]
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        for part in parts:
            yield from (c.value for c in ast.walk(part) if isinstance(c, ast.Constant) and c.value in BUILT_IN)


@pytest.mark.parametrize(
    "statement",
    [
        "if loss.name == 'hinge': pass",
        "x = loss in ('squared_hinge', 'log_loss')",
        "match loss.name:\n    case 'log_loss' | 'hinge': pass",
        "x = {'hinge': 1}[loss.name]",
        "x = table['log_loss']",
    ],
)
def test_a_comparison_with_the_name_of_a_loss_is_seen(statement):
    assert set(names_compared(ast.parse(statement))) & BUILT_IN


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) != "losses"])
def test_no_loss_is_told_apart_outside_its_room(module):
    """What the package needs to know of a loss the loss tells: its name decides nothing, nor does which one it is."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    if module not in READ_NAMES:
        assert not list(names_compared(tree))
    if module not in PAIR_LOSSES:
        imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
        assert not imported & {"HINGE", "SQUARED_HINGE", "LOG_LOSS"}


# -- feasible sets are an open axis ----------------------------------------------------------------

SETS = {
    "CandidatePool",
    "FeatureSpace",
    "DocumentSpace",
    "Ball",
    "Slab",
    "Intersection",
    "LabelledSpace",
    "ConvexSpace",
}
SETS |= {"Region", "DocumentRegion", "ConvexRegion", "Space"}
# Codecs add a space's rules to those of the records that they read: they check what they are given.
READ_SETS = {"preprocessing.tables": {"FeatureSpace"}, "preprocessing.texts": {"DocumentSpace"}}


def sets_told_apart(tree):
    """(function, class) wherever a class of sets decides something: isinstance, issubclass, or type(...) compared."""
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            parts = []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                parts = node.args[1:]
            elif isinstance(node, ast.Compare):
                parts = node.comparators
            elif isinstance(node, ast.MatchClass):
                parts = [node.cls]
            for part in parts:
                yield from ((function.name, n.id) for n in ast.walk(part) if getattr(n, "id", None) in SETS)


def test_a_set_that_is_told_apart_is_seen():
    for line in ("isinstance(s, (FeatureSpace, int))", "issubclass(s, Ball)", "type(s) is CandidatePool"):
        assert list(sets_told_apart(ast.parse(f"def f(s):\n    return {line}")))


@pytest.mark.parametrize("module", MODULES)
def test_no_set_is_told_apart_by_its_class(module):
    """What the package needs to know of a feasible set its members tell; a set compares with its own kind only."""
    for function, name in sets_told_apart(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        own = function == "__eq__" and room(module) == "spaces"
        assert own or name in READ_SETS.get(module, ()), f"{module}.{function} asks whether a set is a {name}"
