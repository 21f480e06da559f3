#define _GNU_SOURCE
#include "join.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "little.h"
#include "memory.h"

#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#define LONGEST_BODY (UINT32_C(1) << 30)
#define LONGEST_SPIN UINT64_C(10000000)

void pa_join_write_hello(uint8_t out[PA_FRAME_HEADER + PA_JOIN_HELLO], uint32_t features) {
    const pa_frame frame = {.len = (uint32_t)PA_JOIN_HELLO, .kind = PA_FRAME_HELLO};
    memset(out, 0, PA_FRAME_HEADER + PA_JOIN_HELLO);
    pa_frame_write(out, &frame);
    out += PA_FRAME_HEADER;
    pa_put_little(out, PA_JOIN_MAGIC, 4);
    pa_put_little(out + 4, PA_JOIN_VERSION, 2);
    pa_put_little(out + 6, PA_JOIN_VERSION, 2);
    pa_put_little(out + 8, features, 4);
}

pa_channel_status pa_join_read_welcome(pa_welcome *welcome,
                                       const uint8_t in[PA_FRAME_HEADER + PA_JOIN_WELCOME]) {
    pa_frame frame;
    pa_channel_status status;
    pa_frame_read(&frame, in);
    status = pa_frame_check(&frame, (uint32_t)PA_JOIN_WELCOME);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    if (frame.kind != PA_FRAME_HELLO) {
        return PA_CHANNEL_BAD_KIND;
    }
    in += PA_FRAME_HEADER;
    welcome->version = (uint16_t)pa_get_little(in + 4, 2);
    welcome->features = (uint32_t)pa_get_little(in + 8, 4);
    welcome->max_len = (uint32_t)pa_get_little(in + 12, 4);
    welcome->capacity = pa_get_little(in + 16, 8);
    welcome->area_capacity = pa_get_little(in + 24, 8);
    welcome->spin_ns = pa_get_little(in + 32, 8);
    if (frame.len != PA_JOIN_WELCOME || pa_get_little(in, 4) != PA_JOIN_MAGIC ||
        welcome->version != PA_JOIN_VERSION || welcome->max_len > LONGEST_BODY ||
        welcome->spin_ns > LONGEST_SPIN || welcome->features & ~PA_JOIN_SHARED) {
        return PA_CHANNEL_BAD_LENGTH;
    }
    if (welcome->features & PA_JOIN_SHARED &&
        (welcome->capacity > PA_RING_MOST || welcome->area_capacity > PA_AREA_MOST ||
         pa_ring_bytes((size_t)welcome->capacity, (size_t)welcome->area_capacity) == 0)) {
        return PA_CHANNEL_BAD_AREA;
    }
    return PA_CHANNEL_OK;
}

static pa_channel_status failed(int *error) {
    *error = errno;
    return errno == EPIPE || errno == ECONNRESET ? PA_CHANNEL_CLOSED : PA_CHANNEL_IO;
}

static pa_channel_status greet(int fd, uint32_t features, int *error) {
    uint8_t hello[PA_FRAME_HEADER + PA_JOIN_HELLO];
    ssize_t sent;
    pa_join_write_hello(hello, features);
    do {
        sent = send(fd, hello, sizeof hello, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        return failed(error);
    }
    /* So few bytes are taken whole by a socket that nothing was written to. */
    return (size_t)sent == sizeof hello ? PA_CHANNEL_OK : PA_CHANNEL_CLOSED;
}

/* Keep the first descriptor that came, close all others. */
static void take_descriptors(struct msghdr *message, int *memory_fd) {
    struct cmsghdr *control;
    for (control = CMSG_FIRSTHDR(message); control != NULL;
         control = CMSG_NXTHDR(message, control)) {
        size_t offset;
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (offset = 0; offset + sizeof(int) <= control->cmsg_len - CMSG_LEN(0);
             offset += sizeof(int)) {
            int received;
            memcpy(&received, CMSG_DATA(control) + offset, sizeof received);
            if (*memory_fd < 0) {
                *memory_fd = received;
            } else {
                (void)close(received);
            }
        }
    }
}

static pa_channel_status await_welcome(int fd, uint64_t until, uint8_t *target, int *memory_fd,
                                       int *error) {
    size_t have = 0;
    while (have < PA_FRAME_HEADER + PA_JOIN_WELCOME) {
        union {
            char space[CMSG_SPACE(4 * sizeof(int))];
            struct cmsghdr align;
        } control;
        struct iovec into = {target + have, PA_FRAME_HEADER + PA_JOIN_WELCOME - have};
        struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1};
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        const uint64_t now = pa_link_now();
        const uint64_t left = until == PA_LINK_NEVER ? 1000000000u : until > now ? until - now : 0;
        ssize_t got;
        int ready;
        if (left == 0) {
            return PA_CHANNEL_TIMEOUT;
        }
        ready = poll(&wanted, 1, (int)(left / 1000000u > 1000u ? 1000u : left / 1000000u + 1));
        if (ready == 0 || (ready < 0 && errno == EINTR)) {
            continue;
        }
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        got = ready < 0 ? -1 : recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) {
            continue;
        }
        if (got < 0) {
            return failed(error);
        }
        if (got == 0) {
            return PA_CHANNEL_CLOSED;
        }
        take_descriptors(&message, memory_fd);
        have += (size_t)got;
    }
    return PA_CHANNEL_OK;
}

static pa_channel_status open_as_told(pa_link *link, int fd, const pa_welcome *welcome,
                                      int memory_fd, int *error) {
    const size_t capacity = (size_t)welcome->capacity;
    const size_t area_capacity = (size_t)welcome->area_capacity;
    void *memory = NULL;
    pa_channel_status status;
    if ((welcome->features & PA_JOIN_SHARED) == 0) {
        return pa_link_open(link, fd, welcome->max_len, welcome->spin_ns);
    }
    if (memory_fd < 0) {
        return PA_CHANNEL_BAD_AREA;
    }
    status = pa_memory_map(memory_fd, pa_ring_bytes(capacity, area_capacity), &memory, error);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    (void)pa_link_open(link, fd, welcome->max_len, welcome->spin_ns);
    return pa_link_share(link, memory, capacity, area_capacity, 0);
}

pa_channel_status pa_join(pa_link *link, int fd, uint32_t features, uint64_t timeout_ns,
                          int *error) {
    uint8_t answer[PA_FRAME_HEADER + PA_JOIN_WELCOME];
    const uint64_t until =
        timeout_ns == PA_LINK_NEVER ? PA_LINK_NEVER : pa_link_now() + timeout_ns;
    int memory_fd = -1;
    pa_welcome welcome;
    pa_channel_status status;
    *error = 0;
    status = greet(fd, features & PA_JOIN_SHARED, error);
    if (status == PA_CHANNEL_OK) {
        status = await_welcome(fd, until, answer, &memory_fd, error);
    }
    if (status == PA_CHANNEL_OK) {
        status = pa_join_read_welcome(&welcome, answer);
    }
    if (status == PA_CHANNEL_OK && welcome.features & ~features) {
        status = PA_CHANNEL_BAD_FLAGS;
    }
    if (status == PA_CHANNEL_OK) {
        status = open_as_told(link, fd, &welcome, memory_fd, error);
    }
    if (memory_fd >= 0) {
        (void)close(memory_fd);
    }
    return status;
}
