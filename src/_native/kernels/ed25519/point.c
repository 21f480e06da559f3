#include "point.h"

#include "base_table.h"

pa_ed25519_status pa_point_decode(pa_point_affine *out, const uint8_t in[32]) {
    return pa_ed25519_decode_portable(out, in);
}

void pa_point_encode(uint8_t out[32], const pa_point *a) {
    pa_fe inverse, x, y;
    pa_fe_invert(&inverse, &a->Z);
    pa_fe_mul(&x, &a->X, &inverse);
    pa_fe_mul(&y, &a->Y, &inverse);
    pa_fe_to_bytes(out, &y);
    out[31] = (uint8_t)(out[31] | pa_fe_is_negative(&x) << 7);
}

pa_ed25519_status pa_point_flaw(const uint8_t in[32]) {
    pa_fe y;
    if (!pa_fe_from_bytes_checked(&y, in)) {
        return PA_ED25519_KEY_NOT_CANONICAL;
    }
    return pa_point_small_order(in) ? PA_ED25519_KEY_SMALL_ORDER : PA_ED25519_OK;
}

int pa_point_small_order(const uint8_t in[32]) {
    /* y of the points of order 4, 1, 2, and 8 twice, the least significant word first. */
    static const uint64_t Y[5][4] = {
        {0, 0, 0, 0},
        {1, 0, 0, 0},
        {UINT64_C(0xffffffffffffffec), UINT64_MAX, UINT64_MAX, UINT64_MAX >> 1},
        {UINT64_C(0xb027b2c28f95e826), UINT64_C(0xf098eff289f4c345), UINT64_C(0x3933c6d305acdfd5),
         UINT64_C(0x05fc536d880238b1)},
        {UINT64_C(0x4fd84d3d706a17c7), UINT64_C(0x0f67100d760b3cba), UINT64_C(0xc6cc392cfa53202a),
         UINT64_C(0x7a03ac9277fdc74e)},
    };
    const uint64_t y0 = pa_load64(in), y1 = pa_load64(in + 8), y2 = pa_load64(in + 16),
                   y3 = pa_load64(in + 24) & (UINT64_MAX >> 1);
    int i;
    for (i = 0; i < 5; i++) {
        if (y0 == Y[i][0] && y1 == Y[i][1] && y2 == Y[i][2] && y3 == Y[i][3]) {
            return 1;
        }
    }
    return 0;
}
