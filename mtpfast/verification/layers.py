"""The largest loss difference over whole numbers, levels and continuous features, by layers of partial choices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Layers", "largest_in_mixed"]


WIDTH = 2_000  # nodes kept of a layer of partial choices
RANGES = 64  # into which a long lattice is cut


def largest_in_mixed(region, a, p, loss, tol=1e-9):
    """``max phi(u) - phi(v)`` over whole numbers, levels and continuous features, by layers of partial choices.

    A point is a choice per block: a level of a group, a whole number of steps of a lattice, a share of a
    continuous feature. Each choice adds to u and to v; less u and more v is better, so of every block only
    its frontier counts. A *node* has chosen for some blocks; what the others may add lies below the concave chain
    of their edges, steepest first, and every vertex of that chain is a point. Layer by layer one block is chosen,
    the one of the longest jump first (a long lattice in ranges that grow shorter). Nodes that another node
    dominates in (u, v) go, and so do those whose bound is not above the best point known; in the end only
    continuous features are left. At most ``WIDTH`` nodes are kept of a layer; the bounds of the others count.
    """
    search = Layers(loss, tol)
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
    """``(u, v, blocks)``: the point of least u (of those, of largest v), and the choices from there."""
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


class Layers:
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
                np.maximum.at(bounds, first + node, self.on_edges(*ends, steps[edge]))
        order = np.argsort(-bounds, kind="stable")
        n_kept = min(WIDTH, int(np.sum(bounds > self.enough))) if np.any(steps) else 0
        if n_kept < len(order):
            self.finished = max(self.finished, float(bounds[order[n_kept]]))
        return u[order[:n_kept]], v[order[:n_kept]]

    def on_edges(self, u1, u2, v1, v2, steps):
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
