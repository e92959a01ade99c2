#!/usr/bin/env bash
# xgboost 3.2.0, booster="gblinear": base_score is a probability for "binary:logistic", a margin for "binary:logitraw".
#
# Expected: the two objectives are one, and differ in whether predictions go through the logistic function: the
# same base_score means the same.
# Happens: 0.3 adds log(0.3 / 0.7) = -0.847 to every margin with the one, and +0.3 with the other. The default of the
# first is the share of the positive class, of which the second takes no logarithm either.
# Why it matters: whoever reads a saved model has to know the objective to know the intercept; the number alone is off
# by more than the whole intercept, and the label of rows near the boundary turns.
#
# Output seen:
#   xgboost 3.2.0
#   binary:logistic, base_score=0.3: -0.8473 is added to every margin
#   binary:logitraw, base_score=0.3: +0.3000 is added to every margin
#   log(0.3 / 0.7) = -0.8473
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

print("xgboost", xgboost.__version__)
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3))
y = (X[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(int)
added = {}
for objective in ("binary:logistic", "binary:logitraw"):
    model = xgboost.XGBClassifier(
        booster="gblinear", n_estimators=200, updater="coord_descent", objective=objective, base_score=0.3
    ).fit(X, y)
    rest = model.predict(X, output_margin=True) - (X @ np.ravel(model.coef_) + model.intercept_)
    added[objective] = float(np.median(rest))
    print(f"{objective}, base_score=0.3: {added[objective]:+.4f} is added to every margin")
print(f"log(0.3 / 0.7) = {np.log(0.3 / 0.7):.4f}")
if abs(added["binary:logistic"] - np.log(0.3 / 0.7)) > 1e-3 or abs(added["binary:logitraw"] - 0.3) > 1e-3:
    sys.exit("no longer so: base_score means the same in both")
PYTHON
