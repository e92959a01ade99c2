"""Where a poisoning point may lie: a space of features, or the rows of a pool.

A feasible set is a set of points x for each label. The search over it lives in ``oracle/``; here
is only what the set *is*. A :class:`FeatureSpace` is what a user writes; its :meth:`~FeatureSpace.regions`
are what the rest of the package reads (see ``region.py``).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_X
from mtpfast.arrays.labels import as_sign, plain

from .labelled import LabelledSpace
from .normal_form import normal_form
from .region import Region, lattice_tolerance
from .rules import rules_of_columns
from .specs import (
    SHOWN,
    Features,
    agreed,
    check_order,
    is_named,
    names_of_columns,
    read_bound,
    read_groups,
    read_lattice,
    read_names,
    read_pins,
    read_spec,
    read_tied,
    show_spec,
    with_indices,
)
from .tied import tied_region

__all__ = ["FeatureSpace"]


class FeatureSpace(LabelledSpace):
    """The points that could exist: bounds, whole numbers, one-hot groups, pinned features.

    With no more than ``lower`` and ``upper`` it is a box, ``lower[j] <= x[j] <= upper[j]``, for both
    labels; every further rule takes points away.

    *Features* are given as an index, a slice, a boolean mask, a name, or a sequence of indices and
    names. Names are those in ``names``; an attack on a DataFrame knows its columns.

    Parameters
    ----------
    lower, upper : float, array-like of shape (n_features,), or mapping of label to either
        Finite bounds, of either sign; ``lower == upper`` pins a feature. A mapping gives each
        label bounds of its own.
    integer : features, optional
        Take whole numbers only; with bounds 0 and 1 they are binary.
    lattice : mapping or sequence of pairs, optional
        Features to ``(origin, step)``: they take the values ``origin + k step``, k whole. What a
        scaler makes of an integer column.
    one_hot : sequence of features
        Groups of columns of which exactly one is on. A column is off at its lower bound and on at
        its upper; one whose bounds are equal is never on.
    at_most_one : sequence of features
        The same where all may be off, because one level has no column.
    fixed : mapping or sequence of pairs, optional
        Features to the value (or to one value each) that they are pinned to. A column of a group
        may be pinned off (that level is excluded) or on (it is forced).
    tied : sequence of pairs (features, rows), optional
        The features take, together, one of these rows: an array with one value per feature and row, or a list of
        values for a single feature. Values that lie on no lattice; or what some clean row has there.
    labels : sequence, optional
        The labels that points may carry; both by default.
    names : sequence of str, optional
        The names of the features.

    Attributes
    ----------
    canonical : callable or None
        Applied to the points before they are used; set by what translates records into points.

    Raises
    ------
    ValueError
        If the rules contradict one another, naming the feature: here if the number of features can
        be told from the arguments, otherwise where it becomes known.

    Examples
    --------
    >>> from mtpfast import FeatureSpace
    >>> FeatureSpace(0.0, [1.0, 2.0]).contains([[0.5, 1.5], [0.5, 2.5]])
    array([ True, False])
    >>> space = FeatureSpace([17, 0, 0, 0], [90, 1, 1, 1], integer="age", one_hot=[["red", "green", "blue"]],
    ...                      names=["age", "red", "green", "blue"])
    >>> space.why_not([[38, 0, 1, 0], [38.5, 0, 1, 0], [38, 0.37, 0.63, 0]])
    ['', "feature 0 ('age') is 38.5, not a whole number", "feature 1 ('red') is 0.37, a level is 0 (off) or 1 (on)"]
    """

    arguments = ("lower", "upper", "integer", "lattice", "one_hot", "at_most_one", "fixed", "tied", "labels", "names")

    def __init__(
        self,
        lower=0.0,
        upper=1.0,
        *,
        integer=None,
        lattice=None,
        one_hot=(),
        at_most_one=(),
        fixed=None,
        tied=(),
        labels=None,
        names=None,
    ):
        self.__dict__.update(  # nothing depends on them yet that would have to be made anew
            lower=_bounds(lower, "lower"),
            upper=_bounds(upper, "upper"),
            integer=() if integer is None else read_spec(integer, "integer"),
            lattice=read_lattice(lattice),
            fixed=read_pins(fixed),
            one_hot=read_groups(one_hot, "one_hot") if one_hot != () else (),
            at_most_one=read_groups(at_most_one, "at_most_one") if at_most_one != () else (),
            tied=read_tied(tied) if tied != () else (),
            _rounding=None,
        )
        super().__init__(labels, names)
        known = self._known_labels()
        if len(known) > 2:
            raise ValueError(f"labels, lower and upper must name two labels at most, got {known}")
        if self.labels is None and len(known) == 1:
            raise ValueError(
                f"lower and upper have bounds for the label {known[0]!r} only; labels={known} would allow no other"
            )
        for label in self._told_apart():
            if self.n_features is None or self._unknown_names():
                check_order(*self._bounds_of(label), self.names)
            else:
                self._kept(label, self.n_features)

    @classmethod
    def from_data(cls, X, integer="infer", *, rules=None, **more) -> FeatureSpace:
        """The smallest space that holds every row of X, and what rules on its columns leave of it.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
            The bounds are the minimum and the maximum of every feature. The names of a DataFrame
            are taken over.
        integer : "infer", None or features
            "infer": a column of whole numbers is integer (with 0 and 1: binary), and a column of
            two other values is a lattice of these two. None: neither; features: these are integer.
        rules : mapping, optional
            What points may hold in columns, by name or number: a value, a range ``(low, high)``, a list of values,
            "unchanged" (the columns that say so agree, together, with some row of X), and the labels as ``"y"``. See
            :class:`mtpfast.spaces.rules.Rules`.
        **more
            ``lattice``, ``one_hot``, ``at_most_one``, ``fixed``, ``tied``, ``labels``, ``names`` of the space.
            They go before what is inferred.

        Raises
        ------
        ValueError
            If a row has not the one level on that a group demands, or if a rule leaves nothing of a column.

        Examples
        --------
        >>> from mtpfast import FeatureSpace
        >>> FeatureSpace.from_data([[38, 0.5, 0.25], [17, 0.2, 1.0], [52, 0.9, 1.0]])
        FeatureSpace(lower=[17.  ,  0.2 ,  0.25], upper=[52. ,  0.9,  1. ], integer=[0], lattice={2: (0.25, 0.75)})
        """
        for bound in ("lower", "upper"):
            if bound in more:
                raise TypeError(f"from_data takes {bound} from X; write FeatureSpace(lower, upper, ...) instead")
        if more.get("names") is None:
            more["names"] = names_of_columns(X)
        X = check_X(X)
        low, high = X.min(axis=0), X.max(axis=0)
        if sp.issparse(X):
            low, high = low.toarray().ravel(), high.toarray().ravel()
        if rules is not None:
            low, high, more = rules_of_columns(rules, X, low, high, more)
        if isinstance(integer, str) and integer == "infer":
            bare = cls(low, high, **more)
            open_ = ~bare._ruled()
            whole, two = _whole_and_two_valued(X, low, high)
            integer = np.flatnonzero(whole & open_)
            pairs = [(int(j), (low[j], high[j] - low[j])) for j in np.flatnonzero(two & open_)]
            more["lattice"] = (*bare.lattice, *pairs)
        space = cls(low, high, integer=integer, **more)
        if space.one_hot or space.at_most_one:
            groups = cls(low, high, one_hot=space.one_hot, at_most_one=space.at_most_one, names=space.names)
            outside = np.flatnonzero(~groups.contains(X))
            if len(outside):
                i = outside[0]
                raise ValueError(f"row {i} of X does not fit the groups: {groups.why_not(X[i : i + 1])[0]}")
        return space

    def bind(self, names=None, classes=None) -> FeatureSpace:
        """The same space in the terms of the layers below: features by index, labels -1. and +1.

        Parameters
        ----------
        names : sequence of str, optional
            The features of the data. They must be the space's own, if it has any.
        classes : array-like of shape (2,), optional
            The labels that stand for -1 and +1.

        Returns
        -------
        FeatureSpace
        """
        names = agreed(self.names, read_names(names))

        def to_sign(label):
            return label if classes is None else as_sign(label, classes)

        position = None if names is None else {name: j for j, name in enumerate(names)}

        def to_index(spec, argument):
            return with_indices(spec, position, argument)

        def of_labels(bound):
            return {to_sign(label): b for label, b in bound.items()} if isinstance(bound, dict) else bound

        bound = type(self)(
            of_labels(self.lower),
            of_labels(self.upper),
            integer=to_index(self.integer, "integer"),
            lattice=[(to_index(spec, "lattice"), value) for spec, value in self.lattice],
            one_hot=[to_index(spec, "one_hot") for spec in self.one_hot],
            at_most_one=[to_index(spec, "at_most_one") for spec in self.at_most_one],
            fixed=[(to_index(spec, "fixed"), value) for spec, value in self.fixed],
            tied=[(to_index(spec, "tied"), rows) for spec, rows in self.tied],
            labels=None if self.labels is None else [to_sign(label) for label in self.labels],
            names=names,
        )
        return bound._with_canonical(self.canonical, self._rounding)

    def scaled(self, scale, names=None) -> FeatureSpace:
        """The same points as ``x / scale``, for ``scale > 0`` of shape (n_features,); ``names`` as in :meth:`bind`."""
        own = self.bind(names)
        own.bounds(len(scale))  # a space that does not fit is refused in its own words
        features = Features(len(scale), own.names)

        def columns(spec):
            return features.columns(spec, "feasible_set")

        def divided(bound):
            return {label: b / scale for label, b in bound.items()} if isinstance(bound, dict) else bound / scale

        whole = [(own.integer, (0.0, 1.0)), *own.lattice]
        return type(self)(
            divided(own.lower),
            divided(own.upper),
            lattice=[(int(j), (a / scale[j], step / scale[j])) for spec, (a, step) in whole for j in columns(spec)],
            one_hot=own.one_hot,
            at_most_one=own.at_most_one,
            fixed=[(columns(spec), value / scale[columns(spec)]) for spec, value in own.fixed],
            tied=[(columns(spec), rows / scale[columns(spec)]) for spec, rows in own.tied],
            labels=own.labels,
            names=own.names,
        )

    def _with_canonical(self, canonical, rounding=None) -> FeatureSpace:
        """The same space, whose points go through ``canonical`` (from and to (n, d) arrays) before use.

        ``rounding``, of shape (d,), is how far that may move a value off its lattice: such values count
        as lying on it.
        """
        other = copy.copy(self)
        other.canonical, other._rounding, other._regions = canonical, rounding, {}
        return other

    @property
    def is_box(self) -> bool:
        """Whether it is one plain box for both labels: neither lattices nor groups."""
        both = self.labels is None or len(self.labels) == 2
        rules = self._has_integer or self.lattice or self.one_hot or self.at_most_one or self.tied
        return both and not (self._per_label or rules)

    @property
    def n_features(self) -> int | None:
        """The number of features, where the arguments tell it."""
        for bound in (self.lower, self.upper):
            for value in bound.values() if isinstance(bound, dict) else (bound,):
                if np.ndim(value) == 1:
                    return len(value)
        if self.names is not None:
            return len(self.names)
        return next((len(spec) for _, spec in self._specs() if isinstance(spec, np.ndarray)), None)

    def __eq__(self, other) -> bool:
        """Whether the spaces hold the same points for the same labels, however their rules are written.

        Names are no part of it, and a number stands for a vector of equal entries.
        """
        if not isinstance(other, FeatureSpace):
            return NotImplemented
        if self._only_label() != other._only_label():
            return False
        if self._unknown_names() or other._unknown_names():
            return self._written() == other._written()
        known = {space.n_features for space in (self, other)} - {None}
        # Where no argument tells the number of features: a slice that ends with the features and one
        # that ends at an index differ at one of two numbers past every index.
        least = max(space._last_index() for space in (self, other)) + 1
        try:
            return all(self._points(d) == other._points(d) for d in known or (least, least + 1))
        except ValueError:  # the rules of one do not fit the other's number of features
            return False

    __hash__ = None

    def __repr__(self) -> str:
        parts = [f"lower={_show_bound(self.lower)}", f"upper={_show_bound(self.upper)}"]
        if self._has_integer:
            parts.append(f"integer={self._show_integer()}")
        for name in ("lattice", "fixed"):
            if getattr(self, name):
                parts.append(f"{name}={self._show_pairs(getattr(self, name))}")
        for name in ("one_hot", "at_most_one"):
            if getattr(self, name):
                parts.append(f"{name}={self._show_groups(getattr(self, name))}")
        if self.tied:
            tables = [f"({self._show_spec(spec)}, <{len(rows)} rows>)" for spec, rows in self.tied]
            parts.append(f"tied=[{', '.join(tables)}]")
        if self.labels is not None:
            parts.append(f"labels={list(self.labels)}")
        if self.names is not None:
            parts.append(f"names={list(self.names) if len(self.names) <= SHOWN else f'<{len(self.names)} names>'}")
        return f"FeatureSpace({', '.join(parts)})"

    def _bounds_of(self, label):
        found = []
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if isinstance(bound, dict):
                if label not in bound:
                    raise ValueError(f"{name} has bounds for the labels {list(bound)}, none for {label!r}")
                bound = bound[label]
            found.append(bound)
        return found

    # -- features and rules -------------------------------------------------------------------

    @property
    def _has_integer(self):
        return not isinstance(self.integer, tuple) or len(self.integer) > 0

    def _specs(self):
        """Every specification of features, with the argument it stands in."""
        yield "integer", self.integer
        for name in ("lattice", "fixed", "tied"):
            yield from ((name, spec) for spec, _ in getattr(self, name))
        for name in ("one_hot", "at_most_one"):
            yield from ((f"{name}[{i}]", spec) for i, spec in enumerate(getattr(self, name)))

    def _unknown_names(self):
        """Whether features are named while the names are not known."""
        return self.names is None and any(is_named(spec) for _, spec in self._specs())

    def _last_index(self):
        """The largest index that the arguments name."""
        ends = [0]
        for _, spec in self._specs():
            if isinstance(spec, slice):
                ends += [abs(end) for end in (spec.start, spec.stop) if end is not None]
            elif isinstance(spec, (int, tuple)):
                ends += [abs(j) for j in (spec if isinstance(spec, tuple) else [spec]) if isinstance(j, int)]
        return max(ends)

    def _ruled(self):
        """The features that have a lattice, a group or a pin: boolean array of shape (n_features,)."""
        features = Features(self.n_features, self.names)
        ruled = np.zeros(features.n, dtype=bool)
        for argument, spec in self._specs():
            if argument != "integer":
                ruled[features.columns(spec, argument)] = True
        return ruled

    def _check_size(self, n_features):
        """Nothing: the rules tell in their own words where they do not fit."""

    def region_of(self, label, n_features) -> Region:
        """The region of one label; of all of them (``label`` None) if the bounds do not depend on it."""
        rules = (self.integer, self.lattice, self.one_hot, self.at_most_one, self.fixed)
        features = Features(n_features, self.names)
        region = normal_form(features, *self._bounds_of(label), *rules)
        if self._rounding is not None:
            tolerance = region.tolerance + np.where(region.tolerance > 0.0, self._rounding, 0.0)
            region = dataclasses.replace(region, tolerance=tolerance)
        return tied_region(region, self.tied, features) if self.tied else region

    # -- comparison and display ---------------------------------------------------------------

    def _points(self, n_features):
        """What the space means: the region of every label, or the one of all labels."""
        regions = {label: self._kept(label, n_features) for label in self._told_apart()}
        first = next(iter(regions.values()))
        return first if all(region == first for region in regions.values()) else regions

    def _written(self):
        """The rules as they are written."""
        rules = ("lower", "upper", "integer", "lattice", "one_hot", "at_most_one", "fixed", "tied")
        return [_as_lists(getattr(self, name)) for name in rules]

    def _show_integer(self):
        if self.n_features is None or self._unknown_names():
            return show_spec(self.integer)
        features = Features(self.n_features, self.names)
        columns = features.columns(self.integer, "integer")
        if len(columns) <= SHOWN:
            return f"[{features.several(columns)}]"
        lower, upper = self.bounds(features.n)
        binary = int(np.sum((lower[columns] == 0.0) & (upper[columns] == 1.0)))
        return f"<{len(columns)} features, {binary} of them binary: {features.several(columns)}>"

    def _show_pairs(self, pairs):
        if len(pairs) > SHOWN:
            return f"<for {len(pairs)} features: {', '.join(self._show_spec(spec) for spec, _ in pairs[:3])}, ...>"
        shown = [(self._show_spec(spec), value) for spec, value in pairs]
        if all(isinstance(spec, (int, str)) for spec, _ in pairs):
            return "{" + ", ".join(f"{spec}: {_as_lists(value)!r}" for spec, value in shown) + "}"
        return "[" + ", ".join(f"({spec}, {_as_lists(value)!r})" for spec, value in shown) + "]"

    def _show_groups(self, groups):
        if len(groups) > SHOWN:
            return f"<{len(groups)} groups>"
        return f"[{', '.join(map(self._show_spec, groups))}]"

    def _show_spec(self, spec):
        """With names for indices, where they are known."""
        if self.names is not None and isinstance(spec, int):
            spec = self.names[spec]
        elif self.names is not None and isinstance(spec, tuple):
            spec = tuple(self.names[item] if isinstance(item, int) else item for item in spec)
        return show_spec(spec)


def _bounds(value, name):
    if not isinstance(value, Mapping):
        return read_bound(value, name)
    if not value:
        raise ValueError(f"{name} must be a number, one number per feature or a mapping of labels, got no label")
    return {plain(label): read_bound(bound, f"{name}[{plain(label)!r}]") for label, bound in value.items()}


def _whole_and_two_valued(X, low, high):
    """Which columns hold whole numbers only, and which two values that are not whole numbers."""
    varies = (low < high) & (np.maximum(np.abs(low), np.abs(high)) <= 2.0**53)
    if sp.issparse(X):
        d, j = X.shape[1], X.indices
        whole = np.bincount(j, X.data != np.rint(X.data), d) == 0
        between = np.bincount(j, (X.data != low[j]) & (X.data != high[j]), d)
        absent = np.bincount(j, minlength=d) < X.shape[0]
        two = (between == 0) & ~(absent & (low < 0.0) & (high > 0.0))
    else:
        whole = np.all(X == np.rint(X), axis=0)
        two = np.all((X == low) | (X == high), axis=0)
    far_apart = 8 * lattice_tolerance(low, high, low, high - low) <= high - low  # in floating point
    return whole & varies, two & varies & ~whole & far_apart


def _as_lists(value):
    """Arrays inside dicts and tuples as lists, to be compared or shown."""
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_as_lists, value))
    return value.tolist() if isinstance(value, np.ndarray) else value


def _show_bound(bound):
    if isinstance(bound, dict):
        return "{" + ", ".join(f"{label!r}: {_show_bound(value)}" for label, value in bound.items()) + "}"
    if np.ndim(bound) == 0 or len(bound) <= SHOWN:
        return np.array2string(np.asarray(bound), separator=", ") if np.ndim(bound) else f"{bound:g}"
    return f"<{len(bound)} values in [{np.min(bound):g}, {np.max(bound):g}]>"
