"""Long rows in codes of one byte an entry."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rows import SLICE, slices

__all__ = ["row_codes"]


#: So many combinations of the values of neighbouring columns may share a code.
PATTERNS = 512


def row_codes(X):
    """``codes`` (n, g) and ``patterns``, a CSR matrix of one row per code: row i of X is the sum of the patterns
    of codes[i]. Neighbouring columns that together take at most `PATTERNS` combinations of values share a code.
    None where that makes more than a code for six columns."""
    n, d = X.shape
    parts = list(slices(0, n, SLICE))  # what is wider than a code is held for a few rows only
    codes, columns = [], []
    for j in range(d):
        values = np.unique(X[:, j])
        m = len(values)
        if m > PATTERNS or 6 * len(codes) > d:
            return None
        code = np.empty(n, dtype=np.uint16)
        for rows in parts:
            code[rows] = np.searchsorted(values, X[rows, j])
        if codes:
            last, taken = codes[-1], np.zeros((int(codes[-1].max()) + 1) * m, dtype=bool)
            for rows in parts:
                taken[code[rows] + last[rows] * np.int64(m)] = True
            if np.count_nonzero(taken) <= PATTERNS:
                number = (np.cumsum(taken) - 1).astype(np.uint16)
                for rows in parts:
                    last[rows] = number[code[rows] + last[rows] * np.int64(m)]
                columns[-1] = slice(columns[-1].start, j + 1)
                continue
        codes.append(code)
        columns.append(slice(j, j + 1))
    firsts = [np.unique(code, return_index=True)[1] for code in codes]
    starts = np.cumsum([0] + [len(first) for first in firsts])
    if 6 * len(codes) > d or starts[-1] > 2**16:
        return None
    blocks = [sp.csr_matrix(X[first, these]) for first, these in zip(firsts, columns, strict=True)]
    patterns = sp.block_diag(blocks, format="csr")
    out = np.empty((n, len(codes)), dtype=np.uint16)
    for i in range(len(codes)):
        np.add(codes[i], starts[i], out=out[:, i], casting="unsafe")
        codes[i] = None
    return out, patterns
