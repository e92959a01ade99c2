#!/usr/bin/env bash
# fairlearn 0.15.0: a classifier without one error has an equalised odds difference of 1, the worst there is, where one
# group has no row of the positive class.
#
# Expected: the true positive rate of a group without positives is undefined: NaN, a warning, or a group left out of the
# comparison. A classifier that is always right treats the groups alike by equalised odds.
# Happens: true_positive_rate returns 0.0 for such a group, as if each positive had been missed. Its false_negative_rate
# is 0.0 as well, so the two do not sum to 1. The rates of a group without negatives go the same way. Nothing is said.
# Why it matters here: poisoning and sanitising take whole classes out of small groups. The measured unfairness then is
# a count of absent rows: it jumps from 0 to 1 as the last positive row of a group leaves the table.
#
# Output seen:
#   fairlearn 0.15.0
#   predictions equal to the labels, group b with one positive row: tpr {'a': 1.0, 'b': 1.0}, difference 0.0, ratio 1.0
#   predictions equal to the labels, group b with no positive row: tpr {'a': 1.0, 'b': 0.0}, difference 1.0, ratio 0.0
#   group b: true positive rate 0.0 and false negative rate 0.0, recall of scikit-learn with zero_division=nan nan
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check fairlearn==0.15.0 scikit-learn==1.9.1 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from fairlearn.metrics import (
    MetricFrame,
    equalized_odds_difference,
    equalized_odds_ratio,
    false_negative_rate,
    true_positive_rate,
)
from sklearn.metrics import recall_score

print("fairlearn", version("fairlearn"))
group = np.array(["a"] * 20 + ["b"] * 5)
found = {}
for last, words in ((1, "one positive row"), (0, "no positive row")):
    y = np.array([1, 0] * 10 + [0, 0, 0, 0, last])
    tpr = MetricFrame(metrics=true_positive_rate, y_true=y, y_pred=y, sensitive_features=group).by_group
    difference = equalized_odds_difference(y, y, sensitive_features=group)
    ratio = equalized_odds_ratio(y, y, sensitive_features=group)
    found[last] = float(difference)
    rates = {name: float(rate) for name, rate in tpr.items()}
    print(f"predictions equal to the labels, group b with {words}: tpr {rates}, difference {difference}, ratio {ratio}")
b = y[group == "b"]
both = true_positive_rate(b, b), false_negative_rate(b, b)
recall = recall_score(b, b, zero_division=np.nan)
print(f"group b: true positive rate {both[0]} and false negative rate {both[1]}, recall of scikit-learn with zero_division=nan {recall}")
if found != {1: 0.0, 0: 1.0} or both != (0.0, 0.0):
    sys.exit("no longer so: a rate without rows is undefined")
PYTHON
