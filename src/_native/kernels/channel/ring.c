#include "ring.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)16)
#define PAD UINT32_MAX       /* len of a header after which the ring goes on at its start */
#define REFERENCE ((size_t)8) /* the body of a frame in the area: u64 position */
#define PAGE ((size_t)4096)

static size_t padded(size_t size) {
    return (size + ALIGN - 1) & ~(ALIGN - 1);
}

static int is_power_of_two(size_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

pa_channel_status pa_buffer_reserve(pa_buffer *buffer, size_t size) {
    uint8_t *data;
    size_t capacity = 1024;
    if (size <= buffer->capacity) {
        return PA_CHANNEL_OK;
    }
    while (capacity < size) {
        capacity *= 2;
    }
    data = malloc(capacity);
    if (data == NULL) {
        return PA_CHANNEL_MEMORY;
    }
    free(buffer->data);
    buffer->data = data;
    buffer->capacity = capacity;
    return PA_CHANNEL_OK;
}

void pa_buffer_close(pa_buffer *buffer) {
    free(buffer->data);
    buffer->data = NULL;
    buffer->capacity = 0;
}

size_t pa_ring_bytes(size_t capacity, size_t area_capacity) {
    if (!is_power_of_two(capacity) || capacity < PA_RING_LEAST || capacity > PA_RING_MOST) {
        return 0;
    }
    if (area_capacity != 0 && (!is_power_of_two(area_capacity) || area_capacity < PAGE ||
                               area_capacity > PA_AREA_MOST)) {
        return 0;
    }
    return PAGE + 2 * capacity + 2 * area_capacity;
}

void pa_ring_open(pa_producer *out, pa_consumer *in, void *memory, size_t capacity,
                  size_t area_capacity, int is_host) {
    pa_ring_shared *const indices = memory;
    uint8_t *const data = (uint8_t *)memory + PAGE;
    uint8_t *const area = data + 2 * capacity;
    const size_t mine = is_host ? 0 : 1;
    const size_t theirs = 1 - mine;
    _Static_assert(2 * sizeof(pa_ring_shared) <= PAGE, "the indices stand in the first page");
    memset(out, 0, sizeof *out);
    memset(in, 0, sizeof *in);
    out->shared = indices + mine;
    out->data = data + mine * capacity;
    out->capacity = capacity;
    out->area = area + mine * area_capacity;
    out->area_capacity = area_capacity;
    in->shared = indices + theirs;
    in->data = data + theirs * capacity;
    in->capacity = capacity;
    in->area = area + theirs * area_capacity;
    in->area_capacity = area_capacity;
}

/* A body that takes more of the ring than this goes to the area, if there is one. */
static size_t most_inline(size_t capacity) {
    return capacity / 4 - PA_FRAME_HEADER;
}

size_t pa_ring_most(const pa_producer *out) {
    const size_t most = most_inline(out->capacity);
    return out->area_capacity / 2 > most ? out->area_capacity / 2 : most;
}

/* Read an index that the peer advances: it lies between what was seen last and `end`. */
static pa_channel_status see(const _Atomic uint64_t *index, uint64_t *seen, uint64_t end) {
    const uint64_t value = atomic_load_explicit(index, memory_order_acquire);
    if (value - *seen > end - *seen) {
        return PA_CHANNEL_BAD_INDEX;
    }
    *seen = value;
    return PA_CHANNEL_OK;
}

static void copy_parts(uint8_t *target, const pa_part *parts, size_t count) {
    size_t i;
    for (i = 0; i < count; i++) {
        if (parts[i].size != 0) {
            memcpy(target, parts[i].data, parts[i].size);
            target += parts[i].size;
        }
    }
}

/* Find a place for a large body: at the start of the area whenever that is empty, so that the same
 * pages are used again, otherwise behind the last one. */
static pa_channel_status place(pa_producer *out, size_t size, uint64_t *position) {
    const uint64_t mask = out->area_capacity - 1;
    uint64_t start;
    uint64_t live;
    const pa_channel_status status =
        see(&out->shared->area_tail, &out->area_seen_tail, out->area_head);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    start = out->area_head;
    live = out->area_seen_tail;
    if (live == start) {
        start = (start + mask) & ~mask;
        out->area_start = start;
        *position = start;
        return PA_CHANNEL_OK;
    }
    /* What was skipped to get to the start is free, although the consumer is still before it. */
    if (out->area_start - live <= out->area_head - live) {
        live = out->area_start;
    }
    if ((start & mask) + size > out->area_capacity) {
        start = (start + mask) & ~mask;
    }
    if (start + size - live > out->area_capacity) {
        return PA_CHANNEL_AGAIN;
    }
    *position = start;
    return PA_CHANNEL_OK;
}

pa_channel_status pa_ring_push(pa_producer *out, const pa_frame *frame, const pa_part *parts,
                               size_t count) {
    const int large = frame->len > most_inline(out->capacity);
    const size_t need = padded(PA_FRAME_HEADER + (large ? REFERENCE : frame->len));
    const size_t offset = (size_t)(out->head & (out->capacity - 1));
    const size_t to_end = out->capacity - offset;
    const size_t taken = need > to_end ? need + to_end : need;
    uint64_t position = 0;
    uint8_t *target = out->data + offset;
    pa_frame header = *frame;
    pa_channel_status status;
    if (large && frame->len > out->area_capacity / 2) {
        return PA_CHANNEL_REFUSED;
    }
    if (out->capacity - (size_t)(out->head - out->seen_tail) < taken) {
        status = see(&out->shared->tail, &out->seen_tail, out->head);
        if (status != PA_CHANNEL_OK) {
            return status;
        }
        if (out->seen_tail & (ALIGN - 1)) {
            return PA_CHANNEL_BAD_INDEX;
        }
        if (out->capacity - (size_t)(out->head - out->seen_tail) < taken) {
            return PA_CHANNEL_AGAIN;
        }
    }
    if (large) {
        status = place(out, frame->len, &position);
        if (status != PA_CHANNEL_OK) {
            return status;
        }
        copy_parts(out->area + (size_t)(position & (out->area_capacity - 1)), parts, count);
        out->area_head = position + frame->len;
        header.flags |= PA_F_FRAME_AREA;
    }
    if (need > to_end) {
        const pa_frame pad = {PAD, 0, 0, 0, 0};
        pa_frame_write(target, &pad);
        target = out->data;
    }
    pa_frame_write(target, &header);
    if (large) {
        memcpy(target + PA_FRAME_HEADER, &position, REFERENCE);
    } else {
        copy_parts(target + PA_FRAME_HEADER, parts, count);
    }
    out->head += taken;
    /* Sequentially consistent: the flag `sleeping` is read after it. */
    atomic_store_explicit(&out->shared->head, out->head, memory_order_seq_cst);
    return PA_CHANNEL_OK;
}

/* Read 16 bytes once each, whatever the compiler thinks of memory that nobody else may write. */
static void read_once(uint8_t target[PA_FRAME_HEADER], const uint8_t *source) {
    const volatile uint64_t *const words = (const volatile uint64_t *)(const void *)source;
    const uint64_t both[2] = {words[0], words[1]};
    memcpy(target, both, sizeof both);
}

static uint64_t read_word_once(const uint8_t *source) {
    return *(const volatile uint64_t *)(const void *)source;
}

static pa_channel_status copy_out(pa_buffer *body, const uint8_t *source, size_t size) {
    const pa_channel_status status = pa_buffer_reserve(body, size);
    if (status == PA_CHANNEL_OK && size != 0) {
        memcpy(body->data, source, size);
        /* From here on the copy is what is read. */
        atomic_signal_fence(memory_order_seq_cst);
    }
    return status;
}

static pa_channel_status copy_area(pa_consumer *in, const pa_frame *frame, uint64_t position,
                                   pa_buffer *body) {
    const size_t capacity = in->area_capacity;
    const size_t offset = capacity == 0 ? 0 : (size_t)(position & (capacity - 1));
    pa_channel_status status;
    /* Behind what was taken last, skipping less than a whole area, and in one piece. */
    if (position - in->area_tail > capacity || frame->len > capacity - offset) {
        return PA_CHANNEL_BAD_AREA;
    }
    status = copy_out(body, in->area + offset, frame->len);
    if (status == PA_CHANNEL_OK) {
        in->area_tail = position + frame->len;
        atomic_store_explicit(&in->shared->area_tail, in->area_tail, memory_order_release);
    }
    return status;
}

pa_channel_status pa_ring_pull(pa_consumer *in, pa_frame *frame, pa_buffer *body,
                               uint32_t max_len) {
    uint8_t header[PA_FRAME_HEADER];
    uint64_t available;
    size_t offset;
    size_t need;
    int large;
    pa_channel_status status;
    if (in->seen_head == in->tail) {
        status = see(&in->shared->head, &in->seen_head, in->tail + in->capacity);
        if (status != PA_CHANNEL_OK) {
            return status;
        }
        if (in->seen_head == in->tail) {
            return PA_CHANNEL_AGAIN;
        }
    }
    available = in->seen_head - in->tail;
    if (available & (ALIGN - 1)) {
        return PA_CHANNEL_BAD_INDEX;
    }
    offset = (size_t)(in->tail & (in->capacity - 1));
    read_once(header, in->data + offset);
    pa_frame_read(frame, header);
    if (frame->len == PAD) {
        const size_t to_end = in->capacity - offset;
        /* Padding stands at the end only and has a frame behind it. */
        if (offset == 0 || available < to_end + PA_FRAME_HEADER) {
            return PA_CHANNEL_BAD_INDEX;
        }
        in->tail += to_end;
        available -= to_end;
        offset = 0;
        read_once(header, in->data);
        pa_frame_read(frame, header);
    }
    large = (frame->flags & PA_F_FRAME_AREA) != 0;
    frame->flags &= (uint8_t)~PA_F_FRAME_AREA;
    status = pa_frame_check(frame, max_len);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    need = padded(PA_FRAME_HEADER + (large ? REFERENCE : frame->len));
    if (need > available || need > in->capacity - offset) {
        return PA_CHANNEL_BAD_INDEX;
    }
    status = large ? copy_area(in, frame, read_word_once(in->data + offset + PA_FRAME_HEADER), body)
                   : copy_out(body, in->data + offset + PA_FRAME_HEADER, frame->len);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    in->tail += need;
    /* Sequentially consistent: the flag `starved` is read after it. */
    atomic_store_explicit(&in->shared->tail, in->tail, memory_order_seq_cst);
    return PA_CHANNEL_OK;
}
