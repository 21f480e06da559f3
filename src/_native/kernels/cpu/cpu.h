/* What this processor and its operating system let a kernel use, asked of cpuid and xgetbv.
 *
 * __builtin_cpu_supports is not used: some compilers' run-times answer no to everything.
 * Thread-safe: nothing is kept; callers ask once and remember the answer. */
#ifndef PLUGINAPI_CPU_CPU_H
#define PLUGINAPI_CPU_CPU_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#define PA_CPU_X86_64 1
#else
#define PA_CPU_X86_64 0
#endif

/* Compile one function for more than the baseline. MSVC needs no such permission. With
 * PA_CPU_EMULATED, a build of the tests, intrinsics are functions in standard C and nothing may be
 * compiled for more than the baseline: see tests/native_harness/emulation. */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(PA_CPU_EMULATED)
#define PA_CPU_TARGET(isa) __attribute__((target(isa)))
#define PA_CPU_ALWAYS_INLINE __attribute__((always_inline))
#elif defined(_MSC_VER)
#define PA_CPU_TARGET(isa)
#define PA_CPU_ALWAYS_INLINE __forceinline
#else
#define PA_CPU_TARGET(isa)
#define PA_CPU_ALWAYS_INLINE
#endif
#define PA_CPU_TARGET_BMI2 PA_CPU_TARGET("bmi,bmi2")
#define PA_CPU_TARGET_AVX2 PA_CPU_TARGET("bmi,bmi2,avx2,fma")
#define PA_CPU_TARGET_AVX512VL PA_CPU_TARGET("bmi,bmi2,avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")
#define PA_CPU_TARGET_AVX512IFMA \
    PA_CPU_TARGET("bmi,bmi2,avx2,fma,avx512f,avx512vl,avx512bw,avx512dq,avx512ifma")

/* Single features, as a set of bits. A vector feature is set only when the operating system
 * saves its registers. */
#define PA_CPU_BMI1 UINT32_C(0x001)
#define PA_CPU_BMI2 UINT32_C(0x002)
#define PA_CPU_ADX UINT32_C(0x004)
#define PA_CPU_AVX2 UINT32_C(0x008)
#define PA_CPU_AVX512F UINT32_C(0x010)
#define PA_CPU_AVX512DQ UINT32_C(0x020)
#define PA_CPU_AVX512BW UINT32_C(0x040)
#define PA_CPU_AVX512VL UINT32_C(0x080)
#define PA_CPU_AVX512IFMA UINT32_C(0x100)
#define PA_CPU_FMA UINT32_C(0x200)
#define PA_CPU_INTRINSICS_EMULATED UINT32_C(0x400) /* no processor has it: PA_CPU_EMULATED */

/* Levels, each including those before it. Kernels are chosen by level, never by single features,
 * so that each path that exists can be selected and tested on a machine that has more. */
typedef enum pa_cpu_level {
    PA_CPU_LEVEL_PORTABLE = 0,   /* standard C alone */
    PA_CPU_LEVEL_BMI2 = 1,       /* BMI1 and BMI2 */
    PA_CPU_LEVEL_AVX2 = 2,       /* and AVX2 and FMA */
    PA_CPU_LEVEL_AVX512VL = 3,   /* and AVX-512 F, DQ, BW and VL */
    PA_CPU_LEVEL_AVX512IFMA = 4, /* and AVX-512 IFMA */
    PA_CPU_LEVELS = 5
} pa_cpu_level;

/* Return the features that may be used; 0 on other architectures. A build with emulated intrinsics
 * has those of every level besides. */
uint32_t pa_cpu_features(void);

/* Return the highest level whose features are all in the set. */
pa_cpu_level pa_cpu_level_of(uint32_t features);

/* Return the name of a level, such as "avx512vl", or NULL for a number that is none. */
const char *pa_cpu_level_name(int level);

/* Return the level of this name, or -1. Names are exact, in lower case. */
int pa_cpu_level_named(const char *name);

/* Return the name of the feature at this index of the set's bits, or NULL beyond the last. */
const char *pa_cpu_feature_name(int bit);

#endif
