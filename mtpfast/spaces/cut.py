r"""Whole records inside a ball and between planes: what passes a sphere and a slab sanitiser.

The record nearest to a point of the ball need not lie in it, so the points that count are those of

.. math:: R \cap \{\lVert x - c \rVert_2 \le r\} \cap \{\mathrm{low}_i \le a_i \cdot x \le \mathrm{high}_i\},

R the records: lattices, levels, and continuous features. Two facts carry everything.

**A bound.** For every multiplier ``mu >= 0`` of the ball and ``lambda_i`` of the slabs,

.. math:: \max q \cdot x \le \max_{x \in R} \bigl( q' \cdot x - \mu \lVert x - c \rVert^2 \bigr) + \mu r^2
          + \sum_i \max(\lambda_i\, \mathrm{low}_i, \lambda_i\, \mathrm{high}_i), \qquad q' = q - \sum_i \lambda_i a_i,

and the maximum separates: every feature, and every group, is chosen by itself. It is at a record p, and there the
square lies above a plane that touches it, ``|x - c|^2 >= |p - c|^2 + s . (x - p)`` for **every record** x: with
``s_j = off_j + on_j - 2 c_j`` for two values (it is then equal: the square of a 0/1 column is a linear function), with
any ``s_j`` between ``2 (p_j - c_j) - step_j`` and ``2 (p_j - c_j) + step_j`` on a lattice, and with ``2 (p_j - c_j)``
on a continuous feature. So the bound is a linear maximum over R (:meth:`Region.linear_maximum`), rounded as that is.

**A record.** Those that the search for the multipliers meets and that pass; from the best of them single changes (a
level, some steps) while they pass and gain, and at last the continuous features, which among themselves are a convex
region. Found, not proved to be the best: the bound says how far from it it can be.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mtpfast.arrays.rounding import UNIT, gamma

from .convex import ConvexRegion
from .frontier import supported_frontier
from .multiplier import best_multiplier
from .region import Region

__all__ = ["CutRegion", "Moves"]


STEPS = 40  # of the search for one multiplier
VERTICES = 12  # of a frontier, besides those next to what is sought


class Moves(NamedTuple):
    """Single changes of a record: what is added to which column, one or two entries for each."""

    number: np.ndarray  # of the change that an entry belongs to
    column: np.ndarray
    by: np.ndarray
    n: int

    def change(self, coefficients) -> np.ndarray:
        """What every one adds to ``coefficients . x``."""
        return np.bincount(self.number, self.by * coefficients[self.column], self.n)

    def of(self, which) -> Moves:
        """Some of them."""
        place = np.full(self.n, -1)
        place[which] = np.arange(len(which))
        kept = place[self.number] >= 0
        return Moves(place[self.number[kept]], self.column[kept], self.by[kept], len(which))


class Solved(NamedTuple):
    """The relaxed maximum: a mixture of records, the multipliers, and the records met that pass."""

    point: np.ndarray
    slabs: tuple
    ball: float
    met: np.ndarray


class CutRegion:
    """The records of a :class:`Region` that lie in some slabs and in a ball.

    Its members are those of :class:`mtpfast.spaces.base.Region`. The hull is described by the bounds and groups of the
    records, the slabs, the ball, and the plane that takes its place where features have two values.

    Parameters
    ----------
    records : Region
    slabs : sequence of (ndarray of shape (d,), float, float)
        Triples (a, low, high): ``low <= a . x <= high``.
    ball : (ndarray of shape (d,), float), optional
        Center and radius.
    blur : ndarray of shape (d,), optional
        How far what makes points of records moves a value; a point moved so still counts as inside.

    Raises
    ------
    ValueError
        If no record is left, or none was found, naming the rule.

    Notes
    -----
    A linear maximum takes about ten over the records with a ball, and ten times as many for every slab that binds.
    """

    kind = "cut"
    is_convex, is_box, is_round, at_rest = False, False, False, None

    def __init__(self, records: Region, slabs=(), ball=None, blur=None):
        self.records = records
        for name in ("lower", "upper", "origin", "step", "groups", "tolerance", "stepped"):
            setattr(self, name, getattr(records, name))
        d = len(self.lower)
        far = self.tolerance + (np.zeros(d) if blur is None else blur)
        if ball is not None and np.shape(ball[0]) == (d,):
            corner = np.maximum(np.abs(self.lower - ball[0]), np.abs(self.upper - ball[0])) + far
            if float(np.linalg.norm(corner)) * (1.0 + gamma(d + 4)) <= ball[1]:
                ball = None  # it contains everything
        hull = self.hull = ConvexRegion(self.lower - far, self.upper + far, slabs, ball)
        # a record counts as inside by what it stands for
        hull._room = [room + float(np.abs(a) @ far) for (a, _, _), room in zip(hull.slabs, hull._room, strict=True)]
        hull._radius_room += float(np.linalg.norm(far))
        self.ball = hull.ball
        self._grouped = np.zeros(d, dtype=bool)
        for group in self.groups:
            self._grouped[group.columns] = True
        self._loose = (self.upper > self.lower) & (self.step == 0.0) & ~self._grouped
        if self.ball is not None:
            self._bend = self.lower + self.upper - 2.0 * self.ball[0]
        self._last, self._met = (None, None), []
        self._known = self._first()

    @property
    def slabs(self) -> list:
        """Triples (a, low, high), without those that say nothing."""
        return self.hull.slabs

    @property
    def uncut(self) -> bool:
        """Whether slabs and ball say nothing: then all records are inside."""
        return not self.slabs and self.ball is None

    @property
    def balls(self) -> tuple:
        """Pairs (c, r): ``|x - c| <= r``."""
        return self.hull.balls

    # -- which records pass -------------------------------------------------------------------

    def _first(self):
        """A record that passes: the nearest to the center, from where single changes lead between the planes."""
        zero = np.zeros(len(self.lower))
        x = self.records.linear_argmax(zero) if self.ball is None else self._nearest(zero, 1.0)
        if self.ball is not None:
            gap, radius = float(np.linalg.norm(x - self.ball[0])), self.ball[1]
            if not gap <= radius + self.hull._radius_room:
                raise ValueError(
                    f"the ball leaves no record: the nearest is {gap:g} from its center, its radius is {radius:g}"
                )
        starts = [x, *(self.records.linear_argmax(sign * a) for a, _, _ in self.slabs for sign in (1.0, -1.0))]
        for start in starts:
            x = self._climb(start, lambda x, moves: self._off(x) - self._off(x, moves), feasible=False)
            if self._off(x) > 0.0:
                x = self.polished(x, lambda part, x=x: part.into(x), lambda x: -self._off(x))
            if self._off(x) == 0.0:
                return x
        raise ValueError(
            "no record was found that the ball and the slabs contain: if you know some, give them as a CandidatePool"
        )

    def _off(self, x, moves=None):
        """By how much a record, or what every change makes of it, is off, in units of length."""
        total = 0.0 if moves is None else np.zeros(moves.n)
        for (a, low, high), room in zip(self.slabs, self.hull._room, strict=True):
            at = float(a @ x) + (0.0 if moves is None else moves.change(a))
            off = np.maximum(0.0, np.maximum(low - at, at - high) - room)
            total = total + off / float(np.linalg.norm(a))
        if self.ball is not None:
            length = np.sqrt(np.maximum(0.0, self._square(x) + (0.0 if moves is None else self._squares(x, moves))))
            total = total + np.maximum(0.0, length - self.ball[1] - self.hull._radius_room)
        return total

    def _square(self, x):
        off = x - self.ball[0]
        return float(off @ off)

    def _squares(self, x, moves):
        """What every change adds to ``|x - c|^2``."""
        off = 2.0 * (x - self.ball[0])[moves.column] + moves.by
        return np.bincount(moves.number, moves.by * off, moves.n)

    def contains(self, X) -> np.ndarray:
        """For every row of X (an array or CSR), whether it is in the region."""
        return self.records.contains(X) & self.hull.contains(X)

    def broken_rule(self, x, features) -> str:
        """The first rule that a point breaks; "" if it is inside."""
        return self.records.broken_rule(x, features) or self.hull.broken_rule(x, features)

    # -- linear functions ---------------------------------------------------------------------

    @cached_property
    def planes(self) -> tuple:
        """Pairs (a, b): ``a . x <= b`` on all records inside."""
        planes = self.hull.planes
        if self.ball is None:
            return planes
        zero = np.zeros(len(self.lower))
        normal, limit, size, beyond = self._plane(self._nearest(zero, 1.0), zero)
        if not np.any(normal):
            return planes
        far = np.maximum(np.abs(self.lower), np.abs(self.upper))
        return (*planes, (normal, limit + self._slack + 2.0 * gamma(len(far) + 24) * (beyond + float(size @ far))))

    @property
    def _slack(self):
        """How far ``|x - c|^2`` may be above ``r^2`` for what counts as inside."""
        room = self.hull._radius_room
        return 2.0 * room * (2.0 * self.ball[1] + room)

    def _nearest(self, q, mu):
        """The record at which ``q . x - mu |x - c|^2`` is largest."""
        x = self.records.snap(self.ball[0] + q / (2.0 * mu))
        if self.groups:
            columns, table, off, on, exactly = self._levels
            gain = np.append((on - off) * (q - mu * self._bend)[columns], -np.inf)[table]
            best = np.argmax(gain, axis=1)
            number = np.arange(len(best))
            taken = exactly | (gain[number, best] > 0.0)
            x[columns] = off
            chosen = table[number, best][taken]
            x[columns[chosen]] = on[chosen]
        return x

    @cached_property
    def _levels(self):
        """Columns of all groups, their numbers in them group by group (as many in every row), ends, and ``exactly``."""
        starts, columns, off, on, exactly = self.records.level_arrays
        sizes = np.diff(np.append(starts, len(columns)))
        place = np.arange(np.max(sizes))
        table = np.where(place < sizes[:, None], starts[:, None] + place, len(columns))
        return columns, table, off, on, exactly.astype(bool)

    def _plane(self, p, wanted):
        """``(s, b, sizes, size)`` with ``s . x <= b`` for all records in the ball: the plane touches the square at the
        record p, on lattices with a slope as near to ``wanted`` as can be; the sizes of what rounds."""
        center, radius = self.ball
        slope = 2.0 * (p - center)
        slope = np.where(self.step > 0.0, np.clip(wanted, slope - self.step, slope + self.step), slope)
        slope = np.where(self._grouped, self._bend, slope)
        limit = radius * radius - self._square(p) + float(slope @ p)
        ends = np.abs(self.lower) + np.abs(self.upper) + 2.0 * np.abs(center) + self.step
        size = 2.0 * (radius * radius + self._square(p) + float(ends @ np.abs(p)))
        return slope, limit, 4.0 * ends, size

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None) -> tuple[float, float]:
        """``(value, error)``: no record inside has more than ``value + error``; see
        :meth:`mtpfast.spaces.base.Region.linear_maximum`."""
        rest = np.asarray(coefficients, dtype=float)
        sizes = np.abs(rest) if sizes is None else sizes
        size = abs(constant) if size is None else size
        solved, slack = self._solve(rest), 0.0
        for (a, low, high), room, multiplier in zip(self.slabs, self.hull._room, solved.slabs, strict=True):
            if multiplier:
                end = multiplier * (high if multiplier > 0.0 else low)
                rest, constant = rest - multiplier * a, constant + end
                sizes, size = sizes + 2.0 * abs(multiplier) * np.abs(a), size + 2.0 * abs(end)
                slack += 2.0 * abs(multiplier) * room  # contains() lets so much pass
        mu = solved.ball
        if mu:
            slope, limit, more, beyond = self._plane(self._nearest(rest, mu), rest / mu)
            rest, constant = rest - mu * slope, constant + mu * limit
            sizes, size = sizes + mu * more, size + mu * beyond
            slack += mu * self._slack
        value, error = self.records.linear_maximum(rest, constant, sizes, size)
        return value, (error * (1 + len(self.slabs)) + slack) * (1.0 + 8 * UNIT)

    def relaxed(self, coefficients) -> np.ndarray:
        """A mixture of records that is inside on average, and has the most of ``coefficients . x`` of all of them."""
        return self._solve(np.asarray(coefficients, dtype=float)).point

    def met(self, coefficients) -> np.ndarray:
        """Records inside, of shape (n, d), that the search for this maximum has met; one at least."""
        return self._solve(np.asarray(coefficients, dtype=float)).met

    def linear_argmax(self, coefficients) -> np.ndarray:
        """A record inside with much of ``coefficients . x``: found, not proved to have the most."""
        q = np.asarray(coefficients, dtype=float)
        met = self.met(q)
        x = self.climb(met[int(np.argmax(met @ q))], lambda x, moves: moves.change(q))
        return self.polished(x, lambda part: part.linear_argmax(q), lambda x: float(q @ x))

    def frontier(self, A, a0, P, p0, uphill=None):
        """The upper frontier of mixtures that are inside on average; see
        :func:`mtpfast.spaces.frontier.supported_frontier`."""
        return supported_frontier(self.relaxed, A, a0, P, p0, VERTICES, uphill)

    def _solve(self, q) -> Solved:
        key = q.tobytes()
        if self._last[0] != key:  # proofs and searches ask for the same q, one after the other
            self._met = []
            point, multipliers = self._best(q, len(self.slabs) + (self.ball is not None))
            met = np.array([*self._met, self._known])
            self._met = []
            mu = multipliers[0] if self.ball is not None else 0.0
            slabs = multipliers[1:] if self.ball is not None else multipliers
            self._last = key, Solved(point, slabs, mu, met[self._passes(met)])
        return self._last[1]

    def _passes(self, X):
        """Which records pass, those that do by rounding included only where the first does so."""
        inside = np.ones(len(X), dtype=bool)
        for a, low, high in self.slabs:
            at = X @ a
            inside &= (at >= low) & (at <= high)
        if self.ball is not None:
            inside &= np.linalg.norm(X - self.ball[0], axis=1) <= self.ball[1]
        inside[-1] = True
        return inside

    def _best(self, q, n):
        """``(mixture, multipliers)`` of the first n rules, the ball before the slabs, by one inside the other."""
        if n == 0:
            x = self.records.linear_argmax(q)
            self._met.append(x)
            return x, ()
        if n == 1 and self.ball is not None:
            return self._on_ball(q)
        first = self._best(q, n - 1)
        k = n - 1 - (self.ball is not None)
        a, low, high = self.slabs[k]
        at = float(a @ first[0])
        if low - self.hull._room[k] <= at <= high + self.hull._room[k]:
            return first[0], (*first[1], 0.0)
        sign, end = (-1.0, -low) if at < low else (1.0, high)
        a = sign * a

        def point(t, x, inner):
            return t, float(a @ x) - end, float(q @ x), x, inner

        best, share, left, right = best_multiplier(
            lambda t: point(t, *self._best(q - t * a, n - 1)),
            point(0.0, *first),
            max(float(np.max(np.abs(q))) / float(np.max(np.abs(a))), 1e-300),
            float(np.abs(q) @ self.hull._far),
            self.hull._room[k],
            None,
            STEPS,
        )
        return left[3] + share * (right[3] - left[3]), (*best[4], sign * best[0])

    def _on_ball(self, q):
        first, square = self._best(q, 0)[0], self.ball[1] ** 2
        room = 0.5 * self._slack  # so far above r^2 counts as inside
        if self._square(first) <= square + room:
            return first, (0.0,)

        def point(t):
            x = self._nearest(q, t)
            self._met.append(x)
            return t, self._square(x) - square, float(q @ x), x

        reach = max(math.sqrt(self._square(first)), 1e-300)
        best, share, left, right = best_multiplier(
            point,
            (0.0, self._square(first) - square, float(q @ first), first),
            max(float(np.max(np.abs(q))) / reach, 1e-300),
            float(np.abs(q) @ self.hull._far),
            room,
            None,
            STEPS,
        )
        return left[3] + share * (right[3] - left[3]), (best[0],)

    # -- single changes -----------------------------------------------------------------------

    def climb(self, x, gain):
        """From a record inside, by single changes that pass and gain, the best first.

        ``gain(x, moves)``: what every change gains.
        """
        return self._climb(x, gain, True)

    def _climb(self, x, gain, feasible):
        for _ in range(4 * len(x)):
            moves = self._moves(x)
            if feasible and moves.n:
                moves = moves.of(np.flatnonzero(self._allowed(x, moves)))
            if not moves.n:
                break
            gains = gain(x, moves)
            best = int(np.argmax(gains))
            if not gains[best] > 1e-12 * (1.0 + float(np.max(np.abs(gains)))):
                break
            x = self._moved(x, moves, best)
        return x

    def _allowed(self, x, moves):
        inside = np.ones(moves.n, dtype=bool)
        for a, low, high in self.slabs:
            at = float(a @ x) + moves.change(a)
            inside &= (at >= low) & (at <= high)
        if self.ball is not None:
            inside &= self._square(x) + self._squares(x, moves) <= self.ball[1] ** 2
        return inside

    @cached_property
    def _strides(self):
        """Columns on lattices and numbers of steps: one, two, four, ... as far as the range."""
        j = self.stepped
        most = np.rint((self.upper[j] - self.lower[j]) / self.step[j])
        powers = [np.flatnonzero(most >= 2**k) for k in range(int(np.log2(max(np.max(most, initial=1.0), 1.0))) + 1)]
        columns = np.concatenate([j[which] for which in powers]) if len(j) else j
        sizes = np.concatenate([np.full(len(which), 2.0**k) for k, which in enumerate(powers)])
        return columns, sizes * self.step[columns] if len(j) else np.empty(0)

    def _moves(self, x) -> Moves:
        """All single changes of a record: steps of lattices, and other levels of groups."""
        columns, by = self._strides
        columns, by = np.concatenate([columns, columns]), np.concatenate([by, -by])
        room = 0.5 * self.step[columns]
        fits = (x[columns] + by <= self.upper[columns] + room) & (x[columns] + by >= self.lower[columns] - room)
        columns, by = columns[fits], by[fits]
        number, n = np.arange(len(columns)), len(columns)
        parts = [(number, columns, by)]
        for group in self.groups:
            width = group.on - group.off
            is_on = x[group.columns] > group.off + 0.5 * width
            others = np.flatnonzero(~is_on)
            current = np.flatnonzero(is_on)
            m = len(others)
            if len(current) and not group.exactly:  # and none of them
                m += 1
            number = n + np.arange(m)
            parts.append((number[: len(others)], group.columns[others], width[others]))
            if len(current):
                parts.append((number, np.repeat(group.columns[current], m), np.repeat(-width[current], m)))
            n += m
        return Moves(*(np.concatenate([part[i] for part in parts]) for i in range(3)), n)

    def _moved(self, x, moves, k):
        """The record after one change, its values those of the lattice and the levels."""
        x, own = x.copy(), moves.number == k
        x[moves.column[own]] += moves.by[own]
        new = self.records.snap(x)
        new[self._loose] = x[self._loose]
        middle = 0.5 * (self.lower + self.upper)
        new[self._grouped] = np.where(x > middle, self.upper, self.lower)[self._grouped]
        return new

    def polished(self, x, best, worth):
        """A record with its continuous features where they are best, the others as they are.

        ``best(region)``: the best point of the convex region that they are; ``worth(x)``: what is to be large.
        """
        if not np.any(self._loose):
            return x
        lower, upper = (np.where(self._loose, end, x) for end in (self.lower, self.upper))
        try:
            new = best(ConvexRegion(lower, upper, self.slabs, self.ball))
        except ValueError:  # x is inside by rounding only
            return x
        new = np.where(self._loose, new, x)
        return new if worth(new) > worth(x) and self.contains(new[None])[0] else x

    def __eq__(self, other) -> bool:
        if not isinstance(other, CutRegion):
            return NotImplemented
        return self.records == other.records and self.hull == other.hull

    __hash__ = None
