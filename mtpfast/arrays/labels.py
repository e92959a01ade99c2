"""Labels as users have them, and as -1. and +1."""

from __future__ import annotations

from numbers import Number

import numpy as np

__all__ = ["as_labels", "as_sign", "classes_and_signs", "plain", "signs_of"]


def as_labels(labels):
    if labels is None:
        return None
    labels = [labels] if isinstance(labels, (str, Number, np.generic)) else labels
    labels = tuple(dict.fromkeys(map(plain, labels)))
    if not labels:
        raise ValueError("labels must hold one label at least, got none")
    return labels


def as_sign(label, classes):
    """-1. or +1. for the first or the second of the classes."""
    for sign, known in zip((-1.0, 1.0), classes, strict=True):
        if label == known:
            return sign
    known = [plain(c) for c in classes]
    raise ValueError(f"feasible_set has rules for the label {label!r}, the labels are {known}")


def plain(value):
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def classes_and_signs(y, n_rows):
    """The two labels of y, sorted, and y as -1. (first) and +1. (second)."""
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise ValueError(f"y must have shape ({n_rows},), one label per row of X, got {y.shape}")
    if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise ValueError("y must not hold NaN or infinity")
    classes = np.unique(y)
    if len(classes) != 2:
        raise ValueError(f"y must hold two classes, got {len(classes)}: {classes[:5].tolist()}")
    return np.where(y == classes[1], 1.0, -1.0), classes


def signs_of(y, classes, n_rows, name="y"):
    """Labels as -1. for ``classes[0]`` and +1. for ``classes[1]``."""
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise ValueError(f"{name} must have shape ({n_rows},), one label per row, got {y.shape}")
    known = np.isin(y, classes)
    if not np.all(known):
        raise ValueError(f"{name} must hold {np.asarray(classes).tolist()} only, got {y[~known].tolist()[0]!r}")
    return np.where(y == classes[1], 1.0, -1.0)
