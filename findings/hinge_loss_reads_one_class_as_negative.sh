#!/usr/bin/env bash
# scikit-learn 1.9.1, metrics.hinge_loss: a subset whose rows are all of the positive class is scored as if all were
# of the negative one, with `labels` given too.
#
# Expected: the mean of max(0, 1 - y d); three rows of class 1 with decision value -2 have hinge loss 3. `labels` is
# there for the classes that a subset lacks.
# Happens: the labels are binarised anew for each call, and a single value becomes -1 whatever it is. Rows of class 1
# that are all wrong have loss 0, rows that are all right have loss 3. With one row of the other class it is right.
# For two classes `labels` changes nothing.
# Why it matters: poisoned rows are often of one class, and so are slices of an audit ("loss of the spam rows"). The
# worst slice reads as the best.
#
# Output seen:
#   scikit-learn 1.9.1
#   class 1, all wrong: 0
#   class 1, all wrong, labels=[-1, 1]: 0
#   class 1, all right: 3
#   class -1, all right: 0
#   'spam', all wrong, labels=['ham', 'spam']: 0
#   class 1, all wrong, and one row of class -1, right: 2.25
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import sklearn
from sklearn.metrics import hinge_loss

print("scikit-learn", sklearn.__version__)
wrong, right = [-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]
cases = {
    "class 1, all wrong": hinge_loss([1, 1, 1], wrong),
    "class 1, all wrong, labels=[-1, 1]": hinge_loss([1, 1, 1], wrong, labels=[-1, 1]),
    "class 1, all right": hinge_loss([1, 1, 1], right),
    "class -1, all right": hinge_loss([-1, -1, -1], wrong),
    "'spam', all wrong, labels=['ham', 'spam']": hinge_loss(["spam"] * 3, wrong, labels=["ham", "spam"]),
    "class 1, all wrong, and one row of class -1, right": hinge_loss([1, 1, 1, -1], wrong + [-2.0]),
}
for name, value in cases.items():
    print(f"{name}: {value:g}")
if list(cases.values()) != [0.0, 0.0, 3.0, 0.0, 0.0, 2.25]:
    sys.exit("no longer so: one class is scored by its label")
PYTHON
