#include "scalar25519.h"

#include "wide.h"

const pa_sc PA_SC_L = {{UINT64_C(0x5812631a5cf5d3ed), UINT64_C(0x14def9dea2f79cd6), 0,
                        UINT64_C(0x1000000000000000)}};

/* floor(2^512 / L), five words. */
static const uint64_t RECIPROCAL[5] = {
    UINT64_C(0xed9ce5a30a2c131b), UINT64_C(0x2106215d086329a7), UINT64_C(0xffffffffffffffeb),
    UINT64_C(0xffffffffffffffff), UINT64_C(0xf)};

/* *a += b c + carry, which never passes 128 bits; return the new carry. */
PA_INLINE uint64_t add_product(uint64_t *a, uint64_t b, uint64_t c, uint64_t carry) {
    const pa_wide sum = pa_wide_add(pa_wide_add(pa_wide_mul(b, c), *a), carry);
    *a = pa_wide_low(sum);
    return pa_wide_high(sum);
}

/* *a -= b + borrow; return the new borrow. */
PA_INLINE uint64_t subtract(uint64_t *a, uint64_t b, uint64_t borrow) {
    const uint64_t difference = *a - b;
    const uint64_t result = difference - borrow;
    const uint64_t next = (uint64_t)(*a < b) | (uint64_t)(difference < borrow);
    *a = result;
    return next;
}

/* Return 1 when a is L or more. */
static int reaches_order(const uint64_t a[4]) {
    int i;
    for (i = 3; i > 0; i--) {
        if (a[i] != PA_SC_L.v[i]) {
            return a[i] > PA_SC_L.v[i];
        }
    }
    return a[0] >= PA_SC_L.v[0];
}

static void subtract_order(uint64_t a[4]) {
    uint64_t borrow = 0;
    int i;
    for (i = 0; i < 4; i++) {
        borrow = subtract(&a[i], PA_SC_L.v[i], borrow);
    }
}

/* out = x modulo L, eight words in: Barrett's reduction (Handbook of Applied Cryptography,
 * algorithm 14.42) with words for digits. The estimate of the quotient is at most 2 too small. */
static void reduce(pa_sc *out, const uint64_t x[8]) {
    uint64_t product[10] = {0};
    uint64_t multiple[5] = {0};
    const uint64_t *const quotient = product + 5;
    uint64_t rest[5];
    uint64_t borrow = 0;
    uint64_t carry;
    int i, j;
    for (i = 0; i < 5; i++) {
        carry = 0;
        for (j = 0; j < 5; j++) {
            carry = add_product(&product[i + j], x[3 + i], RECIPROCAL[j], carry);
        }
        product[i + 5] = carry;
    }
    /* quotient * L modulo 2^320: L has a word of 0 and one of a single bit. */
    carry = 0;
    for (i = 0; i < 5; i++) {
        carry = add_product(&multiple[i], quotient[i], PA_SC_L.v[0], carry);
    }
    carry = 0;
    for (i = 0; i < 4; i++) {
        carry = add_product(&multiple[i + 1], quotient[i], PA_SC_L.v[1], carry);
    }
    carry = multiple[3] + (quotient[0] << 60);
    multiple[4] += (quotient[0] >> 4) + (quotient[1] << 60) + (carry < multiple[3]);
    multiple[3] = carry;
    for (i = 0; i < 5; i++) {
        rest[i] = x[i];
        borrow = subtract(&rest[i], multiple[i], borrow);
    }
    /* Below 3 L, so the fifth word is 0; a borrow out of it is that of the modulus 2^320. */
    while (reaches_order(rest)) {
        subtract_order(rest);
    }
    for (i = 0; i < 4; i++) {
        out->v[i] = rest[i];
    }
}

void pa_sc_from_bytes(pa_sc *out, const uint8_t in[32]) {
    int i;
    for (i = 0; i < 4; i++) {
        out->v[i] = pa_load64(in + 8 * i);
    }
}

void pa_sc_to_bytes(uint8_t out[32], const pa_sc *a) {
    int i;
    for (i = 0; i < 4; i++) {
        pa_store64(out + 8 * i, a->v[i]);
    }
}

int pa_sc_is_canonical(const uint8_t s[32]) {
    pa_sc a;
    pa_sc_from_bytes(&a, s);
    return !reaches_order(a.v);
}

void pa_sc_reduce512(pa_sc *out, const uint8_t in[64]) {
    uint64_t x[8];
    int i;
    for (i = 0; i < 8; i++) {
        x[i] = pa_load64(in + 8 * i);
    }
    reduce(out, x);
}

void pa_sc_mul(pa_sc *out, const pa_sc *a, const pa_sc *b) {
    uint64_t product[8] = {0};
    int i, j;
    for (i = 0; i < 4; i++) {
        uint64_t carry = 0;
        for (j = 0; j < 4; j++) {
            carry = add_product(&product[i + j], a->v[i], b->v[j], carry);
        }
        product[i + 4] = carry;
    }
    reduce(out, product);
}

void pa_sc_add(pa_sc *out, const pa_sc *a, const pa_sc *b) {
    uint64_t carry = 0;
    int i;
    /* Below 2 L, so nothing leaves the fourth word. */
    for (i = 0; i < 4; i++) {
        const pa_wide sum = pa_wide_add(pa_wide_add(pa_wide_mul(1, a->v[i]), b->v[i]), carry);
        out->v[i] = pa_wide_low(sum);
        carry = pa_wide_high(sum);
    }
    if (reaches_order(out->v)) {
        subtract_order(out->v);
    }
}

void pa_sc_neg(pa_sc *out, const pa_sc *a) {
    uint64_t borrow = 0;
    int i;
    if (pa_sc_is_zero(a)) {
        *out = *a;
        return;
    }
    for (i = 0; i < 4; i++) {
        uint64_t word = PA_SC_L.v[i];
        borrow = subtract(&word, a->v[i], borrow);
        out->v[i] = word;
    }
}

int pa_sc_is_zero(const pa_sc *a) { return (a->v[0] | a->v[1] | a->v[2] | a->v[3]) == 0; }
