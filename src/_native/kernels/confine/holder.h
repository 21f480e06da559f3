/* A process that does nothing but hold namespaces open, as the init of their PID namespace: it reaps
 * whoever is left to it, and its end is the end of all who live there.
 *
 * Others enter them through its pidfd. It is a copy of the calling process, which should be small,
 * and drops what it is told to by a plan. Knows no Python. Linux 5.9 or newer. */
#ifndef PLUGINAPI_CONFINE_HOLDER_H
#define PLUGINAPI_CONFINE_HOLDER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plan.h"

/* One id of a user namespace, and what it is in the one above. */
typedef struct pa_id_map {
    uint32_t inside, outside;
} pa_id_map;

/* Write the maps of a process's user namespace: `directory` is that of the process in /proc. Who has
 * no rights in the namespace above may map groups only where none can be dropped any more. Returns 0
 * or an errno value with *call. */
int pa_userns_map(int directory, const pa_id_map *uid, const pa_id_map *gid, int keep_groups,
                  const char **call);

typedef struct pa_holder_request {
    uint64_t namespaces;     /* CLONE_NEW* */
    const pa_id_map *uid;    /* with CLONE_NEWUSER; otherwise NULL */
    const pa_id_map *gid;
    const uint8_t *plan;     /* checked; what it gives up before it waits */
    size_t plan_size;
    const int *fds;          /* of the plan */
    int wait;                /* it ends when this descriptor can be read, or is at its end */
} pa_holder_request;

typedef struct pa_holder {
    pid_t pid;
    int pidfd; /* close-on-exec */
    int error;
    size_t step;   /* of the plan that failed, 1 more than its number; 0 for what is no step */
    char call[32]; /* what failed */
} pa_holder;

/* Start one. Returns 0 once its plan is done; or an errno value, and then there is no process. */
int pa_holder_start(const pa_holder_request *request, pa_holder *holder);

/* End one and wait for that; its pidfd is closed. */
void pa_holder_end(pa_holder *holder);

#endif
