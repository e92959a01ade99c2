#!/usr/bin/env bash
# adversarial-robustness-toolbox 1.20.1: the loss gradient of an SVC is not zero where the loss is.
#
# Expected: the hinge loss of a row far beyond its margin is flat, so loss_gradient is zero there; it is
# what makes such rows no use to an attacker who follows the loss.
# Happens: loss_gradient returns plus or minus the weight vector for every row, the support vectors and
# the rows at margin 5 alike. It is the gradient of the signed margin, not of the loss the model is
# trained with. For LogisticRegression the gradient is that of the log loss.
# Why it matters: rows that a hinge attack cannot use look as good as those on the margin. A count of
# "influential rows" or a sum of gradients over a table from here does not vanish at the minimiser.
#
# Output seen:
#   adversarial-robustness-toolbox 1.20.1
#   rows beyond the margin 477 of 569, greatest margin 11.73
#   size of the gradient over |w|: beyond the margin 1.0000 to 1.0000, within 1.0000 to 1.0000
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check adversarial-robustness-toolbox==1.20.1 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 setuptools==65.5.0 six==1.17.0 tqdm==4.70.1 packaging==26.4
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")
import art
from art.estimators.classification import SklearnClassifier
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

print("adversarial-robustness-toolbox", art.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
model = SVC(kernel="linear")
wrapped = SklearnClassifier(model, clip_values=(0, 1))
wrapped.fit(X, np.eye(2)[y])
w = np.ravel(model.coef_)
margin = (2 * y - 1) * model.decision_function(X)
gradient = wrapped.loss_gradient(X, np.eye(2)[y])
size = np.linalg.norm(gradient, axis=1) / np.linalg.norm(w)
beyond = margin > 1.01
print(f"rows beyond the margin {int(beyond.sum())} of {len(y)}, greatest margin {margin.max():.2f}")
print(f"size of the gradient over |w|: beyond the margin {size[beyond].min():.4f} to {size[beyond].max():.4f}, within {size[~beyond].min():.4f} to {size[~beyond].max():.4f}")
if size[beyond].min() < 0.9:
    sys.exit("no longer so: the gradient is zero beyond the margin")
PYTHON
