"""What every attack is asked is checked once, and what several answers share is solved once."""

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_array_equal

from mtpfast import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, minimum_poisoning, poison, question
from mtpfast.arrays.checks import as_theta
from mtpfast.arrays.labels import Classes
from mtpfast.attacks.damage import damage
from mtpfast.minimum import minimum


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.random((40, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.normal(size=40) > 0.2, 1.0, -1.0)
    return X, y, np.array([-0.5, 0.7, 0.1, 0.05])


def count(monkeypatch, module, name):
    """Calls of a function, as a list that grows."""
    calls, function = [], getattr(module, name)

    def counted(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_an_attack_checks_clean_rows_once(data, monkeypatch):
    """A function checks what it is given; an estimator checks in ``fit``, and an attack takes the rows from there."""
    X, y, target = data
    fitted = ModelTargetedPoisoner(max_points=2).fit(X, y), MinimumPoisoner().fit(X, y)
    calls = count(monkeypatch, question, "check_X")
    poison(X, y, target, max_points=2)
    assert len(calls) == 1
    minimum_poisoning(X.tolist(), y, target)
    assert len(calls) == 2
    minimum_poisoning(X, y, target)  # an array of numbers is read in blocks, and checked there
    for attacker in fitted:
        attacker.attack((target[:-1], target[-1]))
    assert len(calls) == 2


def test_both_attacks_ask_the_same_question(data):
    """Certificate and result of either attack, as a function and as an estimator, speak of one goal."""
    X, y, target = data
    options = {"C": 1.0, "feasible_set": FeatureSpace(0.0, 1.0)}
    pair = target[:-1], target[-1]
    results = [
        poison(X, y, target, max_points=1, **options),
        minimum_poisoning(X, y, target, **options),
        ModelTargetedPoisoner(max_points=1, **options).fit(X, y).attack(pair),
        MinimumPoisoner(**options).fit(X, y).attack(pair),
    ]
    for result in results:
        assert result.goal == results[0].goal
        assert result.certificate is None or result.certificate.goal == results[0].goal


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_a_tradeoff_solves_the_exact_minimum_once(data, monkeypatch, loss):
    """And says of every tolerance what a call of its own says."""
    X, y, target = data
    attacker = MinimumPoisoner(loss, C=1.0, feasible_set=FeatureSpace(0.0, 1.0), max_points=4).fit(X, y)
    pair, tols = (target[:-1], target[-1]), [0.0, 0.8]
    alone = [attacker.set_params(tol=tol).attack(pair) for tol in tols]
    calls = count(monkeypatch, minimum, "exact_minimum")
    together = attacker.tradeoff(pair, tols)
    # a hinge that falls short of the target is asked once more, with another margin_tol
    assert sum(problem.margin_tol == 1e-6 for problem, *_ in calls) == 1
    for one, other in zip(alone, together, strict=True):
        assert (one.status, one.n_points, one.lower_bound) == (other.status, other.n_points, other.lower_bound)
        assert_array_equal(one.theta, other.theta)


def test_a_tradeoff_is_the_same_for_any_number_of_workers(data):
    """Two processes, told by joblib's own context, say bit for bit what one does."""
    X, y, target = data
    attacker = MinimumPoisoner("log_loss", C=1.0, feasible_set=FeatureSpace(0.0, 1.0), max_points=4).fit(X, y)
    pair, tols = (target[:-1], target[-1]), [0.0, 0.8]
    with parallel_config(backend="loky", n_jobs=2):
        together = attacker.tradeoff(pair, tols)
    for one, other in zip(attacker.tradeoff(pair, tols, n_jobs=1), together, strict=True):
        assert (one.status, one.n_points, one.lower_bound) == (other.status, other.n_points, other.lower_bound)
        assert_array_equal(one.theta, other.theta)
        assert_array_equal(one.points, other.points)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_a_tolerance_that_holds_every_model_takes_no_point(data, loss):
    """However large: the clean model is in the ball (a multiplier of 0 has no logarithm)."""
    X, y, target = data
    attacker = MinimumPoisoner(loss, C=1.0, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y)
    for result in attacker.tradeoff((target[:-1], target[-1]), [10.0, 1e3]):
        assert (result.status, result.n_points, result.lower_bound) == ("reached", 0, 0)


@pytest.mark.parametrize("values", [["ham", "spam"], [0, 1], [-1.0, 1.0], [True, False]])
def test_signs_and_labels_are_each_others_inverse(values):
    classes = Classes.of(np.array(values * 2), 4)
    y = np.array([values[1], values[0], values[0]])
    signs = classes.signs(y)
    assert_array_equal(classes.labels(signs), y)
    assert_array_equal(signs > 0, y == max(values))


@pytest.mark.parametrize(
    "y, message",
    [
        (["ham", "eggs"], r"y must hold the labels \['ham', 'spam'\], got 'eggs' in row 1"),
        (["ham"], r"y must have shape \(2,\), one label per row, got \(1,\)"),
    ],
)
def test_labels_that_are_none_of_the_two_are_named(y, message):
    with pytest.raises(ValueError, match=message):
        Classes(np.array(["ham", "spam"])).signs(y, n_rows=2)


@pytest.mark.parametrize("X", [np.zeros(5), None, 3.0])
def test_what_is_no_table_is_named_by_a_search_for_damage(X):
    with pytest.raises(ValueError, match="X: Expected 2D array"):
        damage(X, np.ones(5), budget=1)


@pytest.mark.parametrize("target", [np.array([1j, 0.0]), np.array(["1", "0"]), (np.array([1j]), 0.0)])
def test_a_target_is_made_of_real_numbers(target):
    with pytest.raises(TypeError, match="target must hold real numbers, got"):
        as_theta(target)


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_models_are_refused_exactly_where_their_largest_size_is_out_of_range(n):
    """0, or a finite largest size from 1e-100 to 1e60, whatever the sum of squares says; the array is copied."""
    for size in (0.0, 1e-300, 9.9e-101, 1e-100, 3e-100, 1e-99, 1.0, 1e59, 1e60, 1.01e60, 1e154, 1e300, np.inf, np.nan):
        for one in (np.full(n, size), np.append(np.zeros(n - 1), -size)):
            if size == 0.0 or 1e-100 <= size <= 1e60:
                theta = as_theta(one)
                assert_array_equal(theta, one)
                assert not np.shares_memory(theta, one)
            else:
                with pytest.raises(ValueError, match=r"target (has NaN or infinite|is too (large|small))"):
                    as_theta(one)
