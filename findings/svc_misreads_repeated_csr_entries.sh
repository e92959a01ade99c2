#!/usr/bin/env bash
# scikit-learn 1.9.1 with scipy 1.17.1: a CSR matrix that stores an entry in two halves is another
# matrix to SVC, StandardScaler, Normalizer and Binarizer, and the same one to LogisticRegression.
#
# Expected: entries of a CSR matrix that are stored twice are summed; toarray() does it and so does
# every product, so two matrices with equal toarray() give equal models and equal predictions.
# Happens: SVC multiplies stored entries pairwise, the scalers square or threshold them one at a time.
# No error is raised; StandardScaler alone warns, of the root of a negative variance, and returns
# values all the same. Even one fitted SVC predicts differently on two such equal matrices.
# Why it matters: appended rows or summed count tables easily carry repeated entries. A norm limit
# checked with Normalizer or a variance taken by StandardScaler is then not that of the rows, and a
# retrained SVC is not the one that the numbers describe. Call sum_duplicates() first.
#
# Output seen:
#   scikit-learn 1.9.1 scipy 1.17.1
#   LogisticRegression, largest difference of coefficients 3.4638958368304884e-14
#   SVC, largest difference of coefficients 1.1894500485851522 ; one fit, rows predicted differently 192 of 569
#   Normalizer largest difference 0.3282555180475194
#   StandardScaler largest difference 12.900739059450995
#   Binarizer largest difference 1.0
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import scipy
import scipy.sparse as sp
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import Binarizer, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC

warnings.simplefilter("ignore")
print("scikit-learn", sklearn.__version__, "scipy", scipy.__version__)
X, y = load_breast_cancer(return_X_y=True)
plain = sp.csr_matrix(MinMaxScaler().fit_transform(X))
halves = sp.csr_matrix((np.repeat(plain.data / 2, 2), np.repeat(plain.indices, 2), plain.indptr * 2), shape=plain.shape)
assert (halves.toarray() == plain.toarray()).all()

logistic = [LogisticRegression(tol=1e-8, max_iter=1000).fit(data.copy(), y) for data in (plain, halves)]
same = abs(logistic[0].coef_ - logistic[1].coef_).max()
print("LogisticRegression, largest difference of coefficients", same)

svc = [SVC(kernel="linear").fit(data.copy(), y) for data in (plain, halves)]
moved = abs((svc[0].coef_ - svc[1].coef_).toarray()).max()
flipped = int((svc[0].predict(plain.copy()) != svc[0].predict(halves.copy())).sum())
print("SVC, largest difference of coefficients", moved, "; one fit, rows predicted differently", flipped, "of", len(y))

steps = {}
for step in (Normalizer(), StandardScaler(with_mean=False), Binarizer(threshold=0.3)):
    a, b = (step.fit(data.copy()).transform(data.copy()).toarray() for data in (plain, halves))
    steps[type(step).__name__] = abs(a - b).max()
    print(type(step).__name__, "largest difference", steps[type(step).__name__])
if same > 1e-5 or moved < 0.1 or flipped < 10 or min(steps.values()) < 0.1:
    sys.exit("no longer so: repeated entries are summed first")
PYTHON
