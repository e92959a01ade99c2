"""The parts of the hinge refit against what they stand for: a factor, lists of rows by deadline, a metric, copies."""

import numpy as np
import pytest
import reference as ref
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mtpfast import _due, _factor, _hinge, _near, _rows
from mtpfast.training.hinge import metric_of


def problem(seed, n=24, d=7):
    """Rows of which some are copies, opposites and sums of others, exactly."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(n, d)), 2)
    X[1], X[3], X[5], X[7] = X[0], -X[2], X[0] + X[2], 0.0
    return rng, X, rng.choice([-1.0, 1.0], size=n)


def signed(X, y, intercept):
    return y[:, None] * np.column_stack([X, np.full(len(y), float(intercept))])


@pytest.mark.parametrize("sparse", [False, True])
@given(seed=st.integers(0, 10**6), intercept=st.booleans())
@example(seed=44012, intercept=True)  # taken for independent where the triangle alone was asked
@settings(max_examples=40, deadline=None)
def test_the_factor_is_one_of_its_rows_after_any_changes(sparse, seed, intercept):
    """L L' = Z Z' (and Z = L Q, Q Q' = 1) after any additions, removals and replacements of rows; a row is refused if
    and only if it depends on the others. Entries of two decimals: dependence is exact or far from it."""
    rng, X, y = problem(seed)
    Z = signed(X, y, intercept)
    factor = _factor.MarginFactor(_rows.MarginRows(sp.csr_matrix(X) if sparse else X, y, intercept), not sparse)
    on = []
    for _ in range(60):
        if on and rng.random() < 0.4:
            p = int(rng.integers(len(on)))
            factor.drop(p)
            del on[p]
        if rng.random() < 0.7:
            i = int(rng.integers(len(y)))
            # the distance to the span of the others, of rows of size 1 to 10
            rest = Z[i] - (Z[on].T @ np.linalg.lstsq(Z[on].T, Z[i], rcond=None)[0] if on else 0.0)
            independent = i not in on and bool(np.linalg.norm(rest) > 1e-8)
            assert factor.add(i) == independent
            on += [i] * independent
        told, L, Q = factor.parts()
        assert told == on
        size = np.linalg.norm(Z[on], axis=1)
        # a hundred rotations of rows of d + 1 <= 8 entries
        assert np.all(np.abs(L @ L.T - Z[on] @ Z[on].T) <= 1e-12 * np.outer(size, size))
        assert np.all(np.triu(L, 1) == 0.0)
        if on and not sparse:
            assert_allclose(Q @ Q.T, np.eye(len(on)), rtol=0.0, atol=1e-12)
            assert np.all(np.abs(L @ Q - Z[on]) <= 1e-12 * size[:, None])
        v = rng.normal(size=X.shape[1] + 1)
        inside = factor.onto(v)[1]
        # the part of v in the span: the rest is at a right angle to every row; the triangle may be ill conditioned
        assert np.all(np.abs(Z[on] @ (v - inside)) <= 1e-8 * size * np.linalg.norm(v))
        assert np.linalg.norm(inside) <= np.linalg.norm(v) * (1 + 1e-8)


def test_the_factor_refuses_rows_it_does_not_have():
    _, X, y = problem(0)
    factor = _factor.MarginFactor(_rows.MarginRows(X, y, True), True)
    with pytest.raises(IndexError, match="no such row"):
        factor.add(len(y))
    with pytest.raises(IndexError, match="no such row"):
        factor.drop(0)


@given(seed=st.integers(0, 10**6), log_width=st.floats(-6.0, 3.0))
@settings(max_examples=60, deadline=None)
def test_no_row_is_overdue(seed, log_width):
    """What `due` takes out are the rows whose deadline has come, each once, as a plain list has it; rows put back
    with a deadline that has passed, or with none (NaN), are due at once; those after the horizon are nobody's."""
    rng = np.random.default_rng(seed)
    n = 50
    due = _due.DueRows(_rows.MarginRows(np.ones((n, 1)), np.ones(n), False))
    waiting = {}

    def place(i):
        waiting[i] = (
            rng.choice([np.nan, due.travelled - width, due.travelled, np.inf, due.horizon])
            if (rng.random() < 0.2)
            else due.travelled + width * 10.0 ** rng.uniform(-3, 4)
        )
        due.place(i, waiting[i])

    width = 10.0**log_width
    due.empty(width)
    for i in range(n):
        place(i)
    for _ in range(40):
        limit = due.travelled + width * 10.0 ** rng.uniform(-3, 2.5)
        if limit > due.horizon:  # theta does not go there: all rows are put anew first
            due.empty(width)
            for i, deadline in waiting.items():
                due.place(i, deadline)
            limit = min(limit, due.horizon)
        expected = {i for i, deadline in waiting.items() if not deadline > limit}
        taken = due.due(limit)
        assert len(taken) == len(set(taken))
        assert set(taken) == expected
        lying = [i for rows in due.members().values() for i in rows]
        assert len(lying) == len(set(lying))
        early = {i for i, deadline in waiting.items() if deadline < due.horizon}
        assert early - expected <= set(lying) <= set(waiting) - expected
        for i in taken:
            place(i)


@given(seed=st.integers(0, 10**6), d=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_no_margin_changes_by_more_than_reach_times_way(seed, d):
    """|a . v| <= |a|_dual |v|, both lengths by their formulas; |t v| = |t| |v|."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, d)) * 10.0 ** rng.uniform(-2, 2, size=d)
    directions, along, across = metric_of(X, True)
    metric = _due.Metric(directions, along, across)
    A = np.column_stack([X, np.ones(60)])
    v = rng.normal(size=d + 1) * 10.0 ** rng.uniform(-2, 2, size=d + 1)

    def lengths(v):
        inside = directions @ v
        rest = v - directions.T @ inside
        dual = (inside**2 / along).sum() + (rest**2 / across).sum()
        return np.sqrt(along @ inside**2 + across @ rest**2), np.sqrt(dual)

    way = metric.lengths(v)[0]
    assert_allclose(metric.lengths(v), lengths(v), rtol=1e-6)  # what is left of v outside the directions cancels
    assert_allclose(metric.lengths(-3.0 * v), 3.0 * np.array(metric.lengths(v)), rtol=1e-6)
    reach = np.array([metric.lengths(a)[1] for a in A])
    assert np.all(np.abs(A @ v) <= reach * way * (1 + 1e-9) + 1e-12 * np.linalg.norm(A, axis=1) * np.linalg.norm(v))


@given(seed=st.integers(0, 10**6), intercept=st.booleans(), singles=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_walk_ends_at_the_first_row_that_comes_to_its_threshold(seed, intercept, singles):
    """As a look at all rows has it, line after line: rows of sign 0 stop none, nor do rows that move away; a row that
    is put again has its new slack and sign and lies here once."""
    rng, X, y = problem(seed)
    X = X.astype(np.float32) if singles else X
    A, n = signed(X.astype(float), y, intercept), len(y)
    near = _near.NearRows(_rows.MarginRows(X, y, intercept))
    slack, sign = np.full(n, np.nan), np.zeros(n)

    def put(i, value):
        sign[i] = rng.choice([-1.0, 0.0, 1.0])
        slack[i] = value * (sign[i] or 1.0)
        near.add(i, slack[i], sign[i])

    for i in rng.permutation(n)[: rng.integers(1, n)]:
        put(i, rng.exponential())
    for _ in range(12):
        step, end = rng.normal(size=A.shape[1]), rng.exponential()
        rate = A @ step
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(sign * rate < 0.0, np.maximum(-slack / rate, 0.0), np.inf)
        row, place = near.go(step, end)
        assert place == pytest.approx(min(end, at.min()), rel=1e-9, abs=1e-12)
        assert (row >= 0) == bool(at.min() < end)
        if row >= 0:
            assert at[row] == pytest.approx(at.min(), rel=1e-9, abs=1e-12)
        slack += place * rate
        rows, told = near.slacks()
        assert sorted(rows) == np.flatnonzero(np.isfinite(slack)).tolist()
        assert_allclose(told, slack[rows], rtol=1e-9, atol=1e-11)
        if row >= 0:
            put(row, 0.0)


def test_the_copies_refuse_what_is_not_there():
    _, X, y = problem(0)
    near = _near.NearRows(_rows.MarginRows(X, y, True))
    with pytest.raises(IndexError, match="no such row"):
        near.add(len(y), 0.0, 1.0)
    with pytest.raises(ValueError, match="shapes disagree"):
        near.go(np.ones(3), 1.0)


def test_a_metric_of_another_dimension_is_refused():
    _, X, y = problem(1)
    with pytest.raises(ValueError, match="shapes disagree"):
        _hinge.HingeSolver(X, y, True, True, metric_of(X[:, 1:], True))
    with pytest.raises(ValueError, match="shapes disagree"):
        _due.Metric(*metric_of(X, True)).lengths(np.ones(3))


def solver(sparse=False, penalize=True, seed=3):
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(80, 6)), 1)
    y = np.where(X @ rng.normal(size=6) + rng.normal(size=80) > 0.0, 1.0, -1.0)
    rows = sp.csr_matrix(X) if sparse else X
    core = _hinge.HingeSolver(rows, y, True, penalize, metric_of(rows, True))
    core.set_weights(np.ones(80), 2.0)
    core.descend(1e-3, 100)
    core.start()
    return core, rng, X, y


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalize", [False, True])
def test_every_solve_leaves_all_in_order(sparse, penalize):
    """The invariants at the head of HingeSolver, after every change of a long stream of them, and after an audit."""
    core, rng, X, _ = solver(sparse, penalize)
    assert core.invariants() == []
    for step in range(150):
        assert core.raise_weight(int(rng.integers(80)), float(rng.random() < 0.7), 0.01 * (step % 3)) == 0
        assert core.invariants() == []
        on, L, _ = core.factor.parts()
        assert len(on) == len(L) <= X.shape[1] + 1
    core.audit()
    assert core.invariants() == []


def test_what_is_out_of_order_is_told():
    """The check itself can fail: a row gone from the factor, a row in two bins, a row that is overdue."""
    core, *_ = solver()
    lost = core.factor.parts()[0][0]
    core.factor.drop(0)
    assert f"row {lost} is on the margin and not in the factor, or the reverse" in core.invariants()

    core, *_ = solver()
    row = next(i for rows in core.due.members().values() for i in rows)
    core.due.due(core.due.horizon)
    assert any("does not lie in the bin" in line for line in core.invariants())
    core.due.place(row, core.due.horizon + 1e6)
    assert f"row {row} is nearer to the margin" in "".join(core.invariants())


@pytest.mark.parametrize("intercept", [False, True])
def test_sums_over_the_rows_below_are_those_of_their_sides(intercept):
    """`clean_loss` and the gap of a solve, from the sums carried along, are those of the model itself."""
    rng, X, y = problem(5)
    core = _hinge.HingeSolver(X, y, intercept, True, metric_of(X, intercept))
    core.set_weights(np.ones(len(y)), 1.0)
    assert core.start(np.zeros(X.shape[1] + 1)) == 0
    theta = np.empty(X.shape[1] + 1)
    for _ in range(30):
        core.raise_weight(int(rng.integers(len(y))), 0.0, 0.1)
        core.theta(theta)
        loss = np.maximum(0.0, 1.0 - signed(X, y, intercept) @ theta).sum()
        assert_allclose(core.clean_loss(), loss, rtol=0.0, atol=1e-9 * len(y))  # rows on the margin count 0
        assert core.gap() <= 64 * ref.EPS * (len(y) + core.k * theta @ theta) * 100
