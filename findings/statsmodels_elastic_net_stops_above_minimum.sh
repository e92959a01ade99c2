#!/usr/bin/env bash
# statsmodels 0.15.0, GLM(Binomial).fit_regularized with an l1 part: the answer is ten percent above the
# minimum, with the tightest settings too.
#
# Expected: a convex objective and coordinate descent run to 1e-12 give its minimum, or a warning.
# Happens: on five scaled columns the objective (sum of losses plus the l1 norm) is 167.7 by default, with
# a ConvergenceWarning, and 162.7 with maxiter=1000 and cnvrg_tol=1e-12, without one. Logit of the same
# library attains 147.9 for the very same objective, and so does GLM once it starts from that answer.
# Signs and zeros of the coefficients differ too.
# Why it matters: distance to a target model, and "no fewer points can do it", are statements about the
# minimiser. A victim or a reference trained here is not one; only its objective value tells.
#
# Output seen:
#   statsmodels 0.15.0
#   Logit                     objective 147.9275 [ 12.051   0.     -5.912 -18.994   0.     -7.846]
#   GLM                       objective 167.6695 [  8.846 -13.139   0.     -3.648  -1.003  -5.989] warnings 1
#   GLM, tight                objective 162.6668 [  9.793   0.      0.    -19.484   0.     -6.68 ] warnings 0
#   GLM, tight, from Logit's  objective 147.9275 [ 12.051   0.     -5.912 -18.994   0.     -7.846] warnings 0
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check statsmodels==0.15.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import statsmodels
import statsmodels.api as sm
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import MinMaxScaler

print("statsmodels", statsmodels.__version__)
X, y = load_breast_cancer(return_X_y=True)
A = sm.add_constant(MinMaxScaler().fit_transform(X)[:, :5])
n, s = len(y), 2.0 * y - 1.0


def objective(beta):
    return np.logaddexp(0, -s * (A @ beta)).sum() + abs(beta).sum()


glm = sm.GLM(y, A, family=sm.families.Binomial())
tight = {"maxiter": 1000, "cnvrg_tol": 1e-12, "zero_tol": 1e-12}
best = sm.Logit(y, A).fit_regularized(alpha=1.0, disp=0, acc=1e-10).params
values, warned = {"Logit": objective(best)}, {}
print(f"{'Logit':25s} objective {values['Logit']:.4f}", best.round(3))
for name, settings in {"GLM": {}, "GLM, tight": tight, "GLM, tight, from Logit's": {**tight, "start_params": best}}.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        beta = glm.fit_regularized(alpha=1.0 / n, L1_wt=1.0, **settings).params
    values[name], warned[name] = objective(beta), len(caught)
    print(f"{name:25s} objective {values[name]:.4f}", beta.round(3), "warnings", warned[name])
if values["GLM, tight"] < 1.05 * values["Logit"] or warned["GLM, tight"]:
    sys.exit("no longer so: the elastic net attains its minimum or warns")
PYTHON
