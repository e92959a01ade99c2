"""Sweeps on two worker processes of Dask."""

import os
import signal

import joblib
import numpy as np
import pytest

from mtpfast import make_target

distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install 'mtpfast[dask]'")


@pytest.mark.filterwarnings("ignore")  # those of a cluster that comes, loses a worker and goes
def test_a_worker_killed_in_a_sweep_is_replaced_and_changes_nothing():
    """Its task runs again elsewhere, and so does the one that holds what all of them read: every worker dies once."""
    rng = np.random.default_rng(0)
    X = rng.random((200, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.normal(size=200) > 0.3, 1, -1)
    asked = {"quantiles": [0.1, 0.2, 0.4, 0.6], "repeats": [1, 3], "goal": 0.0, "alpha": 0.05}
    expected = [c.coef_.tolist() for c in make_target(X, y, n_jobs=1, **asked).candidates]
    killed = []
    own = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**own) as cluster, distributed.Client(cluster):
        pids = [nanny.pid for nanny in cluster.workers.values()]

        def kill(_):
            if pids:
                killed.append(pids.pop())
                os.kill(killed[-1], signal.SIGKILL)

        with joblib.parallel_config(backend="dask"):
            found = make_target(X, y, n_jobs=2, callback=kill, **asked)
    assert len(killed) == 2
    assert [c.coef_.tolist() for c in found.candidates] == expected
