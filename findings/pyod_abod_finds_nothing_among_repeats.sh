#!/usr/bin/env bash
# pyod 3.6.7, ABOD: four equal rows anywhere in a table, and it calls no row an outlier, whatever the contamination.
#
# Expected: `contamination=0.1` calls a tenth of the rows outliers, as it does in pyod's other detectors;
# equal rows have no angle between them and would be left out of the sum.
# Happens: their own score is NaN (no angle is left among five neighbours), the threshold is a
# percentile of all scores and so NaN, and every comparison with it is False: labels_ and predict are 0
# for all rows, a far one included. The scores of the other rows are right; nothing is said.
# Why it matters: repeated rows are the rule in tables of levels and whole numbers, and in poison, whose
# exact minimum is two or three rows many times. Here a detector that returns NaN is refused by name.
#
# Output seen:
#   pyod 3.6.7, 300 rows of a normal distribution and one far away, contamination=0.1
#   1 equal row:  30 outliers of 301 rows, NaN scores 0, the far row 1
#   3 equal rows: 31 outliers of 303 rows, NaN scores 0, the far row 1
#   4 equal rows: 0 outliers of 304 rows, NaN scores 4, the far row 0
#   five columns of 0 and 1: 0 outliers of 300 rows, NaN scores 298
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check pyod==3.6.7 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from pyod.models.abod import ABOD

warnings.simplefilter("ignore")
print(f"pyod {version('pyod')}, 300 rows of a normal distribution and one far away, contamination=0.1")
rng = np.random.default_rng(0)
rows = np.vstack([rng.normal(size=(300, 4)), np.full((1, 4), 50.0)])
found = {}
for copies in (1, 3, 4):
    table = np.vstack([np.repeat(rows[:1], copies - 1, axis=0), rows])
    detector = ABOD(contamination=0.1).fit(table)
    odd, far = int(np.isnan(detector.decision_scores_).sum()), int(detector.labels_[-1])
    found[copies] = int(detector.labels_.sum()), odd, far
    name = f"{copies} equal row{'s' if copies > 1 else ''}:"
    print(f"{name:13s} {found[copies][0]} outliers of {len(table)} rows, NaN scores {odd}, the far row {far}")
levels = ABOD(contamination=0.1).fit(rng.integers(0, 2, size=(300, 5)).astype(float))
odd = int(np.isnan(levels.decision_scores_).sum())
print(f"five columns of 0 and 1: {levels.labels_.sum()} outliers of 300 rows, NaN scores {odd}")
if found[1][0] < 20 or found[4][0] != 0 or found[4][1] == 0 or levels.labels_.sum() != 0:
    sys.exit("no longer so: repeated rows leave the threshold a number")
PYTHON
