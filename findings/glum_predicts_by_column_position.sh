#!/usr/bin/env bash
# glum 3.4.1: a data frame with its columns in another order is predicted by position, without a word.
#
# Expected: columns are matched by name, or refused, as by the estimators of scikit-learn, whose interface it has; the
# model keeps the names (feature_names_).
# Happens: predict takes the columns as they stand. A table whose columns were sorted gets other probabilities.
# Why it matters: poisoned rows that are put back into a table whose columns moved train one model and are judged
# by another; nothing tells.
#
# Output seen:
#   glum 3.4.1
#   names kept by the model ['age', 'hours', 'gain']
#   largest difference of probabilities for the same rows 0.90
#   scikit-learn: The feature names should match those that were passed during fit.
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check glum==3.4.1 pandas==3.1.1 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import glum
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

print("glum", glum.__version__)
rng = np.random.default_rng(0)
table = pd.DataFrame(rng.normal(size=(200, 3)), columns=["age", "hours", "gain"])
y = (table["age"] + 0.5 * rng.normal(size=200) > 0).astype(int)
model = glum.GeneralizedLinearRegressor(family="binomial", alpha=0.1, l1_ratio=0).fit(table, y)
turned = table[["gain", "hours", "age"]]
apart = float(np.abs(model.predict(turned) - model.predict(table)).max())
print("names kept by the model", list(model.feature_names_))
print(f"largest difference of probabilities for the same rows {apart:.2f}")
try:
    LogisticRegression().fit(table, y).predict(turned)
    print("scikit-learn: predicts")
except ValueError as error:
    print("scikit-learn:", str(error).splitlines()[0])
if apart < 0.1:
    sys.exit("no longer so: columns are matched by name")
PYTHON
