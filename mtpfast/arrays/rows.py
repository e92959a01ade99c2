"""Rows of dense and sparse matrices: stacked, merged where they are equal, and read a slice at a time."""

from __future__ import annotations

import hashlib

import numpy as np
import scipy.sparse as sp

from .maps import let_go, map_of

__all__ = ["digests", "every", "in_doubles", "merge", "rough_product", "row_groups", "scores", "slices", "stack"]


#: A loss without a compiled kernel is evaluated so many rows at a time.
SLICE = 512


def slices(start, stop, size):
    return (slice(i, min(i + size, stop)) for i in range(start, stop, size))


def in_doubles(X):
    """X with entries of float64; itself where they are."""
    return X if X.dtype == np.float64 else X.astype(np.float64)


def scores(X, w):
    """``X w`` in float64. Rows of singles are never converted all at once."""
    if X.dtype == np.float64:
        return X @ w
    parts = []
    for rows in slices(0, X.shape[0], SLICE):
        parts.append(in_doubles(X[rows]) @ w)
        let_go(X)
    return np.concatenate(parts)


def every(X, step):
    """Every ``step``-th row in float64; pages of a memory map are let go of on the way."""
    if map_of(X) is None:
        return in_doubles(X[::step])
    size, at = max(1, 2**16 // step) * step, 0
    out = np.empty((-(-X.shape[0] // step), X.shape[1]))
    for rows in slices(0, X.shape[0], size):
        part = X[rows][::step]
        out[at : at + len(part)] = part
        at += len(part)
        let_go(X)
    return out


def digests(X, labels) -> np.ndarray:
    """64 bits for every row and its label: of the entries that are not zero, in single precision. O(n d).

    Equal rows have equal digests, dense or sparse, wherever they stand; those of others differ but for 1 in 10^19.
    """
    X = sp.csr_matrix(X).sorted_indices()
    with np.errstate(over="ignore"):
        values = X.data.astype("<f4")
    columns, found = X.indices.astype("<i8"), np.empty(X.shape[0], dtype=np.uint64)
    for i, label in enumerate(labels):
        own = slice(X.indptr[i], X.indptr[i + 1])
        some = values[own] != 0.0
        told = columns[own][some].tobytes() + values[own][some].tobytes() + bytes([int(label > 0)])
        found[i] = int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")
    return found


def stack(X, added):
    """``added`` below X: a CSR matrix where X is sparse, else an array."""
    if sp.issparse(X):
        return sp.vstack([X, sp.csr_matrix(added)], format="csr")
    return np.vstack([X, added.toarray() if sp.issparse(added) else added])


def merge(X, labels, counts=None):
    """Equal rows of one label together: ``[(row, label, count)]``, in the order in which they first come.

    ``counts``: how often each row stands for itself; once by default. 0.0 and -0.0 are equal. O(n d).
    """
    if sp.issparse(X):
        X.sort_indices()
        keys = [
            (X.indices[a:b].tobytes(), (X.data[a:b] + 0.0).tobytes())
            for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)
        ]
    else:
        keys = [(np.asarray(x) + 0.0).tobytes() for x in X]
    first, together = {}, {}
    for i, (key, label) in enumerate(zip(keys, labels, strict=True)):
        key = key, float(label)
        first.setdefault(key, i)
        together[key] = together.get(key, 0) + (1 if counts is None else int(counts[i]))
    return [(X[i], key[1], together[key]) for key, i in first.items()]


def row_groups(X, decimals=None) -> np.ndarray:
    """A number for every row, the same for equal rows, counted in the order in which they first come. O(n d)."""
    if decimals is not None:
        X = X.copy()
        if sp.issparse(X):
            X.data = np.round(X.data, decimals)
        else:
            X = np.round(X, decimals)
    known = {}
    if sp.issparse(X):
        X = X.copy()
        X.eliminate_zeros()
        ends = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        keys = ((X.indices[a:b].tobytes(), X.data[a:b].tobytes()) for a, b in ends)
    else:
        keys = ((x + 0.0).tobytes() for x in X)  # -0.0 is 0.0
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.intp)


def rough_product(A, v):
    """``A v`` to 1e-6 or so of its size, as float64: A is dense and of float32, or sparse."""
    with np.errstate(invalid="ignore"):  # a float32 product of OpenBLAS sets the flag, now and then, for lanes unused
        return np.asarray(A @ v.astype(A.dtype), dtype=float)
