"""The vector loops of ``_simd.h``, which says what each computes."""

from libc.stdint cimport uint64_t

cdef extern from "_simd.h":
    double mtp_dot(const double *a, const double *b, Py_ssize_t n) noexcept nogil
    void mtp_dot2(const double *a, const double *b, const double *c, Py_ssize_t n, double *s) noexcept nogil
    double mtp_single_dot(const float *a, const double *b, Py_ssize_t n) noexcept nogil
    void mtp_single_dot2(const float *a, const double *b, const double *c, Py_ssize_t n, double *s) noexcept nogil
    void mtp_single_axpy(Py_ssize_t n, double t, const float *x, double *y) noexcept nogil
    double mtp_bits_dot(const uint64_t *q, const double *b, Py_ssize_t n) noexcept nogil
    void mtp_bits_axpy(Py_ssize_t n, double t, const uint64_t *q, double *y) noexcept nogil
    double mtp_corner_dot(
        const uint64_t *q, const double *low, const double *high, const double *b, Py_ssize_t n
    ) noexcept nogil
    void mtp_corner_axpy(
        Py_ssize_t n, double t, const uint64_t *q, const double *low, const double *high, double *y
    ) noexcept nogil
    void mtp_sparse_dot2(
        const double *a, const int *j, const double *b, const double *c, Py_ssize_t n, double *s
    ) noexcept nogil
    void mtp_prefetch(const void *a, Py_ssize_t n) noexcept nogil
    void mtp_short_dot2(
        const unsigned int *q, const float *b, const float *c, Py_ssize_t n, double *s
    ) noexcept nogil
    int mtp_widen(Py_ssize_t n, const double *x, double *low, double *high) noexcept nogil
    Py_ssize_t mtp_code(
        Py_ssize_t n, const double *x, const double *low, const double *width, const double *unit,
        unsigned int *q, double *left, double *size
    ) noexcept nogil
    void mtp_axpy(Py_ssize_t n, double t, const double *x, double *y) noexcept nogil
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
