#include "answer.h"

#include <string.h>

pa_channel_status pa_worker_send(pa_worker *self, pa_frame *frame, const pa_body *body) {
    uint8_t prefix[PA_FRAME_MOST_PREFIX];
    const size_t size = pa_frame_prefix(frame, prefix, body);
    const pa_part parts[3] = {{prefix, size},
                              {body->context, body->context_len},
                              {body->payload, body->payload_len}};
    pa_channel_status status;
    pthread_mutex_lock(&self->sending);
    status = pa_link_deliver(&self->link, frame, parts, 3);
    pthread_mutex_unlock(&self->sending);
    return status;
}

pa_channel_status pa_worker_send_draft(pa_worker *self, uint8_t kind, uint64_t call,
                                       uint64_t parent, pa_draft *draft) {
    pa_frame frame = {.kind = kind, .call = call};
    const pa_body body = {
        .parent = parent, .payload = draft->out.data, .payload_len = draft->out.len};
    return draft->writer.status == PA_OK ? pa_worker_send(self, &frame, &body)
                                         : PA_CHANNEL_MEMORY;
}

pa_channel_status pa_worker_answer_error(pa_worker *self, uint64_t call, const char *code,
                                         pa_str text, int32_t status) {
    pa_draft draft;
    pa_channel_status sent;
    pa_draft_open(&draft);
    pa_write_error(&draft.writer, code, text, status);
    sent = pa_worker_send_draft(self, PA_FRAME_ERROR, call, 0, &draft);
    pa_draft_close(&draft);
    return sent;
}

pa_channel_status pa_worker_answer_success(pa_worker *self, uint64_t call) {
    pa_draft draft;
    pa_channel_status sent;
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 1);
    pa_write_name(&draft.writer, "success");
    sent = pa_worker_send_draft(self, PA_FRAME_RESPONSE, call, 0, &draft);
    pa_draft_close(&draft);
    return sent;
}

void pa_worker_log(void *user, int32_t level, pa_str message) {
    pa_worker *const self = user;
    pa_draft draft;
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 2);
    pa_mp_write_uint(&draft.writer, level <= PA_LOG_DEBUG     ? PA_LOG_DEBUG
                                    : level <= PA_LOG_INFO    ? PA_LOG_INFO
                                    : level <= PA_LOG_WARNING ? PA_LOG_WARNING
                                                              : PA_LOG_ERROR);
    pa_write_text(&draft.writer, message, PA_MAX_TEXT);
    if (draft.writer.status == PA_OK) {
        /* A line that finds no room is dropped: nobody may wait for the log. */
        pa_frame frame = {.kind = PA_FRAME_LOG, .len = (uint32_t)draft.out.len};
        const pa_part part = {draft.out.data, draft.out.len};
        pthread_mutex_lock(&self->sending);
        (void)pa_link_send(&self->link, &frame, &part, 1);
        pthread_mutex_unlock(&self->sending);
    }
    pa_draft_close(&draft);
}
