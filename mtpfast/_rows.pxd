cimport cython
from libc.string cimport memset

from mtpfast._core cimport Rows, row_axpy, row_dot, row_dot2
from mtpfast._simd cimport mtp_prefetch, mtp_short_dot2

cdef extern from *:
    """
    #define MTP_NUDGE 1e-11
    """
    #: The smallest difference of two margins that means anything; other tolerances are so many of it.
    const double NUDGE "MTP_NUDGE"

cdef enum:
    LONG = 256     # entries: dense rows of so many are looked at through codes


cdef struct Row:
    double c, y, norm    # weight, label, |a_i|
    double reach         # how much the margin changes, at most, where theta goes a way of length 1
    double slack         # the margin less the threshold when theta had travelled `stamp`
    double stamp
    double deadline      # what theta may travel before the row can reach its threshold
    double base          # slack = base + shift, where shift is what the codes tell; NaN where not known


cdef inline double nudge(Py_ssize_t i) noexcept nogil:
    """Row i's own threshold above 1, in [1, 2) NUDGE: see HingeSolver."""
    return NUDGE * (1.0 + ((<unsigned long long>i * 2654435761ULL) & 0xFFFFFFFFULL) / 4294967296.0)


@cython.final
cdef class MarginRows:
    cdef Rows clean, added
    cdef readonly Py_ssize_t n, n_clean, d
    cdef readonly bint intercept
    cdef Row *row
    cdef Py_ssize_t capacity
    cdef object row_owner, clean_owner, added_owner, let_go
    cdef bint mapped
    cdef Py_ssize_t window, n_windows
    cdef int window_bits
    cdef double[::1] unit

    cdef reserve(self, Py_ssize_t n)
    cdef set_added(self, X)
    cdef void add(self, double y) noexcept nogil
    cdef void measure(self, Py_ssize_t i) noexcept nogil
    cdef void margins(self, const double *theta, double *out) noexcept nogil
    cdef void enter(self, Py_ssize_t window) noexcept nogil

    cdef inline const Rows *block(self, Py_ssize_t i, Py_ssize_t *local) noexcept nogil:
        if i < self.n_clean:
            local[0] = i
            return &self.clean
        local[0] = i - self.n_clean
        return &self.added

    cdef inline void reads(self, Py_ssize_t i) noexcept nogil:
        """Take note of a read: pages of a file do not stay"""
        if self.mapped and i < self.n_clean and i >> self.window_bits != self.window:
            self.enter(i >> self.window_bits)

    cdef inline double dot(self, Py_ssize_t i, const double *v) noexcept nogil:
        """a_i . v"""
        cdef Py_ssize_t p
        cdef const Rows *rows = self.block(i, &p)
        self.reads(i)
        cdef double s = row_dot(rows, p, v)
        if self.intercept:
            s += v[self.d]
        return self.row[i].y * s

    cdef inline void dot2(self, Py_ssize_t i, const double *v, const double *w, double *both) noexcept nogil:
        """a_i . v and a_i . w in one read of the row"""
        cdef Py_ssize_t p
        cdef const Rows *rows = self.block(i, &p)
        self.reads(i)
        row_dot2(rows, p, v, w, both)
        if self.intercept:
            both[0] += v[self.d]
            both[1] += w[self.d]
        both[0] *= self.row[i].y
        both[1] *= self.row[i].y

    cdef inline void axpy(self, Py_ssize_t i, double t, double *v) noexcept nogil:
        """v += t a_i"""
        cdef Py_ssize_t p
        cdef const Rows *rows = self.block(i, &p)
        self.reads(i)
        t *= self.row[i].y
        row_axpy(rows, p, t, v)
        if self.intercept:
            v[self.d] += t

    cdef inline void unfold(self, Py_ssize_t i, double *v) noexcept nogil:
        """v := a_i"""
        memset(v, 0, (self.d + 1) * sizeof(double))
        self.axpy(i, 1.0, v)

    cdef inline void prefetch(self, Py_ssize_t i) noexcept nogil:
        """Ask for what `dot` will read."""
        cdef Py_ssize_t p
        cdef const Rows *rows = self.block(i, &p)
        if rows.bits != NULL:
            mtp_prefetch(rows.bits + p * ((self.d + 63) // 64), (self.d + 7) // 8)
        elif rows.sparse:
            mtp_prefetch(rows.data + rows.indptr[p], (rows.indptr[p + 1] - rows.indptr[p]) * sizeof(double))
            mtp_prefetch(rows.indices + rows.indptr[p], (rows.indptr[p + 1] - rows.indptr[p]) * sizeof(int))
        elif rows.single != NULL:
            mtp_prefetch(rows.single + p * rows.d, rows.d * sizeof(float))
        else:
            mtp_prefetch(rows.data + p * rows.d, rows.d * sizeof(double))


@cython.final
cdef class ShortRows:
    cdef Py_ssize_t d, n_blocks
    cdef unsigned int *q
    cdef double[::1] low, high, error, left
    cdef double[:, ::1] cells  # for `mtp_code`: a row, low, width, its inverse or 0, and what is missed
    cdef int[::1] column
    cdef float[::1] first, second
    cdef const double *v
    cdef const double *w
    cdef double low_size, first_size, second_size, first_low, second_low

    cdef reserve(self, Py_ssize_t n)
    cdef bint widen(self, const double *x) noexcept nogil
    cdef void code(self, Py_ssize_t i, const double *x) noexcept nogil
    cdef double _scale(self, const double *v, float *out, double *size) noexcept nogil
    cdef void load(self, const double *v, const double *w) noexcept nogil
    cdef void fill(self, const double *x, Py_ssize_t n) noexcept nogil

    cdef inline void prefetch(self, Py_ssize_t i) noexcept nogil:
        mtp_prefetch(self.q + i * 16 * self.n_blocks, 64 * self.n_blocks)

    cdef inline double look(self, Py_ssize_t i, double *both) noexcept nogil:
        """The products of row i and the two loaded vectors, off by at most |v| times what is returned."""
        mtp_short_dot2(self.q + i * 16 * self.n_blocks, &self.first[0], &self.second[0], self.n_blocks, both)
        both[0] = both[0] * self.first_size + self.first_low + self.left[i] * self.v[self.column[i]]
        both[1] = both[1] * self.second_size + self.second_low + self.left[i] * self.w[self.column[i]]
        return self.error[i]
