/* Eight streams, one lane of each in a 512-bit register. */
#include "keccak.h"

#if PA_CPU_X86_64

#include <immintrin.h>

typedef __m512i lane_t;

#define PA_KECCAK_HAS_XOR3
#define XOR(a, b) _mm512_xor_si512(a, b)
#define XOR3(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)
#define ROL(a, n) _mm512_rol_epi64(a, n)
#define CHI(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xd2)
#define BROADCAST(x) _mm512_set1_epi64((int64_t)(x))

#include "round.h"

#define LOAD_EIGHT(p) _mm512_loadu_si512((const void *)(p))
#define DECLARE(i) lane_t A##i = LOAD_EIGHT(state + 8 * (i)), E##i;
#define STORE(i) _mm512_storeu_si512((void *)(state + 8 * (i)), A##i);

/* Absorb the first eight lanes: a transposition of 8 x 8 words, from one stream a register to one
 * lane. Gathers would do it in fewer instructions, but the fix of CVE-2022-40982 makes them very
 * slow on most processors that have AVX-512. */
#define ABSORB_EIGHT()                                                              \
    do {                                                                            \
        const __m512i r0 = LOAD_EIGHT(p[0]), r1 = LOAD_EIGHT(p[1]);                 \
        const __m512i r2 = LOAD_EIGHT(p[2]), r3 = LOAD_EIGHT(p[3]);                 \
        const __m512i r4 = LOAD_EIGHT(p[4]), r5 = LOAD_EIGHT(p[5]);                 \
        const __m512i r6 = LOAD_EIGHT(p[6]), r7 = LOAD_EIGHT(p[7]);                 \
        /* Pairs of streams: lanes 0 2 4 6 and 1 3 5 7 of two, then of four. */     \
        const __m512i even01 = _mm512_unpacklo_epi64(r0, r1);                       \
        const __m512i odd01 = _mm512_unpackhi_epi64(r0, r1);                        \
        const __m512i even23 = _mm512_unpacklo_epi64(r2, r3);                       \
        const __m512i odd23 = _mm512_unpackhi_epi64(r2, r3);                        \
        const __m512i even45 = _mm512_unpacklo_epi64(r4, r5);                       \
        const __m512i odd45 = _mm512_unpackhi_epi64(r4, r5);                        \
        const __m512i even67 = _mm512_unpacklo_epi64(r6, r7);                       \
        const __m512i odd67 = _mm512_unpackhi_epi64(r6, r7);                        \
        const __m512i low_even = _mm512_shuffle_i64x2(even01, even23, 0x88);        \
        const __m512i high_even = _mm512_shuffle_i64x2(even45, even67, 0x88);       \
        const __m512i low_even2 = _mm512_shuffle_i64x2(even01, even23, 0xdd);       \
        const __m512i high_even2 = _mm512_shuffle_i64x2(even45, even67, 0xdd);      \
        const __m512i low_odd = _mm512_shuffle_i64x2(odd01, odd23, 0x88);           \
        const __m512i high_odd = _mm512_shuffle_i64x2(odd45, odd67, 0x88);          \
        const __m512i low_odd2 = _mm512_shuffle_i64x2(odd01, odd23, 0xdd);          \
        const __m512i high_odd2 = _mm512_shuffle_i64x2(odd45, odd67, 0xdd);         \
        A0 = XOR(A0, _mm512_shuffle_i64x2(low_even, high_even, 0x88));              \
        A4 = XOR(A4, _mm512_shuffle_i64x2(low_even, high_even, 0xdd));              \
        A2 = XOR(A2, _mm512_shuffle_i64x2(low_even2, high_even2, 0x88));            \
        A6 = XOR(A6, _mm512_shuffle_i64x2(low_even2, high_even2, 0xdd));            \
        A1 = XOR(A1, _mm512_shuffle_i64x2(low_odd, high_odd, 0x88));                \
        A5 = XOR(A5, _mm512_shuffle_i64x2(low_odd, high_odd, 0xdd));                \
        A3 = XOR(A3, _mm512_shuffle_i64x2(low_odd2, high_odd2, 0x88));              \
        A7 = XOR(A7, _mm512_shuffle_i64x2(low_odd2, high_odd2, 0xdd));              \
    } while (0)

#define LOAD_ONE(i) _mm_loadl_epi64((const __m128i *)(const void *)(p[i] + 64))
#define PAIR(i, j) _mm_unpacklo_epi64(LOAD_ONE(i), LOAD_ONE(j))
#define FOUR(i, j, k, l) _mm256_inserti128_si256(_mm256_castsi128_si256(PAIR(i, j)), PAIR(k, l), 1)

/* How far ahead of the eight streams memory is asked for: more streams than some processors'
 * prefetchers follow. Addresses beyond the end are no error. */
#define PREFETCH_BYTES 288

/* Absorb the ninth lane. */
#define ABSORB_NINTH()                                                                   \
    A8 = XOR(A8, _mm512_inserti64x4(_mm512_castsi256_si512(FOUR(0, 1, 2, 3)), FOUR(4, 5, 6, 7), 1))

PA_CPU_TARGET_AVX512VL
void pa_keccak_absorb_x8_avx512(uint64_t *state, const uint8_t *const *data, size_t blocks) {
    const uint8_t *p[8];
    int i;
    PA_KECCAK_EACH_LANE(DECLARE)
    for (i = 0; i < 8; i++) {
        p[i] = data[i];
    }
    for (; blocks > 0; blocks--) {
        ABSORB_EIGHT();
        ABSORB_NINTH();
        for (i = 0; i < 8; i++) {
            p[i] += PA_SHA3_512_RATE;
            _mm_prefetch((const char *)((uintptr_t)p[i] + PREFETCH_BYTES), _MM_HINT_T0);
        }
        PA_KECCAK_PERMUTE();
    }
    PA_KECCAK_EACH_LANE(STORE)
}

#endif
