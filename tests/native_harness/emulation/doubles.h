/* Registers of doubles: the AVX and FMA intrinsics that the Ed25519 kernels use.
 *
 * Arithmetic is IEEE 754 with the rounding mode of the program, to nearest; fma of the C library
 * rounds once, as the instruction does. */
#ifndef PLUGINAPI_EMULATION_DOUBLES_H
#define PLUGINAPI_EMULATION_DOUBLES_H

#include <math.h>

#include "registers.h"

typedef union {
    _Alignas(32) double f[4];
    uint64_t q[4];
} __m256d;

/* The body of a function: lane i of the result is `expression` of the lanes A, B and C. */
#define EMU_DOUBLES(expression)                                                     \
    __m256d r;                                                                      \
    size_t i;                                                                       \
    for (i = 0; i < 4; i++) {                                                       \
        r.f[i] = (expression);                                                      \
    }                                                                               \
    return r;
#define EMU_DOUBLE_WORDS(expression)                                                \
    __m256d r;                                                                      \
    size_t i;                                                                       \
    for (i = 0; i < 4; i++) {                                                       \
        r.q[i] = (expression);                                                      \
    }                                                                               \
    return r;

/* VADDPD, VSUBPD, VFMADD213PD: one rounding each. */
EMU __m256d _mm256_add_pd(__m256d x, __m256d y) { EMU_DOUBLES(x.f[i] + y.f[i]) }
EMU __m256d _mm256_sub_pd(__m256d x, __m256d y) { EMU_DOUBLES(x.f[i] - y.f[i]) }
EMU __m256d _mm256_fmadd_pd(__m256d x, __m256d y, __m256d z) {
    EMU_DOUBLES(fma(x.f[i], y.f[i], z.f[i]))
}

/* VXORPD of a register with itself, VBROADCASTSD; setr names the lowest lane first. */
EMU __m256d _mm256_setzero_pd(void) { EMU_DOUBLES(0.0) }
EMU __m256d _mm256_set1_pd(double a) { EMU_DOUBLES(a) }
EMU __m256d _mm256_setr_pd(double e0, double e1, double e2, double e3) {
    const double e[4] = {e0, e1, e2, e3};
    EMU_DOUBLES(e[i])
}

/* The same bits with the other type. */
EMU __m256i _mm256_castpd_si256(__m256d x) {
    __m256i r;
    memcpy(&r, &x, sizeof r);
    return r;
}
EMU __m256d _mm256_castsi256_pd(__m256i x) { EMU_DOUBLE_WORDS(x.q[i]) }

/* VBLENDVPD: the second operand where the sign bit of the third is set. */
EMU __m256d _mm256_blendv_pd(__m256d x, __m256d y, __m256d z) {
    EMU_DOUBLE_WORDS(z.q[i] >> 63 ? y.q[i] : x.q[i])
}

/* VMOVMSKPD: the sign bits. */
EMU int _mm256_movemask_pd(__m256d x) {
    return (int)(x.q[0] >> 63 | x.q[1] >> 63 << 1 | x.q[2] >> 63 << 2 | x.q[3] >> 63 << 3);
}

/* VUNPCKLPD, VUNPCKHPD: the low or high doubles of each 128 bits, in turn. */
EMU __m256d _mm256_unpacklo_pd(__m256d x, __m256d y) {
    EMU_DOUBLE_WORDS(i % 2 == 0 ? x.q[i] : y.q[i - 1])
}
EMU __m256d _mm256_unpackhi_pd(__m256d x, __m256d y) {
    EMU_DOUBLE_WORDS(i % 2 == 0 ? x.q[i + 1] : y.q[i])
}

/* VPERM2F128: each half is one of the four halves, or zero. */
EMU __m256d _mm256_permute2f128_pd(__m256d x, __m256d y, int n) {
    EMU_DOUBLE_WORDS(((unsigned)n >> (i / 2 * 4) & 8) != 0 ? 0
                     : ((unsigned)n >> (i / 2 * 4) & 2) != 0
                         ? y.q[((unsigned)n >> (i / 2 * 4) & 1) * 2 + i % 2]
                         : x.q[((unsigned)n >> (i / 2 * 4) & 1) * 2 + i % 2])
}

/* VPERMPD: any lane in each lane, two bits of the immediate for each. */
EMU __m256d _mm256_permute4x64_pd(__m256d x, int n) {
    EMU_DOUBLE_WORDS(x.q[(unsigned)n >> (2 * i) & 3])
}

/* VMOVUPD, VMOVAPD. */
EMU __m256d _mm256_loadu_pd(const void *from) {
    __m256d r;
    memcpy(&r, from, sizeof r);
    return r;
}
EMU __m256d _mm256_load_pd(const void *from) { return *(const __m256d *)from; }
EMU void _mm256_storeu_pd(void *to, __m256d x) { memcpy(to, &x, sizeof x); }
EMU void _mm256_store_pd(void *to, __m256d x) { *(__m256d *)to = x; }

/* STMXCSR, LDMXCSR: the C library's rounding mode is the default, which is the only one that the
 * kernels ask for. */
EMU unsigned _mm_getcsr(void) { return 0x1f80; }
EMU void _mm_setcsr(unsigned state) { (void)state; }

#undef EMU_DOUBLE_WORDS
#undef EMU_DOUBLES

#endif
