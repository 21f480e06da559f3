/* Signed digits of a scalar in width-w non-adjacent form: odd digits below 2^(w-1) in size, each
 * followed by at least w - 1 zeros. */
#ifndef PLUGINAPI_ED25519_RECODE_H
#define PLUGINAPI_ED25519_RECODE_H

#include "wide.h"

#if defined(_MSC_VER) && defined(_M_X64) && !defined(__clang__)
#include <intrin.h>
#endif

/* A scalar below 2^127 has at most this many digits. */
#define PA_RECODE_DIGITS 128

/* Return the number of zeros below the lowest bit that is set; a is not 0. */
PA_INLINE int pa_trailing_zeros(uint64_t a) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(a);
#elif defined(_MSC_VER) && defined(_M_X64)
    unsigned long index;
    _BitScanForward64(&index, a);
    return (int)index;
#else
    int count = 0;
    int step;
    for (step = 32; step > 0; step /= 2) {
        if ((a & ((UINT64_C(1) << step) - 1)) == 0) {
            a >>= step;
            count += step;
        }
    }
    return count;
#endif
}

/* Write the digits that are not 0 to digits[position * stride], which the caller has set to 0;
 * `sign` is 1 or -1 and multiplies all of them; 2 <= width <= 8. The scalar is below 2^127: what a
 * negative digit adds, at most 2^7, does not pass 2^128, and the rest is at least halved before
 * the next one. */
PA_INLINE void pa_recode(int8_t *digits, int stride, const uint64_t scalar[2], int width,
                         int sign) {
    uint64_t low = scalar[0], high = scalar[1];
    int position = 0;
    while ((low | high) != 0) {
        int digit;
        if (low == 0) {
            low = high;
            high = 0;
            position += 64;
        } else if ((low & 1) == 0) {
            const int zeros = pa_trailing_zeros(low);
            low = low >> zeros | high << (64 - zeros);
            high >>= zeros;
            position += zeros;
        }
        if ((low & 1) == 0) {
            continue; /* the word that moved down is even */
        }
        digit = (int)(low & ((UINT64_C(1) << width) - 1));
        if (digit >> (width - 1) != 0) {
            digit -= 1 << width;
        }
        digits[position * stride] = (int8_t)(sign * digit);
        if (digit > 0) {
            low -= (uint64_t)digit; /* the low bits are the digit: no borrow */
        } else {
            const uint64_t before = low;
            low += (uint64_t)-digit;
            high += low < before;
        }
    }
}

#endif
