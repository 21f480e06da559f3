#include "sha512.h"

#include <string.h>

#include "sha512_blocks.h"

void pa_sha512_blocks_portable(uint64_t state[8], const uint8_t *data, size_t blocks) {
    PA_SHA512_BLOCKS_BODY
}

void pa_sha512_init(pa_sha512 *hash) {
    static const uint64_t START[8] = {
        UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b),
        UINT64_C(0xa54ff53a5f1d36f1), UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
        UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179)};
    memcpy(hash->state, START, sizeof START);
    hash->length = 0;
}

void pa_sha512_update(pa_sha512 *hash, pa_sha512_blocks_fn *blocks, const uint8_t *data,
                      size_t length) {
    const size_t buffered = (size_t)(hash->length % PA_SHA512_BLOCK);
    size_t whole;
    if (length == 0) {
        return;
    }
    hash->length += length;
    if (buffered > 0) {
        const size_t room = PA_SHA512_BLOCK - buffered;
        const size_t taken = length < room ? length : room;
        memcpy(hash->buffer + buffered, data, taken);
        if (taken < room) {
            return;
        }
        blocks(hash->state, hash->buffer, 1);
        data += taken;
        length -= taken;
    }
    whole = length / PA_SHA512_BLOCK;
    if (whole > 0) {
        blocks(hash->state, data, whole);
        data += whole * PA_SHA512_BLOCK;
        length -= whole * PA_SHA512_BLOCK;
    }
    if (length > 0) {
        memcpy(hash->buffer, data, length);
    }
}

void pa_sha512_final(pa_sha512 *hash, pa_sha512_blocks_fn *blocks, uint8_t digest[64]) {
    const size_t buffered = (size_t)(hash->length % PA_SHA512_BLOCK);
    uint8_t tail[2 * PA_SHA512_BLOCK] = {0};
    /* A bit of 1, zeros, and the length in bits in sixteen bytes. */
    const size_t size = buffered + 1 + 16 <= PA_SHA512_BLOCK ? PA_SHA512_BLOCK : sizeof tail;
    size_t i;
    memcpy(tail, hash->buffer, buffered);
    tail[buffered] = 0x80;
    for (i = 0; i < 8; i++) {
        tail[size - 1 - i] = (uint8_t)(hash->length << 3 >> (8 * i));
    }
    tail[size - 9] = (uint8_t)(hash->length >> 61);
    blocks(hash->state, tail, size / PA_SHA512_BLOCK);
    for (i = 0; i < 64; i++) {
        digest[i] = (uint8_t)(hash->state[i / 8] >> (56 - 8 * (i % 8)));
    }
}
