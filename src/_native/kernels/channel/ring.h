/* Rings: frames in shared memory, from one producer to one consumer.
 *
 * Small frames stand in the ring itself; the bodies of large ones in a payload area beside it,
 * which has indices of its own. The memory is shared with a peer that may write anything at any
 * time: this side keeps its indices and capacities to itself, reads each index of the peer once
 * and bounds it, reads each header once, and copies a body out before anybody looks at it.
 *
 * A producer and a consumer may be used by one thread each at a time, both at the same time. */
#ifndef PLUGINAPI_CHANNEL_RING_H
#define PLUGINAPI_CHANNEL_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define PA_RING_LEAST ((size_t)1 << 12)
#define PA_RING_MOST ((size_t)1 << 26)
#define PA_AREA_MOST ((size_t)1 << 30)

/* The indices of one ring, in shared memory. They count bytes and only grow. The line of the
 * producer also has the flag that it reads after each frame, and so has that of the consumer. */
typedef struct pa_ring_shared {
    _Alignas(128) _Atomic uint64_t head; /* producer: end of the frames */
    _Atomic uint32_t sleeping;           /* consumer: ring the bell when there is a frame */
    _Alignas(128) _Atomic uint64_t tail; /* consumer: end of what it has read */
    _Atomic uint64_t area_tail;          /* consumer: the same of the payload area */
    _Atomic uint32_t starved;            /* producer: ring the bell when there is room */
} pa_ring_shared;

typedef struct pa_part {
    const void *data;
    size_t size;
} pa_part;

typedef struct pa_producer {
    pa_ring_shared *shared;
    uint8_t *data;
    size_t capacity;
    uint8_t *area;
    size_t area_capacity;
    uint64_t head, seen_tail;
    uint64_t area_head, area_seen_tail;
    uint64_t area_start; /* where the first body stands that was placed in an empty area */
} pa_producer;

typedef struct pa_consumer {
    const uint8_t *data;
    const uint8_t *area;
    pa_ring_shared *shared;
    size_t capacity;
    size_t area_capacity;
    uint64_t tail, seen_head;
    uint64_t area_tail;
} pa_consumer;

/* Memory that a frame's body is copied into; grows, never shrinks. */
typedef struct pa_buffer {
    uint8_t *data;
    size_t capacity;
} pa_buffer;

/* Make room for size bytes; what was in it may be lost. */
pa_channel_status pa_buffer_reserve(pa_buffer *buffer, size_t size);
void pa_buffer_close(pa_buffer *buffer);

/* The memory that two rings need. Layout: indices of ring 0, of ring 1, a page in all; data of
 * ring 0, of ring 1; area 0, area 1. The host produces in ring 0. Capacities are powers of two. 0
 * when they are out of bounds. */
size_t pa_ring_bytes(size_t capacity, size_t area_capacity);

/* Prepare one side. The memory must be zeroed, and at least pa_ring_bytes long for ever. */
void pa_ring_open(pa_producer *out, pa_consumer *in, void *memory, size_t capacity,
                  size_t area_capacity, int is_host);

/* The longest body that can be pushed. */
size_t pa_ring_most(const pa_producer *out);

/* Append a frame whose body is the parts, len bytes in all. OK, AGAIN when there is no room,
 * REFUSED when there never is, BAD_INDEX when the peer wrote nonsense. */
pa_channel_status pa_ring_push(pa_producer *out, const pa_frame *frame, const pa_part *parts,
                               size_t count);

/* Take the next frame: its header, checked, into *frame and its body into the buffer. OK, AGAIN
 * when there is none, or what the peer did wrong. */
pa_channel_status pa_ring_pull(pa_consumer *in, pa_frame *frame, pa_buffer *body, uint32_t max_len);

/* Whether pa_ring_pull would find something: cheap, to be spun on. */
static inline int pa_ring_ready(pa_consumer *in) {
    return in->seen_head != in->tail ||
           atomic_load_explicit(&in->shared->head, memory_order_acquire) != in->tail;
}

#endif
