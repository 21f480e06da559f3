/* One stream with the rotations of BMI2 (rorx) and the and-not of BMI1 (andn). */
#include "absorb_scalar.h"
#include "keccak.h"

#if PA_CPU_X86_64

/* GCC's second scheduling pass moves spills of the 25 lanes apart from their uses, which costs 3 %
 * on Zen 3: the processor orders these independent operations by itself. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns2")
#endif

PA_CPU_TARGET_BMI2
void pa_keccak_absorb_bmi2(uint64_t *state, const uint8_t *data, size_t blocks) {
    PA_KECCAK_ABSORB_SCALAR_BODY
}

#endif
