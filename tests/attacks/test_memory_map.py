"""Algorithm 1 on a memory map of float32 rows, against the same rows in memory."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtpfast import FeatureSpace
from mtpfast.arrays.maps import let_go, map_of
from mtpfast.attacks.online import poison
from mtpfast.training import hinge


def rows_in_a_file(folder, n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, d), dtype=np.float32) ** 2
    w = rng.normal(size=d)
    y = np.where(X @ w - w.sum() / 3 + 0.3 * rng.normal(size=n) > 0.0, 1, -1).astype(np.int8)
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r"), X.astype(np.float64), y, np.append(-w, 0.1) / np.linalg.norm(w)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"C": 0.1, "penalize_intercept": False},
        {"fit_intercept": False},
        {"class_weight": {-1: 2.0, 1: 0.5}, "weighted": True},
    ],
    ids=["alpha", "C, free intercept", "no intercept", "weights"],
)
def test_rows_fetched_from_a_file_give_the_attack_of_rows_in_memory(tmp_path, monkeypatch, asked):
    """A float32 is a float64 exactly: the models of every step are those of the same rows in memory, to the 1e-8 of
    their training, and so are what the history says of them and the bound, whole or to 1e-6."""
    monkeypatch.setattr(hinge, "SAMPLE", 200)  # the first model is one of a sample, then corrected by all rows
    X, held, y, target = rows_in_a_file(tmp_path, 1500, 9)
    asked, weight = dict(asked), None
    if asked.pop("weighted", False):
        weight = np.random.default_rng(1).random(len(y))
    target[-1] *= asked.get("fit_intercept", True)
    asked = {"feasible_set": FeatureSpace(np.zeros(9), 1.0), "sample_weight": weight, "max_points": 300} | asked
    found, other = (poison(rows, y, target, **asked) for rows in (X, held))
    size = np.linalg.norm(other.path, axis=1).max()
    assert_allclose(found.path, other.path, rtol=0.0, atol=1e-7 * size)
    assert np.array_equal(found.X_poison, other.X_poison)
    assert np.array_equal(found.sequence, other.sequence)
    assert abs(found.lower_bound - other.lower_bound) <= 1
    assert found.certificate.check(X, y, weight).holds
    assert found.certificate.check(held, y, weight).holds
    assert np.nanmax(found.history["gap"]) <= 1e-8


def test_rows_in_a_file_are_never_converted_all_at_once(tmp_path):
    """A few numbers a row are held: less than half of what the float32 file takes, an eighth of the rows as float64 and
    what is kept of them. (The page cache is no allocation.)"""
    X, _, y, target = rows_in_a_file(tmp_path, 12_000, 250)
    asked = {"feasible_set": FeatureSpace(np.zeros(250), 1.0), "max_points": 3}
    poison(X[:100], y[:100], target, **asked)  # imports
    tracemalloc.start()
    poison(X, y, target, **asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 0.5 * X.nbytes


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_refused_in_a_file_too(tmp_path, value):
    """NaN and infinity are named with their column."""
    _, _, y, target = rows_in_a_file(tmp_path, 50, 4)
    rows = np.lib.format.open_memmap(tmp_path / "X.npy", "r+")
    rows[17, 2] = value
    rows.flush()
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 2"):
        poison(np.load(tmp_path / "X.npy", mmap_mode="r"), y, target)


def test_pages_are_let_go_of_only_where_the_file_has_them(tmp_path):
    """What was read is read again from the file; a copy on write, whose pages are nowhere else, keeps them."""
    X, _, _, _ = rows_in_a_file(tmp_path, 3000, 8)
    before = X.copy()
    assert map_of(X) is not None
    assert map_of(X[5:70, ::2]) is not None
    let_go(X)
    assert np.array_equal(X, before)
    own = np.load(tmp_path / "X.npy", mmap_mode="c")
    own[:] = 7.0
    let_go(own)
    assert np.all(own == 7.0)
    assert [map_of(rows) for rows in (own, before, X + 1)] == [None, None, None]
