"""What the compiled modules share: the losses, rows of data, and memory. Inline, so that no call costs more for it."""

cimport cython
from libc.float cimport DBL_EPSILON as EPS
from libc.math cimport INFINITY, exp, expm1, fabs, log, log1p, sqrt
from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc

from mtpfast._simd cimport (
    mtp_axpy, mtp_bits_axpy, mtp_bits_dot, mtp_corner_axpy, mtp_corner_dot, mtp_dot, mtp_dot2, mtp_single_axpy,
    mtp_single_dot, mtp_single_dot2, mtp_sparse_dot2,
)


# ---------------------------------------------------------------------------------------------
# Losses: the compiled twins of losses/margin.py. A new loss is one class and one line in `Loss` here, and its name in
# _core.pyx.
# `least_curvature` and `most_curvature` bound phi'' on an interval of margins that has no kink of
# the loss inside; `kink` is the margin where phi'' jumps (infinite where it does not). With V(u) given
# by phi(u) - phi(V(u)) = threshold > 0, `support` is the least V(u) - slope u (slope > 1) and where.
# ---------------------------------------------------------------------------------------------

@cython.final
cdef class Hinge:
    cdef inline double value(self, double m) noexcept nogil:
        return 1.0 - m if m < 1.0 else 0.0

    cdef inline double slope(self, double m) noexcept nogil:
        return 1.0 if m < 1.0 else 0.0

    cdef inline double least_curvature(self, double low, double high) noexcept nogil:
        return 0.0

    cdef inline double most_curvature(self, double low, double high) noexcept nogil:
        return 0.0

    cdef inline double kink(self) noexcept nogil:
        return 1.0

    cdef inline double most_difference(self, double u, double v) noexcept nogil:
        return v - u if v > u else 0.0

    cdef inline double support(self, double threshold, double slope, double *at) noexcept nogil:
        at[0] = 1.0 - threshold
        return 1.0 - slope * at[0]


@cython.final
cdef class SquaredHinge:
    cdef inline double value(self, double m) noexcept nogil:
        return (1.0 - m) * (1.0 - m) if m < 1.0 else 0.0

    cdef inline double slope(self, double m) noexcept nogil:
        return 2.0 * (1.0 - m) if m < 1.0 else 0.0

    cdef inline double least_curvature(self, double low, double high) noexcept nogil:
        return 2.0 if high <= 1.0 else 0.0

    cdef inline double most_curvature(self, double low, double high) noexcept nogil:
        return 2.0 if low < 1.0 else 0.0

    cdef inline double kink(self) noexcept nogil:
        return 1.0

    cdef inline double most_difference(self, double u, double v) noexcept nogil:
        return INFINITY

    cdef inline double support(self, double threshold, double slope, double *at) noexcept nogil:
        cdef double square = (slope - 1.0) * (slope + 1.0)
        at[0] = 1.0 - slope * sqrt(threshold / square)
        return (1.0 - slope) + sqrt(threshold * square)


@cython.final
cdef class LogLoss:
    cdef inline double value(self, double m) noexcept nogil:
        return log1p(exp(-m)) if m > 0.0 else log1p(exp(m)) - m

    cdef inline double slope(self, double m) noexcept nogil:
        cdef double e
        if m > 0.0:
            e = exp(-m)
            return e / (1.0 + e)
        return 1.0 / (1.0 + exp(m))

    cdef inline double curvature(self, double m) noexcept nogil:
        cdef double e = exp(-fabs(m))
        return e / ((1.0 + e) * (1.0 + e))

    cdef inline double least_curvature(self, double low, double high) noexcept nogil:
        return self.curvature(low if fabs(low) > fabs(high) else high)

    cdef inline double most_curvature(self, double low, double high) noexcept nogil:
        if low <= 0.0 <= high:
            return 0.25
        return self.curvature(low if fabs(low) < fabs(high) else high)

    cdef inline double kink(self) noexcept nogil:
        return INFINITY

    cdef inline double most_difference(self, double u, double v) noexcept nogil:
        return v - u if v > u else 0.0

    cdef inline double support(self, double threshold, double slope, double *at) noexcept nogil:
        cdef double height = log(slope - 1.0) - threshold - log(-expm1(-threshold))
        at[0] = height - log(slope)
        return height + threshold - slope * at[0]


ctypedef fused Loss:
    Hinge
    SquaredHinge
    LogLoss


# ---------------------------------------------------------------------------------------------
# Rows: clean or added, dense (of doubles, or singles where `single` is not NULL), CSR, or corners of a box where `bits`
# is not NULL (training/corners.py), behind three small functions
# ---------------------------------------------------------------------------------------------

cdef struct Rows:
    bint sparse
    Py_ssize_t d
    const double *data
    const float *single
    const int *indices
    const int *indptr
    const uint64_t *bits    # d of them a row, from a whole word on; indptr etc.: the entries that differ
    const double *low                 # NULL where all are 0 and all of high are 1
    const double *high


cdef Rows rows_of(X)
cdef void products(const Rows *rows, Py_ssize_t n, const double *v, double *out) noexcept nogil


cdef inline double corner_entry(const Rows *rows, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Entry j of the corner next to row i."""
    cdef bint high = rows.bits[i * ((rows.d + 63) // 64) + j // 64] >> (j % 64) & 1
    if rows.low == NULL:
        return 1.0 if high else 0.0
    return rows.high[j] if high else rows.low[j]


cdef inline double corner_dot(const Rows *rows, Py_ssize_t i, const double *v) noexcept nogil:
    cdef const uint64_t *words = rows.bits + i * ((rows.d + 63) // 64)
    cdef double s
    cdef int j
    s = mtp_bits_dot(words, v, rows.d) if rows.low == NULL else mtp_corner_dot(words, rows.low, rows.high, v, rows.d)
    for j in range(rows.indptr[i], rows.indptr[i + 1]):
        s += (rows.data[j] - corner_entry(rows, i, rows.indices[j])) * v[rows.indices[j]]
    return s


cdef inline void corner_axpy(const Rows *rows, Py_ssize_t i, double t, double *v) noexcept nogil:
    cdef const uint64_t *words = rows.bits + i * ((rows.d + 63) // 64)
    cdef int j
    if rows.low == NULL:
        mtp_bits_axpy(rows.d, t, words, v)
    else:
        mtp_corner_axpy(rows.d, t, words, rows.low, rows.high, v)
    for j in range(rows.indptr[i], rows.indptr[i + 1]):
        v[rows.indices[j]] += t * (rows.data[j] - corner_entry(rows, i, rows.indices[j]))


cdef inline double row_dot(const Rows *rows, Py_ssize_t i, const double *v) noexcept nogil:
    """x_i . v"""
    cdef double s = 0.0
    cdef int j
    if rows.bits != NULL:
        return corner_dot(rows, i, v)
    if rows.single != NULL:
        return mtp_single_dot(rows.single + i * rows.d, v, rows.d)
    if not rows.sparse:
        return mtp_dot(rows.data + i * rows.d, v, rows.d)
    for j in range(rows.indptr[i], rows.indptr[i + 1]):
        s += rows.data[j] * v[rows.indices[j]]
    return s


cdef inline void row_dot2(
    const Rows *rows, Py_ssize_t i, const double *v, const double *w, double *both
) noexcept nogil:
    """x_i . v and x_i . w in one read of the row"""
    cdef Py_ssize_t start
    if rows.bits != NULL:
        both[0], both[1] = corner_dot(rows, i, v), corner_dot(rows, i, w)
        return
    if rows.single != NULL:
        mtp_single_dot2(rows.single + i * rows.d, v, w, rows.d, both)
    elif not rows.sparse:
        mtp_dot2(rows.data + i * rows.d, v, w, rows.d, both)
    else:
        start = rows.indptr[i]
        mtp_sparse_dot2(rows.data + start, rows.indices + start, v, w, rows.indptr[i + 1] - start, both)


cdef inline void row_axpy(const Rows *rows, Py_ssize_t i, double t, double *v) noexcept nogil:
    """v += t x_i"""
    cdef int j
    if rows.bits != NULL:
        corner_axpy(rows, i, t, v)
        return
    if rows.single != NULL:
        mtp_single_axpy(rows.d, t, rows.single + i * rows.d, v)
        return
    if not rows.sparse:
        mtp_axpy(rows.d, t, rows.data + i * rows.d, v)
        return
    for j in range(rows.indptr[i], rows.indptr[i + 1]):
        v[rows.indices[j]] += t * rows.data[j]


cdef extern from *:
    """
    #ifndef MTP_DEBUG
    #define MTP_DEBUG 0
    #endif
    """
    #: Whether this is the debug build, in which classes check their invariants after every solve.
    const bint DEBUG "MTP_DEBUG"


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------

cdef enum Outcome:
    DONE = 0
    TOO_MANY_STEPS = 1
    NO_MEMORY = 2
    TOO_FAR = 3  # more rows were looked at than allowed


cdef inline int grow(void **p, size_t size) noexcept nogil:
    cdef void *q = realloc(p[0], size)
    if q == NULL:
        return NO_MEMORY
    p[0] = q
    return DONE
