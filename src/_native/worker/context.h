/* The context of a native plugin in a process of its own: what came with the call, what the call
 * has written, and the host for the rest. */
#ifndef PLUGINAPI_WORKER_CONTEXT_H
#define PLUGINAPI_WORKER_CONTEXT_H

#include "pluginapi_msgpack.h"
#include "state.h"

/* Copy an array of names; 0 when it is none, has too many, or there is no memory. */
int pa_worker_read_names(pa_mp_reader reader, pa_names *list);

/* The context functions of pa_embedder. */
pa_status pa_worker_context_get(void *user, pa_str key, pa_out *value);
pa_status pa_worker_context_has(void *user, pa_str key);
pa_status pa_worker_context_set(void *user, pa_str key, pa_bytes value);

/* Write what a call has changed: [{key: value, ...}, [removed keys]]. */
void pa_worker_write_changes(const pa_worker *self, pa_mp_writer *writer, const pa_serving *now);

/* Start to serve something, with what came with it; and free what it has written. */
pa_serving *pa_worker_serve_begin(pa_worker *self, pa_serving *now, uint64_t call);
void pa_worker_serve_end(pa_worker *self, pa_serving *now, pa_serving *before);

#endif
