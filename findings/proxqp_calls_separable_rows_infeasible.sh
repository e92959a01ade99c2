#!/usr/bin/env bash
# cvxpy 1.9.3 with proxsuite 0.8.0 (PROXQP) and osqp 1.1.3: separable rows are "infeasible" to separate when their unit is
# small.
#
# Expected: "infeasible" comes with a certificate, so it is a proof up to rounding; small numbers cost digits or
# iterations, and at worst the status is a limit or "inaccurate".
# Happens: 51 rows with three features, far apart, all times 0.001: a plane of norm 7,900 separates them with margin 1, and
# PROXQP answers "infeasible". OSQP does at 0.00001. HiGHS and Clarabel find a plane. The certificate is measured with an
# absolute tolerance, which small columns meet.
# Why it matters: whether two classes can be separated, or a target model induced, is asked of such solvers. "Infeasible"
# is printed as a theorem, and depends on the unit of the columns. Scale to one before the question.
#
# Output seen:
#   cvxpy 1.9.3 proxsuite 0.8.0 osqp 1.1.3 clarabel 0.11.1 highspy 1.16.0
#   51 rows times 1: least margin of a plane of norm 8 is 1.000; PROXQP optimal, OSQP optimal, CLARABEL optimal,
#       HIGHS optimal
#   51 rows times 0.001: least margin of a plane of norm 7922 is 1.000; PROXQP infeasible, OSQP optimal, CLARABEL
#       optimal, HIGHS optimal
#   51 rows times 1e-05: least margin of a plane of norm 792247 is 1.000; PROXQP infeasible, OSQP infeasible,
#       CLARABEL optimal, HIGHS optimal
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    cvxpy==1.9.3 proxsuite==0.8.0 osqp==1.1.3 clarabel==0.11.1 highspy==1.16.0 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' | grep -v -e HiGHS -e third-party -e Polishing  # what solvers say of themselves
import sys
import warnings
from importlib.metadata import version

import cvxpy
import numpy as np

warnings.simplefilter("ignore")
print(" ".join(f"{name} {version(name)}" for name in ("cvxpy", "proxsuite", "osqp", "clarabel", "highspy")))
X = np.random.default_rng(0).normal(size=(60, 3))
plane = np.array([1.0, -2.0, 0.5])
X = X[np.abs(X @ plane) > 0.2]
s = np.sign(X @ plane)
answers = {}
for unit in (1.0, 1e-3, 1e-5):
    known = plane / unit / np.abs(X @ plane).min()
    certain = (s * (X * unit @ known)).min()
    for solver in ("PROXQP", "OSQP", "CLARABEL", "HIGHS"):
        w = cvxpy.Variable(3)
        problem = cvxpy.Problem(cvxpy.Minimize(0), [cvxpy.multiply(s, (X * unit) @ w) >= 1])
        problem.solve(solver=solver)
        answers[unit, solver] = problem.status
    found = ", ".join(f"{k[1]} {v}" for k, v in answers.items() if k[0] == unit)
    print(f"{len(s)} rows times {unit:g}: least margin of a plane of norm {np.linalg.norm(known):.0f} is {certain:.3f}; {found}")
if answers[1e-3, "PROXQP"] != "infeasible" or answers[1e-5, "OSQP"] != "infeasible":
    sys.exit("no longer so: separable rows are separated")
if any(v != "optimal" for k, v in answers.items() if k[1] in ("CLARABEL", "HIGHS") or k[0] == 1.0):
    sys.exit("no longer so: the other solvers find a plane")
PYTHON
