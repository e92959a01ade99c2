"""Tables come back as they went in: their kind, names and dtypes, with the poison in them and from files."""

import io
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import sklearn
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as imblearn_pipeline
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from mtpfast import (
    CandidatePool,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    make_target,
    max_loss_difference,
    minimum_poisoning,
    poison,
)
from mtpfast.arrays.appended import append, append_labels
from mtpfast.arrays.frames import column_names, columns_of, native_columns
from mtpfast.preprocessing.codecs import as_raw

N = 40


def whole(d=3):
    """Columns of 0 and 1 and of whole numbers, and labels that depend on them."""
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.integers(0, 2, N), rng.integers(0, 9, N), rng.integers(0, 2, N)])[:, :d]
    y = np.where(X @ np.array([4, 1, -3])[:d] + rng.normal(0, 1, N) > 3, 1, 0)
    return X, y


def attacked(X, y, m=5, whole_numbers=True, **options):
    """An attack of m points."""
    if whole_numbers:
        options["feasible_set"] = FeatureSpace.from_data(X)
    own = ModelTargetedPoisoner(C=1.0, max_points=m, tol=0.0, **options).fit(X, y)
    return own.attack((-own.coef_, -own.intercept_))


def saved(result):
    file = io.BytesIO()
    result.save(file)
    file.seek(0)
    return PoisoningResult.load(file)


def equal(a, b):
    """Whether two tables are the same to the last dtype, row labels included."""
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True, check_freq=False)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_exact=True, check_freq=False)
    elif isinstance(a, (pl.DataFrame, pl.Series)):
        assert a.equals(b)
        assert not isinstance(a, pl.DataFrame) or a.schema == b.schema
    elif isinstance(a, (pa.Table, pa.ChunkedArray)):
        assert a.equals(b)
    elif sp.issparse(a):
        assert (type(a), a.format, a.dtype) == (type(b), b.format, b.dtype)
        assert_array_equal(a.toarray(), b.toarray())
    else:
        assert a.dtype == b.dtype
        assert_array_equal(a, b)
    return True


def numbers(table):
    """A table as float64."""
    if sp.issparse(table):
        return table.toarray().astype(float)
    return np.column_stack([np.asarray(column, dtype=float) for column in columns_of(table)])


def rows_of(table, which):
    if isinstance(table, (pa.Table, pa.ChunkedArray)):
        return table.filter(pa.array(which))
    if isinstance(table, (pl.DataFrame, pl.Series)):
        return table.filter(pl.Series(which))
    return table.tocsr()[which].asformat(table.format) if sp.issparse(table) else table[which]


# -- a grid of tables --------------------------------------------------------------------------

PANDAS = [
    "bool", "int8", "uint16", "int64", "float32", "float64", "boolean", "Int8", "UInt64", "Float32", "Float64",
    "bool[pyarrow]", "int8[pyarrow]", "uint64[pyarrow]", "float[pyarrow]", "double[pyarrow]", "category", "object",
]  # fmt: skip
POLARS = [pl.Boolean, pl.Int8, pl.UInt16, pl.Int64, pl.Float32, pl.Float64]
ARROW = [pa.bool_(), pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64()]
SPARSE = [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array, sp.lil_array, sp.dok_array, sp.bsr_array]


def of_pandas(dtype="int64", **options):
    X = whole()[0]
    return pd.DataFrame(X > 0 if "bool" in str(dtype) else X, columns=["a", "b", "c"], **options).astype(dtype)


def one_of_each(dtypes, made):
    """Columns of zeros, ones and whole numbers, one of each dtype."""
    X = whole()[0]
    bits, more = X[:, 0], X[:, 1]
    given = [bits > 0 if "bool" in str(t).lower() else (bits, more)[i % 2] for i, t in enumerate(dtypes)]
    return {str(t): made(column, t) for column, t in zip(given, dtypes, strict=True)}


TABLES = {
    "pandas": pd.DataFrame(one_of_each(PANDAS, lambda c, t: pd.Series(c).astype(t))),
    "pandas-Sparse[int8]": of_pandas("Sparse[int8]"),
    "pandas-Sparse[bool]": of_pandas("Sparse[bool]"),
    "pandas-Sparse[float32]": of_pandas(pd.SparseDtype(np.float32, 0.0)),
    "pandas-numbered": of_pandas().set_axis(range(3), axis=1),
    "pandas-levels": of_pandas().set_axis(
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["x", "y"]), axis=1
    ),
    "pandas-named": of_pandas(index=pd.Index([f"id{i}" for i in range(N)], name="who")),
    "polars": pl.DataFrame(one_of_each(POLARS, lambda c, t: pl.Series(c).cast(t))),
    "pyarrow": pa.table(one_of_each(ARROW, lambda c, t: pa.array(c).cast(t))),
    **{f"array-{t}": whole()[0].astype(t) for t in ["uint8", "int64", "float32", "float64", "O"]},
    "array-bool": whole()[0] > 0,
    **{kind.__name__: kind(whole()[0]) for kind in SPARSE},
    "csr-float32": sp.csr_array(whole()[0].astype(np.float32)),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_it_went_in(name):
    """Kind, columns, dtypes and the clean rows stay; the points are there; the user's own victim takes it."""
    X, y = TABLES[name], whole()[1]
    kept = X.copy() if hasattr(X, "copy") else X
    result = attacked(X, y)
    for found in (result, saved(result)):
        X_mod, y_mod, mask = found.poisoned(X, y)
        assert type(X_mod) is type(X)
        assert equal(rows_of(X_mod, ~mask), X)
        points = found.points[found.sequence]
        points = points.toarray() if sp.issparse(points) else points
        assert_array_equal(numbers(rows_of(X_mod, mask)), points)
        if hasattr(X, "columns"):
            assert type(found.X_poison) is type(X)
            assert column_names(found.X_poison) == column_names(X)
            assert_array_equal(numbers(found.X_poison), points)
            columns = zip(*map(native_columns, (X, X_mod, found.X_poison)), strict=True)
            assert all(len({str(getattr(c, "type", None) or c.dtype) for c in same}) == 1 for same in columns)
        if isinstance(X, pd.DataFrame):
            assert X_mod.columns.equals(X.columns)
            assert X_mod.columns.names == found.X_poison.columns.names == X.columns.names
            assert X_mod.index.is_unique
            assert X_mod.index.names == X.index.names
    assert equal(X, kept)
    if name != "pandas-Sparse[bool]":  # which scikit-learn's own estimators cannot compute with
        LogisticRegression().fit(X_mod, y_mod)
    assert found.verify(X, y).ok


@pytest.mark.parametrize("name", TABLES)
def test_poison_is_put_among_the_rows(name):
    """Shuffled: the clean rows keep their order, the points are the same ones, and rows keep their labels."""
    X, y = TABLES[name], whole()[1]
    result = attacked(X, y, m=8)
    X_mod, y_mod, mask = result.poisoned(X, y, shuffle=True, random_state=0)
    assert equal(rows_of(X_mod, ~mask), X)
    assert_array_equal(y_mod[~mask], y)
    plain, labels, last = result.poisoned(X, y)
    assert_array_equal(np.flatnonzero(last), np.arange(N, N + 8))
    assert mask.sum() == 8
    assert not mask[N:].all()
    before, after = np.column_stack([numbers(plain), labels])[last], np.column_stack([numbers(X_mod), y_mod])[mask]
    for a, b in zip(*(np.unique(rows, axis=0, return_counts=True) for rows in (before, after)), strict=True):
        assert_array_equal(a, b)
    if isinstance(X, pd.DataFrame):
        assert set(X_mod.index) == set(plain.index)
        pd.testing.assert_frame_equal(X_mod.loc[plain.index], plain.loc[plain.index])


def test_every_fold_of_a_sanitiser_sees_poison():
    """Without shuffling, consecutive folds put all poison in the last ones; dealt out, every fold has its share."""
    X, y = whole()
    result = attacked(X, y, m=40)
    plain, dealt = result.poisoned(X, y)[2], result.poisoned(X, y, shuffle=True, random_state=1)[2]
    assert [part.sum() for part in np.split(plain, 4)] == [0, 0, 20, 20]
    # Hypergeometric: 40 of 80 rows in a fold of 20 have mean 10 and standard deviation 2; 4 of them are kept here.
    assert all(2 <= part.sum() <= 18 for part in np.split(dealt, 4))


def test_the_places_of_poison_are_the_random_states():
    X, y = whole()
    result = attacked(X, y)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    same = [result.poisoned(X, y, shuffle=True, random_state=seed)[2] for seed in (7, 7, np.random.default_rng(7))]
    old = [result.poisoned(X, y, shuffle=True, random_state=np.random.RandomState(7))[2] for _ in range(2)]
    assert_array_equal(same[0], same[1])
    assert_array_equal(same[0], same[2])
    assert_array_equal(*old)
    result.poisoned(X, y, shuffle=True)
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


# -- dtypes that cannot hold a point -----------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("array-float64", "array-O")])
def test_columns_that_cannot_hold_a_point_are_named(name):
    """Elsewhere the dtypes stay; those columns become float64, and their numbers are the points'."""
    X = TABLES[name]
    framed = hasattr(X, "columns")
    names = column_names(X) if framed else list(range(X.shape[1]))
    safe = [framed and str(name).lower() in ("float64", "double", "double[pyarrow]", "object") for name in names]
    points = np.full((2, X.shape[1]), 0.1)  # is in none of the other dtypes
    points[0, 0] = 0.0
    with pytest.warns(UserWarning, match="cannot hold the poisoning points as they are") as told:
        X_mod = append(X, points)
    assert len(told) == 1
    lost = [name for name, kept in zip(names, safe, strict=True) if not kept]
    assert all(f"{name!r} (" in str(told[0].message) for name in lost[:5])
    assert ("more" in str(told[0].message)) == (len(lost) > 5)
    assert_array_equal(numbers(X_mod)[-2:], points)
    assert_array_equal(numbers(X_mod)[:-2], numbers(X))
    if framed:
        old, new = ([getattr(c, "type", None) or c.dtype for c in native_columns(t)] for t in (X, X_mod))
        assert [a == b for a, b in zip(old, new, strict=True)] == safe
        assert all(kept or "float64" in str(t).lower() or "double" in str(t) for kept, t in zip(safe, new, strict=True))


@pytest.mark.parametrize("kind", ["array", "pandas", "polars", "pyarrow", "csr"])
@pytest.mark.parametrize(
    "dtype, point, stays",
    [
        ("int8", 127.0, True), ("int8", 128.0, False), ("int8", 0.5, False), ("uint8", -1.0, False),
        ("int64", 2.0**53, True), ("int64", 2.0**63, False), ("float32", 0.5, True), ("float32", 0.1, False),
        ("float32", 1e300, False), ("float64", 0.1, True),
    ],
)  # fmt: skip
def test_a_dtype_stays_exactly_where_it_holds_the_points(kind, dtype, point, stays):
    X = np.ones((3, 2), dtype=dtype)
    make = {
        "array": np.array,
        "pandas": lambda a: pd.DataFrame(a, columns=["a", "b"]),
        "polars": lambda a: pl.DataFrame(a, schema=["a", "b"]),
        "pyarrow": lambda a: pa.table({"a": a[:, 0], "b": a[:, 1]}),
        "csr": sp.csr_matrix,
    }[kind]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        X_mod = append(make(X), np.array([[1.0, point]]))
    assert bool(told) == (not stays)
    assert numbers(X_mod)[-1].tolist() == [1.0, point]
    if stays:
        assert equal(rows_of(X_mod, np.arange(4) < 3), make(X))


def test_objects_keep_their_type():
    """Where all values of a column of objects are of one type, so are the points that it can say."""
    X = pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True], "c": [0.5, 1.5, 2.5]}, dtype=object)
    for table in (X, X.to_numpy()):
        X_mod = append(table, np.array([[4.0, 1.0, 3.0], [0.5, 0.0, 3.5]]))
        types = [[type(value) for value in column.tolist()] for column in columns_of(X_mod)]
        assert types == [[int] * 4 + [float], [bool] * 5, [float] * 5]


# -- labels, of classes and of rows ------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        lambda y: pd.Series(y, name="k", dtype="int8"), lambda y: pd.Series(y == 1), lambda y: y == 1,
        lambda y: pd.Series(y == 1, dtype="boolean"), lambda y: pd.Series(y, dtype="Int64"),
        lambda y: pd.Series(np.where(y == 1, "yes", "no")), lambda y: np.where(y == 1, "yes", "no"),
        lambda y: pd.Series(np.where(y == 1, "yes", "no"), dtype=object), lambda y: y.astype(np.float32),
        lambda y: np.where(y == 1, "yes", "no").astype(object), lambda y: y.astype(np.int8),
        lambda y: pd.Series(np.where(y == 1, "yes", "no"), dtype="string[pyarrow]"),
        lambda y: pd.Series(pd.Categorical(np.where(y == 1, "yes", "no"), categories=["yes", "maybe", "no"])),
        lambda y: pd.Series(y, dtype="category"), lambda y: pd.Series(y == 1, dtype="bool[pyarrow]"),
        lambda y: pl.Series("k", y), lambda y: pl.Series(y == 1),
        lambda y: pl.Series(np.where(y == 1, "yes", "no"), dtype=pl.Enum(["no", "yes"])),
        lambda y: pa.chunked_array([pa.array(y == 1)]), lambda y: pa.chunked_array([np.where(y == 1, "yes", "no")]),
    ],
)  # fmt: skip
def test_labels_come_back_as_they_went_in(kind):
    X, y = whole()
    y = kind(y)
    result = attacked(X, y)
    _, y_mod, mask = result.poisoned(X, y)
    assert type(y_mod) is type(y)
    assert equal(rows_of(y_mod, ~mask), y)
    assert getattr(y_mod, "name", None) == getattr(y, "name", None)
    assert_array_equal(np.asarray(y_mod)[mask], result.y_poison)
    assert result.verify(X, y).ok


@pytest.mark.parametrize(
    "index, new",
    [
        (pd.RangeIndex(3), [3, 4]), (pd.RangeIndex(10, 16, 2), [16, 18]), (pd.RangeIndex(3, 0, -1), [4, 5]),
        (pd.Index([5, 9, 2], name="n"), [10, 11]), (pd.Index([5, 9, 127], dtype="int8"), [128, 129]),
        (pd.Index([2**63 - 1, 0, 1]), ["poison_0", "poison_1"]), (pd.Index([0.5, 2.5, np.nan]), [3.0, 4.0]),
        (pd.Index([10**18, 1, 2]), [10**18 + 1, 10**18 + 2]),
        (pd.Index(["a", "poison_0", "b"]), ["poison_1", "poison_2"]), (pd.Index([True, False, True]), None),
        (pd.Index(["a", 1, None], dtype=object), ["poison_0", "poison_1"]),
        (pd.Index(["a", "b", "c"], dtype="category"), ["poison_0", "poison_1"]),
        (pd.Index([5, 9, 2], dtype="Int64"), [10, 11]), (pd.Index(["a", "b", "c"], dtype="string[pyarrow]"), None),
        (pd.date_range("2020-01-01", periods=3, unit="s"), [pd.Timestamp("2020-01-03T00:00:01"),
                                                            pd.Timestamp("2020-01-03T00:00:02")]),
        (pd.date_range("2020-01-01", periods=3, tz="Asia/Tokyo"), None), (pd.timedelta_range(0, periods=3), None),
        (pd.period_range("2020-01", periods=3, freq="M"), [pd.Period("2020-04"), pd.Period("2020-05")]),
        (pd.interval_range(0, 3), ["poison_0", "poison_1"]),
        (pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)], names=["x", 1]), [("poison_0", 3), ("poison_1", 3)]),
        (pd.MultiIndex.from_tuples([(7, "a"), (7, "b"), (9, "c")]), [(10, "c"), (11, "c")]),
    ],
    ids=str,
)  # fmt: skip
def test_new_rows_get_labels_that_no_row_has(index, new):
    """The rule in the documentation of poisoned; X and y with the same labels still have the same ones after it."""
    X = pd.DataFrame({"a": [1, 2, 3]}, index=index)
    X_mod, y_mod = append(X, np.ones((2, 1))), append_labels(X["a"], [1, 2])
    pd.testing.assert_index_equal(X_mod.index, y_mod.index)
    assert X_mod.index[:3].equals(index.astype(X_mod.index.dtype)) or list(X_mod.index[:3]) == list(index)
    assert X_mod.index.names == index.names
    assert not set(X_mod.index[3:]) & set(index)
    assert X_mod.index[3:].is_unique
    if new is not None:
        assert X_mod.index[3:].tolist() == new
    if new is None or not isinstance(new[0], str):
        assert X_mod.index.dtype == index.dtype or index.dtype in ("int8", bool)


# -- pipelines ---------------------------------------------------------------------------------


def records():
    rng = np.random.default_rng(5)
    X, y = whole()
    frame = pd.DataFrame(
        {
            "age": X[:, 1] + 20,
            "rate": rng.normal(0, 1, N).round(2),
            "work": rng.choice(["state", "private", "none"], N),
            "member": X[:, 0] > 0,
            "since": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 9, N), unit="D"),
        }
    )
    return frame, y


def first(member="passthrough"):
    encoder = OneHotEncoder(sparse_output=False)
    return ColumnTransformer(
        [("n", MinMaxScaler(), ["age", "rate"]), ("c", encoder, ["work"]), ("b", member, ["member"])]
    )


def as_kind(frame, kind):
    return {"pandas": lambda f: f, "polars": pl.from_pandas, "pyarrow": pa.Table.from_pandas}[kind](frame)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("output", ["default", "pandas", "polars", "config"])
def test_every_library_gives_the_same_attack(kind, output):
    """What the table's library is, and what the steps hand on, changes neither the points nor the claims."""
    frame, y = records()
    member = MinMaxScaler() if kind == "pyarrow" else "passthrough"  # scikit-learn passes no pyarrow table through
    X, victim = as_kind(frame, kind), make_pipeline(first(member), LinearSVC(loss="hinge"))
    expected = MinimumPoisoner.from_estimator(clone(victim)).fit(frame, y)
    with sklearn.config_context(transform_output="polars" if output == "config" else "default"):
        if output not in ("default", "config"):
            victim.set_output(transform=output)
        own = ModelTargetedPoisoner.from_estimator(victim, max_points=6, tol=0.0).fit(X, y)
        assert_array_equal(own.coef_, expected.coef_)
        result = own.attack((-own.coef_, -own.intercept_))
        assert type(result.X_poison) is type(X)
        X_mod, y_mod, mask = result.poisoned(X, y)
        assert equal(rows_of(X_mod, ~mask), X)
        added = rows_of(X_mod, mask)
        assert equal(added.reset_index(drop=True) if kind == "pandas" else added, result.X_poison)
        assert result.verify(X, y, refit_preprocessing=True).ok
        victim.fit(X_mod, y_mod)
        again = saved(result)
        assert equal(again.X_poison, result.X_poison)
        assert again.verify(X, y, preprocessing=own.preprocessing_).ok
        target = make_target(X, y, preprocessing=own.preprocessing_, quantiles=[0.2], repeats=[2], goal=0.0, C=1.0)
        assert target.coef_.shape == own.coef_.shape


def test_polars_levels_that_cannot_be_written_are_left_out():
    """A record holds only what its column can: an Enum has its categories, a small integer its range."""
    X = pl.DataFrame(
        {"e": pl.Series(["a", "b"] * 20, dtype=pl.Enum(["a", "b"])), "i": pl.Series([1, None] * 20, dtype=pl.Int8)}
    )
    y = [0, 1] * 20
    steps = make_column_transformer((OneHotEncoder(categories=[["a", "b", "z"]]), ["e"]), (OneHotEncoder(), ["i"]))
    own = ModelTargetedPoisoner.from_estimator(make_pipeline(steps, LinearSVC(loss="hinge")), max_points=5).fit(X, y)
    found = own.attack((-own.coef_, -own.intercept_))
    assert found.X_poison.schema == X.schema
    assert found.poisoned(X, y)[0].schema == X.schema
    assert found.verify(X, y).ok


@pytest.mark.parametrize("texts", [list, pd.Series, pl.Series, lambda t: np.array(t, dtype=object)])
def test_texts_come_back_as_they_went_in(texts):
    X, y = texts(["cheap pills", "cheap cheap offer", "the meeting", "meeting moved"] * 3), [1, 1, 0, 0] * 3
    victim = make_pipeline(CountVectorizer(), LinearSVC(loss="hinge"))
    own = ModelTargetedPoisoner.from_estimator(victim, max_points=3, tol=0.0).fit(X, y)
    found = own.attack((-own.coef_, -own.intercept_))
    for shuffle in (False, True):
        X_mod, _, mask = found.poisoned(X, y, shuffle=shuffle, random_state=0)
        assert type(X_mod) is type(X)
        assert [text for text, poison in zip(X_mod, mask, strict=True) if not poison] == list(X)
        assert sorted(text for text, poison in zip(X_mod, mask, strict=True) if poison) == sorted(found.X_poison)


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_nested_columns_are_carried_along(kind):
    """A column that the pipeline drops may hold anything that its library has."""
    frame, y = records()
    X = pl.from_pandas(frame).with_columns(
        listed=pl.lit([1, 2], dtype=pl.List(pl.Int8)), pair=pl.struct("age", "work"), box=pl.lit([0.5, 1.5])
    )
    X = X.with_columns(pl.col("box").cast(pl.Array(pl.Float64, 2)), when=pl.datetime(2020, 1, 1, time_zone="UTC"))
    X = X if kind == "polars" else X.to_arrow()
    member = MinMaxScaler() if kind == "pyarrow" else "passthrough"
    victim = make_pipeline(first(member), LinearSVC(loss="hinge"))
    own = ModelTargetedPoisoner.from_estimator(victim, max_points=3).fit(X, y)
    found = own.attack((-own.coef_, -own.intercept_))
    assert equal(saved(found).X_poison, found.X_poison)
    assert found.X_poison.schema == X.schema
    X_mod, _, mask = found.poisoned(X, y)
    assert equal(rows_of(X_mod, ~mask), X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_saving_is_known_before_the_attack(kind):
    """Whatever fit took is saved; what a file can only keep as text is told by fit, not after the work is done."""

    class Odd:
        def __str__(self):
            return "odd"

    frame, y = records()
    X = as_kind(frame, kind)
    values = [Odd()] * N
    X = (
        frame.assign(odd=pd.Series(values, dtype=object))
        if kind == "pandas"
        else X.with_columns(odd=pl.Series(values, dtype=pl.Object))
    )
    own = ModelTargetedPoisoner.from_estimator(make_pipeline(first(), LinearSVC(loss="hinge")), max_points=3)
    with pytest.warns(UserWarning, match="columns 'odd' hold objects of which a file can only keep the text"):
        own.fit(X, y)
    found = own.attack((-own.coef_, -own.intercept_))
    again = saved(found)
    assert list(again.X_poison["odd"]) == ["odd"] * 3
    assert column_names(again.X_poison) == column_names(X)
    assert type(again.X_poison) is type(X)


def test_whatever_fit_took_is_saved():
    """Dropped columns of every kind, exactly."""
    from datetime import date
    from decimal import Decimal

    frame, y = records()
    X = frame.assign(
        day=pd.Series([date(2020, 1, 1)] * N, dtype=object),
        price=pd.Series([Decimal("1.50")] * N, dtype=object),
        within=pd.Series(pd.interval_range(0, N)),
        month=pd.Series(pd.period_range("2020-01", periods=N, freq="M")),
        pair=pd.Series([(1, ("a", None))] * N, dtype=object),
        listed=pd.Series([[1, {"a": 2}]] * N, dtype=object),
        zone=pd.Series(pd.date_range("2020-01-01", periods=N, tz="Europe/Berlin")),
        thin=pd.Series([0] * N, dtype="Sparse[int8]"),
        arrow=pd.Series(["x"] * N, dtype="string[pyarrow]"),
        long=pd.Series([pd.Timedelta(1, unit="D")] * N),
    )
    own = ModelTargetedPoisoner.from_estimator(make_pipeline(first(), LinearSVC(loss="hinge")), max_points=3).fit(X, y)
    found = own.attack((-own.coef_, -own.intercept_))
    assert equal(saved(found).X_poison, found.X_poison)
    assert_array_equal(found.X_poison.dtypes, X.dtypes)
    assert_array_equal(found.poisoned(X, y)[0].dtypes, X.dtypes)


def test_columns_that_are_not_the_attacks_are_refused():
    for X in (of_pandas("int64"), pl.DataFrame(whole()[0], schema=["a", "b", "c"])):
        result = attacked(X, whole()[1])
        other = X[["b", "a", "c"]]
        with pytest.raises(ValueError, match=r"X has columns \['b', 'a', 'c'\], the attack was on \['a', 'b', 'c'\]"):
            result.poisoned(other, whole()[1])
        with pytest.raises(ValueError, match=r"X has columns \['b', 'a', 'c'\], the attack was on"):
            result.verify(other, whole()[1])


def test_tables_that_are_not_read_are_refused_by_name():
    with pytest.raises(TypeError, match="X is a polars LazyFrame, expected a data frame of pandas, polars or pyarrow"):
        as_raw(MinMaxScaler(), pl.LazyFrame({"a": [1]}))
    with pytest.raises(ValueError, match="X has more than one column 'a'"):
        as_raw(MinMaxScaler(), of_pandas().set_axis(["a", "b", "a"], axis=1))
    with pytest.raises(ValueError, match="X has no rows"):
        as_raw(MinMaxScaler(), pl.DataFrame({"a": []}))


# -- sparse matrices ---------------------------------------------------------------------------


def answers(given, y):
    """What the functions and estimators make of a matrix."""
    target = make_target(given, y, quantiles=[0.2], repeats=[3], goal=0.0, C=1.0)
    options = {"C": 1.0, "max_points": 2}
    found = poison(given, y, target, tol=0.0, **options)
    assert found.verify(given, y).ok
    least = minimum_poisoning(given, y, target, **options)
    pool = CandidatePool(given)
    assert pool.contains(given).all()
    from_pool = poison(given, y, target, feasible_set=pool, **options)
    own = MinimumPoisoner.from_estimator(LogisticRegression().fit(given, y)).fit(given, y)
    worst = max_loss_difference(own, target, feasible_set=FeatureSpace.from_data(given), loss="log_loss")
    return [target.coef_, found.theta, least.theta, from_pool.theta, own.decision_function(given), worst.value]


@pytest.fixture(scope="module")
def matrix():
    X, y = sp.csr_matrix(whole()[0].astype(float)), np.where(whole()[1] == 1, 1.0, -1.0)
    return X, y, answers(X, y)


@pytest.mark.parametrize("make", SPARSE, ids=lambda make: make.__name__)
def test_sparse_matrices_of_every_kind_are_taken(matrix, make):
    """As scikit-learn takes them: 64-bit indices and every format, in every function, with the same answer."""
    X, y, expected = matrix
    other = make(X)
    for part in ("indices", "indptr") if other.format in ("csr", "csc", "bsr") else ():
        setattr(other, part, getattr(other, part).astype(np.int64))
    for a, b in zip(answers(other, y), expected, strict=True):
        assert_array_equal(a, b)


def test_indices_keep_their_width():
    X = sp.csr_matrix(whole()[0])
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    X_mod = attacked(X, whole()[1]).poisoned(X, whole()[1])[0]
    assert X_mod.indices.dtype == X_mod.indptr.dtype == np.int64


# -- estimators around the victim --------------------------------------------------------------


def test_a_sampler_is_named_wherever_it_is():
    smote = SMOTE(random_state=0)
    for victim in (
        imblearn_pipeline(MinMaxScaler(), smote, LinearSVC()),
        imblearn_pipeline(smote, LinearSVC()),
        imblearn_pipeline(imblearn_pipeline(MinMaxScaler(), smote), LinearSVC()),
    ):
        with pytest.raises(TypeError, match=r"step .*'smote' is a SMOTE, a sampler"):
            MinimumPoisoner.from_estimator(victim)
    with pytest.raises(TypeError, match="estimator is a SMOTE, a sampler"):
        MinimumPoisoner.from_estimator(smote)


@pytest.mark.parametrize("fitted", [False, True])
def test_pipelines_of_imbalanced_learn_without_a_sampler_are_pipelines(fitted):
    X, y = records()
    last = LinearSVC(loss="hinge")
    victims = [make(first(), StandardScaler(), clone(last)) for make in (make_pipeline, imblearn_pipeline)]
    victims.append(make_pipeline(first(), imblearn_pipeline(StandardScaler(), clone(last))))
    victims.append(make_pipeline(imblearn_pipeline(first(), StandardScaler()), clone(last)))
    answers = []
    for victim in victims:
        if fitted:
            victim.fit(X, y)
        own = ModelTargetedPoisoner.from_estimator(victim, max_points=3).fit(X, y)
        answers.append(own.attack((-own.coef_, -own.intercept_)).X_poison)
    for answer in answers[1:]:
        pd.testing.assert_frame_equal(answer, answers[0])


@pytest.mark.parametrize(
    "estimator, message",
    [
        (GridSearchCV(LinearSVC(), {"C": [1]}), "GridSearchCV, .* Pass the search once it is fitted"),
        (RandomizedSearchCV(LinearSVC(), {"C": [1]}), "RandomizedSearchCV, .* Pass the search once it is fitted"),
        (CalibratedClassifierCV(OneVsRestClassifier(LinearSVC())), "OneVsRestClassifier, .* Pass its parameter"),
        (OneVsRestClassifier(LinearSVC()), "OneVsRestClassifier, .* Pass its parameter estimator"),
        (LogisticRegressionCV(), "LogisticRegressionCV .* Pass LogisticRegression with the C that it chose"),
        (make_pipeline(MinMaxScaler(), GridSearchCV(LinearSVC(), {"C": [1]})), "GridSearchCV, .* Pass the search"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrappers_say_which_estimator_to_pass(estimator, message):
    with pytest.raises(TypeError, match=message):
        MinimumPoisoner.from_estimator(estimator)
