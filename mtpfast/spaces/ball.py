"""An l2 ball around a center, for both labels or one for each: what a sphere sanitiser lets pass."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.checks import check_number

from .convex_space import ConvexSpace, mean_of, read_numbers, read_vectors, size_of, split_rows
from .specs import names_of_columns

__all__ = ["Ball"]


class Ball(ConvexSpace):
    r"""The points near a center.

    .. math:: F_y = \{x : \lVert x - c_y \rVert_2 \le r_y\}

    Parameters
    ----------
    center : array-like of shape (n_features,), or mapping of label to one
    radius : float, or mapping of label to one
        At least 0; with 0 the center is the only point.
    labels : sequence, optional
        The labels that points may carry; both by default.
    names : sequence of str, optional
        The names of the features.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Notes
    -----
    With :class:`mtpfast.FeatureSpace` and :class:`mtpfast.Slab` in an :class:`mtpfast.Intersection` it is the
    feasible set of an attacker who has to pass the sphere sanitiser of Steinhardt, Koh, Liang, "Certified Defenses for
    Data Poisoning Attacks", NeurIPS 2017, section 3. A linear maximum is O(d).

    Examples
    --------
    >>> from mtpfast import Ball
    >>> ball = Ball([0.0, 0.0], 1.0)
    >>> ball.contains([[0.6, 0.8], [0.7, 0.8]])
    array([ True, False])
    >>> ball.why_not([[0.6, 0.8], [3.0, 4.0]])
    ['', 'it is 5 from the center, the radius is 1']
    """

    arguments = ("center", "radius", "labels", "names")

    def __init__(self, center, radius, *, labels=None, names=None):
        super().__init__(labels, names)
        self.center, self.radius = read_vectors(center, "center"), read_numbers(radius, "radius", 0.0)
        self._check_labels()

    @classmethod
    def from_data(cls, X, y=None, *, radius=None, quantile=1.0, **rules) -> Ball:
        """A ball around the mean of the rows; with y, around the mean of every class.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
            The names of a DataFrame are taken over.
        y : array-like of shape (n_samples,), optional
            Two labels.
        radius : float or mapping of label to float, optional
            By default as large as to hold the share ``quantile`` of the rows (of the class).
        quantile : float, default=1.0
            Between 0 and 1.
        **rules
            ``labels``, ``names`` of the space.

        Examples
        --------
        >>> from mtpfast import Ball
        >>> Ball.from_data([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0], [5.0, 9.0]], ["ham", "ham", "spam", "spam"])
        Ball(center={'ham': [1., 0.], 'spam': [5., 7.]}, radius={'ham': 1, 'spam': 2})
        """
        quantile = check_number(quantile, "quantile")
        if quantile > 1.0:
            raise ValueError(f"quantile must be between 0 and 1, got {quantile!r}")
        if rules.get("names") is None:
            rules["names"] = names_of_columns(X)
        centers, radii = {}, {}
        for rows, label in split_rows(X, y):
            centers[label] = center = mean_of(rows)
            dense = rows.toarray() if hasattr(rows, "toarray") else rows
            radii[label] = float(np.quantile(np.linalg.norm(dense - center, axis=1), quantile, method="higher"))
        if y is None:
            centers, radii = centers[None], radii[None]
        return cls(centers, radii if radius is None else radius, **rules)

    @property
    def n_features(self) -> int | None:
        """The number of features."""
        return size_of(self.center)

    def rules_of(self, label, n_features) -> dict:
        """See :class:`mtpfast.spaces.convex.ConvexRegion`."""
        infinite = np.full(n_features, np.inf)
        ball = self._of_label("center", label), self._of_label("radius", label)
        return {"lower": -infinite, "upper": infinite, "slabs": (), "ball": ball}
