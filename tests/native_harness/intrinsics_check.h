/* What the three parts of intrinsics_check.c share. */
#ifndef PLUGINAPI_TESTS_INTRINSICS_CHECK_H
#define PLUGINAPI_TESTS_INTRINSICS_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "cpu/cpu.h"

/* Five registers of 64 bytes: readable memory, a, b, c, and the mask in the first byte of the last.
 * The result comes first, then 128 bytes that may have been written. */
#define INTRINSIC_INPUT (5 * 64)
#define INTRINSIC_OUTPUT (3 * 64)

typedef struct intrinsic {
    int level; /* a pa_cpu_level */
    const char *id;
    void (*run)(const uint8_t *input, uint8_t *output);
} intrinsic;

extern const intrinsic intrinsics_emulated[], intrinsics_native[];
extern const size_t intrinsics_emulated_count, intrinsics_native_count;

#endif
