#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "channel/scan.h"
#include "context.h"
#include "message.h"

#define MOST_HANDLERS 4096u

/* What the host takes by default: ChannelSettings of pluginapi/ipc/settings.py. */
static const pa_scan_limits scan_limits = {.depth = 64, .containers = 32768, .items = 262144};

pa_status pa_worker_register_hook(void *user, pa_str hook, uint32_t priority, pa_hook_fn fn,
                                  void *fn_user) {
    pa_worker *const self = user;
    pa_handler *entry;
    if (self->handler_count == MOST_HANDLERS) {
        return PA_ERR_LIMIT;
    }
    if (self->handler_count == self->handler_room) {
        const size_t room = self->handler_room == 0 ? 16 : 2 * self->handler_room;
        pa_handler *const more = realloc(self->handlers, room * sizeof *more);
        if (more == NULL) {
            return PA_ERR_LIMIT;
        }
        self->handlers = more;
        self->handler_room = room;
    }
    entry = &self->handlers[self->handler_count];
    entry->hook = malloc(hook.len);
    if (entry->hook == NULL) {
        return PA_ERR_LIMIT;
    }
    memcpy(entry->hook, hook.ptr, hook.len);
    entry->hook_len = hook.len;
    entry->fn = fn;
    entry->user = fn_user;
    entry->priority = priority;
    self->handler_count++;
    return PA_OK;
}

int pa_worker_serve_call(pa_worker *self, const pa_frame *frame, const pa_body *body) {
    pa_call call;
    pa_serving now, *before;
    pa_frame answer = {.kind = PA_FRAME_RESULT, .call = frame->call};
    pa_body result;
    pa_draft writes;
    pa_channel_status sent;
    const pa_handler *entry;
    if (frame->hook == 0 || frame->hook > self->handler_count) {
        return pa_worker_answer_error(self, frame->call, "hook.unknown",
                                      PA_STR("the plugin has no such handler"), 0) == PA_CHANNEL_OK;
    }
    entry = &self->handlers[frame->hook - 1];
    before = pa_worker_serve_begin(self, &now, frame->call);
    now.with_context = 1;
    now.context = body->context;
    now.context_len = body->context_len;
    self->calls++;
    (void)pa_host_handle(self->host, entry->fn, entry->user,
                         pa_str_make(entry->hook, entry->hook_len),
                         pa_bytes_make(body->payload, body->payload_len), &call);
    if (call.status < 0) {
        self->failures++;
        sent = pa_worker_answer_error(self, frame->call, "hook.failed",
                                      pa_str_make(call.message, call.message_len), call.status);
    } else if (call.out.len > 0 &&
               pa_scan(call.out.data, call.out.len, &scan_limits) != PA_CHANNEL_OK) {
        /* The host would take it for an attack, and end this process. */
        char text[PA_MAX_NAME + 100];
        const int len = snprintf(text, sizeof text,
                                 "the plugin returned %zu bytes for hook %.*s that are not of its "
                                 "type: they are no msgpack, or too much of it",
                                 call.out.len, (int)entry->hook_len, entry->hook);
        self->failures++;
        sent = pa_worker_answer_error(self, frame->call, "hook.type",
                                      pa_str_make(text, (size_t)len), 0);
    } else {
        memset(&result, 0, sizeof result);
        if (call.out.len > 0) {
            result.payload = call.out.data;
            result.payload_len = call.out.len;
        } else if (call.status == PA_STOP) {
            /* Final and unchanged: the value as it came in. */
            result.payload = body->payload;
            result.payload_len = body->payload_len;
        } else {
            answer.flags |= PA_F_FRAME_UNCHANGED;
        }
        if (call.status == PA_STOP) {
            answer.flags |= PA_F_FRAME_STOP;
        }
        if (now.changed > 0) {
            pa_draft_open(&writes);
            pa_worker_write_changes(self, &writes.writer, &now);
            result.context = writes.out.data;
            result.context_len = writes.out.len;
            sent = writes.writer.status == PA_OK ? pa_worker_send(self, &answer, &result)
                                                 : PA_CHANNEL_REFUSED;
            pa_draft_close(&writes);
        } else {
            sent = pa_worker_send(self, &answer, &result);
        }
        if (sent == PA_CHANNEL_REFUSED) {
            sent = pa_worker_answer_error(self, frame->call, "ipc.too_large",
                                          PA_STR("the result is larger than the channel carries"),
                                          PA_ERR_LIMIT);
        }
    }
    pa_worker_serve_end(self, &now, before);
    pa_call_close(&call);
    return sent == PA_CHANNEL_OK;
}
