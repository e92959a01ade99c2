#!/usr/bin/env bash
# scikit-learn 1.9.1, dump_svmlight_file: a quarter to half of the numbers of a table come back as others.
#
# Expected: load_svmlight_file returns what dump_svmlight_file wrote, bit for bit, as numpy.savetxt with its default
# format, pandas' CSV and LIBLINEAR's model files do.
# Happens: values and labels are written with sixteen digits; a double needs seventeen. float32 tables are exact.
# Why it matters: a poisoned table exchanged in the format of this field is not the table that was certified: rows that
# were equal stay equal, but a row on a margin, or on the edge of a box, need not be on it any more.
#
# Output seen:
#   scikit-learn 1.9.1
#   uniform: changed 24.7 % by up to 5.6e-17; through savetxt 0.0 %
#   breast_cancer, scaled to [0, 1]: changed 47.1 % by up to 2.2e-16; through savetxt 0.0 %
#   uniform, float32: changed 0.0 % by up to 0.0e+00; through savetxt 0.0 %
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy as np
import sklearn
from sklearn.datasets import dump_svmlight_file, load_breast_cancer, load_svmlight_file
from sklearn.preprocessing import MinMaxScaler

print("scikit-learn", sklearn.__version__)
shares = {}
tables = {
    "uniform": np.random.default_rng(0).random((500, 20)),
    "breast_cancer, scaled to [0, 1]": MinMaxScaler().fit_transform(load_breast_cancer().data),
}
tables["uniform, float32"] = tables["uniform"].astype(np.float32)
for name, X in tables.items():
    y = np.linspace(-1, 1, len(X)) / 3
    file = io.BytesIO()
    dump_svmlight_file(X, y, file)
    file.seek(0)
    back, labels = load_svmlight_file(file, n_features=X.shape[1], dtype=X.dtype)
    shares[name] = float((back.toarray() != X).mean())
    worst = float(np.abs(back.toarray().astype(float) - X).max())
    text = io.BytesIO()
    np.savetxt(text, X)
    text.seek(0)
    saved = float((np.loadtxt(text).astype(X.dtype) != X).mean())
    print(f"{name}: changed {100 * shares[name]:.1f} % by up to {worst:.1e}; through savetxt {100 * saved:.1f} %")
if min(shares["uniform"], shares["breast_cancer, scaled to [0, 1]"]) < 0.1 or shares["uniform, float32"]:
    sys.exit("no longer so: the file holds every digit")
PYTHON
