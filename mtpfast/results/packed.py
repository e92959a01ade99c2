"""Points of a result as the attack held them, a bit an entry, until somebody reads them."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.corners import Corners
from mtpfast.arrays.frozen import read_only_view

__all__ = ["Packed", "Points", "held", "replaced", "unpacked"]


class Packed:
    """Rows that are corners of a box but for a few entries (:class:`mtpfast.arrays.corners.Corners`).

    Parameters
    ----------
    corners : Corners
        Nobody adds to them any more.
    sparse : bool
        Whether :meth:`unpack` makes a CSR matrix.
    """

    def __init__(self, corners: Corners, sparse: bool):
        self.corners, self.sparse = corners, sparse

    def unpack(self):
        """A new array or CSR matrix."""
        return self.corners.matrix(self.sparse)

    def __reduce__(self):
        # A pickle and a deep copy hold the rows as any program can read them.
        return (sp.csr_matrix if self.sparse else np.asarray), (self.unpack(),)


class Points:
    """An attribute that is unpacked when it is first read, and kept so."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, owner, kind=None):
        if owner is None:
            raise AttributeError(self.name)  # a dataclass takes what it gets of the class for a default
        value = vars(owner)[self.name]
        if isinstance(value, Packed):
            value = value.unpack()
            value = vars(owner)[self.name] = read_only_view(value) if isinstance(value, np.ndarray) else value
        return value

    def __set__(self, owner, value):
        vars(owner)[self.name] = value


def held(result):
    """The points as the result holds them: :class:`Packed`, or a matrix."""
    return vars(result)["points"]


def unpacked(result):
    """The points to be read once: the result goes on holding them as it does."""
    points = held(result)
    return points.unpack() if isinstance(points, Packed) else points


def replaced(result, **changes):
    """``dataclasses.replace``, by which points that are not among the changes stay packed."""
    return dataclasses.replace(result, **{"points": held(result), **changes})
