#!/usr/bin/env bash
# scikit-learn 1.9.1, LinearDiscriminantAnalysis: shrinkage="auto" is not the shrinkage of any number.
#
# Expected: "auto" estimates the coefficient by Ledoit and Wolf and then does what `shrinkage=0.02` does with it.
# Happens: with "auto" each class is standardised before its covariance is shrunk, and scaled back after it; with a
# number the raw covariance is shrunk towards its mean variance. So "auto" does not see the units of a column, and a
# number does: breast_cancer has 97 % with "auto" and 88 to 91 % with any of the numbers, the coefficient that
# Ledoit and Wolf estimate among them; after StandardScaler the numbers do as well as "auto".
# Why it matters: replacing "auto" by the number it found, to freeze a victim or to differentiate through it, makes
# another linear model. Poison that widens one column moves the one and not the other.
#
# Output seen:
#   scikit-learn 1.9.1
#   shrinkage auto : accuracy 0.967, standardised 0.967, predictions turned by a unit 0
#   shrinkage 0.014: accuracy 0.900, standardised 0.967, predictions turned by a unit 19
#   shrinkage 0.010: accuracy 0.907, standardised 0.967, predictions turned by a unit 20
#   shrinkage 0.050: accuracy 0.884, standardised 0.967, predictions turned by a unit 8
#   shrinkage 0.200: accuracy 0.880, standardised 0.961, predictions turned by a unit 1
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import sklearn
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_breast_cancer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

print("scikit-learn", sklearn.__version__)
X, y = load_breast_cancer(return_X_y=True)
estimated = float(np.mean([ledoit_wolf(X[y == k])[1] for k in (0, 1)]))
units = np.ones(30)
units[4] = 1000.0  # one column in another unit
scores, moved, scaled = {}, {}, {}
for shrinkage in ("auto", estimated, 0.01, 0.05, 0.2):
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    own = model.fit(X, y).predict(X)
    scores[shrinkage] = float((own == y).mean())
    moved[shrinkage] = int((model.fit(X * units, y).predict(X * units) != own).sum())
    Z = StandardScaler().fit_transform(X)
    scaled[shrinkage] = model.fit(Z, y).score(Z, y)
    name = f"{shrinkage:.3f}" if shrinkage != "auto" else "auto"
    print(f"shrinkage {name:5s}: accuracy {scores[shrinkage]:.3f}, standardised {scaled[shrinkage]:.3f}, predictions turned by a unit {moved[shrinkage]}")
numbers = [k for k in scores if k != "auto"]
if moved["auto"] or scores["auto"] < 0.96 or any(scores[k] > 0.93 or moved[k] == 0 or scaled[k] < 0.94 for k in numbers):
    sys.exit("no longer so: auto is a shrinkage like the numbers")
PYTHON
