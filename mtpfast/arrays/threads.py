"""One pass over very many rows in memory, on joblib's threads."""

from __future__ import annotations

from itertools import pairwise

from joblib import Parallel, delayed

__all__ = ["in_chunks"]


#: From so many rows on a pass is made in chunks of so many: one of theirs takes some ten milliseconds.
MANY, CHUNK = 2**20, 2**18


def in_chunks(function, start: int, stop: int) -> list:
    """``function(i, j)`` for chunks of the rows from start to stop, in order; one chunk where they are not very many.

    The chunks depend on the number of rows alone, so that what is made of the results is the same for any number of
    threads: one, or ``joblib.parallel_config(n_jobs=...)``'s. The function must let go of the GIL to gain from them.
    """
    if stop - start < MANY:
        return [function(start, stop)]
    ends = [*range(start, stop, CHUNK), stop]
    # processes would be sent the rows: only threads share them
    return Parallel(require="sharedmem")(delayed(function)(i, j) for i, j in pairwise(ends))
