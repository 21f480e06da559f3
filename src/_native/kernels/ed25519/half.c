#include "half.h"

#include "wide.h"

/* Euclid's algorithm on r0 = L and r1 = k, with the factors of k carried along:
 *
 *     (-1)^i r_i = -t_i k modulo L,   t_0 = 0, t_1 = 1, t_(i+1) = t_(i-1) + q_i t_i
 *
 * (signs taken out, so that all numbers are positive), until a remainder falls below 2^126. At that
 * point the one before it is 2^126 or more, and t_i r_(i-1) + t_(i-1) r_i = L at every step gives
 * t_i <= L / 2^126, which is 2^126 when rounded down.
 *
 * Most quotients are found from the leading 64 bits of two remainders (Lehmer): one pass takes some
 * thirty bits off both with arithmetic of single words, and the whole numbers follow at once. */

typedef struct state {
    uint64_t r0[4], r1[4]; /* r0 > r1 */
    uint64_t t0[2], t1[2];
    int odd; /* the parity of the index of r1 */
} state;

/* A number below 2^126 has these words 0 and the upper two bits of word 1. */
static int below_half(const uint64_t a[4]) { return (a[3] | a[2] | a[1] >> 62) == 0; }

/* Return the number of bits of a word. */
static int bits_of_word(uint64_t a) {
#if defined(__GNUC__) || defined(__clang__)
    return a == 0 ? 0 : 64 - __builtin_clzll(a);
#else
    int bits = 0;
    int step;
    for (step = 32; step > 0; step /= 2) {
        if (a >> step != 0) {
            a >>= step;
            bits += step;
        }
    }
    return bits + (int)a;
#endif
}

static int bits_of(const uint64_t a[4]) {
    int i = 3;
    while (i > 0 && a[i] == 0) {
        i--;
    }
    return 64 * i + bits_of_word(a[i]);
}

/* Return the 64 bits of a from bit `shift` up. */
static uint64_t window(const uint64_t a[4], int shift) {
    const int word = shift / 64;
    const int bit = shift % 64;
    uint64_t result = a[word] >> bit;
    if (bit > 0 && word < 3) {
        result |= a[word + 1] << (64 - bit);
    }
    return result;
}

/* out = x a - y b, which is known not to be negative; factors below 2^32. */
static void combine(uint64_t out[4], uint64_t x, const uint64_t a[4], uint64_t y,
                    const uint64_t b[4]) {
    uint64_t plus = 0, minus = 0, borrow = 0;
    int i;
    for (i = 0; i < 4; i++) {
        const pa_wide p = pa_wide_add(pa_wide_mul(x, a[i]), plus);
        const pa_wide m = pa_wide_add(pa_wide_mul(y, b[i]), minus);
        const uint64_t low = pa_wide_low(p) - pa_wide_low(m);
        const uint64_t next =
            (uint64_t)(pa_wide_low(p) < pa_wide_low(m)) | (uint64_t)(low < borrow);
        out[i] = low - borrow;
        borrow = next;
        plus = pa_wide_high(p);
        minus = pa_wide_high(m);
    }
}

/* out = x a + y b, which is known to be below 2^128. */
static void combine_factors(uint64_t out[2], uint64_t x, const uint64_t a[2], uint64_t y,
                            const uint64_t b[2]) {
    const pa_wide low = pa_wide_add(pa_wide_mul(x, a[0]), 0);
    const pa_wide other = pa_wide_add(pa_wide_mul(y, b[0]), pa_wide_low(low));
    out[0] = pa_wide_low(other);
    out[1] = pa_wide_high(low) + pa_wide_high(other) + x * a[1] + y * b[1];
}

/* One pass of Lehmer's algorithm; return 0 when the leading words allow no step.
 *
 * With r0 = (a + delta0) 2^s and r1 = (b + delta1) 2^s, 0 <= delta < 1, and a_i = u_i a - v_i b
 * (signs taken out again), the true remainder is r_i = (a_i + u_i delta0 - v_i delta1) 2^s or the
 * same with u and v exchanged in sign. So a step is right if the new a_i is at least its larger
 * factor (then r_i >= 0) and lies below the one before it by at least the sum of the larger
 * factors of both (then r_i < r_(i-1)). From the first step on v is the larger. */
static int leading_pass(state *self) {
    const int shift = bits_of(self->r0) - 64;
    uint64_t a = window(self->r0, shift), b = window(self->r1, shift);
    uint64_t u0 = 1, v0 = 0, u1 = 0, v1 = 1;
    /* No remainder below 2^126 is made here: the loop outside must see the first one. r0 has at
     * least 127 bits, so the shift is at least 63. */
    const uint64_t least = shift <= 126 ? UINT64_C(1) << (126 - shift) : 1;
    uint64_t r[4];
    uint64_t t[2];
    int steps = 0;
    while (b != 0) {
        uint64_t quotient = 1;
        uint64_t rest = a - b;
        uint64_t u, v;
        if (rest >= b) { /* three quotients in five are 1 or 2, and a division is slow */
            rest -= b;
            quotient = 2;
            if (rest >= b) {
                quotient += rest / b;
                rest %= b;
            }
        }
        /* v_(i+1) <= a_0 / a_i, so the factors stay below 2^32 while b does not. */
        if (rest >> 32 == 0) {
            break;
        }
        u = u0 + quotient * u1;
        v = v0 + quotient * v1;
        if (rest < v || rest - v < least || b - rest < v + v1) {
            break;
        }
        a = b;
        b = rest;
        u0 = u1;
        v0 = v1;
        u1 = u;
        v1 = v;
        steps++;
    }
    if (steps == 0) {
        return 0;
    }
    /* r_i = (-1)^i (u_i r_0 - v_i r_1). */
    if (steps % 2 == 0) {
        combine(r, u0, self->r0, v0, self->r1);
        combine(self->r1, v1, self->r1, u1, self->r0);
    } else {
        combine(r, v0, self->r1, u0, self->r0);
        combine(self->r1, u1, self->r0, v1, self->r1);
    }
    self->r0[0] = r[0];
    self->r0[1] = r[1];
    self->r0[2] = r[2];
    self->r0[3] = r[3];
    combine_factors(t, u0, self->t0, v0, self->t1);
    combine_factors(self->t1, u1, self->t0, v1, self->t1);
    self->t0[0] = t[0];
    self->t0[1] = t[1];
    self->odd ^= steps & 1;
    return 1;
}

/* a -= b 2^shift when that is not negative; return 1 if so. */
static int subtract_shifted(uint64_t a[4], const uint64_t b[4], int shift) {
    const int words = shift / 64;
    const int bit = shift % 64;
    uint64_t out[4];
    uint64_t borrow = 0;
    int i;
    for (i = 0; i < 4; i++) {
        const int from = i - words;
        uint64_t low = from >= 0 ? b[from] << bit : 0;
        uint64_t difference;
        if (bit > 0 && from >= 1) {
            low |= b[from - 1] >> (64 - bit);
        }
        difference = a[i] - low;
        out[i] = difference - borrow;
        borrow = (uint64_t)(a[i] < low) | (uint64_t)(difference < borrow);
    }
    if (borrow != 0) {
        return 0;
    }
    for (i = 0; i < 4; i++) {
        a[i] = out[i];
    }
    return 1;
}

/* One step of Euclid's algorithm on the whole numbers: a quotient of any size. */
static void whole_step(state *self) {
    int shift = bits_of(self->r0) - bits_of(self->r1);
    int i;
    for (; shift >= 0; shift--) {
        if (subtract_shifted(self->r0, self->r1, shift)) {
            /* r1 has at least 127 bits, so a shift is below 127. */
            const uint64_t low = shift < 64 ? self->t1[0] << shift : 0;
            uint64_t high = shift < 64 ? self->t1[1] << shift : self->t1[0] << (shift - 64);
            if (shift > 0 && shift < 64) {
                high |= self->t1[0] >> (64 - shift);
            }
            self->t0[0] += low;
            self->t0[1] += high + (self->t0[0] < low);
        }
    }
    for (i = 0; i < 4; i++) {
        const uint64_t r = self->r0[i];
        self->r0[i] = self->r1[i];
        self->r1[i] = r;
    }
    for (i = 0; i < 2; i++) {
        const uint64_t t = self->t0[i];
        self->t0[i] = self->t1[i];
        self->t1[i] = t;
    }
    self->odd ^= 1;
}

void pa_half_of(pa_half *out, const pa_sc *k) {
    state self = {{0}, {0}, {0, 0}, {1, 0}, 1};
    int i;
    for (i = 0; i < 4; i++) {
        self.r0[i] = PA_SC_L.v[i];
        self.r1[i] = k->v[i];
    }
    while (!below_half(self.r1)) {
        if (!leading_pass(&self)) {
            whole_step(&self);
        }
    }
    out->c[0] = self.r1[0];
    out->c[1] = self.r1[1];
    out->d[0] = self.t1[0];
    out->d[1] = self.t1[1];
    out->negative = !self.odd;
}
