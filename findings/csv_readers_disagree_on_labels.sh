#!/usr/bin/env bash
# pandas 3.1.1, polars 2.1.0, pyarrow 26.0.1, duckdb 2.0.1: a column of labels "+1" and "-1" is three different types.
#
# Expected: signed whole numbers are whole numbers; yes and no are text.
# Happens: pandas reads +1/-1 as integers, pyarrow as floats, polars and duckdb as text. One +1 in the file is enough for
# pyarrow and duckdb; for polars it has to be among the first rows, from which types are inferred.
# duckdb reads yes/no and T/F as booleans, and Y/N as text; it leaves numbers with leading zeros as text.
# Why it matters: +1/-1 is how this field writes labels. As text the sorted classes are "+1", "-1": the positive class
# comes first, so the sign of every coefficient turns, and a comparison with 1 finds no row.
#
# Output seen:
#   pandas 3.1.1 polars 2.1.0 pyarrow 26.0.1 duckdb 2.0.1
#   +1/-1: pandas int, polars str, pyarrow float, duckdb str
#   yes/no: pandas str, polars str, pyarrow str, duckdb bool
#   Y/N: pandas str, polars str, pyarrow str, duckdb str
#   T/F: pandas str, polars str, pyarrow str, duckdb bool
#   01/02: pandas int, polars int, pyarrow int, duckdb str
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow
import pyarrow.csv

print("pandas", pd.__version__, "polars", pl.__version__, "pyarrow", pyarrow.__version__, "duckdb", duckdb.__version__)
columns = {"signed": ["+1", "-1", "+1"], "words": ["yes", "no", "yes"], "letters": ["Y", "N", "Y"], "capitals": ["T", "F", "T"], "zeros": ["01", "02", "01"]}
with open("labels.csv", "w") as file:
    file.write(",".join(columns) + "\n")
    file.writelines(",".join(row) + "\n" for row in zip(*columns.values()))
types = {}
tables = {
    "pandas": pd.read_csv("labels.csv").to_dict("list"),
    "polars": pl.read_csv("labels.csv").to_dict(as_series=False),
    "pyarrow": pyarrow.csv.read_csv("labels.csv").to_pydict(),
    "duckdb": dict(zip(columns, zip(*duckdb.sql("FROM 'labels.csv'").fetchall()))),
}
for column, values in columns.items():
    types[column] = {name: type(table[column][0]).__name__ for name, table in tables.items()}
    print(f"{'/'.join(values[:2])}: " + ", ".join(f"{name} {kind}" for name, kind in types[column].items()))
if list(types["signed"].values()) != ["int", "str", "float", "str"] or types["words"]["duckdb"] != "bool" or types["letters"]["duckdb"] != "str":
    sys.exit("no longer so: labels have one type")
PYTHON
