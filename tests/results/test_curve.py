"""Metrics against the number of points, and the pictures of a result."""

import matplotlib
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mtpfast import DamagePoisoner, MinimumPoisoner, ModelTargetedPoisoner

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def attacked():
    X, y = load_digits(return_X_y=True)
    rows = (y == 1) | (y == 7)
    X, y = X[rows] / 16.0, y[rows]
    attacker = ModelTargetedPoisoner("log_loss", alpha=0.09, max_points=30).fit(X, y)
    result = attacker.attack((-attacker.coef_, -attacker.intercept_), eval_sets={"all": (X, y)})
    return X, y, result


def test_a_point_of_the_curve_is_the_score_of_the_victim_trained_on_so_many_points(attacked):
    X, y, result = attacked
    seven = y == 7
    frame = result.curve([0, 10, 30], ["accuracy", "f1_macro"], X, y, groups={"sevens": seven})
    assert frame.index.tolist() == [0, 10, 30]
    for k in (0, 10, 30):
        X_mod, y_mod, _ = result.at_budget(k).poisoned(X, y)
        C = 1.0 / (0.09 * len(y_mod))
        model = LogisticRegression(C=C, solver="liblinear", tol=1e-10, max_iter=10_000).fit(X_mod, y_mod)
        assert frame.loc[k, "accuracy"] == model.score(X, y)
        assert frame.loc[k, "accuracy of sevens"] == model.score(X[seven], y[seven])
    assert np.array_equal(frame["accuracy"], frame["accuracy_all"])


def test_a_share_is_no_number_of_points(attacked):
    with pytest.raises(ValueError, match="budgets must be whole numbers of points"):
        attacked[2].curve([0.03])


def test_without_rows_the_curve_is_the_history(attacked):
    frame = attacked[2].curve()
    assert len(frame) == 31
    assert np.array_equal(frame["distance"], attacked[2].history["distance"])
    with pytest.raises(ValueError, match="pass X and y"):
        attacked[2].curve(scorers="accuracy")
    with pytest.raises(ValueError, match="budgets must be at least 0"):
        attacked[2].curve([-1])


def test_every_result_has_a_picture_with_something_on_it(attacked):
    X, y, result = attacked
    assert result.plot("accuracy").axes[0].lines[0].get_xdata()[-1] == 30
    assert len(result.plot("accuracy", X=X, y=y, groups={"sevens": y == 7}).axes[0].lines) == 3
    with pytest.raises(ValueError, match="not in the history"):
        result.plot("recall")
    attacker = MinimumPoisoner(alpha=0.09, rescale=True).fit(X, y)
    target = attacker.make_target(quantiles=[0.2], repeats=[5], goal=0.0)
    left, right = attacker.attack(target).plot().axes
    assert len(left.patches) > 0
    assert len(right.lines) == 1  # the costs of its multiples
    damage = DamagePoisoner(alpha=0.09, budget=5, n_starts=1, max_iter=10).fit(X, y).attack()
    assert [bar.get_width() for bar in damage.plot().axes[1].patches] == [
        100.0 * damage.damage.before["aimed"],
        100.0 * damage.damage.after["aimed"],
    ]
