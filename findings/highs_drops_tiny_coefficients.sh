#!/usr/bin/env bash
# scipy 1.17.1, linprog and milp (HiGHS): a coefficient of 9e-10 makes a feasible program "infeasible".
#
# Expected: 9e-10 * x >= 1 with x free to grow has the solution x = 1.1e9; at worst a tolerance blurs it.
# Happens: HiGHS sets matrix entries of absolute value 1e-9 and less to zero before it starts. The row
# reads 0 >= 1 and the status is "infeasible", a proof of something untrue; the same row times 10,000
# is solved. An equality row scaled by 1e-9 vanishes, and a point that misses it is "optimal".
# Why it matters: rows of gradients are that small once a model is sure of a row (the logistic loss at a
# margin of 21). An attack program then drops the very rows that bind, and "infeasible" is read as "no
# poisoning set reaches this target". Scale rows before the solver sees them.
#
# Output seen:
#   scipy 1.17.1
#   1.1e-09 * x >= 1, row times 1: linprog status 0 x [9.09090909e+08], milp status 0 x [9.09090909e+08]
#   9.0e-10 * x >= 1, row times 1: linprog status 2 x None, milp status 2 x None
#   9.0e-10 * x >= 1, row times 10000: linprog status 0 x [1.11111111e+09], milp status 0 x [1.11111111e+09]
#   x - y = 3 (row times 1), x + y = 5: status 0, x, y = [4. 1.]
#   x - y = 3 (row times 1e-08), x + y = 5: status 0, x, y = [4. 1.]
#   x - y = 3 (row times 1e-09), x + y = 5: status 0, x, y = [0. 5.]
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
from scipy.optimize import LinearConstraint, linprog, milp

print("scipy", scipy.__version__)
statuses = {}
for coefficient, scale in ((1.1e-9, 1), (9e-10, 1), (9e-10, 1e4)):
    lp = linprog([1.0], A_ub=[[-coefficient * scale]], b_ub=[-scale], bounds=[(0, None)])
    mip = milp([1.0], constraints=LinearConstraint([[coefficient * scale]], scale, np.inf))
    statuses[coefficient, scale] = lp.status, mip.status
    print(f"{coefficient:.1e} * x >= 1, row times {scale:g}: linprog status {lp.status} x {lp.x}, milp status {mip.status} x {mip.x}")
found = {}
for scale in (1, 1e-8, 1e-9):
    found[scale] = linprog([1.0, 1.0], A_eq=[[scale, -scale], [1, 1]], b_eq=[3 * scale, 5], bounds=[(0, None)] * 2)
    print(f"x - y = 3 (row times {scale:g}), x + y = 5: status {found[scale].status}, x, y = {found[scale].x}")
if statuses != {(1.1e-9, 1): (0, 0), (9e-10, 1): (2, 2), (9e-10, 1e4): (0, 0)} or abs(found[1e-9].x[0] - 4) < 1e-3 or abs(found[1e-8].x[0] - 4) > 1e-6:
    sys.exit("no longer so: tiny coefficients are kept")
PYTHON
