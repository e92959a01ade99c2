#!/usr/bin/env bash
# skl2onnx 1.20.0, onnxruntime 1.32.0: a LogisticRegression or SVC converted from double rows is no valid graph.
#
# Expected: to_onnx(model, X[:1]) with X as scikit-learn has it, float64, gives a graph that runs, as float32 does.
# Happens: the conversion succeeds; the session refuses it, since the operator ZipMap, which is put in by default, takes
# no double. With options zipmap=False the same conversion runs, and agrees to the last digits.
# Why it matters: the precision of a model file decides which rows are on the margin. Double is the one to have,
# and the default way to it writes a file that only fails where it is used.
#
# Output seen:
#   skl2onnx 1.20.0 onnxruntime 1.32.0
#   LogisticRegression float32 default      loads
#   LogisticRegression float32 zipmap=False loads
#   LogisticRegression float64 default      Type 'tensor(double)' of input parameter (probabilities) of op
#   LogisticRegression float64 zipmap=False loads
#   SVC                float32 default      loads
#   SVC                float32 zipmap=False loads
#   SVC                float64 default      Type 'tensor(double)' of input parameter (probabilities) of op
#   SVC                float64 zipmap=False loads
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
import skl2onnx
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

print("skl2onnx", skl2onnx.__version__, "onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 3))
y = (X[:, 0] > 0).astype(int)
loads = {}
for model in (LogisticRegression().fit(X, y), SVC(kernel="linear").fit(X, y)):
    for rows in (X.astype(np.float32), X):
        for options in (None, {id(model): {"zipmap": False}}):
            graph = skl2onnx.to_onnx(model, rows[:1], options=options)
            try:
                onnxruntime.InferenceSession(graph.SerializeToString())
                said = "loads"
            except Exception as error:
                said = str(error).partition("Type Error: ")[2][:62]
            loads[type(model).__name__, rows.dtype.name, options is None] = said == "loads"
            print(f"{type(model).__name__:18} {rows.dtype.name:7} {'default' if options is None else 'zipmap=False':12} {said}")
refused = {key for key, fine in loads.items() if not fine}
if refused != {("LogisticRegression", "float64", True), ("SVC", "float64", True)}:
    sys.exit("no longer so: double classifiers load with the default options")
PYTHON
