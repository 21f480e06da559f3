/* One account, for the files of this folder: every allocation goes through here. */
#ifndef PLUGINAPI_HEAP_ACCOUNT_H
#define PLUGINAPI_HEAP_ACCOUNT_H

#include <stdatomic.h>

#include "heap/accounts.h"

typedef struct pa_heap_account {
    _Alignas(64) _Atomic int64_t bytes;
    _Atomic int64_t peak;
    _Atomic int64_t blocks;
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

/* The account that this thread works for. */
extern PA_HEAP_THREAD _Thread_local uint32_t pa_heap_entered;

/* One writer at a time: no need for the read and the write to be one. */
#define PA_HEAP_GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define PA_HEAP_SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Take up bytes, at most 2^47, for an account: 0, or -1 beyond its limit. */
static inline int pa_heap_charge(uint32_t number, size_t bytes, int blocks) {
    pa_heap_account *const account = &pa_heap_accounts[number];
    const int64_t held = PA_HEAP_GET(account->bytes) + (int64_t)bytes;
    if (held > PA_HEAP_GET(account->limit)) {
        PA_HEAP_SET(account->refused, PA_HEAP_GET(account->refused) + 1);
        return -1;
    }
    PA_HEAP_SET(account->bytes, held);
    if (held > PA_HEAP_GET(account->peak)) {
        PA_HEAP_SET(account->peak, held);
    }
    PA_HEAP_SET(account->blocks, PA_HEAP_GET(account->blocks) + blocks);
    return 0;
}

static inline void pa_heap_discharge(uint32_t number, size_t bytes, int blocks) {
    pa_heap_account *const account = &pa_heap_accounts[number];
    PA_HEAP_SET(account->bytes, PA_HEAP_GET(account->bytes) - (int64_t)bytes);
    PA_HEAP_SET(account->blocks, PA_HEAP_GET(account->blocks) - blocks);
}

#endif
