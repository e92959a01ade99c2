"""What damage says of clean rows is measured again; what it says of others is not claimed."""

import dataclasses
import io

import numpy as np
import pytest

from mtpfast import DamagePoisoner, PoisoningResult, VerificationError

METRICS = ["error", "false_negative_rate", "false_positive_rate", "hinge", "log_loss"]


def data():
    rng = np.random.default_rng(3)
    X = rng.random((60, 4))
    return X, np.where(X @ [2.0, -1.0, 1.0, -1.0] + 0.4 * rng.normal(size=60) > 0.4, 1, -1)


def attacked(X, y, metric, loss="hinge", mask=None, sample_weight=None, **victim):
    attacker = DamagePoisoner(loss, C=1.0, metric=metric, budget=5, n_starts=1, max_iter=6, **victim)
    return attacker.fit(X, y, sample_weight=sample_weight).attack(mask=mask)


def claims(report):
    return {check.name: check.passed for check in report.checks if check.name.startswith("damage")}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("loss, free", [("hinge", False), ("squared_hinge", False), ("log_loss", True)])
@pytest.mark.parametrize("part", [False, True])
def test_the_metric_of_both_models_is_measured_again(metric, loss, free, part):
    """On all rows or a part, weighted or not; other values are found out."""
    X, y = data()
    mask = X[:, 0] > 0.3 if part else None
    weight = 0.5 + np.arange(60) % 3 if part else None
    result = attacked(X, y, metric, loss, mask, weight, penalize_intercept=not free)
    names = {f"damage: {metric} before", f"damage: {metric} after"}
    assert claims(result.verify(X, y, weight)) == dict.fromkeys(names, True)
    for time in ("before", "after"):
        other = {"aimed": getattr(result.damage, time)["aimed"] + 0.02}
        forged = dataclasses.replace(result, damage=dataclasses.replace(result.damage, **{time: other}))
        with pytest.raises(VerificationError, match=f"damage: {metric} {time}"):
            forged.verify(X, y, weight)


def test_what_a_result_does_not_hold_is_not_claimed():
    """Rows that are not the clean ones, and a metric of one's own, whatever its name."""
    X, y = data()
    attacker = DamagePoisoner(C=1.0, budget=3, n_starts=1, max_iter=4).fit(X, y)
    assert claims(attacker.attack(X[:20], y[:20]).verify(X, y)) == {}

    def error(y, margin, weight):
        return float(np.mean(margin < 0.5))

    assert claims(attacked(X, y, error).verify(X, y)) == {}


def test_the_rows_aimed_at_are_kept_in_a_file():
    X, y = data()
    result = attacked(X, y, "error", mask=y > 0)
    file = io.BytesIO()
    result.save(file)
    loaded = PoisoningResult.load(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(loaded.damage.rows, y > 0)
    assert claims(loaded.verify(X, y)) == {"damage: error before": True, "damage: error after": True}
    damage = dataclasses.replace(result.damage, rows=np.ones(3, dtype=bool))
    file = io.BytesIO()
    dataclasses.replace(result, damage=damage).save(file)
    with pytest.raises(ValueError, match="field 'damage': rows must be a mask of some of the 60 clean rows"):
        PoisoningResult.load(io.BytesIO(file.getvalue()))
