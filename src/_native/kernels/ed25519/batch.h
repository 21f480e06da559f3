/* Verification of many signatures: the same verdict for each as pa_ed25519_verify_fn gives.
 *
 * Points are decoded in as many lanes as the CPU level has. Where there are enough signatures
 * (combine_from in lanes.h), the equations are then checked together, as one random linear
 * combination (Bernstein, Duif, Lange, Schwabe, Yang, "High-speed high-security signatures", CHES
 * 2011, section 5):
 *
 *     [8](sum z_i R_i + sum (z_i k_i) A_i - (sum z_i S_i) B) = 0
 *
 * with a random z_i of 128 bits for each. [8] of every equation's left side lies in the group of
 * prime order L, so a wrong one passes with probability 2^-128 and torsion has no part in it: the
 * combination agrees with the single rule, which has the same factor 8. Keys that occur more than
 * once are added up once. When the combination fails, each equation is checked by itself. */
#ifndef PLUGINAPI_ED25519_BATCH_H
#define PLUGINAPI_ED25519_BATCH_H

#include "ed25519.h"

/* Signatures that are combined at once; more would gain nothing and leave the cache. */
#define PA_BATCH_CHUNK 2048

/* Random bytes for each signature, and for each batch. */
#define PA_BATCH_RANDOM 16
#define PA_BATCH_SEED 32

typedef struct pa_ed25519_signed {
    const pa_ed25519_key *key; /* decoded, or NULL */
    const uint8_t *encoded_key; /* its 32 bytes */
    const uint8_t *message;
    size_t length;
    const uint8_t *signature; /* 64 bytes */
} pa_ed25519_signed;

/* How the signatures of a batch were judged; the tests and benchmarks want to know. */
typedef struct pa_ed25519_batch_counts {
    size_t combined; /* by combinations that held */
    size_t each;     /* in lanes by themselves */
    size_t one;      /* by the kernel for one signature */
} pa_ed25519_batch_counts;

/* Judge `count` signatures. `random` has PA_BATCH_SEED bytes and PA_BATCH_RANDOM for each
 * signature, from the operating system, made after the signatures were known and used once. Returns
 * 0, or -1 when there is not enough memory, and then no status counts. Thread-safe. */
int pa_ed25519_verify_batch(const pa_ed25519_kernels *kernels, const pa_ed25519_signed *items,
                            size_t count, const uint8_t *random, pa_ed25519_status *statuses,
                            pa_ed25519_batch_counts *counts);

#endif
