#!/usr/bin/env bash
# skl2onnx 1.20.0, onnxruntime 1.32.0: SimpleImputer(add_indicator=True) is converted without its indicators.
#
# Expected: a file that predicts what the pipeline predicts, or an error: other options that the
# converter does not know, such as infrequent categories, are refused by name.
# Happens: the columns that say which values were missing are not in the graph, and nothing is said.
# The linear classifier behind it keeps its coefficients for them; onnxruntime runs the file and reads
# the coefficients of the two classes with the wrong width, so a third of the rows get the other label,
# those without a gap included.
# Why it matters: a file is a victim, or a target, only if it predicts as the pipeline does.
#
# Output seen:
#   skl2onnx 1.20.0, onnxruntime 1.32.0
#   columns after the imputer: 4 of scikit-learn, 3 of the file
#   pipeline: 31 % of the labels differ, probabilities by up to 1.00
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
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

print(f"skl2onnx {version('skl2onnx')}, onnxruntime {onnxruntime.__version__}")
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3)).astype(np.float32)
y = (X @ [1.0, -1.0, 0.5] + 0.3 * rng.normal(size=200) > 0.4).astype(int)
X[::7, 1] = np.nan


def run(model, options=None):
    graph = convert_sklearn(model, initial_types=[("X", FloatTensorType([None, 3]))], options=options)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


imputer = SimpleImputer(add_indicator=True).fit(X)
widths = imputer.transform(X).shape[1], run(imputer)[0].shape[1]
print(f"columns after the imputer: {widths[0]} of scikit-learn, {widths[1]} of the file")
pipeline = make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()).fit(X, y)
labels, shares = run(pipeline, {id(pipeline): {"zipmap": False}})
differ = float(np.mean(labels != pipeline.predict(X)))
most = float(np.abs(shares - pipeline.predict_proba(X)).max())
print(f"pipeline: {100 * differ:.0f} % of the labels differ, probabilities by up to {most:.2f}")
if widths != (4, 3) or differ < 0.1:
    sys.exit("no longer so: the indicators are converted, or refused")
PYTHON
