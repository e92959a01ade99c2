"""verify(estimator=..., pipeline=...): a real trainer at its own settings, beside the exact minimiser."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mtpfast import FeatureSpace, MinimumPoisoner, make_target


@pytest.fixture(scope="module")
def attacked(cancer_part):
    X, y = cancer_part
    target = make_target(X, y, C=1.0, quantiles=[0.2], repeats=[2], goal=0.05)
    return X, y, MinimumPoisoner(C=1.0, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y).attack(target)


@pytest.fixture(scope="module")
def cancer_part(cancer):
    return cancer[0][:150, :6], cancer[1][:150]


def test_the_estimator_itself_is_trained_on_the_poisoned_rows(attacked):
    """Each run is what fitting that estimator with that seed gives; distance, accuracy and undone follow from it."""
    X, y, result = attacked
    trained = result.verify(X, y, estimator=LinearSVC(loss="hinge", max_iter=50)).trained
    X_all = np.vstack([X, result.X_poison])
    y_all = np.append(y, result.y_poison)
    assert trained.seeds == (0, 1, 2, 3, 4)
    for i, seed in enumerate(trained.seeds):
        with pytest.warns(UserWarning, match="failed to converge"):
            model = LinearSVC(loss="hinge", max_iter=50, random_state=seed).fit(X_all, y_all)
        theta = np.append(model.coef_, model.intercept_)
        # The rows stand in another order than here.
        assert trained.distance[i] == pytest.approx(np.linalg.norm(theta - result.theta_target), abs=0.02)
    assert trained.warned == 5
    assert "warned in 5 of 5 runs" in trained.words
    assert_allclose(trained.undone, (trained.distance - trained.distance_exact) / trained.distance_clean, rtol=1e-15)


def test_a_tight_trainer_undoes_nothing_and_a_loose_one_much(attacked):
    X, y, result = attacked
    tight = result.verify(X, y, estimator=LinearSVC(loss="hinge", tol=1e-10, max_iter=10**6)).trained
    assert np.all(np.abs(tight.undone) < 1e-4)
    assert np.all(tight.excess < 1e-8)
    assert "undoes less than 0.1 % of the attack" in tight.words
    report = result.verify(X, y, estimator=SGDClassifier(alpha=1.0 / (len(y) + result.n_points), max_iter=5, tol=None))
    assert np.all(report.trained.undone > 0.1)
    assert len(np.unique(report.trained.distance)) > 1  # it moves with its seed
    assert "loses more than a tenth of its effect" in repr(report)
    assert report.ok  # what a trainer does is no claim of the result


def test_another_objective_is_told_from_one_that_stops_early(attacked):
    """SVC leaves the intercept free, and C = 100 is no C = 1: the objective is far above its minimum."""
    X, y, result = attacked
    trained = result.verify(X, y, estimator=SVC(kernel="linear", C=100.0, random_state=0)).trained
    assert np.all(trained.excess > 0.01)
    assert "or minimises something else" in trained.words


def test_a_pipeline_is_trained_on_the_poisoned_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.integers(17, 91, 120), "hours": rng.normal(40, 9, 120).round(1)})
    y = np.where(table["age"] + rng.normal(0, 9, 120) > 55, "yes", "no")
    pipeline = make_pipeline(MinMaxScaler(), LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6))
    attacker = MinimumPoisoner.from_estimator(pipeline).fit(table, y)
    result = attacker.attack((attacker.coef_ * 0.6, attacker.intercept_ * 0.8))
    report = result.verify(table, y, pipeline=pipeline, refit_preprocessing=True)
    trained = report.trained
    # The scaler does not move, as no record leaves the range of its column: the two ways agree.
    assert_allclose(trained.distance, report.refitted.distance, atol=1e-5)
    assert_allclose(trained.accuracy, report.refitted.accuracy, atol=1e-12)
    assert trained.excess is None
    own = result.verify(table, y, estimator=pipeline[-1]).trained
    assert_allclose(own.distance, trained.distance, atol=1e-5)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"pipeline": LinearSVC()}, ValueError, "pipeline: the attack was not on raw records"),
        ({"pipeline": LinearSVC(), "estimator": LinearSVC()}, ValueError, "estimator and pipeline: give one"),
        ({"estimator": LinearSVC}, TypeError, "estimator must have a fit"),
        ({"estimator": DecisionTreeClassifier()}, TypeError, "DecisionTreeClassifier without coef_"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused_by_name(attacked, options, error, message):
    X, y, result = attacked
    with pytest.raises(error, match=message):
        result.verify(X, y, **options)


def test_an_intercept_that_is_kept_elsewhere_is_noticed(attacked):
    class Shifted(LinearSVC):
        def decision_function(self, X):
            return super().decision_function(X) + 0.5

    X, y, result = attacked
    with pytest.raises(ValueError, match=r"decision values are up to 0\.5 off"):
        result.verify(X, y, estimator=Shifted())
