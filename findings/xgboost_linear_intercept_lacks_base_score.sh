#!/usr/bin/env bash
# xgboost 3.2.0, booster="gblinear": coef_ and intercept_ do not give the margins that it predicts.
#
# Expected: margin = X @ coef_ + intercept_, which is what the two attributes are named after.
# Happens: base_score is estimated from the labels, its log-odds are added to every margin, and intercept_
# leaves them out. With base_score=0.5 given, they are zero and the formula holds.
# Why it matters: the model that an attack takes as its target, or that a check retrains, is shifted by
# the log-odds of the classes. Poison moves that hidden part as well, since it changes the labels' mean.
#
# Output seen:
#   xgboost 3.2.0
#   base_score=None: margin less X @ coef_ less intercept_: 0.52114 to 0.52116
#   base_score=0.5: margin less X @ coef_ less intercept_: -0.00001 to 0.00000
#   log-odds of the labels 0.52115
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check xgboost==3.2.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler

print("xgboost", xgboost.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
odds = float(np.log(y.mean() / (1 - y.mean())))
shift = {}
for base_score in (None, 0.5):
    model = xgboost.XGBClassifier(
        booster="gblinear", n_estimators=200, reg_lambda=1 / len(y), updater="coord_descent", base_score=base_score
    ).fit(X, y)
    rest = model.predict(X, output_margin=True) - (X @ np.ravel(model.coef_) + model.intercept_)
    shift[base_score] = float(np.median(rest))
    print(f"base_score={base_score}: margin less X @ coef_ less intercept_: {rest.min():.5f} to {rest.max():.5f}")
print(f"log-odds of the labels {odds:.5f}")
if abs(shift[None] - odds) > 1e-3 or abs(shift[0.5]) > 1e-3:
    sys.exit("no longer so: intercept_ is the whole intercept")
PYTHON
