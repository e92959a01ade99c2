"""The table of docs/victims.md is what was measured, and every trainer that is read is in it or refused on the page."""

import json
from pathlib import Path

import measure
import numpy as np
import pytest
from cases import CASES
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifier

from mtpfast import ModelTargetedPoisoner
from mtpfast.targets.trainers import TRAINERS

KNOWN = json.loads((Path(measure.__file__).parent / "measured.json").read_text())


def test_the_page_shows_what_was_measured():
    assert measure.page_table(KNOWN) in measure.PAGE.read_text(encoding="utf-8")


def test_tight_solutions_are_as_near_as_the_tests_demand():
    for case in CASES:
        assert KNOWN[case.name]["tight"] <= case.near, case.name


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_is_recognised_by_name_and_not_imported(name):
    """A class of that name in that package is read, though it holds nothing: what it lacks is asked for."""
    package, _, kind = name.partition(".")
    stand_in = type(kind, (), {"__module__": f"{package}.somewhere"})()
    with pytest.raises((TypeError, AttributeError, ValueError)) as error:
        ModelTargetedPoisoner.from_estimator(stand_in)
    assert "expected LinearSVC, SVC(kernel" not in str(error.value)


def test_the_c_that_a_search_chose_is_the_victims(cancer):
    X, y = cancer
    options = {"solver": "liblinear", "tol": 1e-10, "max_iter": 10_000, "cv": 3, "scoring": "accuracy"}
    if "use_legacy_attributes" in LogisticRegressionCV().get_params():
        options |= {"use_legacy_attributes": False, "l1_ratios": (0.0,)}
    search = LogisticRegressionCV(Cs=[0.1, 1.0], **options).fit(X, y)
    attacker = ModelTargetedPoisoner.from_estimator(search).fit(X, y)
    assert attacker.C == float(np.ravel(search.C_)[0])
    alone = LogisticRegression(C=attacker.C, solver="liblinear", tol=1e-10, max_iter=10_000).fit(X, y)
    # Two solvers of tolerance 1e-8 and 1e-10.
    np.testing.assert_allclose(attacker.coef_, alone.coef_, atol=1e-5)
    np.testing.assert_allclose(search.coef_, alone.coef_, atol=1e-5)
    with pytest.raises(ValueError, match="LogisticRegressionCV has refit=False"):
        ModelTargetedPoisoner.from_estimator(search.set_params(refit=False))


def test_least_squares_is_refused_with_the_reason():
    with pytest.raises(TypeError, match="rises where a row is more right than it need be"):
        ModelTargetedPoisoner.from_estimator(RidgeClassifier())
