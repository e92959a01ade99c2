"""Algorithm 1 with a checkpoint: killed and called again, it ends as it would have ended, bit for bit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from mtpfast import CandidatePool, FeatureSpace, ModelTargetedPoisoner, PoisoningResult, poison
from mtpfast.attacks.segments import next_end


class Killed(BaseException):
    """What no part of the package catches."""


def kill_at(n_points):
    def watch(state):
        if state["n_points"] >= n_points:
            raise Killed

    return watch


def same(one, other):
    assert one.status == other.status
    assert np.array_equal(one.sequence, other.sequence)
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(one.path, other.path)
    assert one.history.keys() == other.history.keys()
    for name, values in one.history.items():
        assert np.array_equal(values, other.history[name], equal_nan=True)
    assert one.lower_bound == other.lower_bound


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
@pytest.mark.parametrize("where", ["box", "records", "pool"])
def test_killed_and_called_again_it_ends_the_same(loss, where, tmp_path):
    rng = np.random.default_rng(0)
    X = np.round(rng.random((60, 4)), 2)
    y = np.where(X @ [1.0, -1.0, 0.5, 0.2] + 0.1 * rng.normal(size=60) > 0.3, 1.0, -1.0)
    space = {
        "box": None,
        "records": FeatureSpace(0.0, 1.0, integer=[0], one_hot=[[1, 2]]),
        "pool": CandidatePool.label_flips(X, y, max_repeats=9),
    }[where]
    asked = {"loss": loss, "alpha": 0.5, "feasible_set": space, "tol": 0.0, "max_points": 260, "repeats": 3}
    turned = ModelTargetedPoisoner(loss, alpha=0.5).fit(X, np.where(rng.random(60) < 0.7, -y, y))
    target = np.append(turned.coef_, turned.intercept_)
    whole = poison(X, y, target, checkpoint=tmp_path / "whole.npz", **asked)
    for n_points in (30, 180, 240):
        with pytest.raises(Killed):
            poison(X, y, target, checkpoint=tmp_path / "killed.npz", callback=kill_at(n_points), **asked)
    assert PoisoningResult.load(tmp_path / "killed.npz").n_points == next_end(next_end(0, 3), 3)
    same(poison(X, y, target, checkpoint=tmp_path / "killed.npz", **asked), whole)
    assert not list(tmp_path.glob(".*"))
    plain = poison(X, y, target, **asked)
    assert np.array_equal(plain.sequence[:99], whole.sequence[:99])


def test_records_of_a_table_and_a_callback_that_ends_it(tmp_path):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"age": rng.integers(18, 70, 80), "work": rng.choice(["a", "b"], 80)})
    y = np.where(table["age"] + 9 * (table["work"] == "a") > 45, "yes", "no")
    first = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"]))
    victim = ModelTargetedPoisoner.from_estimator(make_pipeline(first, LogisticRegression(C=0.1)), tol=0.0)
    victim.set_params(max_points=150).fit(table, y)
    target = -victim.coef_, -victim.intercept_
    path = tmp_path / "kept.npz"
    ended = victim.attack(target, checkpoint=path, callback=lambda state: state["n_points"] >= 120)
    assert (ended.n_points, ended.status) == (120, "budget")
    again = victim.attack(target, checkpoint=path)
    whole = victim.attack(target, checkpoint=tmp_path / "whole.npz")
    same(again, whole)
    pd.testing.assert_frame_equal(again.X_poison, whole.X_poison)
    assert again.verify(table, y).ok


def test_a_checkpoint_of_another_attack_is_refused(tmp_path):
    rng = np.random.default_rng(2)
    X = rng.random((40, 2))
    y = np.where(X[:, 0] > 0.5, 1.0, -1.0)
    asked = {"alpha": 0.1, "tol": 0.0, "max_points": 130}
    poison(X, y, np.array([-1.0, 0.2, 0.1]), checkpoint=tmp_path / "kept.npz", **asked)
    with pytest.raises(ValueError, match="same data, target and objective"):
        poison(X, y, np.array([1.0, 0.2, 0.1]), checkpoint=tmp_path / "kept.npz", **asked)
    (tmp_path / "kept.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="path must name a file written by"):
        poison(X, y, np.array([-1.0, 0.2, 0.1]), checkpoint=tmp_path / "kept.npz", **asked)
