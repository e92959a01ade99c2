#!/usr/bin/env bash
# river 0.26.1, LogisticRegression(l2=...): {"a": 1.0} and {"a": 1.0, "b": 0.0} train different models.
#
# Expected: a feature that is left out of the dictionary counts as zero, so sparse and dense dictionaries
# of the same rows give the same weights; without penalty they do.
# Happens: the penalty shrinks the weights of the features that stand in the dictionary alone. Written
# densely all weights shrink at every row, written sparsely only at the rows that name them, and with
# l2=0.1 the weights differ by a factor of three.
# Why it matters: there is no objective of the form loss plus k/2 |w|^2 that the sparse run minimises; its
# k differs from feature to feature with the feature's frequency, and poison that names a feature with
# the value 0 shrinks its weight.
#
# Output seen:
#   river 0.26.1
#   l2=0.0: first weights dense [3.6352, -3.287, -0.1705] sparse [3.6352, -3.287, -0.1705]
#   l2=0.1: first weights dense [0.433, -0.7248, -0.1037] sparse [1.5929, -1.431, -0.1675]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check river==0.26.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from river import linear_model, optim

print("river", version("river"))
rng = np.random.default_rng(0)
rows = []
for _ in range(2000):
    x = {f"x{j}": float(rng.random() < 0.2) for j in range(6)}
    rows.append((x, bool(x["x0"] - x["x1"] + 0.3 * rng.normal() > 0)))
apart = {}
for l2 in (0.0, 0.1):
    dense, sparse = (linear_model.LogisticRegression(optimizer=optim.SGD(0.1), l2=l2) for _ in range(2))
    for x, label in rows:
        dense.learn_one(x, label)
        sparse.learn_one({name: value for name, value in x.items() if value}, label)
    weights = [[round(model.weights[f"x{j}"], 4) for j in range(3)] for model in (dense, sparse)]
    apart[l2] = abs(weights[0][0] - weights[1][0])
    print(f"l2={l2}: first weights dense {weights[0]} sparse {weights[1]}")
if apart[0.0] > 1e-9 or apart[0.1] < 0.5:
    sys.exit("no longer so: the penalty reaches absent features")
PYTHON
