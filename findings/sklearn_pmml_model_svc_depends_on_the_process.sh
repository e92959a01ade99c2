#!/usr/bin/env bash
# nyoka 5.5.0 writes, sklearn-pmml-model 1.0.8 reads: one PMML file of an SVC of three classes is one classifier in this
# process and another in the next, and an SVC of two classes is turned over in all.
#
# Expected: a file is one model; labels are those of the SVC that was saved, as for logistic regression by the same two.
# Happens: the accuracy of one file depends on Python's hash seed, which is drawn anew for each process: the reader goes
# through the class names as a set while it collects support vectors. Of two classes each label is the other one,
# whatever the seed. Nothing is said.
# Why it matters here: a victim handed over as PMML is attacked in the wrong direction, or another one tomorrow. A check
# within one process does not show it; compare predictions with those of the writer in several.
#
# Output seen:
#   nyoka 5.5.0 sklearn-pmml-model 1.0.8
#   written: two.pmml 0.970 three.pmml 0.993 logistic.pmml 0.973
#   read: two.pmml 0.030 three.pmml 0.667 logistic.pmml 0.973
#   read: two.pmml 0.030 three.pmml 0.327 logistic.pmml 0.973
#   read: two.pmml 0.030 three.pmml 0.333 logistic.pmml 0.973
#   read: two.pmml 0.030 three.pmml 0.333 logistic.pmml 0.973
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check nyoka==5.5.0 sklearn-pmml-model==1.0.8 scikit-learn==1.9.1 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1 setuptools==65.5.0
cd "$folder"
cat >irises.py <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris

warnings.simplefilter("ignore")
table, y = load_iris(return_X_y=True)
X, y = pd.DataFrame(table, columns=list("abcd")), pd.Series(np.array(["x", "y", "z"])[y])
files = {"two.pmml": slice(50, None), "three.pmml": slice(None), "logistic.pmml": slice(None)}
if sys.argv[1] == "write":
    from nyoka import skl_to_pmml
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.svm import SVC

    print("nyoka", version("nyoka"), "sklearn-pmml-model", version("sklearn-pmml-model"))
    models = SVC(gamma=0.5), SVC(kernel="linear"), LogisticRegression(max_iter=10000)
    readings = []
    for (file, rows), model in zip(files.items(), models):
        pipeline = Pipeline([("classifier", model)]).fit(X[rows], y[rows])
        skl_to_pmml(pipeline, list(X.columns), "target", file)
        readings.append(f"{file} {pipeline.score(X[rows], y[rows]):.3f}")
    print("written:", *readings)
else:
    from sklearn_pmml_model.linear_model import PMMLLogisticRegression
    from sklearn_pmml_model.svm import PMMLSVC

    readings = []
    for file, rows in files.items():
        model = (PMMLLogisticRegression if file == "logistic.pmml" else PMMLSVC)(file)
        readings.append(f"{file} {np.mean(model.predict(X[rows]) == y[rows].to_numpy()):.3f}")
    print("read:", *readings)
PYTHON
"$folder/venv/bin/python" irises.py write | tee seen.txt
for seed in 0 1 2 3; do
    PYTHONHASHSEED=$seed "$folder/venv/bin/python" irises.py read | tee -a seen.txt
done
"$folder/venv/bin/python" - <<'PYTHON'
import sys

written, *read = [line.split()[2::2] for line in open("seen.txt") if line.startswith(("written", "read"))]
two, three, logistic = ({float(reading[i]) for reading in read} for i in range(3))
if max(two) > 0.1 or len(three) < 2 or logistic != {float(written[2])}:
    sys.exit("no longer so: the file is one model")
PYTHON
