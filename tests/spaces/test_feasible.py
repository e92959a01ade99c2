"""Feasible sets: the space of points that could exist, its regions, and the pool."""

import io
import itertools
import math
import pickle
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

from mtpfast import CandidatePool, FeatureSpace
from mtpfast.losses.objective import make_objective
from mtpfast.results.files import _decode, encode
from mtpfast.results.result import PoisoningResult
from mtpfast.spaces.region import Group, Region


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


numbers = st.floats(-5, 5).map(lambda v: v if abs(v) > 1e-99 else 0.0)  # smaller ones are refused


@given(X=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=numbers))
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
@settings(max_examples=100)
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


# -- what a linear function reaches --------------------------------------------------------------


@given(st.data())
@settings(max_examples=100)
def test_the_maximum_lies_within_its_error_bound(data):
    """Against exact rational arithmetic, with cancellation and levels of any size."""
    d = data.draw(st.integers(1, 8))
    number = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-100)  # underflow is not counted
    vector = st.lists(number, min_size=d, max_size=d).map(np.array)
    lower, upper, c = data.draw(vector), data.draw(vector), data.draw(vector)
    lower, upper = np.minimum(lower, upper), np.maximum(lower, upper)
    cuts = sorted(data.draw(st.lists(st.integers(0, d), min_size=2, max_size=2)))
    groups = [list(range(cuts[0])), list(range(cuts[0], cuts[1]))]
    space = FeatureSpace(lower, upper, one_hot=groups[:1] * bool(groups[0]), at_most_one=groups[1:] * bool(groups[1]))
    constant = data.draw(number)
    value, error = space.regions(d)[1.0].linear_maximum(c, constant)
    low, gain = ([Fraction(v) * Fraction(end) for v, end in zip(c, ends, strict=True)] for ends in (lower, upper))
    exact = Fraction(constant) + sum(max(pair) for pair in list(zip(low, gain, strict=True))[cuts[1] :])
    for columns, none in zip(groups, ([], [Fraction(0)]), strict=True):
        if columns:
            varying = [j for j in columns if lower[j] < upper[j]]
            steps = [gain[j] - low[j] for j in varying] + none
            exact += sum(low[j] for j in columns) + max(steps, default=0)
    assert abs(Fraction(value) - exact) <= Fraction(error)


def test_ties_go_to_the_value_nearest_zero_and_to_the_first_level():
    space = FeatureSpace(
        [-1, 0.5, -2, 0, 0, 0, 0],
        [1, 2, 3, 1, 1, 1, 1],
        lattice={2: (0.3, 1.0)},
        one_hot=[[3, 4]],
        at_most_one=[[5, 6]],
    )
    region = space.regions(7)[1.0]
    assert_array_equal(region.linear_argmax(np.zeros(7)), [0.0, 0.5, 0.3, 1.0, 0.0, 0.0, 0.0])
    assert_array_equal(region.linear_argmax(np.ones(7)), [1.0, 2.0, 2.3, 1.0, 0.0, 1.0, 0.0])


def test_a_frontier_of_groups_merges_their_edges_by_slope():
    """Two groups, worked out by hand: edges (1, 2) then (1, 0.5) of the first, (2, 3) of the second."""
    space = FeatureSpace(0.0, 1.0, one_hot=[[0, 1, 2, 3]], at_most_one=[[4, 5]])
    A, P = np.array([0.0, 1.0, 2.0, 1.0, 2.0, 1.0]), np.array([0.0, 2.0, 2.5, -1.0, 3.0, 1.0])
    m, p, slopes = space.regions(6)[1.0].frontier(A, 10.0, P, 20.0)
    assert slopes.tolist() == [2.0, 1.5, 0.5]
    assert m.tolist() == [10.0, 11.0, 13.0, 14.0]
    assert p.tolist() == [20.0, 22.0, 25.0, 25.5]


def test_a_group_of_many_levels_has_the_hull_that_scipy_finds():
    rng = np.random.default_rng(1)
    d = 300
    A, P = rng.normal(size=(2, d))
    m, p, slopes = FeatureSpace(0.0, 1.0, one_hot=[range(d)]).regions(d)[1.0].frontier(A, 0.0, P, 0.0)
    hull = ConvexHull(np.column_stack([A, P]))
    upper = {
        j
        for j, equation in zip(hull.simplices.ravel(), np.repeat(hull.equations, 2, axis=0), strict=True)
        if equation[1] > 0
    }
    order = sorted(upper, key=lambda j: A[j])
    assert_allclose(m, A[order], atol=1e-14)  # sums of as many terms of size 1 as there are vertices
    assert_allclose(p, P[order], atol=1e-14)
    assert np.all(np.diff(slopes) < 0)


def test_the_maximum_over_the_hull_is_that_of_a_linear_program():
    """With a row ``sum t = 1`` or ``<= 1`` for every group, solved by HiGHS."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        d = 9
        lower = rng.normal(size=d)
        upper = lower + rng.random(d)
        space = FeatureSpace(lower, upper, one_hot=[[0, 4, 5]], at_most_one=[[1, 8]], lattice={3: (lower[3], 0.3)})
        region = space.regions(d)[1.0]
        c = rng.normal(size=d)
        rows = np.zeros((2, d))  # sum of t = (x - off) / (on - off) over the columns of a group
        for row, group in zip(rows, region.groups, strict=True):
            row[group.columns] = 1.0 / (group.on - group.off)
        one = 1.0 + rows @ region.lower
        found = linprog(
            -c,
            A_eq=rows[:1],
            b_eq=one[:1],
            A_ub=rows[1:],
            b_ub=one[1:],
            bounds=np.column_stack([region.lower, region.upper]),
        )
        value, error = region.linear_maximum(c)
        assert value == pytest.approx(-found.fun, abs=1e-6)  # the solver's tolerances are 1e-7
        assert error < 1e-13


# -- features, labels and names ------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [[1, 3], (1, -2), slice(1, 4, 2), np.array([1, 3]), [False, True, False, True, False], ["b", "d"], ["b", 3]],
    ids=str,
)
def test_features_are_given_in_many_ways(spec):
    names = list("abcde")
    space = FeatureSpace(0.0, 2.5, integer=spec, names=names)
    assert space.regions(5)[1.0].upper.tolist() == [2.5, 2.0, 2.5, 2.0, 2.5]
    assert space == FeatureSpace(0.0, 2.5, integer=[1, 3])
    pinned = FeatureSpace(0.0, 2.5, fixed=[(spec, 0.5)], names=names)
    assert pinned.bounds(5)[1].tolist() == [2.5, 0.5, 2.5, 0.5, 2.5]
    assert pinned == FeatureSpace(0.0, 2.5, fixed=[(spec, [0.5, 0.5])], names=names)
    on_lattice = FeatureSpace(0.0, 2.5, lattice=[(spec, (0.25, 1.0))], names=names)
    assert on_lattice == FeatureSpace(0.0, 2.5, lattice={1: (0.25, 1.0), 3: (1.25, 1.0)})
    group = FeatureSpace(0.0, 2.5, one_hot=[spec], names=names)
    assert group.regions(5)[1.0].groups[0].columns.tolist() == [1, 3]


def test_one_feature_needs_no_list():
    assert FeatureSpace(0.0, 2.5, integer="b", names=["a", "b"]) == FeatureSpace(0.0, 2.5, integer=1, names=["a", "b"])
    assert FeatureSpace(0.0, 2.5, fixed={"b": 1.0}, names=["a", "b"]) == FeatureSpace([0, 1], [2.5, 1])


def test_bounds_labels_and_names_are_bound_to_the_data():
    space = FeatureSpace({"no": 0.0, "yes": [0.0, 1.0, 2.0]}, 5.0, integer="c", fixed={("a", "b"): 1.0}, labels=["yes"])
    bound = space.bind(names=["a", "b", "c"], classes=np.array(["no", "yes"]))
    (sign, region), *others = bound.regions(3).items()
    assert (sign, others) == (1.0, [])
    assert region.lower.tolist() == [1.0, 1.0, 2.0]
    assert bound.labels == (1.0,)
    assert bound.integer == (2,) or bound.integer == 2
    flipped = space.bind(names=["a", "b", "c"], classes=["yes", "no"])
    assert list(flipped.regions(3)) == [-1.0]
    # In the user's own terms it answers without being bound, a DataFrame telling the names.
    rows = pd.DataFrame([[1.0, 1.0, 3.0], [1.0, 1.0, 1.0]], columns=["a", "b", "c"])
    assert space.contains(rows).tolist() == [True, False]
    assert space.contains(rows, ["no", "yes"]).tolist() == [False, False]
    assert space.contains(rows, "yes").tolist() == [True, False]
    assert space.why_not(rows, ["no", "yes"]) == [
        "label 'no' is not allowed, labels holds ['yes']",
        "feature 2 ('c') is 1, below its lower bound 2",
    ]


def test_labels_may_have_regions_of_their_own():
    space = FeatureSpace({-1: 0.0, 1: [0.5, -1.0]}, {-1: 1.0, 1: 2.0})
    positive, negative = space.regions(2)[1.0], space.regions(2)[-1.0]
    assert list(space.regions(2)) == [1.0, -1.0]
    assert positive.lower.tolist() == [0.5, -1.0]
    assert negative.upper.tolist() == [1.0, 1.0]
    assert [end.tolist() for end in space.bounds(2)] == [[0.0, -1.0], [2.0, 2.0]]
    rows = [[0.25, 0.5], [1.5, -0.5], [3.0, 0.0]]
    assert space.contains(rows).tolist() == [True, True, False]
    assert space.contains(rows, [1, 1, 1]).tolist() == [False, True, False]
    assert space.contains(sp.csr_matrix(rows), [-1, 1, -1]).tolist() == [True, True, False]
    assert space.why_not(rows)[2] == (
        "label -1: feature 0 is 3, above its upper bound 1; label 1: feature 0 is 3, above its upper bound 2"
    )


@pytest.mark.parametrize(
    ("space", "is_box"),
    [
        (FeatureSpace(), True),
        (FeatureSpace(labels=[-1, 1]), True),
        (FeatureSpace(fixed={0: 1.0}), True),
        (FeatureSpace(integer=[]), True),
        (FeatureSpace(labels=[1]), False),
        (FeatureSpace({-1: 0.0, 1: 0.5}), False),
        (FeatureSpace(integer=0), False),
        (FeatureSpace(integer=[False, True]), False),
        (FeatureSpace(lattice={0: (0.0, 0.5)}), False),
        (FeatureSpace(one_hot=[[0, 1]]), False),
        (FeatureSpace(at_most_one=[[0, 1]]), False),
    ],
    ids=repr,
)
def test_a_plain_box_is_known_as_such(space, is_box):
    assert space.is_box == is_box
    assert not is_box or all(region.is_box for region in space.regions(2).values())


# -- the normal form -----------------------------------------------------------------------------


def region_of(d=4, **rules):
    return FeatureSpace(0.0, rules.pop("upper", 1.0), **rules).regions(d)[1.0]


def test_a_forced_level_pins_its_group():
    region = region_of(one_hot=[[0, 1, 2]], fixed={1: 1})
    assert region.is_box
    assert (region.lower.tolist(), region.upper.tolist()) == ([0, 1, 0, 0], [0, 1, 0, 1])
    assert region == region_of(at_most_one=[[2, 1, 0]], fixed={1: 1})


def test_an_excluded_level_leaves_its_group():
    region = region_of(one_hot=[[2, 0, 3]], fixed={0: 0})
    assert region.groups == (Group(np.array([2, 3]), np.zeros(2), np.ones(2), True),)
    assert region.upper.tolist() == [0, 1, 1, 1]
    # The same by bounds: a column that is never on.
    assert region == region_of(upper=[0, 1, 1, 1], one_hot=[[2, 0, 3]])


def test_one_level_left_is_on_or_binary():
    assert region_of(one_hot=[[0, 1]], fixed={0: 0}) == region_of(fixed={0: 0, 1: 1})
    assert region_of(one_hot=[[1]]) == region_of(fixed={1: 1})
    assert region_of(at_most_one=[[0, 1]], fixed={0: 0}) == region_of(integer=1, fixed={0: 0})
    assert region_of(at_most_one=[[1]]) == region_of(integer=1)
    assert region_of(at_most_one=[[0, 1]], fixed={(0, 1): 0}) == region_of(fixed={(0, 1): 0})


def test_a_group_of_constants_is_the_point_it_is():
    assert region_of(upper=[0, 0, 1, 1], one_hot=[[0, 1]]) == region_of(upper=[0, 0, 1, 1])


def test_groups_come_in_the_order_of_their_columns():
    region = region_of(one_hot=[[3, 2]], at_most_one=[[1, 0]])
    assert [group.columns.tolist() for group in region.groups] == [[0, 1], [2, 3]]
    assert [group.exactly for group in region.groups] == [False, True]
    assert region == region_of(one_hot=[[2, 3]], at_most_one=[[0, 1]])
    assert region != region_of(one_hot=[[2, 3], [0, 1]])


def test_a_pinned_lattice_value_is_no_lattice():
    region = FeatureSpace(0.0, 5.0, integer=[0, 1], fixed={0: 3}).regions(3)[1.0]
    assert (region.step.tolist(), region.origin.tolist()) == ([0, 1, 0], [0, 0, 0])
    assert FeatureSpace(0.2, 1.7, integer=[0]).regions(1)[1.0].is_box  # 1 is the only value


def test_scaled_columns_keep_their_own_ends():
    """A bound that is a lattice value but for its last digits is taken as it is."""
    ages = np.arange(17, 91)
    scaled = (ages - 17) * (1 / 73)  # what MinMaxScaler does
    space = FeatureSpace(scaled.min(), scaled.max(), lattice={0: (0.0, 1 / 73)})
    region = space.regions(1)[1.0]
    assert (region.lower[0], region.upper[0]) == (scaled.min(), scaled.max())
    assert np.all(space.contains(scaled[:, None]))
    assert not np.any(space.contains(scaled[:, None] + 1e-6))
    mean, std = 38.6, 13.7
    space = FeatureSpace((17 - mean) / std, (90 - mean) / std, lattice={0: (-mean / std, 1 / std)})
    assert np.all(space.contains((ages[:, None] - mean) / std))


def test_a_region_is_frozen():
    region = region_of(one_hot=[[0, 1]])
    with pytest.raises(AttributeError):
        region.lower = 0
    for array in (region.lower, region.step, region.tolerance, region.groups[0].columns, region.groups[0].on):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_region_may_be_made_by_hand():
    group = Group(np.array([0, 1]), np.zeros(2), np.ones(2), True)
    made = Region(np.zeros(3), np.array([1.0, 1.0, 2.5]), groups=(group,))
    own = FeatureSpace(0.0, [1, 1, 2.5], one_hot=[[0, 1]]).regions(3)[1.0]
    assert made == own
    assert made != Region(np.zeros(3), np.array([1.0, 1.0, 2.5]))
    rows = np.array([[1, 0, 0.3], [1 - 1e-10, 1e-10, 2.5], [1 - 1e-8, 0, 0], [0, 0, 0]])
    assert made.contains(rows).tolist() == own.contains(rows).tolist() == [True, True, False, False]


def test_a_region_is_made_once_and_shared_by_labels_of_equal_rules():
    space = FeatureSpace(0.0, 1.0, one_hot=[[0, 1]])
    assert space.regions(3)[1.0] is space.regions(3)[-1.0]
    assert space.regions(3)[1.0] is space.regions(3)[1.0]
    assert space.regions(4)[1.0].lower.shape == (4,)


# -- inference -----------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, pd.DataFrame])
def test_from_data_infers_whole_numbers_and_columns_of_two_values(convert):
    X = np.array([[0, 3, 0.5, 0.25, 7, -0.5, 1e17], [1, -2, 0.1, 0.75, 7, 0.0, 0], [0, 5, 0.2, 0.25, 7, 0.0, 3]])
    space = FeatureSpace.from_data(convert(X))
    region = space.regions(7)[1.0]
    assert space.integer == (0, 1)
    assert region.step.tolist() == [1, 1, 0, 0.5, 0, 0.5, 0]
    assert np.all(space.contains(X))
    assert np.all(space.contains(convert(X)))
    assert FeatureSpace.from_data(convert(X), integer=None) == FeatureSpace(X.min(axis=0), X.max(axis=0))
    assert FeatureSpace.from_data(convert(X), integer=[1]).integer == (1,)


def test_rules_go_before_what_is_inferred():
    X = np.array([[0, 1, 0, 3, 0.25], [1, 0, 0, 5, 0.5], [0, 1, 0, 4, 0.5]])
    space = FeatureSpace.from_data(X, one_hot=[[0, 1]], fixed={3: 3.5}, lattice={4: (0.0, 0.125)}, labels=[1])
    assert space == FeatureSpace(
        X.min(axis=0), X.max(axis=0), one_hot=[[0, 1]], fixed={3: 3.5}, lattice={4: (0.0, 0.125)}, labels=[1]
    )


def test_from_data_takes_over_the_names_of_a_frame():
    frame = pd.DataFrame([[1, 0.5], [3, 0.25], [2, 0.3]], columns=["age", "rate"])
    space = FeatureSpace.from_data(frame, fixed={"rate": 0.3})
    assert space.names == ("age", "rate")
    assert space.why_not(frame)[0] == "feature 1 ('rate') is 0.5, pinned to 0.3"
    assert FeatureSpace.from_data(frame.set_axis([0, 1], axis=1)).names is None


def test_from_data_tells_rows_that_are_no_records():
    X = np.array([[1.0, 0, 0.5], [0, 1, 0.2], [1, 1, 0.3]])
    with pytest.raises(ValueError, match="row 2 of X does not fit the groups: features 0, 1 are on"):
        FeatureSpace.from_data(X, one_hot=[[0, 1]])
    with pytest.raises(ValueError, match=r"row 1 of X .*: none of the features 'a', 'b' is on"):
        FeatureSpace.from_data(sp.csr_matrix([[1.0, 0], [0, 0], [0, 1]]), one_hot=[["a", "b"]], names=["a", "b"])
    with pytest.raises(TypeError, match="from_data takes upper from X"):
        FeatureSpace.from_data(X, upper=3.0)


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.sampled_from([0.0, 1, 2, -0.5, 0.3])
    )
)
@settings(max_examples=60)
def test_every_row_is_in_the_space_inferred_from_it(X):
    space = FeatureSpace.from_data(X)
    assert np.all(space.contains(X))
    assert space == FeatureSpace.from_data(sp.csr_matrix(X))
    step = space.regions(X.shape[1])[1.0].step
    for column, width in zip(X.T, step, strict=True):
        values = np.unique(column)
        whole, two = np.all(values == np.rint(values)), len(values) == 2
        assert width == (0 if len(values) == 1 else 1 if whole else np.diff(values)[0] if two else 0)


# -- why not -------------------------------------------------------------------------------------


def test_why_not_names_the_feature_its_value_and_the_rule():
    space = FeatureSpace(
        [17, 0, 0, 0, 0, 0.25, 0, 3],
        [90, 1, 1, 1, 1, 1.0, 1, 4],
        integer=["age", "member"],
        lattice={"score": (0.0, 0.25), "two": (3, 1)},
        one_hot=[["red", "green"]],
        at_most_one=[["big", "small"]],
        fixed={"two": 4},
        names=["age", "red", "green", "big", "small", "score", "member", "two"],
    )
    row = np.array([38, 0, 1, 0, 1, 0.5, 1, 4])
    reasons = {
        (0, 38.5): "feature 0 ('age') is 38.5, not a whole number",
        (0, 91): "feature 0 ('age') is 91, above its upper bound 90",
        (0, 16): "feature 0 ('age') is 16, below its lower bound 17",
        (1, 0.37): "feature 1 ('red') is 0.37, a level is 0 (off) or 1 (on)",
        (1, 1): "features 'red', 'green' are on, one level of their group at most may be",
        (2, 0): "none of the features 'red', 'green' is on, one level of the group must be",
        (3, 1): "features 'big', 'small' are on, one level of their group at most may be",
        (5, 0.6): "feature 5 ('score') is 0.6, not one of 0 + k * 0.25",
        (6, 0.5): "feature 6 ('member') is 0.5, neither 0 nor 1",
        (7, 3): "feature 7 ('two') is 3, pinned to 4",
    }
    rows = np.repeat(row[None], len(reasons), axis=0)
    for i, (j, value) in enumerate(reasons):
        rows[i, j] = value
    assert space.why_not(row) == [""]
    assert space.why_not(rows) == list(reasons.values())
    assert not np.any(space.contains(rows))


def test_contains_does_not_fill_in_the_zeros():
    """A million features a row: as dense rows this would be 8 GB."""
    n, d = 1000, 10**6
    column = np.random.default_rng(0).integers(0, d, n)
    X = sp.csr_matrix((np.ones(n), (np.arange(n), column)), shape=(n, d))
    space = FeatureSpace(0.0, 1.0, integer=slice(10, None), at_most_one=[range(10)])
    assert np.all(space.contains(X))
    assert space.why_not(2 * X[:1]) == [f"feature {column[0]} is 2, above its upper bound 1"]
    assert FeatureSpace.from_data(X).integer == tuple(np.unique(column).tolist())


# -- spaces that cannot be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"one_hot": [["a", "b"], ["c", "b"]]},
            r"feature 1 \('b'\) is in one_hot\[0\] and in one_hot\[1\]: groups overlap",
        ),
        (
            {"one_hot": [[0, 1]], "at_most_one": [[1, 2]]},
            r"feature 1 \('b'\) is in one_hot\[0\] and in at_most_one\[0\]",
        ),
        ({"one_hot": [[]]}, r"one_hot\[0\] holds no feature"),
        ({"one_hot": [[0, 1, 0]]}, r"one_hot\[0\] lists feature 0 \('a'\) twice"),
        ({"one_hot": [[0, -4]]}, r"one_hot\[0\] lists feature 0 \('a'\) twice"),
        ({"integer": ["d", "d"]}, r"integer lists feature 3 \('d'\) twice"),
        (
            {"upper": 0.75, "lower": 0.25, "integer": "b"},
            r"feature 1 \('b'\) takes whole numbers only, and none is in \[0.25, 0.75\]",
        ),
        (
            {"lower": 0.1, "lattice": {"c": (0.0, 2.0)}},
            r"feature 2 \('c'\) takes values 0 \+ k \* 2 only, and none is in \[0.1, 1\]",
        ),
        ({"lattice": {"c": (0.0, 0.0)}}, r"step above 0, got \(0.0, 0.0\) for 'c'"),
        ({"lattice": {"c": (0.0, -1.0)}}, r"step above 0, got \(0.0, -1.0\) for 'c'"),
        ({"lattice": {"c": (np.nan, 1.0)}}, r"finite origin .* for 'c'"),
        ({"lattice": {"c": (0.0, 1e-16)}}, r"feature 2 \('c'\) has a step of 1e-16, too small"),
        ({"upper": 1e17, "integer": [0]}, r"feature 0 \('a'\) has a step of 1, too small"),
        ({"lattice": {"c": (0.0, 1.0)}, "integer": ["c"]}, r"feature 2 \('c'\) has two lattices"),
        ({"integer": "age"}, r"integer names feature 'age', which is none of 'a', 'b', 'c', 'd'"),
        ({"one_hot": [["a", "age"]]}, r"one_hot\[0\] names feature 'age'"),
        ({"fixed": {"age": 1.0}}, r"fixed names feature 'age'"),
        ({"integer": [4]}, r"integer has feature 4, out of range for 4 features"),
        ({"at_most_one": [[0, -5]]}, r"at_most_one\[0\] has feature -5, out of range for 4 features"),
        ({"integer": [True, False]}, r"integer has a mask of 2 features, expected 4"),
        ({"fixed": {"b": 1.5}}, r"feature 1 \('b'\) is pinned to 1.5, outside its bounds \[0, 1\]"),
        (
            {"upper": 9, "integer": [1], "fixed": {"b": 1.5}},
            r"feature 1 \('b'\) is pinned to 1.5, but takes whole numbers only",
        ),
        (
            {"lattice": {1: (0.25, 0.5)}, "fixed": {"b": 0.5}},
            r"feature 1 \('b'\) is pinned to 0.5, but takes values 0.25 \+ k \* 0.5",
        ),
        ({"fixed": [("b", 0.5), ([0, 1], 0.25)]}, r"feature 1 \('b'\) is pinned to 0.5 and to 0.25"),
        ({"fixed": [([0, 1], [0.5, 0.5, 0.5])]}, r"fixed has 3 values for the 2 features \[0, 1\]"),
        ({"fixed": {"b": np.nan}}, r"fixed must map features to a finite number.*'b'"),
        (
            {"one_hot": [[0, 1, 2]], "fixed": {(0, 2): 1.0}},
            r"feature 0 \('a'\) and feature 2 \('c'\) are both pinned on.*one_hot\[0\]",
        ),
        ({"one_hot": [[0, 1]], "fixed": {(0, 1): 0.0}}, r"every level of one_hot\[0\] is pinned off \('a', 'b'\)"),
        (
            {"one_hot": [[0, 1]], "fixed": {0: 0.5}},
            r"feature 0 \('a'\) is pinned to 0.5, but as a level of one_hot\[0\] it is 0 \(off\) or 1",
        ),
        (
            {"upper": 0.5, "one_hot": [[0, 1]], "integer": [1]},
            r"feature 1 \('b'\) takes whole numbers only, but as a level of one_hot\[0\]",
        ),
        ({"names": ["a", "b", "c"], "lower": np.zeros(4)}, r"feasible_set has 3 names, expected 4"),
        ({"names": ["a", "b", "b", "c"]}, r"names must differ, got 'b' twice"),
        ({"labels": []}, "labels must hold one label at least"),
        ({"labels": [1, 2, 3]}, r"labels, lower and upper must name two labels at most, got \[1, 2, 3\]"),
        ({"labels": [1, -1], "lower": {0: 0.0, 1: 0.0}}, "two labels at most"),
        ({"lower": {1: 0.0}}, r"bounds for the label 1 only; labels=\[1\]"),
        ({"lower": {1: 0.0}, "labels": [-1, 1]}, r"lower has bounds for the labels \[1\], none for -1"),
        ({"lower": {}}, "lower must be a number, .* got no label"),
        ({"lower": {1: np.nan, -1: 0.0}}, r"lower\[1\] must be finite"),
        ({"upper": {1: 1.0, -1: [1.0, 1.0, np.inf, 1.0]}}, r"upper\[-1\] must be finite .* at feature 2"),
        ({"upper": {1: 1.0, -1: -1.0}}, r"label -1: lower > upper at feature 0"),
        ({"lower": [0, 0, 2, 0]}, r"lower > upper at feature 2 \('c'\): 2 > 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_spaces_are_refused_by_feature(rules, message):
    with pytest.raises(ValueError, match=message):
        FeatureSpace(**{"names": ["a", "b", "c", "d"], **rules})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"integer": 1.5}, "integer: features are an index"),
        ({"integer": True}, "integer: features are an index"),
        ({"integer": [0, 1.5]}, "integer: features are an index"),
        ({"integer": slice("a", "b")}, "integer: features are an index"),
        ({"one_hot": [0, 1, 2]}, "one_hot must be a list of groups, each several features, got the group 0"),
        ({"one_hot": "ab"}, "one_hot must be a list of groups"),
        ({"one_hot": slice(0, 3)}, "one_hot must be a list of groups"),
        ({"at_most_one": [True, False]}, "at_most_one must be a list of groups"),
        ({"fixed": [1, 2]}, "fixed must map features to values"),
        ({"fixed": {0: "x"}}, "fixed must map features to numbers, got 'x' for 0"),
        ({"lattice": {0: 0.5}}, r"lattice must map features to \(origin, step\), got 0.5 for 0"),
        ({"names": [0, 1]}, "names must be strings, got 0"),
        ({"lower": "x"}, "lower must be a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_rule_is_a_type_error(rules, message):
    with pytest.raises(TypeError, match=message):
        FeatureSpace(**rules)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (FeatureSpace(integer=[4]), "integer has feature 4, out of range for 3 features"),
        (FeatureSpace(integer=["age"]), "names feature 'age', but the names of the features are not known"),
        (FeatureSpace(names=["a", "b"]), "2 names, expected 3"),
        (FeatureSpace(labels=["yes"]), r"rules for the label 'yes', the labels are \[-1.0, 1.0\]"),
    ],
    ids=repr,
)
def test_what_does_not_fit_the_data_is_told_when_it_is_known(space, message):
    with pytest.raises(ValueError, match=message):
        space.regions(3)


def test_what_does_not_fit_is_told_when_bound():
    with pytest.raises(ValueError, match=r"label 'maybe', the labels are \['no', 'yes'\]"):
        FeatureSpace(labels=["maybe"]).bind(classes=["no", "yes"])
    with pytest.raises(ValueError, match="label 'maybe'"):
        FeatureSpace({"maybe": 0.0, "yes": 0.0}).bind(classes=["no", "yes"])
    with pytest.raises(ValueError, match="feature 1 is 'b' in feasible_set, 'c' in the data"):
        FeatureSpace(names=["a", "b"]).bind(names=["a", "c"])
    with pytest.raises(ValueError, match="2 names, the data has 3 features"):
        FeatureSpace(names=["a", "b"]).bind(names=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"one_hot.* names feature 'x', which is none of 'a', 'b'"):
        FeatureSpace(one_hot=[["a", "x"]]).bind(names=["a", "b"])
    with pytest.raises(ValueError, match=r"y must have shape \(2,\)"):
        FeatureSpace().contains(np.eye(2), [1])
    with pytest.raises(ValueError, match=r"lower has bounds for the labels \[-1, 1\], none for 0"):
        FeatureSpace({-1: 0.0, 1: 0.0}).contains(np.eye(2), [0, 1])


# -- equality, display, files --------------------------------------------------------------------

RULES = {
    "box": {},
    "vectors": {"lower": [0.0, -1.0, 0.0, 0.0], "upper": [1.0, 1.0, 2.0, 3.0]},
    "integer": {"integer": [0, 3]},
    "slice": {"integer": slice(1, None, 2)},
    "mask": {"integer": [True, False, True, False]},
    "lattice": {"lattice": {0: (0.25, 0.5), 2: (0.0, 0.125)}},
    "groups": {"one_hot": [[0, 1]], "at_most_one": [[3, 2]]},
    "pins": {"fixed": [(slice(0, 2), 0.5), ([3], [0.25])]},
    "pin": {"fixed": {2: 0.5}},
    "label": {"labels": ["yes"]},
    "labels": {"lower": {"yes": 0.0, "no": [0.0, 0.5, 0.5, 0.0]}, "upper": {"no": 1.0, "yes": 2.0}},
    "names": {"integer": "a", "fixed": {("b", "c"): 0.5}, "names": ["a", "b", "c", "d"]},
    "unbound": {"integer": ["a", "b"], "one_hot": [["c", "d"]]},
}


@pytest.mark.parametrize("name", RULES)
def test_a_space_equals_itself_and_no_other(name):
    spaces = {other: FeatureSpace(**rules) for other, rules in RULES.items()}
    equal = [other for other, space in spaces.items() if space == FeatureSpace(**RULES[name])]
    assert equal == [name]


def test_equality_is_of_meaning():
    assert FeatureSpace(0, 1, one_hot=[[0, 1], [2, 3]]) == FeatureSpace([0] * 5, 1.0, one_hot=[[3, 2], [1, 0]])
    assert FeatureSpace(0, 1, integer=slice(0, 3)) == FeatureSpace(0, 1, integer=[0, 1, 2])
    assert FeatureSpace(0, 1, integer=slice(0, None)) != FeatureSpace(0, 1, integer=[0, 1, 2])
    assert FeatureSpace(0, 1, integer=[-1]) != FeatureSpace(0, 1, integer=[2])
    assert FeatureSpace(0, [1, 1, 1], integer=[-1]) == FeatureSpace(0, 1, integer=[2])
    assert FeatureSpace({-1: 0, 1: [0, 0]}, 1) == FeatureSpace(0, 1)
    assert FeatureSpace(0.5, 2.5, integer=[0]) == FeatureSpace(1, 2.5, integer=[0], names=["a"])
    assert FeatureSpace(0, 1, labels=[-1, 1]) == FeatureSpace(0, 1)
    assert FeatureSpace(0, 1, labels=[1]) != FeatureSpace(0, 1, labels=[-1])
    assert FeatureSpace([0, 0], 1) != FeatureSpace([0, 0, 0], 1)
    assert FeatureSpace([0, 0], 1) != FeatureSpace(0, 1, integer=[2])
    assert FeatureSpace() != 1
    with pytest.raises(TypeError):
        hash(FeatureSpace())


@pytest.mark.parametrize("name", [name for name in RULES if name != "mask"])
def test_a_small_repr_rebuilds_the_space(name):
    space = FeatureSpace(**RULES[name])
    assert eval(repr(space), {"FeatureSpace": FeatureSpace}) == space


def test_a_repr_is_short_but_telling():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 2, (50, 20)), rng.integers(0, 9, (50, 5)), rng.choice([0.25, 1], (50, 9))])
    names = [f"f{j}" for j in range(34)]
    text = repr(FeatureSpace.from_data(pd.DataFrame(X, columns=names), fixed={0: 1.0}))
    assert "integer=<24 features, 19 of them binary: 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', ...>" in text
    assert "lattice=<for 9 features: 'f25', 'f26', 'f27', ...>" in text
    assert "fixed={'f0': 1.0}" in text
    assert "names=<34 names>" in text
    groups = repr(FeatureSpace(one_hot=[[2 * j, 2 * j + 1] for j in range(30)], integer=range(60, 90)))
    assert groups == "FeatureSpace(lower=0, upper=1, integer=<30 features: 60, 61, 62, ...>, one_hot=<30 groups>)"
    mask = repr(FeatureSpace(integer=["a", "b"], at_most_one=[np.arange(9) > 3]))
    assert mask == "FeatureSpace(lower=0, upper=1, integer=['a', 'b'], at_most_one=[<mask: 5 of 9 features>])"


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bind", [False, True])
def test_a_space_survives_being_saved_and_pickled(name, bind):
    space = FeatureSpace(**RULES[name])
    if bind:
        space = space.bind(names=["a", "b", "c", "d"], classes=["no", "yes"])
    result = PoisoningResult(
        points=np.zeros((1, 4)),
        labels=np.ones(1),
        sequence=np.zeros(1, dtype=int),
        theta=np.zeros(5),
        theta_target=np.ones(5),
        objective=make_objective("hinge", C=1.0),
        status="budget",
        lower_bound=0,
        loss_difference=1.0,
        tol=0.1,
        stop="distance",
        history={},
        feasible_set=space,
        classes=np.array([-1.0, 1.0]),
        n_clean=3,
        clean_weight=3.0,
    )
    file = io.BytesIO()
    result.save(file)
    file.seek(0)
    for twin in (PoisoningResult.load(file).feasible_set, pickle.loads(pickle.dumps(space))):
        assert twin == space
        assert repr(twin) == repr(space)
        assert (twin.labels, twin.names) == (space.labels, space.names)


def test_a_pool_survives_being_saved():
    pool = CandidatePool.label_flips(sp.csr_matrix(np.eye(3)), ["a", "b", "a"], max_repeats=2)
    arrays_ = {}
    twin = _decode(encode(pool, arrays_), arrays_, None)
    assert twin == pool
    assert twin.max_repeats == 2


# -- what is kept ---------------------------------------------------------------------------------


def test_canonical_goes_along_with_bind_and_is_no_part_of_the_meaning():
    space = FeatureSpace(0.0, 1.0, one_hot=[["a", "b"]])
    made = space._with_canonical(np.round)
    assert space.canonical is None
    assert made.bind(names=["a", "b", "c"]).canonical is np.round
    assert made == space
