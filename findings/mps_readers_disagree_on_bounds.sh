#!/usr/bin/env bash
# highspy 1.16.0, pyscipopt 6.3.0, mip 2.0.0 (CBC), PuLP 3.3.2: one MPS file is infeasible or has an optimum, and
# another has the optimum -1 or -5, by who reads it.
#
# Expected: MPS is the format that solvers exchange programs in; a reader gives the program that was written.
# Happens: of a column with an upper bound of -2 and no lower bound HiGHS and SCIP keep the lower bound 0 and call the
# program infeasible; CBC lets it go down to minus infinity. PuLP's reader has 0 and -2, and then hands the program to
# CBC in a file of the same kind, so bounds that exclude each other are "Optimal". An integer column between the markers
# without any bound is one of 0 and 1 for HiGHS, SCIP and CBC, and of 0, 1, 2, ... for PuLP.
# Why it matters here: which rows to flip or remove is asked of such programs, and a proof by a second solver reads the
# file of the first. Write both bounds of every column.
#
# Output seen:
#   negative.mps, highspy 1.16.0: bounds 0 and -2, infeasible
#   negative.mps, pyscipopt 6.3.0: bounds 0 and -2, infeasible
#   negative.mps, mip 2.0.0: bounds -1.79769e+308 and -2, optimal -100
#   negative.mps, pulp 3.3.2: bounds 0 and -2, optimal -100
#   integer.mps, highspy 1.16.0: bounds 0 and 1, optimal -1
#   integer.mps, pyscipopt 6.3.0: bounds 0 and 1, optimal -1
#   integer.mps, mip 2.0.0: bounds 0 and 1, optimal -1
#   integer.mps, pulp 3.3.2: bounds 0 and none, optimal -5
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check highspy==1.16.0 pyscipopt==6.3.0 mip==2.0.0 PuLP==3.3.2 numpy==2.4.6
cd "$folder"
cat >negative.mps <<'MPS'
NAME          negative
ROWS
 N  cost
 G  cap
COLUMNS
    z         cost               1.0   cap                1.0
RHS
    RHS       cap             -100.0
BOUNDS
 UP BND       z                 -2.0
ENDATA
MPS
cat >integer.mps <<'MPS'
NAME          integer
ROWS
 N  cost
 L  cap
COLUMNS
    MARKER                 'MARKER'                 'INTORG'
    x         cost              -1.0   cap                1.0
    MARKER                 'MARKER'                 'INTEND'
RHS
    RHS       cap                5.0
ENDATA
MPS
cat >read.py <<'PYTHON'
import sys
from importlib.metadata import version

name, file = sys.argv[1:]


def highspy():
    from highspy import Highs

    model = Highs()
    model.setOptionValue("output_flag", False)
    model.readModel(file)
    program = model.getLp()
    model.run()
    status = model.modelStatusToString(model.getModelStatus())
    return list(program.col_lower_)[0], list(program.col_upper_)[0], status, model.getObjectiveValue()


def pyscipopt():
    from pyscipopt import Model

    model = Model()
    model.hideOutput()
    model.readProblem(file)
    (column,) = model.getVars()
    bounds = column.getLbOriginal(), column.getUbOriginal()
    model.optimize()
    return *bounds, model.getStatus(), model.getObjVal() if model.getStatus() == "optimal" else None


def mip():
    from mip import Model

    model = Model(solver_name="CBC")
    model.verbose = 0
    model.read(file)
    bounds = model.vars[0].lb, model.vars[0].ub
    status = model.optimize().name
    return *bounds, status, model.objective_value


def pulp():
    from pulp import PULP_CBC_CMD, LpProblem, LpStatus, value

    columns, model = LpProblem.fromMPS(file)
    (column,) = columns.values()
    status = LpStatus[model.solve(PULP_CBC_CMD(msg=0))]
    return column.lowBound, column.upBound, status, value(model.objective)


lower, upper, status, best = {f.__name__: f for f in (highspy, pyscipopt, mip, pulp)}[name]()
status = status.lower()
print(f"{file}, {name} {version(name)}: bounds {lower:g} and {'none' if upper is None else format(upper, 'g')}, {status}", *([f"{best:g}"] if status == "optimal" else []))
PYTHON
for file in negative.mps integer.mps; do
    for name in highspy pyscipopt mip pulp; do
        "$folder/venv/bin/python" read.py "$name" "$file" 2>"$name.txt" | grep "^$file" || { cat "$name.txt"; exit 1; }
    done
done | tee seen.txt
for line in "negative.mps, highspy .* infeasible" "negative.mps, pyscipopt .* infeasible" "negative.mps, mip .* optimal -100" \
    "negative.mps, pulp .*bounds 0 and -2, optimal -100" "integer.mps, highspy .* optimal -1" "integer.mps, pyscipopt .* optimal -1" \
    "integer.mps, mip .* optimal -1" "integer.mps, pulp .* optimal -5"; do
    grep -q "^$line\$" seen.txt || { echo "no longer so: the readers agree"; exit 1; }
done
