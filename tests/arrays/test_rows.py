"""Rows put together: stacked, and merged where they are equal."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from mtpfast.arrays.rows import merge, stack

X = np.array([[0.0, 1.0], [2.0, 0.0], [-0.0, 1.0], [0.0, 1.0], [2.0, 0.0]])
LABELS = np.array([1.0, 1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize("kind", [np.array, sp.csr_matrix])
def test_merging_keeps_every_row_its_label_and_its_number(kind):
    """Equal rows of one label come once, where they came first, with their counts added; -0.0 is 0.0."""
    groups = merge(kind(X), LABELS, [1, 2, 3, 4, 5])
    rows = [row.toarray().ravel() if sp.issparse(row) else row for row, _, _ in groups]
    assert_array_equal(rows, [[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]])
    assert [(label, count) for _, label, count in groups] == [(1.0, 4), (1.0, 7), (-1.0, 4)]
    assert [count for *_, count in merge(kind(X), LABELS)] == [2, 2, 1]


def test_no_rows_make_no_groups():
    assert merge(np.empty((0, 2)), np.empty(0)) == []
    assert merge(sp.csr_matrix((0, 2)), np.empty(0)) == []


@pytest.mark.parametrize("added", [np.array, sp.csr_matrix])
def test_what_is_stacked_is_of_the_kind_of_the_first(added):
    for kind in (np.array, sp.csr_matrix):
        both = stack(kind(X), added(X[:2]))
        assert sp.issparse(both) == (kind is sp.csr_matrix)
        assert_array_equal(both.toarray() if sp.issparse(both) else both, np.concatenate([X, X[:2]]))
