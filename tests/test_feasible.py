"""Feasible sets: the space of points that could exist, its regions, and the pool."""

import itertools
import math

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


# -- label flips, repeats ------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, pd.DataFrame])
def test_label_flips_are_every_row_with_the_other_label(convert):
    X, y = np.eye(3), np.array(["spam", "ham", "spam"])
    pool = CandidatePool.label_flips(convert(X), y)
    assert_array_equal(pool.X.toarray() if sp.issparse(pool.X) else pool.X, X)
    assert pool.y.tolist() == ["ham", "spam", "ham"]
    assert pool.max_repeats == 1
    assert CandidatePool.label_flips(X, y, max_repeats=None).max_repeats is None
    assert pool.bind(classes=["ham", "spam"]).signs().tolist() == [-1.0, 1.0, -1.0]
    assert pool.bind(classes=["ham", "spam"]).max_repeats == 1


@pytest.mark.parametrize("y", [[1, 1, 1], [1, 2, 3], [[1], [2], [1]]])
def test_label_flips_need_two_labels(y):
    with pytest.raises(ValueError, match="y must"):
        CandidatePool.label_flips(np.eye(3), y)


@pytest.mark.parametrize("max_repeats", [0, 1.5, True])
def test_max_repeats_is_a_count(max_repeats):
    with pytest.raises((TypeError, ValueError), match="max_repeats"):
        CandidatePool(np.eye(3), max_repeats=max_repeats)


def test_pools_that_differ_in_repeats_differ():
    assert CandidatePool(np.eye(2)) == CandidatePool(np.eye(2))
    assert CandidatePool(np.eye(2)) != CandidatePool(np.eye(2), max_repeats=1)
    assert repr(CandidatePool(np.eye(2), max_repeats=3)) == (
        "CandidatePool(2 candidates, 2 features, either label, each at most 3 times)"
    )


def test_a_pool_with_labels_outside_those_of_the_data_is_refused_by_row():
    pool = CandidatePool(np.eye(3), ["yes", "no", "maybe"])
    with pytest.raises(ValueError, match=r"\['no', 'yes'\], got 'maybe' in row 2"):
        pool.bind(classes=["no", "yes"])


# -- laws of a region, by brute force ------------------------------------------------------------


@st.composite
def rules(draw):
    """The arguments of a space of at most five features in quarters, which are free of rounding."""
    d = draw(st.integers(1, 5))
    quarters = st.integers(-6, 6).map(lambda k: k / 4)
    lower = np.array(draw(st.lists(quarters, min_size=d, max_size=d)))
    width = st.integers(0, 8).map(lambda k: k / 4)
    upper = lower + np.array(draw(st.lists(width, min_size=d, max_size=d)))
    kinds = draw(st.lists(st.sampled_from(["free", "integer", "lattice", "first", "second"]), min_size=d, max_size=d))
    exactly = draw(st.booleans())
    one_hot, at_most_one, lattice, integer = [], [], {}, []
    for group, exact in (("first", exactly), ("second", not exactly)):
        columns = [j for j in range(d) if kinds[j] == group]
        if columns:
            upper[columns] = np.maximum(upper[columns], lower[columns] + 0.25)
            (one_hot if exact else at_most_one).append(columns)
    for j in range(d):
        if kinds[j] == "integer":
            integer.append(j)
        if kinds[j] == "lattice":
            lattice[j] = (draw(quarters), draw(st.sampled_from([0.5, 0.75, 1.25])))
    pinned = draw(st.lists(st.integers(0, d - 1), unique=True, max_size=2))
    fixed = {j: draw(st.sampled_from([lower[j], upper[j], math.floor(upper[j]), lower[j] + 0.25])) for j in pinned}
    shared = {"integer": integer, "lattice": lattice, "one_hot": one_hot, "at_most_one": at_most_one, "fixed": fixed}
    return lower, upper, shared


def allowed(x, lower, upper, shared):
    """Whether a point is in the space, by the words of the documentation."""
    groups = [*shared["one_hot"], *shared["at_most_one"]]
    for columns in groups:
        on = [x[j] == upper[j] for j in columns]
        if not all(is_on or x[j] == lower[j] for j, is_on in zip(columns, on, strict=True)) or sum(on) > 1:
            return False
    return (
        all(any(x[j] == upper[j] for j in columns) for columns in shared["one_hot"])
        and all(lower <= x)
        and all(x <= upper)
        and all(x[j] == round(x[j]) for j in shared["integer"])
        and all((x[j] - origin) % step == 0 for j, (origin, step) in shared["lattice"].items())
        and all(x[j] == value for j, value in shared["fixed"].items())
    )


def grid(lower, upper, shared, every=0.25):
    """Points on a grid that holds every vertex of the hull, and some outside the bounds."""
    groups = {j for columns in (*shared["one_hot"], *shared["at_most_one"]) for j in columns}
    stepped = {*shared["integer"], *shared["lattice"]}
    axes = []
    for j in range(len(lower)):
        if j in stepped:
            axis = np.arange(lower[j], upper[j] + every, every)
        else:
            axis = [lower[j], upper[j]] if j in groups else [lower[j], (lower[j] + upper[j]) / 2, upper[j]]
            axis = [*axis, shared["fixed"].get(j, lower[j])]
        axes.append(sorted({*axis}))
    return np.array(list(itertools.product(*axes)))


@given(rules(), st.data())
@settings(max_examples=150)
def test_a_region_is_what_the_rules_say(drawn, data):
    """Membership, maxima and frontier against the enumeration of every point; no point, no region."""
    lower, upper, shared = drawn
    candidates = grid(lower, upper, shared)
    inside = np.array([allowed(x, lower, upper, shared) for x in candidates])
    if not inside.any():
        with pytest.raises(ValueError, match=r"feature|level"):
            FeatureSpace(lower, upper, **shared)
        return
    space = FeatureSpace(lower, upper, **shared)
    d = len(lower)
    region = space.regions(d)[1.0]
    assert space.regions(d)[-1.0] is region
    outside = candidates + data.draw(st.sampled_from([0.125, -3.0])) * np.eye(d)[data.draw(st.integers(0, d - 1))]
    expected = np.concatenate([inside, [allowed(x, lower, upper, shared) for x in outside]])
    rows = np.concatenate([candidates, outside])
    assert_array_equal(space.contains(rows), expected)
    assert_array_equal(space.contains(sp.csr_matrix(rows)), expected)
    assert_array_equal([not reason for reason in space.why_not(rows)], expected)
    assert space.why_not(sp.csr_matrix(rows)) == space.why_not(rows)
    points = candidates[inside]
    # Every entry of the outer bounds is attained.
    assert_array_equal(region.lower, points.min(axis=0))
    assert_array_equal(region.upper, points.max(axis=0))
    assert_array_equal(space.bounds(d), (region.lower, region.upper))

    weights = arrays(np.float64, d, elements=st.floats(-4, 4).map(lambda v: round(v, 2)))
    A, P = data.draw(weights), data.draw(weights)
    value, error = region.linear_maximum(P, 0.5)
    best = max(math.fsum([*(P * x), 0.5]) for x in points)
    assert abs(value - best) <= error + 1e-15 * abs(best)  # the products of the sum are rounded too
    assert error <= 1e-13 * (1 + np.abs(P) @ np.maximum(np.abs(lower), np.abs(upper)))
    at = region.linear_argmax(P)
    assert region.contains(at[None])[0]
    assert P @ at + 0.5 >= value - 2 * error

    m, p, slopes = region.frontier(A, -0.25, P, 0.5)
    assert len(m) == len(p) == len(slopes) + 1
    assert np.all(np.diff(slopes) <= 0)
    assert np.all(np.diff(m) >= 0)
    images = np.column_stack([points @ A - 0.25, points @ P + 0.5])
    size = 1e-13 * (1 + np.abs(images).max())  # sums of at most ten numbers of this size
    assert abs(m[0] - images[:, 0].min()) <= size
    assert abs(m[-1] - images[:, 0].max()) <= size
    # A vertical gap needs the slope at the point: compare with the lines through the edges instead.
    for k in range(len(slopes)):
        above = images[:, 1] - (p[k] + slopes[k] * (images[:, 0] - m[k]))
        assert np.all(above <= size * (1 + abs(slopes[k])))
    for corner in np.column_stack([m, p]):
        assert np.min(np.abs(images - corner).max(axis=1)) <= size * (1 + np.abs(slopes).max(initial=0.0))


# -- what is kept ---------------------------------------------------------------------------------


def test_canonical_goes_along_with_bind_and_is_no_part_of_the_meaning():
    space = FeatureSpace(0.0, 1.0, one_hot=[["a", "b"]])
    made = space._with_canonical(np.round)
    assert space.canonical is None
    assert made.bind(names=["a", "b", "c"]).canonical is np.round
    assert made == space
