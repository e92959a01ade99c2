"""Memory maps of files: which arrays are one, and letting go of the pages that were read."""

from __future__ import annotations

import mmap

import numpy as np

__all__ = ["is_map_of_singles", "let_go", "map_of"]


def map_of(X):
    """The map of the file that X shows, where its pages may be let go of; else None.

    Of a file that is open for reading only, every page can be read again.
    """
    if not isinstance(X, np.memmap) or X.mode != "r" or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    return X._mmap


def let_go(X):
    """Give up the pages of a memory map that are resident; the next read finds them in the file, or the page cache."""
    pages = map_of(X)
    if pages is not None:
        pages.madvise(mmap.MADV_DONTNEED)


def is_map_of_singles(X) -> bool:
    """Whether X is a memory map of float32 rows, one after the other."""
    return isinstance(X, np.memmap) and X.ndim == 2 and X.dtype == np.float32 and X.flags.c_contiguous
