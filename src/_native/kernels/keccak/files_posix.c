#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* pread, O_CLOEXEC, st_mtim */
#endif
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "many.h"

/* Whole blocks, so that no piece leaves a rest. A file of 64 KiB is one piece; eight pieces fit a
 * second-level cache. Smaller ones cost more calls than they save in the first-level cache. */
#define PIECE_BYTES ((size_t)PA_SHA3_512_RATE * 911)

/* Opening never waits for a pipe, and never makes a terminal the controlling one. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

#if defined(__APPLE__)
#define MODIFIED(st) ((st).st_mtimespec)
#else
#define MODIFIED(st) ((st).st_mtim)
#endif

typedef struct open_file {
    pa_sha3_file *file;
    int descriptor;
    off_t position;
    struct stat before;
} open_file;

typedef struct reader {
    pa_sha3_files *batch;
    uint8_t *buffers; /* PIECE_BYTES for each slot */
    open_file slots[PA_KECCAK_MAX_WIDTH];
} reader;

static void refuse(pa_sha3_file *file, int error) {
    file->status = PA_SHA3_FILE_REFUSED;
    file->error = error;
}

static void leave(open_file *opened) {
    if (opened->file->path != NULL) {
        close(opened->descriptor);
    }
}

/* Open the file and look at it again: what counts is what the descriptor says. */
static int begin(open_file *opened, pa_sha3_file *file) {
    opened->file = file;
    opened->position = 0;
    opened->descriptor = file->path != NULL ? open(file->path, OPEN_FLAGS) : file->descriptor;
    if (opened->descriptor < 0) {
        refuse(file, errno);
        return 0;
    }
    if (fstat(opened->descriptor, &opened->before) != 0) {
        refuse(file, errno);
    } else if (!S_ISREG(opened->before.st_mode)) {
        file->status = PA_SHA3_FILE_NOT_REGULAR;
    } else {
        return 1;
    }
    leave(opened);
    return 0;
}

static int next(void *context, size_t slot) {
    reader *const r = context;
    size_t number;
    while ((number = pa_cursor_take(&r->batch->cursor)) < r->batch->count) {
        pa_sha3_file *const file = r->batch->order[number];
        if (file->status == PA_SHA3_FILE_PENDING && pa_cursor_value(&r->batch->cancelled) != 0) {
            refuse(file, ECANCELED);
        }
        if (file->status == PA_SHA3_FILE_PENDING && begin(&r->slots[slot], file)) {
            return 1;
        }
    }
    return 0;
}

static int is_unchanged(const open_file *opened, const struct stat *now) {
    return now->st_size == opened->before.st_size &&
           MODIFIED(*now).tv_sec == MODIFIED(opened->before).tv_sec &&
           MODIFIED(*now).tv_nsec == MODIFIED(opened->before).tv_nsec;
}

static pa_sha3_piece finish(open_file *opened) {
    struct stat now;
    if (fstat(opened->descriptor, &now) != 0) {
        refuse(opened->file, errno);
        return PA_SHA3_ABANDON;
    }
    if (opened->position != opened->before.st_size || !is_unchanged(opened, &now)) {
        opened->file->status = PA_SHA3_FILE_CHANGED;
        return PA_SHA3_ABANDON;
    }
    return PA_SHA3_END;
}

static pa_sha3_piece read_piece(void *context, size_t slot, const uint8_t **data,
                                size_t *length) {
    reader *const r = context;
    open_file *const opened = &r->slots[slot];
    uint8_t *const buffer = r->buffers + slot * PIECE_BYTES;
    const off_t left = opened->before.st_size - opened->position;
    const size_t wanted = left < (off_t)PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    ssize_t got;
    if (left == 0) {
        return finish(opened);
    }
    if (pa_cursor_value(&r->batch->cancelled) != 0) {
        refuse(opened->file, ECANCELED);
        return PA_SHA3_ABANDON;
    }
    do {
        got = pread(opened->descriptor, buffer, wanted, opened->position);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        refuse(opened->file, errno);
        return PA_SHA3_ABANDON;
    }
    if (got == 0) {
        return finish(opened); /* shorter than it was: finish() finds that */
    }
    opened->position += got;
    (void)pa_cursor_add(&r->batch->bytes_read, got);
    *data = buffer;
    *length = (size_t)got;
    return PA_SHA3_PIECE;
}

static void done(void *context, size_t slot, const uint8_t *digest) {
    reader *const r = context;
    open_file *const opened = &r->slots[slot];
    size_t i;
    if (digest != NULL) {
        for (i = 0; i < PA_SHA3_512_DIGEST; i++) {
            opened->file->digest[i] = digest[i];
        }
        opened->file->status = PA_SHA3_FILE_HASHED;
    }
    leave(opened);
}

static int longer_first(const void *left, const void *right) {
    const int64_t a = (*(pa_sha3_file *const *)left)->size;
    const int64_t b = (*(pa_sha3_file *const *)right)->size;
    return (a < b) - (a > b);
}

uint64_t pa_sha3_512_look_at_files(pa_sha3_files *batch) {
    uint64_t total = 0;
    size_t i;
    for (i = 0; i < batch->count; i++) {
        pa_sha3_file *const file = batch->order[i];
        struct stat found;
        file->size = 0;
        if ((file->path != NULL ? stat(file->path, &found) : fstat(file->descriptor, &found)) !=
            0) {
            refuse(file, errno);
        } else if (!S_ISREG(found.st_mode)) {
            file->status = PA_SHA3_FILE_NOT_REGULAR;
        } else {
            file->size = (int64_t)found.st_size;
            total += (uint64_t)found.st_size;
        }
    }
    if (batch->count > 1) {
        qsort(batch->order, batch->count, sizeof batch->order[0], longer_first);
    }
    return total;
}

int pa_sha3_512_files(const pa_keccak_kernels *kernels, pa_sha3_files *batch, size_t lanes) {
    reader r;
    const pa_sha3_source source = {&r, next, read_piece, done};
    r.batch = batch;
    r.buffers = malloc(PIECE_BYTES * PA_KECCAK_MAX_WIDTH);
    if (r.buffers == NULL) {
        return ENOMEM;
    }
    pa_sha3_512_many(kernels, &source, lanes);
    free(r.buffers);
    return 0;
}
