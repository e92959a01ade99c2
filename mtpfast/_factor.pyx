"""The factor of the rows on the margin."""

from libc.math cimport fabs, sqrt
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

from mtpfast._core cimport DONE, NO_MEMORY, grow
from mtpfast._rows cimport NUDGE
from mtpfast._simd cimport mtp_axpy, mtp_combine, mtp_dot, mtp_dots

import numpy as np


cdef class MarginFactor:
    """The rows Z = (a_on[0], ..., a_on[m - 1]) as a triangle times orthonormal rows. Invariants, to rounding:

        Z Z' = L L',   L a lower triangle with L[p, p] > NUDGE |a_on[p]|;   with Q kept: Z = L Q and Q Q' = 1.

    Dense data keep Q: rows that almost depend on each other (columns rounded to float32 are enough) then cost no
    accuracy. Sparse, wide data do without; Q v = L^-1 Z v is then a triangular solve. L is packed, row by row; Q has
    d + 1 columns. `z` is scratch of m entries for whoever needs it, `append` included.
    """

    def __cinit__(self):
        self.on = NULL
        self.L = self.Q = self.z = NULL
        self.m = self.capacity = 0

    def __dealloc__(self):
        free(self.on)
        free(self.L)
        free(self.Q)
        free(self.z)

    def __init__(self, MarginRows rows not None, bint keep_Q):
        self.rows, self.keep_Q = rows, keep_Q
        self.unit = np.zeros(rows.d + 1)

    cdef int reserve(self, Py_ssize_t m) noexcept nogil:
        """Room for m rows."""
        cdef Py_ssize_t size
        if m <= self.capacity:
            return DONE
        size = 2 * self.capacity if 2 * self.capacity > m else m + 32
        if (
            grow(<void **>&self.on, size * sizeof(Py_ssize_t))
            or grow(<void **>&self.L, size * (size + 1) // 2 * sizeof(double))
            or (self.keep_Q and grow(<void **>&self.Q, (size + 1) * (self.rows.d + 1) * sizeof(double)))
            or grow(<void **>&self.z, size * sizeof(double))
        ):
            return NO_MEMORY
        self.capacity = size
        return DONE

    cdef void forward(self, double *z) noexcept nogil:
        """z := L^-1 z"""
        cdef Py_ssize_t i
        cdef double *row = self.L
        for i in range(self.m):
            z[i] = (z[i] - mtp_dot(row, z, i)) / row[i]
            row += i + 1

    cdef void backward(self, double *z) noexcept nogil:
        """z := L^-T z"""
        cdef Py_ssize_t i
        cdef double *row
        for i in range(self.m - 1, -1, -1):
            row = self.L + i * (i + 1) // 2
            z[i] /= row[i]
            mtp_axpy(i, -z[i], row, z)

    cdef void project(self, const double *v, double *z) noexcept nogil:
        """z := Q v"""
        cdef Py_ssize_t p
        if self.keep_Q:
            mtp_dots(self.m, self.rows.d + 1, self.Q, v, z)
        else:
            for p in range(self.m):
                z[p] = self.rows.dot(self.on[p], v)
            self.forward(z)

    cdef void span(self, double t, double *z, double *v) noexcept nogil:
        """v += t Q' z (z is used up)"""
        cdef Py_ssize_t p
        if self.keep_Q:
            for p in range(self.m):
                z[p] *= t
            mtp_combine(self.m, self.rows.d + 1, self.Q, z, v)
        else:
            self.backward(z)
            for p in range(self.m):
                self.rows.axpy(self.on[p], t * z[p], v)

    cdef bint append(self, Py_ssize_t i) noexcept nogil:
        """Take in row i, for which there must be room; False if it depends on the others (nothing changed then)."""
        cdef Py_ssize_t m = self.m, p, width = self.rows.d + 1
        cdef double *row = self.L + m * (m + 1) // 2
        cdef double *new
        cdef double rest, norm = self.rows.row[i].norm
        if norm <= 0.0:
            return False
        if self.keep_Q:
            new = self.Q + m * width
            self.rows.unfold(i, new)
            self.project(new, row)
            memcpy(self.z, row, m * sizeof(double))
            self.span(-1.0, self.z, new)
            rest = sqrt(mtp_dot(new, new, width))
            if rest < 0.3 * norm:  # once more, against cancellation: Q stays orthogonal to rounding
                self.project(new, self.z)
                for p in range(m):
                    row[p] += self.z[p]
                self.span(-1.0, self.z, new)
                rest = sqrt(mtp_dot(new, new, width))
            if rest <= NUDGE * norm:
                return False
            for p in range(width):
                new[p] /= rest
        else:
            self.rows.unfold(i, &self.unit[0])
            for p in range(m):
                row[p] = self.rows.dot(self.on[p], &self.unit[0])
            self.forward(row)
            rest = norm * norm - mtp_dot(row, row, m)
            if rest < 1e-4 * norm * norm:  # little of it is left: the difference of squares does not tell how little
                memcpy(self.z, row, m * sizeof(double))
                self.span(-1.0, self.z, &self.unit[0])
                self.project(&self.unit[0], self.z)
                for p in range(m):
                    row[p] += self.z[p]
                self.span(-1.0, self.z, &self.unit[0])
                rest = mtp_dot(&self.unit[0], &self.unit[0], width)
            if rest <= NUDGE * norm * norm:
                return False
            rest = sqrt(rest)
        row[m] = rest
        self.on[m] = i
        self.m = m + 1
        return True

    cdef void remove(self, Py_ssize_t p) noexcept nogil:
        """Let the p-th row go: rotate the factor back to a triangle."""
        cdef Py_ssize_t m = self.m, width = self.rows.d + 1, i, j
        cdef double *row
        cdef double *next
        cdef double a, b, r, cosine, sine
        for j in range(p, m - 1):
            row = self.L + (j + 1) * (j + 2) // 2
            a, b = row[j], row[j + 1]
            r = sqrt(a * a + b * b)
            cosine, sine = a / r, b / r
            for i in range(j + 1, m):
                row = self.L + i * (i + 1) // 2
                a, b = row[j], row[j + 1]
                row[j] = cosine * a + sine * b
                row[j + 1] = cosine * b - sine * a
            if self.keep_Q:
                row = self.Q + j * width
                next = row + width
                for i in range(width):
                    a, b = row[i], next[i]
                    row[i] = cosine * a + sine * b
                    next[i] = cosine * b - sine * a
        for i in range(p + 1, m):
            memmove(self.L + (i - 1) * i // 2, self.L + i * (i + 1) // 2, i * sizeof(double))
            self.on[i - 1] = self.on[i]
        self.m = m - 1

    cdef const double *newest(self) noexcept nogil:
        """A vector along what the last row adds to the span of those before it."""
        cdef Py_ssize_t m = self.m - 1
        if self.keep_Q:
            return self.Q + m * (self.rows.d + 1)
        self.rows.unfold(self.on[m], &self.unit[0])
        memcpy(self.z, self.L + m * (m + 1) // 2, m * sizeof(double))
        self.m = m
        self.span(-1.0, self.z, &self.unit[0])
        self.m = m + 1
        return &self.unit[0]

    cdef double drift(self, double *v) noexcept nogil:
        """How far Z Z' w and L L' w differ for one w of signs, as a share of their size; v is scratch of d + 1."""
        cdef Py_ssize_t p
        cdef double off = 0.0, left, size = 0.0, factored
        memset(v, 0, (self.rows.d + 1) * sizeof(double))
        memset(self.z, 0, self.m * sizeof(double))
        for p in range(self.m):
            left = 1.0 if (<unsigned long long>p * 2654435761ULL) & 64 else -1.0
            self.rows.axpy(self.on[p], left, v)                      # v = Z' w
            mtp_axpy(p + 1, left, self.L + p * (p + 1) // 2, self.z)  # z = L' w
            size += self.rows.row[self.on[p]].norm
        for p in range(self.m):
            factored = mtp_dot(self.L + p * (p + 1) // 2, self.z, p + 1)
            left = fabs(self.rows.dot(self.on[p], v) - factored) / self.rows.row[self.on[p]].norm
            off = left if left > off else off
        return off / size if size > 0.0 else 0.0

    # -- calls from Python -----------------------------------------------------------------------

    def add(self, Py_ssize_t i):
        """Take in row i; False if it depends on the others."""
        if not 0 <= i < self.rows.n:
            raise IndexError("add: no such row")
        if self.reserve(self.m + 1) != DONE:
            raise MemoryError()
        return self.append(i)

    def drop(self, Py_ssize_t p):
        """Let the p-th row go."""
        if not 0 <= p < self.m:
            raise IndexError("drop: no such row")
        self.remove(p)

    def parts(self):
        """``(on, L, Q)``: the rows taken in, the triangle, and the orthonormal rows, or None."""
        cdef Py_ssize_t p, q
        L, Q = np.zeros((self.m, self.m)), None
        for p in range(self.m):
            for q in range(p + 1):
                L[p, q] = self.L[p * (p + 1) // 2 + q]
        if self.keep_Q:
            Q = np.array([[self.Q[p * (self.rows.d + 1) + q] for q in range(self.rows.d + 1)] for p in range(self.m)])
        return [self.on[p] for p in range(self.m)], L, Q

    def onto(self, const double[::1] v):
        """Q v, and the part Q' Q v of v in the span of the rows."""
        if v.shape[0] != self.rows.d + 1:
            raise ValueError("onto: shapes disagree")
        cdef double[::1] z = np.zeros(self.m + 1)
        cdef double[::1] part = np.zeros(self.rows.d + 1)
        self.project(&v[0], &z[0])
        told = np.array(z)[: self.m]
        self.span(1.0, &z[0], &part[0])
        return told, np.asarray(part)
