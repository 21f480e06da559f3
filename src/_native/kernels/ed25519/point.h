/* Points of the curve -x^2 + y^2 = 1 + d x^2 y^2 over the field of 2^255 - 19 (RFC 8032, 5.1).
 *
 * Extended coordinates and their formulas: Hisil, Wong, Carter, Dawson, "Twisted Edwards Curves
 * Revisited" (2008), with a = -1. They are complete: no pair of points is an exception. Coordinates
 * of points are tight, those of the prepared forms loose (see field.h). */
#ifndef PLUGINAPI_ED25519_POINT_H
#define PLUGINAPI_ED25519_POINT_H

#include <string.h>

#include "ed25519.h"
#include "field.h"

/* x = X / Z, y = Y / Z, x y = T / Z. */
typedef struct pa_point {
    pa_fe X, Y, Z, T;
} pa_point;

/* What an addition or doubling leaves before the last multiplications: x = X / Z, y = Y / T. */
typedef struct pa_point_completed {
    pa_fe X, Y, Z, T;
} pa_point_completed;

/* A point prepared for being added: y + x and y - x times Z, Z, and 2 d x y times Z. Adding its
 * negative is adding with the two sums exchanged and the last one negated. */
typedef struct pa_point_niels {
    pa_fe sums[2]; /* Y + X, Y - X */
    pa_fe Z;
    pa_fe T2d;
} pa_point_niels;

/* The same with Z = 1. */
typedef struct pa_point_niels_affine {
    pa_fe sums[2]; /* y + x, y - x */
    pa_fe xy2d;
} pa_point_niels_affine;

/* d = -121665 / 121666, 2 d, and a square root of -1 (RFC 8032, 5.1). */
static const pa_fe PA_FE_D = {{UINT64_C(0x34dca135978a3), UINT64_C(0x1a8283b156ebd),
                               UINT64_C(0x5e7a26001c029), UINT64_C(0x739c663a03cbb),
                               UINT64_C(0x52036cee2b6ff)}};
static const pa_fe PA_FE_2D = {{UINT64_C(0x69b9426b2f159), UINT64_C(0x35050762add7a),
                                UINT64_C(0x3cf44c0038052), UINT64_C(0x6738cc7407977),
                                UINT64_C(0x2406d9dc56dff)}};
static const pa_fe PA_FE_SQRT_M1 = {{UINT64_C(0x61b274a0ea0b0), UINT64_C(0x0d5a5fc8f189d),
                                     UINT64_C(0x7ef5e9cbd0c60), UINT64_C(0x78595a6804c9e),
                                     UINT64_C(0x2b8324804fc1d)}};

extern const pa_point_affine PA_BASE_POINT;

/* Multiples of the base point, B, 2B, ... 128B, and of 2^127 B. Made by
 * scripts/ed25519_tables.py. */
#define PA_BASE_MULTIPLES 128
extern const pa_point_niels_affine PA_BASE_TABLE[2][PA_BASE_MULTIPLES];

/* Say what is wrong with an encoding of a point, short of whether it is on the curve:
 * PA_ED25519_KEY_NOT_CANONICAL, _SMALL_ORDER or PA_ED25519_OK. */
pa_ed25519_status pa_point_flaw(const uint8_t in[32]);

/* Read a point as a key is read; `out` is set only with PA_ED25519_OK, the other answers are
 * PA_ED25519_KEY_NOT_CANONICAL, _SMALL_ORDER and _NOT_ON_CURVE, in this order. Out of the
 * portable kernels; pa_ed25519_kernels has the faster ones. */
pa_ed25519_status pa_point_decode(pa_point_affine *out, const uint8_t in[32]);

/* Write the 32 bytes of RFC 8032, 5.1.2. */
void pa_point_encode(uint8_t out[32], const pa_point *a);

/* Return 1 when these 32 bytes have the y of one of the eight points whose order divides 8. */
int pa_point_small_order(const uint8_t in[32]);

PA_INLINE void pa_point_identity(pa_point *out) {
    pa_fe_zero(&out->X);
    pa_fe_one(&out->Y);
    pa_fe_one(&out->Z);
    pa_fe_zero(&out->T);
}

PA_INLINE void pa_point_from_affine(pa_point *out, const pa_point_affine *a) {
    out->X = a->x;
    out->Y = a->y;
    pa_fe_one(&out->Z);
    pa_fe_mul(&out->T, &a->x, &a->y);
}

PA_INLINE void pa_point_prepare(pa_point_niels *out, const pa_point *a) {
    pa_fe_add(&out->sums[0], &a->Y, &a->X);
    pa_fe_sub(&out->sums[1], &a->Y, &a->X);
    out->Z = a->Z;
    pa_fe_mul(&out->T2d, &a->T, &PA_FE_2D);
}

/* Finish, without T: enough for a doubling that follows. */
PA_INLINE void pa_point_complete_xyz(pa_point *out, const pa_point_completed *a) {
    pa_fe_mul(&out->X, &a->X, &a->T);
    pa_fe_mul(&out->Y, &a->Y, &a->Z);
    pa_fe_mul(&out->Z, &a->Z, &a->T);
}

PA_INLINE void pa_point_complete(pa_point *out, const pa_point_completed *a) {
    pa_point_complete_xyz(out, a);
    pa_fe_mul(&out->T, &a->X, &a->Y);
}

/* out = 2 a; T of a is not read. */
PA_INLINE void pa_point_double(pa_point_completed *out, const pa_point *a) {
    pa_fe xx, yy, zz, sum;
    pa_fe_sqr(&xx, &a->X);
    pa_fe_sqr(&yy, &a->Y);
    pa_fe_sqr(&zz, &a->Z);
    pa_fe_add(&sum, &a->X, &a->Y);
    pa_fe_sqr(&sum, &sum);
    pa_fe_add(&out->Y, &yy, &xx);
    pa_fe_sub(&out->Z, &yy, &xx);
    pa_fe_sub(&out->X, &sum, &out->Y);
    /* 2 zz + xx - yy: limbs below 3 * 2^51 + 2^53, which is loose. */
    pa_fe_add(&sum, &zz, &zz);
    pa_fe_add(&sum, &sum, &xx);
    pa_fe_sub(&out->T, &sum, &yy);
}

/* out = a + b, or a - b when `negative` is 1. */
PA_INLINE void pa_point_add(pa_point_completed *out, const pa_point *a, const pa_point_niels *b,
                            int negative) {
    pa_fe plus, minus, t, z;
    pa_fe_add(&plus, &a->Y, &a->X);
    pa_fe_sub(&minus, &a->Y, &a->X);
    pa_fe_mul(&plus, &plus, &b->sums[negative]);
    pa_fe_mul(&minus, &minus, &b->sums[negative ^ 1]);
    pa_fe_mul(&t, &a->T, &b->T2d);
    pa_fe_mul(&z, &a->Z, &b->Z);
    pa_fe_add(&z, &z, &z);
    pa_fe_sub(&out->X, &plus, &minus);
    pa_fe_add(&out->Y, &plus, &minus);
    pa_fe_add(negative ? &out->T : &out->Z, &z, &t);
    pa_fe_sub(negative ? &out->Z : &out->T, &z, &t);
}

PA_INLINE void pa_point_add_affine(pa_point_completed *out, const pa_point *a,
                                   const pa_point_niels_affine *b, int negative) {
    pa_fe plus, minus, t, z;
    pa_fe_add(&plus, &a->Y, &a->X);
    pa_fe_sub(&minus, &a->Y, &a->X);
    pa_fe_mul(&plus, &plus, &b->sums[negative]);
    pa_fe_mul(&minus, &minus, &b->sums[negative ^ 1]);
    pa_fe_mul(&t, &a->T, &b->xy2d);
    pa_fe_add(&z, &a->Z, &a->Z);
    pa_fe_sub(&out->X, &plus, &minus);
    pa_fe_add(&out->Y, &plus, &minus);
    pa_fe_add(negative ? &out->T : &out->Z, &z, &t);
    pa_fe_sub(negative ? &out->Z : &out->T, &z, &t);
}

/* Return 1 when a is the identity; T is not read. */
PA_INLINE int pa_point_is_identity(const pa_point *a) {
    return pa_fe_is_zero(&a->X) && pa_fe_equal(&a->Y, &a->Z);
}

/* Decoding (RFC 8032, 5.1.3), in two halves around the power that takes nearly all of its time:
 * x^2 = u / v with u = y^2 - 1, v = d y^2 + 1, and x = u v^3 (u v^7)^((p - 5) / 8), perhaps times
 * a square root of -1. */
typedef struct pa_point_decoding {
    pa_fe y, u, v, uv3;
    int sign;
} pa_point_decoding;

/* Check the encoding and make the base of the power. */
PA_INLINE pa_ed25519_status pa_point_decode_begin(pa_point_decoding *self, pa_fe *base,
                                                  const uint8_t in[32]) {
    pa_fe yy, v3;
    const pa_ed25519_status flaw = pa_point_flaw(in);
    if (flaw != PA_ED25519_OK) {
        return flaw;
    }
    pa_fe_from_bytes(&self->y, in);
    self->sign = in[31] >> 7;
    pa_fe_sqr(&yy, &self->y);
    pa_fe_one(&self->u);
    pa_fe_mul(&self->v, &yy, &PA_FE_D);
    pa_fe_add(&self->v, &self->v, &self->u);
    pa_fe_sub(&self->u, &yy, &self->u);
    pa_fe_carry(&self->u, &self->u);
    pa_fe_sqr(&v3, &self->v);
    pa_fe_mul(&v3, &v3, &self->v);
    pa_fe_mul(&self->uv3, &self->u, &v3);
    pa_fe_sqr(&v3, &v3);
    pa_fe_mul(&v3, &v3, &self->v);
    pa_fe_mul(base, &v3, &self->u);
    return PA_ED25519_OK;
}

/* Make x of the power. u is not 0 here: y = 1 and y = -1 are of small order. */
PA_INLINE pa_ed25519_status pa_point_decode_end(pa_point_affine *out,
                                                const pa_point_decoding *self,
                                                const pa_fe *power) {
    pa_fe x, vxx, other;
    pa_fe_mul(&x, &self->uv3, power);
    pa_fe_sqr(&vxx, &x);
    pa_fe_mul(&vxx, &vxx, &self->v);
    pa_fe_sub(&other, &vxx, &self->u);
    if (!pa_fe_is_zero(&other)) {
        pa_fe_add(&other, &vxx, &self->u);
        if (!pa_fe_is_zero(&other)) {
            return PA_ED25519_KEY_NOT_ON_CURVE;
        }
        pa_fe_mul(&x, &x, &PA_FE_SQRT_M1);
    }
    if (pa_fe_is_negative(&x) != self->sign) {
        pa_fe_neg(&x, &x);
        pa_fe_carry(&x, &x);
    }
    out->x = x;
    out->y = self->y;
    return PA_ED25519_OK;
}

#endif
