"""The attacks of the literature: what a pool allows, and what they refuse."""

import numpy as np
import pytest
import scipy.sparse as sp

from mtpfast import CandidatePool, DamagePoisoner
from mtpfast.attacks.baselines import BASELINES, baseline
from mtpfast.losses.objective import make_objective
from mtpfast.verification import judge


def table(n=40, d=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    return np.clip(0.5 + 0.15 * y[:, None] * rng.random(d) + 0.2 * rng.normal(size=(n, d)), 0.0, 1.0), y


@pytest.mark.parametrize("options", [("beta", {}), ("influence", {"max_iter": 0, "n_distinct": 20}), ("min_max", {}),
                                     ("label_flip", {}), ("label_flip", {"rule": "alfa"})])  # fmt: skip
@pytest.mark.parametrize("max_repeats", [1, 2])
@pytest.mark.parametrize("kind", ["distinct", "equal", "sparse"])
def test_no_candidate_is_used_more_often_than_it_may_be(options, max_repeats, kind):
    """Copies of a point are at most max_repeats for every candidate equal to it, rows that are equal taken together."""
    X, y = table()
    if kind == "equal":  # five rows eight times, and candidates of which the first stands there twice
        X, y = np.repeat(X[:5], 8, axis=0), np.repeat(y[:5], 8)
    rows = np.vstack([X[:1], np.unique(X, axis=0)]) if kind == "equal" else X
    make = sp.csr_matrix if kind == "sparse" else np.array
    pool, (name, own) = CandidatePool(make(rows), max_repeats=max_repeats), options
    for budget in (1, 7, 100):
        found = baseline(name, make(X), y, budget=budget, feasible_set=pool, loss="log_loss", C=1.0, **own)
        seen = judge(make_objective("log_loss", C=1.0), make(X), y, found.points, found.labels, found.counts, pool)
        assert seen.feasible
        assert 1 <= seen.n_points <= budget
        # scikit-learn's tolerance
        np.testing.assert_allclose(found.theta, seen.theta, atol=1e-4)
        if seen.n_points < budget and name == "beta":
            assert "max_repeats" in found.message


def test_influence_takes_the_next_row_where_one_is_used_up():
    X, y = table()
    pool = CandidatePool(X, max_repeats=1)
    found = baseline("influence", X, y, budget=8, n_distinct=8, max_iter=0, feasible_set=pool, loss="log_loss", C=1.0)
    assert found.counts.tolist() == [1] * 8


@pytest.mark.parametrize("name", BASELINES)
def test_an_option_that_there_is_not_is_named_with_the_method(name):
    X, y = table()
    with pytest.raises(TypeError, match=rf"{name}.* takes no option 'colour'"):
        baseline(name, X, y, budget=1, C=1.0, target=np.zeros(4), colour="red")
    with pytest.raises(TypeError, match="callback must be callable"):
        baseline(name, X, y, budget=1, C=1.0, target=np.zeros(4), callback=3)
    with pytest.raises(TypeError, match="random_state must be"):
        baseline(name, X, y, budget=1, C=1.0, target=np.zeros(4), random_state="a")


def test_a_seed_that_is_none_is_named_by_damage_too():
    X, y = table()
    with pytest.raises(ValueError, match="random_state must be"):
        DamagePoisoner(C=1.0, budget=2, random_state=-1).fit(X, y).attack()
