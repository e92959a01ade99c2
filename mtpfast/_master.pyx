"""Equation (4) of ``proofs/pointwise.py`` for many rows at a time: the master problem, coordinate by coordinate.

Nothing here is believed: what the search finds is evaluated by the proof's own arithmetic.
"""

from libc.math cimport INFINITY, log
from libc.stdlib cimport free, malloc

from mtpfast._simd cimport mtp_decay, mtp_log_loss

import numpy as np


def ends(
    const double[:, ::1] q,        # IN  (K, D)
    const double[:, ::1] push,     # IN  (K, D) M z at this end of every coordinate
    const double[::1] rest,        # IN  (K,) 1 - lam
    const double[:, ::1] k,        # IN  (K, D)
    const double[::1] theta,       # IN  (D,) the comparison model
    double[:, ::1] model,          # OUT (K, D) (push rest - q) / 2k
    double[:, ::1] value,          # OUT (K, D) push theta - k model^2
):
    """Where the minimum over theta is if every coordinate of the points is at this end, and what it then adds."""
    cdef Py_ssize_t K = q.shape[0], D = q.shape[1], i, j
    cdef double t
    if not (
        push.shape[0] == k.shape[0] == model.shape[0] == value.shape[0] == rest.shape[0] == K
        and push.shape[1] == k.shape[1] == model.shape[1] == value.shape[1] == theta.shape[0] == D
    ):
        raise ValueError("ends: shapes disagree")
    with nogil:
        for i in range(K):
            for j in range(D):
                t = (push[i, j] * rest[i] - q[i, j]) / (2.0 * k[i, j])
                model[i, j] = t
                value[i, j] = push[i, j] * theta[j] - k[i, j] * t * t


def softened(
    const double[:, ::1] low,      # IN  (K, D) what a coordinate adds where it is off,
    const double[:, ::1] high,     # IN  (K, D) and where it is on
    const double[::1] heat,        # IN  (K,)
    const Py_ssize_t[::1] order,   # IN  (D,) the coordinates, group after group; or empty: each on its own
    const Py_ssize_t[::1] starts,  # IN  (groups,)
    const unsigned char[::1] exactly,  # IN (groups,) whether one must be on
    double[:, ::1] share,          # OUT (K, D) how far a coordinate is on
):
    """``-heat log sum exp(-. / heat)`` over the levels of every group, in the place of the least: (K,)."""
    cdef Py_ssize_t K = low.shape[0], D = low.shape[1], G = starts.shape[0], i, j, g, stop
    cdef double total, top, most, none
    cdef bint grouped = order.shape[0] > 0
    if not (
        high.shape[0] == share.shape[0] == heat.shape[0] == K and high.shape[1] == share.shape[1] == D
        and (not grouped or (order.shape[0] == D and exactly.shape[0] == G and G > 0 and starts[0] == 0))
    ):
        raise ValueError("softened: shapes disagree")
    least = np.empty(K)
    cdef double[::1] out = least
    cdef double *fall = <double *>malloc((3 * D + 1) * sizeof(double))
    if fall == NULL:
        raise MemoryError()
    cdef double *decay = fall + D
    cdef double *value = decay + D
    with nogil:
        for i in range(K):
            total = 0.0
            for j in range(D):
                total += low[i, j]
            if not grouped:
                for j in range(D):
                    fall[j] = (high[i, j] - low[i, j]) / heat[i]
                mtp_decay(D, fall, decay)
                mtp_log_loss(D, fall, decay, value, &share[i, 0])
                for j in range(D):
                    total -= heat[i] * value[j]
                out[i] = total
                continue
            for j in range(D):
                fall[j] = (low[i, order[j]] - high[i, order[j]]) / heat[i]
            for g in range(G):
                stop = starts[g + 1] if g + 1 < G else D
                top = -INFINITY if exactly[g] else 0.0
                for j in range(starts[g], stop):
                    top = fall[j] if fall[j] > top else top
                value[g] = top
                for j in range(starts[g], stop):
                    fall[j] -= top
            mtp_decay(D, fall, decay)
            for g in range(G):
                stop = starts[g + 1] if g + 1 < G else D
                most = value[g]
                none = 0.0
                if not exactly[g]:  # exp(-most), most >= 0: far from where any level pays it is 1
                    top = most
                    mtp_decay(1, &top, &none)
                for j in range(starts[g], stop):
                    none += decay[j]
                for j in range(starts[g], stop):
                    share[i, order[j]] = decay[j] / none
                total -= heat[i] * (most + log(none))
            out[i] = total
    free(fall)
    return least
