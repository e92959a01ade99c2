#!/usr/bin/env bash
# shap 0.51.0, LinearExplainer: the baseline is the mean of a hundred rows of the table, not of the table.
#
# Expected: for a linear model the value of a feature is w_j (x_j - mean of the column): the exact answer costs one pass
# over the table that was given, and expected_value is the mean decision value of its rows.
# Happens: of more than 100 rows, 100 are drawn with a fixed seed, without a word. The same rows in another order have
# another expected_value (0.32 for 0.56, where the mean is 0.68) and give other values for every feature of every row.
# Given the column means as the one row of background, it is exact.
# Why it matters: what an attack moved is read off such values before and after. Appending three rows redraws the
# hundred, and the values of clean rows move though the model did not.
#
# Output seen:
#   shap 0.51.0 scikit-learn 1.9.1
#   mean decision value 0.6759, deviation 3.9614
#   background the table: expected_value 0.5580, largest error of a value 0.0446
#   background its rows from the last to the first: expected_value 0.3184, largest error of a value 0.0481
#   background three rows more: expected_value 0.5361, largest error of a value 0.0249
#   background the column means: expected_value 0.6759, largest error of a value 0.0000
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check shap==0.51.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import shap
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

print("shap", version("shap"), "scikit-learn", version("scikit-learn"))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
model = LogisticRegression().fit(X, y)
scores = model.decision_function(X)
exact = model.coef_ * (X - X.mean(axis=0))
more = np.vstack([X, X[:3]])
tables = {"the table": X, "its rows from the last to the first": X[::-1], "three rows more": more, "the column means": X.mean(axis=0, keepdims=True)}
print(f"mean decision value {scores.mean():.4f}, deviation {scores.std():.4f}")
off = {}
for name, table in tables.items():
    explainer = shap.LinearExplainer(model, table)
    values = explainer.shap_values(X)
    base = float(np.ravel(explainer.expected_value)[0])
    off[name] = abs(base - scores.mean()), float(np.abs(values - exact).max())
    print(f"background {name}: expected_value {base:.4f}, largest error of a value {off[name][1]:.4f}")
if off["the table"][0] < 0.05 or off["the table"][1] < 0.02 or off["its rows from the last to the first"][0] < 0.05 or off["the column means"][1] > 1e-6:
    sys.exit("no longer so: the whole table is the background")
PYTHON
