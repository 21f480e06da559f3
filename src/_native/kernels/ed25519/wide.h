/* Products of two 64-bit words and sums of them, 128 bits wide, on every compiler.
 *
 * PA_NO_INT128 makes the products of four 32-bit ones, as where a compiler has nothing better. */
#ifndef PLUGINAPI_ED25519_WIDE_H
#define PLUGINAPI_ED25519_WIDE_H

#include <stdint.h>

/* Inlined always: the callers are compiled for several processors, and a copy left outside would
 * be compiled for the least of them. */
#if defined(__GNUC__) || defined(__clang__)
#define PA_INLINE static inline __attribute__((always_inline))
#elif defined(_MSC_VER)
#define PA_INLINE static __forceinline
#else
#define PA_INLINE static inline
#endif

/* Kept apart: what is called from several places would otherwise be copied to each. */
#if defined(__GNUC__) || defined(__clang__)
#define PA_NOINLINE __attribute__((noinline))
#elif defined(_MSC_VER)
#define PA_NOINLINE __declspec(noinline)
#else
#define PA_NOINLINE
#endif

#if defined(__SIZEOF_INT128__) && !defined(PA_NO_INT128)

__extension__ typedef unsigned __int128 pa_wide;

PA_INLINE pa_wide pa_wide_mul(uint64_t a, uint64_t b) { return (pa_wide)a * b; }

/* Return sum + a * b; the caller answers for its being below 2^128. */
PA_INLINE pa_wide pa_wide_mul_add(pa_wide sum, uint64_t a, uint64_t b) {
    return sum + (pa_wide)a * b;
}

PA_INLINE pa_wide pa_wide_add(pa_wide sum, uint64_t a) { return sum + a; }

PA_INLINE uint64_t pa_wide_low(pa_wide a) { return (uint64_t)a; }

PA_INLINE uint64_t pa_wide_high(pa_wide a) { return (uint64_t)(a >> 64); }

#else

typedef struct pa_wide {
    uint64_t low, high;
} pa_wide;

#if defined(_MSC_VER) && defined(_M_X64) && !defined(PA_NO_INT128)

#include <intrin.h>

PA_INLINE pa_wide pa_wide_mul(uint64_t a, uint64_t b) {
    pa_wide product;
    product.low = _umul128(a, b, &product.high);
    return product;
}

#elif defined(_MSC_VER) && defined(_M_ARM64) && !defined(PA_NO_INT128)

#include <intrin.h>

PA_INLINE pa_wide pa_wide_mul(uint64_t a, uint64_t b) {
    pa_wide product;
    product.low = a * b;
    product.high = __umulh(a, b);
    return product;
}

#else

PA_INLINE pa_wide pa_wide_mul(uint64_t a, uint64_t b) {
    const uint64_t a0 = a & UINT32_MAX, a1 = a >> 32;
    const uint64_t b0 = b & UINT32_MAX, b1 = b >> 32;
    const uint64_t p00 = a0 * b0;
    /* (2^32 - 1)^2 + 2 (2^32 - 1) = 2^64 - 1: neither sum overflows. */
    const uint64_t middle = a1 * b0 + (p00 >> 32);
    const uint64_t other = a0 * b1 + (middle & UINT32_MAX);
    pa_wide product;
    product.low = other << 32 | (p00 & UINT32_MAX);
    product.high = a1 * b1 + (middle >> 32) + (other >> 32);
    return product;
}

#endif

PA_INLINE pa_wide pa_wide_add(pa_wide sum, uint64_t a) {
    sum.low += a;
    sum.high += sum.low < a;
    return sum;
}

/* Return sum + a * b; the caller answers for its being below 2^128. */
PA_INLINE pa_wide pa_wide_mul_add(pa_wide sum, uint64_t a, uint64_t b) {
    const pa_wide product = pa_wide_mul(a, b);
    sum = pa_wide_add(sum, product.low);
    sum.high += product.high;
    return sum;
}

PA_INLINE uint64_t pa_wide_low(pa_wide a) { return a.low; }

PA_INLINE uint64_t pa_wide_high(pa_wide a) { return a.high; }

#endif

/* Eight bytes, the least significant first, whatever the machine's order; compilers make one load
 * and one store of these. */
PA_INLINE uint64_t pa_load64(const uint8_t *in) {
    return (uint64_t)in[0] | (uint64_t)in[1] << 8 | (uint64_t)in[2] << 16 | (uint64_t)in[3] << 24 |
           (uint64_t)in[4] << 32 | (uint64_t)in[5] << 40 | (uint64_t)in[6] << 48 |
           (uint64_t)in[7] << 56;
}

PA_INLINE void pa_store64(uint8_t *out, uint64_t a) {
    out[0] = (uint8_t)a;
    out[1] = (uint8_t)(a >> 8);
    out[2] = (uint8_t)(a >> 16);
    out[3] = (uint8_t)(a >> 24);
    out[4] = (uint8_t)(a >> 32);
    out[5] = (uint8_t)(a >> 40);
    out[6] = (uint8_t)(a >> 48);
    out[7] = (uint8_t)(a >> 56);
}

#endif
