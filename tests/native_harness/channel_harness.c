/* Exercise kernels/channel without Python, under sanitizers: exits 0 when everything held. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel/join.h"
#include "channel/link.h"
#include "channel/memory.h"

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CAPACITY PA_RING_LEAST
#define AREA ((size_t)1 << 17)
#define MOST ((uint32_t)1 << 16)
#define SECOND UINT64_C(1000000000)
#define ROUNDS 3000u

static void test_frames(void) {
    const pa_frame frame = {0x01020304, PA_FRAME_CALL, PA_F_FRAME_DEADLINE, 0x1122, 0x0102030405};
    static const uint8_t expected[PA_FRAME_HEADER] = {4,    3,    2, 1, 4, 1, 0x22, 0x11,
                                                      5,    4,    3, 2, 1, 0, 0,    0};
    uint8_t bytes[PA_FRAME_HEADER];
    uint8_t prefix[PA_FRAME_MOST_PREFIX];
    uint8_t body[64];
    pa_frame back;
    pa_body parts = {7, 9, (const uint8_t *)"ctx", 3, (const uint8_t *)"pay", 3};
    size_t size;
    unsigned kind;
    pa_frame_write(bytes, &frame);
    REQUIRE(memcmp(bytes, expected, sizeof bytes) == 0);
    pa_frame_read(&back, bytes);
    REQUIRE(memcmp(&back, &frame, sizeof back) == 0);

    back = (pa_frame){0, PA_FRAME_CALL, 0, 1, 1};
    size = pa_frame_prefix(&back, prefix, &parts);
    REQUIRE(size == PA_FRAME_MOST_PREFIX && back.len == size + 6);
    memcpy(body, prefix, size);
    memcpy(body + size, "ctxpay", 6);
    REQUIRE(pa_frame_check(&back, MOST) == PA_CHANNEL_OK);
    memset(&parts, 0, sizeof parts);
    REQUIRE(pa_frame_split(&back, body, &parts) == PA_CHANNEL_OK);
    REQUIRE(parts.deadline_ns == 7 && parts.parent == 9 && parts.context_len == 3);
    REQUIRE(memcmp(parts.payload, "pay", 3) == 0 && parts.payload_len == 3);
    back.len = 10;
    REQUIRE(pa_frame_split(&back, body, &parts) == PA_CHANNEL_BAD_LENGTH);

    for (kind = 0; kind < 256; kind++) {
        const pa_frame each = {0, (uint8_t)kind, 0, 0, 0};
        const pa_channel_status status = pa_frame_check(&each, MOST);
        REQUIRE((status == PA_CHANNEL_OK) == (kind == PA_FRAME_HELLO || kind == PA_FRAME_LOG));
        REQUIRE((status == PA_CHANNEL_BAD_KIND) == (kind == 0 || kind > PA_FRAME_LAST));
    }
    for (kind = 2; kind > 0 && kind < 40; kind++) {
        REQUIRE(strlen(pa_channel_explain((pa_channel_status)(4 - (int)kind))) > 0);
    }
}

static void test_scan(void) {
    static const pa_scan_limits limits = {3, 4, 8};
    static const struct {
        const char *bytes;
        size_t size;
        int fine;
    } cases[] = {
        {"\x01", 1, 1},
        {"", 0, 0},
        {"\x01\x01", 2, 0},
        {"\x93\x01\xa1x\xc0", 5, 1},
        {"\x91\x91\x91\x01", 4, 1},
        {"\x91\x91\x91\x91\x01", 5, 0},
        {"\x94\x90\x90\x90\x90", 5, 0},
        {"\x97\1\1\1\1\1\1\1", 8, 1},
        {"\x98\1\1\1\1\1\1\1\1", 9, 0},
        {"\x81\xa1k\xcb\0\0\0\0\0\0\0\0", 12, 1},
        {"\x81\xa1k\xcb\0\0\0\0\0\0\0", 11, 0},
        {"\xdf\xff\xff\xff\xff", 5, 0},
        {"\xdd\xff\xff\xff\xff", 5, 0},
        {"\xc6\xff\xff\xff\xff", 5, 0},
        {"\xd4\x01\x01", 3, 0},
        {"\xc1", 1, 0},
        {"\xd9\x02hi", 4, 1},
        {"\xd3\0\0\0\0\0\0\0\0", 9, 1},
        {"\xde\0\1\1\1", 5, 1},
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fine = pa_scan((const uint8_t *)cases[i].bytes, cases[i].size, &limits) == 0;
        if (fine != cases[i].fine) {
            fprintf(stderr, "scan case %zu\n", i);
            exit(1);
        }
    }
}

typedef struct side {
    pa_link link;
    int plain;
    pthread_t thread;
} side;

/* Answer every call with its own body until the peer hangs up. */
static void *serve(void *argument) {
    side *const self = argument;
    pa_message message;
    for (;;) {
        const pa_channel_status status = pa_link_receive(&self->link, &message, PA_LINK_NEVER);
        pa_frame frame;
        pa_part part;
        if (status == PA_CHANNEL_INTERRUPTED) {
            continue;
        }
        if (status < 0) {
            REQUIRE(status == PA_CHANNEL_CLOSED);
            return NULL;
        }
        frame = (pa_frame){message.frame.len, PA_FRAME_RESULT, 0, 0, message.frame.call};
        part.data = message.body;
        part.size = message.frame.len;
        if (pa_link_deliver(&self->link, &frame, &part, 1) < 0) {
            return NULL;
        }
    }
}

static void *worker_joins(void *argument) {
    side *const self = argument;
    int error = 0;
    REQUIRE(pa_join(&self->link, self->link.fd, PA_JOIN_SHARED, 5 * SECOND, &error) ==
            PA_CHANNEL_OK);
    if (self->plain) {
        /* Not with rings; it is for who can do no more than read and write. */
        REQUIRE(pa_link_plain(&self->link) ==
                (self->link.shared ? PA_CHANNEL_REFUSED : PA_CHANNEL_OK));
    }
    return serve(self);
}

/* Do what a host does: take the greeting, send the welcome with the memory. */
static void welcome(int fd, pa_link *link, int shared, uint64_t spin_ns) {
    uint8_t hello[PA_FRAME_HEADER + PA_JOIN_HELLO];
    uint8_t expected[PA_FRAME_HEADER + PA_JOIN_HELLO];
    uint8_t answer[PA_FRAME_HEADER + PA_JOIN_WELCOME] = {48, 0, 0, 0, PA_FRAME_HELLO};
    const uint64_t fields[6] = {PA_JOIN_MAGIC | (uint64_t)PA_JOIN_VERSION << 32,
                                (uint64_t)(shared ? PA_JOIN_SHARED : 0) | (uint64_t)MOST << 32,
                                shared ? CAPACITY : 0,
                                shared ? AREA : 0,
                                spin_ns,
                                0};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec out = {answer, sizeof answer};
    struct msghdr message = {.msg_iov = &out, .msg_iovlen = 1};
    void *memory = NULL;
    int memory_fd = -1;
    int error = 0;
    REQUIRE(recv(fd, hello, sizeof hello, MSG_WAITALL) == (ssize_t)sizeof hello);
    pa_join_write_hello(expected, PA_JOIN_SHARED);
    REQUIRE(memcmp(hello, expected, sizeof hello) == 0);
    memcpy(answer + PA_FRAME_HEADER, fields, sizeof fields);
    REQUIRE(pa_link_open(link, fd, MOST, spin_ns) == PA_CHANNEL_OK);
    if (shared) {
        const size_t size = pa_ring_bytes(CAPACITY, AREA);
        struct cmsghdr *header;
        REQUIRE(pa_memory_make(size, &memory_fd, &error) == PA_CHANNEL_OK);
        REQUIRE(ftruncate(memory_fd, 0) != 0);
        REQUIRE(pa_memory_map(memory_fd, size, &memory, &error) == PA_CHANNEL_OK);
        REQUIRE(pa_memory_map(memory_fd, size + 1, &memory, &error) == PA_CHANNEL_BAD_AREA);
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &memory_fd, sizeof memory_fd);
        REQUIRE(pa_link_share(link, memory, CAPACITY, AREA, 1) == PA_CHANNEL_OK);
    }
    REQUIRE(sendmsg(fd, &message, 0) == (ssize_t)sizeof answer);
    if (memory_fd >= 0) {
        REQUIRE(close(memory_fd) == 0);
    }
}

static uint32_t size_of(uint32_t round) {
    static const uint32_t sizes[] = {0, 1, 15, 16, 17, 500, 1008, 1009, 4000, 20000, 60000};
    return sizes[round % (sizeof sizes / sizeof *sizes)];
}

static void test_echo(int shared, uint64_t spin_ns, int plain) {
    static uint8_t data[60000];
    side worker;
    pa_link host;
    int ends[2];
    uint32_t round;
    size_t i;
    for (i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7 + i / 256);
    }
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    worker.link.fd = ends[1];
    worker.plain = plain;
    REQUIRE(pthread_create(&worker.thread, NULL, worker_joins, &worker) == 0);
    welcome(ends[0], &host, shared, spin_ns);
    REQUIRE(host.shared == shared);
    for (round = 1; round <= ROUNDS; round++) {
        const uint32_t size = size_of(round);
        const pa_frame frame = {size, PA_FRAME_CALL, 0, 1, round};
        const pa_part parts[2] = {{data, size / 3}, {data + size / 3, size - size / 3}};
        pa_message message;
        pa_channel_status status;
        do {
            status = pa_link_send(&host, &frame, parts, 2);
        } while (status == PA_CHANNEL_AGAIN);
        REQUIRE(status == PA_CHANNEL_OK);
        while ((status = pa_link_flush(&host)) == PA_CHANNEL_AGAIN) {
        }
        status = pa_link_receive(&host, &message, 20 * SECOND);
        REQUIRE(status == PA_CHANNEL_OK);
        REQUIRE(message.frame.call == round && message.frame.len == size);
        REQUIRE(size == 0 || memcmp(message.body, data, size) == 0);
    }
    {
        const pa_frame large = {MOST + 1, PA_FRAME_CALL, 0, 1, 1};
        const pa_part part = {data, sizeof data};
        pa_message message;
        REQUIRE(pa_link_send(&host, &large, &part, 1) == PA_CHANNEL_REFUSED);
        REQUIRE(pa_link_receive(&host, &message, 1000000) == PA_CHANNEL_TIMEOUT);
        REQUIRE(pa_link_receive(&host, &message, 50000000) == PA_CHANNEL_TIMEOUT);
    }
    pa_link_hang_up(&host);
    REQUIRE(pthread_join(worker.thread, NULL) == 0);
    pa_link_close(&worker.link);
    pa_link_close(&host);
}

/* A body that was taken is not overwritten, and its memory is used again when it is given back. */
static void test_bodies(void) {
    static const uint8_t data[20000] = {1, 2, 3};
    const size_t size = pa_ring_bytes(CAPACITY, AREA);
    void *memory = aligned_alloc(4096, size);
    pa_producer out;
    pa_consumer in;
    pa_producer other_out;
    pa_consumer other_in;
    pa_link link = {.fd = -1, .max_len = MOST};
    pa_frame frame = {sizeof data, PA_FRAME_CALL, 0, 1, 1};
    const pa_part part = {data, sizeof data};
    pa_frame got;
    int i;
    REQUIRE(memory != NULL);
    memset(memory, 0, size);
    pa_ring_open(&out, &in, memory, CAPACITY, AREA, 1);
    pa_ring_open(&other_out, &other_in, memory, CAPACITY, AREA, 0);
    for (i = 0; i < 20; i++) {
        pa_buffer taken;
        REQUIRE(pa_ring_push(&out, &frame, &part, 1) == PA_CHANNEL_OK);
        REQUIRE(pa_ring_pull(&other_in, &got, &link.body, MOST) == PA_CHANNEL_OK);
        taken = pa_link_take_body(&link);
        REQUIRE(memcmp(taken.data, data, sizeof data) == 0);
        pa_link_give_body(&link, taken);
        REQUIRE(link.body.data == taken.data);
    }
    /* Full: the area holds six of them, then there is no room, then there is again. */
    for (i = 0; pa_ring_push(&out, &frame, &part, 1) == PA_CHANNEL_OK; i++) {
    }
    REQUIRE(i >= 5 && pa_ring_push(&out, &frame, &part, 1) == PA_CHANNEL_AGAIN);
    while (i-- > 0) {
        REQUIRE(pa_ring_pull(&other_in, &got, &link.body, MOST) == PA_CHANNEL_OK);
    }
    REQUIRE(pa_ring_pull(&other_in, &got, &link.body, MOST) == PA_CHANNEL_AGAIN);
    REQUIRE(pa_ring_push(&out, &frame, &part, 1) == PA_CHANNEL_OK);
    frame.len = (uint32_t)AREA;
    REQUIRE(pa_ring_push(&out, &frame, &part, 1) == PA_CHANNEL_REFUSED);
    REQUIRE(pa_ring_bytes(5000, 0) == 0 && pa_ring_bytes(PA_RING_MOST * 2, 0) == 0);
    pa_buffer_close(&link.body);
    free(memory);
}

/* The rule of spinning: losses make it rarer, one win or a long sleep brings it back. */
static void test_spinning(void) {
    pa_link link;
    int tried = 0;
    int i;
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    REQUIRE(pa_link_open(&link, ends[0], MOST, 1000) == PA_CHANNEL_OK);
    for (i = 0; i < 20000; i++) {
        if (pa_link_spin_budget(&link) != 0) {
            tried++;
            pa_link_spun(&link, 0);
        }
    }
    REQUIRE(tried < 20);
    while (pa_link_spin_budget(&link) == 0) {
    }
    pa_link_spun(&link, 1);
    REQUIRE(pa_link_spin_budget(&link) == 1000);
    pa_link_spun(&link, 0);
    REQUIRE(pa_link_spin_budget(&link) == 0);
    REQUIRE(pa_link_park(&link, 15000000) == PA_CHANNEL_TIMEOUT);
    REQUIRE(pa_link_spin_budget(&link) == 1000);
    pa_link_close(&link);
    REQUIRE(close(ends[1]) == 0);
}

int main(void) {
    test_frames();
    test_scan();
    test_bodies();
    test_spinning();
    test_echo(1, 0, 0);
    test_echo(1, 50000, 1);
    test_echo(0, 0, 0);
    test_echo(0, 50000, 0);
    test_echo(0, 0, 1);
    test_echo(0, 50000, 1);
    puts("ok");
    return 0;
}
