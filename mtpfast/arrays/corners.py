"""Rows that are corners of one box but for a few entries: one bit an entry."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp

from .growing import Growing
from .rows import slices

__all__ = ["Corners"]


#: A row with more entries inside the box than one in so many is no corner.
ODD = 64
#: Rows are unpacked so many bytes at a time.
BLOCK = 2**18


class Corners:
    """Rows x of d entries, each of which is ``low_j`` or ``high_j`` but for a few, which are kept as they are.

    Where the first row has zeros and ones, ``low`` is 0 and ``high`` is 1. Else its entries are ``low``; a second value
    of a column is ``high_j`` as soon as another row has it, too, and is kept as it is before. The points that hurt most
    lie in corners of a box but for one entry, so a row takes d bits and a few numbers instead of 8 d bytes.

    Parameters
    ----------
    d : int

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.arrays.corners import Corners
    >>> rows = Corners(3)
    >>> rows.append(np.array([0.0, 1.0, 0.0])), rows.append(np.array([1.0, 1.0, 0.0]))
    (True, True)
    >>> rows.matrix()
    array([[0., 1., 0.],
           [1., 1., 0.]])
    """

    def __init__(self, d: int):
        self.d = d
        self.low, self.high, self._second = np.full((3, d), np.nan)
        self.is_unit = False
        self.bits = Growing((-(-d // 64),), dtype=np.uint64)
        self.odd, self.column, self.indptr = Growing(), Growing(dtype=np.int32), Growing(dtype=np.int32)
        self.indptr.append(0)

    def __len__(self) -> int:
        return len(self.bits)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.d

    @property
    def nbytes(self) -> int:
        """What is held of the rows there are."""
        parts = self.bits, self.odd, self.column, self.indptr
        return 3 * self.low.nbytes + sum(part.rows.nbytes for part in parts)

    def is_full(self) -> bool:
        """Whether the next row may need memory that moves."""
        room = self.d
        return (
            len(self.bits) == len(self.bits.block)
            or len(self.odd) + room > min(len(self.odd.block), len(self.column.block))
            or len(self.indptr) == len(self.indptr.block)
        )

    def append(self, x) -> bool:
        """Take in a row. False if it is no corner; nothing has changed then. O(d)."""
        if not len(self):
            self.is_unit = np.count_nonzero((x != 0.0) & (x != 1.0)) <= self.d // ODD + 1
            self.low[:] = 0.0 if self.is_unit else x
            self.high[:] = self._second[:] = 1.0 if self.is_unit else np.nan
        off = np.flatnonzero(x != self.low)
        again = off[(x[off] == self._second[off]) & np.isnan(self.high[off])]
        self.high[again] = x[again]
        flagged = x[off] == self.high[off]
        odd = off[~flagged]
        new = odd[np.isnan(self._second[odd])]
        if len(odd) - len(new) > self.d // ODD + 1 or np.isnan(x).any():
            return False
        self._second[new] = x[new]
        flags = np.zeros(64 * self.bits.block.shape[1], dtype=bool)
        flags[off[flagged]] = True
        self.bits.append(np.packbits(flags, bitorder="little").view("<u8"))
        self.odd.extend(x[odd])
        self.column.extend(odd)
        self.indptr.append(len(self.odd))
        return True

    def dense(self, start: int, stop: int) -> np.ndarray:
        """The rows from start to stop: a new array."""
        bits = self.bits.rows[start:stop].astype("<u8", copy=False).view(np.uint8)
        flags = np.unpackbits(bits, axis=1, count=self.d, bitorder="little").view(bool)
        out = np.where(flags, self.high, self.low)
        indptr = self.indptr.rows
        for i in range(start, stop):
            some = slice(indptr[i], indptr[i + 1])
            out[i - start, self.column.rows[some]] = self.odd.rows[some]
        return out

    def matrix(self, sparse: bool = False):
        """All rows: a new array, or a CSR matrix."""
        parts = list(slices(0, len(self), max(1, BLOCK // (8 * self.d))))
        if not sparse:
            out = np.empty(self.shape)
            for part in parts:
                out[part] = self.dense(part.start, part.stop)
            return out
        counts = [np.count_nonzero(self.dense(part.start, part.stop), axis=1) for part in parts]
        indptr = np.concatenate([[0], *counts]).cumsum()
        index = sp.get_index_dtype(maxval=max(int(indptr[-1]), self.d))
        data, indices = np.empty(indptr[-1]), np.empty(indptr[-1], dtype=index)
        for part in parts:
            rows = self.dense(part.start, part.stop)
            i, j = np.nonzero(rows)
            to = slice(indptr[part.start], indptr[part.stop])
            data[to], indices[to] = rows[i, j], j
        return sp.csr_matrix((data, indices, indptr.astype(index)), shape=self.shape)

    def truncate(self, n: int) -> None:
        """Keep the first n rows."""
        end = int(self.indptr.rows[min(n, len(self))])
        self.bits.truncate(n)
        self.indptr.truncate(n + 1)
        self.odd.truncate(end)
        self.column.truncate(end)

    def block(self):
        """What compiled code reads (``rows_of``): all the memory there is."""
        return SimpleNamespace(
            shape=(len(self.bits.block), self.d),
            bits=self.bits.block,
            is_unit=self.is_unit,
            low=self.low,
            high=self.high,
            data=self.odd.block,
            indices=self.column.block,
            indptr=self.indptr.block,
        )
