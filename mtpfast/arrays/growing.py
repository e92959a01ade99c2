"""Arrays that grow at the end, in memory that is moved by pages and not copied."""

from __future__ import annotations

import mmap
import sys

import numpy as np

__all__ = ["Growing"]


# mmap.resize of memory without a file: elsewhere it does not exist, or loses what was there where it fails.
MOVES_PAGES = sys.platform.startswith("linux")


# On POSIX the default is memory that forked processes share.
OPTIONS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


class Growing:
    """Rows of one shape that are added one by one.

    A list of arrays that is stacked in the end, or a buffer that is copied to a larger one, holds everything twice
    for a while, and the pieces do not go back to the system. Here the system appends pages (mremap), those never
    written to take no memory, and those given up are free at once. Where pages cannot be moved, or while somebody
    looks at them (``block``, ``rows`` and what is cut from them), growing copies: a view stays what it was.

    Parameters
    ----------
    shape : tuple of int
        Of a row; () for numbers.
    dtype : dtype

    Attributes
    ----------
    block : ndarray of shape (capacity, *shape)
        The memory as it stands, rows that are not in use yet included.

    Examples
    --------
    >>> from mtpfast.arrays.growing import Growing
    >>> path = Growing((2,))
    >>> path.append([1.0, 2.0])
    >>> path.append([3.0, 4.0])
    >>> len(path), path.rows
    (2, array([[1., 2.],
           [3., 4.]]))
    """

    def __init__(self, shape: tuple[int, ...] = (), dtype=np.float64):
        self.block = np.empty((0, *shape), dtype=dtype)
        self._n = 0
        self._memory = None

    def __len__(self) -> int:
        return self._n

    @property
    def rows(self) -> np.ndarray:
        """The rows added so far: a view."""
        return self.block[: self._n]

    def append(self, row) -> None:
        """Add a row. O(size of the row), on average where growing copies."""
        n = self._n
        if n == len(self.block):
            self.reserve(n + 1)
        self.block[n] = row
        self._n = n + 1

    def extend(self, rows) -> None:
        """Add rows, in their order."""
        stop = self._n + len(rows)
        self.reserve(stop)
        self.block[self._n : stop] = rows
        self._n = stop

    def reserve(self, n: int) -> None:
        """Make room for ``n`` rows and half as many again, if there is not room for ``n``."""
        if n > len(self.block):
            self._resize(n + n // 2)

    def truncate(self, n: int) -> None:
        """Keep the first ``n`` rows; the memory of the others goes back where pages can be moved."""
        self._n = min(n, self._n)
        if MOVES_PAGES and self._n < len(self.block):
            self._resize(self._n)

    def _resize(self, capacity):
        """Memory for ``capacity`` rows, which hold those there are: larger, or smaller where pages can be moved."""
        shape, dtype = self.block.shape[1:], self.block.dtype
        row = int(np.prod(shape)) * dtype.itemsize
        pages = max(1, -(-capacity * row // mmap.PAGESIZE))
        if self._memory is not None and MOVES_PAGES:
            try:
                self.block = None
                self._memory.resize(pages * mmap.PAGESIZE)
            except BufferError:  # somebody looks
                pass
            finally:
                self._look(shape, dtype)
        if capacity > len(self.block):
            held = self.rows
            self._memory = mmap.mmap(-1, pages * mmap.PAGESIZE, **OPTIONS)
            self._look(shape, dtype)
            self.block[: self._n] = held

    def _look(self, shape, dtype):
        width = int(np.prod(shape))
        capacity = len(self._memory) // max(1, width * dtype.itemsize)
        self.block = np.frombuffer(self._memory, dtype, capacity * width).reshape(capacity, *shape)
