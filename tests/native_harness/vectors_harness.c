/* The vector fields of kernels/ed25519 alone: compiled once for each with VECTORS set to its header.
 *
 * Reads records of four elements a, b, c and d from standard input, each as five limbs of VEC_LANES
 * words as the field stores them: a and c loose, b and d tight (see the headers). Writes for each
 * record nine elements, each as VEC_LANES words a limb, first as the canonical integers, then the
 * words as they were:
 *
 *     a b,  b^2,  a tightened,  b + d,  b - d,  -b,  d b - c b,  d b + c b,  b or d by a mask
 *
 * and last the masks of b = 0 and of b odd. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ed25519/lanes.h"

#ifdef VECTORS_SCALAR
#define VEC_INLINE PA_INLINE
#define VEC_FUNCTION static
#endif
#include VECTORS

#include "ed25519/lanes_point.h"

typedef struct element {
    uint64_t limbs[5][VEC_LANES];
} element;

VEC_FUNCTION void put(const vec_fe *a) {
    const vec_wide canonical = vec_canonical(a);
    element out;
    size_t i;
    for (i = 0; i < 5; i++) {
        vec_int_store(out.limbs[i], canonical.v[i]);
    }
    fwrite(&out, sizeof out, 1, stdout);
    vec_store_words(out.limbs, a);
    fwrite(&out, sizeof out, 1, stdout);
}

VEC_FUNCTION void answer(element in[4]) {
    const vec_state state = vec_begin();
    const vec_fe a = vec_load_words(in[0].limbs);
    const vec_fe b = vec_load_words(in[1].limbs);
    const vec_fe c = vec_load_words(in[2].limbs);
    const vec_fe d = vec_load_words(in[3].limbs);
    const vec_fe product = vec_mul(&a, &b), square = vec_sqr(&b), tight = vec_tighten(&a);
    const vec_fe sum = vec_add(&b, &d), difference = vec_sub(&b, &d), negative = vec_neg(&b);
    const vec_wide db = vec_wide_mul(&d, &b), cb = vec_wide_mul(&c, &b);
    const vec_fe minus = vec_carry(vec_wide_sub(db, cb), VEC_BIAS_NONE);
    const vec_fe plus = vec_carry(vec_wide_add(db, cb), VEC_BIAS_MUL_TWICE);
    const vec_fe selected = vec_select(vec_mask_of_bits(0x55 & ((1u << VEC_LANES) - 1)), &b, &d);
    uint64_t masks[2];
    put(&product);
    put(&square);
    put(&tight);
    put(&sum);
    put(&difference);
    put(&negative);
    put(&minus);
    put(&plus);
    put(&selected);
    masks[0] = vec_mask_bits(vec_is_zero(&b));
    masks[1] = vec_mask_bits(vec_mask_odd(vec_canonical(&b).v[0]));
    fwrite(masks, sizeof masks, 1, stdout);
    vec_end(state);
}

int main(void) {
    element in[4];
    while (fread(in, sizeof in, 1, stdin) == 1) {
        answer(in);
    }
    return ferror(stdout) != 0;
}
