"""What an attack point by point keeps for its result: models of its path, and the points as they are."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from mtpfast.arrays.checks import check_count
from mtpfast.arrays.growing import Growing
from mtpfast.results.packed import Packed

__all__ = ["Path", "take_points"]


class _Seen(NamedTuple):
    """So many models were visited; the last of them (None: not known), and the best: (claim, which, theta)."""

    n: int = 0
    last: np.ndarray | None = None
    best: tuple = (-math.inf, 0, None)


class Path:
    """The models that were visited, as far as they are kept.

    Every k-th, from the clean model on; and always the last, and the one whose claim of a bound is best.

    Parameters
    ----------
    width : int
    keep : bool or int
        True: all. False: the clean model, the best and the last. k: every k-th, too.
    """

    def __init__(self, width: int, keep):
        if isinstance(keep, (bool, np.bool_)):
            self.every = 1 if keep else None
        else:
            self.every = check_count(keep, "keep_path")
        self.rows, self.index = Growing((width,)), array("q")
        self.seen = self.before = _Seen()  # and what was seen when there was a model less

    def __len__(self) -> int:
        """Models that were visited, up to the last one that is known."""
        if self.seen.last is not None:
            return self.seen.n
        return self.index[-1] + 1 if self.index else 0

    def _is_kept(self, i):
        return i == 0 or (self.every is not None and i % self.every == 0)

    def append(self, theta, claim) -> None:
        """Visit a model. ``theta`` is a new array for each."""
        seen = self.seen
        if self._is_kept(seen.n):
            self.rows.append(theta)
            self.index.append(seen.n)
        claim = claim if math.isfinite(claim) else 0.0
        best = (claim, seen.n, theta) if claim > seen.best[0] else seen.best
        self.before, self.seen = seen, _Seen(seen.n + 1, theta, best)

    def take_back(self) -> None:
        """Forget the last model."""
        self.seen = self.before
        kept = bisect_left(self.index, self.seen.n)
        del self.index[kept:]
        self.rows.truncate(kept)

    def go_on(self, path, index, claims) -> None:
        """Take over the models ``path`` of an earlier attack, which are the entries ``index`` of those claimed."""
        n = len(claims)
        which = [i for i, entry in enumerate(index) if entry < n and self._is_kept(entry)]
        self.rows.extend(path[: len(which)] if which == list(range(len(which))) else path[which])
        self.index.extend(int(index[i]) for i in which)
        best = _Seen().best
        for i, entry in enumerate(index):
            claim = claims[entry] if entry < n and math.isfinite(claims[entry]) else 0.0
            if entry < n and claim > best[0]:
                best = claim, int(entry), np.array(path[i])
        self.seen = self.before = _Seen(n, None, best)

    def finish(self):
        """(models, which of those visited they are: None for all); there is no more to come."""
        n = len(self)
        kept = bisect_left(self.index, n)
        del self.index[kept:]
        self.rows.truncate(kept)
        _, best, theta = self.seen.best
        for entry, model in ((best, theta), (n - 1, self.seen.last)):
            at = bisect_left(self.index, entry)
            if model is not None and entry < n and (at == len(self.index) or self.index[at] != entry):
                self._insert(at, entry, model)
        return self.rows.rows, None if len(self.index) == n else np.array(self.index, dtype=np.intp)

    def _insert(self, at, entry, model):
        self.index.insert(at, entry)
        self.rows.append(model)
        rows = self.rows.rows
        for i in range(len(rows) - 1, at, -1):  # row by row: a copy of what moves would be half the path
            rows[i] = rows[i - 1]
        rows[at] = model


def take_points(victim, n: int):
    """(points, labels) of the first n distinct points of a victim that is none any more; corners stay packed."""
    rows, sparse = victim.training.rows, victim.training.sparse
    corners = rows.corners
    if corners is None:
        return victim.hand_over(n)
    labels = victim.added_y[:n].copy()
    rows.corners = None
    victim.hand_over(0)  # what reads the corners lets go of them
    corners.truncate(n)
    return Packed(corners, sparse), labels
