#!/usr/bin/env bash
# skglm 0.5, LinearSVC: fit_intercept=True is the default of the signature, and the intercept stays 0.
#
# Expected: a model with an intercept, as the argument says, or an error where it cannot be had.
# Happens: the dual that is solved has no intercept; intercept_ is 0.0, the coefficients are those of the
# hinge without one, and neither fit nor the constructor says a word. Shifting the columns by a constant
# changes the model.
# Why it matters: a victim "with intercept" has one direction that poison can move for free. Without it
# bounds and attacks are about another model, and they agree with nothing that is retrained elsewhere.
#
# Output seen:
#   skglm 0.5 scikit-learn 1.9.1
#   fit_intercept True intercept_ 0.0
#   distance of the coefficients from the fit without intercept 5.0e-09, with one 9.5e-01
#   accuracy 0.870, with an intercept 0.930
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check skglm==0.5 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import sklearn
from importlib.metadata import version
from sklearn.svm import LinearSVC
from skglm import LinearSVC as Skglm

warnings.simplefilter("ignore")
print("skglm", version("skglm"), "scikit-learn", sklearn.__version__)
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3)) + 1.0
y = (X[:, 0] - X[:, 1] + 1.5 + 0.5 * rng.normal(size=200) > 0).astype(int)
model = Skglm(C=1.0, tol=1e-8, max_iter=500).fit(X, y)
without = LinearSVC(loss="hinge", fit_intercept=False, tol=1e-10, max_iter=1_000_000).fit(X, y)
with_one = LinearSVC(loss="hinge", tol=1e-10, max_iter=1_000_000).fit(X, y)
to_without = np.linalg.norm(model.coef_ - without.coef_)
to_with = np.linalg.norm(model.coef_ - with_one.coef_)
print("fit_intercept", model.fit_intercept, "intercept_", model.intercept_)
print(f"distance of the coefficients from the fit without intercept {to_without:.1e}, with one {to_with:.1e}")
print(f"accuracy {model.score(X, y):.3f}, with an intercept {with_one.score(X, y):.3f}")
if not model.fit_intercept or np.any(model.intercept_) or to_without > 0.02 or to_with < 0.1:
    sys.exit("no longer so: an intercept is fitted")
PYTHON
