"""Nothing that is not asked for goes to the standard output."""

import ast
import ctypes
import os
from pathlib import Path

import pytest

import mtpfast
from mtpfast.arrays.streams import quietly


def test_what_a_compiled_solver_prints_goes_to_the_standard_error(capfd):
    """Printed by C's own output, whose buffer Python does not see."""
    library = ctypes.CDLL(None)

    def solve(a, *, b):
        library.puts(b"a word of its own")
        os.write(1, b"and another")
        return a + b

    assert quietly(solve, 1, b=2) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "a word of its own" in err
    assert "and another" in err


@pytest.mark.parametrize("name", ["linprog", "milp"])
def test_every_call_of_highs_is_quiet(name):
    """HiGHS prints a line now and then, whatever its options: no module calls it but through quietly."""
    passed = 0
    for path in sorted(Path(mtpfast.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                assert called != name, f"{path.name} calls {name}"
                passed += called == "quietly" and getattr(node.args[0], "id", None) == name
    assert passed >= 2
