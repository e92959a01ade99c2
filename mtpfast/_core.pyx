"""Compiled kernels: losses, the search over a box and over a pool, and the hinge refit.

Arrays cross the boundary, numbers inside them do not. Python converts and checks the input; the
kernels return numbers and leave warnings and errors to Python. Nothing here proves a lower bound:
certificates are checked in plain NumPy (``proofs/``).
"""

cimport cython
from libc.math cimport INFINITY, NAN, exp, expm1, fabs, floor, log, log1p, rint, sqrt
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcpy, memmove, memset

from scipy.linalg.cython_blas cimport dgemv

import numpy as np

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
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

    /* the same for a row of n entries a[i] in columns j[i] */
    MTP_CLONES
    static void mtp_sparse_dot2(const double *a, const int *j, const double *b, const double *c, ptrdiff_t n,
                                double *s) {
        double s0 = 0.0, s1 = 0.0;
        ptrdiff_t i;
        #pragma omp simd reduction(+:s0, s1)
        for (i = 0; i < n; i++) { s0 += a[i] * b[j[i]]; s1 += a[i] * c[j[i]]; }
        s[0] = s0;
        s[1] = s1;
    }

    /* ask for the n bytes at a: 1 kB of them, the rest follows by itself */
    static void mtp_prefetch(const void *a, ptrdiff_t n) {
    #ifdef __GNUC__
        ptrdiff_t i, end = n < 1024 ? n : 1024;
        for (i = 0; i < end; i += 64) __builtin_prefetch((const char *)a + i);
    #else
        (void)a; (void)n;
    #endif
    }

    /* q.b and q.c in one read of n blocks of 64 codes: within 8 / 2^24 of the sum of the sizes of the terms, as floats
       are added by fours only. A block is 16 words; the bytes of word t, the lowest first, belong to the columns
       t, t + 16, t + 32 and t + 48: no lane ever changes its place. */
    MTP_CLONES
    static void mtp_short_dot2(const uint32_t *q, const float *b, const float *c, ptrdiff_t n, double *s) {
        double s0[16] = {0}, s1[16] = {0};
        ptrdiff_t i, t;
        for (i = 0; i < n; i++, q += 16, b += 64, c += 64) {
            #pragma omp simd
            for (t = 0; t < 16; t++) {
                float e = (float)(int32_t)(q[t] & 255), f = (float)(int32_t)(q[t] >> 8 & 255);
                float g = (float)(int32_t)(q[t] >> 16 & 255), h = (float)(int32_t)(q[t] >> 24);
                s0[t] += (double)((e * b[t] + f * b[t + 16]) + (g * b[t + 32] + h * b[t + 48]));
                s1[t] += (double)((e * c[t] + f * c[t + 16]) + (g * c[t + 32] + h * c[t + 48]));
            }
        }
        s[0] = s[1] = 0.0;
        for (t = 0; t < 16; t++) { s[0] += s0[t]; s[1] += s1[t]; }
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
    void mtp_sparse_dot2(
        const double *a, const int *j, const double *b, const double *c, Py_ssize_t n, double *s
    ) noexcept nogil
    void mtp_prefetch(const void *a, Py_ssize_t n) noexcept nogil
    void mtp_short_dot2(
        const unsigned int *q, const float *b, const float *c, Py_ssize_t n, double *s
    ) noexcept nogil
    void mtp_axpy(Py_ssize_t n, double t, const double *x, double *y) noexcept nogil

cdef double EPS = 2.220446049250313e-16
#: Rows leave the margin together whose dual variables are out of bounds by this share of the worst.
cdef double SHARE = 0.1


# ---------------------------------------------------------------------------------------------
# Losses: the compiled twins of losses/margin.py. A new loss is one class and one line in `Loss`.
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
        return v - u

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
        return v - u

    cdef inline double support(self, double threshold, double slope, double *at) noexcept nogil:
        cdef double height = log(slope - 1.0) - threshold - log(-expm1(-threshold))
        at[0] = height - log(slope)
        return height + threshold - slope * at[0]


ctypedef fused Loss:
    Hinge
    SquaredHinge
    LogLoss


HINGE, SQUARED_HINGE, LOG_LOSS = Hinge(), SquaredHinge(), LogLoss()
KERNELS = {"hinge": HINGE, "squared_hinge": SQUARED_HINGE, "log_loss": LOG_LOSS}


# ---------------------------------------------------------------------------------------------
# The oracle over a box (oracle/search.py says why the frontier is enough)
#
# What the last digits of the models must not decide is decided by rules. `noise`, (2 d + 6) EPS times the largest
# sum of the sizes of its terms, bounds the rounding error of a score.
#  * A coordinate that moves a score by no more than the noise does not move it at all; one that moves neither score
#    stays at its resting value.
#  * Edges of one slope, to TIE and the noise, are one edge: along it the coordinates move in the order of their
#    numbers.
#  * A place further along the frontier must be better by more than the noise makes of the loss.
#  * On an edge the maximum of a smooth loss is stationary: it is found to the last digits, and then moved to the
#    coarsest binary fraction of the edge that costs at most COST of the value. So the small errors of a refit are
#    not carried from step to step.
# ---------------------------------------------------------------------------------------------

#: Slopes that differ by this share are equal; what the place on an edge may cost, as a share of the value.
cdef double TIE = 1e-11
cdef double COST = 1e-11


cdef struct Flip:
    double ratio        # gain in v per unit of u
    double du, dv       # what the move of coordinate j from one end to the other adds
    Py_ssize_t j


cdef int by_ratio(const void *a, const void *b) noexcept nogil:
    cdef const Flip *p = <const Flip *>a
    cdef const Flip *q = <const Flip *>b
    if p.ratio != q.ratio:
        return -1 if p.ratio > q.ratio else 1
    return -1 if p.j < q.j else (1 if p.j > q.j else 0)


cdef int by_number(const void *a, const void *b) noexcept nogil:
    cdef Py_ssize_t i = (<const Flip *>a).j, j = (<const Flip *>b).j
    return -1 if i < j else (1 if i > j else 0)


cdef struct Best:
    double value    # largest loss difference found
    double bound    # nothing on the edges searched so far exceeds this
    double tie      # what a place further along the frontier must be better by
    Py_ssize_t edge
    double t


cdef inline double noise(Loss loss, double u, double v) noexcept nogil:
    """A loss difference at scores u, v below this is none."""
    return 1e-14 * (loss.value(u) + loss.value(v)) + 8 * EPS


cdef inline double passed_on(Loss loss, double u, double v, double noise_u, double noise_v) noexcept nogil:
    """What errors of the scores make of the loss difference at u, v."""
    cdef double s = 1.0, t = 1.0
    if Loss is SquaredHinge:
        s, t = loss.slope(u - noise_u), loss.slope(v - noise_v)
    return s * noise_u + t * noise_v + noise(loss, u, v)


cdef inline bint tied(const Flip *p, double ratio, double noise_u, double noise_v) noexcept nogil:
    """Whether an edge has that slope, as far as can be told."""
    return fabs(p.ratio - ratio) <= (TIE + noise_u / p.du + noise_v / p.dv) * ratio


cdef void break_ties(
    Flip *flips, Py_ssize_t n, double noise_u, double noise_v, Py_ssize_t *edge, double *t
) noexcept nogil:
    """Let the edges of the slope of `edge`, up to `t` of which the frontier has been followed, be followed in the order
    of their numbers; they are moved accordingly."""
    cdef Py_ssize_t first = edge[0], last = edge[0] + 1, e
    cdef double ratio = flips[edge[0]].ratio, way
    while first > 0 and tied(&flips[first - 1], ratio, noise_u, noise_v):
        first -= 1
    while last < n and tied(&flips[last], ratio, noise_u, noise_v):
        last += 1
    if last - first == 1:
        return
    way = t[0] * flips[edge[0]].dv
    for e in range(first, edge[0]):
        way += flips[e].dv
    qsort(flips + first, last - first, sizeof(Flip), &by_number)
    for e in range(first, last):
        if way <= flips[e].dv + noise_v or e == last - 1:
            edge[0] = e
            t[0] = 0.0 if way <= noise_v else (1.0 if way >= flips[e].dv - noise_v else way / flips[e].dv)
            return
        way -= flips[e].dv


cdef inline double uphill(Loss loss, double u, double v, double du, double dv, double t) noexcept nogil:
    """The derivative of phi(u + t du) - phi(v + t dv)."""
    return loss.slope(v + t * dv) * dv - loss.slope(u + t * du) * du


cdef double settled(Loss loss, double u, double v, double du, double dv, double t) noexcept nogil:
    """The place on an edge, 0 < t < 1, that stands for a maximum near t."""
    cdef double low, high, at_low, at_high, mid, at_mid, h = 1e-6, value, cost, grid, place
    cdef int _
    if Loss is not Hinge:  # whose maximum is at a kink
        while True:
            low, high = (t - h if t > h else 0.0), (t + h if t + h < 1.0 else 1.0)
            at_low, at_high = uphill(loss, u, v, du, dv, low), uphill(loss, u, v, du, dv, high)
            if at_low > 0.0 and at_high < 0.0:
                break
            if h >= 1e-2:
                return t
            h *= 10.0
        for _ in range(60):  # false position, the end that stays weighing half
            mid = high - at_high * (high - low) / (at_high - at_low)
            if not low < mid < high:
                mid = 0.5 * (low + high)
            at_mid = uphill(loss, u, v, du, dv, mid)
            if at_mid > 0.0:
                low, at_low, at_high = mid, at_mid, 0.5 * at_high
            elif at_mid < 0.0:
                high, at_high, at_low = mid, at_mid, 0.5 * at_low
            else:
                low = high = mid
            if high - low <= 4 * EPS:
                break
        t = 0.5 * (low + high)
        value = loss.value(u + t * du) - loss.value(v + t * dv)
        cost = COST * fabs(value) + noise(loss, u + t * du, v + t * dv)
        grid = 4096.0
        while grid < 1e12:
            place = rint(t * grid) / grid
            if loss.value(u + place * du) - loss.value(v + place * dv) >= value - cost:
                return place
            grid *= 16.0
    return t


cdef double conclude(
    Loss loss, const double[::1] theta, const double[::1] theta_target, double y, double[::1] x,
    Py_ssize_t j, double low, double high, double t, double *u, double *v,
) noexcept nogil:
    """Move coordinate j (-1: none) from where it is, `low` or `high`, the share t of the way to the other end, to its
    settled place. Returns the loss difference at x, and the scores."""
    cdef Py_ssize_t i, d = x.shape[0]
    cdef double start, way
    if j >= 0:
        u[0], v[0] = y * theta[d], y * theta_target[d]
        for i in range(d):
            u[0] += y * theta[i] * x[i]
            v[0] += y * theta_target[i] * x[i]
        start = x[j]
        way = high - low if start == low else low - high
        t = settled(loss, u[0], v[0], y * theta[j] * way, y * theta_target[j] * way, t)
        # a binary fraction from either end
        x[j] = (high if start == low else low) if t == 1.0 else start + t * way
        x[j] = low if x[j] < low else (high if x[j] > high else x[j])
    u[0], v[0] = y * theta[d], y * theta_target[d]
    for i in range(d):
        u[0] += y * theta[i] * x[i]
        v[0] += y * theta_target[i] * x[i]
    return loss.value(u[0]) - loss.value(v[0])


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
    if fa > best.value + best.tie:
        best.value, best.edge, best.t = fa, edge, low
    if fb > best.value + best.tie:
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
        # relative to the difference, or to the losses where they all but cancel
        tol = 1e-10 * fabs(best.value) + 1e-14 * (loss.value(u0 + a * du) + loss.value(v0 + a * dv))
        if bound > best.value:
            # the peak of the bound is a good guess of the peak itself
            fm = loss.value(u0 + (a + mid * h) * du) - loss.value(v0 + (a + mid * h) * dv)
            if fm > best.value + best.tie:
                best.value, best.edge, best.t = fm, edge, a + mid * h
        tol = tol if tol > best.tie else best.tie
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
    # Where the models are equal, the difference is 0 all along.
    if loss.value(u0) - loss.value(v0 + dv) <= best.value or (u0 == v0 and du == dv):
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
    const double[::1] rest,          # IN  (d,) where a coordinate stays that moves neither score
    double y,                        # IN  the label, -1. or +1.
    double[::1] x,                   # OUT (d,) the maximiser
):
    """The largest loss difference over a box for one label, O(d log d).

    Returns (value, upper_bound): ``value`` as recomputed at ``x``; ``upper_bound`` at least the
    true maximum, the rounding of the sums included.
    """
    cdef Py_ssize_t d = lower.shape[0], n_flips = 0, j, e
    if (theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1 or upper.shape[0] != d or x.shape[0] != d
            or rest.shape[0] != d):
        raise ValueError("box_loss_difference: shapes disagree")
    cdef Flip *flips = <Flip *>malloc((d if d > 0 else 1) * sizeof(Flip))
    if flips == NULL:
        raise MemoryError()
    cdef double u, v, a, p, width, far, size_u, size_v, value, slack, err, noise_u, noise_v, lost_u, lost_v
    cdef double u0, v0
    cdef bint idle_u, idle_v
    cdef Best best
    with nogil:
        u, v = y * theta[d], y * theta_target[d]
        size_u, size_v = fabs(u), fabs(v)
        for j in range(d):
            far = fabs(lower[j]) + (upper[j] - lower[j])
            size_u += fabs(theta[j]) * far
            size_v += fabs(theta_target[j]) * far
        # Every score is a sum of at most 2 d + 1 products, so it is off by less than this
        # (Higham, Accuracy and Stability, section 3.1); the loss passes it on with its slope.
        err = (2 * d + 6) * EPS
        noise_u, noise_v = err * size_u, err * size_v
        # What idle coordinates can cost is added to the bound.
        lost_u = lost_v = 0.0
        for j in range(d):
            a, p = y * theta[j], y * theta_target[j]
            width = upper[j] - lower[j]
            idle_u, idle_v = fabs(a) * width <= noise_u, fabs(p) * width <= noise_v
            if idle_u:
                lost_u += fabs(a) * width
            if idle_v:
                lost_v += fabs(p) * width
            if not idle_u:
                x[j] = lower[j] if a > 0.0 else upper[j]
                if not idle_v and (a > 0.0) == (p > 0.0):
                    flips[n_flips].ratio = fabs(p) / fabs(a)
                    flips[n_flips].du, flips[n_flips].dv = fabs(a) * width, fabs(p) * width
                    flips[n_flips].j = j
                    n_flips += 1
            elif not idle_v:
                x[j] = upper[j] if p > 0.0 else lower[j]
            else:
                x[j] = rest[j]
            u += a * x[j]
            v += p * x[j]
        qsort(flips, n_flips, sizeof(Flip), &by_ratio)
        u0, v0 = u, v
        best.value = loss.value(u) - loss.value(v)
        best.bound = best.value
        best.edge, best.t = 0, 0.0
        best.tie = passed_on(loss, u, v, noise_u, noise_v)
        # first the vertices, so that most edges are dropped unsearched
        for e in range(n_flips):
            u += flips[e].du
            v += flips[e].dv
            value = loss.value(u) - loss.value(v)
            if value > best.bound:
                best.bound = value
            if value > best.value + best.tie:
                best.value, best.edge, best.t = value, e, 1.0
                best.tie = passed_on(loss, u, v, noise_u, noise_v)
        u, v = u0, v0
        for e in range(n_flips):
            search_edge(loss, u, v, flips[e].du, flips[e].dv, e, &best)
            u += flips[e].du
            v += flips[e].dv
        if best.value > best.bound:
            best.bound = best.value
        j = -1
        if n_flips > 0:
            break_ties(flips, n_flips, noise_u, noise_v, &best.edge, &best.t)
            for e in range(best.edge + (best.t == 1.0)):
                j = flips[e].j
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            j = flips[best.edge].j if 0.0 < best.t < 1.0 else -1
        value = conclude(
            loss, theta, theta_target, y, x, j, lower[j] if j >= 0 else 0.0, upper[j] if j >= 0 else 0.0, best.t, &u, &v
        )
        lost_u += noise_u
        lost_v += noise_v
        slack = (loss.slope(u - lost_u) * lost_u + loss.slope(v - lost_v) * lost_v
                 + 8 * EPS * (loss.value(u) + loss.value(v)))
        free(flips)
    return value, (value if value > best.bound else best.bound) + slack


# ---------------------------------------------------------------------------------------------
# The oracle over a mixed space: lattices and groups beside continuous coordinates
#
# The scores (u, v) of a point are sums over its coordinates and groups, so the points beating a
# threshold are those whose sum lies above the curve v = V(u), phi(u) - phi(V(u)) = threshold. With
# s = -phi', V' = s(u) / s(V) and V'' has the sign of (1/s)'(V) - (1/s)'(u): where 1/s is convex (it
# is for the three losses) and the threshold positive, the curve is convex. So one line decides
# whether what is still open can lift a partial point above it: the line that touches the curve
# with the slope of the steepest open edge ahead, and the same looking back.
#
# The lattices and the groups (items) start where the relaxation has its maximum and are taken up in
# turn, those nearest to that edge of the frontier first; a state is one way to set the items taken
# up so far. States that the lines rule out are dropped, and so are states with another one below
# them in u and above them in v. (Pisinger's minimal algorithm for the knapsack problem, Operations
# Research 45, 1997, with the loss difference in place of a capacity.) The continuous coordinates
# are never taken up: their frontier is added to each state as a whole, which shifts the touching
# lines by its support function. Lattices of many values are fine: they count as continuous until
# nothing else is open, and are then taken up, the coarsest first.
# ---------------------------------------------------------------------------------------------

cdef enum:
    FINE = 16              # lattices of more values are fine


cdef struct Choice:        # a level of a group; its scores count from those of level 0
    double u, v
    Py_ssize_t column      # the column that is on; -1: none
    Py_ssize_t rank        # among equal levels: the resting one is first, then none, then the columns


cdef struct Item:          # a coordinate on a lattice, or a group; u and v rise with the level
    Py_ssize_t column      # of the lattice; -1: a group
    Py_ssize_t first       # of a group: where its levels start among the choices
    Py_ssize_t n_levels
    Py_ssize_t level       # where it stands until it is taken up
    double du, dv          # of a lattice: what one level adds
    bint fine


cdef struct Edge:          # of the frontier, u and v rising
    double slope, du, dv
    Py_ssize_t item        # -1 - j: the continuous coordinate j
    Py_ssize_t start, stop  # levels


cdef struct State:
    double u, v            # the items not yet taken up where they stand, the curve at its left end
    Py_ssize_t parent, level  # the state one stage earlier, and the level of the item taken up since


cdef struct Search:
    # all edges of the frontier, in the order of their slopes; and those of the items that are not fine
    Py_ssize_t n_all, n_edges, n_items
    Edge *all_edges
    Edge *edges
    Item *items
    Choice *choices
    # the curve: the frontier of the continuous coordinates and of the fine lattices not taken up
    Py_ssize_t n_curve, n_fine
    double *curve_u
    double *curve_v
    double *curve_slope
    Py_ssize_t *curve_item
    # the items taken up, and the states after each
    Py_ssize_t n_stages
    Py_ssize_t *order
    char *taken
    State *states
    Py_ssize_t capacity
    # the best point so far: its place on the curve (an edge and how far along it, or the level of a
    # fine lattice); the levels of all items; how many continuous coordinates are at their far end,
    # and how far the next one is
    double value, threshold, known
    Py_ssize_t place, place_level
    double place_t
    Py_ssize_t *level
    Py_ssize_t n_crossed
    double part
    # the nearest open edges on either side, and the lines of their slopes that touch the curve V
    Py_ssize_t left, right
    double left_slope, left_at, left_cut, right_slope, right_at, right_cut
    double rest_u, rest_v  # what the open edges can still take off u and add to v
    double least_u         # of any point


cdef int by_slope(const void *a, const void *b) noexcept nogil:
    cdef const Edge *p = <const Edge *>a
    cdef const Edge *q = <const Edge *>b
    if p.slope != q.slope:
        return -1 if p.slope > q.slope else 1
    if p.item != q.item:
        return -1 if p.item < q.item else 1
    return -1 if p.start < q.start else (1 if p.start > q.start else 0)


cdef int by_scores(const void *a, const void *b) noexcept nogil:
    cdef const Choice *p = <const Choice *>a
    cdef const Choice *q = <const Choice *>b
    if p.u != q.u:
        return -1 if p.u < q.u else 1
    if p.v != q.v:
        return -1 if p.v > q.v else 1
    return -1 if p.rank < q.rank else (1 if p.rank > q.rank else 0)


cdef int by_u(const void *a, const void *b) noexcept nogil:
    cdef const State *p = <const State *>a
    cdef const State *q = <const State *>b
    if p.u != q.u:
        return -1 if p.u < q.u else 1
    if p.v != q.v:
        return -1 if p.v > q.v else 1
    if p.parent != q.parent:
        return -1 if p.parent < q.parent else 1
    return -1 if p.level < q.level else (1 if p.level > q.level else 0)


cdef inline double level_u(const Search *s, Py_ssize_t i, Py_ssize_t level) noexcept nogil:
    return level * s.items[i].du if s.items[i].column >= 0 else s.choices[s.items[i].first + level].u


cdef inline double level_v(const Search *s, Py_ssize_t i, Py_ssize_t level) noexcept nogil:
    return level * s.items[i].dv if s.items[i].column >= 0 else s.choices[s.items[i].first + level].v


cdef void bend(Search *s) noexcept nogil:
    """Put the curve together."""
    cdef Py_ssize_t e, i, n = 0
    s.n_fine = 0
    s.curve_u[0] = s.curve_v[0] = 0.0
    for e in range(s.n_all):
        i = s.all_edges[e].item
        if i >= 0 and (not s.items[i].fine or s.taken[i]):
            continue
        s.n_fine += i >= 0
        s.curve_item[n] = i
        s.curve_slope[n] = s.all_edges[e].slope
        s.curve_u[n + 1] = s.curve_u[n] + s.all_edges[e].du
        s.curve_v[n + 1] = s.curve_v[n] + s.all_edges[e].dv
        n += 1
    s.n_curve = n


cdef inline Py_ssize_t curve_vertex(const Search *s, double slope) noexcept nogil:
    """The vertex of the curve that is highest in the direction (-slope, 1)."""
    cdef Py_ssize_t low = 0, high = s.n_curve, mid
    while low < high:
        mid = (low + high) // 2
        if s.curve_slope[mid] > slope:
            low = mid + 1
        else:
            high = mid
    return low


cdef inline double touch(Loss loss, const Search *s, double slope, double *at) noexcept nogil:
    """Where and at what height at u = 0 the line of this slope touches V, lowered by the curve.

    V rises faster than 1, so that a line of slope 1 or less meets it at the least u there is, where
    V(u) - u >= threshold / s(u) because phi is convex.
    """
    cdef double cut
    cdef Py_ssize_t i = curve_vertex(s, slope)
    if slope > 1.0:
        cut = loss.support(s.threshold, slope, at)
        at[0] -= s.curve_u[i]
    else:
        cut = s.least_u * (1.0 - slope) + s.threshold / loss.slope(s.least_u)
        at[0] = -INFINITY
    return cut - (s.curve_v[i] - slope * s.curve_u[i])


cdef void aim(Loss loss, Search *s) noexcept nogil:
    """Set the lines for the present threshold and open edges."""
    cdef Py_ssize_t i
    s.right_slope, s.right_at, s.right_cut = 0.0, -INFINITY, -INFINITY
    s.left_slope, s.left_at, s.left_cut = 0.0, INFINITY, -INFINITY
    if s.threshold > 0.0:
        if s.right < s.n_edges:
            s.right_slope = s.edges[s.right].slope
            s.right_cut = touch(loss, s, s.right_slope, &s.right_at)
        if s.left >= 0:
            s.left_slope = s.edges[s.left].slope
            s.left_cut = touch(loss, s, s.left_slope, &s.left_at)
        return
    s.rest_u, s.rest_v = 0.0, s.curve_v[s.n_curve]
    for i in range(s.left + 1):
        if not s.taken[s.edges[i].item]:
            s.rest_u += s.edges[i].du
    for i in range(s.right, s.n_edges):
        if not s.taken[s.edges[i].item]:
            s.rest_v += s.edges[i].dv


cdef inline bint hopeful(Loss loss, const Search *s, double u, double v) noexcept nogil:
    """Whether what is open may lift a state, itself not above the threshold, above it."""
    if s.threshold <= 0.0:
        return loss.value(u - s.rest_u) - loss.value(v + s.rest_v) > s.threshold
    return ((u < s.right_at and v - s.right_slope * u > s.right_cut)
            or (u > s.left_at and v - s.left_slope * u > s.left_cut))


cdef inline bint peaks(
    Loss loss, double threshold, double slope, double u, double v, double end
) noexcept nogil:
    """Whether the inside of an edge, from u, v on to u = end, may exceed what its ends do not."""
    cdef double at = 0.0
    if threshold <= 0.0:
        return True
    if slope <= 1.0:  # V rises faster
        return False
    return v - slope * u > loss.support(threshold, slope, &at) and u < at < end


cdef bint beats(Loss loss, const Search *s, double u, double v, Py_ssize_t *edge) noexcept nogil:
    """Whether a state lies above the threshold somewhere on the curve, which may be at `edge`.

    The curve is concave and V convex, so they are nearest on the first edge whose right end is at
    or beyond the point where a line of its slope touches V.
    """
    cdef Py_ssize_t low = 0, high = s.n_curve, mid
    cdef double at = 0.0, cut
    edge[0] = 0
    if s.n_curve == 0:
        return loss.value(u) - loss.value(v) > s.threshold
    if s.threshold <= 0.0:
        return True
    while low < high:
        mid = (low + high) // 2
        if s.curve_slope[mid] <= 1.0:
            high = mid
            continue
        loss.support(s.threshold, s.curve_slope[mid], &at)
        if u + s.curve_u[mid + 1] >= at:
            high = mid
        else:
            low = mid + 1
    edge[0] = low
    u += s.curve_u[low]
    v += s.curve_v[low]
    if low < s.n_curve and s.curve_slope[low] > 1.0:
        cut = loss.support(s.threshold, s.curve_slope[low], &at)
        if u < at:  # V may rise steeply there (the hinge): compare heights, not losses
            return v - s.curve_slope[low] * u > cut
    return loss.value(u) - loss.value(v) > s.threshold


cdef bint improve(Loss loss, Search *s, double u, double v, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Look for the best point so far: a state and the vertices first, ..., last of the curve.

    A fine lattice is rounded either way.
    """
    cdef Best best
    cdef Py_ssize_t i, k = -1, n
    cdef double value, next_value, du, dv
    best.value, best.tie = -INFINITY, 0.0
    for i in range(first, last + 1):
        value = loss.value(u + s.curve_u[i]) - loss.value(v + s.curve_v[i])
        if value > best.value:
            best.value, best.edge, best.t = value, i, 0.0
    best.bound = best.value
    for i in range(first, last):
        value = best.value + noise(loss, u + s.curve_u[i], v + s.curve_v[i])
        if peaks(loss, value, s.curve_slope[i], u + s.curve_u[i], v + s.curve_v[i], u + s.curve_u[i + 1]):
            search_edge(loss, u + s.curve_u[i], v + s.curve_v[i], s.curve_u[i + 1] - s.curve_u[i],
                        s.curve_v[i + 1] - s.curve_v[i], i, &best)
    i, value = best.edge, best.value
    u += s.curve_u[i]
    v += s.curve_v[i]
    if best.t > 0.0:
        du, dv = s.curve_u[i + 1] - s.curve_u[i], s.curve_v[i + 1] - s.curve_v[i]
        if s.curve_item[i] >= 0:
            n = s.items[s.curve_item[i]].n_levels - 1
            k = <Py_ssize_t>floor(best.t * n)
            k = k if k < n else n - 1
            value = loss.value(u + k * (du / n)) - loss.value(v + k * (dv / n))
            next_value = loss.value(u + (k + 1) * (du / n)) - loss.value(v + (k + 1) * (dv / n))
            if next_value > value:
                k += 1
                value = next_value
            best.t = <double>k / n
        u += best.t * du
        v += best.t * dv
    if value <= s.value:
        return False
    s.value, s.place, s.place_t, s.place_level = value, i, best.t, k
    value = value if value > s.known else s.known
    s.threshold = value + 1e-10 * fabs(value) + noise(loss, u, v)
    return True


cdef bint consider(Loss loss, Search *s, double u, double v, bint *better) noexcept nogil:
    """Whether a state beats the threshold; and whether it gave a better point.

    With fine lattices on the curve the state may beat the threshold although no point of it does.
    """
    cdef Py_ssize_t edge
    better[0] = False
    if not beats(loss, s, u, v, &edge):
        return False
    if s.n_fine == 0 or s.threshold <= 0.0:
        better[0] = improve(loss, s, u, v, 0, s.n_curve)
    else:
        better[0] = improve(loss, s, u, v, edge, edge + 1 if edge < s.n_curve else edge)
    return True


cdef void write_down(Search *s, const Py_ssize_t *level) noexcept nogil:
    """Keep the best point so far: these levels, and its place on the curve."""
    cdef Py_ssize_t e, i
    memmove(s.level, level, s.n_items * sizeof(Py_ssize_t))
    s.n_crossed, s.part = 0, 0.0
    for e in range(s.n_curve):
        i = s.curve_item[e]
        if i < 0:
            s.n_crossed += e < s.place or (e == s.place and s.place_t == 1.0)
            if e == s.place and s.place_t < 1.0:
                s.part = s.place_t
        elif e != s.place or s.place_level < 0:
            s.level[i] = s.items[i].n_levels - 1 if e < s.place else 0
        else:
            s.level[i] = s.place_level


cdef void climb(Loss loss, Search *s, Py_ssize_t *level, double u, double v) noexcept nogil:
    """Change one item at a time for the better: a first answer, from levels with scores u, v."""
    cdef Py_ssize_t i, k, best_item, best_level = 0
    cdef double du, dv
    cdef bint better
    cdef int _
    consider(loss, s, u, v, &better)
    if better:
        write_down(s, level)
    for _ in range(6):
        best_item = -1
        for i in range(s.n_items):
            if s.items[i].fine:
                continue
            for k in range(s.items[i].n_levels):
                if k == level[i]:
                    continue
                du = level_u(s, i, k) - level_u(s, i, level[i])
                dv = level_v(s, i, k) - level_v(s, i, level[i])
                consider(loss, s, u + du, v + dv, &better)
                if better:
                    best_item, best_level = i, k
        if best_item < 0:
            return
        u += level_u(s, best_item, best_level) - level_u(s, best_item, level[best_item])
        v += level_v(s, best_item, best_level) - level_v(s, best_item, level[best_item])
        level[best_item] = best_level
        write_down(s, level)


cdef void note(Search *s, Py_ssize_t parent, Py_ssize_t level) noexcept nogil:
    """Keep the best point so far, a state of the present stage."""
    cdef Py_ssize_t i, stage = s.n_stages - 1
    for i in range(s.n_items):
        s.level[i] = s.items[i].level
    s.level[s.order[stage]] = level
    while stage > 0:
        stage -= 1
        s.level[s.order[stage]] = s.states[parent].level
        parent = s.states[parent].parent
    write_down(s, s.level)


cdef void skip_taken(Search *s) noexcept nogil:
    while s.right < s.n_edges and s.taken[s.edges[s.right].item]:
        s.right += 1
    while s.left >= 0 and s.taken[s.edges[s.left].item]:
        s.left -= 1


cdef Py_ssize_t thin_out(State *states, Py_ssize_t n, double eps_u, double eps_v) noexcept nogil:
    """Keep, in the order of u, the states that no other one dominates (but for eps)."""
    cdef Py_ssize_t i, kept = 0
    qsort(states, n, sizeof(State), &by_u)
    for i in range(n):
        if kept > 0:
            if states[i].v <= states[kept - 1].v + eps_v:
                continue
            while kept > 0 and states[kept - 1].u >= states[i].u - eps_u:
                kept -= 1
        states[kept] = states[i]
        kept += 1
    return kept


cdef Py_ssize_t next_item(const Search *s, double slope) noexcept nogil:
    """The open item with the edge nearest to the slope; then the coarsest fine lattice; -1: none."""
    cdef Py_ssize_t i, best = -1
    if s.left >= 0 and (s.right >= s.n_edges or s.edges[s.left].slope - slope < slope - s.edges[s.right].slope):
        return s.edges[s.left].item
    if s.right < s.n_edges:
        return s.edges[s.right].item
    if s.n_fine > 0:
        for i in range(s.n_items):
            if s.items[i].fine and not s.taken[i] and (best < 0 or s.items[i].du > s.items[best].du):
                best = i
    return best


cdef struct Stage:         # one item taken up: from which states come the next ones
    Py_ssize_t item, stop
    Py_ssize_t n_nodes, max_nodes


cdef int visit(
    Loss loss, Search *s, Stage *stage, Py_ssize_t parent, Py_ssize_t level, bint *promising
) noexcept nogil:
    """Set the item of the stage to a level in a state; keep the new state if it can still be bettered.

    `promising` is False where the state can be dropped for what was known before. Returns 0; or 1
    if the nodes do not suffice, -1 if the memory does not.
    """
    cdef Py_ssize_t i = stage.item
    cdef double u = s.states[parent].u + (level_u(s, i, level) - level_u(s, i, s.items[i].level))
    cdef double v = s.states[parent].v + (level_v(s, i, level) - level_v(s, i, s.items[i].level))
    cdef bint better, above = False, open_ahead
    if stage.n_nodes == stage.max_nodes:
        return 1
    stage.n_nodes += 1
    if s.threshold <= 0.0 or (v - s.right_slope * u > s.right_cut and v - s.left_slope * u > s.left_cut):
        above = consider(loss, s, u, v, &better)
        if better:
            note(s, parent, level)
            aim(loss, s)
    open_ahead = hopeful(loss, s, u, v)
    promising[0] = above or open_ahead
    if not open_ahead and not (above and s.n_fine > 0):
        return 0
    if stage.stop == s.capacity:
        if grow(<void **>&s.states, 2 * s.capacity * sizeof(State)) != DONE:
            return -1
        s.capacity *= 2
    s.states[stage.stop].u, s.states[stage.stop].v = u, v
    s.states[stage.stop].parent, s.states[stage.stop].level = parent, level
    stage.stop += 1
    return 0


cdef int take_up(Loss loss, Search *s, Stage *stage, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Set the item of the stage in every state; returns what `visit` does.

    How far a state is above V is concave in the level of a fine lattice: the levels that may matter
    are a run about the one where the lattice, were it continuous, would stand.
    """
    cdef Py_ssize_t p, k, middle, n = s.items[stage.item].n_levels
    cdef bint promising = True
    cdef int failed
    cdef double at = 0.0
    for p in range(start, stop):
        middle = n - 1
        if s.items[stage.item].fine and s.threshold > 0.0:
            touch(loss, s, s.items[stage.item].dv / s.items[stage.item].du, &at)
            at = floor((at - s.states[p].u) / s.items[stage.item].du)
            middle = 0 if not at > 0.0 else (<Py_ssize_t>at if at < n - 1 else n - 1)
        for k in range(middle, -1, -1):
            failed = visit(loss, s, stage, p, k, &promising)
            if failed:
                return failed
            if not promising and s.items[stage.item].fine and s.threshold > 0.0:
                break
        for k in range(middle + 1, n):
            failed = visit(loss, s, stage, p, k, &promising)
            if failed:
                return failed
            if not promising and s.threshold > 0.0:
                break
    return 0


cdef int branch(
    Loss loss, Search *s, Py_ssize_t first, double slope, Py_ssize_t max_nodes, double eps_u, double eps_v,
    double *bound, Py_ssize_t *n_nodes,
) noexcept nogil:
    """Take up the items one by one from the state states[0]; `bound` is lowered to what is proved.

    `first` is the item that the relaxation splits (-1: none), `slope` that of its edge. Returns -1
    where there is no memory.
    """
    cdef Py_ssize_t start = 0, stop = 1, p, edge
    cdef Py_ssize_t old_left = 0, old_right = 0
    cdef double low, kept
    cdef int failed = 0, _
    cdef Stage stage
    stage.n_nodes, stage.max_nodes = 0, max_nodes
    while start < stop:
        skip_taken(s)
        stage.item = first if first >= 0 and s.n_stages == 0 else next_item(s, slope)
        if stage.item < 0:
            break
        old_left, old_right = s.left, s.right
        s.taken[stage.item] = 1
        s.order[s.n_stages] = stage.item
        s.n_stages += 1
        if s.items[stage.item].fine:
            bend(s)
        skip_taken(s)
        aim(loss, s)
        stage.stop = stop
        failed = take_up(loss, s, &stage, start, stop)
        if failed:
            break
        start, stop = stop, stop + thin_out(s.states + stop, stage.stop - stop, eps_u, eps_v)
    n_nodes[0] = stage.n_nodes
    if failed == 0 and s.threshold < bound[0]:
        bound[0] = s.threshold
    if failed <= 0 or s.n_stages == 1:
        return failed if failed < 0 else 0
    # Out of nodes: a threshold that none of the states of the last whole stage can beat is a bound.
    s.taken[stage.item] = 0
    s.left, s.right = old_left, old_right
    bend(s)
    kept = s.threshold
    low = kept if kept > 0.0 else 0.0
    for _ in range(40):
        s.threshold = 0.5 * (low + bound[0])
        if not low < s.threshold < bound[0]:
            break
        aim(loss, s)
        for p in range(start, stop):
            if (hopeful(loss, s, s.states[p].u, s.states[p].v)
                    or (s.n_fine > 0 and beats(loss, s, s.states[p].u, s.states[p].v, &edge))):
                low = s.threshold
                break
        else:
            bound[0] = s.threshold
    s.threshold = kept
    return 0


cdef Py_ssize_t efficient(
    Choice *choices, Py_ssize_t n, double eps_u, double eps_v, Py_ssize_t *times
) noexcept nogil:
    """Keep, in the order of u, the levels of a group that no other one dominates (but for eps).

    Of levels that are equal but for eps, the one of lowest rank stays. Taking one level for another
    costs eps at most; `times` counts how often that was done.
    """
    cdef Py_ssize_t i, kept = 0
    times[0] = 0
    qsort(choices, n, sizeof(Choice), &by_scores)
    for i in range(n):
        if kept > 0 and choices[i].v <= choices[kept - 1].v + eps_v:
            if choices[i].v > choices[kept - 1].v:
                times[0] += 1
            if (choices[i].rank < choices[kept - 1].rank and choices[i].v >= choices[kept - 1].v - eps_v
                    and choices[i].u <= choices[kept - 1].u + eps_u):
                times[0] += 1
                choices[kept - 1] = choices[i]
            continue
        while kept > 0 and choices[kept - 1].u >= choices[i].u - eps_u:
            times[0] += 1
            kept -= 1
        choices[kept] = choices[i]
        kept += 1
    return kept


cdef Py_ssize_t add_edges(
    Edge *edges, Py_ssize_t n_edges, const Choice *choices, Py_ssize_t n, Py_ssize_t item
) noexcept nogil:
    """Append the edges of a group's frontier: the upper hull of its levels, slopes falling."""
    cdef Py_ssize_t k, start, before = n_edges
    for k in range(1, n):
        start = k - 1
        while n_edges > before:
            start = edges[n_edges - 1].stop
            # the last edge stays if it is steeper than the way from its end to here
            if (edges[n_edges - 1].slope
                    > (choices[k].v - choices[start].v) / (choices[k].u - choices[start].u)):
                break
            start = edges[n_edges - 1].start
            n_edges -= 1
        edges[n_edges].du, edges[n_edges].dv = choices[k].u - choices[start].u, choices[k].v - choices[start].v
        edges[n_edges].slope = edges[n_edges].dv / edges[n_edges].du
        edges[n_edges].item, edges[n_edges].start, edges[n_edges].stop = item, start, k
        n_edges += 1
    return n_edges


cdef inline double lattice_value(double near, double origin, double step) noexcept nogil:
    return origin + rint((near - origin) / step) * step


cdef void exchange(Search *s, double noise_u, double noise_v, Py_ssize_t *scratch) noexcept nogil:
    """Of lattices that move the scores alike, as far as can be told, the first go as far as they can."""
    cdef Py_ssize_t e, f, i, k, n, total
    cdef Edge *edge
    cdef Edge *other
    for i in range(s.n_items):
        scratch[i] = 0  # not dealt with
    for e in range(s.n_all):
        edge = &s.all_edges[e]
        i = edge.item
        if i < 0 or s.items[i].column < 0 or scratch[i]:
            continue
        scratch[i], n, total = 1, 1, s.level[i]
        for f in range(e + 1, s.n_all):
            other = &s.all_edges[f]
            if not fabs(other.slope - edge.slope) <= (
                    TIE + noise_u / edge.du + noise_v / edge.dv + noise_u / other.du + noise_v / other.dv) * edge.slope:
                break
            k = other.item
            if (k >= 0 and s.items[k].column >= 0 and not scratch[k] and s.items[k].n_levels == s.items[i].n_levels
                    and fabs(other.du - edge.du) <= TIE * edge.du + noise_u
                    and fabs(other.dv - edge.dv) <= TIE * edge.dv + noise_v):
                scratch[k], n, total = 2, n + 1, total + s.level[k]
        if n == 1:
            continue
        scratch[i] = 2
        for k in range(s.n_items):  # in the order of their columns
            if scratch[k] == 2:
                scratch[k] = 1
                s.level[k] = total if total < s.items[k].n_levels - 1 else s.items[k].n_levels - 1
                total -= s.level[k]


def region_loss_difference(
    Loss loss,
    const double[::1] theta,                # IN  (d + 1,)
    const double[::1] theta_target,         # IN  (d + 1,)
    const double[::1] lower,                # IN  (d,) not read for the columns of groups
    const double[::1] upper,                # IN  (d,)
    const double[::1] origin,               # IN  (d,)
    const double[::1] step,                 # IN  (d,) 0: continuous
    const Py_ssize_t[::1] group_start,      # IN  (n_groups,) where each begins in the next three
    const Py_ssize_t[::1] group_column,     # IN
    const double[::1] group_off,            # IN
    const double[::1] group_on,             # IN
    const unsigned char[::1] exactly_one,   # IN  (n_groups,) 0: at most one
    const double[::1] rest,                 # IN  (d,) where a coordinate stays that moves neither score
    double y,                               # IN  the label, -1. or +1.
    double known,                           # IN  only points above this are of interest
    Py_ssize_t max_nodes,                   # IN  of the branch and bound
    double[::1] x,                          # OUT (d,) the best point found
):
    """The largest loss difference over a mixed space for one label.

    Returns (value, upper_bound, n_nodes): ``value`` as recomputed at ``x``; no point exceeds
    ``upper_bound``, rounding included. If the nodes suffice it is the larger of ``value`` and
    ``known``, to 1e-10.
    """
    cdef Py_ssize_t d = lower.shape[0], n_groups = group_start.shape[0], n_listed = group_column.shape[0]
    if (theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1 or upper.shape[0] != d or x.shape[0] != d
            or origin.shape[0] != d or step.shape[0] != d or group_off.shape[0] != n_listed
            or rest.shape[0] != d or group_on.shape[0] != n_listed or exactly_one.shape[0] != n_groups or n_listed > d):
        raise ValueError("region_loss_difference: shapes disagree")
    cdef Search s
    cdef Best best
    cdef Py_ssize_t n_all = 0, n_choices = 0, n_nodes = 0, n_flips = 0, j, e, g, i, k, first, n
    cdef double u, v, a, p, width, at, size_u, size_v, value, err, noise_u, noise_v, lost_u, lost_v
    cdef bint idle_u, idle_v
    cdef double least_u, least_v, bound, slope, part, margin, most_a, most_p, zero_a, zero_p
    cdef int failed = 0
    # One block for everything whose size is known, the widest types first.
    cdef size_t m = d + n_groups + 1
    cdef char *block = <char *>malloc(
        m * (2 * sizeof(Edge) + sizeof(Flip) + sizeof(Item) + sizeof(Choice)
             + 3 * sizeof(double) + 4 * sizeof(Py_ssize_t) + 2))
    s.capacity = 256
    s.states = <State *>malloc(s.capacity * sizeof(State))
    if block == NULL or s.states == NULL:
        free(block)
        free(s.states)
        raise MemoryError()
    cdef Edge *edges = <Edge *>block
    s.edges = edges + m
    cdef Flip *flips = <Flip *>(s.edges + m)
    s.items = <Item *>(flips + m)
    s.choices = <Choice *>(s.items + m)
    s.curve_u = <double *>(s.choices + m)
    s.curve_v = s.curve_u + m
    s.curve_slope = s.curve_v + m
    s.order = <Py_ssize_t *>(s.curve_slope + m)
    s.level = s.order + m
    cdef Py_ssize_t *now = s.level + m
    s.curve_item = now + m
    s.taken = <char *>(s.curve_item + m)
    cdef char *grouped = s.taken + m
    with nogil:
        # As over a box, what moves a score by less than its rounding error does not move it.
        noise_u, noise_v = fabs(theta[d]), fabs(theta_target[d])
        for j in range(d):
            grouped[j] = 0
        for e in range(n_listed):
            grouped[group_column[e]] = 1
        for g in range(n_groups):
            most_a = most_p = 0.0
            for e in range(group_start[g], group_start[g + 1] if g + 1 < n_groups else n_listed):
                a, p = fabs(theta[group_column[e]]), fabs(theta_target[group_column[e]])
                noise_u += a * fabs(group_off[e])
                noise_v += p * fabs(group_off[e])
                at = group_on[e] - group_off[e]
                most_a = a * at if a * at > most_a else most_a
                most_p = p * at if p * at > most_p else most_p
            noise_u += most_a
            noise_v += most_p
        for j in range(d):
            if not grouped[j]:
                width = fabs(lower[j]) + (upper[j] - lower[j])
                noise_u += fabs(theta[j]) * width
                noise_v += fabs(theta_target[j]) * width
        a, p, err = noise_u, noise_v, (2 * d + 6) * EPS
        noise_u = err * a if err * a > 1e-100 * p else 1e-100 * p  # no slope overflows
        noise_v = err * p if err * p > 1e-100 * a else 1e-100 * a
        lost_u = lost_v = 0.0
        u, v = y * theta[d], y * theta_target[d]
        size_u, size_v = fabs(u), fabs(v)
        s.n_items = 0
        for g in range(n_groups):
            i, first, n = s.n_items, n_choices, 0
            most_a = most_p = zero_a = zero_p = 0.0
            if not exactly_one[g]:
                s.choices[first].u = s.choices[first].v = 0.0
                s.choices[first].column = s.choices[first].rank = -1
                n = 1
            for e in range(group_start[g], group_start[g + 1] if g + 1 < n_groups else n_listed):
                j = group_column[e]
                a, p = y * theta[j], y * theta_target[j]
                u += a * group_off[e]
                v += p * group_off[e]
                size_u += fabs(a * group_off[e])
                size_v += fabs(p * group_off[e])
                at = group_on[e] - group_off[e]
                if fabs(a * at) <= noise_u:
                    zero_a = fabs(a * at) if fabs(a * at) > zero_a else zero_a
                    a = 0.0
                if fabs(p * at) <= noise_v:
                    zero_p = fabs(p * at) if fabs(p * at) > zero_p else zero_p
                    p = 0.0
                most_a = fabs(a * at) if fabs(a * at) > most_a else most_a
                most_p = fabs(p * at) if fabs(p * at) > most_p else most_p
                s.choices[first + n].u, s.choices[first + n].v = a * at, p * at
                s.choices[first + n].column = j
                s.choices[first + n].rank = -2 if rest[j] == group_on[e] else j
                n += 1
            # one column is on, and a state that changes its level takes off and adds
            size_u += 3.0 * (most_a + zero_a)
            size_v += 3.0 * (most_p + zero_p)
            n = efficient(s.choices + first, n, noise_u, noise_v, &k)
            lost_u += zero_a + k * noise_u
            lost_v += zero_p + k * noise_v
            a, p = s.choices[first].u, s.choices[first].v
            u += a
            v += p
            for k in range(n):
                s.choices[first + k].u -= a
                s.choices[first + k].v -= p
            n_all = add_edges(edges, n_all, s.choices + first, n, i)
            s.items[i].column, s.items[i].first, s.items[i].n_levels, s.items[i].level = -1, first, n, 0
            s.items[i].du = s.items[i].dv = 0.0
            s.items[i].fine = False
            s.n_items += 1
            n_choices += n
        for j in range(d):
            if grouped[j]:
                continue
            a, p = y * theta[j], y * theta_target[j]
            width = upper[j] - lower[j]
            size_u += fabs(a) * (fabs(lower[j]) + width)
            size_v += fabs(p) * (fabs(lower[j]) + width)
            idle_u, idle_v = fabs(a) * width <= noise_u, fabs(p) * width <= noise_v
            if idle_u:
                lost_u += fabs(a) * width
            if idle_v:
                lost_v += fabs(p) * width
            if not idle_u:
                x[j] = lower[j] if a > 0.0 else upper[j]
            elif not idle_v:
                x[j] = upper[j] if p > 0.0 else lower[j]
            else:
                x[j] = rest[j]
            u += a * x[j]
            v += p * x[j]
            if not idle_u and not idle_v and (a > 0.0) == (p > 0.0):
                edges[n_all].slope = fabs(p) / fabs(a)
                edges[n_all].du, edges[n_all].dv = fabs(a) * width, fabs(p) * width
                edges[n_all].start, edges[n_all].stop = 0, 1
                edges[n_all].item = -1 - j
                if step[j] > 0.0:
                    # the ends may be lattice values but for their last digits
                    part = lattice_value(lower[j], origin[j], step[j]) - lower[j]
                    at = lattice_value(upper[j], origin[j], step[j]) - upper[j]
                    part = fabs(part) if fabs(part) > fabs(at) else fabs(at)
                    lost_u += fabs(a) * part
                    lost_v += fabs(p) * part
                    i = s.n_items
                    edges[n_all].item, edges[n_all].stop = i, <Py_ssize_t>rint(width / step[j])
                    s.items[i].column, s.items[i].first, s.items[i].level = j, 0, 0
                    s.items[i].n_levels = edges[n_all].stop + 1
                    s.items[i].fine = s.items[i].n_levels > FINE
                    s.items[i].du, s.items[i].dv = fabs(a) * step[j], fabs(p) * step[j]
                    s.n_items += 1
                n_all += 1
        least_u, least_v = u, v
        qsort(edges, n_all, sizeof(Edge), &by_slope)
        # the relaxation
        best.value = loss.value(u) - loss.value(v)
        best.bound = best.value
        best.edge, best.t = -1, 1.0
        best.tie = passed_on(loss, u, v, noise_u, noise_v)
        margin = 0.5 * noise(loss, u, v)  # half of it here, all of it when states are compared
        for e in range(n_all):
            u += edges[e].du
            v += edges[e].dv
            value = loss.value(u) - loss.value(v)
            if value > best.bound:
                best.bound = value
            if value > best.value + best.tie:
                best.value, best.edge, best.t = value, e, 1.0
                best.tie = passed_on(loss, u, v, noise_u, noise_v)
                margin = 0.5 * noise(loss, u, v)
        u, v = least_u, least_v
        for e in range(n_all):
            if peaks(loss, best.value + margin, edges[e].slope, u, v, u + edges[e].du):
                search_edge(loss, u, v, edges[e].du, edges[e].dv, e, &best)
                if best.edge == e:
                    margin = 0.5 * noise(loss, u + best.t * edges[e].du, v + best.t * edges[e].dv)
            u += edges[e].du
            v += edges[e].dv
        bound = best.value + margin
        bound = best.bound if best.bound > bound else bound
        # the items stand left of the best edge
        s.all_edges, s.n_all, s.n_edges = edges, n_all, 0
        s.right = 0
        first, slope = -1, 0.0
        u, v = least_u, least_v
        for e in range(n_all):
            i = edges[e].item
            if i < 0 or s.items[i].fine:
                continue
            s.edges[s.n_edges] = edges[e]
            s.n_edges += 1
            if e < best.edge or (e == best.edge and best.t == 1.0):
                s.items[i].level = edges[e].stop
                s.right = s.n_edges
            elif e == best.edge and best.t > 0.0:
                first = i
                if s.items[i].column >= 0:
                    k = <Py_ssize_t>floor(best.t * edges[e].stop)
                    s.items[i].level = k if k < edges[e].stop else edges[e].stop - 1
        s.left = s.right - 1
        if best.edge >= 0:
            slope = edges[best.edge].slope
        for i in range(s.n_items):
            now[i] = s.level[i] = s.items[i].level
            s.taken[i] = 0
            u += level_u(&s, i, now[i])
            v += level_v(&s, i, now[i])
        s.states[0].u, s.states[0].v = u, v
        s.states[0].parent = s.states[0].level = -1
        s.n_stages = 0
        s.value = s.threshold = -INFINITY
        s.known, s.least_u = known, least_u
        bend(&s)
        climb(loss, &s, now, u, v)
        if first >= 0 and bound > s.threshold:
            for i in range(s.n_items):
                now[i] = s.items[i].level
            k = now[first]
            now[first] = k + 1 if s.items[first].column >= 0 else edges[best.edge].stop
            u += level_u(&s, first, now[first]) - level_u(&s, first, k)
            v += level_v(&s, first, now[first]) - level_v(&s, first, k)
            climb(loss, &s, now, u, v)
        err = (4 * d + 16) * EPS
        if bound > s.threshold and max_nodes > 0:
            failed = branch(loss, &s, first, slope, max_nodes, 4 * EPS * size_u, 4 * EPS * size_v, &bound, &n_nodes)
            err += 4 * EPS * s.n_stages
        # the point
        exchange(&s, noise_u, noise_v, now)
        for i in range(s.n_items):
            k = s.level[i]
            if s.items[i].column < 0:
                now[i] = s.choices[s.items[i].first + k].column
                continue
            j = s.items[i].column
            if k == s.items[i].n_levels - 1:
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            elif k > 0:
                at = k * step[j]
                x[j] = lattice_value(x[j] + at if x[j] == lower[j] else x[j] - at, origin[j], step[j])
        for g in range(n_groups):  # the groups are the first items
            for e in range(group_start[g], group_start[g + 1] if g + 1 < n_groups else n_listed):
                x[group_column[e]] = group_on[e] if group_column[e] == now[g] else group_off[e]
        for e in range(n_all):
            if edges[e].item < 0:
                flips[n_flips].ratio, flips[n_flips].j = edges[e].slope, -1 - edges[e].item
                flips[n_flips].du, flips[n_flips].dv = edges[e].du, edges[e].dv
                n_flips += 1
        j = -1
        if n_flips > 0:
            best.edge, best.t = s.n_crossed, s.part
            if s.n_crossed == n_flips:
                best.edge, best.t = n_flips - 1, 1.0
            break_ties(flips, n_flips, noise_u, noise_v, &best.edge, &best.t)
            for e in range(best.edge + (best.t == 1.0)):
                j = flips[e].j
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            j = flips[best.edge].j if 0.0 < best.t < 1.0 else -1
        value = conclude(
            loss, theta, theta_target, y, x, j, lower[j] if j >= 0 else 0.0, upper[j] if j >= 0 else 0.0, best.t, &u, &v
        )
        # Rounding as over a box, with the slopes where they are steepest: a point anywhere on the
        # frontier may have been dropped for it. A state adds one term a stage, and thinning out
        # the states may cost `eps` a stage.
        lost_u += err * size_u
        lost_v += err * size_v
        bound = (value if value > bound else bound) + (
            loss.slope(least_u - lost_u) * lost_u + loss.slope(least_v - lost_v) * lost_v
            + 8 * EPS * (loss.value(least_u) + loss.value(least_v)))
        free(block)
        free(s.states)
    if failed:
        raise MemoryError()
    return value, bound, n_nodes


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


def pool_loss_difference(
    Loss loss,
    const double[::1] theta,         # IN (d + 1,)
    const double[::1] theta_target,  # IN (d + 1,)
    const double[:, ::1] X,          # IN (n, d)
    const double[::1] signs,         # IN (n,) labels of the candidates, or empty: either label
    const unsigned char[::1] spent,  # IN (n,) 1: the label +1 is used up, 2: the label -1, 3: both; or empty
    double tie,                      # IN what a later row must be better by
):
    """(row, label, value) of the largest loss difference over the rows of X, to `tie`, first of what is left and then
    of what is used up (value -inf where there is none); O(n d), one read."""
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], i
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
            mtp_dot2(&X[i, 0], &theta[0], &theta_target[0], d, s)
            s[0] += theta[d]
            s[1] += theta_target[d]
            if capped:
                gone = spent[i]
            if either or signs[i] > 0:
                offer(loss, s[0], s[1], 1.0, i, tie, &best[gone & 1])
            if either or signs[i] < 0:
                offer(loss, s[0], s[1], -1.0, i, tie, &best[(gone >> 1) & 1])
    return as_tuple(&best[0]), as_tuple(&best[1])


def pool_loss_difference_csr(
    Loss loss,
    const double[::1] theta,         # IN (d + 1,)
    const double[::1] theta_target,  # IN (d + 1,)
    const double[::1] data, const int[::1] indices, const int[::1] indptr,  # IN the candidates
    const double[::1] signs,         # IN (n,) or empty
    const unsigned char[::1] spent,  # IN (n,) or empty
    double tie,                      # IN what a later row must be better by
):
    """:func:`pool_loss_difference` over the rows of a CSR matrix."""
    cdef Py_ssize_t n = indptr.shape[0] - 1, d = theta.shape[0] - 1, i, j
    if theta_target.shape[0] != d + 1:
        raise ValueError("pool_loss_difference_csr: shapes disagree")
    if (signs.shape[0] and signs.shape[0] != n) or (spent.shape[0] and spent.shape[0] != n):
        raise ValueError("pool_loss_difference_csr: shapes disagree")
    cdef Candidate best[2]
    best[0].value = best[1].value = -INFINITY
    best[0].row = best[1].row = 0
    best[0].label = best[1].label = 1.0
    cdef double s, t
    cdef bint either = signs.shape[0] == 0, capped = spent.shape[0] != 0
    cdef int gone = 0
    with nogil:
        for i in range(n):
            s, t = theta[d], theta_target[d]
            for j in range(indptr[i], indptr[i + 1]):
                s = s + data[j] * theta[indices[j]]
                t = t + data[j] * theta_target[indices[j]]
            if capped:
                gone = spent[i]
            if either or signs[i] > 0:
                offer(loss, s, t, 1.0, i, tie, &best[gone & 1])
            if either or signs[i] < 0:
                offer(loss, s, t, -1.0, i, tie, &best[(gone >> 1) & 1])
    return as_tuple(&best[0]), as_tuple(&best[1])


# ---------------------------------------------------------------------------------------------
# Rows: clean or added, dense or CSR, behind three small functions
# ---------------------------------------------------------------------------------------------

cdef struct Rows:
    bint sparse
    Py_ssize_t d
    const double *data
    const int *indices
    const int *indptr


cdef Rows rows_of(X):
    """A dense array (m, d), or what has shape, data, indices and indptr (CSR); X must live on."""
    cdef Rows rows
    cdef const double[::1] data
    cdef const int[::1] indices, indptr
    rows.d, rows.sparse = X.shape[1], not isinstance(X, np.ndarray)
    data = X.data if rows.sparse else X.reshape(-1)
    rows.data = &data[0] if data.shape[0] else NULL
    rows.indices = rows.indptr = NULL
    if rows.sparse:
        indices, indptr = X.indices, X.indptr
        rows.indices, rows.indptr = &indices[0] if indices.shape[0] else NULL, &indptr[0]
    return rows


cdef inline double row_dot(const Rows *rows, Py_ssize_t i, const double *v) noexcept nogil:
    """x_i . v"""
    cdef double s = 0.0
    cdef int j
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
    if not rows.sparse:
        mtp_dot2(rows.data + i * rows.d, v, w, rows.d, both)
    else:
        start = rows.indptr[i]
        mtp_sparse_dot2(rows.data + start, rows.indices + start, v, w, rows.indptr[i + 1] - start, both)


cdef inline void row_axpy(const Rows *rows, Py_ssize_t i, double t, double *v) noexcept nogil:
    """v += t x_i"""
    cdef int j
    if not rows.sparse:
        mtp_axpy(rows.d, t, rows.data + i * rows.d, v)
        return
    for j in range(rows.indptr[i], rows.indptr[i + 1]):
        v[rows.indices[j]] += t * rows.data[j]


cdef void products(const Rows *rows, Py_ssize_t n, const double *v, double *out) noexcept nogil:
    """out[i] = x_i . v for the first n rows"""
    cdef int d = <int>rows.d, m = <int>n, one = 1
    cdef double unit = 1.0, zero = 0.0
    cdef Py_ssize_t i
    if not rows.sparse and d > 0:
        dgemv("T", &d, &m, &unit, <double *>rows.data, &d, <double *>v, &one, &zero, out, &one)
        return
    for i in range(n):
        out[i] = row_dot(rows, i, v)


# ---------------------------------------------------------------------------------------------
# Loss, gradient and gap in one pass (training/smooth.py says what the sums are for)
# ---------------------------------------------------------------------------------------------

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <string.h>

    /* m[i] = x_i . v for n rows of length d, four at a time */
    MTP_CLONES
    static void mtp_dots(ptrdiff_t n, ptrdiff_t d, const double *x, const double *v, double *m) {
        ptrdiff_t i, j;
        for (i = 0; i + 4 <= n; i += 4, x += 4 * d) {
            const double *a = x, *b = x + d, *c = x + 2 * d, *e = x + 3 * d;
            double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
            #pragma omp simd reduction(+:s0, s1, s2, s3)
            for (j = 0; j < d; j++) { s0 += a[j] * v[j]; s1 += b[j] * v[j]; s2 += c[j] * v[j]; s3 += e[j] * v[j]; }
            m[i] = s0; m[i + 1] = s1; m[i + 2] = s2; m[i + 3] = s3;
        }
        for (; i < n; i++, x += d) m[i] = mtp_dot(x, v, d);
    }

    /* g += sum_i s[i] x_i for n rows of length d, four at a time */
    MTP_CLONES
    static void mtp_combine(ptrdiff_t n, ptrdiff_t d, const double *x, const double *s, double *g) {
        ptrdiff_t i, j;
        for (i = 0; i + 4 <= n; i += 4, x += 4 * d) {
            const double *a = x, *b = x + d, *c = x + 2 * d, *e = x + 3 * d;
            const double s0 = s[i], s1 = s[i + 1], s2 = s[i + 2], s3 = s[i + 3];
            #pragma omp simd
            for (j = 0; j < d; j++) g[j] += (a[j] * s0 + b[j] * s1) + (c[j] * s2 + e[j] * s3);
        }
        for (; i < n; i++, x += d) mtp_axpy(d, s[i], x, g);
    }

    /* m[i] = y[i] (m[i] + b) */
    MTP_CLONES
    static void mtp_margins(ptrdiff_t n, const double *y, double b, double *m) {
        ptrdiff_t i;
        #pragma omp simd
        for (i = 0; i < n; i++) m[i] = y[i] * (m[i] + b);
    }

    /* s = weight * slope; adds the sums of y s, weight * value, s and s * norm to part; slope becomes y s */
    MTP_CLONES
    static void mtp_weigh(
        ptrdiff_t n, const double *y, const double *weight, const double *norm, const double *value,
        double *slope, double *part
    ) {
        double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
        ptrdiff_t i;
        #pragma omp simd reduction(+:s0, s1, s2, s3)
        for (i = 0; i < n; i++) {
            double s = weight[i] * slope[i], t = y[i] * s;
            slope[i] = t;
            s0 += t; s1 += weight[i] * value[i]; s2 += s; s3 += s * norm[i];
        }
        part[0] += s0; part[1] += s1; part[2] += s2; part[3] += s3;
    }

    /* total += part, lost being what the last bits of total could not hold (Kahan's summation);
       part is set to 0 */
    MTP_CLONES
    static void mtp_collect(ptrdiff_t n, double *part, double *total, double *lost) {
        ptrdiff_t i;
        #pragma omp simd
        for (i = 0; i < n; i++) {
            double add = part[i] - lost[i], sum = total[i] + add;
            lost[i] = (sum - total[i]) - add;
            total[i] = sum;
            part[i] = 0.0;
        }
    }

    /* m[i] = the sum of table[k] over the codes k of row i, four rows at a time */
    static void mtp_look_up(ptrdiff_t n, ptrdiff_t g, const uint16_t *code, const double *table, double *m) {
        ptrdiff_t i, j;
        for (i = 0; i + 4 <= n; i += 4, code += 4 * g) {
            const uint16_t *a = code, *b = code + g, *c = code + 2 * g, *e = code + 3 * g;
            double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
            for (j = 0; j < g; j++) { s0 += table[a[j]]; s1 += table[b[j]]; s2 += table[c[j]]; s3 += table[e[j]]; }
            m[i] = s0; m[i + 1] = s1; m[i + 2] = s2; m[i + 3] = s3;
        }
        for (; i < n; i++, code += g) {
            m[i] = 0.0;
            for (j = 0; j < g; j++) m[i] += table[code[j]];
        }
    }

    /* g[k] = the sum of s over the rows with code k: row[end[k]] up to row[end[k + 1]] */
    static void mtp_tally(ptrdiff_t n, const int32_t *end, const uint16_t *row, const double *s, double *g) {
        ptrdiff_t k;
        for (k = 0; k < n; k++) {
            const uint16_t *r = row + end[k], *stop = row + end[k + 1];
            double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
            for (; r + 4 <= stop; r += 4) { s0 += s[r[0]]; s1 += s[r[1]]; s2 += s[r[2]]; s3 += s[r[3]]; }
            for (; r < stop; r++) s0 += s[*r];
            g[k] = (s0 + s1) + (s2 + s3);
        }
    }

    /* e[i] = exp(-|m[i]|) to about one unit in the last place, without branches so that it
       vectorises: exp(-a) = 2^k exp(r), |r| <= log(2) / 2, and 13 terms of Taylor's series.
       Adding 3 * 2^51 rounds to a whole number, k, which then stands in the lowest bits. */
    MTP_CLONES
    static void mtp_decay(ptrdiff_t n, const double *m, double *e) {
        /* 3 * 2^51; log(2) = high + low, where k * high is exact; 2^-600 */
        const double shift = 6755399441055744.0, high = 0.6931471803691238, low = 1.9082149292705877e-10;
        const double tiny = 2.409919865102884e-181;
        ptrdiff_t i;
        #pragma omp simd
        for (i = 0; i < n; i++) { double a = fabs(m[i]); e[i] = a > 750.0 ? 750.0 : a; }
        #pragma omp simd
        for (i = 0; i < n; i++) {
            double t = shift - e[i] * 1.4426950408889634, k = t - shift;
            double r = (-e[i] - k * high) - k * low, w = r * r, even, odd, scale;
            uint64_t bits;
            even = 1.0 / 479001600; odd = 1.0 / 6227020800.0;
            even = even * w + 1.0 / 3628800; odd = odd * w + 1.0 / 39916800;
            even = even * w + 1.0 / 40320;   odd = odd * w + 1.0 / 362880;
            even = even * w + 1.0 / 720;     odd = odd * w + 1.0 / 5040;
            even = even * w + 1.0 / 24;      odd = odd * w + 1.0 / 120;
            even = even * w + 1.0 / 2;       odd = odd * w + 1.0 / 6;
            memcpy(&bits, &t, 8);
            bits = (bits + 1023 + 600) << 52;  /* of 2^(k + 600): a result below 2^-1022 is rounded once, at the end */
            memcpy(&scale, &bits, 8);
            e[i] = (1.0 + (r + w * (even + r * odd))) * scale * tiny;
        }
    }

    /* value[i] = log(1 + exp(-m[i])), slope[i] = 1 / (1 + exp(m[i])), where e[i] = exp(-|m[i]|):
       log(1 + e) = 2 artanh(e / (2 + e)), or log(2) more than the same for (e - 1) / 2 */
    MTP_CLONES
    static void mtp_log_loss(ptrdiff_t n, const double *m, const double *e, double *value, double *slope) {
        ptrdiff_t i;
        #pragma omp simd
        for (i = 0; i < n; i++) {
            double big = e[i] > 0.41421356 ? 1.0 : 0.0;
            double u = (e[i] - big) / ((2.0 + big) + e[i]), w = u * u, v = w * w, z, y;
            z = 1.0 / 19;         y = 1.0 / 21;
            z = z * v + 1.0 / 15; y = y * v + 1.0 / 17;
            z = z * v + 1.0 / 11; y = y * v + 1.0 / 13;
            z = z * v + 1.0 / 7;  y = y * v + 1.0 / 9;
            z = z * v + 1.0 / 3;  y = y * v + 1.0 / 5;
            value[i] = 0.5 * (fabs(m[i]) - m[i])
                + (big * 0.6931471805599453 + 2.0 * (u + u * w * (z + w * y)));
            slope[i] = (m[i] > 0.0 ? e[i] : 1.0) / (1.0 + e[i]);
        }
    }
    """
    void mtp_dots(Py_ssize_t n, Py_ssize_t d, const double *x, const double *v, double *m) noexcept nogil
    void mtp_combine(Py_ssize_t n, Py_ssize_t d, const double *x, const double *s, double *g) noexcept nogil
    void mtp_margins(Py_ssize_t n, const double *y, double b, double *m) noexcept nogil
    void mtp_weigh(
        Py_ssize_t n, const double *y, const double *weight, const double *norm, const double *value,
        double *slope, double *part
    ) noexcept nogil
    void mtp_collect(Py_ssize_t n, double *part, double *total, double *lost) noexcept nogil
    void mtp_look_up(
        Py_ssize_t n, Py_ssize_t g, const unsigned short *code, const double *table, double *m
    ) noexcept nogil
    void mtp_tally(
        Py_ssize_t n, const int *end, const unsigned short *row, const double *s, double *g
    ) noexcept nogil
    void mtp_decay(Py_ssize_t n, const double *m, double *e) noexcept nogil
    void mtp_log_loss(Py_ssize_t n, const double *m, const double *e, double *value, double *slope) noexcept nogil


cdef enum:
    BLOCK = 64     # rows at a time: they are still in the nearest cache when they are read again
    LONG = 256     # entries: dense rows of so many are looked at through codes
    BINS = 1024    # of deadlines
    ROWS = 8192    # coded rows at a time, so that a row's number takes two bytes

CHUNK = ROWS
LONG_ROW = LONG

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


# ---------------------------------------------------------------------------------------------
# The hinge refit
# ---------------------------------------------------------------------------------------------

cdef enum Side:
    ABOVE = 0    # margin >= 1, dual variable 0
    ON = 1       # margin 1, dual variable in [0, c]
    BELOW = 2    # margin <= 1, dual variable c

cdef enum Outcome:
    DONE = 0
    TOO_MANY_STEPS = 1
    NO_MEMORY = 2


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


cdef int grow(void **p, size_t size) noexcept nogil:
    cdef void *q = realloc(p[0], size)
    if q == NULL:
        return NO_MEMORY
    p[0] = q
    return DONE


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
    cdef readonly long n_steps, n_looks, n_gathers, n_close
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
        self.n_close = self.n_steps = self.n_looks = self.n_gathers = self.steps_at_gather = self.n_sifted = 0
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
        self.n_gathers += 1
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
