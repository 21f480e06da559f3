#define _GNU_SOURCE
#include "nursery_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/spawn.h"

#define MARK "PLUGINAPI_NURSERY" /* pluginapi/process/orphans.py */

/* The host may be slow, so its end is watched too. */
int pa_nursery_tell(nursery *self, const pa_nursery_message *message, int fd) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    pa_nursery_message copy = *message;
    struct iovec part = {&copy, sizeof copy};
    struct msghdr out;
    memset(&out, 0, sizeof out);
    out.msg_iov = &part;
    out.msg_iovlen = 1;
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        out.msg_control = &control;
        out.msg_controllen = sizeof control.space;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    for (;;) {
        struct pollfd wait[2] = {{self->control, POLLOUT, 0}, {self->host, POLLIN, 0}};
        if (sendmsg(self->control, &out, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return 1; /* whole: a packet has no parts */
        }
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
            return 0;
        }
        if (poll(wait, 2, 1000) > 0 && wait[1].revents != 0) {
            return 0;
        }
    }
}

int pa_nursery_remember(nursery *self, pid_t pid, uint32_t id) {
    if (self->count == self->room) {
        const size_t room = self->room == 0 ? 16 : 2 * self->room;
        worker *const more = realloc(self->workers, room * sizeof *more);
        if (more == NULL) {
            return 0;
        }
        self->workers = more;
        self->room = room;
    }
    self->workers[self->count].pid = pid;
    self->workers[self->count++].id = id;
    return 1;
}

static worker *find(nursery *self, pid_t pid) {
    size_t i;
    for (i = 0; i < self->count; i++) {
        if (self->workers[i].pid == pid) {
            return &self->workers[i];
        }
    }
    return NULL;
}

/* Kill all children, or those alone that nobody asked for: orphans of workers. They are not waited
 * for yet, so none of these numbers can belong to another process. */
static void kill_children(nursery *self, int all) {
    char text[4096];
    char number[16];
    size_t digits = 0;
    ssize_t got;
    off_t offset = 0;
    while ((got = pread(self->children, text, sizeof text, offset)) > 0) {
        ssize_t i;
        for (i = 0; i < got; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                if (digits < sizeof number - 1) {
                    number[digits++] = text[i];
                }
            } else if (digits > 0) {
                const pid_t pid = (pid_t)(number[digits] = '\0', atoi(number));
                digits = 0;
                if (pid > 1 && (all || find(self, pid) == NULL)) {
                    (void)kill(pid, SIGKILL);
                }
            }
        }
        offset += got;
    }
}

/* Wait for whoever has ended. */
static int reap(nursery *self) {
    struct signalfd_siginfo taken[16];
    siginfo_t info;
    while (read(self->signals, taken, sizeof taken) > 0) {
    }
    for (;;) {
        worker *known;
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
            break;
        }
        known = find(self, info.si_pid);
        if (known != NULL) {
            const pa_nursery_message message = {.op = PA_NURSERY_ENDED,
                                                .id = known->id,
                                                .pid = info.si_pid,
                                                .code = info.si_code,
                                                .status = info.si_status};
            *known = self->workers[--self->count];
            if (message.id != PA_NURSERY_HOLDER && !pa_nursery_tell(self, &message, -1)) {
                return 0;
            }
        }
    }
    kill_children(self, 0);
    return 1;
}

static void end_all(nursery *self) {
    siginfo_t info;
    do {
        kill_children(self, 1);
        /* Children of those that end become ours; the next round ends them. */
    } while (waitid(P_ALL, 0, &info, WEXITED) == 0 || errno == EINTR);
}

int pa_nursery_run(int control, pid_t host, const char *program) {
    static const pa_nursery_message ready = {.op = PA_NURSERY_READY};
    nursery self = {.control = control, .program = program, .exe = -1};
    const char *const mark = getenv(MARK);
    sigset_t child;
    if (mark != NULL && strlen(mark) < sizeof self.mark - sizeof MARK) {
        (void)strcpy(self.mark, MARK "=");
        (void)strcat(self.mark, mark);
    }
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)fcntl(control, F_SETFD, FD_CLOEXEC);
    self.host = (int)syscall(SYS_pidfd_open, host, 0);
    self.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    self.children = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    self.exe = open(program, O_PATH | O_CLOEXEC);
    if (self.exe < 0 || self.host < 0 || self.signals < 0 || self.children < 0 || getppid() != host ||
        pa_spawn_adopt_orphans() != 0) {
        return 3;
    }
    if (!pa_nursery_tell(&self, &ready, -1)) {
        return 0;
    }
    for (;;) {
        struct pollfd wait[3] = {
            {control, POLLIN, 0}, {self.host, POLLIN, 0}, {self.signals, POLLIN, 0}};
        if (poll(wait, 3, -1) < 0 && errno != EINTR) {
            break;
        }
        if (wait[1].revents != 0) {
            break;
        }
        if (wait[2].revents != 0 && !reap(&self)) {
            break;
        }
        if (wait[0].revents != 0 && !pa_nursery_take(&self)) {
            break;
        }
    }
    end_all(&self);
    free(self.workers);
    return 0;
}
