r"""Records some of whose features take, together, one row of a table.

A :class:`Table` says ``x[columns] = rows[k]`` for some k: the values of a code that is no lattice, or the rows that a
clean table has in the columns that an attacker cannot change. With t the choice of a row (one-hot) and u the features
in no table, a point is a linear image of a record of groups,

.. math:: x = L z, \qquad z = (u, t_1, ..., t_T), \qquad c \cdot x = (L^T c) \cdot z,

so that every search and every proof over groups is one over tables: see :meth:`TiedRegion.lift`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frozen import read_only
from mtpfast.arrays.rounding import gamma

from .region import Group, Region
from .specs import Features, broken_rule, text

__all__ = ["Table", "TiedRegion", "tied_region"]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns that take one of some rows: ``columns`` of shape (g,), ``rows`` of shape (m, g), distinct."""

    columns: np.ndarray
    rows: np.ndarray

    def nearest(self, points) -> np.ndarray:
        """The row that is nearest to each point (n, d), in units of the columns' ranges; equal ones first."""
        width = np.ptp(self.rows, axis=0)
        unit = 1.0 / np.where(width > 0.0, width, 1.0)
        rows, part = self.rows * unit, np.asarray(points)[:, self.columns] * unit
        best = np.empty(len(part), dtype=np.intp)
        for first in range(0, len(part), 256):
            some = part[first : first + 256]
            far = np.zeros((len(some), len(rows)))
            for j in range(rows.shape[1]):
                far += (some[:, j, None] - rows[None, :, j]) ** 2
            best[first : first + 256] = np.argmin(far, axis=1)
        return best


class TiedRegion:
    """A region of records (:class:`Region`) with tables. Its members are those of :class:`mtpfast.spaces.base.Region`.

    The hull is described by the bounds and groups of the other features and the range of every column of a table: a
    superset, on which programs give bounds that hold. Support functions are those of the true hull.
    """

    kind, is_convex, is_box, is_round = "tied", False, False, False
    planes, balls, at_rest = (), (), None

    def __init__(self, outer: Region, tables):
        self.outer, self.tables = outer, tuple(tables)
        for name in ("lower", "upper", "origin", "step", "groups", "tolerance", "stepped"):
            setattr(self, name, getattr(outer, name))

    @cached_property
    def _free(self) -> np.ndarray:
        """The features in no table."""
        free = np.ones(len(self.lower), dtype=bool)
        for table in self.tables:
            free[table.columns] = False
        return np.flatnonzero(free)

    @cached_property
    def flat(self) -> Region:
        """The region of z: the free features, then a group of levels per table."""
        free, at = self._free, len(self._free)
        place = np.full(len(self.lower), -1)
        place[free] = np.arange(len(free))
        groups = [replace(group, columns=read_only(place[group.columns])) for group in self.outer.groups]
        lower, upper = [self.lower[free]], [self.upper[free]]
        for table in self.tables:
            m = len(table.rows)
            lower.append(np.full(m, float(m == 1)))
            upper.append(np.ones(m))
            if m > 1:
                ends = read_only(np.zeros(m)), read_only(np.ones(m))
                groups.append(Group(read_only(np.arange(at, at + m)), *ends, True))
            at += m
        more = np.zeros(at - len(free))
        origin, step = (np.append(part[free], more) for part in (self.outer.origin, self.outer.step))
        tolerance = np.append(self.tolerance[free], more + 1e-9)
        return Region(np.concatenate(lower), np.concatenate(upper), origin, step, tuple(groups), tolerance)

    def lift(self, coefficients) -> np.ndarray:
        """``L^T c``: what the free features, and every row of every table, add to ``c . x``."""
        parts = [coefficients[self._free]]
        parts += [table.rows @ coefficients[table.columns] for table in self.tables]
        return np.concatenate(parts)

    def lower_to(self, z) -> np.ndarray:
        """``L z`` of a record z of groups: the row of the level that is on, bit for bit."""
        x = np.empty(len(self.lower))
        at = len(self._free)
        x[self._free] = z[:at]
        for table in self.tables:
            x[table.columns] = table.rows[int(np.argmax(z[at : at + len(table.rows)]))]
            at += len(table.rows)
        return x

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None) -> tuple[float, float]:
        """See :meth:`Region.linear_maximum`; the sums over the columns of a table are rounded once more."""
        sizes = np.abs(coefficients) if sizes is None else sizes
        parts, slack = [sizes[self._free]], 0.0
        for table in self.tables:
            part = np.abs(table.rows) @ sizes[table.columns]
            parts.append(part)
            slack += gamma(len(table.columns) + 12) * float(np.max(part))
        value, error = self.flat.linear_maximum(self.lift(coefficients), constant, np.concatenate(parts), size)
        return value, error + 1.01 * slack

    def linear_argmax(self, coefficients) -> np.ndarray:
        """A point of the region where ``coefficients . x`` is largest."""
        return self.lower_to(self.flat.linear_argmax(self.lift(coefficients)))

    def frontier(self, A, a0, P, p0, uphill=None):
        """See :meth:`Region.frontier`."""
        return self.flat.frontier(self.lift(A), a0, self.lift(P), p0, uphill)

    def contains(self, X) -> np.ndarray:
        """For every row of X, whether it is in the region; columns of a table to 1e-12 of their sizes."""
        X = X.toarray() if sp.issparse(X) else np.asarray(X)
        inside = self.outer.contains(X)
        for table in self.tables:
            which = np.flatnonzero(inside)
            off = np.abs(X[np.ix_(which, table.columns)] - table.rows[table.nearest(X[which])])
            inside[which] &= np.all(off <= self._room(table), axis=1)
        return inside

    def _room(self, table):
        return 1e-12 * np.maximum(1e-300, np.max(np.abs(table.rows), axis=0))

    def broken_rule(self, x, features: Features) -> str:
        """The first rule that a point breaks; "" if it is inside."""
        for table in self.tables:
            near = table.rows[table.nearest(x[None])[0]]
            if np.any(np.abs(x[table.columns] - near) > self._room(table)):
                if len(table.columns) == 1:
                    name, value = features.name(table.columns[0]), text(x[table.columns[0]])
                    return f"{name} is {value}, none of the {len(table.rows)} values of its table"
                return f"features {features.several(table.columns)} are together in none of the rows of their table"
        return broken_rule(self.outer, x, features)

    def __eq__(self, other) -> bool:
        if not isinstance(other, TiedRegion):
            return NotImplemented
        return (
            self.outer == other.outer
            and len(self.tables) == len(other.tables)
            and all(
                np.array_equal(one.columns, two.columns) and np.array_equal(one.rows, two.rows)
                for one, two in zip(self.tables, other.tables, strict=True)
            )
        )

    __hash__ = None


def tied_region(region: Region, tied, features: Features) -> TiedRegion:
    """A region with the tables of a feature space, of which the rows outside its bounds are left out.

    ``tied``: (features, rows) as the space holds them. ValueError, naming the features, where a table has no row left,
    or one of its columns another rule.
    """
    tables, owner = [], {}
    lower, upper = region.lower.copy(), region.upper.copy()
    grouped = {int(j) for group in region.groups for j in group.columns}
    for i, (spec, rows) in enumerate(tied):
        argument = f"tied[{i}]"
        columns = features.columns(spec, argument)
        if rows.shape[1] != len(columns):
            raise ValueError(f"{argument} has rows of {rows.shape[1]} values for {len(columns)} features")
        for j in columns.tolist():
            if j in owner or j in grouped or region.step[j] > 0.0:
                other = owner.get(j, "a group" if j in grouped else "a lattice")
                raise ValueError(f"{features.name(j)} is in {argument} and in {other}")
            owner[j] = argument
        room = 1e-12 * np.maximum(np.abs(rows), 1e-300)
        kept = np.all((rows >= lower[columns] - room) & (rows <= upper[columns] + room), axis=1)
        if not np.any(kept):
            raise ValueError(f"{argument}: no row of the table is within the bounds of {features.several(columns)}")
        order = np.argsort(columns, kind="stable")
        rows = np.unique(rows[kept][:, order], axis=0)
        columns = columns[order]
        lower[columns], upper[columns] = rows.min(axis=0), rows.max(axis=0)
        tables.append(Table(read_only(columns), read_only(rows)))
    tables.sort(key=lambda table: table.columns[0])
    outer = Region(lower, upper, region.origin, region.step, region.groups, region.tolerance)
    return TiedRegion(outer, tables)
