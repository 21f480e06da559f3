#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* O_CLOEXEC, st_mtim */
#endif
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening never waits for a pipe, and never makes a terminal the controlling one. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

#if defined(__APPLE__)
#define MODIFIED(st) ((st).st_mtimespec)
#else
#define MODIFIED(st) ((st).st_mtim)
#endif

/* Some systems refuse to read more at once. */
#define MOST_AT_ONCE ((size_t)0x7ffff000)

static void end(pa_read_file *file, pa_read_status status, int64_t number) {
    file->status = status;
    file->number = number;
}

/* Read up to `size` bytes. Returns 0 or an errno. */
static int fill(int descriptor, uint8_t *into, size_t size, size_t *length) {
    *length = 0;
    while (*length < size) {
        const size_t left = size - *length;
        const ssize_t got =
            read(descriptor, into + *length, left < MOST_AT_ONCE ? left : MOST_AT_ONCE);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno;
        }
        if (got == 0) {
            break;
        }
        *length += (size_t)got;
        /* One call gives a regular file as a whole. */
        if (*length + 1 == size) {
            break;
        }
    }
    return 0;
}

/* Read what was opened. Returns 0 or ENOMEM. */
static int read_descriptor(pa_arena *arena, pa_read_file *file, int descriptor) {
    struct stat before, after;
    size_t size;
    int error;
    if (fstat(descriptor, &before) != 0) {
        end(file, PA_READ_REFUSED, errno);
        return 0;
    }
    if (!S_ISREG(before.st_mode)) {
        end(file, PA_READ_NOT_REGULAR, (int64_t)before.st_mode);
        return 0;
    }
    if (before.st_size <= 0 || (int64_t)before.st_size > file->limit) {
        end(file, PA_READ_SIZE, (int64_t)before.st_size);
        return 0;
    }
    if ((uint64_t)before.st_size >= SIZE_MAX) {
        return ENOMEM;
    }
    size = (size_t)before.st_size;
    /* One byte more is asked for, which shows a file that has grown. */
    error = pa_arena_room(arena, size + 1, &file->offset);
    if (error != 0) {
        return error;
    }
    error = fill(descriptor, arena->data + file->offset, size + 1, &file->length);
    if (error == 0 && fstat(descriptor, &after) != 0) {
        error = errno;
    }
    if (error != 0) {
        end(file, PA_READ_REFUSED, error);
        return 0;
    }
    if (file->length != size || after.st_size != before.st_size ||
        MODIFIED(after).tv_sec != MODIFIED(before).tv_sec ||
        MODIFIED(after).tv_nsec != MODIFIED(before).tv_nsec) {
        end(file, PA_READ_CHANGED, 0);
        return 0;
    }
    file->modified_seconds = (int64_t)MODIFIED(after).tv_sec;
    file->modified_nanoseconds = (int64_t)MODIFIED(after).tv_nsec;
    arena->used = file->offset + size;
    end(file, PA_READ_OK, 0);
    return 0;
}

int pa_read_one(pa_arena *arena, pa_read_file *file) {
    struct stat found;
    int descriptor, error;
    if (file->path == NULL) {
        end(file, PA_READ_NO_PATH, 0);
        return 0;
    }
    /* Opening a device can have effects (a watchdog starts, a tape rewinds), so the type is looked
     * at first as well. What decides is the look through the descriptor. */
    if (stat(file->path, &found) != 0) {
        end(file, PA_READ_REFUSED, errno);
        return 0;
    }
    if (!S_ISREG(found.st_mode)) {
        end(file, PA_READ_NOT_REGULAR, (int64_t)found.st_mode);
        return 0;
    }
    do {
        descriptor = open(file->path, OPEN_FLAGS);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) {
        end(file, PA_READ_REFUSED, errno);
        return 0;
    }
    error = read_descriptor(arena, file, descriptor);
    close(descriptor);
    return error;
}

int pa_read_pairs(pa_arena *arena, pa_read_pair *pairs, size_t count, size_t enough,
                  size_t *done) {
    int error = 0;
    for (*done = 0; *done < count && arena->used < enough; ++*done) {
        pa_read_pair *const pair = &pairs[*done];
        error = pa_read_one(arena, &pair->plugin);
        if (error == 0 && pair->plugin.status == PA_READ_OK) {
            error = pa_read_one(arena, &pair->envelope);
        }
        if (error != 0) {
            return error;
        }
    }
    return 0;
}
