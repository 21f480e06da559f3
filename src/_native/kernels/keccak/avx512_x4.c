/* Four streams, one lane of each in a 256-bit register, with the instructions of AVX-512VL. */
#include "keccak.h"

#if PA_CPU_X86_64

#include <immintrin.h>

typedef __m256i lane_t;

#define PA_KECCAK_HAS_XOR3
#define XOR(a, b) _mm256_xor_si256(a, b)
#define XOR3(a, b, c) _mm256_ternarylogic_epi64(a, b, c, 0x96)
#define ROL(a, n) _mm256_rol_epi64(a, n)
#define CHI(a, b, c) _mm256_ternarylogic_epi64(a, b, c, 0xd2)
#define BROADCAST(x) _mm256_set1_epi64x((int64_t)(x))

#include "absorb_x4.h"
#include "round.h"

PA_CPU_TARGET_AVX512VL
void pa_keccak_absorb_x4_avx512(uint64_t *state, const uint8_t *const *data, size_t blocks) {
    PA_KECCAK_ABSORB_X4_BODY
}

#endif
