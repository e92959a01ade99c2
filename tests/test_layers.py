"""The import rule of the package, and its public names."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mtpfast

PACKAGE = Path(mtpfast.__file__).parent

# Each module imports only what stands to its right. validation.py (the checks of what users hand in) and
# losses.py (the objective) are the ground that the others stand on.
GROUND = {"losses", "magnitude", "validation"}
LAYERS = {
    "__init__": set(),
    "cli": {"__init__"},
    "estimator": {
        "attack",
        "minimum",
        "targets",
        "feasible",
        "goal",
        "refit",
        "result",
        "texts",
        "steps",
        "frames",
        "stored",
    }
    | GROUND,
    "targets": {"refit", "steps", "frames"} | GROUND,
    "attack": {"oracle", "refit", "bounds", "result", "certificate", "goal", "feasible", "growing"} | GROUND,
    "blockwise": {"certificate"} | GROUND,
    "minimum": {
        "ascent",
        "blockwise",
        "distinct",
        "document_records",
        "documents",
        "nearby",
        "records",
        "recover",
        "programs",
        "oracle",
        "refit",
        "result",
        "certificate",
        "goal",
        "feasible",
        "attack",
        "bounds",
    }
    | GROUND,
    "nearby": {"records", "recover", "programs", "oracle", "refit", "certificate", "goal", "feasible"} | GROUND,
    "records": {"recover", "programs"},
    "distinct": {"recover", "programs"},
    "recover": {"programs", "oracle", "refit", "certificate", "feasible"} | GROUND,
    "programs": {"certificate", "goal", "feasible"} | GROUND,
    "oracle": {"document_search", "documents", "feasible", "kernels", "_core"} | GROUND,
    "document_search": {"documents"} | GROUND,
    "document_records": {"documents"},
    "ascent": {"programs"},
    "documents": {"feasible", "rules", "region", "validation", "frames"},
    "refit": {"_core", "growing", "kernels"} | GROUND,
    "kernels": {"_core", "losses"},
    "growing": set(),
    "result": {"verification", "certificate", "goal", "documents", "feasible", "frames", "stored"} | GROUND,
    "verification": {"result", "goal", "texts", "steps", "frames"} | GROUND,  # result: for type hints only
    "texts": {"tables", "documents", "feasible", "steps", "frames"},
    "tables": {"feasible", "rules", "steps", "frames"} | GROUND,
    "steps": {"frames"},
    "stored": {"frames"},
    "frames": set(),
    "certificate": {"losses", "bounds", "goal", "magnitude"},
    "goal": {"losses"},
    "bounds": {"losses"},
    "feasible": {"rules", "region", "validation", "frames"},
    "rules": {"region", "magnitude"},
    "region": set(),
    "losses": {"magnitude"},
    "validation": {"magnitude"},
    "magnitude": set(),
}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imports_of(module, *, at_import=False):
    """Modules of the package that a module imports; ``at_import`` leaves out TYPE_CHECKING blocks."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    skipped = set()
    if at_import:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {id(inner) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            if node.module:
                found.add(node.module)
            else:
                modules = [alias.name if alias.name in {*MODULES, "_core"} else "__init__" for alias in node.names]
                found |= set(modules)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mtpfast":
            found.add([*node.module.split("."), "__init__"][1])
        elif isinstance(node, ast.Import):
            found |= {[*a.name.split("."), "__init__"][1] for a in node.names if a.name.split(".")[0] == "mtpfast"}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_each_module_imports_only_what_stands_below_it(module):
    assert module in LAYERS, f"{module}.py is not in the list of layers"
    assert imports_of(module) <= LAYERS[module]


@pytest.mark.parametrize("module", ["bounds", "certificate", "goal", "verification"])
def test_proofs_and_checks_know_neither_search_nor_solver(module):
    """A certificate that leans on what it certifies proves nothing."""
    reached, new = set(), {module}
    while new:
        reached |= new
        new = {name for seen in new if seen != "_core" for name in imports_of(seen, at_import=True)} - reached
    assert not reached & {"_core", "oracle", "refit", "attack", "minimum", "nearby", "programs", "recover", "records"}


def test_every_public_name_is_there():
    for name in mtpfast.__all__:
        assert getattr(mtpfast, name).__module__.startswith("mtpfast.")
    assert set(mtpfast.__all__) <= set(dir(mtpfast))
    assert sorted(mtpfast.__all__) == list(mtpfast.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mtpfast.nothing


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_all_lists_what_is_there(module):
    loaded = __import__(f"mtpfast.{module}", fromlist=["__all__"])
    assert all(hasattr(loaded, name) for name in loaded.__all__)


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
    for module in MODULES:
        tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        names = set()
        for node in tree.body:  # the top level only
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
        assert not names & {"pandas", "matplotlib", "numba"}
