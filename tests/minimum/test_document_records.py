"""The minimum over documents: what is proved, and whole documents near it."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mtpfast import CandidatePool, DocumentSpace, FeatureSpace, make_target, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.programs.hull import SmoothHullProgram
from mtpfast.minimum.whole.documents import write
from mtpfast.training.victim import refit

LOSSES = ("hinge", "squared_hinge", "log_loss")


def problem(norm, loss, seed=0, n_planted=15, length=None, d=20):
    """Documents of two kinds, a space, the victim of so many planted documents, and those."""
    rng = np.random.default_rng(seed)
    n = 60
    y = np.where(np.arange(n) % 3 == 0, 1.0, -1.0)
    rates = np.where(y[:, None] > 0, np.linspace(0.1, 0.9, d), np.linspace(0.9, 0.1, d))
    counts = sp.csr_matrix(rng.poisson(rates).astype(float))
    space = DocumentSpace.from_data(counts, length, idf=1.0 + rng.random(d), norm=norm)
    X = space.rows(counts)
    planted = space.rows(counts[rng.choice(n, n_planted)])
    labels = np.where(rng.random(n_planted) < 0.7, -1.0, 1.0)
    poisoned = sp.vstack([X, planted], format="csr"), np.append(y, labels)
    return X, y, space, refit(*poisoned, make_objective(loss, alpha=0.05), tol=1e-12).theta


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_no_bound_exceeds_what_was_planted_and_whole_documents_come_near(loss, norm):
    for seed in range(3):
        X, y, space, target = problem(norm, loss, seed)
        result = minimum_poisoning(X, y, target, loss=loss, alpha=0.05, feasible_set=space)
        assert 1 <= result.lower_bound <= 15
        assert result.certificate.check(X, y).holds
        assert result.n_points == result.lower_bound
        assert sp.issparse(result.points)
        assert space.contains(result.points).all()
        clean = refit(X, y, make_objective(loss, alpha=0.05)).theta
        assert result.distance < 0.9 * np.linalg.norm(clean - target)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_a_limit_on_the_length_the_bound_is_that_of_the_lattice(loss):
    X, y, space, target = problem(None, loss)
    free = DocumentSpace(int(space.max_count.sum()), space.max_count, idf=space.idf)
    lattice = FeatureSpace(
        0.0, space.max_count * space.idf, lattice=[(j, (0.0, step)) for j, step in enumerate(space.idf)]
    )
    asked = {"loss": loss, "alpha": 0.05, "integer": False}  # whole counts take no part in the bound
    bounds = [minimum_poisoning(X, y, target, feasible_set=s, **asked).certificate.value for s in (free, lattice)]
    # One solves for the box directly, the other with cuts that stop at 1e-9 of the number of points.
    assert_allclose(*bounds, rtol=1e-6)
    limited = minimum_poisoning(X, y, target, feasible_set=space, **asked).certificate.value
    assert limited >= bounds[0] * (1.0 - 1e-6)


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
def test_the_bound_is_at_most_that_of_the_documents_as_a_pool(norm):
    """Every document of three words: their convex set holds them all, and is nearly as expensive."""
    rng = np.random.default_rng(1)
    space = DocumentSpace(40 if norm else 4, idf=[1.0, 1.5, 2.0], norm=norm)
    every = np.array([c for c in np.ndindex(41, 41, 41) if 0 < sum(c) <= space.max_length][:: 7 if norm else 1])
    pool = CandidatePool(np.unique(space.rows(every).toarray(), axis=0))
    X = space.rows(rng.poisson([0.5, 1.0, 0.7], (40, 3)) + np.array([[1, 0, 0]])).toarray()
    y = np.where(X @ [1.0, -1.0, 0.5] > np.median(X @ [1.0, -1.0, 0.5]), 1.0, -1.0)
    planted = pool.X[rng.choice(len(pool.X), 12)]
    labels = np.where(rng.random(12) < 0.5, -1.0, 1.0)
    for loss in LOSSES:
        objective = make_objective(loss, alpha=0.1)
        target = refit(np.vstack([X, planted]), np.append(y, labels), objective, tol=1e-12).theta
        ours, theirs = (
            minimum_poisoning(X, y, target, loss=loss, alpha=0.1, feasible_set=s, integer=False).certificate.value
            for s in (space, pool)
        )
        assert ours <= theirs * (1.0 + 1e-9) + 1e-9
        # Documents of 40 words are nearly dense in the ball; only points inside of it are missing.
        assert ours >= (0.9 if norm else 0.8) * theirs


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_dealt_words_add_up_and_documents_stay_alike(seed, n):
    """Each has as many of every word as any other, within one, and is as long, within one."""
    rng = np.random.default_rng(seed)
    d, length = 12, int(rng.integers(2, 30))
    space = DocumentSpace(length, rng.integers(1, 4, d), idf=1.0 + rng.random(d))
    region = space.regions(d)[1.0]
    corners = [region.linear_argmax(rng.normal(size=d)) for _ in range(4)]
    mean = np.average(corners, axis=0, weights=rng.random(4))
    rows = write(region, mean, n, rng.normal(size=d), limit=np.inf)
    assert space.contains(rows).all()
    counts = space.counts(rows).toarray()
    assert np.all(np.ptp(counts, axis=0) <= 1)
    assert np.ptp(counts.sum(axis=1)) <= 1
    # Sums are rounded to whole words, and a few are taken away where that made the documents too long.
    assert np.all(np.abs(counts.sum(axis=0) - n * mean / region.idf) <= 1.0 + 1e-9)


def test_margins_are_levelled():
    rng = np.random.default_rng(2)
    d, n = 60, 30
    space = DocumentSpace(20, 3, idf=1.0 + rng.random(d))
    region, weights = space.regions(d)[1.0], rng.normal(size=d)
    corners = [region.linear_argmax(rng.normal(size=d)) for _ in range(10)]
    margins = write(region, np.mean(corners, axis=0), n, weights) @ weights
    # Single words move a margin by about 1; exchanges level all but what no pair of words makes up for.
    assert np.ptp(margins) < 0.05
    assert space.contains(write(region, np.mean(corners, axis=0), n, weights)).all()


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_documents_with_a_norm_take_over_what_the_others_missed(norm):
    """Their mean comes near one that no document has; with a limit none has a larger margin."""
    rng = np.random.default_rng(3)
    d = 30
    space = DocumentSpace(25, idf=1.0 + rng.random(d), norm=norm)
    region, weights = space.regions(d)[1.0], rng.normal(size=d)
    mean = rng.random(d)
    mean *= (1.0 if norm == "l1" else 0.8) / (mean.sum() if norm == "l1" else np.linalg.norm(mean))
    rows = write(region, mean, 200, weights)
    assert space.contains(rows).all()
    assert np.linalg.norm(np.asarray(rows.mean(axis=0)).ravel() - mean) < 0.02
    limit = float(weights @ mean) - 0.05
    limited = write(region, mean, 50, weights, limit)
    assert space.contains(limited).all()
    assert np.max(limited @ weights) <= limit


@pytest.mark.parametrize("norm", [None, "l2"])
def test_within_a_tolerance(norm):
    X, y, space, target = problem(norm, "log_loss", d=8)
    exact = minimum_poisoning(X, y, target, loss="log_loss", alpha=0.05, feasible_set=space)
    near = minimum_poisoning(X, y, target, loss="log_loss", alpha=0.05, feasible_set=space, tol=0.1)
    assert near.status == "reached"
    assert near.distance <= 0.1
    assert 0 < near.lower_bound <= min(near.n_points, exact.lower_bound)
    assert space.contains(near.points).all()


def test_a_target_that_no_document_pushes_to_is_unattainable():
    """Without penalty on the number of points, positive documents alone cannot lower the weight of every word."""
    X, y, space, _ = problem(None, "hinge")
    one_label = DocumentSpace(space.max_length, space.max_count, idf=space.idf, labels=[1.0])
    clean = refit(X, y, make_objective("hinge", C=0.1)).theta
    result = minimum_poisoning(X, y, clean - 0.1, loss="hinge", C=0.1, feasible_set=one_label)
    assert result.status == "unattainable"
    assert result.certificate.check(X, y).n_poison == 2**63 - 1


def test_few_rounds_of_tangents_are_enough(monkeypatch):
    """A round solves the whole program anew, of 2 x 4,822 columns for mail: some three, where one tangent took five."""
    rounds, one = [], SmoothHullProgram._lp
    monkeypatch.setattr(SmoothHullProgram, "_lp", lambda self, *args: rounds.append(1) or one(self, *args))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.poisson(0.4, (300, 15)).astype(float)
        y = np.where(X @ rng.normal(size=15) + rng.normal(size=300) > 0.0, 1.0, -1.0)
        kind = {"loss": "log_loss", "alpha": 0.09}
        target = make_target(X, y, quantiles=[0.2], repeats=[2], goal=0.0, **kind)
        space = DocumentSpace.from_data(X)
        result = minimum_poisoning(X, y, (target.coef_.ravel(), target.intercept_[0]), feasible_set=space, **kind)
        assert result.n_points == result.lower_bound
    assert len(rounds) <= 20
