"""Newton's method on the smoothed hinge leads long walks of the active-set method near their end."""

import numpy as np
import pytest
import scipy.sparse as sp

import mtpfast.training.hinge as hinge
from mtpfast.losses.objective import make_objective
from mtpfast.training.smoothed import Rows, near_minimiser
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
    found = near_minimiser(rows, ridge, 1.0, np.full(9, start))
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


def test_rows_tied_on_the_margin_are_left_alone():
    """All rows of one kind, and no kink can be too narrow for them: the method gives up instead of going on."""
    X = np.zeros((400, 3))
    X[:, 0] = 1.0
    y = np.where(np.arange(400) < 390, 1.0, -1.0)
    rows, ridge, begin = [Rows(X, y, np.ones(400))], np.full(4, 1e-3), np.zeros(4)
    theta = near_minimiser(rows, ridge, 1.0, begin)
    assert value(rows, ridge, theta) < 0.5 * value(rows, ridge, begin)
