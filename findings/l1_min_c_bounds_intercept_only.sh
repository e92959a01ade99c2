#!/usr/bin/env bash
# scikit-learn 1.9.1, l1_min_c: above the bound the l1 model still has no feature, up to twice the bound
# and more.
#
# Expected: just above l1_min_c the first feature enters, below it the model is empty; the regularisation
# path of a sparse model starts there.
# Happens: the intercept counts as a feature. On breast_cancer the bound is the C at which the penalised
# intercept of liblinear leaves zero; the features are all zero until C is between two and three times
# as large. With saga, whose intercept is free, the bound has no meaning: the first feature enters at
# another C.
# Why it matters: a path or a victim "at the edge of sparsity" that starts at l1_min_c holds constant
# models, and an attack on them attacks an intercept.
#
# Output seen:
#   scikit-learn 1.9.1
#   l1_min_c 0.013793
#   liblinear C = 0.99 l1_min_c: features 0, intercept 0.0000
#   liblinear C = 1.10 l1_min_c: features 0, intercept 0.0463
#   liblinear C = 1.25 l1_min_c: features 0, intercept 0.1020
#   liblinear C = 1.50 l1_min_c: features 0, intercept 0.1703
#   liblinear C = 2.00 l1_min_c: features 0, intercept 0.2562
#   liblinear C = 3.00 l1_min_c: features 1, intercept 1.2598
#   saga      C = 0.99 l1_min_c: features 0, intercept 0.6359
#   saga      C = 1.10 l1_min_c: features 0, intercept 0.5564
#   saga      C = 1.25 l1_min_c: features 0, intercept 0.5486
#   saga      C = 1.50 l1_min_c: features 1, intercept 0.5757
#   saga      C = 2.00 l1_min_c: features 1, intercept 1.3075
#   saga      C = 3.00 l1_min_c: features 1, intercept 2.2052
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
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import l1_min_c

print("scikit-learn", sklearn.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
least = l1_min_c(X, y, loss="log")
print(f"l1_min_c {least:.6f}")
features = {}
for solver, tol in (("liblinear", 1e-10), ("saga", 1e-8)):
    for factor in (0.99, 1.1, 1.25, 1.5, 2.0, 3.0):
        model = LogisticRegression(solver=solver, l1_ratio=1, C=factor * least, tol=tol, max_iter=100_000).fit(X, y)
        features[solver, factor] = int(np.count_nonzero(model.coef_))
        print(f"{solver:9s} C = {factor:4.2f} l1_min_c: features {features[solver, factor]}, intercept {model.intercept_[0]:.4f}")
if features["liblinear", 2.0] != 0 or features["liblinear", 3.0] == 0 or features["saga", 1.25] != 0:
    sys.exit("no longer so: a feature enters at l1_min_c")
PYTHON
