"""How far theta has gone, and which rows must be looked at for it."""

from libc.math cimport sqrt
from libc.string cimport memcpy

from mtpfast._core cimport EPS
from mtpfast._rows import lengthened
from mtpfast._simd cimport mtp_combine, mtp_dot, mtp_dots, mtp_prefetch

import numpy as np


cdef class Metric:
    """Lengths of changes of theta, and of rows in the dual: |a . v| <= |a|_dual |v| (Cauchy-Schwarz).

    With orthonormal directions d_p and the rest r = v - sum_p (d_p . v) d_p,

        |v|^2      = sum_p along_p (d_p . v)^2 + sum_j across_j r_j^2,
        |a|_dual^2 = sum_p (d_p . a)^2 / along_p + sum_j r_j^2 / across_j   (r: the rest of a).
    """

    def __init__(self, directions, along, across):
        self.directions, self.along, self.across = directions, along, across
        self.inverse = 1.0 / np.asarray(self.across)
        self.rest, self.parts = np.zeros(self.across.shape[0]), np.zeros(self.along.shape[0])
        if self.directions.shape[1] != self.across.shape[0] or self.directions.shape[0] != self.along.shape[0]:
            raise ValueError("Metric: shapes disagree")

    cdef double length(self, const double *v, bint dual) noexcept nogil:
        """|v|, or |v| in the dual."""
        cdef Py_ssize_t p, j, width = self.across.shape[0], n = self.directions.shape[0]
        cdef double s, total = 0.0
        cdef double *rest = &self.rest[0]
        memcpy(rest, v, width * sizeof(double))
        if n > 0:
            mtp_dots(n, width, &self.directions[0, 0], v, &self.parts[0])
            for p in range(n):
                s = self.parts[p]
                total += s * s / self.along[p] if dual else s * s * self.along[p]
                self.parts[p] = -s
            mtp_combine(n, width, &self.directions[0, 0], &self.parts[0], rest)
        for j in range(width):
            rest[j] *= rest[j]
        total += mtp_dot(rest, &self.inverse[0] if dual else &self.across[0], width)
        return sqrt(total)

    def lengths(self, const double[::1] v):
        """|v|, and |v| in the dual."""
        if v.shape[0] != self.across.shape[0]:
            raise ValueError("lengths: shapes disagree")
        return self.length(&v[0], False), self.length(&v[0], True)


cdef class DueRows:
    """The rows by deadline: bin b holds those of gathered_at + b bin_width and later, to the next bin.

    Theta has `travelled` a way since the last pass over all rows. Row i, at |slack| from its threshold, cannot reach
    it before the way is |slack| / reach longer: that is its deadline. Invariants, for the rows that were put:

        first_bin <= bin(travelled);   a row lies in the bin of its deadline, once; one whose deadline comes after
        the horizon = gathered_at + (BINS - 1) bin_width may lie in none: before theta gets there, all are put anew.

    A bin is a list that starts at bins[b], goes on at next[i] and ends with -1.
    """

    def __init__(self, MarginRows rows not None):
        self.rows = rows
        self.travelled = self.horizon = self.gathered_at = 0.0
        self.n_sifted = 0
        self.next = np.zeros(0, dtype=np.intc)
        self.reserve(rows.capacity)
        self.clear(1.0)

    cdef reserve(self, Py_ssize_t n):
        """Room for n rows; those that are there stay."""
        self.next = lengthened(self.next, n)

    cdef void clear(self, double width) noexcept nogil:
        """Empty the bins; from here on they are that wide."""
        cdef int b
        for b in range(BINS):
            self.bins[b] = -1
        self.first_bin, self.n_sifted = 0, 0
        # narrower ones would be lost in the rounding of deadlines: no row before the horizon may lie in none of them
        self.bin_width = width if width > 16 * EPS * self.travelled else 16 * EPS * self.travelled
        self.gathered_at = self.travelled
        self.horizon = self.travelled + (BINS - 1) * self.bin_width

    cdef int take(self, double limit) noexcept nogil:
        """Take the rows with a deadline up to `limit` out of their bins: the first of them, -1 if there is none; the
        others follow by `next`."""
        cdef int b = self.bin(limit), i, later, follower, first = -1, last = -1
        b = b if b < BINS else BINS - 1  # rounding may have led theta past the horizon
        while self.first_bin <= b:
            i, later = self.bins[self.first_bin], -1
            while i >= 0:
                follower = self.next[i]
                if follower >= 0:
                    mtp_prefetch(self.rows.row + follower, sizeof(Row))
                if not self.rows.row[i].deadline > limit:
                    if last >= 0:
                        self.next[last] = i
                    else:
                        first = i
                    last = i
                else:
                    self.next[i] = later
                    later = i
                    self.n_sifted += 1
                i = follower
            self.bins[self.first_bin] = later
            if self.first_bin == b:
                break
            self.first_bin += 1
        if last >= 0:
            self.next[last] = -1
        return first

    # -- calls from Python -----------------------------------------------------------------------

    def members(self):
        """The rows of every bin that is not empty."""
        cdef int b, i
        found = {}
        for b in range(BINS):
            i = self.bins[b]
            while i >= 0:
                found.setdefault(b, []).append(i)
                i = self.next[i]
        return found

    def place(self, Py_ssize_t i, double deadline):
        """Put row i, which must be in no bin, by this deadline."""
        if not 0 <= i < self.rows.n:
            raise IndexError("place: no such row")
        self.rows.row[i].deadline = deadline
        self.put(i)

    def due(self, double limit):
        """Take out the rows that are due by `limit`; theta has then travelled so far."""
        cdef int i = self.take(limit)
        found = []
        while i >= 0:
            found.append(i)
            i = self.next[i]
        self.travelled = limit
        return found

    def empty(self, double width):
        """Empty all bins, and let them be so wide from where theta is."""
        self.clear(width)
