#!/bin/sh
# scikit-learn 1.9.1 (numpy 2.4.6, scipy 1.17.1): TfidfTransformer(sublinear_tf=True)
#
# Expected: term weights are not negative, and grow from 0 with the term's frequency.
# Seen:     1 + log(tf) is taken of every stored value, so relative frequencies (an l1-normalised matrix of counts, as
#           two transformers in a row leave it) below 1/e become negative, while a word that does not occur stays 0:
#           the rarer a word that occurs, the further below the words that do not.
# Matters:  "x >= 0" cannot be taken for granted of tf-idf rows.
#
# Output seen:
#   shares  [0.1, 0.3, 0.6, 0.0]
#   weights [-1.303, -0.204, 0.489, 0.0]
set -eu
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$dir/venv/bin/python" - <<'PY'
from sklearn.feature_extraction.text import TfidfTransformer

counts = [[1, 3, 6, 0]]
shares = TfidfTransformer(use_idf=False, norm="l1").fit_transform(counts)
weights = TfidfTransformer(use_idf=False, norm=None, sublinear_tf=True).fit_transform(shares)
print("shares ", shares.toarray()[0].round(3).tolist())
print("weights", weights.toarray()[0].round(3).tolist())
assert weights.toarray()[0].round(3).tolist() == [-1.303, -0.204, 0.489, 0.0]
PY
