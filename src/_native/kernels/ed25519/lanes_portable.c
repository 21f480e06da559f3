/* The batch in standard C: one lane. */
#include "lanes.h"

#define VEC_INLINE PA_INLINE
#define VEC_FUNCTION static PA_NOINLINE
#include "vec_scalar.h"

#include "lanes_point.h"

#include "lanes_decode.h"
#include "lanes_sum.h"

const pa_lanes_kernels PA_LANES_PORTABLE = {
    VEC_LANES, 24, 24, lanes_decode, lanes_import, lanes_sum_memory, lanes_sum, NULL,
};
