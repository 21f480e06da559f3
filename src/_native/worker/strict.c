#define _GNU_SOURCE
#include "strict.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Handlers, names and what malloc keeps beside what it gives out. */
#define OWN_BYTES ((size_t)8 << 20)
#define OUTPUT_BYTES 4096

int pa_strict_prepare(pa_worker *self, size_t heap_bytes, size_t result_bytes) {
#if defined(__GLIBC__)
    static char output[OUTPUT_BYTES];
    /* A message that is served, one that is kept, an answer that is written and one that is sent. */
    const size_t messages = 2 * ((size_t)self->link.max_len + result_bytes);
    const size_t most = heap_bytes + messages;
    void *room;
    if (most < heap_bytes || most > PTRDIFF_MAX - OWN_BYTES) {
        return ENOMEM;
    }
    /* One heap, that never shrinks and never goes elsewhere: mallopt(3). */
    if (mallopt(M_MMAP_MAX, 0) == 0 || mallopt(M_TRIM_THRESHOLD, -1) == 0 ||
        mallopt(M_ARENA_MAX, 1) == 0) {
        return ENOSYS;
    }
    /* Pages that nothing was written to cost nothing. */
    room = malloc(most + OWN_BYTES);
    if (room == NULL) {
        return ENOMEM;
    }
    free(room);
    return setvbuf(stdout, output, _IOLBF, sizeof output) == 0 ? 0 : ENOMEM;
#else
    (void)self;
    (void)heap_bytes;
    (void)result_bytes;
    return ENOSYS;
#endif
}

void pa_strict_exit(int status) {
    (void)fflush(stdout);
    for (;;) {
        (void)syscall(SYS_exit, status);
    }
}
