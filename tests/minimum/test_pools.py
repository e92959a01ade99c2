"""Pools whose rows may be used so many times: label flips, their attack, their minimum and their certificate."""

import numpy as np
import pytest
import reference as ref
from scipy.optimize import linprog

from mtpfast import CandidatePool, MinimumPoisoner, ModelTargetedPoisoner, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.bounds import NEVER
from mtpfast.proofs.certificate import bound
from mtpfast.proofs.clean_pass import clean_gradient
from mtpfast.training.victim import refit

ALPHA = 0.05


def problem(seed, n=60, d=3):
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.where(X @ rng.normal(size=d) + 0.2 * rng.normal(size=n) > 0.2, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    return rng, X, y


def planted(seed, loss, n_flips=12):
    """The model for the clean rows and n_flips of them once more with the other label: at most n_flips suffice."""
    rng, X, y = problem(seed)
    rows = rng.permutation(len(y))[:n_flips]
    target = refit(np.vstack([X, X[rows]]), np.append(y, -y[rows]), make_objective(loss, alpha=ALPHA), tol=1e-10).theta
    return X, y, target, n_flips


def flips_used(result, X, y):
    """How often every (row, other label) was used; rows of the problem are distinct."""
    used = np.zeros(len(y), dtype=int)
    for x, label, count in zip(result.points, result.labels, result.counts, strict=True):
        [row] = np.flatnonzero((X == x).all(axis=1))
        assert label == -y[row]
        used[row] += count
    return used


@pytest.mark.parametrize("loss", ref.LOSSES)
@pytest.mark.parametrize("seed", range(2))
def test_label_flips_use_every_row_once_at_most_and_never_beat_the_bound(loss, seed):
    X, y, target, n_flips = planted(seed, loss)
    pool = CandidatePool.label_flips(X, y)
    options = {"loss": loss, "alpha": ALPHA, "feasible_set": pool}
    online = ModelTargetedPoisoner(**options, tol=1e-3, max_points=40).fit(X, y).attack((target[:-1], target[-1]))
    exact = MinimumPoisoner(**options).fit(X, y).attack((target[:-1], target[-1]))
    for result in (online, exact):
        assert flips_used(result, X, y).max() <= 1
        assert result.lower_bound <= n_flips
        assert result.verify(X, y).ok


def test_an_attack_that_has_used_every_row_says_so():
    X, y, target, _ = planted(0, "hinge")
    pool = CandidatePool.label_flips(X[:5], y[:5])
    attacker = ModelTargetedPoisoner(alpha=ALPHA, feasible_set=pool, tol=0.0).fit(X, y)
    result = attacker.attack((target[:-1], target[-1]))
    assert result.status == "stalled"
    assert result.n_points <= 5


@pytest.mark.parametrize("cap", [1, 2, 5])
@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
def test_the_bound_with_caps_is_the_linear_program_with_caps(loss, cap):
    """min sum nu  s.t.  G + sum nu_k g_k = 0, 0 <= nu_k <= cap: by linprog, column by column."""
    X, y, target, n_flips = planted(1, loss)
    objective = make_objective(loss, alpha=ALPHA)
    rows = np.column_stack([X, np.ones(len(y))])
    s = -np.asarray(ref.dphi(loss, y * (rows @ target)))
    G = -(s * y) @ rows + len(y) * ALPHA * target
    flipped = -np.asarray(ref.dphi(loss, -y * (rows @ target)))
    columns = (flipped * y)[:, None] * rows + ALPHA * target
    program = linprog(np.ones(len(y)), A_eq=columns.T, b_eq=-G, bounds=(0, cap), method="highs")
    assert program.status == 0
    pool = CandidatePool.label_flips(X, y, max_repeats=cap)
    result = minimum_poisoning(X, y, target, loss=loss, alpha=ALPHA, feasible_set=pool, integer=False)
    # the bound is for every model within 1e-6 of the target, which takes a part in 1e5 here; never above the program
    assert program.fun * (1.0 - 1e-4) <= result.certificate.value <= program.fun * (1.0 + 1e-7)
    assert result.lower_bound <= n_flips
    # any direction proves no more than the program's value
    clean = clean_gradient(X, y, target, objective)
    rng = np.random.default_rng(0)
    for _ in range(50):
        value, _ = bound(clean, rng.normal(size=len(target)), target, objective, pool)
        assert value <= program.fun * (1 + 1e-6)


def test_caps_can_make_a_target_unattainable():
    X, y, target, _ = planted(2, "log_loss", n_flips=20)
    few = CandidatePool.label_flips(X[:3], y[:3])
    result = minimum_poisoning(X, y, target, loss="log_loss", alpha=ALPHA, feasible_set=few)
    assert result.status == "unattainable"
    assert result.lower_bound == NEVER
    assert result.certificate.check(X, y).n_poison == NEVER
