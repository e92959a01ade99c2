cimport cython

from mtpfast._rows cimport MarginRows


@cython.final
cdef class MarginFactor:
    cdef MarginRows rows
    cdef readonly Py_ssize_t m
    cdef Py_ssize_t capacity
    cdef bint keep_Q
    cdef Py_ssize_t *on
    cdef double *L
    cdef double *Q
    cdef double *z
    cdef double[::1] unit

    cdef int reserve(self, Py_ssize_t m) noexcept nogil
    cdef void forward(self, double *z) noexcept nogil
    cdef void backward(self, double *z) noexcept nogil
    cdef void project(self, const double *v, double *z) noexcept nogil
    cdef void span(self, double t, double *z, double *v) noexcept nogil
    cdef bint append(self, Py_ssize_t i) noexcept nogil
    cdef void remove(self, Py_ssize_t p) noexcept nogil
    cdef const double *newest(self) noexcept nogil
    cdef double drift(self, double *scratch) noexcept nogil
