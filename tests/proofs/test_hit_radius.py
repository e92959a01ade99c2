"""Within which distance a model counts as the target, and a target that takes more points than can be listed."""

import numpy as np

from mtpfast import CandidatePool, FeatureSpace, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.goal import hit_radius
from mtpfast.training.victim import refit


def test_an_absent_intercept_has_no_size():
    """``1e-6 |S theta| / max S``: without an intercept the units of the features cancel, with one they do not."""
    theta = np.array([3e5, -4e5, 0.0])
    space = FeatureSpace(0.0, [1e-5, 1e-5])
    np.testing.assert_allclose(hit_radius(theta, space, fit_intercept=False), 0.5, rtol=1e-12)
    np.testing.assert_allclose(hit_radius(theta, space), 5e-6, rtol=1e-12)


def test_one_planted_point_is_not_called_two():
    """Features of 1e-5 without an intercept and next to no penalty: the model that one point more induces is known to a
    few parts in 1e9, and the bound for it is 1."""
    rng = np.random.default_rng(5)
    X = 1e-5 * rng.random((26, 1))
    y = np.where(rng.random(26) < 0.5, 1.0, -1.0)
    kind = {"loss": "log_loss", "alpha": 2.5e-13, "fit_intercept": False, "penalize_intercept": False}
    for seed in range(10):
        point = 1e-5 * np.random.default_rng(seed).random((1, 1))
        theta = refit(np.vstack([X, point]), np.append(y, 1.0), make_objective(**kind), tol=1e-10).theta
        result = minimum_poisoning(X, y, theta, feasible_set=FeatureSpace(0.0, 1e-5), integer=False, **kind)
        assert result.lower_bound <= 1


def test_more_points_than_can_be_listed():
    """A target that so many copies would hit that no list of them fits in memory: no points, and the bound stands."""
    X, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([-1.0, 1.0, -1.0, 1.0])
    kind = {"loss": "log_loss", "C": 1.0, "penalize_intercept": False}
    pool = CandidatePool(np.array([[0.0], [1.0]]))
    result = minimum_poisoning(X, y, ([46.0], -23.0), feasible_set=pool, **kind)
    assert result.status == "stalled"
    assert result.n_points == 0
    assert "too many to list" in result.message
    assert result.lower_bound > 10**6
    assert not result.verify(X, y).failed
