#!/usr/bin/env bash
# skl2onnx 1.20.0, onnxruntime 1.32.0: Normalizer(norm="max") divides by the largest value, not the largest size.
#
# Expected: as in scikit-learn, whose norm is the largest absolute value: a row of (-4, 1, 2) becomes
# (-1, 0.25, 0.5). "l1" and "l2" are converted so.
# Happens: the ONNX operator Normalizer with MAX divides by the largest signed value. The row becomes
# (-2, 0.5, 1), and a row of negative values changes its sign altogether. A linear classifier behind
# it gets other rows, and gives one in seven the other label, with no message.
# Why it matters: read from the file, the victim is another one.
#
# Output seen:
#   skl2onnx 1.20.0, onnxruntime 1.32.0
#   [-4, 1, 2]: scikit-learn [-1.0, 0.25, 0.5], file [-2.0, 0.5, 1.0]
#   [-1, -2, -4]: scikit-learn [-0.25, -0.5, -1.0], file [1.0, 2.0, 4.0]
#   pipeline: 14 % of the labels differ
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

print(f"skl2onnx {version('skl2onnx')}, onnxruntime {onnxruntime.__version__}")


def run(model, rows, options=None):
    graph = convert_sklearn(model, initial_types=[("X", FloatTensorType([None, 3]))], options=options)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": rows})[0]


rows = np.array([[-4, 1, 2], [-1, -2, -4]], dtype=np.float32)
normalizer = Normalizer("max").fit(rows)
own, file = normalizer.transform(rows), run(normalizer, rows)
for row, a, b in zip(rows, own, file):
    print(f"{row.astype(int).tolist()}: scikit-learn {a.tolist()}, file {b.tolist()}")
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 3)).astype(np.float32)
y = (X @ [1.0, -1.0, 0.5] > 0.2).astype(int)
pipeline = make_pipeline(Normalizer("max"), LogisticRegression()).fit(X, y)
differ = float(np.mean(run(pipeline, X, {id(pipeline): {"zipmap": False}}) != pipeline.predict(X)))
print(f"pipeline: {100 * differ:.0f} % of the labels differ")
signed = np.array_equal(file, rows / rows.max(axis=1, keepdims=True))
if not signed or np.array_equal(own, file) or differ < 0.02:
    sys.exit("no longer so: the file divides by the largest absolute value")
PYTHON
