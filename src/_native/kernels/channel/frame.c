#include "frame.h"

#include <string.h>

#include "little.h"

void pa_frame_write(uint8_t out[PA_FRAME_HEADER], const pa_frame *frame) {
    pa_put_little(out, frame->len, 4);
    out[4] = frame->kind;
    out[5] = frame->flags;
    pa_put_little(out + 6, frame->hook, 2);
    pa_put_little(out + 8, frame->call, 8);
}

void pa_frame_read(pa_frame *frame, const uint8_t in[PA_FRAME_HEADER]) {
    frame->len = (uint32_t)pa_get_little(in, 4);
    frame->kind = in[4];
    frame->flags = in[5];
    frame->hook = (uint16_t)pa_get_little(in + 6, 2);
    frame->call = pa_get_little(in + 8, 8);
}

#define REQUESTS (PA_F_FRAME_DEADLINE | PA_F_FRAME_PARENT)

/* What each kind may have. */
static const struct {
    uint8_t flags;
    uint8_t has_call;
    uint8_t has_hook;
    uint8_t has_body;
} rules[PA_FRAME_LAST + 1] = {
    [PA_FRAME_HELLO] = {0, 0, 0, 1},
    [PA_FRAME_REQUEST] = {REQUESTS, 1, 0, 1},
    [PA_FRAME_RESPONSE] = {0, 1, 0, 1},
    [PA_FRAME_CALL] = {REQUESTS | PA_F_FRAME_CONTEXT, 1, 1, 1},
    [PA_FRAME_RESULT] = {PA_F_FRAME_CONTEXT | PA_F_FRAME_STOP | PA_F_FRAME_UNCHANGED, 1, 0, 1},
    [PA_FRAME_ERROR] = {0, 1, 0, 1},
    [PA_FRAME_CANCEL] = {0, 1, 0, 0},
    [PA_FRAME_LOG] = {0, 0, 0, 1},
};

static size_t prefix_size(uint8_t flags) {
    return (flags & PA_F_FRAME_DEADLINE ? 8u : 0u) + (flags & PA_F_FRAME_PARENT ? 8u : 0u) +
           (flags & PA_F_FRAME_CONTEXT ? 4u : 0u);
}

pa_channel_status pa_frame_check(const pa_frame *frame, uint32_t max_len) {
    if (frame->kind == 0 || frame->kind > PA_FRAME_LAST) {
        return PA_CHANNEL_BAD_KIND;
    }
    if (frame->flags & ~rules[frame->kind].flags) {
        return PA_CHANNEL_BAD_FLAGS;
    }
    if ((frame->call != 0) != (rules[frame->kind].has_call != 0) ||
        (frame->hook != 0) != (rules[frame->kind].has_hook != 0)) {
        return PA_CHANNEL_BAD_CALL;
    }
    if (frame->len > max_len || frame->len < prefix_size(frame->flags) ||
        (frame->len != 0 && !rules[frame->kind].has_body)) {
        return PA_CHANNEL_BAD_LENGTH;
    }
    return PA_CHANNEL_OK;
}

pa_channel_status pa_frame_split(const pa_frame *frame, const uint8_t *body, pa_body *parts) {
    size_t left = frame->len;
    memset(parts, 0, sizeof *parts);
    if (left < prefix_size(frame->flags)) {
        return PA_CHANNEL_BAD_LENGTH;
    }
    left -= prefix_size(frame->flags);
    if (frame->flags & PA_F_FRAME_DEADLINE) {
        parts->deadline_ns = pa_get_little(body, 8);
        body += 8;
        if (parts->deadline_ns == 0) {
            return PA_CHANNEL_BAD_LENGTH;
        }
    }
    if (frame->flags & PA_F_FRAME_PARENT) {
        parts->parent = pa_get_little(body, 8);
        body += 8;
        if (parts->parent == 0) {
            return PA_CHANNEL_BAD_CALL;
        }
    }
    if (frame->flags & PA_F_FRAME_CONTEXT) {
        parts->context_len = (size_t)pa_get_little(body, 4);
        body += 4;
        if (parts->context_len > left) {
            return PA_CHANNEL_BAD_LENGTH;
        }
        parts->context = body;
        body += parts->context_len;
        left -= parts->context_len;
    }
    if (left != 0 && frame->flags & PA_F_FRAME_UNCHANGED) {
        return PA_CHANNEL_BAD_LENGTH;
    }
    parts->payload = body;
    parts->payload_len = left;
    return PA_CHANNEL_OK;
}

size_t pa_frame_prefix(pa_frame *frame, uint8_t out[PA_FRAME_MOST_PREFIX], const pa_body *parts) {
    size_t size = 0;
    frame->flags &= (uint8_t)~(REQUESTS | PA_F_FRAME_CONTEXT);
    if (parts->deadline_ns != 0) {
        frame->flags |= PA_F_FRAME_DEADLINE;
        pa_put_little(out, parts->deadline_ns, 8);
        size = 8;
    }
    if (parts->parent != 0) {
        frame->flags |= PA_F_FRAME_PARENT;
        pa_put_little(out + size, parts->parent, 8);
        size += 8;
    }
    if (parts->context != NULL) {
        frame->flags |= PA_F_FRAME_CONTEXT;
        pa_put_little(out + size, parts->context_len, 4);
        size += 4;
    }
    frame->len = (uint32_t)(size + parts->context_len + parts->payload_len);
    return size;
}

const char *pa_channel_explain(pa_channel_status status) {
    switch (status) {
    case PA_CHANNEL_OK:
        return "no error";
    case PA_CHANNEL_AGAIN:
        return "nothing to do at the moment";
    case PA_CHANNEL_TIMEOUT:
        return "the time ran out";
    case PA_CHANNEL_INTERRUPTED:
        return "a signal arrived";
    case PA_CHANNEL_REFUSED:
        return "the message is larger than the channel carries";
    case PA_CHANNEL_CLOSED:
        return "the other end of the channel is closed";
    case PA_CHANNEL_IO:
        return "the operating system refused a call on the channel";
    case PA_CHANNEL_MEMORY:
        return "there is no memory for a message";
    case PA_CHANNEL_BAD_LENGTH:
        return "a frame with a length that its kind and flags cannot have";
    case PA_CHANNEL_BAD_KIND:
        return "a frame of a kind that does not exist";
    case PA_CHANNEL_BAD_FLAGS:
        return "a frame with flags that its kind does not have";
    case PA_CHANNEL_BAD_CALL:
        return "a frame with a call id or hook id that its kind cannot have";
    case PA_CHANNEL_BAD_INDEX:
        return "a ring index that no sender could have written";
    case PA_CHANNEL_BAD_AREA:
        return "a reference that leaves the payload area";
    case PA_CHANNEL_BAD_BELL:
        return "bells without frames";
    case PA_CHANNEL_BAD_PAYLOAD:
        return "msgpack that is malformed, nested too deeply or of too many items";
    }
    return "a status that does not exist";
}
