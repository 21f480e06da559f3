#ifndef PLUGINAPI_WORKER_NURSERY_PRIVATE_H
#define PLUGINAPI_WORKER_NURSERY_PRIVATE_H

#include <stddef.h>

#include "nursery.h"

/* In place of a worker's number, which begin above it: a cell, whose end nobody is told. */
#define PA_NURSERY_HOLDER 0u

typedef struct worker {
    pid_t pid;
    uint32_t id;
} worker;

typedef struct nursery {
    int control;
    int host;          /* pidfd */
    int signals;       /* SIGCHLD as a descriptor */
    int children;      /* /proc/self/task/<tid>/children */
    int exe;           /* this program, which other roots do not show */
    const char *program;
    char mark[64]; /* NAME=value, or empty */
    worker *workers;
    size_t count, room;
} nursery;

/* Send a message, with a descriptor unless it is -1; 0 when the host is gone. */
int pa_nursery_tell(nursery *self, const pa_nursery_message *message, int fd);

/* Know a child, so that it is no orphan; 0 without memory. */
int pa_nursery_remember(nursery *self, pid_t pid, uint32_t id);

/* Take one request; 0 when the host is gone or sends what it should not. */
int pa_nursery_take(nursery *self);

#endif
