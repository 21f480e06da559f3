#include "heap/accounts.h"

#include "heap/account.h"

pa_heap_account pa_heap_accounts[PA_HEAP_ACCOUNTS];

PA_HEAP_THREAD _Thread_local uint64_t pa_heap_entered;

uint32_t pa_heap_open(int64_t limit) {
    /* Round and round: code of an account that was closed may still run for a while. */
    static uint32_t latest;
    for (uint32_t tried = 1; tried < PA_HEAP_ACCOUNTS; tried++) {
        const uint32_t number = latest % (PA_HEAP_ACCOUNTS - 1) + 1;
        pa_heap_account *const account = &pa_heap_accounts[number];
        latest = number;
        if (PA_HEAP_GET(account->open) || PA_HEAP_GET(account->bytes) != 0) {
            continue;
        }
        PA_HEAP_SET(account->open, 1);
        PA_HEAP_SET(account->noted, 0);
        PA_HEAP_SET(account->refused, 0);
        PA_HEAP_SET(account->limit, limit > 0 ? limit : INT64_MAX);
        return number;
    }
    return 0;
}

void pa_heap_close(uint32_t number) {
    PA_HEAP_SET(pa_heap_accounts[number].limit, INT64_MAX);
    PA_HEAP_SET(pa_heap_accounts[number].open, 0);
}

void pa_heap_read(uint32_t number, pa_heap_usage *usage) {
    const pa_heap_account *const account = &pa_heap_accounts[number];
    usage->bytes = PA_HEAP_GET(account->bytes);
    usage->peak = PA_HEAP_GET(account->noted);
    usage->refused = PA_HEAP_GET(account->refused);
}

int pa_heap_more(pa_heap_account *account, int64_t held) {
    if (held > PA_HEAP_GET(account->limit)) {
        PA_HEAP_SET(account->refused, PA_HEAP_GET(account->refused) + 1);
        return -1;
    }
    PA_HEAP_SET(account->noted, held);
    return 0;
}

uint32_t pa_heap_enter(uint32_t account) {
    const uint64_t before = pa_heap_entered;
    pa_heap_entered = (uint64_t)account << PA_HEAP_SHIFT;
    return (uint32_t)(before >> PA_HEAP_SHIFT);
}
