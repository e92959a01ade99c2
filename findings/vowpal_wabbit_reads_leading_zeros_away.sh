#!/usr/bin/env bash
# vowpalwabbit 9.11.9: the features 7, 07 and 007 are one feature, so codes with leading zeros share a weight.
#
# Expected: a feature's name is text and is hashed; names that differ are different features, save for a rare collision.
# Happens: a name of digits alone is read as a number and added to the hash of its namespace. Leading zeros are lost:
# what was trained on 02108 is predicted for 2108. "+7", "7.0" and "a07" are hashed as text. With --hash all every name
# is.
# Why it matters: post codes, product numbers and hashed identifiers are such names. Rows with one of them move the
# weight of the other: poison need not name the feature that it is aimed at, and no counting of names shows it.
#
# Output seen:
#   vowpalwabbit 9.11.9
#   --hash strings: 7 and 007 one feature True, 7 and 7.0 False, a7 and a07 False
#       trained on 02108 alone, predicted for 02108 1.000, for 2108 1.000, for 12108 0.439
#   --hash all: 7 and 007 one feature False, 7 and 7.0 False, a7 and a07 False
#       trained on 02108 alone, predicted for 02108 1.000, for 2108 0.439, for 12108 0.439
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check vowpalwabbit==9.11.9 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from vowpalwabbit import Workspace

print("vowpalwabbit", version("vowpalwabbit"))
found = {}
for how in ("strings", "all"):
    model = Workspace(f"--quiet -b 20 --hash {how}")

    def place(name):
        example = model.parse(f"1 | {name}:1")
        index = next(iter(example.iter_features()))[0]
        model.finish_example(example)
        return index

    same = [place(a) == place(b) for a, b in (("7", "007"), ("7", "7.0"), ("a7", "a07"))]
    for _ in range(200):
        model.learn("1 | 02108")
        model.learn("0 | other")
    scores = [float(model.predict(f"| {name}")) for name in ("02108", "2108", "12108")]
    found[how] = same, scores
    print(f"--hash {how}: 7 and 007 one feature {same[0]}, 7 and 7.0 {same[1]}, a7 and a07 {same[2]}")
    print("    trained on 02108 alone, predicted for 02108 {:.3f}, for 2108 {:.3f}, for 12108 {:.3f}".format(*scores))
    model.finish()
same, scores = found["strings"]
if same != [True, False, False] or scores[0] != scores[1] or scores[1] - scores[2] < 0.2 or any(found["all"][0]):
    sys.exit("no longer so: names of digits keep their zeros")
PYTHON
