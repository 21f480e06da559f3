/* The field of p = 2^255 - 19 in five limbs of 51 bits.
 *
 * A limb may hold more than 51 bits. Two bounds are kept through all of this code:
 *
 *     tight  every limb is below 2^51 + 2^16; products, squares and decoded bytes are tight
 *     loose  every limb is below 2^54; what may be multiplied, squared or encoded
 *
 * A sum or difference of tight elements is loose. Time does not depend on values here; the layers
 * above work on public ones and do not keep to that. */
#ifndef PLUGINAPI_ED25519_FIELD_H
#define PLUGINAPI_ED25519_FIELD_H

#include "wide.h"

typedef struct pa_fe {
    uint64_t v[5];
} pa_fe;

#define PA_FE_MASK ((UINT64_C(1) << 51) - 1)

PA_INLINE void pa_fe_zero(pa_fe *out) {
    out->v[0] = out->v[1] = out->v[2] = out->v[3] = out->v[4] = 0;
}

PA_INLINE void pa_fe_one(pa_fe *out) {
    pa_fe_zero(out);
    out->v[0] = 1;
}

/* out = a + b; the bounds add up. */
PA_INLINE void pa_fe_add(pa_fe *out, const pa_fe *a, const pa_fe *b) {
    out->v[0] = a->v[0] + b->v[0];
    out->v[1] = a->v[1] + b->v[1];
    out->v[2] = a->v[2] + b->v[2];
    out->v[3] = a->v[3] + b->v[3];
    out->v[4] = a->v[4] + b->v[4];
}

/* out = a - b, made positive with 4p: b is the sum of at most three tight elements (limbs below
 * 2^53 - 76); a limb of the result is below that of a plus 2^53. */
PA_INLINE void pa_fe_sub(pa_fe *out, const pa_fe *a, const pa_fe *b) {
    out->v[0] = a->v[0] + ((UINT64_C(1) << 53) - 76) - b->v[0];
    out->v[1] = a->v[1] + ((UINT64_C(1) << 53) - 4) - b->v[1];
    out->v[2] = a->v[2] + ((UINT64_C(1) << 53) - 4) - b->v[2];
    out->v[3] = a->v[3] + ((UINT64_C(1) << 53) - 4) - b->v[3];
    out->v[4] = a->v[4] + ((UINT64_C(1) << 53) - 4) - b->v[4];
}

/* out = -a, with the bounds of a difference. */
PA_INLINE void pa_fe_neg(pa_fe *out, const pa_fe *a) {
    pa_fe zero;
    pa_fe_zero(&zero);
    pa_fe_sub(out, &zero, a);
}

/* Bring loose limbs to tight ones of the same value modulo p. The carries are below 2^3. */
PA_INLINE void pa_fe_carry(pa_fe *out, const pa_fe *a) {
    const uint64_t a0 = a->v[0], a1 = a->v[1], a2 = a->v[2], a3 = a->v[3], a4 = a->v[4];
    out->v[0] = (a0 & PA_FE_MASK) + 19 * (a4 >> 51);
    out->v[1] = (a1 & PA_FE_MASK) + (a0 >> 51);
    out->v[2] = (a2 & PA_FE_MASK) + (a1 >> 51);
    out->v[3] = (a3 & PA_FE_MASK) + (a2 >> 51);
    out->v[4] = (a4 & PA_FE_MASK) + (a3 >> 51);
}

/* Bring five column sums, each multiplied by 2^13, to tight limbs.
 *
 * With the factor 2^13 the upper word of a sum is what lies above its 51 bits: no shift over two
 * words, which some processors do slowly. The columns of a product of loose elements are below
 * 77 * 2^108, so an upper word is below 2^63.3; that of the last column, where nothing was
 * wrapped around, below 5 * 2^57, and 19 times that below 2^63.6. The carries of the second step
 * are below 2^13, the one that wraps below 2^11. */
PA_INLINE void pa_fe_carry_wide(pa_fe *out, pa_wide c0, pa_wide c1, pa_wide c2, pa_wide c3,
                                pa_wide c4) {
    const uint64_t r0 = (pa_wide_low(c0) >> 13) + 19 * pa_wide_high(c4);
    const uint64_t r1 = (pa_wide_low(c1) >> 13) + pa_wide_high(c0);
    const uint64_t r2 = (pa_wide_low(c2) >> 13) + pa_wide_high(c1);
    const uint64_t r3 = (pa_wide_low(c3) >> 13) + pa_wide_high(c2);
    const uint64_t r4 = (pa_wide_low(c4) >> 13) + pa_wide_high(c3);
    out->v[0] = (r0 & PA_FE_MASK) + 19 * (r4 >> 51);
    out->v[1] = (r1 & PA_FE_MASK) + (r0 >> 51);
    out->v[2] = (r2 & PA_FE_MASK) + (r1 >> 51);
    out->v[3] = (r3 & PA_FE_MASK) + (r2 >> 51);
    out->v[4] = (r4 & PA_FE_MASK) + (r3 >> 51);
}

/* out = a b; loose in, tight out. The factor 2^13 is split as 2^8 and 2^5, so that 19 times a limb
 * still fits a word: 19 * 2^54 * 2^5 < 2^63.3. */
PA_INLINE void pa_fe_mul(pa_fe *out, const pa_fe *a, const pa_fe *b) {
    const uint64_t a0 = a->v[0] << 8, a1 = a->v[1] << 8, a2 = a->v[2] << 8, a3 = a->v[3] << 8,
                   a4 = a->v[4] << 8;
    const uint64_t b0 = b->v[0] << 5, b1 = b->v[1] << 5, b2 = b->v[2] << 5, b3 = b->v[3] << 5,
                   b4 = b->v[4] << 5;
    const uint64_t w1 = 19 * b1, w2 = 19 * b2, w3 = 19 * b3, w4 = 19 * b4;
    pa_wide c0, c1, c2, c3, c4;
    c0 = pa_wide_mul(a0, b0);
    c0 = pa_wide_mul_add(c0, a1, w4);
    c0 = pa_wide_mul_add(c0, a2, w3);
    c0 = pa_wide_mul_add(c0, a3, w2);
    c0 = pa_wide_mul_add(c0, a4, w1);
    c1 = pa_wide_mul(a0, b1);
    c1 = pa_wide_mul_add(c1, a1, b0);
    c1 = pa_wide_mul_add(c1, a2, w4);
    c1 = pa_wide_mul_add(c1, a3, w3);
    c1 = pa_wide_mul_add(c1, a4, w2);
    c2 = pa_wide_mul(a0, b2);
    c2 = pa_wide_mul_add(c2, a1, b1);
    c2 = pa_wide_mul_add(c2, a2, b0);
    c2 = pa_wide_mul_add(c2, a3, w4);
    c2 = pa_wide_mul_add(c2, a4, w3);
    c3 = pa_wide_mul(a0, b3);
    c3 = pa_wide_mul_add(c3, a1, b2);
    c3 = pa_wide_mul_add(c3, a2, b1);
    c3 = pa_wide_mul_add(c3, a3, b0);
    c3 = pa_wide_mul_add(c3, a4, w4);
    c4 = pa_wide_mul(a0, b4);
    c4 = pa_wide_mul_add(c4, a1, b3);
    c4 = pa_wide_mul_add(c4, a2, b2);
    c4 = pa_wide_mul_add(c4, a3, b1);
    c4 = pa_wide_mul_add(c4, a4, b0);
    pa_fe_carry_wide(out, c0, c1, c2, c3, c4);
}

/* out = a^2; loose in, tight out. */
PA_INLINE void pa_fe_sqr(pa_fe *out, const pa_fe *a) {
    const uint64_t a0 = a->v[0], a1 = a->v[1], a2 = a->v[2], a3 = a->v[3], a4 = a->v[4];
    /* 2^9 stands for 2 * 2^8: twice a product; w: wrapped around. */
    const uint64_t d0 = a0 << 9, d1 = a1 << 9, d2 = a2 << 9, d3 = a3 << 9;
    const uint64_t b1 = a1 << 5, b2 = a2 << 5, b3 = a3 << 5, b4 = a4 << 5;
    const uint64_t w3 = 19 * b3, w4 = 19 * b4;
    pa_wide c0, c1, c2, c3, c4;
    c0 = pa_wide_mul(a0 << 8, a0 << 5);
    c0 = pa_wide_mul_add(c0, d1, w4);
    c0 = pa_wide_mul_add(c0, d2, w3);
    c1 = pa_wide_mul(d0, b1);
    c1 = pa_wide_mul_add(c1, d2, w4);
    c1 = pa_wide_mul_add(c1, a3 << 8, w3);
    c2 = pa_wide_mul(d0, b2);
    c2 = pa_wide_mul_add(c2, a1 << 8, b1);
    c2 = pa_wide_mul_add(c2, d3, w4);
    c3 = pa_wide_mul(d0, b3);
    c3 = pa_wide_mul_add(c3, d1, b2);
    c3 = pa_wide_mul_add(c3, a4 << 8, w4);
    c4 = pa_wide_mul(d0, b4);
    c4 = pa_wide_mul_add(c4, d1, b3);
    c4 = pa_wide_mul_add(c4, a2 << 8, b2);
    pa_fe_carry_wide(out, c0, c1, c2, c3, c4);
}

/* out = a^(2^count), count > 0; loose in, tight out. */
PA_INLINE void pa_fe_sqr_n(pa_fe *out, const pa_fe *a, unsigned count) {
    pa_fe_sqr(out, a);
    while (--count > 0) {
        pa_fe_sqr(out, out);
    }
}

/* Bring a loose element to the one form with its value below p. */
PA_INLINE void pa_fe_reduce(pa_fe *a) {
    uint64_t *const v = a->v;
    uint64_t over;
    int pass;
    for (pass = 0; pass < 2; pass++) {
        v[1] += v[0] >> 51;
        v[0] &= PA_FE_MASK;
        v[2] += v[1] >> 51;
        v[1] &= PA_FE_MASK;
        v[3] += v[2] >> 51;
        v[2] &= PA_FE_MASK;
        v[4] += v[3] >> 51;
        v[3] &= PA_FE_MASK;
        v[0] += 19 * (v[4] >> 51);
        v[4] &= PA_FE_MASK;
    }
    /* The value is now below 2^255 + 19; it is p or more when adding 19 reaches 2^255. */
    over = (v[0] + 19) >> 51;
    over = (v[1] + over) >> 51;
    over = (v[2] + over) >> 51;
    over = (v[3] + over) >> 51;
    over = (v[4] + over) >> 51;
    v[0] += 19 * over;
    v[1] += v[0] >> 51;
    v[0] &= PA_FE_MASK;
    v[2] += v[1] >> 51;
    v[1] &= PA_FE_MASK;
    v[3] += v[2] >> 51;
    v[2] &= PA_FE_MASK;
    v[4] += v[3] >> 51;
    v[3] &= PA_FE_MASK;
    v[4] &= PA_FE_MASK;
}

/* Read 255 bits, the least significant byte first, and ignore the last one; tight out. Values of
 * p and more are taken modulo p. */
PA_INLINE void pa_fe_from_bytes(pa_fe *out, const uint8_t in[32]) {
    const uint64_t w0 = pa_load64(in), w1 = pa_load64(in + 8), w2 = pa_load64(in + 16),
                   w3 = pa_load64(in + 24);
    out->v[0] = w0 & PA_FE_MASK;
    out->v[1] = (w0 >> 51 | w1 << 13) & PA_FE_MASK;
    out->v[2] = (w1 >> 38 | w2 << 26) & PA_FE_MASK;
    out->v[3] = (w2 >> 25 | w3 << 39) & PA_FE_MASK;
    out->v[4] = (w3 >> 12) & PA_FE_MASK;
}

/* The same; return 1 when the 255 bits are a number below p, else 0. */
PA_INLINE int pa_fe_from_bytes_checked(pa_fe *out, const uint8_t in[32]) {
    pa_fe_from_bytes(out, in);
    return !(out->v[0] >= PA_FE_MASK - 18 &&
             (out->v[1] & out->v[2] & out->v[3] & out->v[4]) == PA_FE_MASK);
}

/* Write the number below p, in 32 bytes; loose in. */
PA_INLINE void pa_fe_to_bytes(uint8_t out[32], const pa_fe *a) {
    pa_fe t = *a;
    pa_fe_reduce(&t);
    pa_store64(out, t.v[0] | t.v[1] << 51);
    pa_store64(out + 8, t.v[1] >> 13 | t.v[2] << 38);
    pa_store64(out + 16, t.v[2] >> 26 | t.v[3] << 25);
    pa_store64(out + 24, t.v[3] >> 39 | t.v[4] << 12);
}

/* Return 1 when a = 0 modulo p; loose in. */
PA_INLINE int pa_fe_is_zero(const pa_fe *a) {
    pa_fe t = *a;
    pa_fe_reduce(&t);
    return (t.v[0] | t.v[1] | t.v[2] | t.v[3] | t.v[4]) == 0;
}

/* Return 1 when a = b modulo p; a tight, b with the bounds of what may be subtracted. */
PA_INLINE int pa_fe_equal(const pa_fe *a, const pa_fe *b) {
    pa_fe t;
    pa_fe_sub(&t, a, b);
    return pa_fe_is_zero(&t);
}

/* Return the least significant bit of the number below p, which RFC 8032 calls its sign. */
PA_INLINE int pa_fe_is_negative(const pa_fe *a) {
    pa_fe t = *a;
    pa_fe_reduce(&t);
    return (int)(t.v[0] & 1);
}

/* The steps to a^(2^250 - 1), which inversion and square root share. Slot `to` becomes slot `from`
 * squared `squarings` times and multiplied by slot `by`; slot 0 holds a. */
typedef struct pa_fe_step {
    uint8_t from, squarings, by, to;
} pa_fe_step;

static const pa_fe_step PA_FE_CHAIN[10] = {
    {0, 3, 0, 1},   /* 9 */
    {0, 1, 1, 2},   /* 11 */
    {2, 1, 1, 3},   /* 31 = 2^5 - 1 */
    {3, 5, 3, 4},   /* 2^10 - 1 */
    {4, 10, 4, 5},  /* 2^20 - 1 */
    {5, 20, 5, 3},  /* 2^40 - 1 */
    {3, 10, 4, 5},  /* 2^50 - 1 */
    {5, 50, 5, 3},  /* 2^100 - 1 */
    {3, 100, 3, 3}, /* 2^200 - 1 */
    {3, 50, 5, 3},  /* 2^250 - 1 */
};

/* Raise one element, or two in one loop, to the power of the chain and the last step. A squaring
 * waits for the one before it for most of its time, so two take little longer than one. */
PA_INLINE void pa_fe_power(pa_fe *out, const pa_fe *in, int count, pa_fe_step last) {
    pa_fe slots[6][2];
    int i;
    slots[0][0] = in[0];
    if (count == 2) {
        slots[0][1] = in[1];
    }
    for (i = 0; i <= 10; i++) {
        const pa_fe_step step = i < 10 ? PA_FE_CHAIN[i] : last;
        pa_fe a = slots[step.from][0];
        pa_fe b;
        int j;
        if (count == 2) {
            b = slots[step.from][1];
        }
        for (j = 0; j < step.squarings; j++) {
            pa_fe_sqr(&a, &a);
            if (count == 2) {
                pa_fe_sqr(&b, &b);
            }
        }
        pa_fe_mul(&slots[step.to][0], &a, &slots[step.by][0]);
        if (count == 2) {
            pa_fe_mul(&slots[step.to][1], &b, &slots[step.by][1]);
        }
    }
    out[0] = slots[3][0];
    if (count == 2) {
        out[1] = slots[3][1];
    }
}

/* out = a^((p - 5) / 8) = a^(2^252 - 3), from which square roots are made; loose in, tight out. */
PA_INLINE void pa_fe_pow22523(pa_fe *out, const pa_fe *a) {
    const pa_fe_step last = {3, 2, 0, 3};
    pa_fe_power(out, a, 1, last);
}

/* The same for two elements at once. */
PA_INLINE void pa_fe_pow22523_pair(pa_fe out[2], const pa_fe a[2]) {
    const pa_fe_step last = {3, 2, 0, 3};
    pa_fe_power(out, a, 2, last);
}

/* out = 1 / a = a^(p - 2) = a^(2^255 - 21), and 0 for 0; loose in, tight out. */
PA_INLINE void pa_fe_invert(pa_fe *out, const pa_fe *a) {
    const pa_fe_step last = {3, 5, 2, 3};
    pa_fe_power(out, a, 1, last);
}

#endif
