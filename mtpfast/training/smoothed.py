"""A model near the minimiser of the hinge objective, by Newton's method on the hinge with its kink smoothed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .training_set import squares

__all__ = ["ABOVE", "BELOW", "ON", "Rows", "cost_of_step", "near_minimiser"]


ABOVE, ON, BELOW = 0, 1, 2  # the margin
#: The half-width of the kink: at first so many of the rows are in it, then so much of it remains from round to round,
#: or so much while rows are tied.
BEGIN, SHRINK, TIED_SHRINK = 0.2, 0.4, 0.1
#: Rows are tied on the margin where a round leaves more than this share of them in the kink. Each gets a threshold of
#: its own once the kink is this narrow, in units of ``|x~| / sqrt(k)``: much narrower, and what rounding leaves of the
#: slopes would move the model by more than the kink.
TIED, FINE = 0.9, 1.2e-6
#: A round ends where a step promises less than this share of what the smoothing is worth.
SMALL = 0.03
STEPS = 120
HALVINGS = 30  # of a step, at most
BLOCK = 4096  # rows
#: Untied rows in the kink, for every feature: few enough for the exact method to sort out.
ENOUGH = 1.5


class Rows(NamedTuple):
    """Rows with their labels and weights."""

    X: object
    y: np.ndarray
    weight: np.ndarray


def cost_of_step(n: int, d: int) -> int:
    """What a step of :func:`near_minimiser` costs, in margins of single rows: two reads and a factor."""
    return 2 * n + 4 * d * d


def near_minimiser(rows: list[Rows], ridge, intercept: float, theta):
    r"""``(theta, sides)``: nearly the least of ``theta' diag(ridge) theta / 2 + sum_i c_i max(0, 1 - m_i)``.

    ``m_i = y_i (w . x_i + intercept b)`` are the margins. The kink at ``m = 1`` is smoothed over ``|m - 1| <= h`` (the
    loss there is ``(1 + h - m)^2 / 4h``), and Newton's method with a line search finds the least, for one h after
    another, from where the last two lead, until hardly more rows are in the kink than there are features. Thousands of
    rows that are tied on the margin would never leave: they get thresholds of their own, ``_hinge``'s but wider, until
    the same few are left in two rounds. Nothing is proved of what comes out: it is where an exact method starts from.

    ``ridge`` of shape (d + 1,). ``sides``: of every row, where rows were tied: ABOVE, ON or BELOW; else None.
    O(n d + n_kink d^2) a step, 20 to 100 steps.
    """
    data = _Stacked(rows, ridge, intercept)
    y, c, d = data.y, data.c, len(theta) - 1
    nothing = theta, None
    margin = data.margins(theta)
    if c @ np.maximum(0.0, 1.0 - margin) + 0.5 * float(ridge @ theta**2) > c.sum():  # that of the model of zero
        theta, margin = np.zeros(d + 1), np.zeros(len(y))
    fine = FINE * data.size / np.sqrt(max(float(ridge.max()), 1e-300))
    h = max(1.5 * float(np.quantile(np.abs(margin - 1.0), BEGIN)), fine)
    before, tied, spread, last, halved = np.inf, False, False, None, 0
    for _ in range(STEPS):
        s = _slopes(margin, h)
        inside = (s > 0.0) & (s < 1.0) & (c > 0.0)
        promised, t, step, along = data.step(theta, margin, s, inside, h)
        theta, margin = theta + t * step, margin + t * along
        left, halved = np.count_nonzero(inside), halved + 1 if 0.0 < t <= 0.5**HALVINGS else 0
        stuck = halved > 2 and left <= d + 1  # where all that is promised is rounding
        if promised > SMALL * h * float(c[inside].sum()) and not stuck:
            continue
        if left <= ENOUGH * (d + 1) and not spread:
            break
        if stuck or left == before <= d + 1:
            return theta, np.where(inside, ON, np.where(s > 0.5, BELOW, ABOVE)).astype(np.int8)
        tied |= left > max(TIED * before, 2 * d)
        if tied and not spread and h <= fine:
            spread, before, last = True, np.inf, None
            margin = margin - h * _thresholds(len(y))
            continue
        narrower = max(TIED_SHRINK * h, fine) if tied and not spread else SHRINK * h
        here = h, theta, margin
        if last is not None:  # the model moves along with h as long as the same rows are in the kink
            far = (narrower - h) / (last[0] - h)
            theta, margin = theta + far * (last[1] - theta), margin + far * (last[2] - margin)
        last, before, h = here, left, narrower
    return (theta, None) if np.all(np.isfinite(theta)) else nothing


def _slopes(margin, h):
    return np.clip((1.0 + h - margin) / (2.0 * h), 0.0, 1.0)


def _thresholds(n):
    """``nudge`` of ``_rows.pxd``, in units of its own."""
    return 1.0 + np.arange(n, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32) / 2.0**32


class _Stacked:
    """All rows, and the ridge; ``size``: the root of the mean square of a row."""

    def __init__(self, rows, ridge, intercept):
        self.rows, self.ridge, self.one = rows, ridge, intercept
        self.y, self.c = (np.concatenate([getattr(part, name) for part in rows]) for name in ("y", "weight"))
        self.starts = np.cumsum([0, *(len(part.y) for part in rows)])
        total = sum(float(squares(part.X, axis=1).sum()) for part in rows)
        self.size = np.sqrt(total / len(self.y) + intercept)

    def parts(self):
        """(X, first row, end) of every part."""
        return zip((part.X for part in self.rows), self.starts[:-1], self.starts[1:], strict=True)

    def margins(self, theta):
        return self.y * (np.concatenate([X @ theta[:-1] for X, _, _ in self.parts()]) + self.one * theta[-1])

    def step(self, theta, margin, s, inside, h):
        """Newton's step at the slopes s: what it promises (0: there is none), its length, itself and its margins."""
        pulls = self.c * s * self.y
        pull = np.append(np.sum([pulls[i:j] @ X for X, i, j in self.parts()], axis=0), self.one * pulls.sum())
        gradient = self.ridge * theta - pull
        step = _newton(self._curvature(inside) / (2.0 * h), self.ridge, gradient)
        along, promised = self.margins(step), -float(gradient @ step)
        if not promised > 0.0:
            return 0.0, 0.0, step, along
        flat, curve, weighed = float(self.ridge * theta @ step), float(self.ridge * step @ step), self.c * along
        low, high, t = 0.0, np.inf, 1.0
        for _ in range(HALVINGS):  # the derivative along the step rises to 0
            at = flat + t * curve - float(_slopes(margin + t * along, h) @ weighed)
            if abs(at) <= 0.01 * promised:
                break
            low, high = (t, high) if at < 0.0 else (low, t)
            t = 2.0 * t if high == np.inf else 0.5 * (low + high)
        return promised, t, step, along

    def _curvature(self, inside):
        """``sum c z z'`` of the rows in the kink, some at a time: no copy of X is made."""
        total = np.zeros((len(self.ridge),) * 2)
        for X, i, j in self.parts():
            chosen = np.flatnonzero(inside[i:j])
            for some in (chosen[at : at + BLOCK] for at in range(0, len(chosen), BLOCK)):
                block = X[some].toarray() if sp.issparse(X) else X[some]
                Z = np.column_stack([block, np.full(len(some), self.one)])
                total += (Z * self.c[i:j][some, None]).T @ Z
        return total


def _newton(H, ridge, gradient):
    """``-(H + diag(ridge))^-1 gradient``, of unit diagonal first: features may be of very different scales."""
    H[np.diag_indices_from(H)] += ridge
    unit = np.sqrt(np.diagonal(H))
    unit = 1.0 / np.where(unit > 0.0, unit, 1.0)
    H *= unit * unit[:, None]
    H[np.diag_indices_from(H)] += 1e-12
    try:
        return -unit * scipy.linalg.solve(H, unit * gradient, assume_a="pos")
    except np.linalg.LinAlgError:
        return -unit * unit * gradient
