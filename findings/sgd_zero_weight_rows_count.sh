#!/usr/bin/env bash
# scikit-learn 1.9.1, SGDClassifier: rows of weight zero weaken the data like a larger penalty.
#
# Expected: sample_weight 0 is the same as leaving the row out, as in LogisticRegression, LinearSVC and SVC.
# Happens: weights scale a row's step and not the shrinking of the coefficients, which is done once per row,
# so what is minimised is the weighted sum plus alpha times the number of rows, the empty ones
# included. As many rows of weight zero again double the penalty, and the fit lands on the minimiser
# for twice the alpha.
# Why it matters: masking rows by weights is the usual way to compute leave-out influence or to try a
# sanitiser. Here it compares models under different penalties, and reports an influence of rows that
# have none.
#
# Output seen:
#   scikit-learn 1.9.1
#   left out, to the minimiser for alpha       relative distance 0.0001
#   weight 0, to the minimiser for alpha       relative distance 0.2572
#   weight 0, to the minimiser for 2 alpha     relative distance 0.0013
#   LogisticRegression, left out to weight 0   relative distance 0.0000
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
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.preprocessing import MinMaxScaler

print("scikit-learn", sklearn.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
n, alpha = len(y), 0.01
X_twice, y_twice = np.vstack([X, X]), np.append(y, y)
mask = np.repeat([1.0, 0.0], n)


def sgd(X, y, weights=None):
    model = SGDClassifier(loss="log_loss", alpha=alpha, max_iter=2000, tol=None, random_state=0, average=n * 200)
    return model.fit(X, y, sample_weight=weights).coef_[0]


def exact(k, X=X, y=y, weights=None):
    model = LogisticRegression(C=1 / k, solver="newton-cholesky", tol=1e-12)
    return model.fit(X, y, sample_weight=weights).coef_[0]


once, masked = sgd(X, y), sgd(X_twice, y_twice, mask)
single, double = exact(alpha * n), exact(2 * alpha * n)
norm = np.linalg.norm(single)
near = {
    "left out, to the minimiser for alpha": np.linalg.norm(once - single) / norm,
    "weight 0, to the minimiser for alpha": np.linalg.norm(masked - single) / norm,
    "weight 0, to the minimiser for 2 alpha": np.linalg.norm(masked - double) / norm,
    "LogisticRegression, left out to weight 0": np.linalg.norm(single - exact(alpha * n, X_twice, y_twice, mask)) / norm,
}
for name, distance in near.items():
    print(f"{name:42s} relative distance {distance:.4f}")
first, second, third, fourth = near.values()
if first > 0.02 or third > 0.02 or second < 0.1 or fourth > 1e-6:
    sys.exit("no longer so: rows of weight zero are left out")
PYTHON
