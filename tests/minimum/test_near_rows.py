"""The hinge's victim on rows that are read by passes: the same model as in memory, however few rows may be held."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from mtpfast import FeatureSpace, MinimumPoisoner, in_parts, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.minimum import near_rows
from mtpfast.minimum.blockwise import Training, train
from mtpfast.training.victim import refit

CONVENTIONS = [
    {"alpha": 0.02},
    {"C": 0.5},
    {"alpha": 0.05, "penalize_intercept": False},
    {"C": 1.0, "fit_intercept": False},
    {"alpha": 0.01, "class_weight": {1: 3.0}, "count_rows": True},
]


def problem(seed):
    """Up to 100 rows; in every third problem of few values, so that many lie on the margin together."""
    rng = np.random.default_rng([seed, 7])
    n, d = int(rng.integers(20, 100)), int(rng.integers(1, 6))
    X = rng.random((n, d))
    X = np.round(2 * X) / 2 if seed % 3 == 0 else X
    y = np.where(X @ rng.normal(size=d) + 0.2 * rng.normal(size=n) > (0.2, 1.0)[seed % 2], 1.0, -1.0)
    y[:2] = -1.0, 1.0
    return X, y, rng.random(n) + 0.1 if seed % 4 == 0 else None


def ways(n, y):
    """Orders of the rows and how many make a part: 1, 7, 1,000, sorted by label."""
    by_label = np.argsort(y, kind="stable")
    return [(np.arange(n), 1), (np.arange(n), 1000), (by_label, 7)]


@pytest.fixture
def cramped(monkeypatch):
    """Some 20 rows may be held."""
    monkeypatch.setattr(near_rows, "HELD_BYTES", 500)
    monkeypatch.setattr(near_rows, "SAMPLE", 15)


@pytest.mark.usefixtures("cramped")
def test_the_model_is_that_of_all_rows_however_they_are_split():
    """The minimiser is one (or, with a free intercept, has the least objective), to the gaps of both trainings."""
    finished = 0
    for seed in range(8):
        X, y, weight = problem(seed)
        objective = make_objective("hinge", **CONVENTIONS[seed % 5])
        here = refit(X, y, objective, weight, tol=1e-9)
        lowest = objective.value(here.theta, X, y, weight)
        k = objective.k(objective.amount(y, weight))
        for order, rows in ways(len(y), y):
            own = None if weight is None else weight[order]
            data = sp.csr_matrix(X[order]) if seed % 2 else X[order]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                there = train(in_parts(data, y[order], own, rows=rows), objective)
            rounding = 1e-13 * lowest  # 100 terms
            assert objective.value(there.theta, X, y, weight) <= lowest + there.gap + rounding
            apart = np.sqrt(2.0 * (there.gap + here.gap + rounding) / k)
            assert np.linalg.norm(there.theta[:-1] - here.theta[:-1]) <= apart
            finished += there.gap <= 1e-8 * lowest
    assert finished >= 22  # of 24: the others stop at MOST_PASSES, with a gap that is true


def test_the_reduced_objective_is_nowhere_above_the_victims(cramped):
    """(1): and equal to it at the model by which rows were split."""
    rng = np.random.default_rng(0)
    for seed in range(10):
        X, y, weight = problem(seed)
        objective, d = make_objective("hinge", alpha=0.02), X.shape[1]
        models = rng.normal(size=(3, d + 1))
        near = near_rows.NearPass(objective, models, 0.1, None, 3)(X, y, weight)
        rows = [block.X for block in near.held] + [near.total[:, :-1] / near.total[:, -1:]]
        labels = np.concatenate([*(block.y for block in near.held), 2.0 * (near.code % 2) - 1.0])
        weights = np.concatenate([*(block.c for block in near.held), near.total[:, -1]])
        assert_allclose(weights.sum(), len(y) if weight is None else weight.sum(), rtol=1e-12)  # a sum of 100 terms

        def loss(theta, rows=rows, labels=labels, weights=weights):
            return weights @ np.maximum(0.0, 1.0 - labels * (np.vstack(rows) @ theta[:-1] + theta[-1]))

        def whole(theta, X=X, y=y, weight=weight):
            loss = np.maximum(0.0, 1.0 - y * (X @ theta[:-1] + theta[-1]))
            return loss.sum() if weight is None else weight @ loss

        for theta in models:
            assert_allclose(loss(theta), whole(theta), rtol=1e-12)
        for theta in rng.normal(size=(20, d + 1)):
            assert loss(theta) <= whole(theta) * (1.0 + 1e-12)


@pytest.mark.usefixtures("cramped")
def test_points_count_in_the_training():
    """Clean rows by passes and points beside them are what training on both together is."""
    X, y, _ = problem(5)
    objective, d = make_objective("hinge", alpha=0.05), X.shape[1]
    points, labels, counts = np.array([np.zeros(d), np.ones(d)]), np.array([1.0, -1.0]), np.array([9.0, 4.0])
    amount = len(y) + counts.sum()
    there = near_rows.fit_by_passes(
        Training(in_parts(X, y, rows=9), None, None, points, labels, counts, objective, amount)
    )
    weight = np.concatenate([np.ones(len(y)), counts])
    here = refit(np.vstack([X, points]), np.append(y, labels), objective, weight, tol=1e-9)
    assert_allclose(there.theta, here.theta, rtol=0.0, atol=1e-8)  # both to 1e-9 of their size


@pytest.mark.usefixtures("cramped")
def test_a_training_that_is_cut_off_says_so(monkeypatch):
    monkeypatch.setattr(near_rows, "MOST_PASSES", 3)
    X, y, _ = problem(4)
    objective = make_objective("hinge", C=10.0)
    with pytest.warns(ConvergenceWarning, match="after 3 passes its duality gap is"):
        fit = train(in_parts(X, y, rows=9), objective)
    lowest = objective.value(refit(X, y, objective).theta, X, y)
    assert lowest < objective.value(fit.theta, X, y) <= lowest + fit.gap


@pytest.mark.usefixtures("cramped")
def test_a_free_intercept_is_retrained_by_passes():
    """No bound of strong convexity speaks of it; the attack's victim is trained on the parts and the points."""
    rng = np.random.default_rng(1)
    X = rng.random((150, 3))
    y = np.sign(X @ [1.0, -1.0, 0.5] - 0.2 + 0.3 * rng.normal(size=150))
    asked = {"alpha": 0.01, "penalize_intercept": False, "feasible_set": FeatureSpace(np.zeros(3), 1.0)}
    objective = make_objective("hinge", alpha=0.01, penalize_intercept=False)
    added = np.vstack([X, np.repeat([[0.0, 1.0, 1.0]], 20, axis=0)])
    theta = refit(added, np.append(y, np.ones(20)), objective, tol=1e-12).theta
    here = minimum_poisoning(X, y, theta, **asked)
    there = minimum_poisoning(in_parts(X, y, rows=40), None, theta, **asked)
    assert (there.status, there.n_points, there.lower_bound) == ("reached", here.n_points, here.lower_bound)
    assert "; retrained by passes" in there.message


def test_the_estimator_trains_the_hinge():
    """Labels and predictions are the table's, the gap is stated, and an attack is the one in memory."""
    X, y, _ = problem(1)
    labels = np.where(y > 0, "yes", "no")
    here = MinimumPoisoner(alpha=0.02).fit(X, labels)
    there = MinimumPoisoner(alpha=0.02).fit(in_parts(X, labels, rows=40))
    assert_allclose(there.coef_, here.coef_, rtol=1e-7)  # both to 1e-9 of their size
    assert there.dual_gap_ <= 1e-12
    assert there.predict(X[:9]).tolist() == here.predict(X[:9]).tolist()
    with pytest.warns(ConvergenceWarning, match="was not trained: there is no coef_"):
        balanced = MinimumPoisoner(class_weight="balanced").fit(in_parts(X, labels, rows=40))
    assert not hasattr(balanced, "coef_")


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_a_bad_row_is_named_in_training(loss):
    X, y, _ = problem(1)
    X[11, 0] = np.nan
    with pytest.raises(ValueError, match="rows 10 to 14: X must be finite, got NaN or infinity in column 0"):
        train(in_parts(X, y, rows=5), make_objective(loss, C=1.0))
