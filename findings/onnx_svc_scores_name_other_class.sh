#!/usr/bin/env bash
# skl2onnx 1.20.0 with onnxruntime 1.32.0: for SVC the class with the highest score is the class that is
# not predicted, on every row.
#
# Expected: a converted classifier gives the label and a map from class to score; the label is the class
# with the highest score. For SGDClassifier it is so.
# Happens: for a two-class SVC without probabilities the map gives class 0 the decision value of class 1
# and class 1 its negative: label 0 comes with {0: -4.8, 1: +4.8}. Labels agree with scikit-learn's,
# scores agree with decision_function in size, and their order is turned round.
# Why it matters: who reads margins from the exported file to audit or attack a deployed model takes the
# gradient's sign from the scores and moves every point the wrong way. Check the sign against a label.
#
# Output seen:
#   skl2onnx 1.20.0 onnxruntime 1.32.0 scikit-learn 1.9.1
#   SGDClassifier: first row label 0, decision value -16.498, scores {0: 16.497549057006836, 1: -16.497549057006836}
#     labels as in scikit-learn 1.000, label has the highest score 1.000
#   SVC: first row label 0, decision value -4.787, scores {0: -4.7870330810546875, 1: 4.7870330810546875}
#     labels as in scikit-learn 1.000, label has the highest score 0.000
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check skl2onnx==1.20.0 onnxruntime==1.32.0 onnx==1.23.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

warnings.simplefilter("ignore")
print("skl2onnx", version("skl2onnx"), "onnxruntime", version("onnxruntime"), "scikit-learn", version("scikit-learn"))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X).astype(np.float32)
agree = {}
for model in (SGDClassifier(random_state=0), SVC(kernel="linear")):
    name = type(model).__name__
    model.fit(X, y)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString(), providers=["CPUExecutionProvider"])
    labels, scores = session.run(None, {session.get_inputs()[0].name: X})
    highest = np.array([max(row, key=row.get) for row in scores])
    agree[name] = float((highest == labels).mean()), float((labels == model.predict(X)).mean())
    print(f"{name}: first row label {labels[0]}, decision value {model.decision_function(X[:1])[0]:.3f}, scores {scores[0]}")
    print(f"  labels as in scikit-learn {agree[name][1]:.3f}, label has the highest score {agree[name][0]:.3f}")
if agree["SGDClassifier"][0] < 0.99 or agree["SVC"][0] > 0.01 or agree["SVC"][1] < 0.99:
    sys.exit("no longer so: the label has the highest score")
PYTHON
