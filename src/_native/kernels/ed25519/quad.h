/* The equation of one signature with the four coordinates of a point in four lanes: a template over
 * vec_fma4.h or vec_ifma.h, which a file includes before this one.
 *
 * A point lies as (X, Y, Z, T). An addition or doubling is then two vector products instead of
 * eight, with the lanes put in order before each (Hisil, Wong, Carter, Dawson, "Twisted Edwards
 * Curves Revisited", 2008, section 4.2). The scalars are halved as half.h says. */
#ifndef PLUGINAPI_ED25519_QUAD_H
#define PLUGINAPI_ED25519_QUAD_H

#include "equation.h"
#include "point.h"
#include "vec_field.h"

enum {
    QUAD_X = 1, /* as bits of a mask */
    QUAD_Y = 2,
    QUAD_Z = 4,
    QUAD_T = 8,
    QUAD_MULTIPLES = 1 << (PA_EQUATION_POINT_WIDTH - 2)
};

/* Define a function that puts the lanes in another order: `order` says which lane of the operand
 * stands in each lane of the result. A macro, since the instruction wants a constant. */
#define VEC_PERMUTE(name, order)                                                 \
    VEC_INLINE vec_fe name(const vec_fe *a) {                                    \
        vec_fe out;                                                              \
        out.v[0] = vec_permute_limb(a->v[0], order);                             \
        out.v[1] = vec_permute_limb(a->v[1], order);                             \
        out.v[2] = vec_permute_limb(a->v[2], order);                             \
        out.v[3] = vec_permute_limb(a->v[3], order);                             \
        out.v[4] = vec_permute_limb(a->v[4], order);                             \
        return out;                                                              \
    }

#define QUAD_ORDER(a, b, c, d) ((a) | (b) << 2 | (c) << 4 | (d) << 6)
VEC_PERMUTE(quad_swap_pairs, QUAD_ORDER(1, 0, 3, 2))
VEC_PERMUTE(quad_swap_low, QUAD_ORDER(1, 0, 2, 3))
VEC_PERMUTE(quad_xyzx, QUAD_ORDER(0, 1, 2, 0))
VEC_PERMUTE(quad_xyzy, QUAD_ORDER(0, 1, 2, 1))
VEC_PERMUTE(quad_egfe, QUAD_ORDER(0, 3, 2, 0)) /* of E, H, F, G */
VEC_PERMUTE(quad_fhgh, QUAD_ORDER(2, 1, 3, 1))
VEC_PERMUTE(quad_egce, QUAD_ORDER(3, 0, 2, 3)) /* of G, H, 2C, E */
VEC_PERMUTE(quad_chgh, QUAD_ORDER(2, 1, 0, 1))
VEC_PERMUTE(quad_first, QUAD_ORDER(0, 0, 0, 0))
VEC_PERMUTE(quad_third, QUAD_ORDER(2, 2, 2, 2))

/* Four elements, limb by limb. */
VEC_INLINE vec_fe quad_set(const pa_fe *x, const pa_fe *y, const pa_fe *z, const pa_fe *t) {
    uint64_t limbs[5][4];
    size_t i;
    for (i = 0; i < 5; i++) {
        limbs[i][0] = x->v[i];
        limbs[i][1] = y->v[i];
        limbs[i][2] = z->v[i];
        limbs[i][3] = t->v[i];
    }
    return vec_load(limbs);
}

/* (Y - X, Y + X, T, Z), loose. */
VEC_INLINE vec_fe quad_split(const vec_fe *point) {
    const vec_fe swapped = quad_swap_pairs(point);
    return vec_add_signed(&swapped, point, QUAD_Y, QUAD_X);
}

/* Make (Y - X, Y + X, 2dT, 2Z), what is added: `factors` are (1, 1, 2d, 2). */
VEC_INLINE vec_fe quad_cache(const vec_fe *point, const vec_fe *factors) {
    const vec_fe split = quad_split(point);
    return vec_mul(&split, factors);
}

/* The same of the negative point: the first two lanes swapped, the third negated. */
VEC_INLINE vec_fe quad_negate(const vec_fe *cached) {
    const vec_fe swapped = quad_swap_low(cached);
    const vec_fe twice = vec_add(&swapped, &swapped);
    return vec_add_signed(&swapped, &twice, 0, QUAD_Z);
}

/* point + cached. */
VEC_INLINE vec_fe quad_add(const vec_fe *point, const vec_fe *cached) {
    const vec_fe split = quad_split(point);
    const vec_fe abcd = vec_mul(&split, cached);
    const vec_fe badc = quad_swap_pairs(&abcd);
    const vec_fe sums = vec_add_signed(&badc, &abcd, QUAD_Y | QUAD_T, QUAD_X | QUAD_Z);
    const vec_fe ehfg = vec_tighten(&sums);
    const vec_fe left = quad_egfe(&ehfg), right = quad_fhgh(&ehfg);
    return vec_mul(&left, &right);
}

/* 2 point; T is not read. With the signs of lanes_double. */
VEC_INLINE vec_fe quad_double(const vec_fe *point) {
    const vec_fe xyzx = quad_xyzx(point), xyzy = quad_xyzy(point);
    const vec_fe abcm = vec_mul(&xyzx, &xyzy); /* X^2, Y^2, Z^2, XY */
    const vec_fe bacm = quad_swap_low(&abcm);
    const vec_fe ghce = vec_add_signed(&bacm, &abcm, QUAD_Y | QUAD_Z | QUAD_T, QUAD_X);
    const vec_fe g = quad_first(&ghce);
    const vec_fe egce = quad_egce(&ghce), chgh = quad_chgh(&ghce);
    const vec_fe egfe = vec_add_signed(&egce, &g, 0, QUAD_Z);
    const vec_fe fhgh = vec_add_signed(&chgh, &g, 0, QUAD_X);
    const vec_fe left = vec_tighten(&egfe), right = vec_tighten(&fhgh);
    return vec_mul(&left, &right);
}

/* What is added for each odd multiple of a point, and for its negative. */
typedef struct quad_table {
    vec_fe multiples[2][QUAD_MULTIPLES];
} quad_table;

VEC_FUNCTION void quad_table_fill(quad_table *table, const pa_point_affine *affine,
                                  const vec_fe *factors) {
    vec_fe point, twice;
    pa_fe one, product;
    size_t i;
    pa_fe_one(&one);
    pa_fe_mul(&product, &affine->x, &affine->y);
    point = quad_set(&affine->x, &affine->y, &one, &product);
    twice = quad_double(&point);
    for (i = 0; i < QUAD_MULTIPLES; i++) {
        if (i > 0) {
            point = quad_add(&twice, &table->multiples[0][i - 1]);
        }
        table->multiples[0][i] = quad_cache(&point, factors);
        table->multiples[1][i] = quad_negate(&table->multiples[0][i]);
    }
}

/* digit times B or 2^127 B; the digit is not 0. */
VEC_INLINE vec_fe quad_base(size_t which, int digit) {
    static const pa_fe TWO = {{2, 0, 0, 0, 0}};
    const int negative = digit < 0;
    const pa_point_niels_affine *const multiple =
        &PA_BASE_TABLE[which][(negative ? -digit : digit) - 1];
    pa_fe product = multiple->xy2d;
    if (negative) {
        pa_fe_neg(&product, &product);
    }
    return quad_set(&multiple->sums[!negative], &multiple->sums[negative], &product, &TWO);
}

/* Return 1 when the equation holds, else 0. */
VEC_FUNCTION int quad_equation(const pa_point_affine *key, const pa_point_affine *r,
                               const pa_equation *equation) {
    static const pa_fe ZERO = {{0, 0, 0, 0, 0}}, ONE = {{1, 0, 0, 0, 0}}, TWO = {{2, 0, 0, 0, 0}};
    const vec_state state = vec_begin();
    const vec_fe factors = quad_set(&ONE, &ONE, &PA_FE_2D, &TWO);
    vec_fe sum = quad_set(&ZERO, &ONE, &ONE, &ZERO);
    vec_fe z, x_and_difference;
    quad_table tables[2];
    unsigned zeros;
    int position = PA_RECODE_DIGITS - 1;
    quad_table_fill(&tables[0], r, &factors);
    quad_table_fill(&tables[1], key, &factors);
    for (; position >= 0; position--) {
        const int8_t *const at = equation->digits[position];
        size_t which;
        sum = quad_double(&sum);
        if ((at[0] | at[1] | at[2] | at[3]) == 0) {
            continue;
        }
        for (which = 0; which < 2; which++) {
            const int digit = at[which];
            if (digit != 0) {
                const int negative = digit < 0;
                sum = quad_add(&sum,
                               &tables[which].multiples[negative][(negative ? -digit : digit) / 2]);
            }
        }
        for (which = 0; which < 2; which++) {
            if (at[2 + which] != 0) {
                const vec_fe multiple = quad_base(which, at[2 + which]);
                sum = quad_add(&sum, &multiple);
            }
        }
    }
    for (position = 0; position < 3; position++) {
        sum = quad_double(&sum);
    }
    z = quad_third(&sum);
    x_and_difference = vec_add_signed(&sum, &z, 0, QUAD_Y); /* X, Y - Z */
    zeros = vec_mask_bits(vec_is_zero(&x_and_difference));
    vec_end(state);
    return (zeros & (QUAD_X | QUAD_Y)) == (QUAD_X | QUAD_Y);
}

#endif
