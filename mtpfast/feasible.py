"""Where a poisoning point may lie: a space of features, or the rows of a pool.

A feasible set is a set of points x for each label. The search over it lives in ``oracle.py``;
here is only what the set *is*, and what a linear function or two can reach on it:

* :class:`FeatureSpace` is what a user writes: bounds, whole numbers, groups, pinned features, by
  index or by name, in the user's labels;
* :class:`Region` is what the rest of the package reads: the points of one label in normal form.

The **hull** of a region is its box times, for every group, the simplex of its levels,
``{off + t * (on - off): t >= 0, sum t = 1}`` (``<= 1`` where no level need be on). It holds every
point of the region, so a maximum over it bounds the maximum over the region; and a linear function
attains its maximum at a point of the region itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from .validation import check_count, check_labels, check_X

__all__ = ["CandidatePool", "FeatureSpace", "Group", "Region"]

UNIT = 2.0**-53  # unit roundoff of float64
LATTICE_TOL = 1e-9  # how far from a lattice value a number may lie, relative to the step
SHOWN = 6  # how many features a repr lists


# -- one label's points, in normal form -----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Group:
    """Columns of which one at most is on: one-hot levels.

    Attributes
    ----------
    columns : ndarray of intp, shape (g,), increasing, g >= 2
    off, on : ndarray of shape (g,)
        The two values of every column, ``off < on``.
    exactly : bool
        Whether one column must be on; otherwise all may be off.
    """

    columns: np.ndarray
    off: np.ndarray
    on: np.ndarray
    exactly: bool

    def __eq__(self, other) -> bool:
        if not isinstance(other, Group):
            return NotImplemented
        arrays = ("columns", "off", "on")
        return self.exactly == other.exactly and _same_arrays(self, other, arrays)

    __hash__ = None


class _Levels(NamedTuple):
    """All groups of a region, one after the other."""

    columns: np.ndarray  # (K,)
    off: np.ndarray  # (K,)
    on: np.ndarray  # (K,)
    reach: np.ndarray  # (K,), |off| + |on|
    group: np.ndarray  # (K,), to which group each column belongs
    starts: np.ndarray  # (G,), where each group begins
    exactly: np.ndarray  # (G,)
    # The vertices of the simplices: the columns, and "none" for the groups where all may be off.
    vertex_column: np.ndarray  # (V,), -1 for "none"
    vertex_width: np.ndarray  # (V,), on - off
    vertex_group: np.ndarray  # (V,)


@dataclass(frozen=True, eq=False)
class Region:
    """The points of one label, in normal form.

    A point x is in the region iff ``lower <= x <= upper``; ``x[j] = origin[j] + k step[j]`` for a
    whole k wherever ``step[j] > 0``; and in every group each column is off or on, one of them
    being on (none may be, where ``exactly`` is False).

    Attributes
    ----------
    lower, upper : ndarray of shape (d,)
        Outer bounds: pinned features applied, tightened to the lattice, ``off`` and ``on`` in groups.
    origin, step : ndarray of shape (d,)
        ``step`` is 0 for a feature that is continuous, pinned, or ruled by a group; so is ``origin``.
    groups : tuple of Group
        Disjoint.
    tolerance : ndarray of shape (d,)
        How far from its value a number may lie to count as it: 1e-9 of the step (or of
        ``on - off``) plus what rounding does to such values; 0 for continuous features.
    """

    lower: np.ndarray
    upper: np.ndarray
    origin: np.ndarray | None = None
    step: np.ndarray | None = None
    groups: tuple[Group, ...] = ()
    tolerance: np.ndarray | None = None

    def __post_init__(self):
        d = len(self.lower)
        for name in ("lower", "upper", "origin", "step"):
            value = getattr(self, name)
            _freeze(self, name, np.zeros(d) if value is None else value)
        if self.tolerance is None:
            step = self.step.copy()
            for group in self.groups:
                step[group.columns] = group.on - group.off
            _freeze(self, "tolerance", _tolerance(self.lower, self.upper, self.origin, step))
        else:
            _freeze(self, "tolerance", self.tolerance)

    @property
    def is_box(self) -> bool:
        """Whether there is neither a group nor a lattice."""
        return not self.groups and not len(self.stepped)

    @cached_property
    def stepped(self) -> np.ndarray:
        """The columns on a lattice, increasing."""
        return np.flatnonzero(self.step > 0.0)

    @cached_property
    def _levels(self) -> _Levels:
        sizes = [len(group.columns) for group in self.groups]
        number = np.repeat(np.arange(len(sizes)), sizes)
        columns, off, on = (
            np.concatenate([getattr(group, part) for group in self.groups]) for part in ("columns", "off", "on")
        )
        exactly = np.array([group.exactly for group in self.groups], dtype=bool)
        loose = np.flatnonzero(~exactly)
        return _Levels(
            columns,
            off,
            on,
            np.abs(off) + np.abs(on),
            number,
            np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.intp),
            exactly,
            np.concatenate((columns, np.full(len(loose), -1))),
            np.concatenate((on - off, np.zeros(len(loose)))),
            np.concatenate((number, loose)),
        )

    @cached_property
    def _far(self) -> np.ndarray:
        """The largest |x[j]|; in groups |off|, as their on-values are counted once per group."""
        far = np.maximum(np.abs(self.lower), np.abs(self.upper))
        if self.groups:
            far[self._levels.columns] = np.abs(self._levels.off)
        return far

    @cached_property
    def _nearest_zero(self) -> np.ndarray:
        return self._snap(np.zeros(len(self.lower)))

    def _snap(self, x):
        """The nearest values within the bounds and on the lattices; groups are not looked at."""
        x = np.array(x, dtype=float)
        j = self.stepped
        x[..., j] = self.origin[j] + np.rint((x[..., j] - self.origin[j]) / self.step[j]) * self.step[j]
        return np.clip(x, self.lower, self.upper)

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None) -> tuple[float, float]:
        """The maximum of ``coefficients . x + constant`` over the hull, and a bound of its rounding error.

        Parameters
        ----------
        coefficients : ndarray of shape (d,)
        constant : float
        sizes, size : ndarray of shape (d,) and float, optional
            Where the coefficients and the constant are themselves computed sums: the sums of the
            absolute values of their terms (up to ten of them). Their absolute values by default.

        Returns
        -------
        value, error : float
            The exact maximum lies within ``error`` of ``value``.

        Notes
        -----
        A coordinate contributes the better of its ends, a group the best of its vertices. With
        ``S`` the sum of the absolute values of everything added on the way to any one vertex and n
        the number of additions, the error is at most ``gamma_n S`` (Higham, *Accuracy and Stability
        of Numerical Algorithms*, 2nd ed., section 3.1). O(d).

        Examples
        --------
        >>> import numpy as np
        >>> from mtpfast import FeatureSpace
        >>> region = FeatureSpace(0.0, 1.0, one_hot=[[0, 1]]).regions(3)[1.0]
        >>> region.linear_maximum(np.array([2.0, 3.0, 4.0]))[0]
        7.0
        """
        sizes = np.abs(coefficients) if sizes is None else sizes
        size = abs(constant) if size is None else size
        terms = np.maximum(coefficients * self.lower, coefficients * self.upper)
        n = len(terms) + 2 * len(self.groups) + 12
        gain, total = 0.0, float(sizes @ self._far) + size
        if self.groups:
            levels = self._levels
            at = coefficients[levels.columns]
            base = at * levels.off
            terms[levels.columns] = base
            gain = np.maximum.reduceat(at * levels.on - base, levels.starts)
            gain = float(np.sum(np.where(levels.exactly, gain, np.maximum(gain, 0.0))))
            total += float(np.sum(np.maximum.reduceat(sizes[levels.columns] * levels.reach, levels.starts)))
        value = float(np.sum(terms)) + gain + constant
        return value, _gamma(n) * total * (1.0 + _gamma(n))

    def linear_argmax(self, coefficients) -> np.ndarray:
        """A point of the region at which ``coefficients . x`` is largest: array of shape (d,).

        Where the coefficient is 0 the value is the allowed one nearest 0; among equal levels of a
        group the first is on, and none if that is as good and allowed. O(d).
        """
        x = np.where(coefficients > 0.0, self.upper, np.where(coefficients < 0.0, self.lower, self._nearest_zero))
        if self.groups:
            levels = self._levels
            at = coefficients[levels.columns]
            gain = at * levels.on - at * levels.off
            best = np.maximum.reduceat(gain, levels.starts)
            chosen = np.flatnonzero(gain == best[levels.group])
            group, first = np.unique(levels.group[chosen], return_index=True)
            chosen = chosen[first[levels.exactly[group] | (best > 0.0)]]
            x[levels.columns] = levels.off
            x[levels.columns[chosen]] = levels.on[chosen]
        return x

    def frontier(self, A, a0, P, p0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The upper frontier of ``(m, p) = (A . x + a0, P . x + p0)`` over the hull.

        Parameters
        ----------
        A, P : ndarray of shape (d,)
        a0, p0 : float

        Returns
        -------
        m, p : ndarray of shape (e + 1,)
            The vertices, by increasing m, from the least m to the largest; p is concave in m.
        slopes : ndarray of shape (e,)
            Of the edges, falling.

        Notes
        -----
        The image of the hull is a sum of segments (the coordinates) and of polygons (the groups,
        with a vertex per level), and the frontier of a sum is made of the frontiers' edges, steepest
        first. Computed in floating point: a search may follow it, a proof needs
        :meth:`linear_maximum`. O(d log d) for groups that are not adversarial: points below the
        chord of their neighbours are dropped, all at once, until none is left.
        """
        rise = np.abs(A) * (self.upper - self.lower)
        start = np.where(A > 0.0, self.lower, np.where(A < 0.0, self.upper, np.where(P > 0.0, self.upper, self.lower)))
        if self.groups:
            levels = self._levels
            rise[levels.columns] = 0.0
            start[levels.columns] = levels.off
            leftmost, *chains = self._chains(A, P)
            leftmost = leftmost[leftmost >= 0]
            start[leftmost] = self.upper[leftmost]
        moving = rise > 0.0
        slopes, rise = P[moving] / A[moving], rise[moving]
        climb = slopes * rise
        if self.groups:
            slopes, rise, climb = map(np.concatenate, zip((slopes, rise, climb), chains, strict=True))
        order = np.argsort(-slopes, kind="stable")
        m = np.concatenate(([0.0], np.cumsum(rise[order]))) + (float(A @ start) + a0)
        p = np.concatenate(([0.0], np.cumsum(climb[order]))) + (float(P @ start) + p0)
        return m, p, slopes[order]

    def _chains(self, A, P):
        """The upper hulls of the groups' vertices: columns of the leftmost ones (-1: none on), and
        (slope, rise, climb) of every edge."""
        levels = self._levels
        column, group = levels.vertex_column, levels.vertex_group
        x, y = A[column] * levels.vertex_width, P[column] * levels.vertex_width
        order = np.lexsort((-y, x, group))
        column, group, x, y = column[order], group[order], x[order], y[order]
        fresh = np.ones(len(x), dtype=bool)  # of points above one another, the first is the highest
        fresh[1:] = (group[1:] != group[:-1]) | (x[1:] != x[:-1])
        leftmost = column[np.flatnonzero(np.diff(group, prepend=-1))]
        group, x, y = group[fresh], x[fresh], y[fresh]
        with np.errstate(over="ignore"):  # a slope of inf sorts where it belongs
            while True:
                joined = group[1:] == group[:-1]
                rise, climb = np.diff(x), np.diff(y)
                slope = np.divide(climb, rise, out=np.zeros(len(rise)), where=joined)
                below = joined[:-1] & joined[1:] & (slope[:-1] <= slope[1:])
                if not below.any():
                    return leftmost, slope[joined], rise[joined], climb[joined]
                keep = np.concatenate(([True], ~below, [True]))
                group, x, y = group[keep], x[keep], y[keep]

    def contains(self, X) -> np.ndarray:
        """For every row of X (an array or a canonical CSR matrix), whether it is in the region."""
        if sp.issparse(X):
            return self._contains_sparse(X.tocsr())
        ok = (X >= self.lower - self.tolerance) & (X <= self.upper + self.tolerance)
        if len(self.stepped):
            ok[:, self.stepped] &= self._on_lattice(X[:, self.stepped], self.stepped)
        inside = np.all(ok, axis=1)
        if self.groups:
            levels = self._levels
            on, off = self._on_off(X[:, levels.columns], levels.columns)
            n_on = np.add.reduceat(on.astype(np.intp), levels.starts, axis=1)
            inside &= np.all(on | off, axis=1) & ~np.any(self._breaks(n_on, slice(None)), axis=1)
        return inside

    def _contains_sparse(self, X):
        """As above. An absent entry is a zero: a row of zeros breaks so many rules, and every stored
        entry changes that number."""
        n, d = X.shape
        row = np.repeat(np.arange(n), np.diff(X.indptr))
        bad_zero = ~self._each_allowed(np.zeros(d), np.arange(d))
        change = ~self._each_allowed(X.data, X.indices) ^ bad_zero[X.indices]
        sign = np.where(bad_zero[X.indices], -1.0, 1.0)
        n_bad = bad_zero.sum() + np.bincount(row, change * sign, n)
        if self.groups:
            levels, n_groups = self._levels, len(self.groups)
            group_of = np.full(d, -1, dtype=np.intp)
            group_of[levels.columns] = levels.group
            on_at_zero = self._on_off(np.zeros(d), np.arange(d))[0] & (group_of >= 0)
            n_on_zero = np.bincount(group_of[on_at_zero], minlength=n_groups)
            at = group_of[X.indices] >= 0
            j, row = X.indices[at], row[at]
            delta = self._on_off(X.data[at], j)[0].astype(np.intp) - on_at_zero[j]
            n_on = sp.csr_matrix((delta, (row, group_of[j])), shape=(n, n_groups))
            n_on.sum_duplicates()
            broken_zero = self._breaks(n_on_zero, slice(None))
            broken = self._breaks(n_on.data + n_on_zero[n_on.indices], n_on.indices)
            row = np.repeat(np.arange(n), np.diff(n_on.indptr))
            change = broken.astype(float) - broken_zero[n_on.indices]
            n_bad += broken_zero.sum() + np.bincount(row, change, n)
        return n_bad == 0

    def _each_allowed(self, values, j):
        """Whether each value is one that its feature may take: arrays of equal shape."""
        tolerance = self.tolerance[j]
        ok = (values >= self.lower[j] - tolerance) & (values <= self.upper[j] + tolerance)
        on_step = self.step[j] > 0.0
        ok[on_step] &= self._on_lattice(values[on_step], j[on_step])
        if self.groups:
            grouped = np.zeros(len(self.lower), dtype=bool)
            grouped[self._levels.columns] = True
            of_group = grouped[j]
            on, off = self._on_off(values[of_group], j[of_group])
            ok[of_group] &= on | off
        return ok

    def _on_lattice(self, values, j):
        origin, step = self.origin[j], self.step[j]
        return np.abs(origin + np.rint((values - origin) / step) * step - values) <= self.tolerance[j]

    def _on_off(self, values, j):
        """Whether each value is the upper, and the lower, of its feature."""
        tolerance = self.tolerance[j]
        return np.abs(values - self.upper[j]) <= tolerance, np.abs(values - self.lower[j]) <= tolerance

    def _breaks(self, n_on, groups):
        """Whether so many levels break the rule of each group."""
        return (n_on > 1) | (self._levels.exactly[groups] & (n_on == 0))

    def __eq__(self, other) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return self.groups == other.groups and _same_arrays(self, other, ("lower", "upper", "origin", "step"))

    __hash__ = None


# -- what a user writes ---------------------------------------------------------------------------


class FeatureSpace:
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
        labels=None,
        names=None,
    ):
        self.lower, self.upper = _bounds(lower, "lower"), _bounds(upper, "upper")
        self.integer = () if integer is None else _spec(integer, "integer")
        self.lattice = tuple((spec, _origin_and_step(value, spec)) for spec, value in _pairs(lattice, "lattice"))
        self.one_hot, self.at_most_one = _groups(one_hot, "one_hot"), _groups(at_most_one, "at_most_one")
        self.fixed = tuple((spec, _pin(value, spec)) for spec, value in _pairs(fixed, "fixed"))
        self.labels, self.names = _labels(labels), _names(names)
        self.canonical = None
        self._regions = {}
        known = self._known_labels()
        if len(known) > 2:
            raise ValueError(f"labels, lower and upper must name two labels at most, got {known}")
        if self._per_label and self.labels is None and len(known) < 2:
            raise ValueError(
                f"lower and upper have bounds for the label {known[0]!r} only; labels={known} allows no other"
            )
        for label in self._labels_told_apart():
            _check_order(*self._bounds_of(label), self.names)
        if self.n_features is not None and not self._unknown_names():
            for label in self._labels_told_apart():
                self._region(label, self.n_features)

    @classmethod
    def from_data(cls, X, integer="infer", **rules) -> FeatureSpace:
        """The smallest space that holds every row of X.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
            The bounds are the minimum and the maximum of every feature. The names of a DataFrame
            are taken over.
        integer : "infer", None or features
            "infer": a column of whole numbers is integer (with 0 and 1: binary), and a column of
            two other values is a lattice of these two. None: neither; features: these are integer.
        **rules
            ``lattice``, ``one_hot``, ``at_most_one``, ``fixed``, ``labels``, ``names`` of the space.
            They go before what is inferred.

        Raises
        ------
        ValueError
            If a row has not the one level on that a group demands.

        Examples
        --------
        >>> from mtpfast import FeatureSpace
        >>> FeatureSpace.from_data([[38, 0.5, 0.25], [17, 0.2, 1.0], [52, 0.9, 1.0]])
        FeatureSpace(lower=[17.  ,  0.2 ,  0.25], upper=[52. ,  0.9,  1. ], integer=[0], lattice={2: (0.25, 0.75)})
        """
        for bound in ("lower", "upper"):
            if bound in rules:
                raise TypeError(f"from_data takes {bound} from X; write FeatureSpace(lower, upper, ...) instead")
        if rules.get("names") is None:
            rules["names"] = _column_names(X)
        X = check_X(X)
        low, high = X.min(axis=0), X.max(axis=0)
        if sp.issparse(X):
            low, high = low.toarray().ravel(), high.toarray().ravel()
        if not (isinstance(integer, str) and integer == "infer"):
            space = cls(low, high, integer=integer, **rules)
        else:
            bare = cls(low, high, **rules)
            ruled = bare._ruled()
            whole, two = _whole_and_two_valued(X, low, high)
            lattice = tuple((int(j), (low[j], high[j] - low[j])) for j in np.flatnonzero(two & ~ruled))
            rules["lattice"] = (*bare.lattice, *lattice)
            space = cls(low, high, integer=np.flatnonzero(whole & ~ruled), **rules)
        if space.one_hot or space.at_most_one:
            space._check_groups(X)
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
        names = _names(names)
        if names is not None and self.names is not None and names != self.names:
            if len(names) != len(self.names):
                raise ValueError(f"feasible_set has {len(self.names)} names, the data has {len(names)} features")
            j = next(j for j, (own, other) in enumerate(zip(self.names, names, strict=True)) if own != other)
            raise ValueError(f"feature {j} is {self.names[j]!r} in feasible_set, {names[j]!r} in the data")
        names = self.names if names is None else names

        def to_sign(label):
            return label if classes is None else _sign(label, classes)

        position = _positions(names)

        def to_index(spec, argument):
            return _to_index(spec, position, argument)

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
            labels=None if self.labels is None else [to_sign(label) for label in self.labels],
            names=names,
        )
        bound.canonical = self.canonical
        return bound

    def _with_canonical(self, canonical) -> FeatureSpace:
        """The same space, whose points go through ``canonical`` (from and to (n, d) arrays) before use."""
        other = copy.copy(self)
        other.canonical = canonical
        return other

    def regions(self, n_features: int) -> dict[float, Region]:
        """The points of every allowed label: +1. first, then -1.; equal regions are one object.

        Raises
        ------
        ValueError
            If the space does not fit ``n_features``, or its rules contradict one another; or if its
            labels are not -1 and +1 (see :meth:`bind`).
        """
        signs = (-1.0, 1.0)
        own = {_sign(label, signs): label for label in self._known_labels()}
        allowed = signs if self.labels is None else [_sign(label, signs) for label in self.labels]
        return {sign: self._region(own.get(sign, sign), n_features) for sign in (1.0, -1.0) if sign in allowed}

    def bounds(self, n_features: int) -> tuple[np.ndarray, np.ndarray]:
        """The smallest box that holds every region: lower and upper, of shape (n_features,)."""
        regions = [self._region(label, n_features) for label in self._labels_told_apart()]
        if len(regions) == 1:
            return regions[0].lower, regions[0].upper
        return (
            np.minimum.reduce([region.lower for region in regions]),
            np.maximum.reduce([region.upper for region in regions]),
        )

    @property
    def is_box(self) -> bool:
        """Whether it is one plain box for both labels: neither lattices nor groups."""
        rules = len(self.integer) if isinstance(self.integer, tuple) else 1
        one = not isinstance(self.lower, dict) and not isinstance(self.upper, dict)
        both = self.labels is None or len(self.labels) == 2
        return one and both and not (rules or self.lattice or self.one_hot or self.at_most_one)

    @property
    def n_features(self) -> int | None:
        """The number of features, where the arguments tell it."""
        for bound in (self.lower, self.upper):
            for value in bound.values() if isinstance(bound, dict) else (bound,):
                if np.ndim(value) == 1:
                    return len(value)
        if self.names is not None:
            return len(self.names)
        masks = [spec for _, spec in self._specs() if isinstance(spec, np.ndarray)]
        return len(masks[0]) if masks else None

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
                    reason = space._first_broken(region, x)
                reasons[i].append((label, reason))
        return [
            "; ".join(reason if len(found) == 1 else f"label {label!r}: {reason}" for label, reason in found)
            for found in reasons
        ]

    def __eq__(self, other) -> bool:
        """Whether the spaces hold the same points: rules are compared by what they say, not how."""
        if not isinstance(other, FeatureSpace):
            return NotImplemented
        if self._allowed() != other._allowed():
            return False
        if self._unknown_names() or other._unknown_names():
            return self._written() == other._written()
        known = {space.n_features for space in (self, other)} - {None}
        if len(known) > 1:
            return False
        # Where no argument tells the number of features: a slice that ends with the features and one
        # that ends at an index differ at one of two numbers past every index.
        least = max(self._least_features(), other._least_features())
        try:
            return all(self._points(d) == other._points(d) for d in known or (least + 1, least + 2))
        except ValueError:  # the rules of one do not fit the other's number of features
            return False

    __hash__ = None

    def __repr__(self) -> str:
        parts = [f"lower={_show(self.lower)}", f"upper={_show(self.upper)}"]
        if self._any(self.integer):
            parts.append(f"integer={self._show_integer()}")
        for name in ("lattice", "one_hot", "at_most_one", "fixed"):
            if getattr(self, name):
                parts.append(f"{name}={self._show_rule(name)}")
        if self.labels is not None:
            parts.append(f"labels={list(self.labels)}")
        if self.names is not None:
            short = len(self.names) <= SHOWN
            parts.append(f"names={list(self.names) if short else f'<{len(self.names)} names>'}")
        return f"FeatureSpace({', '.join(parts)})"

    # -- of labels ----------------------------------------------------------------------------

    def _known_labels(self):
        """Every label that the arguments name."""
        bounds = [b for b in (self.lower, self.upper) if isinstance(b, dict)]
        return list(dict.fromkeys([*(self.labels or ()), *(label for bound in bounds for label in bound)]))

    def _labels_told_apart(self):
        """The allowed labels if bounds depend on the label; otherwise one None for all of them."""
        if not self._per_label:
            return [None]
        return self._known_labels() if self.labels is None else list(self.labels)

    @property
    def _per_label(self):
        return isinstance(self.lower, dict) or isinstance(self.upper, dict)

    def _allowed(self):
        """The allowed labels as a set, None for both."""
        labels = self._known_labels() if self.labels is None else self.labels
        return None if not labels or set(labels) == {-1.0, 1.0} else frozenset(labels)

    def _bounds_of(self, label):
        found = []
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if isinstance(bound, dict):
                if label not in bound:
                    raise ValueError(f"{name} has bounds for the labels {list(bound)}, none for {label!r}")
                bound = bound[label]
            found.append(bound)
        return found

    # -- of features --------------------------------------------------------------------------

    def _specs(self):
        """Every specification of features, with the argument it stands in."""
        yield "integer", self.integer
        for name in ("lattice", "fixed"):
            yield from ((name, spec) for spec, _ in getattr(self, name))
        for name in ("one_hot", "at_most_one"):
            yield from ((f"{name}[{i}]", spec) for i, spec in enumerate(getattr(self, name)))

    def _unknown_names(self):
        """Whether features are named while the names are unknown."""
        return self.names is None and any(_is_named(spec) for _, spec in self._specs())

    @cached_property
    def _position(self):
        return _positions(self.names)

    def _least_features(self):
        """A number of features that no index in the arguments exceeds."""
        ends = [0]
        for _, spec in self._specs():
            if isinstance(spec, slice):
                ends += [abs(end) for end in (spec.start, spec.stop) if end is not None]
            elif isinstance(spec, (int, tuple)):
                ends += [abs(j) + 1 for j in np.atleast_1d(spec)]
        return max(ends)

    def _any(self, spec):
        return not (isinstance(spec, tuple) and not spec)

    def _columns(self, spec, d, argument):
        """The indices that a specification means, in its order."""
        if isinstance(spec, slice):
            return np.arange(*spec.indices(d))
        if isinstance(spec, np.ndarray):
            if len(spec) != d:
                raise ValueError(f"{argument} has a mask of {len(spec)} features, expected {d}")
            return np.flatnonzero(spec)
        columns = []
        for item in _to_index(spec if isinstance(spec, tuple) else (spec,), self._position, argument):
            if isinstance(item, str):
                raise ValueError(f"{argument} names feature {item!r}, but the names of the features are not known")
            if not -d <= item < d:
                raise ValueError(f"{argument} has feature {item}, out of range for {d} features")
            columns.append(item % d)
        if len(set(columns)) < len(columns):
            twice = next(j for i, j in enumerate(columns) if j in columns[:i])
            raise ValueError(f"{argument} lists {self._feature(twice)} twice")
        return np.array(columns, dtype=np.intp)

    def _feature(self, j):
        return f"feature {j}" if self.names is None else f"feature {j} ({self.names[j]!r})"

    def _features(self, columns):
        """Several features in words: the first few."""
        shown = [str(j) if self.names is None else repr(self.names[j]) for j in columns[:SHOWN].tolist()]
        return ", ".join([*shown, "..."] if len(columns) > SHOWN else shown)

    def _ruled(self):
        """The features that a lattice, a group or a pin speaks of: boolean array of shape (d,)."""
        ruled = np.zeros(self.n_features, dtype=bool)
        for argument, spec in self._specs():
            if argument != "integer":
                ruled[self._columns(spec, len(ruled), argument)] = True
        return ruled

    # -- the normal form ----------------------------------------------------------------------

    def _region(self, label, d) -> Region:
        key = (label if self._per_label else None, d)
        if key not in self._regions:
            self._regions[key] = self._normal_form(label, d)
        return self._regions[key]

    def _normal_form(self, label, d):
        bounds = self._bounds_of(label)
        _check_order(*bounds, self.names)
        for name, bound in zip(("lower", "upper"), bounds, strict=True):
            if np.ndim(bound) == 1 and len(bound) != d:
                raise ValueError(f"feasible_set has {len(bound)} features in {name}, expected {d}")
        if self.names is not None and len(self.names) != d:
            raise ValueError(f"feasible_set has {len(self.names)} names, expected {d}, one for each feature")
        lower, upper = (np.array(np.broadcast_to(bound, d), dtype=float) for bound in bounds)
        origin, step = self._lattices(d)
        groups = self._disjoint_groups(d)
        pinned, values = self._pins(d)
        tolerance = self._tighten(lower, upper, origin, step, groups)
        kept = []
        for argument, columns, exactly in groups:
            left = self._levels_left(argument, columns, exactly, lower, upper, tolerance, pinned, values)
            pinned[columns] = False  # done
            if len(left) == 1:
                j = left[0]
                origin[j], step[j] = lower[j], upper[j] - lower[j]
            elif len(left):
                kept.append(Group(*map(_read_only, (left, lower[left], upper[left])), exactly))
        for j in np.flatnonzero(pinned):
            lower[j] = upper[j] = self._pinned_value(j, values[j], lower, upper, origin, step, tolerance)
        step[lower == upper] = 0.0
        origin[step == 0.0] = 0.0
        return Region(lower, upper, origin, step, tuple(kept), tolerance)

    def _lattices(self, d):
        """Origin and step of every feature; step 0 where there is no lattice."""
        origin, step = np.zeros(d), np.zeros(d)
        step[self._columns(self.integer, d, "integer")] = 1.0
        for spec, (first, width) in self.lattice:
            columns = self._columns(spec, d, "lattice")
            if np.any(step[columns] > 0.0):
                j = columns[np.argmax(step[columns] > 0.0)]
                raise ValueError(f"{self._feature(j)} has two lattices, from integer and lattice")
            origin[columns], step[columns] = first, width
        return origin, step

    def _disjoint_groups(self, d):
        """(argument, columns in increasing order, exactly) of every group."""
        owner, groups = {}, []
        for name, exactly in (("one_hot", True), ("at_most_one", False)):
            for i, spec in enumerate(getattr(self, name)):
                argument = f"{name}[{i}]"
                columns = self._columns(spec, d, argument)
                if len(columns) == 0:
                    raise ValueError(f"{argument} holds no feature")
                for j in columns.tolist():
                    if j in owner:
                        raise ValueError(f"{self._feature(j)} is in {owner[j]} and in {argument}: groups overlap")
                    owner[j] = argument
                groups.append((argument, np.sort(columns), exactly))
        return groups

    def _pins(self, d):
        """Which features are pinned, and to what."""
        pinned, values = np.zeros(d, dtype=bool), np.zeros(d)
        for spec, value in self.fixed:
            columns = self._columns(spec, d, "fixed")
            if np.ndim(value) == 1 and len(value) != len(columns):
                raise ValueError(f"fixed has {len(value)} values for the {len(columns)} features {_show_spec(spec)}")
            value = np.broadcast_to(value, len(columns))
            clash = pinned[columns] & (values[columns] != value)
            if np.any(clash):
                j = columns[np.argmax(clash)]
                both = sorted((values[j], value[np.argmax(clash)]))
                raise ValueError(f"fixed pins {self._feature(j)} to {both[0]:g} and to {both[1]:g}")
            pinned[columns], values[columns] = True, value
        return pinned, values

    def _tighten(self, lower, upper, origin, step, groups):
        """Move the bounds to the outermost lattice values, in place; the tolerance of every feature.

        In a group the bounds themselves are the values, and have to be on the lattice.
        """
        j = np.flatnonzero(step > 0.0)
        tolerance = np.zeros(len(lower))
        tolerance[j] = _tolerance(lower[j], upper[j], origin[j], step[j])
        coarse = tolerance[j] > 0.25 * step[j]
        if np.any(coarse):
            i = j[np.argmax(coarse)]
            raise ValueError(
                f"{self._feature(i)} has a step of {step[i]:g}, too small to tell its values apart "
                f"between {lower[i]:g} and {upper[i]:g}"
            )
        first = np.ceil((lower[j] - origin[j] - tolerance[j]) / step[j])
        last = np.floor((upper[j] - origin[j] + tolerance[j]) / step[j])
        # A bound that is a lattice value but for its last digits is the value meant; whole numbers are exact.
        exact = (origin[j] == 0.0) & (step[j] == 1.0)
        ends = []
        for bound, k in ((lower[j], first), (upper[j], last)):
            value = origin[j] + k * step[j]
            ends.append(np.where(~exact & (np.abs(value - bound) <= tolerance[j]), bound, value))
        for argument, columns, _ in groups:
            for i in columns[step[columns] > 0.0]:
                at = np.searchsorted(j, i)
                if max(abs(ends[0][at] - lower[i]), abs(ends[1][at] - upper[i])) > tolerance[i]:
                    kind = _kind(origin[i], step[i])
                    raise ValueError(
                        f"{self._feature(i)} is in {argument} and takes {kind} only, but its bounds, off "
                        f"{_text(lower[i])} and on {_text(upper[i])}, are not"
                    )
            step[columns] = 0.0
            tolerance[columns] = LATTICE_TOL * (upper[columns] - lower[columns])
        ruled = step[j] > 0.0
        empty = ruled & (first > last)
        if np.any(empty):
            i = j[np.argmax(empty)]
            kind = _kind(origin[i], step[i])
            raise ValueError(
                f"{self._feature(i)} takes {kind} only, and there is none in [{_text(lower[i])}, {_text(upper[i])}]"
            )
        # + 0.0 turns -0. into 0.
        lower[j[ruled]], upper[j[ruled]] = ends[0][ruled] + 0.0, ends[1][ruled] + 0.0
        return tolerance

    def _levels_left(self, argument, columns, exactly, lower, upper, tolerance, pinned, values):
        """The columns of a group that may be on or off, after pinning all others (in place)."""
        open_ = lower[columns] < upper[columns]
        forced = []
        for j in columns[pinned[columns]]:
            off, on = (abs(values[j] - end) <= tolerance[j] for end in (lower[j], upper[j]))
            if not (off or on):
                raise ValueError(
                    f"{self._feature(j)} is pinned to {_text(values[j])}, but as a level of {argument} it is "
                    f"{_text(lower[j])} (off) or {_text(upper[j])} (on)"
                )
            if on and not off:
                forced.append(j)
        if len(forced) > 1:
            raise ValueError(
                f"{self._feature(forced[0])} and {self._feature(forced[1])} are both pinned on, but at most one "
                f"level of {argument} can be"
            )
        left = columns[open_ & ~pinned[columns]]
        if not forced and exactly and len(left) <= 1:
            if len(left) == 0 and np.any(open_):
                raise ValueError(
                    f"every level of {argument} is pinned off ({self._features(columns)}), but exactly one must be on"
                )
            forced = left.tolist()
        if forced:
            left = columns[:0]
        gone = np.setdiff1d(columns, left)
        upper[gone] = np.where(np.isin(gone, forced), upper[gone], lower[gone])
        lower[gone] = upper[gone]
        return left

    def _pinned_value(self, j, value, lower, upper, origin, step, tolerance):
        if step[j] > 0.0:
            nearest = origin[j] + np.rint((value - origin[j]) / step[j]) * step[j]
            if abs(nearest - value) > tolerance[j]:
                kind = _kind(origin[j], step[j])
                raise ValueError(f"{self._feature(j)} is pinned to {_text(value)}, but it takes {kind} only")
            value = nearest if _whole(origin[j], step[j]) else value
        if not lower[j] - tolerance[j] <= value <= upper[j] + tolerance[j]:
            raise ValueError(
                f"{self._feature(j)} is pinned to {_text(value)}, outside its bounds "
                f"[{_text(lower[j])}, {_text(upper[j])}]"
            )
        return min(max(value, lower[j]), upper[j])

    # -- of rows ------------------------------------------------------------------------------

    def _read(self, X):
        """The space with the names of X, and X as float64 rows."""
        names = _column_names(X)
        X = check_X(np.atleast_2d(X) if not sp.issparse(X) else X, min_rows=0)
        return (self if names is None or names == self.names else self.bind(names)), X

    def _parts(self, X, y):
        """(label, rows, region) of every label: all rows for each if y is None; region None if not allowed."""
        n, d = X.shape
        if y is None:
            return [(label, np.arange(n), self._region(label, d)) for label in self._labels_told_apart()]
        y = np.full(n, y) if np.ndim(y) == 0 else np.asarray(y)
        if y.shape != (n,):
            raise ValueError(f"y must have shape ({n},), one label per row of X, got {y.shape}")
        parts = []
        for label in np.unique(y):
            allowed = self.labels is None or label in self.labels
            rows = np.flatnonzero(y == label)
            parts.append((_plain(label), rows, self._region(_plain(label), d) if allowed else None))
        return parts

    def _check_groups(self, X):
        """Raise if the levels of a row are not those of one record."""
        bare = FeatureSpace(
            self.lower, self.upper, one_hot=self.one_hot, at_most_one=self.at_most_one, names=self.names
        )
        outside = np.flatnonzero(~bare.contains(X))
        if len(outside):
            i = outside[0]
            raise ValueError(f"row {i} of X: {bare.why_not(X[i : i + 1])[0]}")

    def _first_broken(self, region, x):
        bad = np.flatnonzero(~region._each_allowed(x, np.arange(len(x))))
        if len(bad) == 0:
            for group in region.groups:
                on = group.columns[region._on_off(x[group.columns], group.columns)[0]]
                if len(on) > 1:
                    return f"features {self._features(on)} are on, one level of their group may be"
                if group.exactly and len(on) == 0:
                    return f"none of the features {self._features(group.columns)} is on, one level of the group must be"
            return ""
        j = bad[0]
        low, high = _text(region.lower[j]), _text(region.upper[j])
        what = f"{self._feature(j)} is {_text(x[j])}"
        if low == high:
            return f"{what}, pinned to {low}"
        if any(j in group.columns for group in region.groups):
            return f"{what}, a level is {low} (off) or {high} (on)"
        if x[j] < region.lower[j] - region.tolerance[j]:
            return f"{what}, below its lower bound {low}"
        if x[j] > region.upper[j] + region.tolerance[j]:
            return f"{what}, above its upper bound {high}"
        if abs(region.upper[j] - region.lower[j] - region.step[j]) <= region.tolerance[j]:
            return f"{what}, neither {low} nor {high}"
        return f"{what}, not {_kind(region.origin[j], region.step[j], one=True)}"

    # -- of comparison and display ------------------------------------------------------------

    def _points(self, d):
        """What the space means for d features."""
        labels = self._labels_told_apart()
        return {label: self._region(label, d) for label in labels} if self._per_label else self._region(None, d)

    def _written(self):
        """The rules as they are written."""
        return [
            _as_lists(getattr(self, name))
            for name in ("lower", "upper", "integer", "lattice", "one_hot", "at_most_one", "fixed")
        ]

    def _show_integer(self):
        if isinstance(self.integer, tuple) and len(self.integer) <= SHOWN:
            return _show_spec(self._named(self.integer))
        if self.n_features is None or self._unknown_names():
            return _show_spec(self.integer)
        columns = self._columns(self.integer, self.n_features, "integer")
        lower, upper = self.bounds(self.n_features)
        binary = int(np.sum((lower[columns] == 0.0) & (upper[columns] == 1.0)))
        return f"<{len(columns)} features, {binary} of them binary: {self._features(columns)}>"

    def _named(self, spec):
        """The specification with names for indices, where they are known."""
        if self.names is None or isinstance(spec, (slice, np.ndarray, str)):
            return spec
        if isinstance(spec, int):
            return self.names[spec]
        return tuple(item if isinstance(item, str) else self.names[item] for item in spec)

    def _show_rule(self, name):
        rule = getattr(self, name)
        if name in ("one_hot", "at_most_one"):
            specs = [self._named(spec) for spec in rule]
            if sum(_length(spec) for spec in specs) <= 2 * SHOWN:
                return f"[{', '.join(map(_show_spec, specs))}]"
            return f"<{len(rule)} groups>"
        pairs = [(self._named(spec), value) for spec, value in rule]
        if len(pairs) > SHOWN or any(_length(spec) > SHOWN or np.size(value) > SHOWN for spec, value in pairs):
            return f"<of {len(pairs)} specifications of features>"
        hashable = all(isinstance(spec, (int, str)) for spec, _ in pairs)
        between, ends = (": ", "{}") if hashable else (", ", "[]")
        shown = [f"{_show_spec(spec)}{between}{_show_value(value)}" for spec, value in pairs]
        return ends[0] + ", ".join(shown if hashable else (f"({pair})" for pair in shown)) + ends[1]


# -- a pool of rows -------------------------------------------------------------------------------


class CandidatePool:
    """A finite set of candidate rows.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_candidates, n_features)
    y : array-like of shape (n_candidates,), optional
        The label of each candidate, in the labels of the training data; None allows either.
    max_repeats : int, optional
        How often each candidate (with each of its labels) may be used; None: any number of times.

    Examples
    --------
    >>> from mtpfast import CandidatePool
    >>> CandidatePool([[0.0, 1.0], [1.0, 0.0]])
    CandidatePool(2 candidates, 2 features, either label)
    """

    def __init__(self, X, y=None, max_repeats=None):
        self.X = check_X(X, "X_cand")
        self.y = None
        self.max_repeats = None if max_repeats is None else check_count(max_repeats, "max_repeats")
        self._largest = None
        if y is not None:
            self.y = np.asarray(y)
            if self.y.shape != (self.X.shape[0],):
                raise ValueError(f"y must have shape ({self.X.shape[0]},), one label per candidate, got {self.y.shape}")

    @classmethod
    def label_flips(cls, X, y, max_repeats=1) -> CandidatePool:
        """Every row of X with the other label: the pool of a label-flip attack.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Two labels, any.
        max_repeats : int or None, default=1

        Examples
        --------
        >>> from mtpfast import CandidatePool
        >>> CandidatePool.label_flips([[0.0, 1.0], [1.0, 0.0]], ["spam", "ham"]).y.tolist()
        ['ham', 'spam']
        """
        y = np.asarray(y)
        if y.ndim != 1:
            raise ValueError(f"y must be one-dimensional, got shape {y.shape}")
        classes = np.unique(y)
        if len(classes) != 2:
            raise ValueError(f"y must hold two labels to flip, got {classes[:5].tolist()}")
        return cls(X, np.where(y == classes[0], classes[1], classes[0]), max_repeats)

    def bind(self, names=None, classes=None) -> CandidatePool:
        """The same pool with the labels -1. and +1., for the layers below.

        Parameters
        ----------
        names : ignored
            As in :meth:`FeatureSpace.bind`; a pool names no features.
        classes : array-like of shape (2,), optional
            The labels that stand for -1 and +1.
        """
        if self.y is None or classes is None:
            return self
        classes = np.asarray(classes)
        unknown = ~np.isin(self.y, classes)
        if np.any(unknown):
            i = int(np.argmax(unknown))
            raise ValueError(
                f"y of the pool must hold the labels {classes.tolist()}, got {_plain(self.y[i])!r} in row {i}"
            )
        bound = copy.copy(self)
        bound.y = np.where(self.y == classes[1], 1.0, -1.0)
        return bound

    def signs(self) -> np.ndarray | None:
        """The labels as -1. and +1., or None where either is allowed."""
        return None if self.y is None else check_labels(self.y, self.X.shape[0], "y of the pool", "X_cand", both=False)

    def check(self, n_features: int) -> None:
        """Raise if the candidates have another number of features."""
        if self.X.shape[1] != n_features:
            raise ValueError(f"feasible_set has {self.X.shape[1]} features in X_cand, expected {n_features}")

    def largest(self) -> np.ndarray:
        """The largest |x~[j]| of every column, with the 1 of the intercept at the end."""
        if self._largest is None:
            ends = self.X.max(axis=0), -self.X.min(axis=0)
            size = np.maximum(*(end.toarray().ravel() if sp.issparse(end) else end for end in ends))
            self._largest = np.append(size, 1.0)
        return self._largest

    def contains(self, X) -> np.ndarray:
        """For every row of X, whether it equals a candidate: boolean array of shape (n_rows,)."""
        X = check_X(np.atleast_2d(X) if not sp.issparse(X) else X, n_features=self.X.shape[1], min_rows=0)
        known = set(_row_keys(self.X))
        return np.array([key in known for key in _row_keys(X)], dtype=bool)

    def __eq__(self, other) -> bool:
        """Whether the candidates and their labels are the same, in the same order."""
        if not isinstance(other, CandidatePool):
            return NotImplemented
        if self.X.shape != other.X.shape or self.max_repeats != other.max_repeats or not _same(self.y, other.y):
            return False
        if sp.issparse(self.X) or sp.issparse(other.X):
            return (sp.csr_matrix(self.X) != sp.csr_matrix(other.X)).nnz == 0
        return np.array_equal(self.X, other.X)

    __hash__ = None

    def __repr__(self) -> str:
        labels = "either label" if self.y is None else "labelled"
        repeats = "" if self.max_repeats is None else f", each at most {self.max_repeats} times"
        return f"CandidatePool({self.X.shape[0]} candidates, {self.X.shape[1]} features, {labels}{repeats})"


def _same(y, other):
    return y is other if y is None or other is None else np.array_equal(y, other)


def _row_keys(X):
    """A hashable value per row, equal for equal rows."""
    if not sp.issparse(X):
        return (row.tobytes() for row in X + 0.0)  # + 0.0 turns -0. into 0.
    X = X.copy()
    X.eliminate_zeros()
    ends = zip(X.indptr[:-1], X.indptr[1:], strict=True)
    return ((X.indices[a:b].tobytes(), X.data[a:b].tobytes()) for a, b in ends)


# -- reading what the user wrote ------------------------------------------------------------------


def _spec(spec, argument):
    """A specification of features as an int, a str, a slice, a boolean array or a tuple of int and str."""
    if isinstance(spec, slice):
        ends = (spec.start, spec.stop, spec.step)
        if all(end is None or isinstance(end, Integral) for end in ends):
            return slice(*(None if end is None else int(end) for end in ends))
    elif _is_feature(spec):
        return _plain(spec)
    elif isinstance(spec, Iterable) and not isinstance(spec, (Mapping, bytes)):
        items = list(spec)
        if items and all(isinstance(item, (bool, np.bool_)) for item in items):
            return _read_only(np.array(items, dtype=bool))
        if all(map(_is_feature, items)):
            return tuple(map(_plain, items))
    raise TypeError(f"{argument}: features are an index, a slice, a mask, a name or a sequence of these, got {spec!r}")


def _is_feature(item):
    return isinstance(item, (str, Integral)) and not isinstance(item, (bool, np.bool_))


def _is_named(spec):
    return isinstance(spec, str) or (isinstance(spec, tuple) and any(isinstance(item, str) for item in spec))


def _length(spec):
    """How many features a specification lists; a slice or a mask counts as many."""
    return len(spec) if isinstance(spec, tuple) else 1 if isinstance(spec, (int, str)) else SHOWN + 1


def _to_index(spec, position, argument):
    """The specification with an index for every name; names stay if ``position`` is None."""
    if position is None or not _is_named(spec):
        return spec
    if isinstance(spec, tuple):
        return tuple(_to_index(item, position, argument) for item in spec)
    if spec not in position:
        known = ", ".join(map(repr, list(position)[:SHOWN])) + (", ..." if len(position) > SHOWN else "")
        raise ValueError(f"{argument} names feature {spec!r}, which is none of {known}")
    return position[spec]


def _positions(names):
    return None if names is None else {name: j for j, name in enumerate(names)}


def _groups(value, argument):
    if value is None:
        return ()
    if isinstance(value, (str, slice, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a list of groups, each several features, got {value!r}")
    specs = []
    for i, spec in enumerate(value):
        if _is_feature(spec) or isinstance(spec, (bool, np.bool_)):
            raise TypeError(f"{argument} must be a list of groups, each several features, got {spec!r} as a group")
        specs.append(_spec(spec, f"{argument}[{i}]"))
    return tuple(specs)


def _pairs(value, argument):
    """(features, value) pairs of a mapping, or of a sequence of pairs: a list or a mask is no key."""
    if value is None:
        return []
    try:
        pairs = [(spec, item) for spec, item in (value.items() if isinstance(value, Mapping) else value)]
    except (TypeError, ValueError):
        raise TypeError(f"{argument} must map features to values, or be a sequence of pairs, got {value!r}") from None
    return [(_spec(spec, argument), item) for spec, item in pairs]


def _origin_and_step(value, spec):
    try:
        origin, step = (float(part) for part in value)
    except (TypeError, ValueError):
        raise TypeError(f"lattice must map features to (origin, step), got {value!r} for {_show_spec(spec)}") from None
    if not (np.isfinite(origin) and np.isfinite(step) and step > 0.0):
        raise ValueError(
            f"lattice must have a finite origin and a finite step above 0, got {(origin, step)} for {_show_spec(spec)}"
        )
    return origin, step


def _pin(value, spec):
    try:
        value = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"fixed must map features to numbers, got {value!r} for {_show_spec(spec)}") from None
    if value.ndim > 1:
        raise ValueError(f"fixed must map features to one number each, got shape {value.shape} for {_show_spec(spec)}")
    if not np.all(np.isfinite(value)):
        raise ValueError(f"fixed must map features to finite numbers, got {_show_value(value)} for {_show_spec(spec)}")
    return float(value) if value.ndim == 0 else _read_only(value)


def _labels(labels):
    if labels is None:
        return None
    labels = [labels] if np.ndim(labels) == 0 else list(labels)
    labels = tuple(dict.fromkeys(map(_plain, labels)))
    if not labels:
        raise ValueError("labels must hold a label at least, got none")
    return labels


def _sign(label, classes):
    """-1. or +1. for the first or the second of the classes."""
    for sign, known in zip((-1.0, 1.0), classes, strict=True):
        if label == known:
            return sign
    known = [_plain(c) for c in classes]
    raise ValueError(f"feasible_set has rules for the label {label!r}, the labels are {known}")


def _names(names):
    if names is None:
        return None
    names = list(names)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise TypeError(f"names must be strings, got {wrong[0]!r}")
    names = tuple(map(str, names))
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"names must differ, got {twice!r} twice")
    return names


def _column_names(X):
    """The names of the columns of a data frame, if all are strings."""
    names = getattr(X, "columns", None)
    return tuple(map(str, names)) if names is not None and all(isinstance(name, str) for name in names) else None


def _bounds(value, name):
    if not isinstance(value, Mapping):
        return _bound(value, name)
    if not value:
        raise ValueError(f"{name} must be a number, one number per feature or a mapping of labels, got no label")
    return {_plain(label): _bound(bound, f"{name}[{_plain(label)!r}]") for label, bound in value.items()}


def _bound(value, name):
    try:
        bound = np.array(value, dtype=float)  # a copy: the caller may change the original
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number or one number per feature, got {value!r}") from None
    if bound.ndim > 1:
        raise ValueError(f"{name} must be a number or one number per feature, got shape {bound.shape}")
    if not np.all(np.isfinite(bound)):
        bad = ~np.isfinite(bound.ravel())
        at = f" at feature {np.argmax(bad)}" if bound.ndim else ""
        raise ValueError(
            f"{name} must be finite (the maximum over an unbounded set is infinite), got {bound.ravel()[bad][0]:g}{at}"
        )
    return float(bound) if bound.ndim == 0 else _read_only(bound)


def _check_order(lower, upper, names):
    try:
        low, high = np.broadcast_arrays(lower, upper)
    except ValueError:
        raise ValueError(f"lower and upper disagree: {np.size(lower)} and {np.size(upper)} features") from None
    if np.any(low > high):
        j = int(np.argmax(np.ravel(low > high)))
        name = f" ({names[j]!r})" if names is not None and np.ndim(low) and j < len(names) else ""
        raise ValueError(f"lower > upper at feature {j}{name}: {np.ravel(low)[j]:g} > {np.ravel(high)[j]:g}")


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
    return whole & varies, two & varies & ~whole


# -- small things ---------------------------------------------------------------------------------


def _gamma(n):
    """``n u / (1 - n u)``: the relative error of any n-term sum or product, in any order."""
    return n * UNIT / (1.0 - n * UNIT)


def _whole(origin, step):
    """Whether every value of the lattice is a whole number, hence free of rounding."""
    return (origin == np.rint(origin)) & (step == np.rint(step))


def _tolerance(lower, upper, origin, step):
    """How far a number may lie from a lattice value: 1e-9 of the step, and the rounding of such a value."""
    far = np.maximum(np.abs(lower), np.abs(upper))
    rounding = np.where(_whole(origin, step) & (far <= 2.0**53), 0.0, 8 * UNIT * (np.abs(origin) + far))
    return np.where(step > 0.0, LATTICE_TOL * step + rounding, 0.0)


def _kind(origin, step, one=False):
    if step == 1.0 and origin == np.rint(origin):
        return "a whole number" if one else "whole numbers"
    return f"{'one of ' if one else 'values '}{_text(origin)} + k * {_text(step)}"


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _read_only(array):
    array.flags.writeable = False
    return array


def _freeze(owner, name, value):
    object.__setattr__(owner, name, _read_only(np.array(value, dtype=float)))


def _same_arrays(one, other, names):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def _as_lists(value):
    """Nested tuples and arrays as lists, to be compared."""
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_as_lists(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _text(value):
    """The shortest decimal that reads back as the number."""
    return repr(float(value)).removesuffix(".0")


def _show(bound):
    if isinstance(bound, dict):
        return "{" + ", ".join(f"{label!r}: {_show(value)}" for label, value in bound.items()) + "}"
    if np.ndim(bound) == 0 or len(bound) <= SHOWN:
        return np.array2string(np.asarray(bound), separator=", ") if np.ndim(bound) else f"{bound:g}"
    return f"<{len(bound)} values in [{np.min(bound):g}, {np.max(bound):g}]>"


def _show_spec(spec):
    if isinstance(spec, np.ndarray):
        return f"<mask: {int(spec.sum())} of {len(spec)} features>"
    if not isinstance(spec, tuple):
        return repr(spec)
    return repr(list(spec)) if len(spec) <= SHOWN else f"<{len(spec)} features: {_start_of(spec)}>"


def _start_of(items):
    return ", ".join(map(repr, items[:3])) + ", ..."


def _show_value(value):
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
