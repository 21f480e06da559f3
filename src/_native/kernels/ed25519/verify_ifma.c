/* Verification with the coordinates of points in four lanes of AVX-512 IFMA. */
#include "cpu/cpu.h"

#if PA_CPU_X86_64

#include <string.h>

#define VEC_LANES 4
#include "vec_ifma.h"

#include "quad.h"

#define PA_TARGET PA_CPU_TARGET_AVX512IFMA
#define PA_NAME(name) name##_ifma
#define PA_EQUATION quad_equation
#define pa_sha512_blocks_ifma pa_sha512_blocks_bmi2

#include "verify_scalar.h"

#endif
