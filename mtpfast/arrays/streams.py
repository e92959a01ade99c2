"""Nothing that is not asked for goes to the standard output."""

from __future__ import annotations

import contextlib
import ctypes
import os

__all__ = ["quietly", "stdout_to_stderr"]


@contextlib.contextmanager
def stdout_to_stderr():
    """What compiled libraries print to file descriptor 1 goes to 2 in here: a pipeline reads the former.

    (HiGHS 1.12, in scipy 1.17, says ``HighsMipSolverData::transformNewIntegerFeasibleSolution`` or
    ``Highs::returnFromOptimizeModel`` now and then, whatever its options. Python's own ``sys.stdout`` is not flushed
    here: what it holds back is written later, where it belongs.)
    """
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    flush = getattr(ctypes.CDLL(None), "fflush", None) if os.name == "posix" else None
    try:
        if flush is not None:
            flush(None)
        os.dup2(2, 1)
        yield
    finally:
        if flush is not None:
            flush(None)
        os.dup2(kept, 1)
        os.close(kept)


def quietly(solve, *arguments, **options):
    """What a solver of a compiled library returns; what it prints does not reach the standard output."""
    with stdout_to_stderr():
        return solve(*arguments, **options)
