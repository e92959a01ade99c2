#!/bin/sh
# scikit-learn 1.9.1 (numpy 2.4.6, scipy 1.17.1): TfidfVectorizer
#
# Expected: fit(texts).transform(texts) and fit_transform(texts) are the same matrix.
# Seen:     they differ in the last bits of many entries. fit_transform leaves the entries of a row in the order in
#           which the words first came; transform sorts them by column. The norm of a row is summed in stored order.
# Matters:  a row can be told to be that of a text bit for bit only against transform.
#
# Output seen:
#   sorted rows: fit_transform False, transform True
#   entries that differ: 38 of 189, by at most 5.6e-17
set -eu
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$dir/venv/bin/python" - <<'PY'
from sklearn.feature_extraction.text import TfidfVectorizer

texts = [" ".join(f"word{(7 * i + k * k + 3 * k) % 41}" for k in range(9)) for i in range(21)]
vectorizer = TfidfVectorizer()
first = vectorizer.fit_transform(texts)
again = vectorizer.transform(texts)
print(f"sorted rows: fit_transform {bool(first.has_sorted_indices)}, transform {bool(again.has_sorted_indices)}")
differ = first != again
print(f"entries that differ: {differ.nnz} of {first.nnz}, by at most {abs(first - again).max():.1e}")
assert not first.has_sorted_indices and again.has_sorted_indices
assert 0 < differ.nnz < first.nnz and abs(first - again).max() < 1e-15
PY
