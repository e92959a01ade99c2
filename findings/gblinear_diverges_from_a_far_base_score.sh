#!/usr/bin/env bash
# xgboost 3.2.0: a linear booster whose base_score is far from the share of ones ends at an intercept of 1e15.
#
# Expected: base_score is where the training starts. The objective (log loss plus an l2 penalty) is strictly convex, so
# every start ends at the same model, and a bad start takes more rounds.
# Happens: with 63 % of ones, base_score 0.5 and 0.9 end at the same model (losses equal to 4 digits). From 0.95 the
# rounds run off: after 100 rounds the intercept is beyond 1e12 and every row gets one label, after 3,000 still. No
# warning is given. A round is a Newton step of the intercept with the second derivative p (1 - p), which is small
# where p is near 0 or 1: the step overshoots, to where the derivative is smaller yet.
# Why it matters: base_score set by hand to a rate known from elsewhere is a usual thing with rare classes. Whoever
# compares such a model with the minimum that theory speaks of, or retrains it on poisoned rows, sees a broken trainer
# and may take it for the effect of the rows.
#
# Output seen:
#   xgboost 3.2.0
#   base_score 0.50: log loss 0.2106, accuracy 0.951, intercept 5.42
#   base_score 0.90: log loss 0.2106, accuracy 0.951, intercept 3.22
#   base_score 0.97: log loss beyond 1e9, accuracy of one label for all, intercept beyond 1e9
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check xgboost==3.2.0 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler

print("xgboost", xgboost.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
seen = {}
for start in (0.5, 0.9, 0.97):
    model = xgboost.XGBClassifier(
        booster="gblinear", reg_lambda=0.01, base_score=start, n_estimators=3000, updater="coord_descent", n_jobs=1
    ).fit(X, y)
    margin = (2 * y - 1) * model.predict(X, output_margin=True).astype(float)
    loss, intercept = float(np.mean(np.logaddexp(0.0, -margin))), abs(float(np.ravel(model.intercept_)[0]))
    labels = len(np.unique(model.predict(X)))
    seen[start] = loss, intercept, labels
    if loss > 1e9:
        words = f"log loss beyond 1e9, accuracy of {'one label for all' if labels == 1 else 'two labels'}"
        print(f"base_score {start:.2f}: {words}, intercept {'beyond 1e9' if intercept > 1e9 else intercept}")
    else:
        print(f"base_score {start:.2f}: log loss {loss:.4f}, accuracy {model.score(X, y):.3f}, intercept {intercept:.2f}")
alike = abs(seen[0.5][0] - seen[0.9][0]) < 1e-3 and seen[0.5][0] < 0.3
off = seen[0.97][0] > 1e9 and seen[0.97][1] > 1e9 and seen[0.97][2] == 1
if not (alike and off):
    sys.exit("no longer so: every start ends at the same model")
PYTHON
