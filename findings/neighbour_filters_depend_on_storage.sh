#!/usr/bin/env bash
# imbalanced-learn 0.14.2 (scikit-learn 1.9.1): on a table of zeros and ones the noise filters clean other rows when the
# same table is sparse, or its rows are in another order.
#
# Expected: which rows disagree with their neighbours is a property of the table. A tie here and there moves a row.
# Happens: distances between rows of twelve 0/1 features take a few values, so most third neighbours are tied, and a tree
# (dense) breaks ties otherwise than a full search (sparse). EditedNearestNeighbours keeps 231 or 244 of the same 400
# rows, and disagrees on 61 of them. On features drawn from a normal distribution nothing moves.
# Why it matters: as a sanitiser in front of a linear model it is not a function of the data: one-hot and bag-of-words
# tables, the usual ones, are cleaned by the order of their rows. Poison appended and poison shuffled in fare
# differently.
#
# Output seen:
#   imbalanced-learn 0.14.2 scikit-learn 1.9.1
#   zeros and ones, EditedNearestNeighbours: kept [231, 244, 226] (dense, sparse, shuffled); rows that differ: sparse
#       61, shuffled 81
#   zeros and ones, AllKNN: kept [260, 205, 249] (dense, sparse, shuffled); rows that differ: sparse 63, shuffled 39
#   zeros and ones, NeighbourhoodCleaningRule: kept [257, 267, 256] (dense, sparse, shuffled); rows that differ:
#       sparse 82, shuffled 73
#   normal, EditedNearestNeighbours: kept [241, 241, 241] (dense, sparse, shuffled); rows that differ: sparse 0,
#       shuffled 0
#   normal, AllKNN: kept [194, 194, 194] (dense, sparse, shuffled); rows that differ: sparse 0, shuffled 0
#   normal, NeighbourhoodCleaningRule: kept [263, 263, 263] (dense, sparse, shuffled); rows that differ: sparse 0,
#       shuffled 0
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check \
    imbalanced-learn==0.14.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from importlib.metadata import version
from imblearn.under_sampling import AllKNN, EditedNearestNeighbours, NeighbourhoodCleaningRule
from scipy.sparse import csr_matrix

print("imbalanced-learn", version("imbalanced-learn"), "scikit-learn", version("scikit-learn"))
rng = np.random.default_rng(0)
tables = {"zeros and ones": (rng.random((400, 12)) < 0.3) * 1.0, "normal": rng.normal(size=(400, 12))}
y = (rng.random(400) < 0.3).astype(int)
order = rng.permutation(400)
found = {}
for name, X in tables.items():
    for kind in (EditedNearestNeighbours, AllKNN, NeighbourhoodCleaningRule):
        kept = []
        for rows, labels, ids in ((X, y, np.arange(400)), (csr_matrix(X), y, np.arange(400)), (X[order], y[order], order)):
            sampler = kind()
            sampler.fit_resample(rows, labels)
            kept.append(set(ids[sampler.sample_indices_].tolist()))
        found[name, kind] = (len(kept[0] ^ kept[1]), len(kept[0] ^ kept[2]))
        print(f"{name}, {kind.__name__}: kept {[len(k) for k in kept]} (dense, sparse, shuffled); rows that differ: sparse {found[name, kind][0]}, shuffled {found[name, kind][1]}")
if any((min(v) < 20) if k[0] == "zeros and ones" else max(v) for k, v in found.items()):
    sys.exit("no longer so: the rows that are kept depend on the table alone")
PYTHON
