/* Eight elements of the field of p = 2^255 - 19 at once, or four, with AVX-512 IFMA: as VEC_LANES,
 * which is defined before this is included, says.
 *
 * An element is five unsigned limbs of radix 2^51. vpmadd52luq and vpmadd52huq multiply the low 52
 * bits of two words and add the low or high 52 bits of the product: the high ones count twice in
 * the next column, since 52 = 51 + 1 (Gueron, Krasnov, "Accelerating Big Integer Arithmetic Using
 * Intel IFMA Extensions", 2016).
 *
 * Only one bound is kept: every element is tight, its limbs are below 2^51 + 2^18. What exceeds 52
 * bits would lose its top silently, so sums and differences are carried at once. The names that
 * vec_fma4.h has for looser bounds are here for the templates and mean the same. */
#ifndef PLUGINAPI_ED25519_VEC_IFMA_H
#define PLUGINAPI_ED25519_VEC_IFMA_H

#include <immintrin.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "wide.h"

#if VEC_LANES == 8
typedef __m512i vec_int;
#define VEC_OP(name) _mm512_##name
#define VEC_SI(name) _mm512_##name##_si512
#define VEC_SET1 _mm512_set1_epi64
#elif VEC_LANES == 4
typedef __m256i vec_int;
#define VEC_OP(name) _mm256_##name
#define VEC_SI(name) _mm256_##name##_si256
#define VEC_SET1 _mm256_set1_epi64x
#else
#error "define VEC_LANES as 4 or 8 before including vec_ifma.h"
#endif

#define VEC_INLINE static inline PA_CPU_TARGET_AVX512IFMA PA_CPU_ALWAYS_INLINE
#define VEC_FUNCTION static PA_NOINLINE PA_CPU_TARGET_AVX512IFMA

typedef struct vec_fe {
    vec_int v[5];
} vec_fe;

/* Five columns, not carried: below 2^60 for a product, and below 2^63.5 for what is made of them.
 */
typedef vec_fe vec_wide;

typedef __mmask8 vec_mask;
typedef int vec_state; /* integers have no mode to set */

VEC_INLINE vec_state vec_begin(void) { return 0; }
VEC_INLINE void vec_end(vec_state before) { (void)before; }

#define VEC_EACH_LIMB(DO) DO(0) DO(1) DO(2) DO(3) DO(4)
#define VEC_LIMB_MASK ((UINT64_C(1) << 51) - 1)

VEC_INLINE vec_int vec_u64(uint64_t value) { return VEC_SET1((int64_t)value); }

/* 19 x, wrapping around at 2^255 = 19. */
VEC_INLINE vec_int vec_times_19(vec_int x) {
    return VEC_OP(add_epi64)(VEC_OP(add_epi64)(x, VEC_OP(slli_epi64)(x, 1)),
                             VEC_OP(slli_epi64)(x, 4));
}

/* Add the halves of a product of limbs to column k and, to be doubled, the next one. */
#define VEC_MORE(a, b, k, next)                    \
    z##k = VEC_OP(madd52lo_epu64)(z##k, a, b);      \
    y##next = VEC_OP(madd52hi_epu64)(y##next, a, b);
#define VEC_FIRST(a, b, k, next)                                       \
    z##k = VEC_OP(madd52lo_epu64)(VEC_SI(setzero)(), a, b);        \
    y##next = VEC_OP(madd52hi_epu64)(VEC_SI(setzero)(), a, b);

#define VEC_DOUBLED(k) VEC_OP(add_epi64)(z##k, VEC_OP(add_epi64)(y##k, y##k))
#define VEC_FOLD(out)                                                               \
    do {                                                                            \
        out.v[0] = VEC_OP(add_epi64)(z0, vec_times_19(VEC_DOUBLED(5)));              \
        out.v[1] = VEC_OP(add_epi64)(VEC_DOUBLED(1), vec_times_19(VEC_DOUBLED(6)));  \
        out.v[2] = VEC_OP(add_epi64)(VEC_DOUBLED(2), vec_times_19(VEC_DOUBLED(7)));  \
        out.v[3] = VEC_OP(add_epi64)(VEC_DOUBLED(3), vec_times_19(VEC_DOUBLED(8)));  \
        out.v[4] = VEC_OP(add_epi64)(VEC_DOUBLED(4),                                 \
                                    vec_times_19(VEC_OP(add_epi64)(y9, y9)));        \
    } while (0)

/* A column holds at most 5 lows and twice 5 highs, 5 (2^52 + 2 * 2^51.1), and after the fold 20
 * times that: below 2^60. */
VEC_INLINE vec_wide vec_wide_mul(const vec_fe *a, const vec_fe *b) {
    vec_int z0, z1, z2, z3, z4, z5, z6, z7, z8, y1, y2, y3, y4, y5, y6, y7, y8, y9;
    vec_wide out;
    VEC_FIRST(a->v[0], b->v[0], 0, 1)
    VEC_FIRST(a->v[0], b->v[1], 1, 2)
    VEC_MORE(a->v[1], b->v[0], 1, 2)
    VEC_FIRST(a->v[0], b->v[2], 2, 3)
    VEC_MORE(a->v[1], b->v[1], 2, 3)
    VEC_MORE(a->v[2], b->v[0], 2, 3)
    VEC_FIRST(a->v[0], b->v[3], 3, 4)
    VEC_MORE(a->v[1], b->v[2], 3, 4)
    VEC_MORE(a->v[2], b->v[1], 3, 4)
    VEC_MORE(a->v[3], b->v[0], 3, 4)
    VEC_FIRST(a->v[0], b->v[4], 4, 5)
    VEC_MORE(a->v[1], b->v[3], 4, 5)
    VEC_MORE(a->v[2], b->v[2], 4, 5)
    VEC_MORE(a->v[3], b->v[1], 4, 5)
    VEC_MORE(a->v[4], b->v[0], 4, 5)
    VEC_FIRST(a->v[1], b->v[4], 5, 6)
    VEC_MORE(a->v[2], b->v[3], 5, 6)
    VEC_MORE(a->v[3], b->v[2], 5, 6)
    VEC_MORE(a->v[4], b->v[1], 5, 6)
    VEC_FIRST(a->v[2], b->v[4], 6, 7)
    VEC_MORE(a->v[3], b->v[3], 6, 7)
    VEC_MORE(a->v[4], b->v[2], 6, 7)
    VEC_FIRST(a->v[3], b->v[4], 7, 8)
    VEC_MORE(a->v[4], b->v[3], 7, 8)
    VEC_FIRST(a->v[4], b->v[4], 8, 9)
    VEC_FOLD(out);
    return out;
}

/* Products of different limbs come twice: they are summed first and doubled once. */
VEC_INLINE vec_wide vec_wide_sqr(const vec_fe *a) {
    vec_int z0, z1, z2, z3, z4, z5, z6, z7, z8, y1, y2, y3, y4, y5, y6, y7, y8, y9;
    vec_wide out;
    VEC_FIRST(a->v[0], a->v[1], 1, 2)
    VEC_FIRST(a->v[0], a->v[2], 2, 3)
    VEC_FIRST(a->v[0], a->v[3], 3, 4)
    VEC_MORE(a->v[1], a->v[2], 3, 4)
    VEC_FIRST(a->v[0], a->v[4], 4, 5)
    VEC_MORE(a->v[1], a->v[3], 4, 5)
    VEC_FIRST(a->v[1], a->v[4], 5, 6)
    VEC_MORE(a->v[2], a->v[3], 5, 6)
    VEC_FIRST(a->v[2], a->v[4], 6, 7)
    VEC_FIRST(a->v[3], a->v[4], 7, 8)
#define TWICE(x) x = VEC_OP(add_epi64)(x, x);
    TWICE(z1) TWICE(z2) TWICE(z3) TWICE(z4) TWICE(z5) TWICE(z6) TWICE(z7)
    TWICE(y2) TWICE(y3) TWICE(y4) TWICE(y5) TWICE(y6) TWICE(y7) TWICE(y8)
#undef TWICE
    VEC_FIRST(a->v[0], a->v[0], 0, 1)
    z2 = VEC_OP(madd52lo_epu64)(z2, a->v[1], a->v[1]);
    y3 = VEC_OP(madd52hi_epu64)(y3, a->v[1], a->v[1]);
    z4 = VEC_OP(madd52lo_epu64)(z4, a->v[2], a->v[2]);
    y5 = VEC_OP(madd52hi_epu64)(y5, a->v[2], a->v[2]);
    z6 = VEC_OP(madd52lo_epu64)(z6, a->v[3], a->v[3]);
    y7 = VEC_OP(madd52hi_epu64)(y7, a->v[3], a->v[3]);
    VEC_FIRST(a->v[4], a->v[4], 8, 9)
    VEC_FOLD(out);
    return out;
}

VEC_INLINE vec_wide vec_wide_add(vec_wide a, vec_wide b) {
    vec_wide out;
#define ADD_LIMB(i) out.v[i] = VEC_OP(add_epi64)(a.v[i], b.v[i]);
    VEC_EACH_LIMB(ADD_LIMB)
#undef ADD_LIMB
    return out;
}

/* a - b, made positive with 2^11 p, which is above 2^61.9 in every column; b is below 2^61. */
VEC_INLINE vec_wide vec_wide_sub(vec_wide a, vec_wide b) {
    const vec_int rest = vec_u64(VEC_LIMB_MASK << 11);
    vec_wide out;
    out.v[0] = VEC_OP(add_epi64)(
        a.v[0], VEC_OP(sub_epi64)(vec_u64((VEC_LIMB_MASK - 18) << 11), b.v[0]));
#define SUB_LIMB(i) out.v[i] = VEC_OP(add_epi64)(a.v[i], VEC_OP(sub_epi64)(rest, b.v[i]));
    SUB_LIMB(1) SUB_LIMB(2) SUB_LIMB(3) SUB_LIMB(4)
#undef SUB_LIMB
    return out;
}

/* Carry columns of less than 2^64 to a tight element: what is passed on is below 2^13, and 19 times
 * that where it wraps. */
VEC_INLINE vec_fe vec_carry_columns(vec_wide w) {
    const vec_int mask = vec_u64(VEC_LIMB_MASK);
    vec_fe out;
#define LIMB(i) VEC_SI(and)(w.v[i], mask)
#define PASSED(i) VEC_OP(srli_epi64)(w.v[i], 51)
    out.v[0] = VEC_OP(madd52lo_epu64)(LIMB(0), PASSED(4), vec_u64(19));
    out.v[1] = VEC_OP(add_epi64)(LIMB(1), PASSED(0));
    out.v[2] = VEC_OP(add_epi64)(LIMB(2), PASSED(1));
    out.v[3] = VEC_OP(add_epi64)(LIMB(3), PASSED(2));
    out.v[4] = VEC_OP(add_epi64)(LIMB(4), PASSED(3));
#undef PASSED
#undef LIMB
    return out;
}

/* The columns have no constant parts: the second argument matters in vec_fma4.h. */
#define vec_carry(w, BIAS) vec_carry_columns(w)

VEC_INLINE vec_fe vec_add(const vec_fe *a, const vec_fe *b) {
    return vec_carry_columns(vec_wide_add(*a, *b));
}

VEC_INLINE vec_fe vec_sub(const vec_fe *a, const vec_fe *b) {
    return vec_carry_columns(vec_wide_sub(*a, *b));
}

VEC_INLINE vec_fe vec_tighten(const vec_fe *a) { return *a; }

/* In each lane a where the mask is set, else b. */
VEC_INLINE vec_fe vec_select(vec_mask mask, const vec_fe *a, const vec_fe *b) {
    vec_fe out;
#define SELECT_LIMB(i) out.v[i] = VEC_OP(mask_blend_epi64)(mask, b->v[i], a->v[i]);
    VEC_EACH_LIMB(SELECT_LIMB)
#undef SELECT_LIMB
    return out;
}

VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return (vec_mask)(a | b); }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return (vec_mask)(a ^ b); }
VEC_INLINE unsigned vec_mask_bits(vec_mask mask) { return mask; }
VEC_INLINE vec_mask vec_mask_of_bits(unsigned bits) { return (vec_mask)bits; }

/* The lanes whose bit 0 of a vector of integers is set. */
VEC_INLINE vec_mask vec_mask_odd(vec_int x) { return VEC_OP(test_epi64_mask)(x, vec_u64(1)); }

VEC_INLINE vec_int vec_int_load(const uint64_t lanes[VEC_LANES]) {
    return VEC_SI(loadu)((const void *)lanes);
}

VEC_INLINE void vec_int_store(uint64_t lanes[VEC_LANES], vec_int in) {
    VEC_SI(storeu)((void *)lanes, in);
}

/* A tight element from limbs of less than 2^61, limb by limb. */
VEC_INLINE vec_fe vec_load(uint64_t limbs[5][VEC_LANES]) {
    vec_wide wide;
#define LOAD_LIMB(i) wide.v[i] = vec_int_load(limbs[i]);
    VEC_EACH_LIMB(LOAD_LIMB)
#undef LOAD_LIMB
    return vec_carry_columns(wide);
}

/* The same element, tight limbs given, in all lanes. */
VEC_INLINE vec_fe vec_set(uint64_t l0, uint64_t l1, uint64_t l2, uint64_t l3, uint64_t l4) {
    vec_fe out;
    out.v[0] = vec_u64(l0);
    out.v[1] = vec_u64(l1);
    out.v[2] = vec_u64(l2);
    out.v[3] = vec_u64(l3);
    out.v[4] = vec_u64(l4);
    return out;
}

VEC_INLINE vec_fe vec_neg(const vec_fe *a) {
    const vec_fe zero = vec_set(0, 0, 0, 0, 0);
    return vec_sub(&zero, a);
}

/* Limbs as positive integers below 2^54, which they are. */
VEC_INLINE vec_wide vec_positive(const vec_fe *a) { return *a; }

VEC_INLINE vec_int vec_int_add(vec_int a, vec_int b) { return VEC_OP(add_epi64)(a, b); }
VEC_INLINE vec_int vec_int_and(vec_int a, uint64_t b) { return VEC_SI(and)(a, vec_u64(b)); }
VEC_INLINE vec_int vec_int_or(vec_int a, vec_int b) { return VEC_SI(or)(a, b); }
VEC_INLINE vec_int vec_int_set(uint64_t value) { return vec_u64(value); }
VEC_INLINE vec_int vec_int_times_19(vec_int a) { return vec_times_19(a); }
#define vec_int_shift(a, bits) VEC_OP(srli_epi64)(a, bits)
VEC_INLINE vec_mask vec_int_is_zero(vec_int a) {
    return VEC_OP(cmpeq_epi64_mask)(a, VEC_SI(setzero)());
}

/* Words: limbs as they lie in memory, in tables of points that one field makes for itself. */
VEC_INLINE void vec_store_words(uint64_t words[5][VEC_LANES], const vec_fe *a) {
#define STORE_LIMB(i) vec_int_store(words[i], a->v[i]);
    VEC_EACH_LIMB(STORE_LIMB)
#undef STORE_LIMB
}

/* The elements that vec_store_words stored. */
VEC_INLINE vec_fe vec_load_words(uint64_t words[5][VEC_LANES]) {
    vec_fe out;
#define LOAD_LIMB(i) out.v[i] = vec_int_load(words[i]);
    VEC_EACH_LIMB(LOAD_LIMB)
#undef LOAD_LIMB
    return out;
}

/* One element, given as words, in all lanes. */
VEC_INLINE vec_fe vec_broadcast(const uint64_t words[5]) {
    return vec_set(words[0], words[1], words[2], words[3], words[4]);
}

#if VEC_LANES == 8

/* Transpose 8 x 8 words; gathers would take fewer instructions, but the fix of CVE-2022-40982 makes
 * them very slow on most processors that have AVX-512. */
VEC_INLINE void vec_transpose(__m512i r[8]) {
    const __m512i even01 = _mm512_unpacklo_epi64(r[0], r[1]),
                  odd01 = _mm512_unpackhi_epi64(r[0], r[1]);
    const __m512i even23 = _mm512_unpacklo_epi64(r[2], r[3]),
                  odd23 = _mm512_unpackhi_epi64(r[2], r[3]);
    const __m512i even45 = _mm512_unpacklo_epi64(r[4], r[5]),
                  odd45 = _mm512_unpackhi_epi64(r[4], r[5]);
    const __m512i even67 = _mm512_unpacklo_epi64(r[6], r[7]),
                  odd67 = _mm512_unpackhi_epi64(r[6], r[7]);
    /* Words 0 and 4, or 2 and 6, of four rows; odd ones 1 and 5, or 3 and 7. */
    const __m512i even04 = _mm512_shuffle_i64x2(even01, even23, 0x88);
    const __m512i even26 = _mm512_shuffle_i64x2(even01, even23, 0xdd);
    const __m512i more04 = _mm512_shuffle_i64x2(even45, even67, 0x88);
    const __m512i more26 = _mm512_shuffle_i64x2(even45, even67, 0xdd);
    const __m512i odd15 = _mm512_shuffle_i64x2(odd01, odd23, 0x88);
    const __m512i odd37 = _mm512_shuffle_i64x2(odd01, odd23, 0xdd);
    const __m512i more15 = _mm512_shuffle_i64x2(odd45, odd67, 0x88);
    const __m512i more37 = _mm512_shuffle_i64x2(odd45, odd67, 0xdd);
    r[0] = _mm512_shuffle_i64x2(even04, more04, 0x88);
    r[1] = _mm512_shuffle_i64x2(odd15, more15, 0x88);
    r[2] = _mm512_shuffle_i64x2(even26, more26, 0x88);
    r[3] = _mm512_shuffle_i64x2(odd37, more37, 0x88);
    r[4] = _mm512_shuffle_i64x2(even04, more04, 0xdd);
    r[5] = _mm512_shuffle_i64x2(odd15, more15, 0xdd);
    r[6] = _mm512_shuffle_i64x2(even26, more26, 0xdd);
    r[7] = _mm512_shuffle_i64x2(odd37, more37, 0xdd);
}

#define VEC_EACH_LANE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* The first four words of rows i and j, one above the other. */
#define VEC_PAIR(i, j)                                                                           \
    _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)(rows[i] + 16))), \
                       _mm256_loadu_si256((const void *)(rows[j] + 16)), 1)

/* Load four elements of each lane's own row of 20 words. */
VEC_INLINE void vec_load_rows(vec_fe out[4], const uint64_t *const rows[VEC_LANES]) {
    __m512i a[8], b[8];
    const __m512i r02 = VEC_PAIR(0, 2), r13 = VEC_PAIR(1, 3), r46 = VEC_PAIR(4, 6),
                  r57 = VEC_PAIR(5, 7);
    const __m512i low0 = _mm512_unpacklo_epi64(r02, r13), high0 = _mm512_unpackhi_epi64(r02, r13);
    const __m512i low4 = _mm512_unpacklo_epi64(r46, r57), high4 = _mm512_unpackhi_epi64(r46, r57);
#define LOAD_ROW(lane)                                              \
    a[lane] = _mm512_loadu_si512((const void *)rows[lane]);         \
    b[lane] = _mm512_loadu_si512((const void *)(rows[lane] + 8));
    VEC_EACH_LANE(LOAD_ROW)
#undef LOAD_ROW
    vec_transpose(a);
    vec_transpose(b);
    out[0].v[0] = a[0];
    out[0].v[1] = a[1];
    out[0].v[2] = a[2];
    out[0].v[3] = a[3];
    out[0].v[4] = a[4];
    out[1].v[0] = a[5];
    out[1].v[1] = a[6];
    out[1].v[2] = a[7];
    out[1].v[3] = b[0];
    out[1].v[4] = b[1];
    out[2].v[0] = b[2];
    out[2].v[1] = b[3];
    out[2].v[2] = b[4];
    out[2].v[3] = b[5];
    out[2].v[4] = b[6];
    out[3].v[0] = b[7];
    out[3].v[1] = _mm512_shuffle_i64x2(low0, low4, 0x88);
    out[3].v[2] = _mm512_shuffle_i64x2(high0, high4, 0x88);
    out[3].v[3] = _mm512_shuffle_i64x2(low0, low4, 0xdd);
    out[3].v[4] = _mm512_shuffle_i64x2(high0, high4, 0xdd);
}

/* Store four elements to each lane's own row. */
VEC_INLINE void vec_store_rows(uint64_t *const rows[VEC_LANES], const vec_fe in[4]) {
    __m512i a[8] = {in[0].v[0], in[0].v[1], in[0].v[2], in[0].v[3],
                    in[0].v[4], in[1].v[0], in[1].v[1], in[1].v[2]};
    __m512i b[8] = {in[1].v[3], in[1].v[4], in[2].v[0], in[2].v[1],
                    in[2].v[2], in[2].v[3], in[2].v[4], in[3].v[0]};
    const __m512i even01 = _mm512_unpacklo_epi64(in[3].v[1], in[3].v[2]);
    const __m512i odd01 = _mm512_unpackhi_epi64(in[3].v[1], in[3].v[2]);
    const __m512i even23 = _mm512_unpacklo_epi64(in[3].v[3], in[3].v[4]);
    const __m512i odd23 = _mm512_unpackhi_epi64(in[3].v[3], in[3].v[4]);
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512i r02 = _mm512_permutex2var_epi64(even01, first, even23);
    const __m512i r13 = _mm512_permutex2var_epi64(odd01, first, odd23);
    const __m512i r46 = _mm512_permutex2var_epi64(even01, second, even23);
    const __m512i r57 = _mm512_permutex2var_epi64(odd01, second, odd23);
    vec_transpose(a);
    vec_transpose(b);
#define STORE_ROW(lane)                                     \
    _mm512_storeu_si512((void *)rows[lane], a[lane]);       \
    _mm512_storeu_si512((void *)(rows[lane] + 8), b[lane]);
    VEC_EACH_LANE(STORE_ROW)
#undef STORE_ROW
#define STORE_PAIR(i, j, pair)                                                                  \
    _mm256_storeu_si256((void *)(rows[i] + 16), _mm512_castsi512_si256(pair));                  \
    _mm256_storeu_si256((void *)(rows[j] + 16), _mm512_extracti64x4_epi64(pair, 1));
    STORE_PAIR(0, 2, r02)
    STORE_PAIR(1, 3, r13)
    STORE_PAIR(4, 6, r46)
    STORE_PAIR(5, 7, r57)
#undef STORE_PAIR
}

#else

/* The lanes of a limb in another order, a constant; see VEC_PERMUTE in quad.h. */
#define vec_permute_limb(limb, order) _mm256_permutex_epi64(limb, order)

/* a + b in the lanes of `plus`, a - b in those of `minus`, a in the others. */
VEC_INLINE vec_fe vec_add_signed(const vec_fe *a, const vec_fe *b, vec_mask plus, vec_mask minus) {
    const vec_int four_p = vec_u64(VEC_LIMB_MASK << 2);
    vec_fe out;
#define ADD_LIMB(i, p4)                                                                  \
    out.v[i] = _mm256_mask_add_epi64(a->v[i], plus, a->v[i], b->v[i]);                   \
    out.v[i] = _mm256_mask_sub_epi64(out.v[i], minus, _mm256_add_epi64(a->v[i], p4), b->v[i]);
    ADD_LIMB(0, vec_u64((VEC_LIMB_MASK - 18) << 2))
    ADD_LIMB(1, four_p)
    ADD_LIMB(2, four_p)
    ADD_LIMB(3, four_p)
    ADD_LIMB(4, four_p)
#undef ADD_LIMB
    return vec_carry_columns(out);
}

#endif

#endif
