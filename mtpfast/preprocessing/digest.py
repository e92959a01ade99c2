"""A few records that say of a raw table in parts what a codec asks of all of it: ranges, whole numbers, categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mtpfast.arrays.frames import all_real, as_floats, kind_of, missing_in

from .steps import to_matrix

__all__ = ["Matrix", "digest", "merge_digests"]


FIRST = 64  # rows that are kept for what is typical
ENDS = 8  # distinct numbers that are kept at either end: an imputer's markers may be among them
DISTINCT = 20_000  # distinct values of a column that is no number


@dataclass(frozen=True)
class Matrix:
    """A fitted transformer whose rows are float64: what :func:`to_matrix` makes of them."""

    transformer: Any

    def transform(self, records):
        return to_matrix(self.transformer.transform(records))

    def get_feature_names_out(self):
        return self.transformer.get_feature_names_out()


def digest(table, *_):
    """Some records of a pandas table, in their order, with the range of every column that all have.

    Kept are the first rows; of numbers the least and the largest of all and of those with a fraction, so that what is
    whole or has two values stays what it is; of other columns a row of every value; and a row where one is missing.
    """
    rows = set(range(min(len(table), FIRST)))
    for name in table.columns:
        rows |= set(_told(table[name], name).tolist())
    return table.iloc[sorted(rows)].reset_index(drop=True)


def merge_digests(a, b):
    """The digest of both tables, from theirs."""
    import pandas as pd

    return digest(pd.concat([a, b], ignore_index=True))


def _told(column, name):
    """Positions of the values that say what a column is."""
    missing = missing_in(column)
    rows = [np.flatnonzero(missing)[:1]]
    present = np.flatnonzero(~missing)
    values = column.iloc[present]
    if kind_of(column) in "biuf" or (kind_of(column) == "O" and all_real(values)):
        numbers, first = np.unique(as_floats(values), return_index=True)
        for at in (first, first[numbers != np.rint(numbers)]):
            rows += [present[at[:ENDS]], present[at[-ENDS:]]]
        kinds = {type(value): i for i, value in reversed(list(enumerate(values)))} if kind_of(column) == "O" else {}
        rows.append(present[list(kinds.values())])
    else:
        first = np.flatnonzero(~values.duplicated().to_numpy())
        if len(first) > DISTINCT:
            raise ValueError(f"column {name!r} has more than {DISTINCT} distinct values, too many for records in parts")
        rows.append(present[first])
    return np.concatenate(rows).astype(np.intp)
