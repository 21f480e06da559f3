/* Start a program without copying the memory of this process, and know it by a pidfd.
 *
 * The new process shares this one's memory until it executes the program, while the calling thread
 * waits: so the time does not depend on how much memory this process has. It gets a session of its
 * own, default signals, a clean environment, the directory / and the descriptors that are given;
 * every other one is closed. Knows no Python. Thread-safe. Linux 5.9 or newer. */
#ifndef PLUGINAPI_SPAWN_SPAWN_H
#define PLUGINAPI_SPAWN_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#define PA_SPAWN_MOST_FDS 32

/* Something to be done in the new process before the program: a layer of a sandbox, say. Runs in
 * memory that is shared with the parent, whose other threads go on: async-signal-safe calls only,
 * nothing may be written but to `user`. Returns 0 or an errno value, which ends the start. */
typedef struct pa_spawn_step {
    const char *name; /* for the message when it fails */
    int (*run)(void *user);
    void *user;
} pa_spawn_step;

typedef struct pa_spawn_request {
    const char *path; /* NULL: the program is one of the descriptors */
    char *const *argv;
    char *const *envp;
    const int *fds; /* the program gets them as 0, 1, 2, ...; -1 is /dev/null */
    size_t fd_count;
    size_t step_fd_count; /* further ones after these: numbered on, for the steps alone */
    int program; /* without a path: its number among all of these */
    const int *cgroup; /* a directory of version 2 to begin in, or NULL; CLONE_INTO_CGROUP */
    const int *pid_namespace; /* of a process, its pidfd, or NULL; setns(2) */
    const pa_spawn_step *steps; /* after the descriptors are in place, in this order */
    size_t step_count;
    int dies_with_thread; /* SIGKILL when the calling thread ends: for programs with one thread */
} pa_spawn_request;

typedef struct pa_spawned {
    pid_t pid;
    int pidfd;          /* close-on-exec */
    const char *failed; /* what failed: the name of a step, or of the call */
} pa_spawned;

/* Start a program. Returns 0; or an errno value, and then there is no process. */
int pa_spawn(const pa_spawn_request *request, pa_spawned *spawned);

/* Fork this process, which must have one thread, as fork(2) does, but into a PID namespace and a
 * control group, where these are not NULL. Returns 0 in the new process; in this one its number and
 * *pidfd, or minus an errno value with *failed. Handlers of pthread_atfork are not called.
 * Linux 5.9 or newer. */
long pa_spawn_fork(const int *pid_namespace, const int *cgroup, int *pidfd, const char **failed);

/* What a process that was just forked does to become like one that pa_spawn starts: session,
 * signals, descriptors, directory. The last step_fd_count of the descriptors are closed by an exec.
 * Returns 0 or an errno value with *failed. */
int pa_spawn_settle(const int *fds, size_t fd_count, size_t step_fd_count, const char **failed);

/* Let SIGKILL end this process when its parent's thread ends. Fails with ESRCH when the parent is
 * not `parent` any more. */
int pa_spawn_die_with(pid_t parent);

/* Become the parent of orphans among the descendants of this process. */
int pa_spawn_adopt_orphans(void);

/* How a process ended, once it has: asked of the kernel by its pidfd, whoever its parent is and
 * whether or not it was waited for. *status is as of wait(2). Returns 0; EAGAIN while it runs;
 * ENOTSUP before Linux 6.15. */
int pa_spawn_ended(int pidfd, int *status);

#endif
