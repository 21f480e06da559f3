#include "ed25519.h"
#include "lanes.h"

#define KERNELS_OF(path, sha512, lanes, names)                                             \
    {pa_ed25519_verify_##path, pa_ed25519_verify_encoded_##path, pa_ed25519_decode_##path, \
     pa_sha512_blocks_##sha512, lanes, names}

/* By CPU level. */
static const pa_ed25519_kernels KERNELS[PA_CPU_LEVELS] = {
    KERNELS_OF(portable, portable, &PA_LANES_PORTABLE, "portable"),
#if PA_CPU_X86_64
    KERNELS_OF(bmi2, bmi2, &PA_LANES_BMI2, "bmi2"),
    KERNELS_OF(avx2, bmi2, &PA_LANES_AVX2, "avx2 fma x4"),
    KERNELS_OF(avx2, bmi2, &PA_LANES_AVX2, "avx2 fma x4"),
    KERNELS_OF(ifma, bmi2, &PA_LANES_IFMA, "avx512 ifma x4 x8"),
#endif
};

const pa_ed25519_kernels *pa_ed25519_kernels_of(int level) {
    if (level < 0 || level >= PA_CPU_LEVELS || KERNELS[level].verify == NULL) {
        return NULL;
    }
    return &KERNELS[level];
}
