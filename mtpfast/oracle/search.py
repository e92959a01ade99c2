"""Where a poisoning point hurts most: the point of largest loss difference.

    maximise over (x, y) in F    phi(y theta . x~)  -  phi(y theta_target . x~)

The loss difference sees a point only through two numbers, ``u = y theta . x~`` and
``v = y theta_target . x~``; it falls in u and rises in v. So its maximum over a box lies on the
lower-right frontier of the image of the box under ``x -> (u, v)``, a polygon of at most d edges
that sorting the ratios ``theta_target[j] / theta[j]`` lays bare. The search along it is global,
for every margin loss, without a solver and without restarts.

Lattices and groups of columns (records that could exist) leave of that polygon some points only.
Its own maximum, over the hull, is a bound; on its edges one coordinate or group at most is
fractional, and a branch and bound closes the rest.

What the last digits of the models must not decide is decided by rules (``_search.pyx`` states those of
the frontier): a feature that moves neither score by more than their rounding error stays at its
*resting value*; of labels and candidates that are equal to that error, the label +1 and the first
candidate are taken. So the same attack takes the same way whatever the machine does to last digits.
"""

from __future__ import annotations

import math

import numpy as np

from mtpfast import _search
from mtpfast.arrays.checks import as_theta, check_count
from mtpfast.kernels import kernel_of
from mtpfast.losses.margin import LOSSES, Loss, class_weights, get_loss
from mtpfast.spaces.base import as_space

from .any_loss import along_frontier, branch_and_bound
from .convex import over_convex
from .cut import over_cut
from .difference import LossDifference, above, better, rounding_of, weight_of
from .documents import find_document
from .pool import over_pool

__all__ = ["find_point", "max_loss_difference"]


# The search over a box for every compiled loss: told apart here and not at every call.
BOX_SEARCH = {kernel: _search.box_loss_difference[type(kernel).__name__] for kernel in map(kernel_of, LOSSES.values())}


# Nodes of the branch and bound per label, about 10 ms; a custom loss has no compiled search.
MAX_NODES, MAX_NODES_CUSTOM = 100_000, 1_000

MAX_DOCUMENTS = 20_000  # that the search over words may look at, per label


NO_GROUPS = (
    np.empty(0, np.intp),
    np.empty(0, np.intp),
    np.empty(0),
    np.empty(0),
    np.empty(0, np.uint8),
)


def max_loss_difference(
    theta, theta_target, feasible_set, loss="hinge", *, max_nodes: int | None = None, class_weight=None
) -> LossDifference:
    r"""The feasible point where the model is worst compared with the target.

    .. math:: \max_{(x, y) \in F} \; \varphi(y\, \theta \cdot \tilde x) - \varphi(y\, \theta_p \cdot \tilde x)

    Parameters
    ----------
    theta, theta_target : pair (coef, intercept), array (w, b), or fitted linear model
        The current and the target model.
    feasible_set : FeatureSpace or CandidatePool
    loss : {"hinge", "squared_hinge", "log_loss"} or Loss
    max_nodes : int, optional
        For spaces with lattices or groups: where the branch and bound gives up, for each label. By
        default 100,000 (10 ms), or 1,000 for a custom loss. For documents: how many of them the search
        looks at, 20,000 by default.
    class_weight : dict of {-1: float, 1: float}, optional
        For a victim that weighs its classes: the loss difference of a point counts as often as its label weighs.

    Returns
    -------
    LossDifference
        The global maximum, to 1e-10 relative; ``upper_bound`` is proved. If the nodes do not
        suffice, a feasible point and how far from the maximum it can be at most: so too for documents with
        a norm, where ``upper_bound`` is the maximum over the hull of their images under (u, v).

    Raises
    ------
    ValueError
        If the models and the feasible set have different numbers of features.

    Notes
    -----
    O(d log d) for a box, one read of the candidates for a pool.

    Ties do not depend on the last digit. A feature that moves both scores by less than their rounding
    error stays at the allowed value nearest 0 (of a group: none is on, or the first level). Values that
    differ by no more than the rounding error of the scores are equal, and among equals the label +1,
    the candidate or word that comes first, and the place nearest the start of the frontier are taken;
    edges of one slope are followed in the order of the features. For smooth losses the place on an edge
    is the coarsest binary fraction that costs at most 1e-11 of the value.

    Step 4 of Algorithm 1 in Suya et al., "Model-Targeted Poisoning Attacks with
    Provable Convergence", ICML 2021.

    A space with lattices or groups is a knapsack problem (for the hinge loss: the least u with v
    at least 1), hard in the worst case. O(d log d) until the relaxation is solved; then, as a rule,
    few nodes: they are many where the models are parallel, no feature is continuous, and reaching a
    value to ten digits means finding one of all sums of weights.

    Examples
    --------
    >>> from mtpfast import FeatureSpace, max_loss_difference
    >>> diff = max_loss_difference(([1.0, 0.0], 0.0), ([0.0, 1.0], 0.0), FeatureSpace(0.0, 1.0))
    >>> diff.x, diff.y, diff.value
    (array([0., 1.]), 1.0, 1.0)

    A record instead of a fraction of one:

    >>> models = ([3.0, -1.0, 0.5], 0.0), ([1.0, 2.0, 3.0], -1.2)
    >>> max_loss_difference(*models, FeatureSpace(labels=[1])).x.round(3)
    array([0.   , 1.   , 0.067])
    >>> max_loss_difference(*models, FeatureSpace(labels=[1], integer=[0, 1, 2])).x
    array([0., 1., 0.])
    """
    if max_nodes is not None:
        max_nodes = check_count(max_nodes, "max_nodes", low=0)
    loss = get_loss(loss)
    theta = as_theta(theta, name="theta")
    theta_target = as_theta(theta_target, theta.size - 1, name="theta_target")
    weights = class_weights(class_weight)
    if weights == "balanced":
        raise ValueError("class_weight must be a dict or None here: 'balanced' says nothing without the rows")
    return find_point(theta, theta_target, feasible_set, loss, max_nodes, weights=weights)


def find_point(
    theta,
    theta_target,
    feasible_set,
    loss: Loss,
    max_nodes: int | None = None,
    regions=None,
    rest=None,
    weights=None,
    effort=1,
) -> LossDifference:
    """:func:`max_loss_difference` for arguments that have been checked already, and ``feasible_set.regions`` and
    :func:`resting_points` where they are known already. ``weights``: of the labels -1 and +1, None for 1. ``effort``:
    so many times the nodes."""
    if regions is None and as_space(feasible_set).is_finite:
        feasible_set.check(theta.size - 1)
        return over_pool(theta, theta_target, feasible_set, loss, weights)
    regions = feasible_set.regions(theta.size - 1) if regions is None else regions
    search = SEARCHES[next(iter(regions.values())).kind]
    return search(theta, theta_target, feasible_set, regions, loss, max_nodes, effort, rest, weights)


def _over_features(theta, theta_target, space, regions, loss, max_nodes, effort, rest, weights):
    kernel = kernel_of(loss)
    if max_nodes is None:
        max_nodes = MAX_NODES if kernel is not None else MAX_NODES_CUSTOM
    max_nodes *= effort
    best, known = None, -math.inf
    bound, nodes = -math.inf, 0
    for y, region in regions.items():
        weight = 1.0 if weights is None else weight_of(weights, y)
        at_rest = region.at_rest if rest is None else rest[y]
        if kernel is not None:
            x, value, label_bound, n = _compiled(
                theta, theta_target, region, at_rest, y, kernel, known / weight, max_nodes
            )
        elif region.is_box:
            x, value, label_bound = along_frontier(theta, theta_target, region.lower, region.upper, at_rest, y, loss)
            n = 0
        else:
            x, value, label_bound, n = branch_and_bound(
                theta, theta_target, region, at_rest, y, loss, known / weight, max_nodes
            )
        if weight != 1.0:
            value, label_bound = value * weight, above(label_bound, weight)
        bound, nodes = max(bound, label_bound), nodes + n
        if best is None or better(value, known, theta, theta_target, region, loss, weight):
            best, known = (x, y, value), value
    best = LossDifference(*best, bound, nodes)
    return best if space.canonical is None else _canonical(theta, theta_target, best, space, regions, loss, weights)


def _over_tied(theta, theta_target, space, regions, loss, max_nodes, effort, rest, weights):
    """Over the regions of groups whose linear images they are; what rounding may hide in the image is added."""
    best, bound, nodes = None, -math.inf, 0
    for y, region in regions.items():
        lifted = [np.append(region.lift(t[:-1]), t[-1]) for t in (theta, theta_target)]
        flat = {y: region.flat}
        found = _over_features(*lifted, _Plain, flat, loss, max_nodes, effort, None, None)
        x = region.lower_to(found.x)
        value = float(np.subtract(*(loss.value(y * (x @ t[:-1] + t[-1])) for t in (theta, theta_target))))
        size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
        slack = 2.0 * rounding_of(theta, theta_target, size, loss, found.upper_bound)
        weight = weight_of(weights, y)
        label_bound = above(max(found.upper_bound, value) + slack, weight)
        value *= weight
        bound, nodes = max(bound, label_bound), nodes + found.nodes
        if best is None or better(value, best.value, theta, theta_target, region, loss, weight):
            best = LossDifference(x, y, value, np.nan)
    best = best._replace(upper_bound=bound, nodes=nodes)
    return best if space.canonical is None else _canonical(theta, theta_target, best, space, regions, loss, weights)


class _Plain:
    """A space of whose points nothing is made."""

    canonical = None


def _compiled(theta, theta_target, region, rest, y, kernel, known, max_nodes):
    x = np.empty(theta.size - 1)
    if region.is_box:
        value, bound = BOX_SEARCH[kernel](kernel, theta, theta_target, region.lower, region.upper, rest, y, x)
        return x, value, bound, 0
    groups = NO_GROUPS
    if region.groups:
        groups = region.level_arrays
    value, bound, nodes = _search.region_loss_difference(
        kernel,
        theta,
        theta_target,
        region.lower,
        region.upper,
        region.origin,
        region.step,
        *groups,
        rest,
        y,
        known,
        max_nodes,
        x,
    )
    return x, value, bound, nodes


def _canonical(theta, theta_target, best, space, regions, loss, weights):
    """The point as the records have it; what rounding makes of any other one is added to the bound."""
    x = np.ascontiguousarray(space.canonical(best.x[None]), dtype=float)[0]
    value = float(np.subtract(*(loss.value(best.y * (x @ t[:-1] + t[-1])) for t in (theta, theta_target))))
    size = np.max([np.maximum(np.abs(region.lower), np.abs(region.upper)) for region in regions.values()], axis=0)
    slack = rounding_of(theta, theta_target, np.append(size, 1.0), loss, value)
    value *= weight_of(weights, best.y)
    slack *= max(1.0, *(weights or (1.0,)))
    return best._replace(x=x, value=value, upper_bound=max(best.upper_bound, value) + slack)


def _over_cut(theta, theta_target, space, regions, *how):
    best = over_cut(theta, theta_target, space, regions, *how)
    loss, weights = how[0], how[-1]
    return best if space.canonical is None else _canonical(theta, theta_target, best, space, regions, loss, weights)


def _over_documents(theta, theta_target, space, regions, loss, max_nodes, effort, rest, weights):
    max_nodes = effort * (MAX_DOCUMENTS if max_nodes is None else max_nodes)
    best, bound, nodes = None, -np.inf, 0
    for y, region in regions.items():
        known, weight = -np.inf if best is None else best.value, weight_of(weights, y)
        x, value, label_bound, n = find_document(theta, theta_target, region, y, loss, known / weight, max_nodes)
        value *= weight
        bound, nodes = max(bound, above(label_bound, weight)), nodes + n
        # what rounding makes of equal documents is far below this
        if best is None or value > best.value + 1e-12 * (1.0 + abs(best.value)):
            best = LossDifference(x, y, value, np.nan)
    return best._replace(upper_bound=bound, nodes=nodes)


#: The search over the regions of a space, by their kind (:attr:`mtpfast.spaces.base.Region.kind`).
SEARCHES = {
    "box": _over_features,
    "records": _over_features,
    "tied": _over_tied,
    "documents": _over_documents,
    "convex": over_convex,
    "cut": _over_cut,
}
