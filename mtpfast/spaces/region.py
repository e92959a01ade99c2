"""One label's points in normal form, and what a linear function or two can reach on them.

A :class:`Region` is what the package reads of a feature space: a box, lattices, and groups of
columns of which one is on. Its **hull** is the box times, for every group, the simplex of the
levels, ``{off + t * (on - off): t >= 0, sum t = 1}`` (``<= 1`` where no level need be on). The hull
holds every point of the region, so a maximum over it bounds the maximum over the region; and a
linear function attains its maximum over the hull at a point of the region itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frozen import freeze
from mtpfast.arrays.rounding import UNIT, gamma

from .specs import broken_rule

__all__ = ["Group", "LATTICE_TOL", "Region", "lattice_tolerance"]


LATTICE_TOL = 1e-9  # how far from a lattice value a number may lie, relative to the step


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

    planes, balls, is_round = (), (), False  # the box and the groups are all there is to the hull

    def __post_init__(self):
        d = len(self.lower)
        for name in ("lower", "upper", "origin", "step"):
            value = getattr(self, name)
            freeze(self, name, np.zeros(d) if value is None else value)
        if self.tolerance is None:
            step = self.step.copy()
            for group in self.groups:
                step[group.columns] = group.on - group.off
            freeze(self, "tolerance", lattice_tolerance(self.lower, self.upper, self.origin, step))
        else:
            freeze(self, "tolerance", self.tolerance)

    @cached_property
    def is_box(self) -> bool:
        """Whether there is neither a group nor a lattice."""
        return not self.groups and not len(self.stepped)

    @property
    def is_convex(self) -> bool:
        """Whether every point of the hull is one of the region: without groups and lattices."""
        return self.is_box

    @cached_property
    def kind(self) -> str:
        """Which search suits: see :class:`mtpfast.spaces.base.Region`."""
        return "box" if self.is_box else "records"

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
    def level_arrays(self) -> tuple[np.ndarray, ...]:
        """Where the groups start, the columns of all of them with their two values, and the flags ``exactly``."""
        levels = self._levels
        return levels.starts, levels.columns, levels.off, levels.on, levels.exactly.view(np.uint8)

    @cached_property
    def _group_of(self) -> np.ndarray:
        """The group of every column, -1 for none."""
        group_of = np.full(len(self.lower), -1, dtype=np.intp)
        for i, group in enumerate(self.groups):
            group_of[group.columns] = i
        return group_of

    @cached_property
    def _far(self) -> np.ndarray:
        """The largest |x[j]|; in groups |off|, as their on-values are counted once per group."""
        far = np.maximum(np.abs(self.lower), np.abs(self.upper))
        if self.groups:
            far[self._levels.columns] = np.abs(self._levels.off)
        return far

    @cached_property
    def _nearest_zero(self) -> np.ndarray:
        return self.snap(np.zeros(len(self.lower)))

    @cached_property
    def at_rest(self) -> np.ndarray:
        """Where features stay that move nothing, as far as no data say more: nearest 0, and groups at their first
        level if one must be on."""
        return self.resting(np.zeros(len(self.lower)), np.empty((sum(len(g.columns) for g in self.groups), 0)))

    def resting(self, values, columns) -> np.ndarray:
        """The values (d,) moved into the region; each group at the level that is on in most of the ``columns``, the
        entries of all its columns, one group after the other; none, where that is allowed and as common."""
        x = self.snap(values)
        at = 0
        for group in self.groups:
            block = columns[at : at + len(group.columns)]
            at += len(group.columns)
            on = np.abs(block - group.on[:, None]) <= self.tolerance[group.columns][:, None]
            counts = np.count_nonzero(on, axis=1)
            x[group.columns] = group.off
            best = int(np.argmax(counts))
            if group.exactly or counts[best] > block.shape[1] - np.count_nonzero(np.any(on, axis=0)):
                x[group.columns[best]] = group.on[best]
        return x

    def into(self, x) -> np.ndarray:
        """The point, clipped to the bounds: on a box the nearest one of the region."""
        return np.clip(x, self.lower, self.upper)

    def snap(self, x):
        """The nearest values within the bounds and on the lattices; groups are not looked at."""
        x = np.array(x, dtype=float)
        j = self.stepped
        if len(j):
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
        return value, gamma(n) * total * (1.0 + gamma(n))

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

    def frontier(self, A, a0, P, p0, uphill=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
        bad_zero = ~self.each_allowed(np.zeros(d))
        change = ~self.each_allowed(X.data, X.indices) ^ bad_zero[X.indices]
        sign = np.where(bad_zero[X.indices], -1.0, 1.0)
        n_bad = bad_zero.sum() + np.bincount(row, change * sign, n)
        if self.groups:
            n_groups, group_of = len(self.groups), self._group_of
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

    def broken_rule(self, x, features) -> str:
        """The first rule that a point breaks; "" if it is inside."""
        return broken_rule(self, x, features)

    def each_allowed(self, values, j=None) -> np.ndarray:
        """For every value, whether feature ``j`` (of the same shape; by default, the features in
        their order) may take it. How many levels of a group are on is not looked at."""
        j = np.arange(len(self.lower)) if j is None else j
        tolerance = self.tolerance[j]
        ok = (values >= self.lower[j] - tolerance) & (values <= self.upper[j] + tolerance)
        on_step = self.step[j] > 0.0
        ok[on_step] &= self._on_lattice(values[on_step], j[on_step])
        if self.groups:
            in_group = self._group_of[j] >= 0
            on, off = self._on_off(values[in_group], j[in_group])
            ok[in_group] &= on | off
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
        # The bounds are lattice values, so with equal steps they tell the lattice.
        return self.groups == other.groups and _same_arrays(self, other, ("lower", "upper", "step"))

    __hash__ = None


def lattice_tolerance(lower, upper, origin, step):
    """How far a number may lie from a value of the lattice and count as it; 0 where ``step`` is 0.

    1e-9 of the step, and what rounding may do to ``origin + k step``: nothing if both are whole.
    """
    far = np.maximum(np.abs(lower), np.abs(upper))
    exact = (origin == np.rint(origin)) & (step == np.rint(step)) & (far <= 2.0**53)
    rounding = np.where(exact, 0.0, 8 * UNIT * (np.abs(origin) + far))
    return np.where(step > 0.0, LATTICE_TOL * step + rounding, 0.0)


def _same_arrays(one, other, names):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
