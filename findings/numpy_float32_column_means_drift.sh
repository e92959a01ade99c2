#!/usr/bin/env bash
# numpy 2.4.6, mean(axis=0) of float32 rows: wrong in the second digit, while pandas and polars are right.
#
# Expected: numpy sums pairwise, so a mean of two million float32 values is good to six digits.
# Happens: pairwise summation works along the fast axis only. Column means of a table stored row by row
# are running sums in float32: 10.40 instead of 10.50, and standard deviations follow. The same values
# stored column by column, or the same columns in pandas or polars, give seven digits.
# Why it matters: centroids, spheres and slabs of a sanitiser are column means. In float32 the centre
# lies off by a third of a standard deviation, and which rows are removed depends on memory order.
#
# Output seen:
#   numpy 2.4.6 pandas 3.1.1 polars 2.1.0
#   true means [10.50015859 10.49986157] standard deviation [0.28865988 0.28856198]
#   numpy, row by row        largest error 1.0e-01
#   numpy, column by column  largest error 2.8e-07
#   numpy, dtype=float64     largest error 0.0e+00
#   pandas                   largest error 2.8e-07
#   polars                   largest error 2.8e-07
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
import polars as pl

print("numpy", np.__version__, "pandas", pd.__version__, "polars", pl.__version__)
rng = np.random.default_rng(0)
X = rng.random((2_000_000, 2)).astype(np.float32) + np.float32(10)
true = X.astype(np.float64).mean(axis=0)
errors = {
    "numpy, row by row": X.mean(axis=0),
    "numpy, column by column": np.asfortranarray(X).mean(axis=0),
    "numpy, dtype=float64": X.mean(axis=0, dtype=np.float64),
    "pandas": pd.DataFrame(X).mean().to_numpy(),
    "polars": np.array(pl.DataFrame(X).mean().row(0)),
}
print("true means", true, "standard deviation", X.astype(np.float64).std(axis=0))
worst = {name: float(abs(value - true).max()) for name, value in errors.items()}
for name, error in worst.items():
    print(f"{name:24s} largest error {error:.1e}")
others = max(error for name, error in worst.items() if name != "numpy, row by row")
if worst["numpy, row by row"] < 0.01 or others > 1e-4:
    sys.exit("no longer so: float32 column means are accurate in every layout")
PYTHON
