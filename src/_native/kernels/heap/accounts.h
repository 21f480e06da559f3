/* Accounts of memory: which code in this process holds how much of it.
 *
 * An account has a number, 1 to PA_HEAP_ACCOUNTS - 1; 0 is nobody, of whom nothing is counted. Each
 * thread works for one account at a time. Amounts are changed by whoever holds the lock that
 * serialises the allocators; they may be read on any thread. */
#ifndef PLUGINAPI_HEAP_ACCOUNTS_H
#define PLUGINAPI_HEAP_ACCOUNTS_H

#include <stddef.h>
#include <stdint.h>

#define PA_HEAP_ACCOUNTS 4096

typedef struct pa_heap_usage {
    int64_t bytes;    /* of blocks that are held, headers included */
    int64_t peak;     /* the most so far */
    uint64_t refused; /* requests beyond the limit */
} pa_heap_usage;

/* Open an account with this limit in bytes, 0 for none. 0: all accounts are open. An account that
 * was closed is opened anew once none of its blocks is left. */
uint32_t pa_heap_open(int64_t limit);

/* What it holds still counts and may be freed; nothing is refused any more. */
void pa_heap_close(uint32_t account);

void pa_heap_read(uint32_t account, pa_heap_usage *usage);

/* Let this thread work for an account; return the one that it worked for. */
uint32_t pa_heap_enter(uint32_t account);

#endif
