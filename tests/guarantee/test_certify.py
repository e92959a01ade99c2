"""``certify`` on fitted estimators: labels, tables, threads, interruption, and errors that name what is wrong."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
from sklearn.svm import LinearSVC

from mtpfast import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner
from mtpfast.losses.custom import custom
from mtpfast.results.guarantee import NEVER
from mtpfast.training.victim import refit


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(2)
    X = rng.random((90, 3))
    y = np.where(X @ [1.0, -1.0, 0.4] + 0.1 * rng.standard_normal(90) > 0.2, "yes", "no")
    return X, y, ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, 1)).fit(X, y), rng.random((70, 3))


def test_rows_that_are_wrong_already_take_no_points(small):
    """``lower_bound == upper_bound == 0`` exactly where y_eval is not the clean model's prediction."""
    _, _, victim, rows = small
    y_eval = np.where(np.arange(len(rows)) % 2, "yes", "no")
    guarantee = victim.certify(rows, y_eval, attack=False)
    wrong = victim.predict(rows) != y_eval
    assert np.array_equal(guarantee.status == "wrong", wrong)
    assert np.all(guarantee.lower_bound[wrong] == 0)
    assert np.all(guarantee.upper_bound[wrong] == 0)
    assert np.all(guarantee.lower_bound[~wrong] >= 1)
    assert guarantee.clean_error == guarantee.certified_error(0) == np.mean(wrong)


def test_errors_grow_with_the_budget_and_enclose(small):
    """Certified error is at least attacked error, both grow with k, and a share counts clean rows."""
    X, _, victim, rows = small
    guarantee = victim.certify(rows[:20])
    for k in range(0, 30, 3):
        assert guarantee.attacked_error(k) <= guarantee.certified_error(k) <= guarantee.certified_error(k + 3)
    assert guarantee.certified_error(0.1) == guarantee.certified_error(int(0.1 * len(X)))
    by_group = guarantee.certified_error(5, groups=["a", "b"] * 10)
    assert np.mean(list(by_group.values())) == pytest.approx(guarantee.certified_error(5), abs=1e-15)


def test_threads_and_batches_prove_the_same(small):
    """The rows do not know each other: in threads, or chosen by ``rows``, the bounds are equal."""
    X, y, victim, rows = small
    alone = victim.certify(rows, attack=False)
    assert np.array_equal(victim.certify(rows, attack=False, n_jobs=2).lower_bound, alone.lower_bound)
    few = victim.certify(rows, attack=False, rows=[69, 3])
    assert few.row.tolist() == [69, 3]
    assert victim.certify(rows, attack=False, rows=np.isin(np.arange(70), [69, 3])).row.tolist() == [3, 69]
    assert np.max(np.abs(few.lower_bound - alone.lower_bound[[69, 3]])) <= 1
    assert alone.check(X, y).ok


def test_an_interruption_keeps_what_is_done(small):
    """KeyboardInterrupt ends the search; what was proved before stays proved, the rest claims nothing."""
    X, y, victim, rows = small
    seen = []

    def stop(done, n, seconds):
        seen.append((done, n))
        raise KeyboardInterrupt

    guarantee = victim.certify(rows, attack=False, callback=stop)
    done = guarantee.status == "done"
    assert seen == [(np.count_nonzero(done), len(rows) + 4)]  # 1, 2, 3, 5, 10 % of 90 rows: 4 numbers of points
    assert 0 < np.count_nonzero(done) < len(rows)
    assert np.all(guarantee.lower_bound[~done] == 0)
    assert guarantee.certified_error(0) == np.mean(~done)
    assert guarantee.check(X, y).ok


def test_attacks_are_told_one_by_one_and_an_interruption_keeps_bounds_and_attacks(small):
    """First come the bounds of all rows, a batch at a time; then every attack is a step, and those done are kept."""
    X, y, victim, rows = small
    rows = rows[:6]
    whole, seen = victim.certify(rows, attack=True), []

    def stop(done, n, seconds):
        seen.append((done, n))
        if done == 9:
            raise KeyboardInterrupt

    part = victim.certify(rows, attack=True, callback=stop)
    assert seen == [(6, 12), (7, 12), (8, 12), (9, 12)]
    done = part.status == "done"
    assert np.count_nonzero(done) == 3
    np.testing.assert_array_equal(part.lower_bound, whole.lower_bound)
    np.testing.assert_array_equal(part.upper_bound, np.where(done, whole.upper_bound, NEVER))
    assert np.all(whole.upper_bound < NEVER)
    assert part.check(X, y).ok


def test_joint_bounds_are_told_by_budget_and_an_interruption_keeps_those_done(small):
    """The last steps are the joint bounds, the least budget first; beyond the last that is done nothing is claimed."""
    X, y, victim, rows = small
    asked = {"attack": False, "joint": True, "budgets": [9, 2, 4, 2]}
    whole, seen = victim.certify(rows[:5], **asked), []

    def stop(done, n, seconds):
        seen.append((done, n))
        if done == 7:
            raise KeyboardInterrupt

    part = victim.certify(rows[:5], **asked, callback=stop)
    assert seen == [(5, 8), (6, 8), (7, 8)]
    assert np.all(part.status == "done")
    assert part.joint.counts.tolist() == [2, 4]
    assert part.certified_loss(4) == pytest.approx(whole.certified_loss(4), rel=1e-9)  # sums of other lines
    assert whole.certified_loss(4) < whole.certified_loss(9)
    assert part.certified_loss(9) == (np.inf, 1.0)
    assert part.check(X, y).ok


def test_tables_go_in_and_records_come_out():
    """A pipeline is certified through its table; an attack is records that the pipeline maps to its points."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.integers(17, 91, 80), "work": rng.choice(["private", "state", "none"], 80)})
    income = np.where(table["age"] + 25 * (table["work"] == "private") + rng.normal(0, 9, 80) > 60, ">50K", "<=50K")
    first = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"]))
    victim = MinimumPoisoner.from_estimator(make_pipeline(first, LinearSVC(loss="hinge", C=0.05))).fit(table, income)
    old = pd.DataFrame({"age": [500], "work": ["state"]})  # raw records are the victim's own to scale
    assert victim.certify(old, attack=False).check(table, income).ok
    with pytest.raises(ValueError, match="outside the range"):
        victim.certify(old, attack=False, outside="refuse")
    guarantee = victim.certify(table[:12])
    assert guarantee.check(table, income).ok
    assert guarantee.records.dtypes.equals(table.dtypes)
    i = int(guarantee.attack_row[0])
    own = guarantee.attack_row == i
    records = guarantee.records[own].loc[np.repeat(guarantee.records.index[own], guarantee.attack_count[own])]
    X = victim.preprocessing_.transform(pd.concat([table, records]))
    labels = np.append(income, np.repeat(guarantee.attack_label[own], guarantee.attack_count[own]))
    theta = refit(X, np.where(labels == ">50K", 1.0, -1.0), guarantee.proof.objective).theta
    score = victim.preprocessing_.transform(table[:12])[i] @ theta[:-1] + theta[-1]
    assert (score > 0) != (guarantee.labels[i] == ">50K")


def test_the_summary_says_what_the_arrays_say(small):
    _, _, victim, rows = small
    guarantee = victim.certify(rows[:10], budgets=(0.05, 3))
    frame = guarantee.to_frame()
    assert frame["lower_bound"].tolist() == guarantee.lower_bound.tolist()
    assert frame["upper_bound"].tolist() == guarantee.upper_bound.tolist()
    assert [line[1] for line in guarantee.summary()] == [4, 3]
    assert f"{guarantee.certified_error(3):.1%}" in guarantee._repr_html_()
    axes = guarantee.plot().axes[0]
    assert len(axes.lines) == 3


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda v, X: v.certify(X[:, :2]), "features"),
        (lambda v, X: v.certify(X, ["maybe"] * len(X)), "y_eval must hold the labels"),
        (lambda v, X: v.certify(X, ["yes"]), "y_eval must have shape"),
        (lambda v, X: v.certify(X + 2.0), r"row 0 has feature 0 = .* outside the range .*outside='allow'"),
        (lambda v, X: v.certify(X, outside="clip"), "outside must be 'refuse' or 'allow', got 'clip'"),
        (lambda v, X: v.certify(X, branches=0), "branches must be at least 1"),
        (lambda v, X: v.certify(X, rows=[1000]), "rows must be a list of whole numbers from 0 to 69"),
        (lambda v, X: v.certify(X, rows=[True, False]), "rows must be .* or a mask of 70"),
        (lambda v, X: v.certify(X[:2], attack=False).certified_error(-1), "k must be at least 0"),
        (lambda v, X: v.certify(X[:2], attack=False, budgets=[3, -1]), "k must be at least 0"),
        (lambda v, X: v.certify(X[:2], attack=False).certified_error(1, groups=[0]), "groups must have shape"),
    ],
)
def test_wrong_use_is_named(small, wrong, message):
    _, _, victim, rows = small
    with pytest.raises(ValueError, match=message):
        wrong(victim, rows)


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_outside_the_range_are_refused_and_certified_where_allowed(small, sparse):
    """The range is what clean rows and feasible set span; the theorem needs none, and proves the same of the others."""
    X, y, _, rows = small
    shift = np.array([0.0, 0.0, 3.0])
    X, far = X + shift, rows[:3] + shift
    far[1, 0] = 1.5
    own = sp.csr_matrix if sparse else np.asarray
    victim = ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, [1, 1, 0])).fit(own(X), y)
    within = victim.certify(own(far[[0, 2]]), attack=False)  # beyond the set, and within what the clean rows span
    assert within.lower_bound.shape == (2,)
    with pytest.raises(ValueError, match=r"row 1 has feature 0 = 1.5, outside the range 0 to 1 .*\(rows outside: 1\)"):
        victim.certify(own(far), attack=False)
    with pytest.raises(ValueError, match="row 1 has feature 0"):
        victim.certify(own(far), attack=False, rows=[2, 1])
    near = ModelTargetedPoisoner(alpha=0.1).fit(own(X), y)  # nobody said what the range is
    assert near.certify(own(far), attack=False).lower_bound.shape == (3,)
    with pytest.raises(ValueError, match="row 0 has feature 0"):
        near.certify(own(far + 2.5), attack=False)
    allowed = victim.certify(own(far), attack=False, outside="allow")
    assert np.all(allowed.status == "done")
    assert allowed.check(own(X), y).ok


def test_an_unfitted_attacker_certifies_nothing(small):
    with pytest.raises(NotFittedError):
        ModelTargetedPoisoner().certify(small[3])


@pytest.mark.parametrize(
    "params, message",
    [
        ({"class_weight": "balanced"}, "balanced"),
        ({"loss": custom(lambda m: np.exp(-m), lambda m: -np.exp(-m), name="exponential")}, "not built in"),
    ],
)
def test_what_cannot_be_proved_is_refused_by_name(small, params, message):
    X, y, _, rows = small
    victim = ModelTargetedPoisoner(alpha=0.1, **params).fit(X, y)
    with pytest.raises(ValueError, match=f"no guarantee can be proved: .*{message}"):
        victim.certify(rows)
