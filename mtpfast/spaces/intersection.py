"""The points that lie in several spaces: a box or whole records, a ball, slabs."""

from __future__ import annotations

import numpy as np

from mtpfast.arrays.labels import as_labels, as_sign

from .convex import ConvexRegion
from .convex_space import ConvexSpace
from .cut import CutRegion
from .specs import agreed, read_names

__all__ = ["Intersection"]


class Intersection(ConvexSpace):
    """The points that lie in all of some spaces, label by label.

    Parameters
    ----------
    spaces : sequence of FeatureSpace, Ball, Slab, Intersection or other spaces of convex regions
        At most one ball, and one space of whole records (whole numbers, lattices, groups), whose bounds no box cuts;
        any number of slabs, of which each makes a linear maximum about twenty times as dear.
    labels : sequence, optional
        The labels that points may carry; by default those that all of the spaces allow.
    names : sequence of str, optional
        The names of the features; by default those of the spaces.

    Raises
    ------
    ValueError, TypeError
        For documents, candidates and tables of rows, for two balls, and where no point is left, naming what leaves
        none.

    Notes
    -----
    Of whole records inside a ball or a slab an attack uses records that pass, and every bound holds for all of them:
    see ``mtpfast.spaces.cut``. What is found there is not proved to be the most.

    Examples
    --------
    What the sphere and the slab sanitiser let pass, of images with values between 0 and 1:

    >>> import numpy as np
    >>> from mtpfast import Ball, FeatureSpace, Intersection, Slab
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.random((40, 3)), np.repeat([-1, 1], 20)
    >>> space = Intersection([FeatureSpace(0.0, 1.0), Ball.from_data(X, y), Slab.from_data(X, y)])
    >>> bool(np.all(space.contains(X, y)))
    True
    """

    arguments = ("spaces", "labels", "names")

    def __init__(self, spaces, *, labels=None, names=None):
        self.spaces = tuple(spaces)
        if not self.spaces:
            raise ValueError("spaces must hold one space at least, got none")
        for space in self.spaces:
            if getattr(space, "is_finite", True) or not hasattr(space, "region_of"):
                raise TypeError(f"spaces must be spaces of convex regions, got {type(space).__name__}")
            names = agreed(space.names, read_names(names))
        if labels is None:
            allowed = [space.labels for space in self.spaces if space.labels is not None]
            if allowed:
                labels = [label for label in allowed[0] if all(label in others for others in allowed)]
                if not labels:
                    raise ValueError(f"spaces leave no label: they allow {[list(each) for each in allowed]}")
        super().__init__(as_labels(labels), names)
        self._check_labels()
        self.canonical = next((space.canonical for space in self.spaces if space.canonical is not None), None)

    @property
    def _regions(self):
        """What is kept of the regions; nothing once an attribute of a part has been set, which then keeps others."""
        parts = [getattr(space, "_regions", None) for space in self.spaces]
        if any(now is not then for now, then in zip(parts, self._kept_of[1], strict=True)):
            self._regions = {}
        return self._kept_of[0]

    @_regions.setter
    def _regions(self, known):
        object.__setattr__(self, "_kept_of", (known, [getattr(space, "_regions", None) for space in self.spaces]))

    @property
    def n_features(self) -> int | None:
        """The number of features, where a space tells it."""
        return next((space.n_features for space in self.spaces if space.n_features is not None), None)

    @property
    def _per_label(self):
        return any(space._per_label for space in self.spaces)

    def _known_labels(self):
        parts = [label for space in self.spaces for label in space._known_labels()]
        return list(dict.fromkeys([*(self.labels or ()), *parts]))

    def bind(self, names=None, classes=None) -> Intersection:
        """The same space in the terms of the layers below: see :meth:`mtpfast.spaces.labelled.LabelledSpace.bind`."""
        names = agreed(self.names, read_names(names))
        labels = self.labels
        if labels is not None and classes is not None:
            labels = [as_sign(label, classes) for label in labels]
        bound = Intersection([space.bind(names, classes) for space in self.spaces], labels=labels, names=names)
        bound.canonical = self.canonical
        return bound

    def region_of(self, label, n_features):
        """The region of one label; of all of them (``label`` None) if they do not differ."""
        rules = self.rules_of(label, n_features)
        given = rules.pop("records")
        if given is None:
            return ConvexRegion(**rules)
        records, blur = given
        lower, upper = rules.pop("lower"), rules.pop("upper")
        cut = np.flatnonzero((lower > records.lower + records.tolerance) | (upper < records.upper - records.tolerance))
        if len(cut):
            raise ValueError(
                f"feature {cut[0]} has bounds in a box that cut the records: "
                "give them in the FeatureSpace of the records"
            )
        region = CutRegion(records, **rules, blur=blur)
        return records if region.uncut else region

    def rules_of(self, label, n_features) -> dict:
        """The arguments of the region of a label, and its ``records`` with their rounding, or None."""
        rules = [_rules_of(space, label if space._per_label else None, n_features) for space in self.spaces]
        found = {}
        for name, what in (("ball", "ball"), ("records", "space of whole records")):
            given = [rule[name] for rule in rules if rule.get(name) is not None]
            if len(given) > 1:
                raise ValueError(f"an intersection holds one {what} at most, got {len(given)}")
            found[name] = given[0] if given else None
        return found | {
            "lower": np.max([rule["lower"] for rule in rules], axis=0),
            "upper": np.min([rule["upper"] for rule in rules], axis=0),
            "slabs": [slab for rule in rules for slab in rule["slabs"]],
        }


def _rules_of(space, label, n_features):
    if hasattr(space, "rules_of"):
        return space.rules_of(label, n_features)
    region = space.region_of(label, n_features)
    rounds = space.canonical is not None  # to what records can hold, which may lead out of a ball
    if region.is_box and not rounds:
        return {"lower": region.lower, "upper": region.upper, "slabs": (), "ball": None}
    if region.kind in ("box", "records"):
        infinite = np.full(n_features, np.inf)
        records = region, getattr(space, "_rounding", None)
        return {"lower": -infinite, "upper": infinite, "slabs": (), "ball": None, "records": records}
    if not region.is_convex:
        raise ValueError(
            "an intersection is of convex spaces and whole records: no documents, and no features that take the rows "
            "of a table together; of those take what the other spaces contain, as a CandidatePool"
        )
    slabs, (lower, upper) = getattr(region, "slabs", None), getattr(region, "bounds", (region.lower, region.upper))
    if slabs is None:  # of a region of one's own: its description
        slabs = [(a, -np.inf, b) for a, b in region.planes]
    return {"lower": lower, "upper": upper, "slabs": slabs, "ball": next(iter(region.balls), None)}
