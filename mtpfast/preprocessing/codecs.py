"""Which codec turns points back into records for a given preprocessing."""

from __future__ import annotations

from mtpfast.arrays.frames import as_table, as_texts

from .tables import RecordCodec
from .texts import TextCodec, is_vectorizer

__all__ = ["as_raw", "codec_of"]


def as_raw(preprocessing, X, name: str = "X"):
    """What a preprocessing reads: texts for a vectorizer, a table for anything else."""
    return as_texts(X, name) if is_vectorizer(preprocessing) else as_table(X, name)


def codec_of(preprocessing, raw) -> TextCodec | RecordCodec:
    """What translates the rows of a fitted preprocessing."""
    return (TextCodec if is_vectorizer(preprocessing) else RecordCodec)(preprocessing, raw)
