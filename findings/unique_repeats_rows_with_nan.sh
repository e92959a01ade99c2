#!/usr/bin/env bash
# numpy 2.4.6, pandas 3.1.1, polars 2.1.0: the same table has a different number of distinct rows.
#
# Expected: numpy.unique counts NaN once since 1.21 (equal_nan=True is its default), as pandas and
# polars do, so removing duplicate rows leaves the same rows with all three.
# Happens: equal_nan works on flat arrays alone. With axis=0 every row that holds a NaN is its own row,
# however often it stands there; sets of Python tuples do the same, sets of bytes tell 0.0 from -0.0.
# Why it matters: removing repeated rows is a first defence, and a count of distinct rows is a common
# figure of an audit. A point with a missing value that is repeated a thousand times stays a thousand
# rows in one library and is one row in another.
#
# Output seen:
#   numpy 2.4.6 pandas 3.1.1 polars 2.1.0
#   numpy.unique(axis=0)                  5 distinct rows
#   numpy.unique(axis=0, equal_nan=True)  5 distinct rows
#   pandas drop_duplicates                3 distinct rows
#   polars unique                         3 distinct rows
#   set of tuples                         5 distinct rows
#   set of bytes                          4 distinct rows
#   numpy.unique of the first column alone: [ 0.  1. nan]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 polars==2.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
import polars as pl

print("numpy", np.__version__, "pandas", pd.__version__, "polars", pl.__version__)
X = np.array([[0.0, 1.0], [-0.0, 1.0], [np.nan, 1.0], [np.nan, 1.0], [1.0, np.nan], [1.0, np.nan]])
counts = {
    "numpy.unique(axis=0)": len(np.unique(X, axis=0)),
    "numpy.unique(axis=0, equal_nan=True)": len(np.unique(X, axis=0, equal_nan=True)),
    "pandas drop_duplicates": len(pd.DataFrame(X).drop_duplicates()),
    "polars unique": pl.DataFrame(X).unique().height,
    "set of tuples": len({tuple(row) for row in X.tolist()}),
    "set of bytes": len({row.tobytes() for row in X}),
}
for name, count in counts.items():
    print(f"{name:37s} {count} distinct rows")
print("numpy.unique of the first column alone:", np.unique(X[:, 0]))
if list(counts.values()) != [5, 5, 3, 3, 5, 4] or len(np.unique(X[:, 0])) != 3:
    sys.exit("no longer so: the counts are others")
PYTHON
