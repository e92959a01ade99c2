#!/usr/bin/env bash
# skl2onnx 1.20.0, onnxruntime 1.32.0: isotonic calibration is a function of steps in the file, not one of lines.
#
# Expected: CalibratedClassifierCV(method="isotonic") is converted as scikit-learn computes it: between
# two thresholds of the isotonic fit the probability is interpolated.
# Happens: the file takes the probability of the nearest threshold. Inside a gap between two thresholds
# it is off by up to half of their difference: 0.07 here, on the very rows of the fit. With
# method="sigmoid" the file agrees to float32.
# Why it matters: whoever cuts the file's probabilities at a tuned share decides otherwise than the
# pipeline that was audited.
#
# Output seen:
#   skl2onnx 1.20.0, onnxruntime 1.32.0
#   sigmoid: probabilities differ by up to 1.3e-07, by more than 0.001 in 0% of the rows
#   isotonic: probabilities differ by up to 7.4e-02, by more than 0.001 in 10% of the rows
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
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import LinearSVC

print(f"skl2onnx {version('skl2onnx')}, onnxruntime {onnxruntime.__version__}")
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3)).astype(np.float32)
y = (X @ [1.0, -1.0, 0.5] + 0.3 * rng.normal(size=200) > 0.4).astype(int)
apart = {}
for method in ("sigmoid", "isotonic"):
    model = CalibratedClassifierCV(LinearSVC(random_state=0), method=method, cv=2).fit(X, y)
    graph = convert_sklearn(
        model, initial_types=[("X", FloatTensorType([None, 3]))], options={id(model): {"zipmap": False}}
    )
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    off = np.abs(session.run(None, {"X": X})[1] - model.predict_proba(X)).max(axis=1)
    apart[method] = off.max()
    print(f"{method}: probabilities differ by up to {off.max():.1e}, by more than 0.001 in {np.mean(off > 1e-3):.0%} of the rows")
if apart["sigmoid"] > 1e-4 or apart["isotonic"] < 0.01:
    sys.exit("no longer so: the file interpolates")
PYTHON
