/* Verification of Ed25519 signatures (RFC 8032) under one rule, the same on every path:
 *
 *     S < L; A and R canonical (y < p, no "negative zero"), not of small order, on the curve;
 *     [8](S B - R - k A) = 0 with k = SHA-512(R || A || M) mod L, over the bytes as received.
 *
 * Nothing here keeps anything between calls or writes to a key after it was decoded, so all of it
 * is thread-safe. Time depends on the values, all of which are public. */
#ifndef PLUGINAPI_ED25519_ED25519_H
#define PLUGINAPI_ED25519_ED25519_H

#include <stddef.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "field.h"
#include "scalar25519.h"
#include "sha512.h"

#define PA_ED25519_KEY_BYTES 32
#define PA_ED25519_SIGNATURE_BYTES 64

/* The first condition that does not hold, in this order. "Negative zero" exists only for points of
 * small order and is reported as such. */
typedef enum pa_ed25519_status {
    PA_ED25519_OK = 0,
    PA_ED25519_S_NOT_CANONICAL = 1,   /* S >= L */
    PA_ED25519_KEY_NOT_CANONICAL = 2, /* y >= p */
    PA_ED25519_KEY_SMALL_ORDER = 3,
    PA_ED25519_KEY_NOT_ON_CURVE = 4,
    PA_ED25519_R_NOT_CANONICAL = 5,
    PA_ED25519_R_SMALL_ORDER = 6,
    PA_ED25519_R_NOT_ON_CURVE = 7,
    PA_ED25519_MISMATCH = 8 /* the equation */
} pa_ed25519_status;

/* A point of the curve, coordinates tight (field.h). */
typedef struct pa_point_affine {
    pa_fe x, y;
} pa_point_affine;

/* A key that was decoded without a flaw. */
typedef struct pa_ed25519_key {
    uint8_t encoded[PA_ED25519_KEY_BYTES];
    pa_point_affine point;
} pa_ed25519_key;

/* Verify one signature; S and R are checked here, the key was when it was decoded. */
typedef pa_ed25519_status pa_ed25519_verify_fn(const pa_ed25519_key *key, const uint8_t *message,
                                               size_t length, const uint8_t signature[64]);

/* The same with a key that is not decoded yet, which takes less time than the two one after the
 * other. S is looked at first, then the key, then R. */
typedef pa_ed25519_status pa_ed25519_verify_encoded_fn(const uint8_t key[32],
                                                       const uint8_t *message, size_t length,
                                                       const uint8_t signature[64]);

/* Read a point as a key is read; `out` is set only with PA_ED25519_OK, the other answers are
 * PA_ED25519_KEY_NOT_CANONICAL, _SMALL_ORDER and _NOT_ON_CURVE, in this order. */
typedef pa_ed25519_status pa_ed25519_decode_fn(pa_point_affine *out, const uint8_t in[32]);

struct pa_lanes_kernels; /* lanes.h */

typedef struct pa_ed25519_kernels {
    pa_ed25519_verify_fn *verify;
    pa_ed25519_verify_encoded_fn *verify_encoded;
    pa_ed25519_decode_fn *decode;
    pa_sha512_blocks_fn *sha512;
    const struct pa_lanes_kernels *lanes; /* for batches */
    const char *name; /* the paths, such as "bmi2" */
} pa_ed25519_kernels;

/* Return the kernels of a CPU level (pa_cpu_level), or NULL for a number that is none. The caller
 * answers for the processor being of that level. */
const pa_ed25519_kernels *pa_ed25519_kernels_of(int level);

/* Decode a key; `key` is set only with PA_ED25519_OK. */
pa_ed25519_status pa_ed25519_key_decode(const pa_ed25519_kernels *kernels, pa_ed25519_key *key,
                                        const uint8_t encoded[32]);

/* Return the flaw of R that corresponds to a flaw of a key, and OK for OK. */
pa_ed25519_status pa_ed25519_flaw_of_r(pa_ed25519_status flaw_of_key);

/* out = k = SHA-512(R || A || M) mod L. */
void pa_ed25519_challenge(pa_sha512_blocks_fn *sha512, pa_sc *out, const uint8_t r[32],
                          const uint8_t key[32], const uint8_t *message, size_t length);

/* The single kernels; those with a processor in their name exist on x86-64 alone. */
pa_ed25519_verify_fn pa_ed25519_verify_portable;
pa_ed25519_verify_encoded_fn pa_ed25519_verify_encoded_portable;
pa_ed25519_decode_fn pa_ed25519_decode_portable;
#if PA_CPU_X86_64
pa_ed25519_verify_fn pa_ed25519_verify_bmi2, pa_ed25519_verify_avx2, pa_ed25519_verify_ifma;
pa_ed25519_verify_encoded_fn pa_ed25519_verify_encoded_bmi2, pa_ed25519_verify_encoded_avx2,
    pa_ed25519_verify_encoded_ifma;
pa_ed25519_decode_fn pa_ed25519_decode_bmi2, pa_ed25519_decode_avx2, pa_ed25519_decode_ifma;
#endif

#endif
