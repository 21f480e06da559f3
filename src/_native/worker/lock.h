/* What the worker gives up once the plugin is loaded: a plan that the host hands over at the start,
 * on a descriptor, and that nobody can change any more. */
#ifndef PLUGINAPI_WORKER_LOCK_H
#define PLUGINAPI_WORKER_LOCK_H

#include <stddef.h>
#include <stdint.h>

#include "confine/plan.h"

typedef struct pa_lock {
    uint8_t *plan; /* NULL: there is none, and nothing to do */
    size_t size;
} pa_lock;

/* Read and check the plan, and close the descriptor; 0 when it is none, or not sealed. */
int pa_lock_read(int fd, pa_lock *lock);

/* Run it. Returns 0; or an errno value with what failed: then the process is of no use. */
int pa_lock_close(const pa_lock *lock, pa_plan_result *result);

#endif
