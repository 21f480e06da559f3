/* Compare the emulated intrinsics with the processor's own: exits 0 when all that it has agree.
 *
 * Compiled three times: with INTRINSICS_TABLE named for each of the two, and without for the
 * program. The call of each intrinsic is written once, in intrinsics_list.h. */
#include "intrinsics_check.h"

#include <stdio.h>
#include <string.h>

#ifdef INTRINSICS_TABLE

#include <immintrin.h>

#define TARGET_AVX2 PA_CPU_TARGET_AVX2
#define TARGET_AVX512 PA_CPU_TARGET_AVX512VL
#define TARGET_IFMA PA_CPU_TARGET_AVX512IFMA
#define LEVEL_AVX2 PA_CPU_LEVEL_AVX2
#define LEVEL_AVX512 PA_CPU_LEVEL_AVX512VL
#define LEVEL_IFMA PA_CPU_LEVEL_AVX512IFMA

#define FUNCTION(level, bits, id, ...)                                             \
    TARGET_##level static void run_##id(const uint8_t *p, uint8_t *out) {          \
        uint8_t *const w = out + 64;                                               \
        const uint8_t k = p[4 * 64];                                               \
        __m##bits##i a, b, c;                                                      \
        __m128i low;                                                               \
        memcpy(&a, p + 64, sizeof a);                                              \
        memcpy(&b, p + 2 * 64, sizeof b);                                          \
        memcpy(&c, p + 3 * 64, sizeof c);                                          \
        memcpy(&low, p + 2 * 64, sizeof low);                                      \
        (void)a, (void)b, (void)c, (void)low, (void)k, (void)w;                    \
        __VA_ARGS__                                                                \
    }
#define REGISTER(level, bits, id, ...)                                             \
    FUNCTION(level, bits, id, {                                                    \
        const __m##bits##i r = __VA_ARGS__;                                        \
        memcpy(out, &r, sizeof r);                                                 \
    })
#define NUMBER(level, bits, id, ...)                                               \
    FUNCTION(level, bits, id, {                                                    \
        const uint64_t r = (uint64_t)(__VA_ARGS__);                                \
        memcpy(out, &r, sizeof r);                                                 \
    })
#include "intrinsics_list.h"

#undef REGISTER
#undef NUMBER
#define REGISTER(level, bits, id, ...) {LEVEL_##level, #id, run_##id},
#define NUMBER REGISTER
#define NAME_OF(table) table
#define COUNT_OF_NAMED(table) table##_count
#define COUNT_OF(table) COUNT_OF_NAMED(table)
const intrinsic NAME_OF(INTRINSICS_TABLE)[] = {
#include "intrinsics_list.h"
};
const size_t COUNT_OF(INTRINSICS_TABLE) =
    sizeof NAME_OF(INTRINSICS_TABLE) / sizeof NAME_OF(INTRINSICS_TABLE)[0];

#else

#ifdef PA_NO_SYSTEM
/* tests/machine: everything is emulated, and Bochs 2.7, unlike processors, shifts right by 64 as by
 * 0 in VPSRAVQ. */
#define ROUNDS 40
#define SMALL 63
#else
#define ROUNDS 400
#define SMALL 70
#endif

static uint64_t random_state = 88172645463325252u;

static uint64_t random_word(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

/* A lane: any value, one at a border, or a small one such as a count or an index. */
static uint64_t random_lane(void) {
    static const uint64_t borders[] = {
        0, 1, UINT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1, UINT32_MAX, UINT64_C(1) << 31,
        UINT64_C(1) << 51, (UINT64_C(1) << 52) - 1, UINT64_C(1) << 52, ~((UINT64_C(1) << 52) - 1),
    };
    switch (random_word() % 4) {
    case 0:
        return borders[random_word() % (sizeof borders / sizeof borders[0])];
    case 1:
        return random_word() % (SMALL + 1);
    default:
        return random_word();
    }
}

/* Fill the input; now and then two registers are alike, for comparisons. */
static void make_input(uint8_t *input) {
    size_t i;
    for (i = 0; i < INTRINSIC_INPUT / 8; i++) {
        const uint64_t lane = random_lane();
        memcpy(input + 8 * i, &lane, 8);
        if (i >= 16 && random_word() % 4 == 0) {
            memcpy(input + 8 * i, input + 8 * (i - 8), 8);
        }
    }
}

static void show(const char *name, const uint8_t *bytes, size_t count) {
    size_t i;
    fprintf(stderr, "  %s", name);
    for (i = 0; i < count; i++) {
        fprintf(stderr, "%s%02x", i % 8 == 0 ? " " : "", bytes[i]);
    }
    fputs("\n", stderr);
}

int main(void) {
    static _Alignas(64) uint8_t input[INTRINSIC_INPUT];
    static _Alignas(64) uint8_t ours[INTRINSIC_OUTPUT], theirs[INTRINSIC_OUTPUT];
    const int best = (int)pa_cpu_level_of(pa_cpu_features());
    size_t i, compared = 0, wrong = 0;
    if (intrinsics_emulated_count != intrinsics_native_count) {
        return 2;
    }
    for (i = 0; i < intrinsics_native_count; i++) {
        int round, differs = 0;
        if (intrinsics_native[i].level > best) {
            continue;
        }
        for (round = 0; round < ROUNDS && !differs; round++) {
            make_input(input);
            memset(ours, 0x5a, sizeof ours);
            memset(theirs, 0x5a, sizeof theirs);
            intrinsics_emulated[i].run(input, ours);
            intrinsics_native[i].run(input, theirs);
            differs = memcmp(ours, theirs, sizeof ours) != 0;
        }
        compared++;
        if (differs) {
            wrong++;
            fprintf(stderr, "%s differs\n", intrinsics_native[i].id);
            show("input   ", input, sizeof input);
            show("emulated", ours, sizeof ours);
            show("real    ", theirs, sizeof theirs);
        }
    }
    printf("%s: %zu of %zu calls compared, %zu differ\n", pa_cpu_level_name(best), compared,
           intrinsics_native_count, wrong);
    return wrong > 0 || compared == 0;
}

#endif
