#!/usr/bin/env bash
# statsmodels 0.15.0, GLM.fit_regularized: freq_weights=2 is another model than every row twice.
#
# Expected: a frequency weight of 2 is a row that occurs twice, as the documentation of GLM says and as fit() does.
# Happens: fit_regularized divides the weighted log-likelihood by the number of rows, not by the sum of the weights, so
# weights of 2 on every row halve the penalty: copies change nothing, weights do.
# Why it matters: an attack that adds k copies of a point, or gives it the weight k, poisons two different victims; and
# alpha means alpha * rows, whatever the rows weigh.
#
# Output seen:
#   statsmodels 0.15.0
#   fit_regularized, rows once     [ 1.2008 -0.0017 -0.0361]
#   fit_regularized, rows twice    [ 1.2008 -0.0017 -0.0361]
#   fit_regularized, freq_weights  [ 1.595   0.0035 -0.036 ]
#   fit: largest difference of rows twice and freq_weights 4.4e-16
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import statsmodels
import statsmodels.api as sm

print("statsmodels", statsmodels.__version__)
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3))
y = (X[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(int)


def fit(X, y, regularized=True, **weights):
    model = sm.GLM(y, X, family=sm.families.Binomial(), **weights)
    result = model.fit_regularized(alpha=0.1, L1_wt=0) if regularized else model.fit()
    return np.asarray(result.params)


twice = fit(np.vstack([X, X]), np.append(y, y))
weighted = fit(X, y, freq_weights=np.full(200, 2.0))
print("fit_regularized, rows once    ", fit(X, y).round(4))
print("fit_regularized, rows twice   ", twice.round(4))
print("fit_regularized, freq_weights ", weighted.round(4))
plain = fit(np.vstack([X, X]), np.append(y, y), False), fit(X, y, False, freq_weights=np.full(200, 2.0))
print(f"fit: largest difference of rows twice and freq_weights {np.abs(plain[0] - plain[1]).max():.1e}")
if np.abs(weighted - twice).max() < 0.1 or np.abs(plain[0] - plain[1]).max() > 1e-6:
    sys.exit("no longer so: frequency weights are copies")
PYTHON
