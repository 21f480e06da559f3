/* SHA3-512 of many regular files, read in pieces of constant size. */
#ifndef PLUGINAPI_KECCAK_FILES_H
#define PLUGINAPI_KECCAK_FILES_H

#include "cursor.h"
#include "keccak.h"

typedef enum pa_sha3_file_status {
    PA_SHA3_FILE_PENDING = 0,
    PA_SHA3_FILE_HASHED,      /* `digest` is the file's */
    PA_SHA3_FILE_REFUSED,     /* the operating system refused; `error` is its errno */
    PA_SHA3_FILE_NOT_REGULAR, /* a directory, pipe, socket or device; not a byte was read */
    PA_SHA3_FILE_CHANGED      /* its size or time of change was another at the end */
} pa_sha3_file_status;

typedef struct pa_sha3_file {
    const char *path; /* NULL: an open descriptor, which stays open and keeps its position */
    int descriptor;
    pa_sha3_file_status status;
    int error;
    int64_t size; /* as it was before reading */
    uint8_t digest[PA_SHA3_512_DIGEST];
} pa_sha3_file;

typedef struct pa_sha3_files {
    pa_sha3_file **order; /* longest first: pa_sha3_512_look_at_files */
    size_t count;
    pa_cursor cursor;     /* starts as {0} */
    pa_cursor bytes_read; /* so far, of all files */
    pa_cursor cancelled;  /* not 0: what is not hashed yet is REFUSED, with ECANCELED */
} pa_sha3_files;

/* Ask for type and size of each file and put the longest first. Returns the sum of the sizes.
 * What is no regular file or cannot be asked about is marked so, and never opened. */
uint64_t pa_sha3_512_look_at_files(pa_sha3_files *batch);

/* Hash files of the batch until none is left, over at most `lanes` lanes. Threads may do so
 * together; when all of them have returned, no status is PENDING. A file that shrinks or grows
 * meanwhile costs no more reading than its first size, and is CHANGED. Returns 0, or ENOMEM. */
int pa_sha3_512_files(const pa_keccak_kernels *kernels, pa_sha3_files *batch, size_t lanes);

#endif
