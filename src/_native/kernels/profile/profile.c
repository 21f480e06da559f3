#define _GNU_SOURCE
#include "profile/profile.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Half a second of the deepest stacks at 100 a second. */
#define DATA_BYTES (1u << 16)
/* As large as a record may say that it is. */
#define MOST_BYTES (1u << 16)

struct pa_profile {
    int fd;
    void *ring; /* a page that says how far, then DATA_BYTES */
    size_t page;
    uint64_t lost;
    unsigned char record[MOST_BYTES];
};

int pa_profile_open(pid_t thread, unsigned rate, pa_profile **made) {
    struct perf_event_attr how;
    pa_profile *const profile = calloc(1, sizeof *profile);
    if (profile == NULL) {
        return ENOMEM;
    }
    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.type = PERF_TYPE_SOFTWARE;
    /* Of machines without counters, too. */
    how.config = PERF_COUNT_SW_TASK_CLOCK;
    how.sample_freq = rate;
    how.freq = 1;
    how.sample_type = PERF_SAMPLE_CALLCHAIN;
    how.exclude_kernel = 1;
    how.exclude_hv = 1;
    how.exclude_callchain_kernel = 1;
    profile->page = (size_t)sysconf(_SC_PAGESIZE);
    profile->fd = (int)syscall(SYS_perf_event_open, &how, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (profile->fd < 0) {
        const int error = errno;
        free(profile);
        return error;
    }
    profile->ring = mmap(NULL, profile->page + DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                         profile->fd, 0);
    if (profile->ring == MAP_FAILED) {
        const int error = errno;
        (void)close(profile->fd);
        free(profile);
        return error;
    }
    *made = profile;
    return 0;
}

/* Copy bytes out of the ring, which begins again at its end. */
static void copy_out(const pa_profile *profile, uint64_t from, void *to, size_t size) {
    const unsigned char *const data = (const unsigned char *)profile->ring + profile->page;
    const size_t place = (size_t)(from % DATA_BYTES);
    const size_t first = size < DATA_BYTES - place ? size : DATA_BYTES - place;
    memcpy(to, data + place, first);
    memcpy((unsigned char *)to + first, data, size - first);
}

static size_t frames_of(const unsigned char *body, size_t size, uint64_t *frames) {
    uint64_t count, frame;
    size_t kept = 0;
    if (size < sizeof count) {
        return 0;
    }
    memcpy(&count, body, sizeof count);
    if (count > size / sizeof frame - 1) {
        return 0;
    }
    for (uint64_t i = 0; i < count && kept < PA_PROFILE_DEPTH; i++) {
        memcpy(&frame, body + (i + 1) * sizeof frame, sizeof frame);
        /* Marks between the parts of a stack. */
        if (frame < (uint64_t)PERF_CONTEXT_MAX) {
            frames[kept++] = frame;
        }
    }
    return kept;
}

size_t pa_profile_next(pa_profile *profile, uint64_t frames[PA_PROFILE_DEPTH]) {
    struct perf_event_mmap_page *const state = profile->ring;
    for (;;) {
        const uint64_t head = __atomic_load_n(&state->data_head, __ATOMIC_ACQUIRE);
        const uint64_t tail = state->data_tail;
        struct perf_event_header header;
        size_t found = 0;
        if (head - tail < sizeof header) {
            return 0;
        }
        copy_out(profile, tail, &header, sizeof header);
        if (header.size < sizeof header || header.size > head - tail) {
            /* Never seen; what is there cannot be told apart any more. */
            __atomic_store_n(&state->data_tail, head, __ATOMIC_RELEASE);
            return 0;
        }
        copy_out(profile, tail + sizeof header, profile->record, header.size - sizeof header);
        __atomic_store_n(&state->data_tail, tail + header.size, __ATOMIC_RELEASE);
        if (header.type == PERF_RECORD_SAMPLE) {
            found = frames_of(profile->record, header.size - sizeof header, frames);
        } else if (header.type == PERF_RECORD_LOST && header.size >= sizeof header + 16) {
            uint64_t lost;
            memcpy(&lost, profile->record + 8, sizeof lost);
            profile->lost += lost;
        }
        if (found > 0) {
            return found;
        }
    }
}

uint64_t pa_profile_lost(const pa_profile *profile) {
    return profile->lost;
}

void pa_profile_close(pa_profile *profile) {
    if (profile != NULL) {
        (void)munmap(profile->ring, profile->page + DATA_BYTES);
        (void)close(profile->fd);
        free(profile);
    }
}
