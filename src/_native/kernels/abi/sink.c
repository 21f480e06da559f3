#include "sink.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 512

void pa_sink_open(pa_out *out, size_t limit) {
    out->data = NULL;
    out->len = 0;
    out->capacity = 0;
    out->limit = limit;
    out->overflowed = 0;
    out->next = NULL;
}

pa_status pa_sink_append(pa_out *out, const void *data, size_t size) {
    if (out->overflowed || size > out->limit - out->len) {
        out->overflowed = 1;
        return PA_ERR_LIMIT;
    }
    if (size == 0) {
        return PA_OK;
    }
    if (data == NULL) {
        return PA_ERR_BAD_ARG;
    }
    if (size > out->capacity - out->len) {
        const size_t needed = out->len + size;
        size_t capacity = out->capacity == 0 ? FIRST_CAPACITY : out->capacity;
        uint8_t *grown;
        while (capacity < needed) {
            capacity = capacity > out->limit / 2 ? out->limit : capacity * 2;
        }
        grown = realloc(out->data, capacity);
        if (grown == NULL) {
            out->overflowed = 1;
            return PA_ERR_LIMIT;
        }
        out->data = grown;
        out->capacity = capacity;
    }
    memcpy(out->data + out->len, data, size);
    out->len += size;
    return PA_OK;
}

void pa_sink_close(pa_out *out) {
    free(out->data);
    pa_sink_open(out, out->limit);
}
