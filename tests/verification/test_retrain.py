"""What the victim is trained on when it is checked: every distinct row once, weighing as all its copies."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from mtpfast import FeatureSpace, MinimumPoisoner
from mtpfast.losses.objective import make_objective
from mtpfast.verification.retrain import Training


@pytest.mark.parametrize("penalty", [{"alpha": 0.1}, {"alpha": 0.1, "count_rows": True}, {"C": 0.5}])
@pytest.mark.parametrize("class_weight", [None, {-1: 0.5, 1: 2.0}, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_that_stands_for_its_copies_is_the_same_training(penalty, class_weight, weighted):
    """``sum_i c_i phi(m_i)``, N in ``alpha N`` and the counts behind "balanced" are those of the repeated rows."""
    rng = np.random.default_rng(0)
    X, y = rng.random((12, 3)), np.where(np.arange(12) % 3 == 0, 1.0, -1.0)
    weight, copies = rng.uniform(0.5, 2.0, 12) if weighted else None, rng.integers(1, 5, 12)
    objective = make_objective("log_loss", class_weight=class_weight, **penalty)
    once = Training.of(objective, X, y, weight, copies)
    often = np.repeat(np.arange(12), copies)
    repeated = Training.of(objective, X[often], y[often], weight if weight is None else weight[often])
    theta = rng.normal(size=4)
    # the same sums of some thirty terms in another order
    assert once.value(theta) == pytest.approx(repeated.value(theta), rel=1e-13)
    assert once.k == pytest.approx(repeated.k, rel=1e-13)
    assert (once.class_weight is None) == (repeated.class_weight is None)
    # what scikit-learn is handed stands for the same sum
    ours = np.ones(2) if once.class_weight is None else np.array(once.class_weight)
    handed = np.ones(12) if once.weight is None else once.weight
    np.testing.assert_allclose(once.c, handed * ours[(y > 0).astype(int)], rtol=1e-13)


def test_the_memory_of_a_check_does_not_grow_with_the_copies():
    """A point that is inserted n times is held once: its copies, of 12 bytes a number, would be 9 MB here."""
    rng = np.random.default_rng(0)
    n, d = 400, 5_000
    X = sp.random(n, d, density=5e-4, format="csr", random_state=rng)
    y = np.where(rng.random(n) < 0.6, 1, -1)
    attacker = MinimumPoisoner(loss="log_loss", C=1.0, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y)
    result = attacker.attack((np.zeros(d), 1.0))
    assert np.max(result.counts) > 100
    copies = 12 * d * result.n_points
    tracemalloc.start()
    try:
        report = result.verify(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not report.failed
    assert peak < copies
