/* The batch with the multiplication of BMI2: one lane. */
#include "lanes.h"

#if PA_CPU_X86_64

#define VEC_INLINE PA_INLINE PA_CPU_TARGET_BMI2
#define VEC_FUNCTION static PA_NOINLINE PA_CPU_TARGET_BMI2
#include "vec_scalar.h"

#include "lanes_point.h"

#include "lanes_decode.h"
#include "lanes_sum.h"

const pa_lanes_kernels PA_LANES_BMI2 = {
    VEC_LANES, 24, 24, lanes_decode, lanes_import, lanes_sum_memory, lanes_sum, NULL,
};

#endif
