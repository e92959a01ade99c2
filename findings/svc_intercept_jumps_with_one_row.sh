#!/usr/bin/env bash
# scikit-learn 1.9.1, SVC(kernel="linear") with a small C: one ordinary row more turns every prediction.
#
# Expected: with 200 rows a class, one clean row more moves the model by about one part in 400; a strong
# penalty makes it more stable still.
# Happens: the penalty shrinks w until no row reaches its margin, and the free intercept is then settled by
# counting: any value between -1 and +1 nearly ties, and one row of majority sends it to the end of
# the interval. All rows get the class of the added row. The stability bound holds for w, not for b.
# Why it matters: cross-validated grids reach such C. A "one-row attack" succeeds there with no effort, an
# attack benchmark with equal classes and small C measures this edge and nothing else, and a
# certificate for a model with a free intercept must not take its stability from the penalty.
#
# Output seen:
#   scikit-learn 1.9.1
#   200 and 200 rows: |w| 0.0198, intercept +0.0363, share predicted as class 1 0.7675
#   one more of class 0: |w| 0.0197, intercept -0.9363, share predicted as class 1 0.0000
#   one more of class 1: |w| 0.0198, intercept +1.0056, share predicted as class 1 1.0000
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

print("scikit-learn", sklearn.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
rows = {label: np.flatnonzero(y == label) for label in (0, 1)}
equal = np.append(rows[0][:200], rows[1][:200])
shares = {}
for name, more in {"200 and 200 rows": [], "one more of class 0": rows[0][200:201], "one more of class 1": rows[1][200:201]}.items():
    chosen = np.append(equal, more).astype(int)
    model = SVC(kernel="linear", C=1e-4, tol=1e-10).fit(X[chosen], y[chosen])
    shares[name] = float(model.predict(X[equal]).mean())
    print(f"{name}: |w| {np.linalg.norm(model.coef_):.4f}, intercept {model.intercept_[0]:+.4f}, share predicted as class 1 {shares[name]:.4f}")
first, zero, one = shares.values()
if not (0.05 < first < 0.95 and zero == 0 and one == 1):
    sys.exit("no longer so: one row moves the model by little")
PYTHON
