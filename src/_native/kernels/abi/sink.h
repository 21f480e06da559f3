/* pa_out: a bounded sink that the result of one call is written into. Used by one thread. */
#ifndef PLUGINAPI_ABI_SINK_H
#define PLUGINAPI_ABI_SINK_H

#include "pluginapi.h"

struct pa_out {
    uint8_t *data; /* NULL while nothing was written */
    size_t len;
    size_t capacity;
    size_t limit;   /* bytes that len never exceeds */
    int overflowed; /* a write was refused: the contents are incomplete */
    pa_out *next;   /* for whoever keeps several */
};

/* Prepare an empty sink that takes `limit` bytes. */
void pa_sink_open(pa_out *out, size_t limit);

/* Append; PA_ERR_LIMIT when it does not fit or there is no memory, and then for ever. */
pa_status pa_sink_append(pa_out *out, const void *data, size_t size);

/* Release the contents. */
void pa_sink_close(pa_out *out);

#endif
