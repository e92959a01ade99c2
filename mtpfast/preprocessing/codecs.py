"""Which codec turns points back into records for a given preprocessing."""

from __future__ import annotations

from mtpfast.arrays.frames import as_table, as_texts

from .tables import RecordCodec
from .texts import TextCodec, is_vectorizer

__all__ = ["as_raw", "codec_of"]


def as_raw(preprocessing, X, name: str = "X"):
    """What a preprocessing reads: texts for a vectorizer, a table for anything else."""
    return as_texts(X, name) if is_vectorizer(preprocessing) else as_table(X, name)


def codec_of(preprocessing, raw, rules=None) -> TextCodec | RecordCodec:
    """What translates the rows of a fitted preprocessing; ``rules`` on raw columns for tables."""
    if not is_vectorizer(preprocessing):
        return RecordCodec(preprocessing, raw, rules)
    if rules is not None:
        raise ValueError("rules speak of the columns of a table, the victim reads texts: use feasible_set")
    return TextCodec(preprocessing, raw)
