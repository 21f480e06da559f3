/* One end of a channel: a connected stream socket, later two rings with the socket as doorbell.
 *
 * Frames go over the socket until pa_link_share gives both ends the same memory; from then on they
 * go through the rings, and a byte on the socket means "look". The end of the socket is the end of
 * the channel. Nothing here trusts the peer.
 *
 * One thread at a time may receive (pa_link_poll, _spin, _park, _receive) and one at a time may
 * send (pa_link_send, _flush, _deliver), both at the same time. pa_link_hang_up may be called by
 * any thread at any time before pa_link_close. No function but _park, _receive and _deliver waits. */
#ifndef PLUGINAPI_CHANNEL_LINK_H
#define PLUGINAPI_CHANNEL_LINK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "ring.h"
#include "scan.h"

#define PA_LINK_NEVER UINT64_MAX /* no time limit */

typedef struct pa_link_stats {
    uint64_t received, sent; /* frames */
    uint64_t parks;          /* times that the receiver slept */
    uint64_t bells;          /* doorbell bytes that were sent */
    uint64_t spins_won;      /* times that spinning was enough */
    uint64_t spins_lost;
    uint64_t full; /* times that there was no room to send */
} pa_link_stats;

/* A received frame. The body is private memory, valid until the next receive. */
typedef struct pa_message {
    pa_frame frame;
    uint8_t *body;
} pa_message;

typedef struct pa_link {
    int fd; /* non-blocking or not: each call says which it wants */
    int error;
    uint32_t max_len;
    _Atomic int hung_up;

    /* Shared memory. */
    int shared;
    void *memory;
    size_t memory_size;
    pa_producer out;
    pa_consumer in;

    pa_buffer body;   /* of the last message, where it does not stand in `stream` */
    pa_buffer stream; /* bytes that the socket gave: [low, high) are not read yet */
    size_t low, high;
    pa_frame partial; /* a long frame that arrives directly in `body` */
    size_t partial_have;
    int in_partial;
    pa_buffer unsent; /* bytes that the socket did not take yet */
    size_t unsent_low, unsent_high;

    /* How long to spin, and whether it has paid. */
    uint64_t spin_ns;
    uint32_t losses;    /* spins lost in a row */
    uint32_t skip;      /* receives that park at once, until spinning is tried again */
    uint64_t asleep_at; /* when it was armed, or 0 */

    int plain;            /* nothing but read(2) and write(2) is called */
    uint32_t empty_bells; /* in a row, without a frame */
    uint32_t slice_ms;    /* SO_RCVTIMEO as it is set */
    pa_link_stats stats;
} pa_link;

/* Take a connected stream socket; it is closed by pa_link_close. max_len is the longest body that
 * is accepted. spin_ns 0 never spins. */
pa_channel_status pa_link_open(pa_link *link, int fd, uint32_t max_len, uint64_t spin_ns);

/* Release everything. Nobody may be using the link. */
void pa_link_close(pa_link *link);

/* End the channel now: whoever waits, here or at the peer, wakes up. The descriptor stays open. */
void pa_link_hang_up(pa_link *link);

/* Change to the rings in this memory, mapped with pa_memory_map, which the link now owns. The
 * frames that the peer sends before it does so too are still read from the socket: call it when the
 * peer sends no more of them until it has changed. */
pa_channel_status pa_link_share(pa_link *link, void *memory, size_t capacity, size_t area_capacity,
                                int is_host);

/* From now on call nothing but read(2) and write(2), for a process that may do no more: receiving
 * waits without a time limit, polling finds what has been read already, and sending waits for room.
 * SIGPIPE must be ignored. REFUSED with rings, or while something is unsent. */
pa_channel_status pa_link_plain(pa_link *link);

/* The longest body that pa_link_send takes. */
size_t pa_link_most(const pa_link *link);

/* Send a frame whose body is the parts, frame->len bytes in all. OK; AGAIN when there is no room:
 * the peer rings the bell when there is; REFUSED when it is too long; or the end. In socket mode a
 * frame that was taken in part is sent on by pa_link_flush. */
pa_channel_status pa_link_send(pa_link *link, const pa_frame *frame, const pa_part *parts,
                               size_t count);

/* As pa_link_send, but without the bell: pa_link_wake is to follow soon. For several at once. */
pa_channel_status pa_link_send_quietly(pa_link *link, const pa_frame *frame, const pa_part *parts,
                                       size_t count);

/* Ring the bell if the peer is asleep. */
pa_channel_status pa_link_wake(pa_link *link);

/* Send on what the socket did not take. OK when nothing is left, or AGAIN. */
pa_channel_status pa_link_flush(pa_link *link);

/* As pa_link_send, but wait for room. Only for a side whose peer never waits for room itself. */
pa_channel_status pa_link_deliver(pa_link *link, const pa_frame *frame, const pa_part *parts,
                                  size_t count);

/* Take the next frame if there is one: OK or AGAIN. */
pa_channel_status pa_link_poll(pa_link *link, pa_message *message);

/* Whether there is a frame, as far as can be told without a system call. */
int pa_link_ready(pa_link *link);

/* Poll for up to `ns` nanoseconds. */
pa_channel_status pa_link_spin(pa_link *link, pa_message *message, uint64_t ns);

/* How long a receive should spin before it parks; to be followed by pa_link_spun unless 0. After
 * spins that were lost it is 0 for ever longer, up to 4096 receives: so spinning costs next to
 * nothing when the peer is slow or has no processor of its own. The spin that tries again is longer
 * by PROBES: long enough for a peer that sleeps to wake, so that both may find each other awake
 * from then on. After a sleep so long that the last losses tell nothing, all are forgiven. */
uint64_t pa_link_spin_budget(pa_link *link);
void pa_link_spun(pa_link *link, int won);

/* Ask the peer to ring the bell for the next frame. AGAIN when there is one already: then the
 * request is withdrawn. For event loops, which wait on the socket themselves. */
pa_channel_status pa_link_arm(pa_link *link);
void pa_link_disarm(pa_link *link);

/* Take the bell's bytes off the socket; in socket mode nothing. OK, or the end. */
pa_channel_status pa_link_answer_bell(pa_link *link);

/* Sleep until there is something to poll, or, in socket mode with unsent bytes, room to flush.
 * OK (which may be a false alarm), TIMEOUT, INTERRUPTED, or the end. */
pa_channel_status pa_link_park(pa_link *link, uint64_t timeout_ns);

/* Receive: spin as it pays, then park. */
pa_channel_status pa_link_receive(pa_link *link, pa_message *message, uint64_t timeout_ns);

/* Keep the body of the last message from being overwritten: *body becomes the caller's, to be
 * given to free(). Only for a body that stands in link->body. */
int pa_link_owns_body(const pa_link *link, const pa_message *message);
pa_buffer pa_link_take_body(pa_link *link);
/* Give back a buffer for the next long message; it is freed when there is a larger one. */
void pa_link_give_body(pa_link *link, pa_buffer buffer);

/* Monotonic time in nanoseconds. */
uint64_t pa_link_now(void);

#endif
