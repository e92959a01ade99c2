"""Small real problems that the tests share, and settings that keep them quick and quiet."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported; without it scikit-learn skips checks

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sklearn.datasets import load_breast_cancer, load_digits

# No limits in seconds: a busy machine is not a wrong answer. With CI set, every run draws the same examples. The debug
# build checks every index and is slower; the release build has run the full number of examples before.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "derandomize": "CI" in os.environ}
settings.register_profile("release", **COMMON)
settings.register_profile("debug", **COMMON, max_examples=20)
settings.load_profile("debug" if os.environ.get("MTPFAST_DEBUG", "0") not in ("", "0") else "release")


def pytest_runtest_setup():
    """Estimators of scikit-learn without a ``random_state`` draw from the global generator: the same in every test."""
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture(scope="session")
def digits():
    """Digits 1 (label -1) and 7 (label +1), pixels in [0, 1]: X (361, 64) and y, read-only."""
    X, y = load_digits(return_X_y=True)
    keep = (y == 1) | (y == 7)
    return _read_only(X[keep] / 16.0), _read_only(np.where(y[keep] == 7, 1.0, -1.0))


@pytest.fixture(scope="session")
def cancer():
    """Breast cancer, every feature scaled to [0, 1]: X (569, 30) and y in {-1., +1.}, read-only."""
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0))
    return _read_only(X), _read_only(np.where(y == 1, 1.0, -1.0))


def _read_only(array):
    array.flags.writeable = False
    return array
