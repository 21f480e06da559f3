/* Eight lanes with AVX-512 IFMA. */
#include "lanes.h"

#if PA_CPU_X86_64

#include <string.h>

#define VEC_LANES 8
#include "vec_ifma.h"

#include "lanes_point.h"

#include "lanes_decode.h"
#include "lanes_sum.h"

#include "lanes_each.h"

const pa_lanes_kernels PA_LANES_IFMA = {
    VEC_LANES, 3, 24, lanes_decode, lanes_import, lanes_sum_memory, lanes_sum, lanes_each,
};

#endif
