#!/usr/bin/env bash
# scikit-learn 1.9.1, StandardScaler: a column of dates is scaled as a number, in the unit of the library that holds it.
#
# Expected: a date is refused, as text is, or means the same whatever table it stands in.
# Happens: it is taken for a float: days since 1970 from polars, microseconds from pandas. Both fits succeed without
# a word; a scaler that was fitted on the one maps the same dates from the other 1e15 deviations away.
# Why it matters: scalers bound what a poisoning record may be. The same pipeline has two feature spaces, and a
# victim that is retrained on the table as another library reads it sees points that no clean row is near.
#
# Output seen:
#   scikit-learn 1.9.1 polars 2.1.0 pandas 3.1.1
#   pandas: mean 1.70424e+15
#   polars: mean 19725
#   2024-01-01 from pandas, by the scaler that was fitted to polars: 1.2e+15
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 polars==2.1.0 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pandas as pd
import polars as pl
import sklearn
from sklearn.preprocessing import StandardScaler

print("scikit-learn", sklearn.__version__, "polars", pl.__version__, "pandas", pd.__version__)
dates = pd.date_range("2024-01-01", periods=5)
frame = pd.DataFrame({"day": dates})
table = pl.DataFrame({"day": [day.date() for day in dates]})
means = {}
for name, rows in (("pandas", frame), ("polars", table)):
    means[name] = float(StandardScaler().fit(rows).mean_[0])
    print(f"{name}: mean {means[name]:.6g}")
mapped = StandardScaler().fit(table).transform(frame)
print(f"2024-01-01 from pandas, by the scaler that was fitted to polars: {mapped[0, 0]:.3g}")
if not (1e4 < means["polars"] < 1e5 and means["pandas"] > 1e14):
    sys.exit("no longer so: dates are refused, or have one unit")
PYTHON
