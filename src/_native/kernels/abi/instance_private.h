/* What instance.c and services.c share. */
#ifndef PLUGINAPI_ABI_INSTANCE_PRIVATE_H
#define PLUGINAPI_ABI_INSTANCE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "instance.h"

typedef enum pa_phase {
    PA_PHASE_CREATE,
    PA_PHASE_INIT,
    PA_PHASE_REGISTER,
    PA_PHASE_HANDLE,
    PA_PHASE_SHUTDOWN,
    PA_PHASE_DESTROY
} pa_phase;

struct pa_host {
    pa_host_api api;
    pa_embedder embedder;
    size_t out_limit;
    pa_memory memory;
    pa_plugin plugin; /* the part of the plugin's structure that this host knows */

    /* The gate: how many handlers came in without the lock, and PA_GATE_* bits. While it is open,
     * the plugin is active and nobody runs alone or waits. Opened and closed under the lock. */
    _Atomic uint64_t gate;

    pthread_mutex_t lock; /* guards the members below */
    pthread_cond_t changed;
    pa_state state;
    uint32_t running; /* calls that came in with the lock */
    uint32_t waiting;
    int alone;      /* the running call tolerates no other */
    pa_phase phase; /* of the call that runs alone */
};

#define PA_GATE_OPEN ((uint64_t)1 << 32)
#define PA_GATE_WANTED ((uint64_t)1 << 33)
#define PA_GATE_INSIDE ((uint64_t)0xffffffff) /* the count */

/* Fill in the service table that the plugin gets. */
void pa_services_fill(pa_host_api *api);

/* The innermost call into this plugin on this thread, or NULL. */
pa_call *pa_call_current(const pa_host *host);

#endif
