"""What so many points can do: a search, and what its results must survive."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import minmax_scale
from sklearn.svm import LinearSVC

import mtpfast.attacks.damage as damage_module
from mtpfast import (
    Ball,
    CandidatePool,
    DamagePoisoner,
    DocumentSpace,
    FeatureSpace,
    Intersection,
    MinimumPoisoner,
    PoisoningResult,
    Slab,
)
from mtpfast.attacks.aim import METRICS, Aim
from mtpfast.attacks.ascent import best_point, pulls
from mtpfast.attacks.sensitivity import KinkedSensitivity, SmoothSensitivity
from mtpfast.losses.margin import HINGE, LOG_LOSS, SQUARED_HINGE
from mtpfast.losses.objective import make_objective
from mtpfast.training.moving import MovingVictim
from mtpfast.training.victim import refit

LOSSES = ["hinge", "squared_hinge", "log_loss"]
QUICK = {"n_starts": 1, "max_iter": 60}


def digits():
    X, y = load_digits(return_X_y=True)
    rows = (y == 1) | (y == 7)
    return X[rows] / 16.0, y[rows]


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return minmax_scale(X).clip(0.0, 1.0), y


def trained(loss, C, X, y):
    if loss == "log_loss":
        return LogisticRegression(C=C, solver="liblinear", tol=1e-10, max_iter=10_000).fit(X, y)
    return LinearSVC(C=C, loss=loss, tol=1e-10, max_iter=10**6, dual=True, random_state=0).fit(X, y)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_result_is_what_training_returns_and_its_damage_what_that_model_does(loss):
    """scikit-learn, trained on clean rows and poison, is the model, and errs as often as the result says."""
    X, y = digits()
    result = DamagePoisoner(loss, alpha=0.09, budget=15, **QUICK).fit(X, y).attack(eval_sets={"half": (X[::2], y[::2])})
    X_mod, y_mod, _ = result.poisoned(X, y)
    model = trained(loss, 1.0 / (0.09 * len(y_mod)), X_mod, y_mod)
    # liblinear stops at its tol, a part in 1e10 of the gradient; it trains to 1e-6 of the weights with room to spare
    assert_allclose(np.append(model.coef_, model.intercept_), result.theta, atol=1e-5 * np.abs(result.theta).max())
    assert result.damage.after["aimed"] == np.mean(model.predict(X) != y)
    assert result.damage.after["half"] == np.mean(model.predict(X[::2]) != y[::2])
    assert result.verify(X, y).ok


def test_it_says_that_it_is_found_and_not_proved():
    X, y = digits()
    result = DamagePoisoner(alpha=0.09, budget=5, **QUICK).fit(X, y).attack()
    assert "found, not proved" in result.message
    assert repr(result.damage).startswith("<Damage found: error")
    assert "found: error" in repr(result)
    assert "target" not in repr(result)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_does_more_than_label_flips_of_the_same_number(loss):
    """On digits: more than twice the errors of the worst of several label flips, at 3 %."""
    X, y = digits()
    attacker = DamagePoisoner(loss, alpha=0.09, budget=10, **QUICK).fit(X, y)
    errors = attacker.attack().damage.found * len(y)
    signs = np.where(y == 7, 1.0, -1.0)
    margin = signs * attacker.decision_function(X)
    objective, flips = make_objective(loss, alpha=0.09), []
    for rows in (np.argsort(margin)[:10], np.argsort(-margin)[:10], np.random.default_rng(0).permutation(len(y))[:10]):
        theta = refit(np.vstack([X, X[rows]]), np.append(signs, -signs[rows]), objective).theta
        flips.append(np.count_nonzero(signs * (X @ theta[:-1] + theta[-1]) <= 0))
    assert errors > 2 * max(max(flips), 1)


@pytest.mark.parametrize("loss", [HINGE, SQUARED_HINGE, LOG_LOSS])
@pytest.mark.parametrize("free", [False, True])
def test_the_model_moves_with_the_pull_as_the_sensitivity_says(loss, free):
    """``d theta / d n = H^-1 (c s y x~)``: against a difference of two trainings with a little more of one point."""
    X, y = digits()
    signs, rng = np.where(y == 7, 1.0, -1.0), np.random.default_rng(0)
    objective = make_objective(loss, C=0.02, penalize_intercept=not free)
    victim = MovingVictim(X, signs, objective, tol=1e-12)
    point, label, step = 0.3 * rng.random(X.shape[1]), 1.0, 1e-5
    before = victim.place([point], [label], [2.0]).copy()
    margin = label * (point @ before[:-1] + before[-1])
    pull = float(pulls(loss, margin)) * label * np.append(point, 1.0)
    assert margin < 0.9  # it pulls, away from the kink
    if loss.smooth:
        sensitivity = SmoothSensitivity(victim)
        victim.victim._solver.inverse = None  # a fresh Hessian, where BFGS has kept an older one
        sensitivity.look()
    else:
        sensitivity = KinkedSensitivity(X, signs, np.ones(len(y)), objective)
        margins = objective.margins(before, X, signs)
        sensitivity.look(before, victim.k, margins, [point], [label], [2.0], 1e-7)
    predicted = sensitivity.apply(pull)
    after = victim.place([point], [label], [2.0 + step])
    measured = (after - before) / step
    # the trainings are good to 1e-8 of the model or better, divided by the step: 1e-3 of the derivative;
    # a free intercept of the hinge has a penalty of 1e-3 k in the sensitivity
    assert_allclose(predicted, measured, atol=(0.05 if free and not loss.smooth else 5e-3) * np.abs(measured).max())


@pytest.mark.parametrize("loss", [HINGE, SQUARED_HINGE, LOG_LOSS])
@pytest.mark.parametrize("space", [FeatureSpace(-0.5, 1.0), FeatureSpace(0.0, 1.0, one_hot=[[0, 1, 2], [3, 4]])])
def test_the_best_point_pulls_more_than_any_other(loss, space):
    """``max s(m) y v . x~`` over the hull, against 2,000 points of it; of the hinge with margin at most 1."""
    rng, d = np.random.default_rng(1), 6
    for _ in range(10):
        theta, v = rng.standard_normal(d + 1) * 1.5, rng.standard_normal(d + 1)
        for y, region in space.regions(d).items():
            found = best_point(region, y, theta, v, loss)
            corners = np.array([region.linear_argmax(rng.standard_normal(d)) for _ in range(200)])
            shares = rng.dirichlet(np.full(5, 0.5), 2000)
            points = np.einsum("ij,ijk->ik", shares, corners[rng.integers(0, 200, (2000, 5))])
            margins = y * (points @ theta[:-1] + theta[-1])
            worth = np.where(pulls(loss, margins) > 0, pulls(loss, margins) * y * (points @ v[:-1] + v[-1]), -np.inf)
            if found is None:
                assert not np.any(np.isfinite(worth))
                continue
            x, value, s = found
            assert_allclose(value, s * y * (x @ v[:-1] + v[-1]), rtol=1e-9)
            assert y * (x @ theta[:-1] + theta[-1]) <= 1.0 + 1e-6 or loss.smooth
            # between the places looked at on an edge the smooth ones may be 2 % better
            assert value >= worth.max() - (0.02 * abs(value) if loss.smooth else 1e-9)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_the_stand_in_has_the_gradient_that_it_says(metric):
    """Central differences of U, in the model."""
    rng = np.random.default_rng(0)
    X, y, theta = rng.standard_normal((40, 3)), np.sign(rng.standard_normal(40)), rng.standard_normal(4)
    aim = Aim(METRICS[metric], X, y, rng.random(40))
    gradient = aim.gradient(aim.slopes(aim.margins(theta), 2.0)[1])
    h = 1e-5
    for j in range(4):
        ends = [aim.slopes(aim.margins(theta + t * h * np.eye(4)[j]), 2.0)[0] for t in (1, -1)]
        # the gradient is summed in single precision
        assert_allclose((ends[0] - ends[1]) / (2 * h), gradient[j], atol=2e-5)


def test_conjugate_gradients_stand_in_for_the_inverse(monkeypatch):
    """Where no Hessian is formed, ``H^-1 v`` is as near as asked to that of the formed one."""
    X, y = digits()
    signs, objective = np.where(y == 7, 1.0, -1.0), make_objective("log_loss", alpha=0.09)
    v = np.random.default_rng(0).standard_normal(X.shape[1] + 1)
    found = []
    for limit in (2500, 10):
        monkeypatch.setattr("mtpfast.training.smooth.DENSE_HESSIAN", limit)
        victim = MovingVictim(X, signs, objective, tol=1e-10)
        victim.place([X[0]], [1.0], [5.0])
        victim.victim._solver.inverse = None
        sensitivity = SmoothSensitivity(victim)
        sensitivity.look()
        found.append(sensitivity.apply(v))
    # the squared length of the residual falls to 1e-4, in the metric of the diagonal
    assert np.linalg.norm(found[1] - found[0]) <= 0.05 * np.linalg.norm(found[0])


@pytest.mark.parametrize(
    "space",
    [
        FeatureSpace(0.0, 1.0),
        FeatureSpace({0: 0.0, 1: 0.1}, {0: 0.9, 1: 0.8}),
        FeatureSpace(0.0, 1.0, labels=[1]),
        FeatureSpace(0.0, 1.0, integer=[0, 1, 2], one_hot=[[3, 4, 5]]),
    ],
)
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_points_are_feasible_and_no_more_than_the_budget(space, loss):
    X, y = cancer()
    result = DamagePoisoner(loss, alpha=0.01, budget=20, feasible_set=space, **QUICK).fit(X, y).attack()
    assert 0 < result.n_points <= 20
    assert np.all(space.bind(None, [0, 1]).contains(result.points, np.where(result.labels == 1, 1.0, -1.0)))
    assert result.damage.after["aimed"] > result.damage.before["aimed"]
    assert result.verify(X, y).ok


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_pool_is_used_within_its_caps(repeats):
    X, y = digits()
    pool = CandidatePool.label_flips(X, y, max_repeats=repeats)
    result = DamagePoisoner(alpha=0.09, budget=15, feasible_set=pool, **QUICK).fit(X, y).attack()
    assert result.n_points <= 15
    assert result.damage.after["aimed"] > result.damage.before["aimed"]
    assert result.verify(X, y).ok  # every point a candidate, none too often


def test_documents_are_whole():
    rng = np.random.default_rng(0)
    y = np.where(rng.random(200) < 0.5, 1, -1)
    X = rng.poisson(np.where(y[:, None] > 0, 0.6, 0.3) * rng.random(12)).astype(float)
    space = DocumentSpace(max_length=8, max_count=3)
    result = DamagePoisoner(alpha=0.05, budget=10, feasible_set=space, **QUICK).fit(X, y).attack()
    assert np.array_equal(result.points, np.rint(result.points))
    assert result.points.sum(axis=1).max() <= 8
    assert result.damage.after["aimed"] > result.damage.before["aimed"]
    assert result.verify(X, y).ok


def test_the_model_is_its_own_target_so_that_verify_decides_every_claim():
    """``phi(m) - phi(m) = 0`` everywhere, among documents too, where the largest may stay undecided."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (60, 8)).astype(float)
    y = (X[:, 0] + rng.random(60) > X[:, 1]).astype(int)
    space = DocumentSpace(max_length=4, max_count=2)
    result = DamagePoisoner("log_loss", C=1.0, feasible_set=space, budget=4, n_starts=1, max_iter=10).fit(X, y).attack()
    assert result.verify(X, y).ok


@pytest.mark.parametrize("loss", LOSSES)
def test_the_curve_never_falls_with_the_budget(loss):
    X, y = cancer()
    budgets = [12, 0, 5, 0.03, 5]
    results = DamagePoisoner(loss, C=1.0, **QUICK).fit(X, y).curve(budgets)
    sizes = [12, 0, 5, 17, 5]
    assert [result.n_points <= size for result, size in zip(results, sizes, strict=True)] == [True] * 5
    damage = {size: result.damage.found for size, result in zip(sizes, results, strict=True)}
    assert [damage[size] for size in (0, 5, 12, 17)] == sorted(damage.values())
    assert results[1].n_points == 0
    assert results[1].damage.before == results[1].damage.after


def test_the_same_seed_finds_the_same_points():
    X, y = digits()
    runs = [
        DamagePoisoner(alpha=0.09, budget=8, n_starts=4, max_iter=20, random_state=3).fit(X, y).attack() for _ in "ab"
    ]
    assert np.array_equal(runs[0].points, runs[1].points)
    assert np.array_equal(runs[0].counts, runs[1].counts)


def test_a_stop_keeps_the_best_so_far():
    """A callback that returns True, and an interrupt, end the search with the best points met until then."""
    X, y = digits()
    attacker = DamagePoisoner(alpha=0.09, budget=15, **QUICK).fit(X, y)
    seen = []

    def stop(told):
        seen.append(told["value"])
        return len(seen) == 25

    result = attacker.attack(callback=stop)
    assert len(seen) == 25
    assert "stopped by the callback" in result.message
    # single precision decides in the search, so that a row at the boundary may count differently
    assert abs(result.damage.found - max(seen)) * len(y) <= 1.0

    def interrupt(told):
        if told["n_iter"] == 25:
            raise KeyboardInterrupt

    cut = attacker.attack(callback=interrupt)
    assert cut.status == "interrupted"
    assert np.array_equal(cut.points, result.points)


def test_an_interrupt_of_the_last_training_loses_no_search(monkeypatch):
    """What was found is trained once more; what a curve has left keeps it."""
    X, y = digits()
    attacker, whole, seen = DamagePoisoner(alpha=0.09, **QUICK).fit(X, y), damage_module.train, []

    def train(*arguments):
        seen.append(1)
        if len(seen) == 1:
            raise KeyboardInterrupt
        return whole(*arguments)

    first = attacker.curve([5])[0]
    monkeypatch.setattr(damage_module, "train", train)
    results = attacker.curve([5, 10])
    assert [result.status for result in results] == ["interrupted"] * 2
    assert [result.n_points for result in results] == [5, 5]
    assert np.array_equal(results[0].points, first.points)


def test_a_stopped_curve_is_not_trained_again_for_every_budget_that_is_left(monkeypatch):
    """The points are the same, so is the model: Ctrl-C leaves one training, and at most one of the clean rows."""
    X, y = digits()
    attacker, whole, seen = DamagePoisoner(alpha=0.09, **QUICK).fit(X, y), damage_module.refit, []

    def interrupt(told):
        if told["n_iter"] == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(damage_module, "refit", lambda *given, **options: seen.append(1) or whole(*given, **options))
    results = attacker.curve(range(10, 20), callback=interrupt)
    assert {(result.status, result.n_points) for result in results} == {("interrupted", 10)}
    assert 1 <= len(seen) <= 2


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_going_on_from_more_points_than_the_budget_keeps_to_the_budget(loss):
    X, y = digits()
    attacker = DamagePoisoner(loss, alpha=0.09, budget=4, n_starts=1, max_iter=20).fit(X, y)
    larger = attacker.curve([20])[0]
    assert larger.n_points == 20
    for stop in (None, lambda told: True):
        assert attacker.attack(resume=larger, callback=stop).n_points <= 4
    results = attacker.curve([0, 2, 25], resume=larger)
    assert [result.n_points <= size for result, size in zip(results, (0, 2, 25), strict=True)] == [True] * 3
    assert results[2].damage.found >= larger.damage.found


def test_what_points_of_another_victim_do_is_measured_with_this_one():
    """A victim of a strong penalty has larger losses: those that points had there do not hide what is found here.

    Points that lower the metric are not taken at all.
    """
    X, y = cancer()
    options = {"budget": 12, "metric": "log_loss", "n_starts": 1, "max_iter": 20}
    strong = DamagePoisoner(C=0.1, **options).fit(X, y)
    weak = DamagePoisoner(C=100.0, **options).fit(X, y)
    there = strong.attack()
    here = weak.attack(resume=there)
    assert there.damage.found > here.damage.found > weak.attack(resume=there, callback=lambda told: True).damage.found
    stopped = strong.attack(resume=here, callback=lambda told: True)
    assert stopped.damage.found >= stopped.damage.before["aimed"]


def test_going_on_never_loses_what_there_was():
    X, y = digits()
    attacker = DamagePoisoner(alpha=0.09, budget=15, **QUICK).fit(X, y)
    first = attacker.attack(callback=lambda told: told["n_iter"] == 20)
    assert attacker.attack(resume=first).damage.found >= first.damage.found


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_going_on_from_no_points_is_a_fresh_start(loss):
    """There is nothing to scale in a result without points: the search from it finds what one from scratch finds."""
    X, y = digits()
    attacker = DamagePoisoner(loss, alpha=0.09, budget=10, n_starts=1, max_iter=20).fit(X, y)
    nothing = attacker.curve([0])[0]
    assert nothing.n_points == 0
    fresh = attacker.attack()
    assert fresh.n_points == 10
    for result in (attacker.attack(resume=nothing), attacker.curve([10], resume=nothing)[0]):
        assert np.array_equal(result.points, fresh.points)
        assert np.array_equal(result.counts, fresh.counts)


def test_the_rows_left_out_between_trainings_weigh_next_to_nothing():
    """``sigma (1 - sigma) < exp(-9)`` where ``beta |m| >= 9``: U has the gradient of the rows near the boundary."""
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(2000, 5)), np.where(rng.random(2000) < 0.5, 1.0, -1.0)
    theta, beta = np.append(rng.normal(size=5), 0.0), 40.0
    aim = Aim(METRICS["error"], X, y)
    margins = aim.margins(theta)
    part = aim.near(margins, beta)
    assert 50 < len(part.y) < 0.6 * len(y)
    whole = aim.gradient(aim.slopes(margins, beta)[1])
    near = part.gradient(part.slopes(margins[part.which], beta)[1])
    # each row left out adds at most beta exp(-9) share |x~|; single precision adds 1e-6 or so of the sums of |terms|
    assert np.abs(whole - near).max() <= beta * np.exp(-9.0) + 1e-5 * beta


def test_a_limit_of_time_is_told():
    X, y = digits()
    result = DamagePoisoner(alpha=0.09, budget=5, time_limit=1e-9, **QUICK).fit(X, y).attack()
    assert result.damage.time_limit == 1e-9
    assert "time_limit" in result.message


@pytest.mark.parametrize(
    "victim",
    [
        {"alpha": 0.05},
        {"C": 1.0, "penalize_intercept": False},
        {"alpha": 0.01, "fit_intercept": False},
        {"C": 0.5, "class_weight": {0: 2.0, 1: 0.7}},
        {"alpha": 0.02, "class_weight": "balanced"},
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_convention_of_the_victim(loss, victim):
    """More errors than before, and verified, whatever the penalty, the intercept and the weights of the classes are."""
    X, y = cancer()
    weight = np.random.default_rng(0).integers(1, 3, len(y)).astype(float)
    attacker = DamagePoisoner(loss, budget=17, n_starts=1, max_iter=40, **victim).fit(X, y, sample_weight=weight)
    result = attacker.attack()
    assert result.damage.after["aimed"] > result.damage.before["aimed"]
    assert result.verify(X, y, sample_weight=weight).ok


def test_sparse_rows_are_those_of_the_dense_ones():
    import scipy.sparse as sp

    X, y = digits()
    dense, sparse = (
        DamagePoisoner(alpha=0.09, budget=8, feasible_set=FeatureSpace(0.0, 1.0), **QUICK).fit(Z, y).attack()
        for Z in (X, sp.csr_matrix(X))
    )
    # single and double precision part on the way
    assert abs(dense.damage.found - sparse.damage.found) <= 0.02
    assert sparse.verify(sp.csr_matrix(X), y).ok


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_rises(metric):
    X, y = cancer()
    group = X[:, 0] < 0.3
    result = DamagePoisoner(alpha=0.01, budget=12, metric=metric, **QUICK).fit(X, y).attack(X, y, mask=group)
    assert result.damage.metric == metric
    assert result.damage.after["aimed"] > result.damage.before["aimed"]


def test_a_metric_of_the_user():
    X, y = cancer()

    def missed_malignant(y, margin, weight):
        return float(np.average(margin[y < 0] < 0, weights=weight[y < 0]))

    result = DamagePoisoner(alpha=0.01, budget=12, metric=missed_malignant, **QUICK).fit(X, y).attack()
    assert result.damage.metric == "missed_malignant"
    model = result.coef_[0], result.intercept_[0]
    assert result.damage.found == np.mean(X[y == 0] @ model[0] + model[1] > 0)
    assert result.damage.found > result.damage.before["aimed"]


def test_a_result_is_saved_and_loaded_with_its_damage(tmp_path):
    X, y = digits()
    result = DamagePoisoner(alpha=0.09, budget=5, **QUICK).fit(X, y).attack()
    result.save(tmp_path / "result.npz")
    assert PoisoningResult.load(tmp_path / "result.npz").damage == result.damage


def test_its_model_is_a_target_whose_exact_minimum_is_no_larger_than_its_points():
    X, y = digits()
    result = DamagePoisoner(alpha=0.09, budget=10, **QUICK).fit(X, y).attack()
    fewest = MinimumPoisoner(alpha=0.09).fit(X, y).attack((result.coef_, result.intercept_))
    assert fewest.lower_bound <= result.n_points


@pytest.mark.parametrize(
    "change, message",
    [
        ({"budget": -1}, "budget"),
        ({"budget": 1.5}, "budget"),
        ({"metric": "accuracy"}, "metric must be one of"),
        ({"max_iter": 1}, "max_iter"),
        ({"n_starts": 0}, "n_starts"),
        ({"time_limit": 0.0}, "time_limit"),
    ],
)
def test_bad_parameters_are_named(change, message):
    X, y = digits()
    with pytest.raises(ValueError, match=message):
        DamagePoisoner(**change).fit(X, y).attack()


def test_a_mask_must_fit_the_rows():
    X, y = digits()
    attacker = DamagePoisoner(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="mask must be a boolean array"):
        attacker.attack(mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="mask selects no row"):
        attacker.attack(mask=np.zeros(len(y), bool))
    with pytest.raises(ValueError, match="together"):
        attacker.attack(X)


def test_what_cannot_be_measured_is_told_before_the_search():
    X, y = digits()

    def nothing(y, margin, weight):
        return float("nan")

    for metric in (nothing, "error"):
        searching = []
        attacker = DamagePoisoner(alpha=0.09, metric=metric, budget=5, **QUICK).fit(X, y)
        options = {"eval_sets": {"aimed": (X, y)}} if metric == "error" else {}
        with pytest.raises(ValueError, match="must be a finite number" if metric is nothing else "'aimed'"):
            attacker.attack(callback=searching.append, **options)
        assert not searching


@pytest.mark.parametrize("loss", LOSSES)
def test_the_cheapest_meets_its_goal_with_fewer_points_than_flips_need(loss):
    """The model of retraining has the error asked for, and label flips of the same number are below it."""
    X, y = digits()
    attacker = DamagePoisoner(loss, alpha=0.09, n_starts=1, max_iter=100).fit(X, y)
    result = attacker.cheapest(0.05)
    assert result.damage.found >= 0.05
    assert result.verify(X, y).ok
    signs = np.where(y == 7, 1.0, -1.0)
    rows = np.argsort(signs * attacker.decision_function(X))[: result.n_points]
    theta = refit(np.vstack([X, X[rows]]), np.append(signs, -signs[rows]), make_objective(loss, alpha=0.09)).theta
    assert np.mean(signs * (X @ theta[:-1] + theta[-1]) <= 0) < 0.05
    assert attacker.cheapest(0.0).n_points == 0


def test_a_goal_that_is_not_met_is_told():
    X, y = digits()
    attacker = DamagePoisoner(C=1e-6, n_starts=1, max_iter=4, feasible_set=FeatureSpace(0.0, 1e-6)).fit(X, y)
    with pytest.raises(ValueError, match="goal=1 is not met: with 361 points error"):
        attacker.cheapest(1.0)


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
@pytest.mark.parametrize(
    "space",
    [
        Slab([1.0, 1.0, 1.0], 1.5, 1.5, lower=0.0, upper=1.0),
        Intersection([FeatureSpace(0.0, 1.0), Ball([0.9, 0.9, 0.9], 0.2)]),
    ],
    ids=["plane", "ball"],
)
def test_points_lie_in_the_region_from_the_first_step_on(space, loss):
    """The search begins at the means of the classes, which a plane or a ball far from them does not hold."""
    rng = np.random.default_rng(0)
    X = rng.random((60, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] > 0.2, 1, -1)
    for max_iter in (2, 20):
        result = DamagePoisoner(loss, alpha=0.06, feasible_set=space, budget=4, n_starts=1, max_iter=max_iter)
        result = result.fit(X, y).attack()
        assert np.all(space.contains(result.X_poison, result.y_poison))
        assert result.verify(X, y).ok
