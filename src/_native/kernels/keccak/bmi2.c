/* One stream with the rotations of BMI2 (rorx) and the and-not of BMI1 (andn). */
#include "absorb_scalar.h"
#include "keccak.h"

#if PA_CPU_X86_64

PA_CPU_TARGET_BMI2
void pa_keccak_absorb_bmi2(uint64_t *state, const uint8_t *data, size_t blocks) {
    PA_KECCAK_ABSORB_SCALAR_BODY
}

#endif
