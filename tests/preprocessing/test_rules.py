"""Rules on raw columns: every inserted record keeps them, whatever the preprocessing makes of the column."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from mtpfast import CandidatePool, DamagePoisoner, FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, in_parts
from mtpfast.preprocessing.tables import RecordCodec


def table_of(n=120):
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "debt": rng.normal(size=n),
            "flag": rng.choice([0.0, 2.5], n),
            "month": rng.choice(["may", "june", "july", "rare"], n, p=[0.4, 0.4, 0.19, 0.01]),
            "grade": rng.choice(["a", "b", "c"], n),
            "id": np.arange(n),
        }
    )


FIRST = make_column_transformer(
    (MinMaxScaler(), ["age", "flag"]),
    (StandardScaler(), ["debt"]),
    (OneHotEncoder(drop="first"), ["month"]),
    (OrdinalEncoder(), ["grade"]),
)


@pytest.fixture(scope="module")
def table():
    return table_of()


@pytest.fixture(scope="module")
def labels(table):
    return np.where(table["debt"] - table["age"] / 40 > -1.2, "yes", "no")


def corners(codec, n=200):
    """Records of random points of the codec's space."""
    rng = np.random.default_rng(0)
    region = codec.space.region_of(None, codec.n_features)
    points = [region.linear_argmax(rng.normal(size=codec.n_features)) for _ in range(n)]
    return codec.decode(np.array(points))


@pytest.mark.parametrize(
    "rules, allowed",
    [
        ({"month": "may"}, {"month": {"may"}}),
        ({"month": ["june", "july"]}, {"month": {"june", "july"}}),
        ({"month": {"july"}, "grade": ["a", "b"]}, {"month": {"july"}, "grade": {"a", "b"}}),
        ({"age": 30}, {"age": {30}}),
        ({"age": [40, 42, 41]}, {"age": {40, 42}}),
        ({"age": (29.5, 33)}, {"age": {30, 33}}),
        ({"flag": 2.5}, {"flag": {2.5}}),
        ({"flag": (1, None)}, {"flag": {2.5}}),
        ({"id": 17}, {"id": {17}}),
        ({"id": (5, 6)}, {"id": {5}}),
    ],
)
def test_records_keep_the_rules(table, rules, allowed):
    """The ends of every direction of the space are records that keep them, and reach all that they allow."""
    codec = RecordCodec(FIRST.fit(table), table, rules)
    records = corners(codec)
    for name, values in allowed.items():
        assert set(records[name].unique()) == values
    free = next(name for name in ("debt", "age") if name not in rules)
    assert records[free].nunique() == 2
    assert codec.has(codec.encode(records)).all()


def test_a_range_of_floats_is_kept_to_the_last_digit(table):
    codec = RecordCodec(FIRST.fit(table), table, {"debt": (-0.1, 0.3)})
    values = corners(codec)["debt"]
    assert values.min() == pytest.approx(-0.1, rel=1e-12)  # the scaler's rounding, and inwards
    assert values.max() == pytest.approx(0.3, rel=1e-12)
    assert values.between(-0.1, 0.3).all()


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"salary": 3}, "no column 'salary'"),
        ({"month": "march"}, "'month' has no level that keeps the rule .'march'.; it has"),
        ({"month": ["may", "march"], "grade": []}, "'grade': no level is allowed"),
        ({"age": (90, 99)}, "'age': the rule 90 to 99 leaves nothing of the table's range"),
        ({"age": 30.5}, "'age' holds whole numbers, got 30.5"),
        ({"age": 7}, "7 is not within the table's range"),
        ({"age": [20, 40]}, "a value or a range .low, high. was expected"),
        ({"age": "thirty"}, "'age' is used as numbers, got 'thirty'"),
        ({"age": (40, 20)}, "the range .40, 20. is empty"),
        ({"age": ("a", "b")}, "a range is two numbers"),
        ({"flag": 1.0}, "is 0 or 2.5, the rule has neither"),
        ({"id": -1}, "no value of column 'id' in the table keeps the rule"),
    ],
)
def test_a_rule_that_leaves_nothing_is_refused(table, rules, message):
    with pytest.raises(ValueError, match=message):
        RecordCodec(FIRST.fit(table), table, rules)


@pytest.mark.parametrize("attacker", [DamagePoisoner, MinimumPoisoner, ModelTargetedPoisoner])
def test_attacks_keep_the_rules(attacker, table, labels):
    """Through a Pipeline: fixed month, a range of ages, one label, and with a feasible set on top of them."""
    rules = {"month": "may", "age": (20, 60), "id": 3, "y": "no"}
    pipeline = make_pipeline(FIRST, LinearSVC(loss="hinge", C=0.1))
    options = {
        DamagePoisoner: {"budget": 6, "n_starts": 1, "max_iter": 10},
        MinimumPoisoner: {},
        ModelTargetedPoisoner: {"max_points": 4},
    }[attacker]
    for space in (None, FeatureSpace(-9, 9)):
        given = {"rules": rules, "feasible_set": space}
        victim = attacker.from_estimator(pipeline, **given, **options).fit(table, labels)
        if attacker is not DamagePoisoner:
            searched = DamagePoisoner.from_estimator(pipeline, **given, budget=6, n_starts=1, max_iter=10)
            target = searched.fit(table, labels).attack()
        result = victim.attack() if attacker is DamagePoisoner else victim.attack((target.coef_, target.intercept_))
        assert result.n_points > 0
        records = result.X_poison
        assert set(result.y_poison) == {"no"}
        assert set(records["month"]) == {"may"}
        assert set(records["id"]) == {3}
        assert records["age"].between(20, 60).all()
        assert result.verify(table, labels).ok


def test_rules_hold_for_records_in_parts(table, labels, tmp_path):
    """Rows that come in parts, with a fitted preprocessing: the same space, or the same refusal."""
    rules = {"month": "may", "age": (20, 60), "y": "no"}
    first = clone(FIRST).fit(table)
    for i, rows in enumerate((slice(0, 50), slice(50, None))):
        table[rows].assign(state=labels[rows]).to_parquet(tmp_path / f"{i}.parquet")
    given = [(in_parts(tmp_path / "*.parquet", "state"),), (table, labels)]
    attackers = [MinimumPoisoner("log_loss", C=0.1, preprocessing=first, rules=rules).fit(*data) for data in given]
    split, whole = (attacker._own_feasible_set() for attacker in attackers)
    assert split == whole
    assert split.labels == ("no",)
    with pytest.raises(ValueError, match="rules speak of raw columns"):
        MinimumPoisoner("log_loss", C=0.1, rules=rules).fit(in_parts(table[["age", "debt"]].to_numpy(), labels))


@pytest.mark.parametrize("names", [["month"], ["age", "debt"], ["age", "month", "id"], ["id"], list(table_of(2))])
def test_unchanged_columns_agree_together_with_some_row(table, names):
    """Every record of a direction does so, and each such record is best in some direction that asks for it."""
    codec = RecordCodec(FIRST.fit(table), table, dict.fromkeys(names, "unchanged"))
    there = set(map(tuple, table[names].to_numpy().tolist()))
    assert set(map(tuple, corners(codec)[names].to_numpy().tolist())) <= there
    rows = codec.encode(table)
    for i in range(0, len(table), 7):
        region = codec.space.region_of(None, codec.n_features)
        mine = codec.decode(codec.canonical(rows[[i]]))
        assert tuple(mine[names].iloc[0]) in there
        assert np.array_equal(codec.encode(mine), codec.canonical(rows[[i]]))
        assert region.contains(codec.canonical(rows[[i]])).all()
    shared = [name for name in names if name != "id"]
    if shared:
        assert codec.decode(codec.encode(table))[shared].equals(table[shared])


def test_a_level_named_unchanged_is_a_list(table):
    other = table.assign(month=table["month"].replace("may", "unchanged"))
    codec = RecordCodec(clone(FIRST).fit(other), other, {"month": ["unchanged"]})
    assert set(corners(codec)["month"]) == {"unchanged"}


@pytest.mark.parametrize("attacker", [DamagePoisoner, MinimumPoisoner, ModelTargetedPoisoner])
def test_attacks_leave_columns_unchanged(attacker, table, labels):
    """Found records agree with a clean row; the bound is at most what was found; the check passes."""
    names = ["age", "month", "grade"]
    rules = dict.fromkeys(names, "unchanged") | {"debt": (-1.0, 1.0)}
    pipeline = make_pipeline(FIRST, LinearSVC(loss="hinge", C=0.1))
    searched = DamagePoisoner.from_estimator(pipeline, rules=rules, budget=6, n_starts=1, max_iter=10)
    target = result = searched.fit(table, labels).attack()
    if attacker is not DamagePoisoner:
        options = {MinimumPoisoner: {"tol": 0.05}, ModelTargetedPoisoner: {"max_points": 6}}[attacker]
        victim = attacker.from_estimator(pipeline, rules=rules, **options).fit(table, labels)
        result = victim.attack((target.coef_, target.intercept_))
        assert result.lower_bound <= 6
    there = set(map(tuple, table[names].to_numpy().tolist()))
    assert result.n_points > 0
    assert set(map(tuple, result.X_poison[names].to_numpy().tolist())) <= there
    assert result.X_poison["debt"].between(-1.0, 1.0).all()
    assert result.verify(table, labels).ok
    if attacker is MinimumPoisoner:
        assert result.status == "reached"


def test_unchanged_needs_the_whole_table(table, labels, tmp_path):
    table.assign(state=labels).to_parquet(tmp_path / "all.parquet")
    victim = MinimumPoisoner("log_loss", preprocessing=clone(FIRST).fit(table), rules={"month": "unchanged"})
    with pytest.raises(ValueError, match="'unchanged' needs every row"):
        victim.fit(in_parts(tmp_path / "all.parquet", "state"))
    missing = table.assign(age=np.where(np.arange(len(table)) % 2, np.nan, table["age"]), id=np.nan)
    missing["id"] = np.where(np.arange(len(table)) % 2, 1.0, np.nan)
    with pytest.raises(ValueError, match="no row of the table has a value in all of the unchanged columns 'age', 'id'"):
        RecordCodec(clone(FIRST).fit(missing), missing, {"age": "unchanged", "id": "unchanged"})


def test_rules_need_raw_columns(table, labels):
    with pytest.raises(ValueError, match="rules speak of raw columns"):
        DamagePoisoner(rules={"age": 30}).fit(table[["age", "debt"]], labels)
    other = FeatureSpace(-9, 9, labels=["yes"])
    victim = DamagePoisoner(preprocessing=FIRST, rules={"y": "no"}, feasible_set=other).fit(table, labels)
    with pytest.raises(ValueError, match=r"labels \['no'\], feasible_set"):
        victim.attack()
    victim = DamagePoisoner(preprocessing=FIRST, rules={"y": "maybe"}).fit(table, labels)
    with pytest.raises(ValueError, match="'maybe', the labels are"):
        victim.attack()


@pytest.mark.parametrize("attacker", [DamagePoisoner, MinimumPoisoner, ModelTargetedPoisoner])
def test_label_flips_of_a_raw_table(attacker, table, labels):
    """Every inserted record is a row of the table, missing values and all, with the other label; once at most."""
    holes = table.assign(age=table["age"].where(np.arange(len(table)) % 9 > 0), id=np.arange(len(table)))
    first = make_column_transformer(
        (make_pipeline(SimpleImputer(), MinMaxScaler()), ["age", "flag"]), (OneHotEncoder(), ["month"])
    )
    flips = CandidatePool.label_flips(holes, labels)
    pipeline = make_pipeline(first, LinearSVC(loss="hinge", C=0.1))
    harm = DamagePoisoner.from_estimator(pipeline, feasible_set=flips, budget=9, n_starts=1, max_iter=10)
    result = target = harm.fit(holes, labels).attack()
    if attacker is not DamagePoisoner:
        options = {MinimumPoisoner: {}, ModelTargetedPoisoner: {"max_points": 9}}[attacker]
        victim = attacker.from_estimator(pipeline, feasible_set=flips, **options).fit(holes, labels)
        result = victim.attack((target.coef_, target.intercept_))
        assert result.lower_bound <= 9
    assert result.n_points > 0
    assert not result.X_poison["id"].duplicated().any()
    for (_, record), label in zip(result.X_poison.iterrows(), result.y_poison, strict=True):
        assert record.equals(holes.iloc[int(record["id"])].rename(record.name))
        assert label != labels[int(record["id"])]
    assert result.verify(holes, labels).ok


def test_raw_candidates_need_the_preprocessing_that_reads_them(table, labels):
    flips = CandidatePool.label_flips(table, labels)
    assert "raw" in repr(flips)
    for given in (table[["age", "debt"]], table.rename(columns={"age": "years"})):
        pre = None if len(given.columns) == 2 else make_column_transformer((MinMaxScaler(), ["years"]))
        with pytest.raises(ValueError, match="raw rows in X_cand"):
            DamagePoisoner(feasible_set=flips, preprocessing=pre).fit(given, labels).attack()


def test_label_flips_of_texts():
    texts = ["win a prize now", "lunch at noon", "prize prize now", "see you at noon", "win now", "at lunch"] * 4
    labels = np.tile(["spam", "ham"], 12)
    flips = CandidatePool.label_flips(texts, labels, max_repeats=None)
    pipeline = make_pipeline(CountVectorizer(), LinearSVC(loss="hinge", C=0.1))
    harm = DamagePoisoner.from_estimator(pipeline, feasible_set=flips, budget=30, n_starts=1, max_iter=10)
    result = harm.fit(texts, labels).attack()
    assert result.n_points > 0
    other = {text: {"spam": "ham", "ham": "spam"}[label] for text, label in zip(texts, labels, strict=True)}
    assert all(other[text] == label for text, label in zip(result.X_poison, result.y_poison, strict=True))
    assert result.verify(texts, labels).ok
