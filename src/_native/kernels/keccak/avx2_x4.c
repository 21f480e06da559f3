/* Four streams, one lane of each in a 256-bit register, without AVX-512. */
#include "keccak.h"

#if PA_CPU_X86_64

#include <immintrin.h>

typedef __m256i lane_t;

/* Rotations by whole bytes are one shuffle instead of two shifts and an or. */
#define ROL_BY_8 \
    _mm256_broadcastsi128_si256(_mm_set_epi8(14, 13, 12, 11, 10, 9, 8, 15, 6, 5, 4, 3, 2, 1, 0, 7))
#define ROL_BY_56 \
    _mm256_broadcastsi128_si256(_mm_set_epi8(8, 15, 14, 13, 12, 11, 10, 9, 0, 7, 6, 5, 4, 3, 2, 1))

#define XOR(a, b) _mm256_xor_si256(a, b)
#define ROL(a, n)                                    \
    ((n) == 8    ? _mm256_shuffle_epi8(a, ROL_BY_8)  \
     : (n) == 56 ? _mm256_shuffle_epi8(a, ROL_BY_56) \
                 : _mm256_or_si256(_mm256_slli_epi64(a, n), _mm256_srli_epi64(a, 64 - (n))))
#define CHI(a, b, c) _mm256_xor_si256(a, _mm256_andnot_si256(b, c))
#define BROADCAST(x) _mm256_set1_epi64x((int64_t)(x))

#include "absorb_x4.h"
#include "round.h"

PA_CPU_TARGET_AVX2
void pa_keccak_absorb_x4_avx2(uint64_t *state, const uint8_t *const *data, size_t blocks) {
    PA_KECCAK_ABSORB_X4_BODY
}

#endif
