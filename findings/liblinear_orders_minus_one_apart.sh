#!/usr/bin/env bash
# liblinear-official 2.50.0: the first row's label decides the sign of the weights, except for -1 and +1.
#
# Expected: one rule for the positive class, either the greater label (as in scikit-learn) or that of the
# first row (as the manual of the tool says).
# Happens: it is the first row's label for 0/1 and 1/2. For the pair -1/+1 it is +1 wherever that stands.
# So the same rows with labels written 0/1 or -1/+1 give weights of opposite sign, and turning the order
# of the rows round changes the sign for the one and not for the other.
# Why it matters: a model file is read by position. A poisoned file whose first row was appended on top
# flips the model of 0/1 labels; a reader that tested with -1/+1 does not notice.
#
# Output seen:
#   liblinear-official 2.50.0
#   labels  0 and 1, low label first : order in the model [0, 1], first weight -2.3159
#   labels  0 and 1, high label first: order in the model [1, 0], first weight +2.3159
#   labels  1 and 2, low label first : order in the model [1, 2], first weight -2.3159
#   labels  1 and 2, high label first: order in the model [2, 1], first weight +2.3159
#   labels -1 and 1, low label first : order in the model [1, -1], first weight +2.3159
#   labels -1 and 1, high label first: order in the model [1, -1], first weight +2.3159
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check liblinear-official==2.50.0 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import scipy.sparse as sp
from liblinear.liblinearutil import parameter, problem, train

print("liblinear-official", version("liblinear-official"))
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2))
positive = X[:, 0] + 0.3 * rng.normal(size=40) > 0
order = np.argsort(positive, kind="stable")
signs = {}
for low, high in ((0, 1), (1, 2), (-1, 1)):
    for name, rows in {"low label first": order, "high label first": order[::-1]}.items():
        y = np.where(positive, float(high), float(low))[rows]
        model = train(problem(y, sp.csr_matrix(X[rows])), parameter("-s 0 -q"))
        weight = model.get_decfun()[0][0]
        signs[low, high, name] = np.sign(weight)
        print(f"labels {low:2d} and {high}, {name:16s}: order in the model {model.get_labels()}, first weight {weight:+.4f}")
rule = [int(value) for value in signs.values()]
if rule != [-1, 1, -1, 1, 1, 1]:
    sys.exit("no longer so: one rule holds for all labels")
PYTHON
