"""Monotone maps of one column, codes of a TargetEncoder, and texts beside numbers: there and back bit for bit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)

from mtpfast import DamagePoisoner, ModelTargetedPoisoner
from mtpfast.preprocessing.steps import MONOTONE
from mtpfast.preprocessing.tables import RecordCodec

WORDS = ["win a prize now", "lunch at noon", "see you", "prize prize now", "noon, you see"]


def table_of(n=150):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "pay": rng.gamma(2.0, size=n),
            "age": rng.integers(1, 60, n),
            "debt": rng.normal(size=n),
            "zeros": np.where(rng.random(n) < 0.4, 0.0, rng.gamma(1.0, size=n)),
            "small": rng.gamma(2.0, size=n).astype(np.float32),
            "flag": rng.choice([0.25, 2.5], n),
            "work": rng.choice(list("abcd"), n),
            "text": rng.choice(WORDS, n),
        }
    )


@pytest.fixture(scope="module")
def table():
    return table_of()


@pytest.fixture(scope="module")
def labels(table):
    return np.where(table["pay"] + 0.3 * table["debt"] > 1.8, "yes", "no")


TARGET = TargetEncoder(cv=3) if "cv" in TargetEncoder().get_params() else TargetEncoder(random_state=0)
STEPS = {
    "log1p": (FunctionTransformer(np.log1p), ["pay", "age", "small", "flag"]),
    "sqrt and a scaler": (make_pipeline(FunctionTransformer(np.sqrt), MinMaxScaler()), ["pay", "zeros"]),
    "falling": (FunctionTransformer(np.negative), ["pay", "small"]),
    "Yeo and Johnson": (PowerTransformer(), ["pay", "debt", "age", "small"]),
    "Box and Cox": (PowerTransformer("box-cox", standardize=False), ["pay", "age"]),
    "imputed first": (make_pipeline(SimpleImputer(), PowerTransformer(), StandardScaler()), ["pay", "zeros", "age"]),
    "quantiles": (QuantileTransformer(n_quantiles=40), ["pay", "age", "flag"]),
    "quantiles that jump": (QuantileTransformer(n_quantiles=40), ["zeros"]),
    "normal quantiles": (QuantileTransformer(n_quantiles=40, output_distribution="normal"), ["pay", "debt"]),
    "target encoder": (make_pipeline(TARGET, StandardScaler()), ["work"]),
    "uneven bins": (KBinsDiscretizer(6, encode="ordinal", strategy="uniform"), ["zeros", "pay"]),
    "texts beside numbers": (
        make_column_transformer(
            (TfidfVectorizer(), "text"), (PowerTransformer(), ["pay"]), (OneHotEncoder(), ["work"]), remainder="drop"
        ),
        None,
    ),
    "counted, then weighed": (
        make_column_transformer((make_pipeline(CountVectorizer(), TfidfTransformer()), "text"), (TARGET, ["work"])),
        None,
    ),
}


def points_of(codec, rng):
    """Best points in random directions, and of a box points inside."""
    region = codec.space.region_of(None, codec.n_features)
    points = [region.linear_argmax(rng.normal(size=codec.n_features)) for _ in range(40)]
    inside = region.lower + rng.random((60, codec.n_features)) * (region.upper - region.lower)
    return np.array(points + (list(inside) if region.is_box else []))


@pytest.mark.filterwarnings("ignore:.*TargetEncoder")
@pytest.mark.parametrize("name", STEPS)
def test_there_and_back_bit_for_bit(name, table, labels):
    """decode is a right inverse of the transformer on the space; canonical is its image, a rounding away, and stays."""
    transformer, columns = STEPS[name]
    table = table if columns is None else table[columns]
    transformer.fit(table, labels)
    codec = RecordCodec(transformer, table)
    points = points_of(codec, np.random.default_rng(1))
    canonical = codec.canonical(points)
    records = codec.decode(points)
    assert np.array_equal(codec.encode(records), canonical)
    assert np.array_equal(codec.canonical(canonical), canonical)
    assert np.all(np.abs(canonical - points) <= codec.rounding)
    assert np.max(codec.rounding) < 1e-5
    assert records.dtypes.equals(table.dtypes)
    assert codec.space.contains(codec.encode(table)).all()
    assert codec.has(codec.encode(table)).all()
    for column in records.select_dtypes("number"):
        assert records[column].between(table[column].min(), table[column].max()).all()
    assert np.all(records.get("age", pd.Series([0])) % 1 == 0)
    assert set(records.get("text", [])) <= set(WORDS)


@pytest.mark.parametrize("function", MONOTONE, ids=lambda f: f.__name__)
def test_named_functions_are_strictly_monotone(function):
    """Where they are finite, on numbers far enough apart for floats to tell their images apart."""
    x = np.linspace(0.1, 5.0, 200)
    rise = np.diff(function(x))
    assert np.all(rise > 0.0) or np.all(rise < 0.0)


@pytest.mark.filterwarnings("ignore:.*TargetEncoder")
@pytest.mark.parametrize("attacker", [DamagePoisoner, ModelTargetedPoisoner])
def test_attacks_through_maps_verify(attacker, table, labels):
    """Of bent numbers, target codes and texts: the records are of the table's dtypes, and the check passes."""
    first = make_column_transformer(
        (make_pipeline(SimpleImputer(), PowerTransformer()), ["pay", "age"]),
        (QuantileTransformer(n_quantiles=20), ["zeros"]),
        (TARGET, ["work"]),
        (TfidfVectorizer(), "text"),
    )
    pipeline = make_pipeline(first, LogisticRegression(C=0.5))
    harm = DamagePoisoner.from_estimator(pipeline, budget=8, n_starts=1, max_iter=8).fit(table, labels)
    result = harm.attack()
    if attacker is ModelTargetedPoisoner:
        victim = attacker.from_estimator(pipeline, max_points=8).fit(table, labels)
        result = victim.attack((result.coef_, result.intercept_))
        assert result.lower_bound <= 8
    assert result.n_points > 0
    assert result.X_poison.dtypes.equals(table.dtypes)
    assert set(result.X_poison["text"]) <= set(WORDS)
    assert result.verify(table, labels).ok
