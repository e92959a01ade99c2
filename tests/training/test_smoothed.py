"""Newton's method on the smoothed hinge leads long walks of the active-set method near their end."""

import numpy as np
import pytest
import scipy.sparse as sp

import mtpfast.training.hinge as hinge
import mtpfast.training.smoothed as smoothed
from mtpfast.losses.objective import make_objective
from mtpfast.training.smoothed import ABOVE, BELOW, ON, Rows, near_minimiser
from mtpfast.training.victim import Victim


def problem(seed, n=1500, scales=(0.0, 3.0)):
    """Rows whose features are of very different scales, labels with noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8)) * np.logspace(*scales, 8)
    y = np.where(X @ (1.0 / np.logspace(*scales, 8)) + rng.normal(size=n) > 0.5, 1.0, -1.0)
    return X, y


def value(rows, ridge, theta):
    return sum(
        float(part.weight @ np.maximum(0.0, 1.0 - part.y * (part.X @ theta[:-1] + theta[-1]))) for part in rows
    ) + 0.5 * float(ridge @ theta**2)


@pytest.mark.parametrize("start", [0.0, 1e-3, 1e6])
@pytest.mark.parametrize("free", [False, True])
def test_it_ends_near_the_minimum(start, free):
    X, y = problem(1)
    c = np.random.default_rng(2).integers(0, 3, len(y)).astype(float)
    rows = [Rows(X[:900], y[:900], c[:900]), Rows(sp.csr_matrix(X[900:]), y[900:], c[900:])]
    objective = make_objective("hinge", C=1.0, penalize_intercept=not free)
    ridge = objective.k(float(len(y))) * objective.R(8)
    best = Victim(X, y, objective, sample_weight=c, tol=1e-10).theta
    found, sides = near_minimiser(rows, ridge, 1.0, np.full(9, start))
    assert sides is None
    least = value(rows, ridge, best)
    # the kink is about as wide as what holds the rows on the margin: far less than the loss of the model of zero
    assert least - 1e-9 * c.sum() <= value(rows, ridge, found) <= least + 0.02 * c.sum()


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_led_walk_ends_at_the_same_model(monkeypatch, sparse, free):
    X, y = problem(3)
    objective = make_objective("hinge", C=1.0, penalize_intercept=not free)

    def models():
        victim = Victim(sp.csr_matrix(X) if sparse else X, y, objective, tol=1e-10)
        found = [victim.theta]
        for x in np.random.default_rng(4).normal(size=(3, 8)) * np.abs(X).max(axis=0):
            victim.add(x, -1.0, 400)
            found.append(victim.theta)
        assert victim.gap <= 1e-9 * len(y)
        return np.array(found)

    led = []
    near = hinge.near_minimiser
    monkeypatch.setattr(hinge, "near_minimiser", lambda *args: led.append(1) or near(*args))
    monkeypatch.setattr(hinge, "LONG", 10**9)
    alone = models()
    assert not led
    monkeypatch.setattr(hinge, "LONG", 0.01)
    together = models()
    assert len(led) >= 2
    # both are within sqrt(2 gap / k) of the minimum, in the units of the features
    size = np.append(np.abs(X).max(axis=0), 1.0)
    assert np.max(np.abs(alone - together) * size) <= 1e-6 * np.max(np.abs(alone) * size)


def tied(n=3000):
    """Few rows of one label among many of the other: all answers are alike, and most margins exactly 1."""
    rng = np.random.default_rng(5)
    X = np.round(rng.random((n, 12)), 2)
    X[:, 6:] = X[:, 6:] > 0.7
    return X, np.where(rng.random(n) < 0.06, 1.0, -1.0)


def test_rows_tied_on_the_margin_are_told_their_sides(monkeypatch):
    X, y = tied()
    objective = make_objective("hinge", C=0.1)
    monkeypatch.setattr(hinge, "LONG", 10**9)
    alone = Victim(X, y, objective, tol=1e-10)
    margin = y * (X @ alone.theta[:-1] + alone.theta[-1])
    assert np.count_nonzero(np.abs(margin - 1.0) <= 1e-9) > 2500
    found = []
    near = hinge.near_minimiser
    monkeypatch.setattr(hinge, "near_minimiser", lambda *args: found.append(near(*args)) or found[-1])
    monkeypatch.setattr(hinge, "LONG", 0.01)
    led = Victim(X, y, objective, tol=1e-10)
    theta, sides = found[0]
    assert set(sides) <= {ABOVE, ON, BELOW}
    assert np.count_nonzero(sides == ON) <= 13
    margin = y * (X @ theta[:-1] + theta[-1])
    assert np.all(sides[margin > 1.001] == ABOVE)
    assert np.all(sides[margin < 0.999] == BELOW)
    assert np.linalg.norm(led.theta - alone.theta) <= 1e-8 * np.linalg.norm(alone.theta)
    assert led.gap <= 1e-9 * len(y)


def test_a_round_that_only_rounding_keeps_going_is_the_last(monkeypatch):
    """Where no step of a line search is short enough, nothing is left to gain: the sides are told."""
    X, y = tied()
    whole, calls, found = smoothed._Stacked.step, [], []

    def step(self, theta, margin, s, inside, h):
        promised, t, *moves = whole(self, theta, margin, s, inside, h)
        calls.append(np.count_nonzero(inside))
        return (1.0, 0.5**smoothed.HALVINGS, *moves) if h < 1e-9 and calls[-1] <= 13 else (promised, t, *moves)

    near = hinge.near_minimiser
    monkeypatch.setattr(smoothed._Stacked, "step", step)
    monkeypatch.setattr(hinge, "near_minimiser", lambda *args: found.append(near(*args)) or found[-1])
    monkeypatch.setattr(hinge, "LONG", 0.01)
    led = Victim(X, y, make_objective("hinge", C=0.1), tol=1e-10)
    assert found[0][1] is not None
    assert len(calls) < smoothed.STEPS
    assert led.gap <= 1e-9 * len(y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("free", [False, True])
def test_wrong_sides_do_no_harm(seed, free):
    """The core checks what it is told: any sides, and any model, lead to the minimiser."""
    X, y = problem(seed, n=300, scales=(0.0, 0.5))
    objective = make_objective("hinge", C=1.0, penalize_intercept=not free)
    victim = Victim(X, y, objective, tol=1e-10)
    right, rng = victim.theta, np.random.default_rng(seed)
    core = victim._solver.core
    theta = np.empty(9)
    for sides in (np.full(300, ON), np.full(300, ABOVE), np.full(300, BELOW), rng.integers(0, 3, 300)):
        assert core.start(right + rng.normal(size=9), sides.astype(np.int8)) == 0
        core.audit()
        core.theta(theta)
        assert np.linalg.norm(theta - right) <= 1e-7 * np.linalg.norm(right)
        assert not core.invariants()


@pytest.mark.parametrize("sparse", [False, True])
def test_after_a_led_training_the_next_one_is_led_at_once(monkeypatch, sparse):
    """Whether the model lies near the one before or where the caller thinks, and whatever rows weigh nothing."""
    X, y = problem(6)
    X = sp.csr_matrix(X) if sparse else X
    objective, rng = make_objective("hinge", C=1.0), np.random.default_rng(7)
    monkeypatch.setattr(hinge, "LONG", 0.01)
    victim = Victim(X, y, objective, tol=1e-10)
    monkeypatch.setattr(hinge.HingeSolver, "_led", lambda *_: pytest.fail("it walked before it was led"))
    for near in (None, rng.normal(size=9) / np.logspace(0.0, 3.0, 9)):
        weight = rng.integers(0, 3, len(y)).astype(float)
        weight[1000:] = 0.0
        victim.reweigh(objective, weight, near=near)
        monkeypatch.undo()
        alone = Victim(X[:1000], y[:1000], objective, sample_weight=weight[:1000], total_weight=1.0, tol=1e-10)
        monkeypatch.setattr(hinge, "LONG", 0.01)
        monkeypatch.setattr(hinge.HingeSolver, "_led", lambda *_: pytest.fail("it walked before it was led"))
        assert victim.is_tight()
        # both are within sqrt(2 gap / k) of the minimum, in the units of the features
        size = np.append(np.logspace(0.0, 3.0, 8), 1.0)
        assert np.max(np.abs(alone.theta - victim.theta) * size) <= 1e-6 * np.max(np.abs(alone.theta) * size)
