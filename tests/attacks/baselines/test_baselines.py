"""The attacks of the literature: what each claims of itself, and what all have in common."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from mtpfast import CandidatePool, FeatureSpace, minimum_poisoning
from mtpfast.attacks.baselines import BASELINES, baseline, gradient_canceling, kkt, min_max
from mtpfast.attacks.baselines.bilevel import Bilevel
from mtpfast.attacks.baselines.least_squares import least_squares
from mtpfast.attacks.baselines.task import read_task, shared_out
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit
from mtpfast.verification.judge import judge

LOSSES = ("hinge", "squared_hinge", "log_loss")
FAST = {
    "gradient_canceling": {"max_iter": 40, "n_shares": 2, "n_distinct": 4},
    "kkt": {"n_shares": 3, "refine": 2},
    "min_max": {"max_iter": 40},
    "influence": {"max_iter": 5},
    "gradient_ascent": {"max_iter": 5},
}
INTERCEPTS = {"penalised": {}, "free": {"penalize_intercept": False}, "absent": {"fit_intercept": False}}


def table(n=60, d=4, seed=0):
    """Two clouds in the unit box."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    return np.clip(0.5 + 0.15 * y[:, None] * rng.random(d) + 0.2 * rng.normal(size=(n, d)), 0.0, 1.0), y


def flipped_target(X, y, loss, share=0.2, copies=3, **kind):
    """What training on the rows of least clean margin, flipped, returns: attainable, as a rule with fewer points."""
    objective = make_objective(loss, **kind)
    clean = refit(X, y, objective).theta
    margin = objective.margins(clean, X, y)
    rows = np.flatnonzero(margin <= np.quantile(margin, share))
    return refit(
        np.vstack([X, np.repeat(X[rows], copies, axis=0)]),
        np.append(y, np.repeat(-y[rows], copies)),
        objective,
        tol=1e-13,
    ).theta


# -- what all have in common ---------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_every_attack_stays_in_the_set_and_the_budget_and_survives_verify(name, loss):
    """Its points are feasible, at most so many, its model is the victim's, and the judge sees the same damage."""
    X, y = table()
    victim = {"loss": loss, "alpha": 0.02, "feasible_set": FeatureSpace(0.0, 1.0)}
    target = flipped_target(X, y, loss, alpha=0.02)
    result = baseline(name, X, y, budget=7, target=target, **victim, **FAST.get(name, {}))
    assert 0 < result.n_points <= 7
    assert result.verify(X, y).ok
    found = judge(
        result.objective, X, y, result.points, result.labels, result.counts, result.feasible_set, target, tol=1e-10
    )
    # LIBLINEAR's own tolerance, on models of size 1
    assert found.feasible
    assert found.n_points == result.n_points
    assert np.linalg.norm(found.theta - result.theta) <= 1e-4 * np.linalg.norm(result.theta)
    error = np.mean(np.where(X @ result.theta[:-1] + result.theta[-1] > 0, 1.0, -1.0) != y)
    assert result.damage.found == pytest.approx(error, abs=1e-12)
    again = baseline(name, X, y, budget=7, target=target, **victim, **FAST.get(name, {}))
    assert np.array_equal(again.points, result.points)
    assert np.array_equal(again.counts, result.counts)


@pytest.mark.parametrize("name", BASELINES)
def test_every_attack_tells_how_far_it_is_and_stops_where_it_is_told(name):
    X, y = table()
    told = []
    options = {"loss": "log_loss", "C": 1.0, "target": flipped_target(X, y, "log_loss", C=1.0), "budget": 6}
    options |= FAST.get(name, {})

    def stop(state):
        told.append(state)
        return len(told) == 1

    result = baseline(name, X, y, callback=stop, **options)
    assert len(told) == 1
    assert told[0]["n_iter"] == 1
    assert told[0]["budget"] == 6
    assert 0.0 <= told[0]["seconds"] < 60.0
    assert 0 < result.n_points <= 6
    assert result.status in ("budget", "reached")
    assert "callback" in result.message

    def interrupt(state):
        told.append(state)
        if state["n_iter"] == 3:
            raise KeyboardInterrupt
        return False

    if baseline(name, X, y, callback=told.append, **options).n_points and len(told) > 4:
        assert baseline(name, X, y, callback=interrupt, **options).status == "interrupted"


@pytest.mark.parametrize("name, own, placed", [
    ("influence", {}, 1), ("gradient_ascent", {}, 0), ("gradient_ascent", {"order": "sequential"}, np.inf),
])  # fmt: skip
@pytest.mark.parametrize("steps", [1, 4, 9])
def test_what_is_stopped_keeps_the_best_that_it_told(name, own, placed, steps):
    """From the step on at which all points are placed: the points of the largest loss; before that, those it has."""
    X, y = table()
    task, told = read_task(X, y, 6, "", loss="log_loss", C=1.0), []

    def stop(state):
        told.append(state["value"])
        if len(told) == steps:
            raise KeyboardInterrupt
        return False

    options = {"n_distinct": 2, "max_iter": 4, **own}
    result = baseline(name, X, y, budget=6, loss="log_loss", C=1.0, callback=stop, **options)
    assert result.n_points in (3, 6)
    if len(told) > placed:
        assert result.n_points == 6
        # the trainings of search and result differ by their tolerances
        assert task.loss_aim.value(result.theta) >= max(told[int(placed) :]) - 1e-7


@pytest.mark.parametrize("name", ["kkt", "gradient_canceling"])
def test_what_aims_at_a_model_asks_for_it_and_for_a_convex_set(name):
    X, y = table()
    with pytest.raises(ValueError, match="target must be given"):
        baseline(name, X, y, budget=3)
    with pytest.raises(ValueError, match="convex"):
        baseline(name, X, y, budget=3, target=np.ones(5), feasible_set=CandidatePool(X))


def test_names_budgets_and_rules_that_are_none_are_named():
    X, y = table()
    with pytest.raises(ValueError, match="name must be one of 'beta'"):
        baseline("biggio", X, y)
    with pytest.raises(ValueError, match="rule must be one of"):
        baseline("label_flip", X, y, rule="nearest")
    with pytest.raises(ValueError, match="budget"):
        baseline("beta", X, y, budget=1.5)
    assert baseline("beta", X, y, budget=0).n_points == 0


@pytest.mark.parametrize("name", ["label_flip", "influence", "gradient_ascent", "beta", "min_max"])
def test_sparse_rows_give_the_same_attack(name):
    X, y = table()
    dense, sparse = (baseline(name, rows, y, budget=5, loss="log_loss", C=1.0) for rows in (X, sp.csr_matrix(X)))
    assert np.array_equal(dense.counts, sparse.counts)
    # the same sums in another order
    np.testing.assert_allclose(dense.theta, sparse.theta, atol=1e-6)


@pytest.mark.parametrize("name", ["label_flip", "min_max"])
def test_candidates_of_a_pool_are_used_as_often_as_they_may(name):
    X, y = table()
    result = baseline(name, X, y, budget=5, feasible_set=CandidatePool.label_flips(X, y, max_repeats=1), alpha=0.02)
    assert result.counts.max() == 1
    assert result.verify(X, y).ok


def test_shares_are_rounded_to_the_total():
    for shares, total in itertools.product(([0.5, 0.5], [0.1, 0.2, 0.7], [1.0, 0.0]), range(6)):
        counts = shared_out(shares, total)
        assert counts.sum() == total
        assert np.all(np.abs(counts - total * np.array(shares)) < 1.0)


# -- label flips ---------------------------------------------------------------------------------


def test_flips_are_those_of_the_rule():
    """Margin: the least |margin| of the clean model; loss: the largest loss once flipped; each row once."""
    X, y = table()
    clean = refit(X, y, make_objective("hinge", C=1.0)).theta
    margin = y * (X @ clean[:-1] + clean[-1])
    for rule, score in (("margin", np.abs(margin)), ("loss", -margin)):
        chosen = np.argsort(score, kind="stable")[:9]
        result = baseline("label_flip", X, y, budget=9, rule=rule, C=1.0)
        assert {x.tobytes() for x in result.points} == {x.tobytes() for x in X[chosen]}
        assert sorted(result.labels) == sorted(-y[chosen])
    more = baseline("label_flip", X, y, budget=len(y) + 2, rule="margin", C=1.0)
    assert more.n_points == len(y) + 2
    assert sorted(set(more.counts.tolist())) == [1, 2]


def test_alfa_chooses_flips_that_the_tainted_model_has_right_and_the_clean_one_wrong():
    """Its last choice maximises the difference of both losses over all choices of as many flips."""
    X, y = table(seed=3)
    result = baseline("label_flip", X, y, budget=9, rule="alfa", loss="log_loss", C=1.0, max_iter=50)
    once = baseline("label_flip", X, y, budget=9, rule="loss", loss="log_loss", C=1.0)
    task = read_task(X, y, 9, "", loss="log_loss", C=1.0)
    assert task.loss_aim.value(result.theta) >= task.loss_aim.value(once.theta) - 1e-9


# -- KKT -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "convention, intercept", [({"alpha": 0.02}, "penalised"), ({"alpha": 0.02}, "free"), ({"C": 0.5}, "absent")]
)
def test_two_points_hit_an_attainable_target_at_the_exact_minimum(loss, convention, intercept):
    """At the budget of the exact minimum two points have a residual below 1e-6, and the victim is the target."""
    X, y = table(seed=1)
    victim = {"loss": loss, **convention, **INTERCEPTS[intercept]}
    target = flipped_target(X, y, **victim)
    space = FeatureSpace(0.0, 1.0)
    least = minimum_poisoning(X, y, target, feasible_set=space, **victim)
    assert least.status == "reached"
    one_each = len(set(least.labels)) == len(least.labels)  # else one point per label may need a point or two more
    for budget in range(least.n_points, least.n_points + (1 if one_each else 3)):
        result = kkt(X, y, budget=budget, target=target, feasible_set=space, **victim)
        assert len(result.points) <= 2
        assert result.n_points == budget
        if result.history["residual"][0] < 1e-6:
            break
    assert result.history["residual"][0] < 1e-6
    assert result.distance < 1e-5
    assert result.verify(X, y).ok


def test_the_residual_bounds_the_distance():
    """``k |theta - theta_p| <= residual`` where all of theta is penalised (strong convexity)."""
    X, y = table(seed=2)
    target = flipped_target(X, y, "log_loss", alpha=0.02)
    for budget in (2, 4):
        result = kkt(X, y, budget=budget, target=target, loss="log_loss", alpha=0.02, n_shares=3, refine=0)
        assert result.distance <= result.history["residual"][0] * (1.0 + 1e-6)


def test_least_squares_agrees_with_an_active_set_method():
    rng = np.random.default_rng(0)
    points = np.hstack([np.diag(rng.normal(size=4)), np.diag(rng.normal(size=4)), rng.normal(size=(4, 2))])
    points[1, 1] = 0.0  # coordinates of two points, rows that both share, and a coordinate without any pull
    for A in (rng.normal(size=(3, 8)), rng.normal(size=(8, 3)), rng.normal(size=(12, 12)), points):
        columns, a = A.shape[1], 5.0 * rng.normal(size=len(A))
        low, high = np.zeros(columns), rng.uniform(0.1, 1.0, columns)
        high[0] = 0.0
        C, E = rng.normal(size=(2, columns)), rng.normal(size=(1, columns))
        d, e = C @ (high / 2), E @ (high / 2)
        u = least_squares(A, a, low, high, C, d, E, e)
        other = minimize(
            lambda x, A=A, a=a: 0.5 * np.sum((A @ x - a) ** 2),
            high / 2,
            jac=lambda x, A=A, a=a: A.T @ (A @ x - a),
            bounds=list(zip(low, high, strict=True)),
            constraints=[
                {"type": "ineq", "fun": lambda x, C=C, d=d: d - C @ x},
                {"type": "eq", "fun": lambda x, E=E, e=e: E @ x - e},
            ],
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert np.all(u >= low)
        assert np.all(u <= high)
        assert np.all(C @ u <= d + 1e-9)
        # SLSQP's tolerance
        assert np.linalg.norm(A @ u - a) == pytest.approx(np.linalg.norm(A @ other.x - a), rel=1e-7)


# -- min-max -------------------------------------------------------------------------------------


def saddle_by_vertices(X, y, budget, alpha, C):
    """``min over theta of the clean loss + B t + penalty, t >= each vertex's hinge``: a quadratic program by SLSQP."""
    n, d = X.shape
    k = alpha * (n + budget) if C is None else 1.0 / C
    A = np.column_stack([X, np.ones(n)]) * y[:, None]
    corners = np.array(list(itertools.product([0.0, 1.0], repeat=d)))
    V = np.vstack([s * np.column_stack([corners, np.ones(len(corners))]) for s in (1.0, -1.0)])
    cost = np.concatenate([np.zeros(d + 1), np.ones(n), [budget]])
    P = np.concatenate([np.full(d + 1, k), np.zeros(n + 1)])
    rows = np.vstack(
        [
            np.column_stack([A, np.eye(n), np.zeros(n)]),
            np.column_stack([V, np.zeros((len(V), n)), np.ones(len(V))]),
        ]
    )
    answer = minimize(
        lambda u: float(cost @ u + 0.5 * (P * u) @ u),
        np.concatenate([np.zeros(d + 1), np.ones(n), [1.0]]),
        jac=lambda u: cost + P * u,
        bounds=[(None, None)] * (d + 1) + [(0.0, None)] * (n + 1),
        constraints=[{"type": "ineq", "fun": lambda u: rows @ u - 1.0, "jac": lambda u: rows}],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 300},
    )
    assert answer.success
    return answer.fun


@pytest.mark.parametrize("convention", [{"alpha": 0.05, "C": None}, {"alpha": None, "C": 0.5}])
def test_the_saddle_value_is_that_of_the_quadratic_program(convention):
    X, y = table(n=16, d=2, seed=4)
    exact = saddle_by_vertices(X, y, 6, **convention)
    result = min_max(X, y, budget=6, feasible_set=FeatureSpace(0.0, 1.0), gap=1e-6, **convention)
    upper, value = result.history["upper_bound"][0], result.history["saddle_value"][0]
    # to the tolerances of both solvers
    assert upper >= exact * (1.0 - 1e-7)
    assert value <= exact * (1.0 + 1e-7)
    assert upper - value <= 1e-3 * upper


@pytest.mark.parametrize(
    "loss, convention, exact",
    [
        ("hinge", {"alpha": 0.02}, 17.43852722326489),
        ("hinge", {"C": 5.0}, 14.813180017089445),
        ("squared_hinge", {"alpha": 0.02}, 24.429643577934726),
        ("squared_hinge", {"C": 5.0}, 23.651384390986316),
        ("log_loss", {"alpha": 0.02}, 22.946739609735157),
        ("log_loss", {"C": 5.0}, 20.202477228586975),
    ],
)
def test_the_saddle_value_is_that_of_a_convex_program(loss, convention, exact):
    """``min over w, b of sum phi(y (X w + b)) + B max over y of phi(y b - sum pos(-y w)) + k / 2 (w'w + b^2)``.

    Values: cvxpy 1.9.3 with Clarabel at 1e-10, of this table; the inner maximum over the unit box is written out.
    """
    i, j = np.arange(40)[:, None], np.arange(3)
    y = np.where(np.arange(40) % 2 == 0, 1.0, -1.0)
    X = np.clip(0.5 + 0.3 * y[:, None] + 0.2 * np.sin(7 * i + 3 * j * i + j), 0.0, 1.0)
    result = min_max(X, y, budget=4, loss=loss, feasible_set=FeatureSpace(0.0, 1.0), gap=2e-5, **convention)
    upper, value = result.history["upper_bound"][0], result.history["saddle_value"][0]
    # the tolerance of the interior-point solver
    assert value <= exact * (1.0 + 1e-9)
    assert upper >= exact * (1.0 - 1e-9)
    assert upper - value <= 2e-5 * upper


@pytest.mark.parametrize("loss", LOSSES)
def test_no_attack_has_a_larger_objective_than_the_bound(loss):
    """The objective of every attack's victim, as the judge measures it, is at most the certified bound."""
    X, y = table(seed=5)
    victim = {"loss": loss, "alpha": 0.02, "feasible_set": FeatureSpace(0.0, 1.0)}
    result = min_max(X, y, budget=6, **victim)
    bound = result.history["upper_bound"][0]
    assert bound - result.history["saddle_value"][0] <= 2e-3 * bound
    target, most = flipped_target(X, y, loss, alpha=0.02), 0.0
    for name in BASELINES:
        other = baseline(name, X, y, budget=6, target=target, **victim, **FAST.get(name, {}))
        found = judge(other.objective, X, y, other.points, other.labels, other.counts, other.feasible_set, tol=1e-10)
        objective = found.clean_loss + found.poison_loss + found.penalty
        assert objective <= bound
        most = max(most, objective)
    assert most >= 0.9 * bound  # and the bound is no idle one


# -- derivatives through the exact training ------------------------------------------------------


def derivative_of(X, y, points, labels, counts, victim):
    task = read_task(X, y, 5, "", **victim)
    bilevel = Bilevel(task)
    bilevel.place(points, labels, counts)
    return task, bilevel, bilevel.derivative()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "convention, intercept", [({"alpha": 0.02}, "penalised"), ({"alpha": 0.02}, "free"), ({"C": 0.5}, "absent")]
)
def test_influence_is_the_derivative_of_retraining(loss, intercept, convention):
    """By how much a mean loss moves with the weight of one more row: central differences of exact trainings."""
    X, y = table(n=40, seed=6)
    rows, labels = X[:6], -y[:6]
    E, f = table(n=30, seed=7)
    victim = {"loss": loss, **convention, **INTERCEPTS[intercept], "X_eval": E, "y_eval": f}
    points, own, counts = X[7:8], -y[7:8], np.array([2.0])
    task, bilevel, at = derivative_of(X, y, points, own, counts, victim)
    margin = task.objective.margins(bilevel.theta, rows, labels)
    predicted, h = at.by_weight(rows, labels), 1e-4
    for i in np.flatnonzero(np.abs(margin - 1.0) > 1e-3):  # from the kink of the hinge there are two derivatives
        base = (X, y, np.ones(len(y)))

        def value(extra, base=base, i=i):
            rows_all = np.vstack([base[0], points, rows[i : i + 1]])
            y_all = np.concatenate([base[1], own, labels[i : i + 1]])
            weight = np.concatenate([base[2], counts, [1.0 + extra]])
            return task.loss_aim.value(refit(rows_all, y_all, task.objective, weight, tol=1e-13).theta)

        # the derivative at one copy of the row: look there
        _, _, here = derivative_of(
            X, y, np.vstack([points, rows[i : i + 1]]), np.append(own, labels[i]), np.append(counts, 1.0), victim
        )
        if loss == "hinge" and len(here.on):
            continue
        found = (value(h) - value(-h)) / (2.0 * h)
        # central differences: h^2, and rounding over h
        assert here.by_weight(rows[i : i + 1], labels[i : i + 1])[0] == pytest.approx(found, rel=1e-4, abs=1e-8)
    assert np.all(np.isfinite(predicted))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_the_implicit_derivative_is_that_of_retraining(loss, intercept):
    """By how much a mean loss moves with each coordinate of a point, all of its copies moved."""
    X, y = table(n=40, seed=8)
    E, f = table(n=30, seed=9)
    victim = {"loss": loss, "alpha": 0.02, **INTERCEPTS[intercept], "X_eval": E, "y_eval": f}
    points, own, counts = (
        np.array([[0.3, 0.6, 0.2, 0.7], [0.8, 0.1, 0.5, 0.4]]),
        np.array([1.0, -1.0]),
        np.array([2.0, 3.0]),
    )
    task, _bilevel, at = derivative_of(X, y, points, own, counts, victim)
    slopes, h = at.by_place(), 1e-6
    for i, j in itertools.product(range(2), range(4)):
        ends = []
        for sign in (1.0, -1.0):
            moved = points.copy()
            moved[i, j] += sign * h
            ends.append(task.loss_aim.value(task.train(moved, own, counts).theta))
        found = (ends[0] - ends[1]) / (2.0 * h)
        # central differences of trainings to 1e-9
        assert slopes[i, j] == pytest.approx(found, rel=1e-4, abs=2e-5)


def test_a_point_on_the_margin_of_the_hinge_moves_along_it():
    """Biggio et al.: such a point pulls with its multiplier, and holds the model where it is."""
    X, y = table(n=40, seed=8)
    E, f = table(n=30, seed=9)
    victim = {"loss": "hinge", "alpha": 0.02, "X_eval": E, "y_eval": f}
    start = np.array([[0.5, 0.5, 0.5, 0.5]])
    own, counts = np.array([1.0]), np.array([3.0])
    found = None
    for share in np.linspace(0.0, 1.0, 60):  # towards the corner of larger margins: the point comes to the margin
        points = start + share * (np.ones((1, 4)) - start)
        task, _bilevel, at = derivative_of(X, y, points, own, counts, victim)
        if len(at.on) and 0.05 < at.pulls[0] < 2.95:
            found = points
            break
    assert found is not None
    slopes, h = at.by_place(), 1e-6
    for j in range(4):
        ends = []
        for sign in (1.0, -1.0):
            moved = found.copy()
            moved[0, j] += sign * h
            ends.append(task.loss_aim.value(task.train(moved, own, counts).theta))
        assert slopes[0, j] == pytest.approx((ends[0] - ends[1]) / (2.0 * h), rel=1e-4, abs=2e-5)


@pytest.mark.parametrize("order", ["joint", "sequential"])
def test_gradient_ascent_does_more_than_its_start(order):
    X, y = table(seed=10)
    few = {"budget": 6, "loss": "log_loss", "C": 1.0, "n_distinct": 2, "n_starts": 1}
    task = read_task(X, y, 6, "", loss="log_loss", C=1.0)
    values = [
        task.loss_aim.value(baseline("gradient_ascent", X, y, order=order, max_iter=n, **few).theta) for n in (1, 40)
    ]
    assert values[1] > values[0] > task.loss_aim.value(task.clean)


# -- gradient canceling --------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_gradients_cancel_above_the_threshold_only(loss):
    """Below the exact minimum no points cancel the gradient; a little above it they do."""
    X, y = table(seed=1)
    space = FeatureSpace(0.0, 1.0)
    target = flipped_target(X, y, loss, alpha=0.02)
    least = minimum_poisoning(X, y, target, feasible_set=space, loss=loss, alpha=0.02)
    victim = {"loss": loss, "alpha": 0.02, "feasible_set": space, "target": target, "n_shares": 3, "n_distinct": 4}
    below = gradient_canceling(X, y, budget=least.lower_bound - 1, **victim)
    above = gradient_canceling(X, y, budget=int(1.3 * least.n_points) + 1, max_iter=300, **victim)
    size = np.linalg.norm(target)
    assert below.distance > 1e-3 * size
    assert below.history["residual"][0] > 1e-3 * size
    # conditional gradient converges slowly: a tenth of what is short below
    assert above.distance <= (1e-5 if loss == "log_loss" else 1e-2) * size
    assert above.distance <= 0.2 * below.distance


# -- beta ----------------------------------------------------------------------------------------


def test_beta_points_are_combinations_of_the_other_class_and_likelier_than_its_rows():
    X, y = table(seed=11)
    result = baseline("beta", X, y, budget=4, n_distinct=2, C=1.0, max_iter=200)
    for x, label in zip(result.points, result.labels, strict=True):
        own = X[y == -label]
        assert np.all(x >= own.min(axis=0) - 1e-12)
        assert np.all(x <= own.max(axis=0) + 1e-12)
        apart = np.linalg.norm(own[:, None] - own, axis=2)
        h = np.sqrt(np.maximum(apart**2, 0.0)).mean()
        density = [np.exp(-((own - z) ** 2).sum(axis=1) / (2 * h * h)).mean() for z in (x, *own)]
        assert density[0] >= np.quantile(density[1:], 0.9)
