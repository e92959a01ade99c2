"""What a result claims: "reached" is measured, the same call has the same answer, memory is in proportion."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mtpfast
from mtpfast import CandidatePool, minimum_poisoning
from mtpfast.losses import make_objective
from mtpfast.refit import refit

SOURCES = sorted(Path(mtpfast.__file__).parent.glob("*.py"))

# -- no clock decides -------------------------------------------------------------------------


def test_no_clock_decides_a_result():
    """No solver gets a limit in seconds; what reads a clock only prints: the command line, and ``verbose``."""
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        assert "time_limit" not in source, path.name
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert "time" not in names or path.stem in ("cli", "attack"), path.name


def planted_pool(seed):
    """A pool of generic rows with a few planted copies: (X, y, theta, pool, n_planted)."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((30, 4)), np.tile([1.0, -1.0], 15)
    candidates = rng.random((10, 4))
    chosen, labels, counts = rng.choice(10, 3, replace=False), np.array([1.0, -1.0, 1.0]), rng.integers(1, 5, 3)
    theta = refit(
        np.vstack([X, np.repeat(candidates[chosen], counts, axis=0)]),
        np.r_[y, np.repeat(labels, counts)],
        make_objective("squared_hinge", C=1.0),
        tol=1e-12,
    ).theta
    return X, y, theta, CandidatePool(candidates), int(counts.sum())


@pytest.mark.parametrize("seed", range(4))
def test_whole_counts_of_a_pool_are_found_without_a_clock(seed):
    """Branch and bound by a count of linear programs: planted copies, or fewer, are found; twice the same ones."""
    X, y, theta, pool, planted = planted_pool(seed)
    first, second = (minimum_poisoning(X, y, theta, loss="squared_hinge", C=1.0, feasible_set=pool) for _ in range(2))
    assert first.status == "reached"
    assert first.lower_bound <= first.n_points <= planted
    assert_array_equal(first.X_poison, second.X_poison)
    assert_array_equal(first.theta, second.theta)


# -- memory -----------------------------------------------------------------------------------

SPARSE = """
import resource, sys
import numpy as np, scipy.sparse as sp
from mtpfast import minimum_poisoning
d, loss = 50_000, sys.argv[1]
rng = np.random.default_rng(0)
X = sp.random(300, d, density=1e-3, random_state=rng, format="csr")
y = np.tile([1.0, -1.0], 150)
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
result = minimum_poisoning(X, y, (np.zeros(d), 0.0), C=1.0, loss=loss)
print(result.status, result.lower_bound)
"""


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_memory_is_of_the_order_of_the_features(loss):
    """300 sparse rows of 50,000 features within 3 GiB of addresses (a dense (d + 1, d) array takes 19 GiB)."""
    done = subprocess.run([sys.executable, "-c", SPARSE, loss], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
