#!/usr/bin/env bash
# skl2onnx 1.20.0 with onnxruntime 1.32.0: TunedThresholdClassifierCV is converted without its threshold.
#
# Expected: the converted model predicts as the model, or the conversion is refused, as for FixedThresholdClassifier.
# Happens: the graph is that of the classifier inside, and its labels are cut at 0.5. Nothing is said.
# Why it matters: the threshold is the only thing that the class adds. On breast_cancer it is 0.61, and 13 rows get
# another label from the file than from the model.
#
# Output seen:
#   skl2onnx 1.20.0 onnxruntime 1.32.0
#   threshold 0.605, operators ['LinearClassifier', 'Identity', 'Identity']
#   labels other than the model's 13 of 569, than those of the classifier inside 0
#   FixedThresholdClassifier: MissingShapeCalculator
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
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.preprocessing import MinMaxScaler
from skl2onnx import to_onnx

onnxruntime.set_default_logger_severity(4)
print("skl2onnx", version("skl2onnx"), "onnxruntime", version("onnxruntime"))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X).astype(np.float32)
model = TunedThresholdClassifierCV(LogisticRegression()).fit(X, y)
graph = to_onnx(model, X[:1], options={"zipmap": False})
session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
labels = session.run(None, {session.get_inputs()[0].name: X})[0]
differ, inner = int((labels != model.predict(X)).sum()), int((labels != model.estimator_.predict(X)).sum())
print(f"threshold {model.best_threshold_:.3f}, operators {[n.op_type for n in graph.graph.node]}")
print(f"labels other than the model's {differ} of {len(y)}, than those of the classifier inside {inner}")
try:
    to_onnx(FixedThresholdClassifier(LogisticRegression(), threshold=0.6).fit(X, y), X[:1])
    fixed = "converted"
except Exception as error:
    fixed = type(error).__name__
print("FixedThresholdClassifier:", fixed)
if differ == 0 or inner or fixed == "converted":
    sys.exit("no longer so: the threshold is in the graph")
PYTHON
