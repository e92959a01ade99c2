"""Compiled kernels: losses, the search over a box and over a pool, and the hinge refit.

Arrays cross the boundary, numbers inside them do not. Python converts and checks the input; the
kernels return numbers and leave warnings and errors to Python. Nothing here proves a lower bound:
certificates are checked in plain NumPy (``certificate.py``).
"""

cimport cython
from libc.math cimport INFINITY, exp, fabs, log1p, sqrt
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memmove

from scipy.linalg.cython_blas cimport dgemv

import numpy as np

cdef extern from *:
    """
    #include <stddef.h>
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #define MTP_CLONES __attribute__((target_clones("avx512f", "avx2,fma", "default")))
    #else
    #define MTP_CLONES
    #endif

    MTP_CLONES
    static double mtp_dot(const double *a, const double *b, ptrdiff_t n) {
        double s = 0.0;
        ptrdiff_t i;
        #pragma omp simd reduction(+:s)
        for (i = 0; i < n; i++) s += a[i] * b[i];
        return s;
    }

    /* s[0] = a.b, s[1] = a.c in one read of a */
    MTP_CLONES
    static void mtp_dot2(const double *a, const double *b, const double *c, ptrdiff_t n, double *s) {
        double s0 = 0.0, s1 = 0.0;
        ptrdiff_t i;
        #pragma omp simd reduction(+:s0, s1)
        for (i = 0; i < n; i++) { s0 += a[i] * b[i]; s1 += a[i] * c[i]; }
        s[0] = s0;
        s[1] = s1;
    }

    MTP_CLONES
    static void mtp_axpy(ptrdiff_t n, double t, const double *x, double *y) {
        ptrdiff_t i;
        #pragma omp simd
        for (i = 0; i < n; i++) y[i] += t * x[i];
    }
    """
    double mtp_dot(const double *a, const double *b, Py_ssize_t n) noexcept nogil
    void mtp_dot2(const double *a, const double *b, const double *c, Py_ssize_t n, double *s) noexcept nogil
    void mtp_axpy(Py_ssize_t n, double t, const double *x, double *y) noexcept nogil

cdef double EPS = 2.220446049250313e-16


# ---------------------------------------------------------------------------------------------
# Losses: the compiled twins of losses.py. A new loss is one class and one line in `Loss`.
# `least_curvature` and `most_curvature` bound phi'' on an interval of margins that has no kink of
# the loss inside; `kink` is the margin where phi'' jumps (infinite where it does not).
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
        return v - u


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
        return v - u


ctypedef fused Loss:
    Hinge
    SquaredHinge
    LogLoss


HINGE, SQUARED_HINGE, LOG_LOSS = Hinge(), SquaredHinge(), LogLoss()
KERNELS = {"hinge": HINGE, "squared_hinge": SQUARED_HINGE, "log_loss": LOG_LOSS}


# ---------------------------------------------------------------------------------------------
# The oracle over a box (DESIGN F1)
# ---------------------------------------------------------------------------------------------

cdef struct Flip:
    double ratio    # gain in v per unit of u
    Py_ssize_t j


cdef int by_ratio(const void *a, const void *b) noexcept nogil:
    cdef const Flip *p = <const Flip *>a
    cdef const Flip *q = <const Flip *>b
    if p.ratio != q.ratio:
        return -1 if p.ratio > q.ratio else 1
    return -1 if p.j < q.j else (1 if p.j > q.j else 0)


cdef struct Best:
    double value    # largest loss difference found
    double bound    # nothing on the edges searched so far exceeds this
    Py_ssize_t edge
    double t


cdef void search_piece(
    Loss loss, double u0, double v0, double du, double dv, double low, double high,
    Py_ssize_t edge, Best *best,
) noexcept nogil:
    """Maximise phi(u0 + t du) - phi(v0 + t dv) over t in [low, high], which holds no kink inside.

    With L <= f'' on an interval, f(t) - L t^2 / 2 is convex, so f lies below its chord plus
    |L| / 2 (t - low) (high - t): intervals whose bound does not beat the best value are dropped,
    the others are halved. The bound falls with the square of the width, hence the few levels.
    """
    cdef double stack[128]
    cdef int top = 0
    cdef double a, b, fa, fb, h, mid, fm, curve, bound, rise, tol
    stack[0], stack[1] = low, high
    top = 1
    fa = loss.value(u0 + low * du) - loss.value(v0 + low * dv)
    fb = loss.value(u0 + high * du) - loss.value(v0 + high * dv)
    if fa > best.value:
        best.value, best.edge, best.t = fa, edge, low
    if fb > best.value:
        best.value, best.edge, best.t = fb, edge, high
    while top > 0:
        top -= 1
        a, b = stack[2 * top], stack[2 * top + 1]
        fa = loss.value(u0 + a * du) - loss.value(v0 + a * dv)
        fb = loss.value(u0 + b * du) - loss.value(v0 + b * dv)
        h = b - a
        curve = -(
            loss.least_curvature(u0 + a * du, u0 + b * du) * du * du
            - loss.most_curvature(v0 + a * dv, v0 + b * dv) * dv * dv
        ) * h * h
        bound = fa if fa > fb else fb
        mid = 0.5
        if curve > 0.0:
            # chord fa + s (fb - fa) plus curve / 2 * s (1 - s), s in [0, 1]
            rise = fb - fa
            if fabs(rise) < 0.5 * curve:
                bound = fa + 0.5 * rise + 0.125 * curve + 0.5 * rise * rise / curve
                mid = 0.5 + rise / curve
        tol = 1e-10 * fabs(best.value) + 4 * EPS * (fabs(fa) + fabs(fb))
        if bound > best.value:
            # the peak of the bound is a good guess of the peak itself
            fm = loss.value(u0 + (a + mid * h) * du) - loss.value(v0 + (a + mid * h) * dv)
            if fm > best.value:
                best.value, best.edge, best.t = fm, edge, a + mid * h
        if bound <= best.value + tol or h < 1e-12 or top >= 62:
            if bound > best.bound:
                best.bound = bound
            continue
        if mid < 0.1:
            mid = 0.1
        elif mid > 0.9:
            mid = 0.9
        mid = a + mid * h
        stack[2 * top], stack[2 * top + 1] = mid, b
        stack[2 * top + 2], stack[2 * top + 3] = a, mid
        top += 2


cdef void search_edge(
    Loss loss, double u0, double v0, double du, double dv, Py_ssize_t edge, Best *best
) noexcept nogil:
    """Maximise along one edge of the frontier: split it at the kinks of either loss."""
    cdef double kink = loss.kink()
    cdef double cuts[4]
    cdef double t
    cdef int n = 1, i
    # phi(u) falls and phi(v) falls along the edge: nothing on it exceeds phi(u0) - phi(v1).
    if loss.value(u0) - loss.value(v0 + dv) <= best.value:
        return
    cuts[0] = 0.0
    if u0 < kink < u0 + du:
        cuts[n] = (kink - u0) / du
        n += 1
    if v0 < kink < v0 + dv:
        t = (kink - v0) / dv
        if n == 2 and t < cuts[1]:
            cuts[2], cuts[1] = cuts[1], t
        else:
            cuts[n] = t
        n += 1
    cuts[n] = 1.0
    for i in range(n):
        search_piece(loss, u0, v0, du, dv, cuts[i], cuts[i + 1], edge, best)


def box_loss_difference(
    Loss loss,
    const double[::1] theta,         # IN  (d + 1,)
    const double[::1] theta_target,  # IN  (d + 1,)
    const double[::1] lower,         # IN  (d,)
    const double[::1] upper,         # IN  (d,)
    double y,                        # IN  the label, -1. or +1.
    double[::1] x,                   # OUT (d,) the maximiser
):
    """The largest loss difference over a box for one label, O(d log d).

    Returns (value, upper_bound): ``value`` as recomputed at ``x``; ``upper_bound`` at least the
    true maximum, the rounding of the sums included.
    """
    cdef Py_ssize_t d = lower.shape[0], n_flips = 0, j, e
    if theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1 or upper.shape[0] != d or x.shape[0] != d:
        raise ValueError("box_loss_difference: shapes disagree")
    cdef Flip *flips = <Flip *>malloc((d if d > 0 else 1) * sizeof(Flip))
    if flips == NULL:
        raise MemoryError()
    cdef double u, v, a, p, width, at, size_u, size_v, value, slack, err
    cdef double u0, v0
    cdef Best best
    with nogil:
        u, v = y * theta[d], y * theta_target[d]
        size_u, size_v = fabs(u), fabs(v)
        for j in range(d):
            a, p = y * theta[j], y * theta_target[j]
            width = upper[j] - lower[j]
            if a > 0.0:
                at = lower[j]
            elif a < 0.0:
                at = upper[j]
            else:
                at = upper[j] if p > 0.0 else lower[j]
            x[j] = at
            u += a * at
            v += p * at
            size_u += fabs(a) * (fabs(lower[j]) + width)
            size_v += fabs(p) * (fabs(lower[j]) + width)
            if width > 0.0 and ((a > 0.0 and p > 0.0) or (a < 0.0 and p < 0.0)):
                flips[n_flips].ratio = fabs(p) / fabs(a)
                flips[n_flips].j = j
                n_flips += 1
        qsort(flips, n_flips, sizeof(Flip), &by_ratio)
        u0, v0 = u, v
        best.value = loss.value(u) - loss.value(v)
        best.bound = best.value
        best.edge, best.t = 0, 0.0
        # first the vertices, so that most edges are dropped unsearched
        for e in range(n_flips):
            j = flips[e].j
            width = upper[j] - lower[j]
            u += fabs(theta[j]) * width
            v += fabs(theta_target[j]) * width
            value = loss.value(u) - loss.value(v)
            if value > best.value:
                best.value, best.edge, best.t = value, e, 1.0
        u, v = u0, v0
        for e in range(n_flips):
            j = flips[e].j
            width = upper[j] - lower[j]
            search_edge(loss, u, v, fabs(theta[j]) * width, fabs(theta_target[j]) * width, e, &best)
            u += fabs(theta[j]) * width
            v += fabs(theta_target[j]) * width
        if best.value > best.bound:
            best.bound = best.value
        for e in range(n_flips if best.edge >= n_flips else best.edge + 1):
            j = flips[e].j
            if e < best.edge or best.t == 1.0:
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            else:
                width = best.t * (upper[j] - lower[j])
                x[j] = lower[j] + width if x[j] == lower[j] else upper[j] - width
                if x[j] < lower[j]:
                    x[j] = lower[j]
                elif x[j] > upper[j]:
                    x[j] = upper[j]
        u, v = y * theta[d], y * theta_target[d]
        for j in range(d):
            u += y * theta[j] * x[j]
            v += y * theta_target[j] * x[j]
        value = loss.value(u) - loss.value(v)
        # Every score is a sum of at most 2 d + 1 products, so it is off by less than this
        # (Higham, Accuracy and Stability, section 3.1); the loss passes it on with its slope.
        err = (2 * d + 6) * EPS
        slack = (loss.slope(u - err * size_u) * err * size_u + loss.slope(v - err * size_v) * err * size_v
                 + 8 * EPS * (loss.value(u) + loss.value(v)))
        free(flips)
    return value, (value if value > best.bound else best.bound) + slack


# ---------------------------------------------------------------------------------------------
# The oracle over a pool: one read of the candidates
# ---------------------------------------------------------------------------------------------

cdef inline void offer(
    Loss loss, double s, double t, double sign, Py_ssize_t i, double *value, Py_ssize_t *row, double *label
) noexcept nogil:
    cdef double f
    if loss.most_difference(sign * s, sign * t) <= value[0]:
        return
    f = loss.value(sign * s) - loss.value(sign * t)
    if f > value[0]:
        value[0], row[0], label[0] = f, i, sign


def pool_loss_difference(
    Loss loss,
    const double[::1] theta,         # IN (d + 1,)
    const double[::1] theta_target,  # IN (d + 1,)
    const double[:, ::1] X,          # IN (n, d)
    const double[::1] signs,         # IN (n,) labels of the candidates, or empty: either label
):
    """(row, label, value) of the largest loss difference over the rows of X; O(n d), one read."""
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], i, row = 0
    if theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1 or (signs.shape[0] and signs.shape[0] != n):
        raise ValueError("pool_loss_difference: shapes disagree")
    cdef double value = -INFINITY, label = 1.0
    cdef double s[2]
    cdef bint either = signs.shape[0] == 0
    with nogil:
        for i in range(n):
            mtp_dot2(&X[i, 0], &theta[0], &theta_target[0], d, s)
            s[0] += theta[d]
            s[1] += theta_target[d]
            if either or signs[i] > 0:
                offer(loss, s[0], s[1], 1.0, i, &value, &row, &label)
            if either or signs[i] < 0:
                offer(loss, s[0], s[1], -1.0, i, &value, &row, &label)
    return row, label, value


def pool_loss_difference_csr(
    Loss loss,
    const double[::1] theta,         # IN (d + 1,)
    const double[::1] theta_target,  # IN (d + 1,)
    const double[::1] data, const int[::1] indices, const int[::1] indptr,  # IN the candidates
    const double[::1] signs,         # IN (n,) or empty
):
    """:func:`pool_loss_difference` over the rows of a CSR matrix."""
    cdef Py_ssize_t n = indptr.shape[0] - 1, d = theta.shape[0] - 1, i, j, row = 0
    if theta_target.shape[0] != d + 1 or (signs.shape[0] and signs.shape[0] != n):
        raise ValueError("pool_loss_difference_csr: shapes disagree")
    cdef double value = -INFINITY, label = 1.0, s, t
    cdef bint either = signs.shape[0] == 0
    with nogil:
        for i in range(n):
            s, t = theta[d], theta_target[d]
            for j in range(indptr[i], indptr[i + 1]):
                s = s + data[j] * theta[indices[j]]
                t = t + data[j] * theta_target[indices[j]]
            if either or signs[i] > 0:
                offer(loss, s, t, 1.0, i, &value, &row, &label)
            if either or signs[i] < 0:
                offer(loss, s, t, -1.0, i, &value, &row, &label)
    return row, label, value
