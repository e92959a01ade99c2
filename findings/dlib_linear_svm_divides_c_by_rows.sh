#!/usr/bin/env bash
# dlib 20.0.1 (dlib-bin 20.0.1.post1): C of svm_c_trainer_linear is divided by the number of rows, C of
# svm_c_trainer_radial_basis is not; and the linear one alone penalises its intercept.
#
# Expected: set_c of two trainers with one name weighs the sum of the hinge losses, as in LIBSVM and LIBLINEAR.
# Happens: the kernel trainer is LIBSVM's SVC to a few 1e-6. The linear trainer at C is LinearSVC(loss="hinge") at
# C / n, with the intercept in the penalty. On 569 rows with C = 1 it puts every row into one class.
# Why it matters: a victim with "C = 1" is two models. The linear one has the penalty rows / C, as SGDClassifier's
# alpha: every poisoned row raises it.
#
# Output seen:
#   dlib 20.0.1
#   100 rows, C = 1: kernel trainer from SVC 1.1e-06, linear trainer from LinearSVC 3.0e+00, from SVC at C / n
#       5.4e-01, from LinearSVC at C / n 4.4e-16
#       accuracy of the linear trainer 0.650
#   569 rows, C = 1: kernel trainer from SVC 1.1e-06, linear trainer from LinearSVC 7.1e+00, from SVC at C / n
#       7.8e-01, from LinearSVC at C / n 8.9e-16
#       accuracy of the linear trainer 0.627
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    dlib-bin==20.0.1.post1 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import dlib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, LinearSVC

print("dlib", dlib.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)[:, :5]
s = 2.0 * y - 1


def train(trainer, C, X, s):
    trainer.set_c(C)
    trainer.epsilon = 1e-6
    rows, labels = dlib.vectors(), dlib.array()
    for x, label in zip(X, s):
        rows.append(dlib.vector(list(x)))
        labels.append(label)
    decide = trainer.train(rows, labels)
    return np.array([decide(row) for row in rows])


off = {}
for n in (100, 569):
    rows, labels = X[:n], s[:n]
    linear = train(dlib.svm_c_trainer_linear(), 1.0, rows, labels)
    trainer = dlib.svm_c_trainer_radial_basis()
    trainer.gamma = 1.0
    kernel = train(trainer, 1.0, rows, labels)
    options = {"loss": "hinge", "tol": 1e-9, "max_iter": 1_000_000}
    off[n] = (
        np.abs(kernel - SVC(C=1.0, gamma=1.0, tol=1e-8).fit(rows, labels).decision_function(rows)).max(),
        np.abs(linear - LinearSVC(C=1.0, **options).fit(rows, labels).decision_function(rows)).max(),
        np.abs(linear - SVC(kernel="linear", C=1.0 / n, tol=1e-8).fit(rows, labels).decision_function(rows)).max(),
        np.abs(linear - LinearSVC(C=1.0 / n, **options).fit(rows, labels).decision_function(rows)).max(),
    )
    names = ("kernel trainer from SVC", "linear trainer from LinearSVC", "from SVC at C / n", "from LinearSVC at C / n")
    print(f"{n} rows, C = 1:", ", ".join(f"{name} {value:.1e}" for name, value in zip(names, off[n])))
    print(f"    accuracy of the linear trainer {(np.sign(linear) == labels).mean():.3f}")
if any(k > 1e-4 or a < 0.1 or b < 0.1 or c > 1e-4 for k, a, b, c in off.values()):
    sys.exit("no longer so: both trainers read C alike")
PYTHON
