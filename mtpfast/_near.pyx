"""Copies of the rows that may come to the margin on a short way, to be read over and over."""

from libc.stdlib cimport free
from libc.string cimport memcpy

from mtpfast._core cimport DONE, NO_MEMORY, grow
from mtpfast._simd cimport mtp_axpy, mtp_dots

import numpy as np


cdef class NearRows:
    """Rows a_i side by side, with their slacks at the model, for a way of many short lines.

    Every line needs the rates a_i . step of the same few rows; their slacks go on by these. A row's sign is 1 above the
    margin, -1 below, and 0 where it stops no line (on the margin, or of no weight).
    """

    def __cinit__(self):
        self.row = NULL
        self.slack = self.rate = self.sign = self.copies = NULL
        self.n = self.capacity = 0

    def __dealloc__(self):
        free(self.row)
        free(self.slack)
        free(self.rate)
        free(self.sign)
        free(self.copies)

    def __init__(self, MarginRows rows not None):
        self.rows, self.width = rows, rows.d + 1

    cdef int reserve(self, Py_ssize_t n) noexcept nogil:
        """Room for n rows."""
        cdef Py_ssize_t size = 2 * n + 64
        if n <= self.capacity:
            return DONE
        if (
            grow(<void **>&self.row, size * sizeof(Py_ssize_t))
            or grow(<void **>&self.slack, size * sizeof(double))
            or grow(<void **>&self.rate, size * sizeof(double))
            or grow(<void **>&self.sign, size * sizeof(double))
            or grow(<void **>&self.copies, size * self.width * sizeof(double))
        ):
            return NO_MEMORY
        self.capacity = size
        return DONE

    cdef int append(self, Py_ssize_t i, double slack, double sign) noexcept nogil:
        """Take in row i, which is not here."""
        cdef Py_ssize_t p = self.n
        if self.reserve(p + 1) != DONE:
            return NO_MEMORY
        self.rows.unfold(i, self.copies + p * self.width)
        self.row[p], self.slack[p], self.rate[p], self.sign[p] = i, slack, 0.0, sign
        self.n += 1
        return DONE

    cdef int put(self, Py_ssize_t i, double slack, double sign) noexcept nogil:
        """Let row i have this slack and sign, whether it is here or not."""
        cdef Py_ssize_t p = 0
        while p < self.n and self.row[p] != i:
            p += 1
        if p == self.n:
            return self.append(i, slack, sign)
        self.slack[p], self.sign[p] = slack, sign
        return DONE

    cdef void drop(self, Py_ssize_t p) noexcept nogil:
        """The p-th row goes, and the last takes its place."""
        cdef Py_ssize_t last = self.n - 1
        if p < last:
            self.row[p], self.slack[p], self.rate[p], self.sign[p] = (
                self.row[last], self.slack[last], self.rate[last], self.sign[last]
            )
            memcpy(self.copies + p * self.width, self.copies + last * self.width, self.width * sizeof(double))
        self.n = last

    cdef void turn(self, const double *step) noexcept nogil:
        """The rates along another step."""
        mtp_dots(self.n, self.width, self.copies, step, self.rate)

    cdef Py_ssize_t first(self, double noise, double *end) noexcept nogil:
        """The first row to reach its threshold before `end`, which becomes the place; -1 if there is none.

        Rates within `noise` of 0, in units of a row's reach, are none.
        """
        cdef Py_ssize_t p, found = -1
        cdef double rate, at
        for p in range(self.n):
            if self.sign[p] * (self.slack[p] + end[0] * self.rate[p]) < 0.0:
                rate = self.sign[p] * self.rate[p]
                if rate < -noise * self.rows.row[self.row[p]].reach:
                    at = -self.sign[p] * self.slack[p] / rate
                    end[0], found = at if at > 0.0 else 0.0, p
        return found

    cdef void move(self, double t) noexcept nogil:
        """Go so far along the step."""
        mtp_axpy(self.n, t, self.rate, self.slack)

    # -- calls from Python -----------------------------------------------------------------------

    def add(self, Py_ssize_t i, double slack, double sign):
        """Take in row i, or let it have another slack and sign."""
        if not 0 <= i < self.rows.n:
            raise IndexError("add: no such row")
        if self.put(i, slack, sign) != DONE:
            raise MemoryError()

    def go(self, const double[::1] step, double end):
        """``(row, place)``: go along the step to the first row that reaches its threshold, or to the end (row -1)."""
        cdef Py_ssize_t p
        if step.shape[0] != self.width:
            raise ValueError("go: shapes disagree")
        self.turn(&step[0])
        p = self.first(0.0, &end)
        self.move(end)
        return self.row[p] if p >= 0 else -1, end

    def slacks(self):
        """The rows, and their slacks."""
        cdef Py_ssize_t p
        return [self.row[p] for p in range(self.n)], np.array([self.slack[p] for p in range(self.n)])
