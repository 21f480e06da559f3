/* Frames: what crosses a channel. One header of 16 bytes, little-endian, then a body.
 *
 *     offset 0  u32 len    bytes of the body
 *            4  u8  kind   PA_FRAME_*
 *            5  u8  flags  PA_F_FRAME_*
 *            6  u16 hook   id of a handler, agreed at Initialize; 0 where there is none
 *            8  u64 call   id of the call, chosen by the side that makes it, never 0
 *
 * The body starts with what the flags announce, in this order: u64 deadline (nanoseconds that the
 * call may take from now on), u64 parent (the call of the receiver in whose course this request is
 * made), u32 size and that many bytes of context. The rest is the payload.
 *
 * Knows no Python and no operating system. Thread-safe: no state. */
#ifndef PLUGINAPI_CHANNEL_FRAME_H
#define PLUGINAPI_CHANNEL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define PA_FRAME_HEADER ((size_t)16)
#define PA_FRAME_MOST_PREFIX ((size_t)20) /* deadline, parent, size of the context */

/* The result of every function of kernels/channel. Below 0 the channel is at its end. */
typedef enum pa_channel_status {
    PA_CHANNEL_OK = 0,
    PA_CHANNEL_AGAIN = 1,       /* nothing to receive, or no room to send, at the moment */
    PA_CHANNEL_TIMEOUT = 2,     /* the time ran out */
    PA_CHANNEL_INTERRUPTED = 3, /* a signal arrived */
    PA_CHANNEL_REFUSED = 4,     /* the caller's own frame breaks a limit; nothing was sent */
    PA_CHANNEL_CLOSED = -1,     /* the peer is gone */
    PA_CHANNEL_IO = -2,         /* the operating system refused; pa_link.error is its errno */
    PA_CHANNEL_MEMORY = -3,     /* no memory for a message */
    /* What the peer did wrong: */
    PA_CHANNEL_BAD_LENGTH = -4, /* longer than the limit, or too short for its flags */
    PA_CHANNEL_BAD_KIND = -5,   /* a kind that does not exist */
    PA_CHANNEL_BAD_FLAGS = -6,  /* flags that the kind does not have */
    PA_CHANNEL_BAD_CALL = -7,   /* a call id, or a hook id, that the kind cannot have */
    PA_CHANNEL_BAD_INDEX = -8,  /* a ring index that no sender could have written */
    PA_CHANNEL_BAD_AREA = -9,   /* a reference that leaves the payload area */
    PA_CHANNEL_BAD_BELL = -10,  /* it rings the bell and sends nothing */
    PA_CHANNEL_BAD_PAYLOAD = -11 /* msgpack that is malformed, too deep or of too many items */
} pa_channel_status;

/* Kinds of frames. */
enum {
    PA_FRAME_HELLO = 1,    /* worker to host, first of all */
    PA_FRAME_REQUEST = 2,  /* a control request */
    PA_FRAME_RESPONSE = 3, /* its answer */
    PA_FRAME_CALL = 4,     /* run the handler `hook` on the payload */
    PA_FRAME_RESULT = 5,   /* its answer */
    PA_FRAME_ERROR = 6,    /* the other answer to either */
    PA_FRAME_CANCEL = 7,   /* the caller gave up on `call`; its answer is still due */
    PA_FRAME_LOG = 8,      /* a line for the log; no answer */
    PA_FRAME_LAST = PA_FRAME_LOG
};

/* Flags. */
enum {
    PA_F_FRAME_DEADLINE = 1,  /* the body starts with a deadline: requests and calls */
    PA_F_FRAME_PARENT = 2,    /* then a parent: requests and calls */
    PA_F_FRAME_CONTEXT = 4,   /* then context: calls and results */
    PA_F_FRAME_AREA = 8,      /* rings only: the body is in the payload area. Never seen above */
    PA_F_FRAME_STOP = 16,     /* result: it is final, the chain stops */
    PA_F_FRAME_UNCHANGED = 32 /* result: the value is unchanged, there is no payload */
};

typedef struct pa_frame {
    uint32_t len;
    uint8_t kind;
    uint8_t flags;
    uint16_t hook;
    uint64_t call;
} pa_frame;

/* The parts of a body, borrowed from it. */
typedef struct pa_body {
    uint64_t deadline_ns; /* 0: none */
    uint64_t parent;      /* 0: none */
    const uint8_t *context;
    size_t context_len;
    const uint8_t *payload;
    size_t payload_len;
} pa_body;

/* Write the header. */
void pa_frame_write(uint8_t out[PA_FRAME_HEADER], const pa_frame *frame);

/* Read a header; nothing is checked. */
void pa_frame_read(pa_frame *frame, const uint8_t in[PA_FRAME_HEADER]);

/* Check a header by itself: kind, flags, ids, and that the body has room for what the flags
 * announce and no more than max_len bytes. PA_F_FRAME_AREA counts as wrong. */
pa_channel_status pa_frame_check(const pa_frame *frame, uint32_t max_len);

/* Find the parts of a body of a checked frame; it must be memory that nobody else can write. */
pa_channel_status pa_frame_split(const pa_frame *frame, const uint8_t *body, pa_body *parts);

/* Write what stands before context and payload, and set flags and len of the frame to match.
 * Returns its size, at most PA_FRAME_MOST_PREFIX. Zero or a NULL context leave a part out. */
size_t pa_frame_prefix(pa_frame *frame, uint8_t out[PA_FRAME_MOST_PREFIX], const pa_body *parts);

/* A short sentence fragment on a status, for messages: "a ring index that ...". */
const char *pa_channel_explain(pa_channel_status status);

#endif
