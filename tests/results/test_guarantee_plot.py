"""What ``Guarantee.plot`` draws is what ``certified_error`` and ``attacked_error`` say."""

import numpy as np
import pytest

from mtpfast import FeatureSpace, ModelTargetedPoisoner


@pytest.mark.parametrize("joint", [False, True])
def test_the_curves_are_the_errors_at_every_count(joint):
    """At any number of points each curve has the value of its function: right of its last step and left of the next."""
    pytest.importorskip("matplotlib").use("Agg")
    rng = np.random.default_rng(0)
    X = rng.random((60, 2))
    y = np.where(X[:, 0] + 0.2 * rng.standard_normal(60) > 0.5, 1, -1)
    victim = ModelTargetedPoisoner(alpha=0.05, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    guarantee = victim.certify(X[:25], y[:25], joint=joint, budgets=[1, 3, 9])
    axes = guarantee.plot().axes[0]
    for line, error in zip(axes.lines, (guarantee.attacked_error, guarantee.certified_error), strict=False):
        at, value = line.get_data()
        assert at[0] == 0
        for k in range(20):
            assert value[np.flatnonzero(at <= k)[-1]] == error(k)
