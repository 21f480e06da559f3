/* For the files of this directory: what a watcher and the processes that it watches share. */
#ifndef PLUGINAPI_BUDGET_SHARED_H
#define PLUGINAPI_BUDGET_SHARED_H

#include <pthread.h>

#include "calls.h"

/* Outlives the watcher while a process refers to it. */
typedef struct pa_budget_shared {
    _Atomic uint32_t awake;
    _Atomic uint32_t holders;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
} pa_budget_shared;

/* What a pa_watched_calls is the beginning of. */
typedef struct pa_budget_held {
    pa_watched_calls calls;
    pa_budget_shared *shared;
} pa_budget_held;

void pa_budget_let_go(pa_budget_shared *shared);

#endif
