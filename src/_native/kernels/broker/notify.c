#define _GNU_SOURCE
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of <asm-generic/unistd.h> and <linux/seccomp.h>, which may be older than the kernel. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SECCOMP_IOCTL_NOTIF_ADDFD
#define SECCOMP_ADDFD_FLAG_SETFD (1UL << 0)
struct seccomp_notif_addfd {
    __u64 id;
    __u32 flags;
    __u32 srcfd;
    __u32 newfd;
    __u32 newfd_flags;
};
#define SECCOMP_IOCTL_NOTIF_ADDFD SECCOMP_IOW(3, struct seccomp_notif_addfd)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif
/* Headers before 5.17 have the number of an ioctl that only reads, which the kernel takes too. */
#define IS_WAITING _IOW(SECCOMP_IOC_MAGIC, 2, uint64_t)

static int ask(int fd, unsigned long request, void *data) {
    while (ioctl(fd, request, data) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

void pa_notify_take_turns(int listener) {
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

int pa_notify_take(int listener, pa_notify_call *out) {
    struct seccomp_notif taken;
    struct pollfd waiting = {listener, POLLIN, 0};
    int error;
    /* The ioctl waits; who was there may have been killed since. */
    if (poll(&waiting, 1, 0) <= 0) {
        return EAGAIN;
    }
    if ((waiting.revents & POLLIN) == 0) {
        return ENOENT;
    }
    memset(&taken, 0, sizeof taken);
    error = ask(listener, SECCOMP_IOCTL_NOTIF_RECV, &taken);
    if (error != 0) {
        return error == ENOENT ? EAGAIN : error;
    }
    out->id = taken.id;
    out->thread = (int32_t)taken.pid;
    out->number = taken.data.nr;
    memcpy(out->arguments, taken.data.args, sizeof out->arguments);
    return 0;
}

int pa_notify_waits(int listener, uint64_t id) {
    return ask(listener, IS_WAITING, &id);
}

int pa_notify_copy(const pa_notify_call *call, uint64_t address, void *out, size_t size) {
    const struct iovec here = {out, size};
    const struct iovec there = {(void *)(uintptr_t)address, size};
    const ssize_t got = process_vm_readv(call->thread, &here, 1, &there, 1, 0);
    if (got < 0) {
        return errno == ESRCH ? ENOENT : errno;
    }
    return (size_t)got == size ? 0 : EFAULT;
}

/* The process that a thread is of: pidfds of threads are newer. */
static int process_of(int32_t thread) {
    char path[40], text[2048];
    const char *line;
    ssize_t got;
    int fd;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    got = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (got <= 0) {
        return -1;
    }
    text[got] = '\0';
    line = strstr(text, "\nTgid:");
    return line == NULL ? -1 : (int)strtol(line + 6, NULL, 10);
}

void pa_notify_forget(pa_notify_who *latest) {
    if (latest->number != 0) {
        (void)close(latest->pidfd);
        latest->number = 0;
    }
}

int pa_notify_borrow(pa_notify_who *latest, const pa_notify_call *call, int number, int *out) {
    long process, got;
    int error, is_thread = 0;
    if (latest->number == call->thread) {
        got = syscall(SYS_pidfd_getfd, latest->pidfd, number, 0);
        if (got >= 0 || errno != ESRCH) {
            *out = (int)got;
            return got >= 0 ? 0 : errno;
        }
    }
    pa_notify_forget(latest);
    process = syscall(SYS_pidfd_open, call->thread, 0);
    if (process < 0 && (errno == EINVAL || errno == ENOENT)) {
        const int leader = process_of(call->thread);
        process = leader <= 0 ? -1 : syscall(SYS_pidfd_open, leader, 0);
        is_thread = 1;
        if (process < 0) {
            return ENOENT;
        }
    }
    if (process < 0) {
        return errno == ESRCH ? ENOENT : errno;
    }
    got = syscall(SYS_pidfd_getfd, (int)process, number, 0);
    error = errno;
    if (got < 0 || is_thread) {
        /* The number of a thread can be another process's thread's while this one lives. */
        (void)close((int)process);
    } else {
        latest->number = call->thread;
        latest->pidfd = (int)process;
    }
    if (got < 0) {
        return error == ESRCH ? ENOENT : error;
    }
    *out = (int)got;
    return 0;
}

int pa_notify_replace(int listener, uint64_t id, int file, int number) {
    struct seccomp_notif_addfd put;
    memset(&put, 0, sizeof put);
    put.id = id;
    put.flags = SECCOMP_ADDFD_FLAG_SETFD;
    put.srcfd = (uint32_t)file;
    put.newfd = (uint32_t)number;
    put.newfd_flags = O_CLOEXEC;
    /* It returns the number. */
    while (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &put) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int pa_notify_finish(int listener, uint64_t id, int error) {
    struct seccomp_notif_resp answer;
    memset(&answer, 0, sizeof answer);
    answer.id = id;
    answer.error = -error;
    return ask(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}
