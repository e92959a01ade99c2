"""The exact minimum on rows that are read in parts: memory map, Parquet files, a Dask cluster of two processes.

    pip install ".[dask]" pandas pyarrow
    python examples/larger_than_memory.py --rows 20000 --workers 2
    python examples/larger_than_memory.py --scheduler tcp://10.0.0.7:8786   # a cluster that runs already

Writes a folder of files of its own, asks the same question of each, trains a victim and runs a sweep here and on the
cluster, and ends with an error where two answers differ.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import parallel_config

from mtpfast import FeatureSpace, MinimumPoisoner, in_parts, make_target, minimum_poisoning

PARTS = 8


def write_files(folder, n_rows):
    """Rows on [0, 1]^8 with a noisy label: one npy file, and the same in eight Parquet files."""
    rng = np.random.default_rng(0)
    X = rng.random((n_rows, 8), dtype=np.float32)
    y = np.where(X @ np.linspace(-1, 1, 8) + 0.2 * rng.normal(size=n_rows) > 0, 1, -1)
    np.save(folder / "X.npy", X)
    for i, rows in enumerate(np.array_split(np.arange(n_rows), PARTS)):
        table = pd.DataFrame(X[rows], columns=[f"x{j}" for j in range(8)]).assign(label=y[rows])
        table.to_parquet(folder / f"part-{i}.parquet")
    return y


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="processes of a local Dask cluster")
    parser.add_argument("--scheduler", help="address of a Dask cluster that runs already")
    arguments = parser.parse_args()
    target = np.append(np.linspace(-1, 0.5, 8), 0.1)
    asked = {"loss": "log_loss", "C": 0.01, "feasible_set": FeatureSpace(np.zeros(8), 1.0)}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        y = write_files(folder, arguments.rows)
        files = str(folder / "*.parquet")
        X = np.load(folder / "X.npy", mmap_mode="r")
        results["memory map"] = minimum_poisoning(X, y, target, **asked)
        results["files, one process"] = minimum_poisoning(in_parts(files, "label"), None, target, **asked)

        import dask.dataframe as dd
        from distributed import Client, LocalCluster

        own = {"n_workers": arguments.workers, "threads_per_worker": 1, "dashboard_address": None}
        cluster = arguments.scheduler or LocalCluster(**own)
        with Client(cluster):
            rows = in_parts(dd.read_parquet(files), "label")
            results["dask"] = minimum_poisoning(rows, None, target, **asked)
            victims = [MinimumPoisoner(alpha=0.01).fit(rows), MinimumPoisoner(alpha=0.01).fit(X, y)]  # of the hinge
            sweeps = {}
            for backend in ("sequential", "dask"):
                with parallel_config(backend=backend):
                    sweeps[backend] = make_target(X, y, quantiles=[0.1, 0.3], repeats=[1, 5], C=0.01, n_jobs=2)
        if not arguments.scheduler:
            cluster.close(timeout=60)
    for name, result in results.items():
        print(f"{name:20} {result.status:10} {result.n_points} points, {result.certificate.value:.9g} proved necessary")
    if len({(result.n_points, result.lower_bound) for result in results.values()}) > 1:
        raise SystemExit("the answers differ")
    apart = float(np.linalg.norm(victims[0].coef_ - victims[1].coef_))
    print(f"{'a hinge, by passes':20} duality gap {victims[0].dual_gap_:.1g}, {apart:.1g} from the one in memory")
    if apart > 1e-6:
        raise SystemExit("the victims differ")
    one, other = ([c.coef_.tolist() for c in sweep.candidates] for sweep in sweeps.values())
    print(f"{'a sweep of targets':20} {sweeps['dask'].n_flips} flips, error {sweeps['dask'].error:.3f}")
    if one != other:
        raise SystemExit("the targets differ")


if __name__ == "__main__":
    main()
