#!/usr/bin/env bash
# category_encoders 2.11.2, WOEEncoder: labels -1 and +1 pass as binary, and the weights of evidence are of other signs, or NaN.
#
# Expected: two labels of whatever names are two classes (labels 1 and 2 are refused: "must be binary
# with values {0, 1}"), or labels of -1 and +1, the usual ones of an SVM, are refused as well.
# Happens: they pass the check, and the events of a level are the sum of its labels. The level with
# the fewest ones gets the largest weight, levels with more ones than minus ones get NaN (the
# logarithm of a negative ratio), with no more than a RuntimeWarning of NumPy, and an imputer behind
# it fills them all with one number.
# Why it matters: in a pipeline with LinearSVC both kinds of labels train; only one of them trains on
# what the column says. Here the encoder is no step that records are read from: it is refused by name.
#
# Output seen:
#   category_encoders 2.11.2
#   labels 0 and 1:   clerk -0.842, cook 0.353, none 1.744
#   labels -1 and +1: clerk 2.234, cook nan, none nan
#   labels 1 and 2:   ValueError
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check category-encoders==2.11.2 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from category_encoders import WOEEncoder

warnings.simplefilter("ignore")
print("category_encoders", version("category-encoders"))
rng = np.random.default_rng(0)
job = rng.choice(["clerk", "cook", "none"], 300, p=[0.5, 0.4, 0.1])
ones = (rng.random(300) < pd.Series(job).map({"clerk": 0.3, "cook": 0.6, "none": 0.8})).astype(int)
table, levels = pd.DataFrame({"job": job}), pd.DataFrame({"job": ["clerk", "cook", "none"]})
weights = {}
for name, y in (("0 and 1", ones), ("-1 and +1", 2 * ones - 1), ("1 and 2", ones + 1)):
    try:
        weights[name] = WOEEncoder().fit(table, y).transform(levels)["job"].to_numpy()
        told = ", ".join(f"{level} {w:.3f}" for level, w in zip(levels["job"], weights[name]))
    except ValueError:
        told = "ValueError"
    print(f"labels {name + ':':10s} {told}")
right, odd = weights["0 and 1"], weights.get("-1 and +1")
if odd is None or not (right[0] < right[1] < right[2]) or not (odd[0] > 0 and np.isnan(odd[1:]).all()):
    sys.exit("no longer so: labels -1 and +1 are two classes, or refused")
PYTHON
