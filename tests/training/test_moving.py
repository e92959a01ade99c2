"""A victim whose points are replaced at every step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from mtpfast.losses.objective import make_objective
from mtpfast.training.moving import MovingVictim
from mtpfast.training.victim import refit


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize(
    "victim", [{"alpha": 0.09}, {"C": 1.0, "penalize_intercept": False}, {"alpha": 0.01, "class_weight": "balanced"}]
)
def test_replaced_points_leave_the_model_of_training_from_scratch(loss, victim):
    """After 120 replacements, some to weight 0, theta is that of a cold refit."""
    X, y = load_digits(return_X_y=True)
    rows = (y == 1) | (y == 7)
    X, y = X[rows] / 16.0, np.where(y[rows] == 1, 1.0, -1.0)
    objective, rng = make_objective(loss, **victim), np.random.default_rng(0)
    moving = MovingVictim(X, y, objective)
    points, labels = rng.random((3, 64)), [1.0, -1.0, 1.0]
    for step in range(120):
        points[step % 3] = np.clip(points[step % 3] + 0.1 * rng.standard_normal(64), 0.0, 1.0)
        counts = rng.integers(0, 20, 3).astype(float)
        theta = moving.place(points, labels, counts)
    cold = refit(np.vstack([X, points]), np.append(y, labels), objective, np.append(np.ones(len(y)), counts), tol=1e-10)
    # both are trained to a distance of 1e-8 of the model
    assert_allclose(theta, cold.theta, atol=1e-6 * np.abs(cold.theta).max())


@pytest.mark.parametrize("class_weight", [None, {1: 0.7, -1: 1.3}])
def test_fractions_that_come_and_go_leave_nothing(class_weight):
    """Counts need not be whole: a point whose shares were moved away in parts weighs exactly nothing, and may be
    replaced."""
    rng = np.random.default_rng(0)
    X, y = rng.random((30, 3)), np.where(np.arange(30) % 2 == 0, 1.0, -1.0)
    objective = make_objective("hinge", C=1.0, class_weight=class_weight)
    victim = MovingVictim(X, y, objective, tol=1e-10)
    for _ in range(60):
        points, counts = rng.random((3, 3)), rng.random(3)
        for share in (1.0, 1.0 / 3.0, 0.1, 0.7):
            victim.place(points, [1.0, -1.0, 1.0], counts * share)
    weight = np.concatenate([np.ones(30), counts * 0.7])
    direct = refit(np.vstack([X, points]), np.append(y, [1.0, -1.0, 1.0]), objective, weight, tol=1e-10)
    # both to 1e-10
    np.testing.assert_allclose(victim.theta, direct.theta, atol=1e-8)
