"""How far a model is from the clean victim's objective, by one line below the loss."""

import dataclasses

import numpy as np
import pytest

from mtpfast.guarantee.per_row import _on_margin
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.clean_pass import amount_of
from mtpfast.proofs.lines import gap_of, lines_of
from mtpfast.training.victim import refit

INTERCEPTS = {"penalised": {}, "free": {"penalize_intercept": False}, "absent": {"fit_intercept": False}}


def gap(X, y, theta, objective, weight=None):
    lines = lines_of(theta[None], X, y, objective, weight, *_on_margin(X, y, theta, objective, weight))
    return gap_of(theta, lines, objective, amount_of(X, y, objective, weight))


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_gap_holds_the_objective_s(loss, intercept, scale):
    """At any model it is at least ``(J(theta) - min J) / J(theta)``; at the minimiser it is nearly 0."""
    rng = np.random.default_rng(3)
    X = scale * rng.random((60, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.3 * scale * rng.standard_normal(60) > 0.2 * scale, 1.0, -1.0)
    weight = rng.integers(1, 4, 60).astype(float)
    for penalty in ({"alpha": 0.1}, {"alpha": 0.1, "count_rows": True}, {"C": 1.0}):
        objective = make_objective(loss, **penalty, **INTERCEPTS[intercept], class_weight={1: 2.0})
        fit = refit(X, y, objective, weight, tol=1e-10)
        least = objective.value(fit.theta, X, y, weight)
        assert gap(X, y, fit.theta, objective, weight) < 1e-7
        for size in 10.0 ** np.arange(-6, 2):
            step = size * rng.standard_normal(4) * [1.0, 1.0, 1.0, objective.one]
            theta = fit.theta + step / [scale, scale, scale, 1.0]
            value = objective.value(theta, X, y, weight)
            true = (value - least) / value
            found = gap(X, y, theta, objective, weight)
            assert true <= found + 1e-9 * true
            mirrored = dataclasses.replace(objective, class_weight=objective.class_weight[::-1])
            assert gap(X, -y, -theta, mirrored, weight) == pytest.approx(found, rel=1e-6, abs=1e-12)


def test_a_minimum_near_rounding_is_told_apart():
    """Separable classes and a weak penalty: what the line lacks is summed row by row, not as a difference of sums."""
    rng = np.random.default_rng(0)
    X = rng.random((12, 2))
    y = np.where(X[:, 0] > 0.5, 1.0, -1.0)
    X[:, 0] += 0.3 * y
    objective = make_objective("squared_hinge", C=1e6, penalize_intercept=False)
    theta = refit(X, y, objective, tol=1e-10).theta
    assert objective.value(theta, X, y) < 1e-4
    assert gap(X, y, theta, objective) < 1e-8


def test_the_share_is_of_no_more_than_the_objective():
    """A loss that is rounded up, by however much, does not make the share less."""
    rng = np.random.default_rng(1)
    X, y = rng.random((30, 2)), rng.choice([-1.0, 1.0], 30)
    objective = make_objective("hinge", alpha=0.1)
    theta = np.array([1.0, -1.0, 0.2])
    lines = lines_of(theta[None], X, y, objective, None, *_on_margin(X, y, theta, objective, None))
    higher = lines._replace(loss=2.0 * lines.loss)
    assert gap_of(theta, higher, objective, 30.0) >= gap_of(theta, lines, objective, 30.0) > 0.01


def test_a_label_of_no_weight_proves_nothing_of_a_free_intercept():
    """Then the objective has no minimum: it falls with the intercept for ever."""
    X, weight = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 1.0, 0.0])
    objective = make_objective("log_loss", alpha=0.1, penalize_intercept=False)
    assert gap(X, np.array([1.0, 1.0, -1.0]), np.array([0.0, 3.0]), objective, weight) == np.inf
