#define _GNU_SOURCE
#include "connections.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tasks.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* Looking at a descriptor takes 1.3 us, asking for all connections 0.2 ms and more: up to here,
 * descriptors are looked at. */
#define FEW_DESCRIPTORS 192u
/* So many are searched besides those that something speaks for. */
#define SEARCHED 64u

typedef struct walk {
    pa_sockets *known; /* NULL: look at each socket */
    const pa_process *process;
    int directory, pidfd;
    uint32_t search, owner;
    uint32_t found; /* by looking at it */
    int foreign, hidden, error;
} walk;

/* Tell whether a descriptor of the process is a connection: 1, 0, or -1 with self->error. */
static int looks_connected(walk *self, int32_t number) {
    struct tcp_info info;
    /* One byte is enough: the state is the first. */
    socklen_t size = 1;
    int fd, failed;
    if (self->hidden) {
        self->error = ESRCH; /* Descriptors are got through the first thread, which is gone. */
        return -1;
    }
    if (self->pidfd < 0) {
        self->pidfd = (int)syscall(SYS_pidfd_open, self->process->pid, 0);
        if (self->pidfd < 0) {
            self->error = errno;
            return -1;
        }
    }
    fd = (int)syscall(SYS_pidfd_getfd, self->pidfd, number, 0);
    if (fd < 0) {
        if (errno == EBADF || errno == ESRCH) {
            return 0; /* It was closed meanwhile. */
        }
        self->error = errno;
        return -1;
    }
    memset(&info, 0, sizeof info);
    failed = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    close(fd);
    return !failed && pa_socket_connects(info.tcpi_state);
}

static int visit(void *self_, int32_t number) {
    walk *self = self_;
    char name[16];
    struct stat found;
    pa_socket *known = NULL;
    snprintf(name, sizeof name, "%d", (int)number);
    if (fstatat(self->directory, name, &found, 0) != 0) {
        if (errno == EACCES || errno == EPERM) {
            self->error = errno;
            return 1;
        }
        return 0; /* It was closed meanwhile. */
    }
    if (!S_ISSOCK(found.st_mode)) {
        return 0;
    }
    if (self->known != NULL) {
        known = pa_sockets_find(self->known, (uint32_t)found.st_ino);
        if (known != NULL) {
            known->owner = self->owner;
            known->search = self->search;
        }
    }
    if (known == NULL && (self->known == NULL || self->foreign)) {
        const int connected = looks_connected(self, number);
        if (connected < 0) {
            return 1;
        }
        self->found += (uint32_t)connected;
    }
    return 0;
}

/* Look through the descriptors of a process. Returns 0 or an errno value. */
static int search(walk *self, pa_process *process, const pa_usage *usage) {
    char name[64] = "fd";
    int error;
    if (usage->state == PA_PROCESS_LEADER_GONE) {
        const int32_t live = pa_tasks_other(process->directory, process->pid);
        snprintf(name, sizeof name, "task/%d/fd", (int)live);
    }
    self->process = process;
    self->hidden = usage->state == PA_PROCESS_LEADER_GONE;
    self->pidfd = -1;
    self->directory = openat(process->directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->directory < 0) {
        return errno;
    }
    error = pa_tasks_each(self->directory, visit, self);
    close(self->directory);
    if (self->pidfd >= 0) {
        close(self->pidfd);
    }
    return self->error != 0 ? self->error : error;
}

static int is_counted(const pa_process *process, const pa_usage *usage) {
    return process->directory >= 0 && (usage->known & PA_USAGE_DESCRIPTORS) != 0;
}

/* Whether it cannot have opened or closed anything since it was searched. */
static int is_unchanged(const pa_process *process, const pa_usage *usage) {
    return process->search != 0 && process->unsearched == 0 &&
           process->had_descriptors == usage->descriptors && (usage->known & PA_USAGE_CPU) != 0 &&
           process->had_cpu_ns == usage->cpu_ns;
}

static void searched(pa_connections *self, pa_process *process, const pa_usage *usage, int error) {
    process->unsearched = error;
    process->had_descriptors = usage->descriptors;
    process->had_cpu_ns = usage->cpu_ns;
    /* What an earlier search found is its own no more. 0 is none. */
    self->searches += self->searches == UINT32_MAX ? 2 : 1;
    process->search = self->searches;
}

static void tell(pa_usage *usage, int error, uint32_t connections) {
    if (error == 0) {
        usage->connections = connections;
        usage->known |= PA_USAGE_CONNECTIONS;
    } else {
        usage->error = error;
    }
}

/* Look at every socket of every one. Returns whether that could be had. */
static int count_each(pa_connections *owner, pa_process *all, pa_usage *of, size_t count) {
    for (size_t i = 0; i < count; i++) {
        walk self;
        int error;
        if (!is_counted(&all[i], &of[i])) {
            continue;
        }
        if (is_unchanged(&all[i], &of[i])) {
            tell(&of[i], 0, all[i].connections);
            continue;
        }
        if (of[i].state == PA_PROCESS_LEADER_GONE) {
            return 0;
        }
        memset(&self, 0, sizeof self);
        error = search(&self, &all[i], &of[i]);
        if (error == EPERM || error == ENOSYS) {
            return 0;
        }
        searched(owner, &all[i], &of[i], error);
        all[i].apart = 1;
        all[i].connections = self.found;
        all[i].own_connections = self.found;
        tell(&of[i], error, self.found);
    }
    return 1;
}

static uint64_t network_of(int directory, const char *name) {
    struct stat found;
    return fstatat(directory, name, &found, 0) == 0 ? (uint64_t)found.st_ino : 0;
}

/* Whether a process has a network of its own, which nothing is told of. */
static int is_foreign(const pa_connections *self, const pa_process *process) {
    const uint64_t network = network_of(process->directory, "ns/net");
    return network != 0 && network != self->network;
}

/* Search the descriptors of one that may have what was not there before. */
static void search_again(pa_connections *self, size_t place, pa_process *process,
                         const pa_usage *usage) {
    walk walking;
    process->apart = is_foreign(self, process);
    searched(self, process, usage, 0);
    memset(&walking, 0, sizeof walking);
    walking.known = &self->sockets;
    walking.foreign = process->apart;
    walking.owner = (uint32_t)place;
    walking.search = process->search;
    process->unsearched = search(&walking, process, usage);
    process->own_connections = walking.found;
}

static void search_some(pa_connections *self, pa_process *all, const pa_usage *of, size_t count,
                        size_t counted) {
    size_t turn = 0;
    for (size_t i = 0; i < count; i++) {
        pa_process *process = &all[i];
        int wanted;
        if (!is_counted(process, &of[i])) {
            continue;
        }
        wanted = !is_unchanged(process, &of[i]);
        if (wanted && process->search != 0 && !process->apart && process->unsearched == 0 &&
            process->had_descriptors == of[i].descriptors) {
            /* It did something. That matters while there is something new, and in its turn. */
            wanted = self->unsearched > 0 && (turn + counted - self->next) % counted < SEARCHED;
            if (self->unsearched == 0) {
                process->had_cpu_ns = of[i].cpu_ns;
            }
        }
        turn++;
        if (wanted) {
            search_again(self, i, process, &of[i]);
        }
    }
    if (self->unsearched > 0) {
        self->next = (self->next + SEARCHED) % counted;
        self->unsearched -= self->unsearched < SEARCHED ? self->unsearched : SEARCHED;
    }
}

static void add_owned(const pa_connections *self, const pa_process *all, pa_usage *of,
                      size_t count) {
    for (size_t i = 0; i < self->sockets.room; i++) {
        const pa_socket *each = &self->sockets.slots[i];
        if (each->inode != 0 && each->search != 0 && each->owner < count &&
            all[each->owner].search == each->search) {
            of[each->owner].connections++;
        }
    }
}

void pa_connections_count(pa_connections *self, pa_process *all, pa_usage *of, size_t count) {
    uint64_t descriptors = 0;
    uint32_t fresh;
    size_t counted = 0, unchanged = 0;
    int error;
    for (size_t i = 0; i < count; i++) {
        if (is_counted(&all[i], &of[i])) {
            descriptors += of[i].descriptors;
            counted++;
            unchanged += (size_t)is_unchanged(&all[i], &of[i]);
        }
    }
    if (counted == 0) {
        return;
    }
    if (descriptors <= FEW_DESCRIPTORS && count_each(self, all, of, count)) {
        return;
    }
    if (unchanged == counted) {
        for (size_t i = 0; i < count; i++) {
            if (is_counted(&all[i], &of[i])) {
                tell(&of[i], 0, all[i].connections);
            }
        }
        return;
    }
    if (self->network == 0) {
        self->network = network_of(AT_FDCWD, "/proc/self/ns/net");
    }
    error = pa_sockets_look(&self->sockets, &fresh);
    self->next %= counted;
    if (fresh > 0) {
        self->unsearched = counted;
    }
    if (error == 0) {
        search_some(self, all, of, count, counted);
    }
    for (size_t i = 0; i < count; i++) {
        if (is_counted(&all[i], &of[i])) {
            tell(&of[i], error != 0 ? error : all[i].unsearched, all[i].own_connections);
        }
    }
    if (error == 0) {
        add_owned(self, all, of, count);
        for (size_t i = 0; i < count; i++) {
            all[i].connections = of[i].connections;
        }
    }
}

void pa_connections_free(pa_connections *self) {
    pa_sockets_free(&self->sockets);
}
