#include "ed25519.h"

#include <string.h>

pa_ed25519_status pa_ed25519_key_decode(const pa_ed25519_kernels *kernels, pa_ed25519_key *key,
                                        const uint8_t encoded[32]) {
    const pa_ed25519_status status = kernels->decode(&key->point, encoded);
    if (status == PA_ED25519_OK) {
        memcpy(key->encoded, encoded, sizeof key->encoded);
    }
    return status;
}

pa_ed25519_status pa_ed25519_flaw_of_r(pa_ed25519_status flaw_of_key) {
    switch (flaw_of_key) {
    case PA_ED25519_KEY_NOT_CANONICAL:
        return PA_ED25519_R_NOT_CANONICAL;
    case PA_ED25519_KEY_SMALL_ORDER:
        return PA_ED25519_R_SMALL_ORDER;
    case PA_ED25519_KEY_NOT_ON_CURVE:
        return PA_ED25519_R_NOT_ON_CURVE;
    default:
        return flaw_of_key;
    }
}

void pa_ed25519_challenge(pa_sha512_blocks_fn *sha512, pa_sc *out, const uint8_t r[32],
                          const uint8_t key[32], const uint8_t *message, size_t length) {
    pa_sha512 hash;
    uint8_t digest[PA_SHA512_DIGEST];
    pa_sha512_init(&hash);
    pa_sha512_update(&hash, sha512, r, 32);
    pa_sha512_update(&hash, sha512, key, 32);
    pa_sha512_update(&hash, sha512, message, length);
    pa_sha512_final(&hash, sha512, digest);
    pa_sc_reduce512(out, digest);
}
