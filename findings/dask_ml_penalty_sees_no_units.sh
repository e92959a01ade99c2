#!/usr/bin/env bash
# dask-ml 2025.1.0, LogisticRegression: a column in another unit changes no prediction, though the l2 penalty should.
#
# Expected: what scikit-learn's class of the same name and parameters does: C weighs the coefficients as they are, so a
# column times 1,000 has a coefficient that is nearly free.
# Happens: columns are standardised before they are trained on and the coefficients scaled back, by a default of the
# solvers underneath that the class neither names nor documents.
# Why it matters: the penalty of a coefficient is the variance of its column, and poison changes that: no victim with a
# fixed penalty is the one that is trained, whatever C is translated to.
#
# Output seen:
#   dask-ml 2025.1.0 scikit-learn 1.9.1
#   dask-ml: coefficients [ 0.475  0.507 -0.006], with column 0 times 1,000 [ 0.475  0.507 -0.006]
#   scikit-learn: coefficients [ 0.461  0.493 -0.005], with column 0 times 1,000 [ 1.626e+00  5.350e-01 -1.000e-03]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check dask-ml==2025.1.0 dask==2026.8.0 dask-glm==0.4.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import sklearn.linear_model
from dask_ml.linear_model import LogisticRegression

warnings.simplefilter("ignore")
print("dask-ml", version("dask-ml"), "scikit-learn", sklearn.__version__)
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 3))
y = (X @ [1.0, 1.0, 0.0] + 0.5 * rng.normal(size=300) > 0).astype(int)
unit = np.array([1000.0, 1.0, 1.0])
moved = {}
for name, make in (
    ("dask-ml", lambda: LogisticRegression(C=0.01, solver="lbfgs")),
    ("scikit-learn", lambda: sklearn.linear_model.LogisticRegression(C=0.01, tol=1e-8, max_iter=10_000)),
):
    plain, scaled = np.ravel(make().fit(X, y).coef_), np.ravel(make().fit(X * unit, y).coef_) * unit
    moved[name] = float(np.abs(plain - scaled).max())
    print(f"{name}: coefficients {plain.round(3)}, with column 0 times 1,000 {scaled.round(3)}")
if moved["dask-ml"] > 1e-3 or moved["scikit-learn"] < 0.1:
    sys.exit("no longer so: the penalty sees the units of the columns")
PYTHON
