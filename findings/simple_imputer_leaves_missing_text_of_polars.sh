#!/usr/bin/env bash
# scikit-learn 1.9.1, SimpleImputer: missing text in a table of polars or pyarrow is left as it is, missing numbers are filled.
#
# Expected: a null is filled whatever the column's type, as in a pandas table of strings.
# Happens: null in a column of text arrives as None, which is not the nan that SimpleImputer looks for: fit_transform gives
# None back, with both strategies for text, and no warning. In columns of numbers null arrives as nan and is filled.
# Why it matters: the same pipeline trains on an imputed table with one library and on one with holes with another: the
# encoder behind it makes a level of None, and poison that uses the level exists in one victim only.
#
# Output seen:
#   scikit-learn 1.9.1 polars 2.1.0 pyarrow 26.0.1 pandas 3.1.1
#   pandas   text     most_frequent  null becomes 'a'
#   pandas   text     constant       null becomes 'z'
#   pandas   numbers  most_frequent  null becomes np.float64(1.0)
#   pandas   numbers  constant       null becomes np.float64(9.0)
#   polars   text     most_frequent  null becomes None
#   polars   text     constant       null becomes None
#   polars   numbers  most_frequent  null becomes np.float64(1.0)
#   polars   numbers  constant       null becomes np.float64(9.0)
#   pyarrow  text     most_frequent  null becomes None
#   pyarrow  text     constant       null becomes None
#   pyarrow  numbers  most_frequent  null becomes np.float64(1.0)
#   pyarrow  numbers  constant       null becomes np.float64(9.0)
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 polars==2.1.0 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import sklearn
from sklearn.impute import SimpleImputer

print("scikit-learn", sklearn.__version__, "polars", pl.__version__, "pyarrow", pa.__version__, "pandas", pd.__version__)
text, numbers = ["a", "b", "a", None], [1.0, 2.0, 1.0, None]
filled = {}
for name, table in (("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("pyarrow", pa.table)):
    for kind, values in (("text", text), ("numbers", numbers)):
        for strategy in ("most_frequent", "constant"):
            fill = {"fill_value": "z" if kind == "text" else 9.0} if strategy == "constant" else {}
            last = SimpleImputer(strategy=strategy, **fill).fit_transform(table({"c": values}))[-1, 0]
            filled[name, kind, strategy] = last is not None and last == last
            print(f"{name:8} {kind:8} {strategy:14} null becomes {last!r}")
left = {key[:2] for key, done in filled.items() if not done}
if left != {("polars", "text"), ("pyarrow", "text")}:
    sys.exit("no longer so: missing text is filled whatever library has the table")
PYTHON
