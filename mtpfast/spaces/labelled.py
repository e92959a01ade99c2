"""What spaces of regions do alike, whatever their regions are."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_X
from mtpfast.arrays.labels import as_labels, as_sign, plain

from .base import Region
from .specs import SHOWN, Features, agreed, names_of_columns, read_names

__all__ = ["KINDS", "LabelledSpace"]


#: The classes of spaces by name, as saved results name them.
KINDS: dict[str, type] = {}


class LabelledSpace:
    """A feasible set that is a region per label: a :class:`mtpfast.spaces.base.Space` but for one method.

    A space of one's own is a subclass. It calls ``super().__init__(labels, names)``, defines
    ``region_of(label, n_features)``, and lists in ``arguments`` the attributes that are the keyword arguments of its
    constructor: by them it is copied, compared, shown and saved.

    Parameters
    ----------
    labels : sequence, optional
        The labels that points may carry; both by default.
    names : sequence of str, optional
        The names of the features.
    """

    arguments: tuple[str, ...] = ("labels", "names")
    max_repeats, is_finite = None, False

    def __init__(self, labels=None, names=None):
        self.__dict__.update(labels=as_labels(labels), names=read_names(names), canonical=None, _regions={})

    def __setattr__(self, name, value):
        """Set an attribute; the regions, which depend on it, are made anew."""
        object.__setattr__(self, name, value)
        if name != "_regions":
            object.__setattr__(self, "_regions", {})
            self.__dict__.pop("_per_label", None)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        known = KINDS.setdefault(cls.__name__, cls)
        if known is not cls and known.__module__.startswith("mtpfast.") and not cls.__module__.startswith("mtpfast."):
            raise TypeError(f"{cls.__name__} is the name of a space of mtpfast: choose another")
        KINDS[cls.__name__] = cls

    # -- for subclasses -----------------------------------------------------------------------

    def region_of(self, label, n_features: int) -> Region:
        """The region of one label in the space's own terms; of all of them (``label`` None) if they do not differ."""
        raise NotImplementedError(f"{type(self).__name__} must define region_of(label, n_features)")

    @property
    def n_features(self) -> int | None:
        """The number of features, where the arguments tell it."""
        return None if self.names is None else len(self.names)

    def _check_labels(self):
        """Raise ValueError where the arguments name more than two labels."""
        known = self._known_labels()
        if len(known) > 2:
            tables = [name for name in self.arguments if isinstance(getattr(self, name), dict)]
            raise ValueError(f"{' and '.join(['labels', *tables])} must name two labels at most, got {known}")

    def _check_size(self, n_features):
        own = self.n_features
        if own is not None and own != n_features:
            raise ValueError(f"feasible_set has {own} features, expected {n_features}")

    @cached_property
    def _per_label(self) -> bool:
        """Whether labels have regions of their own: whether an argument is a mapping of labels."""
        return any(isinstance(getattr(self, name), dict) for name in self.arguments)

    # -- what the other layers read -----------------------------------------------------------

    def regions(self, n_features: int) -> dict[float, Region]:
        """The points of every allowed label: +1. first, then -1.; equal regions are one object.

        Raises
        ------
        ValueError
            If the space does not fit ``n_features``, or its rules contradict one another; or if its
            labels are not -1 and +1 (see :meth:`bind`).
        """
        known = self._regions.get(n_features)
        if known is None:
            known = self._regions[n_features] = self._by_sign(n_features)
        return dict(known)

    def _by_sign(self, n_features):
        signs = (-1.0, 1.0)
        own = {as_sign(label, signs): label for label in self._known_labels()}
        allowed = signs if self.labels is None else [as_sign(label, signs) for label in self.labels]
        return {sign: self._kept(own.get(sign, sign), n_features) for sign in (1.0, -1.0) if sign in allowed}

    def check(self, n_features: int) -> None:
        """Raise ValueError if the space does not fit so many features; see :meth:`regions`."""
        self.regions(n_features)

    def bounds(self, n_features: int) -> tuple[np.ndarray, np.ndarray]:
        """The smallest box that holds the points of every label: lower and upper, of shape (n_features,)."""
        regions = [self._kept(label, n_features) for label in self._told_apart()]
        if len(regions) == 1:
            return regions[0].lower, regions[0].upper
        return (
            np.minimum.reduce([region.lower for region in regions]),
            np.maximum.reduce([region.upper for region in regions]),
        )

    def bind(self, names=None, classes=None):
        """The same space in the terms of the layers below: features by index, labels -1. and +1.

        Parameters
        ----------
        names : sequence of str, optional
            The features of the data. They must be the space's own, if it has any.
        classes : array-like of shape (2,), optional
            The labels that stand for -1 and +1.
        """

        def to_sign(label):
            return label if classes is None else as_sign(label, classes)

        rules = {name: getattr(self, name) for name in self.arguments}
        for name, value in rules.items():
            if isinstance(value, dict):
                rules[name] = {to_sign(label): item for label, item in value.items()}
        rules["labels"] = None if self.labels is None else [to_sign(label) for label in self.labels]
        rules["names"] = agreed(self.names, read_names(names))
        bound = type(self)(**rules)
        bound.canonical = self.canonical
        return bound

    def contains(self, X, y=None) -> np.ndarray:
        """For every row of X, whether it may be a poisoning point: boolean array of shape (n_rows,).

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_rows, n_features)
            Values of integer, lattice and group columns may be off by 1e-9 of the step.
        y : label or array-like of shape (n_rows,), optional
            With which label; by default any of those that are allowed.
        """
        space, X = self._read(X)
        inside = np.zeros(X.shape[0], dtype=bool)
        for _, rows, region in space._parts(X, y):
            if region is not None:
                inside[rows] |= region.contains(X if len(rows) == len(inside) else X[rows])
        return inside

    def why_not(self, X, y=None) -> list[str]:
        """For every row of X, the first rule it breaks; "" for the rows that are inside.

        Parameters
        ----------
        X, y
            As for :meth:`contains`.
        """
        space, X = self._read(X)
        outside = ~space.contains(X, y)
        reasons = [[] for _ in range(X.shape[0])]
        for label, rows, region in space._parts(X, y):
            for i in rows[outside[rows]]:
                if region is None:
                    reason = f"label {label!r} is not allowed, labels holds {list(space.labels)}"
                else:
                    x = X[i].toarray().ravel() if sp.issparse(X) else X[i]
                    reason = region.broken_rule(x, Features(X.shape[1], space.names))
                reasons[i].append((label, reason))
        return [
            "; ".join(reason if len(found) == 1 else f"label {label!r}: {reason}" for label, reason in found)
            for found in reasons
        ]

    def __eq__(self, other) -> bool:
        """Whether the spaces hold the same points for the same labels, written in the same terms."""
        if type(other) is not type(self):
            return NotImplemented
        if self._only_label() != other._only_label():
            return False
        rules = [name for name in self.arguments if name not in ("labels", "names")]
        return all(_same(getattr(self, name), getattr(other, name)) for name in rules)

    __hash__ = None

    def __repr__(self) -> str:
        parts = [f"{name}={_show(getattr(self, name))}" for name in self.arguments if name not in ("labels", "names")]
        if self.labels is not None:
            parts.append(f"labels={list(self.labels)}")
        if self.names is not None:
            parts.append(f"names={list(self.names) if len(self.names) <= SHOWN else f'<{len(self.names)} names>'}")
        return f"{type(self).__name__}({', '.join(parts)})"

    # -- labels -------------------------------------------------------------------------------

    def _known_labels(self):
        """Every label that the arguments name."""
        if not self._per_label:
            return list(self.labels or ())
        tables = [value for name in self.arguments if isinstance(value := getattr(self, name), dict)]
        return list(dict.fromkeys([*(self.labels or ()), *(label for table in tables for label in table)]))

    def _told_apart(self):
        """The allowed labels if the regions depend on them; otherwise one None for all."""
        if not self._per_label:
            return [None]
        return self._known_labels() if self.labels is None else list(self.labels)

    def _only_label(self):
        """The one allowed label, None if both are."""
        return self.labels[0] if self.labels is not None and len(self.labels) == 1 else None

    def _of_label(self, name, label):
        """What an argument is for one label."""
        value = getattr(self, name)
        if not isinstance(value, dict):
            return value
        if label not in value:
            raise ValueError(f"{name} is given for the labels {list(value)}, not for {label!r}")
        return value[label]

    # -- reading ------------------------------------------------------------------------------

    def _kept(self, label, n_features):
        """The region of a label, made once. (``_regions`` holds those of all signs too, by the number of features.)"""
        key = (label if self._per_label else None, n_features)
        if key not in self._regions:
            try:
                self._check_size(n_features)
                self._regions[key] = self.region_of(key[0], n_features)
            except ValueError as error:
                if key[0] is None:
                    raise
                raise ValueError(f"label {label!r}: {error}") from None
        return self._regions[key]

    def _read(self, X):
        """The space with the names of X, and X as float64 rows."""
        names = names_of_columns(X)
        X = check_X(np.atleast_2d(X) if not sp.issparse(X) else X, min_rows=0)
        return (self if names is None or names == self.names else self.bind(names)), X

    def _parts(self, X, y):
        """(label, rows, region) of every label: all rows for each if y is None; region None if not allowed."""
        n, d = X.shape
        if y is None:
            return [(label, np.arange(n), self._kept(label, d)) for label in self._told_apart()]
        y = np.full(n, y) if np.ndim(y) == 0 else np.asarray(y)
        if y.shape != (n,):
            raise ValueError(f"y must have shape ({n},), one label per row of X, got {y.shape}")
        parts = []
        for label in map(plain, np.unique(y)):
            allowed = self.labels is None or label in self.labels
            parts.append((label, np.flatnonzero(y == label), self._kept(label, d) if allowed else None))
        return parts


def _same(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.shape(one) == np.shape(other) and np.array_equal(one, other)
    return bool(one == other)


def _show(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{label!r}: {_show(item)}" for label, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        if value.size <= SHOWN:
            return np.array2string(value, separator=", ")
        return f"<{len(value)} values in [{np.min(value):g}, {np.max(value):g}]>"
    return f"{value:g}" if isinstance(value, float) else repr(value)
