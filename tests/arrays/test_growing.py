"""Memory that grows where it stands: what was added stays, for those who look at it too."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mtpfast import FeatureSpace
from mtpfast.arrays import growing
from mtpfast.arrays.growing import Growing
from mtpfast.attacks.online import poison
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import Victim, refit

PAGES = [True, False] if growing.MOVES_PAGES else [False]


@pytest.mark.parametrize("moves", PAGES)
@given(
    shape=st.sampled_from([(), (1,), (7,), (2, 3)]),
    dtype=st.sampled_from([np.float64, np.int32]),
    steps=st.lists(st.tuples(st.sampled_from(["append", "extend", "truncate", "look"]), st.integers(0, 900))),
)
def test_rows_are_those_of_a_list(moves, shape, dtype, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "MOVES_PAGES", moves)
        rows, expected, views, number = Growing(shape, dtype), [], [], 0
        for step, size in steps:
            new = [np.full(shape, number + i, dtype=dtype) for i in range(size)]
            number += size
            if step == "append" and size:
                rows.append(new[0])
                expected.append(new[0])
            elif step == "extend":
                rows.extend(np.array(new, dtype=dtype).reshape(size, *shape))
                expected += new
            elif step == "truncate":
                rows.truncate(size)
                # a row that is added after this may take the place that an earlier view shows
                views = [(view[:size], copy[:size]) for view, copy in views]
                expected = expected[:size]
            elif step == "look":
                views.append((rows.rows, rows.rows.copy()))
            assert len(rows) == len(expected)
            assert rows.block.dtype == dtype
            assert rows.block.shape[1:] == shape
            assert_array_equal(rows.rows, np.array(expected, dtype=dtype).reshape(len(expected), *shape))
        for view, copy in views:
            assert_array_equal(view, copy)


def attack(X, n):
    """An attack on noise whose points and models are large beside X."""
    y = np.where(np.arange(X.shape[0]) % 2, 1.0, -1.0)
    target = np.random.default_rng(1).normal(size=X.shape[1] + 1)
    return poison(X, y, target, alpha=0.1, feasible_set=FeatureSpace(0.0, 1.0), tol=0.0, max_points=n)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_an_attack_holds_nothing_of_the_size_of_its_path_beside_it(convert):
    """The heap that is traced is all but points and path: no list of models, no stack of them, no larger buffer."""
    X = convert(np.random.default_rng(0).random((30, 2000)) * (np.random.default_rng(0).random((30, 2000)) < 0.1))
    attack(X, 2)
    tracemalloc.start()
    try:
        result = attack(X, 400)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    points = result.points
    # made for the result, on the heap, from the bits that are held of corners of a box
    held = points.data.nbytes + points.indices.nbytes if sp.issparse(points) else points.nbytes
    assert result.n_points == 400
    assert result.points.shape[0] > 100
    assert peak - held < 0.25 * result.path.nbytes


def test_an_attack_on_a_coded_table_holds_little_beside_it():
    """Some ten numbers a row (labels, weights, norms; the order of the rows) and two bytes a code and its place in a
    list, for every sixth column, and both once more while they are sorted, are a quarter of 60 columns."""
    rng = np.random.default_rng(4)
    X = (rng.random((20_000, 60)) < 0.1).astype(float)
    y = np.where(rng.random(20_000) < 0.3, 1.0, -1.0)
    target = rng.normal(size=61)
    tracemalloc.start()
    try:
        result = poison(X, y, target, loss="log_loss", alpha=0.1, feasible_set=FeatureSpace(0, 1), max_points=110)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.n_points == 110
    assert peak < 0.25 * X.nbytes


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_a_victim_hands_over_what_it_was_given(loss, convert, share):
    """Points with few and with many entries, through several moves of the memory; all of them, or the first."""
    rng = np.random.default_rng(2)
    X = rng.random((20, 300)) * (rng.random((20, 300)) < 0.2)
    y = np.where(rng.random(20) < 0.5, 1.0, -1.0)
    given_ = rng.random((90, 300)) * (rng.random((90, 300)) < share)
    labels = np.where(rng.random(90) < 0.5, 1.0, -1.0)
    for n in (0, 37, 90):
        victim = Victim(convert(X), y, make_objective(loss, alpha=0.1))
        for x, label in zip(given_, labels, strict=True):
            victim.add(x, label)
        seen = victim.added_X.copy()
        points, signs = victim.hand_over(n)
        assert sp.issparse(points) == sp.issparse(seen) == sp.issparse(convert(X))
        points, seen = (a.toarray() if sp.issparse(a) else a for a in (points, seen))
        assert_array_equal(seen, given_)
        assert_array_equal(points, given_[:n])
        assert_array_equal(signs, labels[:n])


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
@pytest.mark.parametrize("convert", [np.array, sp.csr_matrix], ids=["dense", "csr"])
def test_what_was_trained_on_goes_with_its_last_owner(loss, convert):
    """Not at the next collection of cycles: the copies of X that are made to train a target are as large as X."""
    rng = np.random.default_rng(3)
    y = np.where(np.arange(40) % 2, 1.0, -1.0)
    gc.disable()
    try:
        for train in (
            lambda X: refit(X, y, make_objective(loss, alpha=0.1)),
            lambda X: poison(X, y, np.ones(6), loss=loss, feasible_set=FeatureSpace(0.0, 1.0), max_points=5),
        ):
            X = convert(rng.random((40, 5)))
            seen = weakref.ref(X)
            kept = train(X)
            del X
            assert seen() is None, kept
    finally:
        gc.enable()


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_a_solver_knows_where_the_points_are_when_they_have_moved(share):
    """A full pass between placing points and the refit with them finds the model as it was."""
    rng = np.random.default_rng(5)
    X = sp.csr_matrix(rng.random((20, 300)) * (rng.random((20, 300)) < 0.2))
    points = rng.random((200, 300)) * (rng.random((200, 300)) < share)
    victim = Victim(X, np.where(np.arange(20) % 2, 1.0, -1.0), make_objective("hinge", C=1.0))
    for x in points[:4]:
        victim.add(x, 1.0)
    gap, model, rows = victim.check(), victim.theta, victim.training.rows
    for x in points[4:]:
        victim.training.place(x, 1.0, 1)
    assert not rows.shown
    assert victim.check() == gap
    assert_array_equal(victim.theta, model)
