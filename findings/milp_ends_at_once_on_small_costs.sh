#!/usr/bin/env bash
# scipy 1.17.1, milp (HiGHS): with costs of size 1e-8 it returns a ninth of what can be had as "optimal", with gap 0.
#
# Expected: the minimiser does not depend on the unit of the objective; mip_rel_gap, the one tolerance that milp takes,
# is relative.
# Happens: tolerances within HiGHS are absolute. Where all costs are below them, one of the first points found is
# optimal. mip_gap is 0 and mip_dual_bound is the value found, which is no bound: the costs in another unit have a
# point nine times as good. mip_rel_gap=0 changes nothing, nor does mip_abs_gap=0 in HiGHS itself.
# Why it matters: the mean of a loss over a million rows, or a step in probability, has such costs. Which rows to remove
# or flip is asked of such programs, and mip_dual_bound is printed as a proof. Scale costs to one first.
#
# Output seen:
#   scipy 1.17.1
#   costs times 1, mip_rel_gap=0: status 0, value -6.6248, dual bound -6.6248, mip_gap 0.0e+00
#   costs times 1e-08, mip_rel_gap=0: status 0, value -0.7515, dual bound -0.7515, mip_gap 0.0e+00
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import scipy
from scipy.optimize import Bounds, LinearConstraint, milp

print("scipy", scipy.__version__)
rng = np.random.default_rng(0)
A = rng.random((20, 30))
capacity = A.sum(axis=1) / 3
costs = -rng.random(30)
found = {}
for unit in (1.0, 1e-8):
    result = milp(
        costs * unit,
        constraints=LinearConstraint(A, ub=capacity),
        bounds=Bounds(0, 1),
        integrality=np.ones(30),
        options={"mip_rel_gap": 0.0},
    )
    found[unit] = result.status, float(costs @ result.x), result.mip_dual_bound / unit
    print(
        f"costs times {unit:g}, mip_rel_gap=0: status {result.status}, value {costs @ result.x:.4f}, "
        f"dual bound {result.mip_dual_bound / unit:.4f}, mip_gap {result.mip_gap:.1e}"
    )
(status, best, _), (status_small, small, bound) = found[1.0], found[1e-8]
if status != 0 or status_small != 0 or small < best * 0.9 or bound < best * 0.9:
    sys.exit("no longer so: the unit of the costs does not matter")
PYTHON
