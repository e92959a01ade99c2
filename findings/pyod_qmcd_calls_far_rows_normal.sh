#!/usr/bin/env bash
# pyod 3.6.7, QMCD: a new row is the less of an outlier the farther away it is.
#
# Expected: a higher score is more of an outlier, as in every detector of the package, and a row at a thousand
# deviations is above the threshold of any table of ordinary rows.
# Happens: scores of new rows fall without end as they leave the range of the training rows, far below the threshold:
# predict calls them normal. The same far row among the training rows is the first outlier: columns are brought to [0,
# 1] by the training rows' range, and beyond it, with three columns, the score goes down as the distance's sixth power.
# Why it matters: as a filter in front of retraining, fitted on clean rows, it passes what no clean row looks like, and
# drops ordinary ones.
#
# Output seen:
#   pyod 3.6.7
#   QMCD: threshold -2.362, new rows at 8, 100 and 1,000 deviations: scores -2.377, -4.869e+04, -5.681e+10, labels
#       [0, 0, 0]
#       the row at 8 deviations among the training rows: label 1
#   KNN: threshold 1.039, new rows at 8, 100 and 1,000 deviations: scores 11.78, 171.1, 1730, labels [1, 1, 1]
#       the row at 8 deviations among the training rows: label 1
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
from pyod.models.knn import KNN
from pyod.models.qmcd import QMCD

warnings.simplefilter("ignore")
print("pyod", version("pyod"))
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 3))
far = np.array([[8.0] * 3, [100.0] * 3, [1000.0] * 3])
labels = {}
for detector in (QMCD, KNN):
    name = detector.__name__
    model = detector().fit(X)
    within = detector().fit(np.vstack([X, far[:1]]))
    labels[name] = model.predict(far).tolist(), int(within.labels_[-1])
    scores = ", ".join(f"{score:.4g}" for score in model.decision_function(far))
    print(f"{name}: threshold {model.threshold_:.4g}, new rows at 8, 100 and 1,000 deviations: scores {scores}, labels {labels[name][0]}")
    print(f"    the row at 8 deviations among the training rows: label {labels[name][1]}")
if labels["QMCD"] != ([0, 0, 0], 1) or labels["KNN"] != ([1, 1, 1], 1):
    sys.exit("no longer so: far rows are outliers")
PYTHON
