#!/usr/bin/env bash
# scikit-learn 1.9.1, LogisticRegression with default solver and tolerance: features of size 0.001 are not
# trained at all, and no warning says so.
#
# Expected: X / 1000 with C * 10**6 is the same problem in other units; lbfgs may take more iterations, or
# end with a ConvergenceWarning.
# Happens: the stopping rule is absolute, 1e-4 on each coordinate of the mean loss's gradient, and that
# gradient is about as small as the features. After a handful of iterations, spent on the intercept,
# the fit counts as converged: coefficients are a millionth of the minimiser's and every row gets the
# larger class. newton-cholesky with a tight tolerance solves it.
# Why it matters: relative frequencies and normalised counts have that size. The clean model that poison is
# measured against is then no model, any attack on it "succeeds" or "fails" for that reason alone.
#
# Output seen:
#   scikit-learn 1.9.1
#   features times 1: |w| over that of the minimiser 1.00e+00, iterations 13, warnings 0, accuracy 0.972 instead of
#       0.972
#   features times 0.1: |w| over that of the minimiser 9.96e-01, iterations 24, warnings 0, accuracy 0.972 instead of
#       0.972
#   features times 0.01: |w| over that of the minimiser 8.51e-01, iterations 17, warnings 0, accuracy 0.937 instead of
#       0.972
#   features times 0.001: |w| over that of the minimiser 4.34e-07, iterations 4, warnings 0, accuracy 0.627 instead of
#       0.972
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

print("scikit-learn", sklearn.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
found = {}
for scale in (1.0, 0.1, 0.01, 0.001):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(C=1 / scale**2).fit(X * scale, y)
    exact = LogisticRegression(C=1 / scale**2, solver="newton-cholesky", tol=1e-12).fit(X * scale, y)
    ratio = float(np.linalg.norm(model.coef_) / np.linalg.norm(exact.coef_))
    found[scale] = ratio, len(caught), float(model.score(X * scale, y)), float(exact.score(X * scale, y))
    print(f"features times {scale:g}: |w| over that of the minimiser {ratio:.2e}, iterations {model.n_iter_[0]}, warnings {len(caught)}, accuracy {found[scale][2]:.3f} instead of {found[scale][3]:.3f}")
if found[0.001][0] > 0.01 or found[0.001][1] != 0 or not 0.9 < found[1.0][0] < 1.1:
    sys.exit("no longer so: small features are trained or warned about")
PYTHON
