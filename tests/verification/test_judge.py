"""The judge: scikit-learn's training, and a maximum that is not the oracle's."""

import numpy as np
import pytest
import scipy.sparse as sp

from mtpfast import CandidatePool, FeatureSpace, max_loss_difference
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit
from mtpfast.verification import judge


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("intercept", [{}, {"penalize_intercept": False}, {"fit_intercept": False}])
@pytest.mark.parametrize("weights", [{}, {"class_weight": {1: 2.0, -1: 0.5}, "count_rows": True}])
def test_the_judge_sees_what_exact_training_does(loss, intercept, weights):
    """Model, distance, loss difference and the three parts of the objective, for every victim, dense and sparse."""
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 3)), np.where(np.arange(40) % 2 == 0, 1.0, -1.0)
    objective = make_objective(loss, C=0.5, **intercept, **weights)
    points, labels, counts = rng.random((2, 3)), np.array([1.0, -1.0]), np.array([3, 2])
    target, space = np.append(rng.normal(size=3), 0.0), FeatureSpace(0.0, 1.0)
    weight = np.append(np.ones(40), counts)
    theta = refit(np.vstack([X, points]), np.append(y, labels), objective, weight, tol=1e-12).theta
    tol = 1e-6 if objective.loss.kinked and objective.is_free else 1e-10  # LIBSVM takes minutes for more
    found = judge(objective, X, y, points, labels, counts, space, target, tol=tol)
    # the tolerances of scikit-learn's trainers, and of L-BFGS where it has none
    np.testing.assert_allclose(found.theta, theta, atol=2e-4)
    assert found.n_points == 5
    assert found.feasible
    assert found.distance == pytest.approx(np.linalg.norm(theta - target), abs=1e-3)
    c = weights.get("class_weight")
    difference = max_loss_difference(found.theta, target, space, loss, class_weight=c)
    # both global; the layers of partial choices to 1e-6
    assert found.loss_difference == pytest.approx(difference.value, rel=1e-5, abs=1e-6)
    total = found.clean_loss + found.poison_loss + found.penalty
    own = objective.value(theta, np.vstack([X, points]), np.append(y, labels), weight)
    assert own - 1e-9 * own <= total <= own * (1.0 + 1e-5)
    if loss != "hinge" or "penalize_intercept" not in intercept:
        same = judge(objective, sp.csr_matrix(X), y, sp.csr_matrix(points), labels, counts, space, target, tol=1e-10)
        np.testing.assert_allclose(same.theta, found.theta, atol=1e-4)


def test_the_judge_believes_nobody_about_the_set():
    X, y = np.array([[0.0], [1.0]]), np.array([-1.0, 1.0])
    objective = make_objective(C=1.0)
    outside = judge(objective, X, y, np.array([[1.5]]), [1.0], [1], FeatureSpace(0.0, 1.0))
    assert not outside.feasible
    assert np.isnan(outside.distance)
    pool = CandidatePool(X, y, max_repeats=1)
    assert judge(objective, X, y, X[:1], [-1.0], [1], pool).feasible
    assert not judge(objective, X, y, X[:1], [-1.0], [2], pool).feasible
    assert not judge(objective, X, y, X[:1], [1.0], [1], pool).feasible
    assert judge(objective, X, y, np.zeros((0, 1)), [], [], pool).n_points == 0


@pytest.mark.parametrize(
    ("points", "labels", "counts", "named"),
    [
        ([[np.nan]], [1.0], [1], "points contains NaN"),
        ([[1.0, 2.0]], [1.0], [1], "points has 2 features"),
        ([[1.0]], [0.0], [1], "labels must hold -1 and"),
        ([[1.0]], [1.0, 1.0], [1, 1], "labels has 2 labels, points has 1"),
        ([[1.0]], [1.0], [1.5], "counts must hold"),
        ([[1.0]], [1.0], [-1], "counts must hold"),
        ([[1.0]], [1.0], [1, 1], "counts must hold"),
    ],
)
def test_the_judge_names_what_no_table_can_hold(points, labels, counts, named):
    X, y = np.array([[0.0], [1.0]]), np.array([-1.0, 1.0])
    with pytest.raises(ValueError, match=named):
        judge(make_objective(C=1.0), X, y, points, labels, counts, FeatureSpace(0.0, 1.0))
