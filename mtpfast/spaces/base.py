r"""What the package asks of a feasible set: two protocols, and nothing else.

A *space* is what a user writes: a set F of points (x, y), given per label. A *region* is one label's set of x, as
searches, programs and proofs read it. Below the estimators labels are -1. and +1., features are numbered from 0.

Everything that is proved of a region goes through **one** function, its support function

.. math:: h(c) = \max_{x \in H} c \cdot x, \qquad H \supseteq \text{region, convex},

(:meth:`Region.linear_maximum`, with a bound of its rounding error). Everything that is searched goes through points
where it is attained (:meth:`Region.linear_argmax`) and through the description of H: bounds, groups, planes, balls.

``docs/add_a_space.md`` shows a space of one's own; :class:`mtpfast.spaces.labelled.LabelledSpace` has what spaces of
regions do alike.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

__all__ = ["Region", "Space", "as_space", "is_convex", "is_space"]


class Region(Protocol):
    """The points of one label.

    The **hull** H is described by four attributes::

        H = {lower <= x <= upper} and {a . x <= b for (a, b) in planes} and {|x - c| <= r for (c, r) in balls},

    in which the columns of a group (one-hot levels) are moreover ``off + t (on - off)`` with ``t >= 0``, ``sum t = 1``.
    It contains the region, so a maximum over H bounds the maximum over the region from above.
    """

    @property
    def kind(self) -> str:
        """Which search suits: "box" (all of ``lower <= x <= upper``), "records" (lattices and groups), "tied"
        (with tables of rows), "cut" (records inside a ball or slabs), "documents" (whole counts of words) or "convex"
        (the hull itself, whatever it is)."""

    @property
    def is_convex(self) -> bool:
        """Whether every point of H is a point of the region; then whole points need no rounding."""

    @property
    def is_box(self) -> bool:
        """Whether the region is ``{lower <= x <= upper}``."""

    @property
    def is_round(self) -> bool:
        """Whether H is a part of a ball of which no description is given; it then has ``smooth_maximum``."""

    @property
    def lower(self) -> np.ndarray:
        """Outer bounds of every feature, of shape (d,), finite: ``lower <= x <= upper`` for all x in H."""

    @property
    def upper(self) -> np.ndarray:
        """See ``lower``."""

    @property
    def groups(self) -> tuple:
        """Disjoint columns of which one at most is on (``Group`` in ``spaces/region.py``)."""

    @property
    def planes(self) -> tuple:
        """Pairs (a, b) of an array of shape (d,) and a float: ``a . x <= b`` on H."""

    @property
    def balls(self) -> tuple:
        """Pairs (c, r) of an array of shape (d,) and a float: ``|x - c| <= r`` on H."""

    @property
    def at_rest(self) -> np.ndarray | None:
        """Where features stay that move no score, of shape (d,); None where the search has no such rule."""

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None) -> tuple[float, float]:
        """``(value, error)``: ``max_H coefficients . x + constant`` is at most ``value + error``, in exact arithmetic.

        ``sizes`` and ``size``: where the coefficients and the constant are computed sums, the sums of the absolute
        values of their terms (up to ten); their absolute values by default. **All proofs rest on this.**
        """

    def linear_argmax(self, coefficients) -> np.ndarray:
        """A point of the region where ``coefficients . x`` is largest, or next to largest: of shape (d,)."""

    def into(self, x) -> np.ndarray:
        """A point of the region next to x, which is off by rounding at most. Where :attr:`is_convex`."""

    def frontier(self, A, a0, P, p0, uphill=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices ``(m, p)`` by rising m, p concave in m, on or below the upper frontier of
        ``(A . x + a0, P . x + p0)`` over H, and the slopes of the edges between them. A search: nothing is proved.

        ``uphill(m, p, slope)`` says whether what is sought lies to the right of such a point; where the frontier has
        arcs, there are vertices next to that place."""

    def contains(self, X) -> np.ndarray:
        """For every row of X (an array or CSR), whether it is in the region: booleans of shape (n,)."""

    def broken_rule(self, x, features) -> str:
        """Which rule a point outside breaks first; ``features`` (``Features`` in ``spaces/specs.py``) names them."""


class Space(Protocol):
    """A set of points (x, y): regions, one per label, or a list of candidates."""

    @property
    def is_finite(self) -> bool:
        """Whether it is a list of candidates, with ``X`` (n, d), ``signs()`` (n,) or None, ``largest()`` (d + 1,) and
        ``rows_equal(X)``, in place of :meth:`regions`."""

    @property
    def max_repeats(self) -> int | None:
        """How often every candidate may be used with each label; None: as often as one likes."""

    @property
    def canonical(self) -> Any:
        """None, or a function of points (n, d) to points that moves each by a rounding, before they are used."""

    def check(self, n_features: int) -> None:
        """Raise ValueError, naming what is wrong, where the set does not fit data with so many features."""

    def regions(self, n_features: int) -> dict[float, Region]:
        """The region of every label that points may carry, keyed 1. and -1., in this order; equal ones one object.
        Missing where :attr:`is_finite`."""

    def bind(self, names=None, classes=None) -> Space:
        """The same set in the terms of the layers below: features by number, labels ``classes`` as -1. and +1."""

    def contains(self, X, y=None) -> np.ndarray:
        """For every row of X, whether it may be a point (with label y; by default with any): shape (n,)."""

    def why_not(self, X, y=None) -> list[str]:
        """For every row of X, which rule it breaks first; "" where it may be a point."""

    def __eq__(self, other) -> bool:
        """Whether both sets hold the same points."""


def is_space(value) -> bool:
    """Whether a value offers what a :class:`Space` does."""
    needed = ("bind", "check", "contains", "why_not", "is_finite", "max_repeats", "canonical")
    has_points = hasattr(value, "X") if getattr(value, "is_finite", False) else hasattr(value, "regions")
    return has_points and not isinstance(value, type) and all(hasattr(value, name) for name in needed)


_SEEN = set()  # classes of which some object was a Space: a search asks at every call


def as_space(value):
    """The value, if it is a :class:`Space`; TypeError, naming the argument, if not. A class is looked at once."""
    if type(value) not in _SEEN:
        if not is_space(value):
            some = "FeatureSpace, CandidatePool, Ball, ..."
            raise TypeError(f"feasible_set must be a space ({some}) or None, got {type(value).__name__}")
        _SEEN.add(type(value))
    return value


def is_convex(space, n_features) -> bool:
    """Whether every point of the hull of every label may be used: no records, documents or candidates."""
    return not space.is_finite and all(region.is_convex for region in space.regions(n_features).values())
