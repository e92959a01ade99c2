#!/usr/bin/env bash
# pyod 3.6.7, HBOS: a column in another unit changes which rows are outliers, though a histogram has no unit.
#
# Expected: bins of equal width are the same sets of rows in any unit, and the score adds up one logarithm per column: a
# unit adds a constant to all scores. It is the reason to take it where distances depend on scaling.
# Happens: the logarithm is of the density plus alpha = 0.1, and the density is per unit. Of a column of large numbers
# all densities are far below 0.1: the column has no say. In a small unit its densities are far above it. A row at six
# deviations is the first outlier, the 21st or the 219th.
# Why it matters: the same table in metres and in millimetres loses other rows to the filter, and an attacker who
# chooses a column of large numbers is not seen by it. Standardise first, or set alpha with the unit.
#
# Output seen:
#   pyod 3.6.7
#   first column times 2^-10: 12 of 301 labels differ, outliers before the row at 6 deviations 0
#   first column times 2^0: 0 of 301 labels differ, outliers before the row at 6 deviations 20
#   first column times 2^10: 18 of 301 labels differ, outliers before the row at 6 deviations 218
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check pyod==3.6.7 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from pyod.models.hbos import HBOS

warnings.simplefilter("ignore")
print("pyod", version("pyod"))
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 2))
X = np.vstack([X, [[6.0, 0.0]]])
labels, first = {}, {}
for power in (-10, 0, 10):
    model = HBOS().fit(X * [2.0**power, 1.0])
    labels[power] = model.labels_
    rank = int((model.decision_scores_ > model.decision_scores_[-1]).sum())
    first[power] = rank
    print(f"first column times 2^{power}: {int((model.labels_ != HBOS().fit(X).labels_).sum())} of 301 labels differ, outliers before the row at 6 deviations {rank}")
if not (labels[0] != labels[10]).any() or first[-10] > 5 or first[10] < 100:
    sys.exit("no longer so: the unit does not matter")
PYTHON
