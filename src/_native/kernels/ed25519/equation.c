#include "equation.h"

#include <string.h>

#include "half.h"

void pa_equation_of(pa_equation *out, const uint8_t s[32], const pa_sc *k) {
    pa_half half;
    pa_sc d = {{0, 0, 0, 0}}, e;
    uint64_t low[2], high[2];
    pa_half_of(&half, k);
    d.v[0] = half.d[0];
    d.v[1] = half.d[1];
    pa_sc_from_bytes(&e, s);
    pa_sc_mul(&e, &d, &e);
    low[0] = e.v[0];
    low[1] = e.v[1] & (UINT64_MAX >> 1);
    high[0] = e.v[1] >> 63 | e.v[2] << 1;
    high[1] = e.v[2] >> 63 | e.v[3] << 1;
    memset(out, 0, sizeof *out);
    pa_recode(&out->digits[0][0], 4, half.d, PA_EQUATION_POINT_WIDTH, -1);
    pa_recode(&out->digits[0][1], 4, half.c, PA_EQUATION_POINT_WIDTH, half.negative ? 1 : -1);
    pa_recode(&out->digits[0][2], 4, low, PA_EQUATION_BASE_WIDTH, 1);
    pa_recode(&out->digits[0][3], 4, high, PA_EQUATION_BASE_WIDTH, 1);
}
