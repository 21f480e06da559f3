/* Fuzz what a hostile worker can write: the socket's bytes, the shared memory of the rings, and
 * msgpack. A libFuzzer target; the kernels alone, without Python.
 *
 * Kernels: channel
 *
 * The first byte chooses: 0 a socket's bytes, 1 the rings' memory, 2 msgpack, 3 a welcome. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel/join.h"
#include "channel/link.h"
#include "channel/ring.h"
#include "channel/scan.h"

#define CAPACITY PA_RING_LEAST
#define AREA ((size_t)8192)
#define MOST_FRAMES 4096

static void look(const pa_message *message) {
    static const pa_scan_limits limits = {64, 4096, 65536};
    pa_body parts;
    if (pa_frame_split(&message->frame, message->body, &parts) == PA_CHANNEL_OK) {
        /* Every byte of every part is inside of the body. */
        volatile uint8_t sum = 0;
        size_t i;
        for (i = 0; i < parts.context_len; i++) {
            sum = (uint8_t)(sum + parts.context[i]);
        }
        for (i = 0; i < parts.payload_len; i++) {
            sum = (uint8_t)(sum + parts.payload[i]);
        }
        (void)pa_scan(parts.payload, parts.payload_len, &limits);
    }
}

static void fuzz_socket(const uint8_t *data, size_t size) {
    pa_message message;
    pa_link link;
    int ends[2];
    int frames = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        abort();
    }
    if (pa_link_open(&link, ends[0], 65536, 0) != PA_CHANNEL_OK) {
        abort();
    }
    while (size != 0) {
        /* In pieces whose sizes the data chooses, so that frames are cut everywhere. */
        const size_t wanted = (size_t)(data[0] % 64) + 1;
        const size_t piece = wanted < size ? wanted : size;
        pa_channel_status status;
        if (send(ends[1], data, piece, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)piece) {
            break;
        }
        data += piece;
        size -= piece;
        while ((status = pa_link_poll(&link, &message)) == PA_CHANNEL_OK) {
            look(&message);
            if (++frames > MOST_FRAMES) {
                abort();
            }
        }
        if (status < 0) {
            break;
        }
    }
    (void)close(ends[1]);
    while (pa_link_poll(&link, &message) == PA_CHANNEL_OK) {
        look(&message);
    }
    pa_link_close(&link);
}

/* The memory is the input, repeated; between two polls the peer's indices are set to what comes
 * next in the input, as a peer that runs at the same time would. */
static void fuzz_rings(const uint8_t *data, size_t size) {
    static uint8_t *memory;
    const size_t total = pa_ring_bytes(CAPACITY, AREA);
    pa_buffer body = {NULL, 0};
    pa_producer out;
    pa_consumer in;
    pa_message message;
    size_t at = 0;
    int frames = 0;
    if (size < 16) {
        return;
    }
    if (memory == NULL && posix_memalign((void **)&memory, 4096, total) != 0) {
        abort();
    }
    for (at = 0; at < total; at += size) {
        memcpy(memory + at, data, size < total - at ? size : total - at);
    }
    memset(memory, 0, 4096);
    pa_ring_open(&out, &in, memory, CAPACITY, AREA, 1);
    for (at = 0; at + 8 <= size && frames < MOST_FRAMES; at += 8) {
        const pa_frame frame = {(uint32_t)(data[at] * 8u), PA_FRAME_CALL, 0, 1, 1};
        const pa_part part = {data, frame.len < size ? frame.len : 0};
        const pa_frame sent = {(uint32_t)part.size, PA_FRAME_CALL, 0, 1, 1};
        uint64_t index;
        memcpy(&index, data + at, 8);
        /* Often near the truth, so that more than the first check is reached. */
        if (data[at] & 1) {
            index = in.tail + (index & 0x1ff0);
        }
        atomic_store(&in.shared->head, index);
        while (pa_ring_pull(&in, &message.frame, &body, 16384) == PA_CHANNEL_OK) {
            message.body = body.data;
            look(&message);
            /* What was read lies within what was said to be there, and so does every body. */
            if (in.seen_head - in.tail > CAPACITY || message.frame.len > 16384 ||
                message.frame.len > body.capacity) {
                abort();
            }
            if (++frames > MOST_FRAMES) {
                break;
            }
        }
        if (data[at] & 2) {
            atomic_store(&out.shared->tail, out.seen_tail + (index & 0xff0));
            atomic_store(&out.shared->area_tail, out.area_seen_tail + (index >> 32 & 0xffff));
        }
        (void)pa_ring_push(&out, &sent, &part, 1);
        if (out.head - out.seen_tail > CAPACITY || in.tail > UINT64_MAX / 2) {
            abort();
        }
    }
    pa_buffer_close(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pa_welcome welcome;
    if (size == 0) {
        return 0;
    }
    switch (data[0] & 3) {
    case 0:
        fuzz_socket(data + 1, size - 1);
        break;
    case 1:
        fuzz_rings(data + 1, size - 1);
        break;
    case 2: {
        static const pa_scan_limits limits = {PA_SCAN_MOST_DEPTH, 1000, 10000};
        (void)pa_scan(data + 1, size - 1, &limits);
        break;
    }
    default:
        if (size > PA_FRAME_HEADER + PA_JOIN_WELCOME) {
            (void)pa_join_read_welcome(&welcome, data + 1);
        }
        break;
    }
    return 0;
}
