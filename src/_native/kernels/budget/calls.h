/* What tells a watcher of processor time that calls of a process begin and end; see budget.h.
 *
 * Knows no Python. POSIX. pa_call_begins and pa_call_ends of one process have callers with a lock of
 * their own; all else is thread-safe. */
#ifndef PLUGINAPI_BUDGET_CALLS_H
#define PLUGINAPI_BUDGET_CALLS_H

#include <stdatomic.h>
#include <stdint.h>

/* One process. Who begins and ends calls may hold it longer than who watches. */
typedef struct pa_watched_calls {
    _Atomic uint32_t running;
    _Atomic uint64_t ended;
    _Atomic uint32_t concurrent; /* whether they may run at the same time */
    _Atomic uint32_t holders;
    _Atomic uint32_t *awake; /* of the watcher: whether its thread looks */
} pa_watched_calls;

void pa_calls_hold(pa_watched_calls *calls);
void pa_calls_release(pa_watched_calls *calls);

/* Wake the thread of the watcher, which sleeps. */
void pa_calls_wake(pa_watched_calls *calls);

static inline void pa_call_begins(pa_watched_calls *calls) {
    const uint32_t running = atomic_load_explicit(&calls->running, memory_order_relaxed);
    /* Stored before `awake` is read; the watcher does it the other way round. */
    atomic_store_explicit(&calls->running, running + 1, memory_order_seq_cst);
    if (running == 0 && atomic_load_explicit(calls->awake, memory_order_seq_cst) == 0) {
        pa_calls_wake(calls);
    }
}

static inline void pa_calls_end(pa_watched_calls *calls, uint32_t count) {
    const uint32_t running = atomic_load_explicit(&calls->running, memory_order_relaxed);
    const uint64_t ended = atomic_load_explicit(&calls->ended, memory_order_relaxed);
    atomic_store_explicit(&calls->ended, ended + count, memory_order_relaxed);
    atomic_store_explicit(&calls->running, running > count ? running - count : 0,
                          memory_order_release);
}

#endif
