"""Labels as users have them, and as -1. and +1."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Number

import numpy as np

__all__ = ["Classes", "as_labels", "as_sign", "plain"]


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


@dataclass(frozen=True, eq=False)
class Classes:
    """The two labels of a problem, ``values`` of shape (2,): the first stands for -1., the second for +1."""

    values: np.ndarray

    @classmethod
    def of(cls, y, n_rows: int) -> Classes:
        """The labels that y holds, sorted: there must be two, and one entry for every row of X."""
        y = np.asarray(y)
        if y.shape != (n_rows,):
            raise ValueError(f"y must have shape ({n_rows},), one label per row of X, got {y.shape}")
        if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
            raise ValueError("y must not hold NaN or infinity")
        try:
            classes = np.unique(y)
        except TypeError as error:
            raise TypeError(f"y must hold labels of one kind, which can be sorted: {error}") from None
        if len(classes) != 2:
            raise ValueError(f"y must hold two classes, got {len(classes)}: {classes[:5].tolist()}")
        return cls(classes)

    def signs(self, y, name: str = "y", n_rows: int | None = None) -> np.ndarray:
        """Labels as -1. and +1.; an error names the first that is neither."""
        y = np.asarray(y)
        if n_rows is not None and y.shape != (n_rows,):
            raise ValueError(f"{name} must have shape ({n_rows},), one label per row, got {y.shape}")
        known = np.isin(y, self.values)
        if not np.all(known):
            i = int(np.argmin(known))
            labels = np.asarray(self.values).tolist()
            raise ValueError(f"{name} must hold the labels {labels}, got {plain(y.flat[i])!r} in row {i}")
        return np.where(y == self.values[1], 1.0, -1.0)

    def labels(self, signs) -> np.ndarray:
        """The labels that signs stand for."""
        return self.values[(np.asarray(signs) > 0).astype(int)]
