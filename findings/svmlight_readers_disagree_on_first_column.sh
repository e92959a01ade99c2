#!/usr/bin/env bash
# xgboost 3.2.0, lightgbm 4.7.0, catboost 1.2.10, scikit-learn 1.9.1: one LIBSVM file is a table of 3 columns or of 4,
# and its row weights count for one of the four.
#
# Expected: the format counts features from 1, as LIBSVM does, so the file of three features has three columns; a weight
# behind the label ("1:2.5") is read or refused.
# Happens: XGBoost and LightGBM count from 0 and put an empty column in front; scikit-learn guesses from the smallest
# index of the file and CatBoost counts from 1. XGBoost takes the weight, LightGBM drops it without a word and trains on
# the bare label, scikit-learn and CatBoost refuse the file. LightGBM refuses "# ..." comments.
# Why it matters: a model trained from the file and a table read by another library differ by a column: coefficients
# belong to the neighbour. XGBoost's indexing_mode=1 and load_svmlight_file(zero_based=False) say what is meant.
#
# Output seen:
#   xgboost 3.2.0 lightgbm 4.7.0 catboost 1.2.10 scikit-learn 1.9.1
#   columns: scikit-learn 3, xgboost 4, xgboost indexing_mode=1 3, lightgbm 4, catboost 3
#   first row: scikit-learn [2.0, 3.0, 0.0], xgboost [0.0, 2.0, 3.0, 0.0], catboost [2.0, 3.0, 0.0]
#   labels "1:2.5" and "0:1": xgboost labels [1.0, 0.0] weights [2.5, 1.0], lightgbm labels [1.0, 0.0] weights None,
#       scikit-learn ValueError, catboost CatBoostError
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check xgboost==3.2.0 lightgbm==4.7.0 catboost==1.2.10 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6 pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import catboost
import lightgbm
import xgboost
from sklearn.datasets import load_svmlight_file

warnings.simplefilter("ignore")
print(*(f"{name} {version(name)}" for name in ("xgboost", "lightgbm", "catboost", "scikit-learn")))
with tempfile.TemporaryDirectory() as folder:
    path, weighted = Path(folder, "rows.txt"), Path(folder, "weighted.txt")
    path.write_text("1 1:2 2:3\n0 1:4 3:5\n1 2:1\n")
    weighted.write_text("1:2.5 1:2 2:3\n0:1 1:4 3:5\n")

    def by_xgboost(file, more=""):
        return xgboost.DMatrix(f"{file}?format=libsvm{more}", silent=True)

    def by_lightgbm(file):
        small = {"verbose": -1, "min_data_in_bin": 1, "min_data_in_leaf": 1, "feature_pre_filter": False}
        return lightgbm.Dataset(str(file), params=small).construct()

    def refusal(read):
        try:
            read()
        except Exception as error:
            return type(error).__name__
        return "read"

    table = load_svmlight_file(str(path))[0].toarray()
    boosted, moved, light, cat = by_xgboost(path), by_xgboost(path, "&indexing_mode=1"), by_lightgbm(path), catboost.Pool(f"libsvm://{path}")
    columns = table.shape[1], boosted.num_col(), moved.num_col(), light.num_feature(), cat.shape[1]
    print("columns: scikit-learn {}, xgboost {}, xgboost indexing_mode=1 {}, lightgbm {}, catboost {}".format(*columns))
    print(f"first row: scikit-learn {table[0].tolist()}, xgboost {boosted.get_data().toarray()[0].tolist()}, catboost {cat.get_features()[0].tolist()}")
    heavy, light = by_xgboost(weighted), by_lightgbm(weighted)
    refusals = refusal(lambda: load_svmlight_file(str(weighted))), refusal(lambda: catboost.Pool(f"libsvm://{weighted}"))
    print(f'labels "1:2.5" and "0:1": xgboost labels {heavy.get_label().tolist()} weights {heavy.get_weight().tolist()}, lightgbm labels {light.get_label().tolist()} weights {light.get_weight()}, scikit-learn {refusals[0]}, catboost {refusals[1]}')
    if columns != (3, 4, 3, 4, 3) or heavy.get_weight()[0] != 2.5 or light.get_weight() is not None or "read" in refusals:
        sys.exit("no longer so: the readers agree")
PYTHON
