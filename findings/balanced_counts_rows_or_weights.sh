#!/usr/bin/env bash
# scikit-learn 1.9.1, class_weight="balanced": some classifiers balance rows, others balance weights.
#
# Expected: fit(X, y, sample_weight=w) with whole numbers w is fit on the rows repeated w times; and
# the same word "balanced" means the same in every linear classifier of one release.
# Happens: LogisticRegression and LinearSVC count the weights, so weights and repeated rows agree.
# SVC, RidgeClassifier and SGDClassifier count rows: the weighted fit is another model than the
# repeated one, with no message. (For SGDClassifier the penalty differs too, so it is left out here.)
# Why it matters: poison handed over as weights (three copies of a point) moves the class weights of
# one victim and not those of the other. An audit by weights is exact for the first two alone.
#
# Output seen:
#   scikit-learn 1.9.1
#   LogisticRegression  class_weight=None: weights against repeated rows, relative distance 9.2e-12
#   LogisticRegression  class_weight=balanced: weights against repeated rows, relative distance 2.5e-15
#   LinearSVC           class_weight=None: weights against repeated rows, relative distance 1.6e-11
#   LinearSVC           class_weight=balanced: weights against repeated rows, relative distance 5.0e-08
#   RidgeClassifier     class_weight=None: weights against repeated rows, relative distance 6.8e-14
#   RidgeClassifier     class_weight=balanced: weights against repeated rows, relative distance 5.1e-01
#   SVC                 class_weight=None: weights against repeated rows, relative distance 3.3e-09
#   SVC                 class_weight=balanced: weights against repeated rows, relative distance 2.5e-01
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
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, LinearSVC

print("scikit-learn", sklearn.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
weights = np.where(y == 1, 3, 1)
X_repeated, y_repeated = np.repeat(X, weights, axis=0), np.repeat(y, weights)

apart = {}
for name, make in {
    "LogisticRegression": lambda c: LogisticRegression(class_weight=c, tol=1e-10, max_iter=10_000),
    "LinearSVC": lambda c: LinearSVC(class_weight=c, tol=1e-10, max_iter=10_000),
    "RidgeClassifier": lambda c: RidgeClassifier(class_weight=c),
    "SVC": lambda c: SVC(kernel="linear", class_weight=c, tol=1e-8),
}.items():
    for class_weight in (None, "balanced"):
        weighted = make(class_weight).fit(X, y, sample_weight=weights.astype(float))
        repeated = make(class_weight).fit(X_repeated, y_repeated)
        apart[name, class_weight] = np.linalg.norm(weighted.coef_ - repeated.coef_) / np.linalg.norm(repeated.coef_)
        print(f"{name:19s} class_weight={class_weight}: weights against repeated rows, relative distance {apart[name, class_weight]:.1e}")

same = max(apart[key] for key in apart if key[1] is None or key[0] in ("LogisticRegression", "LinearSVC"))
if same > 0.02 or apart["RidgeClassifier", "balanced"] < 0.1 or apart["SVC", "balanced"] < 0.05:
    sys.exit("no longer so: balanced counts the same thing in all of them")
PYTHON
