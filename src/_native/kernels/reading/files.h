/* Read whole regular files of bounded size, each through one open. */
#ifndef PLUGINAPI_READING_FILES_H
#define PLUGINAPI_READING_FILES_H

#include "arena.h"

typedef enum pa_read_status {
    PA_READ_PENDING = 0, /* not looked at */
    PA_READ_OK,
    PA_READ_NO_PATH,     /* the path is NULL */
    PA_READ_REFUSED,     /* the operating system refused; `number` is its errno */
    PA_READ_NOT_REGULAR, /* a directory, pipe, socket or device: `number` is its st_mode */
    PA_READ_SIZE,        /* empty, or larger than the limit: `number` is its size */
    PA_READ_CHANGED      /* its size or time of change was another at the end */
} pa_read_status;

typedef struct pa_read_file {
    const char *path;
    int64_t limit; /* bytes; larger files are not read */
    pa_read_status status;
    int64_t number;
    size_t offset; /* in the arena */
    size_t length;
    int64_t modified_seconds; /* since the epoch */
    int64_t modified_nanoseconds;
} pa_read_file;

/* A plugin and the signature file beside it, which is looked at when the plugin was read. */
typedef struct pa_read_pair {
    pa_read_file plugin;
    pa_read_file envelope;
} pa_read_pair;

/* Read one file to the end of the arena. Symbolic links are followed by the one open; what it gave
 * is looked at through its descriptor before a byte is read. Never waits for a pipe or device.
 * Returns 0 with a status other than PENDING, or ENOMEM. */
int pa_read_one(pa_arena *arena, pa_read_file *file);

/* Read pairs in order until the arena holds `enough` bytes or more. Returns 0 with the number of
 * pairs that were looked at in `*done`, or ENOMEM. */
int pa_read_pairs(pa_arena *arena, pa_read_pair *pairs, size_t count, size_t enough,
                  size_t *done);

#endif
