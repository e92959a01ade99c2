#!/usr/bin/env bash
# pandera 0.35.0 with pandas 3.1.1: a column of the texts "True" and "False" is validated as boolean, and all are True.
#
# Expected: Column(bool, coerce=True) reads the texts or refuses them; that is what a schema is for, and with polars it
# refuses.
# Happens: a text is true unless it is empty: "False", "0" and "no" become True and the schema passes. With int, 1.7
# becomes 1 and passes too, where "Int64" and int8 out of range are refused; polars cuts 1.7 down as well.
# Why it matters: the labels of a table that was read as text are all of one class after the check, and weights and
# counts lose their fractions. The model trained on it is constant, and the report says "valid".
#
# Output seen:
#   pandera 0.35.0 pandas 3.1.1 polars 2.1.0
#   ['True', 'False', '0'] as bool: pandas [True, True, True], polars SchemaError
#   [1.7, 2.0] as int: pandas [1, 2], polars [1, 2]
#   [1.7, 2.0] as Int64: pandas SchemaErrors, polars [1, 2]
#   [300, 2] as int8: pandas SchemaErrors, polars SchemaError
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    pandera==0.35.0 pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import pandas as pd
import polars as pl

warnings.simplefilter("ignore")
import pandera.pandas as frames
import pandera.polars as tables

print("pandera", version("pandera"), "pandas", pd.__version__, "polars", pl.__version__)


def check(schema, table):
    try:
        return schema.validate(table)["x"].to_list()
    except Exception as error:
        return type(error).__name__


found = []
for kind, other, values in (
    (bool, pl.Boolean, ["True", "False", "0"]),
    (int, pl.Int64, [1.7, 2.0]),
    ("Int64", pl.Int64, [1.7, 2.0]),
    ("int8", pl.Int8, [300, 2]),
):
    one = check(frames.DataFrameSchema({"x": frames.Column(kind, coerce=True)}), pd.DataFrame({"x": values}))
    two = check(tables.DataFrameSchema({"x": tables.Column(other, coerce=True)}), pl.DataFrame({"x": values}))
    found.append((one, two))
    print(f"{values} as {kind if isinstance(kind, str) else kind.__name__}: pandas {one}, polars {two}")
if found[0][0] != [True] * 3 or isinstance(found[0][1], list) or found[1][0] != [1, 2]:
    sys.exit("no longer so: texts are read or refused")
PYTHON
