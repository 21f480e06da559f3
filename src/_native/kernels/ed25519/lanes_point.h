/* Points of edwards25519, one in each lane: a template over the field of vec_fma4.h or vec_ifma.h,
 * which a file includes before this one.
 *
 * Formulas: Hisil, Wong, Carter, Dawson, "Twisted Edwards Curves Revisited" (2008), for a = -1.
 * They are complete: no pair of points is an exception. Every coordinate is tight. Sums and
 * differences of two products are taken before the carry, which then serves both. */
#ifndef PLUGINAPI_ED25519_LANES_POINT_H
#define PLUGINAPI_ED25519_LANES_POINT_H

#include "vec_field.h"

/* Extended coordinates: x = X / Z, y = Y / Z, xy = T / Z. */
typedef struct lanes_point {
    vec_fe c[4];
} lanes_point;

enum { LANES_X, LANES_Y, LANES_Z, LANES_T };

/* A point that is added: y - x, y + x and 2dxy of its affine coordinates. */
typedef struct lanes_niels {
    vec_fe y_minus_x, y_plus_x, xy2d;
} lanes_niels;

/* The same with a denominator: Y - X, Y + X, 2dT and Z. */
typedef struct lanes_cached {
    vec_fe y_minus_x, y_plus_x, t2d, z;
} lanes_cached;

VEC_INLINE void lanes_identity(lanes_point *out) {
    out->c[LANES_X] = out->c[LANES_T] = vec_zero();
    out->c[LANES_Y] = out->c[LANES_Z] = vec_one();
}

/* out = p + q. */
VEC_INLINE void lanes_add_niels(lanes_point *out, const lanes_point *p, const lanes_niels *q) {
    const vec_fe minus = vec_sub(&p->c[LANES_Y], &p->c[LANES_X]);
    const vec_fe plus = vec_add(&p->c[LANES_Y], &p->c[LANES_X]);
    const vec_wide a = vec_wide_mul(&minus, &q->y_minus_x);
    const vec_wide b = vec_wide_mul(&plus, &q->y_plus_x);
    const vec_fe e = vec_carry(vec_wide_sub(b, a), VEC_BIAS_NONE);
    const vec_fe h = vec_carry(vec_wide_add(a, b), VEC_BIAS_MUL_TWICE);
    const vec_fe c = vec_mul(&p->c[LANES_T], &q->xy2d);
    const vec_fe d = vec_add(&p->c[LANES_Z], &p->c[LANES_Z]);
    const vec_fe f = vec_sub(&d, &c);
    const vec_fe sum = vec_add(&d, &c);
    const vec_fe g = vec_tighten(&sum);
    out->c[LANES_X] = vec_mul(&f, &e);
    out->c[LANES_Y] = vec_mul(&g, &h);
    out->c[LANES_Z] = vec_mul(&f, &g);
    out->c[LANES_T] = vec_mul(&e, &h);
}

/* out = p + q. */
VEC_INLINE void lanes_add_cached(lanes_point *out, const lanes_point *p, const lanes_cached *q) {
    const vec_fe minus = vec_sub(&p->c[LANES_Y], &p->c[LANES_X]);
    const vec_fe plus = vec_add(&p->c[LANES_Y], &p->c[LANES_X]);
    const vec_wide a = vec_wide_mul(&minus, &q->y_minus_x);
    const vec_wide b = vec_wide_mul(&plus, &q->y_plus_x);
    const vec_fe e = vec_carry(vec_wide_sub(b, a), VEC_BIAS_NONE);
    const vec_fe h = vec_carry(vec_wide_add(a, b), VEC_BIAS_MUL_TWICE);
    const vec_fe z2 = vec_add(&p->c[LANES_Z], &p->c[LANES_Z]);
    const vec_wide c = vec_wide_mul(&p->c[LANES_T], &q->t2d);
    const vec_wide d = vec_wide_mul(&z2, &q->z);
    const vec_fe f = vec_carry(vec_wide_sub(d, c), VEC_BIAS_NONE);
    const vec_fe g = vec_carry(vec_wide_add(c, d), VEC_BIAS_MUL_TWICE);
    out->c[LANES_X] = vec_mul(&e, &f);
    out->c[LANES_Y] = vec_mul(&g, &h);
    out->c[LANES_Z] = vec_mul(&f, &g);
    out->c[LANES_T] = vec_mul(&e, &h);
}

VEC_INLINE void lanes_cache(lanes_cached *out, const lanes_point *p) {
    const vec_fe two_d = vec_2d();
    const vec_fe minus = vec_sub(&p->c[LANES_Y], &p->c[LANES_X]);
    const vec_fe plus = vec_add(&p->c[LANES_Y], &p->c[LANES_X]);
    out->y_minus_x = vec_tighten(&minus);
    out->y_plus_x = vec_tighten(&plus);
    out->t2d = vec_mul(&p->c[LANES_T], &two_d);
    out->z = p->c[LANES_Z];
}

/* out = 2 p, without T unless `with_t`. F and H have the other sign than in the paper, which
 * negates all four coordinates and leaves the point. */
VEC_INLINE void lanes_double(lanes_point *out, const lanes_point *p, int with_t) {
    const vec_wide a = vec_wide_sqr(&p->c[LANES_X]);
    const vec_wide b = vec_wide_sqr(&p->c[LANES_Y]);
    const vec_wide c = vec_wide_sqr(&p->c[LANES_Z]);
    const vec_wide xy = vec_wide_mul(&p->c[LANES_X], &p->c[LANES_Y]);
    const vec_wide a_minus_b = vec_wide_sub(a, b);
    const vec_fe e = vec_carry(vec_wide_add(xy, xy), VEC_BIAS_MUL_TWICE);
    const vec_fe g = vec_carry(vec_wide_sub(b, a), VEC_BIAS_NONE);
    const vec_fe h = vec_carry(vec_wide_add(a, b), VEC_BIAS_SQR_TWICE);
    const vec_fe f = vec_carry(vec_wide_add(vec_wide_add(c, c), a_minus_b), VEC_BIAS_SQR_TWICE);
    out->c[LANES_X] = vec_mul(&e, &f);
    out->c[LANES_Y] = vec_mul(&g, &h);
    out->c[LANES_Z] = vec_mul(&f, &g);
    if (with_t) {
        out->c[LANES_T] = vec_mul(&e, &h);
    }
}

#endif
