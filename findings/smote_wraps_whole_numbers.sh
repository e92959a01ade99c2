#!/usr/bin/env bash
# imbalanced-learn 0.14.2, SMOTE: on whole-number columns the points "between" two rows lie elsewhere.
#
# Expected: points on the segment between two rows of the minority class, as floats, or else rounded.
# Happens: the dtype of X is kept. For int64 the point is cut down to the whole number below, so the
# class mean falls by almost half a unit. For uint8 the difference of two rows wraps at 256 before it
# is scaled, so points lie outside the box of the class, off by up to 254 from the float result.
# Neither comes with a warning.
# Why it matters: counts and pixels are the usual integer columns. A victim that oversamples them trains
# on rows that no minority row explains, and a feasible set read off the resampled table is too wide.
#
# Output seen:
#   imbalanced-learn 0.14.2
#   int64: dtype out int64, largest difference from floats 0.99, of the mean -0.37, rows outside the box of the class 0
#       of 60
#   uint8: dtype out uint8, largest difference from floats 254.65, of the mean 7.93, rows outside the box of the class
#       13 of 60
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check imbalanced-learn==0.14.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import imblearn
import numpy as np
from imblearn.over_sampling import SMOTE

print("imbalanced-learn", imblearn.__version__)
rng = np.random.default_rng(0)
X = rng.integers(0, 10, size=(100, 3))
y = (np.arange(100) < 20).astype(int)
sizes = {}
for name, table in {"int64": X, "uint8": (25 * X).astype(np.uint8)}.items():
    whole = SMOTE(random_state=0).fit_resample(table, y)[0][100:]
    real = SMOTE(random_state=0).fit_resample(table.astype(float), y)[0][100:]
    low, high = table[y == 1].min(0), table[y == 1].max(0)
    outside = int(((whole < low) | (whole > high)).any(axis=1).sum())
    sizes[name] = float(abs(whole.astype(float) - real).max()), outside, whole.astype(float).mean() - real.mean()
    print(f"{name}: dtype out {whole.dtype}, largest difference from floats {sizes[name][0]:.2f}, of the mean {sizes[name][2]:.2f}, rows outside the box of the class {outside} of {len(whole)}")
if not (0.5 < sizes["int64"][0] < 1 and sizes["int64"][2] < -0.2 and sizes["uint8"][0] > 100):
    sys.exit("no longer so: whole numbers are interpolated like floats")
PYTHON
