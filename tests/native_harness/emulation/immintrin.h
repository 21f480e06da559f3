/* The intrinsics that the kernels use, in standard C: a build that has this directory first among
 * its include directories, and PA_CPU_EMULATED defined, runs every path on any x86-64 machine.
 *
 * For tests alone. Each operation follows the "Operation" section of its instruction in the Intel
 * 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 2; the instruction stands
 * before it. tests/native_harness/intrinsics_check.c compares them with the real ones.
 *
 * To add one, write a line with a macro of registers.h. What an intrinsic leaves undefined is
 * filled with a pattern here, so that a kernel that uses it goes wrong. That immediates are
 * constant and pointers have the right types is what the ordinary build checks. */
#ifndef PLUGINAPI_EMULATION_IMMINTRIN_H
#define PLUGINAPI_EMULATION_IMMINTRIN_H

#ifndef PA_CPU_EMULATED
#error "emulated intrinsics in a build that does not say so: define PA_CPU_EMULATED"
#endif

#include "registers.h"

#define EMU_UNDEFINED 0xa5
#define EMU_LOW32(a) ((a) & UINT32_MAX)
#define EMU_LOW52(a) ((a) & ((UINT64_C(1) << 52) - 1))
__extension__ typedef unsigned __int128 emu_uint128;

/* --- Arithmetic --------------------------------------------------------------------------- */

/* VPADDQ, VPADDD, VPSUBQ, VPSUBD: modulo the width of the lane. */
EMU_2(add_epi64, q, A + B)
EMU_2(add_epi32, d, A + B)
EMU_2(sub_epi64, q, A - B)
EMU_2(sub_epi32, d, A - B)
/* VPMULUDQ, VPMULDQ: the full product of the low halves, unsigned and signed. */
EMU_2(mul_epu32, q, EMU_LOW32(A) * EMU_LOW32(B))
EMU_2(mul_epi32, q, (int64_t)(int32_t)EMU_LOW32(A) * (int32_t)EMU_LOW32(B))
/* VPMULLQ, VPMULLD: the low half of the product. */
EMU_2(mullo_epi64, q, A * B)
EMU_2(mullo_epi32, d, A * B)
/* VPMADD52LUQ, VPMADD52HUQ: the first operand plus bits 51..0, or 103..52, of the product of the
 * low 52 bits of the others; the upper 12 bits of those are ignored. */
EMU_3(madd52lo_epu64, q, A + EMU_LOW52((emu_uint128)EMU_LOW52(B) * EMU_LOW52(C)))
EMU_3(madd52hi_epu64, q, A + (uint64_t)((emu_uint128)EMU_LOW52(B) * EMU_LOW52(C) >> 52))
/* VPMINUQ, VPMAXUQ, VPMINUD, VPMAXUD. */
EMU_2(min_epu64, q, A < B ? A : B)
EMU_2(max_epu64, q, A > B ? A : B)
EMU_2(min_epu32, d, A < B ? A : B)
EMU_2(max_epu32, d, A > B ? A : B)

/* --- Logic -------------------------------------------------------------------------------- */

/* VPAND, VPANDN, VPOR, VPXOR and their forms with lanes; and-not complements the first operand. */
#define EMU_LOGIC(name, expression)                              \
    EMU_2_OF(_mm_, 128, name##_si128, q, expression)             \
    EMU_2_OF(_mm256_, 256, name##_si256, q, expression)          \
    EMU_2_OF(_mm512_, 512, name##_si512, q, expression)          \
    EMU_2(name##_epi64, q, expression)                           \
    EMU_2(name##_epi32, d, expression)
EMU_LOGIC(and, A & B)
EMU_LOGIC(andnot, ~A & B)
EMU_LOGIC(or, A | B)
EMU_LOGIC(xor, A ^ B)

/* VPTERNLOGQ: each bit of the result is the bit of the immediate whose number is the three bits
 * of the operands, the first operand's most significant. Here as a sum of the eight minterms. */
#define EMU_MINTERM(n, a, b, c) ((N >> (n)) & 1 ? (a) & (b) & (c) : 0)
#define EMU_TERNARY                                                              \
    (EMU_MINTERM(0, ~A, ~B, ~C) | EMU_MINTERM(1, ~A, ~B, C) |                    \
     EMU_MINTERM(2, ~A, B, ~C) | EMU_MINTERM(3, ~A, B, C) |                      \
     EMU_MINTERM(4, A, ~B, ~C) | EMU_MINTERM(5, A, ~B, C) |                      \
     EMU_MINTERM(6, A, B, ~C) | EMU_MINTERM(7, A, B, C))
EMU_3N(ternarylogic_epi64, q, EMU_TERNARY)
EMU_3N(ternarylogic_epi32, d, EMU_TERNARY)

/* --- Shifts and rotations ----------------------------------------------------------------- */

/* VPROLQ, VPRORQ, VPROLVQ, VPRORVQ: the count is taken modulo 64. */
#define EMU_ROTATE_LEFT(a, n) ((a) << ((n) & 63) | (a) >> ((64 - ((n) & 63)) & 63))
EMU_1N(rol_epi64, q, EMU_ROTATE_LEFT(A, N))
EMU_1N(ror_epi64, q, EMU_ROTATE_LEFT(A, 64 - (N & 63)))
EMU_2(rolv_epi64, q, EMU_ROTATE_LEFT(A, B))
EMU_2(rorv_epi64, q, EMU_ROTATE_LEFT(A, 64 - (B & 63)))
/* VPSLLQ, VPSRLQ, VPSRAQ and the forms with D, VPSLLVQ, VPSRLVQ, VPSRAVQ: counts of the width of
 * the lane and above give 0, or 64 copies of the sign. The immediate has eight bits. */
#define EMU_SHIFT_RIGHT_SIGNED(a, n) \
    ((a) >> 63 ? ~((n) > 63 ? 0 : ~(a) >> (n)) : (n) > 63 ? 0 : (a) >> (n))
EMU_1N(slli_epi64, q, (N & 255) > 63 ? 0 : A << (N & 63))
EMU_1N(srli_epi64, q, (N & 255) > 63 ? 0 : A >> (N & 63))
EMU_1N(srai_epi64, q, EMU_SHIFT_RIGHT_SIGNED(A, N & 255))
EMU_1N(slli_epi32, d, (N & 255) > 31 ? 0 : A << (N & 31))
EMU_1N(srli_epi32, d, (N & 255) > 31 ? 0 : A >> (N & 31))
EMU_2(sllv_epi64, q, B > 63 ? 0 : A << (B & 63))
EMU_2(srlv_epi64, q, B > 63 ? 0 : A >> (B & 63))
EMU_2(srav_epi64, q, EMU_SHIFT_RIGHT_SIGNED(A, B))

/* --- Comparisons -------------------------------------------------------------------------- */

/* VPCMPQ, VPCMPUQ: the predicates of SDM table "Comparison predicate for VPCMP*". */
#define _MM_CMPINT_EQ 0
#define _MM_CMPINT_LT 1
#define _MM_CMPINT_LE 2
#define _MM_CMPINT_FALSE 3
#define _MM_CMPINT_NE 4
#define _MM_CMPINT_NLT 5
#define _MM_CMPINT_NLE 6
#define _MM_CMPINT_TRUE 7
#define EMU_COMPARE(a, b)                                                    \
    ((N & 3) == 0   ? ((a) == (b)) != (N & 7) / 4                            \
     : (N & 3) == 1 ? ((a) < (b)) != (N & 7) / 4                             \
     : (N & 3) == 2 ? ((a) <= (b)) != (N & 7) / 4                            \
                    : (N & 7) / 4)
EMU_TESTN(cmp_epu64_mask, q, EMU_COMPARE(A, B))
EMU_TESTN(cmp_epi64_mask, q, EMU_COMPARE((int64_t)A, (int64_t)B))
EMU_TEST(cmpeq_epu64_mask, q, A == B)
EMU_TEST(cmpneq_epu64_mask, q, A != B)
EMU_TEST(cmplt_epu64_mask, q, A < B)
EMU_TEST(cmple_epu64_mask, q, A <= B)
EMU_TEST(cmpgt_epu64_mask, q, A > B)
EMU_TEST(cmpge_epu64_mask, q, A >= B)
EMU_TEST(cmpeq_epi64_mask, q, A == B)
EMU_TEST(cmpneq_epi64_mask, q, A != B)
EMU_TEST(cmplt_epi64_mask, q, (int64_t)A < (int64_t)B)
EMU_TEST(cmple_epi64_mask, q, (int64_t)A <= (int64_t)B)
EMU_TEST(cmpgt_epi64_mask, q, (int64_t)A > (int64_t)B)
EMU_TEST(cmpge_epi64_mask, q, (int64_t)A >= (int64_t)B)
/* VPTESTMQ, VPTESTNMQ: whether the and of the lanes has a bit, or none. */
EMU_TEST(test_epi64_mask, q, A & B)
EMU_TEST(testn_epi64_mask, q, !(A & B))
/* VPCMPEQQ, VPCMPGTQ, VPCMPEQD and VPCMPGTD of AVX2: all ones where it holds. */
#define EMU_COMPARE_AVX2(name, lane, expression)                             \
    EMU_2_OF(_mm_, 128, name, lane, (expression) ? -1 : 0)                   \
    EMU_2_OF(_mm256_, 256, name, lane, (expression) ? -1 : 0)
EMU_COMPARE_AVX2(cmpeq_epi64, q, A == B)
EMU_COMPARE_AVX2(cmpeq_epi32, d, A == B)
EMU_COMPARE_AVX2(cmpgt_epi64, q, (int64_t)A > (int64_t)B)
EMU_COMPARE_AVX2(cmpgt_epi32, d, (int32_t)A > (int32_t)B)

/* --- Shuffles ----------------------------------------------------------------------------- */

/* VPUNPCKLQDQ, VPUNPCKHQDQ, VPUNPCKLDQ, VPUNPCKHDQ: the low or high halves of each 128 bits, a
 * lane of the first operand and one of the second in turn. */
EMU_2(unpacklo_epi64, q, i % 2 ? y.q[i - 1] : x.q[i])
EMU_2(unpackhi_epi64, q, i % 2 ? y.q[i] : x.q[i + 1])
EMU_2(unpacklo_epi32, d, (i % 2 ? y : x).d[HALF(d) + i % 4 / 2])
EMU_2(unpackhi_epi32, d, (i % 2 ? y : x).d[HALF(d) + 2 + i % 4 / 2])
/* VPSHUFB: a control byte with bit 7 gives 0, otherwise its low four bits name a byte of the same
 * 128 bits. */
EMU_2(shuffle_epi8, b, B & 0x80 ? 0 : x.b[HALF(b) + (B & 15)])
/* VPSHUFD, VPERMQ (immediate): two bits of the immediate name the lane, among four. */
EMU_1N(shuffle_epi32, d, x.d[HALF(d) + (N >> 2 * (i % 4) & 3)])
EMU_WIDE(EMU_1N_OF, permutex_epi64, q, x.q[i - i % 4 + (N >> 2 * (i % 4) & 3)])
EMU_1N_OF(_mm256_, 256, permute4x64_epi64, q, x.q[N >> 2 * i & 3])
/* VSHUFI64X2: groups of 128 bits, the lower ones from the first operand, the upper from the
 * second; an index has one bit among two groups and two bits among four. */
EMU_2N_OF(_mm512_, 512, shuffle_i64x2, q, (i < 4 ? x : y).q[2 * (N >> i / 2 * 2 & 3) + i % 2])
EMU_2N_OF(_mm256_, 256, shuffle_i64x2, q, (i < 2 ? x : y).q[2 * (N >> i / 2 & 1) + i % 2])
/* VPERM2I128: for each 128 bits, two bits choose among the four halves of both and bit 3 clears. */
#define EMU_PERM2 (N >> i / 2 * 4)
EMU_2N_OF(_mm256_, 256, permute2x128_si256, q,
          EMU_PERM2 & 8 ? 0 : (EMU_PERM2 & 2 ? y : x).q[2 * (EMU_PERM2 & 1) + i % 2])
/* VPERMQ (register): the first operand holds the indices. VPERMD: the second does. */
EMU_2_OF(_mm512_, 512, permutexvar_epi64, q, y.q[A & 7])
EMU_2_OF(_mm256_, 256, permutexvar_epi64, q, y.q[A & 3])
EMU_2_OF(_mm256_, 256, permutevar8x32_epi32, d, x.d[B & 7])
/* VPERMT2Q: the second operand holds the indices; the bit above them chooses the third. */
EMU_3_OF(_mm512_, 512, permutex2var_epi64, q, (B & 8 ? z : x).q[B & 7])
EMU_3_OF(_mm256_, 256, permutex2var_epi64, q, (B & 4 ? z : x).q[B & 3])
EMU_3_OF(_mm_, 128, permutex2var_epi64, q, (B & 2 ? z : x).q[B & 1])
/* VALIGNQ: both operands in a row, the second below, moved down by so many lanes. */
#define EMU_ALIGN(lanes) \
    (i + (N & ((lanes) - 1)) < (lanes) ? y.q[i + (N & ((lanes) - 1))] \
                                       : x.q[i + (N & ((lanes) - 1)) - (lanes)])
EMU_2N_OF(_mm512_, 512, alignr_epi64, q, EMU_ALIGN(8))
EMU_2N_OF(_mm256_, 256, alignr_epi64, q, EMU_ALIGN(4))
EMU_2N_OF(_mm_, 128, alignr_epi64, q, EMU_ALIGN(2))
/* VPBLENDD: a bit of the immediate takes the second operand. */
EMU_2N_OF(_mm_, 128, blend_epi32, d, N >> i & 1 ? B : A)
EMU_2N_OF(_mm256_, 256, blend_epi32, d, N >> i & 1 ? B : A)
/* VPBLENDMQ, VMOVDQA64: a bit of the mask takes the second operand. */
#define EMU_BLEND(prefix, bits)                                                              \
    EMU __m##bits##i prefix##mask_blend_epi64(__mmask8 k, __m##bits##i x, __m##bits##i y) {  \
        return emu_merge_q_##bits(k, y, x);                                                  \
    }                                                                                        \
    EMU __m##bits##i prefix##mask_mov_epi64(__m##bits##i w, __mmask8 k, __m##bits##i x) {    \
        return emu_merge_q_##bits(k, x, w);                                                  \
    }                                                                                        \
    EMU __m##bits##i prefix##maskz_mov_epi64(__mmask8 k, __m##bits##i x) {                   \
        return emu_zero_q_##bits(k, x);                                                      \
    }
EMU_BLEND(_mm_, 128)
EMU_BLEND(_mm256_, 256)
EMU_BLEND(_mm512_, 512)

#include "doubles.h"
#include "memory.h"
#include "parts.h"

#endif
