/* Verification of one signature with 64-bit multiplications, shared by the files that compile it
 * for different processors. They define, before they include this,
 *
 *     PA_TARGET          what a function needs to be compiled for that processor, or nothing
 *     PA_NAME(name)      the name with the processor's appended
 *     PA_EQUATION        what judges a pa_equation, where that is not the scalar code below
 */
#include "ed25519.h"
#include "equation.h"
#include "point.h"

#if !defined(PA_TARGET) || !defined(PA_NAME)
#error "define PA_TARGET and PA_NAME before including verify_scalar.h"
#endif

/* The operations of point.h and field.h for this processor, each compiled once: a field
 * multiplication is some hundred instructions, and what is called below would not fit the
 * instruction cache if every call were inlined. */
#define OPERATION PA_TARGET PA_NOINLINE static

OPERATION pa_ed25519_status decode_begin(pa_point_decoding *out, pa_fe *base,
                                         const uint8_t in[32]) {
    return pa_point_decode_begin(out, base, in);
}

OPERATION pa_ed25519_status decode_end(pa_point_affine *out, const pa_point_decoding *decoding,
                                       const pa_fe *power) {
    return pa_point_decode_end(out, decoding, power);
}

OPERATION void pow22523(pa_fe *out, const pa_fe *a) { pa_fe_pow22523(out, a); }

OPERATION void pow22523_pair(pa_fe out[2], const pa_fe a[2]) { pa_fe_pow22523_pair(out, a); }

#ifndef PA_EQUATION

OPERATION void twice(pa_point_completed *out, const pa_point *a) { pa_point_double(out, a); }

OPERATION void complete(pa_point *out, const pa_point_completed *a) {
    pa_point_complete(out, a);
}

OPERATION void complete_xyz(pa_point *out, const pa_point_completed *a) {
    pa_point_complete_xyz(out, a);
}

OPERATION void add(pa_point_completed *out, const pa_point *a, const pa_point_niels *b,
                   int negative) {
    pa_point_add(out, a, b, negative);
}

OPERATION void add_affine(pa_point_completed *out, const pa_point *a,
                          const pa_point_niels_affine *b, int negative) {
    pa_point_add_affine(out, a, b, negative);
}

OPERATION void prepare(pa_point_niels *out, const pa_point *a) { pa_point_prepare(out, a); }

#define POINT_MULTIPLES (1 << (PA_EQUATION_POINT_WIDTH - 2))

PA_INLINE int row_is_zero(const int8_t row[4]) {
    return (row[0] | row[1] | row[2] | row[3]) == 0;
}

/* Fill in P, 3P, ... 15P. */
PA_TARGET
static void odd_multiples(pa_point_niels table[POINT_MULTIPLES], const pa_point_affine *affine) {
    pa_point point, doubled;
    pa_point_completed sum;
    int i;
    pa_point_from_affine(&point, affine);
    prepare(&table[0], &point);
    twice(&sum, &point);
    complete(&doubled, &sum);
    for (i = 1; i < POINT_MULTIPLES; i++) {
        add(&sum, &doubled, &table[i - 1], 0);
        complete(&point, &sum);
        prepare(&table[i], &point);
    }
}

/* out = the sum of the four products, T left out. */
PA_TARGET
static void multiply(pa_point *out, const pa_equation *equation,
                     const pa_point_niels *const tables[2]) {
    pa_point_completed sum;
    int position = PA_RECODE_DIGITS - 1;
    pa_point_identity(out);
    while (position > 0 && row_is_zero(equation->digits[position])) {
        position--; /* the identity need not be doubled */
    }
    for (; position >= 0; position--) {
        const int8_t *const at = equation->digits[position];
        int which;
        twice(&sum, out);
        if (!row_is_zero(at)) {
            for (which = 0; which < 2; which++) {
                const int digit = at[which];
                if (digit != 0) {
                    const int negative = digit < 0;
                    complete(out, &sum);
                    add(&sum, out, &tables[which][(negative ? -digit : digit) / 2], negative);
                }
            }
            for (which = 0; which < 2; which++) {
                const int digit = at[2 + which];
                if (digit != 0) {
                    const int negative = digit < 0;
                    complete(out, &sum);
                    add_affine(&sum, out,
                               &PA_BASE_TABLE[which][(negative ? -digit : digit) - 1], negative);
                }
            }
        }
        complete_xyz(out, &sum);
    }
}

/* Return 1 when the equation holds, else 0. */
PA_TARGET
static int scalar_equation(const pa_point_affine *key, const pa_point_affine *r,
                           const pa_equation *equation) {
    pa_point_niels multiples[2][POINT_MULTIPLES];
    const pa_point_niels *tables[2];
    pa_point point;
    pa_point_completed doubled;
    int i;
    odd_multiples(multiples[0], r);
    odd_multiples(multiples[1], key);
    tables[0] = multiples[0];
    tables[1] = multiples[1];
    multiply(&point, equation, tables);
    for (i = 0; i < 3; i++) {
        twice(&doubled, &point);
        complete_xyz(&point, &doubled);
    }
    return pa_point_is_identity(&point);
}

#define PA_EQUATION scalar_equation

#endif

PA_TARGET
static pa_ed25519_status equation_status(const pa_point_affine *key, const pa_point_affine *r,
                                         const uint8_t s[32], const pa_sc *k) {
    pa_equation equation;
    pa_equation_of(&equation, s, k);
    return PA_EQUATION(key, r, &equation) ? PA_ED25519_OK : PA_ED25519_MISMATCH;
}

PA_TARGET
pa_ed25519_status PA_NAME(pa_ed25519_decode)(pa_point_affine *out, const uint8_t in[32]) {
    pa_point_decoding decoding;
    pa_fe power;
    const pa_ed25519_status flaw = decode_begin(&decoding, &power, in);
    if (flaw != PA_ED25519_OK) {
        return flaw;
    }
    pow22523(&power, &power);
    return decode_end(out, &decoding, &power);
}

PA_TARGET
pa_ed25519_status PA_NAME(pa_ed25519_verify)(const pa_ed25519_key *key, const uint8_t *message,
                                             size_t length, const uint8_t signature[64]) {
    pa_point_affine r;
    pa_ed25519_status flaw;
    pa_sc k;
    if (!pa_sc_is_canonical(signature + 32)) {
        return PA_ED25519_S_NOT_CANONICAL;
    }
    flaw = PA_NAME(pa_ed25519_decode)(&r, signature);
    if (flaw != PA_ED25519_OK) {
        return pa_ed25519_flaw_of_r(flaw);
    }
    pa_ed25519_challenge(PA_NAME(pa_sha512_blocks), &k, signature, key->encoded, message, length);
    return equation_status(&key->point, &r, signature + 32, &k);
}

PA_TARGET
pa_ed25519_status PA_NAME(pa_ed25519_verify_encoded)(const uint8_t key[32], const uint8_t *message,
                                                     size_t length, const uint8_t signature[64]) {
    pa_point_decoding decodings[2];
    pa_point_affine points[2];
    pa_fe powers[2];
    pa_ed25519_status flaw, flaw_of_r;
    pa_sc k;
    if (!pa_sc_is_canonical(signature + 32)) {
        return PA_ED25519_S_NOT_CANONICAL;
    }
    flaw = decode_begin(&decodings[0], &powers[0], key);
    if (flaw != PA_ED25519_OK) {
        return flaw;
    }
    flaw_of_r = decode_begin(&decodings[1], &powers[1], signature);
    if (flaw_of_r != PA_ED25519_OK) {
        /* The key comes first, and whether it is on the curve is not known yet. */
        pow22523(&powers[0], &powers[0]);
        flaw = decode_end(&points[0], &decodings[0], &powers[0]);
        return flaw != PA_ED25519_OK ? flaw : pa_ed25519_flaw_of_r(flaw_of_r);
    }
    pow22523_pair(powers, powers);
    flaw = decode_end(&points[0], &decodings[0], &powers[0]);
    if (flaw != PA_ED25519_OK) {
        return flaw;
    }
    flaw = decode_end(&points[1], &decodings[1], &powers[1]);
    if (flaw != PA_ED25519_OK) {
        return pa_ed25519_flaw_of_r(flaw);
    }
    pa_ed25519_challenge(PA_NAME(pa_sha512_blocks), &k, signature, key, message, length);
    return equation_status(&points[0], &points[1], signature + 32, &k);
}
