"""Targets: the label-flip generator, and every other kind of model that may be a target."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from mtpfast import MinimumPoisoner, ModelTargetedPoisoner, make_target
from mtpfast.losses.objective import make_objective
from mtpfast.targets.flips import QUANTILES, REPEATS, TargetModel
from mtpfast.targets.models import binary_linear_model
from mtpfast.targets.tapes import ahead, beyond
from mtpfast.training.victim import Victim, refit

ALPHA = 0.09


def train(X, y, k, loss="hinge"):
    """(w, b) by LIBLINEAR: hinge or squared hinge, intercept penalised."""
    model = LinearSVC(C=1 / k, loss=loss, dual=loss == "hinge", tol=1e-10, max_iter=1_000_000).fit(X, y)
    return np.append(model.coef_, model.intercept_)


def test_target_is_the_victim_trained_on_flipped_and_repeated_rows(digits):
    """The generator's definition, replayed with copies of the rows and LIBLINEAR."""
    X, y = digits
    target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.0, alpha=ALPHA)
    margin = y * (X @ train(X, y, len(y) * ALPHA)[:-1] + train(X, y, len(y) * ALPHA)[-1])
    below = margin < np.quantile(margin, 0.2)
    X_all = np.vstack([X, np.repeat(X[below], 5, axis=0)])
    y_all = np.concatenate([y, -np.repeat(y[below], 5)])
    expected = train(X_all, y_all, len(y_all) * ALPHA)
    # Two solvers of tolerance 1e-8 and 1e-10.
    assert_allclose(np.append(target.coef_, target.intercept_), expected, atol=1e-6)
    assert target.n_flips == 360  # as in the prototype
    wrong = np.where(X @ expected[:-1] + expected[-1] > 0, 1, -1) != y
    assert target.error == pytest.approx(wrong.mean(), abs=0)


def test_target_is_the_cheapest_candidate_that_meets_the_goal(cancer):
    X, y = cancer
    target = make_target(X, y, quantiles=[0.1, 0.3, 0.5], repeats=[1, 3, 8], goal=0.08)
    assert [(c.quantile, c.repeats) for c in target.candidates] == [(q, r) for q in (0.1, 0.3, 0.5) for r in (1, 3, 8)]
    meeting = [c for c in target.candidates if c.error >= 0.08]
    assert 0 < len(meeting) < 9
    best = min(meeting, key=lambda c: c.clean_objective)
    for name in ("quantile", "repeats", "error", "n_flips", "clean_objective"):
        assert getattr(target, name) == getattr(best, name)
    assert_array_equal(target.coef_, best.coef_)
    objective = make_objective("hinge")
    theta = np.append(best.coef_, best.intercept_)
    # The same formula on the same numbers.
    assert best.clean_objective == pytest.approx(objective.value(theta, X, y), rel=1e-12)


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
@pytest.mark.parametrize("class_weight", [None, {-1: 2.0}, "balanced"])
def test_every_candidate_is_its_own_training_whatever_came_before(cancer, loss, class_weight):
    """A tape of one pair trains the same model as the same pair among others, to the accuracy of a training."""
    X, y = cancer
    options = {"goal": 0.0, "loss": loss, "class_weight": class_weight, "alpha": 0.02}
    tape = make_target(X, y, quantiles=[0.1, 0.5, 0.3], repeats=[1, 20, 4], **options)
    for candidate in tape.candidates[1::2]:
        alone = make_target(X, y, quantiles=[candidate.quantile], repeats=[candidate.repeats], **options)
        assert_allclose(candidate.coef_, alone.coef_, atol=1e-7 * np.abs(alone.coef_).max())
        assert_allclose(candidate.intercept_, alone.intercept_, atol=1e-7 * np.abs(alone.coef_).max())


def test_default_tapes_are_the_papers(cancer):
    X, y = cancer
    assert (QUANTILES[0], QUANTILES[-1], len(QUANTILES)) == (0.05, 0.60, 12)
    assert REPEATS == (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 50, 60)
    rows = np.arange(0, len(y), 6)
    target = make_target(X[rows], y[rows], repeats=[1], goal=0)
    assert [c.quantile for c in target.candidates] == list(QUANTILES)
    subpopulation = make_target(X[rows], y[rows], mask=y[rows] < 0, repeats=[1], goal=0)
    assert [c.quantile for c in subpopulation.candidates] == [0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.80, 1.00]


def test_mask_flips_and_measures_a_subpopulation(cancer):
    X, y = cancer
    mask = (y < 0) & (X[:, 0] < np.median(X[:, 0]))
    target = make_target(X, y, mask=mask, quantiles=[0.5, 1.0], repeats=[2, 20], goal=0.9)
    assert target.n_flips <= 20 * mask.sum()
    predicted = np.where(X[mask] @ target.coef_[0] + target.intercept_ > 0, 1.0, -1.0)
    assert target.error == np.mean(predicted != y[mask]) >= 0.9
    assert max(c.n_flips for c in target.candidates) == 20 * mask.sum()  # quantile 1: all of them


def test_rows_to_flip_and_rows_to_measure_may_be_others(cancer):
    X, y = cancer
    train_rows, flip, test = np.arange(0, 300), np.arange(300, 450), np.arange(450, 569)
    target = make_target(
        X[train_rows], y[train_rows], X[flip], y[flip], X_eval=X[test], y_eval=y[test],
        quantiles=[0.4], repeats=[3], goal=0,
    )  # fmt: skip
    predicted = np.where(X[test] @ target.coef_[0] + target.intercept_ > 0, 1.0, -1.0)
    assert target.error == np.mean(predicted != y[test])
    assert target.n_flips == 3 * 60


def test_improved_uses_the_latest_model(digits):
    """Every pair flips the rows that are below the quantile of the margins of the model before it: by LIBLINEAR."""
    X, y = digits
    tapes = {"quantiles": [0.2, 0.3], "repeats": [2, 5], "goal": 0, "alpha": ALPHA}
    plain, improved = (make_target(X, y, improved=flag, **tapes) for flag in (False, True))
    # The first candidate starts from the clean model in both; later ones do not.
    assert_allclose(plain.candidates[0].coef_, improved.candidates[0].coef_, atol=1e-7)
    assert all(
        np.abs(one.coef_ - other.coef_).max() > 1e-3
        for one, other in zip(plain.candidates[1:], improved.candidates[1:], strict=True)
    )
    theta = train(X, y, len(y) * ALPHA)
    for candidate in improved.candidates:
        margin = y * (X @ theta[:-1] + theta[-1])
        below = margin < np.quantile(margin, candidate.quantile)
        X_all = np.vstack([X, np.repeat(X[below], candidate.repeats, axis=0)])
        y_all = np.concatenate([y, -np.repeat(y[below], candidate.repeats)])
        theta = train(X_all, y_all, len(y_all) * ALPHA)
        # two solvers of tolerance 1e-8 and 1e-10
        assert_allclose(np.append(candidate.coef_, candidate.intercept_), theta, atol=1e-6)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_sparse_and_dense_agree(cancer, loss):
    X, y = cancer
    options = {"quantiles": [0.2], "repeats": [3], "goal": 0, "loss": loss, "alpha": 0.05}
    dense, sparse = make_target(X, y, **options), make_target(sp.csr_matrix(X), y, **options)
    assert_allclose(dense.coef_, sparse.coef_, atol=1e-6)  # twice the training tolerance, with room
    assert dense.n_flips == sparse.n_flips


def test_weights_count_as_repeated_rows(cancer):
    X, y = cancer
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    options = {"quantiles": [0.3], "repeats": [2], "goal": 0, "X_flip": X[:100], "y_flip": y[:100]}
    weighted = make_target(X, y, sample_weight=weight, **options)
    repeated = make_target(X[rows], y[rows], **options)
    assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)


def test_labels_and_frames_of_the_user(cancer):
    X, y = cancer
    names = np.where(y > 0, "yes", "no")
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(X.shape[1])])
    options = {"quantiles": [0.3], "repeats": [2], "goal": 0}
    target = make_target(frame, names, frame, names, **options)
    assert target.classes_.tolist() == ["no", "yes"]
    assert_array_equal(target.coef_, make_target(X, y, **options).coef_)
    with pytest.raises(ValueError, match="X_flip has columns"):
        make_target(frame, names, frame[frame.columns[::-1]], names, **options)


def test_target_is_frozen_and_short_in_print(cancer):
    X, y = cancer
    target = make_target(X, y, quantiles=[0.3], repeats=[2], goal=0)
    assert isinstance(target, TargetModel)
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.error = 0
    assert len(repr(target)) < 300
    assert target.coef_.shape == (1, 30)
    assert target.intercept_.shape == (1,)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "gradient"}, "method must be 'label_flip' or 'damage', got 'gradient'"),
        ({"goal": 1.5}, "goal must lie in"),
        ({"goal": -0.1}, "goal must be finite and at least 0"),
        ({"goal": 0.99}, r"goal=0.99 is not met: the largest error among 1 candidates"),
        ({"quantiles": []}, "quantiles must not be empty"),
        ({"quantiles": [0.0]}, r"quantiles must lie in \(0, 1\]"),
        ({"quantiles": [1.2]}, r"quantiles must lie in \(0, 1\]"),
        ({"repeats": [0]}, "repeats must be at least 1, got 0"),
        ({"mask": np.zeros(569, dtype=bool)}, "mask selects no row"),
        ({"mask": np.ones(5, dtype=bool)}, r"mask must be a boolean array of shape \(569,\)"),
        ({"mask": np.ones(569)}, "mask must be a boolean array"),
        ({"alpha": 0.1, "C": 1.0}, "at most one of alpha and C"),
        ({"alpha": -1.0}, "alpha must be positive"),
        ({"X_flip": np.ones((2, 30))}, "X_flip and y_flip must be given together"),
        ({"X_eval": np.ones((2, 30))}, "X_eval and y_eval must be given together"),
        ({"X_flip": np.ones((2, 3)), "y_flip": [1, -1]}, "X_flip has 3 features, expected 30"),
        ({"X_flip": np.ones((2, 30)), "y_flip": [1, 3]}, "y_flip must hold the labels .* got 3 in row 1"),
        ({"X_flip": np.ones((2, 30)), "y_flip": [1]}, r"y_flip must have shape \(2,\)"),
        ({"X_flip": np.full((2, 30), np.nan), "y_flip": [1, -1]}, "X_flip contains NaN"),
        ({"sample_weight": -np.ones(569)}, "sample_weight must be finite and non-negative"),
    ],
)
def test_errors_name_the_argument(cancer, change, message):
    X, y = cancer
    with pytest.raises(ValueError, match=message):
        make_target(X, y, **{"quantiles": [0.1], "repeats": [1], **change})


@pytest.mark.parametrize(
    "y, message",
    [
        (np.ones(569), "y must hold two classes, got 1"),
        (np.arange(569) % 3, "y must hold two classes, got 3"),
        (np.full(569, np.nan), "y must not hold NaN"),
        (np.ones(5), r"y must have shape \(569,\)"),
    ],
)
def test_errors_of_labels(cancer, y, message):
    with pytest.raises(ValueError, match=message):
        make_target(cancer[0], y)


def test_repeats_must_be_whole(cancer):
    with pytest.raises(TypeError, match=r"repeats must be an integer, got 1\.5"):
        make_target(*cancer, repeats=[1.5])


# -- models of others -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        LinearSVC(),
        LogisticRegression(),
        SGDClassifier(random_state=0),
        RidgeClassifier(),
        Perceptron(random_state=0),
        SVC(kernel="linear"),
        LinearSVC(fit_intercept=False),
        SGDClassifier(random_state=0).set_params(loss="log_loss"),
    ],
)
def test_every_linear_classifier_is_a_target(cancer, model):
    X, y = cancer
    theta = binary_linear_model(model.fit(X, y), 30)
    decision = model.decision_function(X)
    assert_allclose(X @ theta[:-1] + theta[-1], decision, atol=1e-9 * np.abs(decision).max())


def test_a_sparsified_model_is_a_target(cancer):
    X, y = cancer
    model = LogisticRegression().fit(X, y)
    dense = binary_linear_model(model, 30)
    assert_array_equal(binary_linear_model(model.sparsify(), 30), dense)


def test_plain_arrays_are_a_target():
    expected = np.array([1.0, 2.0, 3.0])
    for pair in [([1, 2], 3), (np.array([[1.0, 2.0]]), np.array([3.0])), ((1, 2), [3.0])]:
        assert_array_equal(binary_linear_model(pair, 2), expected)


@pytest.mark.parametrize(
    "model, error, message",
    [
        (make_pipeline(StandardScaler(), LinearSVC()), TypeError, "target is a Pipeline"),
        (LinearSVC(), NotFittedError, "target is a LinearSVC that is not fitted"),
        (LinearSVC, TypeError, "target is the class LinearSVC, expected a fitted instance"),
        (LinearRegression(), TypeError, "target is a LinearRegression, expected a binary linear classifier"),
        (([1.0, np.nan], 0.0), ValueError, "target has NaN or infinite"),
        (([1.0], 0.0), ValueError, "target has 1 features, expected 2"),
        ((np.ones((3, 2)), np.ones(3)), ValueError, "target must be one binary linear model"),
        ("SVM", TypeError, "target must be a fitted linear model or a pair"),
        (None, TypeError, "target must be a fitted linear model or a pair"),
    ],
)
def test_what_is_no_target(model, error, message):
    with pytest.raises(error, match=message):
        binary_linear_model(model, 2)


def test_fitted_models_that_are_no_target(cancer):
    X, y = cancer
    three = np.arange(len(y)) % 3
    with pytest.raises(ValueError, match="target is a LogisticRegression of 3 classes, expected a binary one"):
        binary_linear_model(LogisticRegression().fit(X, three), 30)
    with pytest.raises(TypeError, match="target is a SVC without coef_"):
        binary_linear_model(SVC(kernel="rbf").fit(X, y), 30)
    with pytest.raises(ValueError, match="target has 10 features, expected 30"):
        binary_linear_model(LogisticRegression().fit(X[:, :10], y), 30)


def test_a_target_of_other_labels_is_refused(cancer):
    X, y = cancer
    model = LogisticRegression().fit(X, np.where(y > 0, "a", "b"))
    with pytest.raises(ValueError, match=r"target was trained with labels \['a', 'b'\], the victim with \['b', 'a'\]"):
        binary_linear_model(model, 30, classes=np.array(["b", "a"]))


def test_a_target_by_damage_has_the_error_asked_for_and_needs_no_more_points_than_were_found():
    X, y = load_digits(n_class=2, return_X_y=True)
    attacker = MinimumPoisoner(alpha=0.09).fit(X / 16.0, y)
    target = attacker.make_target(method="damage", goal=0.1, compare=True)
    assert target.comparison["damage_at_the_same_budget"] >= target.error  # its own points do that
    model = target.coef_[0], target.intercept_[0]
    wrong = (X / 16.0 @ model[0] + model[1] > 0) != (y == 1)
    assert np.mean(wrong) == target.error >= 0.1
    result = attacker.attack(target)
    assert result.lower_bound <= target.n_flips
    flips = attacker.make_target(goal=0.1, quantiles=[0.1, 0.2, 0.4], repeats=[1, 2, 5], compare=True)
    assert target.n_flips < flips.n_flips == flips.comparison["points_behind"]
    assert flips.comparison["minimum"] >= flips.comparison["lower_bound"]
    assert flips.comparison["damage_at_the_same_budget"] >= 0.1


@pytest.mark.parametrize("change", [{"loss": "log_loss"}, {"alpha": 0.05}, {"penalize_intercept": False}])
def test_a_target_of_another_victim_is_refused_with_both_values(change):
    X, y = load_digits(n_class=2, return_X_y=True)
    target = make_target(X / 16.0, y, quantiles=[0.2], repeats=[2], goal=0.0, **{"alpha": 0.09} | change)
    attacker = ModelTargetedPoisoner(alpha=0.09, max_points=2).fit(X / 16.0, y)
    (name, value), own = next(iter(change.items())), {"loss": "hinge", "alpha": 0.09, "penalize_intercept": True}
    with pytest.raises(ValueError, match=f"made with {name}={value!r}, the attacker has {name}={own[name]!r}"):
        attacker.attack(target)
    assert attacker.attack((target.coef_, target.intercept_)).n_points == 2
    with pytest.raises(ValueError, match="taken over from the attacker"):
        attacker.make_target(alpha=0.1)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("regularisation", [{"alpha": 0.02}, {"C": 0.5}])
def test_models_that_are_left_out_could_not_have_been_the_target(cancer, loss, regularisation, monkeypatch):
    """More repeats never lower the clean objective: the target is the cheapest of all pairs, which are trained when
    they are read."""
    X, y = cancer
    trainings = []
    reweigh = Victim.reweigh
    monkeypatch.setattr(Victim, "reweigh", lambda self, *a, **k: (trainings.append(1), reweigh(self, *a, **k))[1])
    tapes = {"quantiles": [0.5, 0.1, 0.3], "repeats": [2, 1, 5, 12, 30]}
    for goal in (0.0, 0.05, 0.1, 0.2, 0.4):
        trainings.clear()
        target = make_target(X, y, goal=goal, loss=loss, **tapes, **regularisation)
        assert len(target.candidates) == 15
        assert len(trainings) < 14
        copied = pickle.loads(pickle.dumps(target))  # trains the others
        assert [c.clean_objective for c in copied.candidates] == [c.clean_objective for c in target.candidates]
        of_pair = {(c.quantile, c.repeats): c for c in target.candidates}
        assert list(of_pair) == [(q, r) for q in tapes["quantiles"] for r in tapes["repeats"]]
        for q in tapes["quantiles"]:
            cost = np.array([of_pair[q, r].clean_objective for r in sorted(tapes["repeats"])])
            assert np.all(np.diff(cost) >= -1e-7 * cost[1:])  # to the accuracy of a training
        best = min((c for c in target.candidates if c.error >= goal), key=lambda c: c.clean_objective)
        assert (target.quantile, target.repeats) == (best.quantile, best.repeats)
        assert_array_equal(target.coef_, best.coef_)


def test_no_model_is_left_out_where_class_weights_follow_the_counts(cancer):
    X, y = cancer
    tapes = {"quantiles": [0.1, 0.3], "repeats": [1, 4, 9], "class_weight": "balanced", "goal": 0.0}
    target = make_target(X, y, callback=lambda state: state["n_done"] == 5, **tapes)
    assert len(target.candidates) == 5
    assert target.candidates[:2] == make_target(X, y, **tapes).candidates[:2]


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_any_model_bounds_the_clean_objective_of_the_best_from_below(cancer, loss):
    """F(theta_r) >= (r V_s - s v) / (r - s), v the value of F + r G anywhere: never more than F(theta_r)."""
    X, y = cancer
    objective, n = make_objective(loss, alpha=0.05), len(y)
    flipped, rng = np.arange(0, n, 4), np.random.default_rng(0)
    X_all, y_all = np.vstack([X, X[flipped]]), np.concatenate([y, -y[flipped]])
    tight = 0
    for s, r in ((1, 2), (2, 7), (1, 30)):
        costs = {}
        for repeats in (s, r):
            weight = np.concatenate([np.ones(n), np.full(len(flipped), float(repeats))])
            model = refit(X_all, y_all, objective, sample_weight=weight, tol=1e-10).theta
            costs[repeats] = objective.value(model, X_all, y_all, weight)
        clean = objective.value(model, X, y)
        assert clean <= r * costs[r]
        assert beyond({s: costs[s]}, r, clean * (1 + 1e-6)) < costs[r]
        for least in rng.uniform(0.1 * clean, clean, 20):
            at = beyond({s: costs[s]}, r, least)
            assert at == pytest.approx((r * costs[s] - (r - s) * least) / s, rel=1e-6)
            tight += at > costs[r]
    assert tight > 5
    assert beyond({}, 3, 1.0) == beyond({5: 1.0}, 3, 1.0) == beyond({1: 1.0}, 3, np.inf) == -np.inf


def test_models_far_from_the_target_are_not_trained_to_their_end(digits, monkeypatch):
    """They are trained when they are read, and are then as accurate as the others."""
    X, y = digits
    stopped, reweigh = [], Victim.reweigh

    def watched(self, *args):
        reweigh(self, *args)
        if not self.is_tight():
            stopped.append(args)

    monkeypatch.setattr(Victim, "reweigh", watched)
    tapes = {"quantiles": [0.05, 0.2, 0.3, 0.4, 0.5, 0.6], "repeats": [1, 2, 3, 5, 8, 12, 20], "alpha": 0.09}
    target = make_target(X, y, goal=0.05, **tapes)
    assert len(stopped) >= 2
    best = min((c for c in target.candidates if c.error >= 0.05), key=lambda c: c.clean_objective)
    assert (target.quantile, target.repeats) == (best.quantile, best.repeats)
    for candidate in target.candidates[4::7]:
        alone = make_target(
            X, y, goal=0.0, **tapes | {"quantiles": [candidate.quantile], "repeats": [candidate.repeats]}
        )
        assert_allclose(candidate.coef_, alone.coef_, atol=1e-7 * np.abs(alone.coef_).max())


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_repeats_may_be_given_more_than_once(loss):
    """They are the same model each time, whether it is the target or read later."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = np.where(X[:, 0] + rng.normal(size=60) > 0.0, 1, -1)
    for goal in (0.0, 0.2):
        for repeats in ([5, 5, 5], [1, 5, 5, 20, 5, 1]):
            found = make_target(X, y, quantiles=[0.3, 0.6], repeats=repeats, loss=loss, C=1.0, goal=goal).candidates
            assert [c.repeats for c in found] == 2 * repeats
            for c in found:
                same = next(o for o in found if (o.quantile, o.repeats) == (c.quantile, c.repeats))
                assert_allclose(c.coef_, same.coef_, atol=1e-7 * np.abs(same.coef_).max())


def test_the_next_model_is_looked_for_where_the_last_few_lead():
    """Exact for a cubic polynomial in r / (r + 10), whatever the order of the repeats."""
    rng = np.random.default_rng(0)
    of_powers = rng.normal(size=(4, 6))

    def model(r):
        return (r / (r + 10.0)) ** np.arange(4) @ of_powers

    for repeats in ((9, 1, 3, 2, 8), (0, 1, 2, 3), (60, 50, 30, 25)):
        known = {r: model(r) for r in repeats}
        assert_allclose(ahead(known, 12), model(12), atol=1e-9)
        assert_array_equal(ahead(known | {12: of_powers[1]}, 12), of_powers[1])
    assert_array_equal(ahead({0: of_powers[0]}, 7), of_powers[0])
