#!/usr/bin/env bash
# pandas 3.1.1, DataFrame.query: once numexpr is installed, the same query selects other rows.
#
# Expected: numexpr is listed as an optional accelerator; a query has one answer, with it or without.
# Happens: without it, columns of small integers are computed in their own type and wrap round
# (100 + 100 is -56 in int8, 200 - 210 is 246 in uint8). With it, they are widened to int32. query()
# takes numexpr wherever it can be imported, so that installing it, for whatever reason, changes which
# rows a condition names, with no message.
# Why it matters: an audit takes the rows aimed at as a query. Parquet brings int8 and uint8 (ages,
# counts, codes). Here integers of 32 bits or fewer are widened to int64 before a query is read.
#
# Output seen:
#   pandas 3.1.1, numexpr not installed
#     visits + calls > 150: rows []; points - 210 < 0: rows []
#   pandas 3.1.1, numexpr 2.14.2
#     visits + calls > 150: rows [0]; points - 210 < 0: rows [0, 1]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check pandas==3.1.1 numpy==2.4.6

cat > "$folder/query.py" <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd

try:
    numexpr = version("numexpr")
except PackageNotFoundError:
    numexpr = None
table = pd.DataFrame(
    {
        "visits": np.array([100, 10], dtype=np.int8),
        "calls": np.array([100, 10], dtype=np.int8),
        "points": np.array([200, 10], dtype=np.uint8),
    }
)
rows = [table.query(text).index.tolist() for text in ("visits + calls > 150", "points - 210 < 0")]
print(f"pandas {pd.__version__}, numexpr {numexpr or 'not installed'}")
print(f"  visits + calls > 150: rows {rows[0]}; points - 210 < 0: rows {rows[1]}")
if rows != ([[], []] if numexpr is None else [[0], [0, 1]]):
    sys.exit("no longer so: the rows do not depend on numexpr as stated")
PYTHON
"$folder/venv/bin/python" "$folder/query.py"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numexpr==2.14.2
"$folder/venv/bin/python" "$folder/query.py"
