/* Put a filter program in force, by seccomp(2). Linux only; knows no Python. */
#ifndef PLUGINAPI_SECCOMP_INSTALL_H
#define PLUGINAPI_SECCOMP_INSTALL_H

#include <stddef.h>

#include "bpf.h"

/* SECCOMP_FILTER_FLAG_* of <linux/seccomp.h>, which may be older than the kernel. */
enum {
    PA_SECCOMP_TSYNC = 1,
    PA_SECCOMP_LOG = 2,
    PA_SECCOMP_NEW_LISTENER = 8,
    PA_SECCOMP_TSYNC_ESRCH = 16
};

typedef struct pa_seccomp_request {
    const pa_bpf *program;
    size_t length;
    unsigned flags;
    int no_new_privs; /* set no_new_privs first, which a process without CAP_SYS_ADMIN needs */
    int result;       /* the listener's descriptor; or the thread that could not be synchronised */
    const char *failed; /* the call that failed */
} pa_seccomp_request;

/* Filter the system calls of this thread, or with TSYNC of all threads, from now on. It cannot be
 * taken back. Returns 0 or an errno value; ESRCH when a thread could not be synchronised, and then
 * no thread has the filter. `request` is a pa_seccomp_request: the function is of the form that
 * pa_spawn_step.run has. Async-signal-safe. */
int pa_seccomp_install(void *request);

/* Whether the kernel knows an action, a SECCOMP_RET_* value: 0, or an errno value. */
int pa_seccomp_knows(unsigned action);

#endif
