"""Victims that weigh their rows: class weights (fixed and balanced), and what alpha counts.

The laws: the victim is scikit-learn's own, for every estimator that can be handed in; a class weight of w is w copies
of every row of that class, poison included; a bound never exceeds a planted attack.
"""

import io

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.class_weight import compute_class_weight

from mtpfast import (
    CandidatePool,
    DocumentSpace,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    make_target,
    max_loss_difference,
    minimum_poisoning,
)
from mtpfast.attacks.online import poison
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.programs.round import RoundProgram
from mtpfast.minimum.whole.record_tune import residual
from mtpfast.proofs.clean_pass import clean_gradient
from mtpfast.question import Setting
from mtpfast.training.victim import Victim, refit

LOSSES = ["hinge", "squared_hinge", "log_loss"]


def blobs(seed=0, n=60, d=3):
    """Two overlapping classes in [0, 1]^d, one of them rare, and sample weights."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n) < 0.35, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    X = (0.5 + 0.2 * y[:, None] + 0.2 * rng.normal(size=(n, d))).clip(0.0, 1.0)
    return X, y, rng.choice([0.5, 1.0, 3.0], n)


# -- the victim is scikit-learn's -------------------------------------------------------------

EXACT = [
    LinearSVC(loss="hinge", C=0.7, tol=1e-9, max_iter=1_000_000, random_state=0),
    LinearSVC(C=0.7, tol=1e-10, dual=False),
    SVC(kernel="linear", C=0.7, tol=1e-9),
    LogisticRegression(C=0.7, tol=1e-12, max_iter=10_000),
    LogisticRegression(C=0.7, tol=1e-12, max_iter=10_000, solver="liblinear"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, {"no": 0.4, "yes": 2.5}, {"yes": 4}, "balanced"], ids=str)
@pytest.mark.parametrize("estimator", EXACT, ids=str)
def test_the_victim_is_that_of_scikit_learn(estimator, class_weight, weighted):
    """The attacker's fit minimises the estimator's objective: class weights times sample weights, k = 1 / C."""
    X, y, weight = blobs(1)
    labels = np.where(y > 0, "yes", "no")
    weight = weight if weighted else None
    estimator = type(estimator)(**(estimator.get_params() | {"class_weight": class_weight}))
    own = ModelTargetedPoisoner.from_estimator(estimator).fit(X, labels, sample_weight=weight)
    other = estimator.fit(X, labels, sample_weight=weight)
    # LIBSVM and LIBLINEAR stop at 1e-9 of a violation, the latter's primal solver at a gradient of about 1e-6
    assert_allclose(own.coef_, other.coef_, atol=2e-5)
    assert_allclose(own.intercept_, other.intercept_, atol=2e-5)


@pytest.mark.parametrize("class_weight", [None, {-1: 0.5, 1: 3.0}, "balanced"], ids=str)
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_alpha_of_sgd_counts_rows(loss, class_weight):
    """SGDClassifier's penalty is alpha times the number of rows: its average comes near that model and no other."""
    X, y, _ = blobs(2, n=200, d=2)
    weight = np.where(X[:, 0] > 0.5, 4.0, 1.0)
    sgd = SGDClassifier(loss=loss, alpha=0.05, average=20_000, max_iter=1000, tol=None, random_state=0)
    sgd.set_params(learning_rate="invscaling", eta0=0.5, power_t=0.5, class_weight=class_weight)
    own = ModelTargetedPoisoner.from_estimator(sgd)
    assert own.count_rows
    distance = {}
    sgd.fit(X, y, sample_weight=weight)
    for rows in (True, False):
        own.set_params(count_rows=rows).fit(X, y, sample_weight=weight)
        distance[rows] = np.hypot(np.linalg.norm(sgd.coef_ - own.coef_), abs(sgd.intercept_ - own.intercept_)[0])
    # stochastic: 0.001 to 0.012 from the one model, 0.5 to 1.9 from the other
    assert distance[True] < 0.05 * distance[False]


def test_a_penalty_on_rows_is_that_of_the_summed_objective():
    """count_rows: k = alpha n, whatever the weights; without it, k = alpha sum c."""
    X, y, weight = blobs(3)
    c = weight * np.where(y > 0, 2.5, 0.5)
    for count_rows, k in ((True, 0.1 * len(y)), (False, 0.1 * c.sum())):
        mine = make_objective("log_loss", alpha=0.1, class_weight={-1: 0.5, 1: 2.5}, count_rows=count_rows)
        other = make_objective("log_loss", C=1.0 / k)
        assert_allclose(refit(X, y, mine, weight).theta, refit(X, y, other, c).theta, atol=1e-7)  # tol 1e-8 each
        assert_allclose(mine.value(X[0, [0, 1, 2, 0]], X, y, weight), other.value(X[0, [0, 1, 2, 0]], X, y, c))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("class_weight", [{-1: 0.5, 1: 3.0}, "balanced"], ids=str)
@pytest.mark.parametrize("count_rows", [False, True])
def test_added_points_weigh_what_their_label_does(loss, class_weight, count_rows):
    """The victim that takes in points one by one is the one trained on all rows at once."""
    X, y, weight = blobs(4)
    rng = np.random.default_rng(4)
    added, labels = rng.random((12, 3)), np.where(rng.random(12) < 0.5, 1.0, -1.0)
    objective = make_objective(loss, alpha=0.05, class_weight=class_weight, count_rows=count_rows)
    victim = Victim(X, y, objective, weight)
    for x, label in zip(added[:9], labels, strict=False):
        victim.add(x, label, 2)
    victim.add_many(added[9:], labels[9:], [2, 2, 2])
    X_all, y_all = np.vstack([X, added, added]), np.concatenate([y, labels, labels])
    weight_all = np.concatenate([weight, np.ones(24)])
    again = refit(X_all, y_all, objective, weight_all)
    assert_allclose(victim.k, objective.k(objective.amount(y_all, weight_all)), rtol=1e-12)
    assert_allclose(victim.theta, again.theta, atol=1e-6)  # both to 1e-8 of |theta|, and |theta| is about 5
    if class_weight == "balanced":
        counted = None if count_rows else weight_all
        expected = compute_class_weight("balanced", classes=np.array([-1.0, 1.0]), y=y_all, sample_weight=counted)
        assert_allclose(victim.settled.class_weight, expected)


# -- the attack -------------------------------------------------------------------------------


@pytest.mark.parametrize("feasible_set", [FeatureSpace(0.0, 1.0), FeatureSpace(0.0, 1.0, integer=[0, 2]), "pool"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_oracle_weighs_labels(loss, feasible_set):
    """max over labels of w_y times the label's own maximum, and the upper bound with it."""
    rng = np.random.default_rng(5)
    if feasible_set == "pool":
        X_pool = rng.random((40, 4))
        single = {y: CandidatePool(X_pool, np.full(40, y)) for y in (-1, 1)}
        feasible_set = CandidatePool(X_pool)
    else:
        single = {y: FeatureSpace(0.0, 1.0, integer=feasible_set.integer, labels=[y]) for y in (-1, 1)}
    for _ in range(20):
        theta, target = rng.normal(size=(2, 5))
        weights = {-1: float(rng.exponential()), 1: float(rng.exponential())}
        found = max_loss_difference(theta, target, feasible_set, loss, class_weight=weights)
        values = {y: weights[y] * max_loss_difference(theta, target, single[y], loss).value for y in (-1, 1)}
        assert_allclose(found.value, max(values.values()), rtol=1e-9, atol=1e-12)
        assert found.y == max(values, key=values.get)
        assert found.value <= found.upper_bound <= found.value + 1e-9 * (1 + abs(found.value))


def test_a_result_says_what_its_victim_weighs():
    """save and load keep the class weights; resuming goes on; verify holds them against scikit-learn's own."""
    X, y, weight = blobs(6)
    labels = np.where(y > 0, "yes", "no")
    for class_weight in ({"yes": 3.0}, "balanced"):
        attacker = ModelTargetedPoisoner(C=1.0, class_weight=class_weight, max_points=12, tol=1e-3).fit(
            X, labels, weight
        )
        target = -attacker.coef_, -attacker.intercept_
        result = attacker.attack(target)
        report = result.verify(X, labels, sample_weight=weight)
        assert report.ok
        file = io.BytesIO()
        result.save(file)
        file.seek(0)
        again = PoisoningResult.load(file)
        assert again.objective == result.objective
        assert again.verify(X, labels, sample_weight=weight).ok
        half = attacker.set_params(max_points=6).attack(target)
        more = attacker.set_params(max_points=12).attack(target, resume=half)
        assert_allclose(more.theta, result.theta, atol=1e-6)  # the same points, refits of 1e-8
        with pytest.raises(ValueError, match="sums to"):
            result.verify(X, labels)
        if class_weight == "balanced":
            assert result.lower_bound == 0
            assert result.certificate is None
            assert "no lower bound" in result.message


@pytest.mark.parametrize("bad, error", [("heavy", TypeError), ({"maybe": 1}, ValueError), ({"yes": 0}, ValueError)])
def test_class_weights_that_make_no_sense_are_named(bad, error):
    X, y, _ = blobs(7)
    with pytest.raises(error, match="class_weight"):
        ModelTargetedPoisoner(class_weight=bad).fit(X, np.where(y > 0, "yes", "no"))


def test_the_minimum_refuses_balanced_weights():
    """With "balanced" the fewest points are no convex program: an error says so, and what to do."""
    X, y, _ = blobs(8)
    attacker = MinimumPoisoner.from_estimator(LinearSVC(class_weight="balanced")).fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight='balanced'.*ModelTargetedPoisoner"):
        attacker.attack((-attacker.coef_, -attacker.intercept_))


# -- the fewest points ------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", [{"C": 0.5}, {"alpha": 0.05}], ids=str)
@pytest.mark.parametrize("label", [-1, 1])
def test_a_class_weight_of_w_is_every_row_of_the_class_w_times(loss, penalty, label):
    """Clean rows repeated, and points too: with points of one label the cost is that of the repeated table over w.

    (k counts weights here. Where the points may carry either label a copy of one costs another share of a point.)
    """
    X, y, _ = blobs(9)
    w = 3
    repeats = np.where(y == label, w, 1)
    X_long, y_long = np.repeat(X, repeats, axis=0), np.repeat(y, repeats)
    weighted, plain = ({"loss": loss, **penalty} | more for more in ({"class_weight": {label: w}}, {}))
    space = FeatureSpace(0.0, 1.0, labels=[label])
    clean = refit(X, y, make_objective(**weighted))
    assert_allclose(clean.theta, refit(X_long, y_long, make_objective(**plain)).theta, atol=1e-6)  # 1e-8 of |theta|
    x = np.array([0.9, 0.1, 0.6]) if label < 0 else np.array([0.1, 0.9, 0.3])  # inside: a target is known to 1e-11
    rows, labels = np.vstack([X, np.repeat(x[None], 4, axis=0)]), np.append(y, np.full(4, label))
    target = refit(rows, labels, make_objective(**weighted), tol=1e-11).theta
    one = minimum_poisoning(X, y, target, feasible_set=space, margin_tol=1e-7, **weighted)
    other = minimum_poisoning(X_long, y_long, target, feasible_set=space, margin_tol=1e-7, integer=False, **plain)
    assert_allclose(w * one.certificate.value, other.certificate.value, rtol=1e-6)  # the solver's tolerances
    assert 0 < one.lower_bound <= min(4, one.n_points)
    assert one.certificate.check(X, y).holds
    if loss == "hinge":  # the true whole minimum; that of smooth losses is searched for
        assert one.status == "reached"
        assert one.n_points <= 4


ROWS = {"alpha": 0.01, "count_rows": True}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", [{"C": 0.5}, {"alpha": 0.01}, ROWS], ids=str)
@pytest.mark.parametrize("where", ["box", "records", "pool"])
def test_no_bound_exceeds_what_was_planted(loss, penalty, where):
    """Train on clean rows plus n points, each with the weight of its label: no bound exceeds n, in any space.

    One heavy label and one light one, so that a weight forgotten on either side of the bound would show.
    """
    for seed in range(2):
        X, y, weight = blobs(10 + seed)
        heavy = 1 if seed else -1
        kind = {"loss": loss, "class_weight": {heavy: 3.0, -heavy: 0.6}, **penalty}
        points, labels = np.array([[0.0, 0.1, 0.9], [1.0, 0.9, 0.1]]), np.array([1.0, -1.0])
        rows, signs = np.repeat(points, [3, 4], axis=0), np.repeat(labels, [3, 4])
        target = refit(
            np.vstack([X, rows]),
            np.append(y, signs),
            make_objective(**kind),
            np.append(weight, np.ones(7)),
            tol=1e-11,
        ).theta
        space = {
            "box": FeatureSpace(0.0, 1.0),
            "records": FeatureSpace(0.0, 1.0, integer=[0]),
            "pool": CandidatePool(np.vstack([points, X[::4]])),
        }[where]
        data = X, y, target
        found = minimum_poisoning(*data, feasible_set=space, sample_weight=weight, **kind)
        path = poison(*data, feasible_set=space, sample_weight=weight, max_points=40, tol=1e-4, **kind)
        assert max(found.lower_bound, path.lower_bound) <= 7
        # the target is far away, so that both prove something
        assert found.lower_bound > 0
        assert path.lower_bound > 0
        # what Theorem 2 proves along the path is never more than the best direction does
        assert path.lower_bound <= found.lower_bound
        for result in (found, path):
            assert result.certificate.check(X, y, weight).holds
            assert result.verify(X, y, sample_weight=weight).ok


@pytest.mark.parametrize("estimator", EXACT[:3], ids=str)
def test_the_victim_itself_reaches_the_target_with_the_points_found(estimator):
    """class_weight of the estimator, no sample weights: its own fit on clean plus poison ends at the target.

    Planted: 20 points of the heavy label. Weighing them like light rows would ask for 160.
    """
    X, y, _ = blobs(12, n=120)
    estimator = type(estimator)(**(estimator.get_params() | {"class_weight": {1: 8.0}, "C": 0.2, "tol": 1e-7}))
    attacker = MinimumPoisoner.from_estimator(estimator, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y)
    x = np.array([[0.0, 0.1, 0.2]])
    objective = make_objective(
        attacker.loss, C=0.2, penalize_intercept=attacker.penalize_intercept, class_weight={1: 8}
    )
    target = refit(np.vstack([X, np.repeat(x, 20, axis=0)]), np.append(y, np.ones(20)), objective, tol=1e-11).theta
    result = attacker.attack((target[:-1], target[-1]))
    assert result.status == "reached"
    assert 0 < result.lower_bound <= min(20, result.n_points)
    assert result.n_points <= 20 + (attacker.loss != "hinge")  # whole counts of a smooth loss are searched for
    own = estimator.fit(*result.poisoned(X, y)[:2])
    assert_allclose(np.append(own.coef_, own.intercept_), target, atol=1e-4)  # its stopping rule


@pytest.mark.parametrize("loss", LOSSES)
def test_within_a_tolerance_labels_weigh_too(loss):
    """A model in the ball that 8 points induce: the bound for the whole ball is at most 8."""
    X, y, _ = blobs(13)
    kind = {"loss": loss, "class_weight": {-1: 2.0, 1: 0.5}, **ROWS}
    rows, labels = np.repeat([[0.9, 0.8, 0.9]], 8, axis=0), np.full(8, -1.0)
    induced = refit(np.vstack([X, rows]), np.append(y, labels), make_objective(**kind), tol=1e-11).theta
    shift = np.array([0.5, -0.5, 0.5, 0.5])
    target = induced + 0.999 * 0.05 * shift
    result = minimum_poisoning(X, y, target, feasible_set=FeatureSpace(0.0, 1.0), tol=0.05, max_points=8, **kind)
    assert 0 < result.lower_bound <= 8
    assert result.certificate.check(X, y).holds


def test_documents_weigh_what_their_label_does():
    """Texts under an l2 norm, where the program is an ascent: the bound is at most the planted number."""
    rng = np.random.default_rng(14)
    counts = rng.poisson(0.8, (50, 6)) + np.eye(6)[rng.integers(0, 6, 50)]
    y = np.where(counts[:, 0] + counts[:, 1] > counts[:, 2] + counts[:, 3], 1.0, -1.0)
    rows = np.array([[1.0, 1.0, 0, 0, 0, 2.0], [0, 0, 2.0, 1.0, 1.0, 0]])
    X, points = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (counts, rows))
    space = DocumentSpace(max_length=8, max_count=np.full(6, 4.0), norm="l2")
    for loss in ("hinge", "log_loss"):
        kind = {"loss": loss, "C": 1.0, "class_weight": {-1: 0.5, 1: 4.0}}
        planted = np.repeat(points, [6, 4], axis=0), np.repeat([-1.0, 1.0], [6, 4])
        objective = make_objective(**kind)
        target = refit(np.vstack([X, planted[0]]), np.append(y, planted[1]), objective, tol=1e-11).theta
        found = minimum_poisoning(X, y, target, feasible_set=space, **kind)
        assert 0 < found.lower_bound <= 10
        assert found.certificate.check(X, y).holds
        path = poison(X, y, target, feasible_set=space, max_points=15, tol=1e-3, **kind)
        assert path.lower_bound <= found.lower_bound


@pytest.mark.parametrize("class_weight", [None, {"no": 0.5, "yes": 3}, "balanced"], ids=str)
@pytest.mark.parametrize("count_rows", [False, True])
def test_a_flipped_row_weighs_what_its_new_label_does(class_weight, count_rows):
    """make_target trains on the expanded table as the victim would."""
    X, y, weight = blobs(15)
    labels = np.where(y > 0, "yes", "no")
    kind = {"loss": "log_loss", "alpha": 0.05, "count_rows": count_rows}
    target = make_target(X, labels, quantiles=[0.3], repeats=[3], goal=0.0, sample_weight=weight,
                         class_weight=class_weight, **kind)  # fmt: skip
    signs = {"no": -1, "yes": 1}
    if isinstance(class_weight, dict):
        class_weight = {signs[label]: value for label, value in class_weight.items()}
    objective = make_objective(class_weight=class_weight, **kind)
    clean = refit(X, y, objective, weight).theta
    margin = objective.margins(clean, X, y)
    low = np.repeat(np.flatnonzero(margin < np.quantile(margin, 0.3)), 3)
    X_all, y_all = np.vstack([X, X[low]]), np.append(y, -y[low])
    again = refit(X_all, y_all, objective, np.append(weight, np.ones(len(low)))).theta
    assert target.n_flips == len(low)
    assert_allclose(np.append(target.coef_, target.intercept_), again, atol=1e-6)  # tol 1e-8 each, |theta| about 5


@pytest.mark.parametrize("loss", LOSSES)
def test_the_ascent_over_documents_follows_its_gradient(loss):
    """The smoothed bound of the round program: its gradient is the difference quotient, class weights and all."""
    rng = np.random.default_rng(16)
    X = rng.random((30, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.where(rng.random(30) < 0.5, 1.0, -1.0)
    objective = make_objective(loss, alpha=0.02, class_weight={-1: 4.0, 1: 0.5})
    theta = refit(X, y, objective).theta + 0.3 * rng.normal(size=5)
    space = DocumentSpace(max_length=8, max_count=np.full(4, 4.0), norm="l2")
    setting = Setting(clean_gradient(X, y, theta, objective), theta, objective, space.regions(4))
    program = RoundProgram(setting)
    p = np.append(-setting.clean.gradient, [0.3, 0.4])
    value, gradient = program._cost(p, 0.1)
    assert value < 1e6  # the direction proves something
    step = 1e-6
    for i in range(len(p)):
        ends = [program._cost(p + side * step * np.eye(len(p))[i], 0.1)[0] for side in (1.0, -1.0)]
        assert_allclose((ends[0] - ends[1]) / (2 * step), gradient[i], rtol=1e-5, atol=1e-6)  # of order step^2


@pytest.mark.parametrize("count_rows", [False, True])
@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
def test_what_records_leave_over_is_the_gradient_of_the_objective(loss, count_rows):
    """Stationarity: the residual of whole records is the gradient of the summed objective on clean plus poison."""
    X, y, _ = blobs(17)
    rng = np.random.default_rng(17)
    objective = make_objective(loss, alpha=0.02, class_weight={-1: 4.0, 1: 0.5}, count_rows=count_rows)
    theta = rng.normal(size=4)
    space = FeatureSpace(0.0, 1.0, integer=[0])
    setting = Setting(clean_gradient(X, y, theta, objective), theta, objective, space.regions(3))
    rows, signs = rng.random((9, 3)), np.where(rng.random(9) < 0.5, 1.0, -1.0)
    rho, _ = residual(setting, rows, signs)
    X_all, y_all = np.vstack([X, rows]), np.append(y, signs)
    step = 1e-6
    for i in range(4):
        ends = [objective.value(theta + side * step * np.eye(4)[i], X_all, y_all) for side in (1.0, -1.0)]
        assert_allclose((ends[0] - ends[1]) / (2 * step), rho[i], rtol=1e-6, atol=1e-6)  # of order step^2


def test_records_are_moved_by_their_weighted_pull():
    """With a continuous coordinate the records of a smooth loss hit the target of planted ones, whatever they weigh."""
    X, y, _ = blobs(18)
    kind = {"loss": "log_loss", "C": 0.5, "class_weight": {-1: 3.0, 1: 0.6}}
    rng = np.random.default_rng(18)
    rows = np.column_stack([rng.integers(0, 2, 14).astype(float), 0.2 + 0.6 * rng.random((14, 2))])
    signs = np.repeat([1.0, -1.0], 7)
    target = refit(np.vstack([X, rows]), np.append(y, signs), make_objective(**kind), tol=1e-11).theta
    result = minimum_poisoning(X, y, target, feasible_set=FeatureSpace(0.0, 1.0, integer=[0]), **kind)
    assert result.status == "reached"
    assert 0 < result.lower_bound <= 14
