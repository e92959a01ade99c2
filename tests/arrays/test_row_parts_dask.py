"""Collections of Dask: the same bound as in memory. examples/larger_than_memory.py runs on worker processes."""

import numpy as np
import pandas as pd
import pytest

from mtpfast import FeatureSpace, MinimumPoisoner, in_parts, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

da = pytest.importorskip("dask.array", reason="dask[array] is not installed: pip install 'mtpfast[dask]'")
dd = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed: pip install 'mtpfast[dask]'")

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(1)
    X = rng.random((150, 3))
    y = np.sign(X @ [1.0, -1.0, 0.5] - 0.2 + 0.3 * rng.normal(size=150))
    added = np.repeat([[0.0, 1.0, 1.0]], 20, axis=0)
    theta = refit(
        np.vstack([X, added]), np.append(y, np.ones(20)), make_objective("log_loss", alpha=0.01), tol=1e-12
    ).theta
    asked = {"loss": "log_loss", "alpha": 0.01, "feasible_set": FeatureSpace(np.zeros(3), 1.0)}
    return X, y, theta, asked, minimum_poisoning(X, y, theta, **asked)


def same(result, whole):
    assert (result.status, result.n_points, result.lower_bound) == (whole.status, whole.n_points, whole.lower_bound)
    # the solver's directions differ by what it leaves open: 1e-9 of the optimum
    np.testing.assert_allclose(result.certificate.value, whole.certificate.value, rtol=1e-8)


@pytest.mark.parametrize("chunks", [(40, 2), ((0, 7, 143), 3)], ids=["columns too", "uneven and empty"])
def test_arrays(planted, chunks):
    """Blocks of rows, whatever the blocks of columns, and labels of Dask or in memory."""
    X, y, theta, asked, whole = planted
    rows = da.from_array(X, chunks=chunks)
    same(minimum_poisoning(rows, y, theta, **asked), whole)
    same(minimum_poisoning(rows, da.from_array(y, chunks=50), theta, **asked), whole)
    assert whole.certificate.check(rows, y).holds


def table(X, y, **columns):
    return pd.DataFrame(X, columns=NAMES).assign(label=np.where(y > 0, "yes", "no"), **columns)


def test_frames_in_the_estimator(planted):
    """Labels as they are in the table, and an attack with its columns."""
    X, y, theta, asked, whole = planted
    frame = dd.from_pandas(table(X, y), npartitions=4)
    attacker = MinimumPoisoner(**asked).fit(in_parts(frame, "label"))
    result = attacker.attack((theta[:-1], theta[-1]))
    same(result, whole)
    assert set(result.y_poison) <= {"yes", "no"}
    assert list(result.feature_names) == NAMES
    np.testing.assert_array_equal(attacker.predict(pd.DataFrame(X[:3], columns=NAMES)).shape, (3,))


def test_a_bad_partition_is_named(planted):
    X, y, theta, asked, _ = planted
    X = X.copy()
    X[100, 1] = np.nan
    frame = dd.from_pandas(table(X, y), npartitions=3)
    with pytest.raises(ValueError, match=r"part 2: X must be finite, got NaN or infinity in column 'b'"):
        minimum_poisoning(in_parts(frame, "label", classes=("no", "yes")), None, theta, **asked)
