#define _GNU_SOURCE
#include "group.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

void pa_group_none(pa_group *self) {
    memset(self, 0, sizeof *self);
    self->memory = self->cpu = self->tasks = self->stat = -1;
    self->cpu_unit = 1;
}

void pa_group_close(pa_group *self) {
    const int held[4] = {self->memory, self->cpu, self->tasks, self->stat};
    for (int i = 0; i < 4; i++) {
        if (held[i] >= 0) {
            close(held[i]);
        }
    }
    pa_group_none(self);
}

uint32_t pa_group_descriptors(const pa_group *self) {
    return (uint32_t)(self->memory >= 0) + (uint32_t)(self->cpu >= 0) +
           (uint32_t)(self->tasks >= 0) + (uint32_t)(self->stat >= 0);
}

int pa_group_read(int file, uint64_t *out) {
    char text[64];
    const ssize_t size = pread(file, text, sizeof text, 0);
    if (size < 0) {
        return errno;
    }
    return pa_text_first_number(text, (size_t)size, out);
}

int pa_group_memory(pa_group *self, uint64_t *out) {
    char text[8192];
    uint64_t charge;
    int error = pa_group_read(self->memory, &charge);
    if (error != 0) {
        return error;
    }
    /* Adding up what memory.stat says takes the kernel ten times as long as the charge: of a group
     * that does nothing, nothing has changed. */
    if (self->stat >= 0 && charge != self->charge) {
        const ssize_t size = pread(self->stat, text, sizeof text, 0);
        if (size < 0) {
            return errno;
        }
        self->cached = pa_text_cached(text, (size_t)size);
        self->charge = charge;
    }
    *out = charge > self->cached ? charge - self->cached : 0;
    return 0;
}
