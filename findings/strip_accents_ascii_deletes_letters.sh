#!/bin/sh
# scikit-learn 1.9.1 (numpy 2.4.6, scipy 1.17.1): CountVectorizer(strip_accents="ascii")
#
# Expected: accents go, letters stay, as they are or as their usual replacement; "unicode" and "ascii" differ in
#           speed.
# Seen:     every letter that is not an ASCII one plus an accent is deleted without a replacement, so that different
#           words become one and words become others; "unicode" keeps them.
# Matters:  texts and vocabulary can be told apart by what the vectorizer counts only, not by their words.
#
# Output seen:
#   ascii:   ['ma', 'odz', 'strae', 'uvre']
#   unicode: ['maß', 'straße', 'łodz', 'œuvre']
set -eu
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
PYTHONIOENCODING=utf-8 "$dir/venv/bin/python" - <<'PY'
from sklearn.feature_extraction.text import CountVectorizer

text = ["Stra\u00dfe \u0141\u00f3d\u017a \u0153uvre Ma\u00df"]
ways = ("ascii", "unicode")
words = {way: CountVectorizer(strip_accents=way).fit(text).get_feature_names_out().tolist() for way in ways}
print("ascii:  ", words["ascii"])
print("unicode:", words["unicode"])
assert words["ascii"] == ["ma", "odz", "strae", "uvre"]
assert words["unicode"] == ["ma\u00df", "stra\u00dfe", "\u0142odz", "\u0153uvre"]
PY
