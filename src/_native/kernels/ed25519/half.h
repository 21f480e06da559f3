/* Half-size scalars for the verification of one signature (Pornin, "Optimized Lattice Basis
 * Reduction In Dimension 2, and Fast Schnorr and EdDSA Signature Verification", eprint 2020/454).
 *
 * The rule asks whether [8]E = 0 for E = S B - R - k A. For any d that is not a multiple of L this
 * is the same as [8](d E) = 0: [8]E lies in the group of the prime order L, where multiplying by d
 * loses nothing. So it may be asked whether
 *
 *     [8](d S B - d R - c A) = 0    with c = d k modulo L.
 *
 * Here d S and c are wanted only modulo L, since B, [8]R and [8]A have order L or 1; a factor d
 * before R needs no reduction. With d and c both of half the size of L, two thirds of the work,
 * the doublings, are halved. d is neither 0 nor a multiple of L: 0 < d < 2^127 < L. */
#ifndef PLUGINAPI_ED25519_HALF_H
#define PLUGINAPI_ED25519_HALF_H

#include "scalar25519.h"

/* c = d k modulo L, or -c = d k modulo L when `negative` is 1; words least significant first. */
typedef struct pa_half {
    uint64_t c[2]; /* below 2^126 */
    uint64_t d[2]; /* 0 < d <= 2^126 */
    int negative;
} pa_half;

/* Split k, which is below L. */
void pa_half_of(pa_half *out, const pa_sc *k);

#endif
