"""The rows of a hinge problem, and their codes of a byte an entry."""

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdlib cimport free
from libc.string cimport memcpy

from mtpfast._core cimport DONE, EPS, Rows, grow, products, row_dot, rows_of
from mtpfast._simd cimport mtp_code, mtp_dot, mtp_widen

import numpy as np

LONG_ROW = LONG

cdef enum:
    WINDOW = 65536    # bytes of a file: a page fault brings in this much, or some more
    WINDOWS = 2048    # so many of them stay resident: 128 MB of a pass; of rows far apart, less than a GB


def lengthened(a, Py_ssize_t n):
    """A copy of n entries, those beyond the old ones 0."""
    a = np.asarray(a)
    out = np.zeros(n, dtype=a.dtype)
    out[: len(a)] = a
    return out


cdef Rows rows_or_singles_of(X):
    """A dense array of doubles or singles, or CSR."""
    cdef Rows rows
    cdef const float[::1] data
    if getattr(X, "dtype", None) != np.float32:
        return rows_of(X)
    rows = rows_of(np.empty((0, X.shape[1])))
    data = X.reshape(-1)
    if data.shape[0]:
        rows.single = &data[0]
    return rows


cdef class MarginRows:
    """The rows a_i = y_i (x_i, 1), clean then added, and what is known of each (`Row`).

    Without an intercept the last entry of a_i is 0. A `Row` is one line of the cache. Invariants:

        n_clean <= n <= capacity;   row[i].norm = |a_i|   and   row[i].c >= 0   for i < n.

    Clean rows may be a memory map of a file, with a function `let_go` of its pages: it is called after `WINDOWS` parts
    of it were entered, and no more than these are resident.
    """

    def __cinit__(self):
        self.row = NULL

    def __init__(self, X, const double[::1] y, bint intercept, let_go=None):
        cdef Py_ssize_t i
        self.d, self.n_clean, self.n = X.shape[1], X.shape[0], 0
        if y.shape[0] != self.n_clean:
            raise ValueError("MarginRows: shapes disagree")
        self.intercept, self.capacity = intercept, 0
        self.clean, self.clean_owner = rows_or_singles_of(X), X
        self.let_go, self.mapped = let_go, let_go is not None
        self.window, self.n_windows, self.window_bits = -1, 0, 0
        while self.mapped and X.dtype.itemsize * self.d << (self.window_bits + 1) <= WINDOW:
            self.window_bits += 1
        self.added, self.added_owner = self.clean, None
        self.reserve(self.n_clean)
        self.unit = np.zeros(self.d + 1)
        for i in range(self.n_clean):
            self.add(y[i])

    cdef reserve(self, Py_ssize_t n):
        """Room for n rows; those that are there stay."""
        cdef double[::1] block
        cdef Row *row
        if n <= self.capacity and self.row != NULL:
            return
        n += n // 4 + 4096  # pages that are not written to take no memory
        owner = np.zeros((n + 1) * (sizeof(Row) // sizeof(double)))
        block = owner
        row = <Row *>(&block[0] + (-<size_t>&block[0] % 64) // sizeof(double))
        if self.row != NULL:
            memcpy(row, self.row, self.n * sizeof(Row))
        self.row, self.row_owner, self.capacity = row, owner, n

    cdef set_added(self, X):
        """Let X hold the added rows; those seen before must be unchanged."""
        self.added, self.added_owner = rows_of(X), X

    cdef void add(self, double y) noexcept nogil:
        """Take in the next row, for which there must be room, with weight 0."""
        self.row[self.n].y, self.row[self.n].c = y, 0.0
        self.measure(self.n)
        self.n += 1

    cdef void measure(self, Py_ssize_t i) noexcept nogil:
        """Note |a_i|."""
        self.unfold(i, &self.unit[0])
        self.row[i].norm = sqrt(mtp_dot(&self.unit[0], &self.unit[0], self.d + 1))

    cdef void margins(self, const double *theta, double *out) noexcept nogil:
        """out[i] = a_i . theta for every row: one pass over the data."""
        cdef double b = theta[self.d] if self.intercept else 0.0
        cdef Py_ssize_t i
        if self.mapped:
            for i in range(self.n_clean):
                self.reads(i)
                out[i] = row_dot(&self.clean, i, theta)
        else:
            products(&self.clean, self.n_clean, theta, out)
        if self.n > self.n_clean:
            products(&self.added, self.n - self.n_clean, theta, out + self.n_clean)
        for i in range(self.n):
            out[i] = self.row[i].y * (out[i] + b)

    def show(self, X, const double[::1] y):
        """Take in added rows, of X, with these labels."""
        cdef Py_ssize_t i
        if self.n != self.n_clean or X.shape[1] != self.d or X.shape[0] < y.shape[0]:
            raise ValueError("show: shapes disagree")
        self.set_added(X)
        self.reserve(self.n_clean + y.shape[0])
        for i in range(y.shape[0]):
            self.add(y[i])

    def multiplied(self, const double[::1] v, const double[::1] w):
        """a_i . v and a_i . w for every row, one by one and in one read, |a_i|, and sum_i (i + 1) a_i."""
        cdef Py_ssize_t i
        cdef double[:, ::1] out = np.zeros((4, self.n))
        cdef double[::1] total = np.zeros(self.d + 1)
        cdef double both[2]
        if not v.shape[0] == w.shape[0] == self.d + 1:
            raise ValueError("multiplied: shapes disagree")
        for i in range(self.n):
            out[0, i] = self.dot(i, &v[0])
            self.dot2(i, &v[0], &w[0], both)
            out[1, i], out[2, i], out[3, i] = both[0], both[1], self.row[i].norm
            self.axpy(i, i + 1.0, &total[0])
        return *np.asarray(out), np.asarray(total)

    cdef void enter(self, Py_ssize_t window) noexcept nogil:
        """Rows of another window of the file are about to be read."""
        self.window = window
        self.n_windows += 1
        if self.n_windows == WINDOWS:
            self.n_windows = 0
            with gil:
                self.let_go()


cdef class ShortRows:
    """Dense rows in a byte an entry, to take a first look at: x_j is about low_j + q_j (high_j - low_j) / 255.

    The entry that its byte misses most is kept exactly: a point where an edge of a box is left has no other.
    `look` reads an eighth of what the row takes, and tells x . v up to error |v|.
    """
    def __cinit__(self):
        self.q = NULL

    def __dealloc__(self):
        free(self.q)

    def __init__(self, Py_ssize_t d):
        self.d, self.n_blocks = d, (d + 63) // 64
        self.low, self.high, self.error = np.full(d, INFINITY), np.full(d, -INFINITY), np.zeros(0)
        self.left, self.column = np.zeros(0), np.zeros(0, dtype=np.intc)
        self.cells = np.zeros((5, 64 * self.n_blocks))
        self.v = self.w = NULL
        self.first, self.second = np.zeros((2, 64 * self.n_blocks), dtype=np.float32)
        self.low_size = self.first_size = self.second_size = self.first_low = self.second_low = 0.0

    cdef reserve(self, Py_ssize_t n):
        """Room for n rows; those that are there stay."""
        if grow(<void **>&self.q, 64 * n * self.n_blocks + 1) != DONE:
            raise MemoryError()
        self.error, self.left = lengthened(self.error, n), lengthened(self.left, n)
        self.column = lengthened(self.column, n)

    cdef bint widen(self, const double *x) noexcept nogil:
        """Let the codes reach to x. True if they did not: the rows before must be coded again then."""
        cdef Py_ssize_t j
        cdef double width
        if not mtp_widen(self.d, x, &self.low[0], &self.high[0]):
            return False
        self.low_size = sqrt(mtp_dot(&self.low[0], &self.low[0], self.d))
        for j in range(self.d):
            width = (self.high[j] - self.low[j]) * (1.0 / 255.0)
            self.cells[1, j], self.cells[2, j] = self.low[j], width
            self.cells[3, j] = 1.0 / width if width > 0.0 else 0.0
        return True

    cdef void code(self, Py_ssize_t i, const double *x) noexcept nogil:
        """Row i is x."""
        cdef Py_ssize_t j
        cdef double size
        cdef double *left = &self.cells[4, 0]
        memcpy(&self.cells[0, 0], x, self.d * sizeof(double))
        j = mtp_code(
            64 * self.n_blocks, &self.cells[0, 0], &self.cells[1, 0], &self.cells[2, 0], &self.cells[3, 0],
            self.q + i * 16 * self.n_blocks, left, &size,
        )
        self.left[i], self.column[i] = left[j], <int>j
        left[j] = 0.0
        # |width q| <= |x| + |low|; 5e-7 > 8 / 2^24, see mtp_short_dot2; below 1e-30 a float may be rounded to 0
        self.error[i] = (
            sqrt(mtp_dot(left, left, self.d)) * (1.0 + 1e-9)
            + 4 * EPS * fabs(self.left[i]) + 5e-7 * (sqrt(size) + self.low_size) + 1e-30
        )

    cdef double _scale(self, const double *v, float *out, double *size) noexcept nogil:
        """Into `out`, what codes are multiplied by for v / |v|; returns low . v and, in `size`, |v|."""
        cdef Py_ssize_t j
        cdef double scale, low = 0.0
        size[0] = sqrt(mtp_dot(v, v, self.d))
        scale = 1.0 / (255.0 * size[0]) if size[0] > 0.0 else 0.0
        for j in range(self.d):
            low += self.low[j] * v[j]
            out[j] = <float>(v[j] * scale * (self.high[j] - self.low[j]))
        return low

    cdef void load(self, const double *v, const double *w) noexcept nogil:
        """The two vectors that `look` multiplies by; they must live on."""
        self.v, self.w = v, w
        self.first_low = self._scale(v, &self.first[0], &self.first_size)
        self.second_low = self._scale(w, &self.second[0], &self.second_size)

    cdef void fill(self, const double *x, Py_ssize_t n) noexcept nogil:
        """Code n rows, one after the other in x. There must be room."""
        cdef Py_ssize_t i
        for i in range(n):
            self.widen(x + i * self.d)
        for i in range(n):
            self.code(i, x + i * self.d)

    def products(self, const double[:, ::1] X, const double[::1] v, const double[::1] w):
        """Code the rows X (n, d); what `look` tells of X v and X w, and its errors (three arrays of n)."""
        cdef Py_ssize_t i
        cdef double[:, ::1] both = np.zeros((X.shape[0], 2))
        if not X.shape[1] == v.shape[0] == w.shape[0] == self.d or X.shape[0] == 0:
            raise ValueError("products: shapes disagree")
        self.reserve(X.shape[0])
        self.fill(&X[0, 0], X.shape[0])
        self.load(&v[0], &w[0])
        for i in range(X.shape[0]):
            self.look(i, &both[i, 0])
        return *np.asarray(both).T, np.asarray(self.error)
