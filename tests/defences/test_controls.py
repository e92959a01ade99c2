"""The controls beside every sanitiser."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mtpfast.defences import evaluate


def test_random_removal_does_not_know_where_the_poison_is():
    """Seeds of the removal and of the poison's places are the same numbers: the streams must not be.

    Removing 60 of 360 rows at random takes 10 of 60 poison rows in the mean; 30 or more has probability below 1e-9.
    """
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.tile([0, 1], 150)
    poison = rng.normal(size=(60, 2)), np.tile([0, 1], 30)
    table = evaluate(
        poison, X, y, estimator=LogisticRegression(), defences=[], shares=["poison"], seeds=4, clean=False
    ).to_frame()
    recall = table[table["defence"] == "RandomRemoval"]["recall"]
    assert len(recall) == 4
    assert recall.max() < 0.5
    assert recall.mean() == pytest.approx(1 / 6, abs=0.15)
