/* Registers from and to their parts: constants, casts, insertions, extractions, reductions, masks;
 * and the scalar instructions of BMI2 and ADX. */
#ifndef PLUGINAPI_EMULATION_PARTS_H
#define PLUGINAPI_EMULATION_PARTS_H

#include "memory.h"
#include "registers.h"

/* --- Constants ---------------------------------------------------------------------------- */

/* VPXORQ of a register with itself, VPBROADCASTQ, VPBROADCASTD, VPBROADCASTB. */
#define EMU_CONSTANT(prefix, bits, set1_64)                                    \
    EMU __m##bits##i prefix##setzero_si##bits(void) {                          \
        __m##bits##i r;                                                        \
        memset(&r, 0, sizeof r);                                               \
        return r;                                                              \
    }                                                                          \
    EMU __m##bits##i prefix##set1_64(long long a) {                            \
        __m##bits##i r;                                                        \
        size_t i;                                                              \
        for (i = 0; i < EMU_COUNT(bits, q); i++) {                             \
            r.q[i] = (uint64_t)a;                                              \
        }                                                                      \
        return r;                                                              \
    }                                                                          \
    EMU __m##bits##i prefix##set1_epi32(int a) {                               \
        return prefix##set1_64((long long)((uint64_t)(uint32_t)a * 0x100000001u)); \
    }                                                                          \
    EMU __m##bits##i prefix##set1_epi8(char a) {                               \
        __m##bits##i r;                                                        \
        memset(&r, (unsigned char)a, sizeof r);                                \
        return r;                                                              \
    }                                                                          \
    EMU __m##bits##i prefix##maskz_set1_epi64(__mmask8 k, long long a) {       \
        return emu_zero_q_##bits(k, prefix##set1_64(a));                       \
    }                                                                          \
    EMU __m##bits##i prefix##mask_set1_epi64(__m##bits##i w, __mmask8 k, long long a) { \
        return emu_merge_q_##bits(k, prefix##set1_64(a), w);                   \
    }                                                                          \
    EMU __m##bits##i prefix##broadcastq_epi64(__m128i x) {                     \
        return prefix##set1_64((long long)x.q[0]);                             \
    }
EMU_CONSTANT(_mm_, 128, set1_epi64x)
EMU_CONSTANT(_mm256_, 256, set1_epi64x)
EMU_CONSTANT(_mm512_, 512, set1_epi64)

/* `set` names the highest lane first, `setr` the lowest. */
#define EMU_Q(a) ((uint64_t)(a))
#define EMU_D(a) ((uint32_t)(a))
#define EMU_B(a) ((uint8_t)(a))
#define _mm_setr_epi64x(e0, e1) \
    ((__m128i){.q = {EMU_Q(e0), EMU_Q(e1)}})
#define _mm_set_epi64x(e1, e0) \
    _mm_setr_epi64x(e0, e1)
#define _mm256_setr_epi64x(e0, e1, e2, e3) \
    ((__m256i){.q = {EMU_Q(e0), EMU_Q(e1), EMU_Q(e2), EMU_Q(e3)}})
#define _mm256_set_epi64x(e3, e2, e1, e0) \
    _mm256_setr_epi64x(e0, e1, e2, e3)
#define _mm512_setr_epi64(e0, e1, e2, e3, e4, e5, e6, e7) \
    ((__m512i){.q = {EMU_Q(e0), EMU_Q(e1), EMU_Q(e2), EMU_Q(e3), \
        EMU_Q(e4), EMU_Q(e5), EMU_Q(e6), EMU_Q(e7)}})
#define _mm512_set_epi64(e7, e6, e5, e4, e3, e2, e1, e0) \
    _mm512_setr_epi64(e0, e1, e2, e3, e4, e5, e6, e7)
#define _mm_setr_epi32(e0, e1, e2, e3) \
    ((__m128i){.d = {EMU_D(e0), EMU_D(e1), EMU_D(e2), EMU_D(e3)}})
#define _mm_set_epi32(e3, e2, e1, e0) \
    _mm_setr_epi32(e0, e1, e2, e3)
#define _mm256_setr_epi32(e0, e1, e2, e3, e4, e5, e6, e7) \
    ((__m256i){.d = {EMU_D(e0), EMU_D(e1), EMU_D(e2), EMU_D(e3), \
        EMU_D(e4), EMU_D(e5), EMU_D(e6), EMU_D(e7)}})
#define _mm256_set_epi32(e7, e6, e5, e4, e3, e2, e1, e0) \
    _mm256_setr_epi32(e0, e1, e2, e3, e4, e5, e6, e7)
#define _mm_setr_epi8(e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15) \
    ((__m128i){.b = {EMU_B(e0), EMU_B(e1), EMU_B(e2), EMU_B(e3), \
        EMU_B(e4), EMU_B(e5), EMU_B(e6), EMU_B(e7), \
        EMU_B(e8), EMU_B(e9), EMU_B(e10), EMU_B(e11), \
        EMU_B(e12), EMU_B(e13), EMU_B(e14), EMU_B(e15)}})
#define _mm_set_epi8(e15, e14, e13, e12, e11, e10, e9, e8, e7, e6, e5, e4, e3, e2, e1, e0) \
    _mm_setr_epi8(e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15)

/* --- Casts, insertions, extractions ------------------------------------------------------- */

/* `part` is the member of the wide union. A cast leaves the upper bits undefined, an extension
 * (VMOVDQA of the narrow register) clears them. VINSERTI*, VEXTRACTI* take the index modulo the
 * number of parts. */
#define EMU_PARTS(wide, narrow, prefix, part, insert, extract)                             \
    EMU wide prefix##cast##narrow##_##wide(narrow x) {                                     \
        wide r;                                                                            \
        memset(&r, EMU_UNDEFINED, sizeof r);                                               \
        r.part[0] = x;                                                                     \
        return r;                                                                          \
    }                                                                                      \
    EMU wide prefix##zext##narrow##_##wide(narrow x) {                                     \
        wide r;                                                                            \
        memset(&r, 0, sizeof r);                                                           \
        r.part[0] = x;                                                                     \
        return r;                                                                          \
    }                                                                                      \
    EMU narrow prefix##cast##wide##_##narrow(wide x) { return x.part[0]; }                 \
    EMU wide prefix##insert(wide x, narrow y, int n) {                                     \
        x.part[(unsigned)n % (sizeof x / sizeof y)] = y;                                   \
        return x;                                                                          \
    }                                                                                      \
    EMU narrow prefix##extract(wide x, int n) {                                            \
        return x.part[(unsigned)n % (sizeof x / sizeof x.part[0])];                        \
    }
EMU_PARTS(__m256i, __m128i, _mm256_, x, inserti128_si256, extracti128_si256)
EMU_PARTS(__m512i, __m128i, _mm512_, x, inserti64x2, extracti64x2_epi64)
EMU_PARTS(__m512i, __m256i, _mm512_, y, inserti64x4, extracti64x4_epi64)
#define _mm256_castsi128_si256 _mm256_cast__m128i___m256i
#define _mm256_zextsi128_si256 _mm256_zext__m128i___m256i
#define _mm256_castsi256_si128 _mm256_cast__m256i___m128i
#define _mm512_castsi128_si512 _mm512_cast__m128i___m512i
#define _mm512_zextsi128_si512 _mm512_zext__m128i___m512i
#define _mm512_castsi512_si128 _mm512_cast__m512i___m128i
#define _mm512_castsi256_si512 _mm512_cast__m256i___m512i
#define _mm512_zextsi256_si512 _mm512_zext__m256i___m512i
#define _mm512_castsi512_si256 _mm512_cast__m512i___m256i

EMU __m256i _mm256_set_m128i(__m128i high, __m128i low) {
    return _mm256_inserti128_si256(_mm256_zextsi128_si256(low), high, 1);
}
/* VBROADCASTI128, VBROADCASTI64X4. */
EMU __m256i _mm256_broadcastsi128_si256(__m128i x) { return _mm256_set_m128i(x, x); }
EMU __m512i _mm512_broadcast_i64x4(__m256i x) {
    return _mm512_inserti64x4(_mm512_zextsi256_si512(x), x, 1);
}
/* MOVQ, PEXTRQ, PINSRQ: 64 bits from and to a general register. */
EMU __m128i _mm_cvtsi64_si128(long long a) { return _mm_setr_epi64x(a, 0); }
EMU long long _mm_cvtsi128_si64(__m128i x) { return (long long)x.q[0]; }
EMU long long _mm_extract_epi64(__m128i x, int n) { return (long long)x.q[n & 1]; }
EMU long long _mm256_extract_epi64(__m256i x, int n) { return (long long)x.q[n & 3]; }
EMU __m128i _mm_insert_epi64(__m128i x, long long a, int n) {
    x.q[n & 1] = (uint64_t)a;
    return x;
}
EMU __m256i _mm256_insert_epi64(__m256i x, long long a, int n) {
    x.q[n & 3] = (uint64_t)a;
    return x;
}
/* VPMOVQD keeps the low half of each lane; VPMOVZXDQ extends with zeros. */
EMU __m256i _mm512_cvtepi64_epi32(__m512i x) {
    __m256i r;
    size_t i;
    for (i = 0; i < 8; i++) {
        r.d[i] = (uint32_t)x.q[i];
    }
    return r;
}
EMU __m512i _mm512_cvtepu32_epi64(__m256i x) {
    __m512i r;
    size_t i;
    for (i = 0; i < 8; i++) {
        r.q[i] = x.d[i];
    }
    return r;
}
EMU __m256i _mm256_cvtepu32_epi64(__m128i x) {
    __m256i r;
    size_t i;
    for (i = 0; i < 4; i++) {
        r.q[i] = x.d[i];
    }
    return r;
}

/* --- Reductions and masks ----------------------------------------------------------------- */

/* Sequences of instructions: the sum modulo 2^64, the and, the or of all lanes. */
#define EMU_REDUCE(prefix, bits, name, operator)                               \
    EMU long long prefix##name(__m##bits##i x) {                               \
        uint64_t r = x.q[0];                                                   \
        size_t i;                                                              \
        for (i = 1; i < EMU_COUNT(bits, q); i++) {                             \
            r = r operator x.q[i];                                             \
        }                                                                      \
        return (long long)r;                                                   \
    }
EMU_REDUCE(_mm512_, 512, reduce_add_epi64, +)
EMU_REDUCE(_mm512_, 512, reduce_and_epi64, &)
EMU_REDUCE(_mm512_, 512, reduce_or_epi64, |)
/* VPMOVQ2M, VPMOVM2Q: a mask of the sign bits; lanes of all ones. PMOVMSKB: the signs of bytes. */
#define EMU_SIGNS(prefix, bits)                                                \
    EMU __mmask8 prefix##movepi64_mask(__m##bits##i x) {                       \
        unsigned r = 0;                                                        \
        size_t i;                                                              \
        for (i = 0; i < EMU_COUNT(bits, q); i++) {                             \
            r |= (unsigned)(x.q[i] >> 63) << i;                                \
        }                                                                      \
        return (__mmask8)r;                                                    \
    }                                                                          \
    EMU __m##bits##i prefix##movm_epi64(__mmask8 k) {                          \
        return prefix##maskz_set1_epi64(k, -1);                                \
    }                                                                          \
    EMU int prefix##movemask_epi8(__m##bits##i x) {                            \
        uint32_t r = 0;                                                        \
        size_t i;                                                              \
        for (i = 0; i < EMU_COUNT(bits, b) && i < 32; i++) {                   \
            r |= (uint32_t)(x.b[i] >> 7) << i;                                 \
        }                                                                      \
        return (int)r;                                                         \
    }
EMU_SIGNS(_mm_, 128)
EMU_SIGNS(_mm256_, 256)
EMU_SIGNS(_mm512_, 512)
/* VPTEST: whether the and of both has no bit. */
EMU int _mm256_testz_si256(__m256i x, __m256i y) {
    return !((x.q[0] & y.q[0]) | (x.q[1] & y.q[1]) | (x.q[2] & y.q[2]) | (x.q[3] & y.q[3]));
}
/* KANDB, KORB, KXORB, KNOTB, KORTESTB. */
#define _kand_mask8(a, b) ((__mmask8)((a) & (b)))
#define _kor_mask8(a, b) ((__mmask8)((a) | (b)))
#define _kxor_mask8(a, b) ((__mmask8)((a) ^ (b)))
#define _knot_mask8(a) ((__mmask8)(~(unsigned)(a) & 0xffu))
#define _kortestz_mask8_u8(a, b) ((unsigned char)(((a) | (b)) == 0))
#define _cvtmask8_u32(a) ((unsigned)(__mmask8)(a))
#define _cvtu32_mask8(a) ((__mmask8)(a))

/* --- General registers -------------------------------------------------------------------- */

/* MULX: the full product. ADC, ADCX, SBB: any carry but 0 counts as one. */
EMU unsigned long long _mulx_u64(unsigned long long a, unsigned long long b,
                                 unsigned long long *high) {
    const emu_uint128 product = (emu_uint128)a * b;
    *high = (unsigned long long)(product >> 64);
    return (unsigned long long)product;
}
EMU unsigned char _addcarry_u64(unsigned char carry, unsigned long long a, unsigned long long b,
                                unsigned long long *out) {
    const emu_uint128 sum = (emu_uint128)a + b + (carry != 0);
    *out = (unsigned long long)sum;
    return (unsigned char)(sum >> 64);
}
EMU unsigned char _subborrow_u64(unsigned char borrow, unsigned long long a, unsigned long long b,
                                 unsigned long long *out) {
    const emu_uint128 difference = (emu_uint128)a - b - (borrow != 0);
    *out = (unsigned long long)difference;
    return (unsigned char)(difference >> 64 & 1);
}
#define _addcarryx_u64 _addcarry_u64

#endif
