/* The native nursery: the process that starts native workers, knows how they end, and sees to it
 * that nothing of them outlives the host. The Python zygote speaks the same protocol.
 *
 * Over a SOCK_SEQPACKET socket, one message of PA_NURSERY_MESSAGE bytes each, in the byte order of
 * the machine, with descriptors:
 *     SPAWN      the worker's channel, the socket on which it is handed the plugin, and where its
 *                output goes; or for a command, what it gets as 0, 1 and 2; then what `status` says,
 *                in the order of its bits; then those of the plan, from 1 on. `code` is 1 when
 *                nobody waits for it, so that it may prepare itself for any plugin
 *     CELL       where it waits for its end, a plan, and the plan's descriptors: makes a process
 *                that holds namespaces open (confine/holder.h), `pid` says which: CLONE_NEW*; with a
 *                user namespace `code` and `status` are the user and group that are mapped to
 *                themselves. The native nursery alone
 *     TEMPLATE   a plan and its descriptors: runs it in a mount and a PID namespace of its own and
 *                keeps the mount namespace alone. The native nursery alone
 *     APPLY      a plan and its descriptors, run on the nursery itself
 *     READY      from the nursery, once
 *     STARTED    for a SPAWN, with the worker's pidfd
 *     MADE       for a CELL with its pidfd; for a TEMPLATE with the namespace; for an APPLY
 *     FAILED     for either
 *     ENDED      for each that was started
 * The end of the socket, or of the host, is the end of the nursery and of all of its workers. */
#ifndef PLUGINAPI_WORKER_NURSERY_H
#define PLUGINAPI_WORKER_NURSERY_H

#include <stdint.h>
#include <sys/types.h>

#define PA_NURSERY_FDS 3       /* of a SPAWN, at least */
#define PA_NURSERY_MOST_FDS 200 /* of any message */
#define PA_NURSERY_SPAWN_FDS 24 /* of a SPAWN */

enum {
    PA_NURSERY_SPAWN = 1,
    PA_NURSERY_READY = 2,
    PA_NURSERY_STARTED = 3,
    PA_NURSERY_FAILED = 4, /* status is an errno value, text says what failed; pid is 1 more than the
                            * number of the step of a plan, or 0 */
    PA_NURSERY_ENDED = 5,  /* code is CLD_*, status the exit status or the signal: waitid(2) */
    PA_NURSERY_CELL = 6,
    PA_NURSERY_TEMPLATE = 7,
    PA_NURSERY_APPLY = 8,
    PA_NURSERY_MADE = 9,
    PA_NURSERY_REFUSED = 10 /* as FAILED, from a worker of the zygote that could not run its plan */
};

/* `status` of a SPAWN. */
enum {
    PA_SPAWN_PLAN = 1,    /* a plan, run in the new process */
    PA_SPAWN_COMMAND = 2, /* arguments and environment: any program is started, no worker */
    PA_SPAWN_LOCKED = 4,  /* a plan that the worker itself runs when the plugin is loaded */
    PA_SPAWN_CGROUP = 8,  /* the directory of a control group, version 2 */
    PA_SPAWN_CELL = 16,   /* the pidfd of a cell: descriptor 0 of the plan */
    PA_SPAWN_PID = 32,    /* no descriptor: the process is of the cell's PID namespace */
    PA_SPAWN_SHOWN = 64,  /* no descriptor: the root shows the worker's program as PA_SPAWN_PATH */
    PA_SPAWN_STRICT = 128, /* no descriptor: what it runs leaves it read, write and its end */
    PA_SPAWN_ALL = 255
};

/* src/pluginapi/sandbox/policy.py */
#define PA_SPAWN_PATH "/.plugin-worker"

typedef struct pa_nursery_message {
    uint32_t op;
    uint32_t id; /* of the request that it is about */
    int32_t pid;
    int32_t code;
    int32_t status;
    char text[28]; /* NUL-ended */
} pa_nursery_message;

#define PA_NURSERY_MESSAGE sizeof(pa_nursery_message) /* 48 */

/* Run the nursery on a control socket until it or the host ends; returns the exit status. */
int pa_nursery_run(int control, pid_t host, const char *program);

#endif
