"""Victim training: three losses, every convention, a proved gap; and the incremental victim."""

import tracemalloc
import warnings

import numpy as np
import pytest
import reference as ref
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC

from mtpfast import _core, _rows
from mtpfast.losses.margin import Loss
from mtpfast.losses.objective import make_objective
from mtpfast.training import smooth as smooth_module
from mtpfast.training.codes import row_codes
from mtpfast.training.victim import Victim, refit

every_loss = pytest.mark.parametrize("loss", ref.LOSSES)
every_smooth_loss = pytest.mark.parametrize("loss", ("squared_hinge", "log_loss"))
every_convention = pytest.mark.parametrize("conv", ref.CONVENTIONS, ids=ref.convention_id)
TOL = 1e-8


def blobs(seed, n=50, d=4, noise=0.7):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.where(X @ rng.normal(size=d) + noise * rng.normal(size=n) + 0.4 > 0.0, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    return X, y


def duplicates(seed):
    X, y = blobs(seed, n=12, d=3)
    rows = np.random.default_rng(seed).integers(12, size=60)
    return np.vstack([X, X[rows]]), np.append(y, y[rows])


def rank_deficient(seed):
    X, y = blobs(seed, n=40, d=2)
    return np.column_stack([X, X[:, 0] + X[:, 1], np.zeros(len(y)), np.ones(len(y))]), y


def one_feature(seed):
    return blobs(seed, n=30, d=1)


def binary(seed):
    X, y = blobs(seed, n=80, d=5)
    return (X > 0.3).astype(float), y


def contradictory(seed):
    X, y = binary(seed)
    return np.vstack([X, X]), np.append(y, -y)


def separable(seed):
    X, y = blobs(seed, n=40, d=3, noise=0.0)
    return X + 0.3 * y[:, None], np.where(X.sum(axis=1) > 0, 1.0, -1.0)


def wide(seed):
    return blobs(seed, n=15, d=40)


KINDS = (blobs, duplicates, rank_deficient, one_feature, binary, contradictory, separable, wide)


def rounding(loss, conv, theta, X, y, weight=None):
    """Rounding of P and of a duality gap: a sum of n terms of the size of P, and for every row the rounding of
    its margin, itself a sum of d + 1 terms, times |phi'| (at a kink the larger slope: a row that lies on the
    margin up to rounding is charged for it)."""
    weight = np.ones(len(y)) if weight is None else weight
    P = ref.objective(loss, conv, theta, X, y, weight)
    size = np.abs(theta[-1]) + np.abs(X) @ np.abs(theta[:-1])
    slope = np.abs(ref.dphi(loss, y * ref.scores(theta, X) - 1e-9))
    return 2.0 * ref.EPS * ((len(y) + 16) * P + (len(theta) + 4) * (weight * slope) @ size)


def check_proved(fit, loss, conv, X, y, weight=None, others=()):
    """P(theta) - P(any other model) <= gap, and the gap is as small as tol asks: sqrt(2 gap / k) <= tol max(1, |theta|)
    (or as small as the rounding of P lets anyone prove)."""
    total = len(y) if weight is None else np.sum(weight)
    value = ref.objective(loss, conv, fit.theta, X, y, weight)
    noise = rounding(loss, conv, fit.theta, X, y, weight)
    # Where more rows tie on the margin than the model can hold there, the hinge solver tells them apart by up to
    # 2e-11 in their thresholds, and may stop at one of these instead.
    tied = np.abs(y * ref.scores(fit.theta, X) - 1.0) < 1e-9 if loss == "hinge" else np.zeros(len(y))
    ties = 2e-11 * float(tied @ (np.ones(len(y)) if weight is None else weight))
    asked = 0.5 * conv.k(total) * (TOL * max(1.0, np.linalg.norm(fit.theta))) ** 2
    assert 0.0 <= fit.gap <= asked + noise + ties
    for other in others:
        assert value - ref.objective(loss, conv, other, X, y, weight) <= fit.gap + noise
    if not conv.fit_intercept:
        assert fit.theta[-1] == 0.0


def assert_same_model(loss, conv, a, b, X, y, weight=None, atol=1e-6):
    """Equal models; a free intercept of the hinge need not be unique, so there the objective is compared."""
    unique_intercept = loss != "hinge" or conv.r or not conv.fit_intercept
    last = None if unique_intercept else -1
    assert_allclose(a[:last], b[:last], rtol=0.0, atol=atol * max(1.0, np.abs(b).max()))
    Pa, Pb = (ref.objective(loss, conv, t, X, y, weight) for t in (a, b))
    # P is Lipschitz in b near the minimum: n |phi'| times the error of the model
    assert_allclose(Pa, Pb, rtol=10.0 * atol)


# ---------------------------------------------------------------- refit


@pytest.mark.parametrize("kind", KINDS)
@every_convention
@every_loss
def test_refit_is_the_minimum_of_the_objective(loss, conv, kind):
    """theta = argmin P, as an independent solver finds it, and the gap proves it."""
    X, y = kind(3)
    fit = refit(X, y, make_objective(loss, **conv._asdict()), tol=TOL)
    best = ref.refit(loss, conv, X, y)
    check_proved(fit, loss, conv, X, y, others=[best])
    assert_same_model(loss, conv, fit.theta, best, X, y)


@every_convention
@every_loss
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), log_k=st.floats(-3.0, 3.0))
@settings(max_examples=8)
def test_the_gap_is_proved_for_any_regulariser(loss, conv, seed, kind, log_k):
    """C and alpha large and small: no model nearby or found otherwise is better than the gap allows."""
    X, y = kind(seed)
    k = 10.0**log_k
    conv = conv._replace(C=1.0 / k) if conv.C is not None else conv._replace(alpha=k / len(y))
    fit = refit(X, y, make_objective(loss, **conv._asdict()), tol=TOL)
    rng = np.random.default_rng(seed)
    size = max(1e-3, np.abs(fit.theta).max())
    near = fit.theta + size * rng.normal(size=(20, len(fit.theta))) * 10.0 ** rng.uniform(-8, 0, size=(20, 1))
    near[:, -1] *= float(conv.fit_intercept)
    others = list(near)
    if loss != "hinge" or k > 0.05:  # LIBSVM and LIBLINEAR need very many passes below
        others.append(ref.refit(loss, conv, X, y))
    check_proved(fit, loss, conv, X, y, others=others)


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e4, 1e6])
@every_loss
def test_separable_data_with_large_and_small_C(loss, C):
    """C = 1e6 on separable data is nearly a hard margin; the gap must still be proved."""
    X, y = separable(5)
    for penalize in (True, False):
        conv = ref.Convention(C=C, penalize_intercept=penalize)
        fit = refit(X, y, make_objective(loss, **conv._asdict()), tol=TOL)
        check_proved(fit, loss, conv, X, y, others=[np.zeros(4), 0.999 * fit.theta, 1.001 * fit.theta])
        if C == 1e6 and loss == "hinge":
            assert np.all(y * ref.scores(fit.theta, X) >= 1.0 - 1e-6)  # no slack is worth 1e6 a unit


@every_convention
@every_loss
def test_a_weight_of_two_is_the_row_twice_and_of_zero_the_row_absent(loss, conv):
    X, y = blobs(6)
    weight = np.random.default_rng(6).integers(0, 4, size=len(y)).astype(float)
    weight[:2] = 1.0
    objective = make_objective(loss, **conv._asdict())
    fit = refit(X, y, objective, sample_weight=weight, tol=TOL)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    repeated = refit(X[rows], y[rows], objective, tol=TOL)
    assert_same_model(loss, conv, fit.theta, repeated.theta, X, y, weight, atol=1e-7)  # two solutions to 1e-8
    check_proved(fit, loss, conv, X, y, weight, others=[repeated.theta, ref.refit(loss, conv, X, y, weight)])


@every_convention
@every_loss
def test_fractional_weights(loss, conv):
    X, y = blobs(7)
    weight = np.random.default_rng(7).uniform(0.0, 3.0, size=len(y))
    fit = refit(X, y, make_objective(loss, **conv._asdict()), sample_weight=weight, tol=TOL)
    best = ref.refit(loss, conv, X, y, weight)
    check_proved(fit, loss, conv, X, y, weight, others=[best])
    assert_same_model(loss, conv, fit.theta, best, X, y, weight)


@every_loss
def test_total_weight_sets_k_in_the_alpha_convention_only(loss):
    """k = total_weight * alpha; the C convention does not look at it."""
    X, y = blobs(8)
    a = refit(X, y, make_objective(loss, alpha=0.1), total_weight=2.0 * len(y), tol=TOL)
    b = refit(X, y, make_objective(loss, alpha=0.2), tol=TOL)
    assert_allclose(a.theta, b.theta, atol=1e-7)  # two solutions to 1e-8
    c = refit(X, y, make_objective(loss, C=0.3), total_weight=1e3, tol=TOL)
    d = refit(X, y, make_objective(loss, C=0.3), tol=TOL)
    assert_allclose(c.theta, d.theta, atol=1e-7)


@every_convention
@every_loss
def test_csr_is_dense_and_stays_sparse(loss, conv):
    rng = np.random.default_rng(9)
    X, y = blobs(9, n=60, d=8)
    X *= rng.random(X.shape) < 0.3
    objective = make_objective(loss, **conv._asdict())
    dense = refit(X, y, objective, tol=TOL)
    S = sp.csr_matrix(X)
    S_before = S.copy()
    csr = refit(S, y, objective, tol=TOL)
    assert_same_model(loss, conv, csr.theta, dense.theta, X, y, atol=1e-7)  # two solutions to 1e-8
    check_proved(csr, loss, conv, X, y, others=[dense.theta])
    for a, b in ((S.data, S_before.data), (S.indices, S_before.indices), (S.indptr, S_before.indptr)):
        assert_array_equal(a, b)


@every_convention
@every_loss
def test_a_warm_start_changes_the_road_and_not_the_end(loss, conv):
    X, y = blobs(10)
    objective = make_objective(loss, **conv._asdict())
    cold = refit(X, y, objective, tol=TOL)
    rng = np.random.default_rng(10)
    for start in (cold.theta, rng.normal(size=5), np.full(5, 100.0)):
        start = start * np.append(np.ones(4), float(conv.fit_intercept))
        before = start.copy()
        warm = refit(X, y, objective, theta0=start, tol=TOL)
        assert_same_model(loss, conv, warm.theta, cold.theta, X, y, atol=1e-7)  # two solutions to 1e-8
        check_proved(warm, loss, conv, X, y, others=[cold.theta])
        assert_array_equal(start, before)


def test_agreement_with_scikit_learn_on_breast_cancer():
    """LinearSVC penalises the intercept, SVC and LogisticRegression(lbfgs) do not; liblinear's does."""
    X, y = ref.breast_cancer()
    svc = {"tol": 1e-10, "max_iter": 1_000_000, "random_state": 0}
    logistic = {"tol": 1e-12, "max_iter": 100_000}
    cases = [
        ("hinge", True, True, LinearSVC(loss="hinge", C=1.0, **svc)),
        ("hinge", False, True, LinearSVC(loss="hinge", C=1.0, fit_intercept=False, **svc)),
        ("hinge", True, False, SVC(kernel="linear", C=1.0, tol=1e-9)),
        ("squared_hinge", True, True, LinearSVC(C=1.0, **svc)),
        ("log_loss", True, True, LogisticRegression(C=1.0, solver="liblinear", **logistic)),
        ("log_loss", True, False, LogisticRegression(C=1.0, solver="lbfgs", **logistic)),
        ("log_loss", True, False, LogisticRegression(C=1.0, solver="newton-cholesky", **logistic)),
        ("log_loss", False, True, LogisticRegression(C=1.0, fit_intercept=False, solver="lbfgs", **logistic)),
    ]
    for loss, fit_intercept, penalize, estimator in cases:
        conv = ref.Convention(C=1.0, fit_intercept=fit_intercept, penalize_intercept=penalize)
        fit = refit(X, y, make_objective(loss, **conv._asdict()), tol=TOL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lbfgs may stop at rounding before its own tolerance
            estimator.fit(X, y)
        theta = np.append(estimator.coef_.ravel(), np.ravel(estimator.intercept_)[0])
        # 1e-6 is the promise; lbfgs itself is good to about 1e-6 in the weights
        assert_allclose(fit.theta, theta, atol=2e-6 * max(1.0, np.abs(theta).max()), err_msg=repr(estimator))
        check_proved(fit, loss, conv, X, y, others=[theta])


@every_convention
@every_loss
def test_inputs_are_never_changed_and_the_result_is_the_same_bits_twice(loss, conv):
    X, y = blobs(12)
    weight = np.ones(len(y))
    copies = X.copy(), y.copy(), weight.copy()
    for array in (X, y, weight):
        array.flags.writeable = False
    objective = make_objective(loss, **conv._asdict())
    a = refit(X, y, objective, sample_weight=weight)
    b = refit(X, y, objective, sample_weight=weight)
    assert_array_equal(a.theta, b.theta)
    assert a.gap == b.gap
    for array, copy in zip((X, y, weight), copies, strict=True):
        assert_array_equal(array, copy)


# ---------------------------------------------------------------- the incremental victim


def stream(rng, X, y, n):
    """Poisoning points as attacks meet them: corners of the box again and again, copies of clean rows, repeats."""
    lower, upper = X.min(axis=0), X.max(axis=0)
    corners = np.where(rng.random((3, X.shape[1])) < 0.5, lower, upper)
    for _ in range(n):
        what = rng.integers(4)
        if what == 0:
            i = rng.integers(3)
            yield corners[i], (1.0, -1.0)[i % 2], 1
        elif what == 1:
            i = rng.integers(len(y))
            yield X[i], -y[i], int(rng.integers(1, 4))
        elif what == 2:
            yield rng.uniform(lower, upper), float(rng.choice([-1.0, 1.0])), 1
        else:
            yield corners[0], 1.0, int(rng.integers(1, 6))


def dense_row(x):
    return x.toarray().ravel() if sp.issparse(x) else np.asarray(x, dtype=float)


@pytest.mark.parametrize("kind", KINDS)
@every_convention
@every_loss
def test_incremental_refits_are_refits_from_scratch(loss, conv, kind):
    """Victim.add = training on clean plus poison rows anew, to 1e-7, and its gap is proved at every step."""
    X, y = kind(13)
    rng = np.random.default_rng(13)
    objective = make_objective(loss, **conv._asdict())
    victim = Victim(X, y, objective, tol=TOL)
    X_all, y_all = [X], [y]
    assert_same_model(loss, conv, victim.theta, refit(X, y, objective).theta, X, y, atol=1e-7)
    for step, (x, label, count) in enumerate(stream(rng, X, y, 31)):
        victim.add(x, label, count)
        X_all.append(np.repeat(x[None, :], count, axis=0))
        y_all.append(np.full(count, label))
        if step % 3:
            continue
        Xs, ys = np.vstack(X_all), np.concatenate(y_all)
        scratch = refit(Xs, ys, objective, tol=TOL)
        assert_same_model(loss, conv, victim.theta, scratch.theta, Xs, ys, atol=1e-7)  # two solutions to 1e-8
        check_proved(victim, loss, conv, Xs, ys, others=[scratch.theta])
        clean = ref.phi(loss, y * ref.scores(victim.theta, X)).sum()
        assert_allclose(victim.clean_loss(), clean, rtol=1e-9, atol=1e-9)  # margins kept up to date, summed anew
    assert len(ys) == len(y) + int(np.sum(victim.added_count))


@every_convention
@every_loss
def test_a_long_stream_does_not_drift(loss, conv):
    """300 additions, most of them repeats: the model is still the one trained from scratch."""
    X, y = binary(14)
    rng = np.random.default_rng(14)
    objective = make_objective(loss, **conv._asdict())
    victim = Victim(X, y, objective, tol=TOL)
    X_all, y_all = [X], [y]
    for x, label, count in stream(rng, X, y, 300):
        victim.add(x, label, count)
        X_all.append(np.repeat(x[None, :], count, axis=0))
        y_all.append(np.full(count, label))
    Xs, ys = np.vstack(X_all), np.concatenate(y_all)
    best = ref.refit(loss, conv, Xs, ys)
    check_proved(victim, loss, conv, Xs, ys, others=[best])
    assert_same_model(loss, conv, victim.theta, best, Xs, ys)


def grey(rng, n, d):
    """Pictures: multiples of 1/255, most of them 0."""
    return rng.integers(0, 256, size=(n, d)) / 255.0 * (rng.random((n, d)) < 0.3)


def far_off(rng, n, d):
    return 50.0 + rng.normal(size=(n, d))


def uneven(rng, n, d):
    """Columns of all sizes, some of them constant."""
    return rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-6.0, 1.0, size=d) * (rng.random(d) < 0.9)


LONG_ROWS = (grey, far_off, uneven)


@pytest.mark.parametrize("kind", LONG_ROWS)
@given(seed=st.integers(0, 10**6), d=st.integers(1, 300), log_size=st.floats(-140.0, 30.0))
@settings(max_examples=20)
def test_codes_of_rows_tell_products_to_the_error_they_state(kind, seed, d, log_size):
    """|look - x . v| <= error |v| for rows in a byte an entry, d no multiple of a block, v large and small."""
    rng = np.random.default_rng(seed)
    X = kind(rng, 20, d)
    v, w = rng.normal(size=d) * 10.0**log_size, rng.normal(size=d)
    first, second, error = _rows.ShortRows(d).products(X, v, w)
    for told, u in ((first, v), (second, w)):
        # the exact product itself is a sum of d rounded terms
        noise = 2 * (d + 4) * ref.EPS * (np.abs(X) @ np.abs(u) + np.linalg.norm(X.min(axis=0)) * np.linalg.norm(u))
        assert np.all(np.abs(told - X @ u) <= error * np.linalg.norm(u) * (1 + 1e-9) + noise)


@pytest.mark.parametrize("kind", LONG_ROWS)
@pytest.mark.parametrize("conv", [ref.Convention(alpha=0.02), ref.Convention(C=0.1, penalize_intercept=False)])
def test_the_codes_of_long_rows_hide_no_crossing(kind, conv):
    """Rows of 256 entries and more are looked at through codes: every model of a long stream, with points inside
    and far outside of what the first of them had the codes reach, still passes the check of all margins."""
    rng = np.random.default_rng(41)
    X = kind(rng, 150, 300)
    y = np.where(X @ rng.normal(size=300) > np.median(X @ np.ones(300)), 1.0, -1.0)
    y[:2] = 1.0, -1.0
    low, high = X.min(axis=0), X.max(axis=0)
    victim = Victim(X, y, make_objective("hinge", **conv._asdict()), tol=TOL)
    for step in range(120):
        x = np.where(rng.random(300) < 0.5, low, high) * (3.0 if step > 70 and step % 5 == 0 else 1.0)
        victim.add(x if step % 4 else X[rng.integers(150)], rng.choice([-1.0, 1.0]))
        victim.check()
        assert victim.n_repairs == 0
    Xs = np.vstack([X, np.repeat(victim.added_X, victim.added_count.astype(int), axis=0)])
    ys = np.append(y, np.repeat(victim.added_y, victim.added_count.astype(int)))
    scratch = refit(Xs, ys, make_objective("hinge", **conv._asdict()), tol=TOL)
    assert_same_model("hinge", conv, victim.theta, scratch.theta, Xs, ys)
    check_proved(victim, "hinge", conv, Xs, ys, others=[scratch.theta])


@pytest.mark.parametrize("penalize", [True, False])
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("d", [3, 256])
def test_a_free_intercept_settles_where_one_class_weighs_nothing(d, convert, penalize):
    """Then w = 0 and b = +-1 cost nothing; sums of weights that cancelled must not lead the intercept on for ever."""
    for seed in range(20):
        X, y = blobs(seed, n=20, d=d)
        label = (-1.0) ** seed
        weight = np.random.default_rng(seed).random(20) * (y == label)
        objective = make_objective("hinge", C=1.0 + seed, penalize_intercept=penalize)
        victim = Victim(convert(X), y, objective, sample_weight=weight)
        victim.add(X[0], label, 3)
        assert victim.is_tight()
        victim.check()
        assert victim.n_repairs == 0
        if not penalize:
            assert_allclose(victim.theta[:-1], 0.0, atol=1e-6)
            assert label * victim.theta[-1] > 1.0 - 1e-6


def test_no_bin_of_rows_is_narrower_than_the_rounding_of_a_deadline():
    """Margins that float64 knows to 1e-10 only: the model creeps after it has gone far, by less than can be added to
    the way it went, and rows beyond the last bin would be looked for."""
    X = 1e5 + np.array(
        [
            [0.56, 1.33, -0.29, 0.67, 0.15, 1.43, -0.38, 0.93, -1.42, 0.6],
            [-1.16, 0.54, 0.53, -1.73, -0.17, 1.58, 0.99, -0.73, -1.82, -0.78],
            [-1.52, 0.55, 0.72, -1.82, -0.2, 1.61, 0.55, -0.88, -1.94, -0.57],
            [5.45, -36.18, -25.9, -41.18, 6.87, 9.36, 22.03, -25.53, -0.83, -7.56],
            [-0.01, 1.41, -0.61, 1.29, 0.13, 1.47, 0.29, -0.05, -1.47, -0.32],
        ]
    )
    victim = Victim(sp.csr_matrix(X[:2]), np.array([1.0, -1.0]), make_objective("hinge", C=74.0, fit_intercept=False))
    for i, label, count in ((2, -1.0, 1000), (3, 1.0, 1), (2, 1.0, 1), (4, 1.0, 2), (4, 1.0, 2)):
        victim.add(X[i], label, count)
        victim.check()
        assert victim.is_tight()


def test_a_refit_of_few_features_takes_few_line_searches():
    """A row that comes to the margin or leaves it is a turn of the minimiser's path: here less than four. The path
    leads to the minimiser: a line search in ten refits is left to do."""
    n_steps = n_turns = n_refits = 0
    for seed in range(10):
        X, y = blobs(seed, n=60, d=3)
        victim = Victim(X, y, make_objective("hinge", C=1e3))
        core = victim._solver.core
        n_steps, n_turns = n_steps - core.n_steps, n_turns - core.n_turns
        for x in np.random.default_rng(seed).normal(size=(40, 3)):
            victim.add(x, 1.0)
            n_refits += 1
        n_steps, n_turns = n_steps + core.n_steps, n_turns + core.n_turns
    assert n_turns < 4 * n_refits
    assert n_steps < 0.1 * n_refits


@every_convention
@every_loss
def test_a_count_is_so_many_single_additions(loss, conv):
    X, y = blobs(15)
    objective = make_objective(loss, **conv._asdict())
    a, b = (Victim(X, y, objective, tol=TOL) for _ in range(2))
    x = X.max(axis=0)
    a.add(x, -1.0, 5)
    for _ in range(5):
        b.add(x, -1.0)
    Xs, ys = np.vstack([X, np.repeat(x[None, :], 5, axis=0)]), np.append(y, np.full(5, -1.0))
    assert_same_model(loss, conv, a.theta, b.theta, Xs, ys, atol=1e-7)  # two solutions to 1e-8


@every_convention
@every_loss
def test_an_incremental_victim_on_csr_and_with_weights(loss, conv):
    rng = np.random.default_rng(16)
    X, y = blobs(16, n=60, d=6)
    X *= rng.random(X.shape) < 0.4
    weight = rng.uniform(0.0, 2.0, size=60)
    objective = make_objective(loss, **conv._asdict())
    dense = Victim(X, y, objective, sample_weight=weight, tol=TOL)
    csr = Victim(sp.csr_matrix(X), y, objective, sample_weight=weight, tol=TOL)
    X_all, y_all, c_all = [X], [y], [weight]
    for x, label, count in stream(rng, X, y, 20):
        dense.add(x, label, count)
        csr.add(x, label, count)
        X_all.append(x[None, :])
        y_all.append([label])
        c_all.append([float(count)])
    Xs, ys, cs = np.vstack(X_all), np.concatenate(y_all), np.concatenate(c_all)
    scratch = ref.refit(loss, conv, Xs, ys, cs)
    for victim in (dense, csr):
        check_proved(victim, loss, conv, Xs, ys, cs, others=[scratch])
        assert_same_model(loss, conv, victim.theta, scratch, Xs, ys, cs)


@every_loss
def test_a_victim_never_changes_its_data_and_repeats_bit_for_bit(loss):
    X, y = binary(17)
    objective = make_objective(loss, alpha=0.05)
    before = X.copy(), y.copy()
    models = []
    for _ in range(2):
        victim = Victim(X, y, objective)
        for x, label, count in stream(np.random.default_rng(17), X, y, 25):
            victim.add(x, label, count)
        models.append(victim.theta)
    assert_array_equal(models[0], models[1])
    assert_array_equal(X, before[0])
    assert_array_equal(y, before[1])


# ---------------------------------------------------------------- smooth losses


def exact_terms(loss, m):
    """phi(m), s = -phi'(m) and the most that shrinking s by t costs, over t^2, in extended precision."""
    m = np.asarray(m, dtype=np.longdouble)
    if loss == "squared_hinge":
        short = np.maximum(1 - m, 0)
        return short**2, 2 * short, short**2
    with np.errstate(over="ignore", under="ignore"):
        e = np.exp(-np.abs(m))
        return np.log1p(e) + np.maximum(-m, 0), np.where(m > 0, e, 1) / (1 + e), np.exp(-m)


@every_smooth_loss
def test_the_losses_of_the_kernel_are_exact_to_a_few_units_in_the_last_place(loss):
    """phi, phi' and the cost of shrinking at single margins from -1e3 to 1e3, and at 0, 1e-300 and so on.

    4 units in the last place: an exponential (1), a sum, a quotient and, for phi, a logarithm of it. Below
    1e-300 the unit is that of the smallest numbers, and overflow is infinity.
    """
    rng = np.random.default_rng(18)
    margins = [rng.uniform(-40.0, 40.0, 2000), rng.uniform(-1e3, 1e3, 2000), rng.normal(size=500) * 1e-3]
    margins = np.concatenate([*margins, 10.0 ** rng.uniform(-300.0, 0.0, 200), [0.0, 1.0, 745.2, -745.2, 1e3, -1e3]])
    one, sums = np.ones(1), np.empty(6)
    found = np.empty((len(margins), 3))
    for i, m in enumerate(margins):
        theta = np.array([m, 0.0])
        _core.loss_pass(_core.KERNELS[loss], np.ones((1, 1)), 0, 1, one, one, one, theta, False, True, sums)
        assert sums[0] == sums[3] == sums[4]  # one row x = 1 of norm 1: its pull is its slope
        found[i] = sums[[2, 3, 5]]
    for got, exact in zip(found.T, exact_terms(loss, margins), strict=True):
        with np.errstate(over="ignore"):
            unit = np.spacing(np.abs(exact.astype(float)))
            finite = np.isfinite(exact.astype(float))
        assert np.all(np.abs(got - exact)[finite] <= 4 * unit[finite])
        assert np.all(np.isinf(got[~finite]))


@every_smooth_loss
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 200),
    d=st.integers(1, 40),
    log_size=st.integers(0, 10),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    intercept=st.booleans(),
    shrink=st.booleans(),
)
@settings(max_examples=60)
def test_one_pass_is_plain_numpy(loss, seed, n, d, log_size, density, intercept, shrink):
    """The sums of `_core.loss_pass` over any range of rows, dense and CSR, empty rows and weights of 0 among them.

    Entries of X and theta are small whole numbers over a power of 2, so the margins (up to 1e3 and beyond) are exact
    and the sums alone are tested: to the 40 EPS of the sum of the sizes of their terms that the kernel
    promises, and 4 for the terms themselves.
    """
    rng = np.random.default_rng(seed)
    X = rng.integers(-8, 9, size=(n, d)) * (rng.random((n, d)) < density)
    X = X.astype(float)
    y = rng.choice([-1.0, 1.0], size=n)
    weight = rng.choice([0.0, 1.0, 0.3, 7.0], size=n)
    theta = rng.integers(-16, 17, size=d + 1) * 2.0 ** (log_size - 8)
    theta[-1] *= intercept
    norm = np.sqrt((X * X).sum(axis=1) + 1.0)
    start, stop = sorted(rng.integers(0, n + 1, size=2))
    value, slope, cost = exact_terms(loss, y * ref.scores(theta, X))
    pull = (weight * slope * y)[:, None] * np.column_stack([X, np.full(n, float(intercept))])
    columns = [pull, (weight * value)[:, None], (weight * slope)[:, None], (weight * slope * norm)[:, None]]
    terms = np.column_stack(columns)[start:stop]
    for rows in (X, sp.csr_matrix(X)):
        sums = np.full(d + 5, np.nan)
        arguments = (start, stop, y, weight, norm, theta, intercept, shrink, sums)
        _core.loss_pass(_core.KERNELS[loss], rows, *arguments)
        # 1e-300: what is smaller underflows
        assert np.all(np.abs(sums[:-1] - terms.sum(axis=0)) <= 44 * ref.EPS * np.abs(terms).sum(axis=0) + 1e-300)
        if shrink:
            counted = np.arange(start, stop)[weight[start:stop] > 0]
            with np.errstate(over="ignore"):
                total = float((weight * cost)[counted].sum()) if len(counted) else 0.0
            assert_allclose(sums[-1], total, rtol=(n + 4) * ref.EPS)  # added plainly
        else:
            assert sums[-1] == 0.0


def test_one_pass_refuses_arrays_that_do_not_fit():
    X, y = blobs(19)
    one, theta = np.ones(len(y)), np.zeros(5)
    good = [_core.KERNELS["log_loss"], X, 0, len(y), y, one, one, theta, True, True, np.empty(9)]
    _core.loss_pass(*good)
    for position, wrong in ((2, -1), (3, len(y) + 1), (4, y[1:]), (5, one[1:]), (6, one[1:]), (7, theta[1:])):
        with pytest.raises(ValueError, match="shapes disagree"):
            _core.loss_pass(*good[:position], wrong, *good[position + 1 :])
    with pytest.raises(ValueError, match="shapes disagree"):
        _core.loss_pass(*good[:-1], np.empty(8))


def table(rng, n, d=60):
    """Rows as a table has them: a lattice, then one-hot columns of three levels, one of them without a column."""
    level = rng.integers(0, 3, size=(n, d // 2))
    one_hot = np.stack([level == 0, level == 1], axis=2).reshape(n, -1)[:, 1:]
    return np.column_stack([rng.integers(0, 40, size=n) / 39.0, one_hot])


@pytest.mark.parametrize("n", [1, 300, 3000])
def test_codes_say_all_there_is_to_say_about_a_table(n):
    """Row i is the sum of the patterns of its codes, bit for bit; fewer than a code for six columns, or none."""
    X = table(np.random.default_rng(23), n)
    codes, patterns = row_codes(X)
    assert codes.shape[0] == n
    assert 6 * codes.shape[1] <= X.shape[1]
    assert_array_equal(patterns.toarray()[codes].sum(axis=1), X)
    assert patterns.shape == (codes.max() + 1, X.shape[1])


def test_rows_of_many_values_have_no_codes():
    rng = np.random.default_rng(24)
    X = table(rng, 3000)
    assert row_codes(rng.random((3000, 5))) is None
    X[:, 5] = rng.random(3000)
    assert row_codes(X) is None
    assert row_codes(rng.integers(0, 200, size=(3000, 8)).astype(float)) is None  # a code for every column


@every_smooth_loss
@pytest.mark.parametrize("n", [0, 5, 1000, 20_000])
def test_one_pass_over_codes_is_plain_numpy(loss, n):
    """The sums of `_core.coded_loss_pass` over rows with a 1 at each of their codes, over several chunks of rows.

    Entries of theta are whole numbers over a power of 2, so that margins are exact, as in the test of `loss_pass`.
    """
    rng = np.random.default_rng(n)
    d, g = 40, 4
    codes = (rng.integers(0, d // g, size=(n, g)) + np.arange(g) * (d // g)).astype(np.uint16)
    X = np.zeros((n, d))
    X[np.arange(n)[:, None], codes] = 1.0
    members, ends = [np.zeros(0, dtype=int)], []
    for start in range(0, n, _core.CHUNK):
        chunk = codes[start : start + _core.CHUNK]
        rows = [np.flatnonzero((chunk == k).any(axis=1)) for k in range(d)]
        members.extend(rows)
        ends.append(np.append(0, np.cumsum([len(r) for r in rows])))
    members, ends = np.concatenate(members).astype(np.uint16), np.array(ends, dtype=np.int32).reshape(-1, d + 1)
    y = rng.choice([-1.0, 1.0], size=n)
    weight = rng.choice([0.0, 1.0, 0.3, 7.0], size=n)
    norm = np.full(n, np.sqrt(g + 1.0))
    theta = rng.integers(-64, 65, size=d + 1) / 16.0
    value, slope, cost = exact_terms(loss, y * ref.scores(theta, X))
    s = weight * slope
    terms = np.column_stack([(s * y)[:, None] * X, s * y, weight * value, s, s * norm, weight * cost])
    arguments = [codes, members, ends, y, weight, norm, np.eye(d), theta, True, True, np.full(d + 5, np.nan)]
    _core.coded_loss_pass(_core.KERNELS[loss], *arguments)
    bound = (_core.CHUNK / 8 + 44) * ref.EPS * np.abs(terms).sum(axis=0)
    assert np.all(np.abs(arguments[-1] - terms.sum(axis=0)) <= bound)
    shorter = {
        1: members[1:],
        2: ends[1:],
        3: y[1:],
        4: weight[1:],
        5: norm[1:],
        6: np.eye(d - 1),
        7: theta[1:],
        10: np.zeros(d),
    }
    for position, wrong in shorter.items():
        if n:
            with pytest.raises(ValueError, match="shapes disagree"):
                _core.coded_loss_pass(_core.KERNELS[loss], *arguments[:position], wrong, *arguments[position + 1 :])


@every_convention
@every_smooth_loss
def test_a_victim_of_coded_rows_is_the_same_victim(loss, conv, monkeypatch):
    """Codes taken up after three points, with weights, equal rows and rows of both labels: one model all along."""
    monkeypatch.setattr(smooth_module, "CODE_AFTER", 3)
    monkeypatch.setattr(smooth_module, "CODE_FROM", 0)
    rng = np.random.default_rng(25)
    X = table(rng, 200)
    X = np.vstack([X, X[:50], X[:20]])
    y = np.where(X @ rng.normal(size=X.shape[1]) + rng.normal(size=len(X)) > 0.0, 1.0, -1.0)
    weight = rng.integers(0, 3, size=len(y)).astype(float)
    objective = make_objective(loss, **conv._asdict())
    victim, again = (Victim(X, y, objective, sample_weight=weight, tol=TOL) for _ in range(2))
    added = list(stream(rng, X, y, 12))
    for x, label, count in added:
        victim.add(x, label, count)
        again.add(x, label, count)
    assert victim._solver.coded is not None
    assert len(victim._solver.coded[0]) < len(y)
    Xs = np.vstack([X, [x for x, _, _ in added]])
    ys, cs = np.append(y, [label for _, label, _ in added]), np.append(weight, [float(c) for _, _, c in added])
    scratch = ref.refit(loss, conv, Xs, ys, cs)
    check_proved(victim, loss, conv, Xs, ys, cs, others=[scratch])
    assert_same_model(loss, conv, victim.theta, scratch, Xs, ys, cs)
    assert_allclose(victim.clean_loss(), weight @ ref.phi(loss, y * ref.scores(victim.theta, X)), rtol=1e-13)
    assert_array_equal(victim.theta, again.theta)


def exact_objective(loss, conv, theta, X, y):
    """P(theta) and its gradient in extended precision."""
    rows = np.column_stack([X, np.full(len(y), float(conv.fit_intercept))]).astype(np.longdouble) * y[:, None]
    theta = theta.astype(np.longdouble)
    value, slope, _ = exact_terms(loss, rows @ theta)
    ridge = np.append(np.ones(X.shape[1]), conv.r) * np.longdouble(conv.k(len(y)))
    return value.sum() + (ridge * theta) @ theta / 2, ridge * theta - rows.T @ slope


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-8])
@every_convention
@every_smooth_loss
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), log_k=st.floats(-4.0, 3.0))
@settings(max_examples=8)
def test_the_gap_bounds_the_suboptimality_rounding_included(loss, conv, tol, seed, kind, log_k):
    """P(theta) - min P <= gap with nothing added for rounding: P in extended precision, and for min P the best of
    the models near a tight fit after Newton steps whose gradients are in extended precision."""
    X, y = kind(seed)
    k = 10.0**log_k
    conv = conv._replace(C=1.0 / k) if conv.C is not None else conv._replace(alpha=k / len(y))
    objective = make_objective(loss, **conv._asdict())
    fit = refit(X, y, objective, tol=tol)
    best = refit(X, y, objective, tol=1e-10).theta.astype(np.longdouble)
    least = exact_objective(loss, conv, best, X, y)[0]
    rows = np.column_stack([X, np.full(len(y), float(conv.fit_intercept))])
    for _ in range(3):
        curvature = ref.d2phi(loss, y * (rows @ best.astype(float)))
        H = (rows * curvature[:, None]).T @ rows + k * np.diag(np.append(np.ones(X.shape[1]), conv.r))
        best = best - np.linalg.lstsq(H, exact_objective(loss, conv, best, X, y)[1].astype(float))[0]
        least = min(least, exact_objective(loss, conv, best, X, y)[0])
    value = exact_objective(loss, conv, fit.theta, X, y)[0]
    assert value - least <= fit.gap + 4 * len(y) * np.finfo(np.longdouble).eps * value


@every_convention
@every_smooth_loss
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    log_k=st.sampled_from([-2.0, 0.0, 4.0]),
    log_distance=st.floats(-6.0, 1.0),
    along=st.sampled_from(["everything", "the intercept"]),
)
@settings(max_examples=15)
def test_the_gap_is_that_of_a_dual_point(loss, conv, seed, kind, log_k, log_distance, along):
    """At any model: gap >= P(theta) - D(s), s = -phi'(margin), shrunk in one class so that sum(c s y) = 0 if the
    intercept is free. (A tol of 1e9 takes the starting model as it is.)"""
    X, y = kind(seed)
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 4, size=len(y)).astype(float)
    k = 10.0**log_k
    conv = conv._replace(C=1.0 / k) if conv.C is not None else conv._replace(alpha=k / weight.sum())
    objective = make_objective(loss, **conv._asdict())
    direction = rng.normal(size=X.shape[1] + 1)
    direction[:-1] *= along == "everything"
    direction[-1] *= conv.fit_intercept
    theta = refit(X, y, objective, sample_weight=weight).theta + 10.0**log_distance * direction
    fit = refit(X, y, objective, sample_weight=weight, theta0=theta, tol=1e9)
    assert_array_equal(fit.theta, theta)
    s = -ref.dphi(loss, y * ref.scores(theta, X))
    if conv.fit_intercept and not conv.penalize_intercept:
        positive, negative = (weight[y == label] @ s[y == label] for label in (1.0, -1.0))
        s[y > 0] *= min(1.0, negative / max(positive, 1e-300))
        s[y < 0] *= min(1.0, positive / max(negative, 1e-300))
    P = ref.objective(loss, conv, theta, X, y, weight)
    noise = rounding(loss, conv, theta, X, y, weight)
    assert P - ref.dual_objective(loss, conv, s, X, y, weight) <= fit.gap * (1.0 + 1e-9) + noise


class Plain(Loss):
    """The equations of a built-in loss, with no compiled twin."""

    def __init__(self, known):
        self.name, self.known = f"plain {known}", known

    def value(self, margin):
        return ref.phi(self.known, margin)

    def derivative(self, margin):
        return ref.dphi(self.known, margin)

    def second_derivative(self, margin):
        return ref.d2phi(self.known, margin)


@pytest.mark.parametrize("dense_hessian, sparse_hessian", [(0, 0), (2500, 0), (2500, 20_000)])
@every_convention
@every_smooth_loss
def test_every_way_of_solving_newtons_equations_is_the_same_refit(
    loss, conv, dense_hessian, sparse_hessian, monkeypatch
):
    """The kept inverse and conjugate gradients; compiled and plain; dense and CSR: one model after every point."""
    monkeypatch.setattr(smooth_module, "DENSE_HESSIAN", dense_hessian)
    monkeypatch.setattr(smooth_module, "SPARSE_HESSIAN", sparse_hessian)
    rng = np.random.default_rng(20)
    X, y = blobs(20, n=60, d=6)
    X *= rng.random(X.shape) < 0.5
    objectives = [make_objective(name, **conv._asdict()) for name in (loss, Plain(loss))]
    victims = [Victim(rows, y, o, tol=TOL) for o in objectives for rows in (X, sp.csr_matrix(X))]
    X_all, y_all = [X], [y]
    for x, label, count in stream(rng, X, y, 12):
        X_all.append(np.repeat(x[None, :], count, axis=0))
        y_all.append(np.full(count, label))
        for victim in victims:
            victim.add(x, label, count)
    Xs, ys = np.vstack(X_all), np.concatenate(y_all)
    scratch = ref.refit(loss, conv, Xs, ys)
    for victim in victims:
        assert_same_model(loss, conv, victim.theta, scratch, Xs, ys)
        assert_allclose(victim.clean_loss(), ref.phi(loss, y * ref.scores(victim.theta, X)).sum(), rtol=1e-13)
        if victim.objective is objectives[0]:
            check_proved(victim, loss, conv, Xs, ys, others=[scratch])


@every_smooth_loss
def test_a_refit_takes_about_two_reads_of_the_rows(loss):
    """One where the kept inverse leads, and one that proves the correction; a third where many rows cross a kink."""
    rng = np.random.default_rng(21)
    X, y = blobs(21, n=5000, d=10)
    victim = Victim(X, y, make_objective(loss, alpha=0.05))
    before, points = victim.n_iter, rng.normal(size=(5, 10))
    for _ in range(100):
        i = rng.integers(5)
        victim.add(points[i], (-1.0, 1.0)[i % 2])
    assert victim.n_iter - before <= 350


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@every_smooth_loss
def test_refits_copy_nothing_of_the_size_of_the_data(loss, convert):
    rng = np.random.default_rng(22)
    X = rng.random((20_000, 50))
    y = np.where(X @ rng.normal(size=50) > 0.0, 1.0, -1.0)
    X = convert(X)
    size = X.nbytes if convert is np.asarray else X.data.nbytes + X.indices.nbytes
    tracemalloc.start()
    victim = Victim(X, y, make_objective(loss, alpha=0.05))
    for _ in range(5):
        victim.add(rng.random(50), 1.0)
    victim._solver.inverse = None  # the Hessian too
    victim.add(rng.random(50), -1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 0.15 * size


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalize_intercept", [True, False])
def test_weights_changed_in_place_give_the_model_of_a_training_from_scratch(loss, sparse, penalize_intercept):
    """The minimiser is one, whatever weights the rows had before: large, small and none, and whatever k was."""
    rng = np.random.default_rng(5)
    X = rng.random((80, 6))
    y = np.where(X @ rng.normal(size=6) + 0.3 * rng.normal(size=80) > 0.2, 1.0, -1.0)
    X = sp.csr_matrix(X) if sparse else X
    objective = make_objective(loss, alpha=0.05, penalize_intercept=penalize_intercept)
    victim = Victim(X, y, objective, np.ones(80), 80.0)
    for turn in range(12):
        weight = rng.choice([0.0, 0.1, 1.0, 30.0], size=80)
        weight[:2] = 1.0
        amount = [weight.sum(), 10.0, 500.0][turn % 3]
        victim.reweigh(objective, weight, amount, theta0=[None, rng.normal(size=7)][turn % 2])
        fresh = refit(X, y, objective, weight, amount)
        # tol = 1e-8 for both, relative to the size of the model
        assert_allclose(victim.theta, fresh.theta, atol=3e-8 * max(1.0, np.abs(fresh.theta).max()))
        assert victim.is_tight()
        assert victim.k == 0.05 * amount


@pytest.mark.parametrize("tol", [1e-6, 1e-8])
@pytest.mark.parametrize("scale", [1e-5, 1e-8])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_a_model_that_hardly_moves_a_margin_is_as_accurate_as_any(loss, scale, tol):
    """With every margin 0 but for 1e-8, ``k w = -phi'(0) sum y x``: a refit stops by the model's own size.

    (By what moves a margin by 1, the start at zero would be near enough.)
    """
    rng = np.random.default_rng(5)
    X, y = scale * rng.random((30, 3)), np.where(rng.random(30) < 0.6, 1.0, -1.0)
    objective = make_objective(loss, alpha=0.2, fit_intercept=False)
    fit = refit(X, y, objective, tol=tol)
    slope = -float(objective.loss.derivative(np.array(0.0 if loss != "hinge" else -1.0)))
    expected = slope * (y @ X) / (0.2 * len(y))
    # margins of at most |x| |w| change the slope by as much: below 1e-9 for the larger scale
    assert np.linalg.norm(fit.theta[:-1] - expected) <= max(10 * tol, 1e-7) * np.linalg.norm(expected)


@pytest.mark.parametrize("conv", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_rows_that_weigh_nothing_are_not_looked_at(conv):
    """Half of the rows come and go: the walk of the others does not see them, and all models are those from scratch."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(4000, 12))
    y = np.where(X @ rng.normal(size=12) + 2.0 * rng.normal(size=4000) > 0, 1.0, -1.0)
    objective = make_objective("hinge", C=0.1)
    half = (np.arange(4000) < 2000).astype(float)
    looks = []
    for rows in (4000, 2000):
        victim = Victim(conv(X[:rows]), y[:rows], objective, sample_weight=half[:rows], tol=1e-10)
        before = victim._solver.core.n_looks
        victim.reweigh(objective, half[:rows] * (1.0 + (np.arange(rows) % 3 == 0)))
        looks.append(victim._solver.core.n_looks - before)
    assert looks[0] < 1.3 * looks[1]  # the metric is that of all rows
    for weight in (1.0 - half, half, np.ones(4000), half):
        with_all = Victim(conv(X), y, objective, sample_weight=np.ones(4000), tol=1e-10)
        with_all.reweigh(objective, weight)
        some = weight > 0.0
        alone = Victim(conv(X[some]), y[some], objective, tol=1e-10)
        assert_allclose(with_all.theta, alone.theta, atol=1e-8 * np.abs(alone.theta).max())
        assert with_all.is_tight()
        assert with_all._solver.core.check()[1] == 0
        assert not with_all._solver.core.invariants()


@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
def test_rows_behind_the_last_that_weighs_something_are_not_read(loss, monkeypatch):
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(300, 5)), np.where(rng.random(300) < 0.4, 1.0, -1.0)
    weight = np.where(np.arange(300) < 210, rng.integers(0, 3, 300), 0.0)
    weight[209] = 1.0
    ends, sums = [], smooth_module.SmoothSolver._sums
    monkeypatch.setattr(
        smooth_module.SmoothSolver, "_sums", lambda self, *args: ends.append(args[3]) or sums(self, *args)
    )
    fit = refit(X, y, make_objective(loss, C=1.0), sample_weight=weight)
    assert set(ends) == {210}
    assert_allclose(fit.theta, refit(X[:210], y[:210], make_objective(loss, C=1.0), sample_weight=weight[:210]).theta)
