#!/usr/bin/env bash
# duckdb 2.0.1 with pandas 3.1.1: of two columns that differ in capitals only, the quoted name of the second is the first.
#
# Expected: SELECT "free" is the column named free, since quoting keeps capitals in SQL; or an error that names both.
# Happens: names are matched without capitals, quoted or not, and the later column is called free_1. Read as "free" it is
# the column Free, without a word, from a data frame and from a CSV file alike.
# Why it matters: words of a text keep their capitals in many spam features (Free, FREE, free), and units do in others
# (mg, Mg). A table that went through a query has one column twice and has lost the other.
#
# Output seen:
#   duckdb 2.0.1 pandas 3.1.1
#   words: columns ['Free', 'free_1', 'y'], "Free" [1. 0.], "free" [1. 0.]
#   'words.csv': columns ['Free', 'free_1', 'y'], "Free" [1. 0.], "free" [1. 0.]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check duckdb==2.0.1 pandas==3.1.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import duckdb
import numpy as np
import pandas as pd

print("duckdb", duckdb.__version__, "pandas", pd.__version__)
words = pd.DataFrame({"Free": [1.0, 0.0], "free": [0.0, 5.0], "y": [1, -1]})
words.to_csv("words.csv", index=False)
answers = []
for source in ("words", "'words.csv'"):
    names = duckdb.sql(f"FROM {source}").columns
    one = duckdb.sql(f'SELECT "Free" FROM {source}').fetchnumpy()
    two = duckdb.sql(f'SELECT "free" FROM {source}').fetchnumpy()
    answers.append(np.asarray(list(two.values())[0]))
    print(f"{source}: columns {names}, \"Free\" {list(one.values())[0]}, \"free\" {answers[-1]}")
if not all((answer == words["Free"]).all() for answer in answers):
    sys.exit("no longer so: a quoted name is that column")
PYTHON
