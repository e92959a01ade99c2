"""The oracle: max over F and both labels of phi(y theta.x~) - phi(y theta_p.x~), globally.

The value is compared with enumeration of all edges of the box, with linear programming, with a dense scan
of the frontier and with a scan of the pool (reference.py).  ``reference.rounding`` bounds what float64 does
to a loss difference, and is the absolute part of every tolerance; 1e-9 relative is what the oracle promises.
"""

import numpy as np
import pytest
import reference as ref
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mtpfast import CandidatePool, FeatureSpace, max_loss_difference

RTOL = 1e-9
# where the maximum is (nearly) 0 a relative promise says nothing; this is far below any tolerance of an attack
ATOL = 1e-12


def check_diff(diff, loss, theta, target, lower, upper):
    """What every answer on a box must satisfy by itself: inside, attained, and proved."""
    lower, upper = np.broadcast_to(lower, diff.x.shape), np.broadcast_to(upper, diff.x.shape)
    assert diff.x.shape == (len(theta) - 1,)
    assert diff.y in (-1.0, 1.0)
    assert np.all(diff.x >= lower)
    assert np.all(diff.x <= upper)
    attained = ref.difference(loss, theta, target, diff.x, diff.y)
    assert_allclose(diff.value, attained, rtol=RTOL, atol=ref.rounding(loss, theta, target, diff.x))
    # a bound for all points of the box carries the rounding of its largest point, in a safe (not sharp) count
    slack = ref.rounding(loss, theta, target, np.maximum(np.abs(lower), np.abs(upper)))
    assert diff.upper_bound >= diff.value
    assert diff.upper_bound - diff.value <= RTOL * abs(diff.value) + ATOL + 8.0 * slack
    return attained, slack


def check_against(best, diff, loss, theta, target, lower, upper):
    """The answer is neither below nor above the maximum found by ``best`` (reference.Maximum)."""
    attained, slack = check_diff(diff, loss, theta, target, lower, upper)
    assert diff.upper_bound >= best.value - slack
    assert attained >= best.value - RTOL * abs(best.value) - 4.0 * slack


def floats(low, high):
    """Numbers in the range that is accepted: models and bounds below 1e-100 are refused."""
    return st.floats(low, high, allow_subnormal=False).map(lambda v: v if abs(v) > 1e-99 else 0.0)


entry = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.5]), floats(-6.0, 6.0))


@st.composite
def boxes(draw, max_d=5):
    d = draw(st.integers(1, max_d))
    vector = st.lists(entry, min_size=d + 1, max_size=d + 1).map(np.array)
    theta, target = draw(vector), draw(vector)
    lower = draw(st.lists(floats(-3.0, 3.0), min_size=d, max_size=d).map(np.array))
    side = st.one_of(st.just(0.0), st.just(1.0), floats(0.0, 4.0))
    width = draw(st.lists(side, min_size=d, max_size=d).map(np.array))
    return theta, target, lower, lower + width


@pytest.mark.parametrize("loss", ref.LOSSES)
@given(box=boxes())
@settings(max_examples=120)
def test_global_maximum_over_a_box(loss, box):
    """F1: never below the maximum over all edges of the box, and attained; zeros, ties, fixed features."""
    theta, target, lower, upper = box
    diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
    best = ref.oracle_edges(loss, theta, target, lower, upper)
    check_against(best, diff, loss, theta, target, lower, upper)


@given(box=boxes(max_d=8))
@settings(max_examples=40)
def test_hinge_maximum_is_the_lp_optimum(box):
    """For the hinge loss the maximum is the larger of two linear programs per label."""
    theta, target, lower, upper = box
    diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss="hinge")
    best = ref.oracle_lp(theta, target, lower, upper)
    assert_allclose(diff.value, best.value, rtol=1e-7, atol=1e-6)  # HiGHS is feasible to 1e-7 per constraint
    assert_allclose(diff.upper_bound, best.value, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("d", [8, 17, 20, 300])
@pytest.mark.parametrize("scale", [0.02, 1.0, 30.0])
@pytest.mark.parametrize("loss", ref.LOSSES)
def test_many_features_against_a_scan_of_the_frontier(loss, scale, d):
    """Every edge of the frontier scanned densely; also for nearby models, as Algorithm 1 meets them."""
    rng = np.random.default_rng([d, round(100 * scale)])
    for near in (False, True):
        target = scale * rng.normal(size=d + 1) * (rng.random(d + 1) < 0.8)
        theta = target + 0.01 * rng.normal(size=d + 1) if near else scale * rng.normal(size=d + 1)
        lower = rng.uniform(-1.0, 0.5, size=d)
        upper = lower + rng.uniform(0.0, 1.5, size=d) * (rng.random(d) < 0.9)
        diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
        best = ref.oracle_frontier(loss, theta, target, lower, upper)
        check_against(best, diff, loss, theta, target, lower, upper)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_every_feasible_point_is_below_the_upper_bound(loss):
    """upper_bound is proved: no x in the box exceeds it, anywhere, in a corner or near the answer."""
    rng = np.random.default_rng(5)
    for d in (1, 2, 10, 60):
        theta, target = rng.normal(size=(2, d + 1))
        lower, upper = -rng.random(d), rng.random(d)
        diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
        inside = rng.uniform(lower, upper, size=(500, d))
        corners = np.where(rng.random((500, d)) < 0.5, lower, upper)
        near = np.clip(diff.x + 0.02 * rng.normal(size=(500, d)), lower, upper)
        X = np.vstack([inside, corners, near])
        _, _, best = ref.pool_scan(loss, theta, target, X)
        assert best <= diff.upper_bound + ref.rounding(loss, theta, target, np.ones(d))


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_equal_models_differ_nowhere(loss):
    """theta = theta_p: the difference is 0 everywhere, so is its maximum."""
    for theta in (np.zeros(4), np.array([1.0, -2.0, 0.0, 0.3])):
        diff = max_loss_difference(theta, theta, FeatureSpace(-1.0, 1.0), loss=loss)
        attained, slack = check_diff(diff, loss, theta, theta, -1.0, 1.0)
        assert attained == 0.0
        assert 0.0 <= diff.upper_bound <= ATOL + 8.0 * slack


@pytest.mark.parametrize("loss", ref.LOSSES)
@given(c=floats(0.0, 3.0), seed=st.integers(0, 10**6))
@settings(max_examples=40)
@example(c=0.0, seed=0)
@example(c=1.0, seed=0)
def test_parallel_models_with_every_ratio_tied(loss, c, seed):
    """theta = c theta_p: all ratios are equal, the frontier is one segment."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=5)
    theta = c * target
    diff = max_loss_difference(theta, target, FeatureSpace(-1.0, 2.0), loss=loss)
    lower, upper = np.full(4, -1.0), np.full(4, 2.0)
    best = ref.oracle_edges(loss, theta, target, lower, upper)
    check_against(best, diff, loss, theta, target, lower, upper)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_opposite_models(loss):
    """theta = -theta_p: u = -v, the maximum is at argmin u."""
    target = np.array([1.0, -2.0, 0.5])
    lower, upper = np.zeros(2), np.ones(2)
    diff = max_loss_difference(-target, target, FeatureSpace(), loss=loss)
    best = ref.oracle_edges(loss, -target, target, lower, upper)
    check_against(best, diff, loss, -target, target, lower, upper)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_a_box_of_one_point(loss):
    """lower = upper: only the label is free."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=7)
    theta, target = rng.normal(size=(2, 8))
    diff = max_loss_difference(theta, target, FeatureSpace(x, x), loss=loss)
    assert_array_equal(diff.x, x)
    expected = max(ref.difference(loss, theta, target, x, y) for y in (-1.0, 1.0))
    assert_allclose(diff.value, expected, rtol=RTOL, atol=ref.rounding(loss, theta, target, x))


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_one_feature(loss):
    """d = 1 against a dense scan of the segment and both labels."""
    rng = np.random.default_rng(7)
    for _ in range(30):
        theta, target = rng.normal(scale=3.0, size=(2, 2))
        lower = rng.normal(size=1)
        upper = lower + rng.random(1)
        diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
        check_diff(diff, loss, theta, target, lower, upper)
        _, _, best = ref.pool_scan(loss, theta, target, np.linspace(lower, upper, 5001))
        assert diff.value >= best - 1e-12 * (1.0 + abs(best))  # the scan can only miss, but for rounding


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_weights_of_one_hundred_million(loss):
    """Weights of 1e8 beside weights of 1: no overflow, no lost maximum; hinge checked over all edges."""
    rng = np.random.default_rng(8)
    for i in range(40):
        size = np.where(rng.random((2, 7)) < 0.5, 1e8, 1.0)
        theta, target = size * rng.normal(size=(2, 7))
        if i % 4 == 0:
            theta = target * (1.0 + 1e-9 * rng.normal(size=7))
        lower, upper = np.zeros(6), np.ones(6)
        diff = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
        best = ref.oracle_edges(loss, theta, target, lower, upper)
        check_against(best, diff, loss, theta, target, lower, upper)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_one_hundred_thousand_features(loss):
    """d = 100,000: the answer is inside, attained, proved, and no single flip of a coordinate improves it."""
    rng = np.random.default_rng(9)
    d = 100_000
    theta, target = rng.normal(size=(2, d + 1)) / np.sqrt(d)
    diff = max_loss_difference(theta, target, FeatureSpace(-1.0, 1.0), loss=loss)
    attained, slack = check_diff(diff, loss, theta, target, -1.0, 1.0)
    u = diff.y * (theta[:-1] @ diff.x + theta[-1])
    v = diff.y * (target[:-1] @ diff.x + target[-1])
    step = -2.0 * np.sign(diff.x) * diff.y
    flipped = ref.phi(loss, u + step * theta[:-1]) - ref.phi(loss, v + step * target[:-1])
    assert flipped.max() <= attained + 4.0 * slack + RTOL * attained


def test_bounds_of_either_sign_shift_with_the_intercept():
    """x -> x + s with b -> b - w.s changes no score and no maximum; boxes below and above zero."""
    rng = np.random.default_rng(10)
    for loss in ref.LOSSES:
        theta, target = rng.normal(size=(2, 6))
        lower = rng.normal(size=5)
        upper = lower + 1.0
        base = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
        for shift in (-100.0, 100.0):
            moved = [np.append(t[:-1], t[-1] - shift * t[:-1].sum()) for t in (theta, target)]
            diff = max_loss_difference(*moved, FeatureSpace(lower + shift, upper + shift), loss=loss)
            assert_allclose(diff.value, base.value, rtol=1e-9, atol=1e-11)  # sums near 500 rounded to 1e-13
            assert_allclose(diff.x - shift, base.x, atol=1e-8)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_permutation_of_the_features_permutes_the_answer(loss):
    rng = np.random.default_rng(11)
    theta, target = rng.normal(size=(2, 31))
    lower, upper = -rng.random(30), rng.random(30)
    order = rng.permutation(30)
    diff = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
    again = max_loss_difference(
        np.append(theta[order], theta[-1]),
        np.append(target[order], target[-1]),
        FeatureSpace(lower[order], upper[order]),
        loss=loss,
    )
    assert_allclose(again.value, diff.value, rtol=1e-9)  # the sums are ordered otherwise


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_exchanging_the_labels_by_a_sign_changes_nothing(loss):
    """(theta, theta_p) -> -(theta, theta_p) exchanges the labels: the maximum over both stays."""
    rng = np.random.default_rng(12)
    theta, target = rng.normal(size=(2, 11))
    a = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
    b = max_loss_difference(-theta, -target, FeatureSpace(), loss=loss)
    assert_allclose(a.value, b.value, rtol=1e-12)  # the same operations with other signs
    assert a.y == -b.y


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_models_are_pairs_or_stacked_arrays_and_are_not_changed(loss):
    rng = np.random.default_rng(13)
    theta, target = rng.normal(size=(2, 4))
    lower, upper = np.zeros(3), np.ones(3)
    copies = [a.copy() for a in (theta, target, lower, upper)]
    a = max_loss_difference(theta, target, FeatureSpace(lower, upper), loss=loss)
    pairs = [(t[:-1], t[-1]) for t in (theta, target)]
    b = max_loss_difference(*pairs, FeatureSpace(lower, upper), loss=loss)
    c = max_loss_difference(*[(t[None, :-1], t[-1:]) for t in (theta, target)], FeatureSpace(), loss=loss)
    for other in (b, c):
        assert_array_equal(other.x, a.x)
        assert other[1:] == a[1:]
    for array, copy in zip((theta, target, lower, upper), copies, strict=True):
        assert_array_equal(array, copy)


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_the_same_input_gives_the_same_bits(loss):
    rng = np.random.default_rng(14)
    theta, target = np.round(rng.normal(size=(2, 200)), 1)  # many ties
    a = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
    b = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
    assert_array_equal(a.x, b.x)
    assert a[1:] == b[1:]


def test_an_unknown_loss_and_disagreeing_models_are_refused():
    with pytest.raises(ValueError, match="hinge"):
        max_loss_difference(np.ones(3), np.ones(3), FeatureSpace(), loss="absolute")
    with pytest.raises(ValueError, match=r"2|3"):
        max_loss_difference(np.ones(3), np.ones(4), FeatureSpace())
    with pytest.raises(ValueError, match=r"theta|finite|NaN|nan"):
        max_loss_difference(np.array([1.0, np.nan, 0.0]), np.ones(3), FeatureSpace())
    with pytest.raises(ValueError, match=r"2|5"):
        max_loss_difference(np.ones(3), np.ones(3), CandidatePool(np.ones((4, 5))))


# ---------------------------------------------------------------- pools


@pytest.mark.parametrize("labelled", [False, True], ids=["either_label", "labelled"])
@pytest.mark.parametrize("loss", ref.LOSSES)
def test_pool_maximum_is_a_scan_of_every_row_dense_and_csr(loss, labelled):
    """A finite pool: every row (and label, where free) tried; CSR gives what dense gives."""
    rng = np.random.default_rng(15)
    for m, d in ((1, 1), (7, 3), (500, 12), (3000, 40)):
        X = rng.normal(size=(m, d)) * (rng.random((m, d)) < 0.3)
        y = np.where(rng.random(m) < 0.5, 1.0, -1.0) if labelled else None
        theta, target = rng.normal(size=(2, d + 1))
        row, label, value = ref.pool_scan(loss, theta, target, X, y)
        for data in (X, sp.csr_matrix(X), sp.csr_array(X)):
            diff = max_loss_difference(theta, target, CandidatePool(data, y), loss=loss)
            slack = ref.rounding(loss, theta, target, X[row])
            assert diff.x.shape == (d,)
            assert_allclose(diff.value, value, rtol=1e-12, atol=slack)
            assert diff.upper_bound >= max(diff.value, value - slack)
            assert diff.upper_bound - diff.value <= RTOL * abs(value) + 4.0 * slack
            # random rows have no ties
            assert_array_equal(diff.x, X[row])
            assert diff.y == label


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_a_pool_on_which_the_target_loses_everywhere(loss):
    """The maximum may be negative, or a zero where both losses are: margins that rise by more than another's lower the
    loss by less where it is flat, so a row is not passed over for its scores alone."""
    rng = np.random.default_rng(17)
    for _ in range(200):
        X, (theta, target) = rng.random((6, 3)), rng.normal(size=(2, 4))
        y = np.where(X @ (theta - target)[:-1] + (theta - target)[-1] > 0.0, 1.0, -1.0)  # every margin rises
        row, _label, value = ref.pool_scan(loss, theta, target, X, y)
        assert value <= 0.0
        diff = max_loss_difference(theta, target, CandidatePool(X, y), loss=loss)
        assert_allclose(diff.value, value, atol=ref.rounding(loss, theta, target, X[row]))


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_a_pool_inside_a_box_never_beats_the_box(loss):
    rng = np.random.default_rng(16)
    X = rng.random((200, 8))
    for _ in range(20):
        theta, target = rng.normal(scale=2.0, size=(2, 9))
        box = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
        pool = max_loss_difference(theta, target, CandidatePool(X), loss=loss)
        assert pool.value <= box.upper_bound
        corner = max_loss_difference(theta, target, CandidatePool(np.vstack([X, box.x])), loss=loss)
        assert_allclose(corner.value, box.value, rtol=1e-9)  # the point that attains it, as a row


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_a_pool_of_zero_rows_and_empty_csr_rows(loss):
    """Rows without entries still carry the intercept."""
    theta, target = np.array([1.0, 2.0, -0.5]), np.array([0.0, 1.0, 0.5])
    expected = max(ref.difference(loss, theta, target, np.zeros(2), y) for y in (-1.0, 1.0))
    for data in (np.zeros((3, 2)), sp.csr_matrix((3, 2))):
        diff = max_loss_difference(theta, target, CandidatePool(data), loss=loss)
        assert_allclose(diff.value, expected, rtol=1e-12)  # one row of one term


def test_a_label_restricts_its_row_only():
    """y of the pool is the label a row must carry: with the other label, another maximum."""
    theta, target = np.array([1.0, 0.0]), np.array([-1.0, 0.0])
    X = np.array([[1.0]])
    for y, value in ((1.0, -2.0), (-1.0, 2.0)):
        diff = max_loss_difference(theta, target, CandidatePool(X, [y]), loss="hinge")
        assert (diff.y, diff.value) == (y, value)
