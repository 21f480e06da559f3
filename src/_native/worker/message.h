/* The control messages that the native worker reads and writes: pluginapi/ipc/protocol.py as C. */
#ifndef PLUGINAPI_WORKER_MESSAGE_H
#define PLUGINAPI_WORKER_MESSAGE_H

#include "abi/sink.h"
#include "pluginapi.h"
#include "pluginapi_msgpack.h"

/* A growing buffer that is written as msgpack. */
typedef struct pa_draft {
    pa_out out;
    pa_mp_writer writer;
} pa_draft;

void pa_draft_open(pa_draft *draft);
void pa_draft_close(pa_draft *draft);

/* Text that the host decodes strictly: bytes that are no UTF-8 become '?', at most `most` bytes. */
void pa_write_text(pa_mp_writer *writer, pa_str text, size_t most);
void pa_write_name(pa_mp_writer *writer, const char *text);

/* ["error", code, message, kind, hint, status] */
void pa_write_error(pa_mp_writer *writer, const char *code, pa_str message, int32_t status);

/* Read ["tag", ...]: the tag, and the number of members that follow it. */
pa_status pa_read_tag(pa_mp_reader *reader, pa_str *tag, uint32_t *members);

/* What the worker needs of Initialize, BORROWED from its bytes. */
typedef struct pa_initialize {
    pa_str plugin, version;
    pa_mp_reader write; /* at the array of names */
    pa_bytes config;
    uint64_t heap_bytes, result_bytes;
} pa_initialize;

pa_status pa_read_initialize(pa_mp_reader *reader, uint32_t members, pa_initialize *message);

#endif
