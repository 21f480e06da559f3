#include "ask.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "strict.h"
#include "worker.h"

static int keep(pa_worker *self, const pa_message *message) {
    pa_kept *const copy = malloc(sizeof *copy + message->frame.len);
    if (copy == NULL) {
        return 0;
    }
    copy->next = NULL;
    copy->frame = message->frame;
    if (message->frame.len > 0) {
        memcpy(copy->body, message->body, message->frame.len);
    }
    *self->last = copy;
    self->last = &copy->next;
    return 1;
}

/* The host is gone, or what it sends makes no sense: there is nothing left to work for. */
static _Noreturn void leave(const pa_worker *self) {
    if (self->strict) {
        pa_strict_exit(PA_WORKER_NO_CHANNEL);
    }
    _exit(PA_WORKER_NO_CHANNEL);
}

static pa_status status_of(pa_str code) {
    static const struct {
        pa_str code;
        pa_status status;
    } known[] = {{PA_STR_INIT("context.key_not_found"), PA_ERR_NOT_FOUND},
                 {PA_STR_INIT("context.type"), PA_ERR_BAD_ARG},
                 {PA_STR_INIT("context.key"), PA_ERR_DENIED},
                 {PA_STR_INIT("context.refused"), PA_ERR_DENIED},
                 {PA_STR_INIT("context.read_only"), PA_ERR_DENIED},
                 {PA_STR_INIT("context.full"), PA_ERR_LIMIT},
                 {PA_STR_INIT("ipc.too_large"), PA_ERR_LIMIT},
                 /* The host gave up on the question, with the call that it was asked in. */
                 {PA_STR_INIT("ipc.closed"), PA_ERR_TIMEOUT},
                 {PA_STR_INIT("service.not_found"), PA_ERR_NOT_FOUND},
                 {PA_STR_INIT("service.arguments"), PA_ERR_BAD_ARG},
                 {PA_STR_INIT("service.too_large"), PA_ERR_LIMIT},
                 {PA_STR_INIT("service.deadline"), PA_ERR_TIMEOUT},
                 {PA_STR_INIT("service.suspended"), PA_ERR_UNSUPPORTED},
                 {PA_STR_INIT("context.closed"), PA_ERR_STATE}};
    size_t i;
    for (i = 0; i < sizeof known / sizeof *known; i++) {
        if (pa_str_equal(code, known[i].code)) {
            return known[i].status;
        }
    }
    return PA_ERR_FAIL;
}

pa_status pa_worker_ask(pa_worker *self, pa_draft *question, uint8_t **answer, size_t *len) {
    const uint64_t id = ++self->last_request;
    pa_message message;
    pa_body parts;
    *answer = NULL;
    if (pa_worker_send_draft(self, PA_FRAME_REQUEST, id, self->now->call, question) !=
        PA_CHANNEL_OK) {
        return question->writer.status != PA_OK ? question->writer.status : PA_ERR_LIMIT;
    }
    for (;;) {
        pa_channel_status status = pa_link_receive(&self->link, &message, PA_LINK_NEVER);
        if (status == PA_CHANNEL_INTERRUPTED) {
            continue;
        }
        if (status != PA_CHANNEL_OK ||
            pa_frame_split(&message.frame, message.body, &parts) != PA_CHANNEL_OK) {
            leave(self);
        }
        if ((message.frame.kind == PA_FRAME_RESPONSE || message.frame.kind == PA_FRAME_ERROR) &&
            message.frame.call == id) {
            break;
        }
        if (message.frame.kind == PA_FRAME_CALL && parts.parent != 0) {
            /* The host needs this plugin to answer what this plugin asked. */
            uint8_t *const copy = malloc(message.frame.len + 1);
            const pa_frame frame = message.frame;
            if (copy == NULL) {
                leave(self);
            }
            memcpy(copy, message.body, frame.len);
            (void)pa_worker_serve(self, &frame, copy);
            free(copy);
        } else if (message.frame.kind != PA_FRAME_CANCEL && !keep(self, &message)) {
            leave(self);
        }
    }
    if (message.frame.kind == PA_FRAME_ERROR) {
        pa_mp_reader reader = pa_mp_reader_of(pa_bytes_make(parts.payload, parts.payload_len));
        pa_str tag, code = {"", 0};
        uint32_t members;
        if (pa_read_tag(&reader, &tag, &members) == PA_OK) {
            (void)pa_mp_read_str(&reader, &code);
        }
        return status_of(code);
    }
    *answer = malloc(parts.payload_len + 1);
    if (*answer == NULL) {
        return PA_ERR_LIMIT;
    }
    memcpy(*answer, parts.payload, parts.payload_len);
    *len = parts.payload_len;
    return PA_OK;
}

pa_status pa_worker_ask_bytes(pa_worker *self, pa_draft *question, uint8_t **answer,
                              pa_bytes *value) {
    size_t len = 0;
    pa_status status = pa_worker_ask(self, question, answer, &len);
    if (status == PA_OK) {
        pa_mp_reader reader = pa_mp_reader_of(pa_bytes_make(*answer, len));
        pa_str tag;
        uint32_t members;
        if (pa_read_tag(&reader, &tag, &members) != PA_OK ||
            pa_mp_read_bin(&reader, value) != PA_OK) {
            status = PA_ERR_FAIL;
        }
    }
    return status;
}

pa_status pa_worker_ask_value(pa_worker *self, const char *question, pa_str key, uint8_t **answer,
                              pa_bytes *value) {
    pa_draft draft;
    pa_status status;
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 2);
    pa_write_name(&draft.writer, question);
    pa_write_text(&draft.writer, key, PA_MAX_NAME);
    status = pa_worker_ask_bytes(self, &draft, answer, value);
    pa_draft_close(&draft);
    return status;
}
