/* Four lanes in the floating-point units of AVX2 and FMA. */
#include "lanes.h"

#if PA_CPU_X86_64

#include <string.h>

#include "vec_fma4.h"

#include "lanes_point.h"

#include "lanes_decode.h"
#include "lanes_sum.h"

#include "lanes_each.h"

const pa_lanes_kernels PA_LANES_AVX2 = {
    VEC_LANES, 4, 16, lanes_decode, lanes_import, lanes_sum_memory, lanes_sum, lanes_each,
};

#endif
