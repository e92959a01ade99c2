#!/usr/bin/env bash
# scikit-learn 1.9.1, LogisticRegression(warm_start=True): retrained with three poisoned rows more, the
# coefficients stay the same to the last bit.
#
# Expected: starting from the old solution is a faster way to the new one; a few rows among 100,000
# move it by a little, and that little can be read off.
# Happens: the solver stops once the gradient of the mean loss is below tol=1e-4 in every coordinate.
# One row more changes that gradient by about 1/n, so with n = 100,000 the old model already passes
# the test: zero iterations, difference exactly 0.0, no warning. The exact minimiser moves by more
# than the model's own distance from it.
# Why it matters: influence measured by warm retraining reads "these rows have no effect" where the
# effect is real. The default tolerance is worth several poisoned rows, and the more data the more.
#
# Output seen:
#   scikit-learn 1.9.1
#     1 rows more: warm retraining moves 0.00e+00 in 0 iterations, the minimiser 6.48e-04
#     3 rows more: warm retraining moves 0.00e+00 in 0 iterations, the minimiser 1.94e-03
#    30 rows more: warm retraining moves 1.98e-02 in 3 iterations, the minimiser 1.93e-02
#   distance of the default fit from the minimiser 5.18e-04
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
from sklearn.linear_model import LogisticRegression

print("scikit-learn", sklearn.__version__)
rng = np.random.default_rng(0)
n = 100_000
X = rng.normal(size=(n, 10))
direction = rng.normal(size=10)
y = (X @ direction + rng.logistic(size=n) > 0).astype(int)

exact = {"solver": "newton-cholesky", "tol": 1e-12}
first = LogisticRegression(warm_start=True).fit(X, y)
before = LogisticRegression(**exact).fit(X, y)
moved = {}
for rows in (1, 3, 30):
    X_more = np.vstack([X, np.tile(-np.sign(direction), (rows, 1))])
    y_more = np.append(y, np.ones(rows, dtype=int))
    again = LogisticRegression(warm_start=True).fit(X, y)
    start = again.coef_.copy()
    again.fit(X_more, y_more)
    moved[rows] = np.linalg.norm(again.coef_ - start)
    true = np.linalg.norm(LogisticRegression(**exact).fit(X_more, y_more).coef_ - before.coef_)
    print(f"{rows:3d} rows more: warm retraining moves {moved[rows]:.2e} in {again.n_iter_[0]} iterations, the minimiser {true:.2e}")
print(f"distance of the default fit from the minimiser {np.linalg.norm(first.coef_ - before.coef_):.2e}")
if moved[1] != 0 or moved[3] != 0 or moved[30] == 0:
    sys.exit("no longer so: warm retraining sees three rows")
PYTHON
