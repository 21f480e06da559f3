/* SHA3-512 of many messages that lie in memory. */
#ifndef PLUGINAPI_KECCAK_BUFFERS_H
#define PLUGINAPI_KECCAK_BUFFERS_H

#include "cursor.h"
#include "keccak.h"

typedef struct pa_sha3_buffer {
    const uint8_t *data; /* NULL is allowed when there are no bytes */
    size_t length;
    uint8_t digest[PA_SHA3_512_DIGEST];
} pa_sha3_buffer;

typedef struct pa_sha3_buffers {
    pa_sha3_buffer **order; /* longest first: pa_sha3_512_sort_buffers */
    size_t count;
    pa_cursor cursor;    /* starts as {0} */
    pa_cursor cancelled; /* not 0: no buffer is begun any more */
} pa_sha3_buffers;

/* Put the longest first, which keeps all lanes busy for longest. */
void pa_sha3_512_sort_buffers(pa_sha3_buffers *batch);

/* Hash buffers of the batch until none is left, over at most `lanes` lanes. Threads may do so
 * together; when all of them have returned, every digest is there. */
void pa_sha3_512_buffers(const pa_keccak_kernels *kernels, pa_sha3_buffers *batch, size_t lanes);

#endif
