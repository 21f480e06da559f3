/* Four elements of the field of p = 2^255 - 19 at once, with AVX2 and FMA.
 *
 * AVX2 multiplies integers of 32 bits only, but its floating-point units multiply 53 bits and keep
 * the whole product for an addition. An element is five limbs of radix 2^51, each a signed integer
 * in a double. A product ab of two limbs is split without loss by
 *
 *     high = fma(a, b, C),  low = fma(a, b, C - high),  C = 1.5 * 2^103
 *
 * The unit in the last place of every number in [2^103, 2^104) is 2^51: `high` is C plus ab rounded
 * to a multiple of 2^51, and `low` is the rest, exactly, at most 2^50. Both are then added up as
 * 64-bit integers by their bit patterns, whose constant parts are taken away once at the end. This
 * needs rounding to nearest: vec_begin sets it, whatever the calling program had.
 *
 * Bounds, as absolute values of limbs:
 *
 *     tight  at most 2^50 + 2^15; what vec_carry, vec_tighten and the loads return
 *     loose  at most 3 * tight; a sum or difference of up to three tight elements
 *
 * A product takes a loose and a tight factor: 3 * 2^50 * 2^50 and 5 * 2^82 are below 2^102, so that
 * C + ab stays in its interval. A square takes a tight one. */
#ifndef PLUGINAPI_ED25519_VEC_FMA4_H
#define PLUGINAPI_ED25519_VEC_FMA4_H

#include <immintrin.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "wide.h"

#ifdef __FAST_MATH__
#error "vec_fma4.h relies on exact floating-point arithmetic: do not build it with -ffast-math"
#endif

#define VEC_LANES 4
#define VEC_INLINE static inline PA_CPU_TARGET_AVX2 PA_CPU_ALWAYS_INLINE
#define VEC_FUNCTION static PA_NOINLINE PA_CPU_TARGET_AVX2

typedef struct vec_fe {
    __m256d v[5];
} vec_fe;

/* Five columns of integers, not carried. */
typedef struct vec_wide {
    __m256i v[5];
} vec_wide;

typedef __m256i vec_int;
typedef __m256i vec_mask; /* all ones or all zeros in each lane */
typedef unsigned vec_state;

/* Round to nearest, with no exception unmasked, until vec_end gives the caller's mode back. */
VEC_INLINE vec_state vec_begin(void) {
    const vec_state before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return before;
}

VEC_INLINE void vec_end(vec_state before) { _mm_setcsr(before); }

#define VEC_EACH_LIMB(DO) DO(0) DO(1) DO(2) DO(3) DO(4)

#define VEC_SPLIT 0x1.8p103            /* C */
#define VEC_SPLIT_BITS UINT64_C(0x4668000000000000)
#define VEC_LOW 0x1.8p52               /* makes a pattern of what is below 2^51 */
#define VEC_LOW_BITS UINT64_C(0x4338000000000000)
#define VEC_MAGIC UINT64_C(0x4330000000000000) /* 2^52 */
#define VEC_LIMB_MASK ((UINT64_C(1) << 51) - 1)

VEC_INLINE __m256i vec_u64(uint64_t value) { return _mm256_set1_epi64x((int64_t)value); }
VEC_INLINE __m256i vec_bits(__m256d value) { return _mm256_castpd_si256(value); }

/* How many products a column k of a product or square sums up: as many lows, and the next column
 * as many highs. */
#define VEC_TERMS_MUL(k) ((k) < 0 || (k) > 8 ? 0 : (k) < 5 ? (k) + 1 : 9 - (k))
#define VEC_TERMS_SQR(k) ((VEC_TERMS_MUL(k) + 1) / 2)

/* The patterns' constant parts in column k after 19 times column k + 5 was added, modulo 2^64. */
#define VEC_COLUMN(terms, k) \
    ((uint64_t)terms(k) * VEC_LOW_BITS + (uint64_t)terms((k) - 1) * VEC_SPLIT_BITS)
#define VEC_FOLDED(terms, k) (VEC_COLUMN(terms, k) + 19 * VEC_COLUMN(terms, (k) + 5))

/* What vec_carry adds to a column: 2^62, a multiple of 2^51, makes it positive, and 2^50 makes the
 * division by 2^51 round. */
#define VEC_BIAS ((UINT64_C(1) << 62) + (UINT64_C(1) << 50))

/* What the columns are a sum of, for vec_carry: products (or squares) less the constants that
 * their patterns bring. */
#define VEC_BIAS_MUL(k) (VEC_BIAS - VEC_FOLDED(VEC_TERMS_MUL, k))
#define VEC_BIAS_MUL_TWICE(k) (VEC_BIAS - 2 * VEC_FOLDED(VEC_TERMS_MUL, k))
#define VEC_BIAS_SQR(k) (VEC_BIAS - VEC_FOLDED(VEC_TERMS_SQR, k))
#define VEC_BIAS_SQR_TWICE(k) (VEC_BIAS - 2 * VEC_FOLDED(VEC_TERMS_SQR, k))
#define VEC_BIAS_NONE(k) VEC_BIAS

/* 19 x, wrapping around at 2^255 = 19. */
VEC_INLINE __m256i vec_times_19(__m256i x) {
    return _mm256_add_epi64(_mm256_add_epi64(x, _mm256_add_epi64(x, x)), _mm256_slli_epi64(x, 4));
}

/* Add the product of two limbs to column k and the next; VEC_FIRST begins the next one. */
#define VEC_PRODUCT(a, b, k, NEXT)                                                      \
    do {                                                                                \
        const __m256d high = _mm256_fmadd_pd(a, b, split);                              \
        const __m256d low = _mm256_fmadd_pd(a, b, _mm256_sub_pd(split_low, high));      \
        z##k = _mm256_add_epi64(z##k, vec_bits(low));                                   \
        NEXT;                                                                           \
    } while (0)
#define VEC_FIRST(a, b, k, next) VEC_PRODUCT(a, b, k, z##next = vec_bits(high))
#define VEC_MORE(a, b, k, next) \
    VEC_PRODUCT(a, b, k, z##next = _mm256_add_epi64(z##next, vec_bits(high)))

#define VEC_FOLD(out)                                        \
    do {                                                     \
        out.v[0] = _mm256_add_epi64(z0, vec_times_19(z5));   \
        out.v[1] = _mm256_add_epi64(z1, vec_times_19(z6));   \
        out.v[2] = _mm256_add_epi64(z2, vec_times_19(z7));   \
        out.v[3] = _mm256_add_epi64(z3, vec_times_19(z8));   \
        out.v[4] = _mm256_add_epi64(z4, vec_times_19(z9));   \
    } while (0)

/* The product of a loose and a tight element. A column holds at most 5 (2^51 + 2^50), and after
 * the fold 20 times that, below 2^58.3. */
VEC_INLINE vec_wide vec_wide_mul(const vec_fe *a, const vec_fe *b) {
    const __m256d split = _mm256_set1_pd(VEC_SPLIT);
    const __m256d split_low = _mm256_set1_pd(VEC_SPLIT + VEC_LOW);
    __m256i z0 = _mm256_setzero_si256(), z1, z2, z3, z4, z5, z6, z7, z8, z9;
    vec_wide out;
    VEC_FIRST(a->v[0], b->v[0], 0, 1);
    VEC_FIRST(a->v[0], b->v[1], 1, 2);
    VEC_MORE(a->v[1], b->v[0], 1, 2);
    VEC_FIRST(a->v[0], b->v[2], 2, 3);
    VEC_MORE(a->v[1], b->v[1], 2, 3);
    VEC_MORE(a->v[2], b->v[0], 2, 3);
    VEC_FIRST(a->v[0], b->v[3], 3, 4);
    VEC_MORE(a->v[1], b->v[2], 3, 4);
    VEC_MORE(a->v[2], b->v[1], 3, 4);
    VEC_MORE(a->v[3], b->v[0], 3, 4);
    VEC_FIRST(a->v[0], b->v[4], 4, 5);
    VEC_MORE(a->v[1], b->v[3], 4, 5);
    VEC_MORE(a->v[2], b->v[2], 4, 5);
    VEC_MORE(a->v[3], b->v[1], 4, 5);
    VEC_MORE(a->v[4], b->v[0], 4, 5);
    VEC_FIRST(a->v[1], b->v[4], 5, 6);
    VEC_MORE(a->v[2], b->v[3], 5, 6);
    VEC_MORE(a->v[3], b->v[2], 5, 6);
    VEC_MORE(a->v[4], b->v[1], 5, 6);
    VEC_FIRST(a->v[2], b->v[4], 6, 7);
    VEC_MORE(a->v[3], b->v[3], 6, 7);
    VEC_MORE(a->v[4], b->v[2], 6, 7);
    VEC_FIRST(a->v[3], b->v[4], 7, 8);
    VEC_MORE(a->v[4], b->v[3], 7, 8);
    VEC_FIRST(a->v[4], b->v[4], 8, 9);
    VEC_FOLD(out);
    return out;
}

/* The square of a tight element. */
VEC_INLINE vec_wide vec_wide_sqr(const vec_fe *a) {
    const __m256d split = _mm256_set1_pd(VEC_SPLIT);
    const __m256d split_low = _mm256_set1_pd(VEC_SPLIT + VEC_LOW);
    const __m256d twice0 = _mm256_add_pd(a->v[0], a->v[0]);
    const __m256d twice1 = _mm256_add_pd(a->v[1], a->v[1]);
    const __m256d twice2 = _mm256_add_pd(a->v[2], a->v[2]);
    const __m256d twice3 = _mm256_add_pd(a->v[3], a->v[3]);
    __m256i z0 = _mm256_setzero_si256(), z1, z2, z3, z4, z5, z6, z7, z8, z9;
    vec_wide out;
    VEC_FIRST(a->v[0], a->v[0], 0, 1);
    VEC_FIRST(twice0, a->v[1], 1, 2);
    VEC_FIRST(twice0, a->v[2], 2, 3);
    VEC_MORE(a->v[1], a->v[1], 2, 3);
    VEC_FIRST(twice0, a->v[3], 3, 4);
    VEC_MORE(twice1, a->v[2], 3, 4);
    VEC_FIRST(twice0, a->v[4], 4, 5);
    VEC_MORE(twice1, a->v[3], 4, 5);
    VEC_MORE(a->v[2], a->v[2], 4, 5);
    VEC_FIRST(twice1, a->v[4], 5, 6);
    VEC_MORE(twice2, a->v[3], 5, 6);
    VEC_FIRST(twice2, a->v[4], 6, 7);
    VEC_MORE(a->v[3], a->v[3], 6, 7);
    VEC_FIRST(twice3, a->v[4], 7, 8);
    VEC_FIRST(a->v[4], a->v[4], 8, 9);
    VEC_FOLD(out);
    return out;
}

VEC_INLINE vec_wide vec_wide_add(vec_wide a, vec_wide b) {
    vec_wide out;
#define ADD_LIMB(i) out.v[i] = _mm256_add_epi64(a.v[i], b.v[i]);
    VEC_EACH_LIMB(ADD_LIMB)
#undef ADD_LIMB
    return out;
}

VEC_INLINE vec_wide vec_wide_sub(vec_wide a, vec_wide b) {
    vec_wide out;
#define SUB_LIMB(i) out.v[i] = _mm256_sub_epi64(a.v[i], b.v[i]);
    VEC_EACH_LIMB(SUB_LIMB)
#undef SUB_LIMB
    return out;
}

/* Carry columns of less than 2^61 to a tight element; use vec_carry, which names the bias.
 *
 * What a limb passes on is below 2^12, or 19 times that where it wraps. The limb's 51 bits become
 * a double by setting the exponent of 2^52 above them; taking 2^52 + 2^50 away gives back what
 * VEC_BIAS added, and 2^11 (2^62 / 2^51) what it passed on. */
VEC_INLINE vec_fe vec_carry_biased(__m256i y0, __m256i y1, __m256i y2, __m256i y3, __m256i y4) {
    const __m256i mask = vec_u64(VEC_LIMB_MASK);
    const __m256i magic = vec_u64(VEC_MAGIC);
    const __m256d back = _mm256_set1_pd(0x1p52 + 0x1p50 + 0x1p11);
    const __m256i wrapped = _mm256_mul_epu32(_mm256_srli_epi64(y4, 51), vec_u64(19));
    vec_fe out;
#define LIMB(y) _mm256_add_epi64(_mm256_and_si256(y, mask), magic)
#define TO_DOUBLE(y, passed, offset) \
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_add_epi64(LIMB(y), passed)), offset)
    out.v[0] = TO_DOUBLE(y0, wrapped, _mm256_set1_pd(0x1p52 + 0x1p50 + 19 * 0x1p11));
    out.v[1] = TO_DOUBLE(y1, _mm256_srli_epi64(y0, 51), back);
    out.v[2] = TO_DOUBLE(y2, _mm256_srli_epi64(y1, 51), back);
    out.v[3] = TO_DOUBLE(y3, _mm256_srli_epi64(y2, 51), back);
    out.v[4] = TO_DOUBLE(y4, _mm256_srli_epi64(y3, 51), back);
#undef TO_DOUBLE
#undef LIMB
    return out;
}

#define vec_carry(w, BIAS)                                                            \
    vec_carry_biased(_mm256_add_epi64((w).v[0], vec_u64(BIAS(0))),                    \
                     _mm256_add_epi64((w).v[1], vec_u64(BIAS(1))),                    \
                     _mm256_add_epi64((w).v[2], vec_u64(BIAS(2))),                    \
                     _mm256_add_epi64((w).v[3], vec_u64(BIAS(3))),                    \
                     _mm256_add_epi64((w).v[4], vec_u64(BIAS(4))))

/* a + b and a - b; of two tight elements loose. */
VEC_INLINE vec_fe vec_add(const vec_fe *a, const vec_fe *b) {
    vec_fe out;
#define ADD_LIMB(i) out.v[i] = _mm256_add_pd(a->v[i], b->v[i]);
    VEC_EACH_LIMB(ADD_LIMB)
#undef ADD_LIMB
    return out;
}

VEC_INLINE vec_fe vec_sub(const vec_fe *a, const vec_fe *b) {
    vec_fe out;
#define SUB_LIMB(i) out.v[i] = _mm256_sub_pd(a->v[i], b->v[i]);
    VEC_EACH_LIMB(SUB_LIMB)
#undef SUB_LIMB
    return out;
}

/* Make a loose element tight: adding and taking away C rounds a limb to a multiple of 2^51. */
VEC_INLINE vec_fe vec_tighten(const vec_fe *a) {
    const __m256d split = _mm256_set1_pd(VEC_SPLIT);
    const __m256d unit = _mm256_set1_pd(0x1p-51);
    vec_fe out;
#define ROUND_LIMB(i) \
    const __m256d carry##i = _mm256_sub_pd(_mm256_add_pd(a->v[i], split), split);
    VEC_EACH_LIMB(ROUND_LIMB)
#undef ROUND_LIMB
#define CARRY_LIMB(i, from, factor) \
    out.v[i] = _mm256_fmadd_pd(carry##from, factor, _mm256_sub_pd(a->v[i], carry##i));
    CARRY_LIMB(0, 4, _mm256_set1_pd(19 * 0x1p-51))
    CARRY_LIMB(1, 0, unit)
    CARRY_LIMB(2, 1, unit)
    CARRY_LIMB(3, 2, unit)
    CARRY_LIMB(4, 3, unit)
#undef CARRY_LIMB
    return out;
}

VEC_INLINE vec_fe vec_neg(const vec_fe *a) {
    const __m256d zero = _mm256_setzero_pd();
    vec_fe out;
#define NEG_LIMB(i) out.v[i] = _mm256_sub_pd(zero, a->v[i]);
    VEC_EACH_LIMB(NEG_LIMB)
#undef NEG_LIMB
    return out;
}

/* In each lane a where the mask is set, else b. */
VEC_INLINE vec_fe vec_select(vec_mask mask, const vec_fe *a, const vec_fe *b) {
    const __m256d where = _mm256_castsi256_pd(mask);
    vec_fe out;
#define SELECT_LIMB(i) out.v[i] = _mm256_blendv_pd(b->v[i], a->v[i], where);
    VEC_EACH_LIMB(SELECT_LIMB)
#undef SELECT_LIMB
    return out;
}

VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return _mm256_or_si256(a, b); }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return _mm256_xor_si256(a, b); }

/* One bit for each lane. */
VEC_INLINE unsigned vec_mask_bits(vec_mask mask) {
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(mask));
}

/* The mask of one bit for each lane. */
VEC_INLINE vec_mask vec_mask_of_bits(unsigned bits) {
    const __m256i each = _mm256_setr_epi64x(1, 2, 4, 8);
    return _mm256_cmpeq_epi64(_mm256_and_si256(vec_u64(bits), each), each);
}

/* The lanes whose bit 0 of a vector of integers is set. */
VEC_INLINE vec_mask vec_mask_odd(vec_int x) {
    return _mm256_sub_epi64(_mm256_setzero_si256(), _mm256_and_si256(x, vec_u64(1)));
}

VEC_INLINE vec_int vec_int_load(const uint64_t lanes[VEC_LANES]) {
    return _mm256_loadu_si256((const __m256i *)(const void *)lanes);
}

VEC_INLINE void vec_int_store(uint64_t lanes[VEC_LANES], vec_int in) {
    _mm256_storeu_si256((__m256i *)(void *)lanes, in);
}

/* A tight element from limbs of less than 2^61, limb by limb. */
VEC_INLINE vec_fe vec_load(uint64_t limbs[5][VEC_LANES]) {
    vec_wide wide;
#define LOAD_LIMB(i) wide.v[i] = vec_int_load(limbs[i]);
    VEC_EACH_LIMB(LOAD_LIMB)
#undef LOAD_LIMB
    return vec_carry(wide, VEC_BIAS_NONE);
}

/* The same small element, tight limbs given, in all lanes. */
VEC_INLINE vec_fe vec_set(uint64_t l0, uint64_t l1, uint64_t l2, uint64_t l3, uint64_t l4) {
    vec_wide wide;
    wide.v[0] = vec_u64(l0);
    wide.v[1] = vec_u64(l1);
    wide.v[2] = vec_u64(l2);
    wide.v[3] = vec_u64(l3);
    wide.v[4] = vec_u64(l4);
    return vec_carry(wide, VEC_BIAS_NONE);
}

/* Limbs as positive integers below 2^54: a loose element plus 4p. */
VEC_INLINE vec_wide vec_positive(const vec_fe *a) {
    const __m256d low = _mm256_set1_pd(VEC_LOW);
    const __m256i rest = vec_u64((UINT64_C(1) << 53) - 4 - VEC_LOW_BITS);
    vec_wide out;
    vec_fe tight = vec_tighten(a);
#define POSITIVE_LIMB(i) \
    out.v[i] = _mm256_add_epi64(vec_bits(_mm256_add_pd(tight.v[i], low)), rest);
    VEC_EACH_LIMB(POSITIVE_LIMB)
#undef POSITIVE_LIMB
    out.v[0] = _mm256_sub_epi64(out.v[0], vec_u64(72));
    return out;
}

/* Integer arithmetic for vec_canonical and the like, in the template's terms. */
VEC_INLINE vec_int vec_int_add(vec_int a, vec_int b) { return _mm256_add_epi64(a, b); }
VEC_INLINE vec_int vec_int_and(vec_int a, uint64_t b) { return _mm256_and_si256(a, vec_u64(b)); }
VEC_INLINE vec_int vec_int_or(vec_int a, vec_int b) { return _mm256_or_si256(a, b); }
VEC_INLINE vec_int vec_int_set(uint64_t value) { return vec_u64(value); }
VEC_INLINE vec_int vec_int_times_19(vec_int a) { return vec_times_19(a); }
#define vec_int_shift(a, bits) _mm256_srli_epi64(a, bits)
VEC_INLINE vec_mask vec_int_is_zero(vec_int a) {
    return _mm256_cmpeq_epi64(a, _mm256_setzero_si256());
}

/* Words: limbs as they lie in memory, in tables of points that one field makes for itself. */
VEC_INLINE void vec_store_words(uint64_t words[5][VEC_LANES], const vec_fe *a) {
#define STORE_LIMB(i) _mm256_storeu_pd((double *)(void *)words[i], a->v[i]);
    VEC_EACH_LIMB(STORE_LIMB)
#undef STORE_LIMB
}

/* The elements that vec_store_words stored. */
VEC_INLINE vec_fe vec_load_words(uint64_t words[5][VEC_LANES]) {
    vec_fe out;
#define LOAD_LIMB(i) out.v[i] = _mm256_loadu_pd((const double *)(const void *)words[i]);
    VEC_EACH_LIMB(LOAD_LIMB)
#undef LOAD_LIMB
    return out;
}

/* One element, given as words, in all lanes. */
VEC_INLINE vec_fe vec_broadcast(const uint64_t words[5]) {
    vec_fe out;
#define BROADCAST_LIMB(i) out.v[i] = _mm256_castsi256_pd(vec_u64(words[i]));
    VEC_EACH_LIMB(BROADCAST_LIMB)
#undef BROADCAST_LIMB
    return out;
}

typedef struct vec_quad {
    __m256d v[4];
} vec_quad;

/* Four words of each lane's row, one word a register. */
VEC_INLINE vec_quad vec_transpose(__m256d r0, __m256d r1, __m256d r2, __m256d r3) {
    const __m256d low01 = _mm256_unpacklo_pd(r0, r1), high01 = _mm256_unpackhi_pd(r0, r1);
    const __m256d low23 = _mm256_unpacklo_pd(r2, r3), high23 = _mm256_unpackhi_pd(r2, r3);
    vec_quad out;
    out.v[0] = _mm256_permute2f128_pd(low01, low23, 0x20);
    out.v[1] = _mm256_permute2f128_pd(high01, high23, 0x20);
    out.v[2] = _mm256_permute2f128_pd(low01, low23, 0x31);
    out.v[3] = _mm256_permute2f128_pd(high01, high23, 0x31);
    return out;
}

#define VEC_ROW_LOAD(lane, at) _mm256_load_pd((const double *)(const void *)(rows[lane] + (at)))
#define VEC_ROW_STORE(lane, at, value) \
    _mm256_store_pd((double *)(void *)(rows[lane] + (at)), value)

/* Load four elements of each lane's own row of 20 words, aligned to 32 bytes. */
VEC_INLINE void vec_load_rows(vec_fe out[4], const uint64_t *const rows[VEC_LANES]) {
    __m256d *const words[20] = {
        &out[0].v[0], &out[0].v[1], &out[0].v[2], &out[0].v[3], &out[0].v[4],
        &out[1].v[0], &out[1].v[1], &out[1].v[2], &out[1].v[3], &out[1].v[4],
        &out[2].v[0], &out[2].v[1], &out[2].v[2], &out[2].v[3], &out[2].v[4],
        &out[3].v[0], &out[3].v[1], &out[3].v[2], &out[3].v[3], &out[3].v[4],
    };
#define LOAD_FOUR(at)                                                                   \
    do {                                                                                \
        const vec_quad quad = vec_transpose(VEC_ROW_LOAD(0, at), VEC_ROW_LOAD(1, at),   \
                                            VEC_ROW_LOAD(2, at), VEC_ROW_LOAD(3, at));  \
        *words[(at)] = quad.v[0];                                                       \
        *words[(at) + 1] = quad.v[1];                                                   \
        *words[(at) + 2] = quad.v[2];                                                   \
        *words[(at) + 3] = quad.v[3];                                                   \
    } while (0)
    LOAD_FOUR(0);
    LOAD_FOUR(4);
    LOAD_FOUR(8);
    LOAD_FOUR(12);
    LOAD_FOUR(16);
#undef LOAD_FOUR
}

/* Store four elements to each lane's own row. */
VEC_INLINE void vec_store_rows(uint64_t *const rows[VEC_LANES], const vec_fe in[4]) {
    const __m256d *const words[20] = {
        &in[0].v[0], &in[0].v[1], &in[0].v[2], &in[0].v[3], &in[0].v[4],
        &in[1].v[0], &in[1].v[1], &in[1].v[2], &in[1].v[3], &in[1].v[4],
        &in[2].v[0], &in[2].v[1], &in[2].v[2], &in[2].v[3], &in[2].v[4],
        &in[3].v[0], &in[3].v[1], &in[3].v[2], &in[3].v[3], &in[3].v[4],
    };
#define STORE_FOUR(at)                                                               \
    do {                                                                             \
        const vec_quad quad = vec_transpose(*words[(at)], *words[(at) + 1],          \
                                            *words[(at) + 2], *words[(at) + 3]);     \
        VEC_ROW_STORE(0, at, quad.v[0]);                                             \
        VEC_ROW_STORE(1, at, quad.v[1]);                                             \
        VEC_ROW_STORE(2, at, quad.v[2]);                                             \
        VEC_ROW_STORE(3, at, quad.v[3]);                                             \
    } while (0)
    STORE_FOUR(0);
    STORE_FOUR(4);
    STORE_FOUR(8);
    STORE_FOUR(12);
    STORE_FOUR(16);
#undef STORE_FOUR
}

/* The lanes of a limb in another order, a constant; see VEC_PERMUTE in quad.h. */
#define vec_permute_limb(limb, order) _mm256_permute4x64_pd(limb, order)

/* a + b in the lanes of `plus`, a - b in those of `minus`, a in the others; the bounds add up. */
VEC_INLINE vec_fe vec_add_signed(const vec_fe *a, const vec_fe *b, unsigned plus, unsigned minus) {
#define SIGN(lane) ((double)(plus >> (lane) & 1) - (double)(minus >> (lane) & 1))
    const __m256d signs = _mm256_setr_pd(SIGN(0), SIGN(1), SIGN(2), SIGN(3));
#undef SIGN
    vec_fe out;
#define ADD_LIMB(i) out.v[i] = _mm256_fmadd_pd(b->v[i], signs, a->v[i]);
    VEC_EACH_LIMB(ADD_LIMB)
#undef ADD_LIMB
    return out;
}

#endif
