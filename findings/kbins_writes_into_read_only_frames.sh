#!/usr/bin/env bash
# scikit-learn 1.9.1 with pandas 3.1.1: KBinsDiscretizer bins a data frame of integers, or an array of booleans, and fails
# on a data frame of booleans or of nullable integers, though `fit` took it a line before and the scalers take it too.
#
# Expected: `transform` takes what `fit` took, whatever the container.
# Happens: it writes the bins into what it believes to be a copy of its input. Of such a frame pandas hands out a
# read-only array whose dtype is not the one asked for, and the conversion that follows keeps that flag:
# "ValueError: assignment destination is read-only".
# Why it matters here: a Pipeline that has worked on arrays, or before an import set other dtypes, stops at its binned
# columns; the message names neither the column nor the dtype. `astype(float)` before is the way out.
#
# Output seen:
#   frame of bool: ValueError: assignment destination is read-only
#   frame of Int64: ValueError: assignment destination is read-only
#   frame of int64: binned
#   array of bool: binned
#   frame of bool, StandardScaler: scaled
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check scikit-learn==1.9.1 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import pandas as pd
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler


def said(step, X, done):
    try:
        step.fit(X).transform(X)
    except ValueError as error:
        return f"ValueError: {error}"
    return done


flags, numbers = [True, False, True, False], [1, 2, 3, 4]
bins = KBinsDiscretizer(2, encode="ordinal", strategy="uniform")
seen = {
    "frame of bool": said(bins, pd.DataFrame({"a": flags}), "binned"),
    "frame of Int64": said(bins, pd.DataFrame({"a": pd.array(numbers, dtype="Int64")}), "binned"),
    "frame of int64": said(bins, pd.DataFrame({"a": numbers}), "binned"),
    "array of bool": said(bins, np.array(flags)[:, None], "binned"),
    "frame of bool, StandardScaler": said(StandardScaler(), pd.DataFrame({"a": flags}), "scaled"),
}
for what, outcome in seen.items():
    print(f"{what}: {outcome}")
fails = "ValueError: assignment destination is read-only"
assert [*seen.values()] == [fails, fails, "binned", "binned", "scaled"]
PY
