"""The audit: what its report says, a script that only uses scikit-learn finds as well."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from late_payers import table_of
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from mtpfast import audit
from mtpfast.defences import RepeatedRows
from mtpfast.reports.guaranteed import fewer_than
from mtpfast.reports.parts import OutOfTime, Parts, Progress
from mtpfast.reports.pictures import COLORS, draw_curve
from mtpfast.reports.question import read_budgets, select
from mtpfast.reports.tables import usual_pipeline

QUICK = {"n_starts": 1, "max_iter": 30, "verbose": 0, "sanitizers": None}
WHERE = "age < 40 and work != 'state'"


@pytest.fixture(scope="module")
def data():
    X, y = table_of()
    return X[:160], y[:160], X[160:].reset_index(drop=True), y[160:].reset_index(drop=True)


@pytest.fixture(scope="module")
def report(data):
    X, y, X_test, y_test = data
    pipeline = usual_pipeline(X, "linear_svc", C=0.01)
    seen = QUICK | {"sanitizers": [RepeatedRows()]}
    return audit(pipeline, X, y, X_test, y_test, where=WHERE, goal={"error": 0.5}, budgets=[4, 0.1], **seen)


def error_by_hand(pipeline, X, y, inserted, label, X_test, y_test, rows):
    """scikit-learn alone: append, fit, count."""
    X_mod = pd.concat([X, inserted.drop(columns=label)], ignore_index=True)
    y_mod = pd.concat([y, inserted[label]], ignore_index=True)
    fitted = clone(pipeline).fit(X_mod, y_mod)
    return float(np.mean(fitted.predict(X_test[rows]) != y_test[rows]))


def test_the_numbers_are_those_of_scikit_learn_on_the_inserted_records(report, data):
    """Of the curve at every budget, of the fewest records, and of the clean pipeline: equal, not nearly."""
    X, y, X_test, y_test = data
    pipeline = usual_pipeline(X, "linear_svc", C=0.01)
    rows = X_test.eval(WHERE, engine="python")
    assert 5 < rows.sum() < len(rows)
    frame = report.to_frame()
    for budget, line in frame.iterrows():
        inserted = report.records(budget)
        assert len(inserted) == line["records"] <= {4: 4, 0.1: 16}[budget]
        assert line["attack"] == error_by_hand(pipeline, X, y, inserted, "state", X_test, y_test, rows)
        assert line["everyone"] == error_by_hand(pipeline, X, y, inserted, "state", X_test, y_test, rows | True)
        assert line["clean"] == error_by_hand(pipeline, X, y, inserted[:0], "state", X_test, y_test, rows)
    fewest = report.tree["fewest"]
    inserted = report.records()
    assert len(inserted) == fewest["records"] == report.fewest.n_points
    value = error_by_hand(pipeline, X, y, inserted, "state", X_test, y_test, rows)
    assert fewest["attack"]["measured"]["value"] == value >= 0.5
    n = int(rows.sum())
    assert fewest["attack"]["measured"]["rows"] == n
    assert fewest["attack"]["measured"]["standard_error"] == pytest.approx(np.sqrt(value * (1 - value) / n), rel=1e-12)


def test_inserted_records_could_be_in_the_table(report, data):
    """Of its columns and dtypes, whole ages, known kinds of work, nothing missing, no number beyond the clean ones."""
    X = data[0]
    inserted = report.records(0.1)
    assert inserted.columns.tolist() == [*X.columns, "state"]
    assert inserted[X.columns].dtypes.equals(X.dtypes)
    assert not inserted.isna().any().any()
    assert set(inserted["work"]) <= set(X["work"])
    assert inserted["age"].between(X["age"].min(), X["age"].max()).all()
    assert inserted["debt"].between(X["debt"].min(), X["debt"].max()).all()


def test_what_is_proved_is_below_what_is_found(report):
    """Certified error bounds the attack at every budget; the fewest found are not fewer than is proved."""
    frame = report.to_frame()
    assert (frame["certified"] >= frame["attack"]).all()
    assert frame["certified"].min() < 1.0  # it says something
    proof = report.tree["proof"]
    assert proof["proved"]
    assert 2 <= proof["fewer_than"] <= report.fewest.n_points
    assert f"proved: fewer than {proof['fewer_than']} cannot" in report.summary


@pytest.mark.parametrize(
    "bounds, goal, expected",
    [
        ([5, 1, 9, 3], 0.5, 3),
        ([5, 1, 9, 3], 0.51, 5),
        ([5, 1, 9, 3], 0.25, 1),
        ([0, 0, 7], 2 / 3, 0),
        ([4] * 10, 0.3, 4),
    ],
)
def test_fewer_than_counts_rows(bounds, goal, expected):
    """k records have the rows of bound <= k wrong at most: the least k for ``goal`` is an order statistic."""
    assert fewer_than(bounds, goal) == expected
    assert np.mean(np.array(bounds) <= expected) >= goal
    assert np.mean(np.array(bounds) <= expected - 1) < goal


def test_no_bound_is_claimed_where_none_can_be_proved(data):
    """With class_weight="balanced" every point changes every weight: the report says "not proved", and why."""
    X, y, *_ = data
    pipeline = usual_pipeline(X, "logistic", C=0.1, class_weight="balanced")
    report = audit(pipeline, X, y, budgets=[4], **QUICK)
    assert "not proved" in report.summary
    assert "balanced" in report.summary
    assert report.guarantee is None
    assert report.minimum is None
    assert report.tree["proof"]["fewer_than"] is None
    assert report.to_frame()["certified"].isna().all()
    assert {"guarantee": "not proved", "exact minimum": "not proved"}.items() <= {
        part["name"]: part["status"] for part in report.tree["parts"]
    }.items()
    assert "training rows" in report.tree["question"]["measured_on"]


def test_the_checks_are_those_of_scikit_learn_too(report, data):
    """With exactly the inserted records removed it is the clean pipeline; with none removed, that of the attack."""
    rows = {(row["defence"], row["rule"]): row for row in report.tree["defences"]["rows"]}
    assert rows["Oracle", "own"]["metric_aimed"] == report.tree["clean"]["measured"]["value"]
    assert rows["Oracle", "own"]["recall"] == 1.0
    assert rows["Oracle", "own"]["clean_lost"] == 0.0
    assert rows["none", "own"]["metric_aimed"] == report.tree["fewest"]["attack"]["measured"]["value"]
    assert rows["none", "own"]["metric"] == report.tree["fewest"]["attack"]["everyone"]["value"]
    counts = report.fewest.counts
    assert rows["RepeatedRows", "own"]["recall"] == pytest.approx(np.sum(counts - 1) / np.sum(counts), rel=1e-12)
    assert report.tree["defences"]["records"] == report.fewest.n_points
    assert "RepeatedRows" in report.to_html()


def test_json_is_plain_and_whole(report):
    tree = json.loads(report.to_json())
    assert tree == report.tree
    assert tree["schema"] == "mtpfast-audit"
    assert tree["schema_version"] == 1
    assert [part["status"] for part in tree["parts"] if part["name"] in ("damage curve", "guarantee")] == ["done"] * 2
    times = [row["times"] for row in tree["records"]["rows"]]
    assert times == sorted(times, reverse=True)
    assert len(times) == min(10, tree["records"]["distinct"])


def test_an_audit_that_is_stopped_reports_what_is_done(data):
    """A callback that returns True is Ctrl-C: the curve's first budget is there, the rest says "not started"."""
    X, y, *_ = data

    def stop(told):
        return told["part"] == "damage curve" and " 8 records" in told["text"]

    report = audit(usual_pipeline(X), X, y, budgets=[2, 8], **QUICK, callback=stop)
    status = {part["name"]: part["status"] for part in report.tree["parts"]}
    assert status == {
        "clean model": "done",
        "damage curve": "interrupted",
        "label flips": "not started",
        "guarantee": "not started",
        "exact minimum": "not started",
    }
    assert 2 in report.results
    assert not report.complete
    assert "not started" in repr(report)


def test_an_audit_without_time_says_so(data):
    X, y, *_ = data
    report = audit(usual_pipeline(X), X, y, budgets=[2], **QUICK, time_limit=1e-9)
    assert {part["status"] for part in report.tree["parts"][1:]} <= {"not started", "not finished"}
    assert "no more is known" in report.summary
    assert "time limit" in report.summary
    assert "The time limit was 1e-09 s." in report.to_html()


def test_what_a_part_leaves_or_overruns_all_that_follow_share():
    """Of the time left when it begins, a part has its share among those to come; the last one has all that is left."""
    parts = Parts({"a": 0.6, "b": 0.3, "c": 0.1}, 1000.0, Progress(0))
    seen = {}
    for name, used in (("a", 100.0), ("b", 870.0), ("c", 0.0)):
        parts.run(name, lambda part: seen.update({part.name: parts.left()}))
        parts.begin -= used  # as if the part had taken so long
    lefts = [600.0, 900.0 * 0.3 / 0.4, 30.0]
    assert [seen[name] for name in "abc"] == pytest.approx(lefts, abs=5.0)  # seconds that the test itself may take


def test_a_search_that_the_clock_ended_says_what_was_left_undone(data, monkeypatch):
    """The number of records is not called the fewest without a word: sentence, page and JSON name what was left."""
    X, y, *_ = data

    def check(parts, text="", share=0.0):
        if parts.name == "fewest records" or (parts.name == "damage curve" and text.endswith(" 9 records")):
            raise OutOfTime

    monkeypatch.setattr(Parts, "check", check)
    report = audit(usual_pipeline(X), X, y, budgets=[2, 9, 11], goal={"error": 0.7}, **QUICK)
    parts = {part["name"]: part for part in report.tree["parts"]}
    assert parts["damage curve"]["message"] == "the search at 9 was ended before its end; not searched: 11"
    assert parts["fewest records"]["status"] == "not started"  # its first check came too late
    assert "(the search for the fewest was not run)" in report.summary
    assert "not searched: 11" in report.to_html()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "Int8", "UInt8", "int8[pyarrow]"])
def test_small_integers_do_not_wrap_round_in_a_query(dtype):
    """100 + 100 is above 150 and 10 - 20 below 0, in whatever type of whole numbers a table holds them."""
    X = pd.DataFrame({"a": [100, 10], "b": [100, 20]}, dtype=dtype)
    assert select("a + b > 150", X, None, np.array([0, 1]), "X").tolist() == [True, False]
    assert select("a - b < 0", X, None, np.array([0, 1]), "X").tolist() == [False, True]


def test_the_picture_reaches_the_number_found_for_the_goal(report):
    """Every number of records in the table is in the picture, the goal's too."""
    axes = Figure().subplots()
    tree = json.loads(report.to_json())
    tree["fewest"]["records"] = tree["fewest"]["allowed"] = 77  # beyond the largest budget, 16
    draw_curve(axes, tree, tree["curve"], COLORS["light"])
    assert axes.get_xlim()[1] >= 77
    drawn = {int(x) for line in axes.lines for x in line.get_xdata() if len(line.get_xdata()) != 2}  # axhline has 2
    assert drawn >= {0, 77} | {point["allowed"] for point in tree["curve"]}
    shown = tree["fewest"]["attack"]["measured"]["value"]
    assert any(line.get_marker() == "*" and line.get_ydata()[0] == 100 * shown for line in axes.lines)


class Fails(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        raise RuntimeError("no such column:\nsecond line")

    def transform(self, X):
        return X


def bad_inputs():
    X, y = table_of(60)
    good = usual_pipeline(X)
    yield "y must hold two labels, got 3: 'a', 'b', 'c'", (good, X, np.resize(["a", "b", "c"], 60)), {}
    yield "column 'void' has no value in any row", (good, X.assign(void=np.nan), y), {}
    yield "where selects no row of X: age > 200", (good, X, y), {"where": "age > 200"}
    yield "where is no query on the columns", (good, X, y), {"where": "salary > 200"}
    yield "goal is met already", (good, X, y), {"goal": {"error": 0.01}}
    yield (
        "the pipeline does not fit the table: RuntimeError: no such column:$",
        (make_pipeline(Fails(), LinearSVC()), X, y),
        {},
    )
    yield "X and y must have shapes", (good, X, y[:-1]), {}
    yield "y must not hold missing values", (good, X, y.where(y != "late")), {}
    yield "budget 0.001 of 60 rows is less than one record", (good, X, y), {"budgets": [0.001]}
    yield "X_test has no column 'age'", (good, X, y, X.drop(columns="age"), y), {}
    yield "y_test holds the label 'never'", (good, X, y, X, y.replace("late", "never")), {}
    yield "goal must be a share", (good, X, y), {"goal": {"error": 1.5}}
    yield "metric must be one of", (good, X, y), {"metric": "accuracy"}


@pytest.mark.parametrize(
    "message, given, options", list(bad_inputs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_bad_input_is_refused_in_one_line(message, given, options):
    with pytest.raises(ValueError, match=message) as error:
        audit(*given, **{**QUICK, "budgets": [2], **options})
    assert "\n" not in str(error.value)


def test_false_negatives_are_counted_among_the_larger_label(data):
    """``goal`` names the metric; "paid" is the larger label."""
    X, y, X_test, y_test = data
    pipeline = make_pipeline(usual_pipeline(X).steps[0][1], LogisticRegression(C=0.01))
    report = audit(pipeline, X, y, X_test, y_test, goal={"false_negative_rate": 0.95}, budgets=[8], **QUICK)
    fitted = clone(pipeline).fit(X, y)
    paid = y_test == "paid"
    clean = report.tree["clean"]["measured"]
    assert clean["value"] == np.mean(fitted.predict(X_test[paid]) != "paid")
    assert clean["rows"] == paid.sum()
    assert report.tree["question"]["metric"] == "false_negative_rate"


def test_shares_of_less_than_one_record_are_left_out():
    """The budgets that nobody gave fit a table of 60 rows: 0.5 % and 1 % of it are no record."""
    shares = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
    assert read_budgets(shares, 60) == [(0.02, 1), (0.05, 3), (0.1, 6)]
    with pytest.raises(ValueError, match="less than one record"):
        read_budgets([0.001], 60)


WRAPPERS = {
    "search": (GridSearchCV, {"param_grid": {"model__C": [0.01, 0.1]}, "cv": 3}, "best estimator"),
    "calibrated": (CalibratedClassifierCV, {"cv": 3}, "its estimator, trained on all rows"),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped_victims_are_measured_in_the_wrapper(name, data):
    """The numbers are those of the wrapper fitted again by hand, the attack is on what is inside, the report says so;
    ``verify(pipeline=)`` takes the wrapper, too. Rules, "unchanged" among them, hold for every record."""
    X, y, X_test, y_test = data
    wrap, options, said = WRAPPERS[name]
    pipeline = wrap(usual_pipeline(X, "linear_svc", C=0.01), **options)
    rules = {"work": "unchanged", "age": "unchanged", "debt": (-1.0, 1.0)}
    found = audit(pipeline, X, y, X_test, y_test, where="age < 25", budgets=[12], rules=rules, **QUICK)
    inserted = found.records(12)
    assert len(inserted) > 0
    rows = X_test["age"] < 25
    by_hand = error_by_hand(pipeline, X, y, inserted, "state", X_test, y_test, rows)
    assert found.to_frame()["attack"].tolist() == [by_hand]
    assert said in found.tree["model"]["wrapper"]
    assert said in found.to_html()
    there = set(X[["work", "age"]].itertuples(index=False, name=None))
    assert set(inserted[["work", "age"]].itertuples(index=False, name=None)) <= there
    assert inserted["debt"].between(-1.0, 1.0).all()
    seen = found.results[12].verify(X, y, pipeline=pipeline)
    assert seen.ok
    assert 0.0 < seen.trained.accuracy[0] < 1.0


def test_budgets_with_which_nothing_was_found_say_so(report):
    """Words, not a curve of zero records."""
    tree = json.loads(json.dumps(report.tree))
    tree["curve"][0] |= {"allowed": 1, "records": 0, "distinct": 0}
    found = replace(report, tree=tree)
    assert "1 record allowed: none found that raise the error" in repr(found)
    assert "none of 1 found to help" in found.to_html()
    assert "0 records:" not in repr(found).replace("10 records:", "")


def test_a_column_of_the_labels_name_is_kept(data):
    """The records have every column of the table, and the labels beside them under another name."""
    X, y, *_ = data
    X = X.rename(columns={"work": "y"})
    few = QUICK | {"max_iter": 4, "prove": False}
    report = audit(usual_pipeline(X, "linear_svc", C=0.01), X, y.to_numpy(), budgets=[6], **few)
    records = report.records(6)
    assert records.columns.tolist() == [*X.columns, "y_"]
    assert set(records["y"]) <= set(X["y"])
    assert set(records["y_"]) <= {"late", "paid"}
    assert report.tree["proof"]["reason"] == "it was not asked for"


def test_two_columns_of_one_name_are_refused(data):
    X, y, *_ = data
    twice = pd.concat([X, X[["age"]]], axis=1)
    with pytest.raises(ValueError, match="X has two columns named 'age'"):
        audit(LinearSVC(), twice, y)
