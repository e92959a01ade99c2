"""Repeated points taken apart: distinct points with the same pull, so that no check of repeats sees them.

The model depends on the poison through

.. math:: \\sum_j c_j s(m_j) y_j \\tilde x_j, \\qquad s = -\\varphi', \\quad m_j = y_j \\theta \\cdot \\tilde x_j,

and the number of points of each label only. Copies of a point may so be moved by any :math:`\\delta_j` with

* :math:`\\sum_j \\delta_j = 0` over points of one label and one pull s, and
* s as it was: the margin unchanged, :math:`w \\cdot \\delta_j = 0`; or, where s is constant around it (the hinge, while
  margins stay below 1), changed within that range.

A point that is no proper mean of points of the set (a corner of a box) cannot be taken apart by itself. On convex sets
it is taken apart with another: both go towards one another. On records two records exchange levels (or rows of a
table), or go a step of a column in opposite directions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_generator, check_number
from mtpfast.arrays.frames import take_records
from mtpfast.arrays.labels import Classes
from mtpfast.arrays.rows import row_groups
from mtpfast.preprocessing.codecs import codec_of

__all__ = ["spread"]

HALVINGS = 40  # of a move that leaves the set
TRIES = 60  # moves of records for every repeat
NEXT = 1e-12  # relative to the width of a column
LEVEL = 1e-12  # margins so near to one another, relative to 1 + |m|, are the same


def spread(result, X=None, *, scale=1.0, random_state=0):
    """See :meth:`mtpfast.PoisoningResult.spread`."""
    scale = check_number(scale, "scale", strict=True)
    if scale > 1.0:
        raise ValueError(f"scale must be at most 1, got {scale!r}")
    if result.feasible_set.is_finite:
        raise TypeError("the points are candidates of a pool and cannot be moved: give CandidatePool(max_repeats=...)")
    if result.records is not None and (X is None or result.preprocessing is None):
        raise ValueError("X must be given, the clean table, and the result have its preprocessing: points are records")
    d = len(result.theta) - 1
    signs = Classes(result.classes).signs(result.labels)[result.sequence]
    regions = result.feasible_set.bind(result.feature_names, result.classes).regions(d)
    rng = check_generator(random_state)
    sparse = sp.issparse(result.points)
    rows = (result.points.toarray() if sparse else np.array(result.points))[result.sequence]
    for sign in np.unique(signs):
        if regions[sign].kind == "documents":
            raise TypeError("the points are documents: words are not moved from one to another")
        of_label = np.flatnonzero(signs == sign)
        rows[of_label] = _Label(result, regions[sign], sign, rows[of_label], scale, rng).apart()
    rows += 0.0
    group = row_groups(np.column_stack([signs, rows]))
    first = np.unique(group, return_index=True)[1]
    points, labels, records = rows[first], result.labels[result.sequence[first]], result.records
    if records is not None:
        codec = codec_of(result.preprocessing, X)
        records = codec.decode(points)
        points = codec.encode(records)
        again = row_groups(np.column_stack([signs[first], points]))  # rounded to what records can hold
        kept = np.unique(again, return_index=True)[1]
        points, labels, records, group = points[kept], labels[kept], take_records(records, kept), again[group]
    left = len(group) - len(points)
    message = f"{len(points)} distinct points of {len(group)}" + (f", {left} could not be told apart" if left else "")
    one_model = {}
    if result.path is not None:  # the way there was another
        n = len(result.path) if result.path_index is None else int(result.path_index[-1]) + 1
        history = {name: values[-1:] if len(values) == n else values for name, values in result.history.items()}
        one_model = {"path": result.path[-1:], "path_index": None, "history": history}
    return dataclasses.replace(
        result,
        points=sp.csr_matrix(points) if sparse else points,
        labels=labels,
        records=records,
        sequence=group,
        message=f"{result.message}; {message}" if result.message else message,
        **one_model,
    )


class _Label:
    """The points of one label, one row for every copy."""

    def __init__(self, result, region, sign, X, scale, rng):
        self.region, self.X, self.scale, self.rng = region, np.array(X), scale, rng
        self.loss = result.objective.loss
        self.w, self.b = sign * result.theta[:-1], sign * float(result.theta[-1])
        self.lower, self.upper = region.lower, region.upper
        steps = getattr(region, "step", np.zeros(len(self.w)))
        self.free = (self.upper > self.lower) & (steps == 0.0)
        for group in region.groups:
            self.free[group.columns] = False
        moving = (self.upper > self.lower) & (steps > 0.0)
        together = [group.columns for group in region.groups]
        for table in getattr(region, "tables", ()):  # features that take its rows together
            self.free[table.columns] = False
            together.append(table.columns)
        self.units = [np.array([j]) for j in np.flatnonzero(moving)] + together
        self.steps, self.origin = steps, getattr(region, "origin", None)

    def apart(self):
        """The rows, as many of them distinct as were found."""
        group = row_groups(self.X)
        for g in np.flatnonzero(np.bincount(group) > 1):
            self._around(np.flatnonzero(group == g))
        if self._repeats().any():
            self._towards()
        if self.units and self._repeats().any():
            self._exchange()
        return self.X

    def _repeats(self):
        """Mask of the rows that occur before."""
        mask = np.ones(len(self.X), dtype=bool)
        mask[np.unique(row_groups(self.X), return_index=True)[1]] = False
        return mask

    def _margin(self, x):
        return float(x @ self.w) + self.b

    def _same_pull(self, before, after):
        """Whether margins have the same pull, and all between them."""
        return (
            abs(after - before) <= LEVEL * (1.0 + abs(before)) or self.loss.pull(before) == self.loss.pull(after)
        ) and self._is_inner(before) == self._is_inner(after)

    def _is_inner(self, margin):
        """Whether the pull is constant around a margin, by a millionth."""
        room = 1e-6 * (1.0 + abs(margin))
        return self.loss.pull(margin - room) == self.loss.pull(margin + room)

    # -- copies around their mean --------------------------------------------------------------

    def _around(self, rows):
        """Copies of one point: pairs ``x + delta, x - delta``, and a triple where their number is odd."""
        x, n = self.X[rows[0]], len(rows)
        room = np.where(self.free, self.scale * np.minimum(x - self.lower, self.upper - x), 0.0)
        room[room <= NEXT * (self.upper - self.lower)] = 0.0  # a rounding away from a bound is on it
        if not np.any(room > 0.0):
            return
        margin, n_triples = self._margin(x), n % 2
        delta = self._draw(x, room, margin, n // 2 + n_triples)
        if delta is None:
            return
        moves = np.vstack([delta, -delta])
        if n_triples:  # the first two, and minus both
            first, second = 0.5 * delta[0], 0.5 * delta[-1]
            moves = np.vstack([first, second, -(first + second), delta[1:-1], -delta[1:-1]])
        new = np.clip(x + moves, self.lower, self.upper)
        if len(new) == n and np.all(self.region.contains(new)):
            self.X[rows] = new

    def _draw(self, x, room, margin, n):
        """n moves delta with ``x + delta`` and ``x - delta`` in the region and the pull as it is; None: not found."""
        delta = room * self.rng.uniform(-1.0, 1.0, (n, len(x)))
        inner = self._is_inner(margin)
        normals = [] if inner else [self.w]
        for a, end in self.region.planes:
            if float(a @ x) >= end - 1e-9 * (abs(end) + float(np.abs(a) @ np.abs(x))):
                normals.append(a)  # x lies on it
        if normals:  # at right angles to the normals, in units of the room
            A = np.array(normals) * room
            unit = np.divide(delta, room, out=np.zeros_like(delta), where=room > 0.0)
            for _ in range(2):  # once more, for the rounding of the first
                unit -= unit @ np.linalg.pinv(A) @ A
            delta = unit * room / np.maximum(1.0, np.abs(unit).max(axis=1, keepdims=True))
        if np.any(np.abs(delta).max(axis=1) <= 1e-9 * room.max()):
            return None
        for i in range(n):
            for _ in range(HALVINGS):
                reach = abs(float(delta[i] @ self.w))
                sides = np.clip([x + delta[i], x - delta[i]], self.lower, self.upper)
                if (not inner or self._constant(margin, reach)) and np.all(self.region.contains(sides)):
                    break
                delta[i] *= 0.5
            else:
                return None
        return delta

    def _constant(self, margin, reach):
        """Whether the pull is constant within ``reach`` of a margin, and a little beyond."""
        reach += 1e-6 * (1.0 + abs(margin))
        return self.loss.pull(margin - reach) == self.loss.pull(margin + reach)

    # -- two points towards one another ---------------------------------------------------------

    def _towards(self):
        """Repeats of a corner, each with a point elsewhere: ``x + t (z - x)`` and ``z - t (z - x)``."""
        if not np.any(self.free):
            return
        for i in np.flatnonzero(self._repeats()):
            x = self.X[i]
            others = np.flatnonzero(np.any((self.X != x)[:, self.free], axis=1))
            for k in self.rng.permutation(others)[:8]:
                if self._approach(i, k):
                    break

    def _approach(self, i, k):
        x, z = self.X[i], self.X[k]
        margins = self._margin(x), self._margin(z)
        if self.loss.pull(margins[0]) != self.loss.pull(margins[1]):
            return False
        way = np.where(self.free, z - x, 0.0) * self.scale * self.rng.uniform(0.05, 0.45)
        for _ in range(12):
            pair = np.clip([x + way, z - way], self.lower, self.upper)
            same = all(self._same_pull(m, self._margin(new)) for m, new in zip(margins, pair, strict=True))
            if same and np.all(self.region.contains(pair)):
                self.X[i], self.X[k] = pair
                return True
            way = 0.5 * way
        return False

    # -- records --------------------------------------------------------------------------------

    def _exchange(self):
        """Repeated records: with another one of the same pull, levels exchanged or a step up here and down there."""
        X, rng = self.X, self.rng
        margins = X @ self.w + self.b
        keys = [row.tobytes() for row in X + 0.0]
        seen = {}
        for key in keys:
            seen[key] = seen.get(key, 0) + 1
        left = [i for i in range(len(X)) if seen[keys[i]] > 1]
        for _ in range(TRIES * len(left)):
            if not left:
                break
            at = int(rng.integers(len(left)))
            i, k = left[at], int(rng.integers(len(X)))
            if seen[keys[i]] < 2:
                left[at] = left[-1]
                left.pop()
                continue
            if i == k or self.loss.pull(margins[i]) != self.loss.pull(margins[k]):
                continue
            x, z = X[i].copy(), X[k].copy()
            for u in rng.integers(len(self.units), size=int(rng.integers(1, 4))):
                self._move(x, z, self.units[u])
            new = (x + 0.0).tobytes(), (z + 0.0).tobytes()
            if new[0] == new[1] or new[0] in seen or (new[1] in seen and new[1] != keys[k]):
                continue
            after = self._margin(x), self._margin(z)
            if not (self._same_pull(margins[i], after[0]) and self._same_pull(margins[k], after[1])):
                continue
            if not np.all(self.region.contains(np.array([x, z]))):
                continue
            for row, key, value, margin in zip((i, k), new, (x, z), after, strict=True):
                seen[keys[row]] -= 1
                if not seen[keys[row]]:
                    del seen[keys[row]]
                seen[key] = seen.get(key, 0) + 1
                X[row], keys[row], margins[row] = value, key, margin

    def _move(self, x, z, columns):
        """One exchange, in place."""
        j = columns[0]
        if len(columns) == 1 and self.steps[j] > 0.0 and (x[j] == z[j] or self.rng.random() < 0.5):
            most = round((self.upper[j] - self.lower[j]) / self.steps[j])
            step = self.steps[j] * self.rng.choice((-1, 1)) * int(np.ceil(most * self.rng.random() ** 3))  # mostly few
            for row, by in ((x, step), (z, -step)):  # written as origin + whole * step, as the points are
                row[j] = self.origin[j] + np.round((row[j] + by - self.origin[j]) / self.steps[j]) * self.steps[j]
        else:
            x[columns], z[columns] = z[columns], x[columns].copy()
