"""What the last digits of the models must not decide: features that move no score, ties, and the way of an attack."""

import os
import subprocess
import sys

import numpy as np
import pytest
import reference as ref
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from mtpfast import CandidatePool, FeatureSpace, max_loss_difference
from mtpfast.attacks.online import poison
from mtpfast.losses.margin import LOSSES, Loss, get_loss
from mtpfast.oracle.supply import Supply
from mtpfast.spaces.documents import DocumentSpace

every_loss = pytest.mark.parametrize("loss", ref.LOSSES)
LAST = 4e-16  # what another order of the sums of a refit does to weights of size 1


def shaken(theta, seed, size=LAST):
    """The model with other last digits; what is 0 becomes something of that size."""
    return theta + size * np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], size=theta.shape)


class Renamed(Loss):
    """A built-in loss under another name: no compiled twin."""

    def __init__(self, name):
        self.name, self._loss = "my " + name, LOSSES[name]
        self.lipschitz, self.smooth = self._loss.lipschitz, self._loss.smooth

    def value(self, margin):
        return self._loss.value(margin)

    def derivative(self, margin):
        return self._loss.derivative(margin)

    def second_derivative(self, margin):
        return self._loss.second_derivative(margin)


def same_point(theta, target, space, loss, n=12, **options):
    """The point that all models with other last digits lead to; it is a maximum all the same."""
    known = loss if isinstance(loss, str) else loss.name.removeprefix("my ")
    first = max_loss_difference(theta, target, space, loss=loss, **options)
    for seed in range(n):
        other = max_loss_difference(shaken(theta, seed), shaken(target, 100 + seed), space, loss=loss, **options)
        assert other.y == first.y
        # a kink of the hinge on an edge lies where the weights say, and these differ by LAST
        assert_allclose(other.x, first.x, rtol=0.0, atol=1e-13)
        assert_allclose(other.value, first.value, rtol=1e-10, atol=1e-12)
        assert other.upper_bound >= first.value * (1 - 1e-10) - 1e-12
    assert_allclose(
        first.value, ref.difference(known, theta, target, first.x, first.y), rtol=1e-12, atol=1e-13
    )  # attained
    return first


# ---------------------------------------------------------------- features that move no score


@every_loss
@pytest.mark.parametrize("low", [0.0, 0.25, -2.0])
def test_a_feature_that_moves_no_score_rests_nearest_zero(loss, low):
    """Weights 0 under both models, or 1e-16: the value is the allowed one nearest 0, whatever the signs are."""
    theta, target = np.array([1.0, 0.0, -0.7, 0.0, 0.1]), np.array([0.4, 0.0, -1.9, 0.0, -0.2])
    diff = same_point(theta, target, FeatureSpace(low, 1.0), loss)
    assert_array_equal(diff.x[[1, 3]], max(low, 0.0))
    whole = same_point(theta, target, FeatureSpace(np.array([low, low, low, -3]), 1.0, integer=[1, 3]), loss)
    assert_array_equal(whole.x[[1, 3]], [max(np.ceil(low), 0.0), 0.0])


@every_loss
def test_a_feature_that_moves_one_score_only_moves_all_the_same(loss):
    """Only where both weights are nothing is nothing gained: of two corners the better one is taken."""
    theta, target = np.array([1.0, 0.0, -0.4]), np.array([0.5, -0.8, 0.3])
    diff = same_point(theta, target, FeatureSpace(), loss)
    best = ref.oracle_frontier(loss, theta, target, np.zeros(2), np.ones(2))
    assert_allclose(diff.value, best.value, rtol=1e-9)
    assert diff.x[1] == (0.0 if diff.y > 0 else 1.0)


@every_loss
@pytest.mark.parametrize("kind", ["box", "sparse", "lattice"])
def test_an_attack_leaves_such_a_feature_at_the_most_common_value(loss, kind):
    """Every row stands three times, with 1, 1 and -2 (a half of it) in column 3: no pull, so its weight is nothing
    but rounding, and the points have the most common value there."""
    rng = np.random.default_rng(0)
    unit = 1.0 if kind == "lattice" else 0.5
    X = np.tile(rng.random((60, 4)), (3, 1))
    X[:, 3] = np.repeat([unit, unit, -2 * unit], 60)
    y = np.where(X[:, 0] + 0.3 * np.tile(rng.normal(size=60), 3) > 0.5, 1.0, -1.0)
    space = FeatureSpace(-2.0, 2.0, integer=[3] if kind == "lattice" else None)
    for last in (0.0, 1e-17, -1e-17):
        target = np.array([-1.0, 0.8, 0.6, last, 0.1])
        res = poison(
            sp.csr_matrix(X) if kind == "sparse" else X, y, (target[:-1], target[-1]), loss=loss, alpha=0.1,
            feasible_set=space, tol=0.0, max_points=1,
        )  # fmt: skip
        assert abs(res.path[0][3]) < 1e-14
        point = res.points.toarray() if kind == "sparse" else res.points
        assert point[0, 3] == unit


def test_a_group_rests_at_its_most_common_level():
    """No level of the group moves a score: the one that most clean rows have is on."""
    rng = np.random.default_rng(1)
    level = np.array([2] * 30 + [1] * 20 + [3] * 10)
    X = np.column_stack([rng.random(60), *[(level == k).astype(float) for k in (1, 2, 3)]])
    space = FeatureSpace(one_hot=[[1, 2, 3]])
    theta = np.array([1.0, 0.0, 0.0, 0.0, -0.3])
    for seed in range(12):
        model, target = shaken(theta, seed), shaken(np.array([-1.0, 0.0, 0.0, 0.0, 0.3]), 50 + seed)
        diff, _ = Supply(space, X, target).find(model, target, get_loss("hinge"))
        assert_array_equal(diff.x[1:], [0.0, 1.0, 0.0])
        alone = max_loss_difference(model, target, space)  # no data at hand: the first level
        assert_array_equal(alone.x[1:], [1.0, 0.0, 0.0])


def test_a_word_that_moves_no_score_is_not_written():
    """Documents: words without weight are left out, and of equal words the first are used."""
    theta = np.array([1.0, 0.0, -0.6, -0.6, 0.0, 0.2])
    target = np.array([-0.5, 0.0, 0.8, 0.8, 0.0, -0.1])
    for norm in (None, "l1"):
        diff = same_point(theta, target, DocumentSpace(3, 2, norm=norm), "hinge")
        assert_array_equal(diff.x[[1, 4]], 0.0)
        assert diff.x[2] >= diff.x[3]


# ---------------------------------------------------------------- ties


@every_loss
def test_edges_of_one_slope_are_followed_in_the_order_of_the_features(loss):
    """Columns that are multiples of one another give edges of one slope: the first feature moves first."""
    rng = np.random.default_rng(2)
    for _ in range(5):
        base, other = rng.normal(size=(2, 6))
        factor = np.array([1.0, 0.3, 1.7, 2.9])
        theta = np.concatenate([np.outer(base[:5], factor).ravel(), base[5:]])
        target = np.concatenate([np.outer(other[:5], factor).ravel(), other[5:]])
        diff = same_point(theta, target, FeatureSpace(), loss)
        best = ref.oracle_frontier(loss, theta, target, np.zeros(20), np.ones(20))
        assert_allclose(diff.value, best.value, rtol=1e-9, atol=1e-12)  # the reference finds it to 1e-9
        own = same_point(theta, target, FeatureSpace(), Renamed(loss), n=3)
        assert_allclose(own.x, diff.x, atol=1e-4)  # another search, as good a value: a flat maximum
        assert_allclose(own.value, diff.value, rtol=1e-9, atol=1e-12)


@every_loss
def test_equal_lattices_are_filled_in_their_order(loss):
    """Whole-number features with equal weights are interchangeable: the first goes as far as it can."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        base, other = rng.normal(size=(2, 5))
        theta = np.concatenate([np.repeat(base[:4], 3), base[4:]])
        target = np.concatenate([np.repeat(other[:4], 3), other[4:]])
        space = FeatureSpace(0, 2, integer=list(range(12)))
        diff = same_point(theta, target, space, loss, n=6)
        for k in range(4):
            group = diff.x[3 * k : 3 * k + 3]
            up = diff.y * theta[3 * k] > 0  # from which end levels count
            assert_array_equal(group, np.sort(group)[::-1] if up else np.sort(group))


@every_loss
def test_of_equal_labels_plus_one_is_taken(loss):
    """A symmetric box and models without intercept: (x, +1) and (-x, -1) are as good."""
    theta, target = np.array([1.0, -0.5, 0.3, 0.0]), np.array([-0.2, 0.9, 0.4, 0.0])
    assert same_point(theta, target, FeatureSpace(-1.0, 1.0), loss).y == 1.0


@every_loss
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
def test_of_equal_candidates_the_first_is_taken(loss, convert):
    """Rows that two models cannot tell apart but for rounding: the first of them."""
    rng = np.random.default_rng(4)
    theta, target = np.array([1.0, 1.0, -0.4, 0.0]), np.array([-0.5, -0.5, 0.7, 0.0])
    low = rng.random((40, 3))
    best = np.array([[0.9, 0.1, 0.05], [0.1, 0.9, 0.05], [0.3, 0.7, 0.05], [-0.3, -0.7, -0.05]])
    X = np.vstack([0.3 * low, best, 0.3 * low])
    diff = same_point(theta, target, CandidatePool(convert(X)), loss)
    assert_array_equal(diff.x, best[0])  # with the label -1; so is the last with +1
    assert diff.y == -1.0
    own = same_point(theta, target, CandidatePool(convert(X)), Renamed(loss), n=3)
    assert_array_equal(own.x, best[0])


@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
def test_the_place_on_an_edge_is_a_binary_fraction_that_costs_next_to_nothing(loss):
    """A smooth maximum does not carry small errors of the model on: models 1e-10 apart lead to the same point."""
    rng = np.random.default_rng(5)
    inside = 0
    for seed in range(40):
        theta, target = rng.normal(size=(2, 9))
        diff = max_loss_difference(theta, target, FeatureSpace(), loss=loss)
        near = max_loss_difference(shaken(theta, seed, 1e-10), target, FeatureSpace(), loss=loss)
        best = ref.oracle_frontier(loss, theta, target, np.zeros(8), np.ones(8))
        assert_allclose(diff.value, best.value, rtol=1e-9, atol=1e-12)
        assert_array_equal(near.x, diff.x)
        assert_array_equal(diff.x, np.rint(diff.x * 2.0**24) / 2.0**24)
        inside += np.any((diff.x > 0.0) & (diff.x < 1.0))
    assert inside >= 5


# ---------------------------------------------------------------- the way of an attack


WAY = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import reference as ref
from mtpfast import FeatureSpace
from mtpfast.attacks.online import poison
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

X, y = ref.digits_1_vs_7()
out = {}
for loss, most in (("hinge", 150), ("log_loss", 80)):
    objective = make_objective(loss, alpha=0.09)
    margin = objective.margins(refit(X, y, objective).theta, X, y)
    rows = np.flatnonzero(margin < np.quantile(margin, 0.2))
    target = refit(np.vstack([X, *[X[rows]] * 5]), np.append(y, np.tile(-y[rows], 5)), objective).theta
    res = poison(X, y, (target[:-1], target[-1]), loss=loss, alpha=0.09, feasible_set=FeatureSpace(0.0, 1.0), tol=0.0,
                 max_points=most)
    out[loss + "_points"] = np.column_stack([res.X_poison, res.y_poison])
    out[loss + "_D"] = res.history["loss_difference"]
np.savez(sys.argv[2], **out)
"""


def test_an_attack_takes_the_same_way_under_another_kernel_of_blas(tmp_path):
    """The sums of a refit are added in another order: the points of the hinge are the same, and D of the log loss."""
    ways = []
    for kernel in (None, "Nehalem"):  # the plain one, which every x86-64 processor has; elsewhere the name is ignored
        environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
        environment |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
        out = tmp_path / f"{kernel}.npz"
        subprocess.run(
            [sys.executable, "-c", WAY, os.path.dirname(ref.__file__), str(out)],
            env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
        )
        with np.load(out) as way:
            ways.append(dict(way))
    plain, other = ways
    assert len(plain["hinge_points"]) == 150
    # a kink lies where the target's weights say, which are 1e-15 apart
    assert_allclose(other["hinge_points"], plain["hinge_points"], rtol=0.0, atol=1e-9)
    # refits end at a gap of 1e-8 of the model; D has a slope of a few units in it
    assert_allclose(other["log_loss_D"], plain["log_loss_D"], rtol=0.0, atol=1e-6)
