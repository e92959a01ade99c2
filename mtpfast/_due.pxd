cimport cython
from libc.math cimport INFINITY, fabs

from mtpfast._rows cimport NUDGE, MarginRows, Row

cdef enum:
    BINS = 1024    # of deadlines


@cython.final
cdef class Metric:
    cdef const double[:, ::1] directions
    cdef const double[::1] along, across
    cdef double[::1] inverse    # of `across`
    cdef double[::1] rest, parts

    cdef double length(self, const double *v, bint dual) noexcept nogil


@cython.final
cdef class DueRows:
    cdef MarginRows rows
    cdef readonly double travelled, horizon
    cdef double gathered_at, bin_width
    cdef Py_ssize_t n_sifted
    cdef int[::1] next
    cdef int bins[BINS]
    cdef int first_bin

    cdef reserve(self, Py_ssize_t n)
    cdef void clear(self, double width) noexcept nogil
    cdef int take(self, double limit) noexcept nogil

    cdef inline void set_deadline(self, Py_ssize_t i, double slack) noexcept nogil:
        """Row i is at least that far from its threshold."""
        cdef Row *row = &self.rows.row[i]
        if row.reach > 0.0:
            row.deadline = self.travelled + (slack - 3 * NUDGE) / row.reach
        else:
            row.deadline = INFINITY

    cdef inline void note(self, Py_ssize_t i, double slack) noexcept nogil:
        """Row i is that far from its threshold here; when it must be looked at again follows."""
        cdef Row *row = &self.rows.row[i]
        row.slack, row.stamp = slack, self.travelled
        self.set_deadline(i, fabs(slack))

    cdef inline int bin(self, double deadline) noexcept nogil:
        """The bin of a deadline; BINS where it comes later than all of them."""
        cdef double b = (deadline - self.gathered_at) / self.bin_width
        if not b > self.first_bin:  # NaN, of codes that overflow, is due at once
            return self.first_bin
        return <int>b if b < BINS else BINS

    cdef inline void put(self, Py_ssize_t i) noexcept nogil:
        """Put row i into the bin of its deadline."""
        cdef int b = self.bin(self.rows.row[i].deadline)
        if b < BINS:
            self.next[i] = self.bins[b]
            self.bins[b] = <int>i
