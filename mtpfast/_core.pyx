"""Compiled kernels: losses, rows of data, the passes of the smooth refit and the scan of a pool.

Arrays cross the boundary, numbers inside them do not. Python converts and checks the input; the
kernels return numbers and leave warnings and errors to Python. Nothing here proves a lower bound:
certificates are checked in plain NumPy (``proofs/``).

``_search.pyx`` holds the oracle over boxes and mixed regions, ``_hinge.pyx`` the hinge refit. What they share is
declared in ``_core.pxd``, the vector loops stand in ``_simd.h``.
"""

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from scipy.linalg.cython_blas cimport dgemv

from mtpfast._simd cimport (
    mtp_collect, mtp_combine, mtp_decay, mtp_dot, mtp_dot2, mtp_dots, mtp_log_loss, mtp_look_up, mtp_margins, mtp_tally,
    mtp_weigh,
)

import numpy as np


cdef class Hinge:
    """phi(m) = max(0, 1 - m)"""


cdef class SquaredHinge:
    """phi(m) = max(0, 1 - m)^2"""


cdef class LogLoss:
    """phi(m) = log(1 + exp(-m))"""


HINGE, SQUARED_HINGE, LOG_LOSS = Hinge(), SquaredHinge(), LogLoss()
KERNELS = {"hinge": HINGE, "squared_hinge": SQUARED_HINGE, "log_loss": LOG_LOSS}


# ---------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------

cdef Rows rows_of(X):
    """A dense array (m, d), or what has shape, data, indices and indptr (CSR), and corners; X must live on."""
    cdef Rows rows
    cdef const uint64_t[::1] bits
    cdef const double[::1] low, high
    cdef const double[::1] data
    cdef const int[::1] indices, indptr
    rows.d, rows.sparse = X.shape[1], not isinstance(X, np.ndarray)
    data = X.data if rows.sparse else X.reshape(-1)
    rows.data = &data[0] if data.shape[0] else NULL
    rows.single, rows.bits, rows.low, rows.high = NULL, NULL, NULL, NULL
    rows.indices = rows.indptr = NULL
    if rows.sparse:
        indices, indptr = X.indices, X.indptr
        rows.indices, rows.indptr = &indices[0] if indices.shape[0] else NULL, &indptr[0]
    if hasattr(X, "bits"):
        bits = X.bits.reshape(-1)
        rows.bits = &bits[0] if bits.shape[0] else NULL
        if not X.is_unit:
            low, high = X.low, X.high
            if not low.shape[0] == high.shape[0] == rows.d:
                raise ValueError("rows_of: shapes disagree")
            rows.low, rows.high = &low[0], &high[0]
    return rows


cdef void products(const Rows *rows, Py_ssize_t n, const double *v, double *out) noexcept nogil:
    """out[i] = x_i . v for the first n rows"""
    cdef int d = <int>rows.d, m = <int>n, one = 1
    cdef double unit = 1.0, zero = 0.0
    cdef Py_ssize_t i
    if not rows.sparse and rows.single == NULL and d > 0:
        dgemv("T", &d, &m, &unit, <double *>rows.data, &d, <double *>v, &one, &zero, out, &one)
        return
    for i in range(n):
        out[i] = row_dot(rows, i, v)


# ---------------------------------------------------------------------------------------------
# The oracle over a pool: one read of the candidates
# ---------------------------------------------------------------------------------------------

cdef struct Candidate:
    double value
    Py_ssize_t row
    double label


cdef inline void offer(
    Loss loss, double s, double t, double sign, Py_ssize_t i, double tie, Candidate *best
) noexcept nogil:
    """Take row i for the best if it is better than the best so far by more than `tie`."""
    cdef double f
    if loss.most_difference(sign * s, sign * t) <= best.value + tie:
        return
    f = loss.value(sign * s) - loss.value(sign * t)
    if f > best.value + tie:
        best.value, best.row, best.label = f, i, sign


cdef tuple as_tuple(Candidate *best):
    return best.row, best.label, best.value


cdef inline void two_scores(
    const Rows *rows, Py_ssize_t i, const double[::1] theta, const double[::1] theta_target, double *both
) noexcept nogil:
    """x_i . w + b under both models"""
    cdef Py_ssize_t d = rows.d
    cdef int j
    if not rows.sparse:
        mtp_dot2(rows.data + i * d, &theta[0], &theta_target[0], d, both)
        both[0] += theta[d]
        both[1] += theta_target[d]
        return
    both[0], both[1] = theta[d], theta_target[d]
    for j in range(rows.indptr[i], rows.indptr[i + 1]):
        both[0] += rows.data[j] * theta[rows.indices[j]]
        both[1] += rows.data[j] * theta_target[rows.indices[j]]


def pool_loss_difference(
    Loss loss,
    const double[::1] theta,         # IN (d + 1,)
    const double[::1] theta_target,  # IN (d + 1,)
    X,                               # IN the candidates: dense (n, d), or what has data, indices and indptr (CSR)
    const double[::1] signs,         # IN (n,) labels of the candidates, or empty: either label
    const unsigned char[::1] spent,  # IN (n,) 1: the label +1 is used up, 2: the label -1, 3: both; or empty
    double tie,                      # IN what a later row must be better by
):
    """(row, label, value) of the largest loss difference over the rows of X, to `tie`, first of what is left and then
    of what is used up (value -inf where there is none); O(n d), one read."""
    cdef Rows rows = rows_of(X)
    cdef Py_ssize_t n = X.shape[0], d = rows.d, i
    if theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1:
        raise ValueError("pool_loss_difference: shapes disagree")
    if (signs.shape[0] and signs.shape[0] != n) or (spent.shape[0] and spent.shape[0] != n):
        raise ValueError("pool_loss_difference: shapes disagree")
    cdef Candidate best[2]
    best[0].value = best[1].value = -INFINITY
    best[0].row = best[1].row = 0
    best[0].label = best[1].label = 1.0
    cdef double s[2]
    cdef bint either = signs.shape[0] == 0, capped = spent.shape[0] != 0
    cdef int gone = 0
    with nogil:
        for i in range(n):
            two_scores(&rows, i, theta, theta_target, s)
            if capped:
                gone = spent[i]
            if either or signs[i] > 0:
                offer(loss, s[0], s[1], 1.0, i, tie, &best[gone & 1])
            if either or signs[i] < 0:
                offer(loss, s[0], s[1], -1.0, i, tie, &best[(gone >> 1) & 1])
    return as_tuple(&best[0]), as_tuple(&best[1])


# ---------------------------------------------------------------------------------------------
# Loss, gradient and gap in one pass (training/smooth.py says what the sums are for)
# ---------------------------------------------------------------------------------------------

cdef enum:
    BLOCK = 64     # rows at a time: they are still in the nearest cache when they are read again
    ROWS = 8192    # coded rows at a time, so that a row's number takes two bytes

CHUNK = ROWS

ctypedef fused SmoothLoss:
    SquaredHinge
    LogLoss


cdef inline void loss_terms(
    SmoothLoss loss, Py_ssize_t n, const double *m, double *value, double *slope, double *shrinkage, bint shrink
) noexcept nogil:
    """phi(m), -phi'(m) and, where asked for, `Loss.shrinkage`."""
    cdef Py_ssize_t i
    cdef double inverse
    if SmoothLoss is LogLoss:
        mtp_decay(n, m, shrinkage)
        mtp_log_loss(n, m, shrinkage, value, slope)
        if shrink:
            for i in range(n):
                inverse = 1.0 / shrinkage[i]
                shrinkage[i] = inverse if m[i] < 0.0 else shrinkage[i]
    else:
        for i in range(n):
            value[i] = shrinkage[i] = loss.value(m[i])
            slope[i] = loss.slope(m[i])


cdef inline void block_terms(
    SmoothLoss loss, Py_ssize_t n, double *margin,
    const double *y, const double *weight, const double *norm, double b, bint intercept, bint shrink,
    double *slope, double *part, double *shrinkage,
) noexcept nogil:
    """From w.x (in `margin`) of a block of rows to weight * s * y (in `slope`); adds the other sums of `loss_pass`."""
    cdef double value[BLOCK]
    cdef double cost[BLOCK]
    cdef Py_ssize_t p
    mtp_margins(n, y, b, margin)
    loss_terms(loss, n, margin, value, slope, cost, shrink)
    mtp_weigh(n, y, weight, norm, value, slope, part)
    if not intercept:
        part[0] = 0.0
    if shrink:
        for p in range(n):  # 0 times infinity is 0 here
            cost[p] = cost[p] if weight[p] > 0.0 else 0.0
        shrinkage[0] += mtp_dot(cost, weight, n)


def loss_pass(
    SmoothLoss loss,
    X,                           # IN  rows: a dense array (m, d), or what has data, indices and indptr (CSR)
    Py_ssize_t start, Py_ssize_t stop,  # IN the rows to sum over
    const double[::1] y,         # IN  (m,) labels
    const double[::1] weight,    # IN  (m,) c
    const double[::1] norm,      # IN  (m,) |x~|
    const double[::1] theta,     # IN  (d + 1,)
    bint intercept, bint shrink,
    double[::1] sums,            # OUT (d + 5,)
):
    """What some rows contribute to the gradient, the loss and the duality gap at theta, in one read.

    With margins m and s = -phi'(m), the sums over the rows of: weight * s * y * x~ (d + 1 entries,
    the last one 0 without an intercept), weight * phi(m), weight * s, weight * s * |x~|, and, if
    ``shrink``, weight * `Loss.shrinkage`. Each but the last is within 40 EPS of the sum of the
    sizes of its terms, however many rows: at most `BLOCK` terms are added plainly, their sums with
    Kahan's compensation.
    """
    cdef Rows rows = rows_of(X)
    cdef Py_ssize_t d = rows.d, m = X.shape[0], i, p, n
    cdef double margin[BLOCK]
    cdef double slope[BLOCK]
    if (
        not 0 <= start <= stop <= m
        or y.shape[0] < stop
        or weight.shape[0] < stop
        or norm.shape[0] < stop
        or theta.shape[0] != d + 1
        or sums.shape[0] != d + 5
    ):
        raise ValueError("loss_pass: shapes disagree")
    cdef double *part = <double *>calloc(2 * (d + 4), sizeof(double))
    if part == NULL:
        raise MemoryError()
    cdef double *lost = part + d + 4
    with nogil:
        for i in range(d + 5):
            sums[i] = 0.0
        i = start
        while i < stop:
            n = stop - i if stop - i < BLOCK else BLOCK
            if rows.sparse:
                for p in range(n):
                    margin[p] = row_dot(&rows, i + p, &theta[0])
            else:
                mtp_dots(n, d, rows.data + i * d, &theta[0], margin)
            block_terms(
                loss, n, margin, &y[i], &weight[i], &norm[i], theta[d], intercept, shrink,
                slope, part + d, &sums[d + 4],
            )
            if rows.sparse:
                for p in range(n):
                    row_axpy(&rows, i + p, slope[p], part)
            else:
                mtp_combine(n, d, rows.data + i * d, slope, part)
            mtp_collect(d + 4, part, &sums[0], lost)
            i += n
    free(part)


def coded_loss_pass(
    SmoothLoss loss,
    const unsigned short[:, ::1] codes,  # IN (m, g) the codes of every row, below d
    const unsigned short[::1] members,   # IN (m g,) for every `ROWS` rows and every code: its rows in the chunk
    const int[:, ::1] ends,              # IN (chunks, d + 1) code k has the members ends[., k] to ends[., k + 1]
    const double[::1] y,                 # IN (m,) labels
    const double[::1] weight,            # IN (m,) c
    const double[::1] norm,            # IN (m,) |x~|
    patterns,                            # IN what a code stands for: rows (d, features), dense or CSR
    const double[::1] theta,             # IN (features + 1,)
    bint intercept, bint shrink,
    double[::1] sums,                    # OUT (features + 5,)
):
    """:func:`loss_pass` over rows that are the sums of the patterns of their codes.

    With E the matrix that has ones at the codes of the rows, and P the patterns: X w = E (P w) and X' s = P' (E' s).
    Up to `ROWS` terms of E' s are added plainly, in four parts: within ROWS / 8 + 40 EPS.
    """
    cdef Rows pattern = rows_of(patterns)
    cdef Py_ssize_t m = codes.shape[0], g = codes.shape[1], d = patterns.shape[0], features = pattern.d
    cdef Py_ssize_t chunk, i, stop, n, k
    cdef double margin[BLOCK]
    if (
        members.shape[0] != m * g
        or ends.shape[0] != (m + ROWS - 1) // ROWS
        or ends.shape[1] != d + 1
        or y.shape[0] != m
        or weight.shape[0] != m
        or norm.shape[0] != m
        or theta.shape[0] != features + 1
        or sums.shape[0] != features + 5
    ):
        raise ValueError("coded_loss_pass: shapes disagree")
    cdef double *part = <double *>calloc(4 * (d + 4) + ROWS, sizeof(double))
    if part == NULL:
        raise MemoryError()
    cdef double *lost = part + d + 4
    cdef double *total = lost + d + 4
    cdef double *table = total + d + 4
    cdef double *slope = table + d + 4
    cdef double cost = 0.0
    with nogil:
        for k in range(d):
            table[k] = row_dot(&pattern, k, &theta[0])
        for chunk in range(ends.shape[0]):
            i = chunk * ROWS
            stop = m if m - i < ROWS else i + ROWS
            while i < stop:
                n = stop - i if stop - i < BLOCK else BLOCK
                mtp_look_up(n, g, &codes[i, 0], table, margin)
                block_terms(
                    loss, n, margin, &y[i], &weight[i], &norm[i], theta[features], intercept, shrink,
                    slope + i - chunk * ROWS, part + d, &cost,
                )
                i += n
            mtp_tally(d, &ends[chunk, 0], &members[chunk * ROWS * g], slope, part)
            mtp_collect(d + 4, part, total, lost)
        for k in range(features):
            sums[k] = 0.0
        for k in range(d):
            row_axpy(&pattern, k, total[k], &sums[0])
        memcpy(&sums[features], total + d, 4 * sizeof(double))
        sums[features + 4] = cost
    free(part)
