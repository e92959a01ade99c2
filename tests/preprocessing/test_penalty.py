"""A penalty weight for each feature, and an intercept's own: features in which both are plain."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

from mtpfast import CandidatePool, DamagePoisoner, FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, audit
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
        ({"factor": "variance", "ddof": -1}, "ddof must be a whole number"),
        ({"intercept_scaling": 0.0}, "intercept_scaling must be a positive"),
    ],
)
def test_what_is_no_penalty_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        PenaltyScaler(**wrong).fit(np.ones((3, 2)))


def scaled_svc(**more):
    return LinearSVC(loss="hinge", C=0.5, intercept_scaling=4.0, tol=1e-9, max_iter=10**6, **more)


def flipped(y):
    return np.where(np.arange(len(y)) % 7 == 0, 1 - y, y)


@pytest.mark.parametrize("upper", [0.5, {0: 0.5, 1: [0.5] * 6}], ids=["both", "each label"])
def test_bounds_are_those_of_the_features_before_the_scaling(upper):
    """``x <= 1/2``, not ``z <= 1/2``: the minimum is that of the same problem written out in z by hand."""
    X, y = table()
    model = scaled_svc().fit(X, flipped(y))
    by_hand = MinimumPoisoner(C=8.0, feasible_set=FeatureSpace(0.0, 0.125)).fit(X / 4.0, y)
    expected = by_hand.attack((4.0 * model.coef_, model.intercept_))
    attacker = MinimumPoisoner.from_estimator(scaled_svc(), feasible_set=FeatureSpace(0.0, upper)).fit(X, y)
    result = attacker.attack(model)
    assert np.max(result.X_poison) <= 0.5 + 1e-12
    assert (result.n_points, result.lower_bound) == (expected.n_points, expected.lower_bound)
    assert result.verify(X, y).ok


def test_every_rule_of_a_space_is_scaled():
    """A point is in the space where ``x / scale`` is in the scaled one."""
    rng = np.random.default_rng(0)
    scale, names = np.array([4.0, 0.5, 3.0, 2.0, 2.0, 7.0]), list("abcdef")
    space = FeatureSpace(
        {0: 0.0, 1: [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]}, {0: 3.0, 1: 2.0}, integer="a", lattice={"b": (0.5, 0.5)},
        one_hot=[["d", "e"]], fixed={"c": 1.5}, tied=[("f", [0.1, 0.7])], names=names,
    )  # fmt: skip
    X = np.column_stack(
        [rng.integers(0, 4, 200), rng.integers(0, 5, 200) / 2.0, rng.choice([1.5, 1.6], 200, p=[0.9, 0.1]),
         rng.choice([0.0, 2.0, 3.0], 200), rng.choice([0.0, 2.0, 3.0], 200), rng.choice([0.1, 0.7, 0.3], 200)]
    )  # fmt: skip
    y = rng.integers(0, 2, 200)
    inside = space.contains(X, y)
    assert 0 < inside.sum() < 200
    np.testing.assert_array_equal(space.scaled(scale, names).contains(X / scale, y), inside)


@pytest.mark.parametrize("as_frame", [False, True])
def test_candidates_are_rows_before_the_scaling(as_frame):
    X, y = table(60, 3)
    rows = pd.DataFrame(X, columns=list("abc")) if as_frame else X
    pool = CandidatePool.label_flips(rows, y)
    search = {"feasible_set": pool, "budget": 3, "n_starts": 1, "max_iter": 5}
    result = DamagePoisoner.from_estimator(scaled_svc(), **search).fit(rows, y).attack()
    assert result.n_points > 0
    points = np.asarray(result.X_poison)
    assert np.max(np.min(np.abs(points[:, None] - X[None]).sum(axis=2), axis=1)) <= 1e-15 * 3 * np.max(X)
    assert result.verify(rows, y).ok


def test_a_model_of_other_columns_is_refused():
    X, y = table(60, 3)
    rows = pd.DataFrame(X, columns=list("abc"))
    attacker = MinimumPoisoner.from_estimator(scaled_svc()).fit(rows, y)
    with pytest.raises(ValueError, match="'b' where the victim has 'a'"):
        attacker.attack(scaled_svc().fit(rows[["b", "a", "c"]], flipped(y)))


def test_what_a_pipeline_or_another_attacker_has_learned_is_written_in_the_victims_features():
    """Margins of every row are the model's own, whatever its features and the victim's are."""
    X, y = table(60, 3)
    rows = pd.DataFrame(X, columns=list("abc"))
    weighted = PenaltyScaler([1.0, 4.0, 9.0])
    models = [
        make_pipeline(scaled_svc()).fit(rows, flipped(y)),
        make_pipeline("passthrough", scaled_svc()).fit(rows, flipped(y)),
        MinimumPoisoner(C=1.0).fit(rows, flipped(y)),
        MinimumPoisoner(C=1.0, preprocessing=weighted).fit(rows, flipped(y)),
        MinimumPoisoner(C=1.0, preprocessing=PenaltyScaler([9.0, 1.0, 4.0])).fit(rows, flipped(y)),
    ]
    for attacker in (MinimumPoisoner(C=1.0), MinimumPoisoner(C=1.0, preprocessing=weighted)):
        attacker.fit(rows, y)
        for model in models[2 if attacker.preprocessing is None else 0 :]:
            theta = attacker.attack(model).theta_target
            scores = attacker._features(rows) @ theta[:-1] + theta[-1]
            np.testing.assert_allclose(scores, model.decision_function(rows), atol=1e-12)
    behind = MinimumPoisoner(C=1.0, preprocessing=make_pipeline(MinMaxScaler((0, 3)), weighted)).fit(rows, y)
    with pytest.raises(ValueError, match="MinimumPoisoner whose preprocessing is not the victim's"):
        behind.attack(models[3])


def test_what_is_given_as_preprocessing_comes_before_the_scaling():
    X, y = table(60, 3)
    trainer = scaled_svc()
    given = MinimumPoisoner.from_estimator(trainer, preprocessing=MinMaxScaler((0, 2))).fit(X, y)
    piped = MinimumPoisoner.from_estimator(make_pipeline(MinMaxScaler((0, 2)), trainer)).fit(X, y)
    np.testing.assert_array_equal(given.coef_, piped.coef_)


class Unscaled(LogisticRegression):
    """An ``intercept_`` to be multiplied by ``intercept_scaling``, as snapml's is; it predicts probabilities only."""

    decision_function = property()

    def predict_proba(self, X):
        p = 1.0 / (1.0 + np.exp(-(X @ self.coef_[0] + self.intercept_scaling * self.intercept_[0])))
        return np.column_stack([1.0 - p, p])

    def fit(self, X, y):
        super().fit(X, y)
        self.intercept_ = self.intercept_ / self.intercept_scaling
        return self


def test_a_trained_models_intercept_is_what_it_predicts_with():
    X, y = table(40, 2)
    own = {"solver": "liblinear", "C": 0.5, "intercept_scaling": 3.0, "tol": 1e-9, "max_iter": 10**5}
    attacker = MinimumPoisoner.from_estimator(LogisticRegression(**own)).fit(X, y)
    result = attacker.attack(LogisticRegression(**own).fit(X, flipped(y)))
    report = result.verify(X, y, estimator=Unscaled(**own))
    assert report.trained.distance.max() < 1e-3  # LIBLINEAR's own stopping; 2/3 of the intercept otherwise
    assert report.trained.accuracy.max() == report.trained.accuracy_exact


def test_predictions_that_are_no_labels_have_no_error_rate():
    X, y = table(60, 3)
    with pytest.raises(ValueError, match="predictions are no labels"):
        audit(make_pipeline(MinMaxScaler(), Regressor(solver="liblinear")), X, y, budgets=[1], verbose=0)


class Regressor(LogisticRegression):
    """It predicts probabilities, as glum's does."""

    def predict(self, X):
        return self.predict_proba(X)[:, 1]


def test_a_word_called_objective_is_no_victim():
    X, y = table(40, 2)
    model = LinearSVC(loss="hinge").fit(X, flipped(y))
    model.objective = "binary:logistic"
    aim = MinimumPoisoner(C=1.0).fit(X, y).attack(model).theta_target
    np.testing.assert_array_equal(aim, np.append(model.coef_, model.intercept_))
