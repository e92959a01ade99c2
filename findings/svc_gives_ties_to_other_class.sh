#!/usr/bin/env bash
# scikit-learn 1.9.1: at a decision value of exactly zero SVC predicts the other class than all the other
# linear classifiers.
#
# Expected: predict returns classes_[1] where decision_function is above zero, so a tie is classes_[0].
# Happens: it is so for LinearSVC, LogisticRegression, RidgeClassifier, SGDClassifier and Perceptron. For
# SVC the tie is classes_[1]: libsvm counts from the other side, and decision_function is its value
# with the sign turned round (the tie prints as -0.0).
# Why it matters: with small whole numbers as features ties do occur. A certificate "cannot be flipped"
# needs a strict inequality on the right side, and the right side depends on the class of estimator.
#
# Output seen:
#   scikit-learn 1.9.1
#   SVC                 decision value -0.0  prediction 1
#   LinearSVC           decision value 0.0   prediction 0
#   LogisticRegression  decision value 0.0   prediction 0
#   RidgeClassifier     decision value 0.0   prediction 0
#   SGDClassifier       decision value 0.0   prediction 0
#   Perceptron          decision value 0.0   prediction 0
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.svm import SVC, LinearSVC

print("scikit-learn", sklearn.__version__)
X = np.array([[-2.0], [-1.0], [0.0], [0.0], [1.0], [2.0]])
y = np.array([0, 0, 0, 1, 1, 1])
tie = np.array([[0.0]])
found = {}
for model in (
    SVC(kernel="linear"),
    LinearSVC(fit_intercept=False),
    LogisticRegression(fit_intercept=False),
    RidgeClassifier(fit_intercept=False),
    SGDClassifier(fit_intercept=False),
    Perceptron(fit_intercept=False),
):
    model.fit(X, y)
    value = float(model.decision_function(tie)[0])
    found[type(model).__name__] = value, int(model.predict(tie)[0])
    print(f"{type(model).__name__:19s} decision value {value!r:5s} prediction {found[type(model).__name__][1]}")
if any(value != 0 for value, _ in found.values()) or found.pop("SVC")[1] != 1 or any(label for _, label in found.values()):
    sys.exit("no longer so: ties go to the same class")
PYTHON
