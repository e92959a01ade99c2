#!/usr/bin/env bash
# polars 2.1.0: quantile(0.5) is not median().
#
# Expected: the 0.5 quantile is the median, within one library and across numpy, pandas and polars.
# Happens: polars takes the nearest value for quantile and the middle of two for median, so they differ
# on every column of even length. The 0.95 quantile that numpy and pandas place between two values is
# a value of the column in polars.
# Why it matters: "remove the five percent farthest from the centre" with <= removes another number of
# rows when the table moves from pandas to polars, and a threshold that lies between two rows no longer
# does: the row on it becomes a tie.
#
# Output seen:
#   numpy 2.4.6 pandas 3.1.1 polars 2.1.0
#   0..1: polars quantile(0.5) 1.0 median 0.5; numpy 0.5 0.5
#   0..3: polars quantile(0.5) 2.0 median 1.5; numpy 1.5 1.5
#   0..5: polars quantile(0.5) 3.0 median 2.5; numpy 2.5 2.5
#   0..19: polars quantile(0.5) 10.0 median 9.5; numpy 9.5 9.5
#   0.95 quantile of 0..19 {'numpy': np.float64(18.05), 'pandas': np.float64(18.05), 'polars': 18.0} values strictly
#       below {'numpy': 19, 'pandas': 19, 'polars': 18}
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
gaps = []
for n in (2, 4, 6, 20):
    v = np.arange(float(n))
    s = pl.Series(v)
    gaps.append(s.quantile(0.5) - s.median())
    print(f"0..{n - 1}: polars quantile(0.5) {s.quantile(0.5)} median {s.median()}; numpy {np.quantile(v, 0.5)} {np.median(v)}")
v = np.arange(20.0)
found = {"numpy": np.quantile(v, 0.95), "pandas": pd.Series(v).quantile(0.95), "polars": pl.Series(v).quantile(0.95)}
kept = {name: int((v < q).sum()) for name, q in found.items()}
print("0.95 quantile of 0..19", found, "values strictly below", kept)
if gaps != [0.5] * 4 or abs(found["numpy"] - found["polars"]) < 0.01 or kept["polars"] == kept["numpy"]:
    sys.exit("no longer so: quantile(0.5) is the median")
PYTHON
