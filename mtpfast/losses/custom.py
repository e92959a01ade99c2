"""A loss of the user's own, from functions of the margin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .margin import LOSSES, Loss

__all__ = ["custom"]


class CustomLoss(Loss):
    """A loss given by the user's own functions; made by :func:`custom`."""

    def __init__(self, value, derivative, second_derivative=None, *, name="custom"):
        self._functions = (value, derivative, second_derivative)
        self.name = name
        self._value, self._derivative = _compiled(value), _compiled(derivative)
        self._second = None if second_derivative is None else _compiled(second_derivative)

    def value(self, margin):
        return np.asarray(self._value(np.asarray(margin, dtype=float)), dtype=float)

    def derivative(self, margin):
        return np.asarray(self._derivative(np.asarray(margin, dtype=float)), dtype=float)

    def second_derivative(self, margin):
        margin = np.asarray(margin, dtype=float)
        if self._second is not None:
            return np.asarray(self._second(margin), dtype=float)
        h = 1e-4  # only steers Newton's step; the gap, not this, decides when a refit is done
        return np.maximum(0.0, self.derivative(margin + h) - self.derivative(margin - h)) / (2 * h)

    def __repr__(self):
        value, derivative, second = self._functions
        return f"custom({value!r}, {derivative!r}, {second!r}, name={self.name!r})"

    def __reduce__(self):
        # Compiled functions do not pickle; the Python ones they came from do.
        return _rebuild_custom, (*self._functions, self.name)


def _rebuild_custom(value, derivative, second_derivative, name):
    return CustomLoss(value, derivative, second_derivative, name=name)


def _compiled(function):
    """The function for arrays: compiled by numba if it is there and can, else as it is or entry by entry."""
    try:
        import numba

        return numba.vectorize([numba.float64(numba.float64)])(function)
    except Exception:  # no numba, or something it cannot type: it says so with many classes of error
        pass
    try:
        if np.shape(function(np.zeros(3))) == (3,):
            return function
    except Exception:  # written for one number (a branch on the margin, say)
        pass
    return np.vectorize(function, otypes=[float])


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
        ``phi`` and ``phi'``: elementwise functions of a float array of margins, or of one margin.
        ``phi`` must be convex, non-increasing and non-negative: every proof in the package leans
        on this. It is checked on a grid of margins in [-50, 50].
    second_derivative : callable, optional
        ``phi''``; a difference quotient of ``derivative`` stands in where it is not given.
    name : str
        Shown in representations and saved with results; not that of a built-in loss.

    Returns
    -------
    Loss

    Notes
    -----
    With numba installed the functions are compiled to ufuncs; without it they run as they are, or
    entry by entry (slowly) if they do not take arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.losses.custom import custom
    >>> exponential = custom(lambda m: np.exp(-m), lambda m: -np.exp(-m), name="exponential")
    >>> float(exponential.value(0.0))
    1.0
    """
    if name in LOSSES:
        raise ValueError(f"name must not be that of a built-in loss ({', '.join(map(repr, LOSSES))}), got {name!r}")
    for label, function in (("value", value), ("derivative", derivative)):
        if not callable(function):
            raise TypeError(f"{label} must be a function of an array of margins, got {function!r}")
    loss = CustomLoss(value, derivative, second_derivative, name=name)
    grid = np.linspace(-50.0, 50.0, 2001)
    try:
        v, g = loss.value(grid), loss.derivative(grid)
    except Exception as error:
        raise ValueError(f"the functions of loss {name!r} failed on an array of margins: {error}") from error
    if v.shape != grid.shape or g.shape != grid.shape:
        raise ValueError(f"the functions of loss {name!r} must return one number per margin")
    scale = 1e-9 * (1.0 + np.abs(v))
    if not (np.all(np.isfinite(v)) and np.all(np.isfinite(g))):
        raise ValueError(f"loss {name!r} is not finite on [-50, 50]")
    if np.any(v < 0) or np.any(g > 1e-12) or np.any(np.diff(g) < -1e-9 * (1.0 + np.abs(g[1:]))):
        raise ValueError(f"loss {name!r} must be non-negative, non-increasing and convex; it is not on [-50, 50]")
    rise, step = np.diff(v), np.diff(grid)
    if np.any(rise < g[:-1] * step - scale[:-1]) or np.any(rise > g[1:] * step + scale[1:]):
        raise ValueError(f"the derivative of loss {name!r} does not belong to its value")
    return loss
