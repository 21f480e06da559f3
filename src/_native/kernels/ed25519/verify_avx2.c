/* Verification with the coordinates of points in four lanes in the floating-point units of AVX2 and
 * FMA. */
#include "cpu/cpu.h"

#if PA_CPU_X86_64

#include <string.h>

#include "vec_fma4.h"

#include "quad.h"

#define PA_TARGET PA_CPU_TARGET_AVX2
#define PA_NAME(name) name##_avx2
#define PA_EQUATION quad_equation
#define pa_sha512_blocks_avx2 pa_sha512_blocks_bmi2

#include "verify_scalar.h"

#endif
