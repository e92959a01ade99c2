"""Documents: which rows they have, and what linear functions and loss differences reach on them."""

import io
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from sklearn.feature_extraction.text import TfidfTransformer

from mtpfast import DocumentSpace, PoisoningResult, max_loss_difference, poison
from mtpfast.losses.custom import custom
from mtpfast.losses.margin import get_loss
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

LOSSES = ("hinge", "squared_hinge", "log_loss")
SLOW = custom(lambda m: np.maximum(0.0, 1.0 - m) ** 3, lambda m: -3.0 * np.maximum(0.0, 1.0 - m) ** 2, name="cubed")


def all_counts(space, d):
    """Every document, as counts."""
    limit = np.broadcast_to(space.max_length if space.max_count is None else space.max_count, d)
    every = itertools.product(*(range(min(int(k), space.max_length) + 1) for k in limit))
    return np.array([c for c in every if space.min_length <= sum(c) <= space.max_length], dtype=float)


@st.composite
def spaces(draw, norms=(None, "l1", "l2")):
    """A small space, its number of words and a generator of numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d, norm = draw(st.integers(1, 5)), draw(st.sampled_from(norms))
    limit = rng.integers(0, 4, d)
    assume(limit.any())
    length = int(rng.integers(1, 7))
    least = int(rng.integers(0, 2 if norm else min(length, limit.sum()) + 1))
    idf = None if rng.random() < 0.3 else 0.5 + 3.0 * rng.random(d)
    return DocumentSpace(length, limit, min_length=least, idf=idf, norm=norm), d, rng


def models(rng, d):
    """Two models; every third time of small whole weights, so that much is tied."""
    pair = [rng.normal(size=d + 1) * rng.choice([0.2, 1.0, 3.0]) for _ in range(2)]
    if rng.random() < 0.3:
        pair = [np.round(theta) for theta in pair]
    return pair


# -- which rows -----------------------------------------------------------------------------------


@given(spaces())
@settings(max_examples=60)
def test_exactly_the_rows_of_documents_are_inside(drawn):
    space, d, rng = drawn
    counts = all_counts(space, d)
    rows = space.rows(counts)
    assert space.contains(rows).all()
    assert space.contains(rows.toarray()).all()
    assert space.why_not(rows) == [""] * rows.shape[0]
    assert_allclose(space.rows(space.counts(rows)).toarray(), rows.toarray(), rtol=1e-15)
    if space.norm is None:
        assert_array_equal(space.counts(rows).toarray(), counts)
    other = rows.toarray() + 0.01 * rng.random(rows.shape)
    assert not space.contains(other).any()
    assert all(space.why_not(other))


@given(spaces(norms=(None,)))
@settings(max_examples=60)
def test_without_a_norm_counts_are_inside_iff_they_keep_the_limits(drawn):
    space, d, _ = drawn
    counts = np.array(list(itertools.product(range(6), repeat=d)) if d < 4 else [], dtype=float).reshape(-1, d)
    known = {tuple(c) for c in all_counts(space, d)}
    assert_array_equal(space.contains(space.rows(counts)), [tuple(c) in known for c in counts])
    for reason, count in zip(space.why_not(space.rows(counts)), counts, strict=True):
        assert bool(reason) == (tuple(count) not in known)


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
@pytest.mark.parametrize("use_idf", [False, True])
def test_rows_are_those_of_the_transformer_bit_for_bit(norm, use_idf):
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(0.3, (300, 40)))
    transformer = TfidfTransformer(norm=norm, use_idf=use_idf).fit(counts)
    space = DocumentSpace.from_data(counts, idf=transformer.idf_ if use_idf else None, norm=norm)
    theirs = transformer.transform(counts)
    assert_array_equal(space.rows(counts).toarray(), theirs.toarray())
    assert space.contains(theirs).all()


def test_the_smallest_space_of_the_data():
    counts = sp.csr_matrix([[2, 0, 1], [0, 1, 0], [0, 0, 2]])
    space = DocumentSpace.from_data(counts)
    assert (space.max_length, space.max_count.tolist()) == (3, [2, 1, 2])
    assert space.contains(counts).all()
    assert not space.contains([[2, 1, 1], [3, 0, 0]]).any()
    assert DocumentSpace.from_data(counts, max_length=1).max_length == 1
    with pytest.raises(ValueError, match=r"X must hold counts, whole and not negative, got 0\.5"):
        DocumentSpace.from_data([[0.5, 1.0]])


def test_reasons_name_the_word():
    space = DocumentSpace(4, [3, 1, 0], min_length=1, names=["cheap", "meeting", "zebra"], labels=["spam"])
    rows = [[3, 1, 0], [0, 2, 0], [0, 0, 1], [-1, 0, 0], [0.5, 0, 0], [0, 0, 0]]
    reasons = space.why_not(rows)
    assert reasons[0] == ""
    assert reasons[1] == "word 1 ('meeting') is used 2 times, max_count is 1"
    assert reasons[2] == "word 2 ('zebra') is excluded, its max_count is 0"
    assert reasons[3] == "word 0 ('cheap') is -1, a document has no such count"
    assert reasons[4] == "word 0 ('cheap') is used 0.5 times, not a whole number"
    assert reasons[5] == "the document has 0 words, min_length is 1"
    assert space.why_not([[3, 1, 0]], y="ham") == ["label 'ham' is not allowed, labels holds ['spam']"]
    assert DocumentSpace(2, 2).why_not([[2, 1]]) == ["the document has 3 words, max_length is 2"]
    normed = DocumentSpace(3, norm="l2", min_length=1)
    assert normed.why_not([[0.0, 0.0]]) == ["the document is empty, min_length is 1"]
    assert normed.why_not([[1.0, 1.0]]) == ["its l2 norm is 1.41421, not 1"]
    assert normed.why_not([[0.96, 0.28]]) == ["no document of at most 3 words has these proportions"]
    with pytest.raises(ValueError, match=r"row 1 of X: its l2 norm is 1.41421"):
        normed.counts([[1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"max_count": [1, -1]}, "max_count must be whole and not negative, got -1 for word 1"),
        ({"max_count": [1, 0.5], "names": ["a", "b"]}, r"got 0.5 for word 1 \('b'\)"),
        ({"max_count": [[1]]}, r"max_count must be a number or one number per word, got shape \(1, 1\)"),
        ({"idf": [1.0, 0.0], "names": ["a", "b"]}, r"idf must be finite and above 0, got 0 for word 1 \('b'\)"),
        ({"idf": 2.0}, r"idf must be one number per word, got shape \(\)"),
        ({"idf": [1.0, 2.0], "names": ["a"]}, "idf has 2 words, names has 1"),
        ({"idf": [1.0, 2.0], "max_count": [1]}, "idf has 2 words, max_count has 1"),
        ({"norm": "max"}, "norm must be None, 'l1' or 'l2', got 'max'"),
        ({"min_length": 6}, "min_length is 6, above max_length 5"),
        ({"min_length": 2, "norm": "l2"}, "min_length must be 0 or 1 with a norm"),
        ({"min_length": 3, "max_count": [1, 1]}, "max_count allows documents of 2 words, min_length is 3"),
        ({"names": ["a", "a"]}, "names must differ, got 'a' twice"),
        ({"labels": []}, "labels must hold one label at least"),
    ],
)
def test_bad_rules_name_the_argument_and_the_word(rules, message):
    with pytest.raises(ValueError, match=message):
        DocumentSpace(**({"max_length": 5} | rules))


def test_wrong_types_and_sizes_are_refused():
    with pytest.raises(TypeError, match=r"max_length must be an integer, got 2\.5"):
        DocumentSpace(2.5)
    with pytest.raises(TypeError, match="max_count must be whole numbers"):
        DocumentSpace(2, ["a"])
    with pytest.raises(TypeError, match="idf must be one number per word"):
        DocumentSpace(2, idf=["a"])
    with pytest.raises(ValueError, match="feasible_set has 2 words, expected 3 features"):
        DocumentSpace(2, [1, 1]).regions(3)


def test_equal_spaces_hold_the_same_documents():
    space = DocumentSpace(4, 2, idf=[1.0, 2.0], norm="l2", labels=[1])
    assert space == DocumentSpace(4, [2, 2], idf=[1.0, 2.0], norm="l2", labels=[1], names=["a", "b"])
    for other in (
        DocumentSpace(5, 2, idf=[1.0, 2.0], norm="l2", labels=[1]),
        DocumentSpace(4, [2, 1], idf=[1.0, 2.0], norm="l2", labels=[1]),
        DocumentSpace(4, 2, idf=[1.0, 2.5], norm="l2", labels=[1]),
        DocumentSpace(4, 2, idf=[1.0, 2.0], norm="l1", labels=[1]),
        DocumentSpace(4, 2, idf=[1.0, 2.0], norm="l2"),
        DocumentSpace(4, 2, idf=[1.0, 2.0, 3.0], norm="l2", labels=[1]),
    ):
        assert space != other
    assert DocumentSpace(3) == DocumentSpace(3, 3) == DocumentSpace(3, 4)
    assert DocumentSpace(3) != "documents"


def test_repr_rebuilds_the_space():
    space = DocumentSpace(4, [2, 1], min_length=1, idf=[1.0, 2.0], norm="l2", labels=["spam"], names=["a", "b"])
    assert eval(repr(space), {"DocumentSpace": DocumentSpace}) == space
    assert "<40 values in [2, 2]>" in repr(DocumentSpace(4, np.full(40, 2)))


def test_bound_labels_and_names():
    space = DocumentSpace(4, labels=["spam"]).bind(["a", "b"], ["ham", "spam"])
    assert (space.labels, space.names, space.max_length) == ((1.0,), ("a", "b"), 4)
    assert list(space.regions(2)) == [1.0]
    with pytest.raises(ValueError, match="feature 1 is 'b' in feasible_set, 'c' in the data"):
        DocumentSpace(4, names=["a", "b"]).bind(["a", "c"])


# -- the convex set -------------------------------------------------------------------------------


@given(spaces())
@settings(max_examples=150)
def test_linear_maximum_is_that_of_the_documents_or_of_what_they_come_near_to(drawn):
    """Without a norm and with l1 it is attained by a document; the ball is reached by long ones only."""
    space, d, rng = drawn
    region = space.regions(d)[1.0]
    coefficients = np.round(rng.normal(size=d), rng.integers(0, 9))
    value, error = region.linear_maximum(coefficients, 0.5)
    brute = float(np.max(space.rows(all_counts(space, d)) @ coefficients)) + 0.5
    assert value + error >= brute
    at = region.linear_argmax(coefficients)
    assert space.contains(at[None])[0]
    if space.norm != "l2":
        assert_allclose([value, coefficients @ at + 0.5], brute, atol=error + 1e-15)
    else:
        best = region.hull_argmax(coefficients)
        assert_allclose(coefficients @ best + 0.5, value, atol=error + 1e-15)


@given(spaces(norms=(None,)))
@settings(max_examples=50)
def test_the_greedy_document_solves_the_linear_program(drawn):
    space, d, rng = drawn
    region = space.regions(d)[1.0]
    gains = rng.normal(size=d)
    limits = [[1.0] * d, [-1.0] * d]
    program = linprog(
        -gains, limits, [space.max_length, -space.min_length], bounds=np.column_stack([np.zeros(d), region.max_count])
    )
    assert_allclose(region.linear_maximum(gains / region.idf)[0], -program.fun, rtol=1e-12, atol=1e-12)


def test_the_error_covers_what_cancellation_hides():
    """Coefficients that are differences of large numbers: the exact maximum is known from whole numbers."""
    rng = np.random.default_rng(1)
    for norm in (None, "l1", "l2"):
        region = DocumentSpace(7, idf=np.ones(30), norm=norm).regions(30)[1.0]
        whole = rng.integers(-5, 6, 30).astype(float)
        big = 2.0**40 * rng.random(30)
        noisy = (big + whole) - big
        value, error = region.linear_maximum(noisy, 0.0, 2 * big + np.abs(whole), 0.0)
        assert abs(value - region.linear_maximum(whole)[0]) <= error


@given(spaces())
@settings(max_examples=80)
def test_the_frontier_is_the_upper_hull_of_what_can_be_reached(drawn):
    space, d, rng = drawn
    region = space.regions(d)[1.0]
    A, P = np.round(rng.normal(size=(2, d)), 1)
    m, p, slopes = region.frontier(A, 0.3, P, -0.2)
    assert np.all(np.diff(m) > 0)
    assert len(slopes) == len(m) - 1
    assert_allclose(slopes, np.diff(p) / np.diff(m))
    assert np.all(np.diff(slopes) <= 1e-9 * (1.0 + np.abs(slopes[1:])))
    rows = space.rows(all_counts(space, d)).toarray()
    all_m, all_p = rows @ A + 0.3, rows @ P - 0.2
    scale = 1.0 + np.abs(p).max()
    if space.norm == "l2":  # an ellipse, from within: 400 vertices miss it by about 1e-5 in any direction
        for angle in np.linspace(0.0, np.pi, 50):
            a, b = np.cos(angle), np.sin(angle)
            assert np.max(a * all_m + b * all_p) <= np.max(a * m + b * p) + 1e-4 * scale
    else:
        assert_allclose([m[0], m[-1]], [all_m.min(), all_m.max()], atol=1e-12)
        assert np.all(all_p <= np.interp(all_m, m, p) + 1e-9 * scale)
        for vertex in zip(m, p, strict=True):
            assert np.min(np.hypot(all_m - vertex[0], all_p - vertex[1])) <= 1e-9 * scale


# -- the document of largest loss difference ------------------------------------------------------


@given(spaces(), st.sampled_from([*LOSSES, SLOW]))
@settings(max_examples=300, deadline=None)
def test_no_document_exceeds_the_bound_and_without_a_norm_it_is_attained(drawn, loss):
    """All documents of a small vocabulary, one by one."""
    space, d, rng = drawn
    theta, target = models(rng, d)
    rows = space.rows(all_counts(space, d))
    phi = get_loss(loss).value
    u, v = (rows @ t[:-1] + t[-1] for t in (theta, target))
    brute = max(np.max(phi(y * u) - phi(y * v)) for y in (1.0, -1.0))
    found = max_loss_difference(theta, target, space, loss)
    assert space.contains(found.x[None])[0]
    at = found.y * (found.x @ theta[:-1] + theta[-1]), found.y * (found.x @ target[:-1] + target[-1])
    assert_allclose(found.value, float(phi(at[0]) - phi(at[1])), rtol=1e-12, atol=1e-12)
    assert found.value <= found.upper_bound
    assert brute <= found.upper_bound
    if space.norm is None:
        # The bound and the value meet at 1e-10, as on a box: of the difference, or of the losses where these cancel;
        # what rounding may hide is counted for the document of the largest loss.
        size = max(1.0, float(np.max(phi(-np.abs(u)))), float(np.max(phi(-np.abs(v)))))
        assert_allclose([found.value, found.upper_bound], brute, rtol=1e-9, atol=1e-9 * size)


def test_the_bound_stays_true_where_the_search_over_words_gives_up():
    rng = np.random.default_rng(0)
    gave_up = 0
    for _ in range(60):
        d = 5
        space = DocumentSpace(4, 2, idf=1.0 + rng.random(d))
        theta, target = rng.normal(size=(2, d + 1))
        rows = space.rows(all_counts(space, d))
        u, v = (rows @ t[:-1] + t[-1] for t in (theta, target))
        brute = max(np.max(np.maximum(0, 1 - y * u) - np.maximum(0, 1 - y * v)) for y in (1.0, -1.0))
        found = max_loss_difference(theta, target, space, max_nodes=3)
        assert found.value <= brute + 1e-12 <= found.upper_bound + 2e-12
        gave_up += found.upper_bound > found.value + 1e-9
    assert gave_up > 0


@given(spaces(norms=("l2",)))
@settings(max_examples=150)
def test_the_best_document_under_l2_is_that_of_all(drawn):
    """Whichever of length limit and limits per word binds: the bound is attained, but for 1e-9."""
    space, d, rng = drawn
    region = space.regions(d)[1.0]
    coefficients = np.round(rng.normal(size=d), rng.integers(0, 9))
    rows = space.rows(all_counts(space, d)).toarray()
    brute = float(np.max(rows @ coefficients))
    bound, counts = region.best_document(coefficients)
    assert space.contains(region.row(counts)[None])[0]
    assert bound >= brute - 1e-15 * np.abs(coefficients).sum()
    assert_allclose([bound, region.row(counts) @ coefficients], brute, rtol=2e-9, atol=1e-15)


@pytest.mark.parametrize("limit", [1, 3, None])
def test_the_best_long_document_lies_between_that_of_shorter_ones_and_the_ball(limit):
    """Where the length limit binds and uses are many: a longer document is never worse, and none is outside."""
    rng = np.random.default_rng(2)
    coefficients, idf = np.abs(rng.normal(size=60)), 1.0 + rng.random(60)
    found = []
    for length in (1, 2, 5, 20, 60, 200, 5000):
        region = DocumentSpace(length, limit, idf=idf, norm="l2").regions(60)[1.0]
        bound, counts = region.best_document(coefficients)
        assert counts.sum() <= length
        value = float(region.row(counts) @ coefficients)
        assert_allclose(value, bound, rtol=1e-5 if limit is None else 1e-8)  # what its tries leave open
        found.append(value)
        assert bound <= np.linalg.norm(coefficients) * (1.0 + 1e-14)
    assert np.all(np.diff(found) >= -1e-8 * found[-1])
    if limit is None:
        assert found[-1] >= (1.0 - 1e-5) * np.linalg.norm(coefficients)


def test_many_uses_are_found_among_few(monkeypatch):
    """The sort of the uses that pay first gives what a sort of all gives, and the ball where they are too many."""
    rng = np.random.default_rng(5)
    coefficients, idf = rng.normal(size=700), 1.0 + rng.random(700)
    region = DocumentSpace(900, 2, idf=idf, norm="l2").regions(700)[1.0]
    bound, counts = region.best_document(coefficients)
    g, w = coefficients * idf, idf * idf
    rate = np.concatenate([coefficients / idf, coefficients / (3.0 * idf)])
    order = np.argsort(-rate)
    G, W = np.cumsum(np.tile(g, 2)[order]), np.cumsum(np.concatenate([w, 3.0 * w])[order])
    assert_allclose([bound, region.row(counts) @ coefficients], np.max(G / np.sqrt(W)), rtol=1e-13)
    monkeypatch.setattr("mtpfast.spaces.document_region.USES", 100)
    ball, counts = DocumentSpace(900, 2, idf=idf, norm="l2").regions(700)[1.0].best_document(coefficients)
    assert region.row(counts) @ coefficients <= bound <= ball


def test_all_documents_are_looked_at_where_they_are_few():
    """Documents without a pattern: the maximum of the hull is no document, and the bound is their own."""
    rng = np.random.default_rng(6)
    closed = 0
    for norm in ("l1", "l2"):
        for _ in range(20):
            space = DocumentSpace(3, 2, idf=1.0 + rng.random(5), norm=norm)
            theta, target = 3.0 * rng.normal(size=(2, 6))
            rows = space.rows(all_counts(space, 5))
            u, v = (rows @ t[:-1] + t[-1] for t in (theta, target))
            brute = max(np.max(np.maximum(0, 1 - y * u) - np.maximum(0, 1 - y * v)) for y in (1.0, -1.0))
            found = max_loss_difference(theta, target, space)
            assert_allclose([found.value, found.upper_bound], brute, rtol=1e-9, atol=1e-9)
            loose = max_loss_difference(theta, target, space, max_nodes=0)
            assert loose.value <= brute + 1e-12 <= loose.upper_bound + 2e-12
            closed += loose.upper_bound > found.upper_bound + 1e-6
    assert closed > 0


def test_weights_of_any_size_have_a_document_near_them():
    region = DocumentSpace(5, norm="l2").regions(4)[1.0]
    assert_array_equal(region.nearest_counts(np.array([1.0, 1e-310, 1e-20, 1.0])), [2, 0, 0, 2])
    assert_array_equal(region.nearest_counts(np.zeros(4)), np.zeros(4))


def test_only_allowed_labels_are_used():
    rng = np.random.default_rng(3)
    theta, target = rng.normal(size=(2, 5))
    both = [max_loss_difference(theta, target, DocumentSpace(3, labels=[y])) for y in (-1, 1)]
    assert [found.y for found in both] == [-1.0, 1.0]
    found = max_loss_difference(theta, target, DocumentSpace(3))
    assert found.value == max(part.value for part in both)


# -- the attack -----------------------------------------------------------------------------------


def corpus(rng, n=60, d=25):
    """Counts of two kinds of documents, and their labels."""
    y = np.where(np.arange(n) % 3 == 0, 1.0, -1.0)
    rates = np.where(y[:, None] > 0, np.linspace(0.1, 0.8, d), np.linspace(0.8, 0.1, d))
    return sp.csr_matrix(rng.poisson(rates).astype(float)), y


@pytest.mark.parametrize("norm", [None, "l2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_attack_approaches_what_planted_documents_do_and_proves_no_more_than_they_need(loss, norm):
    """The target is the victim of 12 documents."""
    rng = np.random.default_rng(4)
    counts, y = corpus(rng)
    space = DocumentSpace.from_data(counts, idf=1.0 + rng.random(counts.shape[1]), norm=norm)
    X = space.rows(counts)
    planted = space.rows(counts[rng.choice(len(y), 12)])
    labels = rng.choice([-1.0, 1.0], 12)
    poisoned = sp.vstack([X, planted], format="csr"), np.append(y, labels)
    target = refit(*poisoned, make_objective(loss, alpha=0.05)).theta
    result = poison(X, y, target, loss=loss, alpha=0.05, feasible_set=space, tol=0.0, max_points=200)
    assert result.lower_bound <= 12
    differences = result.history["loss_difference"]
    # With a norm no document of so few words comes nearer.
    assert differences.min() < (0.03 if norm is None else 0.1) * differences[0]
    assert sp.issparse(result.points)
    assert space.contains(result.points).all()
    assert result.certificate is None or result.certificate.check(X, y).holds

    file = io.BytesIO()
    result.save(file)
    file.seek(0)
    again = PoisoningResult.load(file)
    assert again.feasible_set == space
    assert (again.points != result.points).nnz == 0
