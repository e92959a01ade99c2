"""Bridges: pipelines of imbalanced-learn, and the Adversarial Robustness Toolbox where it is installed."""

import importlib.util
import sys
import types

import numpy as np
import pytest
from imblearn.pipeline import make_pipeline
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, LinearSVC

from mtpfast import DamagePoisoner, MinimumPoisoner, ModelTargetedPoisoner

HAS_ART = importlib.util.find_spec("art") is not None


def table(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return np.clip(0.5 + 0.15 * (2 * y - 1)[:, None] * rng.random(d) + 0.2 * rng.normal(size=(n, d)), 0.0, 1.0), y


@pytest.mark.parametrize("make", [ModelTargetedPoisoner, MinimumPoisoner, DamagePoisoner])
def test_an_attacker_is_a_sampler(make):
    """fit_resample returns the clean rows and the points; in a pipeline the victim trains on both."""
    X, y = table()
    own = (
        {"budget": 6, "max_iter": 10}
        if make is DamagePoisoner
        else {"target": ([-1.0, 0.0, 0.5], 0.2), "max_points": 6}
    )
    attacker = make(loss="log_loss", C=1.0, **own)
    X_mod, y_mod = attacker.fit_resample(X, y)
    assert np.array_equal(X_mod[: len(X)], X)
    assert np.array_equal(y_mod[: len(y)], y)
    assert len(X_mod) == len(X) + attacker.result_.n_points > len(X)
    pipeline = make_pipeline(MinMaxScaler(), clone(attacker), LogisticRegression()).fit(X, y)
    scaled = MinMaxScaler().fit_transform(X)
    again = LogisticRegression().fit(*clone(attacker).fit_resample(scaled, y))
    assert np.array_equal(pipeline[-1].coef_, again.coef_)
    assert np.array_equal(pipeline.predict(X), again.predict(scaled))


def test_an_attack_without_a_target_says_so():
    X, y = table()
    for make in (ModelTargetedPoisoner, MinimumPoisoner):
        with pytest.raises(ValueError, match="target must be given"):
            make(C=1.0).fit_resample(X, y)


def stand_in():
    """As much of ART's interface as the bridge rests on: a base class, and a wrapper of scikit-learn's classifiers."""

    class PoisoningAttackWhiteBox:
        attack_params: tuple = ()

        def __init__(self, classifier):
            if not isinstance(classifier, self._estimator_requirements):
                raise TypeError("classifier")
            self.estimator = classifier

    class ScikitlearnClassifier:
        def __init__(self, model, clip_values=None):
            self.model, self.clip_values = model, clip_values

    names = ("art", "art.attacks", "art.attacks.attack", "art.estimators", "art.estimators.classification")
    modules = {name: types.ModuleType(name) for name in (*names, "art.estimators.classification.scikitlearn")}
    modules["art.attacks.attack"].PoisoningAttackWhiteBox = PoisoningAttackWhiteBox
    modules["art.estimators.classification.scikitlearn"].ScikitlearnClassifier = ScikitlearnClassifier
    return modules, lambda model: ScikitlearnClassifier(model, (0.0, 1.0))


@pytest.fixture
def wrap(monkeypatch):
    """ART's wrapper of a classifier: the real one where ART is installed, else a stand-in with its interface."""
    import mtpfast.contrib.art as bridge

    if HAS_ART:
        from art.estimators.classification import SklearnClassifier

        yield lambda model: SklearnClassifier(model, clip_values=(0.0, 1.0))
        return
    modules, wrapper = stand_in()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield wrapper
    vars(bridge).pop("PoisoningAttackModelTargeted", None)


@pytest.mark.parametrize(
    "victim", [SVC(kernel="linear"), LinearSVC(loss="hinge", max_iter=10**6), LogisticRegression()]
)
@pytest.mark.parametrize("attack", ["algorithm_1", "minimum"])
def test_the_attack_of_art_returns_points_and_labels_in_the_form_it_is_given(wrap, victim, attack):
    from mtpfast.contrib.art import PoisoningAttackModelTargeted

    X, y = table()
    classifier = wrap(clone(victim).fit(X, y))
    target = (-classifier.model.coef_, -classifier.model.intercept_)
    bridge = PoisoningAttackModelTargeted(classifier, target, attack=attack, max_points=5)
    plain, labels = bridge.poison(X, y)
    assert plain.shape == (bridge.result.n_points, 3)
    assert plain.min() >= 0.0
    assert plain.max() <= 1.0
    one_hot, rows = bridge.poison(X, np.eye(2)[y])
    assert np.array_equal(one_hot, plain)
    assert np.array_equal(np.argmax(rows, axis=1), labels)
    column = bridge.poison(X, y[:, None])[1]
    assert np.array_equal(column.ravel(), labels)
    make = ModelTargetedPoisoner if attack == "algorithm_1" else MinimumPoisoner
    own = make.from_estimator(classifier.model, max_points=5, feasible_set=bridge.result.feasible_set)
    assert np.array_equal(own.fit(X, y).attack(target).X_poison, plain)


def test_the_attack_of_art_names_what_is_wrong(wrap):
    from mtpfast.contrib.art import PoisoningAttackModelTargeted

    X, y = table()
    classifier = wrap(LogisticRegression().fit(X, y))
    with pytest.raises(ValueError, match="attack must be one of"):
        PoisoningAttackModelTargeted(classifier, (np.ones(3), 0.0), attack="kkt")
    with pytest.raises(ValueError, match="y must be given"):
        PoisoningAttackModelTargeted(classifier, (np.ones(3), 0.0)).poison(X)
    with pytest.raises(ValueError, match="y must hold labels"):
        PoisoningAttackModelTargeted(classifier, (np.ones(3), 0.0)).poison(X, np.eye(3)[y])


def test_the_attack_of_art_refuses_a_victim_that_preprocesses(wrap):
    """It would be trained on other numbers than those the points are found on; ART's (0, 1) changes nothing."""
    from mtpfast.contrib.art import PoisoningAttackModelTargeted

    X, y = table()
    classifier = wrap(LogisticRegression().fit(X, y))
    attack = PoisoningAttackModelTargeted(classifier, (-np.ones(3), 0.0), max_points=2)
    assert len(attack.poison(X.astype(np.float32), y)[0]) == 2
    if HAS_ART:
        from art.estimators.classification import SklearnClassifier

        classifier = SklearnClassifier(classifier.model, preprocessing=(0.5, 2.0))
    else:
        classifier._apply_preprocessing = lambda x, y, fit: ((x - 0.5) / 2.0, y)
    with pytest.raises(ValueError, match="classifier must have no preprocessing"):
        PoisoningAttackModelTargeted(classifier, (-np.ones(3), 0.0)).poison(X, y)


@pytest.mark.parametrize("missing", [not HAS_ART])
def test_without_art_the_bridge_says_what_to_install(missing, monkeypatch):
    import mtpfast.contrib.art as bridge

    vars(bridge).pop("PoisoningAttackModelTargeted", None)
    monkeypatch.setitem(sys.modules, "art.attacks.attack", None)  # as if it were not there
    with pytest.raises(ImportError, match="adversarial-robustness-toolbox"):
        _ = bridge.PoisoningAttackModelTargeted
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = bridge.Nothing
