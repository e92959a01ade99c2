"""What a search over tapes tells as it goes on."""

from __future__ import annotations

import sys
import time

__all__ = ["Told"]


class Told:
    """Lines and callbacks between the models of a search; Ctrl-C ends it where a model is good enough.

    Parameters
    ----------
    n : int
        Models in all.
    goal : float
        The error of a model that is good enough.
    found : list
        The models so far, each with its ``error``; None for one that was left out.
    callback, verbose
        As in :func:`mtpfast.make_target`.
    """

    def __init__(self, n, goal, found, callback=None, verbose=0):
        self.n, self.goal, self.found = n, goal, found
        self.callback, self.verbose, self.last = callback, verbose, time.monotonic()

    def collect(self, groups):
        """Take in the models, some at a time, until they or the user end."""
        for group in groups:
            self.found.extend(group)
            if self._ends():
                return

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        """Ctrl-C, wherever it came: it is done with where a model is good enough."""
        return kind is KeyboardInterrupt and any(error >= self.goal for error in self._errors())

    def _errors(self):
        return [model.error for model in self.found if model is not None]

    def _ends(self):
        errors = self._errors()
        best = max(errors)
        state = {"n_done": len(self.found), "n": self.n, "error": errors[-1], "best": best}
        if self.verbose and time.monotonic() - self.last >= 1.0:
            self.last = time.monotonic()
            sys.stderr.write(f"model {state['n_done']} of {self.n}: error {state['error']:.4g}, largest {best:.4g}\n")
        return self.callback is not None and bool(self.callback(state))
