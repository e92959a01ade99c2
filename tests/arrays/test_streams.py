"""Nothing that is not asked for goes to the standard output."""

import ast
import ctypes
import os
import subprocess
import sys
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


def test_an_interrupt_does_not_wait_for_a_solver_and_the_process_ends_well():
    """SIGINT while a solver runs: the caller is interrupted before the solver ends; what others raise is passed on."""
    code = """
import os, signal, threading
from mtpfast.arrays.streams import quietly
running, go = threading.Event(), threading.Event()
def solver():
    running.set()
    go.wait()
def ring():
    running.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=ring).start()
try:
    quietly(solver)
except KeyboardInterrupt:
    print("interrupted", go.is_set())
go.set()
print(quietly(divmod, 7, 2))
try:
    quietly(int, "x")
except ValueError as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n") == ["interrupted False", "(3, 1)", "ValueError", ""]
