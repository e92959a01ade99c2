"""The hinge refit: an active-set method that ends at the exact minimiser."""

cimport cython
from libc.math cimport INFINITY, NAN, fabs, sqrt
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

from mtpfast._core cimport (
    DONE, EPS, NO_MEMORY, TOO_MANY_STEPS, Rows, grow, products, row_axpy, row_dot, row_dot2, rows_of,
)
from mtpfast._simd cimport mtp_axpy, mtp_combine, mtp_dot, mtp_dots, mtp_prefetch, mtp_short_dot2

import numpy as np

#: Rows leave the margin together whose dual variables are out of bounds by this share of the worst.
cdef double SHARE = 0.1

cdef enum:
    LONG = 256     # entries: dense rows of so many are looked at through codes
    BINS = 1024    # of deadlines

LONG_ROW = LONG


cdef enum Side:
    ABOVE = 0    # margin >= 1, dual variable 0
    ON = 1       # margin 1, dual variable in [0, c]
    BELOW = 2    # margin <= 1, dual variable c


cdef struct Row:
    double c, y, norm    # weight, label, |a_i|
    double reach         # how much the margin changes, at most, where theta goes a way of length 1
    double slack         # the margin less the threshold when theta had travelled `stamp`
    double stamp
    double deadline      # what theta may travel before the row can reach its threshold
    double base          # what its codes do not tell of the slack, see HingeSolver.anchor


cdef struct Crossing:
    double step      # where along the line the row reaches its threshold, or before where it does not
    double jump      # what the slope gains there
    Py_ssize_t p     # its place among the rows looked at


cdef struct Look:
    Py_ssize_t i     # a row that was looked at in this step
    double slack     # its margin less its threshold, and how fast that moves along the line ...
    double rate
    double error     # ... and how far these may be off: 0 after a close look
    double spread
    double shift     # what `base` lacks to the slack, as the codes have it
    bint close


cdef inline int by_step(const Crossing *p, const Crossing *q) noexcept nogil:
    """First along the line first; where several rows cross together, the largest change of slope."""
    if p.step != q.step:
        return -1 if p.step < q.step else 1
    if p.jump != q.jump:
        return -1 if p.jump > q.jump else 1
    return -1 if p.p < q.p else (1 if p.p > q.p else 0)


cdef inline double nudge(Py_ssize_t i) noexcept nogil:
    """Row i's own threshold above 1, in [1e-11, 2e-11): see HingeSolver."""
    return 1e-11 * (1.0 + ((<unsigned long long>i * 2654435761ULL) & 0xFFFFFFFFULL) / 4294967296.0)


cdef void sift_down(Crossing *heap, Py_ssize_t n, Py_ssize_t p) noexcept nogil:
    """Let the p-th entry sink to its place in a heap whose first entry comes first."""
    cdef Crossing moving = heap[p]
    cdef Py_ssize_t child
    while True:
        child = 2 * p + 1
        if child >= n:
            break
        if child + 1 < n and by_step(&heap[child + 1], &heap[child]) < 0:
            child += 1
        if by_step(&heap[child], &moving) >= 0:
            break
        heap[p] = heap[child]
        p = child
    heap[p] = moving


cdef void sift_up(Crossing *heap, Py_ssize_t p) noexcept nogil:
    """Let the p-th entry, the last, rise to its place in the heap."""
    cdef Crossing moving = heap[p]
    cdef Py_ssize_t parent
    while p > 0:
        parent = (p - 1) // 2
        if by_step(&moving, &heap[parent]) >= 0:
            break
        heap[p] = heap[parent]
        p = parent
    heap[p] = moving


def lengthened(a, Py_ssize_t n):
    """A copy of n entries, those beyond the old ones 0."""
    a = np.asarray(a)
    out = np.zeros(n, dtype=a.dtype)
    out[: len(a)] = a
    return out


@cython.final
cdef class ShortRows:
    """Dense rows in a byte an entry, to take a first look at: x_j is about low_j + q_j (high_j - low_j) / 255.

    The entry that its byte misses most is kept exactly: a point where an edge of a box is left has no other.
    `look` reads an eighth of what the row takes, and tells x . v up to error |v|.
    """
    cdef Py_ssize_t d, n_blocks
    cdef unsigned int *q
    cdef double[::1] low, high, error, left
    cdef int[::1] column
    cdef float[::1] first, second
    cdef const double *v
    cdef const double *w
    cdef double low_size, first_size, second_size, first_low, second_low

    def __cinit__(self):
        self.q = NULL

    def __dealloc__(self):
        free(self.q)

    def __init__(self, Py_ssize_t d):
        self.d, self.n_blocks = d, (d + 63) // 64
        self.low, self.high, self.error = np.full(d, INFINITY), np.full(d, -INFINITY), np.zeros(0)
        self.left, self.column = np.zeros(0), np.zeros(0, dtype=np.intc)
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
        cdef bint changed = False
        for j in range(self.d):
            if x[j] < self.low[j]:
                self.low[j], changed = x[j], True
            if x[j] > self.high[j]:
                self.high[j], changed = x[j], True
        if changed:
            self.low_size = sqrt(mtp_dot(&self.low[0], &self.low[0], self.d))
        return changed

    cdef void code(self, Py_ssize_t i, const double *x) noexcept nogil:
        """Row i is x."""
        cdef size_t j
        cdef double t, width, left, missed = 0.0, size = 0.0
        cdef unsigned int *q = self.q + i * 16 * self.n_blocks
        memset(q, 0, 64 * self.n_blocks)
        self.left[i], self.column[i] = 0.0, 0
        for j in range(<size_t>self.d):
            width = (self.high[j] - self.low[j]) * (1.0 / 255.0)
            t = (x[j] - self.low[j]) / width + 0.5 if width > 0.0 else 0.0
            t = 0.0 if not t > 0.0 else (255.0 if t > 255.0 else t)
            q[j // 64 * 16 + j % 16] |= <unsigned int>t << (j % 64 // 16 * 8)
            t = self.low[j] + width * <unsigned int>t
            left = x[j] - t
            if fabs(left) > fabs(self.left[i]):
                missed += self.left[i] ** 2
                self.left[i], self.column[i] = left, <int>j
            else:
                missed += left * left
            size += t * t
        # |width q| <= |x| + |low|; 5e-7 > 8 / 2^24, see mtp_short_dot2; below 1e-30 a float may be rounded to 0
        self.error[i] = (
            sqrt(missed) * (1.0 + 1e-9) + 4 * EPS * fabs(self.left[i]) + 5e-7 * (sqrt(size) + self.low_size) + 1e-30
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

    cdef inline void prefetch(self, Py_ssize_t i) noexcept nogil:
        mtp_prefetch(self.q + i * 16 * self.n_blocks, 64 * self.n_blocks)

    cdef inline double look(self, Py_ssize_t i, double *both) noexcept nogil:
        """The products of row i and the two loaded vectors, off by at most |v| times what is returned."""
        mtp_short_dot2(self.q + i * 16 * self.n_blocks, &self.first[0], &self.second[0], self.n_blocks, both)
        both[0] = both[0] * self.first_size + self.first_low + self.left[i] * self.v[self.column[i]]
        both[1] = both[1] * self.second_size + self.second_low + self.left[i] * self.w[self.column[i]]
        return self.error[i]

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


cdef class HingeSolver:
    """The minimiser of the hinge objective, kept while weights and k change.

    The objective of ``losses/objective.py`` is piecewise quadratic in theta. With ``a_i = y_i x~_i`` every
    row is above, on or below the margin ``a_i . theta = 1``, and theta is optimal iff

        k R theta = sum_{below} c_i a_i + sum_{on} alpha_i a_i,     0 <= alpha_i <= c_i.

    `solve` is an active-set method for this. With the rows on the margin held there, Newton's step
    leads to the minimiser of the current piece; an exact line search goes on across as many rows
    as pay, and the row at which it ends joins the margin (it cannot depend on the rows there: the
    line runs at a right angle to them). At the minimiser of a piece the rows whose alpha is
    most out of bounds leave. Every step lowers the objective, and no path has to be followed: in real
    tables thousands of rows sit at the margin together, and one line search crosses hundreds.

    With thousands of rows at the margin the method would wander among equivalent sets of rows for
    ever, so while it works every row has a threshold of its own, 1 + `nudge`, which leaves no
    ties. `_finish` takes that back: with the same rows on the margin, held at exactly 1.

    A row far from the margin need not be looked at: its margin changes by at most its `reach` times
    the way of theta, lengths in any metric and its dual (Cauchy-Schwarz), so every row has a
    `deadline`, the length of the way before which it cannot reach its threshold. The metric
    measures a change of theta by what it does to the rows on average: `along` a few principal
    `directions` of theirs, and `across` these for each feature. The rows lie in bins by deadline.

    A line search looks at the rows whose deadline it passes and at no others, in stages, as most
    lines end early. A long dense row is looked at through its codes first, an eighth of its bytes
    (`ShortRows`); these tell before where along the line it cannot cross, and only where the line
    gets there is its margin computed.
    """

    cdef Rows clean, added
    cdef object _owners
    cdef readonly Py_ssize_t n_clean, n_rows, d
    cdef readonly bint intercept, free_intercept
    cdef readonly double k
    # how far theta has travelled since the last pass over all rows; up to where rows are in bins, and since when
    cdef readonly double travelled, horizon
    cdef double gathered_at, bin_width, last_way
    cdef long steps_at_gather, n_sifted
    cdef readonly long n_steps, n_looks, n_close
    # one entry per row (the capacity grows in `_reserve`); `margin` is scratch
    cdef object _row_owner
    cdef Row *row
    cdef Py_ssize_t capacity
    cdef double[::1] margin
    cdef signed char[::1] side
    # the rows by deadline: bin b holds those of b * bin_width after the gathering and later, a list of `bins` heads
    # and `next` rows that ends with -1
    cdef int[::1] next
    cdef int bins[BINS]
    cdef int first_bin
    # the metric: |v|^2 = sum_p along_p (direction_p . v)^2 + sum_j across_j rest_j^2
    cdef const double[:, ::1] directions
    cdef const double[::1] along, across
    cdef double[::1] rest
    # the codes of long dense rows, from which follows what the way from the `anchor` has done to a slack: `base` is the
    # rest of it, NaN where not known. `farthest`: how far the model has been from the anchor; `n_wasted`: how often a
    # margin was computed since for want of precision
    cdef ShortRows short_clean, short_added
    cdef bint has_short_clean, has_short_added
    cdef double[::1] anchor, way
    cdef double farthest, way_size, step_size
    cdef long n_wasted
    # vectors of length d + 1; the sums of c_i a_i over the rows below the margin
    # (`model` is what the method moves, `exact` the model that `_finish` makes of it)
    cdef double[::1] model, exact, step, force, below_clean, below_added, unit
    cdef double below_weight, weight  # of the clean rows below the margin, and of all rows
    # the rows on the margin; L is a packed lower triangle, Q has d + 1 columns
    cdef Py_ssize_t m, m_capacity
    cdef bint keep_Q, joined
    cdef Py_ssize_t *on
    cdef double *L
    cdef double *Q
    cdef double *alpha
    cdef double *z
    cdef double *zb
    cdef Crossing *crossings
    cdef Look *looks
    cdef Py_ssize_t looks_capacity

    def __cinit__(self):
        self.on = NULL
        self.L = self.Q = self.alpha = self.z = self.zb = NULL
        self.crossings = NULL
        self.looks = NULL
        self.m = self.m_capacity = self.looks_capacity = 0

    def __dealloc__(self):
        free(self.on)
        free(self.L)
        free(self.Q)
        free(self.alpha)
        free(self.z)
        free(self.zb)
        free(self.crossings)
        free(self.looks)

    def __init__(self, X, const double[::1] y, bint intercept, bint penalize_intercept, metric):
        self.d = X.shape[1]
        self.n_clean = self.n_rows = X.shape[0]
        if y.shape[0] != self.n_clean:
            raise ValueError("HingeSolver: shapes disagree")
        self.intercept = intercept
        self.free_intercept = intercept and not penalize_intercept
        self.keep_Q = isinstance(X, np.ndarray)
        self.k = 1.0
        self.travelled = self.horizon = self.gathered_at = self.last_way = 0.0
        self._owners = [None, None]
        self.clean = rows_of(X)
        self._owners[0] = X
        self.added = self.clean
        self.row, self.capacity, self._row_owner = NULL, 0, None
        self.margin = np.zeros(0)
        self.side, self.next = np.zeros(0, dtype=np.int8), np.zeros(0, dtype=np.intc)
        self.short_clean = self.short_added = None
        self.has_short_clean = self.has_short_added = False
        self.anchor, self.way = np.zeros(self.d + 1), np.zeros(self.d + 1)
        self.farthest = self.way_size = self.step_size = self.weight = self.below_weight = 0.0
        self.n_wasted = 0
        self._reserve(self.n_clean)
        self.model, self.exact, self.step, self.force = (np.zeros(self.d + 1) for _ in range(4))
        self.below_clean, self.below_added, self.unit = (np.zeros(self.d + 1) for _ in range(3))
        self.n_close = self.n_steps = self.n_looks = self.steps_at_gather = self.n_sifted = 0
        self._clear_bins(1.0)
        self.directions, self.along, self.across = metric
        self.rest = np.zeros(self.d + 1)
        if self.directions.shape[1] != self.d + 1 or self.across.shape[0] != self.d + 1:
            raise ValueError("HingeSolver: shapes disagree")
        cdef Py_ssize_t i
        for i in range(self.n_clean):
            self.row[i].y = y[i]
            self._measure(i)
        if not self.clean.sparse and self.n_clean > 0 and self.d >= LONG:
            self.has_short_clean = True
            self.short_clean = ShortRows(self.d)
            self.short_clean.reserve(self.n_clean)
            self.short_clean.fill(self.clean.data, self.n_clean)

    cdef _reserve(self, Py_ssize_t n):
        cdef double[::1] block
        cdef Row *row
        if n <= self.capacity:
            return
        n += n // 4 + 4096  # pages that are not written to take no memory
        owner = np.zeros((n + 1) * (sizeof(Row) // sizeof(double)))
        block = owner
        row = <Row *>(&block[0] + (-<size_t>&block[0] % 64) // sizeof(double))  # a row is one line of the cache
        if self.n_rows > 0 and self.row != NULL:
            memcpy(row, self.row, self.capacity * sizeof(Row))
        self.row, self._row_owner = row, owner
        self.margin = lengthened(self.margin, n)
        self.side, self.next = lengthened(self.side, n), lengthened(self.next, n)
        if self.short_added is not None:
            self.short_added.reserve(n - self.n_clean)
        self.capacity = n

    # -- rows ------------------------------------------------------------------------------------

    cdef inline const Rows *_block(self, Py_ssize_t i, Py_ssize_t *local) noexcept nogil:
        if i < self.n_clean:
            local[0] = i
            return &self.clean
        local[0] = i - self.n_clean
        return &self.added

    cdef inline double _signed_dot(self, Py_ssize_t i, const double *v) noexcept nogil:
        """a_i . v"""
        cdef Py_ssize_t p
        cdef const Rows *rows = self._block(i, &p)
        cdef double s = row_dot(rows, p, v)
        if self.intercept:
            s += v[self.d]
        return self.row[i].y * s

    cdef inline void _signed_dot2(
        self, Py_ssize_t i, const double *v, const double *w, double *both
    ) noexcept nogil:
        """a_i . v and a_i . w in one read of the row"""
        cdef Py_ssize_t p
        cdef const Rows *rows = self._block(i, &p)
        row_dot2(rows, p, v, w, both)
        if self.intercept:
            both[0] += v[self.d]
            both[1] += w[self.d]
        both[0] *= self.row[i].y
        both[1] *= self.row[i].y

    cdef inline void _signed_axpy(self, Py_ssize_t i, double t, double *v) noexcept nogil:
        """v += t a_i"""
        cdef Py_ssize_t p
        cdef const Rows *rows = self._block(i, &p)
        t *= self.row[i].y
        row_axpy(rows, p, t, v)
        if self.intercept:
            v[self.d] += t

    cdef void _measure(self, Py_ssize_t i) noexcept nogil:
        """The two norms of row i: |a_i| and its `reach`, the latter with room for rounding."""
        memset(&self.unit[0], 0, (self.d + 1) * sizeof(double))
        self._signed_axpy(i, 1.0, &self.unit[0])
        self.row[i].norm = sqrt(mtp_dot(&self.unit[0], &self.unit[0], self.d + 1))
        self.row[i].reach = self._length(&self.unit[0], True) * (1 + 1e-9) + 1e-12 * self.row[i].norm

    cdef double _length(self, const double *v, bint dual) noexcept nogil:
        """|v| in the metric, or in its dual: |a . v| is at most the product of the two (Cauchy-Schwarz)."""
        cdef Py_ssize_t p, j, width = self.d + 1
        cdef double s, total = 0.0
        cdef double *rest = &self.rest[0]
        memcpy(rest, v, width * sizeof(double))
        for p in range(self.directions.shape[0]):
            s = mtp_dot(&self.directions[p, 0], v, width)
            mtp_axpy(width, -s, &self.directions[p, 0], rest)
            total += s * s / self.along[p] if dual else s * s * self.along[p]
        if dual:
            for j in range(width):
                total += rest[j] * rest[j] / self.across[j]
        else:
            for j in range(width):
                total += rest[j] * rest[j] * self.across[j]
        return sqrt(total)

    # -- the factor of the rows on the margin ----------------------------------------------------
    #
    # a_p = sum_q L[p, q] Q_q for the rows p on the margin, L lower triangular, the Q_q orthonormal.
    # Dense data keep Q: rows that almost depend on each other (columns rounded to float32 are
    # enough) then cost no accuracy. Sparse, wide data do without Q; L is then a Cholesky factor
    # of the Gram matrix, and `_project` a triangular solve.

    cdef int _reserve_on(self, Py_ssize_t m) noexcept nogil:
        cdef Py_ssize_t size
        if m <= self.m_capacity:
            return DONE
        size = 2 * self.m_capacity if 2 * self.m_capacity > m else m + 32
        if (
            grow(<void **>&self.on, size * sizeof(Py_ssize_t))
            or grow(<void **>&self.L, size * (size + 1) // 2 * sizeof(double))
            or (self.keep_Q and grow(<void **>&self.Q, (size + 1) * (self.d + 1) * sizeof(double)))
            or grow(<void **>&self.alpha, size * sizeof(double))
            or grow(<void **>&self.z, size * sizeof(double))
            or grow(<void **>&self.zb, size * sizeof(double))
        ):
            return NO_MEMORY
        self.m_capacity = size
        return DONE

    cdef void _forward(self, double *z) noexcept nogil:
        """z := L^-1 z"""
        cdef Py_ssize_t i
        cdef double *row = self.L
        for i in range(self.m):
            z[i] = (z[i] - mtp_dot(row, z, i)) / row[i]
            row += i + 1

    cdef void _backward(self, double *z) noexcept nogil:
        """z := L^-T z"""
        cdef Py_ssize_t i
        cdef double *row
        for i in range(self.m - 1, -1, -1):
            row = self.L + i * (i + 1) // 2
            z[i] /= row[i]
            mtp_axpy(i, -z[i], row, z)

    cdef void _project(self, const double *v, double *z) noexcept nogil:
        """z := Q v"""
        cdef Py_ssize_t p
        if self.keep_Q:
            mtp_dots(self.m, self.d + 1, self.Q, v, z)
        else:
            for p in range(self.m):
                z[p] = self._signed_dot(self.on[p], v)
            self._forward(z)

    cdef void _span(self, double t, double *z, double *v) noexcept nogil:
        """v += t Q' z (z is used up)"""
        cdef Py_ssize_t p
        if self.keep_Q:
            for p in range(self.m):
                z[p] *= t
            mtp_combine(self.m, self.d + 1, self.Q, z, v)
        else:
            self._backward(z)
            for p in range(self.m):
                self._signed_axpy(self.on[p], t * z[p], v)

    cdef bint _append(self, Py_ssize_t i) noexcept nogil:
        """Put row i on the margin; False if it depends on the rows there (nothing changed then)."""
        cdef Py_ssize_t m = self.m, p, width = self.d + 1
        cdef double *row = self.L + m * (m + 1) // 2
        cdef double *new
        cdef double rest
        if self.row[i].norm <= 0.0:
            return False
        if self.keep_Q:
            new = self.Q + m * width
            for p in range(width):
                new[p] = 0.0
            self._signed_axpy(i, 1.0, new)
            self._project(new, row)
            memcpy(self.z, row, m * sizeof(double))
            self._span(-1.0, self.z, new)
            rest = sqrt(mtp_dot(new, new, width))
            if rest < 0.3 * self.row[i].norm:  # once more, against cancellation: Q stays orthogonal to rounding
                self._project(new, self.z)
                for p in range(m):
                    row[p] += self.z[p]
                self._span(-1.0, self.z, new)
                rest = sqrt(mtp_dot(new, new, width))
            if rest <= 1e-11 * self.row[i].norm:
                return False
            for p in range(width):
                new[p] /= rest
        else:
            memset(&self.unit[0], 0, width * sizeof(double))
            self._signed_axpy(i, 1.0, &self.unit[0])
            for p in range(m):
                row[p] = self._signed_dot(self.on[p], &self.unit[0])
            self._forward(row)
            rest = self.row[i].norm * self.row[i].norm - mtp_dot(row, row, m)
            if rest <= 1e-11 * self.row[i].norm * self.row[i].norm:
                return False
            rest = sqrt(rest)
        row[m] = rest
        self.on[m] = i
        self.m = m + 1
        self.side[i] = ON
        return True

    cdef void _remove(self, Py_ssize_t p) noexcept nogil:
        """Take the p-th row off the margin: rotate the factor back to a triangle."""
        cdef Py_ssize_t m = self.m, width = self.d + 1, i, j
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

    cdef void _refactor(self) noexcept nogil:
        """The factor from scratch; updates let it drift."""
        cdef Py_ssize_t m = self.m, p, i
        self.m = 0
        for p in range(m):
            i = self.on[p]
            if not self._append(i):
                self.side[i] = ABOVE  # a pass gives it its side and puts it into a bin

    # -- one step --------------------------------------------------------------------------------

    cdef inline void _count_below(self, Py_ssize_t i, double weight) noexcept nogil:
        if i < self.n_clean:
            self._signed_axpy(i, weight, &self.below_clean[0])
            self.below_weight += weight
        else:
            self._signed_axpy(i, weight, &self.below_added[0])

    cdef double _find_force(self, const double *theta) noexcept nogil:
        """force := k R theta - sum_{below} c_i a_i; returns the size of what was subtracted."""
        cdef Py_ssize_t p
        cdef double scale = 0.0, s
        for p in range(self.d + 1):
            s = 0.0 if p == self.d and self.free_intercept else self.k * theta[p]
            scale += fabs(s) + fabs(self.below_clean[p]) + fabs(self.below_added[p])
            self.force[p] = s - self.below_clean[p] - self.below_added[p]
        return scale

    cdef double _find_step(self, const double *theta) noexcept nogil:
        """Newton's step from theta with the rows on the margin held there, into `step`; `alpha` becomes -Q force / k.

        Returns the slope force . step, or 0 if there is nowhere to go. Where the intercept is free
        and no row is on the margin, the objective is linear in it and the step is a direction
        only (see `_walk`).
        """
        cdef Py_ssize_t p, width = self.d + 1
        cdef double scale, before, size = 0.0, s, b, qq
        cdef double *z = self.z
        scale = self._find_force(theta)
        for p in range(width):
            self.step[p] = -self.force[p] / self.k
        before = mtp_dot(&self.step[0], &self.step[0], width)
        self._project(&self.step[0], z)
        memcpy(self.alpha, z, self.m * sizeof(double))
        self._span(-1.0, z, &self.step[0])
        if mtp_dot(&self.step[0], &self.step[0], width) < 0.25 * before:
            self._project(&self.step[0], z)  # once more, against cancellation
            for p in range(self.m):
                self.alpha[p] += z[p]
            self._span(-1.0, z, &self.step[0])
        if self.free_intercept:
            # (k R step + force) must lie in the span of the rows on the margin
            b = self.step[self.d]
            if self.m == 0:
                if fabs(self.force[self.d]) > 1e-13 * scale:
                    for p in range(self.d):
                        self.step[p] = 0.0
                    self.step[self.d] = -1.0 if self.force[self.d] > 0 else 1.0
                    return -fabs(self.force[self.d])
                self.step[self.d] = 0.0
            else:
                for p in range(width):
                    self.unit[p] = 0.0
                self.unit[self.d] = 1.0
                self._project(&self.unit[0], self.zb)
                qq = mtp_dot(self.zb, self.zb, self.m)
                self._span(-1.0, self.zb, &self.unit[0])
                mtp_axpy(width, b / qq, &self.unit[0], &self.step[0])
        for p in range(width):
            size += fabs(self.step[p])
        if self.k * size <= 1e-14 * scale * (width if width < 100 else 100):
            return 0.0
        s = mtp_dot(&self.force[0], &self.step[0], width)
        return s if s < -1e-40 * self.weight else 0.0  # where the model is 0, nothing else ends the steps

    cdef double _shorten_step(self) noexcept nogil:
        """`step` where a row has just joined the margin: what is left of it, at a right angle to the row. Returns the
        slope, or 0 where too few digits are left."""
        cdef Py_ssize_t m = self.m - 1, width = self.d + 1
        cdef double *new
        cdef double before, after
        if self.keep_Q:
            new = self.Q + m * width
        else:
            new = &self.unit[0]
            memset(new, 0, width * sizeof(double))
            self._signed_axpy(self.on[m], 1.0, new)
            memcpy(self.z, self.L + m * (m + 1) // 2, m * sizeof(double))
            self.m = m
            self._span(-1.0, self.z, new)
            self.m = m + 1
        before = mtp_dot(&self.step[0], &self.step[0], width)
        mtp_axpy(width, -mtp_dot(new, &self.step[0], width) / mtp_dot(new, new, width), new, &self.step[0])
        after = mtp_dot(&self.step[0], &self.step[0], width)
        return -self.k * after if after > 0.01 * before else 0.0

    cdef int _walk(self, double slope) noexcept nogil:
        """Exact line search along `step` from t = 0; the row at which it ends joins the margin."""
        cdef Py_ssize_t p, i, left, first, n_looks = 0, used = 0, joins = -1
        cdef Look *look
        cdef Crossing crossed
        cdef double f, curve, end, best, stage
        cdef bint truncated = False
        f = self._length(&self.step[0], False)
        self.joined = False
        p = self.d if self.free_intercept else self.d + 1
        curve = self.k * mtp_dot(&self.step[0], &self.step[0], p)
        end = -slope / curve if curve > 0.0 else INFINITY
        if end * f > self.horizon - self.travelled:
            end, truncated = (self.horizon - self.travelled) / f, True
            if end < 0.0:
                end = 0.0
        if (self.has_short_clean or self.has_short_added) and self.n_wasted > self.n_rows // 4 + 256:
            self._drop_anchor()
        self._load()
        # Most lines end long before `end`, so the rows are looked at in stages: first those that
        # can cross within a little more than the last way, then twice as far, ...
        stage = 2.0 * self.last_way / f if 64.0 * self.last_way > end * f else end / 32.0
        left = 0  # the heap of crossings still ahead; few of many are needed in order
        best = end
        while True:
            if stage > 0.7 * end:
                stage = end
            first = n_looks
            if self._take_due(self.travelled + f * stage, &n_looks, used) != DONE:
                return NO_MEMORY
            for p in range(first, n_looks):
                self._look(p, end, f, &left)
            while left > 0 and self.crossings[0].step <= stage:
                crossed = self.crossings[0]
                if not self.looks[crossed.p].close:
                    if slope + curve * crossed.step >= 0.0:
                        break
                    left -= 1
                    self.crossings[0] = self.crossings[left]
                    sift_down(self.crossings, left, 0)
                    self._look_closely(crossed.p, end, f, &left)
                    continue
                if slope + curve * crossed.step >= 0.0:
                    break
                if slope + curve * crossed.step + crossed.jump >= 0.0:
                    best, joins = crossed.step, self.looks[crossed.p].i
                    break
                slope += crossed.jump
                left -= 1
                self.crossings[0] = self.crossings[left]
                sift_down(self.crossings, left, 0)
                # those crossed gather at the other end of the same array
                used += 1
                self.crossings[self.looks_capacity - used] = crossed
            if joins >= 0:
                break
            if slope + curve * stage >= 0.0:
                best = -slope / curve if curve > 0.0 else stage
                break
            if stage >= end:
                break
            stage *= 4.0
        if best < 0.0:
            best = 0.0
        mtp_axpy(self.d + 1, best, &self.step[0], &self.model[0])
        self.travelled += best * f
        self.last_way = best * f
        for p in range(n_looks):
            look = &self.looks[p]
            i = look.i
            if look.close:
                self._note(i, look.slack + best * look.rate)
            else:
                self._set_deadline(i, fabs(look.slack + best * look.rate) - look.error - best * look.spread)
            if i != joins:
                self._put(i)
        self.n_looks += n_looks
        for p in range(self.looks_capacity - used, self.looks_capacity):
            i = self.looks[self.crossings[p].p].i
            if self.side[i] == ABOVE:
                self.side[i] = BELOW
                self._count_below(i, self.row[i].c)
            else:
                self.side[i] = ABOVE
                self._count_below(i, -self.row[i].c)
        if joins >= 0:
            i = joins
            if self._reserve_on(self.m + 1) != DONE:
                return NO_MEMORY
            if self.side[i] == BELOW:
                self._count_below(i, -self.row[i].c)
            if self._append(i):
                if used == 0 and not self.free_intercept:  # the same force, then, and less of it left
                    for p in range(self.d + 1):
                        self.step[p] *= 1.0 - best
                    self.joined = True
            else:  # numerically dependent after all: let it cross
                if self.side[i] == ABOVE:
                    self.side[i] = BELOW
                    self._count_below(i, self.row[i].c)
                else:
                    self.side[i] = ABOVE
                self._put(i)
        elif truncated and best == end or self.n_sifted > 4 * self.n_rows + 4096:
            if curve <= 0.0 and truncated:  # a slope that never ends may be what rounding left of sums that cancelled
                self._sum_below()
            self._gather(0.0)
        self.n_steps += 1
        return DONE

    cdef int _take_due(self, double limit, Py_ssize_t *n_looks, Py_ssize_t used) noexcept nogil:
        """Take the rows with a deadline up to `limit` out of their bins, to be looked at."""
        cdef int b = self._bin(limit), i, later, follower
        b = b if b < BINS else BINS - 1  # rounding may have led theta past the horizon
        while self.first_bin <= b:
            i, later = self.bins[self.first_bin], -1
            while i >= 0:
                if n_looks[0] >= self.looks_capacity - used and self._reserve_looks(used) != DONE:
                    return NO_MEMORY
                follower = self.next[i]
                if follower >= 0:
                    mtp_prefetch(self.row + follower, sizeof(Row))
                if not self.row[i].deadline > limit:
                    self._prefetch(i)
                    self.looks[n_looks[0]].i = i
                    n_looks[0] += 1
                else:
                    self.next[i] = later
                    later = i
                    self.n_sifted += 1
                i = follower
            self.bins[self.first_bin] = later
            if self.first_bin == b:
                break
            self.first_bin += 1
        return DONE

    cdef int _reserve_looks(self, Py_ssize_t used) noexcept nogil:
        """More room for rows that are looked at; the `used` crossings at the other end stay there."""
        cdef Py_ssize_t have = self.looks_capacity, n = 2 * have + 256
        if grow(<void **>&self.crossings, n * sizeof(Crossing)) or grow(<void **>&self.looks, n * sizeof(Look)):
            return NO_MEMORY
        memmove(self.crossings + n - used, self.crossings + have - used, used * sizeof(Crossing))
        self.looks_capacity = n
        return DONE

    cdef void _load(self) noexcept nogil:
        """Prepare first looks along `step`."""
        cdef Py_ssize_t p
        if not (self.has_short_clean or self.has_short_added):
            return
        for p in range(self.d + 1):
            self.way[p] = self.model[p] - self.anchor[p]
        self.way_size = sqrt(mtp_dot(&self.way[0], &self.way[0], self.d))
        self.step_size = sqrt(mtp_dot(&self.step[0], &self.step[0], self.d))
        if self.way_size > self.farthest:
            self.farthest = self.way_size
        if self.has_short_clean:
            self.short_clean.load(&self.way[0], &self.step[0])
        if self.has_short_added:
            self.short_added.load(&self.way[0], &self.step[0])

    cdef inline void _prefetch(self, Py_ssize_t i) noexcept nogil:
        """Ask for what `_look` will read."""
        cdef Py_ssize_t p
        cdef const Rows *rows = self._block(i, &p)
        if self.has_short_clean and i < self.n_clean:
            self.short_clean.prefetch(p)
        elif self.has_short_added and i >= self.n_clean:
            self.short_added.prefetch(p)
        elif rows.sparse:
            mtp_prefetch(rows.data + rows.indptr[p], (rows.indptr[p + 1] - rows.indptr[p]) * sizeof(double))
            mtp_prefetch(rows.indices + rows.indptr[p], (rows.indptr[p + 1] - rows.indptr[p]) * sizeof(int))
        else:
            mtp_prefetch(rows.data + p * rows.d, rows.d * sizeof(double))

    cdef inline void _look(self, Py_ssize_t p, double end, double f, Py_ssize_t *left) noexcept nogil:
        """What the codes of a row tell of its margin; where that may cross its threshold before `end`, wait."""
        cdef Look *look = &self.looks[p]
        cdef Py_ssize_t i = look.i
        cdef double both[2]
        cdef double error, gap, speed
        look.shift = 0.0
        if i < self.n_clean and self.has_short_clean:
            error = self.short_clean.look(i, both)
        elif i >= self.n_clean and self.has_short_added:
            error = self.short_added.look(i - self.n_clean, both)
        else:
            self._look_closely(p, end, f, left)
            return
        if self.intercept:
            both[0] += self.way[self.d]
            both[1] += self.step[self.d]
        look.shift = self.row[i].y * both[0]
        look.rate = self.row[i].y * both[1]
        look.spread = error * self.step_size
        if self.row[i].stamp == self.travelled:
            look.slack, look.error = self.row[i].slack, 0.0
        elif self.row[i].base == self.row[i].base:
            look.slack, look.error = self.row[i].base + look.shift, error * (self.way_size + self.farthest) + 1e-12
        else:
            self._look_closely(p, end, f, left)
            return
        look.close = False
        if self.side[i] == ABOVE:
            gap, speed = look.slack - look.error, look.spread - look.rate
        else:
            gap, speed = -look.slack - look.error, look.spread + look.rate
        if gap > 0.0 and gap >= end * speed:
            return
        self._foresee(p, gap / speed if gap > 0.0 else 0.0, 0.0, left)

    cdef inline void _look_closely(self, Py_ssize_t p, double end, double f, Py_ssize_t *left) noexcept nogil:
        """Compute the margin of a row, and where it crosses along `step`, if before `end`."""
        cdef Look *look = &self.looks[p]
        cdef Py_ssize_t i = look.i
        cdef double both[2]
        cdef double rate, at, noise = 32 * EPS * f * self.row[i].reach
        self.n_close += 1
        if self.row[i].stamp == self.travelled:  # its margin is known
            rate = self._signed_dot(i, &self.step[0])
        else:
            self._signed_dot2(i, &self.model[0], &self.step[0], both)
            self.row[i].slack = both[0] - 1.0 - nudge(i)
            rate = both[1]
        self.row[i].base = self.row[i].slack - look.shift
        look.slack, look.rate, look.close = self.row[i].slack, rate, True
        self.n_wasted += 1
        if (self.side[i] == ABOVE and rate >= -noise) or (self.side[i] == BELOW and rate <= noise):
            return
        at = -self.row[i].slack / rate
        if at > end:
            return
        self.n_wasted -= 1
        self._foresee(p, at if at > 0.0 else 0.0, self.row[i].c * fabs(rate), left)

    cdef inline void _foresee(self, Py_ssize_t p, double step, double jump, Py_ssize_t *left) noexcept nogil:
        """Put a crossing onto the heap of those still ahead."""
        cdef Crossing *crossing = &self.crossings[left[0]]
        crossing.step, crossing.jump, crossing.p = step, jump, p
        left[0] += 1
        sift_up(self.crossings, left[0] - 1)

    cdef inline void _note(self, Py_ssize_t i, double slack) noexcept nogil:
        """Row i is that far from its threshold here; when it must be looked at again follows."""
        self.row[i].slack = slack
        self.row[i].stamp = self.travelled
        self._set_deadline(i, fabs(slack))

    cdef inline void _set_deadline(self, Py_ssize_t i, double slack) noexcept nogil:
        """Row i is at least that far from its threshold."""
        if self.row[i].reach > 0.0:
            self.row[i].deadline = self.travelled + (slack - 3e-11) / self.row[i].reach
        else:
            self.row[i].deadline = INFINITY

    cdef inline int _bin(self, double deadline) noexcept nogil:
        """The bin of a deadline; BINS where it comes later than all of them."""
        cdef double b = (deadline - self.gathered_at) / self.bin_width
        if not b > self.first_bin:  # NaN, of codes that overflow, is due at once
            return self.first_bin
        return <int>b if b < BINS else BINS

    cdef inline void _put(self, Py_ssize_t i) noexcept nogil:
        """Put row i into the bin of its deadline."""
        cdef int b = self._bin(self.row[i].deadline)
        if b < BINS:
            self.next[i] = self.bins[b]
            self.bins[b] = <int>i

    cdef void _clear_bins(self, double width) noexcept nogil:
        cdef int b
        for b in range(BINS):
            self.bins[b] = -1
        self.first_bin = 0
        # narrower ones would be lost in the rounding of deadlines: no row before the horizon may lie in none of them
        self.bin_width = width if width > 16 * EPS * self.travelled else 16 * EPS * self.travelled
        self.gathered_at = self.travelled
        self.horizon = self.travelled + (BINS - 1) * self.bin_width

    cdef void _gather(self, double ahead) noexcept nogil:
        """Put all rows into new bins, of the width that theta lately went in two line searches; at least `ahead` in
        all."""
        cdef Py_ssize_t i
        cdef double way = (self.travelled - self.gathered_at) / (self.n_steps - self.steps_at_gather + 1)
        way = 0.5 * way if way > 0.0 else 1e-3 * (1.0 + self.last_way)
        self._clear_bins(way if way > 2.0 / BINS * ahead else 2.0 / BINS * ahead)
        self.steps_at_gather, self.n_sifted = self.n_steps, 0
        for i in range(self.n_rows):
            if self.side[i] != ON:
                self._put(i)

    cdef inline double _excess(self, Py_ssize_t p) noexcept nogil:
        """How far the dual variable of the p-th row on the margin is out of [0, c]."""
        return -self.alpha[p] if self.alpha[p] < 0.0 else self.alpha[p] - self.row[self.on[p]].c

    cdef double _find_alpha(self, double slack) noexcept nogil:
        """The dual variables of the rows on the margin, after `_find_step`; returns the largest excess, 0 if none
        counts."""
        cdef Py_ssize_t p
        cdef double most = 0.0, off
        for p in range(self.m):
            self.alpha[p] *= -self.k
        self._backward(self.alpha)
        for p in range(self.m):
            off = self._excess(p)
            if off > slack * (1.0 + self.row[self.on[p]].c) and off > most:
                most = off
        return most

    cdef void _drop(self, double least, bint first) noexcept nogil:
        """Rows whose dual variable is out of bounds by ``least`` leave the margin (or the first of them)."""
        cdef Py_ssize_t p, i
        for p in range(self.m - 1, -1, -1):
            if self._excess(p) < least:
                continue
            i = self.on[p]
            self.side[i] = ABOVE if self.alpha[p] < 0.0 else BELOW
            if self.side[i] == BELOW:
                self._count_below(i, self.row[i].c)
            self._remove(p)
            self._note(i, 0.0)
            self._put(i)
            if first:
                break

    cdef int _solve(self) noexcept nogil:
        cdef long steps = 0, drops = 0
        cdef double slope, most, before
        self._restore()
        self.joined, before = False, -1.0
        if self._find_step(&self.model[0]) < 0.0:
            # rows that are bound to leave need not be led along first
            most = self._find_alpha(1e-9)
            if most > 0.0:
                self._drop(most * SHARE, False)
        while steps < 2000 + 20 * self.n_rows:
            steps += 1
            slope = self._shorten_step() if self.joined else 0.0
            self.joined = False
            if slope == 0.0:
                slope = self._find_step(&self.model[0])
            if slope < 0.0:
                if self._walk(slope) != DONE:
                    return NO_MEMORY
                continue
            # Ties can make rows leave and come back for ever: with time, be less choosy.
            most = self._find_alpha(1e-11 * 10.0 ** (drops // 200 if drops < 1600 else 8))
            if most == 0.0:
                self._finish()
                return DONE
            drops += 1
            # Several rows may leave together; where that led nowhere, one alone surely lowers the objective.
            self._drop(most * SHARE if self.travelled > before else most, drops > 100)
            before = self.travelled
        self._finish()
        return TOO_MANY_STEPS

    cdef void _drop_anchor(self) noexcept nogil:
        """Let the codes count from here. No slack is known from them until its margin is computed once."""
        cdef Py_ssize_t i
        memcpy(&self.anchor[0], &self.model[0], (self.d + 1) * sizeof(double))
        self.farthest, self.n_wasted = 0.0, 0
        for i in range(self.n_rows):
            self.row[i].base = NAN

    cdef void _finish(self) noexcept nogil:
        """The exact model and its dual variables: the rows on the margin at 1, no nudge."""
        cdef Py_ssize_t p
        cdef double c
        memcpy(&self.exact[0], &self.model[0], (self.d + 1) * sizeof(double))
        for p in range(self.m):
            self.z[p] = 1.0 - self._signed_dot(self.on[p], &self.model[0])
        self._forward(self.z)
        self._span(1.0, self.z, &self.exact[0])
        if self.free_intercept and self.m > 0:
            # only w is penalised, so moving along the rows on the margin unbalances the rest
            self._find_step(&self.exact[0])
            mtp_axpy(self.d + 1, 1.0, &self.step[0], &self.exact[0])
        self._find_force(&self.exact[0])
        self._project(&self.force[0], self.z)
        memcpy(self.alpha, self.z, self.m * sizeof(double))
        self._backward(self.alpha)
        for p in range(self.m):
            c = self.row[self.on[p]].c
            self.alpha[p] = 0.0 if self.alpha[p] < 0.0 else (c if self.alpha[p] > c else self.alpha[p])

    cdef void _restore(self) noexcept nogil:
        """Take back what rounding has moved the rows on the margin off their thresholds."""
        cdef Py_ssize_t p
        for p in range(self.m):
            self.z[p] = 1.0 + nudge(self.on[p]) - self._signed_dot(self.on[p], &self.model[0])
        self._forward(self.z)
        memset(&self.unit[0], 0, (self.d + 1) * sizeof(double))
        self._span(1.0, self.z, &self.unit[0])
        mtp_axpy(self.d + 1, 1.0, &self.unit[0], &self.model[0])
        self.travelled += self._length(&self.unit[0], False)

    cdef void _margins(self, double *theta) noexcept nogil:
        """margin[i] = a_i . theta for every row: one pass over the data."""
        cdef double b = theta[self.d] if self.intercept else 0.0
        cdef Py_ssize_t i
        products(&self.clean, self.n_clean, theta, &self.margin[0])
        if self.n_rows > self.n_clean:
            products(&self.added, self.n_rows - self.n_clean, theta, &self.margin[self.n_clean])
        for i in range(self.n_rows):
            self.margin[i] = self.row[i].y * (self.margin[i] + b)

    cdef void _pass(self) noexcept nogil:
        """One pass over the data: all margins, and all deadlines from here."""
        cdef Py_ssize_t i
        self._restore()
        self._margins(&self.model[0])
        self.gathered_at -= self.travelled
        self.travelled = 0.0
        self._drop_anchor()
        for i in range(self.n_rows):
            self._note(i, self.margin[i] - 1.0 - nudge(i))
            self.row[i].base = self.row[i].slack
        self._gather(0.0)

    cdef void _sum_below(self) noexcept nogil:
        cdef Py_ssize_t i, p
        for p in range(self.d + 1):
            self.below_clean[p] = self.below_added[p] = 0.0
        self.below_weight = 0.0
        for i in range(self.n_rows):
            if self.side[i] == BELOW:
                self._count_below(i, self.row[i].c)

    # -- calls from Python -----------------------------------------------------------------------

    def set_weights(self, const double[::1] c, double k):
        """Set the weights of all rows, and k. `start` must follow."""
        cdef Py_ssize_t i
        if c.shape[0] != self.n_rows:
            raise ValueError("set_weights: shapes disagree")
        self.k, self.weight = k, 0.0
        for i in range(self.n_rows):
            self.row[i].c = c[i]
            self.weight += c[i]

    def descend(self, double tol, int max_epochs, unsigned long long seed=1):
        """A first model by dual coordinate descent, the intercept penalised.

        Hsieh et al., "A Dual Coordinate Descent Method for Large-scale Linear SVM", ICML 2008:
        rows in random order, those that sit firmly at a bound left out. Stops when no margin is
        off by more than ``tol``. Returns the number of epochs. `start` must follow.
        """
        cdef Py_ssize_t n = self.n_rows, active = n, i, s, swap, p
        cdef Py_ssize_t[::1] order = np.arange(n)
        cdef double[::1] alpha = np.zeros(n)
        cdef double firm = INFINITY, worst, g, old, new, top
        cdef int epoch = 0
        cdef unsigned long long state = seed * 2685821657736338717ULL + 88172645463325252ULL
        with nogil:
            for p in range(self.d + 1):
                self.model[p] = 0.0
            while epoch < max_epochs:
                worst = 0.0
                for s in range(active):
                    state ^= state << 13
                    state ^= state >> 7
                    state ^= state << 17
                    swap = s + <Py_ssize_t>(state % <unsigned long long>(active - s))
                    order[s], order[swap] = order[swap], order[s]
                s = 0
                while s < active:
                    i = order[s]
                    old, top = alpha[i], self.row[i].c
                    if top <= 0.0 or self.row[i].norm <= 0.0:
                        active -= 1
                        order[s], order[active] = order[active], order[s]
                        continue
                    g = self._signed_dot(i, &self.model[0]) - 1.0
                    if (old <= 0.0 and g > firm) or (old >= top and -g > firm):
                        active -= 1
                        order[s], order[active] = order[active], order[s]
                        continue
                    s += 1
                    if (old > 0.0 or g < 0.0) and (old < top or g > 0.0):
                        if fabs(g) > worst:
                            worst = fabs(g)
                        new = old - g * self.k / (self.row[i].norm * self.row[i].norm)
                        new = 0.0 if new < 0.0 else (top if new > top else new)
                        if new != old:
                            alpha[i] = new
                            self._signed_axpy(i, (new - old) / self.k, &self.model[0])
                epoch += 1
                firm = worst if worst > 0.0 else INFINITY
                if worst <= tol:
                    if active == n:
                        break
                    active, firm = n, INFINITY  # all rows once more before believing it
        return epoch

    def start(self, theta=None):
        """Solve from theta (default: from where the model is). Returns an Outcome (0: solved)."""
        cdef const double[::1] given
        cdef Py_ssize_t i
        cdef int outcome
        if theta is not None:
            given = theta
            if given.shape[0] != self.d + 1:
                raise ValueError("start: shapes disagree")
            memcpy(&self.model[0], &given[0], (self.d + 1) * sizeof(double))
        with nogil:
            self.m = 0
            for i in range(self.n_rows):
                self.side[i] = ABOVE
            self._pass()
            for i in range(self.n_rows):
                self.side[i] = BELOW if self.margin[i] < 1.0 + nudge(i) else ABOVE
            self._sum_below()
            outcome = self._solve()
        return outcome

    def set_added(self, X, Py_ssize_t n):
        """Use the first n rows of X (dense or CSR like the clean rows) as the added rows.

        Called after the caller's buffer has moved or grown; rows seen before must be unchanged.
        """
        self.added = rows_of(X)
        self._owners[1] = X
        self._reserve(self.n_clean + n)

    def append(self, double y):
        """Take in the next added row, with weight 0. Returns its index."""
        cdef Py_ssize_t i = self.n_rows
        self._reserve(i + 1)
        self.n_rows = i + 1
        self.row[i].y = y
        self.row[i].c = 0.0
        self._measure(i)
        self.row[i].base = NAN
        self._code(i - self.n_clean)
        self._note(i, self._signed_dot(i, &self.model[0]) - 1.0 - nudge(i))
        self.side[i] = BELOW if self.row[i].slack < 0.0 else ABOVE
        self._put(i)
        return i

    cdef _code(self, Py_ssize_t i):
        """Code the i-th added row; the first few settle how far the codes reach."""
        cdef Py_ssize_t p
        if self.added.sparse or self.d < LONG:
            return
        if self.short_added is None:
            self.short_added = ShortRows(self.d)
            self.short_added.reserve(self.capacity - self.n_clean)
            self.has_short_added = True
        if i < 64 and self.short_added.widen(self.added.data + i * self.d):
            for p in range(i):
                self.short_added.code(p, self.added.data + p * self.d)
                self.row[self.n_clean + p].base = NAN
        self.short_added.code(i, self.added.data + i * self.d)

    def raise_weight(self, Py_ssize_t j, double dc, double dk):
        """Let c_j grow by dc and k by dk, and solve. Returns an Outcome (0: solved)."""
        cdef int outcome
        if not 0 <= j < self.n_rows:
            raise ValueError("raise_weight: no such row")
        with nogil:
            self.row[j].c += dc
            self.weight += dc
            self.k += dk
            if self.side[j] == BELOW:
                self._count_below(j, dc)
            outcome = self._solve()
        return outcome

    def renew(self, Py_ssize_t i, double y):
        """Take in an added row of weight 0 anew: its numbers in the memory shown by `set_added` are others now."""
        cdef Py_ssize_t p
        if not self.n_clean <= i < self.n_rows or self.row[i].c != 0.0:
            raise ValueError("renew: no added row of weight 0")
        for p in range(self.m):
            if self.on[p] == i:
                self._remove(p)
                break
        self.row[i].y = y
        self._measure(i)
        self.row[i].base = NAN
        if self.short_added is not None:
            p = i - self.n_clean
            if self.short_added.widen(self.added.data + p * self.d):  # the codes of all of them reach further now
                for p in range(self.n_rows - self.n_clean):
                    self.short_added.code(p, self.added.data + p * self.d)
                    self.row[self.n_clean + p].base = NAN
            else:
                self.short_added.code(p, self.added.data + p * self.d)
        self.side[i] = BELOW
        self._note(i, self._signed_dot(i, &self.model[0]) - 1.0 - nudge(i))
        self.side[i] = BELOW if self.row[i].slack < 0.0 else ABOVE
        self._gather(0.0)  # the bins may hold the row where it stood

    def shift_weights(self, const Py_ssize_t[::1] rows, const double[::1] dc, double dk):
        """Let the c of these rows change by dc and k by dk, all at once, and solve. Returns an Outcome (0: solved)."""
        cdef Py_ssize_t p, j
        cdef int outcome
        if rows.shape[0] != dc.shape[0]:
            raise ValueError("shift_weights: shapes disagree")
        for p in range(rows.shape[0]):
            if not 0 <= rows[p] < self.n_rows or self.row[rows[p]].c + dc[p] < 0.0:
                raise ValueError("shift_weights: no such row, or a negative weight")
        with nogil:
            for p in range(rows.shape[0]):
                j = rows[p]
                self.row[j].c += dc[p]
                self.weight += dc[p]
                if self.side[j] == BELOW:
                    self._count_below(j, dc[p])
            self.k += dk
            outcome = self._solve()
        return outcome

    def theta(self, double[::1] out):
        """The model, into out (d + 1,)."""
        memcpy(&out[0], &self.exact[0], (self.d + 1) * sizeof(double))

    cdef double _residual(self) noexcept nogil:
        """What the gap owes to stationarity, from the sums that are carried along."""
        cdef Py_ssize_t p
        self._find_force(&self.exact[0])
        for p in range(self.m):
            self._signed_axpy(self.on[p], -self.alpha[p], &self.force[0])
        return self._left_over()

    cdef double _left_over(self) noexcept nogil:
        """|k R theta - sum alpha_i a_i|^2 / 2k, that vector being in `force` (+ |b| times what is left of
        sum y alpha where the intercept is free)."""
        cdef double s = mtp_dot(&self.force[0], &self.force[0], self.d) / (2.0 * self.k)
        if self.free_intercept:
            return s + fabs(self.force[self.d] * self.exact[self.d])
        return s + self.force[self.d] * self.force[self.d] / (2.0 * self.k)

    cdef inline double _row_gap(self, Py_ssize_t i, double alpha, double slack) noexcept nogil:
        """What a row adds to the gap: c phi(m) - alpha (1 - m) >= 0."""
        return -(self.row[i].c - alpha) * slack if slack < 0.0 else alpha * slack

    def gap(self):
        """The duality gap, from the rows on and near the margin; the others add exactly 0."""
        cdef Py_ssize_t p, i, b
        cdef double total, moved
        with nogil:
            total = self._residual()
            for p in range(self.d + 1):
                self.unit[p] = self.exact[p] - self.model[p]
            moved = self.travelled + self._length(&self.unit[0], False)
            if moved >= self.horizon:
                self._gather(moved - self.travelled)
            for p in range(self.m):
                i = self.on[p]
                total += self._row_gap(i, self.alpha[p], self._signed_dot(i, &self.exact[0]) - 1.0)
            b = self._bin(moved)
            b = b if b < BINS else BINS - 1
            for p in range(self.first_bin, b + 1):
                i = self.bins[p]
                while i >= 0:
                    if not self.row[i].deadline > moved:
                        total += self._row_gap(
                            i, self.row[i].c if self.side[i] == BELOW else 0.0,
                            self._signed_dot(i, &self.exact[0]) - 1.0,
                        )
                    i = self.next[i]
        return total

    cdef double _full_gap(self, long *wrong) noexcept nogil:
        """The duality gap summed over all rows, from nothing that is carried along but `alpha`.

        ``wrong`` counts the rows that are not on the side where their margin says they are, by more
        than rounding.
        """
        cdef Py_ssize_t p, i
        cdef double total = 0.0, allowance, size
        cdef double *theta = &self.exact[0]
        size = sqrt(mtp_dot(theta, theta, self.d + 1))
        self._margins(theta)
        for p in range(self.d + 1):
            self.force[p] = 0.0 if p == self.d and self.free_intercept else self.k * theta[p]
        for i in range(self.n_rows):
            if self.side[i] == ON:
                continue
            allowance = 5e-11 + 64 * EPS * self.row[i].norm * size
            if self.side[i] == BELOW:
                self._signed_axpy(i, -self.row[i].c, &self.force[0])
                total += self._row_gap(i, self.row[i].c, self.margin[i] - 1.0)
                wrong[0] += self.margin[i] > 1.0 + allowance
            else:
                total += self._row_gap(i, 0.0, self.margin[i] - 1.0)
                wrong[0] += self.margin[i] < 1.0 - allowance
        for p in range(self.m):
            i = self.on[p]
            self._signed_axpy(i, -self.alpha[p], &self.force[0])
            total += self._row_gap(i, self.alpha[p], self.margin[i] - 1.0)
        return total + self._left_over()

    def check(self):
        """``(gap, wrong)`` by a full pass that changes nothing: see `_full_gap`."""
        cdef long wrong = 0
        cdef double gap
        with nogil:
            gap = self._full_gap(&wrong)
        return gap, wrong

    def audit(self):
        """Everything from scratch: sums, factor, margins, sides; then solve. Returns (gap, wrong).

        ``wrong`` counts the rows that were not on the side where their margin says they are, by
        more than rounding. The gap is summed over all rows.
        """
        cdef Py_ssize_t i
        cdef long wrong = 0, left = 0
        cdef double gap, size, allowance
        cdef int outcome
        with nogil:
            self._refactor()
            self._pass()
            size = sqrt(mtp_dot(&self.model[0], &self.model[0], self.d + 1))
            for i in range(self.n_rows):
                if self.side[i] == ON:
                    continue
                allowance = 3e-11 + 64 * EPS * self.row[i].norm * size
                if (self.side[i] == ABOVE and self.margin[i] < 1.0 - allowance) or (
                    self.side[i] == BELOW and self.margin[i] > 1.0 + allowance
                ):
                    wrong += 1
                    self.side[i] = BELOW if self.margin[i] < 1.0 else ABOVE
            self._sum_below()
            outcome = self._solve()
            gap = self._full_gap(&left)
        return gap, wrong + (outcome != DONE)

    def clean_loss(self):
        """Summed weighted hinge loss of the clean rows at theta, in O(d)."""
        return self.below_weight - mtp_dot(&self.below_clean[0], &self.exact[0], self.d + 1)

    def resolution(self):
        """What rounding alone can put into the gap: a few units in the last place of every margin,
        and what the same in k R theta, divided by k, does to the margins."""
        cdef Py_ssize_t i
        cdef double total = 0.0, pull = 0.0, noise = 0.0
        cdef double size = sqrt(mtp_dot(&self.exact[0], &self.exact[0], self.d + 1))
        with nogil:
            for i in range(self.n_rows):
                total += self.row[i].c * (1.0 + self.row[i].norm * size)
                pull += self.row[i].c * self.row[i].norm
                noise += (self.row[i].c * self.row[i].norm) ** 2
        return EPS * (8.0 * total + pull * sqrt(noise) / self.k)
