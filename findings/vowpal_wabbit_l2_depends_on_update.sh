#!/usr/bin/env bash
# vowpalwabbit 9.11.9: one --l2 is three penalties, by the update rule.
#
# Expected: --l2 is the weight of the squared norm; whether it counts per row or once, it is one of the two
# for every optimiser of the tool, which then agree up to their accuracy.
# Happens: with --sgd it counts once per row, so the minimiser is that for k = l2 * n. With --bfgs it counts
# once, k = l2. With the default adaptive update the margins are smaller by an order of magnitude than
# for either: each coordinate is shrunk on a scale of its own, and no k fits.
# Why it matters: switching to --bfgs "for accuracy" divides the penalty by the number of rows. What a
# victim minimises cannot be read off its options without the update rule.
#
# Output seen:
#   vowpalwabbit 9.11.9
#   sgd      mean |margin| 2.2810, relative distance from the minimiser for k = l2 0.62497, for k = l2 * n 0.01492
#   adaptive mean |margin| 0.1813, relative distance from the minimiser for k = l2 0.97734, for k = l2 * n 0.93471
#   bfgs     mean |margin| 5.5356, relative distance from the minimiser for k = l2 0.00001, for k = l2 * n 1.61481
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check vowpalwabbit==9.11.9 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import os
import sys
import tempfile
from importlib.metadata import version

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler
from vowpalwabbit import pyvw

print("vowpalwabbit", version("vowpalwabbit"))
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)[:, :6]
n, l2 = len(y), 0.001
rows = [f"{2 * y[i] - 1} | " + " ".join(f"x{j}:{X[i, j]:.9g}" for j in range(6)) for i in range(n)]
order = np.random.default_rng(0).permutation(n)


def exact(k):
    A = np.column_stack([X, np.ones(n)])
    return A @ LogisticRegression(C=1 / k, fit_intercept=False, solver="newton-cholesky", tol=1e-12).fit(A, y).coef_[0]


updates = {
    "sgd": ("--sgd --power_t 0 -l 0.02 --passes 300", ""),
    "adaptive": ("--passes 300", ""),
    "bfgs": ("--bfgs --passes 100 --termination 1e-9", "--predict_only_model"),
}
apart = {}
with tempfile.TemporaryDirectory() as folder:
    table = os.path.join(folder, "table.vw")
    with open(table, "w") as file:
        file.write("".join(rows[i] + "\n" for i in order))
    for name, (options, kind) in updates.items():
        path = os.path.join(folder, name)
        pyvw.Workspace(
            f"-d {table} --cache_file {path}.cache -k --quiet --holdout_off --loss_function logistic --l2 {l2} -f {path} {kind} {options}"
        ).finish()
        model = pyvw.Workspace(f"-t --quiet {kind} -i {path} --loss_function logistic")
        margins = np.array([model.predict(row.split(" ", 1)[1]) for row in rows])
        model.finish()
        apart[name] = [float(np.linalg.norm(margins - exact(k)) / np.linalg.norm(exact(k))) for k in (l2, l2 * n)]
        print(f"{name:8s} mean |margin| {abs(margins).mean():.4f}, relative distance from the minimiser for k = l2 {apart[name][0]:.5f}, for k = l2 * n {apart[name][1]:.5f}")
if apart["sgd"][1] > 0.1 or apart["sgd"][0] < 0.3 or apart["bfgs"][0] > 0.001 or min(apart["adaptive"]) < 0.5:
    sys.exit("no longer so: --l2 means the same for every update")
PYTHON
