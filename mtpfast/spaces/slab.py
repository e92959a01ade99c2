"""The points between two parallel planes, for both labels or one slab for each: what a slab sanitiser lets pass."""

from __future__ import annotations

import math

import numpy as np

from mtpfast.arrays.checks import check_number

from .convex_space import ConvexSpace, mean_of, read_numbers, read_vectors, size_of, split_rows
from .specs import names_of_columns

__all__ = ["Slab"]


class Slab(ConvexSpace):
    r"""The points between two parallel planes.

    .. math:: F_y = \{x : \mathrm{low}_y \le a_y \cdot x \le \mathrm{high}_y\}

    Parameters
    ----------
    normal : array-like of shape (n_features,), or mapping of label to one
        The vector a.
    low, high : float, or mapping of label to one
        ``-inf`` and ``inf``, the defaults, leave that side open.
    lower, upper : float or array-like of shape (n_features,), optional
        Bounds of every feature. A slab has no end in other directions than a: without bounds it is a feasible set in
        an :class:`mtpfast.Intersection` with a ``FeatureSpace`` or a ``Ball`` only.
    labels : sequence, optional
        The labels that points may carry; both by default.
    names : sequence of str, optional
        The names of the features.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; where ``low`` is above ``high``, or (once the bounds are known) no point is between.

    Notes
    -----
    The slab sanitiser of Steinhardt, Koh, Liang, "Certified Defenses for Data Poisoning Attacks", NeurIPS 2017,
    section 3, lets pass ``|(mu_+ - mu_-) . (x - mu_y)| <= s_y``: see :meth:`from_data`. A linear maximum over a box and
    a slab is O(d) some tens of times.

    Examples
    --------
    >>> from mtpfast import Slab
    >>> slab = Slab([1.0, 1.0], low=0.0, high=1.0, lower=0.0, upper=1.0)
    >>> slab.contains([[0.5, 0.5], [0.5, 0.75]])
    array([ True, False])
    >>> slab.why_not([[0.5, 0.75]])
    ['a . x is 1.25, outside the slab [0, 1]']
    """

    arguments = ("normal", "low", "high", "lower", "upper", "labels", "names")

    def __init__(self, normal, low=-math.inf, high=math.inf, *, lower=None, upper=None, labels=None, names=None):
        super().__init__(labels, names)
        self.normal = read_vectors(normal, "normal")
        self.low, self.high = read_numbers(low, "low", finite=False), read_numbers(high, "high", finite=False)
        self.lower, self.upper = (
            value if value is None else (read_numbers if np.ndim(value) == 0 else read_vectors)(value, name)
            for name, value in (("lower", lower), ("upper", upper))
        )
        self._check_labels()
        for label in self._told_apart():
            low, high = self._of_label("low", label), self._of_label("high", label)
            if low > high:
                of = "" if label is None else f" for label {label!r}"
                raise ValueError(f"low must be at most high, got {low:g} and {high:g}{of}")

    @classmethod
    def from_data(cls, X, y, *, width=None, quantile=1.0, **rules) -> Slab:
        """For every class the slab around its mean along the line of both means.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
            The names of a DataFrame are taken over.
        y : array-like of shape (n_samples,)
            Two labels.
        width : float or mapping of label to float, optional
            ``s_y``: half the width of the slab, in units of ``a . x``. By default as large as to hold the share
            ``quantile`` of the rows of the class.
        quantile : float, default=1.0
            Between 0 and 1.
        **rules
            ``lower``, ``upper``, ``labels``, ``names`` of the space.

        Examples
        --------
        >>> from mtpfast import Slab
        >>> Slab.from_data([[0.0], [2.0], [5.0], [7.0]], [-1, -1, 1, 1])
        Slab(normal=[5.], low={-1: 0, 1: 25}, high={-1: 10, 1: 35}, lower=None, upper=None)
        """
        quantile = check_number(quantile, "quantile")
        if quantile > 1.0:
            raise ValueError(f"quantile must be between 0 and 1, got {quantile!r}")
        if rules.get("names") is None:
            rules["names"] = names_of_columns(X)
        if y is None:
            raise ValueError("y must hold two labels: the slab lies along the line of the means of the classes")
        (first, _), (second, _) = parts = split_rows(X, y)
        normal = mean_of(second) - mean_of(first)
        low, high = {}, {}
        for rows, label in parts:
            at, middle = np.asarray(rows @ normal).ravel(), float(mean_of(rows) @ normal)
            half = float(np.quantile(np.abs(at - middle), quantile, method="higher"))
            if width is not None:
                given = read_numbers(width, "width", 0.0)
                half = given[label] if isinstance(given, dict) else given
            low[label], high[label] = middle - half, middle + half
        return cls(normal, low, high, **rules)

    @property
    def n_features(self) -> int | None:
        """The number of features."""
        return size_of(self.normal)

    def rules_of(self, label, n_features) -> dict:
        """See :class:`mtpfast.spaces.convex.ConvexRegion`."""
        lower, upper = (
            np.full(n_features, end) if value is None else np.broadcast_to(value, n_features)
            for end, value in ((-np.inf, self.lower), (np.inf, self.upper))
        )
        slab = tuple(self._of_label(name, label) for name in ("normal", "low", "high"))
        return {"lower": lower, "upper": upper, "slabs": (slab,), "ball": None}
