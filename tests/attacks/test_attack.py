"""Algorithm 1 (F2): refit, find the point of maximum loss difference, add it, stop."""

import math

import numpy as np
import pytest
import reference as ref
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtpfast import CandidatePool, FeatureSpace
from mtpfast.attacks.online import poison
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import Victim, refit

every_loss = pytest.mark.parametrize("loss", ref.LOSSES)
every_convention = pytest.mark.parametrize("conv", ref.CONVENTIONS, ids=ref.convention_id)
HISTORY = {"n_points", "loss_difference", "distance", "clean_loss", "lower_bound", "gap", "loss_difference_upper_bound"}


def problem(seed, n=60, d=4):
    """Clean rows in the unit box and, to be turned into a target, the same rows with noisier labels."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    w = rng.normal(size=d)
    score = X @ w - np.median(X @ w)
    y = np.where(score + 0.1 * rng.normal(size=n) > 0, 1.0, -1.0)
    return X, y


def planted_target(loss, conv, X, y, seed=0, n_plant=25):
    """The model for clean rows and n_plant points of the box: attainable, with at most n_plant points.

    The points lie inside the box and carry the label that the clean model denies them: the attack, which
    prefers corners, comes near the target without hitting it.
    """
    rng = np.random.default_rng(seed)
    objective = make_objective(loss, **conv._asdict())
    clean = refit(X, y, objective).theta
    points = rng.uniform(0.2, 0.8, size=(n_plant, X.shape[1]))
    labels = np.where(ref.scores(clean, points) > 0, -1.0, 1.0)
    return refit(np.vstack([X, points]), np.append(y, labels), objective).theta


def pair(theta):
    return theta[:-1], theta[-1]


def dense(A):
    return A.toarray() if sp.issparse(A) else np.asarray(A)


def attack(loss, conv, X, y, target, **options):
    options = {"feasible_set": FeatureSpace(), **options}
    return poison(X, y, pair(target), loss=loss, **conv._asdict(), **options)


# ---------------------------------------------------------------- the algorithm


@every_convention
@every_loss
def test_every_step_adds_the_point_of_maximum_loss_difference(loss, conv):
    """Replay: retrain on every prefix with another solver; the point added next attains the maximum over F."""
    X, y = problem(1)
    target = planted_target(loss, conv, X, y)
    res = attack(loss, conv, X, y, target, tol=0.0, max_points=12)
    points, labels = dense(res.X_poison), np.asarray(res.y_poison)
    n = res.n_points
    assert n == 12 or res.loss_difference <= 1e-12  # the hinge can hit its target exactly: nothing is left to add
    assert_array_equal(res.history["n_points"], np.arange(n + 1))
    lower, upper = np.zeros(4), np.ones(4)
    for t in range(n + 1):
        theta = ref.refit(loss, conv, np.vstack([X, points[:t]]), np.append(y, labels[:t]))
        best = ref.oracle_frontier(loss, theta, target, lower, upper)
        # 1e-5: a model good to 1e-6, and a free intercept of the hinge that need not be unique
        if loss == "hinge" and conv.fit_intercept and not conv.penalize_intercept:
            theta = res.path[t]
            best = ref.oracle_frontier(loss, theta, target, lower, upper)
        assert_allclose(res.path[t], theta, atol=1e-6)
        assert_allclose(res.history["loss_difference"][t], best.value, atol=1e-5)
        assert_allclose(res.history["distance"][t], np.linalg.norm(res.path[t] - target), rtol=1e-9, atol=1e-12)
        clean = ref.phi(loss, y * ref.scores(res.path[t], X)).sum()
        assert_allclose(res.history["clean_loss"][t], clean, rtol=1e-9, atol=1e-9)
        if t < n:
            attained = ref.difference(loss, res.path[t], target, points[t], labels[t])
            assert attained >= best.value - 1e-5


@every_convention
@every_loss
def test_the_recorded_bound_is_f3_of_the_models_visited_and_never_above_the_planted_size(loss, conv):
    """lower_bound = the ceiling of the largest F3 along the path, with J on the clean rows alone."""
    X, y = problem(2)
    target = planted_target(loss, conv, X, y, n_plant=25)
    res = attack(loss, conv, X, y, target, tol=0.0, max_points=40)
    expected = ref.path_bound(loss, conv, res.path, target, X, y, 0.0, 1.0)
    # the target's own gap is at most k/2 (1e-8)^2 here and lowers the bound by next to nothing
    assert res.lower_bound == np.ceil(np.max(res.history["lower_bound"]) * (1 - 1e-8) - 1e-9)
    assert res.lower_bound in (np.ceil(expected * (1 - 1e-6)), np.ceil(expected))
    assert res.lower_bound <= 25


@every_convention
@every_loss
def test_the_attack_reaches_an_attainable_target(loss, conv):
    """FTL regret: D = O(log T / T) for a target that a poisoned training set induces."""
    X, y = problem(3)
    target = planted_target(loss, conv, X, y, seed=3)
    res = attack(loss, conv, X, y, target, tol=0.05, max_points=3000)
    assert res.status == "reached"
    assert res.loss_difference <= 0.05
    theta = ref.refit(loss, conv, np.vstack([X, dense(res.X_poison)]), np.append(y, res.y_poison))
    value = ref.oracle_frontier(loss, theta, target, 0.0, 1.0).value
    if not (loss == "hinge" and conv.fit_intercept and not conv.penalize_intercept):
        assert value <= 0.05 + 1e-5  # retrained to 1e-6
        assert_allclose(np.append(res.coef_.ravel(), res.intercept_), theta, atol=1e-6)
    assert np.all(FeatureSpace().contains(res.X_poison))


def test_the_plain_loop_visits_the_same_models():
    """Algorithm 1 with refits from scratch and a scanned frontier gives the same D at every step."""
    X, y = problem(4, n=40, d=3)
    for loss in ref.LOSSES:
        conv = ref.Convention(alpha=0.05)
        target = planted_target(loss, conv, X, y, seed=4)
        plain = ref.algorithm_1(loss, conv, X, y, target, np.zeros(3), np.ones(3), tol=0.1, max_points=40)
        res = attack(loss, conv, X, y, target, tol=0.1, max_points=40)
        n = min(10, res.n_points, len(plain.y_poison))
        # the first steps only: later ones may differ by ties
        assert_allclose(res.history["loss_difference"][:n], plain.differences[:n], atol=1e-5)
        assert abs(res.n_points - len(plain.y_poison)) <= max(2, 0.1 * res.n_points)


# ---------------------------------------------------------------- what is in a result


def small(loss="hinge", **options):
    X, y = problem(5)
    conv = ref.Convention(alpha=0.05)
    target = planted_target(loss, conv, X, y, seed=5)
    return X, y, target, attack(loss, conv, X, y, target, **{"tol": 0.0, "max_points": 30, **options})


@every_loss
def test_any_prefix_is_the_attack_of_that_size(loss):
    """The points do not depend on the budget: at_budget(k) is the attack with max_points = k."""
    X, y, target, res = small(loss)
    for k in (0, 1, 7, 29, 30):
        short = attack(loss, ref.Convention(alpha=0.05), X, y, target, tol=0.0, max_points=k) if k else None
        prefix = res.at_budget(k)
        assert prefix.n_points == k
        assert_array_equal(dense(prefix.X_poison), dense(res.X_poison)[:k])
        assert_array_equal(prefix.y_poison, res.y_poison[:k])
        assert_array_equal(prefix.path[-1], res.path[k])
        if short is not None:
            assert_array_equal(dense(short.X_poison), dense(prefix.X_poison))
            assert_array_equal(short.coef_, prefix.coef_)
            assert short.lower_bound == prefix.lower_bound
            assert short.loss_difference == prefix.loss_difference


def test_points_are_distinct_and_counts_add_up():
    _, _, _, res = small()
    points = dense(res.points)
    rows = np.column_stack([points, res.labels])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert res.counts.sum() == res.n_points == len(res.y_poison) == len(res.sequence)
    assert_array_equal(dense(res.X_poison), points[res.sequence])
    assert_array_equal(np.bincount(res.sequence, minlength=len(points)), res.counts)


def test_history_has_one_entry_per_model_the_clean_one_first():
    X, y, target, res = small()
    assert set(res.history) >= HISTORY
    for name, values in res.history.items():
        assert len(values) == len(res.path) == 31, name
    clean = ref.refit("hinge", ref.Convention(alpha=0.05), X, y)
    assert_allclose(res.path[0], clean, atol=1e-6)  # another solver
    assert res.history["n_points"][0] == 0
    assert np.all(res.history["gap"] >= 0.0)
    assert res.lower_bound == np.ceil(max(res.history["lower_bound"]) * (1 - 1e-8) - 1e-9)
    assert res.loss_difference == res.history["loss_difference"][-1]
    assert_allclose(res.distance, np.linalg.norm(res.path[-1] - target), rtol=1e-12)
    assert res.coef_.shape == (1, 4)
    assert res.intercept_.shape == (1,)


@every_loss
def test_the_gap_in_the_history_is_proved_at_every_step(loss):
    """P(theta_t) - P(best) <= gap_t, the best as another solver finds it."""
    X, y, _, res = small(loss)
    conv = ref.Convention(alpha=0.05)
    points, labels = dense(res.X_poison), np.asarray(res.y_poison)
    for t in range(0, 31, 5):
        Xs, ys = np.vstack([X, points[:t]]), np.append(y, labels[:t])
        best = ref.objective(loss, conv, ref.refit(loss, conv, Xs, ys), Xs, ys)
        mine = ref.objective(loss, conv, res.path[t], Xs, ys)
        assert mine - best <= res.history["gap"][t] + 1e-12 * mine  # rounding of sums of 90 terms
        assert res.history["gap"][t] <= 1e-9 * mine


def test_accuracies_are_those_of_the_sets_that_the_caller_names():
    X, y = problem(6)
    rng = np.random.default_rng(6)
    sets = {"test": (rng.random((50, 4)), np.where(rng.random(50) < 0.5, 1.0, -1.0)), "subpopulation": (X[:9], y[:9])}
    conv = ref.Convention(alpha=0.05)
    target = planted_target("hinge", conv, X, y)
    res = attack("hinge", conv, X, y, target, tol=0.0, max_points=10, eval_sets=sets)
    for name, (X_set, y_set) in sets.items():
        expected = [np.mean(np.where(ref.scores(t, X_set) > 0, 1.0, -1.0) == y_set) for t in res.path]
        assert_allclose(res.history[f"accuracy_{name}"], expected, rtol=1e-15)


# ---------------------------------------------------------------- stopping


def test_it_stops_as_soon_as_the_loss_difference_is_within_tol():
    _, _, _, res = small(tol=0.3, max_points=None)
    assert res.status == "reached"
    assert res.history["loss_difference"][-1] <= 0.3
    assert np.all(res.history["loss_difference"][:-1] > 0.3)


def test_it_stops_as_soon_as_the_distance_is_within_tol():
    X, y, target, _ = small(max_points=1)
    res = attack("hinge", ref.Convention(alpha=0.05), X, y, target, stop="distance", tol=0.2, max_points=2000)
    assert res.status == "reached"
    assert res.distance <= 0.2
    assert np.all(res.history["distance"][:-1] > 0.2)


def test_it_stops_at_the_budget():
    _, _, _, res = small(tol=0.0, max_points=7)
    assert (res.status, res.n_points) == ("budget", 7)


def test_a_target_that_is_the_clean_model_needs_no_points():
    X, y = problem(7)
    conv = ref.Convention(alpha=0.05)
    clean = refit(X, y, make_objective("hinge", alpha=0.05)).theta
    res = attack("hinge", conv, X, y, clean, tol=1e-6)
    assert (res.status, res.n_points, res.lower_bound) == ("reached", 0, 0)
    assert dense(res.X_poison).shape == (0, 4)
    assert len(res.y_poison) == 0


def test_repeats_adds_that_many_copies_at_once():
    X, y, target, _ = small(max_points=1)
    res = attack("hinge", ref.Convention(alpha=0.05), X, y, target, tol=0.0, max_points=20, repeats=5)
    assert_array_equal(res.history["n_points"], [0, 5, 10, 15, 20])
    blocks = res.sequence.reshape(4, 5)
    assert_array_equal(blocks, np.repeat(blocks[:, :1], 5, axis=1))


def test_a_callback_sees_every_model_and_stops_the_attack():
    seen = []

    def callback(state):
        assert isinstance(state, dict)
        seen.append((state["n_points"], state["loss_difference"]))
        return state["n_points"] >= 9

    _, _, _, res = small(callback=callback)
    assert (res.status, res.n_points) == ("budget", 9)
    assert [n for n, _ in seen] == list(range(10))
    assert_array_equal([D for _, D in seen], res.history["loss_difference"])


def test_interrupting_returns_what_was_found():
    """Ctrl-C (KeyboardInterrupt, here out of the callback) gives a whole result with status "interrupted"."""

    def callback(state):
        if state["n_points"] == 6:
            raise KeyboardInterrupt

    X, y, target, full = small()
    res = attack("hinge", ref.Convention(alpha=0.05), X, y, target, tol=0.0, max_points=30, callback=callback)
    assert res.status == "interrupted"
    assert res.n_points in (5, 6)  # the sixth point may or may not have been accounted for
    assert_array_equal(dense(res.X_poison), dense(full.X_poison)[: res.n_points])
    assert len(res.history["n_points"]) == len(res.path) == res.n_points + 1
    assert_array_equal(res.path[-1], np.append(res.coef_.ravel(), res.intercept_))


@every_loss
def test_resuming_goes_on_where_the_attack_stopped(loss):
    X, y, target, full = small(loss)
    conv = ref.Convention(alpha=0.05)
    first = attack(loss, conv, X, y, target, tol=0.0, max_points=12)
    res = attack(loss, conv, X, y, target, tol=0.0, max_points=30, resume=first)
    assert res.n_points == 30
    assert_array_equal(dense(res.X_poison)[:12], dense(first.X_poison))
    assert_array_equal(res.history["n_points"], np.arange(31))
    assert res.lower_bound >= first.lower_bound
    # resumed from a refit of its own: the same models to the refit's tolerance, as long as no tie is met
    assert_allclose(res.history["loss_difference"][:14], full.history["loss_difference"][:14], atol=1e-6)
    theta = ref.refit(loss, conv, np.vstack([X, dense(res.X_poison)]), np.append(y, res.y_poison))
    assert_allclose(res.path[-1], theta, atol=1e-6)


def test_resuming_with_a_wider_tolerance_has_nothing_to_do():
    X, y, target, res = small(tol=0.3, max_points=None)
    again = attack("hinge", ref.Convention(alpha=0.05), X, y, target, tol=0.3, resume=res)
    assert (again.status, again.n_points) == ("reached", res.n_points)


# ---------------------------------------------------------------- inputs


@every_loss
def test_sparse_stays_sparse_and_gives_the_dense_attack(loss):
    rng = np.random.default_rng(8)
    X = rng.random((80, 12)) * (rng.random((80, 12)) < 0.3)
    y = np.where(X @ rng.normal(size=12) > 0, 1.0, -1.0)
    conv = ref.Convention(alpha=0.05)
    target = planted_target(loss, conv, X, y)
    a = attack(loss, conv, X, y, target, tol=0.0, max_points=15)
    S = sp.csr_matrix(X)
    b = attack(loss, conv, S, y, target, tol=0.0, max_points=15)
    assert sp.issparse(b.X_poison)
    assert sp.issparse(b.points)
    assert_allclose(b.history["loss_difference"], a.history["loss_difference"], atol=1e-6)  # refits to 1e-8
    X_mod, y_mod, mask = b.poisoned(S, y)
    assert sp.issparse(X_mod)
    assert X_mod.shape == (95, 12)
    assert mask.sum() == 15
    assert_array_equal(y_mod[mask], b.y_poison)


@every_loss
def test_a_pool_only_offers_its_rows(loss):
    rng = np.random.default_rng(9)
    X, y = problem(9)
    conv = ref.Convention(alpha=0.05)
    target = planted_target(loss, conv, X, y)
    X_pool = rng.random((30, 4))
    y_pool = np.where(rng.random(30) < 0.5, 1.0, -1.0)
    allowed = {(*row, label) for row, label in zip(X_pool, y_pool, strict=True)}
    for data in (X_pool, sp.csr_matrix(X_pool)):
        res = attack(loss, conv, X, y, target, feasible_set=CandidatePool(data, y_pool), tol=0.0, max_points=20)
        chosen = {(*row, label) for row, label in zip(dense(res.X_poison), res.y_poison, strict=True)}
        assert chosen <= allowed


def test_the_default_feasible_set_is_the_box_of_the_data():
    X, y = problem(10)
    X = 3.0 * X - 1.0
    conv = ref.Convention(alpha=0.05)
    target = planted_target("hinge", conv, X, y)
    res = poison(X, y, pair(target), alpha=0.05, tol=0.0, max_points=15)
    assert np.all(FeatureSpace.from_data(X).contains(res.X_poison))
    explicit = attack("hinge", conv, X, y, target, feasible_set=FeatureSpace.from_data(X), tol=0.0, max_points=15)
    assert_array_equal(dense(res.X_poison), dense(explicit.X_poison))


@every_loss
def test_a_weight_of_two_is_the_row_twice(loss):
    X, y = problem(11)
    weight = np.random.default_rng(11).integers(0, 3, size=60).astype(float)
    rows = np.repeat(np.arange(60), weight.astype(int))
    conv = ref.Convention(alpha=0.05)
    target = planted_target(loss, conv, X, y)
    a = attack(loss, conv, X, y, target, tol=0.0, max_points=10, sample_weight=weight)
    b = attack(loss, conv, X[rows], y[rows], target, tol=0.0, max_points=10)
    assert_allclose(a.history["loss_difference"], b.history["loss_difference"], atol=1e-6)  # refits to 1e-8
    assert a.lower_bound == b.lower_bound


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@every_loss
def test_no_input_is_changed_and_the_result_is_the_same_bits_twice(loss, convert):
    X, y = problem(12)
    conv = ref.Convention(alpha=0.05)
    target = planted_target(loss, conv, X, y)
    data = convert(X.copy())
    arrays = [data.data, data.indices, data.indptr] if sp.issparse(data) else [data]
    lower, upper = np.zeros(4), np.ones(4)
    arrays += [y, target, lower, upper]
    before = [a.copy() for a in arrays]
    results = [
        attack(loss, conv, data, y, target, feasible_set=FeatureSpace(lower, upper), tol=0.0, max_points=25)
        for _ in range(2)
    ]
    for a, b in zip(arrays, before, strict=True):
        assert_array_equal(a, b)
    first, second = results
    assert_array_equal(dense(first.X_poison), dense(second.X_poison))
    assert_array_equal(first.path, second.path)
    for name in first.history:
        assert_array_equal(first.history[name], second.history[name])


def test_bad_options_are_refused_by_name():
    X, y = problem(13)
    target = (np.ones(4), 0.0)
    cases = [
        ({"tol": -1.0}, "tol"),
        ({"max_points": -1}, "max_points"),
        ({"repeats": 0}, "repeats"),
        ({"stop": "accuracy"}, "stop"),
        ({"loss": "absolute"}, "loss"),
        ({"alpha": 0.1, "C": 1.0}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"feasible_set": "box"}, "feasible_set"),
        ({"feasible_set": FeatureSpace([0.0, 0.0], 1.0)}, "4"),
        ({"feasible_set": CandidatePool(np.ones((3, 5)))}, "4"),
        ({"sample_weight": np.ones(3)}, "sample_weight"),
        ({"sample_weight": -np.ones(60)}, "sample_weight"),
    ]
    for options, name in cases:
        with pytest.raises((ValueError, TypeError), match=name):
            poison(X, y, target, **options)
    with pytest.raises(ValueError, match="target"):
        poison(X, y, (np.ones(3), 0.0))
    with pytest.raises(ValueError, match=r"X"):
        poison(np.where(np.arange(240).reshape(60, 4) == 5, np.nan, X), y, target)
    with pytest.raises(ValueError, match=r"y"):
        poison(X, y[:-1], target)
    with pytest.raises(ValueError, match=r"y|class"):
        poison(X, np.ones(60), target)


# ---------------------------------------------------------------- real data: figures of a prototype with other solvers


@pytest.mark.parametrize(
    ("data", "loss", "alpha", "n_flips", "n_points", "spread", "bound"),
    [
        # Corners of the box and kinks of the hinge do not move with the last digits of a model, so the way does not.
        (ref.digits_1_vs_7, "hinge", 0.09, 360, 1386, 0.03, 71.9),
        (ref.breast_cancer, "hinge", 0.01, 570, 119, 0.03, 29.1),
        # Smooth maxima do, and the way to D = 0.02 swings: refits that differ by 1e-9, or rows in another order, gave
        # 394 to 480 and 204 to 240 points. The count is one of these, not a constant of the problem.
        (ref.breast_cancer, "log_loss", 0.01, 570, 434, 0.15, 17.8),
        (ref.digits_1_vs_7, "log_loss", 0.09, 360, 214, 0.15, 88.9),
    ],
    ids=["digits-hinge", "cancer-hinge", "cancer-log_loss", "digits-log_loss"],
)
def test_figures_of_the_prototype(data, loss, alpha, n_flips, n_points, spread, bound):
    """Algorithm 1 to D <= 0.02 within the spread of its ways, and the paper's bound, which hardly depends on the way,
    within 3 %."""
    X, y = data()
    conv = ref.Convention(alpha=alpha)
    target, flips = ref.flip_target(loss, conv, X, y)
    assert flips == n_flips
    res = attack(loss, conv, X, y, target, tol=0.02)
    assert res.status == "reached"
    assert_allclose(res.lower_bound, np.ceil(bound), rtol=0.03)
    assert_allclose(res.n_points, n_points, rtol=spread)
    paper = ref.path_bound(loss, conv, res.path[:: max(1, len(res.path) // 100)], target, X, y, 0.0, 1.0)
    assert 0.9 * bound <= paper <= res.lower_bound  # the same bound at a hundred of the models, by other means


# ---------------------------------------------------------------- the audit at the end


@every_loss
def test_the_last_model_passes_a_full_check(loss, monkeypatch):
    """What is returned has been checked with a full pass at the very end; the last gap is the true one."""
    conv = ref.CONVENTIONS[0]
    X, y = problem(1)
    checks = []

    def check(self):
        gap = original(self)
        checks.append((self.theta, gap))
        return gap

    original = Victim.check
    monkeypatch.setattr(Victim, "check", check)
    res = attack(loss, conv, X, y, planted_target(loss, conv, X, y), tol=0.0, max_points=5)
    [(theta, gap)] = checks
    assert_array_equal(res.theta, theta)
    assert res.history["gap"][-1] == gap
    assert "mend" not in res.message


def test_a_model_that_the_last_check_finds_wrong_is_mended_and_measured_again(monkeypatch):
    """The hinge's state is damaged before the end: that is found, mended, counted and said."""
    conv = ref.CONVENTIONS[0]
    X, y = problem(1)
    target = planted_target("hinge", conv, X, y)
    plain = attack("hinge", conv, X, y, target, tol=0.0, max_points=5)
    damaged = []

    def check(self):
        if not damaged:
            damaged.append(True)
            # as if k had been wrong all along: the model of that state is not the victim's
            self._solver.core.raise_weight(0, 0.0, 0.5 * self.k)
            self._solver._read(self._solver.core.gap())
            self._solver.core.set_weights(np.concatenate([self.weight, self.added_count]), self.k)
        return original(self)

    original = Victim.check
    monkeypatch.setattr(Victim, "check", check)
    mended = attack("hinge", conv, X, y, target, tol=0.0, max_points=5)
    assert "1 of 1 audits of the refit found something to mend" in mended.message
    assert len(mended.history["n_points"]) == len(plain.history["n_points"]) == len(mended.path)
    # the same minimiser by another way: rounding of an exact solver
    assert_allclose(mended.theta, plain.theta, rtol=0, atol=1e-9)
    assert_allclose(mended.history["distance"], plain.history["distance"], rtol=0, atol=1e-9)


# -- "reached" is what is proved ------------------------------------------------------------------


def unproved(monkeypatch, above, nodes):
    """Searches that leave ``above`` open, unless they may look at so many times the nodes: what they were given."""
    import mtpfast.oracle.search

    asked, search = [], mtpfast.oracle.search.find_point

    def short(*args, effort=1, **rules):
        asked.append(effort)
        found = search(*args, effort=effort, **rules)
        return found if effort >= nodes else found._replace(upper_bound=found.upper_bound + above)

    monkeypatch.setattr("mtpfast.oracle.supply.find_point", short)
    return asked


def test_reached_goes_by_the_proved_side(monkeypatch):
    """A search that is short by 0.1 has not reached 0.05: the attack goes on, and ends saying what is proved."""
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    attack = {"X": X, "y": y, "target": ([-1.0], 1.5), "alpha": 0.1, "tol": 0.05}
    sure = poison(**attack)
    assert sure.status == "reached"
    assert sure.loss_difference <= sure.loss_difference_upper_bound <= 0.05
    unproved(monkeypatch, 0.1, math.inf)
    result = poison(**attack, max_points=sure.n_points + 1)
    assert result.status == "budget"
    assert result.loss_difference <= 0.05 < result.loss_difference_upper_bound
    assert "at the best point found, at most" in result.message
    assert result.at_budget(sure.n_points).status == "budget"
    prefix = result.at_budget(sure.n_points)
    assert prefix.loss_difference_upper_bound == result.history["loss_difference_upper_bound"][sure.n_points]
    assert sure.at_budget(2).loss_difference_upper_bound == sure.history["loss_difference_upper_bound"][2]
    assert_array_equal(result.history["loss_difference_upper_bound"][-1], result.loss_difference_upper_bound)
    near = poison(**attack, stop="distance", max_points=500)
    assert (near.status == "reached") == (near.distance <= 0.05)


def test_a_search_that_is_short_near_tol_is_given_more_nodes(monkeypatch):
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    attack = {"X": X, "y": y, "target": ([-1.0], 1.5), "alpha": 0.1, "tol": 0.05}
    sure = poison(**attack)
    asked = unproved(monkeypatch, 0.1, 10)
    result = poison(**attack)
    assert (result.status, result.n_points) == (sure.status, sure.n_points)
    assert asked.count(10) == 1
