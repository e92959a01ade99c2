/* The vector loops of the compiled core: `static`, so that each extension has its own and no call crosses one.
   On x86-64 with gcc and glibc each is compiled for three generations of processors; the loader picks one. */
#ifndef MTP_SIMD_H
#define MTP_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Not every extension uses every loop. */
#ifdef __GNUC__
#define MTP_UNUSED __attribute__((unused))
#else
#define MTP_UNUSED
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define MTP_CLONES MTP_UNUSED __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define MTP_CLONES MTP_UNUSED
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

/* the same loops for a row of singles, every entry of which is a double exactly */
MTP_CLONES
static double mtp_single_dot(const float *a, const double *b, ptrdiff_t n) {
    double s = 0.0;
    ptrdiff_t i;
    #pragma omp simd reduction(+:s)
    for (i = 0; i < n; i++) s += (double)a[i] * b[i];
    return s;
}

MTP_CLONES
static void mtp_single_dot2(const float *a, const double *b, const double *c, ptrdiff_t n, double *s) {
    double s0 = 0.0, s1 = 0.0;
    ptrdiff_t i;
    #pragma omp simd reduction(+:s0, s1)
    for (i = 0; i < n; i++) { s0 += (double)a[i] * b[i]; s1 += (double)a[i] * c[i]; }
    s[0] = s0;
    s[1] = s1;
}

MTP_CLONES
static void mtp_single_axpy(ptrdiff_t n, double t, const float *x, double *y) {
    ptrdiff_t i;
    #pragma omp simd
    for (i = 0; i < n; i++) y[i] += t * (double)x[i];
}

/* the same loops for a corner of a box: bit j of the words says whether entry j is high[j] or low[j] */
MTP_CLONES
static double mtp_corner_dot(const uint64_t *q, const double *low, const double *high, const double *b, ptrdiff_t n) {
    double lane[16] = {0}, s = 0.0;
    ptrdiff_t i, k, t;
    for (i = 0; i + 64 <= n; i += 64, q++) {
        for (k = 0; k < 64; k += 16) {
            const uint64_t w = *q >> k;
            const double *l = low + i + k, *h = high + i + k, *v = b + i + k;
            #pragma omp simd
            for (t = 0; t < 16; t++) { double f = h[t], e = l[t]; lane[t] += (w & (uint64_t)1 << t ? f : e) * v[t]; }
        }
    }
    for (; i < n; i++) s += (*q >> i % 64 & 1 ? high[i] : low[i]) * b[i];
    for (t = 0; t < 16; t++) s += lane[t];
    return s;
}

MTP_CLONES
static void mtp_corner_axpy(ptrdiff_t n, double t, const uint64_t *q, const double *low, const double *high, double *y) {
    ptrdiff_t i, k;
    for (i = 0; i + 64 <= n; i += 64, q++) {
        const uint64_t w = *q;
        const double *l = low + i, *h = high + i;
        double *v = y + i;
        #pragma omp simd
        for (k = 0; k < 64; k++) { double f = h[k], e = l[k]; v[k] += t * (w & (uint64_t)1 << k ? f : e); }
    }
    for (; i < n; i++) y[i] += t * (*q >> i % 64 & 1 ? high[i] : low[i]);
}

/* the same for corners of the unit box: low 0 and high 1 */
MTP_CLONES
static double mtp_bits_dot(const uint64_t *q, const double *b, ptrdiff_t n) {
    double lane[16] = {0}, s = 0.0;
    ptrdiff_t i, k, t;
    for (i = 0; i + 64 <= n; i += 64, q++) {
        for (k = 0; k < 64; k += 16) {
            const uint64_t w = *q >> k;
            const double *v = b + i + k;
            #pragma omp simd
            for (t = 0; t < 16; t++) { double f = v[t]; lane[t] += w & (uint64_t)1 << t ? f : 0.0; }
        }
    }
    for (; i < n; i++) s += *q >> i % 64 & 1 ? b[i] : 0.0;
    for (t = 0; t < 16; t++) s += lane[t];
    return s;
}

MTP_CLONES
static void mtp_bits_axpy(ptrdiff_t n, double t, const uint64_t *q, double *y) {
    ptrdiff_t i, k;
    for (i = 0; i + 64 <= n; i += 64, q++) {
        const uint64_t w = *q;
        double *v = y + i;
        #pragma omp simd
        for (k = 0; k < 64; k++) v[k] += w & (uint64_t)1 << k ? t : 0.0;
    }
    for (; i < n; i++) y[i] += *q >> i % 64 & 1 ? t : 0.0;
}

/* both products of a row of n entries a[i] in columns j[i] */
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
MTP_UNUSED
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

/* let low and high reach to x; whether they did not */
MTP_CLONES
static int mtp_widen(ptrdiff_t n, const double *x, double *low, double *high) {
    ptrdiff_t i;
    int changed = 0;
    #pragma omp simd reduction(|:changed)
    for (i = 0; i < n; i++) {
        double a = x[i], l = low[i], h = high[i];
        changed |= (a < l) | (a > h);
        low[i] = a < l ? a : l;
        high[i] = a > h ? a : h;
    }
    return changed;
}

/* q: the codes of x (n entries of whole blocks) in units of width above low, for mtp_short_dot2; left: what they miss.
   `unit` is 1 / width, or 0. Returns the first entry that is missed most; size: the sum of the squares of what the
   codes stand for. */
MTP_CLONES
static ptrdiff_t mtp_code(
    ptrdiff_t n, const double *x, const double *low, const double *width, const double *unit, uint32_t *q, double *left,
    double *size
) {
    double s = 0.0, lane[16] = {0}, most = 0.0;
    ptrdiff_t i, t;
    #pragma omp simd
    for (i = 0; i < n; i++) { double a = (x[i] - low[i]) * unit[i] + 0.5; left[i] = a > 0.0 ? a : 0.0; }
    #pragma omp simd
    for (i = 0; i < n; i++) { double a = left[i]; left[i] = a < 255.0 ? a : 255.0; }
    for (i = 0; i < n; i += 64) {
        #pragma omp simd
        for (t = 0; t < 16; t++) {
            const double *a = left + i + t;
            q[t] = (uint32_t)((int32_t)a[0] | (int32_t)a[16] << 8 | (int32_t)a[32] << 16)
                | (uint32_t)(int32_t)a[48] << 24;
        }
        q += 16;
    }
    #pragma omp simd reduction(+:s)
    for (i = 0; i < n; i++) {
        double a = low[i] + width[i] * (double)(int32_t)left[i];
        left[i] = x[i] - a;
        s += a * a;
    }
    *size = s;
    for (i = 0; i < n; i += 16) {
        #pragma omp simd
        for (t = 0; t < 16; t++) { double a = fabs(left[i + t]), l = lane[t]; lane[t] = a > l ? a : l; }
    }
    for (t = 0; t < 16; t++) most = lane[t] > most ? lane[t] : most;
    for (i = 0; i < n; i++) if (fabs(left[i]) == most) return i;
    return 0;
}

MTP_CLONES
static void mtp_axpy(ptrdiff_t n, double t, const double *x, double *y) {
    ptrdiff_t i;
    #pragma omp simd
    for (i = 0; i < n; i++) y[i] += t * x[i];
}

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
MTP_UNUSED
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
MTP_UNUSED
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
   log(1 + e) = 2 artanh(e / (2 + e)), or log(2) more than the same for (e - 1) / 2. What depends on a comparison
   comes first, in a loop of its own: branches that nobody foresees would stand in the way of vectors. */
MTP_CLONES
static void mtp_log_loss(ptrdiff_t n, const double *m, const double *e, double *value, double *slope) {
    ptrdiff_t i;
    #pragma omp simd
    for (i = 0; i < n; i++) value[i] = e[i] > 0.41421356 ? 1.0 : 0.0;
    #pragma omp simd
    for (i = 0; i < n; i++) { double f = e[i]; slope[i] = m[i] > 0.0 ? f : 1.0; }
    #pragma omp simd
    for (i = 0; i < n; i++) {
        double big = value[i], u = (e[i] - big) / ((2.0 + big) + e[i]), w = u * u, v = w * w, z, y;
        z = 1.0 / 19;         y = 1.0 / 21;
        z = z * v + 1.0 / 15; y = y * v + 1.0 / 17;
        z = z * v + 1.0 / 11; y = y * v + 1.0 / 13;
        z = z * v + 1.0 / 7;  y = y * v + 1.0 / 9;
        z = z * v + 1.0 / 3;  y = y * v + 1.0 / 5;
        value[i] = 0.5 * (fabs(m[i]) - m[i])
            + (big * 0.6931471805599453 + 2.0 * (u + u * w * (z + w * y)));
        slope[i] /= 1.0 + e[i];
    }
}

#endif
