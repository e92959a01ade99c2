"""Spaces whose regions are convex: what balls, slabs and their intersections do alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np

from mtpfast.arrays.checks import check_X
from mtpfast.arrays.frozen import read_only
from mtpfast.arrays.labels import plain

from .convex import ConvexRegion
from .labelled import LabelledSpace

__all__ = ["ConvexSpace", "mean_of", "read_numbers", "read_vectors", "size_of", "split_rows"]


class ConvexSpace(LabelledSpace):
    """A space whose regions are convex: a subclass says by which rules, label by label."""

    def rules_of(self, label, n_features: int) -> dict:
        """The arguments of the :class:`ConvexRegion` of a label; bounds may be infinite."""
        raise NotImplementedError(f"{type(self).__name__} must define rules_of(label, n_features)")

    def region_of(self, label, n_features) -> ConvexRegion:
        """The region of one label; of all of them (``label`` None) if they do not differ."""
        return ConvexRegion(**self.rules_of(label, n_features))


def read_vectors(value, name):
    """An array of shape (d,), or a mapping of labels to such arrays."""
    if isinstance(value, Mapping):
        if not value:
            raise ValueError(f"{name} must be an array or a mapping of labels to arrays, got no label")
        return {plain(label): read_vectors(item, f"{name}[{plain(label)!r}]") for label, item in value.items()}
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be one number per feature, got {value!r}") from None
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be one number per feature, got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return read_only(array)


def read_numbers(value, name, low=-math.inf, finite=True):
    """A number at least ``low``, or a mapping of labels to such numbers."""
    if isinstance(value, Mapping):
        if not value:
            raise ValueError(f"{name} must be a number or a mapping of labels to numbers, got no label")
        rest = low, finite
        return {plain(label): read_numbers(item, f"{name}[{plain(label)!r}]", *rest) for label, item in value.items()}
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if math.isnan(value) or value < low or (finite and math.isinf(value)):
        raise ValueError(
            f"{name} must be {'finite' if finite else 'a number'}"
            f"{f' and at least {low:g}' if math.isfinite(low) else ''}, got {value!r}"
        )
    return float(value)


def size_of(*values):
    """The number of features of the first array among arguments and their mappings of labels; None without one."""
    for value in values:
        for item in value.values() if isinstance(value, dict) else (value,):
            if np.ndim(item) == 1:
                return len(item)
    return None


def split_rows(X, y):
    """(rows of X, label) for every label of y; all rows, and None, without one."""
    X = check_X(X)
    if y is None:
        return [(X, None)]
    y = np.asarray(y)
    if y.shape != (X.shape[0],):
        raise ValueError(f"y must have shape ({X.shape[0]},), one label per row of X, got {y.shape}")
    labels = np.unique(y)
    if len(labels) != 2:
        raise ValueError(f"y must hold two labels, got {labels[:5].tolist()}")
    return [(X[y == label], plain(label)) for label in labels]


def mean_of(X):
    """The mean row, of an array or a sparse matrix: dense."""
    return np.asarray(X.mean(axis=0), dtype=float).ravel()
