#!/usr/bin/env bash
# snapml 1.17.2, LogisticRegression(intercept_scaling=10): intercept_ is ten times too small.
#
# Expected: the arguments are those of scikit-learn's liblinear, where intercept_ has intercept_scaling
# multiplied in, so margins are X @ coef_ + intercept_.
# Happens: intercept_ is the raw weight of the artificial column. The model's own predict multiplies it;
# whoever reads coef_ and intercept_ gets a model of accuracy 0.37 where predict has 0.97.
# Why it matters: a target model or an induced model taken from the attributes is another one than the
# victim. A first check is to compare the sign of X @ coef_ + intercept_ with predict.
#
# Output seen:
#   snapml 1.17.2
#   intercept_scaling=1: intercept_ 5.9145, accuracy from the attributes 0.9666, with the intercept multiplied 0.9666,
#       of predict 0.9666
#   intercept_scaling=10: intercept_ 0.9124, accuracy from the attributes 0.3726, with the intercept multiplied 0.9719,
#       of predict 0.9719
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check snapml==1.17.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler
from snapml import LogisticRegression

warnings.simplefilter("ignore")
print("snapml", version("snapml"))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
found = {}
for scaling in (1.0, 10.0):
    model = LogisticRegression(regularizer=1.0, fit_intercept=True, intercept_scaling=scaling, tol=1e-9, max_iter=5000)
    model.fit(X, y)
    product, b = X @ np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])
    found[scaling] = [float((part == y).mean()) for part in (product + b > 0, product + scaling * b > 0, model.predict(X))]
    print(f"intercept_scaling={scaling:g}: intercept_ {b:.4f}, accuracy from the attributes {found[scaling][0]:.4f}, with the intercept multiplied {found[scaling][1]:.4f}, of predict {found[scaling][2]:.4f}")
if found[10.0][0] > 0.6 or found[10.0][1] != found[10.0][2] or found[1.0][0] != found[1.0][2]:
    sys.exit("no longer so: intercept_ is the intercept")
PYTHON
