"""Raw tables in parts, with a fitted preprocessing: the same records as in memory."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from mtpfast import MinimumPoisoner, in_parts
from mtpfast.preprocessing.digest import digest, merge_digests
from mtpfast.preprocessing.tables import RecordCodec


@pytest.fixture(scope="module")
def table():
    """Whole numbers, a marker for missing ones, a fraction in one row alone, two values, a rare category."""
    rng = np.random.default_rng(3)
    n = 400
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "hours": np.where(np.arange(n) % 50 == 7, -1.0, rng.integers(1, 60, n).astype(float)),
            "rate": rng.integers(0, 5, n).astype(float),
            "flag": rng.choice([0.25, 0.75], n),
            "work": rng.choice(["private", "state", "self"], n),
        }
    )
    frame.loc[333, "rate"] = 2.5
    frame.loc[390, "work"] = "never"
    label = np.where(frame["age"] + 10 * (frame["work"] == "state") + rng.normal(0, 10, n) > 55, "high", "low")
    return frame, label


@pytest.fixture(scope="module")
def preprocessing(table):
    numbers = make_pipeline(SimpleImputer(missing_values=-1.0), MinMaxScaler())
    return make_column_transformer(
        (MinMaxScaler(), ["age", "rate"]),
        (numbers, ["hours"]),
        (StandardScaler(), ["flag"]),
        (OneHotEncoder(drop="first"), ["work"]),
    ).fit(table[0])


@pytest.mark.parametrize("rows", [9, 150])
def test_a_digest_says_what_the_table_says(table, preprocessing, rows):
    """The space of records is the same, whatever the parts: a digest keeps what ranges and kinds are read from."""
    frame, _ = table
    parts = [digest(frame[i : i + rows]) for i in range(0, len(frame), rows)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merge_digests(merged, part)
    assert len(merged) < len(frame)
    assert RecordCodec(preprocessing, merged).space == RecordCodec(preprocessing, frame).space


def test_records_come_out_of_parts_as_they_do_in_memory(table, preprocessing, tmp_path):
    frame, label = table
    for i, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].assign(income=label[part]).to_parquet(tmp_path / f"part-{i}.parquet", index=False)
    asked = {"loss": "log_loss", "C": 0.1, "penalize_intercept": False, "preprocessing": preprocessing}
    here = MinimumPoisoner(**asked).fit(frame, label)
    there = MinimumPoisoner(**asked).fit(in_parts(tmp_path / "*.parquet", "income"))
    # both victims are trained to about 1e-8
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-6, atol=1e-9)
    added = frame.iloc[np.repeat(np.flatnonzero(frame["work"] == "state")[:1], 30)]
    poisoned = preprocessing.transform(pd.concat([frame, added])), np.append(label, np.repeat("low", 30))
    target = LogisticRegression(C=0.1, tol=1e-10).fit(*poisoned)
    one, other = here.attack((target.coef_, target.intercept_)), there.attack((target.coef_, target.intercept_))
    assert 0 < other.lower_bound == one.lower_bound <= 30  # so many were planted
    assert isinstance(other.X_poison, pd.DataFrame)
    assert other.X_poison.dtypes.equals(frame.dtypes)


def test_a_preprocessing_that_is_not_fitted_is_refused(table, tmp_path):
    frame, label = table
    frame.assign(income=label).to_parquet(tmp_path / "part.parquet", index=False)
    attacker = MinimumPoisoner(preprocessing=make_column_transformer((MinMaxScaler(), ["age"])))
    with pytest.raises(ValueError, match="preprocessing must be fitted"):
        attacker.fit(in_parts(tmp_path / "*.parquet", "income"))
