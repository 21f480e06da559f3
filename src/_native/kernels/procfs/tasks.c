#define _GNU_SOURCE
#include "tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "text.h"

/* <linux/dirent.h>: getdents64(2) has no header. */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static int32_t number_of(const char *name) {
    int64_t value = 0;
    if (*name == 0) {
        return -1;
    }
    for (; *name >= '0' && *name <= '9'; name++) {
        value = value * 10 + (*name - '0');
        if (value > INT32_MAX) {
            return -1;
        }
    }
    return *name == 0 ? (int32_t)value : -1;
}

int pa_tasks_each(int directory, pa_tasks_visit visit, void *self) {
    alignas(struct entry) char room[16384];
    if (lseek(directory, 0, SEEK_SET) < 0) {
        return errno;
    }
    for (;;) {
        const long size = syscall(SYS_getdents64, directory, room, sizeof room);
        if (size <= 0) {
            return size < 0 ? errno : 0;
        }
        for (long at = 0; at < size;) {
            const struct entry *found = (const void *)(room + at);
            const int32_t number = number_of(found->name);
            if (number >= 0 && visit(self, number) != 0) {
                return 0;
            }
            at += found->size;
        }
    }
}

static int count_one(void *self, int32_t number) {
    (void)number;
    ++*(uint32_t *)self;
    return 0;
}

int pa_tasks_count(int directory, uint32_t *out) {
    *out = 0;
    return pa_tasks_each(directory, count_one, out);
}

typedef struct walk {
    int process;
    int32_t first, found;
    uint64_t voluntary, involuntary;
} walk;

static ssize_t read_of(int process, int32_t thread, const char *name, char *out, size_t room) {
    char path[64];
    ssize_t size;
    int fd;
    snprintf(path, sizeof path, "task/%d/%s", (int)thread, name);
    fd = openat(process, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    size = read(fd, out, room);
    close(fd);
    return size;
}

static int each_task(int process, pa_tasks_visit visit, walk *self) {
    const int fd = openat(process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error;
    if (fd < 0) {
        return errno;
    }
    self->process = process;
    error = pa_tasks_each(fd, visit, self);
    close(fd);
    return error;
}

static int is_other(void *self_, int32_t number) {
    walk *self = self_;
    char text[1024];
    pa_text_of_stat stat;
    ssize_t size;
    if (number == self->first) {
        return 0;
    }
    size = read_of(self->process, number, "stat", text, sizeof text);
    if (size <= 0 || pa_text_stat(text, (size_t)size, &stat) != 0 || stat.state == 'Z' ||
        stat.state == 'X') {
        return 0;
    }
    self->found = number;
    return 1;
}

int32_t pa_tasks_other(int process, int32_t first) {
    walk self = {0};
    self.first = first;
    return each_task(process, is_other, &self) == 0 ? self.found : 0;
}

static int add_switches(void *self_, int32_t number) {
    walk *self = self_;
    char text[8192];
    pa_text_of_status status;
    const ssize_t size = read_of(self->process, number, "status", text, sizeof text);
    if (size > 0) {
        pa_text_status(text, (size_t)size, &status);
        self->voluntary += status.voluntary;
        self->involuntary += status.involuntary;
    }
    return 0;
}

int pa_tasks_switches(int process, uint64_t *voluntary, uint64_t *involuntary) {
    walk self = {0};
    const int error = each_task(process, add_switches, &self);
    *voluntary = self.voluntary;
    *involuntary = self.involuntary;
    return error;
}
