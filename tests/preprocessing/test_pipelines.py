"""Attacks on whole pipelines: tables in, records out, and what a result claims of them."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import LinearSVC

from mtpfast import (
    CandidatePool,
    DocumentSpace,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    VerificationError,
    make_target,
)
from mtpfast.losses.margin import get_loss
from mtpfast.preprocessing.steps import to_matrix
from mtpfast.verification.maximum import attained_and_proved, max_loss_difference
from mtpfast.verification.membership import _is_document

ATTACKERS = [ModelTargetedPoisoner, MinimumPoisoner]
VICTIM = {"loss": "hinge", "C": 0.1}


def census(n=240, seed=0):
    """Records of the kinds that tables have, and a label that depends on them."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(17, 91, n),
            "hours": rng.normal(38.0, 9.0, n).astype(np.float32),
            "work": rng.choice(["private", "state", "self-employed"], n, p=[0.6, 0.3, 0.1]),
            "grade": pd.Categorical(rng.choice(["low", "mid", "high"], n), categories=["low", "mid", "high"]),
            "member": rng.random(n) < 0.4,
            "rate": np.where(rng.random(n) < 0.1, 2.5, 0.5),
            "serial": np.arange(n),
        },
        index=np.arange(n) + 1000,
    )
    table.loc[rng.choice(table.index, n // 12, replace=False), "work"] = None
    score = 0.05 * (table["age"] - 50) + (table["work"] == "state") + 0.8 * table["member"] + (table["grade"] == "high")
    return table, np.where(score + rng.normal(0, 0.8, n) > 1.0, "rich", "poor")


def steps():
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="if_binary"))
    return make_column_transformer(
        (MinMaxScaler(), ["age", "hours", "rate"]),
        (words, ["work"]),
        (OrdinalEncoder(categories=[["low", "mid", "high"]]), ["grade"]),
        ("passthrough", ["member"]),
        verbose_feature_names_out=False,
    )


def pipeline(first=None):
    return make_pipeline(
        first or steps(), LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=1_000_000, random_state=0)
    )


@pytest.fixture(scope="module")
def data():
    return census()


@pytest.fixture(scope="module")
def attacker(data):
    return ModelTargetedPoisoner.from_estimator(pipeline(), tol=0.1, max_points=60).fit(*data)


@pytest.fixture(scope="module")
def target(data, attacker):
    return make_target(
        *data, quantiles=[0.3], repeats=[1, 2], goal=0.1, preprocessing=attacker.preprocessing_, **VICTIM
    )


@pytest.fixture(scope="module")
def result(attacker, target):
    return attacker.attack(target)


def bits(array):
    return (to_matrix(array) + 0.0).view(np.int64)


# -- the victim ------------------------------------------------------------------------------------


@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("fitted", [False, True])
def test_the_victim_is_the_pipeline(data, attacker, fitted):
    table, y = data
    other = pipeline().fit(table, y)
    given = other if fitted else pipeline()
    own = attacker.from_estimator(given).fit(table, y)
    assert (own.loss, own.C, own.alpha, own.penalize_intercept) == ("hinge", 0.1, None, True)
    assert_allclose(own.coef_, other[-1].coef_, atol=1e-6)  # two solvers, each within 1e-7 of the optimum
    assert_allclose(own.decision_function(table), other.decision_function(table), atol=1e-5)
    assert_array_equal(own.predict(table[::-1]), other.predict(table[::-1]))
    assert own.score(table, y) == other.score(table, y)
    assert own.n_features_in_ == 7
    assert_array_equal(own.feature_names_in_, table.columns)


def test_a_fitted_preprocessing_is_used_as_it_is(data):
    table, y = data
    first = steps().fit(table[:50])
    own = ModelTargetedPoisoner.from_estimator(make_pipeline(first, LinearSVC())).fit(table, y)
    assert own.preprocessing is first
    assert own.preprocessing_ is not first  # a copy: fitting the original again changes nothing here
    assert_array_equal(own.preprocessing_.transform(table), first.transform(table))
    again = ModelTargetedPoisoner(preprocessing=steps()).fit(table, y)
    assert_array_equal(again.preprocessing_.transform(table), steps().fit_transform(table))


def test_several_steps_and_none():
    def taken(*first):
        return ModelTargetedPoisoner.from_estimator(make_pipeline(*first, LinearSVC())).preprocessing

    assert taken() is None
    assert taken("passthrough") is None
    assert isinstance(taken(StandardScaler()), StandardScaler)
    assert [type(step) for _, step in taken(steps(), MaxAbsScaler()).steps] == [type(steps()), MaxAbsScaler]
    with pytest.raises(ValueError, match="preprocessing: taken over from Pipeline, and given once more"):
        ModelTargetedPoisoner.from_estimator(pipeline(), preprocessing=StandardScaler())


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_preprocessing_is_a_parameter_like_others(data, attacker):
    made = attacker.from_estimator(pipeline())
    assert made.get_params()["preprocessing__verbose_feature_names_out"] is False
    copy = clone(made).set_params(preprocessing__verbose_feature_names_out=True)
    assert repr(clone(made)) == repr(made)
    assert copy.preprocessing is not made.preprocessing
    made.fit(*data)
    assert not hasattr(made.preprocessing, "transformers_")  # what was given is not fitted
    made.set_params(preprocessing=None).fit(data[0][["age", "hours"]], data[1])
    assert made.preprocessing_ is None
    assert made.predict(data[0][["age", "hours"]][:1]).shape == (1,)


@pytest.mark.parametrize("preprocessing", ["scale", StandardScaler, 3, LinearSVC()])
def test_what_is_no_preprocessing(data, preprocessing):
    with pytest.raises(TypeError, match="preprocessing must be a transformer, a Pipeline of them, or None, got"):
        ModelTargetedPoisoner(preprocessing=preprocessing).fit(*data)


def test_unknown_steps_are_refused_by_name(data):
    table, y = data
    given = make_pipeline(PolynomialFeatures(), LinearSVC())
    with pytest.raises(TypeError, match=r"PolynomialFeatures cannot be traced back to records: known are OneHot"):
        ModelTargetedPoisoner.from_estimator(given).fit(table[["age", "hours"]], y)


def test_tables_must_have_the_columns_of_the_clean_one(data, attacker):
    table, _ = data
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        attacker.predict(table[table.columns[::-1]])
    with pytest.raises(ValueError, match="Feature names"):
        attacker.decision_function(table.drop(columns="age"))
    with pytest.raises(TypeError, match="expected a raw table"):
        attacker.predict(sp.csr_matrix(np.eye(7)))


# -- records ---------------------------------------------------------------------------------------


def test_records_are_the_users(data, attacker, result):
    table, _ = data
    X = result.X_poison
    assert isinstance(X, pd.DataFrame)
    assert list(X.columns) == list(table.columns)
    assert_array_equal(X.dtypes, table.dtypes)
    assert len(X) == result.n_points > 0
    assert not X.isna().any(axis=None)
    assert X["age"].between(table["age"].min(), table["age"].max()).all()
    assert set(X["work"]) <= set(table["work"].dropna())
    assert set(X["rate"]) <= {0.5, 2.5}
    assert set(X["serial"]) == {119}  # no feature: the median
    assert set(result.y_poison) <= {"poor", "rich"}
    rows = attacker.preprocessing_.transform(X)
    assert_array_equal(bits(rows), bits(result.points[result.sequence]))
    assert attacker._codec.space.contains(result.points).all()
    assert result.feasible_set == attacker._codec.space


def test_the_pipeline_learns_what_is_claimed(data, attacker, result):
    """The last step trained on what the preprocessing makes of the poisoned table."""
    table, y = data
    poisoned, labels, mask = result.poisoned(table, y)
    assert_array_equal(poisoned.dtypes, table.dtypes)
    assert mask.sum() == result.n_points
    pd.testing.assert_frame_equal(poisoned[~mask], table)
    model = clone(pipeline()[-1]).fit(attacker.preprocessing_.transform(poisoned), labels)
    assert_allclose(model.coef_, result.coef_, atol=1e-6)


def test_the_minimum_is_of_records(data, target):
    """Whole records dealt out: as many as the bound demands or more, and every one could exist."""
    table, y = data
    own = MinimumPoisoner.from_estimator(pipeline()).fit(table, y)
    found = own.attack(target)
    assert found.n_points >= found.lower_bound > 0
    assert_array_equal(found.X_poison.dtypes, table.dtypes)
    assert own._codec.space.contains(found.points).all()
    assert_array_equal(bits(own.preprocessing_.transform(found.records)), bits(found.points))
    assert found.verify(table, y, refit_preprocessing=True).ok
    clean = np.linalg.norm(np.append(own.coef_, own.intercept_) - found.theta_target)
    assert found.distance < 0.5 * clean  # as near as so few whole records come


def test_prefixes_are_of_records(data, result):
    prefix = result.at_budget(3)
    pd.testing.assert_frame_equal(prefix.X_poison, result.X_poison[:3])
    assert len(prefix.records) == len(prefix.points)
    assert result.at_budget(0).X_poison.shape == (0, 7)
    assert prefix.verify(*data).ok


def test_an_attack_goes_on_from_records(data, attacker, target, result):
    half = attacker.set_params(max_points=5).attack(target)
    rest = attacker.set_params(max_points=60).attack(target, resume=half)
    pd.testing.assert_frame_equal(rest.X_poison[:5], half.X_poison)
    assert_allclose(rest.theta, result.theta, atol=1e-6)  # the refit starts elsewhere, to its tolerance


def test_evaluation_sets_are_tables(attacker, target):
    other = census(seed=1)
    seen = attacker.set_params(max_points=4).attack(target, eval_sets={"other": other})
    attacker.set_params(max_points=60)
    assert seen.history["accuracy_other"][0] == attacker.score(*other)


def test_sparse_rows_stay_sparse(data):
    """The transformer's choice decides, and changes nothing but the storage."""
    table, y = data
    words = (OneHotEncoder(), ["work", "grade", "member"])
    found = []
    for threshold in (0.0, 1.0):
        first = make_column_transformer(words, ("passthrough", ["rate"]), sparse_threshold=threshold)
        own = ModelTargetedPoisoner.from_estimator(pipeline(first), max_points=10).fit(
            table.dropna(), y[table["work"].notna()]
        )
        assert sp.issparse(own._X) == (threshold == 1.0)
        found.append(own.attack((-own.coef_, -own.intercept_)))
        assert found[-1].verify(table.dropna(), y[table["work"].notna()]).ok
    assert_allclose(found[0].loss_difference, found[1].loss_difference, rtol=1e-6)  # sums in another order
    assert_allclose(found[0].theta, found[1].theta, atol=1e-6)


def test_arrays_come_back_as_arrays(data):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(3, 2, 120), rng.integers(0, 20, 120)])
    y = (X[:, 0] + rng.normal(0, 1, 120) > 3).astype(int)
    own = ModelTargetedPoisoner.from_estimator(make_pipeline(StandardScaler(), LogisticRegression()), max_points=9).fit(
        X, y
    )
    found = own.attack((-own.coef_, -own.intercept_))
    assert isinstance(found.X_poison, np.ndarray)
    assert_array_equal(found.X_poison[:, 1], np.rint(found.X_poison[:, 1]))
    assert_array_equal(bits(own.preprocessing_.transform(found.X_poison)), bits(found.points[found.sequence]))
    assert found.verify(X, y, refit_preprocessing=True).ok
    assert found.poisoned(X, y)[0].shape == (129, 2)


# -- targets ---------------------------------------------------------------------------------------


def test_a_target_may_be_a_pipeline(data, attacker, target):
    """With the victim's own preprocessing it is its last step; with another one it is refused."""
    table, y = data
    flipped = np.where(table["age"] > 60, "poor", y)
    model = LinearSVC(random_state=0).fit(attacker.preprocessing_.transform(table), flipped)
    whole = Pipeline([("first", attacker.preprocessing_), ("last", model)])
    a, b = (attacker.set_params(max_points=3).attack(goal) for goal in (whole, model))
    assert_array_equal(a.theta_target, b.theta_target)
    same = attacker.attack(pipeline().fit(table, y))  # fitted apart, to the same table
    assert same.status == "reached"
    attacker.set_params(max_points=60)
    with pytest.raises(ValueError, match="whose preprocessing is not the victim's: it maps the same records to rows"):
        attacker.attack(pipeline(steps().fit(table[:40])).fit(table[:40], y[:40]))
    with pytest.raises(ValueError, match=r"to 2 columns, not 8"):
        attacker.attack(
            make_pipeline(make_column_transformer((StandardScaler(), ["age", "hours"])), LinearSVC()).fit(table, y)
        )
    with pytest.raises(ValueError, match="target is a Pipeline without fitted steps before its last"):
        attacker.attack(make_pipeline(LinearSVC()))


def test_targets_are_made_from_tables(data, attacker, target):
    table, y = data
    rows = attacker.preprocessing_.transform(table)
    same = make_target(rows, y, quantiles=[0.3], repeats=[1, 2], goal=0.1, **VICTIM)
    assert_array_equal(same.coef_, target.coef_)
    other = census(seed=1)
    options = {"quantiles": [0.3], "repeats": [2], "goal": 0.0, **VICTIM}
    a = make_target(
        table, y, *other, X_eval=other[0], y_eval=other[1], preprocessing=attacker.preprocessing_, **options
    )
    part = attacker.preprocessing_.transform(other[0])
    b = make_target(rows, y, part, other[1], X_eval=part, y_eval=other[1], **options)
    assert_array_equal(a.coef_, b.coef_)
    assert a.error == b.error


# -- feasible sets ---------------------------------------------------------------------------------


def test_a_feasible_set_takes_away_from_the_records(data, attacker, target):
    """Features of the rows, by name or by number, in the user's labels."""
    table, y = data
    own = attacker._codec.space
    rules = {"fixed": {"work_state": 0.0, "member": 0.0}, "labels": ["poor"]}
    given = FeatureSpace(own.lower, {"rich": own.upper, "poor": np.minimum(own.upper, 1.0)}, names=own.names, **rules)
    narrow = clone(attacker).set_params(feasible_set=given, max_points=8).fit(table, y)
    opposite = (-narrow.coef_, -narrow.intercept_)
    found = narrow.attack(opposite)
    assert found.n_points == 8
    assert set(found.labels) == {"poor"}
    assert not (found.X_poison["work"] == "state").any()
    assert not found.X_poison["member"].any()
    assert not (found.X_poison["grade"] == "high").any()
    assert found.verify(table, y).ok
    assert narrow.attack(opposite, resume=found.at_budget(4)).n_points == 8
    with pytest.raises(ValueError, match="fixed names feature 'nothing'"):
        clone(attacker).set_params(feasible_set=FeatureSpace(fixed={"nothing": 0})).fit(table, y).attack(target)


def test_a_pool_holds_rows_of_records(data, attacker, target):
    table, y = data
    rows = attacker.preprocessing_.transform(table)
    flips = CandidatePool.label_flips(rows, y, max_repeats=None)
    own = clone(attacker).set_params(feasible_set=flips, max_points=12).fit(table, y)
    found = own.attack(target)
    assert found.verify(table, y).ok
    for record, label in zip(found.records.itertuples(index=False), found.labels, strict=True):
        same = (rows == own.preprocessing_.transform(pd.DataFrame([record]).astype(table.dtypes))).all(axis=1)
        assert label not in y[same] or len(set(y[same])) == 2
    rows = rows.copy()
    rows[17, 0] += 0.3 / 73
    with pytest.raises(ValueError, match="feasible_set: row 17 of X_cand is not the row of any record"):
        own.set_params(feasible_set=CandidatePool(rows)).attack(target)


# -- verification ----------------------------------------------------------------------------------


def test_an_honest_result_passes(data, result):
    report = result.verify(*data)
    assert report.ok
    assert report.refitted is None
    assert "records that are mapped elsewhere" in repr(report)


def change(result, **columns):
    records = result.records.copy()
    for name, value in columns.items():
        records[name] = np.asarray(value).astype(records[name].dtype)
    return type(result)(**{**vars(result), "records": records})


def test_a_lie_about_records_is_caught(data, result):
    older = np.where(result.records["age"] < 60, result.records["age"] + 1, result.records["age"] - 1)
    for lie in (change(result, age=older), change(result, member=~result.records["member"])):
        with pytest.raises(VerificationError, match="records that are mapped elsewhere"):
            lie.verify(*data)
    between = type(result)(
        **{
            **vars(result),
            "points": result.points + np.array([0.3 / 73, 0, 0, 0, 0, 0, 0, 0])[: result.points.shape[1]],
        }
    )
    with pytest.raises(VerificationError, match="points outside the feasible set"):
        between.verify(*data)
    assert change(result, serial=result.records["serial"] + 1).verify(*data).ok  # no feature depends on it


def test_a_pool_is_not_used_more_often_than_it_may_be(data, attacker, target):
    table, y = data
    rows = attacker.preprocessing_.transform(table)
    pool = CandidatePool.label_flips(rows, y, max_repeats=None)
    found = clone(attacker).set_params(feasible_set=pool, max_points=6).fit(table, y).attack(target)
    most = max(int(np.sum((rows == x).all(axis=1))) for x in found.points)
    capped = CandidatePool.label_flips(rows, y, max_repeats=6)  # which the bound found does not speak of
    once = type(found)(**{**vars(found), "feasible_set": capped, "certificate": None, "goal": None, "lower_bound": 0})
    report = once.verify(table, y)
    assert "points beyond max_repeats" in [check.name for check in report.checks]
    often = np.append(found.sequence, np.repeat(found.sequence[0], 6 * most))
    lie = type(found)(**{**vars(once), "sequence": often})
    with pytest.raises(VerificationError, match="points beyond max_repeats"):
        lie.verify(table, y)


@pytest.mark.parametrize("scaler", [MinMaxScaler(), StandardScaler()], ids=str)
def test_refitting_the_preprocessing_is_reported(scaler):
    """The figures of the report, computed once more with scikit-learn's own pipeline."""
    table, y = census(160, seed=3)
    first = make_column_transformer((scaler, ["age", "hours", "rate"]), (OneHotEncoder(), ["grade", "member"]))
    own = ModelTargetedPoisoner.from_estimator(pipeline(first), tol=1e-9, max_points=30).fit(table, y)
    found = own.attack((-own.coef_, -own.intercept_))
    report = found.verify(table, y, refit_preprocessing=True)
    again = report.refitted
    poisoned, labels, _ = found.poisoned(table, y)
    refitted = pipeline(clone(first)).fit(poisoned, labels)
    before = own.preprocessing_.transform(table) @ found.coef_[0] + found.intercept_[0]
    after = refitted.decision_function(table)
    assert_allclose(again.shift_max, np.abs(after - before).max(), atol=1e-5)  # of solvers within 1e-6
    assert again.accuracy == refitted.score(table, y)
    assert again.accuracy_before == np.mean((before > 0) == (y == "rich"))
    assert again.changed == np.mean((after > 0) != (before > 0))
    assert again.unexplained < 1e-9  # scalers only move and stretch: every record keeps its meaning
    assert_allclose(again.loss_difference_before, report.loss_difference, rtol=1e-9)
    assert again.distance_before <= report.distance + 1e-12
    if isinstance(scaler, MinMaxScaler):  # poison lies within the range of the clean data: nothing moves
        assert again.shift_max < 1e-5
        assert_allclose(again.distance, again.distance_before, atol=1e-6)
    else:
        assert again.shift_max > 1e-3
    assert "preprocessing refitted to the poisoned table" in repr(report)


def test_what_cannot_be_refitted(data, result, cancer):
    X, y = cancer
    plain = ModelTargetedPoisoner(max_points=2).fit(X, y)
    found = plain.attack((-plain.coef_, -plain.intercept_))
    with pytest.raises(ValueError, match="preprocessing: the attack was not on raw records"):
        found.verify(X, y, refit_preprocessing=True)
    with pytest.raises(ValueError, match=r"X has columns \['serial'.*the attack was on \['age'"):
        result.verify(data[0][data[0].columns[::-1]], data[1])
    with pytest.raises(ValueError, match=r"X has columns \['serial'.*the attack was on \['age'"):
        result.poisoned(data[0][data[0].columns[::-1]], data[1])


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_the_check_of_the_loss_difference_is_its_maximum_over_records(loss):
    """Against every combination of whole values and levels, with the continuous features free."""
    rng, phi, d = np.random.default_rng(5), get_loss(loss), 8
    space = FeatureSpace(
        [0, -1, 0, 0, 0, 0, 0, 0], [1, 2, 2, 1, 1, 2.5, 1, 1],
        integer=[2], lattice={7: (0.0, 0.5)}, one_hot=[[3, 4, 5]], at_most_one=[[6]],
    )  # fmt: skip
    classes = np.array([-1.0, 1.0])
    for scale in (0.3, 1.0, 3.0):
        theta, goal = scale * rng.normal(size=(2, d + 1))
        best = -np.inf
        for whole, half, level, last in np.ndindex(3, 3, 3, 2):
            low = np.array([0, -1, whole, 0, 0, 0, last, 0.5 * half])
            low[3 + level] = [1, 1, 2.5][level]
            high = np.where(np.arange(d) < 2, [1, 2, 0, 0, 0, 0, 0, 0], low)
            best = max(best, max_loss_difference(theta, goal, FeatureSpace(low, high), phi, classes))
        found = max_loss_difference(theta, goal, space, phi, classes)
        assert_allclose(found, best, rtol=1e-7)  # the branch and bound stops at 1e-8
        only = FeatureSpace(space.lower, space.upper, integer=[2], lattice={7: (0.0, 0.5)}, labels=["b"],
                            one_hot=[[3, 4, 5]], at_most_one=[[6]])  # fmt: skip
        assert max_loss_difference(theta, goal, only, phi, np.array(["a", "b"])) <= found + 1e-12


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_the_check_of_the_loss_difference_covers_documents(loss, norm):
    """Against every document of so few words: exact without a norm, between what is found and proved with one."""
    rng, phi = np.random.default_rng(7), get_loss(loss)
    space = DocumentSpace(4, [2, 1, 3, 0], idf=[1.0, 2.5, 0.7, 1.0], norm=norm)
    counts = np.array([c for c in np.ndindex(3, 2, 4, 1) if sum(c) <= 4], dtype=float)
    rows = space.rows(counts).toarray()
    assert all(_is_document(space.regions(4)[1.0], row) for row in rows)
    for other in ([0.3, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]):  # no whole number of words; a word that is excluded
        assert not any(_is_document(space.regions(4)[1.0], row + np.array(other)) for row in rows)
    for scale in (0.5, 2.0):
        theta, goal = scale * rng.normal(size=(2, 5))
        u, v = rows @ theta[:-1] + theta[-1], rows @ goal[:-1] + goal[-1]
        best = max(np.max(phi.value(s * u) - phi.value(s * v)) for s in (-1.0, 1.0))
        attained, proved = attained_and_proved(theta, goal, space, phi)
        assert attained <= best + 1e-9 * max(1.0, abs(best))
        assert proved >= best - 1e-9 * max(1.0, abs(best))
        if norm is None:
            assert_allclose([attained, proved], best, rtol=1e-7)  # the branch and bound stops at 1e-8


@pytest.mark.parametrize("norm", [None, "l2"])
def test_attacks_with_documents_verify(norm):
    rng = np.random.default_rng(4)
    y = np.where(np.arange(60) % 3 == 0, 1.0, -1.0)
    counts = rng.poisson(np.where(y[:, None] > 0, np.linspace(0.1, 0.8, 12), np.linspace(0.8, 0.1, 12))).astype(float)
    space = DocumentSpace.from_data(counts, norm=norm)
    own = ModelTargetedPoisoner(alpha=0.05, feasible_set=space, max_points=12).fit(space.rows(counts), y)
    found = own.attack((-own.coef_, -own.intercept_))
    assert found.verify(space.rows(counts), y).ok
    lie = type(found)(**{**vars(found), "points": 1.01 * found.points})
    with pytest.raises(VerificationError, match="points outside the feasible set"):
        lie.verify(space.rows(counts), y)


# -- files -----------------------------------------------------------------------------------------


def test_records_are_saved_with_their_dtypes(data, attacker, result, tmp_path):
    result.save(tmp_path / "attack.npz")
    loaded = PoisoningResult.load(tmp_path / "attack.npz")
    pd.testing.assert_frame_equal(loaded.X_poison, result.X_poison)
    pd.testing.assert_frame_equal(loaded.at_budget(2).records, result.at_budget(2).records)
    pd.testing.assert_frame_equal(loaded.poisoned(*data)[0], result.poisoned(*data)[0])
    assert_array_equal(loaded.points, result.points)
    with pytest.raises(ValueError, match="this result was loaded without what the victim does to them: hand it in as"):
        loaded.verify(*data)
    report = loaded.verify(*data, preprocessing=attacker.preprocessing_, refit_preprocessing=True)
    assert report.ok
    assert report.refitted is not None
    with np.load(tmp_path / "attack.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
    other = steps().fit(census(seed=9)[0][:40])
    with pytest.raises(VerificationError):
        loaded.verify(*data, preprocessing=other)


def test_pickle_keeps_the_preprocessing(data, result):
    again = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(again.X_poison, result.X_poison)
    assert again.verify(*data).ok


def test_arrays_of_objects_are_saved(tmp_path):
    rng = np.random.default_rng(0)
    X = np.empty((60, 2), dtype=object)
    X[:, 0], X[:, 1] = rng.choice(["a", "b", "c"], 60), rng.integers(0, 9, 60).tolist()
    y = np.where(X[:, 1].astype(int) + 3 * (X[:, 0] == "a") + rng.normal(0, 2, 60) > 5, 1, 0)
    first = make_column_transformer((OneHotEncoder(), [0]), (MinMaxScaler(), [1]))
    own = ModelTargetedPoisoner.from_estimator(pipeline(first), max_points=5).fit(X, y)
    found, file = own.attack((-own.coef_, -own.intercept_)), io.BytesIO()
    found.save(file)
    file.seek(0)
    loaded = PoisoningResult.load(file)
    assert loaded.X_poison.dtype == object
    assert_array_equal(loaded.X_poison, found.X_poison)
    assert [type(value) for value in loaded.X_poison[0]] == [str, int]
