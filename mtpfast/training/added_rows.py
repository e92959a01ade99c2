"""Rows added to a victim's training set, and how often."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp

from mtpfast._rows import LONG_ROW
from mtpfast.arrays.corners import Corners
from mtpfast.arrays.growing import Growing
from mtpfast.arrays.rows import slices

__all__ = ["AddedRows"]


class AddedRows:
    """The distinct added points, dense or CSR like the clean rows.

    Points of a box are corners of it, but for an entry or two. Where they are long and ``may_be_corners`` they are kept
    in a bit an entry (:class:`Corners`), next to sparse clean rows, too, if the first of them has more than a few
    entries; with the first point that is no corner all of them become dense.

    Memory does not grow in place while somebody holds a view of it. So ``reader`` (``_hinge.HingeSolver.set_added``)
    gets the memory when it is about to read (:meth:`show`), and loses it when that is about to grow (:meth:`hide`).
    """

    def __init__(self, n_features, sparse, may_be_corners=False):
        self.n, self.n_features, self.sparse, self.may_be_corners = 0, n_features, sparse, may_be_corners
        self.corners = None
        self.y, self.count = Growing(), Growing()
        self.data, self.indices, self.indptr = Growing(), Growing(dtype=np.int32), Growing(dtype=np.int32)
        self.reader, self.shown = None, False

    def append(self, x, y) -> int:
        i = self.n
        if i == 0:
            filled = not self.sparse or 4 * np.count_nonzero(x) > len(x)
            if self.may_be_corners and filled:
                self.sparse = False
                if len(x) >= LONG_ROW:
                    self.corners = Corners(len(x))
            if self.sparse:
                self.indptr.append(0)
            else:
                self.data = Growing((self.n_features,))
        if self.corners is not None:
            if self.corners.is_full():
                self.hide()
            if not self.corners.append(x):
                self.hide()
                self._unfold(i)
        if self.corners is not None:
            pass
        elif self.sparse:
            nonzero = np.flatnonzero(x)
            end = len(self.data) + len(nonzero)
            if end > min(len(self.data.block), len(self.indices.block)) or i + 2 > len(self.indptr.block):
                self.hide()
            self.data.extend(x[nonzero])
            self.indices.extend(nonzero)
            self.indptr.append(end)
        else:
            if i == len(self.data.block):
                self.hide()
            self.data.append(x)
        self.y.append(y)
        self.count.append(0.0)
        self.n = i + 1
        return i

    def _unfold(self, n):
        """The n corners become dense rows."""
        self.data.reserve(n + 1)
        for part in slices(0, n, max(1, 2**15 // self.n_features)):
            self.data.extend(self.corners.dense(part.start, part.stop))
        self.corners = None

    def show(self):
        """Give the reader the memory, unless there are no rows or it is where the reader saw it last."""
        if self.n and not self.shown:
            self.reader(self.block(), self.n)
            self.shown = True

    def hide(self):
        """Take the memory from the reader."""
        if self.shown:
            self.reader(np.empty((0, self.n_features)), 0)
            self.shown = False

    def block(self):
        """What ``_hinge.HingeSolver`` reads: all the memory there is."""
        if self.corners is not None:
            return self.corners.block()
        if not self.sparse:
            return self.data.block
        indptr = self.indptr.block
        shape = (len(indptr) - 1, self.n_features)
        return SimpleNamespace(shape=shape, data=self.data.block, indices=self.indices.block, indptr=indptr)

    def matrix(self):
        if not self.n:
            return (sp.csr_matrix if self.sparse else np.zeros)((0, self.n_features))
        if self.corners is not None:
            return self.corners.matrix()
        if not self.sparse:
            return self.data.rows
        arrays = self.data.rows, self.indices.rows, self.indptr.rows
        return sp.csr_matrix(arrays, shape=(self.n, self.n_features))

    def hand_over(self, n, sparse):
        """(points, labels) of the first n, CSR where ``sparse``; the rows are gone then."""
        labels = self.y.rows[:n].copy()
        if self.corners is not None:
            corners, self.n, self.corners = self.corners, 0, None
            corners.truncate(n)
            return corners.matrix(sparse), labels
        points = self.matrix()
        if n < self.n:
            points = points[:n]
        self.n, data, self.data = 0, self.data, None
        if sparse and not sp.issparse(points):
            del points
            points = _to_csr(data, n)
        return points, labels


def _to_csr(rows: Growing, n):
    """The first n rows as CSR, from the last to the first: each is given up as it is copied."""
    d = rows.block.shape[1]
    rows.truncate(n)
    step = max(1, 2**15 // d)
    parts = list(slices(0, n, step))
    counts = [np.count_nonzero(rows.block[part], axis=1) for part in parts]
    indptr = np.concatenate([[0], *counts]).cumsum()
    index = sp.get_index_dtype(maxval=max(int(indptr[-1]), d))
    data, indices = np.empty(indptr[-1]), np.empty(indptr[-1], dtype=index)
    for part in reversed(parts):
        dense = rows.block[part]
        i, j = np.nonzero(dense)
        to = slice(indptr[part.start], indptr[part.stop])
        data[to], indices[to] = dense[i, j], j
        del dense
        rows.truncate(part.start)
    return sp.csr_matrix((data, indices, indptr.astype(index)), shape=(n, d))
