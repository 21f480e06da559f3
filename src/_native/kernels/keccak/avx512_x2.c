/* Two streams, one lane of each in a 128-bit register, at the cost of one (AVX-512VL). */
#include "keccak.h"

#if PA_CPU_X86_64

#include <immintrin.h>

typedef __m128i lane_t;

#define PA_KECCAK_HAS_XOR3
#define XOR(a, b) _mm_xor_si128(a, b)
#define XOR3(a, b, c) _mm_ternarylogic_epi64(a, b, c, 0x96)
#define ROL(a, n) _mm_rol_epi64(a, n)
#define CHI(a, b, c) _mm_ternarylogic_epi64(a, b, c, 0xd2)
#define BROADCAST(x) _mm_set1_epi64x((int64_t)(x))

#include "round.h"

#define LOAD_ONE(p) _mm_loadl_epi64((const __m128i *)(const void *)(p))
#define LOAD_TWO(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define DECLARE(i) lane_t A##i = LOAD_TWO(state + 2 * (i)), E##i;
#define STORE(i) _mm_storeu_si128((__m128i *)(void *)(state + 2 * (i)), A##i);

#define ABSORB_TWO(a, b, offset)                           \
    do {                                                   \
        const __m128i r0 = LOAD_TWO(p0 + (offset));        \
        const __m128i r1 = LOAD_TWO(p1 + (offset));        \
        a = XOR(a, _mm_unpacklo_epi64(r0, r1));            \
        b = XOR(b, _mm_unpackhi_epi64(r0, r1));            \
    } while (0)

PA_CPU_TARGET_AVX512VL
void pa_keccak_absorb_x2_avx512(uint64_t *state, const uint8_t *const *data, size_t blocks) {
    const uint8_t *p0 = data[0], *p1 = data[1];
    PA_KECCAK_EACH_LANE(DECLARE)
    for (; blocks > 0; blocks--) {
        ABSORB_TWO(A0, A1, 0);
        ABSORB_TWO(A2, A3, 16);
        ABSORB_TWO(A4, A5, 32);
        ABSORB_TWO(A6, A7, 48);
        A8 = XOR(A8, _mm_unpacklo_epi64(LOAD_ONE(p0 + 64), LOAD_ONE(p1 + 64)));
        p0 += PA_SHA3_512_RATE;
        p1 += PA_SHA3_512_RATE;
        PA_KECCAK_PERMUTE();
    }
    PA_KECCAK_EACH_LANE(STORE)
}

#endif
