/* SHA3-512 (FIPS 202) of one message that comes in pieces of any size.
 *
 * One context belongs to one thread at a time. It holds no pointers to memory of its own, so a
 * context is copied by assignment and needs no release. */
#ifndef PLUGINAPI_KECCAK_SHA3_512_H
#define PLUGINAPI_KECCAK_SHA3_512_H

#include "keccak.h"

typedef struct pa_sha3_512 {
    uint64_t state[PA_KECCAK_STATE_LANES];
    uint8_t block[PA_SHA3_512_RATE]; /* the beginning of a block that is not complete */
    size_t filled;                   /* bytes in `block`, fewer than the rate */
} pa_sha3_512;

/* Begin a message. */
void pa_sha3_512_init(pa_sha3_512 *hash);

/* Append `length` bytes. */
void pa_sha3_512_update(pa_sha3_512 *hash, const pa_keccak_kernels *kernels, const uint8_t *data,
                        size_t length);

/* Write the digest of what was appended so far; the message can go on afterwards. */
void pa_sha3_512_digest(const pa_sha3_512 *hash, const pa_keccak_kernels *kernels,
                        uint8_t digest[PA_SHA3_512_DIGEST]);

/* Write the digest of one whole message. */
void pa_sha3_512_of(const pa_keccak_kernels *kernels, const uint8_t *data, size_t length,
                    uint8_t digest[PA_SHA3_512_DIGEST]);

/* Complete the last block, of which `filled` bytes, fewer than the rate, are message: the domain
 * bits 01 of SHA-3 and the padding 10*1. */
void pa_sha3_512_pad(uint8_t block[PA_SHA3_512_RATE], size_t filled);

/* Write the digest from stream `index` of a state of `width` interleaved streams. */
void pa_sha3_512_squeeze(const uint64_t *state, size_t width, size_t index,
                         uint8_t digest[PA_SHA3_512_DIGEST]);

#endif
