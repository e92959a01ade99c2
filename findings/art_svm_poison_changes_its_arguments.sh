#!/usr/bin/env bash
# adversarial-robustness-toolbox 1.20.1, PoisoningAttackSVM.poison: the rows handed over are moved, and the victim is left
# retrained.
#
# Expected: poison returns points and leaves its arguments alone.
# Happens: the first step is written into the array of starting points: with a slice of the training table, clean rows
# are moved. The estimator that was passed is the one of the last step when it returns, with one poisoned row.
# Why it matters: "accuracy before and after" compares a poisoned model with a poisoned model, on a table whose clean
# rows are no longer those of the file. Copy both first.
#
# Output seen:
#   adversarial-robustness-toolbox 1.20.1
#   training rows moved by [0.1 0.1 0.1 0. ] and no other
#   the victim's rows 31 of 30 coefficients [-2.61  -1.763] now [-2.423 -1.877]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    adversarial-robustness-toolbox==1.20.1 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 setuptools==65.5.0 six==1.17.0 tqdm==4.70.1 packaging==26.4
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore")
from art.attacks.poisoning import PoisoningAttackSVM
from art.estimators.classification import SklearnClassifier
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

name = "adversarial-robustness-toolbox"
print(name, version(name))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)[:, :2]
order = np.random.default_rng(0).permutation(len(y))
rows, labels, rows_val, labels_val = X[order[:30]], y[order[:30]], X[order[30:80]], y[order[30:80]]
victim = SVC(kernel="linear", C=1.0, probability=True, random_state=0)
wrapped = SklearnClassifier(victim, clip_values=(0.0, 1.0))
wrapped.fit(rows, np.eye(2)[labels])
before, coef = rows.copy(), victim.coef_.copy()
np.random.seed(0)
attack = PoisoningAttackSVM(
    wrapped, 0.1, 1e-3, rows, np.eye(2)[labels], rows_val, np.eye(2)[labels_val], 5, verbose=False
)
attack.poison(rows[:3], y=np.eye(2)[1 - labels[:3]])
moved = np.linalg.norm(rows - before, axis=1)
print("training rows moved by", moved[:4].round(3), "and no other" if not moved[3:].any() else "and others")
print("the victim's rows", victim.shape_fit_[0], "of", len(rows), "coefficients", coef[0].round(3), "now", victim.coef_[0].round(3))
if not (moved[:3] > 0.01).all() or victim.shape_fit_[0] != len(rows) + 1:
    sys.exit("no longer so: arguments are left alone")
PYTHON
