cimport cython

from mtpfast._rows cimport MarginRows


@cython.final
cdef class NearRows:
    cdef MarginRows rows
    cdef Py_ssize_t width, n, capacity
    cdef Py_ssize_t *row
    cdef double *slack
    cdef double *rate
    cdef double *sign
    cdef double *copies

    cdef int reserve(self, Py_ssize_t n) noexcept nogil
    cdef int put(self, Py_ssize_t i, double slack, double sign) noexcept nogil
    cdef int append(self, Py_ssize_t i, double slack, double sign) noexcept nogil
    cdef void drop(self, Py_ssize_t p) noexcept nogil
    cdef void turn(self, const double *step) noexcept nogil
    cdef Py_ssize_t first(self, double noise, double *end) noexcept nogil
    cdef void move(self, double t) noexcept nogil
