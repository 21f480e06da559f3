/* One stream, one lane in the low half of a 128-bit register: AVX-512VL has the rotations and
 * three-operand logic that general registers lack, and 32 registers for 25 lanes. */
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
#define DECLARE(i) lane_t A##i = LOAD_ONE(state + (i)), E##i;
#define STORE(i) _mm_storel_epi64((__m128i *)(void *)(state + (i)), A##i);
#define ABSORB(i) A##i = XOR(A##i, LOAD_ONE(data + 8 * (i)));

PA_CPU_TARGET_AVX512VL
void pa_keccak_absorb_avx512(uint64_t *state, const uint8_t *data, size_t blocks) {
    PA_KECCAK_EACH_LANE(DECLARE)
    for (; blocks > 0; blocks--, data += PA_SHA3_512_RATE) {
        ABSORB(0) ABSORB(1) ABSORB(2) ABSORB(3) ABSORB(4)
        ABSORB(5) ABSORB(6) ABSORB(7) ABSORB(8)
        PA_KECCAK_PERMUTE();
    }
    PA_KECCAK_EACH_LANE(STORE)
}

#endif
