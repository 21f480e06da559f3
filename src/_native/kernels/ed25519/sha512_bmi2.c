/* SHA-512 with the rotations of BMI2 (rorx) and the and-not of BMI1 (andn). */
#include "sha512_blocks.h"

#if PA_CPU_X86_64

PA_CPU_TARGET_BMI2
void pa_sha512_blocks_bmi2(uint64_t state[8], const uint8_t *data, size_t blocks) {
    PA_SHA512_BLOCKS_BODY
}

#endif
