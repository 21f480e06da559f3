/* What is the same for every vector field: a template over vec_fma4.h, vec_ifma.h or vec_scalar.h,
 * which a file includes before this one. */
#ifndef PLUGINAPI_ED25519_VEC_FIELD_H
#define PLUGINAPI_ED25519_VEC_FIELD_H

VEC_INLINE vec_fe vec_mul(const vec_fe *a, const vec_fe *b) {
    return vec_carry(vec_wide_mul(a, b), VEC_BIAS_MUL);
}

VEC_INLINE vec_fe vec_sqr(const vec_fe *a) { return vec_carry(vec_wide_sqr(a), VEC_BIAS_SQR); }

VEC_INLINE vec_fe vec_zero(void) { return vec_set(0, 0, 0, 0, 0); }
VEC_INLINE vec_fe vec_one(void) { return vec_set(1, 0, 0, 0, 0); }

/* The constants d and 2d of the curve, and a square root of -1. */
VEC_INLINE vec_fe vec_d(void) {
    return vec_set(UINT64_C(0x34dca135978a3), UINT64_C(0x1a8283b156ebd), UINT64_C(0x5e7a26001c029),
                   UINT64_C(0x739c663a03cbb), UINT64_C(0x52036cee2b6ff));
}

VEC_INLINE vec_fe vec_2d(void) {
    return vec_set(UINT64_C(0x69b9426b2f159), UINT64_C(0x35050762add7a), UINT64_C(0x3cf44c0038052),
                   UINT64_C(0x6738cc7407977), UINT64_C(0x2406d9dc56dff));
}

VEC_INLINE vec_fe vec_root_of_minus_one(void) {
    return vec_set(UINT64_C(0x61b274a0ea0b0), UINT64_C(0x0d5a5fc8f189d), UINT64_C(0x7ef5e9cbd0c60),
                   UINT64_C(0x78595a6804c9e), UINT64_C(0x2b8324804fc1d));
}

/* The integers from 0 to p - 1 that the elements are, as limbs of 51 bits. */
VEC_FUNCTION vec_wide vec_canonical(const vec_fe *a) {
    vec_wide t = vec_positive(a);
    vec_int beyond;
#define PASS_ON(i, j)                                                   \
    t.v[j] = vec_int_add(t.v[j], vec_int_shift(t.v[i], 51));            \
    t.v[i] = vec_int_and(t.v[i], VEC_LIMB_MASK);
#define PASS_ALL_ON                                                     \
    PASS_ON(0, 1) PASS_ON(1, 2) PASS_ON(2, 3) PASS_ON(3, 4)
#define WRAP                                                                        \
    t.v[0] = vec_int_add(t.v[0], vec_int_times_19(vec_int_shift(t.v[4], 51)));      \
    t.v[4] = vec_int_and(t.v[4], VEC_LIMB_MASK);
    PASS_ALL_ON WRAP PASS_ALL_ON WRAP
    /* Now below 2^255 + 19 * 2^51: 1 in `beyond` when adding 19 reaches 2^255, from p on. */
    beyond = vec_int_shift(vec_int_add(t.v[0], vec_int_set(19)), 51);
    beyond = vec_int_shift(vec_int_add(t.v[1], beyond), 51);
    beyond = vec_int_shift(vec_int_add(t.v[2], beyond), 51);
    beyond = vec_int_shift(vec_int_add(t.v[3], beyond), 51);
    beyond = vec_int_shift(vec_int_add(t.v[4], beyond), 51);
    t.v[0] = vec_int_add(t.v[0], vec_int_times_19(beyond));
    PASS_ALL_ON
    t.v[4] = vec_int_and(t.v[4], VEC_LIMB_MASK);
#undef WRAP
#undef PASS_ALL_ON
#undef PASS_ON
    return t;
}

VEC_FUNCTION vec_mask vec_is_zero(const vec_fe *a) {
    const vec_wide t = vec_canonical(a);
    return vec_int_is_zero(
        vec_int_or(vec_int_or(vec_int_or(t.v[0], t.v[1]), vec_int_or(t.v[2], t.v[3])), t.v[4]));
}

#endif
