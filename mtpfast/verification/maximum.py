"""The largest loss difference, by other methods than the oracle's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from mtpfast.losses.margin import HINGE

__all__ = ["attained_and_proved", "max_loss_difference"]


WIDTH = 2_000  # nodes kept of a layer of partial choices
RANGES = 64  # into which a long lattice is cut
NODES, PROGRAMS = 20_000, 60  # of the mixed-integer solver, for one maximum: what is left open shows in its bound
UNITS = 1e5  # of the objective handed to the mixed-integer solver, which drops slopes below 1e-7


def max_loss_difference(theta, theta_target, feasible_set, loss, classes, weights=None) -> float:
    """The maximum over the feasible set of ``phi(y theta . x~) - phi(y theta_target . x~)``.

    Written apart from ``oracle/`` and in plain NumPy: a scan of a pool, the dual of the linear program for the
    hinge loss on a box, layers of partial choices for other losses and spaces. ``weights``: what the two
    labels weigh.
    """
    return attained_and_proved(theta, theta_target, feasible_set.bind(classes=classes), loss, weights)[0]


def attained_and_proved(theta, theta_target, space, loss, weights=None):
    """The largest loss difference found at a point, and a bound of all: equal but for the solver's tolerance."""
    weigh = dict(zip((-1.0, 1.0), weights or (1.0, 1.0), strict=True))
    if hasattr(space, "X"):
        best, labels = -math.inf, space.signs()
        for sign in (-1.0, 1.0):
            allowed = slice(None) if labels is None else labels == sign
            u = sign * (space.X @ theta[:-1] + theta[-1])[allowed]
            v = sign * (space.X @ theta_target[:-1] + theta_target[-1])[allowed]
            best = max(best, weigh[sign] * float(np.max(loss.value(u) - loss.value(v), initial=-math.inf)))
        return best, best
    found = [
        [weigh[sign] * value for value in _largest_in(region, sign * theta, sign * theta_target, loss)]
        for sign, region in space.regions(theta.size - 1).items()
    ]
    return max(attained for attained, _ in found), max(proved for _, proved in found)


def _largest_in(region, a, p, loss):
    if getattr(region, "norm", None) is not None:
        return _largest_of_documents(region, a, p, loss)
    if hasattr(region, "max_length"):
        return _largest_of_counts(region, a, p, loss)
    if region.is_box and loss is HINGE:
        best = _hinge_on_box(a, p, region.lower, region.upper)
        return best, best
    return _largest_in_mixed(region, a, p, loss)


def _largest_in_mixed(region, a, p, loss, tol=1e-9):
    """``max phi(u) - phi(v)`` over whole numbers, levels and continuous features, by layers of partial choices.

    A point is a choice per block: a level of a group, a whole number of steps of a lattice, a share of a
    continuous feature. Each choice adds to u and to v; less u and more v is better, so of every block only
    its frontier counts. A *node* has chosen for some blocks; what the others may add lies below the concave chain
    of their edges, steepest first, and every vertex of that chain is a point. Layer by layer one block is chosen,
    the one of the longest jump first (a long lattice in ranges that grow shorter). Nodes that another node
    dominates in (u, v) go, and so do those whose bound is not above the best point known; in the end only
    continuous features are left. At most ``WIDTH`` nodes are kept of a layer; the bounds of the others count.
    """
    search = _Layers(loss, tol)
    u, v, blocks = _blocks(region, a, p)
    u, v = np.array([u]), np.array([v])
    while True:
        u, v = search.prune(u, v, blocks)
        jumps = [block.jump for block in blocks]
        if not len(u) or max(jumps, default=0.0) == 0.0:
            break
        chosen = blocks.pop(int(np.argmax(jumps)))
        more_u, more_v, rest = chosen.choices()
        u, v = (u[:, None] + more_u).ravel(), (v[:, None] + more_v).ravel()
        blocks += [] if rest is None else [rest]
    return search.attained, max(search.attained, search.finished)


@dataclass(frozen=True)
class _Block:
    """What one choice adds to (u, v), from (0, 0) on, u and v rising: the options of a group, or a segment.

    ``steps`` is the number of steps of a segment, 0 where it is continuous, and None for a group.
    """

    u: np.ndarray
    v: np.ndarray
    steps: int | None

    @property
    def jump(self):
        """How far two neighbouring choices are apart; 0 where there is none left to make."""
        if self.steps == 0:
            return 0.0
        return float(np.max(np.diff(self.u) + np.diff(self.v))) / (self.steps or 1)

    def choices(self):
        """(u, v) of every option, and the block that is left of a lattice too long to be written out."""
        if self.steps is None:
            return self.u, self.v, None
        width = 0 if self.steps <= RANGES else -(-self.steps // RANGES)
        first = np.arange(self.steps + 1) if width == 0 else np.arange(0, self.steps, width)
        share = np.minimum(first, self.steps - width) / self.steps  # the last range overlaps: none is shorter
        part = width / self.steps
        rest = _Block(part * self.u, part * self.v, width) if width else None
        return share * self.u[-1], share * self.v[-1], rest

    def edges(self):
        """(rise of u, rise of v) along the upper hull, and the steps of each edge: 1 for two options of a group."""
        keep = [0]
        for i in range(1, len(self.u)):
            while len(keep) > 1:
                (i0, i1), (du, dv) = keep[-2:], (self.u[i] - self.u[keep[-2]], self.v[i] - self.v[keep[-2]])
                if (self.v[i1] - self.v[i0]) * du > dv * (self.u[i1] - self.u[i0]):
                    break
                keep.pop()
            keep.append(i)
        rise = np.diff(self.u[keep]), np.diff(self.v[keep])
        return *rise, np.full(len(keep) - 1, 1 if self.steps is None else self.steps)


def _blocks(region, a, p):
    """``(u, v, blocks)``: the point of least u (where u does not care, of largest v), and the choices from there."""
    w, q = a[:-1], p[:-1]
    grouped = np.zeros(len(w), dtype=bool)
    u, v, blocks = float(a[-1]), float(p[-1]), []
    for group in region.groups:
        grouped[group.columns] = True
        width = group.on - group.off
        us, vs = w[group.columns] * width, q[group.columns] * width
        if not group.exactly:
            us, vs = np.append(us, 0.0), np.append(vs, 0.0)
        u, v = u + float(w[group.columns] @ group.off), v + float(q[group.columns] @ group.off)
        order = np.lexsort((-vs, us))
        us, vs = us[order], vs[order]
        best = np.concatenate([[True], vs[1:] > np.maximum.accumulate(vs)[:-1]])
        us, vs = us[best], vs[best]
        u, v = u + us[0], v + vs[0]
        if len(us) > 1:
            blocks.append(_Block(us - us[0], vs - vs[0], None))
    span = region.upper - region.lower
    low = np.where(w == 0, q < 0, w > 0)  # whether the start is at the lower bound
    start = np.where(low | (span == 0), region.lower, region.upper)
    u, v = u + float(w[~grouped] @ start[~grouped]), v + float(q[~grouped] @ start[~grouped])
    for j in np.flatnonzero((w * q > 0) & (span > 0) & ~grouped):
        steps = int(np.rint(span[j] / region.step[j])) if region.step[j] > 0 else 0
        blocks.append(_Block(np.array([0.0, abs(w[j]) * span[j]]), np.array([0.0, abs(q[j]) * span[j]]), steps))
    return u, v, blocks


class _Layers:
    """The best point known (``attained``), and the largest bound of what was put aside (``finished``)."""

    def __init__(self, loss, tol):
        self.loss, self.tol = loss, tol
        self.attained = self.finished = -math.inf

    @property
    def enough(self):
        """What a bound must exceed to be worth a look."""
        return self.attained + self.tol * max(1.0, abs(self.attained))

    def difference(self, u, v):
        return self.loss.value(u) - self.loss.value(v)

    def prune(self, u, v, blocks):
        """The nodes of a layer that are worth a choice more; what their chains attain is noted."""
        order = np.lexsort((-v, u))
        u, v = u[order], v[order]
        best = np.concatenate([[True], v[1:] > np.maximum.accumulate(v)[:-1]])
        u, v = u[best], v[best]
        edges = [block.edges() for block in blocks] or [(np.zeros(0),) * 3]
        du, dv, steps = (np.concatenate(part) for part in zip(*edges, strict=True))
        order = np.argsort(-dv / du, kind="stable")
        steps = steps[order]
        U, V = (np.concatenate([[0.0], np.cumsum(part[order])]) for part in (du, dv))
        bounds, some = np.empty(len(u)), max(1, 100_000 // len(U))
        for first in range(0, len(u), some):
            part = slice(first, first + some)
            us, vs = u[part, None] + U, v[part, None] + V
            phi_u, phi_v = self.loss.value(us), self.loss.value(vs)
            bounds[part] = np.max(phi_u - phi_v, axis=1)
            self.attained = max(self.attained, float(np.max(bounds[part])))
            node, edge = np.nonzero(phi_u[:, :-1] - phi_v[:, 1:] > self.enough)
            if len(node):
                ends = us[node, edge], us[node, edge + 1], vs[node, edge], vs[node, edge + 1]
                np.maximum.at(bounds, first + node, self._on_edges(*ends, steps[edge]))
        order = np.argsort(-bounds, kind="stable")
        n_kept = min(WIDTH, int(np.sum(bounds > self.enough))) if np.any(steps) else 0
        if n_kept < len(order):
            self.finished = max(self.finished, float(bounds[order[n_kept]]))
        return u[order[:n_kept]], v[order[:n_kept]]

    def _on_edges(self, u1, u2, v1, v2, steps):
        """A bound for each edge, as good as it takes to tell; the points of it that may be had are tried.

        On a piece phi(u) lies below its chord and -phi(v) below the tangent at any s, the best of which is where
        both slopes cancel. A piece whose bound is too large is cut in eight; the first cuts are where u or v is 1,
        which makes the bound exact for the hinge.
        """
        loss, du, dv = self.loss, u2 - u1, v2 - v1
        most = np.full(len(u1), -math.inf)
        cuts = np.sort(np.clip(np.stack([(1.0 - u1) / du, (1.0 - v1) / dv]), 0.0, 1.0), axis=0)
        ends = np.vstack([np.zeros_like(du), cuts, np.ones_like(du)])
        owner = np.tile(np.arange(len(u1)), 3)
        left, right = ends[:-1].ravel(), ends[1:].ravel()
        owner, left, right = (part[right > left] for part in (owner, left, right))
        while len(owner):
            u_at, v_at, u_rise, v_rise = u1[owner], v1[owner], du[owner], dv[owner]
            phi = loss.value(u_at + left * u_rise)
            fall = loss.value(u_at + right * u_rise) - phi
            pull = v_rise * (right - left)
            low, high = np.zeros(len(owner)), np.ones(len(owner))
            for _ in range(25):
                middle = 0.5 * (low + high)
                up = fall - loss.derivative(v_at + (left + middle * (right - left)) * v_rise) * pull > 0.0
                low, high = np.where(up, middle, low), np.where(up, high, middle)
            share = 0.5 * (low + high)
            t = left + share * (right - left)
            s = v_at + t * v_rise
            value, slope = loss.value(s), loss.derivative(s) * pull
            bound = phi - value + np.maximum(slope * share, fall - slope * (1.0 - share))
            # Where u and v are near each other: phi(u) - phi(v) <= -phi'(u) (v - u), and -phi' falls.
            first, last = u_at + left * u_rise, u_at + right * u_rise
            lead = np.maximum(v_at + left * v_rise - first, v_at + right * v_rise - last)
            bound = np.minimum(bound, -loss.derivative(np.where(lead > 0.0, first, last)) * lead)
            n = steps[owner]
            for near in (np.floor, np.ceil):  # the points next to it
                at = np.where(n > 0, near(t * n) / np.maximum(n, 1), t)
                self.attained = max(
                    self.attained, float(np.max(self.difference(u_at + at * u_rise, v_at + at * v_rise)))
                )
            # An edge with a point of that much stays, whatever a closer look would say.
            hull = self.difference(u_at + t * u_rise, v_at + t * v_rise)
            stays = np.zeros(len(most), dtype=bool)
            stays[owner[hull > self.enough]] = True
            open_ = (bound > self.enough) & ~stays[owner] & (right - left > 1e-9)
            np.maximum.at(most, owner[~open_], bound[~open_])
            owner, left, right = owner[open_], left[open_], right[open_]
            ends = left + np.linspace(0.0, 1.0, 9)[:, None] * (right - left)
            owner, left, right = np.tile(owner, 8), ends[:-1].ravel(), ends[1:].ravel()
        return most


def _largest_of_counts(region, a, p, loss, tol=1e-8):
    """``max phi(u) - phi(v)`` over documents of whole counts, by mixed-integer programs.

    -phi(v) is concave: it lies below its tangents. phi(u) is convex: for u in an interval it lies below its
    chord. With both the maximum over the documents with u in that interval is a linear program over whole
    variables. Where its answer is not tight enough, the tangent at its v is added, and the interval is split at
    its u; until both meet, or ``PROGRAMS`` programs or ``NODES`` nodes are spent.
    """
    high = region.max_count
    U, V, low = region.idf * a[:-1], region.idf * p[:-1], np.zeros(len(high))
    u_ends, v_ends = (
        [base + float(np.sum(np.minimum(0.0, c * high))), base + float(np.sum(np.maximum(0.0, c * high)))]
        for base, c in ((a[-1], U), (p[-1], V))
    )
    t_low, t_high = -loss.value(np.array(v_ends))  # the variable that stands for -phi(v)
    tangents = np.linspace(*v_ends, 9).tolist()
    kinks = [1.0] if u_ends[0] < 1.0 < u_ends[1] else []
    attained = finished = better = -math.inf
    open_parts = [(math.inf, part) for part in pairwise([u_ends[0], *kinks, u_ends[1]])]
    nodes, programs = NODES, PROGRAMS
    dropped = 1e-7 / UNITS * float(np.sum(high))  # by the solver's tolerance of a reduced cost
    while open_parts and nodes > 0 and programs > 0:
        open_parts.sort()
        known, (left, right) = open_parts.pop()
        phi_left, phi_right = float(loss.value(np.array(left))), float(loss.value(np.array(right)))
        slope = (phi_right - phi_left) / (right - left) if right > left else 0.0
        start = phi_left + slope * (a[-1] - left)
        at = np.array(tangents)
        value, rate = loss.value(at), loss.derivative(at)  # t <= -phi(s) - phi'(s) (v - s)
        cuts = sp.csr_matrix(np.column_stack([rate[:, None] * V[None, :], np.ones(len(at))]))
        constraints = [
            LinearConstraint(cuts, -np.inf, -value - rate * (p[-1] - at)),
            LinearConstraint(np.append(U, 0.0)[None, :], left - a[-1], right - a[-1]),
            LinearConstraint(np.append(slope * U, 1.0)[None, :], better - start, np.inf),
            LinearConstraint(np.append(np.ones(len(U)), 0.0)[None, :], region.min_length, region.max_length),
        ]
        answer = milp(
            -UNITS * np.append(slope * U, 1.0),
            integrality=np.append(np.ones(len(U)), 0),
            bounds=Bounds(np.append(low, t_low), np.append(high, t_high)),
            constraints=constraints,
            options={"mip_rel_gap": 1e-9, "node_limit": max(1, min(1000, nodes))},
        )
        nodes, programs = nodes - (answer.mip_node_count or 0), programs - 1
        if answer.status == 2:  # no document with its u here is better than the best one known
            finished = max(finished, better)
            continue
        if answer.x is None:  # given up: what was known of the piece stands
            finished = max(finished, known)
            continue
        q = np.rint(answer.x[:-1])
        bound = min(known, start - float(answer.mip_dual_bound) / UNITS + dropped)
        u, v = a[-1] + float(U @ q), p[-1] + float(V @ q)
        attained = max(attained, float(loss.value(np.array(u)) - loss.value(np.array(v))))
        better = attained + tol * max(1.0, abs(attained))
        # The hinge is linear on either side of its kink, and so are its tangents: nothing is left to split.
        narrow = right - left <= 1e-6 * (u_ends[1] - u_ends[0])
        if loss is HINGE or narrow or bound <= better:
            finished = max(finished, bound)
            continue
        tangents.append(v)
        margin = 0.01 * (right - left)
        middle = min(max(u, left + margin), right - margin)
        open_parts += [(bound, (left, middle)), (bound, (middle, right))]
    return attained, max([finished, attained, *(bound for bound, _ in open_parts)])


def _hinge_on_box(a, p, lower, upper):
    """``max [1 - u]_+ - [1 - v]_+`` with ``u = a . x~``, ``v = p . x~`` over the box.

    ``(1 - u) - [1 - v]_+ = min(1 - u, v - u)`` is concave, so by the minimax theorem its maximum is
    ``min over 0 <= t <= 1 of (1 - t) + max_x (t p - a) . x~``: a convex function of one variable,
    piecewise linear with breakpoints ``a_j / p_j``. Where ``[1 - u]_+ = 0`` the best is
    ``-[1 - max v]_+``.
    """
    w, q = a[:-1], p[:-1]

    def dual(t):
        """Value, and slope to the right."""
        pull = t * q - w
        rises = (pull > 0) | ((pull == 0) & (q > 0))
        x = np.where(rises, upper, lower)
        return (1.0 - t) + t * p[-1] - a[-1] + float(pull @ x), p[-1] - 1.0 + float(q @ x)

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = w / q
    knots = np.unique(np.concatenate([[0.0, 1.0], ratio[(ratio > 0) & (ratio < 1)]]))
    first, last = 0, len(knots) - 1  # the minimum is at the first knot where the slope turns
    while first < last:
        middle = (first + last) // 2
        if dual(knots[middle])[1] >= 0:
            last = middle
        else:
            first = middle + 1
    concave = min(dual(t)[0] for t in knots[max(0, first - 1) : first + 2])
    v_max = p[-1] + float(np.sum(np.maximum(q * lower, q * upper)))
    return max(concave, -max(0.0, 1.0 - v_max))


def _largest_of_documents(region, a, p, loss):
    """What documents under a norm attain, at one found, and what the hull of their images (u, v) allows.

    The lower right of that hull lies between its supporting lines and the chords of the documents that touch them.
    The largest value on the lines is the bound; where it is, the line parallel to the chord is drawn. Where documents
    are few, all are looked at.
    """
    hull = _DocumentHull(region, a, p, loss)
    lines = [hull.line(1.0, 0.0), hull.line(0.0, 1.0)]
    closed = -math.inf
    cells = [(hull.corner(*lines), *lines)]
    for _ in range(300):
        k = max(range(len(cells)), key=lambda i: cells[i][0], default=-1)
        if k < 0 or cells[k][0] <= closed:
            break
        above, left, right = cells.pop(k)
        du, dv = right.u - left.u, right.v - left.v
        length = math.hypot(du, dv)
        new = hull.line(dv / length, du / length) if length > 0.0 else left
        beyond = new.height - (dv * -left.u + du * left.v) / length if length > 0.0 else 0.0
        if length == 0.0 or beyond <= 1e-10 * (abs(left.u) + abs(right.v) + length) or not left.u < new.u < right.u:
            # Nothing lies further than that beyond the chord.
            shift_u, shift_v = (max(0.0, beyond) * part / length if length > 0.0 else 0.0 for part in (dv, du))
            chord = (left.u - shift_u, left.v + shift_v), (right.u - shift_u, right.v + shift_v)
            closed = max(closed, min(above, hull.on(*chord)))
        else:
            cells += [(hull.corner(left, new), left, new), (hull.corner(new, right), new, right)]
    proved = max([closed, *(above for above, *_ in cells)])
    attained = hull.climb()
    if proved > attained + 1e-9 * max(1.0, abs(attained)):
        every = _all_documents(region)
        if every is not None:
            proved = attained = max(attained, float(np.max(hull.values(every))))
    return attained, max(attained, proved)


class _Line(NamedTuple):
    """``-alpha u + beta v <= height`` of every document; (u, v) lies on it, at a document or as good as that."""

    alpha: float
    beta: float
    height: float
    u: float
    v: float


class _DocumentHull:
    """The documents of a region as they appear under the two scores."""

    def __init__(self, region, a, p, loss):
        self.region, self.a, self.p, self.loss = region, a, p, loss
        self.value, self.counts = -math.inf, None  # of the best document met
        self.ends = [math.inf, -math.inf]  # the least u, the largest v

    def values(self, counts):
        """The loss difference of documents: ndarray of shape (n,)."""
        rows = counts * self.region.idf
        size = rows.sum(axis=1) if self.region.norm == "l1" else np.linalg.norm(rows, axis=1)
        rows /= np.where(size > 0.0, size, 1.0)[:, None]
        u, v = rows @ self.a[:-1] + self.a[-1], rows @ self.p[:-1] + self.p[-1]
        return self.loss.value(u) - self.loss.value(v)

    def line(self, alpha, beta):
        top, counts = _best_of_normed(self.region, beta * self.p[:-1] - alpha * self.a[:-1])
        value = float(self.values(counts[None])[0])
        if value > self.value:
            self.value, self.counts = value, counts
        row = counts * self.region.idf
        size = row.sum() if self.region.norm == "l1" else np.linalg.norm(row)
        row = row / size if size > 0.0 else row
        u, v = float(row @ self.a[:-1] + self.a[-1]), float(row @ self.p[:-1] + self.p[-1])
        height = top + beta * float(self.p[-1]) - alpha * float(self.a[-1])
        beyond = max(0.0, height - (beta * v - alpha * u))
        line = _Line(alpha, beta, height, u - alpha * beyond, v + beta * beyond)
        self.ends = [min(self.ends[0], line.u), max(self.ends[1], line.v)]
        return line

    def corner(self, left, right):
        """A bound of what lies between two touching points: on both lines, to where they meet."""
        determinant = left.alpha * right.beta - right.alpha * left.beta
        if determinant <= 1e-14:
            u, v = left.u, right.v
        else:
            u = (left.beta * right.height - right.beta * left.height) / determinant
            v = (left.alpha * right.height - right.alpha * left.height) / determinant
            u, v = max(min(u, right.u), self.ends[0]), min(max(v, left.v), self.ends[1])
        return max(self.on((left.u, left.v), (u, v)), self.on((u, v), (right.u, right.v)))

    def on(self, first, last):
        """A bound of the loss difference on a segment."""
        search = _Layers(self.loss, 1e-10)
        (u1, v1), (u2, v2) = first, last
        ends = self.loss.value(np.array([min(u1, u2), u1, u2])), self.loss.value(np.array([max(v1, v2), v1, v2]))
        if not (u2 > u1 and v2 > v1):
            return float(ends[0][0] - ends[1][0])
        search.attained = float(np.max(ends[0][1:] - ends[1][1:]))
        most = search._on_edges(*(np.array([end]) for end in (u1, u2, v1, v2)), np.zeros(1))
        return max(search.attained, float(most[0]))

    def climb(self):
        """The best document met, one word more or fewer as long as that pays: its loss difference."""
        region, few = self.region, np.argsort(-np.abs(self.a[:-1]) - np.abs(self.p[:-1]), kind="stable")[:300]
        for _ in range(50):
            words = np.union1d(few, np.flatnonzero(self.counts))
            tried = np.repeat(self.counts[None], 2 * len(words), axis=0)
            tried[np.arange(len(words)), words] += 1.0
            tried[len(words) + np.arange(len(words)), words] -= 1.0
            length = tried.sum(axis=1)
            kept = np.all((tried >= 0.0) & (tried <= region.max_count), axis=1)
            tried = tried[kept & (length >= region.min_length) & (length <= region.max_length)]
            values = self.values(tried)
            if not np.max(values, initial=-math.inf) > self.value:
                break
            self.value, self.counts = float(np.max(values)), tried[np.argmax(values)]
        return self.value


def _best_of_normed(region, pull):
    """``(top, counts)``: a bound of ``pull . x`` over the documents of a norm, and one that attains it or nearly.

    With l1 a document of one word is best. With l2 it is the largest ``G / sqrt(W)``, G = sum g_j c_j and
    W = sum w_j c_j^2, g = pull idf, w = idf^2. For every mu the best ``G - mu W`` takes the uses of words that gain
    most: the k-th of word j gains ``g_j - mu w_j (2 k - 1)``. As mu falls from the rate of one use,
    ``g_j / w_j (2 k - 1)``, to the next, these documents follow each other, and one of them is the best of all: where
    G <= t sqrt(W) is a convex set of (G, W), it holds for all documents if it does for these. Once the length
    limit binds they are found piece by piece; between two values of mu the square of the largest, the best
    ``4 mu (G - mu W)``, lies below that of the chord.
    """
    counts, usable = np.zeros(len(pull)), region.max_count > 0.0
    j = int(np.argmax(np.where(usable, pull, -math.inf)))
    if pull[j] <= 0.0 or region.norm == "l1":
        counts[j] = 1.0 if region.min_length or pull[j] > 0.0 else 0.0
        return float(pull[j] * counts[j]), counts
    often = np.where(usable & (pull > 0.0), np.minimum(region.max_count, region.max_length), 0.0).astype(int)
    ball = float(np.linalg.norm(pull[usable & (pull > 0.0)]))
    if often.sum() > 1_000_000:
        counts[j] = 1.0
        return ball, counts
    word = np.repeat(np.arange(len(pull)), often)
    odd = 2.0 * (np.arange(len(word)) - np.repeat(np.cumsum(often) - often, often)) + 1.0
    gain, weight = (pull * region.idf)[word], region.idf[word] ** 2 * odd
    most = region.max_length
    order = np.argsort(-gain / weight, kind="stable")
    first = order[:most]
    G, W = np.cumsum(gain[first]), np.cumsum(weight[first])
    n = int(np.argmax(G / np.sqrt(W)))
    best, chosen = float(G[n] / math.sqrt(W[n])), first[: n + 1]
    top = best
    if len(order) > most:
        mu = float((gain / weight)[first[-1]])
        parts = [(0.0, float(np.sum(np.sort(gain)[-most:])), mu, float(G[-1] - mu * W[-1]))]
        for left in range(200, -1, -1):
            if not parts:
                break
            low, F_low, high, F_high = parts.pop()
            slope = (F_high - F_low) / (high - low)
            at = min(max(0.5 * (low - F_low / slope), low), high) if slope < 0.0 else high
            square = 4.0 * at * (F_low + slope * (at - low))
            if square <= best * best * (1.0 + 1e-9) or not left or not low < at < high:
                top = max(top, math.sqrt(max(0.0, square)))
                continue
            worth = gain - at * weight
            uses = np.argsort(-worth, kind="stable")[:most]
            uses = uses[worth[uses] > 0.0]
            found = float(np.sum(gain[uses])) / math.sqrt(float(np.sum(weight[uses])))
            if found > best:
                best, chosen = found, uses
            value = float(np.sum(worth[uses]))
            parts += [(low, F_low, at, value), (at, value, high, F_high)]
        top = max([top, *(ball for _ in parts)])
    np.add.at(counts, word[chosen], 1.0)
    return max(best, min(top, ball)), counts


def _all_documents(region, limit=2_500_000):
    """The counts of every document, or None where a table of them has more than ``limit`` entries."""
    counts = np.zeros((1, len(region.idf)))
    for j in np.flatnonzero(region.max_count > 0.0):
        more = [counts]
        for k in range(1, int(region.max_count[j]) + 1):
            again = counts[counts.sum(axis=1) + k <= region.max_length].copy()
            if not len(again):
                break
            again[:, j] = k
            more.append(again)
        if sum(map(len, more)) * len(region.idf) > limit:
            return None
        counts = np.concatenate(more)
    return counts[counts.sum(axis=1) >= region.min_length]
