# What _spawn.pyx uses of kernels/spawn: C declarations only.
from libc.stddef cimport size_t
from posix.types cimport pid_t

cdef extern from "spawn/spawn.h" nogil:
    int PA_SPAWN_MOST_FDS
    ctypedef struct pa_spawn_step:
        const char *name
        int (*run)(void *) noexcept nogil
        void *user
    ctypedef struct pa_spawn_request:
        const char *path
        char **argv
        char **envp
        const int *fds
        size_t fd_count
        size_t step_fd_count
        int program
        const int *cgroup
        const int *pid_namespace
        const pa_spawn_step *steps
        size_t step_count
        int dies_with_thread
    ctypedef struct pa_spawned:
        pid_t pid
        int pidfd
        const char *failed
    int pa_spawn(const pa_spawn_request *, pa_spawned *)
    long pa_spawn_fork(const int *, const int *, int *, const char **)
    int pa_spawn_settle(const int *, size_t, size_t, const char **)
    int pa_spawn_die_with(pid_t)
    int pa_spawn_adopt_orphans()
    int pa_spawn_ended(int, int *)
