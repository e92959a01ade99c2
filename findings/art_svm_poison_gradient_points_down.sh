#!/usr/bin/env bash
# adversarial-robustness-toolbox 1.20.1, PoisoningAttackSVM: the gradient of the attack points down the loss that it is to
# raise about as often as up.
#
# Expected: attack_gradient is the direction in which the validation loss of the retrained linear SVM grows; a short step
# along it raises that loss wherever the loss moves at all.
# Happens: two coordinates, 30 training rows, 40 starting points with the other label: by finite differences the direction
# goes up the validation hinge loss in less than three of five of them. Angles are large: it is not the scale that is
# wrong. The support vectors enter with the labels that the model predicts, not with their own.
# Why it matters: as a baseline it makes a victim look robust: the label flips that the points start from often do more
# harm than the points that come back. What a defence survives against it is no measure of anything.
#
# Output seen:
#   adversarial-robustness-toolbox 1.20.1
#   starts 38, direction uphill 21, a step of 0.01 raises the loss 21
#   cosine with the gradient by finite differences, quartiles [-0.62  0.04  0.58]
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
np.random.seed(0)
cosines, raised = [], []
for seed in range(8):
    order = np.random.default_rng(seed).permutation(len(y))
    train, val = order[:30], order[30:60]

    def loss(x, label):
        model = SVC(kernel="linear", C=1.0, tol=1e-10).fit(np.vstack([X[train], x]), np.r_[y[train], label])
        return np.maximum(0, 1 - (2 * y[val] - 1) * model.decision_function(X[val])).sum()

    victim = SVC(kernel="linear", C=1.0, probability=True, random_state=0)
    wrapped = SklearnClassifier(victim, clip_values=(0.0, 1.0))
    wrapped.fit(X[train], np.eye(2)[y[train]])
    attack = PoisoningAttackSVM(
        wrapped, 0.1, 1e-3, X[train], np.eye(2)[y[train]], X[val], np.eye(2)[y[val]], 2, verbose=False
    )
    for i in train[:5]:
        start, label = X[i], 1 - y[i]
        victim.fit(np.vstack([X[train], start]), np.r_[y[train], label])
        step = np.ravel(attack.attack_gradient(start[None]))
        slope = np.array([loss(start + d, label) - loss(start - d, label) for d in 1e-4 * np.eye(2)])
        if np.linalg.norm(slope) > 1e-6 and np.linalg.norm(step):
            cosines.append(step @ slope / np.linalg.norm(step) / np.linalg.norm(slope))
            raised.append(loss(start + 0.01 * step / np.linalg.norm(step), label) > loss(start, label))
print(f"starts {len(cosines)}, direction uphill {int((np.array(cosines) > 0).sum())}, a step of 0.01 raises the loss {sum(raised)}")
print("cosine with the gradient by finite differences, quartiles", np.quantile(cosines, [0.25, 0.5, 0.75]).round(2))
if len(cosines) < 20 or np.mean(np.array(cosines) > 0) > 0.6 or np.mean(raised) > 0.6:
    sys.exit("no longer so: the gradient points uphill")
PYTHON
