#define _GNU_SOURCE
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* What the new process says when its plan has failed; nothing, and the end, when it is done. */
typedef struct report {
    uint32_t step;
    int32_t error;
    char call[32];
} report;

static void keep_call(char *to, const char *call) {
    size_t i = 0;
    while (call != NULL && call[i] != '\0' && i < sizeof((report *)0)->call - 1) {
        to[i] = call[i];
        i++;
    }
    to[i] = '\0';
}

static void fail(int out, size_t step, int error, const char *call) __attribute__((noreturn));
static void fail(int out, size_t step, int error, const char *call) {
    report told;
    memset(&told, 0, sizeof told);
    told.step = (uint32_t)step;
    told.error = error;
    keep_call(told.call, call);
    while (write(out, &told, sizeof told) < 0 && errno == EINTR) {
    }
    _exit(1);
}

/* Be the init of a PID namespace until `wait` says otherwise. */
static void hold(int wait) __attribute__((noreturn));
static void hold(int wait) {
    char byte;
    ssize_t got;
    do {
        got = read(wait, &byte, 1);
    } while (got < 0 && errno == EINTR);
    _exit(0);
}

static void be_holder(const pa_holder_request *request, int mapped, int out)
    __attribute__((noreturn));
static void be_holder(const pa_holder_request *request, int mapped, int out) {
    struct sigaction action;
    sigset_t none;
    pa_plan_result result;
    int number, kept[2];
    char byte;
    if (mapped >= 0 && read(mapped, &byte, 1) != 1) {
        fail(out, 0, ECANCELED, "user namespace");
    }
    memset(&action, 0, sizeof action);
    for (number = 1; number < NSIG; number++) {
        /* Whoever is left to this process is gone when it ends: nobody has to wait for it. */
        action.sa_handler = number == SIGCHLD ? SIG_IGN : SIG_DFL;
        (void)sigaction(number, &action, NULL);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_NAME, "plugin-init");
    if (setsid() < 0) {
        fail(out, 0, errno, "setsid");
    }
    if (pa_plan_run(request->plan, request->plan_size, request->fds, &result) != 0) {
        fail(out, result.done + 1, result.error, result.call);
    }
    /* After the plan, since a change of the user undoes it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
        fail(out, 0, errno, "prctl(PR_SET_PDEATHSIG)");
    }
    kept[0] = fcntl(request->wait, F_DUPFD, 3);
    kept[1] = fcntl(out, F_DUPFD, 3);
    if (kept[0] < 0 || kept[1] < 0 || dup2(kept[0], 0) < 0 || dup2(kept[1], 1) < 0 ||
        syscall(SYS_close_range, 2u, ~0u, 0u) != 0) {
        fail(out, 0, errno, "descriptors");
    }
    (void)close(1);
    hold(0);
}

static int map(const pa_holder_request *request, pid_t pid, const char **call) {
    char path[32];
    char digits[12];
    size_t count = 0, at = 6;
    pid_t left = pid;
    int directory, error;
    memcpy(path, "/proc/", 6);
    do {
        digits[count++] = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    while (count > 0) {
        path[at++] = digits[--count];
    }
    path[at] = '\0';
    *call = "open /proc";
    directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        return errno;
    }
    error = pa_userns_map(directory, request->uid, request->gid, 0, call);
    (void)close(directory);
    return error;
}

static void take_report(int in, pa_holder *holder) {
    report told;
    ssize_t got;
    do {
        got = read(in, &told, sizeof told);
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        return;
    }
    holder->step = got == (ssize_t)sizeof told ? told.step : 0;
    holder->error = got == (ssize_t)sizeof told && told.error != 0 ? told.error : EPROTO;
    if (got == (ssize_t)sizeof told) {
        memcpy(holder->call, told.call, sizeof holder->call - 1);
    }
}

void pa_holder_end(pa_holder *holder) {
    siginfo_t info;
    if (holder->pidfd < 0) {
        return;
    }
    (void)syscall(SYS_pidfd_send_signal, holder->pidfd, SIGKILL, NULL, 0u);
    while (waitid(P_PIDFD, (id_t)holder->pidfd, &info, WEXITED) != 0 && errno == EINTR) {
    }
    (void)close(holder->pidfd);
    holder->pidfd = -1;
}

static int refuse(pa_holder *holder, int error, const char *call) {
    holder->error = error;
    keep_call(holder->call, call);
    return error;
}

int pa_holder_start(const pa_holder_request *request, pa_holder *holder) {
    struct clone_args args;
    const char *call;
    int status[2], go[2] = {-1, -1};
    int error = 0;
    long pid;
    memset(holder, 0, sizeof *holder);
    holder->pidfd = -1;
    if (pipe2(status, O_CLOEXEC) != 0) {
        return refuse(holder, errno, "pipe");
    }
    if ((request->namespaces & CLONE_NEWUSER) != 0 && pipe2(go, O_CLOEXEC) != 0) {
        error = errno;
        (void)close(status[0]);
        (void)close(status[1]);
        return refuse(holder, error, "pipe");
    }
    memset(&args, 0, sizeof args);
    args.flags = CLONE_PIDFD | request->namespaces;
    args.pidfd = (uint64_t)(uintptr_t)&holder->pidfd;
    args.exit_signal = SIGCHLD;
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        (void)close(status[0]);
        if (go[1] >= 0) {
            (void)close(go[1]);
        }
        be_holder(request, go[0], status[1]);
    }
    error = pid < 0 ? errno : 0;
    (void)close(status[1]);
    if (error != 0) {
        holder->pidfd = -1;
        (void)refuse(holder, error, "clone3");
    } else {
        holder->pid = (pid_t)pid;
        if (go[1] >= 0) {
            error = map(request, holder->pid, &call);
            if (error != 0) {
                (void)refuse(holder, error, call);
            } else if (write(go[1], "g", 1) != 1) {
                error = refuse(holder, errno, "pipe");
            }
        }
        if (error == 0) {
            take_report(status[0], holder);
            error = holder->error;
        }
        if (error != 0) {
            pa_holder_end(holder);
        }
    }
    (void)close(status[0]);
    if (go[0] >= 0) {
        (void)close(go[0]);
        (void)close(go[1]);
    }
    return error;
}
