"""Small real problems that the tests share, and settings that keep them quick and quiet."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported; without it scikit-learn skips checks

import numpy as np
import pytest
from hypothesis import settings
from sklearn.datasets import load_breast_cancer, load_digits

# No deadline: a busy machine is not a wrong answer. The debug build checks every index and is several
# times slower; the release build has run the full number of examples before.
settings.register_profile("release", deadline=None)
settings.register_profile("debug", deadline=None, max_examples=20)
settings.load_profile("debug" if os.environ.get("MTPFAST_DEBUG", "0") not in ("", "0") else "release")


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
