#include "keccak.h"

/* By CPU level. AVX2 has no rotation and no three-operand logic: it pays for several streams but
 * never for one. Four of AVX-512 cost what one does, eight cost 1.6 times that. */
static const pa_keccak_kernels KERNELS[PA_CPU_LEVELS] = {
    {pa_keccak_absorb_portable, {NULL, NULL, NULL}, "portable"},
#if PA_CPU_X86_64
    {pa_keccak_absorb_bmi2, {NULL, NULL, NULL}, "bmi2"},
    {pa_keccak_absorb_bmi2, {NULL, pa_keccak_absorb_x4_avx2, NULL}, "bmi2, avx2 x4"},
    {pa_keccak_absorb_avx512,
     {pa_keccak_absorb_x2_avx512, pa_keccak_absorb_x4_avx512, pa_keccak_absorb_x8_avx512},
     "avx512vl x1 x2 x4, avx512f x8"},
    {pa_keccak_absorb_avx512,
     {pa_keccak_absorb_x2_avx512, pa_keccak_absorb_x4_avx512, pa_keccak_absorb_x8_avx512},
     "avx512vl x1 x2 x4, avx512f x8"},
#endif
};

const pa_keccak_kernels *pa_keccak_kernels_of(int level) {
    if (level < 0 || level >= PA_CPU_LEVELS || KERNELS[level].one == NULL) {
        return NULL;
    }
    return &KERNELS[level];
}
