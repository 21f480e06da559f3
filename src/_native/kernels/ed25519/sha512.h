/* SHA-512 (FIPS 180-4, section 6.4), streaming. Distinct states may be used by several threads. */
#ifndef PLUGINAPI_ED25519_SHA512_H
#define PLUGINAPI_ED25519_SHA512_H

#include <stddef.h>
#include <stdint.h>

#include "cpu/cpu.h"

#define PA_SHA512_BLOCK 128
#define PA_SHA512_DIGEST 64

/* Compress `blocks` blocks of 128 bytes into the state. */
typedef void pa_sha512_blocks_fn(uint64_t state[8], const uint8_t *data, size_t blocks);

typedef struct pa_sha512 {
    uint64_t state[8];
    uint64_t length; /* bytes seen; FIPS 180-4 allows 2^125, no buffer has more than 2^64 */
    uint8_t buffer[PA_SHA512_BLOCK];
} pa_sha512;

void pa_sha512_init(pa_sha512 *hash);

/* Take in `length` bytes; NULL is allowed for none. */
void pa_sha512_update(pa_sha512 *hash, pa_sha512_blocks_fn *blocks, const uint8_t *data,
                      size_t length);

/* Write the digest; the state is used up. */
void pa_sha512_final(pa_sha512 *hash, pa_sha512_blocks_fn *blocks, uint8_t digest[64]);

pa_sha512_blocks_fn pa_sha512_blocks_portable;
#if PA_CPU_X86_64
pa_sha512_blocks_fn pa_sha512_blocks_bmi2;
#endif

#endif
