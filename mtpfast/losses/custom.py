"""A loss of the user's own, from functions of the margin."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from .margin import LOSSES, Loss

__all__ = ["custom"]


GRID = np.linspace(-50.0, 50.0, 2001)  # margins at which what users say of their functions is checked
OFF = 1e-6  # relative: a derivative or a difference quotient that differs by more does not belong


class CustomLoss(Loss):
    """A loss given by the user's own functions; made by :func:`custom`."""

    def __init__(self, value, derivative, second_derivative=None, *, name="custom"):
        functions = [getattr(function, "py_func", function) for function in (value, derivative, second_derivative)]
        self._functions = tuple(functions)  # what numba has compiled already is compiled again, from the Python
        self.name, self.not_compiled, self.fault = name, {}, "what examine() finds"
        self._value, self._derivative, self._second = (
            None if function is None else self._compile(role, function)
            for role, function in zip(("value", "derivative", "second_derivative"), functions, strict=True)
        )

    def _compile(self, role, function):
        """The function for arrays: compiled by numba if it is there and can, else as it is or entry by entry."""
        try:
            import numba

            return numba.vectorize([numba.float64(numba.float64)], nopython=True)(function)
        except Exception as error:  # numba says that it cannot type something with many classes of error
            if not (isinstance(error, ModuleNotFoundError) and error.name == "numba"):
                self.not_compiled[role] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        try:
            if np.shape(function(np.zeros(3))) == (3,):
                return function
        except Exception:  # written for one number (a branch on the margin, say)
            pass
        return np.vectorize(function, otypes=[float])

    def value(self, margin):
        return _at(self._value, margin)

    def derivative(self, margin):
        return _at(self._derivative, margin)

    def second_derivative(self, margin):
        if self._second is not None:
            return _at(self._second, margin)
        margin = np.asarray(margin, dtype=float)
        h = 1e-4  # only steers Newton's step; the gap, not this, decides when a refit is done
        return np.maximum(0.0, self.derivative(margin + h) - self.derivative(margin - h)) / (2 * h)

    def missing(self):
        return self.fault

    def examine(self):
        """Find what the functions tell: ``zero_from``, ``convex_inverse`` and what the minimum lacks (``fault``)."""
        pulls = -self.derivative(GRID)
        idle = np.flatnonzero(pulls <= 0.0)
        if len(idle) and idle[0] > 0:  # halve the step in which the pull ends, to the last digit
            low, high = float(GRID[idle[0] - 1]), float(GRID[idle[0]])
            while low < (middle := 0.5 * (low + high)) < high:
                low, high = (middle, high) if self.pull(middle) > 0.0 else (low, middle)
            self.zero_from = high
        self.fault = self._fault(GRID[pulls > 1e-150], pulls[pulls > 1e-150])
        self.convex_inverse = not self.fault

    def _fault(self, margins, pulls):
        if self._second is None:
            return "second_derivative"
        if len(margins) < 2:
            return "margins at which it pulls"
        inverse = 1.0 / pulls
        chord = np.diff(inverse) / np.diff(margins)
        room = OFF * np.abs(chord) + 1e-9 * (1.0 + inverse[1:])
        falls = np.flatnonzero(chord[1:] < chord[:-1] - room[1:])
        if len(falls):
            return f"a convex 1 / pull (its slope falls near margin {margins[falls[0] + 1]:.3g})"
        slope = self.second_derivative(margins) / pulls / pulls  # of 1 / s
        if np.any(slope[:-1] > chord + room) or np.any(slope[1:] < chord - room):
            return "a second_derivative that belongs to its derivative"
        return ""

    def __repr__(self):
        value, derivative, second = self._functions
        return f"custom({value!r}, {derivative!r}, {second!r}, name={self.name!r})"

    def __reduce__(self):
        # Compiled functions do not pickle; the Python ones they came from do.
        return _rebuild_custom, (*self._functions, self.name)


def _at(function, margin):
    """What a function of one number or of an array says; beyond the range of floats it may say inf."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(function(np.asarray(margin, dtype=float)), dtype=float)


def _jump(loss, g):
    """The least margin at which the derivative jumps, or None; g is what it is on the grid.

    Every interval of the grid is halved 40 times to where most of its rise is: of a continuous derivative next to
    nothing is left of it, of a jump all.
    """
    low, high, below, above = GRID[:-1].copy(), GRID[1:].copy(), g[:-1].copy(), g[1:].copy()
    whole = above - below
    for _ in range(40):
        middle = 0.5 * (low + high)
        there = loss.derivative(middle)
        left = there - below > above - there
        low, below = np.where(left, low, middle), np.where(left, below, there)
        high, above = np.where(left, middle, high), np.where(left, there, above)
    jumps = np.flatnonzero(above - below > np.maximum(0.01 * whole, 4e-9 * (1.0 + np.abs(g[:-1]))))
    return float(high[jumps[0]]) if len(jumps) else None


def _rebuild_custom(value, derivative, second_derivative, name):
    loss = CustomLoss(value, derivative, second_derivative, name=name)
    loss.examine()
    return loss


def custom(
    value: Callable,
    derivative: Callable,
    second_derivative: Callable | None = None,
    *,
    name: str = "custom",
) -> Loss:
    """A loss of the user's own, usable wherever a loss is named.

    Parameters
    ----------
    value, derivative : callable
        ``phi`` and ``phi'``: elementwise functions of a float array of margins, or of one margin; Python's own, or
        compiled by ``numba.njit``. ``phi`` must be convex, non-increasing and non-negative: every proof in the package
        leans on this. It is checked on a grid of margins in [-50, 50].
    second_derivative : callable, optional
        ``phi''``. Training and Algorithm 1 do without it: a difference quotient of ``derivative`` steers them. The
        minimum over a space needs it, and needs ``1 / s`` to be convex where the pull ``s = -phi'`` is not 0: its
        slope is ``phi'' / s^2``. Both are checked on the same grid.
    name : str
        Shown in representations and saved with results; not that of a built-in loss.

    Returns
    -------
    Loss
        ``zero_from``, the margin from which the derivative is 0, is found by halving intervals; ``missing()`` says what
        the minimum over a space lacks in it, "" if nothing.

    Warns
    -----
    UserWarning
        Where numba is installed and cannot compile a function: which one, of which loss, and numba's reason. The loss
        works, more slowly.

    Raises
    ------
    ValueError
        For a name that is taken, and for functions that are not finite, not such a loss, or not each other's derivative
        on the grid.

    Notes
    -----
    With numba installed the functions are compiled to ufuncs, with the signature ``float64(float64)`` and without
    ``fastmath``; without it they run as they are, or entry by entry (slowly) if they do not take arrays. Certificates
    lean on ``derivative`` alone, never on ``second_derivative``: they use nothing but that it rises, and give away a
    few parts in 1e5 for that.

    Examples
    --------
    >>> import math
    >>> from mtpfast.losses.custom import custom
    >>> exponential = custom(lambda m: math.exp(-m), lambda m: -math.exp(-m), name="exponential")
    >>> float(exponential.value(0.0))
    1.0
    >>> exponential.missing()
    'second_derivative'
    """
    if name in LOSSES:
        raise ValueError(f"name must not be that of a built-in loss ({', '.join(map(repr, LOSSES))}), got {name!r}")
    for label, function in (("value", value), ("derivative", derivative), ("second_derivative", second_derivative)):
        if not callable(function) and not (function is None and label == "second_derivative"):
            raise TypeError(f"{label} must be a function of an array of margins, got {function!r}")
    loss = CustomLoss(value, derivative, second_derivative, name=name)
    try:
        v, g = loss.value(GRID), loss.derivative(GRID)
        bend = loss.second_derivative(GRID)
    except Exception as error:
        raise ValueError(f"the functions of loss {name!r} failed on an array of margins: {error}") from error
    if not v.shape == g.shape == bend.shape == GRID.shape:
        raise ValueError(f"the functions of loss {name!r} must return one number per margin")
    scale = 1e-9 * (1.0 + np.abs(v))
    if not (np.all(np.isfinite(v)) and np.all(np.isfinite(g)) and np.all(np.isfinite(bend))):
        raise ValueError(f"loss {name!r} is not finite on [-50, 50]")
    if np.any(v < 0) or np.any(g > 1e-12) or np.any(np.diff(g) < -1e-9 * (1.0 + np.abs(g[1:]))):
        raise ValueError(f"loss {name!r} must be non-negative, non-increasing and convex; it is not on [-50, 50]")
    rise, step = np.diff(v), np.diff(GRID)
    if np.any(rise < g[:-1] * step - scale[:-1]) or np.any(rise > g[1:] * step + scale[1:]):
        raise ValueError(f"the derivative of loss {name!r} does not belong to its value")
    jump = _jump(loss, g)
    if jump is not None:
        raise ValueError(f"the derivative of loss {name!r} jumps at margin {jump:.6g}: a kink is the hinge's alone")
    if np.any(bend < -1e-12):
        raise ValueError(f"the second_derivative of loss {name!r} must be at least 0, got {np.min(bend):g}")
    loss.examine()
    if loss.not_compiled:
        reasons = "; ".join(f"{role}: {reason}" for role, reason in loss.not_compiled.items())
        warnings.warn(f"numba cannot compile these functions of loss {name!r}, they run as they are: {reasons}")
    return loss
