"""Targets as trainers leave them: what is proved for one never excludes the points that it was trained with."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC

from mtpfast import CandidatePool, FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, minimum_poisoning, poison
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.goal import hit_radius
from mtpfast.training.victim import refit

# name: an estimator for (C, tol), and what the attacks are told of it
TRAINERS = {
    "LinearSVC hinge": (
        lambda C, tol: LinearSVC(loss="hinge", C=C, tol=tol, max_iter=10**6, random_state=0),
        {"loss": "hinge"},
    ),
    "SVC": (
        lambda C, tol: SVC(kernel="linear", C=C, tol=max(tol, 1e-6)),
        {"loss": "hinge", "penalize_intercept": False},
    ),
    "LinearSVC squared hinge": (
        lambda C, tol: LinearSVC(C=C, tol=tol, dual=True, max_iter=10**6, random_state=0),
        {"loss": "squared_hinge"},
    ),
    "LogisticRegression": (
        lambda C, tol: LogisticRegression(C=C, tol=tol, max_iter=10**5),
        {"loss": "log_loss", "penalize_intercept": False},
    ),
}


def planted(seed, make, kind, tol):
    """Clean rows, k planted points (corners or inner points), the target that a trainer makes of both, and how far off
    the optimum the trainer left it."""
    rng = np.random.default_rng(seed)
    n, d, k, C = int(rng.integers(15, 60)), int(rng.integers(1, 4)), int(rng.integers(1, 6)), 10 ** rng.uniform(-1, 1)
    X = rng.random((n, d))
    y = np.where(X @ rng.normal(size=d) + 0.3 * rng.normal(size=n) > 0, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    points = rng.integers(0, 2, (k, d)).astype(float) if seed % 2 else rng.random((k, d))
    labels = rng.choice([-1.0, 1.0], k)
    A, b = np.vstack([X, points]), np.append(y, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a trainer that gives up early is part of the question
        target = make(C, tol).fit(A, b)
    theta = np.append(target.coef_[0], target.intercept_)
    best = refit(A, b, make_objective(C=C, **kind), tol=1e-12).theta
    pool = CandidatePool(np.vstack([points, rng.random((3, d))]), np.append(labels, rng.choice([-1.0, 1.0], 3)))
    return X, y, target, theta, k, {"C": C, **kind}, pool, float(np.linalg.norm(theta - best))


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("name", TRAINERS)
def test_lower_bound_never_exceeds_planted_size_on_trained_targets(name, tol):
    """k points induce the target, to the accuracy of its trainer: no bound that covers this accuracy is above k.

    A dual solver of the hinge keeps w = sum a_i y_i x_i exactly and leaves margins off by its tol, which the fitted
    estimator says: covered at every tol. For all others the accuracy is the distance to the optimum, and covered is
    what counts as a hit.
    """
    make, kind = TRAINERS[name]
    covered = 0
    for seed in range(8):
        X, y, target, theta, k, kind_C, pool, off = planted(seed, make, kind, tol)
        for space in (FeatureSpace(0.0, 1.0), pool):
            for given in (target, theta):
                options = {"feasible_set": space, **kind_C}
                exact = minimum_poisoning(X, y, given, **options)
                online = poison(X, y, given, tol=1e-6, max_points=8, **options)
                assert exact.status != "unattainable"
                if exact.status == "reached":
                    assert exact.lower_bound <= exact.n_points
                    assert online.lower_bound <= exact.n_points
                told = kind["loss"] == "hinge" and given is target
                for result in (exact, online):
                    if told or off <= 0.99 * result.goal.tol:  # 1 %: what the optimum itself is known to
                        covered += 1
                        assert result.lower_bound <= k
    assert covered >= (32 if kind["loss"] == "hinge" or tol < 1e-6 else 0)


@pytest.mark.parametrize("seed", range(6))
def test_the_estimators_know_what_the_target_was_trained_to(seed):
    """from_estimator and a fitted LinearSVC(tol=1e-4): rows within 2e-4 of the kink may be on it, in both attacks."""
    make, kind = TRAINERS["LinearSVC hinge"]
    X, y, target, _, k, _, _, _ = planted(seed, make, kind, 1e-4)
    for attacker in (ModelTargetedPoisoner, MinimumPoisoner):
        options = {"max_points": 8, "tol": 1e-6} if attacker is ModelTargetedPoisoner else {}
        result = attacker.from_estimator(make(target.C, 1e-4), feasible_set=FeatureSpace(0.0, 1.0), **options)
        result = result.fit(X, y).attack(target)
        assert result.goal.margin_tol == 2e-4
        assert result.lower_bound <= k
        given = attacker.from_estimator(make(target.C, 1e-4), margin_tol=1e-3, **options).fit(X, y).attack(target)
        assert given.goal.margin_tol == 1e-3


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("seed", range(8))
def test_a_bound_holds_for_every_model_that_counts_as_a_hit(loss, seed):
    """What is within ``goal.tol`` of the target is reached: points that induce such a model are never excluded."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((30, 2)), np.where(rng.random(30) < 0.5, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    points, labels = rng.integers(0, 2, (3, 2)).astype(float), rng.choice([-1.0, 1.0], 3)
    objective = make_objective(loss, C=1.0)
    theta = refit(np.vstack([X, points]), np.append(y, labels), objective, tol=1e-12).theta
    shift = rng.normal(size=3)
    theta = theta + 0.9 * hit_radius(theta, FeatureSpace(0.0, 1.0)) * shift / np.linalg.norm(shift)
    for space in (FeatureSpace(0.0, 1.0), CandidatePool(points, labels), CandidatePool(points, labels, max_repeats=3)):
        result = minimum_poisoning(X, y, theta, loss=loss, C=1.0, feasible_set=space)
        online = poison(X, y, theta, loss=loss, C=1.0, feasible_set=space, tol=1e-7, max_points=6)
        assert result.status != "unattainable"
        assert result.lower_bound <= 3
        assert online.lower_bound <= 3
        assert result.certificate.check(X, y).holds


def test_never_is_not_said_of_what_a_trainer_left_beyond_the_edge():
    """Every copy of every candidate is used: the target lies at the edge of what can be reached, and by the trainer's
    tolerance beyond it. Algorithm 1, whose bound knows how often a candidate may be used, does not say "never"."""
    for seed in range(16):
        rng = np.random.default_rng(seed)
        X = rng.random((26, 3))
        y = np.where(X @ rng.normal(size=3) + 0.3 * rng.normal(size=26) > 0.2, 1.0, -1.0)
        y[:2] = 1.0, -1.0
        k = int(rng.integers(1, 4))
        points, labels = rng.random((k, 3)), rng.choice([-1.0, 1.0], k)
        trainer = LinearSVC(loss="hinge", tol=1e-4, max_iter=100_000, random_state=0)
        trainer.fit(np.vstack([X, points]), np.concatenate([y, labels]))
        pool = CandidatePool(points, labels, max_repeats=1)
        target = np.append(trainer.coef_[0], trainer.intercept_)
        result = poison(X, y, target, C=1.0, feasible_set=pool, max_points=10)
        assert result.lower_bound < 2**63 - 1, seed
        assert seed > 4 or result.verify(X, y).ok
