"""The scikit-learn face: the estimator contract, users' labels and columns, and errors."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtpfast import (
    CandidatePool,
    DamagePoisoner,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    make_target,
    poison,
)
from mtpfast.losses.custom import custom

ATTACKERS = [ModelTargetedPoisoner, MinimumPoisoner]


@parametrize_with_checks(
    [
        ModelTargetedPoisoner(),
        ModelTargetedPoisoner(loss="log_loss", C=1.0, penalize_intercept=False),
        DamagePoisoner(),
        ModelTargetedPoisoner(loss="squared_hinge"),
        MinimumPoisoner(),
        MinimumPoisoner(loss="hinge", C=1.0, penalize_intercept=False),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def target(cancer):
    return make_target(*cancer, quantiles=[0.2], repeats=[2], goal=0.0)


@pytest.fixture(scope="module")
def result(cancer, target):
    return ModelTargetedPoisoner(tol=0.1).fit(*cancer).attack(target)


# -- the victim ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(C=0.7, loss="hinge", tol=1e-9, max_iter=1_000_000),
        LinearSVC(C=0.7, tol=1e-9, max_iter=100_000),
        LinearSVC(C=0.7, fit_intercept=False, tol=1e-9, max_iter=100_000),
        SVC(kernel="linear", C=0.7, tol=1e-9),
        LogisticRegression(C=0.7, tol=1e-10, max_iter=10_000),
        LogisticRegression(C=0.7, solver="liblinear", tol=1e-10, max_iter=10_000),
        LogisticRegression(C=0.7, fit_intercept=False, tol=1e-10, max_iter=10_000),
    ],
    ids=repr,
)
@pytest.mark.parametrize("sparse", [False, True])
def test_from_estimator_trains_the_same_victim(cancer, estimator, sparse):
    X, y = cancer
    X = sp.csr_matrix(X) if sparse else X
    attacker = ModelTargetedPoisoner.from_estimator(estimator).fit(X, y)
    other = clone(estimator).fit(X, y)
    coef = other.coef_.toarray() if sp.issparse(other.coef_) else other.coef_
    # Issue: agreement to 1e-6. lbfgs and libsvm stop on a gradient of about 1e-9 times the number of rows.
    assert_allclose(attacker.coef_, coef, atol=5e-6)
    assert_allclose(attacker.decision_function(X), other.decision_function(X), atol=2e-5)
    assert 0 <= attacker.dual_gap_ < 1e-8
    assert attacker.score(X, y) == other.score(X, y)


def test_from_estimator_takes_over_what_sgd_minimises(cancer):
    """Stochastic gradients end nearby, never below: the objective is the same."""
    X, y = cancer
    model = SGDClassifier(loss="log_loss", alpha=0.01, max_iter=5000, tol=None, random_state=0).fit(X, y)
    attacker = ModelTargetedPoisoner.from_estimator(model).fit(X, y)
    assert (attacker.alpha, attacker.C, attacker.penalize_intercept) == (0.01, None, False)
    assert_allclose(attacker.coef_, model.coef_, atol=0.02)  # its own error after 5000 epochs


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_from_estimator_reads_parameters(attacker):
    def taken(estimator, **params):
        made = attacker.from_estimator(estimator, **params)
        return made.loss, made.alpha, made.C, made.fit_intercept, made.penalize_intercept

    assert taken(LinearSVC(C=2.0)) == ("squared_hinge", None, 2.0, True, True)
    assert taken(LinearSVC(loss="hinge", fit_intercept=False)) == ("hinge", None, 1.0, False, True)
    assert taken(SVC(kernel="linear", C=3.0)) == ("hinge", None, 3.0, True, False)
    assert taken(LogisticRegression(C=0.5)) == ("log_loss", None, 0.5, True, False)
    assert taken(LogisticRegression(solver="liblinear")) == ("log_loss", None, 1.0, True, True)
    assert taken(SGDClassifier(alpha=0.3)) == ("hinge", 0.3, None, True, False)
    box = FeatureSpace(-1, 1)
    assert attacker.from_estimator(LinearSVC(), feasible_set=box, tol=0.5).feasible_set is box


@pytest.mark.parametrize(
    "estimator, error, message",
    [
        (LinearSVC(penalty="l1", dual=False), ValueError, "LinearSVC has penalty='l1', expected 'l2'"),
        (LinearSVC(intercept_scaling=0.0), ValueError, r"LinearSVC has intercept_scaling=0\.0, expected a positive"),
        (LinearSVC(multi_class="crammer_singer"), ValueError, "LinearSVC has multi_class='crammer_singer'"),
        (SVC(), ValueError, "SVC has kernel='rbf', expected 'linear'"),
        (LogisticRegression(C=np.inf), ValueError, "LogisticRegression has C=inf, expected a finite number"),
        (LogisticRegression(penalty="l1", solver="saga"), ValueError, "LogisticRegression has penalty='l1'"),
        (SGDClassifier(penalty="elasticnet"), ValueError, "SGDClassifier has penalty='elasticnet'"),
        (SGDClassifier(loss="modified_huber"), ValueError, "SGDClassifier has loss='modified_huber'"),
        (RidgeClassifier(), TypeError, "estimator is a RidgeClassifier, expected LinearSVC"),
        (Perceptron(), TypeError, "estimator is a Perceptron, expected LinearSVC"),
        (LogisticRegressionCV(), TypeError, "estimator is a LogisticRegressionCV"),
        (make_pipeline(StandardScaler(), RidgeClassifier()), TypeError, "estimator is a RidgeClassifier, expected"),
        (LinearSVC, TypeError, "estimator is the class LinearSVC, expected an instance"),
        ("svm", TypeError, "estimator is a str"),
    ],
    ids=str,
)
def test_from_estimator_says_what_it_cannot_take_over(estimator, error, message):
    with pytest.raises(error, match=message):
        ModelTargetedPoisoner.from_estimator(estimator)


def test_from_estimator_reads_the_l1_ratio():
    """Where scikit-learn still has penalty, that must be elasticnet and is refused; where not, l1_ratio is."""
    has_penalty = LogisticRegression().get_params()["penalty"] == "l2"
    options = {"penalty": "elasticnet"} if has_penalty else {}
    refused = "penalty='elasticnet'" if has_penalty else r"l1_ratio=0\.5, expected 0, an l2 penalty"
    with pytest.raises(ValueError, match=f"LogisticRegression has {refused}"):
        ModelTargetedPoisoner.from_estimator(LogisticRegression(solver="saga", l1_ratio=0.5, **options))


def test_from_estimator_takes_nothing_twice():
    with pytest.raises(ValueError, match="C: taken over from LinearSVC, and given once more"):
        ModelTargetedPoisoner.from_estimator(LinearSVC(), C=2.0)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_clone_get_params_and_repr(attacker):
    space = FeatureSpace([0.0, 1.0], 2.0)
    made = attacker(loss="log_loss", C=0.3, feasible_set=space, tol=0.5)
    params = made.get_params()
    assert (params["loss"], params["C"], params["tol"]) == ("log_loss", 0.3, 0.5)
    copy = clone(made)
    assert copy.get_params().keys() == params.keys()
    assert_array_equal(copy.feasible_set.lower, space.lower)
    assert repr(copy) == repr(made)
    rebuilt = eval(repr(attacker(loss="log_loss", C=0.3, tol=0.5)))
    assert rebuilt.get_params() == attacker(loss="log_loss", C=0.3, tol=0.5).get_params()
    loss = custom(lambda m: np.exp(-m), lambda m: -np.exp(-m), name="exponential")
    assert clone(attacker(loss=loss)).loss.name == "exponential"


def test_clean_data_is_kept_by_reference(cancer):
    X, y = np.ascontiguousarray(cancer[0]), cancer[1]
    assert ModelTargetedPoisoner().fit(X, y)._X is X
    sparse = sp.csr_matrix(X)
    assert np.shares_memory(ModelTargetedPoisoner().fit(sparse, y)._X.data, sparse.data)


# -- attacks in the user's terms -------------------------------------------------------------------


def test_the_estimator_is_the_function(cancer, target, result):
    X, y = cancer
    plain = poison(X, y, target, tol=0.1)
    assert_array_equal(plain.X_poison, result.X_poison)
    assert_array_equal(plain.y_poison, result.y_poison)
    assert plain.lower_bound == result.lower_bound
    assert result.verify(X, y).ok


@pytest.mark.parametrize(
    "labels",
    [np.array(["no", "yes"]), np.array(["no", "yes"], dtype=object), np.array([0, 1]), np.array([3, 7], dtype=np.uint8),
     np.array([False, True]), np.array([-1, 1], dtype=np.int8), np.array([1, 2]), np.array([0.5, 1.5]).astype(str)],
    ids=str,
)  # fmt: skip
def test_labels_of_every_kind(cancer, target, result, labels):
    X, y = cancer
    named = labels[(y > 0).astype(int)]
    attacker = ModelTargetedPoisoner(tol=0.1).fit(X, named)
    found = attacker.attack((target.coef_, target.intercept_))
    assert_array_equal(found.y_poison, labels[(result.y_poison > 0).astype(int)])
    assert set(found.labels) <= set(labels)
    assert_array_equal(attacker.classes_, labels)
    assert_array_equal(found.classes, labels)
    assert_array_equal(found.X_poison, result.X_poison)
    assert found.verify(X, named).ok
    X_mod, y_mod, mask = found.poisoned(X, named)
    assert set(y_mod) == set(labels)
    assert mask.sum() == found.n_points
    retrained = ModelTargetedPoisoner().fit(X_mod, y_mod)
    assert_allclose(retrained.coef_, found.coef_, atol=1e-6)


def test_data_frames_in_and_out(cancer, target, result):
    X, y = cancer
    frame = pd.DataFrame(X, columns=[f"feature {j}" for j in range(30)], index=np.arange(len(y))[::-1])
    labels = pd.Series(np.where(y > 0, "yes", "no"), index=frame.index)
    attacker = ModelTargetedPoisoner(tol=0.1).fit(frame, labels)
    found = attacker.attack((target.coef_, target.intercept_), eval_sets={"rest": (frame[:50], labels[:50])})
    assert isinstance(found.X_poison, pd.DataFrame)
    assert list(found.X_poison.columns) == list(frame.columns)
    assert_array_equal(found.X_poison.to_numpy(), result.X_poison)
    X_mod, y_mod, mask = found.poisoned(frame, labels)
    assert isinstance(X_mod, pd.DataFrame)
    assert X_mod.shape == (len(y) + found.n_points, 30)
    assert len(y_mod) == len(mask)
    assert found.verify(frame, labels).ok
    assert found.at_budget(2).X_poison.shape == (2, 30)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, bool])
def test_other_number_types(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (60, 5)).astype(dtype)
    y = np.where(X[:, 0] ^ (rng.random(60) < 0.1), 1, 0) if dtype is bool else (X[:, 0] > 0).astype(int)
    y[:5] = 1 - y[:5]
    found = ModelTargetedPoisoner(max_points=5).fit(X, y).attack((np.ones(5), 0.0))
    same = ModelTargetedPoisoner(max_points=5).fit(X.astype(float), y).attack((np.ones(5), 0.0))
    assert_array_equal(found.X_poison, same.X_poison)
    assert found.verify(X, y).ok


def test_sparse_data_stays_sparse(cancer, target):
    X, y = cancer
    pool = CandidatePool(sp.csr_matrix(X))
    found = ModelTargetedPoisoner(tol=0.1, max_points=30, feasible_set=pool).fit(sp.csr_matrix(X), y).attack(target)
    dense = ModelTargetedPoisoner(tol=0.1, max_points=30, feasible_set=CandidatePool(X)).fit(X, y).attack(target)
    assert sp.issparse(found.X_poison)
    assert found.X_poison.format == "csr"
    assert_allclose(found.theta, dense.theta, atol=1e-6)


def test_a_labelled_pool_carries_the_users_labels(cancer, target):
    X, y = cancer
    named = np.where(y > 0, "yes", "no")
    pool = CandidatePool(X[:40], y=named[:40])
    model = (target.coef_, target.intercept_)
    found = ModelTargetedPoisoner(feasible_set=pool, max_points=10).fit(X, named).attack(model)
    for x, label in zip(found.points, found.labels, strict=True):
        assert label in named[:40][np.all(X[:40] == x, axis=1)]
    assert found.verify(X, named).ok
    other = ModelTargetedPoisoner(feasible_set=CandidatePool(X[:3], y=[1, 1, -1])).fit(X, named)
    with pytest.raises(ValueError, match="y of the pool must hold the labels"):
        other.attack(model)


def test_resume_goes_on_from_a_result(cancer, target):
    X, y = cancer
    named = np.where(y > 0, "yes", "no")
    model = (target.coef_, target.intercept_)
    whole = ModelTargetedPoisoner(tol=1e-9, max_points=24).fit(X, named).attack(model)
    attacker = ModelTargetedPoisoner(tol=1e-9, max_points=12).fit(X, named)
    half = attacker.attack(model)
    assert (half.n_points, half.status) == (12, "budget")
    rest = attacker.set_params(max_points=24).attack(model, resume=half)
    assert rest.n_points == 24
    assert_array_equal(rest.X_poison[:12], half.X_poison)
    # The refit starts elsewhere, so models agree to its tolerance, and so do the points they lead to.
    assert_allclose(rest.theta, whole.theta, atol=1e-6)
    assert set(rest.labels) <= {"yes", "no"}
    assert rest.verify(X, named).ok


def test_callback_and_evaluation_sets(cancer, target):
    X, y = cancer
    seen = []

    def callback(state):
        seen.append(state["n_points"])
        return len(seen) >= 5

    attacker = ModelTargetedPoisoner(tol=1e-9).fit(X, y)
    found = attacker.attack(
        target, callback=callback, eval_sets={"first": (X[:100], y[:100]), "rest": (X[100:], y[100:])}
    )
    assert found.status == "budget"
    assert len(seen) == 5
    first = found.history["accuracy_first"]
    assert len(first) == len(found.history["n_points"])
    assert first[0] == attacker.score(X[:100], y[:100])
    assert first[-1] == np.mean(np.where(X[:100] @ found.coef_[0] + found.intercept_ > 0, 1, -1) == y[:100])


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_no_input_is_changed(cancer, target, attacker):
    """Read-only arrays throughout: a write would raise."""
    X, y = (part.copy() for part in cancer)
    weight, pool, pool_y = np.ones(len(y)), X[:30].copy(), y[:30].copy()
    coef, intercept = target.coef_.copy(), target.intercept_.copy()
    for array in (X, y, weight, pool, pool_y, coef, intercept):
        array.flags.writeable = False
    before = [array.tobytes() for array in (X, y, weight, pool, pool_y, coef, intercept)]
    sparse = sp.csr_matrix(X)
    sparse.data.flags.writeable = sparse.indices.flags.writeable = sparse.indptr.flags.writeable = False
    spaces = [None, FeatureSpace(0.0, 1.0), CandidatePool(pool, pool_y)]
    for data in (X, sparse):
        for space in spaces:
            found = (
                attacker(feasible_set=space, max_points=5).fit(data, y, sample_weight=weight).attack((coef, intercept))
            )
            found.poisoned(data, y)
    assert before == [array.tobytes() for array in (X, y, weight, pool, pool_y, coef, intercept)]


def test_minimum_in_the_users_terms(cancer):
    """breast_cancer needs 52 points, all of one label."""
    X, y = cancer
    named = np.where(y > 0, "yes", "no")
    target = make_target(X, named, quantiles=[0.2], repeats=[5], goal=0.0)
    attacker = MinimumPoisoner(feasible_set=FeatureSpace(0.0, 1.0)).fit(X, named)
    found = attacker.attack(target)
    assert (found.status, found.n_points, found.lower_bound) == ("reached", 52, 52)
    assert set(found.y_poison) == {"yes"} or set(found.y_poison) == {"no"}
    assert found.distance < 1e-6
    assert found.verify(X, named).ok
    curve = attacker.tradeoff(target, [0.5, 0.0])
    assert [item.tol for item in curve] == [0.5, 0.0]
    assert curve[0].lower_bound <= curve[0].n_points <= curve[1].n_points == 52


# -- errors ----------------------------------------------------------------------------------------


def fitted(cancer, **params):
    return ModelTargetedPoisoner(max_points=3, **params).fit(*cancer)


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"loss": "perceptron"}, ValueError, "loss must be one of 'hinge', 'squared_hinge', 'log_loss'"),
        ({"alpha": 0.1, "C": 1.0}, ValueError, r"at most one of alpha and C may be given, got alpha=0\.1 and C=1\.0"),
        ({"alpha": 0.0}, ValueError, r"alpha must be positive and finite, got 0\.0"),
        ({"alpha": -1}, ValueError, "alpha must be positive and finite, got -1"),
        ({"alpha": np.nan}, ValueError, "alpha must be positive and finite, got nan"),
        ({"C": 0}, ValueError, "C must be positive and finite, got 0"),
        ({"C": "1"}, TypeError, "C must be a positive number, got '1'"),
    ],
)
@pytest.mark.parametrize("attacker", ATTACKERS)
def test_fit_names_a_wrong_parameter(cancer, attacker, params, error, message):
    with pytest.raises(error, match=message):
        attacker(**params).fit(*cancer)


@pytest.mark.parametrize(
    "X, y, message",
    [
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "Input X contains NaN"),
        (np.full((4, 2), np.inf), [0, 1, 0, 1], "Input X contains infinity"),
        (np.ones((4, 2)), [0, 0, 0, 0], "y must hold two classes, got one class: .*0"),
        (
            np.ones((4, 2)),
            [0, 1, 2, 0],
            "Only binary classification is supported. The type of the target is multiclass",
        ),
        (np.ones((4, 2)), [0, 1, 0], "inconsistent numbers of samples"),
        (np.ones((4, 2)), [0, 1, 0, np.nan], "Input y contains NaN"),
        (np.ones(4), [0, 1, 0, 1], "Expected 2D array, got 1D array"),
        (np.ones((0, 2)), [], "0 sample"),
        (np.ones((4, 2)), [0.5, 1.25, 2.5, 3.0], "Unknown label type: continuous"),
        (sp.csr_matrix(np.full((4, 2), np.nan)), [0, 1, 0, 1], "Input X contains NaN"),
    ],
)
def test_fit_names_wrong_data(X, y, message):
    with pytest.raises(ValueError, match=message):
        ModelTargetedPoisoner().fit(X, y)


@pytest.mark.parametrize(
    "weight, message",
    [
        ([1.0, -1.0, 1.0, 1.0], "Negative values in data passed to `sample_weight`"),
        ([1.0, 1.0], r"sample_weight\.shape == \(2,\), expected \(4,\)"),
        ([1.0, np.nan, 1.0, 1.0], "sample_weight contains NaN"),
        ([0.0, 1.0, 0.0, 1.0], "two classes of positive weight, got 1"),
    ],
)
def test_fit_names_wrong_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        ModelTargetedPoisoner().fit(np.eye(4), [0, 1, 0, 1], sample_weight=weight)


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"tol": -0.1}, ValueError, r"tol must be .*, got -0\.1"),
        ({"tol": "small"}, TypeError, "tol must be a number, got 'small'"),
        ({"max_points": -1}, ValueError, "max_points must be at least 0, got -1"),
        ({"max_points": 2.5}, TypeError, r"max_points must be an integer, got 2\.5"),
        ({"repeats": 0}, ValueError, "repeats must be at least 1, got 0"),
        ({"stop": "error"}, ValueError, "stop must be .*'loss_difference'.*'distance'.*, got 'error'"),
        (
            {"feasible_set": (0, 1)},
            TypeError,
            "feasible_set must be a space .*, got tuple",
        ),
        (
            {"feasible_set": FeatureSpace(np.zeros(3), 1)},
            ValueError,
            "feasible_set has 3 features in lower, expected 30",
        ),
        ({"feasible_set": CandidatePool(np.eye(3))}, ValueError, "feasible_set has 3 features in X_cand, expected 30"),
    ],
)
def test_attack_names_a_wrong_parameter(cancer, target, params, error, message):
    attacker = ModelTargetedPoisoner(**{"max_points": 3, **params}).fit(*cancer)
    with pytest.raises(error, match=message):
        attacker.attack(target)


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"tol": -0.1}, ValueError, r"tol must be .*, got -0\.1"),
        ({"max_points": -1}, ValueError, r"max_points must be at least [01], got -1"),
        ({"feasible_set": "box"}, TypeError, "feasible_set must be a space .*, got str"),
    ],
)
def test_minimum_names_a_wrong_parameter(cancer, target, params, error, message):
    attacker = MinimumPoisoner(**params).fit(*cancer)
    with pytest.raises(error, match=message):
        attacker.attack(target)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FeatureSpace(1.0, 0.0), "lower > upper at feature 0"),
        (lambda: FeatureSpace([0, 2, 0], [1, 1, 1]), "lower > upper at feature 1: 2 > 1"),
        (lambda: FeatureSpace(np.nan, 1), "lower must be finite"),
        (lambda: FeatureSpace(0, np.inf), "upper must be finite"),
        (lambda: FeatureSpace([0, 0], [1, 1, 1]), "lower and upper disagree: 2 and 3 features"),
        (lambda: CandidatePool(np.ones((0, 3))), "0 sample"),
        (lambda: CandidatePool(np.ones(3)), "Expected 2D array, got 1D array"),
        (lambda: CandidatePool([[np.nan]]), "X_cand contains NaN"),
        (lambda: CandidatePool(np.eye(3), y=[1, -1]), r"y must have shape \(3,\)"),
    ],
)
def test_feasible_sets_name_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_attack_before_fit(attacker, target):
    with pytest.raises(NotFittedError, match=f"This {attacker.__name__} instance is not fitted yet"):
        attacker().attack(target)


def test_wrong_targets_are_named(cancer):
    X, y = cancer
    attacker = fitted(cancer)
    with pytest.raises(TypeError, match="target is a Pipeline"):
        attacker.attack(make_pipeline(StandardScaler(), LinearSVC()).fit(X, y))
    with pytest.raises(NotFittedError, match="target is a LinearSVC that is not fitted"):
        attacker.attack(LinearSVC())
    with pytest.raises(ValueError, match="target is a RidgeClassifier of 3 classes"):
        attacker.attack(RidgeClassifier().fit(X, np.arange(len(y)) % 3))
    with pytest.raises(
        ValueError, match=re.escape("target was trained with labels ['no', 'yes'], the victim with [-1")
    ):
        attacker.attack(LogisticRegression().fit(X, np.where(y > 0, "yes", "no")))
    with pytest.raises(ValueError, match="target has 3 features, expected 30"):
        attacker.attack((np.ones(3), 0.0))


def test_other_columns_are_named(cancer, target):
    X, y = cancer
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(30)])
    attacker = fitted((frame, y))
    swapped = frame[frame.columns[::-1]]
    with pytest.raises(ValueError, match="feature names should match"):
        attacker.predict(swapped)
    with pytest.raises(ValueError, match="feature names should match"):
        attacker.attack(target, eval_sets={"test": (swapped, y)})
    with pytest.raises(ValueError, match=r"target was trained on other columns than the victim: 'f29' where .* 'f0'"):
        attacker.attack(LinearSVC().fit(swapped, y))


@pytest.mark.parametrize(
    "eval_sets, error, message",
    [
        ([1, 2], TypeError, "eval_sets must map names to pairs"),
        ({"a": np.ones((3, 30))}, ValueError, r"eval_sets\['a'\] must be a pair \(X, y\), got ndarray"),
        (
            {"a": (np.ones((3, 30)), [1, 1])},
            ValueError,
            r"y of eval_sets\['a'\] must have shape \(3,\), one label per row, got \(2,\)",
        ),
        ({"a": (np.ones((3, 30)), [1, 1, 5])}, ValueError, r"y of eval_sets\['a'\] must hold the labels"),
        ({"a": (np.ones((3, 4)), [1, 1, 1])}, ValueError, "X has 4 features"),
    ],
)
def test_wrong_evaluation_sets_are_named(cancer, target, eval_sets, error, message):
    with pytest.raises(error, match=message):
        fitted(cancer).attack(target, eval_sets=eval_sets)


def test_wrong_results_to_go_on_from(cancer, target, result):
    X, y = cancer
    with pytest.raises(TypeError, match="resume must be a PoisoningResult, got int"):
        fitted(cancer).attack(target, resume=3)
    named = ModelTargetedPoisoner().fit(X, np.where(y > 0, "yes", "no"))
    with pytest.raises(
        ValueError, match=r"resume has labels \[-1.0, 1.0\], the victim was trained with \['no', 'yes'\]"
    ):
        named.attack((target.coef_, target.intercept_), resume=result)
