#!/usr/bin/env bash
# cvxpy 1.9.3 with HiGHS (highspy 1.16.0): the hinge fixes every slack at 1, and "optimal" is w = 0.
#
# Expected: sum(pos(1 - s * (X @ w))) plus a penalty has the same minimum under every solver that
# cvxpy offers for it; at worst the last digits differ.
# Happens: for solvers that take bounds on variables, cvxpy derives bounds for the slack that stands
# for pos(.). A coefficient times an unbounded w becomes 0 * inf, and the slack is handed over with
# lower bound 1 and upper bound 1. HiGHS then returns w = 0, objective n, status "optimal". It happens
# for the quadratic penalty and the l1 penalty, and a problem with one integer variable gets HiGHS
# without being asked. Written with slacks of one's own, the same problem is solved rightly.
# Why it matters: a support vector machine retrained this way looks as if the data said nothing, an
# attack "found" with it is a fiction, and the word "optimal" invites to print it as a bound.
#
# Output seen:
#   cvxpy 1.9.3
#   quadratic  CLARABEL optimal 0.500000 |w| = 1.000000
#   quadratic  HIGHS    optimal 3.000000 |w| = 0.000000
#   l1         CLARABEL optimal 0.500000 |w| = 1.000000
#   l1         HIGHS    optimal 3.000000 |w| = 0.000000
#   own slacks CLARABEL optimal 0.500000 |w| = 1.000000
#   own slacks HIGHS    optimal 0.500000 |w| = 1.000000
#   one boolean variable, solver left to cvxpy: HIGHS optimal 3.000000
#   bounds handed over: [  1.   1.   1. -inf -inf] [ 1.  1.  1. inf inf]
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check cvxpy==1.9.3 highspy==1.16.0 clarabel==0.11.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import clarabel  # noqa: F401  the solver to compare with
import cvxpy as cp
import highspy  # noqa: F401
import numpy as np

warnings.simplefilter("ignore")
print("cvxpy", cp.__version__)

X = np.array([[2.0, 1.0], [1.0, 0.5], [-1.0, 3.0]])
s = np.array([1.0, 1.0, -1.0])


def hinge(w):
    return cp.sum(cp.pos(1 - cp.multiply(s, X @ w)))


def build(name):
    w = cp.Variable(2)
    if name == "quadratic":
        return cp.Problem(cp.Minimize(hinge(w) + 0.5 * cp.sum_squares(w))), w
    if name == "l1":
        return cp.Problem(cp.Minimize(hinge(w) + 0.5 * cp.norm1(w))), w
    xi = cp.Variable(3)
    rows = [xi >= 0, xi >= 1 - cp.multiply(s, X @ w)]
    return cp.Problem(cp.Minimize(cp.sum(xi) + 0.5 * cp.norm1(w)), rows), w


wrong = []
for name in ("quadratic", "l1", "own slacks"):
    values = {}
    for solver in ("CLARABEL", "HIGHS"):
        problem, w = build(name)
        problem.solve(solver=solver)
        values[solver] = problem.value
        print(f"{name:10s} {solver:8s} {problem.status} {problem.value:.6f} |w| = {np.linalg.norm(w.value):.6f}")
    wrong.append(values["HIGHS"] > values["CLARABEL"] + 1)

w, z = cp.Variable(2), cp.Variable(boolean=True)
mixed = cp.Problem(cp.Minimize(hinge(w) + 0.5 * cp.norm1(w) + 0.01 * z))
mixed.solve()
print("one boolean variable, solver left to cvxpy:", mixed.solver_stats.solver_name, mixed.status, f"{mixed.value:.6f}")

bounds = build("quadratic")[0].get_problem_data("HIGHS")[0]
print("bounds handed over:", bounds["lower_bounds"], bounds["upper_bounds"])
if wrong != [True, True, False] or abs(mixed.value - 3) > 1e-6:
    sys.exit("no longer so: HiGHS under cvxpy finds the minimum of the hinge")
PYTHON
