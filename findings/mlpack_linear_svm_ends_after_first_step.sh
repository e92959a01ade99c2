#!/usr/bin/env bash
# mlpack 4.8.0 (Python): `linear_svm` with its L-BFGS returns much the same model for lambda = 0.0001 and for 0.01, with a
# mean hinge loss ten times that of an SVM trained to its end, at 10,000 iterations allowed and a tolerance of 1e-10.
#
# Expected: an optimiser that has iterations left goes on; 100 times the regularisation makes a smaller model.
# Happens: the hinge has no gradient where rows lie on the margin, the line search finds no step there, and what the
# first steps have made is returned without a word. With lambda = 1 the model is the random start, next to zero.
# Why it matters here: a poisoning computed for the minimiser of that objective says nothing about such a model.
#
# Output seen:
#   lambda 0.0001: |w, b| 1.414, mean hinge loss 0.586
#   lambda 0.01: |w, b| 1.414, mean hinge loss 0.586
#   lambda 1: |w, b| 0.000, mean hinge loss 1.000
#   scikit-learn, alpha = 0.0001 / 2: |w, b| 20.983, mean hinge loss 0.043
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check mlpack==4.8.0 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import mlpack
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

X, y = load_breast_cancer(return_X_y=True)
X, sign = MinMaxScaler().fit_transform(X), np.where(y == 1, 1.0, -1.0)
n, d = X.shape


def model(regularisation):
    made = mlpack.linear_svm(
        training=X, labels=y.astype(np.uint64), lambda_=regularisation, delta=1.0, num_classes=2,
        max_iterations=10_000, tolerance=1e-10, optimizer="lbfgs", seed=1,
    )
    read = mlpack.linear_svm(input_model=made["output_model"], test=np.vstack([np.zeros(d), np.eye(d)]))
    score = read["probabilities"][:, 1] - read["probabilities"][:, 0]  # w . x + b at 0 and at the unit vectors
    return np.append(score[1:] - score[0], score[0])


def loss(v):
    return float(np.maximum(0.0, 1.0 - sign * (X @ v[:-1] + v[-1])).mean())


seen = {}
for regularisation in (1e-4, 1e-2, 1.0):
    v = model(regularisation)
    seen[regularisation] = np.linalg.norm(v), loss(v)
    print(f"lambda {regularisation:g}: |w, b| {seen[regularisation][0]:.3f}, mean hinge loss {seen[regularisation][1]:.3f}")
svm = LinearSVC(loss="hinge", C=2.0 / (1e-4 * n), tol=1e-8, max_iter=10**6).fit(X, sign)
best = np.append(svm.coef_.ravel(), svm.intercept_)
print(f"scikit-learn, alpha = 0.0001 / 2: |w, b| {np.linalg.norm(best):.3f}, mean hinge loss {loss(best):.3f}")
same = abs(seen[1e-4][0] - seen[1e-2][0]) < 0.05 * seen[1e-2][0]
if not (same and seen[1e-4][1] > 5.0 * loss(best) and seen[1.0][0] < 0.01):
    sys.exit("no longer so: lambda is seen, or the optimiser goes on")
PYTHON
