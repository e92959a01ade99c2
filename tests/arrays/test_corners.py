"""Corners of a box in a bit an entry: what comes out is what went in, and compiled code multiplies by the same."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mtpfast import FeatureSpace, _rows
from mtpfast.arrays.corners import ODD, Corners
from mtpfast.attacks.online import poison
from mtpfast.losses.objective import make_objective
from mtpfast.training.added_rows import AddedRows
from mtpfast.training.victim import Victim


def corners(rng, n, d, unit, odd):
    """n corners of one box, so many entries of each of which lie inside."""
    low, high = (np.zeros(d), np.ones(d)) if unit else np.sort(rng.normal(size=(2, d)), axis=0)
    X = np.where(rng.random((n, d)) < 0.5, high, low)
    for x in X:
        some = rng.choice(d, size=odd, replace=False)
        x[some] = low[some] + (high - low)[some] * rng.uniform(0.1, 0.9, size=odd)
    return X


@given(seed=st.integers(0, 10**6), d=st.integers(1, 300), unit=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_comes_out_is_what_went_in(seed, d, unit):
    """Bit for bit, dense and CSR, through several moves of the memory, all rows or the first; in d / 8 bytes a row and
    a few numbers. A column settles what its second value is with the second row that has it."""
    rng = np.random.default_rng(seed)
    n, odd = 40, int(rng.integers(0, min(d, d // ODD + 1) + 1))
    X = corners(rng, n, d, unit, odd if d > 1 else 0)
    rows, kept = Corners(d), []
    for x in X:
        if rows.append(x):
            kept.append(x)
    kept = np.array(kept)
    assert rows.shape == kept.shape
    assert unit <= (len(kept) == n)  # all of them are corners of the unit box
    assert rows.matrix().tobytes() == (kept + 0.0).tobytes()
    assert_array_equal(rows.matrix(sparse=True).toarray(), kept)
    assert rows.nbytes <= 24 * d + n * (8 * (d // 64 + 1) + 4 + 12 * (d // ODD + 1)) + 4 + 12 * d * (not unit)
    first = int(rng.integers(0, len(kept) + 1))
    rows.truncate(first)
    assert_array_equal(rows.matrix(), kept[:first])
    assert_array_equal(rows.matrix(sparse=True).toarray(), kept[:first])


def test_a_row_with_many_entries_inside_the_box_is_no_corner():
    rng = np.random.default_rng(0)
    rows = Corners(256)
    for x in corners(rng, 10, 256, True, 1):
        assert rows.append(x)
    before = rows.matrix()
    assert not rows.append(rng.random(256))
    assert not rows.append(np.full(256, np.nan))
    assert_array_equal(rows.matrix(), before)


@given(seed=st.integers(0, 10**6), d=st.integers(1, 200), unit=st.booleans())
@settings(max_examples=60, deadline=None)
def test_products_of_corners_are_those_of_the_dense_rows(seed, d, unit):
    """To rounding: a sum of d products, in another order."""
    rng = np.random.default_rng(seed)
    X = corners(rng, 12, d, unit, min(1, d // 2))
    rows = Corners(d)
    kept = np.array([x for x in X if rows.append(x)])
    y = np.where(rng.random(len(kept)) < 0.5, 1.0, -1.0)
    both = [_rows.MarginRows(np.empty((0, d)), np.empty(0), True) for _ in range(2)]
    for one, block in zip(both, (rows.block(), kept), strict=True):
        one.show(block, y)
    v, w = rng.normal(size=(2, d + 1))
    size = (np.abs(kept) @ np.abs(v[:-1]) + abs(v[-1])).max() + (np.abs(kept) @ np.abs(w[:-1]) + abs(w[-1])).max()
    told, expected = (one.multiplied(v, w) for one in both)
    for a, b in zip(told, expected, strict=True):
        assert_allclose(a, b, rtol=0, atol=d * 1e-15 * size)  # d roundings of 1.1e-16 each, twice


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("upset", [None, 20])
def test_a_victim_is_the_same_whether_its_points_are_bits_or_numbers(convert, upset):
    """The minimiser, within the proved gaps; also where a point that is no corner comes in between."""
    rng = np.random.default_rng(5)
    X = (rng.random((60, 320)) < 0.3).astype(float)
    y = np.where(rng.random(60) < 0.5, 1.0, -1.0)
    points = corners(rng, 40, 320, True, 1)
    if upset is not None:
        points[upset] = rng.random(320)
    ends = []
    for bits in (True, False):
        victim = Victim(convert(X), y, make_objective("hinge", alpha=0.05))
        if not bits:
            reader, victim.training.rows = victim.training.rows.reader, AddedRows(320, False)
            victim.training.rows.reader = reader
        for i, x in enumerate(points):
            victim.add(x, (-1.0) ** i, 1 + i % 3)
        assert (victim.training.rows.corners is not None) == (bits and upset is None)
        victim.check()
        assert victim.is_tight()
        assert victim.n_repairs == 0
        assert_array_equal(sp.csr_matrix(victim.added_X).toarray(), points)
        ends.append((victim.theta, victim.gap, victim.k))
    (a, gap, k), (b, other, _) = ends
    assert np.linalg.norm(a - b) <= np.sqrt(2 * gap / k) + np.sqrt(2 * other / k) + 1e-10 * np.linalg.norm(a)


def test_the_points_of_an_attack_on_a_box_take_a_bit_an_entry():
    """Of 60 points of 640 features, 80 bytes each are held, and not 5120."""
    rng = np.random.default_rng(6)
    X = (rng.random((80, 640)) < 0.1).astype(float)
    y = np.where(rng.random(80) < 0.5, 1.0, -1.0)
    held = []

    def watch(state):
        held.append(victims[0].training.rows.corners)

    victims, init = [], Victim.__init__

    def keep(self, *args, **kwargs):
        init(self, *args, **kwargs)
        victims.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Victim, "__init__", keep)
        target = rng.normal(size=641) / 10
        result = poison(X, y, target, alpha=0.05, feasible_set=FeatureSpace(0.0, 1.0), max_points=60, callback=watch)
    assert result.n_points == 60
    assert len(result.points) > 20
    assert held[1].nbytes <= 24 * 640 + 60 * (80 + 16) + 4
