"""Solvers of compiled libraries: what they print goes nowhere that it is not asked for, and Ctrl-C does not wait for
them."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import queue
import threading

__all__ = ["quietly", "stdout_to_stderr"]


POLL = 0.1  # seconds after which a waiting thread looks whether it is wanted, on systems whose locks do not


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
    """What a solver of a compiled library returns; what it prints does not reach the standard output.

    A solver such as HiGHS looks at no signal until it is done. In the main thread it therefore runs beside, and a
    KeyboardInterrupt leaves it to itself: it ends at its own limits, which the end of the process waits for.
    """
    with stdout_to_stderr():
        if threading.current_thread() is not threading.main_thread():
            return solve(*arguments, **options)
        helper = _idle.pop() if _idle else _Helper()
        try:
            answer = helper.run(lambda: solve(*arguments, **options))
        except BaseException:
            _left.append(helper)
            raise
        _idle.append(helper)
        return answer()


class _Helper:
    """A thread that runs one call after the other."""

    def __init__(self):
        self.calls, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        threading.Thread(target=self._serve, name="mtpfast-solver", daemon=True).start()

    def _serve(self):
        while True:
            call = self.calls.get()
            try:
                value = call()
            except BaseException as error:
                self.answers.put(lambda error=error: _raise(error))
            else:
                self.answers.put(lambda value=value: value)
            call = value = None  # held by whoever asked

    def run(self, call):
        self.calls.put(call)
        while True:
            try:
                return self.answers.get(timeout=POLL)
            except queue.Empty:
                continue


def _raise(error):
    raise error


_idle: list[_Helper] = []
_left: list[_Helper] = []


@atexit.register
def _wait():
    """Wait for solvers that were left: HiGHS aborts a process that ends while it runs."""
    for helper in _left:
        helper.answers.get()


def _forget():
    """A forked process has no threads but its own."""
    _idle.clear()
    _left.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
