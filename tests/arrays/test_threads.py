"""Passes in chunks: the same bits for any number of threads."""

from itertools import pairwise

import joblib
import numpy as np
import pytest
import scipy.sparse as sp

from mtpfast import CandidatePool, max_loss_difference
from mtpfast.arrays import threads
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import Victim


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(threads, "MANY", 300)
    monkeypatch.setattr(threads, "CHUNK", 64)


def test_chunks_cover_all_rows_in_order(small_chunks):
    assert threads.in_chunks(lambda i, j: (i, j), 5, 304) == [(5, 304)]
    ends = threads.in_chunks(lambda i, j: (i, j), 5, 1000)
    assert ends[0][0] == 5
    assert ends[-1][1] == 1000
    assert all(a[1] == b[0] for a, b in pairwise(ends))


@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_training_has_the_same_bits_for_any_number_of_threads(small_chunks, monkeypatch, loss, sparse):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1000, 6)) * (rng.random((1000, 6)) < 0.5)
    y = np.where(X[:, 0] + rng.normal(size=1000) > 0, 1.0, -1.0)

    def model(n_jobs, many=300):
        monkeypatch.setattr(threads, "MANY", many)
        with joblib.parallel_config(backend="threading", n_jobs=n_jobs):
            return Victim(sp.csr_matrix(X) if sparse else X, y, make_objective(loss, 0.01), tol=1e-10).theta

    one = model(1)
    assert np.array_equal(one, model(2))
    assert np.array_equal(one, model(3))
    whole = model(1, many=10**9)
    assert np.linalg.norm(one - whole) <= 1e-9 * np.linalg.norm(whole)  # both are within tol of the minimiser


@pytest.mark.parametrize("labelled", [False, True])
def test_a_scan_finds_the_same_row_for_any_number_of_threads(small_chunks, monkeypatch, labelled):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(1000, 4))
    X[640:] = X[:360]  # rows again in later chunks: the first is found
    pool = CandidatePool(X, rng.choice([-1.0, 1.0], 1000) if labelled else None)
    theta, target = (rng.normal(size=4), 0.1), (rng.normal(size=4), -0.2)

    def found(n_jobs, many=300):
        monkeypatch.setattr(threads, "MANY", many)
        with joblib.parallel_config(backend="threading", n_jobs=n_jobs):
            best = max_loss_difference(theta, target, pool)
        return best.value, best.y, best.x.tolist()

    assert found(1) == found(2) == found(1, many=10**9)
