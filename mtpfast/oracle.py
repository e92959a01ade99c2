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

What the last digits of the models must not decide is decided by rules (``_core.pyx`` states those of
the frontier): a feature that moves neither score by more than their rounding error stays at its
*resting value*; of labels and candidates that are equal to that error, the label +1 and the first
candidate are taken. So the same attack takes the same way whatever the machine does to last digits.
"""

from __future__ import annotations

import heapq
from itertools import count, pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from . import _core
from .document_search import find_document
from .documents import DocumentSpace
from .feasible import CandidatePool, FeatureSpace
from .kernels import kernel_of
from .losses import LOSSES, Loss, class_weights, get_loss
from .validation import as_theta, check_count

__all__ = ["LossDifference", "max_loss_difference"]

# The search over a box for every compiled loss: told apart here and not at every call.
BOX_SEARCH = {kernel: _core.box_loss_difference[type(kernel).__name__] for kernel in map(kernel_of, LOSSES.values())}
#: Of so many entries the most common one is counted, if there are more of evenly spaced rows.
COUNTED = 2**24
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


class LossDifference(NamedTuple):
    """The point of largest loss difference.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
    y : float
        The label, -1. or +1.
    value : float
        The loss difference at (x, y).
    upper_bound : float
        Proved: no feasible point exceeds it. It is ``value`` plus what rounding (and, for smooth
        losses and mixed spaces, the last 1e-10 of the search) may hide; more only where the branch
        and bound ran out of nodes, or documents with a norm are too many to look at each.
    nodes : int
        What the branch and bound took: 0 on a box or a pool, and where the relaxation decided.
    """

    x: np.ndarray
    y: float
    value: float
    upper_bound: float
    nodes: int = 0


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
    if hasattr(feasible_set, "regions"):
        regions = feasible_set.regions(theta.size - 1) if regions is None else regions
    if isinstance(feasible_set, DocumentSpace):
        nodes = effort * (MAX_DOCUMENTS if max_nodes is None else max_nodes)
        return _over_documents(theta, theta_target, regions, loss, nodes, weights)
    if isinstance(feasible_set, FeatureSpace):
        if max_nodes is None:
            max_nodes = MAX_NODES if kernel_of(loss) is not None else MAX_NODES_CUSTOM
        return _over_space(theta, theta_target, feasible_set, regions, loss, effort * max_nodes, rest, weights)
    if isinstance(feasible_set, CandidatePool):
        feasible_set.check(theta.size - 1)
        return _over_pool(theta, theta_target, feasible_set, loss, weights)
    raise TypeError(f"feasible_set must be a FeatureSpace or a CandidatePool, got {type(feasible_set).__name__}")


def _weight_of(weights, label):
    """What a label weighs: ``weights`` holds those of -1 and +1."""
    return 1.0 if weights is None else weights[1 if label > 0 else 0]


def _above(bound, weight):
    """``weight * bound`` rounded up."""
    return bound if weight == 1.0 else float(np.nextafter(weight * bound, np.inf))


def resting_points(regions, theta_target, X) -> dict[float, np.ndarray]:
    """Where the features stay that move neither score, for every label: at the most common value of the clean rows X,
    moved into the region.

    A feature without weight in the target may turn out to be such a one; the others are not looked at. A group rests
    at its most common level that is allowed. Of more than `COUNTED` entries, those of evenly spaced rows are counted.
    """
    weight = np.abs(theta_target[:-1])
    j = np.flatnonzero(weight <= 1e-8 * np.max(weight, initial=0.0))
    values = np.zeros(len(weight))
    values[j] = [_most_common(column) for column in _columns(X, j)]
    return {
        y: region.resting(values, _columns(X, np.concatenate([group.columns for group in region.groups] or [j[:0]])))
        for y, region in regions.items()
    }


def _columns(X, j):
    """The columns j of X, each with all its entries, or those of evenly spaced rows where there are too many."""
    rows = X[:: max(1, -(-X.shape[0] * len(j) // COUNTED))] if len(j) else X[:0]
    rows = rows[:, j]
    return (rows.toarray() if sp.issparse(rows) else np.asarray(rows)).T


def _most_common(column) -> float:
    """The value that occurs most often; of several, the least."""
    values, counts = np.unique(column, return_counts=True)
    return float(values[np.argmax(counts)]) if len(values) else 0.0


def _better(value, known, theta, theta_target, region, loss, weight=1.0) -> bool:
    """Whether a value is larger than the one known by more than rounding may make of equal ones."""
    if not 0.0 < value - known <= 1e-6 * (1.0 + abs(known)):
        return value > known
    size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
    return value - known > max(1.0, weight) * _rounding(theta, theta_target, size, loss, value) + 1e-14


def _over_space(theta, theta_target, space, regions, loss, max_nodes, rest, weights):
    kernel = kernel_of(loss)
    best, known = None, -np.inf
    bound, nodes = -np.inf, 0
    for y, region in regions.items():
        weight, at_rest = _weight_of(weights, y), region.at_rest if rest is None else rest[y]
        if kernel is not None:
            x, value, label_bound, n = _compiled(
                theta, theta_target, region, at_rest, y, kernel, known / weight, max_nodes
            )
        elif region.is_box:
            x, value, label_bound = _along_frontier(theta, theta_target, region.lower, region.upper, at_rest, y, loss)
            n = 0
        else:
            x, value, label_bound, n = _branch_and_bound(
                theta, theta_target, region, at_rest, y, loss, known / weight, max_nodes
            )
        value *= weight
        bound, nodes = max(bound, _above(label_bound, weight)), nodes + n
        if best is None or _better(value, known, theta, theta_target, region, loss, weight):
            best, known = (x, y, value), value
    best = LossDifference(*best, bound, nodes)
    return best if space.canonical is None else _canonical(theta, theta_target, best, space, regions, loss, weights)


def _compiled(theta, theta_target, region, rest, y, kernel, known, max_nodes):
    x = np.empty(theta.size - 1)
    if region.is_box:
        value, bound = BOX_SEARCH[kernel](kernel, theta, theta_target, region.lower, region.upper, rest, y, x)
        return x, value, bound, 0
    groups = NO_GROUPS
    if region.groups:
        levels = region._levels
        groups = levels.starts, levels.columns, levels.off, levels.on, levels.exactly.view(np.uint8)
    value, bound, nodes = _core.region_loss_difference(
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
    slack = _rounding(theta, theta_target, np.append(size, 1.0), loss, value)
    value *= _weight_of(weights, best.y)
    slack *= max(1.0, *(weights or (1.0,)))
    return best._replace(x=x, value=value, upper_bound=max(best.upper_bound, value) + slack)


def _over_documents(theta, theta_target, regions, loss, max_nodes, weights):
    best, bound, nodes = None, -np.inf, 0
    for y, region in regions.items():
        known, weight = -np.inf if best is None else best.value, _weight_of(weights, y)
        x, value, label_bound, n = find_document(theta, theta_target, region, y, loss, known / weight, max_nodes)
        value *= weight
        bound, nodes = max(bound, _above(label_bound, weight)), nodes + n
        # what rounding makes of equal documents is far below this
        if best is None or value > best.value + 1e-12 * (1.0 + abs(best.value)):
            best = LossDifference(x, y, value, np.nan)
    return best._replace(upper_bound=bound, nodes=nodes)


def _over_pool(theta, theta_target, pool, loss, weights):
    found = _scan_pool(theta, theta_target, pool, loss, weights=weights)
    return max(filter(None, found), key=lambda best: best[2].value)[2]


def _scan_pool(theta, theta_target, pool, loss, spent=None, weights=None):
    """(row, label, LossDifference) of the largest loss difference in one read of the pool, or None: first of the
    candidates that are left, then of those that are used up (``spent``: 1 per row for +1, 2 for -1, 3 for both)."""
    signs = pool.signs()
    kernel, size = kernel_of(loss), pool.largest()
    heaviest = max(1.0, *(weights or (1.0,)))
    tie = heaviest * _rounding(theta, theta_target, size, loss, 0.0)
    if weights is None and kernel is not None:
        labels = np.empty(0) if signs is None else signs
        spent = np.empty(0, np.uint8) if spent is None else spent
        if sp.issparse(pool.X):
            parts = _core.pool_loss_difference_csr(
                kernel, theta, theta_target, pool.X.data, pool.X.indices, pool.X.indptr, labels, spent, tie
            )
        else:
            parts = _core.pool_loss_difference(kernel, theta, theta_target, pool.X, labels, spent, tie)
    else:
        parts = _scan_by_array(theta, theta_target, pool.X, signs, loss, spent, tie, weights)
    found = []
    for row, y, value in parts:
        if value == -np.inf:
            found.append(None)
            continue
        x = pool.X[row].toarray().ravel() if sp.issparse(pool.X) else pool.X[row].copy()
        value = float(value)
        # a later row may be better by `tie`, once more for what rounding makes of either
        error = tie + heaviest * _rounding(theta, theta_target, size, loss, value)
        found.append((row, y, LossDifference(x, y, value, value + error)))
    return found


def _scan_by_array(theta, theta_target, X, signs, loss, spent, tie, weights):
    """The scan for a loss that has no compiled twin, and for labels that weigh differently."""
    scores, target_scores = (X @ t[:-1] + t[-1] for t in (theta, theta_target))
    differences, left = [], []
    for y, bit in ((1.0, 1), (-1.0, 2)):
        difference = _weight_of(weights, y) * (loss.value(y * scores) - loss.value(y * target_scores))
        if signs is not None:
            difference[signs != y] = -np.inf
        differences.append(difference)
        left.append(np.ones(len(scores), bool) if spent is None else (spent & bit) == 0)
    differences, left = np.array(differences).T, np.array(left).T
    best = []
    for mine in (left, ~left):
        here = np.where(mine, differences, -np.inf)
        row, k = divmod(int(np.argmax(here.ravel() >= np.max(here) - tie)), 2)
        best.append((row, (1.0, -1.0)[k], here[row, k]))
    return best


class Supply:
    """What an attack may still add: a pool with ``max_repeats`` runs out, any other feasible set never does.

    The loss-based distance is a maximum over the feasible set, whatever has been used of it;
    ``max_repeats`` limits what may still be added. :meth:`find` says both, in one read of the pool.
    The clean rows X and the target, if given, say where features rest that move no score.
    """

    def __init__(self, feasible_set, X=None, theta_target=None):
        self.feasible_set = feasible_set
        self.rest = None
        self.cap = getattr(feasible_set, "max_repeats", None)
        self._found = self._regions = None
        if X is not None and isinstance(feasible_set, FeatureSpace) and not isinstance(feasible_set, DocumentSpace):
            self._regions = feasible_set.regions(X.shape[1])
            self.rest = resting_points(self._regions, theta_target, X)
        if self.cap is not None:
            self._used = {}  # (row, label) -> copies
            self._spent = np.zeros(feasible_set.X.shape[0], dtype=np.uint8)

    def find(
        self, theta, theta_target, loss: Loss, weights=None, effort=1
    ) -> tuple[LossDifference, LossDifference | None]:
        """The largest loss difference of the whole feasible set, and of what is left of it (None: nothing).

        ``weights``: of the labels -1 and +1, None for 1. ``effort``: so many times the nodes."""
        if self.cap is None:
            if self._regions is None and hasattr(self.feasible_set, "regions"):
                self._regions = self.feasible_set.regions(theta.size - 1)
            known = {"regions": self._regions, "rest": self.rest, "weights": weights, "effort": effort}
            whole = find_point(theta, theta_target, self.feasible_set, loss, **known)
            return whole, whole
        self.feasible_set.check(theta.size - 1)
        parts = _scan_pool(theta, theta_target, self.feasible_set, loss, self._spent, weights)
        whole = max(filter(None, parts), key=lambda best: best[2].value)[2]
        if parts[0] is None:
            self._found = None
            return whole, None
        *self._found, left = parts[0]
        return whole, left

    def take(self, count: int) -> int:
        """Use ``count`` copies of the point last found, or as many as there are: how many."""
        return count if self.cap is None else self._take(*self._found, count)

    def use(self, points, labels, counts) -> None:
        """Take note of points that are in use already: the first of equal candidates first, as :meth:`find` does."""
        if self.cap is None or not len(labels):
            return
        signs = self.feasible_set.signs()
        for rows, label, copies in zip(self.feasible_set.rows_equal(points), labels, counts, strict=True):
            left = int(copies)
            for row in rows:
                if left and (signs is None or signs[row] == label):
                    left -= self._take(int(row), float(label), left)
            if left:
                raise ValueError(
                    f"feasible_set has max_repeats={self.cap}, which is {left} too few for a point used {copies} times"
                )

    def _take(self, row, label, count):
        used = self._used.get((row, label), 0)
        count = min(count, self.cap - used)
        self._used[row, label] = used + count
        if used + count == self.cap:
            self._spent[row] |= 1 if label > 0 else 2
        return count


def _rounding(theta, theta_target, size, loss, value):
    """What rounding may hide: two scores of d + 1 products, each at most ``|theta| . size`` large."""
    error = (2 * theta.size + 6) * np.finfo(float).eps
    total = 0.0
    for t in (theta, theta_target):
        score = float(np.abs(t) @ size)
        steepest = -float(loss.derivative(-score)) if not np.isfinite(loss.lipschitz) else loss.lipschitz
        total += steepest * error * score
    return total + 8 * np.finfo(float).eps * abs(value)


def _along_frontier(theta, theta_target, lower, upper, rest, y, loss):
    """The search for a loss that has no compiled twin: intervals with a chord-and-tangent bound.

    On an edge u and v are linear in t, so phi(u) lies below its chord and phi(v) above its
    tangents; the intervals whose bound does not beat the best value are dropped, the rest halved.
    """
    a, p = y * theta[:-1], y * theta_target[:-1]
    size = np.append(np.maximum(np.abs(lower), np.abs(upper)) + (upper - lower), 1.0)
    noise = [(2 * len(theta) + 6) * np.finfo(float).eps * float(np.abs(t) @ size) for t in (theta, theta_target)]
    width = upper - lower
    moves_u, moves_v = (np.abs(t[:-1]) * width > n for t, n in zip((theta, theta_target), noise, strict=True))
    x = np.where(moves_u, np.where(a > 0, lower, upper), np.where(moves_v, np.where(p > 0, upper, lower), rest))
    flips = np.flatnonzero(moves_u & moves_v & (np.sign(a) == np.sign(p)))
    ratio = np.abs(p[flips]) / np.abs(a[flips])
    order = np.lexsort((flips, -ratio))
    flips, ratio = flips[order], ratio[order]
    du, dv = np.abs(a[flips]) * width[flips], np.abs(p[flips]) * width[flips]
    u = np.cumsum(np.append(a @ x + y * theta[-1], du))
    v = np.cumsum(np.append(p @ x + y * theta_target[-1], dv))
    if len(flips) == 0:
        value = float(loss.value(u[0]) - loss.value(v[0]))
        best, bound, edge, t = value, value, 0, 0.0
    else:
        edges = np.arange(len(flips))
        left = np.stack([u[:-1], v[:-1], edges, np.zeros(len(flips))], axis=1)
        right = np.stack([u[1:], v[1:], edges, np.ones(len(flips))], axis=1)
        best, bound, edge, t = _bisect(left, right, loss)
    out = x.copy()
    # edges of one slope are followed in the order of the features, as in _core.pyx
    if len(flips):
        tied = np.abs(ratio - ratio[edge]) <= (1e-11 + noise[0] / du + noise[1] / dv) * ratio[edge]
        first, last = edge, edge + 1
        while first > 0 and tied[first - 1]:
            first -= 1
        while last < len(flips) and tied[last]:
            last += 1
        way = float(np.sum(dv[first:edge])) + t * dv[edge]
        here = first + np.argsort(flips[first:last], kind="stable")
        flips[first:last], dv[first:last] = flips[here], dv[here]
        edge = first
        while edge < last - 1 and way > dv[edge] + noise[1]:
            way, edge = way - dv[edge], edge + 1
        if last - first > 1:
            t = 0.0 if way <= noise[1] else (1.0 if way >= dv[edge] - noise[1] else way / dv[edge])
    crossed = flips[:edge]
    out[crossed] = np.where(x[crossed] == lower[crossed], upper[crossed], lower[crossed])
    if len(flips):
        j = flips[edge]
        t = _settled(a @ out + y * theta[-1], p @ out + y * theta_target[-1], abs(a[j] * width[j]), dv[edge], t, loss)
        out[j] = np.clip(x[j] + t * (lower[j] + upper[j] - 2 * x[j]), lower[j], upper[j])
    value = float(loss.value(a @ out + y * theta[-1]) - loss.value(p @ out + y * theta_target[-1]))
    return out, value, max(bound, value) + _rounding(theta, theta_target, size, loss, best)


def _settled(u, v, du, dv, t, loss):
    """The place on an edge that stands for a maximum near t: the coarsest binary fraction that costs nothing to speak
    of."""

    def value(t):
        return float(loss.value(np.array(u + t * du)) - loss.value(np.array(v + t * dv)))

    def uphill(t):
        return float(loss.derivative(np.array(u + t * du)) * du - loss.derivative(np.array(v + t * dv)) * dv)

    low, high = max(0.0, t - 1e-4), min(1.0, t + 1e-4)
    if not 0.0 < t < 1.0 or not (uphill(low) > 0.0 > uphill(high)):
        return t
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if uphill(middle) > 0.0 else (low, middle)
    t = 0.5 * (low + high)
    best = value(t)
    least = best - 1e-11 * abs(best) - 1e-14 * float(loss.value(np.array(u + t * du)))
    for bits in range(12, 41, 4):
        place = round(t * 2**bits) / 2**bits
        if value(place) >= least:
            return place
    return t


def _bisect(left, right, loss):
    best, where = -np.inf, None
    bound = -np.inf
    for _ in range(60):
        f_left = loss.value(left[:, 0]) - loss.value(left[:, 1])
        f_right = loss.value(right[:, 0]) - loss.value(right[:, 1])
        for f, ends in ((f_left, left), (f_right, right)):
            i = int(np.argmax(f))
            if f[i] > best:
                best, where = float(f[i]), ends[i]
        # phi(u) <= chord; phi(v) >= the tangents at both ends, which cross at s
        chord0, chord1 = loss.value(left[:, 0]), loss.value(right[:, 0])
        dv = right[:, 1] - left[:, 1]
        v0, v1 = loss.value(left[:, 1]), loss.value(right[:, 1])
        g0, g1 = loss.derivative(left[:, 1]) * dv, loss.derivative(right[:, 1]) * dv
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.clip(np.where(g1 > g0, (v0 - v1 + g1) / (g1 - g0), 0.5), 0.0, 1.0)
        at_cross = chord0 + s * (chord1 - chord0) - np.maximum(v0 + s * g0, v1 - (1 - s) * g1)
        upper = np.maximum(np.maximum(f_left, f_right), at_cross)
        tol = 1e-10 * abs(best) + 4 * np.finfo(float).eps * (np.abs(chord0) + np.abs(v0))
        alive = upper > best + tol
        if np.any(~alive):
            bound = max(bound, float(np.max(upper[~alive])))
        if not np.any(alive):
            break
        left, right, upper = left[alive], right[alive], upper[alive]
        if len(left) > 100_000:  # a flat maximum: stop here, the bound tells the truth
            break
        middle = 0.5 * (left + right)
        middle[:, 2] = left[:, 2]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    else:
        upper = np.maximum(upper, best)
    if np.any(alive):
        bound = max(bound, float(np.max(upper)))
    return best, max(bound, best), int(where[2]), float(where[3])


def _branch_and_bound(theta, theta_target, region, rest, y, loss, known, max_nodes):
    """A mixed space for a loss that has no compiled twin: split where the relaxation is fractional.

    Best bound first. A part of the region is a box (with its lattices) and a run of levels for
    every group; each is searched along the frontier of its hull.
    """
    a, p = y * theta[:-1], y * theta_target[:-1]
    groups = [_levels_by_score(group, a, p) for group in region.groups]
    pinned = region.step > 0.0
    for group in region.groups:
        pinned[group.columns] = True
    best, x, bound, nodes = -np.inf, None, -np.inf, 0
    parts, ties = [], count()
    queue = [(region.lower, region.upper, tuple((0, len(columns)) for columns, _, _ in groups))]
    while queue:
        for part in queue:
            above, points, halves = _relaxation(theta, theta_target, region, groups, part, y, loss)
            heapq.heappush(parts, (-above, next(ties), halves))
            for point in points:
                lower, upper = (np.where(pinned, point, end) for end in (region.lower, region.upper))
                at_rest = np.clip(rest, lower, upper)
                found, value, _ = _along_frontier(theta, theta_target, lower, upper, at_rest, y, loss)
                if value > best:
                    best, x = value, found
        target = max(best, known)
        u, v = (y * (x @ t[:-1] + t[-1]) for t in (theta, theta_target))
        close = 3e-10 * abs(target) + 1e-14 * float(loss.value(u) + loss.value(v)) + 8 * np.finfo(float).eps
        queue = []
        while parts and not queue:
            above, _, queue = heapq.heappop(parts)
            if -above <= target + close or nodes >= max_nodes or not queue:
                bound = max(bound, -above)
            if -above <= target + close or nodes >= max_nodes:  # no other part has a larger bound
                queue = []
                break
        nodes += len(queue)
    size = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)) + (region.upper - region.lower), 1.0)
    return x, best, float(max(bound, best)) + _rounding(theta, theta_target, size, loss, best), nodes


def _levels_by_score(group, a, p):
    """The levels of a group that no other one dominates: (column or -1, u, v), u and v rising."""
    width = group.on - group.off
    column, u, v = group.columns, a[group.columns] * width, p[group.columns] * width
    if not group.exactly:
        column, u, v = np.append(-1, column), np.append(0.0, u), np.append(0.0, v)
    order = np.lexsort((column, -v, u))
    column, u, v = column[order], u[order], v[order]
    keep = v > np.concatenate(([-np.inf], np.maximum.accumulate(v)[:-1]))
    return column[keep], u[keep], v[keep]


def _relaxation(theta, theta_target, region, groups, part, y, loss):
    """The bound of a part, points of the region near its maximum, and the halves to look at next."""
    lower, upper, runs = part
    a, p = y * theta[:-1], y * theta_target[:-1]
    single = np.ones(len(a), dtype=bool)
    x = np.where(a > 0, lower, np.where(a < 0, upper, np.where(p > 0, upper, lower)))
    for group in region.groups:
        single[group.columns] = False
        x[group.columns] = group.off
    flips = np.flatnonzero(single & (np.sign(a) * np.sign(p) > 0) & (upper > lower))
    width = upper[flips] - lower[flips]
    # (slope, du, dv, coordinate or -1 - group, levels at both ends)
    edges = [
        (abs(p[j] / a[j]), abs(a[j]) * w, abs(p[j]) * w, j, 0, 1) for j, w in zip(flips.tolist(), width, strict=True)
    ]
    at = []
    u0, v0 = float(a @ x) + y * theta[-1], float(p @ x) + y * theta_target[-1]
    for g, ((_, u, v), (first, stop)) in enumerate(zip(groups, runs, strict=True)):
        at.append(first)
        u0, v0 = u0 + u[first], v0 + v[first]
        edges += [
            ((v[k] - v[i]) / (u[k] - u[i]), u[k] - u[i], v[k] - v[i], -1 - g, i, k) for i, k in _hull(u, v, first, stop)
        ]
    edges.sort(key=lambda edge: (-edge[0], edge[3:]))
    if edges:
        du, dv = (np.array([edge[i] for edge in edges]) for i in (1, 2))
        u, v = u0 + np.append(0.0, np.cumsum(du)), v0 + np.append(0.0, np.cumsum(dv))
        number, zero = np.arange(len(edges)), np.zeros(len(edges))
        left, right = (
            np.stack([u[:-1], v[:-1], number, zero], axis=1),
            np.stack([u[1:], v[1:], number, zero + 1], axis=1),
        )
        _, bound, edge, t = _bisect(left, right, loss)
    else:
        bound, edge, t = float(loss.value(u0) - loss.value(v0)), 0, 0.0
    for _, _, _, j, _, k in edges[:edge] + (edges[edge : edge + 1] if t == 1.0 else []):
        if j >= 0:
            x[j] = lower[j] + upper[j] - x[j] if region.step[j] == 0.0 else (upper[j] if x[j] == lower[j] else lower[j])
        else:
            at[-1 - j] = k

    def point(x, at):
        x = x.copy()
        for (columns, _, _), level, group in zip(groups, at, region.groups, strict=True):
            x[group.columns[group.columns == columns[level]]] = group.on[group.columns == columns[level]]
        return x

    if not 0.0 < t < 1.0:
        return bound, [point(x, at)], []
    j, i, k = edges[edge][3:]
    if j < 0:
        g = -1 - j
        halves = [
            (lower, upper, (*runs[:g], run, *runs[g + 1 :])) for run in ((runs[g][0], i + 1), (i + 1, runs[g][1]))
        ]
        return bound, [point(x, [*at[:g], level, *at[g + 1 :]]) for level in (i, k)], halves
    if region.step[j] == 0.0:
        return bound, [point(x, at)], []
    origin, step = region.origin[j], region.step[j]
    first, last = (np.rint((end[j] - origin) / step) for end in (lower, upper))
    middle = (x[j] + t * (lower[j] + upper[j] - 2 * x[j]) - origin) / step
    below = np.clip(np.floor(middle), first, last - 1)
    points, halves = [], []
    for number, side in ((below, upper), (below + 1, lower)):
        value = float(np.clip(origin + number * step, lower[j], upper[j]))
        x, side = x.copy(), side.copy()
        x[j] = side[j] = value
        points.append(point(x, at))
        halves.append((lower, side, runs) if number == below else (side, upper, runs))
    return bound, points, halves


def _hull(u, v, first, stop):
    """The edges (i, k) of the upper hull of the points first, ..., stop - 1, u and v rising."""
    corners = [first]
    for k in range(first + 1, stop):
        while len(corners) > 1:
            h, i = corners[-2:]
            if (v[i] - v[h]) * (u[k] - u[i]) > (v[k] - v[i]) * (u[i] - u[h]):
                break
            corners.pop()
        corners.append(k)
    return list(pairwise(corners))
