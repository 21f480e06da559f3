/* Kernels that absorb whole blocks of SHA3-512 into one or several states at once.
 *
 * A state of several streams is interleaved: lane i of stream j stands at state[i * width + j].
 * States are kept as numbers, whatever the byte order of the machine. Nothing here keeps anything
 * between calls, so all of it is thread-safe. */
#ifndef PLUGINAPI_KECCAK_KECCAK_H
#define PLUGINAPI_KECCAK_KECCAK_H

#include <stddef.h>
#include <stdint.h>

#include "cpu/cpu.h"

/* FIPS 202, section 6.1: capacity 1024, so a rate of 576 bits: nine of the 25 lanes. */
#define PA_SHA3_512_RATE 72
#define PA_SHA3_512_RATE_LANES 9
#define PA_SHA3_512_DIGEST 64
#define PA_KECCAK_STATE_LANES 25
#define PA_KECCAK_MAX_WIDTH 8

/* Absorb `blocks` blocks of 72 bytes from `data` into one state. */
typedef void pa_keccak_absorb_fn(uint64_t *state, const uint8_t *data, size_t blocks);

/* Absorb `blocks` blocks from each of `width` pointers, in step, into interleaved states. */
typedef void pa_keccak_absorb_many_fn(uint64_t *state, const uint8_t *const *data, size_t blocks);

typedef struct pa_keccak_kernels {
    pa_keccak_absorb_fn *one;
    /* By logarithm of the width: 2, 4 and 8 streams. NULL where a wider one costs no more, or
     * where there is none. */
    pa_keccak_absorb_many_fn *many[3];
    const char *name; /* the paths, such as "bmi2, avx2 x4" */
} pa_keccak_kernels;

/* Return the kernels of a CPU level (pa_cpu_level), or NULL for a number that is none. The caller
 * answers for the processor being of that level. */
const pa_keccak_kernels *pa_keccak_kernels_of(int level);

/* The single kernels; those with a processor in their name exist on x86-64 alone. */
pa_keccak_absorb_fn pa_keccak_absorb_portable;
#if PA_CPU_X86_64
pa_keccak_absorb_fn pa_keccak_absorb_bmi2;
pa_keccak_absorb_fn pa_keccak_absorb_avx512;
pa_keccak_absorb_many_fn pa_keccak_absorb_x2_avx512;
pa_keccak_absorb_many_fn pa_keccak_absorb_x4_avx2;
pa_keccak_absorb_many_fn pa_keccak_absorb_x4_avx512;
pa_keccak_absorb_many_fn pa_keccak_absorb_x8_avx512;
#endif

#endif
