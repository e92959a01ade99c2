"""Arrays that nobody changes any more."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

__all__ = ["freeze", "freeze_arrays", "read_only", "read_only_view"]


def read_only(array):
    """The array itself, made read-only."""
    array.flags.writeable = False
    return array


def read_only_view(array):
    """A read-only view; the array stays as it is for whoever made it."""
    return read_only(array.view())


def freeze(owner, name: str, value) -> None:
    """Set a field of a frozen object to a read-only float64 copy."""
    object.__setattr__(owner, name, read_only(np.array(value, dtype=np.float64)))


def freeze_arrays(owner) -> None:
    """Make every array of a frozen dataclass a read-only view."""
    for field in fields(owner):
        value = getattr(owner, field.name)
        if isinstance(value, np.ndarray):
            object.__setattr__(owner, field.name, read_only_view(value))
