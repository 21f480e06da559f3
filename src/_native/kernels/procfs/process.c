#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tasks.h"
#include "text.h"

#define KERNEL_THREAD 0x200000u /* PF_KTHREAD of <linux/sched.h> */
#define STATUS_ROOM 8192

static int open_below(const pa_process *self, const char *name, int flags) {
    return openat(self->directory, name, flags | O_CLOEXEC);
}

/* Read a file below the process's directory, or one that is kept open. Returns the size or -1. */
static ssize_t read_below(const pa_process *self, int kept, const char *name, char *out,
                          size_t room) {
    ssize_t size;
    int fd, error;
    if (kept >= 0) {
        return pread(kept, out, room, 0);
    }
    fd = open_below(self, name, O_RDONLY);
    if (fd < 0) {
        return -1;
    }
    size = read(fd, out, room);
    error = errno;
    close(fd);
    errno = error;
    return size;
}

static int stat_below(const pa_process *self, int kept, const char *name, struct stat *out) {
    const int failed = kept >= 0 ? fstat(kept, out) : fstatat(self->directory, name, out, 0);
    return failed ? errno : 0;
}

static uint64_t page_bytes(void) {
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

int pa_process_sizes(void) {
    /* 1: yes, 2: no. Threads that look at the same time find the same. */
    static int known;
    struct stat found;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == 0) {
        /* The three standard ones may be closed; this one is open while it is looked at. */
        const int fd = open("/proc/self/fd", O_PATH | O_CLOEXEC);
        answer = fd >= 0 && fstat(fd, &found) == 0 && found.st_size > 0 ? 1 : 2;
        if (fd >= 0) {
            close(fd);
        }
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 1;
}

void pa_process_none(pa_process *self) {
    memset(self, 0, sizeof *self);
    self->directory = self->statm = self->descriptors = self->tasks = -1;
    pa_group_none(&self->group);
}

int pa_process_open(pa_process *self, int32_t pid, int keep) {
    char text[1024];
    pa_text_of_stat stat;
    ssize_t size;
    int error;
    pa_process_none(self);
    self->pid = pid;
    snprintf(text, sizeof text, "/proc/%d", (int)pid);
    self->directory = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->directory < 0) {
        return errno == ENOENT ? ESRCH : errno;
    }
    size = read_below(self, -1, "stat", text, sizeof text);
    error = size < 0 ? errno : pa_text_stat(text, (size_t)size, &stat);
    if (error != 0) {
        pa_process_close(self);
        return error == ENOENT ? ESRCH : error;
    }
    self->start_ticks = stat.start_ticks;
    if (keep) {
        self->statm = open_below(self, "statm", O_RDONLY);
        self->descriptors = open_below(self, "fd", O_PATH);
        self->tasks = open_below(self, "task", O_PATH);
    }
    return 0;
}

void pa_process_close(pa_process *self) {
    const int held[4] = {self->directory, self->statm, self->descriptors, self->tasks};
    for (int i = 0; i < 4; i++) {
        if (held[i] >= 0) {
            close(held[i]);
        }
    }
    pa_group_close(&self->group);
    self->directory = self->statm = self->descriptors = self->tasks = -1;
}

static int cpu_of(int32_t pid, uint64_t *out) {
    /* clock_getcpuclockid(3) without its check, which is a system call of its own. */
    const clockid_t clock = (clockid_t)((~(unsigned)pid << 3) | 2u);
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        return errno;
    }
    *out = (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
    return 0;
}

static void gone(pa_usage *out, int error) {
    out->known = 0;
    out->state = PA_PROCESS_GONE;
    out->error = error == ENOENT ? ESRCH : error;
}

/* Resident pages through a thread that is still there. */
static int memory_of_thread(const pa_process *self, int32_t thread, uint64_t *pages) {
    char name[64], text[256];
    ssize_t size;
    snprintf(name, sizeof name, "task/%d/statm", (int)thread);
    size = read_below(self, -1, name, text, sizeof text);
    return size < 0 ? errno : pa_text_statm(text, (size_t)size, pages);
}

static int count_descriptors(const pa_process *self, int32_t thread, uint32_t *out) {
    char name[64] = "fd";
    struct stat found;
    int fd, error;
    if (thread != 0) {
        snprintf(name, sizeof name, "task/%d/fd", (int)thread);
    }
    if (pa_process_sizes()) {
        error = stat_below(self, thread == 0 ? self->descriptors : -1, name, &found);
        *out = error != 0 ? 0 : (uint32_t)found.st_size;
        return error;
    }
    fd = open_below(self, name, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return errno;
    }
    error = pa_tasks_count(fd, out);
    close(fd);
    return error;
}

/* Peak and context switches: each thread has switches of its own, all have the same peak. */
static void measure_status(pa_process *self, unsigned what, uint32_t threads, int32_t live,
                           pa_usage *out) {
    char text[STATUS_ROOM], name[64] = "status";
    pa_text_of_status found;
    ssize_t size;
    if ((what & PA_USAGE_RESET_PEAK) && !(what & PA_USAGE_SWITCHES) && self->peak_begun &&
        (out->known & PA_USAGE_CPU) && out->cpu_ns == self->peak_begun_cpu_ns) {
        /* It did nothing since: what it has now is the most that it had. */
        out->peak = out->memory;
        out->known |= PA_USAGE_PEAK;
        return;
    }
    if (live != 0) {
        snprintf(name, sizeof name, "task/%d/status", (int)live);
    }
    size = read_below(self, -1, name, text, sizeof text);
    if (size < 0) {
        out->error = errno;
        return;
    }
    pa_text_status(text, (size_t)size, &found);
    if ((what & PA_USAGE_PEAK) && found.has_peak) {
        out->peak = found.peak_kib * 1024;
        out->known |= PA_USAGE_PEAK;
    }
    if ((what & PA_USAGE_SWITCHES) && found.has_switches) {
        out->voluntary = found.voluntary;
        out->involuntary = found.involuntary;
        out->known |= PA_USAGE_SWITCHES;
        if (threads > 1 || live != 0) {
            uint64_t voluntary, involuntary;
            if (pa_tasks_switches(self->directory, &voluntary, &involuntary) == 0) {
                out->voluntary = voluntary;
                out->involuntary = involuntary;
            }
        }
    }
    if (what & PA_USAGE_RESET_PEAK) {
        const int fd = open_below(self, "clear_refs", O_WRONLY);
        self->peak_begun = fd >= 0 && write(fd, "5", 1) == 1;
        self->peak_begun_cpu_ns = out->cpu_ns;
        if (!self->peak_begun) {
            out->error = errno;
        }
        if (fd >= 0) {
            close(fd);
        }
    }
}

/* /proc/PID shows no memory: a zombie, a thread of the kernel, or one whose first thread is gone.
 * Returns a thread that is still there, or 0. */
static int32_t look_closer(const pa_process *self, uint32_t threads, pa_usage *out) {
    char text[1024];
    pa_text_of_stat stat;
    const ssize_t size = read_below(self, -1, "stat", text, sizeof text);
    int32_t live = 0;
    if (size < 0) {
        gone(out, errno);
        return 0;
    }
    if (pa_text_stat(text, (size_t)size, &stat) != 0 || (stat.flags & KERNEL_THREAD) ||
        (stat.state != 'Z' && stat.state != 'X')) {
        return 0;
    }
    out->state = PA_PROCESS_ZOMBIE;
    if (threads > 1) {
        live = pa_tasks_other(self->directory, self->pid);
    }
    if (live != 0) {
        out->state = PA_PROCESS_LEADER_GONE;
    }
    return live;
}

static void measure_group(pa_group *group, pa_usage *out) {
    uint64_t cpu;
    if (group->memory >= 0 && pa_group_memory(group, &out->group_memory) == 0) {
        out->known |= PA_USAGE_GROUP_MEMORY;
    }
    if (group->cpu >= 0 && pa_group_read(group->cpu, &cpu) == 0) {
        out->group_cpu_ns = cpu * group->cpu_unit;
        out->known |= PA_USAGE_GROUP_CPU;
    }
    if (group->tasks >= 0 && pa_group_read(group->tasks, &out->group_tasks) == 0) {
        out->known |= PA_USAGE_GROUP_TASKS;
    }
}

void pa_process_measure(pa_process *self, unsigned what, pa_usage *out) {
    char text[256];
    struct stat found;
    uint64_t cpu = 0, pages = 0;
    uint32_t threads = 0;
    int32_t live = 0;
    int error, cpu_error;
    ssize_t size;
    memset(out, 0, sizeof *out);
    /* By number, so before what is read by handle: see the head of process.h. */
    cpu_error = cpu_of(self->pid, &cpu);
    size = read_below(self, self->statm, "statm", text, sizeof text);
    if (size <= 0 || pa_text_statm(text, (size_t)size, &pages) != 0) {
        gone(out, size < 0 ? errno : ESRCH);
        /* Its group may have others, and goes on to tell what it took. */
        measure_group(&self->group, out);
        return;
    }
    measure_group(&self->group, out);
    if (cpu_error == 0) {
        out->cpu_ns = cpu;
        out->known |= PA_USAGE_CPU;
    }
    error = stat_below(self, self->tasks, "task", &found);
    if (error == 0 && found.st_nlink >= 2) {
        threads = (uint32_t)found.st_nlink - 2;
    }
    if (pages == 0) {
        live = look_closer(self, threads, out);
        if (out->state == PA_PROCESS_GONE) {
            measure_group(&self->group, out);
            return;
        }
        if (live != 0) {
            /* The first thread has ended, and is counted until the last one does. */
            threads -= 1;
            error = memory_of_thread(self, live, &pages);
            if (error != 0) {
                out->error = error;
            }
        }
    }
    if (out->state == PA_PROCESS_ZOMBIE) {
        /* It has a clock yet, and nothing else. */
        return;
    }
    out->memory = pages * page_bytes();
    out->known |= PA_USAGE_MEMORY;
    if (threads != 0) {
        out->threads = threads;
        out->known |= PA_USAGE_THREADS;
    }
    error = count_descriptors(self, live, &out->descriptors);
    if (error == 0) {
        out->known |= PA_USAGE_DESCRIPTORS;
    } else {
        out->error = error;
    }
    if (what & (PA_USAGE_PEAK | PA_USAGE_SWITCHES)) {
        measure_status(self, what, threads, live, out);
    }
}

static int is_above(uint64_t used, uint64_t before, uint64_t bound) {
    return used > before && used - before > bound;
}

void pa_process_compare(const pa_process *self, pa_usage *out) {
    const pa_bounds *bounds = &self->bounds;
    const int grouped = (out->known & PA_USAGE_GROUP_MEMORY) != 0;
    const int counted = (out->known & PA_USAGE_GROUP_TASKS) != 0;
    out->over = 0;
    if (!bounds->set || out->state == PA_PROCESS_GONE) {
        return;
    }
    if ((grouped || (out->known & PA_USAGE_MEMORY)) &&
        is_above(grouped ? out->group_memory : out->memory, bounds->memory_before,
                 bounds->memory)) {
        out->over |= PA_USAGE_MEMORY;
    }
    if ((counted || (out->known & PA_USAGE_THREADS)) &&
        is_above(counted ? out->group_tasks : out->threads, bounds->threads_before,
                 bounds->threads)) {
        out->over |= PA_USAGE_THREADS;
    }
    if ((out->known & PA_USAGE_DESCRIPTORS) &&
        is_above(out->descriptors, bounds->descriptors_before, bounds->descriptors)) {
        out->over |= PA_USAGE_DESCRIPTORS;
    }
    if ((out->known & PA_USAGE_CONNECTIONS) && is_above(out->connections, 0, bounds->connections)) {
        out->over |= PA_USAGE_CONNECTIONS;
    }
}
