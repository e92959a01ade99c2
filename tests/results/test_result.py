"""Results: what they hold, how they are cut, saved and drawn, and what verification catches."""

import dataclasses
import io
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtpfast import (
    CandidatePool,
    FeatureSpace,
    PoisoningResult,
    VerificationError,
    make_target,
    minimum_poisoning,
    poison,
)
from mtpfast import max_loss_difference as max_by_oracle
from mtpfast.losses.custom import custom
from mtpfast.losses.margin import LOG_LOSS, Loss, get_loss
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.bounds import NEVER
from mtpfast.training.victim import refit
from mtpfast.verification import retrain
from mtpfast.verification.maximum import attained_and_proved, max_loss_difference
from mtpfast.verification.retrain import Training, prove

BOX = FeatureSpace(0.0, 1.0)


@pytest.fixture(scope="module")
def target(cancer):
    return make_target(*cancer, quantiles=[0.2], repeats=[2], goal=0.0, alpha=0.05)


@pytest.fixture(scope="module")
def result(cancer, target):
    return poison(*cancer, target, alpha=0.05, feasible_set=BOX, tol=0.05)


def same(a, b):
    """Equality of everything that a result may hold; built-in losses are told by their names."""
    a, b = (item.item() if isinstance(item, np.generic) else item for item in (a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if sp.issparse(a):
        return sp.issparse(b) and a.shape == b.shape and same(a.toarray(), b.toarray())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and np.isnan(a):
        return np.isnan(b)
    if isinstance(a, (FeatureSpace, CandidatePool)):
        names = ("X", "y") if isinstance(a, CandidatePool) else ("lower", "upper")
        return type(a) is type(b) and all(same(getattr(a, name), getattr(b, name)) for name in names)
    if isinstance(a, Loss):
        return type(a) is type(b) and a.name == b.name
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return type(a) is type(b) and a == b


# -- what it holds ---------------------------------------------------------------------------------


def test_points_and_counts_belong_together(result):
    assert result.status == "reached"
    assert result.counts.sum() == result.n_points == len(result.X_poison) == len(result.y_poison)
    assert_array_equal(result.X_poison, result.points[result.sequence])
    assert_array_equal(np.repeat(np.arange(len(result.points)), result.counts), np.sort(result.sequence))
    assert result.coef_.shape == (1, 30)
    assert result.intercept_.shape == (1,)
    assert result.distance == np.linalg.norm(result.theta - result.theta_target)
    assert isinstance(result.n_points, int)
    assert isinstance(result.lower_bound, int)


def test_a_result_is_frozen(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = "reached"
    for array in (result.theta, result.points, result.sequence, result.path, result.history["distance"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_repr_is_one_short_line(result):
    text = repr(result)
    assert len(text) < 250
    assert "\n" not in text
    assert f"{result.n_points} points" in text
    assert "loss_difference <= 0.05" in text


def test_poisoned_appends_the_points(cancer, result):
    X, y = cancer
    X_mod, y_mod, mask = result.poisoned(X, y)
    assert_array_equal(X_mod[~mask], X)
    assert_array_equal(X_mod[mask], result.X_poison)
    assert_array_equal(y_mod, np.concatenate([y, result.y_poison]))
    sparse = result.poisoned(sp.csr_matrix(X), y)[0]
    assert sparse.format == "csr"
    assert_array_equal(sparse.toarray(), X_mod)
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(30)])
    as_frame = result.poisoned(frame, y)[0]
    assert list(as_frame.columns) == list(frame.columns)
    assert_array_equal(as_frame.to_numpy(), X_mod)
    assert_array_equal(result.poisoned(X.tolist(), y.tolist())[0], X_mod)


@pytest.mark.parametrize(
    "X, y, message",
    [
        (np.ones((3, 4)), np.ones(3), r"X must have shape \(n_clean, 30\), got \(3, 4\)"),
        (np.ones((3, 30)), np.ones(4), r"y must have shape \(3,\), one label per row of X, got \(4,\)"),
    ],
)
def test_poisoned_names_what_is_wrong(result, X, y, message):
    with pytest.raises(ValueError, match=message):
        result.poisoned(X, y)


# -- prefixes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 7, 20])
def test_a_prefix_is_the_attack_of_that_size(cancer, target, result, k):
    """Algorithm 1 is incremental: stopping it at k points gives the first k points."""
    prefix = result.at_budget(k)
    assert prefix.n_points == k
    if k == 0:
        assert prefix.X_poison.shape == (0, 30)
        return
    short = poison(*cancer, target, alpha=0.05, feasible_set=BOX, tol=0.05, max_points=k)
    assert_array_equal(prefix.X_poison, short.X_poison)
    assert_array_equal(prefix.y_poison, short.y_poison)
    assert_allclose(prefix.theta, short.theta, atol=1e-12)  # the same operations in the same order
    assert (prefix.status, prefix.lower_bound) == (short.status, short.lower_bound)
    assert prefix.loss_difference == pytest.approx(short.loss_difference, rel=1e-9)
    assert len(prefix.history["n_points"]) == len(prefix.path)


def test_prefixes_hold_up(cancer, result):
    assert result.at_budget(result.n_points) is result
    assert result.at_budget(10**9) is result
    for k in (0, 3, result.n_points // 2):
        assert result.at_budget(k).verify(*cancer).ok


def test_every_model_of_a_long_path_is_what_training_returns(digits):
    """Hundreds of incremental refits later, a model is still the optimum on its rows."""
    X, y = digits
    target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.05, alpha=0.09)
    long = poison(X, y, target, alpha=0.09, feasible_set=BOX, tol=0.02)
    for k in range(0, long.n_points, 111):
        assert long.at_budget(k).verify(X, y).ok


def test_a_prefix_counts_repeats(cancer, target):
    result = poison(*cancer, target, alpha=0.05, feasible_set=BOX, tol=1e-9, max_points=24, repeats=5)
    assert result.at_budget(14).n_points == 10
    assert_array_equal(result.at_budget(14).X_poison, result.X_poison[:10])


@pytest.mark.parametrize(
    "k, error, message",
    [
        (-1, ValueError, "k must be at least 0, got -1"),
        (1.5, TypeError, r"k must be an integer, got 1\.5"),
        (True, TypeError, "k must be an integer, got True"),
    ],
)
def test_a_prefix_needs_a_count(result, k, error, message):
    with pytest.raises(error, match=message):
        result.at_budget(k)


def test_a_result_without_a_path_has_no_prefixes(result):
    with pytest.raises(ValueError, match="this attack is not incremental"):
        dataclasses.replace(result, path=None).at_budget(3)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["path", "file"])
def test_round_trip_is_exact(result, tmp_path, where):
    place = tmp_path / "attack.result" if where == "path" else io.BytesIO()
    result.save(place)
    if where == "file":
        place.seek(0)
    else:
        assert [entry.name for entry in tmp_path.iterdir()] == ["attack.result"]  # no suffix of its own
    assert same(PoisoningResult.load(place), result)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": np.array(["no", "yes"]), "labels": np.array(["yes"])},
        {"classes": np.array(["no", "yes"], dtype=object), "labels": np.array(["yes"], dtype=object)},
        {"feature_names": np.array([f"f{j}" for j in range(30)], dtype=object)},
        {"feasible_set": CandidatePool(sp.csr_matrix(np.eye(30)), y=["no"] * 30)},
        {"feasible_set": CandidatePool(np.eye(30))},
        {"feasible_set": FeatureSpace(np.zeros(30), 1.0)},
        {"points": sp.csr_matrix((3, 30))},
        {"path": None, "certificate": None, "message": "é ≤ 1"},
        {"loss_difference": float("nan"), "tol": np.float64(0.1), "lower_bound": np.int64(3)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_round_trip_of_every_kind(result, change):
    if "labels" in change:  # a file holds a label for every point
        change = {**change, "labels": np.resize(change["labels"], len(result.labels))}
    if "points" in change:
        change = {"points": sp.csr_matrix(result.points.shape)}
    changed, file = dataclasses.replace(result, **change), io.BytesIO()
    changed.save(file)
    file.seek(0)
    loaded = PoisoningResult.load(file)
    for name in change:
        assert same(getattr(changed, name), getattr(loaded, name))


def test_the_file_holds_no_pickle(result):
    file = io.BytesIO()
    result.save(file)
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_a_custom_loss_is_handed_in_again(result):
    loss = custom(lambda m: np.logaddexp(0, -m), lambda m: -1 / (1 + np.exp(np.minimum(m, 700))), name="mine")
    objective = dataclasses.replace(result.objective, loss=loss)
    changed, file = dataclasses.replace(result, objective=objective, certificate=None), io.BytesIO()
    changed.save(file)
    file.seek(0)
    with pytest.raises(ValueError, match="saved with loss 'mine'"):
        PoisoningResult.load(file)
    file.seek(0)
    with pytest.raises(ValueError, match="saved with loss 'mine'"):
        PoisoningResult.load(file, loss=LOG_LOSS)
    file.seek(0)
    assert PoisoningResult.load(file, loss=loss).objective == objective


def test_other_files_are_refused(result, tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="path must name a file written by PoisoningResult"):
        PoisoningResult.load(tmp_path / "other.npz")
    with pytest.raises(TypeError, match="a result that holds a set cannot be saved"):
        dataclasses.replace(result, feasible_set={1}).save(tmp_path / "broken.npz")
    assert not (tmp_path / "broken.npz").exists()


def test_pickle_keeps_a_result(result):
    assert same(pickle.loads(pickle.dumps(result)), result)


@pytest.mark.parametrize(
    "options",
    [
        {"feasible_set": BOX},
        {"feasible_set": BOX, "tol": 0.05},
        {"feasible_set": BOX, "max_points": 20},
        {"feasible_set": BOX, "integer": False},
        {"feasible_set": BOX, "scale": 100.0},
        {"pool": True},
    ],
    ids=str,
)
def test_every_kind_of_minimum_is_saved_drawn_and_verified(cancer, target, options):
    X, y = cancer
    scale, options = options.get("scale", 1.0), {k: v for k, v in options.items() if k != "scale"}
    if options.pop("pool", False):
        options["feasible_set"] = CandidatePool(X)
    found = minimum_poisoning(X, y, (scale * target.coef_, target.intercept_), alpha=0.05, **options)
    assert (found.status == "unattainable") == (scale == 100.0)
    assert ("no number of points suffices" in repr(found)) == (scale == 100.0)
    file = io.BytesIO()
    found.save(file)
    file.seek(0)
    loaded = PoisoningResult.load(file)
    assert same(loaded, found)
    assert loaded.verify(X, y).ok
    assert loaded.poisoned(X, y)[0].shape == (569 + found.n_points, 30)
    from matplotlib.figure import Figure

    found.plot(Figure().subplots(1, 2)).savefig(io.BytesIO())


# -- pictures --------------------------------------------------------------------------------------


def test_plot_draws_on_given_axes(result):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(1, 2)
    assert result.plot(axes) is figure
    assert {line.get_label() for line in axes[0].lines} >= {"loss difference", "distance"}
    figure.savefig(io.BytesIO())


def test_plot_makes_a_figure(result):
    from matplotlib import pyplot as plt

    figure = result.plot()
    assert len(figure.axes) == 2
    plt.close(figure)


# -- verification ----------------------------------------------------------------------------------


def test_an_honest_result_passes(cancer, result):
    report = result.verify(*cancer)
    assert report.ok
    assert report.solver == "sklearn LinearSVC"
    assert report.lower_bound >= result.lower_bound > 0
    assert report.loss_difference == pytest.approx(result.loss_difference, abs=1e-5)
    assert "FAILED" not in repr(report)


def lie(result, **change):
    return dataclasses.replace(result, **change)


@pytest.mark.parametrize(
    "tamper, claim",
    [
        (lambda r: lie(r, theta=r.theta + 1e-3), "l2 distance to the retrained model"),
        (lambda r: lie(r, theta=r.theta * (1 + 1e-4)), "l2 distance to the retrained model"),
        (lambda r: lie(r, points=r.points + 2.0), "points outside the feasible set"),
        (lambda r: lie(r, points=np.nextafter(r.points, 2)), "points outside the feasible set"),
        (lambda r: lie(r, labels=-r.labels), "l2 distance to the retrained model"),
        (lambda r: lie(r, sequence=r.sequence[:-2]), "l2 distance to the retrained model"),
        (lambda r: lie(r, loss_difference=r.loss_difference / 2), "loss difference"),
        (lambda r: lie(r, loss_difference=r.loss_difference * 2), "loss difference"),
        (lambda r: lie(r, tol=r.loss_difference / 2), "reached: loss difference <= tol"),
        (lambda r: lie(r, stop="distance", tol=r.distance / 2), "reached: distance <= tol"),
        (lambda r: lie(r, lower_bound=2 * r.lower_bound), "lower bound"),
        (lambda r: lie(r, certificate=None, path=None), "lower bound"),
        (lambda r: lie(r, certificate=None, lower_bound=2 * r.lower_bound), "lower bound"),
        (lambda r: lie(r, status="unattainable"), "unattainable: points needed"),
        (lambda r: lie(r, feasible_set=FeatureSpace(0.0, 1.5)), "certificate of another problem"),
        (lambda r: lie(r, theta_target=1.01 * r.theta_target), "certificate of another problem"),
    ],
)
def test_a_lie_is_caught(cancer, result, tamper, claim):
    with pytest.raises(VerificationError, match=claim) as caught:
        tamper(result).verify(*cancer)
    assert claim in [check.name for check in caught.value.report.failed]
    assert "FAILED" in repr(caught.value.report)


def test_verification_is_of_the_data_that_was_attacked(cancer, result):
    X, y = cancer
    with pytest.raises(ValueError, match="X has 568 rows, the attack was on 569"):
        result.verify(X[1:], y[1:])
    with pytest.raises(ValueError, match="sample_weight sums to 1138"):
        result.verify(X, y, sample_weight=np.full(569, 2.0))
    with pytest.raises(ValueError, match=r"y must hold the labels \[.*\], got 3 in row 0"):
        result.verify(X, np.where(y > 0, 1, 3))
    with pytest.raises(VerificationError):
        result.verify(X[::-1], y)


CONVENTIONS = [
    (loss, regularizer, intercept)
    for loss in ("hinge", "squared_hinge", "log_loss")
    for regularizer in ({"alpha": 0.02}, {"C": 0.3})
    for intercept in ("penalized", "free", "none")
]


@pytest.mark.parametrize("loss, regularizer, intercept", CONVENTIONS)
@pytest.mark.parametrize("kind", ["box", "pool", "sparse"])
def test_every_convention_verifies(cancer, loss, regularizer, intercept, kind):
    """The refit agrees with somebody else's solver, and the bound with its certificate."""
    X, y = cancer
    rows = slice(0, None, 4)
    X, y = X[rows], y[rows]
    victim = {
        "loss": loss,
        **regularizer,
        "fit_intercept": intercept != "none",
        "penalize_intercept": intercept == "penalized",
    }
    target = make_target(X, y, quantiles=[0.2], repeats=[3], goal=0, **victim)
    space = BOX if kind == "box" else CandidatePool(X)
    if kind == "sparse":
        X, space = sp.csr_matrix(X), CandidatePool(sp.csr_matrix(X), y=y)
    found = poison(X, y, target, feasible_set=space, tol=0.05, max_points=30, **victim)
    assert found.verify(X, y).ok


def test_weights_are_taken_into_account(cancer):
    X, y = cancer
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    target = make_target(X, y, quantiles=[0.1], repeats=[2], goal=0, sample_weight=weight)
    found = poison(X, y, target, feasible_set=BOX, max_points=20, sample_weight=weight)
    assert found.verify(X, y, sample_weight=weight).ok
    with pytest.raises(ValueError, match="sample_weight sums to"):
        found.verify(X, y)


def test_an_allowance_belongs_to_one_claim():
    """A distance that agrees within what the reference solver may be off is "reached" within the same.

    With C = 100 LinearSVC ends up to 0.08 from the minimiser here: far more than the loss difference is allowed.
    """
    for seed in (12, 36, 49):
        rng = np.random.default_rng(seed)
        X = rng.random((40, 4))
        y = np.where(X @ rng.normal(size=4) + 0.3 * rng.normal(size=40) > 0.2, 1.0, -1.0)
        y[:2] = 1, -1
        P, labels, objective = rng.random((3, 4)), rng.choice([-1.0, 1.0], 3), make_objective("hinge", C=100.0)
        theta = refit(np.vstack([X, P]), np.concatenate([y, labels]), objective, tol=1e-12).theta
        found = minimum_poisoning(X, y, theta, loss="hinge", C=100.0, feasible_set=BOX)
        assert found.status == "reached"
        assert found.verify(X, y).ok


@pytest.mark.parametrize("penalize", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_target_with_every_row_on_the_margin_verifies(seed, penalize):
    """w = 0, b = -1: hundreds of rows are on the margin, and theta is the minimiser all the same."""
    rng = np.random.default_rng(seed)
    X = (rng.random((400, 25)) < 0.3).astype(float)
    y = np.where(X @ rng.normal(size=25) + 0.3 * rng.normal(size=400) > 0.6, 1.0, -1.0)
    victim = {"C": 0.05, "penalize_intercept": penalize}
    found = minimum_poisoning(X, y, (np.zeros(25), -1.0), feasible_set=BOX, **victim)
    assert found.status == "reached"
    assert found.verify(X, y).ok


def planted(seed):
    """A data set, a victim, and the target that three points among its rows induce; and a result for it."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.choice([20, 60])), int(rng.choice([1, 2, 6]))
    X = rng.random((n, d))
    kind = rng.choice(["box", "mixed", "pool"])
    space = CandidatePool(X) if kind == "pool" else BOX
    if kind == "mixed" and d == 6:
        X[:, 0], X[:, 1], X[:, 2:5] = rng.integers(0, 2, n), rng.integers(0, 8, n) / 7, np.eye(3)[rng.integers(0, 3, n)]
        space = FeatureSpace(0.0, 1.0, integer=[0], lattice={1: (0.0, 1 / 7)}, one_hot=[[2, 3, 4]])
    y = np.where(X @ rng.normal(size=d) + 0.3 * rng.normal(size=n) > 0.0, 1.0, -1.0)
    y[:2] = 1, -1
    weight = None if rng.random() < 0.5 else rng.choice([0.5, 1.0, 2.25], n)
    intercept = rng.choice(["penalized", "free", "none"])
    victim = {
        "loss": ("hinge", "squared_hinge", "log_loss")[seed % 3],
        "fit_intercept": bool(intercept != "none"),
        "penalize_intercept": bool(intercept == "penalized"),
        **({"C": 10 ** rng.uniform(-3, 3)} if rng.random() < 0.5 else {"alpha": 10 ** rng.uniform(-4, 0)}),
    }
    rows, labels = np.vstack([X, X[rng.integers(0, n, 3)]]), np.concatenate([y, rng.choice([-1.0, 1.0], 3)])
    weights = np.concatenate([np.ones(n) if weight is None else weight, np.ones(3)])
    target = refit(rows, labels, make_objective(**victim), sample_weight=weights, tol=1e-12).theta
    victim |= {"feasible_set": space, "sample_weight": weight}
    if seed % 2:
        return X, y, weight, minimum_poisoning(X, y, target, **victim)
    return X, y, weight, poison(X, y, target, tol=0.01, max_points=8, **victim)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(18))
def test_what_is_true_passes_and_what_is_not_fails(seed):
    """Honest results verify, over losses, conventions, sets and weights; every change of one is found."""
    X, y, weight, found = planted(seed)
    assert found.verify(X, y, sample_weight=weight).ok
    norm = np.linalg.norm(found.theta)
    first = np.eye(len(found.theta))[0]
    lies = [
        lie(found, theta=found.theta * (1 + 1e-4)),
        lie(found, theta=found.theta + 1e-4 * norm * first),
        lie(found, lower_bound=max(found.lower_bound + 1, NEVER), certificate=None, path=None),
    ]
    if found.status != "unattainable":
        lies.append(lie(found, status="unattainable"))
    if found.n_points:
        lies += [lie(found, points=found.points + 2.0), lie(found, sequence=found.sequence[:-1])]
    if found.loss_difference > 1e-3:
        lies.append(lie(found, loss_difference=0.99 * found.loss_difference))
    if found.distance > 1e-3 * norm:
        lies.append(lie(found, status="reached", stop="distance", tol=0.9 * found.distance))
    for each in lies:
        with pytest.raises(VerificationError):
            each.verify(X, y, sample_weight=weight)


@pytest.mark.parametrize("intercept", ["penalized", "free", "none"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_the_proof_of_a_model_encloses_the_minimiser(loss, intercept):
    """|w - w*| <= error and low <= b* <= high, at models near to the minimiser and far from it."""
    rng = np.random.default_rng(5)
    X = rng.random((50, 4))
    y = np.where(X @ [1.0, -2.0, 0.5, 1.0] + 0.3 * rng.normal(size=50) > 0.2, 1.0, -1.0)
    objective = make_objective(
        loss, alpha=0.01, fit_intercept=intercept != "none", penalize_intercept=intercept == "penalized"
    )
    best = refit(X, y, objective, tol=1e-13).theta
    training = Training.of(objective, X, y, None)
    least = objective.value(best, X, y)
    assert prove(training, best, best).error <= 1e-6
    for size in (1e-9, 1e-6, 1e-3, 1.0):
        step = size * rng.normal(size=5)
        step[-1] *= intercept != "none"
        proof = prove(training, best + step, best + step)
        moved = step[:-1] if intercept == "free" else step
        assert proof.error >= np.linalg.norm(moved) * (1 - 1e-6)  # the refit is to about 1e-13 of the minimiser
        assert proof.low - 1e-9 <= best[-1] <= proof.high + 1e-9
        assert proof.least <= least + 1e-12 * least


def test_an_intercept_at_the_end_of_the_optimal_ones_is_right():
    """Hinge, free intercept: with every row below the margin and as many of each label b is not unique."""
    X, y = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([1.0, 1.0, -1.0, -1.0])
    victim = {"C": 0.01, "penalize_intercept": False}
    found = poison(X, y, (np.array([0.5]), 0.2), feasible_set=BOX, max_points=0, **victim)
    ends = (-1.0, np.nextafter(1.0, 0), 0.3)  # w = 0, and b in [-1, 1] are all optimal
    for b in ends:
        theta = np.array([0.0, b])
        same = max_loss_difference(theta, found.theta_target, BOX, found.objective.loss, found.classes)
        right = {"loss_difference": same, "loss_difference_upper_bound": same, "certificate": None, "lower_bound": 0}
        assert lie(found, theta=theta, **right).verify(X, y).ok
    with pytest.raises(VerificationError, match="l2 distance"):
        lie(found, theta=np.array([0.0, 1.01])).verify(X, y)


def test_a_solver_that_stops_early_makes_nothing_false(cancer, result, monkeypatch):
    """With no effort allowed to scikit-learn the model is proved all the same."""
    monkeypatch.setattr(retrain, "WORK", 1.0)
    report = result.verify(*cancer)
    assert report.ok
    assert report.solver.startswith("nothing but the proof: sklearn LinearSVC")
    with pytest.raises(VerificationError):
        lie(result, points=result.points + 2.0).verify(*cancer)


def test_what_cannot_be_decided_is_neither_true_nor_false(cancer, result, monkeypatch):
    monkeypatch.setattr(retrain, "_pulls", lambda training, theta: iter([np.zeros(len(training.y))]))
    report = result.verify(*cancer)
    assert not report.failed
    assert not report.ok
    assert "l2 distance to the retrained model" in [check.name for check in report.undecided]
    assert "undecided" in repr(report)
    assert "FAILED" not in repr(report)


def test_progress_is_told_claim_by_claim(cancer, result, capsys):
    report = result.verify(*cancer, verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("verify: points outside the feasible set: ok\n")
    assert len(err.splitlines()) == len(report.checks)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_the_largest_difference_is_enclosed_where_lattices_are_long(loss):
    """A lattice of a million steps and levels: the oracle's interval and the check's own overlap; both are narrow."""
    rng, phi, classes = np.random.default_rng(2), get_loss(loss), np.array([-1.0, 1.0])
    for trial in range(12):
        d = int(rng.integers(6, 14))
        lattice = {j: (0.0, 1.0 / int(rng.choice([1, 7, 5000, 10**6]))) for j in range(5, d) if rng.random() < 0.7}
        space = FeatureSpace(np.zeros(d), 1.0, lattice=lattice, one_hot=[[0, 1, 2]], at_most_one=[[3, 4]])
        theta, goal = rng.choice([0.3, 3.0]) * rng.normal(size=(2, d + 1))
        theta = goal + 1e-6 * theta if trial % 4 == 0 else theta
        searched = max_by_oracle(theta, goal, space, loss=loss)
        attained, proved = attained_and_proved(theta, goal, space.bind(classes=classes), phi)
        scale = max(1.0, abs(attained))
        assert proved - attained <= 1e-7 * scale  # prunes at 1e-9
        assert attained <= searched.upper_bound + 1e-9 * scale
        assert searched.value <= proved + 1e-9 * scale


def test_the_bound_is_recomputed_to_the_last_point(cancer, result):
    """What the certificate proves may be claimed, and not one point more."""
    proved = result.verify(*cancer).lower_bound
    assert lie(result, lower_bound=proved).verify(*cancer).ok
    with pytest.raises(VerificationError, match="lower bound"):
        lie(result, lower_bound=proved + 1).verify(*cancer)


def test_a_custom_loss_verifies(cancer):
    X, y = (part[::4] for part in cancer)
    loss = custom(
        lambda m: np.sqrt(1 + np.minimum(m - 1, 0) ** 2) - 1,
        lambda m: np.minimum(m - 1, 0) / np.sqrt(1 + np.minimum(m - 1, 0) ** 2),
        name="soft hinge",
    )
    target = make_target(X, y, quantiles=[0.2], repeats=[3], goal=0, loss=loss)
    found = poison(X, y, target, loss=loss, feasible_set=BOX, tol=0.05, max_points=40)
    report = found.verify(X, y)
    assert report.solver == "scipy.optimize.minimize"
    assert report.lower_bound >= found.lower_bound > 0


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_the_check_of_the_loss_difference_is_its_maximum(loss):
    """Against all vertices of small boxes and a dense scan of all their edges' images."""
    rng = np.random.default_rng(0)
    phi, classes = get_loss(loss), np.array([-1.0, 1.0])
    grid = np.linspace(0, 1, 41)
    for _ in range(40):
        theta, goal = rng.normal(size=3) * 2, rng.normal(size=3) * 2
        lower = rng.normal(size=2)
        upper = lower + rng.exponential(size=2)
        space = FeatureSpace(lower, upper)
        x = np.stack(np.meshgrid(*(lower[j] + grid * (upper[j] - lower[j]) for j in range(2))), axis=-1).reshape(-1, 2)
        scan = max(
            np.max(phi.value(s * (x @ theta[:-1] + theta[-1])) - phi.value(s * (x @ goal[:-1] + goal[-1])))
            for s in (-1, 1)
        )
        found = max_loss_difference(theta, goal, space, phi, classes)
        assert found >= scan - 1e-12 * max(1.0, abs(scan))
        # Half a cell of the grid away, and the difference is Lipschitz (margins stay below 30).
        reach = np.abs(phi.derivative(-30.0)) * (np.abs(theta[:-1]) + np.abs(goal[:-1])) @ (upper - lower) / 80
        assert found <= scan + reach


@pytest.mark.parametrize(
    "name, status, n_points, bound", [("attack", "budget", 20, 30), ("minimum", "reached", 21, 19)]
)
def test_files_of_version_0_2_load_and_verify(name, status, n_points, bound):
    """The files were saved by version 0.2.0, for the data drawn here."""
    rng = np.random.default_rng(0)
    X = rng.random((40, 3))
    y = np.where(X @ [1, -1, 0.5] > 0.2, 1, -1)
    result = PoisoningResult.load(Path(__file__).parents[1] / "data" / f"{name}-0.2.npz")
    assert (result.status, result.n_points, result.lower_bound) == (status, n_points, bound)
    assert result.verify(X, y).ok


@pytest.mark.parametrize("field", ["status", "stop"])
def test_a_result_uses_no_word_that_is_not_listed(result, field):
    with pytest.raises(ValueError, match=f"{field} must be one of 'reached'|{field} must be one of 'loss_difference'"):
        lie(result, **{field: "done"})
