"""A region of one's own: the simplex by its corners, with the members of the protocol and nothing else."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtpfast import (
    FeatureSpace,
    Intersection,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    Slab,
    max_loss_difference,
)
from mtpfast.spaces.frontier import supported_frontier
from mtpfast.spaces.labelled import KINDS, LabelledSpace

LOSSES = {
    "hinge": lambda m: np.maximum(0.0, 1.0 - m),
    "squared_hinge": lambda m: np.maximum(0.0, 1.0 - m) ** 2,
    "log_loss": lambda m: np.logaddexp(0.0, -m),
}


class SimplexRegion:
    kind, groups, at_rest, balls = "convex", (), None, ()
    is_convex, is_box, is_round = True, False, False

    def __init__(self, d):
        self.lower, self.upper, self.planes = np.zeros(d), np.ones(d), ((np.ones(d), 1.0),)

    def linear_maximum(self, coefficients, constant=0.0, sizes=None, size=None):
        sizes = np.abs(coefficients) if sizes is None else sizes
        size = abs(constant) if size is None else size
        return max(0.0, float(np.max(coefficients))) + constant, 1e-14 * (float(np.max(sizes)) + size)

    def linear_argmax(self, coefficients):
        best = int(np.argmax(coefficients))
        return (np.arange(len(self.lower)) == best) * float(coefficients[best] > 0.0)

    def into(self, x):
        x = np.maximum(x, 0.0)
        return x / max(1.0, x.sum())

    def frontier(self, A, a0, P, p0, uphill=None):
        return supported_frontier(self.linear_argmax, A, a0, P, p0, 400, uphill)

    def contains(self, X):
        X = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
        return (X >= 0.0).all(axis=1) & (X.sum(axis=1) <= 1.0 + 1e-12)

    def broken_rule(self, x, features):
        return f"the sum is {np.sum(x):g}, above 1"


@pytest.fixture(scope="module")
def simplex():
    known = dict(KINDS)

    class Simplex(LabelledSpace):
        def region_of(self, label, n_features):
            return SimplexRegion(n_features)

    yield Simplex()
    KINDS.clear()
    KINDS.update(known)


@pytest.mark.parametrize("loss", LOSSES)
def test_everything_works_on_it_and_its_certificates_are_its_own(simplex, loss, tmp_path):
    """Planted points bound the bound; what is found is inside; ``verify`` passes, after a file too."""
    rng = np.random.default_rng(3)
    X = rng.dirichlet(np.ones(4), 60)[:, :3]
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=60) > 0.1, 1, -1)
    points, labels = rng.dirichlet(np.ones(4), 7)[:, :3], np.repeat([1, -1], [4, 3])
    asked = {"loss": loss, "alpha": 0.05, "feasible_set": simplex}
    planted = ModelTargetedPoisoner(**asked).fit(np.vstack([X, points]), np.append(y, labels))
    target = planted.coef_, planted.intercept_
    least = MinimumPoisoner(**asked).fit(X, y).attack(target)
    assert least.status == "reached"
    assert 1 <= least.lower_bound <= 7
    online = ModelTargetedPoisoner(**asked, max_points=4).fit(X, y).attack(target)
    for result in (least, online):
        assert simplex.contains(result.X_poison, result.y_poison).all()
        assert result.verify(X, y).ok
    least.save(tmp_path / "least.npz")
    again = PoisoningResult.load(tmp_path / "least.npz")
    assert again.verify(X, y).ok

    other = PoisoningResult.load(tmp_path / "least.npz")
    object.__setattr__(other.goal, "feasible_set", FeatureSpace(0.0, 1.0))
    assert least.goal.differs(other.goal) == "feasible_set"


@pytest.mark.parametrize("loss", LOSSES)
def test_its_oracle_is_right_alone_and_in_an_intersection(simplex, loss):
    """Against all points of a lattice of the simplex, and of what a slab leaves of it."""
    steps = np.array([(i, j) for i in range(61) for j in range(61 - i)]) / 60.0
    cut = Intersection([simplex, Slab([1.0, -1.0], -0.5, 0.25)])
    rng, phi = np.random.default_rng(1), LOSSES[loss]
    for space in (simplex, cut):
        lattice = steps[space.contains(steps)]
        for _ in range(5):
            models = 2.0 * rng.normal(size=(2, 3))
            found = max_loss_difference(*models, space, loss=loss)
            of = [phi(sign * (lattice @ models[:, :2].T + models[:, 2])) for sign in (1.0, -1.0)]
            best = max(float(np.max(each[:, 0] - each[:, 1])) for each in of)
            assert best <= found.upper_bound + 1e-12 * abs(best)
            assert space.contains(found.x[None], found.y).all()
            u, v = (phi(found.y * (found.x @ model[:2] + model[2])) for model in models)
            assert_allclose(u - v, found.value, rtol=1e-12, atol=1e-12)  # a few roundings apart
            assert found.upper_bound - found.value <= 1e-8 * (1.0 + abs(found.value))
