#!/usr/bin/env bash
# nyoka 5.5.0: PMML with sixteen decimals of every coefficient, whatever its size, so small ones become 0.
#
# Expected: the digits that a double has, as Python's repr or as sklearn2pmml writes them.
# Happens: numbers are written with sixteen digits after the point. On features of size 1e15 (nanoseconds, bytes, counts of
# a network) coefficients of 1e-16 keep one digit or none: the file's model gives every row one label.
# Why it matters: a model that is read from such a file is another one, and no digit in the file tells.
#
# Output seen:
#   nyoka 5.5.0
#   coefficients [ 1.96606256e-17 -7.87528878e-19] in the file ['0.0000000000000000', '-0.0000000000000000']
#   accuracy of the model 0.840, of the file's 0.540
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check nyoka==5.5.0 scikit-learn==1.9.1 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from nyoka import skl_to_pmml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

print("nyoka", version("nyoka"))
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 2))
y = (X[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(int)
model = LogisticRegression().fit(X, y)
model.coef_ /= 2.0**57  # the model of the features in a unit of 7e-18: exactly as good on X * 2**57
rows = X * 2.0**57
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "model.pmml")
    skl_to_pmml(Pipeline([("model", model)]), ["sent", "received"], "label", str(path))
    text = path.read_text()
found = re.findall(r'coefficient="([^"]*)"', text)
coef = np.array(found, dtype=float)
intercept = float(re.search(r'intercept="([^"]*)" targetCategory="1"', text)[1])
print("coefficients", model.coef_[0], "in the file", found)
own, read = model.score(rows, y), float(np.mean((rows @ coef + intercept > 0) == y))
print(f"accuracy of the model {own:.3f}, of the file's {read:.3f}")
if np.any(coef) or own < 0.8:
    sys.exit("no longer so: small coefficients keep their digits")
PYTHON
