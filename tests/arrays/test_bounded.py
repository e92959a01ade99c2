"""Least squares with every unknown between 0 and 1."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from mtpfast.arrays.bounded import FEW, least_squares_in_unit


@pytest.mark.parametrize("n", [0, 3, FEW, FEW + 1, 5000])
def test_a_planted_solution_is_met(n):
    rng = np.random.default_rng(n)
    A = rng.normal(size=(7, n)) * np.logspace(0, 3, 7)[:, None]
    b = A @ rng.choice([0.0, 0.3, 1.0], n)
    s = least_squares_in_unit(A, b)
    assert s.shape == (n,)
    assert np.all((s >= 0.0) & (s <= 1.0))
    # the ridge of 1e-13 of A's squares leaves less than this; scipy's trf stays as far from the bounds
    assert np.linalg.norm(A @ s - b) <= 1e-8 * (1.0 + np.linalg.norm(b))


@pytest.mark.parametrize("seed", range(5))
def test_out_of_reach_it_is_as_near_as_scipys(seed):
    rng = np.random.default_rng(seed)
    A, b = rng.random((4, FEW + 100)), np.array([1e3, -20.0, 50.0, 7.0])
    s = least_squares_in_unit(A, b)
    other = lsq_linear(A, b, (0.0, 1.0), method="bvls", tol=1e-12).x
    assert np.linalg.norm(A @ s - b) <= (1.0 + 1e-6) * np.linalg.norm(A @ other - b)


def test_equal_columns_and_columns_of_zero():
    A = np.repeat(np.array([[1.0, 0.0], [2.0, 0.0]]), 400, axis=1)
    s = least_squares_in_unit(A, np.array([100.0, 200.0]))
    assert np.linalg.norm(A @ s - [100.0, 200.0]) <= 1e-8


def test_thousands_of_rows_on_the_margin_take_no_square_of_memory(monkeypatch):
    # scipy's method would stack a dense matrix of n + d rows and n columns
    def refuse(*args, **kwargs):
        raise AssertionError("scipy's method must not be asked")

    monkeypatch.setattr("mtpfast.arrays.bounded.lsq_linear", refuse)
    s = least_squares_in_unit(np.ones((1, 50_000)), np.array([1234.5]))
    assert abs(s.sum() - 1234.5) <= 1e-6
