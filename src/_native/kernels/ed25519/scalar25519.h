/* Numbers modulo L = 2^252 + 27742317777372353535851937790883648493, the order of the base point.
 *
 * Time depends on the values: for public ones only. */
#ifndef PLUGINAPI_ED25519_SCALAR25519_H
#define PLUGINAPI_ED25519_SCALAR25519_H

#include <stdint.h>

/* The least significant word first. */
typedef struct pa_sc {
    uint64_t v[4];
} pa_sc;

extern const pa_sc PA_SC_L;

/* Read 32 bytes, the least significant first; the result may be L or more. */
void pa_sc_from_bytes(pa_sc *out, const uint8_t in[32]);

/* Write 32 bytes, the least significant first. */
void pa_sc_to_bytes(uint8_t out[32], const pa_sc *a);

/* Return 1 when the 32 bytes are a number below L (RFC 8032, 5.1.7), else 0. */
int pa_sc_is_canonical(const uint8_t s[32]);

/* out = the 64 bytes, the least significant first, modulo L. */
void pa_sc_reduce512(pa_sc *out, const uint8_t in[64]);

/* out = a b modulo L; a and b may be any 256-bit numbers. */
void pa_sc_mul(pa_sc *out, const pa_sc *a, const pa_sc *b);

/* out = a + b modulo L; a and b below L. */
void pa_sc_add(pa_sc *out, const pa_sc *a, const pa_sc *b);

/* out = -a modulo L; a below L. */
void pa_sc_neg(pa_sc *out, const pa_sc *a);

/* Return 1 when every bit of a is 0. */
int pa_sc_is_zero(const pa_sc *a);

#endif
