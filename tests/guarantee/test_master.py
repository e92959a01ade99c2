"""The compiled master problem of the search for guarantees beside its twin in NumPy."""

from itertools import pairwise

import numpy as np
import pytest

from mtpfast import FeatureSpace, _master
from mtpfast.guarantee.search import _softened
from mtpfast.proofs.hulls import Hull

GROUPS = {
    "box": {},
    "one_hot": {"one_hot": [[0, 1, 2], [5, 6]]},
    "at_most_one": {"at_most_one": [[1, 3, 4]]},
    "both": {"one_hot": [[0, 1, 2]], "at_most_one": [[4, 7]]},
}


def hull_of(kind, label=-1.0):
    return Hull.of_region(FeatureSpace(np.zeros(9), np.ones(9), **GROUPS[kind]).regions(9)[label], label, 1.0)


def twin(hull, low, high, heat):
    """log sum exp, group by group."""
    order = np.arange(low.shape[1]) if hull.order is None else hull.order
    starts = np.append(hull.starts, len(order))
    least, share = low.sum(axis=1), np.zeros_like(low)
    for g, (i, j) in enumerate(pairwise(starts)):
        columns = order[i:j]
        fall = (low - high)[:, columns] / heat[:, None]
        levels = fall if hull.exactly[g] else np.column_stack([fall, np.zeros(len(low))])
        top = levels.max(axis=1, keepdims=True)
        total = np.exp(levels - top).sum(axis=1)
        least -= heat * (top[:, 0] + np.log(total))
        share[:, columns] = np.exp(fall - top) / total[:, None]
    return least, share


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("heat", [1e3, 1.0, 1e-3, 1e-12])
def test_the_softened_least_is_that_of_its_twin(kind, heat):
    rng = np.random.default_rng(3)
    hull = hull_of(kind)
    low, high = rng.normal(size=(2, 5, 10)) * 10.0
    high[0] = low[0]  # ties
    heats = heat * rng.uniform(0.5, 2.0, 5)
    least, share = _softened(hull, low, high, heats)
    expected, expected_share = twin(hull, low, high, heats)
    # sums of ten terms of some tens, and of ten times the temperature
    assert np.max(np.abs(least - expected)) <= 1e-12 * (100.0 + 10.0 * heat)
    assert np.max(np.abs(share - expected_share)) <= 1e-12
    hard, _ = hull.least(low, high)
    assert np.all(least <= hard + 1e-12 * 100.0)
    assert np.all(least >= hard - 2.0 * heat * 10.0 * np.log(4.0) - 1e-10)


def test_ends_are_the_minimisers():
    rng = np.random.default_rng(4)
    q, push = rng.normal(size=(2, 3, 7))
    k = rng.uniform(0.5, 2.0, (3, 7))
    theta, rest = rng.normal(size=7), rng.normal(size=3)
    model, value = np.empty((2, 3, 7))
    _master.ends(q, push, rest, k, theta, model, value)

    def added(t):
        return push * theta + k * t * t - (push * rest[:, None] - q) * t

    assert np.max(np.abs(added(model) - value)) <= 1e-12
    for away in (-1e-3, 1e-3):
        assert np.all(added(model + away) > value)


def test_other_shapes_are_refused():
    good = np.zeros((2, 3))
    with pytest.raises(ValueError, match="ends: shapes disagree"):
        _master.ends(good, good, np.zeros(3), good, np.zeros(3), good.copy(), good.copy())
    with pytest.raises(ValueError, match="softened: shapes disagree"):
        _master.softened(good, np.zeros((2, 4)), np.ones(2), np.zeros(0, int), np.zeros(0, int),
                         np.zeros(0, np.uint8), good.copy())  # fmt: skip
