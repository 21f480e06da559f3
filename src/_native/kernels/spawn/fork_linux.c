#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clone3.h"
#include "spawn.h"

/* The C library keeps the number of a thread where the kernel clears it at its end; a fork that it
 * does not know of has to write it there. */
static int number_address(struct clone_args *args) {
    int *found = NULL;
    if (prctl(PR_GET_TID_ADDRESS, &found, 0, 0, 0) != 0) {
        return errno;
    }
    args->child_tid = (uint64_t)(uintptr_t)found;
    return 0;
}

/* A process between this one and the new one enters the namespace, of which its children are, and
 * makes the new one a child of this one: there may be no way back. It shares this one's memory, which
 * waits; the new one does not, and returns with a copy of the stack. */
typedef struct between {
    int pid_namespace;
    struct clone_args args; /* of the new process */
    volatile long result;
    volatile int error;
} between;

static long go_between(between *state) __attribute__((noinline));
static long go_between(between *state) {
    long result;
    if (setns(state->pid_namespace, CLONE_NEWPID) != 0) {
        state->error = errno;
        _exit(1);
    }
    state->args.flags |= CLONE_PARENT;
    state->args.exit_signal = 0;
    result = clone_any(&state->args);
    if (result != 0) {
        state->result = result;
        _exit(0);
    }
    return result;
}

/* Returns twice, on the same stack: nothing but the result lives in this frame after the call, and
 * what follows the call of go_between keeps that from taking over this frame. */
static long clone_between(struct clone_args *args, between *state) __attribute__((noinline));
static long clone_between(struct clone_args *args, between *state) {
    long result = clone_any(args);
    if (result == 0) {
        result = go_between(state);
        __asm__ volatile("" : "+r"(result) : : "memory");
    }
    return result;
}

long pa_spawn_fork(const int *pid_namespace, const int *cgroup, int *pidfd, const char **failed) {
    struct clone_args first;
    between state;
    siginfo_t info;
    long result;
    int error;
    memset(&state, 0, sizeof state);
    *failed = "prctl(PR_GET_TID_ADDRESS)";
    error = number_address(&state.args);
    if (error != 0) {
        return -error;
    }
    *failed = "clone3";
    state.args.flags = CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    state.args.pidfd = (uint64_t)(uintptr_t)pidfd;
    state.args.exit_signal = SIGCHLD;
    if (cgroup != NULL) {
        state.args.flags |= CLONE_INTO_CGROUP;
        state.args.cgroup = (uint32_t)*cgroup;
    }
    if (pid_namespace == NULL) {
        return clone_any(&state.args);
    }
    memset(&first, 0, sizeof first);
    first.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES;
    first.exit_signal = SIGCHLD;
    state.pid_namespace = *pid_namespace;
    result = clone_between(&first, &state);
    if (result <= 0) {
        return result;
    }
    while (waitid(P_PID, (id_t)result, &info, WEXITED | __WALL) != 0 && errno == EINTR) {
    }
    if (state.error != 0) {
        *failed = "setns";
        return -state.error;
    }
    return state.result;
}
