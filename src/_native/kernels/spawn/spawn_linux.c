#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clone3.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* <linux/pidfd.h> of Linux 6.15; the structure of its first version. */
#define INFO_EXIT (UINT64_C(1) << 3)
typedef struct pidfd_info_v0 {
    uint64_t mask, cgroupid;
    uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    int32_t exit_code;
} pidfd_info_v0;
#define GET_INFO _IOWR(0xFF, 11, pidfd_info_v0)

/* The child never returns from the functions that it calls, so that AddressSanitizer goes on to take
 * what it has marked between their variables for the parent's. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define CHILD_STACK 65536
static void forget_marks(void) __attribute__((noinline));
static void forget_marks(void) {
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    __asan_unpoison_memory_region((const void *)(here - CHILD_STACK), CHILD_STACK);
}
#else
static void forget_marks(void) {
}
#endif

/* What the child tells its parent, through the memory that they share. */
typedef struct attempt {
    const pa_spawn_request *request;
    pid_t parent;
    volatile long pid; /* of the child, where another process has made it */
    volatile int error;
    const char *volatile failed;
} attempt;

static void default_signals(void) {
    struct sigaction action;
    int number;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (number = 1; number < NSIG; number++) {
        /* Some belong to the C library or cannot be changed: then they are as they should be. */
        (void)sigaction(number, &action, NULL);
    }
}

static int place_descriptors(const int *fds, size_t kept, size_t further) {
    int from[PA_SPAWN_MOST_FDS];
    const size_t count = kept + further;
    size_t i;
    if (kept > PA_SPAWN_MOST_FDS || further > PA_SPAWN_MOST_FDS - kept) {
        return EINVAL;
    }
    for (i = 0; i < count; i++) {
        from[i] = fds[i] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : fds[i];
        /* What stands where another one is to go is moved away first. */
        if (from[i] >= 0 && from[i] < (int)count) {
            from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, (int)count);
        }
        if (from[i] < 0) {
            return errno;
        }
    }
    for (i = 0; i < count; i++) {
        if (dup3(from[i], (int)i, i < kept ? 0 : O_CLOEXEC) < 0) {
            return errno;
        }
    }
    if (syscall(SYS_close_range, (unsigned)count, ~0u, 0u) != 0) {
        return errno;
    }
    return 0;
}

int pa_spawn_settle(const int *fds, size_t fd_count, size_t step_fd_count, const char **failed) {
    sigset_t none;
    int error;
    default_signals();
    *failed = "setsid";
    if (setsid() < 0) {
        return errno;
    }
    *failed = "descriptors";
    error = place_descriptors(fds, fd_count, step_fd_count);
    if (error != 0) {
        return error;
    }
    *failed = "chdir";
    if (chdir("/") != 0) {
        return errno;
    }
    (void)umask(077);
    *failed = "sigprocmask";
    (void)sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        return errno;
    }
    *failed = NULL;
    return 0;
}

int pa_spawn_die_with(pid_t parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
        return errno;
    }
    /* It may have ended before that call. */
    return getppid() == parent ? 0 : ESRCH;
}

int pa_spawn_adopt_orphans(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? 0 : errno;
}

static void give_up(attempt *state, int error, const char *what) __attribute__((noreturn));
static void give_up(attempt *state, int error, const char *what) {
    state->error = error;
    state->failed = what;
    _exit(127);
}

static void child(attempt *state) __attribute__((noreturn, noinline));
static void child(attempt *state) {
    const pa_spawn_request *const request = state->request;
    const char *failed = NULL;
    size_t i;
    int error = pa_spawn_settle(request->fds, request->fd_count, request->step_fd_count, &failed);
    if (error == 0 && request->dies_with_thread) {
        failed = "parent";
        error = pa_spawn_die_with(state->parent);
    }
    for (i = 0; error == 0 && i < request->step_count; i++) {
        failed = request->steps[i].name;
        error = request->steps[i].run(request->steps[i].user);
    }
    if (error != 0) {
        give_up(state, error, failed);
    }
    if (request->path != NULL) {
        (void)execve(request->path, request->argv, request->envp);
        give_up(state, errno, "execve");
    }
    /* The root may be another one by now, which does not show the program. */
    (void)syscall(SYS_execveat, request->program, "", request->argv, request->envp, AT_EMPTY_PATH);
    give_up(state, errno, "execveat");
}

/* Nothing but the result lives in this frame after the call: see clone3. */
static long clone_child(struct clone_args *args, attempt *state) __attribute__((noinline));
static long clone_child(struct clone_args *args, attempt *state) {
    const long result = clone_any(args);
    if (result == 0) {
        child(state);
    }
    return result;
}

/* Be the process between this one and the child, which has this one as its parent: of the PID
 * namespace that a process has entered are its children alone, and there may be no way back. It
 * shares memory and descriptors with this one, which waits. */
static void go_between(int pid_namespace, struct clone_args *args, attempt *state)
    __attribute__((noreturn, noinline));
static void go_between(int pid_namespace, struct clone_args *args, attempt *state) {
    long result;
    if (setns(pid_namespace, CLONE_NEWPID) != 0) {
        give_up(state, errno, "setns");
    }
    args->flags |= CLONE_PARENT;
    args->exit_signal = 0;
    result = clone_child(args, state);
    state->pid = result;
    _exit(0);
}

/* As clone_child: nothing but the result lives in this frame after the call. */
static long clone_between(struct clone_args *between, int pid_namespace, struct clone_args *args,
                          attempt *state) __attribute__((noinline));
static long clone_between(struct clone_args *between, int pid_namespace, struct clone_args *args,
                          attempt *state) {
    const long result = clone_any(between);
    if (result == 0) {
        go_between(pid_namespace, args, state);
    }
    return result;
}

static long clone_inside(int pid_namespace, struct clone_args *args, attempt *state) {
    struct clone_args between;
    siginfo_t info;
    long result;
    memset(&between, 0, sizeof between);
    between.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES;
    between.exit_signal = SIGCHLD;
    result = clone_between(&between, pid_namespace, args, state);
    if (result <= 0) {
        return result;
    }
    while (waitid(P_PID, (id_t)result, &info, WEXITED | __WALL) != 0 && errno == EINTR) {
    }
    return state->pid != 0 ? state->pid : -state->error;
}

int pa_spawn(const pa_spawn_request *request, pa_spawned *spawned) {
    struct clone_args args;
    attempt state;
    sigset_t all, before;
    siginfo_t info;
    long result;
    int cancel;
    memset(&args, 0, sizeof args);
    spawned->pid = -1;
    spawned->pidfd = -1;
    spawned->failed = "clone3";
    args.flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | SHARES_MEMORY;
    args.pidfd = (uint64_t)(uintptr_t)&spawned->pidfd;
    args.exit_signal = SIGCHLD;
    if (request->cgroup != NULL) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint32_t)*request->cgroup;
    }
    state.request = request;
    state.parent = getpid();
    state.pid = 0;
    state.error = 0;
    state.failed = NULL;
    /* No handler of this process may run in the child, and none between clone and exec. */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    result = request->pid_namespace == NULL
                 ? clone_child(&args, &state)
                 : clone_inside(*request->pid_namespace, &args, &state);
    forget_marks();
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_setcancelstate(cancel, NULL);
    if (result < 0) {
        spawned->pidfd = -1;
        if (state.failed != NULL) {
            spawned->failed = state.failed;
        }
        return (int)-result;
    }
    if (state.error == 0) {
        spawned->pid = (pid_t)result;
        spawned->failed = NULL;
        return 0;
    }
    while (waitid(P_PIDFD, (id_t)spawned->pidfd, &info, WEXITED) != 0 && errno == EINTR) {
    }
    (void)close(spawned->pidfd);
    spawned->pidfd = -1;
    spawned->failed = state.failed;
    return state.error;
}

int pa_spawn_ended(int pidfd, int *status) {
    pidfd_info_v0 info;
    memset(&info, 0, sizeof info);
    info.mask = INFO_EXIT;
    if (ioctl(pidfd, GET_INFO, &info) != 0) {
        return errno == ENOTTY || errno == EINVAL ? ENOTSUP : errno == ESRCH ? EAGAIN : errno;
    }
    if ((info.mask & INFO_EXIT) == 0) {
        return EAGAIN;
    }
    *status = info.exit_code;
    return 0;
}
