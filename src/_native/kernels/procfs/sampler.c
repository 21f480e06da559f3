#define _GNU_SOURCE
#include "sampler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "connections.h"

#define FIRST_ROOM ((size_t)16)
#define MOST_PLACES ((size_t)1 << 22)

struct pa_sampler {
    /* Held for a pass, and to change which processes there are. */
    pthread_mutex_t passing;
    pa_process *processes;
    pa_usage *measured;
    size_t room;
    pa_connections connections;
    uint32_t keep;
    /* Held for moments, within the one above or alone. */
    pthread_mutex_t reading;
    pa_usage *published;
    pa_sampler_facts facts;
};

int pa_sampler_new(uint32_t keep, pa_sampler **out) {
    pa_sampler *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return ENOMEM;
    }
    pthread_mutex_init(&self->passing, NULL);
    pthread_mutex_init(&self->reading, NULL);
    self->keep = keep;
    *out = self;
    return 0;
}

void pa_sampler_free(pa_sampler *self) {
    for (size_t i = 0; i < self->room; i++) {
        pa_process_close(&self->processes[i]);
    }
    pa_connections_free(&self->connections);
    free(self->processes);
    free(self->measured);
    free(self->published);
    pthread_mutex_destroy(&self->passing);
    pthread_mutex_destroy(&self->reading);
    free(self);
}

static int grow(pa_sampler *self) {
    const size_t room = self->room == 0 ? FIRST_ROOM : self->room * 2;
    pa_process *processes;
    pa_usage *measured, *published;
    if (room > MOST_PLACES) {
        return ENOMEM;
    }
    processes = realloc(self->processes, room * sizeof *processes);
    if (processes == NULL) {
        return ENOMEM;
    }
    self->processes = processes;
    measured = realloc(self->measured, room * sizeof *measured);
    if (measured == NULL) {
        return ENOMEM;
    }
    self->measured = measured;
    pthread_mutex_lock(&self->reading);
    published = realloc(self->published, room * sizeof *published);
    if (published != NULL) {
        self->published = published;
        memset(published + self->room, 0, (room - self->room) * sizeof *published);
        memset(measured + self->room, 0, (room - self->room) * sizeof *measured);
        for (size_t i = self->room; i < room; i++) {
            pa_process_none(&processes[i]);
        }
        self->room = room;
    }
    pthread_mutex_unlock(&self->reading);
    return published == NULL ? ENOMEM : 0;
}

static uint32_t held_by(const pa_process *process) {
    return (uint32_t)(process->directory >= 0) + (uint32_t)(process->statm >= 0) +
           (uint32_t)(process->descriptors >= 0) + (uint32_t)(process->tasks >= 0) +
           pa_group_descriptors(&process->group);
}

static int is_there(const pa_sampler *self, uint32_t place) {
    return place < self->room && self->processes[place].directory >= 0;
}

int pa_sampler_add(pa_sampler *self, int32_t pid, uint32_t *place, uint64_t *start_ticks) {
    pa_process opened;
    size_t at = 0;
    int error, keep;
    pthread_mutex_lock(&self->passing);
    keep = self->facts.descriptors - self->facts.processes + PA_PROCESS_KEPT - 1 <= self->keep;
    error = pa_process_open(&opened, pid, keep);
    while (error == 0 && at < self->room && self->processes[at].directory >= 0) {
        at++;
    }
    if (error == 0 && at == self->room) {
        error = grow(self);
        if (error != 0) {
            pa_process_close(&opened);
        }
    }
    if (error == 0) {
        self->processes[at] = opened;
        memset(&self->measured[at], 0, sizeof self->measured[at]);
        pthread_mutex_lock(&self->reading);
        memset(&self->published[at], 0, sizeof self->published[at]);
        self->facts.processes++;
        self->facts.descriptors += held_by(&opened);
        self->facts.kept += opened.statm >= 0;
        pthread_mutex_unlock(&self->reading);
        *place = (uint32_t)at;
        *start_ticks = opened.start_ticks;
    }
    pthread_mutex_unlock(&self->passing);
    return error;
}

int pa_sampler_attach(pa_sampler *self, uint32_t place, const pa_group *group) {
    pa_group given = *group;
    int error = ESRCH;
    pthread_mutex_lock(&self->passing);
    if (is_there(self, place)) {
        pa_process *process = &self->processes[place];
        const pa_group before = process->group;
        pthread_mutex_lock(&self->reading);
        self->facts.descriptors += pa_group_descriptors(&given);
        self->facts.descriptors -= pa_group_descriptors(&before);
        pthread_mutex_unlock(&self->reading);
        process->group = given;
        given = before;
        error = 0;
    }
    pthread_mutex_unlock(&self->passing);
    pa_group_close(&given);
    return error;
}

int pa_sampler_bound(pa_sampler *self, uint32_t place, const pa_bounds *bounds) {
    int error = ESRCH;
    pthread_mutex_lock(&self->passing);
    if (is_there(self, place)) {
        self->processes[place].bounds = *bounds;
        error = 0;
    }
    pthread_mutex_unlock(&self->passing);
    return error;
}

void pa_sampler_remove(pa_sampler *self, uint32_t place) {
    pthread_mutex_lock(&self->passing);
    if (is_there(self, place)) {
        pa_process *process = &self->processes[place];
        pthread_mutex_lock(&self->reading);
        self->facts.processes--;
        self->facts.descriptors -= held_by(process);
        self->facts.kept -= process->statm >= 0;
        memset(&self->published[place], 0, sizeof self->published[place]);
        pthread_mutex_unlock(&self->reading);
        pa_process_close(process);
    }
    pthread_mutex_unlock(&self->passing);
}

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

void pa_sampler_pass(pa_sampler *self, unsigned what) {
    uint64_t began;
    pthread_mutex_lock(&self->passing);
    began = now_ns();
    for (size_t i = 0; i < self->room; i++) {
        if (self->processes[i].directory >= 0) {
            pa_process_measure(&self->processes[i], what, &self->measured[i]);
        }
    }
    if (what & PA_USAGE_CONNECTIONS) {
        pa_connections_count(&self->connections, self->processes, self->measured, self->room);
    }
    for (size_t i = 0; i < self->room; i++) {
        if (self->processes[i].directory >= 0) {
            pa_process_compare(&self->processes[i], &self->measured[i]);
        }
    }
    pthread_mutex_lock(&self->reading);
    if (self->room > 0) {
        memcpy(self->published, self->measured, self->room * sizeof *self->published);
    }
    self->facts.passes++;
    self->facts.pass_ns = now_ns() - began;
    pthread_mutex_unlock(&self->reading);
    pthread_mutex_unlock(&self->passing);
}

int pa_sampler_one(pa_sampler *self, uint32_t place, unsigned what) {
    int error = ESRCH;
    pthread_mutex_lock(&self->passing);
    if (is_there(self, place)) {
        pa_usage *measured = &self->measured[place];
        const uint32_t connections = measured->connections;
        const uint32_t counted = measured->known & PA_USAGE_CONNECTIONS;
        pa_process_measure(&self->processes[place], what, measured);
        if (measured->known != 0) {
            /* They are those of the latest pass. */
            measured->connections = connections;
            measured->known |= counted;
        }
        pa_process_compare(&self->processes[place], measured);
        pthread_mutex_lock(&self->reading);
        self->published[place] = *measured;
        pthread_mutex_unlock(&self->reading);
        error = 0;
    }
    pthread_mutex_unlock(&self->passing);
    return error;
}

int pa_sampler_next_over(pa_sampler *self, uint32_t *place) {
    size_t at = *place;
    int found = 0;
    pthread_mutex_lock(&self->reading);
    while (at < self->room && self->published[at].over == 0) {
        at++;
    }
    found = at < self->room;
    pthread_mutex_unlock(&self->reading);
    *place = (uint32_t)at;
    return found;
}

void pa_sampler_read(pa_sampler *self, uint32_t place, pa_usage *out) {
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&self->reading);
    if (place < self->room) {
        *out = self->published[place];
    }
    pthread_mutex_unlock(&self->reading);
}

void pa_sampler_tell(pa_sampler *self, pa_sampler_facts *out) {
    pthread_mutex_lock(&self->reading);
    *out = self->facts;
    pthread_mutex_unlock(&self->reading);
}
