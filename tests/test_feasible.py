"""Feasible sets: the box and the pool."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from mtpfast import CandidatePool, FeatureSpace


def test_scalar_bounds_hold_for_every_feature():
    lower, upper = FeatureSpace(lower=-1.0, upper=2.0).bounds(3)
    assert_array_equal(lower, [-1.0, -1.0, -1.0])
    assert_array_equal(upper, [2.0, 2.0, 2.0])
    assert lower.dtype == upper.dtype == np.float64


def test_the_default_is_the_unit_box():
    lower, upper = FeatureSpace().bounds(2)
    assert_array_equal(lower, [0.0, 0.0])
    assert_array_equal(upper, [1.0, 1.0])


def test_vector_and_scalar_bounds_mix_and_integers_are_converted():
    lower, upper = FeatureSpace(lower=[0, -1, 2], upper=5).bounds(3)
    assert_array_equal(lower, [0.0, -1.0, 2.0])
    assert_array_equal(upper, [5.0, 5.0, 5.0])
    assert lower.dtype == upper.dtype == np.float64


def test_bounds_for_another_number_of_features_say_both_numbers():
    with pytest.raises(ValueError, match=r"3.*4|4.*3"):
        FeatureSpace(lower=[0.0, 0.0, 0.0], upper=1.0).bounds(4)


@pytest.mark.parametrize(
    ("lower", "upper", "name"),
    [
        (1.0, 0.0, "lower"),
        ([0.0, 2.0], [1.0, 1.0], "lower"),
        (np.nan, 1.0, "lower"),
        (0.0, [1.0, np.nan], "upper"),
        (0.0, np.inf, "upper"),
        ([[0.0]], 1.0, "lower"),
        ([0.0, 0.0], [1.0, 1.0, 1.0], "lower|upper"),
    ],
)
def test_bad_bounds_are_refused_by_name(lower, upper, name):
    with pytest.raises(ValueError, match=name):
        FeatureSpace(lower=lower, upper=upper).bounds(2)


@given(X=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.floats(-5, 5)))
@settings(max_examples=30)
def test_from_data_is_the_smallest_box_that_holds_every_row(X):
    """Per-feature minimum and maximum; dense, CSR (implicit zeros count) and DataFrame agree."""
    columns = [f"f{j}" for j in range(X.shape[1])]
    for data in (X, sp.csr_matrix(X), sp.csr_array(X), pd.DataFrame(X, columns=columns)):
        space = FeatureSpace.from_data(data)
        lower, upper = space.bounds(X.shape[1])
        assert_array_equal(lower, X.min(axis=0))
        assert_array_equal(upper, X.max(axis=0))
        assert np.all(space.contains(X))


def test_contains_is_a_mask_with_closed_bounds():
    space = FeatureSpace(lower=[0.0, -1.0], upper=[1.0, 1.0])
    X = np.array([[0.0, -1.0], [1.0, 1.0], [1.0 + 1e-9, 0.0], [0.5, -1.1], [0.5, 0.0]])
    expected = [True, True, False, False, True]
    mask = space.contains(X)
    assert mask.dtype == bool
    assert_array_equal(mask, expected)
    assert_array_equal(space.contains(sp.csr_matrix(X)), expected)


def test_contains_of_sparse_rows_counts_the_implicit_zeros():
    space = FeatureSpace(lower=0.5, upper=1.0)
    assert_array_equal(space.contains(sp.csr_matrix([[0.0, 0.7], [0.6, 0.7]])), [False, True])


def test_a_space_does_not_follow_later_changes_of_its_arguments():
    lower = np.zeros(2)
    space = FeatureSpace(lower=lower, upper=1.0)
    lower[:] = -3.0
    assert_array_equal(space.bounds(2)[0], [0.0, 0.0])


def test_repr_rebuilds_the_space():
    space = FeatureSpace(lower=-0.5, upper=2.0)
    twin = eval(repr(space), {"FeatureSpace": FeatureSpace, "array": np.array})
    assert_array_equal(np.array(twin.bounds(2)), np.array(space.bounds(2)))


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, sp.csr_array, sp.csc_matrix, np.float32])
def test_a_pool_keeps_its_rows(convert):
    X = np.array([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    pool = CandidatePool(convert(X))
    assert pool.X.shape == (3, 2)
    assert pool.y is None
    dense = pool.X.toarray() if sp.issparse(pool.X) else pool.X
    assert dense.dtype == np.float64
    assert_array_equal(dense, X)


def test_a_pool_with_labels_keeps_them():
    pool = CandidatePool(np.eye(2), y=[1, -1])
    assert_array_equal(pool.y, [1, -1])


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.empty((0, 3)), None),
        (np.zeros(3), None),
        (np.array([[np.nan, 0.0]]), None),
        (np.array([[np.inf, 0.0]]), None),
        (np.eye(3), [1.0, -1.0]),
    ],
)
def test_an_empty_or_misshaped_pool_is_refused(X, y):
    with pytest.raises(ValueError, match=r"(?i)candidate|pool|X_cand|X|y"):
        CandidatePool(X, y)
