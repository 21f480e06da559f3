/* One element of the field of p = 2^255 - 19 in general registers, with the interface of
 * vec_fma4.h: the templates for lanes then are the batch of every processor without vector kernels.
 *
 * Define VEC_INLINE and VEC_FUNCTION before including this. The bounds are those of field.h. */
#ifndef PLUGINAPI_ED25519_VEC_SCALAR_H
#define PLUGINAPI_ED25519_VEC_SCALAR_H

#include <stdint.h>
#include <string.h>

#include "field.h"

#define VEC_LANES 1
#define VEC_LIMB_MASK PA_FE_MASK

typedef pa_fe vec_fe;
typedef pa_fe vec_wide; /* carried already: a product of field.h always is */
typedef uint64_t vec_int;
typedef int vec_mask;
typedef int vec_state;

VEC_INLINE vec_state vec_begin(void) { return 0; }
VEC_INLINE void vec_end(vec_state before) { (void)before; }

VEC_INLINE vec_wide vec_wide_mul(const vec_fe *a, const vec_fe *b) {
    vec_wide out;
    pa_fe_mul(&out, a, b);
    return out;
}

VEC_INLINE vec_wide vec_wide_sqr(const vec_fe *a) {
    vec_wide out;
    pa_fe_sqr(&out, a);
    return out;
}

VEC_INLINE vec_fe vec_add(const vec_fe *a, const vec_fe *b) {
    vec_fe out;
    pa_fe_add(&out, a, b);
    return out;
}

VEC_INLINE vec_fe vec_sub(const vec_fe *a, const vec_fe *b) {
    vec_fe out;
    pa_fe_sub(&out, a, b);
    return out;
}

VEC_INLINE vec_fe vec_tighten(const vec_fe *a) {
    vec_fe out;
    pa_fe_carry(&out, a);
    return out;
}

VEC_INLINE vec_fe vec_neg(const vec_fe *a) {
    vec_fe out;
    pa_fe_neg(&out, a);
    return out;
}

VEC_INLINE vec_wide vec_wide_add(vec_wide a, vec_wide b) { return vec_add(&a, &b); }
VEC_INLINE vec_wide vec_wide_sub(vec_wide a, vec_wide b) { return vec_sub(&a, &b); }
#define vec_carry(w, BIAS) vec_carried(w)
VEC_INLINE vec_fe vec_carried(vec_wide w) { return vec_tighten(&w); }

VEC_INLINE vec_fe vec_select(vec_mask mask, const vec_fe *a, const vec_fe *b) {
    return mask ? *a : *b;
}
VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return a | b; }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return a ^ b; }
VEC_INLINE unsigned vec_mask_bits(vec_mask mask) { return (unsigned)mask; }
VEC_INLINE vec_mask vec_mask_of_bits(unsigned bits) { return (vec_mask)bits; }
VEC_INLINE vec_mask vec_mask_odd(vec_int x) { return (vec_mask)(x & 1); }

VEC_INLINE vec_int vec_int_load(const uint64_t lanes[VEC_LANES]) { return lanes[0]; }
VEC_INLINE void vec_int_store(uint64_t lanes[VEC_LANES], vec_int in) { lanes[0] = in; }
VEC_INLINE vec_int vec_int_add(vec_int a, vec_int b) { return a + b; }
VEC_INLINE vec_int vec_int_and(vec_int a, uint64_t b) { return a & b; }
VEC_INLINE vec_int vec_int_or(vec_int a, vec_int b) { return a | b; }
VEC_INLINE vec_int vec_int_set(uint64_t value) { return value; }
VEC_INLINE vec_int vec_int_times_19(vec_int a) { return 19 * a; }
#define vec_int_shift(a, bits) ((a) >> (bits))
VEC_INLINE vec_mask vec_int_is_zero(vec_int a) { return a == 0; }

VEC_INLINE vec_fe vec_set(uint64_t l0, uint64_t l1, uint64_t l2, uint64_t l3, uint64_t l4) {
    vec_fe out;
    out.v[0] = l0;
    out.v[1] = l1;
    out.v[2] = l2;
    out.v[3] = l3;
    out.v[4] = l4;
    return out;
}

VEC_INLINE vec_fe vec_broadcast(const uint64_t words[5]) {
    return vec_set(words[0], words[1], words[2], words[3], words[4]);
}

VEC_INLINE vec_fe vec_load(uint64_t limbs[5][VEC_LANES]) {
    return vec_set(limbs[0][0], limbs[1][0], limbs[2][0], limbs[3][0], limbs[4][0]);
}

/* Limbs as positive integers below 2^54, which they are. */
VEC_INLINE vec_wide vec_positive(const vec_fe *a) { return *a; }

VEC_INLINE void vec_store_words(uint64_t words[5][VEC_LANES], const vec_fe *a) {
    memcpy(words, a->v, sizeof a->v);
}

VEC_INLINE vec_fe vec_load_words(uint64_t words[5][VEC_LANES]) { return vec_load(words); }

VEC_INLINE void vec_load_rows(vec_fe out[4], const uint64_t *const rows[VEC_LANES]) {
    memcpy(out, rows[0], 4 * sizeof *out);
}

VEC_INLINE void vec_store_rows(uint64_t *const rows[VEC_LANES], const vec_fe in[4]) {
    memcpy(rows[0], in, 4 * sizeof *in);
}

#endif
