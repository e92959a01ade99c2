#!/bin/sh
# scikit-learn 1.9.1 (numpy 2.4.6, scipy 1.17.1): CountVectorizer
#
# Expected: a word of letters is one token, whatever its language.
# Seen:     the default token pattern ends a word at a combining mark, and drops pieces of one character. So Hindi
#           words lose what follows their first vowel sign. Turkish names lose their first letter without any mark in
#           the text: lower-casing a capital dotted I makes two characters, an i and a combining dot. The same word
#           composed and decomposed counts as two different words.
# Matters:  a word of the vocabulary need not be a word of any text; what is not found again cannot be written.
#
# Output seen:
#   '\u0130stanbul' İstanbul -> ['stanbul']
#   '\u0928\u092e\u0938\u094d\u0924\u0947' नमस्ते -> ['नमस']
#   'caf\xe9 cafe\u0301' café café -> ['cafe', 'café']
set -eu
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
PYTHONIOENCODING=utf-8 "$dir/venv/bin/python" - <<'PY'
from sklearn.feature_extraction.text import CountVectorizer

turkish, hindi, french = "\u0130stanbul", "\u0928\u092e\u0938\u094d\u0924\u0947", "caf\u00e9 cafe\u0301"
found = [CountVectorizer().fit([text]).get_feature_names_out().tolist() for text in (turkish, hindi, french)]
for text, words in zip((turkish, hindi, french), found):
    print(f"{ascii(text)} {text} -> {words}")
assert found == [["stanbul"], [hindi[:3]], ["cafe", "caf\u00e9"]]
PY
