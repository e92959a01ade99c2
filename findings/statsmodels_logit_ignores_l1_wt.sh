#!/usr/bin/env bash
# statsmodels 0.15.0: fit_regularized(L1_wt=0.0) is a ridge fit for GLM and an l1 fit for Logit.
#
# Expected: the model, the call and the argument are the same, so both give the l2 fit; alpha means
# the same in both.
# Happens: Logit.fit_regularized takes L1_wt into its keyword arguments and ignores it: the result equals
# the l1 fit to the last bit, with coefficients at exactly 0. GLM(Binomial) does the l2 fit, on the mean
# loss, where Logit sums it, and penalises the constant column with the rest, so that it agrees with
# liblinear rather than with the lbfgs of scikit-learn.
# Why it matters: a victim described as "statsmodels, l2, alpha = 1" is three different models, and only
# one of them is the smooth objective that a bound is computed for.
#
# Output seen:
#   statsmodels 0.15.0
#   Logit L1_wt=0       [ 12.0506   0.      -5.9116 -18.9941   0.      -7.8464]
#   Logit L1_wt=1       [ 12.0506   0.      -5.9116 -18.9941   0.      -7.8464]
#   GLM L1_wt=0         [ 5.8092 -3.6234 -2.5204 -4.0784 -3.4675 -2.8587]
#   l2, free intercept  [ 7.074  -4.305  -3.3269 -4.6583 -3.6077 -4.0189]
#   l2, penalised       [ 5.8092 -3.6234 -2.519  -4.0778 -3.4687 -2.8596]
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
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

warnings.simplefilter("ignore")
print("statsmodels", statsmodels.__version__)
X, y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)[:, :5]
A, n = sm.add_constant(X), len(y)
logit = sm.Logit(y, A).fit_regularized(alpha=1.0, L1_wt=0.0, disp=0).params
logit_l1 = sm.Logit(y, A).fit_regularized(alpha=1.0, L1_wt=1.0, disp=0).params
glm = sm.GLM(y, A, family=sm.families.Binomial()).fit_regularized(alpha=1.0 / n, L1_wt=0.0).params
free = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, y)
penalised = LogisticRegression(solver="liblinear", tol=1e-10, max_iter=10_000).fit(X, y)
print("Logit L1_wt=0      ", logit.round(4))
print("Logit L1_wt=1      ", logit_l1.round(4))
print("GLM L1_wt=0        ", glm.round(4))
print("l2, free intercept ", np.append(free.intercept_, free.coef_).round(4))
print("l2, penalised      ", np.append(penalised.intercept_, penalised.coef_).round(4))
to_penalised = np.linalg.norm(glm - np.append(penalised.intercept_, penalised.coef_))
if not (logit == logit_l1).all() or (logit == 0).sum() < 1 or to_penalised > 0.05 or (glm == 0).any():
    sys.exit("no longer so: L1_wt=0 is the l2 fit in both")
PYTHON
