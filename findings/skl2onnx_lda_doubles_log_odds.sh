#!/usr/bin/env bash
# skl2onnx 1.20.0 with onnxruntime 1.32.0: the probabilities of a converted LinearDiscriminantAnalysis are those of
# twice the log-odds.
#
# Expected: predict_proba up to float32, as for LogisticRegression; with three classes it is.
# Happens: with two classes the scores -d and +d go through a softmax, which is the logistic function of 2 d. Labels
# agree, so a check of labels passes; a probability of 0.25 becomes 0.10. LogisticRegression, with the same two rows of
# coefficients in the file, is converted rightly.
# Why it matters: a threshold other than 0.5 cuts elsewhere, a calibrated model is sharp without reason, and whoever
# reads the coefficients back from probabilities gets a model twice as large.
#
# Output seen:
#   skl2onnx 1.20.0 onnxruntime 1.32.0
#   LinearDiscriminantAnalysis, two classes: labels differ 0, probabilities by 1.5e-01 (0.251 becomes 0.101)
#       from the logistic function of twice the decision value 2.2e-06
#   LogisticRegression, two classes: labels differ 0, probabilities by 5.1e-07
#   LinearDiscriminantAnalysis, three classes: labels differ 0, probabilities by 1.2e-07
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
from importlib.metadata import version

import numpy as np
import onnxruntime
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler
from skl2onnx import to_onnx

onnxruntime.set_default_logger_severity(4)
print("skl2onnx", version("skl2onnx"), "onnxruntime", version("onnxruntime"))


def run(model, X):
    graph = to_onnx(model, X[:1], options={"zipmap": False})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})


X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X).astype(np.float32)
off = {}
for name, model, rows, labels in (
    ("LinearDiscriminantAnalysis, two classes", LinearDiscriminantAnalysis(), X, y),
    ("LogisticRegression, two classes", LogisticRegression(), X, y),
    ("LinearDiscriminantAnalysis, three classes", LinearDiscriminantAnalysis(), *load_iris(return_X_y=True)),
):
    rows = rows.astype(np.float32)
    model.fit(rows, labels)
    found, proba = run(model, rows)
    own = model.predict_proba(rows)
    off[name] = float(np.abs(proba - own).max())
    i = int(np.abs(proba - own).max(1).argmax())
    print(f"{name}: labels differ {int((found != model.predict(rows)).sum())}, probabilities by {off[name]:.1e}", end="")
    print(f" ({own[i, 1]:.3f} becomes {proba[i, 1]:.3f})" if off[name] > 1e-3 else "")
    if len(model.classes_) == 2 and off[name] > 1e-3:
        doubled = 1 / (1 + np.exp(-2 * model.decision_function(rows)))
        print(f"    from the logistic function of twice the decision value {float(np.abs(proba[:, 1] - doubled).max()):.1e}")
        if np.abs(proba[:, 1] - doubled).max() > 1e-4:
            sys.exit("no longer so: other probabilities")
if [v > 0.1 for v in off.values()] != [True, False, False] or max(list(off.values())[1:]) > 1e-4:
    sys.exit("no longer so: the probabilities are those of the model")
PYTHON
