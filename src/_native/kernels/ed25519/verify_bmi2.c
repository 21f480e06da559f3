/* Verification with the multiplication of BMI2 (mulx), which leaves the flags and takes any
 * registers. */
#include "cpu/cpu.h"

#if PA_CPU_X86_64

#define PA_TARGET PA_CPU_TARGET_BMI2
#define PA_NAME(name) name##_bmi2

#include "verify_scalar.h"

#endif
