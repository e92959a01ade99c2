"""What a result claims: "reached" is measured, the same call has the same answer, memory is in proportion."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

import mtpfast
from mtpfast import (
    CandidatePool,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    make_target,
    max_loss_difference,
    minimum_poisoning,
)
from mtpfast.attacks.online import poison
from mtpfast.losses.margin import LOSSES
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.blockwise import _shares
from mtpfast.minimum.programs.hinge import HingeProgram
from mtpfast.minimum.programs.wide import WideHingeProgram
from mtpfast.question import Problem, read_question
from mtpfast.training.victim import refit

loose_refits = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROOT = Path(mtpfast.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
# progress, and what a row of a table took: it decides nothing
TELLS_THE_TIME = {
    "attacks/baselines/task.py",
    "attacks/online.py",
    "cli.py",
    "comparison.py",
    "guarantee/per_row.py",
    "targets/told.py",
}
# where the caller may ask for an end after so many seconds, and the result says that it was asked
LIMITED_BY_THE_CALLER = {
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "reports").glob("*.py")),
    "attacks/damage.py",
    "attacks/damage_search.py",
    "estimators/damage.py",
    "results/damage.py",
}


# -- "reached" is measured --------------------------------------------------------------------


def planted(seed, loss, **kind):
    """A table, a few points in the box [0, 1]^d, and the model that both induce: (X, y, theta)."""
    rng = np.random.default_rng(seed)
    n, d, k = int(rng.integers(4, 25)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    X, y = rng.random((n, d)), np.where(rng.random(n) < 0.5, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    P, labels = rng.random((k, d)), rng.choice([-1.0, 1.0], k)
    theta = refit(np.vstack([X, P]), np.r_[y, labels], make_objective(loss, **kind), tol=1e-12).theta
    return X, y, theta


def test_what_rows_on_the_margin_pull_is_a_vertex():
    """However many rows lie on the margin, no more have a share strictly between 0 and 1 than there are equations,
    and they leave nothing where nothing need be left: planted shares, a thousand rows, five features."""
    rng = np.random.default_rng(0)
    pulls, planted_shares = rng.normal(size=(1000, 5)), rng.random(1000)
    shares = _shares(sp.csr_matrix(pulls), pulls.T @ planted_shares)
    assert np.all((shares >= 0.0) & (shares <= 1.0))
    assert np.count_nonzero((shares > 0.0) & (shares < 1.0)) <= 5
    # the sum of a thousand entries of order 1, to a few hundred of its last digits
    assert np.max(np.abs(pulls.T @ (shares - planted_shares))) <= 1e-11


@loose_refits
@pytest.mark.parametrize("intercept", [{}, {"penalize_intercept": False}, {"fit_intercept": False}])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_reached_without_retraining_is_what_retraining_finds(loss, intercept):
    """Strong convexity (and Newton's method in blocks): a model called "reached" is where training ends."""
    statuses = []
    for seed in range(12):
        kind = {"C": 10.0 ** np.random.default_rng(seed).uniform(-1, 1), **intercept}
        X, y, theta = planted(seed, loss, **kind)
        box = FeatureSpace(np.zeros(X.shape[1]), np.ones(X.shape[1]))
        result = minimum_poisoning(X, y, theta, loss=loss, feasible_set=box, retrain=False, **kind)
        statuses.append(result.status)
        assert np.all(np.isnan(result.theta)) == (result.status == "unverified")
        if result.status in ("unverified", "unattainable"):
            continue
        rows, labels = np.vstack([X, result.X_poison]), np.r_[y, result.y_poison]
        fit = refit(rows, labels, make_objective(loss, **kind), tol=1e-12).theta
        # what a proof may be off by, and the tolerance of the second training
        assert np.linalg.norm(fit - result.theta) <= 2e-6 * np.linalg.norm(theta)
        if result.status == "reached":
            assert np.linalg.norm(fit - theta) <= 3e-6 * np.linalg.norm(theta)
    free_hinge = loss == "hinge" and not intercept.get("penalize_intercept", True)
    assert "unverified" in statuses if free_hinge else statuses.count("reached") >= 4


def test_unverified_claims_nothing_of_the_model(tmp_path):
    """Strong convexity does not cover a free intercept under the hinge: without retraining, nothing is said of it."""
    X, y, theta = planted(3, "hinge", C=1.0, penalize_intercept=False)
    stored = np.memmap(tmp_path / "X.dat", dtype=float, mode="w+", shape=X.shape)
    stored[:] = X
    result = minimum_poisoning(stored, y, theta, C=1.0, penalize_intercept=False)
    assert result.status == "unverified"
    assert "retrain=True" in result.message
    assert np.isnan(result.distance)
    report = result.verify(X, y)
    assert not report.failed
    assert np.all(np.isfinite(report.theta))


@loose_refits  # where w is 1e8 times smaller than b, a gap proves less of w than of b
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("convention", ["C", "alpha"])
def test_the_unit_of_the_features_changes_no_answer(loss, convention):
    """X in units c and w in units 1 / c, the penalty of w times c^2: the same problem, the same statuses and counts."""
    rng = np.random.default_rng(1)
    X = rng.random((40, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.3 * rng.normal(size=40) > 0.2, 1.0, -1.0)
    rows = np.vstack([X, np.repeat([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], [4, 3], axis=0)])
    labels = np.r_[y, np.repeat([-1.0, 1.0], [4, 3])]
    answers = []
    for c in (1.0, 1e-8, 1e-4, 1e-2, 1e4, 1e8):
        kind = {"C": 1.0 / c**2} if convention == "C" else {"alpha": 0.02 * c**2}
        kind |= {"loss": loss, "penalize_intercept": False, "feasible_set": FeatureSpace(np.zeros(3), np.full(3, c))}
        penalty = {"C": 1.0} if convention == "C" else {"alpha": 0.02}
        theta = refit(rows, labels, make_objective(loss, penalize_intercept=False, **penalty), tol=1e-12).theta
        theta /= np.r_[c, c, c, 1.0]
        least = minimum_poisoning(X * c, y, theta, **kind)
        short = minimum_poisoning(X * c, y, theta, max_points=1, **kind)
        online = poison(X * c, y, theta, tol=0.05, max_points=30, **kind)
        answers.append([least.status, least.n_points, least.lower_bound, short.status, online.status, online.n_points])
    assert answers[0][0] == "reached"
    assert answers[0][3] == "budget"  # another model is not the target, however small its weights are
    assert all(answer == answers[0] for answer in answers), answers


# -- no clock decides -------------------------------------------------------------------------


def test_no_clock_decides_a_result():
    """No solver gets a limit in seconds; what reads a clock only prints: the command line, and ``verbose``."""
    for path in SOURCES:
        source, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        assert "time_limit" not in source or name in LIMITED_BY_THE_CALLER, name
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert "time" not in names or name in TELLS_THE_TIME | LIMITED_BY_THE_CALLER, name


def planted_pool(seed):
    """A pool of generic rows with a few planted copies: (X, y, theta, pool, n_planted)."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((30, 4)), np.tile([1.0, -1.0], 15)
    candidates = rng.random((10, 4))
    chosen, labels, counts = rng.choice(10, 3, replace=False), np.array([1.0, -1.0, 1.0]), rng.integers(1, 5, 3)
    theta = refit(
        np.vstack([X, np.repeat(candidates[chosen], counts, axis=0)]),
        np.r_[y, np.repeat(labels, counts)],
        make_objective("squared_hinge", C=1.0),
        tol=1e-12,
    ).theta
    return X, y, theta, CandidatePool(candidates), int(counts.sum())


@pytest.mark.parametrize("seed", range(4))
def test_whole_counts_of_a_pool_are_found_without_a_clock(seed):
    """Branch and bound by a count of linear programs: planted copies, or fewer, are found; twice the same ones."""
    X, y, theta, pool, planted = planted_pool(seed)
    first, second = (minimum_poisoning(X, y, theta, loss="squared_hinge", C=1.0, feasible_set=pool) for _ in range(2))
    assert first.status == "reached"
    assert first.lower_bound <= first.n_points <= planted
    assert_array_equal(first.X_poison, second.X_poison)
    assert_array_equal(first.theta, second.theta)


@loose_refits
@pytest.mark.parametrize("intercept", [{}, {"penalize_intercept": False}, {"fit_intercept": False}])
def test_eliminating_the_coordinates_changes_no_minimum(monkeypatch, intercept):
    """The hinge's program with and without the coordinates of its points: one value, one bound, and whole counts that
    hit the target (without points of weight between 0 and 1 perhaps more of them)."""
    for seed in range(12):
        kind = {"alpha": 0.05, **intercept} if seed % 2 else {"C": 1.0, **intercept}
        X, y, theta = planted(seed, "hinge", **kind)
        d = X.shape[1]
        box = FeatureSpace(np.zeros(d), np.ones(d))
        full = minimum_poisoning(X, y, theta, feasible_set=box, **kind)
        monkeypatch.setattr("mtpfast.minimum.programs.wide.WIDE", 0)
        wide = minimum_poisoning(X, y, theta, feasible_set=box, **kind)
        monkeypatch.undo()
        # two solvers' tolerances
        assert abs(wide.certificate.value - full.certificate.value) <= 1e-7 * max(1.0, full.certificate.value)
        assert wide.lower_bound == full.lower_bound
        if not intercept.get("penalize_intercept", True):
            continue  # which points pin a free intercept down differs between the two
        assert wide.n_points >= full.n_points or wide.status != "reached"
        if full.n_points == full.lower_bound and "least whole number" in wide.message:
            assert wide.n_points == full.n_points


@loose_refits
@pytest.mark.parametrize(
    "intercept, pinned",
    [
        ({}, False),
        ({"penalize_intercept": False}, False),
        ({"penalize_intercept": False}, True),
        ({"fit_intercept": False}, False),
    ],
)
def test_both_programs_of_the_hinge_find_the_same_least_whole_total(intercept, pinned):
    """A mixed-integer solver on the coordinates, and intervals of two counts for one total after the other."""
    found = 0
    for seed in range(12):
        X, y, theta = planted(seed, "hinge", alpha=0.05, **intercept)
        objective = make_objective("hinge", alpha=0.05, **intercept)
        setting = Problem.of(read_question(X, y, theta, objective, FeatureSpace(0.0, 1.0))).setting
        full, complete = HingeProgram(setting).whole(200, pinned)
        wide, complete_too = WideHingeProgram(setting).whole(200, pinned)
        assert complete
        assert complete_too
        assert (full is None) == (wide is None)
        if full is not None:
            assert full.sum() == wide.sum()
            found += 1
    assert found >= 3


def test_no_slope_is_beyond_the_steepest():
    """The inverse of s = 1 / (1 + e^m) at s = 1, where rounding may put an effective weight: no margin is that low."""
    assert LOSSES["log_loss"].margin_of(1.0) == -np.inf


# -- memory -----------------------------------------------------------------------------------

SPARSE = """
import resource, sys
import numpy as np, scipy.sparse as sp
from mtpfast import minimum_poisoning
d, loss = 50_000, sys.argv[1]
rng = np.random.default_rng(0)
X = sp.random(300, d, density=1e-3, random_state=rng, format="csr")
y = np.tile([1.0, -1.0], 150)
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
result = minimum_poisoning(X, y, (np.zeros(d), 0.0), C=1.0, loss=loss)
print(result.status, result.lower_bound)
"""


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_memory_is_of_the_order_of_the_features(loss):
    """300 sparse rows of 50,000 features within 3 GiB of addresses (a dense (d + 1, d) array takes 19 GiB)."""
    done = subprocess.run([sys.executable, "-c", SPARSE, loss], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- extremes ---------------------------------------------------------------------------------

TABLE = np.random.default_rng(0).random((20, 2)), np.tile([1.0, -1.0], 10)
MODEL = np.array([-1.0, 1.0, 0.5])
CALLS = {
    "X of poison": lambda s: poison(TABLE[0] * s, TABLE[1], MODEL),
    "target of poison": lambda s: poison(*TABLE, MODEL * s),
    "X of minimum_poisoning": lambda s: minimum_poisoning(TABLE[0] * s, TABLE[1], MODEL),
    "target of minimum_poisoning": lambda s: minimum_poisoning(*TABLE, MODEL * s),
    "X of fit": lambda s: ModelTargetedPoisoner().fit(TABLE[0] * s, TABLE[1]),
    "X of fit, minimum": lambda s: MinimumPoisoner().fit(TABLE[0] * s, TABLE[1]),
    "target of attack": lambda s: ModelTargetedPoisoner().fit(*TABLE).attack(MODEL * s),
    "X of make_target": lambda s: make_target(TABLE[0] * s, TABLE[1], TABLE[0], TABLE[1]),
    "upper of FeatureSpace": lambda s: FeatureSpace(0.0, s),
    "X_cand of CandidatePool": lambda s: CandidatePool(TABLE[0] * s),
    "target of max_loss_difference": lambda s: max_loss_difference(MODEL, MODEL * s, FeatureSpace(0.0, 1.0)),
    "alpha of poison": lambda s: poison(*TABLE, MODEL, alpha=s),
    "C of minimum_poisoning": lambda s: minimum_poisoning(*TABLE, MODEL, C=s),
    "sample_weight of poison": lambda s: poison(*TABLE, MODEL, sample_weight=np.full(20, s)),
    "X (sparse) of poison": lambda s: poison(sp.csr_matrix(TABLE[0] * s), TABLE[1], MODEL),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("size", [1e150, 1e-150])
def test_numbers_out_of_range_are_named(call, size):
    """The error says which argument is too large or too small, and how large it is; no overflow, no nonsense model."""
    name, word = call.split()[0], "large" if size > 1.0 else "small"
    with pytest.raises(ValueError, match=rf"{name}\b.* is too {word}: its largest absolute value is \d.*e[+-]1[45]\d"):
        CALLS[call](size)


@loose_refits
def test_solvers_print_nothing(capfd, monkeypatch):
    """Feasible and infeasible programs, whole numbers and fractions: nothing reaches the output streams."""
    monkeypatch.setattr("mtpfast.minimum.programs.branch.MOST_SOLVED", 20)
    for seed in range(2):
        for loss in ("hinge", "squared_hinge", "log_loss"):
            X, y, theta = planted(seed, loss, C=1.0)
            d = X.shape[1]
            for space in (
                FeatureSpace(np.zeros(d), np.ones(d)),
                FeatureSpace(np.zeros(d), np.ones(d), integer=list(range(d))),
                CandidatePool(np.random.default_rng(seed).random((12, d))),
            ):
                for model in (theta, 3.0 * theta):
                    minimum_poisoning(X, y, model, loss=loss, C=1.0, feasible_set=space)
    assert capfd.readouterr() == ("", "")
