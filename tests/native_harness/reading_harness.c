/* Exercise kernels/reading without Python, under sanitizers: exits 0 when everything held.
 *
 * Usage: reading_harness DIRECTORY, an empty one. The kernel is compiled into this program with its
 * system calls replaced, so that a file changes exactly between two of them. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reading/search.h"

#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

enum call { STAT, OPEN, FSTAT, READ, CALLS };

static int calls[CALLS];     /* how often each was made since the last reset */
static int opened;           /* descriptors that are open */
static enum call hooked;     /* before which call ... */
static int hooked_number;    /* ... of its kind, 1 for the first, ... */
static void (*hook)(void);   /* ... this runs */
static int failing;          /* errno of the hooked call, or 0 */
static size_t longest_read = SIZE_MAX;

static void (*restore)(void); /* runs before the second look through the descriptor */

static int fails(enum call call) {
    calls[call]++;
    if (call == FSTAT && calls[call] == 2 && restore != NULL) {
        restore();
    }
    if (call != hooked || calls[call] != hooked_number) {
        return 0;
    }
    if (hook != NULL) {
        hook();
    }
    errno = failing;
    return failing != 0;
}

static int test_stat(const char *path, struct stat *found) {
    return fails(STAT) ? -1 : stat(path, found);
}

static int test_open(const char *path, int flags) {
    const int descriptor = fails(OPEN) ? -1 : open(path, flags);
    opened += descriptor >= 0;
    return descriptor;
}

static int test_fstat(int descriptor, struct stat *found) {
    return fails(FSTAT) ? -1 : fstat(descriptor, found);
}

static ssize_t test_read(int descriptor, void *into, size_t size) {
    return fails(READ) ? -1 : read(descriptor, into, size < longest_read ? size : longest_read);
}

static int test_close(int descriptor) {
    opened--;
    return close(descriptor);
}

#define stat(path, found) test_stat(path, found)
#define open(path, flags) test_open(path, flags)
#define fstat(descriptor, found) test_fstat(descriptor, found)
#define read(descriptor, into, size) test_read(descriptor, into, size)
#define close(descriptor) test_close(descriptor)
#include "reading/files_posix.c"
#undef stat
#undef open
#undef fstat
#undef read
#undef close

#define SIZE 5000

static const char *const name = "file";
static uint8_t content[2 * SIZE];

static void write_file(const char *path, size_t size) {
    FILE *const file = fopen(path, "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(content, 1, size, file) == size);
    REQUIRE(fclose(file) == 0);
}

/* Set the time of the last change, so that it alone tells of one, or does not. */
static void set_time(long nanoseconds) {
    const struct timespec times[2] = {{1000, 0}, {1000, nanoseconds}};
    REQUIRE(utimensat(AT_FDCWD, name, times, 0) == 0);
}

static void resize(off_t size) {
    REQUIRE(truncate(name, size) == 0);
    set_time(0);
}

static void grow(void) { resize(SIZE + 1); }

static void shrink(void) { resize(SIZE - 1); }

static void vanish(void) { resize(0); }

static void take_back(void) { resize(SIZE); }

static void rewrite(void) {
    const int descriptor = open(name, O_WRONLY);
    REQUIRE(descriptor >= 0);
    REQUIRE(pwrite(descriptor, "x", 1, 7) == 1);
    REQUIRE(close(descriptor) == 0);
    set_time(1);
}

static void become_pipe(void) {
    REQUIRE(unlink(name) == 0);
    REQUIRE(mkfifo(name, 0600) == 0);
}

static void become_directory(void) {
    REQUIRE(unlink(name) == 0);
    REQUIRE(mkdir(name, 0700) == 0);
}

static void become_another(void) {
    REQUIRE(unlink(name) == 0);
    write_file(name, SIZE / 2);
}

static void remove_file(void) { REQUIRE(unlink(name) == 0); }

static void none(void) {}

/* Read the file of SIZE bytes while something happens before a call. */
static pa_read_file read_while(enum call call, int number, void (*happens)(void), int error) {
    pa_arena arena = {NULL, 0, 0};
    pa_read_file file;
    memset(&file, 0, sizeof file);
    remove(name);
    write_file(name, SIZE);
    set_time(0);
    memset(calls, 0, sizeof calls);
    hooked = call;
    hooked_number = number;
    hook = happens;
    failing = error;
    file.path = name;
    file.limit = SIZE;
    REQUIRE(pa_read_one(&arena, &file) == 0);
    REQUIRE(opened == 0);
    if (file.status == PA_READ_OK) {
        REQUIRE(memcmp(arena.data + file.offset, content, file.length) == 0);
        REQUIRE(arena.used == file.offset + file.length);
    } else {
        REQUIRE(arena.used == 0);
    }
    pa_arena_reset(&arena, 0);
    remove(name);
    return file;
}

static void check_changes(void) {
    REQUIRE(read_while(CALLS, 0, none, 0).status == PA_READ_OK);
    REQUIRE(read_while(READ, 1, grow, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(READ, 1, shrink, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(READ, 1, vanish, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(FSTAT, 2, grow, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(FSTAT, 2, shrink, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(FSTAT, 2, rewrite, 0).status == PA_READ_CHANGED);
    restore = take_back;
    REQUIRE(read_while(CALLS, 0, none, 0).status == PA_READ_OK);
    REQUIRE(read_while(READ, 1, grow, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(READ, 1, shrink, 0).status == PA_READ_CHANGED);
    restore = NULL;
    longest_read = 999;
    REQUIRE(read_while(CALLS, 0, none, 0).status == PA_READ_OK);
    REQUIRE(calls[READ] == 6);
    REQUIRE(read_while(READ, 3, grow, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(READ, 6, grow, 0).status == PA_READ_CHANGED);
    REQUIRE(read_while(READ, 3, vanish, 0).status == PA_READ_CHANGED);
    longest_read = SIZE_MAX;
}

static void check_swaps(void) {
    pa_read_file file;
    /* What was opened counts, however long it was something else. */
    REQUIRE(read_while(OPEN, 1, become_pipe, 0).status == PA_READ_NOT_REGULAR);
    REQUIRE(read_while(OPEN, 1, become_directory, 0).status == PA_READ_NOT_REGULAR);
    file = read_while(OPEN, 1, become_another, 0);
    REQUIRE(file.status == PA_READ_OK && file.length == SIZE / 2);
    file = read_while(OPEN, 1, remove_file, 0);
    REQUIRE(file.status == PA_READ_REFUSED && file.number == ENOENT);
    file = read_while(FSTAT, 1, become_another, 0);
    REQUIRE(file.status == PA_READ_OK && file.length == SIZE);
    file = read_while(READ, 1, become_pipe, 0);
    REQUIRE(file.status == PA_READ_OK && file.length == SIZE);
    file = read_while(OPEN, 1, grow, 0);
    REQUIRE(file.status == PA_READ_SIZE && file.number == SIZE + 1);
    file = read_while(OPEN, 1, vanish, 0);
    REQUIRE(file.status == PA_READ_SIZE && file.number == 0);
}

static void check_failures(void) {
    static const enum call which[] = {STAT, OPEN, FSTAT, FSTAT, READ};
    static const int number[] = {1, 1, 1, 2, 1};
    size_t i;
    for (i = 0; i < sizeof which / sizeof which[0]; i++) {
        const pa_read_file file = read_while(which[i], number[i], none, EIO);
        REQUIRE(file.status == PA_READ_REFUSED && file.number == EIO);
    }
    REQUIRE(read_while(READ, 1, none, EINTR).status == PA_READ_OK);
    REQUIRE(read_while(OPEN, 1, none, EINTR).status == PA_READ_OK);
    REQUIRE(calls[OPEN] == 2);
}

static void check_pairs(void) {
    static const char *const paths[] = {"a", "b", "missing", NULL, "c", "d", "e"};
    static const size_t sizes[] = {1, 63, 0, 0, 64, 6000, 65};
    enum { COUNT = sizeof paths / sizeof paths[0] };
    pa_read_pair pairs[COUNT];
    pa_arena arena = {NULL, 0, 0};
    size_t i, done, enough;
    for (i = 0; i < COUNT; i++) {
        if (sizes[i] > 0) {
            write_file(paths[i], sizes[i]);
        }
    }
    for (enough = 1; enough < 8000; enough += 97) {
        size_t first = 0;
        size_t all = 0;
        while (first < COUNT) {
            memset(pairs, 0, sizeof pairs);
            for (i = first; i < COUNT; i++) {
                pairs[i].plugin.path = paths[i];
                pairs[i].plugin.limit = 6000;
                pairs[i].envelope.path = i % 2 == 0 ? "b" : "none";
                pairs[i].envelope.limit = 63;
            }
            pa_arena_reset(&arena, 5000);
            REQUIRE(arena.capacity <= 5000);
            REQUIRE(pa_read_pairs(&arena, pairs + first, COUNT - first, enough, &done) == 0);
            REQUIRE(done > 0);
            for (i = first; i < COUNT; i++) {
                const pa_read_file *const plugin = &pairs[i].plugin;
                const pa_read_file *const envelope = &pairs[i].envelope;
                if (i >= first + done) {
                    REQUIRE(plugin->status == PA_READ_PENDING);
                } else if (sizes[i] > 0) {
                    REQUIRE(plugin->status == PA_READ_OK && plugin->length == sizes[i]);
                    REQUIRE(plugin->offset % 64 == 0);
                    REQUIRE(memcmp(arena.data + plugin->offset, content, sizes[i]) == 0);
                    REQUIRE(envelope->status == (i % 2 == 0 ? PA_READ_OK : PA_READ_REFUSED));
                    all++;
                } else {
                    REQUIRE(plugin->status ==
                            (paths[i] == NULL ? PA_READ_NO_PATH : PA_READ_REFUSED));
                    REQUIRE(envelope->status == PA_READ_PENDING);
                }
            }
            first += done;
        }
        REQUIRE(all == 5 && opened == 0);
    }
    pa_arena_reset(&arena, 0);
    REQUIRE(arena.data == NULL && arena.used == 0);
}

static void check_room(void) {
    pa_arena arena = {NULL, 0, 0};
    size_t offset;
    REQUIRE(pa_arena_room(&arena, SIZE_MAX, &offset) == ENOMEM);
    REQUIRE(pa_arena_room(&arena, 1, &offset) == 0 && offset == 0);
    arena.used = 1;
    REQUIRE(pa_arena_room(&arena, SIZE_MAX - 64, &offset) == ENOMEM);
    REQUIRE(pa_arena_room(&arena, SIZE_MAX, &offset) == ENOMEM);
    REQUIRE(pa_arena_room(&arena, 0, &offset) == 0 && offset == 64);
    pa_arena_reset(&arena, 0);
}

static size_t find_plainly(const uint8_t *data, size_t length, const uint8_t *needle,
                           size_t needle_length, size_t start) {
    size_t at;
    for (at = start; at + needle_length <= length; at++) {
        if (memcmp(data + at, needle, needle_length) == 0) {
            return at;
        }
    }
    return PA_NOT_FOUND;
}

/* Blocks of exactly their length, so that a look beyond their end is found. */
static void check_search(void) {
    size_t length, needle_length, start, i;
    uint32_t random = 1;
    for (length = 0; length < 700; length++) {
        uint8_t *const data = malloc(length > 0 ? length : 1);
        uint8_t needle[17];
        REQUIRE(data != NULL);
        for (i = 0; i < length; i++) {
            random = random * 1664525u + 1013904223u;
            data[i] = (uint8_t)(random >> 31); /* many places where it could begin */
        }
        for (needle_length = 1; needle_length <= sizeof needle; needle_length += 4) {
            for (start = 0; start <= length + 1; start += 1 + length / 3) {
                for (i = 0; i < needle_length; i++) {
                    needle[i] = start < length ? data[(start + length / 2 + i) % length] : 1;
                }
                REQUIRE(pa_find(data, length, needle, needle_length, start) ==
                        find_plainly(data, length, needle, needle_length, start));
            }
        }
        free(data);
    }
    REQUIRE(pa_find(content, SIZE, content, 16, SIZE_MAX) == PA_NOT_FOUND);
}

int main(int argc, char **argv) {
    size_t i;
    REQUIRE(argc == 2 && chdir(argv[1]) == 0);
    for (i = 0; i < sizeof content; i++) {
        content[i] = (uint8_t)(i * 31 + i / 251);
    }
    check_changes();
    check_swaps();
    check_failures();
    check_pairs();
    check_room();
    check_search();
    return 0;
}
