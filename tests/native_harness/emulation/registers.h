/* The register and mask types, and the macros that define an intrinsic in one line.
 *
 * A register is a union of its lanes; lane 0 is the least significant. The alignment is the real
 * one, so that UndefinedBehaviorSanitizer reports an aligned access to an address that is not. */
#ifndef PLUGINAPI_EMULATION_REGISTERS_H
#define PLUGINAPI_EMULATION_REGISTERS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef union {
    _Alignas(16) uint64_t q[2];
    uint32_t d[4];
    uint8_t b[16];
} __m128i;

typedef union {
    _Alignas(32) uint64_t q[4];
    uint32_t d[8];
    uint8_t b[32];
    __m128i x[2];
} __m256i;

typedef union {
    _Alignas(64) uint64_t q[8];
    uint32_t d[16];
    uint8_t b[64];
    __m128i x[4];
    __m256i y[2];
} __m512i;

typedef uint8_t __mmask8;
typedef uint16_t __mmask16;
typedef uint32_t __mmask32;
typedef uint64_t __mmask64;

/* Not inlined: a permutation of thousands of operations would take the compiler a minute. What the
 * fuzzer is to cover is the kernels. */
#ifdef __clang__
#define EMU static __attribute__((unused, noinline, no_sanitize("coverage")))
#else
#define EMU static __attribute__((unused, noinline))
#endif

/* By the name of a lane: its type, how many a register has, and the type of their mask. */
#define EMU_LANE_q uint64_t
#define EMU_LANE_d uint32_t
#define EMU_LANE_b uint8_t
#define EMU_COUNT(bits, lane) ((size_t)(bits) / 8 / sizeof(EMU_LANE_##lane))
#define EMU_MASK_q_128 __mmask8
#define EMU_MASK_q_256 __mmask8
#define EMU_MASK_q_512 __mmask8
#define EMU_MASK_d_128 __mmask8
#define EMU_MASK_d_256 __mmask8
#define EMU_MASK_d_512 __mmask16
#define EMU_MASK_b_128 __mmask16
#define EMU_MASK_b_256 __mmask32
#define EMU_MASK_b_512 __mmask64

/* SDM volume 1, 15.6.1: under a mask, lanes whose bit is 1 are written. The others keep what `no`
 * held (merging) or become 0 (zeroing). */
#define EMU_SELECT_OF(bits, lane)                                                          \
    EMU __m##bits##i emu_merge_##lane##_##bits(EMU_MASK_##lane##_##bits k,                 \
                                               __m##bits##i yes, __m##bits##i no) {        \
        size_t i;                                                                          \
        for (i = 0; i < EMU_COUNT(bits, lane); i++) {                                      \
            no.lane[i] = (k >> i) & 1 ? yes.lane[i] : no.lane[i];                          \
        }                                                                                  \
        return no;                                                                         \
    }                                                                                      \
    EMU __m##bits##i emu_zero_##lane##_##bits(EMU_MASK_##lane##_##bits k,                  \
                                              __m##bits##i yes) {                          \
        __m##bits##i zero;                                                                 \
        memset(&zero, 0, sizeof zero);                                                     \
        return emu_merge_##lane##_##bits(k, yes, zero);                                    \
    }
EMU_SELECT_OF(128, q)
EMU_SELECT_OF(256, q)
EMU_SELECT_OF(512, q)
EMU_SELECT_OF(128, d)
EMU_SELECT_OF(256, d)
EMU_SELECT_OF(512, d)
EMU_SELECT_OF(128, b)
EMU_SELECT_OF(256, b)
EMU_SELECT_OF(512, b)

/* The body of a function: lane i of the result is `expression`, in which x, y and z are the whole
 * operands, A, B and C their lanes i, and N is the immediate. HALF is the number of the first lane
 * of the 128 bits in which lane i lies, of which most shuffles do not cross the border. */
#define HALF(lane) (i - i % EMU_COUNT(128, lane))
#define EMU_BODY_1(bits, lane, expression)                                                 \
    __m##bits##i r;                                                                        \
    size_t i;                                                                              \
    for (i = 0; i < EMU_COUNT(bits, lane); i++) {                                          \
        const EMU_LANE_##lane A = x.lane[i];                                               \
        (void)A;                                                                           \
        r.lane[i] = (EMU_LANE_##lane)(expression);                                         \
    }                                                                                      \
    return r;
#define EMU_BODY_2(bits, lane, expression)                                                 \
    __m##bits##i r;                                                                        \
    size_t i;                                                                              \
    for (i = 0; i < EMU_COUNT(bits, lane); i++) {                                          \
        const EMU_LANE_##lane A = x.lane[i], B = y.lane[i];                                \
        (void)A; (void)B;                                                                  \
        r.lane[i] = (EMU_LANE_##lane)(expression);                                         \
    }                                                                                      \
    return r;
#define EMU_BODY_3(bits, lane, expression)                                                 \
    __m##bits##i r;                                                                        \
    size_t i;                                                                              \
    for (i = 0; i < EMU_COUNT(bits, lane); i++) {                                          \
        const EMU_LANE_##lane A = x.lane[i], B = y.lane[i], C = z.lane[i];                 \
        (void)A; (void)B; (void)C;                                                         \
        r.lane[i] = (EMU_LANE_##lane)(expression);                                         \
    }                                                                                      \
    return r;

/* EMU_<operands>_OF defines prefix + name with its merging and zeroing forms. N after the number of
 * registers stands for an immediate. Forms with three registers merge into the first of them; the
 * others into one more operand, w. */
#define EMU_1_OF(prefix, bits, name, lane, expression)                                     \
    EMU __m##bits##i prefix##name(__m##bits##i x) {                                        \
        EMU_BODY_1(bits, lane, expression)                                                 \
    }                                                                                      \
    EMU __m##bits##i prefix##mask_##name(                                                  \
            __m##bits##i w, EMU_MASK_##lane##_##bits k,                                    \
            __m##bits##i x) {                                                              \
        return emu_merge_##lane##_##bits(k, prefix##name(x), w);                           \
    }                                                                                      \
    EMU __m##bits##i prefix##maskz_##name(                                                 \
            EMU_MASK_##lane##_##bits k, __m##bits##i x) {                                  \
        return emu_zero_##lane##_##bits(k, prefix##name(x));                               \
    }
#define EMU_1N_OF(prefix, bits, name, lane, expression)                                    \
    EMU __m##bits##i prefix##name(__m##bits##i x, int n) {                                 \
        const unsigned N = (unsigned)n;                                                    \
        EMU_BODY_1(bits, lane, expression)                                                 \
    }                                                                                      \
    EMU __m##bits##i prefix##mask_##name(                                                  \
            __m##bits##i w, EMU_MASK_##lane##_##bits k,                                    \
            __m##bits##i x, int n) {                                                       \
        return emu_merge_##lane##_##bits(k, prefix##name(x, n), w);                        \
    }                                                                                      \
    EMU __m##bits##i prefix##maskz_##name(                                                 \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, int n) {                           \
        return emu_zero_##lane##_##bits(k, prefix##name(x, n));                            \
    }
#define EMU_2_OF(prefix, bits, name, lane, expression)                                     \
    EMU __m##bits##i prefix##name(__m##bits##i x, __m##bits##i y) {                        \
        EMU_BODY_2(bits, lane, expression)                                                 \
    }                                                                                      \
    EMU __m##bits##i prefix##mask_##name(                                                  \
            __m##bits##i w, EMU_MASK_##lane##_##bits k,                                    \
            __m##bits##i x, __m##bits##i y) {                                              \
        return emu_merge_##lane##_##bits(k, prefix##name(x, y), w);                        \
    }                                                                                      \
    EMU __m##bits##i prefix##maskz_##name(                                                 \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, __m##bits##i y) {                  \
        return emu_zero_##lane##_##bits(k, prefix##name(x, y));                            \
    }
#define EMU_2N_OF(prefix, bits, name, lane, expression)                                    \
    EMU __m##bits##i prefix##name(__m##bits##i x, __m##bits##i y, int n) {                 \
        const unsigned N = (unsigned)n;                                                    \
        EMU_BODY_2(bits, lane, expression)                                                 \
    }                                                                                      \
    EMU __m##bits##i prefix##mask_##name(                                                  \
            __m##bits##i w, EMU_MASK_##lane##_##bits k,                                    \
            __m##bits##i x, __m##bits##i y, int n) {                                       \
        return emu_merge_##lane##_##bits(k, prefix##name(x, y, n), w);                     \
    }                                                                                      \
    EMU __m##bits##i prefix##maskz_##name(                                                 \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, __m##bits##i y, int n) {           \
        return emu_zero_##lane##_##bits(k, prefix##name(x, y, n));                         \
    }
#define EMU_3_OF(prefix, bits, name, lane, expression)                                     \
    EMU __m##bits##i prefix##name(__m##bits##i x, __m##bits##i y, __m##bits##i z) {        \
        EMU_BODY_3(bits, lane, expression)                                                 \
    }                                                                                      \
    EMU __m##bits##i prefix##mask_##name(                                                  \
            __m##bits##i x, EMU_MASK_##lane##_##bits k,                                    \
            __m##bits##i y, __m##bits##i z) {                                              \
        return emu_merge_##lane##_##bits(k, prefix##name(x, y, z), x);                     \
    }                                                                                      \
    EMU __m##bits##i prefix##maskz_##name(                                                 \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, __m##bits##i y, __m##bits##i z) {  \
        return emu_zero_##lane##_##bits(k, prefix##name(x, y, z));                         \
    }
#define EMU_3N_OF(prefix, bits, name, lane, expression)                                    \
    EMU __m##bits##i prefix##name(__m##bits##i x, __m##bits##i y, __m##bits##i z, int n) { \
        const unsigned N = (unsigned)n;                                                    \
        EMU_BODY_3(bits, lane, expression)                                                 \
    }                                                                                      \
    EMU __m##bits##i prefix##mask_##name(                                                  \
            __m##bits##i x, EMU_MASK_##lane##_##bits k,                                    \
            __m##bits##i y, __m##bits##i z, int n) {                                       \
        return emu_merge_##lane##_##bits(k, prefix##name(x, y, z, n), x);                  \
    }                                                                                      \
    EMU __m##bits##i prefix##maskz_##name(                                                 \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, __m##bits##i y, __m##bits##i z, int n) {\
        return emu_zero_##lane##_##bits(k, prefix##name(x, y, z, n));                      \
    }

/* The result is a mask: bit i says whether `expression` holds. Under a mask, bits that are 0 in it
 * stay 0. */
#define EMU_TEST_OF(prefix, bits, name, lane, expression)                                  \
    EMU EMU_MASK_##lane##_##bits prefix##name(__m##bits##i x, __m##bits##i y) {            \
        uint64_t r = 0;                                                                    \
        size_t i;                                                                          \
        for (i = 0; i < EMU_COUNT(bits, lane); i++) {                                      \
            const EMU_LANE_##lane A = x.lane[i], B = y.lane[i];                            \
            (void)A; (void)B;                                                              \
            r |= (uint64_t)((expression) != 0) << i;                                       \
        }                                                                                  \
        return (EMU_MASK_##lane##_##bits)r;                                                \
    }                                                                                      \
    EMU EMU_MASK_##lane##_##bits prefix##mask_##name(                                      \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, __m##bits##i y) {                  \
        return (EMU_MASK_##lane##_##bits)(k & prefix##name(x, y));                         \
    }
#define EMU_TESTN_OF(prefix, bits, name, lane, expression)                                 \
    EMU EMU_MASK_##lane##_##bits prefix##name(__m##bits##i x, __m##bits##i y, int n) {     \
        const unsigned N = (unsigned)n;                                                    \
        uint64_t r = 0;                                                                    \
        size_t i;                                                                          \
        for (i = 0; i < EMU_COUNT(bits, lane); i++) {                                      \
            const EMU_LANE_##lane A = x.lane[i], B = y.lane[i];                            \
            (void)A; (void)B;                                                              \
            r |= (uint64_t)((expression) != 0) << i;                                       \
        }                                                                                  \
        return (EMU_MASK_##lane##_##bits)r;                                                \
    }                                                                                      \
    EMU EMU_MASK_##lane##_##bits prefix##mask_##name(                                      \
            EMU_MASK_##lane##_##bits k, __m##bits##i x, __m##bits##i y, int n) {           \
        return (EMU_MASK_##lane##_##bits)(k & prefix##name(x, y, n));                      \
    }

/* The same in all three widths, and in the two that cross the borders of 128 bits. */
#define EMU_WIDE(SHAPE, name, lane, expression)                                            \
    SHAPE(_mm256_, 256, name, lane, expression)                                            \
    SHAPE(_mm512_, 512, name, lane, expression)
#define EMU_EACH(SHAPE, name, lane, expression)                                            \
    SHAPE(_mm_, 128, name, lane, expression)                                               \
    EMU_WIDE(SHAPE, name, lane, expression)
#define EMU_1(name, lane, expression) EMU_EACH(EMU_1_OF, name, lane, expression)
#define EMU_1N(name, lane, expression) EMU_EACH(EMU_1N_OF, name, lane, expression)
#define EMU_2(name, lane, expression) EMU_EACH(EMU_2_OF, name, lane, expression)
#define EMU_2N(name, lane, expression) EMU_EACH(EMU_2N_OF, name, lane, expression)
#define EMU_3(name, lane, expression) EMU_EACH(EMU_3_OF, name, lane, expression)
#define EMU_3N(name, lane, expression) EMU_EACH(EMU_3N_OF, name, lane, expression)
#define EMU_TEST(name, lane, expression) EMU_EACH(EMU_TEST_OF, name, lane, expression)
#define EMU_TESTN(name, lane, expression) EMU_EACH(EMU_TESTN_OF, name, lane, expression)

#endif
