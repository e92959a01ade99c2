"""Every trainer of the list, with the real package: our victim is its tight solution, and its model is a target.

pip install snapml skglm glum statsmodels liblinear-official xgboost scikit-learn-intelex
pytest -m trainers tests/trainers
"""

import warnings

import numpy as np
import pytest
from cases import CASES, table, theta_of

from mtpfast import ModelTargetedPoisoner
from mtpfast.targets.models import binary_linear_model

THERE = [case for case in CASES if case.is_there()]
pytestmark = [pytest.mark.trainers, pytest.mark.filterwarnings("ignore")]  # what a package warns of is its own affair


def by_name(value):
    """The same in every process of tests: no place in memory."""
    return getattr(value, "name", str(value)).replace(" ", "_")


@pytest.mark.parametrize("case", THERE, ids=by_name)
def test_the_victim_is_the_tight_solution(case):
    """l2 distance of (w, b), where models have norms of 5 to 16; another reading of the call is 0.5 to 17 away."""
    X, y = table()
    estimator, options, train = case.make(True)
    ours = ModelTargetedPoisoner.from_estimator(estimator, **options).fit(X, y)
    theirs = binary_linear_model(train(X, y), X.shape[1], ours.classes_)
    assert np.linalg.norm(theirs - theta_of(ours)) <= case.near


@pytest.mark.parametrize("case, what", [(case, what) for case in THERE for what in case.refused], ids=by_name)
def test_what_has_no_such_objective_is_refused_by_its_name(case, what):
    build, message = case.refused[what]
    estimator, options = build()
    with pytest.raises((TypeError, ValueError)) as error:
        ModelTargetedPoisoner.from_estimator(estimator, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("case", THERE, ids=by_name)
def test_its_fitted_model_is_a_target(case):
    """The sign is the victim's: the model agrees with most labels (0.89 without a constant; the other sign: 0.11)."""
    X, y = table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theta = binary_linear_model(case.make(False)[2](X, y), X.shape[1], np.array([0, 1]))
    assert np.mean((X @ theta[:-1] + theta[-1] > 0) == (y == 1)) > 0.8
