r"""A convex region: a box, cut by slabs and by a ball.

.. math:: \mathrm{lower} \le x \le \mathrm{upper}, \qquad
          \mathrm{low}_i \le a_i \cdot x \le \mathrm{high}_i, \qquad \lVert x - c \rVert \le r

Its support function ``h(q) = max q . x`` is a minimum over multipliers: ``lambda_i`` for every slab, and a part ``u``
of q that the ball takes over from the box,

.. math:: h(q) = \min_{\lambda, u} \; \sum_i \max(\lambda_i\, \mathrm{low}_i,\, \lambda_i\, \mathrm{high}_i)
                 + h_{\mathrm{box}}(q - \lambda_1 a_1 - \dots - u) + c \cdot u + r \lVert u \rVert .

**Any** multipliers give an upper bound, which is what :meth:`ConvexRegion.linear_maximum` computes and rounds; the best
ones close the gap. They are found one inside the other: for given lambda the maximum over box and ball is
``x(t) = c + clip(t q, lower - c, upper - c)`` with the t at which it lies on the sphere (a sort of breakpoints, as
``|x(t) - c|`` rises with t); every ``lambda_i`` is the root of a function of one variable, ``a_i . x``, which falls.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frozen import read_only
from mtpfast.arrays.rounding import UNIT, gamma

from .frontier import supported_frontier
from .multiplier import best_multiplier

__all__ = ["ConvexRegion"]


STEPS = 100  # of the search for one multiplier
VERTICES = 24  # of a frontier with arcs, besides those next to what is sought
CORNERS = 400  # of one without
ROWS = 1024  # of a sparse matrix that are looked at together


class ConvexRegion:
    r"""The points x of a box that lie in some slabs and in a ball.

    Parameters
    ----------
    lower, upper : ndarray of shape (d,)
        May be infinite where the ball bounds the feature.
    slabs : sequence of (ndarray of shape (d,), float, float)
        Triples (a, low, high): ``low <= a . x <= high``; either end may be infinite.
    ball : (ndarray of shape (d,), float), optional
        Center and radius.

    Attributes
    ----------
    lower, upper : ndarray of shape (d,)
        Outer bounds, those of the ball included: finite.
    bounds : pair of ndarray
        The bounds that were given.
    planes, balls : tuple
        What bounds it besides, as :class:`mtpfast.spaces.base.Region` has it.

    Raises
    ------
    ValueError
        If no point is left, naming what leaves none; if the region is not bounded.

    Notes
    -----
    :meth:`contains` forgives what rounding does to ``a . x`` and ``|x - c|`` in d-term sums; what is proved holds for
    all points that it lets pass. A linear maximum is O(d log d) with a ball, O(d) without, and about twenty times as
    much for every slab.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.spaces.convex import ConvexRegion
    >>> region = ConvexRegion(np.zeros(2), np.ones(2), slabs=[(np.array([1.0, 1.0]), 0.0, 1.5)])
    >>> region.linear_argmax(np.array([2.0, 1.0]))
    array([1. , 0.5])
    """

    kind = "convex"
    is_convex, is_box, is_round, groups, at_rest = True, False, False, (), None

    def __init__(self, lower, upper, slabs=(), ball=None):
        lower, upper = np.array(lower, dtype=float), np.array(upper, dtype=float)
        d = len(lower)
        empty = np.flatnonzero(lower > upper)
        if len(empty):
            j = empty[0]
            raise ValueError(f"the bounds leave no point: feature {j} has lower {lower[j]:g} and upper {upper[j]:g}")
        self.bounds = lower.copy(), upper.copy()
        self.ball = None
        if ball is not None:
            center, radius = np.array(ball[0], dtype=float), float(ball[1])
            if center.shape != (d,):
                raise ValueError(f"the ball has {len(center)} features, expected {d}")
            gap = float(np.linalg.norm(np.clip(center, lower, upper) - center))
            if gap > radius * (1.0 + 8 * UNIT):
                raise ValueError(
                    f"the ball leaves no point: the box is {gap:g} from its center, its radius is {radius:g}"
                )
            self.ball = read_only(center), radius
            # rounded outwards
            lower = np.maximum(lower, np.nextafter(center - radius, -np.inf) if radius else center)
            upper = np.minimum(upper, np.nextafter(center + radius, np.inf) if radius else center)
            lower, upper = np.minimum(lower, upper), np.maximum(lower, upper)
        if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(upper))):
            j = int(np.argmin(np.isfinite(lower) & np.isfinite(upper)))
            raise ValueError(
                f"feasible_set is not bounded: feature {j} has no bounds. Give lower and upper, or intersect it with a "
                "FeatureSpace or a Ball"
            )
        self.lower, self.upper = read_only(lower), read_only(upper)
        self.slabs, self._room, self._last = [], [], (None, None)
        for a, low, high in slabs:
            self._add_slab(np.array(a, dtype=float), float(low), float(high))

    def _add_slab(self, a, low, high):
        d = len(self.lower)
        if a.shape != (d,):
            raise ValueError(f"the slab has {len(a)} features, expected {d}")
        if low > high:
            raise ValueError(f"the slab leaves no point: low is {low:g}, above high {high:g}")
        # how far a computed a . x may be from the true one
        room = gamma(d + 4) * float(np.abs(a) @ self._far)
        most, least = float(a @ self._best(a)[0]), float(a @ self._best(-a)[0])
        if least > high + room or most < low - room:
            raise ValueError(
                f"the slab leaves no point: a . x is between {least:g} and {most:g} without it, "
                f"and should be between {low:g} and {high:g}"
            )
        if least < low or most > high:  # others say nothing
            self.slabs.append((read_only(a), low, high))
            self._room.append(room)
            self.__dict__.pop("_anchor", None)
            self._last = None, None

    @cached_property
    def _far(self):
        """The largest |x[j]|."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    @cached_property
    def _radius_room(self):
        """How far a computed ``|x - c|`` may be from the true one."""
        if self.ball is None:
            return 0.0
        center, radius = self.ball
        return gamma(len(center) + 8) * (radius + float(np.linalg.norm(self._far + np.abs(center))))

    @property
    def planes(self) -> tuple:
        """Pairs (a, b): ``a . x <= b``."""
        ends = [((a, high), (-a, -low)) for a, low, high in self.slabs]
        return tuple((a, limit) for pair in ends for a, limit in pair if math.isfinite(limit))

    @property
    def balls(self) -> tuple:
        """Pairs (c, r): ``|x - c| <= r``."""
        return () if self.ball is None else (self.ball,)

    # -- linear functions ---------------------------------------------------------------------

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None) -> tuple[float, float]:
        """The maximum of ``coefficients . x + constant``, and a bound of its error: the dual value (head of this
        module) of the multipliers that were found, with all rounding; see
        :meth:`mtpfast.spaces.base.Region.linear_maximum`."""
        coefficients = np.asarray(coefficients, dtype=float)
        sizes = np.abs(coefficients) if sizes is None else sizes
        size = abs(constant) if size is None else size
        _, multipliers, u = self._best(coefficients)
        n, far = len(coefficients) + 3 * len(self.slabs) + 24, self._far
        rest, value, error, slack = coefficients, constant, float(sizes @ far) + size, 0.0
        for (a, low, high), room, multiplier in zip(self.slabs, self._room, multipliers, strict=True):
            if multiplier == 0.0:
                continue
            end = high if multiplier > 0.0 else low
            rest = rest - multiplier * a
            value += multiplier * end
            error += abs(multiplier) * (float(np.abs(a) @ far) + abs(end))
            slack += 2.0 * abs(multiplier) * room  # contains() lets so much pass
        if u is not None:
            center, radius = self.ball
            top = float(np.max(np.abs(u)))
            rest, length = rest - u, top * float(np.linalg.norm(u / top)) if top else 0.0  # no square underflows
            value += float(center @ u) + radius * length
            error += float(np.abs(u) @ (far + np.abs(center))) + radius * length
            slack += 2.0 * self._radius_room * length
        value += float(np.sum(np.maximum(rest * self.lower, rest * self.upper)))
        error += float(np.abs(rest) @ far)
        return value, (gamma(n) * error + slack) * (1.0 + gamma(n))

    def linear_argmax(self, coefficients) -> np.ndarray:
        """A point of the region where ``coefficients . x`` is largest, to about 1e-14; of several the nearest 0 of the
        box where a coefficient is 0."""
        return self.into(self._best(np.asarray(coefficients, dtype=float))[0])

    def frontier(self, A, a0, P, p0, uphill=None):
        """The upper frontier; see :func:`mtpfast.spaces.frontier.supported_frontier`."""
        most = CORNERS if self.ball is None else VERTICES
        return supported_frontier(lambda q: self._best(q)[0], A, a0, P, p0, most, uphill)

    def _best(self, q, n=None):
        """``(x, multipliers of the first n slabs, u)``: the maximum over box, ball and these slabs, to rounding."""
        if n is None:  # proofs and searches ask for the same q, one after the other
            key = q.tobytes()
            if self._last[0] != key:
                self._last = key, self._best(q, len(self.slabs))
            return self._last[1]
        if n == 0:
            x, u = self._on_ball(q)
            return x, (), u
        a, low, high = self.slabs[n - 1]
        found = self._best(q, n - 1)
        x = found[0]
        at = float(a @ x)
        if low <= at <= high:
            return x, (*found[1], 0.0), found[2]
        if at < low:  # the same slab seen from the other side
            sign, end = -1.0, -low
        else:
            sign, end = 1.0, high
        return self._on_slab(q, n, sign, end, found)

    def _on_slab(self, q, n, sign, end, first):
        """The maximum where ``sign a . x <= end`` binds."""
        a = sign * self.slabs[n - 1][0]

        def point(multiplier, x, inner, u):
            return multiplier, float(a @ x) - end, float(q @ x), x, inner, u

        def touching(multiplier):  # the slab touches the rest in its least points only
            t, excess, *rest = point(multiplier, *self._best(-a, n - 1))
            return t, min(0.0, excess), *rest

        best, share, left, right = best_multiplier(
            lambda t: point(t, *self._best(q - t * a, n - 1)),
            point(0.0, *first),
            max(float(np.max(np.abs(q))) / float(np.max(np.abs(a))), 1e-300),
            float(np.abs(q) @ self._far),
            self._room[n - 1],
            touching,
            STEPS,
        )
        return left[3] + share * (right[3] - left[3]), (*best[4], sign * best[0]), best[5]

    def _on_ball(self, q):
        """The maximum over box and ball, and the part u of q that the ball takes over (None: nothing)."""
        lower, upper = self.bounds if self.ball is not None else (self.lower, self.upper)
        if self.ball is None:
            return np.where(q > 0.0, upper, np.where(q < 0.0, lower, np.clip(0.0, lower, upper))), None
        center, radius = self.ball
        low, high = lower - center, upper - center
        still = np.clip(0.0, low, high)  # next to the center
        top = float(np.max(np.abs(q), initial=0.0))
        if top == 0.0:
            return center + still, None
        q, own = q / top, q
        corner = np.where(q > 0.0, high, np.where(q < 0.0, low, still))
        if np.all(np.isfinite(corner)) and float(np.linalg.norm(corner)) <= radius:
            return center + corner, None
        # y_j = clip(t q_j, low_j, high_j) moves between the times start_j and stop_j.
        with np.errstate(divide="ignore", invalid="ignore"):
            stop = np.where(q != 0.0, corner / q, np.inf)
            start = np.where(still != 0.0, still / q, 0.0)
        moves = (q != 0.0) & (stop > 0.0) & (corner != still)
        start, stop = np.where(moves, np.maximum(start, 0.0), np.inf), np.where(moves, stop, np.inf)
        if not np.any(moves):  # the box touches the ball in one point
            return center + still, None
        times = np.unique(np.concatenate([start[moves], stop[moves]]))
        times, square = times[times < np.inf], q * q
        low, high = np.where(moves, low, still), np.where(moves, high, still)
        # The first time with |y| >= radius, each |y| summed by itself: running sums lose the q_j that are next to 0.
        k, last = 0, len(times)
        while k < last:
            middle = (k + last) // 2
            if float(np.linalg.norm(np.clip(times[middle] * q, low, high))) < radius:
                k = middle + 1
            else:
                last = middle
        k = max(k - 1, 0)
        between = times[k], times[k + 1] if k + 1 < len(times) else np.inf
        now = moves & (start <= between[0]) & (stop > between[0])
        fixed = np.where(moves & (stop <= between[0]), corner, still)
        rest = max(0.0, radius * radius - float(fixed[~now] @ fixed[~now]))
        weight = float(square[now].sum())
        t = math.sqrt(rest / weight) if weight > 0.0 else between[0]
        t = min(max(t, between[0]), between[1])
        y = np.clip(t * q, low, high)
        length = float(np.linalg.norm(y))
        if radius == 0.0:
            return center + still, own
        return center + y, None if t == 0.0 or length == 0.0 else y * (top / t)

    # -- membership ---------------------------------------------------------------------------

    def contains(self, X) -> np.ndarray:
        """For every row of X (an array or CSR), whether it is in the region."""
        if sp.issparse(X):
            blocks = [self.contains(X[i : i + ROWS].toarray()) for i in range(0, X.shape[0], ROWS)]
            return np.concatenate(blocks) if blocks else np.zeros(0, dtype=bool)
        inside = np.all((X >= self.bounds[0]) & (X <= self.bounds[1]), axis=1)
        for (a, low, high), room in zip(self.slabs, self._room, strict=True):
            at = X @ a
            inside &= (at >= low - room) & (at <= high + room)
        if self.ball is not None:
            center, radius = self.ball
            inside &= np.linalg.norm(X - center, axis=1) <= radius + self._radius_room
        return inside

    def broken_rule(self, x, features) -> str:
        """The first rule that a point breaks; "" if it is inside."""
        for j in np.flatnonzero((x < self.bounds[0]) | (x > self.bounds[1]))[:1]:
            side, end = ("below", self.bounds[0][j]) if x[j] < self.bounds[0][j] else ("above", self.bounds[1][j])
            bound = "lower" if side == "below" else "upper"
            return f"{features.name(j)} is {x[j]:g}, {side} its {bound} bound {end:g}"
        for (a, low, high), room in zip(self.slabs, self._room, strict=True):
            at = float(a @ x)
            if not low - room <= at <= high + room:
                return f"a . x is {at:g}, outside the slab [{low:g}, {high:g}]"
        if self.ball is not None:
            length = float(np.linalg.norm(x - self.ball[0]))
            if length > self.ball[1] + self._radius_room:
                return f"it is {length:g} from the center, the radius is {self.ball[1]:g}"
        return ""

    def into(self, x) -> np.ndarray:
        """The point, moved into the region if it is off by little: onto bounds, slabs and sphere in turn, and at last
        towards a point inside."""
        x = np.clip(x, *self.bounds)
        for _ in range(3):
            if self.contains(x[None])[0]:
                return x
            for a, low, high in self.slabs:
                at = float(a @ x)
                off = at - min(max(at, low), high)
                free = (x > self.bounds[0]) & (x < self.bounds[1])
                size = float(a[free] @ a[free])
                if off and size > 0.0:
                    x = np.clip(x - np.where(free, off / size * a, 0.0), *self.bounds)
            if self.ball is not None:
                center, radius = self.ball
                length = float(np.linalg.norm(x - center))
                if length > radius:
                    x = np.clip(center + radius / length * (x - center), *self.bounds)
        share = 1e-15
        while share < 1.0:
            moved = np.clip(x + share * (self._anchor - x), *self.bounds)
            if self.contains(moved[None])[0]:
                return moved
            share *= 4.0
        return self._anchor.copy()

    @cached_property
    def _anchor(self):
        """A point well inside, where there is an inside: a mean of points at its edge."""
        ones = np.ones(len(self.lower))
        ways = [ones, -ones, np.zeros(len(ones)), *(sign * a for a, _, _ in self.slabs for sign in (1.0, -1.0))]
        return np.mean([self._best(way)[0] for way in ways], axis=0)

    def __eq__(self, other) -> bool:
        if type(other) is not ConvexRegion:
            return NotImplemented
        if not all(map(np.array_equal, self.bounds, other.bounds)) or len(self.slabs) != len(other.slabs):
            return False
        if (self.ball is None) != (other.ball is None):
            return False
        pairs = [*zip(self.slabs, other.slabs, strict=True), *zip(self.balls, other.balls, strict=True)]
        return all(np.array_equal(mine[0], its[0]) and mine[1:] == its[1:] for mine, its in pairs)

    __hash__ = None
