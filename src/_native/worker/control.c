#define _GNU_SOURCE
#include "control.h"

#include <string.h>
#include <time.h>

#include "answer.h"
#include "context.h"
#include "message.h"
#include "plugin.h"

static int serve_initialize(pa_worker *self, uint64_t id, pa_mp_reader *reader, uint32_t members) {
    pa_initialize message;
    pa_refusal why;
    pa_draft draft;
    pa_channel_status sent;
    size_t i;
    if (pa_read_initialize(reader, members, &message) != PA_OK) {
        return pa_worker_answer_error(self, id, "ipc.message", PA_STR("a malformed Initialize"),
                                      0) == PA_CHANNEL_OK;
    }
    if (!pa_worker_bring_up(self, &message, &why)) {
        return pa_worker_answer_error(self, id, why.code, pa_str_make(why.text, why.len),
                                      why.status) == PA_CHANNEL_OK;
    }
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 6);
    pa_write_name(&draft.writer, "ready");
    pa_mp_write_str(&draft.writer, self->plugin);
    pa_mp_write_str(&draft.writer, self->version);
    pa_mp_write_array(&draft.writer, (uint32_t)self->handler_count);
    for (i = 0; i < self->handler_count; i++) {
        const pa_str hook = pa_str_make(self->handlers[i].hook, self->handlers[i].hook_len);
        pa_mp_write_array(&draft.writer, 3);
        pa_mp_write_uint(&draft.writer, i + 1);
        pa_write_text(&draft.writer, hook, PA_MAX_NAME);
        pa_mp_write_uint(&draft.writer, self->handlers[i].priority);
    }
    pa_mp_write_bool(&draft.writer, (pa_host_flags(self->host) & PA_F_THREAD_SAFE) != 0);
    pa_mp_write_uint(&draft.writer, (uint64_t)self->pid);
    sent = pa_worker_send_draft(self, PA_FRAME_RESPONSE, id, 0, &draft);
    pa_draft_close(&draft);
    return sent == PA_CHANNEL_OK;
}

static int serve_metrics(pa_worker *self, uint64_t id) {
    pa_memory_stats heap;
    struct timespec cpu;
    pa_draft draft;
    pa_channel_status sent;
    memset(&heap, 0, sizeof heap);
    memset(&cpu, 0, sizeof cpu);
    if (self->host != NULL) {
        heap = pa_host_heap(self->host);
    }
    if (!self->strict) {
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu); /* never without the kernel */
    }
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 2);
    pa_write_name(&draft.writer, "metrics");
    pa_mp_write_map(&draft.writer, self->strict ? 6 : 7);
    pa_write_name(&draft.writer, "heap_bytes");
    pa_mp_write_uint(&draft.writer, heap.live_bytes);
    pa_write_name(&draft.writer, "heap_peak_bytes");
    pa_mp_write_uint(&draft.writer, heap.peak_bytes);
    pa_write_name(&draft.writer, "heap_refused");
    pa_mp_write_uint(&draft.writer, heap.refused);
    pa_write_name(&draft.writer, "heap_faults");
    pa_mp_write_uint(&draft.writer, heap.faults);
    pa_write_name(&draft.writer, "calls");
    pa_mp_write_uint(&draft.writer, self->calls);
    pa_write_name(&draft.writer, "errors");
    pa_mp_write_uint(&draft.writer, self->failures);
    if (!self->strict) {
        pa_write_name(&draft.writer, "cpu_ns");
        pa_mp_write_uint(&draft.writer,
                         (uint64_t)cpu.tv_sec * UINT64_C(1000000000) + (uint64_t)cpu.tv_nsec);
    }
    sent = pa_worker_send_draft(self, PA_FRAME_RESPONSE, id, 0, &draft);
    pa_draft_close(&draft);
    return sent == PA_CHANNEL_OK;
}

static int serve_shutdown(pa_worker *self, uint64_t id) {
    pa_refusal why;
    self->stopping = 1;
    if (!pa_worker_shut_down(self, &why)) {
        return pa_worker_answer_error(self, id, why.code, pa_str_make(why.text, why.len),
                                      why.status) == PA_CHANNEL_OK;
    }
    return pa_worker_answer_success(self, id) == PA_CHANNEL_OK;
}

int pa_worker_serve_request(pa_worker *self, const pa_frame *frame, const pa_body *body) {
    pa_mp_reader reader = pa_mp_reader_of(pa_bytes_make(body->payload, body->payload_len));
    pa_serving now, *before;
    pa_str tag;
    uint32_t members;
    int going = 0;
    if (pa_read_tag(&reader, &tag, &members) != PA_OK) {
        return 0;
    }
    if (pa_str_equal(tag, PA_STR("ping"))) {
        return pa_worker_answer_success(self, frame->call) == PA_CHANNEL_OK;
    }
    before = pa_worker_serve_begin(self, &now, frame->call);
    if (pa_str_equal(tag, PA_STR("initialize"))) {
        going = serve_initialize(self, frame->call, &reader, members);
    } else if (pa_str_equal(tag, PA_STR("get_metrics"))) {
        going = serve_metrics(self, frame->call);
    } else if (pa_str_equal(tag, PA_STR("shutdown"))) {
        going = serve_shutdown(self, frame->call);
    } else {
        going = pa_worker_answer_error(self, frame->call, "ipc.unsupported", tag, 0) ==
                PA_CHANNEL_OK;
    }
    pa_worker_serve_end(self, &now, before);
    return going;
}
