#!/usr/bin/env bash
# OpenCV 4.14.0 (opencv-python-headless), ml.LogisticRegression: every row twice is half the model, and the default one
# has learnt next to nothing.
#
# Expected: gradient descent on the mean log loss, so every row twice makes the same steps; at worst the default of 1,000
# steps of 0.001 is short.
# Happens: the gradient is divided by the number of rows twice. The model is that of gradient descent with a step of
# learning rate / rows, so 569 rows need 569 times the steps, and every row twice halves what is learnt. At the default
# all coefficients are below 0.001 and 65 % of the rows right. REG_L1 and REG_L2 give one model, to the last bit.
# Why it matters: the victim is a point on the way to the minimum, and where depends on the number of rows: poison slows
# the training of the clean rows down. No penalised objective is what this trainer minimises.
#
# Output seen:
#   opencv 4.14.0
#   learning rate 1, 2,000 steps: norm 0.5515, every row twice 0.2886
#   own gradient descent: step 1 norm 18.6185, step 1 / rows norm 0.5515
#   default: largest coefficient 2.2e-04, accuracy 0.650
#   REG_L1 and REG_L2 give the same coefficients: True
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    opencv-python-headless==4.14.0.94 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler

print("opencv", cv2.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X).astype(np.float32)
y = y.astype(np.float32)


def train(X, y, steps=2000, penalty=-1):
    model = cv2.ml.LogisticRegression_create()
    model.setLearningRate(1.0)
    model.setIterations(steps)
    model.setTermCriteria((3, steps, 1e-12))
    model.setTrainMethod(0)
    model.setRegularization(penalty)
    model.train(X, cv2.ml.ROW_SAMPLE, y)
    return np.ravel(model.get_learnt_thetas())


def descend(step, steps=2000):
    A, theta = np.c_[np.ones(len(X)), X].astype(float), np.zeros(31)
    for _ in range(steps):
        theta -= step * A.T @ (1 / (1 + np.exp(-A @ theta)) - y) / len(y)
    return theta


once, twice = train(X, y), train(np.vstack([X, X]), np.r_[y, y])
norm = np.linalg.norm
print(f"learning rate 1, 2,000 steps: norm {norm(once):.4f}, every row twice {norm(twice):.4f}")
print(f"own gradient descent: step 1 norm {norm(descend(1.0)):.4f}, step 1 / rows norm {norm(descend(1 / len(y))):.4f}")
default = cv2.ml.LogisticRegression_create()
default.train(X, cv2.ml.ROW_SAMPLE, y)
labels = np.ravel(default.predict(X)[1])
largest = np.abs(default.get_learnt_thetas()).max()
print(f"default: largest coefficient {largest:.1e}, accuracy {(labels == y).mean():.3f}")
same = bool((train(X, y, penalty=cv2.ml.LogisticRegression_REG_L1) == train(X, y, penalty=cv2.ml.LogisticRegression_REG_L2)).all())
print("REG_L1 and REG_L2 give the same coefficients:", same)
if abs(norm(twice) / norm(once) - 0.5) > 0.05 or norm(once - descend(1 / len(y))) > 1e-4 or largest > 1e-3:
    sys.exit("no longer so: the step does not depend on the number of rows")
if not same:
    sys.exit("no longer so: REG_L1 and REG_L2 differ")
PYTHON
