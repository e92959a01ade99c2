#!/usr/bin/env bash
# imbalanced-learn 0.14.2, BorderlineSMOTE: where the classes lie apart it returns the table as it was, and says
# nothing.
#
# Expected: sampling_strategy="auto" makes classes of one size, as it does with SMOTE; or an error, as ADASYN's on the
# same rows.
# Happens: only rows of the smaller class that have mostly rows of the other among their neighbours are multiplied.
# Where there is none, no row is added: 60 stay 60 beside 240. SVMSMOTE on the same rows adds some and ends at 132. With
# the classes nearer to each other both reach 240.
# Why it matters: the better the features, the less is balanced. Whether the model behind is trained with one row in
# five of the smaller class or with one in two depends on whether a single row of it stands at the border.
#
# Output seen:
#   imbalanced-learn 0.14.2 scikit-learn 1.9.1
#   SMOTE: classes of [240, 240]
#   BorderlineSMOTE: classes of [240, 60]
#   SVMSMOTE: classes of [240, 132]
#   ADASYN: RuntimeError
#   BorderlineSMOTE, classes a third as far apart: classes of [240, 240]
#   SVMSMOTE, classes a third as far apart: classes of [240, 240]
#   warnings 0
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check imbalanced-learn==0.14.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from imblearn.over_sampling import ADASYN, SMOTE, SVMSMOTE, BorderlineSMOTE

print("imbalanced-learn", version("imbalanced-learn"), "scikit-learn", version("scikit-learn"))
rng = np.random.default_rng(0)
y = (np.arange(300) < 60).astype(int)
apart = rng.normal(size=(300, 3)) + 6.0 * y[:, None]
sizes = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for sampler in (SMOTE, BorderlineSMOTE, SVMSMOTE, ADASYN):
        name = sampler.__name__
        try:
            labels = sampler(random_state=0).fit_resample(apart, y)[1]
        except (RuntimeError, ValueError) as error:
            print(f"{name}: {type(error).__name__}")
            continue
        sizes[name] = np.bincount(labels).tolist()
        print(f"{name}: classes of {sizes[name]}")
    for sampler in (BorderlineSMOTE, SVMSMOTE):
        labels = sampler(random_state=0).fit_resample(apart - 4.0 * y[:, None], y)[1]
        sizes["nearer", sampler.__name__] = np.bincount(labels).tolist()
        print(f"{sampler.__name__}, classes a third as far apart: classes of {sizes['nearer', sampler.__name__]}")
print(f"warnings {len(said)}")
if sizes["SMOTE"] != [240, 240] or sizes["BorderlineSMOTE"] != [240, 60] or sizes["nearer", "BorderlineSMOTE"] != [240, 240] or said:
    sys.exit("no longer so: the classes are balanced, or it is said that they are not")
PYTHON
