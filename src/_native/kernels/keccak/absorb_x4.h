/* The body of a kernel for four streams in 256-bit registers, shared by AVX2 and AVX-512VL. The
 * including function has `state`, `data` and `blocks`; the file has included immintrin.h. */
#ifndef PLUGINAPI_KECCAK_ABSORB_X4_H
#define PLUGINAPI_KECCAK_ABSORB_X4_H

#define LOAD_FOUR(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))

#define DECLARE(i) lane_t A##i = LOAD_FOUR(state + 4 * (i)), E##i;
#define STORE(i) _mm256_storeu_si256((__m256i *)(void *)(state + 4 * (i)), A##i);

/* Absorb lanes i..i+3: a transposition of 4 x 4 words, from one stream a register to one lane. */
#define ABSORB_FOUR(a0, a1, a2, a3, offset)                          \
    do {                                                             \
        const __m256i r0 = LOAD_FOUR(p0 + (offset));                 \
        const __m256i r1 = LOAD_FOUR(p1 + (offset));                 \
        const __m256i r2 = LOAD_FOUR(p2 + (offset));                 \
        const __m256i r3 = LOAD_FOUR(p3 + (offset));                 \
        const __m256i even01 = _mm256_unpacklo_epi64(r0, r1);        \
        const __m256i odd01 = _mm256_unpackhi_epi64(r0, r1);         \
        const __m256i even23 = _mm256_unpacklo_epi64(r2, r3);        \
        const __m256i odd23 = _mm256_unpackhi_epi64(r2, r3);         \
        a0 = XOR(a0, _mm256_permute2x128_si256(even01, even23, 0x20)); \
        a1 = XOR(a1, _mm256_permute2x128_si256(odd01, odd23, 0x20)); \
        a2 = XOR(a2, _mm256_permute2x128_si256(even01, even23, 0x31)); \
        a3 = XOR(a3, _mm256_permute2x128_si256(odd01, odd23, 0x31)); \
    } while (0)

#define LOAD_ONE(p) _mm_loadl_epi64((const __m128i *)(const void *)(p))

#define PA_KECCAK_ABSORB_X4_BODY                                                      \
    const uint8_t *p0 = data[0], *p1 = data[1], *p2 = data[2], *p3 = data[3];         \
    PA_KECCAK_EACH_LANE(DECLARE)                                                      \
    for (; blocks > 0; blocks--) {                                                    \
        ABSORB_FOUR(A0, A1, A2, A3, 0);                                               \
        ABSORB_FOUR(A4, A5, A6, A7, 32);                                              \
        A8 = XOR(A8, _mm256_set_m128i(                                                \
                         _mm_unpacklo_epi64(LOAD_ONE(p2 + 64), LOAD_ONE(p3 + 64)),    \
                         _mm_unpacklo_epi64(LOAD_ONE(p0 + 64), LOAD_ONE(p1 + 64))));  \
        p0 += PA_SHA3_512_RATE;                                                       \
        p1 += PA_SHA3_512_RATE;                                                       \
        p2 += PA_SHA3_512_RATE;                                                       \
        p3 += PA_SHA3_512_RATE;                                                       \
        PA_KECCAK_PERMUTE();                                                          \
    }                                                                                 \
    PA_KECCAK_EACH_LANE(STORE)

#endif
