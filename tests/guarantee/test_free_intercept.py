"""Free intercepts where they give trouble: ties of the optimum, features of a large scale, columns of zeros."""

import numpy as np
import pytest
from sklearn.svm import SVC

from mtpfast import FeatureSpace, ModelTargetedPoisoner


def optimal_intercepts(score, y, weight):
    """The ends of the minimisers b of ``sum weight max(0, 1 - y (score + b))``: the loss at all its bends."""
    bend = np.unique(y - score)
    loss = np.array([weight @ np.maximum(0.0, 1.0 - y * (score + b)) for b in bend])
    best = bend[loss <= loss.min() + 1e-7]
    return best[0], best[-1]


@pytest.mark.parametrize("seed", [12, 29, 38, 42, 46])
def test_a_flip_that_is_found_holds_at_every_optimal_intercept(seed):
    """The hinge's optimum has one w and may have an interval of b: the points found flip the row at both its ends, so
    that any trainer's model has it flipped. SVC takes the middle."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.zeros(20), rng.integers(0, 3, (20, 2))[:, 1]]).astype(float)
    y = np.where(rng.random(20) < 0.75, 1, -1)
    y[:2] = 1, -1
    victim = ModelTargetedPoisoner(C=0.2, penalize_intercept=False, feasible_set=FeatureSpace(0, 2)).fit(X, y)
    guarantee = victim.certify(X[:2], joint=False)
    found = 0
    for i, sign in enumerate(guarantee.labels):
        if guarantee.attack_on(i) is None:
            continue
        points, labels, counts = guarantee.attack_on(i)
        X_mod, y_mod = np.vstack([X, np.repeat(points, counts, axis=0)]), np.append(y, np.repeat(labels, counts))
        svc = SVC(kernel="linear", C=0.2, tol=1e-10).fit(X_mod, y_mod)
        w = svc.coef_[0]
        ends = optimal_intercepts(X_mod @ w, y_mod, np.ones(len(y_mod)))
        assert max(sign * (X[i] @ w + b) for b in ends) < 1e-6
        assert sign * svc.decision_function(X[[i]])[0] < 1e-6
        found += 1
    assert found


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e5, 1e6])
def test_features_of_any_scale_are_certified(scale):
    """Squared margins beyond single precision end a search, and no more: what is proved passes the check."""
    rng = np.random.default_rng(1)
    X = rng.random((40, 3)) * scale
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.3 * scale * rng.standard_normal(40) > 0.2 * scale, 1, -1)
    space = FeatureSpace(0, scale)
    victim = ModelTargetedPoisoner("squared_hinge", alpha=0.02, penalize_intercept=False, feasible_set=space).fit(X, y)
    guarantee = victim.certify(X[:3], attack=False, joint=False)
    assert np.all(guarantee.status != "interrupted")
    assert guarantee.check(X, y).ok


def test_a_column_of_zeros_is_certified_together():
    """A singular matrix of Newton's method ends the search of its row alone: the joint bound is there, and checked."""
    y = np.array([1, -1, -1, 1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, -1, -1, -1, -1, -1, 1, 1, -1, 1, 1, -1, 1, -1, 1,
                  -1, -1, -1, -1, 1])  # fmt: skip
    weight = np.array([1, 1, 2, 0, 0.5, 0.5, 3.7, 0.5, 2, 2, 0.5, 3.7, 1, 1, 3.7, 2, 2, 3.7, 3.7, 0.5, 0.5, 2, 1, 0.5,
                       2, 2, 0.5, 1, 1, 0.5, 1, 2, 3.7])  # fmt: skip
    X = np.zeros((len(y), 1))
    victim = ModelTargetedPoisoner(C=0.4886145078694557, penalize_intercept=False).fit(X, y, sample_weight=weight)
    guarantee = victim.certify(np.zeros((4, 1)), [-1, -1, -1, 1], budgets=[2, 0.15], attack=False, joint=True)
    assert guarantee.clean_error == 0.25
    assert guarantee.check(X, y, sample_weight=weight).ok
