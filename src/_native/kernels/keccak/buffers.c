#include "buffers.h"

#include <stdlib.h>
#include <string.h>

#include "many.h"

typedef struct reader {
    pa_sha3_buffers *batch;
    pa_sha3_buffer *current[PA_KECCAK_MAX_WIDTH];
    int given[PA_KECCAK_MAX_WIDTH];
} reader;

static int next(void *context, size_t slot) {
    reader *const r = context;
    const size_t number = pa_cursor_take(&r->batch->cursor);
    if (number >= r->batch->count || pa_cursor_value(&r->batch->cancelled) != 0) {
        return 0;
    }
    r->current[slot] = r->batch->order[number];
    r->given[slot] = 0;
    return 1;
}

static pa_sha3_piece read_buffer(void *context, size_t slot, const uint8_t **data,
                                 size_t *length) {
    reader *const r = context;
    if (r->given[slot]) {
        return PA_SHA3_END;
    }
    r->given[slot] = 1;
    *data = r->current[slot]->data;
    *length = r->current[slot]->length;
    return PA_SHA3_PIECE;
}

static void done(void *context, size_t slot, const uint8_t *digest) {
    reader *const r = context;
    memcpy(r->current[slot]->digest, digest, PA_SHA3_512_DIGEST);
}

static int longer_first(const void *left, const void *right) {
    const size_t a = (*(pa_sha3_buffer *const *)left)->length;
    const size_t b = (*(pa_sha3_buffer *const *)right)->length;
    return (a < b) - (a > b);
}

void pa_sha3_512_sort_buffers(pa_sha3_buffers *batch) {
    if (batch->count > 1) {
        qsort(batch->order, batch->count, sizeof batch->order[0], longer_first);
    }
}

void pa_sha3_512_buffers(const pa_keccak_kernels *kernels, pa_sha3_buffers *batch, size_t lanes) {
    reader r;
    const pa_sha3_source source = {&r, next, read_buffer, done};
    r.batch = batch;
    pa_sha3_512_many(kernels, &source, lanes);
}
