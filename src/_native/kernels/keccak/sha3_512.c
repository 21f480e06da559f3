#include "sha3_512.h"

#include <string.h>

void pa_sha3_512_init(pa_sha3_512 *hash) {
    memset(hash->state, 0, sizeof hash->state);
    hash->filled = 0;
}

void pa_sha3_512_update(pa_sha3_512 *hash, const pa_keccak_kernels *kernels, const uint8_t *data,
                        size_t length) {
    size_t blocks;
    if (length == 0) {
        return; /* data may be NULL */
    }
    if (hash->filled > 0) {
        const size_t room = PA_SHA3_512_RATE - hash->filled;
        const size_t taken = length < room ? length : room;
        memcpy(hash->block + hash->filled, data, taken);
        hash->filled += taken;
        data += taken;
        length -= taken;
        if (hash->filled < PA_SHA3_512_RATE) {
            return;
        }
        kernels->one(hash->state, hash->block, 1);
        hash->filled = 0;
    }
    blocks = length / PA_SHA3_512_RATE;
    if (blocks > 0) {
        kernels->one(hash->state, data, blocks);
        data += blocks * PA_SHA3_512_RATE;
        length -= blocks * PA_SHA3_512_RATE;
    }
    if (length > 0) {
        memcpy(hash->block, data, length);
        hash->filled = length;
    }
}

void pa_sha3_512_digest(const pa_sha3_512 *hash, const pa_keccak_kernels *kernels,
                        uint8_t digest[PA_SHA3_512_DIGEST]) {
    uint64_t state[PA_KECCAK_STATE_LANES];
    uint8_t block[PA_SHA3_512_RATE];
    memcpy(state, hash->state, sizeof state);
    memcpy(block, hash->block, hash->filled);
    pa_sha3_512_pad(block, hash->filled);
    kernels->one(state, block, 1);
    pa_sha3_512_squeeze(state, 1, 0, digest);
}

void pa_sha3_512_of(const pa_keccak_kernels *kernels, const uint8_t *data, size_t length,
                    uint8_t digest[PA_SHA3_512_DIGEST]) {
    pa_sha3_512 hash;
    pa_sha3_512_init(&hash);
    pa_sha3_512_update(&hash, kernels, data, length);
    pa_sha3_512_digest(&hash, kernels, digest);
}

void pa_sha3_512_pad(uint8_t block[PA_SHA3_512_RATE], size_t filled) {
    memset(block + filled, 0, PA_SHA3_512_RATE - filled);
    block[filled] = 0x06;
    block[PA_SHA3_512_RATE - 1] |= 0x80;
}

void pa_sha3_512_squeeze(const uint64_t *state, size_t width, size_t index,
                         uint8_t digest[PA_SHA3_512_DIGEST]) {
    size_t i;
    for (i = 0; i < PA_SHA3_512_DIGEST; i++) {
        digest[i] = (uint8_t)(state[i / 8 * width + index] >> (8 * (i % 8)));
    }
}
