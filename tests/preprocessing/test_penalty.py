"""A penalty weight for each feature, and an intercept's own: features in which both are plain."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

from mtpfast import DamagePoisoner, MinimumPoisoner, ModelTargetedPoisoner
from mtpfast.preprocessing.penalty import PenaltyScaler


def table(n=120, d=6):
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:n, :d]
    return (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0)), y[:n]


def weighted_logistic(X, y, alpha, p):
    """``min sum_i log(1 + exp(-m_i)) + (alpha n / 2) sum_j p_j w_j^2``, b free, by BFGS on (w, b) itself."""
    signs = np.where(y == 1, 1.0, -1.0)

    def value(theta):
        m = signs * (X @ theta[:-1] + theta[-1])
        pull = -signs / (1.0 + np.exp(m))
        k = alpha * len(y)
        gradient = np.append(X.T @ pull + k * p * theta[:-1], pull.sum())
        return float(np.logaddexp(0.0, -m).sum() + 0.5 * k * (p * theta[:-1]) @ theta[:-1]), gradient

    return minimize(value, np.zeros(X.shape[1] + 1), jac=True, options={"gtol": 1e-10, "maxiter": 5000}).x


@pytest.mark.parametrize("s", [0.3, 10.0])
@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(loss="hinge", C=0.5, tol=1e-10, max_iter=10**6),
        LinearSVC(C=0.5, tol=1e-10, max_iter=10**6),
        LogisticRegression(solver="liblinear", C=0.5, tol=1e-10, max_iter=10**5),
    ],
    ids=["hinge", "squared_hinge", "log_loss"],
)
def test_intercept_scaling_is_liblinears(estimator, s):
    """The victim is scikit-learn's model: ``u = s w``, the same b. Another s is a model 0.1 and more away."""
    X, y = table()
    estimator = estimator.set_params(intercept_scaling=s)
    attacker = ModelTargetedPoisoner.from_estimator(estimator).fit(X, y)
    model = estimator.fit(X, y)
    # what LIBLINEAR's own stopping leaves
    np.testing.assert_allclose(attacker.coef_[0], s * model.coef_[0], atol=1e-4 * s)
    assert attacker.intercept_[0] == pytest.approx(model.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("factor", [[0.25, 1.0, 4.0, 9.0, 0.01, 1.0], "variance"])
def test_a_victim_of_weighted_penalties_is_the_minimiser_itself(factor):
    """Against an optimiser that knows no scaling: the objective's own minimiser, on clean rows and on poisoned ones."""
    X, y = table()
    attacker = MinimumPoisoner(
        "log_loss", alpha=0.01, penalize_intercept=False, preprocessing=PenaltyScaler(factor)
    ).fit(X, y)
    p = X.var(axis=0) if isinstance(factor, str) else np.array(factor)
    w = weighted_logistic(X, y, 0.01, p)
    np.testing.assert_allclose(attacker.coef_[0], np.sqrt(p) * w[:-1], atol=1e-5)  # BFGS's own tolerance
    clean_rows = np.asarray(attacker.preprocessing_.transform(X))
    np.testing.assert_allclose(clean_rows @ attacker.coef_[0], X @ w[:-1], atol=1e-4)
    target = attacker.make_target(quantiles=[0.2], repeats=[1], goal=0.02)
    result = attacker.attack(target)
    assert result.status == "reached"
    X_mod, y_mod, _ = result.poisoned(X, y)
    again = weighted_logistic(np.asarray(X_mod), y_mod, 0.01, p)
    np.testing.assert_allclose(np.sqrt(p) * again[:-1], target.coef_[0], atol=1e-4)
    assert result.verify(X, y).ok
    assert np.all(result.X_poison <= X.max(axis=0) + 1e-12)  # raw rows, in the box of the clean ones


def test_what_a_trainer_holds_is_a_model_of_the_features_before_the_scaling():
    """A fitted estimator is read as it is; pairs and targets made here are in the attack's features."""
    X, y = table()
    trainer = LinearSVC(loss="hinge", C=0.5, intercept_scaling=4.0, tol=1e-9, max_iter=10**6)
    flipped = np.where(np.arange(len(y)) % 7 == 0, 1 - y, y)
    model = LinearSVC(loss="hinge", C=0.5, intercept_scaling=4.0, tol=1e-9, max_iter=10**6).fit(X, flipped)
    attacker = MinimumPoisoner.from_estimator(trainer).fit(X, y)
    result = attacker.attack(model)
    np.testing.assert_allclose(result.theta_target, np.append(4.0 * model.coef_[0], model.intercept_[0]), rtol=1e-15)
    pair = attacker.attack((4.0 * model.coef_, model.intercept_))
    np.testing.assert_array_equal(pair.theta_target, result.theta_target)
    # the trainer itself, on the rows that it would see
    report = result.verify(X, y, estimator=trainer)
    assert report.ok
    assert report.trained.distance.max() <= result.distance + 0.05 * np.linalg.norm(result.theta)


def test_a_fitted_pipeline_stays_fitted():
    """The scaling is put behind fitted steps without fitting these again, and a model of the pipeline is a target."""
    X, y = table()
    pipeline = make_pipeline(MinMaxScaler((0.0, 2.0)), LinearSVC(loss="hinge", intercept_scaling=2.0))
    pipeline.fit(X[:80], y[:80])
    attacker = DamagePoisoner.from_estimator(pipeline, budget=3, n_starts=1, max_iter=5).fit(X, y)
    fitted = attacker.preprocessing_
    np.testing.assert_array_equal(fitted.steps[0][1].data_max_, X[:80].max(axis=0))
    np.testing.assert_allclose(fitted.transform(X), pipeline[:-1].transform(X) / 2.0, rtol=1e-15)
    found = attacker.attack()
    assert found.verify(X, y, pipeline=pipeline).ok
    minimum = MinimumPoisoner.from_estimator(pipeline).fit(X, y)
    aim = minimum.attack(pipeline).theta_target
    np.testing.assert_allclose(aim[:-1], 2.0 * pipeline[-1].coef_[0], rtol=1e-15)


def test_rows_go_through_dense_and_sparse_alike():
    X = sp.random(20, 4, density=0.5, format="csr", random_state=0)
    for scaler in (PenaltyScaler([1.0, 4.0, 9.0, 0.25], 3.0), PenaltyScaler("variance", ddof=1)):
        dense = scaler.fit_transform(X.toarray())
        np.testing.assert_allclose(scaler.fit_transform(X).toarray(), dense, rtol=1e-12)
    np.testing.assert_allclose(dense.std(axis=0, ddof=1), 1.0, rtol=1e-12)
    constant = PenaltyScaler("variance").fit(np.ones((3, 1)))
    np.testing.assert_array_equal(constant.transform([[2.0]]), [[2.0]])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"factor": [1.0, 0.0]}, "positive and finite, got 0 for feature 1"),
        ({"factor": [1.0]}, "shape"),
        ({"factor": "deviation"}, "'variance'"),
        ({"intercept_scaling": 0.0}, "intercept_scaling must be a positive"),
    ],
)
def test_what_is_no_penalty_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        PenaltyScaler(**wrong).fit(np.ones((3, 2)))
