/* Counters that several threads share: to take the next piece of work, and to stop. */
#ifndef PLUGINAPI_KECCAK_CURSOR_H
#define PLUGINAPI_KECCAK_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

typedef struct pa_cursor {
    volatile int64_t value;
} pa_cursor;

/* Add to a counter and return what it was. Counters order nothing but themselves. */
static inline int64_t pa_cursor_add(pa_cursor *cursor, int64_t amount) {
#if defined(_MSC_VER) && !defined(__clang__)
    return _InterlockedExchangeAdd64(&cursor->value, amount);
#else
    return __atomic_fetch_add(&cursor->value, amount, __ATOMIC_RELAXED);
#endif
}

/* Return the next number from 0 on; each is returned once, whoever asks. */
static inline size_t pa_cursor_take(pa_cursor *cursor) { return (size_t)pa_cursor_add(cursor, 1); }

/* Return the counter's value. */
static inline int64_t pa_cursor_value(pa_cursor *cursor) { return pa_cursor_add(cursor, 0); }

#endif
