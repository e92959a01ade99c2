"""Points that are corners of a box stay packed in a result until they are read, and then are what they always were."""

import copy
import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from mtpfast import FeatureSpace, ModelTargetedPoisoner, PoisoningResult, poison
from mtpfast.results.packed import Packed, held

OPTIONS = {"alpha": 0.1, "feasible_set": FeatureSpace(0.0, 1.0), "tol": 0.0}


def data(convert, d=400):
    rng = np.random.default_rng(0)
    X = convert((rng.random((40, d)) < 0.1) * np.round(rng.random((40, d)), 2))
    return X, np.where(np.arange(40) % 2, 1.0, -1.0), np.random.default_rng(1).normal(size=d + 1)


@pytest.fixture(params=[np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def attack(request):
    X, y, target = data(request.param)
    return X, y, poison(X, y, target, max_points=25, **OPTIONS)


def dense(points):
    return points.toarray() if sp.issparse(points) else points


def test_what_does_not_read_the_points_leaves_them_packed(attack, tmp_path):
    """Their number, their labels, how often each is used, the file, the attack that goes on from them."""
    X, y, result = attack
    assert isinstance(held(result), Packed)
    assert len(result.counts) == len(result.labels)
    assert result.counts.sum() == result.n_points == len(result.y_poison)
    assert f"({len(result.labels)} distinct)" in repr(result)
    result.save(tmp_path / "result.npz")
    poison(X, y, result.theta_target, max_points=30, resume=result, **OPTIONS)
    assert isinstance(held(result), Packed)
    assert result.points.shape == (len(result.labels), X.shape[1])
    assert not isinstance(held(result), Packed)


def test_points_are_read_once_and_are_those_that_were_trained_on(attack):
    X, y, result = attack
    points = result.points
    assert points is result.points
    assert sp.issparse(points) == sp.issparse(X)
    assert points.dtype == np.float64
    assert sp.issparse(points) or not points.flags.writeable
    assert_array_equal(dense(result.X_poison), dense(points)[result.sequence])
    assert result.verify(X, y).ok


@pytest.mark.parametrize("copied", [
    lambda result: pickle.loads(pickle.dumps(result)),
    copy.deepcopy,
    copy.copy,
    lambda result: dataclasses.replace(result, message=""),
    lambda result: result.at_budget(result.n_points),
], ids=["pickle", "deepcopy", "copy", "replace", "at_budget"])  # fmt: skip
def test_copies_have_the_same_points(attack, copied):
    other = copied(attack[2])
    assert type(other.points) is type(attack[2].points)
    assert_array_equal(dense(other.points), dense(attack[2].points))


def test_a_file_holds_the_points_themselves(attack, tmp_path):
    """Readable by whoever reads NumPy's archives: nothing packed is written."""
    result = attack[2]
    result.save(tmp_path / "result.npz")
    loaded = PoisoningResult.load(tmp_path / "result.npz")
    assert not isinstance(held(loaded), Packed)
    assert type(loaded.points) is type(result.points)
    assert_array_equal(dense(loaded.points), dense(result.points))


def test_an_estimator_hands_them_on_as_they_are():
    X, y, target = data(np.asarray)
    attacker = ModelTargetedPoisoner(max_points=25, **OPTIONS).fit(X, np.where(y > 0, "yes", "no"))
    result = attacker.attack((target[:-1], target[-1]))
    assert isinstance(held(result), Packed)
    longer = attacker.set_params(max_points=30).attack((target[:-1], target[-1]), resume=result)
    assert isinstance(held(result), Packed)
    assert_array_equal(longer.X_poison[:25], result.X_poison)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_the_points_of_an_attack_take_a_bit_an_entry(convert):
    """The traced heap at its peak holds neither the points as numbers nor, with keep_path=False, the path."""
    X, y, target = data(convert, d=2000)
    tracemalloc.start()
    try:
        result = poison(X, y, target, max_points=400, keep_path=False, **OPTIONS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.path.nbytes <= 3 * 8 * 2001
    points = result.points
    assert points.shape[0] > 100
    assert peak < 0.5 * (points.data.nbytes + points.indices.nbytes if sp.issparse(points) else points.nbytes)
