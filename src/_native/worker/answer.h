/* What the native worker sends unasked or as an answer: results, errors, lines of the log. */
#ifndef PLUGINAPI_WORKER_ANSWER_H
#define PLUGINAPI_WORKER_ANSWER_H

#include "message.h"
#include "state.h"

/* Send a frame; waits for room. On any thread. */
pa_channel_status pa_worker_send(pa_worker *self, pa_frame *frame, const pa_body *body);
pa_channel_status pa_worker_send_draft(pa_worker *self, uint8_t kind, uint64_t call,
                                       uint64_t parent, pa_draft *draft);

pa_channel_status pa_worker_answer_error(pa_worker *self, uint64_t call, const char *code,
                                         pa_str text, int32_t status);
pa_channel_status pa_worker_answer_success(pa_worker *self, uint64_t call);

/* The `log` of pa_embedder. A line that finds no room is dropped. On any thread. */
void pa_worker_log(void *user, int32_t level, pa_str message);

#endif
