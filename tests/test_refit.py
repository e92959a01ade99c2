"""Victim training: three losses, every convention, a proved gap; and the incremental victim."""

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

from mtpfast.losses import make_objective
from mtpfast.refit import Victim, refit

every_loss = pytest.mark.parametrize("loss", ref.LOSSES)
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
    assert 0.0 <= fit.gap <= 0.5 * conv.k(total) * (TOL * max(1.0, np.linalg.norm(fit.theta))) ** 2 + noise
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
