#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "confine/holder.h"
#include "confine/plan.h"
#include "nursery_private.h"
#include "spawn/spawn.h"

#define MOST_COMMAND_BYTES ((size_t)1 << 20)
#define MOST_ARGUMENTS 4096u

/* A plan or a command, read from memory that the host has sent. */
typedef struct taken {
    uint8_t *data;
    size_t size;
} taken;

static int read_whole(int fd, size_t most, taken *out) {
    struct stat found;
    size_t at = 0;
    out->data = NULL;
    out->size = 0;
    if (fstat(fd, &found) != 0) {
        return errno;
    }
    if (found.st_size <= 0 || (size_t)found.st_size > most) {
        return EMSGSIZE;
    }
    out->data = malloc((size_t)found.st_size);
    if (out->data == NULL) {
        return ENOMEM;
    }
    while (at < (size_t)found.st_size) {
        const ssize_t got = pread(fd, out->data + at, (size_t)found.st_size - at, (off_t)at);
        if (got <= 0) {
            const int error = got == 0 ? EIO : errno;
            if (error == EINTR) {
                continue;
            }
            free(out->data);
            out->data = NULL;
            return error;
        }
        at += (size_t)got;
    }
    out->size = at;
    return 0;
}

static int read_plan(int fd, size_t fd_count, taken *plan) {
    size_t step;
    const int error = read_whole(fd, PA_PLAN_MOST_BYTES, plan);
    if (error != 0) {
        return error;
    }
    if (pa_plan_check(plan->data, plan->size, fd_count, &step) != PA_PLAN_OK) {
        free(plan->data);
        plan->data = NULL;
        return EINVAL;
    }
    return 0;
}

static int failed(nursery *self, uint32_t id, int error, const char *what, size_t step) {
    pa_nursery_message answer = {
        .op = PA_NURSERY_FAILED, .id = id, .status = error, .pid = (int32_t)step};
    if (what != NULL) {
        (void)strncpy(answer.text, what, sizeof answer.text - 1);
    }
    return pa_nursery_tell(self, &answer, -1);
}

static int made(nursery *self, uint32_t id, int fd) {
    const pa_nursery_message answer = {.op = PA_NURSERY_MADE, .id = id};
    return pa_nursery_tell(self, &answer, fd);
}

/* ---- Cells, templates, the nursery itself ---- */

static int make_cell(nursery *self, const pa_nursery_message *message, const int *fds,
                     size_t count) {
    const pa_id_map uid = {(uint32_t)message->code, (uint32_t)message->code};
    const pa_id_map gid = {(uint32_t)message->status, (uint32_t)message->status};
    pa_holder_request request = {.namespaces = (uint32_t)message->pid, .uid = &uid, .gid = &gid};
    pa_holder cell;
    taken plan;
    int error, told;
    if (count < 2) {
        return 0;
    }
    error = read_plan(fds[1], count - 2, &plan);
    if (error != 0) {
        return failed(self, message->id, error, "plan", 0);
    }
    request.wait = fds[0];
    request.plan = plan.data;
    request.plan_size = plan.size;
    request.fds = fds + 2;
    error = pa_holder_start(&request, &cell);
    free(plan.data);
    if (error != 0) {
        return failed(self, message->id, error, cell.call, cell.step);
    }
    if (!pa_nursery_remember(self, cell.pid, PA_NURSERY_HOLDER)) {
        pa_holder_end(&cell);
        return failed(self, message->id, ENOMEM, "memory", 0);
    }
    told = made(self, message->id, cell.pidfd);
    (void)close(cell.pidfd);
    return told;
}

static int open_mounts(pid_t pid) {
    char path[40] = "/proc/";
    char digits[12];
    size_t count = 0, at = strlen(path);
    do {
        digits[count++] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid != 0);
    while (count > 0) {
        path[at++] = digits[--count];
    }
    (void)strcpy(path + at, "/ns/mnt");
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int make_template(nursery *self, const pa_nursery_message *message, const int *fds,
                         size_t count) {
    pa_holder_request request = {.namespaces = CLONE_NEWNS | CLONE_NEWPID};
    pa_holder holder;
    taken plan;
    int error, mounts, told, wait[2];
    if (count < 1) {
        return 0;
    }
    error = read_plan(fds[0], count - 1, &plan);
    if (error != 0) {
        return failed(self, message->id, error, "plan", 0);
    }
    if (pipe2(wait, O_CLOEXEC) != 0) {
        error = errno;
        free(plan.data);
        return failed(self, message->id, error, "pipe", 0);
    }
    request.wait = wait[0];
    request.plan = plan.data;
    request.plan_size = plan.size;
    request.fds = fds + 1;
    error = pa_holder_start(&request, &holder);
    free(plan.data);
    if (error != 0) {
        told = failed(self, message->id, error, holder.call, holder.step);
    } else {
        mounts = open_mounts(holder.pid);
        error = errno;
        pa_holder_end(&holder);
        if (mounts < 0) {
            told = failed(self, message->id, error, "open the mount namespace", 0);
        } else {
            told = made(self, message->id, mounts);
            (void)close(mounts);
        }
    }
    (void)close(wait[0]);
    (void)close(wait[1]);
    return told;
}

static int apply(nursery *self, const pa_nursery_message *message, const int *fds, size_t count) {
    pa_plan_result result;
    taken plan;
    int error;
    if (count < 1) {
        return 0;
    }
    error = read_plan(fds[0], count - 1, &plan);
    if (error != 0) {
        return failed(self, message->id, error, "plan", 0);
    }
    error = pa_plan_run(plan.data, plan.size, fds + 1, &result);
    free(plan.data);
    return error != 0 ? failed(self, message->id, error, result.call, result.done + 1)
                      : made(self, message->id, -1);
}

/* ---- Workers and commands ---- */

/* u32 number of arguments, u32 of the environment; then these, each ended by a 0. */
static int split_command(taken *command, char ***argv, char ***envp) {
    uint32_t counts[2];
    char *at, *const end = (char *)command->data + command->size;
    char **list;
    size_t i;
    if (command->size < sizeof counts) {
        return EINVAL;
    }
    memcpy(counts, command->data, sizeof counts);
    at = (char *)command->data + sizeof counts;
    if (counts[0] == 0 || counts[0] > MOST_ARGUMENTS || counts[1] > MOST_ARGUMENTS) {
        return EINVAL;
    }
    list = calloc((size_t)counts[0] + counts[1] + 2, sizeof *list);
    if (list == NULL) {
        return ENOMEM;
    }
    *argv = list;
    *envp = list + counts[0] + 1;
    for (i = 0; i < (size_t)counts[0] + counts[1]; i++) {
        char *const stop = memchr(at, 0, (size_t)(end - at));
        if (stop == NULL) {
            free(list);
            return EINVAL;
        }
        list[i < counts[0] ? i : i + 1] = at;
        at = stop + 1;
    }
    return 0;
}

/* What a spawn is given: where each descriptor is in the message, -1 where there is none. */
typedef struct given {
    int plan, command, locked, cgroup, cell;
    size_t first; /* of the plan's own */
} given;

static int sort_out(int32_t flags, size_t count, given *out) {
    int next = PA_NURSERY_FDS;
    if ((flags & ~PA_SPAWN_ALL) != 0) {
        return 0;
    }
    out->plan = flags & PA_SPAWN_PLAN ? next++ : -1;
    out->command = flags & PA_SPAWN_COMMAND ? next++ : -1;
    out->locked = flags & PA_SPAWN_LOCKED ? next++ : -1;
    out->cgroup = flags & PA_SPAWN_CGROUP ? next++ : -1;
    out->cell = flags & PA_SPAWN_CELL ? next++ : -1;
    out->first = (size_t)next;
    return count >= out->first && count <= PA_NURSERY_SPAWN_FDS && (out->cell >= 0 || (flags & PA_SPAWN_PID) == 0) &&
           (out->locked >= 0 || (flags & PA_SPAWN_STRICT) == 0);
}

typedef struct plan_step {
    taken plan;
    int fds[PA_NURSERY_SPAWN_FDS + 1];
    pa_plan_result result;
} plan_step;

static int run_plan(void *user) {
    plan_step *const self = user;
    return pa_plan_run(self->plan.data, self->plan.size, self->fds, &self->result);
}

static int spawn(nursery *self, int32_t flags, const int *fds, size_t count, const given *where,
                 plan_step *plan, char **argv, char **envp, pa_spawned *spawned) {
    int placed[PA_SPAWN_MOST_FDS] = {-1, fds[2], fds[2], fds[0], fds[1]};
    const pa_spawn_step step = {"plan", run_plan, plan};
    pa_spawn_request request = {
        .path = self->program, .argv = argv, .envp = envp, .fds = placed, .fd_count = 5};
    size_t next, i;
    if (where->command >= 0) {
        placed[0] = fds[0];
        placed[1] = fds[1];
        placed[2] = fds[2];
        request.fd_count = 3;
        request.path = argv[0];
    } else if (where->locked >= 0) {
        placed[request.fd_count++] = fds[where->locked];
    }
    next = request.fd_count;
    if (where->plan >= 0) {
        if (where->command < 0 && (flags & PA_SPAWN_SHOWN) != 0) {
            request.path = PA_SPAWN_PATH;
        } else if (where->command < 0) {
            request.path = NULL;
            request.program = (int)next;
            placed[next++] = self->exe;
        }
        plan->fds[0] = -1;
        if (where->cell >= 0) {
            plan->fds[0] = (int)next;
            placed[next++] = fds[where->cell];
        }
        for (i = where->first; i < count; i++) {
            plan->fds[i - where->first + 1] = (int)next;
            placed[next++] = fds[i];
        }
        request.steps = &step;
        request.step_count = 1;
    } else {
        request.dies_with_thread = 1;
    }
    request.step_fd_count = next - request.fd_count;
    request.cgroup = where->cgroup >= 0 ? &fds[where->cgroup] : NULL;
    request.pid_namespace = flags & PA_SPAWN_PID ? &fds[where->cell] : NULL;
    return pa_spawn(&request, spawned);
}

static int start(nursery *self, const pa_nursery_message *message, const int *fds, size_t count) {
    static char name[] = "pluginapi-worker";
    static char mode[] = "worker";
    static char locked[] = "locked";
    static char strict[] = "strict";
    static char locale[] = "LC_ALL=C.UTF-8";
    static char path[] = "PATH=/usr/bin:/bin";
    char *worker_argv[] = {name, mode, NULL, NULL};
    /* By it the host finds who is left when this process is killed. */
    char *worker_envp[] = {locale, path, self->mark[0] != '\0' ? self->mark : NULL, NULL};
    char **argv = worker_argv, **envp = worker_envp, **list = NULL;
    const char *what = "descriptors";
    plan_step plan;
    taken command = {NULL, 0};
    pa_spawned spawned;
    given where;
    size_t step = 0;
    int error = 0, told;
    memset(&plan, 0, sizeof plan);
    if (count < PA_NURSERY_FDS || !sort_out(message->status, count, &where)) {
        return 0;
    }
    if (where.locked >= 0) {
        worker_argv[2] = message->status & PA_SPAWN_STRICT ? strict : locked;
    }
    if (where.plan >= 0) {
        what = "plan";
        error = read_plan(fds[where.plan], count - where.first + 1, &plan.plan);
    }
    if (error == 0 && where.command >= 0) {
        what = "command";
        error = read_whole(fds[where.command], MOST_COMMAND_BYTES, &command);
        if (error == 0) {
            error = split_command(&command, &list, &envp);
            argv = list;
        }
    }
    if (error == 0) {
        error = spawn(self, message->status, fds, count, &where, &plan, argv, envp, &spawned);
        what = spawned.failed;
        if (error != 0 && plan.result.error != 0) {
            what = plan.result.call;
            step = plan.result.done + 1;
        }
    }
    free(list);
    free(command.data);
    free(plan.plan.data);
    if (error != 0) {
        return failed(self, message->id, error, what, step);
    }
    if (!pa_nursery_remember(self, spawned.pid, message->id)) {
        (void)kill(spawned.pid, SIGKILL);
        told = failed(self, message->id, ENOMEM, "memory", 0);
    } else {
        const pa_nursery_message answer = {
            .op = PA_NURSERY_STARTED, .id = message->id, .pid = spawned.pid};
        told = pa_nursery_tell(self, &answer, spawned.pidfd);
    }
    (void)close(spawned.pidfd);
    return told;
}

int pa_nursery_take(nursery *self) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(PA_NURSERY_MOST_FDS * sizeof(int))];
    } control;
    pa_nursery_message message;
    struct iovec part = {&message, sizeof message};
    struct msghdr in;
    int fds[PA_NURSERY_MOST_FDS];
    size_t count = 0, i;
    ssize_t got;
    int told = 0;
    memset(&in, 0, sizeof in);
    in.msg_iov = &part;
    in.msg_iovlen = 1;
    in.msg_control = &control;
    in.msg_controllen = sizeof control.space;
    got = recvmsg(self->control, &in, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (CMSG_FIRSTHDR(&in) != NULL) {
        count = (CMSG_FIRSTHDR(&in)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&in)), count * sizeof(int));
    }
    if (got == (ssize_t)sizeof message && (in.msg_flags & MSG_CTRUNC) == 0) {
        switch (message.op) {
        case PA_NURSERY_SPAWN:
            told = start(self, &message, fds, count);
            break;
        case PA_NURSERY_CELL:
            told = make_cell(self, &message, fds, count);
            break;
        case PA_NURSERY_TEMPLATE:
            told = make_template(self, &message, fds, count);
            break;
        case PA_NURSERY_APPLY:
            told = apply(self, &message, fds, count);
            break;
        default:
            break;
        }
    }
    for (i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
    return told;
}
