#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "link_private.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE is set on the socket instead */
#endif

#define STREAM_CAPACITY ((size_t)65536)
#define SMALL ((size_t)2048) /* frames up to this are sent from one piece of stack */
#define LONG_BODY ((size_t)16384) /* bodies from this on are received where they stay */
#define MOST_PARTS 8
#define MOST_POLL_MS 60000
#define SLICE_MS 20u /* how often a wait with a time limit looks at the clock */

static pa_channel_status ended(pa_link *link, int error) {
    if (error == 0 || error == EPIPE || error == ECONNRESET || error == ESHUTDOWN ||
        error == ENOTCONN) {
        return PA_CHANNEL_CLOSED;
    }
    link->error = error;
    return PA_CHANNEL_IO;
}

/* ---- Sending ---- */

/* Keep what the socket did not take: the parts from byte `skip` on. */
static pa_channel_status keep(pa_link *link, const pa_part *parts, size_t count, size_t skip) {
    size_t total = 0;
    size_t i;
    pa_channel_status status;
    for (i = 0; i < count; i++) {
        total += parts[i].size;
    }
    status = pa_buffer_reserve(&link->unsent, total - skip);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    link->unsent_low = 0;
    link->unsent_high = 0;
    for (i = 0; i < count; i++) {
        const size_t from = skip < parts[i].size ? skip : parts[i].size;
        skip -= from;
        if (parts[i].size != from) {
            memcpy(link->unsent.data + link->unsent_high, (const uint8_t *)parts[i].data + from,
                   parts[i].size - from);
            link->unsent_high += parts[i].size - from;
        }
    }
    return PA_CHANNEL_OK;
}

pa_channel_status pa_socket_flush(pa_link *link) {
    while (link->unsent_low != link->unsent_high) {
        const ssize_t sent = send(link->fd, link->unsent.data + link->unsent_low,
                                  link->unsent_high - link->unsent_low,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            link->unsent_low += (size_t)sent;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return PA_CHANNEL_AGAIN;
        } else if (errno != EINTR) {
            return ended(link, errno);
        }
    }
    return PA_CHANNEL_OK;
}

static pa_channel_status write_whole(pa_link *link, const uint8_t *data, size_t size) {
    while (size != 0) {
        const ssize_t written = write(link->fd, data, size);
        if (written >= 0) {
            data += written;
            size -= (size_t)written;
        } else if (errno != EINTR) {
            return ended(link, errno);
        }
    }
    return PA_CHANNEL_OK;
}

static pa_channel_status write_pieces(pa_link *link, const pa_part *pieces, size_t count) {
    pa_channel_status status = PA_CHANNEL_OK;
    size_t i;
    for (i = 0; i < count && status == PA_CHANNEL_OK; i++) {
        status = write_whole(link, pieces[i].data, pieces[i].size);
    }
    return status;
}

pa_channel_status pa_socket_send(pa_link *link, const pa_frame *frame, const pa_part *parts,
                                 size_t count) {
    uint8_t small[SMALL];
    pa_part pieces[MOST_PARTS + 1];
    struct iovec vectors[MOST_PARTS + 1];
    struct msghdr message = {0};
    uint8_t *const header = small;
    size_t used = PA_FRAME_HEADER;
    size_t i;
    ssize_t sent;
    pa_channel_status status;
    if (count > MOST_PARTS) {
        return PA_CHANNEL_REFUSED;
    }
    status = pa_socket_flush(link);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    pa_frame_write(header, frame);
    pieces[0].data = header;
    pieces[0].size = PA_FRAME_HEADER;
    memcpy(pieces + 1, parts, count * sizeof *parts);
    count++;
    if (frame->len <= SMALL - PA_FRAME_HEADER) {
        for (i = 1; i < count; i++) {
            if (pieces[i].size != 0) {
                memcpy(small + used, pieces[i].data, pieces[i].size);
                used += pieces[i].size;
            }
        }
        pieces[0].size = used;
        count = 1;
    }
    if (link->plain) {
        return write_pieces(link, pieces, count);
    }
    if (count == 1) {
        do {
            sent = send(link->fd, small, used, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
    } else {
        for (i = 0; i < count; i++) {
            vectors[i].iov_base = (void *)(uintptr_t)pieces[i].data;
            vectors[i].iov_len = pieces[i].size;
        }
        message.msg_iov = vectors;
        message.msg_iovlen = count;
        do {
            sent = sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
    }
    if (sent < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            return ended(link, errno);
        }
        /* Whoever waits next waits for room too, because there is something unsent. */
        sent = 0;
    }
    if ((size_t)sent == frame->len + PA_FRAME_HEADER) {
        return PA_CHANNEL_OK;
    }
    return keep(link, pieces, count, (size_t)sent);
}

pa_channel_status pa_socket_ring(pa_link *link) {
    static const uint8_t bell = 1;
    ssize_t sent;
    link->stats.bells++;
    do {
        sent = send(link->fd, &bell, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        return ended(link, errno);
    }
    return PA_CHANNEL_OK;
}

/* ---- Receiving ---- */

static pa_channel_status receive(pa_link *link, uint8_t *target, size_t size, size_t *got) {
    ssize_t count;
    if (link->plain) {
        return PA_CHANNEL_AGAIN; /* it would wait: pa_socket_fill does */
    }
    do {
        count = recv(link->fd, target, size, MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count > 0) {
        *got = (size_t)count;
        return PA_CHANNEL_OK;
    }
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return PA_CHANNEL_AGAIN;
    }
    return ended(link, count == 0 ? 0 : errno);
}

/* The rest of a long body comes directly to where it stays. */
static pa_channel_status continue_partial(pa_link *link, pa_message *message) {
    while (link->partial_have < link->partial.len) {
        size_t got = 0;
        const pa_channel_status status = receive(link, link->body.data + link->partial_have,
                                                 link->partial.len - link->partial_have, &got);
        if (status != PA_CHANNEL_OK) {
            return status;
        }
        link->partial_have += got;
    }
    link->in_partial = 0;
    message->frame = link->partial;
    message->body = link->body.data;
    return PA_CHANNEL_OK;
}

static pa_channel_status begin_partial(pa_link *link, const pa_frame *frame, size_t have) {
    /* Pages that nothing was written to cost nothing: a length alone takes no memory. */
    const pa_channel_status status = pa_buffer_reserve(&link->body, frame->len);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    memcpy(link->body.data, link->stream.data + link->low, have);
    link->low = 0;
    link->high = 0;
    link->partial = *frame;
    link->partial_have = have;
    link->in_partial = 1;
    return PA_CHANNEL_OK;
}

/* Make room behind what is there: for a frame that is not long, at least. */
static void make_room(pa_link *link, size_t have) {
    if (have == 0) {
        link->low = 0;
        link->high = 0;
    } else if (STREAM_CAPACITY - link->low < LONG_BODY + PA_FRAME_HEADER ||
               link->high == STREAM_CAPACITY) {
        memmove(link->stream.data, link->stream.data + link->low, have);
        link->low = 0;
        link->high = have;
    }
}

int pa_socket_has_frame(const pa_link *link) {
    const size_t have = link->high - link->low;
    pa_frame frame;
    if (link->in_partial || have < PA_FRAME_HEADER) {
        return 0;
    }
    pa_frame_read(&frame, link->stream.data + link->low);
    /* Of a long frame the start is enough: the rest of it goes elsewhere. */
    return frame.len >= LONG_BODY || have - PA_FRAME_HEADER >= frame.len;
}

pa_channel_status pa_socket_poll(pa_link *link, pa_message *message) {
    pa_channel_status status;
    size_t got = 0;
    if (link->in_partial) {
        return continue_partial(link, message);
    }
    status = pa_buffer_reserve(&link->stream, STREAM_CAPACITY);
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    for (;;) {
        const size_t have = link->high - link->low;
        if (have >= PA_FRAME_HEADER) {
            pa_frame frame;
            pa_frame_read(&frame, link->stream.data + link->low);
            status = pa_frame_check(&frame, link->max_len);
            if (status != PA_CHANNEL_OK) {
                return status;
            }
            if (have - PA_FRAME_HEADER >= frame.len) {
                message->frame = frame;
                message->body = link->stream.data + link->low + PA_FRAME_HEADER;
                link->low += PA_FRAME_HEADER + frame.len;
                return PA_CHANNEL_OK;
            }
            if (frame.len >= LONG_BODY) {
                link->low += PA_FRAME_HEADER;
                status = begin_partial(link, &frame, have - PA_FRAME_HEADER);
                return status == PA_CHANNEL_OK ? continue_partial(link, message) : status;
            }
        }
        make_room(link, have);
        status = receive(link, link->stream.data + link->high, STREAM_CAPACITY - link->high, &got);
        if (status != PA_CHANNEL_OK) {
            return status;
        }
        link->high += got;
    }
}

/* ---- Waiting ---- */

/* Let recv() give up after this many milliseconds; 0 never. */
static pa_channel_status set_slice(pa_link *link, uint32_t slice_ms) {
    const struct timeval slice = {.tv_sec = 0, .tv_usec = (suseconds_t)slice_ms * 1000};
    if (link->slice_ms == slice_ms) {
        return PA_CHANNEL_OK;
    }
    if (setsockopt(link->fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice) != 0) {
        return ended(link, errno);
    }
    link->slice_ms = slice_ms;
    return PA_CHANNEL_OK;
}

pa_channel_status pa_socket_plain(pa_link *link) {
    const int flags = fcntl(link->fd, F_GETFL);
    pa_channel_status status;
    if (flags < 0 || fcntl(link->fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        return ended(link, errno);
    }
    status = set_slice(link, 0);
    if (status == PA_CHANNEL_OK) {
        status = pa_buffer_reserve(&link->stream, STREAM_CAPACITY);
    }
    link->plain = status == PA_CHANNEL_OK;
    return status;
}

pa_channel_status pa_socket_wait(pa_link *link, int write, uint64_t timeout_ns) {
    struct pollfd wanted = {.fd = link->fd, .events = (short)(POLLIN | (write ? POLLOUT : 0))};
    const uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);
    const int limit = timeout_ns == PA_LINK_NEVER ? -1 : ms > MOST_POLL_MS ? MOST_POLL_MS : (int)ms;
    const int ready = poll(&wanted, 1, limit);
    if (ready > 0) {
        return PA_CHANNEL_OK;
    }
    if (ready == 0) {
        return limit == MOST_POLL_MS && ms > MOST_POLL_MS ? PA_CHANNEL_OK : PA_CHANNEL_TIMEOUT;
    }
    return errno == EINTR ? PA_CHANNEL_INTERRUPTED : ended(link, errno);
}

/* How a blocking receive that has a time limit waits: OK when it may begin. */
static pa_channel_status limit_wait(pa_link *link, uint64_t timeout_ns, int *wait) {
    if (timeout_ns != PA_LINK_NEVER && timeout_ns < SLICE_MS * UINT64_C(1000000)) {
        *wait = 0;
        return pa_socket_wait(link, 0, timeout_ns);
    }
    /* One blocking call is cheaper than poll() and then recv(). */
    *wait = 1;
    return set_slice(link, timeout_ns == PA_LINK_NEVER ? 0 : SLICE_MS);
}

/* Read what there is, or wait for it: OK also for a signal in between. */
static pa_channel_status fill_plain(pa_link *link) {
    uint8_t *const target = link->in_partial ? link->body.data + link->partial_have
                                             : link->stream.data + link->high;
    const size_t room = link->in_partial ? link->partial.len - link->partial_have
                                         : STREAM_CAPACITY - link->high;
    const ssize_t got = read(link->fd, target, room);
    if (got > 0) {
        *(link->in_partial ? &link->partial_have : &link->high) += (size_t)got;
        return PA_CHANNEL_OK;
    }
    if (got < 0 && errno == EINTR) {
        return PA_CHANNEL_INTERRUPTED;
    }
    return ended(link, got == 0 ? 0 : errno);
}

pa_channel_status pa_socket_fill(pa_link *link, uint64_t timeout_ns) {
    const size_t have = link->high - link->low;
    int wait = 1;
    ssize_t got;
    pa_channel_status status;
    if (link->in_partial) {
        return link->plain ? fill_plain(link) : pa_socket_wait(link, 0, timeout_ns);
    }
    if (link->plain) {
        make_room(link, have);
        return link->high == STREAM_CAPACITY ? PA_CHANNEL_OK : fill_plain(link);
    }
    status = pa_buffer_reserve(&link->stream, STREAM_CAPACITY);
    if (status == PA_CHANNEL_OK) {
        status = limit_wait(link, timeout_ns, &wait);
    }
    if (status != PA_CHANNEL_OK) {
        return status;
    }
    make_room(link, have);
    if (link->high == STREAM_CAPACITY) {
        return PA_CHANNEL_OK; /* there is a frame to poll */
    }
    got = recv(link->fd, link->stream.data + link->high, STREAM_CAPACITY - link->high,
               wait ? 0 : MSG_DONTWAIT);
    if (got > 0) {
        link->high += (size_t)got;
        return PA_CHANNEL_OK;
    }
    if (got < 0 && errno == EINTR) {
        return PA_CHANNEL_INTERRUPTED;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return PA_CHANNEL_OK;
    }
    return ended(link, got == 0 ? 0 : errno);
}

pa_channel_status pa_socket_drain(pa_link *link, int wait, uint64_t timeout_ns, size_t *count) {
    uint8_t bells[256];
    ssize_t got;
    pa_channel_status status;
    *count = 0;
    if (wait) {
        status = limit_wait(link, timeout_ns, &wait);
        if (status != PA_CHANNEL_OK) {
            return status;
        }
    }
    got = recv(link->fd, bells, sizeof bells, wait ? 0 : MSG_DONTWAIT);
    if (got > 0) {
        *count = (size_t)got;
        return PA_CHANNEL_OK;
    }
    if (got < 0 && errno == EINTR) {
        return PA_CHANNEL_INTERRUPTED;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return wait ? PA_CHANNEL_OK : PA_CHANNEL_AGAIN;
    }
    return ended(link, got == 0 ? 0 : errno);
}
