"""Where to pull the model: the search of damage over two points and their shares.

With a budget of B points the model depends on the poison only through its pull, ``p = sum_j n_j c_j s(m_j) y_j x~_j``
(s = -phi', c the class weight): theta(p) is continuous, and ``d theta / d p`` the inverse Hessian H^-1 of the victim.
To raise ``U(theta)`` move p along ``v = H^-1 dU/dtheta``: of all feasible points of a label that of largest
``s(m) y v . x~`` adds most, and it lies on the frontier of the two scores ``(y theta . x~, y v . x~)``.
Points of one label merge into their mean, at no extra cost (Jensen).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Ascent", "Schedule", "State", "best_point", "pulls", "rounded"]


ON_MARGIN = 1e-6  # a point of the hinge this far beyond the margin still counts as on it
INNER = 10  # steps from one training to the next, in which the model is taken to follow the pull in a straight line
MOMENTUM = 0.85
MANY_ROWS = 400  # on the margin: the system of so many more is solved for one step more


@dataclass(frozen=True)
class Schedule:
    """One pass of the search: so many steps, from one sharpness and step length to another, both geometric."""

    steps: int
    beta: tuple[float, float]
    delta: tuple[float, float]
    growth: float = 1.0
    momentum: float = MOMENTUM
    width: float = 0.02
    inner: int = INNER

    def at(self, t):
        """(beta, delta) at step t."""
        share = t / max(1, self.steps - 1)
        return tuple(a * (b / a) ** share for a, b in (self.beta, self.delta))


@dataclass
class State:
    """Points (one for each label) and how many of each, not rounded."""

    points: dict
    counts: dict

    def copy(self):
        return State({y: x.copy() for y, x in self.points.items()}, dict(self.counts))


def pulls(loss, margins) -> np.ndarray:
    """``s = -phi'`` at these margins; the hinge pulls in full up to margin 1."""
    if loss.smooth:
        return -np.asarray(loss.derivative(margins))
    return (np.asarray(margins) <= 1.0 + ON_MARGIN).astype(float)


def rounded(counts, budget) -> dict:
    """Whole counts, of a sum as near as can be, and at most the budget: largest remainders first."""
    labels = list(counts)
    values = np.array([counts[y] for y in labels], dtype=float)
    total = min(budget, round(float(values.sum())))
    whole = np.floor(values).astype(int)
    left = max(0, total - int(whole.sum()))
    for i in np.argsort(-(values - whole), kind="stable")[:left]:
        whole[i] += 1
    return dict(zip(labels, whole.tolist(), strict=True))


def best_point(region, y, theta, v, loss):
    """The point of a label in the hull that pulls most along v: ``(x, s(m) y v . x~, s(m))``, None where none pulls.

    The hinge pulls in full up to margin 1: the most ``y v . x~`` with ``y theta . x~ <= 1``. O(d log d).
    """
    A, a0, P, p0 = y * theta[:-1], y * theta[-1], y * v[:-1], y * v[-1]
    m, p, slopes = region.frontier(A, a0, P, p0)
    if loss.smooth:
        return _smooth_point(region, m, p, slopes, A, a0, P, p0, loss)
    top = int(np.argmax(p))
    if m[0] > 1.0 + 1e-9:
        return None
    if m[top] <= 1.0 or not len(slopes):
        x = region.linear_argmax(P)
        if float(A @ x) + a0 <= 1.0 + 1e-9:
            return x, float(P @ x) + p0, 1.0
    x = _on_edge(region, A, a0, P, slopes, int(np.searchsorted(m, 1.0, side="right")) - 1, 1.0)
    return x, float(P @ x) + p0, 1.0


def _on_edge(region, A, a0, P, slopes, edge, margin):
    """The point of that margin on an edge of the frontier (or as near as the edge comes)."""
    slope = slopes[min(max(edge, 0), len(slopes) - 1)]
    nudge = 1e-9 * (1.0 + abs(slope))
    left, right = (region.linear_argmax(P - s * A) for s in (slope + nudge, slope - nudge))
    low, high = float(A @ left) + a0, float(A @ right) + a0
    share = min(1.0, max(0.0, (margin - low) / (high - low))) if high > low else 0.0
    return left + share * (right - left)


def _smooth_point(region, m, p, slopes, A, a0, P, p0, loss):
    shares = np.array([0.0, 0.25, 0.5, 0.75])
    if len(slopes):
        ms = (m[:-1, None] + shares * np.diff(m)[:, None]).ravel()
        ps = (p[:-1, None] + shares * np.diff(p)[:, None]).ravel()
        ms, ps = np.append(ms, m[-1]), np.append(ps, p[-1])
    else:
        ms, ps = m, p
    values = -loss.derivative(ms) * ps
    best = int(np.argmax(values))
    if not len(slopes):
        x = region.linear_argmax(P - 1e-9 * A)
    else:
        x = _on_edge(region, A, a0, P, slopes, best // len(shares), ms[best])
    s = -float(loss.derivative(float(A @ x) + a0))
    return x, s * (float(P @ x) + p0), s


class Ascent:
    """The search for one victim, one aim and one budget.

    Parameters
    ----------
    victim : MovingVictim
    sensitivity : KinkedSensitivity or SmoothSensitivity
    regions : dict of label to Region
    aim : Aim
    budget : int
    watch : callable
        Called after every training with (state, theta, margins of the rows aimed at); True stops.
    """

    def __init__(self, victim, sensitivity, regions, aim, budget, watch):
        self.victim, self.sensitivity, self.regions, self.aim = victim, sensitivity, regions, aim
        self.budget, self.watch = budget, watch
        self.objective = victim.victim.objective
        self.loss = self.objective.loss

    def weight_of(self, y):
        return self.victim.victim.settled.weight_of(y)

    def start(self) -> State:
        """No points yet: the first step brings them in."""
        return State({}, {})

    def _enter(self, state, theta, v):
        """Points that do next to nothing yet, half of the budget for each label.

        The mean clean row of the label; where it is beyond the margin of the hinge, that far on its way to the best
        point that it lies on the margin: there it is about to pull.
        """
        victim, labels = self.victim.victim, list(self.regions)
        for y in labels:
            own = np.where(victim.y == y, victim.weight, 0.0)
            x = self._inside(y, np.asarray(victim.X.T @ own).ravel() / max(float(own.sum()), 1e-300))
            best = best_point(self.regions[y], y, theta, v, self.loss)
            margin = y * (float(x @ theta[:-1]) + theta[-1])
            if not self.loss.smooth and margin > 1.0 and best is not None:
                end = y * (float(best[0] @ theta[:-1]) + theta[-1])
                x = self._inside(y, x + min(1.0, (margin - 1.0) / max(margin - end, 1e-300)) * (best[0] - x))
            state.points[y], state.counts[y] = x, self.budget / len(labels)

    def adopt(self, points, labels, counts) -> State:
        """The state of these points: those of one label merge into their mean."""
        labels, counts, state = np.asarray(labels), np.asarray(counts, dtype=float), self.start()
        for y in self.regions:
            n = np.where(labels == y, counts, 0.0)
            if n.sum() > 0.0:
                state.points[y], state.counts[y] = self._inside(y, n @ np.array(points) / n.sum()), float(n.sum())
        return state

    def _inside(self, y, x):
        """What is outside the region, moved into it."""
        return self.regions[y].into(x)

    def scaled(self, state: State, factor) -> State:
        """The same points, each so many times as often, within the budget."""
        return State(dict(state.points), {y: n * factor for y, n in state.counts.items()})

    def whole(self, state: State):
        """(points, labels, counts) of a state, the counts whole."""
        counts = rounded(state.counts, self.budget)
        used = [y for y in counts if counts[y] > 0]
        return [state.points[y] for y in used], used, [counts[y] for y in used]

    def place(self, state):
        """Train on the whole points of a state: (points, labels, counts, theta)."""
        points, labels, counts = self.whole(state)
        return points, labels, counts, self.victim.place(points, labels, counts)

    def run(self, state: State, schedule: Schedule) -> bool:
        """Steps from a state, which is moved. Returns whether it was stopped."""
        momentum, before = np.zeros(len(self.victim.theta)), None
        self.ratio, self.told, grown, self.stale = 1.0, None, 1.0, 0
        for t in range(schedule.steps):
            beta, delta = schedule.at(t)
            placed = self.place(state)
            theta = placed[-1]
            margins = self.aim.rough_margins(theta)
            if self.watch(state, theta, margins):
                return True
            self._compare(before, margins)
            now, _ = self.aim.slopes(margins, beta)
            if before is not None:
                grown *= 1.25 if now > self.aim.slopes(before, beta)[0] else 0.7
                grown = min(max(grown, 0.5), schedule.growth)
            before = margins
            delta *= grown
            self._look(placed, margins, schedule.width)
            self.part = self.aim.near(margins, beta)
            momentum = self._steps(state, theta, margins[self.part.which], beta, delta, momentum, schedule)
            if self.told is None:
                return False
        placed = self.place(state)
        return bool(self.watch(state, placed[-1], self.aim.rough_margins(placed[-1])))

    def _steps(self, state, theta, margins, beta, delta, momentum, schedule):
        """Steps in which the model is taken to follow the pull in a straight line. Returns the momentum.

        ``told``: how the margins move by that, None where no point pulls.
        """
        there, way, self.told = margins, 0.0, None
        for _ in range(schedule.inner):
            _, slopes = self.part.slopes(there, beta)
            momentum = schedule.momentum * momentum + self.sensitivity.apply(self.part.gradient(slopes))
            share = self._step(state, theta, momentum, delta)
            if share is None:
                break
            if share > 0.0:
                theta, there = theta + share * self.turn, there + share * self.moved
                way += share * self.part.typical(self.moved)
            self.told = there - margins
            if way >= schedule.inner * delta:  # whole copies may be a long way
                break
        return momentum

    def _look(self, placed, margins, width):
        if self.loss.smooth:
            self.sensitivity.look()
            return
        if self.stale > 0:
            self.stale -= 1
            return
        points, labels, counts, theta = placed
        clean = margins if self.aim.X is self.sensitivity.X else self.sensitivity.rough_margins(theta)
        weights = [n * self.weight_of(y) for y, n in zip(labels, counts, strict=True)]
        self.sensitivity.look(theta, self.victim.k, clean, points, labels, weights, width)
        self.stale = self.sensitivity.n_rows // MANY_ROWS

    def _step(self, state, theta, v, delta):
        """Move the points towards the best ones, and the budget to the better label, by a share; None: not at all."""
        if not state.points:
            self._enter(state, theta, v)
            return 0.0
        found = {}
        for y, region in self.regions.items():
            best = best_point(region, y, theta, v, self.loss)
            if best is not None:
                found[y] = best
        if not found:
            return None
        better = max(found, key=lambda y: self.weight_of(y) * found[y][1])
        # what a full step would do to the pull
        change = np.zeros(len(theta))
        for y, (x, _, s) in found.items():
            share = self.weight_of(y) * s * (self.budget if y == better else state.counts.get(y, 0.0))
            change[:-1] += share * y * x
            change[-1] += share * y
        for y, n in state.counts.items():
            x = state.points[y]
            s = self._pull(y, x, theta)
            change[:-1] -= self.weight_of(y) * n * s * y * x
            change[-1] -= self.weight_of(y) * n * s * y
        if not self.objective.fit_intercept:
            change[-1] = 0.0
        g = self._share(change, delta)
        for y in self.regions:
            n, x = state.counts.get(y, 0.0), state.points.get(y)
            state.counts[y] = (1.0 - g) * n + (g * self.budget if y == better else 0.0)
            if y in found:
                state.points[y] = self._inside(y, found[y][0] if x is None else x + g * (found[y][0] - x))
        return g

    def _compare(self, before, margins):
        """By how much the margins moved, next to what was predicted: the steps to come are longer or shorter by that.

        The prediction is linear. Points that pull far off do so less and less as the model follows them, and points
        beyond the margin do not pull until they have crossed it.
        """
        predicted = 0.0 if before is None else self.part.typical(self.told)
        if predicted > 0.0:
            moved = self.part.typical((margins - before)[self.part.which])
            self.ratio *= float(np.clip(moved / predicted, 0.2, 5.0)) ** 0.5

    def _share(self, change, delta):
        """Which share of a change of the pull to make, so that the aimed rows' margins move by delta.

        ``turn`` and ``moved``: what all of it would do to the model and to these margins.
        """
        self.turn = self.ratio * self.sensitivity.apply(change)
        self.moved = self.part.rough_margins(self.turn)
        effect = self.part.typical(self.moved)
        return min(0.5, delta / effect) if effect > 0.0 else 0.5

    def _pull(self, y, x, theta):
        return float(pulls(self.loss, y * (float(x @ theta[:-1]) + theta[-1])))
