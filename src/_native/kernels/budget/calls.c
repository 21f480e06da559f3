#define _POSIX_C_SOURCE 200809L
#include "calls.h"

#include <stdlib.h>

#include "shared.h"

void pa_budget_let_go(pa_budget_shared *shared) {
    if (atomic_fetch_sub(&shared->holders, 1) == 1) {
        pthread_mutex_destroy(&shared->lock);
        pthread_cond_destroy(&shared->wanted);
        free(shared);
    }
}

void pa_calls_hold(pa_watched_calls *calls) {
    atomic_fetch_add(&calls->holders, 1);
}

void pa_calls_release(pa_watched_calls *calls) {
    if (atomic_fetch_sub(&calls->holders, 1) == 1) {
        pa_budget_held *held = (pa_budget_held *)calls;
        pa_budget_let_go(held->shared);
        free(held);
    }
}

void pa_calls_wake(pa_watched_calls *calls) {
    pa_budget_shared *shared = ((pa_budget_held *)calls)->shared;
    pthread_mutex_lock(&shared->lock);
    pthread_cond_signal(&shared->wanted);
    pthread_mutex_unlock(&shared->lock);
}
