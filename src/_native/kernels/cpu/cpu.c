#include "cpu.h"

#include <stddef.h>
#include <string.h>

#if PA_CPU_X86_64 && defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#elif PA_CPU_X86_64
#include <cpuid.h>
#endif

static const char *const LEVEL_NAMES[PA_CPU_LEVELS] = {"portable", "bmi2", "avx2", "avx512vl",
                                                       "avx512ifma"};

/* In the order of the bits PA_CPU_BMI1 and up. */
static const char *const FEATURE_NAMES[] = {"bmi1",     "bmi2",     "adx",      "avx2",      "avx512f",
                                            "avx512dq", "avx512bw", "avx512vl", "avx512ifma",
                                            "fma",      "emulated"};

static const uint32_t LEVEL_NEEDS[PA_CPU_LEVELS] = {
    0,
    PA_CPU_BMI1 | PA_CPU_BMI2,
    PA_CPU_BMI1 | PA_CPU_BMI2 | PA_CPU_AVX2 | PA_CPU_FMA,
    PA_CPU_BMI1 | PA_CPU_BMI2 | PA_CPU_AVX2 | PA_CPU_FMA | PA_CPU_AVX512F | PA_CPU_AVX512DQ | PA_CPU_AVX512BW |
        PA_CPU_AVX512VL,
    PA_CPU_BMI1 | PA_CPU_BMI2 | PA_CPU_AVX2 | PA_CPU_FMA | PA_CPU_AVX512F | PA_CPU_AVX512DQ | PA_CPU_AVX512BW |
        PA_CPU_AVX512VL | PA_CPU_AVX512IFMA,
};

#if PA_CPU_X86_64

typedef struct registers {
    uint32_t eax, ebx, ecx, edx;
} registers;

static registers cpuid(uint32_t leaf, uint32_t subleaf) {
    registers out;
#if defined(_MSC_VER) && !defined(__clang__)
    int raw[4];
    __cpuidex(raw, (int)leaf, (int)subleaf);
    out.eax = (uint32_t)raw[0];
    out.ebx = (uint32_t)raw[1];
    out.ecx = (uint32_t)raw[2];
    out.edx = (uint32_t)raw[3];
#else
    __cpuid_count(leaf, subleaf, out.eax, out.ebx, out.ecx, out.edx);
#endif
    return out;
}

/* Return the register sets that the operating system saves (XCR0). */
static uint32_t saved_state(void) {
#if defined(_MSC_VER) && !defined(__clang__)
    return (uint32_t)_xgetbv(0);
#else
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
#endif
}

/* Bits of cpuid(1).ecx and of XCR0: Intel SDM volume 1, 13.3 and 14.3. */
#define LEAF1_ECX_FMA (UINT32_C(1) << 12)
#define LEAF1_ECX_OSXSAVE (UINT32_C(1) << 27)
#define LEAF1_ECX_AVX (UINT32_C(1) << 28)
#define XCR0_YMM UINT32_C(0x06)
#define XCR0_ZMM UINT32_C(0xe6)

typedef struct feature_bit {
    uint32_t feature;
    unsigned ebx_bit;     /* of cpuid(7, 0) */
    uint32_t needs_state; /* bits of XCR0 */
} feature_bit;

static const feature_bit FEATURE_BITS[] = {
    {PA_CPU_BMI1, 3, 0},
    {PA_CPU_BMI2, 8, 0},
    {PA_CPU_ADX, 19, 0},
    {PA_CPU_AVX2, 5, XCR0_YMM},
    {PA_CPU_AVX512F, 16, XCR0_ZMM},
    {PA_CPU_AVX512DQ, 17, XCR0_ZMM},
    {PA_CPU_AVX512BW, 30, XCR0_ZMM},
    {PA_CPU_AVX512VL, 31, XCR0_ZMM},
    {PA_CPU_AVX512IFMA, 21, XCR0_ZMM},
};

#ifdef PA_CPU_EMULATED
#define EMULATED_FEATURES (LEVEL_NEEDS[PA_CPU_LEVELS - 1] | PA_CPU_INTRINSICS_EMULATED)
#else
#define EMULATED_FEATURES 0
#endif

uint32_t pa_cpu_features(void) {
    uint32_t found = EMULATED_FEATURES;
    uint32_t state = 0;
    uint32_t ecx, ebx;
    size_t i;
    if (cpuid(0, 0).eax < 7) {
        return found;
    }
    ecx = cpuid(1, 0).ecx;
    ebx = cpuid(7, 0).ebx;
    if ((ecx & LEAF1_ECX_OSXSAVE) != 0 && (ecx & LEAF1_ECX_AVX) != 0) {
        state = saved_state();
    }
    if ((ecx & LEAF1_ECX_FMA) != 0 && (state & XCR0_YMM) == XCR0_YMM) {
        found |= PA_CPU_FMA;
    }
    for (i = 0; i < sizeof FEATURE_BITS / sizeof FEATURE_BITS[0]; i++) {
        const feature_bit *const bit = &FEATURE_BITS[i];
        if (((ebx >> bit->ebx_bit) & 1) != 0 && (state & bit->needs_state) == bit->needs_state) {
            found |= bit->feature;
        }
    }
    return found;
}

#else

uint32_t pa_cpu_features(void) { return 0; }

#endif

pa_cpu_level pa_cpu_level_of(uint32_t features) {
    int level = PA_CPU_LEVELS - 1;
    while ((features & LEVEL_NEEDS[level]) != LEVEL_NEEDS[level]) {
        level--;
    }
    return (pa_cpu_level)level;
}

const char *pa_cpu_level_name(int level) {
    return level >= 0 && level < PA_CPU_LEVELS ? LEVEL_NAMES[level] : NULL;
}

int pa_cpu_level_named(const char *name) {
    int level;
    for (level = 0; level < PA_CPU_LEVELS; level++) {
        if (strcmp(name, LEVEL_NAMES[level]) == 0) {
            return level;
        }
    }
    return -1;
}

const char *pa_cpu_feature_name(int bit) {
    const int count = (int)(sizeof FEATURE_NAMES / sizeof FEATURE_NAMES[0]);
    return bit >= 0 && bit < count ? FEATURE_NAMES[bit] : NULL;
}
