#!/usr/bin/env bash
# skl2onnx 1.20.0 with onnxruntime 1.32.0: OneVsRestClassifier over a classifier without probabilities, two classes,
# is cut at a score of 0.5.
#
# Expected: the label of the converted model is the sign of the score, as that of the model and of LinearSVC alone.
# Happens: the score is taken for a probability: its pair is 1 - score, and the label turns at 0.5. Every row with a
# score between 0 and 0.5, up to half way to the margin, gets the other label. LogisticRegression inside, or three
# classes, is right.
# Why it matters: a wrapper that changes nothing in scikit-learn moves the boundary of the exported model. Rows near the
# boundary are the ones that an attack and a certificate are about.
#
# Output seen:
#   skl2onnx 1.20.0 onnxruntime 1.32.0
#   LinearSVC: labels turned 0 of 569
#   OneVsRestClassifier(LinearSVC): labels turned 33 of 569, their scores 0.02 to 0.49
#   SGDClassifier: labels turned 0 of 569
#   OneVsRestClassifier(SGDClassifier): labels turned 3 of 569, their scores 0.02 to 0.38
#   LogisticRegression: labels turned 0 of 569
#   OneVsRestClassifier(LogisticRegression): labels turned 0 of 569
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    skl2onnx==1.20.0 onnxruntime==1.32.0 onnx==1.23.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import onnxruntime
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC
from skl2onnx import to_onnx

warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(4)
print("skl2onnx", version("skl2onnx"), "onnxruntime", version("onnxruntime"))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X).astype(np.float32)
turned = {}
for inner in (LinearSVC(), SGDClassifier(random_state=0), LogisticRegression()):
    for model in (inner, OneVsRestClassifier(inner)):
        model.fit(X, y)
        graph = to_onnx(model, X[:1])
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        labels = session.run(None, {session.get_inputs()[0].name: X})[0]
        score, bad = model.decision_function(X), labels != model.predict(X)
        name = type(inner).__name__ if model is inner else f"OneVsRestClassifier({type(inner).__name__})"
        turned[name] = int(bad.sum())
        print(f"{name}: labels turned {turned[name]} of {len(y)}", end="")
        print(f", their scores {score[bad].min():.2f} to {score[bad].max():.2f}" if bad.any() else "")
        if bad.any() and not (score[bad].min() > 0 and score[bad].max() < 0.5 and (bad == ((score > 0) & (score < 0.5))).all()):
            sys.exit("no longer so: other rows are turned")
if [v > 0 for v in turned.values()] != [False, True, False, True, False, False]:
    sys.exit("no longer so: the label is the sign of the score")
PYTHON
