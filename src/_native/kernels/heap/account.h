/* One account, for the files of this folder: every allocation goes through here. */
#ifndef PLUGINAPI_HEAP_ACCOUNT_H
#define PLUGINAPI_HEAP_ACCOUNT_H

#include <stdatomic.h>

#include "heap/accounts.h"

typedef struct pa_heap_account {
    _Alignas(64) _Atomic int64_t bytes;
    _Atomic int64_t noted; /* the most that bytes was so far */
    _Atomic int64_t limit; /* INT64_MAX for none */
    _Atomic uint64_t refused;
    _Atomic int open;
} pa_heap_account;

extern pa_heap_account pa_heap_accounts[PA_HEAP_ACCOUNTS];

/* A module that is loaded late finds room for a few bytes there, with glibc; it saves a call for
 * every allocation. */
#if defined(__GLIBC__) && defined(__ELF__)
#define PA_HEAP_THREAD __attribute__((tls_model("initial-exec")))
#else
#define PA_HEAP_THREAD
#endif

/* The account that this thread works for, above the bits that sizes have. */
extern PA_HEAP_THREAD _Thread_local uint64_t pa_heap_entered;

#define PA_HEAP_SHIFT 48

/* One writer at a time: no need for the read and the write to be one. */
#define PA_HEAP_GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define PA_HEAP_SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

#if defined(__GNUC__)
#define PA_HEAP_RARE(condition) __builtin_expect(!!(condition), 0)
#define PA_HEAP_APART __attribute__((noinline))
#else
#define PA_HEAP_RARE(condition) (condition)
#define PA_HEAP_APART
#endif

/* The account in a word whose upper bits are those of pa_heap_entered. */
static inline pa_heap_account *pa_heap_of(uint64_t word) {
    return &pa_heap_accounts[word >> PA_HEAP_SHIFT];
}

/* More than ever before is held: 0, or -1 when it is beyond the limit. */
int pa_heap_more(pa_heap_account *account, int64_t held);

/* Take up bytes, at most 2^47, for an account: 0, or -1 beyond its limit. */
static inline int pa_heap_charge(pa_heap_account *account, size_t bytes) {
    const int64_t held = PA_HEAP_GET(account->bytes) + (int64_t)bytes;
    if (PA_HEAP_RARE(held > PA_HEAP_GET(account->noted)) && pa_heap_more(account, held) < 0) {
        return -1;
    }
    PA_HEAP_SET(account->bytes, held);
    return 0;
}

static inline void pa_heap_discharge(pa_heap_account *account, size_t bytes) {
    PA_HEAP_SET(account->bytes, PA_HEAP_GET(account->bytes) - (int64_t)bytes);
}

#endif
