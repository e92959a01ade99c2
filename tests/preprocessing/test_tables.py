"""Records to rows and back: exactly, for every step that is known, and by name for those that are not."""

import io
import pickle
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from mtpfast import FeatureSpace
from mtpfast.preprocessing.steps import is_fitted, to_matrix
from mtpfast.preprocessing.tables import RecordCodec
from mtpfast.results.stored import decode_table, encode_table, is_stored_as_text

WORK = ["private", "state", "self-employed", "none"]


def table(n=60, seed=0):
    """A column of every kind that people have, each with more than one value."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(17, 90, n),
            "gain": rng.integers(0, 99_999, n).astype(np.int32),
            "rate": rng.normal(3.0, 2.0, n),
            "rate32": rng.normal(-300.0, 50.0, n).astype(np.float32),
            "rare": np.where(rng.random(n) < 0.2, 4.5, 0.25),
            "whole": rng.integers(-5, 6, n).astype(float),
            "flag": rng.random(n) < 0.4,
            "work": rng.choice(WORK, n),
            "grade": pd.Categorical(rng.choice(["c", "a", "b"], n), categories=["c", "a", "b", "unused"], ordered=True),
            "code": rng.choice([3, 11, 7], n),
            "object": np.array(rng.choice(["x", "y"], n), dtype=object),
            "constant": np.full(n, 2.5),
        },
        index=np.arange(n)[::-1],
    )
    frame["nullable"] = pd.array(rng.integers(0, 9, n), dtype="Int64")
    frame["maybe"] = pd.array(rng.random(n) < 0.5, dtype="boolean")
    return frame


NUMBERS = ["age", "gain", "rate", "rare", "whole", "flag", "constant", "nullable", "maybe"]
WORDS = ["work", "grade", "code", "object"]

SCALERS = [
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-1, 3)),
    MinMaxScaler(clip=True),
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, quantile_range=(10, 80)),
    RobustScaler(with_scaling=False),
    "passthrough",
    make_pipeline(SimpleImputer(), StandardScaler(), MinMaxScaler()),
    make_pipeline(SimpleImputer(strategy="median"), "passthrough", MaxAbsScaler()),
]
ENCODERS = [
    OneHotEncoder(),
    OneHotEncoder(sparse_output=False, drop="first"),
    OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
    OneHotEncoder(drop=["state", "a", 11, "y"]),
    OneHotEncoder(min_frequency=0.3, handle_unknown="infrequent_if_exist"),
    OneHotEncoder(max_categories=2, drop="first"),
    OrdinalEncoder(),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(max_categories=2),
    make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(), StandardScaler(with_mean=False)),
    make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(sparse_output=False)),
    make_pipeline(OrdinalEncoder(), MinMaxScaler()),
    make_pipeline(OrdinalEncoder(), OneHotEncoder(sparse_output=False), StandardScaler()),
]
BINS = [KBinsDiscretizer(3, encode=encode, strategy="uniform") for encode in ("onehot", "onehot-dense")]
BINS += [make_pipeline(SimpleImputer(), StandardScaler(), BINS[1], MinMaxScaler())]


def bits(array):
    """float64 as integers, with -0. as 0.: equality of these is equality bit for bit."""
    return (np.asarray(array, dtype=np.float64) + 0.0).view(np.int64)


def holds(codec, transformer, frame, points):
    """The laws of a codec, on points of its space (and on points beside it)."""
    canonical = codec.canonical(points)
    records = codec.decode(points)
    assert_array_equal(records.dtypes, frame.dtypes)
    assert list(records.columns) == list(frame.columns)
    assert list(records.index) == list(range(len(points)))
    assert not records.isna().any(axis=None)
    assert_array_equal(bits(codec.encode(records)), bits(canonical))
    assert_array_equal(bits(dense(transformer.transform(records))), bits(canonical))
    assert_array_equal(bits(codec.canonical(canonical)), bits(canonical))
    pd.testing.assert_frame_equal(codec.decode(canonical), records)
    assert codec.space.contains(canonical).all()


def dense(Z):
    Z = to_matrix(Z)
    return Z.toarray() if sp.issparse(Z) else Z


def valid(space, rng, n):
    """Points of a space, up to rounding, drawn from its rules alone."""
    region = space.regions(len(space.names))[1.0]
    X = rng.uniform(region.lower, region.upper, (n, len(region.lower)))
    X[: n // 3] = np.where(rng.random((n // 3, X.shape[1])) < 0.5, region.lower, region.upper)
    step = np.where(region.step > 0, region.step, 1.0)
    X = np.where(region.step > 0, region.origin + np.rint((X - region.origin) / step) * step, X)
    X = np.clip(X, region.lower, region.upper)
    for group in region.groups:
        level = rng.integers(0 if group.exactly else -1, len(group.columns), n)
        X[:, group.columns] = group.off
        on = np.flatnonzero(level >= 0)
        X[on, group.columns[level[on]]] = group.on[level[on]]
    return X


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("threshold", [0.0, 1.0], ids=["dense", "sparse"])
def test_numbers_there_and_back(scaler, threshold):
    frame = table()
    encoder = ("words", OneHotEncoder(drop="if_binary"), WORDS)
    transformer = ColumnTransformer(
        [("numbers", scaler, NUMBERS), encoder], sparse_threshold=threshold, verbose_feature_names_out=False
    ).fit(frame)
    codec, rng = RecordCodec(transformer, frame), np.random.default_rng(1)
    holds(codec, transformer, frame, valid(codec.space, rng, 200))
    holds(codec, transformer, frame, rng.normal(0, 3, (50, codec.n_features)))  # beside the space
    used = NUMBERS + WORDS
    pd.testing.assert_frame_equal(
        codec.decode(codec.encode(frame))[used],
        frame[used].reset_index(drop=True),
        rtol=1e-12,  # several floats may be mapped to one number
        atol=1e-12,
    )
    assert (codec.decode(codec.encode(frame))["rate32"] == np.sort(frame["rate32"])[(len(frame) - 1) // 2]).all()


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_categories_there_and_back(encoder):
    frame = table()
    transformer = make_column_transformer(
        (encoder, WORDS), (MinMaxScaler(), ["rate", "rate32"]), verbose_feature_names_out=False
    ).fit(frame)
    codec, rng = RecordCodec(transformer, frame), np.random.default_rng(2)
    holds(codec, transformer, frame, valid(codec.space, rng, 200))
    holds(codec, transformer, frame, rng.normal(0, 3, (50, codec.n_features)))
    encoded = codec.encode(frame)
    assert_array_equal(bits(codec.canonical(encoded)), bits(encoded))
    if "max_categories" not in str(encoder) and "min_frequency" not in str(encoder):
        assert_array_equal(codec.decode(encoded)[WORDS].to_numpy(), frame[WORDS].to_numpy())


@pytest.mark.parametrize(
    "scaler", [MinMaxScaler(), StandardScaler(), RobustScaler(), MaxAbsScaler(), MinMaxScaler(clip=True)], ids=str
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.uint16, np.int64, bool])
def test_arrays_there_and_back(scaler, dtype):
    """Arrays come back as arrays of the same dtype, computed in the precision of the transformer."""
    rng = np.random.default_rng(3)
    X = (rng.normal(0, 2, (80, 6)) * 10).astype(dtype)
    transformer = scaler.fit(X)
    codec = RecordCodec(transformer, X)
    points = codec.canonical(rng.uniform(codec.space.lower, codec.space.upper, (300, 6)))
    records = codec.decode(points)
    assert records.dtype == X.dtype
    assert_array_equal(bits(transformer.transform(records)), bits(points))
    # Several floats may be mapped to one number: the one that comes back is a rounding away.
    eps = 100 * np.finfo(dtype).eps if np.dtype(dtype).kind == "f" else 0
    assert_allclose(codec.decode(transformer.transform(X)), X, rtol=0, atol=eps * np.abs(X).max())
    assert codec.names == [f"x{j}" for j in range(6)]


def test_selected_columns_and_bins():
    """A column that is not selected gets its usual value; a bin the value of the table that most rows have in it."""
    frame = table()[["age", "rate", "work", "flag"]]
    label = frame["age"].to_numpy() > 50
    columns = make_column_transformer(
        (KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"), ["age"]),
        (RobustScaler(), ["rate", "flag"]),
        (OneHotEncoder(sparse_output=False), ["work"]),
    )
    transformer = make_pipeline(columns, SelectKBest(f_classif, k=5)).fit(frame, label)
    codec, rng = RecordCodec(transformer, frame), np.random.default_rng(0)
    holds(codec, transformer, frame, valid(codec.space, rng, 40))
    kept = set(transformer[:-1].get_feature_names_out()[transformer[-1].get_support()])
    assert sum("age" in name for name in kept) == 4  # the label is made of it
    decoded = codec.decode(codec.encode(frame))
    edges = columns.named_transformers_["kbinsdiscretizer"].bin_edges_[0]
    assert_array_equal(np.digitize(decoded["age"], edges[1:-1]), np.digitize(frame["age"], edges[1:-1]))
    assert decoded["age"].isin(frame["age"]).all()
    assert decoded["age"].nunique() == 4


def test_arrays_of_objects_and_of_text():
    rng = np.random.default_rng(4)
    X = np.empty((40, 3), dtype=object)
    X[:, 0], X[:, 1] = rng.choice(WORK, 40), rng.integers(0, 9, 40).tolist()
    X[:, 2] = rng.normal(size=40).tolist()
    transformer = ColumnTransformer([("a", OneHotEncoder(), [0]), ("b", StandardScaler(), slice(1, 3))]).fit(X)
    codec = RecordCodec(transformer, X)
    records = codec.decode(codec.encode(X))
    assert_array_equal(records[:, :2], X[:, :2])
    assert_allclose(records[:, 2].astype(float), X[:, 2].astype(float), rtol=1e-14, atol=1e-14)  # roundings
    assert [type(value) for value in records[0]] == [str, int, float]
    text = X[:, :1].astype("U20")
    assert_array_equal(RecordCodec(OneHotEncoder().fit(text), text).decode(np.eye(4)), np.sort(WORK)[:, None])


@st.composite
def preprocessings(draw):
    """A random table and a random preprocessing of it."""
    frame = table(draw(st.integers(2, 40)), draw(st.integers(0, 2**32 - 1)))
    parts, left = [], draw(st.permutations(list(frame.columns)))
    while left and len(parts) < 5:
        size = draw(st.integers(1, len(left)))
        chosen, left = left[:size], left[size:]
        numbers = [name for name in chosen if name in [*NUMBERS, "rate32"]]
        words = [name for name in chosen if name in WORDS]
        if numbers:
            step = draw(st.sampled_from([*SCALERS, *BINS]))
            if step in BINS:  # scikit-learn 1.9 bins no frames of booleans or nullable integers: "read-only"
                numbers = [name for name in numbers if name not in ("flag", "nullable", "maybe")]
            if numbers:
                parts.append((f"numbers{len(parts)}", step, numbers))
        if words:
            encoder = draw(st.sampled_from([e for e in ENCODERS if "'state'" not in str(e)]))
            if "fill_value" in str(encoder):  # a filler of text is for columns of text
                words = [name for name in words if name in ("work", "object")]
            if words:
                parts.append((f"words{len(parts)}", encoder, words))
    steps = [ColumnTransformer(parts, sparse_threshold=draw(st.sampled_from([0.0, 0.3, 1.0])))]
    last = [[], [MaxAbsScaler()], [StandardScaler(with_mean=False)], [RobustScaler(with_centering=False)]]
    steps += draw(st.sampled_from([*last, [VarianceThreshold(1e-3)]]))
    return frame, make_pipeline(*steps)


@given(preprocessings(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_every_preprocessing_there_and_back(case, seed):
    """encode(decode(p)) is canonical(p) bit for bit, a point of the space, and p itself up to rounding."""
    frame, transformer = case
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Feature . is constant", UserWarning)
            transformer.fit(frame)
    except ValueError as error:  # scikit-learn stacks no encoder without a column into a sparse matrix
        assume("0 feature(s)" not in str(error.__cause__))
        assume("No feature in X meets the variance threshold" not in str(error))
        raise
    codec, rng = RecordCodec(transformer, frame), np.random.default_rng(seed)
    points = valid(codec.space, rng, 30)
    holds(codec, transformer, frame, points)
    size = np.maximum(np.abs(codec.space.lower), np.abs(codec.space.upper))
    room = codec.rounding + 4 * np.finfo(float).eps * size  # origin + k step, as drawn here, is rounded too
    assert np.all(np.abs(codec.canonical(points) - points) <= room)


def test_the_rounding_is_that_of_the_raw_numbers():
    """A column of float32 has a step of its own, far above that of float64; whole numbers have none."""
    frame = table()
    transformer = make_column_transformer((StandardScaler(), ["rate", "age"]), (StandardScaler(), ["rate32"]))
    codec = RecordCodec(transformer.fit(frame), frame)
    steps = codec.rounding / [np.finfo(float).eps, np.finfo(float).eps, np.finfo(np.float32).eps]
    assert np.all((1 < steps) & (steps < 200))  # of values around 300 / 50


# -- what records can be ---------------------------------------------------------------------------


def space_of(column, transformer):
    frame = pd.DataFrame({"a": column})
    return RecordCodec(transformer.fit(frame), frame)


@pytest.mark.parametrize(
    "column, values",
    [
        ([3, 9, 4, 9], [3, 4, 5, 6, 7, 8, 9]),  # integers stay whole
        ([3, 9, 9], [3, 4, 5, 6, 7, 8, 9]),  # two of them too
        ([3.0, 5.0, 6.0], [3, 4, 5, 6]),  # and floats that all are
        ([3.0, 9.0, 3.0], [3, 9]),  # a float column of two values stays binary
        ([0.25, 4.5, 4.5], [0.25, 4.5]),
        ([True, False], [False, True]),
        ([7, 7], [7]),
    ],
)
def test_which_numbers_records_have(column, values):
    codec = space_of(column, MinMaxScaler(feature_range=(-2, 7)))
    region = codec.space.regions(1)[1.0]
    assert region.step[0] > 0 or len(values) == 1
    grid = np.linspace(-2, 7, 1001)[:, None]
    assert codec.decode(grid)["a"].unique().tolist() == values
    rows = np.unique(codec.canonical(grid), axis=0)
    assert len(rows) == len(values)
    assert codec.space.contains(rows).all()
    if len(values) > 1:
        assert not codec.space.contains(rows[:-1] + 0.4 * np.diff(rows, axis=0)).any()


def test_other_floats_are_continuous():
    codec = space_of([0.25, 4.5, 0.3], StandardScaler())
    assert codec.space.is_box
    assert_allclose(codec.decode(codec.space.lower[None])["a"], 0.25)


def test_more_whole_numbers_than_can_be_told_apart_are_a_range_of_whole_records():
    codec = space_of([3, 9_000_000_000_000_001, 4_000_000_000_000_000], StandardScaler())
    assert codec.space.is_box
    records = codec.decode([[0.1], [0.2]])
    assert records.dtypes["a"] == np.int64
    assert_array_equal(codec.encode(records), codec.canonical([[0.1], [0.2]]))


def test_records_have_categories_that_the_encoder_knows():
    frame = pd.DataFrame({"a": ["x", "z", "x", "y"]})
    encoder = OneHotEncoder(categories=[["u", "x", "y"]], handle_unknown="ignore", sparse_output=False).fit(frame)
    codec = RecordCodec(encoder, frame)
    assert codec.decode(np.eye(3))["a"].tolist() == ["u", "x", "y"]
    assert len(codec.space.one_hot) == 1  # unknown levels are not invented: exactly one is on
    assert codec.names == ["a_u", "a_x", "a_y"]
    assert_array_equal(codec.has(codec.encode(frame)), [True, False, True, True])
    grades = frame.astype(pd.CategoricalDtype(["x", "y", "z"]))
    codec = RecordCodec(encoder.fit(grades[:1]), grades)  # a column of three categories cannot hold "u"
    assert codec.space.upper.tolist() == [0, 1, 1]
    assert codec.decode(np.eye(3))["a"].tolist()[1:] == ["x", "y"]


def test_a_level_without_a_column_makes_at_most_one():
    frame = table()
    codec = RecordCodec(OneHotEncoder(drop="first").fit(frame[["work", "flag"]]), frame[["work", "flag"]])
    assert codec.space.at_most_one == ((0, 1, 2),)
    assert codec.space.one_hot == ()
    assert codec.decode(np.zeros((1, 4)))["work"].tolist() == ["none"]


def test_missing_values_do_not_come_out():
    """Neither they nor the filler that an imputer puts in their place."""
    frame = pd.DataFrame(
        {
            "age": [20.0, np.nan, 40.0, 30.0],
            "work": ["state", None, "private", "state"],
            "kind": pd.Categorical(["p", None, "q", "q"]),
            "size": pd.array([1, None, 4, 2], dtype="Int64"),
            "place": [None, "home", "away", "home"],
        }
    )
    encoder = OneHotEncoder(sparse_output=False)
    transformer = make_column_transformer(
        (make_pipeline(SimpleImputer(), MinMaxScaler()), ["age", "size"]),
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="unknown"), encoder), ["work"]),
        (OneHotEncoder(), ["kind"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder()), ["place"]),
        verbose_feature_names_out=False,
    ).fit(frame)
    codec = RecordCodec(transformer, frame)
    rng = np.random.default_rng(0)
    holds(codec, transformer, frame, valid(codec.space, rng, 50))
    upper = dict(zip(codec.names, codec.space.upper, strict=True))
    assert (upper["work_unknown"], upper["kind_nan"]) == (0.0, 0.0)
    assert set(codec.decode(rng.random((50, codec.n_features)))["work"]) == {"state", "private"}


def test_missing_values_come_out_where_nothing_else_does():
    frame = pd.DataFrame({"a": [1.0, 2.0, 5.5], "b": [np.nan] * 3, "c": ["a", None, "y"], "d": [None] * 3})
    fill = SimpleImputer(strategy="constant", fill_value="missing")
    transformer = make_column_transformer(
        (SimpleImputer(keep_empty_features=True), ["a", "b"]),
        (make_pipeline(fill, OrdinalEncoder(categories=[["a", "missing", "y", "z"]])), ["c"]),  # codes 0, 2, 3 without
    ).fit(frame)
    codec = RecordCodec(transformer, frame)
    records = codec.decode([[2.0, 0.0, 0.0], [2.0, 0.0, 1.0], [2.0, 0.0, 2.0]])
    assert records["b"].isna().all()
    assert records["d"].isna().all()
    assert records["c"].isna().tolist() == [False, True, False]
    assert_array_equal(codec.encode(records), [[2.0, 0.0, 0.0], [2.0, 0.0, 1.0], [2.0, 0.0, 2.0]])


def test_columns_that_are_dropped_get_a_usual_value():
    """The median of numbers (one that occurs), the most frequent of others, and nothing where nothing is."""
    frame = table()
    frame["empty"] = np.nan
    frame["when"] = pd.to_datetime(["2020-01-01"] * 40 + ["2021-01-01"] * 20)
    frame["list"] = [[i] for i in range(60)]
    codec = RecordCodec(make_column_transformer((MinMaxScaler(), ["rate"])).fit(frame), frame)
    record = codec.decode([[0.5]]).iloc[0]
    assert record["age"] == np.sort(frame["age"])[29]
    assert record["work"] == frame["work"].value_counts().index[0]
    assert record["when"] == pd.Timestamp("2020-01-01")
    assert np.isnan(record["empty"])
    assert record["list"] == [0]


def test_rare_categories_are_written_as_the_most_frequent_of_them():
    frame = pd.DataFrame({"a": ["x"] * 9 + ["p", "q", "q", "q", "r"]})
    codec = RecordCodec(OneHotEncoder(min_frequency=5).fit(frame), frame)
    assert codec.decode(np.eye(2))["a"].tolist() == ["x", "q"]


def test_clipping_takes_the_range_that_was_fitted():
    fitted = MinMaxScaler(clip=True).fit(np.array([[0.0, 0, 0], [10.0, 10, 10]]))
    X = np.array([[-5.0, 3, 20], [5.5, 12, 30], [30.25, 4, 40]])
    codec = RecordCodec(fitted, X)
    assert_array_equal(codec.decode(np.array([[-1.0, -1, -1], [2, 2, 2]])), [[0, 3, 20], [10, 10, 20]])


def test_a_fitted_preprocessing_takes_other_tables():
    """Columns by name, whatever their order, and among others."""
    frame = table()
    transformer = make_column_transformer(
        (MinMaxScaler(), slice("rate", "rate32")), ("drop", ["gain"]), (OneHotEncoder(), ["work"]),
        ("passthrough", make_column_selector(dtype_include="int64")), remainder="drop",
    ).fit(frame[["age", "gain", "rate", "rate32", "work", "code"]])  # fmt: skip
    other = table(seed=9)[["work", "flag", "rate32", "code", "rate", "gain", "age"]]
    codec, rng = RecordCodec(transformer, other), np.random.default_rng(0)
    holds(codec, transformer, other, valid(codec.space, rng, 30))


@pytest.mark.parametrize("columns", [["rate", "age"], [2, 0], [-12, -14], slice(0, 3, 2), [True, False, True]])
def test_columns_are_selected_in_every_way(columns):
    frame = table()[["age", "gain", "rate"]] if isinstance(columns, list) and columns[0] is True else table()
    transformer = ColumnTransformer([("a", StandardScaler(), columns)], remainder="drop").fit(frame)
    codec = RecordCodec(transformer, frame)
    assert_array_equal(codec.canonical(codec.encode(frame)), transformer.transform(frame))
    assert set(codec.columns) == set(frame.columns)


def test_weights_and_nested_transformers():
    frame = table()
    inner = make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"]))
    transformer = ColumnTransformer(
        [("in", inner, ["work", "age"]), ("rate", StandardScaler(), ["rate"])],
        transformer_weights={"in": 3, "rate": -0.7},
    ).fit(frame)
    codec, rng = RecordCodec(transformer, frame), np.random.default_rng(0)
    holds(codec, transformer, frame, valid(codec.space, rng, 60))


def test_rows_may_have_no_names():
    frame = table()
    transformer = ColumnTransformer(
        [("a", OneHotEncoder(), ["object"]), ("b", MinMaxScaler(), ["object_x"])], verbose_feature_names_out=False
    )
    twice = frame.assign(object_x=frame["rate"])
    codec = RecordCodec(transformer.fit(twice), twice)
    assert codec.names is None
    assert codec.space.names is None
    assert codec.narrow(FeatureSpace(fixed=[(0, 1)])).bounds(3)[0].tolist() == [1, 0, 0]


def test_output_may_be_a_data_frame():
    frame = table()
    transformer = make_column_transformer(
        (StandardScaler(), ["age", "rate"]), (OneHotEncoder(sparse_output=False), ["work"])
    ).set_output(transform="pandas")
    codec = RecordCodec(transformer.fit(frame), frame)
    holds(codec, transformer, frame, valid(codec.space, np.random.default_rng(0), 30))


# -- narrower spaces -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def codec():
    frame = table()
    transformer = make_column_transformer(
        (StandardScaler(), ["age", "rate", "whole"]),
        (OneHotEncoder(), ["work"]),
        (OneHotEncoder(drop="first"), ["grade"]),
        verbose_feature_names_out=False,
    )
    return RecordCodec(transformer.fit(frame), frame)


def test_a_space_takes_away_from_that_of_records(codec):
    """Membership is that of both spaces, up to the rounding of a bound."""
    own, rng = codec.space, np.random.default_rng(0)
    age = codec.canonical(own.lower[None])[0, 0] + 7 * codec.space.regions(9)[1.0].step[0]
    for rules in (
        {"upper": {"no": np.minimum(own.upper, 0.5), "yes": own.upper}, "fixed": {"work_state": 0}},
        {"fixed": [("age", age), ("rate", 0.3), (["work_none", "work_private"], 0)], "labels": ["yes"]},
        {
            "lower": np.where(np.arange(9) < 3, -0.2, own.lower),
            "integer": "rate",
            "at_most_one": [["grade_b", "grade_c"]],
        },
        {"fixed": {"work_none": 1}, "one_hot": [slice(3, 7)]},
    ):
        given = FeatureSpace(**{"lower": own.lower, "upper": own.upper, "names": codec.names, **rules})
        narrow = codec.narrow(given)
        points = codec.canonical(
            np.concatenate([valid(own, rng, 400), valid(narrow.bind(classes=["no", "yes"]), rng, 50)])
        )
        margin = np.abs(points[:, None, 1] - [0.5, -0.2, 0.3]).min(axis=1)  # "rate", the one continuous number
        clear = margin > 1e-9
        for label in ("no", "yes"):
            both = own.contains(points) & given.contains(points, label)
            assert_array_equal(narrow.contains(points, label)[clear], both[clear])
        inside = valid(narrow.bind(classes=["no", "yes"]), rng, 50) if "labels" not in rules else points[400:]
        assert codec.has(codec.canonical(inside)).all()
        assert narrow.contains(codec.canonical(inside)).all()
        assert narrow.canonical == codec.canonical


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"lattice": {"age": (0.0, 0.7)}}, "feature 0 .'age'. takes other values in records than its lattice holds"),
        ({"integer": "age"}, "feature 0 .'age'. takes other values in records"),
        ({"lower": np.full(9, 0.5)}, "lower excludes that feature 3 .'work_none'., a level, is off: use fixed"),
        ({"fixed": {"age": 0.001}}, "feature 0 .'age'. is pinned to"),
        ({"fixed": {"rate": 100}}, "feature 1 .'rate'. is pinned to 100, outside its bounds"),
        ({"one_hot": [["work_none", "grade_b"]]}, "groups overlap"),
        ({"names": list("abcdefghi")}, "feature 0 is 'a' in feasible_set, 'age' in the data"),
        ({"upper": 1.0, "lower": 0.0, "fixed": {"none": 3}}, "fixed names feature 'none'"),
        ({"lower": [0.0], "upper": [1.0]}, "feasible_set has 9 names, expected 1"),
    ],
    ids=str,
)
def test_a_space_that_contradicts_records_is_refused(codec, rules, message):
    with pytest.raises(ValueError, match=message):
        codec.narrow(FeatureSpace(**{"lower": -9.0, "upper": 9.0, **rules}))


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: make_pipeline(StandardScaler(), Normalizer()), r"step 'normalizer' \(Normalizer\)"),
        (Normalizer, "^Normalizer cannot be traced back to records: known are OneHotEncoder"),
        (lambda: ColumnTransformer([("a", SplineTransformer(3), [0])]), r"step 'a' \(SplineTransformer\) cannot be"),
        (lambda: ColumnTransformer([("a", make_pipeline(StandardScaler(), PolynomialFeatures()), [0])]),
         r"step 'a' > 'polynomialfeatures' \(PolynomialFeatures\)"),
        (lambda: FunctionTransformer(np.sin), "^FunctionTransformer of sin cannot be traced"),
        (lambda: FunctionTransformer(lambda x: x), "^FunctionTransformer of <lambda> cannot be traced"),
        (lambda: ColumnTransformer([("a", FunctionTransformer(np.log), ["b", "c"])]),
         "^column 'c': its steps map 0.0 to a number that is not finite"),
        (lambda: make_pipeline(OrdinalEncoder(), PowerTransformer()), r"\(PowerTransformer\) follows an encoder"),
        (lambda: PCA(1), "^PCA cannot be traced"),
        (lambda: SimpleImputer(add_indicator=True), "^SimpleImputer has add_indicator=True"),
        (lambda: ColumnTransformer([("a", MinMaxScaler(), [0, 1]), ("b", StandardScaler(), [1])]),
         "column 'b' feeds both 'a' and 'b'"),
        (lambda: make_pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore")),
         r"step 'onehotencoder' \(OneHotEncoder\) encodes numbers that an earlier step has scaled"),
        (lambda: make_pipeline(MinMaxScaler(), SimpleImputer(missing_values=0)),
         r"step 'simpleimputer' \(SimpleImputer\) has missing_values=0 after a step that has scaled"),
        (lambda: SimpleImputer(missing_values=3), "column 'a': SimpleImputer has missing_values=3, which lies between"),
    ],
    ids=lambda value: "" if callable(value) else value[:40],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero")  # of the user's own log
def test_other_steps_are_refused_by_name(make, message):
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4, 7], "b": [5.0, 3, 2, 2.5, 6], "c": [0.0, 0, 0, 1, 1]})
    transformer = make().fit(frame, [0, 1, 0, 1, 0])
    with pytest.raises(TypeError, match=message):
        RecordCodec(transformer, frame)


def test_other_tables_are_refused():
    frame = table()
    scaler = StandardScaler().fit(frame[["age"]])
    with pytest.raises(TypeError, match="X is a sparse matrix, expected a raw table"):
        RecordCodec(scaler, sp.csr_matrix(np.eye(3)))
    with pytest.raises(ValueError, match="X must be a table of rows and columns, got shape"):
        RecordCodec(scaler, np.ones(3))
    with pytest.raises(ValueError, match="X has more than one column 'age'"):
        RecordCodec(scaler, frame[["age", "age"]])
    with pytest.raises(ValueError, match="X has no rows"):
        RecordCodec(scaler, frame[["age"]][:0])
    with pytest.raises(TypeError, match="transformer is a StandardScaler that is not fitted"):
        RecordCodec(StandardScaler(), frame[["age"]])
    for column in (["1", "2", "3"], pd.Categorical([1, 2, 3])):
        numbers = pd.DataFrame({"a": column})
        with pytest.raises(
            TypeError, match=r"column 'a' of dtype .* is used as numbers, expected numbers or an encoder"
        ):
            RecordCodec(StandardScaler().fit(numbers), numbers)
    huge = pd.DataFrame({"a": [2**60, 2**60 + 1, 2**61]})
    with pytest.raises(TypeError, match="column 'a' has whole numbers beyond 2\\*\\*53"):
        RecordCodec(StandardScaler().fit(huge), huge)
    with pytest.raises(ValueError, match=r"points must have shape \(n_points, 1\), got \(1, 2\)"):
        RecordCodec(scaler, frame[["age"]]).decode([[1.0, 2.0]])


def test_a_transformer_that_computes_something_else_is_refused():
    frame = table()[["age"]]
    scaler = StandardScaler().fit(frame)
    scaler.transform = lambda X: np.asarray(X, dtype=float) ** 2
    with pytest.raises(TypeError, match="column 'age': the transformer does not compute what the parameters"):
        RecordCodec(scaler, frame)


def test_what_counts_as_fitted():
    assert is_fitted(StandardScaler().fit(np.eye(2)))
    assert not is_fitted(StandardScaler())
    assert not is_fitted(Pipeline([("a", StandardScaler()), ("b", "passthrough")]))
    assert is_fitted("passthrough")


# -- small things ----------------------------------------------------------------------------------


def test_a_codec_is_pickled(codec):
    again = pickle.loads(pickle.dumps(codec))
    points = valid(codec.space, np.random.default_rng(0), 20)
    assert_array_equal(again.canonical(points), codec.canonical(points))
    assert again.space == codec.space
    assert "14 columns, 9 features" in repr(codec)


def test_no_points_are_no_records(codec):
    records = codec.decode(np.empty((0, 9)))
    assert len(records) == 0
    assert_array_equal(records.dtypes, table().dtypes)
    assert codec.encode(records).shape == (0, 9)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, 3], dtype="int8"), pd.Series([0.5, np.nan]), pd.Series([True, False]),
        pd.Series(["a", "bc", ""]), pd.Series(["a", None]), pd.Series(["a", None], dtype="string"),
        pd.Series(["é", "b"], dtype=object), pd.Series(["a", None, 3, 0.5, True], dtype=object),
        pd.Series(pd.Categorical(["b", "a", None], categories=["b", "a", "z"], ordered=True)),
        pd.Series(pd.Categorical([3, 1])), pd.Series([1, None], dtype="Int32"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series([0.5, None], dtype="Float64"), pd.Series(pd.to_datetime(["2020-01-01", None])),
        pd.Series([], dtype="str"), pd.Series([], dtype="int64"), pd.Series(["a\0", "b"], dtype=object),
        pd.Series(["a\0", "b"]), pd.Series(["1", None]).astype("category"), pd.Series([1, 0], dtype="Sparse[int8]"),
        pd.Series([0.5, np.nan], dtype="Sparse[float64]"), pd.Series([True, None], dtype="bool[pyarrow]"),
        pd.Series([Decimal("1.50"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        pd.Series([[1, 2], None], dtype=pd.ArrowDtype(pa.list_(pa.int8()))), pd.Series(["a"], dtype="string[pyarrow]"),
        pd.Series([b"a", b""], dtype=object), pd.Series([1 + 2j]), pd.Series([Decimal("1.50"), Fraction(1, 3)]),
        pd.Series([date(2020, 1, 2), None]), pd.Series([time(1, 2, tzinfo=UTC), time(3, fold=1)]),
        pd.Series([datetime(2020, 1, 2, tzinfo=ZoneInfo("Europe/Paris")), datetime(1, 1, 1)], dtype=object),
        pd.Series([timedelta(1, 2, 3), UUID(int=7)], dtype=object), pd.Series([(1, "a"), (2, ("b", None))]),
        pd.Series([[1], {"a": {2}}, frozenset("x"), {}], dtype=object),
        pd.Series([np.float32(0.1), np.str_(""), np.datetime64("2020")], dtype=object),
        pd.Series([pd.NaT, pd.NA, pd.Timestamp(1, tz="Asia/Tokyo"), pd.Timedelta(5, unit="s")], dtype=object),
        pd.Series(pd.to_timedelta([1, None])), pd.Series(pd.period_range("2020-01", periods=2, freq="M")),
        pd.Series(pd.date_range("2020-03-29", periods=2, tz="Europe/Berlin")),
        pd.Series(pd.to_datetime(["2020-03-29T01:00+01:00", None])), pd.Series(pd.interval_range(0, 2)),
        pd.Series(pd.interval_range(0, 2)).astype("category"),
        pd.Series(pd.interval_range(pd.Timestamp(0), periods=2, closed="both")),
    ],
    ids=lambda column: f"{column.dtype}-{len(column)}",
)  # fmt: skip
def test_tables_go_to_files_without_pickle(column):
    frame, file = pd.DataFrame({"a": column, 3: column}), io.BytesIO()
    parts = encode_table(frame)

    def arrays(part):
        if isinstance(part, np.ndarray) and part.dtype != object:
            np.save(file, part, allow_pickle=False)
        for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            arrays(item)

    arrays(parts)
    again = decode_table(parts)
    pd.testing.assert_frame_equal(again, frame, check_index_type=False)
    assert repr(again[3].tolist()) == repr(frame[3].tolist())  # types, folds and zones included


@pytest.mark.parametrize(
    "columns",
    [
        pd.Index([0, 1]), pd.Index([0.5, "a"], dtype=object), pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["x", None]), pd.Index([None, "b"], name=("n", 1)),
        pd.Index([pd.Timestamp(0), "a"], dtype=object),
    ],
    ids=str,
)  # fmt: skip
def test_every_name_of_a_column_goes_to_files(columns):
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=columns)
    pd.testing.assert_frame_equal(decode_table(encode_table(frame)), frame, check_column_type=False)


class Unknown:
    """A value of a class that no file knows."""

    def __str__(self):
        return "unknown"


def test_what_has_no_form_in_a_file_is_written_as_text():
    """Saving never fails after the work is done: a column is exact, or text, and it is known before which."""
    values = pd.Series([Unknown(), None, (1, Unknown())], dtype=object)
    assert is_stored_as_text(values)
    assert not is_stored_as_text(pd.Series([(1, "a")]))
    assert decode_table(encode_table(pd.DataFrame({"a": values})))["a"].tolist()[:2] == ["unknown", None]
    odd = pl.DataFrame({"a": [1, 2], "b": pl.Series([Unknown(), None], dtype=pl.Object)})
    assert [is_stored_as_text(column) for column in odd.get_columns()] == [False, True]
    assert decode_table(encode_table(odd)).to_dicts() == [{"a": 1, "b": "unknown"}, {"a": 2, "b": None}]


def test_frames_of_polars_and_pyarrow_go_to_files():
    """Arrow's own format keeps every one of its types."""
    frame = pl.DataFrame(
        {
            "enum": pl.Series(["x", None], dtype=pl.Enum(["y", "x"])),
            "category": pl.Series(["x", None], dtype=pl.Categorical),
            "time": pl.Series([0, None]).cast(pl.Datetime("us", "Europe/Berlin")),
            "decimal": pl.Series([Decimal("1.50"), None], dtype=pl.Decimal(9, 2)),
            "list": [[1, 2], None],
            "struct": [{"a": 1, "b": "x"}, None],
            "small": pl.Series([1, None], dtype=pl.Int8),
        }
    )
    again = decode_table(encode_table(frame))
    assert again.schema == frame.schema
    assert again.equals(frame)
    table = frame.to_arrow().replace_schema_metadata({"made": "here"})
    assert decode_table(encode_table(table)).equals(table, check_metadata=True)
    assert decode_table(encode_table(table[:0])).schema.equals(table.schema, check_metadata=True)
